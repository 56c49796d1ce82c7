"""What is measured of a spec, in any process, and kept in a store: one number each."""

from functools import lru_cache
from math import lcm
from typing import Literal

from tensix_sim.config import RunSpec, WhatIf
from tensix_sim.device import run_device, run_together
from tensix_sim.doctor.check import check
from tensix_sim.doctor.load import Work
from tensix_sim.job import Job
from tensix_sim.sdpa.free import moving_for_free
from tensix_sim.sdpa.resolve import geometry_of
from tensix_sim.simulation import simulate

Figure = Literal["alone", "device", "error"]
ERROR_ROWS = 4096
WITH_NUMBERS = {"numerics": "fast", "reference": "whole"}


def measure(what: Figure, spec: RunSpec, ring_id: int) -> float:
    """Cycles of the busiest core alone on its device, cycles of a device, or relative L2 error of one head."""
    if what == "error":
        return relative_error(spec)
    return cycles_alone(spec, ring_id) if what == "alone" else _cycles(spec, ring_id)


def _cycles(spec: RunSpec, ring_id: int) -> int:
    job = Job.legal(spec)
    return _cycles_together(spec.model_dump_json())[ring_id] if job.together else run_device(job, ring_id).device.cycles


@lru_cache(maxsize=8)
def _cycles_together(spec: str) -> dict[int, int]:
    """Cycles of devices that are simulated on one clock, of which each will be asked for; of a spec as JSON."""
    return {run.device.ring_id: run.device.cycles for run in run_together(Job.legal(RunSpec.model_validate_json(spec)))}


def chunk_pairs(spec: RunSpec) -> int:
    """About how much there is to simulate in a run of a legal spec: pairs of a Q chunk and a K chunk, unmasked or not."""
    g = geometry_of(spec)
    return g.B * g.NQH * g.nq * g.nk


def cycles_alone(spec: RunSpec, ring_id: int) -> int:
    """Cycles of the core with most to do, if no other core were in its way.

    Where cores pass K and V on, it reads for free: from a neighbour it may get them sooner than from memory.
    """
    job = Job.legal(spec)
    core = Work(job.geometry).busiest_core(ring_id)
    alone = Job.legal(moving_for_free(spec)) if job.geometry.chained else job
    return run_device(alone, ring_id, only=core).device.cycles


def relative_error(spec: RunSpec) -> float:
    """Relative L2 error of one head, of at most `ERROR_ROWS` new rows where the values are drawn and not read."""
    result = simulate(shortened(spec) if not spec.inputs.from_files else spec.model_copy(update=WITH_NUMBERS))
    assert result.accuracy is not None
    return result.accuracy.rel_l2


def error_of(spec: RunSpec) -> str:
    """Figure `relative_error` is the error of, in words."""
    if spec.inputs.from_files:
        return "all heads of the given files"
    short = shortened(spec)
    heads = "one head" if spec.inputs.batch * spec.inputs.q_heads > 1 else "the head"
    return f"{heads}, {short.inputs.seq_len:,} of {spec.inputs.seq_len:,} rows, drawn inputs"


def shortened(spec: RunSpec) -> RunSpec:
    """The spec with one head, and as many rows of its own as it may have, but no more than `ERROR_ROWS` if it can."""
    given = spec.inputs.redrawn(batch=1, q_heads=1, kv_heads=1)
    one_head = spec.model_copy(update={"inputs": given, "what_if": WhatIf(), **WITH_NUMBERS})
    if given.seq_len <= ERROR_ROWS:
        return one_head
    g = geometry_of(spec)
    step = g.R * g.phases * lcm(32 * g.M, 32 * (g.block_rows or 1))
    rows = max(step, ERROR_ROWS // step * step)
    short = one_head.model_copy(update={"inputs": given.model_copy(update={"seq_len": rows})})
    return short if rows < given.seq_len and check(short).ok else one_head
