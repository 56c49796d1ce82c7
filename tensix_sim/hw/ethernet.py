"""Chip-to-chip Ethernet: links with a rate and a hop latency, and the routers that pass packets along a row of chips.

A packet of tiles goes a number of hops in one direction; every chip on its way writes it to its own memory and, but the last,
sends it on. Packets that a worker sends one after the other go in runs: a run is one event a hop, its first and its last
packet have their own times, and a router sends on what has come while the rest is on its way.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tensix_sim.arch import model
from tensix_sim.arch.model import Coord, unknown_name
from tensix_sim.formats import Values
from tensix_sim.hw.authors import Author
from tensix_sim.hw.engine import SimulationError, to_ticks, whole_cycles
from tensix_sim.hw.hardware import Hardware
from tensix_sim.hw.semaphore import Semaphore
from tensix_sim.program import Tensor

FORWARD, BACKWARD = 1, -1
WAY = {FORWARD: "forward", BACKWARD: "backward"}


# Packets of a long share move in runs, each one step of the simulation: what it makes coarse stays under 1 % of the share
RUNS = 128
MOST_PACKETS = 32


def packets_in_a_run(packets: int) -> int:
    """How many of a worker's `packets` go together."""
    return min(-(-packets // RUNS), MOST_PACKETS)


@dataclass
class Cable:
    """What both directions of a link share: one router at each end moves the bytes of both. In ticks.

    A chip may be a hop behind the other, and its bytes come between those that the other has sent: there they have their time.
    """

    free: int = 0
    idle_from: int = 0  # the last time that nothing was to be moved
    idle_until: int = 0

    def carry(self, since: int, ticks: int) -> int:
        """Move what comes at a tick and takes so many: when it is through."""
        begin = max(since, self.idle_from)
        before = min(self.idle_until - begin, ticks)  # what is moved before that which came first here
        if before > 0:
            self.idle_from = begin + before
            self.free += ticks - before
            return begin + ticks
        if since > self.free:
            self.idle_from, self.idle_until = self.free, since
        self.free = max(self.free, since) + ticks
        return self.free


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
        carried = self.cable.carry(to_ticks(since), to_ticks(nbytes / self.spec.duplex_rate))
        self.free = max(begin + to_ticks(wire), carried)
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


def check_target(tensor: Tensor, pages: Sequence[int]) -> None:
    """Hold pages that are written to being there, in an output.

    Raises:
        SimulationError: they are not.
    """
    if not tensor.output:
        raise SimulationError(f"write to {tensor.name}, which is no output; build it with output=True")
    first, last = min(pages), max(pages)
    if not 0 <= first <= last < tensor.pages:
        outside = first if first < 0 else last
        raise SimulationError(f"write to page {outside} of {tensor.name}, which has {tensor.pages}")


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
    core: Coord  # logical, of the worker that sent them


class Signal(NamedTuple):
    """A packet that raises a semaphore of core `core` on each chip that it comes to."""

    origin: int  # chip
    step: int
    link: int
    hops: int
    semaphore: str
    core: Coord
    sender: Coord  # logical, of the worker that sent it


Stream = tuple[int, int, int, Coord]


def stream_of(sent: Packets | Signal, worker: Coord) -> Stream:
    """What keeps its order: all that a worker of a chip sends in one direction over one link."""
    return sent.origin, sent.step, sent.link, worker


@dataclass
class Coming:
    """What came so far of a stream: runs of packets, those whose writes are under way, and signals behind some of these."""

    runs: int = 0
    landing: list[int] = field(default_factory=list)
    held: list[tuple[Signal, int]] = field(default_factory=list)  # and behind how many runs


class Port:
    """A chip's side of the Ethernet: the links to its neighbours, and what becomes of the packets that come to its routers.

    `place` is the chip's number among all of them. It has up to `links` links to each neighbour.
    """

    def __init__(
        self,
        place: int,
        spec: model.Ethernet,
        links: int,
        hardware: Hardware,
        tensors: Sequence[Tensor],
        store: Callable[[Tensor, Sequence[int], Values | None, Author | None], None],
        land: Callable[[Tensor, Sequence[int]], None],
        semaphores: Mapping[Coord, Mapping[str, Semaphore]],
    ) -> None:
        self.place = place
        self.spec = spec
        self.links = links
        self.out: dict[tuple[int, int], EthernetLink] = {}  # by step and number
        self.neighbours: dict[int, Port] = {}  # by step
        self._hardware = hardware
        self._tensors = tensors
        self._store, self._land_in = store, land
        self._semaphores = semaphores
        self._coming: defaultdict[Stream, Coming] = defaultdict(Coming)
        self._signals: Counter[int] = Counter()  # so far, by counter of the trace

    def join(self, after: "Port") -> None:
        """Lay the cables to the next chip."""
        self.neighbours[FORWARD], after.neighbours[BACKWARD] = after, self
        for link in range(self.links):
            cable = Cable()
            self.out[FORWARD, link] = EthernetLink(self.spec, cable)
            after.out[BACKWARD, link] = EthernetLink(self.spec, cable)

    def link_of(self, step: int, link: int) -> EthernetLink:
        """The outgoing direction of a link.

        Raises:
            SimulationError: there is none.
        """
        if (step, link) not in self.out:
            raise SimulationError(
                f"device {self.place} has no Ethernet link {link} {WAY.get(step, f'in direction {step}')}; "
                f"it has {self.links} to each neighbour"
            )
        return self.out[step, link]

    def links_by_name(self) -> dict[str, EthernetLink]:
        """All outgoing links."""
        return {f"ethernet link {link} {WAY[step]}": out for (step, link), out in self.out.items()}

    def endpoint(self, step: int, link: int) -> Coord:
        """NoC position of the Ethernet tile at which a link in that direction begins."""
        return self.spec.endpoints[(self.links if step == BACKWARD else 0) + link]

    # -- in program order -----------------------------------------------------------------------------------

    def ahead(self, step: int, hops: int, what: str) -> Iterator["Port"]:
        """The next chips in a direction, to which something is sent.

        Raises:
            SimulationError: there are not so many.
        """
        port: Port | None = self
        for hop in range(max(hops, 1)):
            port = port and port.neighbours.get(step)
            if hops < 1 or port is None or (port is self and hop):
                there = f"{hop} are there {WAY[step]}" if hops > 0 else "at least 1"
                raise SimulationError(f"device {self.place}: {what} sent to the next {hops} chips; {there}")
            yield port

    def store(self, tensor: int, pages: Sequence[int], block: Values | None, author: Author | None) -> None:
        """Put tiles into the chip's own tensor of that place.

        Raises:
            SimulationError: it is no output, or does not have these pages.
        """
        target = self._tensors[tensor]
        check_target(target, pages)
        self._store(target, pages, block, author)

    def semaphore(self, name: str, core: Coord) -> Semaphore:
        """A semaphore of one of the chip's cores.

        Raises:
            SimulationError: there is no such core, or semaphore.
        """
        if core not in self._semaphores:
            raise SimulationError(f"device {self.place}: there is no core {core} whose semaphore {name} could be raised")
        known = self._semaphores[core]
        if name not in known:
            raise SimulationError(f"device {self.place}: {unknown_name('semaphore', name, known)}")
        return known[name]

    # -- in time --------------------------------------------------------------------------------------------

    def send(self, packets: Packets, since: int, now: int) -> int:
        """Put packets, which came to this router from cycle `since` up to now, on their link; when the last has left."""
        out, hop = self.link_of(packets.step, packets.link), self.spec.hop_cycles
        first, last = out.send(since, now, packets.nbytes, packets.number)
        there = self.neighbours[packets.step]
        trace = self._hardware.trace
        if trace.transfers:
            ends = self.endpoint(packets.step, packets.link), there.endpoint(-packets.step, packets.link)
            kind, lane = trace.name("ETHERNET"), trace.lane(packets.core, "BRISC")
            trace.transfer(since, last + hop, -1, *ends, packets.nbytes, lane=lane, kind=kind, requests=packets.number)
        on = packets._replace(hops=packets.hops - 1)
        there.write(on, last + hop)
        if on.hops:
            self._hardware.pass_on(there._hardware, last + hop, partial(there.send, on, first + hop, last + hop))
        return last

    def write(self, packets: Packets, time: int) -> None:
        """Write packets that come at a cycle to the chip's memory."""
        node = self.endpoint(-packets.step, packets.link)
        plan = self._hardware.plan("write", 1, node, self._tensors[packets.tensor], packets.pages, 0)
        stream = self._coming[stream_of(packets, packets.core)]
        self._hardware.start(plan, time, partial(self._land, packets, stream, stream.runs))
        stream.landing.append(stream.runs)
        stream.runs += 1

    def _land(self, packets: Packets, stream: Coming, number: int) -> None:
        """The tiles are in the chip's memory; what their worker sent after them may be given now."""
        self._land_in(self._tensors[packets.tensor], packets.pages)
        stream.landing.remove(number)
        held, stream.held = stream.held, []
        for signal, behind in held:
            self._give(signal, behind)

    def signal(self, signal: Signal, now: int) -> None:
        """Send a signal behind all that the link has to send."""
        there, left = self.neighbours[signal.step], self.link_of(signal.step, signal.link).behind(now)
        behind = there._coming[stream_of(signal, signal.sender)].runs
        arrive = partial(there.arrive_signal, signal._replace(hops=signal.hops - 1), behind)
        self._hardware.pass_on(there._hardware, left + self.spec.hop_cycles, arrive)

    def arrive_signal(self, signal: Signal, behind: int) -> None:
        """A signal behind so many runs of its worker: send it on, and give it."""
        if signal.hops:
            self.signal(signal, self._hardware.now)
        self._give(signal, behind)

    def _give(self, signal: Signal, behind: int) -> None:
        """Raise the semaphore, when what its worker sent before it has landed."""
        stream = self._coming[stream_of(signal, signal.sender)]
        if any(number < behind for number in stream.landing):
            stream.held.append((signal, behind))
        else:
            self._raise(signal)

    def _raise(self, signal: Signal) -> None:
        hardware, trace = self._hardware, self._hardware.trace
        if trace.zones:
            series = trace.series(signal.semaphore, "signals", signal.core)
            self._signals[series] += 1
            trace.count(series, hardware.now, self._signals[series])
        hardware.increase(self.semaphore(signal.semaphore, signal.core).place)
