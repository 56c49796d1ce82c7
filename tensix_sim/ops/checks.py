"""Everything that can be wrong with a run before time starts, all of it at once, in the user's terms."""

from typing import Any

from pydantic import BaseModel

from tensix_sim.config import Source, SpecError, read_spec
from tensix_sim.formats import TILE
from tensix_sim.ops.advice import ADVICE, SHAPE_ADVICE
from tensix_sim.ops.case import FIDELITY, Case, Fault, make_machine
from tensix_sim.ops.nearest import nearest, tried
from tensix_sim.ops.report import Change, Report, Violation
from tensix_sim.ops.rules import FILE_RULES, SHAPE_RULES, faults
from tensix_sim.ops.spec_types import part_in_doubt, read_types

__all__ = ["Report", "check"]


def check(spec: Source) -> Report:
    """Say everything that is wrong with a spec, and what the kernels will make of it. Never raises on a bad spec."""
    try:
        typed, found = read_types(read_spec(spec))
    except SpecError as error:
        return Report(violations=tuple(Violation(found={key: value}, rule=wrong) for key, value, wrong in error.problems))
    if typed is None:
        return Report(violations=tuple(Violation(found=fault.found, rule=fault.rule) for fault in found.values()))
    on, of_machine = make_machine(typed)
    invalid = {part_in_doubt(key) for key in found} | {key for fault in of_machine.values() for key in fault.found}
    case = Case.of(typed, on, frozenset(invalid))
    of_values = [*found.items(), *of_machine.items(), *faults(case)]
    of_files = list(faults(case, FILE_RULES))
    names = {name for name, _ in of_values}
    unshaped = invalid or of_files or names & {rule.__name__ for rule in SHAPE_RULES}
    return Report(
        violations=(
            *(_violation(fault, nearest(case, names, name, fault)) for name, fault in of_values),
            *(_violation(fault) for _, fault in of_files),
        ),
        warnings=tuple(advice for give in (*ADVICE, *(() if unshaped else SHAPE_ADVICE)) for advice in tried(give, case)),
        effective={} if unshaped else _effective(case),
        l1=tuple(tried(lambda: case.l1_table)),
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
