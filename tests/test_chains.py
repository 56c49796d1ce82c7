"""Chains of cores that pass K and V on."""

from itertools import pairwise

import numpy as np
import pytest

from tensix_sim.config import RunSpec
from tensix_sim.ops.chains import chain_links
from tensix_sim.ops.deal import Deal
from tensix_sim.simulation import simulate


def links(heads, chunks, cores, columns=None):
    """Chain links of cores in one row."""
    return chain_links(Deal(heads, chunks, cores, zigzag=False), [(i, 0) for i in range(cores)], columns or range(1, cores + 1))


def chains(found):
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


@pytest.mark.parametrize(
    ("heads", "chunks", "cores"), [(1, 8, 4), (3, 32, 10), (32, 32, 110), (16, 4, 64), (5, 7, 11), (2, 1, 4)]
)
def test_a_chain_is_a_line_of_cores_that_share_a_head(heads, chunks, cores):
    """Who sends and who receives agree; each core is in one chain at most; shares never grow along a chain."""
    deal = Deal(heads, chunks, cores, zigzag=False)
    found = links(heads, chunks, cores)
    assert all(len(chain) >= 2 for chain in chains(found))
    members = [core for chain in chains(found) for core in chain]
    assert sorted(members) == sorted({i for i, link in enumerate(found) if link is not None})
    for chain in chains(found):
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


def test_with_equal_shares_the_readers_stand_apart():
    """Two heads on four cores, two each: the second reader is the member farther from the first."""
    assert [chain[0] for chain in chains(links(2, 2, 4))] == [0, 3]


def spec(**changes):
    """A small attention over all keys, whose heads span two cores and more."""
    given = {
        "op": "sdpa", "board": "p100a", "is_causal": False, "kernel": "legacy", "trace": "off",
        "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 192, "head_dim": 32, "dtype": "bfloat16"},
        "program_config": {"compute_with_storage_grid_size": [3, 2], "q_chunk_size": 32, "k_chunk_size": 64},
    }  # fmt: skip
    return RunSpec.model_validate(given | changes)


def test_what_is_passed_on_is_what_was_read(monkeypatch):
    """With chains and without, the same bits; with them, fewer bytes from DRAM."""
    chained = simulate(spec())
    monkeypatch.setattr("tensix_sim.ops.device_program.chain_links", lambda deal, cores, columns: [None] * len(cores))
    alone = simulate(spec())
    assert np.array_equal(chained.outputs[0], alone.outputs[0])
    assert chained.devices[0].dram_read_bytes < alone.devices[0].dram_read_bytes


def test_chained_cycles_do_not_depend_on_numbers():
    """`off` equals `fast`, to the cycle."""
    assert simulate(spec(numerics="off")).devices[0].cycles == simulate(spec()).devices[0].cycles
