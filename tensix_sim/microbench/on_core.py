"""Programs of one core: kernels on tiles that are already in its L1, so that nothing but the Tensix engine sets the time."""

from dataclasses import dataclass

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.formats import TILE, Format
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import CircularBuffer, Compute, ComputeConfig, DataMovement, Kernel, Program, launch
from tensix_sim.program import Fidelity
from tensix_sim.simulation import Device, simulate
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


async def provide(dm: DataMovement, a: Product) -> None:
    """Hand over operands, which take no time to come."""
    left, right = dm.cbs("a_in", "b_in")
    for _ in range(a.steps):
        for cb, tiles in ((left, a.m * a.k), (right, a.k * a.n)):
            await dm.reserve(cb, tiles)
            dm.fill(cb, tiles, None)
            dm.push(cb, tiles)


async def accumulate_products(t: Compute, a: Product) -> None:
    """C = A B, the packer adding up the products of the steps."""
    left, right, partials = t.cbs("a_in", "b_in", "partials")
    for step in range(a.steps):
        await t.matmul(left, right, partials, a.m, a.n, a.k, a.subblock, accumulate=step > 0)
        t.pop(left, a.m * a.k)
        t.pop(right, a.k * a.n)
    t.pop(partials, a.m * a.n)


def product_cycles(m: Machine, fmt: Format, fidelity: Fidelity, work: Product) -> int:
    """Cycles of one core on a block of a product."""
    buffers = (
        CircularBuffer("a_in", 2 * work.m * work.k, fmt, "reader", "compute"),
        CircularBuffer("b_in", 2 * work.k * work.n, fmt, "reader", "compute"),
        CircularBuffer("partials", work.m * work.n, fmt, "compute", "compute"),
    )
    kernels = (Kernel("reader", provide, [work]), Kernel("compute", accumulate_products, [work]))
    chip = Chip(m, Program((1, 1), buffers, kernels, (), ComputeConfig(math_fidelity=fidelity)), Trace("off"))
    contexts = launch(chip)
    chip.engine.run()
    chip.check_finished()
    return max(context.end for context in contexts.values())


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
    while (2 * step * (tall + wide) + tall * wide) * fmt.tile_bytes > room:
        if tall * wide <= max(64, 2 * step * (tall + wide)):
            step //= 2
            continue
        parts *= 2
        tall, wide = (tall, wide // 2) if wide >= tall else (tall // 2, wide)
    fits = [(h, w) for h, w in SUBBLOCKS if tall % h == 0 and wide % w == 0 and not (sharded and h > 1 and w < wide)]
    return parts * product_cycles(m, fmt, fidelity, Product(tall, wide, step, inner // step, fits[0]))


def attention(
    q_chunk: int, k_chunk: int, causal: bool, kernel: str, fidelity: Fidelity = "HiFi2", fp32_dest: bool = False
) -> Device:
    """Plain attention of one head over 4,096 positions, head dim 128, on one core of a p100a: all Q chunks one after another."""
    return simulate(
        RunSpec.model_validate(
            {
                "op": "sdpa", "board": "p100a", "kernel": kernel, "numerics": "off", "trace": "off", "is_causal": causal,
                "inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": SEQ_LEN, "head_dim": 128, "dtype": "bfloat8_b"},
                "program_config": {
                    "compute_with_storage_grid_size": (1, 1), "q_chunk_size": q_chunk, "k_chunk_size": k_chunk,
                    "exp_approx_mode": False,
                },
                "compute_kernel_config": {"math_fidelity": fidelity, "fp32_dest_acc_en": fp32_dest},
            }
        )
    ).devices[0]  # fmt: skip
