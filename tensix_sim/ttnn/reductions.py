"""Reduce-scatter and all-reduce: along an axis of the mesh each line of devices adds up, over the Ethernet model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ttnn import configs
from tensix_sim.ttnn.collectives import (
    GlobalSemaphore,
    collective_mesh,
    cuts_tiles,
    dealt,
    gather_lines,
    has_cycles,
    joining,
    lines_of,
    meet_and_record,
    simulated,
)
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.moves import mapped, reshape
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.signatures import placed
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, NotModelledError, Topology, demand, refuse
from tensix_sim.ttnn.values import Array, Stored


@dataclass(frozen=True)
class Along:
    """Which devices add up, and how they are joined: as the arguments of ttnn say."""

    axis: int | None
    topology: Topology | None = None
    links: int | None = None
    workers: int | None = None
    chunks_per_sync: int | None = None
    slots: int | None = None
    barrier: bool = True  # without buffers of the caller's


@recorded
def reduce_scatter(
    input_tensor: Tensor,
    dim: int,
    *,
    cluster_axis: int | None = None,
    subdevice_id: Any = None,
    memory_config: MemoryConfig | None = None,
    intermediate_memory_config: MemoryConfig | None = None,
    output_tensor: Tensor | None = None,
    num_links: int | None = None,
    topology: Topology | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
) -> Tensor:
    """Give each device its part along `dim` of the sum of the tensors of all devices of its line.

    Along are the rows of the mesh (`cluster_axis=1`) or its columns (0). Without `topology` a ring where the board has one, and a
    line where it has none; without `num_links` all links between neighbours; sizes of the pipeline as in ttnn. Where parts are no
    whole tiles ttnn puts some thirty ops together, whose cycles are not modelled. A sub-device is the chip.

    Without `cluster_axis` a mesh of rows and columns does so along its columns, and then along its rows, so that its devices have
    their parts in order; `all_gather` goes the other way about it.

    Raises:
        RuntimeError: the board has no such links or cores, or the dimension has no equal parts.
    """
    SESSION.without_effect("reduce_scatter", subdevice_id=subdevice_id, intermediate_memory_config=intermediate_memory_config)
    along = Along(cluster_axis, topology, num_links, num_workers_per_link, chunks_per_sync, num_buffers_per_channel)
    *first, last = _by_axes("reduce_scatter", input_tensor, along)
    for one in first:
        input_tensor = scattered("reduce_scatter", input_tensor, dim, one, memory_config)
    return scattered("reduce_scatter", input_tensor, dim, last, memory_config, output_tensor)


@recorded
def all_reduce(
    input_tensor: Tensor,
    *,
    cluster_axis: int | None = None,
    subdevice_id: Any = None,
    memory_config: MemoryConfig | None = None,
    num_links: int | None = None,
    topology: Topology | None = None,
) -> Tensor:
    """Give each device the sum of the tensors of all devices of its line: a reduce-scatter and an all-gather, as ttnn has it.

    They are along the last dimension that can be dealt in whole tiles. Where there is none the tensors are gathered and added up
    on each device, in cycles that are not modelled. A sub-device is the chip. Without `cluster_axis` a mesh of rows and columns
    does so along its columns, and then along its rows.

    Raises:
        RuntimeError: the board has no such links.
    """
    SESSION.without_effect("all_reduce", subdevice_id=subdevice_id)
    for along in _by_axes("all_reduce", input_tensor, Along(cluster_axis, topology, num_links)):
        input_tensor = summed("all_reduce", input_tensor, along, memory_config)
    return input_tensor


@recorded
def reduce_scatter_minimal_async(
    input_tensor: Tensor,
    persistent_output_buffers: Sequence[Tensor] | None = None,
    *,
    dim: int,
    multi_device_global_semaphore: GlobalSemaphore | Sequence[GlobalSemaphore] | None = None,
    barrier_semaphore: GlobalSemaphore | None = None,
    num_links: int | None = 1,
    memory_config: MemoryConfig | None = None,
    intermediate_memory_config: MemoryConfig | None = None,
    topology: Topology | None = Topology.Ring,
    subdevice_id: Any = None,
    cluster_axis: int | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
) -> Tensor:
    """As `ttnn.reduce_scatter`, asynchronously, into the last of `persistent_output_buffers` if there are any.

    With these, or without a `barrier_semaphore`, no device asks whether the others have begun. The semaphores, three in a list,
    need nothing done.

    Raises:
        RuntimeError: as `reduce_scatter`, or another number of semaphores.
    """
    name = "reduce_scatter_minimal_async"
    SESSION.without_effect(name, subdevice_id=subdevice_id, intermediate_memory_config=intermediate_memory_config)
    given = multi_device_global_semaphore
    count = 3 if given is None else 1 if isinstance(given, GlobalSemaphore) else len(given)
    demand(f"{name}:", (count == 3, f"{count} semaphore(s) in multi_device_global_semaphore; it takes a list of three"))
    buffer = persistent_output_buffers[-1] if persistent_output_buffers else None
    sizes = num_workers_per_link, chunks_per_sync, num_buffers_per_channel
    along = Along(cluster_axis, topology, num_links, *sizes, buffer is None and barrier_semaphore is not None)
    return scattered(name, input_tensor, dim, along, memory_config, buffer)


def _form(given: Sequence[Any]) -> Sequence[str]:
    """What ttnn's forms of an asynchronous all-reduce take by place: that of decoding has a buffer first."""
    names = ("buffer_tensor", "cluster_axis", "mesh_device", "multi_device_global_semaphore")
    return names if given and isinstance(given[0], Tensor) else names[1:3]


@partial(placed, form=_form)
@recorded
def all_reduce_async(
    input_tensor: Tensor,
    buffer_tensor: Tensor | None = None,
    *,
    cluster_axis: int | None = None,
    mesh_device: MeshDevice | None = None,
    num_devices: int | None = None,
    barrier_semaphores: Sequence[GlobalSemaphore] | None = None,
    rs_global_semaphores: Sequence[GlobalSemaphore] | None = None,
    ag_global_semaphores: Sequence[GlobalSemaphore] | None = None,
    multi_device_global_semaphore: GlobalSemaphore | Sequence[GlobalSemaphore] | None = None,
    math_op: Any = None,
    num_links: int | None = None,
    memory_config: MemoryConfig | None = None,
    topology: Topology | None = None,
    subdevice_id: Any = None,
    dtype: Any = None,
    use_noc1_only: bool = False,
    use_optimal_ccl_for_llama: bool = False,
) -> Tensor:
    """As `ttnn.all_reduce`, with semaphores that need nothing done.

    Raises:
        NotModelledError: another operation than the sum, or the form of decoding, with a buffer.
    """
    SESSION.without_effect("all_reduce_async", subdevice_id=subdevice_id)
    of_decoding = {"buffer_tensor": buffer_tensor, "dtype": dtype, "use_noc1_only": use_noc1_only}
    of_decoding |= {"use_optimal_ccl_for_llama": use_optimal_ccl_for_llama}
    refuse("all_reduce_async", math_op=None if math_op == configs.ReduceType.Sum else math_op, **of_decoding)
    return summed("all_reduce_async", input_tensor, Along(cluster_axis, topology, num_links), memory_config)


# -- what they do ------------------------------------------------------------------------------------------------------------


def scattered(
    op: str, tensor: Tensor, dim: int, along: Along, memory_config: MemoryConfig | None, into: Tensor | None = None
) -> Tensor:
    """Reduce along each line of devices, each of which keeps its part; `into` takes the result if it is given."""
    from tensix_sim.gather.reduce_scatter import ReduceScatter
    from tensix_sim.gather.sums import reduced

    mesh, lines = _lines(op, tensor, dim, along.axis)
    if tensor.dtype.value not in FORMATS:
        raise NotModelledError(f"{op}: sums of {tensor.dtype.value}; it takes a float format")
    dim, count = dim % len(tensor.shape), len(lines[0])
    if count < 2 or tensor.shape[dim] % count:
        raise RuntimeError(
            f"{op}: {tensor.shape[dim]} along dim {dim} for {count} devices; equal parts are needed, of 2 at least"
        )
    form = joining(op, mesh, count, along.topology)
    shape = list(tensor.shape)
    shape[dim] //= count
    padded = [*shape[:-2], *(-(-size // TILE) * TILE for size in shape[-2:])]
    job = ReduceScatter(
        count, tuple(size * count if at == dim else size for at, size in enumerate(padded)), dim, tensor.dtype.value, form,
        along.links or mesh.machine.links_per_neighbour, along.workers, along.chunks_per_sync, along.slots or 1,
        "around" if count % 2 else "halfway", along.barrier, exact=SESSION.settings.numerics == "exact",
    )  # fmt: skip
    cycles = simulated(op, mesh, lines, job)
    timed = has_cycles(tensor, memory_config) and not cuts_tiles(tensor, dim, shape[dim])
    meet_and_record(op, mesh, lines, tensor, cycles if timed else None, (dim, along))

    def whole_tiles(x: Array) -> Array:
        """Each part of a tensor filled up with zeros, as the composite does."""
        more = [(0, large - size) for large, size in zip(padded, shape, strict=True)]
        return np.concatenate([np.pad(part, more) for part in np.split(x, count, dim)], dim)

    def parts(held: Sequence[Stored]) -> Sequence[Stored]:
        sums = reduced(job, mesh.machine, [whole_tiles(x.values()) for x in held])
        return [Stored.of(part[tuple(map(slice, shape))], tensor.dtype) for part in sums]

    return dealt(tensor, lines, parts, shape, memory_config, into)


def summed(op: str, tensor: Tensor, along: Along, memory_config: MemoryConfig | None) -> Tensor:
    """Reduce along each line of devices, each of which gets all."""
    _, lines = _lines(op, tensor, 0, along.axis)
    count, rank = len(lines[0]), len(tensor.shape)
    units = [1] * (rank - 2) + [TILE] * 2
    dim = next((d for d in reversed(range(rank)) if tensor.shape[d] % (units[d] * count) == 0), None)
    if dim is not None:
        part = scattered("reduce_scatter", tensor, dim, along, memory_config)
        return gather_lines("all_gather", part, dim, along.axis, along.topology, along.links, memory_config, False, None)
    SESSION.note(f"{op}: no dimension of {list(tensor.shape)} has {count} parts of whole tiles; it gathers, and adds up locally")
    apart = reshape(tensor, [1, *tensor.shape])
    all_of_them = gather_lines("all_gather", apart, 0, along.axis, along.topology, along.links, memory_config, False, None)
    return mapped("moreh_sum", [all_of_them], lambda x: x.sum(0), tensor.dtype, shape=tensor.shape, memory_config=memory_config)


def _by_axes(op: str, tensor: Tensor, along: Along) -> list[Along]:
    """The axes one after the other where none is given and a mesh has two; that of `all_gather` is the other order."""
    mesh = tensor.device()
    if along.axis is not None or mesh is None or min(mesh.shape) < 2:
        return [along]
    SESSION.note(f"{op}: without cluster_axis it adds up along the columns of the mesh, then along its rows")
    return [replace(along, axis=0), replace(along, axis=1)]


def _lines(op: str, tensor: Tensor, dim: int, axis: int | None) -> tuple[MeshDevice, list[list[int]]]:
    mesh = collective_mesh(op, tensor, dim)
    if axis is None and min(mesh.shape) > 1:
        raise NotModelledError(
            f"{op}: over all of a {mesh.shape}, whose rows upstream joins to one chain by links that are not there; "
            "give cluster_axis: 0 is its columns, 1 its rows"
        )
    return mesh, lines_of(op, mesh, axis)
