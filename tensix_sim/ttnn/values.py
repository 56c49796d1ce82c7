"""What a tensor's shards are: the values that a data type of ttnn holds, in as many bytes as it takes for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tensix_sim.formats import FLOAT32, FORMATS, GROUP, TILE, Codes, from_codes, to_codes
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


@dataclass(frozen=True, eq=False)
class Stored:
    """What a device holds of a tensor, in the bytes of its data type: bfloat16 as 2 a value, a block format as 17 or 9 for 16.

    Nobody changes it in place, so devices and tensors share what is equal. Blocks of the first dimension that were written
    since lie apart, and those that were not are not copied.
    """

    codes: Codes
    shape: tuple[int, ...]
    dtype: DataType
    written: Mapping[int, Codes] = field(default_factory=dict)

    @classmethod
    def of(cls, array: Array, dtype: DataType) -> "Stored":
        """The values that `dtype` holds; of one value for all, the bytes of a row."""
        if dtype is DataType.FP8_E4M3:
            raise NotModelledError("fp8_e4m3: its values are not modelled; there are bfloat16, bfloat8_b, bfloat4_b and float32")
        if array.ndim > 1 and array.size and not any(array.strides):
            row = cls.of(array[(0,) * (array.ndim - 1)].copy(), dtype).codes
            return cls(np.broadcast_to(row, (*array.shape[:-1], len(row))), array.shape, dtype)
        return cls(_codes(array, dtype), array.shape, dtype)

    @property
    def whole(self) -> Codes:
        """All codes, with those that were written since."""
        if not self.written:
            return self.codes
        codes = self.codes.copy()
        codes[[*self.written]] = [*self.written.values()]
        return codes

    def values(self) -> Array:
        """The values, of bfloat16 and block formats as float32."""
        return self._decoded(self.whole)

    def blocks(self, which: Array) -> Array:
        """The values of some blocks of the first dimension: [*which.shape, *shape[1:]]."""
        codes = self.codes[which]
        for at in np.ndindex(which.shape):
            if (new := self.written.get(int(which[at]))) is not None:
                codes[at] = new
        return self._decoded(codes)

    def with_rows(self, which: Array, rows: Array) -> "Stored":
        """The same but for some blocks [heads, block, width], which take rows [heads, S, width]; the last keeps its rest."""
        heads, count, width = rows.shape
        block = self.shape[2]
        new = np.empty((heads, len(which) * block, width), rows.dtype)
        new[:, :count] = rows
        new[:, count:] = self.blocks(which[-1:])[0, :, block - (new.shape[1] - count) :]
        codes = _codes(new.reshape(heads, len(which), block, width).swapaxes(0, 1), self.dtype)
        return replace(self, written={**self.written, **{int(i): one.copy() for i, one in zip(which, codes, strict=True)}})

    def with_tokens(self, places: Sequence[Sequence[int]], tokens: Array) -> "Stored":
        """The same but for one row of all heads of some blocks, at (block, row), which take tokens [places, heads, width]."""
        written = dict(self.written)
        for (block, row), new in zip(places, _codes(tokens, self.dtype), strict=True):
            written[block] = written.get(block, self.codes[block]).copy()
            written[block][:, row] = new
        return replace(self, written=written)

    def reshaped(self, shape: Sequence[int]) -> "Stored":
        """The same values in another shape."""
        if not self.shape or not shape or self.shape[-1] != shape[-1]:
            return moved(lambda arrays: [arrays[0].reshape(shape)], self.dtype)(self)[0]
        return Stored(self.whole.reshape(*shape[:-1], self.codes.shape[-1]), tuple(shape), self.dtype)

    def _decoded(self, codes: Codes) -> Array:
        if (form := FORMATS.get(self.dtype.value)) in (None, FLOAT32):
            return codes
        return from_codes(codes, form)[..., : self.shape[-1]] if form.is_block else from_codes(codes, form)


def _codes(array: Array, dtype: DataType) -> Codes:
    if dtype in NUMPY:
        return np.array(array, NUMPY[dtype], order="C")
    if dtype.is_block and array.shape[-1:] and array.shape[-1] % TILE:
        array = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % TILE)])
    return to_codes(array, FORMATS[dtype.value])


def moved(change: Callable[[list[Array]], list[Array]], dtype: DataType) -> Callable[..., list[Stored]]:
    """What `change`, which moves values and computes none, is of arrays, of what a device holds of some tensors of a type."""

    def of_stored(*held: Stored) -> list[Stored]:
        if dtype.is_block:
            return [Stored.of(array, dtype) for array in change([one.values() for one in held])]
        return [Stored(np.asarray(codes, order="C"), codes.shape, dtype) for codes in change([one.whole for one in held])]

    return of_stored


def joined(join: Callable[[list[Array]], Array], held: Sequence[Stored]) -> Stored:
    """What `join`, which puts arrays together along dimensions, makes of shards; where rows are whole tiles, of their bytes."""
    dtype, shape = held[0].dtype, held[0].shape
    if dtype.is_block and shape[-1] % TILE:
        return Stored.of(join([one.values() for one in held]), dtype)
    codes = join([one.whole for one in held])
    columns = [size * (GROUP if dtype.is_block else 1) for size in codes.shape[-1:]]
    return Stored(codes, (*codes.shape[:-1], *columns), dtype)


def once(change: Callable[..., Made], *shards: Sequence[Any]) -> list[Made | None]:
    """`change` of what each device holds of some tensors, None without values. Devices that hold the same share the result."""
    held = [*zip(*shards, strict=True)]
    known: dict[tuple[int, ...], Made | None] = {}
    for arrays in held:
        key = tuple(map(id, arrays))
        if key not in known:
            known[key] = None if any(array is None for array in arrays) else change(*arrays)
    return [known[tuple(map(id, arrays))] for arrays in held]


def each(change: Callable[..., Made], *shards: Sequence[Stored | None]) -> list[Made | None]:
    """As `once`, of the values."""
    return once(lambda *held: change(*(one.values() for one in held)), *shards)


def apart(made: Sequence[Sequence[Stored] | None], results: int) -> list[list[Stored | None]]:
    """The shards of each of so many results, of what each device has of all of them."""
    return [[None if one is None else one[i] for one in made] for i in range(results)]


def as_array(tensor: Any, dtype: DataType | None) -> tuple[Array, DataType]:
    """The values, and the data type asked for or that of the values."""
    own = None
    if type(tensor).__module__.partition(".")[0] == "torch":  # which need not be imported for this
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
