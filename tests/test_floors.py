"""The layout: a module imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

import tensix_sim

ROOT = Path(tensix_sim.__file__).parent
FLOORS = [
    {"user_errors", "files", "host", "text", "config", "presets", "arch", "formats", "sources", "yaml_text"},
    {"trace", "program", "accuracy", "identity"},
    {"hw"},
    {"kernel_api"},
    {"kernels"},
    {"sdpa"},
    {"gather", "doctor", "job", "walls", "trust", "matmul", "schema", "movers"},
    {"device", "simulation", "expected", "first_wrong", "error", "workers", "summary", "logged", "measure", "store"},
    {
        "analysis",
        "emit",
        "page",
        "report_screen",
        "screen",
        "tuning",
        "validate",
        "microbench",
        "programs",
        "script",
        "notebook",
        "cli",
        "__init__",
        "__main__",
    },
    {"ttnn"},
]
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
FILES = {*ROOT.rglob("*.py"), *(ROOT / "kernels").rglob("*.py")}  # the kernels are behind a link in the source tree
MODULES = sorted(path.relative_to(ROOT) for path in FILES)


def part(dotted: str) -> str:
    """The part of the package that a dotted name lies in."""
    names = dotted.split(".")
    return names[1] if len(names) > 1 else "__init__"


def imported(path: Path) -> set[str]:
    """Parts of the package that a file imports at its top, names of the package itself aside."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tensix_sim."):
            found.add(part(node.module))
        elif isinstance(node, ast.Import):
            found |= {part(alias.name) for alias in node.names if alias.name.startswith("tensix_sim.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_from_below(path: Path) -> None:
    """No module looks up; kernels look at the kernel API and at each other only."""
    here = path.parts[0].removesuffix(".py")
    others = imported(path) - {here}
    if here == "kernels":
        assert others <= {"kernel_api"}
    assert [other for other in others if FLOOR[other] > FLOOR[here]] == []


def test_the_hardware_knows_no_kernel() -> None:
    """Nothing below the kernels names attention."""
    below = [p for p in MODULES if p.parts[0] in ("hw", "kernel_api", "trace", "program.py", "formats.py", "arch")]
    for path in below:
        assert "attention" not in (ROOT / path).read_text().lower(), path
