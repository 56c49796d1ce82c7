"""The verbs that any kernel needs. They wait for their own tiles, reserve and push for themselves, and pop nothing.

A column is a tile of which column 0 counts; of a column that a verb makes the others are not known.
"""

from dataclasses import dataclass
from typing import ClassVar

from tensix_sim.formats import Values
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.tensix import Costs, Stage
from tensix_sim.kernel_api.matrix import Matrix, check_adds, check_shape
from tensix_sim.kernel_api.verb import EACH, Pushes, Reads, Unit, Units, Updates, bands
from tensix_sim.kernel_api.windows import (
    COLUMN_FACES,
    Windows,
    begin,
    check_window,
    in_place,
    maxima,
    one_by_one,
    product,
    window,
)


@dataclass(frozen=True, eq=False, slots=True)
class Matmul:
    """out [m, n] = a [m, k] x b [k, n], in subblocks of DST; upstream: `matmul_blocks`.

    Rows of `out` are pushed band by band, one subblock high, and rows of `a` are awaited so. With `accumulate` the packer
    adds to the tiles that `out` already holds instead.
    """

    a: Matrix
    b: Matrix
    out: Matrix
    subblock: tuple[int, int]
    accumulate: bool = False

    name: ClassVar = "matmul"
    unit: ClassVar = "matmul"

    def reads(self) -> Reads:
        held = ((self.b, self.b.tiles), (self.out, self.out.tiles))
        return Reads(self.a, held if self.accumulate else held[:1], bands(self.a.tiles, self.a.rows // self.subblock[0]))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.out, self.out.tiles) if self.accumulate else Pushes(self.out, self.out.tiles, EACH),)

    def windows(self, c: Costs) -> Windows:
        (m, n), k, (h, w) = (self.out.rows, self.out.cols), self.a.cols, self.subblock
        if (self.a.rows, self.b.rows, self.b.cols) != (m, k, n):
            raise SimulationError(f"{self.out.label}: {self.a.rows}x{k} by {self.b.rows}x{self.b.cols} tiles do not make {m}x{n}")
        if m % h or n % w or h * w > c.dst_tiles:
            raise SimulationError(
                f"{self.out.label}: subblock {h}x{w} of a {m}x{n} product; it must divide both "
                f"and fit the {c.dst_tiles} tiles of a DST half"
            )
        if self.accumulate:
            check_adds(self.out)
        spec, made = c.spec, product(c, self.a, self.b, self.out, h, w, k, self.accumulate)
        band = Stage(made, n // w, pack_setup=spec.cb_update_cycles, seen=spec.cb_wait_cycles)
        switch = self.accumulate * spec.accumulate_switch_cycles
        return Windows([begin(c, band, spec.reconfigure_cycles + spec.cb_wait_cycles + switch)] + [band] * (m // h - 1))

    def values(self, units: Units) -> None:
        a, b, out, on = self.a, self.b, self.out, units(self, self.out)
        made = on.matmul(a.whole(), a.format, b.whole(), b.format, out.format, b.transposed)
        if self.accumulate:
            on.accumulate(out.whole(), made, out.format)
        else:
            out.keep(made)


@dataclass(frozen=True, eq=False, slots=True)
class Add:
    """out = a + b, tile by tile. Columns make a column, as does a column and whole tiles. Upstream: `add_tiles`."""

    a: Matrix
    b: Matrix
    out: Matrix

    name: ClassVar = "add"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.out.tiles), (self.b, self.out.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles, EACH),)

    def windows(self, c: Costs) -> Windows:
        for operand in (self.a, self.b):
            check_shape(operand, self.out.rows, self.out.cols, f"its sum in {self.out.label}")
        made = window(c.unpack(self.a.format, 1, self.b.format, 1), 1, *c.eltwise(1), c.pack(self.out.format, 1))
        return Windows(one_by_one(c, made, self.out.tiles))

    def values(self, units: Units) -> None:
        self.out.keep(added(units(self, self.out), self.a, self.b, self.out))


@dataclass(frozen=True, eq=False, slots=True)
class MulColumn:
    """out [m, n] = x * column, the column [m, 1] broadcast. Upstream: `mul_block_bcast_cols`, `mul_block_bcast_cols_acc`.

    With `accumulate` the packer adds to the tiles that `out` already holds.
    """

    x: Matrix
    column: Matrix
    out: Matrix
    tiles: int  # of a row in a window
    accumulate: bool = False

    name: ClassVar = "scale rows"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.column, self.x.rows), (self.x, self.x.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.out, self.out.tiles) if self.accumulate else Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        check_window(c, self.x, self.tiles, self.x.cols)
        check_shape(self.column, self.x.rows, 1, f"a column beside {self.x.label}")
        check_shape(self.out, self.x.rows, self.x.cols, f"{self.x.label}, scaled,")
        if self.accumulate:
            check_adds(self.out)
        spec, tiles = c.spec, self.tiles
        unpack = c.unpack(self.x.format, tiles, self.column.format, tiles, COLUMN_FACES)
        made = window(unpack, tiles, *c.eltwise(tiles, multiply=True), c.pack(self.out.format, tiles, self.accumulate))
        stage = Stage(made, self.x.tiles // tiles)
        return Windows([begin(c, stage, spec.reconfigure_cycles + spec.cb_wait_cycles)], spec.eltwise_halves)

    def values(self, units: Units) -> None:
        on, out = units(self, self.out), self.out
        made = on.multiply(self.x.whole(), self.x.format, self.column.block(), self.column.format)
        if self.accumulate:
            on.accumulate(out.whole(), made, out.format)
        else:
            out.keep(on.pack(made, out.format))


@dataclass(frozen=True, eq=False, slots=True)
class RowMax:
    """out [m, 1] = largest value of each row of x [m, n], and of `before` [m, 1] where given.

    Upstream: `reduce_c` with `reduce_block_max_row`.
    """

    x: Matrix
    scaler: Matrix
    out: Matrix
    rows: int  # in a window
    before: Matrix | None = None

    name: ClassVar = "max rows"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        before = () if self.before is None else ((self.before, self.x.rows),)
        return Reads(self.x, ((self.scaler, 1), *before), bands(self.x.tiles, self.x.rows // self.rows))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.x.rows),)

    def windows(self, c: Costs) -> Windows:
        check_window(c, self.x, self.rows, self.x.rows)
        check_shape(self.out, self.x.rows, 1, f"a column of the maxima of {self.x.label}")
        spec = c.spec
        made = maxima(c, self.x.format, self.out.format, self.rows, self.x.cols, self.before is not None)
        first = begin(c, Stage(made), spec.cb_wait_cycles + spec.cb_update_cycles)
        return Windows([first] + [Stage(made, seen=spec.cb_wait_cycles)] * (self.x.rows // self.rows - 1))

    def values(self, units: Units) -> None:
        on = units(self, self.out)
        self.scaler.check_scaler()
        old = (None,) if self.before is None else (self.before.block(), self.before.format)
        self.out.keep(on.pack(on.max_rows(self.x.whole(), self.x.format, *old), self.out.format))


@dataclass(frozen=True, eq=False, slots=True)
class RowSum:
    """x [m, 1] <- x times a column of ones, in place: each row's sum, in column 0. Upstream: `matmul_reduce`."""

    x: Matrix
    ones: Matrix
    rows: int  # in a window

    name: ClassVar = "sum columns"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.ones, 1), (self.x, self.x.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.x, self.x.tiles),)

    def windows(self, c: Costs) -> Windows:
        rows, fmt = self.rows, self.x.format
        check_window(c, self.x, rows, self.x.rows)
        unpack = c.unpack(self.ones.format, 1, fmt, rows)
        return in_place(c, unpack, *c.matmul(rows), c.pack(fmt, rows), self.x.rows // rows)

    def values(self, units: Units) -> None:
        on, x = units(self, self.x), self.x
        x.replace(on.pack(on.sum_columns(x.whole(), x.format, self.ones.whole()), x.format))


@dataclass(frozen=True, eq=False, slots=True)
class Copy:
    """out = x, tile by tile, in the format of `out`. A column makes a column. Upstream: `copy_tile`, `pack_tile`."""

    x: Matrix
    out: Matrix

    name: ClassVar = "copy"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.out.tiles),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles, EACH),)

    def windows(self, c: Costs) -> Windows:
        check_shape(self.x, self.out.rows, self.out.cols, f"its copy in {self.out.label}")
        made = window(c.unpack(self.x.format, 1), 1, c.spec.eltwise_cycles, c.spec.copy_cycles, c.pack(self.out.format, 1))
        return Windows(one_by_one(c, made, self.out.tiles))

    def values(self, units: Units) -> None:
        self.out.keep(units(self, self.out).copy(self.x.block(), self.x.format, self.out.format))


def added(on: Unit, a: Matrix, b: Matrix, out: Matrix) -> Values:
    """a + b as `out` has it, in as many columns of their tiles as are known of both."""
    left, right = a.block(), b.block()
    width = min(left.shape[3], right.shape[3])
    return on.pack(on.add(left[..., :width], a.format, right[..., :width], b.format), out.format)
