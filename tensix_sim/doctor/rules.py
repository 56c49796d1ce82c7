"""What every run must obey, each rule a generator over a `Case` that yields a `Fault` for each value that breaks it.

A rule that needs a value which is itself invalid is skipped.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from tensix_sim.files import open_array
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.host import memory_bytes
from tensix_sim.sdpa.case import Case, InvalidOperandError
from tensix_sim.sdpa.inputs import mask_misfits, misfits
from tensix_sim.sdpa.keys import (
    ATTN_MASK,
    BATCH,
    BLOCK,
    CAUSAL,
    DTYPE,
    DTYPES,
    FP32_DEST,
    GRID,
    HEAD_DIM,
    JOINT,
    JOINT_FILES,
    K_CHUNK,
    KV_HEADS,
    KV_LEN,
    MASK_DTYPE,
    OF_MASK,
    PLACES,
    PREFIX,
    Q_CHUNK,
    Q_HEADS,
    SEQ_LEN,
    SINK,
    SINK_DTYPE,
    TABLE,
    WINDOWS,
    Change,
    Fault,
)
from tensix_sim.sdpa.op import default_of

# -- of every op -------------------------------------------------------------------------------------------


def _keys_belong_to_the_op(c: Case) -> Iterator[Fault]:
    for key in c.op.foreign:
        with suppress(InvalidOperandError):
            if c[key] != default_of(key):
                yield c.fault(f"{c['op']} takes no {key}; leave it out", key, "op")


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


def _every_key_has_a_query(c: Case) -> Iterator[Fault]:
    rows = c[SEQ_LEN] + (c[PREFIX] or 0)
    if c[CAUSAL] and c.kv_len != rows and not c["inputs"].from_files:
        keys = (KV_LEN, SEQ_LEN, *([PREFIX] if c[PREFIX] else []), CAUSAL)
        wrong = f"{abs(c.kv_len - rows)} too {'many' if c.kv_len > rows else 'few'}"
        yield c.fault(f"causal attention has a key for each of prefix and queries, {rows}: {wrong}", *keys)


def _streaming_needs_a_16_bit_dst(c: Case) -> Iterator[Fault]:
    if c["kernel"] == "streaming" and c[FP32_DEST]:
        yield c.fault("the streaming kernel has no 32-bit DST; that takes the legacy kernel", "kernel", FP32_DEST)


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
    """Circular buffers, and tensors in L1, fit a core."""
    inputs, output, reserved, base, limit = (
        c.l1_input_bytes,
        c.l1_output_bytes,
        c.number("l1.reserved"),
        c.l1_base,
        c.l1_limit,
    )
    end = base + sum(buffer.bytes for buffer in c.buffers)
    if end > limit:
        those = (inputs, "of Q, K and V"), (output, "of output"), (reserved, "reserved")
        above = " and ".join(f"{size:,} B {what}" for size, what in those if size)
        rule = (
            f"circular buffers take {end - base:,} B of L1 from address {base:,}; they end at {end:,}, {end - limit:,} B "
            f"beyond {limit:,}, " + (f"above which lie {above}" if above else "the end of L1")
        )
        more = [
            *(key for key in DTYPES if c[key]),
            *mask_keys(c),
            *(["memory_config"] if output else []),
            *([key for key in PLACES if c[key]] if inputs else []),
        ]
        found = {key: c[key] for key in (Q_CHUNK, K_CHUNK, HEAD_DIM, DTYPE, *more, "board")}
        yield Fault(found | ({"machine.l1.reserved": reserved} if reserved else {}), rule)


def _buffers_are_not_too_many(c: Case) -> Iterator[Fault]:
    count, most = len(c.buffers), c.number("l1.circular_buffers")
    if count > most:
        yield Fault({"machine.l1.circular_buffers": most}, f"the program has {count} circular buffers")


def _tensors_fit_dram(c: Case) -> Iterator[Fault]:
    need, have = dram_bytes(c), dram_capacity(c)
    if need > have:
        more = [*(key for key in (KV_LEN, *DTYPES, PREFIX) if c[key]), *mask_keys(c), *(OF_MASK if c[ATTN_MASK] else ())]
        keys = (SEQ_LEN, BATCH, Q_HEADS, KV_HEADS, HEAD_DIM, DTYPE, *more, "board")
        what = f"Q, K, V{', mask' if c[ATTN_MASK] else ''} and output"
        rule = f"{what} take {need:,} B on each chip; its DRAM has {have:,} B, {need - have:,} too few"
        yield c.fault(rule, *keys)


def mask_keys(c: Case) -> tuple[str, ...]:
    """What says how large tiles of the user's mask and sinks are, if there are any."""
    return (*((ATTN_MASK, MASK_DTYPE) if c[ATTN_MASK] else ()), *((SINK, SINK_DTYPE) if c[SINK] else ()))


def dram_capacity(c: Case) -> int:
    """Bytes of one chip's DRAM."""
    return int(c.number("dram.banks") * c.number("dram.bank_bytes"))


def dram_bytes(c: Case) -> int:
    """Bytes of Q, K, V, a mask, sinks and the output on one chip."""
    q, kv = c.elements
    output = q // c["ring_size"] if c.op.ring else q
    of_q, *of_kv = (FORMATS[dtype].tile_bytes for dtype in c.dtypes)
    if c.op.travels:  # a slice of Q and of the output, and K and V twice: a slice, and room for all
        q, kv = q // c["ring_size"], kv + kv // c["ring_size"]
    of_inputs = zip((q, kv, kv), (of_q, *of_kv), c.in_dram, strict=True)
    inputs = sum(elements * size for elements, size, in_dram in of_inputs if in_dram)
    of_mask, sinks = FORMATS[c[MASK_DTYPE]].tile_bytes, c[Q_HEADS] * FORMATS[c[SINK_DTYPE]].tile_bytes if c[SINK] else 0
    return int(inputs + output * of_q + c.mask_elements * of_mask) // TILE**2 + sinks


def _values_fit_the_host(c: Case) -> Iterator[Fault]:
    if c["numerics"] == "off":
        return
    q, kv = c.elements
    mask = 3 * c.mask_elements if c[WINDOWS] is None else 2 * c[SEQ_LEN] ** 2
    need, have = np.dtype(np.float32).itemsize * (3 * q + 4 * kv + mask), memory_bytes()
    if need > have:
        rule = f"the values take about {need:,} B of memory; this computer has {have:,} B, {need - have:,} too few"
        yield c.fault(rule, "numerics", SEQ_LEN, *([KV_LEN] if c[KV_LEN] else []), BATCH, Q_HEADS, KV_HEADS, HEAD_DIM)


def _output_is_interleaved(c: Case) -> Iterator[Fault]:
    if c["memory_config"].endswith("_sharded"):
        yield c.fault("a sharded output is not modelled", "memory_config")


SHAPE_RULES = (
    _keys_belong_to_the_op, _heads_share_evenly, _head_dim_is_whole_tiles, _q_chunk_is_whole_tiles, _k_chunk_is_whole_tiles,
    _block_is_whole_tiles, _every_key_has_a_query, _streaming_needs_a_16_bit_dst,
)  # fmt: skip
RESOURCE_RULES = (
    _grid_lies_on_the_board, _page_table_rows_are_aligned, buffers_fit_l1, _buffers_are_not_too_many, _tensors_fit_dram,
    _values_fit_the_host, _output_is_interleaved,
)  # fmt: skip


Rule = Callable[[Case], Iterator[Fault]]


def faults(c: Case) -> Iterator[tuple[str, Fault]]:
    """All faults of a case but those of its files, each with the name of its rule; of what-ifs only where shapes are legal."""
    shaped = not c.invalid
    for found in broken(c, (*SHAPE_RULES, *_op_rules(c))):
        shaped = False
        yield found
    yield from broken(c, (*RESOURCE_RULES, *WHAT_IF_RULES) if shaped else RESOURCE_RULES)


def is_legal(c: Case, change: Change) -> bool:
    """Whether a case breaks no rule after a change; its files are not asked."""
    return not any(faults(c.put(change)))


def shape_rules(c: Case) -> set[str]:
    """Names of the rules without which there is no geometry to show."""
    return {rule.__name__ for rule in (*SHAPE_RULES, *_op_rules(c), *WHAT_IF_RULES)}


def still_broken(c: Case, name: str) -> bool:
    """Whether the rule of a name finds any fault."""
    rules = (*SHAPE_RULES, *_op_rules(c), *RESOURCE_RULES, *WHAT_IF_RULES)
    return any(broken(c, (rule for rule in rules if rule.__name__ == name)))


def _op_rules(c: Case) -> tuple[Rule, ...]:
    try:
        return c.op.rules
    except InvalidOperandError:
        return ()


def broken(c: Case, rules: Iterable[Rule]) -> Iterator[tuple[str, Fault]]:
    """The faults that `rules` find, each with the name of its rule."""
    for rule in rules:
        try:
            for fault in rule(c):
                yield rule.__name__, fault
        except InvalidOperandError:
            continue


# -- of what-ifs, for which the shapes must be legal ---------------------------------------------------------


def _deal_covers_the_work(c: Case) -> Iterator[Fault]:
    if (given := c["what_if.deal"]) is None:
        return
    usual = c.put({"what_if.deal": None}).geometry
    if len(given) != usual.cores or sum(given) != usual.deal.total:
        rule = (
            f"{usual.deal.total} Q chunks go to {usual.cores} cores; here {sum(given)} go to {len(given)}; "
            f"ttnn deals {[usual.deal.count(i) for i in range(usual.cores)]}"
        )
        yield c.fault(rule, "what_if.deal", GRID)


def _changed_buffers_hold_what_moves(c: Case) -> Iterator[Fault]:
    changed = c["what_if.buffers"]
    if not changed:
        return
    g = c.put({"what_if.buffers": {}}).geometry
    known = {buffer.name: buffer for buffer in g.buffers}
    if unknown := sorted(set(changed) - set(known)):
        yield c.fault(f"no circular buffer {', '.join(unknown)}; there are {', '.join(known)}", "what_if.buffers")
    for name in sorted(set(changed) & set(known)):
        buffer, tiles = known[name], changed[name]
        at_once = g.blocks.moved_at_once(buffer)
        if tiles % at_once:
            rule = f"{name} of {tiles} tiles; {at_once} are waited for together, so it must hold a multiple of these"
            yield c.fault(rule, "what_if.buffers")
        elif g.blocks.streaming and buffer.consumer == buffer.producer == "compute" and tiles != buffer.tiles:
            yield c.fault(f"{name} of {tiles} tiles; the streaming kernel fills all of its {buffer.tiles}", "what_if.buffers")


def _without_a_mask_there_are_no_numbers(c: Case) -> Iterator[Fault]:
    if not c["what_if.mask"] and c["numerics"] != "off":
        yield c.fault("without the mask's stamps the output is wrong; set numerics: off", "what_if.mask", "numerics")


def _every_device_has_a_start(c: Case) -> Iterator[Fault]:
    skew = c["what_if.start_skew"]
    if skew and not c.op.travels:
        yield c.fault("devices whose K and V do not travel do not wait for each other", "what_if.start_skew", "op")
    elif skew and len(skew) != c["ring_size"]:
        yield c.fault(f"{len(skew)} starts; there are {c['ring_size']} devices", "what_if.start_skew", "ring_size")


WHAT_IF_RULES = (
    _deal_covers_the_work, _changed_buffers_hold_what_moves, _without_a_mask_there_are_no_numbers, _every_device_has_a_start,
)  # fmt: skip


# -- of files -----------------------------------------------------------------------------------------------


def _files_agree(c: Case) -> Iterator[Fault]:
    given = c["inputs"]
    if not given.from_files:
        return
    rows = given.seq_len + (c[PREFIX] or 0) if c[CAUSAL] else c.kv_len
    expected = (given.batch, given.kv_heads, rows, given.head_dim)
    for name in "kv":
        path = getattr(given, name)
        if (shape := open_array(path, rank=4, kind="f").shape) != expected:
            yield Fault({f"inputs.{name}": path}, f"has shape {shape}; with this q and prefix it must be {expected}")


def _values_of_files_fit_their_format(c: Case) -> Iterator[Fault]:
    given = c["inputs"]
    if not given.from_files:
        return
    for name, dtype in zip("qkv", c.dtypes, strict=True):
        path = getattr(given, name)
        if wrong := misfits(open_array(path, rank=4, kind="f"), FORMATS[dtype]):
            yield Fault({f"inputs.{name}": path}, wrong)


def _joint_files_fit(c: Case) -> Iterator[Fault]:
    heads = c[Q_HEADS], c[KV_HEADS], c[KV_HEADS]
    for path, n, dtype in zip(c[JOINT_FILES] or (), heads, c.dtypes, strict=False):
        expected = (c[BATCH], n, c[JOINT], c[HEAD_DIM])
        try:
            rows = open_array(path, rank=4, kind="f")
        except ValueError as error:
            yield Fault({JOINT_FILES: path}, str(error))
            continue
        if rows.shape != expected:
            yield Fault({JOINT_FILES: path}, f"has shape {rows.shape}; with these heads and joint_len it must be {expected}")
        if wrong := misfits(rows, FORMATS[dtype]):
            yield Fault({JOINT_FILES: path}, wrong)


def _mask_file_fits(c: Case) -> Iterator[Fault]:
    path = c["inputs"].attn_mask_file
    if path is None or c[ATTN_MASK] is None:
        return
    try:
        mask = open_array(path, rank=4, kind="f")
    except ValueError as error:
        yield Fault({ATTN_MASK: path}, f"{error}; or use random or causal")
        return
    expected = (*(c[key] for key in OF_MASK), c[SEQ_LEN], c.kv_len)
    if mask.shape != expected:
        yield Fault({ATTN_MASK: path}, f"has shape {mask.shape}; with these lengths it must be {expected}")
    if wrong := mask_misfits(mask, FORMATS[c[MASK_DTYPE]]):
        yield Fault({ATTN_MASK: path}, wrong)


def _sink_file_fits(c: Case) -> Iterator[Fault]:
    path = c["inputs"].attention_sink_file
    if path is None or c[SINK] is None:
        return
    try:
        sinks = open_array(path, rank=4, kind="f")
    except ValueError as error:
        yield Fault({SINK: path}, f"{error}; or use random")
        return
    if sinks.shape != (expected := (1, c[Q_HEADS], 1, 1)):
        yield Fault({SINK: path}, f"has shape {sinks.shape}; with these heads it must be {expected}")
    if wrong := misfits(sinks, FORMATS[c[SINK_DTYPE]]):
        yield Fault({SINK: path}, wrong)


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
    tile_bytes = sum(FORMATS[dtype].tile_bytes for dtype in c.dtypes[1:])
    block_bytes = c[KV_HEADS] * c[BLOCK] * c[HEAD_DIM] * tile_bytes // TILE**2
    if (last := int(blocks[-1]) + 1) * block_bytes > dram_capacity(c):
        yield c.fault(f"names {last:,} blocks; K and V of so many do not fit the chip's DRAM", TABLE, BLOCK)


FILE_RULES = (
    _files_agree, _values_of_files_fit_their_format, _joint_files_fit, _mask_file_fits, _sink_file_fits,
    _page_table_finds_every_row,
)  # fmt: skip
