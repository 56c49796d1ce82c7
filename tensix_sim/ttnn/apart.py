"""A tensor of a mesh as tensors of its devices, what they agree on, and what can be asked of any tensor."""

from collections.abc import Sequence

from tensix_sim.formats import TILE
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.signatures import typed
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import MemoryConfig, MeshShape, StorageType


@typed
def get_device_tensors(tensor: Tensor) -> list[Tensor]:
    """One tensor for each device."""
    tensor.need("get_device_tensors")
    mesh = tensor.device()
    devices = [MeshDevice(MeshShape(1, 1), [i], mesh.board, mesh) for i in mesh.ids] if mesh else [None] * len(tensor.shards)
    about = tensor.shape, tensor.dtype, tensor.layout
    return [Tensor.of([a], *about, d, tensor.memory_config()) for a, d in zip(tensor.shards, devices, strict=True)]


def is_tensor_storage_on_device(tensor: Tensor) -> bool:
    """Whether a tensor is on devices."""
    return tensor.device() is not None


@typed
def has_storage_type_of(tensor: Tensor, storage_type: StorageType) -> bool:
    """Whether a tensor is where it says: on the host or on devices."""
    return tensor.storage_type() is storage_type


@typed
def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over cores by shards."""
    return tensor.is_sharded()


@typed
def has_tile_padding(tensor: Tensor, *, dim: int | None = None) -> bool:
    """Whether tiles have more rows or columns than the tensor; of one dimension, if it is given."""
    logical, padded = tuple(tensor.shape), tuple(tensor.padded_shape)
    return logical != padded if dim is None else logical[dim] != padded[dim]


def pad_to_tile_shape(shape: Sequence[int]) -> list[int]:
    """A shape with its last two sizes filled up to whole tiles."""
    return [size if i < len(shape) - 2 else -(-size // TILE) * TILE for i, size in enumerate(shape)]


@typed
def get_memory_config(tensor: Tensor) -> MemoryConfig | None:
    """Where a tensor lies on its devices; None on the host."""
    return tensor.memory_config() if tensor.device() else None


def number_on_devices(op: str, what: str, tensor: Tensor) -> int:
    """The number that a tensor of one element holds, the same on all devices.

    Raises:
        RuntimeError: it holds no such number.
    """
    tensor.need(op)
    held = {int(one.values().item()) for one in tensor.shards if one is not None and tensor.shape.volume() == 1}
    if not tensor.dtype.is_integer or len(held) != 1:
        raise RuntimeError(f"{op}: {what} is {tensor!r}; one integer is needed, the same on all devices")
    return held.pop()


def combine_device_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor of the tensors of several devices."""
    first = tensors[0]
    devices = [one.device() for one in tensors]
    mesh = None
    if devices[0] is not None:
        ids = [device.ids[0] for device in devices if device]
        mesh = devices[0].parent or MeshDevice(MeshShape(1, len(ids)), ids, devices[0].board)
    shards = [one.shards[0] for one in tensors]
    return Tensor.of(shards, first.shape, first.dtype, first.layout, mesh, first.memory_config())


aggregate_as_tensor = combine_device_tensors
