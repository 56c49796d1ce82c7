"""The folder of a run: of one run, whole, whoever is killed and when; and what is none is told in one message."""

import csv
import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pftrace import VIEWED
from specs import raw

from tensix_sim import simulate
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.emit import emit
from tensix_sim.identity import sources_hash
from tensix_sim.page import write_report
from tensix_sim.simulation import Result
from tensix_sim.summary import read_run
from tensix_sim.trace import RunError, open_run, whole_folder
from tensix_sim.trace.folder import OURS

RING = raw(S=256, numerics="off")
EMITTED = ("device-log", "perf-csv", "npe", "visualizer")


@pytest.fixture(scope="module")
def results() -> tuple[Result, Result]:
    """A ring, and the same with larger K chunks."""
    return simulate(load_spec(RING)), simulate(load_spec(RING, ["program_config.k_chunk_size=128"]))


@pytest.fixture
def folder(results: tuple[Result, Result], tmp_path: Path) -> Path:
    """The first run's folder."""
    results[0].write(tmp_path / "a")
    return tmp_path / "a"


# -- the id ------------------------------------------------------------------------------------------------------------


def test_every_file_of_a_run_has_its_id(tmp_path: Path) -> None:
    """Of the op, its tail, emitted files and the page, in the way of each format."""
    result = simulate(load_spec(RING, ["trace=transfers"]), gather=True)
    folder = tmp_path / "x"
    result.write(folder)
    emit(result.as_run(), EMITTED, folder)
    run = open_run(folder)
    write_report(run, [], folder / "report.html")
    assert run.id == result.id
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".npz":
            with np.load(path) as columns:
                assert json.loads(str(columns["about"][0]))["run"] == run.id
        elif path.suffix == ".sqlite":
            with closing(sqlite3.connect(path)) as database:
                assert (run.id,) in database.execute("SELECT value FROM report_metadata").fetchall()
        elif path.name != "manifest.json":  # a list for ttnn-visualizer, which has no place for it
            written = path.read_bytes()
            assert run.id.encode() in (gzip.decompress(written) if path.suffix == ".gz" else written), path
    with (folder / "transfers.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {run.id}


def test_the_perfetto_trace_has_the_id(results: tuple[Result, Result], tmp_path: Path) -> None:
    """As the low half of its uuid."""
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    (path,) = emit(results[0].as_run(), ["perfetto"], tmp_path)
    trace = proto.Trace()
    trace.ParseFromString(path.read_bytes())
    assert f"{trace.packet[0].trace_uuid.lsb & (1 << 64) - 1:016x}" == results[0].id


def test_the_id_is_of_the_input_alone(results: tuple[Result, Result]) -> None:
    """Again it is the same; another setting, tail or trace has another."""
    one, other = (result.id for result in results)
    assert simulate(load_spec(RING)).id == one
    assert len({one, other, simulate(load_spec(RING), gather=True).id, simulate(load_spec(RING, ["trace=off"])).id}) == 4


def test_the_id_is_of_the_values_in_files(tmp_path: Path) -> None:
    """Other numbers in the same files are another run."""
    shapes = {"q": (1, 2, 256, 64), "k": (1, 1, 256, 64), "v": (1, 1, 256, 64)}
    files = {name: str(tmp_path / f"{name}.npy") for name in shapes}
    ids = []
    for value in (1.0, 2.0, 1.0):
        for name, shape in shapes.items():
            np.save(files[name], np.full(shape, value, np.float32))
        ids.append(simulate(RING | {"inputs": files, "ring_ids": [0]}).id)
    assert ids[0] == ids[2] != ids[1]


def test_the_id_is_of_the_sources(results: tuple[Result, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """What another simulator gives is another run."""
    before = results[0].id
    monkeypatch.setattr("tensix_sim.identity.sources_hash", lambda: sources_hash()[::-1])
    assert results[0].id != before


# -- mixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["device-0.npz"], [VIEWED], ["cores.csv", "device-1.npz"], ["summary.json"]])
def test_a_mixture_of_two_runs_is_noticed(results: tuple[Result, Result], folder: Path, tmp_path: Path, names: list[str]) -> None:
    """Whichever files are of the other run: both commands that read a run name them, and end with 2."""
    results[1].write(tmp_path / "b")
    for name in names:
        (folder / name).write_bytes((tmp_path / "b" / name).read_bytes())
    for command in (["report", str(folder), "--no-what-ifs"], ["compare", str(folder), str(tmp_path / "b")]):
        done = CliRunner().invoke(main, command)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "runs are mixed" in done.stderr
        assert all(name in done.stderr for name in names)
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("head", [0, 5, 12])
def test_a_broken_archive_is_not_of_the_run(folder: Path, head: int) -> None:
    """Cut off or damaged from some byte on, it is named as what another run wrote would be."""
    for tail in (b"", b"\xff" * 9):
        (folder / "trace.json.gz").write_bytes(gzip.compress(b"x" * 999)[:head] + tail)
        with pytest.raises(RunError, match=r"runs are mixed: .*trace\.json\.gz"):
            open_run(folder)


def test_a_trace_under_another_name_is_noticed(folder: Path) -> None:
    """One device's trace copied over another's, and one of a device that the run has not."""
    trace = (folder / "device-1.npz").read_bytes()
    for name in ("device-0.npz", "device-7.npz"):
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_bytes(trace)
        with pytest.raises(RunError, match=f"runs are mixed: .*{name} is not, or not under the name"):
            open_run(folder)
        (folder / name).write_bytes(before) if before else (folder / name).unlink()
    open_run(folder)


def test_a_missing_trace_is_noticed(folder: Path) -> None:
    """The summary lists its devices."""
    (folder / "device-1.npz").unlink()
    with pytest.raises(RunError, match=r"device-1.npz missing"):
        open_run(folder)


def test_a_profile_of_hardware_may_lie_in_the_folder(folder: Path) -> None:
    """It is not of the run, does not pretend to be, and no later run takes it away."""
    (folder / "ops_perf_results_hw.csv").write_text("OP CODE\n")
    open_run(folder)
    with pytest.raises(OSError, match=r"holds ops_perf_results_hw\.csv"), whole_folder(folder):
        pass


# -- whole or not at all -----------------------------------------------------------------------------------------------


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_run_takes_the_place_of_an_older_one_whole(results: tuple[Result, Result], folder: Path) -> None:
    """Emitted files, pages and half-written files of the older one go; nothing is left beside it."""
    emit(results[0].as_run(), EMITTED[:2], folder)
    write_report(open_run(folder), [], folder / "report.html")
    (folder / ".trace.json.1a2b3c4d").write_text("half")
    results[1].write(folder)
    assert names(folder) == {"summary.json", VIEWED, "cores.csv", "device-0.npz", "device-1.npz"}
    assert open_run(folder).id == results[1].id
    assert names(folder.parent) == {"a"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
@pytest.mark.parametrize("older", [True, False])
def test_what_ends_badly_leaves_the_older_one(folder: Path, older: bool, error: type[BaseException]) -> None:
    """Nothing else is there either: no temporary folder, no parent that was made for it."""
    target = folder if older else folder.parent / "new" / "deep" / "b"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def write_half() -> None:
        with whole_folder(target) as new:
            (new / "summary.json").write_text("half")
            raise error(28, "No space left on device", str(new / "trace.json"))

    with pytest.raises(error):
        write_half()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(folder.parent) == {"a"}


def test_an_error_names_the_path_that_the_user_gave(folder: Path) -> None:
    """Not that of a temporary folder."""
    with pytest.raises(OSError, match="full") as caught, whole_folder(folder) as new:
        raise OSError(28, "full", str(new / "trace.json"))
    assert caught.value.filename == str(folder / "trace.json")


KILLED = """
import os, pathlib, signal, sys
from tensix_sim.trace import whole_folder
with whole_folder(pathlib.Path(sys.argv[1])) as new:
    (new / "summary.json").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_within(target: Path) -> None:
    """Another process writes as `target` and is killed before it is done."""
    assert subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False).returncode == -signal.SIGKILL


def test_a_killed_run_leaves_the_older_one_and_the_next_one_tidies(folder: Path) -> None:
    """Its temporary folder stays until a run into the same name; those of others, and of the living, are let alone."""
    before = (folder / "summary.json").read_bytes()
    killed_within(folder)
    killed_within(folder.parent / "b")
    assert (folder / "summary.json").read_bytes() == before
    assert len(names(folder.parent)) == 3
    with whole_folder(folder) as living, whole_folder(folder) as last:
        assert {name for name in names(folder.parent) if name.startswith(".a")} == {living.name, last.name}
        (living / "cores.csv").write_text("first")
        (last / "cores.csv").write_text("last")
    assert (folder / "cores.csv").read_text() == "first"  # the outer block ended last
    assert {name.partition("-")[0] for name in names(folder.parent)} == {"a", ".b.new"}


@pytest.mark.parametrize("exchange", [True, False])
def test_the_name_is_taken_with_and_without_an_exchange(folder: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot exchange two names, the older folder steps aside."""
    if not exchange:
        monkeypatch.setattr("tensix_sim.trace.folder.exchange", lambda *_: False)
    with whole_folder(folder) as new:
        (new / "cores.csv").write_text("new")
    assert names(folder) == {"cores.csv"}
    assert names(folder.parent) == {"a"}


@pytest.mark.parametrize("foreign", ["notes.txt", "device-0.npz/x", "sub/summary.json", ".hidden", "ttnn-visualizer/mine.md"])
def test_a_users_file_is_never_taken_away(folder: Path, foreign: str) -> None:
    """A folder with a file that no run writes is not replaced: that is said before the run, and names the file."""
    if foreign.startswith("device"):
        (folder / "device-0.npz").unlink()
    (folder / foreign).parent.mkdir(exist_ok=True)
    (folder / foreign).write_text("mine")
    spec = folder.parent / "spec.yaml"
    spec.write_text(json.dumps(RING))
    before = names(folder)
    done = CliRunner().invoke(main, ["run", str(spec), "--traces", str(folder.parent), "--name", "a", "--jobs", "1"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"holds {foreign}, which no run writes" in done.stderr
    assert names(folder) == before
    assert (folder / foreign).read_text() == "mine"


def test_a_name_that_is_a_file_or_too_long_is_refused_before_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is simulated for it."""
    monkeypatch.setattr("tensix_sim.simulation.run_device", lambda *_, **__: pytest.fail("it ran"))
    (folder.parent / "f").touch()
    for name, says in (("f", "is a file"), ("x" * 300, "File name too long"), ("a/cores.csv/x", "no name of a folder")):
        done = CliRunner().invoke(main, ["run", "--traces", str(folder.parent), "--name", name, "--jobs", "1"])
        assert done.exit_code == 2
        assert says in done.stderr


def test_the_list_of_our_files_is_whole(tmp_path: Path) -> None:
    """Run with everything, emitted, reported, and run again into the same folder."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps(RING | {"trace": "transfers"}))
    emitted = [word for kind in EMITTED for word in ("--emit", kind)]
    command = ["run", str(spec), "--traces", str(tmp_path), "--name", "x", "--jobs", "1", "--gather", *emitted]
    for _ in range(2):
        assert CliRunner().invoke(main, command).exit_code == 0
        assert CliRunner().invoke(main, ["report", str(tmp_path / "x"), "--no-what-ifs"]).exit_code == 0
    assert (tmp_path / "x" / "ops_perf_results_x.csv").is_file()
    assert len(OURS) == len(set(OURS))


# -- summaries and traces that no run wrote ----------------------------------------------------------------------------


def without(*keys: str) -> Callable[[Any], None]:
    """Take a key away."""

    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[int(key) if key.isdigit() else key]
        del data[keys[-1]]

    return change


def with_(value: Any, *keys: str) -> Callable[[Any], None]:
    """Set a key."""

    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[int(key) if key.isdigit() else key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("run"), "another version: summary.json has no id"),
        (with_(99, "schema"), "another schema"),
        (without("spec", "inputs"), "inputs"),
        (without("spec"), "not the summary of a run"),
        (without("effective"), "effective"),
        (without("devices", "0", "cycles"), "figures of its devices differ"),
        (without("devices", "1", "steps_per_core", "max"), "figures of its devices differ"),
        (with_(-5, "devices", "0", "cycles"), "devices.0.cycles = -5"),
        (with_(float("nan"), "devices", "0", "cycles"), "NaN is no number"),
        (with_("many", "devices", "0", "waits"), "figures of its devices differ"),
        (with_("galaxi", "spec", "board"), "galaxi"),
        (with_({"dram.bank": 3}, "spec", "machine"), "dram.bank"),
        (with_(0, "devices", "1", "ring_id"), "device-1.npz is not"),
        (with_([], "devices"), "device-0.npz, device-1.npz are not"),
        (with_({"topology": "ring"}, "tail"), "missing|tail"),
        (with_(3, "spec"), "not the summary of a run"),
    ],
)  # fmt: skip
def test_a_summary_that_no_run_wrote_is_one_message(folder: Path, change: Callable[[Any], None], says: str) -> None:
    """Missing, negative, not a number, unknown: report and compare end with 2 and say which."""
    path = folder / "summary.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=says):
        read_run(folder)
    for command in (["report", str(folder), "--no-what-ifs"], ["compare", str(folder), str(folder)]):
        done = CliRunner().invoke(main, command)
        assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_deep_nesting_is_one_message(folder: Path) -> None:
    """As deep as no reader goes."""
    (folder / "summary.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(RunError, match="not the summary of a run"):
        open_run(folder)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spans.name", np.full(1, 10_000, np.int32)), ("spans.lane", np.full(1, -1, np.int32)),
        ("counts.series", np.full(1, 10_000, np.int32)), ("spans.start", np.full(1, -7, np.int64)),
        ("spans.end", np.full(1, 0, np.int64)), ("spans.start", np.full(1, 0, np.float64)), ("about", np.array(["[1]"])),
        ("about", np.array(["3"])), ("about", np.array(["{}"])),
    ],
)  # fmt: skip
def test_a_trace_that_no_run_wrote_is_refused(folder: Path, column: str, value: Any) -> None:
    """Places that are not there, times that go back, columns of another type, no facts about itself."""
    path = folder / "device-0.npz"
    with np.load(path) as file:
        columns = dict(file)
    if column != "about":
        columns[column] = np.concatenate([columns[column][:-1].astype(value.dtype), value])
    else:
        columns[column] = value
    np.savez(path, **columns)
    with pytest.raises(RunError, match=r"device-0.npz"):
        open_run(folder)
