"""Mappers, which cut an array for the devices of a mesh, and composers, which put their shards together."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.types import NotModelledError
from tensix_sim.ttnn.values import Array, once

Mapper = Callable[[Array], list[Array]]
Composer = Callable[[list[Array]], Array]


def _split(array: Array, parts: int, dim: int) -> list[Array]:
    if array.shape[dim] % parts:
        raise RuntimeError(f"dimension {dim} of {list(array.shape)} does not split into {parts} equal shards")
    return np.split(array, parts, axis=dim)


@dataclass(frozen=True)
class ReplicateTensorToMesh:
    """Every device of the mesh gets all of the tensor."""

    mesh_device: MeshDevice

    def __call__(self, array: Array) -> list[Array]:
        """One array for each device."""
        return [array] * len(self.mesh_device.ids)


@dataclass(frozen=True)
class ShardTensorToMesh:
    """The devices get equal shards along `dim`, in their order."""

    mesh_device: MeshDevice
    dim: int

    def __call__(self, array: Array) -> list[Array]:
        """One array for each device."""
        return _split(array, len(self.mesh_device.ids), self.dim)


@dataclass(frozen=True)
class ShardTensor2dMesh:
    """Shards along `dims`: the first over the rows of the mesh, the second over its columns; None: all of it."""

    mesh_device: MeshDevice
    mesh_shape: Any
    dims: tuple[int | None, int | None]

    def __call__(self, array: Array) -> list[Array]:
        """One array for each device, row by row."""
        rows, columns = self.mesh_shape
        by_row = [array] * rows if self.dims[0] is None else _split(array, rows, self.dims[0])
        if self.dims[1] is None:
            return [piece for piece in by_row for _ in range(columns)]
        of_rows = once(partial(_split, parts=columns, dim=self.dims[1]), by_row)
        return [shard for pieces in of_rows for shard in pieces or ()]


@dataclass(frozen=True)
class ConcatMeshToTensor:
    """Put the shards of all devices one after the other along `dim`."""

    mesh_device: MeshDevice
    dim: int

    def __call__(self, pieces: list[Array]) -> Array:
        """The whole."""
        return np.concatenate(pieces, axis=self.dim)


@dataclass(frozen=True)
class ConcatMesh2dToTensor:
    """Put shards together along `dims`: those of the rows of the mesh along the first, of its columns along the second."""

    mesh_device: MeshDevice
    mesh_shape: Any
    dims: tuple[int, int]

    def __call__(self, pieces: list[Array]) -> Array:
        """The whole."""
        _, columns = self.mesh_shape
        rows = [np.concatenate(pieces[i : i + columns], axis=self.dims[1]) for i in range(0, len(pieces), columns)]
        return np.concatenate(rows, axis=self.dims[0])


OURS = ConcatMeshToTensor, ConcatMesh2dToTensor


def composed_shape(composer: Composer, shape: Sequence[int], pieces: int) -> tuple[int, ...]:
    """The shape of what a composer makes of so many pieces of a shape; ours say it without their memory."""
    if not isinstance(composer, OURS):
        return composer([np.broadcast_to(np.float32(np.nan), shape)] * pieces).shape
    dims = composer.dims if isinstance(composer, ConcatMesh2dToTensor) else (composer.dim,)
    along = {dim % len(shape) for dim in dims}
    thin = np.empty([size if i in along else 0 for i, size in enumerate(shape)], np.int8)
    return tuple(new or size for new, size in zip(composer([thin] * pieces).shape, shape, strict=True))


def replicate_tensor_to_mesh_mapper(mesh_device: MeshDevice) -> ReplicateTensorToMesh:
    """As the class."""
    return ReplicateTensorToMesh(mesh_device)


def shard_tensor_to_mesh_mapper(mesh_device: MeshDevice, dim: int) -> ShardTensorToMesh:
    """As the class."""
    return ShardTensorToMesh(mesh_device, dim)


def concat_mesh_to_tensor_composer(mesh_device: MeshDevice, dim: int) -> ConcatMeshToTensor:
    """As the class."""
    return ConcatMeshToTensor(mesh_device, dim)


def create_mesh_mapper(mesh_device: MeshDevice, config: Any) -> ShardTensor2dMesh:
    """What a MeshMapperConfig says of each axis of the mesh: a PlacementShard of a dimension, or a PlacementReplicate.

    Raises:
        NotModelledError: another shape than the mesh's, or axes that it has not.
    """
    dims = [getattr(one, "dim", None) for one in config.placements]
    shape = config.mesh_shape_override or mesh_device.shape
    if len(dims) == 1:
        dims = [None, *dims] if mesh_device.shape[0] == 1 else [*dims, None]
    if len(dims) != 2 or tuple(shape) != tuple(mesh_device.shape):
        raise NotModelledError(f"create_mesh_mapper: {config}; one placement for each axis of a {mesh_device.shape} is modelled")
    return ShardTensor2dMesh(mesh_device, mesh_device.shape, (dims[0], dims[1]))


def create_mesh_composer(mesh_device: MeshDevice, config: Any) -> ConcatMesh2dToTensor | ConcatMeshToTensor:
    """What a MeshComposerConfig says: along which dimensions rows and columns of the mesh are put together, or one for all."""
    dims = tuple(config.dims)
    if len(dims) == 1:
        return ConcatMeshToTensor(mesh_device, dims[0])
    return ConcatMesh2dToTensor(mesh_device, config.mesh_shape_override or mesh_device.shape, (dims[0], dims[1]))


@contextmanager
def distribute(default: Mapper | Composer) -> Iterator[None]:
    """A block in which `ttnn.from_torch` has this mapper, or `ttnn.to_torch` this composer, if not told otherwise."""
    face = sys.modules[__package__]
    name, argument = ("to_torch", "mesh_composer") if isinstance(default, OURS) else ("from_torch", "mesh_mapper")
    before = getattr(face, name)
    setattr(face, name, partial(before, **{argument: default}))
    try:
        yield
    finally:
        setattr(face, name, before)
