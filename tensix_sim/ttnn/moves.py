"""Ops that only move tiles: one function of arrays says what they do, to values and to the numbers of pages alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.session import SESSION, Call, Cycles, Op, recorded
from tensix_sim.ttnn.types import BufferType, DataType, Layout, MemoryConfig, Shape
from tensix_sim.ttnn.values import Array, Stored, apart, each, moved, once

if TYPE_CHECKING:
    from tensix_sim.logged import OpTensor

Rearrange = Callable[[list[Array], int], list[Array]]
PAGES = 1 << 32  # more than any tensor has


class Moved(Protocol):
    """What a move needs of a tensor; `Tensor` has it, which has moves among its methods."""

    shards: list[Stored | None]

    @property
    def shape(self) -> Shape:
        """Sizes of a shard."""

    @property
    def dtype(self) -> DataType:
        """Of its values."""

    @property
    def layout(self) -> Layout:
        """Tiles or rows."""

    def need(self, op: str) -> None:
        """Refuse what is deallocated."""

    def is_sharded(self) -> bool:
        """Whether it is dealt over cores."""

    def device(self) -> MeshDevice | None:
        """Where it is."""

    def memory_config(self) -> MemoryConfig:
        """In which memory."""

    def like(
        self: M,
        shards: Sequence[Stored | None],
        shape: Sequence[int] | None = None,
        dtype: DataType | None = None,
        layout: Layout | None = None,
        memory_config: MemoryConfig | None = None,
    ) -> M:
        """Another one on the same devices."""


M = TypeVar("M", bound=Moved)


def rearranged(
    op: str,
    inputs: Sequence[M],
    rearrange: Rearrange,
    memory_config: MemoryConfig | None = None,
    about: Any = None,
    timed: Callable[[], int | None] | None = None,
) -> list[M]:
    """The tensors that `rearrange(arrays, unit)` makes of the inputs, on the host or on every device of their mesh.

    It is asked twice: for arrays of values, where a row or column is one element, and for arrays of page numbers, whose last
    two dimensions count tiles of `unit` elements. The second tells the move of each tile, which the simulated cores carry out,
    unless the op is `timed` as a program of its own.
    """
    first = inputs[0]
    mesh = common_mesh(op, inputs)
    for tensor in inputs:
        if (tensor.dtype, tensor.layout) != (first.dtype, first.layout):
            raise RuntimeError(f"{op}: tensors of {first.dtype.value} and {tensor.dtype.value}, or of other layouts, together")
    blank = [np.broadcast_to(np.float32(0), tensor.shape) for tensor in inputs]
    shapes = [array.shape for array in rearrange(blank, 1)]
    made = once(moved(lambda arrays: rearrange(arrays, 1), first.dtype), *(tensor.shards for tensor in inputs))
    shards = apart(made, len(shapes))
    results = [first.like(s, shape, memory_config=memory_config) for s, shape in zip(shards, shapes, strict=True)]
    if mesh:
        sharded = any(tensor.is_sharded() for tensor in (*inputs, *results))
        known = None if sharded else timed if timed else partial(_cycles, op, mesh, inputs, shapes, rearrange, about)
        cycles = known() if known else None
        record(op, mesh, inputs, cycles, about, results[0])
    return results


def common_mesh(op: str, tensors: Sequence[Moved]) -> MeshDevice | None:
    """The mesh that holds all tensors, or None where all are on the host.

    Raises:
        RuntimeError: some are elsewhere, or deallocated.
    """
    for tensor in tensors:
        tensor.need(op)
    meshes = [tensor.device() for tensor in tensors]
    if len({None if mesh is None else tuple(mesh.ids) for mesh in meshes}) > 1:
        raise RuntimeError(f"{op}: its tensors are on different devices: {', '.join(map(repr, meshes))}")
    return meshes[0]


def record(
    op: str,
    mesh: MeshDevice,
    inputs: Sequence[Moved],
    cycles: int | Sequence[int] | None,
    about: Any = None,
    output: Moved | None = None,
) -> None:
    """Note an op: a program, and on each device its cycles, the same on all unless they are listed; None: not modelled."""
    mesh.programs.add((op, about, *((tensor.shape, tensor.dtype, tensor.memory_config()) for tensor in inputs)))
    if cycles is None:
        SESSION.note(f"{op}: its cycles are not modelled, and its numbers are rounded once, at the end")
    number, clock = SESSION.number(), mesh.machine.chip.clock_hz
    listed = cycles if isinstance(cycles, Sequence) else [cycles] * len(mesh.ids)
    each = [one if isinstance(one, Cycles) or one is None else Cycles(one) for one in listed]
    shape = "x".join(map(str, inputs[0].shape))
    SESSION.ops[number] = _logged(inputs, output, each[0])
    for device, count in zip(mesh.ids, each, strict=True):
        us, bound = (None, "") if count is None else (count / clock * 1e6, count.bound)
        SESSION.enter(Call(op, number, device, None, shape, count, us, bound=bound))


def _logged(inputs: Sequence[Moved], output: Moved | None, cycles: Cycles | None) -> Op:
    given, made = [_log_tensor(tensor) for tensor in inputs], _log_tensor(output) if output is not None else None
    if cycles is None:
        return Op(given, made)
    config = {"program_config": cycles.config} if cycles.config else {}
    return Op(given, made, cycles.cores, cycles.fidelity, config, kind=cycles.kind)


def _log_tensor(tensor: Moved) -> OpTensor:
    from tensix_sim.logged import OpTensor

    *_, w, z, y, x = (1, 1, 1, 1, *tensor.shape)
    config = tensor.memory_config()
    memory = f"DEV_0_{config.buffer_type.name}_{config.memory_layout.name}"
    return OpTensor("", (w, z, y, x), tensor.dtype.value.upper(), memory)


def _cycles(
    op: str, mesh: MeshDevice, inputs: Sequence[Moved], shapes: Sequence[tuple[int, ...]], rearrange: Rearrange, about: Any
) -> Cycles | None:
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
    key = op, about, mesh.kind, dtype, tuple(tensor.shape for tensor in inputs), tuple(shapes)
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
        SESSION.timed[key] = of_moves(mesh, run_moves(op, mesh.machine, moves))
    cycles: Cycles = SESSION.timed[key]
    return cycles


def of_moves(mesh: MeshDevice, moved: Any, kind: str = "") -> Cycles:
    """What an op that moves tiles took, a `gather.run.Moved`, and which of DRAM and the busiest link bound it."""
    chip, over = mesh.machine.chip, max(moved.ethernet_bytes.values(), default=0)
    dram = (moved.dram_read_bytes + moved.dram_write_bytes) / chip.dram.rate
    shares = {"DRAM": dram / moved.cycles} | ({"Ethernet": over / chip.ethernet.rate / moved.cycles} if over else {})
    SESSION.simulated += 1
    return Cycles.bound_by(moved.cycles, shares, "latency", kind=kind, cores=mesh.machine.cores)


def _tiles(shape: Sequence[int]) -> tuple[int, int]:
    """Rows of tiles, leading dimensions folded in, and columns of tiles."""
    return Shape(shape).volume() // shape[-1] // TILE, shape[-1] // TILE


def _page_numbers(i: int, shape: Sequence[int]) -> Array:
    sizes = *shape[:-2], shape[-2] // TILE, shape[-1] // TILE
    return np.arange(i * PAGES, i * PAGES + Shape(sizes).volume()).reshape(sizes)


# -- moves that a tensor has as methods -----------------------------------------------------------------------------


def mapped(op: str, inputs: Sequence[M], values: Callable[..., Array], dtype: DataType, **more: Any) -> M:
    """A tensor whose shards are `values` of the inputs' shards, rounded to `dtype`; cycles are not modelled unless given."""
    mesh = common_mesh(op, inputs)
    layout, config = more.get("layout", inputs[0].layout), more.get("memory_config") or inputs[0].memory_config()
    shape = more["shape"] if "shape" in more else np.broadcast_shapes(*(tuple(tensor.shape) for tensor in inputs))
    shards = each(lambda *arrays: Stored.of(values(*arrays), dtype), *(tensor.shards for tensor in inputs))
    result = inputs[0].like(shards, shape, dtype, layout, config)
    if mesh:
        record(op, mesh, inputs, more.get("cycles"), (dtype, str(config)), result)
    return result


@recorded
def reshape(input_tensor: M, shape: Any, padded_shape: Any = None, *, memory_config: MemoryConfig | None = None) -> M:
    """The same elements in another shape, of which one size may be -1; with a padded shape those of that, without its padding.

    A view, and free, where the last two sizes stay, or the last, and rows are whole tiles; else cycles are not modelled.

    Raises:
        RuntimeError: the number of elements differs.
    """
    old, new = input_tensor.shape, [int(size) for size in shape]
    if padded_shape is not None and old.volume() == Shape(padded_shape).volume():
        cut = tuple(np.s_[:size] for size in new)
        part = moved(lambda arrays: [arrays[0].reshape(tuple(padded_shape))[cut]], input_tensor.dtype)
        return input_tensor.like(once(lambda held: part(held)[0], input_tensor.shards), new, memory_config=memory_config)
    known = Shape(size for size in new if size != -1).volume()
    if -1 in new and known:
        new[new.index(-1)] = old.volume() // known
    if Shape(new).volume() != old.volume():
        raise RuntimeError(f"reshape: {list(old)} has {old.volume()} elements, {list(shape)} has {Shape(new).volume()}")
    rows = old[-2:-1] == Shape(new[-2:-1]) or not (old[-2] % TILE or new[-2] % TILE) if min(len(old), len(new)) > 1 else False
    if (old[-1] == new[-1] and rows) or input_tensor.layout is Layout.ROW_MAJOR or input_tensor.device() is None:
        input_tensor.need("reshape")
        shards = once(lambda held: held.reshaped(new), input_tensor.shards)
        return input_tensor.like(shards, new, memory_config=memory_config)
    return mapped("reshape", [input_tensor], lambda x: x.reshape(new), input_tensor.dtype, shape=new, memory_config=memory_config)


@recorded
def slice(  # ttnn's name
    input_tensor: M,
    slice_start: Sequence[int],
    slice_end: Sequence[int],
    slice_step: Sequence[int] | None = None,
    *,
    memory_config: MemoryConfig | None = None,
) -> M:
    """Elements from `slice_start` up to `slice_end`, by `slice_step`, of each dimension; negative ends count from the end."""
    shape = input_tensor.shape
    steps = slice_step or [1] * len(shape)
    ends = [end + size if end < 0 else min(end, size) for end, size in zip(slice_end, shape, strict=True)]
    about = tuple(zip(slice_start, ends, steps, strict=True))
    picks = [range(*one) for one in about]
    if any(bound % TILE for start, end, _ in about[-2:] for bound in (start, end)) or any(s != 1 for s in steps[-2:]):
        cut = tuple(_slice(pick) for pick in picks)
        size = [len(pick) for pick in picks]
        return mapped("slice", [input_tensor], lambda x: x[cut], input_tensor.dtype, shape=size, memory_config=memory_config)

    def part(arrays: list[Array], unit: int) -> list[Array]:
        units = [1] * (len(shape) - 2) + [unit, unit]
        return [arrays[0][tuple(_slice(range(p.start // u, p.stop // u, p.step)) for p, u in zip(picks, units, strict=True))]]

    return rearranged("slice", [input_tensor], part, memory_config, about)[0]


def _slice(pick: range) -> Any:
    return np.s_[pick.start : pick.stop : pick.step]
