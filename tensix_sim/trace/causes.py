"""Why a RISC waits, as a value. Its text is for files and screens, and `read` is the one place that reads it back."""

from typing import Annotated, Literal, NamedTuple, cast, get_args

from pydantic import BeforeValidator, PlainSerializer

Kind = Literal["dst", "unpack", "math", "pack", "dram bank", "noc link", "noc latency", "ethernet link", "launch"]
NamedKind = Literal["tiles", "space", "semaphore"]  # of which a core has several: one for each circular buffer or semaphore
WAIT = "wait "  # starts the text of every cause, and that of nothing else


class Cause(NamedTuple):
    """What a RISC waits for; `name` is the circular buffer's or the semaphore's."""

    kind: Kind | NamedKind
    name: str = ""

    @property
    def text(self) -> str:
        """As screens have it: "dst", "space k_in", and for tiles of that buffer "k_in", unless it is called as something else."""
        if self.kind == "tiles" and read(WAIT + self.name) == self:
            return self.name
        return f"{self.kind} {self.name}" if self.kind in get_args(NamedKind) else self.kind

    def __str__(self) -> str:
        return WAIT + self.text


DST, UNPACK, MATH, PACK = Cause("dst"), Cause("unpack"), Cause("math"), Cause("pack")  # one thread's for another
BANK, LINK, LATENCY, ETHERNET = Cause("dram bank"), Cause("noc link"), Cause("noc latency"), Cause("ethernet link")

LAUNCH = Cause("launch")  # another core's start

What = str | Cause  # what a lane does: a step, by its name, or a wait


def read(text: str) -> What:
    """What has this text: the inverse of `str`."""
    if not text.startswith(WAIT):
        return text
    text = text.removeprefix(WAIT)
    kind, blank, name = text.partition(" ")
    if blank and kind in get_args(NamedKind):
        return Cause(cast(NamedKind, kind), name)
    return Cause(cast(Kind, text)) if text in get_args(Kind) else Cause("tiles", text)


class LaneWait(NamedTuple):
    """A cause on one lane of a core, such as "unpack"."""

    lane: str
    cause: Cause

    def __str__(self) -> str:
        return f"{self.lane}: {self.cause}"


def _read_key(key: object) -> object:
    lane, _, text = key.partition(": ") if isinstance(key, str) else ("", "", "")
    return (lane, read(text)) if lane else key


WaitKey = Annotated[LaneWait, BeforeValidator(_read_key), PlainSerializer(str)]  # of a mapping: text in JSON
