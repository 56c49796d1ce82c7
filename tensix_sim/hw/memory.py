"""Reads and writes of interleaved tensors: bursts of tiles through DRAM banks and NoC links.

A burst is what a data-movement RISC issues between two barriers. When it is issued, it takes its place in
the queue of every server on its way, each a FIFO with a rate: the banks of its tiles, the links that other
streams share, its own NIU. It has landed when the last of them is done and the round trip is over. Events
are bursts; bytes and service times are exact in tiles.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import simpy

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.hw.engine import TICKS, Engine, to_ticks, whole_cycles
from tensix_sim.hw.noc import Link, Noc
from tensix_sim.program import Tensor
from tensix_sim.trace import Trace

Direction = Literal["read", "write"]


class Route(NamedTuple):
    """The way of one tile: the node at the other end, its ticks of work at each server, its fixed cycles, its hops."""

    node: Coord
    work: tuple[tuple[int, int], ...]
    latency: int
    hops: int


class Burst(NamedTuple):
    """Tiles between two barriers: the ticks of work that they bring to each server, and their fixed times in cycles.

    `floor` is how long its RISC and NIU take in ticks, whatever the servers do; `unloaded` is when it has
    landed if nobody else is there. `ends` are the nodes at the other end, with the tiles of each.
    """

    work: tuple[tuple[int, int], ...]
    latency: int
    gap: int
    floor: int
    unloaded: int
    ends: tuple[tuple[Coord, int], ...]


@dataclass(eq=False, slots=True)
class Plan:
    """The bursts of one block of tiles, and how often they were issued."""

    direction: Direction
    noc: int
    core: Coord
    to_dram: bool
    tile_bytes: int
    bursts: tuple[Burst, ...]
    issue: int  # cycles that the RISC spends on issuing them
    nbytes: int
    hop_bytes: int
    uses: int = 0


class Memory:
    """One chip's DRAM banks, L1 banks and NoC links, as FIFO servers.

    `free[s]` is the tick at which server s has nothing left to do. Servers are numbered: DRAM banks first,
    then the NIUs of the worker cores, then links as they come into use.
    """

    def __init__(self, machine: Machine, engine: Engine, trace: Trace) -> None:
        chip = machine.chip
        self.machine = machine
        self.engine = engine
        self.trace = trace
        self.dram = chip.dram
        self.spec = chip.noc
        self.nocs = (Noc(0, chip.noc), Noc(1, chip.noc))
        self.l1_banks = [machine.worker((x, y)) for y in range(machine.grid[1]) for x in range(machine.grid[0])]
        self._banks = {"dram": chip.dram.banks, "l1": len(self.l1_banks)}
        self.free = [0] * (chip.dram.banks + len(self.l1_banks))
        self.names = [f"dram bank {b}" for b in range(chip.dram.banks)] + [f"l1 {x}-{y}" for x, y in self.l1_banks]
        self._links: dict[tuple[int, Link], int] = {}
        self._plans: tuple[dict[object, Plan], ...] = ({}, {})
        self._bursts: dict[object, Burst] = {}
        self._routes: dict[object, Route] = {}
        self._shared: dict[tuple[int, int], tuple[int, int]] = {}  # equal items as one object: bursts are many, caches small
        self._retired: list[Plan] = []
        self.bytes_over_time: dict[Direction, TimeBins] | None = (
            {"read": TimeBins(), "write": TimeBins()} if trace.zones else None
        )

    def plan(self, direction: Direction, noc: int, core: Coord, tensor: Tensor, pages: Sequence[int], barrier: int) -> Plan:
        """How to move `pages` of `tensor` to or from `core` (NoC position) in bursts of at most `barrier` tiles (0: no limit)."""
        banks = self._banks[tensor.memory]
        where: object
        if isinstance(pages, range) and pages.step == 1:
            where = ("from", pages.start % banks, len(pages))
        else:
            where = tuple([p % banks for p in pages])
        key = (direction, core, tensor.memory, tensor.format.tile_bytes, where, barrier)
        plan = self._plans[noc].get(key)
        if plan is None:
            self._learn_sources(direction, noc, tensor)
            plan = self._plans[noc][key] = self._make_plan(
                direction, noc, core, tensor, [p % banks for p in pages], barrier or len(pages)
            )
        return plan

    def _learn_sources(self, direction: Direction, noc: int, tensor: Tensor) -> None:
        """Note which nodes send data on this NoC from now on; what was planned without them is planned again."""
        new = set(self.dram.endpoints if direction == "read" and tensor.memory == "dram" else self.l1_banks)
        if not new <= self.nocs[noc].sources:
            self.nocs[noc].sources |= new
            self._retired += self._plans[noc].values()
            self._plans[noc].clear()
            self._bursts.clear()
            self._routes.clear()

    def _make_plan(self, direction: Direction, noc: int, core: Coord, tensor: Tensor, banks: list[int], barrier: int) -> Plan:
        tile_bytes = tensor.format.tile_bytes
        bursts = tuple(
            self._burst(direction, noc, core, tensor, tuple(banks[i : i + barrier])) for i in range(0, len(banks), barrier)
        )
        hops = sum(self._route(direction, noc, core, tensor, bank).hops for bank in banks)
        issue, nbytes = self._gap(direction) * len(banks), tile_bytes * len(banks)
        return Plan(direction, noc, core, tensor.memory == "dram", tile_bytes, bursts, issue, nbytes, tile_bytes * hops)

    def _gap(self, direction: Direction) -> int:
        return self.spec.read_issue_cycles if direction == "read" else self.spec.write_issue_cycles

    def _burst(self, direction: Direction, noc: int, core: Coord, tensor: Tensor, banks: tuple[int, ...]) -> Burst:
        key = (direction, noc, core, tensor.memory, tensor.format.tile_bytes, banks)
        burst = self._bursts.get(key)
        if burst is None:
            routes = [self._route(direction, noc, core, tensor, bank) for bank in banks]
            burst = self._bursts[key] = self._make_burst(direction, self._packet(tensor), routes)
        return burst

    def _make_burst(self, direction: Direction, packet: int, routes: list[Route]) -> Burst:
        work: dict[int, int] = {}
        for route in routes:
            for server, ticks in route.work:
                work[server] = work.get(server, 0) + ticks
        latency = max(route.latency for route in routes)
        gap = self._gap(direction) * TICKS
        one_tile = max(ticks for _, ticks in routes[0].work)
        floor = gap + max(gap * (len(routes) - 1) + one_tile, to_ticks(packet * len(routes) / self.spec.niu_rate))
        unloaded = latency + whole_cycles(max(floor, gap + max(work.values())))
        shared = tuple(self._shared.setdefault(item, item) for item in work.items())
        return Burst(shared, latency, gap, floor, unloaded, tuple(Counter(route.node for route in routes).items()))

    def _packet(self, tensor: Tensor) -> int:
        """Bytes of one tile on a link."""
        return self.nocs[0].packet_bytes(tensor.format.tile_bytes)

    def _route(self, direction: Direction, index: int, core: Coord, tensor: Tensor, bank: int) -> Route:
        """The way of one tile between `core` and a bank."""
        key = (direction, index, core, tensor.memory, tensor.format.tile_bytes, bank)
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = self._make_route(direction, self.nocs[index], core, tensor, bank)
        return route

    def _make_route(self, direction: Direction, noc: Noc, core: Coord, tensor: Tensor, bank: int) -> Route:
        in_dram, reading = tensor.memory == "dram", direction == "read"
        server, node = self._bank(tensor, bank)
        source, target = (node, core) if reading else (core, node)
        service, on_link = self._bank_ticks(tensor), to_ticks(self._packet(tensor) / self.spec.link_rate)
        links = noc.contended(source, target, slow_source=reading and service >= on_link)
        fixed = self.spec.software_cycles if reading else self.spec.write_ack_base
        if in_dram:
            fixed += self.dram.read_cycles if reading else self.dram.write_cycles
        work = ((server, service), *((self._link(noc.index, link), on_link) for link in links))
        return Route(node, work, noc.round_trip(core, node) + fixed, noc.hops(source, target))

    def _bank_ticks(self, tensor: Tensor) -> int:
        if tensor.memory == "l1":
            return to_ticks(tensor.format.tile_bytes / self.machine.chip.noc.niu_rate)
        return to_ticks(max(self.dram.request_cycles, tensor.format.tile_bytes / self.dram.bank_rate))

    def _bank(self, tensor: Tensor, bank: int) -> tuple[int, Coord]:
        if tensor.memory == "l1":
            return self.dram.banks + bank, self.l1_banks[bank]
        return bank, self.dram.endpoints[bank]

    def _link(self, noc: int, link: Link) -> int:
        server = self._links.get((noc, link))
        if server is None:
            server = self._links[noc, link] = len(self.free)
            self.free.append(0)
            x, y, axis = link
            self.names.append(f"noc{noc} link {x}-{y} {(('east', 'south'), ('west', 'north'))[noc][axis]}")
        return server

    def traffic(self, cycles: int) -> dict[str, Any]:
        """Bytes moved and how busy the servers were over `cycles`."""
        busy: Counter[int] = Counter()
        moved: Counter[tuple[Direction, bool]] = Counter()
        hop_bytes = 0
        for plan in [*self._retired, *self._plans[0].values(), *self._plans[1].values()]:
            moved[plan.direction, plan.to_dram] += plan.uses * plan.nbytes
            hop_bytes += plan.uses * plan.hop_bytes
            for burst in plan.bursts:
                for server, work in burst.work:
                    busy[server] += plan.uses * work
        cycles = max(cycles, 1)
        dram_bytes = moved["read", True] + moved["write", True]
        links = 2 * 2 * self.spec.columns * self.spec.rows
        busiest = max(busy, key=lambda s: (busy[s], -s)) if busy else 0
        return {
            "dram_read_bytes": moved["read", True],
            "dram_write_bytes": moved["write", True],
            "l1_write_bytes": moved["write", False],
            "dram_utilization": dram_bytes / (cycles * self.dram.banks * self.dram.bank_rate),
            "noc_utilization": hop_bytes / (cycles * links * self.spec.link_rate),
            "busiest_server": self.names[busiest],
            "busiest_server_utilization": busy[busiest] / (cycles * TICKS),
        }


class Transfer:
    """A block of tiles on its way, burst by burst; `event` happens when the last one has landed.

    `queued_bank` and `queued_link` are the cycles that bursts waited beyond their unloaded time, by the kind of
    server that was last.
    """

    __slots__ = ("_bursts", "_lane", "_last", "_memory", "_plan", "event", "queued_bank", "queued_link")

    def __init__(self, memory: Memory, plan: Plan, lane: int = 0) -> None:
        plan.uses += 1
        self._lane = lane
        self._memory = memory
        self._plan = plan
        self._bursts = iter(plan.bursts)
        self._last = 0
        self.event = memory.engine.event()
        self.queued_bank = self.queued_link = 0
        self._next(None)

    def _next(self, landed: simpy.Event | None) -> None:
        """Issue the next burst, if there is one, and come back when it has landed."""
        memory = self._memory
        env = memory.engine.env
        now: int = env.now  # type: ignore[assignment]
        burst = next(self._bursts, None)
        if burst is None:
            self._finish(now)
            return
        work, latency, gap, floor, unloaded, ends = burst
        latest = ticks = now * TICKS
        last = 0
        free = memory.free
        for server, ticks_of_work in work:
            done = free[server]
            if done < ticks:
                done = ticks
            done += ticks_of_work
            free[server] = done
            if done > latest:
                latest = done
                last = server
        moving = latest - ticks + gap
        cycles = latency - (-(moving if moving > floor else floor) // TICKS)
        if cycles > unloaded:
            if last < memory.dram.banks:
                self.queued_bank += cycles - unloaded
            else:
                self.queued_link += cycles - unloaded
        if memory.bytes_over_time is not None:
            memory.bytes_over_time[self._plan.direction].add(now, sum(tiles for _, tiles in ends) * self._plan.tile_bytes)
        if memory.trace.transfers:
            self._record(now, now + cycles, ends)
        if self._plan.direction == "write":
            # a flush waits until the data has left L1; the block's last barrier waits for the acknowledgements
            self._last = max(self._last, now + cycles)
            cycles = -(-floor // TICKS)
        if landed is None:
            env.timeout(cycles).callbacks.append(self._next)
        else:  # the same event again: a new one for each burst would cost as much as the burst
            landed.callbacks = [self._next]
            env.schedule(landed, delay=cycles)

    def _record(self, start: int, end: int, ends: tuple[tuple[Coord, int], ...]) -> None:
        trace, plan = self._memory.trace, self._plan
        kind = trace.name(plan.direction.upper())
        for node, tiles in ends:
            source, target = (node, plan.core) if plan.direction == "read" else (plan.core, node)
            trace.transfer(
                start, end, plan.noc, source, target, tiles * plan.tile_bytes, lane=self._lane, kind=kind, requests=tiles
            )

    def _finish(self, now: int) -> None:
        if self._last > now:
            self._memory.engine.at(self._last, self._succeed)
        else:
            self.event.succeed()

    def _succeed(self, _: simpy.Event) -> None:
        self.event.succeed()


class TimeBins:
    """Bytes over time in at most `limit` bins, whose width doubles as time goes on."""

    def __init__(self, limit: int = 512, shift: int = 8) -> None:
        self.bins = [0]
        self.limit = limit
        self.shift = shift

    def add(self, time: int, nbytes: int) -> None:
        """Count `nbytes` at cycle `time`."""
        index = time >> self.shift
        bins = self.bins
        if index < len(bins):
            bins[index] += nbytes
            return
        while index >= self.limit:
            self.shift += 1
            index >>= 1
            if len(bins) % 2:
                bins.append(0)
            bins[:] = [a + b for a, b in zip(bins[::2], bins[1::2], strict=True)]
        bins.extend([0] * (index + 1 - len(bins)))
        bins[index] += nbytes

    @property
    def width(self) -> int:
        """Cycles in one bin."""
        return 1 << self.shift
