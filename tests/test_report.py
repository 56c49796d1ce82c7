"""The page and the pictures of a run: what they show is what the run has."""

import json
import linecache
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import raw

from tensix_sim import simulate
from tensix_sim.accuracy import Accuracy, Beyond
from tensix_sim.analysis import RelievedRun, Tried, Verdict, budgets, critical_path, merged
from tensix_sim.analysis.budget import DONE
from tensix_sim.analysis.listing import listings, shown_lines
from tensix_sim.analysis.verdict import EVEN_ENDS
from tensix_sim.config import load_spec
from tensix_sim.kernel_api import Matmul, RowMax
from tensix_sim.kernels.sdpa.row_verbs import MatmulRows
from tensix_sim.kernels.sdpa.verbs import SubExp
from tensix_sim.page import describe, page, write_pngs, write_report
from tensix_sim.page.data import SEVERAL
from tensix_sim.page.families import FAMILIES, family
from tensix_sim.page.packing import deltas, pack, unpack
from tensix_sim.report_screen import listing_screen, report_screen
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sources import ROOT
from tensix_sim.trace import RISCS, Cause, Run, Trace, open_run
from tensix_sim.trace.causes import read
from tensix_sim.trace.trace import RISC_OF

SPEC = raw(board="n150", heads=6, k=128, grid=[3, 2], numerics="off")
WHAT_IFS = [RelievedRun("FPU", "twice the rate", 1, 0.5), RelievedRun("straggler", "even work", 1, 0.25, EVEN_ENDS)]
TRIED = Tried("math_fidelity HiFi3", {"compute_kernel_config.math_fidelity": "HiFi3"}, 1, 0.125, note="less accurate")
VERDICT = Verdict(0, 1, "FPU", "sure", "FPU binds.", WHAT_IFS, (TRIED,))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small ring, written and opened again."""
    folder = tmp_path_factory.mktemp("run")
    simulate(SPEC).write(folder)
    return open_run(folder)


@pytest.fixture(scope="module")
def data(run: Run) -> dict[str, Any]:
    """What its page shows."""
    return describe(run, [VERDICT])


@given(st.lists(st.lists(st.integers(-(2**52), 2**52)), max_size=4))
def test_packed_numbers_are_read_back(lists: list[list[int]]) -> None:
    """Any lists of whole numbers: unpack(pack(lists)) is the lists."""
    assert [part.tolist() for part in unpack(pack(*lists))] == lists


@given(st.lists(st.integers(-(2**60), 2**60)))
def test_deltas_add_up_to_the_values(values: list[int]) -> None:
    """The running sum of the deltas is the values."""
    assert np.cumsum(deltas(values)).tolist() == values


def lanes_of(data: dict[str, Any], device: dict[str, Any], core: str) -> dict[str, list[tuple[str, str, int, int]]]:
    """Name, line, start and end of each span of a core that the page has, gaps left out."""
    lists = unpack(device["detail"][core]["packed"])
    lanes = {}
    for i, risc in enumerate(RISCS):
        ends = np.cumsum(lists[2 * i + 1]).tolist()
        rows = zip(lists[2 * i].tolist(), [0, *ends], ends, strict=False)
        acts = [(*data["acts"][2 * act : 2 * act + 2], start, end) for act, start, end in rows]
        lanes[risc] = [(data["names"][name], data["lines"][line], start, end) for name, line, start, end in acts if name]
    return lanes


def test_the_spans_of_each_core_are_those_of_the_trace(run: Run, data: dict[str, Any]) -> None:
    """Every lane of every core, read back from the page's data, is what `Trace.spans` gives."""
    for device in data["devices"]:
        trace = run.traces[device["ring_id"]]
        assert device["spans_kept"] == device["spans"] == len(trace.spans())
        for core in device["detail"]:
            for risc, spans in lanes_of(data, device, core).items():
                rows = trace.spans(tuple(device["cores"][int(core)]), risc)
                assert spans == [spoken(trace, row) for row in rows]


def spoken(trace: Trace, row: Any) -> tuple[str, str, int, int]:
    """A span in words."""
    return str(trace.names[row["name"]]), str(trace.lines[row["line"]]), row["start"], row["end"]


def test_cycles_by_line_add_up_to_the_lanes(run: Run, data: dict[str, Any]) -> None:
    """Over lines, those of all cores by lane and step are the budget's; every line with cycles has its text in the listing."""
    texts = {place: f"{of['file']}:{n} {text}" for of in data["sources"] for n, text, place in of["lines"] if place > 0}
    for device in data["devices"]:
        by_line, in_all = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
        for lane, line, name, cycles in zip(*unpack(device["by_line"]), strict=True):
            by_line[lane, name] += cycles
            place, text = texts[line].split(" ", 1)
            assert place == data["lines"][line]
            assert text in linecache.getline(str(ROOT.parent / place.rpartition(":")[0]), int(place.rpartition(":")[2]))
            assert "(" in text
        for _, lane, name, cycles in zip(*unpack(device["totals"]), strict=True):
            in_all[lane, name] += cycles if data["names"][name] != DONE else 0
        assert by_line == +in_all


def test_the_screen_lists_kernels_by_line(run: Run) -> None:
    """Shares at work and waiting of the compute kernel's lanes add up to what the budgets have of them, but for rounding."""
    traces = list(run.traces.values())
    listed = next(one for one in listings(traces) if "pack" in one.lanes)
    screen = listing_screen(listed).splitlines()
    assert screen[:3] == [
        "kernels/sdpa/legacy.py: shares of the wall, mean of the cores at work",
        "      unpack        math        pack",
        "  busy  wait  busy  wait  busy  wait  line",
    ]
    found = [[float(share.strip(" %") or 0) for share in re.findall(".{6}", line[:36])] for line in screen[3:]]
    for lane, name in enumerate(("unpack", "math", "pack")):
        for waiting in (False, True):
            cycles = sum(
                n for t in traces for core in budgets(t) for what, n in core.lanes[RISC_OF[name]].items()
                if what != DONE and isinstance(what, Cause) == waiting
            )  # fmt: skip
            assert sum(row[2 * lane + waiting] for row in found) == pytest.approx(
                100 * cycles / listed.life, abs=0.05 * len(found)
            )


def test_a_listing_of_what_is_no_python_has_the_lines_themselves() -> None:
    """A notebook's cell with magics; of a file without text, numbers."""
    assert shown_lines("%time x\nawait t.pop(x)", [2]) == [(2, "await t.pop(x)")]
    assert shown_lines("", [7]) == [(7, "")]
    assert shown_lines("a = 1\ndef f():\n    g()\n\nb = 2\n", [3]) == [(2, "def f():"), (3, "    g()")]


def test_tiles_in_the_buffers_are_those_of_the_trace(run: Run, data: dict[str, Any]) -> None:
    """The counters of every core, read back from the page's data, are what `Trace.counter` gives."""
    for device in data["devices"]:
        trace = run.traces[device["ring_id"]]
        for core, detail in device["detail"].items():
            x, y = device["cores"][int(core)]
            lists = unpack(detail["packed"])[2 * len(RISCS) :]
            assert len(lists) == 2 * len(detail["buffers"])
            for name, times, tiles in zip(detail["buffers"], lists[::2], lists[1::2], strict=True):
                expected = trace.counter(f"({x},{y}) {name}")
                assert np.cumsum(times).tolist() == expected[0].tolist()
                assert tiles.tolist() == expected[1].tolist()


def test_the_budget_of_every_lane_adds_up_to_the_wall(run: Run, data: dict[str, Any]) -> None:
    """All cores, idle ones too: the cycles of a lane sum to the end of the trace."""
    for device in data["devices"]:
        sums: dict[tuple[int, int], int] = {}
        for core, lane, _, cycles in zip(*unpack(device["totals"]), strict=True):
            sums[core, lane] = sums.get((core, lane), 0) + int(cycles)
        assert len(sums) == len(device["cores"]) * len(RISCS)
        assert set(sums.values()) == {run.traces[device["ring_id"]].end}


def test_bytes_over_time_add_up_to_the_bytes_read_and_written(data: dict[str, Any]) -> None:
    """The bins of reads sum to the device's bytes read, those of writes to the bytes written, those of banks to both."""
    for device in data["devices"]:
        moved = {flow["name"]: int(unpack(flow["bytes"])[0].sum()) for flow in device["flows"]}
        assert moved["read"] == device["dram_read_bytes"]
        assert moved["write"] == device["dram_write_bytes"]
        banks = sum(n for name, n in moved.items() if name.startswith("dram bank "))
        assert banks == device["dram_read_bytes"] + device["dram_write_bytes"]


def test_the_critical_path_is_the_one_of_the_analysis(run: Run, data: dict[str, Any]) -> None:
    """Lane, name and end of each step, read back, are those of `critical_path`; the last one ends with the run."""
    buffers = Geometry.of(load_spec(run.summary["spec"])).buffers
    for device in data["devices"]:
        risc, name, lasts = unpack(device["path"])
        ends = np.cumsum(lasts).tolist()
        steps = [(RISCS[r], data["names"][n], end) for r, n, end in zip(risc, name, ends, strict=True)]
        path = merged(critical_path(run.traces[device["ring_id"]], buffers))
        assert steps == [(segment.risc, str(segment.what), segment.end) for segment in path]
        assert ends[-1] == device["wall"]


def test_a_long_run_keeps_the_cores_that_tell_most_and_says_what_is_missing(run: Run, data: dict[str, Any]) -> None:
    """A budget for two cores of each device keeps the last and the first to end; totals stay those of all cores."""
    largest = max(len(run.traces[0].spans(tuple(core))) for core in data["devices"][0]["cores"])
    few = describe(run, spans=2 * len(run.traces) * largest)
    for device, whole in zip(few["devices"], data["devices"], strict=True):
        why = {detail["why"] for detail in device["detail"].values()}
        assert {"ends last", "ends first"} <= why
        assert device["spans_kept"] <= 2 * largest < device["spans"]
        assert device["merged_below"] == 0
        assert [part.tolist() for part in unpack(device["totals"])] == [part.tolist() for part in unpack(whole["totals"])]


def test_spans_are_merged_only_where_one_core_alone_is_too_long(run: Run) -> None:
    """With room for 60 spans a device, one core is left; its lanes end when they did, and short steps are one name."""
    few = describe(run, spans=60 * len(run.traces))
    for device in few["devices"]:
        assert device["merged_below"] >= 64
        (core,) = device["detail"]
        trace, place = run.traces[device["ring_id"]], tuple(device["cores"][int(core)])
        lanes = lanes_of(few, device, core)
        assert sum(map(len, lanes.values())) <= 60 or device["merged_below"] >= device["wall"]
        assert any(name == SEVERAL for spans in lanes.values() for name, *_ in spans)
        for risc, spans in lanes.items():
            rows = trace.spans(place, risc)
            assert len(rows) == 0 or spans[-1][3] == rows["end"][-1]
            assert {span for span in spans if span[0] != SEVERAL} <= {spoken(trace, row) for row in rows}


def test_every_name_has_a_family_and_a_colour(data: dict[str, Any]) -> None:
    """Each name's family is one of those in the legend, and waits are never in a family of work."""
    keys = {f.key: f.label for f in FAMILIES}
    for name, key in zip(data["names"], data["family_of"], strict=True):
        assert key in keys
        assert keys[key].startswith("wait") == name.startswith("wait ")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("matmul", "matmul"), ("sub exp", "sfpu"), ("max rows", "fpu"), ("read K", "move"), ("wait dram bank", "dram"),
        ("wait noc link", "link"), ("wait noc latency", "latency"), ("wait space k_in", "space"), ("wait k_in", "tiles"),
        ("wait math", "thread"), ("wait semaphore go", "wait"), ("done", "done"), ("something new", "other"),
        ("multiply", "matmul"), ("forward k_in", "move"),
    ],
)  # fmt: skip
def test_families_go_by_unit_and_by_who_is_waited_for(name: str, key: str) -> None:
    """One name of each family."""
    assert family(read(name), {verb.name: verb.unit for verb in (Matmul, SubExp, RowMax, MatmulRows)}) == key


class Resources(HTMLParser):
    """Collects what a page would load, and its sections."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, scripts, and attributes that name a resource."""
        self.scripts += tag == "script"
        for key, value in attrs:
            if key == "id" and value:
                self.ids.add(value)
            if key in ("src", "href", "srcset", "data", "action") or tag in ("link", "iframe", "base"):
                self.loads.append(f"{tag} {key}={value}")


def test_the_page_loads_nothing(run: Run) -> None:
    """No tag names a resource, no style imports one, no address is anywhere in the page."""
    text = page(run, [VERDICT])
    parser = Resources()
    parser.feed(text)
    assert parser.loads == []
    assert not re.search(r"https?://|@import|url\(", text)
    assert {"verdict", "ring", "cores", "floor", "time", "budget", "roofline", "path", "config", "l1", "accuracy"} <= parser.ids


def test_names_cannot_break_out_of_the_page(run: Run) -> None:
    """With an end of script and a comment in a verdict, the page still has two scripts, and its data says the same."""
    nasty = "</script><script>alert(1)</script><!-- {{style}} \\1 &amp;"
    text = page(run, [replace(VERDICT, text=nasty)])
    parser = Resources()
    parser.feed(text)
    assert parser.scripts == 2
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    assert json.loads(found[1])["verdicts"][0]["text"] == nasty


def test_a_suspect_run_says_so_before_anything_else(run: Run) -> None:
    """The sentence of the screen of `run` begins what `report` prints and heads the page; a run that is not suspect has none."""
    place = Beyond(
        device=2, batch=0, head=1, rows=(3, 3), page=5, core=(1, 0), rel_l2=0.7, expected=0.02, others=1.0, step="V chunk 3"
    )
    accuracy = Accuracy(pcc=0.8, rmse=0.1, rel_l2=0.5, max_abs=1.0, worst_row=0.7, suspect=True, place=place)
    wrong = replace(run, summary={**run.summary, "accuracy": accuracy.model_dump(mode="json")})
    assert " ".join(report_screen(wrong, [], []).split()).startswith(place.text())
    assert place.text().endswith("wrong from V chunk 3 on")
    assert describe(wrong)["suspicion"] == place.text()
    assert describe(run)["suspicion"] is None


def test_the_same_run_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Two pages and two sets of pictures of one run do not differ."""
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for path in pages:
        write_report(run, [VERDICT], path)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_run_without_a_trace_has_a_page_too(tmp_path: Path) -> None:
    """With trace: off there are no cores and no servers; the figures and the L1 map are there."""
    simulate({**SPEC, "trace": "off", "ring_id": 0}).write(tmp_path)
    run = open_run(tmp_path)
    data = describe(run)
    assert data["devices"][0]["cores"] == []
    assert data["devices"][0]["cycles"] > 0
    assert data["l1"]["buffers"]
    assert "</html>" in page(run)


def test_with_a_trace_of_transfers_the_bytes_of_the_cores_add_up(tmp_path: Path) -> None:
    """Bytes of all cores are those that the device read and wrote."""
    simulate({**SPEC, "trace": "transfers", "ring_id": 1}).write(tmp_path)
    (device,) = describe(open_run(tmp_path))["devices"]
    assert sum(device["bytes_of"]) == device["dram_read_bytes"] + device["dram_write_bytes"]


def test_infinite_and_missing_figures_become_null(run: Run) -> None:
    """A what-if without a finite gain does not break the JSON."""
    what_if = RelievedRun("FPU", "twice the rate", 1, float("nan"))
    data = describe(run, [replace(VERDICT, what_ifs=[what_if])])
    assert data["verdicts"][0]["what_ifs"][0]["gain"] is None


def test_each_figure_of_the_verdict_says_what_it_was_drawn_from(data: dict[str, Any]) -> None:
    """A what-if and a tried change are whole runs, a bound is one; gains are numbers and words."""
    (verdict,) = data["verdicts"]
    ran, bounded = verdict["what_ifs"]
    (tried,) = verdict["tried"]
    assert (ran["drawn_from"], tried["drawn_from"]) == ("run whole", "run whole")
    assert bounded["drawn_from"].startswith("bound: at most")
    assert [one["saved"] for one in (ran, bounded, tried)] == ["50.0% less", "at most 25.0% less", "12.5% less"]
    assert tried["change"] == {"compute_kernel_config.math_fidelity": "HiFi3"}
    assert json.dumps(data, allow_nan=False)


@pytest.mark.slow
def test_the_pictures_are_png_files_and_the_same_each_time(run: Run, tmp_path: Path) -> None:
    """Six files that start as PNG does; drawn again, they have the same bytes."""
    pytest.importorskip("matplotlib")
    first, second = (write_pngs(run, [VERDICT], tmp_path / name) for name in "ab")
    assert {path.stem for path in first} == {"devices", "roofline", "cores", "time", "budget", "floor"}
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes().startswith(b"\x89PNG")
        assert a.read_bytes() == b.read_bytes()
