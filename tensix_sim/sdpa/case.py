"""A spec under check: its values by dotted key, with stand-ins for those that are invalid."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from pydantic import ValidationError

from tensix_sim.arch import BOARDS, Machine, machine
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.config import BUILT_IN, RunSpec
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.program import BufferSpec
from tensix_sim.sdpa.geometry import Geometry, own_program_config, pages, program_config
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
    K_CHUNK,
    KV_HEADS,
    KV_LEN,
    MASK_BATCH,
    MASK_DTYPE,
    MASK_HEADS,
    PLACES,
    PREFIX,
    Q_CHUNK,
    Q_HEADS,
    SEQ_LEN,
    SINK,
    SINK_DTYPE,
    START_TENSOR,
    TABLE,
    WINDOW,
    WINDOWS,
    Change,
    Fault,
)
from tensix_sim.sdpa.op import OPS, Op
from tensix_sim.sdpa.resolve import geometry_of

MOST_NUMBERS = 300  # of a machine: about 120, and room for wrong names
FARTHEST = 1_000  # times that a number of the machine may be a board's own, or its part: what is beyond overflows the clock


class InvalidOperandError(Exception):
    """A rule asked for a value that is itself invalid."""


@dataclass(frozen=True)
class Case:
    """A spec with the op's own configs where none is given, and stand-ins for values that are `invalid`."""

    spec: RunSpec
    on: Machine
    invalid: frozenset[str] = frozenset()
    program_given: bool = True

    @classmethod
    def of(cls, spec: RunSpec, on: Machine, invalid: frozenset[str] = frozenset()) -> "Case":
        """Make the case, filling in what the op would."""
        given = {"program_config": program_config(spec, on), "compute_kernel_config": spec.effective_compute_config}
        return cls(spec.model_copy(update=given), on, invalid, spec.program_config is not None)

    def __getitem__(self, key: str) -> Any:
        """Look up the valid value at a dotted key."""
        self.need(key)
        value: Any = self.spec
        for name in key.split("."):
            value = None if value is None else getattr(value, name)
        return value

    def need(self, key: str) -> None:
        """Skip the rule if `key`, or a part it lies in, is invalid."""
        if self.invalid and any(f"{key}.".startswith(f"{bad}.") for bad in self.invalid):
            raise InvalidOperandError(key)

    def put(self, change: Change) -> "Case":
        """Make a case with other values, which are then valid; the op's own program config is that on another board."""
        spec = self.spec
        for key, value in change.items():
            spec = _put(spec, key.split("."), value)
        on = self.on
        if "board" in change:
            on = make_machine(spec)[0]
            if not self.program_given and not any(key.startswith("program_config") for key in change):
                spec = spec.model_copy(update={"program_config": own_program_config(on)})
        return Case(spec, on, self.invalid - change.keys(), self.program_given)

    def fault(self, rule: str, *keys: str) -> Fault:
        """Make a fault that blames the first of `keys` and shows the values of all."""
        return Fault({key: self[key] for key in keys}, rule)

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
    def op(self) -> Op:
        """Its op."""
        return OPS[self["op"]]

    @property
    def slabs(self) -> int:
        """Slabs of queries, of all devices."""
        return self.op.slabs * self["ring_size"] if self.op.ring else 1

    @property
    def slab(self) -> int:
        """Rows of a slab."""
        rows, rest = divmod(self[SEQ_LEN], self.slabs)
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
        return int(self[KV_LEN] or self[SEQ_LEN] + (self[PREFIX] or 0))

    @property
    def dtypes(self) -> tuple[str, str, str]:
        """Data types of Q, K and V."""
        both, k, v = (self[key] for key in DTYPES)
        return self[DTYPE], k or both or self[DTYPE], v or both or self[DTYPE]

    @property
    def in_dram(self) -> tuple[bool, bool, bool]:
        """Whether Q, K and V are in DRAM."""
        for key in PLACES:
            self.need(key)
        return self.spec.inputs.in_dram

    @property
    def elements(self) -> tuple[int, int]:
        """Elements of Q, and of K or V, in whole tile rows."""
        heads_q, heads_kv = self[BATCH] * self[Q_HEADS], self[BATCH] * self[KV_HEADS]
        q_rows, kv_rows = (-(-rows // TILE) * TILE for rows in (self[SEQ_LEN], self.kv_len))
        return heads_q * q_rows * self[HEAD_DIM], heads_kv * kv_rows * self[HEAD_DIM]

    @property
    def mask_elements(self) -> int:
        """Elements of the user's mask in DRAM, in whole tiles; 0 where there is none."""
        if self[ATTN_MASK] is None:
            return 0
        rows, cols = (-(-n // TILE) * TILE for n in (self[SEQ_LEN], self.kv_len))
        return int(self[MASK_BATCH] * self[MASK_HEADS] * rows * cols)

    @property
    def l1_output_bytes(self) -> int:
        """What the output takes of each core's L1, tiles dealt over the board's cores."""
        if self["memory_config"] != "l1_interleaved":
            return 0
        tile_rows = self.op.slabs * -(-self.slab // TILE)
        return self._share_of_a_core(self[BATCH] * self[Q_HEADS] * tile_rows * self.tiles(HEAD_DIM), self[DTYPE])

    @property
    def l1_input_bytes(self) -> int:
        """What Q, K and V take of it."""
        if all(self.in_dram):
            return 0
        q, kv = (elements // TILE**2 for elements in self.elements)
        tensors = zip((q, kv, kv), self.dtypes, self.in_dram, strict=True)
        return sum(self._share_of_a_core(tiles, dtype) for tiles, dtype, in_dram in tensors if not in_dram)

    @property
    def l1_tensor_bytes(self) -> int:
        """What all tensors take of it."""
        return self.l1_input_bytes + self.l1_output_bytes

    def _share_of_a_core(self, tiles: int, dtype: str) -> int:
        columns, rows = self.number("grid")
        return int(-(-tiles // (columns * rows)) * FORMATS[dtype].tile_bytes)

    @property
    def l1_base(self) -> int:
        """Address of the first circular buffer."""
        return int(self.number("l1.base")) + self.op.l1_more

    @property
    def l1_limit(self) -> int:
        """Address at which circular buffers must end: below tensors in L1, and below what is reserved."""
        return int(self.number("l1.size") - self.number("l1.reserved") - self.l1_tensor_bytes)

    @property
    def table_row_bytes(self) -> int:
        """Bytes of a row of the page table; 0 where K and V are dense."""
        if not self.paged:
            return 0
        self.need(BLOCK)
        self.number("dram.page_alignment")
        return self.geometry.page_table_stick_bytes

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        """The circular buffers of a core."""
        for key in (Q_CHUNK, K_CHUNK, HEAD_DIM):
            self.tiles(key)
        more = () if self.op.ring and not self.op.travels else (FP32_DEST, BATCH, Q_HEADS, SEQ_LEN, KV_LEN, GRID, CAUSAL, WINDOW)
        for key in ("kernel", DTYPE, *DTYPES, START_TENSOR, WINDOWS, ATTN_MASK, MASK_DTYPE, SINK, SINK_DTYPE, *more):
            self.need(key)
        _ = self.table_row_bytes
        return self.geometry.buffers

    @cached_property
    def geometry(self) -> Geometry:
        """The geometry; what is used of it must be legal."""
        try:
            return geometry_of(self.spec, self.on)
        except ValueError as error:
            raise InvalidOperandError(TABLE) from error

    @property
    def ring_axis(self) -> int | None:
        """The mesh axis along which a device's position is inferred; the first where both would do."""
        mesh, ring = self["mesh"], self["ring_size"]
        return mesh.index(ring) if mesh is not None and self["ring_id"] is None and ring in mesh else None

    @property
    def pages(self) -> int:
        """Pages of K and V that one batch needs."""
        for key in (BLOCK, SEQ_LEN, PREFIX, KV_LEN):
            self.need(key)
        return pages(self.spec)


def _put(model: Any, path: list[str], value: Any) -> Any:
    """Copy a model with the value at `path` replaced; the value is one of ours and not validated."""
    name, *rest = path
    return model.model_copy(update={name: _put(getattr(model, name), rest, value) if rest else value})


def make_machine(spec: RunSpec) -> tuple[Machine, dict[str, Fault]]:
    """Make the spec's machine, or a stand-in for one that cannot be, whose faults come along."""
    try:
        board = machine(spec.board)
    except UnknownNameError:
        fault = Fault({"board": spec.board}, "there is no such board")
        return machine(BUILT_IN.board), {"board": fault} | _faults_on_every_board(spec)
    if len(spec.machine) > MOST_NUMBERS:
        return board, {"machine": Fault({"machine": spec.machine}, f"{len(spec.machine):,} numbers, more than a machine has")}
    found: dict[str, Fault] = {}
    for name, value in spec.machine.items():
        try:
            if wrong := _beyond(board, name, value):
                found[f"machine.{name}"] = Fault({f"machine.{name}": value}, wrong)
                continue
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


def _beyond(board: Machine, name: str, value: Any) -> str:
    """What is wrong with a number that is so far from the board's own that time would not be counted any more; or nothing."""
    holder: Any = board if name.partition(".")[0] in Machine.model_fields else board.chip
    for part in name.split("."):
        holder = getattr(holder, part, None)
    if not all(isinstance(number, int | float) for number in (holder, value)) or value == 0 or not isfinite(value):
        return ""
    least, most = holder / FARTHEST, (holder or FARTHEST**2) * FARTHEST
    return "" if least <= abs(value) <= most else f"must be from {least:.6g} to {most:.6g}: {holder:.6g} is the board's own"


def _faults_on_every_board(spec: RunSpec) -> dict[str, Fault]:
    """What is wrong with the overrides of a machine, whichever board it is."""
    first, *others = [make_machine(spec.model_copy(update={"board": board}))[1] for board in BOARDS]
    return {name: fault for name, fault in first.items() if all(name in found for found in others)}


def _machine_faults(error: ValidationError, changes: Change) -> dict[str, Fault]:
    """Sort what pydantic found wrong with a machine by the overrides that it is about; by all if by none."""
    found = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(item) for item in problem["loc"] if item != "chip") + "."
        about = {name for name in changes if f"{name}.".startswith(path) or path.startswith(f"{name}.")} or set(changes)
        values = {f"machine.{name}": value for name, value in changes.items() if name in about}
        found[next(iter(values))] = Fault(values, problem["msg"].removeprefix("Input ").removeprefix("Value error, "))
    return found
