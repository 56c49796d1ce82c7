"""Float32 patterns taken apart and put together."""

from collections.abc import Callable

SIGN, INFINITY, ONE, CANONICAL_NAN = 1 << 31, 0x7F800000, 0x3F800000, 0x7FC00000
BIAS = 127


def sign_of(x: int) -> int:
    """0 or 1."""
    return x >> 31


def exponent_of(x: int) -> int:
    """The biased exponent."""
    return x >> 23 & 0xFF


def significand_of(x: int) -> int:
    """24 bits, the hidden one included; a denormal counts as zero."""
    return (x & 0x7FFFFF | 0x800000) if exponent_of(x) else 0


def is_nan(x: int) -> bool:
    """Exponent 255 with a fraction."""
    return x & 0x7FFFFFFF > INFINITY


def is_infinite(x: int) -> bool:
    """Exponent 255 without one."""
    return x & 0x7FFFFFFF == INFINITY


def flush(x: int) -> int:
    """A denormal operand is zero, with its sign."""
    return x if exponent_of(x) else x & SIGN


def half_up(magnitude: int, shift: int) -> int:
    """magnitude / 2^shift to nearest; a half goes up."""
    return magnitude if shift == 0 else (magnitude + (1 << (shift - 1))) >> shift


def half_even(magnitude: int, shift: int) -> int:
    """magnitude / 2^shift to nearest; a half goes to the even neighbour."""
    low = magnitude & ((1 << shift) - 1)
    kept, half = magnitude >> shift, (1 << shift) >> 1
    return kept + (low > half or (low == half and shift > 0 and kept & 1))


def sticky(magnitude: int, shift: int) -> int:
    """magnitude / 2^shift cut off; the last bit is set if anything was lost."""
    kept = magnitude >> shift
    return kept | (kept << shift != magnitude)


def compose(negative: int, magnitude: int, exponent: int, bits: int, rounding: Callable[[int, int], int] = half_up) -> int:
    """(-1)^negative * magnitude * 2^exponent with `bits` significant bits: too small gives +0, too large infinity."""
    if magnitude == 0:
        return 0
    excess = magnitude.bit_length() - bits
    kept = rounding(magnitude, excess) if excess > 0 else magnitude << -excess
    if kept >> bits:
        kept, excess = kept >> 1, excess + 1
    biased = exponent + excess + bits - 1 + BIAS
    if biased <= 0:
        return 0
    if biased >= 255:
        return negative << 31 | INFINITY
    return negative << 31 | biased << 23 | (kept << (24 - bits)) & 0x7FFFFF
