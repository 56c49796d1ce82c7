"""Data formats, against the same rules in plain integers, one value at a time."""

import struct
from math import inf, isnan, ldexp, nan

import numpy as np
import pytest

from tensix_sim.formats import (
    BFLOAT4_B,
    BFLOAT8_B,
    BFLOAT16,
    FLOAT32,
    FORMATS,
    Format,
    decode,
    encode,
    pack_to_format,
    round_bf16,
    round_bf16_even,
    src_a_high,
    src_b_high,
    tilize,
    to_format,
    truncate_bf16,
    untilize,
)

BLOCKS = [BFLOAT8_B, BFLOAT4_B]


def bits_of(x: float) -> int:
    """Pattern of a float32."""
    return struct.unpack("<I", struct.pack("<f", x))[0]


def float_of(bits: int) -> float:
    """Value of a float32 pattern."""
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))[0]


def parts(x: float) -> tuple[int, int, int]:
    """Sign, biased exponent and 24-bit significand; a denormal counts as zero."""
    bits = bits_of(x)
    exponent = bits >> 23 & 0xFF
    return bits >> 31, exponent, (bits & 0x7FFFFF | 0x800000) if exponent else 0


def shared(group: list[float], fmt: Format, magnitude_of) -> list[float]:
    """A group of 16 with one exponent, its magnitudes by `magnitude_of(significand, shift)`."""
    largest = max(parts(x)[1] for x in group)
    values = []
    for sign, exponent, significand in map(parts, group):
        magnitude = magnitude_of(significand, largest - exponent)
        value = float(np.float32(ldexp(magnitude, largest - 126 - fmt.magnitude_bits)))
        values.append(-value if sign and magnitude else value)
    return values


def host_group(group: list[float], fmt: Format) -> list[float]:
    """The host's rule: shift without sticky bit, nearest even, saturate."""

    def magnitude(significand: int, shift: int) -> int:
        aligned, drop = significand >> shift, 24 - fmt.magnitude_bits
        low, half = aligned & ((1 << drop) - 1), 1 << (drop - 1)
        kept = aligned >> drop
        kept += low > half or (low == half and kept & 1)
        return min(kept, (1 << fmt.magnitude_bits) - 1)

    return shared(group, fmt, magnitude)


def packer_group(group: list[float], fmt: Format) -> list[float]:
    """The packer's rule on values of a 16-bit DST: to 7 bits, again to 7 bits of the largest exponent, saturate, then cut."""

    def magnitude(significand: int, shift: int) -> int:
        eight = significand >> 16
        seven = 0 if shift >= 8 else min((eight + (1 << shift)) >> (shift + 1), 127)
        return seven >> (7 - fmt.magnitude_bits)

    return shared([packed_source(x) for x in group], fmt, magnitude)


def packed_bf16(x: float) -> float:
    """To bfloat16: ties away, NaN to infinity, denormals and -0 to 0."""
    if isnan(x):
        return inf
    rounded = float_of(bits_of(x) + 0x8000 & 0xFFFF0000)
    return rounded if parts(rounded)[1] else 0.0


def packed_source(x: float) -> float:
    """To the packer's source of a block format: cut to 16 bits, then 7 bits of significand, halves away, no denormals."""
    rounded = float_of((bits_of(x) & 0xFFFF0000) + 0x10000 & 0xFFFE0000)
    return rounded if parts(x)[1] else 0.0


def groups(seed: int, count: int) -> np.ndarray:
    """Random groups of wide and narrow range, and edges: powers of two and just below, ties, zeros, denormals, the largest."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 16)).astype(np.float32) * np.exp2(rng.integers(-12, 12, (count, 16))).astype(np.float32)
    x[::3] = rng.standard_normal((len(x[::3]), 16))
    edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.99999994,
        127.5,
        126.5,
        1e-40,
        -1e-40,
        1.5,
        2.0**-7,
        3 * 2.0**-8,
        255.99,
        65280.0,
        2.0**-126,
        1.0,
    ]
    x[0], x[1], x[2] = 0, edges, np.roll(edges, 5)
    x[3] = [1.0 + i / 256 for i in range(16)]
    x[4] = [(-1) ** i * (1.0 + (2 * i + 1) / 16) for i in range(16)]
    return x


@pytest.mark.parametrize("fmt", BLOCKS, ids=repr)
def test_the_host_converts_as_the_slow_rule_does(fmt: Format) -> None:
    """Every value of every group, edges included, has the bits of the rule in integers."""
    x = groups(1, 400)
    expected = np.array([host_group(group.tolist(), fmt) for group in x], np.float32)
    assert to_format(x, fmt).tobytes() == expected.tobytes()


@pytest.mark.parametrize("fmt", BLOCKS, ids=repr)
def test_the_packer_converts_as_the_slow_rule_does(fmt: Format) -> None:
    """The same for what the packer writes."""
    x = groups(2, 400)
    expected = np.array([packer_group(group.tolist(), fmt) for group in x], np.float32)
    assert pack_to_format(x, fmt).tobytes() == expected.tobytes()


def test_packing_to_bfloat16() -> None:
    """Ties go away from zero; NaN becomes infinity; denormals and -0 become 0."""
    values = [1.00390625, -1.00390625, 1.0, nan, inf, -inf, 1e-40, -0.0, 3.0e38, *groups(3, 20).ravel().tolist()]
    x = np.array([values], np.float32)
    assert pack_to_format(x, BFLOAT16).tobytes() == np.array([[packed_bf16(v) for v in x[0].tolist()]], np.float32).tobytes()


@pytest.mark.parametrize(
    ("x", "away", "even", "cut"),
    [
        (0x3F808000, 0x3F81, 0x3F80, 0x3F80),  # halfway above an even number
        (0x3F818000, 0x3F82, 0x3F82, 0x3F81),  # halfway above an odd one
        (0x3F807FFF, 0x3F80, 0x3F80, 0x3F80),
        (0x3F808001, 0x3F81, 0x3F81, 0x3F80),
        (0xBF808000, 0xBF81, 0xBF80, 0xBF80),
        (0x3FFF8000, 0x4000, 0x4000, 0x3FFF),  # the carry reaches the exponent
        (0xFF800000, 0xFF80, 0xFF80, 0xFF80),  # minus infinity, as in a mask
        (0x00000000, 0x0000, 0x0000, 0x0000),
    ],
)
def test_roundings_at_their_edge(x: int, away: int, even: int, cut: int) -> None:
    """The three ways to bfloat16, which leave what they are given as it was."""
    for rounding, wanted in ((round_bf16, away), (round_bf16_even, even), (truncate_bf16, cut)):
        value = np.array([float_of(x)], np.float32)
        assert rounding(value).view(np.uint32)[0] == wanted << 16
        assert value.view(np.uint32)[0] == x


def test_fidelity_keeps_the_high_bits() -> None:
    """SrcA's high part has 5 significant bits, SrcB's 7, cut towards zero."""
    x = np.array([1.9999999, -1.9999999, 3.0, 0.0], np.float32)
    assert src_a_high(x).tolist() == [1.9375, -1.9375, 3.0, 0.0]
    assert src_b_high(x).tolist() == [1.984375, -1.984375, 3.0, 0.0]


def test_the_host_rounds_to_bfloat16_to_even_and_keeps_nan() -> None:
    """NaN becomes 0x7FC0; everything else is nearest even."""
    x = np.array([float_of(0x3F808000), nan, -inf], np.float32)
    assert (to_format(x, BFLOAT16).view(np.uint32) >> 16).tolist() == [0x3F80, 0x7FC0, 0xFF80]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=repr)
def test_a_tile_image_holds_the_converted_values(fmt: Format) -> None:
    """Encoding takes `tile_bytes` a tile and decodes to what the host's conversion says; converting twice changes nothing."""
    x = np.random.default_rng(4).standard_normal((64, 96)).astype(np.float32)
    image = encode(x, fmt)
    assert len(image) == 6 * fmt.tile_bytes
    assert np.array_equal(decode(image, x.shape, fmt), to_format(x, fmt))
    assert np.array_equal(to_format(to_format(x, fmt), fmt), to_format(x, fmt))


@pytest.mark.parametrize(
    ("byte", "exponent", "bf16"),
    # from the vendor's functional simulator, ttsim 1.10.0, Wormhole and Blackhole
    [(213, 111, 47018), (91, 129, 16566), (222, 127, 49084), (95, 111, 14270), (0, 130, 0), (128, 130, 0xFF80)],
)
def test_decoding_agrees_with_the_vendors_simulator(byte: int, exponent: int, bf16: int) -> None:
    """A datum byte and its shared exponent give the pattern that ttsim gives; minus zero reads as minus infinity."""
    image = bytearray(1088)
    image[0], image[64] = exponent, byte
    assert decode(bytes(image), (32, 32), BFLOAT8_B).view(np.uint32)[0, 0] >> 16 == bf16


def test_tiles_and_faces_lie_row_by_row() -> None:
    """Element (33, 50) of a 64 x 64 matrix is row 1, column 2 of face 1 of the last tile; untilize undoes it."""
    x = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    assert tilize(x)[3, 1, 1, 2] == x[33, 50]
    assert np.array_equal(untilize(tilize(x), (64, 64)), x)


@pytest.mark.parametrize("work", [lambda: tilize(np.zeros((32, 31), np.float32)), lambda: decode(b"", (32, 32), FLOAT32)])
def test_wrong_sizes_are_refused(work) -> None:
    """The message has what was found and what would be right."""
    with pytest.raises(ValueError, match="32"):
        work()
    with pytest.raises(ValueError, match="row of 17"):
        to_format(np.zeros((1, 17), np.float32), BFLOAT8_B)
