"""The host's clocks: the user's own files see simulated device time on them, libraries the real one.

`time`, `timeit` and `datetime` are given functions that look at who calls. The user's own files are those outside the
standard library, site-packages and this package, and the main program.
"""

import ctypes
import gc
import importlib
import operator
import os
import sys
import time
import timeit
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from functools import cache, partial, update_wrapper, wraps
from pathlib import Path
from threading import RLock
from time import sleep as let_others_run
from types import FrameType, ModuleType
from typing import Any, NoReturn

SECOND = 10**9  # ns, as all times here
READ = 1000  # what a read takes, so that a loop until a deadline ends
NOTE = (
    "the clocks that the script's own files read (time, timeit, datetime.now) followed simulated device time, on which ops of "
    "cycles not modelled and the host's work take none; libraries read the real ones; --host-clock real turns it off"
)
LIBRARIES = Path(os.__file__).parent, Path(__file__).absolute().parent.parent
LENT = {timeit.__file__, __file__}  # what these call, they call for their caller


class HostClock:
    """Nanoseconds since simulated time began: on the host, and for each device when it is through with its ops.

    Ops are queued, as on hardware: one begins when the host has asked for it and its device is free. Who reads the clock
    finds all of them done. So devices overlap, and a mesh takes as long as its slowest device.
    """

    def __init__(self) -> None:
        self.simulated = False
        self.used = False
        self._host = 0
        self._free: dict[int, int] = {}
        self._lock = RLock()

    def run(self, device: int, microseconds: float) -> int:
        """An op on a device; when it begins there."""
        with self._lock:
            start = max(self._free.get(device, 0), self._host)
            self._free[device] = start + round(microseconds * 1000)
            return start

    def meet(self, devices: Iterable[int]) -> None:
        """Devices wait for the slowest of them."""
        with self._lock:
            self._free |= dict.fromkeys(devices, self._through(devices))

    def wait(self, devices: Iterable[int]) -> None:
        """The host waits for devices."""
        with self._lock:
            self._host = max(self._host, self._through(devices))

    def read(self) -> int:
        """A microsecond after all devices are through."""
        with self._lock:
            self.used = True
            self._host = max(self._host, *self._free.values(), 0) + READ
            self._free.clear()
            return self._host

    def sleep(self, seconds: float) -> None:
        """The host does nothing for so long, and this returns at once.

        Raises:
            ValueError: seconds are negative.
            TypeError: they are no number.
        """
        given = seconds if isinstance(seconds, float) else operator.index(seconds)
        if given < 0:
            raise ValueError("sleep length must be non-negative")
        with self._lock:
            self.used = True
            self._host += round(given * SECOND)

    def _through(self, devices: Iterable[int]) -> int:
        return max((self._free.get(device, 0) for device in devices), default=0)


CLOCK = HostClock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(CLOCK, "_lock", RLock()))


def follow(simulated: bool) -> None:
    """Let the user's own files see simulated time from now on, or the real one."""
    if simulated:
        _install()
    CLOCK.simulated = simulated


# -- who asks -----------------------------------------------------------------------------------------------------


def follows(frame: FrameType | None) -> bool:
    """Whether code that runs in a frame sees simulated time."""
    while CLOCK.simulated and frame is not None:
        owned = _is_users(frame.f_globals)
        if owned is not None:
            return owned
        frame = frame.f_back
    return False


def _is_users(module: dict[str, Any]) -> bool | None:
    """Whether a module, given by its names, is the user's; None where it is whose that calls it: without a file, or lent."""
    file, main = module.get("__file__"), module.get("__name__") == "__main__"
    if not main and (file is None or file in LENT):
        return None
    return file is None or _is_own(file, main)


@cache
def _is_own(file: str, main: bool) -> bool:
    path = Path(file).absolute()
    if {"site-packages", "dist-packages"} & {*path.parts}:
        return False
    return main or not any(path.is_relative_to(folder) for folder in LIBRARIES)


class Followed:
    """A function with another one for the user's own files. As those of C it is no method of a class that holds it."""

    def __init__(self, real: Callable[..., Any], simulated: Callable[..., Any]) -> None:
        self.real, self.simulated = real, simulated
        update_wrapper(self, real)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function of the caller gives."""
        return (self.simulated if follows(sys._getframe().f_back) else self.real)(*args, **kwargs)

    def __reduce__(self) -> str:
        return self.real.__name__


# -- what they get ------------------------------------------------------------------------------------------------


@cache
def _install() -> None:
    """Put the functions in, and where a module of the user has imported some before."""
    start = {name: getattr(time, f"{name}_ns")() // SECOND * SECOND for name in ("time", "perf_counter", "monotonic")}
    simulated = _reads(start) | _calendar(start["time"]) | {"sleep": _sleep}
    followed = {getattr(time, name): Followed(getattr(time, name), function) for name, function in simulated.items()}
    for real, function in followed.items():
        setattr(time, real.__name__, function)
    importlib.reload(timeit)  # its default_timer
    timeit.Timer.autorange = _one_loop(timeit.Timer.autorange)  # type: ignore[method-assign]
    for name, method in _datetimes(start["time"]).items():
        _set_class_method(datetime, name, method)
    vars(sys.modules.setdefault("_time_machine", ModuleType("_time_machine")))["__getattr__"] = _crash_prevented
    for module in [vars(one) for one in [*sys.modules.values()] if isinstance(one, ModuleType)]:
        if _is_users(module):
            known = {name: followed[value] for name, value in module.items() if type(value) is type(len) and value in followed}
            module.update(known)


def _crash_prevented(name: str) -> NoReturn:
    if name.startswith("__"):  # of who looks at all modules
        raise AttributeError(name)
    raise RuntimeError("time-machine writes into functions of C in memory, which are others now; set TENSIX_SIM_HOST_CLOCK=real")


def _reads(start: dict[str, int]) -> dict[str, Callable[..., Any]]:
    """The functions that read, from the time at which each begins: whole seconds, so that differences round alike in all runs."""
    functions: dict[str, Callable[..., Any]] = {}

    def reading(name: str) -> int:
        return start[name] + CLOCK.read()

    def seconds(name: str) -> float:
        return reading(name) / SECOND

    for name in start:
        functions |= {name: partial(seconds, name), f"{name}_ns": partial(reading, name)}
    if hasattr(time, "clock_gettime"):
        ids = {time.CLOCK_REALTIME: "time", time.CLOCK_MONOTONIC: "monotonic"}
        for one, read in (("clock_gettime", seconds), ("clock_gettime_ns", reading)):
            real = getattr(time, one)
            functions[one] = lambda clock, read=read, real=real: read(ids[clock]) if clock in ids else real(clock)
    return functions


def _calendar(start: int) -> dict[str, Callable[..., Any]]:
    """The functions that take now where they are given no time."""
    local, as_text, form = time.localtime, time.asctime, time.strftime

    def now_if_none(real: Callable[[float], Any], seconds: float | None = None) -> Any:
        return real((start + CLOCK.read()) / SECOND if seconds is None else seconds)

    return {
        **{name: partial(now_if_none, getattr(time, name)) for name in ("localtime", "gmtime", "ctime")},
        "asctime": lambda *t: as_text(*(t or [now_if_none(local)])),
        "strftime": lambda text, *t: form(text, *(t or [now_if_none(local)])),
    }


def _sleep(seconds: float) -> None:
    CLOCK.sleep(seconds)
    let_others_run(0)


def _one_loop(real: Callable[..., tuple[int, float]]) -> Callable[..., tuple[int, float]]:
    """`Timer.autorange` in simulated time: no noise to average, and loops over what takes none would never last long enough."""

    @wraps(real)
    def autorange(self: timeit.Timer, callback: Callable[[int, float], object] | None = None) -> tuple[int, float]:
        if not follows(sys._getframe().f_back):
            return real(self, callback)
        taken = self.timeit(1)
        if callback:
            callback(1, taken)
        return 1, taken

    return autorange


def _datetimes(start: int) -> dict[str, Callable[..., datetime]]:
    """`now` and `utcnow`; `today` asks time.time."""

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        seconds, ns = divmod(start + CLOCK.read(), SECOND)
        return cls.fromtimestamp(seconds, tz).replace(microsecond=ns // 1000)

    return {"now": now, "utcnow": lambda cls: now(cls, UTC).replace(tzinfo=None)}


def _set_class_method(kind: type, name: str, simulated: Callable[..., Any]) -> None:
    """Give a type of C another class method.

    Python lets none be set. A subclass in its place would not be the type of what is there, nor the one that pickle,
    pydantic or `type(x) is datetime` know.
    """
    methods = gc.get_referents(vars(kind))[0]
    descriptor = methods[name]

    @wraps(descriptor)
    def real(cls: type, *args: Any, **kwargs: Any) -> Any:
        return descriptor.__get__(None, cls)(*args, **kwargs)

    methods[name] = classmethod(Followed(real, simulated))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
