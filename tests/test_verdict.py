"""The verdict: seven planted bottlenecks are named, and what it says that helps is what the runs give."""

from functools import cache
from pathlib import Path

import pytest
from specs import PLAIN, RING, raw

from tensix_sim import check, simulate
from tensix_sim.analysis import RelievedRun, Verdict, budget, judge
from tensix_sim.analysis.reliefs import FPU, IDLE, STRAGGLER, Relief, reliefs
from tensix_sim.analysis.remedies import KINDS, remedies
from tensix_sim.analysis.verdict import EVEN_ENDS, LEAST_CYCLES, MOST_TRIED, WHOLE, saved, verdict
from tensix_sim.config import RunSpec, load_spec
from tensix_sim.device import DeviceRun
from tensix_sim.doctor.load import Work
from tensix_sim.measure import Figure, measure
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.store import writable_store
from tensix_sim.tuning import tune

SHAPE = {"S": 1024, "heads": 8, "d": 128, "q": 128, "k": 128, "grid": [4, 2], "fidelity": "HiFi2", "numerics": "off"}
SMALL, OF_A_RING = raw(PLAIN, **SHAPE), raw(RING, **SHAPE)
WIDE_GRID = ["program_config.compute_with_storage_grid_size=[11,6]", "inputs.q_heads=6", "inputs.seq_len=2816"]
HALF_RATE = ["machine.noc.link_rate=32", "machine.noc.niu_rate=32"]
SLOW_SFPU = [
    "machine.tensix.exp_approx_cycles=140", "machine.tensix.exp_column_cycles=432", "machine.tensix.reciprocal_column_cycles=56",
]  # fmt: skip
# Output that is slow to be acknowledged, so that a Q chunk's second band meets the first one still in a buffer for one
SLOW_WRITES = ["is_causal=false", "inputs.kv_len=32", "program_config.k_chunk_size=32", "machine.dram.write_cycles=1800"]


# 3 heads of 8 Q chunks on 4 cores, 6 each: the third core passes on to the second, which comes to that head after four others
STRADDLING = [
    "is_causal=false", "inputs.q_heads=3", "inputs.head_dim=64", "inputs.seq_len=512", "inputs.kv_len=1024",
    "program_config.compute_with_storage_grid_size=[4,1]", "program_config.q_chunk_size=64",
]  # fmt: skip


@cache
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
    "heads that straddle cores": ("K/V chains", STRADDLING),
    "an output buffer for one band": ("buffer out", [*SLOW_WRITES, "what_if.buffers.out=8"]),
}


@pytest.mark.parametrize("plant", [pytest.param(p, marks=pytest.mark.slow if p.startswith("half") else ()) for p in PLANTED])
def test_the_planted_bottleneck_is_named_first(plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made worse is what the verdict blames."""
    monkeypatch.setattr("tensix_sim.analysis.verdict.remedies", lambda *_: [])
    cause, changes = PLANTED[plant]
    found = judged.__wrapped__(*changes)
    assert found.binds == cause, found.text
    assert found.what_ifs[0].cause == cause


@pytest.mark.parametrize("healthy", [[], SLOW_WRITES], ids=["causal", "slow writes"])
def test_without_a_plant_none_of_them_is_blamed(healthy: list[str]) -> None:
    """The runs in which the bottlenecks are planted are bound by work that the op has to do."""
    assert judged(*healthy).binds in ("FPU", "pack", "hand-shakes")


def test_what_is_stored_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second verdict on a run simulates nothing and is the same, nor does one simulate what a sweep has."""
    spec = load_spec(SMALL, ["what_if.deal=[8,8,8,8,8,8,8,8]"])
    devices = [(run.device, run.trace) for run in simulate(spec).runs]
    asked: list[str] = []

    def counted(what: Figure, one: RunSpec, ring_id: int) -> float:
        asked.append(one.model_dump_json())
        return measure(what, one, ring_id)

    monkeypatch.setattr("tensix_sim.analysis.verdict.measure", counted)
    wanted = judge(spec, devices, store=tmp_path / "runs.sqlite")
    assert len(asked) == len(set(asked)) > 10
    (as_dealt,) = (relief for relief in reliefs(spec, 0, {}, budget(devices[0][1])) if relief.cause == STRAGGLER)
    assert as_dealt.spec.model_dump_json() in asked
    asked.clear()
    assert judge(spec, devices, store=tmp_path / "runs.sqlite") == wanted
    assert asked == []
    tune({"spec": as_dealt.spec, "q_chunk": "fixed"}, store=tmp_path / "swept.sqlite", accuracy=False, aside=False)
    assert judge(spec, devices, store=tmp_path / "swept.sqlite") == wanted
    assert asked
    assert as_dealt.spec.model_dump_json() not in asked


def test_a_place_for_no_store_is_no_error(tmp_path: Path) -> None:
    """What cannot be kept there is kept in memory; where it can, it is."""
    (tmp_path / "text").write_text("not a database, but long enough to look at" * 50)
    assert writable_store(tmp_path / "text") == writable_store(tmp_path / "text" / "a.sqlite") == ":memory:"
    assert writable_store(tmp_path / "a.sqlite") == tmp_path / "a.sqlite"


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


@pytest.mark.parametrize("overrides", [[], STRADDLING, ["inputs.q_heads=5", "inputs.seq_len=512"]], ids=len)
def test_no_relief_leaves_work_out(overrides: list[str]) -> None:
    """Each computes as many tiles of scores as the run itself, but for smaller Q chunks, which are another config."""
    scores = Work(Geometry.of(load_spec(SMALL, overrides))).scores
    for cause, relief in tried(*overrides).items():
        if cause != IDLE:
            assert Work(Geometry.of(relief.spec)).scores == scores


def test_uneven_work_is_a_bound_from_the_run_itself() -> None:
    """With 10 pairs of chunks on 8 cores, what is said of even work is the mean of the cores' ends, and that it is a bound."""
    uneven = ["inputs.q_heads=5", "inputs.seq_len=512"]
    (device,) = simulate(load_spec(SMALL, uneven)).devices
    (bound,) = [w for w in judged(*uneven).what_ifs if w.cause == STRAGGLER]
    assert bound.cycles == round(device.kernel_cycles_per_core.mean)
    assert bound.drawn_from == EVEN_ENDS
    assert bound.saved.startswith("at most ")
    assert STRAGGLER not in {w.cause for w in judged().what_ifs}


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


def test_a_bound_is_never_sure() -> None:
    """What no run has shown is likely at best."""
    bound = RelievedRun(STRAGGLER, "even work", 500, 0.5, EVEN_ENDS)
    found = verdict(0, 1000, [bound, outcome("FPU", 0.1)])
    assert (found.binds, found.sure) == (STRAGGLER, "likely")
    assert "at most 50.0% less" in found.text


@pytest.mark.parametrize(
    ("gain", "drawn_from", "said"),
    [
        (0.25, WHOLE, "25.0% less"),
        (-0.25, WHOLE, "25.0% more"),
        (0.25, EVEN_ENDS, "at most 25.0% less"),
        (-0.25, LEAST_CYCLES, "at least 25.0% more"),
    ],
)
def test_a_gain_in_words(gain: float, drawn_from: str, said: str) -> None:
    """A bound on the cycles from below is one on the gain from above."""
    assert saved(gain, drawn_from) == said


# -- what helps ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], STRADDLING, ["program_config.q_chunk_size=512"]], ids=["causal", "chains", "idle"])
def test_what_helps_is_legal_and_was_run(overrides: list[str]) -> None:
    """Each change that was tried is legal, takes the cycles that it says, and is advised if it saves a percent; few are run."""
    found = judged(*overrides)
    advised, _, rest = found.text.partition(" What does not: ")
    ran = [t for t in found.tried if t.drawn_from == WHOLE]
    assert 1 <= len(ran) <= MOST_TRIED
    for t in found.tried:
        spec = with_change(load_spec(SMALL, overrides), t.change)
        assert check(spec).ok
        if t.drawn_from == WHOLE:
            assert simulate(spec.model_copy(update={"trace": "off"})).devices[0].cycles == t.cycles
        assert t.gain == pytest.approx(1 - t.cycles / found.cycles)
        assert (f"{t.text}, {t.gain:.1%} less (tried" in advised) == t.helps
        assert t.helps or t.text in rest or "Nothing that was tried helps" in found.text


def with_change(spec: RunSpec, change: dict[str, object]) -> RunSpec:
    """The spec with dotted keys set."""
    raw = spec.model_dump()
    for key, value in change.items():
        *parents, leaf = key.split(".")
        place = raw
        for parent in parents:
            place = place[parent]
        place[leaf] = value
    return RunSpec.model_validate(raw)


def test_a_change_whose_least_cycles_are_too_many_is_not_run() -> None:
    """Larger Q chunks leave cores idle: their least cycles are more than the run takes, and the verdict says that."""
    wide = ["inputs.q_heads=2", "machine.tensix.mvmul_cycles=200"]
    found = judged(*wide)
    bounded = [t for t in found.tried if t.drawn_from == LEAST_CYCLES]
    assert bounded
    for t in bounded:
        assert t.cycles == check(with_change(load_spec(SMALL, wide), t.change)).load.floor.cycles
        assert t.cycles > 0.99 * found.cycles
        assert not t.helps
        assert f"{t.text} (by its least cycles)" in found.text


def test_hifi3_is_tried_where_the_fpu_binds() -> None:
    """A step at a time: from HiFi4 to HiFi3 and HiFi2, both less accurate."""
    spec = load_spec(SMALL, ["compute_kernel_config.math_fidelity=HiFi4"])
    texts = {remedy.text: remedy.note for remedy in remedies(spec, 0, [FPU])}
    assert {"math_fidelity HiFi3": "less accurate", "math_fidelity HiFi2": "less accurate"}.items() <= texts.items()


@pytest.mark.parametrize(("size", "tried"), [(128, {64, 256}), (1024, {512, 2048}), (32, {64})])
def test_chunks_of_half_and_twice_the_size_are_tried(size: int, tried: set[int]) -> None:
    """Both where they are legal; nothing is smaller than a tile."""
    spec = load_spec(SMALL, [f"program_config.k_chunk_size={size}", "inputs.head_dim=32", "program_config.q_chunk_size=32"])
    key = "program_config.k_chunk_size"
    assert {remedy.change[key] for remedy in remedies(spec, 0, ["buffer out"]) if key in remedy.change} == tried


def test_where_heads_straddle_cores_a_grid_helps_where_nobody_waits() -> None:
    """The change that saves most is a grid on which no core of a chain waits for one that is on another head."""
    best = judged(*STRADDLING).tried[0]
    assert list(best.change) == ["program_config.compute_with_storage_grid_size"]
    assert best.helps
    now, then = (
        Work(Geometry.of(spec)) for spec in (load_spec(SMALL, STRADDLING), with_change(load_spec(SMALL, STRADDLING), best.change))
    )
    assert now.chain_waits.any()
    assert not then.chain_waits.any()


@pytest.mark.slow
@pytest.mark.parametrize("cause", [*KINDS, "DRAM bank 2", "buffer out"])
def test_changes_are_legal_whatever_the_cause(cause: str) -> None:
    """For each cause, of a ring, a causal and a chained run."""
    for spec in (load_spec(SMALL), load_spec(SMALL, STRADDLING), load_spec(OF_A_RING)):
        for remedy in remedies(spec, 0, [cause]):
            assert check(remedy.spec).ok, remedy.text


@pytest.mark.slow
def test_devices_that_are_bound_alike_are_tried_once() -> None:
    """Of a ring of two the slowest device has the changes; the other says where to look."""
    spec = load_spec(OF_A_RING)
    runs: list[DeviceRun] = simulate(spec).runs
    found = judge(spec, [(run.device, run.trace) for run in runs])
    slowest = max(found, key=lambda v: (v.cycles, -v.ring_id))
    (other,) = (v for v in found if v is not slowest)
    assert slowest.tried
    assert slowest.like is None
    if other.like is None:  # bound by something else
        assert other.tried
    else:
        assert (other.like, other.tried) == (slowest.ring_id, ())
        assert f"tried on device {slowest.ring_id}" in other.text
