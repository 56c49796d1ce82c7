"""Chains of cores that pass K and V on."""

from itertools import pairwise

import numpy as np
import pytest
from specs import PLAIN, raw

from tensix_sim.sdpa.chains import chain_links, chains
from tensix_sim.sdpa.deal import Deal
from tensix_sim.simulation import simulate


def links(heads, chunks, cores, rule="as_built"):
    """Chain links of cores in one row."""
    formed = chains(Deal(heads, chunks, cores, zigzag=False), rule)
    return chain_links(formed, rule, [(i, 0) for i in range(cores)], range(1, cores + 1))


def lines(found):
    """Each chain's cores in order."""
    at = {i: link for i, link in enumerate(found) if link is not None}
    starts = [i for i, link in at.items() if link.before is None]
    result = []
    for start in starts:
        chain = [start]
        while (after := at[chain[-1]].after) is not None:
            chain.append(after[0])
        result.append(chain)
    return result


@pytest.mark.parametrize("rule", ["as_built", "where_alone"])
@pytest.mark.parametrize(
    ("heads", "chunks", "cores"), [(1, 8, 4), (3, 32, 10), (32, 32, 110), (16, 4, 64), (5, 7, 11), (2, 1, 4)]
)
def test_a_chain_is_a_line_of_cores_that_share_a_head(heads, chunks, cores, rule):
    """Who sends and who receives agree; each core is in one chain at most; shares never grow along a chain."""
    deal = Deal(heads, chunks, cores, zigzag=False)
    found = links(heads, chunks, cores, rule)
    assert all(len(chain) >= 2 for chain in lines(found))
    members = [core for chain in lines(found) for core in chain]
    assert sorted(members) == sorted({i for i, link in enumerate(found) if link is not None})
    for chain in lines(found):
        head = found[chain[0]].head
        shares = [sum(h == head for h, _ in deal.places(core)) for core in chain]
        assert all(shares)
        assert shares == sorted(shares, reverse=True)
        for before, core in pairwise(chain):
            assert found[core].before == (before, 0)
            assert found[before].after_chunks == sum(h == head for h, _ in deal.places(core))


def test_a_head_on_one_core_has_no_chain():
    """There is nobody to pass anything on to."""
    assert links(4, 8, 4) == [None] * 4


def test_where_no_core_has_a_head_alone_the_two_rules_differ():
    """12 Q chunks a core, 16 a head: of three heads on four cores only the first has a core for itself that is not its last."""
    built, alone = (lines(links(3, 16, 4, rule)) for rule in ("as_built", "where_alone"))
    assert built == [[0, 1], [3, 2]]
    assert alone == [[0, 1]]


@pytest.mark.parametrize(("heads", "chunks", "cores"), [(1, 54, 5), (14, 54, 63), (5, 7, 11), (3, 32, 10)])
def test_where_alone_a_chain_starts_at_a_core_of_one_head(heads, chunks, cores):
    """All but its last core have no other head, so that its cores come to the head at once, but for that one."""
    deal = Deal(heads, chunks, cores, zigzag=False)
    for chain in chains(deal, "where_alone"):
        assert chain.before == (0,) * len(chain.cores)
        assert all({head for head, _ in deal.places(core)} == {chain.head} for core in chain.cores[:-1])


def test_without_chains_nobody_passes_anything_on():
    """`none` forms none, whatever the deal."""
    assert chains(Deal(3, 16, 4, zigzag=False), "none") == []


def test_with_equal_shares_the_readers_stand_apart():
    """Two heads on four cores, two each: the second reader is the member farther from the first."""
    assert [chain[0] for chain in lines(links(2, 2, 4))] == [0, 3]


SMALL = raw(  # over all keys, with heads that span two cores and more
    PLAIN, S=192, d=32, dtype="bfloat16", q=32, grid=[3, 2], is_causal=False, kernel="legacy", trace="off"
)  # fmt: skip


@pytest.mark.parametrize("rule", ["as_built", "where_alone"])
def test_what_is_passed_on_is_what_was_read(rule):
    """With chains and without, the same bits; with them, fewer bytes from DRAM."""
    chained, alone = (simulate(SMALL | {"what_if": {"chains": which}}) for which in (rule, "none"))
    assert np.array_equal(chained.outputs[0], alone.outputs[0])
    assert chained.devices[0].dram_read_bytes < alone.devices[0].dram_read_bytes


def test_a_core_that_waits_in_a_chain_says_so():
    """The wait has the chain's name."""
    assert any("in K/V chain" in wait.cause.name for wait in simulate(SMALL | {"numerics": "off"}).devices[0].waits)


def test_chained_cycles_do_not_depend_on_numbers():
    """`off` equals `fast`, to the cycle."""
    assert simulate(SMALL | {"numerics": "off"}).devices[0].cycles == simulate(SMALL).devices[0].cycles
