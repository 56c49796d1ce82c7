"""Memory of tensors: what their formats take, once for devices that hold the same, and of a cache copies of what is written."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensix_sim import ttnn
from tensix_sim.formats import FORMATS, from_codes, to_codes, to_format

RNG = np.random.default_rng(0)
BYTES_OF_A_TILE = {"float32": 4096, "bfloat16": 2048, "bfloat8_b": 1088, "bfloat4_b": 576}  # tt-metal's tile sizes
LITTLE = 64 << 10  # Python's own objects


@pytest.fixture(autouse=True)
def _fresh(own_session: None) -> None:
    """Each test has settings and records of its own."""


@pytest.fixture
def mesh() -> Any:
    """A Galaxy's 32 devices."""
    return ttnn.open_mesh_device(ttnn.MeshShape(8, 4))


def kept(make: Callable[[], Any]) -> tuple[Any, int, int]:
    """What a function gives, the bytes that stay for it, and those at the peak; NumPy tells tracemalloc of its arrays."""
    tracemalloc.start()
    made = make()
    stay, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return made, stay, peak


def put(array: Any, mesh: Any, dtype: Any = ttnn.bfloat8_b, dims: Any = (None, None)) -> ttnn.Tensor:
    """An array on the devices of a mesh, in tiles."""
    mapper = ttnn.ShardTensor2dMesh(mesh, tuple(mesh.shape), dims)
    return ttnn.from_numpy(array, dtype, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper)


def rows_of(mesh: Any, table: Any) -> ttnn.Tensor:
    """A page table, the same on all devices."""
    return ttnn.from_numpy(table.astype(np.int32), ttnn.int32, device=mesh)


@pytest.mark.parametrize("name", BYTES_OF_A_TILE)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-120, 120))
def test_what_is_held_is_the_format_and_no_more(name: str, seed: int, exponent: int) -> None:
    """Codes take the bytes of tt-metal's tiles, and give back the format's values to the bit, once and again."""
    x = np.random.default_rng(seed).standard_normal((3, 32, 64)).astype(np.float32) * np.float32(2.0) ** exponent
    x[0, 0, :20] = 0.0
    fmt = FORMATS[name]
    codes = to_codes(x, fmt)
    assert codes.nbytes == x.size // 1024 * BYTES_OF_A_TILE[name]
    values = from_codes(codes, fmt)
    assert values.tobytes() == to_format(x, fmt).tobytes()
    assert to_codes(values, fmt).tobytes() == codes.tobytes()


@pytest.mark.parametrize("name", BYTES_OF_A_TILE)
def test_equal_devices_share_and_others_take_their_own(name: str, mesh: Any) -> None:
    """Replicated over 32 devices a tensor takes its format's bytes once; over 8 rows and 4 columns each part once, too."""
    x = RNG.standard_normal((8, 4, 64, 128)).astype(np.float32)
    bytes_of_all = x.size // 1024 * BYTES_OF_A_TILE[name]
    for dims in ((None, None), (0, None), (0, 1)):
        tensor, stay, _ = kept(lambda dims=dims: put(x, mesh, getattr(ttnn, name), dims))
        assert bytes_of_all <= stay <= bytes_of_all + LITTLE, dims
        assert len({id(one) for one in tensor.shards}) == {(None, None): 1, (0, None): 8, (0, 1): 32}[dims]


def test_a_tensor_of_one_value_takes_a_row(mesh: Any) -> None:
    """However large: 70B's cache of 4,096 blocks of 64 rows, of zeros, and its values are zeros."""
    zeros, stay, peak = kept(lambda: ttnn.zeros((4096, 1, 64, 128), ttnn.bfloat8_b, ttnn.TILE_LAYOUT, mesh))
    assert stay <= LITTLE
    assert peak <= 2 * LITTLE
    one = ttnn.get_device_tensors(zeros)[5][7:8]
    assert (one.shape, one.to_numpy().any()) == ([1, 1, 64, 128], False)


def test_of_a_cache_what_is_written_is_copied() -> None:
    """Users fill pages of a cache that 32 devices share: it takes the pages that were written, never more than twice that.

    What the cache holds then is NumPy's, also of pages that are written twice and of a last page that is not full.
    """
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(8, 4))
    blocks, block, width, rows = 512, 32, 64, 4 * 32 + 10
    page = block * width // 1024 * 1088
    start = RNG.standard_normal((blocks, 1, block, width)).astype(np.float32)
    cache = put(start, mesh)
    other = ttnn.from_device(cache)  # shares what is written to next, and must not see it
    held = [ttnn.get_device_tensors(cache)[0].to_numpy() for _ in mesh.ids]
    pages = -(-rows // block)
    table = RNG.permutation(blocks)[: 2 * pages].reshape(2, pages)
    page_table = rows_of(mesh, table)
    for user in (0, 1, 0):
        new = RNG.standard_normal((4, 8, rows, width)).astype(np.float32)
        given = put(new, mesh, dims=(1, 0))
        _, stay, peak = kept(
            lambda given=given, user=user: ttnn.experimental.paged_fill_cache(cache, given, page_table, batch_idx=user)
        )
        written = len(mesh.ids) * pages * page
        assert stay <= written * 1.1 + 4 * LITTLE
        assert peak <= 2 * written + 4 * LITTLE
        for i, one in enumerate(ttnn.get_device_tensors(given)):
            values = one.to_numpy()[0]
            for number, where in enumerate(table[user]):
                piece = values[:, number * block : (number + 1) * block]
                held[i][where, :, : piece.shape[1]] = piece
    for one, wanted in zip(ttnn.get_device_tensors(cache), held, strict=True):
        assert np.array_equal(one.to_numpy(), wanted)
    assert np.array_equal(ttnn.get_device_tensors(other)[3].to_numpy(), to_format(start, FORMATS["bfloat8_b"]))


def test_devices_have_tables_of_their_own() -> None:
    """Each column of a mesh fills the pages that its own table names."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    cache = ttnn.zeros((16, 1, 32, 32), ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh)
    new = RNG.standard_normal((1, 1, 64, 32)).astype(np.float32)
    tables = RNG.permutation(16).reshape(4, 1, 4)[..., :2]
    over_columns = ttnn.ShardTensor2dMesh(mesh, (1, 4), (None, 0))
    page_table = ttnn.from_numpy(tables.reshape(4, 2).astype(np.int32), ttnn.int32, device=mesh, mesh_mapper=over_columns)
    ttnn.experimental.paged_fill_cache(cache, put(new, mesh, ttnn.bfloat16), page_table, batch_idx=0)
    for one, table in zip(ttnn.get_device_tensors(cache), tables[:, 0], strict=True):
        wanted = np.zeros((16, 1, 32, 32), np.float32)
        wanted[table] = to_format(new, FORMATS["bfloat16"]).reshape(2, 1, 32, 32)
        assert np.array_equal(one.to_numpy(), wanted)


@pytest.mark.parametrize("dtype", [ttnn.float32, ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b])
@pytest.mark.parametrize("width", [32, 40])
def test_composers_put_bytes_together_as_values(dtype: Any, width: int) -> None:
    """Ours work on what devices hold; one of the caller's gets values; both give the same, of rows of no whole tiles too."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    tensor = put(RNG.standard_normal((2, 4, 32, width)).astype(np.float32), mesh, dtype, (0, 1))
    for dims in ((0, 1), (0, 3), (3, 2)):
        ours = ttnn.ConcatMesh2dToTensor(mesh, (2, 4), dims)
        assert np.array_equal(ttnn.to_numpy(tensor, ours), ttnn.to_numpy(tensor, lambda pieces, ours=ours: ours(pieces)))


def test_without_numbers_a_whole_takes_none(mesh: Any) -> None:
    """A cache of 4,096 blocks on 32 devices, timed only: filled, put together and of the right shape in no memory to speak of."""
    ttnn.configure(numerics="off")

    def fill_and_read() -> Any:
        cache = ttnn.zeros((4096, 1, 64, 128), ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh)
        new = put(np.broadcast_to(np.float32(1), (4, 8, 64, 128)), mesh, ttnn.bfloat16, (1, 0))
        ttnn.experimental.paged_fill_cache(cache, new, rows_of(mesh, np.arange(2).reshape(1, 2)), batch_idx=0)
        by_rows = ttnn.to_numpy(cache, ttnn.ConcatMesh2dToTensor(mesh, (8, 4), (1, 0)))
        return by_rows, ttnn.to_numpy(cache, ttnn.ConcatMeshToTensor(mesh, -1))

    (by_rows, in_a_row), _, peak = kept(fill_and_read)
    assert (by_rows.shape, in_a_row.shape) == ((4 * 4096, 8, 64, 128), (4096, 1, 64, 32 * 128))
    assert np.isnan(by_rows[-1, -1]).all()
    assert peak < 64 << 20


def test_nobody_changes_what_a_tensor_holds() -> None:
    """Neither through the array that it was made of, nor through one that was read back."""
    for dtype in (ttnn.float32, ttnn.bfloat16, ttnn.int32):
        given = np.ones((1, 1, 32, 32), np.float32)
        tensor = ttnn.from_numpy(given, dtype, layout=ttnn.TILE_LAYOUT)
        given += 1
        read = tensor.to_numpy()
        read += 1
        assert (tensor.to_numpy() == 1).all()
