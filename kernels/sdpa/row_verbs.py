"""The streaming kernel's verbs: a group of rows in place, exponentials issued by the pack thread.

What is `beside` a product or a rescaling is dealt out among its windows, so that the FPU goes on in the other half of DST.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from tensix_sim.kernel_api import (
    COLUMN_FACES,
    Alters,
    Compute,
    Costs,
    Matrix,
    Pushes,
    Reads,
    SimulationError,
    Stage,
    Units,
    Updates,
    Window,
    Windows,
    begin,
    check_adds,
    check_column,
    check_fills,
    check_whole,
    maxima,
    product,
    window,
)
from tensix_sim.kernels.sdpa import losses as lost
from tensix_sim.kernels.sdpa.mask import Marks
from tensix_sim.kernels.sdpa.verbs import add_marks, exponentials, factors, onto_sums, stamps

INIT_EXP = "init exp"
FIRST = slice(0, 1)  # after the first stage
NOTHING = Window(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class SubExpRows:
    """S[rows, :n] <- relu(exp((S - m) scale)) in place, by the fast approximation; l[rows] = those tiles added up.

    In windows of all rows and `width` columns: the FPU subtracts, the pack thread issues the exponentials.
    """

    S: Matrix
    m: Matrix
    l: Matrix
    rows: range
    n: int
    width: int
    scale: float

    name: ClassVar = "run alone"
    unit: ClassVar = "sfpu"
    loaded_by: ClassVar = INIT_EXP
    losses: ClassVar[lost.Losses] = lost.EXPONENTIALS

    def reads(self) -> Reads:
        return Reads(self.S, ((self.S, self.rows.stop * self.S.cols), (self.m, self.rows.stop)))

    def makes(self) -> tuple[Alters, ...]:
        return (Alters(self.S, self.rows),)

    def windows(self, c: Costs) -> Windows:
        check_whole(self.S, self.l)
        check_adds(self.l)
        check_fills(self.m)
        spec, fmt, h, tiles = c.spec, self.S.format, len(self.rows), len(self.rows) * self.width
        sfpu = ceil(tiles * spec.exp_approx_cycles)
        unpack, pack = c.unpack(fmt, tiles, fmt, h, COLUMN_FACES), tiles * spec.sfpu_start_cycles + c.pack(fmt, tiles)
        first, other = (
            window(unpack, tiles, *c.eltwise(tiles), pack + onto_sums(c, self.l, tiles, new), vector=sfpu) for new in (h, 0)
        )
        return Windows([Stage(w, math_setup=spec.math_init_cycles) for w in (first, *[other] * (self.n // self.width - 1))])

    def values(self, units: Units) -> None:
        S = self.S.values(self.rows)[:, :, : self.n]
        exponentials(units(self, self.S), self.S, S, self.m, self.m.values(self.rows), self.scale)
        self.l.values(self.rows)[:] = units(self, self.l).add_up(S, self.S.format, self.l.format)


@dataclass(frozen=True, eq=False, slots=True)
class ExpDifferenceRows:
    """out[rows] = exp((a - b) scale) of columns, by an accurate exponential, in one window; pushed at its end.

    The FPU subtracts, the pack thread issues the exponentials. `approximate` is the flag of that name, which chooses
    between two bodies, the dearer one if set; the values are the same here.
    """

    a: Matrix
    b: Matrix
    out: Matrix
    rows: range
    scale: float
    approximate: bool = True

    name: ClassVar = "run alone"
    unit: ClassVar = "sfpu"
    loaded_by: ClassVar = INIT_EXP
    losses: ClassVar[lost.Losses] = lost.FACTORS

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.rows.stop), (self.b, self.rows.stop)))

    def makes(self) -> tuple[Pushes, ...]:
        return (Pushes(self.out, len(self.rows), FIRST),)

    def windows(self, c: Costs) -> Windows:
        check_column(self.out)
        check_fills(self.a, self.b)
        spec, fmt, h = c.spec, self.a.format, len(self.rows)
        pack = h * spec.sfpu_start_cycles + c.pack(fmt, h) + spec.cb_wait_cycles + spec.cb_update_cycles
        vector = h * c.exp_column(self.approximate)
        made = window(c.unpack(fmt, h, fmt, h), h, *c.eltwise(h), pack, vector=vector)
        return Windows([Stage(made, math_setup=spec.math_init_cycles, seen=spec.cb_wait_cycles)])

    def values(self, units: Units) -> None:
        a, b = self.a.values(self.rows), self.b.values(self.rows)
        self.out.values(self.rows)[:] = factors(units(self, self.out), self.a, a, self.b, b, self.out, self.scale)


Exponentials = SubExpRows | ExpDifferenceRows


@dataclass(frozen=True, eq=False, slots=True)
class MatmulRows:
    """out[rows, :n] = a[rows, :k] x b[:k, :n], in windows of all rows and `width` columns; the rest as it was.

    The inner tiles come in `pieces`, which the packer adds up. The windows of `beside` come each before an equal
    share of the product's. With `push` whole rows of `out` are handed over, half of them as soon as the first
    n / 2 columns are packed if `early`. With `hand_over` each piece waits until what is beside it is packed.
    Unpackers have the format of `out` before and after, and for `beside`. Upstream: the subblock loop of a row group.
    """

    a: Matrix
    b: Matrix
    out: Matrix
    rows: range
    n: int
    k: int
    width: int
    pieces: int = 1
    push: bool = False
    early: bool = False
    hand_over: bool = False
    beside: Exponentials | None = None

    name: ClassVar = "multiply"
    unit: ClassVar = "matmul"
    losses: ClassVar[lost.Losses] = lost.PRODUCTS

    def reads(self) -> Reads:
        held, b = (self.a, self.rows.stop * self.a.cols), self.b.tiles
        if self.beside is None:
            return Reads(self.b, (held,), (b,))
        return Reads(self.b, (held, *self.beside.reads().tiles), (0, b))  # b is awaited behind the first window of what is beside

    def makes(self) -> tuple[Pushes | Alters, ...]:
        aside = self.beside.makes() if self.beside and not self.hand_over else ()
        if not self.push:
            return aside
        return Pushes(self.out, len(self.rows) * self.out.cols, early=self.n // 2 if self.early else 0), *aside

    def windows(self, c: Costs) -> Windows:
        check_whole(self.a, self.b, self.out)
        if self.pieces > 1:
            check_adds(self.out)
        h, n, k, w = len(self.rows), self.n, self.k, self.width
        for x, rows in (made for made in self.makes() if isinstance(made, Alters)):
            if x.cb is self.a.cb and self.rows.start in rows:
                raise SimulationError(
                    f"{x.label}: the product of row {self.rows.start} reads what is made beside it; each piece needs a hand_over"
                )
        if self.early and (n != self.out.cols or n % 2 or n == w):
            raise SimulationError(
                f"{self.out.label}: {n} of {self.out.cols} columns in windows of {w}; the first half is seen early of whole rows "
                "with an even number of columns in several windows"
            )
        if n % w or k % self.pieces or h * w > c.dst_tiles:
            raise SimulationError(
                f"{self.out.label}: windows of {h}x{w} in {self.pieces} pieces, of {h}x{n} tiles with {k} inner ones; they must "
                f"divide these and fit the {c.dst_tiles} tiles of a DST half"
            )
        new_formats = (self.a.format, self.b.format) != (self.out.format, self.out.format)
        reconfigure = c.spec.reconfigure_cycles if new_formats else 0
        aside = self.beside.windows(c).stages if self.beside else ()
        stages = dealt(c, self._pieces(c), aside, reconfigure)
        if reconfigure:
            stages.append(Stage(NOTHING, 0, reconfigure))
        return Windows(stages, early=self._early(c, bool(aside)) if self.early else None)

    def _pieces(self, c: Costs) -> list[Stage]:
        stages = []
        for piece in range(self.pieces):
            made = product(c, self.a, self.b, self.out, len(self.rows), self.width, self.k // self.pieces, piece > 0)
            switch = c.spec.accumulate_switch_cycles if piece else 0
            stages += [Stage(made, after_pack=self.hand_over, pack_setup=switch), *[Stage(made)] * (self.n // self.width - 1)]
        return stages

    def _early(self, c: Costs, aside: bool) -> tuple[int, int]:
        """The stage with the middle column, and what the maxima of half of the columns take: they begin so much sooner."""
        half = maxima(c, self.out.format, self.out.format, len(self.rows), self.n, with_before=False)
        return self.n // self.width // 2 * (2 if aside else 1) - 1, max(half.unpack, half.math) // 2

    def values(self, units: Units) -> None:
        if self.beside is not None:
            self.beside.values(units)
        a, b, out, on = self.a, self.b, self.out, units(self, self.out)
        left, right, into = a.values(self.rows), b.values(range(b.rows)), out.values(self.rows)[:, :, : self.n]
        for piece in range(self.pieces):
            inner = slice(piece * self.k // self.pieces, (piece + 1) * self.k // self.pieces)
            made = on.matmul(left[:, :, inner], a.format, right[inner, :, : self.n], b.format, out.format, b.transposed)
            if piece:
                on.accumulate(into, made, out.format)
            else:
                into[:] = made


@dataclass(frozen=True, eq=False, slots=True)
class MaxRows:
    """m[rows] = largest value of each row of S[rows, :n], and of before[rows] where given; pushed. In one window.

    It is packed to `copy` too where one is given, whose tiles are reserved.
    """

    S: Matrix
    scaler: Matrix
    m: Matrix
    rows: range
    n: int
    before: Matrix | None = None
    copy: Matrix | None = None

    name: ClassVar = "row max"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = {}

    def reads(self) -> Reads:
        before = ((self.before, self.rows.stop),) if self.before else ()
        return Reads(self.S, ((self.scaler, 1), *before), (self.rows.stop * self.S.cols,))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.m, len(self.rows)),)

    def windows(self, c: Costs) -> Windows:
        check_whole(self.S)
        check_column(self.m)
        spec = c.spec
        made = maxima(c, self.S.format, self.m.format, len(self.rows), self.n, self.before is not None)
        pack = spec.cb_wait_cycles + spec.cb_update_cycles + (c.pack(self.m.format, len(self.rows)) if self.copy else 0)
        return Windows([Stage(made, math_setup=spec.math_init_cycles, pack_setup=pack, seen=spec.cb_wait_cycles)])

    def values(self, units: Units) -> None:
        on, S = units(self, self.m), self.S
        self.scaler.check_scaler()
        old = (None,) if self.before is None else (self.before.values(self.rows), self.before.format)
        made = on.max_rows(S.values(self.rows)[:, :, : self.n], S.format, *old)
        self.m.values(self.rows)[:] = on.pack(made, self.m.format)
        if self.copy:
            self.copy.values(self.rows)[..., :1], self.copy.values(self.rows)[..., 1:] = self.m.values(self.rows), 0


@dataclass(frozen=True, eq=False, slots=True)
class StampRows:
    """S[rows] += tiles of the mask, the newest rows, by accumulating packs of a window each."""

    mask: Matrix
    S: Matrix
    rows: range
    marks: Marks

    name: ClassVar = "mark"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.STAMPS

    def reads(self) -> Reads:
        return Reads(self.mask, ((self.mask, self.mask.tiles),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        first = min((cols.start for _, _, cols in self.marks), default=0)
        return (Updates(self.S, len(self.rows) * self.S.cols, older=self.rows.start * self.S.cols, first=first),)

    def windows(self, c: Costs) -> Windows:
        check_whole(self.S)
        check_adds(self.S)
        return Windows(stamps(c, self.mask, self.S, [1] * sum(len(cols) for _, _, cols in self.marks)))

    def values(self, units: Units) -> None:
        add_marks(units(self, self.S), self.mask, self.S, self.S.values(range(self.S.rows)), self.marks)


@dataclass(frozen=True, eq=False, slots=True)
class AddMaskRows:
    """S[rows, :n] += mask [h, :n], the newest rows, by accumulating packs, of as many tiles in a window as DST has room for."""

    mask: Matrix
    S: Matrix
    rows: range
    n: int

    name: ClassVar = "add mask"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.STAMPS

    def reads(self) -> Reads:
        return Reads(self.mask, ((self.mask, self.mask.tiles),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Updates(self.S, len(self.rows) * self.S.cols, older=self.rows.start * self.S.cols),)

    def windows(self, c: Costs) -> Windows:
        check_whole(self.S)
        check_adds(self.S)
        whole, rest = divmod(len(self.rows) * self.n, c.dst_tiles)
        stages = stamps(c, self.mask, self.S, [c.dst_tiles] * whole + [rest] * (rest > 0))
        return Windows([*stages, Stage(NOTHING, 0, c.spec.reconfigure_cycles)])

    def values(self, units: Units) -> None:
        onto, tiles = self.S.values(self.rows)[:, :, : self.n], self.mask.whole()[:, :, : self.n]
        units(self, self.S).accumulate_tile(onto, tiles, self.mask.format, self.S.format)


@dataclass(frozen=True, eq=False, slots=True)
class Rescale:
    """onto_O[rows] += O[rows] α[rows] and onto_l[rows] += l[rows] α[rows], added by the packer to tiles that are reserved.

    O has the rows at its front; l shares the last window where DST has room for it. Upstream: the fused correction.
    """

    O: Matrix
    l: Matrix
    column: Matrix
    onto_O: Matrix
    onto_l: Matrix
    rows: range
    beside: Exponentials | None = None

    name: ClassVar = "rescale"
    unit: ClassVar = "fpu"
    losses: ClassVar[lost.Losses] = lost.RESCALED

    def reads(self) -> Reads:
        h = len(self.rows)
        own = (self.column, h), (self.O, h * self.O.cols), (self.l, self.rows.stop)
        return Reads(self.O, (*own, *(self.beside.reads().tiles if self.beside else ())))

    def makes(self) -> tuple[Pushes | Alters, ...]:
        return self.beside.makes() if self.beside else ()

    def windows(self, c: Costs) -> Windows:
        check_whole(self.O, self.onto_O, *((self.l, self.onto_l) if self.l.width != self.onto_l.width else ()))
        check_adds(self.onto_O, self.onto_l)
        check_fills(self.column, self.l)
        h, n, dst, spec = len(self.rows), self.O.cols, c.dst_tiles, c.spec
        w = min(dst // h, n)
        sizes = [h * min(w, n - col) for col in range(0, n, w)]
        if sizes[-1] + h <= dst:
            sizes[-1] += h
        else:
            sizes.append(h)
        first, *others = [Stage(self._scaled(c, tiles)) for tiles in sizes]
        first = first._replace(math_setup=spec.math_init_cycles, pack_setup=spec.accumulate_switch_cycles)
        return Windows([*(self.beside.windows(c).stages if self.beside else ()), first, *others])

    def _scaled(self, c: Costs, tiles: int) -> Window:
        fmt = self.O.format
        unpack = c.unpack(fmt, tiles, fmt, len(self.rows), COLUMN_FACES)
        return window(unpack, tiles, *c.eltwise(tiles, multiply=True), c.pack(fmt, tiles, accumulate=True))

    def values(self, units: Units) -> None:
        column = self.column.values(self.rows)
        for x, onto in ((self.O, self.onto_O), (self.l, self.onto_l)):
            on = units(self, onto)
            made = on.multiply(x.values(self.rows), x.format, column, self.column.format)
            on.accumulate(onto.values(self.rows), made, onto.format)
        if self.beside is not None:
            self.beside.values(units)


@dataclass(frozen=True, eq=False, slots=True)
class SumReciprocal:
    """out [1, 1] = 1 / (the front tile of l times a column of ones): of each row's sum, in column 0, in one window.

    With a `sink` exp((sink - m[row]) scale) is added to the sum. On the math thread: `recip_tile`'s body on Blackhole,
    `reciprocal`'s on Wormhole.
    """

    l: Matrix
    ones: Matrix
    out: Matrix
    sink: Matrix | None = None
    m: Matrix | None = None
    row: int = 0
    scale: float = 1.0

    name: ClassVar = "sum reciprocal"
    unit: ClassVar = "sfpu"
    losses: ClassVar[lost.Losses] = lost.INVERTED

    def reads(self) -> Reads:
        sink = ((self.sink, 1), (self.m, self.row + 1)) if self.sink and self.m else ()
        return Reads(self.l, ((self.ones, 1), (self.l, 1), *sink))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, 1),)

    def windows(self, c: Costs) -> Windows:
        spec, fmt = c.spec, self.l.format
        fpu, math = c.matmul(1)
        sfpu, unpack = spec.reciprocal_column_cycles, c.unpack(fmt, 1, fmt, 1)
        if self.sink and self.m:
            check_fills(self.m)
            subtract, busy = c.eltwise(1)
            fpu, math, sfpu = fpu + subtract, math + busy, sfpu + c.exp_column()
            unpack += c.unpack(self.sink.format, 1, self.m.format, 1, COLUMN_FACES)
        made = window(unpack, 1, fpu, math + spec.sfpu_start_cycles + sfpu, c.pack(fmt, 1), sfpu)
        return Windows([begin(c, Stage(made), spec.cb_wait_cycles + spec.cb_update_cycles)])

    def values(self, units: Units) -> None:
        on = units(self, self.out)
        total = on.sum_columns(self.l.whole(), self.l.format, self.ones.whole())
        if self.sink and self.m:
            m = self.m.values(range(self.row, self.row + 1))
            sink = factors(on, self.sink, self.sink.block(), self.m, m, self.out, self.scale)
            total = on.add(total, self.out.format, sink, self.out.format)
        self.out.keep(on.reciprocal(total, self.out.format, newer=True))


def init_exp(t: Compute) -> None:
    """Load the constants of an exponential into the vector unit, from the pack thread."""
    t.spend_on_pack(INIT_EXP, t.costs.spec.exp_init_cycles, "sfpu")


def bracket(t: Compute) -> None:
    """Set the pack thread up for stamps and back, with nothing to stamp."""
    t.spend_on_pack(StampRows.name, t.costs.spec.accumulate_switch_cycles, StampRows.unit)


def dealt(c: Costs, windows: list[Stage], aside: Sequence[Stage], reconfigure: int) -> list[Stage]:
    """Each stage of `aside` before an equal share of the windows of a product, whose formats are set for each share."""
    turns = max(1, len(aside))
    share = len(windows) // turns
    stages: list[Stage] = []
    for i in range(turns):
        if aside:
            stages.append(aside[i]._replace(unpack_setup=reconfigure if i else 0))
        first, *others = windows[i * share : (i + 1) * share]
        stages += [first._replace(unpack_setup=reconfigure, math_setup=c.spec.math_init_cycles), *others]
    return stages
