"""ttnn's ops around attention: their cycles are those of the program that moves such tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensix_sim.ttnn as ttnn
from tensix_sim import movers
from tensix_sim.arch import machine
from tensix_sim.program import Program
from tensix_sim.ttnn.session import SESSION

N150 = machine("n150")
BF16, BFP8 = "bfloat16", "bfloat8_b"


@pytest.fixture(autouse=True)
def _board() -> Iterator[None]:
    """An n150, cycles only, and nothing remembered."""
    before = (SESSION.settings.board, SESSION.settings.numerics)
    ttnn.configure(board="n150", numerics="off")
    SESSION.calls.clear()
    yield
    ttnn.configure(board=before[0], numerics=before[1])


def shaped(device: Any, *shape: int, dtype: Any = ttnn.bfloat16, **more: Any) -> Any:
    """A tensor in tiles on a device."""
    return ttnn.from_numpy(np.empty(shape, np.float32), dtype, layout=ttnn.TILE_LAYOUT, device=device, **more)


def last_is(program: Program) -> bool:
    """Whether the last op took what a program takes."""
    return SESSION.calls[-1].cycles == movers.cycles(N150, program)


def test_heads_and_rotation_take_what_their_programs_do() -> None:
    """Shapes in tiles: S 90 is 3 rows of them; K's transpose is within the op that makes heads."""
    with ttnn.manage_device(0) as device:
        x, joined = shaped(device, 2, 4, 90, 64), shaped(device, 2, 1, 90, 384)
        ttnn.experimental.nlp_concat_heads(x)
        assert last_is(movers.concat_heads(N150, 3, 4, 2, BF16, 2))
        for turn, heads in ((False, (0, 0)), (True, (4, 5))):
            ttnn.experimental.nlp_create_qkv_heads(joined, num_heads=4, num_kv_heads=1, transpose_k_heads=turn)
            assert last_is(movers.create_heads(N150, 3, 6, 2, BF16, 2, heads))
        tables, matrix = [shaped(device, 1, 1, 96, 64) for _ in range(2)], shaped(device, 1, 1, 32, 32)
        ttnn.experimental.rotary_embedding_llama(x, *tables, matrix)
        assert last_is(movers.rotary(N150, 2, 4, 3, 2, BF16))
        assert [call.op for call in SESSION.calls] == [
            "nlp_concat_heads", "nlp_create_qkv_heads", "nlp_create_qkv_heads", "rotary_embedding_llama",
        ]  # fmt: skip


def test_sums_products_and_casts_take_what_their_programs_do() -> None:
    """Of two tensors, of a row that serves all rows, of a number, in two formats; from L1 or to it."""
    with ttnn.manage_device(0) as device:
        x, row = shaped(device, 1, 2, 64, 64), shaped(device, 1, 1, 1, 64)
        ttnn.add(x, x)
        assert last_is(movers.binary(N150, 8, (BF16, BF16, BF16)))
        ttnn.multiply(x, row, dtype=ttnn.bfloat8_b)
        assert last_is(movers.binary(N150, 8, (BF16, BF16, BFP8), True, (8, 2)))
        ttnn.subtract(x, 1.0)
        assert last_is(movers.unary(N150, 8, "add", (BF16, BF16)))
        ttnn.typecast(x, ttnn.bfloat8_b)
        assert last_is(movers.unary(N150, 8, "copy", (BF16, BFP8)))
        within = ttnn.to_memory_config(x, ttnn.L1_MEMORY_CONFIG)
        assert last_is(movers.copy(N150, 8, BF16, ("dram", "l1")))
        ttnn.transpose(within, 2, 3)
        assert last_is(movers.unary(N150, 8, "copy", (BF16, BF16), ("l1", "l1")))
        before = len(SESSION.calls)
        assert ttnn.to_memory_config(x, ttnn.DRAM_MEMORY_CONFIG) is x
        assert len(SESSION.calls) == before


def test_norms_take_what_their_programs_do() -> None:
    """With what stands beside x; a wide DST halves a portion, and a row that L1 does not hold has no cycles here."""
    with ttnn.manage_device(0) as device:
        x, row = shaped(device, 1, 1, 64, 256), shaped(device, 1, 1, 1, 256)
        ttnn.rms_norm(x, weight=row, epsilon=1e-5)
        assert last_is(movers.norm(N150, 2, 8, BF16))
        ttnn.layer_norm(x, weight=row, bias=row, residual_input_tensor=x)
        assert last_is(movers.norm(N150, 2, 8, BF16, True, beside=("weight", "bias", "residual")))
        narrow = SESSION.calls[-1].cycles
        config = ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi2, fp32_dest_acc_en=True)
        ttnn.layer_norm(x, weight=row, bias=row, residual_input_tensor=x, compute_kernel_config=config)
        assert (SESSION.calls[-1].cycles or 0) > (narrow or 0) > 0
        ttnn.rms_norm(shaped(device, 1, 1, 32, 16384))
        assert SESSION.calls[-1].cycles is None


def test_what_has_no_such_program_says_so() -> None:
    """A column that is added, float32, functions on the way, tensors in rows."""
    with ttnn.manage_device(0) as device:
        x, wide = shaped(device, 1, 1, 64, 64), shaped(device, 1, 1, 64, 64, dtype=ttnn.float32)
        ttnn.add(x, shaped(device, 1, 1, 64, 1))
        ttnn.add(wide, wide)
        ttnn.multiply(x, x, activations=["relu"])
        ttnn.typecast(ttnn.to_layout(x, ttnn.ROW_MAJOR_LAYOUT), ttnn.float32)
        assert [call.cycles for call in SESSION.calls] == [None] * 4


def test_halves_of_rows_are_turned() -> None:
    """x cos + (-x2, x1) sin by NumPy; in cycles of the older op's program, of a row of tiles too many in the tables."""
    ttnn.configure(numerics="fast")
    draw = np.random.default_rng(0)
    x, cos, sin = (draw.standard_normal((1, heads, rows, 64), np.float32) for heads, rows in ((2, 96), (1, 128), (1, 128)))
    with ttnn.manage_device(0) as device:
        given = [ttnn.from_numpy(one, ttnn.float32, layout=ttnn.TILE_LAYOUT, device=device) for one in (x, cos, sin)]
        made = ttnn.experimental.rotary_embedding(*given)
        halves = np.concatenate([-x[..., 32:], x[..., :32]], axis=-1)
        assert np.allclose(made.to_numpy(), x * cos[:, :, :96] + halves * sin[:, :, :96], atol=1e-6)
        assert last_is(movers.rotary_halves(N150, 2, 3, 2, "float32"))
        with pytest.raises(RuntimeError, match="halves must be whole tiles"):
            ttnn.experimental.rotary_embedding(shaped(device, 1, 1, 32, 32), *given[1:])


def test_weights_are_turned_and_tensors_stay_where_they_are() -> None:
    """A torch layer's weight is [out, in], ttnn's [in, out]; to give a tensor other memory is a copy only if it is elsewhere."""
    ttnn.configure(numerics="fast")
    weight, bias = np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(3, dtype=np.float32)
    made = ttnn.model_preprocessing.preprocess_linear_weight(weight, dtype=ttnn.bfloat16)
    assert np.array_equal(made.to_numpy(), weight.T)
    assert ttnn.model_preprocessing.preprocess_linear_bias(bias, dtype=ttnn.bfloat16).shape == [1, 3]
    with ttnn.manage_device(0) as device:
        x = shaped(device, 32, 32)
        assert ttnn.reallocate(x) is x
        assert ttnn.reallocate(x, ttnn.L1_MEMORY_CONFIG).memory_config() == ttnn.L1_MEMORY_CONFIG
