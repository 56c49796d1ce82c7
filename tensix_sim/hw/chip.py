"""One virtual chip: its clock, memory and cores, each with circular buffers, semaphores and a Tensix engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord, unknown_name
from tensix_sim.formats import FORMATS, Values
from tensix_sim.hw.authors import Author, Authors
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.ethernet import Port
from tensix_sim.hw.hardware import Hardware, Queue
from tensix_sim.hw.semaphore import Semaphore
from tensix_sim.hw.tables import NOBODY
from tensix_sim.hw.tensix import Costs
from tensix_sim.program import RISC_OF, Program, Tensor
from tensix_sim.trace import Trace
from tensix_sim.trace.causes import DST, MATH, PACK, UNPACK, Cause, LaneWait

ALWAYS = NOBODY - 1  # in place of a RISC


class Core:
    """A worker core: where it is, and what its three kernels share. `place` is its own in the clockwork."""

    def __init__(self, chip: "Chip", program: Program, place: int) -> None:
        self.chip = chip
        self.place = place
        self.logical = program.cores[place]
        self.node = chip.machine.worker(self.logical)
        self.label = f"{chip.label}core ({self.logical[0]},{self.logical[1]})"
        self.fifos = chip.fifos(self.label, self.logical) if chip.watched else chip.any_fifos
        self.buffers, self.semaphores = chip.hardware.add_core(program, self.logical, self.label)
        self.tensix = Tensix(chip.hardware, place)
        self.witnessed = False

    def be_seen_by(self, witness: Callable[[Values], None]) -> None:
        """Let somebody see all values that its kernels write to circular buffers."""
        self.witnessed = True
        for fifo in self.fifos.values():
            fifo.witness = witness

    def cbs(self, names: Sequence[str]) -> tuple[CircularBuffer, ...]:
        """Circular buffers by name.

        Raises:
            SimulationError: the program has no such buffer; names the near ones.
        """
        unknown = [name for name in names if name not in self.fifos]
        if unknown:
            raise SimulationError(str(unknown_name("circular buffer", unknown[0], self.fifos)))
        return tuple([self.fifos[name] for name in names])

    def semaphore(self, name: str) -> Semaphore:
        """A semaphore by name.

        Raises:
            SimulationError: the program has no such semaphore; names the near ones.
        """
        if name not in self.semaphores:
            raise SimulationError(f"{self.label}: {unknown_name('semaphore', name, self.semaphores)}")
        return self.semaphores[name]

    def check_empty(self) -> list[str]:
        """Tiles that no kernel popped, as sentences; resident buffers may keep theirs."""
        problems, moved = [], self.chip.hardware.moved(self.buffers, len(self.chip.program.buffers))
        for fifo in self.fifos.values():
            pushed, popped = moved[fifo.index]
            producer, consumer = RISC_OF[fifo.spec.producer], RISC_OF[fifo.spec.consumer]
            if fifo.written:
                problems.append(
                    f"{fifo.label}: {fifo.written} tiles written by the {fifo.spec.producer} kernel and never pushed; "
                    f"{producer} {fifo.pushes.last('pushed')}"
                )
            if not fifo.spec.resident and pushed != popped:
                problems.append(
                    f"{fifo.label}: {pushed - popped} tiles left over; "
                    f"its {fifo.spec.consumer} kernel popped {popped} of {pushed}: "
                    f"{consumer} {fifo.pops.last('popped')}, {producer} {fifo.pushes.last('pushed')}"
                )
        return [*problems, *filter(None, (semaphore.unseen() for semaphore in self.semaphores.values()))]

    def unused(self) -> list[str]:
        """What its data-movement kernels popped and did nothing with, as sentences."""
        return [
            f"{fifo.label}: {RISC_OF[fifo.spec.consumer]} {fifo.pops.last('popped')}, {fifo.popped} tiles, and wrote none of them"
            for fifo in self.fifos.values()
            if fifo.popped and not fifo.used and fifo.spec.consumer != "compute" and fifo.spec.format.name in FORMATS
        ]


class Tensix:
    """The three clocks of one core, by its place in the clockwork, and where its cycles went."""

    def __init__(self, hardware: Hardware, place: int) -> None:
        self._hardware = hardware
        self._place = place
        self.risc: int | None = None  # of its compute kernel
        self.began = 0  # cycle at which that started

    def total(self, what: str) -> int:
        """A clock, or a sum of cycles: a field of `tables.TENSIX`."""
        return int(self._hardware.silicon.cores.tensixes[self._place][what])

    @property
    def unpack(self) -> int:
        """Clock of T0."""
        return self.total("unpack")

    @property
    def math(self) -> int:
        """Clock of T1."""
        return self.total("math")

    @property
    def pack(self) -> int:
        """Clock of T2."""
        return self.total("pack")

    @property
    def waits(self) -> Counter[Cause]:
        """Cycles for which T0 waited for tiles and T2 for space."""
        return Counter() if self.risc is None else self._hardware.waits(self.risc)

    def lane_waits(self) -> dict[LaneWait, int]:
        """Cycles each thread waited, by cause; with its busy cycles (and T0's pops) they add up to its clock, from its start."""
        of_buffers = {LaneWait("pack" if cause.kind == "space" else "unpack", cause): n for cause, n in self.waits.items()}
        return of_buffers | {
            LaneWait("unpack", MATH): self.total("unpack_src"),
            LaneWait("unpack", PACK): self.total("unpack_pack"),
            LaneWait("math", DST): self.total("math_dst"),
            LaneWait("math", UNPACK): self.math - self.began - self.total("math_busy") - self.total("math_dst"),
            LaneWait("pack", MATH): self.pack - self.began - self.total("pack_busy") - self.total("pack_space"),
        }


class Chip:
    """The hardware that a program runs on; the clock is an argument, so that several chips can share one.

    One with values, or that is `watched`, holds kernels to waiting for what they use: tiles, space, semaphores. Without, they
    are taken to do so, for speed; a program that does not may fail, or have other cycles than hardware would.

    Its program's kernels start `launch` cycles later than asked for: so long others' do before, whose start is when time begins.

    Those that do have a `label` each, which starts the names of their cores; a `Fabric` gives each the `port` to its neighbours.
    """

    port: Port | None = None

    def __init__(
        self,
        machine: Machine,
        program: Program,
        trace: Trace,
        engine: Engine | None = None,
        label: str = "",
        watched: bool = True,
        launch: int = 0,
    ) -> None:
        problems = program.check(machine)
        if problems:
            raise SimulationError("the program cannot start: " + "; ".join(problems))
        self.machine = machine
        self.label = label
        self.program = program
        self.trace = trace
        self.launch = launch
        self.engine = engine or Engine()
        self.hardware = Hardware(machine, self.engine, trace)
        self.hardware.prepare(program)
        self.costs = Costs(machine.chip.tensix, program.compute)
        self.on_write: Callable[[int], None] = lambda pages: None  # so many pages were written
        self.values = any(tensor.values is not None for tensor in program.tensors)
        self.watched = watched or self.values
        written = [tensor for tensor in program.tensors if tensor.output]
        self._written = {tensor: np.zeros(tensor.pages, bool) for tensor in written}
        self._by = {tensor: np.full((tensor.pages, 2), NOBODY) for tensor in written}  # RISC, operations until then
        self._authors = {tensor: Authors(tensor) for tensor in written}
        self.learned: tuple[Any, ...] = ()  # what compute kernels share
        self.any_fifos = {} if self.watched else self.fifos("any core")  # nobody asks them: one set does for all
        self.cores = {logical: Core(self, program, i) for i, logical in enumerate(program.cores)}

    def fifos(self, label: str, core: Coord | None = None) -> dict[str, CircularBuffer]:
        """The circular buffers of a core, by name; without one, those of any."""
        specs = [(i, b) for i, b in enumerate(self.program.buffers) if core is None or b.on(core)]
        return {b.name: CircularBuffer(b, self.engine, f"{label} {b.name}", self.values, i) for i, b in specs}

    def store(
        self, tensor: Tensor, pages: Sequence[int], block: Values | None, author: Author | None, queue: Queue | None = None
    ) -> None:
        """Put tiles, [rows, 32, columns, 32], one after the other in `pages` of an output, which are then written.

        When they are there in time, `queue` knows, to which that was given last; without one, `land` tells.

        Raises:
            SimulationError: the program has no such output, or another kernel may write a page of it before or after.
        """
        page = np.asarray(pages)
        if author is not None:
            self._authors_of(tensor).sign(page, author)
        if block is not None:
            tensor.store(page, block)
        self.written(tensor)[page] = True
        self._by[tensor][page] = (NOBODY, 0) if queue is None else (queue.place, queue.issued)

    def check_heard(self, tensor: Tensor, page: NDArray[Any], reader: Author) -> None:
        """Hold a kernel that reads pages of an output to having waited for who wrote them, whatever the timing.

        Raises:
            SimulationError: it has not.
        """
        self._authors_of(tensor).check_heard(page, reader)

    def land(self, tensor: Tensor, pages: Sequence[int]) -> None:
        """Pages of an output that came from another chip are there in time."""
        self._by[tensor][np.asarray(pages)] = ALWAYS, 0

    def landing(self, tensor: Tensor, page: NDArray[Any], reader: Author) -> Callable[[], None]:
        """What holds pages of an output, as kernels have written them so far, to being there when it is called.

        It raises SimulationError if one of them is not.
        """
        return partial(self._check_landed, tensor, page, self._by[tensor][page], reader)

    def _check_landed(self, tensor: Tensor, page: NDArray[Any], by: NDArray[np.int64], reader: Author) -> None:
        done = self.hardware.silicon.cores.riscs["done"]
        place, number = np.where(by[:, :1] == NOBODY, self._by[tensor][page], by).T
        here = place >= 0
        missing = place == NOBODY
        missing[here] = done[place[here]] < number[here]
        if missing.any():
            first = page[missing.argmax()]
            raise SimulationError(f"{reader}: read of page {first} of {tensor.name}, which nothing has written yet")

    def written(self, tensor: Tensor) -> NDArray[np.bool_]:
        """Which pages of an output are written.

        Raises:
            SimulationError: the program has no such output.
        """
        if tensor not in self._written:
            raise SimulationError(f"{tensor.name} is no output of the program; name it in its tensors, with output=True")
        return self._written[tensor]

    def _authors_of(self, tensor: Tensor) -> Authors:
        self.written(tensor)
        return self._authors[tensor]

    @property
    def progress(self) -> tuple[int, int]:
        """Tiles that were pushed and popped so far, and pages that are written: a program that goes on has more of them."""
        buffers = self.hardware.silicon.cores.buffers
        written = sum(int(pages.sum()) for pages in self._written.values())
        return int(buffers["pushed"].sum() + buffers["popped"].sum()), written

    def check_finished(self) -> None:
        """Raise if a kernel left tiles behind, or an output page was never written.

        Raises:
            SimulationError: lists the first few of each.
        """
        problems = [problem for core in self.cores.values() for problem in core.check_empty()]
        for tensor in self.program.outputs:
            written = self._written[tensor]
            missing = tensor.pages - int(written.sum())
            if missing:
                first = int((~written).argmax())
                problems.append(
                    f"{self.label}tensor {tensor.name}: {missing} of {tensor.pages} pages were never written, the first is "
                    f"page {first}; {self._authors[tensor]}"
                )
        if any(not written.all() for written in self._written.values()):
            problems += [unused for core in self.cores.values() for unused in core.unused()]
        if problems:
            more = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
            raise SimulationError("the program ended with:\n  " + "\n  ".join(problems[:12]) + more)
