"""What a script's ops cost, as text: a line an op and the devices that agree, shares, and how far to trust it all."""

from collections.abc import Iterator

from tensix_sim.script.run import OP_KINDS, ScriptOp, ScriptRun, Taken
from tensix_sim.text import counted, spans, table, wrapped

HEADER = ("op", "shape of input", "devices", "ring", "calls", "us", "of all", "bound by", "error (worst)", "PCC")
NEEDED = ("op", "us")
ALIKE = 0.01  # of a time: devices that differ by less are not told apart


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
    if missing := sorted({_short(op.op) for op in run.ops if any(taken.cycles is None for taken in op.taken)}):
        parts.append(wrapped(f"cycles not modelled, and counted as none: {', '.join(missing)}"))
    parts += ["\n".join(wrapped(text) for text in _trusts(run)), "\n".join(wrapped(f"note: {note}") for note in run.notes)]
    return "\n\n".join(part for part in parts if part)


def _table(rows: list[tuple[str, ...]]) -> str:
    """The columns in which something stands."""
    kept = [i for i, name in enumerate(HEADER) if name in NEEDED or any(row[i] for row in rows)]
    least = [name for name in ("shape of input", "PCC") if name in {HEADER[i] for i in kept}]
    return table([HEADER[i] for i in kept], [[row[i] for i in kept] for row in rows], least=least)


def _lines(run: ScriptRun) -> Iterator[tuple[str, ...]]:
    """Ops in the order of their first calls; calls that are alike are one line, whose times are one call's."""
    alike: dict[tuple[object, ...], list[tuple[ScriptOp, list[Taken]]]] = {}
    for op in run.ops:
        for group in _groups(op):
            took = tuple(sorted((taken.devices, taken.cycles) for taken in group))
            alike.setdefault((op.op, op.shape, op.inputs, took), []).append((op, group))
    for calls in alike.values():
        yield _line(run, calls)


def _groups(op: ScriptOp) -> list[list[Taken]]:
    """What it took on all devices; apart for each place in a ring, where these differ."""
    by_place: dict[int | None, list[Taken]] = {}
    for taken in op.taken:
        by_place.setdefault(taken.ring_id, []).append(taken)
    times = [taken.us or 0 for taken in op.taken]
    differ = max(times) > (1 + ALIKE) * min(times)
    return [*by_place.values()] if differ else [[*op.taken]]


def _line(run: ScriptRun, calls: list[tuple[ScriptOp, list[Taken]]]) -> tuple[str, ...]:
    op, group = calls[0]
    slowest = max(group, key=lambda taken: taken.us or 0)
    places = {taken.ring_id for taken in group}
    ring = str(slowest.ring_id) if len(places) == 1 and None not in places else ""
    share = sum(max(taken.us or 0 for taken in one) for _, one in calls) / run.us if run.us else 0
    told = [(taken.pcc, taken.suspect) for _, one in calls for taken in one if taken.pcc is not None]
    pcc = f"{min(told)[0]:.6f}" + (" suspect" if any(suspect for _, suspect in told) else "") if told else ""
    devices = spans(device for taken in group for device in taken.devices)
    about = _short(op.op), op.shape, devices, ring, str(len(calls)) if len(calls) > 1 else ""
    return *about, _times(group), f"{share:.1%}" if slowest.us else "", slowest.bound, _error(op), pcc


def _short(op: str) -> str:
    return op.replace("scaled_dot_product_attention", "sdpa")


def _times(group: list[Taken]) -> str:
    """Microseconds, of the fastest and the slowest device where they differ."""
    times = [taken.us for taken in group if taken.us is not None]
    if not times:
        return "not modelled"
    least, most = min(times), max(times)
    return f"{least:,.1f}-{most:,.1f}" if most > (1 + ALIKE) * least else f"{most:,.1f}"


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
