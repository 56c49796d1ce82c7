"""Masks, sinks, windows, starts and places of attention's tensors, as upstream's tests give them, against NumPy's attention."""

from typing import Any

import numpy as np
import pytest

from tensix_sim import ttnn
from tensix_sim.ttnn.session import SESSION

sdpa = ttnn.transformer.scaled_dot_product_attention
CONFIG = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=64, k_chunk_size=128, exp_approx_mode=True)


pytestmark = pytest.mark.usefixtures("own_session")


def drawn(
    q_heads: int = 4, kv_heads: int = 2, rows: int = 128, keys: int | None = None, batch: int = 1, d: int = 64
) -> list[Any]:
    """Q, K and V."""
    rng = np.random.default_rng(rows)
    shapes = (q_heads, rows), (kv_heads, keys or rows), (kv_heads, keys or rows)
    return [rng.standard_normal((batch, heads, n, d)).astype(np.float32) for heads, n in shapes]


def put(array: Any, device: Any, dtype: Any = ttnn.bfloat16, layout: Any = ttnn.TILE_LAYOUT, **more: Any) -> ttnn.Tensor:
    """An array on a device."""
    return ttnn.from_torch(array, dtype, layout=layout, device=device, **more)


def attention(q: Any, k: Any, v: Any, mask: Any = 0.0, sinks: Any = None) -> Any:
    """Attention in float64, with a mask on the scaled scores, and sinks as scores that are scaled already."""
    group = q.shape[1] // k.shape[1]
    k, v = (np.repeat(x, group, axis=1).astype(np.float64) for x in (k, v))
    scores = q.astype(np.float64) @ k.swapaxes(2, 3) / q.shape[3] ** 0.5 + mask
    if sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(sinks, (*scores.shape[:3], 1))], axis=3)
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    return (weights / weights.sum(axis=3, keepdims=True))[..., : k.shape[2]] @ v


def pcc(out: ttnn.Tensor, expected: Any) -> float:
    """Correlation of what came out with what should have."""
    return float(np.corrcoef(out.to_numpy().ravel(), expected.ravel())[0, 1])


def windows_as_mask(ends: list[int]) -> Any:
    """0 within a window, -inf without."""
    of = np.searchsorted(ends, np.arange(ends[-1]), side="right")
    return np.where(of[:, None] == of, 0, -np.inf)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerics", ["fast", "exact"])
@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
@pytest.mark.parametrize(
    ("rows", "keys", "of", "hidden", "dtype"),
    [
        (128, 128, (1, 1), -1e9, ttnn.bfloat4_b),  # upstream's own tests
        (64, 256, (2, 1), -np.inf, ttnn.bfloat8_b),
        (100, 77, (1, 4), float(np.finfo(np.float32).min), ttnn.bfloat16),
    ],
)
def test_a_mask_is_added_to_scaled_scores(
    device: Any, kernel: str, numerics: str, rows: int, keys: int, of: tuple[int, int], hidden: float, dtype: Any
) -> None:
    """Of one or of all batches and heads, whatever number hides a key; lengths need fill no tile."""
    ttnn.configure(kernel=kernel, numerics=numerics)
    qkv = drawn(rows=rows, keys=keys, batch=2)
    mask = np.where(np.random.default_rng(1).random((*of, rows, keys)) < 0.25, np.float32(hidden), np.float32(0))
    inputs, given = [put(x, device) for x in qkv], put(mask, device, dtype)
    out = sdpa(*inputs, is_causal=False, attn_mask=given, program_config=CONFIG)
    assert pcc(out, attention(*qkv, mask)) > 0.999
    assert not SESSION.calls[-1].suspect


def test_a_mask_of_biases_is_added_too(device: Any) -> None:
    """As a model with relative positions has it, in bfloat16; it matters."""
    qkv = drawn()
    mask = -0.1 * np.abs(np.subtract.outer(np.arange(128), np.arange(128))).astype(np.float32)[None, None]
    out = sdpa(*(put(x, device) for x in qkv), is_causal=False, attn_mask=put(mask, device), program_config=CONFIG)
    assert pcc(out, attention(*qkv, mask)) > 0.999
    assert pcc(out, attention(*qkv)) < 0.9


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
@pytest.mark.parametrize("window", [None, 48])
def test_a_sink_takes_a_share(device: Any, kernel: str, window: int | None) -> None:
    """It is a score before scaling: models divide what they learned by the scale."""
    ttnn.configure(kernel=kernel)
    qkv, sinks = drawn(), 4 * np.random.default_rng(2).standard_normal((1, 4, 1, 1)).astype(np.float32)
    own, key = np.arange(128)[:, None], np.arange(128)
    mask = np.where((key > own) | (key <= own - (window or 128)), -np.inf, 0)
    given = {"attention_sink": put(sinks * 64**0.5, device), "sliding_window_size": window}
    out = sdpa(*(put(x, device) for x in qkv), is_causal=True, program_config=CONFIG, **given)
    assert pcc(out, attention(*qkv, mask, sinks)) > 0.999
    assert pcc(out, attention(*qkv, mask)) < 0.99


@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_windows_of_tokens(device: Any, kernel: str) -> None:
    """By the argument, and by the op that they had of their own: numbers of a mask that says the same, in fewer K chunks."""
    ttnn.configure(kernel=kernel)
    ends, qkv = [0, 64, 100, 101, 300], drawn(rows=300)
    inputs, windows = [put(x, device) for x in qkv], put(np.array(ends, np.int32), device, ttnn.int32, ttnn.ROW_MAJOR_LAYOUT)
    expected = windows_as_mask(ends)
    out = sdpa(*inputs, is_causal=False, cu_window_seqlens=windows, program_config=CONFIG)
    assert pcc(out, attention(*qkv, expected)) > 0.999
    same = ttnn.transformer.windowed_scaled_dot_product_attention(*inputs, windows, program_config=CONFIG)
    assert np.array_equal(out.to_numpy(), same.to_numpy())
    mask = put(expected[None, None].astype(np.float32), device)
    sdpa(*inputs, is_causal=False, attn_mask=mask, program_config=CONFIG)
    assert SESSION.calls[0].cycles == SESSION.calls[1].cycles < SESSION.calls[2].cycles


@pytest.mark.parametrize("in_l1", ["q", "k", "v", "qkv"])
def test_each_of_q_k_and_v_may_be_in_l1(device: Any, in_l1: str) -> None:
    """Of the plain op; the numbers are the same."""
    qkv = drawn()
    places = [ttnn.L1_MEMORY_CONFIG if name in in_l1 else ttnn.DRAM_MEMORY_CONFIG for name in "qkv"]
    dram, l1 = (
        sdpa(*(put(x, device, memory_config=place) for x, place in zip(qkv, where, strict=True)), program_config=CONFIG)
        for where in ([ttnn.DRAM_MEMORY_CONFIG] * 3, places)
    )
    assert np.array_equal(dram.to_numpy(), l1.to_numpy())


# -- devices, programs, cycles ------------------------------------------------------------------------------------------


def test_devices_have_masks_of_their_own() -> None:
    """Shards of a mask go to their devices; equal ones are simulated once, and all are one program."""
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 2)) as mesh:
        qkv = drawn(rows=64)
        masks = np.where(np.random.default_rng(3).random((2, 1, 64, 64)) < 0.25, np.float32(-np.inf), np.float32(0))
        given = put(masks, mesh, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 0))
        out = sdpa(*(put(x, mesh) for x in qkv), is_causal=False, attn_mask=given, program_config=CONFIG)
        for part, mask in zip(ttnn.get_device_tensors(out), masks, strict=True):
            assert pcc(part, attention(*qkv, mask)) > 0.999
        assert mesh.num_program_cache_entries() == 1


def test_without_numbers_all_takes_the_same_cycles(device: Any) -> None:
    """A mask, a sink and windows cost what they cost, whatever they hold."""
    qkv, costs = drawn(), []
    for numerics in ("fast", "off"):
        ttnn.configure(numerics=numerics)
        SESSION.calls.clear()
        inputs = [put(x, device) for x in qkv]
        mask, sinks = put(np.zeros((1, 1, 128, 128), np.float32), device), put(np.zeros((1, 4, 1, 1), np.float32), device)
        windows = put(np.array([0, 40, 128], np.uint32), device, ttnn.uint32, ttnn.ROW_MAJOR_LAYOUT)
        for more in ({}, {"attn_mask": mask}, {"attention_sink": sinks}, {"cu_window_seqlens": windows}):
            sdpa(*inputs, is_causal=False, program_config=CONFIG, **more)
        costs.append([call.cycles for call in SESSION.calls])
    assert costs[0] == costs[1]
    assert min(costs[0]) == costs[0][0]


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_what_upstream_refuses(device: Any) -> None:
    """In its words where they are known."""
    qkv = [put(x, device) for x in drawn(rows=64)]
    zeros = np.zeros((1, 1, 64, 64), np.float32)
    mask, sinks = put(zeros, device), put(np.zeros((1, 4, 1, 1), np.float32), device)
    windows = put(np.array([0, 64], np.int32), device, ttnn.int32, ttnn.ROW_MAJOR_LAYOUT)
    open_ = {"is_causal": False}
    for words, given in (
        ("is_causal and attn_mask cannot both be present", {"attn_mask": mask}),
        ("a window or a mask, not both", open_ | {"attn_mask": mask, "sliding_window_size": 32}),
        ("it must be tilized", open_ | {"attn_mask": put(zeros, device, layout=ttnn.ROW_MAJOR_LAYOUT)}),
        ("it must be in DRAM", open_ | {"attn_mask": put(zeros, device, memory_config=ttnn.L1_MEMORY_CONFIG)}),
        ("must be on device", open_ | {"attn_mask": ttnn.from_torch(zeros, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT)}),
        ("in BF16, BFP8, or BFP4", open_ | {"attn_mask": put(zeros, device, ttnn.float32)}),
        ("Mask num_heads", open_ | {"attn_mask": put(np.zeros((1, 2, 64, 64), np.float32), device)}),
        ("Mask batch dim", open_ | {"attn_mask": put(np.zeros((3, 1, 64, 64), np.float32), device)}),
        ("Mask sequence length must match K", open_ | {"attn_mask": put(zeros[..., :32], device)}),
        ("Mask sequence length must match Q", open_ | {"attn_mask": put(zeros[:, :, :32], device)}),
        ("must have shape", {"attention_sink": mask}),
        ("attention that is not causal", {"cu_window_seqlens": windows}),
        ("windows of tokens or a sink", open_ | {"cu_window_seqlens": windows, "attention_sink": sinks}),
        ("must be int32 or uint32", open_ | {"cu_window_seqlens": mask}),
        (
            "the last ends with the 64 tokens",
            open_ | {"cu_window_seqlens": put(np.array([0, 32], np.int32), device, ttnn.int32, ttnn.ROW_MAJOR_LAYOUT)},
        ),
        ("beyond bfloat16's", open_ | {"attn_mask": put(zeros + np.float32(np.nan), device)}),
    ):
        with pytest.raises(RuntimeError, match=words):
            sdpa(*qkv, program_config=CONFIG, **given)
    q, k, _ = drawn()
    in_l1 = put(k, device, memory_config=ttnn.L1_MEMORY_CONFIG)
    with pytest.raises(RuntimeError, match=r"takes no k.memory_config"):
        ttnn.transformer.ring_distributed_scaled_dot_product_attention(put(q, device), in_l1, in_l1, 2, 0)
