"""Everything that can be wrong with a run before time starts, all of it at once, in the user's terms."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tensix_sim.config import RunSpec, Source, SpecError, read_spec
from tensix_sim.doctor.advice import ADVICE, SHAPE_ADVICE
from tensix_sim.doctor.load import load
from tensix_sim.doctor.nearest import nearest, trial, tried
from tensix_sim.doctor.records import L1Buffer, L1Map, Violation
from tensix_sim.doctor.report import Report
from tensix_sim.doctor.rules import FILE_RULES, broken, faults, shape_rules
from tensix_sim.doctor.settings import settings
from tensix_sim.doctor.types import part_in_doubt, read_types
from tensix_sim.formats import TILE
from tensix_sim.hw.silicon import LONGEST
from tensix_sim.sdpa.case import Case, make_machine
from tensix_sim.sdpa.keys import FIDELITY, SEQ_LEN, Change, Fault
from tensix_sim.sdpa.op import compute_kernel, positions
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.text import key_text

__all__ = ["Report", "check", "examine"]


def check(spec: Source, overrides: Sequence[str] = ()) -> Report:
    """Say everything that is wrong with a spec, what the kernels will make of it, and what would be better.

    Each of `overrides` is ``a.b=c``, as of ``--set``. Never raises on a bad spec.
    """
    return examine(spec, overrides)[0]


def examine(spec: Source, overrides: Sequence[str] = ()) -> tuple[Report, Case | None]:
    """Check a spec; also the case that its rules had before them, None if it is past repair."""
    try:
        raw = read_spec(spec.model_dump(exclude_unset=True) if isinstance(spec, RunSpec) else spec, overrides)
        typed, found = read_types(raw)
    except SpecError as error:
        unread = (Violation(found={key: value}, rule=wrong) for key, value, wrong in error.problems)
        return Report(violations=tuple(unread)), None
    if typed is None:
        return Report(violations=tuple(Violation(found=fault.found, rule=fault.rule) for fault in found.values())), None
    on, of_machine = make_machine(typed)
    invalid = {part_in_doubt(key) for key in found} | {key for fault in of_machine.values() for key in fault.found}
    case = Case.of(typed, on, frozenset(invalid))
    of_values = [*found.items(), *of_machine.items(), *faults(case)]
    of_files = list(broken(case, FILE_RULES))
    names = {name for name, _ in of_values}
    unshaped = invalid or of_files or names & shape_rules(case)
    counted = None if unshaped else load(case.geometry, on.chip, positions(typed))
    too_long = counted is not None and not of_values and counted.floor.cycles > LONGEST
    after = trial(case)
    report = Report(
        subject=f"{key_text(typed.op)} on {key_text(typed.board)}",
        violations=(
            *(_violation(fault, nearest(case, after, names, name, fault)) for name, fault in of_values),
            *(_violation(fault) for _, fault in of_files),
            *(
                [_violation(case.fault(f"takes more than {LONGEST:,} cycles, the most that are timed", SEQ_LEN))]
                if too_long
                else []
            ),
        ),
        warnings=tuple(advice for give in (*ADVICE, *(() if unshaped else SHAPE_ADVICE)) for advice in tried(give, case)),
        settings=() if unshaped else settings(case, raw),
        effective={} if unshaped else _effective(case),
        load=counted,
        l1=tuple(tried(lambda: _l1_table(case))),
        l1_map=next(iter(tried(lambda: [_l1_map(case)])), None),
    )
    return report, case


def _violation(fault: Fault, nearest: tuple[Change, ...] = ()) -> Violation:
    return Violation(found=_plain(fault.found), rule=fault.rule, nearest=tuple(_plain(change) for change in nearest))


def _plain(values: Change) -> Change:
    return {key: value.model_dump() if isinstance(value, BaseModel) else value for key, value in values.items()}


def _l1_table(c: Case) -> tuple[L1Buffer, ...]:
    """List the circular buffers and where they lie."""
    base = c.l1_base
    return L1Buffer.table(c.buffers, base)


def _l1_map(c: Case) -> L1Map:
    last = _l1_table(c)[-1]
    return L1Map(
        size=c.number("l1.size"),
        base=c.l1_base,
        end=last.address + last.bytes,
        inputs=c.l1_input_bytes,
        output=c.l1_output_bytes,
        reserved=c.number("l1.reserved"),
    )


def _effective(c: Case) -> dict[str, Any]:
    """Collect what the kernels use, as opposed to what was asked for."""
    g = c.geometry
    b = g.blocks
    return {
        "kernel": compute_kernel(c.spec).name,
        "kernel_requested": c["kernel"],
        "math_fidelity": c[FIDELITY],
        "dst_tiles": b.dst,
        "qk_subblock": b.qk_subblock,
        "pv_subblock": b.pv_subblock,
        **(
            {"row_groups": {"scores": b.qk_subblock[0], "outputs": b.pv_rows}}
            if b.streaming
            else {"granularities": {"stats": b.stats, "sub_exp": b.sub_exp, "dht": b.dht, "reduce": b.reduce}}
        ),
        "exp": {"scores": "fast approximation", "correction": "accurate, column 0"},
        "scale": g.scale,
        "barrier_threshold": g.barrier_threshold(b.q.tile_bytes),
        "grid": g.grid,
        "cores": g.cores,
        "active_cores": g.deal.active_cores,
        "q_chunk_size": g.M * TILE,
        "k_chunk_size": g.N * TILE,
        "q_chunks": g.nq,
        "k_chunks": g.nk,
        **({"ring_axis": c.ring_axis} if c.op.ring else {}),
        **({"topology": g.topology, "num_links": g.links} if isinstance(g, RingGeometry) else {}),
        "l1_bytes": sum(buffer.bytes for buffer in g.buffers) + c.l1_tensor_bytes,
        "l1_budget": c.number("l1.limit") - c.l1_base,
    }
