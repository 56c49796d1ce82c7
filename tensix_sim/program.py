"""A program as plain data: tensors in memory, circular buffers, and one kernel for each RISC role.

A program can be built, printed, compared and checked without a clock; `tensix_sim.hw.Chip` runs it.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.formats import TILE, Format, Values

Role = Literal["reader", "compute", "writer"]
MemoryKind = Literal["dram", "l1"]
Fidelity = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]

IDLE = object()
RISC_OF: dict[Role, str] = {"reader": "NCRISC", "compute": "TRISC", "writer": "BRISC"}


@dataclass(frozen=True)
class BufferSpec:
    """A FIFO of `tiles` pages in each core's L1.

    `resident` marks tiles that are pushed once and waited for, but never popped. It is on the `cores` named, or on all. One
    `within` another takes no L1 of its own.
    """

    name: str
    tiles: int
    format: Format
    producer: Role
    consumer: Role
    resident: bool = False
    cores: frozenset[Coord] | None = None
    within: str | None = None

    def on(self, core: Coord) -> bool:
        """Whether a core has it."""
        return self.cores is None or core in self.cores

    @property
    def bytes(self) -> int:
        """Size in L1, of its own."""
        return 0 if self.within else self.tiles * self.format.tile_bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """Tiles in DRAM or L1, interleaved page by page over the banks; page p is tile (p // tile_cols, p % tile_cols).

    `values` is the matrix [tile_rows * 32, tile_cols * 32] with leading dimensions folded into the rows,
    or None where only shapes are simulated. An `output` starts unwritten: reading a page before it is
    written is an error. One that is `scratch` too need not be written whole. What is `opaque` never has values; it may have
    `words`, integers of each page that kernels act on, such as a page table's.
    """

    name: str
    tile_rows: int
    tile_cols: int
    format: Format
    memory: MemoryKind = "dram"
    values: Values | None = None
    output: bool = False
    opaque: bool = False
    scratch: bool = False
    words: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        shape = (self.tile_rows * TILE, self.tile_cols * TILE)
        if self.values is not None and self.values.shape != shape:
            raise ValueError(f"tensor {self.name}: values have shape {self.values.shape}; its tiles need {shape}")

    @property
    def pages(self) -> int:
        """Number of tiles."""
        return self.tile_rows * self.tile_cols

    def store(self, page: NDArray[np.int64], block: Values) -> None:
        """Put tiles, [rows, 32, columns, 32], one after the other in the places of pages, if it has values."""
        if self.tiles is not None:
            flat = block.swapaxes(1, 2).reshape(-1, TILE, TILE)
            self.tiles[page // self.tile_cols, :, page % self.tile_cols, :] = flat

    @property
    def tiles(self) -> Values | None:
        """The values as [tile_row, row, tile_col, column], a view."""
        if self.values is None:
            return None
        return self.values.reshape(self.tile_rows, TILE, self.tile_cols, TILE)


@dataclass(frozen=True)
class ComputeConfig:
    """How the math engine is set up for a program, and how closely its numbers are computed.

    `exact` gives them bit for bit. `ideal` then leaves out what costs accuracy in some places, each a compute verb, the
    buffer that it writes, and a step of `hw.exact.Exact.ideal`.
    """

    math_fidelity: Fidelity = "HiFi2"
    fp32_dest_acc_en: bool = False
    math_approx_mode: bool = True
    exact: bool = False
    ideal: tuple[tuple[str, str, str], ...] = ()

    @property
    def phases(self) -> int:
        """Fidelity phases of one multiply."""
        return {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}[self.math_fidelity]

    @property
    def dst_tiles(self) -> int:
        """Tiles in one DST half."""
        return 4 if self.fp32_dest_acc_en else 8


KernelFunction = Callable[[Any, Any], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Kernel:
    """An `async def kernel(core, args)` for one role, with each core's arguments, or `IDLE` where it does not run.

    `nocs` are the NoCs that it uses, core by core; none given: 0 for a reader, 1 for a writer. With `ethernet` its cores are
    connected to the Ethernet routers: only such a kernel can send to other chips.
    """

    role: Role
    function: KernelFunction
    args: Sequence[Any]
    nocs: Sequence[int] = ()
    ethernet: bool = False


@dataclass(frozen=True)
class Program:
    """What every core of a rectangle of cores, (0, 0) to (columns - 1, rows - 1), runs; core i is (i % columns, i // columns)."""

    grid: Coord
    buffers: tuple[BufferSpec, ...]
    kernels: tuple[Kernel, ...]
    tensors: tuple[Tensor, ...]
    compute: ComputeConfig = ComputeConfig()
    semaphores: tuple[str, ...] = ()
    reserved_l1: int = 0

    @property
    def cores(self) -> tuple[Coord, ...]:
        """Logical cores, row by row."""
        columns, rows = self.grid
        return tuple((x, y) for y in range(rows) for x in range(columns))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that its kernels write whole."""
        return tuple(tensor for tensor in self.tensors if tensor.output and not tensor.scratch)

    def buffers_of(self, core: Coord) -> tuple[BufferSpec, ...]:
        """The circular buffers that a core has."""
        return tuple(buffer for buffer in self.buffers if buffer.on(core))

    def check(self, machine: Machine) -> list[str]:
        """Everything that keeps this program from starting on `machine`, as sentences; empty when it can run."""
        return [*self._check_grid(machine), *self._check_buffers(machine), *self._check_kernels(), *self._check_tensors()]

    def _check_grid(self, machine: Machine) -> list[str]:
        columns, rows = self.grid
        if 1 <= columns <= machine.grid[0] and 1 <= rows <= machine.grid[1]:
            return []
        return [f"grid {columns}x{rows} does not lie within {machine.board}'s {machine.grid[0]}x{machine.grid[1]} workers"]

    def _check_buffers(self, machine: Machine) -> list[str]:
        l1 = machine.chip.l1
        names = [buffer.name for buffer in self.buffers]
        problems = [f"circular buffer {name} is defined twice" for name in sorted({n for n in names if names.count(n) > 1})]
        problems += [f"circular buffer {b.name} holds {b.tiles} tiles; it needs at least 1" for b in self.buffers if b.tiles < 1]
        fullest = max((self.buffers_of(core) for core in self.cores), key=lambda buffers: sum(b.bytes for b in buffers))
        most = max(len(self.buffers_of(core)) for core in self.cores)
        if most > l1.circular_buffers:
            problems.append(f"{most} circular buffers; {machine.chip.name} has {l1.circular_buffers}")
        end = l1.base + sum(buffer.bytes for buffer in fullest)
        if end > l1.size - self.reserved_l1:
            problems.append(
                f"circular buffers end at {end} B; L1 is free up to {l1.size - self.reserved_l1} B: "
                f"{end - l1.size + self.reserved_l1} B too many"
            )
        return problems

    def _check_tensors(self) -> list[str]:
        with_values = [t.name for t in self.tensors if t.values is not None]
        without = [t.name for t in self.tensors if t.values is None and not t.opaque]
        if with_values and without:
            return [f"tensors {', '.join(with_values)} have values, {', '.join(without)} have not; give them to all or to none"]
        return []

    def _shared(self, role: Role) -> bool:
        """Whether two kernels are to run in one role of one core."""
        running = ([args is not IDLE for args in kernel.args] for kernel in self.kernels if kernel.role == role)
        return any(sum(on_core) > 1 for on_core in zip(*running, strict=False))

    def _check_kernels(self) -> list[str]:
        roles = [kernel.role for kernel in self.kernels]
        problems = [f"two kernels for the {role}" for role in RISC_OF if self._shared(role)]
        for b in self.buffers if roles else ():
            missing = {b.producer, b.consumer} - set(roles)
            problems += [f"circular buffer {b.name} needs a {role} kernel, and there is none" for role in sorted(missing)]
        twice = sorted({name for name in self.semaphores if self.semaphores.count(name) > 1})
        problems += [f"semaphore {name} is defined twice" for name in twice]
        for kernel in self.kernels:
            if len(kernel.args) != len(self.cores):
                problems.append(f"the {kernel.role} has arguments for {len(kernel.args)} cores; the grid has {len(self.cores)}")
            if kernel.nocs and len(kernel.nocs) != len(self.cores):
                problems.append(f"the {kernel.role} has NoCs for {len(kernel.nocs)} cores; the grid has {len(self.cores)}")
        return problems
