"""The nearest legal values, found by trying.

A change is offered if the rules then find no fault at all, or, where there is no such change, if it heals its own
fault and brings no other.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from itertools import product
from math import isqrt, lcm
from typing import Any, Literal, get_args, get_origin

from tensix_sim.arch import BOARDS
from tensix_sim.config import BUILT_IN, PagedKV
from tensix_sim.doctor.rules import buffers_fit_l1, dram_bytes, dram_capacity, faults, still_broken
from tensix_sim.doctor.types import annotation_of
from tensix_sim.formats import TILE
from tensix_sim.sdpa.case import Case, InvalidOperandError
from tensix_sim.sdpa.keys import (
    ATTN_MASK,
    BALANCED,
    BATCH,
    BLOCK,
    CAUSAL,
    FP32_DEST,
    GRID,
    HEAD_DIM,
    JOINT,
    JOINT_FILES,
    K_CHUNK,
    KV_HEADS,
    KV_LEN,
    LINKS,
    LOGICAL,
    MASK_BATCH,
    MASK_HEADS,
    PLACES,
    PREFIX,
    Q_CHUNK,
    Q_HEADS,
    SCALE,
    SEQ_LEN,
    SINK,
    TOPOLOGY,
    WINDOW,
    WINDOWS,
    Change,
    Fault,
)
from tensix_sim.sdpa.op import MAX_RING, OPS


def divisors(n: int) -> set[int]:
    """All numbers that divide `n`."""
    return {d for small in range(1, isqrt(n) + 1) if n % small == 0 for d in (small, n // small)}


def _around(near: int, step: int, count: int = 32) -> list[int]:
    middle = max(1, near // step)
    return [m * step for m in range(max(1, middle - count), middle + count + 1)]


def _chunk_sizes(rows: int, near: int) -> list[int]:
    """Whole tiles that divide `rows`; any whole tiles where finding the divisors would take long."""
    if rows % TILE or rows > 10**9:
        return _around(near, TILE)
    return [TILE * d for d in divisors(rows // TILE)]


def q_chunk_sizes(c: Case, near: int) -> list[int]:
    """Sizes that a Q chunk may have, or any whole tiles where the slab is not known."""
    return tried(lambda: _chunk_sizes(c.slab, near)) or _around(near, TILE)


def _smaller_chunks(c: Case) -> Iterator[Change]:
    """List what takes less L1: tensors elsewhere, or chunks that leave no rest, the least smaller first."""
    if c["memory_config"] == "l1_interleaved":
        yield {"memory_config": "dram_interleaved"}
    if not all(c.in_dram):
        yield {key: "dram_interleaved" for key in PLACES if c[key] == "l1_interleaved"}
    q, k = c[Q_CHUNK], c[K_CHUNK]
    q_sizes = [size for size in q_chunk_sizes(c, q) if size <= q]
    k_sizes = {size for size in _chunk_sizes(c.kv_len, k) if size <= k} | {k}
    for new_q, new_k in sorted(product(q_sizes, k_sizes), reverse=True, key=sum):
        yield {key: new for key, new, old in ((Q_CHUNK, new_q, q), (K_CHUNK, new_k, k)) if new != old}


def k_chunk_sizes(c: Case, near: int) -> list[int]:
    """Sizes that a K chunk may have: any whole tiles, or what divides the rows that must be whole chunks, all or the prefix."""
    rows = 0 if c[PREFIX] is None else c.kv_len if c.op.ring else c[PREFIX]
    return _chunk_sizes(rows, near) if rows else _around(near, TILE)


def _sequence_lengths(c: Case, near: int) -> list[int]:
    step = c.slabs * lcm(TILE, c[Q_CHUNK]) if c.op.ring else TILE
    if c.paged and c.op.ring:
        step = lcm(step, c[BLOCK])
    most = near * dram_capacity(c) // max(1, dram_bytes(c.put({SEQ_LEN: near})))
    return _around(near, step) + _around(most, step)


def grids(c: Case) -> list[Change]:
    """Grids of the board, one for each other number of cores: of those the one most like the given in shape."""
    columns, rows = c.number("grid")
    x, y = c[GRID]
    by_cores: dict[int, tuple[int, int]] = {}
    for grid in sorted(product(range(1, columns + 1), range(1, rows + 1)), key=lambda grid: abs(grid[0] - x) + abs(grid[1] - y)):
        by_cores.setdefault(grid[0] * grid[1], grid)
    return [{GRID: grid} for cores, grid in sorted(by_cores.items()) if cores != x * y]


def _prefixes(c: Case, near: int) -> list[int | None]:
    if PREFIX in c.op.foreign:
        return [None]
    step = lcm(c[Q_CHUNK], (c[BLOCK] or 1) if c.op.ring else c[K_CHUNK])
    return [0, *_around(near, step)]


def _grids(c: Case, near: int) -> list[tuple[int, int]]:
    columns, rows = c.number("grid")
    program = c.spec.program_config
    x, y = program.compute_with_storage_grid_size if program else (columns, rows)
    smaller = [(x - 1, y), (x, y - 1)] if c.op.travels and x > 1 and y > 1 else []  # room for the cores that gather
    return list(dict.fromkeys([(min(x, columns), min(y, rows)), (columns, rows), *smaller]))


FREE = "program_config."
CANDIDATES: dict[str, Callable[[Case, int], Iterable[Any]]] = {
    "op": lambda c, near: OPS,
    "ring_size": lambda c, near: range(2, MAX_RING + 1, 1 if c.op.travels else 2),
    "ring_id": lambda c, near: range(min(c["ring_size"], MAX_RING)) if c.op.ring else [None],
    "mesh": lambda c, near: [None],
    "ring_ids": lambda c, near: ["all"],
    "board": lambda c, near: BOARDS,
    "paged_kv": lambda c, near: [PagedKV(block_size=64), PagedKV(block_size=32), None],
    CAUSAL: lambda c, near: [True, False],
    WINDOW: lambda c, near: [width for width in (2 * (c[SEQ_LEN] - c.kv_len),) if width > 0] + [None],
    WINDOWS: lambda c, near: [tuple(sorted({0, *(n for n in c[WINDOWS] or () if 0 < n < c[SEQ_LEN]), c[SEQ_LEN]}))[-1024:], None],
    KV_LEN: lambda c, near: [None],
    ATTN_MASK: lambda c, near: [None],
    SINK: lambda c, near: [None],
    MASK_BATCH: lambda c, near: [1, c[BATCH]],
    MASK_HEADS: lambda c, near: [1, c[Q_HEADS]],
    SCALE: lambda c, near: [None],
    "what_if.deal": lambda c, near: [None],
    "what_if.start_skew": lambda c, near: [()],
    TOPOLOGY: lambda c, near: [None, "line"],
    LINKS: lambda c, near: range(1, c.board.links_per_neighbour + 1),
    LOGICAL: lambda c, near: [None],
    JOINT: lambda c, near: [0],
    JOINT_FILES: lambda c, near: [None],
    BALANCED: lambda c, near: [False],
    FP32_DEST: lambda c, near: [False],
    BATCH: lambda c, near: [*_around(near, 1), *_around(MAX_RING, 1)],
    SEQ_LEN: _sequence_lengths,
    HEAD_DIM: lambda c, near: [*_around(near, TILE), *_around(TILE, TILE)],
    Q_HEADS: lambda c, near: [*_around(near, c[KV_HEADS]), *_around(1, c[KV_HEADS])],
    KV_HEADS: lambda c, near: divisors(min(c[Q_HEADS], 10**9)),
    Q_CHUNK: q_chunk_sizes,
    K_CHUNK: k_chunk_sizes,
    GRID: _grids,
    PREFIX: _prefixes,
    BLOCK: lambda c, near: _chunk_sizes(c[SEQ_LEN], near),
}


Trial = Callable[[Change], list[tuple[str, str]]]


def trial(c: Case) -> Trial:
    """Make the function that tells which rules a change leaves broken, each with the key that it blames. It tries none twice."""
    found: dict[str, list[tuple[str, str]]] = {}

    def after(change: Change) -> list[tuple[str, str]]:
        name = repr(change)
        if name not in found:
            found[name] = [(rule, fault.key) for rule, fault in faults(c.put(change))]
        return found[name]

    return after


def nearest(c: Case, after: Trial, known: set[str], rule: str, fault: Fault) -> tuple[Change, ...]:
    """Find up to two changes that leave no fault, or else two that heal this one and bring no other.

    What the work is, is given, and its config is free: where a change of config helps, none of the work is offered.
    """
    partly: list[Change] = []
    config_helps = False
    for free, changes in _changes(c, rule, fault):
        if config_helps and not free:
            break
        wholly = []
        for change in changes:
            if still_broken(c.put(change), rule):
                continue
            left = after(change)
            if not left:
                wholly.append(change)
            elif len(partly) < 2 and all(name in known and key not in change for name, key in left):
                partly.append(change)
            if len(wholly) == 2:
                break
        if wholly:
            return tuple(wholly)
        config_helps |= free and bool(partly)
    return tuple(partly)


def _changes(c: Case, rule: str, fault: Fault) -> Iterator[tuple[bool, Iterable[Change]]]:
    """List the changes worth trying, nearest first, key by key, those of the program config first; and whether they are of it."""
    if rule == buffers_fit_l1.__name__:  # single values won't do
        yield True, tried(_smaller_chunks, c)
        return
    for key, found in sorted(fault.found.items(), key=lambda item: not item[0].startswith(FREE)):
        yield key.startswith(FREE), [_whole(c, {key: value}) for value in _candidates(c, key, found) if value != found]


def _whole(c: Case, change: Change) -> Change:
    """A change of one value of a program config that is not given names all that it needs."""
    if c.program_given or not any(key in OF_PROGRAM for key in change):
        return change
    return {key: c[key] for key in OF_PROGRAM} | change


OF_PROGRAM = (GRID, Q_CHUNK, K_CHUNK)


def _candidates(c: Case, key: str, found: Any) -> list[Any]:
    """List the values worth trying for a key, nearest first."""
    annotation = annotation_of(key)
    if (key.startswith("inputs.") and c.spec.inputs.from_files) or (key == "op" and found == c.spec.op):
        return []
    near = _whole_number(found, key)
    values = tried(CANDIDATES[key], c, near) if key in CANDIDATES else _named_values(annotation)
    if all(isinstance(value, int) for value in values):
        return sorted(set(values), key=lambda value: abs(value - near))
    if all(isinstance(value, str) for value in values):
        return sorted(values, key=lambda value: -SequenceMatcher(None, value, str(found)).ratio())
    return values


def _named_values(annotation: Any) -> list[Any]:
    """List the values that a key can have by name; None stands for the default of an optional one."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for option in get_args(annotation) for value in _named_values(option)]


def tried(make: Callable[..., Iterable[Any]], *args: Any) -> list[Any]:
    """List what `make` gives, or nothing if it needs a value that is invalid."""
    try:
        return list(make(*args))
    except InvalidOperandError:
        return []


def _whole_number(found: Any, key: str) -> int:
    """Guess the number that the user meant, or else take the built-in example's."""
    if isinstance(found, int):
        return found
    if meant := re.match(r"([0-9]{1,12}) *[kK]i?", str(found)):
        return int(meant[1]) << 10
    try:
        return int(float(found))
    except (TypeError, ValueError, OverflowError):
        value: Any = BUILT_IN
        for name in key.split("."):
            value = getattr(value, name, None)
        return value if isinstance(value, int) else 0
