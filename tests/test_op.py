"""An op is one object: a toy op, made here of one instance, a rule and a ttnn function, is checked, run, tuned and emitted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensix_sim
from tensix_sim import check, simulate, tune
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.config import RunSpec
from tensix_sim.doctor.settings import settings
from tensix_sim.emit import emit
from tensix_sim.sdpa.case import Case
from tensix_sim.sdpa.keys import CAUSAL, KV_LEN, Q_CHUNK, SEQ_LEN, Asked, Fault
from tensix_sim.sdpa.op import OPS, Op, compute_kernel, positions
from tensix_sim.trace import open_run
from tensix_sim.ttnn import transformer
from tensix_sim.ttnn.session import recorded

Raw = dict[str, Any]


def queries_are_whole_chunks(c: Asked) -> Iterator[Fault]:
    """The one rule of the toy op."""
    if rest := c[SEQ_LEN] % c[Q_CHUNK]:
        yield c.fault(f"an encoder's queries are whole Q chunks; {rest} left over", SEQ_LEN, Q_CHUNK)


ENCODER = Op(
    name="encoder_attention",
    ttnn_name="encoder_self_attention",
    codes=("EncoderDeviceOperation", "EncoderOperation"),
    takes=(CAUSAL, KV_LEN),
    rules=(queries_are_whole_chunks,),
    example={"is_causal": False, "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 256, "head_dim": 64}},
)


@recorded
def encoder_self_attention(q: Any, k: Any, v: Any) -> Any:
    """The toy op's ttnn function."""
    return transformer.attend(ENCODER.name, (q, k, v), None, {"is_causal": False}, None, None, None, None)


@pytest.fixture(autouse=True)
def _the_toy_op_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, ENCODER.name, ENCODER)


def spec(op: Op = ENCODER, **more: Any) -> Raw:
    """An op's example on four cores."""
    config = {"compute_with_storage_grid_size": [2, 2], "q_chunk_size": 64, "k_chunk_size": 64}
    return {"op": op.name, "board": "n150", **op.example, "program_config": config, **more}


def test_a_new_op_is_checked_by_its_own_rules() -> None:
    """Legal as it is; a broken rule blames and heals as those of any op; a key that it does not take is refused."""
    assert check(spec()).ok, check(spec()).text()
    (violation,) = check(spec(inputs={"q_heads": 2, "kv_heads": 1, "seq_len": 224, "head_dim": 64})).violations
    assert violation.message.startswith("inputs.seq_len = 224")
    assert "an encoder's queries are whole Q chunks; 32 left over" in violation.message
    assert violation.nearest
    (violation,) = check(spec(sliding_window_size=64)).violations
    assert "encoder_attention takes no sliding_window_size; leave it out" in violation.message
    shown = [setting.key for setting in check(spec()).settings]
    assert [key for key in shown if key in (CAUSAL, KV_LEN, "ring_size")] == [KV_LEN, CAUSAL]


def test_a_name_that_is_no_ops_is_told_all_that_are() -> None:
    """The new one with the others, the likeliest first of the nearest; a spec of that name runs nowhere."""
    (violation,) = check(spec(op=ENCODER) | {"op": "encoder_atention", "is_causal": True}).violations
    assert "'sdpa', 'chunked_sdpa' or 'encoder_attention'" in violation.message
    with pytest.raises(UnknownNameError, match="nearest: encoder_attention"):
        Op.of(RunSpec.model_validate(spec() | {"op": "encoder_atention"}))


def test_a_new_op_runs_to_the_numbers_of_attention(tmp_path: Path) -> None:
    """As plain SDPA of the same work does, by the same kernel, cycle for cycle; each file that is emitted names it."""
    result = simulate(spec())
    plain = simulate(spec() | {"op": "sdpa"})
    assert result.accuracy is not None
    assert result.accuracy.pcc is not None
    assert result.accuracy.pcc > 0.999
    np.testing.assert_array_equal(result.outputs[0], plain.outputs[0])
    assert [d.cycles for d in result.devices] == [d.cycles for d in plain.devices]
    result.write(tmp_path / "run")
    written = emit(open_run(tmp_path / "run"), ("device-log", "perf-csv", "visualizer"), tmp_path / "run")
    assert "EncoderDeviceOperation" in next(path for path in written if "perf_results" in path.name).read_text()
    assert any("kernels/sdpa/streaming.py" in path.read_text() for path in written if path.suffix == ".csv")


def test_a_new_op_is_tuned() -> None:
    """Both chunk sizes free: the winner is legal, by the op's own rule too, and no slower than what was given."""
    given = RunSpec.model_validate(spec(numerics="off", trace="off"))
    found = tune(given, accuracy=False)
    best = found.winner.spec
    assert best.op == ENCODER.name
    assert check(best).ok
    assert simulate(best).devices[0].cycles <= simulate(given).devices[0].cycles


def test_a_new_op_is_called_as_ttnn_code_calls_one() -> None:
    """Tensors in, a tensor out, near NumPy's attention; the session has the call under ttnn's name."""
    from tensix_sim import ttnn
    from tensix_sim.ttnn.session import SESSION

    device = ttnn.open_device(device_id=0)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((1, 1, 128, 64)).astype(np.float32) for _ in "qkv"]
    q, k, v = (ttnn.from_torch(x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device) for x in values)
    out = np.asarray(encoder_self_attention(q, k, v).to_numpy())
    scores = values[0] @ values[1].swapaxes(2, 3) / 8
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    expected = weights / weights.sum(axis=3, keepdims=True) @ values[2]
    assert np.corrcoef(out.ravel(), expected.ravel())[0, 1] > 0.999
    assert SESSION.calls[-1].op == ENCODER.ttnn_name


# -- of all ops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPS))
def test_each_op_has_a_legal_example(name: str) -> None:
    """On every position of its ring, by the kernel that ttnn chooses; what it takes is shown, what it does not is refused."""
    op = OPS[name]
    given = RunSpec.model_validate(spec(op))
    assert check(given).ok, check(given).text()
    assert positions(given) == tuple(range(given.ring_size if op.ring else 1))
    assert compute_kernel(given) is op.kernel
    shown = {setting.key for setting in settings(Case.of(given, tensix_sim.arch.machine("n150")), {})}
    assert set(op.takes) <= shown
    assert not shown & set(op.foreign)
