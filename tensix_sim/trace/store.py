"""A trace on disk: one `.npz` file, a column an array, written and read in pieces, so that its length does not matter.

`np.load` opens it: `spans.start`, `counts.value`, `transfers.nbytes` and so on are the columns, `names`, `lanes` and
`counters` what their numbers stand for.
"""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import ValidationError

from tensix_sim.arch import machine
from tensix_sim.arch.model import unknown_name
from tensix_sim.config import RunSpec, load_spec
from tensix_sim.files import atomic_path, frame
from tensix_sim.text import Shown, counted, flat
from tensix_sim.trace import perfetto
from tensix_sim.trace.causes import read
from tensix_sim.trace.folder import MARK, MARKED, starts_with
from tensix_sim.trace.queries import check_counts, check_lanes
from tensix_sim.trace.table import BLOCK, Records, Table
from tensix_sim.trace.trace import Level, Trace
from tensix_sim.trace.writers import Devices, write_chrome, write_core_csv, write_transfers_csv
from tensix_sim.user_errors import UserError

SUMMARY = "summary.json"
TAIL = "tail-"  # files of what follows the op on a device
SCHEMA = 2  # of a summary; another one is not read
TEXTS = (  # that have the run's id near their start
    "trace.pftrace", "trace.json", "trace.json.gz", "cores.csv", "transfers.csv", "report.html",
)  # fmt: skip
# What the zip and array readers raise for a file that is no trace
BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, LookupError, ValueError, EOFError, NotImplementedError, RuntimeError,
    TypeError, AttributeError, OverflowError,
)  # fmt: skip
# Columns that hold places in a list of the trace, by table
PLACES: dict[str, dict[str, Callable[[Trace], int]]] = {
    "spans": {"lane": lambda t: len(t.lanes), "name": lambda t: len(t.names), "line": lambda t: len(t.lines)},
    "counts": {"series": lambda t: len(t.counters)},
    "transfers": {"lane": lambda t: len(t.lanes), "kind": lambda t: len(t.names)},
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member: same trace, same bytes


class RunError(UserError, ValueError):
    """A folder or file that holds no run."""


@dataclass(frozen=True, repr=False)
class Run(Shown):
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
        try:
            inputs = {key: value for key, value in given["inputs"].items() if key not in ("q", "k", "v")}
            spec = load_spec({**given, "inputs": inputs})
            machine(spec.board).override(spec.machine)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise RunError(
                f"a run of another version: {'.'.join(map(str, wrong['loc']))} = {wrong['input']!r} is unknown here; run again"
            ) from error
        except (LookupError, TypeError, AttributeError) as error:
            raise RunError(f"a run of another version: its spec: {type(error).__name__}: {error}; run again") from error
        return spec

    @property
    def id(self) -> str:
        """What all files of the run have in them."""
        return str(self.summary["run"])

    def __repr__(self) -> str:
        spec, devices = self.summary["spec"], self.summary["devices"]
        cycles = max(device["cycles"] for device in devices)
        traced = f"{len(self.traces)} traced"
        return f"Run({spec['op']} on {spec['board']}: {counted(len(devices), 'device')}, {cycles:,} cycles, {traced})"

    def frame(self, of: Literal["devices", "waits", "servers"] = "devices", by: str | None = None) -> Any:
        """A table as a DataFrame of pandas or, where that is missing, polars; `by` chooses one of the two.

        Of devices a row is a device with its figures; of waits and servers each wait of a lane, and each bank, link and port.

        Raises:
            UsageError: neither is installed, or not the one that was chosen.
            KeyError: there is no such table.
        """
        return figure_frame(self.summary["devices"], of, by)


def figure_frame(devices: Sequence[Mapping[str, Any]], of: str, by: str | None) -> Any:
    """Figures of devices, as summaries have them, as a DataFrame: see `Run.frame`."""
    if of not in ("devices", "waits", "servers"):
        raise unknown_name("table", of, ("devices", "waits", "servers"))
    return frame(_figure_columns(devices, of), by)


def _figure_columns(devices: Sequence[Mapping[str, Any]], of: str) -> dict[str, NDArray[Any]]:
    if of == "devices":
        rows = [flat({name: value for name, value in d.items() if name not in ("waits", "servers")}) for d in devices]
    elif of == "waits":
        split = [(d, *key.split(": ", 1), cycles) for d in devices for key, cycles in d["waits"].items()]
        waits = [(d, lane, read(text), cycles) for d, lane, text, cycles in split]
        rows = [
            {"ring_id": d["ring_id"], "lane": lane, "cause": getattr(cause, "text", cause), "cycles": n, "share": n / d["cycles"]}
            for d, lane, cause, n in waits
        ]
    else:
        rows = [{"ring_id": d["ring_id"], "server": name, "busy": share} for d in devices for name, share in d["servers"].items()]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[Any]) -> NDArray[Any]:
    numbers = all(isinstance(value, int | float) for value in values)
    return np.array(values) if numbers else np.fromiter(values, object, len(values))


VIEWER_SPANS = 10_000_000  # of some 100 bytes each in the memory of a browser


def opens_in_a_viewer(devices: Devices) -> bool:
    """Whether the traces are short enough for Perfetto to open them."""
    return sum(len(trace.tables["spans"]) for _, trace in devices) <= VIEWER_SPANS


def write_traces(folder: Path, traces: Devices, clock_hz: int, run: str = "", tails: Devices = ()) -> None:
    """Write what a run recorded, if anything, and behind it its tails.

    `trace.pftrace` opens in Perfetto, if they are not too long for it; where the `perfetto` package is missing it is
    `trace.json.gz`, which chrome://tracing opens too. `cores.csv` has each core's cycles by RISC and wait cause,
    `device-<ring_id>.npz` is the trace by columns (`open_run` and `np.load` read it), `tail-<ring_id>.npz` that of the tail,
    `transfers.csv` (at trace: transfers) has each burst's parts.
    """
    both = sorted([*traces, *tails], key=lambda device: device[0])
    levels = {trace.level for _, trace in traces}
    if levels != {"off"}:
        if opens_in_a_viewer(both) and perfetto.is_there():
            perfetto.write_perfetto(folder / "trace.pftrace", traces, clock_hz, run, tails)
        elif opens_in_a_viewer(both):
            write_chrome(folder / "trace.json.gz", both, clock_hz, run)
        write_core_csv(folder / "cores.csv", traces, run)
        for ring_id, trace in traces:
            save(folder / trace_file(ring_id), trace, run)
        for ring_id, trace in tails:
            save(folder / tail_file(ring_id), trace, run)
    if levels == {"transfers"}:
        write_transfers_csv(folder / "transfers.csv", both, run)


def save(path: Path, trace: Trace, run: str = "") -> None:
    """Write a trace; with the id of its `run` and its own name in it, `open_run` can tell it from another one.

    Raises:
        OSError: the file cannot be written; an older one stays as it was.
    """
    with atomic_path(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        about = {"level": trace.level, "notes": trace.notes, "units": trace.units} | (
            {"run": run, "file": path.name} if run else {}
        )
        words = {
            "about": [json.dumps(about, sort_keys=True)],
            "names": list(map(str, trace.names)),
            "lanes": [f"{x},{y} {risc}" for (x, y), risc in trace.lanes],
            "lines": [f"{number} {file}" for file, number in trace.lines[1:]],
            "sources": [json.dumps(trace.sources, sort_keys=True)],
            "counters": [f"{series.label}\t{series.unit}" for series in trace.counters],
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
            words = {name: _read_words(file, name) for name in ("about", "names", "lanes", "lines", "sources", "counters")}
            about = json.loads(words["about"][0])
            trace = Trace(cast(Level, about["level"]), spill_rows)
            trace.notes.update(about["notes"])
            trace.units.update(about.get("units", {}))
            for name in words["names"]:
                trace.name(read(name))
            for lane in words["lanes"]:
                place, risc = lane.split(" ")
                x, y = place.split(",")
                trace.lane((int(x), int(y)), risc)
            trace.sources.update((str(name), str(text)) for name, text in json.loads(words["sources"][0]).items())
            for line in words["lines"]:
                number, _, name = line.partition(" ")
                if int(number) < 1 or not name:
                    raise ValueError(f"line {number} of {name or 'no file'}")
                trace.line(name, int(number), "")
            for counter in words["counters"]:
                label, unit = counter.split("\t")
                x, y, what = re.findall(r"(?:\((\d+),(\d+)\) )?(.*)", label)[0]
                core = (int(x), int(y)) if x else None
                trace.series(what if core else what.removesuffix(f" {unit}"), unit, core)
            for name, table in trace.tables.items():
                for rows in _read_rows(file, name, table.dtype):
                    _check_rows(trace, name, rows)
                    table.extend(rows)
            tiles = not path.name.startswith(TAIL)  # of a tail, programs follow each other with time between them
            if wrong := (check_lanes(trace) if tiles else None) or check_counts(trace):
                raise ValueError(wrong)
    except BROKEN as error:
        raise _not_a_trace(path, error) from error
    return trace


def _not_a_trace(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: not a trace that `tensix-sim run` wrote ({error}); run again and leave its files as they are")


def _check_rows(trace: Trace, table: str, rows: Records) -> None:
    """Hold rows to what their columns mean: places that exist, times that do not go back.

    Raises:
        ValueError: a row breaks that; names the table and the column.
    """
    columns = rows.dtype.names or ()
    limits = {column: places(trace) for column, places in PLACES[table].items()}
    for column in columns if len(rows) else ():
        least, most = int(rows[column].min()), int(rows[column].max())
        if column in limits and not 0 <= least <= most < limits[column]:
            raise ValueError(f"{table}.{column} is from {least} to {most}, and there are {limits[column]}")
        if column in ("start", "end", "time") and least < 0:
            raise ValueError(f"{table}.{column} has {least}")
    if "end" in columns and (rows["end"] < rows["start"]).any():
        raise ValueError(f"{table}: a row ends before it starts")


def open_run(folder: str | PathLike[str], traces: bool = True) -> Run:
    """Read the run that `tensix-sim run` wrote into `folder`, with its traces unless told not to.

    Raises:
        RunError: there is no run, its files are broken, or not all of one run.
    """
    folder = Path(folder)
    path = folder / SUMMARY
    if not path.is_file():
        raise RunError(f"{folder}: no run is there, for it has no {SUMMARY}; `tensix-sim run` makes one in traces/runs")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        devices = [int(device["ring_id"]) for device in summary["devices"]]
        level = summary["spec"]["trace"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: not the summary of a run ({type(error).__name__}: {error})") from error
    traced, tailed = ([], []) if level == "off" else (devices, devices if "tail" in summary else [])
    names = [*map(trace_file, traced), *map(tail_file, tailed)]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RunError(f"{folder}: {', '.join(missing)} missing, although the run had trace: {level}; run again")
    _check_one_run(folder, summary, names)
    if not traces:
        return Run(summary, {})
    of_tails = {ring_id: load(folder / tail_file(ring_id)) for ring_id in tailed}
    return Run(summary, {ring_id: load(folder / trace_file(ring_id)) for ring_id in traced}, of_tails)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _check_one_run(folder: Path, summary: Mapping[str, Any], traces: list[str]) -> None:
    """Hold every file of a run's folder to the id in its summary, and every trace to its name.

    Raises:
        RunError: a file is of another run or has no id; names all such files.
    """
    run = summary.get("run")
    if not isinstance(run, str) or summary.get("schema") != SCHEMA:
        raise RunError(f"{folder}: a run of another version: {SUMMARY} has no id, or another schema than {SCHEMA}; run again")
    if others := [path.name for path in sorted(folder.iterdir()) if not _is_of(run, path, traces)]:
        what = f"{SUMMARY} is of run {run}; {', '.join(others)} {'is' if len(others) == 1 else 'are'} not"
        raise RunError(f"{folder}: runs are mixed: {what}, or not under the name that it was given; run again")


def _is_of(run: str, path: Path, traces: list[str]) -> bool:
    """Whether a file of a run's folder is of that run; what bears no id is not asked."""
    if fnmatch(path.name, trace_file("*")) or fnmatch(path.name, tail_file("*")):
        return path.name in traces and _stamp(path) == (run, path.name)
    marked = any(fnmatch(path.name, name) for name in MARKED) and starts_with(path, MARK)
    return starts_with(path, run) if marked or path.name in TEXTS else True


def _stamp(path: Path) -> tuple[object, object]:
    """The id of a trace's run, and the name that its file was given."""
    try:
        with zipfile.ZipFile(path) as file:
            about = json.loads(_read_words(file, "about")[0])
            return about.get("run"), about.get("file")
    except BROKEN as error:
        raise _not_a_trace(path, error) from error


def trace_file(ring_id: int | str) -> str:
    """Name of a device's trace in the folder of a run."""
    return f"device-{ring_id}.npz"


def tail_file(ring_id: int | str) -> str:
    """Name of the file with the trace of what a device did after the op."""
    return f"{TAIL}{ring_id}.npz"


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


def _read_rows(file: zipfile.ZipFile, name: str, dtype: np.dtype[np.void]) -> Iterator[Records]:
    """Records of a table, some at a time."""
    columns = dtype.names or ()
    with ExitStack() as stack:
        members = [stack.enter_context(file.open(f"{name}.{column}.npy")) for column in columns]
        lengths = {_read_length(member, dtype[column]) for column, member in zip(columns, members, strict=True)}
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


def _read_length(member: IO[bytes], dtype: np.dtype[Any]) -> int:
    npy.read_magic(member)
    (length,), _, found = npy.read_array_header_1_0(member)
    if found != dtype:
        raise ValueError(f"a column of {found}; {dtype} is needed")
    return int(length)


def _read_all(member: IO[bytes], size: int) -> bytes:
    data = member.read(size)
    if len(data) != size:
        raise EOFError(f"{size - len(data)} bytes are missing")
    return data
