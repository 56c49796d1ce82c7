"""Chip-to-chip Ethernet: links with a rate and a hop latency, and the routers that pass packets along a row of chips.

The row is a line, or a ring whose last chip is joined to the first. Each pair of neighbours has `links` cables. A packet
of tiles goes a number of hops in one direction; every chip on its way writes it to its own memory and, but the last, sends it on.
No transfer of ring-distributed SDPA uses it: K and V are replicated. It is here for the collectives around the op.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import simpy

from tensix_sim.arch import model
from tensix_sim.arch.model import Coord
from tensix_sim.hw.chip import Chip
from tensix_sim.hw.engine import Engine, SimulationError, to_ticks, whole_cycles
from tensix_sim.program import Values

FORWARD, BACKWARD = 1, -1


@dataclass
class Cable:
    """What both directions of a link share: one router at each end moves the bytes of both."""

    free: int = 0


class EthernetLink:
    """Carries messages one after another; the headers of their packets are in the link's efficiency."""

    def __init__(self, spec: model.Ethernet, cable: Cable | None = None) -> None:
        self.spec = spec
        self.cable = cable or Cable()
        self.free = 0
        self.nbytes = 0
        self.sent: list[tuple[int, int]] = []  # cycle at which a message has left, its bytes
        self._waiting: deque[int] = deque(maxlen=spec.router_slots)  # when those in the router's slots have left

    def send(self, now: int, nbytes: int) -> tuple[int, int]:
        """Queue a message at cycle `now`: cycle at which the last byte has left, and at which it has arrived."""
        if nbytes <= 0:
            raise ValueError(f"an Ethernet message of {nbytes} bytes; it needs at least 1")
        start = to_ticks(now)
        self.free = max(self.free, start) + to_ticks(nbytes / (self.spec.rate * self.spec.efficiency))
        self.cable.free = max(self.cable.free, start) + to_ticks(nbytes / self.spec.duplex_rate)
        self.free = max(self.free, self.cable.free)
        left = whole_cycles(self.free)
        self.nbytes += nbytes
        self.sent.append((left, nbytes))
        self._waiting.append(left)
        return left, left + self.spec.hop_cycles

    def room_at(self, now: int) -> int:
        """Cycle from which the router has a free slot for a packet of its own chip."""
        full = len(self._waiting) == self.spec.router_slots
        return max(now, self._waiting[0]) if full else now


class Packet(NamedTuple):
    """Tiles on their way: where they go on each chip, and how many hops are left. `raises` is a semaphore instead of tiles."""

    step: int
    link: int
    hops: int
    nbytes: int
    tensor: int  # its place in the programs' tensors
    pages: Sequence[int]
    block: Values | None
    core: Coord
    raises: str | None = None


class Fabric:
    """Chips on one engine, in the order of a line or ring, and the cables between neighbours."""

    def __init__(self, chips: Sequence[Chip], engine: Engine, links: int, ring: bool) -> None:
        self.chips = chips
        self.engine = engine
        self.links = links
        self.ring = ring
        self._out: dict[tuple[int, int, int], EthernetLink] = {}
        self._landing: dict[tuple[int, int, int], int] = {}  # packets whose writes are under way, by chip, step and link
        self._held: dict[tuple[int, int, int], list[Packet]] = {}  # signals that came after them
        for i, chip in enumerate(chips):
            chip.fabric, chip.place = self, i
            for link in range(links):
                j = self.neighbour(i, FORWARD)
                if j is not None:
                    cable, spec = Cable(), chip.machine.chip.ethernet
                    self._out[i, FORWARD, link] = EthernetLink(spec, cable)
                    self._out[j, BACKWARD, link] = EthernetLink(spec, cable)

    def neighbour(self, i: int, step: int) -> int | None:
        """The chip next to chip `i`, or none at the end of a line."""
        j = i + step
        if self.ring:
            return j % len(self.chips)
        return j if 0 <= j < len(self.chips) else None

    def link_of(self, i: int, step: int, link: int) -> EthernetLink:
        """The outgoing direction of one of chip `i`'s links.

        Raises:
            SimulationError: there is none.
        """
        if (i, step, link) not in self._out:
            way = "forward" if step == FORWARD else "backward"
            raise SimulationError(f"device {i} has no Ethernet link {link} {way}; it has {self.links} to each neighbour")
        return self._out[i, step, link]

    def endpoint(self, i: int, step: int, link: int) -> Coord:
        """NoC position of the Ethernet tile of chip `i` at which a link in that direction begins."""
        endpoints = self.chips[i].machine.chip.ethernet.endpoints
        return endpoints[(self.links if step == BACKWARD else 0) + link]

    def send(self, i: int, packet: Packet) -> None:
        """Put a packet on chip `i`'s outgoing link now."""
        now = self.engine.now
        left, arrived = self.link_of(i, packet.step, packet.link).send(now, packet.nbytes)
        j = self.neighbour(i, packet.step)
        assert j is not None
        chip = self.chips[i]
        if chip.trace.transfers and packet.raises is None:
            ends = self.endpoint(i, packet.step, packet.link), self.endpoint(j, -packet.step, packet.link)
            kind, lane = chip.trace.name("ETHERNET"), chip.trace.lane(packet.core, "BRISC")
            chip.trace.transfer(now, arrived, -1, *ends, packet.nbytes, lane=lane, kind=kind, requests=len(packet.pages))
        self.engine.at(arrived, self._arrive, (j, packet._replace(hops=packet.hops - 1)))

    def _arrive(self, event: simpy.Event) -> None:
        j, packet = cast(tuple[int, Packet], event.value)
        if packet.hops:
            self.send(j, packet)
        chip, way = self.chips[j], (j, packet.step, packet.link)
        if packet.raises is not None:
            if self._landing.get(way):
                self._held.setdefault(way, []).append(packet)
            else:
                self._raise(j, packet)
            return
        tensor = chip.program.tensors[packet.tensor]
        node = self.endpoint(j, -packet.step, packet.link)
        plan = chip.memory.plan("write", 1, node, tensor, packet.pages, 0)
        self._landing[way] = self._landing.get(way, 0) + 1
        chip.memory.start(plan).event.callbacks.append(lambda _: self._land(j, packet))

    def _land(self, j: int, packet: Packet) -> None:
        """The tiles are in the chip's memory; signals that came after them may be given now."""
        self.chips[j].program.tensors[packet.tensor].store(packet.pages, packet.block)
        self.chips[j].on_write(len(packet.pages))
        way = (j, packet.step, packet.link)
        self._landing[way] -= 1
        if not self._landing[way]:
            for held in self._held.pop(way, []):
                self._raise(j, held)

    def _raise(self, j: int, packet: Packet) -> None:
        chip = self.chips[j]
        semaphore = chip.cores[packet.core].semaphores[str(packet.raises)]
        semaphore.set(semaphore.value + 1)

    def bytes_sent(self) -> dict[tuple[int, int, int], int]:
        """Bytes over each link: by chip that sends, direction (1 forward, -1 backward) and number of the link."""
        return {place: link.nbytes for place, link in self._out.items()}

    def links_of(self, i: int) -> dict[str, EthernetLink]:
        """Outgoing links of a chip, by name."""
        way = {FORWARD: "forward", BACKWARD: "backward"}
        return {f"ethernet link {link} {way[step]}": out for (at, step, link), out in self._out.items() if at == i}
