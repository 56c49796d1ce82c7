"""Where the lanes of a core spent the wall, with nothing left unexplained."""

from dataclasses import dataclass

from tensix_sim.arch.model import Coord
from tensix_sim.trace import Trace, What
from tensix_sim.trace.queries import Totals
from tensix_sim.trace.trace import RISCS

DONE = "done"


@dataclass(frozen=True)
class Budget:
    """Cycles of a core's lanes.

    `lanes` has for each RISC the cycles of each kind of step, of each cause of waiting, and from the lane's last span to the
    end of the run as "done", the longest first. Each lane adds up to `wall`.
    """

    core: Coord
    wall: int
    lanes: dict[str, dict[What, int]]

    @property
    def end(self) -> int:
        """Cycle at which the core's last lane was done."""
        return self.wall - min(lane.get(DONE, 0) for lane in self.lanes.values())


def budget(trace: Trace, core: Coord | None = None) -> Budget:
    """Add up the lanes of `core`; without one, of the core that ends last, the first of several."""
    return budgets(trace, [last_core(trace) if core is None else core])[0]


def budgets(trace: Trace, cores: list[Coord] | None = None) -> list[Budget]:
    """Add up the lanes of several cores, or of all that have any span, in one pass."""
    totals = Totals.of(trace)
    wall = int(totals.end.max(initial=0))
    rows = {lane: i for i, lane in enumerate(totals.lanes)}
    chosen = cores if cores is not None else sorted({lane.core for lane in totals.lanes}, key=lambda core: core[::-1])
    found = []
    for core in chosen:
        lanes = {risc: _lane(totals, rows[core, risc], wall) for risc in RISCS if (core, risc) in rows}  # type: ignore[index]
        if not lanes:
            raise ValueError(
                f"core {core} has no lanes; the cores of this trace are {sorted({lane.core for lane in totals.lanes})}"
            )
        found.append(Budget(core, wall, lanes))
    return found


def last_core(trace: Trace) -> Coord:
    """The core that ends last; of several, the first by row and column."""
    totals = Totals.of(trace)
    if not totals.lanes:
        raise ValueError("the trace has no spans; run with trace: zones")
    ends = zip(totals.end.tolist(), totals.lanes, strict=True)
    return min(ends, key=lambda end_and_lane: (-end_and_lane[0], end_and_lane[1].core[::-1]))[1].core


def _lane(totals: Totals, row: int, wall: int) -> dict[What, int]:
    spent = {what: n for what, n in zip(totals.names, totals.cycles[row].tolist(), strict=True) if n}
    spent[DONE] = wall - sum(spent.values())
    return {what: n for what, n in sorted(spent.items(), key=lambda item: (-item[1], str(item[0]))) if n}
