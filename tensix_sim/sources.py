"""Which source files a result depends on, by the imports that they contain: a hash that changes when one of them does."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import tensix_sim

ROOT = Path(tensix_sim.__file__).parent
PACKAGE = "tensix_sim"


@cache
def sources(module: str) -> tuple[Path, ...]:
    """A module of the package, given by its dotted name, and all that it imports of it, however deep, in order.

    Imports within functions count, and so do the packages that a module lies in.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name not in found and path is not None:
            found[name] = path
            waiting += _imports(path)
            waiting.append(name.rpartition(".")[0])
    return tuple(sorted(set(found.values())))


@cache
def version_of(module: str) -> str:
    """A short hash of the sources of a module and of NumPy's version: what it computed with others does not count."""
    return hash_of(sources(module), f"numpy {version('numpy')}\n")


def hash_of(files: Iterable[Path], about: str = "") -> str:
    """Sixteen hex digits of some files of the package, by their names in it and their contents, and of what else counts."""
    digest = hashlib.sha256(about.encode())
    for path in files:
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _file(name: str) -> Path | None:
    """Where a dotted name of the package lies; None for what is no module of it."""
    if name.partition(".")[0] != PACKAGE:
        return None
    path = ROOT.joinpath(*name.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    for node in _run_of(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _run_of(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _run_of(node)
