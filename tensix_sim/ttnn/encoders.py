"""ttnn.transformer's older ops of encoders: heads of [B, S, width], and a softmax of scores. Heads as the newer ops move them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensix_sim.ttnn.configs import SOFTMAX_CONFIGS, demand_config
from tensix_sim.ttnn.glue import named, shares, softmax
from tensix_sim.ttnn.heads import nlp_concat_heads, nlp_create_qkv_heads
from tensix_sim.ttnn.moves import mapped, reshape
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, WormholeComputeKernelConfig, demand
from tensix_sim.ttnn.values import Array


@recorded
def split_query_key_value_and_split_heads(
    input_tensor: Tensor,
    kv_input_tensor: Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_key: bool = True,
    memory_config: MemoryConfig | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """[B, S, (heads + 2 kv_heads) * DH] as q [B, heads, S, DH], k, transposed if not told otherwise, and v.

    Raises:
        RuntimeError: the tensor has not three dimensions, or rows are no equal heads.
    """
    return nlp_create_qkv_heads(
        _with_one(input_tensor), None if kv_input_tensor is None else _with_one(kv_input_tensor), num_heads=num_heads,
        num_kv_heads=num_kv_heads, transpose_k_heads=transpose_key, memory_config=memory_config,
    )  # fmt: skip


@recorded
def concatenate_heads(input_tensor: Tensor, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """[B, heads, S, DH] as [B, S, heads * DH]; `nlp_concat_heads`."""
    joined = nlp_concat_heads(input_tensor, memory_config=memory_config)
    batch, _, rows, width = joined.shape
    return reshape(joined, (batch, rows, width))


@recorded
def attention_softmax(
    input_tensor: Tensor,
    *,
    head_size: int | None = None,
    attention_mask: Tensor | None = None,
    program_config: object = None,
    causal_mask: bool = False,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """Softmax of rows of scores [B, heads, S, S] over the root of the head size, with a mask added. Cycles are not modelled.

    The mask is [B, 1, 1 or S, S]; that it is causal changes how it is read, and not what it says.

    Raises:
        RuntimeError: the mask is larger than the scores.
    """
    causal = {"program_config": program_config, "causal_mask": causal_mask or None}
    scale = 1.0 if head_size is None else head_size**-0.5
    return _softmax("attention_softmax", input_tensor, scale, attention_mask, memory_config, causal)


@recorded
def scale_mask_softmax(
    input_tensor: Tensor,
    scale: float | None = None,
    mask: Tensor | None = None,
    *,
    memory_config: MemoryConfig | None = None,
    is_causal_mask: bool = False,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    numeric_stable: bool = False,
    program_config: object = None,
) -> Tensor:
    """Softmax of rows of scores times a scale, with a mask added, which is as large or 1 where it is not. No cycles.

    It is of the scores less their maximum, whether that is asked for or not; that a mask is causal changes how it is read.

    Raises:
        RuntimeError: the mask is larger than the scores.
    """
    taken = {"program_config": program_config, "is_causal_mask": is_causal_mask or None}
    more = {"compute_kernel_config": compute_kernel_config}
    return _softmax("scale_mask_softmax", input_tensor, 1.0 if scale is None else scale, mask, memory_config, taken | more)


def _softmax(
    name: str, scores: Tensor, scale: float, mask: Tensor | None, memory_config: MemoryConfig | None, taken: Mapping[str, object]
) -> Tensor:
    demand_config(name, taken["program_config"], SOFTMAX_CONFIGS)
    SESSION.without_effect(name, **taken)
    inputs = [scores, *([] if mask is None else [mask])]

    def scaled(x: Array, *mask: Array) -> Array:
        x = x * np.float32(scale)
        return shares(x + mask[0] if mask else x)

    return mapped(name, inputs, scaled, scores.dtype, shape=scores.shape, memory_config=memory_config)


def _in_place(name: str, softmax_of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def op(input_tensor: Tensor, *args: Any, **more: Any) -> Tensor:
        input_tensor.take_values(softmax_of(input_tensor, *args, **more))
        return input_tensor

    return named(op, name, f"As `{softmax_of.__name__}`, whose result the scores take", "")


attention_softmax_ = _in_place("attention_softmax_", attention_softmax)
softmax_in_place = _in_place("softmax_in_place", softmax)
scale_mask_softmax_in_place = _in_place("scale_mask_softmax_in_place", scale_mask_softmax)
scale_causal_mask_hw_dims_softmax_in_place = _in_place("scale_causal_mask_hw_dims_softmax_in_place", scale_mask_softmax)


def _with_one(tensor: Tensor) -> Tensor:
    demand("split_query_key_value_and_split_heads:", (len(tensor.shape) == 3, f"Invalid input tensor: {list(tensor.shape)}"))
    batch, rows, width = tensor.shape
    return reshape(tensor, (batch, 1, rows, width))
