"""Programs run to their ends: on one chip, or on chips that share a clock."""

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

import simpy

from tensix_sim.arch.model import Coord
from tensix_sim.hw.chip import Chip, Core
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.figures import bytes_over_time
from tensix_sim.kernel_api.compute import Compute
from tensix_sim.kernel_api.data_movement import DataMovement
from tensix_sim.program import IDLE, RISC_OF, Role
from tensix_sim.trace import LaneWait
from tensix_sim.trace.causes import LAUNCH

Contexts = dict[tuple[Coord, Role], DataMovement | Compute]  # of a chip's kernels, by logical core and role


def launch(chip: Chip) -> Contexts:
    """Start every kernel of the chip's program on every core, at the engine's current cycle; the contexts by (core, role)."""
    contexts: Contexts = {}
    for kernel in chip.program.kernels:
        nocs = kernel.nocs or [0 if kernel.role == "reader" else 1] * len(kernel.args)
        for (logical, core), args, noc in zip(chip.cores.items(), kernel.args, nocs, strict=True):
            if args is IDLE:
                continue
            context = Compute(core) if kernel.role == "compute" else DataMovement(core, kernel.role, noc, kernel.ethernet)
            label = f"{core.label} {RISC_OF[kernel.role]}"
            try:
                coroutine = kernel.function(context, args)
            except TypeError as error:
                raise SimulationError(f"{label}: {kernel.function} is no kernel: {error}") from error
            context.task = chip.engine.spawn(label, coroutine, context.finish)
            context.task.queue = context.queue
            contexts[logical, kernel.role] = context
    return contexts


def run(*chips: Chip, starts: Sequence[int] = (), whole: bool = True) -> list[Contexts]:
    """Run the programs of chips that share a clock, each from its cycle of `starts` on, 0 without any; the contexts of each.

    Raises:
        SimulationError: a program failed; or, if they are to run `whole`, one left tiles behind or a page unwritten.
        DeadlockError: kernels wait for each other.
    """
    contexts: list[Contexts] = [{} for _ in chips]
    for chip, mine, start in zip(chips, contexts, starts or [0] * len(chips), strict=True):
        chip.engine.at(start + chip.launch, partial(_launch_into, mine, chip))
    chips[0].engine.run()
    for chip in chips if whole else ():
        chip.check_finished()
    return contexts


def _launch_into(contexts: Contexts, chip: Chip, _: simpy.Event) -> None:
    contexts.update(launch(chip))
    now = chip.engine.now
    for lane in range(len(chip.trace.lanes)):
        chip.trace.span(lane, chip.trace.name(LAUNCH), now - chip.launch, now)


def last_end(contexts: Contexts) -> int:
    """Cycle at which the last kernel ended."""
    return max(context.end for context in contexts.values())


def of_core(contexts: Contexts, core: Coord) -> Contexts:
    """The contexts of one core."""
    return {(core, role): contexts[core, role] for role in RISC_OF if (core, role) in contexts}


def mean_waits(contexts: Contexts, cores: Collection[Core]) -> dict[LaneWait, float]:
    """Cycles for which a core waited, by lane and cause: means over some cores."""
    waits: Counter[LaneWait] = Counter()
    for core in cores:
        waits.update(_waits(contexts, core))
    return {wait: waits[wait] / len(cores) for wait in sorted(waits, key=str) if waits[wait]}


def _waits(contexts: Contexts, core: Core) -> Counter[LaneWait]:
    waits = Counter(core.tensix.lane_waits())
    for (_, role), context in of_core(contexts, core.logical).items():
        if isinstance(context, DataMovement):
            waits.update({LaneWait(role, cause): n for cause, n in context.waits.items()})
    return waits


def record_bytes(chip: Chip) -> None:
    """Enter bytes over time into the trace of a chip that has run: the sum in each bin, at the bin's start."""
    trace = chip.trace
    for name, (width, bins) in bytes_over_time(chip.hardware.routes).items():
        series = trace.series(name, "bytes")
        for i, nbytes in enumerate(bins):
            trace.count(series, i * width, nbytes)
