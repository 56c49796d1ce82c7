"""Machines on which something is faster than it is, to see what it costs, and what a run takes at least."""

from typing import Any

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.sdpa.geometry import spec_machine

BANK_NUMBERS = "dram.bank_rate", "dram.request_cycles", "dram.row_miss_cycles"
LINK_NUMBERS = "noc.link_rate", "noc.niu_rate"
ISSUE_NUMBERS = "noc.read_issue_cycles", "noc.write_issue_cycles"
ETHERNET_NUMBERS = "ethernet.rate", "ethernet.duplex_rate"
LATENCIES = "dram.read_cycles", "noc.round_trip_base", "noc.software_cycles"
FREE = 1024  # times as fast: what is left is nothing


def faster(machine: Machine, name: str, times: int) -> Any:
    """A number of the machine for something so many times as fast: more bytes a cycle, or fewer cycles."""
    part, field = name.split(".")
    value = getattr(getattr(machine.chip, part), field)
    if field.endswith("rate") or "_rate_" in field:
        return value * times
    return value // times if isinstance(value, int) else value / times


def moving_for_free(spec: RunSpec) -> RunSpec:
    """The spec on a machine whose reads and writes cost nothing, and without barriers."""
    machine, moves = spec_machine(spec), (*BANK_NUMBERS, *LINK_NUMBERS, *ISSUE_NUMBERS, *LATENCIES)
    free = {name: faster(machine, name, FREE) for name in moves}
    what_if = spec.what_if.model_copy(update={"barrier_tiles": 0})
    return spec.model_copy(update={"machine": {**spec.machine, **free}, "what_if": what_if})
