"""Predictions beside published device times: every row of a measurements file, run whole with numerics off.

Its prediction is the end of the last kernel; of a ring, the median over the positions named.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

from pydantic import ValidationError

from tensix_sim.arch.model import UnknownNameError
from tensix_sim.device import run_device
from tensix_sim.job import IllegalConfigError, Job
from tensix_sim.text import columns
from tensix_sim.walls import Prediction, Row, binds, changes, groups, sizes
from tensix_sim.workers import Jobs, Progress, run_all, unwatched


def predict(row: Row) -> Prediction:
    """Run one row, whole."""
    try:
        job = Job.of(row.spec)
    except ValidationError as error:
        wrong = error.errors()[0]
        return Prediction(row, problem=f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}")
    except IllegalConfigError as error:
        return Prediction(row, problem=error.report.violations[0].message)
    except (ValueError, UnknownNameError) as error:
        return Prediction(row, problem=str(error))
    devices = [run_device(job, ring_id).device for ring_id in job.ring_ids]
    return Prediction(
        row,
        round(median(d.cycles for d in devices)),
        median(d.fpu_cycles for d in devices),
        median(d.sfpu_cycles for d in devices),
        binds(devices[-1].model_dump()),
    )


def validate(rows: Sequence[Row], jobs: Jobs = 1, progress: Progress = unwatched) -> list[Prediction]:
    """Predict all rows, the longest first, `jobs` of them at a time or on a Dask cluster; the results in the order of the rows.

    Raises:
        WorkerError: a worker process died.
    """
    return run_all(predict, [(row,) for row in rows], jobs, progress, [_work(row) for row in rows])


def _work(row: Row) -> float:
    """About how long a row takes, in any unit."""
    steps = row.batch * row.q_heads * row.seq_q * row.seq_kv / (row.q_chunk * row.k_chunk)
    return steps * (1 + row.k_chunk / 128) * (0.5 if row.causal else 1) / (row.ring_size or 1)


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """As `validate --json` writes it: the rows, the errors overall and by group, and rows that differ in one setting."""
    errors = [p.error for p in predictions if p.error is not None]
    return {
        "rows": [p.summary() for p in predictions],
        "summary": {"rows": len(errors), "not_predicted": len(predictions) - len(errors), **sizes(errors)},
        "groups": [{"kind": kind, "name": name, "rows": len(of), **sizes(of)} for kind, name, of in groups(predictions)],
        "changes": [changed.summary() for changed in changes(predictions)],
    }


def table(predictions: Sequence[Prediction]) -> str:
    """What `validate` prints: a line a row, then the groups, then all."""
    wide = max(22, *(len(p.row.id) + 1 for p in predictions))
    layout = f"<{wide} <10 <10 >14 >14 >8 <"
    lines = [columns(layout, "row", "kernel", "bound", "measured", "predicted", "error", "  remarks")]
    for p in predictions:
        told = ("", "none", "", p.problem)
        if p.error is not None:
            told = (p.bound, f"{p.cycles:,}", f"{p.error:+.1%}", p.row.assumption)
        bound, *found, remark = told
        lines.append(columns(layout, p.row.id, p.row.kernel, bound, f"{p.row.wall_cycles:,}", *found, f"  {remark}"))
    errors = [p.error for p in predictions if p.error is not None]
    members = {f"{kind} {name}": found for kind, name, found in groups(predictions)} | {"all": errors}
    layout = f"<{max(map(len, members)) + 2} >6 >8 >8 >8 >8"
    lines += ["", columns(layout, "group", "rows", "mean", "median", "worst", "bias")]
    for name, of_group in members.items():
        *absolute, bias = sizes(of_group).values()
        lines.append(columns(layout, name, len(of_group), *(f"{size:.1%}" for size in absolute), f"{bias:+.1%}"))
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
