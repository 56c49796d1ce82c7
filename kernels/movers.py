"""Ops around attention that read tiles, do little to them, and write them: heads apart and together, sums, casts, norms, rotation.

A core does its units one after the other. What a unit reads, in what portions with a barrier each, and what is done to its tiles, is given.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from tensix_sim.kernel_api import (
    BufferSpec,
    Compute,
    Costs,
    DataMovement,
    Kernel,
    Matrix,
    Program,
    Pushes,
    Reads,
    SimulationError,
    Stage,
    Tensor,
    Units,
    Updates,
    Windows,
    window,
)

Kind = Literal["copy", "add", "multiply", "product", "function"]


class Portion(NamedTuple):
    """Tiles that are read into a buffer, or written from the last one, with one barrier."""

    buffer: str
    tensor: Tensor
    pages: tuple[int, ...]


class Pass(NamedTuple):
    """What is done to some tiles of a unit, one after the other in windows: from one or two buffers to another."""

    kind: Kind
    x: str
    y: str | None
    out: str
    tiles: int
    y_tiles: int  # of the second operand, each used again for the tiles of a row
    window: int
    kept: tuple[str, ...] = ()  # buffers whose tiles stay for a later pass


@dataclass(frozen=True)
class MoverShare:
    """A core's portions to read and to write, in order, and how often its passes are done."""

    reads: tuple[Portion, ...]
    writes: tuple[Portion, ...]
    passes: tuple[Pass, ...]
    units: int


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """out = a function of x, and of y, in windows of some tiles; cycles only, what the values are NumPy says."""

    x: Matrix
    y: Matrix | None
    out: Matrix
    kind: Kind
    tiles: int  # in a window

    name: ClassVar = "move"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.x.tiles), *(() if self.y is None else ((self.y, self.y.tiles),))))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        spec, n = c.spec, self.tiles
        fpu, math = {
            "copy": (n * spec.eltwise_cycles, n * spec.copy_cycles),
            "add": c.eltwise(n),
            "multiply": c.eltwise(n, multiply=True),
            "product": c.matmul(n),
            "function": (n * spec.eltwise_cycles, n * (spec.copy_cycles + spec.sfpu_start_cycles + spec.reciprocal_column_cycles)),
        }[self.kind]
        both = (self.y.format, n) if self.y is not None else (None, 0)
        made = window(c.unpack(self.x.format, n, *both), n, fpu, math, c.pack(self.out.format, n))
        setup = spec.cb_wait_cycles + spec.cb_update_cycles
        first = Stage(made, math_setup=spec.math_init_cycles, pack_setup=setup, seen=spec.cb_wait_cycles)
        windows = -(-max(self.x.tiles, self.out.tiles) // n)
        return Windows([first, Stage(made, windows - 1)] if windows > 1 else [first], spec.eltwise_halves)

    def values(self, units: Units) -> None:
        raise SimulationError(f"{self.out.label}: this op's kernels have cycles only; give its tensors no values")


async def reader(dm: DataMovement, a: MoverShare) -> None:
    """Portion by portion, each with a barrier."""
    for portion in a.reads:
        (cb,) = dm.cbs(portion.buffer)
        tiles = len(portion.pages)
        await dm.reserve(cb, tiles)
        await dm.read(portion.tensor, portion.pages, cb, (1, tiles))
        dm.push(cb, tiles)


async def compute(t: Compute, a: MoverShare) -> None:
    """The passes of each unit."""
    for _ in range(a.units):
        await t.repeat(unit, a.passes)


async def unit(t: Compute, passes: tuple[Pass, ...]) -> None:
    """One unit."""
    for p in passes:
        x, out = t.matrix(p.x, 1, p.tiles), t.matrix(p.out, 1, 1 if p.kind == "function" else p.tiles)
        y = None if p.y is None else t.matrix(p.y, 1, p.y_tiles)
        await t.do(Work, x, y, out, p.kind, p.window)
        for matrix in (x, y):
            if matrix is not None and matrix.cb.spec.name not in p.kept:
                t.pop(matrix)


async def writer(dm: DataMovement, a: MoverShare) -> None:
    """Portion by portion, each with a barrier."""
    for portion in a.writes:
        (cb,) = dm.cbs(portion.buffer)
        tiles = len(portion.pages)
        await dm.wait(cb, tiles)
        await dm.write(cb, portion.tensor, portion.pages, (1, tiles))
        dm.pop(cb, tiles)


def program(grid: tuple[int, int], shares: list[MoverShare], buffers: tuple[BufferSpec, ...], tensors: tuple[Tensor, ...]) -> Program:
    """A share a core; where nothing is computed, tiles go from the reader's buffer to the writer."""
    kernels = [Kernel("reader", reader, shares), Kernel("writer", writer, shares)]
    if any(share.passes for share in shares):
        kernels.insert(1, Kernel("compute", compute, shares))
    return Program(grid, buffers, tuple(kernels), tensors)
