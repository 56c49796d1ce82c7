"""The released tools read what is emitted. `make test-tools` installs them, each in its own environment, and runs this."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from processes import HANGS, await_event
from specs import upstream

from tensix_sim import simulate
from tensix_sim.config import load_spec
from tensix_sim.doctor.check import check
from tensix_sim.emit import emit

TOOLS = Path(os.environ.get("TENSIX_SIM_TOOLS", ""))
OP = "RingDistributedSdpaDeviceOperation"
RING = upstream(S=1024, k=128, grid=[7, 10], trace="transfers")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("TENSIX_SIM_TOOLS" not in os.environ, reason="TENSIX_SIM_TOOLS names no folder of tools: make test-tools"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring of four with all that the tools read."""
    folder = tmp_path_factory.mktemp("run") / "ring"
    emit(simulate(load_spec(RING)).as_run(), ["perf-csv", "visualizer"], folder)
    return folder


def test_tt_perf_report_prints_the_op(folder: Path) -> None:
    """It finds four devices, takes the slowest, and knows its cores and data types."""
    command = [TOOLS / "perf-report/bin/tt-perf-report", "ops_perf_results_ring.csv", "--no-color"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "Detected data from 4 devices" in shown
    slowest = max(d.duration_us for d in simulate(load_spec(RING)).devices)
    (line,) = [line for line in shown.splitlines() if f"{OP} " in line and "BFP8" in line]
    assert re.search(rf"\b{round(slowest)} μs", line), line
    assert "BFP8, BFP8 => BFP8" in line


def test_tt_perf_report_classifies_plain_sdpa(tmp_path: Path) -> None:
    """As computing. The ring op's code is not in the list of the released tool, which says so, as it does for hardware's logs."""
    emit(simulate(upstream("sdpa", S=1024, k=128, trace="zones")).as_run(), ["perf-csv"], tmp_path / "plain")
    command = [TOOLS / "perf-report/bin/tt-perf-report", "ops_perf_results_plain.csv", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path / "plain", capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    assert "Unclassified" not in done.stdout + done.stderr
    assert re.search(r"SDPAOperation .* Compute", done.stdout)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of a running ttnn-visualizer with the folder open, and its query."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reports = folder / "ttnn-visualizer"
    home = tmp_path_factory.mktemp("home")
    log = home / "log"
    command = [
        TOOLS / "visualizer/bin/ttnn-visualizer", "--host", "127.0.0.1", "--port", str(port),
        "--profiler-path", reports / "profiler", "--performance-path", reports / "performance",
    ]  # fmt: skip
    with log.open("w") as out, subprocess.Popen(command, cwd=home, stdout=out, stderr=out, start_new_session=True) as process:
        try:
            instance = await_event(lambda: re.search(r"instanceId=\w+", log.read_text(errors="replace")), process)
            await_event(lambda: answers(f"http://127.0.0.1:{port}/"), process)
            yield f"http://127.0.0.1:{port}", instance[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False


def get(server: tuple[str, str], path: str) -> Any:
    """An answer of the visualizer's API."""
    address, instance = server
    with urlopen(f"{address}/api/{path}{'&' if '?' in path else '?'}{instance}", timeout=HANGS) as answer:
        return json.load(answer)


def test_ttnn_visualizer_serves_the_op(server: tuple[str, str]) -> None:
    """The op, its tensors, devices, circular buffers, kernel zones, results and NoC timelines, as they were emitted."""
    (op,) = get(server, "operations")
    assert op["name"] == OP
    assert get(server, "operations/1")["l1_sizes"] == [1499136] * 4
    assert get(server, "tensors")[0]["shape"] == "[1, 8, 1024, 128]"
    assert len(get(server, "devices")) == 4
    allocated = [n for n in get(server, "operations/1")["device_operations"] if n["node_type"] == "circular_buffer_allocate"]
    assert len(allocated) == 4 * len(check(load_spec(RING)).l1)
    assert get(server, "performance/device-log/meta") == {"architecture": "wormhole_b0", "frequency": 1000, "max_cores": 80}
    assert len(get(server, "performance/perf-results")) == 4
    assert get(server, "performance/device-log/zone/BRISC-KERNEL")["rows"]
    assert {*get(server, "cluster-descriptor")["chips"]} == {"0", "1", "2", "3"}  # without which it warns
    manifest = get(server, "performance/npe/manifest")
    assert len(manifest) == 4
    assert get(server, f"performance/npe/timeline?filename={manifest[0]['file']}")["common_info"]["arch"] == "wormhole_b0"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
@pytest.mark.parametrize(
    ("page", "shows"),
    [
        ("operations", f"1 {OP} () Memory details"),
        ("operations/1", "0103712 L1 START"),
        ("performance", f"n/a {OP} Other"),
        (f"npe/{OP}_ID1024.json", "Congestion Model: tensix_sim"),
    ],
)
def test_the_visualizers_pages_show_the_op(server: tuple[str, str], page: str, shows: str) -> None:
    """In a real browser, each page has what it alone can have of the op: the footer of every page names it."""
    assert shows in page_text(server, page)
    assert shows not in page_text(server, "no-such-page")


def page_text(server: tuple[str, str], page: str) -> str:
    """What a reader sees of a page."""
    address, instance = server
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000", "--dump-dom"]
    done = subprocess.run([*command, f"{address}/{page}?{instance}"], capture_output=True, text=True, timeout=HANGS, check=True)
    seen = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", done.stdout)
    return " ".join(seen.split())
