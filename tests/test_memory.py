"""DRAM and L1: which bank has a page, how long a burst takes alone and beside others, and where its bytes are counted."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import pytest

from tensix_sim.arch import Machine, machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, FORMATS
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.memory import Direction, Memory, Plan, TimeBins, Transfer
from tensix_sim.program import Tensor
from tensix_sim.trace import Trace

BOARDS = pytest.mark.parametrize("board", ["n150", "p100a"])
P100 = machine("p100a")


def shapes(pages: int, memory: str = "dram", fmt: Any = BFLOAT16) -> Tensor:
    """A tensor of so many pages, without values."""
    return Tensor("t", pages, 1, fmt, memory=memory)  # type: ignore[arg-type]


def ends(memory: Memory, plans: list[Plan], start: int = 0) -> list[int]:
    """Start a transfer of each plan at cycle `start`: the cycles at which they are done."""
    engine, times = memory.engine, dict[int, int]()

    def begin(_: object) -> None:
        for i, plan in enumerate(plans):
            Transfer(memory, plan).event.callbacks.append(lambda _, i=i: times.update({i: engine.now}))

    engine.at(start, begin)
    engine.run()
    return [times[i] for i in range(len(plans))]


def plan_of(
    m: Machine, pages: Sequence[int], direction: Direction = "read", barrier: int = 0, **more: Any
) -> tuple[Memory, Plan]:
    """A plan for core (0, 0) on the direction's usual NoC, and its memory."""
    memory = Memory(m, Engine(), Trace("off"))
    tensor = shapes(max(pages) + 1, **more)
    return memory, memory.plan(direction, int(direction == "write"), m.worker((0, 0)), tensor, pages, barrier)


def banks_of(memory: Memory, plan: Plan) -> dict[str, int]:
    """Ticks of work at each bank."""
    work: dict[str, int] = {}
    for burst in plan.bursts:
        for server, ticks in burst.work:
            if "link" not in memory.names[server]:
                work[memory.names[server]] = work.get(memory.names[server], 0) + ticks
    return work


# -- where pages lie --------------------------------------------------------------------------------------------


@BOARDS
@pytest.mark.parametrize("page", [0, 1, 6, 7, 8, 11, 12, 13, 100])
def test_page_i_lies_in_bank_i_modulo_banks(board: str, page: int) -> None:
    """Interleaving goes round the DRAM banks, tensor by tensor from bank 0."""
    m = machine(board)
    assert list(banks_of(*plan_of(m, [page]))) == [f"dram bank {page % m.chip.dram.banks}"]


def test_an_l1_page_lies_in_a_worker_row_by_row() -> None:
    """In L1 the banks are the workers: page i is in worker i modulo workers, row after row."""
    for page in (0, 1, 11, 12, 110 + 3):
        x, y = P100.worker((page % 110 % 11, page % 110 // 11))
        assert list(banks_of(*plan_of(P100, [page], memory="l1"))) == [f"l1 {x}-{y}"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (range(2), range(0, 4, 2)),  # as many pages from the same one on, but every other
        (range(4), [0, 4]),  # start and length of one are the pages of the other
        ([1, 2], range(1, 3)),
        ([3, 5, 4], [3, 4, 5]),
    ],
)
def test_the_plan_of_other_pages_is_not_mistaken_for_this_one(first: Sequence[int], second: Sequence[int]) -> None:
    """A plan that is kept for later moves exactly the pages asked for."""
    memory = Memory(P100, Engine(), Trace("off"))
    tensor, node = shapes(32), P100.worker((2, 3))
    for pages in (first, second):
        plan = memory.plan("read", 0, node, tensor, pages, 0)
        assert plan.nbytes == len(pages) * 2048
        assert set(banks_of(memory, plan)) == {f"dram bank {p % 7}" for p in pages}


def test_bytes_are_counted_by_kind_and_survive_new_plans() -> None:
    """Totals are pages times bytes of a page, by direction and memory, also when links are found to be shared later on."""
    memory = Memory(P100, Engine(), Trace("off"))
    node = P100.worker((0, 0))
    dram, l1 = shapes(20), shapes(20, "l1", BFLOAT8_B)
    for direction, tensor, pages in (
        ("read", dram, range(20)),
        ("write", dram, range(5)),
        ("write", l1, range(7)),
        ("read", l1, range(3)),
        ("read", dram, [4]),
    ):
        ends(memory, [memory.plan(direction, 0, node, tensor, pages, 4)], memory.engine.now)
    traffic = memory.traffic(memory.engine.now)
    assert traffic["dram_read_bytes"] == 21 * 2048
    assert traffic["dram_write_bytes"] == 5 * 2048
    assert traffic["l1_write_bytes"] == 7 * 1088


# -- one burst alone ----------------------------------------------------------------------------------------------


@BOARDS
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("core", [(0, 0), (7, 7)])
def test_a_lone_read_takes_issue_latency_and_its_slowest_server(board: str, fmt: Any, core: tuple[int, int]) -> None:
    """One page: issue, round trip, software, DRAM, and the page through the bank, the link or the NIU."""
    m = machine(board)
    noc, dram = m.chip.noc, m.chip.dram
    memory = Memory(m, Engine(), Trace("off"))
    plan = memory.plan("read", 0, m.worker(core), shapes(1, fmt=fmt), [0], 0)
    packet = memory.nocs[0].packet_bytes(fmt.tile_bytes)
    moving = max(dram.request_cycles, fmt.tile_bytes / dram.bank_rate, packet / noc.link_rate, packet / noc.niu_rate)
    trip = memory.nocs[0].round_trip(m.worker(core), dram.endpoints[0])
    expected = ceil(noc.read_issue_cycles + trip + noc.software_cycles + dram.read_cycles + moving - 1 / 128)
    assert ends(memory, [plan], start=1000) == [1000 + expected]


@pytest.mark.parametrize(("direction", "memory"), [("read", "dram"), ("read", "l1"), ("write", "dram"), ("write", "l1")])
def test_alone_a_burst_lands_at_its_unloaded_time(direction: Direction, memory: str) -> None:
    """Nobody else there: `unloaded` to the cycle, nothing queued, whatever the cycle it starts."""
    for start in (0, 12345):
        servers, plan = plan_of(P100, range(16), direction, memory=memory)
        assert len(plan.bursts) == 1
        assert ends(servers, [plan], start) == [start + plan.bursts[0].unloaded]


@pytest.mark.parametrize(("pages", "barrier"), [(1, 1), (7, 1), (8, 3), (9, 3), (10, 3), (10, 10), (10, 11), (10, 0)])
def test_a_barrier_after_so_many_reads_makes_so_many_round_trips(pages: int, barrier: int) -> None:
    """N pages with a barrier at b: ceil(n / b) bursts, each begun when the last has landed."""
    memory, plan = plan_of(P100, range(pages), barrier=barrier)
    bursts = ceil(pages / (barrier or pages))
    assert len(plan.bursts) == bursts
    assert ends(memory, [plan]) == [sum(burst.unloaded for burst in plan.bursts)]
    trips = sum(burst.latency for burst in plan.bursts)
    noc, dram = P100.chip.noc, P100.chip.dram
    assert trips >= bursts * (noc.round_trip_base + noc.software_cycles + dram.read_cycles)


def test_far_reads_are_bound_by_issue_and_many_from_one_bank_by_its_rate() -> None:
    """Spread over the banks, a RISC's issue is the limit; from one bank, the bank is."""
    banks = P100.chip.dram.banks
    noc, dram = P100.chip.noc, P100.chip.dram
    spread = [plan_of(P100, range(n * banks))[1].bursts[0].unloaded for n in (4, 5)]
    assert spread[1] - spread[0] == banks * noc.read_issue_cycles
    one = [plan_of(P100, [banks * i for i in range(n)])[1].bursts[0].unloaded for n in (40, 41)]
    assert one[1] - one[0] == pytest.approx(2048 / dram.bank_rate, abs=1)


def test_a_write_is_done_with_its_last_acknowledgement() -> None:
    """Flushes between bursts wait until the data has left L1; the end waits for the acknowledgement of the last."""
    memory, plan = plan_of(P100, range(8), "write", barrier=2)
    left = sum(ceil(burst.floor / 256) for burst in plan.bursts[:-1])
    (end,) = ends(memory, [plan])
    assert end == left + plan.bursts[-1].unloaded
    assert end < sum(burst.unloaded for burst in plan.bursts)


# -- beside others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True], ids=["bound by bytes", "bound by requests"])
def test_readers_of_one_bank_share_it(small: bool) -> None:
    """K bursts of n pages from one bank: the last lands when the bank has served k n pages, big by rate, small by request."""
    m = P100 if not small else P100.override({"dram.request_cycles": 60.0})
    service = 60.0 if small else 2048 / m.chip.dram.bank_rate
    memory, plan = plan_of(m, [7 * i for i in range(10)])
    times = ends(memory, [plan] * 4)
    fixed = plan.bursts[0].latency + m.chip.noc.read_issue_cycles
    assert times == [fixed + ceil(k * 10 * round(service * 256) / 256) for k in (1, 2, 3, 4)]


def test_readers_of_different_banks_do_not_meet() -> None:
    """Another bank, other links, another core: as if alone."""
    memory = Memory(P100, Engine(), Trace("off"))
    tensor = shapes(7)
    near, far = P100.worker((0, 9)), P100.worker((10, 1))  # endpoints (0, 11) and (9, 3)
    plans = [memory.plan("read", 0, node, tensor, [bank] * 8, 0) for node, bank in ((near, 0), (far, 5))]
    assert not {s for s, _ in plans[0].bursts[0].work} & {s for s, _ in plans[1].bursts[0].work}
    assert ends(memory, plans) == [plan.bursts[0].unloaded for plan in plans]


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_server_is_free_when_its_work_is_done(late: int) -> None:
    """A second burst that comes a cycle too early waits that cycle; one that comes as the bank is done waits none."""
    m = P100.override({"dram.request_cycles": 64.0})
    memory, plan = plan_of(m, [0] * 10)
    engine, transfers, times = memory.engine, [], []

    def begin(_: object) -> None:
        transfers.append(Transfer(memory, plan))
        transfers[-1].event.callbacks.append(lambda _: times.append(engine.now))

    for start in (0, 640 + late):
        engine.at(start, begin)
    engine.run()
    alone = plan.bursts[0].unloaded
    assert alone == plan.bursts[0].latency + P100.chip.noc.read_issue_cycles + 640
    waited = max(0, -late)
    assert times == [alone, 640 + late + alone + waited]
    assert (transfers[1].queued_bank, transfers[1].queued_link) == (waited, 0)


@BOARDS
def test_noc_0_is_the_one_to_read_with(board: str) -> None:
    """All cores reading interleaved DRAM: NoC 1 is slower, as measured; for writes NoC 0 is."""
    m = machine(board)

    def slowest(direction: Direction, noc: int) -> int:
        memory = Memory(m, Engine(), Trace("off"))
        tensor = shapes(64 * m.cores)
        cores = [(x, y) for y in range(m.grid[1]) for x in range(m.grid[0])]
        plans = [
            memory.plan(direction, noc, m.worker(core), tensor, range(64 * i, 64 * i + 64), 0) for i, core in enumerate(cores)
        ]
        return max(ends(memory, plans))

    assert slowest("read", 1) > 1.2 * slowest("read", 0)
    assert slowest("write", 0) > 1.2 * slowest("write", 1)


# -- bytes over time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [4, 5, 512])
def test_bins_double_in_width_and_lose_nothing(limit: int) -> None:
    """Widths are powers of two, the bins stay within the limit, and every byte is in the bin of its cycle."""
    bins = TimeBins(limit=limit, shift=2)
    added: list[tuple[int, int]] = []
    for i in range(200):
        time = i * i
        bins.add(time, i + 1)
        added.append((time, i + 1))
        assert len(bins.bins) <= limit
    expected = [0] * len(bins.bins)
    for time, nbytes in added:
        expected[time // bins.width] += nbytes
    assert bins.bins == expected
    assert bins.width & (bins.width - 1) == 0


def test_bins_double_at_their_end_and_not_before() -> None:
    """The last cycle that fits leaves the width alone; the next one doubles it."""
    bins = TimeBins(limit=4, shift=3)
    bins.add(31, 1)
    assert bins.width == 8
    bins.add(32, 2)
    assert (bins.width, bins.bins) == (16, [0, 1, 2])


def test_a_transfer_is_counted_once_in_its_direction(tensor: Callable[..., Tensor]) -> None:
    """Reads and writes have bins of their own, and both add up to what moved."""
    memory = Memory(P100, Engine(), Trace("zones"))
    node = P100.worker((0, 0))
    ends(
        memory,
        [
            memory.plan("read", 0, node, tensor("t", 3, 1), range(3), 1),
            memory.plan("write", 1, node, tensor("u", 2, 1), range(2), 1),
        ],
    )
    assert memory.bytes_over_time is not None
    assert {d: sum(b.bins) for d, b in memory.bytes_over_time.items()} == {"read": 3 * 2048, "write": 2 * 2048}
