"""Data formats: what a value becomes in each, how a tile lies in memory, and the roundings on the way.

Values are float32 arrays. A block format shares one exponent among 16 consecutive values of a row.
Sources: tt-metal blockfloat_common.cpp and bfloat16.cpp for the host; the ISA's packer and unpacker pages and
ttsim for the device.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Bits = NDArray[np.uint32]
Codes = NDArray[Any]

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
        shared, magnitude = _shared(groups, fmt, magnitudes)
        with np.errstate(over="ignore"):
            unit = np.ldexp(np.float32(1), shared.astype(np.int32) - (126 + fmt.magnitude_bits))
            size = magnitude.astype(np.float32)
            size *= unit
        np.copysign(size, groups, out=groups)
        groups += np.float32(0)  # -0 has no place in a block format
    return result


def _shared(groups: Values, fmt: Format, magnitudes: "Magnitudes") -> tuple[Bits, Bits]:
    """The largest exponent of each group [n, 1], and the magnitudes that it leaves [n, 16]."""
    bits = groups.view(np.uint32)
    exponent = (bits >> np.uint32(23)) & np.uint32(0xFF)
    shared = exponent.max(axis=1, keepdims=True)
    significand = np.where(exponent > 0, (bits & np.uint32(0x7FFFFF)) | np.uint32(0x800000), np.uint32(0))
    return shared, magnitudes(significand, shared - exponent, fmt.magnitude_bits)


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


# -- what memory holds, row by row ----------------------------------------------------------------------------


CODES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),
    **{f.name: np.dtype([("exponent", "u1"), ("data", "u1", (f.datum_bytes // 64,))]) for f in (BFLOAT8_B, BFLOAT4_B)},
}


def to_codes(x: Values, fmt: Format) -> Codes:
    """What memory holds of x [..., columns], with whole face rows of 16, converted as the host does: `CODES` of the format.

    A code is a value; of a block format it is a group, [..., columns / 16], with an exponent and 16 data. Of two 4-bit data in
    a byte the first is the lower.
    """
    if fmt is FLOAT32:
        return np.array(x, "<f4", order="C")
    if fmt.is_block and x.shape[-1] % GROUP:
        raise ValueError(f"{fmt.name} shares an exponent among {GROUP} values of a row; a row has {x.shape[-1]}")
    flat = np.ascontiguousarray(x, np.float32).reshape(-1)
    per_code = GROUP if fmt.is_block else 1
    codes: Codes = np.empty(flat.size // per_code, CODES[fmt.name])
    for start in range(0, flat.size, CHUNK):
        part, place = flat[start : start + CHUNK], slice(start // per_code, (start + CHUNK) // per_code)
        if fmt is BFLOAT16:
            codes[place] = to_format(part, fmt).view(np.uint32) >> np.uint32(16)
        else:
            codes[place]["exponent"], codes[place]["data"] = _of_groups(part.reshape(-1, GROUP), fmt)
    return codes.reshape(*x.shape[:-1], x.shape[-1] // GROUP) if fmt.is_block else codes.reshape(x.shape)


def _of_groups(groups: Values, fmt: Format) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    shared, magnitude = _shared(groups, fmt, _host_magnitudes)
    negative = np.signbit(groups) & (magnitude > 0)  # -0 has no place in a block format
    data = magnitude.astype(np.uint8) | (negative.astype(np.uint8) << np.uint8(fmt.magnitude_bits))
    if fmt is BFLOAT4_B:
        data = data[:, ::2] | (data[:, 1::2] << np.uint8(4))
    return shared[:, 0].astype(np.uint8), data


def from_codes(codes: Codes, fmt: Format) -> Values:
    """The values [..., columns] of what memory holds; a datum of a block format that is minus zero is minus infinity."""
    if fmt is FLOAT32:
        return codes.astype(np.float32)
    if fmt is BFLOAT16:
        bits = codes.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    flat = codes.reshape(-1)
    result = np.empty((flat.size, GROUP), np.float32)
    table = _values_of_bytes(fmt)
    for start in range(0, flat.size, CHUNK // GROUP):
        part = flat[start : start + CHUNK // GROUP]
        unit = np.ldexp(np.float32(1), part["exponent"].astype(np.int32) - (126 + fmt.magnitude_bits))
        with np.errstate(over="ignore"):  # the largest exponent reaches infinity
            result[start : start + len(part)] = table[part["data"]].reshape(-1, GROUP) * unit[:, None]
    return result.reshape(*codes.shape[:-1], codes.shape[-1] * GROUP)


@cache
def _values_of_bytes(fmt: Format) -> Values:
    """What a byte of data holds, in units of its group: [256, 1] values, or [256, 2] of 4 bits."""
    data = np.arange(256)[:, None] >> np.array([0, 4] if fmt is BFLOAT4_B else [0])
    magnitude = (data & ((1 << fmt.magnitude_bits) - 1)).astype(np.float32)
    negative = (data >> fmt.magnitude_bits) & 1 == 1
    return np.where(negative, np.where(magnitude == 0, -np.inf, -magnitude), magnitude).astype(np.float32)


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
    codes = to_codes(tilize(np.asarray(x, np.float32)), fmt)
    if not fmt.is_block:
        return codes.tobytes()
    tiles = codes.reshape(-1, 64)
    return np.concatenate([tiles["exponent"], tiles["data"].reshape(len(tiles), -1)], axis=1).tobytes()


def decode(data: bytes, shape: tuple[int, int], fmt: Format) -> Values:
    """The matrix of `shape` that lies in memory as `data`; a datum that is minus zero reads as minus infinity."""
    tiles = shape[0] // TILE * (shape[1] // TILE)
    if len(data) != tiles * fmt.tile_bytes:
        raise ValueError(f"{len(data)} bytes; {shape[0]}x{shape[1]} in {fmt.name} are {tiles} tiles of {fmt.tile_bytes}")
    if not fmt.is_block:
        return untilize(from_codes(np.frombuffer(data, CODES[fmt.name]), fmt), shape)
    raw = np.frombuffer(data, np.uint8).reshape(tiles, fmt.tile_bytes)
    groups = np.empty((tiles, 64), CODES[fmt.name])
    groups["exponent"], groups["data"] = raw[:, :64], raw[:, 64:].reshape(tiles, 64, -1)
    return untilize(from_codes(groups, fmt), shape)
