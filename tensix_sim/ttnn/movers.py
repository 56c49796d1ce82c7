"""ttnn's ops around attention as `tensix_sim.movers` has them: which program tensors take, and its cycles.

None where there is no such program: tensors that are not tiles of floats, or in shards, sums with columns, rows that L1 does not
hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ttnn.moves import Moved, common_mesh, of_moves
from tensix_sim.ttnn.session import SESSION, Cycles
from tensix_sim.ttnn.types import BufferType, DataType, Layout, MemoryConfig, Shape, WormholeComputeKernelConfig

KINDS = {"add": "add", "subtract": "add", "multiply": "multiply"}  # that the FPU does, a tile at a time, but of float32


def cycles_of(
    program: str,
    inputs: Sequence[Moved],
    out: MemoryConfig | None,
    *about: Any,
    compute: WormholeComputeKernelConfig | None = None,
) -> Cycles | None:
    """Cycles on a device of a program of `tensix_sim.movers`, made of `about`; simulated once for all that are alike."""
    from tensix_sim import movers
    from tensix_sim.gather.run import run_alone
    from tensix_sim.program import ComputeConfig

    mesh = common_mesh(program, inputs)
    memories = [tensor.memory_config().buffer_type for tensor in inputs]
    memories.append(out.buffer_type if out else memories[0])
    sharded = any(tensor.is_sharded() for tensor in inputs) or bool(out and out.is_sharded())
    if mesh is None or sharded or not all(map(_in_tiles, inputs)) or not {*memories} <= {BufferType.DRAM, BufferType.L1}:
        return None
    places = tuple(memory.value for memory in memories)
    math = (compute.math_fidelity.value, compute.fp32_dest_acc_en) if compute else ()
    key = program, mesh.kind, about, places, math
    if key not in SESSION.timed:
        made = replace(getattr(movers, program)(mesh.machine, *about, memories=places), compute=ComputeConfig(*math))
        SESSION.timed[key] = None if made.check(mesh.machine) else of_moves(mesh, run_alone(program, mesh.machine, made))
    cycles: Cycles | None = SESSION.timed[key]
    return cycles


def cycles_of_copy(tensor: Moved, dtype: DataType, out: MemoryConfig | None, compute: bool = False) -> Cycles | None:
    """Of the same tiles elsewhere, through the compute kernel if their format changes or they are to be turned."""
    if dtype.value not in FORMATS:
        return None
    tiles, formats = tiles_of(tensor.shape), (tensor.dtype.value, dtype.value)
    if compute or tensor.dtype is not dtype:
        return cycles_of("unary", [tensor], out, tiles, "copy", formats)
    return cycles_of("copy", [tensor], out, tiles, dtype.value)


def cycles_of_pair(op: str, a: Moved, b: Moved | None, dtype: DataType, out: MemoryConfig | None) -> Cycles | None:
    """Of a sum, a difference or a product of two tensors, or of a tensor and a number."""
    formats = [one.dtype for one in (a, b) if one is not None] + [dtype]
    if op not in KINDS or not {*formats} <= {DataType.BFLOAT16, DataType.BFLOAT8_B, DataType.BFLOAT4_B}:
        return None
    names = tuple(one.value for one in formats)
    if b is None:
        return cycles_of("unary", [a], out, tiles_of(a.shape), KINDS[op], names)
    import numpy as np

    whole = np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    if not all(_serves_again(tuple(one.shape), whole) for one in (a, b)):
        return None
    sizes = tiles_of(a.shape), tiles_of(b.shape)
    return cycles_of("binary", [a, b], out, tiles_of(whole), names, op == "multiply", sizes)


def cycles_of_norm(
    inputs: dict[str, Moved],
    dtype: DataType,
    out: MemoryConfig | None,
    centred: bool,
    compute: WormholeComputeKernelConfig | None,
) -> Cycles | None:
    """Of a norm of `x`, with what stands beside it by name; a weight may be in rows, which are read as its tiles would be."""
    x = inputs["x"]
    if x.dtype is not dtype or len(x.shape) < 2:
        return None
    size, wide = (tiles_of((*x.shape[:-1], 1)), rows_of(x.shape[-1])), bool(compute and compute.fp32_dest_acc_en)
    beside = tuple(name for name in inputs if name != "x")
    return cycles_of("norm", [x], out, *size, dtype.value, centred, wide, beside, compute=compute)


def tiles_of(shape: Sequence[int]) -> int:
    """Tiles of a tensor, those that padding fills up included."""
    *outer, rows, columns = (1, *shape) if len(shape) == 1 else shape
    return Shape(outer).volume() * rows_of(rows) * rows_of(columns)


def rows_of(size: int) -> int:
    """Tiles along a dimension."""
    return -(-size // TILE)


def _in_tiles(tensor: Moved) -> bool:
    return tensor.layout is Layout.TILE and tensor.dtype.value in FORMATS


def _serves_again(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether the tiles of a tensor are used in their order, from the first one again when all have been: rows, or batches."""
    filled = (1,) * (len(whole) - len(shape)) + shape
    left = next((i for i, size in enumerate(filled) if size != 1), len(filled) - 1)
    return filled[left:] == whole[left:] and filled[-1] == whole[-1]
