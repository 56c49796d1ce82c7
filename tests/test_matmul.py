"""Products of matrices on the core grid: the op's own choice, its rules, its numbers and its cycles."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from specification import fpu, packer

from tensix_sim.formats import TILE, to_format
from tensix_sim.matmul import MatmulConfig, MatmulSpec, simulate
from tensix_sim.matmul.choice import chosen
from tensix_sim.matmul.geometry import MatmulGeometry
from tensix_sim.matmul.program import nocs, ways
from tensix_sim.matmul.rules import GRID, check, faults
from tensix_sim.matmul.run import drawn

SMALL = {"kind": "2d", "compute_with_storage_grid_size": (3, 2), "in0_block_w": 2, "per_core_M": 2, "per_core_N": 3}
SMALL |= {"out_subblock_h": 1, "out_subblock_w": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "2d": SMALL,
    "2d in blocks": SMALL | {"out_block_h": 1, "out_block_w": 1, "out_subblock_w": 1},
    "1d, A multicast": SMALL | {"kind": "1d", "per_core_M": 4, "per_core_N": 2, "out_subblock_w": 2, "out_subblock_h": 2},
    "1d, B multicast": SMALL | {"kind": "1d", "per_core_M": 1, "per_core_N": 9, "mcast_in0": False, "out_subblock_w": 3},
    "reuse": SMALL | {"kind": "reuse", "per_core_M": 2, "per_core_N": 3},
    "no reuse": {"kind": "multi_core", "compute_with_storage_grid_size": (3, 2)},
}


def small(config: str = "2d", **more: Any) -> MatmulSpec:
    """4x8 by 8x9 tiles on 3x2 cores of an n150."""
    given = {"m": 4 * TILE, "k": 8 * TILE, "n": 9 * TILE, "program_config": CONFIGS[config]}
    return MatmulSpec.model_validate(given | more)


def compute(**more: Any) -> dict[str, Any]:
    """A compute config that is as accurate as it gets, but for what is said."""
    return {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True, "packer_l1_acc": True} | more


def float64(spec: MatmulSpec) -> Any:
    """The product of what a spec draws, from the values that its formats hold."""
    a, b, bias = drawn(spec)
    in0, in1, _ = spec.formats
    a, b = (to_format(np.ascontiguousarray(x), fmt).astype(np.float64) for x, fmt in ((a, in0), (b, in1)))
    whole = (a.swapaxes(1, 2) if spec.transpose_a else a) @ (b.swapaxes(1, 2) if spec.transpose_b else b)
    whole = whole if bias is None else whole + to_format(np.pad(bias, (0, -len(bias) % TILE)), in1)[: len(bias)]
    return np.maximum(whole, 0) if spec.activation else whole


def relative(made: Any, wanted: Any) -> float:
    """Relative L2 error."""
    return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
def test_every_program_gives_float64s_product(config: str) -> None:
    """HiFi4, 32-bit DST and partial sums: what is left is the rounding to bfloat16, 2^-9 at most, of each element."""
    spec = small(config, numerics="fast", compute_kernel_config=compute())
    made, wanted = simulate(spec).output, float64(spec)
    assert made is not None
    assert relative(made, wanted) < 2**-9
    assert np.abs(made - wanted).max() < np.abs(wanted).max() * 2**-8


OPTIONS: dict[str, dict[str, Any]] = {
    "ragged": {"m": 100, "k": 8 * TILE, "n": 270},
    "a bias": {"bias": True},
    "a bias of each block": {"bias": True, "program_config": CONFIGS["2d in blocks"]},
    "a bias and a function": {"bias": True, "activation": "relu"},
    "a function": {"activation": "relu"},
    "A transposed": {"transpose_a": True},
    "B transposed": {"transpose_b": True},
    "A transposed, of batches": {"transpose_a": True, "batch": 2, "b_batch": 2},
    "batches": {"batch": 3, "b_batch": 3},
    "batches of A": {"batch": 3},
    "batches of A, fused": {"batch": 2, "program_config": SMALL | {"fuse_batch": True, "per_core_M": 4}},
    "batches of B": {"b_batch": 3, "program_config": CONFIGS["1d, B multicast"]},
    "batches apart": {"batch": 2, "b_batch": 2, "program_config": CONFIGS["reuse"]},
    "batches without reuse": {"batch": 2, "b_batch": 2, "program_config": CONFIGS["no reuse"]},
    "its own choice": {"program_config": None},
    "its own choice for a grid": {"program_config": None, "core_grid": (3, 2)},
    "no accumulation in L1": {"compute_kernel_config": compute(packer_l1_acc=False)},
    "one step": {"k": 2 * TILE},
    "two steps": {"k": 4 * TILE},
    "L1": {"in0_memory": "l1", "out_memory": "l1"},
    "Blackhole": {"board": "p150b"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_change_what_float64_says_they_change(options: dict[str, Any]) -> None:
    """Shapes, batches, bias, functions, transposed sides, ways to add up: to 2^-8; and without numbers the same cycles."""
    spec = small(**{"numerics": "fast", "compute_kernel_config": compute()} | options)
    run = simulate(spec)
    assert run.output is not None
    assert relative(run.output, float64(spec)) < 2**-8
    assert simulate(spec.model_copy(update={"numerics": "off"})).cycles == run.cycles


@pytest.mark.parametrize(("fmt", "bound"), [("bfloat8_b", 2**-6), ("bfloat4_b", 2**-2)])
def test_block_formats_round_the_product_to_their_bits(fmt: str, bound: float) -> None:
    """Of A, B and C; a group shares the exponent of its largest element."""
    spec = small(numerics="fast", in0_dtype=fmt, in1_dtype=fmt, compute_kernel_config=compute(fp32_dest_acc_en=False))
    run = simulate(spec)
    assert run.output is not None
    assert relative(run.output, float64(spec)) < bound


def test_fidelity_loses_bits_of_the_operands() -> None:
    """LoFi multiplies 5 bits by 7, HiFi2 and HiFi4 more: each is several times as exact as the one before."""
    errors = []
    for fidelity in ("LoFi", "HiFi2", "HiFi4"):
        spec = small(numerics="fast", out_dtype="float32", compute_kernel_config=compute(math_fidelity=fidelity))
        errors.append(relative(simulate(spec).output, float64(spec)))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("wide", [False, True])
def test_exact_is_the_specification(wide: bool) -> None:
    """Some elements again in Python integers: the packer adds up the first three of four steps, the last starts from that."""
    spec = small(numerics="exact", compute_kernel_config=compute(math_fidelity="HiFi2", fp32_dest_acc_en=wide))
    made = simulate(spec).output
    assert made is not None
    a, b, _ = (None if x is None else to_format(x[0], spec.formats[0]) for x in drawn(spec))
    for i, j in ((0, 0), (37, 100), (127, 287)):
        assert made[0, i, j].view(np.uint32) == element(
            a[i].view(np.uint32).tolist(), b[:, j].copy().view(np.uint32).tolist(), wide
        )


def element(row: list[int], column: list[int], wide: bool) -> int:
    """The pattern of one element, of steps of 64."""
    sums = 0
    for k in range(0, len(row), 64):
        last, start = k + 64 == len(row), sums & (0xFFFFE000 if wide else 0xFFFF0000)
        made = fpu.matmul(row[k : k + 64], column[k : k + 64], 2, wide, True, start if k + 64 == len(row) else 0)
        if last:
            return packer.pack_bf16(made)
        made = made if wide else packer.pack_bf16(made)
        add_up = packer.accumulate_fp32 if wide else packer.accumulate_bf16
        sums = add_up(sums, made) if k else made
    raise AssertionError


# -- cycles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
def test_bytes_of_memory_are_those_of_the_algorithm(config: str) -> None:
    """Each block of A once for each block of columns, of B once for each of rows, by those who read it; C once."""
    spec = small(config)
    g, traffic = MatmulGeometry.of(spec), simulate(spec).traffic
    mt, kt, nt = spec.tiles
    rows, cols = (4, 9) if config == "no reuse" else (1, 1)
    if config != "no reuse":
        oh, ow, *_ = g.block
        read_by_all = {"reuse": (2, 3), "1d, A multicast": (1, 2), "1d, B multicast": (4, 1)}
        rows, cols = -(-min(mt, g.config.per_core_M) // oh), -(-min(nt, g.config.per_core_N) // ow)
        if config == "reuse":
            rows, cols = read_by_all[config]
    assert traffic.dram_read_bytes == (cols * mt * kt + rows * kt * nt) * 2048
    assert traffic.dram_write_bytes == mt * nt * 2048


def test_the_fpu_works_on_padding_too() -> None:
    """A core's whole share is computed: fewer valid rows, the same FPU cycles; and no more is read or written."""
    full, ragged = (simulate(small(m=rows)) for rows in (4 * TILE, 3 * TILE))
    assert ragged.traffic.dram_write_bytes < full.traffic.dram_write_bytes
    assert ragged.cores == full.cores
    assert ragged.cycles > 0.8 * full.cycles


ONE_CORE = {"kind": "2d", "compute_with_storage_grid_size": (1, 1), "in0_block_w": 16, "per_core_M": 2, "per_core_N": 4}
FREE = {
    "dram.bank_rate": 4096.0,
    "noc.link_rate": 4096.0,
    "noc.niu_rate": 4096.0,
    "noc.read_issue_cycles": 0,
    "noc.page_cycles": 0,
}


def one_core(h: int, w: int, fidelity: str, **more: Any) -> int:
    """Cycles of 2x4 tiles on one core, in 16 steps of 16 inner tiles, from memory that costs nothing."""
    config = ONE_CORE | {"out_subblock_h": h, "out_subblock_w": w}
    kernel = compute(math_fidelity=fidelity, fp32_dest_acc_en=False)
    shape = {"m": 2 * TILE, "n": 4 * TILE, "k": 256 * TILE}
    return simulate(small(**shape, program_config=config, compute_kernel_config=kernel, machine=FREE, **more)).cycles


def test_larger_subblocks_save_unpacking() -> None:
    """HiFi2 waits for SrcA and SrcB: a subblock 2x4 loads 6 tiles for 8 products, 1x1 loads 2 for 1."""
    assert one_core(2, 4, "HiFi2") < one_core(1, 1, "HiFi2")


def test_a_core_whose_memory_is_free_takes_what_its_fpu_takes() -> None:
    """64 cycles a product at HiFi4 and 3 of issue; beside that each step waits until it is packed, a thousand cycles or so."""
    products = 2 * 4 * 256
    assert products * 64 < one_core(2, 4, "HiFi4") < products * 67 + 17 * 1200


# -- who does what -----------------------------------------------------------------------------------------------------


def test_a_row_gets_a_from_its_first_core_and_a_column_b() -> None:
    """2-D: core (0, 0) sends both; receivers in the far half of the columns, but not in the first row, swap NoCs."""
    g = MatmulGeometry.of(small())
    assert [ways(g, core)[0].sender for core in ((0, 0), (1, 0), (2, 1))] == [None, (0, 0), (0, 1)]
    assert [ways(g, core)[1].sender for core in ((0, 0), (0, 1), (2, 1))] == [None, (0, 0), (2, 0)]
    assert ways(g, (0, 1))[0].receivers == ((1, 1), (2, 1))
    assert {core: nocs(g, core) for core in g.shares if nocs(g, core) != (1, 0)} == {(2, 1): (0, 1)}


def test_one_dimension_multicasts_one_side() -> None:
    """Core (0, 0) to all others with work; each of them reads the other side for itself."""
    g = MatmulGeometry.of(small("1d, A multicast"))
    assert len(g.shares) == 5
    assert ways(g, (0, 0))[0].receivers == ((1, 0), (2, 0), (0, 1), (1, 1))
    assert ways(g, (1, 1)) == (ways(g, (2, 0))[0], ways(g, (0, 0))[1])
    b = MatmulGeometry.of(small("1d, B multicast"))
    assert ways(b, (2, 0))[1].sender == (0, 0)
    assert ways(b, (2, 0))[0].sender is None


def test_partial_sums_lie_where_the_output_will_if_formats_agree() -> None:
    """bfloat16 beside bfloat16 takes no L1 of its own, float32 does; A and B have two blocks each."""
    sums = {wide: MatmulGeometry.of(small(compute_kernel_config=compute(fp32_dest_acc_en=wide))) for wide in (False, True)}
    size = {wide: {buffer.name: buffer.bytes for buffer in g.buffers} for wide, g in sums.items()}
    assert size[False] == {"in0": 2 * 4 * 2048, "in1": 2 * 6 * 2048, "out": 6 * 2048, "partials": 0}
    assert size[True]["partials"] == 6 * 4096


# -- the op's own choice ---------------------------------------------------------------------------------------------------

# tt-metal tech_reports/GEMM_FLOPS, out of the box on an n150: (M, K, N), format, then what the rule gives
OUT_OF_BOX = [
    ((512, 512, 512), "bfloat16", ("2d", 2, 2, 2), (2, 2), (2, 2)),
    ((512, 1024, 1024), "bfloat16", ("1d", 16, 1, 2), (8, 1), (16, 1)),
    ((512, 1024, 2048), "bfloat16", ("1d", 16, 1, 2), (8, 1), (16, 1)),
    ((1024, 1024, 1024), "bfloat16", ("2d", 4, 4, 4), (4, 2), (4, 4)),
    ((1024, 2048, 2048), "bfloat16", ("2d", 4, 8, 8), (4, 2), (4, 8)),
    ((2048, 3072, 3072), "bfloat16", ("2d", 8, 12, 12), (4, 2), (8, 12)),
    ((3072, 3072, 3072), "bfloat16", ("2d", 12, 12, 12), (2, 4), (6, 12)),
    ((3072, 3072, 4096), "bfloat16", ("2d", 12, 16, 12), (4, 2), (12, 8)),
    ((4096, 4096, 4096), "bfloat16", ("2d", 16, 16, 16), (4, 2), (8, 8)),
    ((3072, 3072, 3072), "bfloat8_b", ("2d", 12, 12, 12), (4, 2), (12, 12)),
    ((3072, 4096, 4096), "bfloat8_b", ("2d", 12, 16, 16), (4, 2), (12, 8)),
]


@pytest.mark.parametrize(("shape", "fmt", "kind", "sub", "block"), OUT_OF_BOX)
def test_the_simple_rule_chooses_what_was_run(
    shape: tuple[int, int, int], fmt: str, kind: tuple[str, int, int, int], sub: tuple[int, int], block: tuple[int, int]
) -> None:
    """Beside the published configs, the trap of 16 rows of tiles included."""
    m, k, n = shape
    c = chosen(MatmulSpec.model_validate({"m": m, "k": k, "n": n, "in0_dtype": fmt, "in1_dtype": fmt}))
    assert (c.kind, c.per_core_M, c.per_core_N, c.in0_block_w) == kind
    assert (c.out_subblock_h, c.out_subblock_w) == sub
    assert c.out_block == block


def test_a_vision_towers_grid_gives_48_cores() -> None:
    """576x1024x3072 on 8x8 with a 32-bit DST: 3x12 tiles a core, steps of 4, subblocks 1x4, six rows of cores."""
    spec = MatmulSpec(
        m=576, k=1024, n=3072, core_grid=(8, 8), compute_kernel_config=small(compute_kernel_config=compute()).compute
    )
    c = chosen(spec)
    assert (c.per_core_M, c.per_core_N, c.in0_block_w, c.out_subblock_h, c.out_subblock_w) == (3, 12, 4, 1, 4)
    assert c.fuse_batch
    assert len(MatmulGeometry.of(spec).shares) == 48


CHOICES: list[tuple[dict[str, Any], str, str]] = [
    ({"m": 128, "k": 2048, "n": 5120, "board": "p150b"}, "1d", "the published ones of 110 cores, 80 with work"),
    ({"m": 4096, "k": 512, "n": 64}, "1d", "tall"),
    ({"m": 4096, "k": 4096, "n": 4096, "in0_memory": "l1"}, "multi_core", "some in L1, and more blocks than cores"),
    ({"m": 32, "k": 512, "n": 64, "b_batch": 4}, "1d", "one A for several B"),
    ({"m": 256, "k": 64, "n": 256, "batch": 8, "b_batch": 8, "core_grid": (8, 8)}, "reuse", "batches on a grid"),
    ({"m": 256, "k": 64, "n": 256, "batch": 8, "b_batch": 8}, "2d", "batches in DRAM"),
]


@pytest.mark.parametrize(("given", "kind", "why"), CHOICES, ids=[one[2] for one in CHOICES])
def test_other_shapes_get_other_programs(given: dict[str, Any], kind: str, why: str) -> None:
    """By the rules' words; all of them legal."""
    spec = MatmulSpec.model_validate(given)
    assert chosen(spec).kind == kind
    assert faults(spec) == []


def test_the_default_fidelity_depends_on_whether_blocks_are_given() -> None:
    """HiFi2 if neither config nor grid is given, else LoFi (tt-metal #55889)."""
    assert small(program_config=None).compute.math_fidelity == "HiFi2"
    assert small().compute.math_fidelity == "LoFi"
    assert small(program_config=None, core_grid=(2, 2)).compute.math_fidelity == "LoFi"


# -- rules ---------------------------------------------------------------------------------------------------------------


def but(**changes: Any) -> Callable[[], MatmulSpec]:
    """The small 2-D product with fields of its config replaced."""
    return lambda: small(program_config=SMALL | changes)


@dataclass(frozen=True)
class Broken:
    """A spec, the blamed key, words of the rule, and the nearest legal value of the key."""

    spec: Callable[[], MatmulSpec]
    key: str
    words: str
    nearest: Any = None


C = "program_config."
BROKEN = {
    "inner tiles left over": Broken(but(in0_block_w=3), C + "in0_block_w", "divides the 8 inner tiles; 2 left over", 2),
    "subblock rows": Broken(but(per_core_M=3, out_subblock_h=2), C + "out_subblock_h", "divides the 3 rows of a block", 1),
    "subblock columns": Broken(but(out_subblock_w=2), C + "out_subblock_w", "divides the 3 columns", 1),
    "block rows": Broken(but(per_core_M=4, out_block_h=3), C + "out_block_h", "divides per_core_M; 1 of 4", 2),
    "block columns": Broken(but(out_block_w=2), C + "out_block_w", "divides per_core_N", 1),
    "DST": Broken(but(per_core_M=4, out_subblock_h=4), C + "out_subblock_w", "4x3 = 12 tiles; DST holds 8", 1),
    "too few columns of cores": Broken(but(per_core_N=2, out_subblock_w=1), C + "per_core_N", "5 columns of cores", 3),
    "too few rows of cores": Broken(but(per_core_M=1), C + "per_core_M", "4 rows of cores; the grid has 2", 2),
    "a grid off the board": Broken(but(compute_with_storage_grid_size=(9, 8)), GRID, "n150 has 8x8", (8, 8)),
    "rows where A is multicast": Broken(but(kind="1d"), C + "per_core_M", "every core has all 4 rows", 4),
    "shards in columns": Broken(but(transpose_mcast=True), C + "transpose_mcast", "not modelled", False),
    "parts of a matrix": Broken(but(kind="reuse", per_core_M=3), C + "per_core_M", "divides the 4 rows of a matrix", 2),
    "fused batches of B": Broken(
        lambda: small(batch=2, b_batch=2, program_config=SMALL | {"fuse_batch": True, "per_core_M": 4}),
        C + "fuse_batch", "take one B", False,
    ),
    "other batches": Broken(lambda: small(batch=2, b_batch=3), "b_batch", "as many, or one B for all", 2),
    "one A for several B": Broken(lambda: small(b_batch=2), "batch", "takes a 1-D config"),
    "a grid beside a config": Broken(lambda: small(core_grid=(2, 2)), "core_grid", "leave it out"),
    "L1": Broken(
        lambda: MatmulSpec.model_validate(
            {"m": 8192, "k": 4096, "n": 8192, "program_config": {
                "kind": "2d", "compute_with_storage_grid_size": (8, 8), "in0_block_w": 8, "per_core_M": 32, "per_core_N": 32,
                "out_subblock_h": 2, "out_subblock_w": 4}},
        ),
        C + "in0_block_w", "B too many",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_told_with_the_nearest_legal_value(broken: Broken) -> None:
    """By key, in the rule's words; what is offered heals the fault, and runs if nothing else was wrong."""
    spec = broken.spec()
    found = [one for one in check(spec) if one.key == broken.key]
    assert found, check(spec)
    assert broken.words in found[0].message
    if broken.nearest is not None:
        assert found[0].nearest[0][broken.key] == broken.nearest


def test_what_fits_is_offered_where_l1_is_too_small() -> None:
    """A smaller block with a subblock that divides it, and then there is no fault."""
    (fault,) = check(BROKEN["L1"].spec())
    assert fault.nearest
    for change in fault.nearest:
        config = BROKEN["L1"].spec().program_config
        assert config is not None
        values = {key.removeprefix("program_config."): value for key, value in change.items()}
        healed = (
            BROKEN["L1"].spec().model_copy(update={"program_config": MatmulConfig.model_validate(config.model_dump() | values)})
        )
        assert faults(healed) == []


def test_a_bad_spec_never_raises() -> None:
    """Wrong types, names and boards are violations."""
    for raw in ({}, {"m": 0, "k": 32, "n": 32}, {"m": 32, "k": 32, "n": 32, "board": "n15"}, {"m": 32, "k": 32, "n": 32, "x": 1}):
        assert check(raw)
    wrong = check({"m": 32, "k": 32, "n": 32, "program_config": {"kind": "3d", "compute_with_storage_grid_size": [1, 1]}})
    assert wrong[0].key == "program_config.kind"
