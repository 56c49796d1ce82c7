"""What all emitted files need of a finished run: its op as ttnn would log it, its shapes, its devices."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tensix_sim.analysis.profile import DEVICE_BITS
from tensix_sim.gather.tail import OPS
from tensix_sim.job import Job
from tensix_sim.logged import OpTensor, tensors
from tensix_sim.trace import Run, Trace

TAIL_CODES = ("SplitDeviceOperation", "AllGatherAsync", "AllGatherAsyncReversed", "ConcatDeviceOperation")  # of `tail.OPS`
CALL = 1  # the run is a program's first call; what follows it are the next


@dataclass(frozen=True)
class TailOp:
    """An op that followed: its name in ttnn's logs, its inputs and first output on a device, its figures on each device."""

    code: str
    inputs: list[OpTensor]
    output: OpTensor
    moved: list[dict[str, Any]]


@dataclass(frozen=True)
class Emission:
    """A run on its way into files."""

    run: Run

    @cached_property
    def job(self) -> Job:
        """What was run, resolved."""
        return Job.legal(self.run.spec)

    @property
    def op_code(self) -> str:
        """Name of the op in ttnn's logs."""
        return self.job.op.codes[0]

    @property
    def devices(self) -> Iterator[tuple[dict[str, Any], Trace]]:
        """Figures and trace of each device, in ring order."""
        for device in self.run.summary["devices"]:
            yield device, self.run.traces[device["ring_id"]]

    @property
    def tail(self) -> list[TailOp]:
        """What followed the op, in its order; nothing if nothing did."""
        if "tail" not in self.run.summary:
            return []
        g, output = self.job.geometry, tensors(self.job)[1]

        def rows(name: str, count: int) -> OpTensor:
            return replace(output, name=name, shape=(g.B, g.NQH, count, output.shape[3]))

        slab, half, whole = rows("slab", g.Sc), rows("half", g.S // 2), rows("sequence", g.S)
        moves = (([output], slab), ([slab], half), ([slab], half), ([half, half], whole))
        moved = self.run.summary["tail"]["ops"]
        return [
            TailOp(code, inputs, result, [one for one in moved if one["op"] == op])
            for op, code, (inputs, result) in zip(OPS, TAIL_CODES, moves, strict=True)
        ]

    def ns(self, cycles: float) -> int:
        """Nanoseconds of some cycles of the chip's clock."""
        return round(cycles * 1e9 / self.job.machine.chip.clock_hz)


def host_id(ring_id: int, call: int = CALL) -> int:
    """What joins a device's rows in all logs: the call above, the device below."""
    return call << DEVICE_BITS | ring_id
