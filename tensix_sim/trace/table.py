"""Records of integers that only grow, in bounded memory."""

import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from io import FileIO
from multiprocessing import reduction
from struct import Struct
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
BLOCK = 1 << 16  # rows that are read at a time


class Table:
    """Records of one structured dtype: the newest in memory, all before them in an anonymous temporary file.

    A plain pickle carries the rows themselves. Between processes the file goes as an open descriptor, so that
    a long trace never passes through memory and a process that dies leaves nothing behind.
    """

    __slots__ = ("__weakref__", "_file", "_spilled", "dtype", "limit", "pack", "rows")

    def __init__(self, dtype: np.dtype[np.void], limit: int) -> None:
        self.dtype = dtype
        self.limit = limit * dtype.itemsize
        self.pack = Struct("<" + "".join({4: "i", 8: "q"}[dtype[c].itemsize] for c in dtype.names or ())).pack
        self.rows = bytearray()
        self._file: IO[bytes] | None = None
        self._spilled = 0

    def append(self, *row: int) -> None:
        """Add one row; a struct.error if a value does not fit its column, an OSError if the disk is full."""
        self.rows += self.pack(*row)
        if len(self.rows) >= self.limit:
            self._spill()

    def extend(self, rows: Records) -> None:
        """Add rows of the table's dtype."""
        self.rows += rows.tobytes()
        self.trim()

    def trim(self) -> None:
        """Move what is in memory to the file, if it is more than the limit: for who adds packed rows by themselves."""
        if len(self.rows) >= self.limit:
            self._spill()

    def __len__(self) -> int:
        return (self._spilled + len(self.rows)) // self.dtype.itemsize

    def blocks(self) -> Iterator[Records]:
        """Read all rows in order, at most `BLOCK` at a time, as read-only arrays."""
        return (np.frombuffer(chunk, self.dtype) for chunk in self._chunks())

    def array(self) -> Records:
        """Read all rows as one read-only array."""
        return np.frombuffer(b"".join(self._chunks()), self.dtype)

    def _chunks(self) -> Iterator[bytes]:
        size = BLOCK * self.dtype.itemsize
        for at in range(0, self._spilled, size):
            assert self._file is not None
            self._file.seek(at)
            yield self._file.read(min(size, self._spilled - at))
        for at in range(0, len(self.rows), size):
            yield bytes(self.rows[at : at + size])

    def _spill(self) -> None:
        file = self._file or self._adopt(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
        file.seek(self._spilled)
        written = 0
        while written < len(self.rows):
            written += file.write(self.rows[written:])
        self._spilled += written
        self.rows.clear()

    def _adopt(self, file: IO[bytes]) -> IO[bytes]:
        weakref.finalize(self, file.close)
        self._file = file
        return file

    def __reduce__(self) -> tuple[Callable[..., "Table"], tuple[Any, ...]]:
        return _restore, (self.dtype, self.limit, b"".join(self._chunks()))


def _restore(
    dtype: np.dtype[np.void],
    limit: int,
    rows: bytes,
    descriptor: Any = None,
    spilled: int = 0,
) -> Table:
    table = Table(dtype, limit // dtype.itemsize)
    table.rows += rows
    if descriptor is not None:
        table._adopt(FileIO(descriptor.detach(), "r+"))
        table._spilled = spilled
    if len(rows) >= table.limit:
        table._spill()
    return table


if sys.platform != "win32":

    def _hand_over(table: Table) -> Any:
        if table._file is None:
            return table.__reduce__()
        descriptor = reduction.DupFd(table._file.fileno())
        return _restore, (table.dtype, table.limit, bytes(table.rows), descriptor, table._spilled)

    reduction.ForkingPickler.register(Table, _hand_over)
