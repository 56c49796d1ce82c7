"""What a check says: violations, advice, the L1 map."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

Change = dict[str, Any]


class Record(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")


class Violation(Record):
    """A broken rule: the values at odds, the blamed key first, and changes of the spec that would heal it."""

    found: dict[str, Any]
    rule: str
    nearest: tuple[Change, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """The blamed key."""
        return next(iter(self.found))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        """What is wrong, by how much, and what would be legal."""
        wanted = " or ".join(_assignments(change) for change in self.nearest)
        return f"{_assignments(self.found)}: {self.rule}" + (f"; nearest legal: {wanted}" if wanted else "")


class Advice(Record):
    """Something legal that the user may not want."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class L1Buffer(Record):
    """A circular buffer in L1."""

    index: int
    name: str
    tiles: int
    format: str
    bytes: int
    address: int


class Report(Record):
    """What `check` found. `effective` is what the kernels really use; it needs shapes that are legal."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[Advice, ...] = ()
    effective: dict[str, Any] = {}
    l1: tuple[L1Buffer, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the spec can run."""
        return not self.violations

    def text(self) -> str:
        """Say it all: what is wrong, what the kernels would use, how L1 is laid out, and advice."""
        verdict = f"illegal; rules broken: {len(self.violations)}" if self.violations else "legal"
        lines = [verdict, *(f"- {violation.message}" for violation in self.violations)]
        if self.effective:
            lines += ["", "effective", *(f"  {name:<20}{_shown(value)}" for name, value in self.effective.items())]
        if self.l1:
            lines += ["", f"{'L1':<18}{'tiles':>6}  {'format':<10}{'bytes':>12}{'address':>12}"]
            lines += [f"{b.index:>2} {b.name:<15}{b.tiles:>6}  {b.format:<10}{b.bytes:>12,}{b.address:>12,}" for b in self.l1]
            lines += [f"{'':<36}{sum(b.bytes for b in self.l1):>12,}{self.l1[-1].address + self.l1[-1].bytes:>12,}"]
        if self.warnings:
            lines += ["", *(f"note: {advice}" for advice in self.warnings)]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return "x".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def _assignments(values: Change) -> str:
    return ", ".join(f"{key} = {_short(value)}" for key, value in values.items())


def _short(value: Any, width: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}..."
