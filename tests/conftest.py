"""What several test files need: tensors of random numbers, and a program run to its end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensix_sim import Ran, run_program
from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, Format, to_format
from tensix_sim.kernel_api import Program, Tensor
from tensix_sim.trace import Level


def _run(machine: Machine, program: Program, level: Level = "off") -> Ran:
    return run_program(program, machine, level)


def _tensor(
    name: str, rows: int, cols: int, fmt: Format = BFLOAT16, output: bool = False, values: bool = True, **more: Any
) -> Tensor:
    """Normal random numbers that depend on the name; NaN for an output."""
    shape = (rows * 32, cols * 32)
    numbers = None
    if values and output:
        numbers = np.full(shape, np.nan, np.float32)
    elif values:
        numbers = to_format(np.random.default_rng(list(name.encode())).standard_normal(shape).astype(np.float32), fmt)
    return Tensor(name, rows, cols, fmt, values=numbers, output=output, **more)


@pytest.fixture
def run() -> Callable[..., Ran]:
    """Give `run(machine, program)`: launch, run to the end, check that nothing is left."""
    return _run


@pytest.fixture
def tensor() -> Callable[..., Tensor]:
    """Give `tensor(name, tile_rows, tile_cols, ...)`, as `_tensor` has it."""
    return _tensor
