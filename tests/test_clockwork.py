"""The kernels' part of the compiled loop: what happens when, what each end of a buffer sees and when, and who waits for whom."""

from typing import Any

import pytest
from clockwork import SEMAPHORES, SPACE, TILES, WORK, Clockwork
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tensix_sim.hw import agenda, buffers, riscs, threads
from tensix_sim.hw.agenda import ORDER_BITS, RAISE
from tensix_sim.hw.silicon import CAUSES
from tensix_sim.hw.tables import COUNT, NOBODY, SPAN, TENSIX, rows
from tensix_sim.hw.tensix import Stage, Window
from tensix_sim.program import Role
from tensix_sim.trace.causes import BANK, LATENCY, LINK, PACK

VISIBLE = 7


def seen(silicon: Clockwork, b: int, tiles: int) -> list[int]:
    """Cycles from which the first one, two, ... tiles are seen."""
    return [buffers.visible_at(silicon.cores, b, n) for n in range(1, tiles + 1)]


# -- the agenda ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 6), st.none()), max_size=150), st.sampled_from([1 << ORDER_BITS, 1, 2, 10, 60]))
@example([(7 * i) % 5 for i in range(200)], 100)
def test_events_happen_by_cycle_and_within_a_cycle_as_they_were_planned(acts: list[int | None], numbers_left: int) -> None:
    """Planned any number of cycles ahead and taken in between; also where events are numbered anew, and where room grows."""
    silicon, planned = Clockwork(), list[tuple[int, int]]()
    silicon.state["sequence"] = (1 << ORDER_BITS) - numbers_left
    for number, ahead in enumerate(acts + [None] * len(acts)):
        if ahead is not None:
            time = int(silicon.state["now"]) + ahead
            silicon.plan(time, RAISE, 2 * number, number)
            planned.append((time, number))
        elif planned:
            time, first = min(planned)
            planned.remove((time, first))
            assert agenda.next_time(silicon.cores) == time
            event = silicon.cores.events[agenda.take(silicon.cores)]
            assert (event["kind"], event["place"], event["number"], silicon.state["now"]) == (RAISE, 2 * first, first, time)
    assert silicon.state["planned"] == 0


def test_numbers_begin_anew_before_they_run_into_the_cycle() -> None:
    """The last number of all is used, then come those of what is planned and the next one."""
    silicon = Clockwork()
    silicon.state["sequence"] = (1 << ORDER_BITS) - 2
    for expected in ((1 << ORDER_BITS) - 1, 1 << ORDER_BITS, 3, 4):
        silicon.plan(5, RAISE, 0)
        assert silicon.state["sequence"] == expected


def test_the_clockwork_goes_up_to_a_cycle_and_not_beyond() -> None:
    """What is planned for that cycle happens, what is planned for the next one does not."""
    silicon = Clockwork()
    s = silicon.add_semaphore()
    for time in (19, 20, 21):
        silicon.plan(time, RAISE, s, 1)
    assert silicon.run(20) == NOBODY
    assert (silicon.cores.semaphores[s]["value"], silicon.state["now"], silicon.due) == (2, 20, 21)


# -- what each end of a buffer sees --------------------------------------------------------------------------


def test_waits_are_cumulative_and_see_the_push_that_completes_them() -> None:
    """The first n tiles are visible when the push that brought tile n is; looking takes nothing."""
    silicon = Clockwork(visible=VISIBLE)
    b = silicon.add_buffer(8)
    for tiles, time in ((2, 3), (1, 8), (3, 33)):
        buffers.push(silicon.cores, b, tiles, time)
    assert seen(silicon, b, 6) == seen(silicon, b, 6) == [10, 10, 15, 40, 40, 40]
    buffers.pop(silicon.cores, b, 3, 0)
    assert seen(silicon, b, 3) == [40, 40, 40]
    buffers.push(silicon.cores, b, 1, 43)
    assert seen(silicon, b, 4) == [40, 40, 40, 50]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_tile_is_seen_when_what_brought_or_changed_it_last_was(data: st.DataObject) -> None:
    """Any pushes, pops and changes of the newest parts, round after round of the buffer: as if each tile had a note on it."""
    silicon, size, clock = Clockwork(visible=VISIBLE), data.draw(st.integers(1, 6), label="size"), 0
    b = silicon.add_buffer(size, "compute", "compute")
    parts: list[tuple[int, int]] = []  # of what is there: tiles, cycle
    for act in data.draw(st.lists(st.sampled_from(["push", "pop", "change"]), max_size=40), label="acts"):
        there = sum(tiles for tiles, _ in parts)
        clock += data.draw(st.integers(0, 9), label="later")
        if act == "push" and there < size:
            tiles = data.draw(st.integers(1, size - there), label="pushed")
            buffers.push(silicon.cores, b, tiles, clock)
            parts.append((tiles, clock + VISIBLE))
        elif act == "pop" and there:
            tiles = data.draw(st.integers(1, there), label="popped")
            buffers.pop(silicon.cores, b, tiles, clock)
            while tiles:
                first, time = parts.pop(0)
                if first > tiles:
                    parts.insert(0, (first - tiles, time))
                tiles -= min(first, tiles)
        elif act == "change" and there:
            older = data.draw(st.integers(0, len(parts) - 1), label="older parts")
            changed = sum(tiles for tiles, _ in parts[older:])
            end = int(silicon.buffer(b)["pushed"])
            buffers.forget_newest(silicon.cores, b, end - changed)
            buffers.log(silicon.cores, b, end, clock)
            parts[older:] = [(changed, clock)]
        assert seen(silicon, b, sum(tiles for tiles, _ in parts)) == [time for tiles, time in parts for _ in range(tiles)]
        if act != "pop" and parts:
            assert silicon.buffer(b)["settled"] == parts[-1][1]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_full_buffer_of_single_tiles_knows_each_of_them(size: int) -> None:
    """As many pushes as tiles are remembered, and no popped one beside them, round after round."""
    silicon = Clockwork(visible=VISIBLE)
    b = silicon.add_buffer(size, "compute", "compute")
    for n in range(4 * size):
        if n >= size:
            buffers.pop(silicon.cores, b, 1, n)
        buffers.push(silicon.cores, b, 1, 10 * n)
        first = max(0, n + 1 - size)
        assert seen(silicon, b, n + 1 - first) == [10 * i + VISIBLE for i in range(first, n + 1)]


def test_a_push_in_the_future_is_seen_then_and_not_a_cycle_before() -> None:
    """The compute kernel runs ahead: its push at cycle 20 is on its way for 7, the writer sees it at 27, at 26 it does not."""
    silicon = Clockwork(visible=VISIBLE)
    b = silicon.add_buffer(8, "compute", "writer")
    buffers.push(silicon.cores, b, 2, 20)
    assert (silicon.buffer(b)["pushed"], silicon.buffer(b)["received"]) == (2, 0)
    silicon.run(26)
    assert silicon.buffer(b)["received"] == 0
    silicon.run(27)
    assert silicon.buffer(b)["received"] == 2


@pytest.mark.parametrize(("now", "events"), [(0, 1), (26, 1), (27, 0), (28, 0)])
def test_a_push_that_has_been_seen_by_now_needs_no_event(now: int, events: int) -> None:
    """A compute kernel that lags behind the clock: what it pushed at 20 is there for the writer at once from 27 on."""
    silicon = Clockwork(visible=VISIBLE, now=now)
    b = silicon.add_buffer(8, "compute", "writer")
    buffers.push(silicon.cores, b, 2, 20)
    assert (silicon.state["planned"], silicon.buffer(b)["received"]) == (events, 0 if events else 2)


def test_a_compute_kernel_is_told_at_once_and_looks_up_the_cycle() -> None:
    """The reader's push at 20 reaches it at 20, since its own clocks say how far it is; its unpacker sees the tiles from 27."""
    silicon = Clockwork(visible=VISIBLE, now=20)
    b = silicon.add_buffer(8)
    buffers.push(silicon.cores, b, 2, 20)
    assert (silicon.state["planned"], silicon.buffer(b)["received"], seen(silicon, b, 2)) == (0, 2, [27, 27])


def test_a_pop_in_the_future_frees_its_space_then_and_not_a_cycle_before() -> None:
    """The compute kernel's pop at cycle 20 gives the reader space at 20, at 19 it does not: no way back is charged."""
    silicon = Clockwork(visible=VISIBLE)
    b = silicon.add_buffer(4)
    buffers.push(silicon.cores, b, 4, 0)
    buffers.pop(silicon.cores, b, 2, 20)
    assert (silicon.buffer(b)["popped"], silicon.buffer(b)["acked"]) == (2, 0)
    silicon.run(19)
    assert silicon.buffer(b)["acked"] == 0
    silicon.run(20)
    assert silicon.buffer(b)["acked"] == 2


@pytest.mark.parametrize(("now", "events"), [(0, 1), (19, 1), (20, 0), (21, 0)])
def test_a_pop_that_has_passed_needs_no_event(now: int, events: int) -> None:
    """A compute kernel that lags behind the clock frees its space at once."""
    silicon = Clockwork(now=now)
    b = silicon.add_buffer(4)
    buffers.push(silicon.cores, b, 4, 0)
    buffers.pop(silicon.cores, b, 2, 20)
    assert (silicon.state["planned"], silicon.buffer(b)["acked"]) == (events, 0 if events else 2)


def test_a_private_buffer_needs_no_event() -> None:
    """Both ends with the compute kernel: pushes and pops in its future are done at once, and nothing is planned."""
    silicon = Clockwork(visible=VISIBLE)
    b = silicon.add_buffer(4, "compute", "compute")
    buffers.push(silicon.cores, b, 4, 73)
    assert (silicon.buffer(b)["received"], seen(silicon, b, 4)) == (4, [80] * 4)
    buffers.pop(silicon.cores, b, 4, 90)
    assert (silicon.buffer(b)["acked"], silicon.state["planned"]) == (4, 0)


def test_the_count_of_a_shared_buffer_is_what_both_ends_can_see_by_the_clock() -> None:
    """Pushed at 3 and 33, popped at 20: two tiles from 10 on, one from 20 on, two from 40 on, though all was done before."""
    silicon = Clockwork(visible=VISIBLE, zones=1)
    b = silicon.add_buffer(4, "compute", "writer")
    silicon.add("counts", rows(COUNT, 8))
    silicon.buffer(b)["series"] = 5
    for tiles, time in ((2, 3), (1, 33)):
        buffers.push(silicon.cores, b, tiles, time)
    buffers.pop(silicon.cores, b, 1, 20)
    silicon.run(40)
    assert silicon.cores.counts[: silicon.state["counts"]].tolist() == [(5, 10, 2), (5, 20, 1), (5, 40, 2)]


# -- what a verb waits for and hands over --------------------------------------------------------------------


def stage(pack: int, **more: int) -> Stage:
    """One window that takes nothing but its pack."""
    return Stage(Window(0, 0, 0, 0, 0, 0, pack), **more)


def run_verb(silicon: Clockwork, risc: int, stages: list[Stage], **fields: int) -> None:
    """Have the threads run the stages of a verb, and let all happen that can at cycle 0."""
    silicon.give(risc, riscs.RUN, block=silicon.add_block(stages), **fields)
    silicon.run(0)


@pytest.mark.parametrize("consumer", ["compute", "writer"])
def test_a_push_in_parts_is_so_many_pushes(consumer: Role) -> None:
    """Parts of a block's output are pushed each when its stage is packed, here every second one from the second on."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(6, "compute", consumer), silicon.add_risc()
    packs = (60, 45, 3, 1, 20, 1)  # ends at 105, 109 and 130
    run_verb(silicon, risc, [stage(n) for n in packs], out=b, out_tiles=6, out_first=1, out_parts=3, out_step=2)
    assert seen(silicon, b, 6) == [112, 112, 116, 116, 137, 137]
    assert (silicon.buffer(b)["settled"], silicon.buffer(b)["pushed"]) == (137, 6)
    for cycle, there in ((111, 0), (112, 2), (115, 2), (116, 4), (136, 4), (137, 6)):
        silicon.run(cycle)
        assert silicon.buffer(b)["received"] == (6 if consumer == "compute" else there)


@pytest.mark.parametrize(("early", "pushed_at"), [(0, 105), (44, 61), (45, 60), (46, 60), (200, 60)])
def test_what_is_pushed_early_is_so_many_cycles_sooner_but_not_before_its_stage(early: int, pushed_at: int) -> None:
    """The stages are packed at 60 and at 105."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2, "compute", "compute"), silicon.add_risc()
    run_verb(silicon, risc, [stage(60), stage(45)], out=b, out_tiles=2, out_first=1, out_parts=1, early_stage=0, early=early)
    assert seen(silicon, b, 2) == [pushed_at + VISIBLE] * 2


@pytest.mark.parametrize("popped", [0, 2])
def test_tiles_that_change_in_place_are_seen_when_they_are_packed_anew(popped: int) -> None:
    """All that a buffer holds, in two parts; what was known of it before is forgotten."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(4, "compute", "compute"), silicon.add_risc()
    buffers.push(silicon.cores, b, 4, 1000)
    buffers.pop(silicon.cores, b, popped, 1000)
    tiles = 4 - popped
    run_verb(silicon, risc, [stage(60), stage(10)], changed=b, changed_tiles=tiles, changed_parts=2, changed_step=1)
    assert seen(silicon, b, tiles) == [67] * (tiles // 2) + [77] * (tiles // 2)
    assert (silicon.buffer(b)["settled"], silicon.buffer(b)["received"], silicon.buffer(b)["popped"]) == (77, 4, popped)


@pytest.mark.parametrize("older", [0, 2, 4])
def test_what_is_older_than_the_tiles_that_change_keeps_its_cycle(older: int) -> None:
    """Pushed two by two: so many keep the cycle at which they were seen, the others are seen when they are packed anew."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(8, "compute", "compute"), silicon.add_risc()
    for time in (3, 13, 23):
        buffers.push(silicon.cores, b, 2, time)
    run_verb(silicon, risc, [stage(100)], changed=b, changed_tiles=6 - older, changed_parts=1, older=older)
    assert seen(silicon, b, 6) == [10, 10, 20, 20, 30, 30][:older] + [107] * (6 - older)


@pytest.mark.parametrize("now", [0, 9, 10, 11, 39, 40, 41])
@pytest.mark.parametrize("popped", [0, 1, 4])
def test_the_wait_of_a_stage_is_that_for_its_first_tiles(now: int, popped: int) -> None:
    """Numbers that meet no push's end wait for the push that covers them; what is seen already, and nothing, have no wait."""
    silicon = Clockwork()
    b = silicon.add_buffer(12, "compute", "compute")
    for tiles, time in ((2, 10), (2, 16), (2, 30), (2, 35), (2, 40)):
        buffers.push(silicon.cores, b, tiles, time)
    buffers.pop(silicon.cores, b, popped, 0)
    times = {1: 10, 2: 10, 3: 16, 4: 16, 5: 30, 6: 30, 7: 35, 8: 35, 9: 40, 10: 40}
    for needs in ([0], [0, 1, 5], [1, 2, 3, 6], [6, 6], [3]):
        risc = silicon.add_risc(unpack=now)
        first, end = silicon.add_numbers(*needs)
        block = silicon.add_block([stage(0)] * len(needs))
        op = silicon.add_operation(riscs.RUN, block=block, source=b, needs=first, needs_end=end)
        tables = silicon.cores
        threads.schedule(tables, risc, tables.operations[op], 0)
        waited = int(silicon.threads(risc)["unpack_tiles"])
        assert waited == max(0, *(times[popped + n] - now for n in needs if n), 0)
        assert silicon.threads(risc)["unpack"] == now + waited


@pytest.mark.parametrize(("setup", "begins"), [(0, 27), (19, 27), (26, 27), (27, 27), (28, 28), (70, 70)])
def test_set_up_hides_behind_the_wait_for_a_verbs_inputs(setup: int, begins: int) -> None:
    """Tiles that are seen at 27: the unpacker has set up by then, or later if that takes longer; the rest is the wait."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2), silicon.add_risc()
    buffers.push(silicon.cores, b, 2, 20)
    first, end = silicon.add_numbers(b, 2)
    silicon.give(risc, riscs.RUN, block=silicon.add_block([stage(0, unpack_setup=setup)]), inputs=first, inputs_end=end)
    silicon.run(19)
    assert silicon.done(risc) == 0
    silicon.run(20)
    assert silicon.done(risc) == 1
    assert silicon.threads(risc)["unpack"] == begins
    assert silicon.waited(risc, TILES) == begins - setup


@pytest.mark.parametrize("pushed_at", [(10, 20), (20, 10), (20, 20)])
def test_a_verb_begins_when_all_of_all_its_inputs_is_there(pushed_at: tuple[int, int]) -> None:
    """Two tiles of each of two buffers, whichever comes last; one of the later one's is there from the start."""
    silicon = Clockwork(visible=VISIBLE)
    inputs, risc = [silicon.add_buffer(2) for _ in pushed_at], silicon.add_risc()
    for b in inputs:
        buffers.push(silicon.cores, b, 1, 0)
    first, end = silicon.add_numbers(*(number for b in inputs for number in (b, 2)))
    silicon.give(risc, riscs.RUN, block=silicon.add_block([stage(0)]), inputs=first, inputs_end=end)
    for b, time in zip(inputs, pushed_at, strict=True):
        buffers.push(silicon.cores, b, 1, time)
    for cycle, done in ((0, 0), (19, 0), (20, 1)):
        silicon.run(cycle)
        assert silicon.done(risc) == done
    assert silicon.threads(risc)["unpack"] == silicon.waited(risc, TILES) == 27


def test_a_verb_begins_when_its_last_stages_tiles_are_pushed_and_waits_stage_by_stage() -> None:
    """Pushed at 10 and 20, seen at 17 and 27: its stages, of 5 cycles each, wait for 17 cycles and then for 5."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2), silicon.add_risc()
    first, end = silicon.add_numbers(1, 2)
    block = silicon.add_block([Stage(Window(5, 5, 0, 0, 0, 0, 0))] * 2)
    silicon.give(risc, riscs.RUN, block=block, source=b, needs=first, needs_end=end)
    for time in (10, 20):
        buffers.push(silicon.cores, b, 1, time)
    for cycle, done in ((0, 0), (19, 0), (20, 1)):
        silicon.run(cycle)
        assert silicon.done(risc) == done
    assert silicon.threads(risc)["unpack"] == 32
    assert (silicon.waited(risc, TILES), silicon.waited(risc, SPACE)) == (22, 0)


@pytest.mark.parametrize(("popped_at", "packs_from"), [(49, 50), (50, 50), (51, 51), (400, 400)])
def test_a_verb_waits_for_the_space_of_its_output(popped_at: int, packs_from: int) -> None:
    """Space that is given back later than math is done, at 50, holds the packer and nobody else."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2, "compute", "writer"), silicon.add_risc()
    buffers.push(silicon.cores, b, 2, 0)
    silicon.give(
        risc, riscs.RUN, block=silicon.add_block([Stage(Window(1, 1, 49, 0, 49, 49, 10))]), out=b, out_tiles=2, out_parts=1
    )
    buffers.pop(silicon.cores, b, 2, popped_at)
    silicon.run(popped_at - 1)
    assert silicon.done(risc) == 0
    silicon.run(popped_at)
    assert silicon.done(risc) == 1
    assert [silicon.threads(risc)[clock] for clock in ("unpack", "math", "pack")] == [1, 50, packs_from + 10]
    assert silicon.waited(risc, SPACE) == silicon.threads(risc)["pack_space"] == packs_from - 50
    assert seen(silicon, b, 2) == [packs_from + 10 + VISIBLE] * 2


# -- hand-shakes of a compute kernel's own --------------------------------------------------------------------


@pytest.mark.parametrize(("unpack", "waits"), [(0, 27), (26, 1), (27, 0), (90, 0)])
def test_an_unpacker_that_waits_is_held_until_it_can_see_the_tiles(unpack: int, waits: int) -> None:
    """One is pushed at 10, the other one at 20; both are seen at 27."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2), silicon.add_risc(unpack=unpack)
    silicon.give(risc, riscs.WAIT_FRONT, buffer=b, tiles=2)
    for time in (10, 20):
        buffers.push(silicon.cores, b, 1, time)
    silicon.run(19)
    assert silicon.done(risc) == 0
    silicon.run(20)
    assert (silicon.done(risc), silicon.threads(risc)["unpack"], silicon.waited(risc, TILES)) == (1, unpack + waits, waits)


@pytest.mark.parametrize(("pack", "waits"), [(0, 20), (19, 1), (20, 0), (90, 0)])
def test_a_packer_that_reserves_is_held_until_the_pop_and_pays_for_its_look(pack: int, waits: int) -> None:
    """The writer gives the space back at 20."""
    silicon = Clockwork(cb_wait=40)
    b, risc = silicon.add_buffer(2, "compute", "writer"), silicon.add_risc(pack=pack)
    buffers.push(silicon.cores, b, 2, 0)
    silicon.give(risc, riscs.RESERVE_BACK, buffer=b, tiles=1)
    silicon.run(0)
    buffers.pop(silicon.cores, b, 1, 20)
    silicon.run(20)
    assert (silicon.done(risc), silicon.waited(risc, SPACE)) == (1, waits)
    assert silicon.threads(risc)["pack"] == pack + waits + 40


def test_a_packer_pushes_and_an_unpacker_pops_behind_what_came_before() -> None:
    """Each by its own clock, after the cycles of the call."""
    silicon = Clockwork(visible=VISIBLE, cb_update=30)
    out, source = silicon.add_buffer(2, "compute", "writer"), silicon.add_buffer(2)
    risc = silicon.add_risc(unpack=100, pack=500)
    buffers.push(silicon.cores, source, 2, 0)
    silicon.give(risc, riscs.PUSH_BACK, buffer=out, tiles=2)
    silicon.give(risc, riscs.POP_FRONT, buffer=source, tiles=1)
    for cycle, popped, pushed in ((129, 0, 0), (130, 1, 0), (536, 1, 0), (537, 1, 2)):
        silicon.run(cycle)
        assert (silicon.buffer(source)["acked"], silicon.buffer(out)["received"]) == (popped, pushed)
    tensix = silicon.threads(risc)
    assert (tensix["unpack"], tensix["popping"], tensix["pack"], tensix["pack_busy"]) == (130, 30, 530, 30)


def test_work_outside_windows_keeps_the_pack_thread_busy_and_of_it_the_vector_unit() -> None:
    """Nobody else."""
    silicon = Clockwork()
    risc = silicon.add_risc(pack=100)
    silicon.give(risc, riscs.SPEND_ON_PACK, cycles=30, vector=20, name=WORK)
    silicon.run(0)
    changed = {field: int(silicon.threads(risc)[field]) for field in TENSIX.names or () if silicon.threads(risc)[field]}
    assert changed == {"pack": 130, "pack_busy": 30, "sfpu": 20}


@pytest.mark.parametrize(("pack", "waits"), [(0, 0), (80, 0), (81, 1), (300, 220)])
def test_a_hand_over_holds_the_unpacker_until_all_is_packed(pack: int, waits: int) -> None:
    """And a semaphore's handshake of 20 more; it is at 100 itself. The wait is of the line that asked for it."""
    silicon = Clockwork(handshake=20, zones=1)
    silicon.add("spans", rows(SPAN, 8))
    risc = silicon.add_risc(unpack=100, pack=pack)
    silicon.give(risc, riscs.HAND_OVER, line=7)
    silicon.run(0)
    assert (silicon.threads(risc)["unpack"], silicon.threads(risc)["unpack_pack"]) == (100 + waits, waits)
    spans = silicon.cores.spans[: silicon.state["spans"]].tolist()
    assert spans == ([(0, CAUSES.index(PACK), 100, 100 + waits, 7)] if waits else [])


# -- RISCs --------------------------------------------------------------------------------------------------


def test_a_reserve_waits_until_the_cycle_of_the_pop_that_makes_enough_room() -> None:
    """The compute kernel gives one tile back at 10 and one at 20; two are free at 20, at 19 they are not."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2), silicon.add_risc()
    for _ in range(2):
        silicon.give(risc, riscs.RESERVE, buffer=b, tiles=2)
        silicon.give(risc, riscs.PUSH, buffer=b, tiles=2)
    silicon.run(0)
    for time in (10, 20):
        buffers.pop(silicon.cores, b, 1, time)
    for cycle, done in ((0, 2), (19, 2), (20, 4)):
        silicon.run(cycle)
        assert silicon.done(risc) == done
    assert silicon.waited(risc, SPACE) == 20
    assert seen(silicon, b, 2) == [27, 27]


def test_a_wait_ends_at_the_cycle_at_which_enough_tiles_are_seen() -> None:
    """The compute kernel pushes one tile at 3 and one at 13: the writer has two at 20, at 19 it has not."""
    silicon = Clockwork(visible=VISIBLE)
    b, risc = silicon.add_buffer(2, "compute", "writer"), silicon.add_risc()
    silicon.give(risc, riscs.WAIT, buffer=b, tiles=2)
    silicon.give(risc, riscs.POP, buffer=b, tiles=2)
    for time in (3, 13):
        buffers.push(silicon.cores, b, 1, time)
    for cycle, done in ((0, 0), (19, 0), (20, 2)):
        silicon.run(cycle)
        assert silicon.done(risc) == done
    assert (silicon.waited(risc, TILES), silicon.buffer(b)["acked"]) == (20, 2)


@pytest.mark.parametrize(("name", "waited"), [(TILES, 20), (WORK, 0)])
def test_what_a_risc_spends_passes_and_counts_as_a_wait_if_it_has_the_name_of_a_cause(name: int, waited: int) -> None:
    """Nothing that comes behind it is done a cycle before."""
    silicon = Clockwork()
    risc = silicon.add_risc()
    for cycles in (20, 5):
        silicon.give(risc, riscs.SPEND, cycles=cycles, name=name)
        name = WORK
    for cycle, done in ((0, 0), (19, 0), (20, 1), (24, 1), (25, 2)):
        silicon.run(cycle)
        assert silicon.done(risc) == done
    assert silicon.waited(risc, TILES) == silicon.cores.waits.sum() == waited


def test_a_semaphore_that_is_raised_at_a_cycle_is_seen_then() -> None:
    """Raised at 10 from a distance of 5 cycles, by 1 and by 2: who waits for 3 goes on at 15, at 14 it does not."""
    silicon = Clockwork()
    s, sender, waiter = silicon.add_semaphore(), silicon.add_risc(), silicon.add_risc()
    there = silicon.add("lists", (s, 5))
    silicon.give(waiter, riscs.SEMAPHORE_WAIT, semaphore=s, value=3)
    silicon.give(sender, riscs.SPEND, cycles=9)
    silicon.give(sender, riscs.SEMAPHORE_INCREASE, raises=there, raises_end=there + 2, value=1)
    silicon.give(sender, riscs.SPEND, cycles=1)
    silicon.give(sender, riscs.SEMAPHORE_INCREASE, raises=there, raises_end=there + 2, value=2)
    for cycle, value, done in ((13, 0, 0), (14, 1, 0), (15, 3, 1)):
        silicon.run(cycle)
        assert (silicon.cores.semaphores[s]["value"], silicon.done(waiter)) == (value, done)
    assert silicon.waited(waiter, SEMAPHORES) == 15


def told(silicon: Clockwork, until: int) -> list[int]:
    """RISCs of which there is to tell up to a cycle, in order; each has something to note."""
    found = []
    while (risc := silicon.run(until)) != NOBODY:
        assert silicon.state["why"] == riscs.NOTED
        found.append(risc)
    return found


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_that_wait_for_a_semaphore_are_woken_in_the_order_of_their_waits(order: tuple[int, int]) -> None:
    """Both within the cycle of its change, when who changed it waits itself; nobody is left to wake."""
    silicon = Clockwork()
    s, waiters, setter = silicon.add_semaphore(), [silicon.add_risc() for _ in range(2)], silicon.add_risc()
    for after, place in enumerate(order):
        silicon.give(waiters[place], riscs.SPEND, cycles=1 + after, name=WORK)
        silicon.give(waiters[place], riscs.SEMAPHORE_WAIT, semaphore=s, value=1)
        silicon.give(waiters[place], riscs.NOTE)
    silicon.give(setter, riscs.SPEND, cycles=10, name=WORK)
    silicon.give(setter, riscs.SEMAPHORE_SET, semaphore=s, value=1)
    silicon.give(setter, riscs.NOTE)
    assert told(silicon, 9) == []
    assert told(silicon, 10) == [setter, *(waiters[place] for place in order)]
    assert [silicon.cores.semaphores[s][waiter] for waiter in ("first", "second")] == [NOBODY, NOBODY]


def test_who_waits_for_more_goes_on_waiting() -> None:
    """Of two that wait, the one for whom the change is not enough is there for the next one."""
    silicon = Clockwork()
    s, patient, quick = silicon.add_semaphore(), silicon.add_risc(), silicon.add_risc()
    for risc, value in ((patient, 2), (quick, 1)):
        silicon.give(risc, riscs.SEMAPHORE_WAIT, semaphore=s, value=value)
        silicon.give(risc, riscs.NOTE)
    for time in (10, 20):
        silicon.plan(time, RAISE, s, 1)
    assert told(silicon, 19) == [quick]
    assert told(silicon, 20) == [patient]
    assert [silicon.waited(risc, SEMAPHORES) for risc in (patient, quick)] == [20, 10]


def test_who_is_woken_goes_on_before_who_woke_it() -> None:
    """The compute kernel takes up what the reader pushes before the reader does anything else."""
    silicon = Clockwork()
    b, reader, compute = silicon.add_buffer(2), silicon.add_risc(), silicon.add_risc()
    silicon.give(reader, riscs.SPEND, cycles=10, name=WORK)
    silicon.give(reader, riscs.PUSH, buffer=b, tiles=2)
    silicon.give(compute, riscs.WAIT_FRONT, buffer=b, tiles=2)
    for risc in (reader, compute):
        silicon.give(risc, riscs.NOTE)
    assert told(silicon, 10) == [compute, reader]


def test_a_risc_with_nothing_to_do_asks_for_more_until_there_is_no_more() -> None:
    """It is told of at the cycle of its last operation's end, again and again, until it has something or has ended."""
    silicon = Clockwork()
    risc = silicon.add_risc()
    silicon.give(risc, riscs.SPEND, cycles=10, name=WORK)
    silicon.cores.riscs[risc]["ended"] = False
    assert silicon.run(9) == NOBODY
    for _ in range(2):
        assert (silicon.run(50), silicon.state["why"], silicon.state["now"]) == (risc, riscs.STARVED, 10)
    silicon.give(risc, riscs.SPEND, cycles=10, name=WORK)
    assert silicon.run(50) == NOBODY
    assert (silicon.done(risc), silicon.state["now"]) == (2, 20)


@pytest.mark.parametrize("what", ["spans", "counts", "planned"])
@pytest.mark.parametrize("too_many", [False, True])
def test_no_operation_begins_without_room_for_all_that_it_may_record(what: str, too_many: bool) -> None:
    """The margin is the most that one may record or plan; with one place less there is to tell of it first."""
    silicon = Clockwork(margin=16)
    risc, s = silicon.add_risc(), silicon.add_semaphore()
    silicon.add("spans", rows(SPAN, 64))
    silicon.add("counts", rows(COUNT, 64))
    silicon.give(risc, riscs.SEMAPHORE_SET, semaphore=s, value=1)
    room = len(silicon.cores.events if what == "planned" else getattr(silicon.cores, what)) - 16 + too_many
    if what == "planned":
        for _ in range(room):  # beside the RISC's own start, which has happened by then
            silicon.plan(10, RAISE, s, 1)
    else:
        silicon.state[what] = room
    assert silicon.run(5) == (risc if too_many else NOBODY)
    assert silicon.cores.semaphores[s]["value"] == (not too_many)
    if too_many:
        assert silicon.state["why"] == riscs.FULL


@pytest.mark.parametrize(
    ("left", "parts"),
    [
        (100, (10, 30, 20, 40)),  # what no burst waited for is the latency of the way
        (60, (10, 30, 20, 0)),
        (59, (10, 30, 19, 0)),  # the last tile's waits, of which other tiles' issue is part
        (25, (10, 15, 0, 0)),
        (4, (4, 0, 0, 0)),
    ],
)
def test_the_cycles_of_a_transfer_are_its_issue_then_its_waits_and_no_more(left: int, parts: tuple[int, ...]) -> None:
    """Issue of 10, waits of 30 for banks and of 20 for links: they follow each other in the trace, up to the end."""
    silicon = Clockwork(zones=1, now=1000 + left)
    risc = silicon.add_risc()
    silicon.add("spans", rows(SPAN, 8))
    op = silicon.add_operation(riscs.MOVE, issue=10, name=WORK)
    record: Any = silicon.cores.riscs[risc]
    record["idle_from"], record["bank"], record["link"] = 1000, 30, 20
    riscs._spent_moving(silicon.cores, risc, silicon.cores.operations[op])
    names, start, expected = (WORK, *map(CAUSES.index, (BANK, LINK, LATENCY))), 1000, []
    for name, cycles in zip(names, parts, strict=True):
        expected += [(0, name, start, start + cycles, 0)] if cycles else []
        start += cycles
        assert name == WORK or silicon.waited(risc, name) == cycles
    assert silicon.cores.spans[: silicon.state["spans"]].tolist() == expected
    assert silicon.cores.riscs[risc]["idle_from"] == start == 1000 + left
