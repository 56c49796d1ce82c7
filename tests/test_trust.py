"""How far to trust a time, and a difference of two."""

import math
from functools import partial
from statistics import mean

import pytest
from specs import PLAIN
from specs import spec as any_spec

from tensix_sim import trust as t
from tensix_sim import walls as w

COMPUTE = {"kernel_cycles_per_core": {"mean": 100.0, "max": 100}, "waits": {}}
MEMORY = {"kernel_cycles_per_core": {"mean": 100.0, "max": 100}, "waits": {"unpack: wait k_in": 20.0}}
STRAGGLER = {"kernel_cycles_per_core": {"mean": 50.0, "max": 100}, "waits": {}}


spec = partial(any_spec, PLAIN, kernel="legacy")  # causal


def errors(chip, kernel, mask, bound=None):
    """Of the shipped walls of a kind, from the two tables that ship and nothing else."""
    return [
        abs(p.cycles / p.row.wall_cycles - 1) for p in w.shipped() if p.kind == (chip, kernel, mask) and bound in (None, p.bound)
    ]


@pytest.mark.parametrize(("device", "bound"), [(COMPUTE, "compute"), (MEMORY, "dram"), (STRAGGLER, "straggler")])
def test_a_time_is_held_against_the_walls_of_its_kind(device, bound):
    """Chip, kernel, mask and what binds are the same; mean and worst are theirs."""
    found = t.trust(spec(kernel="streaming"), device)
    alike = errors("blackhole", "streaming", "causal", bound)
    assert (found.walls, found.mean_error, found.worst_error) == (len(alike), mean(alike), max(alike))
    assert "whatever" not in found.text


def test_what_is_left_out_is_said():
    """Where there is no wall of the very kind, first what binds goes, then the mask; both are named."""
    found = t.trust(spec(board="n150", is_causal=False), MEMORY)
    assert found.kind == "wormhole_b0, legacy, not causal, whatever binds"
    assert found.walls == len(errors("wormhole_b0", "legacy", "not causal"))
    assert t.trust(spec(sliding_window_size=64)).kind == "blackhole, legacy, whatever mask"


def test_where_there_is_no_wall_nothing_is_claimed():
    """Of Wormhole's streaming kernel the joint ring's walls are all there is; and changed numbers make no chip."""
    assert t.trust(spec(board="n150", kernel="streaming"), COMPUTE).walls == 3
    for changed in ({"machine": {"dram.bank_rate": 30.0}}, {"what_if": {"mask": False}}):
        assert t.trust(spec(**changed), COMPUTE).walls == 0
    assert t.trust(spec(machine={"l1.reserved": 1024}), COMPUTE).walls > 0


def test_ratios_are_held_against_pairs_that_differ_in_one_setting():
    """By hand: 9 of 10 pairs are within the limit, and the next one is not."""
    told = [(p.row, p.cycles) for p in w.shipped()]
    pairs = [(c.first, c.second) for c in w.changes(w.shipped())]
    cycles = {row.id: found for row, found in told}
    off = sorted(abs(math.log(cycles[b.id] / cycles[a.id] * a.wall_cycles / b.wall_cycles)) for a, b in pairs)
    found = t.ratio_error()
    assert found.pairs == len(off)
    assert found.mean == pytest.approx(math.exp(mean(off)) - 1)
    within = sum(math.exp(one) - 1 <= found.most * (1 + 1e-9) for one in off)
    assert 0.88 * len(off) <= within <= 0.92 * len(off)


@pytest.mark.parametrize(("factor", "told"), [(0.999, False), (1.001, True)])
def test_a_difference_tells_beyond_the_error_of_ratios(factor, told):
    """At its edge, whichever of the two is the longer."""
    more = 1 + t.ratio_error().most * factor
    assert t.tells(1000.0, 1000.0 * more) is told
    assert t.tells(1000.0 * more, 1000.0) is told
