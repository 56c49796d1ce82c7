"""A device of a run, or the devices of a ring together: simulated, and what came out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from tensix_sim.accuracy import Accuracy, Beyond, Moments, Pieces, compare_with_reference, total
from tensix_sim.expected import Errors, TileRow, judge, output_place, quantities, recomputed
from tensix_sim.first_wrong import Witness
from tensix_sim.formats import TILE, Values
from tensix_sim.gather.run import trace_bytes
from tensix_sim.hw import Chip, Engine, SimulationError
from tensix_sim.hw.fabric import Fabric
from tensix_sim.hw.figures import Traffic, busy_shares
from tensix_sim.job import Job
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import Contexts, last_end, mean_waits, of_core, record_bytes
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.inputs import AS_GIVEN, InputValues, RunNumbers
from tensix_sim.sdpa.program import output_rows
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.text import counted
from tensix_sim.trace import Trace, WaitKey
from tensix_sim.workers import Progress, unwatched

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

    `ethernet_bytes` are those of tiles that left over each link. `servers` gives the share of the time for which each DRAM bank,
    NoC link and core port moved data; none without a trace.
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
    ethernet_bytes: dict[str, int] = {}
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

    `joint` [B, NQH, L, DH] is that of joint rows, where there are any. With numerics off there is no output. Its accuracy is
    judged by the rows `recomputed`.
    """

    device: DeviceFigures
    output: Values | None
    trace: Trace
    moments: Moments | None
    recomputed: list[TileRow]
    joint: Values | None = None


def run_device(
    job: Job, ring_id: int, progress: Progress = unwatched, numbers: RunNumbers = AS_GIVEN, only: int | None = None
) -> DeviceRun:
    """Simulate one device of a job, or one core of it, `only`, with the others idle.

    Kernels are watched if there are values, or once they have failed: it is then that where and why is said best.
    """
    (run,) = _run((ring_id,), job, progress, numbers, only)
    return run


def run_together(job: Job, progress: Progress = unwatched, numbers: RunNumbers = AS_GIVEN) -> list[DeviceRun]:
    """Simulate all devices of a job whose K and V travel, on one clock: those that it names."""
    return _run(job.ring_ids, job, progress, numbers, None)


def _run(ring_ids: Sequence[int], job: Job, progress: Progress, numbers: RunNumbers, only: int | None) -> list[DeviceRun]:
    try:
        return _run_devices(ring_ids, job, progress, numbers, only, watched=False)
    except SimulationError:
        if job.spec.numerics != "off":
            raise
    return _run_devices(ring_ids, job, progress, numbers, only, watched=True)


def _run_devices(
    ring_ids: Sequence[int], job: Job, progress: Progress, numbers: RunNumbers, only: int | None, watched: bool
) -> list[DeviceRun]:
    given = replace(numbers, inputs=numbers.of(job.spec) or numbers.inputs)
    chips = _chips(ring_ids, job, given, only, watched)
    skew = job.spec.what_if.start_skew or [0] * len(chips)
    share = _share_of(progress, sum(out.pages for chip in chips.values() for out in chip.program.outputs))
    with threadpool_limits(1), np.errstate(all="ignore"):  # what overflows is found in the output
        for chip in chips.values():
            chip.on_write = share
        contexts = dict(zip(chips, run(*chips.values(), starts=skew, whole=only is None), strict=True))
        starts = dict(zip(chips, skew, strict=True))
        runs = [_device_run(job, r, chips[r], contexts[r], given, only, starts[r]) for r in ring_ids]
        if any(one.device.accuracy and one.device.accuracy.suspect for one in runs):
            _blame(job, given, runs)
        return runs


def _chips(ring_ids: Sequence[int], job: Job, numbers: RunNumbers, only: int | None, watched: bool) -> dict[int, Chip]:
    """The devices of a run on one clock, all whose K and V travel among them, or one alone that stands for all."""
    g, engine = job.geometry, Engine()
    alone = job.alike and len(ring_ids) == 1
    present = range(g.R) if job.op.travels and not alone else ring_ids
    chips = {r: _chip(job, r, numbers, only, engine, watched, alone) for r in present}
    if isinstance(g, RingGeometry):
        Fabric(list(chips.values()), engine, g.links, g.topology == "ring", present[0])
    return chips


def _blame(job: Job, numbers: RunNumbers, runs: Sequence[DeviceRun]) -> None:
    """Find where the most suspect of some devices is wrong from."""
    worst = judged(runs).place
    assert worst is not None
    (run,) = (run for run in runs if run.device.ring_id == worst.device)
    assert run.device.accuracy is not None
    place = worst.model_copy(update={"step": first_wrong(job, worst.device, numbers, worst)})
    run.device = run.device.model_copy(update={"accuracy": run.device.accuracy.model_copy(update={"place": place})})


def judged(runs: Sequence[DeviceRun]) -> Accuracy:
    """Agreement of devices' rows together with float64 attention, by all rows that were computed again."""
    moments = [run.moments for run in runs if run.moments is not None]
    return judge(total(moments).accuracy(), [row for run in runs for row in run.recomputed])


def first_wrong(job: Job, ring_id: int, numbers: RunNumbers, place: Beyond) -> str:
    """The step that made a place of a device's output wrong, by running all again."""
    chips = _chips(job.ring_ids if job.together else (ring_id,), job, numbers, None, True)
    program, core = chips[ring_id].program, chips[ring_id].cores[place.core]
    inputs = numbers.of(job.spec)
    assert inputs is not None
    witness = Witness(quantities(job.geometry, program.compute, job.machine, inputs, place))
    core.be_seen_by(witness)
    run(*chips.values(), starts=job.spec.what_if.start_skew or [0] * len(chips), whole=False)
    return witness.first_wrong


def _chip(job: Job, ring_id: int, numbers: RunNumbers, only: int | None, engine: Engine, watched: bool, alone: bool) -> Chip:
    """A device with its program."""
    trace = Trace(job.spec.trace)
    trace.notes["queue_id"] = str(job.spec.queue_id)
    launch = job.machine.chip.launch_cycles if job.spec.launch == "modelled" else 0
    label = f"device {ring_id} " if job.op.travels else ""
    return Chip(job.machine, job.program(ring_id, numbers, only, alone), trace, engine, label, watched, launch)


def _device_run(
    job: Job, ring_id: int, chip: Chip, contexts: Contexts, numbers: RunNumbers, only: int | None, start: int
) -> DeviceRun:
    """What came out of a device that has run, from its `start` on."""
    g, whole, inputs = job.geometry, only is None, numbers.of(job.spec)
    out, *behind = chip.program.outputs
    output = moments = accuracy = joint = None
    again: list[TileRow] = []
    if inputs is not None:
        assert out.values is not None
        output = output_rows(g, out.values)
        if whole:
            _check_finite(g, ring_id, output)
        moments, by_row = _moments(g, ring_id, inputs, output, job.spec.reference == "whole")
        if inputs.joint and behind[0].values is not None:
            joint = behind[0].values.reshape(g.B, g.NQH, -1, g.E * TILE)[:, :, : job.spec.joint_len]
            moments = total([moments, *_moments_of_joint(g, inputs, joint)])
        merged = job.op.travels and not g.blocks.streaming  # slice by slice, which is not computed again
        if whole and numbers.quantised and not numbers.ideal and not merged:
            again = recomputed(g, chip.program.compute, job.machine, ring_id, inputs, output, by_row)
        accuracy = judge(moments.accuracy(), again)
    figures = _figures(g, chip, ring_id, contexts, accuracy, only, start)
    record_bytes(chip)
    for name, link in chip.port.links_by_name().items() if chip.port else ():
        trace_bytes(chip.trace, name, link.sent)
    return DeviceRun(figures, output, chip.trace, moments, again, joint)


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
    page, core = output_place(g, b, head, slab, within // TILE)
    raise SimulationError(
        f"device {ring_id}: the output has {output[b, head, row, column]} at batch {b}, head {head}, "
        f"row {g.slabs(ring_id)[slab].start + within}, column {column} (page {page + column // TILE}, "
        f"core ({core[0]},{core[1]})), where attention in float64 is finite; "
        f"{finite.size - int(np.count_nonzero(finite)):,} of {finite.size:,} values are not"
    )


def _moments(g: Geometry, ring_id: int, inputs: InputValues, output: Values, whole: bool) -> tuple[Moments, Errors]:
    """Moments of the rows that are compared, and the relative L2 error of each row [B, NQH, rows], NaN where it is not."""
    parts, by_row = [], np.full(output.shape[:3], np.nan)
    whole = whole or g.M == 1 or by_row.size * g.Sk <= WHOLE_SCORES
    k, v = inputs.keys(g.Sk)
    for rows, mine in slabs_of(g, ring_id):
        for b in range(g.B):
            seen = inputs.q[b][:, rows], k[b], v[b], output[b][:, mine], g.prefix + rows.start, g.scale
            first = (rows.start + g.prefix) // (g.M * TILE) + b * g.NQH
            pieces = None if whole else [_sample(g, first + head, rows.stop - rows.start) for head in range(g.NQH)]
            mask = inputs.mask_of(b)
            parts.append(compare_with_reference(*seen, g.left, g.right, pieces, mask, inputs.sinks, by_row[b][:, mine]))
    return replace(total(parts), whole=by_row.size), by_row


def _moments_of_joint(g: Geometry, inputs: InputValues, output: Values) -> Iterator[Moments]:
    """Moments of the joint rows, which see all keys."""
    assert inputs.joint is not None
    k, v = inputs.keys(g.Sk)
    for b in range(g.B):
        yield compare_with_reference(inputs.joint[0][b], k[b], v[b], output[b], 0, g.scale, None, None)


def slabs_of(g: Geometry, ring_id: int) -> Iterator[tuple[slice, slice]]:
    """Rows of the sequence that a device computes, slab by slab, and where they stand in its output."""
    begin = 0
    for rows in g.slabs(ring_id):
        yield rows, slice(begin, begin + rows.stop - rows.start)
        begin += rows.stop - rows.start


def _sample(g: Geometry, first: int, rows: int) -> Pieces:
    """One tile row of each Q chunk of a slab: the `first` of the first one, counted round it, and in each chunk the next."""
    tiles = -(-rows // TILE)
    chunks = (range(tiles)[start : start + g.M] for start in range(0, tiles, g.M))
    tile_rows = (chunk[(first + i) % len(chunk)] for i, chunk in enumerate(chunks))
    return [(t * TILE, min((t + 1) * TILE, rows)) for t in tile_rows]


def _figures(
    g: Geometry, chip: Chip, ring_id: int, contexts: Contexts, accuracy: Accuracy | None, only: int | None, start: int
) -> DeviceFigures:
    routes, computing = chip.hardware.routes, g.core_places
    ends = [last_end(of_core(contexts, core)) - start if only in (None, i) else 0 for i, core in enumerate(computing)]
    cycles = last_end(contexts) - start
    active = [i for i in range(g.cores) if g.deal.count(i) and only in (None, i)]
    cores = [chip.cores[computing[i]] for i in active]
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
        ethernet_bytes={name: link.nbytes for name, link in chip.port.links_by_name().items()} if chip.port else {},
        servers=busy_shares(routes, cycles) if chip.trace.zones else {},
        ideal_cycles=g.ideal_cycles,
        math_utilization=g.ideal_cycles / cycles,
        waits=mean_waits(contexts, cores),
        accuracy=accuracy,
    )
