"""Published microbenchmarks beside the model: NoC and DRAM, traced data movement, matmuls, routines, busy cycles of attention.

An entry of `data/microbenchmarks.json` or `data/more_microbenchmarks.json` for which the model has a mechanism becomes a
small program, which runs. The others are listed with the reason why not. Some constants of the model were
taken from entries that are compared here: docs/fidelity.md names them beside their group.
"""

import json
from pathlib import Path
from typing import Any

from tensix_sim.microbench.entries import Entry, Point, points, reason
from tensix_sim.text import columns, grouped
from tensix_sim.walls import sizes

__all__ = ["SHIPPED", "Point", "compare", "summary", "table"]

DATA = Path(__file__).parents[1] / "data"
SHIPPED = (DATA / "microbenchmarks.json", DATA / "more_microbenchmarks.json")


def compare() -> tuple[list[Point], dict[str, list[str]]]:
    """Every number that can be compared, and the entries that cannot, by reason."""
    found: list[Point] = []
    left_out: dict[str, list[str]] = {}
    for entry in read():
        of_entry = points(entry)
        found += of_entry
        if not of_entry:
            left_out.setdefault(reason(entry), []).append(entry["id"])
    return found, left_out


def read() -> list[Entry]:
    """All entries; a further measurement of a trace gets what its first entry says about the trace."""
    entries: list[Entry] = [entry for path in SHIPPED for entry in json.loads(path.read_text(encoding="utf-8"))]
    traces: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["kind"] == "noc_trace":
            entry["params"] = traces.setdefault(entry["params"]["trace"], entry["params"]) | entry["params"]
    return entries


def summary(points: list[Point], left_out: dict[str, list[str]]) -> dict[str, Any]:
    """As `validate --micro --json` writes it."""
    rows = [vars(point) | {"error": point.error} for point in points]
    groups = [{"group": group, "chip": chip, "points": len(errors), **sizes(errors)} for (group, chip), errors in _groups(points)]
    return {
        "rows": rows,
        "groups": groups,
        "summary": {"points": len(points), **sizes([p.error for p in points])},
        "not_compared": left_out,
    }


def _groups(points: list[Point]) -> list[tuple[tuple[str, str], list[float]]]:
    """Errors by group and chip, in that order."""
    found = grouped(points, lambda point: (point.group, point.chip))
    return [(group, [point.error for point in found[group]]) for group in sorted(found)]


def table(points: list[Point], left_out: dict[str, list[str]]) -> str:
    """What `validate --micro` prints: a line a group and chip, then all, then what was left out."""
    layout = "<36 <12 >8 >8 >8 >8 >8"
    lines = [columns(layout, "group", "chip", "points", "median", "mean", "worst", "bias")]
    for (group, chip), errors in [*_groups(points), (("all", ""), [p.error for p in points])]:
        average, middle, worst, bias = sizes(errors).values()
        shares = (f"{size:.1%}" for size in (middle, average, worst))
        lines.append(columns(layout, group, chip, len(errors), *shares, f"{bias:+.1%}"))
    lines += ["", f"not compared: {sum(map(len, left_out.values()))} entries"]
    lines += [f"{len(ids):>6}  {reason}" for reason, ids in sorted(left_out.items(), key=lambda item: -len(item[1]))]
    return "\n".join(lines)
