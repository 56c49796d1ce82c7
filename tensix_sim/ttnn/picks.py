"""What a decode loop picks: the largest of a row, some of the largest, the next position. Numbers, and no cycles."""

from typing import Any

import numpy as np

from tensix_sim.ttnn.glue import demand_dim
from tensix_sim.ttnn.moves import common_mesh, mapped, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import CoreRangeSet, DataType, Layout, MemoryConfig, demand
from tensix_sim.ttnn.values import Array, Stored, apart, each


@recorded
def argmax(
    input_tensor: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    sub_core_grids: CoreRangeSet | None = None,
    use_multicore: bool = False,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """Where the first of the largest elements along a dimension is, or of all: uint32, in rows. Cycles are not modelled."""
    SESSION.without_effect("argmax", sub_core_grids=sub_core_grids)
    shape = list(input_tensor.shape)
    if dim is None:
        made = [1] * len(shape) if keepdim else []
    else:
        demand_dim("argmax", dim, len(shape))
        at = dim % len(shape)
        made = shape[:at] + [1] * keepdim + shape[at + 1 :]

    def places(x: Array) -> Array:
        result: Array = np.asarray(np.argmax(x, dim)).reshape(made)
        return result

    more = {"shape": made, "layout": Layout.ROW_MAJOR, "memory_config": memory_config}
    return mapped("argmax", [input_tensor], places, DataType.UINT32, **more)


@recorded
def topk(
    input_tensor: Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,  # ttnn's name
    *,
    sub_core_grids: CoreRangeSet | None = None,
    memory_config: MemoryConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """The `k` largest or smallest elements along a dimension, in their order, and where they are. Cycles are not modelled.

    Raises:
        RuntimeError: there are not so many.
    """
    SESSION.without_effect("topk", sub_core_grids=sub_core_grids)
    mesh, shape = common_mesh("topk", [input_tensor]), list(input_tensor.shape)
    demand_dim("topk", dim, len(shape))
    demand("topk:", (0 < k <= shape[dim], f"k = {k} of {shape[dim]}"))
    types = input_tensor.dtype, DataType.UINT16 if shape[dim] < 1 << 16 else DataType.UINT32

    def found(x: Array) -> tuple[Stored, Stored]:
        order = np.argsort(-x if largest else x, dim, kind="stable")
        first = np.take(order, range(k), dim)
        return Stored.of(np.take_along_axis(x, first, dim), types[0]), Stored.of(first, types[1])

    made = each(found, input_tensor.shards)
    shape[dim] = k
    values, places = (
        input_tensor.like(shards, shape, dtype, memory_config=memory_config)
        for dtype, shards in zip(types, apart(made, 2), strict=True)
    )
    if mesh:
        record("topk", mesh, [input_tensor], None, (k, dim, largest), values)
    return values, places


@recorded
def plus_one(input_tensor: Tensor, *, sub_core_grids: CoreRangeSet | None = None, skip_negative_entries: bool = False) -> Tensor:
    """Add one to integers, in place, or to those that are not negative. Cycles are not modelled.

    Raises:
        RuntimeError: the tensor has no integers.
    """
    SESSION.without_effect("plus_one", sub_core_grids=sub_core_grids)
    demand("plus_one:", (input_tensor.dtype.is_integer, f"{input_tensor.dtype.value}; it takes integers"))
    more: dict[str, Any] = {"layout": input_tensor.layout}
    one_more = lambda x: x + ((x >= 0) if skip_negative_entries else 1)  # noqa: E731
    input_tensor.take_values(mapped("plus_one", [input_tensor], one_more, input_tensor.dtype, **more))
    return input_tensor
