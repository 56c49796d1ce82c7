"""The queues of one chip's banks and links, tile by tile, as one compiled event loop beside the engine's clock.

A tile's *request* travels to a bank, waits for its turn, is served, and its data pass the links that other
streams share, each a FIFO server. What the engine sees is a *transfer*, the tiles of one read or write: `start` it,
and `advance` says when it has landed. In between, a *burst* of its tiles is in flight at a time.

A bank serves who comes first. While others wait, it loses time to open a row for a core that was not among the last to
come. A bank whose data find their link taken holds them, and serves nobody, as soon as the buffers on the way are full.

Times are in ticks. A transfer ends on a whole cycle.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tensix_sim.hw.engine import TICKS, SimulationError

try:
    from numba import njit
except ImportError:
    warnings.warn("numba is not installed: loops run uncompiled, to the same results, some 50 times slower", stacklevel=2)
    njit = None  # type: ignore[assignment]

LANDED, ISSUE, SEND, ARRIVE, SERVE = range(5)  # in this order at one time
NOBODY = -1

# An event is one number: its time in ticks, its kind, and the number of a request, bank or transfer
NUMBER_BITS, KIND_BITS = 18, 3
TIME_SHIFT = NUMBER_BITS + KIND_BITS
NEVER = 1 << (62 - TIME_SHIFT)


def compiled(function: Any, **more: Any) -> Any:
    """Compile with numba, if it is there, and keep the result on disk where that can be written."""
    if njit is None:
        return function
    options: Any = {"_nrt": False, **more}  # nothing here allocates, and counting references would take half of the time
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the package nor in the user's cache
        return njit(**options)(function)


_I = np.int64


def _records(fields: list[tuple[Any, ...]]) -> np.dtype[Any]:
    """Rows whose fields are attributes, compiled or not (`NUMBA_DISABLE_JIT=1`)."""
    return np.dtype((np.record, fields))


BANK = _records(
    [
        ("free", _I),
        ("busy", _I),
        ("waiting", _I),  # requests: how many,
        ("first", _I),  # the first of them
        ("last", _I),  # and the last
        ("served", _I),  # so far,
        ("open", _I),  # of whose last ones the rows are open,
        ("row_miss", _I),  # and ticks to open another
        ("buffer", _I),  # ticks that its data may queue before it stops
    ]
)
IDLE = 2  # with 3, 4 or 12 walls move by no more than 0.3 %
SERVER = _records(  # a link, or a core's own port
    [
        ("free", _I),
        ("busy", _I),
        ("idle", _I, (IDLE, 2)),  # the last times before `free` when it has nothing to do: from, to
    ]
)
ROUTE = _records(
    [
        ("bank", _I),
        ("there", _I),  # ticks from the core to the bank's queue,
        ("service", _I),  # in the bank's hands,
        ("back", _I),  # and from there until the core's RISC knows
        ("port", _I),  # server: the core's own
        ("port_ticks", _I),
        ("links", _I),  # place of the first of the servers in `tables`,
        ("links_end", _I),
        ("link_ticks", _I),
        ("nbytes", _I),  # of a tile,
        ("flows", _I),  # counted in these flows: place of the first in `tables`
        ("flows_end", _I),
        ("served", _I),  # the last of the bank's services that was one of these, counted from 1
    ]
)
REQUEST = _records([("transfer", _I), ("route", _I), ("arrived", _I), ("next", _I)])
TRANSFER = _records(
    [
        ("writing", _I),
        ("routes", _I),  # route of bank 0; those of the other banks follow
        ("banks", _I),  # place of the first tile's bank in `tables`
        ("tiles", _I),
        ("barrier", _I),
        ("gap", _I),
        ("answered", _I),
        ("issued", _I),  # tiles so far
        ("in_flight", _I),
        ("sent", _I),  # of a write, tiles that left the core,
        ("next_at", _I),  # when the RISC has issued the next of them
        ("flushed", _I),  # and when the last burst has left
        ("landed", _I),  # when the last tile so far lands,
        ("queued_bank", _I),  # and what it waited at the bank
        ("queued_link", _I),  # and at links
        ("sum_bank", _I),  # the same over all bursts
        ("sum_link", _I),
        ("end", _I),  # when the burst to tell of has landed; 0: not known yet,
        ("earliest", _I),  # but not before this
    ]
)
STATE = _records(
    [
        ("events", _I),
        ("unused", _I),
        ("watch", _I),
        ("transfers", _I),
        ("trip", _I),  # least ticks of a tile's way to a bank, in its hands, and back,
        ("back", _I),  # and without the way there
        ("bin_shift", _I),
    ]
)
BINS = 512  # of bytes over time; a bin is 2^`bin_shift` cycles, which doubles as time goes on
BIN_SHIFT = 8


class Net(NamedTuple):
    """All that the compiled loop works on."""

    banks: NDArray[Any]
    servers: NDArray[Any]
    routes: NDArray[Any]
    requests: NDArray[Any]  # those not in use are a chain from `unused`
    transfers: NDArray[Any]
    tables: NDArray[Any]  # servers of routes, banks of transfers' tiles
    heap: NDArray[Any]  # time, kind and index of each event in one number
    state: NDArray[Any]
    flows: NDArray[Any]  # `BINS` a flow: bytes served over time


def _lay_out(net: Net) -> NDArray[_I]:
    """The tables in one memory, behind the places where each begins and the last ends.

    Numba unpacks each array that it is given at every call, which for ten of them costs as much as some events.
    """
    bounds = len(net) + 1 + np.cumsum([0, *(table.nbytes // _I().itemsize for table in net)])
    return np.concatenate([bounds, *(table.view(_I) for table in net)])


def _tables(memory: NDArray[_I]) -> Net:
    """The tables that `_lay_out` put into one memory."""
    m = memory
    return Net(
        m[m[0] : m[1]].view(BANK), m[m[1] : m[2]].view(SERVER), m[m[2] : m[3]].view(ROUTE), m[m[3] : m[4]].view(REQUEST),
        m[m[4] : m[5]].view(TRANSFER), m[m[5] : m[6]], m[m[6] : m[7]], m[m[7] : m[8]].view(STATE), m[m[8] : m[9]],
    )  # fmt: skip


_open = compiled(_tables)


@compiled
def _push(net: Any, time: int, kind: int, index: int) -> None:
    """Add an event. Those of one time happen in the order of their kinds, then of their numbers."""
    state, heap = net.state[0], net.heap
    event = (time << TIME_SHIFT) | (kind << NUMBER_BITS) | index
    i = state.events
    state.events += 1
    while i > 0:
        above = (i - 1) >> 1
        if heap[above] <= event:
            break
        heap[i] = heap[above]
        i = above
    heap[i] = event


@compiled
def _drop_first(net: Any) -> None:
    """Take the first event away: its place goes down to the end of the heap, and what was last rises from there."""
    heap = net.heap
    n = net.state[0].events - 1
    net.state[0].events = n
    event = heap[n]
    i = 0
    below = 1
    while below < n:
        below += heap[below + 1] < heap[below]  # where `below` is last, what follows is `event`, and not less than it or moot
        heap[i] = heap[below]
        i = below
        below = 2 * i + 1
    while i > 0:
        above = (i - 1) >> 1
        if heap[above] <= event:
            break
        heap[i] = heap[above]
        i = above
    heap[i] = event


@compiled
def _occupy(server: Any, time: int, ticks: int) -> int:
    """Work of `ticks` that comes to a server at `time`: when it begins. It goes before what comes later, even if told later."""
    server.busy += ticks
    begin: int = max(time, server.free)
    if begin > time:
        for n in range(IDLE):
            start, end = server.idle[n, 0], server.idle[n, 1]
            earlier = max(time, start)
            left = end - earlier - ticks
            if left >= 0:
                if left < earlier - start:
                    server.idle[n, 1] = earlier
                else:
                    server.idle[n, 0] = end - left
                return earlier
    elif begin > server.free:
        n = 1 if server.idle[0, 1] > server.idle[1, 1] else 0  # the older
        server.idle[n, 0], server.idle[n, 1] = server.free, begin
    server.free = begin + ticks
    return begin


@compiled
def _pass_links(net: Any, route: Any, time: int) -> int:
    """Send a tile over the shared links from `time` on: when its head has had its turn at the last of them."""
    for place in range(route.links, route.links_end):
        time = _occupy(net.servers[net.tables[place]], time, route.link_ticks)
    return time


@compiled
def _issue(net: Any, i: int, now: int) -> None:
    """Send the requests of transfer `i`'s next burst; of a write the first, with its data."""
    transfer = net.transfers[i]
    transfer.earliest = _earliest_end(net, transfer, now)
    tiles = min(transfer.barrier, transfer.tiles - transfer.issued)
    first = transfer.issued
    transfer.in_flight += tiles
    transfer.issued += tiles
    if transfer.writing:
        transfer.next_at = now
        _load(net, i)
        return
    for n in range(tiles):
        request = _new_request(net, i, first + n)
        route = net.routes[net.requests[request].route]
        _push(net, now + (n + 1) * transfer.gap + route.there, ARRIVE, request)


@compiled
def _earliest_end(net: Any, transfer: Any, now: int) -> int:
    """The time before which a transfer that issues its next burst at `now` has nothing to tell, nobody else being there."""
    left, trips = transfer.tiles - transfer.issued, 1
    if net.state[0].watch:
        left = min(left, transfer.barrier)
    elif transfer.answered or not transfer.writing:
        trips = -(-left // transfer.barrier)
    return now + left * transfer.gap + trips * net.state[0].trip


@compiled
def _new_request(net: Any, i: int, n: int) -> int:
    """A request for tile `n` of transfer `i`."""
    transfer, state = net.transfers[i], net.state[0]
    request: int = state.unused
    state.unused = net.requests[request].next
    net.requests[request].transfer = i
    net.requests[request].route = transfer.routes + net.tables[transfer.banks + n]
    return request


@compiled
def _load(net: Any, i: int) -> None:
    """Queue the next tile of a write at the core's port."""
    transfer = net.transfers[i]
    request = _new_request(net, i, transfer.sent)
    route = net.routes[net.requests[request].route]
    transfer.sent += 1
    transfer.next_at += transfer.gap
    _push(net, _occupy(net.servers[route.port], transfer.next_at, route.port_ticks), SEND, request)


@compiled
def _send(net: Any, index: int, now: int) -> None:
    """The head of a write's tile leaves the core. Data that find a link taken hold up what follows them."""
    i = net.requests[index].transfer
    route, transfer = net.routes[net.requests[index].route], net.transfers[i]
    at = _pass_links(net, route, now)
    _push(net, at + route.there, ARRIVE, index)
    held = max(0, at - now - net.banks[route.bank].buffer)
    net.servers[route.port].free += held
    if transfer.sent < transfer.issued:
        _load(net, i)
        return
    transfer.flushed = now + held + route.port_ticks
    if transfer.issued < transfer.tiles and not transfer.answered:
        _push(net, _whole_cycle(transfer.flushed), ISSUE, i)


@compiled
def _whole_cycle(ticks: int) -> int:
    return -(-ticks // TICKS) * TICKS


@compiled
def _arrive(net: Any, index: int, now: int) -> None:
    """A request is at its bank: serve it, or queue it."""
    request = net.requests[index]
    route = net.routes[request.route]
    bank = net.banks[route.bank]
    request.arrived = now
    if now >= bank.free and not bank.waiting:
        _serve(net, bank, index, now)
        return
    if bank.waiting:
        net.requests[bank.last].next = index
    else:
        bank.first = index
        _push(net, bank.free, SERVE, route.bank)
    bank.last = index
    bank.waiting += 1


@compiled
def _serve_next(net: Any, b: int, now: int) -> None:
    """Bank `b` is free: serve the request that came first, after opening its row if its core was not here lately."""
    bank = net.banks[b]
    index = bank.first
    bank.first = net.requests[index].next
    bank.waiting -= 1
    served = net.routes[net.requests[index].route].served
    miss = 0 if served and bank.served - served < bank.open else bank.row_miss
    bank.busy += miss
    _serve(net, bank, index, now + miss)
    if bank.waiting:
        _push(net, bank.free, SERVE, b)


@compiled
def _serve(net: Any, bank: Any, index: int, now: int) -> None:
    """Serve a request, and send a read's data."""
    request = net.requests[index]
    request.next = net.state[0].unused
    net.state[0].unused = index
    route, transfer = net.routes[request.route], net.transfers[request.transfer]
    bank.served += 1
    route.served = bank.served
    done = now + route.service
    bank.busy += route.service
    queued_link = 0
    if transfer.writing:
        landed = max(done, now + route.port_ticks)  # its last flit comes so long after its first
    else:
        head = max(now, done - max(route.link_ticks, route.port_ticks))
        at = _pass_links(net, route, head)
        queued_link = at - head
        into_core = _occupy(net.servers[route.port], at, route.port_ticks)
        landed = max(done, at + route.link_ticks, into_core + route.port_ticks)
    bank.free = done + max(0, queued_link - bank.buffer)
    if route.flows < route.flows_end:
        _count_bytes(net, route, now)
    landed += route.back
    if landed >= transfer.landed:
        transfer.landed = landed
        transfer.queued_bank, transfer.queued_link = now - request.arrived, queued_link
    transfer.in_flight -= 1
    if transfer.in_flight == 0:
        _end_burst(net, transfer, request.transfer)


@compiled
def _count_bytes(net: Any, route: Any, now: int) -> None:
    """Count a tile in the flows of its route."""
    state, flows = net.state[0], net.flows
    while now // TICKS >> state.bin_shift >= BINS:
        state.bin_shift += 1
        for pair in range(len(flows) // 2):
            flows[pair] = flows[2 * pair] + flows[2 * pair + 1]
        for first in range(len(flows) - BINS, -1, -BINS):  # folded, all flows lie in the first half
            for n in range(BINS):
                flows[first + n] = flows[first // 2 + n] if n < BINS // 2 else 0
    for place in range(route.flows, route.flows_end):
        flows[net.tables[place] * BINS + (now // TICKS >> state.bin_shift)] += route.nbytes


@compiled
def _end_burst(net: Any, transfer: Any, i: int) -> None:
    """All tiles in flight are served: issue the next ones when they have landed, or tell of them."""
    all_issued = transfer.issued == transfer.tiles
    if transfer.writing and not transfer.answered and not all_issued:
        return
    transfer.sum_bank += transfer.queued_bank
    transfer.sum_link += transfer.queued_link
    end = _whole_cycle(max(transfer.landed, transfer.flushed))
    if all_issued or net.state[0].watch:
        transfer.end = end
        _push(net, end, LANDED, i)
    else:
        _push(net, end, ISSUE, i)


@compiled
def _advance(memory: Any, until: int) -> tuple[int, int, int, int, int]:
    """Let all happen before tick `until`, or to the first burst to tell of that has landed by then.

    The time before which there is no other; of the burst its transfer, its end, and what all bursts of the transfer
    waited for banks and links.
    """
    net = _open(memory)
    state, heap = net.state[0], net.heap
    told, now = NOBODY, until
    past = (until << TIME_SHIFT) | (ISSUE << NUMBER_BITS)  # kernels that act at `until` may issue then, in an order of their own
    while told == NOBODY and state.events and heap[0] < past:
        now = heap[0] >> TIME_SHIFT
        kind = (heap[0] >> NUMBER_BITS) & ((1 << KIND_BITS) - 1)
        index = heap[0] & ((1 << NUMBER_BITS) - 1)
        _drop_first(net)
        if kind == ARRIVE:
            _arrive(net, index, now)
        elif kind == SERVE:
            _serve_next(net, index, now)
        elif kind == ISSUE:
            _issue(net, index, now)
        elif kind == SEND:
            _send(net, index, now)
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
def _start(
    memory: Any, i: int, now: int, writing: int, routes: int, banks: int, tiles: int, barrier: int, gap: int, answered: int
) -> int:
    """Fill in transfer `i` and issue its first burst at tick `now`: the time before which there is nothing to tell of it."""
    net = _open(memory)
    t = net.transfers[i]
    t.writing, t.routes, t.banks, t.tiles, t.barrier, t.gap, t.answered = writing, routes, banks, tiles, barrier, gap, answered
    t.issued = t.in_flight = t.sent = t.next_at = t.flushed = t.landed = 0
    t.queued_bank = t.queued_link = t.sum_bank = t.sum_link = 0
    return _resume(net, i, now)


@compiled
def _resume(net: Any, i: int, now: int) -> int:
    """Issue the next burst of transfer `i` at tick `now`: the time before which there is nothing to tell of it."""
    transfer = net.transfers[i]
    transfer.end, transfer.earliest = 0, _earliest_end(net, transfer, now)
    _push(net, now, ISSUE, i)
    earliest: int = transfer.earliest
    return earliest


@compiled
def _go_on(memory: Any, i: int, now: int) -> int:
    return _resume(_open(memory), i, now)


class QueuedMove(NamedTuple):
    """What a transfer moves: `routes` is the place of bank 0's route, `banks` that of the first tile's bank in `tables`."""

    writing: bool
    routes: int
    banks: int
    tiles: int
    barrier: int  # tiles of a burst
    gap: int  # ticks between two tiles
    answered: bool = False  # a write's next burst waits until this one has landed, not only until it has left

    @property
    def in_flight(self) -> int:
        """Tiles that may be under way at a time."""
        return self.tiles if self.writing and not self.answered else self.barrier


class Network:
    """One chip's banks, servers and routes, built up as they come into use, and the transfers on their way."""

    def __init__(self, banks: Sequence[tuple[int, int, int]], watch: bool = False, flows: int = 0) -> None:
        """Each bank has a number of open rows, ticks to open another, and those for which its data may queue before it stops.

        `watch` tells of each burst. `flows` is how many there are for routes to count their bytes in, over time.
        """
        state = np.zeros(1, STATE)
        state["watch"], state["unused"], state["bin_shift"] = watch, NOBODY, BIN_SHIFT
        table = np.zeros(len(banks), BANK)
        table["open"], table["row_miss"], table["buffer"] = zip(*banks, strict=True)
        self._memory = _lay_out(
            Net(
                table, np.zeros(0, SERVER), np.zeros(0, ROUTE), np.zeros(0, REQUEST),
                np.zeros(0, TRANSFER), np.zeros(0, _I), np.zeros(0, _I), state, np.zeros(flows * BINS, _I),
            )
        )  # fmt: skip
        self.net = _tables(self._memory)
        self._used: Counter[str] = Counter()
        self._idle: list[int] = []  # transfers' places that nobody uses
        self._reserved = 0  # requests that the transfers on their way may need at once,
        self._room = 0  # and those that there are
        self.due = NEVER  # tick before which there is nothing to tell

    def add(self, table: str, rows: Sequence[Any]) -> int:
        """Append records to a table: the place of the first."""
        first = self._used[table]
        self._used[table] += len(rows)
        self._make_room(table, self._used[table])
        getattr(self.net, table)[first : first + len(rows)] = rows
        return first

    def add_routes(self, routes: Sequence[Any]) -> int:
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
            self._memory = _lay_out(self.net._replace(**{table: grown}))
            self.net = _tables(self._memory)

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

    def start(self, now: int, move: QueuedMove) -> int:
        """Start a transfer at tick `now`: its place."""
        if now >= NEVER // 2:
            raise SimulationError(f"the run is longer than {NEVER // 2 // TICKS:,} cycles, the most that the model can time")
        self._reserved += move.in_flight
        i = self._idle.pop() if self._idle else self._new_transfer()
        if self._reserved > self._room:
            self._add_requests()
        self.due = min(self.due, _start(self._memory, i, now, *move))
        return i

    def _new_transfer(self) -> int:
        i = self.add("transfers", [0])
        self.net.state["transfers"] = i + 1
        self._make_room("heap", self._room + len(self.net.transfers) + len(self.net.banks))
        return i

    def advance(self, until: int) -> tuple[int, int, int, int]:
        """Go on to tick `until`, or to the first burst to tell of.

        Its transfer, or `NOBODY`; its end; and the ticks that the transfer's bursts waited for banks and for links.
        """
        self.due, told, end, bank, link = _advance(self._memory, until)
        return told, end, bank, link

    def resume(self, i: int, now: int) -> None:
        """Go on with transfer `i`, of which a burst was told."""
        self.due = min(self.due, _go_on(self._memory, i, now))

    def end(self, i: int, move: QueuedMove) -> None:
        """Forget transfer `i`, which has landed."""
        self._reserved -= move.in_flight
        self._idle.append(i)
