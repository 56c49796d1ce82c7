"""New tensors: of one value, of random ones, of numbers in a row; made by the host, the same on every device."""

from functools import partial
from typing import Any

import numpy as np

from tensix_sim.ttnn.configs import TensorSpec
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.signatures import typed
from tensix_sim.ttnn.tensor import Tensor, from_numpy
from tensix_sim.ttnn.types import DataType, Layout, MemoryConfig


@typed
def full(
    shape: Any,
    fill_value: float,
    dtype: DataType | None = None,
    layout: Layout | None = None,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """A tensor of one value, of bfloat16 in tiles if not told otherwise."""
    array = np.broadcast_to(np.float32(fill_value), tuple(shape))
    return from_numpy(array, dtype or DataType.BFLOAT16, layout=layout or Layout.TILE, device=device, memory_config=memory_config)


def zeros(shape: Any, *args: Any, **more: Any) -> Tensor:
    """A tensor of zeros; arguments as for `full`."""
    return full(shape, 0.0, *args, **more)


def ones(shape: Any, *args: Any, **more: Any) -> Tensor:
    """A tensor of ones; arguments as for `full`."""
    return full(shape, 1.0, *args, **more)


def empty(shape: Any, *args: Any, **more: Any) -> Tensor:
    """A tensor that nothing was written to: NaN, or 0 of an integer type; arguments as for `full`."""
    dtype = more.get("dtype") or next((one for one in args if isinstance(one, DataType)), None)
    return full(shape, 0.0 if dtype and dtype.is_integer else float("nan"), *args, **more)


def allocate_tensor_on_device(shape: Any, *args: Any, **more: Any) -> Tensor:
    """As `empty`, or of a `TensorSpec` and a device."""
    if isinstance(shape, TensorSpec):
        return empty(shape.shape, shape.dtype, shape.layout, *args, memory_config=shape.memory_config, **more)
    return empty(shape, *args, **more)


@typed
def full_like(
    tensor: Tensor,
    fill_value: float,
    *,
    dtype: DataType | None = None,
    layout: Layout | None = None,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """A tensor of one value, else as another one."""
    about = dtype or tensor.dtype, layout or tensor.layout, device or tensor.device(), memory_config or tensor.memory_config()
    return full(tensor.shape, fill_value, *about)


zeros_like, ones_like = partial(full_like, fill_value=0.0), partial(full_like, fill_value=1.0)
empty_like = partial(full_like, fill_value=float("nan"))


@typed
def rand(
    shape: Any,
    device: MeshDevice | None = None,
    *,
    dtype: DataType = DataType.BFLOAT16,
    layout: Layout = Layout.TILE,
    memory_config: MemoryConfig | None = None,
    low: float = 0.0,
    high: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Uniform random numbers from `low` to `high`, the same for the same seed; NumPy's, not the chip's."""
    array = np.random.default_rng(seed).uniform(low, high, tuple(shape)).astype(np.float32)
    return from_numpy(array, dtype, layout=layout, device=device, memory_config=memory_config)


@typed
def arange(
    start: int,
    end: int | None = None,
    step: int = 1,
    dtype: DataType = DataType.BFLOAT16,
    device: MeshDevice | None = None,
    memory_config: MemoryConfig | None = None,
    *,
    layout: Layout = Layout.ROW_MAJOR,
) -> Tensor:
    """Numbers from `start`, or 0, up to `end`, by `step`; in rows."""
    array = np.arange(*((0, start) if end is None else (start, end)), step).astype(np.float32)
    return from_numpy(array, dtype, layout=layout, device=device, memory_config=memory_config)
