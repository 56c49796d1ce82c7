"""A decode step in ttnn: rows of caches, heads, rotation, attention, tensors in shards, norms over devices, picks. By NumPy."""

from typing import Any

import numpy as np
import pytest

from tensix_sim import ttnn
from tensix_sim.formats import BFLOAT16, FORMATS, to_format
from tensix_sim.ttnn.session import SESSION

RNG = np.random.default_rng(0)
USERS, HEADS, ROWS, WIDTH, BLOCK = 4, 2, 128, 64, 32
ATTEND = ttnn.transformer.scaled_dot_product_attention_decode
UPDATE, FUSED = ttnn.experimental.paged_update_cache, ttnn.experimental.paged_fused_update_cache


@pytest.fixture(autouse=True)
def _fresh(own_session: None) -> None:
    """Each test has records, settings and random numbers of its own."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def draw(*shape: int) -> Any:
    """Normal numbers that bfloat16 holds."""
    return to_format(RNG.standard_normal(shape).astype(np.float32), BFLOAT16)


def put(array: Any, device: Any, dtype: Any = ttnn.bfloat16, **more: Any) -> ttnn.Tensor:
    """An array on a device, in tiles."""
    return ttnn.from_numpy(array, dtype, layout=ttnn.TILE_LAYOUT, device=device, **more)


def numbers(values: Any, device: Any) -> ttnn.Tensor:
    """Integers on a device, in rows."""
    return ttnn.from_numpy(np.array(values, np.int32), ttnn.int32, device=device)


def on_cores(first: int = 0, count: int = USERS) -> Any:
    """A memory config with a user on each of some cores in a row."""
    cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(first, 0), ttnn.CoreCoord(first + count - 1, 0))])
    spec = ttnn.ShardSpec(cores, [32, WIDTH], ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)


def tokens(device: Any, first: int = 0, heads: int = HEADS) -> tuple[Any, Any]:
    """A token of each user in shards, and its values."""
    values = draw(1, USERS, heads, WIDTH)
    return put(values, device, memory_config=on_cores(first)), values


# -- the cache ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32])
@pytest.mark.parametrize("how", ["list", "tensor", "shared", "paged"])
def test_a_cache_takes_the_token_of_each_user_at_its_position(device: Any, how: str, dtype: Any) -> None:
    """All other rows keep what they held, and a user at -1 writes nothing; the values are what the cache's format holds."""
    at = [5, 37, -1, 127]
    table = RNG.permutation(USERS * ROWS // BLOCK).reshape(USERS, -1)
    shape = {"shared": (1, HEADS, ROWS, WIDTH), "paged": (table.size, HEADS, BLOCK, WIDTH)}.get(how, (USERS, HEADS, ROWS, WIDTH))
    cache = put(draw(*shape), device, dtype)
    wanted, (new, values) = cache.to_numpy().copy(), tokens(device, heads=32)
    held = to_format(values, FORMATS[dtype.value])
    for user, row in enumerate(at):
        if row >= 0:
            block, row = (table[user, row // BLOCK], row % BLOCK) if how == "paged" else (0 if how == "shared" else user, row)
            wanted[block, :, row] = held[0, user, :HEADS]
    given: dict[str, Any] = {"update_idxs": at} if how == "list" else {"update_idxs_tensor": numbers(at, device)}
    given |= {"share_cache": True} if how == "shared" else {"page_table": numbers(table, device)} if how == "paged" else {}
    assert UPDATE(cache, new, **given) is cache
    np.testing.assert_array_equal(cache.to_numpy(), wanted)
    assert (SESSION.calls[-1].op, SESSION.calls[-1].cycles) == ("paged_update_cache", None)


def test_two_caches_at_once_are_one_after_the_other(device: Any) -> None:
    """The fused op's caches are those of two single ones; tokens of both on the same core are refused."""
    caches, (k, _), (v, _) = [draw(USERS, HEADS, ROWS, WIDTH) for _ in range(2)], tokens(device), tokens(device, USERS)
    together, apart = ([put(one, device) for one in caches] for _ in range(2))
    FUSED(together[0], k, together[1], v, update_idxs=[1, 2, 3, 4])
    for cache, new in zip(apart, (k, v), strict=True):
        UPDATE(cache, new, update_idxs=[1, 2, 3, 4])
    assert all(np.array_equal(a.to_numpy(), b.to_numpy()) for a, b in zip(together, apart, strict=True))
    with pytest.raises(RuntimeError, match="must not overlap"):
        FUSED(together[0], k, together[1], tokens(device, USERS - 1)[0], update_idxs=[1, 2, 3, 4])


def test_devices_have_positions_of_their_own() -> None:
    """Users dealt over a mesh: each device's tokens go where its part of the tensor of positions says."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 2))
    over = ttnn.ShardTensorToMesh(mesh, 0)
    cache = put(np.zeros((2, HEADS, ROWS, WIDTH)), mesh, mesh_mapper=over)
    values = draw(1, 2, HEADS, WIDTH)
    new = put(values, mesh, memory_config=on_cores(), mesh_mapper=ttnn.ShardTensorToMesh(mesh, 1))
    at = ttnn.from_numpy(np.array([3, 77], np.int32), ttnn.int32, device=mesh, mesh_mapper=over)
    UPDATE(cache, new, update_idxs_tensor=at)
    whole = ttnn.to_numpy(cache, ttnn.ConcatMeshToTensor(mesh, 0))
    for user, row in ((0, 3), (1, 77)):
        np.testing.assert_array_equal(whole[user, :, row], values[0, user])
        assert np.count_nonzero(whole[user].any(-1).any(0)) == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"update_idxs": [0] * 3}, "Number of update_idxs should match batch size: 3 for 4 users"),
    ({}, "update_idxs or update_idxs_tensor is needed"),
    ({"update_idxs": [0, 0, 0, ROWS]}, "position 128; a sequence of the cache has 128 rows"),
    ({"update_idxs": [0, 0, 0, -2]}, "position -2"),
    ({"update_idxs": [40] * 4, "page_table": [[0, 9]] * 4}, "the page table names block 9 for user 0; the cache has 4"),
    ({"update_idxs": [0] * 4, "page_table": [[0]] * 3}, r"row-major integers \[4, pages\] are needed"),
    ({"update_idxs": [0] * 4, "page_table": [[0]] * 4, "share_cache": True}, "share_cache does not go with a page_table"),
    ({"update_idxs": [0] * 4, "batch_offset": 1}, "batch_offset is not modelled"),
]


@pytest.mark.parametrize("numerics", ["fast", "off"])
@pytest.mark.parametrize(("given", "words"), WRONG)
def test_positions_that_do_not_fit_are_refused(device: Any, given: dict[str, Any], words: str, numerics: str) -> None:
    """With numbers and without; in upstream's words where it has some."""
    ttnn.configure(numerics=numerics)
    block = BLOCK if "page_table" in given else ROWS
    cache, (new, _) = put(draw(USERS, HEADS, block, WIDTH), device), tokens(device)
    more = {"page_table": numbers(given["page_table"], device)} if "page_table" in given else {}
    with pytest.raises(RuntimeError, match=words):
        UPDATE(cache, new, **given | more)


def test_tokens_that_do_not_fit_are_refused(device: Any) -> None:
    """Interleaved, of a block format, narrower, of fewer heads, in rows; a cache on the host or in shards."""
    cache = put(draw(USERS, HEADS, ROWS, WIDTH), device)
    new, at = draw(1, USERS, HEADS, WIDTH), [0] * USERS
    sharded = {"memory_config": on_cores()}
    for given, words in (
        (put(new, device), "Expect input_tensor to be sharded"),
        (put(new, device, ttnn.bfloat8_b, **sharded), "must be FLOAT32 or BFLOAT16; it is bfloat8_b"),
        (put(new[..., :32], device, **sharded), "rows of the input have 32 elements, those of the cache 64"),
        (put(new[:, :, :1], device, **sharded), "the input has 1 heads, the cache 2"),
        (ttnn.from_numpy(new, ttnn.bfloat16, device=device, **sharded), "Expect input_tensor in tile layout"),
    ):
        with pytest.raises(RuntimeError, match=words):
            UPDATE(cache, given, update_idxs=at)
    with pytest.raises(RuntimeError, match="on different devices"):
        UPDATE(put(draw(USERS, HEADS, ROWS, WIDTH), None), put(new, device, **sharded), update_idxs=at)
    within = ttnn.interleaved_to_sharded(cache, on_cores())
    with pytest.raises(RuntimeError, match="Only interleaved cache"):
        UPDATE(within, put(new, device, **sharded), update_idxs=at)


@pytest.mark.parametrize("update", [ttnn.update_cache, ttnn.kv_cache.update_cache_for_token_])
def test_a_row_of_all_users_is_written_at_once(device: Any, update: Any) -> None:
    """Tokens [1, heads, users, DH], from a user on; the row of each user's sequence, and no other."""
    values = draw(USERS, HEADS, ROWS, WIDTH)
    cache, new = put(values, device), draw(1, HEADS, 32, WIDTH)
    update(cache, put(new, device), 7, batch_offset=8)
    values[:, :, 7] = new[0, :, 8 : 8 + USERS].swapaxes(0, 1)
    np.testing.assert_array_equal(cache.to_numpy(), values)
    ttnn.kv_cache.fill_cache_for_user_(cache, put(draw(1, HEADS, 32, WIDTH), device), 0)
    for given, words in (((new, ROWS), "row 128 of 128"), ((new[:, :1], 0), "the input is"), ((new, 0, 30), "from user 30 on")):
        with pytest.raises(RuntimeError, match=words):
            update(cache, put(given[0], device), *given[1:])


# -- heads and rotation -------------------------------------------------------------------------------------------


def test_heads_of_users_come_apart_and_together(device: Any) -> None:
    """Q, K and V are the columns of a user's row, in that order; together q has its own again, and rows of no user zeros."""
    row = draw(1, 1, USERS, (4 + 2 * HEADS) * WIDTH)
    apart = ttnn.experimental.nlp_create_qkv_heads_decode(put(row, device), num_heads=4, num_kv_heads=HEADS)
    columns = np.split(row.reshape(1, USERS, -1, WIDTH), [4, 4 + HEADS], 2)
    assert all(np.array_equal(one.to_numpy(), wanted) for one, wanted in zip(apart, columns, strict=True))
    assert [one.memory_config().shard_spec.shape for one in apart] == [[32, WIDTH]] * 3
    assert {one.memory_config().shard_spec.grid.num_cores() for one in apart} == {USERS}
    joined = ttnn.experimental.nlp_concat_heads_decode(apart[0], num_heads=4).to_numpy()
    assert joined.shape == (1, 1, 32, 4 * WIDTH)
    np.testing.assert_array_equal(joined[0, 0, :USERS], row[0, 0, :, : 4 * WIDTH])
    assert not joined[0, 0, USERS:].any()
    with pytest.raises(RuntimeError, match="rows of 512 are no 5 equal heads"):
        ttnn.experimental.nlp_create_qkv_heads_decode(put(row, device), num_heads=3, num_kv_heads=1)
    with pytest.raises(RuntimeError, match="for 5 heads"):
        ttnn.experimental.nlp_concat_heads_decode(apart[0], num_heads=5)


def test_a_token_turns_as_its_row_of_a_prefill(device: Any) -> None:
    """In decode mode it is, user by user, row `position` of the rotation of a sequence; of q and k at once it is that of both."""
    angles = np.outer(np.arange(ROWS), 10000.0 ** -(np.arange(WIDTH) // 2 / (WIDTH // 2)))
    cos, sin = (to_format(f(angles)[None, None].astype(np.float32), BFLOAT16) for f in (np.cos, np.sin))
    turn = np.zeros((1, 1, 32, 32), np.float32)
    turn[..., range(0, 32, 2), range(1, 32, 2)], turn[..., range(1, 32, 2), range(0, 32, 2)] = 1, -1
    at, rotate = [3, 60, 0, 127], ttnn.experimental.rotary_embedding_llama
    q, k = draw(1, USERS, 4, WIDTH), draw(1, USERS, HEADS, WIDTH)
    tables = [put(one[0, 0, at][None, :, None], device) for one in (cos, sin)]
    matrix = put(np.tile(turn, (1, 1, USERS, 1)), device)
    turned = [rotate(put(x, device), *tables, matrix, is_decode_mode=True).to_numpy() for x in (q, k)]
    for user, row in enumerate(at):
        sequence = np.zeros((1, 4, ROWS, WIDTH), np.float32)
        sequence[0, :, row] = q[0, user]
        whole = rotate(put(sequence, device), put(cos, device), put(sin, device), put(turn, device)).to_numpy()
        np.testing.assert_array_equal(turned[0][0, user], whole[0, :, row])
    twice = [put(np.concatenate([one[0, 0, at]] * 2)[None, :, None], device) for one in (cos, sin)]
    fused = ttnn.experimental.rotary_embedding_llama_fused_qk(put(q, device), put(k, device), *twice, matrix)
    assert all(np.array_equal(one.to_numpy(), wanted) for one, wanted in zip(fused, turned, strict=True))
    with pytest.raises(RuntimeError, match=r"cos_cache is \[1, 8, 1, 64\]; \[1, 4, rows, 64\] is needed"):
        rotate(put(q, device), *twice, matrix, is_decode_mode=True)


def test_halves_turn_in_the_newer_op_as_in_the_older(device: Any) -> None:
    """In cycles not modelled, as of a token in the older; in decode mode each user has a row of its own."""
    x, cos, sin = draw(1, HEADS, 32, WIDTH), draw(1, 1, 32, WIDTH), draw(1, 1, 32, WIDTH)
    older = ttnn.experimental.rotary_embedding(put(x, device), put(cos, device), put(sin, device)).to_numpy()
    newer = ttnn.experimental.rotary_embedding_hf(put(x, device), put(cos, device), put(sin, device)).to_numpy()
    np.testing.assert_array_equal(newer, older)
    assert SESSION.calls[-1].cycles is None
    token = ttnn.experimental.rotary_embedding(put(x, device), put(cos, device), put(sin, device), 7).to_numpy()
    np.testing.assert_array_equal(token[:, :, 7], older[:, :, 7])
    assert SESSION.calls[-1].cycles is None
    of_users = (put(one.swapaxes(1, 2), device) for one in (x, cos, sin))
    decoded = ttnn.experimental.rotary_embedding_hf(*of_users, is_decode_mode=True).to_numpy()
    np.testing.assert_array_equal(decoded.swapaxes(1, 2), older)


# -- attention ----------------------------------------------------------------------------------------------------


def golden(q: Any, k: Any, v: Any, scale: float, bias: Any = 0.0, sink: Any = None) -> Any:
    """Float64 attention of q [heads, DH] by k and v [kv_heads, rows, DH], a bias on the scaled scores, a sink of each head."""
    k, v = (np.repeat(one.astype(np.float64), len(q) // len(one), 0) for one in (k, v))
    scores = np.einsum("hd,hsd->hs", q.astype(np.float64), k) * scale + bias
    powers = np.exp(scores)
    whole = powers.sum(-1) + (0 if sink is None else np.exp(sink * scale))
    return np.einsum("hs,hsd->hd", powers, v) / whole[:, None]


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("with_sink", [False, True])
@pytest.mark.parametrize("paged", [False, True])
def test_a_token_attends_up_to_its_position(device: Any, paged: bool, with_sink: bool, window: int | None) -> None:
    """Float64 attention by the rows of its cache, or the last of them; the same through a page table; zeros for a user at -1."""
    at, scale = [5, 37, -1, 127], 0.2
    q, k, v = draw(1, USERS, 4, WIDTH), *(draw(USERS, HEADS, ROWS, WIDTH) for _ in range(2))
    sink, table = draw(4, 1), RNG.permutation(USERS * ROWS // BLOCK).reshape(USERS, -1)
    more = {"attention_sink": put(np.pad(sink, ((0, 0), (0, 31))), device)} if with_sink else {}
    common: dict[str, Any] = {"scale": scale, "cur_pos_tensor": numbers(at, device), "sliding_window_size": window, **more}
    if paged:
        blocks = [np.empty((table.size, HEADS, BLOCK, WIDTH), np.float32) for _ in range(2)]
        for whole, cut in zip((k, v), blocks, strict=True):
            cut[table] = whole.reshape(USERS, HEADS, -1, BLOCK, WIDTH).swapaxes(1, 2)
        op = ttnn.transformer.paged_scaled_dot_product_attention_decode
        out = op(put(q, device), *(put(one, device) for one in blocks), numbers(table, device), **common).to_numpy()
    else:
        out = ATTEND(put(q, device), put(k, device), put(v, device), **common).to_numpy()
    assert not out[0, at.index(-1)].any()
    for user, row in [(user, row) for user, row in enumerate(at) if row >= 0]:
        rows = slice(max(row + 1 - window, 0) if window else 0, row + 1)
        wanted = golden(q[0, user], k[user, :, rows], v[user, :, rows], scale, sink=sink[:, 0] if with_sink else None)
        np.testing.assert_allclose(out[0, user], wanted, atol=0.02)
    assert SESSION.calls[-1].cycles is None


def test_positions_and_pages_may_lie_on_every_core(device: Any) -> None:
    """Shards of a core each, all alike, are read as one tensor in DRAM is: in attention and in the cache, to the bit."""
    table = RNG.permutation(USERS * ROWS // BLOCK).reshape(USERS, -1)
    cores = ttnn.num_cores_to_corerangeset(8, ttnn.CoreCoord(8, 8), row_wise=True)

    def on_cores(array: Any, dtype: Any) -> Any:
        spec = ttnn.ShardSpec(cores, array.shape, ttnn.ShardOrientation.ROW_MAJOR)
        where = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
        return ttnn.from_numpy(np.tile(array, (8, 1)), dtype, device=device, memory_config=where)

    blocks, q, token = draw(table.size, HEADS, BLOCK, WIDTH), draw(1, USERS, 4, WIDTH), draw(1, USERS, HEADS, WIDTH)
    at = np.array([[5, 37, 127, 64]], np.int32)
    outs = []
    for pages, position in (
        (numbers(table, device), numbers(at[0], device)),
        (on_cores(table, ttnn.uint16), on_cores(at, ttnn.int32)),
    ):
        cache = put(blocks, device)
        new = put(token, device, memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG)
        ttnn.experimental.paged_update_cache(cache, new, update_idxs_tensor=position, page_table=pages)
        op = ttnn.transformer.paged_scaled_dot_product_attention_decode
        outs.append(op(put(q, device), cache, cache, pages, cur_pos_tensor=position).to_numpy())
    assert np.array_equal(*outs)


def test_without_causality_a_mask_says_what_is_seen(device: Any) -> None:
    """[users, 1, heads, rows], on the scaled scores; with a position list a causal step takes none."""
    q, k, v = draw(1, USERS, 4, WIDTH), *(draw(USERS, HEADS, ROWS, WIDTH) for _ in range(2))
    mask, tensors = draw(USERS, 1, 4, ROWS), [put(one, device) for one in (q, k, v)]
    out = ATTEND(*tensors, is_causal=False, attn_mask=put(mask, device)).to_numpy()
    for user in range(USERS):
        wanted = golden(q[0, user], k[user], v[user], WIDTH**-0.5, mask[user, 0])
        np.testing.assert_allclose(out[0, user], wanted, atol=0.02)
    for given, words in (
        ({}, "a causal step needs cur_pos or cur_pos_tensor"),
        ({"cur_pos": [0] * 3}, "3 for 4 users"),
        ({"cur_pos": [ROWS] * 4}, "beyond the 128 rows"),
        ({"cur_pos": [0] * 4, "attn_mask": put(mask, device)}, "takes no attn_mask"),
    ):
        with pytest.raises(RuntimeError, match=words):
            ATTEND(*tensors, **given)


def test_joint_rows_attend_and_are_attended_to(device: Any) -> None:
    """Float64 attention of the two sequences one behind the other, each with its own part of the result."""
    own, joint = ([draw(1, 2, rows, WIDTH) for _ in range(3)] for rows in (64, 40))
    config = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32)
    op = ttnn.transformer.joint_scaled_dot_product_attention
    given = [put(one, device) for one in (*own, *joint)]
    made = op(*given, joint_strategy="rear", program_config=config)
    q, k, v = (np.concatenate([a, b], 2)[0] for a, b in zip(own, joint, strict=True))
    for row in (0, 63, 64, 103):
        out = made[row // 64].to_numpy()[0, :, row % 64]
        np.testing.assert_allclose(out, golden(q[:, row], k, v, WIDTH**-0.5), atol=0.02)
    with pytest.raises(RuntimeError, match="Joint strategy must be 'rear'"):
        op(*given, joint_strategy="front", program_config=config)
    with pytest.raises(RuntimeError, match=r"q, k and v are .* must agree"):
        op(given[0], given[4], *given[2:], joint_strategy="rear", program_config=config)


def test_the_older_ops_of_encoders_make_attention(device: Any) -> None:
    """Heads apart, scores, their softmax under a mask, heads together: float64 attention; the softmax in place is the same."""
    x, mask = draw(2, 32, 3 * 4 * WIDTH), draw(2, 1, 1, 32)
    q, k, v = ttnn.transformer.split_query_key_value_and_split_heads(put(x, device), num_heads=4)
    scores, hides = ttnn.matmul(q, k), put(mask, device)
    shares = ttnn.transformer.attention_softmax(scores, head_size=WIDTH, attention_mask=hides)
    assert ttnn.transformer.attention_softmax_(scores, head_size=WIDTH, attention_mask=hides) is scores
    np.testing.assert_array_equal(scores.to_numpy(), shares.to_numpy())
    out = ttnn.transformer.concatenate_heads(ttnn.matmul(shares, v)).to_numpy()
    queries, keys, values = (one.reshape(2, 32, 4, WIDTH).swapaxes(1, 2) for one in np.split(x, 3, -1))
    for batch, row in ((0, 0), (1, 31)):
        wanted = golden(queries[batch, :, row], keys[batch], values[batch], WIDTH**-0.5, mask[batch, 0])
        np.testing.assert_allclose(out[batch, row].reshape(4, WIDTH), wanted, atol=0.03)
    with pytest.raises(RuntimeError, match="Invalid input tensor"):
        ttnn.transformer.split_query_key_value_and_split_heads(q, num_heads=4)


def test_without_numerics_shapes_are_the_same(device: Any) -> None:
    """Of every op of a step."""
    ttnn.configure(numerics="off")
    (q, _), cache = tokens(device), put(draw(USERS, HEADS, ROWS, WIDTH), device)
    UPDATE(cache, q, update_idxs=[0] * USERS)
    assert ATTEND(q, cache, cache, cur_pos=[0] * USERS).shape == q.shape
    assert np.isnan(ttnn.experimental.nlp_concat_heads_decode(q, num_heads=HEADS).to_numpy()).all()
    values, places = ttnn.topk(cache, 3)
    assert values.shape == places.shape == [USERS, HEADS, ROWS, 3]


# -- tensors in shards ----------------------------------------------------------------------------------------------


def test_tensors_in_shards_have_numbers_and_no_cycles(device: Any) -> None:
    """In and out of shards, of another grid, and through ops, whose cycles are not modelled then; attention refuses them."""
    values, weight = draw(1, 1, 128, 64), draw(64, 64)
    x, columns = put(values, device), ttnn.CoreGrid(y=1, x=4)
    config = ttnn.create_sharded_memory_config((1, 1, 128, 64), columns, ttnn.ShardStrategy.HEIGHT)
    by_config = ttnn.interleaved_to_sharded(x, config)
    by_grid = ttnn.interleaved_to_sharded(x, columns, [32, 64], ttnn.TensorMemoryLayout.HEIGHT_SHARDED)
    assert by_config.memory_config() == by_grid.memory_config() == config
    elsewhere = ttnn.reshard(by_grid, ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG)
    back = ttnn.sharded_to_interleaved(elsewhere, ttnn.L1_MEMORY_CONFIG, ttnn.float32)
    assert (ttnn.get_memory_config(back), back.dtype) == (ttnn.L1_MEMORY_CONFIG, ttnn.float32)
    np.testing.assert_array_equal(back.to_numpy(), values)
    product = ttnn.linear(by_config, put(weight, device), memory_config=ttnn.DRAM_MEMORY_CONFIG).to_numpy()
    np.testing.assert_allclose(product, values @ weight, rtol=0.01, atol=0.05)
    for op in (ttnn.silu, lambda t: t + t, lambda t: ttnn.rms_norm(t), ttnn.clone, lambda t: ttnn.concat([t, t], 1)):
        op(by_config)
    assert [call.cycles for call in SESSION.calls] == [None] * len(SESSION.calls)
    q = put(draw(1, 1, 32, 64), device, memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG)
    with pytest.raises(RuntimeError, match=r"q is sharded; .* interleaved"):
        ttnn.transformer.scaled_dot_product_attention(q, q, q)
    for wrong, words in (
        (lambda: ttnn.interleaved_to_sharded(by_grid, config), "must be interleaved; it is in shards"),
        (lambda: ttnn.interleaved_to_sharded(x, ttnn.L1_MEMORY_CONFIG), "must be sharded; it is interleaved"),
        (lambda: ttnn.interleaved_to_sharded(x, columns), "a grid goes with shard_shape and shard_scheme"),
        (lambda: ttnn.sharded_to_interleaved(x), "must be sharded; it is interleaved"),
        (lambda: ttnn.reshard(x, config), "input and output must be sharded"),
    ):
        with pytest.raises(RuntimeError, match=words):
            wrong()


def test_layouts_change_by_their_older_names(device: Any) -> None:
    """tilize, tilize_with_zero_padding and untilize; rows of a block format become bfloat16; `move` gives the tensor itself."""
    values = draw(1, 1, 30, 40)
    rows = ttnn.from_numpy(values, ttnn.bfloat16, device=device)
    for tiles in (ttnn.tilize(rows), ttnn.tilize_with_zero_padding(rows)):
        assert (tiles.layout, tiles.padded_shape) == (ttnn.TILE_LAYOUT, [1, 1, 32, 64])
        np.testing.assert_array_equal(ttnn.untilize(tiles).to_numpy(), values)
    assert ttnn.untilize(put(values, device, ttnn.bfloat8_b)).dtype is ttnn.bfloat16
    assert ttnn.move(tiles) is tiles
    blank = ttnn.allocate_tensor_on_device([1, 1, 30, 40], ttnn.bfloat16, ttnn.TILE_LAYOUT, device, ttnn.L1_MEMORY_CONFIG)
    ttnn.copy_host_to_device_tensor(put(values, None), blank)
    np.testing.assert_array_equal(blank.to_numpy(), values)


def test_rows_of_padding_are_left_by_a_reshape(device: Any) -> None:
    """With a padded shape: the first rows, at no cost; a tensor that has the elements already keeps them."""
    values = draw(1, 1, 32, 64)
    part = ttnn.reshape(put(values, device), (1, 1, 8, 64), (1, 1, 32, 64))
    np.testing.assert_array_equal(part.to_numpy(), values[:, :, :8])
    assert ttnn.reshape(part, (1, 8, 1, 64), (1, 8, 32, 64)).shape == [1, 8, 1, 64]
    assert SESSION.calls == [] or SESSION.calls[-1].op == "reshape"


def test_a_tensor_says_its_sizes_and_its_numbers(device: Any) -> None:
    """Elements with padding and without, its tile, its one value, its lists; filled up to tiles, and out of them again."""
    x = put(np.arange(60.0).reshape(1, 1, 6, 10), device, ttnn.float32)
    assert (x.volume(), x.logical_volume(), x.physical_volume()) == (60, 60, 1024)
    assert x.tile == x.get_tile() == ttnn.Tile((32, 32))
    assert x.to_list()[0][0][5][9] == 59.0
    assert ttnn.max(x).item() == 59.0
    filled = x.pad_to_tile(1.0)
    assert (filled.shape, filled.to_numpy()[0, 0, 6, 0]) == ([1, 1, 32, 32], 1.0)
    np.testing.assert_array_equal(filled.unpad_from_tile([1, 1, 6, 10]).to_numpy(), x.to_numpy())


# -- norms over devices, sums, picks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ttnn.rms_norm_pre_all_gather, ttnn.rms_norm_post_all_gather),
        (ttnn.layer_norm_pre_all_gather, ttnn.layer_norm_post_all_gather),
    ],
)
def test_a_norm_over_devices_is_that_of_whole_rows(first: Any, second: Any) -> None:
    """Each sums its part, they gather the sums, each divides its part: NumPy's norm of the row, in float32."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    values, weight = draw(1, 1, 32, 256), draw(1, 1, 8, 32)
    over = {"mesh_mapper": ttnn.ShardTensorToMesh(mesh, 3)}
    x = put(values, mesh, ttnn.float32, **over)
    own = ttnn.from_numpy(weight.reshape(1, 1, 1, 256), ttnn.float32, device=mesh, **over)
    sums = ttnn.all_gather(first(x, dtype=ttnn.float32), 3)
    made = second(x, sums, epsilon=1e-5, weight=own)
    about = values - values.mean(-1, keepdims=True) if first is ttnn.layer_norm_pre_all_gather else values
    wanted = about / np.sqrt(np.square(about).mean(-1, keepdims=True) + 1e-5) * weight.reshape(-1)
    np.testing.assert_allclose(ttnn.to_numpy(made, ttnn.ConcatMeshToTensor(mesh, 3)), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="stats are"):
        second(x, x[:, :, :, :16])


def test_picks_are_numpys(device: Any) -> None:
    """Places of the largest, the largest in order, one more; all in integers."""
    values = draw(1, 1, 32, 64)
    x = put(values, device)
    assert np.array_equal(ttnn.argmax(x, dim=-1).to_numpy(), values.argmax(-1))
    assert ttnn.argmax(x, dim=3, keepdim=True).shape == [1, 1, 32, 1]
    assert ttnn.argmax(x).item() == values.argmax()
    for largest in (True, False):
        best, places = ttnn.topk(x, 8, largest=largest)
        in_order = np.sort(values, -1)[..., ::-1][..., :8] if largest else np.sort(values, -1)[..., :8]
        assert np.array_equal(best.to_numpy(), in_order)
        assert np.array_equal(np.take_along_axis(values, places.to_numpy().astype(int), -1), in_order)
    at = numbers([0, -1, 7], device)
    assert ttnn.plus_one(at, skip_negative_entries=True) is at
    assert at.to_numpy().tolist() == [1, -1, 8]
    assert ttnn.plus_one(at).to_numpy().tolist() == [2, 0, 9]
    with pytest.raises(RuntimeError, match="k = 65 of 64"):
        ttnn.topk(x, 65)
    with pytest.raises(RuntimeError, match="it takes integers"):
        ttnn.plus_one(x)


def test_products_and_sums_of_other_programs_are_numpys(device: Any) -> None:
    """minimal_matmul with a bias and a function; fast_reduce_nc over the outer dimensions, and no others."""
    x, weight, bias = draw(1, 1, 32, 64), draw(64, 96), draw(1, 96)
    given = [put(one, device, ttnn.float32) for one in (x, weight, bias)]
    config = ttnn.MinimalMatmulConfig(M_block_size=1)
    made = ttnn.experimental.minimal_matmul(*given, fused_activation="relu", config=config)
    np.testing.assert_allclose(made.to_numpy(), np.maximum(x @ weight + bias, 0), rtol=1e-5, atol=1e-5)
    many = draw(2, 3, 32, 32)
    summed = ttnn.experimental.fast_reduce_nc(put(many, device, ttnn.float32), dims=[1])
    np.testing.assert_allclose(summed.to_numpy(), many.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError, match="not the last two"):
        ttnn.experimental.fast_reduce_nc(put(many, device), dims=[3])


def test_tensors_of_tensors_are_numpys(device: Any) -> None:
    """Repeated, stacked, stretched, cut, bounded; and what a tensor takes in place."""
    values, other = draw(1, 2, 32, 32), draw(1, 2, 32, 32)
    x, y = put(values, device, ttnn.float32), put(other, device, ttnn.float32)
    for made, wanted in (
        (ttnn.repeat_interleave(x, 3, dim=1), np.repeat(values, 3, 1)),
        (ttnn.expand(x, [4, -1, 32, 32]), np.broadcast_to(values, (4, 2, 32, 32))),
        (ttnn.stack([x, y], dim=1), np.stack([values, other], 1)),
        (ttnn.stack([x, y], dim=-1), np.stack([values, other], -1)),
        (ttnn.clamp(x, min=-0.5, max=0.25), np.clip(values, -0.5, 0.25)),
        (ttnn.clip(x, max=0.0), np.minimum(values, 0)),
        (ttnn.tril(x), np.tril(values)),
        (ttnn.triu(x, diagonal=2), np.triu(values, 2)),
    ):
        np.testing.assert_array_equal(made.to_numpy(), wanted)
    for op, f in ((ttnn.add_, np.add), (ttnn.sub_, np.subtract), (ttnn.mul_, np.multiply), (ttnn.div_, np.divide)):
        values = f(values, other)
        assert op(x, y) is x
        np.testing.assert_allclose(x.to_numpy(), values, rtol=1e-6)
    assert (ttnn.subtract_, ttnn.multiply_, ttnn.divide_) == (ttnn.sub_, ttnn.mul_, ttnn.div_)
    with pytest.raises(RuntimeError, match="clamp: Only one"):
        ttnn.clamp(x)
    with pytest.raises(RuntimeError, match="expand: "):
        ttnn.expand(x, [1, 3, 32, 32])


def test_a_captured_step_goes_on_from_token_to_token(device: Any) -> None:
    """Each replay writes the next row, of what its input holds then, as it moves positions on in place; layouts and sums, too."""
    cache, at = put(np.zeros((USERS, HEADS, ROWS, WIDTH)), device), numbers([10] * USERS, device)
    new = put(np.ones((1, USERS, HEADS, WIDTH)), device)

    def step() -> Any:
        rows = ttnn.to_layout(ttnn.to_layout(new, ttnn.ROW_MAJOR_LAYOUT), ttnn.TILE_LAYOUT)
        token = ttnn.interleaved_to_sharded(ttnn.add_(rows, rows), on_cores())
        UPDATE(cache, token, update_idxs_tensor=at)
        return ttnn.plus_one(at)

    trace = ttnn.begin_trace_capture(device)
    step()
    ttnn.end_trace_capture(device, trace)
    for number in (2, 3):
        ttnn.copy_host_to_device_tensor(put(np.full((1, USERS, HEADS, WIDTH), number), None), new)
        ttnn.execute_trace(device, trace)
    assert at.to_numpy().tolist() == [13] * USERS
    assert cache.to_numpy()[:, :, 9:14, 0].tolist() == [[[0, 2, 4, 6, 0]] * HEADS] * USERS


def test_events_need_no_waiting(device: Any) -> None:
    """A mark behind the ops so far: more of them after more ops."""
    first = ttnn.record_event(device, 0)
    ttnn.silu(put(draw(32, 32), device))
    assert ttnn.record_event(device, 1) > first
    ttnn.wait_for_event(1, first)
    ttnn.event_synchronize(first)
