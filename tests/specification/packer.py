"""Packer, DST to memory, and its accumulation there. Sources: SIM PACR; ISA Packers."""

from collections.abc import Sequence

from specification.patterns import (
    BIAS,
    CANONICAL_NAN,
    INFINITY,
    SIGN,
    compose,
    exponent_of,
    flush,
    half_even,
    half_up,
    is_infinite,
    is_nan,
    sign_of,
    significand_of,
)
from specification.unpacker import decode_block


def pack_bf16(x: int) -> int:
    """DST to bfloat16: nearest, ties away from zero, then a denormal or minus zero is +0. NaN becomes infinity."""
    if is_nan(x):
        return x & SIGN | INFINITY
    rounded = half_up(x, 16) << 16
    return rounded if exponent_of(rounded) else 0


def pack_fp32(x: int, fp32_dst: bool) -> int:
    """DST to float32: as it is, but a 16-bit DST goes by way of bfloat16."""
    return x if fp32_dst else pack_bf16(x)


def relu(x: int) -> int:
    """The packer's ReLU: negative numbers become zero."""
    return 0 if sign_of(x) else x


def pack_block(group: Sequence[int], magnitude_bits: int, fp32_dst: bool, precise: bool = False) -> list[int]:
    """16 values of DST to a block format: to 7 bits of the largest exponent, halves up, saturated.

    It is the second rounding: the packer's source format is Bfp8_b, whose 7 bits come first. `precise`, which no SDPA op
    sets, goes by way of bfloat16 or float32 instead. bfloat4_b cuts the 7 bits to 3: biased towards zero. The result is the
    values' patterns as they are read back.
    """
    if precise:
        source = [x & 0xFFFF0000 if fp32_dst else pack_bf16(x) for x in group]
    else:
        source = [to_bfp8_source(x, fp32_dst) for x in group]
    largest = max(exponent_of(x) for x in source)
    values = []
    for x in source:
        shift = largest - exponent_of(x)
        seven = 0 if shift >= 8 else min(127, half_up(significand_of(x) >> 16, shift + 1))
        magnitude = seven >> (7 - magnitude_bits)
        datum = (sign_of(x) << magnitude_bits | magnitude) if magnitude else 0
        values.append(decode_block(datum, largest, magnitude_bits))
    return values


def to_bfp8_source(x: int, fp32_dst: bool) -> int:
    """DST as the packer takes it with a source of Bfp8_b: cut to 8 bits, then rounded to 7, halves away from zero.

    NaN becomes infinity. A 16-bit DST loses its denormals before, a 32-bit one afterwards.
    """
    if is_nan(x):
        return x & SIGN | INFINITY
    if not fp32_dst:
        x = flush(x)
    rounded = half_up(x >> 16, 1) << 17
    return rounded if exponent_of(rounded) else 0


def accumulate_bf16(held: int, x: int) -> int:
    """L1 accumulation in bfloat16: the exact sum, nearest, ties to even.

    A NaN that is added is a number of exponent 255 like any other; one that is held outweighs all but an infinity added.
    """
    if is_infinite(x):
        return CANONICAL_NAN if is_infinite(held) and held != x else x
    if exponent_of(held) == 255:
        return held & SIGN | INFINITY
    return _ieee_sum(held, x, 8)


def accumulate_fp32(held: int, x: int) -> int:
    """L1 accumulation in float32: IEEE's sum, ties to even; denormals are zero, NaN is canonical."""
    if is_nan(held) or is_nan(x) or (is_infinite(held) and is_infinite(x) and held != x):
        return CANONICAL_NAN
    if is_infinite(held) or is_infinite(x):
        return held if is_infinite(held) else x
    return _ieee_sum(held, x, 24)


def _ieee_sum(x: int, y: int, bits: int) -> int:
    """Rounded to even; a sum too small is a zero of its sign."""
    low = min(exponent_of(x), exponent_of(y))
    total = 0
    for value in (x, y):
        size = significand_of(value) << (exponent_of(value) - low)
        total += -size if sign_of(value) else size
    result = compose(int(total < 0), abs(total), low - BIAS - 23, bits, half_even)
    return result or (SIGN if total < 0 else x & y & SIGN if total == 0 else 0)
