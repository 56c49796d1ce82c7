"""The rules of plain SDPA: causal or not, with a sliding window or without, over dense K and V on one device."""

from collections.abc import Iterator

from tensix_sim.sdpa.case import CAUSAL, KV_LEN, SEQ_LEN, WINDOW, Case, Fault

FOREIGN_KEYS = ("ring_size", "ring_ids", "ring_id", "mesh", "paged_kv", "chunk_start_idx")


def _every_query_sees_a_key(c: Case) -> Iterator[Fault]:
    if c[WINDOW] is None or c[CAUSAL]:
        return
    if (blind := c[SEQ_LEN] - c.kv_len - c[WINDOW] // 2) > 0:
        rule = f"a query sees {c[WINDOW] // 2} keys to either side; of {c.kv_len} keys the last {blind} queries see none"
        yield c.fault(rule, WINDOW, SEQ_LEN, KV_LEN)


RULES = (_every_query_sees_a_key,)
