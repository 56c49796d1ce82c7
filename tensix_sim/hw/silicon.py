"""One chip's clockwork: banks and links tile by tile, buffers and threads of all cores, as one compiled event loop.

A tile's *request* travels to a bank, waits for its turn, is served, and its data pass the links that other
streams share, each a FIFO server; a *burst* of a transfer's tiles is in flight at a time. RISCs do the operations that kernels
gave them, one after the other, and wait for transfers, for each other and for semaphores.

Times of banks and links are in ticks, those of cores in cycles. A transfer ends on a whole cycle.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import agenda, banks, buffers, bursts, jit, queues, riscs, tables, threads
from tensix_sim.hw.agenda import (
    ACKNOWLEDGE,
    CALLED,
    CHANGED,
    LANDED,
    ORDER_BITS,
    RAISE,
    RECEIVE,
    RESUME,
    START,
    begin,
    next_time,
    plan,
    take,
)
from tensix_sim.hw.banks import arrive, serve_next
from tensix_sim.hw.buffers import acknowledge, receive, set_semaphore
from tensix_sim.hw.bursts import issue, send, start_transfer
from tensix_sim.hw.engine import TICKS, SimulationError
from tensix_sim.hw.queues import (
    ARRIVE,
    ISSUE,
    KIND_BITS,
    LAST_NUMBER,
    NEVER,
    NUMBER_BITS,
    SEND,
    SERVE,
    TIME_SHIFT,
    drop_first,
    push,
)
from tensix_sim.hw.riscs import resume_waiting, work
from tensix_sim.hw.tables import BIN_SHIFT, BINS, NOBODY, STATE, cores_of, lay_out, net_of, opened_cores, opened_net, plain, rows
from tensix_sim.trace.causes import BANK, DST, ETHERNET, LATENCY, LINK, MATH, PACK, UNPACK

compiled = jit.compiler(tables, queues, bursts, banks, agenda, buffers, threads, riscs)

CAUSES = (DST, UNPACK, MATH, PACK, BANK, LINK, LATENCY, ETHERNET)  # that every core has, by their numbers
LONGEST = NEVER // TICKS // 2  # cycles of a run


@compiled
def _run(memory: Any, until: int) -> int:
    """Let all happen up to cycle `until`, or until there is something to tell; of whom, or of nobody."""
    chip, net = opened_cores(memory), opened_net(memory)
    state = chip.state[0]
    while True:
        r = work(chip, net)
        if r != NOBODY:
            return int(r)
        horizon = min(until, next_time(chip)) if state.planned else until
        if not state.landed:  # what lands within a cycle does so one by one, between what is planned for it
            place = _move(net, horizon * TICKS)
            if place != NOBODY:
                if state.watch or net.transfers[place].owner < 0:
                    state.why = LANDED
                    return int(place)
                _land(chip, net, place)
        state.landed = 0
        if not state.planned or next_time(chip) > until:
            return NOBODY
        called = _happen(chip, net)
        if called != NOBODY:
            state.why = CALLED
            return int(called)


@compiled
def _move(net: Any, until: int) -> int:
    """Let all happen to banks and links before tick `until`, or to the first burst to tell of that has landed by then."""
    state, heap = net.state[0], net.heap
    past = (until << TIME_SHIFT) | (ISSUE << NUMBER_BITS)  # kernels that act at `until` may issue then, in an order of their own
    while state.events and heap[0] < past:
        now = heap[0] >> TIME_SHIFT
        kind = (heap[0] >> NUMBER_BITS) & ((1 << KIND_BITS) - 1)
        index = heap[0] & LAST_NUMBER
        if kind == ARRIVE:
            arrive(net, index, now)
            continue
        drop_first(net)
        if kind == SERVE:
            serve_next(net, index, now)
        elif kind == ISSUE:
            issue(net, index, now)
        elif kind == SEND:
            send(net, index, now)
        else:
            net.transfers[index].landed = now
            return int(index)
    return NOBODY


@compiled
def _land(chip: Any, net: Any, place: int) -> None:
    """Let the RISC that waits for a transfer know that it has landed, and forget the transfer."""
    state, transfer = chip.state[0], net.transfers[place]
    if transfer.owner >= 0:
        risc = chip.riscs[transfer.owner]
        risc.bank, risc.link = transfer.sum_bank // TICKS, transfer.sum_link // TICKS
        plan(chip, transfer.landed // TICKS, RESUME, transfer.owner, 0)
        state.landed = 1
    net.idle[state.idle] = place
    state.idle += 1


@compiled
def _happen(chip: Any, net: Any) -> int:
    """Let the next event happen; the number of what Python does, or nobody."""
    event = chip.events[take(chip)]
    kind, place, number = event.kind, event.place, event.number
    if kind == RECEIVE:
        receive(chip, place, number)
    elif kind == ACKNOWLEDGE:
        acknowledge(chip, place, number)
    elif kind == RESUME:
        begin(chip, place)
    elif kind == RAISE:
        set_semaphore(chip, place, chip.semaphores[place].value + number)
    elif kind == CHANGED:
        resume_waiting(chip, place, number)
    elif kind == START:
        start_transfer(net, chip.state[0].now * TICKS, place, ~number)
    else:
        return int(place)
    return NOBODY


@compiled
def _resume(memory: Any, i: int) -> None:
    net = opened_net(memory)
    push(net, net.transfers[i].landed, ISSUE, i)


@compiled
def _end(memory: Any, i: int) -> None:
    _land(opened_cores(memory), opened_net(memory), i)


@compiled
def _plan(memory: Any, time: int, kind: int, place: int, number: int) -> None:
    plan(opened_cores(memory), time, kind, place, number)


LEAST = 512  # records of a table that has any


class Silicon:
    """The tables of one chip's compiled loop, built up as they come into use, and what is to be told of it."""

    def __init__(self, banks: NDArray[Any], watch: bool = False, flows: int = 0) -> None:
        """`banks` are records `BANK`; `watch` tells of each burst.

        `flows` is how many there are for routes to count their bytes in, over time.
        """
        state = rows(STATE, 1, watch=watch, unused=NOBODY, free=NOBODY, bin_shift=BIN_SHIFT, causes=len(CAUSES))
        self._memory = lay_out({"banks": banks, "state": state, "flows": np.zeros(flows * BINS, np.int64)})
        self._view()
        self._due: int | None = None  # as long as nothing is planned and no time goes by
        self._used: Counter[str] = Counter()
        self._reserved = 0  # requests that the transfers on their way may need at once
        self._most = 0  # of that so far
        self._room = 0  # requests that there are
        self.add_events(64)

    # -- tables ---------------------------------------------------------------------------------------------

    def add(self, table: str, records: NDArray[Any] | Sequence[int]) -> int:
        """Append records to a table, or numbers to a list: the place of the first."""
        first = self._used[table]
        self._used[table] += len(records)
        if self._used[table] > len(self._tables[table]):
            self.make_room(**{table: self._used[table]})
        self._tables[table][first : first + len(records)] = records
        return first

    def bytes_over_time(self, flow: int) -> tuple[int, list[int]]:
        """Cycles in a bin, and the bytes of a flow that banks served in each bin, up to the last with any."""
        bins = self.net.flows[flow * BINS : (flow + 1) * BINS]
        used = np.flatnonzero(bins)
        return 1 << int(self.state["bin_shift"]), bins[: used[-1] + 1 if len(used) else 0].tolist()

    def make_room(self, **sizes: int) -> None:
        """Have room for so many records in each table named."""
        grown = {}
        for table, size in sizes.items():
            before = self._tables[table]
            if size > len(before):
                grown[table] = np.zeros(max(LEAST, size + size // 2), before.dtype)
                grown[table][: len(before)] = before
        if grown:
            self._memory = lay_out(self._tables | grown)
            self._view()

    def _view(self) -> None:
        self.net, self.cores = plain(net_of(self._memory)), plain(cores_of(self._memory))
        self.state: Any = self.net.state[0]  # what there is one of
        self._tables = self.net._asdict() | self.cores._asdict()

    def add_events(self, count: int) -> None:
        """Have room for so many events of the kernels more."""
        before = len(self.cores.events)
        self.make_room(events=before + count)
        self.make_room(agenda=2 * len(self.cores.events))
        added = self.cores.events[before:]
        if len(added):
            added["next"] = np.arange(before + 1, before + 1 + len(added))
            added["next"][-1] = self.state["free"]
            self.state["free"] = before

    def reserve(self, in_flight: int, transfers: int = 0) -> None:
        """Have room for so many tiles more that may be on their way at once, and for their events, or for so many fewer.

        The new ones are used after those that are there, so that their numbers do not depend on how far the loop has come.
        """
        self._reserved += in_flight
        self._used["transfers"] += transfers
        if not transfers and self._reserved <= self._most:
            return
        self._most = max(self._most, self._reserved)
        if self._reserved > self._room:
            self._add_requests()
        places = self._used["transfers"]
        self.make_room(transfers=places, idle=places, order=self._most, heap=self._room + places + len(self.net.banks))

    def _add_requests(self) -> None:
        if 2 * self._reserved > 1 << NUMBER_BITS:
            raise SimulationError(f"{self._reserved} tiles in flight at once; the model keeps count of {1 << NUMBER_BITS - 1}")
        before = self._room
        self.make_room(requests=self._reserved)
        chain = self.net.requests[before:]
        chain["next"] = np.arange(before + 1, before + 1 + len(chain))
        chain["next"][-1] = NOBODY
        last, unused = NOBODY, self.state["unused"]
        while unused != NOBODY:
            last, unused = unused, self.net.requests[unused]["next"]
        if last == NOBODY:
            self.state["unused"] = before
        else:
            self.net.requests[last]["next"] = before
        self._room = len(self.net.requests)

    # -- time -----------------------------------------------------------------------------------------------

    @property
    def due(self) -> int:
        """Cycle before which nothing happens."""
        if self._due is None:
            self._due = self._next()
        return self._due

    def _next(self) -> int:
        state = self.state
        if state["depth"]:
            return int(state["now"])
        due = int(self.cores.agenda[0]) >> ORDER_BITS if state["planned"] else NEVER
        if state["events"]:  # what banks and links do within a cycle is done when the next one comes, what has landed at once
            first = int(self.net.heap[0])
            due = min(due, -(-(first + (1 << TIME_SHIFT) - (ISSUE << NUMBER_BITS) >> TIME_SHIFT) // TICKS))
        return due

    def run(self, until: int) -> int:
        """Go on to cycle `until`, or until there is something to tell: of a RISC or a transfer, as `state.why` has it."""
        self._due = None
        return int(_run(self._memory, until))

    def resume(self, i: int) -> None:
        """Go on with transfer `i`, of which a burst was told."""
        self._due = None
        _resume(self._memory, i)

    def end(self, i: int) -> None:
        """Forget transfer `i`, which has landed, and wake the RISC that waits for it, if one does."""
        self._due = None
        _end(self._memory, i)

    def plan(self, time: int, kind: int, place: int, number: int = 0) -> None:
        """Let something happen to a kernel at a cycle."""
        check_time(time)
        if self.state["free"] == NOBODY:
            self.add_events(len(self.cores.events))
        self._due = None
        _plan(self._memory, time, kind, place, number)


def check_time(now: int) -> None:
    """Refuse what is later than the clockwork can count.

    Raises:
        SimulationError: it is.
    """
    if now >= LONGEST:
        raise SimulationError(f"the run is longer than {LONGEST:,} cycles, the most that the model can time")
