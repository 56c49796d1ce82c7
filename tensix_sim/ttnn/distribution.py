"""Mappers, which cut an array for the devices of a mesh, and composers, which put their shards together."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.values import Array, each

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
        of_rows = each(partial(_split, parts=columns, dim=self.dims[1]), by_row)
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
