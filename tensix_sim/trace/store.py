"""A trace on disk: one `.npz` file, a column an array, written and read in pieces, so that its length does not matter.

`np.load` opens it: `spans.start`, `counts.value`, `transfers.nbytes` and so on are the columns, `names`, `lanes` and
`counters` what their numbers stand for.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import ValidationError

from tensix_sim.config import RunSpec, load_spec
from tensix_sim.trace.files import atomic_path
from tensix_sim.trace.table import BLOCK, Rows, Table
from tensix_sim.trace.trace import Level, Trace

SUMMARY = "summary.json"
# What the zip and array readers raise for a file that is no trace
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, LookupError, ValueError, EOFError, NotImplementedError, RuntimeError)
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member: same trace, same bytes


class RunError(ValueError):
    """A folder or file that holds no run."""


@dataclass(frozen=True)
class Run:
    """A run read back from its folder: what `Result.summary()` gave, and each ring position's trace, and that of its tail."""

    summary: dict[str, Any]
    traces: dict[int, Trace]
    tails: dict[int, Trace] = field(default_factory=dict)

    @property
    def spec(self) -> RunSpec:
        """The spec. Shapes that came from files of values are in it; the files need not be there any more.

        Raises:
            RunError: it is not of this version.
        """
        given = self.summary["spec"]
        inputs = {key: value for key, value in given["inputs"].items() if key not in ("q", "k", "v")}
        try:
            return load_spec({**given, "inputs": inputs})
        except ValidationError as error:
            wrong = error.errors()[0]
            raise RunError(
                f"a run of another version: {'.'.join(map(str, wrong['loc']))} = {wrong['input']!r} is unknown here; run again"
            ) from error


def save(path: Path, trace: Trace) -> None:
    """Write a trace.

    Raises:
        OSError: the file cannot be written; an older one stays as it was.
    """
    with atomic_path(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        about = {"level": trace.level, "notes": trace.notes}
        words = {
            "about": [json.dumps(about, sort_keys=True)],
            "names": trace.names,
            "lanes": [f"{x},{y} {risc}" for (x, y), risc in trace.lanes],
            "counters": [f"{label}\t{unit}" for label, unit in trace.counters],
        }
        for name, texts in words.items():
            with _member(file, name) as member:
                npy.write_array(member, np.array(texts, dtype=str))
        for name, table in trace.tables.items():
            for column in table.dtype.names or ():
                with _member(file, f"{name}.{column}") as member:
                    _write_column(member, table, column)


def load(path: Path, spill_rows: int = 1 << 20) -> Trace:
    """Read a trace back.

    Raises:
        RunError: the file is no trace, or broken.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as file:
            words = {name: _read_words(file, name) for name in ("about", "names", "lanes", "counters")}
            about = json.loads(words["about"][0])
            trace = Trace(cast(Level, about["level"]), spill_rows)
            trace.notes.update(about["notes"])
            for name in words["names"]:
                trace.name(name)
            for lane in words["lanes"]:
                core, risc = lane.split(" ")
                x, y = core.split(",")
                trace.lane((int(x), int(y)), risc)
            for counter in words["counters"]:
                label, unit = counter.split("\t")
                trace.series(label, unit)
            for name, table in trace.tables.items():
                for rows in _read_rows(file, name, table.dtype):
                    table.extend(rows)
    except BROKEN as error:
        raise RunError(
            f"{path}: not a trace that `tensix-sim run` wrote ({error}); run again and leave its files as they are"
        ) from error
    return trace


def open_run(folder: Path, traces: bool = True) -> Run:
    """Read the run that `tensix-sim run` wrote into `folder`, with its traces unless told not to.

    Raises:
        RunError: there is no run, or its files are broken.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise RunError(f"{folder}: no run is there, for it has no {SUMMARY}; `tensix-sim run` makes one in traces/runs")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        devices = [device["ring_id"] for device in summary["devices"]]
        level = summary["spec"]["trace"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not the summary of a run ({type(error).__name__}: {error})") from error
    if not traces or level == "off":
        return Run(summary, {})
    tailed = devices if "tail" in summary else []
    names = [*map(trace_file, devices), *map(tail_file, tailed)]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RunError(f"{folder}: {', '.join(missing)} missing, although the run had trace: {level}; run again")
    of_tails = {ring_id: load(folder / tail_file(ring_id)) for ring_id in tailed}
    return Run(summary, {ring_id: load(folder / trace_file(ring_id)) for ring_id in devices}, of_tails)


def trace_file(ring_id: int) -> str:
    """Name of a device's trace in the folder of a run."""
    return f"device-{ring_id}.npz"


def tail_file(ring_id: int) -> str:
    """Name of the file with the trace of what a device did after the op."""
    return f"tail-{ring_id}.npz"


def _member(file: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    return file.open(info, "w", force_zip64=True)


def _write_column(member: IO[bytes], table: Table, column: str) -> None:
    dtype = table.dtype[column]
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(table),)}
    npy.write_array_header_1_0(member, header)
    for block in table.blocks():
        member.write(np.ascontiguousarray(block[column]).tobytes())


def _read_words(file: zipfile.ZipFile, name: str) -> list[str]:
    with file.open(f"{name}.npy") as member:
        words: list[str] = npy.read_array(member, allow_pickle=False).tolist()
    return words


def _read_rows(file: zipfile.ZipFile, name: str, dtype: np.dtype[np.void]) -> Iterator[Rows]:
    """Rows of a table, some at a time."""
    columns = dtype.names or ()
    with ExitStack() as stack:
        members = [stack.enter_context(file.open(f"{name}.{column}.npy")) for column in columns]
        lengths = {_read_length(member) for member in members}
        if len(lengths) != 1:
            raise ValueError(f"columns of {name} differ in length")
        (left,) = lengths
        while left:
            rows: NDArray[Any] = np.empty(min(left, BLOCK), dtype)
            for column, member in zip(columns, members, strict=True):
                rows[column] = np.frombuffer(_read_all(member, len(rows) * dtype[column].itemsize), dtype[column])
            yield rows
            left -= len(rows)
        if any(member.read(1) for member in members):  # at its end a member's checksum is compared
            raise ValueError(f"columns of {name} are longer than they say")


def _read_length(member: IO[bytes]) -> int:
    npy.read_magic(member)
    (length,), _, _ = npy.read_array_header_1_0(member)
    return int(length)


def _read_all(member: IO[bytes], size: int) -> bytes:
    data = member.read(size)
    if len(data) != size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data
