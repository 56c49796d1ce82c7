"""The windows of each compute verb: what its shapes and formats cost on the three threads."""

from math import ceil

from tensix_sim.formats import Format
from tensix_sim.hw.tensix import Costs, Stage, Window

NOTHING = Window(0, 0, 0, 0, 0, 0, 0)
COLUMN_FACES = 2  # a broadcast column comes from the left half of its tile: LLK `llk_unpack_AB.h`


class Windows:
    """Stages of verbs on one chip under one compute config. Shapes are in tiles, `window` is the tiles in a DST half."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.spec = costs.spec

    # -- matrix products ----------------------------------------------------------------------------------

    def matmul(
        self, a: Format, b: Format, out: Format, m: int, n: int, k: int, h: int, w: int, accumulate: bool = False
    ) -> list[Stage]:
        """Subblocks of h x w."""
        spec = self.spec
        window = self._product(a, b, out, h, w, k, accumulate)
        band = Stage(window, n // w, pack_setup=spec.cb_update_cycles, seen=spec.cb_wait_cycles)
        first = self._begin(band, pack=spec.reconfigure_cycles + spec.cb_wait_cycles + accumulate * spec.accumulate_switch_cycles)
        return [first] + [band] * (m // h - 1)

    def _product(self, a: Format, b: Format, out: Format, h: int, w: int, k: int, accumulate: bool = False) -> Window:
        """A subblock of a product; the narrower side stays in a source register, two tiles of it at a time."""
        cost = self.costs
        held, streamed = (h, -(-h // 2) * w) if w >= h else (-(-w // 2) * h, w)  # tiles of a (SrcB), of b (SrcA) per inner step
        unpack = cost.unpack(b, k * streamed, a, k * held)
        fpu, math = cost.matmul(h * w * k)
        window = self._window(unpack, k, fpu, 0, math, cost.pack(out, h * w, accumulate))
        return window._replace(first=cost.unpack(b, 1, a, 1))

    def sum_columns(self, fmt: Format, ones: Format, rows: int, window: int) -> list[Stage]:
        """Products with a column of ones."""
        fpu, math = self.costs.matmul(window)
        return self._in_place(self.costs.unpack(ones, 1, fmt, window), fpu, 0, math, self.costs.pack(fmt, window), rows // window)

    # -- rows ---------------------------------------------------------------------------------------------

    def max_rows(self, x: Format, out: Format, m: int, n: int, window: int, with_before: bool) -> list[Stage]:
        """Max pool of each tile, and what a row of tiles costs at its end."""
        spec = self.spec
        w = self._maxima(x, out, window, n, with_before)
        first = self._begin(Stage(w), pack=spec.cb_wait_cycles + spec.cb_update_cycles)
        return [first] + [Stage(w, seen=spec.cb_wait_cycles)] * (m // window - 1)

    def _maxima(self, x: Format, out: Format, rows: int, n: int, with_before: bool) -> Window:
        cost, spec = self.costs, self.spec
        copies = rows if with_before else 0
        row_fpu, row_math = cost.max_row()
        unpack = cost.unpack(x, rows * n) + cost.unpack(out, copies, out, rows)
        math = rows * (n * spec.max_pool_cycles + row_math) + copies * spec.copy_cycles
        fpu = rows * (n * spec.max_pool_fpu_cycles + row_fpu) + copies * spec.eltwise_cycles
        window = self._window(unpack, rows * n, fpu, 0, math, cost.pack(out, rows))
        return window._replace(last=spec.max_pool_cycles + row_math)

    def sub_exp(self, fmt: Format, column: Format, sum_fmt: Format, m: int, n: int, window: int) -> list[Stage]:
        """Exponentials on the math thread; each window is packed in place, and once more onto the row's sum."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.eltwise(window)
        sfpu = ceil(window * spec.exp_approx_cycles)
        math += sfpu + window * spec.sfpu_start_cycles
        unpack = cost.unpack(fmt, window, column, window, COLUMN_FACES) + spec.cb_update_cycles
        pack = cost.pack(fmt, window) + spec.cb_update_cycles + spec.cb_wait_cycles

        def stage(repeat: int, overwrite: int) -> Stage:
            sums = cost.pack(sum_fmt, overwrite) + cost.pack(sum_fmt, window - overwrite, accumulate=True)
            return Stage(self._window(unpack, window, fpu, sfpu, math, pack + sums + spec.accumulate_switch_cycles), repeat)

        stages = []
        for _ in range(m):
            stages += [stage(1, 1)] + ([stage(n // window - 1, 0)] if n > window else [])
        stages[0] = self._begin(stages[0], pack=spec.cb_wait_cycles)
        return stages

    # -- columns ------------------------------------------------------------------------------------------

    def exp_difference(self, fmt: Format, m: int) -> list[Stage]:
        """A subtract and an accurate exponential of a column, a tile a window."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.eltwise(1)
        math += spec.sfpu_start_cycles + cost.exp_column()
        pack = cost.pack(fmt, 1) + spec.cb_wait_cycles + spec.cb_update_cycles
        stage = Stage(self._window(cost.unpack(fmt, 1, fmt, 1), 1, fpu, cost.exp_column(), math, pack))
        return [self._begin(stage)] + [stage] * (m - 1)

    def reciprocal(self, fmt: Format, m: int) -> list[Stage]:
        """A copy and a reciprocal of a column, a tile a window."""
        cost, spec = self.costs, self.spec
        math = spec.copy_cycles + spec.sfpu_start_cycles + spec.reciprocal_column_cycles
        return self._in_place(cost.unpack(fmt, 1), spec.eltwise_cycles, spec.reciprocal_column_cycles, math, cost.pack(fmt, 1), m)

    def mul_columns(self, fmt: Format, column: Format, m: int) -> list[Stage]:
        """A multiply, a tile a window."""
        fpu, math = self.costs.eltwise(1, multiply=True)
        return self._in_place(self.costs.unpack(fmt, 1, column, 1, COLUMN_FACES), fpu, 0, math, self.costs.pack(fmt, 1), m)

    def add_to(self, fmt: Format, m: int) -> list[Stage]:
        """An add, a tile a window."""
        fpu, math = self.costs.eltwise(1)
        return self._in_place(self.costs.unpack(fmt, 1, fmt, 1), fpu, 0, math, self.costs.pack(fmt, 1), m)

    def scale_rows(self, fmt: Format, column: Format, out: Format, m: int, n: int, window: int, accumulate: bool) -> list[Stage]:
        """Multiplies by a column, which comes with every tile."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.eltwise(window, multiply=True)
        unpack = cost.unpack(fmt, window, column, window, COLUMN_FACES)
        w = self._window(unpack, window, fpu, 0, math, cost.pack(out, window, accumulate))
        return [self._begin(Stage(w, m * (n // window)), pack=spec.reconfigure_cycles + spec.cb_wait_cycles)]

    # -- element by element ---------------------------------------------------------------------------------

    def add(self, a: Format, b: Format, out: Format, tiles: int) -> list[Stage]:
        """An add, a tile a window, each with its own hand-over."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.eltwise(1)
        pack = cost.pack(out, 1) + spec.cb_wait_cycles + spec.cb_update_cycles
        stage = Stage(self._window(cost.unpack(a, 1, b, 1), 1, fpu, 0, math, pack))
        return [self._begin(stage)] + [stage] * (tiles - 1)

    def stamp(self, fmt: Format, onto: Format, sizes: tuple[int, ...]) -> list[Stage]:
        """Copies, accumulated by the packer; a window for each of `sizes`."""
        cost, spec = self.costs, self.spec

        def stage(tiles: int) -> Stage:
            pack = cost.pack(onto, tiles, accumulate=True)
            return Stage(
                self._window(cost.unpack(fmt, tiles), tiles, tiles * spec.eltwise_cycles, 0, tiles * spec.copy_cycles, pack)
            )

        stages = [stage(tiles) for tiles in sizes]
        stages[0] = self._begin(stages[0], pack=spec.accumulate_switch_cycles)
        return stages

    # -- row groups, with exponentials on the pack thread -----------------------------------------------------

    def multiply(
        self, a: Format, b: Format, out: Format, h: int, n: int, k: int, w: int, pieces: int, hand_over: bool, beside: list[Stage]
    ) -> list[Stage]:
        """h rows of a product in windows of w columns; the k inner tiles in pieces, added up by the packer.

        Each stage of `beside` comes before an equal share of the windows. Unpackers have the format of `out` before and
        after, and for `beside`.
        """
        spec = self.spec
        reconfigure = spec.reconfigure_cycles if (a, b) != (out, out) else 0
        windows = []
        for piece in range(pieces):
            stage = Stage(self._product(a, b, out, h, w, k // pieces, accumulate=piece > 0))
            first = stage._replace(after_pack=hand_over, pack_setup=spec.accumulate_switch_cycles if piece else 0)
            windows += [first] + [stage] * (n // w - 1)
        turns = max(1, len(beside))
        share = len(windows) // turns
        stages: list[Stage] = []
        for i in range(turns):
            if beside:
                stages.append(beside[i]._replace(unpack_setup=reconfigure if i else 0))
            first, *others = windows[i * share : (i + 1) * share]
            stages += [first._replace(unpack_setup=reconfigure, math_setup=spec.math_init_cycles), *others]
        return [*stages, Stage(NOTHING, 0, reconfigure)] if reconfigure else stages

    def sub_exp_rows(self, fmt: Format, sums: Format, h: int, n: int, w: int) -> list[Stage]:
        """Windows of h x w differences; each exponential is packed in place, and once more onto its row's sum."""
        first, other = self._sub_exp(fmt, sums, h, w, h), self._sub_exp(fmt, sums, h, w, 0)
        init = self.spec.math_init_cycles
        return [Stage(window, math_setup=init) for window in (first, *[other] * (n // w - 1))]

    def _sub_exp(self, fmt: Format, sum_fmt: Format, h: int, w: int, new: int) -> Window:
        """A window of h x w tiles, the first `new` of which overwrite their row's sum."""
        cost, spec = self.costs, self.spec
        tiles = h * w
        fpu, math = cost.eltwise(tiles)
        vector = ceil(tiles * spec.exp_approx_cycles)
        sums = cost.pack(sum_fmt, new) + cost.pack(sum_fmt, tiles - new, accumulate=True) + spec.accumulate_switch_cycles
        pack = tiles * spec.sfpu_start_cycles + cost.pack(fmt, tiles) + sums
        return self._window(cost.unpack(fmt, tiles, fmt, h, COLUMN_FACES), tiles, fpu, 0, math, pack, vector)

    def exp_difference_rows(self, fmt: Format, h: int, approximate: bool) -> list[Stage]:
        """One window of h differences, of which the pack thread makes exponentials of a column."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.eltwise(h)
        pack = h * spec.sfpu_start_cycles + cost.pack(fmt, h) + spec.cb_wait_cycles + spec.cb_update_cycles
        window = self._window(cost.unpack(fmt, h, fmt, h), h, fpu, 0, math, pack, h * cost.exp_column(approximate))
        return [Stage(window, math_setup=spec.math_init_cycles, seen=spec.cb_wait_cycles)]

    def rescale(self, fmt: Format, h: int, n: int, dst_tiles: int, beside: list[Stage]) -> list[Stage]:
        """Multiplies by a column, accumulated by the packer: of h x n tiles, and of h sums in the last window if they fit."""
        w = min(dst_tiles // h, n)
        sizes = [h * min(w, n - col) for col in range(0, n, w)]
        if sizes[-1] + h <= dst_tiles:
            sizes[-1] += h
        else:
            sizes.append(h)
        first, *others = [Stage(self._scaled(fmt, h, tiles)) for tiles in sizes]
        spec = self.spec
        first = first._replace(math_setup=spec.math_init_cycles, pack_setup=spec.accumulate_switch_cycles)
        return [*beside, first, *others]

    def _scaled(self, fmt: Format, h: int, tiles: int) -> Window:
        cost = self.costs
        fpu, math = cost.eltwise(tiles, multiply=True)
        unpack = cost.unpack(fmt, tiles, fmt, h, COLUMN_FACES)
        return self._window(unpack, tiles, fpu, 0, math, cost.pack(fmt, tiles, accumulate=True))

    def row_max(self, x: Format, out: Format, h: int, n: int, with_before: bool) -> list[Stage]:
        """Row maxima of h rows of tiles in one window."""
        spec = self.spec
        return [
            Stage(
                self._maxima(x, out, h, n, with_before),
                math_setup=spec.math_init_cycles,
                pack_setup=spec.cb_wait_cycles + spec.cb_update_cycles,
                seen=spec.cb_wait_cycles,
            )
        ]

    def sum_reciprocal(self, fmt: Format) -> list[Stage]:
        """A product with a column of ones and the reciprocal of its column, on the math thread, in one window."""
        cost, spec = self.costs, self.spec
        fpu, math = cost.matmul(1)
        vector = spec.reciprocal_column_cycles
        window = self._window(
            cost.unpack(fmt, 1, fmt, 1), 1, fpu, vector, math + spec.sfpu_start_cycles + vector, cost.pack(fmt, 1)
        )
        return [self._begin(Stage(window), pack=spec.cb_wait_cycles + spec.cb_update_cycles)]

    # -- inside ---------------------------------------------------------------------------------------------

    def _window(self, unpack: int, loads: int, fpu: int, sfpu: int, math: int, pack: int, vector: int = 0) -> Window:
        """A window of operands in equal loads, with a share of math behind each, and `vector` SFPU cycles before its packs."""
        return Window(unpack, -(-unpack // loads), fpu, sfpu + vector, math, -(-math // loads), pack + vector, vector)

    def _begin(self, stage: Stage, pack: int = 0) -> Stage:
        """The first stage of a verb: new formats for the unpackers, which then wait for tiles, a new operation for the FPU."""
        spec = self.spec
        return stage._replace(
            unpack_setup=stage.unpack_setup + spec.reconfigure_cycles,
            math_setup=stage.math_setup + spec.math_init_cycles,
            pack_setup=stage.pack_setup + pack,
            seen=spec.cb_wait_cycles,
        )

    def _in_place(self, unpack: int, fpu: int, sfpu: int, math: int, pack: int, repeat: int) -> list[Stage]:
        """Windows that pop, reserve and push their own tiles, one after another through one buffer."""
        spec = self.spec
        pack += spec.cb_wait_cycles + spec.cb_update_cycles
        window = self._window(unpack + spec.cb_update_cycles, 1, fpu, sfpu, math, pack)
        return [self._begin(Stage(window._replace(first=unpack), repeat))]
