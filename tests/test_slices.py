"""Slices of K and V on the links of a joint ring: which came when, over which link, and who waited for it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from specs import JOINT, raw

from tensix_sim import simulate
from tensix_sim.analysis.slices import SliceArrival, alike, arrivals, slices_of
from tensix_sim.arch import machine
from tensix_sim.config import load_spec
from tensix_sim.formats import BFLOAT16
from tensix_sim.kernels.sdpa.ring_joint.semaphores import SLICES
from tensix_sim.page import describe
from tensix_sim.page.data import _from_zero
from tensix_sim.page.packing import unpack
from tensix_sim.report_screen import slices_screen
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.simulation import Result
from tensix_sim.trace import Cause, Totals

Slices = dict[int, list[SliceArrival]]


def joint(**more: Any) -> Any:
    """A ring of four that computes little, a Q chunk a core, and sends much."""
    small = {"S": 1024, "heads": 4, "kv_heads": 4, "d": 128, "dtype": "bfloat16", "grid": [4, 4], "num_links": 2}
    return raw(JOINT, numerics="off", **small | more)


@pytest.fixture(scope="module", params=["ring", "line"])
def result(request: pytest.FixtureRequest) -> Result:
    """A ring, and a line, in which chips have other distances."""
    return simulate(joint(topology=request.param))


@pytest.fixture(scope="module")
def slices(result: Result) -> Slices:
    """What came to each device."""
    return slices_of(RingGeometry.of(result.spec), result.trace)


def test_every_slice_comes_once_from_its_side(slices: Slices) -> None:
    """All slices but the device's own, each as many hops away as the numbers of the chips say."""
    for r, found in slices.items():
        assert sorted(one.slice for one in found) == [s for s in range(4) if s != r]
        for one in found:
            assert one.slice == (r + (one.hops if one.side == "after" else -one.hops)) % 4


def test_a_slice_goes_on_when_it_has_come_and_no_faster_than_its_link(slices: Slices) -> None:
    """On each link it lands at the next chip later than at the one before, by the time that its bytes take at least."""
    nbytes = 2 * 4 * (256 // 32) * (128 // 32) * BFLOAT16.tile_bytes / 2  # K and V of four heads, half over each link
    least = nbytes / machine("galaxy").chip.ethernet.rate
    when = {(r, one.slice, one.side): one for r, found in slices.items() for one in found}
    for (r, s, side), one in when.items():
        behind = (r + (1 if side == "after" else -1)) % 4
        before = when[behind, s, side].landed if one.hops > 1 else (0, 0)
        assert all(b - a >= least for a, b in zip(before, one.landed, strict=True))


def test_slices_of_a_side_land_in_order(slices: Slices) -> None:
    """On every link."""
    for found in slices.values():
        for side in ("after", "before"):
            times = [one.landed for one in found if one.side == side]
            assert all(a < b for first, second in pairwise(times) for a, b in zip(first, second, strict=True))


def test_waits_for_slices_are_those_of_the_lanes(result: Result, slices: Slices) -> None:
    """Their sum is the trace's, to the cycle, and there are some; each of 16 cores waits for a slice once."""
    for r, found in slices.items():
        spent = Totals.of(result.trace[r]).waits()
        assert sum(sum(one.waits) for one in found) == sum(spent.get(Cause("semaphore", name), 0) for name in SLICES)
        assert all(len(one.waits) <= 16 for one in found)
        assert any(one.waits for one in found)


def test_devices_that_are_alike_are_told_once(result: Result, slices: Slices) -> None:
    """Each device is in one group, of the same hops and sides; the screen has a table for each group, with its cycles."""
    groups = alike(slices, max(device.cycles for device in result.devices))
    assert sorted(r for group in groups for r in group) == list(range(4))
    screen, data = slices_screen(result.as_run()), describe(result.as_run())
    assert screen.count("slice  from the chips") == len(groups)
    assert data["slices_alike"] == groups
    for group in groups:
        assert len({tuple((one.hops, one.side) for one in slices[r]) for r in group}) == 1
        for one, shown in zip(slices[group[0]], data["slices"][str(group[0])], strict=True):
            assert tuple(shown["landed"]) == one.landed
            assert " ".join(f"{cycle:,}" for cycle in one.landed) in " ".join(screen.split())


def test_bytes_over_links_are_on_the_page(result: Result) -> None:
    """As many as were sent."""
    for device in describe(result.as_run())["devices"]:
        flows = {flow["name"]: int(unpack(flow["bytes"])[0].sum()) for flow in device["flows"]}
        assert device["ethernet_bytes"] == {name: flows.get(name, 0) for name in device["ethernet_bytes"]}


def test_bins_that_begin_late_keep_their_bytes_and_their_place() -> None:
    """Bins of 10 cycles from cycle 15 on: half of each falls into one from 0 on, and none before."""
    assert _from_zero(15, 10, np.array([8, 4])).tolist() == [0, 4, 6, 2]
    assert _from_zero(20, 10, np.array([8, 4])).tolist()[:4] == [0, 0, 8, 4]


def test_only_the_joint_ring_has_slices() -> None:
    """Another op has none, nor has a joint ring whose trace knows nothing of its links."""
    other = simulate(raw(k=128, numerics="off"))
    assert slices_of(Geometry.of(other.spec), other.trace) == {}
    assert slices_screen(other.as_run()) == ""
    untraced = simulate(joint(trace="off"))
    assert arrivals(RingGeometry.of(load_spec(joint())), 0, untraced.runs[0].trace) == []
