"""The verdict: what binds a device, found by running it again with one resource relieved at a time; what helps, found by trying.

Every figure is that of a whole run, or a bound, and says which. A gain is a share of the device's wall.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tensix_sim.analysis.budget import budget
from tensix_sim.analysis.reliefs import BANKS, STRAGGLER, UNBLAMED, Relief, reliefs
from tensix_sim.analysis.remedies import Remedy, remedies
from tensix_sim.config import RunSpec
from tensix_sim.device import DeviceFigures
from tensix_sim.measure import chunk_pairs, measure
from tensix_sim.store import Store
from tensix_sim.text import grouped_by_likeness
from tensix_sim.trace import Trace
from tensix_sim.trust import tells, trust
from tensix_sim.workers import Jobs, Progress, run_all, unwatched

NOTICEABLE = 0.01  # of the wall: what saves less does not count
CLEAR, LIKELY = 1.5, 1.15  # times what the next cause saves
ALIKE = 0.01  # of the cycles
MOST_TRIED = 6  # changes of a device that are run
NOBODY = "nothing"
WHOLE = "run whole"
EVEN_ENDS = "bound: at most, were all cores to end at the mean of their ends"
LEAST_CYCLES = "bound: its least cycles leave no gain to notice"

Runs = Callable[[Sequence[tuple[RunSpec, int]]], list[int]]


@dataclass(frozen=True)
class RelievedRun:
    """A relieved run: its cycles, the share of the wall that it saves, and what both were drawn from: a whole run or a bound."""

    cause: str
    change: str
    cycles: int
    gain: float
    drawn_from: str = WHOLE

    @property
    def saved(self) -> str:
        """The gain in words."""
        return saved(self.gain, self.drawn_from)


@dataclass(frozen=True)
class Tried:
    """A legal change of the spec: its text and keys, the device's cycles with it, the share of the wall that it saves.

    `drawn_from` says whether it was run whole; if not, `cycles` are the least that it takes. `note` is what else it changes.
    """

    text: str
    change: dict[str, Any]
    cycles: int
    gain: float
    drawn_from: str = WHOLE
    note: str = ""

    @property
    def helps(self) -> bool:
        """Whether it was run and saves enough to be advised."""
        return self.drawn_from == WHOLE and self.gain >= NOTICEABLE and self.tells

    @property
    def tells(self) -> bool:
        """Whether it takes more or less by more than predicted ratios are off."""
        return tells(1.0, 1 - self.gain)

    @property
    def saved(self) -> str:
        """The gain in words."""
        words = saved(self.gain, self.drawn_from)
        return words if self.drawn_from != WHOLE or self.tells else f"{words}, too small to tell"


@dataclass(frozen=True)
class Verdict:
    """What binds a device, how sure that is ("sure", "likely" or "shared"), in words; what-ifs by gain, the unblamed at the end.

    `tried` are changes that a user can make, by gain; where device `like` is bound by the same, they were tried on that.
    `trust` says how far such times were from silicon.
    """

    ring_id: int
    cycles: int
    binds: str
    sure: str
    text: str
    what_ifs: list[RelievedRun]
    tried: tuple[Tried, ...] = ()
    like: int | None = None
    trust: str = ""

    def summary(self) -> dict[str, Any]:
        """What `report --json` writes of it, and the page holds: gains as numbers and in words."""
        parts = {name: [asdict(one) | {"saved": one.saved} for one in getattr(self, name)] for name in ("what_ifs", "tried")}
        return asdict(self) | parts


def in_groups(found: Sequence[Verdict]) -> list[list[Verdict]]:
    """Verdicts that say the same: of devices bound alike, whose cycles and first gain are within `ALIKE`; the slowest first."""
    return grouped_by_likeness(sorted(found, key=lambda v: -v.cycles), _same)


def _same(a: Verdict, b: Verdict) -> bool:
    gains = [max((w.gain for w in v.what_ifs if w.cause == a.binds), default=0.0) for v in (a, b)]
    return a.binds == b.binds and a.cycles - b.cycles <= ALIKE * a.cycles and abs(gains[0] - gains[1]) <= ALIKE


def saved(gain: float, drawn_from: str = WHOLE) -> str:
    """A gain in words, the only place where it becomes some."""
    share, bound = (f"{gain:.1%} less", "at most") if gain >= 0 else (f"{-gain:.1%} more", "at least")
    return share if drawn_from == WHOLE else f"{bound} {share}"


def judge(
    spec: RunSpec,
    devices: Sequence[tuple[DeviceFigures, Trace]],
    jobs: Jobs = 1,
    progress: Progress = unwatched,
    store: Path | str = ":memory:",
) -> list[Verdict]:
    """Judge devices of a run by their what-ifs, then try what may help the slowest of those that are bound alike.

    Up to `jobs` processes run side by side; nothing is run twice, nor what the file `store` holds, which keeps what is run.

    Raises:
        ValueError: the run has no trace.
        StoreError: the store cannot be read or written.
        WorkerError: a worker process died.
    """
    with closing(Store(store)) as kept:
        return _judge(spec, devices, _remembering(kept, jobs, progress))


def _judge(spec: RunSpec, devices: Sequence[tuple[DeviceFigures, Trace]], run: Runs) -> list[Verdict]:
    relieved = [list(reliefs(spec, d.ring_id, d.servers, budget(trace))) for d, trace in devices]
    cycles = iter(run([(relief.spec, d.ring_id) for (d, _), some in zip(devices, relieved, strict=True) for relief in some]))
    found = [
        verdict(d.ring_id, d.cycles, [*(what_if(relief, d.cycles, next(cycles)) for relief in some), *bounds(spec, d)])
        for (d, _), some in zip(devices, relieved, strict=True)
    ]
    slowest = {_alike(v): v for v in sorted(found, key=lambda v: (v.cycles, -v.ring_id))}
    tried = _try({v.ring_id: v for v in slowest.values()}, spec, run)
    told = [trust(spec, d.model_dump()).text for d, _ in devices]
    return [replace(_advised(v, slowest[_alike(v)].ring_id, tried), trust=t) for v, t in zip(found, told, strict=True)]


def _remembering(store: Store, jobs: Jobs, progress: Progress) -> Runs:
    """What runs specs on ring positions, as far as the store does not know them, and gives the devices' cycles."""

    def run(wanted: Sequence[tuple[RunSpec, int]]) -> list[int]:
        new = {(spec.model_dump_json(), r): (spec, r) for spec, r in wanted if store.get("device", r, spec) is None}
        calls = list(new.values())

        def keep(index: int, cycles: float) -> None:
            spec, ring_id = calls[index]
            store.put("device", ring_id, spec, cycles)

        pairs = [chunk_pairs(spec) for spec, _ in calls]
        run_all(measure, [("device", spec, ring_id) for spec, ring_id in calls], jobs, progress, pairs, keep)
        return [int(found) for spec, r in wanted if (found := store.get("device", r, spec)) is not None]

    return run


# -- what binds ---------------------------------------------------------------------------------------------


def what_if(relief: Relief, wall: int, cycles: int) -> RelievedRun:
    """The outcome of a relief's run."""
    return RelievedRun(relief.cause, relief.change, cycles, 1 - cycles / wall)


def bounds(spec: RunSpec, device: DeviceFigures) -> Iterator[RelievedRun]:
    """What no run can tell: where cores have unequal work, the wall if all of them ended at the mean of their ends."""
    steps, ends = device.steps_per_core, device.kernel_cycles_per_core
    if steps.max > steps.mean and not spec.what_if.deal:
        change = f"{steps.mean:.1f} steps for every core at work, not up to {steps.max}"
        yield RelievedRun(STRAGGLER, change, round(ends.mean), 1 - ends.mean / device.cycles, EVEN_ENDS)


def verdict(ring_id: int, cycles: int, outcomes: Sequence[RelievedRun]) -> Verdict:
    """Blame the cause whose relief saves most; a single bank rather than all of them, if it alone saves nearly as much."""
    ranked = sorted(outcomes, key=lambda w: (w.cause in UNBLAMED, -_weight(w, outcomes)))
    blamed = [w for w in ranked if w.cause not in UNBLAMED and w.gain >= NOTICEABLE]
    if not blamed:
        text = "Nothing binds it alone: no relief of a single resource saves a percent."
        return Verdict(ring_id, cycles, NOBODY, "shared", text, ranked)
    first = blamed[0]
    others = [w for w in blamed[1:] if _kind(w.cause) != _kind(first.cause)]
    sure = _sureness(first.gain / others[0].gain) if others else "sure"
    if sure == "sure" and first.drawn_from != WHOLE:
        sure = "likely"
    return Verdict(ring_id, cycles, first.cause, sure, _text(first, others, sure), ranked)


def _weight(w: RelievedRun, outcomes: Sequence[RelievedRun]) -> float:
    one_bank = any(o.cause.startswith("DRAM bank ") and o.gain > 0.8 * w.gain for o in outcomes)
    return w.gain * (0.8 if w.cause == BANKS and one_bank else 1.0)


def _kind(cause: str) -> str:
    return "DRAM" if cause.startswith("DRAM") else cause


def _sureness(ratio: float) -> str:
    return "sure" if ratio >= CLEAR else "likely" if ratio >= LIKELY else "shared"


def _text(first: RelievedRun, others: Sequence[RelievedRun], sure: str) -> str:
    how = {"sure": "Bound by", "likely": "Most likely bound by", "shared": "Bound by several, first by"}[sure]
    text = f"{how} {first.cause}: with {first.change}, the device takes {first.saved}."
    return f"{text} Next: {others[0].cause}, {others[0].saved}." if others else text


# -- what helps ---------------------------------------------------------------------------------------------


def _causes(v: Verdict) -> tuple[str, ...]:
    """The two causes that save most, and all others that count."""
    ranked = [_kind(w.cause) for w in v.what_ifs if w.cause not in UNBLAMED]
    noticed = [_kind(w.cause) for w in v.what_ifs if w.cause not in UNBLAMED and w.gain >= NOTICEABLE]
    return tuple(dict.fromkeys([*dict.fromkeys(ranked)][:2] + noticed))


def _alike(v: Verdict) -> tuple[str, ...]:
    """Devices of one value are bound alike: by the same two causes."""
    return _causes(v)[:2]


def _try(verdicts: dict[int, Verdict], spec: RunSpec, run: Runs) -> dict[int, tuple[Tried, ...]]:
    """Run what may help each device, as far as its least cycles do not rule that out."""
    found = {ring_id: list(remedies(spec, ring_id, _causes(v))) for ring_id, v in verdicts.items()}
    in_vain = {r: [m for m in some if m.least > (1 - NOTICEABLE) * verdicts[r].cycles] for r, some in found.items()}
    hopeful = {r: [m for m in some if m not in in_vain[r]][:MOST_TRIED] for r, some in found.items()}
    cycles = iter(run([(remedy.spec, r) for r, some in hopeful.items() for remedy in some]))
    return {
        r: (
            *sorted((_tried(m, verdicts[r].cycles, next(cycles), WHOLE) for m in some), key=lambda t: -t.gain),
            *(_tried(m, verdicts[r].cycles, m.least, LEAST_CYCLES) for m in in_vain[r]),
        )
        for r, some in hopeful.items()
    }


def _tried(remedy: Remedy, wall: int, cycles: int, drawn_from: str) -> Tried:
    return Tried(remedy.text, remedy.change, cycles, 1 - cycles / wall, drawn_from, remedy.note)


def _advised(v: Verdict, slowest: int, tried: dict[int, tuple[Tried, ...]]) -> Verdict:
    if v.ring_id != slowest:
        return replace(v, text=f"{v.text} What helps: tried on device {slowest}, which is bound by the same.", like=slowest)
    return replace(v, text=f"{v.text} {_help(tried[slowest])}", tried=tried[slowest])


def _help(tried: Sequence[Tried]) -> str:
    """What helps, the most first; and what was tried and does not."""
    helping = [f"{t.text}, {t.saved} (tried{f'; {t.note}' if t.note else ''})" for t in tried if t.helps]
    rest = ", ".join(t.text + _why_not(t) for t in tried if not t.helps)
    if not helping:
        return f"Nothing that was tried helps: {rest}." if rest else "There is no legal change to try."
    return f"What helps: {'; '.join(helping)}." + (f" What does not: {rest}." if rest else "")


def _why_not(t: Tried) -> str:
    if t.drawn_from != WHOLE:
        return " (by its least cycles)"
    return f" ({t.saved})" if t.gain >= NOTICEABLE else ""
