"""The arithmetic of a Tensix core in whole numbers: an executable specification, slow and obvious.

A value is the 32 bits of a float32 pattern; a bfloat16 has zeros in the lower 16. Each function is one rule, in the order
in which data pass: unpack, FPU, SFPU, pack. `exact` computes the same compiled, and is held to this bit for bit.

Sources: SIM = ttsim 1.10, the vendor's functional simulator; ISA = tt-isa-documentation; LLK = tt-llk, the kernels' own
library. UNVERIFIED: no source gives the last bit; what is assumed is said.
"""

from collections.abc import Callable, Sequence

SIGN, INFINITY, ONE, CANONICAL_NAN = 1 << 31, 0x7F800000, 0x3F800000, 0x7FC00000
BIAS = 127


# -- patterns ---------------------------------------------------------------------------------------------------


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


# -- unpack: memory to register (SIM; ISA UNPACR_Regular.md) -----------------------------------------------------


def decode_block(datum: int, shared: int, magnitude_bits: int) -> int:
    """A datum of a block format with its group's exponent, normalised. Minus zero reads as minus infinity."""
    negative, magnitude = datum >> magnitude_bits, datum & ((1 << magnitude_bits) - 1)
    if magnitude == 0:
        return SIGN | INFINITY if negative else 0
    shift = magnitude_bits - magnitude.bit_length()
    fraction = magnitude << shift & ((1 << (magnitude_bits - 1)) - 1)
    return negative << 31 | (shared - shift & 0xFF) << 23 | fraction << (24 - magnitude_bits)


def to_tf32(x: int) -> int:
    """Float32 to a source register with a 32-bit DST: the lower 13 bits are dropped; a denormal is zero, with its sign."""
    return flush(x) & 0xFFFFE000


def to_register_bf16(x: int) -> int:
    """Float32 to a source register with a 16-bit DST: the lower 16 bits are dropped; a denormal is zero, with its sign."""
    return flush(x) & 0xFFFF0000


# -- FPU: fidelity (SIM; ISA MatrixUnit.md) ----------------------------------------------------------------------


def register(x: int) -> tuple[int, int, int]:
    """A source register's datum: sign, exponent, and 11 significant bits. Exponent 255 is an exponent like any other."""
    return sign_of(x), exponent_of(x), significand_of(x) >> 13


def src_a_part(significand: int, phase: int) -> int:
    """5 of 11 bits of SrcA: the upper ones in even phases, the next in odd ones. The last bit is never used."""
    return significand >> 6 if phase % 2 == 0 else significand >> 1 & 31


def src_b_part(significand: int, phase: int) -> int:
    """The upper 7 of 11 bits of SrcB in phases 0 and 1, the last 4 in phases 2 and 3."""
    return significand >> 4 if phase < 2 else (significand & 15) << 3


def product(a: int, b: int, phase: int) -> tuple[int, int]:
    """One product of SrcA and SrcB: a signed integer P and an exponent X; it stands for P * 2^(X - 127 - 10).

    An operand that is zero gives 0 and an exponent of 0.
    """
    sign_a, exponent_a, m_a = register(a)
    sign_b, exponent_b, m_b = register(b)
    if m_a == 0 or m_b == 0:
        return 0, 0
    size = src_a_part(m_a, phase) * src_b_part(m_b, phase)
    exponent = exponent_a + exponent_b - BIAS - 5 * (phase % 2) - 7 * (phase // 2)
    return (-size if sign_a != sign_b else size), exponent


def group_sum(products: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Add up to 8 products, each aligned to the largest exponent, halves away from zero; no bit below is kept."""
    largest = max(exponent for _, exponent in products)
    if largest <= 0:
        return 0, 0
    total = 0
    for signed, exponent in products:
        aligned = half_up(abs(signed), largest - exponent)
        total += -aligned if signed < 0 else aligned
    return total, largest


# -- FPU: into DST (SIM) ---------------------------------------------------------------------------------------------


def shifted_sum(value: int, shift: int) -> int:
    """A group's signed sum, aligned: nearest, a half goes towards plus infinity."""
    if shift >= 31:
        return 0
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


def shifted_dst(value: int, shift: int) -> int:
    """What DST held, aligned: nearest, a half goes away from zero."""
    if shift >= 31:
        return 0
    aligned = half_up(abs(value), shift)
    return -aligned if value < 0 else aligned


def add_to_dst(groups: Sequence[tuple[int, int]], dst: int, fp32_dst: bool, quirk: bool) -> int:
    """DST + the sums of groups (an integer in units of 2^-10, an exponent), as DST keeps it.

    `quirk`: Wormhole's, with a 32-bit DST: a sum of exactly minus one unit comes out 2^27 times as large (SIM calls it a
    fault of the silicon's renormalisation).
    """
    old = -significand_of(dst) if sign_of(dst) else significand_of(dst)
    exponent = max(*(e for _, e in groups), exponent_of(dst))
    terms = [shifted_sum(value << 13, exponent - e) for value, e in groups]
    held = shifted_dst(old, exponent - exponent_of(dst))
    if not fp32_dst:
        terms = [shifted_sum(term, 13) << 13 for term in terms]
        held = shifted_dst(held, 13) << 13
    total = sum(terms) + held
    if quirk and fp32_dst and total == -1:
        return compose(1, 1, exponent + 4 - BIAS, 24)
    return compose(int(total < 0), abs(total), exponent - BIAS - 23, 24 if fp32_dst else 8)


def mvmul(a: Sequence[int], b: Sequence[int], dst: int, phase: int, fp32_dst: bool, quirk: bool = False) -> int:
    """One MVMUL, one element: DST + the 16 products of SrcA and SrcB in one fidelity phase."""
    products = [product(x, y, phase) for x, y in zip(a, b, strict=True)]
    return add_to_dst([group_sum(products[:8]), group_sum(products[8:])], dst, fp32_dst, quirk)


def matmul(b: Sequence[int], a: Sequence[int], phases: int, fp32_dst: bool, quirk: bool = False, dst: int = 0) -> int:
    """One element of a product of tiles: a row of in0 (SrcB) and a column of in1 (SrcA), 32 of each a tile.

    Order of the LLK (llk_math_matmul.h): tile by tile; in a tile phase by phase; in a phase its two halves.
    """
    for tile in range(0, len(a), 32):
        for phase in range(phases):
            for half in (tile, tile + 16):
                dst = mvmul(a[half : half + 16], b[half : half + 16], dst, phase, fp32_dst, quirk)
    return dst


def elwmul(a: int, b: int, phases: int, fp32_dst: bool, quirk: bool = False, dst: int = 0) -> int:
    """ELWMUL: as MVMUL, with a single product."""
    for phase in range(phases):
        dst = elwmul_phase(a, b, dst, phase, fp32_dst, quirk)
    return dst


def elwmul_phase(a: int, b: int, dst: int, phase: int, fp32_dst: bool, quirk: bool = False) -> int:
    """One fidelity phase of it."""
    return add_to_dst([group_sum([product(a, b, phase)]), (0, 0)], dst, fp32_dst, quirk)


def elwadd(a: int, b: int, fp32_dst: bool, quirk: bool = False, dst: int | None = None) -> int:
    """ELWADD, or ELWSUB with b's sign turned: the smaller is aligned to the larger's 11 bits. With `dst`, added to it."""
    (sign_a, exponent_a, m_a), (sign_b, exponent_b, m_b) = sorted((register(a), register(b)), key=lambda r: (r[1], r[2]))
    shift = exponent_b - exponent_a
    small = half_up(m_a, shift) if shift < 12 else 0
    total = (-small if sign_a else small) + (-m_b if sign_b else m_b)
    return add_to_dst([(total, exponent_b), (0, 0)], dst or 0, fp32_dst, quirk)


def elwsub(a: int, b: int, fp32_dst: bool, quirk: bool = False) -> int:
    """A - b."""
    return elwadd(a, b ^ SIGN, fp32_dst, quirk)


def gmpool(values: Sequence[int], held: int | None = None) -> int:
    """The largest of some register values and of what DST holds, if it holds anything, by sign and magnitude.

    NaN is a pattern like any other, and -0 is less than +0. Zeros and denormals of SrcA are +0; those that DST holds stay.
    """
    kept = [to_tf32(x) if exponent_of(x) else 0 for x in values]
    return max(kept if held is None else [held & 0xFFFFE000, *kept], key=lambda x: ~(x & 0x7FFFFFFF) if sign_of(x) else x)


# -- SFPU: multiply-add (SIM fma.cpp; ISA SFPMAD.md) ------------------------------------------------------------------


def flush(x: int) -> int:
    """A denormal operand is zero, with its sign."""
    return x if exponent_of(x) else x & SIGN


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


# -- SFPU: to and from DST -------------------------------------------------------------------------------------------


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


# -- SFPU: exponentials (LLK ckernel_sfpu_exp.h) ---------------------------------------------------------------------

EXP_B = 0x46FDE9A3  # 32500.818
LN2_RECIPROCAL = 0x3FB8AA3B
EXP_21F = (0x3F803885, 0x33A85ADA, 0x27ACA418)  # 1.0017248, 7.8396355e-8, 4.7917501e-15: g of n in [0, 2^23)
MINUS_LN2_HIGH, MINUS_LN2_LOW = 0xBF317000, 0xB805FDF4  # 0.693115234375, 3.19461832987e-5
TAYLOR = (0x39500D01, 0x3AB60B61, 0x3C088889, 0x3D2AAAAB, 0x3E2AAAAB, 0x3F000000, ONE, ONE)  # 1/5040 ... 1/2, 1, 1


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


BIAS_AS_FLOAT = 0x42FE0000


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


# -- SFPU: reciprocal (LLK ckernel_sfpu_recip.h, ckernel_sfpu_rsqrt_compat.h) -----------------------------------------

HALF, TWO = 0x3F000000, 0x40000000
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


# -- pack: DST to memory (SIM PACR; ISA Packers) ----------------------------------------------------------------------


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
