"""What flash attention carries from one K chunk to the next."""

from typing import NamedTuple

from tensix_sim.kernel_api import Compute, Matrix
from tensix_sim.kernels.sdpa.args import Chunk


class Running(NamedTuple):
    """One set of the statistics; two sets change roles after each K chunk."""

    m: Matrix  # row maxima                       [M, 1]
    l: Matrix  # row sums, in 32 partial columns  [M, 1]
    O: Matrix  # outputs, not yet normalised      [M, E]


def running(t: Compute, chunk: Chunk) -> tuple[Running, Running]:
    """Sets A and B."""
    M, _, _, E = chunk
    A, B = (Running(t.column(f"max_{x}", M), t.matrix(f"sum_{x}", M), t.matrix(f"out_im_{x}", M, E)) for x in "AB")
    return A, B
