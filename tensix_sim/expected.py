"""What a spec's formats and its kernel's arithmetic give: some rows of the attention again, from the spec, through no kernel.

The units' arithmetic, formats, K chunks and order of roundings are those of the run. Which keys a row sees, which head's
they are and where its values stand come from the spec alone: so what a kernel gets wrong is not wrong here too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.accuracy import Accuracy, Beyond, ExpectedError, attention
from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, FLOAT32, TILE, Format, to_format
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.exact import Exact
from tensix_sim.ops.blocks import granularity
from tensix_sim.ops.geometry import Geometry
from tensix_sim.ops.inputs import Inputs
from tensix_sim.program import ComputeConfig, Values

Math = Arithmetic | Exact
Errors = NDArray[np.float64]
Place = tuple[int, int, int, int]  # batch, head, slab of the device, tile row of it

SPREAD, WORST = 6, 2  # tile rows of a device that are computed again: spread over it; the worst, by each of two measures
OF_ALL, OF_TILE_ROW, OF_ROW = 1.1, 1.2, 1.5  # times the expected error, beyond which a run is suspect
FLOOR = 2.0**-8  # of a row's size: an error that no expectation makes suspect


@dataclass(frozen=True)
class TileRow:
    """Some query rows of a head, by their position in the sequence.

    Of each: the squared error of the run and of what is expected, and the squared size of float64 attention.
    """

    device: int
    batch: int
    head: int
    rows: range
    error: Errors
    expected: Errors
    size: Errors


# -- which rows, and are they as expected ---------------------------------------------------------------------------------


def recomputed(
    g: Geometry, config: ComputeConfig, machine: Machine, device: int, inputs: Inputs, output: Values, by_row: Errors
) -> list[TileRow]:
    """Some tile rows of a device's output [B, NQH, rows, DH]: those spread over it, and those whose rows are worst.

    `by_row` [B, NQH, rows] is the relative L2 error of each row, NaN where a row was not compared.
    """
    b, group = g.blocks, g.NQH // g.NKH
    math = Exact(config, machine.chip.numbers) if config.exact else Arithmetic(config)
    slabs = g.slabs(device)

    @lru_cache(maxsize=1)
    def of_head(batch: int, head: int) -> tuple[Values, Values]:
        beyond = (0, g.nk * g.N * TILE - g.Sk), (0, 0)
        return tuple(to_format(np.pad(x[batch, head], beyond), b.kv) for x in (inputs.k, inputs.v))

    found = []
    for batch, head, slab, tile_row in _chosen(g, by_row):
        begin, kv = tile_row * TILE, slice(head // group, head // group + 1)
        rows = range(slabs[slab].start + begin, min(slabs[slab].start + begin + TILE, slabs[slab].stop))
        q = inputs.q[batch, head, rows.start : rows.stop]
        seen = inputs.k[batch, kv], inputs.v[batch, kv], g.prefix + rows.start, g.scale, g.left, g.right
        [(_, _, reference)] = attention(q[np.newaxis], *seen)
        whole = to_format(np.pad(q, ((0, TILE - len(rows)), (0, 0))), b.q)
        q_chunk_end = g.prefix + slabs[slab].start + (tile_row // g.M + 1) * g.M * TILE
        again = attention_rows(g, math, whole, *of_head(batch, kv.start), g.prefix + rows.start, q_chunk_end)[: len(rows)]
        run = output[batch, head, slab * g.Sc + begin :][: len(rows)]
        found.append(
            TileRow(device, batch, head, rows, _squares(run - reference), _squares(again - reference), _squares(reference))
        )
    return found


def _chosen(g: Geometry, by_row: Errors) -> list[Place]:
    """Tile rows to compute again, those of a head together."""
    padded = np.full((g.B, g.NQH, g.phases, g.Sqt * TILE), np.nan)
    padded[..., : g.Sc] = by_row.reshape(g.B, g.NQH, g.phases, g.Sc)
    tiles = padded.reshape(g.B, g.NQH, g.phases, g.Sqt, TILE)
    compared = ~np.isnan(tiles)
    squares = np.where(compared, tiles, 0) ** 2
    worst, mean = squares.max(axis=4), squares.sum(axis=4) / np.maximum(compared.sum(axis=4), 1)
    chosen: set[Place] = set()
    for slab in range(g.phases):
        rows = np.argwhere(compared[:, :, slab].any(axis=3).transpose(2, 0, 1))  # from the first to the last, over all heads
        spread = np.linspace(0, len(rows) - 1, SPREAD // g.phases).round().astype(int)
        chosen |= {(int(b), int(h), slab, int(t)) for t, b, h in rows[spread]}
    for measure in (worst, mean):
        order = np.argsort(-measure, axis=None, kind="stable")[:WORST]
        chosen |= {(int(b), int(h), int(slab), int(t)) for b, h, slab, t in zip(*np.unravel_index(order, measure.shape), strict=True)}
    return sorted(chosen)


def judge(accuracy: Accuracy, tile_rows: Sequence[TileRow]) -> Accuracy:
    """The same figures with what was expected: suspect where all these rows, a tile row or a row err by too much more."""
    if not tile_rows:
        return accuracy
    error, expected, size = (np.concatenate([getattr(t, name) for t in tile_rows]) for name in ("error", "expected", "size"))
    places = []
    for t in tile_rows:
        by_row = _excess(t.error, t.expected, t.size, OF_ROW)
        row = int(by_row.argmax())
        places.append((float(by_row[row]), t, slice(row, row + 1)))
        places.append((float(_excess(t.error.sum(), t.expected.sum(), t.size.sum(), OF_TILE_ROW)), t, slice(None)))
    most, t, part = max(places, key=lambda place: place[0])
    place = Beyond(
        device=t.device,
        batch=t.batch,
        head=t.head,
        rows=(t.rows[part][0], t.rows[part][-1]),
        rel_l2=_relative(t.error[part], t.size[part]),
        expected=_relative(t.expected[part], t.size[part]),
    )
    worst_row = max(_relative(e, s) for e, s in zip(expected, size, strict=True))
    figures = ExpectedError(rel_l2=_relative(expected, size), worst_row=worst_row)
    suspect = max(most, float(_excess(error.sum(), expected.sum(), size.sum(), OF_ALL))) > 1
    return accuracy.model_copy(update={"suspect": suspect, "expected": figures, "place": place})


def _excess(error: Any, expected: Any, size: Any, factor: float) -> Any:
    """Squared error over what is allowed where so much is expected."""
    return error / (factor**2 * expected + FLOOR**2 * size + np.finfo(float).tiny)


def _relative(error: Errors, size: Errors) -> float:
    """Relative L2 error of rows together."""
    return float(np.sqrt(error.sum() / max(size.sum(), np.finfo(float).tiny)))


def _squares(x: NDArray[np.float64]) -> Errors:
    """Squared size of each row."""
    squares: Errors = (x**2).sum(axis=1)
    return squares


# -- the rows again ---------------------------------------------------------------------------------------------------------

def attention_rows(g: Geometry, math: Math, q: Values, k: Values, v: Values, first: int, q_chunk_end: int) -> Values:
    """Flash attention of a tile row of queries q [32, DH], the first of them at `first` of the sequence, over k, v [keys, DH].

    All are as their formats hold them, K and V whole chunks, filled up with zeros. Their Q chunk ends before `q_chunk_end`.
    """
    b = g.blocks
    scores, chunk = FLOAT32 if b.wide_scores else BFLOAT16, g.N * TILE
    own = first + np.arange(TILE)[:, np.newaxis]
    begin = 0 if g.left is None else max(0, first - g.left) // chunk
    end = q_chunk_end if g.causal else g.Sk if g.right is None else min(q_chunk_end + g.right, g.Sk)
    Q = _tiles(q)
    m = l = O = None
    for start in range(begin * chunk, min(end, g.Sk), chunk):
        n = min(g.N, -(-(end - start) // TILE))
        keys = slice(start, start + n * TILE)
        S = math.matmul(Q, b.q, _tiles(k[keys].T), scores, False)                           # S = Q K^T              [1, n]
        distance = np.arange(start, start + n * TILE) - own
        hidden = np.broadcast_to(np.arange(start, start + n * TILE) >= g.Sk, distance.shape)
        hidden = hidden if g.left is None else hidden | (distance < -g.left)
        hidden = hidden if g.right is None else hidden | (distance > g.right)
        if hidden.any():
            math.stamp(S, _tiles(np.where(hidden, np.float32(-np.inf), np.float32(0))), scores)
        old_m, m = m, math.pack(math.max_rows(S, scores, m), BFLOAT16)                      # m = max(m', rowmax S)
        math.sub_exp(S, m, g.scale, scores)                                                 # P = exp((S - m) scale)
        old_l, l = l, math.row_sums(S, scores)                                              # l = sum P
        old_O, O = O, _in_pieces(math, S, scores, _tiles(v[keys]), n // granularity(n, b.qk_subblock[1]) if b.streaming else 1)
        if old_m is not None:
            alpha = math.exp_difference(old_m, m, g.scale)                                  # α = exp((m' - m) scale)
            math.accumulate(O, math.mul_columns(old_O, BFLOAT16, alpha, BFLOAT16))          # O = P V + α O'
            scaled = math.mul_columns(old_l, scores, alpha, BFLOAT16)
            if b.streaming:                                                                 # l = l + α l'
                math.accumulate(l, scaled)
            else:
                l = math.pack(math.add(l, math.pack(scaled, scores)), scores)
    assert l is not None and O is not None
    total, fmt = math.sum_columns(l, scores), BFLOAT16 if b.streaming else scores
    inverse = math.reciprocal(total if b.streaming else math.pack(total, scores), fmt, newton=b.streaming)
    return math.pack(math.mul_columns(O, BFLOAT16, inverse, fmt), b.q).reshape(TILE, -1)    # O / l


def _in_pieces(math: Math, P: Values, fmt: Format, V: Values, pieces: int) -> Values:
    """P V, the inner tiles in equal pieces that the packer adds up."""
    inner = P.shape[2] // pieces
    O = math.matmul(P[:, :, :inner], fmt, V[:inner], BFLOAT16, False)
    for i in range(inner, P.shape[2], inner):
        math.accumulate(O, math.matmul(P[:, :, i : i + inner], fmt, V[i : i + inner], BFLOAT16, False))
    return O


def _tiles(x: NDArray[np.float32]) -> Values:
    """A matrix by tiles, [tile rows, 32, tile columns, 32]."""
    return np.ascontiguousarray(x).reshape(x.shape[0] // TILE, TILE, x.shape[1] // TILE, TILE)
