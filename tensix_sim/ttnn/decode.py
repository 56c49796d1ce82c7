"""A decode step, a token for each of some users: heads, rotation, rows of the cache. Numbers, and no cycles.

Tensors of users are [1, users, heads, DH], in ttnn a user a core. Source: tt-metal's experimental paged_cache and nlp_*_decode,
as their tests call them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.cores import num_cores_to_corerangeset
from tensix_sim.ttnn.moves import common_mesh, rearranged, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import (
    L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    L1_WIDTH_SHARDED_MEMORY_CONFIG,
    CoreRangeSet,
    DataType,
    Layout,
    MemoryConfig,
    ShardSpec,
    WormholeComputeKernelConfig,
    demand,
    refuse,
)
from tensix_sim.ttnn.values import Array, Stored, each, once

NOBODY = -1  # the position of a user who has no token
EXACT_TYPES = DataType.BFLOAT16, DataType.FLOAT32

# -- heads -----------------------------------------------------------------------------------------------------------------


@recorded
def nlp_create_qkv_heads_decode(
    input_tensor: Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    overlap_qk_coregrid: bool | None = None,
    batch_offset: Tensor | None = None,
    slice_size: int | None = None,
    memory_config: MemoryConfig | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """[1, 1, users, (heads + 2 kv_heads) * DH] as q [1, users, heads, DH], k and v [1, users, kv_heads, DH], in shards.

    Where `memory_config` has no cores each user has one, row by row, the same for q, k and v. Cycles are not modelled, so it does
    not matter whether the cores of q and k are the same.

    Raises:
        RuntimeError: rows are no equal heads, or there are more than 32 users.
    """
    name = "nlp_create_qkv_heads_decode"
    refuse(name, batch_offset=batch_offset, slice_size=slice_size)
    SESSION.without_effect(name, overlap_qk_coregrid=overlap_qk_coregrid)
    kv = num_kv_heads or num_heads
    *outer, users, width = input_tensor.shape
    demand(
        f"{name}:",
        (
            outer == [1, 1] and users <= TILE,
            f"{list(input_tensor.shape)}; [1, 1, at most {TILE}, width] is needed",
        ),
        (width % (num_heads + 2 * kv) == 0, f"rows of {width} are no {num_heads + 2 * kv} equal heads"),
    )

    def part(arrays: list[Array], unit: int) -> list[Array]:
        return np.split(arrays[0].reshape(1, users, num_heads + 2 * kv, -1), [num_heads, num_heads + kv], 2)

    about, config = (num_heads, kv), memory_config or L1_HEIGHT_SHARDED_MEMORY_CONFIG
    mesh = input_tensor.device()
    if mesh is not None and config.is_sharded() and config.shard_spec is None:
        grid = num_cores_to_corerangeset(users, mesh.compute_with_storage_grid_size(), True)
        config = replace(config, shard_spec=ShardSpec(grid, (-(-num_heads // TILE) * TILE, width // (num_heads + 2 * kv))))
    q, k, v = rearranged(name, [input_tensor], part, config, about, lambda: None)
    return q, k, v


@recorded
def nlp_concat_heads_decode(
    input_tensor: Tensor,
    *,
    num_heads: int,
    sub_core_grids: CoreRangeSet | None = None,
    memory_config: MemoryConfig | None = None,
) -> Tensor:
    """[1, users, heads or more, DH] as [1, 1, 32, heads * DH], with zeros in the rows of no user; cycles are not modelled.

    Raises:
        RuntimeError: the tensor has fewer heads, or more than 32 users.
    """
    name = "nlp_concat_heads_decode"
    SESSION.without_effect(name, sub_core_grids=sub_core_grids)
    _, users, heads, _ = input_tensor.shape
    demand(
        f"{name}:", (users <= TILE and heads >= num_heads, f"{list(input_tensor.shape)} for {num_heads} heads of {TILE} users")
    )

    def join(arrays: list[Array], unit: int) -> list[Array]:
        rows = arrays[0][:, :, :num_heads].reshape(1, 1, users, -1)
        return [np.pad(rows, [(0, 0), (0, 0), (0, TILE - users), (0, 0)])]

    return rearranged(name, [input_tensor], join, memory_config or L1_WIDTH_SHARDED_MEMORY_CONFIG, num_heads, lambda: None)[0]


def rotate_tokens(
    op: str, tensors: Sequence[Tensor], cos: Tensor, sin: Tensor, trans_mat: Tensor, memory_config: MemoryConfig | None = None
) -> list[Tensor]:
    """Rotary embedding of tensors [1, users, heads, DH] by the first row of cos and sin [1, users of all, rows, DH] of each.

    Raises:
        RuntimeError: shapes do not go together.
    """
    inputs = [*tensors, cos, sin, trans_mat]
    mesh = common_mesh(op, inputs)
    users, width = sum(one.shape[1] for one in tensors), tensors[0].shape[-1]
    for what, cache in (("cos_cache", cos), ("sin_cache", sin)):
        fits = (*cache.shape[:2], cache.shape[-1]) == (1, users, width)
        demand(f"{op}:", (fits, f"{what} is {list(cache.shape)}; [1, {users}, rows, {width}] is needed"))
    square = trans_mat.shape[-1] == TILE and trans_mat.shape[-2] % TILE == 0
    demand(f"{op}:", (square, f"trans_mat is {list(trans_mat.shape)}; tiles of {TILE}x{TILE} are needed"))
    results, first = [], 0
    for x in tensors:
        mine = np.s_[:, first : first + x.shape[1], :1]

        def turn(values: Array, cosines: Array, sines: Array, matrix: Array, mine: Any = mine, x: Tensor = x) -> Stored:
            turned = values.reshape(*x.shape[:-1], -1, TILE) @ matrix.reshape(-1, TILE)[:TILE]
            return Stored.of(values * cosines[mine] + turned.reshape(x.shape) * sines[mine], x.dtype)

        shards = each(turn, x.shards, cos.shards, sin.shards, trans_mat.shards)
        results.append(x.like(shards, memory_config=memory_config))
        first += x.shape[1]
    if mesh:
        record(op, mesh, inputs, None)
    return results


@recorded
def rotary_embedding_llama_fused_qk(
    q_input_tensor: Tensor,
    k_input_tensor: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    trans_mat: Tensor,
    *,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """As `rotary_embedding_llama` in decode mode, of q and k at once: cos and sin have rows for users of q, then for those of k.

    Raises:
        RuntimeError: shapes do not go together.
    """
    name = "rotary_embedding_llama_fused_qk"
    SESSION.without_effect(name, compute_kernel_config=compute_kernel_config)
    q, k = rotate_tokens(name, [q_input_tensor, k_input_tensor], cos_cache, sin_cache, trans_mat)
    return q, k


# -- the cache -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Which row of a cache takes the token of each user: its position, in a sequence of its own, a shared one, or in blocks."""

    given: Sequence[int] = ()
    tensor: Tensor | None = None
    shared: bool = False
    table: Tensor | None = None

    def of_devices(self, op: str, cache: Tensor, users: int) -> list[list[tuple[int, int, int]] | None]:
        """(user, block of the cache's first dimension, row of it) for each device.

        Raises:
            RuntimeError: positions or the page table do not fit the cache.
        """
        demand(
            f"{op}:",
            (not self.given or self.tensor is None, "Only one of update_idxs or update_idxs_tensor can be provided"),
            (self.given or self.tensor is not None, "update_idxs or update_idxs_tensor is needed"),
            (self.table is None or not self.shared, "share_cache does not go with a page_table"),
        )
        positions = of_users(op, "update_idxs", self.given, self.tensor, len(cache.shards), users)
        if self.table is None:
            return once(lambda at: self._places(op, cache, at, None), positions)
        return once(lambda at, table: self._places(op, cache, at, table), positions, tables(op, self.table, users))

    def _places(self, op: str, cache: Tensor, at: Array, table: Array | None) -> list[tuple[int, int, int]]:
        blocks, _, size, _ = cache.shape
        sequence = size if table is None else size * table.shape[1]
        enough = 1 if self.shared else len(at)
        demand(
            f"{op}:",
            (table is not None or blocks >= enough, f"{len(at)} users; the cache {list(cache.shape)} has {blocks}"),
            (at.max(initial=0) < sequence, f"position {at.max(initial=0)}; a sequence of the cache has {sequence} rows"),
            (at.min(initial=0) >= NOBODY, f"position {at.min(initial=0)}; {NOBODY} is a user without a token"),
        )
        users = [(user, int(one)) for user, one in enumerate(at) if one != NOBODY]
        if table is None:
            return [(user, 0 if self.shared else user, one) for user, one in users]
        places = [(user, int(table[user, one // size]), one % size) for user, one in users]
        for user, block, _ in places:
            demand(f"{op}:", (0 <= block < blocks, f"the page table names block {block} for user {user}; the cache has {blocks}"))
        return places


def of_users(op: str, what: str, given: Sequence[int], tensor: Tensor | None, devices: int, users: int) -> list[Array | None]:
    """A number of each user for each device, listed or in a tensor of integers.

    Raises:
        RuntimeError: there are not as many as users.
    """
    if tensor is None:
        held: list[Array | None] = [np.array(given, np.int64)] * devices
    else:
        tensor.need(op)
        demand(f"{op}:", (tensor.dtype.is_integer, f"{what}_tensor is {tensor.dtype.value}; int32 is needed"))
        held = [None if one is None else one.astype(np.int64).ravel() for one in _of_a_core(tensor)]
    for one in held:
        count = 0 if one is None else len(one)
        demand(f"{op}:", (count == users, f"Number of {what} should match batch size: {count} for {users} users"))
    return held


def tables(op: str, table: Tensor, users: int) -> list[Array | None]:
    """The page table of each device.

    Raises:
        RuntimeError: it is none of these users.
    """
    table.need(op)
    held = _of_a_core(table)
    rows = {len(one) for one in held if one is not None} or {users}
    fits = table.dtype.is_integer and table.layout is Layout.ROW_MAJOR and len(table.shape) == 2 and rows == {users}
    demand(f"{op}:", (fits, f"the page table is {table!r}; row-major integers [{users}, pages] are needed"))
    return held


def _of_a_core(tensor: Tensor) -> list[Array | None]:
    """The integers of each device: of a tensor in shards, of which every core has a copy, those of one; else all."""
    spec = tensor.memory_config().shard_spec
    rows = None if spec is None else next(iter(spec.shape))
    return each(lambda values: values[:rows], tensor.shards)


def _update(op: str, cache: Tensor, new: Tensor, rows: Rows) -> None:
    """Give rows of a cache [blocks, heads, rows, DH] the tokens [1, users, heads or more, DH] of users."""
    demand(
        f"{op}:",
        (cache.device(), "the cache is on the host; put it on a device"),
        (
            new.is_sharded(),
            "Expect input_tensor to be sharded, a user a core: ttnn.to_memory_config",
        ),
        (not cache.is_sharded(), "Only interleaved cache is supported"),
        (cache.layout is Layout.TILE, "Expect cache in tile layout"),
        (new.dtype in EXACT_TYPES, f"Data type of input tensor must be FLOAT32 or BFLOAT16; it is {new.dtype.value}"),
        (not cache.dtype.is_integer, f"the cache is {cache.dtype.value}"),
        (len(new.shape) == len(cache.shape) == 4 and new.shape[0] == 1, f"the input is {list(new.shape)}; 1 comes first"),
        (new.shape[3] == cache.shape[3], f"rows of the input have {new.shape[3]} elements, those of the cache {cache.shape[3]}"),
        (new.shape[2] >= cache.shape[1], f"the input has {new.shape[2]} heads, the cache {cache.shape[1]}"),
    )
    places = rows.of_devices(op, cache, new.shape[1])
    heads = cache.shape[1]

    def written(held: Stored, tokens: Stored, where: list[tuple[int, int, int]]) -> Stored:
        users = [user for user, _, _ in where]
        return held.with_tokens([place for _, *place in where], tokens.values()[0, users, :heads])

    cache.shards = once(written, cache.shards, new.shards, places)


def _paged_update(
    op: str,
    tensors: Sequence[Tensor],
    rows: Rows,
    demanded: tuple[object, str],
    batch_offset: int,
    mesh_coords: Any,
    compute_kernel_config: WormholeComputeKernelConfig | None,
) -> None:
    """Update caches, each with the tokens that follow it among the tensors, if what the op demands of them holds."""
    refuse(op, mesh_coords=mesh_coords, batch_offset=batch_offset or None)
    SESSION.without_effect(op, compute_kernel_config=compute_kernel_config)
    mesh = common_mesh(op, tensors)
    demand(f"{op}:", demanded)
    for cache, new in zip(tensors[::2], tensors[1::2], strict=True):
        _update(op, cache, new, rows)
    if mesh:
        record(op, mesh, tensors, None, (rows.shared, rows.table is None))


@recorded
def paged_update_cache(
    cache_tensor: Tensor,
    input_tensor: Tensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: Tensor | None = None,
    share_cache: bool | None = None,
    page_table: Tensor | None = None,
    batch_offset: int = 0,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    mesh_coords: Any = None,
) -> Tensor:
    """Write a token [1, users, heads or more, DH] of each user into a cache, at its position; the cache. In cycles not modelled.

    The cache is [users, heads, rows, DH], with `share_cache` one sequence of all users, or with a page table [users, pages] the
    blocks [blocks, heads, block size, DH]. A user at position -1 writes nothing.

    Raises:
        RuntimeError: shapes, positions or places do not fit.
    """
    rows = Rows(update_idxs, update_idxs_tensor, bool(share_cache), page_table)
    demanded = input_tensor.layout is Layout.TILE, "Expect input_tensor in tile layout; only the fused op takes rows"
    options = batch_offset, mesh_coords, compute_kernel_config
    _paged_update("paged_update_cache", [cache_tensor, input_tensor], rows, demanded, *options)
    return cache_tensor


@recorded
def paged_fused_update_cache(
    cache_tensor1: Tensor,
    input_tensor1: Tensor,
    cache_tensor2: Tensor,
    input_tensor2: Tensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: Tensor | None = None,
    share_cache: bool | None = None,
    page_table: Tensor | None = None,
    batch_offset: int = 0,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    mesh_coords: Any = None,
) -> tuple[Tensor, Tensor]:
    """As `paged_update_cache` of two caches at once, of K and of V; the tokens of both lie on different cores.

    Raises:
        RuntimeError: as there, or cores hold tokens of both.
    """
    tensors = [cache_tensor1, input_tensor1, cache_tensor2, input_tensor2]
    rows = Rows(update_idxs, update_idxs_tensor, bool(share_cache), page_table)
    specs = [one.memory_config().shard_spec for one in (input_tensor1, input_tensor2)]
    apart = None in specs or not _meet(*(spec.grid for spec in specs if spec))
    demanded = apart, "input_tensor1 and input_tensor2 must not overlap: their shards lie on the same cores"
    _paged_update("paged_fused_update_cache", tensors, rows, demanded, batch_offset, mesh_coords, compute_kernel_config)
    return cache_tensor1, cache_tensor2


def _meet(a: CoreRangeSet, b: CoreRangeSet) -> bool:
    return any(
        one.start.x <= other.end.x and other.start.x <= one.end.x and one.start.y <= other.end.y and other.start.y <= one.end.y
        for one in a.ranges()
        for other in b.ranges()
    )


@recorded
def update_cache(
    cache: Tensor,
    input_tensor: Tensor,
    update_idx: int,
    batch_offset: int = 0,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> Tensor:
    """Write a token of each user of [1, heads, users or more, DH] into row `update_idx` of a cache [users, heads, rows, DH].

    The tokens begin at user `batch_offset` of the input. Cycles are not modelled.

    Raises:
        RuntimeError: shapes do not go together, or there is no such row.
    """
    SESSION.without_effect("update_cache", compute_kernel_config=compute_kernel_config)
    mesh = common_mesh("update_cache", [cache, input_tensor])
    users, heads, rows, width = cache.shape
    fits = (1, heads, width) == (*input_tensor.shape[:2], input_tensor.shape[3])
    enough = input_tensor.shape[2] >= batch_offset + users
    demand(
        "update_cache:",
        (mesh, "the cache is on the host; put it on a device"),
        (fits and enough, f"the input is {list(input_tensor.shape)} from user {batch_offset} on, the cache {list(cache.shape)}"),
        (0 <= update_idx < rows, f"row {update_idx} of {rows}"),
    )
    places = [(user, update_idx) for user in range(users)]

    def written(held: Stored, tokens: Stored) -> Stored:
        return held.with_tokens(places, tokens.values()[0, :, batch_offset : batch_offset + users].swapaxes(0, 1))

    cache.shards = once(written, cache.shards, input_tensor.shards)
    if mesh:
        record("update_cache", mesh, [cache, input_tensor], None)
    return cache
