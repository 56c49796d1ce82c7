"""What a tensor's shards are: NumPy arrays of the values that a data type of ttnn holds."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tensix_sim.formats import FORMATS, TILE, to_format
from tensix_sim.ttnn.types import DataType, NotModelledError

Array = NDArray[Any]
Made = TypeVar("Made")
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


def each(change: Callable[..., Made], *shards: Sequence[Array | None]) -> list[Made | None]:
    """`change` of what each device holds of some tensors, None without values. Devices that hold the same share the result."""
    held = [*zip(*shards, strict=True)]
    known: dict[tuple[int, ...], Made | None] = {}
    for arrays in held:
        key = tuple(map(id, arrays))
        if key not in known:
            known[key] = None if any(array is None for array in arrays) else change(*arrays)
    return [known[tuple(map(id, arrays))] for arrays in held]


def is_torch(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return type(value).__module__.partition(".")[0] == "torch"


def as_array(tensor: Any, dtype: DataType | None) -> tuple[Array, DataType]:
    """The values, and the data type asked for or that of the values."""
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
