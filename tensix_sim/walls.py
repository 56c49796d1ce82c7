"""Published walls: what a chip took for a run, beside what the model predicts of it.

A row is one kernel's wall on one board, in the columns of `data/measurements.csv`. Nothing here enters the model.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import isqrt
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tensix_sim.arch import machine
from tensix_sim.config import RunSpec
from tensix_sim.sdpa.keys import KV_DTYPE, PAGED
from tensix_sim.sdpa.op import OPS, SDPA
from tensix_sim.text import brief
from tensix_sim.trace.causes import Cause, LaneWait
from tensix_sim.user_errors import UserError

SHIPPED = Path(__file__).parent / "data" / "measurements.csv"
PREDICTED = SHIPPED.with_name("predictions.csv")  # of the shipped rows, by this version of the model: `make fidelity`


class MeasurementsError(UserError, ValueError):
    """A measurements file that cannot be read; names line and column."""

    exit_code = 1


MOST = 10**15  # of any number in a row
Positive = Annotated[int, Field(gt=0, le=MOST)]
Amount = Annotated[int, Field(ge=0, le=MOST)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Row(BaseModel):
    """One published wall. Columns that a file has beyond these are carried along unread."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Name
    board: Name
    op: Name
    kernel: Name
    causal: bool
    batch: Positive
    q_heads: Positive
    kv_heads: Positive
    seq_q: Positive
    seq_kv: Positive
    chunk_start_idx: Amount
    sliding_window: Amount
    head_dim: Positive
    q_dtype: Name
    kv_dtype: Name
    v_dtype: Name | None = None  # where V is not as K
    attn_mask_dtype: Name | None = None  # of a mask of the user's
    q_chunk: Positive
    k_chunk: Positive
    grid_x: Positive | None
    grid_y: Positive | None
    math_fidelity: Name
    math_approx: bool
    exp_approx: bool
    fp32_dest: bool
    ring_size: Positive | None = None
    links: Positive | None = None  # that K and V travel over; the board's if nobody says
    wall_cycles: Positive
    fpu_cycles: Amount | None = None
    sfpu_cycles: Amount | None = None
    math_cycles: Amount | None = None
    source: str = ""
    note: str = ""

    @field_validator(
        "v_dtype",
        "attn_mask_dtype",
        "grid_x",
        "grid_y",
        "ring_size",
        "links",
        "fpu_cycles",
        "sfpu_cycles",
        "math_cycles",
        mode="before",
    )
    @classmethod
    def _blank_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of cores. Of "N cores" in the note: the rectangle on the board that is nearest to a square.

        Raises:
            ValueError: no grid was published, and no number of cores that is a rectangle on the board.
        """
        if self.grid_x and self.grid_y:
            return self.grid_x, self.grid_y
        said = re.search(r"(\d+) cores", self.note)
        cores, (columns, rows) = int(said[1]) if said else 0, machine(self.board).grid
        for y in range(min(rows, isqrt(cores)), 0, -1):
            if cores % y == 0 and cores // y <= columns:
                return cores // y, y
        raise ValueError(
            f"grid_x and grid_y are blank, and the note ({brief(self.note)}) has no 'N cores' that is a rectangle within the "
            f"{columns}x{rows} of {self.board}"
        )

    @property
    def assumption(self) -> str:
        """What had to be assumed, as a sentence; empty where all was published."""
        if OPS.get(self.op, SDPA).travels:
            return f"one device stands for all {self.ring_size}"
        return "" if self.grid_x and self.grid_y else f"grid {self.grid[0]}x{self.grid[1]} assumed"

    @property
    def spec(self) -> RunSpec:
        """The run that the row describes."""
        op = OPS.get(self.op, SDPA)  # of an unknown one, the model says so
        inputs: dict[str, Any] = {
            "batch": self.batch, "q_heads": self.q_heads, "kv_heads": self.kv_heads, "seq_len": self.seq_q,
            "head_dim": self.head_dim, "dtype": self.q_dtype,
        }  # fmt: skip
        if KV_DTYPE in op.takes:
            inputs |= {"kv_dtype": self.kv_dtype, "v_dtype": self.v_dtype}
        given: dict[str, Any] = {
            "op": self.op, "board": self.board, "kernel": self.kernel, "numerics": "off", "trace": "off", "inputs": inputs,
            "launch": "modelled",
            "program_config": {
                "compute_with_storage_grid_size": self.grid, "q_chunk_size": self.q_chunk, "k_chunk_size": self.k_chunk,
                "exp_approx_mode": self.exp_approx,
            },
            "compute_kernel_config": {
                "math_fidelity": self.math_fidelity, "math_approx_mode": self.math_approx, "fp32_dest_acc_en": self.fp32_dest,
            },
        }  # fmt: skip
        if op.travels:
            inputs["seq_len"] = rows = self.seq_q * (self.ring_size or 1)
            given |= {"ring_size": self.ring_size, "ring_ids": (0,), "is_causal": self.causal, "num_links": self.links}
            given["logical_n"] = self.seq_kv if self.seq_kv != rows else None
        elif op.ring:
            given["ring_size"] = self.ring_size
        elif PAGED in op.takes:
            given |= {"chunk_start_idx": self.chunk_start_idx, "paged_kv": {"block_size": 64, "page_table": "identity"}}
        else:
            given["is_causal"] = self.causal
            if self.sliding_window:
                given["sliding_window_size"] = self.sliding_window
            if self.attn_mask_dtype:
                inputs |= {"attn_mask": "random", "attn_mask_dtype": self.attn_mask_dtype}
            if self.seq_kv != self.seq_q:
                inputs["kv_len"] = self.seq_kv
        return RunSpec.model_validate(given, context={"ops": OPS})


@dataclass(frozen=True)
class Prediction:
    """What the model says of one row, beside what was measured."""

    row: Row
    cycles: int | None = None
    fpu_cycles: float = 0
    sfpu_cycles: float = 0
    bound: str = ""
    problem: str = ""

    @property
    def error(self) -> float | None:
        """Signed share by which the prediction is above the measurement."""
        return None if self.cycles is None else self.cycles / self.row.wall_cycles - 1

    @property
    def kind(self) -> tuple[str, str, str]:
        """Chip, kernel and mask: rows that are alike in these share their mechanisms."""
        row = self.row
        return (
            machine(row.board).chip.name,
            row.kernel,
            mask_kind(row.causal, row.sliding_window, row.attn_mask_dtype is not None),
        )

    def summary(self) -> dict[str, Any]:
        """As `validate --json` writes it."""
        row = self.row
        return {
            "id": row.id, "op": row.op, "kernel": row.kernel, "board": row.board, "bound": self.bound,
            "measured_cycles": row.wall_cycles, "predicted_cycles": self.cycles, "error": self.error,
            "measured_fpu_cycles": row.fpu_cycles, "predicted_fpu_cycles": self.fpu_cycles,
            "measured_sfpu_cycles": row.sfpu_cycles, "predicted_sfpu_cycles": self.sfpu_cycles,
            "assumption": "" if self.problem else row.assumption, "problem": self.problem, "source": row.source,
        }  # fmt: skip


def read_rows(path: Path = SHIPPED) -> list[Row]:
    """The rows of a measurements file, or those that ship with this.

    Raises:
        MeasurementsError: a column is missing or a value does not fit; names line, column and value.
    """
    table = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    rows, heading = list[Row](), list[str]()
    try:
        heading = next(table, [])
        needed = [name for name, field in Row.model_fields.items() if field.is_required()]
        if missing := [name for name in needed if name not in heading]:
            raise MeasurementsError(f"{path}: line 1 lacks the columns {', '.join(missing)}; a file needs {', '.join(needed)}")
        if twice := [name for name in Row.model_fields if heading.count(name) > 1]:
            raise MeasurementsError(f"{path}: line 1 has the column {twice[0]} twice")
        rows = [_read_row(path, table.line_num, heading, cells) for cells in table if cells]
    except csv.Error as error:
        raise MeasurementsError(f"{path}: line {table.line_num}: no CSV: {error}") from error
    if not rows:
        raise MeasurementsError(f"{path}: no rows below the heading")
    return rows


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found, line = data[error.start : error.end], data.count(b"\n", 0, error.start) + 1
        raise MeasurementsError(f"{path}: line {line}: {found!r} is not UTF-8") from error


def _read_row(path: Path, line: int, heading: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(heading):
        raise MeasurementsError(f"{path}: line {line}: {len(cells)} values for {len(heading)} columns")
    try:
        return Row.model_validate(dict(zip(heading, cells, strict=True)))
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"])
        raise MeasurementsError(
            f"{path}: line {line}, column {column}: {first['msg']}; given {brief(first['input'], 60)}"
        ) from None


@cache
def shipped() -> tuple[Prediction, ...]:
    """The walls that ship with this, each with its prediction as it was made when the model last changed."""
    with PREDICTED.open(newline="", encoding="utf-8") as file:
        found = {record["id"]: record for record in csv.DictReader(file)}
    return tuple(
        Prediction(row, int(p["cycles"]), float(p["fpu_cycles"]), float(p["sfpu_cycles"]), p["bound"])
        for row in read_rows()
        if (p := found.get(row.id))
    )


def binds(device: Mapping[str, Any]) -> str:
    """What a device's wall is bound by, of an entry of a summary's `devices`: idle cores (straggler), memory or compute."""
    cores = device["kernel_cycles_per_core"]
    if cores["mean"] < 0.85 * cores["max"]:
        return "straggler"
    waiting = sum(device["waits"].get(str(LaneWait("unpack", Cause("tiles", name))), 0) for name in ("k_in", "v_in"))
    return "dram" if waiting > 0.1 * cores["mean"] else "compute"


def mask_kind(causal: bool, window: int | None, given: bool = False) -> str:
    """Masks whose walls are told apart."""
    return "dense mask" if given else "window" if window else "causal" if causal else "not causal"


GROUPS: dict[str, Callable[[Prediction], str]] = {
    "op": lambda p: p.row.op,
    "kernel": lambda p: p.row.kernel,
    "mask": lambda p: p.kind[2],
    "bound": lambda p: p.bound,
    "cores": lambda p: str(p.row.grid[0] * p.row.grid[1]),
    "fidelity": lambda p: p.row.math_fidelity,
    "chunks": lambda p: f"q{p.row.q_chunk} k{p.row.k_chunk}",
    "K and V": lambda p: p.row.kv_dtype,
    "head dim": lambda p: str(p.row.head_dim),
    "board": lambda p: p.row.board,
    "kind": lambda p: f"{p.kind[0]} {p.kind[1]}, {p.kind[2]}, {p.bound}",
}


def groups(predictions: Sequence[Prediction]) -> Iterator[tuple[str, str, list[float]]]:
    """Kind of group, group and its rows' errors, for every group with a predicted row."""
    told = [p for p in predictions if p.error is not None]
    for kind, name_of in GROUPS.items():
        for name in sorted({name_of(p) for p in told}):
            yield kind, name, [p.error for p in told if name_of(p) == name and p.error is not None]


def sizes(errors: Sequence[float]) -> dict[str, float]:
    """How large errors are, the mean, the median and the worst, and the mean with its sign; NaN of none."""
    known = errors or [float("nan")]
    size = [abs(error) for error in known]
    return {
        "mean_abs_error": mean(size),
        "median_abs_error": median(size),
        "worst_abs_error": max(size),
        "mean_error": mean(known),
    }


# What a user would change of a job; rows that differ otherwise are other jobs
SETTINGS = {
    "kernel": ("kernel",), "chunks": ("q_chunk", "k_chunk"), "grid": ("grid",), "fidelity": ("math_fidelity",),
    "exp": ("exp_approx", "math_approx"), "DST": ("fp32_dest",), "data types": ("q_dtype", "kv_dtype"),
    "KV heads": ("kv_heads",), "mask": ("causal", "sliding_window", "attn_mask_dtype"),
}  # fmt: skip
JOB = ("board", "op", "batch", "q_heads", "seq_q", "seq_kv", "chunk_start_idx", "head_dim", "ring_size", "links")
SAME = 0.05  # repeats of one configuration on the chip differ by this much


@dataclass(frozen=True)
class Changed:
    """Two rows that differ in one setting, and how the walls then compare, second to first."""

    setting: str
    first: Row
    second: Row
    measured: float
    predicted: float

    @property
    def same_way(self) -> bool:
        """Whether the prediction moves as the chip did, or both by less than repeats on the chip do."""
        small = max(abs(self.measured - 1), abs(self.predicted - 1)) < SAME
        return small or (self.measured > 1) == (self.predicted > 1)

    def summary(self) -> dict[str, Any]:
        """As `validate --json` writes it."""
        values = [[getattr(row, column) for column in SETTINGS[self.setting]] for row in (self.first, self.second)]
        return {
            "setting": self.setting, "rows": [self.first.id, self.second.id], "values": values,
            "measured": self.measured, "predicted": self.predicted, "same_way": self.same_way,
        }  # fmt: skip


def changes(predictions: Sequence[Prediction]) -> Iterator[Changed]:
    """Every two predicted rows that differ in one setting only."""
    told = [(p.row, p.cycles) for p in predictions if p.cycles is not None]
    for (first, cycles), (second, then) in combinations(told, 2):
        if any(getattr(first, column) != getattr(second, column) for column in JOB):
            continue
        changed = [
            setting
            for setting, columns in SETTINGS.items()
            if any(getattr(first, column) != getattr(second, column) for column in columns)
        ]
        if len(changed) == 1:
            yield Changed(changed[0], first, second, second.wall_cycles / first.wall_cycles, then / cycles)
