"""Which kernel wrote which page of an output, so that two of them in no order are an error, however it went this time."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.semaphore import History
from tensix_sim.hw.tables import NOBODY
from tensix_sim.hw.tasks import CodePlace, line_at
from tensix_sim.program import Tensor


class Author(NamedTuple):
    """A kernel, by what it knows, and where in its code it writes."""

    who: History
    place: CodePlace

    def __str__(self) -> str:
        return f"{self.who.label} at {line_at(self.place)}"


class Authors:
    """The kernels that write an output, and of each page the last one with the number of the write among what it did."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._of_page: NDArray[np.int64] = np.full((tensor.pages, 2), NOBODY)
        self._numbers: dict[History, int] = {}
        self._last: list[Author] = []  # by number

    def sign(self, page: NDArray[Any], author: Author) -> None:
        """Note that a kernel writes pages.

        Raises:
            SimulationError: another one wrote one of them, and neither has heard of the other.
        """
        who = author.who
        number = self._numbers.setdefault(who, len(self._numbers))
        self._last[number : number + 1] = [author]
        before = self._of_page[page]
        for i in np.flatnonzero((before[:, 0] != NOBODY) & (before[:, 0] != number)).tolist():
            other = self._last[before[i, 0]]
            if who.known.get(other.who, 0) < before[i, 1]:
                raise SimulationError(
                    f"page {page[i]} of {self.tensor.name} is written by {other} and by {author}; either may come last: "
                    "one must have waited for the other"
                )
        who.act()
        self._of_page[page] = number, who.acts

    def check_heard(self, page: NDArray[Any], reader: Author) -> None:
        """Hold a kernel that reads pages to knowing that they are written.

        Raises:
            SimulationError: another kernel wrote one of them, and it has not heard of that.
        """
        number = self._numbers.get(reader.who, NOBODY)
        by = self._of_page[page]
        for i in np.flatnonzero((by[:, 0] != NOBODY) & (by[:, 0] != number)).tolist():
            other = self._last[by[i, 0]]
            if reader.who.known.get(other.who, 0) < by[i, 1]:
                raise SimulationError(
                    f"{reader}: read of page {page[i]} of {self.tensor.name}, which {other} writes; it has waited for nothing "
                    "that tells of it"
                )

    def __str__(self) -> str:
        """Who wrote to it, as a sentence's end."""
        if not self._last:
            return "no kernel wrote to it"
        more = f" and {len(self._last) - 1} more kernels" if len(self._last) > 1 else ""
        return f"{self._last[0].who.label}{more} wrote to it, last at {line_at(self._last[0].place)}"
