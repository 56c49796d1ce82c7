"""The verdict: what binds a device, found by running it again with one resource relieved at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensix_sim.analysis.budget import budget
from tensix_sim.analysis.reliefs import BANKS, BOUNDS, Relief, advice, reliefs
from tensix_sim.config import RunSpec
from tensix_sim.simulation import Device, run_device
from tensix_sim.trace import Trace
from tensix_sim.workers import Progress, run_all

NOTICEABLE = 0.01  # of the wall: a relief that saves less does not count
CLEAR, LIKELY = 1.5, 1.15  # times what the next cause saves
UNFINISHED = 1 << 30  # rounds: more than there are, of a run that leaves work out
NOBODY = "nothing"


@dataclass(frozen=True)
class RelievedRun:
    """A relieved run: its cycles, and the share of the wall that it saves."""

    cause: str
    change: str
    cycles: int
    gain: float


@dataclass(frozen=True)
class Verdict:
    """What binds a device, how sure that is ("sure", "likely" or "shared"), in words; what-ifs by gain, bounds at the end."""

    ring_id: int
    cycles: int
    binds: str
    sure: str
    text: str
    what_ifs: list[RelievedRun]


def judge(
    spec: RunSpec, devices: Sequence[tuple[Device, Trace]], jobs: int = 1, progress: Progress | None = None
) -> list[Verdict]:
    """Judge devices of a run by their what-ifs, in `jobs` processes.

    Raises:
        ValueError: the run has no trace.
        WorkerError: a worker process died.
    """
    tried = [list(reliefs(spec, d.ring_id, d.servers, budget(trace))) for d, trace in devices]
    calls = [(relief, d.ring_id) for (d, _), some in zip(devices, tried, strict=True) for relief in some]
    cycles = iter(run_all(_cycles, calls, jobs, progress))
    return [
        verdict(d.ring_id, d.cycles, [what_if(relief, d.cycles, next(cycles)) for relief in some])
        for (d, _), some in zip(devices, tried, strict=True)
    ]


def what_if(relief: Relief, wall: int, cycles: int) -> RelievedRun:
    """The outcome of a relief's run, drawn out to the whole work."""
    cycles = round(cycles * relief.scale)
    return RelievedRun(relief.cause, relief.change, cycles, 1 - cycles / wall)


def verdict(ring_id: int, cycles: int, outcomes: Sequence[RelievedRun]) -> Verdict:
    """Blame the cause whose relief saves most; a single bank rather than all of them, if it alone saves nearly as much."""
    ranked = sorted(outcomes, key=lambda w: (w.cause in BOUNDS, -_weight(w, outcomes)))
    blamed = [w for w in ranked if w.cause not in BOUNDS and w.gain >= NOTICEABLE]
    if not blamed:
        text = "Nothing binds it alone: no relief of a single resource saves a percent."
        return Verdict(ring_id, cycles, NOBODY, "shared", text, ranked)
    first = blamed[0]
    others = [w for w in blamed[1:] if _kind(w.cause) != _kind(first.cause)]
    sure = _sureness(first.gain / others[0].gain) if others else "sure"
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
    text = f"{how} {first.cause}: with {first.change}, the device takes {first.gain:.1%} less."
    if others:
        text += f" Next: {others[0].cause}, {others[0].gain:.1%}."
    return f"{text} What helps: {advice(first.cause)}."


def _cycles(relief: Relief, ring_id: int) -> int:
    return run_device(relief.spec, ring_id, lambda share: None, None if relief.whole else UNFINISHED).device.cycles
