"""Lets `import ttnn`, and the helper modules that upstream's test files import, mean those of this package.

`ttnn` is ours even where another is installed; a helper only where nobody else has a module of that name.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

SUBMODULES = (
    "device", "experimental", "operations", "transformer", "types", "database", "tracer", "operation_tracer", "cluster", "_ttnn",
    "model_preprocessing", "kv_cache",
)  # fmt: skip
VIEWS = (  # modules of ttnn's Python, which here are ttnn itself under other names
    "core", "distributed", "distributed.distributed",
    *map("operations.{}".format, (
        "activations", "binary", "ccl", "comparison", "core", "creation", "data_movement", "embedding", "matmul", "normalization",
        "reduction", "ternary", "transformer", "unary",
    )),
)  # fmt: skip
COMPARISONS = ("comp_pcc", "comp_allclose", "comp_allclose_and_pcc", "comp_and_get_pcc", "comp_equal", "comp_shape")
TESTING = (
    "assert_allclose", "assert_equal", "assert_with_pcc", "assert_with_ulp", "check_with_pcc",
    "check_with_pcc_without_tensor_printout", "comp_pcc", "construct_pcc_assert_message", "divup", "roundup",
    "start_measuring_time", "stop_measuring_time", "tt_dtype_to_np_dtype", "tt_dtype_to_torch_dtype", "update_process_id",
)  # fmt: skip
UTILITIES = (
    *COMPARISONS, "comp_ulp", "disable_compilation_reports", "disable_memory_reports", "disable_persistent_kernel_cache", "divup",
    "enable_compilation_reports", "enable_memory_reports", "enable_persistent_kernel_cache", "is_blackhole", "is_grayskull",
    "is_slow_dispatch", "is_watcher_enabled", "is_wormhole_b0", "nearest_32", "nearest_y", "pad_by_zero", "profiler", "roundup",
    "roundup32", "run_for_blackhole", "run_for_grayskull", "run_for_n_dev", "run_for_wormhole_b0",
    "run_for_wormhole_b0_or_blackhole", "skip_for_blackhole", "skip_for_grayskull", "skip_for_n_dev", "skip_for_n_or_less_dev",
    "skip_for_slow_dispatch", "skip_for_wormhole_b0", "skip_with_watcher", "torch2tt_tensor", "torch_random",
    "torch_to_tt_tensor", "torch_to_tt_tensor_rm", "tt2torch_tensor", "tt_to_torch_tensor", "unpad_from_zero",
)  # fmt: skip
HELPERS: dict[str, tuple[str, ...]] = {
    "tests.tt_eager.python_api_testing.sweep_tests.comparison_funcs": COMPARISONS,
    "tests.ttnn.utils_for_testing": TESTING,
    "tests.tests_common.cache_entries_counter": ("CacheEntriesCounter",),
    "tests.tests_common.skip_reasons": ("LEGACY_CCL_SKIP",),
    "models.common.utility_functions": UTILITIES,
    "models.utility_functions": UTILITIES,
    "models.common.lightweightmodule": ("LightweightModule",),
    "models.perf.benchmarking_utils": ("BenchmarkData", "BenchmarkProfiler"),
    "models.perf.device_perf_utils": ("check_device_perf", "prep_device_perf_report", "run_device_perf"),
    "tracy": ("Profiler", "signpost"),
    "tracy.common": (
        "PROFILER_ARTIFACTS_DIR", "PROFILER_DEVICE_SIDE_LOG", "PROFILER_HOST_SIDE_LOG", "PROFILER_LOGS_DIR",
        "clear_profiler_runtime_artifacts",
    ),
    "tracy.process_model_log": (
        "get_latest_ops_log_filename", "get_profiler_folder", "get_samples_per_s", "post_process_ops_log", "run_device_profiler",
    ),
    "tracy.process_device_log": ("import_log_run_stats",),
    "tracy.process_ops_logs": ("process_ops",),
    "tracy.device_post_proc_config": ("default_setup",),
    "loguru": ("logger",),
}  # fmt: skip
IN_MODELS = {"comp_pcc": "comp_pcc_value"}  # there its second result is the number
PACKAGES = {name.rsplit(".", i)[0] for name in HELPERS for i in range(1, name.count(".") + 1)}
CHECKOUTS = [Path.cwd()]  # where a package of upstream's may be that is not on sys.path; the plug-in adds pytest's root


class TtnnFinder(Loader):
    """Finds `ttnn`, before all others."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for ttnn, whose modules come with it."""
        return ModuleSpec(name, self, is_package=True) if name == "ttnn" else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes one; it is soon replaced."""

    def exec_module(self, module: ModuleType) -> None:
        """Put our modules under ttnn's names."""
        ours = importlib.import_module("tensix_sim.ttnn")
        sys.modules["ttnn"] = ours
        for name in SUBMODULES:
            sys.modules[f"ttnn.{name}"] = getattr(ours, name)
        for name in VIEWS:
            view = sys.modules[f"ttnn.{name}"] = View(f"ttnn.{name}", f"Names of ttnn, as its {name} has them.")
            parent, _, last = f"ttnn.{name}".rpartition(".")
            setattr(sys.modules[parent], last, view)


class View(ModuleType):
    """A module that has what ttnn has, and the two helpers that ttnn.core has for itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        own = self.__name__ == "ttnn.core" and name in ("divup", "roundup")
        return getattr(importlib.import_module("tensix_sim.ttnn.helpers") if own else sys.modules["ttnn"], name)


class HelperFinder(Loader):
    """Finds upstream's helper modules, after all others."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a helper module, or a package on the way to one, unless a checkout has its own.

        Raises:
            ImportError: a module that ttnn has not, or that a stand-in has not in the place of a package.
        """
        if name.removeprefix("tensix_sim.").startswith("ttnn."):
            from tensix_sim.ttnn import __all__
            from tensix_sim.ttnn.names import missing

            raise ImportError(missing(name.partition("ttnn.")[2], "ttnn", __all__), name=name)
        top, *inner = name.split(".")
        if top not in PACKAGES and name not in HELPERS:
            return None
        own = PathFinder.find_spec(name, [str(place.joinpath(*[top, *inner][:-1])) for place in CHECKOUTS])
        if own and (inner or own.submodule_search_locations):  # a script `models.py` is no package of upstream's
            return own
        if name in HELPERS or name in PACKAGES:
            return ModuleSpec(name, self, is_package=name in PACKAGES)
        if isinstance(getattr(sys.modules.get(top), "__loader__", None), HelperFinder):
            places = ", ".join(map(str, CHECKOUTS))
            raise ModuleNotFoundError(
                f"No module named {name!r}: {top} is tensix_sim's stand-in for tt-metal's, as neither sys.path nor {places} has "
                "a package of that name; run in the checkout, or put it on PYTHONPATH",
                name=name,
            )
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes one."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill in the helpers."""
        helpers = importlib.import_module("tensix_sim.ttnn.helpers")
        names = HELPERS.get(module.__name__, ())
        other = IN_MODELS if module.__name__.startswith("models.") else {}
        for name in names:
            setattr(module, name, getattr(helpers, other.get(name, name)))
        if names:
            vars(module)["__getattr__"] = _refusal(module.__name__, names)


def _refusal(module: str, names: Sequence[str]) -> Any:
    def __getattr__(name: str) -> NoReturn:  # noqa: N807
        if name.startswith("__"):
            raise AttributeError(name)
        from tensix_sim.ttnn.names import missing

        raise ImportError(f"{missing(name, module, names)}; it has {', '.join(names)}")

    return __getattr__


def install() -> None:
    """Let the names mean ours from now on, in this process."""
    if not any(isinstance(finder, TtnnFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TtnnFinder())
        sys.meta_path.append(HelperFinder())
