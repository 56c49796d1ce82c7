"""YAML as specs are written: words and numbers of version 1.2, sizes such as 32k, no key twice, no more than a spec can hold."""

import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

from tensix_sim.text import SIZE, brief, clipped, size_in

MOST_BYTES = 1 << 18
MOST_VALUES = 5_000  # of a file, and of what its aliases stand for
MOST_NESTED = 20
MOST_DIGITS = 40
EXCERPT = 76  # letters of a line around what is wrong
TAG = "tag:yaml.org,2002:"
WORDS = {
    "merge": ("<<", "<"),
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (rf"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+|{SIZE.pattern}", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
TAGS = {TAG + name for name in (*WORDS, "str", "map", "seq")}
OLD_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|0b[01_]+|0x[0-9a-fA-F_]+)")


class NotYamlError(ValueError):
    """Text that is no YAML, or none of a spec; the message is the end of a sentence about it."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.line = line


class _Loader(yaml.SafeLoader):
    values = nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, if there are not too many and it does not lie too deep."""
        self.values, self.nested = self.values + 1, self.nested + 1
        if self.values > MOST_VALUES:
            raise NotYamlError(f"holds more than {MOST_VALUES:,} values")
        if self.nested > MOST_NESTED:
            raise NotYamlError(f"is nested more than {MOST_NESTED} deep", self.line + 1)
        node = super().compose_node(parent, index)
        self.nested -= 1
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number: digits, 0o17, 0x1f or 32k."""
        text = self.construct_scalar(node)
        if len(text) > MOST_DIGITS:
            raise NotYamlError(f"has a number of {len(text):,} digits in line {_line(node)}", _line(node))
        return size_in(text) or int(text, 0)


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in WORDS.items():
    _Loader.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{TAG}int", _Loader.construct_yaml_int)


def compose(text: str | bytes) -> yaml.Node | None:
    """The nodes of a text, which know their lines.

    Raises:
        NotYamlError: it is no YAML, or too large.
    """
    root: yaml.Node | None = _read(text, lambda loader: _checked(loader.get_single_node()))
    return root


def read_yaml(text: str | bytes) -> Any:
    """The value that a text stands for.

    Raises:
        NotYamlError: it is no YAML; it holds more than a spec can; a key stands twice, or is no text; a number is written as
            YAML 1.1 and 1.2 read differently.
    """

    def built(loader: _Loader) -> Any:
        node = _checked(loader.get_single_node())
        return None if node is None else loader.construct_document(node)

    return _read(text, built)


def _read(text: str | bytes, how: "Callable[[_Loader], Any]") -> Any:
    if len(text) > MOST_BYTES:
        raise NotYamlError(f"is longer than {MOST_BYTES:,} bytes")
    try:
        return how(_Loader(text))
    except RecursionError as error:
        raise NotYamlError("is nested too deep") from error
    except NotYamlError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise _not_yaml(error) from error


def _not_yaml(error: Exception) -> NotYamlError:
    """What the parser says, and the place in its line."""
    why = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return NotYamlError(f"is not YAML: {clipped(str(why))}")
    shown = mark.get_snippet(indent=0, max_length=EXCERPT)
    told = f"is not YAML in line {mark.line + 1}, column {mark.column + 1}: {clipped(str(why))}"
    return NotYamlError(f"{told}\n{shown}" if shown else told, mark.line + 1)


def _checked(root: yaml.Node | None) -> yaml.Node | None:
    """Hold all nodes to what a spec may have."""
    sizes: dict[int, tuple[int, int] | None] = {}

    def size(node: yaml.Node) -> tuple[int, int]:
        """Values that a node stands for, its aliases written out, and how deep they go."""
        if id(node) in sizes:
            if (known := sizes[id(node)]) is None:
                raise NotYamlError(f"holds an anchor that refers to itself, in line {_line(node)}", _line(node))
            return known
        sizes[id(node)] = None
        _check(node)
        inner = [size(child) for child in _children(node)]
        values, nested = 1 + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        if values > MOST_VALUES:
            raise NotYamlError(f"stands for more than {MOST_VALUES:,} values, by the aliases in line {_line(node)}", _line(node))
        if nested > MOST_NESTED:
            raise NotYamlError(f"is nested more than {MOST_NESTED} deep, by the aliases in line {_line(node)}", _line(node))
        sizes[id(node)] = values, nested
        return values, nested

    if root is not None:
        size(root)
    return root


def _check(node: yaml.Node) -> None:
    """Refuse a node by itself: its tag, its keys, how its number is written."""
    line = _line(node)
    if node.tag not in TAGS:
        raise NotYamlError(f"has the tag {brief(node.tag, 60)} in line {line}; a spec has none", line)
    if isinstance(node, yaml.ScalarNode) and node.style is None and node.tag == f"{TAG}str" and OLD_NUMBER.fullmatch(node.value):
        what = "is a number in YAML 1.1 and text in 1.2: write plain digits, or put the text in quotes"
        raise NotYamlError(f"has {brief(node.value, 60)} in line {line}, which {what}", line)
    found: dict[Hashable, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        line = _line(key)
        if key.tag not in (f"{TAG}str", f"{TAG}merge"):
            what = brief(key.value, 60) if isinstance(key, yaml.ScalarNode) else key.id
            raise NotYamlError(f"has the key {what} in line {line}, which is no text: put it in quotes, or leave it out", line)
        if first := found.get(key.value):
            where = f"line {line}" if first == line else f"lines {first} and {line}"
            raise NotYamlError(f"has the key {brief(key.value, 60)} twice, in {where}", line)
        found[key.value] = line


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
