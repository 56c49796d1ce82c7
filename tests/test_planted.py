"""The table of faults that `benchmarks/faults.py` plants: it fits the kernels as they are, and a few of it, run."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from planted import FAULTS  # noqa: E402


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stands_in_todays_kernels(name: str) -> None:
    """Its text is there, and what comes in its place is Python and something else."""
    fault = FAULTS[name]
    text = (ROOT / "kernels" / fault.file).read_text()
    assert fault.text in text
    assert ast.dump(ast.parse(text.replace(fault.text, fault.new, 1))) != ast.dump(ast.parse(text))


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
