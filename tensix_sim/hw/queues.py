"""Queues of the compiled loop: the heap of events, and servers, each a link or a core's port that serves who comes first.

Times are in ticks.
"""

from typing import Any

from tensix_sim.hw import jit, tables
from tensix_sim.hw.tables import IDLE

compiled = jit.compiler(tables)

LANDED, ISSUE, SEND, ARRIVE, SERVE = range(5)  # in this order at one time

# An event is one number: its time in ticks, its kind, and the place of a request, bank or transfer
NUMBER_BITS, KIND_BITS = 18, 3
TIME_SHIFT = NUMBER_BITS + KIND_BITS
LAST_NUMBER = (1 << NUMBER_BITS) - 1
NEVER = 1 << (62 - TIME_SHIFT)


@compiled
def push(net: Any, time: int, kind: int, place: int) -> None:
    """Add an event. Those of one time happen in the order of their kinds, then of their places."""
    state, heap = net.state[0], net.heap
    event = (time << TIME_SHIFT) | (kind << NUMBER_BITS) | place
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
def drop_first(net: Any) -> None:
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
    while i > 0:  # NOTE: as in `push`, for speed
        above = (i - 1) >> 1
        if heap[above] <= event:
            break
        heap[i] = heap[above]
        i = above
    heap[i] = event


@compiled
def replace_first(net: Any, time: int, kind: int, place: int) -> None:
    """Take the first event away and add one, which is best done at once where it is due soon."""
    heap, n = net.heap, net.state[0].events
    event = (time << TIME_SHIFT) | (kind << NUMBER_BITS) | place
    i, below = 0, 1
    while below < n:
        if below + 1 < n and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= event:
            break
        heap[i] = heap[below]
        i, below = below, 2 * below + 1
    heap[i] = event


@compiled
def occupy(server: Any, time: int, ticks: int) -> int:
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
def pass_links(net: Any, route: Any, time: int) -> int:
    """Send a tile over the shared links from `time` on: when its head has had its turn at the last of them."""
    for place in range(route.links, route.links_end):
        time = occupy(net.servers[net.lists[place]], time, route.link_ticks)
    return time
