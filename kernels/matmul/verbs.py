"""The verbs of a blocked product. Partial sums lie in a buffer subblock by subblock, and so does C: a row of the matrix is one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensix_sim.kernel_api import (
    BFLOAT16,
    FLOAT32,
    Costs,
    Format,
    Matrix,
    Pushes,
    Reads,
    SimulationError,
    Stage,
    Units,
    Updates,
    Values,
    Windows,
    begin,
    check_adds,
    check_fills,
    product,
    window,
)

ROW_FACES = 2  # a broadcast row comes from the upper half of its tile
TRANSPOSED = 4  # tiles that are transposed in a window


@dataclass(frozen=True, eq=False, slots=True)
class MatmulSubblock:
    """out = a[i] x b[j], and `onto` what is there of it: subblock (i, j) of a [m, k] x b [k, n], in one window.

    `out` has a subblock to hand over, or is the partial sums [subblocks, h w]; with `accumulate` the packer adds to them. What
    it is `onto` are partial sums, popped before. Upstream: `matmul_block` over the inner tiles, `copy_tile` of the partial sums.
    """

    a: Matrix
    b: Matrix
    out: Matrix
    i: int
    j: int
    subblock: tuple[int, int]
    onto: Matrix | None = None
    accumulate: bool = False
    relu: bool = False

    name: ClassVar = "matmul"
    unit: ClassVar = "matmul"

    @property
    def number(self) -> int:
        """Its place among the subblocks."""
        return self.i * (self.b.cols // self.subblock[1]) + self.j

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.a.tiles), (self.b, self.b.tiles)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.subblock[0] * self.subblock[1]),)

    def windows(self, c: Costs) -> Windows:
        spec, (h, w), k, first = c.spec, self.subblock, self.a.cols, self.number == 0
        if k != self.b.rows or self.a.rows % h or self.b.cols % w or h * w > c.dst_tiles:
            raise SimulationError(
                f"{self.out.label}: subblock {h}x{w} of {self.a.rows}x{k} by {self.b.rows}x{self.b.cols} tiles; it must divide the "
                f"product and fit the {c.dst_tiles} tiles of a DST half"
            )
        made = product(c, self.a, self.b, self.out, h, w, k, self.accumulate)
        switches = 0
        if self.accumulate:
            check_adds(self.out)
        if self.onto is not None:
            loads, copy = c.unpack(self.onto.format, h * w), spec.copy_cycles
            if self.onto.format is FLOAT32:
                copy = spec.copy_fp32_cycles
            made = made._replace(
                unpack=made.unpack + loads, first=made.first + loads,
                fpu=made.fpu + h * w * spec.eltwise_cycles, math=made.math + h * w * copy,
            )  # fmt: skip
            switches = 2  # to the partial sums and back
        stage = Stage(
            made,
            unpack_setup=switches * reconfigure(c, self.b.format, self.onto.format if self.onto else self.b.format),
            math_setup=switches * spec.math_init_cycles,
            pack_setup=first * spec.accumulate_switch_cycles,  # counters are T2's RISC's, which runs ahead of its packer
            seen=first * 2 * spec.cb_wait_cycles,
        )
        return Windows([stage])

    def values(self, units: Units) -> None:
        (h, w), out, on = self.subblock, self.out, units(self, self.out)
        a, b = self.a.whole()[self.i * h : (self.i + 1) * h], self.b.whole()[:, :, self.j * w : (self.j + 1) * w]
        start = None if self.onto is None else (subblock_of(self.onto, self.number, h), self.onto.format)
        made = on.matmul(a, self.a.format, b, self.b.format, out.format, self.b.transposed, start)
        if out.cb.shared:
            out.keep(np.maximum(made, 0) if self.relu else made)
        elif self.accumulate:
            on.accumulate(out.values(range(self.number, self.number + 1)), in_a_row(made), out.format)
        else:
            out.values(range(self.number, self.number + 1))[:] = in_a_row(made)


@dataclass(frozen=True, eq=False, slots=True)
class AddBias:
    """out [h, w] = subblock (i, j) of the sums + a row of `bias` [1, n], in one window; the sums are popped before.

    Upstream: `add_tiles_bcast_rows`.
    """

    sums: Matrix
    bias: Matrix
    out: Matrix
    i: int
    j: int
    relu: bool = False

    name: ClassVar = "add bias"
    unit: ClassVar = "fpu"

    @property
    def number(self) -> int:
        """Its place among the subblocks."""
        return self.i * (self.bias.cols // self.out.cols) + self.j

    def reads(self) -> Reads:
        return Reads(self.bias, ((self.bias, self.bias.cols),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        check_fills(self.sums)
        spec, tiles = c.spec, self.out.tiles
        unpack = c.unpack(self.sums.format, tiles, self.bias.format, tiles, ROW_FACES)
        made = window(unpack, tiles, *c.eltwise(tiles), c.pack(self.out.format, tiles))
        return Windows([begin(c, Stage(made), spec.reconfigure_cycles) if self.number == 0 else Stage(made)])

    def values(self, units: Units) -> None:
        on, out, w = units(self, self.out), self.out, self.out.cols
        x = subblock_of(self.sums, self.number, out.rows)
        row = self.bias.whole()[:, :1, self.j * w : (self.j + 1) * w]
        made = on.pack(on.add(x, self.sums.format, np.ascontiguousarray(np.broadcast_to(row, x.shape)), self.bias.format), out.format)
        out.keep(np.maximum(made, 0) if self.relu else made)


@dataclass(frozen=True, eq=False, slots=True)
class TransposeTiles:
    """out = x, each tile transposed by the unpacker, some tiles in a window. Upstream: `transpose_wh_tile`."""

    x: Matrix
    out: Matrix

    name: ClassVar = "transpose"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.x.tiles),))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        spec, fmt = c.spec, self.x.format
        sizes = [min(TRANSPOSED, self.x.tiles - done) for done in range(0, self.x.tiles, TRANSPOSED)]
        stages = [
            Stage(window(c.unpack(fmt, n), n, n * spec.eltwise_cycles, n * spec.copy_cycles, c.pack(self.out.format, n)))
            for n in sizes
        ]
        return Windows([stages[0]._replace(math_setup=2 * spec.math_init_cycles, seen=spec.cb_wait_cycles), *stages[1:]])

    def values(self, units: Units) -> None:
        self.out.keep(np.ascontiguousarray(self.x.whole().swapaxes(1, 3)))


def reconfigure(c: Costs, before: Format, after: Format) -> int:
    """Cycles in which an unpacker gets another format; none where it stays."""
    return 0 if before is after else c.spec.reconfigure_cycles


def in_a_row(block: Values) -> Values:
    """A subblock [h, 32, w, 32] as one row of tiles [1, 32, h w, 32]."""
    return block.swapaxes(0, 1).reshape(1, block.shape[1], -1, block.shape[3])


def subblock_of(sums: Matrix, number: int, h: int) -> Values:
    """A subblock [h, 32, w, 32] of sums, of which a row is one."""
    row = sums.values(range(number, number + 1))
    return np.ascontiguousarray(row.reshape(row.shape[1], h, -1, row.shape[3]).swapaxes(0, 1))


class Sum:
    """What a tile of DST holds from one verb to the next."""

    values: Values


@dataclass(frozen=True, eq=False, slots=True)
class MatmulTile:
    """dst += a x b, a tile each; dst = a x b of the `first`, and of the `last` packed to out. Upstream: `matmul_tiles`."""

    a: Matrix
    b: Matrix
    out: Matrix
    dst: Sum
    first: bool
    last: bool

    name: ClassVar = "matmul"
    unit: ClassVar = "matmul"

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, 1), (self.b, 1)))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, 1),) if self.last else ()

    def windows(self, c: Costs) -> Windows:
        spec = c.spec
        made = window(c.unpack(self.b.format, 1, self.a.format, 1), 1, *c.matmul(1), c.pack(self.out.format, 1) * self.last)
        return Windows([Stage(made, pack_setup=(spec.cb_wait_cycles + spec.cb_update_cycles) * self.last, seen=2 * spec.cb_wait_cycles)])

    def values(self, units: Units) -> None:
        on, start = units(self, self.out), None if self.first else (self.dst.values, BFLOAT16)  # as it is
        a, b = self.a.whole(), self.b.whole()
        self.dst.values = on.matmul(a, self.a.format, b, self.b.format, FLOAT32, self.b.transposed, start)
        if self.last:
            self.out.keep(on.pack(self.dst.values, self.out.format))
