"""One virtual chip: its clock, memory and cores, each with circular buffers, semaphores and a Tensix engine."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord, unknown_name
from tensix_sim.formats import Values
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.ethernet import Port
from tensix_sim.hw.memory import Memory
from tensix_sim.hw.semaphore import Semaphore
from tensix_sim.hw.tensix import Block, Costs, Tensix
from tensix_sim.program import Program, Tensor
from tensix_sim.trace import Trace


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
        if chip.trace.zones:
            self._count_tiles()

    def _count_tiles(self) -> None:
        trace = self.chip.trace
        for fifo in self.fifos.values():
            if not fifo.shared:
                continue
            fifo.on_change = self._counter(trace.series(fifo.spec.name, "tiles", self.logical))

    def _counter(self, series: int) -> Callable[[CircularBuffer, int], None]:
        trace = self.chip.trace
        return lambda fifo, now: trace.count(series, now, fifo.received - fifo.acked)

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

    Those that do have a `label` each, which starts the names of their cores; a `Fabric` gives each the `port` to its neighbours.
    """

    port: Port | None = None

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
        self._written = {tensor: np.zeros(tensor.pages, bool) for tensor in program.outputs}
        self.cores = {logical: Core(self, program, logical) for logical in program.cores}

    def store(self, tensor: Tensor, pages: Sequence[int], block: Values | None) -> None:
        """Put tiles, [rows, 32, columns, 32], one after the other in `pages` of an output, which are then written."""
        page = np.asarray(pages)
        if block is not None:
            tensor.store(page, block)
        self.written(tensor)[page] = True

    def written(self, tensor: Tensor) -> NDArray[np.bool_]:
        """Which pages of an output are written.

        Raises:
            SimulationError: the program has no such output.
        """
        if tensor not in self._written:
            raise SimulationError(f"{tensor.name} is no output of the program; name it in its tensors, with output=True")
        return self._written[tensor]

    def check_finished(self) -> None:
        """Raise if a kernel left tiles behind, or an output page was never written.

        Raises:
            SimulationError: lists the first few of each.
        """
        problems = [problem for core in self.cores.values() for problem in core.check_empty()]
        for tensor, written in self._written.items():
            missing = tensor.pages - int(written.sum())
            if missing:
                first = int((~written).argmax())
                problems.append(
                    f"tensor {tensor.name}: {missing} of {tensor.pages} pages were never written, the first is page {first}"
                )
        if problems:
            more = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
            raise SimulationError("the program ended with:\n  " + "\n  ".join(problems[:12]) + more)
