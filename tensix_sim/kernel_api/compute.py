"""Verbs of the compute kernel: block operations on tiles, values and cycles in one pass.

A verb waits for its tiles, runs its windows on the unpack, math and pack clocks, and computes. The kernel
runs ahead of the engine's clock on these three and meets it only where a reader or writer can see: tiles
that are not there yet, space that is not free yet, a pop, a push.
"""

from collections.abc import Sequence
from typing import Any, cast

from tensix_sim.formats import TILE, Format, Values
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError, Task
from tensix_sim.hw.exact import Exact
from tensix_sim.kernel_api.matrix import Beside, Math, Matrix
from tensix_sim.kernel_api.operations import Operation, Operations
from tensix_sim.kernel_api.threads import Threads, check_consumer, check_producer

Mark = tuple[int, int, range]  # a tile, the row to which it is added, the columns


class Compute:
    """What a compute kernel can do on its core. Shapes are in tiles.

    One family of verbs works on whole blocks of circular buffers, one on rows of matrices, with exponentials that the
    pack thread issues beside a product. Verbs that read tiles pop none.

    A column is a tile of which column 0 counts; of a column that a verb makes the others are not known. A verb that
    reads whole tiles refuses it, and one that adds in L1 refuses a block format, which the packer cannot add in.
    """

    def __init__(self, core: Core) -> None:
        chip = core.chip
        self.core = core
        self.tensix = core.tensix
        self.values = chip.values
        self.dst_tiles = chip.program.compute.dst_tiles
        self._threads = Threads(core)
        self._run = self._threads.run
        self._operations = Operations(chip)
        self._known: dict[tuple[object, ...], Operation] = {}
        config, numbers = chip.program.compute, chip.machine.chip.numbers
        self._math = (Exact if config.exact else Arithmetic)(config, numbers)
        steps: dict[tuple[str, str], set[str]] = {}
        for verb, buffer, step in config.ideal:
            steps.setdefault((verb, buffer), set()).add(step)
        self._ideal = {place: Exact(config, numbers, frozenset(left_out)) for place, left_out in steps.items()}
        self._spec = chip.costs.spec

    @property
    def task(self) -> Task | None:
        """The running kernel, which deadlock reports show."""
        return self._threads.task

    @task.setter
    def task(self, task: Task) -> None:
        self._threads.task = task

    @property
    def end(self) -> int:
        """Cycle at which the last of the three threads ended."""
        return max(self.tensix.unpack, self.tensix.math, self.tensix.pack)

    def cbs(self, *names: str) -> tuple[CircularBuffer, ...]:
        """Circular buffers of this core by name."""
        return self.core.cbs(names)

    def matrix(self, name: str, rows: int, cols: int) -> Matrix:
        """Tiles of a circular buffer as a matrix."""
        return Matrix(self.core.cbs((name,))[0], rows, cols)

    def column(self, name: str, rows: int) -> Matrix:
        """Tiles of a circular buffer as a column of factors or maxima, one value a row."""
        return Matrix(self.core.cbs((name,))[0], rows, 1, column=True)

    # -- circular buffers and threads -------------------------------------------------------------------------

    async def wait(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are there."""
        await self._threads.wait(cb, tiles)

    async def reserve(self, cb: CircularBuffer, tiles: int) -> None:
        """Wait until `tiles` tiles are free, for verbs that write rows of a matrix. Other verbs reserve for themselves."""
        await self._threads.reserve(cb, tiles)

    def push(self, cb: CircularBuffer, tiles: int) -> None:
        """Hand over `tiles` tiles of a matrix, when the packer has packed what was issued so far."""
        self._threads.push(cb, tiles)

    def pop(self, cb: CircularBuffer, tiles: int) -> None:
        """Give `tiles` tiles back to the producer, after the unpacker has read what was issued so far."""
        self._threads.pop(cb, tiles)

    def hand_over(self) -> None:
        """Let the unpacker wait, by a semaphore, until all that was issued so far is packed: rows changed in place."""
        self._threads.hand_over()

    def init_exp(self) -> None:
        """Load the constants of an exponential into the vector unit, from the pack thread."""
        cycles = self._spec.exp_init_cycles
        self._threads.spend_on_pack("init exp", cycles, cycles)

    def bracket(self) -> None:
        """Set the pack thread up for `mark` and back, with nothing to mark."""
        self._threads.spend_on_pack("mark", self._spec.accumulate_switch_cycles)

    # -- matrix products ----------------------------------------------------------------------------------

    async def matmul(
        self, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, m: int, n: int, k: int, subblock: tuple[int, int], transpose: bool = False,
        accumulate: bool = False,
    ) -> None:  # fmt: skip
        """out [m, n] = a [m, k] x b [k, n], in subblocks of DST; with `transpose` each tile of b is transposed.

        Rows of `out` are pushed band by band, one subblock high, and rows of `a` are awaited so. With `accumulate` the
        packer adds to the tiles that `out` already holds instead. Neither `a` nor `b` is popped.
        """
        await self._run(self._operation("matmul", a, b, out, m, n, k, subblock, accumulate))
        if self.values:
            math = self._at("matmul", out)
            left, right = self._whole(a, m, k), self._whole(b, k, n)
            product = math.matmul(left, a.spec.format, right, b.spec.format, out.spec.format, transpose)
            if accumulate:
                math.accumulate(self._whole(out, m, n), product, out.spec.format)
            else:
                out.keep(product)

    async def sum_columns(self, x: CircularBuffer, ones: CircularBuffer, rows: int, window: int) -> None:
        """x [rows, 1] <- x times a column of ones, in place: each row's sum, in column 0."""
        await self._run(self._operation("sum_columns", x, ones, rows, window))
        if self.values:
            math = self._at("sum_columns", x)
            x.blocks[0] = math.pack(math.sum_columns(self._whole(x, rows, 1), x.spec.format), x.spec.format)

    # -- rows ---------------------------------------------------------------------------------------------

    async def max_rows(
        self,
        x: CircularBuffer,
        scaler: CircularBuffer,
        out: CircularBuffer,
        m: int,
        n: int,
        window: int,
        before: CircularBuffer | None = None,
    ) -> None:
        """out [m, 1] = largest value of each row of x [m, n], and of `before` [m, 1] where given. Pops nothing."""
        await self._run(self._operation("max_rows", x, scaler, out, m, n, window, before))
        if self.values:
            math = self._at("max_rows", out)
            old = (before.block(m, 1), before.spec.format) if before else (None,)
            best = math.max_rows(self._whole(x, m, n), x.spec.format, *old)
            out.keep(math.pack(best, out.spec.format))

    async def sub_exp(
        self, x: CircularBuffer, column: CircularBuffer, sums: CircularBuffer, m: int, n: int, window: int, scale: float
    ) -> None:
        """x [m, n] <- relu(exp((x - column) * scale)) in place; sums [m, 1] = the tiles of each row, added up.

        The exponential is the fast approximation, issued by the math thread. A tile of `sums` still has its 32
        columns apart: `sum_columns` adds them. `column` is not popped.
        """
        await self._run(self._operation("sub_exp", x, column, sums, m, n, window))
        if self.values:
            block = self._whole(x, m, n)
            self._at("sub_exp", x).sub_exp(block, column.block(m, 1), scale, x.spec.format, column.spec.format)
            sums.keep(self._at("sub_exp", sums).row_sums(block, x.spec.format, sums.spec.format))

    # -- columns ------------------------------------------------------------------------------------------

    async def exp_difference(self, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, m: int, scale: float) -> None:
        """out [m, 1] = exp((a - b) * scale) in column 0, by the accurate exponential. Pops nothing."""
        await self._run(self._operation("exp_difference", a, b, out, m))
        if self.values:
            columns = a.block(m, 1), a.spec.format, b.block(m, 1), b.spec.format
            out.keep(self._at("exp_difference", out).exp_difference(*columns, scale, out.spec.format))

    async def reciprocal(self, x: CircularBuffer, m: int) -> None:
        """x [m, 1] <- 1 / x in column 0, in place."""
        await self._run(self._operation("reciprocal", x, m))
        if self.values:
            x.blocks[0] = self._at("reciprocal", x).reciprocal(x.block(m, 1), x.spec.format)

    async def mul_columns(self, x: CircularBuffer, column: CircularBuffer, m: int) -> None:
        """x [m, 1] <- x * column, in place; `column` is not popped."""
        await self._run(self._operation("mul_columns", x, column, m))
        if self.values:
            math = self._at("mul_columns", x)
            product = math.mul_columns(x.block(m, 1), x.spec.format, column.block(m, 1), column.spec.format)
            x.blocks[0] = math.pack(product, x.spec.format)

    async def scale_rows(
        self,
        x: CircularBuffer,
        column: CircularBuffer,
        out: CircularBuffer,
        m: int,
        n: int,
        window: int,
        accumulate: bool = False,
    ) -> None:
        """out [m, n] = x * column, the column [m, 1] broadcast; with `accumulate`, added to the tiles that `out` already holds.

        Pops nothing.
        """
        await self._run(self._operation("scale_rows", x, column, out, m, n, window, accumulate))
        if self.values:
            math = self._at("scale_rows", out)
            product = math.mul_columns(self._whole(x, m, n), x.spec.format, column.block(m, 1), column.spec.format)
            if accumulate:
                math.accumulate(self._whole(out, m, n), product, out.spec.format)
            else:
                out.keep(math.pack(product, out.spec.format))

    # -- element by element ---------------------------------------------------------------------------------

    async def add(self, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, tiles: int) -> None:
        """out = a + b over `tiles` tiles. Pops nothing. Columns make a column, as does a column and whole tiles."""
        await self._run(self._operation("add", a, b, out, tiles))
        if self.values:
            out.keep(self._add("add", a, b, out, 1, tiles))

    async def add_to(self, x: CircularBuffer, y: CircularBuffer, m: int) -> None:
        """x [m, 1] <- x + y, in place; `y` is not popped."""
        await self._run(self._operation("add_to", x, y, m))
        if self.values:
            x.blocks[0] = self._add("add_to", x, y, x, m, 1)

    async def stamp(
        self, tiles: CircularBuffer, onto: CircularBuffer, m: int, n: int, marks: Sequence[tuple[int, int, range]], window: int
    ) -> None:
        """Add tiles to some tiles of `onto` [m, n], in place, by accumulating packs.

        A mark (index, row, cols) adds tile `index` of `tiles` to the columns `cols` of tile row `row`; up to `window`
        packs of one mark share a DST half.
        """
        sizes = tuple(min(window, len(cols) - i) for _, _, cols in marks for i in range(0, len(cols), window))
        await self._run(self._operation("stamp", tiles, onto, m * n, sizes))
        if self.values:
            self._stamp(self._at("stamp", onto), self._whole(onto, m, n), tiles, marks, onto.spec.format)

    # -- rows of matrices -------------------------------------------------------------------------------------

    async def multiply(
        self, a: Matrix, b: Matrix, out: Matrix, rows: range, n: int, k: int, width: int, *,
        pieces: int = 1, transpose: bool = False, push: bool = False, early: bool = False, beside: Beside | None = None,
        hand_over: bool = False,
    ) -> None:  # fmt: skip
        """out[rows, :n] = a[rows, :k] x b[:k, :n], in windows of all rows and `width` columns; the rest as it was.

        The inner tiles come in `pieces`, which the packer adds up. The windows of `beside` come each before an equal
        share of the product's. With `push` whole rows of `out` are handed over, half of them as soon as the first
        n / 2 columns are packed if `early`. With `hand_over` each piece waits until what is beside it is packed.
        """
        call = (a, b, out, rows, n, k, width, pieces, push, early, beside, hand_over)
        await self._run(self._operation("multiply", *call))
        if self.values:
            if beside is not None:
                beside.compute(self._at)
            math = self._at("multiply", out.cb)
            left, right, into = a.values(rows), b.values(range(b.rows)), out.values(rows)[:, :, :n]
            for piece in range(pieces):
                inner = slice(piece * k // pieces, (piece + 1) * k // pieces)
                product = math.matmul(left[:, :, inner], a.format, right[inner, :, :n], b.format, out.format, transpose)
                if piece:
                    math.accumulate(into, product, out.format)
                else:
                    into[:] = product

    async def row_max(
        self, x: Matrix, scaler: CircularBuffer, out: Matrix, rows: range, n: int, before: Matrix | None = None
    ) -> None:
        """out[rows] = largest value of each row of x[rows, :n], and of before[rows] where given; pushed. In one window."""
        await self._run(self._operation("row_max", x, scaler, out, rows, n, before))
        if self.values:
            old = (None,) if before is None else (before.values(rows), before.format)
            math = self._at("row_max", out.cb)
            out.values(rows)[:] = math.pack(math.max_rows(x.values(rows)[:, :, :n], x.format, *old), out.format)

    async def mark(self, tiles: CircularBuffer, onto: Matrix, rows: range, marks: Sequence[Mark]) -> None:
        """Add tiles to some tiles of onto[rows], the newest rows, by accumulating packs of a window each.

        A mark (index, row, cols) adds tile `index` of `tiles` to the columns `cols` of tile row `row`.
        """
        sizes = (1,) * sum(len(cols) for _, _, cols in marks)
        await self._run(self._operation("mark", tiles, onto, rows, sizes))
        if self.values:
            self._stamp(self._at("mark", onto.cb), onto.values(range(onto.rows)), tiles, marks, onto.format)

    async def rescale(
        self, x: Matrix, y: Matrix, column: Matrix, onto_x: Matrix, onto_y: Matrix, rows: range, beside: Beside | None = None
    ) -> None:
        """onto_x[rows] += x[rows] * column[rows] and onto_y[rows] += y[rows] * column[rows], added by the packer.

        x has the rows at its front; y, a column of sums, shares the last window where DST has room for it.
        """
        await self._run(self._operation("rescale", x, y, column, onto_x, onto_y, rows, beside))
        if self.values:
            factors = column.values(rows)
            for source, onto in ((x, onto_x), (y, onto_y)):
                math = self._at("rescale", onto.cb)
                product = math.mul_columns(source.values(rows), source.format, factors, column.format)
                math.accumulate(onto.values(rows), product, onto.format)
            if beside is not None:
                beside.compute(self._at)

    async def run_alone(self, work: Beside) -> None:
        """Work that has nothing beside it."""
        await self._run(self._operation("run_alone", work))
        if self.values:
            work.compute(self._at)

    async def sum_reciprocal(self, sums: CircularBuffer, ones: CircularBuffer, out: CircularBuffer) -> None:
        """out [1, 1] = 1 / (the front tile of `sums` times a column of ones): of each row's sum, in column 0. Pops nothing."""
        await self._run(self._operation("sum_reciprocal", sums, ones, out))
        if self.values:
            math = self._at("sum_reciprocal", out)
            total = math.sum_columns(self._whole(sums, 1, 1), sums.spec.format)
            out.keep(math.reciprocal(total, out.spec.format, streaming=True))

    # -- inside ---------------------------------------------------------------------------------------------

    def _at(self, verb: str, out: CircularBuffer) -> Math:
        """What computes the values of a verb that writes `out`."""
        return self._ideal.get((verb, out.spec.name), self._math) if self._ideal else self._math

    def _stamp(self, math: Math, grid: Values, tiles: CircularBuffer, marks: Sequence[Mark], fmt: Format) -> None:
        stamps = self._whole(tiles, 1, tiles.spec.tiles)
        for index, row, cols in marks:
            stamp = stamps[:, :, index : index + 1, :]
            math.stamp(grid[row : row + 1, :, cols.start : cols.stop, :], stamp, tiles.spec.format, fmt)

    def _whole(self, cb: CircularBuffer, rows: int, cols: int) -> Values:
        """The front tiles of `cb`, of which all columns are known."""
        block = cb.block(rows, cols)
        if block.shape[3] < TILE:
            raise SimulationError(f"{cb.label}: holds a column, of whose tiles only column 0 is known; whole tiles are read here")
        return block

    def _add(self, verb: str, a: CircularBuffer, b: CircularBuffer, out: CircularBuffer, rows: int, cols: int) -> Values:
        """a + b as packed to `out`, in as many columns as both have."""
        x, y = a.block(rows, cols), b.block(rows, cols)
        width = min(x.shape[3], y.shape[3])
        math = self._at(verb, out)
        return math.pack(math.add(x[..., :width], a.spec.format, y[..., :width], b.spec.format), out.spec.format)

    def _operation(self, *call: Any) -> Operation:
        """The operation of a verb, `call[0]`, with the other arguments; made at the first such call."""
        operation = self._known.get(call)
        if operation is None:
            operation = cast(Operation, getattr(self._operations, call[0])(*call[1:]))
            for cb, _ in (*operation.inputs, (operation.source, 0)):
                check_consumer(cb, "wait")
            if operation.out is not None:
                check_producer(operation.out)
            self._known[call] = operation
        return operation
