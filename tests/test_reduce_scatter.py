"""Reduce-scatter over Ethernet: sums, the order in which they are made, bytes, time, and faults."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensix_sim.arch import machine
from tensix_sim.formats import FORMATS, to_format
from tensix_sim.gather.reduce_scatter import ReduceScatter
from tensix_sim.gather.run import Collected, run_collective
from tensix_sim.gather.sums import reduced
from tensix_sim.hw import DeadlockError, SimulationError
from tensix_sim.hw.ethernet import BACKWARD, FORWARD
from tensix_sim.kernel_api import DataMovement
from tensix_sim.trace import Trace

T3000, GALAXY = machine("t3000"), machine("galaxy")
FORMS = [
    (2, "line", "halfway"), (4, "line", "halfway"), (8, "line", "halfway"), (3, "line", "halfway"),
    (4, "ring", "halfway"), (8, "ring", "halfway"), (4, "ring", "around"), (8, "ring", "around"),
]  # fmt: skip
BF16 = FORMATS["bfloat16"]


def op_of(devices: int, topology: Any, walk: Any = "halfway", **more: Any) -> ReduceScatter:
    """A small one: two tiles of each slice to each of two workers."""
    given = {"shape": (1, 1, 64, 64 * devices), "dim": 3, "dtype": "bfloat16", "links": 1, "workers": 2} | more
    return ReduceScatter(devices=devices, topology=topology, walk=walk, **given)


def off(op: ReduceScatter, on=GALAXY, **given: Any) -> Collected:
    """Without values."""
    return run_collective(op, on, [None] * op.devices, **given)


def drawn(op: ReduceScatter, seed: int = 0) -> list[Any]:
    """A tensor for each device, in the op's format."""
    rng = np.random.default_rng(seed)
    return [to_format(rng.standard_normal(op.shape).astype(np.float32), op.format) for _ in range(op.devices)]


def slices(op: ReduceScatter, x: Any) -> list[Any]:
    """Of a tensor, one a device."""
    return np.split(x, op.devices, op.dim)


# -- numbers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", range(4))
@pytest.mark.parametrize(("devices", "topology", "walk"), FORMS)
def test_each_device_gets_its_part_of_the_sum(devices, topology, walk, dim) -> None:
    """Float64's sum, within half a unit of bfloat16's last place for each addition; in the same time with values or without."""
    shape = [1, 1, 64, 32]
    shape[dim] *= devices
    op = op_of(devices, topology, walk, shape=tuple(shape), dim=dim, links=2)
    xs = drawn(op)
    done = run_collective(op, GALAXY, xs)
    sizes = slices(op, np.sum(np.abs(xs), axis=0, dtype=np.float64))
    for output, exact, size in zip(done.outputs, slices(op, np.sum(xs, axis=0, dtype=np.float64)), sizes, strict=True):
        assert (np.abs(output - exact) <= (devices - 1) * 2.0**-8 * size).all()
    assert [m.cycles for m in off(op).figures] == [m.cycles for m in done.figures]


def bf16_sum(*terms: Any) -> Any:
    """One after the other, each rounded to bfloat16, ties away from zero."""
    total = terms[0]
    for term in terms[1:]:
        bits = (total + term).astype(np.float32).view(np.uint32) + np.uint32(0x8000)
        total = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return total


def test_on_a_line_what_comes_forward_is_added_first() -> None:
    """Device p: ((x0 + x1) + ...) + xp, then what comes back: (xR-1 + xR-2) + ...; at an end there is one of these only."""
    op = op_of(4, "line")
    xs = [slices(op, x) for x in drawn(op)]
    done = run_collective(op, T3000, drawn(op))
    for p, output in enumerate(done.outputs):
        forward, backward = [x[p] for x in xs[: p + 1]], [x[p] for x in xs[:p:-1]]
        sums = [bf16_sum(*part) for part in (forward, backward) if part]
        np.testing.assert_array_equal(output, bf16_sum(*sums))


@pytest.mark.parametrize("way", [FORWARD, BACKWARD])
def test_halfway_round_a_ring_both_sides_meet_in_one_rounding(way) -> None:
    """A chunk that ends with one direction: that side's sum from the chip opposite, the other's without it, and the own tiles.

    Which tiles those are: every worker's first half of what is left, and the rest.
    """
    op = op_of(8, "ring")
    xs = [slices(op, x) for x in drawn(op)]
    mine = op.ends_forward(GALAXY) == (way == FORWARD)
    assert mine.sum() == len(mine) / 2
    for p, output in enumerate(run_collective(op, GALAXY, drawn(op)).outputs):
        far, near = ([xs[(p - side * n) % 8][p] for n in range(most, 0, -1)] for side, most in ((way, 4), (-way, 3)))
        once = xs[p][p] + bf16_sum(*far) + bf16_sum(*near)
        expected = bf16_sum(once, np.float32(0))
        rows, columns = np.divmod(np.flatnonzero(mine), op.result[-1] // 32)
        for row, column in zip(rows * 32, columns * 32, strict=True):
            tile = np.s_[0, 0, row : row + 32, column : column + 32]
            np.testing.assert_array_equal(output[tile], expected[tile])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat8_b", "float32"])
@pytest.mark.parametrize(("devices", "topology", "walk"), [(4, "ring", "halfway"), (4, "ring", "around"), (3, "line", "halfway")])
def test_numbers_without_the_clock_are_the_kernels(devices, topology, walk, dtype, exact) -> None:
    """`reduced` follows the same hops with the same arithmetic: to the bit."""
    op = op_of(devices, topology, walk, dtype=dtype, exact=exact)
    done = run_collective(op, GALAXY, drawn(op))
    for made, output in zip(reduced(op, GALAXY, drawn(op)), done.outputs, strict=True):
        np.testing.assert_array_equal(made, output)


# -- bytes and time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize(("devices", "topology", "walk"), FORMS)
def test_bytes_are_the_closed_forms(devices, topology, walk, links) -> None:
    """To the byte: a line's links carry a slice for each chip ahead, a ring's half of all others; and DRAM's reads and writes."""
    op = op_of(devices, topology, walk, links=links, shape=(1, 2, 64, 64 * devices))
    done = off(op)
    for i, moved in enumerate(done.figures):
        for step in (FORWARD, BACKWARD):
            assert sum(n for (chip, way, _), n in done.link_bytes.items() if (chip, way) == (i, step)) == op.link_bytes(i, step)
        assert (moved.dram_read_bytes, moved.dram_write_bytes) == op.dram_bytes(i)
    assert sum(done.link_bytes.values()) == devices * (devices - 1) * op.slice_bytes


@given(tiles=st.integers(1, 40), workers=st.integers(1, 8), halves=st.booleans())
def test_chunks_of_all_workers_are_the_slice(tiles, workers, halves) -> None:
    """Each tile once; no chunk is larger than 8 tiles; around a ring directions differ by a tile a worker at most."""
    op = op_of(4, "ring" if halves else "line", shape=(1, 1, 32, 4 * 32 * tiles))
    dealt = [chunk for worker in range(workers) for chunk in op.chunks(worker, workers)]
    assert sorted(tile for span, _ in dealt for tile in span) == list(range(tiles))
    assert all(0 < len(span) <= 8 for span, _ in dealt)
    for worker in range(workers):
        taken = {way: sum(len(span) for span, w in op.chunks(worker, workers) if w == way) for way in (FORWARD, BACKWARD)}
        assert not halves or abs(taken[FORWARD] - taken[BACKWARD]) <= 8


@pytest.mark.parametrize(("devices", "topology", "walk"), FORMS)
def test_signals_count_up_to_what_is_awaited(devices, topology, walk) -> None:
    """Of every semaphore the raised values are 1, 2, 3 and so on, once each, in the order of the hops."""
    for sync in (None, 1, 2, 5):
        op = op_of(devices, topology, walk, chunks_per_sync=sync, shape=(1, 1, 32, 32 * 40 * devices))
        ways = [way for _, way in op.chunks(0, 2)]
        for i in range(devices):
            raised: dict[str, list[int]] = {}
            for (semaphore, _, _), (count, last) in op.signals(i, FORWARD, ways).items():
                raised.setdefault(semaphore, []).extend([count] * last)
            assert all(counts == list(range(1, len(counts) + 1)) for counts in raised.values())


def slowest(op: ReduceScatter, on=GALAXY) -> int:
    """Cycles of the last device."""
    return max(moved.cycles for moved in off(op, on).figures)


def test_time_grows_with_bytes_and_steps() -> None:
    """More tiles, more devices and fewer links take longer, all the way round longer than halfway, and a line longest of all.

    Workers with two slots in their mux, or twice as many of them, send faster; no barrier is faster than one.
    """
    base = op_of(8, "ring", shape=(1, 1, 64, 8 * 32 * 16))
    assert slowest(op_of(4, "ring", shape=(1, 1, 64, 4 * 32 * 16))) < slowest(base)
    assert slowest(base) < slowest(replace(base, shape=(1, 1, 256, 8 * 32 * 16)))
    assert slowest(replace(base, links=2)) < slowest(base)
    assert slowest(base) < slowest(replace(base, walk="around")) < slowest(replace(base, topology="line"))
    assert slowest(replace(base, slots=2)) < slowest(base)
    assert slowest(replace(base, workers=4)) < slowest(base)
    assert slowest(replace(base, barrier=False)) < slowest(base)


def test_no_link_is_faster_than_its_rate() -> None:
    """The bytes of a direction over a link's rate bound the time from below."""
    op = op_of(4, "line", shape=(1, 1, 256, 4 * 32 * 16), workers=8)
    spec = GALAXY.chip.ethernet
    assert slowest(op) > op.link_bytes(0, FORWARD) / (spec.rate * spec.efficiency)


def test_traces_have_the_bytes_of_links() -> None:
    """Lanes tile their time, and what a link carried is in its counter."""
    op = op_of(4, "ring", links=2)
    traces = [Trace("transfers") for _ in range(4)]
    done = off(op, traces=traces, starts=[5] * 4)
    for i, trace in enumerate(traces):
        for lane in range(len(trace.lanes)):
            spans = trace.spans()[trace.spans()["lane"] == lane]
            if len(spans):
                assert (spans["start"][1:] == spans["end"][:-1]).all()
        assert trace.end == done.figures[i].end
        for name, nbytes in done.figures[i].ethernet_bytes.items():
            assert trace.counter(f"{name} bytes")[1].sum() == nbytes
        assert sum(done.figures[i].ethernet_bytes.values()) == 2 * op.link_bytes(i, FORWARD)


# -- rules -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"devices": 1, "shape": (1, 1, 32, 32)}, "a reduce-scatter of 1 device; 2 at least"),
        ({"links": 3}, "3 links; t3000 has 2 between two neighbours"),
        ({"devices": 4, "topology": "ring"}, "4 devices of t3000's 4x2 mesh form no ring; use a line"),
        ({"dim": 4}, "no dimension 4"),
        ({"shape": (1, 1, 32, 400)}, "400 along dim 3 is not 8 slices of whole tiles of 32; 256 or 512 would be"),
        ({"shape": (1, 1, 40, 256)}, "40 along dim 2 is not whole tiles of 32; 32 or 64 would be"),
        ({"shape": (1, 6, 32, 32), "dim": 1}, "6 along dim 1 is not 8 slices; 8 would be"),
        ({"workers": 40}, "40 workers a link and direction; 1 to 31 fit t3000's 64 cores beside their mux"),
        ({"slots": 0}, "slots 0; 1 at least"),
        ({"chunks_per_sync": 0}, "chunks_per_sync 0; 1 at least"),
        ({"packet_bytes": 1000}, "packets of 1000 B; 2048 B, a tile, at least and 7616 B at most"),
    ],
)
def test_what_cannot_be_is_refused(change, says) -> None:
    """All rules, each in words that say what would be right."""
    given = {"devices": 8, "shape": (1, 1, 32, 256), "dim": 3, "dtype": "bfloat16", "topology": "line", "links": 1} | change
    with pytest.raises(ValueError, match="reduce_scatter: ") as raised:
        off(ReduceScatter(**given), T3000)
    assert says in str(raised.value)


def test_an_odd_ring_goes_around() -> None:
    """It has no device halfway."""
    five = GALAXY.override({"mesh": (5, 4), "chips": 20})
    with pytest.raises(ValueError, match="a ring of 5 has no device halfway; it goes around"):
        off(op_of(5, "ring"), five)
    op = op_of(5, "ring", "around")
    for part, exact in zip(run_collective(op, five, drawn(op)).outputs, slices(op, np.sum(drawn(op), axis=0)), strict=True):
        np.testing.assert_allclose(part, exact, atol=0.1)


# -- faults ------------------------------------------------------------------------------------------------------------------


def dropped(method: str, of: Callable[[DataMovement, tuple[Any, ...]], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a verb do nothing in one place."""
    real = getattr(DataMovement, method)
    asynchronous = method in ("send", "semaphore_wait")

    async def later(dm: DataMovement, *args: Any, **more: Any) -> None:
        if not of(dm, args):
            await real(dm, *args, **more)

    def now(dm: DataMovement, *args: Any, **more: Any) -> None:
        if not of(dm, args):
            real(dm, *args, **more)

    monkeypatch.setattr(DataMovement, method, later if asynchronous else now)


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize(
    ("verb", "of", "says"),
    [
        ("signal", lambda dm, args: args[0] == "came", "device 3 core (1,0) NCRISC waits for semaphore came to reach 1; it is 0"),
        ("signal", lambda dm, args: args[0] == "crossed", "semaphore crossed to reach 1; it is 0"),
        ("signal", lambda dm, args: args[0] == "ready", "BRISC waits for semaphore ready to reach 3; it is 2"),
        ("send", lambda dm, args: True, "device 3 core (1,0) NCRISC"),
        ("semaphore_wait", lambda dm, args: args[0] == "came", "device 2 core (1,0) NCRISC"),
    ],
)
def test_a_fault_of_one_chip_is_named(verb, of, says, values, monkeypatch) -> None:
    """A signal dropped, a packet lost, a wait left out on chip 2's first worker: chip, core and semaphore, or page."""
    op = op_of(4, "ring")
    dropped(verb, lambda dm, args: dm.core.label == "device 2 core (1,0)" and of(dm, args), monkeypatch)
    with pytest.raises(SimulationError) as raised:
        run_collective(op, GALAXY, drawn(op) if values else [None] * 4)
    assert says in str(raised.value)
    if verb == "signal":
        assert isinstance(raised.value, DeadlockError)
    else:
        assert re.search(r"read of page \d+ of from (behind|ahead), which", str(raised.value))
