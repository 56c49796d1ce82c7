"""The parts of a report: violations, advice, what is used in place of what was asked for, the load of the cores, the L1 map."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from tensix_sim.program import BufferSpec
from tensix_sim.sdpa.keys import Change
from tensix_sim.text import brief, clipped, key_text


class Record(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")


class Violation(Record):
    """A broken rule: the values at odds, the blamed key first, and changes of the spec that would heal it."""

    found: dict[str, Any]
    rule: str
    nearest: tuple[Change, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """The blamed key."""
        return next(iter(self.found))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        """What is wrong, by how much, and what would be legal."""
        wanted = " or ".join(_assignments(change) for change in self.nearest)
        return f"{_assignments(self.found)}: {clipped(self.rule, 1_000)}" + (f"; nearest legal: {wanted}" if wanted else "")


class Size(Record):
    """How much an advice is about: `quantity` is `now`, and would be `then` with the advised change."""

    quantity: str
    unit: str
    now: float
    then: float | None = None


class Advice(Record):
    """Something legal that the user may not want; a notice costs nothing. `change` of the spec is what would be better."""

    key: str
    message: str
    level: Literal["warning", "notice"] = "warning"
    change: Change = {}
    size: Size | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class Setting(Record):
    """A field of the spec: what was asked for, if it was `given`, what the op uses (None: it has no effect), and why."""

    key: str
    given: bool
    requested: Any
    effective: Any
    reason: str = ""


class L1Buffer(Record):
    """A circular buffer in L1."""

    index: int
    name: str
    tiles: int
    format: str
    bytes: int
    address: int

    @classmethod
    def table(cls, buffers: Sequence[BufferSpec], base: int) -> "tuple[L1Buffer, ...]":
        """A core's circular buffers, one behind the other from address `base` on."""
        ends = accumulate((b.bytes for b in buffers), initial=base)
        return tuple(
            cls(index=i, name=b.name, tiles=b.tiles, format=b.format.name, bytes=b.bytes, address=address)
            for i, (b, address) in enumerate(zip(buffers, ends, strict=False))
        )


class L1Map(Record):
    """How a core's L1 is shared out: circular buffers from `base` to `end`, at the top tensors and what is `reserved`."""

    size: int
    base: int
    end: int
    output: int
    reserved: int
    inputs: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def limit(self) -> int:
        """Address at which circular buffers must end."""
        return self.size - self.reserved - self.output - self.inputs

    @computed_field  # type: ignore[prop-decorator]
    @property
    def free(self) -> int:
        """Bytes that remain; below 0, those that are too many."""
        return self.limit - self.end


class Floor(Record):
    """The least cycles of the slowest device: of the math thread of its slowest core, or of its DRAM."""

    math: int
    dram: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cycles(self) -> int:
        """The longer of the two."""
        return max(self.math, self.dram)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def binds(self) -> str:
        """What takes so long."""
        return "math" if self.math >= self.dram else "DRAM"


class Scores(Record):
    """Tiles of scores of all devices: `computed`, of which so many in vain, since no query and key in them meet."""

    computed: int
    hidden: int  # by the mask
    beyond_keys: int  # the last K chunk over-hangs
    beyond_queries: int  # the last Q chunk over-hangs

    @property
    def in_vain(self) -> int:
        """Those that no output needs."""
        return self.hidden + self.beyond_keys + self.beyond_queries


class Load(Record):
    """Who computes how much. A step is a Q chunk with a K chunk, a tile one of scores.

    `chunks`, `steps` and `tiles` are those of each core of device `ring_id`, row by row of the grid; `device_steps` and
    `slowest_steps` those of each device of the ring, and of its slowest core.
    """

    grid: tuple[int, int]
    ring_id: int
    chunks: tuple[int, ...]
    steps: tuple[int, ...]
    tiles: tuple[int, ...]
    device_steps: tuple[int, ...]
    slowest_steps: tuple[int, ...]
    scores: Scores
    floor: Floor

    @property
    def active(self) -> int:
        """Cores that have anything to do."""
        return sum(count > 0 for count in self.chunks)

    @property
    def mean(self) -> float:
        """Steps of an active core."""
        return sum(self.steps) / max(1, self.active)

    @property
    def stragglers(self) -> int:
        """Cores with more steps than the mean of the active ones."""
        return sum(count > self.mean for count in self.steps)

    @property
    def lost(self) -> tuple[float, float]:
        """Shares of all cores' time, if time were steps: of idle cores, and of those that wait for the slowest."""
        cores, most = len(self.steps), max(1, *self.steps)
        return (cores - self.active) / cores, (self.active * most - sum(self.steps)) / (cores * most)


def _assignments(values: Change) -> str:
    return ", ".join(f"{key_text(key)} = {brief(value)}" for key, value in values.items())
