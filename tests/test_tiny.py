"""The whole system in one file: spec, checks, program, kernels, numbers, cycles, traces."""

import numpy as np

from tensix_sim import check, simulate

TINY = {
    "board": "n300",
    "ring_size": 2,
    "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 256, "head_dim": 64},
    "program_config": {"compute_with_storage_grid_size": [2, 2], "q_chunk_size": 64, "k_chunk_size": 64},
}


def test_tiny() -> None:
    """Two chips share two heads of 256 tokens: right numbers, equal work, and a trace of every lane."""
    assert check(TINY).ok
    result = simulate(TINY)
    assert result.accuracy is not None
    assert result.accuracy.pcc > 0.999
    assert result.gathered().shape == (1, 2, 256, 64)
    assert np.isfinite(result.gathered()).all()
    first, second = result.devices
    assert abs(first.cycles / second.cycles - 1) < 0.01
    assert (first.steps_per_core, first.active_cores) == (second.steps_per_core, 2)
    assert {lane.risc for lane in result.trace[0].lanes} == {"NCRISC", "TRISC_0", "TRISC_1", "TRISC_2", "BRISC"}
