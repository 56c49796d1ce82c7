"""`numerics: exact`: the vendor's vectors, the specification in whole numbers, and the compiled path agree to the bit.

The vectors were computed with ttsim 1.10.0, Tenstorrent's functional simulator. `TENSIX_SIM_OPERANDS` sets how many random
operands each operation gets (`make exact`: a million); `make test` takes a few thousand.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import specification as s

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT4_B, BFLOAT8_B, BFLOAT16, FLOAT32, Format, decode, encode, pack_to_format, to_format
from tensix_sim.hw import bitwise, exact
from tensix_sim.hw.exact import Exact
from tensix_sim.program import ComputeConfig

OPERANDS = int(os.environ.get("TENSIX_SIM_OPERANDS", "3000"))
CHIPS = {"wormhole_b0": machine("n150").chip.numbers, "blackhole": machine("p150b").chip.numbers}
VECTORS = Path(__file__).parent / "vectors"
chips = pytest.mark.parametrize("chip", CHIPS)

EDGES = [
    0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x1000000,  # zero, denormals, the smallest normals
    0x3F800000, 0x3F7FFFFF, 0x3F7F0000, 0x3FFFFFFF, 0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001,  # ones and bfloat16 ties
    0x3F800001, 0x3F801000, 0x3F801FFF, 0x3F802000, 0x43000000, 0x42FE0000, 0x437F0000,
    0x7F000000, 0x7F7F0000, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF,  # the largest, infinity, NaN
]  # fmt: skip


def pattern(rng: random.Random) -> int:
    """Float32 bits: an edge, a pattern next to one, any at all, or a number of usual size."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(EDGES) | rng.getrandbits(1) << 31
    if kind < 0.35:
        return (rng.choice(EDGES) + rng.choice((-1, 1, 0x8000, 0x10000)) & 0x7FFFFFFF) | rng.getrandbits(1) << 31
    if kind < 0.55:
        return rng.getrandbits(32)
    exponent = int(rng.gauss(127, 6))
    return rng.getrandbits(1) << 31 | exponent << 23 | rng.getrandbits(23)


def near(x: int, rng: random.Random) -> int:
    """A pattern that all but cancels x."""
    return (x ^ s.patterns.SIGN) + rng.choice((-65536, -1, 0, 1, 8192, 65536)) & 0xFFFFFFFF


def bf16(rng: random.Random) -> int:
    """A bfloat16."""
    return pattern(rng) & 0xFFFF0000


def from_register(datum: int) -> int:
    """A datum of the vectors, sign, 8 and 10 bits, as float32 bits."""
    return datum >> 18 << 31 | (datum & 0x3FFFF) << 13


# -- MVMUL ---------------------------------------------------------------------------------------------------------------


def compiled_mvmul(a, b, dst: list[int], phase: int, half: int, wide: bool, fault: bool) -> list[int]:
    """One MVMUL on a row of SrcB [32] and a tile of SrcA [32][32] of patterns, onto DST [32]."""
    parts_b, parts_a, work = np.empty((1, 3, 32)), np.empty((1, 3, 1024)), np.empty((10, 32))
    bitwise.fpu.cut(np.array(b, np.uint32).reshape(1, 32), False, parts_b)
    bitwise.fpu.cut(np.array(a, np.uint32).reshape(1, 1024), True, parts_a)
    held = s_values(dst)
    bitwise.fpu.align(parts_b[0], parts_a.reshape(3, 32, 32), work)
    bitwise.fpu.mvmul(parts_b[0], parts_a.reshape(3, 32, 32), held, work, phase, half, wide, fault)
    with np.errstate(over="ignore"):
        return held.astype(np.float32).view(np.uint32).tolist()


def s_values(patterns: list[int]) -> np.ndarray:
    """DST as the compiled path holds it: exponent 255 is an exponent like any other."""
    return np.array(
        [
            (-1) ** s.patterns.sign_of(x) * float(s.patterns.significand_of(x)) * 2.0 ** (s.patterns.exponent_of(x) - 150)
            for x in patterns
        ]
    )


@chips
def test_mvmul_vectors(chip: str) -> None:
    """Specification and compiled path give the vendor's bits."""
    fault = CHIPS[chip].fp32_dest_fault
    for _, wide, phase, dst, *data, result in np.load(VECTORS / f"vectors_{chip}.npz")["mvmul"].tolist():
        a, b = [from_register(x) for x in data[:16]], [from_register(x) for x in data[16:]]
        assert s.fpu.mvmul(a, b, dst, phase, bool(wide), fault) == result
        tile = np.zeros((32, 32), np.uint32)
        tile[:16, 5] = a
        assert compiled_mvmul(tile, b + [0] * 16, [dst] * 32, phase, 0, bool(wide), fault)[5] == result


def operand(rng: random.Random, kind: int, spread: float) -> int:
    """A register's datum: bfloat16, TensorFloat-32 or bfloat8_b."""
    if rng.random() < 0.12:
        return rng.choice(EDGES) & (0xFFFFE000 if kind == 1 else 0xFFFF0000) | rng.getrandbits(1) << 31
    exponent = min(255, max(0, int(rng.gauss(127, spread))))
    fraction = rng.getrandbits(23) & (0x7F0000, 0x7FE000, 0x7E0000)[kind]
    if rng.random() < 0.1:
        fraction = (0x7F0000, 0x7FE000, 0x7E0000)[kind] * rng.getrandbits(1)  # just below a power of two, or one
    return rng.getrandbits(1) << 31 | exponent << 23 | fraction


@chips
def test_mvmul_is_the_specification(chip: str) -> None:
    """Random operands of every kind, DSTs that all but cancel, groups that are empty, exponents at both ends."""
    rng, fault = random.Random(1), CHIPS[chip].fp32_dest_fault
    for _ in range(OPERANDS // 32):
        kind, wide, phase, half = rng.randrange(3), rng.random() < 0.5, rng.randrange(4), rng.randrange(2)
        spread = rng.choice((0.5, 2, 5, 12, 60))
        b = [operand(rng, kind, spread) for _ in range(32)]
        a = [[operand(rng, kind, spread) for _ in range(32)] for _ in range(32)]
        if rng.random() < 0.1:
            b[16 * half : 16 * half + 8] = [0] * 8
        columns = [[a[k][j] for k in range(16 * half, 16 * half + 16)] for j in range(32)]
        rows = b[16 * half : 16 * half + 16]
        dst = []
        for j in range(32):
            old = pattern(rng) if rng.random() < 0.5 else near(s.fpu.mvmul(columns[j], rows, 0, phase, wide, fault), rng)
            dst.append(old if wide else old & 0xFFFF0000)
        expected = [s.fpu.mvmul(columns[j], rows, dst[j], phase, wide, fault) for j in range(32)]
        assert compiled_mvmul(a, b, dst, phase, half, wide, fault) == expected


@pytest.mark.parametrize(("fidelity", "phases"), [("LoFi", 1), ("HiFi2", 2), ("HiFi3", 3), ("HiFi4", 4)])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("fmt", [BFLOAT16, BFLOAT8_B, BFLOAT4_B, FLOAT32], ids=str)
def test_a_product_of_blocks_runs_in_the_order_of_the_llk(fidelity, phases: int, wide: bool, fmt: Format) -> None:
    """Tile by tile, phase by phase, half by half; with `transpose_b` each tile of b is transposed."""
    rng = np.random.default_rng(2)
    a, b = (to_format(rng.standard_normal((2, 32, 2, 32)).astype(np.float32), fmt) for _ in range(2))
    math = Exact(ComputeConfig(fidelity, wide), CHIPS["wormhole_b0"])
    product = math.matmul(a, fmt, b, fmt, BFLOAT16, transpose_b=False)
    turned = math.matmul(a, fmt, np.ascontiguousarray(b.swapaxes(1, 3)), fmt, BFLOAT16, transpose_b=True)
    assert product.tobytes() == turned.tobytes()
    register = s.unpacker.to_tf32 if wide else s.unpacker.to_register_bf16
    for r, i, c, j in [(0, 0, 0, 0), (1, 5, 0, 31), (0, 17, 1, 16), (1, 31, 1, 2)]:
        row = [register(x) for x in a[r, i].reshape(-1).view(np.uint32).tolist()]
        col = [register(x) for x in b[:, :, c, j].reshape(-1).view(np.uint32).tolist()]
        assert s.packer.pack_bf16(s.fpu.matmul(row, col, phases, wide, quirk=True)) == product[r, i, c, j].view(np.uint32)


# -- element by element ------------------------------------------------------------------------------------------------------


@chips
def test_elementwise_vectors(chip: str) -> None:
    """ELWMUL, ELWADD, the vector unit's multiply-add, L1 accumulation and bfloat8_b: the vendor's bits, by both ways."""
    vectors, fault = np.load(VECTORS / f"vectors_{chip}.npz"), CHIPS[chip].fp32_dest_fault
    for _, wide, phase, dst, a, b, result in vectors["elwmul"].tolist():
        args = from_register(a), from_register(b), dst, phase, bool(wide), fault
        assert s.fpu.elwmul_phase(*args) == bitwise.fpu.elwmul(*args) == result
    for _, wide, accumulate, dst, a, b, result in vectors["elwadd"].tolist():
        a, b, old = from_register(a), from_register(b), dst if accumulate else 0
        assert s.fpu.elwadd(a, b, bool(wide), fault, old) == bitwise.fpu.elwadd(a, b, old, bool(wide), fault) == result
    for x, y, z, wormhole, blackhole in vectors["fma"].tolist():
        assert s.sfpu.sfpmad(x, y, z, False) == bitwise.sfpu.mad(x, y, z, False) == wormhole
        assert s.sfpu.sfpmad(x, y, z, True) == bitwise.sfpu.mad(x, y, z, True) == blackhole
    for held, x, result, held16, x16, result16 in vectors["l1_accumulate"].tolist():
        assert s.packer.accumulate_fp32(held, x) == bitwise.packer.accumulate_fp32(held, x) == result
        assert (
            s.packer.accumulate_bf16(held16 << 16, x16 << 16)
            == bitwise.packer.accumulate_bf16(held16 << 16, x16 << 16)
            == result16 << 16
        )
    for datum, shared, result in vectors["bfp8_decode"].tolist():
        assert s.unpacker.decode_block(datum, shared, 7) == result << 16
        assert bitwise.packer.unpack_block(datum >> 7, datum & 127, shared) == result << 16


def mad(rng: random.Random) -> Iterator[int]:
    """Three operands: any; the addend all but cancels the product; both ends of the product's exponent; a carry of two bits."""
    x, y, z, kind = pattern(rng), pattern(rng), pattern(rng), rng.random()
    if kind < 0.3:
        z = near(s.sfpu.sfpmad(x, y, 0, True), rng)
    elif kind < 0.6:
        end = rng.choice((0, 255)) + 127 + rng.randrange(-3, 4)  # the exponents' sum
        e = rng.randrange(max(1, end - 254), min(255, end))
        x, y = ((x & ~s.patterns.INFINITY) | e << 23), ((y & ~s.patterns.INFINITY) | (end - e) << 23)
        if rng.random() < 0.7:
            z = rng.getrandbits(1) << 31 | min(255, max(0, end - 127 + rng.randrange(-3, 4))) << 23 | z & 0x7FFFFF
    elif kind < 0.8:
        x, y = (127 << 23 | rng.getrandbits(7 + extra) << 16 - extra for extra in (0, 8))
        z = 127 << 23 | rng.getrandbits(23)
    yield from (x, y, z)


def pair(rng: random.Random) -> Iterator[int]:
    """Two operands; a third of them all but cancel."""
    x = pattern(rng)
    yield from (x, near(x, rng) if rng.random() < 0.3 else pattern(rng))


def small(rng: random.Random) -> Iterator[int]:
    """What an exponential gets: zero or less, seldom anything else."""
    x = pattern(rng) if rng.random() < 0.2 else np.float32(-abs(rng.gauss(0, 30))).view(np.uint32).item()
    yield x


def triple(rng: random.Random) -> Iterator[int]:
    """Two operands of the FPU, and DST."""
    yield from (*pair(rng), pattern(rng))


def one(rng: random.Random) -> Iterator[int]:
    """One operand."""
    yield pattern(rng)


def largest(x: int, y: int) -> int:
    """The compiled maximum of a row of two."""
    row, out = np.full((1, 32, 1, 2), [x, y], np.uint32), np.empty((1, 32, 1, 1), np.uint32)
    bitwise.fpu.max_rows(row, out, True)
    return int(out[0, 31, 0, 0])


SEEDS = {chip: np.array(numbers.reciprocal_seeds, np.int64) for chip, numbers in CHIPS.items()}


def seeds_for(rule: Callable, chip: str) -> Any:
    """As the specification has them, or the compiled path."""
    return CHIPS[chip].reciprocal_seeds if rule.__module__.startswith(s.__name__) else SEEDS[chip]


def on_blackhole(rule: Callable) -> Callable:
    """A rule of Blackhole's."""
    return lambda x, _: rule(x, seeds_for(rule, "blackhole"))


SLOPE, SCALE = 0x42029A2E, 0x3DB504F3  # 256 / ln 2 / sqrt(128), 1 / sqrt(128)
OPERATIONS: dict[str, tuple[Callable, Callable, Callable]] = {
    "elwmul": (triple, s.fpu.elwmul_phase, bitwise.fpu.elwmul),
    "elwadd": (triple, lambda a, b, dst, wide, fault: s.fpu.elwadd(a, b, wide, fault, dst), bitwise.fpu.elwadd),
    "sfpmad": (mad, s.sfpu.sfpmad, bitwise.sfpu.mad),
    "exp_approximate": (
        small, lambda x, on: s.sfpu.exp_approximate(x, SLOPE, on), lambda x, on: bitwise.sfpu.exp_approximate(x, SLOPE, on),
    ),
    "exp_16_bit": (small, s.sfpu.exp_16_bit, bitwise.sfpu.exp_16_bit),
    "exp_32_bit": (small, s.sfpu.exp_32_bit, bitwise.sfpu.exp_32_bit),
    "exp_column": (
        small, lambda x, on: s.sfpu.exp_column(x, SCALE, on, on), lambda x, on: bitwise.sfpu.exp_column(x, SCALE, on, on),
    ),
    "reciprocal_legacy_2": (
        one, lambda x, on: s.sfpu.reciprocal_legacy(x, 2, on), lambda x, on: bitwise.sfpu.reciprocal_legacy(x, 2, on),
    ),
    "reciprocal_legacy_3": (
        one, lambda x, on: s.sfpu.reciprocal_legacy(x, 3, on), lambda x, on: bitwise.sfpu.reciprocal_legacy(x, 3, on),
    ),
    "sfparecip": (one, on_blackhole(s.sfpu.sfparecip), on_blackhole(bitwise.sfpu.sfparecip)),
    "reciprocal_8_bits": (one, on_blackhole(s.sfpu.reciprocal_8_bits), on_blackhole(bitwise.sfpu.reciprocal_8_bits)),
    "reciprocal_24_bits": (one, on_blackhole(s.sfpu.reciprocal_24_bits), on_blackhole(bitwise.sfpu.reciprocal_24_bits)),
    "to_bfp8_source": (one, s.packer.to_bfp8_source, bitwise.packer.to_bfp8_source),
    "sfpstore": (one, s.sfpu.sfpstore, bitwise.sfpu.store),
    "round_to_integer": (
        one, lambda x, _: s.sfpu.round_to_integer(x, 32767), lambda x, _: bitwise.sfpu.round_to_integer(x, 32767),
    ),
    "round_to_bf16": (one, lambda x, _: s.sfpu.round_to_bf16(x), lambda x, _: bitwise.sfpu.round_to_bf16(x)),
    "gmpool": (pair, lambda x, y, _: s.fpu.gmpool([x, y]), lambda x, y, _: largest(x, y)),
    "pack_bf16": (one, lambda x, _: s.packer.pack_bf16(x), lambda x, _: bitwise.packer.pack_bf16(x)),
    "accumulate_fp32": (
        pair, lambda x, y, _: s.packer.accumulate_fp32(x, y), lambda x, y, _: bitwise.packer.accumulate_fp32(x, y),
    ),
    "accumulate_bf16": (
        pair,
        lambda x, y, _: s.packer.accumulate_bf16(x & 0xFFFF0000, y & 0xFFFF0000),
        lambda x, y, _: bitwise.packer.accumulate_bf16(x & 0xFFFF0000, y & 0xFFFF0000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_the_specification(name: str) -> None:
    """Random operands and edges of every kind, on both chips or with both widths of DST."""
    operands, specified, compiled = OPERATIONS[name]
    rng = random.Random(name)
    for _ in range(OPERANDS):
        args = tuple(operands(rng))
        if name == "elwmul":
            args = (*args, rng.randrange(4))
        variant: tuple[bool, ...] = (rng.random() < 0.5,)
        if name in ("elwmul", "elwadd"):
            variant = (*variant, rng.random() < 0.5)
            if not variant[0]:
                args = (args[0], args[1], args[2] & 0xFFFF0000, *args[3:])
        assert specified(*args, *variant) == compiled(*args, *variant), [hex(x) for x in args]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("fmt", "bits"), [(BFLOAT8_B, 7), (BFLOAT4_B, 3)], ids=["bfloat8_b", "bfloat4_b"])
def test_blocks_are_packed_as_specified(fmt: Format, bits: int, wide: bool) -> None:
    """Group after group: usual sizes, saturation, all zeros, exponents at both ends; `fast` packs finite ones alike."""
    rng = random.Random(3)
    for _ in range(OPERANDS // 16):
        kind = rng.random()
        if kind < 0.5:
            group = [np.float32(rng.gauss(0, 1)).view(np.uint32).item() for _ in range(16)]
        elif kind < 0.6:
            group = [rng.choice((0, 1, s.patterns.SIGN)) for _ in range(16)]
        elif kind < 0.8:
            group = [0x3FFF8000 + rng.randrange(-65536, 65536) | rng.getrandbits(1) << 31 for _ in range(16)]
        else:
            group = [pattern(rng) for _ in range(16)]
        group = group if wide else [x & 0xFFFF0000 for x in group]
        packed = np.array([group], np.uint32)
        bitwise.packer.pack_groups(packed, exact.KEPT[fmt], wide)
        expected = s.packer.pack_block(group, bits, wide)
        assert packed[0].tolist() == expected
        if all(8 < s.patterns.exponent_of(x) < 254 for x in group):
            assert pack_to_format(np.array(group, np.uint32).view(np.float32), fmt, wide).view(np.uint32).tolist() == expected


@pytest.mark.parametrize("bits", [7, 3])
def test_every_datum_of_a_block_is_read_as_specified(bits: int) -> None:
    """Each sign, magnitude and shared exponent; minus zero, which the host could write, is minus infinity."""
    for datum in range(2 << bits):
        negative, magnitude = datum >> bits, datum & ((1 << bits) - 1)
        for shared in range(256):
            compiled = bitwise.packer.unpack_block(negative, magnitude << (7 - bits), shared)
            assert compiled == s.unpacker.decode_block(datum, shared, bits)


def test_the_host_writes_what_the_unpacker_reads() -> None:
    """Bytes in memory, decoded a datum at a time, are the values that tensors hold."""
    x = np.random.default_rng(4).standard_normal((32, 32)).astype(np.float32)
    for fmt, bits in ((BFLOAT8_B, 7), (BFLOAT4_B, 3)):
        raw = encode(x, fmt)
        row = decode(raw, (32, 32), fmt)[0, :16].view(np.uint32).tolist()
        data = list(raw[64:80]) if bits == 7 else [raw[64 + i // 2] >> 4 * (i % 2) & 15 for i in range(16)]
        assert [s.unpacker.decode_block(datum, raw[0], bits) for datum in data] == row


# -- verbs -----------------------------------------------------------------------------------------------------------------


@chips
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("approximate", [False, True])
def test_the_verbs_are_the_rules_in_their_order(chip: str, wide: bool, approximate: bool) -> None:
    """Each method of `Exact` on a column, a row or a block, against the specification's functions one after another."""
    numbers = CHIPS[chip]
    on, fault = numbers.ieee_vector_unit, numbers.fp32_dest_fault
    math = Exact(ComputeConfig("HiFi2", wide, approximate), numbers)
    rng = np.random.default_rng(5)
    x = to_format(3 * rng.standard_normal((1, 32, 3, 32)).astype(np.float32), BFLOAT16)
    x[0, 3, :, 4] = [-np.inf, 0, -0.0]
    flat = x.view(np.uint32)[0].tolist()

    most = math.max_rows(x, BFLOAT16, None)
    assert most.view(np.uint32)[0, :, 0, 0].tolist() == [s.fpu.gmpool([v for c in row for v in c]) for row in flat]

    slope, scale = s_bits(exact.EXP_SLOPE * np.float32(0.1)), s_bits(np.float32(0.1))

    def probability(value: int, largest: int) -> int:
        held = s.sfpu.sfpstore(s.sfpu.exp_approximate(s.fpu.elwsub(value, largest, wide, fault), slope, on), wide)
        return s.packer.relu(s.packer.pack_bf16(held))

    maxima = most.view(np.uint32)[0, :, 0, 0].tolist()
    expected = [[[probability(v, top) for v in c] for c in row] for row, top in zip(flat, maxima, strict=True)]
    p = x.copy()
    math.subtract(p, BFLOAT16, most, BFLOAT16)
    math.exp_fast(p, 0.1, BFLOAT16)
    assert p.view(np.uint32)[0].tolist() == expected

    total = [[row[0][j] for j in range(32)] for row in expected]
    for c in (1, 2):
        total = [[s.packer.accumulate_bf16(total[i][j], expected[i][c][j]) for j in range(32)] for i in range(32)]
    sums = math.add_up(p, BFLOAT16, BFLOAT16)
    assert sums.view(np.uint32)[0, :, 0, :].tolist() == total

    column = math.sum_columns(sums, BFLOAT16)
    of_rows = [s.fpu.matmul(row, [s.patterns.ONE] * 32, 2, wide, fault) for row in total]
    assert column.view(np.uint32)[0, :, 0, 0].tolist() == of_rows
    inverse = math.reciprocal(math.pack(column, BFLOAT16), BFLOAT16)
    seeds = numbers.reciprocal_seeds
    expected_inverse = [
        s.packer.pack_bf16(s.sfpu.reciprocal(s.packer.pack_bf16(v), approximate, wide, on, False, seeds)) for v in of_rows
    ]
    assert inverse.view(np.uint32)[0, :, 0, 0].tolist() == expected_inverse

    difference = most - np.float32(0.5)
    math.subtract(difference, BFLOAT16, most, BFLOAT16)
    factor = math.exp(difference, 0.1, BFLOAT16)
    lower = (most - np.float32(0.5)).view(np.uint32)[0, :, 0, 0].tolist()
    held = [s.sfpu.exp_column(s.fpu.elwsub(a, b, wide, fault), scale, wide, on) for a, b in zip(lower, maxima, strict=True)]
    assert factor.view(np.uint32)[0, :, 0, 0].tolist() == [s.packer.pack_bf16(v) for v in held]

    product = math.multiply(x, BFLOAT16, inverse, BFLOAT16)
    scaled = [
        [[s.fpu.elwmul(v, f, 2, wide, fault) for v in c] for c in row] for row, f in zip(flat, expected_inverse, strict=True)
    ]
    assert product.view(np.uint32)[0].tolist() == scaled
    onto = p.copy()
    math.accumulate(onto, product, BFLOAT16)
    assert onto.view(np.uint32)[0, 9, 1].tolist() == [
        s.packer.accumulate_bf16(h, s.packer.pack_bf16(v)) for h, v in zip(expected[9][1], scaled[9][1], strict=True)
    ]
    assert math.add(x, BFLOAT16, p, BFLOAT16).view(np.uint32)[0, 7, 2].tolist() == [
        s.fpu.elwadd(a, b, wide, fault) for a, b in zip(flat[7][2], expected[7][2], strict=True)
    ]


def s_bits(x: np.float32) -> int:
    """Pattern of a float32."""
    return int(x.view(np.uint32))


def test_wormholes_fault_can_be_switched_off() -> None:
    """A sum of minus one last bit: 2^27 times too large on Wormhole, by both ways, unless the machine says otherwise."""
    exponent, value = 120, -1025  # with DST at 1025 less one of its own last bits
    held = exponent << 23 | 0x1FFF
    for fault, result in ((True, -(2.0 ** (exponent + 4 - 127))), (False, -(2.0 ** (exponent - 23 - 127)))):
        specified = s.fpu.add_to_dst([(value, exponent), (0, 0)], held, True, fault)
        assert specified == bitwise.fpu.add_to_dst(value, exponent, held, True, fault) == s_bits(np.float32(result))
        assert s.fpu.add_to_dst([(value, exponent), (0, 0)], held, False, fault) == 0
    assert machine("n150").override({"numbers.fp32_dest_fault": False}).chip.numbers.fp32_dest_fault is False


def test_infinity_and_nan_are_large_numbers_to_the_fpu() -> None:
    """Infinity less infinity is zero, as masked rows need; a denormal is zero."""
    infinity, nan = 0x7F800000, 0x7FC00000
    assert s.fpu.elwsub(s.patterns.SIGN | infinity, s.patterns.SIGN | infinity, False) == 0
    assert s.fpu.elwmul(infinity, 0x00400000, 4, True) == 0
    assert s.fpu.elwsub(nan, nan, True) == 0
    assert s.packer.pack_bf16(nan) == infinity
    assert s.packer.pack_bf16(0x80000001) == 0


def test_every_rule_is_in_the_book() -> None:
    """docs/numerics.md names each function of the specification."""
    book = (Path(__file__).parents[1] / "docs" / "numerics.md").read_text()
    units = [vars(s)[unit] for unit in s.__all__]
    own = [name for unit in units for name, f in vars(unit).items() if callable(f) and f.__module__ == unit.__name__]
    rules = [name for name in own if not name.startswith("_")]
    assert len(rules) > 40
    assert [name for name in rules if f"`{name}`" not in book] == []
