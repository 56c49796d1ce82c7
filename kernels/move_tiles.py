"""Tiles from some tensors to others, each to its place: split, concat, the joining of heads, a cache that is filled."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, Tensor

BURST = 8  # tiles read or written at a time


@dataclass(frozen=True)
class Args:
    """A core's moves: tensor and page that a tile comes from, tensor and page that it goes to, up to `BURST` tiles at a time."""

    moves: Sequence[tuple[Tensor, Sequence[int], Tensor, Sequence[int]]]


async def reader(dm: DataMovement, a: Args) -> None:
    """Reads burst by burst."""
    (cb,) = dm.cbs("tiles")
    for source, pages, _, _ in a.moves:
        await dm.reserve(cb, BURST)
        await dm.read(source, pages, cb, (BURST, 1))
        dm.push(cb, BURST)


async def writer(dm: DataMovement, a: Args) -> None:
    """Writes burst by burst."""
    (cb,) = dm.cbs("tiles")
    for _, _, target, pages in a.moves:
        await dm.wait(cb, BURST)
        await dm.write(cb, target, pages, (len(pages), 1))
        dm.pop(cb, BURST)


def program(moves: Sequence[tuple[Tensor, int, Tensor, int]], grid: tuple[int, int]) -> Program:
    """Deal (source, page, target, page) of each tile to the cores of `grid`, in equal shares, one after the other."""
    cores = grid[0] * grid[1]
    share = -(-len(moves) // cores)
    args = [Args(_bursts(moves[i * share : (i + 1) * share])) for i in range(cores)]
    tensors = list({id(t): t for source, _, target, _ in moves for t in (source, target)}.values())
    return Program(
        grid=grid,
        buffers=(BufferSpec("tiles", 2 * BURST, tensors[0].format, "reader", "writer"),),
        kernels=(Kernel("reader", reader, args), Kernel("writer", writer, args)),
        tensors=tuple(tensors),
    )


def _bursts(moves: Sequence[tuple[Tensor, int, Tensor, int]]) -> list[tuple[Tensor, Sequence[int], Tensor, Sequence[int]]]:
    """Runs of at most `BURST` tiles between the same two tensors."""
    bursts: list[tuple[Tensor, list[int], Tensor, list[int]]] = []
    for source, page, target, place in moves:
        if not bursts or bursts[-1][0] is not source or bursts[-1][2] is not target or len(bursts[-1][1]) == BURST:
            bursts.append((source, [], target, []))
        bursts[-1][1].append(page)
        bursts[-1][3].append(place)
    return list(bursts)
