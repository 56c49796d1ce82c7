"""The house: how long, how entangled and how often told its code is, counted."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import tensix_sim

ROOT = Path(tensix_sim.__file__).parent
FILES = sorted({*ROOT.rglob("*.py"), *(ROOT / "kernels").rglob("*.py")})  # the kernels are behind a link in the source tree
PLACES = [path.relative_to(ROOT) for path in FILES]
TREES = {place: ast.parse((ROOT / place).read_text()) for place in PLACES}
Functions = ast.FunctionDef | ast.AsyncFunctionDef

MOST_LINES = {"function": 60, "file": 500}
MOST_STATEMENTS = 26_140
MOST_THAT_NAME_AN_OP = 4
NAMES_OF_OPS = re.compile(r"""ring_distributed_sdpa|chunked_sdpa|["']sdpa["']|\bis_ring\b""")
ROOMS_OF_OPS = ("sdpa/", "kernels/sdpa/", "ttnn/transformer.py")
ROOMS_OF_VERBS = ("kernels/", "kernel_api/")
NAME_VERBS = ("kernel_api/__init__.py", "microbench/on_core.py", "sdpa/stages.py")


def module(place: Path) -> str:
    """The dotted name of a file."""
    return ".".join(("tensix_sim", *place.with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module(place): place for place in PLACES}


def imported(place: Path) -> Iterator[str]:
    """Modules of the package that a file imports, at its top or anywhere in it.

    What is taken from a package is the module of that name, if there is one. `import tensix_sim` is for its version and place.
    """
    for node in ast.walk(TREES[place]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES.keys() - {"tensix_sim"})
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in modules)


def circles() -> list[list[str]]:
    """Modules that import each other, by whatever way round."""
    below = {name: set(imported(place)) - {name} for name, place in MODULES.items()}
    reached: dict[str, set[str]] = {}
    for name in below:
        seen, todo = set[str](), [name]
        while todo:
            new = below[todo.pop()] - seen
            seen |= new
            todo += new
        reached[name] = seen
    rings = {tuple(sorted({name} | {other for other in reached[name] if name in reached[other]})) for name in below}
    return [list(ring) for ring in sorted(rings) if len(ring) > 1]


def types(place: Path) -> list[str]:
    """Names of the types that a file defines at its top: classes, and aliases in a class's spelling."""
    found = []
    for node in TREES[place].body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append(node.targets[0].id)
    return [name for name in found if name[0].isupper() and not name.isupper()]


def test_a_function_fits_a_screen() -> None:
    """Its signature and docstring count."""
    long = [
        f"{place}: {node.name}, {lines}"
        for place, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, Functions) and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES["function"]
    ]
    assert long == []


def test_a_file_is_read_in_one_sitting() -> None:
    """Of any room."""
    lengths = {str(place): len((ROOT / place).read_text().splitlines()) for place in PLACES}
    assert {place: lines for place, lines in lengths.items() if lines > MOST_LINES["file"]} == {}


def test_no_modules_import_each_other() -> None:
    """Neither at their top nor inside a function nor for type hints alone."""
    assert circles() == []


def test_a_type_has_one_meaning() -> None:
    """No two files define a type of one name; only ttnn's are the mirror of others, and every kernel has its `Args`."""
    homes = defaultdict(list)
    for place in PLACES:
        for name in types(place):
            homes[name].append(str(place))
    doubles = {}
    for name, places in homes.items():
        kernels = name == "Args" and all(place.startswith("kernels/") for place in places)
        mirrors = [place for place in places if place.startswith("ttnn/")]
        if len(places) - len(mirrors[:1]) > 1 and not kernels:
            doubles[name] = places
    assert doubles == {}


def test_few_files_name_an_op() -> None:
    """Outside the rooms of attention and the function that ttnn has for it: those that a new op has to change."""
    elsewhere = [str(place) for place in PLACES if not str(place).startswith(ROOMS_OF_OPS)]
    named = [place for place in elsewhere if NAMES_OF_OPS.search((ROOT / place).read_text())]
    assert len(named) <= MOST_THAT_NAME_AN_OP, named


def test_a_verb_lives_in_one_file() -> None:
    """Kernels name the verbs that they use, `kernel_api` what it exports, and attention what it loses in those of any kernel."""
    homes = [place for place in PLACES if place.name.endswith("verbs.py") and str(place).startswith(ROOMS_OF_VERBS)]
    verbs = {node.name: home for home in homes for node in TREES[home].body if is_verb(node)}
    assert len(verbs) >= 8
    for place, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        others = [verb for verb, home in verbs.items() if verb in names and place != home]
        assert not others or place.parts[0] == "kernels" or str(place) in NAME_VERBS, (place, others)


def is_verb(node: ast.stmt) -> bool:
    """Whether a class has what a verb has: its windows, and its values beside them."""
    return isinstance(node, ast.ClassDef) and {"windows", "values"} <= {
        part.name for part in node.body if isinstance(part, Functions)
    }


def test_the_package_does_not_grow() -> None:
    """Statements, docstrings included: what comes in has to make something else needless, or this number is argued up."""
    assert sum(isinstance(node, ast.stmt) for tree in TREES.values() for node in ast.walk(tree)) <= MOST_STATEMENTS
