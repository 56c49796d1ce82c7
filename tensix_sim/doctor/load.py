"""How the work of a legal spec falls on cores and devices, and the least time it takes: counted, not walked through."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch.model import ChipSpec
from tensix_sim.doctor.records import Floor, Load, Scores
from tensix_sim.formats import TILE
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.ring_joint import RingGeometry

Counts = NDArray[np.int64]
MOST_TILE_ROWS = 2**16  # of a head, 2 M tokens; beyond them counting takes longer than an answer may
MOST_CORES = 256


def countable(g: Geometry) -> bool:
    """Whether the work is small enough to be counted in milliseconds, and in 64 bits."""
    tiles = g.B * g.NQH * g.R * g.phases * g.nq * g.M * g.nk * g.N
    return g.R * g.phases * g.Sqt <= MOST_TILE_ROWS and g.cores <= MOST_CORES and tiles < 2**62


class Work:
    """The Q chunks of a head of a countable geometry, what each computes, and who has them.

    `steps`, `tiles` and `kv_rows` have a number for each Q chunk of the whole sequence: the K chunks that it visits,
    the tiles of scores that it computes, the tile rows of K that it reads.
    """

    def __init__(self, g: Geometry) -> None:
        self.g = g
        self.steps, self.tiles, self.kv_rows, self._beyond_keys = (
            _counted_in_ring(g) if isinstance(g, RingGeometry) else _counted(g)
        )

    def of_cores(self, each: Counts) -> Counts:
        """Add `each` up by device of the ring and core: [R, cores]."""
        g = self.g
        before = np.concatenate([[0], np.cumsum(each)])
        slabs = np.array([g.runs_of_chunks(r) for r in range(g.R)]) * g.nq

        def first(n: Counts) -> Counts:  # sum over the first n Q chunks of a slab: [R, phases, n]
            sums: Counts = before[slabs[:, :, None] + n] - before[slabs][:, :, None]
            return sums

        def dealt(index: Counts) -> Counts:  # sum over the first `index` Q chunks of all heads, in the order of dealing
            head, position = index // g.nq, index % g.nq
            whole = first(np.full(1, g.nq))
            if not g.deal.zigzag:
                return head * whole + first(position)
            return head * whole + first((position + 1) // 2) + whole - first(g.nq - position // 2)

        starts = np.array([g.deal.start(i) for i in range(g.cores)], np.int64)
        total: Counts = (dealt(starts + self.chunks) - dealt(starts)).sum(axis=1)
        return total

    @cached_property
    def chunks(self) -> Counts:
        """Q chunks of each core in a phase."""
        return np.array([self.g.deal.count(i) for i in range(self.g.cores)], np.int64)

    @cached_property
    def chain_waits(self) -> Counts:
        """Tiles of scores in whose time each core waits, at least, for cores of its chain that are still on other heads: [cores].

        A core may run ahead of the next one in its chain by the K chunks that the next one's buffer holds, and by one more for
        each core between the two (K and V are asked for in turn, and each is passed on before the next is asked for). Where
        there are chains all Q chunks have the same tiles.
        """
        g = self.g
        waits = np.zeros(g.cores, np.int64)
        if isinstance(g, RingGeometry):  # in each iteration anew, of which nothing is counted here
            return waits
        held = next(b.tiles for b in g.buffers if b.name == "k_in") // (g.N * g.D)
        for chain in g.chains:
            latest = int(self.tiles[0]) * max(chain.before) - (held + len(chain.cores) - 2) * g.M * g.N
            for core, before in zip(chain.cores, chain.before, strict=True):
                waits[core] = max(0, latest - int(self.tiles[0]) * before)
        return waits

    @property
    def scores(self) -> Scores:
        """Tiles of scores of all devices."""
        g = self.g
        rows = np.tile(np.array(g.chunk_rows), (g.R * g.phases, 1))
        columns = (self.tiles // g.M).reshape(rows.shape)
        sums = (g.M * columns).sum(), (rows * columns).sum(), (rows * self._beyond_keys.reshape(rows.shape)).sum()
        computed, of_queries, beyond_keys = (g.B * g.NQH * int(n) for n in sums)
        return Scores(
            computed=computed,
            hidden=of_queries - beyond_keys - g.B * g.NQH * self._seen,
            beyond_keys=beyond_keys,
            beyond_queries=computed - of_queries,
        )

    @property
    def _seen(self) -> int:
        """Tiles of scores of a head that hold any query and key that meet."""
        g, mask = self.g, self.g.mask
        if isinstance(g, RingGeometry) and not g.causal:
            return g.R * (g.Sqt + g.Lt) * (g.valid_Skt + g.Lt)
        row = g.prefix + TILE * np.arange(-(-g.S // TILE), dtype=np.int64)
        last = np.minimum(row + TILE, g.prefix + g.S) - 1
        end = np.full_like(row, g.valid_Skt)
        if mask.right is not None:
            end = np.minimum((last + mask.right) // TILE + 1, g.valid_Skt)
        first = np.zeros_like(row) if mask.left is None else np.maximum(0, row - mask.left) // TILE
        if mask.windows:
            seen = [mask.window_of(r, min(r + TILE, g.S)) for r in row.tolist()]
            first, end = (np.array(ends, np.int64) for ends in zip(*((a // TILE, -(-b // TILE)) for a, b in seen), strict=True))
        return int(np.maximum(0, end - first).sum())

    def busiest_core(self, ring_id: int) -> int:
        """The core of a device with most scores to compute."""
        return int(self.of_cores(self.tiles)[ring_id].argmax())

    def floor(self, chip: ChipSpec, ring_ids: Sequence[int]) -> Floor:
        """The least cycles of the slowest of some devices."""
        g, b, devices = self.g, self.g.blocks, list(ring_ids)
        cost = chip.tensix
        products = (g.D + g.E) * (cost.mvmul_cycles * g.fidelity_phases + cost.matmul_issue_cycles)
        difference = cost.eltwise_cycles + cost.eltwise_overhead
        exponential = 0 if b.streaming else cost.exp_approx_cycles  # the streaming kernel's pack thread has it
        math = int((self.of_cores(self.tiles) + self.chain_waits)[devices].max()) * (products + difference + exponential)
        slabs = self.kv_rows.reshape(-1, g.nq).sum(axis=1)
        kv_rows = g.valid_Skt if g.chained else max(int(sum(slabs[i] for i in g.runs_of_chunks(r))) for r in devices)
        rows = g.phases * g.Sqt
        sizes = rows * g.D * b.q.tile_bytes, kv_rows * g.D * b.k.tile_bytes, kv_rows * g.E * b.v.tile_bytes
        read = sum(size for size, in_dram in zip(sizes, g.in_dram, strict=True) if in_dram)
        written = rows * g.E * b.q.tile_bytes
        masked = rows * g.valid_Skt * g.attn_mask.tile_bytes if g.attn_mask else 0
        dram = g.B * g.NQH * (read + written * g.output_in_dram + masked) / chip.dram.rate
        return Floor(math=int(math), dram=int(dram))


def _counted(g: Geometry) -> tuple[Counts, Counts, Counts, Counts]:
    """Of each Q chunk of the sequence: K chunks, tiles of scores, tile rows of K, and columns of scores beyond the keys."""
    mask, keys = g.mask, g.valid_Skt
    row = g.M * (g.prefix // (g.M * TILE) + np.arange(g.R * g.phases * g.nq, dtype=np.int64))
    first = np.zeros_like(row) if mask.left is None else np.maximum(0, row - -(-mask.left // TILE)) // g.N
    end = np.full_like(row, keys)
    if mask.right is not None:
        end = np.minimum(row + g.M - -mask.right // TILE, g.nk * g.N if g.causal else keys)
    if mask.windows:
        visited = [mask.k_range(r) for r in row.tolist()]
        first, end = (
            np.array(ends, np.int64) for ends in zip(*((r.start, min(r.stop * g.N, keys)) for r in visited), strict=True)
        )
    steps: Counts = np.maximum(0, -(-end // g.N) - first)
    stop = np.where(steps > 0, end if mask.narrow else -(-end // g.N) * g.N, first * g.N)
    tiles: Counts = g.M * (stop - first * g.N)
    kv_rows: Counts = np.maximum(0, np.minimum(-(-end // g.N) * g.N, keys) - first * g.N)
    beyond_keys: Counts = np.maximum(0, stop - keys)
    return steps, tiles, kv_rows, beyond_keys


def _counted_in_ring(g: RingGeometry) -> tuple[Counts, Counts, Counts, Counts]:
    """Of each device's Q chunks: K chunks, tiles of scores, tile rows of K, and columns beyond the keys, which are none."""
    alike = not g.causal  # then all Q chunks of all devices meet the same
    found = []
    for ring_id, q in ((0, 0),) if alike else np.ndindex(g.R, g.nq):
        seen = [(mask.active(row, j), min(g.N, -(-mask.keys // TILE) - j * g.N)) for mask, row, j in g.k_chunks_of(ring_id, q)]
        found.append((len(seen), g.M * sum(n for n, _ in seen), sum(rows for _, rows in seen)))
    steps, tiles, rows = (np.array(n, np.int64) for n in zip(*(found * (g.R * g.nq if alike else 1)), strict=True))
    return steps, tiles, rows, np.zeros_like(steps)


def load(g: Geometry, chip: ChipSpec, ring_ids: tuple[int, ...]) -> Load | None:
    """Count the work of every core of the slowest of `ring_ids`, and of every device; None where that is too much."""
    if not countable(g):
        return None
    work = Work(g)
    steps, tiles = work.of_cores(work.steps), work.of_cores(work.tiles)
    drawn = max(ring_ids, key=lambda r: int(steps[r].max()))
    return Load(
        grid=g.grid,
        ring_id=drawn,
        chunks=_tuple(g.phases * work.chunks),
        steps=_tuple(steps[drawn]),
        tiles=_tuple(tiles[drawn]),
        device_steps=_tuple(steps.sum(axis=1)),
        slowest_steps=_tuple(steps.max(axis=1)),
        scores=work.scores,
        floor=work.floor(chip, ring_ids),
    )


def _tuple(counts: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in counts)
