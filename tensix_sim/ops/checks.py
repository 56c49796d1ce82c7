"""Everything that can be wrong with a run before time starts, all of it at once, in the user's terms.

A rule is a generator over a `Case` that yields a `Fault` for each value that breaks it. A rule that needs a value
which is itself invalid is skipped. The nearest legal values are found by trying: a change is offered if the rules
then find no fault at all, or, where there is no such change, if it heals its own fault and brings no other.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product
from math import isqrt, lcm
from typing import Any, Literal, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from tensix_sim.arch import BOARDS, Machine, machine
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.config import BUILT_IN, OP_CHUNK_SIZE, PagedKV, RunSpec, Source, SpecError, open_array, read_spec
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.ops.geometry import Geometry, circular_buffers, page_table_row_bytes, program_config

Change = dict[str, Any]

Q_CHUNK, K_CHUNK = "program_config.q_chunk_size", "program_config.k_chunk_size"
GRID = "program_config.compute_with_storage_grid_size"
BATCH, SEQ_LEN, HEAD_DIM, DTYPE = "inputs.batch", "inputs.seq_len", "inputs.head_dim", "inputs.dtype"
Q_HEADS, KV_HEADS = "inputs.q_heads", "inputs.kv_heads"
BLOCK, PREFIX, TABLE = "paged_kv.block_size", "chunk_start_idx", "paged_kv.page_table"
FIDELITY, FP32_DEST = "compute_kernel_config.math_fidelity", "compute_kernel_config.fp32_dest_acc_en"

MAX_RING = 32
LONG_RUN_STEPS = 10_000_000  # of one device


# -- what a check says --------------------------------------------------------------------------------------


class Record(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")


class Violation(Record):
    """A broken rule: the values at odds, the blamed key first, and changes of the spec that would heal it."""

    found: dict[str, Any]
    rule: str
    nearest: tuple[Change, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """The blamed key."""
        return next(iter(self.found))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        """What is wrong, by how much, and what would be legal."""
        wanted = " or ".join(_assignments(change) for change in self.nearest)
        return f"{_assignments(self.found)}: {self.rule}" + (f"; nearest legal: {wanted}" if wanted else "")


class Advice(Record):
    """Something legal that the user may not want."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class L1Buffer(Record):
    """A circular buffer in L1."""

    index: int
    name: str
    tiles: int
    format: str
    bytes: int
    address: int


class Report(Record):
    """What `check` found. `effective` is what the kernels really use; it needs shapes that are legal."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[Advice, ...] = ()
    effective: dict[str, Any] = {}
    l1: tuple[L1Buffer, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the spec can run."""
        return not self.violations

    def text(self) -> str:
        """Say it all: what is wrong, what the kernels would use, how L1 is laid out, and advice."""
        verdict = f"illegal; rules broken: {len(self.violations)}" if self.violations else "legal"
        lines = [verdict, *(f"- {violation.message}" for violation in self.violations)]
        if self.effective:
            lines += ["", "effective", *(f"  {name:<20}{_shown(value)}" for name, value in self.effective.items())]
        if self.l1:
            lines += ["", f"{'L1':<18}{'tiles':>6}  {'format':<10}{'bytes':>12}{'address':>12}"]
            lines += [f"{b.index:>2} {b.name:<15}{b.tiles:>6}  {b.format:<10}{b.bytes:>12,}{b.address:>12,}" for b in self.l1]
            lines += [f"{'':<36}{sum(b.bytes for b in self.l1):>12,}{self.l1[-1].address + self.l1[-1].bytes:>12,}"]
        if self.warnings:
            lines += ["", *(f"note: {advice}" for advice in self.warnings)]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return "x".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def _assignments(values: Change) -> str:
    return ", ".join(f"{key} = {_short(value)}" for key, value in values.items())


def _short(value: Any, width: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}..."


# -- a spec under check -------------------------------------------------------------------------------------


class InvalidOperandError(Exception):
    """A rule asked for a value that is itself invalid."""


@dataclass(frozen=True)
class Fault:
    """A rule broken by some values; `fixes` are changes worth trying, nearest first, if single values won't do."""

    found: Change
    rule: str
    fixes: Callable[["Case"], Iterable[Change]] | None = None

    @property
    def key(self) -> str:
        """The blamed key."""
        return next(iter(self.found))


@dataclass(frozen=True)
class Case:
    """A spec with the op's own configs where none is given, and stand-ins for values that are `invalid`."""

    spec: RunSpec
    on: Machine
    invalid: frozenset[str] = frozenset()

    @classmethod
    def of(cls, spec: RunSpec, on: Machine, invalid: frozenset[str] = frozenset()) -> "Case":
        """Make the case, filling in what the op would."""
        given = {"program_config": program_config(spec, on), "compute_kernel_config": spec.effective_compute_config}
        return cls(spec.model_copy(update=given), on, invalid)

    def __getitem__(self, key: str) -> Any:
        """Look up the valid value at a dotted key."""
        self.need(key)
        value: Any = self.spec
        for name in key.split("."):
            value = None if value is None else getattr(value, name)
        return value

    def need(self, key: str) -> None:
        """Skip the rule if `key`, or a part it lies in, is invalid."""
        if any(f"{key}.".startswith(f"{bad}.") for bad in self.invalid):
            raise InvalidOperandError(key)

    def put(self, change: Change) -> "Case":
        """Make a case with other values, which are then valid."""
        spec = self.spec
        for key, value in change.items():
            spec = _put(spec, key.split("."), value)
        on = _machine(spec)[0] if "board" in change else self.on
        return Case(spec, on, self.invalid - change.keys())

    def fault(self, rule: str, *keys: str, fixes: Callable[["Case"], Iterable[Change]] | None = None) -> Fault:
        """Make a fault that blames the first of `keys` and shows the values of all."""
        return Fault({key: self[key] for key in keys}, rule, fixes)

    def tiles(self, key: str) -> int:
        """Convert a size to tiles."""
        size: int = self[key]
        if size % TILE:
            raise InvalidOperandError(key)
        return size // TILE

    def number(self, name: str) -> Any:
        """Look up a valid number of the machine, named as in an override."""
        self.need("board")
        self.need(f"machine.{name}")
        first = name.partition(".")[0]
        value: Any = self.on if first in Machine.model_fields else self.on.chip
        for part in name.split("."):
            value = getattr(value, part)
        return value

    @property
    def board(self) -> Machine:
        """The machine, its chip's and its mesh's names and sizes."""
        self.need("board")
        return self.on

    @property
    def slab(self) -> int:
        """Rows of one of a device's two slabs."""
        rows, rest = divmod(self[SEQ_LEN], 2 * self["ring_size"])
        if rest:
            raise InvalidOperandError(SEQ_LEN)
        return int(rows)

    @property
    def paged(self) -> bool:
        """Whether K and V are read through a page table."""
        return self["paged_kv"] is not None and self[PREFIX] is not None

    @property
    def kv_len(self) -> int:
        """Rows of K and V."""
        return int(self[SEQ_LEN] + (self[PREFIX] or 0))

    @property
    def elements(self) -> tuple[int, int]:
        """Elements of Q, and of K or V."""
        heads_q, heads_kv = self[BATCH] * self[Q_HEADS], self[BATCH] * self[KV_HEADS]
        return heads_q * self[SEQ_LEN] * self[HEAD_DIM], heads_kv * self.kv_len * self[HEAD_DIM]

    @property
    def l1_output_bytes(self) -> int:
        """What the output takes of each core's L1, tiles dealt over the board's cores."""
        if self["memory_config"] != "l1_interleaved":
            return 0
        tiles = self[BATCH] * self[Q_HEADS] * (2 * self.slab // TILE) * self.tiles(HEAD_DIM)
        columns, rows = self.number("grid")
        return int(-(-tiles // (columns * rows)) * FORMATS[self[DTYPE]].tile_bytes)

    @property
    def table_row_bytes(self) -> int:
        """Bytes of a row of the page table; 0 where K and V are dense."""
        if not (self.paged and self.pages):
            return 0
        self.number("dram.page_alignment")
        try:
            return page_table_row_bytes(self.spec, self.board)
        except ValueError as error:
            raise InvalidOperandError(TABLE) from error

    @property
    def l1_table(self) -> tuple[L1Buffer, ...]:
        """The circular buffers and where they lie."""
        stick = self.table_row_bytes
        d = self.tiles(HEAD_DIM)
        buffers = circular_buffers(self.tiles(Q_CHUNK), self.tiles(K_CHUNK), d, d, FORMATS[self[DTYPE]], stick)
        address = self.number("l1.base")
        table = []
        for index, b in enumerate(buffers):
            table.append(L1Buffer(index=index, name=b.name, tiles=b.tiles, format=b.format.name, bytes=b.bytes, address=address))
            address += b.bytes
        return tuple(table)

    @property
    def geometry(self) -> Geometry:
        """The geometry; the shapes must be legal."""
        return Geometry.of(self.spec)

    @property
    def ring_axis(self) -> int | None:
        """The mesh axis along which a device's position is inferred; the first where both would do."""
        mesh, ring = self["mesh"], self["ring_size"]
        return mesh.index(ring) if mesh is not None and self["ring_id"] is None and ring in mesh else None

    @property
    def pages(self) -> int:
        """Pages of K and V that one batch needs."""
        return int(self.kv_len // self[BLOCK])


def _put(model: Any, path: list[str], value: Any) -> Any:
    """Copy a model with the value at `path` replaced; the value is one of ours and not validated."""
    name, *rest = path
    return model.model_copy(update={name: _put(getattr(model, name), rest, value) if rest else value})


# -- rules of the op ----------------------------------------------------------------------------------------


def _ring_is_even(c: Case) -> Iterator[Fault]:
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


# -- rules of the board and of this simulator ---------------------------------------------------------------


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


def _buffers_fit_l1(c: Case) -> Iterator[Fault]:
    table, output = c.l1_table, c.l1_output_bytes
    base, end, limit = table[0].address, table[-1].address + table[-1].bytes, c.number("l1.size") - output
    if end > limit:
        above = f" and the output {output:,} B from its top" if output else ""
        rule = (
            f"circular buffers take {end - base:,} B of L1 from address {base:,}{above}; "
            f"they end at {end:,}, {end - limit:,} B beyond {limit:,}"
        )
        keys = (Q_CHUNK, K_CHUNK, HEAD_DIM, DTYPE, *(["memory_config"] if output else []), "board")
        yield c.fault(rule, *keys, fixes=_smaller_chunks)


def _tensors_fit_dram(c: Case) -> Iterator[Fault]:
    need, have = _dram_bytes(c), _dram_capacity(c)
    if need > have:
        keys = (SEQ_LEN, BATCH, Q_HEADS, KV_HEADS, HEAD_DIM, DTYPE, *([PREFIX] if c[PREFIX] else []), "board")
        rule = f"Q, K, V and output take {need:,} B on each chip; its DRAM has {have:,} B, {need - have:,} too few"
        yield c.fault(rule, *keys)


def _dram_capacity(c: Case) -> int:
    return int(c.number("dram.banks") * c.number("dram.bank_bytes"))


def _dram_bytes(c: Case) -> int:
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
    _ring_is_even, _positions_lie_on_the_ring, _mesh_tells_the_position, _heads_share_evenly,
    _head_dim_is_whole_tiles, _q_chunk_is_whole_tiles, _k_chunk_is_whole_tiles, _block_is_whole_tiles,
    _sequence_has_a_tile_for_each_slab, _sequence_makes_equal_slabs, _q_chunks_fill_a_slab,
    _prefix_is_paged, _prefix_is_whole_q_chunks, _prefix_is_whole_blocks, _sequence_is_whole_blocks,
    _paged_rows_are_whole_k_chunks,
)  # fmt: skip
RESOURCE_RULES = (
    _grid_lies_on_the_board, _page_table_rows_are_aligned, _buffers_fit_l1, _tensors_fit_dram, _values_fit_the_host,
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


# -- rules of files -----------------------------------------------------------------------------------------


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
    if (last := int(blocks[-1]) + 1) * 2 * block_bytes > _dram_capacity(c):
        yield c.fault(f"names {last:,} blocks; K and V of so many do not fit the chip's DRAM", TABLE, BLOCK)


FILE_RULES = (_files_agree, _files_are_finite, _page_table_finds_every_row)


# -- nearest legal values -----------------------------------------------------------------------------------


def _divisors(n: int) -> set[int]:
    return {d for small in range(1, isqrt(n) + 1) if n % small == 0 for d in (small, n // small)}


def _around(near: int, step: int, count: int = 32) -> list[int]:
    middle = max(1, near // step)
    return [m * step for m in range(max(1, middle - count), middle + count + 1)]


def _chunk_sizes(rows: int, near: int) -> list[int]:
    """Whole tiles that divide `rows`; any whole tiles where finding the divisors would take long."""
    if rows % TILE or rows > 10**9:
        return _around(near, TILE)
    return [TILE * d for d in _divisors(rows // TILE)]


def _q_chunks(c: Case, near: int) -> list[int]:
    return _tried(lambda: _chunk_sizes(c.slab, near)) or _around(near, TILE)


def _smaller_chunks(c: Case) -> Iterator[Change]:
    """List what takes less L1: the output elsewhere, or chunks that leave no rest, the least smaller first."""
    if c["memory_config"] == "l1_interleaved":
        yield {"memory_config": "dram_interleaved"}
    q, k = c[Q_CHUNK], c[K_CHUNK]
    q_sizes = [size for size in _q_chunks(c, q) if size <= q]
    k_sizes = {size for size in _chunk_sizes(c.kv_len, k) if size <= k} | {k}
    for new_q, new_k in sorted(product(q_sizes, k_sizes), reverse=True, key=sum):
        yield {key: new for key, new, old in ((Q_CHUNK, new_q, q), (K_CHUNK, new_k, k)) if new != old}


def _sequence_lengths(c: Case, near: int) -> list[int]:
    step = 2 * c["ring_size"] * lcm(TILE, c[Q_CHUNK])
    if c.paged:
        step = lcm(step, c[BLOCK])
    most = near * _dram_capacity(c) // max(1, _dram_bytes(c.put({SEQ_LEN: near})))
    return _around(near, step) + _around(most, step)


def _grids(c: Case, near: int) -> list[tuple[int, int]]:
    columns, rows = c.number("grid")
    program = c.spec.program_config
    x, y = program.compute_with_storage_grid_size if program else (columns, rows)
    return [(min(x, columns), min(y, rows)), (columns, rows)]


CANDIDATES: dict[str, Callable[[Case, int], Iterable[Any]]] = {
    "ring_size": lambda c, near: range(2, MAX_RING + 1, 2),
    "ring_id": lambda c, near: range(min(c["ring_size"], MAX_RING)),
    "ring_ids": lambda c, near: ["all"],
    "board": lambda c, near: BOARDS,
    "paged_kv": lambda c, near: [PagedKV(block_size=64), PagedKV(block_size=32)],
    BATCH: lambda c, near: [*_around(near, 1), *_around(MAX_RING, 1)],
    SEQ_LEN: _sequence_lengths,
    HEAD_DIM: lambda c, near: [*_around(near, TILE), *_around(TILE, TILE)],
    Q_HEADS: lambda c, near: [*_around(near, c[KV_HEADS]), *_around(1, c[KV_HEADS])],
    KV_HEADS: lambda c, near: _divisors(min(c[Q_HEADS], 10**9)),
    Q_CHUNK: _q_chunks,
    K_CHUNK: lambda c, near: _around(near, TILE) if c[PREFIX] is None else _chunk_sizes(c.kv_len, near),
    GRID: _grids,
    PREFIX: lambda c, near: [0, *_around(near, lcm(c[Q_CHUNK], c[BLOCK] or 1))],
    BLOCK: lambda c, near: _chunk_sizes(c[SEQ_LEN], near),
}


def _nearest(c: Case, known: set[str], rule: str, fault: Fault) -> tuple[Change, ...]:
    """Find up to two changes that leave no fault, or else two that heal this one and bring no other."""
    partly: list[Change] = []
    for changes in _changes(c, fault):
        wholly = []
        for change in changes:
            after = [(name, f.key) for name, f in faults(c.put(change))]
            if not after:
                wholly.append(change)
            elif len(partly) < 2 and all(name in known - {rule} and key not in change for name, key in after):
                partly.append(change)
            if len(wholly) == 2:
                break
        if wholly:
            return tuple(wholly)
    return tuple(partly)


def _changes(c: Case, fault: Fault) -> Iterator[Iterable[Change]]:
    """List the changes worth trying, nearest first, key by key."""
    if fault.fixes is not None:
        yield _tried(fault.fixes, c)
        return
    for key, found in fault.found.items():
        yield [{key: value} for value in _candidates(c, key, found) if value != found]


def _candidates(c: Case, key: str, found: Any) -> list[Any]:
    """List the values worth trying for a key, nearest first."""
    annotation = _annotation(key)
    if key.startswith("inputs.") and c.spec.inputs.from_files:
        return []
    near = _whole_number(found, key)
    if get_origin(annotation) is Literal:
        values = list(get_args(annotation))
    elif key in CANDIDATES:
        values = _tried(CANDIDATES[key], c, near)
    else:
        return []
    if all(isinstance(value, int) for value in values):
        return sorted(set(values), key=lambda value: abs(value - near))
    if all(isinstance(value, str) for value in values):
        return sorted(values, key=lambda value: -SequenceMatcher(None, value, str(found)).ratio())
    return values


def _tried(make: Callable[..., Iterable[Any]], *args: Any) -> list[Any]:
    """List what `make` gives, or nothing if it needs a value that is invalid."""
    try:
        return list(make(*args))
    except InvalidOperandError:
        return []


def _whole_number(found: Any, key: str) -> int:
    """Guess the number that the user meant, or else take the built-in example's."""
    if isinstance(found, int):
        return found
    try:
        return int(float(found))
    except (TypeError, ValueError, OverflowError):
        value: Any = BUILT_IN
        for name in key.split("."):
            value = getattr(value, name, None)
        return value if isinstance(value, int) else 0


# -- types --------------------------------------------------------------------------------------------------


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, if any."""
    options = (annotation, *get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _fields(model: type[BaseModel] = RunSpec, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List all dotted keys of a spec, each with its annotation."""
    for name, field in model.model_fields.items():
        yield prefix + name, field.annotation
        if inner := _model_in(field.annotation):
            yield from _fields(inner, f"{prefix}{name}.")


ANNOTATIONS = dict(_fields())


def _annotation(key: str) -> Any:
    return ANNOTATIONS.get(key)


def _key_like(key: str) -> str:
    """Find the key that a wrong one was most likely meant to be."""
    leaf = key.rpartition(".")[2]

    def likeness(known: str) -> tuple[bool, float, float]:
        known_leaf = known.rpartition(".")[2]
        return known_leaf == leaf, SequenceMatcher(None, known, key).ratio(), SequenceMatcher(None, known_leaf, leaf).ratio()

    return max(ANNOTATIONS, key=likeness)


def _dotted(loc: tuple[int | str, ...]) -> str:
    """Name the key that an error is about; what lies within a value is left out."""
    key = ""
    for item in loc:
        if key and _model_in(_annotation(key)) is None:
            break
        key = f"{key}.{item}" if key else str(item)
    return key


def _type_faults(error: ValidationError, raw: Mapping[str, Any]) -> dict[str, Fault]:
    """Sort what pydantic found by key."""
    found: dict[str, Fault] = {}
    for problem in error.errors(include_url=False):
        key = _dotted(problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            found |= {f"{key}.{name}": Fault({f"{key}.{name}": value}, wrong) for name, value, wrong in cause.problems}
        elif problem["type"] in ("extra_forbidden", "invalid_key"):
            found[key] = Fault({key: problem["input"]}, f"there is no such key; the nearest is {_key_like(key)}")
        elif problem["type"] == "missing":
            found[key] = Fault({key: _lookup(raw, key)}, "is required" if _lookup(raw, key) is None else "has too few items")
        else:
            wrong = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
            wrong = f"{found[key].rule}, or {wrong}" if key in found else wrong
            found[key] = Fault({key: _lookup(raw, key)}, wrong)
    return found


def _lookup(raw: Any, key: str) -> Any:
    for name in key.split("."):
        raw = raw.get(name) if isinstance(raw, Mapping) else None
    return raw


STAND_INS: dict[str, dict[str, Any]] = {
    "inputs": BUILT_IN.inputs.model_dump(),
    "program_config": program_config(BUILT_IN, machine(BUILT_IN.board)).model_dump(),
    "compute_kernel_config": {},
    "paged_kv": {"block_size": 64},
}
FILES = ("inputs.q", "inputs.k", "inputs.v")


def _part_in_doubt(key: str) -> str:
    """Name all that a bad value makes unknown: without its files, nothing is known about the inputs."""
    return "inputs" if key in FILES else key


def _repaired(raw: Mapping[Any, Any], bad: Iterable[str]) -> dict[str, Any]:
    """Copy `raw` without its bad keys, and with stand-ins where a key must be there."""
    drop = {_part_in_doubt(key) for key in bad}
    whole = {key: value for key, value in raw.items() if str(key) not in drop}
    whole.setdefault("inputs", {})
    for part, stand_in in STAND_INS.items():
        if isinstance(given := whole.get(part), Mapping):
            kept = {key: value for key, value in given.items() if f"{part}.{key}" not in drop}
            whole[part] = kept if {"q", "k", "v", "files"} & kept.keys() else stand_in | kept
    return whole


def _typed(raw: Mapping[str, Any]) -> tuple[RunSpec | None, dict[str, Fault]]:
    """Validate a spec, with stand-ins for values of a wrong type, whose faults come along; None if it is past repair."""
    found: dict[str, Fault] = {}
    for _ in range(4):
        try:
            return RunSpec.model_validate(raw), found
        except ValidationError as error:
            new = _type_faults(error, raw)
            found = new | found
            raw = _repaired(raw, new)
    return None, found


def _machine(spec: RunSpec) -> tuple[Machine, dict[str, Fault]]:
    """Make the spec's machine, or a stand-in for one that cannot be, whose faults come along."""
    try:
        board = machine(spec.board)
    except UnknownNameError:
        return machine(BUILT_IN.board), {"board": Fault({"board": spec.board}, "there is no such board")}
    found: dict[str, Fault] = {}
    for name, value in spec.machine.items():
        try:
            board.override({name: value})
        except UnknownNameError as error:
            found[f"machine.{name}"] = Fault({f"machine.{name}": value}, str(error))
        except ValidationError:
            continue
    changes = {name: value for name, value in spec.machine.items() if f"machine.{name}" not in found}
    try:
        return board.override(changes), found
    except ValidationError as error:
        return board, found | _machine_faults(error, changes)


def _machine_faults(error: ValidationError, changes: Change) -> dict[str, Fault]:
    """Sort what pydantic found wrong with a machine by the overrides that it is about; by all if by none."""
    found = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(item) for item in problem["loc"] if item != "chip") + "."
        about = {name for name in changes if f"{name}.".startswith(path) or path.startswith(f"{name}.")} or set(changes)
        values = {f"machine.{name}": value for name, value in changes.items() if name in about}
        found[next(iter(values))] = Fault(values, problem["msg"].removeprefix("Input ").removeprefix("Value error, "))
    return found


# -- advice -------------------------------------------------------------------------------------------------


def _hardware_bug(c: Case) -> Iterator[Advice]:
    if c.board.chip.name == "wormhole_b0" and c[FIDELITY] == "HiFi4" and c[FP32_DEST]:
        text = "HiFi4 with fp32_dest_acc_en meets a bug of Wormhole silicon, tt-metal #38306: use HiFi3"
        yield Advice(key=FIDELITY, message=text)


IGNORED = (
    ("compute_kernel_config", "packer_l1_acc", "the kernel turns packer accumulation on and off itself"),
    ("compute_kernel_config", "dst_full_sync_en", "the op plans with half of DST whatever it says"),
    ("compute_kernel_config", "throttle_level", "the op does not hand it to the kernels"),
    ("program_config", "max_cores_per_head_batch", "the op deals Q chunks over all cores"),
    ("program_config", "sub_core_grids", "the op uses the rectangle of compute_with_storage_grid_size"),
)


def _ignored_fields(c: Case) -> Iterator[Advice]:
    for part, name, why in IGNORED:
        value = c[part]
        if getattr(value, name) != type(value).model_fields[name].default:
            yield Advice(key=f"{part}.{name}", message=f"{getattr(value, name)} has no effect: {why}")
    if c["program_config"].exp_approx_mode is False:
        text = "False has no effect: the scores' exponential is always approximate, that of the correction accurate"
        yield Advice(key="program_config.exp_approx_mode", message=text)
    if c["paged_kv"] is not None and c[PREFIX] is None:
        text = "the page table has no effect without chunk_start_idx: K and V are read as dense tensors"
        yield Advice(key="paged_kv", message=text)
    if c["ring_id"] is not None and c["ring_ids"] != "all":
        yield Advice(key="ring_ids", message=f"{c['ring_ids']} has no effect: ring_id {c['ring_id']} wins")


def _ring_fits_the_board(c: Case) -> Iterator[Advice]:
    ring, on = c["ring_size"], c.board
    rows, columns = on.mesh
    if any(_ring_is_even(c)):
        return
    if ring > on.chips:
        text = f"the op allows {ring} devices, but {on.board} has {on.chips} chips; each is simulated as if it were there"
        yield Advice(key="ring_size", message=text)
    elif ring not in on.mesh:
        text = f"the op allows {ring} devices, but no row or column of {on.board}'s {rows}x{columns} mesh has as many"
        yield Advice(key="ring_size", message=text)
    if c["mesh"] is not None and any(mine > board for mine, board in zip(sorted(c["mesh"]), sorted(on.mesh), strict=True)):
        mine = "x".join(str(size) for size in c["mesh"])
        yield Advice(key="mesh", message=f"a {mine} mesh does not fit {on.board}'s {rows}x{columns}")


def _default_chunks(c: Case) -> Iterator[Advice]:
    if (c[Q_CHUNK], c[K_CHUNK]) == (OP_CHUNK_SIZE, OP_CHUNK_SIZE):
        text = "chunks of 32 are the op's cautious default and can be several times slower than larger ones"
        yield Advice(key="program_config", message=text)


def _negative_scale(c: Case) -> Iterator[Advice]:
    if c["scale"] is not None and c["scale"] < 0:
        text = f"{c['scale']}: the row maximum no longer bounds the exponential, which saturates above 0"
        yield Advice(key="scale", message=text)


def _over_hanging_chunk(c: Case) -> Iterator[Advice]:
    if c[PREFIX] is None and (rest := c.kv_len % c[K_CHUNK]):
        text = f"{c.kv_len} rows of K leave {rest} for the last chunk of {c[K_CHUNK]}: it is computed in full, and masked"
        yield Advice(key=K_CHUNK, message=text)


def _idle_cores(c: Case) -> Iterator[Advice]:
    g = c.geometry
    if 2 * g.active_cores > g.cores:
        return
    text = f"{g.cores - g.active_cores} of {g.cores} cores get no Q chunk and idle"
    for size in sorted((size for size in _q_chunks(c, g.M * TILE) if size < g.M * TILE), reverse=True):
        active = c.put({Q_CHUNK: size}).geometry.active_cores
        if 2 * active > g.cores:
            text += f"; with q_chunk_size {size}, {active} would work"
            break
    yield Advice(key=Q_CHUNK, message=text)


def _padded_table_rows(c: Case) -> Iterator[Advice]:
    if (stick := c.table_row_bytes) and (entries := 4 * c.pages) % 32 and c["paged_kv"].page_table_file is None:
        yield Advice(key=BLOCK, message=f"a row of the page table has {entries} B, padded to {stick} B in DRAM")


def _long_run(c: Case) -> Iterator[Advice]:
    g = c.geometry
    steps = 2 * g.total * max(1, (g.prefix + g.S // 2) // (g.N * TILE))
    if steps > LONG_RUN_STEPS:
        text = f"about {steps:,} chunk steps on each device: the simulation will take long"
        yield Advice(key=SEQ_LEN, message=text)


ADVICE = (_hardware_bug, _default_chunks, _over_hanging_chunk, _ignored_fields, _ring_fits_the_board, _negative_scale)
SHAPE_ADVICE = (_idle_cores, _padded_table_rows, _long_run)


# -- the check ----------------------------------------------------------------------------------------------


def check(spec: Source) -> Report:
    """Say everything that is wrong with a spec, and what the kernels will make of it. Never raises on a bad spec."""
    try:
        typed, found = _typed(read_spec(spec))
    except SpecError as error:
        return Report(violations=tuple(Violation(found={key: value}, rule=wrong) for key, value, wrong in error.problems))
    if typed is None:
        return Report(violations=tuple(Violation(found=fault.found, rule=fault.rule) for fault in found.values()))
    on, of_machine = _machine(typed)
    invalid = {_part_in_doubt(key) for key in found} | {key for fault in of_machine.values() for key in fault.found}
    case = Case.of(typed, on, frozenset(invalid))
    of_values = [*found.items(), *of_machine.items(), *faults(case)]
    of_files = list(faults(case, FILE_RULES))
    names = {name for name, _ in of_values}
    unshaped = invalid or of_files or names & {rule.__name__ for rule in SHAPE_RULES}
    return Report(
        violations=(
            *(_violation(fault, _nearest(case, names, name, fault)) for name, fault in of_values),
            *(_violation(fault) for _, fault in of_files),
        ),
        warnings=tuple(advice for give in (*ADVICE, *(() if unshaped else SHAPE_ADVICE)) for advice in _tried(give, case)),
        effective={} if unshaped else _effective(case),
        l1=tuple(_tried(lambda: case.l1_table)),
    )


def _violation(fault: Fault, nearest: tuple[Change, ...] = ()) -> Violation:
    plain = tuple({key: v.model_dump() if isinstance(v, BaseModel) else v for key, v in change.items()} for change in nearest)
    return Violation(found=fault.found, rule=fault.rule, nearest=plain)


def _effective(c: Case) -> dict[str, Any]:
    """Collect what the kernels use, as opposed to what was asked for."""
    g = c.geometry
    return {
        "kernel": c["kernel"],
        "math_fidelity": c[FIDELITY],
        "dst_tiles": g.dst,
        "qk_subblock": g.qk_subblock,
        "pv_subblock": g.pv_subblock,
        "granularities": {"stats": g.stats, "sub_exp": g.sub_exp, "dht": g.dht, "reduce": g.reduce},
        "exp": {"scores": "fast approximation", "correction": "accurate, column 0"},
        "scale": g.scale,
        "barrier_threshold": g.barrier_threshold(g.format.tile_bytes),
        "grid": g.grid,
        "cores": g.cores,
        "active_cores": g.active_cores,
        "q_chunk_size": g.M * TILE,
        "k_chunk_size": g.N * TILE,
        "q_chunks": g.nq,
        "k_chunks": g.nk,
        "ring_axis": c.ring_axis,
        "l1_bytes": sum(buffer.bytes for buffer in g.buffers) + c.l1_output_bytes,
        "l1_budget": c.number("l1.size") - c.number("l1.base"),
    }
