"""Chains of cores that pass K and V on: the first reads a chunk from memory, each other gets it from the one before.

Upstream forms them where all Q chunks of a head see the same K and V: not causal, no window, dense
(sdpa_program_factory.cpp). One chain for each head whose Q chunks span several cores; a core is in one at most.
"""

from collections.abc import Sequence

from tensix_sim.arch.model import Coord
from tensix_sim.kernels.sdpa import Link
from tensix_sim.ops.deal import Deal


def chain_links(deal: Deal, cores: Sequence[Coord], columns: Sequence[int]) -> list[Link | None]:
    """Each core's part in its chain, if it has one. `columns` are the NoC columns of the logical `cores`."""
    shares = _shares(deal)
    links: list[Link | None] = [None] * deal.cores
    busy: set[int] = set()
    injectors: list[int] = []  # NoC columns
    for head in range(deal.heads):
        chain = _members(head, shares, busy)
        if len(chain) < 2:
            continue
        chain = _in_order(chain, [shares[i][head] for i in chain], columns, injectors)
        injectors.append(columns[chain[0]])
        busy |= set(chain)
        for n, i in enumerate(chain):
            before = cores[chain[n - 1]] if n else None
            after = chain[n + 1] if n + 1 < len(chain) else None
            links[i] = Link(head, before, None if after is None else cores[after], 0 if after is None else shares[after][head])
    return links


def _shares(deal: Deal) -> list[dict[int, int]]:
    """Q chunks of each head, core by core."""
    shares: list[dict[int, int]] = []
    for core in range(deal.cores):
        mine: dict[int, int] = {}
        for head, _ in deal.places(core):
            mine[head] = mine.get(head, 0) + 1
        shares.append(mine)
    return shares


def _members(head: int, shares: list[dict[int, int]], busy: set[int]) -> list[int]:
    """Cores of the head's chain from its start on, round the end of the list, up to the first that another chain has."""
    cores = [core for core, mine in enumerate(shares) if head in mine]
    free = [core for core in cores if core not in busy]
    alone = [core for core in free if len(shares[core]) == 1 and core != cores[-1]]
    if len(cores) < 2 or not free:
        return []
    first = cores.index((alone or free)[0])
    chain: list[int] = []
    for core in cores[first:] + cores[:first]:
        if core in busy:
            break
        chain.append(core)
    return chain


def _in_order(chain: list[int], counts: list[int], columns: Sequence[int], injectors: list[int]) -> list[int]:
    """Who reads first: with equal shares the core whose column is farthest from other readers', else the largest share."""
    if len(set(counts)) > 1:
        return [core for _, core in sorted(zip(counts, chain, strict=True), key=lambda pair: -pair[0])]
    if not injectors:
        return chain
    first = max(chain, key=lambda i: min(abs(columns[i] - x) for x in injectors))
    return [first, *(i for i in chain if i != first)]
