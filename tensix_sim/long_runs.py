"""Walls of runs that would take long to simulate, drawn out from shorter ones.

A core does the same step again and again: a Q chunk meets a K chunk. A causal run is told by the first few Q chunks of each
core. Where cores pass K and V on in chains, that would form other chains: there all Q chunks meet few K chunks instead, once
some and once twice as many.
"""

from dataclasses import dataclass, replace

from tensix_sim.config import RunSpec
from tensix_sim.formats import TILE
from tensix_sim.ops.geometry import Geometry
from tensix_sim.simulation import Device, DeviceRun, run_device

# Q chunks of a core: in a short run, and at most in one that is simulated whole
Q_CHUNKS, WHOLE_Q_CHUNKS = 6, 12
WINDOW_Q_CHUNKS, WHOLE_WINDOW_Q_CHUNKS = 14, 28  # all of one length: it takes longer until the cores get out of step
# K chunks that each Q chunk meets: in the two short runs, and at most in one that is simulated whole
K_CHUNKS, WHOLE_K_CHUNKS = (4, 8), 32


@dataclass(frozen=True)
class Wall:
    """A device's wall and its mean busy cycles a core, of the whole run; `device` is what was simulated.

    `balance` is the share of the wall for which the active cores have work, on the mean. `drawn_from` says of what a run
    was drawn out; empty if it was simulated whole.
    """

    cycles: float
    fpu_cycles: float
    sfpu_cycles: float
    balance: float
    device: Device
    drawn_from: str = ""


def wall(spec: RunSpec, ring_id: int) -> Wall:
    """Run a legal spec with numerics off on one ring position (0 where there is no ring), or as little as tells its wall."""
    g = Geometry.of(spec)
    if g.chained and g.nk > WHOLE_K_CHUNKS:
        return _from_few_k_chunks(spec, ring_id, g)
    few, most = (WINDOW_Q_CHUNKS, WHOLE_WINDOW_Q_CHUNKS) if g.window else (Q_CHUNKS, WHOLE_Q_CHUNKS)
    if g.deal.count(0) * g.phases > most and not g.deal.given:  # a given deal need not be even
        return _from_few_q_chunks(spec, ring_id, g, -(-few // (g.deal.hand * g.phases)))
    device = _run(spec, ring_id).device
    cores = device.kernel_cycles_per_core
    return Wall(device.cycles, device.fpu_cycles, device.sfpu_cycles, cores.mean / cores.max, device)


def _from_few_k_chunks(spec: RunSpec, ring_id: int, g: Geometry) -> Wall:
    """What the K chunks that the longer of two runs has beyond the shorter one take, the others take too."""
    shorter, longer = (
        _run(spec.model_copy(update={"inputs": spec.inputs.model_copy(update={"kv_len": n * g.N * TILE})}), ring_id).device
        for n in K_CHUNKS
    )
    few, more = K_CHUNKS
    times = (g.nk - more) / (more - few)

    def whole(with_few: float, with_more: float) -> float:
        return with_more + times * (with_more - with_few)

    cycles = whole(shorter.cycles, longer.cycles)
    busy = whole(shorter.kernel_cycles_per_core.mean, longer.kernel_cycles_per_core.mean)
    return Wall(
        cycles,
        whole(shorter.fpu_cycles, longer.fpu_cycles),
        whole(shorter.sfpu_cycles, longer.sfpu_cycles),
        busy / cycles,
        longer,
        f"{few} and {more} of {g.nk} K chunks",
    )


def _from_few_q_chunks(spec: RunSpec, ring_id: int, g: Geometry, rounds: int) -> Wall:
    """The busiest core's other steps take what a step takes on the mean, after a beginning and before the first core ends."""
    run, short = _run(spec, ring_id, rounds), replace(g, rounds=rounds)
    fewest = min(map(len, run.chunk_ends))
    begin, end = fewest // 4, fewest - 1
    spent = sum(ends[end - 1] - ends[begin - 1] for ends in run.chunk_ends)
    steps = sum(g.k_chunks(a) for i in range(g.cores) for a in short.chunks(i, ring_id)[begin:end])
    every = [g.steps(i, ring_id) for i in range(g.cores)]
    device = run.device
    share = sum(every) / (device.steps_per_core.mean * device.active_cores)
    return Wall(
        device.cycles + (max(every) - device.steps_per_core.max) * spent / steps,
        device.fpu_cycles * share,
        device.sfpu_cycles * share,
        sum(every) / (device.active_cores * max(every)),
        device,
        f"{rounds} of {g.deal.all_rounds} rounds",
    )


def _run(spec: RunSpec, ring_id: int, rounds: int | None = None) -> DeviceRun:
    return run_device(spec, ring_id, lambda share: None, rounds)
