"""The attention blocks in examples/ run as their users would run them: right, and with cycles of every op."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tensix_sim import ttnn
from tensix_sim.script import ScriptRun, read_script

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(example: str, folder: Path, *arguments: str) -> tuple[float, ScriptRun]:
    """`tensix-sim run` of an example: the correlation that it prints, and its run."""
    command = [sys.executable, "-m", "tensix_sim", "run", f"examples/{example}", "--traces", str(folder), "--name", "block"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"^PCC ([\d.]+)$", done.stderr, re.MULTILINE)
    assert found, done.stderr
    return float(found[1]), read_script(folder / "block")


def check(pcc: float, made: ScriptRun) -> None:
    """It is float64's, and no op is without cycles."""
    assert pcc >= 0.99
    assert [op.op for op in made.ops if any(taken.cycles is None for taken in op.taken)] == []
    assert sum(made.shares().values()) == pytest.approx(made.us)


@pytest.mark.parametrize(("board", "mesh"), [("n150", "1x1"), ("t3000", "1x8")])
def test_tt_transformers_attention(board: str, mesh: str, tmp_path: Path) -> None:
    """On one chip, and with a head a chip on eight, which gather before the last product."""
    sizes = ("--tokens", "128", "--width", "256", "--heads", "8", "--kv-heads", "8")
    pcc, made = run("tt_transformers_attention.py", tmp_path, "--set", f"board={board}", "--set", f"mesh={mesh}", "--", *sizes)
    check(pcc, made)
    assert len(made.lines) == (1 if board == "n150" else 8)
    assert ("all_gather_async" in {op.op for op in made.ops}) == (board == "t3000")


SUMS = pytest.mark.skipif("reduce_scatter" not in ttnn.__all__, reason="needs ttnn.reduce_scatter and ttnn.all_reduce")


@SUMS
@pytest.mark.parametrize("way", ["ring", "ring_joint", "plain"])
def test_llama_on_a_galaxy(way: str, tmp_path: Path) -> None:
    """A narrow model on 32 devices, by each way to attend; width is shared out by columns, so partial sums are added up."""
    sizes = ("--width", "256", "--heads", "8", "--tokens", "512", "--attention", way)
    pcc, made = run("llama_70b_galaxy_attention.py", tmp_path, "--", *sizes)
    check(pcc, made)
    assert len(made.lines) == 32
    assert made.simulated < sum(len(taken.devices) for op in made.ops for taken in op.taken) / 4


@SUMS
def test_equal_devices_of_a_timed_block_are_simulated_once(tmp_path: Path) -> None:
    """Without numbers the eight rows of the mesh do the same: each op once, the ring op and gathers once a place."""
    options = ("--set", "numerics=off", "--", "--timing", "--width", "256", "--heads", "8", "--tokens", "512")
    command = [sys.executable, "-m", "tensix_sim", "run", "examples/llama_70b_galaxy_attention.py", "--traces", str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=900, check=True)
    made = read_script(tmp_path / "llama_70b_galaxy_attention")
    attention = [taken for op in made.ops if op.kind == "attention" for taken in op.taken]
    assert {taken.ring_id for taken in attention} == {0, 1, 2, 3}
    assert made.simulated < 60
    assert f"of which {made.simulated} were simulated" in " ".join(done.stdout.split())
