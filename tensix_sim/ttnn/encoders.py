"""ttnn.transformer's older ops of encoders: heads of [B, S, width], and a softmax of scores. Heads as the newer ops move them."""

import numpy as np

from tensix_sim.ttnn.configs import SOFTMAX_CONFIGS, demand_config
from tensix_sim.ttnn.glue import shares
from tensix_sim.ttnn.heads import nlp_concat_heads, nlp_create_qkv_heads
from tensix_sim.ttnn.moves import mapped, reshape
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, demand
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
    demand_config("attention_softmax", program_config, SOFTMAX_CONFIGS)
    SESSION.without_effect("attention_softmax", program_config=program_config, causal_mask=causal_mask or None)
    scale = np.float32(1.0 if head_size is None else head_size**-0.5)
    inputs = [input_tensor, *([] if attention_mask is None else [attention_mask])]

    def scaled(x: Array, *mask: Array) -> Array:
        return shares(x * scale + mask[0] if mask else x * scale)

    more = {"shape": input_tensor.shape, "memory_config": memory_config}
    return mapped("attention_softmax", inputs, scaled, input_tensor.dtype, **more)


@recorded
def attention_softmax_(
    tensor: Tensor,
    *,
    head_size: int | None = None,
    attention_mask: Tensor | None = None,
    program_config: object = None,
    causal_mask: bool = False,
) -> Tensor:
    """As `attention_softmax`, in place."""
    made = attention_softmax(
        tensor, head_size=head_size, attention_mask=attention_mask, program_config=program_config, causal_mask=causal_mask
    )
    tensor.take_values(made)
    return tensor


def _with_one(tensor: Tensor) -> Tensor:
    demand("split_query_key_value_and_split_heads:", (len(tensor.shape) == 3, f"Invalid input tensor: {list(tensor.shape)}"))
    batch, rows, width = tensor.shape
    return reshape(tensor, (batch, 1, rows, width))
