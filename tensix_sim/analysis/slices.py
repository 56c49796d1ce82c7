"""Slices of K and V of a joint ring: over which links each came to a device, when, and which of its cores waited for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tensix_sim.kernels.sdpa.ring_joint.semaphores import LANDED, SLICES
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.ring_joint import RingGeometry, ring_order
from tensix_sim.text import grouped_by_likeness
from tensix_sim.trace import Cause, Trace
from tensix_sim.trace.queries import Cycles

WAY = ("after", "before")  # the chips that slices come from, by side


@dataclass(frozen=True)
class SliceArrival:
    """A slice that came to a device: the chip that it is of, how many chips away that is on its way, and from which side.

    `landed` are the cycles at which it was whole in DRAM as far as each link brought it; `waits` the cycles that each core
    waited for it, of those that did.
    """

    slice: int
    hops: int
    side: str
    landed: tuple[int, ...]
    waits: tuple[int, ...]

    @property
    def whole(self) -> int:
        """The cycle at which it had come over all links."""
        return max(self.landed)


def slices_of(g: Geometry, traces: Mapping[int, Trace]) -> dict[int, list[SliceArrival]]:
    """What came to each device of a joint ring; nothing of other ops."""
    return {r: found for r, trace in traces.items() if isinstance(g, RingGeometry) and (found := arrivals(g, r, trace))}


def arrivals(g: RingGeometry, ring_id: int, trace: Trace) -> list[SliceArrival]:
    """The slices that came to a device, in the order in which it uses them; none where the trace has nothing of them."""
    order = [(s, *wait) for s, wait in ring_order(g.R, ring_id, g.topology == "line") if wait]
    landed = {side: _landed(g, side, trace) for side in (0, 1)}
    if any(len(times) == 0 for side in {side for _, side, _ in order} for times in landed[side]):
        return []
    waits = {(side, nth): tuple(cycles) for side in (0, 1) for nth, cycles in _waits(side, landed[side], trace)}
    found = []
    for s, side, count in order:
        nth = count - 1 - (side == 0)  # among those of its side, where side 0 counts the device's own
        when = tuple(int(times[nth]) for times in landed[side])
        found.append(SliceArrival(s, nth + 1, WAY[side], when, waits.get((side, nth), ())))
    return found


def _landed(g: RingGeometry, side: int, trace: Trace) -> list[Cycles]:
    """Of each link when its slices landed, the first one first."""
    known = {series.label for series in trace.counters}
    backward = side == 0  # what comes from the chips after goes back
    labels = [f"({x},{y}) {LANDED}" for x, y in g.gather_cores[backward::2]]
    return [trace.counter(label)[0] if label in known else np.empty(0, np.int64) for label in labels]


def _waits(side: int, landed: list[Cycles], trace: Trace) -> Iterator[tuple[int, list[int]]]:
    """Of each slice of a side the cycles of its waits: one ends when the slice that it is for has come, before the next has."""
    cause = Cause("semaphore", SLICES[side])
    if cause not in trace.names or not all(map(len, landed)):
        return
    whole = np.max(landed, axis=0)
    rows = trace.spans()
    rows = rows[rows["name"] == trace.names.index(cause)]
    nth = np.searchsorted(whole, rows["end"], side="right") - 1
    for n in np.unique(nth).tolist():
        yield n, sorted((rows["end"] - rows["start"])[nth == n].tolist())


ALIKE = 0.02  # of the wall: arrivals and waits that differ by less are told once


def alike(of_devices: dict[int, list[SliceArrival]], wall: int) -> list[list[int]]:
    """Devices to which slices come from as far, as late, and with as long waits, together."""
    return grouped_by_likeness(of_devices, lambda a, b: _same(of_devices[a], of_devices[b], ALIKE * wall))


def _same(some: list[SliceArrival], others: list[SliceArrival], slack: float) -> bool:
    if [(a.hops, a.side) for a in some] != [(a.hops, a.side) for a in others]:
        return False
    return all(
        abs(a.whole - b.whole) <= slack and abs(max(a.waits, default=0) - max(b.waits, default=0)) <= slack
        for a, b in zip(some, others, strict=True)
    )
