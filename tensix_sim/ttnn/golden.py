"""Golden functions: what torch makes of an op's torch tensors, for tests that ask for it by the op."""

from collections.abc import Callable
from typing import Any

from tensix_sim.ttnn.glue import BINARY, UNARY
from tensix_sim.ttnn.types import NotModelledError

AS_IN_TORCH = {*UNARY, *BINARY, "softmax", "matmul", "mean", "sum", "concat", "permute", "where"} - {"rsub", "rdiv"}


def get_golden_function(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Torch's function of that name, or one of torch tensors that does what an op of encoders does.

    Raises:
        NotModelledError: there is neither.
    """
    name = operation.__name__
    if own := GOLDEN.get(name.removesuffix("_")):
        return own
    if name not in AS_IN_TORCH:
        raise NotModelledError(
            f"get_golden_function: {name} has none here; {', '.join(sorted(AS_IN_TORCH | GOLDEN.keys()))} have"
        )
    import torch

    return getattr(torch, name, None) or getattr(torch.nn.functional, name)  # type: ignore[no-any-return]


def _heads(
    input_tensor: Any,
    kv_input_tensor: Any = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_key: bool = True,
    **_: Any,
) -> tuple[Any, Any, Any]:
    batch, rows, _width = input_tensor.shape
    kv = num_kv_heads or num_heads
    of_q = num_heads if kv_input_tensor is not None else num_heads + 2 * kv
    by_head = input_tensor.reshape(batch, rows, of_q, -1).swapaxes(1, 2)
    q, both = by_head[:, :num_heads], by_head[:, num_heads:]
    if kv_input_tensor is not None:
        both = kv_input_tensor.reshape(batch, rows, 2 * kv, -1).swapaxes(1, 2)
    k, v = both[:, :kv], both[:, kv:]
    return q, k.swapaxes(-1, -2) if transpose_key else k, v


def _softmax(input_tensor: Any, *, head_size: int | None = None, attention_mask: Any = None, **_: Any) -> Any:
    scores = input_tensor * (1.0 if head_size is None else head_size**-0.5)
    return (scores if attention_mask is None else scores + attention_mask).softmax(-1)


def _joined(input_tensor: Any, **_: Any) -> Any:
    batch, heads, rows, width = input_tensor.shape
    return input_tensor.swapaxes(1, 2).reshape(batch, rows, heads * width)


GOLDEN: dict[str, Callable[..., Any]] = {
    "split_query_key_value_and_split_heads": _heads,
    "attention_softmax": _softmax,
    "concatenate_heads": _joined,
}
