"""Bursts of the compiled loop: the tiles that a transfer has under way between two barriers, as its RISC issues them.

A read's burst goes when the one before it has landed, a write's when that has left the core. Times are in ticks.
"""

from typing import Any

from tensix_sim.hw import jit, queues, tables
from tensix_sim.hw.engine import TICKS
from tensix_sim.hw.queues import ARRIVE, ISSUE, LANDED, LAST_NUMBER, NUMBER_BITS, SEND, occupy, pass_links, push
from tensix_sim.hw.tables import NOBODY

compiled = jit.compiler(tables, queues)


@compiled
def whole_cycle(ticks: int) -> int:
    """The tick at which the next cycle begins."""
    return -(-ticks // TICKS) * TICKS


@compiled
def start_transfer(net: Any, now: int, move: int, owner: int) -> int:
    """Start a transfer of the move at a place at tick `now`, for a RISC or, as `~number`, for Python: its own place."""
    state = net.state[0]
    if state.idle:
        state.idle -= 1
        i = net.idle[state.idle]
    else:
        i = state.transfers
        state.transfers += 1
    t = net.transfers[i]
    t.move, t.owner, t.burst = move, owner, now // TICKS
    t.issued = t.in_flight = t.sent = t.next_at = t.flushed = t.landed = t.recorded = 0
    t.queued_bank = t.queued_link = t.sum_bank = t.sum_link = 0
    net.moves[move].uses += 1
    push(net, now, ISSUE, i)
    return int(i)


@compiled
def issue(net: Any, i: int, now: int) -> None:
    """Send the requests of transfer `i`'s next burst; of a write the first, with its data."""
    transfer = net.transfers[i]
    move = net.moves[transfer.move]
    tiles = min(move.barrier, move.tiles - transfer.issued)
    first = transfer.issued
    transfer.in_flight += tiles
    transfer.issued += tiles
    if move.writing:
        transfer.next_at = now
        _load(net, i)
        return
    _arrive_in_turn(net, i, first, tiles, now)


@compiled
def _arrive_in_turn(net: Any, i: int, first: int, tiles: int, now: int) -> None:
    """Chain the requests of a read's burst as they arrive, for only the first of them to be in the heap at a time."""
    move, order = net.moves[net.transfers[i].move], net.order
    for n in range(tiles):
        request = _new_request(net, i, first + n)
        arrives = now + (n + 1) * move.gap + net.routes[net.requests[request].route].there
        net.requests[request].arrived = arrives
        event = (arrives << NUMBER_BITS) | request
        place = n
        while place > 0 and order[place - 1] > event:  # most are in order
            order[place] = order[place - 1]
            place -= 1
        order[place] = event
    for n in range(tiles - 1):
        net.requests[order[n] & LAST_NUMBER].next = order[n + 1] & LAST_NUMBER
    push(net, order[0] >> NUMBER_BITS, ARRIVE, order[0] & LAST_NUMBER)


@compiled
def _new_request(net: Any, i: int, n: int) -> int:
    """A request for tile `n` of transfer `i`."""
    move, state = net.moves[net.transfers[i].move], net.state[0]
    request: int = state.unused
    state.unused = net.requests[request].next
    net.requests[request].next = NOBODY
    net.requests[request].transfer = i
    net.requests[request].route = move.routes + net.lists[move.banks + n]
    return request


@compiled
def _load(net: Any, i: int) -> None:
    """Queue the next tile of a write at the core's port."""
    transfer = net.transfers[i]
    request = _new_request(net, i, transfer.sent)
    route = net.routes[net.requests[request].route]
    transfer.sent += 1
    transfer.next_at += net.moves[transfer.move].gap
    push(net, occupy(net.servers[route.port], transfer.next_at, route.port_ticks), SEND, request)


@compiled
def send(net: Any, index: int, now: int) -> None:
    """The head of a write's tile leaves the core. Data that find a link taken hold up what follows them."""
    i = net.requests[index].transfer
    route, transfer = net.routes[net.requests[index].route], net.transfers[i]
    move = net.moves[transfer.move]
    at = pass_links(net, route, now)
    push(net, at + route.there, ARRIVE, index)
    held = max(0, at - now - net.banks[route.bank].buffer)
    net.servers[route.port].free += held
    if transfer.sent < transfer.issued:
        _load(net, i)
        return
    transfer.flushed = now + held + route.port_ticks
    if transfer.issued < move.tiles and not move.answered:
        push(net, whole_cycle(transfer.flushed), ISSUE, i)


@compiled
def end_burst(net: Any, i: int) -> None:
    """All tiles of transfer `i` in flight are served: issue the next ones when they have landed, or tell of them."""
    transfer = net.transfers[i]
    move = net.moves[transfer.move]
    all_issued = transfer.issued == move.tiles
    if move.writing and not move.answered and not all_issued:
        return
    transfer.sum_bank += transfer.queued_bank
    transfer.sum_link += transfer.queued_link
    end = whole_cycle(max(transfer.landed, transfer.flushed))
    if all_issued or net.state[0].watch:
        push(net, end, LANDED, i)
    else:
        push(net, end, ISSUE, i)
