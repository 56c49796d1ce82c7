"""The float64 reference: what it gives, of which rows, and how sure a sample of them is."""

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import pytest
from specs import CHUNKED, PLAIN, RING, Raw, raw

from tensix_sim import device, simulate
from tensix_sim.accuracy import Accuracy, Moments, attention, total
from tensix_sim.config import RunSpec
from tensix_sim.kernel_api import Compute
from tensix_sim.kernels.sdpa.verbs import MulSums
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.simulation import Result

SHAPE: Raw = {"S": 384, "heads": 4, "kv_heads": 2, "d": 32, "dtype": "bfloat16", "q": 128, "k": 64, "trace": "off"}
SAMPLED: dict[str, Raw] = {
    "ring": raw(RING, **SHAPE | {"q": 64, "S": 512}),
    "plain": raw(PLAIN, **SHAPE),
    "chunks that over-hang, of rows that fill no tile": raw(PLAIN, **SHAPE | {"S": 301, "is_causal": False}),
    "a prefix, batches": raw(CHUNKED, **SHAPE | {"S": 256, "batch": 2, "chunk_start_idx": 128}),
}


def accuracy(given: Raw | Result) -> Accuracy:
    """A run's accuracy."""
    found = (given if isinstance(given, Result) else simulate(given)).accuracy
    assert found is not None
    return found


@pytest.fixture(name="sampling")
def _sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is long enough for a sample."""
    monkeypatch.setattr(device, "WHOLE_SCORES", 0)


# -- the reference --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [None, 0, 5, 300])
@pytest.mark.parametrize("right", [None, 0, 7])
@pytest.mark.parametrize("first_key", [0, 90])
def test_attention_is_the_formula(left: int | None, right: int | None, first_key: int) -> None:
    """Of all rows, and of some; over heads that share keys, blocks of rows, a prefix, and both sides of a window."""
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((n, rows, 16), np.float32) for n, rows in ((4, 300), (2, 400), (2, 400)))
    scores = 0.3 * q.astype(float) @ k.repeat(2, axis=0).astype(float).transpose(0, 2, 1)
    distance = np.arange(400) - (first_key + np.arange(300)[:, np.newaxis])
    hidden = (distance > (400 if right is None else right)) | (distance < -(400 if left is None else left))
    weights = np.exp(np.where(hidden, -np.inf, scores))
    expected = weights @ v.repeat(2, axis=0).astype(float) / weights.sum(axis=2, keepdims=True)
    pieces = [[(32 * head, 32 * head + 32), (288, 300)] for head in range(4)]
    for some in (None, pieces):
        found = list(attention(q, k, v, first_key, 0.3, left, right, some))
        for head, start, values in found:
            assert np.allclose(values, expected[head, start : start + len(values)], rtol=1e-12, atol=1e-13)
        assert sum(len(values) for _, _, values in found) == (4 * 44 if some else 4 * 300)


# -- the sample -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLED)
def test_a_tile_row_of_every_q_chunk_is_compared(name: str) -> None:
    """And no other; over the heads of a device, every tile row of a Q chunk."""
    g = Geometry.of(RunSpec.model_validate(SAMPLED[name]))
    places = set()
    for head in range(g.B * g.NQH):
        pieces = device._sample(g, head, g.Sc)
        assert [start // (32 * g.M) for start, _ in pieces] == [*range(g.nq)]
        assert all(start % 32 == 0 and stop == min(start + 32, g.Sc) for start, stop in pieces)
        places |= {start // 32 for start, _ in pieces}
    assert places == {*range(g.Sqt)}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_standard_error_is_honest(name: str, sampling: None) -> None:
    """All rows err by what the sample says, within four of its standard errors; the chip does the same."""
    sample, whole = (simulate(SAMPLED[name] | {"reference": reference}) for reference in ("auto", "whole"))
    some, every = accuracy(sample), accuracy(whole)
    assert some.sampled is not None
    assert every.sampled is None
    assert some.sampled.of == sum(output[..., 0].size for output in sample.outputs.values())
    assert some.sampled.of / 5 < some.sampled.rows < some.sampled.of / 1.5
    assert 0 < some.sampled.standard_error < some.rel_l2 / 2
    assert abs(some.rel_l2 - every.rel_l2) < 4 * some.sampled.standard_error
    assert some.worst_row <= every.worst_row
    assert some.max_abs <= every.max_abs
    assert all(np.array_equal(sample.outputs[i], output) for i, output in whole.outputs.items())
    assert [d.cycles for d in sample.devices] == [d.cycles for d in whole.devices]


def test_the_same_input_gives_the_same_sample(sampling: None) -> None:
    """In this process and in others."""
    given = SAMPLED["ring"]
    assert accuracy(given) == accuracy(simulate(given, jobs=2))


def test_small_runs_are_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the size from which it takes a second; beyond it, too, where a Q chunk is a tile row, to the bit."""
    of_device = 4 * 384 * 384
    for size, sampled in ((of_device, False), (of_device - 1, True)):
        monkeypatch.setattr(device, "WHOLE_SCORES", size)
        assert (accuracy(SAMPLED["plain"]).sampled is not None) == sampled
    thin = raw(PLAIN, **SHAPE | {"q": 32})
    assert accuracy(thin) == accuracy(thin | {"reference": "whole"})


def _parts(sizes: list[float], errors: list[float]) -> Iterator[Moments]:
    """A part of one row for each size and error, the first and second of its two values."""
    for size, error in zip(sizes, errors, strict=True):
        reference = np.array([[size, 0.0]])
        yield Moments.of(reference, np.array([[size, error]], np.float32))


def test_the_estimator_in_closed_form() -> None:
    """Squared sizes 1, 4, 9 and squared errors 1, 0, 1, of 12 rows: r = 1 / 7, residuals 6/7, -4/7, -2/7."""
    whole = total(_parts([1, 2, 3], [1, 0, 1]))
    assert whole.accuracy().sampled is None
    found = Moments(**vars(whole) | {"whole": 12}).accuracy()
    assert found.sampled is not None
    assert found.rel_l2 == pytest.approx(sqrt(1 / 7))
    variance = (1 - 3 / 12) * (3 / 2) * ((36 + 16 + 4) / 49) / 14**2
    assert found.sampled.standard_error == pytest.approx(sqrt(variance) / (2 * sqrt(1 / 7)))
    assert found.sampled.text == f"3 of 12 rows, 32 of each Q chunk; relative L2 +- {found.sampled.standard_error:.3%}"


def test_equal_parts_leave_no_doubt() -> None:
    """Where all err alike, their share of the rest is known; of one part, nothing is."""
    for parts, expected in ((4, 0.0), (1, float("nan"))):
        moments = total(_parts([2.0] * parts, [0.5] * parts))
        sampled = Moments(**vars(moments) | {"whole": 100}).accuracy().sampled
        assert sampled is not None
        assert sampled.standard_error == pytest.approx(expected, nan_ok=True, abs=1e-12)


# -- faults ---------------------------------------------------------------------------------------------------------------


def test_a_fault_in_one_q_chunk_of_one_core_is_suspect(sampling: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever core it is: old sums are not rescaled in its first Q chunk; the place lies in that chunk."""
    given = raw(PLAIN, **SHAPE | {"heads": 2, "kv_heads": 1, "kernel": "legacy", "is_causal": False})
    assert not accuracy(given).suspect
    g, usual = Geometry.of(RunSpec.model_validate(given)), Compute.do
    for core in range(g.cores):
        struck, left = g.deal.places(core)[0], g.nk - 1

        async def do(self: Compute, verb: Any, *args: Any, **options: Any) -> None:
            nonlocal left
            mine = verb is MulSums and self.core.logical == (core % g.grid[0], core // g.grid[0])  # noqa: B023
            if mine and left > 0:
                left -= 1
            else:
                await usual(self, verb, *args, **options)

        monkeypatch.setattr(Compute, "do", do)
        found = accuracy(given)
        assert found.suspect
        assert found.place is not None
        assert (found.place.head, found.place.rows[0] // (32 * g.M)) == struck
