"""What `specification` says, compiled: one function for each of its rules, then loops of them over blocks of tiles.

Two ways lead to the same bits. What is done once an element is in whole numbers, as in the specification. MVMUL, nearly all
of the work, is in float64, whose 53 bits hold each of its products and sums. To round to a multiple of a unit is to
scale, to add a number so large that nothing below its last bit is kept, and to take that away again. Float64 breaks ties
to even; a nudge too small to move anything else sends them where the hardware does.

Patterns of float32 are int64 here. `wide` is a 32-bit DST, `fault` Wormhole's (see `specification.add_to_dst`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import jit
from tensix_sim.hw.specification import (
    BIAS_AS_FLOAT,
    EXP_21F,
    EXP_B,
    HALF,
    LN2_RECIPROCAL,
    MINUS_LN2_HIGH,
    MINUS_LN2_LOW,
    SEED,
    TAYLOR,
    TWO,
)

Patterns = NDArray[np.uint32]
Parts = NDArray[np.float64]
Seeds = NDArray[np.int64]

compiled: Callable[[Any], Any] = partial(jit.compiled, error_model="numpy")

MAGIC = 1.5 * 2.0**52  # x + MAGIC - MAGIC is x to the nearest integer
UP = 2.0**-20  # added before: halves go up
AWAY = 1 + 2.0**-26  # times this before: halves go away from zero
LEAST = 2.0**-127  # what an exponent of 0 stands for
POWERS = np.array([0.0] + [2.0 ** (e - 127) for e in range(1, 256)])

SIGN, MAGNITUDE, INFINITY, NAN, UPPER = 1 << 31, 0x7FFFFFFF, 0x7F800000, 0x7FC00000, 0xFFFF0000
EXP_21F_0, EXP_21F_1, EXP_21F_2 = EXP_21F
SEED_0, SEED_1, SEED_2 = SEED
ONE = 0x3F800000


# -- patterns -------------------------------------------------------------------------------------------------------


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
    """The pattern of a number of `bits` bits next to size * 2^exponent: `specification.compose`."""
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


# -- FPU, element by element ------------------------------------------------------------------------------------------


@compiled
def shifted(value: int, shift: int) -> int:
    """A group's sum, aligned: `specification.shifted_sum`."""
    if shift >= 31:
        return 0
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


@compiled
def add_to_dst(value: int, largest: int, dst: int, wide: bool, fault: bool) -> int:
    """DST + one group's sum: `specification.add_to_dst`."""
    exponent = max(largest, exponent_of(dst))
    term = shifted(value << 13, exponent - largest)
    shift = exponent - exponent_of(dst)
    held = half_up(significand_of(dst), shift) if shift < 31 else 0
    if not wide:
        term = shifted(term, 13) << 13
        held = half_up(held, 13) << 13
    total = term - held if dst >> 31 else term + held
    if fault and wide and total == -1:
        return compose(1, 1, exponent + 4 - 127, 24, False)
    return compose(int(total < 0), abs(total), exponent - 127 - 23, 24 if wide else 8, False)


@compiled
def elwadd(a: int, b: int, dst: int, wide: bool, fault: bool) -> int:
    """`specification.elwadd`."""
    small, large = a, b
    if (a & MAGNITUDE) >> 13 > (b & MAGNITUDE) >> 13:
        small, large = b, a
    shift = exponent_of(large) - exponent_of(small)
    m = half_up(significand_of(small) >> 13, shift) if shift < 12 else 0
    total = -m if small >> 31 else m
    m = significand_of(large) >> 13
    total += -m if large >> 31 else m
    return add_to_dst(total, exponent_of(large), dst, wide, fault)


@compiled
def elwmul(a: int, b: int, dst: int, phase: int, wide: bool, fault: bool) -> int:
    """`specification.elwmul_phase`."""
    m_a, m_b = significand_of(a) >> 13, significand_of(b) >> 13
    value, exponent = 0, 0
    if m_a and m_b:
        value = (m_a >> 1 & 31 if phase & 1 else m_a >> 6) * ((m_b & 15) << 3 if phase >= 2 else m_b >> 4)
        exponent = exponent_of(a) + exponent_of(b) - 127 - 5 * (phase & 1) - 7 * (phase >> 1)
        if exponent <= 0:
            value, exponent = 0, 0
        elif (a ^ b) >> 31 & 1:
            value = -value
    return add_to_dst(value, exponent, dst, wide, fault)


# -- SFPU -------------------------------------------------------------------------------------------------------------


@compiled
def mad_align(size: int, shift: int) -> int:
    """Shift with a sticky bit, which is lost if nothing else remains."""
    return sticky(size, shift) if shift < 62 and size >> shift else 0


@compiled
def mad(x: int, y: int, z: int, blackhole: bool) -> int:
    """`specification.sfpmad`."""
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


@compiled
def store(x: int, wide: bool) -> int:
    """`specification.sfpstore`."""
    if x >> 23 & 255 == 0:
        return x & SIGN
    return x if wide else x & UPPER


@compiled
def round_to_bf16(x: int) -> int:
    """`specification.round_to_bf16`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    return (x + 0x8000 & UPPER) if x >> 23 & 255 else 0


@compiled
def round_to_integer(x: int, limit: int) -> int:
    """`specification.round_to_integer`."""
    shift = 127 + 23 - exponent_of(x)
    size = limit if shift < 0 else min(limit, half_up(significand_of(x), shift))
    return -size if x >> 31 else size


@compiled
def exp_approximate(x: int, slope: int, blackhole: bool) -> int:
    """`specification.exp_approximate`."""
    number = round_to_integer(mad(x, slope, EXP_B, blackhole), 0x7FFF)
    return abs(number) << 15 | (SIGN if number < 0 else 0)


@compiled
def exp_16_bit(x: int, blackhole: bool) -> int:
    """`specification.exp_16_bit`."""
    t = mad(x, LN2_RECIPROCAL, BIAS_AS_FLOAT, blackhole)
    t = 0 if t >> 31 else min(t, 0x437F0000)
    shift = exponent_of(t) - 127
    z = significand_of(t) << shift if shift >= 0 else significand_of(t) >> min(-shift, 31)
    n = compose(0, z & 0x7FFFFF, 0, 24, False)
    g = mad(n, mad(n, EXP_21F_2, EXP_21F_1, blackhole), EXP_21F_0, blackhole)
    return round_to_bf16((z >> 23 & 255) << 23 | g & 0x7FFFFF)


@compiled
def exp_32_bit(x: int, blackhole: bool) -> int:
    """`specification.exp_32_bit`."""
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
    """`specification.exp_column`."""
    scaled = mad(x, scale & UPPER, 0, blackhole)
    return store(exp_32_bit(scaled, blackhole) if wide else exp_16_bit(scaled, blackhole), wide)


@compiled
def reciprocal_legacy(x: int, steps: int, blackhole: bool) -> int:
    """`specification.reciprocal_legacy`."""
    value = SIGN | 126 << 23 | x & 0x7FFFFF
    y = mad(LN2_RECIPROCAL, mad(value, LN2_RECIPROCAL, TWO, blackhole), 0, blackhole)
    for _ in range(steps - 1):
        y = mad(y, mad(value, y, TWO, blackhole), 0, blackhole)
    exponent = exponent_of(y) - exponent_of(x) + 126
    return 0 if exponent < 0 else (x & SIGN) | exponent << 23 | y & 0x7FFFFF


@compiled
def sfparecip(x: int, seeds: Seeds) -> int:
    """`specification.sfparecip`."""
    exponent = exponent_of(x)
    if exponent == 0:
        return x & SIGN | INFINITY
    if exponent >= 253:
        return x & SIGN
    return x & SIGN | (253 - exponent) << 23 | seeds[x >> 16 & 127] << 16


@compiled
def reciprocal_newton(x: int, seeds: Seeds) -> int:
    """`specification.reciprocal_newton`."""
    if seeds.size:
        y = sfparecip(x, seeds)
        t = mad(x, y, SIGN | TWO, True)
        if t & MAGNITUDE > INFINITY or t >> 31 == 0:
            return y
        y = mad(y, t ^ SIGN, SIGN, True)
        return mad(y, mad(x, y, SIGN | TWO, True) ^ SIGN, SIGN, True)
    value = SIGN | 127 << 23 | x & 0x7FFFFF
    y = mad(value, mad(value, SEED_0, SEED_1, False), SEED_2, False)
    for _ in range(2):
        y = mad(y, mad(value, y, ONE, False), y, False)
    scale = mad((255 - exponent_of(x)) << 23, HALF, 0, False)
    return mad(y, scale, 0, False) & MAGNITUDE | x & SIGN


@compiled
def reciprocal_8_bits(x: int, seeds: Seeds) -> int:
    """`specification.reciprocal_8_bits`."""
    y = sfparecip(x, seeds) | 0x8000
    return y + (mad(x, y, SIGN | ONE, True) >> 16) & 0xFFFFFFFF


@compiled
def reciprocal_24_bits(x: int, seeds: Seeds) -> int:
    """`specification.reciprocal_24_bits`."""
    y = sfparecip(x, seeds)
    e = mad(x, y ^ SIGN, ONE, True)
    t = mad(mad(e, e, e, True), e, e, True)
    return mad(t if t >> 31 else min(t, ONE), y, y, True)


# -- pack ---------------------------------------------------------------------------------------------------------------


@compiled
def pack_bf16(x: int) -> int:
    """`specification.pack_bf16`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    rounded = x + 0x8000 & UPPER
    return rounded if rounded >> 23 & 255 else 0


@compiled
def to_bfp8_source(x: int, wide: bool) -> int:
    """`specification.to_bfp8_source`."""
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
    """`specification.accumulate_bf16`."""
    if x & MAGNITUDE == INFINITY:
        return NAN if held & MAGNITUDE == INFINITY and held != x else x
    if exponent_of(held) == 255:
        return held & SIGN | INFINITY
    return ieee_sum(held, x, 8)


@compiled
def accumulate_fp32(held: int, x: int) -> int:
    """`specification.accumulate_fp32`."""
    infinite_held, infinite_x = held & MAGNITUDE == INFINITY, x & MAGNITUDE == INFINITY
    if held & MAGNITUDE > INFINITY or x & MAGNITUDE > INFINITY or (infinite_held and infinite_x and held != x):
        return NAN
    if infinite_held or infinite_x:
        return held if infinite_held else x
    return ieee_sum(held, x, 24)


@compiled
def unpack_block(negative: int, magnitude: int, shared: int) -> int:
    """A datum of 7 bits with its group's exponent: `specification.decode_block`."""
    if magnitude == 0:
        return SIGN | INFINITY if negative else 0
    shift = 7 - int((np.float64(magnitude).view(np.int64) >> 52) - 1022)
    return negative << 31 | (shared - shift & 255) << 23 | (magnitude << shift & 63) << 17


@compiled
def pack_groups(x: Patterns, keep: int, wide: bool) -> None:
    """Groups of 16 [n, 16] to a block format, in place; `keep` masks the bits of 7 that it has: `specification.pack_block`."""
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


# -- MVMUL ----------------------------------------------------------------------------------------------------------------


@compiled
def cut(x: Patterns, src_a: bool, out: Parts) -> None:
    """Patterns [n, m] as the reals of a source register, out [n, 3, m]: a power of two, and the two parts of fidelity.

    The lower part stands for 2^-5 of itself in SrcA, 2^-7 in SrcB, which a phase's exponent accounts for.
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            bits = np.int64(x[i, j])
            power = POWERS[bits >> 23 & 255]
            signed = -power if bits >> 31 else power
            m = bits >> 13 & 0x3FF | 0x400
            out[i, 0, j] = power
            out[i, 1, j] = signed * (m >> 6) * 2.0**-4 if src_a else signed * (m >> 4) * 2.0**-6
            out[i, 2, j] = signed * (m >> 1 & 31) * 2.0**-4 if src_a else signed * ((m & 15) << 3) * 2.0**-6


@compiled
def align(b: Parts, a: Parts, work: Parts) -> None:
    """Largest products of a row of SrcB, b [3, 32], and each column of SrcA, a [3, 32, 32], in groups of 8, as powers of two.

    They go to work[:4], and to work[4:8] what makes their units of 2^-10 one.
    """
    for g in range(4):
        for j in range(32):
            top = 0.0
            for k in range(8):
                top = max(top, b[0, 8 * g + k] * a[0, 8 * g + k, j])
            work[g, j] = top
            work[4 + g, j] = 1024.0 * AWAY / top if top > 0.0 else 0.0


@compiled
def into_dst(total: Parts, largest: Parts, down: float, dst: Parts, wide: bool, fault: bool) -> None:
    """`specification.add_to_dst` of two groups' sums [2, 32], in units of 2^-10 of their exponents."""
    for j in range(32):
        d = dst[j]
        e_d = np.int64(np.float64(d).view(np.int64) & 0x7FF0000000000000).view(np.float64)
        e_0, e_1 = largest[0, j] * down, largest[1, j] * down
        e_0 = e_0 if e_0 > LEAST else 0.0
        e_1 = e_1 if e_1 > LEAST else 0.0
        top = max(max(e_0, e_1), max(e_d, LEAST))
        unit = 2.0**23 / top
        r_0 = total[0, j] * e_0 * (2.0**-10 * unit) + UP + MAGIC - MAGIC
        r_1 = total[1, j] * e_1 * (2.0**-10 * unit) + UP + MAGIC - MAGIC
        r_d = d * unit * AWAY + MAGIC - MAGIC
        if wide:
            t = r_0 + r_1 + r_d
            x = t * (top * 2.0**-23) * (1 + 2.0**-30)
            c = x * (2.0**29 + 1)  # Veltkamp's splitting: what is left has 24 bits
            x = c - (c - x)
            if fault and t == -1.0:
                x = -16.0 * top
        else:
            r_0 = r_0 * 2.0**-13 + UP + MAGIC - MAGIC
            r_1 = r_1 * 2.0**-13 + UP + MAGIC - MAGIC
            r_d = r_d * 2.0**-13 * AWAY + MAGIC - MAGIC
            x = (r_0 + r_1 + r_d) * (top * 2.0**-10) * (1 + 2.0**-30)
            c = x * (2.0**45 + 1)  # 8 bits
            x = c - (c - x)
        x = x if abs(x) >= 2.0**-126 else 0.0
        dst[j] = min(max(x, -(2.0**128)), 2.0**128)


@compiled
def mvmul(b: Parts, a: Parts, dst: Parts, work: Parts, phase: int, half: int, wide: bool, fault: bool) -> None:
    """DST [32] + 16 of the products in a phase, after `align`: `specification.mvmul`."""
    part_a, part_b = 1 + (phase & 1), 1 + (phase >> 1)
    total, scale = work[8:10], work[4:8]
    for h in range(2):
        g = 2 * half + h
        for j in range(32):
            signed = 0.0
            for k in range(8):
                signed += (b[part_b, 8 * g + k] * a[part_a, 8 * g + k, j] * scale[g, j] + MAGIC) - MAGIC
            total[h, j] = signed
    down = (2.0**-5 if phase & 1 else 1.0) * (2.0**-7 if phase >> 1 else 1.0)
    into_dst(total, work[2 * half : 2 * half + 2], down, dst, wide, fault)


@compiled
def matmul(b: Parts, a: Parts, dst: Parts, work: Parts, phases: int, wide: bool, fault: bool) -> None:
    """DST [cols, rows, 32] + b [rows, K / 32, 3, 32] by a [cols, K / 32, 3, 32, 32], in the order of the LLK."""
    for col in range(a.shape[0]):
        for k in range(a.shape[1]):
            for row in range(b.shape[0]):
                align(b[row, k], a[col, k], work)
                for phase in range(phases):
                    for half in range(2):
                        mvmul(b[row, k], a[col, k], dst[col, row], work, phase, half, wide, fault)


# -- blocks [tile rows, 32, tile columns, 32]; a column is [tile rows, 32, 1, 1 or more] ------------------------------------


@compiled
def sub_columns(x: Patterns, column: Patterns, wide: bool, fault: bool) -> None:
    """x <- x - column, as it stands in DST."""
    for r in range(x.shape[0]):
        for i in range(32):
            subtrahend = np.int64(column[r, i, 0, 0]) ^ SIGN
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    x[r, i, c, j] = elwadd(np.int64(x[r, i, c, j]), subtrahend, 0, wide, fault)


@compiled
def exponentials(x: Patterns, slope: int, blackhole: bool, wide: bool) -> None:
    """x <- the approximate exponential, as it stands in DST."""
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    x[r, i, c, j] = store(exp_approximate(np.int64(x[r, i, c, j]), slope, blackhole), wide)


@compiled
def relu(x: Patterns) -> None:
    """x <- `specification.relu`."""
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    if x[r, i, c, j] >> 31:
                        x[r, i, c, j] = 0


@compiled
def mul_columns(x: Patterns, column: Patterns, out: Patterns, phases: int, wide: bool, fault: bool) -> None:
    """out <- x * column, as it stands in DST."""
    for r in range(x.shape[0]):
        for i in range(32):
            factor = np.int64(column[r, i, 0, 0])
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    value = 0
                    for phase in range(phases):
                        value = elwmul(np.int64(x[r, i, c, j]), factor, value, phase, wide, fault)
                    out[r, i, c, j] = value


@compiled
def add(x: Patterns, y: Patterns, out: Patterns, wide: bool, fault: bool) -> None:
    """out <- x + y, as it stands in DST."""
    for i in range(x.size):
        out[i] = elwadd(np.int64(x[i]), np.int64(y[i]), 0, wide, fault)


@compiled
def max_rows(x: Patterns, out: Patterns, fresh: bool) -> None:
    """The largest of each row, `specification.gmpool`, and of what `out` [rows, 32, 1, 1] holds unless it is fresh."""
    for r in range(x.shape[0]):
        for i in range(32):
            best = -1 << 40 if fresh else order(np.int64(out[r, i, 0, 0]) & 0xFFFFE000)
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    value = np.int64(x[r, i, c, j])
                    best = max(best, order(value & 0xFFFFE000 if value >> 23 & 255 else 0))
            out[r, i, 0, 0] = best if best >= 0 else SIGN | ~best


@compiled
def order(x: int) -> int:
    """A key that sorts by sign and magnitude."""
    return ~(x & MAGNITUDE) if x >> 31 else x


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
def exp_columns(x: Patterns, scale: int, wide: bool, blackhole: bool) -> None:
    """x <- the correction's exponential, as it stands in DST."""
    for i in range(x.size):
        x[i] = exp_column(np.int64(x[i]), scale, wide, blackhole)


@compiled
def reciprocals(x: Patterns, approximate: bool, wide: bool, blackhole: bool, streaming: bool, seeds: Seeds) -> None:
    """`specification.reciprocal`."""
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


@compiled
def pack_all(x: Patterns) -> None:
    """x <- bfloat16 as the packer makes it."""
    for i in range(x.size):
        x[i] = pack_bf16(np.int64(x[i]))
