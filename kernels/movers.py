"""Ops around attention that read tiles, do little to them, and write them: heads, sums, casts, norms, rotation.

A core does its units one after the other: portions that it reads and writes with a barrier each, and passes over the tiles between.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tensix_sim.kernel_api import BufferSpec, Compute, DataMovement, Kernel, Program, Tensor
from tensix_sim.kernels.mover_verbs import Doing, TilesPass


class Burst(NamedTuple):
    """Tiles that are read into a buffer, or written from the last one, with one barrier."""

    buffer: str
    tensor: Tensor
    pages: tuple[int, ...]


class Pass(NamedTuple):
    """What is done to some tiles of a unit, in windows: from one or two buffers to another."""

    kind: Doing
    x: str
    y: str | None
    out: str
    tiles: int  # of x
    y_tiles: int  # of y, used again for the tiles of a row
    window: int
    kept: tuple[str, ...] = ()  # buffers whose tiles stay for a later pass


@dataclass(frozen=True)
class MoverShare:
    """A core's portions to read and to write, in order, and how often its passes are done."""

    reads: tuple[Burst, ...]
    writes: tuple[Burst, ...]
    passes: tuple[Pass, ...]
    units: int


async def reader(dm: DataMovement, a: MoverShare) -> None:
    """Burst by portion, each with a barrier."""
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
        x, out = t.matrix(p.x, 1, p.tiles), t.matrix(p.out, 1, 1 if p.kind == "reduce" else p.tiles)
        y = None if p.y is None else t.matrix(p.y, 1, p.y_tiles)
        await t.do(TilesPass, x, y, out, p.kind, p.window)
        for matrix in (x, y):
            if matrix is not None and matrix.cb.spec.name not in p.kept:
                t.pop(matrix)


async def writer(dm: DataMovement, a: MoverShare) -> None:
    """Burst by portion, each with a barrier."""
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
