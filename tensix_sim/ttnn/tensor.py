"""Tensors: NumPy arrays on the host, and one for each device of a mesh; how they get there and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.formats import FORMATS, TILE, to_format
from tensix_sim.ttnn.clock import CLOCK
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.session import SESSION
from tensix_sim.ttnn.types import (
    DRAM_MEMORY_CONFIG,
    DataType,
    Layout,
    MemoryConfig,
    MeshShape,
    NotModelledError,
    Shape,
    StorageType,
    Tile,
)

Array = NDArray[Any]
Mapper = Callable[[Array], list[Array]]
NUMPY = {
    DataType.UINT8: np.uint8,
    DataType.UINT16: np.uint16,
    DataType.UINT32: np.uint32,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
}
DTYPES = {np.dtype(numpy): ours for ours, numpy in NUMPY.items()} | {
    np.dtype(np.float32): DataType.FLOAT32,
    np.dtype(np.float64): DataType.FLOAT32,
    np.dtype(np.float16): DataType.FLOAT32,
    np.dtype(np.int64): DataType.INT32,
}


class Tensor:
    """A tensor on the host, or on the devices of a mesh, a shard each.

    Made of a torch tensor or an array, or of a list of numbers and a shape. Its values are those that its data type can
    hold; where numbers are not computed, it has a shape only.
    """

    shards: list[Array | None]
    _shape: Shape
    _dtype: DataType
    _layout: Layout
    _device: MeshDevice | None
    _memory_config: MemoryConfig
    _allocated: bool

    def __init__(
        self,
        data: Any,
        data_type: Any = None,
        device: Any = None,
        layout: Any = None,
        mem_config: Any = None,
        tile: Tile | None = None,
        cq_id: int | None = None,
        pad_value: float | None = None,
        mesh_mapper: Mapper | None = None,
        *,
        shape: Any = None,
        memory_config: MemoryConfig | None = None,
    ) -> None:
        if isinstance(data, list | tuple):
            if shape is None:  # (data, shape, data_type, layout[, device, memory_config])
                shape, data_type, layout, device, mem_config = data_type, device, layout, mem_config, tile
                tile = None
            data = np.asarray(data).reshape(tuple(shape))
        made = from_torch(
            data,
            data_type,
            tile=tile,
            pad_value=pad_value,
            layout=layout,
            device=device,
            memory_config=memory_config or mem_config,
            mesh_mapper=mesh_mapper,
        )
        self.__dict__.update(made.__dict__)

    @classmethod
    def of(
        cls,
        shards: Sequence[Array | None],
        shape: Sequence[int],
        dtype: DataType,
        layout: Layout,
        device: MeshDevice | None = None,
        memory_config: MemoryConfig = DRAM_MEMORY_CONFIG,
    ) -> "Tensor":
        """Make a tensor of what its devices hold; an array of None is a shape only."""
        self = cls.__new__(cls)
        self.shards = list(shards)
        self._shape = Shape(shape)
        self._dtype = dtype
        self._layout = layout
        self._device = device
        self._memory_config = memory_config
        self._allocated = True
        return self

    def __repr__(self) -> str:
        where = f"on {self._device!r}" if self._device else "on the host"
        return f"ttnn.Tensor(shape={list(self._shape)}, {self._dtype}, {self._layout}, {where})"

    @property
    def shape(self) -> Shape:
        """Sizes of a shard, without padding."""
        return self._shape

    @property
    def padded_shape(self) -> Shape:
        """Sizes in memory: in tile layout the last two are whole tiles."""
        if self._layout is Layout.ROW_MAJOR:
            return self._shape
        sizes = list(self._shape)
        return Shape([*sizes[:-2], *(-(-size // TILE) * TILE for size in sizes[-2:])])

    @property
    def dtype(self) -> DataType:
        """Data type."""
        return self._dtype

    @property
    def layout(self) -> Layout:
        """Layout."""
        return self._layout

    def get_layout(self) -> Layout:
        """Layout."""
        return self._layout

    def get_dtype(self) -> DataType:
        """Data type."""
        return self._dtype

    def memory_config(self) -> MemoryConfig:
        """Where it lies on a device."""
        return self._memory_config

    def device(self) -> MeshDevice | None:
        """The mesh that holds it; None on the host."""
        return self._device

    def storage_type(self) -> StorageType:
        """Whether it is on devices."""
        return StorageType.DEVICE if self._device else StorageType.HOST

    def is_allocated(self) -> bool:
        """Whether it was not deallocated."""
        return self._allocated

    def is_sharded(self) -> bool:
        """Whether it is spread over cores by shards."""
        return self._memory_config.is_sharded()

    def deallocate(self, force: bool = True) -> None:
        """Give its memory back; a later use is an error."""
        self._allocated = False
        self.shards = []

    def need(self, op: str = "read") -> None:
        """Raise if it was deallocated."""
        if not self._allocated:
            raise RuntimeError(f"{op}: the tensor {list(self._shape)} was deallocated")

    def take_values(self, other: "Tensor") -> None:
        """Hold what another tensor of the same shape holds."""
        other.need()
        if self._shape != other._shape or len(self.shards) != len(other.shards):
            raise RuntimeError(
                f"copy of {list(other._shape)} on {len(other.shards)} devices to {list(self._shape)} on {len(self.shards)}"
            )
        self.shards = [None if a is None else quantised(a, self._dtype) for a in other.shards]

    def to(self, *where: Any, **more: Any) -> "Tensor":
        """The same in another layout, or on a device: `to(layout)`, `to(device[, memory_config])`.

        A block format on the host stays in tile layout.
        """
        result = self
        given = [*where, *more.values()]
        config = next((one for one in given if isinstance(one, MemoryConfig)), None)
        for one in given:
            if isinstance(one, Layout):
                if result.dtype.is_block and one is Layout.ROW_MAJOR and result.device() is None:
                    SESSION.note(f"Tensor.to: {result.dtype} stayed in tile layout, which it is always in; as in ttnn")
                    continue
                result = to_layout(result, one)
            elif isinstance(one, MeshDevice):
                result = to_device(result, one, memory_config=config)
            elif not isinstance(one, MemoryConfig | int | None):  # a number is a command queue
                raise TypeError(f"Tensor.to({one!r}): it takes a layout, or a device and a memory config")
        return result

    def cpu(self, blocking: bool = True, cq_id: int | None = None) -> "Tensor":
        """The same on the host."""
        return from_device(self, blocking=blocking)

    def to_torch(self, **more: Any) -> Any:
        """As a torch tensor; see `to_torch`."""
        return to_torch(self, **more)

    def to_numpy(self) -> Array:
        """As an array; see `to_numpy`."""
        return to_numpy(self)

    def reshape(self, *shape: Any) -> "Tensor":
        """The same elements in another shape; see `ttnn.reshape`."""
        from tensix_sim.ttnn.operations import reshape

        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def __getitem__(self, pick: Any) -> "Tensor":
        """Part of each dimension, by slices; see `ttnn.slice`."""
        from tensix_sim.ttnn.operations import slice as slice_

        picks = pick if isinstance(pick, tuple) else (pick,)
        if not all(isinstance(one, slice) for one in picks):
            raise NotModelledError(f"tensor[{pick!r}]: slices only, as tensor[:, :, :32, :]")
        ranges = [range(size)[one] for one, size in zip((*picks, *[slice(None)] * len(self._shape)), self._shape, strict=False)]
        return slice_(self, [r.start for r in ranges], [r.stop for r in ranges], [r.step for r in ranges])


def quantised(array: Array, dtype: DataType) -> Array:
    """The values that `dtype` holds."""
    if dtype in NUMPY:
        return np.ascontiguousarray(array).astype(NUMPY[dtype])
    if dtype is DataType.FP8_E4M3:
        raise NotModelledError("fp8_e4m3: its values are not modelled; there are bfloat16, bfloat8_b, bfloat4_b and float32")
    values = np.ascontiguousarray(array, np.float32)
    if dtype is DataType.FLOAT32 or not values.size:
        return values
    if not dtype.is_block or values.shape[-1] % TILE == 0:
        return to_format(values, FORMATS[dtype.value])
    columns = values.shape[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -columns % TILE)])
    return to_format(padded, FORMATS[dtype.value])[..., :columns]


# -- to and from the host's libraries ----------------------------------------------------------------------------


def is_torch(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return type(value).__module__.partition(".")[0] == "torch"


def _as_array(tensor: Any, dtype: DataType | None) -> tuple[Array, DataType]:
    """The values, and the data type asked for or that of the values."""
    if isinstance(tensor, Tensor):
        raise TypeError("from_torch of a ttnn tensor; it takes torch tensors and NumPy arrays")
    own = None
    if is_torch(tensor):
        name = str(tensor.dtype).removeprefix("torch.")
        own = DataType.BFLOAT16 if name == "bfloat16" else None
        tensor = tensor.detach().cpu()
        array = (tensor.float() if name in ("bfloat16", "float16") else tensor).numpy()
    else:
        array = np.asarray(tensor)
    own = own or DTYPES.get(array.dtype)
    if own is None:
        raise TypeError(f"no data type of ttnn holds {array.dtype}; convert it first")
    return array, dtype or own


def from_torch(
    tensor: Any,
    dtype: DataType | None = None,
    *,
    spec: Any = None,
    tile: Tile | None = None,
    pad_value: float | None = None,
    layout: Layout | None = None,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
    mesh_mapper: Mapper | None = None,
    cq_id: int | None = None,
    preserve_nan_values: bool = False,
    col_tilize: bool = False,
    enable_bfloat_opt: bool = False,
) -> Tensor:
    """Take a torch tensor or a NumPy array, on the host or to a device; block formats are in tile layout.

    Without a mapper every device of a mesh gets all of it.

    Raises:
        NotModelledError: a tensor spec, padding with other than 0, or tiles by columns.
    """
    for name, given in (("spec", spec), ("col_tilize", col_tilize), ("preserve_nan_values", preserve_nan_values)):
        if given:
            raise NotModelledError(f"from_torch: {name} = {given!r} is not modelled; leave it out")
    if pad_value:
        raise NotModelledError(f"from_torch: pad_value = {pad_value}; padding here is 0")
    array, dtype = _as_array(tensor, dtype)
    layout = layout or (Layout.TILE if dtype.is_block else Layout.ROW_MAJOR)
    if dtype.is_block and layout is Layout.ROW_MAJOR:
        raise RuntimeError(f"{dtype} in row-major layout; block formats are in tile layout")
    pieces = mesh_mapper(array) if mesh_mapper else [array] * (len(device.ids) if device else 1)
    if device and len(pieces) != len(device.ids):
        raise RuntimeError(f"the mapper makes {len(pieces)} shards; the mesh has {len(device.ids)} devices")
    shape = pieces[0].shape
    return Tensor.of(_stored(pieces, dtype), shape, dtype, layout, device, memory_config or DRAM_MEMORY_CONFIG)


def _stored(pieces: Sequence[Array], dtype: DataType) -> list[Array | None]:
    """What each device holds; devices that hold the same share it."""
    if SESSION.settings.numerics == "off" and not dtype.is_integer:
        return [None] * len(pieces)
    known: dict[int, Array] = {}
    return [known.setdefault(id(piece), _quantised_once(piece, dtype, known)) for piece in pieces]


def _quantised_once(piece: Array, dtype: DataType, known: dict[int, Array]) -> Array:
    return known[id(piece)] if id(piece) in known else quantised(piece, dtype)


from_numpy = from_torch
as_tensor = from_torch


def to_numpy(tensor: Tensor, mesh_composer: "Composer | None" = None) -> Array:
    """The values of a tensor; NaN where numbers were not computed. Block formats and bfloat16 as float32.

    Raises:
        RuntimeError: it lies on several devices and there is no composer.
    """
    tensor.need("to_torch")
    _wait(tensor)
    blank = np.float32(np.nan)
    pieces = [np.broadcast_to(blank, tensor.shape) if a is None else a for a in tensor.shards]
    if mesh_composer:
        return mesh_composer(pieces)
    if len(pieces) != 1:
        raise RuntimeError(f"the tensor has {len(pieces)} shards: give a mesh_composer, or take one with get_device_tensors")
    return pieces[0]


def to_torch(
    tensor: Tensor,
    dtype: Any = None,
    *,
    torch_rank: int | None = None,
    mesh_composer: "Composer | None" = None,
    device: MeshDevice | None = None,
    cq_id: int | None = None,
) -> Any:
    """As a torch tensor of the logical shape, bfloat16 as such, block formats as float32; see `to_numpy`.

    Raises:
        ImportError: torch is not installed.
        RuntimeError: it lies on several devices and there is no composer.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("to_torch needs torch, which is not installed; to_numpy does not") from error
    if torch_rank is not None:
        raise NotModelledError(f"to_torch: torch_rank = {torch_rank}; reshape the result")
    values = to_numpy(tensor, mesh_composer)
    if 0 in values.strides and values.size > 1:  # nothing was computed: one NaN stands for all
        result = torch.full((1,) * values.ndim, float("nan")).expand(values.shape)
    elif values.dtype in (np.uint16, np.uint32):
        result = torch.from_numpy(values.astype(np.int64))
    else:
        result = torch.from_numpy(values.copy())
    wanted = dtype or (torch.bfloat16 if tensor.dtype is DataType.BFLOAT16 else None)
    return result.to(wanted) if wanted else result


def to_device(
    tensor: Tensor, device: MeshDevice, *, memory_config: MemoryConfig | None = None, cq_id: int | None = None
) -> Tensor:
    """Put a host tensor on a mesh: a shard a device, or all of it on each."""
    tensor.need("to_device")
    count = len(device.ids)
    if len(tensor.shards) not in (1, count):
        raise RuntimeError(f"to_device: {len(tensor.shards)} shards for {count} devices")
    shards = tensor.shards if len(tensor.shards) == count else tensor.shards * count
    config = memory_config or tensor.memory_config()
    return Tensor.of(shards, tensor.shape, tensor.dtype, tensor.layout, device, config)


def from_device(tensor: Tensor, *, blocking: bool = True, cq_id: int | None = None) -> Tensor:
    """Bring a tensor to the host, which waits for the devices if it is blocking."""
    tensor.need("from_device")
    if blocking:
        _wait(tensor)
    return Tensor.of(tensor.shards, tensor.shape, tensor.dtype, tensor.layout, None, tensor.memory_config())


def _wait(tensor: Tensor) -> None:
    if mesh := tensor.device():
        CLOCK.wait(mesh.ids)


def to_layout(tensor: Tensor, layout: Layout, dtype: DataType | None = None, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same values in another layout. On a device ttnn runs a tilize or untilize op for it, whose cycles are not modelled."""
    tensor.need("to_layout")
    dtype = dtype or tensor.dtype
    if dtype.is_block and layout is Layout.ROW_MAJOR:
        raise RuntimeError(f"to_layout: {dtype} in row-major layout; block formats are in tile layout")
    if tensor.device() and layout is not tensor.layout:
        SESSION.note("to_layout on a device: cycles of tilize and untilize are not modelled, and counted as none")
    shards = [None if a is None else quantised(a, dtype) for a in tensor.shards]
    return Tensor.of(shards, tensor.shape, dtype, layout, tensor.device(), memory_config or tensor.memory_config())


def get_device_tensors(tensor: Tensor) -> list[Tensor]:
    """One tensor for each device."""
    tensor.need("get_device_tensors")
    mesh = tensor.device()
    devices = [MeshDevice(MeshShape(1, 1), [i], mesh.board, mesh) for i in mesh.ids] if mesh else [None] * len(tensor.shards)
    about = tensor.shape, tensor.dtype, tensor.layout
    return [Tensor.of([a], *about, d, tensor.memory_config()) for a, d in zip(tensor.shards, devices, strict=True)]


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


# -- mappers and composers -----------------------------------------------------------------------------------------


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
        known: dict[int, list[Array]] = {}
        for piece in by_row:
            known.setdefault(id(piece), _split(piece, columns, self.dims[1]))
        return [shard for piece in by_row for shard in known[id(piece)]]


Composer = Callable[[list[Array]], Array]


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
