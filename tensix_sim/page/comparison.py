"""The page of a comparison: what differs, and on each device where the cycles went that make the difference."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from tensix_sim.analysis import Comparison, DeviceChange, FigureChange
from tensix_sim.files import atomic
from tensix_sim.page.page import part
from tensix_sim.text import shown

SHOWN = 14  # changes of a path; the rest is one line
EACH_WAY = 50  # of a bar, per cent of its width


def write_comparison(c: Comparison, path: Path) -> None:
    """Write the page of a comparison, whole or not at all. The same comparison gives the same bytes.

    Raises:
        OSError: it cannot be written; an older page stays as it was.
    """
    with atomic(path) as file:
        file.write(comparison_page(c))


def comparison_page(c: Comparison) -> str:
    """The page of a comparison as text."""
    first = [c.verdict, *(f"FAILED: {limit.text}" for limit in c.limits), *c.notes]
    sections = [_section("First of all", "".join(f"<p>{escape(note)}</p>" for note in first))]
    if c.settings:
        rows = ([_cell(key), _cell(shown(a, " x ")), _cell(shown(b, " x "))] for key, a, b in c.settings)
        sections.append(_section("Settings that differ", _table(("setting", "before", "after"), rows)))
    sections += [_section("Devices", _devices(c))]
    sections += [_device(device) for device in c.devices]
    for title, changes in c.of_all_devices:
        rows = ([_cell(change.what), *_figures(change)] for change in changes)
        sections.append(_section(title.capitalize(), _table(("", "before", "after", "change", ""), rows)))
    fields = {"style": part("report.css"), "before": escape(c.before), "after": escape(c.after), "body": "\n".join(sections)}
    return Template(part("comparison.html")).substitute(fields)


def _devices(c: Comparison) -> str:
    most = max((abs(d.cycles.by) for d in c.devices), default=0)
    rows = (
        [
            _cell(f"{d.device}, {m.what}" if d.time else str(d.device)),
            *_figures(m),
            _bar(d.cycles.by, most) if m is d.cycles else "",
        ]
        for d in c.devices
        for m in d.measures
    )
    only = "".join(f'<p class="note">device {device}: only in {escape(name)}</p>' for device, name in c.only.items())
    return _table(("device", "cycles before", "after", "change", "", ""), rows) + only


def _device(d: DeviceChange) -> str:
    parts = []
    if d.path:
        shown = d.main_path(SHOWN)
        most = max(abs(c.by) for c in shown)
        rows = [[_cell(c.what), *_figures(c), _bar(c.by, most)] for c in shown]
        rows.append([_cell("cycles"), *_figures(d.cycles), "<td></td>"])
        note = (
            "What the end of the last kernel waited for, step by step back to cycle 0. The changes add up to that of the cycles."
        )
        table = _table(("critical path", "before", "after", "change", "", ""), rows, total=True)
        parts.append(f'<p class="note">{note}</p>{table}')
    parts.append("".join(_others(title, changes) for title, changes in d.moved))
    return _section(f"Device {d.device}", '<div class="columns">' + "".join(f"<div>{p}</div>" for p in parts) + "</div>")


def _others(title: str, changes: Sequence[FigureChange]) -> str:
    return f"{_table((title, 'before', 'after', 'change', ''), ([_cell(c.what), *_figures(c)] for c in changes))}<p></p>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], total: bool = False) -> str:
    """A table; what stands right of the first column is right-aligned where its cells are."""
    lines = [f"<tr>{''.join(row)}</tr>" for row in rows]
    if total:
        lines[-1] = lines[-1].replace("<tr>", '<tr class="sum">', 1)
    numbers = ' class="n"' if any('class="n"' in line for line in lines) else ""
    head = "".join(f"<th{numbers if i else ''}>{escape(name)}</th>" for i, name in enumerate(header))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _figures(c: FigureChange) -> list[str]:
    return [f'<td class="n">{escape(text)}</td>' for text in c.texts]


def _bar(by: float, most: float) -> str:
    """A bar to the left for cycles saved, to the right for cycles lost."""
    width = EACH_WAY * abs(by) / most if most else 0
    side = f"right:{EACH_WAY}%" if by < 0 else f"left:{EACH_WAY}%"
    kind = "less" if by < 0 else "more"
    return f'<td><span class="both"><i class="{kind}" style="{side};width:{width:.1f}%"></i></span></td>'
