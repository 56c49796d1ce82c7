"""The compiler of loops: numba where it is installed, plain Python with the same results where it is not."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from inspect import getsource
from types import ModuleType
from typing import Any

import numpy as np

try:
    from numba import config, njit, types
    from numba.core import event

    from tensix_sim.hw import pointers

    class _Compiling(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            if event.data["dispatcher"].py_func.__module__.startswith("tensix_sim."):
                _say_why()

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", _Compiling())  # type: ignore[no-untyped-call]
except ImportError:
    warnings.warn("numba is not installed: loops run uncompiled, to the same results, some 50 times slower", stacklevel=2)
    njit = None  # type: ignore[assignment]


def compiler(*uses: ModuleType) -> Callable[[Any], Any]:
    """A decorator that compiles with numba, if it is there, and keeps the result on disk where that can be written.

    Numba compiles anew when the function's own file changes. `uses` are the modules of all else that is compiled into it: their
    sources are in the name under which the result is kept.
    """
    used = "_" + hashlib.sha256("".join(map(getsource, uses)).encode()).hexdigest()[:8] if uses else ""
    # nothing here allocates or divides by zero; counting references would take half of the time
    options: Any = {"_nrt": False, "error_model": "numpy"}

    def compiled(function: Any) -> Any:
        if njit is None:
            return function
        function.__qualname__ += used
        try:
            return _once(njit(cache=True, **options)(function))
        except RuntimeError:  # neither beside the package nor in the user's cache
            return _once(njit(**options)(function))

    return compiled


def opener(opened: Callable[[Any], Any], kinds: Mapping[str, np.dtype[Any]]) -> Callable[[Any], Any]:
    """What `opened` makes of a memory of tables; in compiled code a pointer, whose attributes are the tables `kinds`."""
    return opened if njit is None or getattr(config, "DISABLE_JIT", False) else pointers.opener(kinds)


@cache
def _say_why() -> None:
    """Why a run takes long to begin."""
    logging.getLogger("tensix_sim").warning("compiling loops that this install has not run yet: up to half a minute")


def _once(dispatcher: Any) -> Any:
    """Keep numba from compiling a function anew for every constant that it is called with."""
    if not hasattr(dispatcher, "get_call_template"):  # NUMBA_DISABLE_JIT
        return dispatcher
    of_types = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return of_types([types.unliteral(arg) for arg in args], kws)  # type: ignore[no-untyped-call]

    dispatcher.get_call_template = get_call_template
    return dispatcher
