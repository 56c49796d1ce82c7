"""Reduce-scatter along a line or a ring of chips: its rules, its algorithms, and the program of each chip.

An algorithm says of each worker which chunks of which slices it sends or keeps, in order, and what it adds to them before; it is
a generator of `Hop`s. From these follow the signals, and from all of it the kernels' chunks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.formats import FLOAT32, TILE, Values
from tensix_sim.gather.wiring import Wired, wiring_problems
from tensix_sim.hw.ethernet import BACKWARD, FORWARD
from tensix_sim.kernels import reduce_scatter
from tensix_sim.kernels.reduce_scatter import CAME, CROSSED, KEPT, Args, SliceChunk, Term
from tensix_sim.program import IDLE, ComputeConfig, Program, Tensor

Walk = Literal["halfway", "around"]
WAYS = FORWARD, BACKWARD
WORKERS = 8, 4, 2, 1  # of a link and direction: the first that the chip has cores for
CHUNK_TILES = 8  # packets have fewer than 4 tiles, and a chunk four of them, or 8 tiles
MOST_PACKET_TILES = 2  # two-address scatter writes
SHORT = 6  # chunks of a step, of which each is signalled
RING_SYNC, LINE_SYNC = 4, 20  # most chunks between two signals


class Hop(NamedTuple):
    """A chunk of a slice on its way: what is added to the chip's own tiles, and whom its end is told.

    `adds` and `tells` are semaphores of the kernels. What tells of CAME or CROSSED is sent to the chip ahead.
    """

    slice: int
    chunk: int
    adds: tuple[str, ...]
    tells: str


@dataclass(frozen=True)
class ReduceScatter(Wired):
    """What is reduced, and how: tensors of `shape` on `devices`, of whose sum each device gets its part along `dim`.

    Sizes are elements; slices are whole tiles. `links` of those between two neighbours are used, each with so many `workers` in
    either direction, by default as many of 8 as the chip has cores for. A worker has `slots` in its mux, and signals after
    `chunks_per_sync` chunks, tt-metal's own choice by default. Around a ring, slices meet `halfway` at their owner, or go all
    `around` in both directions, as they did until April 2026 and do where devices are odd in number. Without a `barrier`
    nobody asks whether the others have begun, as is right where the caller keeps the buffers. `exact`: the chip's bits.
    """

    workers: int | None = None
    chunks_per_sync: int | None = None
    slots: int = 1
    walk: Walk = "halfway"
    barrier: bool = True
    packet_bytes: int | None = None
    exact: bool = False

    name: ClassVar = "reduce_scatter"

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of a device's result."""
        dim = self.dim % len(self.shape)
        return (*self.shape[:dim], self.shape[dim] // self.devices, *self.shape[dim + 1 :])

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice."""
        return prod(self.tiles) // self.devices * self.format.tile_bytes

    @property
    def compute(self) -> ComputeConfig:
        """A DST of 32 bits for float32."""
        return ComputeConfig(fp32_dest_acc_en=self.format is FLOAT32, exact=self.exact)

    @property
    def halves(self) -> bool:
        """Whether each of the two directions takes every other chunk of a slice, as around a ring."""
        return self.topology == "ring"

    # -- rules ------------------------------------------------------------------------------------------------------------

    def problems(self, on: Machine, shape: Sequence[int] | None = None) -> list[str]:
        """All that keeps it from being done on a board, as sentences; `shape` is the mesh of devices, if not the board's."""
        mesh = tuple(shape or on.mesh)
        found = wiring_problems("a reduce-scatter", self.devices, self.links, self.topology, on, mesh)
        return [*found, *self._tile_problems(), *self._worker_problems(on)]

    def _tile_problems(self) -> Iterator[str]:
        rank = len(self.shape)
        if not -rank <= self.dim < rank or rank < 2:
            yield f"no dimension {self.dim} in a tensor of {list(self.shape)}"
            return
        for at in sorted({self.dim % rank, rank - 2, rank - 1}):
            unit = (TILE if at >= rank - 2 else 1) * (self.devices if at == self.dim % rank else 1)
            if unit and (self.shape[at] % unit or not self.shape[at]):
                whole = f"{self.devices} slices" + (f" of whole tiles of {TILE}" if at >= rank - 2 else "")
                what = whole if at == self.dim % rank else f"whole tiles of {TILE}"
                near = " or ".join(str(n) for n in (self.shape[at] // unit * unit, (self.shape[at] // unit + 1) * unit) if n)
                yield f"a tensor of {list(self.shape)}: {self.shape[at]} along dim {at} is not {what}; {near} would be"

    def _worker_problems(self, on: Machine) -> Iterator[str]:
        yield from self.packet_problems(self.packet_bytes, on)
        fit = on.cores // (2 * max(self.links, 1)) - 1
        if self.workers is not None and not 1 <= self.workers <= fit:
            yield f"{self.workers} workers a link and direction; 1 to {fit} fit {on.board}'s {on.cores} cores beside their mux"
        for name in ("slots", "chunks_per_sync"):
            if (given := getattr(self, name)) is not None and given < 1:
                yield f"{name} {given}; 1 at least"
        if self.walk == "halfway" and self.topology == "ring" and self.devices % 2:
            yield f"a ring of {self.devices} has no device halfway; it goes around"

    # -- closed forms -----------------------------------------------------------------------------------------------------

    def link_bytes(self, i: int, step: int) -> int:
        """Bytes that go over all links from chip `i` in one direction.

        On a line a slice for each chip that is ahead; around a ring half of the slices of all others, to the byte where shares of
        workers are even numbers of tiles.
        """
        if self.topology == "ring":
            return (self.devices - 1) * self.slice_bytes // 2
        return self.slice_bytes * self._ahead(i, step)

    def dram_bytes(self, i: int) -> tuple[int, int]:
        """Bytes that chip `i` reads from its DRAM, and that are written to it, with what comes from others.

        Around a ring it reads its tensor once, and as often what came: R - 1 slices; it writes these and its result. On a line
        both directions read the tensor of slices that lie ahead; a chip in the middle reads and writes its result again.
        """
        others = self.devices - 1
        if self.topology == "ring":
            return self.slice_bytes * (2 * others + 1), self.slice_bytes * (others + 1)
        came = sum(1 + self._ahead(i, step) for step in WAYS if self._ahead(i, -step))
        again = int(0 < i < others)
        return self.slice_bytes * (others + came + 1 + again), self.slice_bytes * (came + 1 + again)

    def _ahead(self, i: int, step: int) -> int:
        """Chips of a line that are ahead of chip `i` in a direction."""
        return self.devices - 1 - i if step == FORWARD else i

    # -- shares and chunks ------------------------------------------------------------------------------------------------

    @cached_property
    def pages(self) -> list[NDArray[np.int64]]:
        """Pages of each slice in a device's tensor, in the order of the result's pages."""
        pages = np.arange(prod(self.tiles)).reshape(self.tiles)
        return [part.ravel() for part in np.split(pages, self.devices, self.dim)]

    def chunks(self, worker: int, of: int) -> list[tuple[range, int]]:
        """Ranges of a slice's tiles in a worker's share, and the direction that takes each to its end; on a line both do."""
        first, stop = (len(self.pages[0]) * n // of for n in (worker, worker + 1))
        return list(self._cut(range(first, stop)))

    def ends_forward(self, on: Machine) -> NDArray[np.bool_]:
        """Which of a result's pages the workers of the forward direction write."""
        of, forward = self.links * self.workers_on(on), np.zeros(len(self.pages[0]), bool)
        for tiles, way in (chunk for worker in range(of) for chunk in self.chunks(worker, of)):
            forward[tiles.start : tiles.stop] = way == FORWARD
        return forward

    def _cut(self, tiles: range) -> Iterator[tuple[range, int]]:
        """Chunks of a run of tiles, for the two directions by turns: of what is left half, then all, but no more than a chunk."""
        while tiles:
            for way in WAYS if self.halves else (FORWARD,):
                n = min(CHUNK_TILES, len(tiles) // 2 if self.halves and way == FORWARD else len(tiles))
                if n:
                    yield tiles[:n], way
                tiles = tiles[n:]

    # -- algorithms -------------------------------------------------------------------------------------------------------

    def hops(self, i: int, step: int, ways: Sequence[int]) -> Iterator[Hop]:
        """What the worker of one direction on chip `i` does, of chunks that end in `ways`."""
        if self.topology == "line":
            return self._along(i, step, len(ways))
        return self._halfway(i, step, ways) if self.walk == "halfway" else self._around(i, step, ways)

    def _around(self, i: int, step: int, ways: Sequence[int]) -> Iterator[Hop]:
        """A slice comes from its owner's next neighbour all the way round: R - 1 hops."""
        last = self.devices - 1
        for t, (chunk, way) in product(range(last + 1), enumerate(ways)):
            if way == step:
                yield Hop((i + step * (last - t)) % self.devices, chunk, (CAME,) if t else (), CAME if t < last else "")

    def _halfway(self, i: int, step: int, ways: Sequence[int]) -> Iterator[Hop]:
        """A slice comes from both sides, R / 2 hops: of the chip opposite, half from either side.

        A chunk ends with the worker of one direction; what comes the other way crosses over to it on the last hop.
        """
        half = self.devices // 2
        for t, (chunk, way) in product(range(half + 1), enumerate(ways)):
            owner, ends_here = (i + step * (half - t)) % self.devices, way == step
            if t == half and ends_here:
                yield Hop(owner, chunk, (CAME, CROSSED), "")
            elif t < half and (t or ends_here):
                came = t > 1 or (t == 1 and ends_here)
                yield Hop(owner, chunk, (CAME,) if came else (), CROSSED if t == half - 1 and not ends_here else CAME)

    def _along(self, i: int, step: int, chunks: int) -> Iterator[Hop]:
        """Slices of all chips ahead, the farthest first; then the own one, of what comes forward first, then of the rest."""
        behind, ahead = self._ahead(i, -step), self._ahead(i, step)
        for distance, chunk in product(range(ahead, 0, -1), range(chunks)):
            yield Hop(i + step * distance, chunk, (CAME,) if behind else (), CAME)
        for chunk in range(chunks) if behind else ():
            if step == FORWARD:
                yield Hop(i, chunk, (CAME,), KEPT if ahead else "")
            else:
                yield Hop(i, chunk, (KEPT, CAME) if ahead else (CAME,), "")

    def sync(self, chunks: int) -> int:
        """Chunks of a step between two signals."""
        if self.chunks_per_sync:
            return self.chunks_per_sync
        if self.topology == "ring":
            return 1 if chunks < SHORT else RING_SYNC
        return min(LINE_SYNC, max(chunks // 2, 1))

    def signals(self, i: int, step: int, ways: Sequence[int]) -> dict[tuple[str, int, int], tuple[int, bool]]:
        """By semaphore, slice and chunk: what the semaphore has come to when the chunk is there, and if it is raised then."""
        steps = defaultdict(list)
        for hop in self.hops(i, step, ways):
            steps[hop.tells, hop.slice].append(hop.chunk)
        found, raised = {}, Counter[str]()
        for (semaphore, owner), chunks in steps.items():
            every = 1 if semaphore == KEPT else self.sync(len(chunks))
            for n, chunk in enumerate(chunks):
                last = (n + 1) % every == 0 or n + 1 == len(chunks)
                found[semaphore, owner, chunk] = raised[semaphore] + n // every + 1, last
            raised[semaphore] += -(-len(chunks) // every)
        return found

    # -- programs ---------------------------------------------------------------------------------------------------------

    def workers_on(self, on: Machine) -> int:
        """Workers of a link and direction."""
        return self.workers or next((n for n in WORKERS if 2 * self.links * (n + 1) <= on.cores), 1)

    def core(self, on: Machine, link: int, step: int, n: int) -> Coord:
        """Where a direction's mux stands, `n` 0, and its workers behind it, row by row."""
        place = (2 * link + (step == BACKWARD)) * (1 + self.workers_on(on)) + n
        return place % on.grid[0], place // on.grid[0]

    def programs(self, on: Machine, tensors: Sequence[Values | None]) -> list[Program]:
        """The program of each chip; its output is the result."""
        return [self._program(on, i, values) for i, values in enumerate(tensors)]

    def _program(self, on: Machine, i: int, values: Values | None) -> Program:
        memory, count = self._tensors(values), self.workers_on(on)
        workers = {
            self.core(on, link, step, 1 + n): self._worker(on, i, step, link, n, memory)
            for link, step, n in product(range(self.links), WAYS, range(count))
        }
        rows = self.core(on, self.links - 1, BACKWARD, count)[1] + 1
        args = [workers.get((x, y), IDLE) for y in range(rows) for x in range(on.grid[0])]
        return reduce_scatter.program((on.grid[0], rows), args, memory, CHUNK_TILES, self.compute)

    def _tensors(self, values: Values | None) -> list[Tensor]:
        """A chip's own, its result, and what comes from either side."""
        rows, cols = prod(self.tiles[:-1]), self.tiles[-1]
        flat = None if values is None else np.ascontiguousarray(values, np.float32).reshape(rows * TILE, cols * TILE)
        width = self.result[-1] // TILE
        height = prod(self.tiles) // self.devices // width

        def blank(name: str, rows: int, cols: int, scratch: bool) -> Tensor:
            unwritten = None if flat is None else np.full((rows * TILE, cols * TILE), np.nan, np.float32)
            return Tensor(name, rows, cols, self.format, values=unwritten, output=True, scratch=scratch)

        return [
            Tensor("own", rows, cols, self.format, values=flat),
            blank("reduced", height, width, False),
            blank("from behind", rows, cols, True),
            blank("from ahead", rows, cols, True),
        ]

    def _worker(self, on: Machine, i: int, step: int, link: int, n: int, memory: Sequence[Tensor]) -> Args:
        """Of a direction's workers number `n`."""
        count = self.workers_on(on)
        own, out, *came = memory
        coming, crossing = came[::step]
        here, opposite = (self.core(on, link, way, 1 + n) for way in (step, -step))
        chunks = self.chunks(link * count + n, self.links * count)
        ways = [way for _, way in chunks]
        told = self.signals(i, step, ways)
        adds = {
            CAME: (coming, self.signals((i - step) % self.devices, step, ways)),
            CROSSED: (crossing, self.signals((i + step) % self.devices, -step, ways)),
            KEPT: (out, self.signals(i, -step, ways)),
        }

        def chunk_of(hop: Hop) -> SliceChunk:
            tiles, _ = chunks[hop.chunk]
            there, kept = self.pages[hop.slice][tiles.start : tiles.stop].tolist(), list(tiles)
            terms = [] if KEPT in hop.adds else [Term(own, there)]
            for semaphore in hop.adds:
                tensor, signals = adds[semaphore]
                reached, _ = signals[semaphore, hop.slice, hop.chunk]
                terms.append(Term(tensor, kept if semaphore == KEPT else there, semaphore, reached))
            sent, (_, raised) = hop.tells in (CAME, CROSSED), told[hop.tells, hop.slice, hop.chunk]
            tells = (hop.tells, here if hop.tells == CAME else opposite) if raised and hop.tells else None
            return SliceChunk(terms, coming if sent else out, there if sent else kept, sent, tells)

        ahead = self._ahead(i, step) if self.topology == "line" else self.devices - 1
        packet = self.packet_bytes or on.chip.ethernet.packet_bytes
        return Args(
            chunks=[chunk_of(hop) for hop in self.hops(i, step, ways)],
            chunk_tiles=CHUNK_TILES,
            packet_tiles=min(MOST_PACKET_TILES, max(1, packet // self.format.tile_bytes)),
            step=step,
            link=link,
            hops=ahead if self.barrier else 0,
            mux=self.core(on, link, step, 0),
            slots=self.slots,
            opposite=opposite,
        )
