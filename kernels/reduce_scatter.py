"""Reduce-scatter: every chip of a line or ring gets the sum, over all chips, of its own slice of their tensors.

A slice goes from chip to chip towards its owner, and each chip on the way adds its own to it. A worker core serves one direction
of one link with a share of every slice: its reader reads chunks of its chip's tensor and of what has come from the chip behind,
its compute kernel adds them, its writer sends them to the chip ahead, or at the owner writes them to the output. Workers send
through a mux, a core for each direction of each link. Upstream: `reduce_scatter_minimal_async`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tensix_sim.kernel_api import BufferSpec, Compute, ComputeConfig, DataMovement, Kernel, Program, Tensor
from tensix_sim.kernels.reduce_verbs import AddTerms

READY = "ready"  # chips ahead that may be sent to
CAME = "came"  # groups of chunks from the worker behind
CROSSED = "crossed"  # those from the worker of the other direction on the chip ahead
KEPT = "kept"  # chunks that the worker of the other direction has put into this chip's output
SEMAPHORES = READY, CAME, CROSSED, KEPT
TERMS = "own", "coming", "crossing"  # buffers of what is added up


class Term(NamedTuple):
    """Tiles that are added up: where they lie, and how far a semaphore must be before."""

    tensor: Tensor
    pages: Sequence[int]
    semaphore: str = ""
    reached: int = 0


class SliceChunk(NamedTuple):
    """Tiles that go one step further: their terms, the first of this chip, and where their sum goes.

    It is `sent` to the chip ahead, where it lies on the same pages of the same tensor, or stays. Then a semaphore of a core there,
    or here, is raised, if one is named.
    """

    terms: Sequence[Term]
    target: Tensor
    pages: Sequence[int]
    sent: bool
    tells: tuple[str, tuple[int, int]] | None


@dataclass(frozen=True)
class Args:
    """A worker's chunks in order, and its way: `hops` chips are ahead that must be ready before it sends."""

    chunks: Sequence[SliceChunk]
    chunk_tiles: int
    packet_tiles: int
    step: int
    link: int
    hops: int
    mux: tuple[int, int]
    slots: int  # for packets of this worker in the mux
    opposite: tuple[int, int]  # core that serves the other direction with the same share


async def reader(dm: DataMovement, a: Args) -> None:
    """Each chunk's terms, what comes from elsewhere when it is there; one alone goes to the writer as it is."""
    for chunk in a.chunks:
        names = TERMS if len(chunk.terms) > 1 else ("alone",)
        for term, cb in zip(chunk.terms, dm.cbs(*names[: len(chunk.terms)]), strict=True):
            await dm.reserve(cb, a.chunk_tiles)
            if term.semaphore:
                await dm.semaphore_wait(term.semaphore, term.reached)
            await dm.read(term.tensor, term.pages, cb, (a.chunk_tiles, 1))
            dm.push(cb, a.chunk_tiles)


async def compute(t: Compute, a: Args) -> None:
    """Sums of what has more than one term."""
    out = t.matrix("sum", a.chunk_tiles)
    for chunk in a.chunks:
        if len(chunk.terms) > 1:
            terms = tuple(t.matrix(name, a.chunk_tiles) for name in TERMS[: len(chunk.terms)])
            await t.do(AddTerms, terms, out, len(chunk.pages))
            for term in terms:
                t.pop(term)


async def writer(dm: DataMovement, a: Args) -> None:
    """Each chunk to the chip ahead, in packets, or to this chip's output; and who needs it is told."""
    await dm.connect(a.mux, a.slots)
    if a.hops:
        dm.signal(READY, a.step, a.link, a.hops, a.opposite)
        await dm.semaphore_wait(READY, a.hops)
    for chunk in a.chunks:
        (cb,) = dm.cbs("sum" if len(chunk.terms) > 1 else "alone")
        await dm.wait(cb, a.chunk_tiles)
        if chunk.sent:
            await dm.send(cb, chunk.target, chunk.pages, a.step, a.link, 1, a.packet_tiles)
        else:
            await dm.write(cb, chunk.target, chunk.pages, (a.chunk_tiles, 1), part=(len(chunk.pages), 1))
        dm.pop(cb, a.chunk_tiles)
        if chunk.tells and chunk.sent:
            semaphore, core = chunk.tells
            dm.signal(semaphore, a.step, a.link, 1, core)
        elif chunk.tells:
            semaphore, core = chunk.tells
            dm.semaphore_increase(core, semaphore)
    await dm.connect()


def program(
    grid: tuple[int, int], args: Sequence[Args | object], tensors: Sequence[Tensor], chunk_tiles: int, config: ComputeConfig
) -> Program:
    """Arguments of each core of the grid; those that are idle, muxes among them, have no kernels of their own."""
    fmt, tiles = tensors[0].format, 3 * chunk_tiles
    read = [BufferSpec(name, tiles, fmt, "reader", "compute") for name in TERMS]
    return Program(
        grid=grid,
        buffers=(
            *read, BufferSpec("alone", tiles, fmt, "reader", "writer"), BufferSpec("sum", tiles, fmt, "compute", "writer"),
        ),
        kernels=(Kernel("reader", reader, args), Kernel("compute", compute, args), Kernel("writer", writer, args, ethernet=True)),
        tensors=tuple(tensors),
        compute=config,
        semaphores=SEMAPHORES,
    )  # fmt: skip
