"""Two runs of scripts: by how much one takes longer, and which kinds of ops and which ops make the difference."""

from dataclasses import dataclass
from difflib import SequenceMatcher

from tensix_sim.script.run import OP_KINDS, ScriptRun
from tensix_sim.script.screen import short
from tensix_sim.text import shown, table, wrapped
from tensix_sim.trust import too_small
from tensix_sim.user_errors import UsageError

UNCHANGED = "the machine's own"  # of a number that one of two runs replaces


@dataclass(frozen=True)
class OpChange:
    """An op on the slowest devices of two runs, in microseconds; 0 where one has it not."""

    op: str
    before: float
    after: float

    @property
    def by(self) -> float:
        """How much more it takes after."""
        return self.after - self.before


@dataclass(frozen=True)
class ScriptComparison:
    """What differs between two scripts' runs, `before` and `after` by their names."""

    before: str
    after: str
    us: tuple[float, float]
    kinds: tuple[OpChange, ...]
    ops: tuple[OpChange, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The answer in a sentence: by how much, and what makes the difference."""
        before, after = self.us
        if before == after:
            return f"{self.after} takes as long as {self.before}: {after:,.1f} us"
        much = f"{abs(after / before - 1):.1%} {'less' if after < before else 'more'}"
        moved = sorted((one for one in self.kinds if one.by), key=lambda one: -abs(one.by))
        why = ", ".join(f"{one.op} {one.by:+,.1f}" for one in moved)
        return f"{self.after} takes {much} than {self.before}: {before:,.1f} to {after:,.1f} us; {why}"


def compare_scripts(before: ScriptRun, after: ScriptRun, names: tuple[str, str]) -> ScriptComparison:
    """Set two runs side by side, each by its slowest device.

    Raises:
        UsageError: they are of other boards.
    """
    if before.chip != after.chip:
        raise UsageError(f"{names[0]} is of {before.chip}, {names[1]} of {after.chip}: their times cannot be compared")
    shares = before.shares(), after.shares()
    kinds = tuple(OpChange(name, *(share[name] for share in shares)) for name in (*OP_KINDS, "waits"))
    notes = [said for said in (too_small(before.us, after.us),) if said]
    settings = _settings(before), _settings(after)
    for key in dict.fromkeys([*settings[0], *settings[1]]):
        was, became = (of.get(key, UNCHANGED) for of in settings)
        notes += [f"{key}: {was} and {became}"] if was != became else []
    ops = tuple(_aligned(_slowest(before), _slowest(after)))
    return ScriptComparison(*names, (before.us, after.us), kinds, ops, tuple(notes))


def _settings(run: ScriptRun) -> dict[str, str]:
    """What a script was run with, by name, as a person reads it."""
    of_all = {"script": run.script, "arguments": " ".join(run.arguments) or "none", "board": run.board, "numerics": run.numerics}
    return of_all | {"mesh": shown(run.mesh)} | {name: shown(value) for name, value in run.machine.items()}


def _slowest(run: ScriptRun) -> list[tuple[str, float]]:
    return [(op.op, taken.us or 0.0) for op, taken in run.lines[run.slowest]]


def _aligned(before: list[tuple[str, float]], after: list[tuple[str, float]]) -> list[OpChange]:
    """Ops of both in their order; those that one has more than the other stand against nothing."""
    found = []
    names = [op for op, _ in before], [op for op, _ in after]
    for tag, a, b, c, d in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if tag == "equal":
            found += [OpChange(op, us, then) for (op, us), (_, then) in zip(before[a:b], after[c:d], strict=True)]
        else:
            found += [OpChange(op, us, 0.0) for op, us in before[a:b]] + [OpChange(op, 0.0, us) for op, us in after[c:d]]
    return found


def comparison_screen(found: ScriptComparison, everything: bool = False) -> str:
    """The answer, then kinds of ops, then the ops that differ, or all."""
    shown = [one for one in found.ops if everything or one.by]
    parts = [
        wrapped(found.verdict),
        "\n".join(wrapped(f"note: {note}") for note in found.notes),
        table(("kind of op, us", "before", "after", "change"), map(_row, found.kinds)),
        table(("op, us", "before", "after", "change"), map(_row, shown)) if shown else "no op differs",
    ]
    return "\n\n".join(part for part in parts if part)


def _row(one: OpChange) -> tuple[str, ...]:
    return short(one.op), *(f"{us:,.1f}" if us else "" for us in (one.before, one.after)), f"{one.by:+,.1f}"
