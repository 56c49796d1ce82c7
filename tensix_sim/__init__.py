"""Simulate Tenstorrent kernels on virtual Tensix chips, tile by tile, with their cycles.

`simulate(spec)` runs the op on every device of a ring, `check(spec)` says what is wrong with a spec, `tune(spec)` finds the
fastest chunk sizes, `preset(name)` is the spec of a model. `run_program(program, board)` runs kernels of your own, and
`open_run(folder)` reads a run back. Results show themselves: `print(result)`, or in a notebook with a picture.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensix_sim.config import RunSpec
    from tensix_sim.device import DeviceFigures
    from tensix_sim.doctor.check import Report, check
    from tensix_sim.job import IllegalConfigError
    from tensix_sim.presets import preset
    from tensix_sim.programs import Ran, run_program
    from tensix_sim.simulation import Result, simulate
    from tensix_sim.trace import Run, Trace, open_run
    from tensix_sim.tuning import Space, Tuning, tune

__all__ = [
    "DeviceFigures", "IllegalConfigError", "Ran", "Report", "Result", "Run", "RunSpec", "Space", "Trace", "Tuning", "check",
    "open_run", "preset", "run_program", "simulate", "tune",
]  # fmt: skip

if not (kernels := Path(__file__).with_name("kernels")).is_dir():
    raise ImportError(
        f"{kernels} is no folder: git made a text file of the link to ../kernels. On Windows turn on Developer Mode, then "
        "`git config core.symlinks true` and `git checkout -- tensix_sim/kernels`; or install a wheel: pip install tensix-sim"
    )

__version__ = "0.1.0"

_HOME = {"RunSpec": "config", "Report": "doctor.check", "check": "doctor.check", "preset": "presets", "IllegalConfigError": "job"}
_HOME |= dict.fromkeys(("Space", "Tuning", "tune"), "tuning") | dict.fromkeys(("Ran", "run_program"), "programs")
_HOME |= dict.fromkeys(("Run", "Trace", "open_run"), "trace")


def __getattr__(name: str) -> Any:
    # the floors below import this package: its faces are found when someone asks for one
    if name not in __all__:
        from tensix_sim.text import near

        raise AttributeError(f"module 'tensix_sim' has no attribute {name!r}; nearest: {near(name, __all__)}")
    return getattr(import_module(f"tensix_sim.{_HOME.get(name, 'simulation')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
