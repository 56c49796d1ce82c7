"""The page of a script's run: a time line for each device over all ops, what each op costs, and where the time goes.

The page sees the devices as the lanes of one core: each has its ops as spans, in cycles from the start of the first one.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import join
from typing import Any

from tensix_sim.arch import machine
from tensix_sim.files import atomic
from tensix_sim.page.data import foot
from tensix_sim.page.families import DONE, FAMILIES, GAP, OTHER_WAIT, Family
from tensix_sim.page.packing import pack
from tensix_sim.page.page import html
from tensix_sim.script import ScriptOp, ScriptRun, Taken
from tensix_sim.script.screen import about, of_cycles, of_errors, ops_table, short
from tensix_sim.script.what_ifs import what_ifs_table

WAITS = "waits"
COLOURS = {"attention": "sfpu", "products": "matmul", "collectives": "move", "around": "fpu", WAITS: OTHER_WAIT, DONE: DONE}
WITHOUT = ("verdict", "ring", "cores", "floor", "source", "roofline", "path", "config", "l1", "accuracy")
NS = 10**9

Span = tuple[str, int]  # what a device does, and for how many cycles


def write_script_report(run: ScriptRun, path: Path) -> None:
    """Write the page of a script's run, whole or not at all. The same run gives the same bytes.

    Raises:
        OSError: it cannot be written; an older page stays as it was.
    """
    with atomic(path) as file:
        file.write(html(describe_script(run), run.run))


def describe_script(run: ScriptRun) -> dict[str, Any]:
    """Gather all that the page shows, as `describe` does of a spec's run."""
    on = machine(run.board).override(run.machine)
    kinds = {GAP: DONE, DONE: DONE, WAITS: WAITS, **{_name(op): op.kind for op in run.ops}}
    lines = {device: list(_spans(run, line)) for device, line in run.lines.items()}
    set_to = [f"--set={key}" for key in (f"board={run.board}", f"mesh={run.mesh[0]}x{run.mesh[1]}", f"numerics={run.numerics}")]
    set_to += [f"--set=machine.{key}={value}" for key, value in run.machine.items()]
    return {
        "title": f"{run.script} on {run.board}",
        "shape": about(run),
        "trust": "",
        "clock_hz": run.clock_hz,
        "trace": "zones",
        "lanes": [f"device {device}" for device in lines],
        "riscs": [],
        "names": list(kinds),
        "acts": [part for name in range(len(kinds)) for part in (name, 0)],
        "lines": [""],
        "sources": [],
        "family_of": [COLOURS[kind] for kind in kinds.values()],
        "families": [family._asdict() for family in _families()],
        "figures": [[f"{us / run.us:.1%}", what] for what, us in run.shares().items() if us],
        "ops": _as_data(ops_table(run)) | {"notes": [*of_cycles(run), *of_errors(run), *run.notes]},
        "what_ifs": _as_data(what_ifs_table(run)),
        "verdicts": [],
        "devices": [_device(lines.values(), list(kinds))],
        "foot": foot(on, run.run, join(["tensix-sim", "run", run.script, *set_to, "--", *run.arguments])),
        "slices": {},
        "without": WITHOUT,
    }


def _as_data(table: tuple[list[str], list[list[str]]]) -> dict[str, Any]:
    return {"header": table[0], "rows": table[1]}


def _families() -> list[Family]:
    """A family for each kind of op, in colours of the page's own."""
    known = {family.key: family for family in FAMILIES}
    return [known[key]._replace(label=kind) for kind, key in COLOURS.items()]


def _name(op: ScriptOp) -> str:
    return f"{short(op.op)} {op.shape}"


def _spans(run: ScriptRun, line: list[tuple[ScriptOp, Taken]]) -> Iterator[Span]:
    """What a device does, from the start of the first op of all on; an op whose cycles are not modelled takes none."""
    first = min(other[0][1].start_ns for other in run.lines.values())
    now = 0
    for op, taken in line:
        start = max(now, (taken.start_ns - first) * run.clock_hz // NS)
        if start > now:
            yield WAITS, start - now
        if taken.cycles:
            yield _name(op), taken.cycles
        now = start + (taken.cycles or 0)


def _device(lines: Iterable[list[Span]], names: list[str]) -> dict[str, Any]:
    """All devices as one of the page's, whose lanes they are; no page is of less than a cycle."""
    lives = [[(names.index(what), cycles) for what, cycles in line] for line in lines]
    wall = max(1, *(sum(cycles for _, cycles in line) for line in lives))
    totals = []
    for lane, line in enumerate(lives):
        done = names.index(DONE), wall - sum(cycles for _, cycles in line)
        spent = dict.fromkeys((what for what, _ in [*line, done]), 0)
        for what, cycles in [*line, done]:
            spent[what] += cycles
        totals += [(0, lane, what, cycles) for what, cycles in spent.items() if cycles]
    packed = pack(*(part for line in lives for part in ([what for what, _ in line], [cycles for _, cycles in line])))
    return {
        "ring_id": 0, "cycles": wall, "wall": wall, "cores": [[0, 0]], "totals": pack(*zip(*totals, strict=True)),
        "detail": {"0": {"why": "", "buffers": [], "packed": packed}}, "merged_below": 0,
        "by_line": pack(), "flows": [], "path_core": None, "path": pack([], [], []),
    }  # fmt: skip
