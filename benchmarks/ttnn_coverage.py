"""How much of the ttnn that attention code uses is here: names and signatures of tests/ttnn_surface.yaml beside ours.

python benchmarks/ttnn_coverage.py prints functions and what becomes of their arguments, values, what is absent, what differs.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tensix_sim import ttnn
from tensix_sim.ttnn import configs
from tensix_sim.ttnn.names import WHY

SURFACE = Path(__file__).parent.parent / "tests" / "ttnn_surface.yaml"
REFUSED, NOTED, UNREAD, HONOURED = "refused", "noted as without effect", "without effect", "honoured"
SAYING = {"refuse": REFUSED, "without_effect": NOTED}


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


# -- what becomes of arguments ------------------------------------------------------------------------------------------


def functions() -> Iterator[tuple[str, Any]]:
    """All public functions, by their dotted names; the constructors of the made types are their fields."""
    for place, module in (("", ttnn), ("transformer.", ttnn.transformer), ("experimental.", ttnn.experimental)):
        for name in module.__all__:
            if inspect.isfunction(thing := getattr(module, name)):
                yield place + name, thing


def fates(function: Any) -> dict[str, str]:
    """What a function does with each argument: by what it calls with it, or whether its body reads it at all."""
    source = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    assert isinstance(source, ast.FunctionDef)
    inside = [node for statement in source.body for node in ast.walk(statement)]
    read = {node.id for node in inside if isinstance(node, ast.Name)}
    said = {}
    for call in inside:
        if isinstance(call, ast.Call):
            verb = getattr(call.func, "attr", getattr(call.func, "id", ""))
            said |= {word.arg: SAYING[verb] for word in call.keywords if verb in SAYING and word.arg}
    return {name: said.get(name, HONOURED if name in read else UNREAD) for name in inspect.signature(function).parameters}


def lines() -> Iterator[str]:
    """A line a function: its arguments by what becomes of them; then values, bare names, and names that only ttnn has."""
    for name, function in functions():
        found = fates(function)
        kinds = ((kind, [one for one, what in found.items() if what == kind]) for kind in (HONOURED, REFUSED, NOTED, UNREAD))
        yield f"{name}: " + ("; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds if names) or "no arguments")
    for name, fields in configs.FIELDS.items():
        yield f"{name}({fields}): a value only"
    for name, members in configs.MEMBERS.items():
        yield f"{name}: one of {members}"
    for name in configs.ONLY_NAMES:
        yield f"{name}: a name to import only"
    for name, why in WHY.items():
        yield f"{name}: not there; {why}"


if __name__ == "__main__":
    print(*lines(), "", sep="\n")
    report = coverage()
    for name, wrong in report.items():
        if wrong:
            print(f"{name}: {'; '.join(wrong)}")
    good = sum(not wrong for wrong in report.values())
    print(f"{good} of {len(report)} names are as in ttnn ({good / len(report):.0%}); {len(ttnn.__all__)} public names here")
