"""What models do with weights before they go to a device: products' weights are turned, biases become a row."""

from typing import Any, NoReturn

from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.tensor import Tensor, from_torch
from tensix_sim.ttnn.types import DataType, Layout

__all__ = ["preprocess_linear_bias", "preprocess_linear_weight"]


def preprocess_linear_weight(weight: Any, *, dtype: DataType, layout: Layout = Layout.TILE) -> Tensor:
    """A torch layer's weight [out, in] as [in, out] on the host."""
    return from_torch(weight.T, dtype, layout=layout)


def preprocess_linear_bias(bias: Any, *, dtype: DataType, layout: Layout = Layout.TILE) -> Tensor:
    """A bias [out] as [1, out] on the host."""
    return from_torch(bias.reshape((1, -1)), dtype, layout=layout)


def __getattr__(name: str) -> NoReturn:
    raise absent(name, "ttnn.model_preprocessing", __all__)
