"""Ring joint attention: K and V travel around a ring of chips while each attends to the slice that is there.

Gather cores pass slices on from chip to chip; compute cores run the plain kernels' step over slice after slice, and the writer
keeps what is running of a core's Q chunks in DRAM between two slices.
"""

from tensix_sim.kernels.sdpa.ring_joint import legacy, legacy_writer
from tensix_sim.kernels.sdpa.ring_joint.args import GatherArgs, Iteration, KeyRows, RingArgs
from tensix_sim.kernels.sdpa.ring_joint.gather import gather_reader, gather_writer
from tensix_sim.kernels.sdpa.ring_joint.reader import reader
from tensix_sim.kernels.sdpa.ring_joint.semaphores import SEMAPHORES
from tensix_sim.kernels.sdpa.ring_joint.streaming import compute
from tensix_sim.kernels.sdpa.ring_joint.writer import writer

__all__ = [
    "SEMAPHORES",
    "GatherArgs",
    "Iteration",
    "KeyRows",
    "RingArgs",
    "compute",
    "gather_reader",
    "gather_writer",
    "legacy",
    "legacy_writer",
    "reader",
    "writer",
]  # fmt: skip
