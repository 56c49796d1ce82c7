"""One virtual chip: its clock, memory and cores, each with circular buffers, semaphores and a Tensix engine."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import simpy

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord, unknown_name
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.memory import Memory
from tensix_sim.hw.tensix import Block, Costs, Tensix
from tensix_sim.program import Program
from tensix_sim.trace import Trace

if TYPE_CHECKING:
    from tensix_sim.hw.ethernet import Fabric


class Semaphore:
    """A counter in one core's L1 that other cores may raise over the NoC."""

    def __init__(self, label: str, engine: Engine) -> None:
        self.label = label
        self.engine = engine
        self.value = 0
        self.changed: simpy.Event | None = None

    def set(self, value: int) -> None:
        """Give it `value` and wake who waits."""
        self.value = value
        if self.changed is not None:
            event, self.changed = self.changed, None
            event.succeed()

    def increase(self, event: simpy.Event) -> None:
        """Engine callback: add the event's value."""
        self.set(self.value + cast(int, event.value))

    def next_change(self) -> simpy.Event:
        """Event of the next change."""
        if self.changed is None:
            self.changed = self.engine.event()
        return self.changed


class Core:
    """A worker core: where it is, and what its three kernels share."""

    def __init__(self, chip: "Chip", program: Program, logical: Coord) -> None:
        self.chip = chip
        self.logical = logical
        self.node = chip.machine.worker(logical)
        self.label = f"{chip.label}core ({logical[0]},{logical[1]})"
        self.fifos = {b.name: CircularBuffer(b, chip.engine, f"{self.label} {b.name}", chip.values) for b in program.buffers}
        self.semaphores = {name: Semaphore(f"{self.label} {name}", chip.engine) for name in program.semaphores}
        self.tensix = Tensix()
        for fifo in self.fifos.values() if chip.trace.zones else ():
            if fifo.shared:
                fifo.on_change = partial(chip.trace.count, chip.trace.series(fifo.spec.name, "tiles", logical))

    def cbs(self, names: Sequence[str]) -> tuple[CircularBuffer, ...]:
        """Circular buffers by name.

        Raises:
            SimulationError: the program has no such buffer; names the near ones.
        """
        unknown = [name for name in names if name not in self.fifos]
        if unknown:
            raise SimulationError(str(unknown_name("circular buffer", unknown[0], self.fifos)))
        return tuple([self.fifos[name] for name in names])

    def check_empty(self) -> list[str]:
        """Tiles that no kernel popped, as sentences; resident buffers may keep theirs."""
        problems = []
        for fifo in self.fifos.values():
            if fifo.written:
                problems.append(f"{fifo.label}: {fifo.written} tiles written by the {fifo.spec.producer} kernel and never pushed")
            if not fifo.spec.resident and fifo.pushed != fifo.popped:
                problems.append(
                    f"{fifo.label}: {fifo.pushed - fifo.popped} tiles left over; "
                    f"its {fifo.spec.consumer} kernel popped {fifo.popped} of {fifo.pushed}"
                )
        return problems


class Chip:
    """The hardware that a program runs on; the clock is an argument, so that several chips can share one.

    Those that do have a `label` each, which starts the names of their cores; `fabric` joins them, each at its `place`.
    """

    fabric: "Fabric | None" = None
    place: int = 0

    def __init__(self, machine: Machine, program: Program, trace: Trace, engine: Engine | None = None, label: str = "") -> None:
        problems = program.check(machine)
        if problems:
            raise SimulationError("the program cannot start: " + "; ".join(problems))
        self.machine = machine
        self.label = label
        self.program = program
        self.trace = trace
        self.engine = engine or Engine()
        self.memory = Memory(machine, self.engine, trace)
        self.costs = Costs(machine.chip.tensix, program.compute)
        self.blocks: dict[tuple[object, ...], Block] = {}
        self.on_write: Callable[[int], None] = lambda pages: None  # so many pages were written
        self.values = any(tensor.values is not None for tensor in program.tensors)
        self.cores = {logical: Core(self, program, logical) for logical in program.cores}

    def check_finished(self) -> None:
        """Raise if a kernel left tiles behind, or an output page was never written.

        Raises:
            SimulationError: lists the first few of each.
        """
        problems = [problem for core in self.cores.values() for problem in core.check_empty()]
        for tensor in self.program.tensors:
            missing = tensor.pages - int(tensor.written.sum())
            if missing:
                first = int((~tensor.written).argmax())
                problems.append(
                    f"tensor {tensor.name}: {missing} of {tensor.pages} pages were never written, the first is page {first}"
                )
        if problems:
            more = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
            raise SimulationError("the program ended with:\n  " + "\n  ".join(problems[:12]) + more)
