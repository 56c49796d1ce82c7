"""Walls drawn out from short runs, beside those of the whole ones."""

import pytest

from tensix_sim.config import load_spec
from tensix_sim.long_runs import WHOLE_K_CHUNKS, WHOLE_Q_CHUNKS, WHOLE_WINDOW_Q_CHUNKS, wall
from tensix_sim.simulation import run_device


def spec(heads, seq_len, kv_len=None, grid=(2, 1), **more):
    """Streaming SDPA of chunks of 32, numerics off."""
    inputs = {"q_heads": heads, "kv_heads": 1, "seq_len": seq_len, "head_dim": 64, "dtype": "bfloat8_b"}
    return load_spec({
        "op": "sdpa", "board": "p100a", "kernel": "streaming", "numerics": "off", "trace": "off",
        "inputs": inputs | ({"kv_len": kv_len} if kv_len else {}),
        "program_config": {"compute_with_storage_grid_size": grid, "q_chunk_size": 32, "k_chunk_size": 32},
        **more,
    })  # fmt: skip


def whole(given, ring_id=0):
    """The run that nothing is left out of."""
    return run_device(given, ring_id, lambda share: None).device


RING = {"op": "ring_distributed_sdpa", "board": "p150b", "kernel": "legacy", "ring_size": 4, "ring_ids": [1]}


@pytest.mark.parametrize(
    ("given", "from_"),
    [
        (spec(16, 256), "3 of 32 rounds"),
        (spec(17, 256, grid=(3, 1)), "3 of 23 rounds"),
        (spec(9, 288), "6 of 41 rounds"),
        (spec(17, 320, sliding_window_size=96), "7 of 43 rounds"),
        (spec(16, 1024, **RING), "2 of 16 rounds"),
        (spec(5, 256, 1280, grid=(4, 1), is_causal=False), "4 and 8 of 40 K chunks"),
    ],
    ids=["even", "uneven", "odd", "window", "ring", "chains"],
)
def test_a_long_run_is_told_by_a_short_one(given, from_):
    """Steps of equal work take equal time once the pipeline is full: within 0.5 % of the whole run. Only masks are uneven."""
    ring_id = given.simulated_ring_ids[0]
    found, full = wall(given, ring_id), whole(given, ring_id)
    assert found.drawn_from == from_
    assert found.cycles == pytest.approx(full.cycles, rel=0.005)
    assert found.fpu_cycles == pytest.approx(full.fpu_cycles, rel=1e-9)
    assert found.sfpu_cycles == pytest.approx(full.sfpu_cycles, rel=0.01)
    spread = full.kernel_cycles_per_core
    assert found.balance == pytest.approx(spread.mean / spread.max, abs=0.01)


@pytest.mark.parametrize(
    ("chunks", "more"),
    [(WHOLE_Q_CHUNKS, {}), (WHOLE_WINDOW_Q_CHUNKS, {"sliding_window_size": 64})],
    ids=["causal", "window"],
)
def test_a_run_of_so_many_q_chunks_is_whole(chunks, more):
    """One pair of chunks more and it is drawn out."""
    given = spec(1, 32 * chunks, grid=(1, 1), **more)
    found = wall(given, 0)
    assert found.drawn_from == ""
    assert found.cycles == whole(given).cycles
    assert wall(spec(1, 32 * chunks + 64, grid=(1, 1), **more), 0).drawn_from


def test_chains_of_so_many_k_chunks_are_run_whole():
    """One K chunk more and the wall is drawn out."""
    given = spec(1, 64, 32 * WHOLE_K_CHUNKS, is_causal=False)
    assert wall(given, 0).drawn_from == ""
    assert wall(spec(1, 64, 32 * WHOLE_K_CHUNKS + 32, is_causal=False), 0).drawn_from


def test_a_given_deal_is_run_whole():
    """Its cores need not have equal work: what one step takes on the mean would not tell the busiest core's wall."""
    given = spec(2, 320, what_if={"deal": [19, 1]})
    assert wall(given, 0).drawn_from == ""
    assert wall(given, 0).cycles == whole(given).cycles


def test_every_q_chunk_ends_when_its_last_tile_is_written():
    """Of each active core, in order, padded chunks too; the last when its writer ends."""
    run = run_device(spec(3, 80, grid=(2, 1)), 0, lambda share: None)
    assert [len(ends) for ends in run.chunk_ends] == [5, 4]
    assert all(ends == sorted(ends) for ends in run.chunk_ends)
    assert max(ends[-1] for ends in run.chunk_ends) == run.device.cycles
