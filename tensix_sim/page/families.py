"""Families of what lanes do, one colour each: of work by the unit that does it, of waits by who is waited for."""

from collections.abc import Collection
from typing import NamedTuple

from tensix_sim.analysis.critical import BETWEEN_THREADS
from tensix_sim.kernel_api import Add, Verb
from tensix_sim.kernels.sdpa.row_verbs import INIT_EXP
from tensix_sim.sdpa.stages import LOSSES
from tensix_sim.trace import WAIT

GAP, DONE = "", "done"
TRANSFERS = ("read ", "write ", "forward ")  # with a tensor's or a buffer's name after them
VERBS: tuple[type[Verb], ...] = (Add, *LOSSES)
UNITS = {verb.name: verb.unit for verb in VERBS} | {INIT_EXP: "sfpu"}


class Family(NamedTuple):
    """A family of spans: its key, what it is, and its colour on light and on dark ground."""

    key: str
    label: str
    light: str
    dark: str


FAMILIES = (
    Family("matmul", "matrix product", "#2a78d6", "#3987e5"),
    Family("fpu", "other FPU work", "#8fbdf0", "#86b6ef"),
    Family("sfpu", "SFPU: exponentials, reciprocals", "#1baf7a", "#199e70"),
    Family("move", "issuing reads and writes", "#4a3aa7", "#9085e9"),
    Family("other", "other work", "#52514e", "#a3a198"),
    Family("dram", "wait: DRAM bank", "#e34948", "#e66767"),
    Family("link", "wait: NoC link", "#eb6834", "#d95926"),
    Family("latency", "wait: NoC latency", "#e87ba4", "#d55181"),
    Family("tiles", "wait: tiles of a buffer", "#f2c25c", "#94711c"),
    Family("space", "wait: space in a buffer", "#c9c6b8", "#6b6960"),
    Family("thread", "wait: another thread", "#dddbd2", "#4c4b46"),
    Family("wait", "wait: other", "#aaa89e", "#85837b"),
    Family(DONE, "done", "#f3f2ee", "#262625"),
)


def family(name: str, buffers: Collection[str] = ()) -> str:
    """Key of the family of a span's name, with the names of the circular buffers known."""
    if name in (GAP, DONE):
        return DONE
    return _of_wait(name.removeprefix(WAIT), buffers) if name.startswith(WAIT) else _of_work(name)


def _of_wait(cause: str, buffers: Collection[str]) -> str:
    known = {"dram bank": "dram", "noc link": "link", "noc latency": "latency"}
    if cause in known:
        return known[cause]
    if cause.startswith("space "):
        return "space"
    return "thread" if cause in BETWEEN_THREADS else "tiles" if cause in buffers else "wait"


def _of_work(name: str) -> str:
    if name.startswith(TRANSFERS):
        return "move"
    return UNITS.get(name, "other")
