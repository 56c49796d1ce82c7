"""The attention block of Llama-3-70B's prefill on a Galaxy, as a model writes it in ttnn, on a virtual 8x4 mesh.

python -m tensix_sim.ttnn -- python examples/llama_70b_galaxy_attention.py [--tokens 2048] [--width 8192] [--heads 64]

Rows of the mesh share out the heads; the four devices of a row hold the same heads, and share out the query rows of the ring op.
"""

import argparse
from dataclasses import dataclass

import torch
import ttnn

ROWS, COLUMNS = 8, 4  # of the mesh
BLOCK = 64  # rows of a block of the K/V cache


@dataclass(frozen=True)
class Llama:
    """Sizes of the model: those of 70B, if nothing else is said."""

    width: int = 8192
    heads: int = 64
    kv_heads: int = 8
    head_dim: int = 128

    @property
    def local_heads(self) -> int:
        """Query heads of a device."""
        return self.heads // ROWS

    @property
    def local_kv_heads(self) -> int:
        """K/V heads of a device."""
        return self.kv_heads // ROWS


class Attention:
    """An attention block: its weights on the mesh, its cache, and its prefill."""

    def __init__(self, mesh, model, wqkv, wo, tokens):
        """Take weights [width, (heads + 2 kv_heads) * head_dim], heads of a row of the mesh side by side, and [.., width]."""
        self.mesh, self.model = mesh, model
        self.wqkv = self.on_mesh(wqkv[None, None], (3, None), ttnn.bfloat8_b)
        self.wo = self.on_mesh(wo[None, None], (None, 3), ttnn.bfloat8_b)
        cache = torch.zeros(tokens // BLOCK, model.local_kv_heads, BLOCK, model.head_dim)
        self.cache = [self.on_mesh(cache, (None, None), ttnn.bfloat8_b) for _ in "kv"]
        grid = mesh.compute_with_storage_grid_size()
        cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))])
        self.semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(2)]
        self.hifi4 = ttnn.WormholeComputeKernelConfig(
            math_fidelity=ttnn.MathFidelity.HiFi4, math_approx_mode=False, fp32_dest_acc_en=True, packer_l1_acc=True
        )

    def on_mesh(self, tensor, dims, dtype, layout=ttnn.TILE_LAYOUT):
        """Put a tensor on the mesh, cut along `dims` for its rows and columns."""
        mapper = ttnn.ShardTensor2dMesh(self.mesh, mesh_shape=(ROWS, COLUMNS), dims=dims)
        return ttnn.from_torch(tensor, dtype=dtype, layout=layout, device=self.mesh, mesh_mapper=mapper)

    def sdpa_program_config(self, tokens):
        """Chunk sizes as the model chooses them."""
        long = tokens >= 2048
        return ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(7, 10),
            q_chunk_size=256 if long else 64,
            k_chunk_size=512 if long else 64,
            exp_approx_mode=True,
        )

    def gather(self, x, reverse=False):
        """The slices of the four devices of a row, one after the other."""
        op = ttnn.experimental.all_gather_async_reversed if reverse else ttnn.experimental.all_gather_async
        return op(
            x,
            dim=2,
            cluster_axis=1,
            mesh_device=self.mesh,
            topology=ttnn.Topology.Ring,
            multi_device_global_semaphore=self.semaphores,
            num_links=4,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
        )

    def prefill(self, x, rotary, page_table, user_id=0):
        """Attention of one user's tokens x [1, 1, tokens, width]; on each device a quarter of the columns of the result."""
        tokens = x.shape[2]
        qkv = ttnn.linear(x, self.wqkv, dtype=ttnn.bfloat16, compute_kernel_config=self.hifi4)
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            qkv, num_heads=self.model.local_heads, num_kv_heads=self.model.local_kv_heads, transpose_k_heads=False
        )
        ttnn.deallocate(qkv)
        q, k = (ttnn.experimental.rotary_embedding_llama(heads, *rotary, is_decode_mode=False) for heads in (q, k))
        q, k, v = (ttnn.typecast(heads, dtype=ttnn.bfloat8_b) for heads in (q, k, v))
        for cache, new in zip(self.cache, (k, v), strict=True):
            ttnn.experimental.paged_fill_cache(cache, new, page_table, batch_idx=user_id)

        out = ttnn.transformer.ring_distributed_scaled_dot_product_attention(
            q,
            k,
            v,
            ring_size=COLUMNS,
            scale=self.model.head_dim**-0.5,
            compute_kernel_config=self.hifi4,
            program_config=self.sdpa_program_config(tokens),
            page_table=None,
            chunk_start_idx=None,
        )
        out = ttnn.experimental.nlp_concat_heads(out, memory_config=ttnn.DRAM_MEMORY_CONFIG)

        # a device has a slab from the front of the sequence and one from its back: each is gathered on its own
        front, back = ttnn.split(out, tokens // COLUMNS // 2, dim=2)
        ttnn.deallocate(out)
        out = ttnn.concat([self.gather(front), self.gather(back, reverse=True)], dim=2)

        heads = ttnn.all_gather(out, dim=3, cluster_axis=0, num_links=4, topology=ttnn.Topology.Linear)
        return ttnn.linear(heads, self.wo, dtype=ttnn.bfloat16, compute_kernel_config=self.hifi4)


# -- what goes in, and what should come out --------------------------------------------------------------------------------


def rotary_tables(tokens, head_dim):
    """Cosines and sines [1, 1, tokens, head_dim], of pairs of neighbours, and the matrix of a tile that turns a pair."""
    angle = torch.outer(torch.arange(tokens), 500000.0 ** -(torch.arange(0, head_dim, 2) / head_dim)).repeat_interleave(2, dim=1)
    turn = torch.zeros(1, 1, 32, 32)
    even = torch.arange(0, 32, 2)
    turn[..., even, even + 1], turn[..., even + 1, even] = 1.0, -1.0
    return angle.cos()[None, None], angle.sin()[None, None], turn


def golden(model, x, wqkv, wo, tables):
    """The block in torch."""
    cos, sin, turn = tables
    kv = model.local_kv_heads
    tokens = x.shape[2]
    heads = (x[0, 0] @ wqkv).reshape(tokens, ROWS, -1, model.head_dim).permute(1, 2, 0, 3)
    q, k, v = torch.split(heads, [model.local_heads, kv, kv], dim=1)
    q, k = (y * cos + (y.reshape(*y.shape[:-1], -1, 32) @ turn[0, 0]).reshape(y.shape) * sin for y in (q, k))
    k, v = (y.repeat_interleave(model.local_heads // kv, dim=1) for y in (k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.permute(2, 0, 1, 3).reshape(tokens, -1) @ wo


def run(tokens, model):
    """Both, on random weights; the correlation of the two."""
    torch.manual_seed(0)
    per_row = (model.local_heads + 2 * model.local_kv_heads) * model.head_dim
    wqkv = torch.randn(model.width, ROWS * per_row) / model.width**0.5
    wo = torch.randn(model.heads * model.head_dim, model.width) / model.width**0.5
    x = torch.randn(1, 1, tokens, model.width)
    tables = rotary_tables(tokens, model.head_dim)

    with ttnn.create_mesh_device(ttnn.MeshShape(ROWS, COLUMNS)) as mesh:
        attention = Attention(mesh, model, wqkv, wo, tokens)
        everywhere = (None, None)
        page_table = torch.randperm(tokens // BLOCK, dtype=torch.int32)[None]
        out = attention.prefill(
            attention.on_mesh(x, everywhere, ttnn.bfloat16),
            [attention.on_mesh(table, everywhere, ttnn.bfloat16) for table in tables],
            attention.on_mesh(page_table, everywhere, ttnn.int32, ttnn.ROW_MAJOR_LAYOUT),
        )
        computed = torch.cat([ttnn.to_torch(one).float() for one in ttnn.get_device_tensors(out)[:COLUMNS]], dim=3)[0, 0]
    expected = golden(model, x, wqkv, wo, tables)
    return torch.corrcoef(torch.stack([expected.ravel(), computed.ravel()]))[0, 1].item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=8192, help="of the model; what each head has stays")
    parser.add_argument("--heads", type=int, default=64, help="of queries")
    given = parser.parse_args()
    print("PCC", run(given.tokens, Llama(width=given.width, heads=given.heads)))
