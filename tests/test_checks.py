"""What is legal, what the message says if it is not, and the geometry of what is."""

import random
from collections import Counter
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specs import Raw, put, upstream

from tensix_sim.arch import BOARDS
from tensix_sim.config import BUILT_IN, RunSpec
from tensix_sim.doctor import rules
from tensix_sim.doctor.check import Report, check
from tensix_sim.formats import FORMATS
from tensix_sim.sdpa.blocks import Blocks, granularity, largest_subblock
from tensix_sim.sdpa.geometry import Geometry


def shape(rows: int, ring: int, q: int, k: int, grid: tuple[int, int], **changes: Any) -> Geometry:
    """Work out the geometry of an upstream shape."""
    spec = upstream(S=rows, ring_size=ring, q=q, k=k, grid=grid, **changes)
    if grid == (11, 10):
        spec["board"] = "p100a"
    assert check(spec).ok
    return Geometry.of(RunSpec.model_validate(spec))


def blamed(report: Report) -> set[str]:
    """List the keys that violations blame."""
    return {violation.key for violation in report.violations}


# -- the tables of the reference ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "ring", "q", "k", "grid", "nq", "active", "steps", "masked", "ideal", "matmul"),
    [
        (8192, 4, 128, 256, (8, 8), 8, 32, (66, 66), 4, 262_144, 540_672),
        (8192, 4, 128, 128, (11, 10), 8, 32, (130, 130), 4, 152_521, 532_480),
        (16384, 4, 128, 256, (8, 8), 16, 64, (130, 130), 4, 1_048_576, 1_064_960),
        (32768, 4, 128, 256, (8, 8), 32, 64, (516, 516), 8, 4_194_304, 4_227_072),
        (32768, 4, 256, 256, (8, 8), 16, 64, (258, 258), 4, 4_194_304, 4_227_072),
        (32768, 4, 256, 256, (11, 10), 16, 64, (258, 258), 4, 2_440_323, 4_227_072),
        (131072, 4, 128, 256, (8, 8), 128, 64, (8208, 8208), 32, 67_108_864, 67_239_936),
        (4096, 4, 256, 512, (7, 10), 2, 8, (18, 18), 4, 59_919, 589_824),
        (8192, 4, 256, 512, (7, 10), 4, 16, (34, 34), 4, 239_675, 1_114_112),
        (2048, 4, 256, 512, (7, 10), 1, 8, (5, 5), 2, 14_980, 163_840),
        (131072, 4, 256, 512, (7, 10), 64, 70, (1542, 2056), 16, 61_356_676, 67_371_008),
    ],
)
def test_work_of_published_shapes(
    rows: int, ring: int, q: int, k: int, grid: tuple[int, int], nq: int, active: int, steps: tuple[int, int],
    masked: int, ideal: int, matmul: int,
) -> None:  # fmt: skip
    """Steps, masked steps, active cores and cycles worked out by hand, the same on every device of the ring."""
    g = shape(rows, ring, q, k, grid)
    assert (g.nq, g.deal.active_cores, g.ideal_cycles) == (nq, active, ideal)
    for ring_id in range(ring):
        of_cores = [g.steps(i, ring_id) for i in range(active)]
        assert (min(of_cores), max(of_cores)) == steps
        assert max(g.masked_steps(i, ring_id) for i in range(active)) == masked
        assert max(of_cores) * g.M * g.N * (g.D + g.E) * 32 == matmul
        assert not any(g.deal.count(i) or g.steps(i, ring_id) for i in range(active, g.cores))


@pytest.mark.parametrize(
    ("ring_id", "chunks"),
    [
        (0, [(0, 1), (7, 4), (56, 29), (63, 32)]),
        (1, [(8, 5), (15, 8), (48, 25), (55, 28)]),
        (2, [(16, 9), (23, 12), (40, 21), (47, 24)]),
        (3, [(24, 13), (31, 16), (32, 17), (39, 20)]),
    ],
)
def test_first_core_of_the_worked_example(ring_id: int, chunks: list[tuple[int, int]]) -> None:
    """Absolute Q chunks of core 0 and the K chunks that each sees."""
    g = shape(8192, 4, 128, 256, (8, 8))
    assert (g.Sc, g.Sqt, g.M, g.N, g.D, g.E, g.nq, g.nk) == (1024, 32, 4, 8, 4, 4, 8, 32)
    assert [(a, g.k_chunks(a)) for a in g.chunks(0, ring_id)] == chunks
    assert [g.deal.places(i)[0] for i in range(5)] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


@pytest.mark.parametrize(
    ("q", "k", "d", "dst", "tiles", "qk", "pv", "stats", "sub_exp", "dht", "reduce"),
    [
        (32, 32, 128, 8, (1, 1, 4), (1, 1), (1, 4), 1, 1, 4, 1),
        (64, 64, 128, 8, (2, 2, 4), (2, 2), (2, 4), 2, 2, 4, 2),
        (64, 512, 128, 8, (2, 16, 4), (2, 4), (2, 4), 2, 8, 4, 2),
        (96, 128, 128, 8, (3, 4, 4), (3, 2), (3, 2), 3, 4, 4, 3),
        (128, 128, 128, 8, (4, 4, 4), (2, 4), (2, 4), 4, 4, 4, 4),
        (128, 256, 128, 8, (4, 8, 4), (2, 4), (2, 4), 4, 8, 4, 4),
        (192, 256, 128, 8, (6, 8, 4), (2, 4), (2, 4), 6, 8, 4, 3),
        (256, 256, 128, 8, (8, 8, 4), (2, 4), (2, 4), 8, 8, 4, 4),
        (256, 512, 128, 8, (8, 16, 4), (2, 4), (2, 4), 8, 8, 4, 4),
        (256, 256, 128, 4, (8, 8, 4), (2, 2), (2, 2), 4, 4, 4, 2),
        (256, 512, 128, 4, (8, 16, 4), (2, 2), (2, 2), 4, 4, 4, 2),
        (128, 256, 64, 8, (4, 8, 2), (2, 4), (4, 2), 4, 8, 2, 4),
    ],
)
def test_subblocks_and_granularities(
    q: int, k: int, d: int, dst: int, tiles: tuple[int, int, int], qk: tuple[int, int], pv: tuple[int, int],
    stats: int, sub_exp: int, dht: int, reduce: int,
) -> None:  # fmt: skip
    """Every row of a table worked out by hand."""
    g = shape(8 * 768, 4, q, k, (8, 8), d=d, compute_kernel_config__fp32_dest_acc_en=dst == 4)
    b = g.blocks
    assert ((b.M, b.N, b.D), b.dst, b.qk_subblock, b.pv_subblock) == (tiles, dst, qk, pv)
    assert (b.stats, b.sub_exp, b.dht, b.reduce) == (stats, sub_exp, dht, reduce)


@pytest.mark.parametrize("dst", [4, 8])
def test_blocks_divide_what_they_cut(dst: int) -> None:
    """A subblock and a granularity divide their block and fit DST, whatever the size."""
    for height, width in product(range(1, 41), repeat=2):
        h, w = largest_subblock(height, width, dst)
        assert height % h == width % w == 0
        assert h * w <= dst
    for n in range(1, 100):
        g = granularity(n, dst)
        assert n % g == 0
        assert not any(n % larger == 0 for larger in range(g + 1, min(n, dst) + 1))


@pytest.mark.parametrize(
    ("grids", "thresholds"),
    [
        ([(7, 8)], (5, 9, 18)),
        ([(9, 7), (8, 8)], (4, 8, 16)),
        ([(7, 10), (8, 9)], (3, 7, 14)),
        ([(8, 10)], (3, 6, 12)),
        ([(10, 10)], (2, 5, 10)),
        ([(11, 10), (12, 10)], (2, 4, 8)),
        ([(13, 10), (14, 10)], (1, 3, 6)),
        ([(27, 19)], (0, 0, 0)),
    ],
)
def test_barrier_thresholds(grids: list[tuple[int, int]], thresholds: tuple[int, int, int]) -> None:
    """A table worked out by hand, and no barrier beyond 512 cores."""
    fields = Geometry.of(RunSpec.model_validate(upstream())).__dict__
    for grid in grids:
        g = Geometry(**{name: fields[name] for name in Geometry.__dataclass_fields__} | {"grid": grid})
        assert tuple(g.barrier_threshold(FORMATS[f].tile_bytes) for f in ("bfloat16", "bfloat8_b", "bfloat4_b")) == thresholds


L1_TABLE = {
    (32, 32, 128): (52_992, 67_328, 94_208),
    (64, 64, 128): (101_888, 130_560, 184_320),
    (64, 512, 128): (288_256, 431_616, 700_416),
    (128, 128, 128): (211_968, 269_312, 376_832),
    (128, 256, 128): (281_600, 371_712, 540_672),
    (128, 512, 128): (420_864, 576_512, 868_352),
    (256, 128, 128): (378_880, 460_800, 614_400),
    (256, 256, 128): (481_280, 595_968, 811_008),
    (256, 512, 128): (686_080, 866_304, 1_204_224),
    (512, 128, 128): (712_704, 843_776, 1_089_536),
    (512, 256, 128): (880_640, 1_044_480, 1_351_680),
    (512, 512, 128): (1_216_512, 1_445_888, 1_875_968),
    (256, 256, 256): (None, None, 1_400_832),
    (256, 512, 256): (None, 1_380_352, 2_056_192),
    (512, 256, 256): (None, 1_654_784, None),
    (512, 512, 64): (None, None, 1_286_144),
}
DOES_NOT_FIT = {
    "galaxy": {
        (512, 512, 128, "bfloat8_b"), (512, 512, 128, "bfloat16"), (256, 256, 256, "bfloat16"),
        (256, 512, 256, "bfloat16"), (512, 256, 256, "bfloat8_b"),
    },
    "p150b": {(512, 512, 128, "bfloat16"), (256, 512, 256, "bfloat16"), (512, 256, 256, "bfloat8_b")},
}  # fmt: skip


@pytest.mark.parametrize("chunks", L1_TABLE, ids=str)
@pytest.mark.parametrize("board", DOES_NOT_FIT)
def test_l1_footprint(board: str, chunks: tuple[int, int, int]) -> None:
    """Bytes and verdict of every entry of a table worked out by hand."""
    q, k, d = chunks
    for dtype, total in zip(("bfloat4_b", "bfloat8_b", "bfloat16"), L1_TABLE[chunks], strict=True):
        if total is None:
            continue
        assert sum(b.bytes for b in legacy_blocks(q // 32, k // 32, d // 32, dtype).buffers(2, 2, 0)) == total
        report = check(
            upstream(
                board=board,
                dtype=dtype,
                d=d,
                q=q,
                k=k,
            )
        )
        assert sum(b.bytes for b in report.l1) == report.effective["l1_bytes"] == total
        assert report.ok == ((*chunks, dtype) not in DOES_NOT_FIT[board])


def legacy_blocks(m: int, n: int, d: int, dtype: str) -> Blocks:
    """Blocks of the legacy kernel, 16-bit DST, one data type."""
    return Blocks(m, n, d, d, 8, False, *[FORMATS[dtype]] * 3)


def test_buffers_in_order_of_their_indices() -> None:
    """Names, formats and ends as upstream has them; buffers follow each other from the base of L1."""
    dense, paged = check(upstream()).l1, check(upstream(paged_kv={"block_size": 64}, chunk_start_idx=256, board="p150b")).l1
    names = ["q_in", "k_in", "v_in", "mask_in", "identity_scale", "col_identity"]
    later = ["qk_im", "out_im_A", "out_im_B", "max_A", "max_B", "sum_A", "sum_B", "exp_max_diff", "out"]
    assert [b.name for b in dense] == names + later
    assert [b.name for b in paged] == [*names, "page_table", *later]
    assert [b.tiles for b in dense] == [32, 64, 64, 2, 1, 1, 32, 16, 16, 4, 4, 4, 4, 4, 16]
    assert {b.name for b in dense if b.format == "bfloat8_b"} == {"q_in", "k_in", "v_in", "out"}
    for table, board in ((dense, "galaxy"), (paged, "p150b")):
        assert [b.index for b in table] == list(range(len(table)))
        assert table[0].address == BOARDS[board].chip.l1.base
        assert all(a.address + a.bytes == b.address for a, b in pairwise(table))
    kernels = legacy_blocks(4, 8, 4, "bfloat8_b").buffers(2, 2, 32)
    assert {b.name for b in kernels if b.resident} == {"mask_in", "identity_scale", "col_identity"}
    assert Counter((b.producer, b.consumer) for b in kernels) == {
        ("reader", "compute"): 3, ("writer", "compute"): 3, ("reader", "reader"): 1,
        ("compute", "compute"): 8, ("compute", "writer"): 1,
    }  # fmt: skip


def test_upstream_tests_are_legal_as_often_as_there() -> None:
    """Of the parameters of test_sdpa_ring_distributed.py, 30 of 64 and 91 of 160 are legal, as upstream runs them."""
    lengths = [1024 << n for n in range(8)]
    main = [check(upstream(S=S, q=q, k=k)) for S, q, k in product(lengths, (96, 128, 192, 256), (128, 256))]
    prefix = [
        check(
            upstream(
                S=S,
                chunk_start_idx=start,
                paged_kv={"block_size": 64, "page_table": "shuffled"},
                q=q,
                k=k,
            )
        )
        for S, start, q, k in product(lengths, (0, 64, 128, 256, 512), (64, 256), (64, 512))
    ]
    assert (sum(r.ok for r in main), len(main)) == (30, 64)
    assert (sum(r.ok for r in prefix), len(prefix)) == (91, 160)


# -- laws of the geometry -----------------------------------------------------------------------------------


def some_geometries() -> list[Geometry]:
    """Make legal shapes of every kind: odd and even chunk counts, prefixes, batches, few and many cores."""
    rng = random.Random(7)
    made: list[Geometry] = []
    while len(made) < 60:
        R, q, k = rng.choice((2, 4, 6, 8)), 32 * rng.randint(1, 6), 32 * rng.randint(1, 8)
        S = 2 * R * q * rng.randint(1, 7)
        spec = upstream(S=S, ring_size=R, q=q, k=k)
        spec["inputs"] |= {"batch": rng.randint(1, 3), "q_heads": 4, "kv_heads": rng.choice((1, 2, 4))}
        spec["program_config"]["compute_with_storage_grid_size"] = (rng.randint(1, 8), rng.randint(1, 8))
        if rng.random() < 0.5:
            spec |= {"paged_kv": {"block_size": 32}, "chunk_start_idx": q * rng.randint(0, 5)}
        if check(spec).ok:
            made.append(Geometry.of(RunSpec.model_validate(spec)))
    return made


@pytest.mark.parametrize("g", some_geometries(), ids=lambda g: f"S{g.S}-R{g.R}-q{g.M}-k{g.N}-p{g.prefix}-g{g.cores}")
class TestEveryGeometry:
    """What holds for any legal spec."""

    def test_cores_share_all_chunks(self, g: Geometry) -> None:
        """Every Q chunk of every head belongs to one core, and ranges follow each other."""
        deal = g.deal
        ends = [deal.start(i) + deal.count(i) for i in range(g.cores)]
        assert [0, *ends[:-1]] == [deal.start(i) for i in range(g.cores)]
        assert ends[-1] == deal.total == g.B * g.NQH * g.nq
        assert deal.active_cores == sum(deal.count(i) > 0 for i in range(g.cores))
        dealt = [place for i in range(g.cores) for place in deal.places(i)]
        assert sorted(dealt) == list(product(range(g.B * g.NQH), range(g.nq)))

    def test_pairs_weigh_the_same(self, g: Geometry) -> None:
        """Where a head has an even number of chunks, cores get pairs, each as heavy as the next."""
        if g.nq % 2 == 0:
            assert all(g.deal.start(i) % 2 == g.deal.count(i) % 2 == 0 for i in range(g.cores))
            chunks = [[q for _, q in g.deal.places(i)] for i in range(g.cores)]
            assert {q + other for of_core in chunks for q, other in zip(of_core[::2], of_core[1::2], strict=True)} == {g.nq - 1}

    def test_ring_covers_the_sequence(self, g: Geometry) -> None:
        """The slabs of all devices are the whole sequence, after the prefix."""
        chunks = Counter(a for r in range(g.R) for i in range(g.cores) for a in g.chunks(i, r))
        first = g.prefix // (g.M * 32)
        assert chunks == {first + a: g.B * g.NQH for a in range(2 * g.R * g.nq)}

    def test_steps_are_what_causality_leaves(self, g: Geometry) -> None:
        """A K chunk is computed if any of its keys is visible, and masked unless all of them surely are."""
        for a in range(g.prefix // (g.M * 32), g.prefix // (g.M * 32) + 2 * g.R * g.nq):
            first_row, last_row = a * g.M, (a + 1) * g.M - 1
            visible = [j for j in range(g.nk) if j * g.N <= last_row]
            assert list(g.mask.k_range(first_row)) == visible
            assert [bool(g.mask.marks(first_row, j)) for j in visible] == [(j + 1) * g.N > first_row for j in visible]
        for r in range(g.R):
            for i in range(g.deal.active_cores):
                stamped = sum(g.k_chunks(a) - a * g.M // g.N for a in g.chunks(i, r))
                assert g.masked_steps(i, r) == stamped


# -- the rules ----------------------------------------------------------------------------------------------

PAGED = {"paged_kv": {"block_size": 64}, "chunk_start_idx": 256}
RULES: list[tuple[Any, ...]] = [
    ({"ring_size": 0}, "ring_size"),
    ({"ring_size": 34, "inputs.seq_len": 34 * 256}, "ring_size"),
    ({"ring_size": 3, "inputs.seq_len": 768 * 8}, "ring_size"),
    ({"ring_id": 4}, "ring_id"),
    ({"ring_ids": [0, 4]}, "ring_ids"),
    ({"ring_ids": []}, "ring_ids"),
    ({"ring_ids": [1, 1]}, "ring_ids"),
    ({"mesh": [8, 2]}, "ring_size"),
    ({"inputs.dtype": "float32"}, "inputs.dtype"),
    ({"inputs.kv_heads": 3}, "inputs.q_heads"),
    ({"inputs.kv_heads": 16}, "inputs.q_heads"),
    ({"inputs.head_dim": 100}, "inputs.head_dim"),
    ({"inputs.seq_len": 128, "program_config.q_chunk_size": 32}, "inputs.seq_len", "program_config.q_chunk_size"),
    ({"inputs.seq_len": 8196}, "inputs.seq_len"),
    ({"program_config.q_chunk_size": 100}, "program_config.q_chunk_size"),
    ({"program_config.q_chunk_size": 1056}, "program_config.q_chunk_size"),
    ({"program_config.q_chunk_size": 96}, "program_config.q_chunk_size"),
    ({"inputs.seq_len": 8256}, "program_config.q_chunk_size"),
    ({"program_config.k_chunk_size": 100}, "program_config.k_chunk_size"),
    ({"chunk_start_idx": 256}, "paged_kv"),
    (PAGED | {"chunk_start_idx": -256}, "chunk_start_idx"),
    (PAGED | {"chunk_start_idx": 320, "program_config.k_chunk_size": 32}, "chunk_start_idx"),
    (PAGED | {"chunk_start_idx": 128}, "program_config.k_chunk_size"),
    (PAGED | {"paged_kv": {"block_size": 0}}, "paged_kv.block_size"),
    (PAGED | {"paged_kv": {"block_size": 16}}, "paged_kv.block_size"),
    (PAGED | {"paged_kv": {"block_size": 16384}}, "paged_kv.block_size", "chunk_start_idx"),
    (PAGED | {"paged_kv": {"block_size": 512}}, "chunk_start_idx"),
    (PAGED | {"machine.dram.page_alignment": 4, "paged_kv.block_size": 256}, "machine.dram.page_alignment"),
    ({"program_config.compute_with_storage_grid_size": [9, 8]}, "program_config.compute_with_storage_grid_size"),
    ({"program_config.compute_with_storage_grid_size": [8, 11]}, "program_config.compute_with_storage_grid_size"),
    ({"program_config.compute_with_storage_grid_size": [0, 8]}, "program_config.compute_with_storage_grid_size"),
    ({"program_config.q_chunk_size": 512, "program_config.k_chunk_size": 512}, "program_config.q_chunk_size"),
    ({"memory_config": "l1_interleaved", "inputs.seq_len": 524288}, "program_config.q_chunk_size"),
    ({"inputs.seq_len": 2**30}, "inputs.seq_len"),
    ({"inputs.batch": 2**20}, "inputs.seq_len"),
    ({"op": "sdpa", "paged_kv": {"block_size": 64}}, "paged_kv"),
    ({"kernel": "streaming", "compute_kernel_config.fp32_dest_acc_en": True}, "kernel"),
    ({"is_causal": False}, "is_causal"),
    ({"inputs.kv_dtype": "bfloat16"}, "inputs.kv_dtype"),
    ({"inputs.kv_len": 4096}, "inputs.kv_len"),
    ({"memory_config": "l1_height_sharded"}, "memory_config"),
    ({"board": "n151"}, "board"),
    ({"machine.dram.bnks": 3}, "machine.dram.bnks"),
    ({"machine.dram.banks": 0}, "machine.dram.banks"),
]


@pytest.mark.parametrize(("changes", "keys"), [(changes, keys) for changes, *keys in RULES], ids=str)
def test_every_rule_refuses_and_offers_what_is_legal(changes: Raw, keys: list[str]) -> None:
    """A spec with one thing wrong is refused for it alone, shows the values, and each change it offers makes it legal."""
    report = check(put(upstream(), changes))
    assert blamed(report) == set(keys)
    for violation in report.violations:
        assert f"{violation.key} = {violation.found[violation.key]!r}" in violation.message
        assert violation.nearest or violation.key.startswith("machine")
        for change in violation.nearest:
            healed = check(put(upstream(), changes | change))
            assert healed.ok, (violation.message, healed.text())


@pytest.mark.parametrize(
    ("legal", "illegal"),
    [
        ({"program_config.q_chunk_size": 1024, "program_config.k_chunk_size": 32, "inputs.head_dim": 32},
         {"program_config.q_chunk_size": 1056, "program_config.k_chunk_size": 32, "inputs.head_dim": 32}),
        ({"inputs.seq_len": 256, "program_config.q_chunk_size": 32}, {"inputs.seq_len": 248, "program_config.q_chunk_size": 32}),
        ({"ring_size": 32, "inputs.seq_len": 64 * 128}, {"ring_size": 34, "inputs.seq_len": 68 * 128}),
        ({"ring_id": 3}, {"ring_id": 4}),
        ({"ring_ids": [3]}, {"ring_ids": [4]}),
        ({"inputs.kv_heads": 8}, {"inputs.kv_heads": 9}),
        ({"program_config.compute_with_storage_grid_size": [8, 10]}, {"program_config.compute_with_storage_grid_size": [8, 11]}),
        ({"program_config.k_chunk_size": 96}, {"program_config.k_chunk_size": 97}),
        (PAGED, PAGED | {"chunk_start_idx": 255}),
        (PAGED | {"chunk_start_idx": 0}, PAGED | {"chunk_start_idx": -1}),
        ({"mesh": [1, 4]}, {"mesh": [1, 3]}),
        ({"mesh": [1, 3], "ring_id": 0}, {"mesh": [1, 3]}),
        ({"paged_kv": {"block_size": 96}}, PAGED | {"paged_kv": {"block_size": 96}}),
        ({"inputs.outliers": 1}, {"inputs.outliers": 1.001}),
    ],
    ids=str,
)  # fmt: skip
def test_edges(legal: Raw, illegal: Raw) -> None:
    """The last legal value is legal, the next is not."""
    for changes, ok in ((legal, True), (illegal, False)):
        report = check(put(upstream(), changes))
        assert report.ok == ok, report.text()


def test_l1_ends_at_its_last_byte() -> None:
    """Circular buffers may fill L1, and not exceed it by a byte."""
    end = 103_712 + 371_712
    assert check(upstream(machine={"l1.size": end})).ok
    report = check(upstream(machine={"l1.size": end - 1}))
    assert "1 B beyond" in report.violations[0].message


def test_l1_output_takes_its_share() -> None:
    """An output in L1 is dealt over the board's cores and leaves less to the buffers."""
    dram, l1 = check(upstream()), check(upstream(memory_config="l1_interleaved"))
    tiles = 8 * (8192 // 4 // 32) * 4
    assert l1.effective["l1_bytes"] - dram.effective["l1_bytes"] == -(-tiles // 80) * 1088
    assert l1.ok
    assert {"memory_config": "dram_interleaved"} in check(upstream(memory_config="l1_interleaved", S=524288)).violations[
        0
    ].nearest


def test_no_program_config_is_the_ops_own() -> None:
    """Chunks of 32 on the full grid of the board."""
    report = check(upstream() | {"program_config": None})
    assert report.ok
    assert [report.effective[name] for name in ("grid", "q_chunk_size", "k_chunk_size")] == [(8, 10), 32, 32]
    assert "program_config" in {advice.key for advice in report.warnings}


def test_mesh_axis_of_the_ring() -> None:
    """The first axis as long as the ring; an explicit position needs none."""
    axes = [check(upstream(mesh=mesh)).effective["ring_axis"] for mesh in ((4, 8), (8, 4), (4, 4), None)]
    assert axes == [0, 1, 0, None]
    assert check(upstream(mesh=(8, 4), ring_id=1)).effective["ring_axis"] is None


def test_all_violations_at_once() -> None:
    """Independent mistakes are all listed, those of type and those of rules."""
    report = check(
        upstream(
            ring_size=5,
            kv_heads=3,
            d="128",
            inputs__dtyp="bfloat16",
            q=100,
            k=33,
            grid=[20, 1],
            compute_kernel_config__fp32_dest_acc_en=True,
            kernel="streaming",
            memory_config="l1_block_sharded",
            board="n150",
            q_chunk_size=64,
            attn_mask="mask.npy",
            is_causal=False,
        )
    )
    assert blamed(report) == {
        "ring_size", "inputs.q_heads", "inputs.head_dim", "inputs.dtyp", "inputs.seq_len", "program_config.q_chunk_size",
        "program_config.k_chunk_size", "program_config.compute_with_storage_grid_size", "kernel", "memory_config", "q_chunk_size",
        "attn_mask", "is_causal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("q_chunk_size", "program_config.q_chunk_size"),
        ("program_config.qchunk", "program_config.q_chunk_size"),
        ("inputs.seqlen", "inputs.seq_len"),
        ("boards", "board"),
        ("compute_kernel_config.fp32_dest_acc", "compute_kernel_config.fp32_dest_acc_en"),
        ("page_table", "paged_kv.page_table"),
        ("program_config.math_fidelity", "compute_kernel_config.math_fidelity"),
    ],
)
def test_an_unknown_key_names_the_nearest(typo: str, meant: str) -> None:
    """The user learns which key was meant, even if it lives elsewhere."""
    (violation,) = check(put(upstream(), {typo: 64})).violations
    assert violation.key == typo
    assert violation.message.endswith(f"the nearest is {meant}")


def test_values_must_fit_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers need memory on this computer; cycles alone do not."""
    monkeypatch.setattr(rules, "memory_bytes", lambda: 2**20)
    (violation,) = check(upstream(numerics="fast")).violations
    assert (violation.key, violation.nearest) == ("numerics", ({"numerics": "off"},))
    assert check(upstream(numerics="off")).ok


# -- nothing raises -----------------------------------------------------------------------------------------

WRONG: dict[str, list[Any]] = {
    "ring_size": [0, -4, 3, 7, 33, 34, 10**20, "4", 4.0, None, True, [4]],
    "ring_id": [-1, 4, 99, "0", 1.5],
    "ring_ids": [[4], [-1], [0, 0], [], "none", [0, "1"], 2],
    "mesh": [[3, 3], [8], [0, 4], "8x4", [8, 4, 1], {}],
    "board": ["n151", "", 5, None, "GALAXY"],
    "op": ["sdpa", "chunked_sdpa", "attention", 1],
    "kernel": ["fast", 1],
    "is_causal": [False, "no", 0, None],
    "sliding_window_size": [128, 0, -1, "128", 2.5],
    "inputs.kv_len": [4096, 0, -8192, "8192", 10**30],
    "inputs.kv_dtype": ["bfloat16", "float32", 8],
    "attn_mask": ["mask.npy"],
    "numerics": ["bitwise", "on", False],
    "reference": ["none", 32, True],
    "trace": ["all", True],
    "memory_config": ["l1_height_sharded", "dram_block_sharded", "sram", 3],
    "scale": [float("nan"), float("inf"), "0.1", [1]],
    "queue_id": [-1, "0", 0.5],
    "chunk_start_idx": [-64, 64, 100, 10**18 + 1, "256", 256.0],
    "inputs.seq_len": [0, -8192, 1, 100, 8191, 8200, 8224, 10**9, 10**30, "8192", 8192.0, None, [8192]],
    "inputs.batch": [0, -1, 10**9, "1", 2.5],
    "inputs.q_heads": [0, -8, 10**12, "8", None],
    "inputs.kv_heads": [0, -1, 3, 16, "1", None],
    "inputs.head_dim": [0, -128, 100, 1, 31, 10**7 * 32, "128", None],
    "inputs.dtype": ["float32", "bf16", 8, None, "bfloat8"],
    "inputs.seed": [-1, "x", 0.5],
    "inputs.outliers": [-0.1, 1.1, float("nan"), "0.1"],
    "inputs.q": ["/nowhere/q.npy", 7, "\0"],
    "program_config.q_chunk_size": [0, -32, 1, 31, 33, 100, 96, 1056, 2048, 10**9, "128", 128.0, 2.5, None],
    "program_config.k_chunk_size": [0, -32, 1, 31, 33, 100, 32 * 10**6, "256", 2.5, None],
    "program_config.compute_with_storage_grid_size": [
        [0, 8],
        [-1, 8],
        [9, 8],
        [8, 11],
        [100, 100],
        "8x8",
        [8],
        64,
        [8.0, 8],
        None,
    ],
    "program_config.exp_approx_mode": ["yes", 1, 0],
    "program_config.max_cores_per_head_batch": [0, -1, "16"],
    "program_config.qchunk_size": [128],
    "compute_kernel_config.math_fidelity": ["HiFi5", "hifi4", 4, None],
    "compute_kernel_config.fp32_dest_acc_en": [1, "true", None],
    "compute_kernel_config.fp32_dest_acc": [True],
    "paged_kv.block_size": [0, -64, "64", 64.0],
    "paged_kv.page_table": [7, None, ["identity"]],
    "machine.dram.bank_rat": [30.0],
    "machine.dram.bank_rate": [-1.0, "fast", 0, None],
    "machine.l1.size": [0, 100, "big", 10**5],
    "machine.grid": [[99, 99], [0, 0], "8x8"],
    "inputs": [None, 7, [], "x"],
    "program_config": [7, "default", []],
    "compute_kernel_config": [[], "HiFi2"],
    "paged_kv": [64, "identity"],
    "machine": [7, ["dram"]],
    "sequence": [8192],
    "3": [4],
}


@pytest.mark.parametrize("seed", range(200))
def test_random_illegal_specs_are_refused(seed: int) -> None:
    """One to four random mistakes: each is shown with its value, and what is offered mends a fault and makes none."""
    rng = random.Random(seed)
    mistakes: Raw = {}
    for key in rng.sample(sorted(WRONG), rng.randint(1, 4)):
        if not any(related(key, other) for other in mistakes):
            mistakes[key] = rng.choice(WRONG[key])
    report = check(with_mistakes(mistakes))
    assert not report.ok
    for key, value in mistakes.items():
        others = [other for other in mistakes if other != key]
        assert is_named(report, key, value) or needs_another(key, value, others), (key, value, report.text())
    before = {violation.key for violation in report.violations}
    for violation in report.violations:
        for change in violation.nearest:
            after = check(with_mistakes(mistakes | change)).violations
            assert (violation.key, violation.rule) not in {(v.key, v.rule) for v in after}
            assert {v.key for v in after} <= before | mistakes.keys()


def with_mistakes(mistakes: Raw) -> Raw:
    """Write a spec that is legal but for the mistakes."""
    return put(upstream(mesh=[8, 4]), mistakes)


def related(key: str, other: str) -> bool:
    """Tell whether one key lies in the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def is_named(report: Report, key: str, value: Any) -> bool:
    """Tell whether a message shows a key and its value, as it was written or as a tuple."""
    shown = (value, tuple(value)) if isinstance(value, list) else (value,)
    return any(f"{key} = {v!r}" in violation.message for violation in report.violations for v in shown)


def needs_another(key: str, value: Any, others: list[str]) -> bool:
    """Tell whether a value is wrong only in view of one of `others`, which may be invalid itself, or is not wrong alone."""
    alone = [v for v in check(with_mistakes({key: value})).violations if key in v.found]
    operands = {operand for violation in alone for operand in violation.found if operand != key}
    operands |= {"machine"} if "board" in operands else set()
    operands |= {"op"}  # it chooses the rules
    operands |= {"board", "machine"} if key.startswith("machine.") else set()
    files = any(other == "inputs.q" for other in others) and (key.startswith("inputs.") or operands & set(WRONG))
    return not alone or bool(files) or any(related(operand, other) for operand in operands for other in others)


@pytest.mark.parametrize("seed", range(50))
def test_garbage_is_refused_without_a_traceback(seed: int) -> None:
    """Whatever YAML can hold in whatever place."""
    rng = random.Random(seed)

    def garbage(depth: int = 0) -> Any:
        leaves = [None, True, -1, 0, 7, 1e300, float("nan"), "", "q", "8192", b"\xff", 10**40, {1, 2}]
        if depth > 2 or rng.random() < 0.6:
            return rng.choice(leaves)
        if rng.random() < 0.5:
            return [garbage(depth + 1) for _ in range(rng.randint(0, 3))]
        pool = [*RunSpec.model_fields, *type(BUILT_IN.inputs).model_fields, "files", "x", "a.b", 3, None]
        return {rng.choice(pool): garbage(depth + 1) for _ in range(rng.randint(0, 4))}

    spec = upstream() if rng.random() < 0.5 else {}
    for name in rng.sample([*RunSpec.model_fields], 6):
        spec[name] = garbage()
    report = check(spec)
    assert not report.ok
    assert report.text()
    assert report.model_dump_json()


@pytest.mark.parametrize("source", ["/nowhere/spec.yaml", None, 7, "", b"x", []])
def test_a_spec_that_is_none_is_a_violation(source: Any) -> None:
    """There is a report even without a spec."""
    assert not check(source).ok


def test_absurd_sizes_are_refused_quickly() -> None:
    """A number with many digits is told how much is too much."""
    report = check(upstream(S=10**9, numerics="fast"))
    assert {"inputs.seq_len", "numerics"} <= blamed(report)
    violation = next(v for v in report.violations if "DRAM" in v.rule)
    assert "12,884,901,888" in violation.message


# -- files --------------------------------------------------------------------------------------------------


def files(folder: Path, k: tuple[int, ...] = (1, 1, 1024, 128), v: tuple[int, ...] = (1, 1, 1024, 128)) -> Raw:
    """Write a spec whose inputs are files of ones."""
    for name, sizes in {"q": (1, 8, 1024, 128), "k": k, "v": v}.items():
        np.save(folder / f"{name}.npy", np.ones(sizes, np.float32))
    return upstream() | {"inputs": {name: str(folder / f"{name}.npy") for name in "qkv"}}


def test_files_make_a_legal_spec(tmp_path: Path) -> None:
    """Their shapes are those of the run."""
    report = check(files(tmp_path))
    assert report.ok, report.text()
    assert report.effective["q_chunks"] == 1


@pytest.mark.parametrize(
    ("k", "v", "key"),
    [
        ((1, 1, 2048, 128), (1, 1, 1024, 128), "inputs.k"),
        ((1, 1, 1024, 128), (1, 2, 1024, 128), "inputs.v"),
        ((1, 1, 1024, 128), (1, 1, 1024, 64), "inputs.v"),
        ((2, 1, 1024, 128), (1, 1, 1024, 128), "inputs.k"),
    ],
)
def test_files_must_agree(tmp_path: Path, k: tuple[int, ...], v: tuple[int, ...], key: str) -> None:
    """K and V have q's batch and head_dim, each other's heads, and a row for each of q's."""
    assert blamed(check(files(tmp_path, k, v))) == {key}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_of_files_are_finite(tmp_path: Path, bad: float) -> None:
    """The first bad value is located."""
    spec = files(tmp_path)
    values = np.ones((1, 1, 1024, 128), np.float32)
    values[0, 0, 5, 7] = values[0, 0, 6, 0] = bad
    np.save(spec["inputs"]["v"], values)
    (violation,) = check(spec).violations
    assert violation.key == "inputs.v"
    assert "2 of its values" in violation.message
    assert "(0, 0, 5, 7)" in violation.message


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Every file that cannot be read is listed, with its path; other rules still speak."""
    spec = files(tmp_path) | {"ring_size": 3}
    for name in "qv":
        (tmp_path / f"{name}.npy").unlink()
    report = check(spec)
    assert blamed(report) == {"inputs.q", "inputs.v", "ring_size"}
    assert str(tmp_path / "v.npy") in report.text()


def paged(folder: Path, table: Any) -> Report:
    """Check a run of 1024 rows after 256 through a page table from a file."""
    np.save(folder / "table.npy", table)
    return check(upstream(S=1024, paged_kv={"block_size": 64, "page_table": str(folder / "table.npy")}, chunk_start_idx=256))


def test_a_page_table_file_is_legal(tmp_path: Path) -> None:
    """It may be wider than needed, as caches are."""
    assert paged(tmp_path, np.arange(20, dtype=np.int32)[None]).ok
    assert paged(tmp_path, np.arange(100, 132, dtype=np.int32)[None]).ok


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (np.arange(19, dtype=np.int32)[None], "need 20"),
        (np.arange(20, dtype=np.int64)[None], "int32 is needed"),
        (np.arange(20, dtype=np.float32)[None], "int32 numbers are needed"),
        (np.arange(20, dtype=np.int32), "2 dimensions"),
        (np.arange(40, dtype=np.int32).reshape(2, 20), "1 batches"),
        (np.arange(-1, 19, dtype=np.int32)[None], "block -1"),
        (np.zeros((1, 20), np.int32), "20 times"),
        (np.arange(2**31 - 20, 2**31, dtype=np.int64).astype(np.int32)[None], "DRAM"),
    ],
    ids=["narrow", "int64", "float", "rank", "batch", "negative", "repeated", "far"],
)
def test_a_wrong_page_table_file_is_refused(tmp_path: Path, table: Any, says: str) -> None:
    """Type, rank, rows, width and blocks."""
    report = paged(tmp_path, table)
    assert blamed(report) == {"paged_kv.page_table"}
    assert any(says in violation.message for violation in report.violations)


def test_a_missing_page_table_is_refused() -> None:
    """The path is shown."""
    report = check(upstream(paged_kv={"block_size": 64, "page_table": "/nowhere.npy"}, chunk_start_idx=256))
    assert blamed(report) == {"paged_kv.page_table"}
    assert "/nowhere.npy" in report.text()


# -- advice -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"program_config": None}, "program_config", "32"),
        ({}, "program_config.q_chunk_size", "32 of 64 cores get no Q chunk and idle; no other"),
        (
            {"compute_kernel_config": {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True}},
            "compute_kernel_config.math_fidelity",
            "38306",
        ),
        ({"compute_kernel_config": {"packer_l1_acc": True}}, "compute_kernel_config.packer_l1_acc", "no effect"),
        ({"compute_kernel_config": {"dst_full_sync_en": True}}, "compute_kernel_config.dst_full_sync_en", "no effect"),
        ({"compute_kernel_config": {"throttle_level": "LEVEL_1"}}, "compute_kernel_config.throttle_level", "no effect"),
        ({"program_config.max_cores_per_head_batch": 8}, "program_config.max_cores_per_head_batch", "no effect"),
        ({"program_config.sub_core_grids": [[[0, 0], [3, 3]]]}, "program_config.sub_core_grids", "no effect"),
        ({"program_config.exp_approx_mode": False}, "program_config.exp_approx_mode", "no effect"),
        ({"paged_kv": {"block_size": 64}}, "paged_kv", "no effect"),
        ({"ring_id": 1, "ring_ids": [0]}, "ring_ids", "ring_id 1 wins"),
        ({"program_config.k_chunk_size": 96}, "program_config.k_chunk_size", "leave 32"),
        ({"board": "p100a"}, "ring_size", "has 1 chips"),
        ({"ring_size": 16}, "ring_size", "no row or column of galaxy's 8x4"),
        ({"mesh": [4, 16]}, "mesh", "does not fit"),
        (PAGED | {"inputs.seq_len": 1024}, "paged_kv.block_size", "padded"),
        ({"scale": -1.0}, "scale", "saturates"),
        ({"inputs.seq_len": 2**22}, "inputs.seq_len", "long"),
    ],
    ids=str,
)
def test_advice(changes: Raw, key: str, says: str) -> None:
    """What is legal and yet worth saying."""
    report = check(put(upstream(), changes))
    assert report.ok, report.text()
    assert any(advice.key == key and says in advice.message for advice in report.warnings), report.text()


def test_a_good_spec_gets_no_advice() -> None:
    """Enough work for the grid, chunks that fit, nothing ignored."""
    assert not check(upstream(S=16384)).warnings


def test_the_built_in_example_is_legal() -> None:
    """And shows what the shipped config costs: most of its grid idles."""
    report = check(BUILT_IN)
    assert report.ok
    assert {advice.key for advice in report.warnings} == {
        "compute_kernel_config.math_fidelity", "compute_kernel_config.packer_l1_acc", "program_config.q_chunk_size",
        "compute_kernel_config.fp32_dest_acc_en",
    }  # fmt: skip
    expected = {
        "kernel": "legacy",
        "dst_tiles": 4,
        "active_cores": 16,
        "q_chunks": 4,
        "barrier_threshold": 7,
        "l1_bytes": 866_304,
    }
    assert expected.items() <= report.effective.items()
