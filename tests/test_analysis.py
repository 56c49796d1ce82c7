"""Cycle budgets and the critical path: everything adds up to the wall, and the path goes through who was waited for."""

from itertools import pairwise

import pytest
from specs import raw

from tensix_sim import simulate
from tensix_sim.analysis import budget, budgets, critical_path, last_core, merged, roofline
from tensix_sim.config import load_spec
from tensix_sim.formats import BFLOAT16
from tensix_sim.program import BufferSpec
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.simulation import Result
from tensix_sim.trace import Totals, Trace
from tensix_sim.trace.causes import read

RING = raw(ring_size=4, S=1024, k=128, grid=[3, 2], numerics="off")
EXAMPLES = {
    "ring": [],
    "streaming": ["op=sdpa", "kernel=streaming", "board=p100a"],
    "chains": ["op=sdpa", "is_causal=false", "inputs.q_heads=1"],
    "window": ["op=sdpa", "sliding_window_size=200"],
    "paged": ["op=chunked_sdpa", "chunk_start_idx=512", "paged_kv.block_size=64"],
    "idle cores": ["program_config.q_chunk_size=128"],
    "slow bank": ["board=p100a", "machine.dram.bank_shares=[0.05,1,1,1,1,1,1]"],
}


@pytest.fixture(scope="module", params=EXAMPLES)
def result(request: pytest.FixtureRequest) -> Result:
    """One run of each example."""
    return simulate(load_spec(RING, EXAMPLES[request.param]))


def test_the_budget_of_every_lane_adds_up_to_the_wall(result: Result) -> None:
    """Steps, waits and the rest after the last span are the wall, to the cycle, on each RISC of each core."""
    for run in result.runs:
        for core in budgets(run.trace):
            assert {sum(lane.values()) for lane in core.lanes.values()} == {run.device.cycles}
            assert all(cycles > 0 for lane in core.lanes.values() for cycles in lane.values())


def test_the_last_core_ends_with_the_run(result: Result) -> None:
    """The budget without a core is that of one that ends at the wall."""
    for run in result.runs:
        last = budget(run.trace)
        assert last.core == last_core(run.trace)
        assert last.end == last.wall == run.device.cycles


def test_the_critical_path_fills_the_wall(result: Result) -> None:
    """From cycle 0 to the end of the last kernel, without gap or overlap; and so it does merged."""
    g = Geometry.of(result.spec)
    for run in result.runs:
        path = critical_path(run.trace, g.buffers)
        for pieces in (path, merged(path)):
            assert (pieces[0].start, pieces[-1].end) == (0, run.device.cycles)
            assert all(a.end == b.start for a, b in pairwise(pieces))
            assert all(s.start < s.end for s in pieces)
        assert all((a.risc, a.what) != (b.risc, b.what) for a, b in pairwise(merged(path)))


def test_the_critical_path_is_made_of_spans(result: Result) -> None:
    """Each piece lies in a span of its lane with its name, or after the lane's last one."""
    run = result.runs[0]
    for piece in critical_path(run.trace, Geometry.of(result.spec).buffers)[:50]:
        spans = run.trace.spans(piece.core, piece.risc, piece.start, piece.end)
        assert [run.trace.names[n] for n in spans["name"]] == [piece.what]


def test_waits_add_up_whichever_way_they_are_asked_for(result: Result) -> None:
    """By cause, by core and by RISC they are the same cycles, and with the busy ones the cycles of all lanes."""
    for run in result.runs:
        ways = [run.trace.waits(by=by) for by in ("cause", "core", "risc")]
        assert len({sum(way.values()) for way in ways}) == 1
        lanes = sum(sum(lane.values()) for core in budgets(run.trace) for lane in core.lanes.values())
        done = sum(lane.get("done", 0) for core in budgets(run.trace) for lane in core.lanes.values())
        assert sum(ways[0].values()) + Totals.of(run.trace).busy() + done == lanes


def test_nothing_is_busy_for_longer_than_the_run(result: Result) -> None:
    """Each bank, link and port, and each unit of the cores, at most all of the time."""
    for d in result.devices:
        assert max(d.servers.values()) <= 1
        assert max(d.dram_utilization, d.noc_utilization, d.busiest_server_utilization, d.math_utilization) <= 1
        assert max(d.fpu_cycles, d.sfpu_cycles, d.math_cycles, d.unpack_cycles, d.pack_cycles) <= d.cycles


def test_bytes_over_time_add_up_to_the_bytes_moved(result: Result) -> None:
    """Of reads and writes, of both NoCs, and of the banks."""
    for run in result.runs:

        def moved(what: str, trace: Trace = run.trace) -> int:
            return int(trace.counter(f"{what} bytes")[1].sum())

        banks = [series.what for series in run.trace.counters if series.what.startswith("dram bank")]
        assert moved("read") + moved("write") == moved("noc0") + moved("noc1")
        assert sum(map(moved, banks)) == run.device.dram_read_bytes + run.device.dram_write_bytes


def test_no_roof_lies_below_the_run(result: Result) -> None:
    """No resource alone would take longer than the run did, and useful work is done no faster than at peak."""
    for run in result.runs:
        roof = roofline(result.job, run.device.model_dump())
        assert roof.flops_per_cycle <= roof.peak_flops_per_cycle
        assert max(b.cycles for b in roof.bounds if not b.note.startswith("busy")) <= run.device.cycles
        assert roof.bounds == sorted(roof.bounds, key=lambda b: -b.cycles)


IN = BufferSpec("in", 2, BFLOAT16, "reader", "compute")
OUT = BufferSpec("out", 2, BFLOAT16, "compute", "writer")


def traced(*spans: tuple[str, str, int, int]) -> Trace:
    """A trace of one core from (RISC, name, start, end)."""
    trace = Trace()
    for risc, name, start, end in spans:
        trace.span(trace.lane((0, 0), risc), trace.name(read(name)), start, end)
    return trace


def path_of(trace: Trace) -> list[tuple[str, str, int, int]]:
    """The critical path without its core."""
    return [(s.risc, str(s.what), s.start, s.end) for s in critical_path(trace, [IN, OUT])]


def test_a_wait_for_tiles_leads_to_their_producer() -> None:
    """The writer waited for the packer, the unpacker for the reader: the path is read, math, pack, write."""
    trace = traced(
        ("NCRISC", "read", 0, 100),
        ("TRISC_0", "wait in", 0, 100), ("TRISC_0", "add", 100, 120),
        ("TRISC_1", "wait unpack", 0, 110), ("TRISC_1", "add", 110, 150),
        ("TRISC_2", "wait math", 0, 150), ("TRISC_2", "add", 150, 170),
        ("BRISC", "wait out", 0, 175), ("BRISC", "write", 175, 200),
    )  # fmt: skip
    assert path_of(trace) == [
        ("NCRISC", "read", 0, 100), ("TRISC_0", "add", 100, 110), ("TRISC_1", "add", 110, 150), ("TRISC_2", "add", 150, 170),
        ("BRISC", "wait out", 170, 175), ("BRISC", "write", 175, 200),
    ]  # fmt: skip


def test_a_wait_for_space_leads_to_the_consumer() -> None:
    """A reader that waits until the unpacker has popped: the path goes through the unpacker."""
    trace = traced(("NCRISC", "read", 0, 10), ("NCRISC", "wait space in", 10, 60), ("NCRISC", "read", 60, 90),
                   ("TRISC_0", "wait in", 0, 10), ("TRISC_0", "add", 10, 60))  # fmt: skip
    assert path_of(trace) == [("NCRISC", "read", 0, 10), ("TRISC_0", "add", 10, 60), ("NCRISC", "read", 60, 90)]


def test_threads_that_wait_for_each_other_leave_the_wait_that_the_path_came_through() -> None:
    """Within a verb waits are drawn first; two that face each other are one hand-shake."""
    trace = traced(("TRISC_0", "wait math", 0, 40), ("TRISC_0", "add", 40, 50),
                   ("TRISC_1", "wait unpack", 0, 40), ("TRISC_1", "add", 40, 60))  # fmt: skip
    assert path_of(trace) == [("TRISC_0", "wait math", 0, 40), ("TRISC_1", "add", 40, 60)]


def test_waits_for_banks_and_links_stay_on_the_path() -> None:
    """What other cores do to a bank is on no lane of this core."""
    trace = traced(("NCRISC", "read", 0, 10), ("NCRISC", "wait dram bank", 10, 60))
    assert path_of(trace) == [("NCRISC", "read", 0, 10), ("NCRISC", "wait dram bank", 10, 60)]


def test_a_trace_without_spans_has_no_budget() -> None:
    """The message says what to set."""
    with pytest.raises(ValueError, match="trace: zones"):
        budget(Trace("off"))


def test_a_core_that_is_not_there_is_named() -> None:
    """The message lists the cores that are."""
    with pytest.raises(ValueError, match=r"core \(4, 4\) has no lanes.*\(0, 0\)"):
        budget(traced(("NCRISC", "read", 0, 10)), (4, 4))
