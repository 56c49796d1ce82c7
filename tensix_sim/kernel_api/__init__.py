"""What kernels may use: the data-movement RISCs, the compute kernel and its verbs, parts to make verbs of, and `run`."""

from tensix_sim.formats import BFLOAT16, FLOAT32, Format, Values, to_format
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.tensix import Costs, Stage, Window
from tensix_sim.kernel_api.alterations import Alters
from tensix_sim.kernel_api.compute import Compute
from tensix_sim.kernel_api.data_movement import DataMovement
from tensix_sim.kernel_api.matrix import Matrix, check_adds, check_column, check_fills, check_shape, check_whole
from tensix_sim.kernel_api.running import launch, run
from tensix_sim.kernel_api.verb import EACH, Pushes, Reads, Unit, Units, Updates, Verb
from tensix_sim.kernel_api.verbs import Add, Copy, Matmul, MulColumn, RowMax, RowSum, added
from tensix_sim.kernel_api.windows import (
    COLUMN_FACES,
    Windows,
    begin,
    check_window,
    in_place,
    maxima,
    one_by_one,
    product,
    window,
)
from tensix_sim.program import BufferSpec, ComputeConfig, Kernel, Program, Tensor

__all__ = [
    "BFLOAT16",
    "COLUMN_FACES",
    "EACH",
    "FLOAT32",
    "Add",
    "Alters",
    "BufferSpec",
    "CircularBuffer",
    "Compute",
    "ComputeConfig",
    "Copy",
    "Costs",
    "DataMovement",
    "Format",
    "Kernel",
    "Matmul",
    "Matrix",
    "MulColumn",
    "Program",
    "Pushes",
    "Reads",
    "RowMax",
    "RowSum",
    "SimulationError",
    "Stage",
    "Tensor",
    "Unit",
    "Units",
    "Updates",
    "Values",
    "Verb",
    "Window",
    "Windows",
    "added",
    "begin",
    "check_adds",
    "check_column",
    "check_fills",
    "check_shape",
    "check_whole",
    "check_window",
    "in_place",
    "launch",
    "maxima",
    "one_by_one",
    "product",
    "run",
    "to_format",
    "window",
]  # fmt: skip
