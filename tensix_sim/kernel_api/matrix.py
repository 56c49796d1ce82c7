"""A circular buffer's tiles seen as a matrix."""

import numpy as np

from tensix_sim.formats import TILE, Values
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError


class Matrix:
    """The front tiles of a circular buffer as `rows` x `cols`. Of a `transposed` one the unpacker transposes each tile.

    A `column` keeps one value a row, in column 0 of its tiles. Verbs on rows address a buffer that the compute kernel fills
    from the buffer's start, which holds exactly one matrix then; rows of a reader's buffer count from its front.
    """

    __slots__ = ("_front", "_scaler", "_views", "cb", "cols", "format", "label", "rows", "tiles", "transposed", "width")

    def __init__(self, cb: CircularBuffer, rows: int, cols: int, column: bool = False, transposed: bool = False) -> None:
        self.cb = cb
        self.rows = rows
        self.cols = cols
        self.tiles = rows * cols
        self.format = cb.spec.format
        self.label = cb.label
        self.width = 1 if column else TILE
        self.transposed = transposed
        self._front: Matrix | None = None
        self._scaler: Values | None = None  # that has been found right
        self._views: dict[range, Values] = {}  # of the buffer's own memory, which stays

    @property
    def front(self) -> "Matrix":
        """Its first row of tiles, one and the same matrix each time."""
        if self._front is None:
            self._front = Matrix(self.cb, 1, self.cols, self.width == 1, self.transposed)
        return self._front

    # -- values, [rows, 32, cols, 32], or [rows, 32, cols, 1] of a column --------------------------------------

    def block(self) -> Values:
        """The front tiles, as many columns of them as are known."""
        return self.cb.block(self.rows, self.cols)

    def whole(self) -> Values:
        """The front tiles, of which all columns are known.

        Raises:
            SimulationError: they are not.
        """
        block = self.block()
        if block.shape[3] < TILE:
            raise SimulationError(
                f"{self.label}: holds a column, of whose tiles only column 0 is known; whole tiles are read here"
            )
        return block

    def check_scaler(self) -> None:
        """Hold the tile to what the max pool takes as its scaler, 1.0 in the first face: it scales by the exponent alone.

        Source: tt-isa-documentation, GMPOOL; upstream's kernels fill the face with ones.

        Raises:
            SimulationError: it holds something else.
        """
        block = self.block()
        if block is self._scaler:
            return
        if (wrong := block[0, : TILE // 2, 0, : TILE // 2] != 1).any():
            row, col = (int(i) for i in np.argwhere(wrong)[0])
            raise SimulationError(
                f"{self.label}: the max pool's scaler has {block[0, row, 0, col]:g} in row {row}, column {col}; "
                "it must be 1.0 in the whole first face"
            )
        self._scaler = block

    def keep(self, block: Values) -> None:
        """Take the values of tiles that are pushed.

        Raises:
            SimulationError: they are no tiles.
        """
        if block.ndim != 4 or block.shape[1] != TILE:
            raise SimulationError(
                f"{self.label}: values of tiles are [rows, 32, columns, 32 or 1]; these are {list(block.shape)}"
            )
        self.cb.values.keep(block, self.cb.pushed)

    def replace(self, block: Values) -> None:
        """Take the values of tiles that are changed in place."""
        self.cb.values.blocks[0] = block

    def values(self, rows: range) -> Values:
        """Some rows, a view."""
        if self.cb.shared and self.cb.spec.consumer == "compute":
            gone = self.cb.popped % self.cb.tiles // self.cols if self.cb.tiles == self.tiles else 0
            return self.cb.rows(rows.start - gone, rows.stop - gone, self.cols)[..., : self.width]
        if rows not in self._views:
            self._views[rows] = self.cb.values.grid(self.cols, self.width)[rows.start : rows.stop]
        return self._views[rows]


def check_whole(*matrices: Matrix) -> None:
    """Rows are addressed in a buffer that holds just the matrix; of a column only column 0 is known."""
    check_fills(*matrices)
    for matrix in matrices:
        if matrix.width < TILE:
            raise SimulationError(
                f"{matrix.label}: a column, of whose tiles only column 0 is known, where whole tiles are needed"
            )


def check_column(matrix: Matrix) -> None:
    """What is one value a row goes to a column."""
    check_fills(matrix)
    if matrix.width == TILE:
        raise SimulationError(
            f"{matrix.label}: one value a row goes to a column, which `column` makes of a buffer; this is a matrix"
        )


def check_fills(*matrices: Matrix) -> None:
    """Rows count from the start of a buffer of compute's own: another size would move them."""
    for x in matrices:
        if not x.cb.shared and x.cb.tiles != x.tiles:
            raise SimulationError(f"{x.label}: a matrix of {x.rows}x{x.cols} tiles in a buffer of {x.cb.tiles}; it must fill it")


def check_shape(x: Matrix, rows: int, cols: int, what: str) -> None:
    """A matrix must have so many tiles; `what` says by which rule.

    Raises:
        SimulationError: it has others.
    """
    if (x.rows, x.cols) != (rows, cols):
        raise SimulationError(f"{x.label}: a matrix of {x.rows}x{x.cols} tiles where {what} needs {rows}x{cols}")


def check_adds(*matrices: Matrix) -> None:
    """The packer adds in L1 to float32 and bfloat16 only."""
    for x in matrices:
        if x.format.is_block:
            raise SimulationError(f"{x.label}: the packer cannot add in {x.format.name}; give it bfloat16 or float32")
