"""How far the op's numbers are from float64 attention on the unquantised inputs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict

from tensix_sim.formats import TILE

MaybeNan = Annotated[
    float, BeforeValidator(lambda value: nan if value is None else value)
]  # NaN, which JSON lacks, is null there
Rows = NDArray[np.float32]
Pieces = Sequence[tuple[int, int]]  # of the rows of a head: from, up to
LEAST = -1e30  # for -inf in a mask, which the chip takes for a huge number: a query that sees no key sees all alike
BLOCK = 256  # query rows at a time: bounds the memory of the scores


class ExpectedError(BaseModel):
    """What the formats and the kernel's arithmetic give on the rows that were computed again (`expected.recomputed`)."""

    model_config = ConfigDict(frozen=True)

    rel_l2: float
    worst_row: float


class Beyond(BaseModel):
    """Where a run is furthest from what is expected: first and last of these rows, by their position in the sequence.

    They are in the tiles of the device's output from `page` on, which logical core `core` makes. Of the values of their tile row
    a part `others` is not what was computed again. `step` is the first on the way to them that is wrong, where that is known.
    """

    model_config = ConfigDict(frozen=True)

    device: int
    batch: int
    head: int
    rows: tuple[int, int]
    page: int
    core: tuple[int, int]
    rel_l2: float
    expected: float
    others: float
    step: str | None = None

    def text(self, device: int | None = None) -> str:
        """The same in a sentence; `device` is its number, if not the ring position."""
        first, last = self.rows
        rows = f"row {first}" if first == last else f"rows {first} to {last}"
        where = f"page {self.page}, core ({self.core[0]},{self.core[1]})"
        return (
            f"numbers are not what the spec gives: {rows} of head {self.head}, batch {self.batch}, device "
            f"{self.device if device is None else device} ({where}), relative L2 {self.rel_l2:.1%}, expected {self.expected:.1%}"
            f", {self.others:.0%} of {'its tile row' if first == last else 'these'} not as computed again"
            + (f"; wrong from {self.step} on" if self.step else "")
        )


class Sampled(BaseModel):
    """So many rows were compared, `of` so many. `standard_error`: of their relative L2 error as an estimate of all rows'."""

    model_config = ConfigDict(frozen=True)

    rows: int
    of: int
    standard_error: MaybeNan

    @property
    def text(self) -> str:
        """The same in a line."""
        return f"{self.rows:,} of {self.of:,} rows, {TILE} of each Q chunk; relative L2 +- {self.standard_error:.3%}"


class Accuracy(BaseModel):
    """Agreement with the reference; `worst_row` is the largest relative L2 error of one output row.

    All figures are of the rows that were `sampled`, or else of all. A run is `suspect` if it is not what its spec gives
    (`expected.judge`).
    """

    model_config = ConfigDict(frozen=True)

    pcc: MaybeNan
    rmse: MaybeNan
    rel_l2: MaybeNan
    max_abs: MaybeNan
    worst_row: MaybeNan
    suspect: bool = False
    expected: ExpectedError | None = None
    place: Beyond | None = None
    sampled: Sampled | None = None

    def suspicion(self, device: int | None = None) -> str | None:
        """What is suspect, in a sentence; None where nothing is. `device` is its number, if not the ring position."""
        return self.place.text(device) if self.suspect and self.place else None


@dataclass(frozen=True)
class Moments:
    """Sums over pairs (reference, computed) from which every figure of `Accuracy` follows; they add up over devices.

    The pairs are those of `rows`, of `whole` rows, in so many `parts`: blocks of all rows, or the tile rows of a sample. The
    last three are sums over parts, of products of their xx and dd.
    """

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    max_abs: float = 0.0
    worst_row: float = 0.0
    rows: int = 0
    whole: int = 0
    parts: int = 0
    xx_xx: float = 0.0
    xx_dd: float = 0.0
    dd_dd: float = 0.0

    @classmethod
    def of(cls, reference: NDArray[np.float64], computed: Rows, by_row: NDArray[np.float64] | None = None) -> "Moments":
        """Moments of two arrays of the same shape, whose last axis is a row; `by_row` gets the relative L2 error of each.

        They are one part, and all its rows.
        """
        x, y = reference, computed.astype(np.float64)
        d = y - x
        xx, dd, rows = float((x**2).sum()), float((d**2).sum()), x.size // x.shape[-1]
        row_error = np.sqrt((d**2).sum(axis=-1))
        row_size = np.sqrt((x**2).sum(axis=-1))
        worst = np.divide(row_error, np.where(row_size > 0, row_size, np.inf), out=by_row).max()
        return cls(
            n=x.size,
            x=float(x.sum()),
            y=float(y.sum()),
            xx=xx,
            yy=float((y**2).sum()),
            xy=float((x * y).sum()),
            dd=dd,
            max_abs=float(np.abs(d).max()),
            worst_row=float(worst),
            rows=rows,
            whole=rows,
            parts=1,
            xx_xx=xx * xx,
            xx_dd=xx * dd,
            dd_dd=dd * dd,
        )

    def __add__(self, other: "Moments") -> "Moments":
        pairs = ((name, mine, getattr(other, name)) for name, mine in vars(self).items())
        return Moments(**{name: max(a, b) if name in ("max_abs", "worst_row") else a + b for name, a, b in pairs})

    def accuracy(self) -> Accuracy:
        """The figures; NaN where a value was not finite."""
        var_x = self.n * self.xx - self.x**2
        var_y = self.n * self.yy - self.y**2
        pcc = (self.n * self.xy - self.x * self.y) / sqrt(var_x * var_y) if var_x > 0 and var_y > 0 else nan
        sampled = Sampled(rows=self.rows, of=self.whole, standard_error=self._standard_error)
        return Accuracy(
            pcc=pcc,
            rmse=sqrt(self.dd / self.n),
            rel_l2=sqrt(self.dd / self.xx) if self.xx > 0 else nan,
            max_abs=self.max_abs,
            worst_row=self.worst_row,
            sampled=sampled if self.rows < self.whole else None,
        )

    @property
    def _standard_error(self) -> float:
        """Standard error of the relative L2 error, the root of a ratio of sums over parts; NaN of one part or no error."""
        if self.parts < 2 or not self.dd > 0:
            return nan
        ratio = self.dd / self.xx
        squares = self.dd_dd - 2 * ratio * self.xx_dd + ratio**2 * self.xx_xx
        variance = (1 - self.rows / self.whole) * self.parts / (self.parts - 1) * max(squares, 0.0) / self.xx**2
        return sqrt(variance / ratio) / 2


def total(moments: Iterable[Moments]) -> Moments:
    """Moments of everything together."""
    result = Moments()
    for one in moments:
        result += one
    return result


def compare_with_reference(
    q: Rows, k: Rows, v: Rows, out: Rows, first_key: int, scale: float, left: int | None = None, right: int | None = 0,
    pieces: Sequence[Pieces] | None = None, mask: Rows | None = None, sinks: Rows | None = None,
    by_row: NDArray[np.float64] | None = None,
) -> Moments:  # fmt: skip
    """Compare `out` [heads, rows, d] with `attention` of the other arguments; `by_row` [heads, rows] gets relative L2 errors."""
    parts = []
    for head, start, expected in attention(q, k, v, first_key, scale, left, right, pieces, mask, sinks):
        rows = head, slice(start, start + len(expected))
        parts.append(Moments.of(expected, out[rows], None if by_row is None else by_row[rows]))
    return total(parts)


def attention(
    q: Rows, k: Rows, v: Rows, first_key: int, scale: float, left: int | None = None, right: int | None = 0,
    pieces: Sequence[Pieces] | None = None, mask: Rows | None = None, sinks: Rows | None = None,
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:  # fmt: skip
    """Attention in float64, as blocks of rows: (head, first row, values). Of each head all rows, or some `pieces` of them.

    q is [heads, rows, d], consecutive rows of the sequence; k and v are [kv_heads, keys, d]. Row i of q has key
    `first_key` + i for its own, and sees it, `left` keys before and `right` keys after it; None is all there are. A `mask`
    [1 or heads, rows, keys] is added to the scaled scores; each head's sink is one more score, before scaling, without a value.
    """
    heads, rows, _ = q.shape
    group = heads // k.shape[0]
    blocks = [(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    for head in range(heads):
        if head % group == 0:
            keys, values = k[head // group].astype(np.float64), v[head // group].astype(np.float64)
        for start, stop in pieces[head] if pieces else blocks:
            added = None if mask is None else mask[head % len(mask), start:stop]
            sink = None if sinks is None else float(sinks[head]) * scale
            yield head, start, _attend(q[head, start:stop], keys, values, first_key + start, scale, left, right, added, sink)


def _attend(
    q: Rows, k: NDArray[np.float64], v: NDArray[np.float64], first: int, scale: float, left: int | None, right: int | None,
    mask: Rows | None, sink: float | None,
) -> NDArray[np.float64]:  # fmt: skip
    """Attention of consecutive rows of one head, q [rows, d], the first of which has key `first` for its own."""
    own, last = first + np.arange(len(q))[:, np.newaxis], first + len(q) - 1
    begin = 0 if left is None else max(0, first - left)
    end = len(k) if right is None else min(last + right + 1, len(k))
    scores = (q.astype(np.float64) * scale) @ k[begin:end].T
    if mask is not None:
        scores += np.maximum(mask[:, begin:end], LEAST)
    if right is not None:
        late = first + right + 1  # the first key that a row does not see
        scores[:, late - begin :][np.arange(late, end) > own + right] = -np.inf
    if left is not None:
        early = min(max(begin, last - left), end)  # the first key from which on every row sees them
        scores[:, : early - begin][np.arange(begin, early) < own - left] = -np.inf
    most = scores.max(axis=1, keepdims=True)
    if sink is not None:
        np.maximum(most, sink, out=most)
    scores -= most
    np.exp(scores, out=scores)
    expected: NDArray[np.float64] = scores @ v[begin:end]
    expected /= scores.sum(axis=1, keepdims=True) + (0 if sink is None else np.exp(sink - most))
    return expected
