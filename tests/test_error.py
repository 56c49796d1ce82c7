"""`numerics: exact` in whole runs, and what the error is made of: stages alone and one after another, and by length."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from specs import PLAIN, RING, Raw, raw

from tensix_sim import simulate
from tensix_sim.cli import main
from tensix_sim.config import RunSpec
from tensix_sim.error import LengthsError, error_by_length, explain, length_specs
from tensix_sim.sdpa.stages import INPUT, STAGES


def spec(op: str = RING, **changes: Any) -> Raw:
    """A small exact run on Blackhole: one head, bfloat16, HiFi4."""
    precise = {"dtype": "bfloat16", "fidelity": "HiFi4", "compute_kernel_config__math_approx_mode": False, "numerics": "exact"}
    return raw(op, **{"board": "p100a", "heads": 1, "S": 256, "q": 32, "grid": [4, 4], "trace": "off"} | precise | changes)


def legal(given: Raw) -> RunSpec:
    """The spec as `explain` takes it."""
    return RunSpec.model_validate(given)


CONFIGS: dict[str, Raw] = {
    "16-bit DST": spec(),
    "32-bit DST on Wormhole": spec(fp32=True, board="n150"),
    "LoFi, bfloat8_b, GQA": spec(fidelity="LoFi", dtype="bfloat8_b", heads=2),
    "bfloat4_b": spec(dtype="bfloat4_b"),
    "streaming": spec(kernel="streaming", fidelity="HiFi2"),
    "prefix, paged": spec(chunk_start_idx=64, paged_kv={"block_size": 64}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_exact_takes_the_cycles_of_fast_and_off(name: str) -> None:
    """To the cycle, on every device; and exact is next to fast."""
    exact, fast, off = (simulate(CONFIGS[name] | {"numerics": numerics}) for numerics in ("exact", "fast", "off"))
    cycles = [[device.cycles for device in result.devices] for result in (exact, fast, off)]
    assert cycles[0] == cycles[1] == cycles[2]
    apart = np.linalg.norm(exact.gathered() - fast.gathered()) / np.linalg.norm(fast.gathered())
    assert 0 < apart < 0.07


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
@pytest.mark.parametrize("wide", [False, True])
def test_the_ring_has_the_bits_of_plain_attention(kernel: str, wide: bool) -> None:
    """Same chunks, same arithmetic: two positions of a ring, four, or one chip."""
    if kernel == "streaming" and wide:
        pytest.skip("the streaming kernel needs a 16-bit DST: illegal")
    ring = spec(kernel=kernel, fp32=wide)
    of_two, of_four = simulate(ring).gathered(), simulate(ring | {"ring_size": 4}).gathered()
    plain = spec(PLAIN, kernel=kernel, fp32=wide)
    assert of_two.tobytes() == of_four.tobytes()
    if not wide:  # with a 32-bit DST plain SDPA keeps its scores as float32
        assert simulate(plain).gathered().tobytes() == of_two.tobytes()


def test_bits_do_not_need_the_compiler() -> None:
    """Without numba the same code runs in Python and NumPy alone: the same bits and cycles, and a word on it."""
    small = spec(PLAIN, S=64, d=32, k=32)
    program = f"""
import sys
sys.modules["numba"] = None
from tensix_sim import simulate
result = simulate({small!r})
sys.stdout.buffer.write(result.gathered().tobytes())
print(result.devices[0].cycles, file=sys.stderr)
"""
    slow = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    compiled = simulate(small)
    assert slow.stdout == compiled.gathered().tobytes()
    assert b"numba is not installed" in slow.stderr
    assert int(slow.stderr.split()[-1]) == compiled.devices[0].cycles


CAUSES: dict[str, Raw] = {
    "approximate exp": spec(fp32=True),
    "fidelity truncation": spec(fidelity="LoFi"),
    "DST rounding": spec(scale=1.0),
    "score pack": spec(scale=4.0, fp32=True),
    "PV accumulation": spec(k=256, scale=0.0001),
    "running sum": spec(S=512, k=32, scale=0.0001, fp32=True),
    "output format": spec(dtype="bfloat4_b"),
    INPUT: spec(PLAIN, kv_dtype="bfloat4_b"),
}


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_the_first_cause_is_the_one_that_the_config_is_built_for(cause: str) -> None:
    """And with one stage after another ideal the error ends at that of float64 attention on the quantised inputs."""
    found = explain(legal(CAUSES[cause]))
    assert found.first_cause == cause
    assert [stage.name for stage in found.stages] == [*STAGES, INPUT]
    assert found.stages[-2].cumulative == pytest.approx(found.quantised_inputs, rel=1e-3)
    assert found.stages[-1].cumulative < 1e-5
    assert found.stages[0].alone == found.stages[0].cumulative
    assert found.worst_rows[0].rel_l2 >= found.worst_rows[-1].rel_l2 > found.rel_l2


def test_an_error_is_explained_of_exact_numbers_only() -> None:
    """From Python and from the command line."""
    with pytest.raises(ValueError, match="numerics is fast"):
        explain(legal(spec() | {"numerics": "fast"}))
    run = CliRunner().invoke(main, ["run", "--explain-error"])
    assert run.exit_code == 2
    assert "set numerics: exact" in run.stderr


def test_errors_by_length_are_of_one_chunk_that_sees_all_keys() -> None:
    """A row for each length and width of DST; a 32-bit one is the better."""
    found = error_by_length(length_specs(legal(spec()), [64, 256]))
    assert [(e.keys, e.fp32_dest_acc_en, e.rows) for e in found] == [
        (keys, wide, 32) for keys in (64, 256) for wide in (False, True)
    ]
    assert found[3].rel_l2 < found[2].rel_l2 < 0.05


def test_a_length_that_breaks_a_rule_is_named() -> None:
    """The lengths are specs of their own."""
    with pytest.raises(LengthsError, match="keys"):
        length_specs(legal(spec()), [2**40])
