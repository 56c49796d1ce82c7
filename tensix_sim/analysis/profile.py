"""Hardware profiles, as tt-metal's profiler writes them: what each device did in one call of an attention op, and which op.

A file that is cut off or malformed is refused at the first place that shows it; nothing of it is left out.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tensix_sim.arch import BOARDS
from tensix_sim.logged import OpTensor, todays_code, told
from tensix_sim.trace import RISCS
from tensix_sim.user_errors import UserError

OP_CODE = re.compile("(?i:sdpa|attention)|MLA|mla_|_mla")
NOT_ON_A_DEVICE = ("signpost", "python_fallback", "tt_dnn_cpu")  # OP TYPEs
DEVICE_BITS = 10  # of a run host ID; the rest is the call: tt-metal tools/tracy
KERNEL = "kernel cycles"
WALL = "DEVICE KERNEL DURATION [ns]"
UTILISATIONS = {
    "Avg FPU util on full grid (%)": "FPU, share of the grid",
    "Avg SFPU util on full grid (%)": "SFPU, share of the grid",
    "DRAM BW UTIL (%)": "DRAM, share of its rate",
}
CLOCKS = {machine.chip.name: machine.chip.clock_hz for machine in BOARDS.values()}
NUMBER = re.compile(r"[0-9]{1,19}(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
MOST = 1 << 63  # what no counter of a chip reaches
EDGES: dict[str, Literal["start", "end"]] = {"zone_start": "start", "begin": "start", "zone_end": "end", "end": "end"}
NO_EDGES = ("zone_total", "ts_data", "ts_event")
SHOWN = 60  # letters of a value in a message


class ProfileError(UserError, ValueError):
    """A file that is no profile, is broken, is of something else, or does not say which of its calls is meant."""


@dataclass(frozen=True)
class MeasuredZones:
    """A device in a profile: its kernels' cycles, and figures by name, in cycles or as shares."""

    cycles: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Profile:
    """A call in a profile. What the file does not tell is None, or not among `settings`; `notes` are sentences on it.

    `code` is the op's name in ttnn's logs of today, `arch` the chip's, `clock_hz` that of which all cycles are.
    """

    code: str | None
    arch: str | None
    clock_hz: int
    devices: dict[int, MeasuredZones]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_profile(path: Path, clock_hz: int | None = None, call: int | None = None, code: str | None = None) -> Profile:
    """Read `ops_perf_results*.csv` or `profile_log_device.csv`.

    Nanoseconds become cycles of the chip that the file names, of `clock_hz` if it names none. Of several attention ops the
    one of that `code` is taken; of several calls the one that `call` says.

    Raises:
        ProfileError: the file is neither, is malformed, holds no such op, or several calls of which `call` names none.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        lines = _Lines(path, file)
        first = next(lines, "")
        if first.startswith("ARCH:"):
            found = _device_log(path, first, lines, clock_hz, call)
        elif "OP CODE" in [name.strip(' "\r\n') for name in first.split(",")]:
            found = _perf_results(_Sheet(path, lines, first), clock_hz, call, code)
        else:
            what = "neither ops_perf_results*.csv (a column OP CODE) nor profile_log_device.csv (begins with ARCH:)"
            raise ProfileError(f"{path}: {what}")
        if not lines.ended:
            found.notes.append(f"{path}: the last line has no end; if the file was cut off there, rows may be missing")
    return found


def kernel_column(risc: str) -> str:
    """Column with a RISC's longest kernel."""
    return f"DEVICE {risc.replace('_', '')} KERNEL DURATION [ns]"


# -- lines, rows, numbers ----------------------------------------------------------------------------------------------


class _Lines:
    """The lines of a text file, one by one; `ended` says whether the last one read has its line end."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.number, self.ended = 0, True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.file)
        self.number, self.ended = self.number + 1, line.endswith(b"\n")
        try:
            text = line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = line[error.start : error.end]
            raise ProfileError(f"{self.path}, line {self.number}: {found!r} is not UTF-8") from error
        if control := CONTROL.search(text):
            raise ProfileError(f"{self.path}, line {self.number}: {control[0]!r} in a text file")
        return text


@dataclass(frozen=True)
class _Row:
    """A row of a table, its values by column."""

    path: Path
    line: int
    values: dict[str, str]

    def wrong(self, column: str, why: str) -> ProfileError:
        """The error that one of its values is."""
        value = self.values[column]
        shown = repr(value if len(value) <= SHOWN else value[:SHOWN] + "...")
        return ProfileError(f"{self.path}, line {self.line}: {column} is {shown}: {why}")

    def text(self, column: str) -> str:
        """A value; "" where there is no such column."""
        return self.values.get(column, "").strip()

    def number(self, column: str) -> float | None:
        """A number from 0 on; None if nothing stands there."""
        text = self.text(column)
        if not text:
            return None
        if text.startswith("-"):
            raise self.wrong(column, "nothing here is negative")
        if not NUMBER.fullmatch(text) or not float(text) < MOST:
            raise self.wrong(column, "no number")
        return float(text)

    def whole(self, column: str) -> int:
        """A whole number, which must stand there."""
        number = self.number(column)
        if number is None or not number.is_integer():
            raise self.wrong(column, "a whole number is needed")
        text = self.text(column)
        return int(text) if text.isdecimal() else int(number)

    def size(self, column: str) -> int | None:
        """A size without its padding, of `padded[size]`; None if nothing stands there."""
        if not (text := self.text(column)):
            return None
        if not (sizes := re.fullmatch(r"([0-9]{1,18})(\[([0-9]{1,18})\])?", text)):
            raise self.wrong(column, "no size of a tensor")
        return int(sizes[3] or sizes[1])


class _Sheet:
    """A CSV with a line of column names, as rows that are all as long as that."""

    def __init__(self, path: Path, lines: _Lines, first: str | None = None) -> None:
        self.path, self.before = path, lines.number if first is None else 0
        source: Iterator[str] = lines if first is None else chain([first], lines)
        self.rows = csv.reader(source, skipinitialspace=True, strict=True)
        self.header = [name.strip() for name in next(self._parsed(), [])]

    def need(self, *columns: str) -> None:
        """Refuse a table without one of these columns, or with two of one name."""
        if missing := [name for name in columns if name not in self.header]:
            found = ", ".join(" ".join(name.split()) for name in self.header)
            raise ProfileError(f"{self.path}: column {missing[0]!r} is missing; its columns are {found}")
        if twice := [name for name in self.header if name and self.header.count(name) > 1]:
            raise ProfileError(f"{self.path}: column {twice[0]!r} stands twice")

    def __iter__(self) -> Iterator[_Row]:
        for cells in self._parsed():
            line = self.before + self.rows.line_num
            if cells and len(cells) != len(self.header):
                cut = "; the file may be cut off" if len(cells) < len(self.header) else ""
                raise ProfileError(f"{self.path}, line {line}: {len(cells)} values for {len(self.header)} columns{cut}")
            if cells:
                yield _Row(self.path, line, dict(zip(self.header, cells, strict=True)))

    def _parsed(self) -> Iterator[list[str]]:
        try:
            yield from self.rows
        except csv.Error as error:
            raise ProfileError(f"{self.path}, line {self.before + self.rows.line_num}: no CSV: {error}") from error


# -- calls -------------------------------------------------------------------------------------------------------------


def _call_of(host_id: int) -> int:
    """The call that the devices of a mesh share."""
    return host_id >> DEVICE_BITS or host_id


def _one_call(path: Path, calls: Iterable[int], wanted: int | None) -> int:
    known = sorted(calls)
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted in known and wanted is not None:
        return wanted
    shown = ", ".join(map(str, known[:10])) + (", ..." if len(known) > 10 else "")
    raise ProfileError(f"{path}: holds {len(known)} calls of an attention op, {shown}; choose one with --call")


def _clock(path: Path, arch: str | None, given: int | None, notes: list[str]) -> int:
    """The clock of a chip that a file names, or else the given one, with a note."""
    if arch in CLOCKS:
        return CLOCKS[arch]
    if arch is not None:
        raise ProfileError(f"{path}: of {arch}, whose clock is not known here; known are {', '.join(CLOCKS)}")
    clock_hz = given or 10**9
    notes.append(f"{path}: names no chip; its nanoseconds are taken for cycles at {clock_hz / 1e6:,.0f} MHz")
    return clock_hz


# -- ops_perf_results*.csv ---------------------------------------------------------------------------------------------


def _perf_results(sheet: _Sheet, clock_hz: int | None, call: int | None, code: str | None) -> Profile:
    sheet.need("OP CODE", "GLOBAL CALL COUNT", "DEVICE ID", WALL)
    rows = [row for row in sheet if OP_CODE.search(row.text("OP CODE")) and row.text("OP TYPE") not in NOT_ON_A_DEVICE]
    if not rows:
        raise ProfileError(f"{sheet.path}: no row whose OP CODE is an attention op")
    if code is not None:
        rows = _of_op(rows, code)
    if call is not None or len({row.whole("DEVICE ID") for row in rows}) < len(rows):
        calls = [_call_of(row.whole("GLOBAL CALL COUNT")) for row in rows]
        chosen = _one_call(sheet.path, set(calls), call)
        rows = [row for row, its_call in zip(rows, calls, strict=True) if its_call == chosen]
    found = {row.whole("DEVICE ID"): row for row in rows}
    if len(found) < len(rows):
        twice = ", ".join(str(row.line) for row in rows)
        raise ProfileError(f"{sheet.path}: a device stands twice in one call, in lines {twice}; leave one run of the call")
    about = [_settings(row) for row in rows]
    for row, its in zip(rows, about, strict=True):
        if differ := sorted(name for name in its.keys() | about[0].keys() if its.get(name) != about[0].get(name)):
            what = f"of one call, but {', '.join(differ)} differ"
            raise ProfileError(f"{sheet.path}, lines {rows[0].line} and {row.line}: {what}")
    settings = about[0]
    code, arch = settings.pop("OP CODE"), settings.pop("DEVICE ARCH")
    notes: list[str] = []
    clock = _clock(sheet.path, arch, clock_hz, notes)
    devices = {device: _measured(row, clock) for device, row in sorted(found.items())}
    if settings.pop("use_mla", False):
        code = f"{code} with use_mla"
    return Profile(code, arch, clock, devices, settings, notes)


def _of_op(rows: Sequence[_Row], code: str) -> list[_Row]:
    """The rows of one op, of which there must be some."""
    if found := [row for row in rows if todays_code(row.text("OP CODE")) == code]:
        return found
    there = sorted({f"{row.text('OP CODE')} on {row.text('DEVICE ARCH') or 'a chip without a name'}" for row in rows})
    raise ProfileError(f"{rows[0].path}: another op: it has {', '.join(there)}; the other side is {code}: nothing to compare")


def _measured(row: _Row, clock_hz: int) -> MeasuredZones:
    def cycles(column: str) -> float | None:
        ns = row.number(column)
        return None if ns is None else ns * clock_hz / 1e9

    for column in row.values:
        if column.startswith("DEVICE ") and column.endswith("DURATION [ns]"):
            row.number(column)  # one that is broken is told, needed or not
    wall = cycles(WALL)
    if wall is None or round(wall) < 1:
        raise ProfileError(f"{row.path}: device {row.text('DEVICE ID')} has no {WALL} (line {row.line})")
    figures = {f"{risc} {KERNEL}": cycles(kernel_column(risc)) for risc in RISCS}
    figures["cores"] = row.number("CORE COUNT")
    for column, name in UTILISATIONS.items():
        share = row.number(column)
        figures[name] = None if share is None else share / 100
    return MeasuredZones(round(wall), {name: value for name, value in figures.items() if value is not None})


def _settings(row: _Row) -> dict[str, Any]:
    given = dict(re.findall(r"'(\w+)': '([^']*)'", row.text("ATTRIBUTES")))
    found = [_tensor(row, f"INPUT_{i}") for i in range(6)]
    inputs = [tensor for tensor in found[: found.index(None) if None in found else None] if tensor]
    settings = told(given, inputs, _tensor(row, "OUTPUT_0"), row.text("MATH FIDELITY"))
    for column, name in (("CORE COUNT", "cores of the grid"), ("AVAILABLE WORKER CORE COUNT", "cores of the chip")):
        if row.text(column):
            settings[name] = row.whole(column)
    code, arch = (" ".join(row.text(column).split()) for column in ("OP CODE", "DEVICE ARCH"))
    return settings | {"OP CODE": todays_code(code), "DEVICE ARCH": arch.lower() or None}


def _tensor(row: _Row, which: str) -> OpTensor | None:
    """A tensor of a row; None if the row does not have all of its shape."""
    sizes = [row.size(f"{which}_{axis}{suffix}") for axis in "WZYX" for suffix in ("_PAD[LOGICAL]", "")]
    w, z, y, x = (a if a is not None else b for a, b in zip(sizes[::2], sizes[1::2], strict=True))
    if w is None or z is None or y is None or x is None:
        return None
    return OpTensor(which, (w, z, y, x), row.text(f"{which}_DATATYPE"), row.text(f"{which}_MEMORY"))


# -- profile_log_device.csv --------------------------------------------------------------------------------------------

Zone = tuple[int, int, int, str]  # of a kernel: device, core x and y, RISC
Edge = tuple[str, int, int]  # start or end, its time, its line


def _device_log(path: Path, first: str, lines: _Lines, clock_hz: int | None, call: int | None) -> Profile:
    sheet = _Sheet(path, lines)
    phase = "type" if "type" in sheet.header else "zone phase"
    time, host, risc = "time[cycles since reset]", "run host ID", "RISC processor type"
    sheet.need("PCIe slot", "core_x", "core_y", risc, time, host, "zone name", phase)
    kernels: dict[int, dict[Zone, list[Edge]]] = defaultdict(lambda: defaultdict(list))
    for row in sheet:
        if row.text("zone name").endswith("-KERNEL") and not row.text(risc).startswith("ERISC"):
            edge = EDGES.get(row.text(phase).lower())
            if edge is None and row.text(phase).lower() not in NO_EDGES:
                raise row.wrong(phase, "neither a zone's start nor its end")
            if row.text(risc) not in RISCS:
                raise row.wrong(risc, f"one of {', '.join(RISCS)} is needed")
            zone = row.whole("PCIe slot"), row.whole("core_x"), row.whole("core_y"), row.text(risc)
            if edge:
                kernels[_call_of(row.whole(host))][zone].append((edge, row.whole(time), row.line))
    if not kernels:
        raise ProfileError(f"{path}: no kernel zones")
    chosen = kernels[_one_call(path, kernels, call)]
    arch, clock, notes = _chip(path, first, clock_hz)
    notes.append(f"{path}: a device log names neither its op nor its settings; that both sides are the same work is not checked")
    lives = {zone: _life(path, zone, edges) for zone, edges in chosen.items()}
    return Profile(None, arch, clock, _kernel_times(path, lives), notes=notes)


def _chip(path: Path, first: str, given: int | None) -> tuple[str | None, int, list[str]]:
    """The chip and its clock, of a log's first line."""
    parts = (part.partition(":") for part in first.split(","))
    said = {name.strip(): value.strip() for name, _, value in parts}
    arch, mhz, notes = said.get("ARCH", "").lower() or None, said.get("CHIP_FREQ[MHz]"), list[str]()
    if mhz is None:
        return arch, _clock(path, arch, given, notes), notes
    if not re.fullmatch(r"[1-9][0-9]{1,4}", mhz):
        raise ProfileError(f"{path}, line 1: CHIP_FREQ[MHz] is {mhz!r}: no clock of a chip")
    clock = int(mhz) * 10**6
    if arch is None:
        notes.append(f"{path}: names no chip")
    elif arch in CLOCKS and clock != CLOCKS[arch]:
        notes.append(f"{path}: measured at {mhz} MHz; {arch} is clocked at {CLOCKS[arch] // 10**6} MHz here")
    return arch, clock, notes


def _life(path: Path, zone: Zone, edges: Sequence[Edge]) -> tuple[int, int]:
    """The first and last cycle of a kernel."""
    slot, x, y, risc = zone
    where = f"{path}, line {edges[-1][2]}: device {slot} core {x},{y} {risc}"
    at = {edge: time for edge, time, _ in edges}
    if len(edges) > len(at):
        raise ProfileError(f"{where}: a second kernel in one call; leave one run of the call")
    if missing := {"start", "end"} - at.keys():
        raise ProfileError(f"{where}: the kernel has no {missing.pop()}; the file may be cut off")
    if at["end"] < at["start"]:
        raise ProfileError(f"{where}: the kernel ends at {at['end']}, before its start at {at['start']}")
    return at["start"], at["end"]


def _kernel_times(path: Path, lives: dict[Zone, tuple[int, int]]) -> dict[int, MeasuredZones]:
    devices: dict[int, list[tuple[tuple[int, int], str, int, int]]] = defaultdict(list)
    for (slot, x, y, risc), (start, end) in lives.items():
        devices[slot].append(((x, y), risc, start, end))
    found = {}
    for slot, zones in sorted(devices.items()):
        figures = {
            f"{risc} {KERNEL}": float(max(end - start for _, other, start, end in zones if other == risc))
            for risc in sorted({risc for _, risc, _, _ in zones})
        }
        figures["cores"] = float(len({core for core, _, _, _ in zones}))
        wall = max(end for *_, end in zones) - min(start for _, _, start, _ in zones)
        if not wall:
            raise ProfileError(f"{path}: the kernels of device {slot} take no time")
        found[slot] = MeasuredZones(wall, figures)
    return found
