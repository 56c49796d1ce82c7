"""`profile_log_device.csv`, as tt-metal's device profiler writes it: kernel zones of each RISC, and its sums of waits.

A core is at its NoC 0 coordinates. Times are cycles since the program's start, which is also that of all kernels and of the
firmware around them: dispatch and launch are not modelled, so a FW zone is its kernel's.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from tensix_sim.emit.run import Emission, host_id
from tensix_sim.files import atomic
from tensix_sim.sdpa.op import compute_kernel
from tensix_sim.trace import Cause, Totals
from tensix_sim.trace.folder import MARK

COLUMNS = (
    "PCIe slot", "core_x", "core_y", "RISC processor type", "timer_id", "time[cycles since reset]", "data", "run host ID",
    "trace id", "trace id counter", "zone name", "type", "source line", "source file", "meta data",
)  # fmt: skip
KERNEL_FILES = {"NCRISC": "kernels/sdpa/reader.py", "BRISC": "kernels/sdpa/writer.py"}
SUMS = {"TRISC_0": "CB-COMPUTE-WAIT-FRONT", "TRISC_2": "CB-COMPUTE-RESERVE-BACK"}
END_OF_ZONE = 1 << 16  # beside the zone's own number, in a timer id


def write(emission: Emission, path: Path) -> Path:
    """Write the log of all devices; a device is a PCIe slot."""
    chip = emission.job.machine.chip
    with atomic(path) as file:
        file.write(
            f"ARCH: {chip.name}, CHIP_FREQ[MHz]: {chip.clock_hz // 10**6}, Max Compute Cores: {emission.job.machine.cores}\n"
        )
        file.write(", ".join(COLUMNS) + "\n")
        rows = csv.writer(file, lineterminator="\n")
        for device, trace in emission.devices:
            for row in _rows(emission, Totals.of(trace), device["ring_id"]):
                rows.writerow(row)
    return path


def _rows(emission: Emission, totals: Totals, ring_id: int) -> Iterator[tuple[object, ...]]:
    compute = compute_kernel(emission.job.spec).file
    for i in sorted(range(len(totals.lanes)), key=lambda i: totals.lanes[i].rank):
        core, risc = totals.lanes[i]
        kind = "TRISC" if risc.startswith("TRISC") else risc
        start, end = int(totals.start[i]), int(totals.end[i])
        events = [(1, start, 0, f"{kind}-FW", "ZONE_START"), (2, start, 0, f"{kind}-KERNEL", "ZONE_START")]
        if risc in SUMS:
            events.append((3, end, _waited_for_buffers(totals, i, risc), SUMS[risc], "ZONE_TOTAL"))
        events.append((2 | END_OF_ZONE, end, 0, f"{kind}-KERNEL", "ZONE_END"))
        events.append((1 | END_OF_ZONE, end, 0, f"{kind}-FW", "ZONE_END"))
        place = (ring_id, *emission.job.machine.worker(core), risc)
        file = KERNEL_FILES.get(risc, compute)
        for timer, time, data, zone, what in events:
            yield (*place, timer, time, data, host_id(ring_id), "", "", zone, what, 0, file, f"{{'{MARK}': '{emission.run.id}'}}")


def _waited_for_buffers(totals: Totals, i: int, risc: str) -> int:
    """Cycles that a lane waited for tiles in circular buffers (unpack) or space in them (pack)."""
    kind, spent = "space" if risc == "TRISC_2" else "tiles", zip(totals.names, totals.cycles[i].tolist(), strict=True)
    return sum(n for what, n in spent if isinstance(what, Cause) and what.kind == kind)


def buffer_waits(totals: Totals, risc: str) -> int:
    """The longest such wait of all cores, cycles."""
    return max((_waited_for_buffers(totals, i, risc) for i, lane in enumerate(totals.lanes) if lane.risc == risc), default=0)
