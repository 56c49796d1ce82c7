"""The rules of ring-distributed SDPA: causal attention whose queries are shared among an even ring of devices."""

from collections.abc import Iterator

from tensix_sim.formats import TILE
from tensix_sim.sdpa.case import BLOCK, DTYPE, K_CHUNK, KV_DTYPE, PREFIX, Q_CHUNK, SEQ_LEN, Case, Fault

MAX_RING = 32
FOREIGN_KEYS = ("is_causal",)


def ring_is_even(c: Case) -> Iterator[Fault]:
    """A ring is even, and not too long."""
    ring = c["ring_size"]
    if ring % 2 or ring > MAX_RING:
        yield c.fault(f"a ring has an even number of devices, {MAX_RING} at most", "ring_size")


def _position_lies_on_the_ring(c: Case) -> Iterator[Fault]:
    ring = c["ring_size"]
    if c["ring_id"] is not None and c["ring_id"] >= ring:
        yield c.fault(f"positions on the ring are 0 to {ring - 1}", "ring_id", "ring_size")


def _positions_are_distinct(c: Case) -> Iterator[Fault]:
    ids = c["ring_ids"]
    if ids != "all" and (len(set(ids)) != len(ids) or not ids):
        yield c.fault("lists at least one position and none twice", "ring_ids")


def _positions_lie_on_the_ring(c: Case) -> Iterator[Fault]:
    ring, ids = c["ring_size"], c["ring_ids"]
    if ids != "all" and (outside := [i for i in ids if i >= ring]):
        yield c.fault(f"positions on the ring are 0 to {ring - 1}, so {outside} are none", "ring_ids", "ring_size")


def _mesh_tells_the_position(c: Case) -> Iterator[Fault]:
    if c["mesh"] is not None and c["ring_id"] is None and c["ring_size"] not in c["mesh"]:
        rule = "a device's position is its place along the mesh axis as long as the ring, and neither axis is; give ring_id"
        yield c.fault(rule, "ring_size", "mesh")


def _sequence_has_a_tile_for_each_slab(c: Case) -> Iterator[Fault]:
    least = 2 * TILE * c["ring_size"]
    if c[SEQ_LEN] < least:
        yield c.fault(f"two slabs a device, a tile each, need {least} rows: {least - c[SEQ_LEN]} more", SEQ_LEN, "ring_size")


def _sequence_makes_equal_slabs(c: Case) -> Iterator[Fault]:
    slabs = 2 * c["ring_size"]
    if rest := c[SEQ_LEN] % slabs:
        yield c.fault(f"the sequence is cut in {slabs} equal slabs; {rest} left over", SEQ_LEN, "ring_size")


def _q_chunks_fill_a_slab(c: Case) -> Iterator[Fault]:
    if rest := c.slab % c[Q_CHUNK]:
        over = f"is {c[Q_CHUNK] - c.slab} rows longer than" if c[Q_CHUNK] > c.slab else f"leaves {rest} rows of"
        yield c.fault(f"a Q chunk {over} a slab, which is {c.slab} rows", Q_CHUNK, SEQ_LEN, "ring_size")


def _one_dtype(c: Case) -> Iterator[Fault]:
    if c.kv_dtype != c[DTYPE]:
        yield c.fault("Q, K and V have one data type in this op", KV_DTYPE, DTYPE)


def _prefix_is_paged(c: Case) -> Iterator[Fault]:
    if c[PREFIX] is not None and c["paged_kv"] is None:
        yield c.fault("a prefix is read through a page table, and there is none", "paged_kv", PREFIX)


def _prefix_is_whole_q_chunks(c: Case) -> Iterator[Fault]:
    if c[PREFIX] is not None and (rest := c[PREFIX] % c[Q_CHUNK]):
        yield c.fault(f"a prefix is whole Q chunks; {rest} left over", PREFIX, Q_CHUNK)


def _prefix_is_whole_blocks(c: Case) -> Iterator[Fault]:
    if c.paged and (rest := c[PREFIX] % c[BLOCK]):
        yield c.fault(f"a prefix is whole blocks; {rest} left over", PREFIX, BLOCK)


def _sequence_is_whole_blocks(c: Case) -> Iterator[Fault]:
    if c.paged and (rest := c[SEQ_LEN] % c[BLOCK]):
        yield c.fault(f"the new rows are whole blocks; {rest} left over", BLOCK, SEQ_LEN)


def _paged_rows_are_whole_k_chunks(c: Case) -> Iterator[Fault]:
    if c[PREFIX] is not None and (rest := c.kv_len % c[K_CHUNK]):
        rule = f"prefix and new rows, {c.kv_len} together, are whole K chunks; {rest} left over"
        yield c.fault(rule, K_CHUNK, PREFIX, SEQ_LEN)


RULES = (
    ring_is_even, _position_lies_on_the_ring, _positions_are_distinct, _positions_lie_on_the_ring,
    _mesh_tells_the_position, _sequence_has_a_tile_for_each_slab,
    _sequence_makes_equal_slabs, _q_chunks_fill_a_slab, _one_dtype, _prefix_is_paged,
    _prefix_is_whole_q_chunks, _prefix_is_whole_blocks, _sequence_is_whole_blocks, _paged_rows_are_whole_k_chunks,
)  # fmt: skip
