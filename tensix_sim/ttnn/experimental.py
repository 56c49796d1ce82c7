"""ttnn.experimental: heads apart and together, rotary embedding, a paged cache, all-gathers of the model's tail."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.apart import number_on_devices
from tensix_sim.ttnn.collectives import GlobalSemaphore, gather
from tensix_sim.ttnn.configs import demand_config
from tensix_sim.ttnn.decode import (
    nlp_concat_heads_decode,
    nlp_create_qkv_heads_decode,
    paged_fused_update_cache,
    paged_update_cache,
    rotary_embedding_llama_fused_qk,
    rotate_tokens,
)
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.glue import activations_of, named, shape_of_product
from tensix_sim.ttnn.heads import nlp_concat_heads, nlp_create_qkv_heads
from tensix_sim.ttnn.movers import cycles_of, rows_of
from tensix_sim.ttnn.moves import mapped
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.operations import _filled
from tensix_sim.ttnn.reductions import all_reduce_async, reduce_scatter_minimal_async
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.signatures import placed
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import (
    CoreRangeSet,
    DataType,
    MemoryConfig,
    Shape,
    Topology,
    WormholeComputeKernelConfig,
    demand,
    refuse,
)
from tensix_sim.ttnn.values import Array, each

__all__ = [
    "all_gather_async",
    "all_gather_async_reversed",
    "all_reduce_async",
    "fast_reduce_nc",
    "minimal_matmul",
    "nlp_concat_heads",
    "nlp_concat_heads_decode",
    "nlp_create_qkv_heads",
    "nlp_create_qkv_heads_decode",
    "paged_fill_cache",
    "paged_fused_update_cache",
    "paged_update_cache",
    "reduce_scatter_minimal_async",
    "rotary_embedding",
    "rotary_embedding_hf",
    "rotary_embedding_llama",
    "rotary_embedding_llama_fused_qk",
]


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
    """x cos + (x T) sin, T the given matrix of a tile, which turns each pair (a, b) into (-b, a).

    In decode mode x is [1, users, heads, DH], cos and sin are of each user, and T may be repeated for each. Cycles are not
    modelled there, nor where heads have cosines of their own.

    Raises:
        RuntimeError: the matrix is not of a tile, or cos and sin have too few rows or other columns.
    """
    if is_decode_mode:
        SESSION.without_effect("rotary_embedding_llama", compute_kernel_config=compute_kernel_config)
        return rotate_tokens("rotary_embedding_llama", [input_tensor], cos_cache, sin_cache, trans_mat, memory_config)[0]
    *_, heads, rows, width = input_tensor.shape
    for what, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
        *_, cached_heads, cached_rows, cached_width = cache.shape
        fits = cached_width == width and cached_rows >= rows and cached_heads in (1, heads)
        demand("rotary_embedding_llama:", (fits, f"{what} {list(cache.shape)} does not go with {list(input_tensor.shape)}"))
    size = trans_mat.shape[-1]
    square = trans_mat.shape[-2:] == (TILE, TILE) and trans_mat.shape.volume() == TILE**2
    demand("rotary_embedding_llama:", (square, f"trans_mat is {list(trans_mat.shape)}; [1, 1, {TILE}, {TILE}] is needed"))

    def turn(x: Array, cos: Array, sin: Array, matrix: Array) -> Array:
        tiles = x.reshape(*x.shape[:-1], -1, size)
        turned = (tiles @ matrix.reshape(size, size)).reshape(x.shape)
        result: Array = x * cos[..., :rows, :] + turned * sin[..., :rows, :]
        return result

    inputs = [input_tensor, cos_cache, sin_cache, trans_mat]
    about = Shape(input_tensor.shape[:-3]).volume(), heads, rows_of(rows), rows_of(width), input_tensor.dtype.value
    covered = cos_cache.shape[-3] == 1 and width % TILE == 0
    cycles = cycles_of("rotary", [input_tensor], memory_config, *about, compute=compute_kernel_config) if covered else None
    more = {"shape": input_tensor.shape, "memory_config": memory_config, "cycles": cycles}
    return mapped("rotary_embedding_llama", inputs, turn, input_tensor.dtype, **more)


@recorded
def rotary_embedding(
    input_tensor: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    token_idx: int | None = None,
    *,
    memory_config: MemoryConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """x cos + (-x2, x1) sin, x1 and x2 the halves of a row of x [B, heads, S, DH]; cos and sin are [1, 1, S or more, DH].

    With `token_idx`, of a decode step, all rows take that one of cos and sin, and cycles are not modelled.

    Raises:
        RuntimeError: halves are no whole tiles, or cos and sin have too few rows or other columns.
    """
    batch, heads, rows, width = input_tensor.shape
    first, last = (0, rows) if token_idx is None else (token_idx, token_idx + 1)
    demand("rotary_embedding:", (width % (2 * TILE) == 0, f"rows of {width}; halves must be whole tiles of {TILE}"))
    for what, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
        fits = cache.shape[-1] == width and cache.shape[-2] >= last and Shape(cache.shape[:-2]).volume() == 1
        demand("rotary_embedding:", (fits, f"{what} {list(cache.shape)} does not go with {list(input_tensor.shape)}"))

    about = batch * heads, rows_of(rows), rows_of(width), input_tensor.dtype.value
    timed = cycles_of("rotary_halves", [input_tensor], memory_config, *about, compute=compute_kernel_config)
    cycles = timed if token_idx is None else None
    more = {"shape": input_tensor.shape, "memory_config": memory_config, "cycles": cycles}
    turn = partial(_turn_halves, slice(first, last))
    return mapped("rotary_embedding", [input_tensor, cos_cache, sin_cache], turn, input_tensor.dtype, **more)


@recorded
def rotary_embedding_hf(
    input_tensor: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    is_decode_mode: bool = False,
    memory_config: MemoryConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """As `rotary_embedding`, in a newer program, whose cycles are not modelled; in decode mode of [1, users, heads, DH].

    There cos and sin are [1, users, 1 or more, DH].

    Raises:
        RuntimeError: halves are no whole tiles, or cos and sin have too few rows or other columns.
    """
    name = "rotary_embedding_hf"
    SESSION.without_effect(name, compute_kernel_config=compute_kernel_config)
    *_, rows, width = input_tensor.shape
    demand(f"{name}:", (width % (2 * TILE) == 0, f"rows of {width}; halves must be whole tiles of {TILE}"))
    rows = 1 if is_decode_mode else rows
    for what, cache in (("cos_cache", cos_cache), ("sin_cache", sin_cache)):
        fits = cache.shape[-1] == width and cache.shape[-2] >= rows and cache.shape[-3] in (1, input_tensor.shape[-3])
        demand(f"{name}:", (fits, f"{what} {list(cache.shape)} does not go with {list(input_tensor.shape)}"))

    more = {"shape": input_tensor.shape, "memory_config": memory_config}
    return mapped(name, [input_tensor, cos_cache, sin_cache], partial(_turn_halves, slice(rows)), input_tensor.dtype, **more)


def _turn_halves(rows: slice, x: Array, cos: Array, sin: Array) -> Array:
    """x cos + (-x2, x1) sin, of some rows of cos and sin."""
    first, second = np.split(x, 2, axis=-1)
    result: Array = x * cos[..., rows, :] + np.concatenate([-second, first], axis=-1) * sin[..., rows, :]
    return result


@recorded
def minimal_matmul(
    input_tensor: Tensor,
    weight_tensor: Tensor,
    bias_tensor: Tensor | None = None,
    fused_activation: Any = None,
    config: Any = None,
    memory_config: MemoryConfig | None = None,
    dtype: DataType | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """As `ttnn.linear`, in a program of its own, whose cycles are not modelled.

    Raises:
        RuntimeError: shapes do not go together.
    """
    name = "minimal_matmul"
    demand_config(name, config, ("MinimalMatmulConfig",))
    SESSION.without_effect(name, config=config, compute_kernel_config=compute_kernel_config)
    after = activations_of(name, [fused_activation] if fused_activation else None)
    inputs = [input_tensor, weight_tensor, *([] if bias_tensor is None else [bias_tensor])]
    shape = shape_of_product(name, [tuple(one.shape) for one in inputs], False, False)

    def product(x: Array, weights: Array, *bias: Array) -> Array:
        result: Array = after(x @ weights + bias[0] if bias else x @ weights)
        return result

    return mapped(name, inputs, product, dtype or input_tensor.dtype, shape=shape, memory_config=memory_config)


@recorded
def fast_reduce_nc(
    input_tensor: Tensor,
    *,
    dims: Sequence[int],
    output: Tensor | None = None,
    memory_config: MemoryConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    sub_core_grids: CoreRangeSet | None = None,
) -> Tensor:
    """Sums along the first or the second dimension, or both, of which a 1 is left; cycles are not modelled.

    Raises:
        RuntimeError: another dimension.
    """
    name = "fast_reduce_nc"
    refuse(name, output=output)
    SESSION.without_effect(name, compute_kernel_config=compute_kernel_config, sub_core_grids=sub_core_grids)
    rank = len(input_tensor.shape)
    axes = tuple(dim % rank for dim in dims)
    demand(f"{name}:", (axes and max(axes) < rank - 2, f"dims {list(dims)} of {list(input_tensor.shape)}; not the last two"))
    shape = [1 if i in axes else size for i, size in enumerate(input_tensor.shape)]
    sums = lambda x: x.sum(axes, keepdims=True)  # noqa: E731
    return mapped(name, [input_tensor], sums, input_tensor.dtype, shape=shape, memory_config=memory_config)


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

    Each device has a table of its own. Reading it is not timed, nor a batch in a tensor.
    """
    refuse("paged_fill_cache", mesh_coords=mesh_coords)
    SESSION.without_effect("paged_fill_cache", compute_kernel_config=compute_kernel_config)
    page_table.need("paged_fill_cache")
    if batch_idx_tensor is not None:
        batch_idx = number_on_devices("paged_fill_cache", "batch_idx_tensor", batch_idx_tensor)
    blocks, _, block, _ = cache_tensor.shape
    rows = input_tensor.shape[2]
    pages = -(-rows // block)
    if not page_table.dtype.is_integer or not 0 <= batch_idx < page_table.shape[0] or pages > page_table.shape[1]:
        raise RuntimeError(f"paged_fill_cache: batch {batch_idx}, {pages} pages; the page table is {page_table!r}")

    def named(table: Array) -> Array:
        row = table[batch_idx, :pages]
        if row.min() < 0 or row.max() >= blocks:
            raise RuntimeError(
                f"paged_fill_cache: the page table names blocks {row.min()} to {row.max()}; the cache has {blocks}"
            )
        return row

    return _filled("paged_fill_cache", cache_tensor, input_tensor, each(named, page_table.shards))


def _gather_op(name: str, reverse: bool, order: str) -> Callable[..., Tensor]:
    def op(
        input_tensor: Tensor,
        *,
        dim: int,
        multi_device_global_semaphore: GlobalSemaphore | Sequence[GlobalSemaphore] | None = None,
        persistent_output_buffer: Tensor | None = None,
        persistent_output_tensor: Tensor | None = None,
        num_links: int | None = 1,
        memory_config: MemoryConfig | None = None,
        topology: Topology | None = Topology.Ring,
        cluster_axis: int | None = None,
        mesh_device: MeshDevice | None = None,
        subdevice_id: Any = None,
        sub_core_grids: CoreRangeSet | None = None,
        barrier_semaphore: GlobalSemaphore | None = None,
        chunks_per_sync: int | None = None,
        num_workers_per_link: int | None = None,
        num_buffers_per_channel: int | None = None,
    ) -> Tensor:
        SESSION.without_effect(
            name, subdevice_id=subdevice_id, sub_core_grids=sub_core_grids, chunks_per_sync=chunks_per_sync,
            num_workers_per_link=num_workers_per_link, num_buffers_per_channel=num_buffers_per_channel,
        )  # fmt: skip
        given = multi_device_global_semaphore
        count = 2 if given is None else 1 if isinstance(given, GlobalSemaphore) else len(given)
        demand(f"{name}:", (count == 2, f"{count} semaphore(s) in multi_device_global_semaphore; it takes a list of two"))
        buffer = persistent_output_tensor if persistent_output_buffer is None else persistent_output_buffer
        config = memory_config or (None if buffer is None else buffer.memory_config())
        return gather(name, input_tensor, dim, cluster_axis, topology, num_links, config, reverse, buffer)

    doc = (
        f"As `ttnn.all_gather`, {order}, into a given output buffer if there is one. Its semaphores, two in a list, need "
        "nothing done; sizes of the pipeline, and a sub-device, which is the chip, have no effect. By place it takes what any of "
        "ttnn's three forms does"
    )
    return placed(named(op, name, doc, ""), _form)


PLACES = (  # what ttnn's three forms of an asynchronous gather take by place, behind the input
    ("dim", "multi_device_global_semaphore"),
    ("persistent_output_buffer", "dim", "multi_device_global_semaphore"),
    ("dim", "cluster_axis", "mesh_device", "topology", "multi_device_global_semaphore"),
)


def _form(given: Sequence[Any]) -> Sequence[str]:
    """The names of arguments by place: which form it is, the types of the first two say."""
    into = bool(given) and (given[0] is None or isinstance(given[0], Tensor))
    return PLACES[1 if into else 2 if len(given) > 1 and isinstance(given[1], int | None) else 0]


all_gather_async = _gather_op("all_gather_async", False, "asynchronously")
all_gather_async_reversed = _gather_op("all_gather_async_reversed", True, "with the slice of the last device first")


def __getattr__(name: str) -> NoReturn:
    raise absent(name, "ttnn.experimental", __all__)
