"""ttnn.experimental: heads apart and together, rotary embedding, a paged cache, all-gathers of the model's tail."""

from functools import partial
from typing import Any, NoReturn

import numpy as np

from tensix_sim.ttnn.collectives import gather
from tensix_sim.ttnn.moves import mapped, rearranged
from tensix_sim.ttnn.names import missing
from tensix_sim.ttnn.operations import _filled
from tensix_sim.ttnn.session import recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, Topology, WormholeComputeKernelConfig, refuse
from tensix_sim.ttnn.values import Array

__all__ = [
    "all_gather_async",
    "all_gather_async_reversed",
    "nlp_concat_heads",
    "nlp_create_qkv_heads",
    "paged_fill_cache",
    "rotary_embedding_llama",
]


@recorded
def nlp_concat_heads(input_tensor: Tensor, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """[B, heads, S, DH] as [B, 1, S, heads * DH]."""

    def join(arrays: list[Array], unit: int) -> list[Array]:
        b, heads, rows, width = arrays[0].shape
        return [arrays[0].swapaxes(1, 2).reshape(b, 1, rows, heads * width)]

    return rearranged("nlp_concat_heads", [input_tensor], join, memory_config)[0]


@recorded
def nlp_create_qkv_heads(
    input_tensor: Tensor,
    input_tensor_kv: Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    memory_config: MemoryConfig | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """[B, 1, S, (heads + 2 kv_heads) * DH] as q [B, heads, S, DH], k and v [B, kv_heads, S, DH].

    Raises:
        NotModelledError: K transposed, which is ttnn's default, or K and V from a tensor of their own.
    """
    refuse("nlp_create_qkv_heads", input_tensor_kv=input_tensor_kv, transpose_k_heads=transpose_k_heads)
    kv = num_kv_heads or num_heads
    heads = num_heads + 2 * kv
    if input_tensor.shape[-1] % heads:
        raise RuntimeError(f"nlp_create_qkv_heads: rows of {input_tensor.shape[-1]} are no {heads} equal heads")

    def part(arrays: list[Array], unit: int) -> list[Array]:
        b, _, rows, width = arrays[0].shape
        apart = arrays[0].reshape(b, rows, heads, width // heads).swapaxes(1, 2)
        return list(np.split(apart, [num_heads, num_heads + kv], 1))

    q, k, v = rearranged("nlp_create_qkv_heads", [input_tensor], part, memory_config, (num_heads, kv))
    return q, k, v


@recorded
def rotary_embedding_llama(
    input_tensor: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    trans_mat: Tensor,
    *,
    is_decode_mode: bool = False,
    memory_config: MemoryConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """x cos + (x T) sin, T the given matrix of a tile, which turns each pair (a, b) into (-b, a); cycles are not modelled.

    Raises:
        NotModelledError: decode mode.
    """
    refuse("rotary_embedding_llama", is_decode_mode=is_decode_mode)
    size = trans_mat.shape[-1]

    def turn(x: Array, cos: Array, sin: Array, matrix: Array) -> Array:
        tiles = x.reshape(*x.shape[:-1], -1, size)
        turned = (tiles @ matrix.reshape(size, size)).reshape(x.shape)
        rows = x.shape[-2]
        result: Array = x * cos[..., :rows, :] + turned * sin[..., :rows, :]
        return result

    inputs = [input_tensor, cos_cache, sin_cache, trans_mat]
    shape = input_tensor.shape
    return mapped("rotary_embedding_llama", inputs, turn, input_tensor.dtype, shape=shape, memory_config=memory_config)


@recorded
def paged_fill_cache(
    cache_tensor: Tensor,
    input_tensor: Tensor,
    page_table: Tensor,
    *,
    batch_idx: int = 0,
    batch_idx_tensor: Tensor | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    mesh_coords: Any = None,
) -> Tensor:
    """Write [1, heads, S, DH] into the blocks [blocks, heads, block size, DH] of a row of the page table; the cache.

    Reading the table is not timed.
    """
    refuse("paged_fill_cache", batch_idx_tensor=batch_idx_tensor, mesh_coords=mesh_coords)
    page_table.need("paged_fill_cache")
    blocks, _, block, _ = cache_tensor.shape
    rows = input_tensor.shape[2]
    table = page_table.shards[0]
    if table is None or len({id(shard) for shard in page_table.shards}) != 1:
        raise RuntimeError("paged_fill_cache: the page table must be the same on all devices")
    pages = -(-rows // block)
    if not 0 <= batch_idx < table.shape[0] or pages > table.shape[1]:
        raise RuntimeError(f"paged_fill_cache: batch {batch_idx}, {pages} pages; the table is {list(table.shape)}")
    row = table[batch_idx, :pages]
    if row.min() < 0 or row.max() >= blocks:
        raise RuntimeError(f"paged_fill_cache: the page table names blocks up to {row.max()}; the cache has {blocks}")

    def fill(cached: Array, new: Array) -> None:
        for page, where in enumerate(row):
            piece = new[0, :, page * block : (page + 1) * block]
            cached[where, :, : piece.shape[1]] = piece

    return _filled("paged_fill_cache", cache_tensor, input_tensor, fill)


def _gather_async(
    op: str,
    reverse: bool,
    /,
    input_tensor: Tensor,
    *,
    dim: int,
    multi_device_global_semaphore: Any = None,
    persistent_output_buffer: Tensor | None = None,
    persistent_output_tensor: Tensor | None = None,
    num_links: int = 1,
    memory_config: MemoryConfig | None = None,
    topology: Topology = Topology.Ring,
    cluster_axis: int | None = None,
    mesh_device: Any = None,
    subdevice_id: Any = None,
    barrier_semaphore: Any = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
) -> Tensor:
    """As `ttnn.all_gather`, into a given output buffer if there is one; semaphores are taken and need nothing done.

    Raises:
        NotModelledError: a sub-device, or other sizes of its pipeline.
    """
    refuse(
        op, subdevice_id=subdevice_id, chunks_per_sync=chunks_per_sync,
        num_workers_per_link=num_workers_per_link, num_buffers_per_channel=num_buffers_per_channel,
    )  # fmt: skip
    buffer = persistent_output_buffer or persistent_output_tensor
    config = memory_config or (buffer.memory_config() if buffer else None)
    return gather(op, input_tensor, dim, cluster_axis, topology, num_links, config, reverse, buffer)


all_gather_async = partial(_gather_async, "all_gather_async", False)
all_gather_async.__doc__ = _gather_async.__doc__
all_gather_async_reversed = partial(_gather_async, "all_gather_async_reversed", True)
all_gather_async_reversed.__doc__ = "As `all_gather_async`, with the slice of the last device first."


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(missing(name, "ttnn.experimental", __all__))
