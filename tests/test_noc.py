"""The networks on chip: routes, distances, and which links may be left out of the queues."""

import random
from itertools import pairwise, product

import pytest

from tensix_sim.arch import machine
from tensix_sim.hw.noc import LinkId, Noc

SPECS = {board: machine(board).chip.noc for board in ("n150", "p100a")}
BOTH = pytest.mark.parametrize("noc", [Noc(i, spec) for spec in SPECS.values() for i in (0, 1)], ids=["wh0", "wh1", "bh0", "bh1"])


def nodes(noc: Noc) -> list[tuple[int, int]]:
    """Every router."""
    return list(product(range(noc.size[0]), range(noc.size[1])))


# -- routes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "source", "target", "links"),
    [
        (0, (1, 1), (3, 2), [(1, 1, 0), (2, 1, 0), (3, 1, 1)]),  # right, then down
        (1, (3, 2), (1, 1), [(3, 2, 1), (3, 1, 0), (2, 1, 0)]),  # up, then left
        (0, (9, 11), (0, 0), [(9, 11, 0), (0, 11, 1)]),  # round the right and the lower edge
        (1, (0, 0), (9, 11), [(0, 0, 1), (0, 11, 0)]),  # round the upper and the left edge
        (0, (4, 4), (4, 4), []),
    ],
)
def test_routes(index: int, source: tuple[int, int], target: tuple[int, int], links: list[LinkId]) -> None:
    """NoC 0 goes right then down, NoC 1 up then left, and both wrap round (10x12 routers)."""
    assert Noc(index, SPECS["n150"]).route(source, target) == links


@BOTH
def test_a_route_is_a_path_that_turns_once(noc: Noc) -> None:
    """Each link starts where the last one ended; the route ends at the target, with one turn at most, from every node."""
    source = (3, 5)
    for target in nodes(noc):
        at, axes = source, []
        for x, y, axis in noc.route(source, target):
            assert (x, y) == at
            step = 1 if noc.index == 0 else -1
            at = ((x + step) % noc.size[0], y) if axis == 0 else (x, (y + step) % noc.size[1])
            axes.append(axis)
        assert at == target
        assert sum(a != b for a, b in pairwise(axes)) <= 1


@BOTH
def test_hops_follow_the_closed_form_for_all_pairs(noc: Noc) -> None:
    """Hops of NoC 0 are (dx mod columns) + (dy mod rows), those of NoC 1 the way back, and the route has as many links."""
    columns, rows = noc.size
    sign = 1 if noc.index == 0 else -1
    for source, target in product(nodes(noc)[::7], nodes(noc)):
        expected = sign * (target[0] - source[0]) % columns + sign * (target[1] - source[1]) % rows
        assert noc.hops(source, target) == expected == len(noc.route(source, target))


@BOTH
def test_a_round_trip_does_not_depend_on_the_distance(noc: Noc) -> None:
    """There and back is once round each axis in use: near and far nodes of a row take the same."""
    columns, rows = noc.size
    base, hop = noc.spec.round_trip_base, noc.spec.router_cycles
    here = (2, 2)
    for target in nodes(noc):
        around = columns * (target[0] != 2) + rows * (target[1] != 2)
        assert noc.hops(here, target) + noc.hops(target, here) == around
        assert noc.round_trip(here, target) == base + hop * around
        assert 0 <= noc.round_trip(here, target) - noc.one_way(here, target) - noc.one_way(target, here) <= 1  # an odd base


@pytest.mark.parametrize(
    ("board", "nbytes", "on_link"),
    [
        ("n150", 1, 64),
        ("n150", 32, 64),
        ("n150", 33, 96),
        ("n150", 8192, 8224),
        ("n150", 8193, 8192 + 32 + 64),
        ("p100a", 1088, 1088 + 64),
        ("p100a", 16384, 16448),
        ("p100a", 16385, 16384 + 64 + 128),
    ],
)
def test_bytes_on_a_link(board: str, nbytes: int, on_link: int) -> None:
    """Whole flits of data and a header flit for each packet."""
    assert Noc(0, SPECS[board]).packet_bytes(nbytes) == on_link


# -- which links can queue ------------------------------------------------------------------------------------


def finish_times(flows: list[tuple[int, list[tuple[list[LinkId], int]]]]) -> list[int]:
    """FIFO links: each burst (time, [(links, work)]) queues at all of its links at once and ends with the last."""
    free: dict[LinkId, int] = {}
    ends = []
    for time, parts in flows:
        work: dict[LinkId, int] = {}
        for links, ticks in parts:
            for link in links:
                work[link] = work.get(link, 0) + ticks
        for link, ticks in work.items():
            free[link] = max(free.get(link, 0), time) + ticks
        ends.append(max([free[link] for link in work], default=time))
    return ends


@BOTH
@pytest.mark.parametrize("seed", range(12))
def test_leaving_links_out_changes_no_finish_time(noc: Noc, seed: int) -> None:
    """Random bursts over all links end when they end over `contended` links alone, and that drops some links."""
    rng = random.Random(seed)
    noc = Noc(noc.index, noc.spec)
    everyone = nodes(noc)
    sources = rng.sample(everyone, rng.choice([1, 2, 5, 12, 40]))
    noc.sources = set(sources)
    full, short, time = [], [], 0
    for _ in range(120):
        time += rng.choice([0, 0, 1, 5, 40])
        target = rng.choice(everyone)
        parts = [(source, rng.randrange(1, 50)) for source in rng.choices(sources, k=rng.randrange(1, 5))]
        full.append((time, [(noc.route(source, target), work) for source, work in parts]))
        short.append((time, [(noc.contended(source, target), work) for source, work in parts]))
    assert finish_times(short) == finish_times(full)
    links = [sum(len(route) for _, parts in flows for route, _ in parts) for flows in (short, full)]
    assert links[0] < links[1]


@BOTH
def test_contended_links_are_part_of_the_route(noc: Noc) -> None:
    """In the order of travel, the first link and the first after the turn among them."""
    noc = Noc(noc.index, noc.spec)
    noc.sources = {(0, 3), (5, 5)}
    for target in nodes(noc):
        route, kept = noc.route((0, 3), target), noc.contended((0, 3), target)
        assert [link for link in route if link in kept] == kept
        assert {link[2] for link in kept} == {link[2] for link in route}
