"""Banks and links, tile by tile: whose turn it is, what holds up what, and when a transfer has landed."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tensix_sim.hw import bursts, jit, queues, tables
from tensix_sim.hw.agenda import START
from tensix_sim.hw.engine import TICKS, SimulationError
from tensix_sim.hw.queues import NEVER
from tensix_sim.hw.silicon import Silicon
from tensix_sim.hw.tables import BANK, BIN_SHIFT, BINS, MOVE, NOBODY, ROUTE, SERVER
from tensix_sim.hw.tables import rows as records

FOREVER = NEVER // 2 // TICKS
SERVICE, BACK, GAP = 100 * TICKS, 200 * TICKS, 10 * TICKS


@jit.compiler(tables, queues, bursts)
def start(memory: Any, now: int, move: int) -> int:
    """Start a transfer at a tick, within a cycle if need be: its place."""
    return int(bursts.start_transfer(tables.opened_net(memory), now, move, ~0))


class Rig:
    """A network whose routes are made by hand: nothing takes time but what a test gives it."""

    def __init__(
        self, banks: int = 1, buffer: int = 1 << 30, watch: bool = False, flows: int = 0, rows: int = 1, miss: int = 0
    ) -> None:
        self.net = Silicon(records(BANK, banks, open=rows, row_miss=miss, buffer=buffer), watch, flows)
        self.landed: list[tuple[int, int]] = []
        self.waited: dict[int, int] = {}  # ticks for banks, by transfer

    def link(self) -> int:
        """A new server."""
        return self.net.add("servers", records(SERVER, 1))

    def route(
        self, bank: int = 0, links: tuple[int, ...] = (), ticks: int = 0, there: int = 0,
        nbytes: int = 0, flows: tuple[int, ...] = (),
    ) -> int:  # fmt: skip
        """A route of its own port, which takes no time."""
        first, flow = self.net.add("lists", links), self.net.add("lists", flows)
        return self.add_route(
            bank=bank, there=there, port=self.link(), link_ticks=ticks, nbytes=nbytes,
            links=first, links_end=first + len(links), flows=flow, flows_end=flow + len(flows),
        )  # fmt: skip

    def add_route(self, **fields: int) -> int:
        """A route of a bank that takes `SERVICE`, whose core knows `BACK` later."""
        return self.net.add("routes", records(ROUTE, 1, service=SERVICE, back=BACK, **fields))

    def start(self, route: int, tiles: int = 1, barrier: int = 0, now: int = 0, gap: int = 0, writing: bool = False) -> int:
        """Tiles over one route."""
        return self.start_to([0] * tiles, now, writing=writing, routes=route, barrier=barrier or tiles, gap=gap)

    def start_to(self, banks: list[int], now: int = 0, **fields: int) -> int:
        """A tile to each of some banks."""
        move = records(MOVE, 1, banks=self.net.add("lists", banks), tiles=len(banks), **fields)
        self.net.reserve(len(banks) if fields.get("writing") else fields["barrier"], transfers=1)
        number, self.net._due = self.net.add("moves", move), None
        return start(self.net._memory, now, number)

    def advance(self, now: int) -> int:
        """Go on to a cycle, or to what is told first: its place."""
        place = self.net.run(now)
        if place != NOBODY:
            record = self.net.net.transfers[place]
            self.landed.append((place, int(record["landed"]) // TICKS))
            self.waited[place] = int(record["sum_bank"])
        return place

    def run(self, step: Callable[[], int] = lambda: FOREVER) -> list[tuple[int, int]]:
        """Advance in steps of so many cycles until nothing is left: (transfer, cycle) as they land."""
        now = 0
        while self.net.due < NEVER:
            now = min(now + step(), FOREVER)
            self.advance(now)
        return self.landed


def cycles(*parts: int) -> int:
    """Ticks as whole cycles."""
    return -(-sum(parts) // TICKS)


# -- one bank -------------------------------------------------------------------------------------------------------


def test_a_tile_alone_takes_its_issue_its_way_its_service_and_its_way_back() -> None:
    """Nothing else is added, and cycles are rounded up once."""
    rig = Rig()
    rig.start(rig.route(there=7), gap=GAP)
    assert rig.run() == [(0, cycles(GAP, 7, SERVICE, BACK))]


@pytest.mark.parametrize(("tiles", "barrier"), [(1, 1), (8, 1), (8, 3), (9, 3), (10, 0)])
def test_each_burst_waits_for_the_one_before(tiles: int, barrier: int) -> None:
    """N tiles with a barrier at b make ceil(n / b) round trips."""
    rig = Rig()
    rig.start(rig.route(), tiles, barrier)
    trips = -(-tiles // (barrier or tiles))
    assert rig.run() == [(0, cycles(tiles * SERVICE, trips * BACK))]


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_bank_is_free_when_its_service_ends(late: int) -> None:
    """A request that comes a tick too early waits that tick; one that comes as the bank is done waits none."""
    rig = Rig()
    a, b = rig.route(), rig.route()
    rig.start(a)
    rig.start(b, now=SERVICE + late)
    ends = dict(rig.run())
    assert rig.waited[1] == max(0, -late)
    assert ends[1] == cycles(SERVICE + late + max(0, -late), SERVICE, BACK)


def test_who_comes_first_is_served_first() -> None:
    """A core that asked for many tiles before keeps another from its one."""
    rig = Rig()
    rig.start(rig.route())
    many, one = rig.start(rig.route(), 10, now=1), rig.start(rig.route(), 1, now=2)
    assert rig.run()[1:] == [(many, cycles(11 * SERVICE, BACK)), (one, cycles(12 * SERVICE, BACK))]


@pytest.mark.parametrize("late", [-1, 0])
def test_to_open_a_row_takes_time_only_when_someone_waited(late: int) -> None:
    """A core that comes a tick before the bank is free waits for its row; one that comes as it is free does not."""
    rig = Rig(miss=7 * TICKS)
    rig.start(rig.route())
    other = rig.start(rig.route(), now=SERVICE + late)
    assert dict(rig.run())[other] == cycles(2 * SERVICE, BACK, 0 if late == 0 else 7 * TICKS)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_bank_has_the_rows_of_its_last_requests_open(rows: int) -> None:
    """Three cores in turn: the first time each row is opened, from then on it is open if the bank has as many."""
    rig = Rig(rows=rows, miss=7 * TICKS)
    for _ in range(3):
        rig.start(rig.route(), 5, gap=1)
    rig.run()
    opened = 2 if rows >= 3 else 14  # the bank was idle as the very first came
    assert rig.net.net.banks["busy"].sum() == 15 * SERVICE + opened * 7 * TICKS


def test_banks_do_not_meet() -> None:
    """Another bank: as if alone."""
    rig = Rig(banks=2)
    rig.start(rig.route(0), 5)
    rig.start(rig.route(1), 5)
    assert {end for _, end in rig.run()} == {cycles(5 * SERVICE, BACK)}


# -- links ----------------------------------------------------------------------------------------------------------


def test_tiles_of_two_banks_queue_at_the_link_they_share() -> None:
    """A link that takes as long as a bank sends one tile after the other."""
    rig = Rig(banks=2)
    link = rig.link()
    for bank in (0, 1):
        rig.start(rig.route(bank, links=(link,), ticks=SERVICE))
    assert [end for _, end in rig.run()] == [cycles(SERVICE, BACK), cycles(2 * SERVICE, BACK)]


@pytest.mark.parametrize("ticks", [SERVICE // 2, SERVICE, 2 * SERVICE])
def test_a_tile_passes_bank_and_link_at_the_same_time(ticks: int) -> None:
    """Cut-through: alone, the slower of the two counts."""
    rig = Rig()
    rig.start(rig.route(links=(rig.link(),), ticks=ticks))
    assert [end for _, end in rig.run()] == [cycles(max(SERVICE, ticks), BACK)]


@pytest.mark.parametrize("short", [0, 1, TICKS])
def test_a_bank_stops_when_its_data_queue_longer_than_the_buffer(short: int) -> None:
    """With room for the wait it serves on at once; so much room less, and it serves so much later."""
    rig = Rig(banks=2, buffer=SERVICE - short)
    link = rig.link()
    first, second = (rig.route(bank, links=(link,), ticks=SERVICE) for bank in (0, 1))
    rig.start(first)
    held = rig.start(second)  # its data wait one service at the link
    after = rig.start(rig.route(1), now=1)
    ends = dict(rig.run())
    assert ends[held] == cycles(2 * SERVICE, BACK)
    assert ends[after] == cycles(2 * SERVICE, BACK, short)


def test_a_core_takes_in_one_tile_at_a_time() -> None:
    """Tiles of all banks share the core's own port."""
    rig = Rig(banks=4)
    port = rig.link()
    for bank in range(4):
        rig.add_route(bank=bank, port=port, port_ticks=SERVICE)
    rig.start_to([0, 1, 2, 3], barrier=4)
    ((_, end),) = rig.run()
    assert end == cycles(4 * SERVICE, BACK)  # the first passes while its bank serves it


@pytest.mark.parametrize(("ticks", "waits"), [(1, False), (298, False), (299, True)])
def test_a_tile_goes_over_a_link_before_one_that_comes_there_later(ticks: int, waits: bool) -> None:
    """One that is held up on its way takes its turn when it gets there; until then the link is free for what fits in."""
    rig = Rig(banks=3)
    first, second = rig.link(), rig.link()
    rig.start(rig.route(0, (first,), 300 * TICKS))  # on the first link from 0 to 300
    rig.start(rig.route(1, (first, second), 10 * TICKS, there=TICKS))  # so on the second from 300 to 310
    rig.start(rig.route(2, (second,), ticks * TICKS, there=2 * TICKS))  # could be on it from 102 - ticks on, not before 2
    begin = 310 if waits else max(2, 102 - ticks)
    assert dict(rig.run())[2] == max(102, begin + ticks) + 200


# -- writes ---------------------------------------------------------------------------------------------------------


def test_a_write_goes_on_when_its_data_have_left_and_ends_with_its_last_acknowledgement() -> None:
    """A flush between bursts, a barrier at the end."""
    rig = Rig()
    port, ticks = rig.link(), 30 * TICKS
    rig.add_route(port=port, port_ticks=ticks)
    rig.start(0, tiles=6, barrier=2, writing=True)
    assert rig.run() == [(0, cycles(6 * SERVICE, BACK))]  # the bank begins with the first flit, and the rest keeps up


@pytest.mark.parametrize("buffer", [0, 40, 50, 51])
def test_data_that_find_a_link_taken_hold_up_what_follows_from_their_core(buffer: int) -> None:
    """The next tile leaves when the buffers on the way have taken the one before, whatever way it goes itself."""
    rig = Rig(banks=2, buffer=buffer * TICKS)
    link, port = rig.link(), rig.link()
    rig.start(rig.route(links=(link,), ticks=100 * TICKS), writing=True)
    blocked, other = (
        rig.add_route(bank=bank, port=port, links=first, links_end=first + 1 - bank, link_ticks=10 * TICKS)
        for bank, first in enumerate([rig.net.add("lists", [link])] * 2)
    )
    rig.start(blocked, writing=True)
    rig.advance(49)
    second = rig.start(other, now=50 * TICKS, writing=True)
    ends = dict(rig.run())
    assert ends[second] == cycles(max(50, 100 - buffer) * TICKS, SERVICE, BACK)


# -- limits ---------------------------------------------------------------------------------------------------------


def test_more_than_it_can_count_is_an_error() -> None:
    """Times and tiles in flight share one number: too late or too many is said, not wrapped."""
    rig = Rig()
    route = rig.route()
    rig.net.plan(FOREVER - 1, START, rig.start(route))
    with pytest.raises(SimulationError, match="longer than 4,294,967,296 cycles"):
        rig.net.plan(FOREVER, START, 0)
    with pytest.raises(SimulationError, match="tiles in flight at once"):
        rig.start(route, 200_000)


# -- laws over random traffic ---------------------------------------------------------------------------------------


def random_traffic(seed: int, watch: bool = False) -> tuple[Rig, int]:
    """Reads and writes of many cores over four banks and shared links; the rig and its number of tiles."""
    rng = random.Random(seed)
    rig = Rig(banks=4, buffer=rng.choice([0, 50, 1000]) * TICKS, watch=watch)
    links = [rig.link() for _ in range(3)]
    routes = [rig.route(rng.randrange(4), tuple(rng.sample(links, rng.randrange(4))), rng.randrange(200) * 99) for _ in range(20)]
    tiles = 0
    for _ in range(60):
        n = rng.randrange(1, 12)
        tiles += n
        rig.start(
            rng.choice(routes),
            n,
            rng.randrange(n + 1),
            rng.randrange(2000) * TICKS,
            rng.randrange(40) * TICKS,
            rng.random() < 0.3,
        )
    return rig, tiles


@pytest.mark.parametrize("seed", range(20))
def test_every_tile_is_served_once(seed: int) -> None:
    """Banks work for as many services as there are tiles, each transfer lands once, nothing is left."""
    rig, tiles = random_traffic(seed)
    landed = rig.run()
    assert sorted(place for place, _ in landed) == list(range(60))
    assert rig.net.net.banks["busy"].sum() == tiles * SERVICE
    assert rig.net.net.banks["waiting"].sum() == 0
    assert rig.net.due == NEVER


@pytest.mark.parametrize("seed", range(20))
def test_how_far_it_advances_at_a_time_changes_nothing(seed: int) -> None:
    """One go or many small steps: the same transfers at the same cycles."""
    whole, _ = random_traffic(seed)
    steps, _ = random_traffic(seed)
    rng = random.Random(seed)
    assert steps.run(lambda: rng.randrange(1, 300)) == whole.run()


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_told_before_it_is_due(seed: int) -> None:
    """`due` is a lower bound of the next landing, whenever it is asked."""
    rig, _ = random_traffic(seed)
    now = 0
    rng = random.Random(seed)
    while rig.net.due < NEVER:
        due = rig.net.due
        now += rng.randrange(1, 500)
        if rig.advance(now) != NOBODY:
            assert rig.landed[-1][1] >= due


@pytest.mark.parametrize("seed", range(5))
def test_being_told_of_each_burst_changes_nothing(seed: int) -> None:
    """With `watch` the last burst of each transfer lands when the transfer does without."""
    plain, _ = random_traffic(seed)
    watched, _ = random_traffic(seed, watch=True)
    last: dict[int, int] = {}
    while watched.net.due < NEVER:
        place = watched.advance(FOREVER)
        if place == NOBODY:
            continue
        last[place] = watched.landed[-1][1]
        record, moves = watched.net.net.transfers[place], watched.net.net.moves
        if record["issued"] < moves[record["move"]]["tiles"]:
            watched.net.resume(place)
    assert last == dict(plain.run())


def test_two_networks_do_not_meet() -> None:
    """Traffic in one is nothing to the other."""
    alone, _ = random_traffic(1)
    expected = alone.run()
    a, _ = random_traffic(1)
    b, _ = random_traffic(2)
    b.run()
    assert a.run() == expected


# -- bytes over time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [-1, 0])
def test_bins_double_when_the_last_is_full_and_not_before(late: int) -> None:
    """Bytes served in the last cycle of the last bin leave the width alone; a cycle later it doubles."""
    rig = Rig(flows=1)
    route = rig.route(nbytes=10, flows=(0,))
    for cycle in (0, BINS << BIN_SHIFT):
        rig.start(route, now=(cycle + (late if cycle else 0)) * TICKS)
    rig.run()
    width, bins = rig.net.bytes_over_time(0)
    assert width == 1 << BIN_SHIFT if late else 1 << BIN_SHIFT + 1
    assert (bins[0], bins[-1], len(bins), sum(bins)) == (10, 10, BINS if late else BINS // 2 + 1, 20)


def test_each_flow_counts_its_own_bytes_in_the_bin_of_their_service() -> None:
    """Folded or not, a flow's bins hold what its routes moved, and a route may count in several."""
    rig, rng = Rig(banks=3, flows=3), random.Random(1)
    routes = [rig.route(bank, nbytes=bank + 1, flows=flows) for bank, flows in enumerate([(0,), (0, 1), (2,)])]
    starts = sorted(rng.randrange(3 * BINS << BIN_SHIFT) for _ in range(40))
    expected: list[dict[int, int]] = [{}, {}, {}]
    for i, cycle in enumerate(starts):
        rig.start(routes[i % 3], now=cycle * TICKS)
        rig.advance(cycle)  # nobody waits: each is served as it comes
        for flow in ((0,), (0, 1), (2,))[i % 3]:
            expected[flow][cycle >> BIN_SHIFT + 2] = expected[flow].get(cycle >> BIN_SHIFT + 2, 0) + i % 3 + 1
    rig.run()
    for flow in range(3):
        width, bins = rig.net.bytes_over_time(flow)
        assert width == 1 << BIN_SHIFT + 2
        assert {i: n for i, n in enumerate(bins) if n} == expected[flow]
