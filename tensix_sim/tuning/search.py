"""Best first: the config that could still be the fastest is looked at next, and as long as it could be, more closely.

What is known of a config is the least that it can take. That starts with its products and bytes, rises with the time
of its busiest core alone, then with that of each device, and with the last of these it is the config's time. A config
that is beaten by then is never run.
"""

import heapq
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tensix_sim.config import RunSpec
from tensix_sim.doctor.load import Work
from tensix_sim.host import settled
from tensix_sim.job import Job
from tensix_sim.measure import Figure, error_of, measure
from tensix_sim.sdpa.geometry import spec_machine
from tensix_sim.sdpa.op import positions
from tensix_sim.store import Store
from tensix_sim.text import Shown, counted
from tensix_sim.trust import Trust, tells, trust
from tensix_sim.tuning.space import Config, Space, given_config, legal_configs, less_faithful
from tensix_sim.workers import Jobs, Workers, unwatched, workers

Telling = Callable[[float, str], None]  # is told the share that is done, and the best so far
SURE = 0.97  # of a core's time alone: by chance, others' requests may put its own in a better order; 0.5 % was seen


class Measured(BaseModel):
    """A config that was run. `settings` has its values of what the sweep varies; time is that of the slowest device.

    `rel_l2` is the relative L2 error of one head, of a shorter sequence if the spec's is long (see `measure.shortened`);
    `error_of` says of what.
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, Any]
    spec: RunSpec
    cycles: int
    microseconds: float
    active_cores: int
    l1_bytes: int
    rel_l2: float | None = None
    error_of: str = ""

    @property
    def words(self) -> str:
        """Its settings."""
        return ", ".join(f"{name} {value}" for name, value in self.settings.items())


class Tuning(Shown, BaseModel):
    """What a sweep found.

    `front`, the fastest first: no other config is as fast, as small in L1 and as accurate as one of these. `given` is
    the spec as it stood, None if it is illegal; `winner` is the fastest that is no less accurate than that. There were
    `legal` configs, of which `run` were begun, now or in an earlier sweep, with `device_runs` of their devices; of the
    others a bound says that they are beaten. Both depend on who was done first, so they are not dumped.

    `trust` is how far such times were from silicon; where the gain is within what predicted ratios are off, it is not
    `clear`, and the given config is as good. `less_faithful` is the winner with the next lower fidelity, if that does not vary.
    """

    model_config = ConfigDict(frozen=True)

    space: Space
    legal: int
    run: int = Field(default=0, exclude=True)
    device_runs: int = Field(default=0, exclude=True)
    front: tuple[Measured, ...]
    given: Measured | None
    winner: Measured
    less_faithful: Measured | None
    trust: Trust
    clear: bool | None

    def __repr__(self) -> str:
        gain = "" if self.gain is None else f", {self.gain:.2f} times as fast as the given config"
        return (
            f"Tuning({counted(self.legal, 'legal config')}; winner {self.winner.words}: {self.winner.microseconds:,.1f} us{gain})"
        )

    @property
    def recommended(self) -> Measured:
        """The winner, or the given config where the winner's gain is too small to tell."""
        return self.winner if self.given is None or self.clear else self.given

    @property
    def gain(self) -> float | None:
        """How many times as fast as the given config the winner is."""
        return self.given.cycles / self.winner.cycles if self.given else None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a sweep; `so_far` is what it had found, None if nothing. Its store has every run that had ended."""

    def __init__(self, so_far: Tuning | None) -> None:
        super().__init__()
        self.so_far = so_far


def tune(
    space: Space | RunSpec | dict[str, Any],
    jobs: Jobs = 1,
    store: Path | str = ":memory:",
    progress: Telling = unwatched,
    accuracy: bool = True,
    aside: bool = True,
) -> Tuning:
    """Find the fastest legal config of a space, and its Pareto front of time, L1 and accuracy.

    Of a spec alone both chunk sizes are free.

    `jobs` says where the runs go: to this process, so many others, or a Dask cluster; the answer is the same.
    What is measured is kept in the file `store`, and what is found there is not measured again. Without `accuracy` nothing
    is computed but cycles, and the front keeps configs apart by their fidelity, DST and data types. Unless fidelity varies,
    the winner is also run with the next lower one, `aside`.

    Raises:
        EmptySpaceError: no config is legal.
        StoreError: the store cannot be read or written.
        ClusterError, WorkerError: the cluster cannot be used, or a worker died.
        SimulationError: a simulated program failed.
        Interrupted: Ctrl-C.

    """
    if not isinstance(space, Space):
        space = Space.model_validate(space if isinstance(space, dict) and "spec" in space else {"spec": space})
    configs, given = legal_configs(space), given_config(space)
    with closing(Store(store)) as kept:
        sweep = _Sweep(space, configs, given, kept, progress)
        try:
            with settled(), workers(jobs) as on:
                sweep.measure_times(on)
                if accuracy:
                    sweep.measure_errors(on)
                if aside:
                    sweep.measure_less_faithful(on, accuracy)
        except KeyboardInterrupt:
            raise Interrupted(sweep.outcome() if sweep.measured else None) from None
    return sweep.outcome()


@dataclass(eq=False)
class _Candidate:
    """A config and what is known of it; `wanted` it is run whatever is known."""

    config: Config
    index: int
    wanted: bool
    in_space: bool
    least: float
    steps: int
    active_cores: int
    tasks: list[tuple[Figure, int]]
    cycles: list[int] = field(default_factory=list)
    missing: int = 0
    error: float | None = None

    @classmethod
    def of(cls, config: Config, index: int, wanted: bool, in_space: bool) -> "_Candidate":
        job = Job.legal(config.spec)
        ring_ids, work = job.ring_ids, Work(job.geometry)
        least, steps = work.floor(job.machine.chip, ring_ids).cycles, int(work.of_cores(work.steps)[ring_ids[0]].sum())
        tasks: list[tuple[Figure, int]] = [("alone", ring_ids[0]), *(("device", r) for r in ring_ids)]
        active = work.g.deal.active_cores
        return cls(config, index, wanted, in_space, least, steps, active, tasks, missing=len(ring_ids))

    @property
    def may_be_run(self) -> bool:
        """Whether nothing cheaper than a device is left to ask."""
        return not self.tasks or self.tasks[0][0] == "device"

    def beats(self, other: "_Candidate", within: float) -> bool:
        """Whether the other, whatever it takes, is slower and no better in anything else, or too slow to be of interest."""
        if not (self.in_space and self.config.as_accurate_as(other.config)):
            return False
        time = max(self.cycles)
        return time * within < other.least or (time < other.least and self.config.l1_bytes <= other.config.l1_bytes)


class _Task(NamedTuple):
    """One number to measure."""

    candidate: _Candidate
    what: Figure
    ring_id: int


class _Sweep:
    def __init__(self, space: Space, configs: list[Config], given: Config | None, store: Store, tell: Telling) -> None:
        self._space, self._store, self._tell = space, store, tell
        known = [given is not None and config.spec == given.spec for config in configs]
        self._candidates = [_Candidate.of(c, i, wanted, True) for i, (c, wanted) in enumerate(zip(configs, known, strict=True))]
        if given is not None and not any(known):
            self._candidates.append(_Candidate.of(given, len(configs), True, False))
        self._queue = [(c.least, c.index) for c in self._candidates]
        heapq.heapify(self._queue)
        self._running: dict[Future[float], _Task] = {}
        self._share = 0.0
        self.measured: list[_Candidate] = []
        self._less_faithful: _Candidate | None = None

    # -- time -------------------------------------------------------------------------------------------------

    def measure_times(self, on: Workers) -> None:
        """Run what could be on the front, until nothing else could."""
        self._work(on, self._next_time, self._learn_time)

    def _next_time(self) -> _Task | None:
        candidate = self._next()
        return _Task(candidate, *candidate.tasks.pop(0)) if candidate else None

    def _next(self) -> _Candidate | None:
        """The candidate to look at next: the one that may be the fastest; with none waiting, one whose devices are being run."""
        while self._queue:
            candidate = self._candidates[heapq.heappop(self._queue)[1]]
            if not self._beaten(candidate):
                return candidate
        running = [task.candidate for task in self._running.values() if task.what == "device"]
        others = [c for c in running if c.tasks and not self._beaten(c)]
        return min(others, key=lambda c: (c.least, c.index), default=None)

    def _beaten(self, candidate: _Candidate) -> bool:
        return not candidate.wanted and any(m.beats(candidate, self._space.within) for m in self.measured)

    def _learn_time(self, task: _Task, found: float) -> None:
        candidate = task.candidate
        candidate.least = max(candidate.least, found * SURE if task.what == "alone" else found)
        if task.what == "device":
            candidate.cycles.append(int(found))
            candidate.missing -= 1
        if not candidate.missing:
            self.measured.append(candidate)
        elif candidate.tasks and all(candidate is not other.candidate for other in self._running.values()):
            heapq.heappush(self._queue, (candidate.least, candidate.index))
        self._show_progress()

    def _show_progress(self) -> None:
        done = sum(len(c.cycles) * c.steps for c in self._candidates)
        left = sum(c.missing * c.steps for c in self._candidates if c.missing and c.may_be_run and not self._beaten(c))
        self._share = max(self._share, done / max(1, done + left))
        fastest = min((c for c in self.measured if c.in_space), key=lambda c: max(c.cycles), default=None)
        best = fastest and _measured(fastest)
        self._tell(self._share, f"(best so far {best.microseconds:,.0f} us with {best.words})" if best else "")

    # -- accuracy ---------------------------------------------------------------------------------------------

    def measure_errors(self, on: Workers) -> None:
        """Compute the numbers of what its settings put on the front, and of the given config; what these beat stays beaten."""
        self.measured = list({c.index: c for c in [*self._front(), *self._given()]}.values())
        tasks = iter([_Task(c, "error", 0) for c in self.measured])
        self._work(on, lambda: next(tasks, None), self._learn)

    def _learn(self, task: _Task, found: float) -> None:
        if task.what == "error":
            task.candidate.error = found
        else:
            task.candidate.cycles.append(int(found))

    # -- beside the space -------------------------------------------------------------------------------------

    def measure_less_faithful(self, on: Workers, accuracy: bool) -> None:
        """Run the winner with the next lower fidelity, which a user may want to trade."""
        config = None if "fidelity" in self._space.varied else less_faithful(self._space, self._winner().config)
        if config is None:
            return
        lower = _Candidate.of(config, len(self._candidates), wanted=False, in_space=False)
        whats: list[tuple[Figure, int]] = [("device", r) for r in positions(config.spec)]
        whats += [("error", 0)] * accuracy
        tasks = iter([_Task(lower, what, ring_id) for what, ring_id in whats])
        self._work(on, lambda: next(tasks, None), self._learn)
        self._less_faithful = lower

    # -- work -------------------------------------------------------------------------------------------------

    def _work(self, on: Workers, next_task: Callable[[], _Task | None], learn: Callable[[_Task, float], None]) -> None:
        """Keep the workers busy until there are no more tasks, and each result in the store before it is learned."""
        while True:
            while len(self._running) < on.count() and (task := next_task()):
                found = self._store.get(task.what, task.ring_id, task.candidate.config.spec)
                if found is None:
                    self._running[on.submit(measure, task.what, task.candidate.config.spec, task.ring_id)] = task
                else:
                    learn(task, found)
            if not self._running:
                return
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                task, found = self._running.pop(future), future.result()
                self._store.put(task.what, task.ring_id, task.candidate.config.spec, found)
                learn(task, found)

    # -- what came of it --------------------------------------------------------------------------------------

    def outcome(self) -> Tuning:
        """What is known; something must have been measured."""
        given, winner = self._given(), _measured(self._winner())
        before = _measured(given[0]) if given else None
        return Tuning(
            space=self._space,
            legal=sum(c.in_space for c in self._candidates),
            run=sum(bool(c.cycles) for c in self._candidates),
            device_runs=sum(len(c.cycles) for c in self._candidates),
            front=tuple(_measured(c) for c in self._front()),
            given=before,
            winner=winner,
            less_faithful=_measured(self._less_faithful) if self._less_faithful else None,
            trust=trust(winner.spec),
            clear=tells(before.cycles, winner.cycles) if before else None,
        )

    def _winner(self) -> _Candidate:
        """The fastest that is no less accurate than the given config, if there is any."""
        front, given = self._front(), self._given()
        as_good = [c for c in front if not given or _as_good(c, given[0])]
        return (as_good or front or given)[0]

    def _given(self) -> list[_Candidate]:
        return [c for c in self.measured if c.wanted]

    def _front(self) -> list[_Candidate]:
        """What nothing beats in time, L1 and accuracy, the fastest first."""
        ranked = sorted((c for c in self.measured if c.in_space), key=lambda c: (max(c.cycles), c.config.l1_bytes, c.index))
        front: list[_Candidate] = []
        for c in ranked:
            ahead = [other for other in front if _as_good(other, c)]
            if all(
                other.config.l1_bytes > c.config.l1_bytes and max(c.cycles) <= max(other.cycles) * self._space.within
                for other in ahead
            ):
                front.append(c)
        return front


def _as_good(one: _Candidate, other: _Candidate) -> bool:
    """Whether one is no less accurate than the other: by its error, to two digits, or else by its settings."""
    if one.error is not None and other.error is not None:
        return float(f"{one.error:.1e}") <= float(f"{other.error:.1e}")
    return one.config.as_accurate_as(other.config)


def _measured(c: _Candidate) -> Measured:
    cycles = max(c.cycles)
    return Measured(
        settings=c.config.settings,
        spec=c.config.spec,
        cycles=cycles,
        microseconds=cycles / spec_machine(c.config.spec).chip.clock_hz * 1e6,
        active_cores=c.active_cores,
        l1_bytes=c.config.l1_bytes,
        rel_l2=c.error,
        error_of="" if c.error is None else error_of(c.config.spec),
    )
