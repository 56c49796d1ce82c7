"""Trace files. Each appears whole or not at all, and the same trace gives the same bytes."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.files import atomic, zipped
from tensix_sim.trace.causes import Cause
from tensix_sim.trace.queries import Cycles, Totals
from tensix_sim.trace.trace import RISCS, Trace

Devices = Sequence[tuple[int, Trace]]  # ring position, trace


def write_chrome(path: str | Path, devices: Devices, clock_hz: int, run: str = "") -> None:
    """Write spans and counters as Chrome JSON, which ui.perfetto.dev and chrome://tracing open.

    A process is a device, which may have several traces, a thread a RISC of a core. Times are microseconds; `args.cycles` is
    exact, `args.line` the line of the kernel that asked for it. `run` is the id of the run, which it has under `otherData`.
    A path that ends in .gz is compressed; both open that.
    """
    with zipped(Path(path)) if str(path).endswith(".gz") else atomic(path) as file:
        about = json.dumps({"clock_hz": clock_hz} | ({"run": run} if run else {}), separators=(",", ":"))
        file.write(f'{{"displayTimeUnit":"ns","otherData":{about},"traceEvents":[')
        separator = "\n"
        cores: dict[int, set[tuple[int, int]]] = {}
        for ring_id, trace in devices:
            cores.setdefault(ring_id, set()).update(lane.core for lane in trace.lanes)
        for ring_id, trace in devices:
            for event in _chrome_events(ring_id, trace, clock_hz, cores[ring_id]):
                file.write(separator + event)
                separator = ",\n"
        file.write("\n]}\n")


def _chrome_events(pid: int, trace: Trace, clock_hz: int, cores: Iterable[tuple[int, int]]) -> Iterator[str]:
    lanes = trace.lanes
    first_tid = {core: 8 * i + 1 for i, core in enumerate(sorted(cores, key=lambda core: core[::-1]))}
    tids = [first_tid[lane.core] + RISCS.index(lane.risc) for lane in lanes]

    def about(what: str, args: dict[str, Any], tid: int = 0) -> str:
        event = {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": args}
        return json.dumps(event, separators=(",", ":"))

    yield about("process_name", {"name": f"device {pid}"})
    yield about("process_sort_index", {"sort_index": pid})
    if trace.notes:
        labels = ", ".join(f"{what} {value}" for what, value in sorted(trace.notes.items()))
        yield about("process_labels", {"labels": labels})
    for tid, lane in sorted(zip(tids, lanes, strict=True)):
        yield about("thread_name", {"name": str(lane)}, tid)
        yield about("thread_sort_index", {"sort_index": tid}, tid)

    names = [f'"name":{json.dumps(str(n))},"cat":"{"wait" if isinstance(n, Cause) else "busy"}"' for n in trace.names]
    places = [f',"line":{json.dumps(str(line))}' if line.file else "" for line in trace.lines]
    span = f'{{"ph":"X","pid":{pid},"tid":%d,%s,"ts":%d.%03d2,"dur":%d.%03d,"args":{{"cycles":[%d,%d]%s}}}}'
    for block in trace.span_blocks():
        who = (tids[lane] for lane in block["lane"].tolist())
        what = (names[name] for name in block["name"].tolist())
        ts = nanoseconds(block["start"], clock_hz)
        dur = nanoseconds(block["end"], clock_hz) - ts
        times = _lists(ts // 1000, ts % 1000, dur // 1000, dur % 1000, block["start"], block["end"])
        where = (places[line] for line in block["line"].tolist())
        yield from (span % row for row in zip(who, what, *times, where, strict=True))

    labels_and_units = [(json.dumps(series.label), json.dumps(series.unit)) for series in trace.counters]
    count = f'{{"ph":"C","pid":{pid},"name":%s,"ts":%d.%03d2,"args":{{%s:%d}}}}'
    for block in trace.count_blocks():
        ts = nanoseconds(block["time"], clock_hz)
        rows = _lists(block["series"], ts // 1000, ts % 1000, block["value"])
        for series, us, ns, value in zip(*rows, strict=True):
            label, unit = labels_and_units[series]
            yield count % (label, us, ns, unit, value)


def nanoseconds(cycles: Cycles, clock_hz: int) -> Cycles:
    """Convert to whole nanoseconds, so that durations tile as cycles do.

    The writer adds 0.2 ns to each time: readers multiply by 1000 and truncate, and 1.001 us must not become
    1000 ns there and reach into the span before it.
    """
    return cycles // clock_hz * 10**9 + cycles % clock_hz * 10**9 // clock_hz


def _lists(*columns: NDArray[np.integer[Any]]) -> list[list[int]]:
    return [column.tolist() for column in columns]


def write_core_csv(path: str | Path, devices: Devices, run: str = "") -> None:
    """Write a row of cycles for each RISC of each core: first, last, busy, and waiting by cause; last the run's id, if given."""
    totals = [(ring_id, Totals.of(trace)) for ring_id, trace in devices]
    waits = sorted({name for _, t in totals for name in t.names if isinstance(name, Cause)}, key=str)
    header, last = (["run"], [run]) if run else ([], [])
    with atomic(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["ring_id", "core_x", "core_y", "risc", "start", "end", "busy", *waits, *header])
        for ring_id, t in totals:
            for i in sorted(range(len(t.lanes)), key=lambda i: t.lanes[i].rank):
                spent = dict(zip(t.names, t.cycles[i].tolist(), strict=True))
                busy = sum(cycles for name, cycles in spent.items() if not isinstance(name, Cause))
                core, risc = t.lanes[i]
                life = t.start[i], t.end[i]
                rows.writerow([ring_id, *core, risc, *life, busy, *(spent.get(name, 0) for name in waits), *last])


def write_transfers_csv(path: str | Path, devices: Devices, run: str = "") -> None:
    """Write a row for each burst's part between a core and a bank or another core's L1, in the order of issue.

    Last stands the run's id, if given.
    """
    columns = ("kind", "noc", "source_x", "source_y", "target_x", "target_y", "requests", "nbytes", "start", "end")
    header, last = (["run"], [run]) if run else ([], [])
    with atomic(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["ring_id", "core_x", "core_y", "risc", *columns, *header])
        for ring_id, trace in devices:
            lanes, names = trace.lanes, trace.names
            for row in trace.transferred():
                core, risc = lanes[row["lane"]]
                rows.writerow([ring_id, *core, risc, names[row["kind"]], *(int(row[c]) for c in columns[1:]), *last])


def write_golden(trace: Trace) -> str:
    """Return a small trace as text, for files that people review as diffs.

    One line a span, by lane and then time: lane, name, start, end. Then one line a counter value, by
    counter and then time: counter, unit, cycle, value. Tabs separate the columns.
    """
    lanes, names = trace.lanes, trace.names
    counters = [f"{series.label}\t{series.unit}" for series in trace.counters]
    lines = []
    for lane, name, start, end, _ in sorted(trace.spans().tolist(), key=lambda span: lanes[span[0]].rank):
        lines.append(f"{lanes[lane]}\t{names[name]}\t{start}\t{end}\n")
    for series, time, value in sorted(trace.counts().tolist(), key=lambda count: counters[count[0]]):
        lines.append(f"{counters[series]}\t{time}\t{value}\n")
    return "".join(lines)
