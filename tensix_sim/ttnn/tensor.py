"""Tensors: NumPy arrays on the host, and one for each device of a mesh; how they get there and back."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn import configs, glue
from tensix_sim.ttnn.clock import CLOCK
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.distribution import OURS, Composer, Mapper, composed_shape
from tensix_sim.ttnn.moves import reshape
from tensix_sim.ttnn.moves import slice as slice_
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.signatures import typed
from tensix_sim.ttnn.types import (
    DRAM_MEMORY_CONFIG,
    DataType,
    Layout,
    MemoryConfig,
    NotModelledError,
    Shape,
    StorageType,
    Tile,
    demand,
    refuse,
)
from tensix_sim.ttnn.values import Array, Stored, as_array, each, joined, once

HIDES = -1e9  # a number that hides a key in a mask, or a lower one: of padding it says what is taken anyway


def _or_of_numbers(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor also take ttnn's other list: numbers, shape, data_type, layout[, device, memory_config]."""

    @wraps(init)
    def either(self: "Tensor", data: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(data, list | tuple):
            self.__dict__.update(_of_numbers(data, *args, **kwargs).__dict__)
        else:
            init(self, data, *args, **kwargs)

    return either


def _of_numbers(
    data: Sequence[Any],
    shape: Any,
    data_type: DataType | None = None,
    layout: Layout | None = None,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
) -> "Tensor":
    array = np.asarray(data).reshape(tuple(shape))
    return from_torch(array, data_type, layout=layout, device=device, memory_config=memory_config)


class Tensor:
    """A tensor on the host, or on the devices of a mesh, a shard each.

    Made of a torch tensor or an array, or of a list of numbers and a shape. Its values are those that its data type can
    hold; where numbers are not computed, it has a shape only.
    """

    shards: list[Stored | None]
    _shape: Shape
    _dtype: DataType
    _layout: Layout
    _device: MeshDevice | None
    _memory_config: MemoryConfig
    _allocated: bool

    @_or_of_numbers
    def __init__(
        self,
        data: Any,
        data_type: DataType | None = None,
        device: MeshDevice | None = None,
        layout: Layout | None = None,
        mem_config: MemoryConfig | None = None,
        tile: Tile | None = None,
        cq_id: int | None = None,
        pad_value: float | None = None,
        mesh_mapper: Mapper | None = None,
    ) -> None:
        made = from_torch(
            data, data_type, tile=tile, pad_value=pad_value, layout=layout, device=device, memory_config=mem_config,
            mesh_mapper=mesh_mapper,
        )  # fmt: skip
        self.__dict__.update(made.__dict__)

    @classmethod
    def of(
        cls,
        shards: Sequence[Stored | None],
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

    def like(
        self,
        shards: Sequence[Stored | None],
        shape: Sequence[int] | None = None,
        dtype: DataType | None = None,
        layout: Layout | None = None,
        memory_config: MemoryConfig | None = None,
    ) -> "Tensor":
        """Make a tensor of other values on the same devices; what is not given is as here."""
        size = self._shape if shape is None else shape
        about = dtype or self._dtype, layout or self._layout, self._device, memory_config or self._memory_config
        return Tensor.of(shards, size, *about)

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
        self.shards = _in_type(other, self._dtype)

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

    def item(self) -> Any:
        """The value of a tensor of one."""
        return to_numpy(self).item()

    def to_list(self) -> list[Any]:
        """The values, as nested lists."""
        values: list[Any] = to_numpy(self).tolist()
        return values

    def volume(self) -> int:
        """Number of elements, without padding."""
        return self._shape.volume()

    logical_volume = volume

    def physical_volume(self) -> int:
        """Number of elements in memory."""
        return self.padded_shape.volume()

    @property
    def tile(self) -> Tile:
        """The size of its tiles."""
        return Tile()

    def get_tile(self) -> Tile:
        """The size of its tiles."""
        return Tile()

    def pad_to_tile(self, pad_value: float = 0.0) -> "Tensor":
        """The last two dimensions filled up to whole tiles."""
        *outer, rows, columns = self._shape
        behind = [(0, -size % TILE) for size in (rows, columns)]
        return glue.pad(self, [*[(0, 0)] * len(outer), *behind], pad_value)

    def unpad_from_tile(self, shape: Any) -> "Tensor":
        """The first elements, so many of each dimension."""
        return slice_(self, [0] * len(self._shape), tuple(shape))

    def to_torch(self, **more: Any) -> Any:
        """As a torch tensor; see `to_torch`."""
        return to_torch(self, **more)

    def to_numpy(self) -> Array:
        """As an array; see `to_numpy`."""
        return to_numpy(self)

    @property
    def spec(self) -> configs.TensorSpec:
        """Shape, type, layout and place, as one value."""
        place = self._memory_config
        about = place.memory_layout, place.shard_spec, place.buffer_type, Tile()
        return configs.TensorSpec(self._shape, self._dtype, self._layout, *about)

    # eq and its like give tensors, as in ttnn; a tensor stays a key of dictionaries by identity
    __hash__ = object.__hash__
    __add__ = __radd__ = glue.add
    __mul__ = __rmul__ = glue.multiply
    __sub__, __rsub__ = glue.subtract, glue.MADE_OPS["rsub"]
    __truediv__, __rtruediv__ = glue.divide, glue.MADE_OPS["rdiv"]
    __neg__, __matmul__ = glue.MADE_OPS["neg"], glue.matmul
    __eq__, __ne__, __lt__, __le__, __gt__, __ge__ = (glue.MADE_OPS[name] for name in ("eq", "ne", "lt", "le", "gt", "ge"))

    def __getattr__(self, name: str) -> Any:
        raise absent(name, "ttnn.Tensor", dir(type(self)))

    def reshape(self, *shape: Any) -> "Tensor":
        """The same elements in another shape; see `ttnn.reshape`."""
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def __getitem__(self, pick: Any) -> "Tensor":
        """Part of each dimension, by slices or `...`, or one of it by a number, which leaves none of it; see `ttnn.slice`."""
        picks = list(pick) if isinstance(pick, tuple) else [pick]
        if any(one is Ellipsis for one in picks):
            at = next(i for i, one in enumerate(picks) if one is Ellipsis)
            picks[at : at + 1] = [slice(None)] * (len(self._shape) - len(picks) + 1)
        if not all(isinstance(one, slice | int) for one in picks) or len(picks) > len(self._shape):
            raise NotModelledError(
                f"tensor[{pick!r}]: numbers and slices of {len(self._shape)} dimensions, as tensor[:, 0, :32, :]"
            )
        if wrong := [(i, n) for i, n in enumerate(picks) if isinstance(n, int) and not -self._shape[i] <= n < self._shape[i]]:
            raise IndexError(f"tensor[{pick!r}]: dimension {wrong[0][0]} of {list(self._shape)} has no {wrong[0][1]}")
        cuts = [slice(n % size, n % size + 1) if isinstance(n, int) else n for n, size in zip(picks, self._shape, strict=False)]
        ranges = [range(size)[one] for one, size in zip((*cuts, *[slice(None)] * len(self._shape)), self._shape, strict=False)]
        part = slice_(self, [r.start for r in ranges], [r.stop for r in ranges], [r.step for r in ranges])
        left = [size for i, size in enumerate(part.shape) if i >= len(picks) or not isinstance(picks[i], int)]
        return part if len(left) == len(part.shape) else reshape(part, left)


# -- to and from the host's libraries ----------------------------------------------------------------------------


@typed
def from_torch(
    tensor: Any,
    dtype: DataType | None = None,
    *,
    spec: configs.TensorSpec | None = None,
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
    """Take a torch tensor or a NumPy array, on the host or to a device; block formats are in tile layout. Of None it is None.

    Without a mapper every device of a mesh gets all of it. A `spec` stands for type, layout and memory config.

    Raises:
        NotModelledError: padding with other than 0 or what hides in a mask, or tiles by columns.
        RuntimeError: a spec of another shape, or with what it stands for.
    """
    if tensor is None:
        return None  # type: ignore[return-value]
    if spec is not None:
        demand("ttnn.from_torch: spec shape", (spec.shape == tuple(tensor.shape), f"{spec.shape} must be the tensor's"))
        alone = not any((dtype, layout, memory_config, tile))
        demand("ttnn.from_torch:", (alone, "dtype, layout, memory_config and tile must be None when spec is specified"))
        dtype, layout, memory_config = spec.dtype, spec.layout, spec.memory_config
    padding = None if pad_value is None or pad_value <= HIDES else pad_value or None
    refuse("from_torch", col_tilize=col_tilize, preserve_nan_values=preserve_nan_values, pad_value=padding)
    if isinstance(tensor, Tensor):
        raise TypeError("from_torch of a ttnn tensor; it takes torch tensors and NumPy arrays")
    array, dtype = as_array(tensor, dtype)
    layout = layout or (Layout.TILE if dtype.is_block else Layout.ROW_MAJOR)
    if dtype.is_block and layout is Layout.ROW_MAJOR:
        raise RuntimeError(f"{dtype} in row-major layout; block formats are in tile layout")
    pieces = mesh_mapper(array) if mesh_mapper else [array] * (len(device.ids) if device else 1)
    if device and len(pieces) != len(device.ids):
        raise RuntimeError(f"the mapper makes {len(pieces)} shards; the mesh has {len(device.ids)} devices")
    shape = pieces[0].shape
    computed = SESSION.settings.numerics != "off" or dtype.is_integer
    shards = once(partial(Stored.of, dtype=dtype), pieces) if computed else [None] * len(pieces)
    return Tensor.of(shards, shape, dtype, layout, device, memory_config or DRAM_MEMORY_CONFIG)


from_numpy = from_torch


@typed
def as_tensor(
    tensor: Any,
    dtype: DataType | None = None,
    *,
    layout: Layout | None = None,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
    cache_file_name: str | Path | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    mesh_mapper: Mapper | None = None,
    use_device_tilizer: bool = False,
) -> Tensor:
    """As `from_torch`, of what `preprocess` makes of the tensor. No cache file is read or written: weights are converted anew."""
    SESSION.without_effect("as_tensor", cache_file_name=cache_file_name)
    given = preprocess(tensor) if preprocess else tensor
    return from_torch(given, dtype, layout=layout, device=device, memory_config=memory_config, mesh_mapper=mesh_mapper)


@typed
def to_numpy(tensor: Tensor, mesh_composer: Composer | None = None) -> Array:
    """The values of a tensor; NaN where numbers were not computed. Block formats and bfloat16 as float32.

    Raises:
        RuntimeError: it lies on several devices and there is no composer.
    """
    whole = _whole(tensor, mesh_composer)
    return whole.values() if isinstance(whole, Stored) else whole


def _whole(tensor: Tensor, composer: Composer | None) -> Stored | Array:
    """All of a tensor, a copy: in the bytes of its type, if it was computed, and put together by none or a composer of ours."""
    tensor.need("to_torch")
    _wait(tensor)
    pieces = [one for one in tensor.shards if one is not None]
    if composer is None and len(tensor.shards) != 1:
        raise RuntimeError(
            f"the tensor has {len(tensor.shards)} shards: give a mesh_composer, or take one with get_device_tensors"
        )
    if not pieces:
        shape = composed_shape(composer, tensor.shape, len(tensor.shards)) if composer else tensor.shape
        return np.broadcast_to(np.float32(np.nan), shape)
    if composer is None:
        return joined(lambda arrays: arrays[0].copy(), pieces)
    whole_groups = not tensor.dtype.is_block or tensor.shape[-1] % TILE == 0
    if whole_groups and isinstance(composer, OURS):
        return joined(composer, pieces)
    return composer([one.values() for one in pieces])


@typed
def to_torch(
    tensor: Tensor,
    dtype: Any = None,
    *,
    torch_rank: int | None = None,
    mesh_composer: Composer | None = None,
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
    whole = _whole(tensor, mesh_composer)
    values = whole if isinstance(whole, np.ndarray) else whole.codes if whole.dtype is DataType.BFLOAT16 else whole.values()
    if 0 in values.strides and values.size > 1:  # nothing was computed: one NaN stands for all
        result = torch.full((1,) * values.ndim, float("nan")).expand(values.shape)
    elif values is not whole and tensor.dtype is DataType.BFLOAT16:
        result = torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    elif values.dtype in (np.uint16, np.uint32):
        result = torch.from_numpy(values.astype(np.int64))
    else:
        result = torch.from_numpy(values)
    while torch_rank is not None and result.ndim > torch_rank:
        demand("ttnn:", (result.shape[0] == 1, f"Unable to squeeze to desired rank! {tuple(result.shape)} to {torch_rank}"))
        result = result.squeeze(0)
    wanted = dtype or (torch.bfloat16 if tensor.dtype is DataType.BFLOAT16 else None)
    return result.to(wanted) if wanted else result


@typed
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


@typed
def from_device(tensor: Tensor, *, blocking: bool = True, cq_id: int | None = None) -> Tensor:
    """Bring a tensor to the host, which waits for the devices if it is blocking."""
    tensor.need("from_device")
    if blocking:
        _wait(tensor)
    return Tensor.of(tensor.shards, tensor.shape, tensor.dtype, tensor.layout, None, tensor.memory_config())


def _wait(tensor: Tensor) -> None:
    if mesh := tensor.device():
        CLOCK.wait(mesh.ids)


def _in_type(tensor: Tensor, dtype: DataType) -> list[Stored | None]:
    """What devices hold, in another data type."""
    return tensor.shards if dtype is tensor.dtype else each(partial(Stored.of, dtype=dtype), tensor.shards)


@recorded
def to_layout(tensor: Tensor, layout: Layout, dtype: DataType | None = None, memory_config: MemoryConfig | None = None) -> Tensor:
    """The same values in another layout. On a device ttnn runs a tilize or untilize op for it, whose cycles are not modelled."""
    tensor.need("to_layout")
    dtype = dtype or tensor.dtype
    if dtype.is_block and layout is Layout.ROW_MAJOR:
        raise RuntimeError(f"to_layout: {dtype} in row-major layout; block formats are in tile layout")
    if tensor.device() and layout is not tensor.layout:
        SESSION.note("to_layout on a device: cycles of tilize and untilize are not modelled, and counted as none")
    return tensor.like(_in_type(tensor, dtype), None, dtype, layout, memory_config)
