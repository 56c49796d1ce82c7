"""What a run must obey, each rule a generator over a `Case` that yields a `Fault` for each value that breaks it.

A rule that needs a value which is itself invalid is skipped.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tensix_sim.config import open_array
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ops.case import (
    BATCH,
    BLOCK,
    DTYPE,
    GRID,
    HEAD_DIM,
    K_CHUNK,
    KV_HEADS,
    PREFIX,
    Q_CHUNK,
    Q_HEADS,
    SEQ_LEN,
    TABLE,
    Case,
    Fault,
    InvalidOperandError,
)

MAX_RING = 32

# -- of the op ---------------------------------------------------------------------------------------------


def ring_is_even(c: Case) -> Iterator[Fault]:
    """A ring is even, and not too long."""
    ring = c["ring_size"]
    if ring % 2 or ring > MAX_RING:
        yield c.fault(f"a ring has an even number of devices, {MAX_RING} at most", "ring_size")


def _positions_lie_on_the_ring(c: Case) -> Iterator[Fault]:
    ring = c["ring_size"]
    if c["ring_id"] is not None and c["ring_id"] >= ring:
        yield c.fault(f"positions on the ring are 0 to {ring - 1}", "ring_id", "ring_size")
    ids = c["ring_ids"]
    if ids == "all":
        return
    if outside := [i for i in ids if i >= ring]:
        yield c.fault(f"positions on the ring are 0 to {ring - 1}, so {outside} are none", "ring_ids", "ring_size")
    if len(set(ids)) != len(ids) or not ids:
        yield c.fault("lists at least one position and none twice", "ring_ids")


def _mesh_tells_the_position(c: Case) -> Iterator[Fault]:
    if c["mesh"] is not None and c["ring_id"] is None and c["ring_size"] not in c["mesh"]:
        rule = "a device's position is its place along the mesh axis as long as the ring, and neither axis is; give ring_id"
        yield c.fault(rule, "ring_size", "mesh")


def _heads_share_evenly(c: Case) -> Iterator[Fault]:
    if rest := c[Q_HEADS] % c[KV_HEADS]:
        yield c.fault(f"each K/V head serves equally many query heads; {rest} left over", Q_HEADS, KV_HEADS)


def _head_dim_is_whole_tiles(c: Case) -> Iterator[Fault]:
    yield from _whole_tiles(c, HEAD_DIM, "a row of a head")


def _q_chunk_is_whole_tiles(c: Case) -> Iterator[Fault]:
    yield from _whole_tiles(c, Q_CHUNK, "a Q chunk")


def _k_chunk_is_whole_tiles(c: Case) -> Iterator[Fault]:
    yield from _whole_tiles(c, K_CHUNK, "a K chunk")


def _block_is_whole_tiles(c: Case) -> Iterator[Fault]:
    if c["paged_kv"] is not None:
        yield from _whole_tiles(c, BLOCK, "a K/V block")


def _whole_tiles(c: Case, key: str, what: str) -> Iterator[Fault]:
    if rest := c[key] % TILE:
        yield c.fault(f"{what} is whole tiles of {TILE}; {rest} left over", key)


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


# -- of the board and of this simulator ---------------------------------------------------------------------


def _grid_lies_on_the_board(c: Case) -> Iterator[Fault]:
    (x, y), (columns, rows) = c[GRID], c.number("grid")
    if x > columns or y > rows:
        rule = f"a grid of {x * y} cores; {c['board']} has {columns}x{rows} = {columns * rows}"
        beyond = [f"{n} {what} too many" for n, what in ((x - columns, "columns"), (y - rows, "rows")) if n > 0]
        yield c.fault(f"{rule}: {', '.join(beyond)}", GRID, "board")


def _page_table_rows_are_aligned(c: Case) -> Iterator[Fault]:
    if (stick := c.table_row_bytes) % 32:
        found = {"machine.dram.page_alignment": c.number("dram.page_alignment")}
        yield Fault(found, f"rows of the page table, {stick} B each in DRAM, start at multiples of 32 B")


def buffers_fit_l1(c: Case) -> Iterator[Fault]:
    """Circular buffers, and an output in L1, fit a core."""
    table, output = c.l1_table, c.l1_output_bytes
    base, end, limit = table[0].address, table[-1].address + table[-1].bytes, c.number("l1.size") - output
    if end > limit:
        above = f" and the output {output:,} B from its top" if output else ""
        rule = (
            f"circular buffers take {end - base:,} B of L1 from address {base:,}{above}; "
            f"they end at {end:,}, {end - limit:,} B beyond {limit:,}"
        )
        keys = (Q_CHUNK, K_CHUNK, HEAD_DIM, DTYPE, *(["memory_config"] if output else []), "board")
        yield c.fault(rule, *keys)


def _tensors_fit_dram(c: Case) -> Iterator[Fault]:
    need, have = dram_bytes(c), dram_capacity(c)
    if need > have:
        keys = (SEQ_LEN, BATCH, Q_HEADS, KV_HEADS, HEAD_DIM, DTYPE, *([PREFIX] if c[PREFIX] else []), "board")
        rule = f"Q, K, V and output take {need:,} B on each chip; its DRAM has {have:,} B, {need - have:,} too few"
        yield c.fault(rule, *keys)


def dram_capacity(c: Case) -> int:
    """Bytes of one chip's DRAM."""
    return int(c.number("dram.banks") * c.number("dram.bank_bytes"))


def dram_bytes(c: Case) -> int:
    """Bytes of Q, K, V and the output on one chip."""
    q, kv = c.elements
    output = int(q // c["ring_size"])
    return (q + 2 * kv + output) * FORMATS[c[DTYPE]].tile_bytes // TILE**2


def _values_fit_the_host(c: Case) -> Iterator[Fault]:
    if c["numerics"] == "off":
        return
    q, kv = c.elements
    need, have = np.dtype(np.float32).itemsize * (3 * q + 4 * kv), host_memory_bytes()
    if need > have:
        rule = f"the values take about {need:,} B of memory; this computer has {have:,} B, {need - have:,} too few"
        yield c.fault(rule, "numerics", SEQ_LEN, BATCH, Q_HEADS, KV_HEADS, HEAD_DIM)


def host_memory_bytes() -> int:
    """Memory of the computer that runs the simulation."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


NOT_MODELLED = {
    "op": {"sdpa": "plain SDPA is not modelled yet", "chunked_sdpa": "chunked SDPA is not modelled yet"},
    "kernel": {"streaming": "the streaming kernel is not modelled yet"},
    "numerics": {"exact": "bit-exact arithmetic comes later; use fast"},
}


def _all_is_modelled(c: Case) -> Iterator[Fault]:
    for key, absent in NOT_MODELLED.items():
        try:
            if c[key] in absent:
                yield c.fault(absent[c[key]], key)
        except InvalidOperandError:
            continue


def _output_is_interleaved(c: Case) -> Iterator[Fault]:
    if c["memory_config"].endswith("_sharded"):
        yield c.fault("a sharded output is not modelled", "memory_config")


SHAPE_RULES = (
    ring_is_even, _positions_lie_on_the_ring, _mesh_tells_the_position, _heads_share_evenly,
    _head_dim_is_whole_tiles, _q_chunk_is_whole_tiles, _k_chunk_is_whole_tiles, _block_is_whole_tiles,
    _sequence_has_a_tile_for_each_slab, _sequence_makes_equal_slabs, _q_chunks_fill_a_slab,
    _prefix_is_paged, _prefix_is_whole_q_chunks, _prefix_is_whole_blocks, _sequence_is_whole_blocks,
    _paged_rows_are_whole_k_chunks,
)  # fmt: skip
RESOURCE_RULES = (
    _grid_lies_on_the_board, _page_table_rows_are_aligned, buffers_fit_l1, _tensors_fit_dram, _values_fit_the_host,
    _all_is_modelled, _output_is_interleaved,
)  # fmt: skip
Rule = Callable[[Case], Iterator[Fault]]


def faults(c: Case, rules: Iterable[Rule] = (*SHAPE_RULES, *RESOURCE_RULES)) -> Iterator[tuple[str, Fault]]:
    """All faults of a case, each with the name of its rule."""
    for rule in rules:
        try:
            for fault in rule(c):
                yield rule.__name__, fault
        except InvalidOperandError:
            continue


# -- of files -----------------------------------------------------------------------------------------------


def _files_agree(c: Case) -> Iterator[Fault]:
    given = c["inputs"]
    if not given.from_files:
        return
    expected = (given.batch, given.kv_heads, c.kv_len, given.head_dim)
    for name in "kv":
        path = getattr(given, name)
        if (shape := open_array(path, rank=4, kind="f").shape) != expected:
            yield Fault({f"inputs.{name}": path}, f"has shape {shape}; with this q and prefix it must be {expected}")


def _files_are_finite(c: Case) -> Iterator[Fault]:
    given = c["inputs"]
    if not given.from_files:
        return
    for name in "qkv":
        path = getattr(given, name)
        finite = np.isfinite(open_array(path, rank=4, kind="f"))
        if bad := finite.size - int(np.count_nonzero(finite)):
            where = tuple(int(i) for i in np.unravel_index(int(finite.argmin()), finite.shape))
            yield Fault({f"inputs.{name}": path}, f"{bad} of its values are NaN or infinite, the first at {where}")


def _page_table_finds_every_row(c: Case) -> Iterator[Fault]:
    if c["paged_kv"] is None or (path := c["paged_kv"].page_table_file) is None:
        return
    try:
        table = open_array(path, rank=2, kind="i")
    except ValueError as error:
        yield Fault({TABLE: path}, f"{error}; or use identity or shuffled")
        return
    if table.dtype != np.int32:
        yield Fault({TABLE: path}, f"holds {table.dtype}; int32 is needed")
    if table.shape[0] != c[BATCH]:
        yield c.fault(f"has {table.shape[0]} rows; each of {c[BATCH]} batches needs its own", TABLE, BATCH)
    if c.paged and table.shape[1] < c.pages:
        rule = f"has {table.shape[1]} pages a row; {c.kv_len} rows of K and V need {c.pages}"
        yield c.fault(rule, TABLE, BLOCK, SEQ_LEN, PREFIX)
    yield from _blocks_are_distinct(c, np.asarray(table[:, : c.pages] if c.paged else table))


def _blocks_are_distinct(c: Case, used: "np.ndarray[Any, np.dtype[Any]]") -> Iterator[Fault]:
    blocks, times = np.unique(used, return_counts=True)
    if blocks[0] < 0:
        yield c.fault(f"has block {blocks[0]}; the first is 0", TABLE)
    elif (times > 1).any():
        yield c.fault(f"block {blocks[times.argmax()]} stands {times.max()} times; each page needs its own", TABLE)
    block_bytes = c[KV_HEADS] * c[BLOCK] * c[HEAD_DIM] * FORMATS[c[DTYPE]].tile_bytes // TILE**2
    if (last := int(blocks[-1]) + 1) * 2 * block_bytes > dram_capacity(c):
        yield c.fault(f"names {last:,} blocks; K and V of so many do not fit the chip's DRAM", TABLE, BLOCK)


FILE_RULES = (_files_agree, _files_are_finite, _page_table_finds_every_row)
