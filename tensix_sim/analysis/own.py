"""What binds a program of one's own: the program again, whole, with one thing relieved at a time, and its roofs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tensix_sim.analysis.reliefs import FASTER, READS, one_bank_faster
from tensix_sim.analysis.roofline import Bound, Roofline
from tensix_sim.analysis.verdict import RelievedRun, Verdict, verdict
from tensix_sim.arch import Machine
from tensix_sim.program import Program
from tensix_sim.sdpa.free import BANK_NUMBERS, FREE, ISSUE_NUMBERS, LATENCIES, LINK_NUMBERS, faster
from tensix_sim.sdpa.geometry import PEAK_FLOPS_PER_CYCLE
from tensix_sim.trust import Trust

Relieved = tuple[str, str, Machine, Program]  # a cause, what is changed, and what is run


def program_verdict(
    machine: Machine, program: Program, figures: Mapping[str, Any], full: set[str], cycles_on: Callable[[Machine, Program], int]
) -> Verdict:
    """What binds a program; `full` are circular buffers in which someone waited for space, `cycles_on` runs what it is given."""
    wall = figures["cycles"]
    outcomes = []
    for cause, change, on, changed in _reliefs(machine, program, figures["servers"], full):
        cycles = cycles_on(on, changed)
        outcomes.append(RelievedRun(cause, change, cycles, 1 - cycles / wall))
    return replace(verdict(0, wall, outcomes), trust=Trust(kind="a program of one's own", walls=0).text)


def _reliefs(machine: Machine, program: Program, servers: Mapping[str, float], full: set[str]) -> Iterator[Relieved]:
    for cause, names in FASTER.items():
        numbers = {name: faster(machine, name, 2) for name in names}
        yield cause, f"{cause} twice as fast", machine.override(numbers), program
    if found := one_bank_faster(machine, servers):
        bank, shares = found
        yield f"DRAM bank {bank}", f"bank {bank} twice as fast", machine.override({"dram.bank_shares": shares}), program
    free = {name: faster(machine, name, FREE) for name in (*BANK_NUMBERS, *LINK_NUMBERS, *ISSUE_NUMBERS, *LATENCIES)}
    yield READS, "reads and writes at no cost", machine.override(free), program
    room = machine.chip.l1.limit - machine.chip.l1.base - sum(b.bytes for b in program.buffers)
    for b in program.buffers:
        if b.name in full and b.bytes <= room:
            buffers = tuple(replace(other, tiles=2 * b.tiles) if other is b else other for other in program.buffers)
            changed = replace(program, buffers=buffers)
            yield f"buffer {b.name}", f"{2 * b.tiles} tiles in {b.name}, not {b.tiles}", machine, changed


def program_roofline(machine: Machine, program: Program, figures: Mapping[str, Any]) -> Roofline:
    """Its roofs. Flops are those that the FPUs could have done while they were busy: nobody knows which are useful."""
    cores, rate = len(program.cores), machine.chip.dram.rate
    peak = cores * PEAK_FLOPS_PER_CYCLE / program.compute.phases
    wall, nbytes = max(1, figures["cycles"]), figures["dram_read_bytes"] + figures["dram_write_bytes"]
    flops = figures["fpu_cycles"] * peak
    busiest = figures["busiest_server_utilization"] * figures["cycles"]
    bounds = [
        *(Bound(unit, cycles, "busy cycles of the core where that is most") for unit, cycles in figures["busiest_core"].items()),
        Bound("DRAM", nbytes / rate, f"{nbytes:,} B at {rate:.0f} B a cycle"),
        Bound(figures["busiest_server"], busiest, "the busiest server of banks, links and ports"),
    ]
    ranked = sorted(bounds, key=lambda bound: -bound.cycles)
    return Roofline(flops / nbytes if nbytes else 0.0, flops / wall, peak, rate, ranked)
