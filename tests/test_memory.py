"""DRAM and L1: which bank has a page, how long a transfer takes alone and beside others, and where its bytes are counted."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import pytest

from tensix_sim.arch import Machine, machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, FORMATS
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.figures import Traffic, busy_ticks, bytes_over_time, link_bytes
from tensix_sim.hw.hardware import Hardware
from tensix_sim.hw.routes import Direction, Plan
from tensix_sim.program import Tensor
from tensix_sim.trace import Trace

BOARDS = pytest.mark.parametrize("board", ["n150", "p100a"])
P100 = machine("p100a")


def shapes(pages: int, memory: str = "dram", fmt: Any = BFLOAT16) -> Tensor:
    """A tensor of so many pages, without values."""
    return Tensor("t", pages, 1, fmt, memory=memory)  # type: ignore[arg-type]


def ends(memory: Hardware, plans: list[Plan], start: int = 0) -> list[int]:
    """Start a transfer of each plan at cycle `start`: the cycles at which they are done."""
    engine, times = memory.engine, dict[int, int]()

    def begin(_: object) -> None:
        for i, plan in enumerate(plans):
            memory.start(plan, memory.now, lambda i=i: times.update({i: memory.now}))

    engine.at(start, begin)
    engine.run()
    return [times[i] for i in range(len(plans))]


def plan_of(
    m: Machine, pages: Sequence[int], direction: Direction = "read", barrier: int = 0, **more: Any
) -> tuple[Hardware, Plan]:
    """A plan for core (0, 0) on the direction's usual NoC, and its memory."""
    memory = Hardware(m, Engine(), Trace("off"))
    tensor = shapes(max(pages) + 1, **more)
    return memory, memory.plan(direction, int(direction == "write"), m.worker((0, 0)), tensor, pages, barrier)


def banks_of(memory: Hardware, plan: Plan) -> list[str]:
    """Names of the banks that serve a plan's tiles."""
    ends(memory, [plan])
    return [name for name, ticks in busy_ticks(memory.routes).items() if ticks and name.startswith(("dram", "l1"))]


# -- where pages lie --------------------------------------------------------------------------------------------


@BOARDS
@pytest.mark.parametrize("page", [0, 1, 6, 7, 8, 11, 12, 13, 100])
def test_page_i_lies_in_bank_i_modulo_banks(board: str, page: int) -> None:
    """Interleaving goes round the DRAM banks, tensor by tensor from bank 0."""
    m = machine(board)
    assert banks_of(*plan_of(m, [page])) == [f"dram bank {page % m.chip.dram.banks}"]


def test_an_l1_page_lies_in_a_worker_row_by_row() -> None:
    """In L1 the banks are the workers: page i is in worker i modulo workers, row after row."""
    for page in (0, 1, 11, 12, 110 + 3):
        x, y = P100.worker((page % 110 % 11, page % 110 // 11))
        assert banks_of(*plan_of(P100, [page], memory="l1")) == [f"l1 {x}-{y} noc0"]


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
    memory = Hardware(P100, Engine(), Trace("off"))
    tensor, node = shapes(32), P100.worker((2, 3))
    for pages in (first, second):
        plan = memory.plan("read", 0, node, tensor, pages, 0)
        assert plan.nbytes == len(pages) * 2048
        assert memory.routes.banks_of(plan) == [p % 7 for p in pages]


def test_bytes_are_counted_by_kind_and_survive_new_plans() -> None:
    """Totals are pages times bytes of a page, by direction and memory, also when links are found to be shared later on."""
    memory = Hardware(P100, Engine(), Trace("off"))
    node = P100.worker((0, 0))
    dram, l1 = shapes(20), shapes(20, "l1", BFLOAT8_B)
    for direction, tensor, pages in (
        ("read", dram, range(20)),
        ("write", dram, range(5)),
        ("write", l1, range(7)),
        ("read", l1, range(3)),
        ("read", dram, [4]),
    ):
        ends(memory, [memory.plan(direction, 0, node, tensor, pages, 4)], memory.now)
    traffic = Traffic.of(memory.routes, memory.now)
    assert traffic.dram_read_bytes == 21 * 2048
    assert traffic.dram_write_bytes == 5 * 2048
    assert traffic.l1_write_bytes == 7 * 1088


# -- alone --------------------------------------------------------------------------------------------------------


def lone(m: Machine, core: tuple[int, int], bank: int, tile_bytes: int) -> int:
    """Cycles of one DRAM read when nobody else is there."""
    noc, dram = m.chip.noc, m.chip.dram
    memory = Hardware(m, Engine(), Trace("off"))
    packet = memory.routes.nocs[0].packet_bytes(tile_bytes)
    moving = max(dram.request_cycles, tile_bytes / dram.bank_rate, packet / noc.link_rate, packet / noc.niu_rate)
    trip = memory.routes.nocs[0].round_trip(m.worker(core), dram.endpoints[bank])
    return ceil(noc.read_issue_cycles + trip + noc.software_cycles + dram.read_cycles + moving - 1 / 128)


@BOARDS
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("core", [(0, 0), (7, 7)])
def test_a_lone_read_takes_issue_latency_and_its_slowest_server(board: str, fmt: Any, core: tuple[int, int]) -> None:
    """One page: issue, round trip, software, DRAM, and the page through the bank, the links or the port."""
    m = machine(board)
    memory = Hardware(m, Engine(), Trace("off"))
    plan = memory.plan("read", 0, m.worker(core), shapes(1, fmt=fmt), [0], 0)
    assert ends(memory, [plan], start=1000) == [1000 + lone(m, core, 0, fmt.tile_bytes)]


@pytest.mark.parametrize(("pages", "barrier"), [(1, 1), (7, 1), (9, 1)])
def test_a_barrier_after_each_read_makes_as_many_round_trips(pages: int, barrier: int) -> None:
    """Each read is alone: their times add up."""
    memory, plan = plan_of(P100, range(pages), barrier=barrier)
    assert ends(memory, [plan]) == [sum(lone(P100, (0, 0), p % 7, 2048) for p in range(pages))]


@pytest.mark.parametrize(("direction", "memory"), [("read", "dram"), ("read", "l1"), ("write", "dram"), ("write", "l1")])
def test_a_transfer_alone_takes_as_long_at_any_time(direction: Direction, memory: str) -> None:
    """What went before leaves nothing behind."""
    servers, plan = plan_of(P100, range(16), direction, memory=memory)
    (first,) = ends(servers, [plan])
    start = first + 12_345
    (again,) = ends(servers, [plan], start)
    assert again - start == first


def test_far_reads_are_bound_by_issue_and_many_from_one_bank_by_its_rate() -> None:
    """Spread over the banks, a RISC's issue is the limit; from one bank, the bank is."""
    banks = P100.chip.dram.banks
    noc, dram = P100.chip.noc, P100.chip.dram
    spread = [ends(*_one(plan_of(P100, range(n * banks))))[0] for n in (4, 5)]
    assert spread[1] - spread[0] == banks * noc.read_issue_cycles
    one = [ends(*_one(plan_of(P100, [banks * i for i in range(n)])))[0] for n in (40, 41)]
    assert one[1] - one[0] == pytest.approx(2048 / dram.bank_rate, abs=1)


def _one(planned: tuple[Hardware, Plan]) -> tuple[Hardware, list[Plan]]:
    return planned[0], [planned[1]]


def test_a_write_is_done_with_its_last_acknowledgement() -> None:
    """Bursts follow when the data have left the core, so barriers cost a write far less than as many round trips."""
    free = ends(*_one(plan_of(P100, range(8), "write")))[0]
    flushed = ends(*_one(plan_of(P100, range(8), "write", barrier=2)))[0]
    single = ends(*_one(plan_of(P100, range(2), "write")))[0]
    assert free <= flushed < 4 * single


def test_a_copy_moves_at_the_cores_rate() -> None:
    """Between two L1s a long copy takes its bytes over the port, and one latency."""
    memory = Hardware(P100, Engine(), Trace("off"))
    a, b = P100.worker((0, 0)), P100.worker((1, 0))
    memory.learn(0, "l1")
    times = []
    for nbytes in (16_384, 32_768):
        start = memory.now
        times.append(ends(memory, [memory.routes.copy_plan(0, a, b, nbytes)], start)[0] - start)
    assert times[1] - times[0] == pytest.approx(16_384 / P100.chip.noc.niu_rate * 65 / 64, rel=0.06)
    assert Traffic.of(memory.routes, 1).l1_write_bytes == 49_152


# -- beside others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True], ids=["bound by bytes", "bound by requests"])
def test_readers_of_one_bank_share_it(small: bool) -> None:
    """The last of k readers of n pages of a bank is done when the bank has served k n pages: big by rate, small by request."""
    m = P100.override({"dram.request_cycles": 60.0}) if small else P100
    service = 60.0 if small else 2048 / m.chip.dram.bank_rate
    memory, plan = plan_of(m, [7 * i for i in range(10)])
    times = ends(memory, [plan] * 4)
    fixed = lone(m, (0, 0), 0, 2048) - service
    assert max(times) == pytest.approx(fixed + 40 * service, abs=2)


def test_readers_of_different_banks_do_not_meet() -> None:
    """Another bank, other links, another core: as if alone."""
    near, far = P100.worker((0, 9)), P100.worker((10, 1))  # endpoints (0, 11) and (9, 3)

    def times(*chosen: int) -> list[int]:
        memory = Hardware(P100, Engine(), Trace("off"))
        pairs = [((near, 0), (far, 5))[i] for i in chosen]
        return ends(memory, [memory.plan("read", 0, node, shapes(7), [bank] * 8, 0) for node, bank in pairs])

    assert times(0, 1) == times(0) + times(1)


@BOARDS
def test_noc_0_is_the_one_to_read_with(board: str) -> None:
    """All cores reading interleaved DRAM: NoC 1 is slower, as measured; for writes NoC 0 is."""
    m = machine(board)

    def slowest(direction: Direction, noc: int) -> int:
        memory = Hardware(m, Engine(), Trace("off"))
        tensor = shapes(64 * m.cores)
        cores = [(x, y) for y in range(m.grid[1]) for x in range(m.grid[0])]
        plans = [
            memory.plan(direction, noc, m.worker(core), tensor, range(64 * i, 64 * i + 64), 0) for i, core in enumerate(cores)
        ]
        return max(ends(memory, plans))

    assert slowest("read", 1) > 1.2 * slowest("read", 0)
    assert slowest("write", 0) > 1.2 * slowest("write", 1)


# -- bytes over time --------------------------------------------------------------------------------------------------


def test_a_transfer_is_counted_once_in_its_direction(tensor: Callable[..., Tensor]) -> None:
    """Reads and writes have bins of their own, and both add up to what moved."""
    memory = Hardware(P100, Engine(), Trace("zones"))
    node = P100.worker((0, 0))
    ends(
        memory,
        [
            memory.plan("read", 0, node, tensor("t", 3, 1), range(3), 1),
            memory.plan("write", 1, node, tensor("u", 2, 1), range(2), 1),
        ],
    )
    moved = {name: sum(bins) for name, (_, bins) in bytes_over_time(memory.routes).items()}
    banks = [moved.pop(f"dram bank {b}") for b in range(P100.chip.dram.banks)]
    assert moved == {"read": 3 * 2048, "write": 2 * 2048, "noc0": 3 * 2048, "noc1": 2 * 2048}
    assert banks == [2 * 2048, 2 * 2048, 2048] + [0] * (P100.chip.dram.banks - 3)


def test_bytes_over_links_are_those_of_the_routes(tensor: Callable[..., Tensor]) -> None:
    """A tile and its header flit count on every link of its route, contended or not."""
    memory = Hardware(P100, Engine(), Trace("off"))
    node = P100.worker((0, 0))
    plan = memory.plan("read", 0, node, tensor("t", 3, 1), range(3), 1)
    ends(memory, [plan, plan])
    assert sum(link_bytes(memory.routes).values()) == 2 * plan.hop_tiles * (2048 + P100.chip.noc.flit_bytes)
