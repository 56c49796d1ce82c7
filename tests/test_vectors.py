"""The vendor's functional simulator, ttsim 1.10.0: all arrays of `vectors_2_*.npz`, by the specification and the compiled path.

An array is one operation: its operands and the vendor's result, patterns of float32. Its name says which check it gets, and a
name that no check knows is a failure. Operands lie where rules meet: ties, carries, both ends of the exponent, NaN.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import specification as s
from numpy.typing import NDArray

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16, FLOAT32
from tensix_sim.hw import bitwise, exact
from tensix_sim.hw.exact import Exact
from tensix_sim.program import ComputeConfig

CHIPS = {"wormhole_b0": machine("n150").chip.numbers, "blackhole": machine("p150b").chip.numbers}
VECTORS = {chip: np.load(Path(__file__).parent / "vectors" / f"vectors_2_{chip}.npz") for chip in CHIPS}
FIDELITIES = {"1": "LoFi", "2": "HiFi2", "3": "HiFi3", "4": "HiFi4"}
Rows = NDArray[np.int64]


class Check:
    """One array under test: its name's parts, its chip, its rows."""

    def __init__(self, chip: str, name: str, parts: tuple[str, ...]) -> None:
        self.arrays, self.name, self.parts = VECTORS[chip], name, parts
        self.numbers = CHIPS[chip]
        self.on, self.fault, self.seeds = (
            self.numbers.ieee_vector_unit,
            self.numbers.fp32_dest_fault,
            self.numbers.reciprocal_seeds,
        )
        self.seed_array = np.array(self.seeds, np.int64)
        self.rows = self.arrays[name].astype(np.int64)

    def each(self, *ways: Callable[..., int]) -> None:
        """Each way gives the last column of every row from the others."""
        rows = self.rows.tolist()
        for way in ways:
            self.equal([way(*row[:-1]) for row in rows], [row[-1] for row in rows])

    def equal(self, found: Iterable[object], wanted: Iterable[object]) -> None:
        """No row differs; the message has the first few that do."""
        wrong = [i for i, (x, y) in enumerate(zip(found, wanted, strict=True)) if x != y]
        shown = [[hex(x) for x in self.rows[i].tolist()] for i in wrong[:3]]
        assert not wrong, f"{self.name}: {len(wrong)} of {len(self.rows)} differ, such as {shown}"

    def math(self, fidelity: str, wide: bool, approximate: bool = True) -> Exact:
        """The compiled path under a compute config."""
        return Exact(ComputeConfig(fidelity, wide, approximate), self.numbers)


# -- FPU -------------------------------------------------------------------------------------------------------------------


def check_mvmul(c: Check) -> None:
    """One element of one MVMUL."""

    def specified(wide: int, phase: int, dst: int, *data: int) -> int:
        return s.fpu.mvmul(data[:16], data[16:], dst, phase, bool(wide), c.fault)

    c.each(specified, lambda wide, phase, dst, *data: compiled_mvmul(data[:16], data[16:], dst, phase, bool(wide), c.fault))


def compiled_mvmul(a: tuple[int, ...], b: tuple[int, ...], dst: int, phase: int, wide: bool, fault: bool) -> int:
    """The same by `bitwise`, which does a row of 32 elements: all of them this one."""
    parts_b, parts_a, work = np.empty((1, 3, 32)), np.empty((1, 3, 1024)), np.empty((10, 32))
    column = np.repeat(np.array([*a, *[0] * 16], np.uint32), 32)
    bitwise.fpu.cut(np.array([[*b, *[0] * 16]], np.uint32), False, parts_b)
    bitwise.fpu.cut(column.reshape(1, 1024), True, parts_a)
    held = np.full(
        32, (-1) ** s.patterns.sign_of(dst) * float(s.patterns.significand_of(dst)) * 2.0 ** (s.patterns.exponent_of(dst) - 150)
    )
    bitwise.fpu.align(parts_b[0], parts_a.reshape(3, 32, 32), work)
    bitwise.fpu.mvmul(parts_b[0], parts_a.reshape(3, 32, 32), held, work, phase, 0, wide, fault)
    with np.errstate(over="ignore"):
        return int(held.astype(np.float32).view(np.uint32)[7])


def check_elwmul(c: Check) -> None:
    """One phase of ELWMUL."""
    for way in (s.fpu.elwmul_phase, bitwise.fpu.elwmul):
        c.each(lambda wide, phase, dst, a, b, way=way: way(a, b, dst, phase, bool(wide), c.fault))


def check_elwadd(c: Check) -> None:
    """ELWADD and ELWSUB, onto DST or not."""

    def operands(accumulate: int, subtract: int, dst: int, a: int, b: int) -> tuple[int, int, int]:
        return a, b ^ s.patterns.SIGN if subtract else b, dst if accumulate else 0

    def specified(wide: int, *row: int) -> int:
        a, b, dst = operands(*row)
        return s.fpu.elwadd(a, b, bool(wide), c.fault, dst)

    c.each(specified, lambda wide, *row: bitwise.fpu.elwadd(*operands(*row), bool(wide), c.fault))


def check_gmpool(c: Check) -> None:
    """The largest of 16 and of what DST holds, if it holds anything."""
    c.each(lambda valid, held, *data: s.fpu.gmpool(data, held if valid else None))
    for valid in (0, 1):
        rows = c.rows[c.rows[:, 0] == valid]
        whole = np.resize(rows, (-(-len(rows) // 32) * 32, rows.shape[1])).astype(np.uint32)
        out = np.ascontiguousarray(whole[:, 1].reshape(-1, 32, 1, 1))
        bitwise.fpu.max_rows(np.ascontiguousarray(whole[:, 2:18].reshape(-1, 32, 1, 16)), out, not valid)
        assert out.reshape(-1).tolist() == whole[:, 18].tolist()


def check_tile(c: Check) -> None:
    """A tile of a product with two inner tiles, as it stands in DST."""
    phases, wide = int(c.parts[0]), c.parts[1] == "32"
    stem = c.name.removesuffix("_dst")
    a, b = c.arrays[f"{stem}_in0"], c.arrays[f"{stem}_in1"]
    rows, columns = a.tolist(), b.T.tolist()
    specified = [[s.fpu.matmul(row, column, phases, wide, c.fault) for column in columns] for row in rows]
    c.equal(specified, c.rows.tolist())
    blocks = a.view(np.float32).reshape(1, 32, 2, 32), b.view(np.float32).reshape(2, 32, 1, 32)
    product = c.math(FIDELITIES[c.parts[0]], wide).matmul(blocks[0], BFLOAT16, blocks[1], BFLOAT16, FLOAT32, False)
    c.equal(product.view(np.uint32).reshape(32, 32).tolist(), c.rows.tolist())


def check_tile_operand(c: Check) -> None:
    """Read with its product."""
    assert f"{c.name.rsplit('_', 1)[0]}_dst" in c.arrays


# -- SFPU ------------------------------------------------------------------------------------------------------------------


def check_sfpmad(c: Check) -> None:
    """Multiply-add."""
    c.each(lambda *row: s.sfpu.sfpmad(*row, c.on), lambda *row: bitwise.sfpu.mad(*row, c.on))


def check_rounding(c: Check) -> None:
    """SFPSTOCHRND to bfloat16."""
    c.each(s.sfpu.round_to_bf16, bitwise.sfpu.round_to_bf16)


def check_integer(c: Check) -> None:
    """SFPSTOCHRND to a 16-bit integer, sign and magnitude."""
    for way in (s.sfpu.round_to_integer, bitwise.sfpu.round_to_integer):
        c.each(lambda x, way=way: sign_and_magnitude(way(x, 0x7FFF)))


def sign_and_magnitude(n: int) -> int:
    """As a vector register has an integer."""
    return s.patterns.SIGN | -n if n < 0 else n


def check_store(c: Check) -> None:
    """SFPSTORE."""
    wide = c.parts == ("True",)
    c.each(lambda x: s.sfpu.sfpstore(x, wide), lambda x: bitwise.sfpu.store(x, wide))


def check_exp_approximate(c: Check) -> None:
    """The scores' exponential."""
    c.each(lambda *row: s.sfpu.exp_approximate(*row, c.on), lambda *row: bitwise.sfpu.exp_approximate(*row, c.on))


def check_exp(c: Check) -> None:
    """The correction's exponential."""
    specified, compiled = {
        "16": (s.sfpu.exp_16_bit, bitwise.sfpu.exp_16_bit),
        "32": (s.sfpu.exp_32_bit, bitwise.sfpu.exp_32_bit),
    }[c.parts[0]]
    c.each(lambda x: specified(x, c.on), lambda x: compiled(x, c.on))


def check_legacy(c: Check) -> None:
    """The older reciprocal, rounded to bfloat16 or not."""
    steps, rounded = int(c.parts[0]), c.parts[1] == "as_bf16"
    for way, rounding in (
        (s.sfpu.reciprocal_legacy, s.sfpu.round_to_bf16),
        (bitwise.sfpu.reciprocal_legacy, bitwise.sfpu.round_to_bf16),
    ):

        def inverse(x: int, way: Callable[..., int] = way, rounding: Callable[..., int] = rounding) -> int:
            y = way(x, steps, c.on)
            return rounding(y) if rounded else y

        c.each(inverse)


def check_seed(c: Check) -> None:
    """SFPARECIP."""
    c.each(lambda x: s.sfpu.sfparecip(x, c.seeds), lambda x: bitwise.sfpu.sfparecip(x, c.seed_array))


def check_newton(c: Check) -> None:
    """`_sfpu_reciprocal_<2>`, from a parabola or from SFPARECIP."""
    c.each(lambda x: s.sfpu.reciprocal_newton(x, c.seeds))


def check_fast_bf16(c: Check) -> None:
    """Blackhole's reciprocal for a 16-bit DST, stored."""
    c.each(
        lambda x: s.sfpu.sfpstore(s.sfpu.reciprocal_8_bits(x, c.seeds), False),
        lambda x: bitwise.sfpu.store(bitwise.sfpu.reciprocal_8_bits(x, c.seed_array), False),
    )


def check_fast_fp32(c: Check) -> None:
    """Blackhole's reciprocal for a 32-bit DST."""
    c.each(lambda x: s.sfpu.reciprocal_24_bits(x, c.seeds), lambda x: bitwise.sfpu.reciprocal_24_bits(x, c.seed_array))


# -- packer ----------------------------------------------------------------------------------------------------------------


def check_pack_bf16(c: Check) -> None:
    """DST to bfloat16."""
    c.each(s.packer.pack_bf16, bitwise.packer.pack_bf16)


def check_pack_block(c: Check) -> None:
    """16 of DST to a block format; by way of bfloat16 or float32, the precise packer, by the specification only."""
    bits, wide, via = {"8": 7, "4": 3}[c.parts[0]], c.parts[1] == "32", c.parts[2]
    groups, wanted = c.rows[:, :16].tolist(), c.rows[:, 16:].tolist()
    c.equal([s.packer.pack_block(group, bits, wide, precise=via != "bfp8") for group in groups], wanted)
    if via == "bfp8":
        packed = c.rows[:, :16].astype(np.uint32)
        bitwise.packer.pack_groups(packed, {7: 0b1111111, 3: 0b1110000}[bits], wide)
        c.equal(packed.tolist(), wanted)


def check_accumulate(c: Check) -> None:
    """The packer's addition in L1."""
    ways = {
        "fp32": (s.packer.accumulate_fp32, bitwise.packer.accumulate_fp32),
        "bf16": (s.packer.accumulate_bf16, bitwise.packer.accumulate_bf16),
    }
    c.each(*ways[c.parts[0]])


# -- verbs of `Exact`, and the specification's rules in their order --------------------------------------------------------------


def column_of(patterns: Rows) -> NDArray[np.float32]:
    """Numbers as a column [n, 32, 1, 1], the last tile filled up with the first ones."""
    whole = np.resize(patterns, -(-len(patterns) // 32) * 32).astype(np.uint32)
    return whole.view(np.float32).reshape(-1, 32, 1, 1)


def tiles_of(patterns: Rows) -> NDArray[np.float32]:
    """The same in all columns [n, 32, 1, 32]."""
    return np.ascontiguousarray(np.broadcast_to(column_of(patterns), (-(-len(patterns) // 32), 32, 1, 32)))


def patterns_of(block: NDArray[np.float32], count: int) -> list[int]:
    """Those of column 0, as many as were put in."""
    return np.ascontiguousarray(block[..., 0]).view(np.uint32).reshape(-1)[:count].tolist()


def scale_of(slope: int) -> np.float32:
    """The scale that makes this slope of an exponential."""
    scale = np.uint32(slope).view(np.float32) / exact.EXP_SLOPE
    near = scale.view(np.uint32) + np.arange(-2, 3).astype(np.uint32)
    (found, *_) = [x for x in near.view(np.float32) if (exact.EXP_SLOPE * x).view(np.uint32) == slope]
    return np.float32(found)


def check_sub_exp(c: Check) -> None:
    """relu(exp((x - column) * scale)), packed to bfloat16."""
    wide = c.parts[0] == "32"

    def specified(x: int, column: int, slope: int) -> int:
        held = s.sfpu.sfpstore(s.sfpu.exp_approximate(s.fpu.elwsub(x, column, wide, c.fault), slope, c.on), wide)
        return s.packer.relu(s.packer.pack_bf16(held))

    c.each(specified)
    x, column = tiles_of(c.rows[:, 0]), column_of(c.rows[:, 1])
    (slope,) = set(c.rows[:, 2].tolist())
    math = c.math("HiFi4", wide)
    math.subtract(x, BFLOAT16, column, BFLOAT16)
    math.exp_fast(x, float(scale_of(slope)), BFLOAT16)
    c.equal(patterns_of(x, len(c.rows)), c.rows[:, 3].tolist())


def check_exp_difference(c: Check) -> None:
    """exp((a - b) * scale), packed to bfloat16."""
    wide = c.parts[0] == "32"
    c.each(lambda a, b, scale: s.packer.pack_bf16(s.sfpu.exp_column(s.fpu.elwsub(a, b, wide, c.fault), scale, wide, c.on)))
    (scale,) = set(c.rows[:, 2].tolist())
    number = float(np.uint32(scale).view(np.float32))
    a, b = column_of(c.rows[:, 0]), column_of(c.rows[:, 1])
    math = c.math("HiFi4", wide)
    math.subtract(a, BFLOAT16, b, BFLOAT16)
    found = math.exp(a, number, BFLOAT16)
    c.equal(patterns_of(found, len(c.rows)), c.rows[:, 3].tolist())


def check_mul_accumulate(c: Check) -> None:
    """x * column, packed to bfloat16 and added to what L1 holds."""
    phases, wide = int(c.parts[0]), c.parts[1] == "32"
    c.each(
        lambda x, column, held: s.packer.accumulate_bf16(held, s.packer.pack_bf16(s.fpu.elwmul(x, column, phases, wide, c.fault)))
    )
    math, onto = c.math(FIDELITIES[c.parts[0]], wide), tiles_of(c.rows[:, 2])
    product = math.multiply(tiles_of(c.rows[:, 0]), BFLOAT16, column_of(c.rows[:, 1]), BFLOAT16)
    math.accumulate(onto, product, BFLOAT16)
    c.equal(patterns_of(onto, len(c.rows)), c.rows[:, 3].tolist())


def check_final_multiply(c: Check) -> None:
    """A number of DST as bfloat8_b has it. The others of its group are not in the vectors: the result is that of some group."""
    wide = c.parts[0] == "32"
    fillers = np.arange(10) << 23
    groups = np.zeros((len(c.rows), 10, 16), np.int64)
    groups[:, :, 0] = c.rows[:, :1]
    groups[:, :, 1] = (c.rows[:, :1] & s.patterns.INFINITY) + fillers
    compiled = c.math("HiFi2", wide).pack(groups.astype(np.uint32).view(np.float32), exact.BFLOAT8_B).view(np.uint32)
    specified = [[s.packer.pack_block(group, 7, wide)[0] for group in groups_of] for groups_of in groups.tolist()]
    assert compiled[:, :, 0].tolist() == specified
    wanted = c.rows[:, 1].tolist()
    c.equal([y if y in those else those for y, those in zip(wanted, specified, strict=True)], wanted)


def check_reciprocal(c: Check) -> None:
    """1 / x by the body that a kernel runs, packed to bfloat16."""
    streaming, approximate, wide = c.parts[0] == "streaming", c.parts[1] == "True", c.parts[2] == "32"
    c.each(lambda x: s.packer.pack_bf16(s.sfpu.reciprocal(x, approximate, wide, c.on, streaming, c.seeds)))
    found = c.math("HiFi4", wide, approximate).reciprocal(column_of(c.rows[:, 0]), BFLOAT16, streaming)
    c.equal(patterns_of(found, len(c.rows)), c.rows[:, 1].tolist())


CHECKS: list[tuple[str, Callable[[Check], None]]] = [
    (r"mvmul", check_mvmul),
    (r"elwmul", check_elwmul),
    (r"elwadd", check_elwadd),
    (r"gmpool_[01]_[45]", check_gmpool),
    (r"tile_bf16_phases([1-4])_(16|32)bit_dst", check_tile),
    (r"tile_bf16_phases[1-4]_(?:16|32)bit_in[01]", check_tile_operand),
    (r"sfpmad_.+", check_sfpmad),
    (r"stochrnd_fp32_to_bf16", check_rounding),
    (r"stochrnd_int16", check_integer),
    (r"sfpstore_wide(True|False)", check_store),
    (r"exp_approximate_scale\dp\d+", check_exp_approximate),
    (r"exp_(16|32)_bit", check_exp),
    (r"reciprocal_legacy_([23])_steps_(positive_x|as_bf16)", check_legacy),
    (r"sfparecip(?:_table)?", check_seed),
    (r"sfpu_reciprocal_2_steps", check_newton),
    (r"recip_8b_3c", check_fast_bf16),
    (r"recip_24b_5c", check_fast_fp32),
    (r"pack_bf16_[01]", check_pack_bf16),
    (r"pack_bfp([48])_from_(16|32)bit_via_(bf16|fp32|bfp8)", check_pack_block),
    (r"l1_accumulate_(fp32|bf16)", check_accumulate),
    (r"verb_sub_exp_scale_\dp\d+_(16|32)-bit_DST", check_sub_exp),
    (r"verb_exp_difference_scale_\dp\d+_(16|32)-bit_DST", check_exp_difference),
    (r"verb_mul_columns_plus_accumulates_(?:LoFi|HiFi)(\d?)_(16|32)-bit_DST", check_mul_accumulate),
    (r"verb_final_multiply_packed_to_bfloat8_b_default_packer_(16|32)-bit_DST", check_final_multiply),
    (r"verb_reciprocal_(legacy|streaming)_approx(True|False)_(16|32)-bit_DST", check_reciprocal),
]
ARRAYS = [(chip, name) for chip, arrays in VECTORS.items() for name in arrays.files if not name.endswith("_columns")]


@pytest.mark.parametrize(("chip", "name"), ARRAYS)
def test_the_vendors_bits(chip: str, name: str) -> None:
    """Every row of every array, bit for bit."""
    found = [(match, check) for pattern, check in CHECKS if (match := re.fullmatch(pattern, name))]
    assert len(found) == 1, f"{name}: {len(found)} checks know it; each array must have one"
    ((match, check),) = found
    check(Check(chip, name, match.groups()))


@pytest.mark.parametrize("chip", CHIPS)
def test_every_table_of_columns_has_its_array(chip: str) -> None:
    """Operands and result are the columns that the checks take them for, by number."""
    arrays = VECTORS[chip]
    for name in arrays.files:
        if name.endswith("_columns"):
            assert len(arrays[name]) == arrays[name.removesuffix("_columns")].shape[1], name
