"""Bursts of the compiled loop: the tiles that a transfer has under way between two barriers, as its RISC issues them.

A read's burst goes when the one before it has landed, a write's when that has left the core. Times are in ticks.
"""

from typing import Any

from tensix_sim.hw import jit, queues, tables
from tensix_sim.hw.engine import TICKS
from tensix_sim.hw.queues import ARRIVE, ISSUE, LANDED, SEND, occupy, pass_links, push

compiled = jit.compiler(tables, queues)


@compiled
def whole_cycle(ticks: int) -> int:
    """The tick at which the next cycle begins."""
    return -(-ticks // TICKS) * TICKS


@compiled
def earliest_end(net: Any, transfer: Any, now: int) -> int:
    """The time before which a transfer that issues its next burst at `now` has nothing to tell, nobody else being there."""
    move = net.moves[transfer.move]
    left, trips = move.tiles - transfer.issued, 1
    if net.state[0].watch:
        left = min(left, move.barrier)
    elif move.answered or not move.writing:
        trips = -(-left // move.barrier)
    return now + left * move.gap + trips * net.state[0].trip


@compiled
def issue(net: Any, i: int, now: int) -> None:
    """Send the requests of transfer `i`'s next burst; of a write the first, with its data."""
    transfer = net.transfers[i]
    move = net.moves[transfer.move]
    transfer.earliest = earliest_end(net, transfer, now)
    tiles = min(move.barrier, move.tiles - transfer.issued)
    first = transfer.issued
    transfer.in_flight += tiles
    transfer.issued += tiles
    if move.writing:
        transfer.next_at = now
        _load(net, i)
        return
    for n in range(tiles):
        request = _new_request(net, i, first + n)
        route = net.routes[net.requests[request].route]
        push(net, now + (n + 1) * move.gap + route.there, ARRIVE, request)


@compiled
def _new_request(net: Any, i: int, n: int) -> int:
    """A request for tile `n` of transfer `i`."""
    move, state = net.moves[net.transfers[i].move], net.state[0]
    request: int = state.unused
    state.unused = net.requests[request].next
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
        transfer.end = end
        push(net, end, LANDED, i)
    else:
        push(net, end, ISSUE, i)
