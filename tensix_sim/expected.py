"""What a spec's formats and its kernel's arithmetic give: some rows of the attention again, from the spec, through no kernel.

The units' arithmetic, formats, K chunks and order of roundings are those of the run. Which keys a row sees, which head's
they are and where its values stand come from the spec alone: so what a kernel gets wrong is not wrong here too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tensix_sim.accuracy import Accuracy, Beyond, ExpectedError, attention
from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.formats import BFLOAT16, FLOAT32, TILE, Format, Values, to_format
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.exact import Exact
from tensix_sim.program import ComputeConfig
from tensix_sim.sdpa.blocks import granularity
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.inputs import InputValues, kernel_mask, sink_tiles
from tensix_sim.sdpa.ring_joint import RingGeometry, ring_order

Math = Arithmetic | Exact
Errors = NDArray[np.float64]
Positions = NDArray[np.int64]  # of rows in the sequence
TilePlace = tuple[int, int, int, int]  # batch, head, slab of the device, tile row of it

SPREAD = 2, 6  # tile rows of a device that are computed again, at least and at most, one in 32; and the worst by two measures
MARGIN = 0.5  # of its expected error that a row may err more; of n rows, 1 / sqrt(n) of that (docs/numerics.md)
FLOOR = 2.0**-9  # of a row's size, one rounding to bfloat16: an error that is never suspect
TIES = 1 / 8  # of a tile row's values that BLAS, which adds in any order, may round to another side (docs/numerics.md)


class Quantity(NamedTuple):
    """Something that a core holds on the way to a tile row of its output: one of the `rows` of a matrix of tiles, or all."""

    what: str
    tiles: Values  # [tile rows, 32, tile columns, 32], or [..., 1] of a column
    rows: bool


Told = Callable[[Quantity], None]


@dataclass(frozen=True)
class TileRow:
    """Some query rows of a head, by their position in the sequence.

    Of each: the squared error of the run and of what is expected, and the squared size of float64 attention. Of all their values
    a part `others` is not what was computed again, of which a part `ties` may come from the order of sums.
    """

    device: int
    batch: int
    head: int
    rows: range
    page: int  # the first of its tiles in the device's output
    core: Coord  # logical, which makes it
    others: float
    ties: float
    error: Errors
    expected: Errors
    size: Errors


def recomputed(
    g: Geometry, config: ComputeConfig, machine: Machine, device: int, inputs: InputValues, output: Values, by_row: Errors
) -> list[TileRow]:
    """Some tile rows of a device's output [B, NQH, rows, DH]: those spread over it, and those whose rows are worst.

    `by_row` [B, NQH, rows] is the relative L2 error of each row, NaN where a row was not compared.
    """
    found, again = [], Again(g, config, machine, device, inputs)
    for batch, head, slab, tile_row in _chosen(g, by_row):
        rows, computed, reference = again.tile_row(batch, head, slab, tile_row)
        run = output[batch, head, slab * g.Sc + tile_row * TILE :][: len(rows)]
        errors = (_squares(x) for x in (run - reference, computed - reference, reference))
        others, ties = float((run != computed).mean()), 0 if config.exact else TIES
        found.append(TileRow(device, batch, head, rows, *output_place(g, batch, head, slab, tile_row), others, ties, *errors))
    return found


def quantities(g: Geometry, config: ComputeConfig, machine: Machine, inputs: InputValues, place: Beyond) -> list[Quantity]:
    """What the core that makes a place of the output should hold on the way to it, in the order of the algorithm."""
    told: list[Quantity] = []
    slab, tile_row = divmod(place.page // g.E % (g.phases * g.Sqt), g.Sqt)
    Again(g, config, machine, place.device, inputs).tile_row(place.batch, place.head, slab, tile_row, told.append)
    return told


class Again:
    """Tile rows of a device, computed again."""

    def __init__(self, g: Geometry, config: ComputeConfig, machine: Machine, device: int, inputs: InputValues) -> None:
        self.g, self.device, self.inputs = g, device, inputs
        self.math = (Exact if config.exact else Arithmetic)(config, machine.chip.numbers)
        self.own = np.concatenate([np.arange(slab.start, slab.stop) for slab in g.slabs(device)])
        self.keys, self.values = inputs.keys(g.Sk)
        self._quantised = lru_cache(maxsize=1)(self._quantise)

    def tile_row(self, batch: int, head: int, slab: int, tile_row: int, told: Told | None = None) -> tuple[range, Values, Errors]:
        """The rows, by their position in the sequence; what the kernel's arithmetic makes of them, and float64."""
        g, inputs, kv_head = self.g, self.inputs, head // (self.g.NQH // self.g.NKH)
        mine = self.own[slab * g.Sc : (slab + 1) * g.Sc]
        start = int(mine[tile_row * TILE])
        rows = range(start, start + len(mine[tile_row * TILE :][:TILE]))
        q, k, v = inputs.q[batch, head, start : rows.stop], self.keys[batch, kv_head], self.values[batch, kv_head]
        mask = inputs.mask_of(batch)
        added = None if mask is None else mask[head % len(mask), start : rows.stop]
        sink = None if inputs.sinks is None else inputs.sinks[head : head + 1]
        seen = g.prefix + start, g.scale, g.left, g.right, None, None if added is None else added[np.newaxis], sink
        [(_, _, reference)] = attention(q[np.newaxis], k[np.newaxis], v[np.newaxis], *seen)
        whole = to_format(np.pad(q, ((0, TILE - len(rows)), (0, 0))), g.blocks.q)
        chunks = key_chunks(g, self.device, g.prefix + mine, tile_row)
        keys, values = self._quantised(batch, kv_head)
        again = attention_rows(g, self.math, whole, keys, values, g.prefix + start, chunks, tile_row % g.M, added, sink, told)
        return rows, again[: len(rows)], reference

    def _quantise(self, batch: int, kv_head: int) -> list[Values]:
        """K and V of a head as their formats hold them, and a key of zeros."""
        held = (self.keys, self.g.blocks.k), (self.values, self.g.blocks.v)
        return [to_format(np.pad(x[batch, kv_head], ((0, 1), (0, 0))), fmt) for x, fmt in held]


def output_place(g: Geometry, batch: int, head: int, slab: int, tile_row: int) -> tuple[int, Coord]:
    """The first page of a tile row of a slab in a device's output, and the logical core that makes it."""
    row = batch * g.NQH + head
    core = next(i for i in range(g.cores) if (row, tile_row // g.M) in g.deal.places(i))
    return ((row * g.phases + slab) * g.Sqt + tile_row) * g.E, g.core_places[core]


def _chosen(g: Geometry, by_row: Errors) -> list[TilePlace]:
    """Tile rows to compute again, those of a head together."""
    rows = np.full((g.B, g.NQH, g.phases, g.Sqt * TILE), np.nan)
    rows[..., : g.Sc] = by_row.reshape(g.B, g.NQH, g.phases, g.Sc)
    tile_rows = rows.reshape(g.B, g.NQH, g.phases, g.Sqt, TILE)
    compared = ~np.isnan(tile_rows)
    squares = np.where(compared, tile_rows, 0) ** 2
    rising = np.argwhere(compared.any(axis=4).transpose(2, 3, 0, 1))  # (slab, tile row, batch, head)
    least, most = SPREAD
    spread = rising[np.linspace(0, len(rising) - 1, min(max(least, len(rising) // 32), most)).round().astype(int)]
    measures = squares.max(axis=4), squares.sum(axis=4) / np.maximum(compared.sum(axis=4), 1)
    worst = [np.unravel_index(int(measure.argmax()), measure.shape) for measure in measures]
    return sorted({(int(b), int(head), int(slab), int(t)) for b, head, slab, t in [*spread[:, [2, 3, 0, 1]], *worst]})


# -- the rows again ---------------------------------------------------------------------------------------------------------


def key_chunks(g: Geometry, device: int, own: Positions, tile_row: int) -> Iterator[Positions]:
    """The keys of each K chunk that a tile row's Q chunk meets, in the order of its use, padding as -1.

    `own` are the places in the sequence of the rows that the device's Q chunks are cut from.
    """
    q_chunk = tile_row // g.M * g.M * TILE
    if not isinstance(g, RingGeometry):
        begin, end = _visited(g, int(own[tile_row * TILE]), int(own[q_chunk]) + g.M * TILE)
        yield from _chunks(g, np.arange(g.Sk), begin, end)
        return
    last = int(own[q_chunk : q_chunk + g.M * TILE][-1])
    for s, _ in ring_order(g.R, device, g.topology == "line"):
        keys = np.concatenate([np.arange(slab.start, slab.stop) for slab in g.slabs(s)])
        diagonal = g.causal and s == device  # of which a Q chunk is multiplied with all columns up to its own last one
        there = keys < g.n if diagonal or not g.causal else (keys < g.n) & (keys <= last)
        end = min(int(there.sum()), q_chunk + g.M * TILE if diagonal else g.Sk)
        yield from _chunks(g, np.where(keys < g.n, keys, -1), 0, end)
        if s == g.R - 1:
            yield from _chunks(g, g.n + np.arange(g.L), 0, g.L)


def _chunks(g: Geometry, keys: Positions, begin: int, end: int) -> Iterator[Positions]:
    """Keys that stand together, chunk by chunk; the streaming kernel leaves out tiles from `end` on."""
    whole = np.pad(keys, (0, g.N * TILE), constant_values=-1)
    for start in range(begin // (g.N * TILE) * g.N * TILE, min(end, len(keys)), g.N * TILE):
        n = min(g.N, -(-(end - start) // TILE)) if g.blocks.streaming else g.N
        yield whole[start : start + n * TILE]


def attention_rows(
    g: Geometry, math: Math, q: Values, k: Values, v: Values, first: int, chunks: Iterable[Positions], row: int,
    added: Values | None = None, sink: Values | None = None, told: Told | None = None,
) -> Values:  # fmt: skip
    """Flash attention of a tile row of queries q [32, DH], the first at `first` of the sequence, over k, v [keys + 1, DH].

    All are as their formats hold them, the last key zeros. The queries are tile row `row` of their Q chunk. `added` is the user's
    mask, [rows, keys]. The letters are the kernels', the values [tile row, 32, tile column, 32]; of each quantity on the way
    somebody may be `told`.
    """
    b, Q, mask = g.blocks, _tiles(q), _mask_rows(g, added)
    fmt = FLOAT32 if b.wide_scores else BFLOAT16
    in_pieces = b.streaming and row < b.pv_rows  # the rows that are finished first
    m = l = O = None

    def tell(what: str, x: Values, rows: bool = True) -> None:
        if told is not None:
            told(Quantity(what, x.copy(), rows))

    tell("Q", Q)
    for j, keys in enumerate(chunks):
        n = len(keys) // TILE
        whole = bool((keys >= 0).all())  # what lies in padding is the kernel's affair
        if whole:
            tell(f"K chunk {j}", _tiles(k[keys]), rows=False)
        S = math.matmul(Q, b.q, _tiles(k[keys].T), b.k, fmt, False)  # S = Q K^T
        if whole:
            tell(f"Q K^T of K chunk {j}", S)
        S = _masked(g, math, S, fmt, mask, first, keys)
        tell(f"mask of K chunk {j}", S)
        old_m, m = m, math.pack(math.max_rows(S, fmt, m), BFLOAT16)  # m = max(m', rowmax S)
        tell(f"maxima m after K chunk {j}", m)
        math.subtract(S, fmt, m, BFLOAT16)
        math.exp_fast(S, g.scale, fmt)  # P = exp((S - m) scale)
        tell(f"exponentials P of K chunk {j}", S)
        if whole:
            tell(f"V chunk {j}", _tiles(v[keys]), rows=False)
        old_l, l = l, math.add_up(S, fmt, fmt)  # l = sum P
        pieces = n // granularity(n, b.qk_subblock[1]) if in_pieces else 1
        old_O, O = O, _product(math, S, fmt, _tiles(v[keys]), b.v, pieces)  # O = P V
        if old_m is not None:
            alpha = _weight(math, old_m, m, g.scale, BFLOAT16)  # α = exp((m' - m) scale)
            math.accumulate(O, math.multiply(old_O, BFLOAT16, alpha, BFLOAT16), BFLOAT16)  # O += α O'
            scaled_l = math.multiply(old_l, fmt, alpha, BFLOAT16)
            if b.streaming:
                math.accumulate(l, scaled_l, fmt)  # l += α l'
            else:
                l = math.pack(math.add(l, fmt, math.pack(scaled_l, fmt), fmt), fmt)
        tell(f"sums l after K chunk {j}", l)
        tell(f"output O after K chunk {j}", O)
    assert l is not None
    assert m is not None
    assert O is not None
    out = _divided(g, math, m, l, O, fmt, sink)
    tell("O / l", out)
    return out.reshape(TILE, -1)


def _masked(g: Geometry, math: Math, S: Values, fmt: Format, mask: Values | None, first: int, keys: Positions) -> Values:
    """S with the mask added, the user's or one of minus infinity where a query does not see a key."""
    hidden = _hidden(g, first, keys)
    if mask is not None and g.added:
        given = _tiles(mask[:, keys])
        if not g.blocks.streaming:
            return math.pack(math.add(S, fmt, given, g.added), fmt)
        math.accumulate_tile(S, given, g.added, fmt)
    elif hidden.any():
        math.accumulate_tile(S, _tiles(np.where(hidden, np.float32(-np.inf), np.float32(0))), BFLOAT16, fmt)
    return S


def _divided(g: Geometry, math: Math, m: Values, l: Values, O: Values, fmt: Format, sink: Values | None) -> Values:
    """O / l as the output's format holds it, the sink's share being in l."""
    b = g.blocks
    tile = None if sink is None or g.sink is None else sink_tiles(sink, g.sink).reshape(1, TILE, 1, TILE)
    total = math.sum_columns(l, fmt)
    if b.streaming:
        if tile is not None:
            total = math.add(total, BFLOAT16, _weight(math, tile, m, g.scale, BFLOAT16), BFLOAT16)
        inverse = math.reciprocal(total, BFLOAT16, newer=True)
        out = BFLOAT16 if isinstance(g, RingGeometry) else b.q
        return math.pack(math.multiply(O, BFLOAT16, inverse, BFLOAT16), out)  # O / l
    total = math.pack(total, fmt)
    if tile is not None and g.sink:
        old_m, m = m, math.pack(math.max_rows(tile, g.sink, m), BFLOAT16)
        alpha = _weight(math, old_m, m, g.scale, BFLOAT16)
        total = math.pack(math.multiply(total, fmt, alpha, BFLOAT16), fmt)
        total = math.pack(math.add(total, fmt, _weight(math, tile, m, g.scale, fmt), fmt), fmt)
        O = math.pack(math.multiply(O, BFLOAT16, alpha, BFLOAT16), BFLOAT16)
    return math.pack(math.multiply(O, BFLOAT16, math.reciprocal(total, fmt), fmt), b.q)


def _visited(g: Geometry, first: int, q_chunk_end: int) -> tuple[int, int]:
    """From which key a Q chunk's row from `first` on sees any, of its windows all, up to which the chunk does."""
    if g.windows:
        before = max(begin for begin in g.windows if begin <= q_chunk_end - g.M * TILE)
        return before, min(end for end in g.windows if end >= min(q_chunk_end, g.S))
    begin = 0 if g.left is None else max(0, first - g.left)
    return begin, q_chunk_end if g.causal else g.Sk if g.right is None else min(q_chunk_end + g.right, g.Sk)


def _weight(math: Math, x: Values, m: Values, scale: float, fmt: Format) -> Values:
    """exp((x - m) scale) of a column, packed."""
    difference = x[..., :1].copy()
    math.subtract(difference, BFLOAT16, m, BFLOAT16)
    return math.exp(difference, scale, fmt)


def _mask_rows(g: Geometry, added: Values | None) -> Values | None:
    """A tile row of the mask as the kernel adds it, over all keys and one of padding, which is hidden."""
    if added is None or g.added is None:
        return None
    rows = kernel_mask(added[np.newaxis, np.newaxis], g.added, 1.0 if g.windows else g.scale)[0, 0]
    return np.pad(rows[:, : g.Sk], ((0, 0), (0, 1)), constant_values=-np.inf)


def _hidden(g: Geometry, first: int, keys: Positions) -> NDArray[np.bool_]:
    """Which of some keys a tile row of queries from `first` on does not see, [32, keys]."""
    own = first + np.arange(TILE)[:, np.newaxis]
    hidden: NDArray[np.bool_] = keys + 0 * own < 0
    if g.left is not None:
        hidden |= keys < own - g.left
    if g.right is not None:
        hidden |= keys > own + g.right
    return hidden


def _product(math: Math, P: Values, fmt: Format, V: Values, v_format: Format, pieces: int) -> Values:
    """P V, the inner tiles in equal pieces that the packer adds up."""
    inner = P.shape[2] // pieces
    parts = (
        math.matmul(P[:, :, i : i + inner], fmt, V[i : i + inner], v_format, BFLOAT16, False) for i in range(0, len(V), inner)
    )
    O = next(parts)
    for part in parts:
        math.accumulate(O, part, BFLOAT16)
    return O


def _tiles(x: Values) -> Values:
    """A matrix by tiles."""
    return np.ascontiguousarray(x).reshape(x.shape[0] // TILE, TILE, x.shape[1] // TILE, TILE)


# -- the verdict ------------------------------------------------------------------------------------------------------------


def judge(accuracy: Accuracy, tile_rows: Sequence[TileRow]) -> Accuracy:
    """The same figures beside what was expected.

    Suspect where all these rows, a tile row or a row err by too much more, or too many values of a tile row are others.
    """
    if not tile_rows:
        return accuracy
    error, expected, size = (np.concatenate([getattr(t, name) for t in tile_rows]) for name in ("error", "expected", "size"))
    parts = [(_excess(t.error.sum(), t.expected.sum(), t.size.sum(), len(t.rows)), t, slice(None)) for t in tile_rows]
    for t in tile_rows:
        by_row = _excess(t.error, t.expected, t.size)
        row = int(by_row.argmax())
        parts.append((by_row[row], t, slice(row, row + 1)))
    most, t, part = max(parts, key=lambda one: one[0])
    most = max(most, _excess(error.sum(), expected.sum(), size.sum(), len(size)))
    odd = max(tile_rows, key=lambda t: t.others - t.ties)
    is_odd = odd.others > odd.ties
    if most <= 1 and is_odd:
        t, part = odd, slice(None)
    place = Beyond(
        device=t.device,
        batch=t.batch,
        head=t.head,
        rows=(t.rows[part][0], t.rows[part][-1]),
        page=t.page,
        core=t.core,
        rel_l2=_relative(t.error[part], t.size[part]),
        expected=_relative(t.expected[part], t.size[part]),
        others=t.others,
    )
    worst_row = max(_relative(*row) for row in zip(expected, size, strict=True))
    given = ExpectedError(rel_l2=_relative(expected, size), worst_row=worst_row)
    return accuracy.model_copy(update={"suspect": bool(most > 1 or is_odd), "expected": given, "place": place})


def _excess(error: Any, expected: Any, size: Any, rows: int = 1) -> Any:
    """Squared error over the most that is not suspect, of so many rows together."""
    return error / ((1 + MARGIN / rows**0.5) ** 2 * expected + FLOOR**2 * size + np.finfo(float).tiny)


def _relative(error: Any, size: Any) -> float:
    """Relative L2 error of rows together; of rows that are zero, none is too small to count."""
    return float(np.sqrt(np.sum(error) / max(np.sum(size), np.finfo(float).tiny)))


def _squares(x: Errors) -> Errors:
    """Squared size of each row."""
    squares: Errors = (x**2).sum(axis=1)
    return squares
