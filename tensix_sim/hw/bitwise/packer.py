"""Packer: `specification.packer`, of single elements, groups and blocks."""

import numpy as np

from tensix_sim.hw import jit
from tensix_sim.hw.bitwise import patterns
from tensix_sim.hw.bitwise.patterns import (
    INFINITY,
    MAGNITUDE,
    NAN,
    SIGN,
    UPPER,
    Patterns,
    compose,
    exponent_of,
    half_up,
    significand_of,
    sticky,
)

compiled = jit.compiler(patterns)

# -- element by element ------------------------------------------------------------------------------------------


@compiled
def pack_bf16(x: int) -> int:
    """`specification.packer.pack_bf16`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    rounded = x + 0x8000 & UPPER
    return rounded if rounded >> 23 & 255 else 0


@compiled
def to_bfp8_source(x: int, wide: bool) -> int:
    """`specification.packer.to_bfp8_source`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    if not wide and x >> 23 & 255 == 0:
        return 0
    rounded = (x & UPPER) + 0x10000 & 0xFFFE0000
    return rounded if rounded >> 23 & 255 else 0


@compiled
def ieee_sum(x: int, y: int, bits: int) -> int:
    """The exact sum of two finite patterns, rounded to even."""
    small, large = x, y
    if exponent_of(x) > exponent_of(y):
        small, large = y, x
    distance = exponent_of(large) - exponent_of(small)
    kept = min(distance, 30)  # bits that the larger is shifted up; of what lies below, a sticky bit is enough
    low = exponent_of(large) - kept
    a, b = significand_of(large) << kept, sticky(significand_of(small), distance - kept)
    total = (-a if large >> 31 else a) + (-b if small >> 31 else b)
    result = compose(int(total < 0), abs(total), low - 127 - 23, bits, True)
    if result:
        return result
    return SIGN if total < 0 else x & y & SIGN if total == 0 else 0


@compiled
def accumulate_bf16(held: int, x: int) -> int:
    """`specification.packer.accumulate_bf16`."""
    if x & MAGNITUDE == INFINITY:
        return NAN if held & MAGNITUDE == INFINITY and held != x else x
    if exponent_of(held) == 255:
        return held & SIGN | INFINITY
    return ieee_sum(held, x, 8)


@compiled
def accumulate_fp32(held: int, x: int) -> int:
    """`specification.packer.accumulate_fp32`."""
    infinite_held, infinite_x = held & MAGNITUDE == INFINITY, x & MAGNITUDE == INFINITY
    if held & MAGNITUDE > INFINITY or x & MAGNITUDE > INFINITY or (infinite_held and infinite_x and held != x):
        return NAN
    if infinite_held or infinite_x:
        return held if infinite_held else x
    return ieee_sum(held, x, 24)


@compiled
def unpack_block(negative: int, magnitude: int, shared: int) -> int:
    """A datum of 7 bits with its group's exponent: `specification.unpacker.decode_block`."""
    if magnitude == 0:
        return SIGN | INFINITY if negative else 0
    shift = 7 - int((np.float64(magnitude).view(np.int64) >> 52) - 1022)
    return negative << 31 | (shared - shift & 255) << 23 | (magnitude << shift & 63) << 17


# -- groups and blocks -------------------------------------------------------------------------------------------


@compiled
def pack_groups(x: Patterns, keep: int, wide: bool) -> None:
    """Groups of 16 [n, 16] to a block format, in place: `specification.packer.pack_block`. `keep` masks its bits of 7."""
    for i in range(x.shape[0]):
        largest = 0
        for j in range(16):
            x[i, j] = to_bfp8_source(np.int64(x[i, j]), wide)
            largest = max(largest, exponent_of(np.int64(x[i, j])))
        for j in range(16):
            value = np.int64(x[i, j])
            shift = largest - exponent_of(value)
            seven = 0 if shift >= 8 else min(127, half_up(significand_of(value) >> 16, shift + 1))
            x[i, j] = unpack_block(value >> 31, seven & keep, largest) if seven & keep else 0


@compiled
def relu(x: Patterns) -> None:
    """x <- `specification.packer.relu`."""
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    if x[r, i, c, j] >> 31:
                        x[r, i, c, j] = 0


@compiled
def accumulate(onto: Patterns, x: Patterns, to_bf16: bool) -> None:
    """onto <- onto + x, as the packer adds in L1."""
    for r in range(onto.shape[0]):
        for i in range(onto.shape[1]):
            for c in range(onto.shape[2]):
                for j in range(onto.shape[3]):
                    held, more = np.int64(onto[r, i, c, j]), np.int64(x[r, i, c, j])
                    onto[r, i, c, j] = accumulate_bf16(held, more) if to_bf16 else accumulate_fp32(held, more)


@compiled
def pack_all(x: Patterns) -> None:
    """x <- bfloat16 as the packer makes it."""
    for i in range(x.size):
        x[i] = pack_bf16(np.int64(x[i]))
