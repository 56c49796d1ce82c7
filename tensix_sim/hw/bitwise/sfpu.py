"""SFPU: `specification.sfpu`, of single elements and blocks."""

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import jit, llk
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
    half_even,
    half_up,
    significand_of,
    sticky,
)
from tensix_sim.hw.llk import (
    BIAS_AS_FLOAT,
    EXP_21F,
    EXP_B,
    LN2_RECIPROCAL,
    MINUS_LN2_HIGH,
    MINUS_LN2_LOW,
    ONE,
    TAYLOR,
    TWO,
)

compiled = jit.compiler(patterns, llk)

Seeds = NDArray[np.int64]
EXP_21F_0, EXP_21F_1, EXP_21F_2 = EXP_21F


# -- multiply-add ------------------------------------------------------------------------------------------------


@compiled
def mad_align(size: int, shift: int) -> int:
    """Shift with a sticky bit, which is lost if nothing else remains."""
    return sticky(size, shift) if shift < 62 and size >> shift else 0


@compiled
def mad(x: int, y: int, z: int, blackhole: bool) -> int:
    """`specification.sfpu.sfpmad`."""
    negative = (x ^ y) >> 31 & 1
    m_x, m_y, m_z = significand_of(x), significand_of(y), significand_of(z)
    biased, e_z = exponent_of(x) + exponent_of(y) - 127, exponent_of(z)
    infinite_x, infinite_y, infinite_z = x & MAGNITUDE == INFINITY, y & MAGNITUDE == INFINITY, z & MAGNITUDE == INFINITY
    product_is_nan = (
        x & MAGNITUDE > INFINITY or y & MAGNITUDE > INFINITY or (infinite_x and m_y == 0) or (infinite_y and m_x == 0)
    )
    infinite = infinite_x or infinite_y
    if m_x and m_y and biased >= 255 and not (blackhole and infinite_z):
        infinite = True
    unordered = product_is_nan or z & MAGNITUDE > INFINITY or (infinite and infinite_z and negative != z >> 31)
    if unordered:
        if blackhole:
            return NAN
        biased = min(biased, 255)
    elif infinite:
        return negative << 31 | INFINITY
    elif infinite_z:
        return z
    size, power = sticky(m_x * m_y, 20), biased - 153
    addend, addend_power = m_z << 3, e_z - 153
    if size == 0 or biased < 0:
        size, power = 0, addend_power
    if addend == 0:
        addend_power = power
    top = max(power, addend_power)
    size, addend = mad_align(size, top - power), mad_align(addend, top - addend_power)
    total = (-size if negative else size) + (-addend if z >> 31 else addend)
    size, minus = abs(total), int(total < 0)
    if blackhole:
        if total == 0:
            return (negative & z >> 31) << 31
        bits = (np.float64(size).view(np.int64) >> 52) - 1022
        if top + bits + 126 <= 0:
            return minus << 31 | half_even(size, bits - 23) >> 23 << 23
        return compose(minus, size, top, 24, True)
    if size >> 28:
        size &= ~2
    result = compose(minus, size, top, 24, True)
    if unordered:
        fraction = 0 if exponent_of(result) == 255 else result & 0x7FFFFF
        sign = negative if product_is_nan or not z & MAGNITUDE > INFINITY else z >> 31
        return sign << 31 | INFINITY | fraction | 1
    return result


# -- to and from DST -----------------------------------------------------------------------------------------------


@compiled
def store(x: int, wide: bool) -> int:
    """`specification.sfpu.sfpstore`."""
    if x >> 23 & 255 == 0:
        return x & SIGN
    return x if wide else x & UPPER


@compiled
def round_to_bf16(x: int) -> int:
    """`specification.sfpu.round_to_bf16`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    return (x + 0x8000 & UPPER) if x >> 23 & 255 else 0


@compiled
def round_to_integer(x: int, limit: int) -> int:
    """`specification.sfpu.round_to_integer`."""
    shift = 127 + 23 - exponent_of(x)
    size = limit if shift < 0 else min(limit, half_up(significand_of(x), shift))
    return -size if x >> 31 else size


# -- exponentials --------------------------------------------------------------------------------------------------


@compiled
def exp_approximate(x: int, slope: int, blackhole: bool) -> int:
    """`specification.sfpu.exp_approximate`."""
    number = round_to_integer(mad(x, slope, EXP_B, blackhole), 0x7FFF)
    return abs(number) << 15 | (SIGN if number < 0 else 0)


@compiled
def exp_16_bit(x: int, blackhole: bool) -> int:
    """`specification.sfpu.exp_16_bit`."""
    t = mad(x, LN2_RECIPROCAL, BIAS_AS_FLOAT, blackhole)
    t = 0 if t >> 31 else min(t, 0x437F0000)
    shift = exponent_of(t) - 127
    z = significand_of(t) << shift if shift >= 0 else significand_of(t) >> min(-shift, 31)
    n = compose(0, z & 0x7FFFFF, 0, 24, False)
    g = mad(n, mad(n, EXP_21F_2, EXP_21F_1, blackhole), EXP_21F_0, blackhole)
    return round_to_bf16((z >> 23 & 255) << 23 | g & 0x7FFFFF)


@compiled
def exp_32_bit(x: int, blackhole: bool) -> int:
    """`specification.sfpu.exp_32_bit`."""
    z = mad(x, LN2_RECIPROCAL, 0, blackhole)
    if z >> 31 == 0 and z >= 0x43000000:
        return INFINITY
    if z >> 31 and z & MAGNITUDE >= 0x42FE0000:
        return 0
    k = half_even(significand_of(z), 127 + 23 - exponent_of(z)) if exponent_of(z) > 87 else 0
    k_float = compose(z >> 31, k, 0, 24, False)
    r = mad(k_float, MINUS_LN2_LOW, mad(k_float, MINUS_LN2_HIGH, x, blackhole), blackhole)
    p = TAYLOR[0]
    for i in range(1, 8):
        p = mad(p, r, TAYLOR[i], blackhole)
    return (exponent_of(p) + (-k if z >> 31 else k) & 255) << 23 | p & 0x7FFFFF


@compiled
def exp_column(x: int, scale: int, wide: bool, blackhole: bool) -> int:
    """`specification.sfpu.exp_column`."""
    scaled = mad(x, scale & UPPER, 0, blackhole)
    return store(exp_32_bit(scaled, blackhole) if wide else exp_16_bit(scaled, blackhole), wide)


# -- reciprocal ----------------------------------------------------------------------------------------------------


@compiled
def reciprocal_legacy(x: int, steps: int, blackhole: bool) -> int:
    """`specification.sfpu.reciprocal_legacy`."""
    value = SIGN | 126 << 23 | x & 0x7FFFFF
    y = mad(LN2_RECIPROCAL, mad(value, LN2_RECIPROCAL, TWO, blackhole), 0, blackhole)
    for _ in range(steps - 1):
        y = mad(y, mad(value, y, TWO, blackhole), 0, blackhole)
    exponent = exponent_of(y) - exponent_of(x) + 126
    return 0 if exponent < 0 else (x & SIGN) | exponent << 23 | y & 0x7FFFFF


@compiled
def sfparecip(x: int, seeds: Seeds) -> int:
    """`specification.sfpu.sfparecip`."""
    exponent = exponent_of(x)
    if exponent == 0:
        return x & SIGN | INFINITY
    if exponent >= 253:
        return x & SIGN
    return x & SIGN | (253 - exponent) << 23 | seeds[x >> 16 & 127] << 16


@compiled
def reciprocal_8_bits(x: int, seeds: Seeds) -> int:
    """`specification.sfpu.reciprocal_8_bits`."""
    y = sfparecip(x, seeds) | 0x8000
    return y + (mad(x, y, SIGN | ONE, True) >> 16) & 0xFFFFFFFF


@compiled
def reciprocal_24_bits(x: int, seeds: Seeds) -> int:
    """`specification.sfpu.reciprocal_24_bits`."""
    y = sfparecip(x, seeds)
    e = mad(x, y ^ SIGN, ONE, True)
    t = mad(mad(e, e, e, True), e, e, True)
    return mad(t if t >> 31 else min(t, ONE), y, y, True)


# -- blocks --------------------------------------------------------------------------------------------------------


@compiled
def exponentials(x: Patterns, slope: int, blackhole: bool, wide: bool) -> None:
    """x <- the approximate exponential, as it stands in DST."""
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    x[r, i, c, j] = store(exp_approximate(np.int64(x[r, i, c, j]), slope, blackhole), wide)


@compiled
def exp_columns(x: Patterns, scale: int, wide: bool, blackhole: bool) -> None:
    """x <- the correction's exponential, as it stands in DST."""
    for i in range(x.size):
        x[i] = exp_column(np.int64(x[i]), scale, wide, blackhole)


@compiled
def reciprocals(x: Patterns, approximate: bool, wide: bool, blackhole: bool, streaming: bool, seeds: Seeds) -> None:
    """`specification.sfpu.reciprocal`."""
    for i in range(x.size):
        value = np.int64(x[i])
        if streaming and seeds.size:
            if approximate:
                y = sfparecip(value, seeds)
            else:
                y = reciprocal_24_bits(value, seeds) if wide else reciprocal_8_bits(value, seeds)
        else:
            y = reciprocal_legacy(value, 2 if approximate else 3, blackhole)
            y = y if wide or approximate else round_to_bf16(y)
        x[i] = store(y, wide)
