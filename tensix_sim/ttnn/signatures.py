"""Arguments held to their annotations, so that nothing of a wrong type is taken silently."""

import inspect
import reprlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")
NUMBERS: dict[type, type] = {int: Integral, float: Real}


class WrongTypeError(TypeError, RuntimeError):
    """An argument of another type than the op takes: TypeError, as ttnn's bindings raise, and RuntimeError, as its checks do."""


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise where an argument is not of its annotation.

    Raises:
        WrongTypeError: one is not; TypeError: an unknown keyword, or one too many or too few.
    """
    name = function.__qualname__.removesuffix(".__init__")

    @cache
    def signature() -> inspect.Signature:
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        return inspect.Signature(
            [one.replace(annotation=Any if one.kind in variable else hints.get(one.name, Any)) for one in parameters]
        )

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature().bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        for argument, value in given.items():
            hint = signature().parameters[argument].annotation
            if not fits(value, hint):
                wanted = " or ".join(dict.fromkeys(_names(hint)))
                raise WrongTypeError(
                    f"{name}: {argument} = {reprlib.repr(value)} is of type {type(value).__name__}; {wanted} is taken"
                )
        return function(*args, **kwargs)

    return checked


def placed(function: Callable[..., R], form: Callable[[Sequence[Any]], Sequence[str]]) -> Callable[..., R]:
    """Let an op whose arguments have names take some by place, behind its input: those that `form` names, of what is given so."""

    @wraps(function)
    def either(input_tensor: Any, *given: Any, **named: Any) -> R:
        names = form(given)
        if len(given) > len(names):
            op, known = function.__name__, ", ".join(names)
            raise TypeError(f"{op}: {len(given)} arguments by place behind the input; {known} are taken")
        return function(input_tensor, **dict(zip(names, given, strict=False)), **named)

    return either


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotation; what is no class, union or sequence of these says yes."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if isinstance(origin, type) and issubclass(origin, Iterable):
        known = isinstance(value, list | tuple) and inner and origin is not tuple
        return all(fits(one, inner[0]) for one in value) if known else hasattr(value, "__iter__") and not isinstance(value, str)
    if origin is Callable:
        return callable(value)
    if hint is None or hint is NoneType:
        return value is None
    if hint is Any or not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return True
    return isinstance(value, NUMBERS.get(hint, hint))


def _names(hint: Any) -> list[str]:
    if get_origin(hint) in (Union, UnionType):
        return [name for one in get_args(hint) if one is not NoneType for name in _names(one)]
    return [getattr(hint, "__name__", str(hint))]
