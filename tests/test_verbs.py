"""Verbs as things: what every one has, and the tables of docs/kernels.md, which are made of them (`DOCS=write` accepts)."""

import importlib
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tensix_sim.kernel_api import verbs as any_kernels
from tensix_sim.kernels import softmax
from tensix_sim.kernels.sdpa import row_verbs
from tensix_sim.kernels.sdpa import verbs as legacys

DOC = Path(__file__).parents[1] / "docs" / "kernels.md"
PARTS = "name", "unit", "reads", "makes", "windows", "values"


def verbs_of(module: Any) -> list[Any]:
    """The verbs that a module defines, in order."""
    classes = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__]
    return [x for x in classes if all(hasattr(x, part) for part in PARTS)]


ALL = [verb for module in (any_kernels, legacys, row_verbs, softmax) for verb in verbs_of(module)]


@pytest.mark.parametrize("verb", ALL, ids=lambda verb: verb.__name__)
def test_a_verb_is_whole(verb: Any) -> None:
    """It says what it is in a sentence, and which unit does it."""
    assert verb.__doc__.splitlines()[0].endswith(".")
    assert verb.unit in ("matmul", "fpu", "sfpu")


def test_any_kernel_has_six() -> None:
    """Others are written beside the kernel that needs them."""
    assert len(verbs_of(any_kernels)) == 6
    assert not {verb.name for verb in verbs_of(any_kernels)} & {verb.name for verb in verbs_of(legacys)}


def table(name: str) -> str:
    """The verbs of a module: operands, what each does, its name in traces."""
    lines = ["| verb and its operands | what it does | in traces |", "|---|---|---|"]
    for verb in verbs_of(importlib.import_module(name)):
        does = " ".join(verb.__doc__.split("\n\n")[0].split())
        operands = ", ".join(field.name for field in fields(verb))
        lines.append(f"| `{verb.__name__}`({operands}) | {does} | {verb.name} |")
    return "\n".join(lines)


def test_the_tables_of_verbs_are_made_of_the_classes() -> None:
    """A new verb, or a new operand, shows in docs/kernels.md."""
    text = DOC.read_text()
    made = re.sub(
        r"(<!-- verbs: (\S+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{table(found[2])}\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )
    if os.environ.get("DOCS") == "write":
        DOC.write_text(made)
    assert made == text
