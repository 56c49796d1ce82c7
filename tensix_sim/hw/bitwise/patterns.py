"""Float32 patterns taken apart and put together: `specification.patterns`. They are int64 here."""

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import jit

compiled = jit.compiler()

Patterns = NDArray[np.uint32]
SIGN, MAGNITUDE, INFINITY, NAN, UPPER = 1 << 31, 0x7FFFFFFF, 0x7F800000, 0x7FC00000, 0xFFFF0000


@compiled
def exponent_of(x: int) -> int:
    """The biased exponent."""
    return x >> 23 & 255


@compiled
def significand_of(x: int) -> int:
    """24 bits; a denormal counts as zero."""
    return (x & 0x7FFFFF | 0x800000) if x >> 23 & 255 else 0


@compiled
def half_up(size: int, shift: int) -> int:
    """size / 2^shift, a half up."""
    if shift <= 0:
        return size
    return (size + (1 << (shift - 1))) >> shift if shift < 62 else 0


@compiled
def half_even(size: int, shift: int) -> int:
    """size / 2^shift, a half to the even neighbour."""
    if shift <= 0:
        return size
    if shift >= 62:
        return 0
    kept = size >> shift
    low, half = size - (kept << shift), 1 << (shift - 1)
    return kept + (low > half or (low == half and kept & 1 == 1))


@compiled
def sticky(size: int, shift: int) -> int:
    """size / 2^shift, cut off, the last bit set if anything was lost."""
    if shift >= 62:
        return 1 if size else 0
    kept = size >> shift
    return kept | 1 if kept << shift != size else kept


@compiled
def compose(negative: int, size: int, exponent: int, bits: int, even: bool) -> int:
    """The pattern of a number of `bits` bits next to size * 2^exponent: `specification.patterns.compose`."""
    if size == 0:
        return 0
    excess = (np.float64(size).view(np.int64) >> 52) - 1022 - bits
    kept = half_even(size, excess) if even else half_up(size, excess)
    if excess < 0:
        kept = size << -excess
    if kept >> bits:
        kept >>= 1
        excess += 1
    biased = exponent + excess + bits - 1 + 127
    if biased <= 0:
        return 0
    if biased >= 255:
        return negative << 31 | INFINITY
    return negative << 31 | biased << 23 | (kept << (24 - bits)) & 0x7FFFFF
