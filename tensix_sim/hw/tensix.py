"""The Tensix engine of one core: unpack (T0), math (T1: FPU and SFPU) and pack (T2), on three clocks.

Work comes in *windows*: a DST half is acquired, operands are unpacked into SrcA and SrcB, math fills the
half, commits it, and the packer drains it while math fills the other one; before that, the pack thread may
have the SFPU work on the half. A *block* is the windows of a verb, in *stages* that each may wait for tiles.
The clocks of a block depend on nothing but its windows, the skew of the clocks when it starts and the times
at which tiles arrive: that is worked out once and kept.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import NamedTuple

from tensix_sim.arch import model
from tensix_sim.formats import Format
from tensix_sim.program import ComputeConfig
from tensix_sim.trace.causes import DST, MATH, PACK, UNPACK, Cause, LaneWait


class Window(NamedTuple):
    """Cycles of one DST half on the three threads.

    `first`: unpack cycles after which math can start. `last`: math cycles that are left when the last operand
    is there. `fpu` and `sfpu` are the busy cycles that the hardware's counters show; `math` is what the thread
    spends, issue slots included. `vector`: SFPU cycles with which the pack thread begins, part of `sfpu` and of `pack`.
    """

    unpack: int
    first: int
    fpu: int
    sfpu: int
    math: int
    last: int
    pack: int
    vector: int = 0


class Stage(NamedTuple):
    """Windows behind one wait for tiles: the threads' set-up, the wait, its end, `repeat` equal windows.

    The unpacker pays `unpack_setup` before it waits and `seen` when its tiles are there. With `after_pack` it waits,
    by a semaphore, until all windows before have been packed.
    """

    window: Window
    repeat: int = 1
    unpack_setup: int = 0
    math_setup: int = 0
    pack_setup: int = 0
    seen: int = 0
    after_pack: bool = False


@dataclass(eq=False, slots=True)
class Outcome:
    """What a block does from one state: where it leaves the clocks, and the cycles of each thread's busy time and waits.

    `overlap`: of `fpu` and `sfpu`, cycles in which both were busy, with an FPU that works evenly through its windows.
    """

    unpack: int  # these five are cycles after the block's start, as are the ends of each stage's packs
    math: int
    pack: int
    half: int
    other: int
    packed: tuple[int, ...]
    unpack_busy: int
    unpack_tiles: int
    unpack_src: int
    unpack_pack: int
    math_busy: int
    math_dst: int
    pack_busy: int
    pack_space: int
    fpu: int
    sfpu: int
    overlap: int


# Math, pack, the DST half to fill, the other half, space of the output, tiles of each stage: when they are free or there,
# counted from the unpack clock. What has passed is 0; only a DST half may be free since a handshake ago.
State = tuple[int, int, int, int, int, tuple[int, ...]]

FIGURES = tuple(f.name for f in fields(Outcome))[6:]


class Block:
    """The windows of one verb with given shapes and formats, and the outcomes seen so far."""

    KEEP = 8192  # outcomes: random arrivals give ever new skews, the memory for them has an end

    def __init__(self, name: str, stages: Sequence[Stage], handshake: int, halves: int = 2) -> None:
        self.name = name
        self.halves = halves  # of DST, that windows take turns with; with 1, math waits for the pack of the window before
        self.stages = tuple(stages)
        self.handshake = handshake
        self.passed = -handshake  # a half that was drained a handshake ago costs nothing
        self.setup = stages[0].unpack_setup
        self.no_wait = (0,) * len(stages)
        self.seen: dict[State, Outcome] = {}

    def outcome(self, state: State) -> Outcome:
        """What the block does from `state`, worked out the first time."""
        found = self.seen.get(state)
        if found is None:
            if len(self.seen) >= self.KEEP:
                self.seen.clear()
            found = self.seen[state] = self._schedule(*state)
        return found

    def _schedule(self, math: int, pack: int, half: int, other: int, space: int, ready: tuple[int, ...]) -> Outcome:
        unpack = 0
        unpack_busy = waited_tiles = waited_src = waited_pack = math_busy = waited_dst = pack_busy = waited_space = 0
        packed = []
        products: list[tuple[int, int, int]] = []  # begin, end and FPU cycles of each window,
        vectors: list[tuple[int, int]] = []  # begin and end of the SFPU's work on the pack thread
        for stage, arrival in zip(self.stages, ready, strict=True):
            unpack += stage.unpack_setup
            if arrival > unpack:
                waited_tiles += arrival - unpack
                unpack = arrival
            if stage.after_pack and pack + self.handshake > unpack:
                waited_pack += pack + self.handshake - unpack
                unpack = pack + self.handshake
            unpack += stage.seen
            unpack_busy += stage.unpack_setup + stage.seen
            math += stage.math_setup
            math_busy += stage.math_setup
            pack += stage.pack_setup
            pack_busy += stage.pack_setup
            w = stage.window
            for _ in range(stage.repeat):
                operands = max(math, unpack + w.first)
                begun = max(operands, half + self.handshake)
                waited_dst += begun - operands
                loaded = unpack + w.unpack
                math = max(begun + w.math, loaded + w.last)
                math_busy += w.math
                # SrcA and SrcB have two banks: the unpacker stands still while math has yet to use both
                unpack = max(loaded, math - 2 * w.last)
                waited_src += unpack - loaded
                unpack_busy += w.unpack
                committed = max(pack, math + self.handshake)
                begin_pack = max(committed, space)
                waited_space += begin_pack - committed
                pack = begin_pack + w.pack
                pack_busy += w.pack
                half, other = (other if self.halves > 1 else pack), pack
                products.append((begun, math, w.fpu))
                if w.vector:
                    vectors.append((begin_pack, begin_pack + w.vector))
            packed.append(pack)
        windows = [stage.window for stage in self.stages for _ in range(stage.repeat)]
        return Outcome(
            unpack, math, pack, half, other, tuple(packed),
            unpack_busy, waited_tiles, waited_src, waited_pack, math_busy, waited_dst, pack_busy, waited_space,
            sum(w.fpu for w in windows), sum(w.sfpu for w in windows), overlap(products, vectors),
        )  # fmt: skip


def overlap(products: list[tuple[int, int, int]], vectors: list[tuple[int, int]]) -> int:
    """Cycles in which FPU and SFPU are both busy: (begin, end, FPU cycles) of windows against (begin, end) of vector work."""
    shared = 0.0
    for begin, end, fpu in products:
        common = sum(max(0, min(end, stop) - max(begin, start)) for start, stop in vectors)
        shared += common * fpu / max(1, end - begin)
    return round(shared)


class Costs:
    """Cycles of tile operations on one chip under one compute config; each rounded up once, per window."""

    def __init__(self, spec: model.TensixSpec, config: ComputeConfig) -> None:
        self.spec = spec
        self.phases = config.phases
        self.fp32_dest = config.fp32_dest_acc_en
        self.dst_tiles = config.dst_tiles
        self.handshake = spec.dst_handshake_cycles

    def unpack(self, a: Format, a_tiles: int, b: Format | None = None, b_tiles: int = 0, b_faces: int = 4) -> int:
        """Load `a_tiles` into SrcA, `b_faces` of each of `b_tiles` into SrcB: T0's issue, or the L1 ports if they are slower."""
        s = self.spec
        a_bytes = a_tiles * a.datum_bytes
        b_bytes = b_tiles * b.datum_bytes * b_faces // 4 if b else 0
        moving = max(a_bytes / s.unpack_rate_one, b_bytes / s.unpack_rate_one, (a_bytes + b_bytes) / (2 * s.unpack_rate_both))
        return ceil(max(moving, s.unpack_tile_overhead * (a_tiles + b_tiles)))

    def pack(self, fmt: Format, tiles: int, accumulate: bool = False) -> int:
        """Pack `tiles` tiles, one call each, onto L1 or, accumulating, onto what is there."""
        s = self.spec
        each = max(s.pack_min_cycles, fmt.datum_bytes / s.pack_rate)
        return ceil(tiles * (each * (s.l1_accumulate_factor if accumulate else 1) + s.pack_call_cycles))

    def matmul(self, macs: int) -> tuple[int, int]:
        """FPU busy cycles and math-thread cycles of `macs` 32x32x32 tile products."""
        fpu = macs * self.spec.mvmul_cycles * self.phases
        return fpu, fpu + macs * self.spec.matmul_issue_cycles

    def max_row(self) -> tuple[int, int]:
        """FPU busy cycles and math-thread cycles at the end of a row of tiles whose maximum is taken."""
        s = self.spec
        return (s.max_row_fp32_fpu_cycles, s.max_row_fp32_cycles) if self.fp32_dest else (s.max_row_fpu_cycles, s.max_row_cycles)

    def exp_column(self, approximate: bool = True) -> int:
        """SFPU cycles of the accurate exponential of a column; without a 32-bit DST `approximate` chooses between two bodies."""
        if self.fp32_dest:
            return self.spec.exp_column_fp32_cycles
        return self.spec.exp_column_cycles if approximate else self.spec.exp_column_exact_cycles

    def eltwise(self, tiles: int, multiply: bool = False) -> tuple[int, int]:
        """FPU busy cycles and math-thread cycles of an add, subtract or (in fidelity phases) multiply."""
        fpu = tiles * self.spec.eltwise_cycles * (self.phases if multiply else 1)
        return fpu, fpu + tiles * self.spec.eltwise_overhead


class Tensix:
    """The three clocks of one core and where its cycles went."""

    __slots__ = ("counts", "dst", "extra", "math", "pack", "popping", "unpack", "waits")

    def __init__(self) -> None:
        self.unpack = self.math = self.pack = 0
        self.popping = 0  # cycles of T0 on pops
        self.dst = (0, 0)
        self.counts: dict[Outcome, int] = {}
        self.extra: Counter[str] = Counter()  # what is not in `counts`: it held more and was cleared, or there was no block
        self.waits: Counter[Cause] = Counter()  # of T0 for tiles, of T2 for space

    def run(self, block: Block, ready: tuple[int, ...], space: int) -> Outcome:
        """Run a block whose stages' tiles come `ready` and whose space comes `space` cycles after the unpack clock."""
        base = self.unpack
        half, other = self.dst
        math = self.math - base
        pack = self.pack - base
        half -= base
        other -= base
        passed = block.passed
        state = (
            math if math > 0 else 0,
            pack if pack > 0 else 0,
            half if half > passed else passed,
            other if other > passed else passed,
            space,
            ready,
        )
        outcome = block.seen.get(state) or block.outcome(state)
        self.unpack = base + outcome.unpack
        self.math = base + outcome.math
        self.pack = base + outcome.pack
        self.dst = (base + outcome.half, base + outcome.other)
        counts = self.counts
        if outcome in counts:
            counts[outcome] += 1
        else:
            self._count_first(outcome)
        return outcome

    def _count_first(self, outcome: Outcome) -> None:
        if len(self.counts) >= Block.KEEP:
            for what in FIGURES:
                self.extra[what] = self.total(what)
            self.counts.clear()
        self.counts[outcome] = 1

    def lane_waits(self) -> dict[LaneWait, int]:
        """Cycles that each thread waited, by cause; with its busy cycles (and T0's pops) they add up to its clock."""
        of_buffers = {LaneWait("pack" if cause.kind == "space" else "unpack", cause): n for cause, n in self.waits.items()}
        return of_buffers | {
            LaneWait("unpack", MATH): self.total("unpack_src"),
            LaneWait("unpack", PACK): self.total("unpack_pack"),
            LaneWait("math", DST): self.total("math_dst"),
            LaneWait("math", UNPACK): self.math - self.total("math_busy") - self.total("math_dst"),
            LaneWait("pack", MATH): self.pack - self.total("pack_busy") - self.total("pack_space"),
        }

    def total(self, what: str) -> int:
        """Sum of one of `Outcome`'s cycle counts over all blocks so far."""
        return self.extra[what] + sum(n * int(getattr(outcome, what)) for outcome, n in self.counts.items())
