"""What the commands print, as text."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensix_sim.accuracy import Accuracy
from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.device import DeviceFigures, Spread
from tensix_sim.gather.tail import Tail
from tensix_sim.presets import Preset
from tensix_sim.sdpa.op import Op, positions
from tensix_sim.simulation import Result
from tensix_sim.text import counted, few, shown, table, wrapped
from tensix_sim.trace import LANES, LaneWait, Run
from tensix_sim.trust import ratio_error, tells, trust

if TYPE_CHECKING:
    from tensix_sim.analysis import Comparison, FigureChange, Worth
    from tensix_sim.error import Explanation, LengthError, WorstRow
    from tensix_sim.tuning import Measured, Tuning

_value = partial(shown, none="None")


def run_screen(result: Result) -> str:
    """Each device of the ring, then where the cycles went, then how accurate the numbers are."""
    spec, effective = result.spec, result.report.effective
    used = ", ".join(
        f"{name} {shown(value)}" for name, value in effective.items() if value is not None and not isinstance(value, dict)
    )
    parts = [
        _heading(spec),
        wrapped(f"effective: {used}"),
        _devices(result.devices),
        _slowest_waits(result.devices),
        wrapped(result.trust.text),
    ]
    if result.tail:
        parts.append(_tail(result.tail))
    if result.accuracy:
        parts.append(_accuracy(result.accuracy))
    if result.error:
        from tensix_sim.error import Explanation

        parts.append(_explanation(Explanation.model_validate(result.error)))
    if result.report.warnings:
        parts.append("\n".join(wrapped(f"note: {advice}") for advice in result.report.warnings))
    return "\n\n".join(parts)


def saved_screen(run: Run) -> str:
    """The same of a run that was read back: its devices, where the cycles went, and how accurate the numbers are."""
    devices = [DeviceFigures.model_validate(device) for device in run.summary["devices"]]
    told = wrapped(trust(run.spec, max(run.summary["devices"], key=lambda d: d["cycles"])).text)
    figures = run.summary["accuracy"]
    numbers = [_accuracy(Accuracy.model_validate(figures))] if figures else []
    return "\n\n".join([_heading(run.spec), _devices(devices), _slowest_waits(devices), told, *numbers])


def program_screen(title: str, figures: Mapping[str, Any], waits: Mapping[LaneWait, float]) -> str:
    """A program of one's own: its time and bytes, then what its lanes wait for, means over all cores."""
    header = ("cycles", "us", "DRAM read", "written", "DRAM util", "NoC util")
    read, written = (f"{figures[f'dram_{name}_bytes'] / 1e3:,.1f} kB" for name in ("read", "write"))
    busy = (f"{figures[f'{name}_utilization']:.1%}" for name in ("dram", "noc"))
    row = (f"{figures['cycles']:,}", f"{figures['duration_us']:,.1f}", read, written, *busy)
    return "\n\n".join([wrapped(title), table(header, [row]), _waits("lane", waits, figures["cycles"])])


def _heading(spec: RunSpec) -> str:
    given = spec.inputs
    return wrapped(
        f"{spec.op} on {spec.board}: {given.batch} x {counted(given.q_heads, 'head')} x {given.seq_len} tokens, "
        f"{counted(given.kv_heads, 'KV head')}, head_dim {given.head_dim}, {given.dtype}{_kind(spec)}"
    )


def _kind(spec: RunSpec) -> str:
    """What sets the run apart from causal attention over as many keys as queries, in one data type, on one device."""
    given, keys = spec.inputs, spec.kv_len
    parts = [
        (given.dtype_of_kv != "", given.dtype_of_kv),
        (keys != given.seq_len, f"{keys} keys"),
        (not spec.is_causal, "not causal"),
        (spec.sliding_window_size is not None, f"window {spec.sliding_window_size}"),
        (spec.cu_window_seqlens is not None, f"{len(spec.cu_window_seqlens or ()) - 1} windows of tokens"),
        (given.attn_mask is not None, f"{given.attn_mask_dtype} mask"),
        (given.attention_sink is not None, "sinks"),
        (Op.of(spec).ring, f"ring of {spec.ring_size}"),
    ]
    return "".join(f", {text}" for applies, text in parts if applies)


def _devices(devices: list[DeviceFigures]) -> str:
    header = (
        "device",
        "cycles",
        "us",
        "cores",
        "steps",
        "FPU",
        "SFPU",
        "unpack",
        "pack",
        "math util",
        "DRAM util",
        "DRAM read",
        "rel L2",
    )
    rows = [
        (
            str(d.ring_id),
            f"{d.cycles:,}",
            f"{d.duration_us:,.1f}",
            str(d.active_cores),
            _span(d.steps_per_core),
            *(f"{share / d.cycles:.1%}" for share in (d.fpu_cycles, d.sfpu_cycles, d.unpack_cycles, d.pack_cycles)),
            f"{d.math_utilization:.1%}",
            f"{d.dram_utilization:.1%}",
            f"{d.dram_read_bytes / 1e6:,.1f} MB",
            f"{d.accuracy.rel_l2:.2%}" if d.accuracy else "off",
        )
        for d in devices
    ]
    busiest = max(devices, key=lambda d: d.busiest_server_utilization)
    share = f"{busiest.busiest_server_utilization:.0%}"
    told = f"busiest server: {busiest.busiest_server} on device {busiest.ring_id}, {share} of the time"
    return (
        table(header, rows, least=("unpack", "pack", "SFPU", "DRAM read", "steps", "DRAM util", "math util"))
        + f"\n{wrapped(told)}"
    )


def _tail(tail: Tail) -> str:
    """What each op behind the ring op adds, on the slowest device, and what it moves on all."""
    rows = []
    for op, cycles in tail.stages().items():
        moved = [m for m in tail.moved if m.op == op]
        over = max((nbytes for m in moved for nbytes in m.ethernet_bytes.values()), default=0)
        read, written = (sum(getattr(m, name) for m in moved) / 1e6 for name in ("dram_read_bytes", "dram_write_bytes"))
        shown = f"{cycles:,}", f"{cycles / tail.clock_hz * 1e6:,.1f}", f"{cycles / tail.end:.1%}"
        rows.append((op, *shown, f"{read:,.1f} MB", f"{written:,.1f} MB", f"{over / 1e6:,.2f} MB" if over else ""))
    whole, more = tail.end / tail.clock_hz * 1e6, tail.cycles / tail.begun
    links = f"a {tail.topology} with {tail.links} link{'s' if tail.links > 1 else ''} between neighbours"
    said = f"whole sequence on every device after {tail.end:,} cycles, {whole:,.1f} us: {more:.1%} on top of the op; over {links}"
    header = ("then", "cycles", "us", "of all", "DRAM read", "written", "busiest link")
    return f"{table(header, rows, least=('written', 'DRAM read'))}\n{wrapped(said)}"


def _span(values: Spread) -> str:
    return str(values.max) if values.min == values.max else f"{values.min}-{values.max}"


def _slowest_waits(devices: list[DeviceFigures]) -> str:
    """What each lane of an active core waits for on the slowest device."""
    slowest = max(devices, key=lambda d: d.cycles)
    return _waits(f"device {slowest.ring_id}", slowest.waits, slowest.cycles)


def _waits(title: str, of_lanes: Mapping[LaneWait, float], wall: int) -> str:
    """What each lane waits for, longest first."""
    rows = []
    for lane in LANES.values():
        waits = [(cycles, wait.cause.text) for wait, cycles in of_lanes.items() if wait.lane == lane]
        named = ", ".join(f"{cause} {cycles / wall:.1%}" for cycles, cause in sorted(waits, reverse=True)[:5])
        rows.append((lane, f"{sum(cycles for cycles, _ in waits) / wall:.1%}", named))
    return table((title, "waits", "for"), rows, words="for")


def _accuracy(a: Accuracy) -> str:
    lines = [
        f"against float64 attention: PCC {a.pcc:.6f}, relative L2 {a.rel_l2:.3%}, RMSE {a.rmse:.3e}, "
        f"largest error {a.max_abs:.3e}, worst row {a.worst_row:.1%}"
    ]
    if a.sampled:
        lines.append(f"all figures, the worst row too, are of {a.sampled.text}")
    if suspicion := a.suspicion():
        lines.append(suspicion)
    return "\n".join(map(wrapped, lines))


def _explanation(e: "Explanation") -> str:
    header = ("error by stage, rel L2", "this one ideal", "share of its square", "and all before it")
    rows = [(s.name, f"{s.alone:.3%}", f"{s.share:.1%}", f"{s.cumulative:.3%}") for s in e.stages]
    said = f"first cause: {e.first_cause}; float64 attention on the inputs in their format has {e.quantised_inputs:.3%}"
    worst = f"worst rows: {_places(e.worst_rows)}", f"worst heads: {_places(e.worst_heads)}"
    return "\n".join([table(header, [("as it is", f"{e.rel_l2:.3%}", "", ""), *rows]), *map(wrapped, (said, *worst))])


def _places(places: "Iterable[WorstRow]") -> str:
    return ", ".join(f"batch {p.batch} head {p.head}{'' if p.row is None else f' row {p.row}'} {p.rel_l2:.2%}" for p in places)


def length_errors_screen(found: "Sequence[LengthError]") -> str:
    """Relative L2 error at each length, with both widths of DST, and of how many rows."""
    by = {(e.keys, e.fp32_dest_acc_en): e for e in found}
    rows = [
        (f"{n:,}", *(f"{value:.3%}" for wide in (False, True) for value in (by[n, wide].rel_l2, by[n, wide].worst_row)))
        for n in sorted({e.keys for e in found})
    ]
    sampled = f"each of {found[0].rows:,} query rows, drawn for the length, that see all of its keys"
    header = ("keys", "16-bit DST, rel L2", "worst row", "32-bit DST, rel L2", "worst row")
    return f"{table(header, rows)}\n\n{wrapped(sampled)}"


def boards_screen(boards: Iterable[Machine]) -> str:
    """One line a board."""
    header = ("board", "chip", "chips", "mesh", "grid", "clock", "L1", "DRAM banks", "DRAM rate", "links")
    rows = [
        (
            m.board,
            m.chip.name,
            str(m.chips),
            f"{m.mesh[0]}x{m.mesh[1]}",
            f"{m.grid[0]}x{m.grid[1]}",
            f"{m.chip.clock_hz / 1e9:g} GHz",
            f"{m.chip.l1.size:,} B",
            str(m.chip.dram.banks),
            f"{m.chip.dram.banks * m.chip.dram.bank_rate * m.chip.clock_hz / 1e9:.0f} GB/s",
            str(m.links_per_neighbour),
        )
        for m in boards
    ]
    return table(header, rows, least=("L1", "mesh", "links", "clock", "DRAM banks"))


SHOWN = 12  # changes of a device's critical path; the rest is one line
SETTINGS, PATH, MOVED = 8, 6, 5  # lines of a comparison that fits a screen


def compare_screen(c: "Comparison") -> str:
    """The answer, settings that differ, devices in groups that are alike, and of the slowest why: as much as fits a screen."""
    parts = [wrapped(c.verdict), *map(wrapped, c.notes), *(wrapped(f"FAILED: {limit.text}") for limit in c.limits)]
    if told := [one for one in c.settings if not one[0].startswith("effective.")] or c.settings:
        shown = [(key, _value(a), _value(b)) for key, a, b in told[:SETTINGS]]
        parts.append(table(("setting that differs", "before", "after"), [*shown, *_rest(len(told) - SETTINGS, 3)]))
    header = ("device", "before", "after", "change", "")
    groups = [(f"{few([d.device for d in group])}{', alike' * (len(group) > 1)}", group[0]) for group in c.alike]
    rows = [(name if m is d.cycles else f"{name}, {m.what}", *m.texts) for name, d in groups for m in d.measures]
    parts.append("\n".join([table(header, rows), *(f"device {d}: only in {name}" for d, name in c.only.items())]))
    if d := c.slowest:
        if d.path:
            parts.append(_changed(f"critical path of device {d.device}", [*d.main_path(PATH), d.cycles]))
        parts += [_changed(title, changes[:MOVED], len(changes) - MOVED) for title, changes in d.moved]
    parts += [_changed(title, changes) for title, changes in c.of_all_devices]
    return "\n\n".join([*parts, "everything, device by device: --all"])


def _changed(title: str, changes: "Iterable[FigureChange]", left: int = 0) -> str:
    """Figures before and after, and how many more there are."""
    return table((title, "before", "after", "change", ""), [*((c.what, *c.texts) for c in changes), *_rest(left, 5)])


def baseline_screen(found: "Sequence[Comparison]") -> str:
    """Several runs beside a baseline, a line each, then the settings in which any differs."""
    base, numbers = found[0], any(c.accuracy for c in found)

    def pcc(c: "Comparison", side: str) -> list[str]:
        return ["".join(f"{getattr(one, side):.6f}" for one in c.accuracy if one.what == "PCC")] if numbers else []

    header = ("run", "cycles", "us", "change", *["PCC"] * numbers, "most of the critical path")
    rest = *pcc(base, "before"), _most_of_path(base, "before")
    rows = [(base.before, f"{base.walls[0]:,}", f"{base.times[0]:,.1f}", "baseline", *rest)]
    for c in found:
        change = f"{c.times[1] / c.times[0] - 1:+.1%}{' ?' if c.clear is False else ''}"
        rows.append((c.after, f"{c.walls[1]:,}", f"{c.times[1]:,.1f}", change, *pcc(c, "after"), _most_of_path(c, "after")))
    best = min(found, key=lambda c: c.times[1])
    answer = best.verdict if best.times[1] < best.times[0] else f"none of {len(found)} runs is faster than {base.before}"
    parts = [wrapped(answer), *(wrapped(f"FAILED: {c.after}: {limit.text}") for c in found for limit in c.limits)]
    parts.append(table(header, rows, words=header[-1]))
    keys = dict.fromkeys(key for c in found for key, _, _ in c.settings if not key.startswith("effective."))
    if keys:
        values = [{key: (a, b) for key, a, b in c.settings} for c in found]
        first = {key: next(_value(of[key][0]) for of in values if key in of) for key in keys}
        settings = [(key, first[key], *(_value(of[key][1]) if key in of else "=" for of in values)) for key in keys]
        names = (Path(name).name for name in (base.before, *(c.after for c in found)))
        parts.append(
            table(("setting that differs", *names), [*settings[:SETTINGS], *_rest(len(settings) - SETTINGS, len(found) + 2)])
        )
    if any(c.clear is False for c in found):
        parts.append(wrapped(f"?: too small to tell; {ratio_error().text}"))
    notes = dict.fromkeys(note for c in found for note in c.notes if "too small to tell" not in note)
    return "\n\n".join([*parts, *map(wrapped, notes)])


def _most_of_path(c: "Comparison", side: str) -> str:
    d = c.slowest
    if d is None or not d.path:
        return ""
    most = max(d.path, key=lambda change: getattr(change, side))
    return f"{most.what} {getattr(most, side) / getattr(d.cycles, side):.0%}"


def _rest(left: int, cells: int) -> list[tuple[str, ...]]:
    """A last row that says how many more there are."""
    return [(f"and {left} more", *[""] * (cells - 1))] if left > 0 else []


def compare_all_screen(c: "Comparison") -> str:
    """Everything: the answer, what is to be said of it, settings that differ, then each device: cycles, why, other figures."""
    parts = [wrapped(c.verdict), *map(wrapped, c.notes), *(wrapped(f"FAILED: {limit.text}") for limit in c.limits)]
    if c.settings:
        parts.append(
            table(("setting that differs", "before", "after"), [(key, _value(a), _value(b)) for key, a, b in c.settings])
        )
    parts += [f"device {d}: only in {name}" for d, name in c.only.items()]
    for device in c.devices:
        parts.append(_changed(f"device {device.device}", device.measures))
        if device.path:
            parts.append(_changed("critical path", [*device.main_path(SHOWN), device.cycles]))
        parts += [_changed(title, changes) for title, changes in device.moved]
    parts += [_changed(title, changes) for title, changes in c.of_all_devices]
    return "\n\n".join(parts)


def worth_screen(spec: RunSpec, found: "Sequence[Worth]") -> str:
    """Both ops at each length, what the tail adds, and the answer."""
    from tensix_sim.analysis import plain, sliced, worth_from

    rows = [
        (
            f"{w.seq_len:,}",
            f"{w.plain_us:,.1f}",
            f"{w.ring_us:,.1f}",
            f"{w.tail_us:,.1f}",
            f"{w.gain:.2f}x{'' if w.clear else ' ?'}",
        )
        if w.problem is None
        else (f"{w.seq_len:,}", "illegal", "", "", "")
        for w in found
    ]
    least = worth_from(found)
    answer = (
        f"ring-distributed SDPA is worth it from {least:,} tokens on, of the lengths compared"
        if least
        else "ring-distributed SDPA is not worth it at the longest of these lengths"
    )
    title = f"{spec.op} against sdpa on {spec.board}, ring of {spec.ring_size}, tail included: split, two all-gathers, concat"
    parts = [
        wrapped(title),
        table(("tokens", "plain us", "ring us", "tail us", "ring is"), rows),
        wrapped(answer),
        *_joint_parts(found),
        *(wrapped(f"{one.op}: {trust(one).text}") for one in (spec, plain(spec), sliced(spec))),
    ]
    if any(w.problem is None and not w.clear for w in found):
        parts.append(wrapped(f"?: too small to tell; {ratio_error().text}"))
    return "\n\n".join([*parts, *(wrapped(f"{w.seq_len:,} tokens: {w.problem}") for w in found if w.problem)])


def _joint_parts(found: "Sequence[Worth]") -> list[str]:
    """The joint ring at each length, by its links, beside the two others, and which of the three is the fastest."""
    from tensix_sim.analysis import fastest

    rows = [
        (f"{w.seq_len:,}", str(j.links), f"{j.us:,.1f}", f"{j.tail_us:,.1f}", f"{j.link_bytes / 1e6:,.1f}",
         f"{w.kv_bytes / 1e6:,.1f}", f"{j.kv_bytes / 1e6:,.1f}", fastest(w, j.links) or "too close")
        if j.problem is None else (f"{w.seq_len:,}", str(j.links), "illegal", "", "", "", "", "")
        for w in found for j in w.joint
    ]  # fmt: skip
    if not rows:
        return []
    header = ("tokens", "links", "joint us", "tail us", "MB over links", "K, V MB whole", "joint", "fastest of three")
    title = "ring_joint_sdpa, balanced causal slices, a 16-bit DST, the same tail in bfloat16; K and V in each device's DRAM"
    problems = dict.fromkeys(f"joint ring, {w.seq_len:,} tokens: {j.problem}" for w in found for j in w.joint if j.problem)
    return [wrapped(title), table(header, rows), *map(wrapped, problems)]


def tune_screen(t: "Tuning") -> str:
    """The front, the fastest first, beside the given config; what to use, as ttnn code; and how far to trust it."""
    spec = t.space.spec
    heading = f"{spec.op} on {spec.board}, {spec.inputs.seq_len} tokens: {t.legal} legal configs of {', '.join(t.space.varied)}"
    if Op.of(spec).ring and len(ran := positions(spec)) < spec.ring_size:
        heading += f"; only position{'s' * (len(ran) > 1)} {few(ran)} of {spec.ring_size} ran: others may take longer"
    names = t.space.varied
    others = [] if t.given is None or t.given.spec in [m.spec for m in t.front] else [t.given]
    measured = [*t.front, *others]
    header = ("", *names, "us", "speed", "cores", "L1 bytes", "rel L2")
    rows = [(_roles(t, m), *(_value(m.settings[name]) for name in names), *_figures(t, m)) for m in measured]
    config = t.recommended.spec.program_config
    assert config is not None
    code = [config.as_ttnn]
    if {"fidelity", "fp32_dest"} & set(names):
        code.append(t.recommended.spec.effective_compute_config.as_ttnn)
    parts = [wrapped(heading), table(header, rows, least=("L1 bytes", "cores"))]
    if t.winner.error_of:
        parts.append(wrapped(f"rel L2: of {t.winner.error_of}"))
    parts += [wrapped(_said(t)), "\n".join(code)]
    if t.less_faithful:
        parts.append(wrapped(_less_faithful(t, t.less_faithful)))
    return "\n\n".join([*parts, wrapped(t.trust.text), wrapped(ratio_error().text)])


def _said(t: "Tuning") -> str:
    if t.given is None:
        return "the given config is illegal: tensix-sim check says why"
    if t.winner.spec == t.given.spec:
        return "the given config is the best of the space"
    gain = f"the winner is {t.gain:.2f} times as fast as the given config"
    return gain if t.clear else f"{gain}, which is too small to tell: keep the given config"


def _less_faithful(t: "Tuning", lower: "Measured") -> str:
    fidelity = lower.spec.effective_compute_config.math_fidelity
    cost = f", and relative L2 {lower.rel_l2:.2%} for {t.winner.rel_l2:.2%}" if lower.rel_l2 and t.winner.rel_l2 else ""
    small = "" if tells(t.winner.cycles, lower.cycles) else "; too small to tell"
    return (
        f"outside the space: the winner with math_fidelity {fidelity} takes {lower.microseconds:,.1f} us, "
        f"{t.winner.cycles / lower.cycles:.2f} times as fast{cost}{small}"
    )


def _roles(t: "Tuning", m: "Measured") -> str:
    given = t.given is not None and m.spec == t.given.spec
    return ", ".join(role for role, applies in (("winner", m.spec == t.winner.spec), ("given", given)) if applies)


def _figures(t: "Tuning", m: "Measured") -> tuple[str, ...]:
    speed = f"{t.given.cycles / m.cycles:.2f}x" if t.given else ""
    error = f"{m.rel_l2:.1%}" if m.rel_l2 is not None else ""
    return f"{m.microseconds:,.1f}", speed, str(m.active_cores), f"{m.l1_bytes:,}", error


def lengths_screen(tunings: "Sequence[Tuning]") -> str:
    """The given and the best config of each sequence length."""
    names = tunings[0].space.varied

    def config(m: "Measured | None") -> str:
        return "/".join(_value(m.settings[name]) for name in names) if m else "illegal"

    header = ("tokens", f"given {'/'.join(names)}", "us", "cores", "best", "us", "cores", "gain")
    rows = [
        (
            f"{t.space.spec.inputs.seq_len:,}",
            config(t.given),
            *((f"{t.given.microseconds:,.1f}", str(t.given.active_cores)) if t.given else ("", "")),
            config(t.winner),
            f"{t.winner.microseconds:,.1f}",
            str(t.winner.active_cores),
            f"{t.gain:.2f}x{'' if t.clear else ' ?'}" if t.gain else "",
        )
        for t in tunings
    ]
    said = [tunings[0].trust.text]
    if any(t.gain and not t.clear for t in tunings):
        said.append(f"?: too small to tell; {ratio_error().text}")
    return "\n\n".join([table(header, rows), *map(wrapped, said)])


def presets_screen(presets: Mapping[str, Preset]) -> str:
    """One line a preset."""
    rows = [(name, "{:,} to {:,}".format(*preset.seq_lens), preset.about) for name, preset in presets.items()]
    return table(("preset", "tokens", "what"), rows, words="what")
