"""Attention of Llama-3.1-8B's prefill as tt_transformers writes it: on one chip, or with heads shared out by a row of chips.

tensix-sim run examples/tt_transformers_attention.py --set board=n150 -- [--tokens 1024] [--width 4096] [--heads 32]
tensix-sim run examples/tt_transformers_attention.py --set board=t3000 --set mesh=1x8

Every chip has all columns of x. Its own heads it gathers from the others before the last product, of which it has some columns.
"""

import argparse
from math import ceil

import numpy as np
import ttnn

try:
    from torch import from_numpy

    def to_numpy(tensor):
        """The values of a tensor of one device."""
        return ttnn.to_torch(tensor).float().numpy()
except ImportError:  # the simulator takes arrays as they are, and gives them
    from_numpy, to_numpy = np.asarray, ttnn.to_numpy

HEAD = 128  # columns of a head
BLOCK = 32  # rows of a block of the K/V cache
MAX_QKV, MAX_WO = 2048, 1024  # tokens of which a product makes one matrix
DRAM = ttnn.DRAM_MEMORY_CONFIG


def compute_config(fidelity, wide=False):
    """Of products and attention."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity, math_approx_mode=False, fp32_dest_acc_en=wide, packer_l1_acc=True
    )


def matmul_config(rows, inner, columns, fuse_batch):
    """Blocks of a product on the whole grid."""
    return ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
        compute_with_storage_grid_size=(8, 8),
        in0_block_w=4 if inner // 32 % 4 == 0 else 1,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=ceil(rows / 32 / 8),
        per_core_N=ceil(columns / 32 / 8),
        transpose_mcast=False,
        fused_activation=None,
        fuse_batch=fuse_batch,
    )


class Attention:
    """The weights and the cache of a layer on a row of devices, and its prefill."""

    def __init__(self, mesh, wqkv, wo, heads, kv_heads, tokens):
        """Take weights [devices, width, (heads + 2 kv_heads) / devices * HEAD] and [heads * HEAD, width]."""
        self.mesh, self.devices = mesh, mesh.get_num_devices()
        self.local_heads, self.local_kv_heads = heads // self.devices, kv_heads // self.devices
        self.wqkv = self.sharded(np.concatenate(wqkv, axis=1)[None, None], 3)
        self.wo = self.sharded(wo[None, None], 3)
        blocks = tokens // BLOCK
        cache = (blocks, self.local_kv_heads, BLOCK, HEAD)
        self.layer_past = [ttnn.zeros(cache, ttnn.bfloat8_b, device=mesh) for _ in "kv"]
        self.semaphores = [ttnn.create_global_semaphore(mesh, everywhere(mesh), 0) for _ in range(2)]

    def sharded(self, array, dim):
        """Weights, cut along `dim` for the devices."""
        return ttnn.as_tensor(
            from_numpy(array),
            dtype=ttnn.bfloat8_b,
            layout=ttnn.TILE_LAYOUT,
            device=self.mesh,
            memory_config=DRAM,
            mesh_mapper=ttnn.ShardTensorToMesh(self.mesh, dim=dim),
        )

    def product(self, x, weights, most, dtype):
        """A product of x [1, 1, tokens, width], of long prompts in parts."""
        tokens, width = x.shape[2], x.shape[3]
        if tokens > most:
            x = ttnn.reshape(x, [1, tokens // most, most, -1])
        out = ttnn.linear(
            x,
            weights,
            dtype=dtype,
            memory_config=DRAM,
            compute_kernel_config=compute_config(ttnn.MathFidelity.HiFi2),
            program_config=matmul_config(min(tokens, most), width, weights.shape[3], tokens <= most),
        )
        return ttnn.reshape(out, [1, 1, tokens, -1]) if tokens > most else out

    def forward_prefill(self, x, rot_mats, transformation_mat, page_table, user_id=0):
        """Attention of a user's tokens x [1, 1, tokens, width]; [1, 1, tokens, width / devices]."""
        tokens = x.shape[2]
        xqkv = self.product(x, self.wqkv, MAX_QKV, ttnn.bfloat16)
        ttnn.deallocate(x)
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            xqkv, num_heads=self.local_heads, num_kv_heads=self.local_kv_heads, transpose_k_heads=False, memory_config=DRAM
        )
        ttnn.deallocate(xqkv)
        q, k = (
            ttnn.experimental.rotary_embedding_llama(heads, *rot_mats, transformation_mat, is_decode_mode=False)
            for heads in (q, k)
        )
        k, v = (ttnn.typecast(heads, dtype=ttnn.bfloat8_b) for heads in (k, v))
        for cache, new in zip(self.layer_past, (k, v), strict=True):
            ttnn.experimental.paged_fill_cache(cache, new, page_table, batch_idx=user_id)
        q = ttnn.typecast(q, dtype=ttnn.bfloat8_b)
        chunk = 256 if tokens >= 2048 else 64
        out = ttnn.transformer.scaled_dot_product_attention(
            q,
            k,
            v,
            is_causal=True,
            scale=HEAD**-0.5,
            compute_kernel_config=compute_config(ttnn.MathFidelity.HiFi2),
            program_config=ttnn.SDPAProgramConfig(
                compute_with_storage_grid_size=(8, 8), exp_approx_mode=False, q_chunk_size=chunk, k_chunk_size=chunk
            ),
        )
        out = ttnn.experimental.nlp_concat_heads(out, memory_config=DRAM)
        if self.devices > 1:
            out = ttnn.experimental.all_gather_async(
                out,
                dim=3,
                multi_device_global_semaphore=self.semaphores,
                num_links=1,
                topology=ttnn.Topology.Ring,
                memory_config=DRAM,
            )
        return self.product(out, self.wo, MAX_WO, ttnn.bfloat16)


def everywhere(mesh):
    """All cores of a chip."""
    grid = mesh.compute_with_storage_grid_size()
    return ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))])


# -- what goes in, and what should come out --------------------------------------------------------------------------------


def rotary_tables(tokens):
    """Cosines and sines [1, 1, tokens, HEAD], of pairs of neighbours, and the matrix of a tile that turns a pair."""
    angle = np.outer(np.arange(tokens), 500000.0 ** -(np.arange(0, HEAD, 2) / HEAD)).repeat(2, axis=1).astype(np.float32)
    turn = np.zeros((1, 1, 32, 32), np.float32)
    even = np.arange(0, 32, 2)
    turn[..., even, even + 1], turn[..., even + 1, even] = 1.0, -1.0
    return np.cos(angle)[None, None], np.sin(angle)[None, None], turn


def golden(x, wqkv, wo, heads, kv_heads, tables):
    """The same in float64."""
    cos, sin, turn = (table[0, 0].astype(np.float64) for table in tables)
    tokens, devices, out = x.shape[2], len(wqkv), []
    hidden = np.where(np.tri(tokens, dtype=bool), 0, -np.inf)
    for weights in wqkv.astype(np.float64):
        parts = (x[0, 0] @ weights).reshape(tokens, -1, HEAD).swapaxes(0, 1)
        q, k, v = np.split(parts, [heads // devices, (heads + kv_heads) // devices])
        q, k = (y * cos + (y.reshape(*y.shape[:-1], -1, 32) @ turn).reshape(y.shape) * sin for y in (q, k))
        for i, one in enumerate(q):
            scores = one @ k[i * kv_heads // heads].T * HEAD**-0.5 + hidden
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(powers / powers.sum(-1, keepdims=True) @ v[i * kv_heads // heads])
    return np.concatenate(out, axis=1) @ wo


def run(tokens, width, heads, kv_heads):
    """Both, on random weights; the correlation of the two."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, ttnn.get_num_devices()))
    devices = mesh.get_num_devices()
    draw = np.random.default_rng(0)
    columns = (heads + 2 * kv_heads) // devices * HEAD
    wqkv = draw.standard_normal((devices, width, columns), np.float32) / np.float32(width**0.5)
    wo = draw.standard_normal((heads * HEAD, width), np.float32) / np.float32((heads * HEAD) ** 0.5)
    x = draw.standard_normal((1, 1, tokens, width), np.float32)
    tables = rotary_tables(tokens)

    def on_each(array, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT):
        mapper = ttnn.ReplicateTensorToMesh(mesh)
        return ttnn.from_torch(from_numpy(array), dtype=dtype, layout=layout, device=mesh, mesh_mapper=mapper)

    attention = Attention(mesh, wqkv, wo, heads, kv_heads, tokens)
    pages = draw.permutation(tokens // BLOCK)[None].astype(np.int32)
    *rot_mats, turn = map(on_each, tables)
    out = attention.forward_prefill(on_each(x), rot_mats, turn, on_each(pages, ttnn.int32, ttnn.ROW_MAJOR_LAYOUT))
    computed = np.concatenate([to_numpy(one) for one in ttnn.get_device_tensors(out)], axis=3)[0, 0]
    ttnn.close_mesh_device(mesh)
    return np.corrcoef(golden(x, wqkv, wo, heads, kv_heads, tables).ravel(), computed.ravel())[0, 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=32, help="of queries")
    parser.add_argument("--kv-heads", type=int, default=8)
    given = parser.parse_args()
    print(f"PCC {run(given.tokens, given.width, given.heads, given.kv_heads):.6f}")
