"""Which core computes which Q chunks."""

from dataclasses import dataclass
from functools import cached_property

from tensix_sim.kernels.sdpa import place


@dataclass(frozen=True)
class Deal:
    """The Q chunks of all heads in one row, cut into runs for `cores` cores.

    With `zigzag` light and heavy chunks of a head take turns; pairs of the two stay together where they come out even.
    `given`, if any, is the Q chunks of each core instead; cores behind have none.
    """

    heads: int  # of all batches
    chunks: int  # of a head
    cores: int
    zigzag: bool
    given: tuple[int, ...] | None = None

    @property
    def hand(self) -> int:
        """Q chunks that a core gets in a round: two where light and heavy ones pair up."""
        return 2 if self.zigzag and self.chunks % 2 == 0 else 1

    @property
    def total(self) -> int:
        """Q chunks of all heads."""
        return self.heads * self.chunks

    @cached_property
    def _hands(self) -> tuple[int, int, int]:
        """What every core gets, how many get more, and how much more."""
        each, extra = divmod(self.total // self.hand, self.cores)
        return each * self.hand, extra, self.hand

    def start(self, i: int) -> int:
        """First Q chunk of core `i`."""
        if self.given:
            return sum(self.given[:i])
        each, extra, hand = self._hands
        return i * each + min(i, extra) * hand

    def count(self, i: int) -> int:
        """Q chunks of core `i`."""
        if self.given:
            return sum(self.given[i : i + 1])
        each, extra, hand = self._hands
        return each + hand * (i < extra)

    @property
    def active_cores(self) -> int:
        """Cores that get any Q chunk."""
        if self.given:
            return sum(count > 0 for count in self.given)
        each, extra, _ = self._hands
        return self.cores if each else extra

    def places(self, i: int) -> list[tuple[int, int]]:
        """(head of all batches, Q chunk) of each Q chunk of core `i`, in order."""
        return [place(index, self.chunks, self.zigzag) for index in range(self.start(i), self.start(i) + self.count(i))]
