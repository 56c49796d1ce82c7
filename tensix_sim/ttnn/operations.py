"""What attention code calls around the op: splits and joins, which move tiles, and glue whose cycles are not modelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.moves import common_mesh, rearranged, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.types import DataType, Layout, MemoryConfig, NotModelledError, Shape, WormholeComputeKernelConfig, refuse
from tensix_sim.ttnn.values import Array, each, quantised

if TYPE_CHECKING:
    from tensix_sim.ttnn.tensor import Tensor


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

    def fill(cached: Array, new: Array) -> None:
        cached[batch_idx, :, :rows] = new[0]

    return _filled("fill_cache", cache, input_tensor, fill)


def _filled(op: str, cache: Tensor, new: Tensor, fill: Callable[[Array, Array], None], table: Tensor | None = None) -> Tensor:
    """Let `fill` write into the cache of each device; it takes the time of moving what is new."""
    mesh = common_mesh(op, [cache, new])
    if mesh is None:
        raise RuntimeError(f"{op}: the cache is on the host; put it on a device")
    if cache.dtype is not new.dtype:
        raise RuntimeError(f"{op}: the cache is {cache.dtype.value}, the input {new.dtype.value}; typecast it first")
    rearranged(op, [new], lambda arrays, unit: arrays)

    def filled(cached: Array, one: Array) -> Array:
        result = cached.copy()
        fill(result, one)
        return result

    after = each(filled, cache.shards, new.shards)
    cache.shards = [old if changed is None else changed for old, changed in zip(cache.shards, after, strict=True)]
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
        record("copy", mesh, [input_b], None)
    return input_b


def copy_host_to_device_tensor(host_tensor: Tensor, device_tensor: Tensor, cq_id: int | None = None) -> None:
    """Give a tensor on devices the values of one on the host; a host transfer, which costs no device cycles."""
    device_tensor.take_values(host_tensor)


# -- values -------------------------------------------------------------------------------------------------------


def _mapped(op: str, inputs: Sequence[Tensor], values: Callable[..., Array], dtype: DataType, **more: Any) -> Tensor:
    """A tensor whose shards are `values` of the inputs' shards, rounded to `dtype`; its cycles are not modelled."""
    mesh = common_mesh(op, inputs)
    layout, config = more.get("layout", inputs[0].layout), more.get("memory_config") or inputs[0].memory_config()
    shards = each(lambda *arrays: quantised(values(*arrays), dtype), *(tensor.shards for tensor in inputs))
    if mesh:
        record(op, mesh, inputs, None, (dtype, str(config)))
    shape = more.get("shape") or np.broadcast_shapes(*(tuple(tensor.shape) for tensor in inputs))
    return inputs[0].like(shards, shape, dtype, layout, config)


@recorded
def typecast(input_tensor: Tensor, dtype: DataType, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same values in another data type, rounded as the host does."""
    return _mapped("typecast", [input_tensor], lambda x: x, dtype, memory_config=memory_config)


@recorded
def reshape(input_tensor: Tensor, shape: Any, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same elements in another shape, of which one size may be -1.

    A view, and free, where the last two sizes stay, or the last, and rows are whole tiles; else cycles are not modelled.

    Raises:
        RuntimeError: the number of elements differs.
    """
    old, new = input_tensor.shape, [int(size) for size in shape]
    known = Shape(size for size in new if size != -1).volume()
    if -1 in new and known:
        new[new.index(-1)] = old.volume() // known
    if Shape(new).volume() != old.volume():
        raise RuntimeError(f"reshape: {list(old)} has {old.volume()} elements, {list(shape)} has {Shape(new).volume()}")
    rows = old[-2:-1] == Shape(new[-2:-1]) or not (old[-2] % TILE or new[-2] % TILE) if min(len(old), len(new)) > 1 else False
    if (old[-1] == new[-1] and rows) or input_tensor.layout is Layout.ROW_MAJOR or input_tensor.device() is None:
        input_tensor.need("reshape")
        shards = each(lambda x: x.reshape(new), input_tensor.shards)
        return input_tensor.like(shards, new, memory_config=memory_config)
    return _mapped(
        "reshape", [input_tensor], lambda x: x.reshape(new), input_tensor.dtype, shape=new, memory_config=memory_config
    )


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
    return _mapped(
        "permute", [input_tensor], lambda x: x.transpose(order), input_tensor.dtype, shape=shape, memory_config=memory_config
    )


def transpose(input_tensor: Tensor, dim1: int, dim2: int, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """Two dimensions swapped."""
    order = list(range(len(input_tensor.shape)))
    order[dim1], order[dim2] = order[dim2], order[dim1]
    return permute(input_tensor, order, memory_config=memory_config)


@recorded
def slice(  # ttnn's name
    input_tensor: Tensor,
    slice_start: Sequence[int],
    slice_end: Sequence[int],
    slice_step: Sequence[int] | None = None,
    *,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """Elements from `slice_start` up to `slice_end`, by `slice_step`, of each dimension; negative ends count from the end."""
    shape = input_tensor.shape
    steps = slice_step or [1] * len(shape)
    ends = [end + size if end < 0 else min(end, size) for end, size in zip(slice_end, shape, strict=True)]
    about = tuple(zip(slice_start, ends, steps, strict=True))
    picks = [range(*one) for one in about]
    if any(bound % TILE for start, end, _ in about[-2:] for bound in (start, end)) or any(s != 1 for s in steps[-2:]):
        cut = tuple(_slice(pick) for pick in picks)
        size = [len(pick) for pick in picks]
        return _mapped("slice", [input_tensor], lambda x: x[cut], input_tensor.dtype, shape=size, memory_config=memory_config)

    def part(arrays: list[Array], unit: int) -> list[Array]:
        units = [1] * (len(shape) - 2) + [unit, unit]
        return [arrays[0][tuple(_slice(range(p.start // u, p.stop // u, p.step)) for p, u in zip(picks, units, strict=True))]]

    return rearranged("slice", [input_tensor], part, memory_config, about)[0]


def _slice(pick: range) -> Any:
    return np.s_[pick.start : pick.stop : pick.step]


@recorded
def to_memory_config(tensor: Tensor, memory_config: MemoryConfig, dtype: DataType | None = None) -> Tensor:
    """The same values elsewhere. Between DRAM and L1 its cycles are not modelled; shards are refused.

    Raises:
        NotModelledError: a sharded config.
    """
    if memory_config.is_sharded():
        raise NotModelledError("to_memory_config: sharded tensors are not modelled; choose an interleaved memory config")
    return _mapped("to_memory_config", [tensor], lambda x: x, dtype or tensor.dtype, memory_config=memory_config)


def deallocate(tensor: Tensor, force: bool = True) -> None:
    """Give a tensor's memory back; a later use of it is an error."""
    tensor.deallocate(force)


@recorded
def add(
    input_tensor_a: Tensor, input_tensor_b: Any, *, memory_config: MemoryConfig | None = None, dtype: DataType | None = None
) -> Tensor:
    """The sum, by element; the second may be a number."""
    return _pairwise("add", np.add, input_tensor_a, input_tensor_b, memory_config, dtype)


@recorded
def multiply(
    input_tensor_a: Tensor, input_tensor_b: Any, *, memory_config: MemoryConfig | None = None, dtype: DataType | None = None
) -> Tensor:
    """The product, by element; the second may be a number."""
    return _pairwise("multiply", np.multiply, input_tensor_a, input_tensor_b, memory_config, dtype)


mul = multiply


def _pairwise(op: str, f: Callable[..., Array], a: Tensor, b: Any, config: MemoryConfig | None, dtype: DataType | None) -> Tensor:
    if isinstance(b, int | float | np.number):
        return _mapped(op, [a], lambda x: f(x, np.float32(b)), dtype or a.dtype, memory_config=config)
    return _mapped(op, [a, b], f, dtype or a.dtype, memory_config=config)


@recorded
def linear(
    input_tensor_a: Tensor,
    input_tensor_b: Tensor,
    *,
    bias: Tensor | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    memory_config: MemoryConfig | None = None,
    dtype: DataType | None = None,
    program_config: Any = None,
    activation: str | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    core_grid: Any = None,
) -> Tensor:
    """x W, plus a bias: values in float32, rounded once.

    Its cycles are not modelled; so what only they depend on, a program config, fidelity or grid, is taken and has no effect.
    """
    refuse("linear", activation=activation, transpose_a=transpose_a)
    if program_config or core_grid or compute_kernel_config:
        SESSION.note("linear, matmul: cycles and fidelity are not modelled, so their configs have no effect")
    w = input_tensor_b.shape
    shape = (*input_tensor_a.shape[:-1], w[-2] if transpose_b else w[-1])
    if input_tensor_a.shape[-1] != (w[-1] if transpose_b else w[-2]):
        raise RuntimeError(f"linear: {list(input_tensor_a.shape)} by {list(w)} do not go together")

    def product(x: Array, weights: Array, *more: Array) -> Array:
        result = x @ (weights.swapaxes(-1, -2) if transpose_b else weights)
        return result + more[0] if more else result

    inputs = [input_tensor_a, input_tensor_b, *([bias] if bias else [])]
    return _mapped("linear", inputs, product, dtype or input_tensor_a.dtype, shape=shape, memory_config=memory_config)


def matmul(input_tensor_a: Tensor, input_tensor_b: Tensor, **more: Any) -> Tensor:
    """The product of matrices; as `linear` without a bias."""
    refuse("matmul", bias=more.pop("bias", None))
    return linear(input_tensor_a, input_tensor_b, **more)
