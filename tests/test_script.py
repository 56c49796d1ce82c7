"""A script is a run: its ops on each device's time line, its folder, and what the commands make of it."""

import csv
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tensix_sim import ttnn
from tensix_sim.analysis.reliefs import FASTER
from tensix_sim.cli import main
from tensix_sim.matmul import MatmulSpec, simulate
from tensix_sim.page import describe_script
from tensix_sim.page.packing import unpack
from tensix_sim.script import ScriptOp, ScriptRun, Taken, is_script, read_script
from tensix_sim.script.compare import compare_scripts
from tensix_sim.script.screen import script_screen
from tensix_sim.script.what_ifs import relieved, what_if, what_ifs_table
from tensix_sim.trace import RunError
from tensix_sim.ttnn.record import script_run
from tensix_sim.ttnn.session import SESSION

SCRIPT = """
import sys
import numpy as np, ttnn
print("from the script", *sys.argv[1:])
with ttnn.create_mesh_device(ttnn.MeshShape(1, 2)) as mesh:
    x = ttnn.rand((1, 1, 64, 128), mesh)
    qkv = ttnn.linear(x, ttnn.rand((1, 1, 128, 96), mesh))
    q, k, v = ttnn.experimental.nlp_create_qkv_heads(qkv, num_heads=1, num_kv_heads=1, transpose_k_heads=False)
    ttnn.add(q, k)
    ttnn.add(q, k)
    ttnn.gelu(q)
"""
SQUARE = """
import ttnn
x = ttnn.zeros((512, 512), ttnn.bfloat16, device=ttnn.open_device(device_id=0))
ttnn.matmul(x, x)
"""
pytestmark = pytest.mark.usefixtures("own_session")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tensix-sim run` made of the script."""
    place = tmp_path_factory.mktemp("scripts")
    (place / "block.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "tensix_sim", "run", "block.py", "--traces", ".", "--emit", "perf-csv", "--json", "-"]
    more = ["--set", "board=n300", "--set", "mesh=1x2", "--", "--tokens", "64"]
    done = subprocess.run([*command, *more], cwd=place, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "from the script --tokens 64" in done.stderr
    assert json.loads(done.stdout) == json.loads((place / "block/summary.json").read_text())
    return place / "block"


def made(*ops: tuple[str, list[tuple[tuple[int, ...], int, float]]]) -> ScriptRun:
    """A run of ops: name, and for some devices each from when on and how long, in microseconds."""
    written = [
        ScriptOp(
            number=i, op=name, shape="1x1x32x32",
            taken=tuple(Taken(devices=d, start_ns=1000 * start, cycles=int(us * 1000), us=us) for d, start, us in taken),
        )
        for i, (name, taken) in enumerate(ops)
    ]  # fmt: skip
    about: dict[str, Any] = {"run": "0" * 16, "version": "0", "script": "a.py", "board": "n300", "chip": "wormhole_b0"}
    return ScriptRun(**about, mesh=(1, 2), cores=64, numerics="off", clock_hz=10**9, simulated=1, ops=tuple(written))


def test_a_scripts_folder_is_read_back(folder: Path) -> None:
    """Every op with its devices, in order; both devices do the same, so each op was simulated once."""
    run = read_script(folder)
    assert is_script(folder)
    assert [op.op for op in run.ops] == ["linear", "nlp_create_qkv_heads", "add", "add", "gelu"]
    assert run.arguments == ("--tokens", "64")
    assert {taken.devices for op in run.ops for taken in op.taken} == {(0, 1)}
    assert run.simulated == 3
    assert run.ops[-1].taken[0].cycles is None
    spec = MatmulSpec(board="n300", m=64, k=128, n=96)
    assert run.ops[0].taken[0].cycles == simulate(spec).cycles


def test_a_devices_ops_follow_each_other(folder: Path) -> None:
    """On its time line without a gap, as nothing waits here; the shares of the time add up to all of it."""
    run = read_script(folder)
    for line in run.lines.values():
        for (_, one), (_, following) in pairwise(line):
            assert following.start_ns == pytest.approx(one.start_ns + 1000 * (one.us or 0), abs=1)
    assert sum(run.shares().values()) == pytest.approx(run.us)
    assert run.us == pytest.approx(sum(taken.us or 0 for op in run.ops for taken in op.taken), abs=0.01)


def test_files_for_other_tools_have_every_op(folder: Path) -> None:
    """A row of the CSV and an event of the time line for each op and device, of as many nanoseconds; all have the run's id."""
    run = read_script(folder)
    with (folder / "ops_perf_results_block.csv").open() as file:
        rows = list(csv.DictReader(file))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    timed = [(device, taken) for device, line in run.lines.items() for _, taken in line]
    assert [(e["pid"], e["ts"], e["dur"]) for e in spans] == [(d, t.start_ns / 1000, t.us or 0) for d, t in timed]
    wanted = [(str(d), str(round(1000 * t.us))) for d, t in timed if t.us is not None]
    assert [(row["DEVICE ID"], row["DEVICE FW DURATION [ns]"]) for row in rows] == wanted
    assert {row["tensix_sim run"] for row in rows} == {run.run}
    assert rows[0]["INPUT_0_Y_PAD[LOGICAL]"] == "64[64]"
    assert rows[0]["OUTPUT_0_X_PAD[LOGICAL]"] == "96[96]"


@pytest.mark.slow
@pytest.mark.skipif("TENSIX_SIM_TOOLS" not in os.environ, reason="TENSIX_SIM_TOOLS names no folder of tools: make test-tools")
def test_tt_perf_report_reads_a_scripts_ops(folder: Path) -> None:
    """As released: it finds both devices, merges them op by op, and knows the product's shape, cores and formats."""
    command = [f"{os.environ['TENSIX_SIM_TOOLS']}/perf-report/bin/tt-perf-report", "ops_perf_results_block.csv", "--no-color"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "Detected data from 2 devices" in shown
    assert re.search(r"MatmulDeviceOperation 64 x 128 x 96 .* HiFi2 BF16 x BF16 => BF16", shown)
    assert "4 device ops" in shown


def test_the_screen_says_what_each_op_costs(folder: Path) -> None:
    """Calls that are alike are one line; what has no cycles is named, and so is what the errors are of."""
    shown = CliRunner().invoke(main, ["report", str(folder)])
    assert shown.exit_code == 0, shown.output
    text = shown.stdout
    (line,) = [line for line in text.splitlines() if line.startswith("add ")]
    assert " 2 " in line
    assert "0-1" in line or "0,1" in line
    assert "cycles not modelled, and counted as none: gelu" in text
    assert re.search(r"wormhole_b0, product,\s+\dd: \d+", text)
    assert "8 ops on devices, of which 3 were simulated" in " ".join(text.split())


def gathering() -> ScriptRun:
    """Device 1 attends longer; device 0 waits for it before they gather, and gathers longer."""
    return made(
        ("linear", [((0, 1), 0, 10.0)]),
        ("scaled_dot_product_attention", [((0,), 10, 5.0), ((1,), 10, 20.0)]),
        ("all_gather", [((0,), 30, 40.0), ((1,), 30, 30.0)]),
    )


def test_the_page_has_a_time_line_for_each_device() -> None:
    """Spans of ops and waits one after the other, of as many cycles as at 1 GHz they took nanoseconds, in their kind's colour."""
    data = describe_script(gathering())
    packed = unpack(data["devices"][0]["detail"]["0"]["packed"])
    lanes = [
        [(data["names"][act], int(n)) for act, n in zip(*packed[2 * i : 2 * i + 2], strict=True)] for i in range(len(packed) // 2)
    ]
    attention = "sdpa 1x1x32x32"
    assert dict(zip(data["lanes"], lanes, strict=True)) == {
        "device 0": [("linear 1x1x32x32", 10_000), (attention, 5_000), ("waits", 15_000), ("all_gather 1x1x32x32", 40_000)],
        "device 1": [("linear 1x1x32x32", 10_000), (attention, 20_000), ("all_gather 1x1x32x32", 30_000)],
    }
    labels = {family["key"]: family["label"] for family in data["families"]}
    assert labels[data["family_of"][data["names"].index(attention)]] == "attention"
    assert [data["acts"][2 * i] for i in range(len(data["names"]))] == [*range(len(data["names"]))]


def test_each_device_of_the_page_adds_up_to_the_whole(folder: Path) -> None:
    """Cycles by op, of waits and after the end; the whole is the script's time. Ops without cycles stand in the table alone."""
    run = read_script(folder)
    for one in (run, gathering()):
        data = describe_script(one)
        (mesh,) = data["devices"]
        _, lane, _, cycles = unpack(mesh["totals"])
        for i in range(len(data["lanes"])):
            assert cycles[lane == i].sum() == mesh["wall"] == pytest.approx(one.us * one.clock_hz / 1e6, abs=len(one.ops))
    rows = {row[0]: row for row in describe_script(run)["ops"]["rows"]}
    assert "not modelled" in rows["gelu"]
    without = read_script(folder).model_copy(update={"ops": run.ops[-1:]})
    assert unpack(describe_script(without)["devices"][0]["totals"])[3].tolist() == [1, 1]


def test_report_writes_the_page(folder: Path, tmp_path: Path) -> None:
    """Beside the run or where it is asked for, the same bytes; on stdout alone if so."""
    page = tmp_path / "page.html"
    for arguments in ([], ["--output", str(page)]):
        done = CliRunner().invoke(main, ["report", str(folder), *arguments])
        assert done.exit_code == 0, done.output
        assert "linear" in done.stdout
    assert page.read_bytes() == (folder / "report.html").read_bytes()
    assert "block.py on n300" in page.read_text()
    printed = CliRunner().invoke(main, ["report", str(folder), "--output", "-"])
    assert printed.stdout == page.read_text()


def test_what_ifs_say_what_each_kind_of_op_saves() -> None:
    """What saves most first; the changes of the kinds are that of the whole."""
    run = gathering()
    halved = made(
        ("linear", [((0, 1), 0, 5.0)]),
        ("scaled_dot_product_attention", [((0,), 5, 5.0), ((1,), 5, 20.0)]),
        ("all_gather", [((0,), 25, 40.0), ((1,), 25, 30.0)]),
    )
    told = run.model_copy(update={"what_ifs": (what_if("SFPU", run), what_if("FPU", halved))})
    header, rows = what_ifs_table(told)
    assert header == ["what if twice as fast", "us", "the script takes", "products"]
    assert rows == [["FPU", "65.0", "7.1% less", "-5.0"], ["SFPU", "70.0", "0.0% less", ""]]
    assert re.search(r"^FPU +65\.0 +7\.1% less +-5\.0$", script_screen(told), re.MULTILINE)
    assert describe_script(told)["what_ifs"] == {"header": header, "rows": rows}


def test_what_is_relieved_is_what_a_specs_run_tries() -> None:
    """Each resource of a device, and between devices their links; of a run whose machine was changed, twice as fast as there."""
    run = made(("linear", [((0, 1), 0, 10.0)])).model_copy(update={"machine": {"dram.bank_rate": 10.0}})
    found = dict(relieved(run))
    assert found.keys() == {*FASTER, "Ethernet links"}
    assert found["DRAM banks"]["dram.bank_rate"] == 20
    alone = made(("linear", [((0,), 0, 10.0)]))
    assert dict(relieved(alone)).keys() == {*FASTER}


@pytest.mark.slow
def test_a_script_runs_again_for_each_what_if(tmp_path: Path) -> None:
    """A product with faster FPUs or banks takes what such a machine's takes; all else is as without what-ifs."""
    (tmp_path / "block.py").write_text(SQUARE)
    command = [
        sys.executable,
        "-m",
        "tensix_sim",
        "run",
        "block.py",
        "--traces",
        ".",
        "--set",
        "board=n150",
        "--set",
        "numerics=off",
    ]
    runs = []
    for name, more in (("plain", []), ("tried", ["--what-ifs"])):
        subprocess.run([*command, "--name", name, *more], cwd=tmp_path, capture_output=True, timeout=600, check=True)
        runs.append(read_script(tmp_path / name))
    plain, tried = runs
    assert tried == plain.model_copy(update={"what_ifs": tried.what_ifs})
    took = {one.cause: one.us for one in tried.what_ifs}
    for cause, numbers in relieved(plain):
        product = simulate(MatmulSpec(m=512, k=512, n=512, machine=numbers))
        assert took[cause] == pytest.approx(product.microseconds, abs=0.001)


def test_shares_are_of_the_device_that_ends_last() -> None:
    """What device 0 waits is not counted as work."""
    run = gathering()
    assert run.us == 70
    assert run.slowest == 0
    assert run.shares() == {"products": 10, "attention": 5, "collectives": 40, "around": 0, "waits": 15}
    assert "waits 21.4%" in " ".join(script_screen(run).split())


def test_a_comparison_adds_up() -> None:
    """Changes of kinds, and of ops, are those of the whole; an op that one side has alone stands against nothing."""
    plain = made(("linear", [((0, 1), 0, 10.0)]), ("scaled_dot_product_attention", [((0, 1), 10, 40.0)]))
    ring = made(
        ("linear", [((0, 1), 0, 11.0)]), ("ring_distributed_scaled_dot_product_attention", [((0, 1), 11, 12.0)]),
        ("all_gather", [((0, 1), 23, 3.0)]),
    )  # fmt: skip
    found = compare_scripts(plain, ring, ("plain", "ring"))
    assert sum(one.by for one in found.kinds) == pytest.approx(26 - 50)
    assert sum(one.by for one in found.ops) == pytest.approx(26 - 50)
    assert found.verdict == "ring takes 48.0% less than plain: 50.0 to 26.0 us; attention -28.0, collectives +3.0, products +1.0"


def test_a_comparison_names_the_settings_that_differ_and_no_others() -> None:
    """A number of the machine that both replaced alike is not among them; one that one side left alone is the machine's own."""
    run = made(("linear", [((0, 1), 0, 10.0)]))
    one = run.model_copy(update={"machine": {"dram.bank_rate": 30, "noc.link_rate": 16}, "numerics": "off"})
    other = run.model_copy(update={"machine": {"dram.bank_rate": 30}, "board": "t3000", "numerics": "fast"})
    notes = compare_scripts(one, other, ("one", "other")).notes
    assert notes == (
        f"board: {run.board} and t3000", "numerics: off and fast", "noc.link_rate: 16 and the machine's own",
    )  # fmt: skip
    assert compare_scripts(one, one, ("one", "one")).notes == ()


def test_limits_and_refusals_have_their_exit_codes(folder: Path, tmp_path: Path) -> None:
    """4 where a figure goes too far, 2 where what is asked for is not of a script, 3 where the script fails."""
    run = read_script(folder)
    slower = run.model_copy(update={"ops": (*run.ops, run.ops[0].model_copy(update={"taken": (later(run),)}))})
    (tmp_path / "slower").mkdir()
    slower.write_into(tmp_path / "slower")
    sides = [str(folder), str(tmp_path / "slower")]
    assert CliRunner().invoke(main, ["compare", *sides]).exit_code == 0
    assert CliRunner().invoke(main, ["compare", *sides, "--fail-if", "products>+1%"]).exit_code == 4
    assert CliRunner().invoke(main, ["compare", *sides, "--fail-if", "attention>+1%"]).exit_code == 0
    script = tmp_path / "block.py"
    script.write_text("raise SystemExit(5)")
    for arguments, code in (
        (["run", str(script), "--set", "inputs.seq_len=64"], 2), (["run", str(script), "--emit", "npe"], 2),
        (["run", str(script), "--gather"], 2), (["run", "--what-ifs"], 2), (["run", "--", "spec.yaml", "more"], 2),
        (["report", str(folder), "--png"], 2), (["report", str(folder), "--lines"], 2),
    ):  # fmt: skip
        assert CliRunner().invoke(main, arguments).exit_code == code, arguments


def later(run: ScriptRun) -> Taken:
    """The first op again, when all are through."""
    return run.ops[0].taken[0].model_copy(update={"start_ns": round(1000 * run.us)})


def test_a_broken_run_says_so(folder: Path, tmp_path: Path) -> None:
    """What is no number, what is missing, what is not there; a spec's run is none."""
    text = (folder / "summary.json").read_text()
    for broken in (text.replace('"start_ns": 0', '"start_ns": -1'), text.replace('"clock_hz"', '"clocks"'), "{"):
        (tmp_path / "summary.json").write_text(broken)
        with pytest.raises(RunError):
            read_script(tmp_path)
    with pytest.raises(RunError, match="tensix-sim run SCRIPT"):
        read_script(tmp_path / "none")
    assert not is_script(tmp_path / "none")


def test_the_same_script_is_the_same_run(folder: Path) -> None:
    """To the byte, recorded by hand this time."""
    options = ["--board", "n300", "--mesh", "1x2", "--record", "again"]
    command = [sys.executable, "-m", "tensix_sim.ttnn", *options, "--", sys.executable, "block.py", "--tokens", "64"]
    subprocess.run(command, cwd=folder.parent, capture_output=True, timeout=300, check=True)
    for name in ("summary.json", "trace.json"):
        assert (folder.parent / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_numbers_of_the_machine_change_every_op() -> None:
    """A cast and a product of faster DRAM, as their programs have them; no published time is of such a chip."""
    faster = {"dram.bank_rate": 60}
    ttnn.configure(board="n150", numerics="off")
    SESSION.forget()
    for machine in ({}, faster):
        ttnn.configure(machine=machine)
        with ttnn.manage_device(0) as device:
            x = ttnn.zeros((512, 512), ttnn.bfloat16, device=device)
            ttnn.typecast(x, ttnn.bfloat8_b)
            ttnn.matmul(x, x)
    cast, product, faster_cast, faster_product = (call.cycles or 0 for call in SESSION.calls)
    assert faster_cast < cast
    assert product == simulate(MatmulSpec(m=512, k=512, n=512)).cycles
    assert faster_product == simulate(MatmulSpec(m=512, k=512, n=512, machine=faster)).cycles
    run = script_run(Path("cast.py"))
    assert run.machine == faster
    assert {op.trust for op in run.ops} == {None}
    with pytest.raises(ValueError, match=r"dram\.bank_rat"):
        ttnn.configure(machine={"dram.bank_rat": 60})
