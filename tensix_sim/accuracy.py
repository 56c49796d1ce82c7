"""How far the op's numbers are from float64 attention on the unquantised inputs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Rows = NDArray[np.float32]
BLOCK = 256  # query rows at a time: bounds the memory of the scores


class ExpectedError(BaseModel):
    """What the formats and the kernel's arithmetic give on the rows that were computed again (`expected.recomputed`)."""

    model_config = ConfigDict(frozen=True)

    rel_l2: float
    worst_row: float


class Beyond(BaseModel):
    """Where a run is furthest beyond its expected error: first and last of these rows, by their position in the sequence."""

    model_config = ConfigDict(frozen=True)

    device: int
    batch: int
    head: int
    rows: tuple[int, int]
    rel_l2: float
    expected: float


class Accuracy(BaseModel):
    """Agreement with the reference; `worst_row` is the largest relative L2 error of one output row.

    A run is `suspect` if its error is more than its formats give (`expected.judge`).
    """

    model_config = ConfigDict(frozen=True)

    pcc: float
    rmse: float
    rel_l2: float
    max_abs: float
    worst_row: float
    suspect: bool = False
    expected: ExpectedError | None = None
    place: Beyond | None = None

    def suspicion(self, device: int | None = None) -> str | None:
        """What is suspect, in a sentence; None where nothing is. `device` is its number, if not the ring position."""
        if not self.suspect or self.place is None:
            return None
        at, (first, last) = self.place, self.place.rows
        rows = f"row {first}" if first == last else f"rows {first} to {last}"
        return (
            f"accuracy is not what these formats give: {rows} of head {at.head}, batch {at.batch}, device "
            f"{at.device if device is None else device}, relative L2 {at.rel_l2:.1%}, expected {at.expected:.1%}"
        )


@dataclass(frozen=True)
class Moments:
    """Sums over pairs (reference, computed) from which every figure of `Accuracy` follows; they add up over devices."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    max_abs: float = 0.0
    worst_row: float = 0.0

    @classmethod
    def of(cls, reference: NDArray[np.float64], computed: Rows, by_row: NDArray[np.float64] | None = None) -> "Moments":
        """Moments of two arrays of the same shape, whose last axis is a row; `by_row` gets the relative L2 error of each."""
        x, y = reference, computed.astype(np.float64)
        d = y - x
        row_error = np.sqrt((d**2).sum(axis=-1))
        row_size = np.sqrt((x**2).sum(axis=-1))
        worst = np.divide(row_error, np.where(row_size > 0, row_size, np.inf), out=by_row).max()
        return cls(
            n=x.size,
            x=float(x.sum()),
            y=float(y.sum()),
            xx=float((x**2).sum()),
            yy=float((y**2).sum()),
            xy=float((x * y).sum()),
            dd=float((d**2).sum()),
            max_abs=float(np.abs(d).max()),
            worst_row=float(worst),
        )

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            n=self.n + other.n,
            x=self.x + other.x,
            y=self.y + other.y,
            xx=self.xx + other.xx,
            yy=self.yy + other.yy,
            xy=self.xy + other.xy,
            dd=self.dd + other.dd,
            max_abs=max(self.max_abs, other.max_abs),
            worst_row=max(self.worst_row, other.worst_row),
        )

    def accuracy(self) -> Accuracy:
        """The figures; NaN where a value was not finite."""
        var_x = self.n * self.xx - self.x**2
        var_y = self.n * self.yy - self.y**2
        pcc = (self.n * self.xy - self.x * self.y) / sqrt(var_x * var_y) if var_x > 0 and var_y > 0 else nan
        return Accuracy(
            pcc=pcc,
            rmse=sqrt(self.dd / self.n),
            rel_l2=sqrt(self.dd / self.xx) if self.xx > 0 else nan,
            max_abs=self.max_abs,
            worst_row=self.worst_row,
        )


def total(moments: Iterable[Moments]) -> Moments:
    """Moments of everything together."""
    result = Moments()
    for one in moments:
        result += one
    return result


def compare_with_reference(
    q: Rows, k: Rows, v: Rows, out: Rows, first_key: int, scale: float, left: int | None = None, right: int | None = 0,
    by_row: NDArray[np.float64] | None = None,
) -> Moments:  # fmt: skip
    """Compare `out` [heads, rows, d] with `attention` of the other arguments; `by_row` [heads, rows] gets relative L2 errors."""
    parts = []
    for head, start, expected in attention(q, k, v, first_key, scale, left, right):
        rows = head, slice(start, start + len(expected))
        parts.append(Moments.of(expected, out[rows], None if by_row is None else by_row[rows]))
    return total(parts)


def attention(
    q: Rows, k: Rows, v: Rows, first_key: int, scale: float, left: int | None = None, right: int | None = 0
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Attention in float64, as blocks of rows: (head, first row, values).

    q is [heads, rows, d], consecutive rows of the sequence; k and v are [kv_heads, keys, d]. Row i of q has key
    `first_key` + i for its own, and sees it, `left` keys before and `right` keys after it; None is all there are.
    """
    heads, rows, _ = q.shape
    group = heads // k.shape[0]
    for head in range(heads):
        keys, values = k[head // group].astype(np.float64), v[head // group].astype(np.float64)
        for start in range(0, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            own = np.arange(first_key + start, first_key + stop)
            begin = 0 if left is None else max(0, own[0] - left)
            end = len(keys) if right is None else min(own[-1] + right + 1, len(keys))
            scores = q[head, start:stop].astype(np.float64) @ keys[begin:end].T
            scores *= scale
            distance = np.arange(begin, end) - own[:, np.newaxis]
            if right is not None:
                scores[distance > right] = -np.inf
            if left is not None:
                scores[distance < -left] = -np.inf
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            expected = scores @ values[begin:end]
            expected /= scores.sum(axis=1, keepdims=True)
            yield head, start, expected
