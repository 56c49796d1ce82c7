"""`numerics: fast`: float32 arithmetic with the hardware's roundings where they matter.

Blocks are [tile row, row, tile column, column]; a column (row maxima, sums, factors) is [tile row, row, 1, 1].
Not rounded here, unlike on the chip: DST after every MVMUL (once per result instead), and products aligned
to the largest of their group. `docs/model.md` says how much that matters.
"""

from math import log

import numpy as np

from tensix_sim.formats import (
    BFLOAT16,
    FLOAT32,
    TILE,
    Format,
    pack_to_format,
    round_bf16,
    round_bf16_even,
    src_a_high,
    src_b_high,
    truncate_bf16,
)
from tensix_sim.hw import specification
from tensix_sim.program import ComputeConfig, Values

# Schraudolph's exp as the LLK has it: the bits of exp(x) are round(A x + B) << 15 (ckernel_sfpu_exp.h)
EXP_A = 256 / log(2)
EXP_B, *EXP_21F = np.array([specification.EXP_B, *specification.EXP_21F], np.uint32).view(np.float32)
LOG2_E = 1 / log(2)  # the guess of the LLK's older reciprocal for mantissas of 1/2 to 1 (ckernel_sfpu_recip.h)
HIDDEN = np.float32(-(2.0**100))  # for -inf, which the chip takes for a huge number: less itself it is 0, not NaN


class Arithmetic:
    """The tile operations' values under one compute config."""

    def __init__(self, config: ComputeConfig) -> None:
        self.phases = config.phases
        self.fp32_dest = config.fp32_dest_acc_en
        self.approximate_reciprocal = config.math_approx_mode

    def matmul(self, a: Values, a_format: Format, b: Values, out: Format, transpose_b: bool) -> Values:
        """A x b as packed to `out`; a goes through SrcB, b through SrcA. With `transpose_b` the unpacker transposes b's tiles."""
        rows, cols = a.shape[0], b.shape[2]
        left = np.ascontiguousarray(unpacked(a, a_format)).reshape(rows * TILE, -1)
        right = (b.swapaxes(1, 3) if transpose_b else b).reshape(left.shape[1], cols * TILE)
        product = np.empty((rows, TILE, cols, TILE), np.float32)
        self._product(left, a_format, right, product.reshape(rows * TILE, cols * TILE))
        return self.to_dst(product, packed=out is not FLOAT32)

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

    def to_dst(self, x: Values, packed: bool = False) -> Values:
        """Round in place as DST holds it; `packed` as it will be packed to bfloat16, which is the same with a 16-bit DST."""
        return x if self.fp32_dest and not packed else round_bf16(x, out=x)

    def sub_exp(self, x: Values, column: Values, scale: float, fmt: Format) -> None:
        """x <- relu(exp((x - column) * scale)) in place, by the approximation without clamping, packed to `fmt`."""
        np.subtract(unpacked(x, fmt), column, out=x)
        self.to_dst(x)
        # EXP's integer belongs 15 bits up; of bfloat16 half of it is made, for one shift that drops the bit there is no room for
        wide = fmt is FLOAT32
        half, up = (1, 15) if wide else (2, 16)
        rounding = 1.5 if self.fp32_dest and not wide else 0.5
        x *= np.float32(EXP_A * scale / half)
        x += np.float32((EXP_B + rounding) / half)
        np.maximum(x, 0, out=x)
        bits = x.view(np.int32)
        np.copyto(bits, x, casting="unsafe")
        bits <<= up

    def row_sums(self, x: Values, fmt: Format) -> Values:
        """Sum the tiles of each tile row as accumulating packs do, one addition in `fmt` a tile: [rows, 32, 1, 32]."""
        total: Values = x[:, :, 0, :].copy()
        scaled = np.empty_like(total)
        for tile in range(1, x.shape[2]):
            total += x[:, :, tile, :]
            if fmt is FLOAT32:
                continue
            # Veltkamp's splitting: what is left has 8 bits, nearest, ties to even; it overflows near 2^111 only
            np.multiply(total, np.float32(2**16 + 1), out=scaled)
            total -= scaled
            total += scaled
        return total[:, :, np.newaxis, :]

    def max_rows(self, x: Values, fmt: Format, before: Values | None) -> Values:
        """Largest value of each row, and of `before` where given, as it stands in DST."""
        best: Values = x.reshape(x.shape[0] * TILE, -1).max(axis=1).reshape(x.shape[0], TILE, 1, 1)
        best = unpacked(best, fmt)
        return best if before is None else np.maximum(best, before)

    def exp_difference(self, a: Values, b: Values, scale: float) -> Values:
        """exp((a - b) * scale) of columns, by the accurate polynomial; `scale` loses its lower 16 bits."""
        scaled = self.to_dst(a - b) * truncate_bf16(np.array(scale, np.float32))
        return round_bf16_even(np.exp(scaled) if self.fp32_dest else exp_21f(scaled))

    def mul_columns(self, x: Values, x_format: Format, column: Values, column_format: Format) -> Values:
        """X * column, the column broadcast through SrcB; the result as it stands in DST."""
        x, column = unpacked(x, x_format), unpacked(column, column_format)
        factor = column if self.phases >= 3 else src_b_high(column)
        return self.to_dst((src_a_high(x) if self.phases == 1 else x) * factor)

    def accumulate(self, onto: Values, x: Values) -> None:
        """Packer L1 accumulation: onto <- bfloat16(onto + bfloat16(x)), in place."""
        onto += round_bf16(x, out=x)
        round_bf16_even(onto, out=onto)

    def add(self, a: Values, b: Values) -> Values:
        """A + b, as it stands in DST."""
        return self.to_dst(a + b)

    def sum_columns(self, x: Values, fmt: Format) -> Values:
        """Sum of the 32 columns of a tile by a product with a column of ones, as it stands in DST."""
        x = unpacked(x, fmt)
        high = src_b_high(x)
        dst = np.zeros((*x.shape[:3], 1), np.float32)
        for part in (high,) if self.phases < 3 else (high, x - high):
            for half in (part[..., : TILE // 2], part[..., TILE // 2 :]):  # two MVMULs
                dst = self.to_dst(dst + half.sum(axis=3, keepdims=True))
        return dst

    def reciprocal(self, column: Values, fmt: Format, newton: bool = False) -> Values:
        """1 / column, packed to `fmt`: Newton's steps from 1.44, 2 or 3 of them, or, `newton`, as good as exact.

        A 16-bit DST cuts the approximate one off.
        """
        if newton:
            return np.float32(1) / column if fmt is FLOAT32 else round_bf16_even(np.float32(1) / column)
        size, power = np.frexp(column)
        inverse = np.full_like(size, LOG2_E)
        for _ in range(2 if self.approximate_reciprocal else 3):
            inverse = inverse * (np.float32(2) - size * inverse)
        inverse = np.ldexp(inverse, -power)
        if fmt is FLOAT32:
            return inverse
        return truncate_bf16(inverse) if self.approximate_reciprocal and not self.fp32_dest else round_bf16_even(inverse)

    def stamp(self, onto: Values, tile: Values, fmt: Format) -> None:
        """Add a tile of the mask to tiles of `onto`, in place."""
        onto += np.maximum(tile, HIDDEN)

    def pack(self, x: Values, fmt: Format) -> Values:
        """X as the packer writes it to L1 in `fmt`."""
        return round_bf16(x) if fmt is BFLOAT16 else pack_to_format(x, fmt)


def exp_21f(x: Values) -> Values:
    """The accurate exponential for a 16-bit DST, a parabola for 2^f: `specification.exp_16_bit` in float32, not yet rounded."""
    t = np.clip(x * np.float32(LOG2_E) + np.float32(specification.BIAS), 0, 255)
    power = np.floor(t)
    n = (t - power) * np.float32(2**23)
    g = EXP_21F[0] + n * (EXP_21F[1] + n * EXP_21F[2])
    return np.where(power > 0, np.ldexp(g, power.astype(int) - specification.BIAS), np.float32(0))


def unpacked(x: Values, fmt: Format) -> Values:
    """X as it gets to a source register: TensorFloat-32 of float32, cut off to 10 bits of fraction; anything else as it is."""
    if fmt is not FLOAT32:
        return x
    bits = x.view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)
