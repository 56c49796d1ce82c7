"""Small programs, and tensors for them: what several test files run."""

from typing import Any

import numpy as np

from tensix_sim import Ran, run_program
from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, Format, to_format
from tensix_sim.kernel_api import ComputeConfig, Program, Tensor
from tensix_sim.kernels import block_matmul, eltwise_add, softmax
from tensix_sim.trace import Level


def run(machine: Machine, program: Program, level: Level = "off") -> Ran:
    """Launch, run to the end, check that nothing is left."""
    return run_program(program, machine, level)


def tensor(
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


def add(grid: tuple[int, int], values: bool = True, memory: str = "dram", fmt: Format = BFLOAT16) -> tuple[Program, list[Tensor]]:
    """x + y of 5 x 3 tiles, so that most grids have cores with less to do, or nothing; and the tensors, the output last."""
    x, y = (tensor(name, 5, 3, fmt, values=values) for name in "xy")
    out = tensor("out", 5, 3, fmt, output=True, values=values, memory=memory)
    return eltwise_add.program(x, y, out, grid), [x, y, out]


def product(
    grid: tuple[int, int],
    blocks: tuple[int, ...] = (8, 4, 6, 2, 3),
    values: bool = True,
    memory: str = "dram",
    **config: Any,
) -> tuple[Program, list[Tensor]]:
    """a @ b; `blocks` are rows, inner and columns in tiles, and a block's rows and columns; and the tensors, the output last."""
    rows, inner, cols, m, n = blocks
    a, b = tensor("a", rows, inner, values=values), tensor("b", inner, cols, values=values)
    c = tensor("c", rows, cols, output=True, values=values, memory=memory)
    return block_matmul.program(a, b, c, grid, m, n, ComputeConfig(**{"math_fidelity": "HiFi4"} | config)), [a, b, c]


def rows(grid: tuple[int, int], values: bool = True, memory: str = "dram") -> tuple[Program, list[Tensor]]:
    """The softmax of 5 rows of 3 tiles; and the tensors, the output last."""
    x = tensor("x", 5, 3, values=values)
    out = tensor("out", 5, 3, output=True, values=values, memory=memory)
    return softmax.program(x, out, grid), [x, out]
