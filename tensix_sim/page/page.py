"""The page: template, style, script and data in one file that needs nothing else."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tensix_sim.analysis import Verdict
from tensix_sim.files import atomic
from tensix_sim.page.data import describe
from tensix_sim.trace import Run


def write_report(run: Run, verdicts: Sequence[Verdict], path: Path) -> None:
    """Write the page of a run, whole or not at all. The same run gives the same bytes.

    Raises:
        OSError: it cannot be written; an older page stays as it was.
    """
    with atomic(path) as file:
        file.write(page(run, verdicts))


def page(run: Run, verdicts: Sequence[Verdict] = ()) -> str:
    """The page of a run as text."""
    return html(describe(run, verdicts), run.id)


def html(data: Mapping[str, Any], run: str = "") -> str:
    """The page of what `describe` or `describe_program` gives, as text."""
    parts = {
        "run": escape(run),
        "title": escape(data["title"]),
        "style": part("report.css"),
        "data": _json_in_html(data),
        "script": part("desk.js") + part("lines.js") + part("slices.js") + part("ops.js") + part("report.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], part("template.html"))


def part(name: str) -> str:
    """A file that lies beside this module, as text."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def _json_in_html(data: object) -> str:
    """JSON that no HTML parser takes for the end of a script, or for a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
