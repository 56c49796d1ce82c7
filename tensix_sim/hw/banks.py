"""Banks of the compiled loop, of DRAM and of L1: whose request is served next, and what that costs.

A bank serves who comes first. While others wait, it loses time to open a row for a core that was not among the last to
come; L1 has no rows. A bank whose data find their link taken holds them, and serves nobody, as soon as the buffers on the
way are full. Times are in ticks.
"""

from typing import Any

from tensix_sim.hw import bursts, jit, queues, tables
from tensix_sim.hw.bursts import end_burst
from tensix_sim.hw.engine import TICKS
from tensix_sim.hw.queues import ARRIVE, SERVE, drop_first, occupy, pass_links, push, replace_first
from tensix_sim.hw.tables import BINS, NOBODY

compiled = jit.compiler(tables, queues, bursts)


@compiled
def arrive(net: Any, index: int, now: int) -> None:
    """A request is at its bank: serve it, or queue it. The next one of its burst is on its way."""
    request = net.requests[index]
    if request.next == NOBODY:
        drop_first(net)
    else:
        replace_first(net, net.requests[request.next].arrived, ARRIVE, request.next)
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
        push(net, bank.free, SERVE, route.bank)
    bank.last = index
    bank.waiting += 1


@compiled
def serve_next(net: Any, b: int, now: int) -> None:
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
        push(net, bank.free, SERVE, b)


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
    if net.moves[transfer.move].writing:
        landed = max(done, now + route.port_ticks)  # its last flit comes so long after its first
    else:
        head = max(now, done - max(route.link_ticks, route.port_ticks))
        at = pass_links(net, route, head)
        queued_link = at - head
        into_core = occupy(net.servers[route.port], at, route.port_ticks)
        landed = max(done, at + route.link_ticks, into_core + route.port_ticks)
    bank.free = done if route.apart else done + max(0, queued_link - bank.buffer)
    if route.flows < route.flows_end:
        _count_bytes(net, route, now)
    landed += route.back
    if landed >= transfer.landed:
        transfer.landed = landed
        transfer.queued_bank, transfer.queued_link = now - request.arrived, queued_link
    transfer.in_flight -= 1
    if transfer.in_flight == 0:
        end_burst(net, request.transfer)


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
        flows[net.lists[place] * BINS + (now // TICKS >> state.bin_shift)] += route.nbytes
