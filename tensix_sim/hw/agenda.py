"""What is to happen to kernels in the compiled loop, in order of time and, within a cycle, of planning; and who is at work.

Times are in cycles.
"""

from typing import Any

from tensix_sim.hw import jit, tables
from tensix_sim.hw.tables import NOBODY

compiled = jit.compiler(tables)

# A RISC, pushed tiles, popped tiles, a semaphore, RISCs that wait for one, a transfer of no RISC, and what Python does
RESUME, RECEIVE, ACKNOWLEDGE, RAISE, CHANGED, START, CALL = range(7)
STARVED, FULL, LANDED, NOTED, UNRESERVED, MISSING, CALLED = range(1, 8)  # what there is to tell of a RISC
ORDER_BITS = 30  # of an entry: its number within all of them; the cycle is above


@compiled
def plan(chip: Any, time: int, kind: int, place: int, number: int) -> None:
    """Let something happen at cycle `time`, after what is planned for it so far."""
    state, agenda = chip.state[0], chip.agenda
    if state.sequence >> ORDER_BITS:
        _renumber(chip)
    entry = (time << ORDER_BITS) | state.sequence
    state.sequence += 1
    slot = state.free
    event = chip.events[slot]
    state.free = event.next
    event.kind, event.place, event.number = kind, place, number
    i = state.planned
    state.planned += 1
    while i > 0:
        above = (i - 1) >> 1
        if agenda[2 * above] <= entry:
            break
        agenda[2 * i], agenda[2 * i + 1] = agenda[2 * above], agenda[2 * above + 1]
        i = above
    agenda[2 * i], agenda[2 * i + 1] = entry, slot


@compiled
def next_time(chip: Any) -> int:
    """Cycle of the next event; there is one."""
    time: int = chip.agenda[0] >> ORDER_BITS
    return time


@compiled
def take(chip: Any) -> int:
    """Take the next event off the agenda: its place, which is good until the next one is planned."""
    state, agenda = chip.state[0], chip.agenda
    slot: int = agenda[1]
    state.now = next_time(chip)
    state.planned -= 1
    n = state.planned
    entry, last = agenda[2 * n], agenda[2 * n + 1]
    i, below = 0, 1
    while below < n:
        if below + 1 < n and agenda[2 * below + 2] < agenda[2 * below]:
            below += 1
        if agenda[2 * below] >= entry:
            break
        agenda[2 * i], agenda[2 * i + 1] = agenda[2 * below], agenda[2 * below + 1]
        i, below = below, 2 * below + 1
    agenda[2 * i], agenda[2 * i + 1] = entry, last
    chip.events[slot].next = state.free
    state.free = slot
    return slot


@compiled
def _renumber(chip: Any) -> None:
    """Give what is planned the first numbers, in its order."""
    state, agenda = chip.state[0], chip.agenda
    for n in range(1, state.planned):  # by insertion: it happens once in 2^30 events
        entry, slot = agenda[2 * n], agenda[2 * n + 1]
        i = n
        while i > 0 and agenda[2 * i - 2] > entry:
            agenda[2 * i], agenda[2 * i + 1] = agenda[2 * i - 2], agenda[2 * i - 1]
            i -= 1
        agenda[2 * i], agenda[2 * i + 1] = entry, slot
    for n in range(state.planned):
        agenda[2 * n] = (agenda[2 * n] >> ORDER_BITS << ORDER_BITS) | n
    state.sequence = state.planned


@compiled
def begin(chip: Any, risc: int) -> None:
    """Let a RISC work now, before the one that is at work goes on."""
    state = chip.state[0]
    chip.stack[state.depth] = risc
    state.depth += 1


@compiled
def wake(chip: Any, risc: int) -> int:
    """Let a RISC that waits work now, if there is one; what waits from then on."""
    if risc != NOBODY:
        begin(chip, risc)
    return NOBODY


@compiled
def record(chip: Any, lane: int, name: int, start: int, end: int) -> None:
    """Record what a lane did from one cycle up to another, if anything is recorded."""
    state = chip.state[0]
    if state.zones and end > start:
        span = chip.spans[state.spans]
        state.spans += 1
        span.lane, span.name, span.start, span.end, span.line = lane, name, start, end, state.line
