"""The program config that ttnn chooses where none is given, for interleaved tensors: tt-metal `matmul_program_config.cpp`.

The shape decides between two dimensions and one, a factor of the shape how large the blocks are, and L1 how deep. Sizes in tiles.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tensix_sim.formats import TILE
from tensix_sim.matmul.spec import MatmulConfig, MatmulSpec

SUBBLOCKS = (
    (4, 2), (2, 4), (8, 1), (1, 8), (7, 1), (1, 7), (3, 2), (2, 3), (6, 1), (1, 6),
    (5, 1), (1, 5), (2, 2), (4, 1), (1, 4), (3, 1), (1, 3), (2, 1), (1, 2), (1, 1),
)  # fmt: skip
NARROW = 8  # a side so many times the other


class Sizes(NamedTuple):
    """A block of the output, and its inner tiles."""

    h: int
    w: int
    inner: int


def chosen(spec: MatmulSpec) -> MatmulConfig:
    """The config of the op's own choice."""
    return _on_core_grid(spec) if spec.core_grid else _simple(spec, spec.on.grid)


def estimate(spec: MatmulSpec, b: Sizes) -> int:
    """Bytes of L1 that the op reckons with; it takes the output for one of A's format."""
    a, in1, out = (fmt.tile_bytes for fmt in spec.formats)
    sums = 4096 if spec.compute.fp32_dest_acc_en else max(2048, out)
    turned = 2 * b.h * b.inner * a if spec.transpose_a else 0
    return 2 * b.h * b.inner * a + 2 * b.w * b.inner * in1 + b.h * b.w * (a + sums) + b.w * in1 * spec.bias + turned


def fits(spec: MatmulSpec, b: Sizes) -> bool:
    """Whether a block fits L1 by that reckoning."""
    return estimate(spec, b) < spec.l1_room


def largest(spec: MatmulSpec, whole: Sizes, shrinks: bool) -> Sizes:
    """The whole block if it fits; else the deepest, and of those the largest, that does. Only what `shrinks` gets less deep."""
    if fits(spec, whole):
        return whole
    for inner in [d for d in range(whole.inner, 0, -1) if whole.inner % d == 0] if shrinks else [whole.inner]:
        for h, w in _parts(whole.h, whole.w):
            if fits(spec, Sizes(h, w, inner)):
                return Sizes(h, w, inner)
    return Sizes(1, 1, 1)


def _parts(h: int, w: int) -> Iterator[tuple[int, int]]:
    """Divisors of both sides: for each area, the largest first, the pair that is nearest to a square."""
    by_area: dict[int, tuple[int, int]] = {}
    for one in (d for d in range(1, h + 1) if h % d == 0):
        for other in (d for d in range(1, w + 1) if w % d == 0):
            best = by_area.get(one * other, (0, h * w))
            by_area[one * other] = min(best, (one, other), key=lambda pair: abs(pair[0] - pair[1]))
    yield from (by_area[area] for area in sorted(by_area, reverse=True))


def subblock(h: int, w: int, wide_dest: bool) -> tuple[int, int]:
    """The first of the list that divides a block."""
    return next(s for s in SUBBLOCKS if h % s[0] == 0 and w % s[1] == 0 and s[0] * s[1] <= (4 if wide_dest else 8))


# -- without a grid --------------------------------------------------------------------------------------------------


def _simple(spec: MatmulSpec, grid: tuple[int, int]) -> MatmulConfig:
    """The simple rule."""
    (gx, gy), (mt, kt, nt) = grid, spec.tiles
    in_dram = spec.in0_memory == spec.in1_memory == spec.out_memory == "dram"
    if spec.batch == 1 and spec.b_batch > 1:
        return _one_dimension(spec, grid, mcast_in0=False)
    h, w = mt * TILE, nt * TILE
    narrow = max(h, w) // min(h, w) > NARROW or (in_dram and min(h, w) <= TILE)
    factor = next((f for f in (16, 8, 4, 2) if fits(spec, Sizes(f, f, 2))), 1)
    down, across = -(-mt // factor), -(-nt // factor)
    inner = 1 if (down > 1 or across > 1) and kt % 2 else 2
    if not (in_dram or (down * across <= gx * gy and kt % inner == 0)):
        return MatmulConfig(kind="multi_core", compute_with_storage_grid_size=grid)
    columns, rows = (across, down) if (across, down) != (1, 1) and down <= gy and across <= gx else (0, 0)
    if rows == 1 or (narrow and w > h):
        return _one_dimension(spec, grid, mcast_in0=True)
    if columns == 1 or narrow:
        return _one_dimension(spec, grid, mcast_in0=False)
    if in_dram:
        return _two_dimensions(spec, grid)
    if rows == 0:
        return MatmulConfig(kind="multi_core", compute_with_storage_grid_size=grid)
    sub = (4, 2) if factor == 2 else (1, 2)
    return _config(spec, "2d", grid, (factor, factor), Sizes(factor, factor, inner), sub, fuse_batch=False)


def _one_dimension(spec: MatmulSpec, grid: tuple[int, int], mcast_in0: bool) -> MatmulConfig:
    (mt, kt, nt), cores = spec.tiles, grid[0] * grid[1]
    each = (mt, -(-nt // cores)) if mcast_in0 else (-(-mt // cores), nt)
    blocks = largest(spec, Sizes(*each, 1 if kt % 2 else 2), shrinks=False)
    return _config(spec, "1d", grid, each, blocks, mcast_in0=mcast_in0, fuse_batch=False)


def _two_dimensions(spec: MatmulSpec, grid: tuple[int, int]) -> MatmulConfig:
    (gx, gy), (mt, kt, nt) = grid, spec.tiles
    each = -(-mt // gy), -(-nt // gx)
    blocks = largest(spec, Sizes(*each, kt // gx if kt % gx == 0 else 1), shrinks=True)
    return _config(spec, "2d", grid, each, blocks, fuse_batch=False)


def _config(
    spec: MatmulSpec,
    kind: str,
    grid: tuple[int, int],
    each: tuple[int, int],
    blocks: Sizes,
    sub: tuple[int, int] | None = None,
    **more: bool,
) -> MatmulConfig:
    sub = sub or subblock(blocks.h, blocks.w, spec.compute.fp32_dest_acc_en)
    return MatmulConfig.model_validate(
        {
            "kind": kind, "compute_with_storage_grid_size": grid, "in0_block_w": blocks.inner,
            "out_subblock_h": sub[0], "out_subblock_w": sub[1], "per_core_M": each[0], "per_core_N": each[1],
            "out_block_h": blocks.h, "out_block_w": blocks.w, **more,
        }
    )  # fmt: skip


# -- with a grid -----------------------------------------------------------------------------------------------------


def _on_core_grid(spec: MatmulSpec) -> MatmulConfig:
    """The rule for a given grid."""
    assert spec.core_grid is not None
    grid, (mt, kt, nt) = spec.core_grid, spec.tiles
    (gx, gy), wide = grid, spec.compute.fp32_dest_acc_en
    cores = gx * gy
    if spec.b_batch > 1:
        if spec.batch == 1:
            return _one_dimension(spec, grid, mcast_in0=False)
        whole = Sizes(mt, nt, 1)
        return _config(spec, "reuse", grid, (mt, nt), whole) if fits(spec, whole) else _simple(spec, grid)
    h, w = spec.batch * mt * TILE, nt * TILE
    if max(h, w) // min(h, w) > NARROW or min(spec.k, spec.m, spec.n) <= TILE:
        tall = mt * spec.batch > nt
        each = (-(-mt * spec.batch // cores), nt) if tall else (mt * spec.batch, -(-nt // cores))
        inner = next(d for d in range(-(-kt // cores), 0, -1) if kt % d == 0)
        return _config(spec, "1d", grid, each, Sizes(*each, inner), mcast_in0=not tall, fuse_batch=True)
    each = -(-spec.batch * mt // gy), -(-nt // gx)
    blocks = largest(spec, Sizes(*each, next(d for d in (4, 3, 2, 1) if kt % d == 0)), shrinks=False)
    sub_w, sub_h = subblock(blocks.w, blocks.h, wide)  # the same list, read as (w, h)
    return _config(spec, "2d", grid, each, blocks, (sub_h if sub_w == each[1] else 1, sub_w), fuse_batch=True)
