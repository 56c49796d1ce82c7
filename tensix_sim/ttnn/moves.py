"""Ops that only move tiles: one function of arrays says what they do, to values and to the numbers of pages alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.session import SESSION, Call
from tensix_sim.ttnn.types import BufferType, Layout, MemoryConfig, NotModelledError, Shape
from tensix_sim.ttnn.values import Array, each

if TYPE_CHECKING:
    from tensix_sim.ttnn.tensor import Tensor

Rearrange = Callable[[list[Array], int], list[Array]]
PAGES = 1 << 32  # more than any tensor has


def rearranged(
    op: str, inputs: Sequence[Tensor], rearrange: Rearrange, memory_config: MemoryConfig | None = None, about: Any = None
) -> list[Tensor]:
    """The tensors that `rearrange(arrays, unit)` makes of the inputs, on the host or on every device of their mesh.

    It is asked twice: for arrays of values, where a row or column is one element, and for arrays of page numbers, whose last
    two dimensions count tiles of `unit` elements. The second tells the move of each tile, which the simulated cores carry out.
    """
    first = inputs[0]
    mesh = common_mesh(op, inputs)
    for tensor in inputs:
        if (tensor.dtype, tensor.layout) != (first.dtype, first.layout):
            raise RuntimeError(f"{op}: tensors of {first.dtype.value} and {tensor.dtype.value}, or of other layouts, together")
    blank = [np.broadcast_to(np.float32(0), tensor.shape) for tensor in inputs]
    shapes = [array.shape for array in rearrange(blank, 1)]
    made = each(lambda *arrays: [*map(np.ascontiguousarray, rearrange([*arrays], 1))], *(tensor.shards for tensor in inputs))
    if mesh:
        record(op, mesh, inputs, _cycles(op, mesh, inputs, shapes, rearrange, about))
    shards = zip(*(arrays or [None] * len(shapes) for arrays in made), strict=True)
    return [first.like(s, shape, memory_config=memory_config) for s, shape in zip(shards, shapes, strict=True)]


def common_mesh(op: str, tensors: Sequence[Tensor]) -> MeshDevice | None:
    """The mesh that holds all tensors, or None where all are on the host.

    Raises:
        RuntimeError: some are elsewhere, or deallocated.
        NotModelledError: one is sharded.
    """
    for tensor in tensors:
        tensor.need(op)
        if tensor.is_sharded():
            raise NotModelledError(f"{op}: a sharded tensor; here they must be interleaved")
    meshes = [tensor.device() for tensor in tensors]
    if len({None if mesh is None else tuple(mesh.ids) for mesh in meshes}) > 1:
        raise RuntimeError(f"{op}: its tensors are on different devices: {', '.join(map(repr, meshes))}")
    return meshes[0]


def record(op: str, mesh: MeshDevice, inputs: Sequence[Tensor], cycles: int | Sequence[int] | None, about: Any = None) -> None:
    """Note an op: a program, and on each device its cycles, the same on all unless they are listed; None: not modelled."""
    mesh.programs.add((op, about, *((tensor.shape, tensor.dtype, tensor.memory_config()) for tensor in inputs)))
    if cycles is None:
        SESSION.note(f"{op}: its cycles are not modelled, and its numbers are rounded once, at the end")
    number, clock = SESSION.number(), mesh.machine.chip.clock_hz
    each = cycles if isinstance(cycles, Sequence) else [cycles] * len(mesh.ids)
    shape = "x".join(map(str, inputs[0].shape))
    for device, count in zip(mesh.ids, each, strict=True):
        SESSION.enter(Call(op, number, device, None, shape, count, None if count is None else count / clock * 1e6))


def _cycles(
    op: str, mesh: MeshDevice, inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], rearrange: Rearrange, about: Any
) -> int | None:
    """Cycles of the moves on a device, simulated once for all of the same shapes; None where tiles are cut."""
    from tensix_sim.gather.run import run_moves
    from tensix_sim.program import Tensor as Pages

    whole = all(len(s) > 1 and not (s[-1] % TILE or s[-2] % TILE) for s in (*shapes, *(tensor.shape for tensor in inputs)))
    dtype, memory = inputs[0].dtype, inputs[0].memory_config()
    if (
        not whole
        or inputs[0].layout is not Layout.TILE
        or dtype.value not in FORMATS
        or memory.buffer_type is not BufferType.DRAM
    ):
        return None
    key = op, about, mesh.board, dtype, tuple(tensor.shape for tensor in inputs), tuple(shapes)
    if key not in SESSION.timed:
        form = FORMATS[dtype.value]
        sources = [Pages(f"input {i}", *_tiles(tensor.shape), form) for i, tensor in enumerate(inputs)]
        targets = [Pages(f"output {i}", *_tiles(shape), form, output=True) for i, shape in enumerate(shapes)]
        placed = rearrange([_page_numbers(i, tensor.shape) for i, tensor in enumerate(inputs)], TILE)
        moves = [
            (sources[source // PAGES], source % PAGES, target, page)
            for target, pages in zip(targets, placed, strict=True)
            for page, source in enumerate(pages.ravel().tolist())
        ]
        SESSION.timed[key] = run_moves(op, mesh.machine, moves).cycles
    cycles: int = SESSION.timed[key]
    return cycles


def _tiles(shape: Sequence[int]) -> tuple[int, int]:
    """Rows of tiles, leading dimensions folded in, and columns of tiles."""
    return Shape(shape).volume() // shape[-1] // TILE, shape[-1] // TILE


def _page_numbers(i: int, shape: Sequence[int]) -> Array:
    sizes = *shape[:-2], shape[-2] // TILE, shape[-1] // TILE
    return np.arange(i * PAGES, i * PAGES + Shape(sizes).volume()).reshape(sizes)
