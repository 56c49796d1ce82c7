"""`numerics: exact`: values bit for bit as the chip has them; by `bitwise`, which is held to `tests/specification`."""

import numpy as np

from tensix_sim.arch.model import NumbersSpec
from tensix_sim.formats import BFLOAT4_B, BFLOAT8_B, BFLOAT16, FLOAT32, TILE, Format, Values
from tensix_sim.hw.arithmetic import HIDDEN, Start, alone
from tensix_sim.hw.bitwise import fpu, packer, sfpu
from tensix_sim.hw.bitwise.fpu import Parts
from tensix_sim.hw.bitwise.patterns import Patterns
from tensix_sim.program import ComputeConfig

EXP_SLOPE = np.float32(256 * 1.4426950408889634)
KEPT = {BFLOAT8_B: 0b1111111, BFLOAT4_B: 0b1110000}  # of the packer's 7 bits
ONES = np.eye(1, TILE, dtype=np.float32).repeat(TILE, axis=0).reshape(1, TILE, 1, TILE)  # in column 0
UPPER, TF32 = np.uint32(0xFFFF0000), np.uint32(0xFFFFE000)


class Exact:
    """`Arithmetic`, bit for bit as `chip` computes it. Between verbs a block holds exactly what its format has.

    `ideal` leaves steps out, to see what they cost: `fidelity` (operands are whole), `dst` (the FPU's sums are exact),
    `vector` (so are the SFPU's functions), `pack` and `accumulate` (nothing is rounded on the way to L1 and there). With
    any of them, values are float32 that no chip would have.
    """

    def __init__(self, config: ComputeConfig, chip: NumbersSpec, ideal: frozenset[str] = frozenset()) -> None:
        self.phases = config.phases
        self.wide = config.fp32_dest_acc_en
        self.approximate_reciprocal = config.math_approx_mode
        self.blackhole = chip.ieee_vector_unit
        self.fault = chip.fp32_dest_fault
        self.seeds = np.array(chip.reciprocal_seeds, np.int64)
        self.ideal = ideal
        self._work = np.empty((10, TILE))

    # -- FPU --------------------------------------------------------------------------------------------------------------

    def matmul(
        self, a: Values, a_format: Format, b: Values, b_format: Format, out: Format, transpose_b: bool, start: Start = None
    ) -> Values:
        """A x b as packed to `out`; a goes through SrcB, b through SrcA. With `transpose_b` the unpacker transposes b's tiles.

        DST holds 0 before, or where there is a `start` its values, copied there from their format.
        """
        rows, inner, cols = a.shape[0], a.shape[2], b.shape[2]
        left = self._parts(np.ascontiguousarray(a).reshape(-1, TILE), src_a=False)
        tiles = b.transpose(2, 0, 3, 1) if transpose_b else b.transpose(2, 0, 1, 3)
        right = self._parts(np.ascontiguousarray(tiles).reshape(-1, TILE * TILE), src_a=True)
        dst = np.zeros((cols, rows * TILE, TILE))
        if start is not None:
            dst.reshape(cols, rows, TILE, TILE)[:] = self._unpacked(*start).transpose(2, 0, 1, 3)
        left, right = left.reshape(-1, inner, 3, TILE), right.reshape(cols, inner, 3, TILE, TILE)
        if "dst" in self.ideal:
            self._ideal_product(left, right, dst)
        else:
            fpu.matmul(left, right, dst, self._work, self.phases, self.wide, self.fault)
        product = np.empty((rows, TILE, cols, TILE), np.float32)
        with np.errstate(over="ignore"):  # 2^128 is how DST has infinity here
            product[:] = dst.reshape(cols, rows, TILE, TILE).transpose(1, 2, 0, 3)
        return self.pack(product, out)

    def _parts(self, x: Values, src_a: bool) -> Parts:
        """Values [n, m] as a source register's reals [n, 3, m]."""
        parts = np.empty((x.shape[0], 3, x.shape[1]))
        fpu.cut(self._register(x), src_a, parts)
        if "fidelity" in self.ideal:
            if src_a and self.phases > 1:
                parts[:, 2] = (x - parts[:, 1]) * 2.0**5
            else:
                parts[:, 1], parts[:, 2] = x, 0
        return parts

    def _register(self, x: Values) -> Patterns:
        """What the unpacker makes of float32: TensorFloat-32 or bfloat16, cut off. Other formats are whole as they are."""
        if self.wide or "fidelity" in self.ideal:
            return x.view(np.uint32)  # the lower 13 bits, if there are any, are not looked at
        return x.view(np.uint32) & UPPER

    def _ideal_product(self, left: Parts, right: Parts, dst: Parts) -> None:
        """The products that the fidelity phases make, added up exactly."""
        cols, inner = right.shape[:2]
        scale = ((1, 2.0**-5), (1, 2.0**-7))
        for phase in range(self.phases):
            odd, upper = phase & 1, phase >> 1
            b = left[:, :, 1 + upper].reshape(-1, inner * TILE)
            a = right[:, :, 1 + odd].reshape(cols, inner * TILE, TILE)
            dst += b @ a * (scale[0][odd] * scale[1][upper])

    def _unpacked(self, x: Values, fmt: Format) -> Values:
        """X as a source register has it: of float32 TensorFloat-32 or bfloat16, cut off. Other formats are whole as they are."""
        if fmt is not FLOAT32:
            return x
        return (x.view(np.uint32) & (TF32 if self.wide else UPPER)).view(np.float32)

    def add(self, a: Values, a_format: Format, b: Values, b_format: Format, start: Start = None) -> Values:
        """A + b, as it stands in DST; where there is a `start`, added to its values, copied there from their format."""
        out = np.zeros(a.shape, np.float32)
        if start is not None:
            out[:] = self._unpacked(*start)
        if "dst" in self.ideal:
            return a + b + out
        a, b = self._unpacked(a, a_format), self._unpacked(b, b_format)
        fpu.add(_flat(a), _flat(b), _flat(out), self.wide, self.fault)
        return out

    def multiply(self, x: Values, x_format: Format, column: Values, column_format: Format) -> Values:
        """X * column, the column broadcast through SrcB; the result as it stands in DST."""
        if "dst" in self.ideal:
            return x * column[..., :1]
        x, column = self._unpacked(x, x_format), self._unpacked(column, column_format)
        out = np.empty(x.shape, np.float32)
        phases = 4 if "fidelity" in self.ideal else self.phases
        fpu.mul_columns(_bits(x), _bits(column), _bits(out), phases, self.wide, self.fault)
        return out

    def sum_columns(self, x: Values, fmt: Format, ones: Values = ONES) -> Values:
        """Sum of the 32 columns of a tile by a product with a column of ones, as it stands in DST.

        The column is that of a tile `ones` [1, 32, 1, 32], whatever it holds.
        """
        if "dst" in self.ideal:
            return np.asarray((x.astype(np.float64) * ones[0, :, 0, 0]).sum(axis=3, keepdims=True), np.float32)
        return self.matmul(x, fmt, ones, BFLOAT16, FLOAT32, False)[:, :, :, :1]

    def max_rows(self, x: Values, fmt: Format, before: Values | None, before_format: Format = BFLOAT16) -> Values:
        """Largest value of each row, and of `before` where given, as it stands in DST."""
        best = np.empty((x.shape[0], TILE, 1, 1), np.float32)
        if before is not None:
            best[:] = self._unpacked(before[..., :1], before_format)
        fpu.max_rows(_bits(self._unpacked(x, fmt)), _bits(best), before is None)
        return best

    # -- FPU, then SFPU, then the packer ------------------------------------------------------------------------------------

    def subtract(self, x: Values, fmt: Format, column: Values, column_format: Format) -> None:
        """x <- x - column in place, as it stands in DST."""
        if "dst" in self.ideal:
            x -= column[..., :1]
        else:
            x[:] = self._unpacked(x, fmt)
            fpu.sub_columns(_bits(x), _bits(self._unpacked(column, column_format)), self.wide, self.fault)

    def exp_fast(self, x: Values, scale: float, fmt: Format) -> None:
        """x <- relu(exp(x * scale)) in place, of what stands in DST, by the approximation without clamping, packed to `fmt`."""
        packs = "pack" not in self.ideal
        if "vector" in self.ideal:
            with np.errstate(under="ignore"):
                x[:] = np.exp(x.astype(np.float64) * scale)
            if packs and not self.wide:
                x.view(np.uint32)[...] &= UPPER
        else:
            sfpu.exponentials(_bits(x), _pattern(EXP_SLOPE * np.float32(scale)), self.blackhole, self.wide or not packs)
        packer.relu(_bits(x))
        x[:] = self.pack(x, fmt)

    def exp(self, x: Values, scale: float, fmt: Format) -> Values:
        """E^(x * scale) of what stands in DST, by the accurate polynomial, packed to `fmt`; `scale` loses its lower 16 bits."""
        if "vector" in self.ideal:
            return self.pack(np.exp(x.astype(np.float64) * scale).astype(np.float32), fmt)
        sfpu.exp_columns(_flat(x), _pattern(np.float32(scale)), self.wide, self.blackhole)
        return self.pack(x, fmt)

    def reciprocal(self, column: Values, fmt: Format, newer: bool = False) -> Values:
        """1 / column, packed to `fmt`: by `recip_tile`'s older body or the newer one."""
        inverse = np.array(column[..., :1], np.float32)
        if "vector" in self.ideal:
            return self.pack(np.float32(1) / inverse, fmt)
        sfpu.reciprocals(_flat(inverse), self.approximate_reciprocal, self.wide, self.blackhole, newer, self.seeds)
        return self.pack(inverse, fmt)

    # -- packer ---------------------------------------------------------------------------------------------------------------

    def pack(self, x: Values, fmt: Format) -> Values:
        """X as the packer writes it to L1 in `fmt`."""
        if (fmt is FLOAT32 and self.wide) or "pack" in self.ideal:
            return x
        if fmt.is_block and x.shape[-1] == 1:
            return self.pack(alone(x), fmt)[..., :1]
        packed = np.array(x, np.float32, order="C")
        if fmt.is_block:
            packer.pack_groups(packed.view(np.uint32).reshape(-1, 16), KEPT[fmt], self.wide)
        else:  # to float32, too, a 16-bit DST goes by way of bfloat16
            packer.pack_all(_flat(packed))
        return packed

    def copy(self, x: Values, x_format: Format, fmt: Format) -> Values:
        """X by way of SrcA and DST, packed in `fmt`."""
        return self.pack(self._unpacked(x, x_format), fmt)

    def accumulate(self, onto: Values, x: Values, fmt: Format) -> None:
        """Packer L1 accumulation: onto <- onto + x, both in `fmt`, in place."""
        self._accumulate(onto, self.pack(x, fmt), fmt)

    def add_up(self, x: Values, x_format: Format, fmt: Format) -> Values:
        """Sum the tiles of each tile row as accumulating packs do, one addition in `fmt` a tile: [rows, 32, 1, 32]."""
        if "accumulate" in self.ideal:
            return np.asarray(x.sum(axis=2, keepdims=True, dtype=np.float64), np.float32)
        x = x if x_format is fmt else self.pack(x, fmt)
        total = np.array(x[:, :, :1], order="C")
        for tile in range(1, x.shape[2]):
            self._accumulate(total, x[:, :, tile : tile + 1], fmt)
        return total

    def accumulate_tile(self, onto: Values, tile: Values, tile_format: Format, fmt: Format) -> None:
        """Add a tile of the mask to tiles of `onto`, in `fmt`, by accumulating packs, in place."""
        tile = self.copy(tile, tile_format, fmt)
        hidden = np.maximum(tile, HIDDEN) if self.ideal else tile
        self._accumulate(onto, np.broadcast_to(hidden, onto.shape), fmt)

    def _accumulate(self, onto: Values, x: Values, fmt: Format) -> None:
        if "accumulate" in self.ideal:
            onto += x
        else:
            packer.accumulate(_bits(onto), _bits(x), fmt is not FLOAT32)


def _bits(x: Values) -> Patterns:
    return x.view(np.uint32)


def _flat(x: Values) -> Patterns:
    """Patterns of a contiguous array, as one row."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint32)


def _pattern(x: np.float32) -> int:
    return int(x.view(np.uint32))
