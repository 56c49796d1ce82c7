"""Flash attention over circular buffers: reader, compute and writer, and the arguments they share.

The letters: a Q chunk has M x D tiles, a K chunk N x D, a V chunk N x E; scores are M x N, outputs M x E.
"""

from tensix_sim.kernels.sdpa.args import (
    BEFORE,
    NEXT,
    Args,
    ChainLink,
    Chunk,
    Dst,
    GivenMask,
    Heads,
    Paging,
    Phase,
    Share,
    Sink,
    Tensors,
    place,
    zigzag,
)
from tensix_sim.kernels.sdpa.mask import Mask
from tensix_sim.kernels.sdpa.reader import reader
from tensix_sim.kernels.sdpa.writer import writer

__all__ = [
    "BEFORE",
    "NEXT",
    "Args",
    "ChainLink",
    "Chunk",
    "Dst",
    "GivenMask",
    "Heads",
    "Mask",
    "Paging",
    "Phase",
    "Share",
    "Sink",
    "Tensors",
    "place",
    "reader",
    "writer",
    "zigzag",
]  # fmt: skip
