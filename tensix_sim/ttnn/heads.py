"""Heads of a sequence apart and together: moves of whole tiles, in cycles of tt-metal's own programs."""

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.movers import cycles_of, rows_of
from tensix_sim.ttnn.moves import rearranged
from tensix_sim.ttnn.session import recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig
from tensix_sim.ttnn.values import Array


@recorded
def nlp_concat_heads(input_tensor: Tensor, *, memory_config: MemoryConfig | None = None) -> Tensor:
    """[B, heads, S, DH] as [B, 1, S, heads * DH]."""

    def join(arrays: list[Array], unit: int) -> list[Array]:
        b, heads, rows, width = arrays[0].shape
        return [arrays[0].swapaxes(1, 2).reshape(b, 1, rows, heads * width)]

    def timed() -> int | None:
        b, heads, rows, width = input_tensor.shape
        about = rows_of(rows), heads, rows_of(width), input_tensor.dtype.value, b
        return cycles_of("concat_heads", [input_tensor], memory_config, *about) if width % TILE == 0 else None

    return rearranged("nlp_concat_heads", [input_tensor], join, memory_config, timed=timed)[0]


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

    With `transpose_k_heads`, ttnn's default, k is [B, kv_heads, DH, S]; with `input_tensor_kv` the first is of q alone, and that
    one has K and V.

    Raises:
        RuntimeError: rows are no equal heads.
    """
    kv = num_kv_heads or num_heads
    q_part, kv_part = (num_heads + 2 * kv, 0) if input_tensor_kv is None else (num_heads, 2 * kv)
    inputs = [input_tensor] if input_tensor_kv is None else [input_tensor, input_tensor_kv]
    for tensor, heads in zip(inputs, (q_part, kv_part), strict=False):
        if tensor.shape[-1] % heads:
            raise RuntimeError(f"nlp_create_qkv_heads: rows of {tensor.shape[-1]} are no {heads} equal heads")
    width = input_tensor.shape[-1] // q_part
    if kv_part and inputs[1].shape[-1] // kv_part != width:
        raise RuntimeError(f"nlp_create_qkv_heads: heads of {width} in q and of {inputs[1].shape[-1] // kv_part} in k and v")

    def part(arrays: list[Array], unit: int) -> list[Array]:
        apart = []
        for array, heads in zip(arrays, (q_part, kv_part), strict=False):
            b, _, rows, columns = array.shape
            apart.append(array.reshape(b, rows, heads, columns // heads).swapaxes(1, 2))
        q, k, v = np.split(np.concatenate(apart, 1), [num_heads, num_heads + kv], 1)
        return [q, k.swapaxes(-1, -2) if transpose_k_heads else k, v]

    def timed() -> int | None:
        turned = (num_heads, num_heads + kv) if transpose_k_heads else (0, 0)
        batch, _, rows, _ = input_tensor.shape
        about = rows_of(rows), num_heads + 2 * kv, rows_of(width), input_tensor.dtype.value, batch, turned
        return cycles_of("create_heads", inputs[:1], memory_config, *about) if width % TILE == 0 else None

    q, k, v = rearranged("nlp_create_qkv_heads", inputs, part, memory_config, (num_heads, kv, transpose_k_heads), timed)
    return q, k, v
