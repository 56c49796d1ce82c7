"""Unpacker, memory to register. Sources: SIM; ISA UNPACR_Regular.md."""

from specification.patterns import INFINITY, SIGN, flush


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
