"""The queues of one chip's banks and links, tile by tile, as one compiled event loop beside the engine's clock.

A tile's *request* travels to a bank, waits for its turn, is served, and its data pass the links that other
streams share, each a FIFO server. What the engine sees is a *transfer*, the tiles of one read or write: `start` it,
and `advance` says when it has landed. In between, a *burst* of its tiles is in flight at a time.

Times are in ticks. A transfer ends on a whole cycle.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw import banks, bursts, jit, queues, tables
from tensix_sim.hw.banks import arrive, serve_next
from tensix_sim.hw.bursts import earliest_end, issue, send
from tensix_sim.hw.engine import TICKS, SimulationError
from tensix_sim.hw.queues import ARRIVE, ISSUE, KIND_BITS, NEVER, NUMBER_BITS, SEND, SERVE, TIME_SHIFT, drop_first, push
from tensix_sim.hw.tables import (
    BIN_SHIFT,
    BINS,
    MOVE,
    NOBODY,
    REQUEST,
    ROUTE,
    SERVER,
    STATE,
    TRANSFER,
    Net,
    lay_out,
    opened,
    rows,
    view,
)

compiled = jit.compiler(tables, queues, bursts, banks)


@compiled
def _advance(memory: Any, until: int) -> tuple[int, int, int, int, int]:
    """Let all happen before tick `until`, or to the first burst to tell of that has landed by then.

    The time before which there is no other; of the burst its transfer, its end, and what all bursts of the transfer
    waited for banks and links.
    """
    net = opened(memory)
    state, heap = net.state[0], net.heap
    told, now = NOBODY, until
    past = (until << TIME_SHIFT) | (ISSUE << NUMBER_BITS)  # kernels that act at `until` may issue then, in an order of their own
    while told == NOBODY and state.events and heap[0] < past:
        now = heap[0] >> TIME_SHIFT
        kind = (heap[0] >> NUMBER_BITS) & ((1 << KIND_BITS) - 1)
        index = heap[0] & ((1 << NUMBER_BITS) - 1)
        drop_first(net)
        if kind == ARRIVE:
            arrive(net, index, now)
        elif kind == SERVE:
            serve_next(net, index, now)
        elif kind == ISSUE:
            issue(net, index, now)
        elif kind == SEND:
            send(net, index, now)
        else:
            told = index
            net.transfers[told].end = net.transfers[told].earliest = NEVER
    return _due(net), told, now, net.transfers[told].sum_bank, net.transfers[told].sum_link


@compiled
def _due(net: Any) -> int:
    """The time before which there is nothing to tell."""
    state = net.state[0]
    next_end = (net.heap[0] >> TIME_SHIFT) + state.back if state.events else NEVER
    due = NEVER
    for i in range(state.transfers):
        transfer = net.transfers[i]
        due = min(due, transfer.end or max(transfer.earliest, next_end))
    return due


@compiled
def _start(memory: Any, i: int, now: int, move: int) -> int:
    """Make transfer `i` anew and issue its first burst at tick `now`: the time before which there is nothing to tell of it."""
    net = opened(memory)
    t = net.transfers[i]
    t.move = move
    t.issued = t.in_flight = t.sent = t.next_at = t.flushed = t.landed = 0
    t.queued_bank = t.queued_link = t.sum_bank = t.sum_link = 0
    return _go_on(net, i, now)


@compiled
def _resume(memory: Any, i: int, now: int) -> int:
    return _go_on(opened(memory), i, now)


@compiled
def _go_on(net: Any, i: int, now: int) -> int:
    """Issue the next burst of transfer `i` at tick `now`: the time before which there is nothing to tell of it."""
    transfer = net.transfers[i]
    transfer.end, transfer.earliest = 0, earliest_end(net, transfer, now)
    push(net, now, ISSUE, i)
    earliest: int = transfer.earliest
    return earliest


class Network:
    """One chip's banks, servers and routes, built up as they come into use, and the transfers on their way."""

    def __init__(self, banks: NDArray[Any], watch: bool = False, flows: int = 0) -> None:
        """`banks` are records `BANK`; `watch` tells of each burst.

        `flows` is how many there are for routes to count their bytes in, over time.
        """
        state = rows(STATE, 1, watch=watch, unused=NOBODY, bin_shift=BIN_SHIFT)
        none = np.zeros(0, np.int64)
        self._memory = lay_out(
            Net(
                banks=banks, servers=rows(SERVER, 0), routes=rows(ROUTE, 0), moves=rows(MOVE, 0), requests=rows(REQUEST, 0),
                transfers=rows(TRANSFER, 0), lists=none, heap=none, state=state, flows=np.zeros(flows * BINS, np.int64),
            )
        )  # fmt: skip
        self.net = view(self._memory)
        self._used: Counter[str] = Counter()
        self._idle: list[int] = []  # transfers' places that nobody uses
        self._reserved = 0  # requests that the transfers on their way may need at once
        self._room = 0  # requests that there are
        self.due = NEVER  # tick before which there is nothing to tell

    def add(self, table: str, records: NDArray[Any] | Sequence[int]) -> int:
        """Append records to a table, or numbers to `lists`: the place of the first."""
        first = self._used[table]
        self._used[table] += len(records)
        self._make_room(table, self._used[table])
        getattr(self.net, table)[first : first + len(records)] = records
        return first

    def add_routes(self, routes: NDArray[Any]) -> int:
        """Append routes, one for each bank: the place of the first."""
        first = self.add("routes", routes)
        known = self.net.routes[: self._used["routes"]]
        back = known["service"] + known["back"]
        self.net.state["back"], self.net.state["trip"] = back.min(), (known["there"] + back).min()
        return first

    def bytes_over_time(self, flow: int) -> tuple[int, list[int]]:
        """Cycles in a bin, and the bytes of a flow that banks served in each bin, up to the last with any."""
        bins = self.net.flows[flow * BINS : (flow + 1) * BINS]
        used = np.flatnonzero(bins)
        return 1 << int(self.net.state[0]["bin_shift"]), bins[: used[-1] + 1 if len(used) else 0].tolist()

    def _make_room(self, table: str, size: int) -> None:
        before = getattr(self.net, table)
        if size > len(before):
            grown = np.zeros(max(64, 2 * size), before.dtype)
            grown[: len(before)] = before
            self._memory = lay_out(self.net._replace(**{table: grown}))
            self.net = view(self._memory)

    def _add_requests(self) -> None:
        """Make room for all requests that may be on their way at once, and for their events.

        The new ones are used after those that are there, so that their numbers do not depend on how far the loop has come.
        """
        if 2 * self._reserved > 1 << NUMBER_BITS:
            raise SimulationError(f"{self._reserved} tiles in flight at once; the model keeps count of {1 << NUMBER_BITS - 1}")
        before = len(self.net.requests)
        self._make_room("requests", self._reserved)
        chain = self.net.requests[before:]
        chain["next"] = np.arange(before + 1, before + 1 + len(chain))
        chain["next"][-1] = NOBODY
        last, unused = NOBODY, self.net.state[0]["unused"]
        while unused != NOBODY:
            last, unused = unused, self.net.requests[unused]["next"]
        if last == NOBODY:
            self.net.state[0]["unused"] = before
        else:
            self.net.requests[last]["next"] = before
        self._room = len(self.net.requests)
        self._make_room("heap", self._room + len(self.net.transfers) + len(self.net.banks))

    def start(self, now: int, move: int, in_flight: int) -> int:
        """Start a transfer of the move at a place, of which so many tiles may be in flight, at tick `now`: its own place."""
        if now >= NEVER // 2:
            raise SimulationError(f"the run is longer than {NEVER // 2 // TICKS:,} cycles, the most that the model can time")
        self._reserved += in_flight
        i = self._idle.pop() if self._idle else self._new_transfer()
        if self._reserved > self._room:
            self._add_requests()
        self.due = min(self.due, _start(self._memory, i, now, move))
        return i

    def _new_transfer(self) -> int:
        i = self.add("transfers", rows(TRANSFER, 1))
        self.net.state["transfers"] = i + 1
        self._make_room("heap", self._room + len(self.net.transfers) + len(self.net.banks))
        return i

    def advance(self, until: int) -> tuple[int, int, int, int]:
        """Go on to tick `until`, or to the first burst to tell of.

        Its transfer, or `NOBODY`; its end; and the ticks that the transfer's bursts waited for banks and for links.
        """
        # NOTE: by position, for a tuple of numbers is what compiled code gives back fastest
        self.due, told, end, bank, link = _advance(self._memory, until)
        return told, end, bank, link

    def resume(self, i: int, now: int) -> None:
        """Go on with transfer `i`, of which a burst was told."""
        self.due = min(self.due, _resume(self._memory, i, now))

    def end(self, i: int, in_flight: int) -> None:
        """Forget transfer `i`, which has landed."""
        self._reserved -= in_flight
        self._idle.append(i)
