"""Lets `import ttnn`, and the helper modules that upstream's test files import, mean those of this package.

`ttnn` is ours even where another is installed; a helper only where nobody else has a module of that name.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

SUBMODULES = ("device", "experimental", "operations", "transformer", "types")
COMPARISONS = ("comp_pcc", "comp_allclose", "comp_allclose_and_pcc", "comp_equal")
TESTING = ("assert_equal", "assert_with_pcc", "check_with_pcc", "check_with_pcc_without_tensor_printout")
UTILITIES = (
    *COMPARISONS, "is_blackhole", "is_slow_dispatch", "is_watcher_enabled", "is_wormhole_b0", "nearest_32",
    "run_for_blackhole", "run_for_wormhole_b0", "skip_for_blackhole", "skip_for_n_dev", "skip_for_slow_dispatch",
    "skip_for_wormhole_b0", "torch_random",
)  # fmt: skip
HELPERS: dict[str, tuple[str, ...]] = {
    "tests.tt_eager.python_api_testing.sweep_tests.comparison_funcs": COMPARISONS,
    "tests.ttnn.utils_for_testing": TESTING,
    "models.common.utility_functions": UTILITIES,
    "models.utility_functions": UTILITIES,
    "tracy": ("signpost",),
    "tracy.process_model_log": ("run_device_profiler",),
    "loguru": ("logger",),
}
IN_MODELS = {"comp_pcc": "comp_pcc_value"}  # there its second result is the number
PACKAGES = {name.rsplit(".", i)[0] for name in HELPERS for i in range(1, name.count(".") + 1)}


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
            sys.modules[f"ttnn.{name}"] = importlib.import_module(f"tensix_sim.ttnn.{name}")


class HelperFinder(Loader):
    """Finds upstream's helper modules, after all others."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a helper module, or a package on the way to one; for what ttnn has not, an error that lists what is near."""
        if name.removeprefix("tensix_sim.").startswith("ttnn."):
            from tensix_sim.ttnn import __all__
            from tensix_sim.ttnn.types import missing

            raise ImportError(missing(name.partition("ttnn.")[2], "ttnn", __all__), name=name)
        return ModuleSpec(name, self, is_package=name in PACKAGES) if name in HELPERS or name in PACKAGES else None

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
        from tensix_sim.ttnn.types import missing

        raise ImportError(f"{missing(name, module, names)}; it has {', '.join(names)}")

    return __getattr__


def install() -> None:
    """Let the names mean ours from now on, in this process."""
    if not any(isinstance(finder, TtnnFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TtnnFinder())
        sys.meta_path.append(HelperFinder())
