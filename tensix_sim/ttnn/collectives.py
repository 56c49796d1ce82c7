"""All-gathers: along an axis of the mesh each line of devices gathers, over the Ethernet model."""

from typing import Any

import numpy as np

from tensix_sim.formats import FORMATS
from tensix_sim.ttnn.clock import CLOCK
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.moves import common_mesh, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import BufferType, CoreRangeSet, Layout, MemoryConfig, NotModelledError, Topology, refuse
from tensix_sim.ttnn.values import Array


class GlobalSemaphore:
    """A semaphore of all chips of a mesh. The all-gathers here bring their own; this one is only handed around."""

    def __init__(self, device: MeshDevice, cores: CoreRangeSet, initial_value: int) -> None:
        self.device = device
        self.cores = cores
        self.value = initial_value


def create_global_semaphore(mesh_device: MeshDevice, cores: CoreRangeSet, initial_value: int = 0) -> GlobalSemaphore:
    """Make a semaphore for the asynchronous collectives."""
    return GlobalSemaphore(mesh_device, cores, initial_value)


def reset_global_semaphore_value(global_semaphore: GlobalSemaphore, reset_value: int = 0) -> None:
    """Set a semaphore."""
    global_semaphore.value = reset_value


def all_gather(
    input_tensor: Tensor,
    dim: int,
    *,
    cluster_axis: int | None = None,
    mesh_device: MeshDevice | None = None,
    num_links: int | None = None,
    memory_config: MemoryConfig | None = None,
    topology: Topology | None = None,
    subdevice_id: Any = None,
) -> Tensor:
    """Give each device the tensors of all devices of its line, put together along `dim`, in their order.

    Lines are the rows of the mesh (`cluster_axis=1`), its columns (0), or the whole of a mesh of one row or column. Without
    `topology` a ring where the board has one, without `num_links` all links between neighbours.

    Raises:
        RuntimeError: the board has no such ring or links, or tiles would be cut.
        NotModelledError: a sub-device.
    """
    refuse("all_gather", subdevice_id=subdevice_id)
    return gather("all_gather", input_tensor, dim, cluster_axis, topology, num_links, memory_config)


@recorded
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
    """Gather along each line of devices; `into` takes the result if it is given."""
    mesh = common_mesh(op, [tensor])
    if mesh is None:
        raise RuntimeError(f"{op}: the tensor is on the host; put it on a mesh of devices")
    if tensor.layout is not Layout.TILE or tensor.dtype.value not in FORMATS:
        raise NotModelledError(f"{op}: {tensor.dtype.value} in {tensor.layout.name} layout; tiles of a float format are gathered")
    if tensor.memory_config().buffer_type is not BufferType.DRAM:
        raise NotModelledError(f"{op}: the tensor is in L1; the simulated readers take it from DRAM")
    lines = _lines(op, mesh, axis)
    for line in lines:
        CLOCK.meet([mesh.ids[i] for i in line])
    record(op, mesh, [tensor], _cycles(op, mesh, tensor, dim, lines, topology, links, reverse), (dim, axis, topology, links))
    shards: list[Array | None] = [None] * len(mesh.ids)
    known: dict[tuple[int, ...], Array] = {}
    for line in lines:
        shards_of_line = [tensor.shards[i] for i in (line[::-1] if reverse else line)]
        held = [array for array in shards_of_line if array is not None]
        key = tuple(map(id, held))
        if held and key not in known:
            known[key] = np.concatenate(held, dim)
        for i in line:
            shards[i] = known.get(key)
    shape = list(tensor.shape)
    shape[dim] *= len(lines[0])
    result = tensor.like(shards, shape, memory_config=memory_config)
    if into is not None:
        into.take_values(result)
        return into
    return result


def _lines(op: str, mesh: MeshDevice, axis: int | None) -> list[list[int]]:
    """Places in the mesh of the devices of each line, in their order."""
    rows, columns = mesh.shape
    places = np.arange(rows * columns).reshape(rows, columns)
    if axis is None:
        if min(rows, columns) > 1:
            raise NotModelledError(f"{op}: over all of a {rows}x{columns} mesh; give cluster_axis: 0 is its columns, 1 its rows")
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
    """Cycles of each device, by its place in its line; lines do not meet, so one is simulated, once for all of its shape."""
    from tensix_sim.gather.all_gather import AllGather, usual_topology
    from tensix_sim.gather.run import run_all_gather

    on, count = mesh.machine, len(lines[0])
    form = topology.value if topology else usual_topology(on, count)
    job = AllGather(count, tuple(tensor.shape), dim, tensor.dtype.value, form, links or on.links_per_neighbour, reverse)
    key = op, mesh.board, job
    if key not in SESSION.timed:
        try:
            done = run_all_gather(job, on, [None] * count)
        except ValueError as error:
            raise RuntimeError(f"{op}: {error}") from error
        SESSION.timed[key] = [figures.cycles for figures in done.figures]
    cycles = [0] * len(mesh.ids)
    for line in lines:
        for i, one in zip(line, SESSION.timed[key], strict=True):
            cycles[i] = one
    return cycles
