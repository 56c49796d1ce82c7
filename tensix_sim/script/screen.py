"""What a script's ops cost, as text: a line an op and the devices that agree, shares, and how far to trust it all."""

from collections.abc import Iterator

from tensix_sim.script.run import OP_KINDS, ScriptOp, ScriptRun, Taken
from tensix_sim.text import counted, spans, table, wrapped

HEADER = ("op", "shape of input", "devices", "ring", "calls", "us", "of all", "bound by", "error (worst)", "PCC")
NEEDED = ("op", "us")


def script_screen(run: ScriptRun) -> str:
    """Each op, where the time of the slowest device goes, and the errors of such times against silicon."""
    rows, columns = run.mesh
    devices = counted(len(run.lines), "device")
    given = " ".join([run.script, *run.arguments])
    changed = "".join(f", {name} {value}" for name, value in run.machine.items())
    known = sum(len(taken.devices) for op in run.ops for taken in op.taken if taken.cycles is not None)
    parts = [
        wrapped(f"{given} on {run.board}, mesh {rows}x{columns}, numerics {run.numerics}{changed}: {devices}"),
        _table([*_lines(run)]),
        _shares(run),
        wrapped(f"{known:,} ops on devices, of which {run.simulated:,} were simulated: the others were alike"),
    ]
    if missing := sorted({op.op for op in run.ops if any(taken.cycles is None for taken in op.taken)}):
        parts.append(wrapped(f"cycles not modelled, and counted as none: {', '.join(missing)}"))
    parts += ["\n".join(wrapped(text) for text in _trusts(run)), "\n".join(wrapped(f"note: {note}") for note in run.notes)]
    return "\n\n".join(part for part in parts if part)


def _table(rows: list[tuple[str, ...]]) -> str:
    """The columns in which something stands."""
    kept = [i for i, name in enumerate(HEADER) if name in NEEDED or any(row[i] for row in rows)]
    return table([HEADER[i] for i in kept], [[row[i] for i in kept] for row in rows], least=("shape of input", "PCC"))


def _lines(run: ScriptRun) -> Iterator[tuple[str, ...]]:
    """Ops in the order of their first calls; calls that are alike are one line, whose time is one call's."""
    alike: dict[tuple[object, ...], list[tuple[ScriptOp, Taken]]] = {}
    for op in run.ops:
        groups: dict[tuple[object, ...], list[Taken]] = {}
        for taken in op.taken:
            groups.setdefault((taken.ring_id, taken.cycles, taken.bound), []).append(taken)
        for key, group in groups.items():
            whole = group[0].model_copy(update=_together(group))
            alike.setdefault((op.op, op.shape, op.inputs, *key, whole.devices), []).append((op, whole))
    for calls in alike.values():
        yield _line(run, calls)


def _together(group: list[Taken]) -> dict[str, object]:
    """What differs among devices that took the same: which they are, and the worst of their accuracies."""
    told = [taken.pcc for taken in group if taken.pcc is not None]
    devices = tuple(sorted(device for taken in group for device in taken.devices))
    return {"devices": devices, "pcc": min(told, default=None), "suspect": any(taken.suspect for taken in group)}


def _line(run: ScriptRun, calls: list[tuple[ScriptOp, Taken]]) -> tuple[str, ...]:
    op, taken = calls[0]
    us = "not modelled" if taken.us is None else f"{taken.us:,.1f}"
    share = sum(one.us or 0 for _, one in calls) / run.us if run.us else 0
    pcc = min((one.pcc for _, one in calls if one.pcc is not None), default=None)
    said = "" if pcc is None else f"{pcc:.6f}" + (" suspect" if any(one.suspect for _, one in calls) else "")
    ring = "" if taken.ring_id is None else str(taken.ring_id)
    count = str(len(calls)) if len(calls) > 1 else ""
    devices = spans(taken.devices)
    return op.op, op.shape, devices, ring, count, us, "" if taken.us is None else f"{share:.1%}", taken.bound, _error(op), said


def _error(op: ScriptOp) -> str:
    trust = op.trust
    if trust is None or trust.mean_error is None:
        return "unknown"
    return f"{trust.mean_error:.0%} ({trust.worst_error:.0%})"


def _shares(run: ScriptRun) -> str:
    shares = run.shares()
    told = ", ".join(f"{name} {shares[name] / run.us:.1%}" for name in (*OP_KINDS, "waits") if run.us and shares[name])
    return wrapped(f"{run.us:,.1f} us from the first op to the last; of device {run.slowest}, which ends last: {told}")


def _trusts(run: ScriptRun) -> Iterator[str]:
    """What the errors in the table are of."""
    kinds = {op.trust.kind: op.trust for op in run.ops if op.trust is not None}
    known = [trust for trust in kinds.values() if trust.mean_error is not None]
    if known:
        told = "; ".join(f"{trust.kind}: {trust.walls}" for trust in known)
        yield f"error: how far such times were from published ones, the mean and the worst of so many; {told}"
    if unknown := [trust.kind for trust in kinds.values() if trust.mean_error is None]:
        yield f"no published time of: {'; '.join(unknown)}"
