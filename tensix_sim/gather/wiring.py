"""What collectives ask of a board: enough devices, joined as they are to be, by as many links."""

from collections.abc import Iterator, Sequence
from math import prod

from tensix_sim.arch import Machine
from tensix_sim.arch.rings import Joining, has_ring


def wiring_problems(what: str, devices: int, links: int, topology: Joining, on: Machine, mesh: Sequence[int]) -> Iterator[str]:
    """All that keeps so many devices of a mesh from doing `what`, as sentences."""
    if devices < 2:
        yield f"{what} of {devices} device; 2 at least"
    elif devices > prod(mesh):
        yield f"{devices} devices; {on.board} has {prod(mesh)}"
    if on.links_per_neighbour == 0:
        yield f"{on.board} has no Ethernet links between chips; n300, t3000 and galaxy have"
    elif not 1 <= links <= on.links_per_neighbour:
        yield f"{links} links; {on.board} has {on.links_per_neighbour} between two neighbours"
    if topology == "ring" and not has_ring(on, devices, mesh):
        yield f"{devices} devices of {on.board}'s {mesh[0]}x{mesh[1]} mesh form no ring; use a line"
