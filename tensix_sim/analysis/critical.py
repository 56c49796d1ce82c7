"""The critical path: the chain of work and waits that, step by step, set the end of the run."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tensix_sim.analysis.budget import last_core
from tensix_sim.arch.model import Coord
from tensix_sim.program import BufferSpec, Role
from tensix_sim.trace import RISCS, Cause, Trace, What
from tensix_sim.trace.causes import DST, MATH, PACK, UNPACK
from tensix_sim.trace.table import Records

# Waits of a compute lane for another one, and which
BETWEEN_THREADS: dict[What, str] = {MATH: "TRISC_1", UNPACK: "TRISC_0", PACK: "TRISC_2", DST: "TRISC_2"}
PUSHES: dict[Role, str] = {"reader": "NCRISC", "compute": "TRISC_2", "writer": "BRISC"}
POPS: dict[Role, str] = {"reader": "NCRISC", "compute": "TRISC_0", "writer": "BRISC"}


class Segment(NamedTuple):
    """A piece of the path: what a RISC did, or waited for, in cycles `start` up to `end`."""

    core: Coord
    risc: str
    what: What
    start: int
    end: int


def critical_path(trace: Trace, buffers: Sequence[BufferSpec]) -> list[Segment]:
    """Find the path from cycle 0 to the end of the last kernel, oldest first, without gap or overlap.

    It goes back from the last span. Where a RISC waited for tiles, space or another thread, it goes on at the RISC that
    ended the wait; waits for banks, links and semaphores of other cores stay part of it. Two threads that wait for each
    other, as within a verb, whose waits are drawn before its work, leave the wait of the one that the path came through.
    """
    core = last_core(trace)
    spans = trace.spans(core=core)
    all_lanes = {lane.risc: spans[spans["lane"] == i] for i, lane in enumerate(trace.lanes) if lane.core == core}
    lanes = {name: lane for name, lane in all_lanes.items() if len(lane)}
    risc = max(lanes, key=lambda name: (lanes[name]["end"][-1], RISCS.index(name)))
    wakers = _wakers(buffers)
    time, path, asked = int(lanes[risc]["end"][-1]), list[Segment](), set[str]()
    while time > lanes[risc]["start"][0]:
        what, start = _at(trace, lanes[risc], time)
        waker = wakers.get(what)
        asked.add(risc)
        if waker in lanes and waker not in asked and lanes[waker]["start"][0] < time:
            start = min(time, int(lanes[waker]["end"][-1]))
        else:
            waker = risc
        if start < time:
            path.append(Segment(core, risc, what, start, time))
            asked.clear()
        risc, time = waker, start
    return path[::-1]


def _wakers(buffers: Sequence[BufferSpec]) -> dict[What, str]:
    """Which RISC of the core ends a wait."""
    pushes = {Cause("tiles", b.name): PUSHES[b.producer] for b in buffers}
    return BETWEEN_THREADS | pushes | {Cause("space", b.name): POPS[b.consumer] for b in buffers}


def _at(trace: Trace, lane: Records, time: int) -> tuple[What, int]:
    """What it was, and its start, that a lane did just before `time`."""
    i = int(np.searchsorted(lane["end"], time))
    return trace.names[lane["name"][i]], int(lane["start"][i])


def merged(path: Sequence[Segment]) -> list[Segment]:
    """The path with neighbours that are the same made one."""
    runs = (list(run) for _, run in groupby(path, key=lambda s: (s.core, s.risc, s.what)))
    return [run[0]._replace(end=run[-1].end) for run in runs]
