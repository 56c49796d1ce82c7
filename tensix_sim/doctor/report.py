"""What a check says, and as text: what is wrong, advice, what the kernels would use, who computes what, how L1 is laid out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pydantic import Field

from tensix_sim.doctor.records import Advice, L1Buffer, L1Map, Load, Record, Scores, Setting, Violation
from tensix_sim.text import MOST_TOLD, columns, counted, screen_width, shown, wrapped


class Report(Record):
    """What `check` found; in a notebook it shows its text.

    `settings`, `effective` and `load` need shapes that are legal; `load` also work that is counted in milliseconds.
    """

    subject: str = ""
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Advice, ...] = ()
    settings: tuple[Setting, ...] = ()
    effective: dict[str, Any] = Field(default={})
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
        wrong = [wrapped(violation.message, "- ") for violation in self.violations[:MOST_TOLD]]
        if count > MOST_TOLD:
            wrong.append(f"- and {count - MOST_TOLD:,} more")
        parts: list[Iterable[str]] = [[f"{verdict}: {self.subject}" if self.subject else verdict, *wrong]]
        if advice := [wrapped(str(advice), "- ") for advice in _worth_a_line(self)]:
            parts.append(["advice", *advice])
        if self.settings:
            parts.append(_settings(self.settings))
        if self.effective:
            parts.append(_effective(self.effective))
        if self.load:
            parts.append(_load(self.load))
        if self.l1 and self.l1_map:
            parts.append(_l1(self.l1, self.l1_map))
        return "\n\n".join("\n".join(part) for part in parts)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        found = counted(len(self.violations), "violation") if self.violations else "legal"
        return f"Report({self.subject}: {found}, {counted(len(self.warnings), 'advice').removesuffix('s')})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>"


def _worth_a_line(report: Report) -> Iterator[Advice]:
    """All advice but what the settings say in their own place, notices last."""
    said = {setting.key for setting in report.settings if setting.effective is None}
    for advice in sorted(report.warnings, key=lambda advice: advice.level == "notice"):
        if advice.level == "warning" or advice.key not in said:
            yield advice


# -- settings -----------------------------------------------------------------------------------------------

NAME, VALUE, REASON = 36, 17, 30  # letters; a reason with less room beside its values stands below them


def _settings(settings: Iterable[Setting]) -> Iterator[str]:
    """A row for each field, under the name of the config that it belongs to."""
    yield columns(f"<{NAME} <{VALUE} <", "config", "asked for", "used")
    last = None
    for setting in settings:
        part, _, name = setting.key.rpartition(".")
        if part != last:
            yield f"  {part or 'op'}"
            last = part
        asked = shown(setting.requested) if setting.given else "not given"
        used = "no effect" if setting.effective is None else shown(setting.effective)
        row = f"    {name}".ljust(NAME - 1) + f" {asked:<{VALUE - 1}} {used:<{VALUE - 1}} "
        if len(row) + REASON > screen_width.get() and setting.reason:
            yield row.rstrip()
            row = " " * 8
        yield wrapped(setting.reason, row, " " * len(row)) or row.rstrip()


SAID = {
    "kernel", "kernel_requested", "math_fidelity", "scale", "q_chunk_size", "k_chunk_size", "grid", "cores", "active_cores",
    "l1_bytes", "l1_budget",
}  # fmt: skip


def _effective(effective: Mapping[str, Any]) -> Iterator[str]:
    """What follows from the settings, but for what the other parts say."""
    yield "kernels"
    for name, value in effective.items():
        if name not in SAID:
            yield wrapped(shown(value), f"    {name:<{NAME - 4}}", " " * NAME)


# -- load ---------------------------------------------------------------------------------------------------


def _load(load: Load) -> Iterator[str]:
    yield "load" + (f" of device {load.ring_id}" if len(load.device_steps) > 1 else "")
    for name, text in _load_in_words(load):
        yield wrapped(text, f"    {name:<{NAME - 4}}", " " * NAME)
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
    unit = next((unit for unit in units if (len(str(max(counts) // unit)) + 1) * columns < screen_width.get() - 4), None)
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
    if sum(widths) + 4 * len(widths) > screen_width.get():
        yield from (f"    {line}".rstrip() for block in blocks for line in block)
        return
    height = max(map(len, blocks))
    for y in range(height):
        cells = (block[y] if y < len(block) else "" for block in blocks)
        yield ("    " + "    ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()


# -- L1 -----------------------------------------------------------------------------------------------------

BESIDE_BAR = 64  # letters


def _l1(buffers: Iterable[L1Buffer], space: L1Map) -> Iterator[str]:
    """Draw every part of L1 as a bar at its place, and name what is too much."""
    width = max(12, screen_width.get() - BESIDE_BAR)
    scale = width / max(space.size, space.end)

    def bar(address: int, size: int, mark: str) -> str:
        start = max(0, min(width - 1, int(address * scale)))
        stop = min(width, max(start + 1, round((address + size) * scale)))
        beyond = max(start, min(stop, round(space.limit * scale))) if address + size > space.limit and mark == "#" else stop
        return " " * start + mark * (beyond - start) + "!" * (stop - beyond)

    def row(name: str, size: int, address: int, mark: str) -> str:
        return f"   {name:<33}{size:>11,}{address:>12,}  {bar(address, size, mark)}"

    yield f"{'L1 of a core':<19}{'tiles':>6}  {'format':<9}{'bytes':>11}{'address':>12}  0{f'{space.size:,}':>{width - 1}}"
    yield row("below what a program may use", space.base, 0, "=")
    for b in buffers:
        what = f"{b.index:>2} {b.name:<16}{b.tiles:>6}  {b.format:<9}"
        yield f"{what}{b.bytes:>11,}{b.address:>12,}  {bar(b.address, b.bytes, '#')}"
    if space.free > 0:
        yield row("free", space.free, space.end, ".")
    if space.inputs:
        yield row("Q, K and V", space.inputs, space.limit, "=")
    if space.output:
        yield row("output tensor", space.output, space.limit + space.inputs, "=")
    if space.reserved:
        yield row("reserved", space.reserved, space.size - space.reserved, "=")
    rest = f"{space.free:,} B remain" if space.free >= 0 else f"{-space.free:,} B too many"
    yield wrapped(
        f"circular buffers take {space.end - space.base:,} B, up to {space.end:,} of {space.limit:,}: {rest}", "   ", "   "
    )
