"""A product run on a virtual chip."""

from dataclasses import dataclass

import numpy as np

from tensix_sim.formats import Values
from tensix_sim.hw import Chip
from tensix_sim.hw.figures import Traffic
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import last_end, mean_waits
from tensix_sim.matmul.geometry import MatmulGeometry
from tensix_sim.matmul.program import program
from tensix_sim.matmul.spec import MatmulConfig, MatmulSpec
from tensix_sim.trace import Level, Trace


@dataclass(frozen=True)
class Multiplied:
    """What a product took: cycles, waits of its cores by lane and cause, traffic; `output` [batch, m, n], if it has one."""

    spec: MatmulSpec
    config: MatmulConfig
    cycles: int
    cores: int
    waits: dict[str, float]
    traffic: Traffic
    trace: Trace
    output: Values | None

    @property
    def microseconds(self) -> float:
        """The same as time."""
        return self.cycles / self.spec.on.chip.clock_hz * 1e6

    @property
    def utilization(self) -> float:
        """The FPU's ideal cycles on all cores with work, over the cycles."""
        (mt, kt, nt), phases = self.spec.tiles, {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}[self.spec.compute.math_fidelity]
        ideal = max(self.spec.batch, self.spec.b_batch) * mt * kt * nt * self.spec.on.chip.tensix.mvmul_cycles * phases
        return ideal / (self.cores * self.cycles)


def simulate(
    spec: MatmulSpec, a: Values | None = None, b: Values | None = None, bias: Values | None = None, trace: Level = "off"
) -> Multiplied:
    """Run a product; A [batch, m, k], B [b_batch, k, n] and the bias [n] as they are stored, drawn where none are given.

    Raises:
        SimulationError: the program cannot start, or failed.
    """
    g = MatmulGeometry.of(spec)
    if spec.numerics != "off" and a is None:
        a, b, bias = drawn(spec)
    made = program(g, a, b, bias)
    chip = Chip(spec.on, made, Trace(trace), watched=False, launch=spec.on.chip.launch_cycles if spec.launch == "modelled" else 0)
    (contexts,) = run(chip)
    cycles = last_end(contexts)
    (out,) = made.outputs
    output = None if out.values is None else out.values.reshape(max(spec.batch, spec.b_batch), -1, out.values.shape[1])
    return Multiplied(
        spec, g.config, cycles, len(g.shares), {str(w): n for w, n in mean_waits(contexts, chip.cores.values()).items()},
        Traffic.of(chip.hardware.routes, cycles), chip.trace, None if output is None else output[:, : spec.m, : spec.n],
    )  # fmt: skip


def drawn(spec: MatmulSpec) -> tuple[Values, Values, Values | None]:
    """A, B and the bias as they are stored, from N(0, 1)."""
    draw = np.random.default_rng(spec.seed)
    a_shape, b_shape = (spec.m, spec.k), (spec.k, spec.n)
    a = draw.standard_normal((spec.batch, *(a_shape[::-1] if spec.transpose_a else a_shape)), np.float32)
    b = draw.standard_normal((spec.b_batch, *(b_shape[::-1] if spec.transpose_b else b_shape)), np.float32)
    return a, b, draw.standard_normal(spec.n, np.float32) if spec.bias else None
