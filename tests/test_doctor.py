"""The config doctor: what it counts, draws and advises, held to brute force, to published figures and to its own advice."""

import json
import random
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from specs import Raw, put, upstream

import tensix_sim
from tensix_sim.cli import main
from tensix_sim.config import BUILT_IN, ComputeKernelConfig, RunSpec, SDPAProgramConfig
from tensix_sim.doctor.check import check
from tensix_sim.doctor.github import annotations
from tensix_sim.doctor.load import MOST_TILE_ROWS, Work
from tensix_sim.doctor.records import Advice, Violation
from tensix_sim.doctor.report import Report
from tensix_sim.formats import TILE
from tensix_sim.kernels.sdpa import Mask
from tensix_sim.sdpa.geometry import Geometry, spec_machine
from tensix_sim.sdpa.keys import FP32_DEST, GRID, K_CHUNK, Q_CHUNK

PREFETCHER = 723 * 1088  # bytes of Llama-Galaxy's global circular buffer, #33245


def plain(**changes: Any) -> Raw:
    """Write the upstream tests' shape for plain SDPA on a Blackhole card."""
    return upstream("sdpa", **{"grid": [11, 10]} | changes)


def geometry(spec: Raw) -> Geometry:
    """Work out the geometry of a legal spec."""
    return Geometry.of(RunSpec.model_validate(spec))


def some_specs(count: int, seed: int = 5) -> list[Raw]:
    """Make small legal specs of every op: odd and even chunk counts, windows, prefixes, over-hanging chunks, other lengths."""
    rng = random.Random(seed)
    made: list[Raw] = []
    while len(made) < count:
        q, k = 32 * rng.randint(1, 5), 32 * rng.randint(1, 6)
        changes: Raw = {
            "inputs.q_heads": 4, "inputs.kv_heads": rng.choice((1, 2, 4)), "inputs.batch": rng.randint(1, 2),
            "program_config.q_chunk_size": q, "program_config.k_chunk_size": k,
            "program_config.compute_with_storage_grid_size": [rng.randint(1, 8), rng.randint(1, 8)],
            "compute_kernel_config.fp32_dest_acc_en": rng.random() < 0.3,
        }  # fmt: skip
        op = rng.choice(("ring_distributed_sdpa", "sdpa", "chunked_sdpa"))
        if op == "ring_distributed_sdpa":
            rings = rng.choice((2, 4, 6))
            changes |= {"ring_size": rings, "inputs.seq_len": 2 * rings * q * rng.randint(1, 5)}
            if rng.random() < 0.5:
                changes |= {"paged_kv": {"block_size": 32}, "chunk_start_idx": q * rng.randint(0, 5)}
        else:
            changes |= {"op": op, "inputs.seq_len": rng.randint(1, 1200)}
        if op == "chunked_sdpa":
            changes |= {"paged_kv": {"block_size": 32}, "chunk_start_idx": q * k // 32 * rng.randint(0, 2)}
        if op == "sdpa":
            changes |= {"is_causal": rng.random() < 0.5, "sliding_window_size": rng.choice((None, rng.randint(1, 600)))}
            if not changes["is_causal"]:
                changes["inputs.kv_len"] = rng.randint(1, 1200)
            if not changes["is_causal"] and rng.random() < 0.4:
                rows = changes["inputs.seq_len"]
                ends = sorted(rng.randint(0, rows) for _ in range(rng.randint(0, 6)))
                changes |= {"sliding_window_size": None, "inputs.kv_len": None, "cu_window_seqlens": [0, *ends, rows]}
        spec = put(upstream(), changes)
        if check(spec).ok:
            made.append(spec)
    return made


SPECS = some_specs(60)


def named(spec: Raw) -> str:
    """Name a test by what makes its spec."""
    program = spec["program_config"]
    return f"{spec.get('op', 'ring')}-{spec['inputs']['seq_len']}-q{program['q_chunk_size']}-k{program['k_chunk_size']}"


# -- load ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=named)
def test_load_is_what_visiting_every_chunk_counts(spec: Raw) -> None:
    """Chunks, steps and tiles of every core and device are the sums over `Geometry.chunks`, one K chunk after the other."""
    load, g = check(spec).load, geometry(spec)
    assert load is not None
    devices = range(g.R)
    steps = [[g.steps(i, r) for i in range(g.cores)] for r in devices]
    assert load.steps == tuple(steps[load.ring_id])
    assert max(map(max, steps)) == max(load.steps)
    assert load.device_steps == tuple(map(sum, steps))
    assert load.slowest_steps == tuple(map(max, steps))
    assert load.chunks == tuple(len(g.chunks(i)) for i in range(g.cores))
    assert load.tiles == tuple(sum(tiles_of(g, a) for a in g.chunks(i, load.ring_id)) for i in range(g.cores))
    assert load.active == g.deal.active_cores
    assert sum(load.lost) == pytest.approx(1 - sum(load.steps) / (g.cores * max(load.steps)))


def tiles_of(g: Geometry, a: int) -> int:
    """Tiles of scores of absolute Q chunk `a`."""
    return sum(g.M * g.mask.active(a * g.M, j) for j in g.mask.k_range(a * g.M))


@pytest.mark.parametrize("spec", SPECS, ids=named)
def test_scores_in_vain_are_those_where_no_query_meets_a_key(spec: Raw) -> None:
    """Computed tiles one by one: of rows beyond the last query, of columns beyond the last key, and of pairs too far apart."""
    load, g = check(spec).load, geometry(spec)
    assert load is not None
    counts = dict.fromkeys(("computed", "beyond_queries", "beyond_keys", "hidden"), 0)
    for r in range(g.R):
        for a in (a for i in range(g.cores) for a in g.chunks(i, r)):
            for j in g.mask.k_range(a * g.M):
                for row, column in product(range(g.M), range(g.mask.active(a * g.M, j))):
                    counts["computed"] += 1
                    if kind := why_in_vain(g, a * g.M + row, j * g.N + column):
                        counts[kind] += 1
    assert load.scores.model_dump() == counts


def why_in_vain(g: Geometry, row: int, column: int) -> str | None:
    """Tell why a tile of scores is of no use, if it is not."""
    queries = range(max(row * TILE, g.prefix), min((row + 1) * TILE, g.prefix + g.S))
    keys = range(column * TILE, min((column + 1) * TILE, g.Sk))
    if not queries:
        return "beyond_queries"
    if not keys:
        return "beyond_keys"
    before = g.Sk if g.window is None else g.window - 1 if g.causal else g.window // 2
    after = 0 if g.causal else g.Sk if g.window is None else g.window // 2
    if g.windows:
        ends = [
            (max(a, queries.start) < min(b, queries.stop), max(a, keys.start) < min(b, keys.stop)) for a, b in pairwise(g.windows)
        ]
        return None if any(map(all, ends)) else "hidden"
    # the pairs nearest to each other decide
    met = keys.start <= queries[-1] + after and keys[-1] >= queries.start - max(before, g.S if g.window is None else 0)
    return None if met else "hidden"


@pytest.mark.parametrize(
    "spec",
    [
        upstream(S=1024),
        plain(S=512, q=64),
        plain(S=512, q=64, is_causal=False, inputs__attn_mask="random", what_if={"chains": "none"}),
        upstream(S=1024, memory_config="l1_interleaved", machine={"dram.bank_rate": 2.0}),
    ],
)
def test_floor_has_the_bytes_of_a_run(spec: Raw) -> None:
    """Where cores read K and V on their own, the floor of DRAM is the bytes that the slowest device moves at the chip's rate."""
    floor = check(spec).load.floor
    devices = tensix_sim.simulate(spec | {"trace": "off"}).devices
    rate = spec_machine(RunSpec.model_validate(spec)).chip.dram.rate
    assert floor.dram == int(max(d.dram_read_bytes + d.dram_write_bytes for d in devices) / rate)
    assert floor.cycles <= max(d.cycles for d in devices)


def test_a_given_deal_may_have_chains_that_wait() -> None:
    """No other grid is offered then, for the deal is for this one."""
    deal = {"deal": [4, 28], "chains": "as_built"}
    changes = {"inputs.q_heads": 4, "inputs.kv_len": 512, "inputs.seq_len": 1024, "what_if": deal}
    spec = put(plain(is_causal=False), changes | {"program_config.compute_with_storage_grid_size": [2, 1]})
    assert check(spec).ok
    assert all(advice.key != GRID or not advice.change for advice in check(spec).warnings)


def test_a_given_deal_is_drawn() -> None:
    """The load is that of the what-if, chunk by chunk."""
    deal = [5, 3, 0, 24] + 60 * [0]
    deal[5] = 32
    load = check(upstream(what_if={"deal": deal})).load
    assert load.chunks == tuple(2 * count for count in deal)


def test_a_check_visits_no_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two million tokens in chunks of 32 nothing loops over chunks, and beyond that no load is drawn at all."""

    def refuse(*_: object) -> None:
        raise AssertionError("visited a chunk")

    for method in ("steps", "chunks", "masked_steps", "k_chunks"):
        monkeypatch.setattr(Geometry, method, refuse)
    monkeypatch.setattr(Mask, "k_range", refuse)
    chunks = {"program_config__q_chunk_size": 32, "program_config__k_chunk_size": 32}
    small = {"inputs__q_heads": 1, "inputs__head_dim": 32}
    most = check(upstream(S=MOST_TILE_ROWS * TILE, **chunks, **small))
    assert [violation.key for violation in most.violations] == ["inputs.seq_len"], "it takes longer than is timed"
    assert sum(most.load.chunks) == MOST_TILE_ROWS // 4
    more = check(upstream(S=2 * MOST_TILE_ROWS * TILE, **chunks, **small))
    assert more.ok
    assert more.load is None
    assert "load" not in more.text()


def test_picture_of_the_grid() -> None:
    """Each core at its place, a dot where it idles."""
    lines = check(upstream(grid=[5, 8])).text().splitlines()
    start = next(i for i, line in enumerate(lines) if "Q chunks of each core" in line)
    rows = [line.split() for line in lines[start + 1 : start + 9]]
    assert rows == [["4"] * 5 + ["66"] * 5] * 6 + [["4", "4", ".", ".", ".", "66", "66", ".", ".", "."]] + [["."] * 10]


# -- L1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("board", "budget"), [("galaxy", 1_395_424), ("n150", 1_395_424), ("p150b", 1_470_080)])
def test_bank_size(board: str, budget: int) -> None:
    """What L1 has for buffers: Wormhole's as a ttnn device report has it, Blackhole's derived from its headers."""
    assert check(upstream(board=board)).effective["l1_budget"] == budget


REDUCED_SUM = {  # ecosystem.md 1.3, head_dim 128: with c_13, a tile for each row of a Q chunk, which newer factories have not
    ("bfloat8_b", 64, 64): 134_656, ("bfloat8_b", 128, 128): 277_504, ("bfloat8_b", 192, 128): 377_344,
    ("bfloat8_b", 256, 128): 477_184, ("bfloat8_b", 256, 256): 612_352, ("bfloat8_b", 256, 512): 882_688,
    ("bfloat8_b", 512, 256): 1_077_248, ("bfloat8_b", 512, 512): 1_478_656,
    ("bfloat16", 64, 64): 188_416, ("bfloat16", 128, 128): 385_024, ("bfloat16", 192, 128): 507_904,
    ("bfloat16", 256, 128): 630_784, ("bfloat16", 256, 256): 827_392, ("bfloat16", 256, 512): 1_220_608,
    ("bfloat16", 512, 256): 1_384_448, ("bfloat16", 512, 512): 1_908_736,
}  # fmt: skip


@pytest.mark.parametrize(("config", "total"), REDUCED_SUM.items(), ids=str)
def test_l1_of_the_older_factory(config: tuple[str, int, int], total: int) -> None:
    """Its buffers are ours and c_13, 2 KiB a row of tiles; on Wormhole that changes no verdict: 512/512 alone is too much."""
    dtype, q, k = config
    made = {"inputs__dtype": dtype, "inputs__seq_len": 8 * 1536, "program_config__q_chunk_size": q}
    report = check(upstream(**made, k=k))
    assert report.effective["l1_bytes"] == total - q // TILE * 2048
    assert report.ok == (103_712 + total <= 1_499_136) == ((q, k) != (512, 512))


def test_blackhole_has_room_for_one_more() -> None:
    """512/512 of bfloat8_b fits its 1,470,080 B by 24,192; with c_13 it would not: the one verdict that c_13 changes."""
    report = check(upstream(board="p150b", q=512, k=512))
    assert report.ok
    assert report.l1_map.free == 1_470_080 - 1_445_888
    assert REDUCED_SUM["bfloat8_b", 512, 512] > 1_470_080


@pytest.mark.parametrize(("op", "board", "kernel"), [*product(("ring", "sdpa"), ("n150", "p150b"), ("legacy", "streaming"))])
def test_upstreams_oom_config_is_one(op: str, board: str, kernel: str) -> None:
    """512/512 of bfloat16 and head_dim 128, which upstream skips, fits neither chip, in neither op nor kernel."""
    chunks = {"program_config__q_chunk_size": 512, "program_config__k_chunk_size": 512, "inputs__dtype": "bfloat16"}
    spec = upstream(board=board, kernel=kernel, **chunks) | ({} if op == "ring" else {"op": "sdpa"})
    (violation,) = check(spec).violations
    assert violation.key == "program_config.q_chunk_size"
    assert violation.nearest


@pytest.mark.parametrize(("board", "fits"), [("n150", False), ("p150b", True)])
def test_gemma_of_head_dim_256(board: str, fits: bool) -> None:
    """256/256 of bfloat16 overflows Wormhole, as the model's comment says of 1,417,216 B, of which 16,384 are c_13's."""
    chunks = {"program_config__q_chunk_size": 256, "program_config__k_chunk_size": 256, "inputs__head_dim": 256}
    report = check(upstream(op="sdpa", kernel="legacy", board=board, dtype="bfloat16", **chunks))
    assert report.effective["l1_bytes"] == 1_417_216 - 16_384
    assert report.ok == fits


@pytest.mark.parametrize("board", ["galaxy", "p150b"])
@pytest.mark.parametrize("memory", ["dram_interleaved", "l1_interleaved"])
def test_reserved_bytes_fit_to_the_last(board: str, memory: str) -> None:
    """As many as remain may be reserved, and not one more; the message says one byte, and where it ends."""
    free = check(upstream(board=board, memory_config=memory)).l1_map.free
    full = check(upstream(board=board, memory_config=memory, machine={"l1.reserved": free}))
    assert full.ok
    assert full.l1_map.free == 0
    (violation,) = check(upstream(board=board, memory_config=memory, machine={"l1.reserved": free + 1})).violations
    assert "1 B beyond" in violation.message
    assert f"{free + 1:,} B reserved" in violation.message
    assert f"end at {full.l1_map.end:,}" in violation.message
    assert violation.found["machine.l1.reserved"] == free + 1


def test_l1_has_no_more_than_all_to_reserve() -> None:
    """What is reserved leaves at least a byte above the base, and is not negative."""
    for reserved in (1_395_424, 10**9, -1):
        (violation,) = check(upstream(machine={"l1.reserved": reserved})).violations
        assert violation.key == "machine.l1.reserved"


def test_the_prefetcher_leaves_too_little_to_the_shipped_chunks() -> None:
    """Llama's 256/512 does not fit beside the prefetcher's buffer, and what is offered does, as near as any legal chunk."""
    spec = BUILT_IN.model_dump() | {"machine": {"l1.reserved": PREFETCHER}}
    report = check(spec)
    (violation,) = report.violations
    assert report.l1_map.free == 1_499_136 - PREFETCHER - 970_016
    for change in violation.nearest:
        assert check(put(spec, change)).l1_map.free >= 0
    assert violation.nearest[0] == {"program_config.q_chunk_size": 128}


def test_reserve_is_short_for_the_machines_number() -> None:
    """`--reserve` twice, the machine's number, and `run` say the same, and end with 1."""
    results = [
        CliRunner().invoke(main, args)
        for args in (
            ["check", "--reserve", "700000", "--reserve", str(PREFETCHER - 700_000)],
            ["check", "--set", f"machine.l1.reserved={PREFETCHER}"],
            ["run", "--set", f"machine.l1.reserved={PREFETCHER}"],
        )
    ]
    assert [result.exit_code for result in results] == [1, 1, 1]
    assert results[0].stdout == results[1].stdout
    assert all("257,504 B" in result.output for result in results)
    assert CliRunner().invoke(main, ["check", "--reserve", "-1"]).exit_code == 2


def test_l1_is_drawn_in_order() -> None:
    """Each part has a row; bars start where the one before ended, too much is marked, and all ends within 110 columns."""
    fits, too_big = check(upstream(machine={"l1.reserved": 300_000})), check(upstream(q=1024))
    bars = [line[61:] for line in fits.text().split("\nL1 of a core")[1].splitlines()[1:-1]]
    starts = [len(bar) - len(bar.lstrip()) for bar in bars]
    assert starts == sorted(starts)
    assert {bar.strip()[0] for bar in bars} == set("=#.")
    assert "!" not in "".join(bars)
    assert "!" in too_big.text()


@pytest.mark.parametrize("spec", [BUILT_IN, plain(S=131072), upstream(S=131072), *SPECS[:20]], ids=str)
def test_lines_are_short(spec: Any) -> None:
    """A report fits 110 columns, and the head of it is the verdict."""
    report = check(spec)
    assert max(map(len, report.text().splitlines())) <= 110
    assert report.text().startswith("legal: ")


# -- requested and effective --------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [BUILT_IN, *SPECS[:12]], ids=str)
def test_every_field_of_both_configs_is_there(spec: Any) -> None:
    """Each field once, with what was asked for, and a reason wherever it is not what is used."""
    settings = {setting.key: setting for setting in check(spec).settings}
    for part, config in (("program_config", SDPAProgramConfig), ("compute_kernel_config", ComputeKernelConfig)):
        for name in config.model_fields:
            setting = settings[f"{part}.{name}"]
            assert setting.reason or (setting.given and same(setting.requested, setting.effective))
            assert f"    {name}" in check(spec).text()


def same(requested: Any, effective: Any) -> bool:
    """Tell whether two values are one, be it a list or a tuple."""
    return requested == effective or (isinstance(requested, list) and tuple(requested) == effective)


def test_what_is_not_given_says_so() -> None:
    """A key that is left out, or null, was not asked for; a default that is written down was."""
    spec = upstream(compute_kernel_config={"fp32_dest_acc_en": False}, scale=None)
    settings = {setting.key: setting for setting in check(spec).settings}
    assert not settings["scale"].given
    assert settings["scale"].effective == 128**-0.5
    assert settings["compute_kernel_config.fp32_dest_acc_en"].given
    fidelity = settings["compute_kernel_config.math_fidelity"]
    assert (fidelity.given, fidelity.effective, fidelity.reason) == (False, "LoFi", "the config's default")
    of_model = check(RunSpec.model_validate(spec)).settings
    assert [(s.key, s.given, s.effective, s.reason) for s in of_model] == [
        (s.key, s.given, s.effective, s.reason) for s in settings.values()
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compute_kernel_config.packer_l1_acc", True),
        ("compute_kernel_config.dst_full_sync_en", True),
        ("compute_kernel_config.throttle_level", "LEVEL_3"),
        ("program_config.max_cores_per_head_batch", 4),
        ("program_config.sub_core_grids", [[[0, 0], [1, 1]]]),
        ("queue_id", 1),
    ],
)
def test_what_has_no_effect_has_none(key: str, value: Any) -> None:
    """Such a field is marked, advised against, and changes nothing of what is used, of the load or of L1."""
    spec = upstream(compute_kernel_config__math_fidelity="HiFi2")
    usual, other = check(spec), check(put(spec, {key: value}))
    assert next(setting for setting in other.settings if setting.key == key).effective is None
    assert {(a.key, a.level) for a in other.warnings} - {(a.key, a.level) for a in usual.warnings} == {(key, "notice")}
    assert (usual.effective, usual.load, usual.l1) == (other.effective, other.load, other.l1)


# -- advice -------------------------------------------------------------------------------------------------

STRADDLING = {
    "op": "sdpa", "board": "n150", "is_causal": False, "numerics": "off",
    "inputs": {"batch": 2, "q_heads": 24, "kv_heads": 24, "seq_len": 4096, "head_dim": 64},
    "program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 256, "k_chunk_size": 512},
    "compute_kernel_config": {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True},
}  # fmt: skip
ADVISED = {
    "shipped": json.loads(BUILT_IN.model_dump_json()),
    "defaults": upstream() | {"program_config": None},
    "defaults, plain": plain(S=2048) | {"program_config": None},
    "too large for the grid": upstream(q=256),
    "DRAM binds": plain(S=2048, q=32),
    "stragglers": plain(S=4096, q=512, k=128),
    "over-hang": upstream(k=96),
    "much over-hang": plain(is_causal=False, kernel="legacy", S=4096, kv_len=1088, k=1024),
    "straddling heads": STRADDLING,
    "over-hang, not causal": plain(is_causal=False, kernel="legacy", kv_len=8000),
    "diagonal": upstream(S=1024, k=1024, d=64),
    "wide DST": plain(compute_kernel_config={"fp32_dest_acc_en": True}),
    "ring of 16": upstream(ring_size=16),
    "ring on one chip": upstream(board="p150b"),
    "ring on two chips": upstream(board="n300"),
}


FULL_GRID = {"program_config.compute_with_storage_grid_size": (8, 10)}


@pytest.mark.parametrize("name", ADVISED)
def test_advice_keeps_its_word(name: str) -> None:
    """A change that is advised is legal, and its size is what a check of the changed spec finds, as is that of now."""
    spec = ADVISED[name]
    advised = check(spec).warnings
    assert [advice for advice in advised if advice.size]
    for advice in advised:
        if advice.change:
            changed = put(spec, advice.change)
            assert check(changed).ok
            assert advice.size is not None
            assert measure(changed, advice) == pytest.approx(advice.size.then)
            assert advice.size.then < advice.size.now
        if advice.size:
            assert measure(spec, advice) == pytest.approx(advice.size.now)


def measure(spec: Raw, advice: Advice) -> float:
    """Find what an advice is about in a report on a spec."""
    report, quantity = check(spec), advice.size.quantity
    load, used = report.load, report.effective
    g = geometry(spec)
    if quantity == "least cycles":
        return load.floor.cycles
    if quantity == "scores in vain":
        return 100 * load.scores.in_vain / load.scores.computed
    if quantity == "windows of products a step":
        (h, w), (height, width) = used["qk_subblock"], used["pv_subblock"]
        return g.M * g.N / (h * w) + g.M * g.E / (height * width)
    if quantity == "FPU passes of a product":
        return g.fidelity_phases
    assert quantity == "devices of a ring"
    return g.R


@pytest.mark.parametrize(
    ("name", "key", "change", "says"),
    [
        ("shipped", Q_CHUNK, {Q_CHUNK: 64}, "54 of 70 cores get no Q chunk and idle"),
        ("shipped", Q_CHUNK, {Q_CHUNK: 64}, "fall 2.3x, from 2,692,582 (math) to 1,154,260 (DRAM)"),
        ("defaults", "program_config", FULL_GRID | {Q_CHUNK: 128, K_CHUNK: 512}, "the op's cautious default"),
        ("DRAM binds", Q_CHUNK, {Q_CHUNK: 128}, "(DRAM)"),
        ("over-hang", K_CHUNK, {}, "leave 32"),
        ("much over-hang", K_CHUNK, {K_CHUNK: 544}, "leave 64"),
        ("straddling heads", GRID, {GRID: (6, 8)}, "in 16 of 32 chains"),
        ("straddling heads", FP32_DEST, {FP32_DEST: False}, "legacy"),
        ("wide DST", FP32_DEST, {}, "legacy"),
        ("ring of 16", "ring_size", {"ring_size": 8}, "rings of 4 or 8 map onto it"),
        ("ring on one chip", "ring_size", {}, "p150b has 1 chips; each"),
        ("ring on two chips", "ring_size", {"ring_size": 2}, "rings of 2 map onto it"),
    ],
)
def test_advice_says_what_to_change(name: str, key: str, change: Raw, says: str) -> None:
    """Worked examples."""
    found = [advice for advice in check(ADVISED[name]).warnings if advice.key == key]
    assert any(advice.change == change and says in advice.message for advice in found), found


def test_smaller_chunks_are_not_advised_where_dram_binds() -> None:
    """With 32 of 64 cores idle, Q chunks of 64 would employ them all, and DRAM would take longer than cores do now."""
    usual, smaller = check(upstream()), check(upstream(q=64))
    (advice,) = (advice for advice in usual.warnings if advice.key == "program_config.q_chunk_size")
    assert "32 of 64 cores get no Q chunk and idle" in advice.message
    assert not advice.change
    assert smaller.load.active == 64
    assert (usual.load.floor.binds, smaller.load.floor.binds) == ("math", "DRAM")
    assert smaller.load.floor.cycles > 1.4 * usual.load.floor.cycles


def chained_specs(count: int, seed: int = 7) -> list[Raw]:
    """Make small legal specs in which some core of a chain waits for another, whose products take nearly all of the time."""
    rng = random.Random(seed)
    made: list[Raw] = []
    while len(made) < count:
        changes = {
            "inputs.q_heads": rng.randint(2, 7), "inputs.head_dim": rng.choice((32, 64)),
            "inputs.seq_len": rng.randint(100, 800), "inputs.kv_len": rng.randint(30, 600),
            "program_config.q_chunk_size": 32 * rng.randint(1, 4), "program_config.k_chunk_size": 32 * rng.randint(1, 4),
            "program_config.compute_with_storage_grid_size": [rng.randint(2, 6), rng.randint(1, 3)],
            "compute_kernel_config.fp32_dest_acc_en": rng.random() < 0.5,
            "what_if.chains": rng.choice(("as_built", "as_built", "where_alone")), "machine.tensix.mvmul_cycles": 2000,
        }  # fmt: skip
        spec = put(plain(is_causal=False), changes)
        if check(spec).ok and Work(geometry(spec)).chain_waits.any():
            made.append(spec)
    return made


@pytest.mark.parametrize("spec", chained_specs(12), ids=named)
def test_waits_in_chains_are_least_cycles_too(spec: Raw) -> None:
    """Where products take nearly all of the time, a run takes no less than the floor that has the waits, nor twice as much."""
    (device,) = tensix_sim.simulate(spec | {"trace": "off"}).devices
    floor = check(spec).load.floor
    assert 0.5 * device.cycles < floor.math <= device.cycles


@pytest.mark.parametrize("spec", [*SPECS, *chained_specs(12), STRADDLING], ids=named)
def test_any_advised_change_is_legal_and_lowers_what_it_says(spec: Raw) -> None:
    """Whatever the spec: the size is less with the change, as a check of the changed spec finds; chunks by a tenth."""
    for advice in check(spec).warnings:
        if not advice.change:
            continue
        changed = put(spec, advice.change)
        assert check(changed).ok, advice
        assert measure(changed, advice) == pytest.approx(advice.size.then)
        assert advice.size.now == pytest.approx(measure(spec, advice))
        assert advice.size.then < advice.size.now or advice.key == "ring_size"  # a ring is advised to fit the board
        if advice.key in (Q_CHUNK, K_CHUNK, GRID, "program_config"):
            assert advice.size.quantity == "least cycles"
            assert advice.size.now >= 1.1 * advice.size.then


# -- annotations, files, exit codes -------------------------------------------------------------------------


@given(st.text(), st.text())
def test_annotations_escape_what_would_end_them(key: str, message: str) -> None:
    """Any text comes back when its percent codes are decoded, and a command is one line of three parts."""
    report = Report(violations=(Violation(found={key: 1}, rule=message),), warnings=(Advice(key=key, message=message),))
    error, warning = annotations(report, Path("a,b:c%.yaml"))
    for line, kind, wanted in ((error, "error", report.violations[0].message), (warning, "warning", message)):
        assert "\n" not in line
        assert "\r" not in line
        command, properties, data = line[2:].partition(" ")[0], *line[2:].partition(" ")[2].split("::", 1)
        assert (command, unquote(data)) == (kind, wanted)
        values = dict(item.partition("=")[::2] for item in properties.split(","))
        assert {name: unquote(value) for name, value in values.items()} == {"file": "a,b:c%.yaml", "title": key}


def test_annotations_point_at_the_keys(tmp_path: Path) -> None:
    """The line of the blamed key, nested or dotted; of the part it would lie in, if the file has no such key."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "board: galaxy\n"
        "inputs: {q_heads: 8, kv_heads: 1,\n"
        "  seq_len: 8196, head_dim: 128}\n"
        "program_config:\n"
        "  compute_with_storage_grid_size: [9, 8]\n"
        "  q_chunk_size: 32\n"
        "  k_chunk_size: 100\n"
        "machine:\n"
        "  dram.bnks: 3\n"
        "compute_kernel_config:\n"
        "  packer_l1_acc: true\n"
    )
    result = CliRunner().invoke(main, ["check", str(path), "--github", "--set", "inputs.outliers=7"])
    assert result.exit_code == 1
    lines = [line.split("::")[1] for line in result.stdout.splitlines() if line.startswith("::")]
    places = {line.rpartition("title=")[2]: line.partition("line=")[2].partition(",")[0] for line in lines}
    assert places == {
        "inputs.seq_len": "3", "program_config.compute_with_storage_grid_size": "5", "program_config.k_chunk_size": "7",
        "machine.dram.bnks": "9", "inputs.outliers": "2", "compute_kernel_config.packer_l1_acc": "11",
    }  # fmt: skip


@pytest.mark.parametrize(("content", "line"), [("inputs:\n  a: [\n", "line=3,"), (None, "title=spec"), ("", "title=spec")])
def test_a_file_that_is_no_spec_is_a_report_too(tmp_path: Path, content: str | None, line: str) -> None:
    """Unreadable or malformed: a verdict on stdout, an annotation, JSON, exit code 1."""
    path, out = tmp_path / "spec.yaml", tmp_path / "out.json"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(main, ["check", str(path), "--github", "--json", str(out)])
    assert result.exit_code == 1
    assert result.stdout.startswith("illegal, 1 rule broken")
    assert line in result.stdout
    assert len(json.loads(out.read_text())["violations"]) == 1


def test_json_has_all_that_the_screen_shows(tmp_path: Path) -> None:
    """Sizes, settings, load and L1 are numbers in it."""
    out = tmp_path / "out.json"
    assert CliRunner().invoke(main, ["check", "--json", str(out)]).exit_code == 0
    data = json.loads(out.read_text())
    assert data["load"]["steps"][:2] == [34, 34]
    assert data["load"]["floor"]["binds"] == "math"
    assert data["l1_map"]["free"] == 529_120
    assert {"key": "kernel", "given": False, "requested": None}.items() <= data["settings"][12].items()
    assert any(advice["size"] and advice["size"]["then"] == 1_154_260 for advice in data["warnings"])


def test_a_report_shows_itself(tmp_path: Path) -> None:
    """In an assertion of a user's test, and in a notebook; overrides are as on the command line."""
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(upstream()))
    report = tensix_sim.check(path, ["ring_size=3", "inputs.dtype='<b>'"])
    assert str(report) == report.text()
    assert "&lt;b&gt;" in report._repr_html_()
    with pytest.raises(AssertionError, match="ring_size = 3"):
        assert report.ok, report.text()


@pytest.mark.parametrize("wide", [False, True])
def test_the_approximate_reciprocal_has_an_effect_at_any_width(wide: bool) -> None:
    """Newton's steps are two with it and three without, whatever the DST; so it is never said to have none."""
    config = {"fp32_dest_acc_en": wide, "math_approx_mode": True}
    report = check({"inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": 1024, "head_dim": 64}, "compute_kernel_config": config})
    (told,) = [setting for setting in report.settings if setting.key == "compute_kernel_config.math_approx_mode"]
    assert told.effective is True
