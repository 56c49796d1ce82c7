"""Predictions beside published device times: every row of a measurements file, run with numerics off.

A row is one kernel's wall on one board, in the columns of `data/measurements.csv`. Its prediction is the end of the
last kernel; of a ring, the median over the positions named. Nothing here enters the model.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt
from pathlib import Path
from statistics import mean, median
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tensix_sim.arch import machine
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.config import RunSpec
from tensix_sim.long_runs import Wall, wall
from tensix_sim.ops.checks import check
from tensix_sim.workers import Progress, run_all

SHIPPED = Path(__file__).parent / "data" / "measurements.csv"


class MeasurementsError(ValueError):
    """A measurements file that cannot be read; names line and column."""


class Row(BaseModel):
    """One published wall. Columns that a file has beyond these are carried along unread."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    board: str
    op: str
    kernel: str
    causal: bool
    batch: int
    q_heads: int
    kv_heads: int
    seq_q: int
    seq_kv: int
    chunk_start_idx: int
    sliding_window: int
    head_dim: int
    q_dtype: str
    kv_dtype: str
    q_chunk: int
    k_chunk: int
    grid_x: int | None
    grid_y: int | None
    math_fidelity: str
    math_approx: bool
    exp_approx: bool
    fp32_dest: bool
    ring_size: int | None = None
    wall_cycles: int = Field(gt=0)
    fpu_cycles: int | None = None
    sfpu_cycles: int | None = None
    math_cycles: int | None = None
    source: str = ""
    note: str = ""

    @field_validator("grid_x", "grid_y", "ring_size", "fpu_cycles", "sfpu_cycles", "math_cycles", mode="before")
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
            f"grid_x and grid_y are blank, and the note ({self.note!r}) has no 'N cores' that is a rectangle within the "
            f"{columns}x{rows} of {self.board}"
        )

    @property
    def assumption(self) -> str:
        """What had to be assumed, as a sentence; empty where all was published."""
        if self.grid_x and self.grid_y:
            return ""
        return f"grid {self.grid[0]}x{self.grid[1]} assumed"

    @property
    def spec(self) -> RunSpec:
        """The run that the row describes."""
        ring, paged = self.op == "ring_distributed_sdpa", self.op == "chunked_sdpa"
        inputs: dict[str, Any] = {
            "batch": self.batch, "q_heads": self.q_heads, "kv_heads": self.kv_heads, "seq_len": self.seq_q,
            "head_dim": self.head_dim, "dtype": self.q_dtype,
        }  # fmt: skip
        if not ring:
            inputs["kv_dtype"] = self.kv_dtype
        given: dict[str, Any] = {
            "op": self.op, "board": self.board, "kernel": self.kernel, "numerics": "off", "trace": "off", "inputs": inputs,
            "program_config": {
                "compute_with_storage_grid_size": self.grid, "q_chunk_size": self.q_chunk, "k_chunk_size": self.k_chunk,
                "exp_approx_mode": self.exp_approx,
            },
            "compute_kernel_config": {
                "math_fidelity": self.math_fidelity, "math_approx_mode": self.math_approx, "fp32_dest_acc_en": self.fp32_dest,
            },
        }  # fmt: skip
        if ring:
            given["ring_size"] = self.ring_size
        elif paged:
            given |= {"chunk_start_idx": self.chunk_start_idx, "paged_kv": {"block_size": 64, "page_table": "identity"}}
        else:
            given["is_causal"] = self.causal
            if self.sliding_window:
                given["sliding_window_size"] = self.sliding_window
            if self.seq_kv != self.seq_q:
                inputs["kv_len"] = self.seq_kv
        return RunSpec.model_validate(given)


@dataclass(frozen=True)
class Prediction:
    """What the model says of one row, beside what was measured."""

    row: Row
    cycles: int | None = None
    fpu_cycles: float = 0
    sfpu_cycles: float = 0
    bound: str = ""
    drawn_from: str = ""
    problem: str = ""

    @property
    def error(self) -> float | None:
        """Signed share by which the prediction is above the measurement."""
        return None if self.cycles is None else self.cycles / self.row.wall_cycles - 1

    def summary(self) -> dict[str, Any]:
        """As `validate --json` writes it."""
        row = self.row
        return {
            "id": row.id, "op": row.op, "kernel": row.kernel, "board": row.board, "bound": self.bound,
            "measured_cycles": row.wall_cycles, "predicted_cycles": self.cycles, "error": self.error,
            "measured_fpu_cycles": row.fpu_cycles, "predicted_fpu_cycles": self.fpu_cycles,
            "measured_sfpu_cycles": row.sfpu_cycles, "predicted_sfpu_cycles": self.sfpu_cycles,
            "drawn_from": self.drawn_from,
            "assumption": "" if self.problem else row.assumption, "problem": self.problem, "source": row.source,
        }  # fmt: skip


def read_rows(path: Path) -> list[Row]:
    """The rows of a measurements file.

    Raises:
        MeasurementsError: a column is missing or a value does not fit; names line, column and value.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        needed = [name for name, field in Row.model_fields.items() if field.is_required()]
        missing = [name for name in needed if name not in (table.fieldnames or [])]
        if missing:
            raise MeasurementsError(f"{path}: line 1 lacks the columns {', '.join(missing)}; a file needs {', '.join(needed)}")
        rows = [_read_row(path, table.line_num, record) for record in table]
    if not rows:
        raise MeasurementsError(f"{path}: no rows below the heading")
    return rows


def _read_row(path: Path, line: int, record: dict[str, str]) -> Row:
    try:
        return Row.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"])
        raise MeasurementsError(f"{path}: line {line}, column {column}: {first['msg']}; given {first['input']!r}") from None


def predict(row: Row) -> Prediction:
    """Run one row, or as much of it as tells its wall."""
    try:
        spec = row.spec
    except ValidationError as error:
        return Prediction(row, problem=str(error.errors()[0]["msg"]))
    except (ValueError, UnknownNameError) as error:
        return Prediction(row, problem=str(error))
    report = check(spec)
    if not report.ok:
        return Prediction(row, problem=report.violations[0].message)
    walls = [wall(spec, ring_id) for ring_id in spec.simulated_ring_ids]
    return Prediction(
        row,
        round(median(w.cycles for w in walls)),
        median(w.fpu_cycles for w in walls),
        median(w.sfpu_cycles for w in walls),
        _bound(walls[-1]),
        walls[-1].drawn_from,
    )


def _bound(found: Wall) -> str:
    """What a device's wall is bound by: idle cores, memory or compute."""
    if found.balance < 0.85:
        return "straggler"
    device = found.device
    waiting = sum(cycles for cause, cycles in device.waits.items() if cause in ("unpack: wait k_in", "unpack: wait v_in"))
    return "dram" if waiting > 0.1 * device.kernel_cycles_per_core.mean else "compute"


def validate(rows: Sequence[Row], jobs: int = 1, progress: Progress | None = None) -> list[Prediction]:
    """Predict all rows, the longest first, in `jobs` processes; the results in the order of the rows.

    Raises:
        WorkerError: a worker process died.
    """
    order = sorted(range(len(rows)), key=lambda i: -_work(rows[i]))
    found = dict(zip(order, run_all(predict, [(rows[i],) for i in order], jobs, progress), strict=True))
    return [found[i] for i in range(len(rows))]


def _work(row: Row) -> float:
    """About how long a row takes, in any unit."""
    steps = row.batch * row.q_heads * row.seq_q * row.seq_kv / (row.q_chunk * row.k_chunk)
    return steps * (1 + row.k_chunk / 128) * (0.5 if row.causal else 1) / (row.ring_size or 1)


GROUPS: dict[str, Callable[[Prediction], str]] = {
    "op": lambda p: p.row.op,
    "kernel": lambda p: p.row.kernel,
    "mask": lambda p: "window" if p.row.sliding_window else "causal" if p.row.causal else "not causal",
    "bound": lambda p: p.bound,
    "cores": lambda p: str(p.row.grid[0] * p.row.grid[1]),
    "fidelity": lambda p: p.row.math_fidelity,
    "chunks": lambda p: f"q{p.row.q_chunk} k{p.row.k_chunk}",
    "K and V": lambda p: p.row.kv_dtype,
    "head dim": lambda p: str(p.row.head_dim),
    "board": lambda p: p.row.board,
}


def groups(predictions: Sequence[Prediction]) -> Iterator[tuple[str, str, list[float]]]:
    """Kind of group, group and its rows' errors, for every group with a predicted row."""
    told = [p for p in predictions if p.error is not None]
    for kind, name_of in GROUPS.items():
        for name in sorted({name_of(p) for p in told}):
            yield kind, name, [p.error for p in told if name_of(p) == name and p.error is not None]


# What a user would change of a job; rows that differ otherwise are other jobs
SETTINGS = {
    "kernel": ("kernel",), "chunks": ("q_chunk", "k_chunk"), "grid": ("grid",), "fidelity": ("math_fidelity",),
    "exp": ("exp_approx", "math_approx"), "DST": ("fp32_dest",), "data types": ("q_dtype", "kv_dtype"),
    "KV heads": ("kv_heads",), "mask": ("causal", "sliding_window"),
}  # fmt: skip
JOB = ("board", "op", "batch", "q_heads", "seq_q", "seq_kv", "chunk_start_idx", "head_dim", "ring_size")
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


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """As `validate --json` writes it: the rows, the errors overall and by group, and rows that differ in one setting."""
    errors = [p.error for p in predictions if p.error is not None]
    return {
        "rows": [p.summary() for p in predictions],
        "summary": _errors(errors) | {"not_predicted": len(predictions) - len(errors)},
        "groups": [{"kind": kind, "name": name, **_errors(members)} for kind, name, members in groups(predictions)],
        "changes": [changed.summary() for changed in changes(predictions)],
    }


def _errors(errors: Sequence[float]) -> dict[str, Any]:
    size = [abs(error) for error in errors] or [float("nan")]
    return {
        "rows": len(errors),
        "mean_abs_error": mean(size),
        "median_abs_error": median(size),
        "worst_abs_error": max(size),
        "mean_error": mean(errors or [float("nan")]),
    }


def table(predictions: Sequence[Prediction]) -> str:
    """What `validate` prints: a line a row, then the groups, then all."""
    lines = [f"{'row':<22}{'kernel':<10}{'bound':<10}{'measured':>14}{'predicted':>14}{'error':>8}  remarks"]
    for p in predictions:
        if p.error is None:
            lines.append(f"{p.row.id:<22}{p.row.kernel:<10}{'':<10}{p.row.wall_cycles:>14,}{'none':>14}{'':>8}  {p.problem}")
            continue
        remarks = ", ".join(filter(None, [p.row.assumption, p.drawn_from]))
        lines.append(
            f"{p.row.id:<22}{p.row.kernel:<10}{p.bound:<10}{p.row.wall_cycles:>14,}{p.cycles:>14,}{p.error:>+8.1%}"
            + f"  {remarks}".rstrip()
        )
    lines += ["", f"{'group':<32}{'rows':>6}{'mean':>8}{'median':>8}{'worst':>8}{'bias':>8}"]
    errors = [p.error for p in predictions if p.error is not None]
    for kind, name, members in [*groups(predictions), ("all", "", errors)]:
        e = _errors(members)
        lines.append(
            f"{f'{kind} {name}'.strip():<32}{e['rows']:>6}{e['mean_abs_error']:>8.1%}{e['median_abs_error']:>8.1%}"
            f"{e['worst_abs_error']:>8.1%}{e['mean_error']:>+8.1%}"
        )
    pairs = list(changes(predictions))
    if pairs:
        right = sum(changed.same_way for changed in pairs)
        lines += [
            "",
            f"{len(pairs)} pairs of rows differ in one setting; {right} of them go the same way as on the chip. Not so:",
        ]
        lines += [
            f"{changed.setting:<12}{changed.first.id} to {changed.second.id}: {changed.measured - 1:+.1%} on the chip, "
            f"{changed.predicted - 1:+.1%} predicted"
            for changed in pairs
            if not changed.same_way
        ]
    return "\n".join(lines)
