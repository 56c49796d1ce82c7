"""What a script's ops cost, as text: a line an op and the devices that agree, shares, and how far to trust it all."""

from collections.abc import Iterator

from tensix_sim.script.run import OP_KINDS, ScriptOp, ScriptRun, Taken
from tensix_sim.script.what_ifs import what_ifs_screen
from tensix_sim.text import counted, grouped, spans, table, with_text, wrapped

HEADER = ("op", "shape of input", "devices", "ring", "calls", "us", "of all", "bound by", "error (worst)", "PCC")
NEEDED = ("op", "us")
ALIKE = 0.01  # of a time: devices that differ by less are not told apart


def script_screen(run: ScriptRun) -> str:
    """Each op, where the time of the slowest device goes, and the errors of such times against silicon."""
    header, rows = ops_table(run)
    parts = [
        wrapped(about(run)),
        table(header, rows, least=[name for name in ("shape of input", "PCC") if name in header]),
        _shares(run),
        what_ifs_screen(run),
        *(wrapped(text) for text in of_cycles(run)),
        "\n".join(wrapped(text) for text in of_errors(run)),
        "\n".join(wrapped(f"note: {note}") for note in run.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def about(run: ScriptRun) -> str:
    """What was run on what, in a line."""
    rows, columns = run.mesh
    given = " ".join([run.script, *run.arguments])
    changed = "".join(f", {name} {value}" for name, value in run.machine.items())
    devices = counted(len(run.lines), "device")
    return f"{given} on {run.board}, mesh {rows}x{columns}, numerics {run.numerics}{changed}: {devices}"


def ops_table(run: ScriptRun) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the ops, in the columns in which something stands."""
    return with_text(HEADER, [*_lines(run)], NEEDED)


def of_cycles(run: ScriptRun) -> Iterator[str]:
    """How many ops were simulated, and which have no cycles."""
    known = sum(len(taken.devices) for op in run.ops for taken in op.taken if taken.cycles is not None)
    yield f"{known:,} ops on devices, of which {run.simulated:,} were simulated: the others were alike"
    if missing := sorted({short(op.op) for op in run.ops if any(taken.cycles is None for taken in op.taken)}):
        yield f"cycles not modelled, and counted as none: {', '.join(missing)}"


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
    by_place = grouped(op.taken, lambda taken: taken.ring_id)
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
    about = short(op.op), op.shape, devices, ring, str(len(calls)) if len(calls) > 1 else ""
    return *about, _times(group), f"{share:.1%}" if slowest.us else "", slowest.bound, _error(op), pcc


def short(op: str) -> str:
    """An op's name as tables have room for it."""
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


def of_errors(run: ScriptRun) -> Iterator[str]:
    """What the errors in the table are of."""
    kinds = {op.trust.kind: op.trust for op in run.ops if op.trust is not None}
    known = [trust for trust in kinds.values() if trust.mean_error is not None]
    if known:
        told = "; ".join(f"{trust.kind}: {trust.walls}" for trust in known)
        yield f"error: how far such times were from published ones, the mean and the worst of so many; {told}"
    if unknown := [trust.kind for trust in kinds.values() if trust.mean_error is None]:
        yield f"no published time of: {'; '.join(unknown)}"
