"""The verb of reductions over chips: sums of two or three terms, whole DST halves at a time."""

from dataclasses import dataclass
from typing import ClassVar

from tensix_sim.kernel_api import Costs, Matrix, Pushes, Reads, Stage, Units, Updates, Windows, begin, check_shape, window


@dataclass(frozen=True, eq=False, slots=True)
class AddTerms:
    """out = a + b, or c + (a + b) with c in DST before, tile by tile, rounded once; upstream: `copy_tile`, `add_tiles`.

    Of the tiles only the first `tiles` are added; what lies behind them is handed on as it comes.
    """

    terms: tuple[Matrix, ...]  # a, b and perhaps c
    out: Matrix
    tiles: int

    name: ClassVar = "sum"
    unit: ClassVar = "fpu"

    def reads(self) -> Reads:
        return Reads(self.terms[1], tuple((term, term.tiles) for term in self.terms))

    def makes(self) -> tuple[Pushes | Updates, ...]:
        return (Pushes(self.out, self.out.tiles),)

    def windows(self, c: Costs) -> Windows:
        for term in self.terms:
            check_shape(term, self.out.rows, self.out.cols, f"its sum in {self.out.label}")
        spec, most = c.spec, c.dst_tiles
        stages = [self._stage(c, min(most, self.tiles - done)) for done in range(0, self.tiles, most)]
        return Windows([begin(c, stages[0], spec.cb_wait_cycles + spec.cb_update_cycles), *stages[1:]])

    def _stage(self, c: Costs, tiles: int) -> Stage:
        a, b, *before = self.terms
        fpu, math = c.eltwise(tiles)
        unpack = c.unpack(a.format, tiles, b.format, tiles)
        for term in before:
            unpack += c.unpack(term.format, tiles)
            fpu, math = fpu + tiles * c.spec.eltwise_cycles, math + tiles * c.spec.copy_cycles
        return Stage(window(unpack, (1 + len(before)) * tiles, fpu, math, c.pack(self.out.format, tiles)))

    def values(self, units: Units) -> None:
        on, (a, b, *before) = units(self, self.out), self.terms
        start = (before[0].whole(), before[0].format) if before else None
        self.out.keep(on.pack(on.add(a.whole(), a.format, b.whole(), b.format, start), self.out.format))
