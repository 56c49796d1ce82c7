"""Chip-to-chip Ethernet: links with a rate and a hop latency, and the routers that pass packets along a row of chips.

The row is a line, or a ring whose last chip is joined to the first. Each pair of neighbours has `links` cables. A packet
of tiles goes a number of hops in one direction; every chip on its way writes it to its own memory and, but the last, sends it
on. Packets that a worker sends one after the other go in runs: a run is one event a hop, its first and its last packet have
their own times, and a router sends on what has come while the rest is on its way.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import simpy

from tensix_sim.arch import model
from tensix_sim.arch.model import Coord
from tensix_sim.formats import Values
from tensix_sim.hw.chip import Chip
from tensix_sim.hw.engine import Engine, SimulationError, to_ticks, whole_cycles

FORWARD, BACKWARD = 1, -1
WAY = {FORWARD: "forward", BACKWARD: "backward"}


@dataclass
class Cable:
    """What both directions of a link share: one router at each end moves the bytes of both."""

    free: int = 0  # tick


class EthernetLink:
    """One direction of a link: carries messages one after another, and no two messages at once.

    The headers of the packets are in its efficiency.
    """

    def __init__(self, spec: model.Ethernet, cable: Cable | None = None) -> None:
        self.spec = spec
        self.cable = cable or Cable()
        self.free = 0  # tick
        self.nbytes = 0
        self.sent: list[tuple[int, int]] = []  # cycle at which a message has left, its bytes

    def send(self, since: int, until: int, nbytes: int, packets: int = 1) -> tuple[int, int]:
        """Queue a message whose packets come to the link from cycle `since` to cycle `until`.

        Returns the cycles at which the first and the last of them have left; each arrives `hop_cycles` later. A message that
        comes more slowly than the link could send leaves room for the next one.
        """
        if nbytes <= 0:
            raise ValueError(f"an Ethernet message of {nbytes} bytes; it needs at least 1")
        wire = nbytes / (self.spec.rate * self.spec.efficiency)
        packet = to_ticks(wire / packets)
        begin = max(self.free, to_ticks(since))
        self.cable.free = max(self.cable.free, to_ticks(since)) + to_ticks(nbytes / self.spec.duplex_rate)
        self.free = max(begin + to_ticks(wire), self.cable.free)
        first, last = whole_cycles(begin + packet), whole_cycles(max(self.free, to_ticks(until) + packet))
        self.nbytes += nbytes
        self.sent.append((last, nbytes))
        return first, last

    def room_from(self, last: int, nbytes: int, packets: int) -> int:
        """Cycle from which the router has taken a message whose last packet leaves at cycle `last`.

        Packets of a run may wait there together, for what its worker does between them is not between them here.
        """
        slots = self.spec.router_slots + packets - 1
        return last - round(slots * nbytes / packets / (self.spec.rate * self.spec.efficiency))

    def behind(self, now: int) -> int:
        """Cycle at which a packet without payload, queued now, has left: it takes no time of its own."""
        return max(now, whole_cycles(self.free))


class Packets(NamedTuple):
    """A run of packets with tiles: their way, how many hops are left, and where the tiles go on each chip."""

    origin: int  # chip
    step: int
    link: int
    hops: int
    number: int
    nbytes: int
    tensor: int  # its place in the programs' tensors
    pages: Sequence[int]
    block: Values | None
    core: Coord  # logical, of the worker that sent them


class Signal(NamedTuple):
    """A packet that raises a semaphore of core `core` on each chip that it comes to."""

    origin: int  # chip
    step: int
    link: int
    hops: int
    semaphore: str
    core: Coord


class Fabric:
    """Chips of one kind on one engine, in the order of a line or ring, and the cables between neighbours."""

    def __init__(self, chips: Sequence[Chip], engine: Engine, links: int, ring: bool) -> None:
        self.chips = chips
        self.engine = engine
        self.links = links
        self.ring = ring
        self._out: dict[tuple[int, int, int], EthernetLink] = {}
        self._landing: Counter[tuple[int, ...]] = Counter()  # runs whose writes are under way, by chip, origin, step and link
        self._held: dict[tuple[int, ...], list[Signal]] = {}  # what their origin sent after them
        engine.lookahead = self.hop = chips[0].machine.chip.ethernet.hop_cycles
        for i, chip in enumerate(chips):
            chip.fabric, chip.place = self, i
            j = self.neighbour(i, FORWARD)
            for link in range(links if j is not None else 0):
                cable, spec = Cable(), chip.machine.chip.ethernet
                self._out[i, FORWARD, link] = EthernetLink(spec, cable)
                self._out[cast(int, j), BACKWARD, link] = EthernetLink(spec, cable)

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
            raise SimulationError(f"device {i} has no Ethernet link {link} {WAY[step]}; it has {self.links} to each neighbour")
        return self._out[i, step, link]

    def endpoint(self, i: int, step: int, link: int) -> Coord:
        """NoC position of the Ethernet tile of chip `i` at which a link in that direction begins."""
        endpoints = self.chips[i].machine.chip.ethernet.endpoints
        return endpoints[(self.links if step == BACKWARD else 0) + link]

    def send(self, i: int, packets: Packets, since: int) -> int:
        """Put packets, which came to chip `i`'s router from cycle `since` up to now, on their link; when the last has left."""
        out, hop = self.link_of(i, packets.step, packets.link), self.hop
        first, last = out.send(since, self.engine.now, packets.nbytes, packets.number)
        j = cast(int, self.neighbour(i, packets.step))
        trace = self.chips[i].trace
        if trace.transfers:
            ends = self.endpoint(i, packets.step, packets.link), self.endpoint(j, -packets.step, packets.link)
            kind, lane = trace.name("ETHERNET"), trace.lane(packets.core, "BRISC")
            trace.transfer(since, last + hop, -1, *ends, packets.nbytes, lane=lane, kind=kind, requests=packets.number)
        self.engine.at(last + hop, self._arrive, (j, packets._replace(hops=packets.hops - 1), first + hop))
        return last

    def _arrive(self, event: simpy.Event) -> None:
        j, packets, since = cast(tuple[int, Packets, int], event.value)
        if packets.hops:
            self.send(j, packets, since)
        chip = self.chips[j]
        tensor = chip.program.tensors[packets.tensor]
        node = self.endpoint(j, -packets.step, packets.link)
        plan = chip.memory.plan("write", 1, node, tensor, packets.pages, 0)
        self._landing[j, packets.origin, packets.step, packets.link] += 1
        chip.memory.start(plan).event.callbacks.append(lambda _: self._land(j, packets))

    def _land(self, j: int, packets: Packets) -> None:
        """The tiles are in the chip's memory; what their origin sent after them may be given now."""
        chip = self.chips[j]
        chip.store(chip.program.tensors[packets.tensor], packets.pages, packets.block)
        way = (j, packets.origin, packets.step, packets.link)
        self._landing[way] -= 1
        if not self._landing[way]:
            for signal in self._held.pop(way, []):
                self._raise(j, signal)

    def signal(self, i: int, signal: Signal) -> None:
        """Send a signal behind all that the link has to send."""
        left = self.link_of(i, signal.step, signal.link).behind(self.engine.now)
        j = self.neighbour(i, signal.step)
        self.engine.at(left + self.hop, self._arrive_signal, (j, signal._replace(hops=signal.hops - 1)))

    def _arrive_signal(self, event: simpy.Event) -> None:
        j, signal = cast(tuple[int, Signal], event.value)
        if signal.hops:
            self.signal(j, signal)
        way = (j, signal.origin, signal.step, signal.link)
        if self._landing[way]:
            self._held.setdefault(way, []).append(signal)
        else:
            self._raise(j, signal)

    def _raise(self, j: int, signal: Signal) -> None:
        semaphore = self.chips[j].cores[signal.core].semaphores[signal.semaphore]
        semaphore.set(semaphore.value + 1)

    def bytes_sent(self) -> dict[tuple[int, int, int], int]:
        """Bytes of tiles over each link: by chip that sends, direction (1 forward, -1 backward) and number of the link."""
        return {place: link.nbytes for place, link in self._out.items()}

    def links_of(self, i: int) -> dict[str, EthernetLink]:
        """Outgoing links of a chip, by name."""
        return {f"ethernet link {link} {WAY[step]}": out for (at, step, link), out in self._out.items() if at == i}
