"""What people type by habit, and terminals that are narrower than the screens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from processes import HANGS

from tensix_sim import preset
from tensix_sim.arch import BOARDS
from tensix_sim.cli import main
from tensix_sim.cli.options import _piped
from tensix_sim.config import SpecError
from tensix_sim.doctor.check import check
from tensix_sim.presets import presets
from tensix_sim.screen import boards_screen, presets_screen, run_screen
from tensix_sim.simulation import simulate
from tensix_sim.text import screen_width, size_in, table, wrapped
from tensix_sim.tuning import read_lengths
from tensix_sim.yaml_text import NotYamlError, read_yaml

SPEC = "inputs: {q_heads: 2, kv_heads: 1, seq_len: 1k, head_dim: 64}\nring_size: 2\nring_ids: [0]\nnumerics: off\n"
WORDS = st.text("abcdefgh", min_size=1, max_size=12)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call the command line in an empty folder, with a text on its stdin."""
    monkeypatch.chdir(tmp_path)
    _piped.cache_clear()
    return lambda *args, stdin="": CliRunner().invoke(main, args, input=stdin)


@pytest.fixture
def narrow():
    """A screen of 60 letters."""
    token = screen_width.set(60)
    yield 60
    screen_width.reset(token)


# -- conventions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("run",), ("compare",)])
def test_dash_h_is_help(command, words: tuple[str, ...]) -> None:
    """Of the program and of a command; each command is a line of the list, which is not cut."""
    assert command(*words, "-h").stdout == command(*words, "--help").stdout != ""
    listed = command("-h").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == sorted(main.commands)
    assert not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("module", ["tensix_sim", "tensix_sim.cli"])
def test_the_package_can_be_run(module: str) -> None:
    """As `python -m`."""
    done = subprocess.run([sys.executable, "-m", module, "boards"], capture_output=True, text=True, timeout=HANGS, check=True)
    assert done.stdout.startswith("board")


def test_a_dash_is_stdin_and_stdout(command) -> None:
    """A spec that is piped is the spec of a file; JSON on stdout is there alone, and the same as in a file."""
    Path("spec.yaml").write_text(SPEC)
    piped = command("check", "-", "--json", "-", stdin=SPEC)
    assert piped.exit_code == 0, piped.output
    command("check", "spec.yaml", "--json", "report.json")
    assert json.loads(piped.stdout) == json.loads(Path("report.json").read_text())
    assert not Path("-").exists()


def test_a_run_and_its_page_go_into_a_pipe(command) -> None:
    """`run - --json -` prints figures and nothing else; `report --output -` the page."""
    done = command("run", "-", "--json", "-", "--name", "mine", "--jobs", "1", stdin=SPEC)
    assert [device["ring_id"] for device in json.loads(done.stdout)["devices"]] == [0]
    page = command("report", "traces/runs/mine", "--no-what-ifs", "--output", "-")
    assert page.stdout.startswith("<!doctype html>")
    assert page.stdout.rstrip().endswith("</html>")


def test_what_is_piped_is_judged_as_a_file_is(command) -> None:
    """No YAML, nothing at all; annotations and JSON cannot share stdout."""
    assert "spec = '-': is empty" in command("run", "-").stderr
    assert "in line 1, column 5" in command("check", "-", stdin="a: [").stderr
    assert command("check", "-", "--github", "--json", "-", stdin=SPEC).exit_code == 2


def test_shells_complete_keys_and_presets() -> None:
    """What click asks a program for: the words that go on from what was begun."""
    ask = {"COMP_WORDS": "tensix-sim check --set inputs.q_h", "COMP_CWORD": "3", "_TENSIX_SIM_COMPLETE": "bash_complete"}
    assert "inputs.q_heads=" in CliRunner().invoke(main, env=ask, prog_name="tensix-sim").stdout
    ask |= {"COMP_WORDS": "tensix-sim run --preset llama8", "COMP_CWORD": "3"}
    assert "llama8b-n150" in CliRunner().invoke(main, env=ask, prog_name="tensix-sim").stdout


# -- sizes --------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6))
def test_k_and_m_are_powers_of_1024(number: int) -> None:
    """In YAML, as in a list of lengths; what only looks like one is text."""
    assert read_yaml(f"{number}k") == size_in(f"{number}k") == number * 1024
    assert read_yaml(f"[{number}M]") == [number * 1024**2]
    assert read_yaml(f"k{number}") == f"k{number}"


def test_sizes_stand_for_lengths_everywhere() -> None:
    """In a spec, in --set and in --seq-lens; a model's chunks follow the length that was meant."""
    assert preset("llama70b-galaxy", ["inputs.seq_len=32k"]) == preset("llama70b-galaxy", seq_len=32768)
    assert read_lengths("2k..8k") == [2048, 4096, 8192]
    assert read_lengths("1k, 3000") == [1024, 3000]


def test_a_size_that_is_none_is_taken_for_what_was_meant() -> None:
    """The nearest legal value is near 32k, not near the built-in example."""
    (violation,) = check(preset("llama70b-galaxy"), ["inputs.seq_len=32kb"]).violations
    assert violation.nearest[0] == {"inputs.seq_len": 32768}


# -- messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a: [1, 2", 1, 9), ("a: 1\n  b: 2", 2, 4), ("x: {a: 1, b c: d: 2}", 1, 17), ("a: 1\n\tb: 2", 2, 1)],
)
def test_a_caret_points_at_what_is_no_yaml(text: str, line: int, column: int) -> None:
    """The place, the parser's reason, and below the line a caret under that column."""
    with pytest.raises(NotYamlError) as caught:
        read_yaml(text)
    said, *excerpt = str(caught.value).split("\n")
    assert said.startswith(f"is not YAML in line {line}, column {column}: ")
    assert len(said) > len(f"is not YAML in line {line}, column {column}: ")
    if excerpt:
        shown, caret = excerpt
        assert shown.strip() in text.split("\n")[line - 1]
        assert caret.index("^") == column - 1


def test_a_caret_stays_under_its_column_on_the_screen(command) -> None:
    """Also where the sentence before it is wrapped."""
    Path(f"{'long' * 30}.yaml").write_text("inputs: {seq_len 8192:\n  q_heads: 8, , kv\n")
    shown, caret = command("check", f"{'long' * 30}.yaml").stdout.splitlines()[-2:]
    assert shown[caret.index("^")] == ":"


def test_an_unknown_name_has_three_near_ones() -> None:
    """Not the whole list."""
    with pytest.raises(SpecError, match="nearest: llama70b-t3000, llama70b-galaxy, llama8b-n150; tensix-sim presets lists all"):
        preset("llama70b")


# -- narrow screens -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(WORDS, WORDS, st.lists(WORDS, max_size=30).map(" ".join)), min_size=1, max_size=5))
def test_a_table_fits_the_screen_and_loses_no_word(rows: list[tuple[str, ...]]) -> None:
    """Text goes on in further lines; of columns that may go, it is said which went."""
    token = screen_width.set(40)
    drawn = table(("a", "b", "c"), rows, words="c")
    screen_width.reset(token)
    assert max(map(len, drawn.splitlines())) <= 40
    assert sorted(drawn.split()) == sorted(["a", "b", "c", *" ".join(map(" ".join, rows)).split()])


def test_columns_go_in_the_order_that_was_given(narrow: int) -> None:
    """As many as must, and a line names them."""
    header = [f"column {i}" for i in range(7)]
    shown, _, said = table(header, [header], least=("column 3", "column 1", "column 5")).splitlines()
    assert shown.split("  ") == [f"column {i}" for i in (0, 1, 2, 4, 5, 6)]
    assert len(shown) <= narrow
    assert said == "not shown, for the screen is narrow: column 3"


def test_screens_fit_a_narrow_terminal(narrow: int) -> None:
    """Those of `run`, `presets` and `boards` and what `check` says, but for names that are longer than the screen."""
    result = simulate({**read_yaml(SPEC), "numerics": "fast"})
    for screen in (run_screen(result), presets_screen(presets()), boards_screen(BOARDS.values())):
        assert [line for line in screen.splitlines() if len(line) > narrow] == []
    screen_width.set(80)  # what was asked for, beside what is used, and addresses in L1 take that much
    assert [line for line in result.report.text().splitlines() if len(line) > 80] == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_a_terminal_is_asked_for_its_width_and_a_pipe_is_not(tmp_path: Path) -> None:
    """The same command at 60 columns and into a pipe."""
    import fcntl
    import pty
    import struct
    import termios

    shown, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 60, 0, 0))
    words = [sys.executable, "-m", "tensix_sim", "presets"]
    unsaid = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run(words, stdout=terminal, cwd=tmp_path, env=unsaid, timeout=HANGS, check=True)
    os.close(terminal)
    with open(shown, "rb", buffering=0) as seen:
        text = b""
        try:
            while block := seen.read(65536):
                text += block
        except OSError:  # Linux's end of a terminal that is closed
            pass
    assert max(map(len, text.decode().splitlines())) <= 60
    piped = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=HANGS, check=True).stdout
    assert max(map(len, piped.splitlines())) > 60
    assert wrapped("a " * 100).count("\n") == 1
