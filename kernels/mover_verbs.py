"""The verb of ops that do little to their tiles."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tensix_sim.kernel_api import Costs, Matrix, Pushes, Reads, SimulationError, Stage, Units, Updates, Windows, window

Doing = Literal["copy", "add", "multiply", "product", "reduce"]


@dataclass(frozen=True, eq=False, slots=True)
class TilesPass:
    """out = a function of x, and of y, in windows of some tiles; or of all of x one tile, by products and the vector unit.

    Cycles only: what the values are NumPy says.
    """

    x: Matrix
    y: Matrix | None
    out: Matrix
    kind: Doing
    tiles: int  # in a window

    name: ClassVar = "move"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.x, ((self.x, self.x.tiles), *(() if self.y is None else ((self.y, self.y.tiles),))))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        spec, n = c.spec, self.tiles
        fpu, math = {
            "copy": (n * spec.eltwise_cycles, n * spec.copy_cycles),
            "add": c.eltwise(n),
            "multiply": c.eltwise(n, multiply=True),
            "product": c.matmul(n),
            "reduce": c.matmul(n),
        }[self.kind]
        both = (self.y.format, n) if self.y is not None else (None, 0)
        sfpu = (spec.sfpu_start_cycles + spec.reciprocal_column_cycles) * (self.kind == "reduce")
        packed = 1 if self.kind == "reduce" else n
        made = window(c.unpack(self.x.format, n, *both), n, fpu, math + sfpu, c.pack(self.out.format, packed), sfpu)
        setup = spec.cb_wait_cycles + spec.cb_update_cycles
        first = Stage(made, math_setup=spec.math_init_cycles, pack_setup=setup, seen=spec.cb_wait_cycles)
        windows = self.x.tiles // n
        return Windows([first, Stage(made, windows - 1)] if windows > 1 else [first], spec.eltwise_halves)

    def values(self, units: Units) -> None:
        raise SimulationError(f"{self.out.label}: this op's kernels have cycles only; give its tensors no values")
