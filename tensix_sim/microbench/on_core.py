"""Programs of one core: kernels on tiles that are already in its L1, so that nothing but the Tensix engine sets the time."""

from dataclasses import dataclass, replace
from typing import Any

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.device import DeviceFigures
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, FLOAT32, TILE, Format
from tensix_sim.hw import Chip
from tensix_sim.hw.chip import Core
from tensix_sim.kernel_api import (
    BufferSpec,
    Compute,
    ComputeConfig,
    DataMovement,
    Kernel,
    Matmul,
    Matrix,
    Program,
    RowMax,
    run,
)
from tensix_sim.kernels.sdpa.verbs import SubExp
from tensix_sim.program import Fidelity
from tensix_sim.sdpa.op import SDPA
from tensix_sim.simulation import simulate
from tensix_sim.trace import Trace

SEQ_LEN = 4096

# Tiles of a subblock, height and width, in the order of preference of ttnn's GEMM benchmark
SUBBLOCKS = (
    (4, 2), (2, 4), (8, 1), (1, 8), (7, 1), (1, 7), (3, 2), (2, 3), (6, 1), (1, 6),
    (5, 1), (1, 5), (2, 2), (4, 1), (1, 4), (3, 1), (1, 3), (2, 1), (1, 2), (1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Product:
    """A block of C, m x n tiles, of `steps` products of k inner tiles, in subblocks."""

    m: int
    n: int
    k: int
    steps: int
    subblock: tuple[int, int]

    def matrices(self, t: Compute) -> tuple[Matrix, Matrix, Matrix]:
        """A, B and C; the scaler of a maximum is any tile."""
        return t.matrix("a_in", self.m, self.k), t.matrix("b_in", self.k, self.n), t.matrix("c", self.m, self.n)

    def buffers(self, fmt: Format, fp32_dest: bool = False) -> tuple[BufferSpec, ...]:
        """Two blocks of each operand, and one of C, which is as wide as DST."""
        return (
            BufferSpec("a_in", 2 * self.m * self.k, fmt, "reader", "compute"),
            BufferSpec("b_in", 2 * self.k * self.n, fmt, "reader", "compute"),
            BufferSpec("c", self.m * self.n, FLOAT32 if fp32_dest else partial_sums(fmt), "compute", "compute"),
        )


def partial_sums(fmt: Format) -> Format:
    """What the packer adds in: it cannot in a block format, and ttnn's products then have bfloat16."""
    return BFLOAT16 if fmt.is_block else fmt


async def provide(dm: DataMovement, a: Product) -> None:
    """Hand over operands, which take no time to come."""
    left, right = dm.cbs("a_in", "b_in")
    for _ in range(a.steps):
        for cb, tiles in ((left, a.m * a.k), (right, a.k * a.n)):
            await dm.reserve(cb, tiles)
            dm.fill(cb, tiles, None)
            dm.push(cb, tiles)


async def multiply(t: Compute, a: Product) -> None:
    """C = A B, the packer adding up the products of the steps."""
    A, B, C = a.matrices(t)
    for step in range(a.steps):
        await t.do(Matmul, A, B, C, a.subblock, step > 0)
        t.pop(A)
        t.pop(B)


async def multiply_only(t: Compute, a: Product) -> None:
    """C = A B."""
    await multiply(t, a)
    t.pop(a.matrices(t)[2])


async def take_maxima(t: Compute, a: Product) -> None:
    """The largest value of each row of C."""
    A, B, C = a.matrices(t)
    maxima = t.column("maxima", a.m)
    await multiply(t, replace(a, steps=a.steps - 1))
    await t.do(RowMax, C, A, maxima, 1)
    for x in (A, B):
        await t.wait(x)
    for x in (C, maxima, A, B):
        t.pop(x)


async def exponentiate(t: Compute, a: Product) -> None:
    """The exponentials of C's differences to its maxima, and their sums, a row of tiles each."""
    A, B, C = a.matrices(t)
    maxima, sums = t.column("maxima", a.m), t.matrix("sums", a.m)
    await multiply(t, replace(a, steps=a.steps - 1))
    await t.do(RowMax, C, A, maxima, 1)
    await t.do(SubExp, C, maxima, sums, a.subblock[1], 1.0)
    for x in (A, B):
        await t.wait(x)
    for x in (C, maxima, sums, A, B):
        t.pop(x)


def run_core(
    m: Machine,
    work: Product,
    compute: Any = multiply_only,
    fmt: Format = BFLOAT16,
    fidelity: Fidelity = "LoFi",
    fp32_dest: bool = False,
) -> Core:
    """One core that does some work on operands that are there: what it looks like at the end."""
    buffers = work.buffers(fmt, fp32_dest)
    if compute is not multiply_only:
        buffers += tuple(BufferSpec(name, work.m, BFLOAT16, "compute", "compute") for name in ("maxima", "sums"))
    kernels = (Kernel("reader", provide, [work]), Kernel("compute", compute, [work]))
    config = ComputeConfig(math_fidelity=fidelity, fp32_dest_acc_en=fp32_dest)
    chip = Chip(m, Program((1, 1), buffers, kernels, (), config), Trace("off"))
    run(chip)
    return chip.cores[0, 0]


def product_cycles(m: Machine, fmt: Format, fidelity: Fidelity, work: Product) -> int:
    """Cycles of one core on a block of a product."""
    return run_core(m, work, fmt=fmt, fidelity=fidelity).tensix.pack


# -- single routines, by the time that more of them take -----------------------------------------------------------------


def pack_cycles(m: Machine, accumulate: bool) -> float:
    """Cycles that a tile takes, a call each, where packing is the bound: products of one inner tile, of small operands."""
    tiles = 64
    few, many = Product(1, tiles, 1, 1, (1, 8)), Product(1, 2 * tiles, 1, 1, (1, 8))

    def more(steps: int) -> int:
        """Cycles of the further tiles, over all steps."""
        first, second = (run_core(m, replace(work, steps=steps), fmt=BFLOAT8_B).tensix.pack for work in (few, many))
        return second - first

    return (more(2) - more(1) if accumulate else more(1)) / tiles


def max_cycles(m: Machine) -> float:
    """Cycles that a tile of a row maximum takes, in rows of 64."""
    few, many = (Product(rows, 64, 1, 2, (1, 8)) for rows in (2, 4))
    plain = [product_cycles(m, BFLOAT16, "LoFi", replace(work, steps=1)) for work in (few, many)]
    both = [run_core(m, work, take_maxima).tensix.pack for work in (few, many)]
    return (both[1] - both[0] - plain[1] + plain[0]) / (2 * 64)


def exp_cycles(m: Machine) -> float:
    """Cycles for which the SFPU is busy with the exponential of a tile."""
    return run_core(m, Product(4, 16, 1, 2, (1, 8)), exponentiate).tensix.total("sfpu") / (4 * 16)


# -- the loop of a product, with engines that take no time ---------------------------------------------------------------

INNER = 7  # tiles of a subblock's inner loop, where it was measured
NO_PACKS = {"tensix.pack_rate": 1e9, "tensix.pack_min_cycles": 0, "tensix.pack_call_cycles": 0}
NO_PRODUCTS = {"tensix.mvmul_cycles": 0}
LEFT_OUT: dict[str, dict[str, Any]] = {
    "": {},
    "no packs": NO_PACKS,
    "math mocked": NO_PACKS | NO_PRODUCTS,
    "unpack alone": NO_PACKS | NO_PRODUCTS | {"tensix.matmul_issue_cycles": 0, "tensix.source_handshake_cycles": 0},
}


def loop_cycles(m: Machine, subblock: tuple[int, int], fidelity: Fidelity, fp32_dest: bool, variant: str) -> float:
    """Cycles that a step takes, one inner tile of a subblock, bfloat16 operands, the packer adding up."""
    m, (h, w) = m.override(LEFT_OUT[variant]), subblock

    def end(subblocks: int, steps: int) -> int:
        """When the packer is through with so many subblocks, so many times."""
        return run_core(m, Product(h, w * subblocks, INNER, steps, subblock), fidelity=fidelity, fp32_dest=fp32_dest).tensix.pack

    few, many = 4, 8
    return (end(many, 2) - end(few, 2) - end(many, 1) + end(few, 1)) / ((many - few) * INNER)


# -- whole ops ------------------------------------------------------------------------------------------------------


def gemm_cycles(
    m: Machine, grid: tuple[int, int], shape: tuple[int, int, int], fmt: Format, fidelity: Fidelity, sharded: bool
) -> int:
    """Cycles of a core of `grid` on its block of an m x k x n product, whose operands are always there in time.

    A block too large for L1 is made in equal parts, one after another. Each core has a grid row's share of the inner tiles
    in a step, or less if L1 is too small. Subblocks of a `sharded` output are one tile high or as wide as the block.
    """
    rows, inner, cols = (side // TILE for side in shape)
    tall, wide, step, parts = rows // grid[1], cols // grid[0], inner // grid[0], 1
    room = m.chip.l1.limit - m.chip.l1.base
    while 2 * step * (tall + wide) * fmt.tile_bytes + tall * wide * partial_sums(fmt).tile_bytes > room:
        if tall * wide <= max(64, 2 * step * (tall + wide)):
            step //= 2
            continue
        parts *= 2
        tall, wide = (tall, wide // 2) if wide >= tall else (tall // 2, wide)
    fits = [(h, w) for h, w in SUBBLOCKS if tall % h == 0 and wide % w == 0 and not (sharded and h > 1 and w < wide)]
    return parts * product_cycles(m, fmt, fidelity, Product(tall, wide, step, inner // step, fits[0]))


def attention(
    q_chunk: int, k_chunk: int, causal: bool, kernel: str, fidelity: Fidelity = "HiFi2", fp32_dest: bool = False
) -> DeviceFigures:
    """Plain attention of one head over 4,096 positions, head dim 128, on one core of a p100a: all Q chunks one after another."""
    return simulate(
        RunSpec.model_validate(
            {
                "op": SDPA.name, "board": "p100a", "kernel": kernel, "numerics": "off", "trace": "off", "is_causal": causal,
                "inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": SEQ_LEN, "head_dim": 128, "dtype": "bfloat8_b"},
                "program_config": {
                    "compute_with_storage_grid_size": (1, 1), "q_chunk_size": q_chunk, "k_chunk_size": k_chunk,
                    "exp_approx_mode": False,
                },
                "compute_kernel_config": {"math_fidelity": fidelity, "fp32_dest_acc_en": fp32_dest},
            }
        )
    ).devices[0]  # fmt: skip
