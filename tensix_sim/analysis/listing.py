"""Kernels as annotated listings: what each of their lines cost each lane, in cycles at work and cycles waited."""

import ast
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tensix_sim.trace import LANES, Cause, Line, Trace, What
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

    @property
    def at_work(self) -> int:
        """Cores that do anything but wait."""
        works = [i for i, name in enumerate(self.names) if not isinstance(name, Cause)]
        return len({self.lanes[i].core for i in np.unique(np.nonzero(self.cycles[:, :, works])[0])})


@dataclass(frozen=True)
class ListedLine:
    """A line of a kernel: its text and, by lane, the cycles of all cores at work and those that they waited, by what for."""

    number: int
    text: str
    busy: dict[str, int]
    waits: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Listing:
    """The functions of a file that asked for anything, line by line; `life` is the wall times the cores at work."""

    file: str
    life: int
    lines: list[ListedLine]

    @property
    def lanes(self) -> list[str]:
        """Those that the file's lines run on, in the order in which a tile meets them."""
        used = {lane for line in self.lines for lane in line.busy}
        return [lane for lane in LANES.values() if lane in used]


def listings(traces: Sequence[Trace]) -> list[Listing]:
    """Files of kernels, those with the most cycles at work first, each with the cycles of all cores of all traces.

    None where no core ever works.
    """
    spent: dict[str, dict[tuple[int, str], Counter[What]]] = {}
    sources: dict[str, str] = {}
    life = 0
    for trace in traces:
        totals = LineTotals.of(trace)
        sources |= trace.sources
        life += trace.end * totals.at_work
        for (lane, line), by_name in totals.by_lane().items():
            if line.file:
                spent.setdefault(line.file, {}).setdefault((line.number, lane), Counter()).update(by_name)
    found = [Listing(file, life, _listed(sources.get(file, ""), by_line)) for file, by_line in spent.items() if life]
    return sorted(found, key=lambda listing: -sum(sum(line.busy.values()) for line in listing.lines))


def _listed(source: str, by_line: "dict[tuple[int, str], Counter[What]]") -> list[ListedLine]:
    found = []
    for number, text in shown_lines(source, {number for number, _ in by_line}):
        of_lanes = {lane: spent for (n, lane), spent in by_line.items() if n == number}
        busy = {lane: sum(n for what, n in spent.items() if not isinstance(what, Cause)) for lane, spent in of_lanes.items()}
        waits = {
            lane: {what.text: n for what, n in spent.most_common() if isinstance(what, Cause)} for lane, spent in of_lanes.items()
        }
        found.append(ListedLine(number, text, busy, waits))
    return found


def shown_lines(source: str, numbers: Collection[int]) -> list[tuple[int, str]]:
    """Numbers and texts of some lines, and of all others of the functions that they are in."""
    texts = source.splitlines()
    return [(n, texts[n - 1] if n <= len(texts) else "") for n in sorted({*numbers, *_around(source, numbers)})]


def _around(source: str, numbers: Collection[int]) -> set[int]:
    """Lines of the functions that lines are in; of what is no Python by itself, such as a notebook's cell, none."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    functions = [(n.lineno, n.end_lineno or n.lineno) for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {line for first, last in functions if any(first <= n <= last for n in numbers) for line in range(first, last + 1)}
