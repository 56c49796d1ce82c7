"""All-gathers: along an axis of the mesh each line of devices gathers, over the Ethernet model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ttnn.clock import CLOCK
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.moves import common_mesh, of_moves, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.signatures import typed
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import BufferType, CoreRangeSet, Layout, MemoryConfig, NotModelledError, Topology
from tensix_sim.ttnn.values import Stored, joined, once

if TYPE_CHECKING:
    from tensix_sim.gather.run import Collective


class GlobalSemaphore:
    """A semaphore of all chips of a mesh. The all-gathers here bring their own; this one is only handed around."""

    def __init__(self, device: MeshDevice, cores: CoreRangeSet, initial_value: int) -> None:
        self.device = device
        self.cores = cores
        self.value = initial_value


@typed
def create_global_semaphore(mesh_device: MeshDevice, cores: CoreRangeSet, initial_value: int = 0) -> GlobalSemaphore:
    """Make a semaphore for the asynchronous collectives."""
    return GlobalSemaphore(mesh_device, cores, initial_value)


@typed
def reset_global_semaphore_value(global_semaphore: GlobalSemaphore, reset_value: int = 0) -> None:
    """Set a semaphore."""
    global_semaphore.value = reset_value


@recorded
def all_gather(
    input_tensor: Tensor,
    dim: int,
    *,
    cluster_axis: int | None = None,
    mesh_device: MeshDevice | None = None,
    num_links: int | None = None,
    memory_config: MemoryConfig | None = None,
    topology: Topology | None = None,
    output_tensor: Tensor | None = None,
    subdevice_id: Any = None,
    sub_core_grids: CoreRangeSet | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
) -> Tensor:
    """Give each device the tensors of all devices of its line, put together along `dim`, in their order.

    Lines are the rows of the mesh (`cluster_axis=1`) or its columns (0); without an axis all devices gather, along the rows and
    then along the columns. Without `topology`, or where the board has no such ring, a line; without `num_links` all links
    between neighbours; `output_tensor` takes the result if it is given. Where tiles would be cut ttnn puts several ops
    together, whose cycles are not modelled. Sizes of the pipeline, and a sub-device, which is the chip, have no effect.

    Raises:
        RuntimeError: the board has no such links.
    """
    SESSION.without_effect(
        "all_gather", subdevice_id=subdevice_id, sub_core_grids=sub_core_grids, chunks_per_sync=chunks_per_sync,
        num_workers_per_link=num_workers_per_link, num_buffers_per_channel=num_buffers_per_channel,
    )  # fmt: skip
    return gather("all_gather", input_tensor, dim, cluster_axis, topology, num_links, memory_config, into=output_tensor)


def gather(
    op: str,
    tensor: Tensor,
    dim: int,
    axis: int | None,
    topology: Topology | None,
    links: int | None,
    memory_config: MemoryConfig | None,
    reverse: bool = False,
    into: Tensor | None = None,
) -> Tensor:
    """Gather along an axis of the mesh; over all of a mesh of rows and columns along its rows first."""
    mesh = tensor.device()
    if axis is None and mesh is not None and min(mesh.shape) > 1:
        if reverse:
            raise NotModelledError(f"{op}: over all of a {mesh.shape}; give cluster_axis: 0 is its columns, 1 its rows")
        SESSION.note(f"{op}: without cluster_axis it gathers along the rows of the mesh, then along its columns")
        tensor, axis = gather_lines(op, tensor, dim, 1, topology, links, memory_config, False, None), 0
    return gather_lines(op, tensor, dim, axis, topology, links, memory_config, reverse, into)


def gather_lines(
    op: str,
    tensor: Tensor,
    dim: int,
    axis: int | None,
    topology: Topology | None,
    links: int | None,
    memory_config: MemoryConfig | None,
    reverse: bool,
    into: Tensor | None,
) -> Tensor:
    """Gather along each line of devices; `into` takes the result if it is given."""
    mesh = collective_mesh(op, tensor, dim)
    lines = lines_of(op, mesh, axis)
    timed = has_cycles(tensor, memory_config) and not cuts_tiles(tensor, dim, tensor.shape[dim])
    cycles = _cycles(op, mesh, tensor, dim, lines, topology, links, reverse) if timed else None
    meet_and_record(op, mesh, lines, tensor, cycles, (dim, axis, topology, links))
    shape = list(tensor.shape)
    shape[dim] *= len(lines[0])

    def gathered(held: Sequence[Stored]) -> Sequence[Stored]:
        return [joined(lambda arrays: np.concatenate(arrays, dim), held[::-1] if reverse else held)] * len(held)

    return dealt(tensor, lines, gathered, shape, memory_config, into)


def dealt(
    tensor: Tensor,
    lines: list[list[int]],
    change: Callable[[Sequence[Stored]], Sequence[Stored]],
    shape: Sequence[int],
    memory_config: MemoryConfig | None,
    into: Tensor | None,
) -> Tensor:
    """What `change` makes for the devices of each line from what these hold; `into` takes it if it is given."""
    shards: list[Stored | None] = [None] * len(tensor.shards)
    held = ([tensor.shards[i] for i in line] for line in lines)
    for line, made in zip(lines, once(lambda *of_line: change(of_line), *zip(*held, strict=True)), strict=True):
        for i, one in zip(line, made or (), strict=False):
            shards[i] = one
    result = tensor.like(shards, shape, memory_config=memory_config)
    if into is None:
        return result
    into.take_values(result)
    return into


def collective_mesh(op: str, tensor: Tensor, dim: int) -> MeshDevice:
    """The mesh of a tensor that a collective takes.

    Raises:
        RuntimeError: it has none, or no such dimension.
    """
    mesh = common_mesh(op, [tensor])
    if mesh is None:
        raise RuntimeError(f"{op}: the tensor is on the host; put it on a mesh of devices")
    rank = len(tensor.shape)
    if not -rank <= dim < rank:
        raise RuntimeError(f"{op}: dim {dim}; the tensor has {rank} dimensions")
    return mesh


def has_cycles(tensor: Tensor, memory_config: MemoryConfig | None) -> bool:
    """Whether the simulated readers take a tensor: tiles of floats, interleaved in DRAM; others are NumPy's alone."""
    in_tiles = tensor.layout is Layout.TILE and tensor.dtype.value in FORMATS
    sharded = tensor.is_sharded() or bool(memory_config and memory_config.is_sharded())
    return in_tiles and not sharded and tensor.memory_config().buffer_type is BufferType.DRAM


def cuts_tiles(tensor: Tensor, dim: int, size: int) -> bool:
    """Whether parts of a size along a dimension are no whole tiles: ttnn makes a composite of many ops of it then."""
    return dim % len(tensor.shape) >= len(tensor.shape) - 2 and size % TILE > 0


def meet_and_record(
    op: str, mesh: MeshDevice, lines: list[list[int]], tensor: Tensor, cycles: Sequence[int] | None, about: Any
) -> None:
    """Note a collective, which begins on each line when the last device is there."""
    for line in lines:
        CLOCK.meet([mesh.ids[i] for i in line])
    record(op, mesh, [tensor], cycles, about)


def lines_of(op: str, mesh: MeshDevice, axis: int | None) -> list[list[int]]:
    """Places in the mesh of the devices of each line, in their order."""
    rows, columns = mesh.shape
    places = np.arange(rows * columns).reshape(rows, columns)
    if axis is None:
        return [places.ravel().tolist()]
    if axis not in (0, 1):
        raise RuntimeError(f"{op}: cluster_axis {axis}; 0 is the columns of the mesh, 1 its rows")
    lines: list[list[int]] = (places if axis == 1 else places.T).tolist()
    return lines


def _cycles(
    op: str,
    mesh: MeshDevice,
    tensor: Tensor,
    dim: int,
    lines: list[list[int]],
    topology: Topology | None,
    links: int | None,
    reverse: bool,
) -> list[int]:
    """Cycles of each device of a gather."""
    from tensix_sim.gather.all_gather import AllGather

    form, most = joining(op, mesh, len(lines[0]), topology), mesh.machine.links_per_neighbour
    job = AllGather(len(lines[0]), tuple(tensor.padded_shape), dim, tensor.dtype.value, form, links or most, reverse)
    return simulated(op, mesh, lines, job)


def joining(op: str, mesh: MeshDevice, count: int, topology: Topology | None) -> Literal["ring", "line"]:
    """How so many devices are joined: as asked for, or as usual, but by a line where there is no ring."""
    from tensix_sim.arch.rings import has_ring, usual_topology

    on = mesh.machine
    form: Literal["ring", "line"] = topology.value if topology else usual_topology(on, count)
    if form == "ring" and not has_ring(on, count, on.mesh):
        SESSION.note(f"{op}: {count} devices of {on.board} form no ring; they are joined to a line, as in ttnn")
        return "line"
    return form


def simulated(op: str, mesh: MeshDevice, lines: list[list[int]], job: "Collective") -> list[int]:
    """Cycles of each device, by its place in its line; lines do not meet, so one is simulated, once for all of its shape.

    Raises:
        RuntimeError: the board has not what it needs.
    """
    from tensix_sim.gather.run import run_collective

    key = job.name, mesh.kind, job
    if key not in SESSION.timed:
        try:
            done = run_collective(job, mesh.machine, [None] * job.devices)
        except ValueError as error:
            raise RuntimeError(f"{op}: {str(error).removeprefix(f'{job.name}: ')}") from error
        SESSION.timed[key] = [of_moves(mesh, one, job.topology) for one in done.figures]
    cycles = [0] * len(mesh.ids)
    for line in lines:
        for i, one in zip(line, SESSION.timed[key], strict=True):
            cycles[i] = one
    return cycles
