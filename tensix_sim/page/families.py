"""Families of what lanes do, one colour each: of work by the unit that does it, of waits by who is waited for."""

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
    Family("matmul", "matrix product", "#2a78d6", "#3987e5"),
    Family("fpu", "other FPU work", "#8fbdf0", "#86b6ef"),
    Family("sfpu", "SFPU: exponentials, reciprocals", "#1baf7a", "#199e70"),
    Family("move", "issuing reads and writes", "#4a3aa7", "#9085e9"),
    Family("other", "other work", "#52514e", "#a3a198"),
)
FAMILIES = (
    *WORK,
    Family("dram", "wait: DRAM bank", "#e34948", "#e66767"),
    Family("link", "wait: NoC link", "#eb6834", "#d95926"),
    Family("latency", "wait: NoC latency", "#e87ba4", "#d55181"),
    Family("tiles", "wait: tiles of a buffer", "#f2c25c", "#94711c"),
    Family("space", "wait: space in a buffer", "#c9c6b8", "#6b6960"),
    Family("thread", "wait: another thread", "#dddbd2", "#4c4b46"),
    Family(OTHER_WAIT, "wait: other", "#aaa89e", "#85837b"),
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
