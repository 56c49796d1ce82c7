"""Operations: a verb with its arguments, checked and costed once, so that running it again is cheap."""

from collections.abc import Sequence
from typing import NamedTuple

from tensix_sim.formats import TILE
from tensix_sim.hw.chip import Chip
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.tensix import Block, Stage
from tensix_sim.kernel_api.matrix import Beside, Matrix, SubExp
from tensix_sim.kernel_api.windows import Windows

END, EACH = slice(-1, None), slice(None)  # after a block's last stage, after each


class Operation(NamedTuple):
    """What a verb runs, reads and makes."""

    block: Block
    source: CircularBuffer  # the operand after which waits are named
    inputs: tuple[tuple[CircularBuffer, int], ...]  # tiles that the unpacker must see before anything starts
    needs: tuple[int, ...] = ()  # tiles of `source` that it must see before each stage
    out: CircularBuffer | None = None
    tiles: int = 0  # pushed to `out`, in equal parts
    pushed: slice = END  # after these stages
    early: tuple[int, int] | None = None  # seen so many cycles sooner, but not before this stage is packed
    changed: CircularBuffer | None = None
    changed_tiles: int = 0  # the newest of `changed`, in place, in equal parts
    renewed: slice = END
    older_tiles: int = 0  # that `changed` holds besides


class Operations:
    """Makes the operations of one core: a method for each verb of `Compute`, which documents it."""

    def __init__(self, chip: Chip) -> None:
        self.windows = Windows(chip.costs)
        self.dst_tiles = chip.program.compute.dst_tiles
        self._blocks = chip.blocks
        self._handshake = chip.costs.handshake
        self._eltwise = chip.costs.spec.eltwise_halves

    # -- blocks -------------------------------------------------------------------------------------------

    def matmul(
        self,
        a: CircularBuffer,
        b: CircularBuffer,
        out: CircularBuffer,
        m: int,
        n: int,
        k: int,
        subblock: tuple[int, int],
        accumulate: bool,
    ) -> Operation:
        """Pushes band by band, one subblock high, or changes `out` in place; waits for `a` band by band, too."""
        h, w = subblock
        if m % h or n % w or h * w > self.dst_tiles:
            raise SimulationError(
                f"{out.label}: subblock {h}x{w} of a {m}x{n} product; it must divide both "
                f"and fit the {self.dst_tiles} tiles of a DST half"
            )
        if accumulate:
            check_adds(out)
        formats = (a.spec.format, b.spec.format, out.spec.format)
        block = self._block("matmul", self.windows.matmul(*formats, m, n, k, h, w, accumulate))
        needs = bands(m * k, m // h)
        if accumulate:
            return Operation(block, a, ((b, k * n), (out, m * n)), needs, changed=out, changed_tiles=m * n)
        return Operation(block, a, ((b, k * n),), needs, out, m * n, EACH)

    def sum_columns(self, x: CircularBuffer, ones: CircularBuffer, rows: int, window: int) -> Operation:
        """In place."""
        self._check_window(x, window, rows)
        return self._update(
            self._block("sum columns", self.windows.sum_columns(x.spec.format, ones.spec.format, rows, window), self._eltwise),
            (ones, 1),
            (x, rows),
        )

    def max_rows(
        self,
        x: CircularBuffer,
        scaler: CircularBuffer,
        out: CircularBuffer,
        m: int,
        n: int,
        window: int,
        before: CircularBuffer | None,
    ) -> Operation:
        """Waits for `x` window by window."""
        self._check_window(x, window, m)
        windows = self.windows.max_rows(x.spec.format, out.spec.format, m, n, window, before is not None)
        block = self._block("max rows", windows)
        inputs = ((scaler, 1),) if before is None else ((scaler, 1), (before, m))
        return Operation(block, x, inputs, bands(m * n, m // window), out, m)

    def sub_exp(self, x: CircularBuffer, column: CircularBuffer, sums: CircularBuffer, m: int, n: int, window: int) -> Operation:
        """Pushes `sums` at the end; `x` changes row by row."""
        self._check_window(x, window, n)
        check_adds(sums)
        formats = (x.spec.format, column.spec.format, sums.spec.format)
        block = self._block("sub exp", self.windows.sub_exp(*formats, m, n, window), self._eltwise)
        each = len(block.stages) // m
        inputs = ((x, m * n), (column, m))
        rows = slice(each - 1, None, each)
        return Operation(block, x, inputs, out=sums, tiles=m, changed=x, changed_tiles=m * n, renewed=rows)

    def exp_difference(self, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, m: int) -> Operation:
        """One window a tile."""
        block = self._block("exp difference", self.windows.exp_difference(a.spec.format, m), self._eltwise)
        return Operation(block, a, ((a, m), (b, m)), out=out, tiles=m)

    def reciprocal(self, x: CircularBuffer, m: int) -> Operation:
        """In place."""
        return self._update(self._block("reciprocal", self.windows.reciprocal(x.spec.format, m), self._eltwise), (x, m))

    def mul_columns(self, x: CircularBuffer, column: CircularBuffer, m: int) -> Operation:
        """In place."""
        return self._update(
            self._block("mul columns", self.windows.mul_columns(x.spec.format, column.spec.format, m), self._eltwise),
            (column, m),
            (x, m),
        )

    def scale_rows(
        self, x: CircularBuffer, column: CircularBuffer, out: CircularBuffer, m: int, n: int, window: int, accumulate: bool
    ) -> Operation:
        """Pushes at the end, or changes `out` in place."""
        self._check_window(x, window, n)
        if accumulate:
            check_adds(out)
        formats = (x.spec.format, column.spec.format, out.spec.format)
        block = self._block("scale rows", self.windows.scale_rows(*formats, m, n, window, accumulate), self._eltwise)
        inputs = ((column, m), (x, m * n))
        if accumulate:
            return Operation(block, x, inputs, changed=out, changed_tiles=m * n)
        return Operation(block, x, inputs, out=out, tiles=m * n)

    def add(self, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, tiles: int) -> Operation:
        """Pushes tile by tile."""
        block = self._block("add", self.windows.add(a.spec.format, b.spec.format, out.spec.format, tiles))
        return Operation(block, a, ((a, tiles), (b, tiles)), out=out, tiles=tiles, pushed=EACH)

    def add_to(self, x: CircularBuffer, y: CircularBuffer, m: int) -> Operation:
        """In place."""
        return self._update(self._block("add to", self.windows.add_to(x.spec.format, m), self._eltwise), (y, m), (x, m))

    def stamp(self, tiles: CircularBuffer, onto: CircularBuffer, onto_tiles: int, sizes: tuple[int, ...]) -> Operation:
        """Changes `onto` in place; a window for each of `sizes`."""
        check_adds(onto)
        block = self._block("stamp", self.windows.stamp(tiles.spec.format, onto.spec.format, sizes))
        inputs = ((tiles, tiles.spec.tiles), (onto, onto_tiles))
        return Operation(block, tiles, inputs, changed=onto, changed_tiles=onto_tiles)

    # -- rows of matrices -----------------------------------------------------------------------------------

    def multiply(
        self, a: Matrix, b: Matrix, out: Matrix, rows: range, n: int, k: int, width: int,
        pieces: int, push: bool, early: bool, beside: Beside | None, hand_over: bool,
    ) -> Operation:  # fmt: skip
        """Waits for `b` behind the first window of `beside`, if there is one."""
        check_whole(a, b, out)
        if pieces > 1:
            check_adds(out.cb)
        h = len(rows)
        if n % width or k % pieces or h * width > self.dst_tiles:
            raise SimulationError(
                f"{out.cb.label}: windows of {h}x{width} in {pieces} pieces, of {h}x{n} tiles with {k} inner ones; they must "
                f"divide these and fit the {self.dst_tiles} tiles of a DST half"
            )
        aside = self._aside(beside) if beside else []
        stages = self.windows.multiply(a.format, b.format, out.format, h, n, k, width, pieces, hand_over, aside)
        inputs = ((a.cb, rows.stop * a.cols), *(beside.inputs() if beside else ()))
        needs = tuple([0 if i == 0 and beside else b.tiles for i in range(len(stages))])
        op = Operation(self._block("multiply", stages), b.cb, inputs, needs)
        if early:
            maxima = self.windows.row_max(out.format, out.format, h, n, False)[0].window
            half = n // width // 2 * (2 if aside else 1) - 1  # one window of `beside` before each
            op = op._replace(early=(half, max(maxima.unpack, maxima.math) // 2))
        if push:
            return op._replace(out=out.cb, tiles=h * out.cols)
        return op if beside is None else self._with_output(op, beside)

    def row_max(self, x: Matrix, scaler: CircularBuffer, out: Matrix, rows: range, n: int, before: Matrix | None) -> Operation:
        """Pushes at the end."""
        check_whole(x)
        check_column(out)
        block = self._block("row max", self.windows.row_max(x.format, out.format, len(rows), n, before is not None))
        inputs = ((scaler, 1), *(((before.cb, rows.stop),) if before else ()))
        return Operation(block, x.cb, inputs, (rows.stop * x.cols,), out.cb, len(rows))

    def mark(self, tiles: CircularBuffer, onto: Matrix, rows: range, sizes: tuple[int, ...]) -> Operation:
        """Changes the newest rows in place."""
        check_whole(onto)
        check_adds(onto.cb)
        block = self._block("mark", self.windows.stamp(tiles.spec.format, onto.format, sizes))
        changed, older = len(rows) * onto.cols, rows.start * onto.cols
        return Operation(block, tiles, ((tiles, tiles.spec.tiles),), changed=onto.cb, changed_tiles=changed, older_tiles=older)

    def rescale(
        self, x: Matrix, y: Matrix, column: Matrix, onto: Matrix, onto_y: Matrix, rows: range, beside: Beside | None
    ) -> Operation:
        """Adds to tiles that are reserved: nothing is pushed but what is beside it."""
        check_whole(x, onto, *((onto_y,) if y.width == TILE else ()), *((y,) if onto_y.width == TILE else ()))
        check_adds(onto.cb, onto_y.cb)
        h = len(rows)
        aside = self._aside(beside) if beside else []
        stages = self.windows.rescale(x.format, h, x.cols, self.dst_tiles, aside)
        inputs = ((column.cb, h), (x.cb, h * x.cols), (y.cb, rows.stop), *(beside.inputs() if beside else ()))
        op = Operation(self._block("rescale", stages), x.cb, inputs)
        return op if beside is None else self._with_output(op, beside)

    def run_alone(self, work: Beside) -> Operation:
        """What it pushes, it pushes at its end."""
        inputs = work.inputs()
        return self._with_output(Operation(self._block("run alone", self._aside(work)), inputs[0][0], inputs), work)

    def sum_reciprocal(self, sums: CircularBuffer, ones: CircularBuffer, out: CircularBuffer) -> Operation:
        """Pushes at the end."""
        block = self._block("sum reciprocal", self.windows.sum_reciprocal(sums.spec.format))
        return Operation(block, sums, ((ones, 1), (sums, 1)), out=out, tiles=1)

    # -- inside ---------------------------------------------------------------------------------------------

    def _block(self, name: str, stages: Sequence[Stage], halves: int = 2) -> Block:
        """The block of these stages, the same for all cores of the chip."""
        key = (name, *stages)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = Block(name, stages, self._handshake, halves)
        return block

    def _aside(self, work: Beside) -> list[Stage]:
        """The windows of work that the pack thread does beside a product."""
        if isinstance(work, SubExp):
            check_whole(work.x, work.sums)
            check_adds(work.sums.cb)
        else:
            check_column(work.out)
        return work.stages(self.windows)

    def _update(self, block: Block, *inputs: tuple[CircularBuffer, int]) -> Operation:
        """Change the last of `inputs` in place."""
        x, tiles = inputs[-1]
        return Operation(block, x, inputs, changed=x, changed_tiles=tiles)

    def _check_window(self, cb: CircularBuffer, window: int, tiles: int) -> None:
        """A window takes equal shares of `tiles` tiles, and no more than a DST half."""
        if tiles % window or window > self.dst_tiles:
            raise SimulationError(
                f"{cb.label}: windows of {window} tiles; they must divide {tiles} "
                f"and fit the {self.dst_tiles} tiles of a DST half"
            )

    def _with_output(self, op: Operation, first: Beside) -> Operation:
        """What `first`, the first stage of `op`, pushes when it is packed."""
        out, tiles = first.outputs()
        return op._replace(out=out, tiles=tiles, pushed=slice(0, 1))


def check_adds(*buffers: CircularBuffer) -> None:
    """The packer adds in L1 to float32 and bfloat16 only."""
    for cb in buffers:
        if cb.spec.format.is_block:
            raise SimulationError(f"{cb.label}: the packer cannot add in {cb.spec.format.name}; give it bfloat16 or float32")


def check_whole(*matrices: Matrix) -> None:
    """Of a column only column 0 is known."""
    for matrix in matrices:
        if matrix.width < TILE:
            raise SimulationError(
                f"{matrix.cb.label}: a column, of whose tiles only column 0 is known, where whole tiles are needed"
            )


def check_column(matrix: Matrix) -> None:
    """What is one value a row goes to a column."""
    if matrix.width == TILE:
        raise SimulationError(
            f"{matrix.cb.label}: one value a row goes to a column, which `column` makes of a buffer; this is a matrix"
        )


def bands(tiles: int, parts: int) -> tuple[int, ...]:
    """So many tiles in equal parts, counted up."""
    return tuple(range(tiles // parts, tiles + 1, tiles // parts))
