"""How much of the ttnn that attention code uses is here: names and signatures of tests/ttnn_surface.yaml beside ours.

python benchmarks/ttnn_coverage.py
"""

import inspect
from pathlib import Path
from typing import Any

import yaml

from tensix_sim import ttnn

SURFACE = Path(__file__).parent.parent / "tests" / "ttnn_surface.yaml"
OF_A_MEMBER = ("self", "cls")


def found(name: str) -> Any:
    """What a dotted name of ttnn is here; None if it is not there."""
    thing: Any = ttnn
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def parameters(text: str) -> list[inspect.Parameter]:
    """The parameters of a written list."""
    scope: dict[str, Any] = {}
    exec(f"def f({text}): ...", scope)
    return list(inspect.signature(scope["f"]).parameters.values())


def differences(name: str, text: str) -> list[str]:
    """What is otherwise in our signature: parameters that are missing, other defaults, or only by keyword."""
    ours = inspect.signature(found(name)).parameters
    wrong = []
    for position, theirs in enumerate(parameters(text)):
        mine = ours.get(theirs.name)
        if mine is None and theirs.kind is theirs.POSITIONAL_OR_KEYWORD and position == 0:
            mine = next(iter(ours.values()))  # its name may differ: callers give it by place
        if mine is None:
            wrong.append(f"no {theirs.name}")
        elif theirs.default not in (inspect.Parameter.empty, ...) and mine.default != theirs.default:
            wrong.append(f"{theirs.name}={mine.default}, not {theirs.default}")
        elif theirs.kind is theirs.POSITIONAL_OR_KEYWORD and mine.kind is mine.KEYWORD_ONLY:
            wrong.append(f"{theirs.name} by keyword only")
    return wrong


def coverage() -> dict[str, list[str]]:
    """What differs, by name; an empty list is as in ttnn."""
    surface = yaml.safe_load(SURFACE.read_text())
    result = {name: [] if found(name) is not None else ["not there"] for name in surface["names"]}
    for name, text in surface["functions"].items():
        result[name] = differences(name, text) if found(name) is not None else ["not there"]
    return result


if __name__ == "__main__":
    report = coverage()
    for name, wrong in report.items():
        if wrong:
            print(f"{name}: {'; '.join(wrong)}")
    good = sum(not wrong for wrong in report.values())
    print(f"{good} of {len(report)} names are as in ttnn ({good / len(report):.0%}); {len(ttnn.__all__)} public names here")
