"""Data formats: what a value becomes in each, how a tile lies in memory, and the roundings on the way.

Values are float32 arrays. A block format shares one exponent among 16 consecutive values of a row.
Sources: tt-metal blockfloat_common.cpp and bfloat16.cpp for the host; the ISA's packer and unpacker pages and
ttsim for the device.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Bits = NDArray[np.uint32]

TILE = 32
FACE = 16
GROUP = 16  # values that share an exponent
CHUNK = 1 << 16  # values converted at a time, so that the passes stay in cache


@dataclass(frozen=True, eq=False)
class Format:
    """A data format; `tile_bytes` is a 32x32 tile in memory, `datum_bytes` of it without shared exponents."""

    name: str
    tile_bytes: int
    datum_bytes: int
    is_block: bool
    magnitude_bits: int  # of a block format's datum, sign aside; 0 otherwise

    def __repr__(self) -> str:
        return self.name


FLOAT32 = Format("float32", 4096, 4096, False, 0)
BFLOAT16 = Format("bfloat16", 2048, 2048, False, 0)
BFLOAT8_B = Format("bfloat8_b", 1088, 1024, True, 7)
BFLOAT4_B = Format("bfloat4_b", 576, 512, True, 3)
FORMATS = {f.name: f for f in (FLOAT32, BFLOAT16, BFLOAT8_B, BFLOAT4_B)}


def largest(fmt: Format) -> np.float32:
    """The largest float32 that the host's conversion to `fmt` keeps finite; block formats saturate."""
    bits = np.uint32(0x7F7F7FFF if fmt is BFLOAT16 else 0x7F7FFFFF)
    return bits.view(np.float32)


# -- one float32 to another: roundings of the inner loop ------------------------------------------------------


def round_bf16(x: Values) -> Values:
    """Round to bfloat16, nearest, ties away from zero: packer and SFPSTOCHRND. Infinities stay; NaN may not."""
    return _keep(_bits(x) + np.uint32(0x8000), 0xFFFF0000)


def round_bf16_even(x: Values) -> Values:
    """Round to bfloat16, nearest, ties to even: the packer's L1 accumulation. Infinities stay; NaN may not."""
    bits = _bits(x)
    return _keep(bits + ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF), 0xFFFF0000)


def round_bfp8_source(x: Values) -> Values:
    """Cut to bfloat16, then round to its upper 7 bits, ties away from zero: what the packer makes a block format of."""
    return _keep(_bits(truncate_bf16(x)) + np.uint32(0x10000), 0xFFFE0000)


def truncate_bf16(x: Values) -> Values:
    """Drop the lower 16 bits: SFPSTORE to a 16-bit DST."""
    return _keep(_bits(x), 0xFFFF0000)


def src_a_high(x: Values) -> Values:
    """The 5 significant bits of SrcA that fidelity phases 0 and 2 multiply."""
    return _keep(_bits(x), 0xFFF80000)


def src_b_high(x: Values) -> Values:
    """The 7 significant bits of SrcB that fidelity phases 0 and 1 multiply."""
    return _keep(_bits(x), 0xFFFE0000)


def _bits(x: Values) -> Bits:
    return np.asarray(x, np.float32, order="C").view(np.uint32)


def _keep(bits: Bits, mask: int) -> Values:
    return np.asarray(bits & np.uint32(mask)).view(np.float32)


# -- to a format and back -------------------------------------------------------------------------------------


def to_format(x: Values, fmt: Format) -> Values:
    """The values that the host's conversion to `fmt` stores, for x [..., columns] with whole face rows of 16.

    bfloat16: nearest, ties to even. Block formats: the group's largest exponent; each significand is shifted to
    it without a sticky bit, then rounded to nearest, ties to even, and saturated. Denormals count as zero.
    """
    if fmt is FLOAT32:
        return np.array(x, np.float32)
    if fmt is BFLOAT16:
        result = round_bf16_even(x)
        result.view(np.uint32)[np.isnan(x)] = 0x7FC00000
        return result
    return _in_groups(x, fmt, _host_magnitudes)


def pack_to_format(x: Values, fmt: Format, fp32_dest: bool = False) -> Values:
    """The values that the packer writes to L1 in `fmt` from x [..., columns] in DST, which has 32 bits if `fp32_dest`.

    bfloat16: ties away from zero. Block formats round twice: to 7 bits, of x cut to bfloat16, ties away from zero, then
    to 7 bits of the group's largest exponent, halves up; bfloat4_b then cuts to 3, which biases it towards zero.
    NaN becomes infinity, denormals and -0 become 0. A 16-bit DST has nothing else to give to float32.
    """
    if fmt is FLOAT32 and fp32_dest:
        return np.array(x, np.float32)
    rounded = round_bfp8_source(x) if fmt.is_block else round_bf16(x)
    bits = rounded.view(np.uint32)
    np.copyto(bits, np.uint32(0x7F800000), where=np.isnan(x))
    zeros = (bits & np.uint32(0x7F800000)) == 0
    if fmt.is_block and not fp32_dest:
        zeros |= np.abs(x) < np.finfo(np.float32).tiny
    np.copyto(bits, np.uint32(0), where=zeros)
    return _in_groups(rounded, fmt, _packer_magnitudes) if fmt.is_block else rounded


def _in_groups(x: Values, fmt: Format, magnitudes: "Magnitudes") -> Values:
    """Share exponents: each group's values as sign * magnitude * 2^(E - 127 - bits + 1)."""
    if x.shape[-1] % GROUP:
        raise ValueError(
            f"{fmt.name} shares an exponent among {GROUP} values of a row; a row of {x.shape[-1]} is no multiple of that"
        )
    result = np.array(x, np.float32, order="C")
    flat = result.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        groups = flat[start : start + CHUNK].reshape(-1, GROUP)
        bits = groups.view(np.uint32)
        exponent = (bits >> np.uint32(23)) & np.uint32(0xFF)
        shared = exponent.max(axis=1, keepdims=True)
        significand = np.where(exponent > 0, (bits & np.uint32(0x7FFFFF)) | np.uint32(0x800000), np.uint32(0))
        magnitude = magnitudes(significand, shared - exponent, fmt.magnitude_bits)
        with np.errstate(over="ignore"):
            unit = np.ldexp(np.float32(1), shared.astype(np.int32) - (126 + fmt.magnitude_bits))
            size = magnitude.astype(np.float32)
            size *= unit
        np.copysign(size, groups, out=groups)
        groups += np.float32(0)  # -0 has no place in a block format
    return result


def _host_magnitudes(significand: Bits, shift: Bits, bits: int) -> Bits:
    aligned = significand >> np.minimum(shift, np.uint32(31))
    drop = np.uint32(24 - bits)
    even = (aligned >> drop) & np.uint32(1)
    rounded: Bits = np.minimum((aligned + even + np.uint32((1 << (23 - bits)) - 1)) >> drop, np.uint32((1 << bits) - 1))
    return rounded


def _packer_magnitudes(significand: Bits, shift: Bits, bits: int) -> Bits:
    few = np.minimum(shift, np.uint32(8))  # further away nothing is left
    rounded = ((significand >> np.uint32(16)) + (np.uint32(1) << few)) >> (few + np.uint32(1))
    seven: Bits = np.minimum(rounded, np.uint32(127))
    return seven >> np.uint32(7 - bits)


class Magnitudes(Protocol):
    """How a 24-bit significand, `shift` exponents below its group's, becomes a magnitude of `bits` bits."""

    def __call__(self, significand: Bits, shift: Bits, bits: int) -> Bits: ...  # noqa: D102


# -- tiles in memory ------------------------------------------------------------------------------------------


def tilize(x: Values) -> Values:
    """A matrix [R, C] as [R / 32 * C / 32, 4, 16, 16]: tiles row by row, faces row by row of a tile."""
    rows, cols = x.shape
    if rows % TILE or cols % TILE:
        raise ValueError(f"a {rows}x{cols} matrix is not whole {TILE}x{TILE} tiles")
    faces = x.reshape(rows // TILE, 2, FACE, cols // TILE, 2, FACE)
    return np.ascontiguousarray(faces.transpose(0, 3, 1, 4, 2, 5)).reshape(-1, 4, FACE, FACE)


def untilize(tiles: Values, shape: tuple[int, int]) -> Values:
    """The matrix of `shape` that `tilize` took apart."""
    rows, cols = shape
    faces = tiles.reshape(rows // TILE, cols // TILE, 2, 2, FACE, FACE)
    return np.ascontiguousarray(faces.transpose(0, 2, 4, 1, 3, 5)).reshape(rows, cols)


def encode(x: Values, fmt: Format) -> bytes:
    """A matrix, converted as the host does, as its tiles lie in memory.

    A tile of a block format is its 64 exponents, then its data; of two 4-bit data in a byte the first is the lower.
    """
    faces = tilize(to_format(x, fmt))
    if fmt is FLOAT32:
        return faces.astype("<f4").tobytes()
    if fmt is BFLOAT16:
        return (faces.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    original = tilize(np.asarray(x, np.float32)).view(np.uint32).reshape(-1, 64, GROUP)
    exponents = ((original >> np.uint32(23)) & np.uint32(0xFF)).max(axis=2)
    values = faces.reshape(-1, 64, GROUP)
    magnitude = np.ldexp(np.abs(values), 126 + fmt.magnitude_bits - exponents[..., None].astype(np.int32)).astype(np.uint8)
    data = (magnitude | (np.signbit(values).astype(np.uint8) << fmt.magnitude_bits)).reshape(len(values), -1)
    if fmt is BFLOAT4_B:
        data = data[:, ::2] | (data[:, 1::2] << 4)
    return np.concatenate([exponents.astype(np.uint8), data], axis=1).tobytes()


def decode(data: bytes, shape: tuple[int, int], fmt: Format) -> Values:
    """The matrix of `shape` that lies in memory as `data`; a datum that is minus zero reads as minus infinity."""
    tiles = shape[0] // TILE * (shape[1] // TILE)
    if len(data) != tiles * fmt.tile_bytes:
        raise ValueError(f"{len(data)} bytes; {shape[0]}x{shape[1]} in {fmt.name} are {tiles} tiles of {fmt.tile_bytes}")
    if fmt is FLOAT32:
        return untilize(np.frombuffer(data, "<f4").astype(np.float32), shape)
    if fmt is BFLOAT16:
        return untilize((np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32), shape)
    raw = np.frombuffer(data, np.uint8).reshape(tiles, fmt.tile_bytes)
    exponents, packed = raw[:, :64].astype(np.int32), raw[:, 64:]
    if fmt is BFLOAT4_B:
        packed = np.stack([packed & 15, packed >> 4], axis=2).reshape(tiles, -1)
    datum = packed.reshape(tiles, 64, GROUP)
    magnitude = datum & ((1 << fmt.magnitude_bits) - 1)
    negative = datum >> fmt.magnitude_bits == 1
    with np.errstate(over="ignore"):  # the largest exponent reaches infinity
        size = np.ldexp(magnitude.astype(np.float32), exponents[..., None] - (126 + fmt.magnitude_bits))
    size[negative & (magnitude == 0)] = np.inf
    return untilize(np.where(negative, -size, size), shape)
