"""The least that a device can take, told from what its config makes it multiply and move."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.kernels.sdpa import zigzag
from tensix_sim.ops.geometry import Geometry

Counts = NDArray[np.int64]


class Work:
    """What one device of a legal config has to do."""

    def __init__(self, g: Geometry, on: Machine, ring_id: int) -> None:
        """Count the tile columns of the scores, and the tile rows of K and V, of each Q chunk of a head."""
        self._g, self._on = g, on
        order = [zigzag(i, g.nq) for i in range(g.nq)] if g.causal else range(g.nq)
        chunks = [_of_chunk(g, a) for a in ((offset + q) * g.M for q in order for offset in g.q_offsets(ring_id))]
        of_phases = np.array(chunks, np.int64).reshape(g.nq, g.phases, 3)
        self._steps, self._columns, self._rows = of_phases.sum(axis=1).T

    @property
    def steps(self) -> int:
        """Pairs of a Q chunk and a K chunk, on all cores."""
        return int(self._steps.sum()) * self._heads

    @cached_property
    def busiest(self) -> int:
        """The core with most scores."""
        return int(self._of_cores.argmax())

    @property
    def least_cycles(self) -> int:
        """Cycles that no run can beat: those of the busiest core's products, or of the bytes that DRAM must give and take."""
        g, chip = self._g, self._on.chip
        products = int(self._of_cores.max()) * g.M * (g.D + g.E)
        return max(products * g.fidelity_phases * chip.tensix.mvmul_cycles, int(self._bytes / chip.dram.rate))

    @property
    def _heads(self) -> int:
        return self._g.B * self._g.NQH

    @cached_property
    def _of_cores(self) -> Counts:
        """Columns of each core."""
        deal = self._g.deal
        before = np.concatenate(([0], np.cumsum(np.tile(self._columns, self._heads))))
        first = np.array([deal.start(i) for i in range(self._g.cores)])
        return before[first + [deal.count(i) for i in range(self._g.cores)]] - before[first]

    @property
    def _bytes(self) -> int:
        """Bytes of Q, K and V that must leave the banks; where cores pass K and V on, each row once for a head."""
        g = self._g
        rows = g.valid_Skt if g.chained else int(self._rows.sum())
        return self._heads * (g.phases * g.Sqt * g.D * g.blocks.q.tile_bytes + rows * (g.D + g.E) * g.blocks.kv.tile_bytes)


def _of_chunk(g: Geometry, row: int) -> tuple[int, int, int]:
    """(K chunks, tile columns that are computed, tile rows of K that exist) of the Q chunk at an absolute tile row."""
    seen = g.mask.k_range(row)
    if not seen:
        return 0, 0, 0
    first, last = seen.start * g.N, (seen.stop - 1) * g.N
    return len(seen), last + g.mask.active(row, seen.stop - 1) - first, min(last + g.N, g.valid_Skt) - first
