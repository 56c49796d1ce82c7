"""Verbs with which the legacy kernel merges what two slices gave: logarithms and sigmoids of columns, products with a scalar.

What the vector unit takes for a logarithm or a sigmoid nobody has published: as long as for an accurate exponential, UNVERIFIED.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensix_sim.kernel_api import (
    EACH,
    Costs,
    Matrix,
    Pushes,
    Reads,
    Units,
    Updates,
    Values,
    Windows,
    check_shape,
    in_place,
    one_by_one,
    window,
)


@dataclass(frozen=True, eq=False, slots=True)
class Log:
    """out [m, 1] = log(x), of columns. Upstream: `log_block`."""

    x: Matrix
    out: Matrix

    name: ClassVar = "log"
    unit: ClassVar = "sfpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.out.rows),))

    def makes(self) -> tuple[Pushes, ...]:
        return (Pushes(self.out, self.out.rows),)

    def windows(self, c: Costs) -> Windows:
        sfpu = c.exp_column()
        math = c.spec.copy_cycles + c.spec.sfpu_start_cycles + sfpu
        made = window(c.unpack(self.x.format, 1), 1, c.spec.eltwise_cycles, math, c.pack(self.out.format, 1), sfpu)
        return Windows(one_by_one(c, made, self.out.rows), c.spec.eltwise_halves)

    def values(self, units: Units) -> None:
        self.out.keep(units(self, self.out).pack(np.log(self.x.block()[..., :1]), self.out.format))


@dataclass(frozen=True, eq=False, slots=True)
class SigmoidDifference:
    """out [m, 1] = 1 / (1 + exp(b - a)), of columns. Upstream: `sigmoid_sub`."""

    a: Matrix
    b: Matrix
    out: Matrix

    name: ClassVar = "sigmoid"
    unit: ClassVar = "sfpu"

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.out.rows), (self.b, self.out.rows)))

    def makes(self) -> tuple[Pushes, ...]:
        return (Pushes(self.out, self.out.rows),)

    def windows(self, c: Costs) -> Windows:
        sfpu = c.exp_column() + c.spec.reciprocal_column_cycles
        fpu, math = c.eltwise(1)
        unpack = c.unpack(self.a.format, 1, self.b.format, 1)
        made = window(unpack, 1, fpu, math + c.spec.sfpu_start_cycles + sfpu, c.pack(self.out.format, 1), sfpu)
        return Windows(one_by_one(c, made, self.out.rows), c.spec.eltwise_halves)

    def values(self, units: Units) -> None:
        on, difference = units(self, self.out), self.a.block()[..., :1].copy()
        on.subtract(difference, self.a.format, self.b.block(), self.b.format)
        self.out.keep(on.pack(np.float32(0.5) * (1 + np.tanh(difference / 2)), self.out.format))


@dataclass(frozen=True, eq=False, slots=True)
class Subtract:
    """out [m, n] = a - b, tile by tile; columns make a column. Upstream: `sub_block`."""

    a: Matrix
    b: Matrix
    out: Matrix

    name: ClassVar = "subtract"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.a, ((self.a, self.out.tiles), (self.b, self.out.tiles)))

    def makes(self) -> tuple[Pushes, ...]:
        return (Pushes(self.out, self.out.tiles, EACH),)

    def windows(self, c: Costs) -> Windows:
        for operand in (self.a, self.b):
            check_shape(operand, self.out.rows, self.out.cols, f"its difference in {self.out.label}")
        made = window(c.unpack(self.a.format, 1, self.b.format, 1), 1, *c.eltwise(1), c.pack(self.out.format, 1))
        return Windows(one_by_one(c, made, self.out.tiles))

    def values(self, units: Units) -> None:
        on, a, b = units(self, self.out), self.a.block(), self.b.block()
        width = min(a.shape[3], b.shape[3])
        made = on.add(a[..., :width], self.a.format, -b[..., :width], self.b.format)
        self.out.keep(as_wide_as(self.out, on.pack(made, self.out.format)))


@dataclass(frozen=True, eq=False, slots=True)
class CopyColumn:
    """out [m, 1] = x, of columns; what stands beside them are zeros. Upstream: `copy_block`."""

    x: Matrix
    out: Matrix

    name: ClassVar = "copy"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.out.rows),))

    def makes(self) -> tuple[Pushes, ...]:
        return (Pushes(self.out, self.out.rows),)

    def windows(self, c: Costs) -> Windows:
        made = window(c.unpack(self.x.format, 1), 1, c.spec.eltwise_cycles, c.spec.copy_cycles, c.pack(self.out.format, 1))
        return Windows(one_by_one(c, made, self.out.rows))

    def values(self, units: Units) -> None:
        copied = units(self, self.out).copy(self.x.block()[..., :1], self.x.format, self.out.format)
        self.out.keep(as_wide_as(self.out, copied))


def as_wide_as(out: Matrix, made: Values) -> Values:
    """Tiles as they are, or of a column that leaves the core whole ones, with zeros beside it."""
    return np.pad(made, ((0, 0), (0, 0), (0, 0), (0, out.width - made.shape[3])))


@dataclass(frozen=True, eq=False, slots=True)
class MulScalar:
    """x [m, 1] <- x * scalar, a tile that is full of it, in place. Upstream: `mul_block_bcast_scalar_inplace`."""

    x: Matrix
    scalar: Matrix

    name: ClassVar = "scale"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.scalar, 1), (self.x, self.x.rows)))

    def makes(self) -> tuple[Updates, ...]:
        return (Updates(self.x, self.x.rows),)

    def windows(self, c: Costs) -> Windows:
        fmt = self.x.format
        return in_place(c, c.unpack(fmt, 1, self.scalar.format, 1), *c.eltwise(1, multiply=True), c.pack(fmt, 1), self.x.rows)

    def values(self, units: Units) -> None:
        on, x = units(self, self.x), self.x.block()
        by = np.broadcast_to(self.scalar.block()[..., :1], (*x.shape[:3], 1))
        self.x.replace(on.pack(on.multiply(x, self.x.format, by, self.scalar.format), self.x.format))
