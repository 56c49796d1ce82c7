"""The rules of chunked SDPA: causal attention of new queries behind a prefix, K and V in a paged cache, on one device."""

from collections.abc import Iterator

from tensix_sim.sdpa.case import K_CHUNK, PREFIX, Q_CHUNK, Case, Fault

FOREIGN_KEYS = ("ring_size", "ring_ids", "ring_id", "mesh", "is_causal", "sliding_window_size")


def _keys_are_paged(c: Case) -> Iterator[Fault]:
    if c["paged_kv"] is None:
        yield c.fault("K and V are read through a page table, and there is none", "paged_kv")


def _chunk_has_a_start(c: Case) -> Iterator[Fault]:
    if c[PREFIX] is None:
        yield c.fault("the op needs to know how many rows the cache holds already", PREFIX)


def _prefix_is_whole_chunks(c: Case) -> Iterator[Fault]:
    for key, what in ((Q_CHUNK, "Q"), (K_CHUNK, "K")):
        if rest := (c[PREFIX] or 0) % c[key]:
            yield c.fault(f"a prefix is whole {what} chunks; {rest} left over", PREFIX, key)


RULES = (_keys_are_paged, _chunk_has_a_start, _prefix_is_whole_chunks)
