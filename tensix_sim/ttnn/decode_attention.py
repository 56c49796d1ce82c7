"""Attention of a decode step: a token of each user by its cache. NumPy's numbers in float32, rounded once, and no cycles.

Source: tt-metal's `sdpa_decode_nanobind.cpp`, as its tests call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensix_sim.ttnn.decode import NOBODY, of_users, tables
from tensix_sim.ttnn.moves import common_mesh, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, SDPAProgramConfig, WormholeComputeKernelConfig, demand
from tensix_sim.ttnn.values import Array, Stored, once


@dataclass(frozen=True)
class Step:
    """How the tokens of users attend to their cache."""

    is_causal: bool
    scale: float
    window: int | None

    def attend(self, q: Array, k: Array, v: Array, position: int, mask: Array | None = None, sink: Array | None = None) -> Array:
        """A user's q [heads, DH] by k and v [kv_heads, rows, DH]; of a causal step up to the row of its position."""
        last = position + 1 if self.is_causal else k.shape[1]
        first = max(last - self.window, 0) if self.window else 0
        k, v = k[:, first:last], v[:, first:last]
        scores = (q.reshape(len(k), -1, q.shape[-1]) @ k.swapaxes(-1, -2)).reshape(len(q), -1) * np.float32(self.scale)
        if mask is not None:
            scores = scores + mask[: len(q), first:last]
        most = scores.max(-1, keepdims=True)
        if sink is not None:
            most = np.maximum(most, sink * self.scale)
        shares = np.exp(scores - most)
        whole = shares.sum(-1, keepdims=True) + (0 if sink is None else np.exp(sink * self.scale - most))
        result: Array = ((shares / whole).reshape(len(k), -1, last - first) @ v).reshape(q.shape)
        return result


def _attention(
    op: str,
    qkv: tuple[Tensor, Tensor, Tensor],
    table: Tensor | None,
    is_causal: bool,
    cur_pos: tuple[Sequence[int], Tensor | None],
    scale: float | None,
    window: int | None,
    beside: dict[str, Tensor | None],
    memory_config: MemoryConfig | None,
    **configs: Any,
) -> Tensor:
    """Attention of a token of each user, at positions that are listed or in a tensor, on each device by itself."""
    SESSION.without_effect(op, **configs)
    demand(f"{op}:", (not is_causal or beside["mask"] is None, "a causal step takes no attn_mask"))
    q, k, v = qkv
    step = Step(is_causal, scale or q.shape[-1] ** -0.5, window or None)
    positions = _positions(op, q, is_causal, *cur_pos)
    given = {what: tensor for what, tensor in beside.items() if tensor is not None}
    inputs = [*qkv, *given.values()]
    mesh = common_mesh(op, inputs)
    _, users, heads, width = q.shape
    demand(
        f"{op}:",
        (mesh, "the tensors are on the host; put them on a device"),
        (q.shape[0] == 1, f"q is {list(q.shape)}; [1, users, heads, DH] is needed"),
        (k.shape == v.shape and k.shape[3] == width, f"q is {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"),
        (heads % k.shape[1] == 0, f"{heads} heads of q for {k.shape[1]} of k and v; equally many for each are needed"),
        (table is not None or k.shape[0] == users, f"{users} users; the cache has {k.shape[0]}"),
    )
    at_most = k.shape[2] if table is None else k.shape[2] * table.shape[1]
    for at in positions:
        demand(f"{op}:", (at is None or at.max() < at_most, f"cur_pos {at} beyond the {at_most} rows of a sequence"))
    rows_of = tables(op, table, users) if table is not None else [np.arange(users)[:, None]] * len(q.shards)

    def attended(at: Array, blocks: Array, query: Stored, keys: Stored, values: Stored, *more: Stored) -> Stored:
        queries, out = query.values()[0], np.zeros((users, heads, width), np.float32)
        extra = dict(zip(given, (one.values() for one in more), strict=True))
        sink = extra["sink"].reshape(heads, -1)[:, :1] if "sink" in extra else None
        for user in np.flatnonzero(at != NOBODY):
            rows = k.shape[2] if table is None else at[user] + 1 if step.is_causal else at_most
            named = blocks[user, : -(-rows // k.shape[2])]
            demand(f"{op}:", (named.min() >= 0 and named.max() < k.shape[0], f"the page table names blocks {named}"))
            one, other = (held.blocks(named).swapaxes(0, 1).reshape(k.shape[1], -1, width) for held in (keys, values))
            mask = extra["mask"][user, 0] if "mask" in extra else None
            out[user] = step.attend(queries[user], one, other, int(at[user]), mask, sink)
        return Stored.of(out[None], q.dtype)

    shards = once(attended, positions, rows_of, *(tensor.shards for tensor in inputs))
    result = q.like(shards, q.shape, memory_config=memory_config or MemoryConfig())
    if mesh:
        record(op, mesh, inputs, None, (step, table is None), result)
    return result


def _positions(op: str, q: Tensor, causal: bool, cur_pos: Sequence[int], cur_pos_tensor: Tensor | None) -> list[Array | None]:
    if not causal:
        return [np.zeros(q.shape[1], np.int64)] * len(q.shards)
    demand(f"{op}:", (bool(cur_pos) != (cur_pos_tensor is not None), "a causal step needs cur_pos or cur_pos_tensor"))
    return of_users(op, "cur_pos", cur_pos, cur_pos_tensor, len(q.shards), q.shape[1])


@recorded
def scaled_dot_product_attention_decode(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    *,
    is_causal: bool = True,
    attn_mask: Tensor | None = None,
    cur_pos: Sequence[int] = (),
    cur_pos_tensor: Tensor | None = None,
    attention_sink: Tensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """A token of each user, q [1, users, heads, DH], by its cache [users, kv_heads, rows, DH] up to its position; like q.

    Without `is_causal` by all rows, with a mask [users, 1, heads or more, rows] if there is one. A sink [heads, ...] is as of
    `scaled_dot_product_attention`. Numbers are NumPy's in float32, rounded once; cycles are not modelled.

    Raises:
        RuntimeError: shapes or positions do not go together.
    """
    return _attention(
        "scaled_dot_product_attention_decode", (input_tensor_q, input_tensor_k, input_tensor_v), None, is_causal,
        (cur_pos, cur_pos_tensor), scale, sliding_window_size, {"mask": attn_mask, "sink": attention_sink}, memory_config,
        program_config=program_config, compute_kernel_config=compute_kernel_config,
    )  # fmt: skip


@recorded
def paged_scaled_dot_product_attention_decode(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    page_table_tensor: Tensor,
    *,
    is_causal: bool = True,
    attn_mask: Tensor | None = None,
    cur_pos_tensor: Tensor | None = None,
    attention_sink: Tensor | None = None,
    scale: float | None = None,
    sliding_window_size: int | None = None,
    memory_config: MemoryConfig | None = None,
    program_config: SDPAProgramConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """As `scaled_dot_product_attention_decode`, of blocks [blocks, kv_heads, block size, DH], a table [users, pages].

    Raises:
        RuntimeError: shapes, positions or the page table do not go together.
    """
    return _attention(
        "paged_scaled_dot_product_attention_decode", (input_tensor_q, input_tensor_k, input_tensor_v), page_table_tensor,
        is_causal, ((), cur_pos_tensor), scale, sliding_window_size, {"mask": attn_mask, "sink": attention_sink}, memory_config,
        program_config=program_config, compute_kernel_config=compute_kernel_config,
    )  # fmt: skip
