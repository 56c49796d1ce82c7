"""Tensors made of tensors: repeated, stacked, stretched, cut to triangles, held within bounds. Numbers, and no cycles."""

from collections.abc import Callable, Sequence

import numpy as np

from tensix_sim.ttnn.glue import demand_dim, named, unsqueeze
from tensix_sim.ttnn.moves import mapped
from tensix_sim.ttnn.operations import concat
from tensix_sim.ttnn.session import recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, demand
from tensix_sim.ttnn.values import Array


@recorded
def repeat_interleave(input_tensor: Tensor, repeats: int, dim: int = 0, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """Each slice along a dimension so often, one after the other, as heads of K and V for grouped heads of Q; no cycles here."""
    demand_dim("repeat_interleave", dim, len(input_tensor.shape))
    shape = list(input_tensor.shape)
    shape[dim] *= repeats
    more = {"shape": shape, "memory_config": memory_config}
    return mapped("repeat_interleave", [input_tensor], lambda x: np.repeat(x, repeats, dim), input_tensor.dtype, **more)


@recorded
def expand(input_tensor: Tensor, output_shape: Sequence[int], *, memory_config: MemoryConfig | None = None) -> Tensor:
    """The tensor in a larger shape, in which its dimensions of 1 repeat; -1 keeps a size. Cycles are not modelled."""
    given, old = list(output_shape), input_tensor.shape
    kept = [1] * (len(given) - len(old)) + list(old)
    shape = [before if size == -1 else size for size, before in zip(given, kept, strict=True)]
    more = {"shape": shape, "memory_config": memory_config}
    return mapped("expand", [input_tensor], lambda x: np.broadcast_to(x, shape), input_tensor.dtype, **more)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension; as `concat` of views."""
    demand("stack:", (tensors, "of no tensors"))
    return concat([unsqueeze(one, dim) for one in tensors], dim % (len(tensors[0].shape) + 1))


@recorded
def clamp(
    input_tensor: Tensor,
    min: float | None = None,
    max: float | None = None,
    *,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """Elements held within bounds, of which one may be left out. Cycles are not modelled."""
    demand("clamp:", (min is not None or max is not None, "Only one of 'min' or 'max' can be None"))
    bounded = lambda x: np.clip(x, min, max)  # noqa: E731
    return mapped("clamp", [input_tensor], bounded, input_tensor.dtype, memory_config=memory_config)


clip = clamp


def _triangle(name: str, cut: Callable[..., Array], doc: str) -> Callable[..., Tensor]:
    def op(input_tensor: Tensor, diagonal: int = 0, *, memory_config: MemoryConfig | None = None) -> Tensor:
        config = {"memory_config": memory_config}
        return mapped(name, [input_tensor], lambda x: cut(x, diagonal), input_tensor.dtype, **config)

    return named(op, name, f"{doc} a diagonal of the last two dimensions, zeros elsewhere", cost=". Cycles are not modelled")


tril, triu = _triangle("tril", np.tril, "What is on and below"), _triangle("triu", np.triu, "What is on and above")
