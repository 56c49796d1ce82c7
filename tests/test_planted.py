"""The table of faults that `benchmarks/faults.py` plants: it fits the kernels as they are, and a few of it, run."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import mutants  # noqa: E402
import suspects  # noqa: E402
from planted import FAULTS  # noqa: E402

from tensix_sim import check  # noqa: E402


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stands_in_todays_kernels(name: str) -> None:
    """Its text is there, and what comes in its place is Python and something else."""
    fault = FAULTS[name]
    text = (ROOT / "kernels" / fault.file).read_text()
    assert fault.text in text
    assert ast.dump(ast.parse(text.replace(fault.text, fault.new, 1))) != ast.dump(ast.parse(text))


def test_slips_are_made_in_every_kernel() -> None:
    """Each is Python and something else.

    Left out are names, movers, which have no values, and the joint ring with a 32-bit DST, whose rows are not computed again.
    """
    files = {file.relative_to(ROOT / "kernels").as_posix() for file in (ROOT / "kernels").rglob("*.py")}
    names = {
        file for file in files if file.endswith(("__init__.py", "compute_kernels.py", "losses.py", "semaphores.py", "args.py"))
    }
    movers = {"movers.py", "mover_verbs.py", "move_tiles.py"}
    merged = {f"sdpa/ring_joint/{name}.py" for name in ("legacy", "legacy_writer", "merge_verbs")}
    assert files - mutants.CONFIGS.keys() <= names | movers | merged
    text = (ROOT / "kernels/sdpa/writer.py").read_text()
    made = list(mutants.slips(text))
    assert len(made) > 30
    for _, slipped in made:
        assert ast.dump(ast.parse(slipped)) != ast.dump(ast.parse(text))


def test_right_runs_are_legal() -> None:
    """Those that `benchmarks/suspects.py` looks for false accusations in."""
    for name, (given, _) in suspects.right_runs().items():
        assert check(given).ok, name


@pytest.mark.slow
def test_planted_faults_are_caught() -> None:
    """One that is named, one that changes nothing, an error of Python, and three that are suspect, two of them hardly."""
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--only", "E05", "E02", "E07", "X20", "C48", "M02"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    lines = {line[:3]: line for line in done.stdout.splitlines()}
    assert "in add: named, quality 2" in lines["E05"]
    assert "in add: suspect" in lines["E02"]
    assert "page 0 of out, core (0,0), first wrong step NCRISC into x_in" in lines["E02"]
    assert "in a: suspect" in lines["C48"]
    assert "in es: suspect" in lines["M02"]
    assert "in add: harmless" in lines["E07"]
    assert "named, quality 2" in lines["X20"]
    assert "AttributeError: 'Exp' object has no attribute 'colum'" in lines["X20"]
    assert "uncaught: 0 of 6" in done.stdout
