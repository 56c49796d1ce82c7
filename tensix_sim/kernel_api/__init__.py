"""What kernels may use: the verbs of the data-movement RISCs and of the compute kernel, and `launch`."""

from tensix_sim.hw.chip import Chip
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.kernel_api.compute import Compute
from tensix_sim.kernel_api.data_movement import DataMovement
from tensix_sim.kernel_api.matrix import ExpDifference, Matrix, SubExp
from tensix_sim.program import RISC_OF, BufferSpec, ComputeConfig, Kernel, Program, Tensor

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
]  # fmt: skip


def launch(chip: Chip) -> dict[tuple[tuple[int, int], str], DataMovement | Compute]:
    """Start every kernel of the chip's program on every core, at the engine's current cycle; the contexts by (core, role)."""
    contexts: dict[tuple[tuple[int, int], str], DataMovement | Compute] = {}
    for kernel in chip.program.kernels:
        for (logical, core), args in zip(chip.cores.items(), kernel.args, strict=True):
            context = Compute(core) if kernel.role == "compute" else DataMovement(core, kernel.role)
            label = f"{core.label} {RISC_OF[kernel.role]}"
            context.task = chip.engine.spawn(label, kernel.function(context, args))
            contexts[logical, kernel.role] = context
    return contexts
