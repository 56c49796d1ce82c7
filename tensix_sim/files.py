"""Files: written whole or not at all, JSON that is JSON, arrays that are mapped."""

import gzip
import io
import json
import math
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from numpy.lib import format as npy
from numpy.typing import NDArray

from tensix_sim.host import STDOUT, locked
from tensix_sim.user_errors import UsageError

HALF_WRITTEN = r"\.{}\.[0-9a-f]{{8}}"  # the name of a file until it is whole


@contextmanager
def atomic(path: str | Path) -> Iterator[TextIO]:
    """Open a text file that takes its name only when the block ends well; until then an older file keeps it. `-` is stdout."""
    if Path(path) == STDOUT:
        yield sys.stdout
        return
    with atomic_path(path) as written, open(written, "w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def zipped(path: Path) -> Iterator[TextIO]:
    """As `atomic`, compressed; the same text gives the same bytes."""
    with (
        atomic_path(path) as target,
        open(target, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        yield file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a name under which to write a file that takes the name `path` only when the block ends well.

    What killed runs left there of the same file goes.

    What is no regular file, such as /dev/stdout, is written as it stands. An OSError names `path`, whatever
    the file was called when it went wrong.
    """
    path = Path(path)
    in_place = path.exists() and not path.is_file()
    target = path if in_place else path.resolve()
    written = target if in_place else target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if in_place:
            yield written
        else:
            remove_dead(target.parent, HALF_WRITTEN.format(re.escape(target.name)), Path.unlink)
            written.touch()
            with locked(written):
                yield written
                written.replace(target)
    except BaseException as error:
        if not in_place:
            with suppress(OSError):
                written.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(written), str(target.parent)):
            error.filename = str(path)
        raise


def remove_dead(folder: Path, names: str, remove: Callable[[Path], object]) -> None:
    """Remove what killed runs left half-written in a folder, by a pattern of its names: what no process has locked."""
    for path in folder.iterdir():
        if re.fullmatch(names, path.name):
            with suppress(OSError), locked(path, wait=False):
                remove(path)


def try_target(path: Path) -> None:
    """Find out whether a file can be written, without touching it.

    Raises:
        OSError: it cannot.
    """
    if path == STDOUT:
        return
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    with suppress(_TriedError), atomic_path(path):
        raise _TriedError


class _TriedError(Exception):
    """The end of a trial."""


def write_text(path: Path, text: str) -> Path:
    """Write a small file."""
    with atomic(path) as file:
        file.write(text)
    return path


def write_json(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write figures as JSON with sorted keys; NaN and infinity, which JSON lacks, become null."""
    with atomic(path) as file:
        json.dump(finite(data), file, indent=2, sort_keys=True, allow_nan=False)
        file.write("\n")


def finite(value: Any) -> Any:
    """The same with None in place of NaN and infinities, which JSON lacks."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def frame(columns: Mapping[str, Any], by: str | None = None) -> Any:
    """Columns as a DataFrame of pandas or, where that is missing, polars; `by` chooses one of the two.

    Raises:
        UsageError: neither is installed, or not the one that was chosen.
    """
    wanted = [by] if by else ["pandas", "polars"]
    there = next((name for name in wanted if name in ("pandas", "polars") and find_spec(name)), None)
    if there is None:
        raise UsageError(f"a DataFrame needs {' or '.join(wanted)}, which is not installed: pip install pandas")
    texts = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    return import_module(there).DataFrame(texts)


def open_array(path: str, rank: int, kind: str) -> NDArray[Any]:
    """Map an .npy file of `rank` dimensions and NumPy dtype kind `kind` into memory, without reading its values.

    Raises:
        ValueError: there is no such array; the message is the end of a sentence about the file.

    """
    archive = False
    try:
        with open(path, "rb") as file:
            archive = file.read(4) == b"PK\3\4"
        array = npy.open_memmap(path, mode="r")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged header ends in nearly any
        raise ValueError(
            "is an archive; one .npy array is needed" if archive else "is not a whole .npy file of numbers"
        ) from error
    if array.dtype.kind != kind:
        raise ValueError(f"holds {array.dtype}; {'floating-point' if kind == 'f' else 'int32'} numbers are needed")
    if array.ndim != rank or 0 in array.shape:
        raise ValueError(f"has shape {array.shape}; {rank} dimensions, none of them 0, are needed")
    return array
