"""The verbs a kernel may call: when each of them is done, what it moves, and what it refuses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tensix_sim import Ran
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, FLOAT32, round_bf16, round_bf16_even
from tensix_sim.hw import DeadlockError, SimulationError
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.kernel_api import (
    Add,
    BufferSpec,
    Compute,
    ComputeConfig,
    DataMovement,
    Kernel,
    Matmul,
    MulColumn,
    Program,
    Tensor,
)
from tensix_sim.program import Role
from tensix_sim.trace import Cause

P100 = machine("p100a")
WORMHOLE = machine("n150").chip.numbers
NOC, TENSIX = P100.chip.noc, P100.chip.tensix
ONES = np.ones((1, 32, 1, 32), np.float32)


def program(
    kernels: dict[str, Any],
    buffers: tuple[BufferSpec, ...] = (),
    tensors: tuple[Tensor, ...] = (),
    grid: tuple[int, int] = (1, 1),
    config: ComputeConfig = ComputeConfig(),  # noqa: B008
) -> Program:
    """Kernels by role, the same on every core; a kernel's argument is its core's number."""
    made = tuple(Kernel(role, function, range(grid[0] * grid[1])) for role, function in kernels.items())  # type: ignore[arg-type]
    return Program(grid, buffers, made, tensors, config, semaphores=("go",))


def cb(
    name: str, tiles: int, producer: Any = "reader", consumer: Any = "compute", resident: bool = False, fmt: Any = BFLOAT16
) -> BufferSpec:
    """A buffer, bfloat16 where nothing else is said."""
    return BufferSpec(name, tiles, fmt, producer, consumer, resident)


async def spend(dm: DataMovement, tensor: Tensor, scratch: str = "scratch") -> None:
    """Let time pass: read a page into a buffer that nobody else uses."""
    (into,) = dm.cbs(scratch)
    await dm.reserve(into, 1)
    await dm.read(tensor, [0], into, (1, 1))
    dm.push(into, 1)


class Threads(NamedTuple):
    """Where the threads of a compute kernel are."""

    unpack: int
    math: int
    pack: int


def cycle(ran: Ran, role: Role, note: str, core: tuple[int, int] = (0, 0)) -> int:
    """When a data-movement kernel made a note."""
    (noted,) = ran.contexts[core, role].notes[note]
    return noted


def threads(ran: Ran, note: str, core: tuple[int, int] = (0, 0)) -> Threads:
    """Where the threads of a compute kernel were when it made a note."""
    return Threads(*ran.contexts[core, "compute"].notes[note])


def hold_unpack(t: Compute, cycles: int) -> None:
    """Let the unpacker stand still until so many cycles after what the packer has done so far."""
    t.spend_on_pack("late", cycles - TENSIX.dst_handshake_cycles, "sfpu")
    t.hand_over()


# -- hand-shakes --------------------------------------------------------------------------------------------


def test_compute_sees_a_tile_one_visibility_after_its_push(run: Any, tensor: Any) -> None:
    """Pushed at cycle t, the tile holds the unpacker until t + `cb_visible_cycles`, to the cycle."""
    x = tensor("x", 1, 1)

    async def reader(dm: DataMovement, _: int) -> None:
        await spend(dm, x, "x_in")
        dm.note("pushed")

    async def compute(t: Compute, _: int) -> None:
        x_in = t.matrix("x_in")
        await t.wait(x_in)
        t.note("seen")
        t.pop(x_in)

    ran = run(P100, program({"reader": reader, "compute": compute}, (cb("x_in", 1),), (x,)))
    pushed, seen = cycle(ran, "reader", "pushed"), threads(ran, "seen").unpack
    assert pushed > 0
    assert seen == pushed + TENSIX.cb_visible_cycles
    assert ran.chip.cores[0, 0].tensix.waits == {Cause("tiles", "x_in"): seen}


def test_compute_that_is_late_does_not_wait(run: Any) -> None:
    """A tile that has been visible for long costs the unpacker nothing."""

    async def reader(dm: DataMovement, _: int) -> None:
        (x_in,) = dm.cbs("x_in")
        await dm.reserve(x_in, 1)
        dm.fill(x_in, 1, ONES)
        dm.push(x_in, 1)

    async def compute(t: Compute, late: int) -> None:
        x_in = t.matrix("x_in")
        hold_unpack(t, TENSIX.cb_visible_cycles + late - 1)
        t.note("asked")
        await t.wait(x_in)
        t.note("seen")
        t.pop(x_in)

    ran = run(P100, program({"reader": reader, "compute": compute}, (cb("x_in", 1),), grid=(3, 1)))
    asked, seen = ([threads(ran, note, (x, 0)).unpack - TENSIX.cb_visible_cycles for x in range(3)] for note in ("asked", "seen"))
    assert asked == [-1, 0, 1]  # a cycle early, in time, a cycle late
    assert seen == [0, 0, 1]


def test_space_is_there_when_the_unpacker_has_popped_and_not_a_cycle_before(run: Any) -> None:
    """The reader's reserve of a full buffer ends at the cycle of the compute kernel's pop, which is in its future."""

    async def reader(dm: DataMovement, _: int) -> None:
        (x_in,) = dm.cbs("x_in")
        for i in range(2):
            await dm.reserve(x_in, 1)
            dm.note(f"reserved {i}")
            dm.fill(x_in, 1, ONES)
            dm.push(x_in, 1)

    async def compute(t: Compute, _: int) -> None:
        x_in = t.matrix("x_in")
        for i in range(2):
            await t.wait(x_in)
            hold_unpack(t, TENSIX.cb_visible_cycles + 1000)
            t.pop(x_in)
            t.note(f"popped {i}")

    ran = run(P100, program({"reader": reader, "compute": compute}, (cb("x_in", 1),)))
    reserved = [cycle(ran, "reader", f"reserved {i}") for i in range(2)]
    popped = threads(ran, "popped 0").unpack
    assert popped == TENSIX.cb_visible_cycles + 1000 + TENSIX.cb_update_cycles
    assert reserved == [0, popped]
    assert ran.contexts[(0, 0), "reader"].waits == {Cause("space", "x_in"): popped}


def provide(rounds: int = 1) -> Any:
    """A reader that gives a tile of ones to x_in and one to y_in, so many times."""

    async def reader(dm: DataMovement, _: int) -> None:
        for _i in range(rounds):
            for buffer in dm.cbs("x_in", "y_in"):
                await dm.reserve(buffer, 1)
                dm.fill(buffer, 1, ONES)
                dm.push(buffer, 1)

    return reader


def pushes_to_writer() -> dict[str, Any]:
    """Kernels that copy one tile from the reader through compute to the writer, and note when it is pushed and seen."""

    async def compute(t: Compute, _: int) -> None:
        x_in, y_in, out = map(t.matrix, ("x_in", "y_in", "out"))
        await t.do(Add, x_in, y_in, out)
        t.note("pushed")
        t.pop(x_in)
        t.pop(y_in)

    async def writer(dm: DataMovement, _: int) -> None:
        (out,) = dm.cbs("out")
        await dm.wait(out, 1)
        dm.note("seen")
        dm.pop(out, 1)

    return {"reader": provide(), "compute": compute, "writer": writer}


THREE = (cb("x_in", 1), cb("y_in", 1), cb("out", 1, "compute", "writer"))


def test_the_writer_sees_no_tile_before_it_is_packed(run: Any) -> None:
    """The compute kernel is ahead of the clock; the writer's wait ends when the pack has."""
    ran = run(P100, program(pushes_to_writer(), THREE))
    assert cycle(ran, "writer", "seen") >= threads(ran, "pushed").pack > 0


def test_the_writer_sees_a_tile_one_visibility_after_its_push(run: Any) -> None:
    """The delay from a push until another RISC's poll sees it is the same in both directions."""
    ran = run(P100, program(pushes_to_writer(), THREE))
    assert cycle(ran, "writer", "seen") == threads(ran, "pushed").pack + TENSIX.cb_visible_cycles


def test_the_packer_begins_when_the_writer_has_popped_and_not_a_cycle_before(run: Any, tensor: Any) -> None:
    """Its output buffer full, a pack starts at the cycle of the pop that makes space, and the wait is counted as such."""
    out = tensor("o", 1, 3, output=True)

    async def compute(t: Compute, _: int) -> None:
        x_in, y_in, o = map(t.matrix, ("x_in", "y_in", "out"))
        for i in range(3):
            await t.do(Add, x_in, y_in, o)
            t.note(f"packed {i}")
            t.pop(x_in)
            t.pop(y_in)

    async def writer(dm: DataMovement, _: int) -> None:
        (o,) = dm.cbs("out")
        for i in range(3):
            await dm.wait(o, 1)
            await dm.write(o, out, [i], (1, 1))
            dm.pop(o, 1)
            dm.note(f"popped {i}")

    ran = run(P100, program({"reader": provide(3), "compute": compute, "writer": writer}, THREE, (out,)))
    pack = ran.chip.costs.pack(BFLOAT16, 1) + TENSIX.cb_wait_cycles + TENSIX.cb_update_cycles
    assert [threads(ran, f"packed {i}").pack - cycle(ran, "writer", f"popped {i - 1}") for i in (1, 2)] == [pack, pack]
    assert ran.chip.cores[0, 0].tensix.waits[Cause("space", "out")] > 0


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="one queue of operations for three threads: a pop after a wait for space is seen at the end of that wait",
)
def test_a_stalled_packer_does_not_hold_back_the_unpackers_pop(run: Any, tensor: Any) -> None:
    """Unpack has read its tiles and pops them at its own clock, although the packer waits for the writer's space."""
    x, out = tensor("x", 1, 1), tensor("o", 1, 1, output=True)

    async def reader(dm: DataMovement, _: int) -> None:
        x_in, y_in = dm.cbs("x_in", "y_in")
        for i in range(3):
            for buffer in (x_in, y_in):
                await dm.reserve(buffer, 1)
                dm.fill(buffer, 1, ONES)
                dm.push(buffer, 1)
            dm.note(f"reserved {i}")

    async def compute(t: Compute, _: int) -> None:
        x_in, y_in, o = map(t.matrix, ("x_in", "y_in", "out"))
        for i in range(3):
            await t.do(Add, x_in, y_in, o)
            t.pop(x_in)
            t.pop(y_in)
            t.note(f"popped {i}")

    async def writer(dm: DataMovement, _: int) -> None:
        (o,) = dm.cbs("out")
        for _i in range(3):
            await dm.wait(o, 1)
            await dm.write(o, out, [0], (1, 1))
            dm.pop(o, 1)

    ran = run(P100, program({"reader": reader, "compute": compute, "writer": writer}, THREE, (x, out)))
    assert [cycle(ran, "reader", f"reserved {i}") for i in (1, 2)] == [threads(ran, f"popped {i}").unpack for i in (0, 1)]


def test_resident_tiles_may_stay(run: Any) -> None:
    """A resident buffer keeps its tiles without complaint; any other that does is an error."""

    async def writer(dm: DataMovement, _: int) -> None:
        (ones,) = dm.cbs("ones")
        await dm.reserve(ones, 1)
        dm.fill(ones, 1, ONES)
        dm.push(ones, 1)

    async def compute(t: Compute, _: int) -> None:
        for _i in range(3):
            await t.wait(t.matrix("ones"))

    kernels = {"writer": writer, "compute": compute}
    run(P100, program(kernels, (cb("ones", 1, "writer", "compute", resident=True),)))
    with pytest.raises(SimulationError, match=r"core \(0,0\) ones: 1 tiles left over; its compute kernel popped 0 of 1"):
        run(P100, program(kernels, (cb("ones", 1, "writer", "compute"),)))


def test_a_compute_kernel_that_waits_for_itself_is_told_so(run: Any) -> None:
    """No other kernel can ever help: a deadlock at once, with buffer and numbers."""

    async def compute(t: Compute, _: int) -> None:
        await t.wait(t.matrix("s"))

    with pytest.raises(DeadlockError, match=r"core \(0,0\) TRISC waits for itself: 1 tiles in s, which has 0"):
        run(P100, program({"compute": compute}, (cb("s", 2, "compute", "compute"),)))


# -- reads and writes -----------------------------------------------------------------------------------------


def read_block(run: Any, source: Tensor, pages: Any, shape: tuple[int, int], transpose: bool = False) -> np.ndarray:
    """What a read brings into L1."""
    got = []

    async def reader(dm: DataMovement, _: int) -> None:
        (x_in,) = dm.cbs("x_in")
        await dm.reserve(x_in, shape[0] * shape[1])
        await dm.read(source, pages, x_in, shape, transpose=transpose)
        dm.push(x_in, shape[0] * shape[1])

    async def compute(t: Compute, _: int) -> None:
        x_in = t.matrix("x_in", *(shape[::-1] if transpose else shape))
        await t.wait(x_in)
        got.append(x_in.block().copy())
        t.pop(x_in)

    run(P100, program({"reader": reader, "compute": compute}, (cb("x_in", shape[0] * shape[1]),), (source,)))
    return got[0]


@pytest.mark.parametrize(
    ("pages", "shape"),
    [
        (range(4, 12), (2, 4)),  # whole rows
        (range(3, 9), (2, 3)),  # neither aligned nor of the tensor's width
        (range(4, 12), (4, 2)),
        ([7, 0, 7, 10], (2, 2)),  # any order, twice
        (range(0, 12, 4), (3, 1)),  # a column
        (range(8, 12), (3, 4)),  # fewer than the tiles: zero rows below
        (range(8, 16), (2, 4)),  # beyond the end: zeros
        ([11, 12], (1, 2)),
    ],
)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_read_brings_its_pages_row_by_row(run: Any, tensor: Any, pages: Any, shape: tuple[int, int], transpose: bool) -> None:
    """Page by page in the order given; what is not there is zero; a transposed grid lies by columns, its tiles unturned."""
    source = tensor("x", 3, 4)
    tiles = source.tiles.swapaxes(1, 2).reshape(12, 32, 32)
    expected = np.zeros((shape[0] * shape[1], 32, 32), np.float32)
    for i, page in enumerate(pages):
        if page < 12:
            expected[i] = tiles[page]
    grid = expected.reshape(*shape, 32, 32)
    if transpose:
        grid = grid.swapaxes(0, 1)
    np.testing.assert_array_equal(read_block(run, source, pages, shape, transpose), grid.swapaxes(1, 2))


@pytest.mark.parametrize(("pages", "shape"), [([], (1, 1)), (range(3), (2, 2)), (range(4), (1, 2))])
def test_a_read_of_no_whole_rows_is_refused(run: Any, tensor: Any, pages: Any, shape: tuple[int, int]) -> None:
    """The message has both numbers and the tensor."""
    with pytest.raises(SimulationError, match=rf"read of {len(pages)} pages of x into {shape[0]}x{shape[1]} tiles"):
        read_block(run, tensor("x", 3, 4), pages, shape)


def test_a_burst_may_be_longer_than_those_before(run: Any, tensor: Any) -> None:
    """A read of 240 tiles in flight takes as long after one of 100 as after one of 240: room is made for the longest."""
    x = tensor("x", 1, 240)

    async def reader(dm: DataMovement, core: int) -> None:
        (x_in,) = dm.cbs("x_in")
        for pages in (240 if core else 100, 240):
            await dm.reserve(x_in, 240)
            await dm.read(x, range(pages), x_in, (240, 1))
            dm.note(f"{pages}")
            dm.push(x_in, 240)

    async def compute(t: Compute, _: int) -> None:
        x_in = t.matrix("x_in", 240)
        for i in range(2):
            await t.wait(x_in)
            t.pop(x_in)
            t.note(f"{i}")

    def cycles(core: int) -> int:
        kernels = {"reader": lambda dm, _: reader(dm, core), "compute": compute}
        contexts = run(P100, program(kernels, (cb("x_in", 240),), (x,))).contexts
        return contexts[(0, 0), "reader"].notes["240"][0] - contexts[(0, 0), "compute"].notes["0"][0]

    assert cycles(0) == cycles(1)


def write_pages(run: Any, out: Tensor, pages: Any, shape: tuple[int, int]) -> np.ndarray:
    """Tiles 0, 1, 2, ... written to `pages`."""
    tiles = shape[0] * shape[1]
    block = np.broadcast_to(np.arange(tiles, dtype=np.float32).reshape(shape[0], 1, shape[1], 1), (shape[0], 32, shape[1], 32))

    async def reader(dm: DataMovement, _: int) -> None:
        (x,) = dm.cbs("x")
        await dm.reserve(x, tiles)
        dm.fill(x, tiles, block)
        dm.push(x, tiles)

    async def writer(dm: DataMovement, _: int) -> None:
        (x,) = dm.cbs("x")
        await dm.wait(x, tiles)
        await dm.write(x, out, pages, shape)
        dm.pop(x, tiles)

    run(P100, program({"reader": reader, "writer": writer}, (cb("x", tiles, "reader", "writer"),), (out,)))
    return block


@pytest.mark.parametrize(("pages", "shape"), [(range(6), (2, 3)), (range(6), (3, 2)), ([5, 3, 1, 0, 2, 4], (2, 3))])
def test_a_write_puts_each_tile_at_its_page(run: Any, tensor: Any, pages: Any, shape: tuple[int, int]) -> None:
    """Tile i of the grid, row by row, is page i of the list; the rest of the tensor stays as it was."""
    out = tensor("out", 2, 3, output=True)
    write_pages(run, out, pages, shape)
    for i, page in enumerate(pages):
        assert (out.tiles[page // 3, :, page % 3, :] == i).all()


def test_a_write_marks_its_pages_and_no_others(run: Any, tensor: Any) -> None:
    """Every other page written: the ones between are still missing at the end."""
    with pytest.raises(SimulationError, match=r"tensor out: 3 of 6 pages were never written, the first is page 1"):
        write_pages(run, tensor("out", 1, 6, output=True), range(0, 6, 2), (1, 3))


def test_a_tile_read_stays_as_it_was_read(run: Any, tensor: Any) -> None:
    """A page that is overwritten after its read does not change what is in L1."""
    source = tensor("x", 1, 1, output=True)
    source.values[:] = 3
    before = source.values.copy()
    got = []

    async def reader(dm: DataMovement, _: int) -> None:
        (x,) = dm.cbs("x")
        dm.core.chip.written(source)[:] = True
        dm.core.chip.land(source, [0])
        await dm.reserve(x, 1)
        await dm.read(source, range(1), x, (1, 1))
        source.values[:] = 7  # as another core's write would
        dm.push(x, 1)

    async def compute(t: Compute, _: int) -> None:
        x = t.matrix("x")
        await t.wait(x)
        got.append(x.block().reshape(32, 32).copy())
        t.pop(x)

    run(P100, program({"reader": reader, "compute": compute}, (cb("x", 1),), (source,)))
    np.testing.assert_array_equal(got[0], before)


def test_a_buffer_takes_tiles_of_its_own_format_only(run: Any, tensor: Any) -> None:
    """The NoC copies bytes: bfloat8_b tiles in a bfloat16 buffer would be noise on the chip, so they are an error here."""
    with pytest.raises(SimulationError, match="bfloat8_b"):
        read_block(run, tensor("x", 1, 1, BFLOAT8_B), range(1), (1, 1))


def test_values_in_some_tensors_only_are_refused(run: Any, tensor: Any) -> None:
    """Numbers or shapes, not both: the message names what has none."""
    x, y = tensor("x", 1, 1), tensor("y", 1, 1, values=False)

    async def reader(dm: DataMovement, _: int) -> None:
        for source, into in ((x, "x_in"), (y, "y_in")):
            await spend(dm, source, into)

    kernels = {**pushes_to_writer(), "reader": reader}
    with pytest.raises(SimulationError, match=r"\by\b"):
        run(P100, program(kernels, THREE, (x, y)))


# -- what compute refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "n", "subblock", "legal"),
    [(2, 4, (2, 4), True), (4, 4, (1, 4), True), (4, 4, (3, 1), False), (4, 4, (1, 3), False), (4, 4, (4, 4), False)],
)
def test_a_subblock_divides_its_block_and_fits_dst(run: Any, m: int, n: int, subblock: tuple[int, int], legal: bool) -> None:
    """Height divides m, width divides n, and the product is at most the tiles of a DST half (8)."""

    async def reader(dm: DataMovement, _: int) -> None:
        for buffer, tiles in zip(dm.cbs("a", "b"), (m, n), strict=True):
            await dm.reserve(buffer, tiles)
            dm.fill(buffer, tiles, None)
            dm.push(buffer, tiles)

    async def compute(t: Compute, _: int) -> None:
        a, b, c = t.matrix("a", m), t.matrix("b", 1, n), t.matrix("c", m, n)
        await t.do(Matmul, a, b, c, subblock)
        for x in (a, b, c):
            t.pop(x)

    made = program({"reader": reader, "compute": compute}, (cb("a", m), cb("b", n), cb("c", m * n, "compute", "compute")))
    if legal:
        run(P100, made)
    else:
        with pytest.raises(SimulationError, match="subblock"):
            run(P100, made)


@pytest.mark.parametrize("values", [True, False])
def test_adding_onto_nothing_is_an_error(run: Any, values: bool, tensor: Any) -> None:
    """An accumulating pack onto a buffer that holds no tiles: named, with and without values."""

    async def compute(t: Compute, _: int) -> None:
        x_in, y_in, o = map(t.matrix, ("x_in", "y_in", "o"))
        await t.do(MulColumn, x_in, y_in, o, 1, accumulate=True)

    made = program(
        {"reader": provide(), "compute": compute},
        (cb("x_in", 1), cb("y_in", 1), cb("o", 1, "compute", "compute")),
        (tensor("t", 1, 1, values=values),),
    )
    with pytest.raises(SimulationError, match=r"core \(0,0\) o: .* it holds 0"):
        run(P100, made)


# -- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_row_sums_are_one_addition_a_tile_rounded_to_even(seed: int) -> None:
    """Sums of bfloat16 values, which tie all the time: the same bits as rounding each by the rule for integers."""
    rng = np.random.default_rng(seed)
    x = round_bf16(rng.random((2, 32, 9, 32)).astype(np.float32) * 2.0 ** rng.integers(-12, 3, (2, 32, 9, 32)))
    expected = x[:, :, 0].copy()
    for tile in range(1, 9):
        expected = round_bf16_even(expected + x[:, :, tile])
    sums = Arithmetic(ComputeConfig(fp32_dest_acc_en=True), WORMHOLE)
    np.testing.assert_array_equal(sums.add_up(x, BFLOAT16, BFLOAT16)[:, :, 0], expected)
    wide = sums.add_up(x, FLOAT32, FLOAT32)[:, :, 0]
    np.testing.assert_allclose(wide, x.sum(axis=2, dtype=np.float64), rtol=1e-6)


def test_a_float32_exponential_has_the_bits_that_bfloat16_rounds_off() -> None:
    """With a 32-bit DST the packer rounds to bfloat16, ties away from zero; to float32 it leaves all 8 bits of fraction."""
    x = round_bf16(-20 * np.random.default_rng(1).random((2, 32, 2, 32)).astype(np.float32))
    column = np.zeros((2, 32, 1, 1), np.float32)
    exact = Arithmetic(ComputeConfig(fp32_dest_acc_en=True), WORMHOLE)
    narrow, wide = x.copy(), x.copy()
    for block, fmt in ((narrow, BFLOAT16), (wide, FLOAT32)):
        exact.subtract(block, fmt, column, BFLOAT16)
        exact.exp_fast(block, 0.5, fmt)
    assert (narrow != wide).any()
    np.testing.assert_allclose(narrow, round_bf16(wide), rtol=2**-8)
    np.testing.assert_allclose(wide, np.exp(0.5 * x), rtol=0.035)


def test_float32_tiles_lose_thirteen_bits_on_their_way_to_a_source_register() -> None:
    """TensorFloat-32, cut off, or bfloat16 with a 16-bit DST; other formats arrive as they are."""
    x = np.array([1 + 2**-10, 1 + 2**-11, 1 + 2**-10 + 2**-23, -1 - 2**-11, 2**-20], np.float32)
    wide, narrow = (Arithmetic(ComputeConfig(fp32_dest_acc_en=wide), WORMHOLE) for wide in (True, False))
    assert wide.unpacked(x, FLOAT32).tolist() == [1 + 2**-10, 1, 1 + 2**-10, -1, 2**-20]
    assert narrow.unpacked(x, FLOAT32).tolist() == [1, 1, 1, -1, 2**-20]
    assert wide.unpacked(x, BFLOAT16) is x


# -- semaphores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "noc"), [("reader", 0), ("writer", 1)])
@pytest.mark.parametrize("target", [(0, 0), (1, 0), (10, 0), (0, 9), (7, 5)])
def test_a_remote_increase_arrives_after_its_way_and_not_a_cycle_before(
    run: Any, role: Role, noc: int, target: tuple[int, int]
) -> None:
    """The header's hops on the sender's NoC, and what the atomic and the poll take; no part of it is there before."""
    x = P100.worker(target)[0] - P100.worker((0, 0))[0]
    y = P100.worker(target)[1] - P100.worker((0, 0))[1]
    hops = x % NOC.columns + y % NOC.rows if noc == 0 else -x % NOC.columns + -y % NOC.rows
    arrival = NOC.router_cycles * hops + NOC.round_trip_base // 2 + NOC.semaphore_cycles

    async def kernel(dm: DataMovement, core: int) -> None:
        if core == 0:
            dm.semaphore_increase(target, "go", 3)
        if core == target[0] + 11 * target[1]:
            for value in (1, 3):
                await dm.semaphore_wait("go", value)
                dm.note(f"{value} there")

    ran = run(P100, program({role: kernel}, grid=(11, 10)))
    assert [cycle(ran, role, f"{value} there", target) for value in (1, 3)] == [arrival, arrival]


def test_a_semaphore_counts_all_increases(run: Any) -> None:
    """Waiting for 3 ends with the third core's increase; setting it starts over."""
    values = []

    async def reader(dm: DataMovement, core: int) -> None:
        if core:
            dm.semaphore_increase((0, 0), "go")
            return
        await dm.semaphore_wait("go", 3)
        dm.note("counted")
        dm.semaphore_set("go", 0)
        values.append(dm.core.semaphores["go"].value)
        dm.semaphore_increase((0, 0), "go")
        await dm.semaphore_wait("go", 1)
        dm.note("counted again")

    ran = run(P100, program({"reader": reader}, grid=(4, 1)))
    nearest = NOC.round_trip_base // 2 + NOC.semaphore_cycles
    farthest = max(NOC.router_cycles * (-x % NOC.columns) for x in (1, 2, 3)) + nearest
    assert values == [0]
    assert cycle(ran, "reader", "counted") == farthest
    assert cycle(ran, "reader", "counted again") == farthest + nearest


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_a_semaphore_that_nobody_raises_blames_nobody(run: Any, role: str) -> None:
    """Any core might have raised it: the report names the semaphore, both values and the line, and claims no cycle."""

    async def kernel(dm: DataMovement, _: int) -> None:
        await dm.semaphore_wait("go", 2)

    with pytest.raises(DeadlockError) as caught:
        run(P100, program({role: kernel}))
    text = str(caught.value)
    assert "semaphore go to reach 2; it is 0" in text
    assert f"{__file__}:" in text
    assert "each waits for the next" not in text
    assert "(from nobody known: nobody has raised it)" in text


# -- before the start -------------------------------------------------------------------------------------------


async def nothing(_: Any, __: Any) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": (12, 10)}, "grid 12x10 does not lie within p100a's 11x10 workers"),
        ({"buffers": (cb("x", 1), cb("x", 1))}, "circular buffer x is defined twice"),
        ({"buffers": (cb("x", 0),)}, "circular buffer x holds 0 tiles"),
        ({"buffers": tuple(cb(f"b{i}", 1) for i in range(65))}, "65 circular buffers; blackhole has 64"),
        ({"buffers": (cb("x", 718),)}, "B too many"),
        ({"kernels": (Kernel("reader", nothing, [0]), Kernel("reader", nothing, [0]))}, "two kernels for the reader"),
        ({"kernels": (Kernel("reader", nothing, [0, 1]),)}, "the reader has arguments for 2 cores; the grid has 1"),
    ],
)
def test_a_program_that_cannot_start_says_why(run: Callable[..., Any], change: dict[str, Any], message: str) -> None:
    """Found before time starts, in words."""
    parts: dict[str, Any] = {"grid": (1, 1), "buffers": (), "kernels": (), "tensors": ()} | change
    with pytest.raises(SimulationError, match="the program cannot start: .*" + message):
        run(P100, Program(**parts))


def test_l1_is_full_to_the_byte() -> None:
    """717 bfloat16 tiles fit between the base and the end; what is reserved at the end is not free."""
    free = P100.chip.l1.size - P100.chip.l1.base
    made = {tiles: Program((1, 1), (cb("x", tiles),), (), ()).check(P100) for tiles in (free // 2048, free // 2048 + 1)}
    assert [len(problems) for problems in made.values()] == [0, 1]
    edge = free - free // 2048 * 2048
    for reserved, problems in ((edge, 0), (edge + 1, 1)):
        assert len(Program((1, 1), (cb("x", free // 2048),), (), (), reserved_l1=reserved).check(P100)) == problems
