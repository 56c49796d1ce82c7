"""FPU: source registers to DST. Sources: SIM; ISA MatrixUnit.md."""

from collections.abc import Sequence

from specification.patterns import BIAS, SIGN, compose, exponent_of, half_up, sign_of, significand_of
from specification.unpacker import to_tf32

# -- fidelity ----------------------------------------------------------------------------------------------------


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


# -- into DST ----------------------------------------------------------------------------------------------------


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
