"""The trace: what it keeps, the laws that its checks hold, and files that appear whole or not at all."""

import copy
import csv
import errno
import json
import multiprocessing
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from io import FileIO
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensix_sim.files import atomic, write_json
from tensix_sim.trace import (
    RISCS,
    Cause,
    Lane,
    LaneWait,
    RunError,
    Totals,
    Trace,
    check_counts,
    check_lanes,
    load,
    open_run,
    save,
    write_chrome,
    write_core_csv,
    write_golden,
)
from tensix_sim.trace.causes import DST, Kind, NamedKind, read

GHZ = 1_000_000_000
READER, MATH = Lane((0, 0), "NCRISC"), Lane((0, 0), "TRISC_1")
K_IN = Cause("tiles", "k_in")


@pytest.fixture
def blocks_of_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let traces be read four rows at a time."""
    monkeypatch.setattr("tensix_sim.trace.table.BLOCK", 4)


def lane_of(*edges: tuple[int, int], level: Any = "zones") -> Trace:
    """Make a trace with one lane, whose spans are called a, b, c, ..."""
    trace = Trace(level)
    lane = trace.lane(*READER)
    for name, (start, end) in zip("abcdefgh", edges, strict=False):
        trace.span(lane, trace.name(name), start, end)
    return trace


def small(spill_rows: int = 1 << 20, level: Any = "transfers") -> Trace:
    """Two cores that read and compute in step, with a counter and a transfer for each step."""
    trace = Trace(level, spill_rows)
    read, matmul, wait = trace.name("read k"), trace.name("matmul"), trace.name(K_IN)
    for core in ((1, 0), (0, 1), (0, 0)):
        reader, math = trace.lane(core, "NCRISC"), trace.lane(core, "TRISC_1")
        tiles = trace.series("k_in", "tiles", core)
        for step in range(4):
            at = 100 * step
            trace.span(reader, read, at, at + 100)
            trace.span(math, wait, at, at + 30 + core[0])
            trace.span(math, matmul, at + 30 + core[0], at + 100)
            trace.count(tiles, at, step)
            trace.transfer(at, at + 90, 1, (3, 4), core, 4352, lane=reader, kind=read, requests=4)
    return trace


def rows(trace: Trace) -> tuple[Any, ...]:
    """Everything that a trace holds."""
    tables = (trace.spans().tolist(), trace.counts().tolist(), trace.transferred().tolist())
    return trace.level, trace.names, trace.lanes, trace.lines, trace.sources, trace.counters, trace.notes, *tables


def edges_of(trace: Trace) -> list[tuple[int, int]]:
    """First and last cycle of each span."""
    return [(start, end) for _, _, start, end, _ in trace.spans().tolist()]


# -- recording ----------------------------------------------------------------------------------------------


def test_levels() -> None:
    """Off records nothing, zones no transfers, transfers all; any other level is refused by name."""
    kept = {level: [len(t) for t in rows(small(level=level))[-3:]] for level in ("off", "zones", "transfers")}
    assert kept == {"off": [0, 0, 0], "zones": [36, 12, 0], "transfers": [36, 12, 12]}
    with pytest.raises(ValueError, match="'everything': must be one of off, zones, transfers"):
        Trace("everything")  # type: ignore[arg-type]


def test_numbers_are_given_once() -> None:
    """The same name, lane or counter has one number, by which the tables list it; there are five RISCs."""
    trace = Trace()
    for _ in range(2):
        assert [trace.name(what) for what in ("a", K_IN)] == [0, 1]
        assert [trace.lane((1, 2), risc) for risc in RISCS] == [0, 1, 2, 3, 4]
        assert [trace.series("k_in", "tiles", core) for core in (None, (1, 2))] == [0, 1]
    assert trace.names == ["a", K_IN]
    assert trace.lanes[4] == ((1, 2), "BRISC")
    assert [series.label for series in trace.counters] == ["k_in tiles", "(1,2) k_in"]
    with pytest.raises(ValueError, match="'TRISC1': must be one of NCRISC, TRISC_0"):
        trace.lane((0, 0), "TRISC1")
    with pytest.raises(ValueError, match="step 'wait b': what starts so is a wait; give its Cause"):
        trace.name("wait b")


WORDS = st.sampled_from(["tiles", "space", "semaphore", "math", "dst", "dram bank", "", "k_in"])


@given(st.sampled_from([*get_args(Kind), *get_args(NamedKind)]), st.text() | st.builds("{} {}".format, WORDS, WORDS) | WORDS)
def test_a_cause_is_what_its_text_says(kind: Any, name: str) -> None:
    """No two causes have one text, whatever a buffer is called."""
    cause = Cause(kind, name if kind in get_args(NamedKind) else "")
    assert read(str(cause)) == cause


def test_causes_are_told_as_they_always_were() -> None:
    """A buffer's name alone is its tiles; one that is called as something else says that it is tiles."""
    causes = Cause("tiles", "k_in"), Cause("space", "k_in"), Cause("semaphore", "go"), Cause("tiles", "dst"), DST
    assert [str(c) for c in causes] == ["wait k_in", "wait space k_in", "wait semaphore go", "wait tiles dst", "wait dst"]
    assert str(LaneWait("math", DST)) == "math: wait dst"


def test_spans_of_no_length_are_dropped() -> None:
    """A span of one cycle stays, one of none does not."""
    assert edges_of(lane_of((0, 0), (0, 1), (1, 1))) == [(0, 1)]


def test_columns_hold_long_runs() -> None:
    """Cycles and bytes are 64 bits wide, and what does not fit is an error rather than another number."""
    trace = lane_of((2**62, 2**63 - 1))
    assert edges_of(trace) == [(2**62, 2**63 - 1)]
    with pytest.raises(struct.error):
        trace.span(0, 0, 0, 2**63)
    assert len(trace.spans()) == 1


@pytest.mark.parametrize("spill_rows", [1, 5, 35, 36, 37])
def test_spilling_changes_nothing(spill_rows: int) -> None:
    """A trace that went to disk gives the bytes of one that stayed in memory, in one piece and in blocks."""
    spilled, kept = small(spill_rows), small()
    assert (spilled._spans._file is not None) == (spill_rows <= 36)
    assert spilled.spans().tobytes() == kept.spans().tobytes()
    assert b"".join(block.tobytes() for block in spilled.span_blocks()) == kept.spans().tobytes()
    assert rows(spilled) == rows(kept)


def test_blocks_bound_what_is_read(blocks_of_4: None) -> None:
    """A block has at most its share of rows, whether they come from disk or from memory."""
    trace = Trace(spill_rows=10)
    for i in range(19):
        trace.span(0, 0, i, i + 1)
    assert [len(block) for block in trace.span_blocks()] == [4, 4, 2, 4, 4, 1]
    assert [start for block in trace.span_blocks() for start in block["start"]] == list(range(19))


def test_reading_does_not_disturb_recording(blocks_of_4: None) -> None:
    """Rows that come after a read, or half a read, are there in the next one, before and after a spill."""
    trace = Trace(spill_rows=4)
    for i in range(13):
        next(trace.span_blocks(), None)
        trace.span(0, 0, i, i + 1)
        assert edges_of(trace) == [(j, j + 1) for j in range(i + 1)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the temporary file cannot grow, the span that spills says so, and no row is lost."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: FileIO("/dev/full", "r+"))
    trace = Trace(spill_rows=2)
    trace.span(0, 0, 0, 1)
    with pytest.raises(OSError, match="No space left"):
        trace.span(0, 0, 1, 2)
    assert edges_of(trace) == [(0, 1), (1, 2)]


# -- between processes --------------------------------------------------------------------------------------


def through_a_file(trace: Trace) -> Trace:
    """As `pickle.dump` and `pickle.load` hand it on."""
    loaded = pickle.loads(pickle.dumps(trace))
    assert isinstance(loaded, Trace)
    return loaded


def through_a_pipe(trace: Trace) -> Trace:
    """As a worker of a process pool hands it on."""
    loaded = pickle.loads(ForkingPickler.dumps(trace))
    assert isinstance(loaded, Trace)
    return loaded


@pytest.mark.parametrize("hand_on", [through_a_file, through_a_pipe, copy.deepcopy])
@pytest.mark.parametrize("spill_rows", [5, 1 << 20])
def test_pickling_keeps_everything(hand_on: Callable[[Trace], Trace], spill_rows: int) -> None:
    """A trace that was handed on holds the same, goes on recording, and leaves the original alone."""
    trace = small(spill_rows)
    trace.notes["queue_id"] = "0"
    before = rows(trace)
    copied = hand_on(trace)
    assert rows(copied) == before
    del trace.notes["queue_id"]
    copied.span(copied.lane(*READER), copied.name("more"), 400, 500)
    assert edges_of(copied)[-1] == (400, 500)
    assert edges_of(copied)[:-1] == edges_of(trace)


def test_a_pickle_can_be_loaded_twice() -> None:
    """A pickle that a user keeps holds the rows themselves, not where they were."""
    trace = small(5)
    kept, expected = pickle.dumps(trace), rows(trace)
    del trace
    assert rows(pickle.loads(kept)) == rows(pickle.loads(kept)) == expected


@pytest.mark.slow
def test_a_worker_hands_on_its_trace() -> None:
    """A spilled trace outlives the process that recorded it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        trace = pool.submit(small, 5).result()
    assert rows(trace) == rows(small())


# -- law 6: a lane's spans tile its life --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "violation"),
    [
        ([(0, 10), (10, 20)], None),
        ([(0, 10), (11, 20)], "(0,0) NCRISC: gap: 'a' ends at 10, 'b' starts at 11"),
        ([(0, 10), (9, 20)], "(0,0) NCRISC: overlap: 'a' ends at 10, 'b' starts at 9"),
        ([(0, 10), (10, 9)], "(0,0) NCRISC: 'b' starts at 10 and ends before, at 9"),
        ([(0, 10), (12, 13), (10, 12)], "(0,0) NCRISC: gap: 'a' ends at 10, 'b' starts at 12"),
        ([(5, 20)], "(0,0) NCRISC: gap: its life starts at 0, 'a' starts at 5"),
        ([(0, 19)], "(0,0) NCRISC: 'a' ends at 19, its life ends at 20"),
        ([(0, 21)], "(0,0) NCRISC: 'a' ends at 21, its life ends at 20"),
        ([], "(0,0) NCRISC: it has no span from its start at 0, its life ends at 20"),
    ],
)
def test_lanes_tile_to_the_cycle(edges: list[tuple[int, int]], violation: str | None) -> None:
    """Each span starts where the one before it ended, the first at birth, and the last ends at death."""
    assert check_lanes(lane_of(*edges), {READER: (0, 20)}) == violation


def test_a_lane_without_a_life_given_lives_from_its_first_span_to_its_last() -> None:
    """Only what lies between its spans is checked then."""
    assert check_lanes(lane_of((5, 6), (6, 9))) is None
    assert check_lanes(lane_of((5, 6), (7, 9))) is not None


def test_a_life_without_a_lane_is_a_violation() -> None:
    """A RISC that should have run but left no span does not go unseen; one that never ran may."""
    assert check_lanes(Trace(), {MATH: (0, 1)}) is not None
    assert check_lanes(Trace(), {MATH: (7, 7)}) is None


def test_lanes_may_interleave() -> None:
    """Spans of different lanes come in any order; each lane is checked on its own."""
    trace = small()
    assert check_lanes(trace, dict.fromkeys(trace.lanes, (0, 400))) is None


@pytest.mark.parametrize("broken", range(10))
def test_tiling_is_checked_across_blocks(broken: int, blocks_of_4: None) -> None:
    """A gap is found wherever it falls, at the edge of a block too, and the first one is named."""
    trace = Trace(spill_rows=4)
    lanes = [trace.lane((x, 0), "BRISC") for x in range(2)]
    name = trace.name("write")
    at = [0, 0]
    for i in range(11):
        x = i % 2
        at[x] += i in (broken, 10)
        trace.span(lanes[x], name, at[x], at[x] + 3)
        at[x] += 3
    found = check_lanes(trace, {lane: (0, at[x]) for x, lane in enumerate(trace.lanes)})
    assert found is not None
    assert found.startswith(f"({broken % 2},0) BRISC: gap:")
    assert found.endswith(f"starts at {broken // 2 * 3 + 1}")


def test_counters_go_forward() -> None:
    """A counter may change twice in a cycle, but not go back in time; others do not matter to it."""
    trace = Trace(spill_rows=2)
    a, b = trace.series("a", "tiles"), trace.series("b", "tiles")
    for series, time in ((a, 5), (b, 0), (a, 5), (b, 7), (a, 6)):
        trace.count(series, time, 1)
    assert check_counts(trace) is None
    trace.count(b, 6, 1)
    assert check_counts(trace) == "b tiles: cycle 6 comes after cycle 7"


def test_bins_of_bytes_have_a_width() -> None:
    """One does not begin where the one before it does."""
    trace = Trace()
    for time in (0, 64, 64):
        assert check_counts(trace) is None
        trace.count(trace.series("noc0", "bytes"), time, 1)
    assert check_counts(trace) == "noc0 bytes: cycle 64 comes after cycle 64"


# -- where the cycles went ----------------------------------------------------------------------------------


def test_totals_add_up() -> None:
    """Busy and waiting cycles of a lane make up its life, and those of all lanes are the device's."""
    trace = small()
    totals = Totals.of(trace)
    assert totals.waits((0, 0), "TRISC_1") == {K_IN: 120}
    assert totals.waits((1, 0), "TRISC_1") == {K_IN: 124}
    assert totals.by_name((0, 0)) == {"read k": 400, "matmul": 280, K_IN: 120}
    assert totals.waits(risc="NCRISC") == {}
    for lane in trace.lanes:
        assert totals.busy(*lane) + sum(totals.waits(*lane).values()) == 400
    assert totals.waits() == {K_IN: 2 * 120 + 124}
    assert totals.busy() + sum(totals.waits().values()) == 6 * 400
    assert (totals.start.tolist(), totals.end.tolist()) == ([0] * 6, [400] * 6)


def test_an_empty_trace_has_no_cycles() -> None:
    """A device that did nothing is no special case."""
    trace = Trace()
    trace.lane(*READER)
    totals = Totals.of(trace)
    assert (totals.waits(), totals.busy(), totals.start.tolist(), totals.end.tolist()) == ({}, 0, [0], [0])
    assert check_lanes(trace) is check_counts(trace) is None


# -- files --------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path, Trace], None]] = {
    "chrome": lambda path, trace: write_chrome(path, [(0, trace), (3, trace)], GHZ),
    "core_csv": lambda path, trace: write_core_csv(path, [(0, trace), (3, trace)]),
    "summary": lambda path, trace: write_json(
        path, {"waits": {str(cause): n for cause, n in trace.waits().items()}, "end": trace.end}
    ),
}
ALL_WRITERS = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def chrome(trace: Trace, path: Path, clock_hz: int = GHZ) -> list[dict[str, Any]]:
    """Events of the Chrome file of one device."""
    write_chrome(path, [(0, trace)], clock_hz)
    events = json.loads(path.read_text())["traceEvents"]
    assert isinstance(events, list)
    return events


@ALL_WRITERS
def test_the_same_trace_gives_the_same_bytes(write: Callable[[Path, Trace], None], tmp_path: Path) -> None:
    """Neither spilling nor pickling shows in a file, nor does writing it twice; it ends with a new line."""
    for name, trace in (("a", small()), ("b", small(5)), ("c", pickle.loads(pickle.dumps(small())))):
        write(tmp_path / name, trace)
    first = (tmp_path / "a").read_bytes()
    assert {p.read_bytes() for p in tmp_path.iterdir()} == {first}
    assert first.endswith(b"\n")
    assert b"\r" not in first


def test_chrome_events_have_what_viewers_need(tmp_path: Path) -> None:
    """Spans are complete events with exact cycles, counters have values, devices and RISCs have names."""
    events = chrome(small(), tmp_path / "t.json")
    common = {"ph", "pid", "name", "args"}
    needed = {"X": common | {"tid", "cat", "ts", "dur"}, "C": common | {"ts"}, "M": common | {"tid"}}
    assert all(set(event) == needed[event["ph"]] for event in events)
    assert [sum(e["ph"] == kind for e in events) for kind in "XC"] == [36, 12]
    wait = next(e for e in events if e["name"] == "wait k_in")
    assert (wait["cat"], wait["args"]) == ("wait", {"cycles": [0, 31]})
    assert {e["args"]["tiles"] for e in events if e["ph"] == "C"} == {0, 1, 2, 3}


def test_chrome_threads_stand_in_order(tmp_path: Path) -> None:
    """Cores come row by row, the RISCs of each in the order in which a tile meets them; no thread is 0."""
    trace = Trace()
    for core in ((0, 1), (1, 0), (0, 0)):
        for risc in sorted(RISCS):
            trace.lane(core, risc)
    events = chrome(trace, tmp_path / "t.json")
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    order = {e["tid"]: e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"}
    expected = [str(Lane(core, risc)) for core in ((0, 0), (1, 0), (0, 1)) for risc in RISCS]
    assert [names[tid] for tid in sorted(names, key=order.__getitem__)] == expected
    assert min(names) == 1


@pytest.mark.parametrize("clock_hz", [GHZ, 1_350_000_000, 333_333_333])
def test_chrome_times_tile_for_readers_that_truncate(clock_hz: int, tmp_path: Path) -> None:
    """In a reader's whole nanoseconds no span reaches into the next, and times are those of the clock."""
    trace = Trace()
    lane, name = trace.lane(*READER), trace.name("a")
    for at in [*range(3000), *range(10**12, 10**12 + 3000)]:
        trace.span(lane, name, at, at + 1)
    spans = [e for e in chrome(trace, tmp_path / "t.json", clock_hz) if e["ph"] == "X"]
    starts = [int(e["ts"] * 1000) for e in spans]
    ends = [start + int(e["dur"] * 1000) for start, e in zip(starts, spans, strict=True)]
    assert starts == [e["args"]["cycles"][0] * 10**9 // clock_hz for e in spans]
    assert all(end <= after for end, after in zip(ends, starts[1:], strict=False))
    assert max(abs(int(e["dur"] * 1000 + 0.5) - 10**9 / clock_hz) for e in spans) < 1


def test_chrome_keeps_odd_names_and_notes(tmp_path: Path) -> None:
    """Quotes, per cents and line ends in names are text like any other; notes label the device."""
    trace = Trace()
    trace.notes["queue_id"] = "1"
    trace.span(trace.lane(*READER), trace.name('50 % of "k"\n'), 0, 1)
    trace.count(trace.series('"%d"', "%"), 0, -1)
    events = chrome(trace, tmp_path / "t.json")
    assert [e["name"] for e in events if e["ph"] in "XC"] == ['50 % of "k"\n', '"%d" %']
    assert [e["args"]["labels"] for e in events if e["name"] == "process_labels"] == ["queue_id 1"]


def test_chrome_without_devices_or_spans(tmp_path: Path) -> None:
    """A file of nothing is still a file that opens."""
    write_chrome(tmp_path / "none", [], GHZ)
    assert json.loads((tmp_path / "none").read_text())["traceEvents"] == []
    assert {e["ph"] for e in chrome(Trace(), tmp_path / "empty")} == {"M"}


def test_core_csv_has_a_row_for_each_lane(tmp_path: Path) -> None:
    """Busy and waits of a row make up its life; a cause that a device never met is 0."""
    other = Trace()
    other.span(other.lane((0, 0), "BRISC"), other.name(Cause("tiles", "out")), 0, 7)
    write_core_csv(tmp_path / "c.csv", [(0, small()), (2, other)])
    with open(tmp_path / "c.csv", newline="") as file:
        table = list(csv.DictReader(file))
    columns = ["ring_id", "core_x", "core_y", "risc", "start", "end", "busy", "wait k_in", "wait out"]
    assert list(table[0]) == columns
    assert [list(row.values()) for row in (table[0], table[3], table[-1])] == [
        ["0", "0", "0", "NCRISC", "0", "400", "400", "0", "0"],
        ["0", "1", "0", "TRISC_1", "0", "400", "276", "124", "0"],
        ["2", "0", "0", "BRISC", "0", "7", "0", "0", "7"],
    ]
    for row in table:
        spent = int(row["busy"]) + int(row["wait k_in"]) + int(row["wait out"])
        assert spent == int(row["end"]) - int(row["start"])


def test_summary_is_sorted_and_valid_json(tmp_path: Path) -> None:
    """The order of keys does not depend on who filled them in, and NaN, which JSON lacks, is null."""
    write_json(tmp_path / "a", {"b": [1.5, float("nan")], "a": {"y": float("inf"), "x": 1}})
    write_json(tmp_path / "b", {"a": {"x": 1, "y": float("inf")}, "b": (1.5, float("nan"))})
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert json.loads((tmp_path / "a").read_text()) == {"a": {"x": 1, "y": None}, "b": [1.5, None]}


def test_golden_is_readable_and_sorted() -> None:
    """One line a span or counter value, lane by lane, whatever the order of recording among lanes."""
    trace = Trace(spill_rows=2)
    math, reader = trace.lane(*MATH), trace.lane(*READER)
    trace.span(math, trace.name(K_IN), 0, 5)
    trace.span(reader, trace.name("read k"), 0, 5)
    trace.span(math, trace.name("matmul"), 5, 9)
    trace.count(trace.series("k_in", "tiles", (0, 0)), 5, 4)
    assert write_golden(trace).split("\n") == [
        "(0,0) NCRISC\tread k\t0\t5",
        "(0,0) TRISC_1\twait k_in\t0\t5",
        "(0,0) TRISC_1\tmatmul\t5\t9",
        "(0,0) k_in\ttiles\t5\t4",
        "",
    ]


# -- whole or not at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("older", [None, "older\n"])
@ALL_WRITERS
def test_a_failed_write_leaves_nothing(
    write: Callable[[Path, Trace], None],
    older: str | None,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk or Ctrl-C midway leaves no temporary file, and of an older file all."""
    path = tmp_path / "out"
    if older:
        path.write_text(older)

    def midway(*_: Any, **__: Any) -> Iterator[Any]:
        assert len(list(tmp_path.iterdir())) == 1 + bool(older)
        raise error(errno.ENOSPC, "No space left on device")

    trace = small()
    for failing in ("tensix_sim.trace.writers.json.dump", "tensix_sim.trace.writers.csv.writer"):
        monkeypatch.setattr(failing, midway)
    monkeypatch.setattr(trace, "count_blocks", midway)
    with pytest.raises(error) as caught:
        write(path, trace)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({"out": older} if older else {})
    if isinstance(caught.value, OSError):
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("where", ["missing/out", "file/out", ""])
def test_an_impossible_path_is_named(where: str, tmp_path: Path) -> None:
    """The error names the path that the user gave, not a temporary one."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Errno") as caught, atomic(tmp_path / where):
        pass
    assert caught.value.filename == str(tmp_path / where)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Writing to a link writes to the file that it points to."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for text in ("one", "two"):
        with atomic(tmp_path / "link") as file:
            file.write(text)
        assert (tmp_path / "file").read_text() == text
    assert (tmp_path / "link").is_symlink()


def test_devices_are_written_in_place() -> None:
    """What is no regular file is not replaced by one."""
    with atomic("/dev/null") as file:
        file.write("gone")
    assert not Path("/dev/null").is_file()


# -- store ------------------------------------------------------------------------------------------------------------


def filled(spill_rows: int = 1 << 20) -> Trace:
    """A trace of every kind of row."""
    trace = Trace("transfers", spill_rows)
    trace.notes["queue_id"] = "0"
    a, b = trace.lane((0, 0), "NCRISC"), trace.lane((1, 0), "TRISC_1")
    names = [trace.name(what) for what in ("read k", K_IN, "matmul", DST)]
    for i in range(50):
        trace.span(a, names[i % 2], 10 * i, 10 * i + 10)
        trace.span(b, names[2 + i % 2], 20 * i, 20 * i + 20)
        trace.count(trace.series("read", "bytes"), 256 * i, i)
        trace.transfer(i, i + 3, 0, (1, 2), (3, 4), 2048, lane=a, kind=names[0])
    return trace


@pytest.mark.parametrize("spill_rows", [7, 1 << 20])
def test_a_trace_comes_back_as_it_was_saved(tmp_path: Path, spill_rows: int) -> None:
    """Every row, name, lane, counter and note survives the file, in memory or spilled."""
    save(tmp_path / "t.npz", filled(spill_rows))
    there, back = filled(), load(tmp_path / "t.npz", spill_rows)
    assert (back.level, back.notes, back.names, back.lanes, back.counters) == (
        there.level, there.notes, there.names, there.lanes, there.counters
    )  # fmt: skip
    for name, table in there.tables.items():
        assert table.array().tolist() == back.tables[name].array().tolist()


def test_a_saved_trace_opens_with_numpy_and_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    """The columns are plain arrays, and nothing in the file depends on when it was written or how it was spilled."""
    for name, spill_rows in (("a", 7), ("b", 1 << 20)):
        save(tmp_path / f"{name}.npz", filled(spill_rows))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as columns:
        assert columns["spans.end"].sum() == filled().spans()["end"].sum()
        assert list(columns["names"]) == list(map(str, filled().names))


@pytest.mark.parametrize("cut", [0, 10, 400, -30])
def test_a_broken_trace_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    """A file that was cut short is no trace, and the message names it."""
    path = tmp_path / "t.npz"
    save(path, filled())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"t\.npz: not a trace"):
        load(path)


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    """Wherever a byte is wrong, the file is refused or the byte had no meaning: rows never change."""
    path = tmp_path / "t.npz"
    save(path, filled())
    good, rows = path.read_bytes(), [table.array().tolist() for table in filled().tables.values()]
    refused = 0
    for at in range(0, len(good), 17):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            assert [table.array().tolist() for table in load(path).tables.values()] == rows
        except RunError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(("edges", "told"), [([(0, 10), (11, 20)], "gap"), ([(10, 20), (0, 10)], "overlap")])
def test_a_trace_whose_lanes_do_not_tile_is_refused(tmp_path: Path, edges: list[tuple[int, int]], told: str) -> None:
    """Law 6 holds of what is read back too: whoever follows it from span to span comes to its start."""
    save(tmp_path / "t.npz", lane_of(*edges))
    with pytest.raises(RunError, match=rf"t\.npz: not a trace .*{told}"):
        load(tmp_path / "t.npz")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """No summary, a broken one, and a trace that is missing: each says so."""
    with pytest.raises(RunError, match="no run is there"):
        open_run(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RunError, match="not the summary of a run"):
        open_run(tmp_path)
    (tmp_path / "summary.json").write_text('{"devices": [{"ring_id": 3}], "spec": {"trace": "zones"}}')
    with pytest.raises(RunError, match=r"device-3.npz missing, although the run had trace: zones"):
        open_run(tmp_path)


# -- questions --------------------------------------------------------------------------------------------------------


def test_spans_are_chosen_by_core_risc_and_time() -> None:
    """A span that ends when the time starts is not in it; one that ends a cycle later is."""
    trace = filled()
    assert len(trace.spans()) == 100
    assert len(trace.spans(core=(0, 0))) == len(trace.spans(risc="NCRISC")) == 50
    assert len(trace.spans(core=(1, 0), risc="NCRISC")) == 0
    assert trace.spans(core=(0, 0), start=10, end=30)["start"].tolist() == [10, 20]
    assert trace.spans(core=(0, 0), start=9, end=31)["start"].tolist() == [0, 10, 20, 30]


def test_waits_add_up_the_same_by_cause_core_and_risc() -> None:
    """Three views of the same cycles."""
    trace = filled()
    assert trace.waits() == {DST: 500, K_IN: 250}
    assert trace.waits(by="core") == {(1, 0): 500, (0, 0): 250}
    assert trace.waits(by="risc") == {"TRISC_1": 500, "NCRISC": 250}


def test_bandwidth_is_bytes_a_cycle_and_unknown_names_are_refused() -> None:
    """Bins times their width are the bytes."""
    starts, rate = filled().bandwidth("read")
    assert starts[1] - starts[0] == 256
    assert (rate * 256).sum() == sum(range(50))
    with pytest.raises(KeyError, match="unknown counter 'dram bank 9 bytes'; nearest: read bytes"):
        filled().bandwidth("dram bank 9")
