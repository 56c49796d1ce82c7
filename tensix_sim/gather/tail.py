"""What a model does after ring-distributed SDPA: split, two all-gathers of which one is reversed, concat.

The split parts a device's two slabs. Slabs 0 to R-1 are gathered in the order of the devices, slabs R to 2R-1 in the reverse
order, so that the concatenation of both is the whole sequence in order, on every device (Llama-70B on a Galaxy does so).
An op of a device begins when the one before it there has ended: what the host needs between two ops is not modelled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensix_sim.arch.rings import usual_topology
from tensix_sim.config import RunSpec
from tensix_sim.formats import FORMATS, TILE, Values
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.run import Moved, TileMove, run_collective, run_moves
from tensix_sim.job import Job
from tensix_sim.program import Tensor
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.sdpa.op import OPS as ALL_OPS
from tensix_sim.trace import Trace

OPS = ("split", "all-gather", "all-gather reversed", "concat")


@dataclass
class Tail:
    """The ops behind the ring op: figures of each op on each device, traces by ring position, and the result.

    `outputs` has the whole output [B, NQH, S, DH] on each device, None with numerics off. `begun` is the cycle at which the
    last device ended the ring op, before which nothing of the tail is to its charge.
    """

    topology: str
    links: int
    begun: int
    moved: list[Moved]
    outputs: list[Values | None]
    traces: dict[int, Trace]
    clock_hz: int

    @property
    def end(self) -> int:
        """Cycle at which the last device has the whole sequence."""
        return max(moved.end for moved in self.moved)

    @property
    def cycles(self) -> int:
        """Cycles that the tail adds to the ring op."""
        return self.end - self.begun

    @property
    def duration_us(self) -> float:
        """The same in microseconds."""
        return self.cycles / self.clock_hz * 1e6

    def stages(self) -> Mapping[str, int]:
        """Cycles by op, from the end of one on its last device to that of the next; they add up to `cycles`."""
        ends = [self.begun, *(max(m.end for m in self.moved if m.op == op) for op in OPS)]
        return {op: after - before for op, before, after in zip(OPS, ends, ends[1:], strict=False)}

    def summary(self) -> dict[str, Any]:
        """What `run --gather --json` writes of it."""
        return {
            "topology": self.topology,
            "links": self.links,
            "cycles": self.cycles,
            "duration_us": self.duration_us,
            "stages": dict(self.stages()),
            "ops": [moved.model_dump(mode="json") for moved in self.moved],
        }


def tail_gather(job: Job, reverse: bool = False) -> AllGather:
    """One of the two gathers: slabs of the ring, on all links that the board has between neighbours."""
    g, on = job.geometry, job.machine
    shape = (g.B, g.NQH, g.Sc, g.E * TILE)
    return AllGather(g.R, shape, 2, job.spec.inputs.dtype, usual_topology(on, g.R), on.links_per_neighbour, reverse)


def tail_problems(job: Job) -> list[str]:
    """All that keeps a job from having a tail, as sentences."""
    spec = job.spec
    if not job.op.ring or job.op.travels:
        rings = " or ".join(op.name for op in ALL_OPS.values() if op.ring and not op.travels)
        why = "each device keeps its own rows" if job.op.travels else "its one device has all rows"
        return [f"op {spec.op} leaves nothing to gather: {why}; only {rings} has a tail"]
    found = tail_gather(job).problems(job.machine, spec.mesh)
    if len(job.ring_ids) != spec.ring_size:
        found.append(f"ring positions {list(job.ring_ids)} of {spec.ring_size} are simulated; set ring_ids: all")
    if spec.memory_config != "dram_interleaved":
        found.append(f"memory_config {spec.memory_config}: a gather from L1 is not modelled; set dram_interleaved")
    return found


def run_tail(job: Job, ends: Sequence[int], outputs: Sequence[Values | None]) -> Tail:
    """Run it on all devices of a ring, whose op ended at cycle `ends[i]` with `outputs[i]` [B, NQH, S / R, DH].

    Raises:
        ValueError: the job has no tail.
        SimulationError: a simulated program failed.
    """
    if problems := tail_problems(job):
        raise ValueError("; ".join(problems))
    g, on, spec = job.geometry, job.machine, job.spec
    traces = [Trace(spec.trace) for _ in ends]
    moved: list[Moved] = []
    halves: list[list[Values | None]] = [[], []]
    for i, (end, output, trace) in enumerate(zip(ends, outputs, traces, strict=True)):
        source = _Rows.of(g, spec, "output", g.S // g.R, output)
        parts = [_Rows.blank(g, spec, f"slab {n}", g.Sc, output is not None) for n in (0, 1)]
        moves = [move for n, part in enumerate(parts) for move in _moves(source, source.half(n), part, part.all)]
        moved.append(run_moves(OPS[0], on, moves, i, trace, end))
        for half, part in zip(halves, parts, strict=True):
            half.append(part.values)
    gathered = []
    for n, slabs in enumerate(halves):
        starts = [m.end for m in moved[-g.R :]]
        done = run_collective(tail_gather(job, reverse=n == 1), on, slabs, traces, starts, OPS[1 + n])
        moved += done.figures
        gathered.append(done.outputs)
    whole = []
    starts = [m.end for m in moved[-g.R :]]
    for i, (start, trace) in enumerate(zip(starts, traces, strict=True)):
        sources = [_Rows.of(g, spec, f"gathered {n}", g.S // 2, outs[i]) for n, outs in enumerate(gathered)]
        target = _Rows.blank(g, spec, "sequence", g.S, gathered[0][i] is not None)
        moves = [move for n, part in enumerate(sources) for move in _moves(part, part.all, target, target.half(n))]
        moved.append(run_moves(OPS[3], on, moves, i, trace, start))
        whole.append(target.values)
    ring = tail_gather(job)
    return Tail(ring.topology, ring.links, max(ends), moved, whole, dict(enumerate(traces)), on.chip.clock_hz)


@dataclass(frozen=True)
class _Rows:
    """A tensor [B, NQH, rows, DH], and the pages of its rows."""

    tensor: Tensor
    heads: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, g: Geometry, spec: RunSpec, name: str, rows: int, values: Values | None, output: bool = False) -> "_Rows":
        """With values of that shape, or shapes only."""
        heads = g.B * g.NQH
        flat = None if values is None else np.ascontiguousarray(values).reshape(heads * rows, g.E * TILE)
        tensor = Tensor(name, heads * rows // TILE, g.E, FORMATS[spec.inputs.dtype], values=flat, output=output)
        return cls(tensor, heads, (g.B, g.NQH, rows, g.E * TILE))

    @classmethod
    def blank(cls, g: Geometry, spec: RunSpec, name: str, rows: int, with_values: bool) -> "_Rows":
        """To be written."""
        values = np.full((g.B, g.NQH, rows, g.E * TILE), np.nan, np.float32) if with_values else None
        return cls.of(g, spec, name, rows, values, output=True)

    @property
    def values(self) -> Values | None:
        """As [B, NQH, rows, DH]."""
        return None if self.tensor.values is None else self.tensor.values.reshape(self.shape)

    @property
    def all(self) -> range:
        """All pages."""
        return range(self.tensor.pages)

    def half(self, n: int) -> list[int]:
        """Pages of the first or the second half of every head's rows."""
        run = self.tensor.pages // self.heads // 2
        return [(2 * head + n) * run + p for head in range(self.heads) for p in range(run)]


def _moves(source: _Rows, pages: Sequence[int], target: _Rows, places: Sequence[int]) -> Iterator[TileMove]:
    return ((source.tensor, page, target.tensor, place) for page, place in zip(pages, places, strict=True))
