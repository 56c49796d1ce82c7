"""A sample of `benchmarks/random_specs.py`, which judges 10,000."""

import pytest
from random_specs import judge


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_a_check_keeps_its_word(first: int) -> None:
    """Legal exactly when a run completes; what is offered or advised is legal; no run beats its floor; nothing crashes."""
    assert not [(seed, said) for seed in range(first, first + 20) for said in judge(seed).wrong]
