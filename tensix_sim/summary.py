"""A run read back from its folder with every figure checked: what reads it further on has nothing to fear from it."""

from collections.abc import Iterator
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tensix_sim.accuracy import Accuracy
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.device import DeviceFigures
from tensix_sim.error import Explanation
from tensix_sim.gather.run import Moved
from tensix_sim.gather.tail import OPS
from tensix_sim.sdpa.op import positions
from tensix_sim.trace import SUMMARY, Run, RunError, open_run


class TailFigures(BaseModel):
    """What `Tail.summary` gives."""

    topology: str
    links: int
    cycles: int
    duration_us: float
    stages: dict[str, int]
    ops: list[Moved]


class Summary(BaseModel):
    """What `Result.summary` gives, its spec and its id aside, which `open_run` and `Run.spec` know."""

    effective: dict[str, Any]
    devices: list[DeviceFigures]
    accuracy: Accuracy | None
    error: Explanation | None = None
    tail: TailFigures | None = None
    wall_seconds: float
    peak_rss_bytes: int


def read_run(folder: str | PathLike[str]) -> Run:
    """Read a run with its traces, as `open_run` does, and check its figures.

    Raises:
        RunError: there is no run, its files are broken or of several runs, or a figure is missing or cannot be.
    """
    run = open_run(folder)
    path = Path(folder) / SUMMARY
    ring_ids = [device["ring_id"] for device in run.summary["devices"]]
    try:
        expected = list(positions(run.spec))
    except UnknownNameError as error:
        raise RunError(f"a run of another version: {error}; run again") from error
    if ring_ids != expected:
        raise RunError(f"{path}: has devices {ring_ids}; those of its spec are {expected}")
    devices = [{**device, "accuracy": None} for device in run.summary["devices"]]
    try:
        summary = Summary.model_validate({**run.summary, "devices": devices})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        of_devices = sum(one["loc"][0] == "devices" for one in error.errors())
        what = f"{of_devices} figures of its devices differ" if of_devices else f"{where}: {wrong['msg']}"
        raise RunError(f"{path}: a run of another version: {what}; run again") from error
    if summary.tail and summary.tail.stages.keys() != set(OPS):
        raise RunError(f"{path}: tail.stages has {', '.join(summary.tail.stages)}; a tail has {', '.join(OPS)}")
    for key, value in _numbers({"devices": devices, "tail": run.summary.get("tail")}):
        if not isfinite(value) or value < 0:
            raise RunError(f"{path}: {key} = {value}, which no run has")
    return run


def suspicion(run: Run) -> str | None:
    """What is suspect about a run's numbers, in a sentence; None where nothing is."""
    figures = run.summary["accuracy"]
    return Accuracy.model_validate(figures).suspicion() if figures else None


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of what JSON gave, by dotted key."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, int | float):
        yield key, value
