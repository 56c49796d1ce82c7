"""What attention takes beside Q, K and V: what each tensor must be, in upstream's words first, and the run spec's keys for it."""

from typing import Any

from tensix_sim.formats import TILE
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import BufferType, DataType, Layout, demand

FLOATS = DataType.BFLOAT16, DataType.BFLOAT8_B, DataType.BFLOAT4_B


def keys_of_mask(op: str, mask: Tensor, mesh: MeshDevice, q: Tensor, k: Tensor) -> dict[str, Any]:
    """A mask [1 or B, 1 or NQH, Sq, Sk], added to the scaled scores; its rows and columns may be as Q's and K's are padded.

    Raises:
        RuntimeError: it is something else.
    """
    _need(op, "attn_mask", "mask", mask, mesh)
    (batch, heads, rows, _), keys = q.shape, k.shape[2]
    batches, of_heads, mask_rows, mask_keys = mask.shape
    of_all = "must either be 1 (to be broadcasted across all"
    demand(
        f"{op}: Mask",
        (batches in (1, batch), f"batch dim {of_all} batches) or must match Q batch dimension {batch}; it is {batches}"),
        (of_heads in (1, heads), f"num_heads {of_all} heads) or must match Q heads dimension {heads}; it is {of_heads}"),
        (_covers(mask_rows, rows), f"sequence length must match Q sequence length {rows}; attn_mask has {mask_rows}"),
        (_covers(mask_keys, keys), f"sequence length must match K sequence length {keys}; attn_mask has {mask_keys}"),
    )
    named = {"attn_mask_batch": batches, "attn_mask_heads": of_heads, "attn_mask_dtype": mask.dtype.value}
    return {"attn_mask": "random", **named}


def keys_of_sink(op: str, sink: Tensor, mesh: MeshDevice, q: Tensor) -> dict[str, Any]:
    """Sinks [1, NQH, 1, 1], which take the scale as scores do.

    Raises:
        RuntimeError: they are something else.
    """
    _need(op, "attention_sink", "attention sink", sink, mesh)
    demand(
        f"{op}: Attention sink",
        (sink.shape == (1, q.shape[1], 1, 1), f"must have shape [1, {q.shape[1]}, 1, 1]; attention_sink is {list(sink.shape)}"),
    )
    return {"attention_sink": "random", "attention_sink_dtype": sink.dtype.value}


def windows_of(op: str, windows: Tensor, mesh: MeshDevice) -> list[int]:
    """Where windows of tokens begin, and the last one ends: 2 to 1024 integers in a row-major tensor.

    Raises:
        RuntimeError: the tensor is something else, or the devices have different windows.
    """
    windows.need(op)
    demand(
        f"{op}: cu_window_seqlens",
        (windows.device() is not None and windows.device().ids == mesh.ids, "must be on the same device as Q"),  # type: ignore[union-attr]
        (windows.dtype in (DataType.INT32, DataType.UINT32), f"must be int32 or uint32; it is {windows.dtype.value}"),
        (windows.layout is Layout.ROW_MAJOR, "must be in row-major layout; it is in tiles"),
        (len(windows.shape) == 1, f"must have 1 dimension; it has {len(windows.shape)}"),
    )
    held = {tuple(held.values().tolist()) for held in windows.shards if held is not None}
    demand(f"{op}: cu_window_seqlens", (len(held) == 1, "must be the same on all devices"))
    return list(held.pop())


def _covers(size: int, rows: int) -> bool:
    """Whether a size is that of rows, or of rows with their padding or some of it."""
    return rows <= size <= -(-rows // TILE) * TILE


def _need(op: str, name: str, what: str, tensor: Tensor, mesh: MeshDevice) -> None:
    """A tensor of floats in tiles in DRAM, on the devices of Q."""
    tensor.need(op)
    demand(
        f"{op}: When {what} is provided to SDPA,",
        (tensor.device(), f"the tensor must be on device; {name} is on the host"),
        (tensor.device() is None or tensor.device().ids == mesh.ids, f"it must be on the same device as Q; {name} is not"),  # type: ignore[union-attr]
        (tensor.layout is Layout.TILE, f"it must be tilized; {name} is in row-major layout"),
        (tensor.dtype in FLOATS, f"it must be in BF16, BFP8, or BFP4 dataformat; {name} is {tensor.dtype.value}"),
        (tensor.memory_config().buffer_type is BufferType.DRAM, f"it must be in DRAM; {name} is in L1"),
        (len(tensor.shape) == 4, f"it must have 4 dimensions; {name} has {len(tensor.shape)}"),
    )
