"""The verdict: six planted bottlenecks are named, and what the what-ifs say is what the runs give."""

import pytest

from tensix_sim import simulate
from tensix_sim.analysis import RelievedRun, Verdict, budget, judge
from tensix_sim.analysis.reliefs import Relief, advice, reliefs
from tensix_sim.analysis.verdict import verdict
from tensix_sim.config import load_spec

SMALL = {
    "op": "sdpa",
    "board": "p100a",
    "numerics": "off",
    "inputs": {"q_heads": 8, "kv_heads": 1, "seq_len": 1024, "head_dim": 128},
    "program_config": {"compute_with_storage_grid_size": [4, 2], "q_chunk_size": 128, "k_chunk_size": 128},
    "compute_kernel_config": {"math_fidelity": "HiFi2"},
}
WIDE_GRID = ["program_config.compute_with_storage_grid_size=[11,6]", "inputs.q_heads=6", "inputs.seq_len=2816"]
HALF_RATE = ["machine.noc.link_rate=32", "machine.noc.niu_rate=32"]
SLOW_SFPU = [
    "machine.tensix.exp_approx_cycles=140", "machine.tensix.exp_column_cycles=432", "machine.tensix.reciprocal_column_cycles=56",
]  # fmt: skip
# Output that is slow to be acknowledged, so that a Q chunk's second band meets the first one still in a buffer for one
SLOW_WRITES = ["is_causal=false", "inputs.kv_len=32", "program_config.k_chunk_size=32", "machine.dram.write_cycles=1800"]


def judged(*overrides: str) -> Verdict:
    """The verdict on the only device of the small run with some values changed."""
    spec = load_spec(SMALL, overrides)
    result = simulate(spec)
    return judge(spec, [(run.device, run.trace) for run in result.runs])[0]


PLANTED: dict[str, tuple[str, list[str]]] = {
    "one slow DRAM bank": ("DRAM bank 2", ["machine.dram.bank_shares=[1,1,0.1,1,1,1,1]"]),
    "half the NoC rate": ("NoC links", [*WIDE_GRID, *HALF_RATE]),
    "one core with double work": ("straggler", ["what_if.deal=[8,8,16,8,6,6,6,6]"]),
    "SFPU twice as slow": ("SFPU", SLOW_SFPU),
    "a barrier after each tile": ("barrier", ["what_if.barrier_tiles=1"]),
    "an output buffer for one band": ("buffer out", [*SLOW_WRITES, "what_if.buffers.out=8"]),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_the_planted_bottleneck_is_named_first(plant: str) -> None:
    """What was made worse is what the verdict blames."""
    cause, changes = PLANTED[plant]
    found = judged(*changes)
    assert found.binds == cause, found.text
    assert found.what_ifs[0].cause == cause


@pytest.mark.parametrize("healthy", [[], SLOW_WRITES], ids=["causal", "slow writes"])
def test_without_a_plant_none_of_them_is_blamed(healthy: list[str]) -> None:
    """The runs in which the bottlenecks are planted are bound by work that the op has to do."""
    assert judged(*healthy).binds in ("FPU", "pack", "hand-shakes")


def outcome(cause: str, gain: float) -> RelievedRun:
    """A what-if that saved this share of 1000 cycles."""
    return RelievedRun(cause, f"{cause} relieved", round(1000 * (1 - gain)), gain)


def tried(*overrides: str) -> dict[str, Relief]:
    """The reliefs of the small run with some values changed, by cause."""
    spec = load_spec(SMALL, overrides)
    run = simulate(spec).runs[0]
    return {relief.cause: relief for relief in reliefs(spec, 0, run.device.servers, budget(run.trace))}


def test_a_what_if_is_the_run_that_it_describes() -> None:
    """Simulating the relief's spec takes the cycles that the verdict's what-if says."""
    found = {w.cause: w.cycles for w in judged(*SLOW_SFPU).what_ifs}
    assert simulate(tried(*SLOW_SFPU)["SFPU"].spec).devices[0].cycles == found["SFPU"]


def test_even_work_is_what_an_even_deal_takes() -> None:
    """For 8 cores and 10 pairs of chunks, a core's even share of steps is 5/8 of the two pairs that two cores have now."""
    relief = tried("inputs.q_heads=5", "inputs.seq_len=512")["straggler"]
    assert relief.spec.what_if.deal == (2,) * 8
    assert relief.scale == pytest.approx(10 / 8)


@pytest.mark.parametrize(
    ("second", "sure"), [(0.134, "shared"), (0.13, "likely"), (0.11, "likely"), (0.099, "sure"), (0.009, "sure")]
)
def test_sureness_is_the_lead_over_the_next_cause(second: float, sure: str) -> None:
    """A lead of half is sure, of 15 % likely."""
    assert verdict(0, 1000, [outcome("FPU", 0.15), outcome("pack", second)]).sure == sure


def test_nothing_is_blamed_for_less_than_a_percent() -> None:
    """Where no relief saves a percent, the verdict says so."""
    found = verdict(0, 1000, [outcome("FPU", 0.009), outcome("all reads", 0.5)])
    assert (found.binds, found.sure) == ("nothing", "shared")


def test_bounds_stand_last_and_are_not_blamed() -> None:
    """Free reads are no resource: they are told, after the others."""
    found = verdict(0, 1000, [outcome("all reads", 0.5), outcome("FPU", 0.1)])
    assert found.binds == "FPU"
    assert [w.cause for w in found.what_ifs] == ["FPU", "all reads"]


def test_one_bank_is_blamed_before_all_banks_if_it_saves_nearly_as_much() -> None:
    """A bank alone at 80 % of the gain of all is the cause; at less it is not."""
    banks = outcome("DRAM banks", 0.4)
    assert verdict(0, 1000, [banks, outcome("DRAM bank 1", 0.33)]).binds == "DRAM bank 1"
    assert verdict(0, 1000, [banks, outcome("DRAM bank 1", 0.31)]).binds == "DRAM banks"


def test_every_cause_comes_with_advice() -> None:
    """Whatever can be blamed, the verdict says what helps."""
    causes = tried(*PLANTED["one slow DRAM bank"][1]).keys() | tried("inputs.q_heads=5", "inputs.seq_len=512").keys()
    assert {"FPU", "DRAM bank 2", "barrier", "mask", "straggler", "all reads"} <= causes
    assert all(advice(cause) for cause in causes - {"all reads"})
