"""What models do with weights before they go to a device: one by one, or all of a torch model's at once."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.distribution import Mapper
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.tensor import Tensor, from_torch, to_device
from tensix_sim.ttnn.types import DataType, Layout, refuse

__all__ = [
    "ParameterDict", "ParameterList", "make_parameter_dict", "move_to_device", "preprocess_embedding_weight",
    "preprocess_layernorm_parameter", "preprocess_linear_bias", "preprocess_linear_weight", "preprocess_model",
    "preprocess_model_parameters",
]  # fmt: skip


def preprocess_linear_weight(
    weight: Any, *, dtype: DataType, layout: Layout = Layout.TILE, weights_mesh_mapper: Mapper | None = None
) -> Tensor:
    """A torch layer's weight [out, in] as [in, out] on the host."""
    return from_torch(weight.T, dtype, layout=layout, mesh_mapper=weights_mesh_mapper)


def preprocess_linear_bias(
    bias: Any, *, dtype: DataType, layout: Layout = Layout.TILE, weights_mesh_mapper: Mapper | None = None
) -> Tensor:
    """A bias [out] as [1, out] on the host."""
    return from_torch(bias.reshape((1, -1)), dtype, layout=layout, mesh_mapper=weights_mesh_mapper)


preprocess_layernorm_parameter = preprocess_linear_bias


def preprocess_embedding_weight(weight: Any, *, dtype: DataType) -> Tensor:
    """A table of rows as it is, in rows on the host; integers keep their type."""
    return from_torch(weight, dtype if weight.is_floating_point() else None)


class ParameterList(list[Any]):
    """Parameters of modules in a row."""


class ParameterDict(dict[Any, Any]):
    """Parameters of modules by their names, which are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"no parameter {name!r}; there are {', '.join(map(str, self))}")
        return self[name]


def make_parameter_dict(dictionary: Mapping[Any, Any]) -> ParameterDict:
    """A dictionary, and those in it, with attributes."""
    return ParameterDict((name, make_parameter_dict(one) if isinstance(one, dict) else one) for name, one in dictionary.items())


def move_to_device(parameters: Any, device: MeshDevice) -> Any:
    """Parameters with their tensors of ttnn on a device."""
    if isinstance(parameters, dict):
        return ParameterDict((name, move_to_device(one, device)) for name, one in parameters.items())
    if isinstance(parameters, list):
        return ParameterList(move_to_device(one, device) for one in parameters)
    return to_device(parameters, device) if isinstance(parameters, Tensor) else parameters


def preprocess_model_parameters(
    *,
    model_name: str | None = None,
    version: str | None = None,
    initialize_model: Callable[[], Any],
    convert_to_ttnn: Callable[[Any, str], bool] | None = None,
    custom_preprocessor: Callable[..., Any] | None = None,
    device: MeshDevice | None = None,
    prefix: str = "",
) -> ParameterDict:
    """The parameters of a torch model, by the names of its modules: of products, norms and embeddings as these take them.

    What `convert_to_ttnn` says no to stays torch's; where `custom_preprocessor` gives something for a module, that is taken.
    Nothing is cached.
    """

    def converted(module: Any, name: str) -> Any:
        if type(module).__name__ == "ModuleList":
            return ParameterList(converted(child, f"{name}.{i}" if name else f"{i}") for i, child in enumerate(module))
        if custom_preprocessor is not None:
            more = {"convert_to_ttnn": wanted, "ttnn_module_args": None}
            known = inspect.signature(custom_preprocessor).parameters
            if own := custom_preprocessor(module, name, **{one: value for one, value in more.items() if one in known}):
                return make_parameter_dict(own)
        found = _parameters(module, wanted(module, name))
        for child, of_child in module.named_children():
            found[int(child) if child.isdigit() else child] = converted(of_child, f"{name}.{child}" if name else child)
        return make_parameter_dict(found)

    wanted = convert_to_ttnn or (lambda module, name: True)
    model = initialize_model()
    parameters: ParameterDict = converted(model, prefix)
    return parameters if device is None else move_to_device(parameters, device)


def preprocess_model(*, run_model: Any = None, reader_patterns_cache: Any = None, **more: Any) -> ParameterDict:
    """As `preprocess_model_parameters`; what convolutions would ask a run of the model is refused."""
    refuse("preprocess_model", run_model=run_model)
    return preprocess_model_parameters(**more)


def _parameters(module: Any, to_ttnn: bool) -> dict[Any, Any]:
    """A module's own parameters, without those of modules in it."""
    from torch import nn  # the user has it, whose module this is

    found = dict(module.named_parameters(recurse=False))
    if not to_ttnn:
        turned = isinstance(module, nn.Linear)
        return {name: one.T.contiguous() if turned and name == "weight" else one for name, one in found.items()}
    ways: dict[Any, dict[str, Callable[..., Tensor]]] = {
        nn.Linear: {"weight": preprocess_linear_weight, "bias": preprocess_linear_bias},
        nn.LayerNorm: {"weight": preprocess_layernorm_parameter, "bias": preprocess_layernorm_parameter},
    }
    way: dict[str, Any] = next((way for kind, way in ways.items() if isinstance(module, kind)), {})
    return {name: way.get(name, preprocess_embedding_weight)(one, dtype=DataType.BFLOAT16) for name, one in found.items()}


def __getattr__(name: str) -> NoReturn:
    raise absent(name, "ttnn.model_preprocessing", __all__)
