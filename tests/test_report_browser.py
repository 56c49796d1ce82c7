"""The page in a real browser: every section is drawn, nothing complains, nothing is wider than the window."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from processes import HANGS
from specs import raw

from tensix_sim import run_program, simulate
from tensix_sim.analysis import RelievedRun, Tried, Verdict
from tensix_sim.formats import BFLOAT16
from tensix_sim.kernel_api import Tensor
from tensix_sim.kernels import eltwise_add
from tensix_sim.page import write_report, write_script_report
from tensix_sim.script import ScriptOp, ScriptRun, Taken
from tensix_sim.trace import open_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]

OF_ANY_PROGRAM = ("verdict", "cores", "floor", "time", "budget", "roofline", "path", "l1")
SECTIONS = ("verdict", "ring", "cores", "floor", "time", "budget", "roofline", "path", "config", "l1", "accuracy")
PROBE = """
<script>
addEventListener("error", (event) => (document.documentElement.dataset.failed = event.message));
addEventListener("unhandledrejection", (event) => (document.documentElement.dataset.failed = event.reason));
const asLong = setInterval(() => {
  const root = document.documentElement;
  if (!root.dataset.ready) return;
  clearInterval(asLong);
  root.dataset.overflow = root.scrollWidth - innerWidth;
  PROBE_MORE
}, 20);
</script>
"""
USE = """
  const canvas = document.querySelector("#time canvas"), box = canvas.getBoundingClientRect();
  const at = (kind, x, y, more) => canvas.dispatchEvent(new PointerEvent(kind, { clientX: box.x + x, clientY: box.y + y, pointerId: 1, bubbles: true, ...more }));
  const said = [];
  for (let y = 20; y < box.height; y += 8) { at("pointermove", 300, y, {}); said.push(document.getElementById("tip").textContent); }
  root.dataset.said = said.join("|");
  canvas.setPointerCapture = () => {};
  at("pointerdown", 200, 60, { button: 0 }); at("pointermove", 260, 60, {}); at("pointerup", 260, 60, {});
  canvas.focus();
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -120, cancelable: true, clientX: box.x + 300, clientY: box.y + 60 }));
  for (const key of ["+", "-", "ArrowLeft", "ArrowRight"]) canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  setTimeout(() => {
    root.dataset.window = document.getElementById("window").textContent;
    document.querySelectorAll("#devices button")[1].click();
    const select = document.querySelector("#cores select");
    for (let i = 0; i < select.options.length; i++) {
      const now = document.querySelector("#cores select");
      now.value = i; now.dispatchEvent(new Event("change"));
    }
    document.getElementById("theme").click();
    setTimeout(() => (root.dataset.used = document.querySelector("#devices button[aria-selected=true]").textContent), 300);
  }, 300);
"""  # noqa: E501


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a ring of two with numerics on."""
    folder = tmp_path_factory.mktemp("report")
    simulate(raw(S=1024, heads=4, k=128, grid=[4, 4])).write(folder)
    what_ifs = [RelievedRun("FPU", "twice the FPU rate", 1, 0.5), RelievedRun("DRAM", "twice the DRAM rate", 2, -0.1)]
    tried = (Tried("q_chunk_size 128", {"program_config.q_chunk_size": 128}, 1, 0.5),)
    verdicts = [Verdict(ring_id, 2, "FPU", "sure", "FPU binds.", what_ifs, tried) for ring_id in range(2)]
    write_report(open_run(folder), verdicts, folder / "report.html")
    return folder / "report.html"


def browse(page: Path, width: int, probe: str = "", fragment: str = "light") -> tuple[str, str]:
    """The page as the browser has it once drawn, with what a probe noted in the root's attributes, and what was logged."""
    assert CHROMIUM
    text = page.read_text(encoding="utf-8").replace("<main>", PROBE.replace("PROBE_MORE", probe) + "<main>")
    probed = page.with_name(f"probed-{width}-{len(probe)}-{fragment}.html")
    probed.write_text(text, encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom")
    command = [
        CHROMIUM,
        *flags,
        f"--window-size={width},900",
        f"--user-data-dir={page.parent / 'profile'}",
        f"file://{probed}#{fragment}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=True)
    return ran.stdout, "\n".join(line for line in ran.stderr.splitlines() if "CONSOLE" in line)


def noted(dom: str, name: str) -> str:
    """What the root's attribute data-<name> says."""
    found = re.search(rf'<html[^>]*\bdata-{name}="([^"]*)"', dom)
    return found[1] if found else ""


@pytest.mark.parametrize("width", [1400, 800])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_drawn_whole_and_fits_the_window(report: Path, width: int, theme: str) -> None:
    """Each section has a chart, a table or a sentence; the console is empty; no sideways scrolling of the page."""
    dom, console = browse(report, width, fragment=theme)
    assert console == ""
    assert noted(dom, "failed") == ""
    assert noted(dom, "ready") != ""
    assert noted(dom, "theme") == theme
    assert int(noted(dom, "overflow")) <= 0
    drawn_whole(dom, SECTIONS)


def drawn_whole(dom: str, sections: Iterable[str]) -> None:
    """Each of these sections has a chart or a table, and nothing on the page is missing its value."""
    for section in sections:
        found = re.search(rf'<section id="{section}">.*?</section>', dom, re.DOTALL)
        assert found, section
        assert re.search(r"<(svg|canvas|table)\b", found[0]), section
    assert "NaN" not in dom.partition('id="data"')[0]
    assert "undefined" not in dom.partition('id="data"')[0]


def test_the_page_of_a_program_of_ones_own_has_what_applies(tmp_path: Path) -> None:
    """Lanes, waits, budgets, critical path and L1 of `eltwise_add`; what only an op has is not there."""
    x, y = (Tensor(name, 4, 4, BFLOAT16) for name in "xy")
    out = Tensor("out", 4, 4, BFLOAT16, output=True)
    run_program(eltwise_add.program(x, y, out, (2, 2)), "n150").write_page(tmp_path / "page.html")
    dom, console = browse(tmp_path / "page.html", 1400)
    assert console == ""
    assert noted(dom, "failed") == ""
    drawn_whole(dom, OF_ANY_PROGRAM)
    for section in set(SECTIONS) - set(OF_ANY_PROGRAM):
        assert re.search(rf'<section id="{section}" hidden', dom), section
        assert f'href="#{section}"' not in dom


def test_the_page_of_a_script_has_its_ops_and_finds_them(tmp_path: Path) -> None:
    """The table of ops, a time line for each device, the budget; a click on an op finds its calls on both devices.

    What stands in the empty field as an example is found, too.
    """
    taken = (Taken(devices=(0, 1), start_ns=0, cycles=1000, us=1.0), Taken(devices=(1,), start_ns=1000, cycles=500, us=0.5))
    shape = {"shape": "1x1x32x32"}
    ops = tuple(
        ScriptOp(number=i, op=op, taken=(one,), **shape) for i, (op, one) in enumerate(zip(("linear", "add"), taken, strict=True))
    )
    about: dict[str, Any] = {"run": "0" * 16, "version": "0", "script": "a.py", "board": "n300", "chip": "wormhole_b0"}
    run = ScriptRun(**about, mesh=(1, 2), cores=64, numerics="off", clock_hz=10**9, simulated=2, ops=ops)
    write_script_report(run, tmp_path / "page.html")
    click = """
  const find = document.getElementById("find"), found = document.getElementById("found");
  search(find.placeholder.replace(" …", ""));
  root.dataset.example = found.textContent;
  document.querySelector("#ops tr.pick").click();
  setTimeout(() => (root.dataset.found = found.textContent), 300);
"""
    dom, console = browse(tmp_path / "page.html", 1400, click)
    assert console == ""
    assert noted(dom, "failed") == ""
    assert noted(dom, "example") == noted(dom, "found") == "2 spans, 2,000 cycles"
    assert int(noted(dom, "overflow")) <= 0
    drawn_whole(dom, ("ops", "time", "budget"))
    assert "Every lane adds up to the wall, 1,500 cycles" in dom
    for section in {*SECTIONS} - {"time", "budget"}:
        assert re.search(rf'<section id="{section}" hidden', dom), section


def test_the_budget_on_the_page_says_that_it_adds_up(report: Path) -> None:
    """The script's own sums of the lanes are the wall."""
    dom, _ = browse(report, 1400)
    assert "adds up to the wall" in dom
    assert "do not add up to the wall." not in dom.partition('id="data"')[0]


def test_hover_zoom_and_choices_work(report: Path) -> None:
    """The pointer goes over all rows, zooms by dragging, by wheel and by keys; then another device, every map, the theme."""
    dom, console = browse(report, 1400, USE)
    assert console == ""
    assert noted(dom, "failed") == ""
    said = noted(dom, "said")
    assert "reader: " in said
    assert "bytes per cycle" in said
    assert re.search(r"k_in: \d+ of \d+ tiles", said)
    first, last = (int(n.replace(",", "")) for n in re.match(r"([\d,]+)\W+([\d,]+) cycles", noted(dom, "window")).groups())  # type: ignore[union-attr]
    assert 0 < first < last
    assert noted(dom, "used") == "1"
    assert noted(dom, "theme") == "dark"
