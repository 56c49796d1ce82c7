"""The chip-to-chip link: a rate, a queue and a hop."""

from math import ceil

import pytest

from tensix_sim.arch import machine
from tensix_sim.hw.ethernet import EthernetLink

ETHERNET = machine("galaxy").chip.ethernet
RATE = ETHERNET.rate * ETHERNET.efficiency


@pytest.mark.parametrize("nbytes", [1, 12, 1088, 4096, 1_000_000])
def test_a_message_leaves_at_the_links_rate_and_arrives_a_hop_later(nbytes: int) -> None:
    """Payload over payload rate, rounded up once, then the hop."""
    left, arrived = EthernetLink(ETHERNET).send(100, nbytes)
    assert left == 100 + ceil(nbytes / RATE - 1 / 512)
    assert arrived == left + ETHERNET.hop_cycles


def test_messages_queue_and_rounding_does_not_add_up() -> None:
    """A thousand messages at once take what one of their size takes, within the clock's fraction of a cycle each."""
    link = EthernetLink(ETHERNET)
    ends = [link.send(0, 100)[0] for _ in range(1000)]
    assert ends == sorted(ends)
    assert ends[-1] == pytest.approx(EthernetLink(ETHERNET).send(0, 100_000)[0], abs=1000 / 512 + 1)


@pytest.mark.parametrize(("late", "waits"), [(-1, 1), (0, 0), (5, 0)])
def test_a_link_is_free_when_the_last_byte_has_left(late: int, waits: int) -> None:
    """A message that comes a cycle before that waits for one cycle; one that comes then or later waits for none."""
    link = EthernetLink(ETHERNET)
    left, _ = link.send(0, 1200)  # 100 cycles
    assert left == 100
    assert link.send(left + late, 1200)[0] == left + late + waits + 100


@pytest.mark.parametrize("nbytes", [0, -1])
def test_a_message_has_bytes(nbytes: int) -> None:
    """An empty message is an error that says how many bytes it had."""
    with pytest.raises(ValueError, match=f"message of {nbytes} bytes"):
        EthernetLink(ETHERNET).send(0, nbytes)
