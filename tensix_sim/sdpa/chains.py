"""Chains of cores that pass K and V on: the first reads a chunk from memory, each other gets it from the one before.

Upstream forms them where all Q chunks of a head see the same K and V: not causal, no window, dense. A head whose Q chunks span
several cores may have one, and a core is in one at most. Of the rule there are two versions. `as_built` is that of plain SDPA
(sdpa_program_factory.cpp, mid-2026): if no core has the head for itself, the chain starts at any that is free, and a core may
have to pass on K and V of its first Q chunks to one that comes to the head after all its others. `where_alone` is that of the
joint ring (ring_joint_sdpa, mid-2026): the chain starts at the first core, not the last, that has nothing but this head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tensix_sim.arch.model import Coord
from tensix_sim.config import Chains
from tensix_sim.kernels.sdpa import ChainLink
from tensix_sim.sdpa.deal import Deal


@dataclass(frozen=True)
class Chain:
    """Cores that pass K and V of a head (of all batches) on: the Q chunks of it that each has, and those that it has before."""

    head: int
    cores: tuple[int, ...]
    shares: tuple[int, ...]
    before: tuple[int, ...]


def chains(deal: Deal, rule: Chains) -> list[Chain]:
    """The chains of a deal, each from the core that it starts at; who of equals reads first is left to `chain_links`."""
    spans = [(deal.start(core), deal.start(core) + deal.count(core)) for core in range(deal.cores)]
    alone = {core for core, (start, end) in enumerate(spans) if start < end and start // deal.chunks == (end - 1) // deal.chunks}
    found: list[Chain] = []
    busy: set[int] = set()
    for head, share in _shares(spans, deal.chunks).items():
        cores = _members(list(share), alone, busy) if rule == "as_built" else _from_one_alone(list(share), alone)
        if rule != "none" and len(cores) > 1:
            busy |= set(cores)
            before = tuple(max(0, head * deal.chunks - spans[core][0]) for core in cores)
            found.append(Chain(head, tuple(cores), tuple(share[core] for core in cores), before))
    return found


def chain_links(formed: Sequence[Chain], rule: Chains, cores: Sequence[Coord], columns: Sequence[int]) -> list[ChainLink | None]:
    """Each core's part in its chain, if it has one. `columns` are the NoC columns of the logical `cores`."""
    links: list[ChainLink | None] = [None] * len(cores)
    readers: list[int] = []  # NoC columns
    for chain in formed:
        share = dict(zip(chain.cores, chain.shares, strict=True))
        order = sorted(chain.cores, key=lambda core: -share[core])
        if rule == "as_built" and len(set(chain.shares)) == 1 and readers:  # the one whose column is farthest from other readers'
            first = max(order, key=lambda core: min(abs(columns[core] - x) for x in readers))
            order = [first, *(core for core in order if core != first)]
        readers.append(columns[order[0]])
        for before, core, after in zip([None, *order[:-1]], order, [*order[1:], None], strict=True):
            sender, receiver = (None if other is None else cores[other] for other in (before, after))
            links[core] = ChainLink(chain.head, sender, receiver, 0 if after is None else share[after])
    return links


def _shares(spans: Sequence[tuple[int, int]], chunks: int) -> dict[int, dict[int, int]]:
    """Of each head that spans several cores, in order, the Q chunks that each of them has: those in its (start, end)."""
    shares: dict[int, dict[int, int]] = {}
    for core, (start, end) in enumerate(spans):
        for head in {start // chunks, (end - 1) // chunks} if start < end else ():
            shares.setdefault(head, {})[core] = min(end, (head + 1) * chunks) - max(start, head * chunks)
    return {head: share for head, share in sorted(shares.items()) if len(share) > 1}


def _members(cores: list[int], alone: set[int], busy: set[int]) -> list[int]:
    """Cores of a chain from its start on, round the end of the list, up to the first that another chain has."""
    free = [core for core in cores if core not in busy]
    starts = [core for core in free if core in alone and core != cores[-1]] or free
    if not starts:
        return []
    at = cores.index(starts[0])
    chain: list[int] = []
    for core in cores[at:] + cores[:at]:
        if core in busy:
            break
        chain.append(core)
    return chain


def _from_one_alone(cores: list[int], alone: set[int]) -> list[int]:
    """Cores from the first, not the last, that has the head alone; those before it read for themselves."""
    return next((cores[i:] for i, core in enumerate(cores[:-1]) if core in alone), [])
