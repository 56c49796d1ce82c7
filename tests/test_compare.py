"""Comparing runs and profiles: what is said to have changed adds up to what did."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from specs import raw

from tensix_sim import simulate
from tensix_sim.accuracy import Beyond
from tensix_sim.analysis import FigureChange, ProfileError, compare, read_side
from tensix_sim.analysis.compare import of_run
from tensix_sim.analysis.profile import read_profile
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.page import comparison_page, write_comparison
from tensix_sim.screen import compare_screen
from tensix_sim.trace import open_run

RING = raw(numerics="off")
HEADER = (
    "OP CODE,GLOBAL CALL COUNT,DEVICE ID,CORE COUNT,DEVICE KERNEL DURATION [ns],DEVICE TRISC1 KERNEL DURATION [ns],"
    "Avg FPU util on full grid (%)"
)
LOG_HEADER = (
    "PCIe slot, core_x, core_y, RISC processor type, timer_id, time[cycles since reset], data, run host ID, trace id, "
    "trace id counter, zone name, type, source line, source file, meta data"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: HiFi2, and HiFi4 with larger K chunks."""
    folder = tmp_path_factory.mktemp("runs")
    simulate(load_spec(RING)).write(folder / "a")
    changes = ["compute_kernel_config.math_fidelity=HiFi4", "program_config.k_chunk_size=128"]
    simulate(load_spec(RING, changes)).write(folder / "b")
    return folder


def results(folder: Path, *rows: str) -> Path:
    """An ops_perf_results file of these rows."""
    path = folder / "ops_perf_results_x.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def device_log(folder: Path, *zones: tuple[int, int, int, str, str, int, int]) -> Path:
    """A device log of (slot, x, y, RISC, zone, start, end)."""
    lines = ["ARCH: wormhole_b0, CHIP_FREQ[MHz]: 1000, Max Compute Cores: 64", LOG_HEADER]
    for slot, x, y, risc, zone, start, end in zones:
        for kind, time in (("ZONE_START", start), ("ZONE_END", end)):
            lines.append(f"{slot},{x},{y},{risc},1,{time},0,{(5 << 10) | slot},,,{zone},{kind},1,a.cpp,")
    path = folder / "profile_log_device.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_changes_of_the_path_add_up_to_that_of_the_cycles(folder: Path) -> None:
    """Every cycle by which a device is slower or faster stands in some line."""
    comparison = compare(read_side(folder / "a"), read_side(folder / "b"))
    assert [d.device for d in comparison.devices] == [0, 1]
    for device in comparison.devices:
        assert device.cycles.by != 0
        assert sum(p.by for p in device.path) == device.cycles.by
        assert sum(p.before for p in device.path) == device.cycles.before
        assert [abs(p.by) for p in device.path] == sorted((abs(p.by) for p in device.path), reverse=True)


def test_settings_that_differ_are_told_and_no_others(folder: Path) -> None:
    """What was set, and what follows from it."""
    found = {key: (a, b) for key, a, b in compare(read_side(folder / "a"), read_side(folder / "b")).settings}
    assert found["program_config.k_chunk_size"] == (64, 128)
    assert found["effective.math_fidelity"] == ("HiFi2", "HiFi4")
    assert not any(key.startswith(("inputs", "board")) for key in found)


def test_a_run_against_itself_has_no_changes(folder: Path) -> None:
    """Same run, no difference."""
    same = compare(read_side(folder / "a"), read_side(folder / "a"))
    assert not same.settings
    assert not any(change.by for d in same.devices for change in [d.cycles, *d.path, *d.waits, *d.figures])


def test_wrong_numbers_are_told_above_the_times(folder: Path) -> None:
    """Of either side that is suspect, with its name; the times of a run whose numbers are wrong may be of less work."""
    run = open_run(folder / "a")
    place = Beyond(
        device=1, batch=0, head=1, rows=(3, 3), page=5, core=(1, 0), rel_l2=0.7, expected=0.02, others=1.0, step="V chunk 3"
    )
    accuracy = {
        "pcc": 0.8,
        "rel_l2": 0.5,
        "rmse": 0.1,
        "max_abs": 1.0,
        "worst_row": 0.7,
        "suspect": True,
        "place": place.model_dump(),
    }
    wrong = replace(run, summary=run.summary | {"accuracy": accuracy})
    screen = " ".join(compare_screen(compare(of_run(run, "right"), of_run(wrong, "wrong"))).split())
    assert f"wrong: {place.text()}" in screen
    assert "right: accuracy" not in screen


def test_a_figure_that_was_not_finite_is_not_compared(folder: Path, tmp_path: Path) -> None:
    """JSON has null for it; the other figures are, and the run's screen has it as NaN. One that is missing is one message."""
    simulate(load_spec(RING, ["numerics=fast"])).write(tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"accuracy": summary["accuracy"] | {"rel_l2": None}}))
    side = read_side(tmp_path / "run")
    assert [change.what for change in compare(side, side).accuracy] == ["PCC"]
    assert "relative L2 nan%" in str(open_run(tmp_path / "run"))
    path.write_text(json.dumps(summary | {"accuracy": {}}))
    assert "accuracy.pcc: Field required" in command(tmp_path / "run", folder / "a").stderr


def test_numbers_that_both_have_are_compared(folder: Path, tmp_path: Path) -> None:
    """PCC and relative L2 of LoFi beside HiFi4 are what the runs say of themselves; of one run alone there is no line."""
    for fidelity in ("LoFi", "HiFi4"):
        changes = [f"compute_kernel_config.math_fidelity={fidelity}", "numerics=fast"]
        simulate(load_spec(RING, changes)).write(tmp_path / fidelity)
    low, high = (open_run(tmp_path / fidelity).summary["accuracy"] for fidelity in ("LoFi", "HiFi4"))
    assert low["pcc"] < high["pcc"]
    screen = command(tmp_path / "LoFi", tmp_path / "HiFi4").stdout
    rows = {line[:11].strip(): line[11:].split() for line in screen.splitlines()}
    assert rows["PCC"][:2] == [f"{low['pcc']:.6f}", f"{high['pcc']:.6f}"]
    assert rows["relative L2"][:2] == [f"{low['rel_l2']:.5f}", f"{high['rel_l2']:.5f}"]
    beside = command(tmp_path / "LoFi", tmp_path / "HiFi4", folder / "a").stdout
    assert all(f"{one['pcc']:.6f}" in beside for one in (low, high))
    assert "PCC" not in command(tmp_path / "LoFi", folder / "a").stdout


@pytest.mark.parametrize("what", ["cycles", "microseconds", "PCC", "FPU, share of the grid"])
def test_what_rounds_to_no_change_has_no_minus(what: str) -> None:
    """A change that is less than what is shown of it."""
    assert not [text for text in FigureChange(what, 10_000.0, 10_000.0 - 1e-7).texts if text.startswith("-")]


def test_devices_of_one_side_alone_are_told(folder: Path, tmp_path: Path) -> None:
    """A ring of two beside one of its devices."""
    simulate(load_spec(RING, ["ring_ids=[1]"])).write(tmp_path / "one")
    comparison = compare(read_side(folder / "a"), read_side(tmp_path / "one"))
    assert comparison.only == {0: str(folder / "a")}
    assert [d.device for d in comparison.devices] == [1]


def test_nanoseconds_of_a_profile_are_cycles_of_the_board(tmp_path: Path) -> None:
    """At 1.35 GHz 1000 ns are 1350 cycles; percentages are shares."""
    path = results(tmp_path, "RingDistributedSdpaDeviceOperation,1024,0,4,1000,800,25")
    found = read_profile(path, 1_350_000_000).devices
    assert found[0].cycles == 1350
    assert found[0].figures == {"TRISC_1 kernel cycles": 1080, "cores": 4, "FPU, share of the grid": 0.25}


def test_a_profile_is_set_beside_a_run(folder: Path, tmp_path: Path) -> None:
    """Figures that both have are compared; a profile has no critical path."""
    path = results(tmp_path, *(f"RingDistributedSdpaDeviceOperation,{1024 + d},{d},4,1000,800," for d in (0, 1)))
    comparison = compare(read_side(folder / "a"), read_side(path, 1_000_000_000))
    assert [d.cycles.after for d in comparison.devices] == [1000, 1000]
    assert [f.what for f in comparison.devices[0].figures] == ["cores", "TRISC_1 kernel cycles"]
    assert not comparison.devices[0].path


def test_of_several_calls_one_must_be_chosen(tmp_path: Path) -> None:
    """The message lists them; --call takes one."""
    path = results(
        tmp_path, "SDPAOperation,1024,0,4,1000,,", "SDPAOperation,2048,0,4,3000,,", "MatmulDeviceOperation,3072,0,4,5,,"
    )
    with pytest.raises(ProfileError, match="holds 2 calls of an attention op, 1, 2; choose one with --call"):
        read_profile(path, 10**9)
    assert read_profile(path, 10**9, call=2).devices[0].cycles == 3000


def test_a_device_log_gives_kernels_by_risc(tmp_path: Path) -> None:
    """From the first kernel's start to the last one's end; of each RISC the longest; firmware does not count."""
    path = device_log(
        tmp_path,
        (0, 1, 1, "NCRISC", "NCRISC-KERNEL", 100, 250), (0, 2, 1, "NCRISC", "NCRISC-KERNEL", 110, 200),
        (0, 1, 1, "TRISC_1", "TRISC-KERNEL", 120, 300), (0, 1, 1, "BRISC", "BRISC-FW", 50, 900),
        (1, 1, 1, "BRISC", "BRISC-KERNEL", 7, 17),
    )  # fmt: skip
    found = read_profile(path).devices
    assert (found[0].cycles, found[1].cycles) == (200, 10)
    assert found[0].figures == {"NCRISC kernel cycles": 150, "TRISC_1 kernel cycles": 180, "cores": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "neither ops_perf_results"),
        (HEADER + "\nMatmul,1,0,4,1,1,\n", "no row whose OP CODE is an attention op"),
        ("ARCH: wormhole_b0\nPCIe slot, core_x\n", "column 'core_y' is missing"),
        ("ARCH: wormhole_b0\n" + LOG_HEADER + "\n", "no kernel zones"),
        (HEADER + "\nSDPA,1,0,4,,1,\n", "device 0 has no DEVICE KERNEL DURATION"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """The message names the file and what is missing."""
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ProfileError, match=f"x.csv: {says}"):
        read_profile(path, 10**9)


def test_the_command_prints_what_changed_and_writes_it(folder: Path, tmp_path: Path) -> None:
    """Text on stdout, the same as JSON in a file."""
    done = CliRunner().invoke(main, ["compare", str(folder / "a"), str(folder / "b"), "--json", str(tmp_path / "c.json")])
    assert done.exit_code == 0
    assert "critical path" in done.stdout
    assert "program_config.k_chunk_size" in done.stdout
    assert [d["device"] for d in json.loads((tmp_path / "c.json").read_text())["devices"]] == [0, 1]


def test_the_page_has_what_the_text_has(folder: Path, tmp_path: Path) -> None:
    """Every device, setting and change of the path; nothing from outside; what is no HTML stays text; the same bytes twice."""
    comparison = compare(read_side(folder / "a"), read_side(folder / "b"))
    page = comparison_page(replace(comparison, before="<b>&"))
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert "http" not in page.replace("http-equiv", "")
    for key, *_ in comparison.settings:
        assert f"<td>{key}</td>" in page
    for device in comparison.devices:
        assert f"<h2>Device {device.device}</h2>" in page
        assert all(f"<td>{p.what}</td>" in page for p in device.path[:5])
    write_comparison(comparison, tmp_path / "c.html")
    assert (tmp_path / "c.html").read_text() == comparison_page(comparison)


# -- the answer ---------------------------------------------------------------------------------------------

LINES = 48  # of a terminal


def command(*words: object) -> Result:
    """What `tensix-sim compare` does."""
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_the_first_line_is_the_answer(folder: Path) -> None:
    """By how much the slowest device's cycles changed, and what they were and are spent on."""
    a, b = (simulate(RING | {"trace": "off"}).devices, read_side(folder / "b").cycles)
    before, after = max(d.cycles for d in a), max(b.values())
    first = command(folder / "a", folder / "b").stdout.split("\n\n")[0].replace("\n  ", " ")
    assert first.startswith(f"{folder / 'b'} takes {abs(after / before - 1):.1%} {'less' if after < before else 'more'} than ")
    assert f"{before:,} to {after:,} cycles; its critical path " in first
    assert "takes as long as" in command(folder / "a", folder / "a").stdout.split("\n\n")[0]


def test_a_comparison_fits_a_screen_and_all_shows_the_rest(folder: Path, tmp_path: Path) -> None:
    """Four devices that are alike are one line; every device stands in --all, and in the page and the JSON."""
    ring = raw(S=1024, k=64, numerics="off", ring_size=4, mesh=[8, 4])
    for name, k in (("a", 64), ("b", 128)):
        simulate(load_spec(ring, [f"program_config.k_chunk_size={k}"])).write(tmp_path / name)
    shown = command(tmp_path / "a", tmp_path / "b")
    assert len(shown.stdout.splitlines()) <= LINES
    assert "0 to 3, alike" in shown.stdout
    everything = command(tmp_path / "a", tmp_path / "b", "--all").stdout
    assert all(f"device {d} " in everything for d in range(4))
    assert shown.stdout.split("\n\n")[0] == everything.split("\n\n")[0]


def test_runs_stand_beside_a_baseline(folder: Path, tmp_path: Path) -> None:
    """A line each; settings in which any differs, with `=` where it has the baseline's; the fastest is the answer."""
    simulate(load_spec(RING, ["program_config.q_chunk_size=32"])).write(tmp_path / "c")
    done = command(folder / "a", folder / "b", tmp_path / "c", "--json", tmp_path / "all.json")
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert rows[str(folder / "a")][3] == "baseline"
    assert rows["program_config.q_chunk_size"][1:] == ["64", "=", "32"]
    assert rows["program_config.k_chunk_size"][1:] == ["64", "128", "="]
    found = json.loads((tmp_path / "all.json").read_text())["comparisons"]
    fastest = min(found, key=lambda one: one["walls"][1])
    assert done.stdout.startswith((f"{fastest['after']} takes", "none of 2 runs is faster"))
    assert command(folder / "a", folder / "b", tmp_path / "c", "--html", tmp_path / "x.html").exit_code == 2


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "after", "broken"),
    [
        ("cycles>+3%", 1030, False), ("cycles>+3%", 1031, True), ("cycles>3%", 1031, True), ("cycles > +30", 1031, True),
        ("cycles>+30", 1030, False), ("cycles<-10%", 899, True), ("cycles<-10%", 900, False), ("cycles>+0", 1001, True),
        ("cycles>-5%", 951, True),
    ],
)  # fmt: skip
def test_a_limit_is_broken_beyond_it(rule: str, after: int, broken: bool, tmp_path: Path) -> None:
    """In per cent of what was before, or in the figure's own unit; at the limit it holds."""
    before, then = (read_side(results(tmp_path, f"SDPAOperation,1024,0,4,{n},,"), 10**9) for n in (1000, after))
    assert [limit.rule for limit in compare(before, then, [rule]).limits] == ([rule] if broken else [])


def test_a_broken_limit_ends_with_4_and_is_annotated(folder: Path) -> None:
    """Both runs are shown all the same; one that keeps its limits is a notice."""
    slower, faster = (
        ("b", "a") if max(read_side(folder / "b").cycles.values()) < max(read_side(folder / "a").cycles.values()) else "ab"
    )
    failed = command(folder / slower, folder / faster, "--fail-if", "cycles>-99%", "--github")
    assert failed.exit_code == 4
    assert "FAILED: cycles went from" in failed.stdout
    assert f"::error title={folder / faster}::cycles went from" in failed.stdout
    kept = command(folder / "a", folder / "a", "--fail-if", "cycles>+0", "--github")
    assert kept.exit_code == 0
    assert kept.stdout.splitlines()[-1].startswith(f"::notice title={folder / 'a'}::")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("cycles", "is not like cycles>"),
        ("cycles>=3%", "is not like"),
        ("cycle>+3%", "no figure cycle; nearest: cycles"),
        ("", "is not like"),
    ],
)
def test_what_is_no_limit_is_refused(folder: Path, rule: str, says: str) -> None:
    """Usage, with the nearest figure; nothing is printed."""
    done = command(folder / "a", folder / "b", "--fail-if", rule)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""
