"""`simulate`: run the op on its device or on every device of its ring, here or in worker processes, and gather what came out."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

import tensix_sim
from tensix_sim.accuracy import Accuracy, Moments, Pieces, compare_with_reference, total
from tensix_sim.config import RunSpec
from tensix_sim.doctor.records import Violation
from tensix_sim.doctor.report import Report
from tensix_sim.expected import Errors, TileRow, judge, recomputed
from tensix_sim.files import write_json
from tensix_sim.formats import TILE, Values
from tensix_sim.gather.tail import Tail, run_tail, tail_problems
from tensix_sim.host import peak_memory_bytes
from tensix_sim.hw import Chip, SimulationError
from tensix_sim.hw.figures import Traffic, busy_shares
from tensix_sim.identity import run_id, values_digest
from tensix_sim.job import IllegalConfigError, Job
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import Contexts, last_end, mean_waits, of_core, record_bytes
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.inputs import AS_GIVEN, InputValues, RunNumbers, input_misfits
from tensix_sim.sdpa.program import output_rows
from tensix_sim.text import Shown, counted
from tensix_sim.trace import SCHEMA, SUMMARY, Run, Trace, WaitKey, opens_in_a_viewer, whole_folder, write_traces
from tensix_sim.trust import Trust, trust
from tensix_sim.workers import PROCESSES, Jobs, Progress, run_all, unwatched, worker_processes

STEP_SECONDS, TILE_SECONDS = 5e-5, {"off": 0.0, "fast": 6e-5, "exact": 1e-3}  # of a K chunk, and of a tile of its scores
WORTH_PROCESSES = 0.5  # seconds of work
WHOLE_SCORES = 2**26  # of a device: float64 attention of more takes over a second, and is then of a sample


class Spread(BaseModel):
    """Smallest, mean and largest value over cores."""

    model_config = ConfigDict(frozen=True)

    min: int
    mean: float
    max: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Spread of some values; all zero where there are none."""
        return cls(min=min(values), mean=sum(values) / len(values), max=max(values)) if values else cls(min=0, mean=0.0, max=0)


class DeviceFigures(BaseModel):
    """What the op did on one device. Engine cycles and waits are means over the active cores.

    `servers` gives the share of the time for which each DRAM bank, NoC link and core port moved data; none without a trace.
    """

    model_config = ConfigDict(frozen=True)

    ring_id: int
    cycles: int
    duration_us: float
    kernel_cycles_per_core: Spread
    active_cores: int
    steps_per_core: Spread
    masked_steps: int
    fpu_cycles: float
    sfpu_cycles: float
    math_cycles: float
    unpack_cycles: float
    pack_cycles: float
    dram_read_bytes: int
    dram_write_bytes: int
    l1_write_bytes: int
    dram_utilization: float
    noc_utilization: float
    busiest_server: str
    busiest_server_utilization: float
    servers: dict[str, float]
    ideal_cycles: int
    math_utilization: float
    waits: dict[WaitKey, float]
    accuracy: Accuracy | None

    def __repr__(self) -> str:
        times = f"{self.cycles:,} cycles, {self.duration_us:,.1f} us"
        return f"DeviceFigures(device {self.ring_id}: {times}, {counted(self.active_cores, 'core')})"


@dataclass
class DeviceRun:
    """A device's figures, trace and bytes over time, and its output [B, NQH, S / R, DH], R being 1 without a ring.

    With numerics off there is no output. Its accuracy is judged by the rows `recomputed`.
    """

    device: DeviceFigures
    output: Values | None
    trace: Trace
    moments: Moments | None
    recomputed: list[TileRow]


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
    def trace(self) -> dict[int, Trace]:
        """Trace by ring position."""
        return {run.device.ring_id: run.trace for run in self.runs}

    @property
    def accuracy(self) -> Accuracy | None:
        """Agreement of all simulated rows with float64 attention, suspect if a device's is; None with numerics off."""
        moments = [run.moments for run in self.runs if run.moments is not None]
        if not moments:
            return None
        judged = judge(total(moments).accuracy(), [row for run in self.runs for row in run.recomputed])
        return judged.model_copy(update={"suspect": any(d.accuracy.suspect for d in self.devices if d.accuracy)})

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
            for i, rows in enumerate(g.slabs(ring_id)):
                whole[:, :, rows] = output[:, :, i * g.Sc : (i + 1) * g.Sc]
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
        """Whether its traces are short enough for Chrome JSON to be opened."""
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
    values = values_digest(job.spec, (inputs.q, inputs.k, inputs.v, inputs.page_table) if inputs else ())
    count, numbers = len(job.ring_ids), RunNumbers(inputs)
    if isinstance(jobs, str):
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


def run_device(
    job: Job, ring_id: int, progress: Progress = unwatched, numbers: RunNumbers = AS_GIVEN, only: int | None = None
) -> DeviceRun:
    """Simulate one device of a job, or one core of it, `only`, with the others idle.

    Kernels are watched if there are values, or once they have failed: it is then that where and why is said best.
    """
    try:
        return _run_device(job, ring_id, progress, numbers, only, watched=False)
    except SimulationError:
        if job.spec.numerics != "off":
            raise
    return _run_device(job, ring_id, progress, numbers, only, watched=True)


def _run_device(job: Job, ring_id: int, progress: Progress, numbers: RunNumbers, only: int | None, watched: bool) -> DeviceRun:
    g, inputs = job.geometry, numbers.of(job.spec)
    program = job.program(ring_id, replace(numbers, inputs=inputs or numbers.inputs), only)
    trace = Trace(job.spec.trace)
    trace.notes["queue_id"] = str(job.spec.queue_id)
    launch = job.machine.chip.launch_cycles if job.spec.launch == "modelled" else 0
    chip = Chip(job.machine, program, trace, watched=watched, launch=launch)
    (out,) = program.outputs
    chip.on_write = _share_of(progress, out.pages)
    whole = only is None
    accuracy, again = None, []
    with threadpool_limits(1), np.errstate(all="ignore"):  # what overflows is found in the output
        (contexts,) = run(chip, whole=whole)
        output = moments = None
        if inputs is not None:
            assert out.values is not None
            output = output_rows(g, out.values)
            if whole:
                _check_finite(g, ring_id, output)
            moments, by_row = _moments(g, ring_id, inputs, output, job.spec.reference == "whole")
            if whole and numbers.quantised and not numbers.ideal:
                again = recomputed(g, program.compute, job.machine, ring_id, inputs, output, by_row)
            accuracy = judge(moments.accuracy(), again)
    figures = _figures(g, chip, ring_id, contexts, accuracy, only)
    record_bytes(chip)
    return DeviceRun(figures, output, trace, moments, again)


def _share_of(progress: Progress, pages: int) -> Callable[[int], None]:
    """What counts the pages that are written, and tells their share."""
    done = 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        progress(done / pages)

    return count


def _check_finite(g: Geometry, ring_id: int, output: Values) -> None:
    """Hold an output [B, NQH, rows, DH] to being finite, as attention of finite inputs is.

    Raises:
        SimulationError: it is not; names the first place, and the core that it comes from.
    """
    finite = np.isfinite(output)
    if finite.all():
        return
    b, head, row, column = (int(i) for i in np.unravel_index(int(finite.argmin()), finite.shape))
    slab, within = divmod(row, g.Sc)
    chunk = b * g.NQH + head, within // (g.M * TILE)
    core = next(i for i in range(g.cores) if chunk in g.deal.places(i))
    page = ((b * g.NQH + head) * g.phases + slab) * g.Sqt + within // TILE
    raise SimulationError(
        f"device {ring_id}: the output has {output[b, head, row, column]} at batch {b}, head {head}, "
        f"row {g.slabs(ring_id)[slab].start + within}, column {column} (page {page * g.E + column // TILE}, "
        f"core ({core % g.grid[0]},{core // g.grid[0]})), where attention in float64 is finite; "
        f"{finite.size - int(np.count_nonzero(finite)):,} of {finite.size:,} values are not"
    )


def _moments(g: Geometry, ring_id: int, inputs: InputValues, output: Values, whole: bool) -> tuple[Moments, Errors]:
    """Moments of the rows that are compared, and the relative L2 error of each row [B, NQH, rows], NaN where it is not."""
    parts, by_row = [], np.full(output.shape[:3], np.nan)
    whole = whole or g.M == 1 or by_row.size * g.Sk <= WHOLE_SCORES
    for i, rows in enumerate(g.slabs(ring_id)):
        mine = slice(i * g.Sc, (i + 1) * g.Sc)
        for b in range(g.B):
            seen = inputs.q[b][:, rows], inputs.k[b], inputs.v[b], output[b][:, mine], g.prefix + rows.start, g.scale
            first = g.q_offsets(ring_id)[i] + b * g.NQH
            pieces = None if whole else [_sample(g, first + head) for head in range(g.NQH)]
            parts.append(compare_with_reference(*seen, g.left, g.right, by_row[b][:, mine], pieces))
    return replace(total(parts), whole=by_row.size), by_row


def _sample(g: Geometry, first: int) -> Pieces:
    """One tile row of each Q chunk of a slab: the `first` of the first one, counted round it, and in each chunk the next."""
    chunks = (range(g.Sqt)[start : start + g.M] for start in range(0, g.Sqt, g.M))
    tile_rows = (chunk[(first + i) % len(chunk)] for i, chunk in enumerate(chunks))
    return [(t * TILE, min((t + 1) * TILE, g.Sc)) for t in tile_rows]


def _figures(
    g: Geometry, chip: Chip, ring_id: int, contexts: Contexts, accuracy: Accuracy | None, only: int | None
) -> DeviceFigures:
    program, routes = chip.program, chip.hardware.routes
    ends = [last_end(of_core(contexts, core)) if only in (None, i) else 0 for i, core in enumerate(program.cores)]
    cycles = max(ends)
    active = [i for i in range(g.cores) if g.deal.count(i) and only in (None, i)]
    cores = [chip.cores[program.cores[i]] for i in active]
    steps = [g.steps(i, ring_id) for i in active]

    def mean(what: str) -> float:
        return sum(core.tensix.total(what) for core in cores) / len(cores)

    return DeviceFigures(
        ring_id=ring_id,
        cycles=cycles,
        duration_us=cycles / chip.machine.chip.clock_hz * 1e6,
        kernel_cycles_per_core=Spread.of([ends[i] for i in active]),
        active_cores=len(active),
        steps_per_core=Spread.of(steps),
        masked_steps=sum(g.masked_steps(i, ring_id) for i in active),
        fpu_cycles=mean("fpu"),
        sfpu_cycles=mean("sfpu"),
        math_cycles=mean("fpu") + mean("sfpu") - mean("overlap"),
        unpack_cycles=mean("unpack_busy") + mean("popping"),
        pack_cycles=mean("pack_busy"),
        **Traffic.of(routes, cycles)._asdict(),
        servers=busy_shares(routes, cycles) if chip.trace.zones else {},
        ideal_cycles=g.ideal_cycles,
        math_utilization=g.ideal_cycles / cycles,
        waits=mean_waits(contexts, cores),
        accuracy=accuracy,
    )


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
