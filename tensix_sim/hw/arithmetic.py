"""`numerics: fast`: float32 arithmetic with the hardware's roundings where they matter.

Blocks are [tile row, row, tile column, column]; a column (row maxima, sums, factors) is [tile row, row, 1, 1].
Not rounded here, unlike on the chip: DST after every MVMUL (once per result instead), and products aligned
to the largest of their group. `docs/model.md` says how much that matters.
"""

from math import log

import numpy as np

from tensix_sim.formats import (
    BFLOAT16,
    TILE,
    Format,
    pack_to_format,
    round_bf16,
    round_bf16_even,
    src_a_high,
    src_b_high,
    truncate_bf16,
)
from tensix_sim.program import ComputeConfig, Values

# Schraudolph's exp as the LLK has it: the bits of exp(x) are round(A x + B) << 15 (ckernel_sfpu_exp.h)
EXP_A = 256 / log(2)
EXP_B = 32500.818


class Arithmetic:
    """The tile operations' values under one compute config."""

    def __init__(self, config: ComputeConfig) -> None:
        self.phases = config.phases
        self.fp32_dest = config.fp32_dest_acc_en
        self.approximate_reciprocal = config.math_approx_mode

    def matmul(self, a: Values, a_format: Format, b: Values, transpose_b: bool) -> Values:
        """A x b; a goes through SrcB, b through SrcA. With `transpose_b` each tile of b is transposed by the unpacker."""
        rows, cols = a.shape[0], b.shape[2]
        left = np.ascontiguousarray(a).reshape(rows * TILE, -1)
        right = (b.swapaxes(1, 3) if transpose_b else b).reshape(left.shape[1], cols * TILE)
        out = np.empty((rows, TILE, cols, TILE), np.float32)
        self._product(left, a_format, right, out.reshape(rows * TILE, cols * TILE))
        return self.to_dst(out, packed=True)

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

    def sub_exp(self, x: Values, column: Values, scale: float) -> None:
        """x <- relu(exp((x - column) * scale)) in place, by the approximation without clamping, packed to bfloat16."""
        np.subtract(x, column, out=x)
        self.to_dst(x)
        # half of EXP's integer, so that one shift by 16 places it and drops the bit that bfloat16 has no room for
        x *= np.float32(EXP_A * scale / 2)
        x += np.float32((EXP_B + (1.5 if self.fp32_dest else 0.5)) / 2)
        np.maximum(x, 0, out=x)
        bits = x.view(np.int32)
        np.copyto(bits, x, casting="unsafe")
        bits <<= 16

    def row_sums(self, x: Values) -> Values:
        """Sum the tiles of each tile row as accumulating packs do, one bfloat16 addition a tile: [rows, 32, 1, 32]."""
        total: Values = x[:, :, 0, :].copy()
        for tile in range(1, x.shape[2]):
            total += x[:, :, tile, :]
            round_bf16_even(total, out=total)
        return total[:, :, np.newaxis, :]

    def max_rows(self, x: Values, before: Values | None) -> Values:
        """Largest value of each row, and of `before` where given."""
        best: Values = x.reshape(x.shape[0] * TILE, -1).max(axis=1).reshape(x.shape[0], TILE, 1, 1)
        return best if before is None else np.maximum(best, before)

    def exp_difference(self, a: Values, b: Values, scale: float) -> Values:
        """exp((a - b) * scale) of columns, by the accurate polynomial; `scale` loses its lower 16 bits."""
        difference = self.to_dst(a - b)
        return round_bf16_even(np.exp(difference * truncate_bf16(np.array(scale, np.float32))))

    def mul_columns(self, x: Values, column: Values) -> Values:
        """X * column, the column broadcast through SrcB; the result as it stands in DST."""
        factor = column if self.phases >= 3 else src_b_high(column)
        return self.to_dst((src_a_high(x) if self.phases == 1 else x) * factor)

    def accumulate(self, onto: Values, x: Values) -> None:
        """Packer L1 accumulation: onto <- bfloat16(onto + bfloat16(x)), in place."""
        onto += round_bf16(x, out=x)
        round_bf16_even(onto, out=onto)

    def add(self, a: Values, b: Values) -> Values:
        """A + b, packed to bfloat16."""
        return self.to_dst(a + b, packed=True)

    def sum_columns(self, x: Values) -> Values:
        """Sum of the 32 columns of a tile by a product with a column of ones, packed to bfloat16."""
        left = src_b_high(x) if self.phases < 3 else x
        return self.to_dst(left.sum(axis=3, keepdims=True), packed=True)

    def reciprocal(self, column: Values) -> Values:
        """1 / column, packed to bfloat16; a 16-bit DST cuts the approximate one off."""
        inverse = np.float32(1) / column
        return truncate_bf16(inverse) if self.approximate_reciprocal and not self.fp32_dest else round_bf16_even(inverse)

    def pack(self, x: Values, fmt: Format) -> Values:
        """X as the packer writes it to L1 in `fmt`."""
        return round_bf16(x) if fmt is BFLOAT16 else pack_to_format(x, fmt)
