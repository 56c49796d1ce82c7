"""The three threads of a core in the compiled loop: windows on the unpack, math and pack clocks, and what they wait for.

A compute kernel's operations are done in its order, each as soon as the tiles that it reads have been pushed and the space that
it fills is free: the clocks then say when. Times are in cycles.
"""

from typing import Any

import numpy as np

from tensix_sim.hw import agenda, buffers, jit, tables
from tensix_sim.hw.agenda import MISSING, record
from tensix_sim.hw.buffers import forget_newest, log, pop, push, visible_at
from tensix_sim.hw.tables import NOBODY

compiled = jit.compiler(tables, agenda, buffers)

DONE, WAITS, TELLS = range(3)  # what becomes of an operation that is begun or gone on with

DST, UNPACK, MATH, PACK = range(4)  # names of the causes that these threads have, in the order of `silicon.CAUSES`


@compiled
def run_block(chip: Any, r: int, op: Any) -> int:
    """Run the windows of a verb: wait for its tiles and its space, then hand over what it makes."""
    risc = chip.riscs[r]
    inputs = (op.inputs_end - op.inputs) // 2
    t, setup = chip.tensixes[risc.core], chip.stages[chip.blocks[op.block].stages].unpack_setup
    while risc.step < inputs:
        place = op.inputs + 2 * risc.step
        b, tiles = risc.buffers + chip.lists[place], chip.lists[place + 1]
        if not _pushed(chip, r, b, tiles):
            return WAITS
        if chip.buffers[b].settled > t.unpack + setup:
            _see(chip, r, b, tiles, setup)
        risc.step += 1
    if risc.step == inputs:
        if op.needs < op.needs_end and not _pushed(chip, r, risc.buffers + op.source, chip.lists[op.needs_end - 1]):
            return WAITS
        risc.step += 1
    space_at = 0
    if op.out != NOBODY:
        out = chip.buffers[risc.buffers + op.out]
        if out.tiles - out.pushed + out.acked < op.out_tiles:
            out.producer = r
            risc.step = inputs + 2
            return WAITS
        if risc.step == inputs + 2:
            space_at = chip.state[0].now
    _run(chip, r, op, space_at)
    return DONE


@compiled
def _run(chip: Any, r: int, op: Any, space_at: int) -> None:
    """Run the windows of a verb, whose space is free from a cycle on, and hand over what it makes."""
    risc, state, packed = chip.riscs[r], chip.state[0], chip.packed
    t = chip.tensixes[risc.core]
    before = _spent(t)
    schedule(chip, r, op, space_at)
    tiles = chip.buffers[risc.buffers + op.source].wait_tiles
    space = NOBODY if op.out == NOBODY else chip.buffers[risc.buffers + op.out].wait_space
    chip.waits[risc.waits + tiles] += t.unpack_tiles - before[3]
    if op.out != NOBODY:
        chip.waits[risc.waits + space] += t.pack_space - before[9]
    if state.zones:
        _record_block(chip, risc.lane, chip.blocks[op.block].name, before, _spent(t), tiles, space)
    if op.changed != NOBODY:
        b = risc.buffers + op.changed
        end, part = chip.buffers[b].received, op.changed_tiles // op.changed_parts
        forget_newest(chip, b, end - op.changed_tiles if op.older else 0)
        for i in range(op.changed_parts):
            log(chip, b, end - part * (op.changed_parts - 1 - i), packed[op.changed_first + i * op.changed_step] + state.visible)
    if op.out != NOBODY:
        b = risc.buffers + op.out
        if op.early_stage != NOBODY:
            last = chip.blocks[op.block].stages_end - chip.blocks[op.block].stages - 1
            push(chip, b, op.out_tiles, max(packed[op.early_stage], packed[last] - op.early))
            return
        for i in range(op.out_parts):
            push(chip, b, op.out_tiles // op.out_parts, packed[op.out_first + i * op.out_step])


@compiled
def _spent(t: Any) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
    """The clocks; cycles of unpack for tiles, packs and math, and busy; math for DST, and busy; pack for space, and busy."""
    return (
        t.unpack, t.math, t.pack, t.unpack_tiles, t.unpack_pack, t.unpack_src, t.unpack_busy,
        t.math_dst, t.math_busy, t.pack_space, t.pack_busy,
    )  # fmt: skip


@compiled
def schedule(chip: Any, r: int, op: Any, space_at: int) -> None:
    """Run a block's windows, whose output has space from a cycle on: no thread begins before the unpacker does."""
    risc, block, state = chip.riscs[r], chip.blocks[op.block], chip.state[0]
    t, start, handshake = chip.tensixes[risc.core], chip.tensixes[risc.core].unpack, state.handshake
    t.math, t.pack = max(t.math, start), max(t.pack, start)
    t.half, t.other = max(t.half, start - handshake), max(t.other, start - handshake)
    state.windows = state.vectors = 0
    for place in range(block.stages, block.stages_end):
        stage, number = chip.stages[place], place - block.stages
        t.unpack += stage.unpack_setup
        if op.needs < op.needs_end and chip.lists[op.needs + number]:
            arrival = visible_at(chip, risc.buffers + op.source, chip.lists[op.needs + number])
            if arrival > t.unpack:
                t.unpack_tiles += arrival - t.unpack
                t.unpack = arrival
        if stage.after_pack and t.pack + handshake > t.unpack:
            t.unpack_pack += t.pack + handshake - t.unpack
            t.unpack = t.pack + handshake
        t.unpack += stage.seen
        t.math += stage.math_setup
        t.pack += stage.pack_setup
        t.unpack_busy += stage.unpack_setup + stage.seen + stage.windows * stage.unpack
        t.math_busy += stage.math_setup + stage.windows * stage.math
        t.pack_busy += stage.pack_setup + stage.windows * stage.pack
        t.fpu += stage.windows * stage.fpu
        t.sfpu += stage.windows * stage.sfpu
        for _ in range(stage.windows):
            _run_window(chip, t, stage, block.halves, max(space_at, start))
        chip.packed[number] = t.pack
    t.overlap += overlap(chip.products, state.windows, chip.vectors, state.vectors)


@compiled
def _run_window(chip: Any, t: Any, stage: Any, halves: int, space: int) -> None:
    """Unpack operands, have math fill the half of DST that is free, and pack it."""
    state = chip.state[0]
    operands = max(t.math, t.unpack + stage.first)
    begun = max(operands, t.half + state.handshake)
    loaded = t.unpack + stage.unpack
    math = max(begun + stage.math, loaded + stage.last)
    # SrcA and SrcB have two banks: the unpacker stands still while math has yet to use both
    unpack = max(loaded, math - 2 * stage.last)
    committed = max(t.pack, math + state.handshake)
    begin_pack = max(committed, space)
    t.math_dst += begun - operands
    t.unpack_src += unpack - loaded
    t.pack_space += begin_pack - committed
    t.unpack, t.math, t.pack = unpack, math, begin_pack + stage.pack
    t.half = t.other if halves > 1 else t.pack
    t.other = t.pack
    n, state.windows = state.windows, state.windows + 1
    chip.products[3 * n], chip.products[3 * n + 1], chip.products[3 * n + 2] = begun, math, stage.fpu
    if stage.vector:
        n, state.vectors = state.vectors, state.vectors + 1
        chip.vectors[2 * n], chip.vectors[2 * n + 1] = begin_pack, begin_pack + stage.vector


@compiled
def overlap(products: Any, windows: int, vectors: Any, works: int) -> int:
    """Cycles in which FPU and SFPU are both busy, with an FPU that works evenly through its windows.

    `products` are begin, end and FPU cycles of windows, `vectors` begin and end of the SFPU's work on the pack thread.
    """
    shared = 0.0
    for n in range(windows if works else 0):
        begin, end, common = products[3 * n], products[3 * n + 1], 0
        for m in range(works):
            common += max(0, min(end, vectors[2 * m + 1]) - max(begin, vectors[2 * m]))
        shared += common * products[3 * n + 2] / max(1, end - begin)
    return int(np.rint(shared))


@compiled
def _record_block(
    chip: Any,
    lane: int,
    name: int,
    before: tuple[int, int, int, int, int, int, int, int, int, int, int],
    after: tuple[int, int, int, int, int, int, int, int, int, int, int],
    tiles: int,
    space: int,
) -> None:
    """Record what the threads did and waited for in a block, from what they had spent; busy last, as if all waits came first."""
    time = _follow(chip, lane, tiles, before[0], after[3] - before[3])
    time = _follow(chip, lane, PACK, time, after[4] - before[4])
    time = _follow(chip, lane, MATH, time, after[5] - before[5])
    _follow(chip, lane, name, time, after[6] - before[6])
    dst, busy = after[7] - before[7], after[8] - before[8]
    time = _follow(chip, lane + 1, UNPACK, before[1], after[1] - before[1] - dst - busy)
    time = _follow(chip, lane + 1, DST, time, dst)
    _follow(chip, lane + 1, name, time, busy)
    full, busy = after[9] - before[9], after[10] - before[10]
    time = _follow(chip, lane + 2, MATH, before[2], after[2] - before[2] - full - busy)
    time = _follow(chip, lane + 2, space, time, full)
    _follow(chip, lane + 2, name, time, busy)


@compiled
def _follow(chip: Any, lane: int, name: int, start: int, cycles: int) -> int:
    """Record what a lane did from a cycle on; when it ended."""
    record(chip, lane, name, start, start + cycles)
    return start + cycles


# -- hand-shakes of circular buffers -----------------------------------------------------------------------------


@compiled
def wait_front(chip: Any, r: int, op: Any) -> int:
    """Hold the unpacker until it can see tiles."""
    b = chip.riscs[r].buffers + op.buffer
    if not _pushed(chip, r, b, op.tiles):
        return WAITS
    _see(chip, r, b, op.tiles, 0)
    return DONE


@compiled
def reserve_back(chip: Any, r: int, op: Any) -> int:
    """Hold the packer until tiles are free."""
    risc = chip.riscs[r]
    t, b = chip.tensixes[risc.core], risc.buffers + op.buffer
    buffer = chip.buffers[b]
    if buffer.tiles - buffer.pushed + buffer.acked < op.tiles:
        buffer.producer = r
        risc.step = 1
        return WAITS
    since = chip.state[0].now
    if risc.step and since > t.pack:
        chip.waits[risc.waits + buffer.wait_space] += since - t.pack
        t.pack = _follow(chip, risc.lane + 2, buffer.wait_space, t.pack, since - t.pack)
    spend_on_pack(chip, r, op.name, chip.state[0].cb_wait, 0)
    return DONE


@compiled
def push_back(chip: Any, r: int, op: Any) -> int:
    """Hand tiles over when the packer has packed what came before."""
    risc = chip.riscs[r]
    spend_on_pack(chip, r, op.name, chip.state[0].cb_update, 0)
    push(chip, risc.buffers + op.buffer, op.tiles, chip.tensixes[risc.core].pack)
    return DONE


@compiled
def pop_front(chip: Any, r: int, op: Any) -> int:
    """Give tiles back when the unpacker has read what came before."""
    risc = chip.riscs[r]
    t, cycles = chip.tensixes[risc.core], chip.state[0].cb_update
    t.unpack = _follow(chip, risc.lane, op.name, t.unpack, cycles)
    t.popping += cycles
    return int(give_back(chip, risc.buffers + op.buffer, op.tiles, t.unpack))


@compiled
def give_back(chip: Any, b: int, tiles: int, time: int) -> int:
    """Pop tiles at a cycle, if they are there."""
    if chip.buffers[b].received - chip.buffers[b].popped < tiles:
        chip.state[0].why = MISSING
        return TELLS
    pop(chip, b, tiles, time)
    return DONE


@compiled
def hand_over(chip: Any, r: int) -> int:
    """Hold the unpacker until all that came before is packed, by a semaphore from pack to unpack."""
    risc = chip.riscs[r]
    t = chip.tensixes[risc.core]
    packed = t.pack + chip.state[0].handshake
    if packed > t.unpack:
        t.unpack_pack += packed - t.unpack
        t.unpack = _follow(chip, risc.lane, PACK, t.unpack, packed - t.unpack)
    return DONE


@compiled
def spend_on_pack(chip: Any, r: int, name: int, cycles: int, vector: int) -> int:
    """Work of the pack thread outside windows; `vector` of its cycles are the vector unit's."""
    risc = chip.riscs[r]
    t = chip.tensixes[risc.core]
    t.pack = _follow(chip, risc.lane + 2, name, t.pack, cycles)
    t.pack_busy += cycles
    t.sfpu += vector
    return DONE


@compiled
def _pushed(chip: Any, r: int, b: int, tiles: int) -> bool:
    """Whether tiles have been pushed; if not, the kernel waits for more."""
    buffer = chip.buffers[b]
    if buffer.received - buffer.popped >= tiles:
        return True
    buffer.consumer = r
    return False


@compiled
def _see(chip: Any, r: int, b: int, tiles: int, setup: int) -> None:
    """Hold the unpacker until it can see tiles that have been pushed, `setup` cycles later."""
    risc = chip.riscs[r]
    t = chip.tensixes[risc.core]
    arrival = visible_at(chip, b, tiles) - setup
    if arrival > t.unpack:
        name = chip.buffers[b].wait_tiles
        chip.waits[risc.waits + name] += arrival - t.unpack
        t.unpack = _follow(chip, risc.lane, name, t.unpack, arrival - t.unpack)
