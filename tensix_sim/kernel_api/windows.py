"""Windows of verbs: what a DST half takes on the three threads, made of what operations on tiles cost. Shapes are in tiles."""

from collections.abc import Sequence
from typing import NamedTuple

from tensix_sim.formats import Format
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.tensix import Costs, Stage, Window
from tensix_sim.kernel_api.matrix import Matrix

COLUMN_FACES = 2  # a broadcast column comes from the left half of its tile: LLK `llk_unpack_AB.h`


class Windows(NamedTuple):
    """A verb's windows in stages, and the DST halves that they take turns with.

    `early`: what is pushed is seen so many cycles (the second number) sooner, but not before a stage (the first) is packed.
    """

    stages: Sequence[Stage]
    halves: int = 2
    early: tuple[int, int] | None = None


def window(unpack: int, loads: int, fpu: int, math: int, pack: int, sfpu: int = 0, vector: int = 0) -> Window:
    """A window of operands in equal loads, with a share of math behind each.

    `sfpu` cycles are the math thread's and part of `math`; `vector` cycles are the pack thread's, before its packs.
    """
    return Window(unpack, -(-unpack // loads), fpu, sfpu + vector, math, -(-math // loads), pack + vector, vector)


def product(c: Costs, a: Matrix, b: Matrix, out: Matrix, h: int, w: int, k: int, accumulate: bool = False) -> Window:
    """A subblock h x w of a product."""
    unpack, fpu, math = c.product(a.format, b.format, h, w, k)
    pack = c.pack(out.format, h * w, accumulate)
    made = window(unpack + round(pack * c.spec.pack_hold_share), k, fpu, math, pack)
    return made._replace(first=c.unpack(b.format, 1, a.format, 1))


def maxima(c: Costs, x: Format, out: Format, rows: int, n: int, with_before: bool) -> Window:
    """Max pool of each tile of `rows` rows, what a row of tiles costs at its end, and the maxima before, if there are any."""
    spec = c.spec
    copies = rows if with_before else 0
    row_fpu, row_math = c.max_row()
    unpack = c.unpack(x, rows * n) + c.unpack(out, copies, out, rows)
    math = rows * (n * spec.max_pool_cycles + row_math) + copies * spec.copy_cycles
    fpu = rows * (n * spec.max_pool_fpu_cycles + row_fpu) + copies * spec.eltwise_cycles
    return window(unpack, rows * n, fpu, math, c.pack(out, rows))._replace(last=spec.max_pool_cycles + row_math)


def begin(c: Costs, stage: Stage, pack: int = 0) -> Stage:
    """A verb's first stage: new formats for the unpackers, which then wait for tiles, a new operation for the FPU."""
    spec = c.spec
    return stage._replace(
        unpack_setup=stage.unpack_setup + spec.reconfigure_cycles,
        math_setup=stage.math_setup + spec.math_init_cycles,
        pack_setup=stage.pack_setup + pack,
        seen=spec.cb_wait_cycles,
    )


def one_by_one(c: Costs, made: Window, repeat: int) -> list[Stage]:
    """Windows that each reserve and push for themselves."""
    spec = c.spec
    stage = Stage(made._replace(pack=made.pack + spec.cb_wait_cycles + spec.cb_update_cycles))
    return [begin(c, stage)] + [stage] * (repeat - 1)


def in_place(c: Costs, unpack: int, fpu: int, math: int, pack: int, repeat: int, sfpu: int = 0) -> Windows:
    """Windows that pop, reserve and push their own tiles, one after another through one buffer."""
    spec = c.spec
    pack += spec.cb_wait_cycles + spec.cb_update_cycles
    made = window(unpack + spec.cb_update_cycles, 1, fpu, math, pack, sfpu)
    return Windows([begin(c, Stage(made._replace(first=unpack), repeat))], spec.eltwise_halves)


def check_window(c: Costs, x: Matrix, tiles: int, of: int) -> None:
    """A window takes equal shares of `of` tiles, and no more than a DST half.

    Raises:
        SimulationError: it does not.
    """
    if of % tiles or tiles > c.dst_tiles:
        raise SimulationError(
            f"{x.label}: windows of {tiles} tiles; they must divide {of} and fit the {c.dst_tiles} tiles of a DST half"
        )
