"""Whole numbers as text: each list its length and its values as variable-length bytes, deflated, in base64."""

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SEVEN = 7
BYTES = 10  # most that a number of 64 bits takes


def pack(*lists: ArrayLike) -> str:
    """Pack lists of whole numbers, none beyond 2^53, which is where JavaScript's end; negative ones cost no more than others."""
    parts: list[NDArray[np.int64]] = []
    for values in lists:
        numbers = np.asarray(values, np.int64)
        parts += [np.array([2 * len(numbers)]), (numbers << 1) ^ (numbers >> 63)]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(_bytes(parts)) + deflate.flush()).decode()


def unpack(text: str) -> list[NDArray[np.int64]]:
    """Read the lists that `pack` packed; the page's script has the same in its own language."""
    data = np.frombuffer(zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS), np.uint8).astype(np.int64)
    if not len(data):
        return []
    last = data < 1 << SEVEN
    first = np.flatnonzero(np.concatenate(([True], last[:-1])))
    place = np.arange(len(data)) - np.repeat(first, np.diff(np.append(first, len(data))))
    numbers = np.add.reduceat((data & 0x7F) << (SEVEN * place), first)
    numbers = (numbers >> 1) ^ -(numbers & 1)
    lists, at = [], 0
    while at < len(numbers):
        length = int(numbers[at])
        lists.append(numbers[at + 1 : at + 1 + length])
        at += 1 + length
    return lists


def deltas(values: ArrayLike) -> NDArray[np.int64]:
    """The first value, and how much each of the others is above the one before it."""
    numbers = np.asarray(values, np.int64)
    return numbers - np.concatenate(([0], numbers[:-1]))


def _bytes(parts: Sequence[NDArray[np.int64]]) -> bytes:
    """Seven bits a byte, the low ones first; all bytes of a number but its last have the top bit."""
    numbers = np.concatenate(parts).astype(np.uint64) if parts else np.empty(0, np.uint64)
    shifted = numbers[:, None] >> (np.uint64(SEVEN) * np.arange(BYTES, dtype=np.uint64))
    needed = (shifted > 0) | (np.arange(BYTES) == 0)
    more = np.pad(needed[:, 1:], ((0, 0), (0, 1)))
    return bytes(((shifted & np.uint64(0x7F)) | (more * np.uint64(0x80)))[needed].astype(np.uint8))
