"""`numerics: fast`: float32 arithmetic with the hardware's roundings where they matter.

Blocks are [tile row, row, tile column, column]; a column (row maxima, sums, factors) is [tile row, row, 1, 1 or more], of
which only the first is looked at. Operands are finite, but for -inf in a mask, and nothing overflows: infinity and NaN are
large numbers to the chip's FPU and not here.
Not rounded here, unlike on the chip: DST after every MVMUL (once per result instead), and products aligned
to the largest of their group. `docs/model.md` says how much that matters.
"""

from math import log

import numpy as np

from tensix_sim.arch.model import NumbersSpec
from tensix_sim.formats import (
    BFLOAT16,
    FLOAT32,
    GROUP,
    TILE,
    Format,
    Values,
    pack_to_format,
    round_bf16,
    src_a_high,
    src_b_high,
    truncate_bf16,
)
from tensix_sim.hw import llk, passes
from tensix_sim.program import ComputeConfig

# Schraudolph's exp as the LLK has it: the bits of exp(x) are round(A x + B) << 15 (ckernel_sfpu_exp.h), a 16-bit integer
EXP_A = 256 / log(2)
EXP_B = float(np.uint32(llk.EXP_B).view(np.float32))
EXP_21F = np.array([llk.LN2_RECIPROCAL, *llk.EXP_21F], np.uint32).view(np.float32)
LOG2_E = EXP_21F[0]
HIDDEN = np.float32(-(2.0**100))  # for -inf, which the chip takes for a huge number: less itself it is 0, not NaN


Start = tuple[Values, Format] | None  # what a product is added to


class Arithmetic:
    """The tile operations' values under one compute config, on one chip."""

    def __init__(self, config: ComputeConfig, chip: NumbersSpec) -> None:
        self.phases = config.phases
        self.fp32_dest = config.fp32_dest_acc_en
        self.drop = 0 if self.fp32_dest else 16  # bits of a result that DST has no room for
        self.approximate_reciprocal = config.math_approx_mode
        self.seeds = np.array(chip.reciprocal_seeds, np.uint32)

    def matmul(
        self, a: Values, a_format: Format, b: Values, b_format: Format, out: Format, transpose_b: bool, start: Start = None
    ) -> Values:
        """A x b as packed to `out`; a goes through SrcB, b through SrcA. With `transpose_b` the unpacker transposes b's tiles.

        DST holds 0 before, or where there is a `start` its values, copied there from their format.
        """
        rows, cols = a.shape[0], b.shape[2]
        left = np.ascontiguousarray(self.unpacked(a, a_format)).reshape(rows * TILE, -1)
        b = self.unpacked(b, b_format)
        right = (b.swapaxes(1, 3) if transpose_b else b).reshape(left.shape[1], cols * TILE)
        product = np.empty((rows, TILE, cols, TILE), np.float32)
        self._product(left, a_format, right, product.reshape(rows * TILE, cols * TILE))
        if start is not None:
            product += self.unpacked(*start)
        if out is not BFLOAT16:
            return self.pack(self.to_dst(product), out)
        passes.rounded(product, 16)
        return product

    def _product(self, a: Values, a_format: Format, b: Values, out: Values) -> None:
        if self.phases == 4:
            np.matmul(a, b, out=out)
            return
        a_high = a if a_format.is_block else src_b_high(a)
        if self.phases == 1:
            np.matmul(a_high, src_a_high(b), out=out)
            return
        np.matmul(a_high, b, out=out)
        if self.phases == 3 and a_high is not a:
            out += (a - a_high) @ src_a_high(b)

    def to_dst(self, x: Values) -> Values:
        """Round in place as DST holds it."""
        if not self.fp32_dest:
            passes.rounded(x, 16)
        return x

    def unpacked(self, x: Values, fmt: Format) -> Values:
        """X as a source register has it: float32 is cut to 10 bits of fraction with a 32-bit DST, to 7 with a 16-bit one."""
        if fmt is not FLOAT32:
            return x
        bits = x.view(np.uint32) & np.uint32(0xFFFFE000 if self.fp32_dest else 0xFFFF0000)
        return bits.view(np.float32)

    def _unseen(self, fmt: Format) -> int:
        """Lower bits of a value that a source register has no room for."""
        return 0 if fmt is not FLOAT32 else 13 if self.fp32_dest else 16

    def subtract(self, x: Values, fmt: Format, column: Values, column_format: Format) -> None:
        """x <- x - column in place, as it stands in DST."""
        passes.subtract(x, self._unseen(fmt), _rows_of(column, x), self._unseen(column_format), self.drop)

    def exp_fast(self, x: Values, scale: float, fmt: Format) -> None:
        """x <- relu(exp(x * scale)) in place, of what stands in DST, by the approximation without clamping, packed to `fmt`."""
        # EXP's integer belongs 15 bits up; of bfloat16 half of it is made, for one shift that drops the bit there is no room for
        wide = self.fp32_dest and fmt is not BFLOAT16
        half, up = (1, 15) if wide else (2, 16)
        rounding = 1.5 if self.fp32_dest and not wide else 0.5
        passes.exp_fast(x, EXP_A * scale / half, (EXP_B + rounding) / half, (0x7FFF + rounding) / half, up)
        if fmt.is_block:
            x[:] = self.pack(x, fmt)

    def add_up(self, x: Values, x_format: Format, fmt: Format) -> Values:
        """Sum the tiles of each tile row as accumulating packs do, one addition in `fmt` a tile: [rows, 32, 1, 32]."""
        total = np.empty((*x.shape[:2], 1, x.shape[3]), np.float32)
        passes.add_up(x, 16 if fmt is BFLOAT16 is not x_format else 0, fmt is BFLOAT16, total)
        return total

    def max_rows(self, x: Values, fmt: Format, before: Values | None, before_format: Format = BFLOAT16) -> Values:
        """Largest value of each row, and of `before` where given, as it stands in DST."""
        best: Values = x.reshape(x.shape[0] * TILE, -1).max(axis=1).reshape(x.shape[0], TILE, 1, 1)
        best = self.unpacked(best, fmt)
        return best if before is None else np.maximum(best, self.unpacked(before[..., :1], before_format))

    def exp(self, x: Values, scale: float, fmt: Format) -> Values:
        """E^(x * scale) of what stands in DST, by the accurate polynomial, packed to `fmt`; `scale` loses its lower 16 bits."""
        if self.fp32_dest:
            with np.errstate(over="ignore", under="ignore"):
                return self.pack(np.exp(x * truncate_bf16(np.array(scale, np.float32))), fmt)
        made = np.empty_like(x)
        passes.exp_21f(x, scale, EXP_21F, made)
        return made if fmt is BFLOAT16 else self.pack(made, fmt)

    def multiply(self, x: Values, x_format: Format, column: Values, column_format: Format) -> Values:
        """X * column, the column broadcast through SrcB; the result as it stands in DST."""
        made = np.empty(x.shape, np.float32)
        x_drop = 19 if self.phases == 1 else self._unseen(x_format)
        column_drop = 17 if self.phases < 3 else self._unseen(column_format)
        passes.multiply(x, x_drop, _rows_of(column, x), column_drop, self.drop, made)
        return made

    def accumulate(self, onto: Values, x: Values, fmt: Format) -> None:
        """Packer L1 accumulation: onto <- onto + x, both in `fmt`, in place."""
        if fmt is FLOAT32:
            onto += x
            return
        passes.accumulate(onto, x if x.shape == onto.shape else np.broadcast_to(x, onto.shape))

    def add(self, a: Values, a_format: Format, b: Values, b_format: Format, start: Start = None) -> Values:
        """A + b, as it stands in DST; where there is a `start`, added to its values, copied there from their format."""
        made = self.unpacked(a, a_format) + self.unpacked(np.maximum(b, HIDDEN), b_format)
        return self.to_dst(made if start is None else made + self.unpacked(*start))

    def sum_columns(self, x: Values, fmt: Format, ones: Values | None = None) -> Values:
        """Sum of the 32 columns of a tile by a product with a column of ones, as it stands in DST.

        The column is that of a tile `ones` [1, 32, 1, 32], whatever it holds, where one is given.
        """
        x = self.unpacked(x, fmt)
        if ones is not None and (ones[0, :, 0, 0] != 1).any():
            x = x * ones[0, :, 0, 0]
        high = src_b_high(x)
        dst = np.zeros((*x.shape[:3], 1), np.float32)
        for part in (high,) if self.phases < 3 else (high, x - high):
            for half in (part[..., : TILE // 2], part[..., TILE // 2 :]):  # two MVMULs
                dst = self.to_dst(dst + half.sum(axis=3, keepdims=True))
        return dst

    def reciprocal(self, column: Values, fmt: Format, newer: bool = False) -> Values:
        """1 / column, packed to `fmt`: by `recip_tile`'s older body or the newer one."""
        column = np.ascontiguousarray(column[..., :1])
        if not (newer and self.seeds.size):
            inverse = older_reciprocal(column, 2 if self.approximate_reciprocal else 3)
            rounded = not self.fp32_dest and not self.approximate_reciprocal
        elif self.approximate_reciprocal:
            inverse, rounded = self._reciprocal_seed(column), False
        else:
            with np.errstate(divide="ignore"):
                inverse, rounded = np.float32(1) / column, True
        if not self.fp32_dest:
            inverse = round_bf16(inverse) if rounded else truncate_bf16(inverse)
        return self.pack(inverse, fmt)

    def _reciprocal_seed(self, x: Values) -> Values:
        """`specification.sfpu.sfparecip`."""
        bits = x.view(np.uint32)
        exponent = bits >> 23 & 0xFF
        size = np.where(exponent < 253, (253 - exponent) << 23 | self.seeds[bits >> 16 & 127] << 16, 0)
        size = np.where(exponent == 0, llk.INFINITY, size)
        return np.asarray(bits & llk.SIGN | size, np.uint32).view(np.float32)

    def accumulate_tile(self, onto: Values, tile: Values, tile_format: Format, fmt: Format) -> None:
        """Add a tile of the mask to tiles of `onto`, in `fmt`, by accumulating packs, in place."""
        self.accumulate(onto, self.copy(np.maximum(tile, HIDDEN), tile_format, fmt), fmt)

    def copy(self, x: Values, x_format: Format, fmt: Format) -> Values:
        """X by way of SrcA and DST, packed in `fmt`."""
        return self.pack(self.unpacked(x, x_format), fmt)

    def pack(self, x: Values, fmt: Format) -> Values:
        """X as the packer writes it to L1 in `fmt`."""
        if fmt.is_block:
            return pack_to_format(x, fmt, self.fp32_dest) if x.shape[-1] > 1 else self.pack(alone(x), fmt)[..., :1]
        if fmt is not BFLOAT16:
            return x
        made = np.array(x, np.float32)
        passes.rounded(made, 16)
        return made


def _rows_of(column: Values, x: Values) -> Values:
    """A column with a value for each row of `x`."""
    return column if column.shape[:2] == x.shape[:2] else np.broadcast_to(column[..., :1], (*x.shape[:2], 1, 1))


def alone(column: Values) -> Values:
    """A column's values, each with 15 zeros beside it: in a block format none but they make the exponent."""
    return np.concatenate([column, np.zeros((*column.shape[:-1], GROUP - 1), np.float32)], axis=-1)


def older_reciprocal(x: Values, steps: int) -> Values:
    """`specification.sfpu.reciprocal_legacy` in float32: Newton's steps from 1.44 for a fraction of 1/2 to 1, exponents apart."""
    bits = x.view(np.uint32)
    size = (bits & 0x7FFFFF | 126 << 23).view(np.float32)
    inverse = np.full_like(size, LOG2_E)
    for _ in range(steps):
        inverse = inverse * (np.float32(2) - size * inverse)
    found = inverse.view(np.uint32)
    exponent = (found >> 23).astype(np.int32) + 126 - (bits >> 23 & 0xFF)
    result = np.where(exponent < 0, 0, bits & llk.SIGN | exponent << 23 | found & 0x7FFFFF)
    return result.astype(np.uint32).view(np.float32)
