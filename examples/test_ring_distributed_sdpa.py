"""Tests as upstream writes them: nothing but ttnn, torch, pytest and upstream's helpers.

python -m tensix_sim.ttnn -- pytest examples/test_ring_distributed_sdpa.py
"""

import pytest
import torch
import ttnn
from loguru import logger
from models.common.utility_functions import skip_for_blackhole
from tests.tt_eager.python_api_testing.sweep_tests.comparison_funcs import comp_pcc

HEADS, KV_HEADS, WIDTH, RING = 8, 1, 128, 4
SHORT = list(range(1024, 16385, 1024))
LONG = [32768, 65536, 131072]


def fa_rand(*shape):
    """Normal numbers with a few large ones."""
    return torch.randn(shape) + torch.randn(shape) * 10 * torch.bernoulli(torch.full(shape, 0.001))


def slabs(outputs):
    """Outputs of the devices of a ring, [B, NQH, S / R, DH] each, in sequence order."""
    halves = [torch.chunk(output, 2, dim=2) for output in outputs]
    return torch.cat([front for front, _ in halves] + [back for _, back in reversed(halves)], dim=2)


def configs(device, q_chunk_size, k_chunk_size):
    """Chunk sizes on the whole grid, and HiFi2."""
    program_config = ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=device.compute_with_storage_grid_size(),
        q_chunk_size=q_chunk_size,
        k_chunk_size=k_chunk_size,
        exp_approx_mode=True,
    )
    compute_kernel_config = ttnn.init_device_compute_kernel_config(
        device.arch(),
        math_fidelity=ttnn.MathFidelity.HiFi2,
        math_approx_mode=True,
        fp32_dest_acc_en=False,
        packer_l1_acc=False,
    )
    return {"program_config": program_config, "compute_kernel_config": compute_kernel_config}


def check(golden, computed, pcc=0.99):
    """Both must correlate."""
    passed, message = comp_pcc(golden, computed, pcc)
    logger.debug(f"python vs device: {message}")
    assert passed, message


def paged(cache, page_table, block_size):
    """Rows [B, heads, S, DH] as blocks [blocks, heads, block_size, DH], in the order of the page table."""
    b, heads, _, width = cache.shape
    blocks = cache.reshape(b, heads, -1, block_size, width).transpose(1, 2).reshape(-1, heads, block_size, width)
    shuffled = torch.empty_like(blocks)
    shuffled[page_table.reshape(-1).long()] = blocks
    return shuffled


@skip_for_blackhole("written for Wormhole")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dtype", [ttnn.bfloat8_b], ids=["bfp8"])
@pytest.mark.parametrize("q_chunk_size", [96, 128, 192, 256], ids=lambda n: f"q{n}")
@pytest.mark.parametrize("k_chunk_size", [128, 256], ids=lambda n: f"k{n}")
@pytest.mark.parametrize("s", SHORT + LONG, ids=lambda n: f"s{n}")
def test_ring_distributed_sdpa(device, s, q_chunk_size, k_chunk_size, dtype):
    """Each position of the ring, one after the other on one device, against torch."""
    if s // (2 * RING) % q_chunk_size:
        pytest.skip("a slab is not whole Q chunks")
    torch.manual_seed(1234)
    Q, K, V = fa_rand(1, HEADS, s, WIDTH), fa_rand(1, KV_HEADS, s, WIDTH), fa_rand(1, KV_HEADS, s, WIDTH)
    tt_q, tt_k, tt_v = (ttnn.from_torch(x, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, pad_value=0.0) for x in (Q, K, V))
    outputs = []
    for ring_id in range(RING):
        out = ttnn.transformer.ring_distributed_scaled_dot_product_attention(
            tt_q, tt_k, tt_v, ring_size=RING, ring_id=ring_id, **configs(device, q_chunk_size, k_chunk_size)
        )
        outputs.append(ttnn.to_torch(out))
    assert device.num_program_cache_entries() == RING
    golden = torch.nn.functional.scaled_dot_product_attention(
        Q, K.repeat_interleave(HEADS, dim=1), V.repeat_interleave(HEADS, dim=1), is_causal=True
    )
    check(golden, slabs(outputs))


@pytest.mark.parametrize("block_size", [64], ids=["block64"])
@pytest.mark.parametrize("prefix", [0, 64, 128, 256, 512], ids=lambda n: f"prefix{n}")
@pytest.mark.parametrize(("q_chunk_size", "k_chunk_size"), [(64, 64), (64, 512), (256, 64)], ids=lambda n: str(n))
@pytest.mark.parametrize("s", [1024, 2048], ids=lambda n: f"s{n}")
def test_ring_distributed_sdpa_prefix(device, s, q_chunk_size, k_chunk_size, prefix, block_size):
    """New rows behind a prefix in a paged cache, against chunked SDPA and torch."""
    if prefix % q_chunk_size or (prefix + s) % k_chunk_size or s // (2 * RING) % q_chunk_size:
        pytest.skip("chunks do not divide prefix, slab or cache")
    torch.manual_seed(1234)
    total = prefix + s
    Q, K, V = fa_rand(1, HEADS, total, WIDTH), fa_rand(1, KV_HEADS, total, WIDTH), fa_rand(1, KV_HEADS, total, WIDTH)
    page_table = torch.randperm(total // block_size, dtype=torch.int32).reshape(1, -1)
    tt_q = ttnn.Tensor(Q[:, :, prefix:], ttnn.bfloat8_b).to(ttnn.TILE_LAYOUT).to(device)
    tt_k, tt_v = (ttnn.Tensor(paged(x, page_table, block_size), ttnn.bfloat8_b).to(ttnn.TILE_LAYOUT).to(device) for x in (K, V))
    tt_table = ttnn.Tensor(page_table, ttnn.int32).to(device)
    more = configs(device, q_chunk_size, k_chunk_size)
    outputs = [
        ttnn.transformer.ring_distributed_scaled_dot_product_attention(
            tt_q, tt_k, tt_v, ring_size=RING, ring_id=ring_id, page_table=tt_table, chunk_start_idx=prefix, **more
        )
        for ring_id in range(RING)
    ]
    computed = slabs([ttnn.to_torch(output) for output in outputs])
    baseline = ttnn.transformer.chunked_scaled_dot_product_attention(tt_q, tt_k, tt_v, tt_table, prefix, **more)
    check(ttnn.to_torch(baseline), computed)
    golden = torch.nn.functional.scaled_dot_product_attention(
        Q, K.repeat_interleave(HEADS, dim=1), V.repeat_interleave(HEADS, dim=1), is_causal=True
    )
    check(golden[:, :, prefix:], computed)


@pytest.mark.parametrize(
    "device_params",
    [{"fabric_config": ttnn.FabricConfig.FABRIC_1D_RING, "dispatch_core_axis": ttnn.DispatchCoreAxis.COL}],
    indirect=True,
)
@pytest.mark.parametrize("mesh_device", [(8, 4)], indirect=True)
@pytest.mark.parametrize("window", [None, 256, 512], ids=lambda n: f"w{n}")
@pytest.mark.parametrize("s", [512, 1024], ids=lambda n: f"s{n}")
def test_ring_distributed_sdpa_sliding_window(mesh_device, s, window):
    """A row of the mesh, whose devices find their positions themselves."""
    torch.manual_seed(1234)
    submesh = mesh_device.create_submesh(ttnn.MeshShape(1, RING))
    Q, K, V = torch.randn(1, HEADS, s, WIDTH), torch.randn(1, KV_HEADS, s, WIDTH), torch.randn(1, KV_HEADS, s, WIDTH)
    tt_q, tt_k, tt_v = (
        ttnn.from_torch(
            x,
            dtype=ttnn.bfloat8_b,
            layout=ttnn.TILE_LAYOUT,
            device=submesh,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            mesh_mapper=ttnn.ReplicateTensorToMesh(submesh),
        )
        for x in (Q, K, V)
    )
    out = ttnn.transformer.ring_distributed_scaled_dot_product_attention(
        tt_q, tt_k, tt_v, ring_size=RING, scale=WIDTH**-0.5, sliding_window_size=window
    )
    computed = slabs([ttnn.to_torch(one) for one in ttnn.get_device_tensors(out)])
    whole = ttnn.to_torch(out, mesh_composer=ttnn.ConcatMeshToTensor(submesh, dim=2))
    assert whole.shape == computed.shape
    row, key = torch.arange(s)[:, None], torch.arange(s)[None, :]
    seen = (key <= row) & (key > row - (window or s))
    golden = torch.nn.functional.scaled_dot_product_attention(
        Q, K.repeat_interleave(HEADS, dim=1), V.repeat_interleave(HEADS, dim=1), attn_mask=seen
    )
    check(golden, computed)
