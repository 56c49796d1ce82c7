"""The budgets of the design, measured in one run: `python benchmarks/budgets.py`, about five minutes on two cores.

Each line gives a figure, its budget and their ratio; above 1 the budget is missed. What is a ratio of two times is
taken from runs side by side, because machines are noisy.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tensix_sim import simulate
from tensix_sim.config import BUILT_IN, RunSpec, load_spec
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import run
from tensix_sim.sdpa.geometry import Geometry, spec_machine
from tensix_sim.sdpa.inputs import InputValues, RunNumbers, make_inputs
from tensix_sim.sdpa.program import build
from tensix_sim.trace import Trace

GRID = "program_config.compute_with_storage_grid_size=[8,8]"
TIMING = ("compute_kernel_config=null", GRID, "numerics=off", "trace=off")


def line(what: str, value: float, budget: float, unit: str) -> None:
    """Print one figure."""
    print(f"{what:<72}{value:>8.2f} of {budget:>6.2f} {unit:<3} ratio {value / budget:.2f}")


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spec(*overrides: str) -> RunSpec:
    """The built-in example with changes."""
    return load_spec(BUILT_IN, overrides)


def long_sequence() -> None:
    """S = 131072, all four devices, two processes, and then one."""
    given = spec("inputs.seq_len=131072", *TIMING)
    two = simulate(given, jobs=2)
    line("S=131072, four devices, numerics and trace off, two processes", two.wall_seconds, 30, "s")
    line("its peak memory", two.peak_rss_bytes / 1e9, 1.5, "GB")
    gain = simulate(given).wall_seconds / two.wall_seconds
    print(f"{'two processes for four devices against one':<72}{gain:>8.2f} of   1.80 x   ratio {1.8 / gain:.2f}")


def against_numpy() -> None:
    """One device with numbers against a bare blocked flash attention in NumPy, the faster of three runs each."""
    given = spec("trace=off")
    g, machine, inputs = Geometry.of(given), spec_machine(given), make_inputs(given)

    def simulated() -> None:
        run(Chip(machine, program, Trace("off")))

    times = []
    with threadpool_limits(1):
        for _ in range(3):
            program = build(given, g, machine, 0, RunNumbers(inputs))
            times.append((seconds(simulated), seconds(lambda: flash_attention(g, inputs))))
    line("S=8192 with numbers against blocked NumPy flash attention", min(t[0] for t in times) / min(t[1] for t in times), 2, "x")


def flash_attention(g: Geometry, inputs: InputValues) -> None:
    """What device 0 computes, chunk by chunk, without roundings or cycles."""
    M, N = g.M * 32, g.N * 32
    k, v = inputs.k[0, 0], inputs.v[0, 0]
    for head in range(g.NQH):
        for rows in g.slabs(0):
            for start in range(rows.start, rows.stop, M):
                q = inputs.q[0, head, start : start + M]
                m, l = np.full((M, 1), -np.inf, np.float32), np.zeros((M, 1), np.float32)  # noqa: E741
                o = np.zeros((M, g.E * 32), np.float32)
                for first in range(0, start + M, N):
                    s = q @ k[first : first + N].T
                    s *= np.float32(g.scale)
                    if start < first + N:
                        s[np.arange(first, first + s.shape[1])[None] > np.arange(start, start + M)[:, None]] = -np.inf
                    new = np.maximum(m, s.max(axis=1, keepdims=True))
                    s -= new
                    np.exp(s, out=s)
                    factor = np.exp(m - new)
                    l = l * factor + s.sum(axis=1, keepdims=True)  # noqa: E741
                    o = o * factor + s @ v[first : first + N]
                    m = new
                o /= l


def doubling() -> None:
    """Twice the sequence at fixed chunks is four times the work."""
    short, long = (seconds(lambda s=s: simulate(spec(f"inputs.seq_len={s}", "ring_ids=[0]", *TIMING))) for s in (32768, 65536))
    line("time when S doubles from 32768 at fixed chunks", long / short, 4, "x")


def tracing() -> None:
    """Zones against no trace."""
    given = ("inputs.seq_len=32768", "ring_ids=[0]", "compute_kernel_config=null", GRID, "numerics=off")
    off, zones = (seconds(lambda level=level: simulate(spec(*given, f"trace={level}"))) for level in ("off", "zones"))
    line("trace: zones against trace: off", zones / off, 1.5, "x")


if __name__ == "__main__":
    long_sequence()
    against_numpy()
    doubling()
    tracing()
