"""The legacy kernel's verbs, made of the same parts that any kernel has; m, l and α are columns.

They work on blocks, a window after another, and the math thread issues their exponentials.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from tensix_sim.kernel_api import (
    COLUMN_FACES,
    Costs,
    Matrix,
    Pushes,
    Reads,
    Stage,
    Unit,
    Units,
    Updates,
    Values,
    Windows,
    added,
    begin,
    check_adds,
    check_window,
    in_place,
    one_by_one,
    window,
)
from tensix_sim.kernels.sdpa import losses as lost
from tensix_sim.kernels.sdpa.mask import Marks


@dataclass(frozen=True, eq=False, slots=True)
class Stamp:
    """S += tiles of the mask, in place, by accumulating packs; up to `tiles` packs of a mark share a DST half.

    Upstream: `copy_tile`, then `pack_tile` with L1 accumulation.
    """

    mask: Matrix
    S: Matrix
    marks: Marks
    tiles: int

    name: ClassVar = "stamp"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.STAMPS

    def reads(self) -> Reads:
        return Reads(self.mask, ((self.mask, self.mask.tiles), (self.S, self.S.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.S, self.S.tiles),)

    def windows(self, c: Costs) -> Windows:
        check_adds(self.S)
        sizes = [min(self.tiles, len(cols) - i) for _, _, cols in self.marks for i in range(0, len(cols), self.tiles)]
        return Windows(stamps(c, self.mask, self.S, sizes))

    def values(self, units: Units) -> None:
        add_marks(units(self, self.S), self.mask, self.S, self.S.whole(), self.marks)


@dataclass(frozen=True, eq=False, slots=True)
class SubExp:
    """S <- relu(exp((S - m) scale)) in place, by the fast approximation; l = the tiles of each row, added up by the packer.

    A tile of l has its 32 columns apart: `RowSum` adds them. Upstream: `sub_exp_block_bcast_cols_inplace`.
    """

    S: Matrix
    m: Matrix
    l: Matrix
    tiles: int  # of a row in a window
    scale: float

    name: ClassVar = "sub exp"
    unit: ClassVar = "sfpu"
    losses: ClassVar[lost.Losses] = lost.EXPONENTIALS

    def reads(self) -> Reads:
        return Reads(self.S, ((self.S, self.S.tiles), (self.m, self.S.rows)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        each = 1 if self.S.cols == self.tiles else 2  # stages of a row
        return Updates(self.S, self.S.tiles, slice(each - 1, None, each)), Pushes(self.l, self.S.rows)

    def windows(self, c: Costs) -> Windows:
        check_window(c, self.S, self.tiles, self.S.cols)
        check_adds(self.l)
        spec, tiles, fmt = c.spec, self.tiles, self.S.format
        fpu, math = c.eltwise(tiles)
        sfpu = ceil(tiles * spec.exp_approx_cycles)
        math += sfpu + tiles * spec.sfpu_start_cycles
        unpack = c.unpack(fmt, tiles, self.m.format, tiles, COLUMN_FACES) + spec.cb_update_cycles
        pack = c.pack(fmt, tiles) + spec.cb_update_cycles + spec.cb_wait_cycles
        first, other = (window(unpack, tiles, fpu, math, pack + onto_sums(c, self.l, tiles, new), sfpu) for new in (1, 0))
        row = [Stage(first)] + ([Stage(other, self.S.cols // tiles - 1)] if self.S.cols > tiles else [])
        stages = row * self.S.rows
        return Windows([begin(c, stages[0], spec.cb_wait_cycles), *stages[1:]], spec.eltwise_halves)

    def values(self, units: Units) -> None:
        S = self.S.whole()
        exponentials(units(self, self.S), self.S, S, self.m, self.m.block(), self.scale)
        self.l.keep(units(self, self.l).add_up(S, self.S.format, self.l.format))


@dataclass(frozen=True, eq=False, slots=True)
class ExpDifference:
    """out [m, 1] = exp((a - b) scale) in column 0, by the accurate exponential. Upstream: `sub_exp_block`."""

    a: Matrix
    b: Matrix
    out: Matrix
    scale: float

    name: ClassVar = "exp difference"
    unit: ClassVar = "sfpu"
    losses: ClassVar[lost.Losses] = lost.FACTORS_AND_SINK

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.out.rows), (self.b, self.out.rows)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.rows),)

    def windows(self, c: Costs) -> Windows:
        fmt = self.a.format
        fpu, math = c.eltwise(1)
        math += c.spec.sfpu_start_cycles + c.exp_column()
        made = window(c.unpack(fmt, 1, fmt, 1), 1, fpu, math, c.pack(fmt, 1), c.exp_column())
        return Windows(one_by_one(c, made, self.out.rows), c.spec.eltwise_halves)

    def values(self, units: Units) -> None:
        a, b = self.a.block(), self.b.block()
        self.out.keep(factors(units(self, self.out), self.a, a, self.b, b, self.out, self.scale))


@dataclass(frozen=True, eq=False, slots=True)
class MulSums:
    """l [m, 1] <- l * column, in place. Upstream: `mul_tiles_bcast_cols_inplace`."""

    l: Matrix
    column: Matrix

    name: ClassVar = "mul columns"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.SUMS_MULTIPLIED

    def reads(self) -> Reads:
        return Reads(self.l, ((self.column, self.l.rows), (self.l, self.l.rows)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.l, self.l.rows),)

    def windows(self, c: Costs) -> Windows:
        fmt = self.l.format
        unpack = c.unpack(fmt, 1, self.column.format, 1, COLUMN_FACES)
        return in_place(c, unpack, *c.eltwise(1, multiply=True), c.pack(fmt, 1), self.l.rows)

    def values(self, units: Units) -> None:
        on, l = units(self, self.l), self.l
        l.replace(on.pack(on.multiply(l.block(), l.format, self.column.block(), self.column.format), l.format))


@dataclass(frozen=True, eq=False, slots=True)
class AddTo:
    """x <- x + y, in place, tile by tile. Upstream: `add_block_inplace`."""

    x: Matrix
    y: Matrix

    name: ClassVar = "add to"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.ADDED

    def reads(self) -> Reads:
        return Reads(self.x, ((self.y, self.x.tiles), (self.x, self.x.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.x, self.x.tiles),)

    def windows(self, c: Costs) -> Windows:
        unpack, pack = c.unpack(self.x.format, 1, self.y.format, 1), c.pack(self.x.format, 1)
        return in_place(c, unpack, *c.eltwise(1), pack, self.x.tiles)

    def values(self, units: Units) -> None:
        self.x.replace(added(units(self, self.x), self.x, self.y, self.x))


@dataclass(frozen=True, eq=False, slots=True)
class Reciprocal:
    """l [m, 1] <- 1 / l in column 0, in place: the older body on both chips. Upstream: `recip_tile_first_column`."""

    l: Matrix

    name: ClassVar = "reciprocal"
    unit: ClassVar = "sfpu"
    losses: ClassVar[lost.Losses] = lost.SUMS_ADDED

    def reads(self) -> Reads:
        return Reads(self.l, ((self.l, self.l.rows),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.l, self.l.rows),)

    def windows(self, c: Costs) -> Windows:
        spec, fmt = c.spec, self.l.format
        sfpu = spec.reciprocal_column_cycles
        math = spec.copy_cycles + spec.sfpu_start_cycles + sfpu
        return in_place(c, c.unpack(fmt, 1), spec.eltwise_cycles, math, c.pack(fmt, 1), self.l.rows, sfpu)

    def values(self, units: Units) -> None:
        self.l.replace(units(self, self.l).reciprocal(self.l.block(), self.l.format))


# -- parts of windows, of both kernels' verbs ----------------------------------------------------------------------------


def stamps(c: Costs, mask: Matrix, S: Matrix, sizes: Sequence[int]) -> list[Stage]:
    """Copies, accumulated by the packer; a window for each of `sizes` tiles."""
    spec = c.spec
    stages = [
        Stage(window(c.unpack(mask.format, n), n, n * spec.eltwise_cycles, n * spec.copy_cycles, c.pack(S.format, n, accumulate=True)))
        for n in sizes
    ]
    return [begin(c, stages[0], spec.accumulate_switch_cycles), *stages[1:]]


def onto_sums(c: Costs, l: Matrix, tiles: int, new: int) -> int:
    """Cycles to pack a window's tiles once more, the first `new` of them over their row's sum and the others onto it."""
    sums = c.pack(l.format, new) + c.pack(l.format, tiles - new, accumulate=True)
    return sums + c.spec.accumulate_switch_cycles


# -- parts of values, of both kernels' verbs: a matrix gives the format, and beside it are those of its tiles that are meant


def add_marks(on: Unit, mask: Matrix, S: Matrix, tiles: Values, marks: Marks) -> None:
    """tiles += tiles of the mask, by accumulating packs."""
    masks = mask.whole()
    for index, row, cols in marks:
        on.accumulate_tile(tiles[row : row + 1, :, cols.start : cols.stop], masks[:, :, index : index + 1], mask.format, S.format)


def exponentials(on: Unit, S: Matrix, tiles: Values, m: Matrix, largest: Values, scale: float) -> None:
    """tiles <- relu(exp((tiles - largest) scale)), by the fast approximation."""
    on.subtract(tiles, S.format, largest, m.format)
    on.exp_fast(tiles, scale, S.format)


def factors(on: Unit, a: Matrix, left: Values, b: Matrix, right: Values, out: Matrix, scale: float) -> Values:
    """exp((left - right) scale) of columns, by the accurate exponential."""
    difference = left[..., :1].copy()
    on.subtract(difference, a.format, right, b.format)
    return on.exp(difference, scale, out.format)
