"""The Tensix engine of one core: unpack (T0), math (T1: FPU and SFPU) and pack (T2), on three clocks.

Work comes in *windows*: a DST half is acquired, operands are unpacked into SrcA and SrcB, math fills the
half, commits it, and the packer drains it while math fills the other one; before that, the pack thread may
have the SFPU work on the half. A *block* is the windows of a verb, in *stages* that each may wait for tiles.
What they cost is worked out here; `threads` runs them.
"""

from math import ceil
from typing import NamedTuple

from tensix_sim.arch import model
from tensix_sim.formats import FLOAT32, Format
from tensix_sim.hw.source_registers import product_cycles
from tensix_sim.program import ComputeConfig


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
        a_bytes = self._moved(a, a_tiles)
        b_bytes = self._moved(b, b_tiles) * b_faces / 4 if b else 0
        moving = max(a_bytes / s.unpack_rate_one, b_bytes / s.unpack_rate_one, (a_bytes + b_bytes) / (2 * s.unpack_rate_both))
        return ceil(max(moving, s.unpack_tile_overhead * (a_tiles + b_tiles)))

    def _moved(self, fmt: Format, tiles: int) -> float:
        """Bytes of tiles, more of them where the unpackers are slower than their ports."""
        return tiles * fmt.datum_bytes / (1 if fmt is FLOAT32 else self.spec.unpack_share)

    def pack(self, fmt: Format, tiles: int, accumulate: bool = False) -> int:
        """Pack `tiles` tiles, one call each, onto L1 or, accumulating, onto what is there."""
        s = self.spec
        each = max(s.pack_min_cycles, fmt.datum_bytes / s.pack_rate)
        return ceil(tiles * (each * (s.l1_accumulate_factor if accumulate else 1) + s.pack_call_cycles))

    def matmul(self, macs: int) -> tuple[int, int]:
        """FPU busy cycles and math-thread cycles of `macs` 32x32x32 tile products."""
        fpu = macs * self.spec.mvmul_cycles * self.phases
        return fpu, fpu + macs * self.spec.matmul_issue_cycles

    def product(self, a: Format, b: Format, h: int, w: int, k: int) -> tuple[int, int, int]:
        """Unpack, FPU busy and math-thread cycles of a subblock h x w with k inner tiles, waits for SrcA and SrcB included.

        The narrower side stays in a source register, two tiles of it at a time.
        """
        held, streamed = (h, -(-h // 2) * w) if w >= h else (-(-w // 2) * h, w)  # tiles of a (SrcB), of b (SrcA) per inner step
        unpack, (fpu, math) = self.unpack(b, k * streamed, a, k * held), self.matmul(h * w * k)
        if min(h, w) == 1:
            unpack = max(self.unpack(b, k * streamed), self.unpack(a, k * held))
        data = self.unpack(b, 1), self.unpack(a, 1)
        math = product_cycles(h, w, k, math // (h * w * k), data, self.spec.source_handshake_cycles)
        return unpack, fpu, math

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
