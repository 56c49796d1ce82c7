"""Commands that are ended at random moments: a sample of `benchmarks/interrupted.py`."""

import random
import signal
import sys
from pathlib import Path

import pytest
from interrupted import COMMANDS, SIGNALS, again, hit, twice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and process groups"),
    pytest.mark.usefixtures("interrupts"),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_loses_nothing_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Each once: its exit code, no worker left, what can be read whole; given again, the command prints what it always does."""
    rng = random.Random(name)
    assert not [said for number in SIGNALS for said in hit(name, signal.Signals(number), rng, tmp_path)]
    assert not list(again(name, tmp_path))


@pytest.mark.parametrize("name", COMMANDS)
def test_two_at_once_do_not_mix(tmp_path: Path, name: str) -> None:
    """In one folder: each prints what it prints alone, and what is there then is what one of them leaves."""
    assert not list(twice(name, random.Random(name), tmp_path))
