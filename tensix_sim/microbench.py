"""Published microbenchmarks beside the model: latencies of transfers against their size, rates of banks, times of all-gathers.

An entry of `data/microbenchmarks.json` that the model has a mechanism for becomes transfers, or an op, on empty chips. The others
are listed with the reason why not. Nothing here enters the model.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from tensix_sim.arch import Machine, machine
from tensix_sim.collectives import run_all_gather
from tensix_sim.formats import FORMATS, TILE, Format
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.memory import Direction, Memory
from tensix_sim.ops.all_gather import AllGather, Topology
from tensix_sim.program import Tensor
from tensix_sim.trace import Trace

SHIPPED = Path(__file__).parent / "data" / "microbenchmarks.json"
BOARDS = {"wormhole_b0": "n150", "blackhole": "p150b"}  # most entries do not name theirs
MIB = 1 << 20

NOT_COMPARED = {
    "noc_trace": "whole traces of matmul data movement: no such program here",
    "matmul": "whole ops of other kernels",
    "ccl": "collectives other than all-gather, or one whose shape or topology is not published",
    "llk_cycles": "costs of single routines enter the model as constants; see docs/model.md",
    "dispatch": "program dispatch is not modelled",
    "eth": "the Ethernet link's constants come from these",
    "noc_bw": "ideals of patterns and another model's parameters, not measurements",
}


@dataclass(frozen=True)
class Point:
    """One measured number and the model's."""

    id: str
    group: str
    what: str
    unit: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Signed share by which the prediction is above the measurement."""
        return self.predicted / self.measured - 1


def compare(path: Path = SHIPPED) -> tuple[list[Point], dict[str, int]]:
    """Every number that can be compared, and how many entries cannot, by reason."""
    points: list[Point] = []
    left_out: dict[str, int] = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        found = list(_points(entry))
        points += found
        if not found:
            reason = NOT_COMPARED.get(entry["kind"], _reason(entry))
            left_out[reason] = left_out.get(reason, 0) + 1
    return points, left_out


def _reason(entry: dict[str, Any]) -> str:
    test = str(entry["params"].get("test", ""))
    if "multicast" in test:
        return "multicast is not modelled"
    if "stateful" in test:
        return "the stateful API's shorter issue is not modelled"
    if entry["params"].get("vc") == "dynamic":
        return "virtual channels are not modelled"
    return "its pattern of cores and pages is not published in full"


def _points(entry: dict[str, Any]) -> Iterator[Point]:
    given = entry["params"]
    if entry["arch"] not in BOARDS:
        return
    m = machine(BOARDS[entry["arch"]])
    if entry["kind"] == "noc_latency" and "sizes_bytes" in given and (pattern := _pattern(given)):
        name, cycles = pattern
        for size, measured in zip(given["sizes_bytes"], entry["value"], strict=False):
            what = f"{given['num_transactions']} x {size} B"
            yield Point(
                entry["id"], f"{m.chip.name} {name}", what, "cycles", measured, cycles(m, given["num_transactions"], size)
            )
    if entry["kind"] == "dram_bw" and given.get("channels") == 1 and given.get("vc") == "static":
        rate = one_bank_rate(m, given["tensix_tiles"], given["direction"], int(given["noc"][-1]))
        group = f"{m.chip.name} one DRAM bank, {given['direction']}"
        yield Point(entry["id"], group, f"{given['tensix_tiles']} cores", "B/cycle", entry["value"], rate)
    if entry["kind"] == "ccl" and given["op"] == "all_gather" and "output_bytes" in given:
        n, nbytes, topology = given["n"], given["output_bytes"], given["topology"]
        what = f"{n} devices, {nbytes} B"
        yield Point(entry["id"], f"t3000 all-gather, {topology}", what, "us", entry["value"], all_gather_us(n, topology, nbytes))


Cycles = Callable[[Machine, int, int], int]


def _pattern(given: dict[str, Any]) -> tuple[str, Cycles] | None:
    """Group name and program of a latency entry."""
    test = given["test"]
    if any(word in test for word in ("multicast", "stateful")):
        return None
    direction: Direction = "write" if given.get("direction") == "write" or "write" in test else "read"
    if test.startswith("DRAM"):
        return f"DRAM {direction}, one core", lambda m, n, size: from_dram(m, direction, n, size)
    same = test.endswith("same axis") and "not" not in test
    name = f"L1 {direction}, {'same axis' if same else 'one core'}"
    return name, lambda m, n, size: from_l1(m, direction, n, size, same)


def from_dram(m: Machine, direction: Direction, n: int, size: int) -> int:
    """Cycles of `n` transfers of `size` bytes between one core and interleaved DRAM, with one barrier at the end."""
    return _run(m, [(m.worker((0, 0)), range(n))], direction, size, "dram", int(direction == "write"))


def from_l1(m: Machine, direction: Direction, n: int, size: int, same_axis: bool) -> int:
    """The same between two cores, on one row or with neither row nor column in common."""
    other = 1 if same_axis else m.grid[0] + 1  # logical (1, 0) or (1, 1)
    return _run(m, [(m.worker((0, 0)), [other] * n)], direction, size, "l1", 0)


def one_bank_rate(m: Machine, cores: int, direction: Direction, noc: int) -> float:
    """Bytes a cycle of bank 0 while `cores` cores move 1 MiB each, 8 KiB at a time."""
    size = 8192
    pages = [i * m.chip.dram.banks for i in range(MIB // size)]
    places = [m.worker((i % m.grid[0], i // m.grid[0])) for i in range(cores)]
    return cores * MIB / _run(m, [(place, pages) for place in places], direction, size, "dram", noc)


def all_gather_us(devices: int, topology: Topology, nbytes: int) -> float:
    """Microseconds of an all-gather of `nbytes` bfloat16 in all over one link of a T3000, with the packets of the CCL results."""
    tiles = nbytes // devices // FORMATS["bfloat16"].tile_bytes
    op = AllGather(devices, (1, 1, TILE, tiles * TILE), 3, "bfloat16", topology, links=1, packet_bytes=6144)
    return max(moved.duration_us for moved in run_all_gather(op, machine("t3000"), [None] * devices).figures)


def _run(m: Machine, moves: list[tuple[tuple[int, int], Any]], direction: Direction, size: int, memory: Any, noc: int) -> int:
    """Cycles until all of some transfers, all begun at once on an empty chip, have landed."""
    engine = Engine()
    chip = Memory(m, engine, Trace("off"))
    tensor = Tensor("t", 1 + max(max(pages) for _, pages in moves), 1, Format("bytes", size, size, False, 0), memory, opaque=True)
    for core, pages in moves:
        chip.start(chip.plan(direction, noc, core, tensor, pages, 0))
    engine.run()
    return engine.now


def summary(points: list[Point], left_out: dict[str, int]) -> dict[str, Any]:
    """As `validate --micro --json` writes it."""
    rows = [vars(point) | {"error": point.error} for point in points]
    groups = [{"group": name, **_errors(errors)} for name, errors in _groups(points).items()]
    return {"rows": rows, "groups": groups, "summary": _errors([p.error for p in points]), "not_compared": left_out}


def _groups(points: list[Point]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for point in points:
        found.setdefault(point.group, []).append(point.error)
    return found


def _errors(errors: list[float]) -> dict[str, float]:
    size = [abs(error) for error in errors]
    return {
        "points": len(errors), "median_abs_error": median(size), "mean_abs_error": mean(size), "worst_abs_error": max(size),
        "mean_error": mean(errors),
    }  # fmt: skip


def table(points: list[Point], left_out: dict[str, int]) -> str:
    """What `validate --micro` prints: a line a group, then all, then what was left out."""
    lines = [f"{'group':<40}{'points':>8}{'median':>8}{'mean':>8}{'worst':>8}{'bias':>8}"]
    for name, errors in [*_groups(points).items(), ("all", [p.error for p in points])]:
        e = _errors(errors)
        lines.append(
            f"{name:<40}{e['points']:>8}{e['median_abs_error']:>8.1%}{e['mean_abs_error']:>8.1%}"
            f"{e['worst_abs_error']:>8.1%}{e['mean_error']:>+8.1%}"
        )
    lines += ["", f"not compared: {sum(left_out.values())} entries"]
    lines += [f"{count:>6}  {reason}" for reason, count in sorted(left_out.items(), key=lambda item: -item[1])]
    return "\n".join(lines)
