"""Hardware profiles, as tt-metal's profiler writes them: what each device did in one call of an attention op."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tensix_sim.trace import RISCS

OP_CODE = re.compile("sdpa|scaleddotproductattention", re.IGNORECASE)
DEVICE_BITS = 10  # of a run host ID; the rest is the call: tt-metal tools/tracy
KERNEL = "kernel cycles"
UTILISATIONS = {
    "Avg FPU util on full grid (%)": "FPU, share of the grid",
    "Avg SFPU util on full grid (%)": "SFPU, share of the grid",
    "DRAM BW UTIL (%)": "DRAM, share of its rate",
}


class ProfileError(ValueError):
    """A file that is no profile, or does not say which of its calls is meant."""


@dataclass(frozen=True)
class Measured:
    """A device in a profile: its kernels' cycles, and figures by name, in cycles or as shares."""

    cycles: int
    figures: dict[str, float]


def read_profile(path: Path, clock_hz: int, call: int | None = None) -> dict[int, Measured]:
    """Read `ops_perf_results*.csv` or `profile_log_device.csv`, by device id; nanoseconds become cycles of `clock_hz`.

    Raises:
        ProfileError: the file is neither, holds no attention op, or several calls of which `call` names none.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first = file.readline()
        file.seek(0)
        if first.startswith("ARCH:"):
            return _device_log(path, file, call)
        if "OP CODE" in first:
            return _perf_results(path, file, clock_hz, call)
    raise ProfileError(f"{path}: neither ops_perf_results*.csv (a column OP CODE) nor profile_log_device.csv (begins with ARCH:)")


def kernel_column(risc: str) -> str:
    """Column with a RISC's longest kernel."""
    return f"DEVICE {risc.replace('_', '')} KERNEL DURATION [ns]"


def _perf_results(path: Path, file: Iterable[str], clock_hz: int, call: int | None) -> dict[int, Measured]:
    rows = [row for row in csv.DictReader(file) if OP_CODE.search(row.get("OP CODE") or "")]
    if not rows:
        raise ProfileError(f"{path}: no row whose OP CODE is an attention op")
    if call is not None or len({row["DEVICE ID"] for row in rows}) < len(rows):
        chosen = _one_call(path, {_call_of(int(row["GLOBAL CALL COUNT"])) for row in rows}, call)
        rows = [row for row in rows if _call_of(int(row["GLOBAL CALL COUNT"])) == chosen]
    return {int(row["DEVICE ID"]): _measured(path, row, clock_hz) for row in rows}


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


def _measured(path: Path, row: dict[str, str], clock_hz: int) -> Measured:
    def cycles(column: str) -> float | None:
        text = (row.get(column) or "").strip()
        return float(text) * clock_hz / 1e9 if text else None

    wall = cycles("DEVICE KERNEL DURATION [ns]")
    if wall is None:
        raise ProfileError(f"{path}: device {row['DEVICE ID']} has no DEVICE KERNEL DURATION [ns]")
    figures = {f"{risc} {KERNEL}": cycles(kernel_column(risc)) for risc in RISCS}
    figures["cores"] = float(row["CORE COUNT"]) if row.get("CORE COUNT") else None
    for column, name in UTILISATIONS.items():
        figures[name] = float(row[column]) / 100 if (row.get(column) or "").strip() else None
    return Measured(round(wall), {name: value for name, value in figures.items() if value is not None})


def _device_log(path: Path, file: Iterable[str], call: int | None) -> dict[int, Measured]:
    lines = csv.reader(islice(file, 1, None), skipinitialspace=True)
    header = [name.strip() for name in next(lines, [])]
    column = {name: i for i, name in enumerate(header)}
    zone, kind = ("zone name", "type") if "type" in column else ("zone name", "zone phase")
    needed = ("PCIe slot", "core_x", "core_y", "RISC processor type", "time[cycles since reset]", "run host ID", zone, kind)
    if missing := [name for name in needed if name not in column]:
        raise ProfileError(f"{path}: column {missing[0]!r} is missing; its columns are {', '.join(header)}")
    kernels: dict[int, dict[tuple[int, str, str, str], dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in lines:
        slot, x, y, risc, time, host_id, name, phase = (row[column[n]].strip() for n in needed)
        if name.endswith("-KERNEL") and not risc.startswith("ERISC"):
            edge = "start" if phase.lower() in ("zone_start", "begin") else "end"
            kernels[_call_of(int(host_id))][int(slot), x, y, risc][edge] = int(time)
    if not kernels:
        raise ProfileError(f"{path}: no kernel zones")
    return _kernel_times(kernels[_one_call(path, kernels, call)])


def _kernel_times(kernels: dict[tuple[int, str, str, str], dict[str, int]]) -> dict[int, Measured]:
    devices: dict[int, list[tuple[tuple[str, str], str, int, int]]] = defaultdict(list)
    for (slot, x, y, risc), times in kernels.items():
        if times.keys() >= {"start", "end"}:
            devices[slot].append(((x, y), risc, times["start"], times["end"]))
    found = {}
    for slot, zones in sorted(devices.items()):
        figures = {
            f"{risc} {KERNEL}": float(max(end - start for _, other, start, end in zones if other == risc))
            for risc in sorted({risc for _, risc, _, _ in zones})
        }
        figures["cores"] = float(len({core for core, _, _, _ in zones}))
        found[slot] = Measured(max(end for *_, end in zones) - min(start for _, _, start, _ in zones), figures)
    return found
