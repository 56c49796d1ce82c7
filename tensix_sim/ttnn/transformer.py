"""ttnn.transformer: the attention ops, each a run spec made of the tensors' shapes and the given configs.

What the spec's rules refuse is a RuntimeError here, as a failed check is in ttnn.
"""

from typing import Any, NoReturn

from tensix_sim.ttnn.apart import number_on_devices
from tensix_sim.ttnn.attention import attend
from tensix_sim.ttnn.decode_attention import paged_scaled_dot_product_attention_decode, scaled_dot_product_attention_decode
from tensix_sim.ttnn.encoders import (
    attention_softmax,
    attention_softmax_,
    concatenate_heads,
    split_query_key_value_and_split_heads,
)
from tensix_sim.ttnn.joint import joint_scaled_dot_product_attention
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.ring_joint import ring_joint_scaled_dot_product_attention
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import (
    MemoryConfig,
    NotModelledError,
    SDPAPrecision,
    SDPAProgramConfig,
    WormholeComputeKernelConfig,
    refuse,
)

__all__ = [
    "attention_softmax",
    "attention_softmax_",
    "chunked_scaled_dot_product_attention",
    "concatenate_heads",
    "joint_scaled_dot_product_attention",
    "paged_scaled_dot_product_attention_decode",
    "ring_distributed_scaled_dot_product_attention",
    "ring_joint_scaled_dot_product_attention",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_decode",
    "split_query_key_value_and_split_heads",
    "windowed_scaled_dot_product_attention",
]


@recorded
def ring_distributed_scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    ring_size: int,
    ring_id: int | None = None,
    *,
    scale: float | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    page_table: Tensor | None = None,
    chunk_start_idx: int | None = None,
    sliding_window_size: int | None = None,
    precision: SDPAPrecision | None = None,
) -> Tensor:
    """Causal attention, of whose query rows each device of a ring computes a slab from the front and one from the back.

    q is [B, NQH, S, DH] on every device, k and v [B, NKH, S, DH], or with `chunk_start_idx` the blocks of a paged cache
    [blocks, NKH, block size, DH]. The result is [B, NQH, S / ring_size, DH] in the data type of q. Without `ring_id` a
    device's is its place along the mesh axis that is as long as the ring. Source: tt-metal's `sdpa_nanobind.cpp`; the
    window is of its OLMo branch.

    Raises:
        RuntimeError: shapes or configs break a rule of the op; all of them are listed.
        NotModelledError: a precision recipe, or a window where the branch is set to main.
    """
    refuse("ring_distributed_scaled_dot_product_attention", precision=precision)
    if sliding_window_size:
        if SESSION.settings.branch == "main":
            raise NotModelledError(
                "sliding_window_size of the ring op is on tt-metal's OLMo branch, and not on main: set the branch to olmo"
            )
        SESSION.note("the ring op took a sliding_window_size, as on tt-metal's OLMo branch; main has no such argument")
    paged = page_table
    if page_table is not None and chunk_start_idx is None:
        SESSION.note("ring op: page_table without chunk_start_idx has no effect, here as in ttnn")
        paged = None
    own = {
        "ring_size": ring_size,
        "ring_id": ring_id,
        "sliding_window_size": sliding_window_size or None,
        "chunk_start_idx": chunk_start_idx,
    }
    configs = scale, memory_config, program_config, compute_kernel_config
    return attend("ring_distributed_sdpa", (input_tensor_q, input_tensor_k, input_tensor_v), paged, own, *configs)


@recorded
def scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    *,
    attn_mask: Tensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    attention_sink: Tensor | None = None,
    cu_window_seqlens: Tensor | None = None,
) -> Tensor:
    """Attention on each device by itself: q [B, NQH, Sq, DH], k and v [B, NKH, Sk, DH], the result like q.

    `attn_mask` [1 or B, 1 or NQH, Sq, Sk] is added to the scaled scores; `attention_sink` [1, NQH, 1, 1] is one more score of
    each head, before scaling, without a value; with `cu_window_seqlens` [windows + 1] a token sees those of its own window.
    Source: tt-metal's `sdpa_nanobind.cpp`.

    Raises:
        RuntimeError: shapes or configs break a rule of the op; all of them are listed.
    """
    own = {"is_causal": is_causal, "sliding_window_size": sliding_window_size or None}
    configs = scale, memory_config, program_config, compute_kernel_config
    tensors = {"attn_mask": attn_mask, "attention_sink": attention_sink, "cu_window_seqlens": cu_window_seqlens}
    beside = {what: tensor for what, tensor in tensors.items() if tensor is not None}
    return attend("sdpa", (input_tensor_q, input_tensor_k, input_tensor_v), None, own, *configs, beside)


@recorded
def windowed_scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    cu_window_seqlens: Tensor,
    *,
    scale: float | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """`scaled_dot_product_attention` with `cu_window_seqlens`, which was an op of its own before 2026.

    Raises:
        RuntimeError: shapes or configs break a rule of the op; all of them are listed.
    """
    configs = scale, memory_config, program_config, compute_kernel_config
    qkv = input_tensor_q, input_tensor_k, input_tensor_v
    return attend("sdpa", qkv, None, {"is_causal": False}, *configs, {"cu_window_seqlens": cu_window_seqlens})


@recorded
def chunked_scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    page_table_tensor: Tensor,
    chunk_start_idx: int | None = None,
    *,
    chunk_start_idx_tensor: Tensor | None = None,
    scale: float | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    block_size: int | None = None,
    num_kv_heads: int | None = None,
    paged_cache_geometry: Any = None,
) -> Tensor:
    """Causal attention of new rows behind `chunk_start_idx` rows in a paged cache, on each device by itself.

    q is [B, NQH, S, DH], k and v are blocks [blocks, NKH, block size, DH], the table [B, pages] of int32.
    Source: tt-metal's `sdpa_nanobind.cpp`.

    Raises:
        RuntimeError: shapes or configs break a rule of the op; all of them are listed.
        NotModelledError: a cache of another geometry than its shape says.
    """
    name = "chunked_scaled_dot_product_attention"
    refuse(name, block_size=block_size, num_kv_heads=num_kv_heads, paged_cache_geometry=paged_cache_geometry)
    if (chunk_start_idx is None) == (chunk_start_idx_tensor is None):
        raise RuntimeError(f"{name}: give chunk_start_idx or chunk_start_idx_tensor, the rows that the cache holds already")
    if chunk_start_idx_tensor is not None:
        chunk_start_idx = number_on_devices(name, "chunk_start_idx_tensor", chunk_start_idx_tensor)
    own = {"chunk_start_idx": chunk_start_idx, "chunk_start_idx_tensor": chunk_start_idx_tensor is not None}
    configs = scale, memory_config, program_config, compute_kernel_config
    return attend("chunked_sdpa", (input_tensor_q, input_tensor_k, input_tensor_v), page_table_tensor, own, *configs)


def __getattr__(name: str) -> NoReturn:
    raise absent(name, "ttnn.transformer", __all__)
