"""Ring joint attention in tiles: which slices of K and V a device meets, in which order, and who of its cores has which Q chunk.

Each of R devices holds a slice of Q, K and V, and joint rows that stand behind the sequence on all of them. In a causal run that
is balanced a slice is two parts of the sequence, one from the front and its mirror image from the back.
With a 32-bit DST the legacy kernel merges slice by slice. Source: ttnn's ring_joint_sdpa, mid-2026 (program factory,
ring_id_sequencer).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from tensix_sim.arch import Machine
from tensix_sim.arch.rings import Joining, usual_topology
from tensix_sim.config import RunSpec
from tensix_sim.formats import BFLOAT16, TILE, Format
from tensix_sim.kernels.sdpa import Mask
from tensix_sim.program import BufferSpec
from tensix_sim.sdpa.chains import Chain, chains
from tensix_sim.sdpa.deal import Deal
from tensix_sim.sdpa.geometry import Geometry, spec_machine

SIGNAL, PAD = Format("16 B", 16, 16, False, 0), Format("64 B", 64, 64, False, 0)


def ring_order(ring: int, r: int, line: bool) -> list[tuple[int, tuple[int, int] | None]]:
    """Slices in the order in which device `r` uses them, each with the direction that it comes from and the count to wait for.

    Direction 0 has those of the devices after it, and counts the device's own slice too; direction 1 those before.
    """
    above = ring - 1 - r if line else (ring - 1) // 2
    left, done = [above, ring - 1 - above], [0, 0]
    order: list[tuple[int, tuple[int, int] | None]] = [(r, None)]
    way = 0 if above else 1
    for _ in range(ring - 1):
        done[way] += 1
        step = done[way] if way == 0 else -done[way]
        order.append(((r + step) % ring, (way, done[way] + (way == 0))))
        if done[1 - way] < left[1 - way]:
            way = 1 - way
    return order


@dataclass(frozen=True)
class RingGeometry(Geometry):
    """A legal spec of the joint ring: `L` joint rows on every device."""

    L: int = 0
    balanced: bool = False
    topology: Joining = "ring"
    links: int = 1
    board_grid: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, spec: RunSpec, on: Machine | None = None) -> "RingGeometry":
        """Work out the geometry of a spec that `check` has passed, on another machine than the spec's if one is given."""
        on = on or spec_machine(spec)
        usual = super().of(spec, on)
        assert isinstance(usual, cls)
        return replace(
            usual,
            L=spec.joint_len,
            Sk=spec.logical_n or spec.inputs.seq_len,
            balanced=spec.is_balanced,
            topology=spec.topology or usual_topology(on, spec.ring_size),
            links=spec.num_links or on.links_per_neighbour,
            board_grid=on.grid,
        )

    # -- sizes ------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Rows of the sequence that are no padding."""
        return self.Sk

    @property
    def local_chunks(self) -> int:
        """Q chunks of a head's own rows."""
        return -(-self.Sqt // self.M)

    @property
    def nq(self) -> int:
        """Q chunks of a head, those of the joint rows behind."""
        return self.local_chunks + -(-self.L // (TILE * self.M))

    @property
    def Lt(self) -> int:  # noqa: N802
        """Tile rows of the joint rows."""
        return -(-self.L // TILE)

    @property
    def ragged(self) -> bool:
        """Whether any K chunk is cut."""
        chunk = self.N * TILE
        return any(rows % chunk for rows in (self.n, self.Sc, self.L))

    @property
    def bars(self) -> tuple[int, ...]:
        """Keys that are left in the last tile of the sequence, and of the joint rows, where it is not whole."""
        return tuple(rows % TILE for rows in (self.n, self.L) if rows % TILE)

    @property
    def palette(self) -> int:
        """Tiles of the mask; 0 where nothing is ever cut."""
        return 1 + self.causal + len(self.bars) if self.causal or self.ragged else 0

    @cached_property
    def mask(self) -> Mask:
        """What the Q chunks of a device see of its own slice."""
        return self.mask_of(self.Sc)

    def mask_of(self, keys: int, causal: bool | None = None) -> Mask:
        """What a Q chunk sees of so many keys that stand together."""
        narrow = self.blocks.streaming
        return Mask(self.M, self.N, keys, self.causal if causal is None else causal, None, narrow, True, self.what_if.mask)

    @property
    def many(self) -> bool:
        """Whether any core has several Q chunks."""
        return max(self.counts) > 1

    @property
    def q_chunks_held(self) -> int:
        """Q chunks that L1 has room for."""
        return 2 if self.many else 1

    @cached_property
    def buffers(self) -> tuple[BufferSpec, ...]:
        """The circular buffers of a compute core, in the order of their indices; gather cores have one of their own."""
        m, e = self.M, self.E
        plain = {b.name: b for b in self.blocks.buffers(self.q_chunks_held, self.palette, 0)}

        def brought(name: str, tiles: int) -> BufferSpec:
            return BufferSpec(name, tiles, BFLOAT16, "writer", "compute")

        def taken(name: str, tiles: int, fmt: Format = BFLOAT16) -> BufferSpec:
            return BufferSpec(name, tiles, fmt, "compute", "writer")

        streaming = self.blocks.streaming
        few = streaming and not self.many and m <= 2 * self.blocks.pv_rows
        more = {b.name: b for b in (
            BufferSpec("scale_in", 1, BFLOAT16, "writer", "compute", resident=True),
            taken("out", 2 * self.blocks.pv_rows * e if few else m * e),
            brought("max_in", m), brought("lse_in", m), brought("prev_out", m * e), taken("max_out", m), taken("lse_out", m),
            taken("sum_out", m), brought("sum_in", m),
            taken("signal", 1, SIGNAL), BufferSpec("kv_pad_derived", 1, PAD, "reader", "compute", resident=True),
        )}  # fmt: skip
        between = ("max_in", "prev_out", "max_out", "recip_scratch", "sum_out", "sum_in", "signal")
        order = (
            "q_in", "k_in", "v_in", "mask_in", "scale_in", "identity_scale", "col_identity", "qk_im", "out_im_A", "out_im_B",
            "max_A", "max_B", "sum_A", "sum_B", "exp_max_diff", "out",
            *(between if streaming else ("lse_in", "prev_out", "lse_out")), "kv_pad_derived",
        )  # fmt: skip
        changed = self.what_if.buffers
        made = [(plain | more)[name] for name in order if name in plain | more]
        return tuple(replace(b, tiles=changed[b.name]) if b.name in changed else b for b in made)

    # -- who computes what ------------------------------------------------------------------------------

    @property
    def alike(self) -> bool:
        """Whether all devices have the same to do at any time, but for padding at the end of the sequence."""
        return self.topology == "ring" and not self.causal and not self.what_if.start_skew

    @property
    def may_chain(self) -> bool:
        """Whether the op passes K and V on, what-ifs aside."""
        return self.B == 1 and not self.shares_rows

    @property
    def chained(self) -> bool:
        """Whether cores get K and V from others, along chains or in their rows."""
        return super().chained or self.shares_rows

    @property
    def shares_rows(self) -> bool:
        """Whether one K/V head serves all query heads: then a core of each row reads K and V for all of the row."""
        return self.NKH == 1 < self.NQH and self.B == 1 and self.what_if.chains != "none"

    def row_of(self, i: int) -> tuple[int, list[int], int]:
        """Of core `i`'s row: who reads, one of the busiest and another column in each row; all cores; the busiest's Q chunks."""
        columns, y = self.grid[0], i // self.grid[0]
        cores = list(range(y * columns, (y + 1) * columns))
        turns = max(self.counts[core] for core in cores)
        busiest = [core for core in cores if self.counts[core] == turns]
        return busiest[y % len(busiest)], cores, turns

    @cached_property
    def chains(self) -> list[Chain]:
        """The chains of cores that pass K and V of a KV head on."""
        if not super().chained:
            return []
        group = self.NQH // self.NKH
        return chains(Deal(self.NKH, self.nq * group, self.cores, False, self.counts), "where_alone")

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Q chunks of each core."""
        return tuple(self.deal.count(i) for i in range(self.cores))

    @cached_property
    def deal(self) -> Deal:
        """The Q chunks of each core, the same in every iteration."""
        return Deal(self.B * self.NQH, self.nq, self.cores, self.balanced, self.what_if.deal)

    def slabs(self, ring_id: int = 0) -> tuple[slice, ...]:
        """Rows of the sequence that a device has."""
        if not self.balanced:
            return (slice(ring_id * self.Sc, (ring_id + 1) * self.Sc),)
        half = self.Sc // 2
        return tuple(slice(i * half, (i + 1) * half) for i in (ring_id, 2 * self.R - 1 - ring_id))

    def runs_of_chunks(self, ring_id: int) -> tuple[int, ...]:
        """Where a device's Q chunks of a head stand among those of all devices, by runs of `nq`."""
        return (ring_id,)

    @property
    def chunk_rows(self) -> tuple[int, ...]:
        """Tile rows of each Q chunk of a head that are there."""
        parts = (self.Sqt, self.local_chunks), (self.Lt, self.nq - self.local_chunks)
        return tuple(min(self.M, rows - i * self.M) for rows, chunks in parts for i in range(chunks))

    def keys_of(self, s: int) -> int:
        """Rows of slice `s` that are no padding; it lies at the end of a slice, or of one of its parts."""
        return max(0, min(self.n - s * self.Sc, self.Sc))

    def met(self, ring_id: int) -> Iterator[tuple[int, tuple[Mask, ...], bool]]:
        """Of each iteration: the slice, masks over its rows and over the joint rows, and whether later Q chunks only meet it."""
        for s, _ in ring_order(self.R, ring_id, self.topology == "line"):
            keys, joint = self.keys_of(s), [self.mask_of(self.L, False)] if self.L and s == self.R - 1 else []
            own = s == ring_id
            if self.causal and not own:
                if self.balanced and s < ring_id:
                    keys = self.Sc // 2
                elif not self.balanced and s > ring_id:
                    keys = 0
            local = [self.mask_of(keys, self.causal and own)] if keys else []
            yield s, (*local, *joint), self.balanced and s > ring_id

    def k_chunks_of(self, ring_id: int, q: int) -> Iterator[tuple[Mask, int, int]]:
        """K chunks that a device's Q chunk `q` computes: the mask that it sees them by, its row there, and their number."""
        for _, masks, later in self.met(ring_id):
            if later and q < self.nq // 2:
                continue
            for mask in masks:
                row = q * self.M if mask.causal else 0
                for j in mask.k_range(row):
                    yield mask, row, j

    def steps(self, i: int, ring_id: int = 0) -> int:
        """Pairs of a Q chunk and a K chunk that core `i` computes."""
        return sum(self._of_chunk(ring_id, q)[0] for _, q in self.deal.places(i))

    def masked_steps(self, i: int, ring_id: int = 0) -> int:
        """Those of core `i`'s steps that stamp the mask."""
        return sum(self._of_chunk(ring_id, q)[1] for _, q in self.deal.places(i))

    def _of_chunk(self, ring_id: int, q: int) -> tuple[int, int]:
        known = self._known.get((ring_id, q))
        if known is None:
            seen = list(self.k_chunks_of(ring_id, q))
            known = self._known[ring_id, q] = len(seen), sum(bool(mask.marks(row, j)) for mask, row, j in seen)
        return known

    @cached_property
    def _known(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Steps, and masked steps, of Q chunks, which are the same in every head."""
        return {}

    # -- gather cores -------------------------------------------------------------------------------------

    @property
    def gather_cores(self) -> tuple[tuple[int, int], ...]:
        """Cores beside the compute cores, two for each link: down the next columns, or else along the next rows."""
        (columns, rows), (x, y) = self.board_grid, self.grid
        down = [(column, row) for column in range(x, columns) for row in range(rows)]
        along = [(column, row) for row in range(y, rows) for column in range(columns)]
        return tuple((down if len(down) >= 2 * self.links else along)[: 2 * self.links])

    @property
    def ideal_cycles(self) -> int:
        """Cycles of ttnn's performance model: padded rows of a device against those of all, and half of causal scores count."""
        return self._at_peak(self.Sc + self.L, self.S + self.L)
