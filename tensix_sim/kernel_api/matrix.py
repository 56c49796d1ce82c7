"""A circular buffer's tiles seen as a matrix, and work on rows of matrices that the pack thread does beside a product."""

from collections.abc import Callable
from typing import NamedTuple

from tensix_sim.formats import TILE, Values
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.exact import Exact
from tensix_sim.hw.tensix import Stage
from tensix_sim.kernel_api.windows import Windows

Math = Arithmetic | Exact


class Matrix:
    """The tiles of a circular buffer as `rows` x `cols`. A `column` keeps one value a row, in column 0 of its tiles.

    Rows of a buffer that the compute kernel fills count from the buffer's start, which holds exactly one matrix;
    rows of a reader's buffer count from its front.
    """

    __slots__ = ("cb", "cols", "format", "rows", "tiles", "width")

    def __init__(self, cb: CircularBuffer, rows: int, cols: int, column: bool = False) -> None:
        if not cb.shared and cb.tiles != rows * cols:
            raise SimulationError(f"{cb.label}: a matrix of {rows}x{cols} tiles in a buffer of {cb.tiles}; it must fill it")
        self.cb = cb
        self.rows = rows
        self.cols = cols
        self.tiles = rows * cols
        self.format = cb.spec.format
        self.width = 1 if column else TILE

    def values(self, rows: range) -> Values:
        """Values of some rows, [rows, 32, cols, 32], a view: [rows, 32, cols, 1] of a column."""
        if self.cb.shared:
            return self.cb.rows(rows.start, rows.stop, self.cols)
        return self.cb.grid(self.cols, self.width)[rows.start : rows.stop]


class SubExp(NamedTuple):
    """x[rows, :n] <- relu(exp((x - column) * scale)) in place, by the fast approximation; sums[rows] = those tiles added up.

    In windows of all rows and `width` columns: the FPU subtracts, the pack thread issues the exponentials.
    """

    x: Matrix
    column: Matrix
    sums: Matrix
    rows: range
    n: int
    width: int
    scale: float

    def stages(self, windows: Windows) -> list[Stage]:
        """Its windows."""
        return windows.sub_exp_rows(self.x.format, self.sums.format, len(self.rows), self.n, self.width)

    def inputs(self) -> tuple[tuple[CircularBuffer, int], ...]:
        """Tiles that must be there."""
        return (self.x.cb, self.rows.stop * self.x.cols), (self.column.cb, self.rows.stop)

    def outputs(self) -> tuple[CircularBuffer | None, int]:
        """What it pushes."""
        return None, 0

    def compute(self, at: Callable[[str, CircularBuffer], Math]) -> None:
        """Its values, by what computes those of a verb that writes a buffer."""
        block = self.x.values(self.rows)[:, :, : self.n]
        factors, fmt = self.column.values(self.rows), self.x.format
        at("sub_exp", self.x.cb).sub_exp(block, factors, self.scale, fmt, self.column.format)
        self.sums.values(self.rows)[:] = at("sub_exp", self.sums.cb).row_sums(block, fmt, self.sums.format)


class ExpDifference(NamedTuple):
    """out[rows] = exp((a - b) * scale) of columns, by an accurate exponential, in one window; pushed at its end.

    The FPU subtracts, the pack thread issues the exponentials. `approximate` is the flag of that name, which chooses
    between two bodies, the dearer one if set; the values are the same here.
    """

    a: Matrix
    b: Matrix
    out: Matrix
    rows: range
    scale: float
    approximate: bool = True

    def stages(self, windows: Windows) -> list[Stage]:
        """Its one window."""
        return windows.exp_difference_rows(self.a.format, len(self.rows), self.approximate)

    def inputs(self) -> tuple[tuple[CircularBuffer, int], ...]:
        """Tiles that must be there."""
        return (self.a.cb, self.rows.stop), (self.b.cb, self.rows.stop)

    def outputs(self) -> tuple[CircularBuffer | None, int]:
        """What it pushes."""
        return self.out.cb, len(self.rows)

    def compute(self, at: Callable[[str, CircularBuffer], Math]) -> None:
        """Its values, by what computes those of a verb that writes a buffer."""
        math = at("exp_difference", self.out.cb)
        columns = self.a.values(self.rows), self.a.format, self.b.values(self.rows), self.b.format
        self.out.values(self.rows)[:] = math.exp_difference(*columns, self.scale, self.out.format)


Beside = SubExp | ExpDifference
