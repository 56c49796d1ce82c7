"""Reads and writes of interleaved tensors on their way: started now, woken when they have landed, and recorded.

A burst is what a data-movement RISC issues between two barriers; `Network` moves its tiles one by one.
"""

from collections import Counter
from math import inf

import simpy

from tensix_sim.arch import Machine
from tensix_sim.hw.engine import TICKS, Engine, whole_cycles
from tensix_sim.hw.queues import NEVER
from tensix_sim.hw.routes import Plan, Routes
from tensix_sim.hw.tables import NOBODY
from tensix_sim.trace import Trace


class Memory:
    """One chip's DRAM banks and L1 banks, reached over two NoCs; `routes` says how."""

    def __init__(self, machine: Machine, engine: Engine, trace: Trace) -> None:
        self.engine = engine
        self.trace = trace
        self.routes = Routes(machine, watch=trace.transfers, count=trace.zones)
        self._network = self.routes.network
        self._under_way: dict[int, Transfer] = {}
        engine.beside.append(self)

    @property
    def due(self) -> float:
        """Cycle before which no kernel must be woken."""
        return inf if self._network.due >= NEVER else whole_cycles(self._network.due)

    def start(self, plan: Plan, lane: int = 0) -> "Transfer":
        """Issue a read or write now; its event happens when all has landed."""
        plan.uses += 1
        now = self.engine.now
        place = self._network.start(now * TICKS, plan.move, plan.in_flight)
        transfer = self._under_way[place] = Transfer(plan, self.engine.event(), lane, now)
        return transfer

    def run_to(self, horizon: float) -> None:
        """Let the network go on to cycle `horizon`, before which no kernel acts, or until a kernel must be woken."""
        network = self._network
        limit = NEVER - 1 if horizon == inf else int(horizon) * TICKS
        while network.due <= limit:
            place, end, queued_bank, queued_link = network.advance(limit)
            if place == NOBODY:
                continue
            transfer = self._under_way[place]
            if self.trace.transfers and not self._record_burst(transfer, place, end // TICKS):
                network.resume(place, end)
                continue
            transfer.queued_bank, transfer.queued_link = queued_bank // TICKS, queued_link // TICKS
            self._end(transfer, place, end // TICKS)
            return

    def _end(self, transfer: "Transfer", place: int, end: int) -> None:
        """Wake the kernel of a transfer that has landed."""
        del self._under_way[place]
        self._network.end(place, transfer.plan.in_flight)
        self.engine.happen(transfer.event, end)

    def _record_burst(self, transfer: "Transfer", place: int, end: int) -> bool:
        """Record what a burst moved between the core and each bank; whether it was the transfer's last."""
        plan, trace = transfer.plan, self.trace
        path = plan.path
        issued = int(self._network.net.transfers[place]["issued"])
        kind = trace.name(path.direction.upper())
        for bank, tiles in Counter(self.routes.banks_of(plan, transfer.recorded, issued)).items():
            ends, nbytes = self.routes.ends(path, bank), tiles * path.tile_bytes
            trace.transfer(transfer.burst, end, path.noc, *ends, nbytes, lane=transfer.lane, kind=kind, requests=tiles)
        transfer.burst, transfer.recorded = end, issued
        return issued == plan.tiles


class Transfer:
    """A read or write on its way; `event` happens when it has landed.

    `queued_bank` and `queued_link` are then the cycles that the last tile of each burst waited for its bank and for
    links (of a write, the last of all).
    """

    __slots__ = ("burst", "event", "lane", "plan", "queued_bank", "queued_link", "recorded", "start")

    def __init__(self, plan: Plan, event: simpy.Event, lane: int, start: int) -> None:
        self.plan = plan
        self.event = event
        self.lane = lane
        self.start = self.burst = start  # when it was issued, and its burst under way
        self.recorded = 0  # tiles before that burst
        self.queued_bank = self.queued_link = 0
