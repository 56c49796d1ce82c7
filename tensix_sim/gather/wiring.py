"""What collectives have in common: a tensor on each of some devices, and what they ask of a board to join these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from tensix_sim.arch import Machine
from tensix_sim.arch.rings import Joining, has_ring
from tensix_sim.formats import FORMATS, TILE, Format


@dataclass(frozen=True)
class Wired:
    """Tensors of `shape` in elements, one on each of so many devices, which are joined by so many `links` a neighbour."""

    devices: int
    shape: tuple[int, ...]
    dim: int
    dtype: str
    topology: Joining
    links: int

    @property
    def format(self) -> Format:
        """Format of the tiles."""
        return FORMATS[self.dtype]

    @property
    def tiles(self) -> tuple[int, ...]:
        """Shape of a device's tensor in tiles."""
        return (*self.shape[:-2], self.shape[-2] // TILE, self.shape[-1] // TILE)

    def packet_problems(self, packet_bytes: int | None, on: Machine) -> Iterator[str]:
        """All that is wrong with packets of such a size, if one is given."""
        most, least = on.chip.ethernet.max_packet_bytes, self.format.tile_bytes
        if packet_bytes is not None and not least <= packet_bytes <= most:
            yield f"packets of {packet_bytes} B; {least} B, a tile, at least and {most} B at most"


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
