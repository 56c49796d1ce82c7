"""Helpers that upstream's test files import: comparisons, skip markers, a logger; see `imports` for the modules they are in."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.ttnn.device import get_num_devices, is_blackhole, is_wormhole_b0
from tensix_sim.ttnn.session import SESSION
from tensix_sim.ttnn.tensor import Tensor, from_torch, to_numpy, to_torch
from tensix_sim.ttnn.types import DRAM_MEMORY_CONFIG, DataType, Layout, MemoryConfig, NotModelledError
from tensix_sim.ttnn.values import NUMPY

__all__ = ["is_blackhole", "is_wormhole_b0"]
TIMING_ONLY = "timing only: numbers were not computed, and not compared"


# -- comparisons --------------------------------------------------------------------------------------------------


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return to_numpy(values)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def _pair(golden: Any, calculated: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64, one row of numbers each.

    Raises:
        AssertionError: their shapes differ.
    """
    a, b = _array(golden), _array(calculated)
    assert a.shape == b.shape, f"shapes differ: {list(a.shape)} and {list(b.shape)}"
    return a.astype(np.float64).ravel(), b.astype(np.float64).ravel()


def _timing_only() -> bool:
    return SESSION.settings.numerics == "off"


def _deltas(a: NDArray[np.float64], b: NDArray[np.float64]) -> str:
    with np.errstate(all="ignore"):
        off = np.abs(a - b)
        relative = np.nan_to_num(off / np.abs(a), posinf=np.inf)
    return f"Max ATOL Delta: {np.max(off, initial=0.0)}, Max RTOL Delta: {np.max(relative, initial=0.0)}"


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """PCC as upstream counts it: what is not finite is zero; 1 for equal arrays, 0 where just one is zero or not a number."""
    if np.isnan(a).all() != np.isnan(b).all():
        return 0.0
    a, b = np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0), np.nan_to_num(b, nan=0.0, posinf=0.0, neginf=0.0)
    if np.array_equal(a, b):
        return 1.0
    if a.any() != b.any():
        return 0.0
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(a) == np.ptp(b) and np.isclose(a[0], b[0]))
    return float(np.corrcoef(a, b)[0, 1])


def comp_pcc(golden: Any, calculated: Any, pcc: float = 0.99) -> tuple[bool, Any]:
    """Whether the correlation of two tensors is at least `pcc`, and a message with it."""
    if _timing_only():
        return True, TIMING_ONLY
    a, b = _pair(golden, calculated)
    found = _correlation(a, b)
    return found >= pcc, f"{_deltas(a, b)}, PCC: {found}{'' if found >= pcc else ', PCC check failed'}"


def comp_pcc_value(golden: Any, calculated: Any, pcc: float = 0.99) -> tuple[bool, Any]:
    """As `comp_pcc`, with the number in place of the message."""
    if _timing_only():
        return True, 1.0
    found = _correlation(*_pair(golden, calculated))
    return found >= pcc, found


def comp_allclose(golden: Any, calculated: Any, rtol: float = 1e-05, atol: float = 1e-08) -> tuple[bool, str]:
    """Whether all elements are close, and a message with the largest differences."""
    if _timing_only():
        return True, TIMING_ONLY
    a, b = _pair(golden, calculated)
    good = np.allclose(a, b, rtol, atol, equal_nan=True)
    return good, _deltas(a, b) + ("" if good else ", Allclose check failed")


def comp_allclose_and_pcc(
    golden: Any, calculated: Any, rtol: float = 1e-05, atol: float = 1e-08, pcc: float = 0.99
) -> tuple[bool, str]:
    """Both comparisons."""
    close, about = comp_allclose(golden, calculated, rtol, atol)
    correlated, more = comp_pcc(golden, calculated, pcc)
    return close and correlated, f"{about}, {more}"


def comp_and_get_pcc(golden: Any, calculated: Any, pcc: float = 0.99) -> tuple[bool, str, float]:
    """As `comp_pcc`, with the message and then the number."""
    good, message = comp_pcc(golden, calculated, pcc)
    return good, message, comp_pcc_value(golden, calculated, pcc)[1]


def comp_ulp(golden: Any, calculated: Any, ulp_threshold: float, allow_nonfinite: bool = False) -> tuple[bool, str]:
    """Whether all elements are within so many units in the last place of the golden ones, in their own type; and a message."""
    if _timing_only():
        return True, TIMING_ONLY
    a, b = _pair(golden, calculated)
    if not allow_nonfinite and not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False, "not all elements are finite"
    bits = {"torch.bfloat16": 7, "torch.float16": 10, "float16": 10, "float64": 52}.get(str(getattr(golden, "dtype", "")), 23)
    units = 2.0 ** (np.frexp(np.nan_to_num(a))[1] - 1 - bits)
    most = float(np.max(np.abs(a - b) / units, initial=0.0, where=np.isfinite(a - b)))
    return most <= ulp_threshold, f"Max ULP Delta: {most}"


def comp_equal(golden: Any, calculated: Any) -> tuple[bool, str]:
    """Whether two tensors are equal, element by element."""
    if _timing_only():
        return True, TIMING_ONLY
    a, b = _pair(golden, calculated)
    return bool(np.array_equal(a, b)), _deltas(a, b)


def comp_shape(golden: Any, calculated: Any) -> tuple[bool, str]:
    """Whether two tensors have the same shape."""
    return list(golden.shape) == list(calculated.shape), f"compare shape golden {golden.shape} {calculated.shape}"


def check_with_pcc(expected: Any, actual: Any, pcc: float = 0.9999) -> tuple[bool, Any]:
    """As `comp_pcc`; other shapes are a failure, too."""
    if list(expected.shape) != list(actual.shape):
        return False, f"shapes differ: {list(expected.shape)} and {list(actual.shape)}"
    return comp_pcc(expected, actual, pcc)


check_with_pcc_without_tensor_printout = check_with_pcc


def _held(good: bool, message: Any) -> tuple[bool, Any]:
    assert good, message
    return good, message


def assert_with_pcc(expected: Any, actual: Any, pcc: float = 0.9999) -> tuple[bool, Any]:
    """Raise if the correlation is below `pcc`."""
    return _held(*check_with_pcc(expected, actual, pcc))


def assert_equal(expected: Any, actual: Any) -> tuple[bool, str]:
    """Raise if two tensors are not equal."""
    return _held(*comp_equal(expected, actual))


def assert_allclose(expected: Any, actual: Any, rtol: float = 1e-05, atol: float = 1e-08) -> tuple[bool, str]:
    """Raise if not all elements are close."""
    return _held(*comp_allclose(expected, actual, rtol, atol))


def assert_with_ulp(expected: Any, actual: Any, ulp_threshold: float = 10, allow_nonfinite: bool = False) -> tuple[bool, str]:
    """Raise if an element is further than so many units in the last place."""
    return _held(*comp_ulp(expected, actual, ulp_threshold, allow_nonfinite))


def construct_pcc_assert_message(message: Any, expected: Any, actual: Any) -> str:
    """What a failed comparison says: its message, and both tensors."""
    return f"{message}\nExpected\n{expected}\nActual\n{actual}"


# -- the machine, and markers that skip by it ---------------------------------------------------------------------


def is_slow_dispatch() -> bool:
    """Whether programs are dispatched slowly, as the environment says to tt-metal."""
    return bool(os.environ.get("TT_METAL_SLOW_DISPATCH_MODE"))


def is_watcher_enabled() -> bool:
    """Whether the watcher is on, as the environment says to tt-metal."""
    return bool(os.environ.get("TT_METAL_WATCHER"))


def _skip(where: bool, reason: str = "Test is not for this board") -> Any:
    import pytest

    return pytest.mark.skipif(where, reason=reason)


def _by_board(where: Callable[[], bool], usual: str) -> Callable[..., Any]:
    def marker(reason_str: str = usual) -> Any:
        """A marker that skips a test on some boards, or in some surroundings; asked when it is used."""
        return _skip(where(), reason_str)

    return marker


skip_for_blackhole = _by_board(is_blackhole, "Test is not for Blackhole")
skip_for_wormhole_b0 = _by_board(is_wormhole_b0, "Test is not for Wormhole B0")
run_for_blackhole = _by_board(lambda: not is_blackhole(), "Test is for Blackhole only")
run_for_wormhole_b0 = _by_board(lambda: not is_wormhole_b0(), "Test is for Wormhole B0 only")
skip_for_slow_dispatch = _by_board(is_slow_dispatch, "Test is not for slow dispatch")
skip_with_watcher = _by_board(is_watcher_enabled, "Test is not for the watcher")


def skip_for_n_dev(n: int, reason_str: str = "") -> Any:
    """A marker that skips a test where there are `n` devices."""
    return _skip(get_num_devices() == n, reason_str or f"Test is not for {n} devices")


def skip_for_n_or_less_dev(n: int, reason_str: str = "") -> Any:
    """A marker that skips a test where there are `n` devices or fewer."""
    return _skip(get_num_devices() <= n, reason_str or f"Test is not for {n} devices or fewer")


def run_for_n_dev(n: int, reason_str: str = "") -> Any:
    """A marker that skips a test where there are not `n` devices."""
    return _skip(get_num_devices() != n, reason_str or f"Test is for {n} devices only")


def is_grayskull() -> bool:
    """Whether the board has Grayskull chips: none here has."""
    return False


run_for_wormhole_b0_or_blackhole = skip_for_grayskull = partial(_skip, False)  # every board here is one of these
run_for_grayskull = partial(_skip, True)


def divup(a: int, b: int) -> int:
    """How often `b` is needed to reach `a`."""
    return -(-a // b)


def roundup(a: int, b: int) -> int:
    """The next multiple of `b`."""
    return divup(a, b) * b


nearest_y = roundup
nearest_32 = roundup32 = partial(roundup, b=32)


def torch2tt_tensor(
    py_tensor: Any,
    tt_device: Any,
    tt_layout: Layout = Layout.TILE,
    tt_memory_config: MemoryConfig = DRAM_MEMORY_CONFIG,
    tt_dtype: DataType = DataType.BFLOAT16,
) -> Tensor:
    """A torch tensor on a device, with leading dimensions of 1 up to four."""
    shape = (1,) * (4 - py_tensor.ndim) + tuple(py_tensor.shape)
    return from_torch(
        py_tensor.reshape(shape),
        tt_dtype,
        layout=tt_layout,
        device=tt_device,
        memory_config=tt_memory_config if tt_device else None,
    )


def torch_to_tt_tensor_rm(py_tensor: Any, device: Any, shape: Any = None, put_on_device: bool = True) -> Tensor:
    """A torch tensor in rows."""
    reshaped = py_tensor.reshape(tuple(shape)) if shape else py_tensor
    return torch2tt_tensor(reshaped, device if put_on_device else None, Layout.ROW_MAJOR)


def tt_to_torch_tensor(tt_tensor: Tensor) -> Any:
    """A tensor as torch's."""
    return to_torch(tt_tensor.cpu())


tt2torch_tensor = tt_to_torch_tensor


def torch_to_tt_tensor(py_tensor: Any, device: Any) -> Tensor:
    """A torch tensor on a device, in tiles."""
    return torch2tt_tensor(py_tensor, device)


def pad_by_zero(
    x: Any,
    device: Any = None,
    tt_memory_config: MemoryConfig = DRAM_MEMORY_CONFIG,
    tt_dtype: DataType = DataType.BFLOAT16,
) -> tuple[Tensor, Any]:
    """A torch tensor of whole tiles, by zeros in its last two dimensions, on a device if there is one; and the shape before."""
    from torch.nn.functional import pad

    whole = pad(x, (0, -x.shape[-1] % 32, 0, -x.shape[-2] % 32))
    return torch2tt_tensor(whole, device, tt_memory_config=tt_memory_config, tt_dtype=tt_dtype), x.shape


def unpad_from_zero(x: Tensor, desired_shape: Any) -> Any:
    """The torch tensor of that shape within one that was padded."""
    return to_torch(x.cpu())[tuple(map(slice, desired_shape))]


def tt_dtype_to_torch_dtype(tt_dtype: DataType) -> Any:
    """What torch calls a data type; of block formats float32."""
    import torch

    names = {DataType.BFLOAT16: "bfloat16", DataType.UINT16: "int16", DataType.UINT32: "int32"}
    return getattr(torch, names.get(tt_dtype, tt_dtype.value if tt_dtype.is_integer else "float32"))


def tt_dtype_to_np_dtype(tt_dtype: DataType) -> Any:
    """What NumPy calls a data type; of floats float32."""
    return NUMPY.get(tt_dtype, np.float32)


class CacheEntriesCounter:
    """Counts the programs that a device needs from here on: `measure` a block, then read `total`."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.total = 0

    @contextmanager
    def measure(self) -> Iterator["CacheEntriesCounter"]:
        """Count what a block needs."""
        before = self.device.num_program_cache_entries()
        yield self
        self.total += self.device.num_program_cache_entries() - before

    def reset(self) -> None:
        """Count from nothing."""
        self.total = 0


def torch_random(shape: Any, low: float, high: float, dtype: Any) -> Any:
    """A torch tensor of uniform random numbers."""
    import torch

    if dtype.is_floating_point:
        return torch.empty(shape, dtype=torch.float32).uniform_(low, high).to(dtype)
    return torch.randint(int(low), int(high), shape, dtype=dtype)


LEGACY_CCL_SKIP = "upstream no longer tests its older collectives"


class LightweightModule:
    """A module of upstream's models: called, it does what its `forward` does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `forward` gives."""
        return self.forward(*args, **kwargs)  # type: ignore[attr-defined]


PROFILER_ARTIFACTS_DIR = Path("generated/profiler")
PROFILER_LOGS_DIR = PROFILER_ARTIFACTS_DIR / ".logs"
PROFILER_DEVICE_SIDE_LOG, PROFILER_HOST_SIDE_LOG = "profile_log_device.csv", "profile_log_host.csv"


def _no_profiler(name: str, *args: Any, **kwargs: Any) -> None:
    raise NotModelledError(f"{name}: upstream's profiler is not here; run the tests with --emit, or read the table at the end")


for _name in (
    "run_device_profiler", "get_latest_ops_log_filename", "post_process_ops_log", "run_device_perf", "check_device_perf",
    "prep_device_perf_report", "get_profiler_folder", "get_samples_per_s", "import_log_run_stats", "process_ops", "default_setup",
):  # fmt: skip
    globals()[_name] = partial(_no_profiler, _name)


class Unrecorded:
    """Profilers and benchmark records of upstream, whose every method does nothing: there is no log of them here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None

    def __call__(self, *args: Any, **kwargs: Any) -> "Unrecorded":
        return self

    def __enter__(self) -> "Unrecorded":
        return self

    def __exit__(self, *args: object) -> None: ...


BenchmarkData = BenchmarkProfiler = Profiler = Unrecorded
profiler = Unrecorded()


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Nothing to do: no kernels are compiled, no reports written, and simulated time is in the table."""


enable_compilation_reports = disable_compilation_reports = enable_memory_reports = disable_memory_reports = _nothing
enable_persistent_kernel_cache = disable_persistent_kernel_cache = update_process_id = _nothing
signpost = clear_profiler_runtime_artifacts = _nothing  # of upstream's profiler logs: there are none here


def start_measuring_time() -> int:
    """The host's clock in nanoseconds."""
    return time.time_ns()


def stop_measuring_time(start_time: int) -> int:
    """Nanoseconds since then."""
    return time.time_ns() - start_time


# -- a logger, where loguru is not installed ------------------------------------------------------------------------


class Logger:
    """What tests call of loguru's logger, to the standard one named ttnn."""

    def __getattr__(self, level: str) -> Any:
        names = {"trace": "debug", "success": "info"}
        if level not in (*names, "debug", "info", "warning", "error", "critical", "exception"):
            raise AttributeError(f"the logger that stands in for loguru has no {level!r}; install loguru")
        method = getattr(logging.getLogger("ttnn"), names.get(level, level))
        return lambda message, *args, **kwargs: method("%s", str(message).format(*args, **kwargs) if args or kwargs else message)


logger = Logger()
