"""The roofline: how fast each resource alone would let a device be, and where the run lies below that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensix_sim.job import Job
from tensix_sim.sdpa.geometry import PEAK_FLOPS_PER_CYCLE


@dataclass(frozen=True)
class Bound:
    """The least cycles that a device could take if only this resource counted."""

    resource: str
    cycles: float
    note: str


@dataclass(frozen=True)
class Roofline:
    """A device against the peaks of its chip.

    `flops_per_cycle` counts useful work: of causal scores the half that is seen, as ttnn's performance model does. The peaks
    are those of the cores of the grid at the run's fidelity, and of all DRAM banks. `bounds`, the longest first.
    """

    flops_per_byte: float
    flops_per_cycle: float
    peak_flops_per_cycle: float
    bytes_per_cycle: float
    bounds: list[Bound]


def roofline(job: Job, device: Mapping[str, Any]) -> Roofline:
    """Place one device, an entry of a summary's `devices`, under its roofs."""
    g, chip = job.geometry, job.machine.chip
    peak = g.cores * PEAK_FLOPS_PER_CYCLE / g.fidelity_phases
    flops = device["ideal_cycles"] * peak
    nbytes = device["dram_read_bytes"] + device["dram_write_bytes"]
    rate = chip.dram.rate
    steps, mean = device["steps_per_core"]["max"], device["steps_per_core"]["mean"]
    slowest = steps / mean if mean else 1.0
    busiest = device["busiest_server_utilization"] * device["cycles"]
    bounds = [
        Bound("useful products, all cores", device["ideal_cycles"], f"peak of {g.cores} cores at {g.fidelity_phases} phases"),
        Bound("FPU", device["fpu_cycles"] * slowest, "busy cycles of the core with most steps"),
        Bound("SFPU", device["sfpu_cycles"] * slowest, "busy cycles of the core with most steps"),
        Bound("unpack", device["unpack_cycles"] * slowest, "busy cycles of the core with most steps"),
        Bound("math thread", device["math_cycles"] * slowest, "FPU or SFPU busy, core with most steps"),
        Bound("pack", device["pack_cycles"] * slowest, "busy cycles of the core with most steps"),
        Bound("DRAM", nbytes / rate, f"{nbytes:,} B at {rate:.0f} B a cycle"),
        Bound(device["busiest_server"], busiest, "the busiest server of banks, links and ports"),
    ]
    return Roofline(
        flops_per_byte=flops / nbytes if nbytes else 0.0,
        flops_per_cycle=flops / max(1, device["cycles"]),
        peak_flops_per_cycle=peak,
        bytes_per_cycle=rate,
        bounds=sorted(bounds, key=lambda b: -b.cycles),
    )
