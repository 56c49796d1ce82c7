"""What comes from a file or an argument ends in a sentence and an exit code, never in a traceback."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import KINDS, SPEC, call, judge
from processes import HANGS, await_event

from tensix_sim.doctor.check import check
from tensix_sim.files import atomic, try_target
from tensix_sim.walls import SHIPPED
from tensix_sim.yaml_text import NotYamlError, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
SLOW = ("--set", "machine.dram.bank_rate=0.03")
ONCE_BROKEN = {"traces": (1152, 1225, 2578, 2592), "run_folders": (1089,)}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes")


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_ends_in_a_traceback(kind: str) -> None:
    """Nor in what a terminal obeys, nor in a long screen; `check` agrees with `run`. A sample of `benchmarks/bad_inputs.py`."""
    assert not [said for seed in (*range(10), *ONCE_BROKEN.get(kind, ())) for said in judge(kind, seed).wrong]


# -- specs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "stands for more than 5,000 values, by the aliases in line 4"),
        (BOMB.replace("[", "{k: ").replace("]", "}").replace(", ", ", k"), "twice, in line 1"),
        ("m0: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [{f'*m{i - 1}, ' * 9}]}}\n" for i in range(1, 9)), "by the aliases in"),
        ("a: &a [*a]", "refers to itself, in line 1"),
        ("a: " + "[" * 3000, "nested more than 20 deep"),
        (
            "a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 900)),
            "nested more than 20 deep, by the aliases",
        ),
        ("k: 1\n" * 6000, "holds more than 5,000 values"),
        ("k: " + "x" * 300_000, "longer than 262,144 bytes"),
        ("a: 1\nb: 2\na: 3\n", "has the key 'a' twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  b: 2\n", "has the key 'b' twice, in lines 2 and 3"),
        ("a: {'b': 1, b: 2}", "has the key 'b' twice, in line 1"),
        ("a: 1\n1: 2\n", "has the key '1' in line 2, which is no text"),
        ("null: 2\n", "has the key 'null' in line 1, which is no text"),
        ("? [1, 2]\n: 2\n", "has the key sequence in line 1"),
        ("a: 17:04", "has '17:04' in line 1, which is a number in YAML 1.1 and text in 1.2"),
        ("a: 190:20:30.15", "which is a number in YAML 1.1"),
        ("a: 040", "has '040' in line 1"),
        ("a: 1_000", "has '1_000' in line 1"),
        ("a: 0b11", "has '0b11' in line 1"),
        ("a: " + "9" * 5000, "has a number of 5,000 digits in line 1"),
        ("a: 0x" + "f" * 5000, "has a number of 5,002 digits in line 1"),
        ("a: !!python/object:os.system x", "has the tag 'tag:yaml.org,2002:python/object:os.system' in line 1"),
        ("a: !!binary x", "has the tag"),
        ("a: !!int x", "is not YAML"),
        ("a: [1", "is not YAML in line"),
        ("a: \0", "is not YAML"),
    ],
)
def test_yaml_that_is_none_of_a_spec_is_refused(text: str, says: str) -> None:
    """Whatever is wrong with it, the sentence has the place; aliases are not written out to find that they are too many."""
    with pytest.raises(NotYamlError, match=says):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1), ("0o2000", 1024), ("0x400", 1024), ("-5", -5), ("1.", 1.0), (".5", 0.5),
        ("-.inf", float("-inf")), ("off", "off"),
        ("yes", "yes"), ("TRUE", True), ("~", None), ("", None), ("'17:04'", "17:04"), ("2026-11-30", "2026-11-30"), ("=", "="),
        ("{a: &a {x: 1}, b: {<<: *a, x: 2, y: 3}}", {"a": {"x": 1}, "b": {"x": 2, "y": 3}}),
    ],
)  # fmt: skip
def test_words_and_numbers_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """Where 1.1 reads them otherwise too; merged keys may be given again."""
    assert read_yaml(text) == value
    assert type(read_yaml(text)) is type(value)


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_does_not_matter(mark: str) -> None:
    """Nor does the encoding that it tells."""
    assert read_yaml("é: 1".encode(mark)) == {"é": 1}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--set", f"inputs.seq_len={'9' * 5000}"], "number of 5,000 digits"),
        (["--set", f"{'.'.join('a' * 3000)}=1"], "the key has 3,000 parts; none has more than 20"),
        (["--set", "machine.dram.bank_rate=1.0e-12"], "must be from 0.0222 to 22200"),
        (["--set", "machine.dram.bank_rate=1.0e-320"], "must be from"),
        (["--set", "machine.noc.link_rate=1.0e-30"], "must be from"),
        (["--set", f"machine.tensix.cb_visible_cycles=1{'0' * 21}"], "must be from"),
        (["--set", "machine.l1.circular_buffers=1"], "the program has 15 circular buffers"),
        (
            ["--set", "inputs.seq_len=32768", "--set", "inputs.q_heads=512", "--set", "machine.dram.bank_rate=0.03"],
            "most that are timed",
        ),
        (["--set", f"kernel={'x' * 100_000}"], "kernel ="),
        (["--set", "a\x1bb=3"], "a\\x1bb = 3: there is no such key"),
        (["--set", 'kernel="\\e[2J"'], "'\\x1b[2J'"),
        (["--set", "op=sdpa", "--set", "memory_config=l1_interleaved", "--set", "inputs.q_heads=1000000000000"], "B too many"),
        (["--reserve", "9" * 400], "number of 400 digits"),
    ],
)
def test_an_absurd_argument_is_an_illegal_config(tmp_path: Path, args: list[str], says: str) -> None:
    """Exit 1 of `check`, in a screen that does not grow with what was typed."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    code, out, fault = call("check", tmp_path / "spec.yaml", *args)
    assert (code, fault) == (1, "")
    assert says in " ".join(out.split())
    assert len(out) < 12_000


@pytest.mark.parametrize(
    "more",
    [
        "k: " + "x" * 250_000,
        "board: " + "x" * 250_000,
        "".join(f"k{i}: 1\n" for i in range(2000)),
        "machine: {" + ", ".join(f"dram.bank_rat{i}: 1" for i in range(2000)) + "}",
        "what_if: {buffers: {" + ", ".join(f"b{i}: 3" for i in range(2000)) + "}}",
        f"ring_ids: {list(range(4000))}",
        f"ring_ids: [{', '.join('x' * 4000)}]",
    ],
)
def test_what_is_said_does_not_grow_with_the_file(tmp_path: Path, more: str) -> None:
    """By `check` and by `run`, of long values, of many, and of many wrong ones."""
    kept = [line for line in SPEC.splitlines() if line.partition(":")[0] not in more.partition(":")[0]]
    (tmp_path / "spec.yaml").write_text("\n".join([*kept, more, ""]))
    for command in (("check",), ("run", "--traces", tmp_path / "t")):
        code, out, fault = call(*command, tmp_path / "spec.yaml")
        assert (code, fault) == (1, "")
        assert len(out) < 12_000


def test_of_very_many_unknown_keys_the_first_are_told() -> None:
    """A line for each of fifty, and how many more there are; a key that is no text is shown with its own value."""
    report = check({f"k{i}": i for i in range(2000)} | {1: 2, "inputs": {}})
    assert "rules broken" in report.text()
    assert " more\n" in report.text() + "\n"
    assert len(report.text().splitlines()) < 200
    assert any("1 = 2" in violation.message for violation in report.violations)


@pytest.mark.parametrize("damage", ["negative", "zip", "endless", "size"])
def test_a_damaged_header_of_an_array_is_a_sentence(tmp_path: Path, damage: str) -> None:
    """Of values and of a page table, as check and run read them."""
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 256, 64), np.float32))
    whole = (tmp_path / "x.npy").read_bytes()
    shape = b"(1, 2, 256, 64), "
    into = {"negative": b"(1, -2, 256, 64),", "endless": b"((((((((((((((((,", "size": b"(9999999999999999999,),".ljust(17)}
    data = b"PK\3\4" + whole[:50] if damage == "zip" else whole.replace(shape, into[damage][:17].ljust(17), 1)
    (tmp_path / "x.npy").write_bytes(data)
    for part in (
        {"inputs": dict.fromkeys("qkv", str(tmp_path / "x.npy"))},
        {"paged_kv": {"page_table": str(tmp_path / "x.npy")}},
    ):
        told = check(read_yaml(SPEC) | {"op": "chunked_sdpa", "chunk_start_idx": 0} | part).text()
        assert "is not a whole .npy file of numbers" in told or "block_size" in told


def test_github_lines_are_found_in_any_locale(tmp_path: Path) -> None:
    """The file is UTF-8, whatever the system takes files for; of a key that stands twice it is the second line."""
    spec = tmp_path / "spec.yaml"
    spec.write_bytes(("# é\n" + SPEC.replace("head_dim: 64", "head_dim: 63")).encode())
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "tensix_sim.cli", "check", str(spec), "--github"]
    assert "line=5,title=inputs.head_dim" in subprocess.run(command, env=env, capture_output=True, text=True).stdout
    spec.write_text(SPEC + "ring_size: 8\n")
    assert "line=10,title=spec" in call("check", spec, "--github")[1]


# -- tables and stores -------------------------------------------------------------------------------------------------

HEADING, ROW = SHIPPED.read_text().splitlines()[:2]


def with_cell(column: str, value: str) -> str:
    """The row with a cell changed."""
    cells = ROW.split(",")
    cells[HEADING.split(",").index(column)] = value
    return ",".join(cells)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *[
            (f"{HEADING}\n{with_cell(column, value)}\n", f"line 2, column {column}:")
            for column in ("q_chunk", "k_chunk", "batch", "seq_q", "grid_x", "ring_size", "wall_cycles", "fpu_cycles", "q_heads")
            for value in ("-1", "nan", "inf", "1e5", "9" * 30, "9" * 5000)
        ],
        (f"{HEADING}\n{with_cell('q_chunk', '0')}\n", "line 2, column q_chunk: Input should be greater than 0; given '0'"),
        (f"{HEADING}\n{with_cell('id', 'x' * 1000)}\n", "line 2, column id:"),
        (f"{HEADING}\n{with_cell('id', '')}\n", "line 2, column id:"),
        (f"{HEADING}\n{with_cell('note', 'x' * 140_000)}\n", "line 2: no CSV: field larger than field limit"),
        (f"{HEADING}\n{ROW[:30]}\n", "line 2: "),
        (f"{HEADING}\n{ROW},more\n", "values for"),
        (f"{HEADING}\n{ROW}é\n".encode("latin-1"), "line 2: b'\\xe9' is not UTF-8"),
        (f"{HEADING},id\n{ROW},x\n", "line 1 has the column id twice"),
        (f'{HEADING}\n"{ROW}\n', "line 2: no CSV: unexpected end of data"),
        ("", "line 1 lacks the columns"),
    ],
)  # fmt: skip
def test_a_bad_measurement_is_told_with_its_place(tmp_path: Path, text: str | bytes, says: str) -> None:
    """File, line and column, and exit 1."""
    path = tmp_path / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, fault = call("validate", path, "--jobs", "1")
    assert (code, fault) == (1, "")
    assert f"{path}: " in out
    assert says in out
    assert len(out) < 1000


def test_measurements_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As spreadsheets write them."""
    (tmp_path / "m.csv").write_text(f"{HEADING}\n{ROW}\n", encoding="utf-8-sig")
    assert call("validate", tmp_path / "m.csv", "--jobs", "1")[0] == 0


@pytest.mark.parametrize("found", ["text", -5, 0, float("inf"), float("-inf"), b"\0"])
def test_a_store_with_what_nothing_measured_is_refused(tmp_path: Path, found: object) -> None:
    """The value and the file are told, with exit 2."""
    spec, store = tmp_path / "spec.yaml", tmp_path / "store.sqlite"
    spec.write_text(SPEC)
    tune = ("tune", spec, "--store", store, "--jobs", "1", "--no-accuracy", "--vary", "q_chunk=32")
    assert call(*tune)[0] == 0
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("update runs set found = ?", [found])
    code, out, fault = call(*tune)
    assert (code, fault) == (2, "")
    assert f"{store}: holds " in out


# -- targets, names, addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/abs", "..", ".", "", "a/b", "a\\b", "a\n", "a\x1b[2J"])
def test_a_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    """What leaves it, or is none, ends with 2 before anything runs."""
    code, out, _ = call("run", "--traces", tmp_path / "in", "--name", name)
    assert code == 2
    assert "is no name of a folder in that of --traces" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "--json", "{}/no/such/x.json"), "No such file or directory"),
        (("run", "--json", "{}"), "is a directory"),
        (("lengths", "--plot", "{}/x.exe"), "no pictures of the kind 'exe'"),
        (("tune", "--seq-lens", "1024", "--plot", "{}/x.exe"), "no pictures of the kind 'exe'"),
        (("compare", "{}", "{}", "--html", "{}/no/x.html"), "No such file"),
        (("run", "--dask", "ucx://x"), "no Dask scheduler answers at 'ucx://x'"),
        (("run", "--dask", "tls://127.0.0.1:1"), "no Dask scheduler answers"),
        (("run", "--dask", ""), "no Dask scheduler answers at ''"),
        (("run", "--dask", "tcp://[::1"), "no Dask scheduler answers"),
        (("tune", "--seq-lens", "9" * 5000), "is neither like"),
        (("tune", "--vary", "q_chunk=" + "9" * 5000), "q_chunk="),
        (("run", "--jobs", "9" * 5000), "--jobs"),
        (("check", "x" * 5000), "xxx"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_work(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    """Nothing is computed for a target, an address or a number that cannot be used."""
    if "--plot" in args:
        pytest.importorskip("matplotlib")
    if "--dask" in args:
        pytest.importorskip("distributed")
    command, *rest = (arg.replace("{}", str(tmp_path)) for arg in args)
    option = {"run": "--traces", "tune": "--store"}.get(command)
    code, out, fault = call(command, *rest, *((option, tmp_path / "x") if option else ()))
    assert fault == ""
    assert code == (1 if command == "check" else 2)
    assert says in out
    assert len(out) < 2_500


def test_a_result_that_cannot_be_written_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen is there, the exit code is 2, no folder is left."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "cores.csv")

    monkeypatch.setattr("tensix_sim.trace.store.write_core_csv", full)
    (tmp_path / "spec.yaml").write_text(SPEC)
    code, out, _ = call("run", tmp_path / "spec.yaml", "--traces", tmp_path / "t", "--jobs", "1")
    assert code == 2
    assert "ring of 4" in out
    assert "No space left on device" in out
    assert not (tmp_path / "t").exists()


def test_a_target_is_tried_without_a_trace(tmp_path: Path) -> None:
    """An older file keeps what it has, a new one is not there; of killed runs nothing stays, of live ones all."""
    old, dead = tmp_path / "old", tmp_path / ".new.0123abcd"
    old.write_text("old")
    dead.touch()
    for path in (old, tmp_path / "new"):
        try_target(path)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]
    with atomic(tmp_path / "new") as first, suppress(FileNotFoundError):
        first.write("first")
        with atomic(tmp_path / "new") as second:
            second.write("second")
    assert (tmp_path / "new").read_text() == "first"
    assert not list(tmp_path.glob(".*"))


# -- pipes and signals -------------------------------------------------------------------------------------------------


@POSIX
def test_a_closed_pipe_keeps_the_exit_code(tmp_path: Path) -> None:
    """Of a legal spec and of an illegal one, with nobody to read stdout, or without a stderr."""
    for text, expected in ((SPEC, 0), (SPEC.replace("head_dim: 64", "head_dim: 63"), 1)):
        (tmp_path / "spec.yaml").write_text(text)
        command = f"'{sys.executable}' -m tensix_sim.cli check '{tmp_path / 'spec.yaml'}'"
        for shell in (f"{command} | true; exit ${{PIPESTATUS[0]}}", f"{command} 2>&-", f"{command} >&-"):
            done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (expected, ""), shell


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A signal to the parent alone: nobody holds its pipe any more, and of SIGTERM it says as much as of Ctrl-C."""
    (tmp_path / "spec.yaml").write_text(SPEC.replace("256", "65536").replace("ring_ids: [0]\n", ""))
    command = [
        sys.executable,
        "-m",
        "tensix_sim.cli",
        "run",
        str(tmp_path / "spec.yaml"),
        "--traces",
        str(tmp_path),
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("no /proc: nobody tells which processes are its workers")
    await_event(lambda: len(children.read_text().split()) >= 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == code
    assert err == ("interrupted; nothing was written\n" if number == signal.SIGTERM else "")


@POSIX
@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_while_it_starts_is_130_without_a_word() -> None:
    """As soon as anything of the package is loaded, for what is imported then is not tidied up."""
    code = "import os, signal, sys\nsys.argv = ['tensix-sim']\nimport tensix_sim.cli\nos.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
