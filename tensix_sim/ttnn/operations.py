"""What attention code calls around the op: splits and joins, which move tiles, and glue whose cycles are not modelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensix_sim.ttnn import glue
from tensix_sim.ttnn import transformer as transformer
from tensix_sim.ttnn.movers import cycles_of_copy
from tensix_sim.ttnn.moves import common_mesh, mapped, rearranged, record
from tensix_sim.ttnn.moves import reshape as reshape
from tensix_sim.ttnn.moves import slice as slice
from tensix_sim.ttnn.session import recorded
from tensix_sim.ttnn.tensor import Tensor, to_layout
from tensix_sim.ttnn.types import (
    DRAM_MEMORY_CONFIG,
    BufferType,
    CoreCoord,
    CoreGrid,
    CoreRange,
    CoreRangeSet,
    DataType,
    Layout,
    MemoryConfig,
    ShardOrientation,
    ShardSpec,
    TensorMemoryLayout,
    demand,
    refuse,
)
from tensix_sim.ttnn.values import Array, once

# -- moves of tiles -----------------------------------------------------------------------------------------------


@recorded
def split(
    input_tensor: Tensor, split_size: int | Sequence[int], dim: int = 0, *, memory_config: MemoryConfig | None = None
) -> list[Tensor]:
    """Cut a tensor along `dim` into pieces of `split_size`, the last maybe shorter, or of the sizes listed.

    Raises:
        RuntimeError: sizes that do not add up.
    """
    whole = input_tensor.shape[dim]
    sizes = list(split_size) if isinstance(split_size, Sequence) else [split_size] * (whole // split_size)
    if not isinstance(split_size, Sequence) and whole % split_size:
        sizes.append(whole % split_size)
    if sum(sizes) != whole:
        raise RuntimeError(f"split: sizes {sizes} add up to {sum(sizes)}; dimension {dim} has {whole}")
    axis = dim % len(input_tensor.shape)

    def cut(arrays: list[Array], unit: int) -> list[Array]:
        step = unit if axis >= len(input_tensor.shape) - 2 else 1
        return np.split(arrays[0], np.cumsum(sizes)[:-1] // step, axis)

    return rearranged("split", [input_tensor], cut, memory_config, (tuple(sizes), axis))


def chunk(input_tensor: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    """So many pieces along `dim`, the last maybe shorter; as `split`."""
    demand("chunk:", (chunks > 0, f"{chunks} pieces"))
    return split(input_tensor, -(-input_tensor.shape[dim] // chunks), dim)


@recorded
def concat(tensors: Sequence[Tensor], dim: int = 0, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """Put tensors one after the other along `dim`; they agree in all other dimensions, in data type and layout."""
    shapes = [list(tensor.shape) for tensor in tensors]
    if len({(*shape[: dim % len(shape)], None, *shape[dim % len(shape) + 1 :]) for shape in shapes}) != 1:
        raise RuntimeError(f"concat along {dim}: shapes {', '.join(map(str, shapes))} differ elsewhere")
    return rearranged("concat", tensors, lambda arrays, unit: [np.concatenate(arrays, dim)], memory_config, dim)[0]


@recorded
def fill_cache(cache: Tensor, input_tensor: Tensor, batch_idx: int, update_idx: int = 0) -> Tensor:
    """Write [1, heads, S, DH] into a cache [batches, heads, rows, DH], from row 0 of a batch on; the cache."""
    refuse("fill_cache", update_idx=update_idx or None)
    rows = input_tensor.shape[2]
    if not 0 <= batch_idx < cache.shape[0] or rows > cache.shape[2]:
        raise RuntimeError(f"fill_cache: batch {batch_idx} and {rows} rows; the cache is {list(cache.shape)}")
    return _filled("fill_cache", cache, input_tensor, [np.array([batch_idx])] * len(cache.shards))


def _filled(op: str, cache: Tensor, new: Tensor, which: Sequence[Array | None]) -> Tensor:
    """Write into some blocks of the cache of each device; it takes the time of moving what is new."""
    mesh = common_mesh(op, [cache, new])
    if mesh is None:
        raise RuntimeError(f"{op}: the cache is on the host; put it on a device")
    if cache.dtype is not new.dtype:
        raise RuntimeError(f"{op}: the cache is {cache.dtype.value}, the input {new.dtype.value}; typecast it first")
    fits = (new.shape[0], *cache.shape[1::2]) == (1, *new.shape[1::2])
    demand(
        f"{op}:", (fits, f"the input is {list(new.shape)}, the cache {list(cache.shape)}: one batch, as many heads and as wide")
    )
    rearranged(op, [new], lambda arrays, unit: arrays)
    cache.shards = once(lambda held, one, blocks: held.with_rows(blocks, one.values()[0]), cache.shards, new.shards, which)
    return cache


@recorded
def clone(input_tensor: Tensor, *, memory_config: MemoryConfig | None = None, dtype: DataType | None = None) -> Tensor:
    """A copy."""
    copied = rearranged("clone", [input_tensor], lambda arrays, unit: arrays, memory_config)[0]
    return typecast(copied, dtype) if dtype and dtype is not copied.dtype else copied


def copy(input_a: Tensor, input_b: Tensor) -> Tensor:
    """Give `input_b` the values of `input_a`, in place."""
    input_b.take_values(input_a)
    if mesh := input_b.device():
        record("copy", mesh, [input_b], cycles_of_copy(input_a, input_b.dtype, input_b.memory_config()))
    return input_b


def copy_host_to_device_tensor(host_tensor: Tensor, device_tensor: Tensor, cq_id: int | None = None) -> None:
    """Give a tensor on devices the values of one on the host; a host transfer, which costs no device cycles."""
    device_tensor.take_values(host_tensor)


# -- values -------------------------------------------------------------------------------------------------------


@recorded
def typecast(input_tensor: Tensor, dtype: DataType, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same values in another data type, rounded as the host does."""
    cycles = cycles_of_copy(input_tensor, dtype, memory_config, compute=True)
    return mapped("typecast", [input_tensor], lambda x: x, dtype, memory_config=memory_config, cycles=cycles)


def unsqueeze_to_4D(tensor: Tensor) -> Tensor:  # noqa: N802
    """A view with leading dimensions of 1, so that there are four."""
    return reshape(tensor, (*[1] * (4 - len(tensor.shape)), *tensor.shape))


@recorded
def permute(input_tensor: Tensor, dims: Sequence[int], *, memory_config: MemoryConfig | None = None) -> Tensor:
    """Dimensions in another order."""
    shape = [input_tensor.shape[dim] for dim in dims]
    order = [dim % len(shape) for dim in dims]
    if order[-2:] == [len(shape) - 2, len(shape) - 1]:
        return rearranged("permute", [input_tensor], lambda a, unit: [a[0].transpose(order)], memory_config, tuple(order))[0]
    more: dict[str, Any] = {"shape": shape, "memory_config": memory_config}
    if order == [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]:
        more["cycles"] = cycles_of_copy(input_tensor, input_tensor.dtype, memory_config, compute=True)
    return mapped("permute", [input_tensor], lambda x: x.transpose(order), input_tensor.dtype, **more)


def transpose(input_tensor: Tensor, dim1: int, dim2: int, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """Two dimensions swapped."""
    order = list(range(len(input_tensor.shape)))
    order[dim1], order[dim2] = order[dim2], order[dim1]
    return permute(input_tensor, order, memory_config=memory_config)


@recorded
def to_memory_config(tensor: Tensor, memory_config: MemoryConfig, dtype: DataType | None = None) -> Tensor:
    """The same values elsewhere, or the same tensor where it lies there already; from or to shards in cycles not modelled."""
    if (memory_config, dtype or tensor.dtype) == (tensor.memory_config(), tensor.dtype):
        return tensor
    return _placed("to_memory_config", tensor, memory_config, dtype)


def _placed(op: str, tensor: Tensor, memory_config: MemoryConfig, dtype: DataType | None) -> Tensor:
    dtype = dtype or tensor.dtype
    cycles = cycles_of_copy(tensor, dtype, memory_config)
    return mapped(op, [tensor], lambda x: x, dtype, memory_config=memory_config, cycles=cycles)


def tilize(
    input_tensor: Tensor,
    *,
    memory_config: MemoryConfig | None = None,
    dtype: DataType | None = None,
    use_multicore: bool = True,
) -> Tensor:
    """As `to_layout` to tiles, which fills them up with zeros."""
    return to_layout(input_tensor, Layout.TILE, dtype, memory_config)


tilize_with_zero_padding = tilize


def untilize(input_tensor: Tensor, *, memory_config: MemoryConfig | None = None, use_multicore: bool = True) -> Tensor:
    """As `to_layout` to rows; a block format becomes bfloat16, as in ttnn."""
    dtype = DataType.BFLOAT16 if input_tensor.dtype.is_block else input_tensor.dtype
    return to_layout(input_tensor, Layout.ROW_MAJOR, dtype, memory_config)


@recorded
def interleaved_to_sharded(
    input_tensor: Tensor,
    sharded_memory_config: MemoryConfig | CoreRangeSet | CoreGrid | CoreCoord,
    shard_shape: Any = None,
    shard_scheme: TensorMemoryLayout | None = None,
    shard_orientation: ShardOrientation = ShardOrientation.ROW_MAJOR,
    output_dtype: DataType | None = None,
    *,
    keep_l1_aligned: bool = False,
) -> Tensor:
    """The same values in shards, of a memory config, or of a grid, a shape and a scheme; cycles are not modelled.

    Raises:
        RuntimeError: the tensor is in shards, or what is given makes none.
    """
    grid = sharded_memory_config
    if isinstance(grid, CoreCoord | CoreGrid):
        grid = CoreRangeSet([CoreRange(CoreCoord(0, 0), CoreCoord(grid.x - 1, grid.y - 1))])
    if isinstance(grid, CoreRangeSet):
        demand("interleaved_to_sharded:", (shard_shape and shard_scheme, "a grid goes with shard_shape and shard_scheme"))
        assert shard_scheme is not None
        grid = MemoryConfig(shard_scheme, BufferType.L1, ShardSpec(grid, shard_shape, shard_orientation))
    demand(
        "interleaved_to_sharded:",
        (not input_tensor.is_sharded(), "Input tensor must be interleaved; it is in shards"),
        (grid.is_sharded(), "Output memory config must be sharded; it is interleaved"),
    )
    return _placed("interleaved_to_sharded", input_tensor, grid, output_dtype)


@recorded
def sharded_to_interleaved(
    input_tensor: Tensor,
    memory_config: MemoryConfig | None = None,
    output_dtype: DataType | None = None,
    *,
    is_l1_aligned: bool = False,
) -> Tensor:
    """The same values interleaved, in DRAM if no memory config is given; cycles are not modelled.

    Raises:
        RuntimeError: the tensor is in no shards, or the result would be.
    """
    config = memory_config or DRAM_MEMORY_CONFIG
    demand(
        "sharded_to_interleaved:",
        (input_tensor.is_sharded(), "Input tensor must be sharded; it is interleaved"),
        (not config.is_sharded(), "Output memory config must be interleaved; it is sharded"),
    )
    return _placed("sharded_to_interleaved", input_tensor, config, output_dtype)


@recorded
def reshard(input_tensor: Tensor, output_memory_config: MemoryConfig) -> Tensor:
    """The same values in other shards; cycles are not modelled.

    Raises:
        RuntimeError: either is in no shards.
    """
    sharded = input_tensor.is_sharded() and output_memory_config.is_sharded()
    demand("reshard:", (sharded, "input and output must be sharded"))
    return _placed("reshard", input_tensor, output_memory_config, None)


def reallocate(tensor: Tensor, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same tensor: memory here has no holes that it could move into. Another memory config is `to_memory_config`'s."""
    return tensor if memory_config is None else to_memory_config(tensor, memory_config)


move = reallocate


def deallocate(tensor: Tensor, force: bool = True) -> None:
    """Give a tensor's memory back; a later use of it is an error."""
    tensor.deallocate(force)


def __getattr__(name: str) -> Any:
    return getattr(glue, name)
