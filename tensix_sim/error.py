"""Where a run's error comes from: the op again and again, each time with other stages ideal; and how it grows with length."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from tensix_sim.accuracy import Moments, attention, compare_with_reference, total
from tensix_sim.config import RunSpec
from tensix_sim.device import run_device
from tensix_sim.doctor.check import check
from tensix_sim.expected import Errors
from tensix_sim.formats import to_format
from tensix_sim.job import Job
from tensix_sim.kernels.sdpa.compute_kernels import LEGACY
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.inputs import InputValues, RunNumbers, make_inputs
from tensix_sim.sdpa.op import SDPA, compute_kernel, positions
from tensix_sim.sdpa.resolve import geometry_of
from tensix_sim.sdpa.stages import INPUT, STAGES
from tensix_sim.user_errors import UserError
from tensix_sim.workers import Jobs, Progress, run_all, unwatched

WORST = 5  # rows and heads that are named


class ErrorStage(BaseModel):
    """Relative L2 error with this stage ideal: `alone`, and with all stages before it ideal too, `cumulative`.

    `share` is the part of the squared error that goes when it alone is ideal; shares need not add up to 1.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    alone: float
    share: float
    cumulative: float


class WorstRow(BaseModel):
    """A head, or one row of it, and its relative L2 error; the row is a position in the sequence."""

    model_config = ConfigDict(frozen=True)

    batch: int
    head: int
    row: int | None
    rel_l2: float


class Explanation(BaseModel):
    """Relative L2 error of all simulated rows taken apart. `stages` are in the order of the cumulative column, inputs last.

    `quantised_inputs` is the error of float64 attention on the inputs in their format, which no kernel can undercut.
    """

    model_config = ConfigDict(frozen=True)

    rel_l2: float
    quantised_inputs: float
    first_cause: str
    stages: list[ErrorStage]
    worst_rows: list[WorstRow]
    worst_heads: list[WorstRow]


def explain(spec: RunSpec, jobs: Jobs = 1, progress: Progress = unwatched) -> Explanation:
    """Take the error of a legal spec with `numerics: exact` apart. It runs the op's values about twenty times.

    Raises:
        ValueError: the spec's numbers are not exact.
        WorkerError: a worker process died.
    """
    if spec.numerics != "exact":
        raise ValueError(f"numerics is {spec.numerics}: an error is explained bit for bit; set numerics: exact")
    names = [*STAGES, INPUT]
    alone = [(name,) for name in names]
    cumulative = [tuple(names[: i + 1]) for i in range(len(names))]
    sets: list[tuple[str, ...]] = list(dict.fromkeys([(), *alone, *cumulative]))
    errors = run_all(_squared_errors, [(spec, ideal) for ideal in sets], jobs, progress)
    sizes = np.array([(_reference(*seen) ** 2).sum(axis=2) for *_, seen in _slabs(spec, make_inputs(spec))])  # as the errors
    norm = sizes.sum()
    found = {ideal: float(np.sqrt(e.sum() / norm)) for ideal, e in zip(sets, errors, strict=True)}
    whole = found[()]
    stages = [
        ErrorStage(name=name, alone=found[one], share=1 - (found[one] / whole) ** 2 if whole else 0.0, cumulative=found[so_far])
        for name, one, so_far in zip(names, alone, cumulative, strict=True)
    ]
    return Explanation(
        rel_l2=whole,
        quantised_inputs=_error_of_inputs(spec),
        first_cause=max(stages, key=lambda stage: stage.share).name,
        stages=stages,
        worst_rows=_worst(spec, errors[0], sizes, rows=True),
        worst_heads=_worst(spec, errors[0], sizes, rows=False),
    )


def _slabs(spec: RunSpec, inputs: InputValues) -> Iterator[tuple[Geometry, int, int, slice, Any]]:
    """Each slab that is simulated, with each batch: geometry, ring position, batch, rows, and the arguments of `attention`."""
    g = geometry_of(spec)
    for ring_id in positions(spec):
        for rows in g.slabs(ring_id):
            for b in range(g.B):
                seen = g.prefix + rows.start, g.scale, g.left, g.right, None, inputs.mask_of(b), inputs.sinks
                yield g, ring_id, b, rows, (inputs.q[b][:, rows], inputs.k[b], inputs.v[b], *seen)


def _squared_errors(spec: RunSpec, ideal: Sequence[str]) -> Errors:
    """Squared error of each simulated row [slab, head, row] with some stages ideal."""
    places = tuple(place for name in ideal if name != INPUT for place in STAGES[name])
    job = Job.legal(spec.model_copy(update={"trace": "off"}))
    numbers = RunNumbers(ideal=places, quantised=INPUT not in ideal)
    outputs = {r: run_device(job, r, numbers=numbers).output for r in job.ring_ids}
    parts = []
    for g, ring_id, b, rows, seen in _slabs(spec, make_inputs(spec)):
        slab = g.slabs(ring_id).index(rows)
        output = outputs[ring_id]
        assert output is not None
        out = output[b][:, slab * g.Sc : (slab + 1) * g.Sc]
        parts.append(((out - _reference(*seen)) ** 2).sum(axis=2))
    return np.array(parts)


def _reference(q: Any, k: Any, v: Any, *seen: Any) -> Any:
    """Float64 attention [head, row, element] of what `attention` takes."""
    out = np.empty(q.shape[:2] + v.shape[2:], np.float64)
    for head, start, values in attention(q, k, v, *seen):
        out[head, start : start + len(values)] = values
    return out


def _error_of_inputs(spec: RunSpec) -> float:
    """Relative L2 error of float64 attention on the inputs in their format."""
    inputs, blocks = make_inputs(spec), geometry_of(spec).blocks
    moments = []
    for _, _, _, _, (q, k, v, *seen) in _slabs(spec, inputs):
        out = _reference(to_format(q, blocks.q), to_format(k, blocks.k), to_format(v, blocks.v), *seen)
        moments.append(compare_with_reference(q, k, v, out, *seen))
    return total(moments).accuracy().rel_l2


def _worst(spec: RunSpec, errors: Errors, sizes: Errors, rows: bool) -> list[WorstRow]:
    """The rows, or the heads over all their rows, with the largest relative errors."""
    g = geometry_of(spec)
    slabs = [(b, part.start) for r in positions(spec) for part in g.slabs(r) for b in range(g.B)]
    if rows:
        relative = np.sqrt(errors / np.maximum(sizes, np.finfo(float).tiny))
        order = np.argsort(-relative, axis=None, kind="stable")[:WORST]
        found = [np.unravel_index(i, relative.shape) for i in order]
        return [
            WorstRow(batch=slabs[s][0], head=int(h), row=int(slabs[s][1] + i), rel_l2=float(relative[s, h, i]))
            for s, h, i in found
        ]
    heads = []
    for b in range(g.B):
        mine = [s for s, (batch, _) in enumerate(slabs) if batch == b]
        relative = np.sqrt(errors[mine].sum(axis=(0, 2)) / sizes[mine].sum(axis=(0, 2)))
        heads += [WorstRow(batch=b, head=h, row=None, rel_l2=float(e)) for h, e in enumerate(relative)]
    return sorted(heads, key=lambda place: -place.rel_l2)[:WORST]


# -- error against length -----------------------------------------------------------------------------------------------


class LengthError(BaseModel):
    """Error of sampled query rows that see `keys` keys."""

    model_config = ConfigDict(frozen=True)

    keys: int
    fp32_dest_acc_en: bool
    rows: int
    rel_l2: float
    worst_row: float


class LengthsError(UserError, ValueError):
    """A length at which the config would be an illegal config."""

    exit_code = 1


def length_specs(spec: RunSpec, keys: Sequence[int], heads: int = 1) -> list[RunSpec]:
    """One Q chunk that sees so many keys, with a 16-bit and a 32-bit DST, as specs of their own.

    Head_dim, formats, chunks and fidelity are those of `spec`; values are drawn anew for each length.

    Raises:
        LengthsError: one of them breaks a rule.
    """
    specs = [_sampled_chunk(spec, n, heads, wide) for wide in (False, True) for n in keys]
    for one in specs:
        if not (report := check(one)).ok:
            raise LengthsError(f"{one.kv_len} keys: " + "; ".join(v.message for v in report.violations))
    return specs


def error_by_length(specs: Sequence[RunSpec], jobs: Jobs = 1, progress: Progress = unwatched) -> list[LengthError]:
    """Errors of `length_specs`, in the order of their lengths."""
    found = run_all(_length_error, [(spec,) for spec in specs], jobs, progress, [spec.kv_len for spec in specs])
    return sorted(found, key=lambda e: (e.keys, e.fp32_dest_acc_en))


def _sampled_chunk(spec: RunSpec, keys: int, heads: int, wide: bool) -> RunSpec:
    """One Q chunk a head that sees all of `keys` keys: what the last Q chunk of a causal sequence is, but for its mask."""
    program = spec.program_config
    q = program.q_chunk_size if program else 32
    given = spec.inputs.redrawn(batch=1, q_heads=heads, kv_heads=heads, seq_len=q, kv_len=keys)
    given = given.model_copy(update={"attn_mask": None, "attention_sink": None})
    compute = spec.effective_compute_config.model_copy(update={"fp32_dest_acc_en": wide})
    changes = {
        "inputs": given, "compute_kernel_config": compute, "is_causal": False, "sliding_window_size": None,
        "cu_window_seqlens": None, "numerics": "exact",
        "reference": "whole", "trace": "off", "kernel": (LEGACY if wide else compute_kernel(spec)).name,
    }  # fmt: skip
    return SDPA.adopt(spec).model_copy(update=changes)


def _length_error(spec: RunSpec) -> LengthError:
    run = run_device(Job.legal(spec), 0)
    accuracy = (run.moments or Moments()).accuracy()
    return LengthError(
        keys=spec.kv_len,
        fp32_dest_acc_en=spec.effective_compute_config.fp32_dest_acc_en,
        rows=spec.inputs.q_heads * spec.inputs.seq_len,
        rel_l2=accuracy.rel_l2,
        worst_row=accuracy.worst_row,
    )
