"""What kernels may use: the verbs of the data-movement RISCs and of the compute kernel, and `run`."""

from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.kernel_api.compute import Compute
from tensix_sim.kernel_api.data_movement import DataMovement
from tensix_sim.kernel_api.matrix import ExpDifference, Matrix, SubExp
from tensix_sim.kernel_api.running import launch, run
from tensix_sim.program import BufferSpec, ComputeConfig, Kernel, Program, Tensor

__all__ = [
    "BufferSpec",
    "CircularBuffer",
    "Compute",
    "ComputeConfig",
    "DataMovement",
    "ExpDifference",
    "Kernel",
    "Matrix",
    "Program",
    "SubExp",
    "Tensor",
    "launch",
    "run",
]  # fmt: skip
