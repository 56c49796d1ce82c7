"""A report as annotations that GitHub shows beside the lines of the spec's file."""

from pathlib import Path

import yaml

from tensix_sim.doctor.report import Report
from tensix_sim.yaml_text import NotYamlError, compose


def annotations(report: Report, path: Path | None) -> list[str]:
    """Write a workflow command for each violation and advice; `path` is the YAML file of the spec, if it is one."""
    root, broken = _read(path)
    lines = []
    for violation in report.violations:
        lines.append(command("error", violation.key, violation.message, path, broken or _line(root, *violation.found)))
    for advice in report.warnings:
        lines.append(command(advice.level, advice.key, advice.message, path, _line(root, advice.key)))
    return lines


def command(level: str, title: str, message: str, path: Path | None = None, line: int | None = None) -> str:
    """A workflow command, which GitHub shows beside that line, or with the run."""
    properties = {"file": path, "line": line, "title": title}
    given = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items() if value is not None)
    return f"::{level} {given}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Percent-encode what would end a command, or a property of one."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _read(path: Path | None) -> tuple[yaml.Node | None, int | None]:
    """Parse the file into nodes that know their lines; or find the line at which it is no YAML."""
    try:
        return (compose(path.read_bytes()) if path else None), None
    except NotYamlError as error:
        return None, error.line
    except OSError:
        return None, None


def _line(root: yaml.Node | None, *keys: str) -> int | None:
    """Find the line of the first of `keys` that the file has, or else of what the first would lie in."""
    found = [_find(root, key.split(".")) for key in keys]
    return next((line for line, whole in found if whole), found[0][0])


def _find(node: yaml.Node | None, names: list[str]) -> tuple[int | None, bool]:
    """Follow a dotted key as far as it goes: the line reached, and whether that is the key itself."""
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    for count in range(len(names), 0, -1):  # ``l1.size: 1`` is as good as ``l1: {size: 1}``
        for key, value in entries:
            if key.value == ".".join(names[:count]):
                line, whole = _find(value, names[count:])
                return line or key.start_mark.line + 1, whole or count == len(names)
    return None, False
