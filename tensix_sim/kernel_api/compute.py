"""Verbs of the compute kernel: block operations on tiles, values and cycles in one pass.

A verb waits for its tiles, runs its windows on the unpack, math and pack clocks, and computes. The kernel
runs ahead of the engine's clock on these three and meets it only where a reader or writer can see: tiles
that are not there yet, space that is not free yet, a pop, a push.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from math import ceil
from typing import Any, cast

from tensix_sim.formats import Format
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import Fifo
from tensix_sim.hw.engine import DeadlockError, SimulationError, Task, Until
from tensix_sim.hw.tensix import Block, Outcome, Stage, Times, Window
from tensix_sim.program import RISC_OF, Role, Values


class _Now:
    """Awaitable that is done at once: nine verbs a step wait for tiles that are there already."""

    def __await__(self) -> Generator[Any, Any, None]:
        return cast(Generator[Any, Any, None], iter(()))


NOW = _Now()


class Compute:
    """What a compute kernel can do on its core. Shapes are in tiles."""

    def __init__(self, core: Core) -> None:
        chip = core.chip
        self.core = core
        self.engine = chip.engine
        self.tensix = core.tensix
        self.values = chip.values
        self.task: Task | None = None
        self.dst_tiles = chip.program.compute.dst_tiles
        self._blocks = chip.blocks
        self._costs = chip.costs
        self._spec = chip.machine.chip.tensix
        self._visible = self._spec.cb_visible_cycles
        self._update_cycles = self._spec.cb_update_cycles
        self._math = Arithmetic(chip.program.compute)
        self._trace = chip.trace
        self._zones = chip.trace.zones
        self._lanes = [chip.trace.lane(core.logical, f"TRISC_{i}") for i in range(3)] if self._zones else []

    @property
    def end(self) -> int:
        """Cycle at which the last of the three threads ended."""
        return max(self.tensix.unpack, self.tensix.math, self.tensix.pack)

    def cbs(self, *names: str) -> tuple[Fifo, ...]:
        """Circular buffers of this core by name."""
        return self.core.cbs(names)

    # -- matrix products ----------------------------------------------------------------------------------

    async def matmul(
        self, a: Fifo, b: Fifo, out: Fifo, m: int, n: int, k: int, subblock: tuple[int, int], transpose: bool = False
    ) -> None:
        """out [m, n] = a [m, k] x b [k, n], in subblocks of DST; with `transpose` each tile of b is transposed.

        Rows of `out` are pushed band by band, one subblock high, and rows of `a` are awaited so. Neither `a` nor
        `b` is popped.
        """
        h, w = subblock
        if m % h or n % w or h * w > self.dst_tiles:
            raise SimulationError(
                f"{out.label}: subblock {h}x{w} of a {m}x{n} product; it must divide both "
                f"and fit the {self.dst_tiles} tiles of a DST half"
            )
        block = self._block(("matmul", a.spec.format, b.spec.format, out.spec.format, m, n, k, h, w), self._matmul_stages)
        await self._wait(b, k * n)
        ready = self._arrivals(a, block, h * k) or await self._late_arrivals(a, block, h * k)
        base, times = self._run(block, ready, a, await self._space(out, m * n), out)
        product = self._math.matmul(a.block(m, k), a.spec.format, b.block(k, n), transpose) if self.values else None
        out.write(m * n, product)
        out.push_bands(h * n, [base + t for t in times.packed], self._visible)

    def _matmul_stages(self, a: Format, b: Format, out: Format, m: int, n: int, k: int, h: int, w: int) -> list[Stage]:
        cost, spec = self._costs, self._spec
        held, streamed = (h, -(-h // 2) * w) if w >= h else (-(-w // 2) * h, w)  # tiles of a (SrcB), of b (SrcA) per inner step
        unpack = cost.unpack(b, k * streamed, a, k * held)
        fpu, math = cost.matmul(h * w * k)
        window = Window(unpack, -(-unpack // k), fpu, 0, math, -(-math // k), cost.pack(out, h * w))
        band = Stage(window, n // w, spec.cb_wait_cycles, 0, spec.cb_update_cycles)
        first = band._replace(
            unpack_setup=band.unpack_setup + 2 * spec.reconfigure_cycles,
            math_setup=spec.reconfigure_cycles,
            pack_setup=band.pack_setup + spec.reconfigure_cycles + spec.cb_wait_cycles,
        )
        return [first] + [band] * (m // h - 1)

    async def sum_columns(self, x: Fifo, ones: Fifo, rows: int, window: int) -> None:
        """x [rows, 1] <- x times a column of ones, in place: each row's sum, in column 0."""
        self._check_window(x, window, rows)
        block = self._block(("sum columns", x.spec.format, rows, window), self._sum_stages)
        await self._wait(ones, 1)
        await self._wait(x, rows)
        self._update(block, x, rows, 1, self._math.sum_columns)

    def _sum_stages(self, fmt: Format, rows: int, window: int) -> list[Stage]:
        fpu, math = self._costs.matmul(window)
        unpack = self._costs.unpack(fmt, 1, fmt, window)
        return self._in_place(unpack, fpu, 0, math, self._costs.pack(fmt, window), rows // window)

    # -- rows ---------------------------------------------------------------------------------------------

    async def max_rows(self, x: Fifo, scaler: Fifo, out: Fifo, m: int, n: int, window: int, before: Fifo | None = None) -> None:
        """out [m, 1] = largest value of each row of x [m, n], and of `before` [m, 1] where given. Pops nothing."""
        self._check_window(x, window, m)
        block = self._block(("max rows", x.spec.format, m, n, window, before is not None), self._max_stages)
        await self._wait(scaler, 1)
        if before is not None:
            await self._wait(before, m)
        ready = self._arrivals(x, block, window * n) or await self._late_arrivals(x, block, window * n)
        base, times = self._run(block, ready, x, await self._space(out, m), out)
        best = self._math.max_rows(x.block(m, n), before.block(m, 1) if before else None) if self.values else None
        out.write(m, best)
        self._push(out, m, base + times.pack)

    def _max_stages(self, fmt: Format, m: int, n: int, window: int, with_before: bool) -> list[Stage]:
        cost, spec = self._costs, self._spec
        copies = window if with_before else 0
        unpack = window * n * spec.reduce_unpack_cycles + cost.unpack(fmt, copies, fmt, window)
        math = window * (n * spec.max_pool_cycles + spec.max_row_cycles) + copies * spec.copy_cycles
        fpu = window * n * spec.max_pool_fpu_cycles + copies * spec.eltwise_cycles
        w = Window(
            unpack, -(-unpack // (window * n)), fpu, 0, math, spec.max_pool_cycles + spec.max_row_cycles, cost.pack(fmt, window)
        )
        first = Stage(
            w,
            1,
            spec.reconfigure_cycles + spec.cb_wait_cycles,
            spec.reconfigure_cycles,
            spec.cb_wait_cycles + spec.cb_update_cycles,
        )
        rest = Stage(w, 1, spec.cb_wait_cycles, 0, 0)
        return [first] + [rest] * (m // window - 1)

    async def sub_exp(self, x: Fifo, column: Fifo, sums: Fifo, m: int, n: int, window: int, scale: float) -> None:
        """x [m, n] <- relu(exp((x - column) * scale)) in place; sums [m, 1] = the tiles of each row, added up.

        The exponential is the fast approximation, issued by the math thread. A tile of `sums` still has its 32
        columns apart: `sum_columns` adds them. `column` is not popped.
        """
        self._check_window(x, window, n)
        block = self._block(("sub exp", x.spec.format, sums.spec.format, m, n, window), self._sub_exp_stages)
        await self._wait(x, m * n)
        await self._wait(column, m)
        base, times = self._run(block, block.no_wait, x, await self._space(sums, m), sums)
        total = None
        if self.values:
            block_values = x.block(m, n)
            self._math.sub_exp(block_values, column.block(m, 1), scale)
            total = self._math.row_sums(block_values)
        rows = times.packed[len(times.packed) // m - 1 :: len(times.packed) // m]
        self._renew(x, n, [base + t for t in rows])
        sums.write(m, total)
        self._push(sums, m, base + times.pack)

    def _sub_exp_stages(self, fmt: Format, sum_fmt: Format, m: int, n: int, window: int) -> list[Stage]:
        cost, spec = self._costs, self._spec
        fpu, math = cost.eltwise(window)
        sfpu = ceil(window * spec.exp_approx_cycles)
        math += sfpu + window * spec.sfpu_start_cycles
        unpack = cost.unpack(fmt, window, fmt, window)
        pack = cost.pack(fmt, window) + 2 * spec.cb_update_cycles + spec.cb_wait_cycles

        def stage(repeat: int, overwrite: int) -> Stage:
            sums = cost.pack(sum_fmt, overwrite) + cost.pack(sum_fmt, window - overwrite, accumulate=True)
            w = Window(unpack, -(-unpack // window), fpu, sfpu, math, -(-math // window), pack + sums)
            return Stage(w, repeat)

        stages = []
        for _ in range(m):
            stages += [stage(1, 1)] + ([stage(n // window - 1, 0)] if n > window else [])
        stages[0] = stages[0]._replace(
            unpack_setup=spec.reconfigure_cycles, math_setup=spec.reconfigure_cycles, pack_setup=spec.cb_wait_cycles
        )
        return stages

    # -- columns ------------------------------------------------------------------------------------------

    async def exp_difference(self, a: Fifo, b: Fifo, out: Fifo, m: int, scale: float) -> None:
        """out [m, 1] = exp((a - b) * scale) in column 0, by the accurate exponential. Pops nothing."""
        block = self._block(("exp difference", a.spec.format, m), self._exp_difference_stages)
        await self._wait(a, m)
        await self._wait(b, m)
        base, times = self._run(block, block.no_wait, a, await self._space(out, m), out)
        out.write(m, self._math.exp_difference(a.block(m, 1), b.block(m, 1), scale) if self.values else None)
        self._push(out, m, base + times.pack)

    def _exp_difference_stages(self, fmt: Format, m: int) -> list[Stage]:
        cost, spec = self._costs, self._spec
        fpu, math = cost.eltwise(1)
        math += spec.sfpu_start_cycles + spec.exp_column_cycles
        pack = cost.pack(fmt, 1) + spec.cb_wait_cycles + spec.cb_update_cycles
        unpack = cost.unpack(fmt, 1, fmt, 1)
        stage = Stage(Window(unpack, unpack, fpu, spec.exp_column_cycles, math, math, pack))
        first = stage._replace(unpack_setup=spec.reconfigure_cycles, math_setup=spec.reconfigure_cycles)
        return [first] + [stage] * (m - 1)

    async def reciprocal(self, x: Fifo, m: int) -> None:
        """x [m, 1] <- 1 / x in column 0, in place."""
        block = self._block(("reciprocal", x.spec.format, m), self._reciprocal_stages)
        await self._wait(x, m)
        self._update(block, x, m, 1, self._math.reciprocal)

    def _reciprocal_stages(self, fmt: Format, m: int) -> list[Stage]:
        spec = self._spec
        math = spec.copy_cycles + spec.sfpu_start_cycles + spec.reciprocal_column_cycles
        return self._in_place(
            self._costs.unpack(fmt, 1), spec.eltwise_cycles, spec.reciprocal_column_cycles, math, self._costs.pack(fmt, 1), m
        )

    async def mul_columns(self, x: Fifo, column: Fifo, m: int) -> None:
        """x [m, 1] <- x * column, in place; `column` is not popped."""
        block = self._block(("mul columns", x.spec.format, m), self._mul_stages)
        await self._wait(column, m)
        await self._wait(x, m)
        self._update(
            block, x, m, 1, lambda tiles: self._math.pack(self._math.mul_columns(tiles, column.block(m, 1)), x.spec.format)
        )

    def _mul_stages(self, fmt: Format, m: int) -> list[Stage]:
        fpu, math = self._costs.eltwise(1, multiply=True)
        return self._in_place(self._costs.unpack(fmt, 1, fmt, 1), fpu, 0, math, self._costs.pack(fmt, 1), m)

    async def scale_rows(self, x: Fifo, column: Fifo, out: Fifo, m: int, n: int, window: int, accumulate: bool = False) -> None:
        """out [m, n] = x * column, the column [m, 1] broadcast; with `accumulate`, added to the tiles that `out` already holds.

        Pops nothing.
        """
        self._check_window(x, window, n)
        block = self._block(("scale rows", x.spec.format, out.spec.format, m, n, window, accumulate), self._scale_stages)
        await self._wait(column, m)
        await self._wait(x, m * n)
        if accumulate:
            self._check_front(out, m * n)
        base, times = self._run(block, block.no_wait, x, 0 if accumulate else await self._space(out, m * n), out)
        product = self._math.mul_columns(x.block(m, n), column.block(m, 1)) if self.values else None
        if accumulate:
            if product is not None:
                self._math.accumulate(out.block(m, n), product)
            self._renew(out, m * n, [base + times.pack])
        else:
            out.write(m * n, self._math.pack(product, out.spec.format) if product is not None else None)
            self._push(out, m * n, base + times.pack)

    def _scale_stages(self, fmt: Format, out: Format, m: int, n: int, window: int, accumulate: bool) -> list[Stage]:
        cost, spec = self._costs, self._spec
        fpu, math = cost.eltwise(window, multiply=True)
        unpack = cost.unpack(fmt, window, fmt, window)
        w = Window(unpack, -(-unpack // window), fpu, 0, math, -(-math // window), cost.pack(out, window, accumulate))
        return [
            Stage(
                w,
                m * (n // window),
                spec.reconfigure_cycles,
                spec.reconfigure_cycles,
                spec.reconfigure_cycles + spec.cb_wait_cycles,
            )
        ]

    # -- element by element ---------------------------------------------------------------------------------

    async def add(self, a: Fifo, b: Fifo, out: Fifo, tiles: int) -> None:
        """out = a + b over `tiles` tiles. Pops nothing."""
        block = self._block(("add", a.spec.format, b.spec.format, out.spec.format, tiles), self._add_stages)
        await self._wait(a, tiles)
        await self._wait(b, tiles)
        base, times = self._run(block, block.no_wait, a, await self._space(out, tiles), out)
        total = self._math.pack(self._math.add(a.block(1, tiles), b.block(1, tiles)), out.spec.format) if self.values else None
        out.write(tiles, total)
        out.push_bands(1, [base + t for t in times.packed], self._visible)

    def _add_stages(self, a: Format, b: Format, out: Format, tiles: int) -> list[Stage]:
        cost, spec = self._costs, self._spec
        fpu, math = cost.eltwise(1)
        unpack = cost.unpack(a, 1, b, 1)
        pack = cost.pack(out, 1) + spec.cb_wait_cycles + spec.cb_update_cycles
        stage = Stage(Window(unpack, unpack, fpu, 0, math, math, pack))
        first = stage._replace(unpack_setup=spec.reconfigure_cycles, math_setup=spec.reconfigure_cycles)
        return [first] + [stage] * (tiles - 1)

    async def add_to(self, x: Fifo, y: Fifo, m: int) -> None:
        """x [m, 1] <- x + y, in place; `y` is not popped."""
        block = self._block(("add to", x.spec.format, m), self._add_to_stages)
        await self._wait(y, m)
        await self._wait(x, m)
        self._update(block, x, m, 1, lambda tiles: self._math.add(tiles, y.block(m, 1)))

    def _add_to_stages(self, fmt: Format, m: int) -> list[Stage]:
        fpu, math = self._costs.eltwise(1)
        return self._in_place(self._costs.unpack(fmt, 1, fmt, 1), fpu, 0, math, self._costs.pack(fmt, 1), m)

    async def stamp(self, tiles: Fifo, onto: Fifo, m: int, n: int, marks: Sequence[tuple[int, int, range]], window: int) -> None:
        """Add tiles to some tiles of `onto` [m, n], in place, by accumulating packs.

        A mark (index, row, cols) adds tile `index` of `tiles` to the columns `cols` of tile row `row`; up to `window`
        packs of one mark share a DST half.
        """
        sizes = tuple(min(window, len(cols) - i) for _, _, cols in marks for i in range(0, len(cols), window))
        block = self._block(("stamp", tiles.spec.format, onto.spec.format, sizes), self._stamp_stages)
        await self._wait(tiles, tiles.spec.tiles)
        await self._wait(onto, m * n)
        base, times = self._run(block, block.no_wait, tiles, 0, onto)
        if self.values:
            grid, stamps = onto.block(m, n), tiles.block(1, tiles.spec.tiles)
            for index, row, cols in marks:
                grid[row, :, cols.start : cols.stop, :] += stamps[0, :, index : index + 1, :]
        self._renew(onto, m * n, [base + times.pack])

    def _stamp_stages(self, fmt: Format, onto: Format, sizes: tuple[int, ...]) -> list[Stage]:
        cost, spec = self._costs, self._spec

        def stage(tiles: int) -> Stage:
            unpack, math = cost.unpack(fmt, tiles), tiles * spec.copy_cycles
            pack = cost.pack(onto, tiles, accumulate=True)
            return Stage(Window(unpack, -(-unpack // tiles), tiles * spec.eltwise_cycles, 0, math, spec.copy_cycles, pack))

        stages = [stage(tiles) for tiles in sizes]
        stages[0] = stages[0]._replace(unpack_setup=spec.reconfigure_cycles, math_setup=spec.reconfigure_cycles)
        return stages

    # -- circular buffers -----------------------------------------------------------------------------------

    async def wait(self, cb: Fifo, tiles: int) -> None:
        """Wait until `tiles` tiles are there."""
        await self._wait(cb, tiles)

    def pop(self, cb: Fifo, tiles: int) -> None:
        """Give `tiles` tiles back to the producer, after the unpacker has read what was issued so far."""
        if cb.spec.consumer != "compute":
            self._check_consumer(cb, "pop")
        tensix = self.tensix
        tensix.unpack += self._update_cycles
        tensix.popping += self._update_cycles
        cb.pop(tiles, tensix.unpack)
        if self._zones:
            self._span(0, "pop", tensix.unpack - self._update_cycles, tensix.unpack)

    # -- inside ---------------------------------------------------------------------------------------------

    def _block(self, key: tuple[object, ...], stages: Callable[..., list[Stage]]) -> Block:
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = Block(str(key[0]), stages(*key[1:]), self._spec.dst_handshake_cycles)
        return block

    def _in_place(self, unpack: int, fpu: int, sfpu: int, math: int, pack: int, repeat: int) -> list[Stage]:
        """Windows that wait for, pop, reserve and push their own tiles, one after another through one buffer."""
        spec = self._spec
        unpack += spec.cb_wait_cycles + spec.cb_update_cycles
        window = Window(unpack, unpack, fpu, sfpu, math, math, pack + spec.cb_wait_cycles + spec.cb_update_cycles)
        return [Stage(window, repeat, spec.reconfigure_cycles, spec.reconfigure_cycles, 0)]

    def _update(self, block: Block, x: Fifo, rows: int, cols: int, change: Callable[[Values], Values]) -> None:
        """Run `block` over the front tiles of `x` and put what `change` makes of them in their place."""
        base, times = self._run(block, block.no_wait, x, 0, x)
        if self.values:
            x.blocks[0] = change(x.block(rows, cols))
        self._renew(x, rows * cols, [base + times.pack])

    def _run(self, block: Block, ready: tuple[int, ...], source: Fifo, space: int, out: Fifo) -> tuple[int, Times]:
        """Run `block` with `out` free from cycle `space` on: the cycle at which it started, and its times counted from there."""
        tensix = self.tensix
        before = (tensix.unpack, tensix.math, tensix.pack)
        outcome = tensix.run(block, ready, space)
        if outcome.unpack_tiles:
            tensix.waits[source.wait_tiles] += outcome.unpack_tiles
        if outcome.pack_space:
            tensix.waits[out.wait_space] += outcome.pack_space
        if self._zones:
            self._trace_block(block.name, outcome, before, source, out)
        return before[0], outcome.times

    def _wait(self, cb: Fifo, tiles: int) -> Awaitable[None]:
        """Hold the unpacker until it can see the first `tiles` tiles of `cb`."""
        if cb.spec.consumer != "compute":
            self._check_consumer(cb, "wait")
        if cb.received - cb.popped < tiles:
            return self._wait_for_push(cb, tiles)
        tensix = self.tensix
        arrival = cb.visible_at(tiles)
        if arrival > tensix.unpack:
            tensix.waits[cb.wait_tiles] += arrival - tensix.unpack
            if self._zones:
                self._span(0, cb.wait_tiles, tensix.unpack, arrival)
            tensix.unpack = arrival
        return NOW

    async def _wait_for_push(self, cb: Fifo, tiles: int) -> None:
        await self._pushed(cb, tiles)
        await self._wait(cb, tiles)

    def _arrivals(self, cb: Fifo, block: Block, tiles: int) -> tuple[int, ...] | None:
        """Cycles at which the stages of `block` can see `tiles`, 2 * `tiles`, ... tiles of `cb`; None before their push."""
        stages = len(block.stages)
        if cb.received - cb.popped < stages * tiles:
            return None
        if cb.visible_at(stages * tiles) <= self.tensix.unpack:
            return block.no_wait
        return tuple([cb.visible_at((i + 1) * tiles) for i in range(stages)])

    async def _late_arrivals(self, cb: Fifo, block: Block, tiles: int) -> tuple[int, ...]:
        await self._pushed(cb, len(block.stages) * tiles)
        arrivals = self._arrivals(cb, block, tiles)
        assert arrivals is not None
        return arrivals

    def _check_window(self, cb: Fifo, window: int, tiles: int) -> None:
        """A window takes equal shares of `tiles` tiles, and no more than a DST half."""
        if tiles % window or window > self.dst_tiles:
            raise SimulationError(
                f"{cb.label}: windows of {window} tiles; they must divide {tiles} "
                f"and fit the {self.dst_tiles} tiles of a DST half"
            )

    async def _pushed(self, cb: Fifo, tiles: int) -> None:
        """Suspend the kernel until `tiles` tiles have been pushed."""
        self._check_consumer(cb, "wait")
        cb.check_request(tiles, "wait for")
        self._block_on(cb, lambda: f"{tiles} tiles in {cb.spec.name}, which has {cb.front}", cb.spec.producer)
        while cb.front < tiles:
            await Until(cb.next_push())

    async def _space(self, cb: Fifo, tiles: int) -> int:
        """Reserve `tiles` tiles; the cycle from which they are free, 0 if that is long ago."""
        if cb.spec.producer != "compute":
            raise SimulationError(f"{cb.label}: reserve by the compute kernel; this end belongs to the {cb.spec.producer}")
        since = 0
        if cb.space < tiles:
            cb.check_request(tiles, "reserve of")
            why = f"space for {tiles} tiles in {cb.spec.name}, which has {cb.space} of {cb.spec.tiles} free"
            self._block_on(cb, lambda: why, cb.spec.consumer)
            while cb.space < tiles:
                await Until(cb.next_pop())
                since = self.engine.now
        cb.reserve(tiles)
        return since

    def _block_on(self, cb: Fifo, what: Callable[[], str], other: Role) -> None:
        """Tell the engine what this kernel waits for, and from whom."""
        if not cb.shared:
            raise DeadlockError(
                f"{self.core.label} TRISC waits for itself: {what()}, and only the compute kernel can change that"
            )
        if self.task is not None:
            self.task.blocked = what
            self.task.waits_for = f"{self.core.label} {RISC_OF[other]}"

    def _push(self, cb: Fifo, tiles: int, time: int) -> None:
        cb.push(tiles, time, time + self._visible)

    def _renew(self, cb: Fifo, tiles: int, times: list[int]) -> None:
        """Pop, reserve and push the same tiles, `tiles` at each cycle of `times`: their values changed in place."""
        self._check_front(cb, tiles * len(times))
        cb.log.clear()
        cb.log.extend([(cb.popped + i * tiles, time + self._visible) for i, time in enumerate(times, 1)])

    def _check_front(self, cb: Fifo, tiles: int) -> None:
        if cb.shared or cb.front != tiles:
            raise SimulationError(
                f"{cb.label}: an in-place change of {tiles} tiles needs a buffer of the compute kernel's own "
                f"that holds just them; it holds {cb.front}"
            )

    def _check_consumer(self, cb: Fifo, verb: str) -> None:
        if cb.spec.consumer != "compute":
            raise SimulationError(f"{cb.label}: {verb} by the compute kernel; this end belongs to the {cb.spec.consumer}")

    def _trace_block(self, name: str, outcome: Outcome, before: tuple[int, int, int], source: Fifo, out: Fifo) -> None:
        tensix = self.tensix
        after = (tensix.unpack, tensix.math, tensix.pack)
        parts = (
            ((source.wait_tiles, outcome.unpack_tiles), ("wait math", outcome.unpack_src), (name, outcome.unpack_busy)),
            (
                ("wait unpack", after[1] - before[1] - outcome.math_dst - outcome.math_busy),
                ("wait dst", outcome.math_dst),
                (name, outcome.math_busy),
            ),
            (
                ("wait math", after[2] - before[2] - outcome.pack_space - outcome.pack_busy),
                (out.wait_space, outcome.pack_space),
                (name, outcome.pack_busy),
            ),
        )
        for lane, (start, lane_parts) in enumerate(zip(before, parts, strict=True)):
            at = start
            for label, cycles in lane_parts:
                self._span(lane, label, at, at + cycles)
                at += cycles

    def _span(self, lane: int, name: str, start: int, end: int) -> None:
        if end > start:
            self._trace.span(self._lanes[lane], self._trace.name(name), start, end)
