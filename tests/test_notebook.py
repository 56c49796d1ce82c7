"""What an engineer types in a notebook: names complete, results show themselves, wrong names are errors."""

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from specs import raw

import tensix_sim
from tensix_sim import Result, open_run, run_program, simulate, tune
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.formats import BFLOAT16
from tensix_sim.kernel_api import Tensor
from tensix_sim.kernels import eltwise_add
from tensix_sim.presets import preset
from tensix_sim.screen import run_screen
from tensix_sim.trace import Cause, Totals
from tensix_sim.trace.trace import LANES, Trace
from tensix_sim.user_errors import UsageError

HERE = Path(tensix_sim.__file__).parents[1]


@pytest.fixture(scope="module")
def result() -> Result:
    """A small ring with values."""
    return simulate(raw(S=512, heads=2, k=64, grid=[2, 2]))


# -- names --------------------------------------------------------------------------------------------------


def test_the_package_lists_what_it_offers() -> None:
    """Tab completion and `help` show all of the API, and nothing of how it is made."""
    assert {*dir(tensix_sim)} == {*tensix_sim.__all__, "__version__"}
    told = subprocess.run(
        [sys.executable, "-c", "import tensix_sim; help(tensix_sim)"], capture_output=True, text=True, check=True
    ).stdout
    assert [
        name for name in ("simulate", "check", "tune", "preset", "open_run", "run_program") if f"    {name}(" not in told
    ] == []
    with pytest.raises(AttributeError, match="'simulte'; nearest: simulate, "):
        getattr(tensix_sim, "simulte")  # noqa: B009


def test_a_result_is_one_line_and_its_text_is_the_screen(result: Result, tmp_path: Path) -> None:
    """Of all that an API call gives, and of what is read back."""
    result.write(str(tmp_path / "run"))
    run = open_run(str(tmp_path / "run"))
    tuned = tune(tensix_sim.Space(spec=raw(S=512, heads=2, k=64, grid=[2, 2]), q_chunk=(32, 64)), accuracy=False)
    for shown in (result, run, tuned, result.devices[0], result.report, result.trace[0]):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 130
    assert str(result) == run_screen(result)
    ours = str(result).split("\n\n")
    assert str(run).split("\n\n") == [part for part in ours if not part.startswith(("effective: ", "note: "))]
    assert str(tuned).startswith("ring_distributed_sdpa on")


def test_a_notebook_shows_the_screen_and_a_picture(result: Result) -> None:
    """The same each time; without a trace, and of a sweep, the screen alone."""
    pytest.importorskip("matplotlib")
    shown = result._repr_html_()
    assert html.unescape(re.findall("<pre>(.*?)</pre>", shown, re.DOTALL)[0]) == str(result)
    assert shown.count('<img alt="lanes over time" src="data:image/png;base64,iVBOR') == 1
    assert shown == result._repr_html_()
    assert "<img" not in simulate(raw(S=512, heads=2, k=64, grid=[2, 2], trace="off", numerics="off"))._repr_html_()


def test_a_program_of_ones_own_shows_itself() -> None:
    """Its cycles, and what its lanes wait for."""
    pytest.importorskip("matplotlib")
    x, y = (Tensor(name, 4, 4, BFLOAT16) for name in "xy")
    ran = run_program(eltwise_add.program(x, y, Tensor("out", 4, 4, BFLOAT16, output=True), (2, 2)), "n150")
    assert len(repr(ran)) < 130
    assert f"{ran.cycles:,}" in str(ran)
    assert all(lane in str(ran) for lane in LANES.values())
    assert "<img" in ran._repr_html_()


# -- tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_figures_and_spans_are_data_frames(result: Result, library: str) -> None:
    """A row is a device, a wait of a lane, a span; sums are those of the figures and of the trace."""
    pytest.importorskip(library)
    devices = result.frame(by=library)
    assert type(devices).__module__.split(".")[0] == library
    assert list(devices["cycles"]) == [d.cycles for d in result.devices]
    assert list(devices["steps_per_core.max"]) == [d.steps_per_core.max for d in result.devices]
    waits = result.frame("waits", by=library)
    assert sum(waits["cycles"]) == pytest.approx(sum(sum(d.waits.values()) for d in result.devices))
    assert {*waits["lane"]} == {*LANES.values()}
    assert len(result.frame("servers", by=library)) == sum(len(d.servers) for d in result.devices)
    trace = result.trace[0]
    spans = trace.frame(by=library)
    of_math = sum(n for n, lane in zip(spans["cycles"], spans["lane"], strict=True) if lane == "math")
    assert of_math == sum(Totals.of(trace).by_name(risc="TRISC_1").values())
    waited = sum(n for n, waits in zip(spans["cycles"], spans["waits"], strict=True) if waits)
    assert waited == sum(trace.waits().values())
    assert len(trace.frame("counters", by=library)) == len(trace.counts())
    assert len(trace.frame("transfers", by=library)) == 0


def test_a_data_frame_that_cannot_be_made_says_what_to_install(result: Result) -> None:
    """An unknown library, and an unknown table, which has the nearest."""
    with pytest.raises(UsageError, match="a DataFrame needs dask, which is not installed"):
        result.frame(by="dask")
    with pytest.raises(UnknownNameError, match="unknown table 'wait'; nearest: waits"):
        result.frame("wait")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown table 'span'; nearest: spans"):
        result.trace[0].frame("span")  # type: ignore[arg-type]


# -- lanes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("risc", "lane"), LANES.items())
def test_a_lane_has_the_name_that_screens_give_it(result: Result, risc: str, lane: str) -> None:
    """Beside that of its RISC."""
    trace = result.trace[0]
    assert len(trace.spans((0, 0), lane)) > 0
    assert np.array_equal(trace.spans((0, 0), lane), trace.spans((0, 0), risc))
    assert trace.waits("lane")[lane] == trace.waits("risc")[risc]


def test_an_unknown_name_is_an_error_with_near_ones(result: Result) -> None:
    """Not an empty answer."""
    trace = result.trace[0]
    with pytest.raises(UnknownNameError, match="unknown RISC 'maths'; nearest: math"):
        trace.spans((0, 0), "maths")
    for core in ((9, 9), "0-0", 0):
        with pytest.raises(UnknownNameError, match=r"unknown core .*; nearest: \("):
            trace.spans(core)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown way to add waits up 'nonsense'; nearest: "):
        trace.waits(by="nonsense")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown counter 'dram bank 99 bytes'; nearest: dram bank ") as error:
        trace.bandwidth("dram bank 99")
    assert str(error.value).count(", ") == 2
    assert len(Trace("off").spans((0, 0), "math")) == 0  # where nothing was recorded every core is as empty


def test_paths_may_be_text(result: Result, tmp_path: Path) -> None:
    """Of runs and of specs."""
    result.write(str(tmp_path / "a"))
    result.write(tmp_path / "b")
    assert open_run(str(tmp_path / "a")).summary == open_run(tmp_path / "b").summary
    (tmp_path / "spec.yaml").write_text(
        "inputs: {q_heads: 1, kv_heads: 1, seq_len: 512, head_dim: 64}\nnumerics: off\nring_ids: [0]"
    )
    assert simulate(str(tmp_path / "spec.yaml")).devices == simulate(tmp_path / "spec.yaml").devices
    assert preset("llama8b-n150")["op"] == "sdpa"
    assert Cause("dst") in result.trace[0].waits()
