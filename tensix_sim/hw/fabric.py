"""A row of chips joined by Ethernet: a line, or a ring whose last chip is joined to the first."""

from collections.abc import Sequence
from itertools import pairwise

from tensix_sim.hw.chip import Chip
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.ethernet import Port


class Fabric:
    """Chips of one kind on one engine, in their order, with `links` cables between neighbours: each gets the port to its own."""

    def __init__(self, chips: Sequence[Chip], engine: Engine, links: int, ring: bool) -> None:
        for i, chip in enumerate(chips):
            chip.hardware.hop = chip.machine.chip.ethernet.hop_cycles
            semaphores = {core.logical: core.semaphores for core in chip.cores.values()}
            chip.port = Port(
                i, chip.machine.chip.ethernet, links, chip.hardware, chip.program.tensors, chip.store, chip.land, semaphores
            )
        self.ports = [chip.port for chip in chips if chip.port]
        for here, after in pairwise([*self.ports, self.ports[0]] if ring else self.ports):
            here.join(after)

    def bytes_sent(self) -> dict[tuple[int, int, int], int]:
        """Bytes of tiles over each link: by chip that sends, direction (1 forward, -1 backward) and number of the link."""
        return {(port.place, *way): link.nbytes for port in self.ports for way, link in port.out.items()}
