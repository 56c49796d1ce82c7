"""What-ifs: each changes what it names and nothing else; those that cannot be are refused."""

import numpy as np
import pytest
from specs import PLAIN, raw

from tensix_sim import check, simulate
from tensix_sim.config import load_spec
from tensix_sim.sdpa.geometry import Geometry

SMALL = raw(PLAIN, S=256, heads=4)
OFF = "numerics=off"


def cycles(*overrides: str) -> int:
    """Cycles of the small run with some values changed."""
    return simulate(load_spec(SMALL, [OFF, *overrides])).devices[0].cycles


def problem(*overrides: str) -> str:
    """What `check` says about the small run with some values changed."""
    return "; ".join(v.message for v in check(load_spec(SMALL, overrides)).violations)


def test_a_deal_gives_each_core_its_chunks_and_changes_no_number() -> None:
    """Steps follow the deal; the output is the same to the bit, whoever computes it."""
    usual = simulate(load_spec(SMALL))
    dealt = simulate(load_spec(SMALL, ["what_if.deal=[0,8,6,2]"]))
    g = Geometry.of(dealt.spec)
    assert [g.deal.count(i) for i in range(4)] == [0, 8, 6, 2]
    assert dealt.devices[0].active_cores == 3
    np.testing.assert_array_equal(dealt.outputs[0], usual.outputs[0])
    assert dealt.devices[0].cycles > usual.devices[0].cycles


def test_the_usual_deal_given_is_the_usual_run() -> None:
    """Giving what ttnn deals changes no cycle."""
    assert cycles("what_if.deal=[4,4,4,4]") == cycles()


def test_a_buffer_has_the_tiles_that_it_is_given() -> None:
    """It takes its bytes in the L1 map, and the others keep theirs."""
    usual = {b.name: b.bytes for b in check(load_spec(SMALL)).l1}
    given = {b.name: b.bytes for b in check(load_spec(SMALL, ["what_if.buffers.k_in=16"])).l1}
    assert given == usual | {"k_in": 16 * 1088}


def test_a_barrier_after_each_tile_costs_cycles() -> None:
    """Fewer tiles in flight make reads slower; 0 is no barrier, and no slower than any."""
    assert cycles("what_if.barrier_tiles=1") > cycles() >= cycles("what_if.barrier_tiles=0")


def test_without_a_mask_nothing_is_stamped() -> None:
    """It saves the stamps' cycles and moves the same bytes."""
    bare = simulate(load_spec(SMALL, [OFF, "what_if.mask=false"])).devices[0]
    assert bare.masked_steps == 0
    assert bare.cycles < cycles()
    assert bare.dram_read_bytes == simulate(load_spec(SMALL, [OFF])).devices[0].dram_read_bytes


def test_a_slow_bank_is_the_busiest() -> None:
    """A bank at a tenth of the rate is at work ten times as long as the others, for the same tiles."""
    device = simulate(load_spec(SMALL, [OFF, "machine.dram.bank_shares=[1,1,1,0.1,1,1,1]"])).devices[0]
    shares = [device.servers[f"dram bank {bank}"] for bank in range(7)]
    assert shares[3] == max(shares)
    assert shares[3] / sorted(shares)[3] == pytest.approx(10, rel=0.2)


def test_all_banks_at_their_whole_rate_are_the_usual_run() -> None:
    """Shares of 1 change no cycle."""
    assert cycles("machine.dram.bank_shares=[1,1,1,1,1,1,1]") == cycles()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("what_if.deal=[4,4,4]", "16 Q chunks go to 4 cores; here 12 go to 3"),
        ("what_if.deal=[4,4,4,5]", "here 17 go to 4"),
        ("what_if.buffers.kin=4", "no circular buffer kin"),
        ("what_if.buffers.k_in=6", "k_in of 6 tiles; 4 are waited for together"),
        ("what_if.mask=false", "set numerics: off"),
        ("machine.dram.bank_shares=[1,1]", "7 banks need 7 shares"),
    ],
)
def test_an_impossible_what_if_is_refused(override: str, says: str) -> None:
    """The message has what was found and what would be right."""
    assert says in problem(override)
