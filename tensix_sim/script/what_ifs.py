"""What-ifs of a script: it runs again with one resource twice as fast, and what that saves says how much it binds."""

from collections.abc import Iterator
from typing import Any

from tensix_sim.analysis import saved
from tensix_sim.analysis.reliefs import FASTER
from tensix_sim.arch import machine
from tensix_sim.script.run import OP_KINDS, ScriptRun, ScriptWhatIf
from tensix_sim.sdpa.free import ETHERNET_NUMBERS, faster
from tensix_sim.text import table, with_text

TIMES, ETHERNET = 2, "Ethernet links"
HEADER = ("what if twice as fast", "us", "the script takes", *OP_KINDS, "waits")


def relieved(run: ScriptRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each resource, and the numbers of the run's machine with which it is twice as fast."""
    on = machine(run.board).override(run.machine)
    links = {ETHERNET: ETHERNET_NUMBERS} if len(run.lines) > 1 else {}
    for cause, names in (FASTER | links).items():
        yield cause, {name: faster(on, name, TIMES) for name in names}


def what_if(cause: str, found: ScriptRun) -> ScriptWhatIf:
    """What such a run says."""
    return ScriptWhatIf(cause=cause, us=found.us, shares=found.shares())


def what_ifs_table(run: ScriptRun) -> tuple[list[str], list[list[str]]]:
    """Header and rows, what saves most first: the time, how much less that is, and the change of each kind of op that changes."""
    before, rows = run.shares(), []
    for one in sorted(run.what_ifs, key=lambda one: one.us):
        by = (one.shares[kind] - before[kind] for kind in HEADER[3:])
        gain = 1 - one.us / run.us if run.us else 0.0
        rows.append([one.cause, f"{one.us:,.1f}", saved(gain), *(f"{us:+,.1f}" if round(us, 1) else "" for us in by)])
    return with_text(HEADER, rows, HEADER[:3])


def what_ifs_screen(run: ScriptRun) -> str:
    """The same as a table; nothing without what-ifs."""
    return table(*what_ifs_table(run)) if run.what_ifs else ""
