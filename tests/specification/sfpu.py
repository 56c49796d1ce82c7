"""SFPU, on what DST holds. Sources: SIM; ISA; LLK, named beside each group of rules."""

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

# -- multiply-add (SIM fma.cpp; ISA SFPMAD.md) -----------------------------------------------------------------------


def sfpmad(x: int, y: int, z: int, blackhole: bool) -> int:
    """X * y + z, partly fused: of the product's 48 bits the last 20 become one sticky bit, then the sum is rounded to even.

    The product's exponent is looked at before it is normalised: from 255 on it is infinite, whatever the addend, and below
    0 it counts as zero.
    """
    x, y, z = flush(x), flush(y), flush(z)
    negative = sign_of(x) ^ sign_of(y)
    vanishes = significand_of(x) * significand_of(y) == 0
    infinite = is_infinite(x) or is_infinite(y)
    product_is_nan = is_nan(x) or is_nan(y) or (infinite and vanishes)
    if not vanishes and _product_exponent(x, y) >= 255:
        infinite |= not (blackhole and is_infinite(z))  # Blackhole: an addend's infinity wins
    unordered = product_is_nan or is_nan(z) or (infinite and is_infinite(z) and negative != sign_of(z))
    if unordered and blackhole:
        return CANONICAL_NAN
    if infinite and not unordered:
        return negative << 31 | INFINITY
    if is_infinite(z) and not unordered:
        return z
    total, exponent = _mad_sum(x, y, z, clamp=unordered)
    if blackhole:
        return _mad_result(total, exponent, zero_sign=int(total < 0) if total else negative & sign_of(z))
    if abs(total) >> 28:
        total = total & ~2 if total > 0 else -(-total & ~2)  # down by two bits, of which only the lower is sticky
    result = compose(int(total < 0), abs(total), exponent, 24, half_even)
    if not unordered:
        return result
    # Wormhole: exponent 255, the last fraction bit set, sign and the rest of the fraction as they happen to come out
    fraction = 0 if exponent_of(result) == 255 else result & 0x7FFFFF
    return (negative if product_is_nan or not is_nan(z) else sign_of(z)) << 31 | INFINITY | fraction | 1


def _product_exponent(x: int, y: int) -> int:
    """The biased exponent of x * y before it is normalised."""
    return exponent_of(x) + exponent_of(y) - BIAS


def _mad_sum(x: int, y: int, z: int, clamp: bool) -> tuple[int, int]:
    """The sum before it is rounded, 3 bits or 4 below 24: a signed integer and the power of two of its unit."""
    size, biased = sticky(significand_of(x) * significand_of(y), 20), _product_exponent(x, y)
    power = (min(biased, 255) if clamp else biased) - BIAS - 26
    addend, addend_power = significand_of(z) << 3, exponent_of(z) - BIAS - 26
    if not size or biased < 0:
        size, power = 0, addend_power
    if not addend:
        addend_power = power
    top = max(power, addend_power)
    size, addend = _mad_align(size, top - power), _mad_align(addend, top - addend_power)
    negative = sign_of(x) ^ sign_of(y)
    return (-size if negative else size) + (-addend if sign_of(z) else addend), top


def _mad_align(magnitude: int, shift: int) -> int:
    """Shift right with a sticky bit, which is lost if nothing else remains."""
    return sticky(magnitude, shift) if magnitude >> shift else 0


def _mad_result(total: int, exponent: int, zero_sign: int) -> int:
    """Blackhole's: with an exponent of 0 or less it is rounded to 23 bits. A carry gives 2^-126, all else a signed zero."""
    size = abs(total)
    if exponent + size.bit_length() - 1 + BIAS > 0:
        return compose(zero_sign, size, exponent, 24, half_even)
    carries = half_even(size, max(0, size.bit_length() - 23)) >> 23
    return zero_sign << 31 | carries << 23


def sfpmul(x: int, y: int, blackhole: bool) -> int:
    """SFPMUL is SFPMAD with a zero."""
    return sfpmad(x, y, 0, blackhole)


# -- to and from DST -------------------------------------------------------------------------------------------------


def sfpstore(x: int, fp32_dst: bool) -> int:
    """SFPSTORE: a 16-bit DST keeps the upper 16 bits, cut off; a denormal is zero, with its sign."""
    return flush(x) if fp32_dst else flush(x) & 0xFFFF0000


def round_to_bf16(x: int) -> int:
    """SFPSTOCHRND to bfloat16, nearest: a half goes away from zero. NaN becomes infinity; a denormal or zero +0."""
    if is_nan(x):
        return x & SIGN | INFINITY
    return half_up(x, 16) << 16 if exponent_of(x) else 0


def round_to_integer(x: int, limit: int) -> int:
    """SFPSTOCHRND to a signed integer, saturated: halves go away from zero."""
    shift = exponent_of(x) - BIAS - 23
    size = significand_of(x)
    size = limit if shift > 0 else min(limit, half_up(size, -shift))
    return -size if sign_of(x) else size


# -- exponentials (LLK ckernel_sfpu_exp.h) ---------------------------------------------------------------------------


def exp_approximate(x: int, slope: int, blackhole: bool) -> int:
    """Schraudolph's exponential without clamping: the bits are round(slope * x + B) << 15; `slope` is 256 / ln 2 * scale.

    Too small an x gives a negative number, which the packer's ReLU turns into zero.
    """
    number = round_to_integer(sfpmad(x, slope, EXP_B, blackhole), 0x7FFF)
    return abs(number) << 15 | (SIGN if number < 0 else 0)


def exp_16_bit(x: int, blackhole: bool) -> int:
    """The accurate exponential for a 16-bit DST (exp_21f, after Moroz et al.): a parabola for 2^f, rounded to bfloat16."""
    t = sfpmad(x, LN2_RECIPROCAL, BIAS_AS_FLOAT, blackhole)
    t = 0 if sign_of(t) else min(t, 0x437F0000)  # clamped to 0 ... 255
    shift = exponent_of(t) - BIAS
    z = significand_of(t) << shift if shift >= 0 else significand_of(t) >> -shift  # t * 2^23
    n = from_integer(z & 0x7FFFFF)
    g = sfpmad(n, sfpmad(n, EXP_21F[2], EXP_21F[1], blackhole), EXP_21F[0], blackhole)
    return round_to_bf16((z >> 23 & 0xFF) << 23 | g & 0x7FFFFF)


def from_integer(n: int) -> int:
    """An integer of up to 24 bits as float32: exact."""
    return compose(int(n < 0), abs(n), 0, 24)


def exp_32_bit(x: int, blackhole: bool) -> int:
    """The accurate exponential for a 32-bit DST: Cody and Waite's reduction, Taylor's polynomial of degree 7."""
    z = sfpmul(x, LN2_RECIPROCAL, blackhole)
    if sign_of(z) == 0 and z >= 0x43000000:
        return INFINITY  # 128 or more, or NaN
    if sign_of(z) and z & 0x7FFFFFFF >= 0x42FE0000:
        return 0  # -127 or less, or NaN
    shift = exponent_of(z) - BIAS - 23
    k = half_even(significand_of(z), -shift) if shift > -40 else 0
    k = -k if sign_of(z) else k
    k_float = from_integer(k)
    r = sfpmad(k_float, MINUS_LN2_LOW, sfpmad(k_float, MINUS_LN2_HIGH, x, blackhole), blackhole)
    p = TAYLOR[0]
    for coefficient in TAYLOR[1:]:
        p = sfpmad(p, r, coefficient, blackhole)
    return (exponent_of(p) + k & 0xFF) << 23 | p & 0x7FFFFF


def exp_column(x: int, scale: int, fp32_dst: bool, blackhole: bool) -> int:
    """The correction's exponential as it stands in DST: x * scale first; the scale has lost its lower 16 bits."""
    scaled = sfpmul(x, scale & 0xFFFF0000, blackhole)
    return sfpstore(exp_32_bit(scaled, blackhole) if fp32_dst else exp_16_bit(scaled, blackhole), fp32_dst)


# -- reciprocal (LLK ckernel_sfpu_recip.h, ckernel_sfpu_rsqrt_compat.h) -----------------------------------------------
HALF = 0x3F000000
SEED = (0x3EA57EBB, 0x3FBA2E90, 0x4007C1F2)  # 0.32323, 1.454546, 2.121212


def reciprocal_legacy(x: int, steps: int, blackhole: bool) -> int:
    """The LLK's older reciprocal: 1.44 for a guess, `steps` of Newton: 2 in approximate mode, else 3."""
    value = SIGN | 126 << 23 | x & 0x7FFFFF  # -1 < value <= -1/2
    y = sfpmul(LN2_RECIPROCAL, sfpmad(value, LN2_RECIPROCAL, TWO, blackhole), blackhole)
    for _ in range(steps - 1):
        y = sfpmul(y, sfpmad(value, y, TWO, blackhole), blackhole)
    exponent = exponent_of(y) - exponent_of(x) + 126
    return 0 if exponent < 0 else (x & SIGN) | exponent << 23 | y & 0x7FFFFF


def sfparecip(x: int, seeds: Sequence[int]) -> int:
    """SFPARECIP, Blackhole's seed: 7 bits of fraction by the upper 7 of x's."""
    exponent = exponent_of(x)
    if exponent == 0:
        return x & SIGN | INFINITY
    if exponent >= 253:
        return x & SIGN
    return x & SIGN | (253 - exponent) << 23 | seeds[x >> 16 & 127] << 16


def reciprocal_newton(x: int, seeds: Sequence[int]) -> int:
    """The newer one, `_sfpu_reciprocal_<2>`, which no kernel of the op asks for yet: a seed, then two steps of Newton.

    Without `seeds`, on Wormhole, the seed is a parabola and the exponent comes apart.
    """
    if seeds:
        y = sfparecip(x, seeds)
        t = sfpmad(x, y, SIGN | TWO, True)
        if is_nan(t) or not sign_of(t):
            return y
        y = sfpmad(y, t ^ SIGN, SIGN, True)
        return sfpmad(y, sfpmad(x, y, SIGN | TWO, True) ^ SIGN, SIGN, True)
    value = SIGN | BIAS << 23 | x & 0x7FFFFF  # -2 < value <= -1
    y = sfpmad(value, sfpmad(value, SEED[0], SEED[1], False), SEED[2], False)
    for _ in range(2):
        y = sfpmad(y, sfpmad(value, y, ONE, False), y, False)
    scale = sfpmul((255 - exponent_of(x)) << 23, HALF, False)  # infinite for a zero
    return sfpmul(y, scale, False) & 0x7FFFFFFF | x & SIGN


def reciprocal_8_bits(x: int, seeds: Sequence[int]) -> int:
    """Blackhole's for a 16-bit DST: is the number half a bit above the seed still below 1 / x? Then the next bfloat16."""
    y = sfparecip(x, seeds) | 0x8000
    return y + (sfpmad(x, y, SIGN | ONE, True) >> 16) & 0xFFFFFFFF


def reciprocal_24_bits(x: int, seeds: Sequence[int]) -> int:
    """Blackhole's for a 32-bit DST: with e = 1 - x y, the seed times 1 + e + e^2 + e^3, of which at most 1 is added."""
    y = sfparecip(x, seeds)
    e = sfpmad(x, y ^ SIGN, ONE, True)
    t = sfpmad(sfpmad(e, e, e, True), e, e, True)
    return sfpmad(t if sign_of(t) else min(t, ONE), y, y, True)


def reciprocal(x: int, approximate: bool, fp32_dst: bool, blackhole: bool, streaming: bool, seeds: Sequence[int]) -> int:
    """The kernels' reciprocal as it stands in DST: of `recip_tile` on Blackhole for the streaming one, else the older one.

    The older one is rounded to bfloat16 unless DST has 32 bits or the mode is approximate.
    """
    if streaming and seeds:
        if approximate:
            return sfpstore(sfparecip(x, seeds), fp32_dst)
        return sfpstore((reciprocal_24_bits if fp32_dst else reciprocal_8_bits)(x, seeds), fp32_dst)
    y = reciprocal_legacy(x, 2 if approximate else 3, blackhole)
    return sfpstore(y if fp32_dst or approximate else round_to_bf16(y), fp32_dst)
