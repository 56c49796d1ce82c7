"""The attention block of Llama-3-70B's prefill on a Galaxy, as a model writes it in ttnn, on a virtual 8x4 mesh.

tensix-sim run examples/llama_70b_galaxy_attention.py -- [--attention ring] [--tokens 2048] [--width 8192] [--heads 64]
tensix-sim run examples/llama_70b_galaxy_attention.py --set numerics=off -- --timing --tokens 8192

Rows of the mesh share out the heads, its columns the model's width. The four devices of a row hold partial sums of the same
heads, add them up, and share out attention: `ring`, query rows by the ring op; `ring_joint`, all rows, K and V travelling;
`plain`, not at all.
"""

import argparse
from dataclasses import dataclass
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

ROWS, COLUMNS = 8, 4  # of the mesh
BLOCK = 64  # rows of a block of the K/V cache
PART = 2048  # tokens of which the products make one matrix
GRID = (7, 10)
DRAM = ttnn.DRAM_MEMORY_CONFIG


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

    @property
    def columns_of_qkv(self) -> int:
        """Columns of a row of the mesh."""
        return (self.local_heads + 2 * self.local_kv_heads) * self.head_dim


def compute_config(fidelity):
    """Of products and attention."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity, math_approx_mode=False, fp32_dest_acc_en=fidelity is ttnn.MathFidelity.HiFi4, packer_l1_acc=True
    )


class Attention:
    """An attention block: its weights on the mesh, its cache, and its prefill."""

    def __init__(self, mesh, model, wqkv, wo, tokens, way, fidelity, q_chunk):
        """Take weights [width, (heads + 2 kv_heads) * head_dim], heads of a row of the mesh side by side, and [.., width]."""
        self.mesh, self.model, self.way, self.fidelity, self.q_chunk = mesh, model, way, fidelity, q_chunk
        self.wqkv = self.on_mesh(wqkv[None, None], (3, 2), ttnn.bfloat8_b)
        self.wo = self.on_mesh(wo[None, None], (2, 3), ttnn.bfloat8_b)
        rows = tokens // COLUMNS if way == "ring_joint" else tokens
        cache = (ceil(rows / BLOCK), model.local_kv_heads, BLOCK, model.head_dim)
        self.cache = [ttnn.zeros(cache, ttnn.bfloat8_b, device=mesh) for _ in "kv"]
        self.pages = self.on_mesh(
            np.random.default_rng(1).permutation(cache[0])[None].astype(np.int32), (None, None), ttnn.int32, ttnn.ROW_MAJOR_LAYOUT
        )
        grid = mesh.compute_with_storage_grid_size()
        cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))])
        self.semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(2)]
        self.arriving = [
            ttnn.zeros((1, model.local_kv_heads, tokens, model.head_dim), ttnn.bfloat8_b, device=mesh)
            for _ in ("kv" if way == "ring_joint" else "")
        ]
        self.hifi2 = compute_config(ttnn.MathFidelity.HiFi2)

    def on_mesh(self, array, dims, dtype, layout=ttnn.TILE_LAYOUT):
        """Put an array on the mesh, cut along `dims` for its rows and columns."""
        mapper = ttnn.ShardTensor2dMesh(self.mesh, mesh_shape=(ROWS, COLUMNS), dims=dims)
        return ttnn.from_torch(from_numpy(array), dtype=dtype, layout=layout, device=self.mesh, mesh_mapper=mapper)

    def product(self, x, weights):
        """A product, of long prompts in parts of 2048 tokens."""
        tokens, width = x.shape[2], weights.shape[3]
        parts = max(1, tokens // PART)
        config = ttnn.MatmulMultiCoreReuseMultiCastProgramConfig(
            compute_with_storage_grid_size=GRID,
            in0_block_w=next(tiles for tiles in (8, 4, 2, 1) if x.shape[3] // 32 % tiles == 0),
            out_subblock_h=1,
            out_subblock_w=2,
            per_core_M=ceil(tokens / parts / 32 / GRID[1]),
            per_core_N=2 * ceil(width / 32 / GRID[0] / 2),
            transpose_mcast=False,
            fused_activation=None,
            fuse_batch=parts == 1,
        )
        out = ttnn.linear(
            ttnn.reshape(x, (1, parts, tokens // parts, x.shape[3])),
            weights,
            dtype=ttnn.bfloat8_b,
            memory_config=DRAM,
            program_config=config,
            compute_kernel_config=self.hifi2,
        )
        return ttnn.reshape(out, (1, 1, tokens, width))

    def attention_config(self, tokens):
        """Chunk sizes as the model chooses them, and how attention computes."""
        long = tokens >= 2048
        program_config = ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=GRID,
            q_chunk_size=self.q_chunk or (256 if long else 32),
            k_chunk_size=512 if long else 32,
            exp_approx_mode=True,
        )
        return {"program_config": program_config, "compute_kernel_config": compute_config(self.fidelity)}

    def attend(self, q, k, v, tokens):
        """Attention of all tokens; on each device its heads of all of them, side by side."""
        more = self.attention_config(tokens) | {"scale": self.model.head_dim**-0.5}
        if self.way == "plain":
            out = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True, **more)
            return ttnn.experimental.nlp_concat_heads(out, memory_config=DRAM)
        if self.way == "ring_joint":
            out, _, _ = ttnn.transformer.ring_joint_scaled_dot_product_attention(
                q,
                k,
                v,
                persistent_output_buffer_k=self.arriving[0],
                persistent_output_buffer_v=self.arriving[1],
                joint_strategy="rear",
                logical_n=tokens,
                dim=2,
                multi_device_global_semaphore=self.semaphores,
                num_links=4,
                cluster_axis=1,
                mesh_device=self.mesh,
                topology=ttnn.Topology.Ring,
                ccl_core_grid_offset=(GRID[0], 0),
                use_column_major_ccl=True,
                is_causal=True,
                is_balanced=True,
                **more,
            )
            return self.gather(ttnn.experimental.nlp_concat_heads(out, memory_config=DRAM))
        out = ttnn.transformer.ring_distributed_scaled_dot_product_attention(q, k, v, ring_size=COLUMNS, **more)
        out = ttnn.experimental.nlp_concat_heads(out, memory_config=DRAM)
        # a device has a slab from the front of the sequence and one from its back: each is gathered on its own
        front, back = ttnn.split(out, tokens // COLUMNS // 2, dim=2)
        ttnn.deallocate(out)
        return ttnn.concat([self.gather(front), self.gather(back, reverse=True)], dim=2)

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
            memory_config=DRAM,
        )

    def add_up(self, qkv):
        """Sums over the devices of a row: of all tokens on each, or of each device's own where it keeps its slice."""
        across = {"cluster_axis": 1, "num_links": 4, "memory_config": DRAM, "topology": ttnn.Topology.Ring}
        if self.way == "ring_joint":
            return ttnn.reduce_scatter(qkv, dim=2, **across)
        return ttnn.all_reduce(qkv, **across)

    def prefill(self, x, rotary, user_id=0):
        """Attention of one user's tokens x [1, 1, tokens, width / 4], whose width and whose result's is shared out by columns."""
        tokens = x.shape[2]
        qkv = self.add_up(self.product(x, self.wqkv))
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            qkv,
            num_heads=self.model.local_heads,
            num_kv_heads=self.model.local_kv_heads,
            transpose_k_heads=False,
            memory_config=DRAM,
        )
        ttnn.deallocate(qkv)
        q, k = (ttnn.typecast(heads, dtype=ttnn.bfloat16) for heads in (q, k))
        q, k = (ttnn.experimental.rotary_embedding_llama(heads, *rotary, is_decode_mode=False) for heads in (q, k))
        q, k = (ttnn.typecast(heads, dtype=ttnn.bfloat8_b) for heads in (q, k))
        for cache, new in zip(self.cache, (k, v), strict=True):
            ttnn.experimental.paged_fill_cache(cache, new, self.pages, batch_idx=user_id)
        out = self.product(self.attend(q, k, v, tokens), self.wo)
        return ttnn.all_reduce(out, cluster_axis=0, num_links=4, memory_config=DRAM, topology=ttnn.Topology.Linear)


# -- what goes in, and what should come out --------------------------------------------------------------------------------


def rotary_tables(tokens, head_dim):
    """Cosines and sines [1, 1, tokens, head_dim], of pairs of neighbours, and the matrix of a tile that turns a pair."""
    angle = np.outer(np.arange(tokens), 500000.0 ** -(np.arange(0, head_dim, 2) / head_dim)).repeat(2, axis=1).astype(np.float32)
    turn = np.zeros((1, 1, 32, 32), np.float32)
    even = np.arange(0, 32, 2)
    turn[..., even, even + 1], turn[..., even + 1, even] = 1.0, -1.0
    return np.cos(angle)[None, None], np.sin(angle)[None, None], turn


def golden(model, x, wqkv, wo, tables):
    """The block in float64, a row of the mesh at a time."""
    cos, sin, turn = (table[0, 0].astype(np.float64) for table in tables)
    tokens, q_heads, kv = x.shape[2], model.local_heads, model.local_kv_heads
    out = np.zeros((tokens, model.width))
    hidden = np.where(np.tri(tokens, dtype=bool), 0, -np.inf)
    of_row = q_heads * model.head_dim
    for row in range(ROWS):
        columns = wqkv[:, row * model.columns_of_qkv : (row + 1) * model.columns_of_qkv].astype(np.float64)
        heads = (x[0, 0] @ columns).reshape(tokens, -1, model.head_dim).swapaxes(0, 1)
        q, k, v = np.split(heads, [q_heads, q_heads + kv])
        q, k = (y * cos + (y.reshape(*y.shape[:-1], -1, 32) @ turn).reshape(y.shape) * sin for y in (q, k))
        attended = []
        for head in range(q_heads):
            scores = q[head] @ k[head * kv // q_heads].T * model.head_dim**-0.5 + hidden
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            attended.append(powers / powers.sum(-1, keepdims=True) @ v[head * kv // q_heads])
        out += np.concatenate(attended, 1) @ wo[row * of_row : (row + 1) * of_row]
    return out


def order_of_tokens(tokens, way):
    """Where a token stands: in its place, or so that the devices of a ring have parts r and 7 - r of eight."""
    if way != "ring_joint":
        return np.arange(tokens)
    parts = np.arange(tokens).reshape(2 * COLUMNS, -1)
    return np.concatenate([np.concatenate([parts[r], parts[2 * COLUMNS - 1 - r]]) for r in range(COLUMNS)])


def run(tokens, model, way, hifi2, q_chunk, timing):
    """Both, on random weights; the correlation of the two, or None where only time counts."""
    draw = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return np.zeros(shape, np.float32) if timing else draw.standard_normal(shape, np.float32) * np.float32(scale)

    wqkv = normal(model.width, ROWS * model.columns_of_qkv, scale=model.width**-0.5)
    wo = normal(model.heads * model.head_dim, model.width, scale=(model.heads * model.head_dim) ** -0.5)
    x = normal(1, 1, tokens, model.width)
    tables = rotary_tables(tokens, model.head_dim)
    order = order_of_tokens(tokens, way)
    cut = (None, 2) if way == "ring_joint" else (None, None)  # a device that keeps its slice needs the cosines of its tokens

    with ttnn.create_mesh_device(ttnn.MeshShape(ROWS, COLUMNS)) as mesh:
        fidelity = ttnn.MathFidelity.HiFi2 if hifi2 or way == "ring_joint" else ttnn.MathFidelity.HiFi4
        attention = Attention(mesh, model, wqkv, wo, tokens, way, fidelity, q_chunk)
        rotary = [attention.on_mesh(table[:, :, order], cut, ttnn.bfloat16) for table in tables[:2]]
        out = attention.prefill(
            attention.on_mesh(x[:, :, order], (None, 3), ttnn.bfloat16),
            [*rotary, attention.on_mesh(tables[2], (None, None), ttnn.bfloat16)],
        )
        if timing:
            return None
        shards = [to_numpy(one)[0, 0] for one in ttnn.get_device_tensors(out)[:COLUMNS]]
    computed = np.empty((tokens, model.width))
    computed[order] = np.concatenate(shards, axis=1)
    return np.corrcoef(golden(model, x, wqkv, wo, tables).ravel(), computed.ravel())[0, 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attention", choices=("ring", "ring_joint", "plain"), default="ring")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=8192, help="of the model; what each head has stays")
    parser.add_argument("--heads", type=int, default=64, help="of queries")
    parser.add_argument("--hifi2", action="store_true", help="attention in HiFi2 with a DST of 16 bits, as ring_joint always")
    parser.add_argument("--q-chunk", type=int, help="rows of Q at a time; as the model chooses them if not given")
    parser.add_argument("--timing", action="store_true", help="zeros for numbers, and no golden result")
    given = parser.parse_args()
    pcc = run(
        given.tokens, Llama(width=given.width, heads=given.heads), given.attention, given.hifi2, given.q_chunk, given.timing
    )
    print("timed only" if pcc is None else f"PCC {pcc:.6f}")
