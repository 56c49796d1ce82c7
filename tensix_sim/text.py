"""Text as the faces lay it out: values as people write them, tables, and lines that are not too long."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from importlib import import_module
from textwrap import wrap
from typing import Any, TypeVar

WIDTH = 110
screen_width = ContextVar("screen_width", default=WIDTH)  # a narrower terminal's own, once a command knows it
NEAR = 3  # names that are offered in place of an unknown one
One = TypeVar("One")
Key = TypeVar("Key")
SIZE = re.compile("([1-9][0-9]{0,11})([kM])")
MOST_TOLD = 50  # of what is wrong at once


class Shown:
    """What shows itself: printed, as the screen of its command, in a notebook with a picture too. How, `notebook` knows."""

    def __str__(self) -> str:
        return str(import_module("tensix_sim.notebook").screen(self))

    def _repr_html_(self) -> str:
        return str(import_module("tensix_sim.notebook").as_html(self))


def shown(value: Any, times: str = "x", none: str = "none") -> str:
    """A value as people write it: sizes with `times` between them, floats to six digits, `none` where there is nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(inner, times, none)}" for name, inner in value.items()) or none
    if isinstance(value, tuple | list):
        sizes = len(value) < 4 and all(isinstance(item, int) for item in value)
        return (times if sizes else ", ").join(shown(item, times, none) for item in value)
    return none if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def grouped(items: Iterable[One], key: Callable[[One], Key]) -> dict[Key, list[One]]:
    """What shares a line: items of the same key together, keys in the order of their first ones."""
    groups: dict[Key, list[One]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def grouped_by_likeness(items: Iterable[One], alike: Callable[[One, One], bool]) -> list[list[One]]:
    """What is told once: an item goes to the first group whose first item it is like, or begins one."""
    groups: list[list[One]] = []
    for item in items:
        group = next((group for group in groups if alike(group[0], item)), None)
        groups.append([item]) if group is None else group.append(item)
    return groups


def printable(text: str) -> str:
    """The same with what a terminal would obey written as in code; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def clipped(text: str, width: int = 200) -> str:
    """The start of a text that is longer than `width`."""
    return text if len(text) <= width else f"{text[:width]}..."


def brief(value: Any, width: int = 200) -> str:
    """A value as in code, on one line, or its start."""
    try:
        return clipped(repr(value), width)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"


def key_text(key: object) -> str:
    """A key as it is shown: on one line, and not longer than any key that there is."""
    return clipped(printable(str(key)).replace("\n", "\\n"), 100)


def counted(number: int, what: str) -> str:
    """So many of it: 1 device, 4 devices."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def few(of: Sequence[int]) -> str:
    """Whole numbers in order as people write them: 0 to 3, or 0, 2, 3."""
    return f"{of[0]} to {of[-1]}" if len(of) > 2 and of[-1] - of[0] == len(of) - 1 else ", ".join(map(str, of))


def spans(numbers: Iterable[int]) -> str:
    """Numbers in order, with `a-b` for runs of them, and `a-b/step` for runs with gaps."""
    left, parts = sorted(numbers), []
    while left:
        step = left[1] - left[0] if len(left) > 1 else 1
        count = 1
        while count < len(left) and left[count] - left[count - 1] == step:
            count += 1
        if count < 3:
            count = 2 if count == 2 and step == 1 else 1
        run, left = left[:count], left[count:]
        parts.append(f"{run[0]}" if count == 1 else f"{run[0]}-{run[-1]}" + (f"/{step}" if step > 1 else ""))
    return ",".join(parts)


def near(name: object, known: Iterable[str]) -> str:
    """The few known names that are most like an unknown one, nearest first, as a list in words."""
    return ", ".join(get_close_matches(str(name), list(known), n=NEAR, cutoff=0.0)) or "none"


def size_in(text: str) -> int | None:
    """The whole number that a size such as 32k or 1M stands for, in powers of 1,024; None if it is none."""
    found = SIZE.fullmatch(text)
    return int(found[1]) * {"k": 1 << 10, "M": 1 << 20}[found[2]] if found else None


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def wrapped(text: str, first: str = "", rest: str = "  ") -> str:
    """Lines no wider than the screen; `first` stands before the first of them, `rest` before the others.

    Only the first line of a text is wrapped; what an excerpt is of stays under what it points at.
    """
    said, *excerpt = text.split("\n")
    width = screen_width.get()
    lines = wrap(said, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, *(rest + line for line in excerpt)])


def columns(layout: str, *cells: object) -> str:
    """Cells in a line, each as its part of the layout says: ``<10 >8`` is ten letters on the left, then eight on the right."""
    return "".join(f"{cell:{column}}" for cell, column in zip(cells, layout.split(), strict=True)).rstrip()


def with_text(
    header: Sequence[str], rows: Sequence[Sequence[str]], needed: Collection[str] = ()
) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table in the columns in which something stands, and in those that are needed."""
    kept = [i for i, name in enumerate(header) if name in needed or any(row[i] for row in rows)]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: str = "", least: Sequence[str] = ()) -> str:
    """Right-aligned columns as wide as they must be, the first one left-aligned, two blanks between them.

    The column under `words`, the last one, is text, left-aligned. Where the screen is too narrow, columns under `least` go, the
    first of them first, and it is said which; then the widest column's text goes on in further lines.
    """
    lines = [list(header), *map(list, rows)]
    gone = []
    for name in least:
        if _wide(lines) <= screen_width.get():
            break
        gone.append(name)
        i = lines[0].index(name)
        lines = [line[:i] + line[i + 1 :] for line in lines]
    lines = _narrowed(lines, _wide(lines) - screen_width.get())
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    layout = " ".join(f"<{width}" if i == 0 else f">{width + 2}" for i, width in enumerate(widths))
    if words:
        lines = [[*line[:-1], line[-1].ljust(widths[-1])] for line in lines]
    drawn = [columns(layout, *line) for line in lines]
    return "\n".join(drawn + ([wrapped(f"not shown, for the screen is narrow: {', '.join(gone)}")] if gone else []))


def _wide(lines: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(lines: list[list[str]], excess: int) -> list[list[str]]:
    """The same with the widest column so much narrower, as far as 12 letters: its cells go on in lines of their own."""
    if excess <= 0:
        return lines
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widest = widths.index(max(widths))
    found = []
    for line in lines:
        first, *others = wrap(line[widest], max(12, widths[widest] - excess)) or [""]
        found.append([*line[:widest], first, *line[widest + 1 :]])
        found += [[other if i == widest else "" for i in range(len(line))] for other in others]
    return found
