"""Plain SDPA: work, L1 and rules against what upstream publishes; numbers against the ring."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs import PLAIN, RING, Raw, put, raw

from tensix_sim import simulate
from tensix_sim.config import RunSpec, read_spec
from tensix_sim.doctor.check import check
from tensix_sim.sdpa.geometry import Geometry


def spec(**changes: Any) -> Raw:
    """A small run on a Blackhole card, by the legacy kernel unless another is given."""
    return raw(PLAIN, **{"grid": [4, 4], "kernel": "legacy", "trace": "off"} | changes)


def geometry(given: Raw) -> Geometry:
    """The geometry of a legal spec."""
    report = check(given | {"numerics": "off"})
    assert report.ok, report.text()
    return Geometry.of(RunSpec.model_validate(given))


# -- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_rows_are_those_of_the_ring(kernel: str) -> None:
    """At the same chunks, by the same kernel and on the same chip one device and a ring of two compute the same bits."""
    shape = {"k": 128, "heads": 4, "kv_heads": 2, "batch": 2, "grid": [4, 4], "kernel": kernel, "trace": "off"}
    one, ring = raw(PLAIN, board="p150b", **shape), raw(RING, board="p150b", ring_size=2, **shape)
    assert np.array_equal(simulate(one).gathered(), simulate(ring).gathered())


def test_the_grid_does_not_change_a_bit() -> None:
    """Whichever core computes a chunk, its rows are the same."""
    one, many = (simulate(spec(S=384, is_causal=False, grid=grid)).gathered() for grid in ([1, 1], [8, 8]))
    assert np.array_equal(one, many)


def test_a_window_as_long_as_the_sequence_is_none() -> None:
    """It hides nothing."""
    assert np.array_equal(simulate(spec(sliding_window_size=512)).gathered(), simulate(spec()).gathered())


def files(folder: Path, rows: int) -> Raw:
    """Write the first rows of one draw."""
    rng = np.random.default_rng(3)
    paths = {}
    for name, heads in (("q", 2), ("k", 1), ("v", 1)):
        paths[name] = str(folder / f"{name}{rows}.npy")
        np.save(paths[name], rng.standard_normal((1, heads, 512, 64)).astype(np.float32)[:, :, :rows])
    return spec() | {"inputs": paths}


def test_later_rows_do_not_change_earlier_ones(tmp_path: Path) -> None:
    """A causal run over 333 rows gives the first 333 of a run over 512, padding or not."""
    short, long = (simulate(files(tmp_path, rows)).gathered() for rows in (333, 512))
    assert np.array_equal(short, long[:, :, :333])


def test_keys_of_files_may_have_their_own_length(tmp_path: Path) -> None:
    """K and V of other files than Q's, with more rows, if attention is not causal."""
    given = files(tmp_path, 512)
    given["inputs"]["q"] = files(tmp_path, 128)["inputs"]["q"]
    report = check(given)
    assert {violation.key for violation in report.violations} == {"inputs.k", "inputs.v"}
    result = simulate(given | {"is_causal": False})
    assert result.gathered().shape == (1, 2, 128, 64)
    assert result.accuracy is not None
    assert result.accuracy.pcc > 0.999


# -- work and L1, as published ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "worst", "mean"),
    [
        ({"q": 128, "k": 128}, 165, 153.6),
        ({"q": 256, "k": 128}, 102, None),
        ({"q": 512, "k": 128}, 72, None),
        ({"S": 2048, "q": 256, "k": 128, "is_causal": False, "kv_len": 8192}, 192, None),
        ({"S": 8192, "q": 128, "k": 128, "heads": 16, "sliding_window_size": 1024}, 90, None),
    ],
    ids=str,
)
def test_work_of_published_shapes(changes: Raw, worst: int, mean: float | None) -> None:
    """Steps of the busiest of 110 cores and their mean, from tt-metal #55766 and the sliding-window capture."""
    g = geometry(spec(**({"S": 4096, "heads": 32, "kv_heads": 8, "d": 128, "grid": [11, 10]} | changes)))
    steps = [g.steps(i) for i in range(g.cores)]
    assert max(steps) == worst
    assert mean is None or round(sum(steps) / len(steps), 1) == mean


STREAMING_L1 = {
    (64, 64): (108_544, 141_312, 202_752),
    (128, 128): (214_016, 271_360, 378_880),
    (128, 256): (283_648, 373_760, 542_720),
    (128, 512): (422_912, 578_560, 870_400),
    (256, 256): (474_112, 580_608, 780_288),
    (256, 512): (678_912, 850_944, 1_173_504),
    (512, 256): (855_040, 994_304, 1_255_424),
    (512, 512): (1_190_912, 1_395_712, 1_779_712),
}


@pytest.mark.parametrize("chunks", STREAMING_L1, ids=str)
@pytest.mark.parametrize("op", ["sdpa", "ring_distributed_sdpa"])
def test_streaming_l1(chunks: tuple[int, int], op: str) -> None:
    """A table worked out by hand: head_dim 128, causal, two Q chunks held."""
    q, k = chunks
    for dtype, total in zip(("bfloat4_b", "bfloat8_b", "bfloat16"), STREAMING_L1[chunks], strict=True):
        given = raw(op, S=8192, q=q, k=k, heads=8, d=128, dtype=dtype, grid=[4, 4], kernel="streaming", numerics="off")
        table = check(given).l1
        assert sum(b.bytes for b in table) == total
        assert [b.tiles for b in table if b.name == "recip_scratch"] == [1]


@pytest.mark.parametrize(
    ("grid", "heads", "is_causal", "chunks"), [([4, 4], 2, False, 1), ([4, 4], 2, True, 2), ([4, 4], 3, False, 2)]
)
def test_room_for_a_second_q_chunk(grid: list[int], heads: int, is_causal: bool, chunks: int) -> None:
    """Only where some core has more than one Q chunk."""
    given = spec(heads=heads, grid=grid, is_causal=is_causal)
    table = {b.name: b.tiles for b in check(given).l1}
    assert table["q_in"] == chunks * 2 * 2


def test_scores_are_wide_with_a_32_bit_dst() -> None:
    """Scores and row sums lie in L1 as float32; maxima, outputs and the correction do not."""
    table = {b.name: b.format for b in check(spec(fidelity="HiFi4", fp32=True)).l1}
    assert {name for name, fmt in table.items() if fmt == "float32"} == {"qk_im", "sum_A", "sum_B"}


@pytest.mark.parametrize(
    ("q", "k", "d", "qk", "pv", "rows"),
    [
        (64, 128, 128, (2, 4), (2, 4), 2),
        (128, 512, 128, (2, 4), (2, 4), 2),
        (192, 256, 128, (2, 4), (2, 4), 2),
        (96, 128, 128, (3, 2), (1, 4), 2),
        (128, 256, 64, (2, 4), (2, 2), 2),
        (128, 128, 256, (2, 4), (2, 4), 2),
        (32, 128, 128, (1, 4), (1, 4), 1),
    ],
)
def test_row_groups_of_streaming(q: int, k: int, d: int, qk: tuple[int, int], pv: tuple[int, int], rows: int) -> None:
    """Subblocks and row groups, worked out by hand."""
    b = geometry(spec(q=q, k=k, d=d, kernel="streaming")).blocks
    assert (b.qk_subblock, b.pv_subblock, b.pv_rows) == (qk, pv, rows)
    assert b.M % b.out_band == 0
    assert 2 * b.pv_rows % b.out_band == 0


# -- which kernel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "kernel", "fp32", "effective"),
    [
        ("sdpa", None, False, "streaming"),
        ("sdpa", None, True, "legacy"),
        ("sdpa", "legacy", False, "legacy"),
        ("sdpa", "streaming", True, None),
        ("chunked_sdpa", None, False, "streaming"),
        ("ring_distributed_sdpa", None, False, "legacy"),
        ("ring_distributed_sdpa", None, True, "legacy"),
        ("ring_distributed_sdpa", "streaming", False, "streaming"),
        ("ring_distributed_sdpa", "streaming", True, None),
    ],
)
def test_kernel_of_a_config(op: str, kernel: str | None, fp32: bool, effective: str | None) -> None:
    """What was asked for and what runs; streaming with a 32-bit DST is refused."""
    report = check(raw(op, S=1024, kernel=kernel, fp32=fp32))
    if effective is None:
        assert [violation.key for violation in report.violations] == ["kernel"]
        assert {"kernel": "legacy"} in report.violations[0].nearest
    else:
        assert (report.effective["kernel"], report.effective["kernel_requested"]) == (effective, kernel)


# -- rules --------------------------------------------------------------------------------------------------

RULES: list[tuple[str, ...]] = [
    ("ring_size", "ring_size=8"),
    ("ring_id", "ring_id=0"),
    ("ring_ids", "ring_ids=[0]"),
    ("mesh", "mesh=[8, 4]"),
    ("chunk_start_idx", "chunk_start_idx=0"),
    ("paged_kv", "paged_kv.block_size=64"),
    ("inputs.kv_len", "inputs.kv_len=1024"),
    ("sliding_window_size", "is_causal=false", "sliding_window_size=128", "inputs.kv_len=128"),
    ("inputs.q_heads", "inputs.q_heads=3", "inputs.kv_heads=2"),
    ("inputs.head_dim", "inputs.head_dim=100"),
    ("program_config.q_chunk_size", "program_config.q_chunk_size=100"),
    ("program_config.k_chunk_size", "program_config.k_chunk_size=100"),
    ("program_config.q_chunk_size", "program_config.q_chunk_size=1024", "program_config.k_chunk_size=1024"),
    ("program_config.compute_with_storage_grid_size", "program_config.compute_with_storage_grid_size=[20, 1]"),
    ("kernel", "kernel=streaming", "compute_kernel_config.fp32_dest_acc_en=true"),
    ("is_causal", "inputs.attn_mask=random"),
    ("sliding_window_size", "is_causal=false", "inputs.attn_mask=random", "sliding_window_size=64"),
    ("scale", "is_causal=false", "inputs.attn_mask=causal", "scale=0"),
    ("inputs.attn_mask_heads", "is_causal=false", "inputs.attn_mask=random", "inputs.attn_mask_heads=3"),
    ("inputs.attn_mask_batch", "is_causal=false", "inputs.attn_mask=random", "inputs.attn_mask_batch=2"),
    ("is_causal", "cu_window_seqlens=[0, 512]"),
    ("cu_window_seqlens", "is_causal=false", "cu_window_seqlens=[0, 100]"),
    ("cu_window_seqlens", "is_causal=false", "cu_window_seqlens=[0, 300, 200, 512]"),
    ("cu_window_seqlens", "is_causal=false", "cu_window_seqlens=[512]"),
    ("inputs.kv_len", "is_causal=false", "cu_window_seqlens=[0, 512]", "inputs.kv_len=1024"),
    ("sliding_window_size", "is_causal=false", "cu_window_seqlens=[0, 512]", "sliding_window_size=64"),
    ("inputs.attn_mask", "is_causal=false", "cu_window_seqlens=[0, 512]", "inputs.attn_mask=random"),
    ("inputs.attention_sink", "is_causal=false", "cu_window_seqlens=[0, 512]", "inputs.attention_sink=random"),
    ("memory_config", "memory_config=l1_block_sharded"),
    ("inputs.seq_len", "inputs.seq_len=1073741824", "numerics=off"),
]


@pytest.mark.parametrize(("key", "mistakes"), [(key, mistakes) for key, *mistakes in RULES], ids=str)
def test_every_rule_refuses_and_offers_what_is_legal(key: str, mistakes: list[str]) -> None:
    """One thing wrong is one violation, which shows the value and offers changes that make the spec legal."""
    given = read_spec(spec(), mistakes)
    report = check(given)
    (violation,) = report.violations
    assert violation.key == key
    assert f"{key} = {violation.found[key]!r}" in violation.message
    assert violation.nearest
    for change in violation.nearest:
        healed = check(put(given, change))
        assert healed.ok, healed.text()


@pytest.mark.parametrize("key", ["inputs.head_dim_v"])
def test_what_is_not_modelled_says_so(key: str) -> None:
    """Arguments that ttnn has and the simulator has not."""
    (violation,) = check(read_spec(spec(), [f"{key}=7"])).violations
    assert violation.key == key
    assert "is not modelled" in violation.message


def test_a_mask_s_padding_is_told() -> None:
    """Where keys fill no tile, a chip takes what is there."""
    for keys, told in ((512, False), (500, True)):
        report = check(spec(is_causal=False, kv_len=keys, inputs__attn_mask="random"))
        assert any("12 columns of the mask are padding" in advice.message for advice in report.warnings) == told


MASKS = {"cu_window_seqlens"} | {f"inputs.{key}" for key in ("attn_mask", "attn_mask_heads", "attn_mask_batch", "attention_sink")}


@pytest.mark.parametrize("seed", range(100))
def test_random_illegal_specs_are_refused(seed: int) -> None:
    """Whatever goes wrong together is all refused, each key with its value, and without a traceback."""
    rng = random.Random(seed)
    mistakes = {key: words for key, *words in RULES if not key.startswith("program_config.q")}
    for key, value in {"inputs.kv_dtype": "float32", "is_causal": "7", "scale": "big", "sinks": "1"}.items():
        mistakes[key] = [f"{key}={value}"]
    chosen = rng.sample(sorted(mistakes), rng.randint(1, 4))
    if {"inputs.kv_len", "sliding_window_size", "inputs.seq_len", "is_causal", "scale", *MASKS} & set(chosen):
        chosen = [rng.choice(chosen)]  # one of these changes what another means
    report = check(read_spec(spec(), [word for key in chosen for word in mistakes[key]]))
    for key in chosen:
        violation = next(v for v in report.violations if v.key == key)
        assert f"{key} = {violation.found[key]!r}" in violation.message
    assert report.text()


def test_tracing_does_not_change_a_cycle_where_memory_is_the_bound() -> None:
    """110 cores that all wait for the same banks: who comes first at a tie has nothing to do with what is recorded."""
    crowded = spec(S=1024, q=128, k=128, heads=16, kv_heads=8, d=128, grid=[11, 10], kernel="streaming", numerics="off")
    assert len({simulate(crowded | {"trace": level}).devices[0].cycles for level in ("off", "transfers")}) == 1
