"""Families of what lanes do, one colour each: of work by the unit that does it, of waits by who is waited for.

Any two may stand side by side, so any two colours of a ground differ by 15 (CIE76) at least, for protan and deutan eyes too.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tensix_sim.trace import Cause, What

GAP, DONE, OTHER_WAIT = "", "done", "wait"
TRANSFERS = ("read ", "write ", "forward ")  # with a tensor's or a buffer's name after them


class Family(NamedTuple):
    """A family of spans: its key, what it is, and its colour on light and on dark ground."""

    key: str
    label: str
    light: str
    dark: str


WORK = (
    Family("matmul", "matrix product", "#0072cc", "#0692fa"),
    Family("fpu", "other FPU work", "#7fc0ef", "#8bbef9"),
    Family("sfpu", "SFPU: exponentials, reciprocals", "#0fac75", "#5ac59d"),
    Family("move", "issuing reads and writes", "#521e91", "#7c6fc6"),
    Family("other", "other work", "#3f3e39", "#b6a16d"),
)
FAMILIES = (
    *WORK,
    Family("dram", "wait: DRAM bank", "#d94943", "#c04a45"),
    Family("link", "wait: NoC link", "#d85217", "#af2d02"),
    Family("latency", "wait: NoC latency", "#e171a3", "#9e104f"),
    Family("tiles", "wait: tiles of a buffer", "#f3c45d", "#ac8927"),
    Family("space", "wait: space in a buffer", "#f7e6c5", "#657686"),
    Family("thread", "wait: another thread", "#ccbbad", "#838278"),
    Family(OTHER_WAIT, "wait: other", "#c6cbd9", "#8fa4ad"),
    Family(DONE, "done", "#f3f2ee", "#262625"),
)


WAITS = {
    "dram bank": "dram", "noc link": "link", "noc latency": "latency", "tiles": "tiles", "space": "space",
    "dst": "thread", "unpack": "thread", "math": "thread", "pack": "thread",
}  # fmt: skip


def family(what: What, units: Mapping[str, str]) -> str:
    """Key of the family of a step or a wait; `units` says what does a step, as in `Trace.units`."""
    if isinstance(what, Cause):
        return WAITS.get(what.kind, OTHER_WAIT)
    if what in (GAP, DONE):
        return DONE
    if what.startswith(TRANSFERS):
        return "move"
    return units.get(what, "other")
