"""Circular buffers as kernels see them: the counters, the wrap rule, what may change in place, and the values in order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensix_sim.formats import BFLOAT16
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.program import BufferSpec, Role


def fifo(tiles: int = 8, producer: Role = "reader", consumer: Role = "compute", values: bool = True) -> CircularBuffer:
    """An empty buffer on an engine of its own."""
    return CircularBuffer(BufferSpec("x_in", tiles, BFLOAT16, producer, consumer), Engine(), "core (0,0) x_in", values)


def put(cb: CircularBuffer, tiles: int, block: np.ndarray | None = None) -> None:
    """Reserve, write and push, and have the consumer wait for all that is there."""
    cb.reserved = tiles
    cb.write(tiles, block)
    cb.push_written(tiles)
    cb.see(cb.front)


# -- counters -----------------------------------------------------------------------------------------------


def test_a_tile_is_space_then_present_then_space() -> None:
    """Reserve takes nothing, push makes tiles present, wait takes nothing, pop gives the space back."""
    cb = fifo(4)
    cb.reserved = 3
    assert (cb.space, cb.front) == (4, 0)
    cb.write(3)
    assert (cb.space, cb.front) == (4, 0)
    cb.push_written(3)
    assert (cb.space, cb.front) == (1, 3)
    cb.see(3)
    cb.pop(1)
    assert (cb.space, cb.front) == (2, 2)


def test_a_reservation_can_be_pushed_in_parts() -> None:
    """Reserve once, push tile by tile; not one more."""
    cb = fifo(4)
    cb.reserved = 3
    cb.write(3)
    for _ in range(3):
        cb.push_written(1)
    with pytest.raises(SimulationError, match=r"push of 1 tiles; 0 are reserved"):
        cb.push_written(1)


@pytest.mark.parametrize(
    ("reserve", "write", "push", "message"),
    [
        (2, 2, 3, "push of 3 tiles; 2 are reserved"),
        (0, 0, 1, "push of 1 tiles; 0 are reserved"),
        (2, 0, 1, "push of 1 tiles; only 0 of them were written"),
        (4, 3, 4, "push of 4 tiles; only 3 of them were written"),
    ],
)
def test_only_tiles_reserved_and_written_can_be_pushed(reserve: int, write: int, push: int, message: str) -> None:
    """A push of more is an error that names the buffer and both numbers."""
    cb = fifo(8)
    cb.reserved = reserve
    cb.write(write)
    with pytest.raises(SimulationError, match=rf"core \(0,0\) x_in: {message}"):
        cb.push_written(push)


def test_more_tiles_than_reserved_cannot_be_written() -> None:
    """A write past the reservation would run into tiles that the consumer still reads."""
    cb = fifo(4)
    put(cb, 3)
    cb.reserved = 1
    with pytest.raises(SimulationError, match="x_in"):
        cb.write(2)


@pytest.mark.parametrize(("present", "pop"), [(0, 1), (2, 3)])
def test_more_tiles_than_present_cannot_be_popped(present: int, pop: int) -> None:
    """A pop of tiles that are not there names the buffer and both numbers."""
    cb = fifo(4)
    if present:
        put(cb, present)
    with pytest.raises(SimulationError, match=rf"x_in: pop of {pop} tiles; {present} are there"):
        cb.pop(pop)


@pytest.mark.parametrize("use", [CircularBuffer.pop, CircularBuffer.check_front])
def test_what_was_not_waited_for_cannot_be_used(use: Any) -> None:
    """Another kernel's tiles are there early or late: only a wait says that they are, for as many tiles as it names."""
    cb = fifo(8)
    put(cb, 2)
    cb.reserved = 2
    cb.write(2)
    cb.push_written(2)
    with pytest.raises(SimulationError, match=r"x_in: (pop|use) of 3 tiles; 2 were waited for"):
        use(cb, 3)
    cb.see(3)
    use(cb, 3)


@pytest.mark.parametrize(("tiles", "legal"), [(0, False), (1, True), (8, True), (9, False), (-1, False)])
def test_a_request_must_be_possible_to_meet(tiles: int, legal: bool) -> None:
    """A buffer of 8 can be asked for 1 to 8 tiles."""
    if legal:
        fifo(8).check_request(tiles, "wait for")
    else:
        with pytest.raises(SimulationError, match=rf"wait for {tiles} tiles of a buffer that holds 8; ask for 1 to 8"):
            fifo(8).check_request(tiles, "wait for")


# -- the wrap rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["push", "pop"])
@pytest.mark.parametrize(("size", "before", "tiles", "away"), [(8, 6, 3, 2), (8, 7, 2, 1), (5, 4, 2, 1), (8, 14, 4, 2)])
def test_tiles_across_the_end_are_an_error(verb: str, size: int, before: int, tiles: int, away: int) -> None:
    """A push or pop that straddles the end says how far away the end is."""
    cb = fifo(size)
    for _ in range(before):
        put(cb, 1)
        cb.pop(1)
    if verb == "push":
        with pytest.raises(
            SimulationError, match=rf"write of {tiles} tiles runs over the buffer's end, which is {away} tiles away"
        ):
            put(cb, tiles)
    else:
        for _ in range(tiles):
            put(cb, 1)
        with pytest.raises(
            SimulationError, match=rf"pop of {tiles} tiles runs over the buffer's end, which is {away} tiles away"
        ):
            cb.pop(tiles)


@pytest.mark.parametrize(("size", "steps"), [(8, [6, 2, 8]), (8, [4, 4, 4, 4]), (6, [3, 2, 1, 6]), (1, [1, 1, 1])])
def test_the_pointers_wrap_when_they_meet_the_end(size: int, steps: list[int]) -> None:
    """Any steps that land on the end exactly are legal, round after round."""
    cb = fifo(size)
    for tiles in steps * 3:
        put(cb, tiles)
        cb.pop(tiles)
    assert cb.pushed == cb.popped == 3 * sum(steps)


def test_a_push_of_the_packer_ends_at_the_buffers_end() -> None:
    """Two tiles into one are the error of any write across the end."""
    cb = fifo(4, "compute", "compute")
    cb.push(3)
    cb.pop(3)
    with pytest.raises(SimulationError, match="write of 2 tiles runs over the buffer's end, which is 1 tiles away"):
        cb.push(2)


# -- in place -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("popped", "tiles", "legal"), [(0, 4, True), (2, 2, True), (2, 4, False), (0, 3, False), (0, 5, False)])
def test_tiles_change_in_place_when_they_are_all_there_is(popped: int, tiles: int, legal: bool) -> None:
    """A buffer that holds others as well would move them."""
    cb = fifo(8, "compute", "compute")
    cb.push(4)
    cb.pop(popped)
    if legal:
        cb.check_newest(tiles, 0)
        assert cb.front == tiles
    else:
        with pytest.raises(SimulationError, match=f"in-place change of {tiles} tiles .* it holds {4 - popped}"):
            cb.check_newest(tiles, 0)


@pytest.mark.parametrize(("older", "tiles", "legal"), [(4, 2, True), (2, 4, True), (0, 6, True), (0, 2, False), (4, 4, False)])
def test_the_newest_tiles_change_in_place_behind_a_known_number_of_older_ones(older: int, tiles: int, legal: bool) -> None:
    """The two must be all that the buffer holds, and the error tells of both."""
    cb = fifo(8, "compute", "compute")
    cb.push(6)
    if legal:
        cb.check_newest(tiles, older)
    else:
        before = f" and {older} before" if older else ""
        with pytest.raises(SimulationError, match=f"in-place change of {tiles} tiles .* just them{before}; it holds 6"):
            cb.check_newest(tiles, older)


def test_what_is_shared_does_not_change_in_place() -> None:
    """Its other end may be reading."""
    cb = fifo(2)
    put(cb, 2)
    with pytest.raises(SimulationError, match="a buffer of the compute kernel's own"):
        cb.check_newest(2, 0)


# -- values -------------------------------------------------------------------------------------------------


def grid(rows: int, cols: int, first: int = 0) -> np.ndarray:
    """Tiles numbered row by row from `first`, as [rows, 32, cols, 32]."""
    numbers = np.arange(first, first + rows * cols, dtype=np.float32).reshape(rows, 1, cols, 1)
    return np.ascontiguousarray(np.broadcast_to(numbers, (rows, 32, cols, 32)))


def numbers(block: np.ndarray) -> list[int]:
    """Tile numbers of a block in row-major order; every datum of a tile must be its number."""
    assert (block == block[:, :1, :, :1]).all()
    return [int(n) for n in block[:, 0, :, 0].reshape(-1)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_pushes_come_out_as_the_same_row_major_grid(data: st.DataObject) -> None:
    """Bands, rows and single tiles go in; blocks of other shapes come out; tile after tile is the same sequence."""
    pushes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=6), label="pushes")
    total = sum(rows * cols for rows, cols in pushes)
    cb = fifo(total)
    cb.reserved = total
    start = 0
    for rows, cols in pushes:
        cb.write(rows * cols, grid(rows, cols, start))
        cb.push_written(rows * cols)
        cb.see(cb.front)
        start += rows * cols
    seen = 0
    while seen < total:
        rows = data.draw(st.integers(1, min(6, total - seen)), label="rows")
        cols = data.draw(st.integers(1, (total - seen) // rows), label="cols")
        block = cb.block(rows, cols)
        assert block.shape == (rows, 32, cols, 32)
        assert numbers(block) == list(range(seen, seen + rows * cols))
        tiles = data.draw(st.integers(1, rows * cols), label="popped")
        cb.pop(tiles)
        seen += tiles
    assert not cb.values.blocks


def test_a_block_can_be_changed_in_place() -> None:
    """What was assembled from bands stays in front: a change is seen by the next look at it."""
    cb = fifo(4, "compute", "compute")
    for row in range(2):
        put(cb, 2, block=grid(1, 2, 2 * row))
    cb.block(2, 2)[:] += 10
    assert numbers(cb.block(2, 2)) == [10, 11, 12, 13]


def test_without_values_nothing_is_kept() -> None:
    """Shapes only: the counters count, and there is nothing to look at."""
    cb = fifo(4, values=False)
    put(cb, 4)
    cb.pop(2)
    assert cb.front == 2
    with pytest.raises(SimulationError, match="x_in: values of a program whose tensors have none"):
        cb.block(1, 2)


def test_rows_are_a_view_of_what_is_there() -> None:
    """Rows of bands that were pushed one by one, without a copy once they have been put together."""
    cb = fifo(8)
    for row in range(4):
        put(cb, 2, block=grid(1, 2, 2 * row))
    assert numbers(cb.rows(1, 3, 2)) == [2, 3, 4, 5]
    assert np.shares_memory(cb.rows(0, 1, 2), cb.rows(0, 4, 2))
    cb.pop(2)
    assert numbers(cb.rows(0, 1, 2)) == [2, 3]
    with pytest.raises(SimulationError, match="use of 8 tiles; 6 are there"):
        cb.rows(3, 4, 2)


def test_rows_of_one_chunk_do_not_mind_the_next_one_beyond_the_end() -> None:
    """Two chunks in bands of a row, the second across the end of the buffer: whoever reads the first sees its rows."""
    cb = fifo(4)
    put(cb, 2, block=grid(2, 1))
    cb.pop(2)
    for row in range(4):
        put(cb, 1, block=grid(1, 1, 10 + row))
    assert numbers(cb.rows(0, 1, 1)) == [10]
    assert numbers(cb.rows(1, 2, 1)) == [11]
    cb.pop(2)
    assert numbers(cb.rows(0, 2, 1)) == [12, 13]


def test_addressed_memory_is_nan_until_written_and_stays_where_it_is() -> None:
    """A grid is the buffer's own memory: its front moves with pops and wraps, its rows do not."""
    cb = fifo(4, "compute", "compute")
    memory = cb.values.grid(2)
    assert memory.shape == (2, 32, 2, 32)
    assert np.isnan(memory).all()
    memory[:] = grid(2, 2)
    cb.push(4)
    assert numbers(cb.block(2, 2)) == [0, 1, 2, 3]
    cb.pop(2)
    assert numbers(cb.block(1, 2)) == [2, 3]
    cb.pop(2)
    cb.push(2)
    assert numbers(cb.block(1, 2)) == [0, 1]
    assert np.shares_memory(cb.values.grid(2), memory)
    assert fifo(3, "compute", "compute").values.grid(1, 1).shape == (3, 32, 1, 1)
