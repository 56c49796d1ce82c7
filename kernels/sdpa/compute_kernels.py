"""The compute kernels of attention, and what each of them can."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tensix_sim.kernel_api import Compute
from tensix_sim.kernels.sdpa import legacy, streaming
from tensix_sim.kernels.sdpa.args import Args


@dataclass(frozen=True)
class AttentionKernel:
    """A compute kernel: its name in a spec, the kernel, and whether it runs with a 32-bit DST.

    One of `row_groups` finishes and hands over an output a few rows at a time, and leaves out what the mask hides of a last
    K chunk; else a Q chunk is whole.
    """

    name: str
    compute: Callable[[Compute, Args], Coroutine[Any, Any, None]]
    wide_dst: bool
    row_groups: bool

    @property
    def file(self) -> str:
        """Where it stands in this project."""
        return f"kernels/sdpa/{self.name}.py"


LEGACY = AttentionKernel("legacy", legacy.compute, wide_dst=True, row_groups=False)
STREAMING = AttentionKernel("streaming", streaming.compute, wide_dst=False, row_groups=True)
COMPUTE_KERNELS = {kernel.name: kernel for kernel in (LEGACY, STREAMING)}
