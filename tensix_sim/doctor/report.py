"""What a check says: violations, advice, what is used in place of what was asked for, the load of the cores, the L1 map."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from textwrap import wrap
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

from tensix_sim.program import BufferSpec
from tensix_sim.sdpa.keys import Change

WIDTH = 110


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
        return f"{_assignments(self.found)}: {self.rule}" + (f"; nearest legal: {wanted}" if wanted else "")


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
    """How a core's L1 is shared out: circular buffers from `base` to `end`, at the top an `output` and what is `reserved`."""

    size: int
    base: int
    end: int
    output: int
    reserved: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def limit(self) -> int:
        """Address at which circular buffers must end."""
        return self.size - self.reserved - self.output

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


class Report(Record):
    """What `check` found; in a notebook it shows its text.

    `settings`, `effective` and `load` need shapes that are legal; `load` also work that is counted in milliseconds.
    """

    subject: str = ""
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Advice, ...] = ()
    settings: tuple[Setting, ...] = ()
    effective: dict[str, Any] = {}
    load: Load | None = None
    l1: tuple[L1Buffer, ...] = ()
    l1_map: L1Map | None = None

    @property
    def ok(self) -> bool:
        """Whether the spec can run."""
        return not self.violations

    def text(self) -> str:
        """Say it all: what is wrong, advice, what the kernels would use, who computes what, how L1 is laid out."""
        count = len(self.violations)
        verdict = f"illegal, {count} {'rules' if count > 1 else 'rule'} broken" if count else "legal"
        parts = [[f"{verdict}: {self.subject}" if self.subject else verdict, *_listed(v.message for v in self.violations)]]
        if advice := [*self._advice_worth_a_line()]:
            parts.append(["advice", *_listed(advice)])
        if self.settings:
            parts.append(list(_settings(self.settings)))
        if self.effective:
            parts.append(list(_effective(self.effective)))
        if self.load:
            parts.append(list(_load(self.load)))
        if self.l1 and self.l1_map:
            parts.append(list(_l1(self.l1, self.l1_map)))
        return "\n\n".join("\n".join(part) for part in parts)

    def _advice_worth_a_line(self) -> Iterator[str]:
        """All but what the settings say in their own place, notices last."""
        said = {setting.key for setting in self.settings if setting.effective is None}
        for advice in sorted(self.warnings, key=lambda advice: advice.level == "notice"):
            if advice.level == "warning" or advice.key not in said:
                yield str(advice)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>"


def _listed(messages: Iterable[str]) -> Iterator[str]:
    for message in messages:
        yield from wrap(
            message, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )


# -- settings -----------------------------------------------------------------------------------------------

NAME, VALUE = 36, 17


def _settings(settings: Iterable[Setting]) -> Iterator[str]:
    """A row for each field, under the name of the config that it belongs to."""
    yield f"{'config':<{NAME}}{'asked for':<{VALUE}}used"
    last = None
    for setting in settings:
        part, _, name = setting.key.rpartition(".")
        if part != last:
            yield f"  {part or 'op'}"
            last = part
        asked = shown(setting.requested) if setting.given else "not given"
        used = "no effect" if setting.effective is None else shown(setting.effective)
        row = f"    {name}".ljust(NAME - 1) + f" {asked:<{VALUE - 1}} {used:<{VALUE - 1}} "
        yield from _with_reason(row, setting.reason)


def _with_reason(row: str, reason: str) -> Iterator[str]:
    first, *more = wrap(reason, WIDTH - len(row), break_on_hyphens=False, break_long_words=False) or [""]
    yield (row + first).rstrip()
    yield from (" " * len(row) + line for line in more)


SAID = {
    "kernel", "kernel_requested", "math_fidelity", "scale", "q_chunk_size", "k_chunk_size", "grid", "cores", "active_cores",
    "l1_bytes", "l1_budget",
}  # fmt: skip


def _effective(effective: Mapping[str, Any]) -> Iterator[str]:
    """What follows from the settings, but for what the other parts say."""
    yield "kernels"
    for name, value in effective.items():
        if name not in SAID:
            yield f"    {name:<{NAME - 4}}{shown(value)}"


def shown(value: Any) -> str:
    """Show a value as people write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return ("x" if all(isinstance(item, int) for item in value) else ", ").join(shown(item) for item in value)
    return "none" if value is None else str(value)


# -- load ---------------------------------------------------------------------------------------------------


def _load(load: Load) -> Iterator[str]:
    yield "load" + (f" of device {load.ring_id}" if len(load.device_steps) > 1 else "")
    for name, text in _load_in_words(load):
        yield from _with_reason(f"    {name:<{NAME - 4}}", text)
    yield ""
    yield from _side_by_side(("Q chunks", _picture(load.grid, load.chunks)), ("steps", _picture(load.grid, load.steps)))


def _load_in_words(load: Load) -> Iterator[tuple[str, str]]:
    cores, (of_idle, of_waiting) = len(load.steps), load.lost
    busy = [i for i, count in enumerate(load.chunks) if count]
    chunks, steps, tiles = (_span([counts[i] for i in busy]) for counts in (load.chunks, load.steps, load.tiles))
    yield "cores", f"{load.active} of {cores} work" + (f", {cores - load.active} are idle" if load.active < cores else "")
    yield "each of them", f"{chunks} Q chunks, {steps} steps, {tiles} tiles of scores"
    if load.stragglers:
        above = max(load.steps) / load.mean - 1
        yield "stragglers", f"{load.stragglers} cores have more steps than the mean of {load.mean:,.1f}, up to {above:.1%} more"
    if of_idle or of_waiting:
        lost = f"{of_idle:.1%} on idle cores, {of_waiting:.1%} waiting for the slowest"
        yield "core-steps lost", f"{of_idle + of_waiting:.1%}: {lost}"
    if len(load.device_steps) > 1:
        over = max(load.device_steps) * len(load.device_steps) / sum(load.device_steps)
        slowest = _span(load.slowest_steps)
        yield "ring", f"{_span(load.device_steps)} steps a device, most / mean {over:.3f}; slowest cores {slowest}"
    yield "scores", _scores(load.scores)
    floor = load.floor
    yield "least cycles", f"{floor.cycles:,}: math thread of the slowest core {floor.math:,}, DRAM {floor.dram:,}"


def _scores(scores: Scores) -> str:
    kinds = (
        (scores.hidden, "hidden by the mask"),
        (scores.beyond_keys, "beyond the last key"),
        (scores.beyond_queries, "beyond the last query"),
    )
    parts = [f"{count / scores.computed:.1%} {what}" for count, what in kinds if count]
    share = f"{scores.in_vain / scores.computed:.1%} in vain" if parts else "none in vain"
    return f"{scores.computed:,} tiles, {share}" + (f": {', '.join(parts)}" if parts else "")


def _span(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _picture(grid: tuple[int, int], counts: tuple[int, ...]) -> list[str]:
    """A number for each core at its place, x to the right; a dot for a core that is idle."""
    columns, rows = grid
    units = (1, 1000, 10**6, 10**9)
    unit = next((unit for unit in units if (len(str(max(counts) // unit)) + 1) * columns < WIDTH - 4), None)
    if unit is None:
        return [f"{columns} columns of cores are too many to draw"]
    cells = [f"{count / unit:.0f}" if count else "." for count in counts]
    width = max(map(len, cells))
    lines = [" ".join(cell.rjust(width) for cell in cells[y * columns : (y + 1) * columns]) for y in range(rows)]
    return lines if unit == 1 else [*lines, f"in units of {unit:,}"]


def _side_by_side(*pictures: tuple[str, list[str]]) -> Iterator[str]:
    """Pictures under their names, beside each other where there is room."""
    blocks = [[f"{name} of each core", *lines] for name, lines in pictures]
    widths = [max(map(len, block)) for block in blocks]
    if sum(widths) + 4 * len(widths) > WIDTH:
        yield from (f"    {line}".rstrip() for block in blocks for line in block)
        return
    height = max(map(len, blocks))
    for y in range(height):
        cells = (block[y] if y < len(block) else "" for block in blocks)
        yield ("    " + "    ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()


# -- L1 -----------------------------------------------------------------------------------------------------

BAR = 46


def _l1(buffers: Iterable[L1Buffer], space: L1Map) -> Iterator[str]:
    """Draw every part of L1 as a bar at its place, and name what is too much."""
    scale = BAR / max(space.size, space.end)

    def bar(address: int, size: int, mark: str) -> str:
        start = min(BAR - 1, int(address * scale))
        stop = max(start + 1, round((address + size) * scale))
        beyond = max(start, min(stop, round(space.limit * scale))) if address + size > space.limit and mark == "#" else stop
        return " " * start + mark * (beyond - start) + "!" * (stop - beyond)

    def row(name: str, size: int, address: int, mark: str) -> str:
        return f"   {name:<33}{size:>11,}{address:>12,}  {bar(address, size, mark)}"

    yield f"{'L1 of a core':<19}{'tiles':>6}  {'format':<9}{'bytes':>11}{'address':>12}  0{f'{space.size:,}':>{BAR - 1}}"
    yield row("below what a program may use", space.base, 0, "=")
    for b in buffers:
        what = f"{b.index:>2} {b.name:<16}{b.tiles:>6}  {b.format:<9}"
        yield f"{what}{b.bytes:>11,}{b.address:>12,}  {bar(b.address, b.bytes, '#')}"
    if space.free > 0:
        yield row("free", space.free, space.end, ".")
    if space.output:
        yield row("output tensor", space.output, space.limit, "=")
    if space.reserved:
        yield row("reserved", space.reserved, space.size - space.reserved, "=")
    rest = f"{space.free:,} B remain" if space.free >= 0 else f"{-space.free:,} B too many"
    yield f"   circular buffers take {space.end - space.base:,} B, up to {space.end:,} of {space.limit:,}: {rest}"


def _assignments(values: Change) -> str:
    return ", ".join(f"{key} = {_short(value)}" for key, value in values.items())


def _short(value: Any, width: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}..."
