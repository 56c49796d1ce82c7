"""Questions to a trace: do its spans tile each lane, where did the cycles go."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensix_sim.trace.causes import Cause, What
from tensix_sim.trace.table import Records
from tensix_sim.trace.trace import Lane, Trace

Cycles = NDArray[np.int64]
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Totals:
    """Cycles of a trace, by lane and by what it did.

    `cycles` is [lanes, names]; `start` and `end` bound the spans of each lane, 0 and 0 where there are none.
    """

    lanes: list[Lane]
    names: list[What]
    cycles: Cycles
    start: Cycles
    end: Cycles

    @classmethod
    def of(cls, trace: Trace) -> "Totals":
        """Add up a trace."""
        lanes, names = trace.lanes, trace.names
        cycles = np.zeros((len(lanes), len(names)), np.int64)
        start = np.full(len(lanes), np.iinfo(np.int64).max)
        end = np.zeros(len(lanes), np.int64)
        for block in trace.span_blocks():
            np.add.at(cycles, (block["lane"], block["name"]), block["end"] - block["start"])
            np.minimum.at(start, block["lane"], block["start"])
            np.maximum.at(end, block["lane"], block["end"])
        return cls(lanes, names, cycles, np.minimum(start, end), end)

    def by_name(self, core: tuple[int, int] | None = None, risc: str | None = None) -> dict[What, int]:
        """Cycles of each step and wait: of all lanes, or of one core, one RISC or both; the longest first."""
        chosen = [core in (None, lane.core) and risc in (None, lane.risc) for lane in self.lanes]
        cycles = self.cycles[np.array(chosen, bool)].sum(axis=0).tolist()
        return {name: n for name, n in Counter(dict(zip(self.names, cycles, strict=True))).most_common() if n}

    def longest(self, risc: str) -> int:
        """Cycles from the first span to the end of the last on the lane of `risc` where that is most; 0 if there is none."""
        lives = (self.end - self.start).tolist()
        return max((life for life, lane in zip(lives, self.lanes, strict=True) if lane.risc == risc), default=0)

    def waits(self, core: tuple[int, int] | None = None, risc: str | None = None) -> dict[Cause, int]:
        """Cycles of each cause of waiting, the longest first."""
        return {what: cycles for what, cycles in self.by_name(core, risc).items() if isinstance(what, Cause)}

    def busy(self, core: tuple[int, int] | None = None, risc: str | None = None) -> int:
        """Cycles of all spans that are no waits."""
        return sum(cycles for what, cycles in self.by_name(core, risc).items() if not isinstance(what, Cause))


def check_lanes(trace: Trace, lives: Mapping[Lane, tuple[int, int]] | None = None) -> str | None:
    """Say where a lane's spans first leave a gap or overlap; None if all of them tile their lanes' lives.

    `lives` gives the first cycle of a lane's life and the cycle after its last one. A lane that it does not
    name lives from its first span to its last.
    """
    lanes, names = trace.lanes, [str(name) for name in trace.names]
    lives = lives or {}
    reached = np.array([lives.get(lane, (UNKNOWN,))[0] for lane in lanes], np.int64)
    doing = np.full(len(lanes), UNKNOWN)
    for block in trace.span_blocks():
        order, first, last = _grouped(block["lane"])
        rows = block[order]
        lane, start, end = rows["lane"], rows["start"], rows["end"]
        expected = np.roll(end, 1)
        expected[first] = np.where(reached[lane[first]] == UNKNOWN, start[first], reached[lane[first]])
        bad = np.flatnonzero((start != expected) | (end < start))
        if len(bad):
            i = bad[np.argmin(order[bad])]
            before = doing[lane[i]] if first[i] else rows["name"][i - 1]
            return f"{lanes[lane[i]]}: " + _misfit(names, before, int(expected[i]), rows[i])
        reached[lane[last]] = end[last]
        doing[lane[last]] = rows["name"][last]
    ends = dict(zip(lanes, zip(reached.tolist(), doing.tolist(), strict=True), strict=True))
    for who, (birth, death) in lives.items():
        at, name = ends.get(who, (birth, UNKNOWN))
        if at != death:
            what = f"{names[name]!r} ends" if name != UNKNOWN else "it has no span from its start"
            return f"{who}: {what} at {at}, its life ends at {death}"
    return None


def _misfit(names: list[str], before: int, expected: int, span: Records) -> str:
    start, end, name = int(span["start"]), int(span["end"]), names[span["name"]]
    if end < start:
        return f"{name!r} starts at {start} and ends before, at {end}"
    what = "gap" if start > expected else "overlap"
    edge = f"{names[before]!r} ends" if before != UNKNOWN else "its life starts"
    return f"{what}: {edge} at {expected}, {name!r} starts at {start}"


def check_counts(trace: Trace) -> str | None:
    """Say where a counter first goes back in time, or one of bytes in bins stands still; None if none does."""
    reached = np.full(len(trace.counters), np.iinfo(np.int64).min)
    least = np.array([series.unit == "bytes" for series in trace.counters], np.int64)
    for block in trace.count_blocks():
        order, first, last = _grouped(block["series"])
        rows = block[order]
        before = np.roll(rows["time"], 1)
        before[first] = reached[rows["series"][first]]
        bad = np.flatnonzero(rows["time"] < before + least[rows["series"]])
        if len(bad):
            i = bad[np.argmin(order[bad])]
            label = trace.counters[rows["series"][i]].label
            return f"{label}: cycle {rows['time'][i]} comes after cycle {before[i]}"
        reached[rows["series"][last]] = rows["time"][last]
    return None


def _grouped(keys: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the order that brings equal keys together, and which rows then come first and last in a group."""
    order = np.argsort(keys, kind="stable")
    changes = np.diff(keys[order]) != 0
    return order, np.concatenate(([True], changes)), np.concatenate((changes, [True]))
