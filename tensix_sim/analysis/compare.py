"""Two runs, or a run and a hardware profile: what changed, on each device, and what on its critical path made the difference."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensix_sim.analysis.critical import critical_path
from tensix_sim.analysis.profile import KERNEL, UTILISATIONS, ProfileError, read_profile
from tensix_sim.gather.tail import OPS
from tensix_sim.job import Job
from tensix_sim.logged import WORK, told_by
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.summary import read_run, suspicion
from tensix_sim.text import brief, flat, grouped_by_likeness, near
from tensix_sim.trace import LANES, RISCS, Run, Totals, Trace
from tensix_sim.trust import tells, too_small, trust
from tensix_sim.user_errors import UsageError

FPU, SFPU, DRAM = UTILISATIONS.values()
TIME, PCC, REL_L2 = "microseconds", "PCC", "relative L2"
DIGITS = {TIME: 1, PCC: 6, REL_L2: 5}  # of what is no whole number
MANY = 10  # times as much, from where a percentage says little
ALIKE = 0.01  # of a device's cycles
LIMIT = re.compile(r"([A-Za-z]\w*)([<>])([+-]?[0-9]+(?:\.[0-9]+)?)(%?)")


@dataclass(frozen=True)
class FigureChange:
    """A figure before and after."""

    what: str
    before: float
    after: float

    @property
    def by(self) -> float:
        """How much more it is after."""
        return self.after - self.before

    @property
    def is_share(self) -> bool:
        """Whether it is a share, and not a number of cycles, bytes or cores."""
        return "share" in self.what

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Before, after, the change, and the change as a share of what was before, for people."""
        if self.is_share:
            return f"{self.before:.1%}", f"{self.after:.1%}", f"{100 * self.by:+z.1f} points", ""
        has_share = bool(self.before) and self.what != PCC
        times = self.after / self.before if has_share else 0
        share = f"{times:.0f}x" if times > MANY else f"{times - 1:+z.1%}" if has_share else ""
        digits = DIGITS.get(self.what, 0)
        return f"{self.before:,.{digits}f}", f"{self.after:,.{digits}f}", f"{self.by:+z,.{digits}f}", share


@dataclass(frozen=True)
class Side:
    """A run or a profile: its settings, and for each device its cycles, figures, critical path by lane and step, and waits.

    The path adds up to the cycles; waits are cycles by lane and cause, the mean of the active cores. A profile has neither.
    `logged` are the settings as a profile tells them, `code` the op's name in ttnn's logs, `arch` the chip's, if it is known.
    """

    name: str
    settings: dict[str, Any]  # none of a profile
    cycles: dict[int, int]
    figures: dict[int, dict[str, float]]
    clock_hz: int
    code: str | None
    arch: str | None
    logged: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    trust: str = ""  # how far times of a run's kind were from silicon
    totals: dict[str, float] = field(default_factory=dict)  # what a limit may be set to, of all devices
    path: dict[int, dict[str, int]] = field(default_factory=dict)
    waits: dict[int, dict[str, float]] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)  # its size, and the share of its square that each stage causes
    tail: dict[str, float] = field(default_factory=dict)  # cycles of what follows the op, stage by stage, and of all of it
    accuracy: dict[str, float] = field(default_factory=dict)  # of all devices' numbers, against float64


@dataclass(frozen=True)
class DeviceChange:
    """A device before and after. `path` says why: its changes add up to that of the cycles, the largest first."""

    device: int
    cycles: FigureChange
    path: list[FigureChange]
    waits: list[FigureChange]
    figures: list[FigureChange]
    time: FigureChange | None = None  # where the clocks differ

    @property
    def measures(self) -> list[FigureChange]:
        """The cycles, and the time where it does not follow from them."""
        return [self.cycles, self.time] if self.time else [self.cycles]

    def main_path(self, shown: int) -> list[FigureChange]:
        """The first changes of the path, and the others as one."""
        rest = self.path[shown:]
        if not rest:
            return self.path
        return [*self.path[:shown], FigureChange(f"{len(rest)} others", sum(c.before for c in rest), sum(c.after for c in rest))]

    @property
    def moved(self) -> list[tuple[str, list[FigureChange]]]:
        """Waits and figures that are not the same, each under its title."""
        groups = (("waits, mean of active cores", self.waits), ("figures", self.figures))
        return [(title, moved) for title, changes in groups if (moved := [c for c in changes if c.by])]


@dataclass(frozen=True)
class Comparison:
    """What differs between two sides; `only` has the devices that one side alone has, with its name.

    `notes` are sentences on what makes the numbers less than they seem: they belong above them.
    """

    before: str
    after: str
    notes: list[str]
    settings: list[tuple[str, Any, Any]]
    devices: list[DeviceChange]
    only: dict[int, str]
    errors: list[FigureChange] = field(default_factory=list)
    tail: list[FigureChange] = field(default_factory=list)
    clear: bool | None = None  # whether two runs differ by more than predicted ratios are off
    walls: tuple[int, int] = (0, 0)  # cycles of the slowest device, before and after
    times: tuple[float, float] = (0.0, 0.0)  # microseconds
    limits: list["Limit"] = field(default_factory=list)  # that were set and are broken
    accuracy: list[FigureChange] = field(default_factory=list)

    @property
    def time_differs(self) -> bool:
        """Whether cycles are of different clocks."""
        return any(d.time for d in self.devices)

    @property
    def slowest(self) -> DeviceChange | None:
        """Of the devices that both have, the one that ends last after."""
        return max(self.devices, key=lambda d: d.cycles.after, default=None)

    @property
    def verdict(self) -> str:
        """The answer in a sentence: by how much, on the slowest device of each side, and what its critical path is made of."""
        before, after = self.times if self.time_differs else self.walls
        unit, digits = ("us", 1) if self.time_differs else ("cycles", 0)
        numbers = f"{before:,.{digits}f} to {after:,.{digits}f} {unit}"
        if before == after:
            said = f"{self.after} takes as long as {self.before}: {after:,.{digits}f} {unit}"
        else:
            much = f"{abs(after / before - 1):.1%} {'less' if after < before else 'more'}"
            said = f"{self.after} takes {much} than {self.before}: {numbers}"
            said += ", too small to tell" if self.clear is False else ""
        return f"{said}{self._moved_path()}"

    def _moved_path(self) -> str:
        d = self.slowest
        if d is None or not d.path or not d.cycles.by:
            return ""
        first, last = max(d.path, key=lambda c: c.before), max(d.path, key=lambda c: c.after)
        was, now = first.before / d.cycles.before, last.after / d.cycles.after
        if first.what == last.what:
            return f"; its critical path is {first.what} for {now:.0%}, and was for {was:.0%}"
        return f"; its critical path moved from {first.what} ({was:.0%}) to {last.what} ({now:.0%})"

    @property
    def alike(self) -> list[list[DeviceChange]]:
        """Devices in groups that differ by no more than `ALIKE`, before and after."""
        return grouped_by_likeness(self.devices, lambda a, b: _alike(a.cycles, b.cycles))

    @property
    def of_all_devices(self) -> list[tuple[str, list[FigureChange]]]:
        """What both sides have of all devices together, each under its title."""
        groups = (("against float64", self.accuracy), ("after the op", self.tail), ("error by stage", self.errors))
        return [(title, changes) for title, changes in groups if changes]


def compare(before: Side, after: Side, limits: Sequence[str] = ()) -> Comparison:
    """Set two sides side by side, device by device, and hold them to limits such as `cycles>+3%`.

    Raises:
        ProfileError: one is a profile, and of another op or chip than the other.
        UsageError: a limit is none, or of a figure that is not known.
    """
    settings, notes = _settings(before, after)
    walls = [max(side.cycles.values()) / side.clock_hz for side in (before, after)]
    runs = bool(before.settings and after.settings)
    if runs and (said := too_small(*walls)):
        notes.append(said)
    notes += dict.fromkeys(side.trust for side in (before, after) if side.trust)
    both = sorted(before.cycles.keys() & after.cycles.keys())
    only = {d: side.name for side in (before, after) for d in side.cycles if d not in both}
    return Comparison(
        before.name,
        after.name,
        notes,
        [(key, a, b) for key, a, b in settings if a != b],
        [_device(d, before, after) for d in both],
        dict(sorted(only.items())),
        _in_order(before.error, after.error),
        _in_order(before.tail, after.tail),
        tells(*walls) if runs else None,
        (max(before.cycles.values()), max(after.cycles.values())),
        (1e6 * walls[0], 1e6 * walls[1]),
        [Limit.of(rule, before, after) for rule in limits if Limit.of(rule, before, after).broken],
        _in_order(before.accuracy, after.accuracy),
    )


def _alike(a: FigureChange, b: FigureChange) -> bool:
    return all(abs(x - y) <= ALIKE * max(x, y) for x, y in ((a.before, b.before), (a.after, b.after)))


@dataclass(frozen=True)
class Limit:
    """What a figure may not do from one run to another: `cycles>+3%` is broken where it grows by more than 3 %."""

    rule: str
    figure: str
    before: float
    after: float
    broken: bool

    @classmethod
    def of(cls, rule: str, before: Side, after: Side) -> "Limit":
        """Hold two sides to a rule.

        Raises:
            UsageError: it is none, or names a figure that one side has not.
        """
        read = LIMIT.fullmatch(rule.replace(" ", ""))
        if read is None:
            raise UsageError(f"--fail-if {brief(rule, 80)}: is not like cycles>+3% or l1_bytes>+4096")
        figure, sign, size, percent = read.groups()
        for side in (before, after):
            if figure not in side.totals:
                raise UsageError(f"--fail-if {rule}: {side.name} has no figure {figure}; nearest: {near(figure, side.totals)}")
        a, b = before.totals[figure], after.totals[figure]
        edge = a * (1 + float(size) / 100) if percent else a + float(size)
        return cls(rule, figure, a, b, b > edge if sign == ">" else b < edge)

    @property
    def text(self) -> str:
        """What happened, for people."""
        share = f", {self.after / self.before - 1:+.1%}" if self.before else ""
        return f"{self.figure} went from {self.before:,.6g} to {self.after:,.6g}{share}; fails if {self.rule}"


def _device(d: int, before: Side, after: Side) -> DeviceChange:
    path = _changes(before.path.get(d), after.path.get(d))
    waits = _changes(before.waits.get(d), after.waits.get(d))
    shared = [name for name in before.figures[d] if name in after.figures[d]]
    figures = [FigureChange(name, before.figures[d][name], after.figures[d][name]) for name in shared]
    cycles = FigureChange("cycles", before.cycles[d], after.cycles[d])
    us = [1e6 * side.cycles[d] / side.clock_hz for side in (before, after)]
    return DeviceChange(d, cycles, path, waits, figures, FigureChange(TIME, *us) if before.clock_hz != after.clock_hz else None)


def _in_order(before: Mapping[str, float], after: Mapping[str, float]) -> list[FigureChange]:
    """The figures that both have, as they come."""
    return [FigureChange(what, value, after[what]) for what, value in before.items() if what in after]


def _changes(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> list[FigureChange]:
    if before is None or after is None:
        return []
    changes = [FigureChange(what, before.get(what, 0), after.get(what, 0)) for what in sorted(before.keys() | after.keys())]
    return sorted(changes, key=lambda c: (-abs(c.by), -c.after, c.what))


def _settings(before: Side, after: Side) -> tuple[list[tuple[str, Any, Any]], list[str]]:
    """What is known of both sides, and what is to be said of it."""
    if before.settings and after.settings:
        known = list({**before.settings, **after.settings})
        return [(key, before.settings.get(key), after.settings.get(key)) for key in known], [*before.notes, *after.notes]
    _refuse_another_op_or_chip(before, after)
    a, b = before.logged, after.logged
    notes = [*before.notes, *after.notes]
    if other_work := [key for key in WORK if key in a and key in b and a[key] != b[key]]:
        notes.insert(0, f"not the same work: {', '.join(other_work)} differ, and the cycles with them")
    for side, its, others in ((before, a, b), (after, b, a)):
        if untold := sorted(others.keys() - its.keys()) if its else []:
            notes.append(f"{side.name}: does not tell {', '.join(untold)}: not compared")
    return [(key, value, b[key]) for key, value in a.items() if key in b], notes


def _refuse_another_op_or_chip(before: Side, after: Side) -> None:
    known = (("op", before.code, after.code), ("chip", before.arch, after.arch))
    if others := [what for what, a, b in known if a is not None and b is not None and a != b]:
        a, b = (f"{s.name} is {s.code or 'an op without a name'} on {s.arch or 'a chip without a name'}" for s in (before, after))
        raise ProfileError(f"another {' and another '.join(others)}: {a}, {b}; their cycles cannot be compared")


def read_sides(baseline: Path, *others: Path, call: int | None = None) -> list[Side]:
    """Read runs' folders or profiles. A profile with several ops is read as the baseline's, or a run's; see `read_side`."""
    known = next((read_side(path) for path in (baseline, *others) if not path.is_file()), None) if baseline.is_file() else None
    first = read_side(baseline, known.clock_hz, call, known.code) if known else read_side(baseline, call=call)
    return [first, *(read_side(path, first.clock_hz, call, first.code) for path in others)]


def read_side(path: Path, clock_hz: int | None = None, call: int | None = None, code: str | None = None) -> Side:
    """Read a run's folder, or a profile: of its op of that `code`, in cycles of its chip or, if it names none, of `clock_hz`.

    Raises:
        RunError: the folder holds no run.
        ProfileError: the file is no profile, or says nothing of the one call that is meant.
        OSError: it cannot be read.
    """
    if not path.is_file():
        return of_run(read_run(path), str(path))
    profile = read_profile(path, clock_hz, call, code)
    cycles = {d: measured.cycles for d, measured in profile.devices.items()}
    figures = {d: measured.figures for d, measured in profile.devices.items()}
    about = profile.clock_hz, profile.code, profile.arch, profile.settings, profile.notes
    wall = max(cycles.values())
    return Side(str(path), {}, cycles, figures, *about, totals={"cycles": wall, "us": 1e6 * wall / profile.clock_hz})


def of_run(run: Run, name: str) -> Side:
    """A run as one side."""
    job = Job.legal(run.spec)
    chip = job.machine.chip
    devices = {device["ring_id"]: device for device in run.summary["devices"]}
    return Side(
        name,
        flat(run.summary["spec"]) | flat(run.summary["effective"], "effective."),
        {d: device["cycles"] for d, device in devices.items()},
        {d: _figures(job.geometry, device, run.traces.get(d)) for d, device in devices.items()},
        chip.clock_hz,
        job.op.codes[0],
        chip.name,
        told_by(job),
        [f"{name}: {said}"] if (said := suspicion(run)) else [],
        trust(job.spec, max(devices.values(), key=lambda device: device["cycles"])).text,
        _totals(run, chip.clock_hz),
        {d: _path(job.geometry, trace) for d, trace in run.traces.items()},
        {d: device["waits"] for d, device in devices.items()},
        _error(run.summary.get("error")),
        _tail(run.summary.get("tail")),
        _finite(run.summary["accuracy"], {PCC: "pcc", REL_L2: "rel_l2"}),
    )


def _totals(run: Run, clock_hz: int) -> dict[str, float]:
    """Of the slowest device the time, of all together the bytes, of a core L1, and the error where there are numbers."""
    devices = run.summary["devices"]
    wall = max(device["cycles"] for device in devices)
    moved = {name: sum(device[name] for device in devices) for name in ("dram_read_bytes", "dram_write_bytes")}
    of_l1 = {"l1_bytes": run.summary["effective"]["l1_bytes"]}
    errors = _finite(run.summary["accuracy"], {name: name for name in ("rel_l2", "rmse", "max_abs")})
    return {"cycles": wall, "us": 1e6 * wall / clock_hz, **moved, **of_l1, **errors}


def _finite(accuracy: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, float]:
    """Figures of an accuracy under their names; no value that was not finite."""
    return {name: accuracy[key] for name, key in names.items() if accuracy[key] is not None} if accuracy else {}


def _error(error: Mapping[str, Any] | None) -> dict[str, float]:
    if error is None:
        return {}
    return {"rel L2, share of the output": error["rel_l2"]} | {
        f"{stage['name']}, share of the squared error": stage["share"] for stage in error["stages"]
    }


def _tail(tail: Mapping[str, Any] | None) -> dict[str, float]:
    if tail is None:
        return {}
    return {op: tail["stages"][op] for op in OPS} | {"after the op": tail["cycles"]}


def _figures(g: Geometry, device: Mapping[str, Any], trace: Trace | None) -> dict[str, float]:
    active, wall = device["active_cores"], max(1, device["cycles"])
    figures: dict[str, float] = {"cores": g.cores, "cores that work": active}
    figures["steps of the busiest core"] = device["steps_per_core"]["max"]
    if trace is not None:
        totals = Totals.of(trace)
        figures |= {f"{risc} {KERNEL}": totals.longest(risc) for risc in RISCS}
    for name in ("dram_read_bytes", "dram_write_bytes"):
        figures[name.replace("_", " ").replace("dram", "DRAM")] = device[name]
    figures[FPU] = device["fpu_cycles"] * active / g.cores / wall
    figures[SFPU] = device["sfpu_cycles"] * active / g.cores / wall
    figures[DRAM] = device["dram_utilization"]
    return figures


def _path(g: Geometry, trace: Trace) -> dict[str, int]:
    cycles: Counter[str] = Counter()
    for piece in critical_path(trace, g.buffers):
        cycles[f"{LANES[piece.risc]}: {piece.what}"] += piece.end - piece.start
    return dict(cycles)
