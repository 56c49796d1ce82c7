"""Collectives on virtual chips that share one clock, and ops that only move tiles on one chip."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from tensix_sim.arch import Machine
from tensix_sim.formats import Values
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.reduce_scatter import ReduceScatter
from tensix_sim.hw import Chip, Engine
from tensix_sim.hw.fabric import Fabric
from tensix_sim.hw.figures import Traffic
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import last_end
from tensix_sim.kernels import move_tiles
from tensix_sim.program import Program, Tensor
from tensix_sim.trace import Trace

TileMove = tuple[Tensor, int, Tensor, int]  # a tile: tensor and page that it comes from, and that it goes to
Collective = AllGather | ReduceScatter
BINS = 256  # of bytes over time


class Moved(BaseModel):
    """What an op that moves tiles took on one device: from `start` for `cycles`, and the bytes of its Ethernet links by name."""

    model_config = ConfigDict(frozen=True)

    op: str
    device: int
    start: int
    cycles: int
    duration_us: float
    dram_read_bytes: int
    dram_write_bytes: int
    ethernet_bytes: dict[str, int] = {}

    @property
    def end(self) -> int:
        """Cycle at which it was done."""
        return self.start + self.cycles


@dataclass
class Collected:
    """A finished collective: figures and the result of each device, which is None with numerics off."""

    op: Collective
    figures: list[Moved]
    outputs: list[Values | None]
    link_bytes: dict[tuple[int, int, int], int]


def run_collective(
    op: Collective,
    on: Machine,
    given: Sequence[Values | None],
    traces: Sequence[Trace] | None = None,
    starts: Sequence[int] | None = None,
    name: str = "",
) -> Collected:
    """A collective of what each chip has; chip i begins at cycle `starts[i]`. `name` is for the figures, the op's own by default.

    Raises:
        ValueError: the op cannot be done on that board, in the words of its rules.
        SimulationError: the simulated program failed.
    """
    if problems := op.problems(on):
        raise ValueError(f"{op.name}: " + "; ".join(problems))
    traces = traces or [Trace("off") for _ in range(op.devices)]
    starts = starts or [0] * op.devices
    programs = op.programs(on, given)
    engine = Engine()
    chips = [
        Chip(on, program, trace, engine, f"device {i} ") for i, (program, trace) in enumerate(zip(programs, traces, strict=True))
    ]
    fabric = Fabric(chips, engine, op.links, op.topology == "ring")
    contexts = run(*chips, starts=starts)
    figures, outputs = [], []
    for i, chip in enumerate(chips):
        links = fabric.ports[i].links_by_name()
        sent = {way: link.nbytes for way, link in links.items()}
        figures.append(_figures(name or op.name, i, chip, starts[i], last_end(contexts[i]), sent))
        for way, link in links.items():
            trace_bytes(chip.trace, way, link.sent)
        (output,) = chip.program.outputs
        values = output.values
        outputs.append(None if values is None else values.reshape(op.result))
    return Collected(op, figures, outputs, fabric.bytes_sent())


def _figures(op: str, device: int, chip: Chip, start: int, end: int, ethernet: dict[str, int]) -> Moved:
    traffic = Traffic.of(chip.hardware.routes, end - start)
    return Moved(
        op=op,
        device=device,
        start=start,
        cycles=end - start,
        duration_us=(end - start) / chip.machine.chip.clock_hz * 1e6,
        dram_read_bytes=traffic.dram_read_bytes,
        dram_write_bytes=traffic.dram_write_bytes,
        ethernet_bytes={name: nbytes for name, nbytes in ethernet.items() if nbytes},
    )


def trace_bytes(trace: Trace, name: str, sent: Sequence[tuple[int, int]]) -> None:
    """A counter of the bytes that left over a link, the sum in each bin at the bin's start."""
    if not trace.zones or not sent:
        return
    first, last = sent[0][0], sent[-1][0]
    width = max(256, -(-(last - first + 1) // BINS))
    bins = [0] * ((last - first) // width + 2)
    for left, nbytes in sent:
        bins[(left - first) // width] += nbytes
    series = trace.series(name, "bytes")
    for i, nbytes in enumerate(bins):
        trace.count(series, first + i * width, nbytes)


def run_moves(
    op: str,
    on: Machine,
    moves: Sequence[TileMove],
    device: int = 0,
    trace: Trace | None = None,
    start: int = 0,
) -> Moved:
    """Move tiles, (source, page, target, page) each, on all cores of a chip from cycle `start` on."""
    chip = Chip(on, move_tiles.program(moves, on.grid), trace or Trace("off"))
    (contexts,) = run(chip, starts=[start])
    return _figures(op, device, chip, start, last_end(contexts), {})


def run_alone(op: str, on: Machine, program: Program, launch: int = 0) -> Moved:
    """Run a program that moves tiles on one chip; it is not watched."""
    chip = Chip(on, program, Trace("off"), watched=False, launch=launch)
    (contexts,) = run(chip)
    return _figures(op, 0, chip, 0, last_end(contexts), {})
