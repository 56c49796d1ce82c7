"""A row of chips joined by Ethernet: a line, or a ring whose last chip is joined to the first."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from tensix_sim.formats import Values
from tensix_sim.hw.authors import Author
from tensix_sim.hw.chip import Chip
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.ethernet import Port
from tensix_sim.program import Tensor


class Fabric:
    """Chips of one kind on one engine, in their order, with `links` cables between neighbours: each gets the port to its own.

    One chip alone in a ring stands for all: what it sends comes from its other side, as if from a neighbour that does the same.
    What has values there keeps them, for its neighbour's are others. `first` is the number of the first chip.
    """

    def __init__(self, chips: Sequence[Chip], engine: Engine, links: int, ring: bool, first: int = 0) -> None:
        for i, chip in enumerate(chips, first):
            chip.hardware.hop = chip.machine.chip.ethernet.hop_cycles
            semaphores = {core.logical: core.semaphores for core in chip.cores.values()}
            store = chip.store if len(chips) > 1 else partial(_sign, chip)
            chip.port = Port(
                i, chip.machine.chip.ethernet, links, chip.hardware, chip.program.tensors, store, chip.land, semaphores
            )
        self.ports = [chip.port for chip in chips if chip.port]
        for here, after in pairwise([*self.ports, self.ports[0]] if ring else self.ports):
            here.join(after)

    def bytes_sent(self) -> dict[tuple[int, int, int], int]:
        """Bytes of tiles over each link: by chip that sends, direction (1 forward, -1 backward) and number of the link."""
        return {(port.place, *way): link.nbytes for port in self.ports for way, link in port.out.items()}


def _sign(chip: Chip, tensor: Tensor, pages: Sequence[int], block: Values | None, author: Author | None) -> None:
    """Take pages for written, whose values are there already."""
    chip.store(tensor, pages, None, author)
