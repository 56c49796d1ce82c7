"""Circular buffers and semaphores in the compiled loop: counters, and when the other side sees them move.

Data-movement kernels live at the agenda's clock. A compute kernel runs ahead of it on clocks of its own: what it pops or
pushes reaches the other side by an event at the cycle when it happens, and each push remembers from when its tiles can be
seen. What a kernel may do is checked where it asks for it; here all is right. Times are in cycles.
"""

from typing import Any

from tensix_sim.hw import agenda, jit, tables
from tensix_sim.hw.agenda import ACKNOWLEDGE, CHANGED, RECEIVE, plan, wake
from tensix_sim.hw.tables import NOBODY

compiled = jit.compiler(tables, agenda)


@compiled
def visible_at(chip: Any, b: int, tiles: int) -> int:
    """Cycle from which the consumer can see the front `tiles` tiles; they have been pushed."""
    buffer = chip.buffers[b]
    target = buffer.popped + tiles
    i = buffer.oldest
    for _ in range(buffer.parts):
        place = buffer.log + 2 * i
        if chip.logs[place] >= target:
            time: int = chip.logs[place + 1]
            return time
        i = i + 1 if i + 1 < buffer.tiles else 0
    return 0


@compiled
def log(chip: Any, b: int, end: int, time: int) -> None:
    """Remember that all tiles up to number `end` are seen from cycle `time` on."""
    buffer = chip.buffers[b]
    place = buffer.log + 2 * ((buffer.oldest + buffer.parts) % buffer.tiles)
    chip.logs[place], chip.logs[place + 1] = end, time
    buffer.parts += 1
    buffer.settled = time


@compiled
def forget_newest(chip: Any, b: int, end: int) -> None:
    """Forget when tiles after number `end` are seen: they are changed in place."""
    buffer = chip.buffers[b]
    while buffer.parts and chip.logs[buffer.log + 2 * ((buffer.oldest + buffer.parts - 1) % buffer.tiles)] > end:
        buffer.parts -= 1


@compiled
def push(chip: Any, b: int, tiles: int, time: int) -> None:
    """Push `tiles` tiles at cycle `time`."""
    buffer, visible = chip.buffers[b], chip.state[0].visible
    buffer.pushed += tiles
    log(chip, b, buffer.pushed, time + visible)
    if not buffer.shared:
        buffer.received = buffer.pushed
        return
    known = time if buffer.to_compute else time + visible
    if known <= chip.state[0].now:
        receive(chip, b, tiles)
    else:
        plan(chip, known, RECEIVE, b, tiles)


@compiled
def receive(chip: Any, b: int, tiles: int) -> None:
    """Let the other side see so many tiles more, and wake it if it waits for some."""
    buffer = chip.buffers[b]
    buffer.received += tiles
    _count(chip, b)
    buffer.consumer = wake(chip, buffer.consumer)


@compiled
def pop(chip: Any, b: int, tiles: int, time: int) -> None:
    """Give `tiles` tiles back at cycle `time`."""
    buffer = chip.buffers[b]
    buffer.popped += tiles
    while buffer.parts and chip.logs[buffer.log + 2 * buffer.oldest] <= buffer.popped:
        buffer.parts -= 1
        buffer.oldest = buffer.oldest + 1 if buffer.oldest + 1 < buffer.tiles else 0
    if not buffer.shared:
        buffer.acked += tiles
    elif time <= chip.state[0].now:
        acknowledge(chip, b, tiles)
    else:
        plan(chip, time, ACKNOWLEDGE, b, tiles)


@compiled
def acknowledge(chip: Any, b: int, tiles: int) -> None:
    """Let the other side see that so many tiles more are free, and wake it if it waits for some."""
    buffer = chip.buffers[b]
    buffer.acked += tiles
    _count(chip, b)
    buffer.producer = wake(chip, buffer.producer)


@compiled
def _count(chip: Any, b: int) -> None:
    """Record how many tiles a buffer holds, as the clock has it."""
    state, buffer = chip.state[0], chip.buffers[b]
    if state.zones and buffer.series != NOBODY:
        count = chip.counts[state.counts]
        state.counts += 1
        count.series, count.time, count.value = buffer.series, state.now, buffer.received - buffer.acked


@compiled
def set_semaphore(chip: Any, s: int, value: int) -> None:
    """Give a semaphore a value; who waits looks at it within the same cycle."""
    semaphore = chip.semaphores[s]
    semaphore.value = value
    if semaphore.first != NOBODY:
        plan(chip, chip.state[0].now, CHANGED, semaphore.first, semaphore.second)
        semaphore.first = semaphore.second = NOBODY


@compiled
def await_semaphore(chip: Any, s: int, risc: int) -> None:
    """Wake a RISC when a semaphore changes: NCRISC and BRISC of a core may both wait."""
    semaphore = chip.semaphores[s]
    if semaphore.first == NOBODY:
        semaphore.first = risc
    else:
        semaphore.second = risc
