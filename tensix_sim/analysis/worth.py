"""Is ring-distributed SDPA worth it? Its time with the tail that a model needs behind it, beside plain SDPA's on every device."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensix_sim.config import RunSpec
from tensix_sim.gather.tail import tail_problems
from tensix_sim.job import IllegalConfigError, Job
from tensix_sim.sdpa.op import SDPA
from tensix_sim.simulation import simulate
from tensix_sim.trust import tells
from tensix_sim.user_errors import UsageError
from tensix_sim.workers import Jobs, Progress, run_all, unwatched


@dataclass(frozen=True)
class Worth:
    """One sequence length: microseconds of plain SDPA, of the slowest device of the ring, and of split, gathers and concat.

    A `problem` says why there is nothing to compare at that length.
    """

    seq_len: int
    plain_us: float = 0.0
    ring_us: float = 0.0
    tail_us: float = 0.0
    problem: str | None = None

    @property
    def gain(self) -> float:
        """How many times as fast the ring is, tail included; 0 where it cannot be compared."""
        return self.plain_us / (self.ring_us + self.tail_us) if self.problem is None else 0.0

    @property
    def clear(self) -> bool:
        """Whether the two differ by more than predicted ratios are off."""
        return self.problem is None and tells(self.plain_us, self.ring_us + self.tail_us)


def worth(specs: Sequence[RunSpec], jobs: Jobs = 1, progress: Progress = unwatched) -> list[Worth]:
    """Compare each spec of a ring with plain SDPA of the same inputs and configs, in cycles alone.

    Raises:
        UsageError: a spec is of no ring, or of one that has no tail or no plain counterpart.
    """
    for spec in specs:
        problems = tail_problems(Job.legal(spec))
        if spec.paged_kv or spec.prefix:
            problems.append("a prefix in a paged cache has no plain sdpa beside it: leave out paged_kv and chunk_start_idx")
        if problems:
            raise UsageError("; ".join(problems))
    return run_all(measure, [(spec,) for spec in specs], jobs, progress, [spec.inputs.seq_len**2 for spec in specs])


def measure(spec: RunSpec) -> Worth:
    """Both at one length."""
    timed = spec.model_copy(update={"numerics": "off", "trace": "off"})
    try:
        ring, alone = simulate(timed, gather=True), simulate(plain(timed))
    except IllegalConfigError as error:
        return Worth(spec.inputs.seq_len, problem=error.report.violations[0].message)
    assert ring.tail is not None
    ring_us = max(device.duration_us for device in ring.devices)
    return Worth(spec.inputs.seq_len, alone.devices[0].duration_us, ring_us, ring.tail.duration_us)


def plain(spec: RunSpec) -> RunSpec:
    """The same work by plain SDPA, which every device of a row then does whole."""
    return SDPA.adopt(spec)


def worth_from(found: Sequence[Worth]) -> int | None:
    """The least length from which on the ring is clearly the faster of the two at all lengths that were compared."""
    compared = sorted((w for w in found if w.problem is None), key=lambda w: w.seq_len)
    least = None
    for w in reversed(compared):
        if w.gain <= 1 or not w.clear:
            break
        least = w.seq_len
    return least
