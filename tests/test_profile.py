"""Hardware profiles: whose they are, on which clock, with which settings; and that a broken one is one message."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from specs import CHUNKED, PLAIN, Raw, raw

from tensix_sim import simulate
from tensix_sim.analysis import ProfileError, compare, read_side, read_sides
from tensix_sim.analysis.profile import CLOCKS, Profile, read_profile
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.emit import emit
from tensix_sim.logged import told, told_by
from tensix_sim.page import comparison_page

RING = raw(numerics="off")
SDPA = raw(PLAIN, board="p150b", dtype="bfloat16", numerics="off")
PAGED = raw(CHUNKED, board="n150", chunk_start_idx=128, paged_kv={"block_size": 64}, numerics="off")
MASKED = raw(PLAIN, is_causal=False, inputs__attn_mask="random", inputs__attention_sink="random", numerics="off")
CODE = "RingDistributedSdpaDeviceOperation"
PROGRAM = (
    "SDPAProgramConfig(compute_with_storage_grid_size=(x={x};y=2);sub_core_grids=std::nullopt;q_chunk_size={q};k_chunk_size=64;"
    "exp_approx_mode=1;max_cores_per_head_batch=16)"
)
GOOD = {
    "OP CODE": CODE, "OP TYPE": "tt_dnn_device", "GLOBAL CALL COUNT": "1024", "DEVICE ID": "0", "DEVICE ARCH": "wormhole_b0",
    "ATTRIBUTES": f"{{'program_config': '{PROGRAM.format(x=2, q=64)}'; 'is_causal': 'true'; 'ring_size': '2'}}",
    "MATH FIDELITY": "HiFi2", "CORE COUNT": "4", "DEVICE KERNEL DURATION [ns]": "9000",
    "DEVICE BRISC KERNEL DURATION [ns]": "8000",
    "INPUT_0_W_PAD[LOGICAL]": "1[1]", "INPUT_0_Z_PAD[LOGICAL]": "2[2]", "INPUT_0_Y_PAD[LOGICAL]": "512[512]",
    "INPUT_0_X_PAD[LOGICAL]": "64[64]", "INPUT_0_DATATYPE": "BFLOAT8_B", "INPUT_0_MEMORY": "DEV_0_DRAM_INTERLEAVED",
}  # fmt: skip
LOG_HEADER = (
    "PCIe slot, core_x, core_y, RISC processor type, timer_id, time[cycles since reset], data, run host ID, trace id, "
    "trace id counter, zone name, type, source line, source file, meta data"
)


def results(path: Path, *changes: dict[str, str | None]) -> Path:
    """A file of results with a row for each change of the good one; None takes the column away."""
    columns = [name for name in GOOD if name not in changes[0] or changes[0][name] is not None]
    rows = [GOOD | change for change in changes]
    path.write_text("\n".join([",".join(columns), *(",".join(str(row[c]) for c in columns) for row in rows)]) + "\n")
    return path


def device_log(path: Path, zones: list[tuple[str, ...]], first: str = "ARCH: wormhole_b0, CHIP_FREQ[MHz]: 1000") -> Path:
    """A log of (x, time, type) of BRISC kernels of device 0."""
    lines = [f"0,{x},1,BRISC,1,{time},0,1024,,,BRISC-KERNEL,{kind},1,a.cpp," for x, time, kind in zones]
    path.write_text("\n".join([first, LOG_HEADER, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the ring with the profiles that are emitted of it."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    result = simulate(load_spec(RING))
    result.write(folder)
    emit(result.as_run(), ["perf-csv", "device-log"], folder)
    return folder


# -- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"OP CODE": "RingJointSDPADeviceOperation"}, f"another op: .*RingJointSDPADeviceOperation on wormhole_b0; .*{CODE}"),
        ({"OP CODE": "SDPAOperation"}, "another op: .*SDPAOperation"),
        ({"OP CODE": "SdpaDecodeDeviceOperation", "DEVICE ARCH": ""}, "another op: .*SdpaDecodeDeviceOperation"),
        ({"DEVICE ARCH": "blackhole"}, "another chip: .*on blackhole"),
        ({"OP CODE": "FlashMLAOperation", "DEVICE ARCH": "Blackhole"}, "another op: .*FlashMLAOperation on Blackhole"),
        ({"ATTRIBUTES": "{'use_mla': 'true'}", "DEVICE ARCH": "blackhole"}, "another op and another chip: .*with use_mla"),
        ({"DEVICE ARCH": "grayskull"}, "of grayskull, whose clock is not known"),
    ],
)
@pytest.mark.parametrize("profile_first", [True, False])
def test_another_op_or_chip_is_refused_by_name(
    base: Path, tmp_path: Path, change: dict[str, str | None], says: str, profile_first: bool
) -> None:
    """Whichever side is the profile, exit code 2, one line, and no number."""
    path = results(tmp_path / "p.csv", change)
    done = CliRunner().invoke(main, ["compare", *map(str, (path, base) if profile_first else (base, path))])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(says, done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_an_older_name_of_the_op_is_the_op(base: Path, tmp_path: Path) -> None:
    """The op as it was called in 2025, and with its namespace."""
    for code in ("RingDistributedScaledDotProductAttention", f"ttnn::prim::{CODE}"):
        assert compare(read_side(base), read_side(results(tmp_path / "p.csv", {"OP CODE": code}))).devices


def test_of_several_ops_the_one_of_the_run_is_taken(base: Path, tmp_path: Path) -> None:
    """A model's profile has other attention ops, too; a marker that is named as an op is none."""
    path = results(
        tmp_path / "p.csv",
        {"OP CODE": "RingJointSDPADeviceOperation", "GLOBAL CALL COUNT": "2048"},
        {"OP CODE": "sdpa begins", "OP TYPE": "signpost"},
        {},
    )
    for sides in ((base, path), (path, base)):
        (device,) = compare(*read_sides(*sides)).devices
        assert 9000 in (device.cycles.before, device.cycles.after)


def test_two_profiles_are_held_to_the_same_rules(tmp_path: Path) -> None:
    """Of one op and chip they are compared, settings first; of two they are not."""
    one, two = results(tmp_path / "1.csv", {}), results(tmp_path / "2.csv", {"MATH FIDELITY": "HiFi4"})
    assert compare(*read_sides(one, two)).settings == [("compute_kernel_config.math_fidelity", "HiFi2", "HiFi4")]
    with pytest.raises(ProfileError, match="another chip"):
        compare(*read_sides(one, results(tmp_path / "3.csv", {"DEVICE ARCH": "blackhole"})))


# -- clock and settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "cycles"), [("wormhole_b0", 9000), ("blackhole", 12150)])
def test_nanoseconds_are_cycles_of_the_profiles_own_chip(tmp_path: Path, arch: str, cycles: int) -> None:
    """9 us are 9000 cycles at Wormhole's 1 GHz and 12,150 at Blackhole's 1.35 GHz, whatever the other side's clock is."""
    assert read_profile(results(tmp_path / "p.csv", {"DEVICE ARCH": arch}), clock_hz=7).devices[0].cycles == cycles


def test_a_profile_without_a_chip_says_so(base: Path, tmp_path: Path) -> None:
    """The run's clock is taken, and a sentence above the numbers says it."""
    (note, *_) = compare(*read_sides(base, results(tmp_path / "p.csv", {"DEVICE ARCH": None}))).notes
    assert note.endswith("names no chip; its nanoseconds are taken for cycles at 1,000 MHz")


def test_where_clocks_differ_times_stand_beside_cycles(base: Path, tmp_path: Path) -> None:
    """A log at 500 MHz: as many cycles are twice the time, and a note says that the chip was slow."""
    path = device_log(
        tmp_path / "l.csv", [("1", "0", "ZONE_START"), ("1", "9000", "ZONE_END")], "ARCH: wormhole_b0, CHIP_FREQ[MHz]: 500"
    )
    comparison = compare(*read_sides(base, path))
    assert comparison.devices[0].time
    assert comparison.devices[0].time.after == 18.0
    assert any("measured at 500 MHz" in note for note in comparison.notes)
    assert "18.0" in comparison_page(comparison)


@pytest.mark.parametrize("spec", [RING, SDPA, PAGED, MASKED], ids=["ring", "sdpa", "chunked", "mask and sinks"])
def test_a_run_and_its_own_profile_have_the_same_settings(spec: Raw, tmp_path: Path) -> None:
    """What is emitted of a run is read back with all that it tells equal, and the same cycles."""
    result = simulate(load_spec(spec))
    result.write(tmp_path / "run")
    (path,) = emit(result.as_run(), ["perf-csv"], tmp_path / "out")
    comparison = compare(*read_sides(tmp_path / "run", path))
    assert (comparison.settings, [d.cycles.by for d in comparison.devices]) == ([], [0] * len(result.devices))
    assert not [note for note in comparison.notes if "not the same work" in note]
    told = {"inputs.seq_len", "scale", "program_config.compute_with_storage_grid_size", "is_causal", "cores of the grid"}
    assert told <= told_by(result.job).keys() & read_profile(path).settings.keys()


def test_settings_that_differ_stand_above_the_numbers(base: Path, tmp_path: Path) -> None:
    """On the screen and on the page: other chunks, grid, fidelity, heads, and that the work is another."""
    change = {
        "ATTRIBUTES": f"{{'program_config': '{PROGRAM.format(x=4, q=128)}'; 'scale': '0.25'}}", "MATH FIDELITY": "HiFi4",
        "INPUT_0_Z_PAD[LOGICAL]": "32[8]",
    }  # fmt: skip
    path = results(tmp_path / "p.csv", change)
    done = CliRunner().invoke(main, ["compare", str(base), str(path), "--json", str(tmp_path / "c.json")])
    above, _, numbers = done.stdout.partition("\ndevice ")
    for words in (
        "not the same work: scale, inputs.q_heads differ", "program_config.q_chunk_size +64 +128",
        "compute_with_storage_grid_size +2.{1,3}2 +4.{1,3}2", "math_fidelity +HiFi2 +HiFi4", "inputs.q_heads +2 +8",
    ):  # fmt: skip
        assert re.search(words, above), words
    assert numbers
    found = json.loads((tmp_path / "c.json").read_text())
    assert ["program_config.q_chunk_size", 64, 128] in found["settings"]
    assert any(note.startswith("not the same work") for note in found["notes"])
    page = comparison_page(compare(*read_sides(base, path)))
    assert page.index("not the same work") < page.index("inputs.q_heads</td>") < page.index("<h2>Devices</h2>")


def test_what_a_profile_does_not_tell_is_said(base: Path, tmp_path: Path) -> None:
    """A device log tells nothing of the op; a row without sizes nothing of the shape."""
    note, trust = compare(*read_sides(base, base / "profile_log_device.csv")).notes
    assert "names neither its op nor its settings" in note
    assert "such times against silicon" in trust
    notes = compare(*read_sides(base, results(tmp_path / "p.csv", {"INPUT_0_W_PAD[LOGICAL]": None}))).notes
    assert any("does not tell" in note and "inputs.seq_len" in note for note in notes)


# -- broken files ----------------------------------------------------------------------------------------------------

WALL, BRISC = "DEVICE KERNEL DURATION [ns]", "DEVICE BRISC KERNEL DURATION [ns]"


@pytest.mark.parametrize("column", [WALL, BRISC, "CORE COUNT", "DEVICE ID", "GLOBAL CALL COUNT"])
@pytest.mark.parametrize(
    "value", ["fast", "n/a", "nan", "NaN", "inf", "-inf", "-5", "1_000", "0x10", "1e999", "9" * 30, "٣", "1,5"]
)
def test_a_bad_number_is_told_with_its_place(base: Path, tmp_path: Path, column: str, value: str) -> None:
    """File, line, column and value, whatever is in the number's place."""
    path = results(
        tmp_path / "p.csv", {"GLOBAL CALL COUNT": "1024"}, {column: f'"{value}"', "DEVICE ID": "1"} | ({column: f'"{value}"'})
    )
    with pytest.raises(ProfileError) as refused:
        compare(*read_sides(base, path)[:2]) if column != "GLOBAL CALL COUNT" else read_profile(path, call=1)
    assert str(refused.value).startswith(f"{path}, line 3: {column} is {value!r}")


@pytest.mark.parametrize("column", ["OP CODE", "GLOBAL CALL COUNT", "DEVICE ID", WALL])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    """The four without which nothing can be said."""
    with pytest.raises(ProfileError, match=re.escape(column)):
        read_profile(results(tmp_path / "p.csv", {column: None}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:-60], "line 2: 10 values for 16 columns; the file may be cut off"),
        (lambda text: text + "SDPA\n", "line 3: 1 values for 16 columns"),
        (lambda text: text.replace("HiFi2", "HiFi2,"), "line 2: 17 values for 16 columns"),
        (lambda text: text.replace("HiFi2", "Hi\0Fi2"), "line 2: '.x00' in a text file"),
        (lambda text: text.replace("HiFi2", '"HiFi2'), "no CSV: unexpected end of data"),
        (lambda text: text.replace("HiFi2", "H" * 200_000), "line 2: no CSV: field larger than field limit"),
        (lambda text: text.replace("HiFi2", "\udcff"), "line 2: b'.xff' is not UTF-8"),
        (lambda text: text.replace("MATH FIDELITY", "CORE COUNT"), "column 'CORE COUNT' stands twice"),
        (lambda text: text.replace("512[512]", "many"), "INPUT_0_Y_PAD.* is 'many': no size of a tensor"),
        (lambda text: text + text.splitlines()[1] + "\n", "stands twice in one call, in lines 2, 3"),
        (lambda text: text.replace(",9000,", ",0,"), "device 0 has no DEVICE KERNEL DURATION"),
        (lambda text: text.encode("utf-16").decode("latin-1").encode("latin-1").decode("utf-8", "surrogateescape"), "not UTF-8"),
        (lambda text: "", "neither ops_perf_results"),
    ],
)  # fmt: skip
def test_a_broken_file_of_results_is_one_message(base: Path, tmp_path: Path, damage: Any, says: str) -> None:
    """Cut off, ragged, with bytes of another kind: exit code 2 and one line that says where."""
    path = results(tmp_path / "p.csv", {})
    path.write_bytes(damage(path.read_text()).encode("utf-8", "surrogateescape"))
    done = CliRunner().invoke(main, ["compare", str(base), str(path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(says, done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_a_byte_order_mark_and_dos_line_ends_do_not_matter(tmp_path: Path) -> None:
    """As spreadsheets write them; a last line without an end is told."""
    path = results(tmp_path / "p.csv", {})
    good, text = read_profile(path), path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_profile(path) == good
    path.write_text(text.rstrip("\n"))
    (note,) = read_profile(path).notes
    assert "the last line has no end" in note


def test_rows_of_one_call_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    """Two devices of a call have the same settings, op and chip."""
    path = results(tmp_path / "p.csv", {}, {"DEVICE ID": "1", "GLOBAL CALL COUNT": "1025", "MATH FIDELITY": "HiFi4"})
    with pytest.raises(ProfileError, match=r"lines 2 and 3: of one call, but compute_kernel_config.math_fidelity differ"):
        read_profile(path)


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        (
            [("1", "5", "ZONE_START"), ("2", "5", "ZONE_START"), ("2", "9", "ZONE_END")],
            "device 0 core 1,1 BRISC: the kernel has no end",
        ),
        ([("1", "9", "ZONE_END")], "the kernel has no start"),
        ([("1", "900", "ZONE_START"), ("1", "100", "ZONE_END")], "ends at 100, before its start at 900"),
        ([("1", "1", "ZONE_START"), ("1", "9", "ZONE_END")] * 2, "a second kernel in one call"),
        ([("1", "1", "ZONE_STRT"), ("1", "9", "ZONE_END")], "line 3: type is 'ZONE_STRT': neither a zone's start nor its end"),
        ([("1", "soon", "ZONE_START")], "line 3: .*time.* is 'soon'"),
        ([("-1", "1", "ZONE_START")], "line 3: core_x is '-1': nothing here is negative"),
        ([("1", "1.5", "ZONE_START")], "is '1.5': a whole number is needed"),
    ],
)
def test_a_broken_device_log_is_one_message(base: Path, tmp_path: Path, zones: list[tuple[str, ...]], says: str) -> None:
    """No device is dropped, and no kernel takes less than nothing."""
    path = device_log(tmp_path / "l.csv", zones)
    done = CliRunner().invoke(main, ["compare", str(base), str(path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(says, done.stderr)


def sane(profile: Profile) -> bool:
    """Whether a profile's numbers could be some chip's."""
    return (
        bool(profile.devices)
        and all(0 <= d.cycles < 2**65 and all(0 <= v < 2**65 for v in d.figures.values()) for d in profile.devices.values())
        and profile.clock_hz > 0
        and (profile.arch is None or profile.arch in CLOCKS or bool(profile.notes))
    )


@pytest.mark.parametrize("name", ["ops_perf_results_base.csv", "profile_log_device.csv"])
def test_a_damaged_profile_is_refused_or_sane(base: Path, tmp_path: Path, name: str) -> None:
    """300 seeded mutations of each kind: bytes flipped, cut, doubled, cells replaced. Nothing but a ProfileError comes out."""
    good, rng, refused = (base / name).read_bytes(), random.Random(19), []
    cells = [b"", b"nan", b"-1", b"inf", b"1e400", b"n/a", b"\xff", b"\0", b'"', b"9" * 40, b"{'a': 'b", b"1[", b"true", b"\r"]
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at, kind = rng.randrange(len(data)), rng.randrange(4)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del data[at : len(data) if rng.random() < 0.3 else at + rng.randint(1, 40)]
            elif kind == 2:
                data[at:at] = data[at : at + rng.randint(1, 400)]
            else:
                end = data.find(b",", at + 1)
                data[data.rfind(b",", 0, at) + 1 : end if end > 0 else len(data)] = rng.choice(cells)
            data = data or bytearray(b"x")
        (tmp_path / name).write_bytes(data)
        try:
            assert sane(read_profile(tmp_path / name))
        except ProfileError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 300
    assert not [message for message in refused if len(message.splitlines()) != 1]


@given(st.text(max_size=40))
def test_any_argument_is_read_without_a_fault(value: str) -> None:
    """Whatever an op's arguments are said to be, they tell a setting or none."""
    names = ("program_config", "compute_kernel_config", "scale", "is_causal", "ring_size", "use_mla", "chunk_start_idx")
    found = told(dict.fromkeys(names, value) | {"program_config": f"q_chunk_size={value}"}, [], None, "")
    assert found["is_causal"] in (True, False)
