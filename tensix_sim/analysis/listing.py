"""Kernels as annotated listings: what each of their lines cost each lane, in cycles at work and cycles waited."""

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensix_sim.trace import Cause, Line, Trace, What
from tensix_sim.trace.queries import Cycles
from tensix_sim.trace.trace import Lane


@dataclass(frozen=True, eq=False)
class LineTotals:
    """Cycles of a trace, by lane, by the line of a kernel that asked for them, and by what the lane did.

    `cycles` is [lanes, lines, names]. Over lines they are `Totals.cycles`, to the cycle: a span is of one line.
    """

    lanes: list[Lane]
    lines: list[Line]
    names: list[What]
    cycles: Cycles

    @classmethod
    def of(cls, trace: Trace) -> "LineTotals":
        """Add up a trace."""
        cycles = np.zeros((len(trace.lanes), len(trace.lines), len(trace.names)), np.int64)
        for block in trace.span_blocks():
            np.add.at(cycles, (block["lane"], block["line"], block["name"]), block["end"] - block["start"])
        return cls(trace.lanes, trace.lines, trace.names, cycles)

    def by_lane(self) -> "dict[tuple[str, Line], Counter[What]]":
        """Cycles of all cores by the lane's name, "math", and line."""
        found: dict[tuple[str, Line], Counter[What]] = {}
        for lane, line, name in np.argwhere(self.cycles).tolist():
            spent = found.setdefault((self.lanes[lane].name, self.lines[line]), Counter())
            spent[self.names[name]] += int(self.cycles[lane, line, name])
        return found


@dataclass(frozen=True)
class ListedLine:
    """A line of a kernel: its text, and cycles of all cores by lane: those at work, and those waited by what for."""

    number: int
    text: str
    busy: dict[str, int]
    waits: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Listing:
    """The functions of a file that asked for anything, line by line, and the cycles that `shares` are of, by lane.

    `life` is what its lanes had in all: the wall, as often as a core has such a lane that this file runs on.
    """

    file: str
    life: dict[str, int]
    lines: list[ListedLine]


def listings(traces: Sequence[Trace]) -> list[Listing]:
    """Files of kernels, those with the most cycles at work first, each with the cycles of all cores of all traces."""
    spent: dict[str, dict[tuple[int, str], Counter[What]]] = {}
    life: dict[str, Counter[str]] = {}
    sources: dict[str, str] = {}
    for trace in traces:
        sources |= trace.sources
        totals, cores = LineTotals.of(trace), Counter(lane.name for lane in trace.lanes)
        for (lane, line), by_name in totals.by_lane().items():
            spent.setdefault(line.file, {}).setdefault((line.number, lane), Counter()).update(by_name)
        for file in {line.file for _, line in totals.by_lane()}:
            of_file = {lane for lane, line in totals.by_lane() if line.file == file}
            life.setdefault(file, Counter()).update({lane: trace.end * cores[lane] for lane in of_file})
    found = [_listing(file, sources.get(file, ""), dict(life[file]), by_line) for file, by_line in spent.items()]
    return sorted(found, key=lambda listing: -sum(sum(line.busy.values()) for line in listing.lines))


def _listing(file: str, source: str, life: dict[str, int], by_line: "dict[tuple[int, str], Counter[What]]") -> Listing:
    numbers = sorted({number for number, _ in by_line})
    texts = source.splitlines()
    lines = []
    for number in sorted(set(numbers) | _around(source, numbers)):
        of_lanes = {lane: by_line[number, lane] for lane in life if (number, lane) in by_line}
        busy = {lane: sum(n for what, n in spent.items() if not isinstance(what, Cause)) for lane, spent in of_lanes.items()}
        waits = {
            lane: {what.text: n for what, n in spent.most_common() if isinstance(what, Cause)} for lane, spent in of_lanes.items()
        }
        lines.append(ListedLine(number, texts[number - 1] if 0 < number <= len(texts) else "", busy, waits))
    return Listing(file, life, lines)


def _around(source: str, numbers: Sequence[int]) -> set[int]:
    """Lines of the functions that lines are in; of what is no Python by itself, such as a notebook's cell, none."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    functions = [(n.lineno, n.end_lineno or n.lineno) for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {line for first, last in functions if any(first <= n <= last for n in numbers) for line in range(first, last + 1)}
