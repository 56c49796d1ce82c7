"""`numerics: exact`: what `specification` says, compiled, on blocks of tiles.

Two ways lead to the same bits. What is done once an element is in whole numbers, as in the specification. MVMUL, nearly all
of the work, is in float64, whose 53 bits hold each of its products and sums. To round to a multiple of a unit is to
scale, to add a number so large that nothing below its last bit is kept, and to take that away again. Float64 breaks ties
to even; a nudge too small to move anything else sends them where the hardware does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch.model import Numbers
from tensix_sim.formats import BFLOAT4_B, BFLOAT8_B, BFLOAT16, FLOAT32, TILE, Format
from tensix_sim.hw import network
from tensix_sim.hw.arithmetic import HIDDEN
from tensix_sim.hw.specification import (
    BIAS_AS_FLOAT,
    EXP_21F,
    EXP_B,
    LN2_RECIPROCAL,
    MINUS_LN2_HIGH,
    MINUS_LN2_LOW,
    SEED,
    TAYLOR,
    TWO,
)
from tensix_sim.program import ComputeConfig, Values

Patterns = NDArray[np.uint32]
Parts = NDArray[np.float64]

compiled: Callable[[Any], Any] = partial(network.compiled, error_model="numpy")

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
def _exponent(x: int) -> int:
    return x >> 23 & 255


@compiled
def _significand(x: int) -> int:
    return (x & 0x7FFFFF | 0x800000) if x >> 23 & 255 else 0


@compiled
def _half_up(size: int, shift: int) -> int:
    if shift <= 0:
        return size
    return (size + (1 << (shift - 1))) >> shift if shift < 62 else 0


@compiled
def _half_even(size: int, shift: int) -> int:
    if shift <= 0:
        return size
    if shift >= 62:
        return 0
    kept = size >> shift
    low, half = size - (kept << shift), 1 << (shift - 1)
    return kept + (low > half or (low == half and kept & 1 == 1))


@compiled
def _sticky(size: int, shift: int) -> int:
    if shift >= 62:
        return 1 if size else 0
    kept = size >> shift
    return kept | 1 if kept << shift != size else kept


@compiled
def _compose(negative: int, size: int, exponent: int, bits: int, even: bool) -> int:
    """The pattern of a number of `bits` bits next to size * 2^exponent: `specification.compose`."""
    if size == 0:
        return 0
    excess = (np.float64(size).view(np.int64) >> 52) - 1022 - bits
    if excess > 0:
        kept = _half_even(size, excess) if even else _half_up(size, excess)
    else:
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
def _shifted(value: int, shift: int) -> int:
    """A group's sum, aligned: `specification.shifted_sum`."""
    if shift >= 31:
        return 0
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


@compiled
def _add_to_dst(value: int, largest: int, dst: int, wide: bool, fault: bool) -> int:
    """DST + one group's sum: `specification.add_to_dst`."""
    exponent = max(largest, _exponent(dst))
    term = _shifted(value << 13, exponent - largest)
    shift = exponent - _exponent(dst)
    held = _half_up(_significand(dst), shift) if shift < 31 else 0
    if not wide:
        term = _shifted(term, 13) << 13
        held = _half_up(held, 13) << 13
    total = term - held if dst >> 31 else term + held
    if fault and wide and total == -1:
        return _compose(1, 1, exponent + 4 - 127, 24, False)
    return _compose(int(total < 0), abs(total), exponent - 127 - 23, 24 if wide else 8, False)


@compiled
def _elwadd(a: int, b: int, dst: int, wide: bool, fault: bool) -> int:
    """`specification.elwadd`."""
    small, large = a, b
    if (a & MAGNITUDE) >> 13 > (b & MAGNITUDE) >> 13:
        small, large = b, a
    shift = _exponent(large) - _exponent(small)
    m = _half_up(_significand(small) >> 13, shift) if shift < 12 else 0
    total = -m if small >> 31 else m
    m = _significand(large) >> 13
    total += -m if large >> 31 else m
    return _add_to_dst(total, _exponent(large), dst, wide, fault)


@compiled
def _elwmul(a: int, b: int, dst: int, phase: int, wide: bool, fault: bool) -> int:
    """`specification.elwmul_phase`."""
    m_a, m_b = _significand(a) >> 13, _significand(b) >> 13
    value, exponent = 0, 0
    if m_a and m_b:
        value = (m_a >> 1 & 31 if phase & 1 else m_a >> 6) * ((m_b & 15) << 3 if phase >= 2 else m_b >> 4)
        exponent = _exponent(a) + _exponent(b) - 127 - 5 * (phase & 1) - 7 * (phase >> 1)
        if exponent <= 0:
            value, exponent = 0, 0
        elif (a ^ b) >> 31 & 1:
            value = -value
    return _add_to_dst(value, exponent, dst, wide, fault)


# -- SFPU -------------------------------------------------------------------------------------------------------------


@compiled
def _mad_align(size: int, shift: int) -> int:
    return _sticky(size, shift) if shift < 62 and size >> shift else 0


@compiled
def _mad(x: int, y: int, z: int, blackhole: bool) -> int:
    """`specification.sfpmad`."""
    negative = (x ^ y) >> 31 & 1
    m_x, m_y, m_z = _significand(x), _significand(y), _significand(z)
    e_x, e_y, e_z = _exponent(x), _exponent(y), _exponent(z)
    infinite_x, infinite_y, infinite_z = x & MAGNITUDE == INFINITY, y & MAGNITUDE == INFINITY, z & MAGNITUDE == INFINITY
    product_is_nan = (
        x & MAGNITUDE > INFINITY or y & MAGNITUDE > INFINITY or (infinite_x and m_y == 0) or (infinite_y and m_x == 0)
    )
    infinite = infinite_x or infinite_y
    unordered = product_is_nan or z & MAGNITUDE > INFINITY or (infinite and infinite_z and negative != z >> 31)
    if unordered:
        if blackhole:
            return NAN
    elif infinite:
        return negative << 31 | INFINITY
    elif infinite_z:
        return z
    size, power = _sticky(m_x * m_y, 20), e_x + e_y - 280
    if unordered:
        power = min(power, 102)
    addend, addend_power = m_z << 3, e_z - 153
    if size == 0:
        power = addend_power
    if addend == 0:
        addend_power = power
    top = max(power, addend_power)
    size, addend = _mad_align(size, top - power), _mad_align(addend, top - addend_power)
    total = (-size if negative else size) + (-addend if z >> 31 else addend)
    result = _compose(int(total < 0), abs(total), top, 24, True)
    if unordered:
        fraction = 0 if _exponent(result) == 255 else result & 0x7FFFFF
        sign = negative if product_is_nan or not z & MAGNITUDE > INFINITY else z >> 31
        return sign << 31 | INFINITY | fraction | 1
    if result or not blackhole:
        return result
    return (int(total < 0) if total else negative & z >> 31) << 31


@compiled
def _store(x: int, wide: bool) -> int:
    """`specification.sfpstore`."""
    if x >> 23 & 255 == 0:
        return 0
    return x if wide else x & UPPER


@compiled
def _round_to_bf16(x: int) -> int:
    return x if x & MAGNITUDE > INFINITY else _half_even(x, 16) << 16


@compiled
def _exp_approximate(x: int, slope: int, blackhole: bool) -> int:
    """`specification.exp_approximate`."""
    i = _mad(x, slope, EXP_B, blackhole)
    shift = 127 + 23 - _exponent(i)
    size = 0x7FFF if shift < 0 else min(0x7FFF, _half_up(_significand(i), shift))
    return size << 15 | (SIGN if i >> 31 and size else 0)


@compiled
def _exp_16_bit(x: int, blackhole: bool) -> int:
    """`specification.exp_16_bit`."""
    t = _mad(x, LN2_RECIPROCAL, BIAS_AS_FLOAT, blackhole)
    t = 0 if t >> 31 else min(t, 0x437F0000)
    shift = _exponent(t) - 127
    z = _significand(t) << shift if shift >= 0 else _significand(t) >> min(-shift, 31)
    n = _compose(0, z & 0x7FFFFF, 0, 24, False)
    g = _mad(n, _mad(n, EXP_21F_2, EXP_21F_1, blackhole), EXP_21F_0, blackhole)
    return _round_to_bf16((z >> 23 & 255) << 23 | g & 0x7FFFFF)


@compiled
def _exp_32_bit(x: int, blackhole: bool) -> int:
    """`specification.exp_32_bit`."""
    if x & MAGNITUDE > INFINITY:
        return x
    z = _mad(x, LN2_RECIPROCAL, 0, blackhole)
    if z >> 31 == 0 and z >= 0x43000000:
        return INFINITY
    if z >> 31 and z & MAGNITUDE >= 0x42FE0000:
        return 0
    k = _half_even(_significand(z), 127 + 23 - _exponent(z)) if _exponent(z) > 87 else 0
    k_float = _compose(z >> 31, k, 0, 24, False)
    r = _mad(k_float, MINUS_LN2_LOW, _mad(k_float, MINUS_LN2_HIGH, x, blackhole), blackhole)
    p = TAYLOR[0]
    for i in range(1, 8):
        p = _mad(p, r, TAYLOR[i], blackhole)
    return (_exponent(p) + (-k if z >> 31 else k) & 255) << 23 | p & 0x7FFFFF


@compiled
def _exp_column(x: int, scale: int, wide: bool, blackhole: bool) -> int:
    """`specification.exp_column`."""
    scaled = _mad(x, scale & UPPER, 0, blackhole)
    return _store(_exp_32_bit(scaled, blackhole) if wide else _exp_16_bit(scaled, blackhole), wide)


@compiled
def _reciprocal_legacy(x: int, steps: int, blackhole: bool) -> int:
    """`specification.reciprocal_legacy`."""
    value = SIGN | 126 << 23 | x & 0x7FFFFF
    y = _mad(LN2_RECIPROCAL, _mad(value, LN2_RECIPROCAL, TWO, blackhole), 0, blackhole)
    for _ in range(steps - 1):
        y = _mad(y, _mad(value, y, TWO, blackhole), 0, blackhole)
    exponent = _exponent(y) - _exponent(x) + 126
    return 0 if exponent < 0 else (x & SIGN) | exponent << 23 | y & 0x7FFFFF


@compiled
def _reciprocal_newton(x: int, blackhole: bool) -> int:
    """`specification.reciprocal_newton`."""
    value = SIGN | 127 << 23 | x & 0x7FFFFF
    y = _mad(value, _mad(value, SEED_0, SEED_1, blackhole), SEED_2, blackhole)
    for _ in range(2):
        y = _mad(y, _mad(value, y, ONE, blackhole), y, blackhole)
    exponent = 254 - _exponent(x)
    scaled = _mad(y, exponent << 23, 0, blackhole) if exponent > 0 else 0
    return scaled & MAGNITUDE | x & SIGN


# -- pack ---------------------------------------------------------------------------------------------------------------


@compiled
def _pack_bf16(x: int) -> int:
    """`specification.pack_bf16`."""
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    return (x + 0x8000 & UPPER) if x >> 23 & 255 else 0


@compiled
def _ieee_sum(x: int, y: int, bits: int) -> int:
    small, large = x, y
    if _exponent(x) > _exponent(y):
        small, large = y, x
    distance = _exponent(large) - _exponent(small)
    kept = min(distance, 30)  # bits that the larger is shifted up; of what lies below, a sticky bit is enough
    low = _exponent(large) - kept
    a, b = _significand(large) << kept, _sticky(_significand(small), distance - kept)
    total = (-a if large >> 31 else a) + (-b if small >> 31 else b)
    result = _compose(int(total < 0), abs(total), low - 127 - 23, bits, True)
    return result if result or total else x & y & SIGN


@compiled
def _accumulate_bf16(held: int, x: int) -> int:
    """`specification.accumulate_bf16`."""
    infinite_held, infinite_x = held & MAGNITUDE == INFINITY, x & MAGNITUDE == INFINITY
    if infinite_held or infinite_x:
        if infinite_held and infinite_x and held != x:
            return NAN
        return held if infinite_held else x
    if held & MAGNITUDE > INFINITY:
        return held & SIGN | INFINITY
    if x & MAGNITUDE > INFINITY:
        return x & SIGN | INFINITY
    return _ieee_sum(held, x, 8)


@compiled
def _accumulate_fp32(held: int, x: int) -> int:
    """`specification.accumulate_fp32`."""
    infinite_held, infinite_x = held & MAGNITUDE == INFINITY, x & MAGNITUDE == INFINITY
    if held & MAGNITUDE > INFINITY or x & MAGNITUDE > INFINITY or (infinite_held and infinite_x and held != x):
        return NAN
    if infinite_held or infinite_x:
        return held if infinite_held else x
    return _ieee_sum(held, x, 24)


@compiled
def _unpack_block(negative: int, magnitude: int, shared: int) -> int:
    """A datum of 7 bits with its group's exponent: `specification.decode_block`."""
    if magnitude == 0:
        return 0
    shift = 7 - ((np.float64(magnitude).view(np.int64) >> 52) - 1022)
    return negative << 31 | (shared - shift & 255) << 23 | (magnitude << shift & 63) << 17


@compiled
def _pack_groups(x: Patterns, keep: int) -> None:
    """Groups of 16 [n, 16] to a block format, in place; `keep` masks the bits of 7 that it has: `specification.pack_block`."""
    for i in range(x.shape[0]):
        largest = 0
        for j in range(16):
            x[i, j] = _pack_bf16(np.int64(x[i, j]))
            largest = max(largest, _exponent(np.int64(x[i, j])))
        for j in range(16):
            value = np.int64(x[i, j])
            shift = largest - _exponent(value)
            seven = 0 if shift >= 8 else min(127, _half_up(_significand(value) >> 16, shift + 1))
            x[i, j] = _unpack_block(value >> 31, seven & keep, largest)


# -- MVMUL ----------------------------------------------------------------------------------------------------------------


@compiled
def _cut(x: Patterns, src_a: bool, out: Parts) -> None:
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
def _mvmul_tile(b: Parts, a: Parts, dst: Parts, work: Parts, phases: int, wide: bool, fault: bool) -> None:
    """DST [32] + a row of SrcB, b [3, 32], by a tile of SrcA, a [3, 32, 32]: 2 MVMULs in each phase."""
    largest, scale, total = work[0:4], work[4:8], work[8:10]
    for g in range(4):
        for j in range(32):
            top = 0.0
            for k in range(8):
                top = max(top, b[0, 8 * g + k] * a[0, 8 * g + k, j])
            largest[g, j] = top
            scale[g, j] = 1024.0 * AWAY / top if top > 0.0 else 0.0
    for phase in range(phases):
        part_a, part_b = 1 + (phase & 1), 1 + (phase >> 1)
        down = (2.0**-5 if phase & 1 else 1.0) * (2.0**-7 if phase >> 1 else 1.0)
        for half in range(2):
            for h in range(2):
                g = 2 * half + h
                for j in range(32):
                    signed = 0.0
                    for k in range(8):
                        signed += (b[part_b, 8 * g + k] * a[part_a, 8 * g + k, j] * scale[g, j] + MAGIC) - MAGIC
                    total[h, j] = signed
            _into_dst(total, largest[2 * half : 2 * half + 2], down, dst, wide, fault)


@compiled
def _into_dst(total: Parts, largest: Parts, down: float, dst: Parts, wide: bool, fault: bool) -> None:
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
def _matmul(b: Parts, a: Parts, dst: Parts, work: Parts, phases: int, wide: bool, fault: bool) -> None:
    """DST [cols, rows, 32] + b [rows, K / 32, 3, 32] by a [cols, K / 32, 3, 32, 32], in the order of the LLK."""
    for col in range(a.shape[0]):
        for k in range(a.shape[1]):
            for row in range(b.shape[0]):
                _mvmul_tile(b[row, k], a[col, k], dst[col, row], work, phases, wide, fault)


# -- blocks [tile rows, 32, tile columns, 32]; a column is [tile rows, 32, 1, 1 or more] ------------------------------------


@compiled
def _sub_columns(x: Patterns, column: Patterns, wide: bool, fault: bool) -> None:
    for r in range(x.shape[0]):
        for i in range(32):
            subtrahend = np.int64(column[r, i, 0, 0]) ^ SIGN
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    x[r, i, c, j] = _elwadd(np.int64(x[r, i, c, j]), subtrahend, 0, wide, fault)


@compiled
def _exponentials(x: Patterns, slope: int, blackhole: bool, wide: bool) -> None:
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(32):
                    x[r, i, c, j] = _store(_exp_approximate(np.int64(x[r, i, c, j]), slope, blackhole), wide)


@compiled
def _pack_relu(x: Patterns, to_bf16: bool) -> None:
    for r in range(x.shape[0]):
        for i in range(32):
            for c in range(x.shape[2]):
                for j in range(32):
                    value = np.int64(x[r, i, c, j])
                    value = _pack_bf16(value) if to_bf16 else value
                    x[r, i, c, j] = 0 if value >> 31 else value


@compiled
def _mul_columns(x: Patterns, column: Patterns, out: Patterns, phases: int, wide: bool, fault: bool) -> None:
    for r in range(x.shape[0]):
        for i in range(32):
            factor = np.int64(column[r, i, 0, 0])
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    value = 0
                    for phase in range(phases):
                        value = _elwmul(np.int64(x[r, i, c, j]), factor, value, phase, wide, fault)
                    out[r, i, c, j] = value


@compiled
def _add(x: Patterns, y: Patterns, out: Patterns, wide: bool, fault: bool) -> None:
    for i in range(x.size):
        out[i] = _elwadd(np.int64(x[i]), np.int64(y[i]), 0, wide, fault)


@compiled
def _max_rows(x: Patterns, out: Patterns, fresh: bool) -> None:
    """The largest of each row, `specification.gmpool`, and of what `out` [rows, 32, 1, 1] holds unless it is fresh."""
    for r in range(x.shape[0]):
        for i in range(32):
            best = -1 << 40 if fresh else _order(np.int64(out[r, i, 0, 0]))
            for c in range(x.shape[2]):
                for j in range(x.shape[3]):
                    best = max(best, _order(np.int64(x[r, i, c, j])))
            out[r, i, 0, 0] = best if best >= 0 else SIGN | -best


@compiled
def _order(x: int) -> int:
    if x >> 23 & 255 == 0:
        return 0
    x &= 0xFFFFE000
    return -(x & MAGNITUDE) if x >> 31 else x


@compiled
def _accumulate(onto: Patterns, x: Patterns, to_bf16: bool) -> None:
    for r in range(onto.shape[0]):
        for i in range(onto.shape[1]):
            for c in range(onto.shape[2]):
                for j in range(onto.shape[3]):
                    held, more = np.int64(onto[r, i, c, j]), np.int64(x[r, i, c, j])
                    onto[r, i, c, j] = _accumulate_bf16(held, more) if to_bf16 else _accumulate_fp32(held, more)


@compiled
def _exp_columns(x: Patterns, scale: int, wide: bool, blackhole: bool) -> None:
    for i in range(x.size):
        x[i] = _exp_column(np.int64(x[i]), scale, wide, blackhole)


@compiled
def _reciprocals(x: Patterns, steps: int, to_bf16: bool, wide: bool, blackhole: bool) -> None:
    """`steps` of the legacy body, or with 0 the newer one."""
    for i in range(x.size):
        value = np.int64(x[i])
        y = _reciprocal_legacy(value, steps, blackhole) if steps else _reciprocal_newton(value, blackhole)
        x[i] = _store(_round_to_bf16(y) if to_bf16 else y, wide)


@compiled
def _pack_all(x: Patterns) -> None:
    for i in range(x.size):
        x[i] = _pack_bf16(np.int64(x[i]))


# -- the verbs' values ------------------------------------------------------------------------------------------------------


class Exact:
    """`Arithmetic`, bit for bit as `chip` computes it. Between verbs a block holds exactly what its format has.

    `ideal` leaves steps out, to see what they cost: `fidelity` (operands are whole), `dst` (the FPU's sums are exact),
    `vector` (so are the SFPU's functions), `pack` and `accumulate` (nothing is rounded on the way to L1 and there). With
    any of them, values are float32 that no chip would have.
    """

    def __init__(self, config: ComputeConfig, chip: Numbers, ideal: frozenset[str] = frozenset()) -> None:
        self.phases = config.phases
        self.wide = config.fp32_dest_acc_en
        self.approximate_reciprocal = config.math_approx_mode
        self.blackhole = chip.ieee_vector_unit
        self.fault = chip.fp32_dest_fault
        self.ideal = ideal
        self._work = np.empty((10, TILE))

    # -- FPU --------------------------------------------------------------------------------------------------------------

    def matmul(self, a: Values, a_format: Format, b: Values, out: Format, transpose_b: bool) -> Values:
        """A x b as packed to `out`; a goes through SrcB, b through SrcA. With `transpose_b` the unpacker transposes b's tiles."""
        rows, inner, cols = a.shape[0], a.shape[2], b.shape[2]
        left = self._parts(np.ascontiguousarray(a).reshape(-1, TILE), src_a=False)
        tiles = b.transpose(2, 0, 3, 1) if transpose_b else b.transpose(2, 0, 1, 3)
        right = self._parts(np.ascontiguousarray(tiles).reshape(-1, TILE * TILE), src_a=True)
        dst = np.zeros((cols, rows * TILE, TILE))
        left, right = left.reshape(-1, inner, 3, TILE), right.reshape(cols, inner, 3, TILE, TILE)
        if "dst" in self.ideal:
            self._ideal_product(left, right, dst)
        else:
            _matmul(left, right, dst, self._work, self.phases, self.wide, self.fault)
        product = np.empty((rows, TILE, cols, TILE), np.float32)
        with np.errstate(over="ignore"):  # 2^128 is how DST has infinity here
            product[:] = dst.reshape(cols, rows, TILE, TILE).transpose(1, 2, 0, 3)
        return self.pack(product, out)

    def _parts(self, x: Values, src_a: bool) -> Parts:
        """Values [n, m] as a source register's reals [n, 3, m]."""
        parts = np.empty((x.shape[0], 3, x.shape[1]))
        _cut(self._register(x), src_a, parts)
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
        return x.view(np.uint32) & np.uint32(UPPER)

    def _ideal_product(self, left: Parts, right: Parts, dst: Parts) -> None:
        """The products that the fidelity phases make, added up exactly."""
        cols, inner = right.shape[:2]
        scale = ((1, 2.0**-5), (1, 2.0**-7))
        for phase in range(self.phases):
            odd, upper = phase & 1, phase >> 1
            b = left[:, :, 1 + upper].reshape(-1, inner * TILE)
            a = right[:, :, 1 + odd].reshape(cols, inner * TILE, TILE)
            dst += b @ a * (scale[0][odd] * scale[1][upper])

    def add(self, a: Values, b: Values) -> Values:
        """A + b, as it stands in DST."""
        if "dst" in self.ideal:
            return a + b
        out = np.empty(a.shape, np.float32)
        _add(_flat(a), _flat(b), _flat(out), self.wide, self.fault)
        return out

    def mul_columns(self, x: Values, x_format: Format, column: Values, column_format: Format) -> Values:
        """X * column, the column broadcast through SrcB; the result as it stands in DST."""
        if "dst" in self.ideal:
            return x * column
        out = np.empty(x.shape, np.float32)
        _mul_columns(_bits(x), _bits(column), _bits(out), self.phases, self.wide, self.fault)
        return out

    def sum_columns(self, x: Values, fmt: Format) -> Values:
        """Sum of the 32 columns of a tile by a product with a column of ones, as it stands in DST."""
        if "dst" in self.ideal:
            return x.sum(axis=3, keepdims=True, dtype=np.float64).astype(np.float32)
        ones = np.zeros((1, TILE, 1, TILE), np.float32)
        ones[:, :, :, 0] = 1
        return self.matmul(x, fmt, ones, FLOAT32, False)[:, :, :, :1]

    def max_rows(self, x: Values, fmt: Format, before: Values | None) -> Values:
        """Largest value of each row, and of `before` where given, as it stands in DST."""
        best = np.empty((x.shape[0], TILE, 1, 1), np.float32)
        if before is not None:
            best[:] = before
        _max_rows(_bits(x), _bits(best), before is None)
        return best

    # -- FPU, then SFPU, then the packer ------------------------------------------------------------------------------------

    def sub_exp(self, x: Values, column: Values, scale: float, fmt: Format) -> None:
        """x <- relu(exp((x - column) * scale)) in place, by the approximation without clamping, packed to `fmt`."""
        packs = "pack" not in self.ideal
        if "dst" in self.ideal:
            x -= column
        else:
            _sub_columns(_bits(x), _bits(column), self.wide, self.fault)
        if "vector" in self.ideal:
            with np.errstate(under="ignore"):
                x[:] = np.exp(x.astype(np.float64) * scale)
            if packs and not self.wide:
                x.view(np.uint32)[...] &= np.uint32(UPPER)
        else:
            _exponentials(_bits(x), _pattern(EXP_SLOPE * np.float32(scale)), self.blackhole, self.wide or not packs)
        _pack_relu(_bits(x), packs and fmt is not FLOAT32)

    def exp_difference(self, a: Values, b: Values, scale: float) -> Values:
        """exp((a - b) * scale) of columns, by the accurate polynomial; `scale` loses its lower 16 bits."""
        difference = np.array(a, np.float32)
        if "dst" in self.ideal:
            difference -= b
        else:
            _sub_columns(_bits(difference), _bits(b), self.wide, self.fault)
        if "vector" in self.ideal:
            difference = np.exp(difference.astype(np.float64) * scale).astype(np.float32)
        else:
            _exp_columns(_flat(difference), _pattern(np.float32(scale)), self.wide, self.blackhole)
        return self.pack(difference, BFLOAT16)

    def reciprocal(self, column: Values, fmt: Format, newton: bool = False) -> Values:
        """1 / column, packed to `fmt`: by the legacy kernel's body, or the streaming kernel's, `newton`."""
        inverse = np.array(column, np.float32)
        if "vector" in self.ideal:
            return self.pack(np.float32(1) / inverse, fmt)
        steps = 0 if newton else 2 if self.approximate_reciprocal else 3
        rounds = not self.wide and (newton or not self.approximate_reciprocal)
        _reciprocals(_flat(inverse), steps, rounds, self.wide, self.blackhole)
        return self.pack(inverse, fmt)

    # -- packer ---------------------------------------------------------------------------------------------------------------

    def pack(self, x: Values, fmt: Format) -> Values:
        """X as the packer writes it to L1 in `fmt`."""
        if fmt is FLOAT32 or "pack" in self.ideal:
            return x
        packed = np.array(x, np.float32, order="C")
        if fmt is BFLOAT16:
            _pack_all(_flat(packed))
        else:
            _pack_groups(packed.view(np.uint32).reshape(-1, 16), KEPT[fmt])
        return packed

    def accumulate(self, onto: Values, x: Values) -> None:
        """Packer L1 accumulation: onto <- bfloat16(onto + bfloat16(x)), in place."""
        self._accumulate(onto, self.pack(x, BFLOAT16), BFLOAT16)

    def row_sums(self, x: Values, fmt: Format) -> Values:
        """Sum the tiles of each tile row as accumulating packs do, one addition in `fmt` a tile: [rows, 32, 1, 32]."""
        if "accumulate" in self.ideal:
            return x.sum(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        total = np.array(x[:, :, :1], order="C")
        for tile in range(1, x.shape[2]):
            self._accumulate(total, x[:, :, tile : tile + 1], fmt)
        return total

    def stamp(self, onto: Values, tile: Values, fmt: Format) -> None:
        """Add a tile of the mask to tiles of `onto`, in `fmt`, by accumulating packs, in place."""
        hidden = np.maximum(tile, HIDDEN) if self.ideal else tile
        self._accumulate(onto, np.broadcast_to(hidden, onto.shape), fmt)

    def _accumulate(self, onto: Values, x: Values, fmt: Format) -> None:
        if "accumulate" in self.ideal:
            onto += x
        else:
            _accumulate(_bits(onto), _bits(x), fmt is not FLOAT32)


EXP_SLOPE = np.float32(256 * 1.4426950408889634)
KEPT = {BFLOAT8_B: 0b1111111, BFLOAT4_B: 0b1110000}


def _bits(x: Values) -> Patterns:
    return x.view(np.uint32)


def _flat(x: Values) -> Patterns:
    """Patterns of a contiguous array, as one row."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint32)


def _pattern(x: np.float32) -> int:
    return int(x.view(np.uint32))
