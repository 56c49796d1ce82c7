"""A run as files that other tools open: tt-metal's profiler formats, tt-npe, ttnn-visualizer, Perfetto."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tensix_sim.emit import device_log, npe, parquet, perf_results, visualizer
from tensix_sim.emit.run import Emission
from tensix_sim.trace import Run, write_chrome
from tensix_sim.trace.perfetto import MissingPackageError, messages, write_perfetto
from tensix_sim.trace.writers import Devices
from tensix_sim.user_errors import UserError

__all__ = ["KINDS", "EmitError", "MissingPackageError", "check_kinds", "emit"]

KINDS = ("device-log", "perf-csv", "npe", "visualizer", "perfetto", "json", "parquet")


class EmitError(UserError, ValueError):
    """What was asked for cannot be made of this run."""


def emit(run: Run, kinds: Iterable[str], folder: Path, name: str | None = None) -> list[Path]:
    """Write a run in other tools' formats into `folder`; the files that were written.

    `device-log` is profile_log_device.csv, `perf-csv` ops_perf_results_<name>.csv, by the folder's name if none is given,
    `npe` a NoC trace for each device, `visualizer` the folder that ttnn-visualizer opens, `perfetto` trace.pftrace,
    `json` trace.json in Chrome's form, `parquet` spans and counters of each device by columns.

    Raises:
        EmitError: no such kind, or the run's trace has too little for it.
        MissingPackageError: a kind needs a package that is not installed.
        OSError: a file cannot be written.
    """
    wanted = list(dict.fromkeys(kinds))
    if not wanted:
        return []
    emission = Emission(run)
    check_kinds(wanted, emission.job.spec.trace)
    folder.mkdir(parents=True, exist_ok=True)
    results = f"ops_perf_results_{name or folder.resolve().name}.csv"
    write: dict[str, Callable[[], list[Path]]] = {
        "device-log": lambda: [device_log.write(emission, folder / "profile_log_device.csv")],
        "perf-csv": lambda: [perf_results.write(emission, folder / results)],
        "npe": lambda: npe.write_traces(emission, folder),
        "visualizer": lambda: visualizer.write(emission, folder / "ttnn-visualizer", results),
        "parquet": lambda: parquet.write(emission, folder),
        "perfetto": lambda: [write_perfetto(folder / "trace.pftrace", *_of(emission), sorted(run.tails.items()))],
        "json": lambda: [_chrome(emission, folder / "trace.json")],
    }
    return [path for kind in wanted for path in write[kind]()]


def _of(emission: Emission) -> tuple[Devices, int, str]:
    """What every trace of a run has: what its devices did, their clock, the run's id."""
    run = emission.run
    return sorted(run.traces.items()), emission.job.machine.chip.clock_hz, run.id


def _chrome(emission: Emission, path: Path) -> Path:
    traces, clock_hz, run = _of(emission)
    write_chrome(path, sorted([*traces, *emission.run.tails.items()], key=lambda device: device[0]), clock_hz, run)
    return path


def check_kinds(kinds: Sequence[str], level: str) -> None:
    """Say, before a run, what keeps it from being emitted at its trace level; see `emit`."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise EmitError(f"{', '.join(unknown)}: no such format; there are {', '.join(KINDS)}")
    if kinds and level == "off":
        raise EmitError(f"{', '.join(kinds)}: the run has no trace; set trace: zones")
    if "npe" in kinds and level != "transfers":
        raise EmitError(f"npe: needs each transfer, and the run has trace: {level}; set trace: transfers")
    if "perfetto" in kinds:
        messages()
    if "parquet" in kinds:
        parquet.packages()
