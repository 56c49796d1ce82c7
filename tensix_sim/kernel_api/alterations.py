"""What the packer changes in place, as far as the unpacker can know of it: by a push that comes after, or a hand-over."""

from collections.abc import Sequence
from typing import NamedTuple

from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.kernel_api.matrix import Matrix


class Alters(NamedTuple):
    """Rows of a matrix, pushed before, that the packer changes where they lie, without a word to the unpacker."""

    x: Matrix
    rows: range


class Alterations:
    """Those of a compute kernel that the unpacker has not heard of, each with what would tell: pushes that came after it.

    The packer works in order, so whoever sees what it pushed later sees what it changed before.
    """

    def __init__(self) -> None:
        self.unheard: list[tuple[Alters, list[tuple[CircularBuffer, int]]]] = []

    def add(self, alters: Sequence[Alters]) -> None:
        """Rows are changed now."""
        self.unheard += [(one, []) for one in alters]

    def push(self, cb: CircularBuffer, tiles: int) -> None:
        """The newest `tiles` tiles of a buffer have been pushed after all that was changed."""
        for _, pushes in self.unheard:
            pushes.append((cb, cb.pushed - tiles))

    def hear(self, cb: CircularBuffer, tiles: int) -> None:
        """The unpacker waits for the front `tiles` tiles."""
        seen = cb.popped + tiles
        self.unheard = [(one, told) for one, told in self.unheard if not any(b is cb and seen > n for b, n in told)]

    def hear_all(self) -> None:
        """The unpacker waits for the packer."""
        self.unheard.clear()

    def check(self, inputs: Sequence[tuple[CircularBuffer, int]]) -> None:
        """Hold the tiles that a verb is about to read to being as the packer has left them.

        Raises:
            SimulationError: the unpacker may read some before they are changed.
        """
        for (x, rows), _ in self.unheard:
            if any(cb is x.cb and tiles > rows.start * x.cols for cb, tiles in inputs):
                raise SimulationError(
                    f"{x.label}: rows {rows.start} to {rows.stop - 1} are read, which the packer changes in place and has not "
                    "handed over: the unpacker may come first; hand_over, or wait for what is pushed after them"
                )
