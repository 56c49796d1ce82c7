"""What stands around attention in a model: values by NumPy in float32, rounded once; cycles of products, sums and norms.

One table a kind: functions of one tensor, of two, and sums along a dimension. Elsewhere than in products a program config is
checked to be one, and has no effect.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from enum import Enum
from numbers import Real
from typing import Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.configs import MATMUL_CONFIGS, NORM_CONFIGS, SOFTMAX_CONFIGS, demand_config
from tensix_sim.ttnn.movers import cycles_of_norm, cycles_of_pair
from tensix_sim.ttnn.moves import M, Moved, common_mesh, mapped, reshape
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.products import bits_of, cycles_of, product_spec
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.signatures import WrongTypeError
from tensix_sim.ttnn.types import CoreGrid, DataType, Layout, MemoryConfig, WormholeComputeKernelConfig, demand, refuse
from tensix_sim.ttnn.values import Array

_ERF = np.vectorize(math.erf, otypes=[np.float32])


def _sigmoid(x: Array) -> Array:
    result: Array = 0.5 * (np.tanh(0.5 * x) + 1)
    return result


UNARY: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "cos": np.cos,
    "erf": _ERF,
    "exp": np.exp,
    "gelu": lambda x: 0.5 * x * (1 + _ERF(x / np.sqrt(2))),
    "log": np.log,
    "logical_not": lambda x: x == 0,
    "neg": np.negative,
    "reciprocal": np.reciprocal,
    "relu": lambda x: np.maximum(x, 0),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "sign": np.sign,
    "silu": lambda x: x * _sigmoid(x),
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}
BINARY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "rsub": lambda x, y: y - x,
    "rdiv": lambda x, y: y / x,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}
SUMS: dict[str, Callable[..., Array]] = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}
UnaryOpType = Enum("UnaryOpType", {name.upper(): name for name in UNARY})  # type: ignore[misc]
UnaryOpType.__doc__ = "A function of one tensor, by its name: what can be fused into another op."


def named(
    function: Callable[..., Any], name: str, doc: str, cost: str = "; rounded once, cycles are not modelled"
) -> Callable[..., Any]:
    """An op under its name, with what a docstring says of it and of its cycles."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}{cost}."
    return recorded(function)


def _unary(name: str, f: Callable[[Array], Array]) -> Callable[..., Any]:
    def op(
        input_tensor: M,
        *,
        fast_and_approximate_mode: bool | None = None,
        vector_mode: int | None = None,
        memory_config: MemoryConfig | None = None,
    ) -> M:
        SESSION.without_effect(name, fast_and_approximate_mode=fast_and_approximate_mode, vector_mode=vector_mode)
        return mapped(name, [input_tensor], f, input_tensor.dtype, memory_config=memory_config)

    return named(op, name, f"{name} of each element")


def _binary(name: str, f: Callable[[Array, Array], Array]) -> Callable[..., Any]:
    def op(
        input_tensor_a: M,
        input_tensor_b: Any,
        *,
        memory_config: MemoryConfig | None = None,
        dtype: DataType | None = None,
        activations: Sequence[Any] | None = None,
        input_tensor_a_activations: Sequence[Any] | None = None,
        input_tensor_b_activations: Sequence[Any] | None = None,
        use_legacy: bool | None = None,
    ) -> M:
        SESSION.without_effect(name, use_legacy=use_legacy)
        before, behind = activations_of(name, input_tensor_a_activations), activations_of(name, input_tensor_b_activations)
        after = activations_of(name, activations)
        a, b = input_tensor_a, input_tensor_b
        more: dict[str, Any] = {"memory_config": memory_config}
        of_two = hasattr(b, "shards")
        if not (activations or input_tensor_a_activations or input_tensor_b_activations):
            more["cycles"] = cycles_of_pair(name, a, b if of_two else None, dtype or a.dtype, memory_config)
        if not of_two:
            number = np.float32(_number(name, b))
            return mapped(name, [a], lambda x: after(f(before(x), behind(number))), dtype or a.dtype, **more)
        inputs: list[M] = [a, b]
        return mapped(name, inputs, lambda x, y: after(f(before(x), behind(y))), dtype or a.dtype, **more)

    return named(op, name, f"{name} of two tensors, or of a tensor and a number, by element, with functions before and after")


def _number(op: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise WrongTypeError(f"{op}: {value!r} is neither a tensor nor a number")
    return float(value)


def activations_of(op: str, activations: Sequence[Any] | None) -> Callable[[Any], Any]:
    """The functions of a list one after the other; each a `UnaryOpType`, one with a parameter, or a name."""
    functions = []
    for one in activations or ():
        name = _name(one)
        demand(f"{op}: activation", (isinstance(name, str) and name in UNARY, f"{one!r} is none of {', '.join(UNARY)}"))
        functions.append(UNARY[name])

    def apply(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return apply


def _name(activation: Any) -> Any:
    """The name of an activation, however it is given."""
    kind = activation[0] if isinstance(activation, tuple | list) and activation else getattr(activation, "op_type", activation)
    return kind.value if isinstance(kind, UnaryOpType) else kind


def _sum(name: str, f: Callable[..., Array]) -> Callable[..., Any]:
    def op(
        input_tensor: M,
        dim: int | list[int] | tuple[int, ...] | None = None,
        keepdim: bool = False,
        *,
        memory_config: MemoryConfig | None = None,
        compute_kernel_config: WormholeComputeKernelConfig | None = None,
        scalar: float = 1.0,
    ) -> M:
        SESSION.without_effect(name, compute_kernel_config=compute_kernel_config)
        rank = len(input_tensor.shape)
        dims = tuple(range(rank)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        axes = tuple(one % rank for one in dims if demand_dim(name, one, rank))
        shape = [1 if i in axes else size for i, size in enumerate(input_tensor.shape) if keepdim or i not in axes]

        def values(x: Array) -> Array:
            result: Array = (f(x, axis=axes) * np.float32(scalar)).reshape(shape)
            return result

        return mapped(name, [input_tensor], values, input_tensor.dtype, shape=shape, memory_config=memory_config)

    return named(op, name, f"{name} along a dimension, several, or all; `keepdim` leaves a 1 in their place")


def demand_dim(op: str, dim: int, rank: int) -> bool:
    """Hold a dimension to being one of so many, counted from the front or, below 0, from the end.

    Raises:
        RuntimeError: it is none.
    """
    demand(f"{op}: dim", (-rank <= dim < rank, f"{dim}; the tensor has {rank} dimensions"))
    return True


MADE_OPS = {
    name: make(name, f) for make, table in ((_unary, UNARY), (_binary, BINARY), (_sum, SUMS)) for name, f in table.items()
}
add, subtract, multiply, divide = (MADE_OPS[name] for name in ("add", "subtract", "multiply", "divide"))
sub, mul, div = subtract, multiply, divide
ALIASES = {"sub": sub, "mul": mul, "div": div}


def _in_place(name: str) -> Callable[..., Any]:
    def op(input_tensor_a: Any, input_tensor_b: Any, **more: Any) -> Any:
        input_tensor_a.take_values(MADE_OPS[name](input_tensor_a, input_tensor_b, **more))
        return input_tensor_a

    return named(op, f"{name}_", f"As `{name}`, whose result the first tensor takes", cost="")


add_, subtract_, multiply_, divide_ = (_in_place(name) for name in ("add", "subtract", "multiply", "divide"))
IN_PLACE = {
    "add_": add_, "subtract_": subtract_, "sub_": subtract_, "multiply_": multiply_, "mul_": multiply_, "divide_": divide_,
    "div_": divide_,
}  # fmt: skip


# -- products -----------------------------------------------------------------------------------------------------


def _matrix_product(name: str) -> Callable[..., Any]:
    def op(
        input_tensor_a: M,
        input_tensor_b: Moved,
        *,
        bias: Moved | None = None,
        transpose_a: bool = False,
        transpose_b: bool = False,
        memory_config: MemoryConfig | None = None,
        dtype: DataType | None = None,
        program_config: Any = None,
        activation: Any = None,
        compute_kernel_config: WormholeComputeKernelConfig | None = None,
        core_grid: CoreGrid | None = None,
        output_tile: Any = None,
        sub_device_id: Any = None,
    ) -> M:
        refuse(name, output_tile=output_tile)
        demand_config(name, program_config, MATMUL_CONFIGS)
        SESSION.without_effect(name, sub_device_id=sub_device_id)
        fused = [one for one in (getattr(program_config, "fused_activation", None), activation) if one]
        after = activations_of(name, fused)
        inputs: list[Any] = [input_tensor_a, input_tensor_b, *([] if bias is None else [bias])]
        shape = shape_of_product(name, [tuple(one.shape) for one in inputs], transpose_a, transpose_b)
        dtype = dtype or input_tensor_a.dtype
        spec = product_spec(
            name, common_mesh(name, inputs), inputs, (transpose_a, transpose_b),
            (dtype.value, memory_config or input_tensor_a.memory_config()), [_name(one) for one in fused],
            (program_config, core_grid, compute_kernel_config),
        )  # fmt: skip

        def product(x: Array, weights: Array, *more: Array) -> Array:
            if spec is not None and SESSION.settings.numerics == "exact":
                return bits_of(spec, x, weights, more[0] if more else None).reshape(shape)
            result = (x.swapaxes(-1, -2) if transpose_a else x) @ (weights.swapaxes(-1, -2) if transpose_b else weights)
            whole: Array = after(result + more[0] if more else result)
            return whole

        cycles = cycles_of(spec)
        result: M = mapped(name, inputs, product, dtype, shape=shape, memory_config=memory_config, cycles=cycles)
        return result

    if name == "matmul":
        parameters = inspect.signature(op).parameters
        vars(op)["__signature__"] = inspect.Signature([one for one in parameters.values() if one.name != "bias"])
    return named(
        op, name, "The product of matrices, plus a bias and a function of that, by NumPy, or `exact` as its kernels have it", ""
    )


def shape_of_product(op: str, shapes: list[tuple[int, ...]], *turned: bool) -> tuple[int, ...]:
    """The shape of a product of two tensors, each with its last two dimensions `turned` or not; a bias may come third.

    Raises:
        RuntimeError: the shapes do not go together.
    """
    left, right = ((*s[:-2], *(s[:-3:-1] if turn else s[-2:])) for s, turn in zip(shapes[:2], turned, strict=True))
    try:
        if left[-1] != right[-2]:
            raise ValueError(f"{left[-1]} columns by {right[-2]} rows")
        shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
        if shape != np.broadcast_shapes(shape, *shapes[2:]):
            raise ValueError("the bias is larger")
    except (ValueError, IndexError) as error:
        raise RuntimeError(f"{op}: {', '.join(str(list(s)) for s in shapes)} do not go together: {error}") from error
    return shape


MADE_OPS |= {"linear": _matrix_product("linear"), "matmul": _matrix_product("matmul")}
linear, matmul = MADE_OPS["linear"], MADE_OPS["matmul"]


# -- norms and softmax ----------------------------------------------------------------------------------------------


@recorded
def softmax(
    input_tensor: M,
    dim: int = -1,
    *,
    memory_config: MemoryConfig | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    numeric_stable: bool = True,
    program_config: Any = None,
) -> M:
    """exp(x) over its sum along `dim`; always of x less its maximum."""
    demand_config("softmax", program_config, SOFTMAX_CONFIGS)
    SESSION.without_effect("softmax", program_config=program_config, compute_kernel_config=compute_kernel_config)
    demand_dim("softmax", dim, len(input_tensor.shape))

    return mapped("softmax", [input_tensor], lambda x: shares(x, dim), input_tensor.dtype, memory_config=memory_config)


def shares(x: Array, dim: int = -1) -> Array:
    """exp(x) over its sum along a dimension."""
    powers: Array = np.exp(x - x.max(dim, keepdims=True))
    result: Array = powers / powers.sum(dim, keepdims=True)
    return result


def _norm(name: str, centred: bool) -> Callable[..., Any]:
    def op(
        input_tensor: M,
        *,
        epsilon: float = 1e-12,
        weight: Moved | None = None,
        bias: Moved | None = None,
        residual_input_tensor: Moved | None = None,
        memory_config: MemoryConfig | None = None,
        program_config: Any = None,
        compute_kernel_config: WormholeComputeKernelConfig | None = None,
        dtype: DataType | None = None,
    ) -> M:
        demand_config(name, program_config, NORM_CONFIGS)
        SESSION.without_effect(name, program_config=program_config)
        width = input_tensor.shape[-1]
        named = {"weight": weight, "bias": bias, "residual": residual_input_tensor}
        given = {what: tensor for what, tensor in named.items() if tensor is not None}
        for what, tensor in given.items():
            size, wanted = tensor.shape.volume(), input_tensor.shape.volume() if what == "residual" else width
            of_a_tile = what != "residual" and tensor.shape[-1] == width and size <= TILE * width  # of which the first row counts
            demand(f"{name}: {what} {list(tensor.shape)}", (of_a_tile or size == wanted, f"has not {wanted} elements"))

        def f(x: Array, *arrays: Array) -> Array:
            more = dict(zip(given, arrays, strict=True))
            x = x + more.get("residual", np.float32(0))
            x = x - x.mean(-1, keepdims=True) if centred else x
            x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + epsilon)
            x = x * more["weight"].reshape(-1, width)[0] if "weight" in more else x
            return x + more["bias"].reshape(-1, width)[0] if "bias" in more else x

        inputs: list[Any] = [input_tensor, *given.values()]
        dtype = dtype or input_tensor.dtype
        cycles = cycles_of_norm({"x": input_tensor} | given, dtype, memory_config, centred, compute_kernel_config)
        more = {"shape": input_tensor.shape, "memory_config": memory_config, "cycles": cycles}
        result: M = mapped(name, inputs, f, dtype, **more)
        return result

    return named(op, name, "Rows over the root of their mean square" + (" about their mean" if centred else ""))


MADE_OPS |= {"rms_norm": _norm("rms_norm", False), "layer_norm": _norm("layer_norm", True)}


# -- shapes ---------------------------------------------------------------------------------------------------------


@recorded
def pad(
    input_tensor: M,
    padding: Any,
    input_tensor_start: Any = None,
    value: float = 0.0,
    *,
    use_multicore: bool = True,
    memory_config: MemoryConfig | None = None,
) -> M:
    """Elements of `value` around: (before, behind) for each of the last dimensions, or the new shape and where the old starts."""
    if isinstance(input_tensor_start, Real):
        value, input_tensor_start = float(input_tensor_start), None
    sides = [tuple(side) if isinstance(side, list | tuple) else side for side in padding]
    if sides and not isinstance(sides[0], tuple):
        start = input_tensor_start or [0] * len(sides)
        sides = [(s, size - s - old) for s, size, old in zip(start, sides, input_tensor.shape, strict=True)]
    sides = [(0, 0)] * (len(input_tensor.shape) - len(sides)) + sides
    demand(
        "pad:",
        (all(before >= 0 and behind >= 0 for before, behind in sides), f"{padding} is less than {list(input_tensor.shape)}"),
    )
    shape = [before + size + behind for (before, behind), size in zip(sides, input_tensor.shape, strict=True)]
    values = lambda x: np.pad(x, sides, constant_values=value)  # noqa: E731
    return mapped("pad", [input_tensor], values, input_tensor.dtype, shape=shape, memory_config=memory_config)


@recorded
def repeat(input_tensor: M, repeat_dims: Any, *, memory_config: MemoryConfig | None = None) -> M:
    """The tensor so often along each dimension."""
    times = tuple(repeat_dims)
    shape = np.tile(np.broadcast_to(np.float32(0), tuple(input_tensor.shape)), times).shape
    return mapped(
        "repeat", [input_tensor], lambda x: np.tile(x, times), input_tensor.dtype, shape=shape, memory_config=memory_config
    )


def unsqueeze(input_tensor: M, dim: int) -> M:
    """A view with a dimension of 1 more."""
    demand_dim("unsqueeze", dim, len(input_tensor.shape) + 1)
    at = dim % (len(input_tensor.shape) + 1)
    return reshape(input_tensor, (*input_tensor.shape[:at], 1, *input_tensor.shape[at:]))


def squeeze(input_tensor: M, dim: int | None = None) -> M:
    """A view without a dimension of 1, or without all."""
    shape = input_tensor.shape
    if dim is not None:
        demand_dim("squeeze", dim, len(shape))
    gone = [i for i, size in enumerate(shape) if size == 1 and dim in (None, i, i - len(shape))]
    return reshape(input_tensor, [size for i, size in enumerate(shape) if i not in gone])


@recorded
def where(predicate: M, true_value: Any, false_value: Any, *, memory_config: MemoryConfig | None = None) -> M:
    """`true_value` where the first tensor is not 0, else `false_value`; each a tensor or a number."""
    values = [true_value, false_value]
    tensors = [one for one in values if hasattr(one, "shards")]

    def f(condition: Array, *arrays: Array) -> Array:
        left = iter(arrays)
        yes, no = (next(left) if hasattr(one, "shards") else np.float32(_number("where", one)) for one in values)
        return np.where(condition != 0, yes, no)

    dtype = tensors[0].dtype if tensors else predicate.dtype
    inputs: list[M] = [predicate, *tensors]
    return mapped("where", inputs, f, dtype, memory_config=memory_config)


@recorded
def embedding(
    input_tensor: M,
    weight: M,
    *,
    padding_idx: int | None = None,
    layout: Layout | None = None,
    embeddings_type: Any = None,
    dtype: DataType | None = None,
    memory_config: MemoryConfig | None = None,
) -> M:
    """The rows of a table that the numbers in `input_tensor` name: [..., width]."""
    demand(
        "embedding:",
        (input_tensor.dtype.is_integer, f"{input_tensor.dtype.value} numbers of rows; an integer type is needed"),
    )
    refuse("embedding", padding_idx=padding_idx)
    SESSION.without_effect("embedding", embeddings_type=embeddings_type)
    width = weight.shape[-1]
    shape = (*input_tensor.shape, width)
    values = lambda ids, table: table.reshape(-1, width)[ids.astype(np.int64)]  # noqa: E731
    more = {"shape": shape, "layout": layout or weight.layout, "memory_config": memory_config}
    return mapped("embedding", [input_tensor, weight], values, dtype or weight.dtype, **more)


__all__ = [*MADE_OPS, *ALIASES, *IN_PLACE]
__all__ += ["UnaryOpType", "embedding", "pad", "repeat", "softmax", "squeeze", "unsqueeze", "where"]


def __getattr__(name: str) -> Any:
    if name in MADE_OPS:
        return MADE_OPS[name]
    if name in ALIASES | IN_PLACE:
        return (ALIASES | IN_PLACE)[name]
    raise absent(name, "ttnn.operations", __all__)
