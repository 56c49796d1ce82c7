"""The compiler of loops: numba where it is installed, plain Python with the same results where it is not."""

import hashlib
import warnings
from collections.abc import Callable
from inspect import getsource
from types import ModuleType
from typing import Any

try:
    from numba import njit
except ImportError:
    warnings.warn("numba is not installed: loops run uncompiled, to the same results, some 50 times slower", stacklevel=2)
    njit = None  # type: ignore[assignment]


def compiler(*uses: ModuleType, **more: Any) -> Callable[[Any], Any]:
    """A decorator that compiles with numba, if it is there, and keeps the result on disk where that can be written.

    Numba compiles anew when the function's own file changes. `uses` are the modules of all else that is compiled into it: their
    sources are in the name under which the result is kept. `more` are options of numba's.
    """
    used = "_" + hashlib.sha256("".join(map(getsource, uses)).encode()).hexdigest()[:8] if uses else ""
    options: Any = {"_nrt": False, **more}  # nothing here allocates, and counting references would take half of the time

    def compiled(function: Any) -> Any:
        if njit is None:
            return function
        function.__qualname__ += used
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # neither beside the package nor in the user's cache
            return njit(**options)(function)

    return compiled
