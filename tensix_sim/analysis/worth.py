"""Which way to spread attention? Ring-distributed SDPA and the joint ring, each with its tail, beside plain SDPA of all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensix_sim.config import RunSpec
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.gather.tail import run_tail, tail_problems
from tensix_sim.job import IllegalConfigError, Job
from tensix_sim.sdpa.op import RING_JOINT_SDPA, SDPA
from tensix_sim.simulation import simulate
from tensix_sim.trust import tells
from tensix_sim.user_errors import UsageError
from tensix_sim.workers import Jobs, Progress, run_all, unwatched


@dataclass(frozen=True)
class Joint:
    """The joint ring over so many links, K and V sliced: microseconds of its slowest device and of its tail.

    `link_bytes` leave the busiest device over its links during the op; `kv_bytes` of its DRAM hold K and V: a slice, and room for
    all. A `problem` says why it cannot be run.
    """

    links: int
    us: float = 0.0
    tail_us: float = 0.0
    link_bytes: int = 0
    kv_bytes: int = 0
    problem: str | None = None

    @property
    def all_us(self) -> float:
        """Both together."""
        return self.us + self.tail_us


@dataclass(frozen=True)
class Worth:
    """One sequence length: microseconds of plain SDPA, of the slowest device of the ring, and of split, gathers and concat.

    `kv_bytes` of each device's DRAM hold K and V of these two; `joint` is the joint ring by its links. A `problem` says why there
    is nothing to compare at that length.
    """

    seq_len: int
    plain_us: float = 0.0
    ring_us: float = 0.0
    tail_us: float = 0.0
    problem: str | None = None
    kv_bytes: int = 0
    joint: tuple[Joint, ...] = ()

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
    most = ring.job.machine.links_per_neighbour
    joint = tuple(measure_joint(timed, links) for links in sorted({1, most}))
    times = alone.devices[0].duration_us, ring_us, ring.tail.duration_us
    return Worth(spec.inputs.seq_len, *times, kv_bytes=_kv_bytes(spec), joint=joint)


def measure_joint(spec: RunSpec, links: int) -> Joint:
    """The same work by the joint ring, in balanced slices, the links between two neighbours being so many."""
    spec = spec.model_copy(update={"machine": {**spec.machine, "links_per_neighbour": links}})
    try:
        result = simulate(sliced(spec))
    except IllegalConfigError as error:
        return Joint(links, problem=error.report.violations[0].message)
    # that leaves rows where balanced slices of the joint ring leave theirs, bfloat16 as they are
    alike = Job.legal(spec.model_copy(update={"inputs": spec.inputs.model_copy(update={"dtype": "bfloat16"})}))
    tail = run_tail(alike, [device.cycles for device in result.devices], [None] * spec.ring_size)
    sent = max(sum(device.ethernet_bytes.values()) for device in result.devices)
    held = _kv_bytes(spec) + _kv_bytes(spec) // spec.ring_size
    return Joint(links, max(device.duration_us for device in result.devices), tail.duration_us, sent, held)


def sliced(spec: RunSpec) -> RunSpec:
    """The same work by the joint ring: causal slices of two parts, and a 16-bit DST, which alone is modelled there."""
    compute = spec.effective_compute_config.model_copy(update={"fp32_dest_acc_en": False})
    own = {"is_causal": True, "is_balanced": True, "compute_kernel_config": compute, "kernel": None}
    return RING_JOINT_SDPA.adopt(spec).model_copy(update=own)


def _kv_bytes(spec: RunSpec) -> int:
    """Bytes of the whole K and V."""
    given, rows = spec.inputs, -(-spec.kv_len // TILE)
    tiles = given.batch * given.kv_heads * rows * (given.head_dim // TILE)
    return sum(tiles * FORMATS[dtype].tile_bytes for dtype in given.dtypes[1:])


def plain(spec: RunSpec) -> RunSpec:
    """The same work by plain SDPA, which every device of a row then does whole."""
    return SDPA.adopt(spec)


def fastest(w: Worth, links: int) -> str:
    """The clearly fastest way at one length, the joint ring over so many links; empty where none is."""
    ways = {"plain": w.plain_us, "ring-distributed": w.ring_us + w.tail_us}
    for joint in w.joint:
        if joint.links == links and joint.problem is None:
            ways["joint ring"] = joint.all_us
    best, *others = sorted(ways, key=lambda way: ways[way])
    return best if all(tells(ways[best], ways[other]) for other in others) else ""


def worth_from(found: Sequence[Worth]) -> int | None:
    """The least length from which on the ring is clearly the faster of the two at all lengths that were compared."""
    compared = sorted((w for w in found if w.problem is None), key=lambda w: w.seq_len)
    least = None
    for w in reversed(compared):
        if w.gain <= 1 or not w.clear:
            break
        least = w.seq_len
    return least
