"""What the page shows, as one plain mapping that JSON can hold; long lists are packed (see `packing`).

Times are cycles of the device's clock. A span's name is its place in `names`, whose first is a gap and second "done"; a lane has
places in `acts` of a name and a line of `lines`, whose first is none.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tensix_sim
from tensix_sim.analysis import Verdict, budgets, critical_path, in_groups, merged, program_roofline, roofline
from tensix_sim.analysis.listing import LineTotals, shown_lines
from tensix_sim.analysis.slices import alike, slices_of
from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.doctor.records import L1Buffer
from tensix_sim.files import finite
from tensix_sim.gather.tail import OPS
from tensix_sim.job import Job
from tensix_sim.page.families import DONE, FAMILIES, GAP, OTHER_WAIT, Family, family
from tensix_sim.page.packing import deltas, pack
from tensix_sim.program import BufferSpec, Program
from tensix_sim.summary import suspicion
from tensix_sim.text import flat, shown
from tensix_sim.trace import LANES, RISCS, SPAN, Cause, Line, Run, Trace, What
from tensix_sim.trace.table import Records
from tensix_sim.trust import trust

SPANS = 1_500_000  # that a page holds, of all devices
SEVERAL = "several short steps"
FLOWS = ("read", "write", "noc0", "noc1")


@dataclass
class Names:
    """Numbers of what lanes do, and of the lines of kernels for which they do it, the same for all devices."""

    known: dict[What, int] = field(default_factory=lambda: {GAP: 0, DONE: 1})
    units: dict[str, str] = field(default_factory=dict)
    lines: dict[Line, int] = field(default_factory=lambda: {Line(): 0})
    acts: dict[tuple[int, int], int] = field(default_factory=lambda: {(0, 0): 0})  # name and line
    sources: dict[str, str] = field(default_factory=dict)

    def number(self, what: What) -> int:
        """The place of a step or a wait, which is new or known."""
        return self.known.setdefault(what, len(self.known))

    def line(self, line: Line) -> int:
        """The place of a line."""
        return self.lines.setdefault(line, len(self.lines))

    def act(self, what: What, line: Line) -> int:
        """The place of a step or a wait for a line."""
        return self.acts.setdefault((self.number(what), self.line(line)), len(self.acts))

    def listed(self) -> list[dict[str, Any]]:
        """The functions of kernels that lines are in, by file: [number, text, place in `lines`, -1 where it has none]."""
        found = []
        for file, source in sorted(self.sources.items()):
            numbers = [line.number for line in self.lines if line.file == file]
            lines = [[n, text, self.lines.get(Line(file, n), -1)] for n, text in shown_lines(source, numbers)]
            found.append({"file": file, "lines": lines})
        return found


def describe(run: Run, verdicts: Sequence[Verdict] = (), spans: int = SPANS) -> dict[str, Any]:
    """Gather all that the page shows, with the lanes of as many cores as make up about `spans` spans."""
    job = Job.of(run.spec, ran=True)
    spec, buffers = job.spec, job.geometry.buffers
    names = Names()
    summary = run.summary["devices"]
    share = spans // max(1, len(summary))
    devices = [_device(d, run.traces.get(d["ring_id"]), job, names, share) for d in summary]
    slices = slices_of(job.geometry, run.traces)
    return {
        "title": f"{spec.op} on {spec.board}",
        "shape": _shape(job),
        **_of_any(job.machine, spec.trace, buffers, names),
        "effective": _settings(run.summary["effective"]),
        "spec": _settings(run.summary["spec"]),
        "notes": [str(note) for note in job.report.warnings],
        "accuracy": run.summary["accuracy"],
        "suspicion": suspicion(run),
        "trust": trust(spec, max(summary, key=lambda device: device["cycles"])).text,
        "error": run.summary.get("error"),
        "tail": _tail(run.summary),
        "verdicts": _verdicts(verdicts),
        "devices": devices,
        "slices": {str(ring_id): [asdict(one) for one in found] for ring_id, found in slices.items()},
        "slices_alike": alike(slices, max(device["cycles"] for device in summary)),
        "foot": foot(job.machine, run.id, _again(run)),
    }


def describe_program(
    machine: Machine, program: Program, trace: Trace, figures: Mapping[str, Any], verdicts: Sequence[Verdict] = ()
) -> dict[str, Any]:
    """The same of a program that is no op of ours; it leaves out what only an op has: `without` names those sections."""
    names = Names()
    roofs = finite(asdict(program_roofline(machine, program, figures)))
    device = {"ring_id": 0, **figures, "roofline": roofs, **_traced(trace, program.buffers, names, SPANS)}
    tensors = [f"{t.name} {t.tile_rows}x{t.tile_cols} tiles of {t.format.name}" for t in program.tensors]
    return {
        "title": f"{', '.join(kernel.function.__name__ for kernel in program.kernels)} on {machine.board}",
        "shape": " · ".join([f"{program.grid[0]}x{program.grid[1]} cores", *tensors]),
        **_of_any(machine, trace.level, program.buffers, names),
        "trust": verdicts[0].trust if verdicts else "",
        "flops": "flops of busy FPUs",
        "verdicts": _verdicts(verdicts),
        "devices": [device],
        "foot": foot(machine),
        "slices": {},
        "without": [*([] if verdicts else ["verdict"]), "ring", "config", "accuracy"],
    }


def _of_any(machine: Machine, level: str, buffers: Sequence[BufferSpec], names: Names) -> dict[str, Any]:
    """What a page has of any program: all names that its devices used are known."""
    l1 = machine.chip.l1
    return {
        "clock_hz": machine.chip.clock_hz,
        "trace": level,
        "lanes": list(LANES.values()),
        "riscs": list(RISCS),
        "names": list(map(str, names.known)),
        "acts": [number for act in names.acts for number in act],
        "lines": list(map(str, names.lines)),
        "sources": names.listed(),
        "family_of": [OTHER_WAIT if what == SEVERAL else family(what, names.units) for what in names.known],
        "families": [{**f._asdict(), "label": _label(f, names)} for f in FAMILIES],
        "chip": _chip(machine),
        "l1": {"size": l1.size, "base": l1.base, "buffers": [b.model_dump() for b in L1Buffer.table(buffers, l1.base)]},
    }


def _verdicts(found: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Each with the devices of which the same is to be said, the slowest first."""
    alike = {v.ring_id: [other.ring_id for other in group] for group in in_groups(found) for v in group}
    return [finite(v.summary()) | {"alike": alike[v.ring_id]} for v in found]


def foot(machine: Machine, run: str = "", again: str = "") -> dict[str, Any]:
    """What made the page, the command that makes the run again, and the machine's numbers."""
    made_by = f"tensix_sim {tensix_sim.__version__}{f', run {run}' if run else ''}, on {machine.board}"
    return {"made_by": made_by, "again": again, "machine": _settings(machine.model_dump())}


def _again(run: Run) -> str:
    given = run.spec.model_dump(mode="json", exclude_defaults=True)
    given["inputs"] |= {name: file for name in "qkv" if (file := run.summary["spec"]["inputs"].get(name))}
    return f"echo {quote(json.dumps(given))} | tensix-sim run -"


def _tail(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What followed the op: cycles of each of its ops, from the end of the one before, and bytes of a device."""
    tail = summary.get("tail")
    if tail is None:
        return None
    rows = []
    for op in OPS:
        moved = [one for one in tail["ops"] if one["op"] == op]
        most = {key: max(one[key] for one in moved) for key in ("dram_read_bytes", "dram_write_bytes")}
        link = max((nbytes for one in moved for nbytes in one["ethernet_bytes"].values()), default=0)
        rows.append({"op": op, "cycles": tail["stages"][op], "link_bytes": link, **most})
    wall = max(device["cycles"] for device in summary["devices"])
    return {"rows": rows, "cycles": tail["cycles"], "wall": wall, "links": tail["links"], "topology": tail["topology"]}


def _label(of: Family, names: Names) -> str:
    """A family's label; the streaming kernel's products have exponentials beside them, in the same step."""
    return f"{of.label}, with exponentials beside it" if of.key == "matmul" and "multiply" in names.known else of.label


def _shape(job: Job) -> str:
    spec, given = job.spec, job.spec.inputs
    parts = [
        f"{given.batch} x {given.q_heads} heads x {given.seq_len:,} tokens",
        f"{given.kv_heads} KV head{'s' * (given.kv_heads > 1)}",
        f"head_dim {given.head_dim}",
        ", ".join(filter(None, (given.dtype, given.dtype_of_kv))),
    ]
    parts += [f"{spec.kv_len:,} keys"] if spec.kv_len != given.seq_len else []
    parts += [] if spec.is_causal else ["not causal"]
    parts += [f"window {spec.sliding_window_size}"] if spec.sliding_window_size else []
    parts += [f"{len(spec.cu_window_seqlens) - 1} windows of tokens"] if spec.cu_window_seqlens else []
    parts += [f"{given.attn_mask_dtype} mask"] if given.attn_mask else []
    parts += ["sinks"] if given.attention_sink else []
    parts += [f"ring of {spec.ring_size}"] if job.op.ring else []
    return " · ".join(parts)


def _chip(machine: Machine) -> dict[str, Any]:
    chip = machine.chip
    return {
        "name": chip.name,
        "columns": chip.noc.columns,
        "rows": chip.noc.rows,
        "worker_columns": list(machine.worker_columns),
        "worker_rows": list(machine.worker_rows),
        "all_worker_columns": list(chip.worker_columns),
        "all_worker_rows": list(chip.worker_rows),
        "grid": list(machine.grid),
        "dram": [list(node) for node in chip.dram.endpoints],
        "ethernet": [list(node) for node in chip.ethernet.endpoints],
        "link_rate": chip.noc.link_rate,
        "bank_rates": [chip.dram.rate_of(bank) for bank in range(chip.dram.banks)],
    }


def _settings(nested: Mapping[str, Any]) -> list[list[str]]:
    """Keys with dots and values as text, pairs as sizes."""
    return [
        [key, shown(value, " x " if isinstance(value, list | tuple) and len(value) == 2 else ", ")]
        for key, value in flat(nested).items()
    ]


def _device(figures: Mapping[str, Any], trace: Trace | None, job: Job, names: Names, spans: int) -> dict[str, Any]:
    shown = {key: value for key, value in figures.items() if key not in ("servers", "accuracy")}
    about = {
        **shown,
        "accuracy": figures["accuracy"],
        "servers": {name: round(share, 5) for name, share in figures["servers"].items()},
        "roofline": finite(asdict(roofline(job, figures))),
    }
    return about | _traced(trace, job.geometry.buffers, names, spans)


def _traced(trace: Trace | None, buffers: Sequence[BufferSpec], names: Names, spans: int) -> dict[str, Any]:
    """What only a trace tells: totals of all cores, lanes of some, bytes over time, the critical path."""
    if trace is None or not trace.lanes:
        return {"cores": []}
    cores = sorted({lane.core for lane in trace.lanes}, key=lambda core: core[::-1])
    names.units |= trace.units
    names.sources |= trace.sources
    totals = LineTotals.of(trace)
    rows = [
        (i, RISCS.index(risc), names.number(name), cycles)
        for i, spent in enumerate(budgets(trace, cores))
        for risc, lane in spent.lanes.items()
        for name, cycles in lane.items()
    ]
    path = merged(critical_path(trace, buffers)) if any(map(len, trace.span_blocks())) else []
    return {
        "wall": trace.end,
        "cores": [list(core) for core in cores],
        "totals": pack(*zip(*rows, strict=True)),
        "by_line": _by_line(totals, names),
        "bytes_of": _bytes_of(trace, cores),
        **_lanes(trace, cores, _acts(totals, names), names, spans),
        "flows": _flows(trace),
        "path_core": list(path[0].core) if path else None,
        "path": pack(
            [RISCS.index(s.risc) for s in path], [names.number(s.what) for s in path], deltas([0, *(s.end for s in path)])[1:]
        ),
    }


def _by_line(totals: LineTotals, names: Names) -> str:
    """Cycles of all cores by lane, line and name."""
    risc_of = {lane: i for i, lane in enumerate(LANES.values())}
    rows = [
        (risc_of[lane], names.line(line), names.number(what), cycles)
        for (lane, line), spent in totals.by_lane().items()
        for what, cycles in spent.items()
    ]
    return pack(*zip(*rows, strict=True))


def _acts(totals: LineTotals, names: Names) -> NDArray[np.int64]:
    """Places of what a trace's lanes did, by its own numbers of names and lines."""
    acts = np.zeros((len(totals.names), len(totals.lines)), np.int64)
    for line, name in np.argwhere(totals.cycles.any(axis=0)).tolist():
        acts[name, line] = names.act(totals.names[name], totals.lines[line])
    return acts


def _bytes_of(trace: Trace, cores: Sequence[Coord]) -> list[int]:
    """Bytes that each core asked for or sent; none without a trace of transfers."""
    rows = trace.transferred()
    if not len(rows):
        return []
    moved = np.bincount(rows["lane"], rows["nbytes"], len(trace.lanes)).astype(np.int64)
    return [sum(int(n) for n, lane in zip(moved, trace.lanes, strict=True) if lane.core == core) for core in cores]


def _flows(trace: Trace) -> list[dict[str, Any]]:
    """Bytes over time: of all reads and writes, of each NoC, of each bank. `width` is that of a bin, in cycles."""
    moved = [series for series in trace.counters if series.unit == "bytes"]
    order = {name: i for i, name in enumerate(FLOWS)}
    flows = []
    for series in sorted(moved, key=lambda series: order.get(series.what, len(order))):
        starts, nbytes = trace.counter(series.label)
        width = int(starts[1] - starts[0]) if len(starts) > 1 else max(1, trace.end)
        if len(starts) and starts[0]:  # a link's bins begin with its first packet
            nbytes = _from_zero(int(starts[0]), width, nbytes)
        flows.append({"name": series.what, "width": width, "bytes": pack(nbytes)})
    return flows


def _from_zero(first: int, width: int, nbytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes in bins that begin at cycle 0, of bins that begin later: each is spread evenly over its life."""
    so_far = np.concatenate(([0], np.cumsum(nbytes)))
    edges = np.arange(0, first + (len(nbytes) + 1) * width, width)
    until = np.interp(edges, first + width * np.arange(len(so_far)), so_far)
    whole: NDArray[np.int64] = np.round(until).astype(np.int64)
    return whole[1:] - whole[:-1]


# -- lanes of some cores ------------------------------------------------------------------------------------


def _lanes(trace: Trace, cores: Sequence[Coord], acts: NDArray[np.int64], names: Names, budget: int) -> dict[str, Any]:
    """Spans and circular buffers of the cores that tell most, as many as the budget holds, one at least."""
    at = {core: i for i, core in enumerate(cores)}
    of_lane = np.array([at[lane.core] for lane in trace.lanes])
    works = np.array([not isinstance(name, Cause) for name in trace.names], bool)
    spans, work, end = (np.zeros(len(cores), np.int64) for _ in range(3))
    for block in trace.span_blocks():
        core = of_lane[block["lane"]]
        np.add.at(spans, core, 1)
        np.add.at(work, core, works[block["name"]])
        np.maximum.at(end, core, block["end"])
    kept: dict[int, str] = {}
    left = budget
    for i, why in _telling(end, work).items():
        if spans[i] <= left or not kept:
            kept[i] = why
            left -= int(spans[i])
    coarse = _resolution(trace, cores[next(iter(kept))], budget) if left < 0 else 0
    if coarse:
        acts = np.vstack([acts, np.full(acts.shape[1], names.act(SEVERAL, Line()))])
    rows = _rows_of(trace, [cores[i] for i in kept])
    counters = _counters_of(trace, [cores[i] for i in kept])
    detail = {}
    for i in sorted(kept):
        lanes = [rows[cores[i], risc] for risc in RISCS]
        if coarse:
            lanes = [_coarsened(lane, coarse, len(acts) - 1) for lane in lanes]
        packed = [part for lane in lanes for part in tiled(lane, acts)]
        buffers = counters[cores[i]]
        packed += [part for time, value in buffers.values() for part in (deltas(time), value)]
        detail[str(i)] = {"why": kept[i], "buffers": list(buffers), "packed": pack(*packed)}
    return {"detail": detail, "spans": int(spans.sum()), "spans_kept": int(spans[list(kept)].sum()), "merged_below": coarse}


def _telling(end: NDArray[np.int64], work: NDArray[np.int64]) -> dict[int, str]:
    """All cores, those first that tell most, and why they do. A core that does no work is idle."""
    by_end = [int(i) for i in np.argsort(-end, kind="stable") if work[i]]
    idle = np.flatnonzero(work == 0).tolist()
    picks = [(by_end[0], "ends last"), (by_end[-1], "ends first"), (by_end[len(by_end) // 2], "in the middle")] if by_end else []
    picks += [(idle[0], "idle")] if idle else []
    order: dict[int, str] = {}
    for i, why in [*picks, *((i, "" if work[i] else "idle") for i in range(len(end)))]:
        order.setdefault(i, why)
    return order


def _rows_of(trace: Trace, cores: Sequence[Coord]) -> dict[tuple[Coord, str], Records]:
    """Spans of some cores, by lane, in one pass."""
    chosen = np.array([lane.core in set(cores) for lane in trace.lanes], bool)
    pieces = [block[chosen[block["lane"]]] for block in trace.span_blocks()]
    rows = np.concatenate(pieces) if pieces else np.empty(0, SPAN)
    rows = rows[np.argsort(rows["lane"], kind="stable")]
    ends = np.searchsorted(rows["lane"], np.arange(len(trace.lanes) + 1))
    found = {(core, risc): np.empty(0, SPAN) for core in cores for risc in RISCS}
    for i, lane in enumerate(trace.lanes):
        if chosen[i]:
            found[lane.core, lane.risc] = rows[ends[i] : ends[i + 1]]
    return found


def _counters_of(trace: Trace, cores: Sequence[Coord]) -> dict[Coord, dict[str, tuple[Any, Any]]]:
    """Tiles in the circular buffers of some cores, over time, in one pass."""
    of_cores = [(i, s.core, s.what) for i, s in enumerate(trace.counters) if s.core and s.unit == "tiles"]
    wanted = {i: (core, what) for i, core, what in of_cores if core in cores}
    pieces = [block[np.isin(block["series"], list(wanted))] for block in trace.count_blocks()]
    found: dict[Coord, dict[str, tuple[Any, Any]]] = {core: {} for core in cores}
    if pieces:
        rows = np.concatenate(pieces)
        rows = rows[np.argsort(rows["series"], kind="stable")]
        for i, (core, name) in wanted.items():
            mine = rows[np.searchsorted(rows["series"], i) : np.searchsorted(rows["series"], i, side="right")]
            found[core][name] = mine["time"], mine["value"]
    return found


def tiled(lane: Records, acts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Acts and durations from cycle 0 on, a gap being a span too: what the page reads back."""
    edges = np.stack([lane["start"], lane["end"]], axis=1).ravel()
    durations = deltas(edges)
    done = np.stack([np.zeros(len(lane), np.int64), acts[lane["name"], lane["line"]]], axis=1).ravel()
    kept = durations > 0
    return done[kept], durations[kept]


def _resolution(trace: Trace, core: Coord, budget: int) -> int:
    """Least power of two, cycles, at which the core's spans fit the budget when shorter ones are merged."""
    lanes = [rows for (_, _), rows in _rows_of(trace, [core]).items()]
    shortest = 64
    while sum(len(_coarsened(rows, shortest, 0)) for rows in lanes) > budget and shortest < trace.end:
        shortest *= 2
    return shortest


def _coarsened(lane: Records, shortest: int, several: int) -> Records:
    """Neighbours shorter than `shortest` as one span of the name `several`, of at most about four times that length."""
    if not len(lane):
        return lane
    short = lane["end"] - lane["start"] < shortest
    bucket = lane["start"] // (4 * shortest)
    joined = short[1:] & short[:-1] & (bucket[1:] == bucket[:-1])
    first = np.flatnonzero(np.concatenate(([True], ~joined)))
    last = np.append(first[1:], len(lane)) - 1
    rows = lane[first].copy()
    rows["end"] = lane["end"][last]
    rows["name"] = np.where(first == last, rows["name"], several)
    rows["line"] = np.where(first == last, rows["line"], 0)
    return rows
