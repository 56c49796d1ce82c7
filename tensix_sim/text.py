"""Text as the faces lay it out: values as people write them, tables, and lines that are not too long."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

WIDTH = 110
MOST_TOLD = 50  # of what is wrong at once


def shown(value: Any, times: str = "x", none: str = "none") -> str:
    """A value as people write it: sizes with `times` between them, floats to six digits, `none` where there is nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(inner, times, none)}" for name, inner in value.items()) or none
    if isinstance(value, tuple | list):
        sizes = len(value) < 4 and all(isinstance(item, int) for item in value)
        return (times if sizes else ", ").join(shown(item, times, none) for item in value)
    return none if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


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


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def wrapped(text: str, first: str = "", rest: str = "  ") -> str:
    """Lines of at most `WIDTH`; `first` stands before the first of them, `rest` before the others."""
    lines = wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def columns(layout: str, *cells: object) -> str:
    """Cells in a line, each as its part of the layout says: ``<10 >8`` is ten letters on the left, then eight on the right."""
    return "".join(f"{cell:{column}}" for cell, column in zip(cells, layout.split(), strict=True)).rstrip()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Right-aligned columns as wide as they must be, the first one left-aligned, two blanks between them."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    layout = " ".join(f"{f'>{width + 2}' if i else f'<{width}'}" for i, width in enumerate(widths))
    return "\n".join(columns(layout, *line) for line in lines)
