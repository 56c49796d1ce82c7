"""`simulate`: run the op on its device or on every device of its ring, here or in worker processes, and gather what came out."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tensix_sim
from tensix_sim.accuracy import Accuracy
from tensix_sim.config import RunSpec
from tensix_sim.device import DeviceFigures, DeviceRun, judged, run_device, run_together, slabs_of
from tensix_sim.doctor.records import Violation
from tensix_sim.doctor.report import Report
from tensix_sim.files import write_json
from tensix_sim.formats import Values
from tensix_sim.gather.tail import Tail, run_tail, tail_problems
from tensix_sim.host import peak_memory_bytes
from tensix_sim.hw import SimulationError
from tensix_sim.identity import run_id, values_digest
from tensix_sim.job import IllegalConfigError, Job
from tensix_sim.sdpa.inputs import InputValues, RunNumbers, input_misfits
from tensix_sim.text import Shown, counted
from tensix_sim.trace import SCHEMA, SUMMARY, Run, Trace, opens_in_a_viewer, whole_folder, write_traces
from tensix_sim.trust import Trust, trust
from tensix_sim.workers import PROCESSES, Jobs, Progress, run_all, unwatched, worker_processes

STEP_SECONDS, TILE_SECONDS = 5e-5, {"off": 0.0, "fast": 6e-5, "exact": 1e-3}  # of a K chunk, and of a tile of its scores
WORTH_PROCESSES = 0.5  # seconds of work


@dataclass(repr=False)
class Result(Shown):
    """A finished run, one `DeviceRun` for each simulated ring position, or for position 0 where there is no ring."""

    job: Job
    runs: list[DeviceRun]
    wall_seconds: float = 0.0  # of this computer; 0 where nobody measured
    peak_rss_bytes: int = 0
    error: dict[str, Any] | None = None  # `error.Explanation`, where one was asked for
    tail: Tail | None = None
    values: str = ""  # `identity.values_digest` of its inputs

    def __repr__(self) -> str:
        slowest = max(self.devices, key=lambda d: d.cycles)
        times = f"{slowest.cycles:,} cycles, {slowest.duration_us:,.1f} us"
        error = f", rel L2 {self.accuracy.rel_l2:.2%}" if self.accuracy else ""
        return f"Result({self.spec.op} on {self.spec.board}: {counted(len(self.runs), 'device')}, {times}{error})"

    def frame(self, of: Literal["devices", "waits", "servers"] = "devices", by: str | None = None) -> Any:
        """A table as a DataFrame: see `trace.Run.frame`."""
        return self.as_run().frame(of, by)

    @property
    def spec(self) -> RunSpec:
        """What was run."""
        return self.job.spec

    @property
    def report(self) -> Report:
        """What `check` says of it."""
        return self.job.report

    @property
    def id(self) -> str:
        """What all files of the run have in them; the same for the same input."""
        return run_id(self.spec, self.values, self.tail is not None, self.error is not None)

    @property
    def devices(self) -> list[DeviceFigures]:
        """Figures, in ring order."""
        return [run.device for run in self.runs]

    @property
    def outputs(self) -> dict[int, Values]:
        """Output [B, NQH, S / R, DH] by ring position.

        Raises:
            ValueError: the run had numerics off.
        """
        outputs = {run.device.ring_id: run.output for run in self.runs if run.output is not None}
        if not outputs:
            raise ValueError("numerics is off: the run computed cycles, not numbers; set numerics: fast")
        return outputs

    @property
    def joint_outputs(self) -> dict[int, Values]:
        """Output of the joint rows [B, NQH, L, DH] by ring position, each of them the whole of it; empty where there are none."""
        return {run.device.ring_id: run.joint for run in self.runs if run.joint is not None}

    @property
    def trace(self) -> dict[int, Trace]:
        """Trace by ring position."""
        return {run.device.ring_id: run.trace for run in self.runs}

    @property
    def accuracy(self) -> Accuracy | None:
        """Agreement of all simulated rows with float64 attention, suspect if a device's is; None with numerics off."""
        if all(run.moments is None for run in self.runs):
            return None
        together, by_device = judged(self.runs), [d.accuracy for d in self.devices if d.accuracy]
        worst = [a.place for a in by_device if a.place and together.place and a.place.device == together.place.device]
        suspect = any(a.suspect for a in by_device)
        return together.model_copy(update={"suspect": suspect, "place": worst[0] if suspect else together.place})

    @property
    def trust(self) -> Trust:
        """How far times of this kind were from silicon, judged by the slowest device."""
        return trust(self.spec, max(self.devices, key=lambda d: d.cycles).model_dump())

    def gathered(self) -> Values:
        """The whole output in sequence order, [B, NQH, S, DH].

        Raises:
            ValueError: numerics were off, or not every ring position was simulated.
        """
        g, outputs = self.job.geometry, self.outputs
        missing = sorted(set(range(g.R)) - set(outputs))
        if missing:
            raise ValueError(f"ring positions {missing} were not simulated; set ring_ids: all")
        whole = np.empty((g.B, g.NQH, g.S, g.E * 32), np.float32)
        for ring_id, output in outputs.items():
            for rows, mine in slabs_of(g, ring_id):
                whole[:, :, rows] = output[:, :, mine]
        return whole

    def as_run(self) -> Run:
        """The run as `trace.open_run` reads it back from its folder."""
        return Run(self.summary(), self.trace, self.tail.traces if self.tail else {})

    def summary(self) -> dict[str, Any]:
        """What `run --json` writes."""
        return {
            "run": self.id,
            "version": tensix_sim.__version__,
            "schema": SCHEMA,
            "spec": self.spec.model_dump(mode="json"),
            "effective": self.report.effective,
            "devices": [device.model_dump(mode="json") for device in self.devices],
            "accuracy": self.accuracy.model_dump() if self.accuracy else None,
            "trust": self.trust.model_dump(),
            **({"error": self.error} if self.error else {}),
            **({"tail": self.tail.summary()} if self.tail else {}),
            "wall_seconds": self.wall_seconds,
            "peak_rss_bytes": self.peak_rss_bytes,
        }

    @property
    def opens_in_a_viewer(self) -> bool:
        """Whether its traces are short enough for Perfetto to open them."""
        return opens_in_a_viewer([*self.trace.items(), *self._tails])

    @property
    def _tails(self) -> list[tuple[int, Trace]]:
        """Traces of the tail, by ring position."""
        return list(self.tail.traces.items()) if self.tail else []

    def write(self, folder: str | PathLike[str]) -> None:
        """Write the files of `write_into` as `folder`, which takes the place of an older one whole, or not at all.

        Raises:
            OSError: it cannot be written, or an older one has files that no run writes; nothing changed.
        """
        with whole_folder(Path(folder)) as new:
            self.write_into(new)

    def write_into(self, folder: Path) -> None:
        """Write what `trace.write_traces` does, and `summary.json`, which is what `run --json` writes, into an empty folder.

        All have the run's id.
        """
        clock_hz = self.job.machine.chip.clock_hz
        write_traces(folder, sorted(self.trace.items()), clock_hz, self.id, self._tails)
        write_json(folder / SUMMARY, self.summary())


def simulate(
    spec: RunSpec | dict[str, Any] | str | Path,
    jobs: Jobs = 1,
    progress: Progress = unwatched,
    inputs: InputValues | None = None,
    gather: bool = False,
) -> Result:
    """Run the op on the devices that the spec names; with `gather`, then what a model does to have the whole sequence on each.

    With `jobs` > 1 the devices run in that many processes, where that takes less time, and with an address on a Dask cluster; the
    result is the same to the bit.
    `progress` is called now and then with the share that is done, 0 to 1. `inputs` are values of the spec's shapes, in place of
    those that its seed or its files would give.

    Raises:
        IllegalConfigError: the spec is illegal, or its formats cannot hold `inputs`; lists every violation.
        SimulationError: the simulated program failed, by a deadlock for example.
        WorkerError: a worker process died.
        ValueError: there is nothing to gather, or no way to; says why.
    """
    job = Job.of(spec)
    if inputs is not None and job.spec.numerics != "off" and (wrong := input_misfits(job.spec, inputs)):
        found = (Violation(found={f"inputs.{name}": "given"}, rule=rule) for name, rule in wrong.items())
        raise IllegalConfigError(Report(violations=tuple(found)))
    if gather and (problems := tail_problems(job)):
        raise ValueError("; ".join(problems))
    began = time.perf_counter()
    values = values_digest(job.spec, inputs.given if inputs else ())
    count, numbers = len(job.ring_ids), RunNumbers(inputs)
    if job.together:
        runs = run_together(job, progress, numbers)
    elif isinstance(jobs, str):
        runs = run_all(run_device, [(job, r, unwatched, numbers) for r in job.ring_ids], jobs, progress)
    elif min(jobs, count) > 1 and _seconds(job) > WORTH_PROCESSES:
        runs = _in_processes(job, jobs, progress, numbers)
    else:
        runs = [run_device(job, r, _part(progress, i, count), numbers) for i, r in enumerate(job.ring_ids)]
    tail = run_tail(job, [run.device.cycles for run in runs], [run.output for run in runs]) if gather else None
    result = Result(job, runs, time.perf_counter() - began, peak_memory_bytes(), tail=tail, values=values)
    _check_gathered(result)
    return result


def _check_gathered(result: Result) -> None:
    """Hold the tail to its purpose: every device has what `gathered()` puts together.

    Raises:
        SimulationError: one has not.
    """
    outputs = result.tail.outputs if result.tail else []
    if not outputs or outputs[0] is None:
        return
    whole = result.gathered()
    for i, output in enumerate(outputs):
        assert output is not None
        wrong = int((output != whole).any(axis=(0, 1, 3)).sum())
        if wrong:
            raise SimulationError(f"device {i}: {wrong} of {whole.shape[2]} rows are not those of the sequence after the gathers")


def _seconds(job: Job) -> float:
    """About the seconds that a job takes in one process."""
    g, numerics = job.geometry, job.spec.numerics
    steps = sum(g.steps(core, ring_id) for ring_id in job.ring_ids for core in range(g.cores))
    return steps * (STEP_SECONDS + g.M * g.N * TILE_SECONDS[numerics])


def _part(whole: Progress, i: int, parts: int) -> Progress:
    """Progress of the i-th of some equal parts."""
    return lambda share: whole((i + share) / parts)


_shares: Any = None


def _start_worker(shares: "Synchronized[Any]") -> None:
    global _shares
    _shares = shares


def _work(job: Job, ring_id: int, slot: int, numbers: RunNumbers) -> DeviceRun:
    def progress(share: float) -> None:
        _shares[slot] = share

    return run_device(job, ring_id, progress, numbers)


def _in_processes(job: Job, jobs: int, progress: Progress, numbers: RunNumbers) -> list[DeviceRun]:
    count = len(job.ring_ids)
    shares = PROCESSES.Array("d", count, lock=False)
    with worker_processes(min(jobs, count), _start_worker, (shares,)) as submit:
        pending: set[Future[DeviceRun]] = set(
            futures := submit(_work, [(job, r, i, numbers) for i, r in enumerate(job.ring_ids)])
        )
        while pending:
            done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            progress(sum(shares) / count)
    return [future.result() for future in futures]
