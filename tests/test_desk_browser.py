"""What a person does with the page, in a real browser: find, pin, sum up, sort, copy, walk by keyboard, pass a place on."""

import csv
import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from specs import JOINT, raw
from test_report_browser import CHROMIUM, browse, noted

from tensix_sim import simulate
from tensix_sim.analysis import RelievedRun, Verdict
from tensix_sim.analysis.listing import listings
from tensix_sim.analysis.slices import arrivals
from tensix_sim.page import write_report
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.simulation import Result
from tensix_sim.trace import open_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]

HELPERS = """
  const note = (name, value) => (root.dataset[name] = typeof value === "string" ? value : JSON.stringify(value));
  const press = (node, key, more) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  const soon = (act) => setTimeout(act, 400);
  const when = (isSo, act) => (isSo() ? act() : setTimeout(() => when(isSo, act), 20));
  const canvas = document.querySelector("#time canvas"), box = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const at = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, { clientX: box.x + x, clientY: box.y + y, pointerId: 1, button: 0, bubbles: true }));
  const text = (query) => document.querySelector(query)?.textContent ?? "";
"""  # noqa: E501


@pytest.fixture(scope="module")
def result() -> Result:
    """A ring of four that are alike."""
    return simulate(raw(S=1024, heads=4, k=128, grid=[4, 4], ring_size=4, mesh=[8, 4], numerics="off"))


@pytest.fixture(scope="module")
def report(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page, with a verdict of each device."""
    folder = tmp_path_factory.mktemp("desk")
    result.write(folder / "run")
    what_ifs = [RelievedRun("FPU", "twice the FPU rate", 1, 0.5)]
    verdicts = [Verdict(d.ring_id, d.cycles, "FPU", "sure", "FPU binds.", what_ifs) for d in result.devices]
    write_report(open_run(folder / "run"), verdicts, folder / "report.html")
    return folder / "report.html"


def used(report: Path, probe: str, width: int = 1400, fragment: str = "light") -> str:
    """The page after a person has used it; nothing complained."""
    dom, console = browse(report, width, HELPERS + probe, fragment)
    assert console == ""
    assert noted(dom, "failed") == ""
    return dom


def told(dom: str, name: str) -> Any:
    """What a probe noted as JSON."""
    return json.loads(unescape(noted(dom, name)))


def test_what_is_searched_is_counted_and_gone_to(report: Path, result: Result) -> None:
    """As many spans and cycles as the trace has on that core; Enter shows and pins the first, Shift and Enter the last."""
    dom = used(report, """
      const find = document.getElementById("find");
      search(find.placeholder.replace(" …", "")); note("example", text("#found"));
      find.value = "math matmul"; find.dispatchEvent(new Event("input"));
      note("found", text("#found"));
      press(find, "Enter"); note("first", text("#pinned"));
      press(find, "Enter", { shiftKey: true }); note("last", text("#pinned"));
      note("core", text("#budget .note"));
      find.value = "no such verb"; find.dispatchEvent(new Event("input")); note("none", text("#found"));
    """)  # fmt: skip
    x, y, device = map(int, re.findall(r"Core \((\d+),(\d+)\) of device (\d+)", noted(dom, "core"))[0])
    trace = result.trace[device]
    name = trace.names.index("matmul")
    spans = [span for span in trace.spans((x, y), "math") if span["name"] == name]
    cycles = sum(int(span["end"] - span["start"]) for span in spans)
    assert noted(dom, "found") == f"{len(spans):,} spans, {cycles:,} cycles"
    assert re.fullmatch(r"[\d,]+ spans, [\d,]+ cycles", noted(dom, "example"))
    assert f"from {spans[0]['start']:,} to {spans[0]['end']:,}" in noted(dom, "first")
    assert f"from {spans[-1]['start']:,} to {spans[-1]['end']:,}" in noted(dom, "last")
    assert noted(dom, "none") == "nothing of that name"


def test_a_click_pins_a_span_and_zooming_leaves_no_tip(report: Path) -> None:
    """The pinned span stays while the pointer goes on; Escape lets go; a zoom by dragging hides the tip."""
    dom = used(report, """
      at("pointermove", 400, 120); at("pointerdown", 400, 120); at("pointerup", 400, 120);
      note("pinned", text("#pinned"));
      at("pointermove", 700, 120); note("still", text("#pinned"));
      at("pointerdown", 300, 120); at("pointermove", 420, 120); at("pointerup", 420, 120);
      note("tip", String(document.getElementById("tip").hidden));
      press(canvas, "Escape"); note("gone", text("#pinned"));
    """)  # fmt: skip
    assert re.match(r"\w+: .+ cycles, .+ from [\d,]+ to [\d,]+", noted(dom, "pinned"))
    assert noted(dom, "still") == noted(dom, "pinned")
    assert noted(dom, "tip") == "true"
    assert noted(dom, "gone") == "Click a span to pin it."


def test_a_pinned_span_leads_to_its_source_line(report: Path, result: Result) -> None:
    """To the text of the line that asked for it, in the listing, with the share of all its cycles; a file that is shut opens."""
    dom = used(report, """
      const find = document.getElementById("find");
      find.value = "writer output"; find.dispatchEvent(new Event("input")); press(find, "Enter");
      for (const part of document.querySelectorAll("#source details")) part.open = false;
      document.querySelector("#pinned button[title]").click();
      const row = document.querySelector("#source tr.chosen");
      note("row", [...row.cells].map((cell) => cell.textContent));
      note("shown", String(row.getBoundingClientRect().height > 0 && row.closest("details").open));
      note("device", text("#budget .note"));
    """)  # fmt: skip
    share, number, source = told(dom, "row")
    trace = result.trace[int(re.findall(r"of device (\d+)", noted(dom, "device"))[0])]
    listed = next(one for one in listings([trace]) if one.lanes == ["writer"])
    line = next(line for line in listed.lines if str(line.number) == number)
    cycles = line.busy["writer"] + sum(line.waits["writer"].values())
    assert source == line.text
    assert ".write(" in source
    assert share == f"{100 * cycles / listed.life:.1f}%"
    assert noted(dom, "shown") == "true"


def test_the_slices_of_a_joint_ring_are_listed(tmp_path: Path) -> None:
    """For the chosen device in the order of use: chip, hops, and when each link had brought its part."""
    run = simulate(raw(JOINT, S=1024, heads=2, kv_heads=2, dtype="bfloat16", grid=[4, 4], num_links=2, numerics="off")).as_run()
    write_report(run, [], tmp_path / "joint.html")
    dom = used(tmp_path / "joint.html", """
      note("rows", [...document.querySelectorAll("#slices tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent.replace(/,/g, ""))));
      note("hidden", document.getElementById("slices").hidden);
      note("contents", [...document.querySelectorAll("#contents a")].map((link) => link.textContent));
      note("head", text("#head"));
    """, fragment="device=1&core=0,0")  # fmt: skip # noqa: E501
    found = arrivals(RingGeometry.of(run.spec), 1, run.traces[1])
    assert [row[:5] for row in told(dom, "rows")] == [
        [str(one.slice), f"the chips {one.side}", str(one.hops), *map(str, one.landed)] for one in found
    ]
    assert not told(dom, "hidden")
    assert "Slices" in told(dom, "contents")
    assert "null" not in noted(dom, "head")


def test_sums_of_what_is_in_view_add_up_to_it(report: Path) -> None:
    """On every lane, for the whole run and for a part of it."""
    dom = used(report, """
      document.getElementById("sums").open = true;
      const plain = (cell) => +cell.textContent.replace(/,/g, "");
      const sums = () => [...document.querySelectorAll("#sums tr.sum td")].slice(1, 6).map(plain);
      soon(() => {
        note("whole", { sums: sums(), note: text("#sums .note") });
        for (const key of ["w", "w", "d", "d", "d"]) press(canvas, key);
        const whole = text("#sums .note");
        when(() => text("#sums .note") !== whole, () => note("part", { sums: sums(), note: text("#sums .note") }));
      });
    """)  # fmt: skip
    for part in ("whole", "part"):
        found = told(dom, part)
        start, end = (int(n.replace(",", "")) for n in re.findall(r"cycle ([\d,]+) to ([\d,]+)", found["note"])[0])
        assert found["sums"] == [end - start] * 5


def test_tables_sort_and_copy(report: Path, result: Result) -> None:
    """By a click on a title, then the other way round; sums stay last; CSV has plain numbers."""
    dom = used(report, """
      const table = document.querySelector("#path table"), title = table.tHead.rows[0].cells[2];
      const column = () => [...table.tBodies[0].rows].map((row) => [row.className, +row.cells[2].textContent.replace(/,/g, "")]);
      title.click(); note("down", column()); press(title, "Enter"); note("up", column());
      document.querySelector("#ring .copy").click();
      soon(() => note("csv", root.dataset.copied));
    """)  # fmt: skip
    for way, reverse in (("down", True), ("up", False)):
        *rows, (kind, total) = told(dom, way)
        numbers = [n for _, n in rows]
        assert numbers == sorted(numbers, reverse=reverse)
        assert kind == "sum"
        assert total == sum(numbers)
    table = list(csv.DictReader(io.StringIO(unescape(noted(dom, "csv")).replace("\\n", "\n"))))
    assert [int(row["cycles"]) for row in table] == [d.cycles for d in result.devices]


def test_the_keyboard_reaches_everything_and_keeps_its_place(report: Path) -> None:
    """Arrow keys walk over device tabs, rows of devices and cores; Enter chooses; the focus stays where it was."""
    dom = used(report, """
      const focused = () => document.activeElement.dataset.key ?? document.activeElement.tagName;
      const tabs = document.querySelectorAll("#devices button");
      note("tabstops", [...tabs].filter((tab) => tab.tabIndex === 0).length);
      [...tabs].find((tab) => tab.tabIndex === 0).focus(); press(document.activeElement, "Home");
      soon(() => {
        note("tab", [focused(), text("#devices button[aria-selected=true]")]);
        const core = document.querySelector('[data-key="core-0-0"]');
        core.focus();
        press(core, "ArrowDown"); note("down", focused());
        press(document.activeElement, "ArrowRight"); note("right", focused());
        press(document.activeElement, "Enter");
        soon(() => {
          note("core", [focused(), text("#budget .note")]);
          document.querySelector('[data-key="device-0"]').focus();
          press(document.activeElement, "ArrowDown"); press(document.activeElement, " ");
          soon(() => note("row", [focused(), text("#devices button[aria-selected=true]")]));
        });
      });
    """)  # fmt: skip
    assert told(dom, "tabstops") == 1
    assert told(dom, "tab") == ["tab-0", "0"]
    assert (noted(dom, "down"), noted(dom, "right")) == ("core-0-4", "core-0-5")
    key, note = told(dom, "core")
    assert key == "core-0-5"
    assert note.startswith("Core (1,1) of device 0")
    assert told(dom, "row") == ["device-1", "1"]


def test_a_link_opens_at_its_place_and_the_address_follows(report: Path) -> None:
    """Device, core and range; what it names that is not there is passed over."""
    dom = used(report, """
      note("window", text("#window")); note("core", text("#budget .note"));
      press(canvas, "d"); soon(() => note("address", location.hash));
    """, fragment="device=2&core=1,0&range=2000-3000")  # fmt: skip
    assert re.match(r"2,000 \W 3,000 cycles", noted(dom, "window"))
    assert noted(dom, "core").startswith("Core (1,0) of device 2")
    assert unescape(noted(dom, "address")) == "#device=2&core=1,0&range=2200-3200"
    assert used(report, "note('window', text('#window'));", fragment="device=9&core=1,0&range=5-1")


def test_alike_devices_are_one_card_and_a_narrow_table_fits(report: Path) -> None:
    """At 800 pixels the table of devices needs no scroll bar; the foot says what made the page, and how to make it again."""
    dom = used(report, """
      const table = document.querySelector("#ring .scroll");
      note("cards", document.querySelectorAll("#verdict .card").length); note("card", text("#verdict h3"));
      note("hidden", table.scrollWidth - table.clientWidth); note("foot", text("#foot"));
    """, width=800)  # fmt: skip
    assert told(dom, "cards") == 1
    assert noted(dom, "card").startswith("Devices 0, 1, 2, 3, alike")
    assert told(dom, "hidden") <= 0
    foot = unescape(noted(dom, "foot"))
    assert foot.startswith("tensix_sim ")
    assert "| tensix-sim run -" in foot
    assert "clock_hz" in foot


def test_the_command_in_the_foot_makes_the_run_again(report: Path, result: Result) -> None:
    """The spec that it pipes is the run's."""
    again = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', report.read_text(), re.DOTALL)[0])
    piped = re.findall(r"^echo '(.*)' \| tensix-sim run -$", again["foot"]["again"])
    assert simulate(json.loads(piped[0])).id == result.id
