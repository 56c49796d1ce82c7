"""The command line as a person meets it: what it prints, where, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pftrace import VIEWED
from processes import HANGS, await_event

from tensix_sim.cli import main
from tensix_sim.user_errors import UserError
from tensix_sim.workers import WorkerError

SMALL = ("--set", "inputs.seq_len=512", "--set", "inputs.q_heads=2", "--set", "program_config.q_chunk_size=64")
SMALL += ("--set", "program_config.k_chunk_size=64", "--jobs", "1")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, args)


def test_run_prints_each_device_and_leaves_its_traces(command, tmp_path: Path) -> None:
    """`run` has a line for each device on stdout, its files in its folder, and the JSON that it was asked for."""
    result: Result = command("run", *SMALL, "--name", "mine", "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines() if line[:1].isdigit()] == ["0", "1", "2", "3"]
    written = {f.name for f in (tmp_path / "traces/runs/mine").iterdir()}
    assert written == {VIEWED, "cores.csv", "summary.json", *(f"device-{i}.npz" for i in range(4))}
    data = json.loads((tmp_path / "out.json").read_text())
    assert {"spec", "effective", "devices", "accuracy", "wall_seconds", "peak_rss_bytes"} <= set(data)
    device = data["devices"][0]
    wanted = "ring_id cycles duration_us kernel_cycles_per_core active_cores steps_per_core masked_steps fpu_cycles sfpu_cycles "
    wanted += "math_cycles unpack_cycles pack_cycles dram_read_bytes dram_write_bytes dram_utilization noc_utilization "
    wanted += "ideal_cycles math_utilization waits accuracy"
    assert set(wanted.split()) <= set(device)
    assert data["spec"]["queue_id"] == 0
    assert (tmp_path / "traces/runs/mine" / VIEWED).stat().st_size > 1000


def test_run_without_numbers_or_traces(command, tmp_path: Path) -> None:
    """With both off there is no accuracy and no trace; `off` needs no quotes."""
    result = command("run", *SMALL, "--set", "numerics=off", "--set", "trace=off", "--name", "bare", "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert [f.name for f in (tmp_path / "traces/runs/bare").iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "out.json").read_text())["accuracy"] is None


def test_a_plain_op_runs_on_one_device(command, tmp_path: Path) -> None:
    """Plain SDPA by its name: one line, traces in a folder that speaks of no ring, and the kernel that was chosen."""
    result = command("run", *SMALL, "--set", "op=sdpa", "--set", "mesh=null", "--set", "is_causal=false", "--json", "out.json")
    assert result.exit_code == 0, result.output
    assert "not causal" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines() if line[:1].isdigit()] == ["0"]
    assert (tmp_path / "traces/runs/sdpa-galaxy-s512" / VIEWED).exists()
    effective = json.loads((tmp_path / "out.json").read_text())["effective"]
    assert (effective["kernel"], effective["kernel_requested"]) == ("legacy", None)


@pytest.mark.parametrize("verb", ["run", "check"])
def test_an_illegal_config_ends_with_1_and_every_violation(command, verb: str) -> None:
    """Both name every key at fault with its value; `run` simulates nothing."""
    result = command(verb, "--set", "ring_size=3", "--set", "inputs.head_dim=100", "--set", "no_such_key=7")
    assert result.exit_code == 1
    for text in ("ring_size = 3", "inputs.head_dim = 100", "no_such_key = 7"):
        assert text in result.output
    assert not Path("traces").exists()


def test_check_shows_what_would_be_used(command) -> None:
    """A legal spec: the kernels' effective settings and the L1 map."""
    result = command("check", "--json", "report.json")
    assert result.exit_code == 0
    for text in ("legal", "barrier_threshold", "qk_subblock", "k_in", "address"):
        assert text in result.output
    assert json.loads(Path("report.json").read_text())["violations"] == []


def test_boards_lists_them(command) -> None:
    """A line for each board."""
    result = command("boards")
    assert result.exit_code == 0
    assert all(board in result.output for board in ("n150", "n300", "t3000", "galaxy", "p100a", "p150b"))


@pytest.mark.parametrize("args", [("run", "--jobs", "0"), ("fly",), ("run", "--no-such-option"), ("run", "a.yaml", "b.yaml")])
def test_wrong_usage_ends_with_2(command, args: tuple[str, ...]) -> None:
    """The command line itself is wrong."""
    assert command(*args).exit_code == 2


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(None, "cannot be read"), ("a: [", "YAML"), ("- 1", "mapping"), ("", "mapping"), ("inputs: 3", "inputs"), ("{}", "inputs")],
)
def test_a_bad_spec_file_is_one_message(command, content: str | None, wanted: str) -> None:
    """A missing or malformed file ends with 1 and names what is wrong."""
    if content is not None:
        Path("spec.yaml").write_text(content)
    result = command("run", "spec.yaml")
    assert result.exit_code == 1
    assert wanted in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("key", "value"), [("memory_config", "l1_height_sharded"), ("head_dim_v", "wide")])
def test_what_is_not_modelled_says_so(command, key: str, value: str) -> None:
    """Known names that this version does not simulate are refused as such."""
    result = command("check", "--set", f"{key}={value}")
    assert result.exit_code == 1
    assert f"{key} = '{value}'" in result.output
    assert "not modelled" in result.output


def test_a_full_disk_is_one_message_and_no_half_file(command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of disk while the trace is written: exit 2, the file named, nothing left of it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "traces/runs/x/cores.csv")

    monkeypatch.setattr("tensix_sim.trace.store.write_core_csv", full)
    result = command("run", *SMALL, "--name", "x")
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    assert not Path("traces").exists()


def test_a_failed_program_ends_with_3(command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock of the simulated program is told as it is: who waits for whom, where."""
    from tensix_sim.kernel_api import DataMovement

    monkeypatch.setattr(DataMovement, "pop", lambda *_: None)
    result = command("run", *SMALL)
    assert result.exit_code == 3
    assert "deadlock at cycle" in result.output
    assert "kernels/sdpa/" in result.output


def test_an_error_of_the_users_ends_with_its_own_exit_code(command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises it: its text and its notes on stderr, nothing on stdout, no traceback."""

    class KnownError(UserError):
        exit_code = 7

    def wrong() -> None:
        error = KnownError("wrong")
        error.add_note("and why")
        raise error

    monkeypatch.setattr("tensix_sim.presets.presets", wrong)
    result = command("presets")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "", "wrong\nand why\n")


@pytest.mark.parametrize(
    ("what", "args", "left"),
    [
        ("tensix_sim.simulation.simulate", ("run", *SMALL), "nothing was written"),
        ("tensix_sim.tuning.tune", ("tune", *SMALL, "--store", "s.sqlite"), "what was measured is kept in s.sqlite"),
    ],
)
def test_when_a_worker_dies_it_is_said_what_is_left(
    command, what: str, args: tuple[str, ...], left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit code 2; a run leaves nothing, a sweep its store."""

    def dies(*_: object, **__: object) -> None:
        raise WorkerError("a worker process died")

    monkeypatch.setattr(what, dies)
    result = command(*args)
    assert (result.exit_code, result.stderr) == (2, f"a worker process died; {left}\n")
    assert not Path("traces").exists()


INTERRUPTED = """
import pathlib, sys
from concurrent.futures import ProcessPoolExecutor
from tensix_sim.cli import main
begun, usual = pathlib.Path(sys.argv.pop()), ProcessPoolExecutor.submit
def submit(*args):
    future = usual(*args)
    begun.touch()
    return future
ProcessPoolExecutor.submit = submit
main()
"""


@pytest.mark.usefixtures("interrupts")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_with_130_and_writes_nothing(tmp_path: Path) -> None:
    """An interrupt in the middle of a run in two processes: one line, no files, no processes left."""
    folder, begun = tmp_path / "folder", tmp_path / "begun"
    folder.mkdir()
    args = [sys.executable, "-c", INTERRUPTED, "run", "--jobs", "2"]
    args += ["--set", "inputs.seq_len=32768", "--set", "numerics=off", str(begun)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(args, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    await_event(begun.exists, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130, err
    assert out == ""
    assert err.strip().splitlines()[-1] == "interrupted; nothing was written"
    assert "Traceback" not in err
    assert list(folder.iterdir()) == []


def test_a_trace_too_long_for_a_viewer_is_not_written_for_one(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace for it, not even an older one, and a line that says so; the columns are there all the same."""
    command("run", *SMALL, "--set", "numerics=off", "--name", "long")
    monkeypatch.setattr("tensix_sim.trace.store.VIEWER_SPANS", 100)
    result = command("run", *SMALL, "--set", "numerics=off", "--name", "long")
    assert result.exit_code == 0
    assert "too long for Perfetto" in result.stderr
    written = {f.name for f in (tmp_path / "traces/runs/long").iterdir()}
    assert VIEWED not in written
    assert "device-0.npz" in written


# -- report --------------------------------------------------------------------------------------------------


def test_report_writes_a_page_and_says_what_binds(command, tmp_path: Path) -> None:
    """The page and pictures lie in the run's folder, the verdict on each device is on stdout."""
    command("run", *SMALL, "--set", "numerics=off", "--name", "mine")
    result = command("report", "traces/runs/mine", "--png", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("device ")]
    assert "ound by" in result.stdout
    folder = tmp_path / "traces/runs/mine"
    assert "<title>ring_distributed_sdpa on galaxy</title>" in (folder / "report.html").read_text()
    assert {"devices.png", "cores.png", "floor.png", "time.png", "budget.png", "roofline.png"} <= {
        f.name for f in folder.iterdir()
    }


def test_report_without_what_ifs_only_writes(command, tmp_path: Path) -> None:
    """Nothing on stdout, the page where it was asked for."""
    command("run", *SMALL, "--set", "numerics=off", "--name", "mine")
    result = command("report", "traces/runs/mine", "--no-what-ifs", "--output", "page.html")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "page.html" in result.stderr
    assert (tmp_path / "page.html").is_file()


def test_report_on_what_is_no_run(command, tmp_path: Path) -> None:
    """An empty folder, a broken summary, a run of another version: one line each, exit code 2, no page."""
    (tmp_path / "x").mkdir()
    result = command("report", "x")
    assert result.exit_code == 2
    assert "no run is there" in result.stderr
    command("run", *SMALL, "--set", "numerics=off", "--name", "mine")
    summary = tmp_path / "traces/runs/mine/summary.json"
    data = json.loads(summary.read_text())
    for change, says, *options in (
        ({"spec": data["spec"] | {"colour": 1}}, "a run of another version: colour = 1"),
        ({"spec": data["spec"] | {"colour": 1}}, "a run of another version: colour = 1", "--no-what-ifs"),
        ({"devices": [{"ring_id": i} for i in range(4)]}, "figures of its devices differ"),
    ):
        summary.write_text(json.dumps(data | change))
        result = command("report", "traces/runs/mine", *options)
        assert result.exit_code == 2
        assert says in result.stderr
        assert not (tmp_path / "traces/runs/mine/report.html").exists()


def test_report_of_a_run_without_a_trace(command) -> None:
    """There is a page, which says what a trace would show; no what-ifs."""
    command("run", *SMALL, "--set", "numerics=off", "--set", "trace=off", "--name", "bare")
    result = command("report", "traces/runs/bare")
    assert (result.exit_code, result.stdout) == (0, "")
