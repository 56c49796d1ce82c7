"""The chip-to-chip link: a rate, a queue and a hop."""

from math import ceil

import pytest

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import Chip
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.ethernet import Cable, EthernetLink
from tensix_sim.hw.fabric import Fabric
from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, Tensor, run
from tensix_sim.program import IDLE
from tensix_sim.trace import Trace

GALAXY = machine("galaxy")
ETHERNET = GALAXY.chip.ethernet
RATE = ETHERNET.rate * ETHERNET.efficiency


@pytest.mark.parametrize("nbytes", [1, 12, 1088, 4096, 1_000_000])
def test_a_message_leaves_at_the_links_rate(nbytes: int) -> None:
    """Payload over payload rate, rounded up once."""
    first, last = EthernetLink(ETHERNET).send(100, 100, nbytes)
    assert first == last == 100 + ceil(nbytes / RATE - 1 / 512)


def test_messages_queue_and_rounding_does_not_add_up() -> None:
    """A thousand messages at once take what one of their size takes, within the clock's fraction of a cycle each."""
    link = EthernetLink(ETHERNET)
    ends = [link.send(0, 0, 100)[1] for _ in range(1000)]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(EthernetLink(ETHERNET).send(0, 0, 100_000)[1], abs=1000 / 512 + 1)


@pytest.mark.parametrize(("late", "waits"), [(-1, 1), (0, 0), (5, 0)])
def test_a_link_is_free_when_the_last_byte_has_left(late: int, waits: int) -> None:
    """A message that comes a cycle before that waits for one cycle; one that comes then or later waits for none."""
    link = EthernetLink(ETHERNET)
    _, left = link.send(0, 0, 1200)  # 100 cycles
    assert left == 100
    assert link.send(left + late, left + late, 1200)[1] == left + late + waits + 100


@pytest.mark.parametrize("nbytes", [0, -1])
def test_a_message_has_bytes(nbytes: int) -> None:
    """An empty message is an error that says how many bytes it had."""
    with pytest.raises(ValueError, match=f"message of {nbytes} bytes"):
        EthernetLink(ETHERNET).send(0, 0, nbytes)


def test_a_run_of_packets_is_sent_while_it_comes() -> None:
    """The first packet leaves a packet's time after it came, the last not before it came and was sent; the bytes count once."""
    link = EthernetLink(ETHERNET)
    assert link.send(0, 10_000, 12_000, packets=10) == (100, 10_100)  # slower than the link: 1000 cycles of sending
    assert link.send(0, 0, 1200) == (1100, 1100)  # what is left of the time is for others


def test_both_directions_share_a_cable() -> None:
    """Together they get no more than the rate of the routers at its ends, which is less than twice that of one direction."""
    cable = Cable()
    there, back = EthernetLink(ETHERNET, cable), EthernetLink(ETHERNET, cable)
    ends = [link.send(0, 0, 12_000)[1] for _ in range(100) for link in (there, back)]
    assert ends[-1] == pytest.approx(2 * 100 * 12_000 / ETHERNET.duplex_rate, rel=0.01)
    assert ETHERNET.duplex_rate < 2 * RATE


@pytest.mark.parametrize(
    ("since", "ticks", "ends", "free"),
    [(0, 100, 100, 1100), (850, 100, 950, 1100), (850, 200, 1050, 1150), (1000, 100, 1200, 1200)],
)
def test_a_cable_carries_in_the_order_of_times(since: int, ticks: int, ends: int, free: int) -> None:
    """What comes before that which was asked for first has the time before it, and puts off the end by what is left over."""
    cable = Cable()
    assert cable.carry(1000, 100) == 1100
    assert cable.carry(since, ticks) == ends
    assert cable.free == free


def test_a_signal_waits_for_the_packets_before_it_only() -> None:
    """Those behind it, which come while those before it are being written, do not hold it up: who waits for them ends later."""
    out = [Tensor("out", 100, 1, BFLOAT16, output=True) for _ in range(2)]
    runs = range(0, 8 * GALAXY.chip.dram.banks, GALAXY.chip.dram.banks), *(range(i, i + 1) for i in range(1, 6))

    async def reader(dm: DataMovement, _: None) -> None:
        (cb,) = dm.cbs("x")
        for pages in runs:
            await dm.reserve(cb, len(pages))
            dm.fill(cb, len(pages), None)
            dm.push(cb, len(pages))

    async def writer(dm: DataMovement, _: None) -> None:
        (cb,) = dm.cbs("x")
        for pages in runs:
            await dm.wait(cb, len(pages))
            await dm.send(cb, out[0], pages, 1, 0, 1)
            dm.pop(cb, len(pages))
            if pages in (runs[0], runs[-1]):
                dm.signal("came", 1, 0, 1, (0, 0) if pages == runs[0] else (1, 0))

    async def hearer(dm: DataMovement, _: None) -> None:
        await dm.semaphore_wait("came", 1)

    x = BufferSpec("x", 16, BFLOAT16, "reader", "writer")
    sends = (x,), (Kernel("reader", reader, [None, IDLE]), Kernel("writer", writer, [None, IDLE], ethernet=True))
    hears = (), (Kernel("reader", hearer, [None, None]),)
    engine = Engine()
    chips = [
        Chip(GALAXY, Program((2, 1), *does, (tensor,), semaphores=("came",)), Trace("off"), engine)
        for does, tensor in zip((sends, hears), out, strict=True)
    ]
    Fabric(chips, engine, 1, ring=False)
    _, there = run(*chips, whole=False)
    assert there[(0, 0), "reader"].end < there[(1, 0), "reader"].end


def test_a_router_takes_a_message_when_its_slots_have_room() -> None:
    """As many packets as it has slots may wait; those of one run may wait together."""
    link = EthernetLink(ETHERNET)
    assert link.room_from(2000, 1200, 1) == 2000 - 100 * ETHERNET.router_slots
    assert link.room_from(2000, 4800, 4) == 2000 - 100 * (ETHERNET.router_slots + 3)
