"""A legal spec with all that follows from it before time starts, worked out once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec, Source, load_spec
from tensix_sim.doctor.check import examine
from tensix_sim.doctor.report import Report
from tensix_sim.program import Program
from tensix_sim.sdpa.geometry import Geometry, spec_machine
from tensix_sim.sdpa.inputs import RunNumbers
from tensix_sim.sdpa.op import Op, positions
from tensix_sim.sdpa.resolve import geometry_of, program_of
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.user_errors import UserError


class IllegalConfigError(UserError, ValueError):
    """The spec breaks rules of the op or of the board; `report` lists all of them."""

    exit_code = 1

    def __init__(self, report: Report) -> None:
        super().__init__("\n".join(violation.message for violation in report.violations))
        self.report = report


@dataclass(frozen=True, eq=False)
class Job:
    """A legal spec, its machine with the spec's what-ifs, and its shapes."""

    spec: RunSpec
    machine: Machine
    geometry: Geometry
    checked: Report | None = None

    @classmethod
    def of(cls, spec: Source, ran: bool = False) -> "Job":
        """Check a spec and resolve it; one that `ran` was legal then, whatever became of its files.

        Raises:
            IllegalConfigError: it is illegal.
        """
        report, case = examine(spec)
        if case is None or not (report.ok or ran):
            raise IllegalConfigError(report)
        return cls(spec if isinstance(spec, RunSpec) else load_spec(spec), case.on, case.geometry, report)

    @classmethod
    def legal(cls, spec: RunSpec) -> "Job":
        """Resolve a spec that is known to be legal, without asking again."""
        machine = spec_machine(spec)
        return cls(spec, machine, geometry_of(spec, machine))

    def __reduce__(self) -> tuple[Any, ...]:
        # to another process it goes as its spec: formats are known by identity, and those of a copy would be strangers
        return Job.legal, (self.spec,)

    @cached_property
    def report(self) -> Report:
        """What `check` says of it."""
        return self.checked or examine(self.spec)[0]

    @property
    def op(self) -> Op:
        """Its op."""
        return Op.of(self.spec)

    @property
    def ring_ids(self) -> tuple[int, ...]:
        """Ring positions to simulate."""
        return positions(self.spec)

    @property
    def together(self) -> bool:
        """Whether its devices are simulated on one clock: each depends on the others, and not all are alike or all are wanted."""
        return self.op.travels and not (self.alike and len(self.ring_ids) < self.spec.ring_size)

    @property
    def alike(self) -> bool:
        """Whether a device's neighbours do as it does, so that it can stand for them."""
        return isinstance(self.geometry, RingGeometry) and self.geometry.alike

    def program(self, ring_id: int, numbers: RunNumbers, only: int | None = None, alone: bool = False) -> Program:
        """The program of a device, of all its cores or of one with the others idle; see `sdpa.resolve.program_of`."""
        return program_of(self.spec, self.geometry, self.machine, ring_id, numbers, only, alone)
