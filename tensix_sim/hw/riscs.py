"""What kernels ask of their RISCs, done one operation after the other in the compiled loop, until all must wait.

NCRISC and BRISC live at the agenda's clock; `threads` has the operations of the three TRISCs. Times are in cycles.
"""

from typing import Any

from tensix_sim.hw import agenda, buffers, bursts, jit, tables, threads
from tensix_sim.hw.agenda import FULL, NOTED, RAISE, RESUME, STARVED, UNRESERVED, begin, plan, record
from tensix_sim.hw.buffers import await_semaphore, push, set_semaphore
from tensix_sim.hw.bursts import start_transfer
from tensix_sim.hw.engine import TICKS
from tensix_sim.hw.tables import LINE_SHIFT, NOBODY, QUEUE
from tensix_sim.hw.threads import (
    DONE,
    TELLS,
    WAITS,
    give_back,
    hand_over,
    pop_front,
    push_back,
    reserve_back,
    run_block,
    spend_on_pack,
    wait_front,
)

compiled = jit.compiler(tables, agenda, buffers, bursts, threads)

OPERATION_BITS = (1 << LINE_SHIFT) - 1

# Kinds of operations: of NCRISC and BRISC, then of TRISCs
RESERVE, PUSH, WAIT, POP, MOVE, SEND, SIGNAL, SPEND, SEMAPHORE_WAIT, SEMAPHORE_SET, SEMAPHORE_INCREASE = range(11)
RUN, WAIT_FRONT, RESERVE_BACK, PUSH_BACK, POP_FRONT, HAND_OVER, SPEND_ON_PACK = range(11, 18)
NOTE = 18  # of either

BANK, LINK, LATENCY, ETHERNET = range(4, 8)  # names of causes, in the order of `silicon.CAUSES`


@compiled
def work(chip: Any, net: Any) -> int:
    """Let the RISCs at work go on until each waits: nobody, or the RISC of which there is something to tell."""
    state = chip.state[0]
    while state.depth:
        r = chip.stack[state.depth - 1]
        risc = chip.riscs[r]
        if risc.done == risc.issued:
            if not risc.ended:
                state.why = STARVED
                return int(r)
            state.depth -= 1
        elif (
            state.spans + state.margin > len(chip.spans)
            or state.counts + state.margin > len(chip.counts)
            or state.planned + state.margin > len(chip.events)
        ):
            state.why = FULL
            return int(r)
        else:
            given = chip.queues[r * QUEUE + risc.done % QUEUE]
            state.line = given >> LINE_SHIFT
            outcome = _operate(chip, net, r, chip.operations[given & OPERATION_BITS])
            if outcome == DONE:
                risc.done += 1
                risc.step = 0
            elif outcome == WAITS:
                state.depth -= 1
            else:
                return int(r)
    return NOBODY


@compiled
def _operate(chip: Any, net: Any, r: int, op: Any) -> int:
    """Begin an operation or go on with it."""
    kind = op.kind
    if kind == RUN:
        return int(run_block(chip, r, op))
    if kind == POP_FRONT:
        return int(pop_front(chip, r, op))
    if kind >= RUN:
        return int(_operate_threads(chip, r, op))
    risc = chip.riscs[r]
    if kind == RESERVE:
        return int(_reserve(chip, r, op))
    if kind == WAIT:
        return int(_wait(chip, r, op))
    if kind == PUSH:
        chip.buffers[risc.buffers + op.buffer].reserved -= op.tiles
        push(chip, risc.buffers + op.buffer, op.tiles, chip.state[0].now)
    elif kind == POP:
        return int(give_back(chip, risc.buffers + op.buffer, op.tiles, chip.state[0].now))
    elif kind == MOVE or (kind == SEND and risc.step < 2):
        return int(_move(chip, net, r, op))
    elif kind == SEND:
        return int(_hold(chip, r, ETHERNET))
    elif kind == SPEND:
        risc.until = chip.state[0].now + op.cycles if risc.step == 0 else risc.until
        return int(_hold(chip, r, op.name))
    elif kind == SEMAPHORE_WAIT:
        return int(_semaphore_wait(chip, r, op))
    elif kind == SEMAPHORE_SET:
        set_semaphore(chip, op.semaphore, op.value)
    elif kind == SEMAPHORE_INCREASE:
        for place in range(op.raises, op.raises_end, 2):
            plan(chip, chip.state[0].now + chip.lists[place + 1], RAISE, chip.lists[place], op.value)
    elif kind == SIGNAL and risc.step == 0:
        risc.step, chip.state[0].why = 1, NOTED
        return TELLS
    return DONE


@compiled
def _operate_threads(chip: Any, r: int, op: Any) -> int:
    kind = op.kind
    if kind == WAIT_FRONT:
        return int(wait_front(chip, r, op))
    if kind == RESERVE_BACK:
        return int(reserve_back(chip, r, op))
    if kind == PUSH_BACK:
        return int(push_back(chip, r, op))
    if kind == HAND_OVER:
        return int(hand_over(chip, r))
    if kind == SPEND_ON_PACK:
        return int(spend_on_pack(chip, r, op.name, op.cycles, op.vector))
    risc = chip.riscs[r]  # a note, which Python takes
    if risc.step == 0:
        risc.step, chip.state[0].why = 1, NOTED
        return TELLS
    return DONE


@compiled
def _reserve(chip: Any, r: int, op: Any) -> int:
    """Wait until tiles are free."""
    risc = chip.riscs[r]
    buffer = chip.buffers[risc.buffers + op.buffer]
    if buffer.tiles - buffer.pushed + buffer.acked < op.tiles:
        buffer.producer = r
        risc.step = 1
        return WAITS
    if risc.step:
        _spent_all(chip, r, buffer.wait_space)
    buffer.reserved = op.tiles
    return DONE


@compiled
def _wait(chip: Any, r: int, op: Any) -> int:
    """Wait until tiles are there."""
    risc = chip.riscs[r]
    buffer = chip.buffers[risc.buffers + op.buffer]
    if buffer.received - buffer.popped < op.tiles:
        buffer.consumer = r
        risc.step = 1
        return WAITS
    if risc.step:
        _spent_all(chip, r, buffer.wait_tiles)
    return DONE


@compiled
def _move(chip: Any, net: Any, r: int, op: Any) -> int:
    """Read or write and wait until all has landed; of a send until it is with the router, of which Python is told then."""
    risc, now = chip.riscs[r], chip.state[0].now
    if risc.step == 0:
        risc.step, risc.began = 1, now
        start_transfer(net, now * TICKS, op.move, r)
        return WAITS
    if op.forward:
        _spent_all(chip, r, op.name)
        for place in range(op.targets, op.targets_end):
            if chip.buffers[chip.lists[place]].reserved < op.tiles:
                chip.state[0].why = UNRESERVED
                return TELLS
    else:
        _spent_moving(chip, r, op)
    if op.kind == MOVE:
        return DONE
    risc.step, chip.state[0].why = 2, NOTED
    return TELLS


@compiled
def _spent_moving(chip: Any, r: int, op: Any) -> None:
    """Say where the cycles of a transfer went: its issue, then the waits of its bursts."""
    risc = chip.riscs[r]
    left, issue, bank, link = chip.state[0].now - risc.idle_from, op.issue, risc.bank, risc.link
    if issue + bank + link > left:  # the last tile's waits, of which other tiles' issue may be part
        issue = min(issue, left)
        bank = min(bank, left - issue)
        link = min(link, left - issue - bank)
    _spent(chip, r, op.name, issue)
    _spent(chip, r, BANK, bank)
    _spent(chip, r, LINK, link)
    _spent(chip, r, LATENCY, left - issue - bank - link)


@compiled
def _hold(chip: Any, r: int, name: int) -> int:
    """Wait until a cycle that is known, if it is yet to come."""
    risc, now = chip.riscs[r], chip.state[0].now
    if risc.until > now:
        plan(chip, risc.until, RESUME, r, 0)
        risc.step = 3
        return WAITS
    if risc.step == 3:
        _spent_all(chip, r, name)
    return DONE


@compiled
def _semaphore_wait(chip: Any, r: int, op: Any) -> int:
    """Wait until a semaphore has at least a value."""
    semaphore = chip.semaphores[op.semaphore]
    if semaphore.value < op.value:
        await_semaphore(chip, op.semaphore, r)
        return WAITS
    _spent_all(chip, r, semaphore.name)
    return DONE


@compiled
def _spent_all(chip: Any, r: int, name: int) -> None:
    """Say what all cycles since the last operation's end went to."""
    _spent(chip, r, name, chip.state[0].now - chip.riscs[r].idle_from)


@compiled
def _spent(chip: Any, r: int, name: int, cycles: int) -> None:
    """Say what the next cycles went to."""
    risc = chip.riscs[r]
    if cycles:
        if name < chip.state[0].causes:
            chip.waits[risc.waits + name] += cycles
        record(chip, risc.lane, name, risc.idle_from, risc.idle_from + cycles)
        risc.idle_from += cycles


@compiled
def resume_waiting(chip: Any, first: int, second: int) -> None:
    """Wake the RISCs that waited for a semaphore, the first one first."""
    if second != NOBODY:
        begin(chip, second)
    begin(chip, first)
