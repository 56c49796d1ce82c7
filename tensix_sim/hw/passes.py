"""What `Arithmetic` does to each value, in one pass over a block each: NumPy would take one for every operation.

Blocks are [tile row, row, tile column, column], columns have one value that counts in each row. `drop` is the number of lower
bits of a float32 that go.
"""

import numpy as np

from tensix_sim.formats import Values
from tensix_sim.hw import jit

compiled = jit.compiler()
SPLIT = np.float32(2**16 + 1)


@compiled
def cut(x: np.float32, drop: int) -> np.float32:
    """Without its lower bits."""
    return np.uint32(np.float32(x).view(np.uint32) & np.uint32(0xFFFFFFFF >> drop << drop)).view(np.float32)


@compiled
def nearest(x: np.float32, drop: int) -> np.float32:
    """Rounded, ties away from zero."""
    up = np.uint32(np.float32(x).view(np.uint32) + np.uint32(1 << drop >> 1))
    return np.uint32(up & np.uint32(0xFFFFFFFF >> drop << drop)).view(np.float32)


@compiled
def rounded(x: Values, drop: int) -> None:
    """x <- x rounded, ties away from zero."""
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                for i in range(x.shape[3]):
                    x[t, r, c, i] = nearest(x[t, r, c, i], drop)


@compiled
def subtract(x: Values, x_drop: int, column: Values, column_drop: int, drop: int) -> None:
    """x <- x - column, rounded."""
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            less = cut(column[t, r, 0, 0], column_drop)
            for c in range(x.shape[2]):
                for i in range(x.shape[3]):
                    x[t, r, c, i] = nearest(cut(x[t, r, c, i], x_drop) - less, drop)


@compiled
def multiply(x: Values, x_drop: int, column: Values, column_drop: int, drop: int, out: Values) -> None:
    """out <- x * column, rounded."""
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            factor = cut(column[t, r, 0, 0], column_drop)
            for c in range(x.shape[2]):
                for i in range(x.shape[3]):
                    out[t, r, c, i] = nearest(cut(x[t, r, c, i], x_drop) * factor, drop)


@compiled
def exp_fast(x: Values, slope: float, start: float, top: float, up: int) -> None:
    """x <- the float32 whose bits are the whole part of x * slope + start, from 0 to `top`, `up` bits up; 0 for NaN."""
    a, b, most = np.float32(slope), np.float32(start), np.float32(top)
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                for i in range(x.shape[3]):
                    power = x[t, r, c, i] * a + b
                    power = power if power > np.float32(0) else np.float32(0)
                    power = power if power < most else most
                    x[t, r, c, i] = np.int32(np.int32(power) * np.int32(1 << up)).view(np.float32)


@compiled
def exp_21f(x: Values, scale: float, terms: Values, out: Values) -> None:
    """out <- e^(x * scale) rounded to bfloat16, 0 for NaN: a parabola for 2^f; `terms` are log2 e and the parabola's."""
    factor = cut(np.float32(scale), 16)
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            for c in range(x.shape[2]):
                for i in range(x.shape[3]):
                    power = x[t, r, c, i] * factor * terms[0] + np.float32(127)
                    power = power if power > np.float32(0) else np.float32(0)
                    power = power if power < np.float32(255) else np.float32(255)
                    whole = np.int32(power)
                    n = (power - np.float32(whole)) * np.float32(2**23)
                    g = terms[1] + n * (terms[2] + n * terms[3])
                    out[t, r, c, i] = nearest(g * np.int32(whole << 23).view(np.float32) if whole > 0 else np.float32(0), 16)


@compiled
def add_up(x: Values, drop: int, narrow: bool, out: Values) -> None:
    """out [rows, 32, 1, columns] <- the tiles of each tile row, rounded, added one after the other; `narrow`: in bfloat16."""
    for t in range(x.shape[0]):
        for r in range(x.shape[1]):
            for i in range(x.shape[3]):
                out[t, r, 0, i] = nearest(x[t, r, 0, i], drop)
            for c in range(1, x.shape[2]):
                for i in range(x.shape[3]):
                    total = out[t, r, 0, i] + nearest(x[t, r, c, i], drop)
                    # Veltkamp's splitting: what is left has 8 bits, nearest, ties to even; it overflows near 2^111 only
                    scaled = total * SPLIT
                    out[t, r, 0, i] = (total - scaled) + scaled if narrow else total


@compiled
def accumulate(onto: Values, x: Values) -> None:
    """onto <- onto + x in bfloat16: x rounded, ties away from zero, the sum to even."""
    for t in range(onto.shape[0]):
        for r in range(onto.shape[1]):
            for c in range(onto.shape[2]):
                for i in range(onto.shape[3]):
                    bits = np.float32(onto[t, r, c, i] + nearest(x[t, r, c, i], 16)).view(np.uint32)
                    onto[t, r, c, i] = cut(np.uint32(bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)).view(np.float32), 16)
