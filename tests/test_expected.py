"""Numbers that are wrong show: rows computed again from the spec, what is suspect by them and what is not, what is not finite."""

import importlib
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from specs import CHUNKED, JOINT, PLAIN, RING, Raw, raw

from tensix_sim import check, simulate
from tensix_sim.accuracy import Accuracy
from tensix_sim.cli import main
from tensix_sim.config import RunSpec
from tensix_sim.device import first_wrong
from tensix_sim.formats import FORMATS, largest, to_format
from tensix_sim.hw import SimulationError
from tensix_sim.job import IllegalConfigError
from tensix_sim.kernel_api import Compute
from tensix_sim.kernels.sdpa.args import Args, GivenMask, Heads
from tensix_sim.kernels.sdpa.mask import Mask
from tensix_sim.kernels.sdpa.verbs import MulSums
from tensix_sim.sdpa import ring_program
from tensix_sim.sdpa.inputs import AS_GIVEN, make_inputs
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.simulation import Result

reader = importlib.import_module("tensix_sim.kernels.sdpa.reader")  # the package has a function of that name
Plant = Callable[[pytest.MonkeyPatch], None]


def spec(op: str = RING, **changes: Any) -> Raw:
    """A small run, two heads to a K/V head."""
    shape = {"board": "galaxy", "S": 256, "heads": 4, "kv_heads": 2, "d": 32, "dtype": "bfloat16", "q": 32, "trace": "off"}
    return raw(op, **shape | changes)


def sdpa(**changes: Any) -> Raw:
    """The same on one device."""
    return spec(PLAIN, **{"S": 192} | changes)


def joint(**changes: Any) -> Raw:
    """The same where K and V travel."""
    return spec(JOINT, **{"S": 512, "is_causal": True} | changes)


PAGED = spec(CHUNKED, S=128, batch=2, chunk_start_idx=256)
RIGHT: dict[str, Raw] = {
    "ring": spec(),
    "ring, streaming": spec(kernel="streaming"),
    "32-bit scores": sdpa(fidelity="HiFi4", fp32=True),
    "keys that fill no tile": sdpa(is_causal=False, kv_len=237),
    "rows that fill no tile, LoFi": sdpa(S=173, fidelity="LoFi"),
    "window": sdpa(sliding_window_size=70, kernel="legacy"),
    "centred window": sdpa(sliding_window_size=62, is_causal=False),
    "mask": sdpa(is_causal=False, inputs__attn_mask="random", inputs__attn_mask_dtype="bfloat4_b", kv_len=237),
    "mask, legacy": sdpa(is_causal=False, inputs__attn_mask="random", S=173, kernel="legacy"),
    "sinks": sdpa(inputs__attention_sink="random"),
    "sinks, 32-bit scores": sdpa(inputs__attention_sink="random", fidelity="HiFi4", fp32=True),
    "windows of tokens": sdpa(is_causal=False, cu_window_seqlens=[0, 40, 100, 192]),
    "ring with a window": spec(sliding_window_size=70),
    "paged, batches": PAGED,
    "bfloat4_b": sdpa(dtype="bfloat4_b"),
    "outliers": spec(dtype="bfloat8_b", inputs__outliers=0.01, fidelity="HiFi3"),
    "Wormhole": sdpa(board="n150", fidelity="HiFi4", fp32=True),
    "joint ring": joint(),
    "joint ring, joint rows, a line": joint(kv_heads=4, joint_len=40, logical_n=475, topology="line", is_causal=False),
    "joint ring, chunks that are not whole": joint(k=96, is_causal=False),
    "joint ring, a Q chunk beyond its slice": joint(S=320, R=2, q=192, k=256),
    "joint ring, balanced": joint(is_balanced=True),
    "joint ring, rows wait in L1": joint(heads=2, kv_heads=2, S=256, R=2),
}  # fmt: skip


def judged(given: Raw | Result) -> Accuracy:
    """A run's accuracy."""
    accuracy = (given if isinstance(given, Result) else simulate(given)).accuracy
    assert accuracy is not None
    return accuracy


# -- what is right ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIGHT)
def test_rows_computed_again_have_the_run_s_error(name: str) -> None:
    """One is written from the spec, the other went through readers, buffers, masks and writers: to the bit where numbers are."""
    result = simulate(RIGHT[name] | {"numerics": "exact"})
    for run in result.runs:
        assert len(run.recomputed) >= 2
        for one in run.recomputed:
            assert np.array_equal(one.error, one.expected)
    assert not judged(result).suspect


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_run_is_not_suspect(name: str) -> None:
    """Nor is one of inputs without a sign, whose PCC falls with the length: in `fast`, where BLAS may add in another order."""
    given = RIGHT[name]
    drawn = make_inputs(RunSpec.model_validate(given))
    unsigned = replace(drawn, **{x: np.abs(getattr(drawn, x)) % 1 for x in "qkv"})
    for inputs in (None, unsigned):
        accuracy = judged(simulate(given, inputs=inputs))
        assert not accuracy.suspect
        assert accuracy.expected is not None
        assert accuracy.suspicion() is None


def test_workers_judge_alike() -> None:
    """Devices in processes of their own give the same rows and figures."""
    assert judged(simulate(spec(), jobs=2)) == judged(spec())


# -- what is wrong ------------------------------------------------------------------------------------------------------------


TURN_PAGE_TABLE, READ_KV = reader.turn_page_table, reader.read_kv


async def pages_of_batch_0(dm: Any, rows: Any, b: int, again: bool) -> None:
    """Whichever batch is asked for."""
    await TURN_PAGE_TABLE(dm, rows, 0, again)


async def k_for_v(dm: Any, a: Args, tensor: Any, *rest: Any) -> None:
    """Rows of K, whichever are asked for."""
    await READ_KV(dm, a, a.tensors.k, *rest)


def wrong_head(self: Heads, head: int) -> int:
    """The K/V heads dealt out in turn."""
    return head % self.kv


def unscaled(patch: pytest.MonkeyPatch, cores: Callable[[Any], bool] = lambda core: True) -> None:
    """Old sums as they are, on some cores."""
    usual = Compute.do

    async def do(self: Compute, verb: Any, *args: Any, **options: Any) -> None:
        if verb is not MulSums or not cores(self.core.logical):
            await usual(self, verb, *args, **options)

    patch.setattr(Compute, "do", do)


BLOCK, TILES = Mask.block, Mask.tiles


def always_first(read: Any) -> Any:
    """A reader's function whose last argument, a K chunk or a head, is 0."""

    async def reads(*args: Any) -> None:
        await read(*args[:-1], 0)

    return reads


def no_padding(self: Mask, i: int, diagonal: int, end: int, whole_keys: int) -> list[Any]:
    """Nothing is hidden."""
    return []


KEY_ROWS, MET = ring_program._key_rows, RingGeometry.met


def half_met(g: RingGeometry, s: int, masks: Any, later: bool) -> Any:
    """A slice that is met whole, or by half of its rows, by half of these."""
    return s, tuple(mask if mask.causal else replace(mask, keys=mask.keys // 2) for mask in masks), later


FAULTS: dict[str, tuple[Raw, Plant, str]] = {
    "a query sees the key after its own": (spec(), lambda patch: patch.setattr(Mask, "right", 1), "mask of K chunk"),
    "the same, streaming": (spec(kernel="streaming"), lambda patch: patch.setattr(Mask, "right", 1), "mask of K chunk"),
    "the window is a key too wide": (
        sdpa(sliding_window_size=96, kernel="legacy"),
        lambda patch: patch.setattr(Mask, "left", property(lambda mask: mask.window)),
        "mask of K chunk",
    ),
    "padding is seen": (
        sdpa(is_causal=False, kv_len=208, kernel="legacy"),
        lambda patch: patch.setattr(Mask, "_row_marks", no_padding),
        "mask of K chunk",
    ),
    "another head's keys": (spec(), lambda patch: patch.setattr(Heads, "kv_of", wrong_head), "K chunk"),
    "K in place of V": (spec(), lambda patch: patch.setattr(reader, "read_kv", k_for_v), "V chunk"),
    "old sums are not rescaled": (spec(), unscaled, "sums l after"),
    "nor on one core": (spec(), lambda patch: unscaled(patch, lambda core: core == (1, 1)), "sums l after"),
    "the mask of another head": (
        sdpa(is_causal=False, inputs__attn_mask="random", inputs__attn_mask_heads=4),
        lambda patch: patch.setattr(GivenMask, "first_row", lambda mask, b, head: 0),
        "mask of K chunk",
    ),
    "the mask of another K chunk, legacy": (
        sdpa(is_causal=False, inputs__attn_mask="causal", kernel="legacy"),
        lambda patch: patch.setattr(reader, "read_mask", always_first(reader.read_mask)),
        "mask of K chunk",
    ),
    "the sink of head 0 for all": (
        sdpa(inputs__attention_sink="random"),
        lambda patch: patch.setattr(reader, "read_sink", always_first(reader.read_sink)),
        "O / l",
    ),
    "a window's border a token late": (
        sdpa(is_causal=False, cu_window_seqlens=[0, 40, 100, 192]),
        lambda patch: patch.setattr(Mask, "block", lambda mask, row, j: BLOCK(replace(mask, windows=(0, 41, 101, 192)), row, j)),
        "mask of K chunk",
    ),
    "joint ring: K of the slice in V's place": (
        joint(),
        lambda patch: patch.setattr(ring_program, "_key_rows", lambda *given: replace(rows := KEY_ROWS(*given), v=rows.k)),
        "V chunk",
    ),
    "joint ring, balanced: half of an early slice is met": (
        joint(is_balanced=True),
        lambda patch: patch.setattr(RingGeometry, "met", lambda g, r: (half_met(g, *met) for met in MET(g, r))),
        "K chunk",
    ),
    "pages of batch 0 for all": (
        PAGED,
        lambda patch: patch.setattr(reader, "turn_page_table", pages_of_batch_0),
        "K chunk",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_suspect(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the float64 reference and by the rows again, neither of which goes through a kernel; and it is said where it begins."""
    given, plant, step = FAULTS[name]
    assert not judged(given).suspect
    plant(monkeypatch)
    accuracy = judged(given)
    assert accuracy.suspect
    assert accuracy.place is not None
    assert accuracy.place.rel_l2 > 1.2 * accuracy.place.expected
    assert (accuracy.place.step or "").startswith(step)
    assert f"wrong from {accuracy.place.step} on" in (accuracy.suspicion() or "")


def a_key_more(mask: Mask) -> NDArray[np.float32]:
    """The palette of the mask whose keys end one later."""
    return TILES(replace(mask, keys=mask.keys + 1))


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_a_fault_whose_error_is_small_is_suspect(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key of padding, whose score is 0, among 395: errors are those of the formats, but the values are not."""
    monkeypatch.setattr(Mask, "tiles", a_key_more)
    accuracy = judged(sdpa(is_causal=False, kv_len=395, kernel=kernel))
    assert accuracy.suspect
    assert accuracy.place is not None
    assert accuracy.place.rel_l2 < 1.1 * accuracy.place.expected
    assert accuracy.place.others > 0.125
    assert accuracy.place.step == "mask of K chunk 6"
    assert re.search(r"rows \d+ to \d+ .*, [1-9]\d% of these not as computed again; wrong from mask", accuracy.suspicion() or "")


@pytest.mark.parametrize(("numerics", "suspect"), [("fast", False), ("exact", True)])
def test_a_value_that_is_rounded_to_another_side(numerics: str, suspect: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS may do that, and `exact` may not."""
    from tensix_sim import device

    usual = device.output_rows

    def output_rows(g: Any, output: Any) -> Any:
        rows = usual(g, output)
        rows[0, 0, 40, 3] *= 1 + 2**-7
        return rows

    monkeypatch.setattr(device, "output_rows", output_rows)
    assert judged(sdpa(S=64, heads=1, kv_heads=1, numerics=numerics)).suspect == suspect


@pytest.mark.parametrize("name", RIGHT)
def test_cores_hold_all_that_they_should(name: str) -> None:
    """Of a right run no quantity on the way to the output is missing, whatever the op, the kernel and the formats."""
    result = simulate(RIGHT[name])
    device = result.devices[-1]
    assert device.accuracy is not None
    assert device.accuracy.place is not None
    numbers = replace(AS_GIVEN, inputs=AS_GIVEN.of(result.spec))
    assert first_wrong(result.job, device.ring_id, numbers, device.accuracy.place) == "the write of its pages"


def test_the_place_is_where_the_fault_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of one head of one device, written wrong in the last batch."""
    from tensix_sim import device

    usual = device.output_rows

    def output_rows(g: Any, output: Any) -> Any:
        rows = usual(g, output)
        rows[1, 2, 70:73] *= 1.1
        return rows

    monkeypatch.setattr(device, "output_rows", output_rows)
    accuracy = judged(sdpa(batch=2))
    assert accuracy.suspect
    assert accuracy.place is not None
    assert (accuracy.place.device, accuracy.place.batch, accuracy.place.head) == (0, 1, 2)
    first, last = accuracy.place.rows
    assert 64 <= first <= last < 96
    assert "head 2, batch 1, device 0 (page" in (accuracy.suspicion() or "")


# -- the faces ----------------------------------------------------------------------------------------------------------------


def test_strict_is_exit_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspect run is whole, says so on the screen and in the JSON, and fails with --strict only; a right one never does."""
    file, traces = tmp_path / "spec.yaml", ["--traces", str(tmp_path), "--jobs", "1"]
    file.write_text(json.dumps(spec()))
    summary = tmp_path / "run.json"
    run = ["run", str(file), "--json", str(summary), *traces]
    assert CliRunner().invoke(main, [*run, "--strict"]).exit_code == 0
    assert json.loads(summary.read_text())["accuracy"]["suspect"] is False
    monkeypatch.setattr(Mask, "right", 1)
    assert CliRunner().invoke(main, run).exit_code == 0
    strict = CliRunner().invoke(main, [*run, "--strict"])
    assert strict.exit_code == 3
    assert "numbers are not what the spec gives" in strict.stdout
    accuracy = json.loads(summary.read_text())["accuracy"]
    assert accuracy["suspect"] is True
    assert accuracy["expected"].keys() == {"rel_l2", "worst_row"}
    assert accuracy["place"].keys() == {"device", "batch", "head", "rows", "page", "core", "rel_l2", "expected", "others", "step"}


# -- what is not finite -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_an_output_that_is_not_finite_is_an_error(kernel: str) -> None:
    """O overflows where two keys weigh anything, in batch 1, the last column; the first such value is named, and its core."""
    given = sdpa(kernel=kernel, batch=2)
    drawn = make_inputs(RunSpec.model_validate(given))
    drawn.v[1, 0, :, 31] = 3.38e38
    said = r"device 0: the output has (nan|inf) at batch 1, head 0, row [12], column 31 \(page 24, core \(0,1\)\)"
    with pytest.raises(SimulationError, match=said):
        simulate(given, inputs=drawn)


@pytest.mark.parametrize("name", FORMATS)
def test_the_largest_value_is_the_last_that_stays_finite(name: str) -> None:
    """By the host's own conversion."""
    most = largest(FORMATS[name])
    x = np.full((2, 16), most)
    x.view(np.uint32)[1] += 1
    if name == "bfloat16":
        assert np.isfinite(to_format(x, FORMATS[name])).all(axis=1).tolist() == [True, False]
    else:
        assert np.isinf(x[1]).all()
        assert np.isfinite(to_format(x[:1], FORMATS[name])).all()


@pytest.mark.parametrize(
    ("dtype", "value", "legal"),
    [("bfloat16", 1e300, False), ("bfloat16", 3.4e38, False), ("bfloat16", 3.38e38, True), ("bfloat8_b", 3.4e38, True),
     ("bfloat8_b", -1e39, False), ("bfloat4_b", np.nan, False)],
)  # fmt: skip
def test_values_that_a_format_cannot_hold_are_illegal(tmp_path: Path, dtype: str, value: float, legal: bool) -> None:
    """In a file of float64, by its place; where q has another format than k and v, by that of each."""
    paths = {}
    for name, heads in (("q", 4), ("k", 2), ("v", 2)):
        values = np.ones((1, heads, 192, 32))
        values[0, 1, 5, 7] = value if name == "k" else 1
        paths[name] = str(tmp_path / f"{name}.npy")
        np.save(paths[name], values)
    given = sdpa() | {"inputs": {**paths, "dtype": "bfloat16", "kv_dtype": dtype}}
    report = check(given)
    assert report.ok == legal
    if not legal:
        (violation,) = report.violations
        assert violation.key == "inputs.k"
        assert f"the first, {value:g}, at (0, 1, 5, 7)" in violation.message


def test_given_arrays_are_held_to_their_format() -> None:
    """As files are."""
    drawn = make_inputs(RunSpec.model_validate(sdpa()))
    drawn.v[0, 1, 2, 3] = np.inf
    with pytest.raises(IllegalConfigError, match=r"1 of its values .* at \(0, 1, 2, 3\)"):
        simulate(sdpa(), inputs=drawn)
