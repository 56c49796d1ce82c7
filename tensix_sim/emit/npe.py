"""Files of tt-npe: the NoC trace that it reads, and the timeline that it writes, which ttnn-visualizer draws.

Both come from `trace: transfers`, which has no virtual channels, no barriers, no semaphores and of a burst's requests only how
many went where. The trace has an event for each: from the burst's issue, an issue gap apart or, where a burst landed before
that, evenly until then. The timeline has no zones. Positions are NoC 0 coordinates.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensix_sim.emit.run import Emission, host_id
from tensix_sim.files import atomic
from tensix_sim.hw.noc import Noc
from tensix_sim.trace import Totals, Trace, What
from tensix_sim.trace.folder import MARK
from tensix_sim.trace.queries import Cycles
from tensix_sim.trace.table import Records

EVENTS: dict[What, str] = {"READ": "READ", "WRITE": "WRITE_"}
LINKS = (("NOC0_EAST", "NOC0_SOUTH"), ("NOC1_WEST", "NOC1_NORTH"))
TIMESTEPS = 256  # most of them; what goes the same way within one is drawn as one
Ends = tuple[int, int, int, int, int, int]  # NoC, source x and y, target x and y, kind


def write_traces(emission: Emission, folder: Path) -> list[Path]:
    """Write `noc_trace_dev<D>_<op>_ID<id>.json` for each device, events by core, RISC and time."""
    paths = []
    for device, trace in emission.devices:
        ring_id = device["ring_id"]
        path = folder / f"noc_trace_dev{ring_id}_{emission.op_code}_ID{host_id(ring_id)}.json"
        with atomic(path) as file:
            separator = "[\n"
            for event in _events(emission, trace, ring_id):
                file.write(separator + json.dumps(event, separators=(",", ":")))
                separator = ",\n"
            file.write("\n]\n")
        paths.append(path)
    return paths


def _events(emission: Emission, trace: Trace, ring_id: int) -> Iterator[dict[str, Any]]:
    """The events of each data-movement RISC, within its kernel's zone."""
    totals, moved = Totals.of(trace), _on_nocs(trace)
    noc = emission.job.machine.chip.noc
    by_kind: dict[What, int] = {"READ": noc.read_issue_cycles, "WRITE": noc.write_issue_cycles}
    gaps = np.array([by_kind.get(name, 0) for name in trace.names], np.int64)
    own = {"op_name": emission.op_code, "run_host_id": host_id(ring_id)}
    movers = [i for i, lane in enumerate(trace.lanes) if not lane.risc.startswith("TRISC")]
    for i in sorted(movers, key=lambda i: (emission.job.machine.worker(trace.lanes[i].core), trace.lanes[i].risc)):
        core, risc = trace.lanes[i]
        x, y = emission.job.machine.worker(core)
        here = {"proc": risc, "sx": x, "sy": y}
        zone = here | {"zone": f"{risc}-KERNEL", MARK: emission.run.id}
        yield zone | {"zone_phase": "begin", "timestamp": int(totals.start[i])} | own
        bursts = moved[moved["lane"] == i]
        for row, cycle in _requests(bursts, gaps):
            yield here | _request(trace, bursts[row]) | {"timestamp": cycle} | own
        yield zone | {"zone_phase": "end", "timestamp": int(totals.end[i])} | own


def _on_nocs(trace: Trace) -> Records:
    """Transfers over NoCs; npe knows of no Ethernet."""
    moved = trace.transferred()
    return moved[moved["noc"] >= 0]


def _requests(bursts: Records, gaps: Cycles) -> Iterator[tuple[int, int]]:
    """The requests of a lane's bursts in order of time: (row of the burst, cycle)."""
    requests = bursts["requests"]
    row = np.repeat(np.arange(len(bursts)), requests)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(requests) - requests, requests)
    pace = np.minimum(gaps[bursts["kind"]], (bursts["end"] - bursts["start"]) // requests)
    cycle = bursts["start"][row] + nth * pace[row]
    order = np.argsort(cycle, kind="stable")
    return zip(row[order].tolist(), cycle[order].tolist(), strict=True)


def _request(trace: Trace, burst: np.void) -> dict[str, Any]:
    """One request of a burst: where the core's own end of it is not."""
    kind = trace.names[burst["kind"]]
    other = "source" if kind == "READ" else "target"
    what = {"noc": f"NOC_{burst['noc']}", "type": EVENTS[kind], "num_bytes": int(burst["nbytes"]) // int(burst["requests"])}
    return what | {"dx": int(burst[f"{other}_x"]), "dy": int(burst[f"{other}_y"])}


def write_timeline(emission: Emission, device: Mapping[str, Any], trace: Trace, path: Path) -> Path:
    """Write one device's timeline, version 1.0.0; a transfer's bytes are spread evenly from its issue to its landing."""
    wall = max(1, device["cycles"])
    width = -(-wall // TIMESTEPS)
    transfers = _merged(_on_nocs(trace), width)
    steps = _Steps(emission, wall, width)
    listed = [steps.add(i, trace, ends, *rest) for i, (ends, rest) in enumerate(transfers)]
    chip = emission.job.machine.chip
    nocs = {f"NOC{noc}": steps.utilisation(noc) for noc in (0, 1)}
    timeline = {
        "common_info": {
            "version": "1.0.0",
            "mesh_device": emission.job.spec.board,
            "arch": chip.name,
            "cycles_per_timestep": width,
            "congestion_model_name": "tensix_sim",
            MARK: emission.run.id,
            "num_rows": chip.noc.rows,
            "num_cols": chip.noc.columns,
            "dram_bw_util": round(100 * device["dram_utilization"], 3),
            "link_util": round(100 * device["noc_utilization"], 3),
            "mcast_write_link_util": 0.0,
            "link_demand": round(sum(n["avg_link_demand"] for n in nocs.values()) / 2, 3),
            "max_link_demand": max(n["max_link_demand"] for n in nocs.values()),
            "noc": nocs,
        },
        "chips": {"0": [0, 0, 0, 0]},
        "noc_transfers": listed,
        "zones": [],
        "timestep_data": steps.listed(),
    }
    with atomic(path) as file:
        json.dump(timeline, file, separators=(",", ":"))
        file.write("\n")
    return path


def _merged(moved: Records, width: int) -> list[tuple[Ends, tuple[int, int, int]]]:
    """Transfers of the same way that begin in the same timestep made one: (ends, (bytes, start, end)), by start."""
    columns = [moved[c].tolist() for c in ("noc", "source_x", "source_y", "target_x", "target_y", "kind")]
    found: dict[tuple[int, Ends], tuple[int, int, int]] = {}
    for *ends, nbytes, start, end in zip(*columns, *(moved[c].tolist() for c in ("nbytes", "start", "end")), strict=True):
        key = start // width, (ends[0], ends[1], ends[2], ends[3], ends[4], ends[5])
        sofar, first, last = found.get(key, (0, start, end))
        found[key] = sofar + nbytes, min(first, start), max(last, end)
    return sorted(((ends, rest) for (_, ends), rest in found.items()), key=lambda item: (item[1][1], item[0]))


class _Steps:
    """The timesteps of a timeline: bytes on each link, and which transfers are under way."""

    def __init__(self, emission: Emission, wall: int, width: int) -> None:
        self.spec = emission.job.machine.chip.noc
        self.nocs = (Noc(0, self.spec), Noc(1, self.spec))
        self.wall, self.width = wall, width
        self.count = -(-wall // width)
        self.demand: list[Counter[tuple[int, tuple[int, int, int]]]] = [Counter() for _ in range(self.count)]
        self.active: dict[int, list[int]] = defaultdict(list)

    def add(self, i: int, trace: Trace, ends: Ends, nbytes: int, start: int, end: int) -> dict[str, Any]:
        """Count a transfer, and describe it."""
        noc, sx, sy, tx, ty, kind = ends
        route = self.nocs[noc].route((sx, sy), (tx, ty))
        end = max(end, start + 1)
        for step in range(start // self.width, min(self.count, -(-end // self.width))):
            inside = min(end, (step + 1) * self.width) - max(start, step * self.width)
            self.active[step].append(i)
            self.demand[step].update(dict.fromkeys([(noc, link) for link in route], nbytes * inside / (end - start)))
        links = [
            [0, sy, sx, f"NOC{noc}_IN"],
            *([0, y, x, LINKS[noc][axis]] for x, y, axis in route),
            [0, ty, tx, f"NOC{noc}_OUT"],
        ]
        way = {"device_id": 0, "src": [0, sy, sx], "dst": [[0, ty, tx]], "noc_type": f"NOC_{noc}"}
        times = {"start_cycle": start, "end_cycle": end}
        event = {"noc_event_type": EVENTS[trace.names[kind]], "fabric_event_type": "", "zones": ""}
        rate = round(nbytes / (end - start), 3)
        return (
            {"id": i, "src": [0, sy, sx], "dst": [[0, ty, tx]], "total_bytes": nbytes}
            | times
            | event
            | {"route": [way | {"injection_rate": rate} | times | {"links": links}]}
        )

    def share(self, step: int, nbytes: float) -> float:
        """Per cent of what a link can carry in a timestep."""
        cycles = min(self.wall, (step + 1) * self.width) - step * self.width
        return round(100 * nbytes / (cycles * self.spec.link_rate), 2)

    def utilisation(self, noc: int, steps: range | None = None) -> dict[str, float]:
        """Mean and largest demand of the links of one NoC that carry anything, and the mean over all links, per cent."""
        chosen = steps or range(self.count)
        shares = [self.share(s, n) for s in chosen for (which, _), n in sorted(self.demand[s].items()) if which == noc]
        every = 2 * self.spec.columns * self.spec.rows * len(chosen)
        return {
            "avg_link_demand": round(float(np.mean(shares)), 3) if shares else 0.0,
            "avg_link_util": round(sum(min(share, 100.0) for share in shares) / every, 3),
            "max_link_demand": max(shares, default=0.0),
        }

    def listed(self) -> list[dict[str, Any]]:
        """The timesteps."""
        found = []
        for step in range(self.count):
            both = [self.utilisation(noc, range(step, step + 1)) for noc in (0, 1)]
            links = [
                [0, y, x, LINKS[noc][axis], self.share(step, n)] for (noc, (x, y, axis)), n in sorted(self.demand[step].items())
            ]
            found.append(
                {
                    "start_cycle": step * self.width,
                    "end_cycle": min(self.wall, (step + 1) * self.width),
                    "active_transfers": self.active[step],
                    "link_demand": links,
                    "avg_link_demand": round(sum(b["avg_link_demand"] for b in both) / 2, 3),
                    "avg_link_util": round(sum(b["avg_link_util"] for b in both) / 2, 3),
                    "mcast_write_link_util": 0.0,
                    "noc": {"NOC0": both[0], "NOC1": both[1]},
                }
            )
        return found
