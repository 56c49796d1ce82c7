"""FPU: `specification.fpu`, of single elements, products of tiles, and blocks.

Products are in float64, whose 53 bits hold each of them and their sums. To round to a multiple of a unit is to scale, to add a
number so large that nothing below its last bit is kept, and to take that away again. Float64 breaks ties to even; a nudge
too small to move anything else sends them where the hardware does.
"""

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import jit
from tensix_sim.hw.bitwise import patterns
from tensix_sim.hw.bitwise.patterns import MAGNITUDE, SIGN, Patterns, compose, exponent_of, half_up, significand_of

compiled = jit.compiler(patterns)

Parts = NDArray[np.float64]
MAGIC = 1.5 * 2.0**52  # x + MAGIC - MAGIC is x to the nearest integer
UP = 2.0**-20  # added before: halves go up
AWAY = 1 + 2.0**-26  # times this before: halves go away from zero
LEAST = 2.0**-127  # what an exponent of 0 stands for
POWERS = np.array([0.0] + [2.0 ** (e - 127) for e in range(1, 256)])


# -- element by element ------------------------------------------------------------------------------------------


@compiled
def shifted(value: int, shift: int) -> int:
    """A group's sum, aligned: `specification.fpu.shifted_sum`."""
    if shift >= 31:
        return 0
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


@compiled
def add_to_dst(value: int, largest: int, dst: int, wide: bool, fault: bool) -> int:
    """DST + one group's sum: `specification.fpu.add_to_dst`."""
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
    """`specification.fpu.elwadd`."""
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
    """`specification.fpu.elwmul_phase`."""
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


# -- products of tiles -------------------------------------------------------------------------------------------


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
    """`specification.fpu.add_to_dst` of two groups' sums [2, 32], in units of 2^-10 of their exponents."""
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
    """DST [32] + 16 of the products in a phase, after `align`: `specification.fpu.mvmul`."""
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


# -- blocks [tile rows, 32, tile columns, 32]; a column is [tile rows, 32, 1, 1 or more] --------------------------


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
    """out <- out + x + y, as it stands in DST."""
    for i in range(x.size):
        out[i] = elwadd(np.int64(x[i]), np.int64(y[i]), np.int64(out[i]), wide, fault)


@compiled
def max_rows(x: Patterns, out: Patterns, fresh: bool) -> None:
    """The largest of each row, `specification.fpu.gmpool`, and of what `out` [rows, 32, 1, 1] holds unless it is fresh."""
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
