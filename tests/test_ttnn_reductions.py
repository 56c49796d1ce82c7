"""ttnn's reduce-scatter and all-reduce on virtual meshes: sums, padding, programs, what is refused and what is noted."""

from typing import Any

import numpy as np
import pytest

from tensix_sim import ttnn
from tensix_sim.formats import BFLOAT16, to_format
from tensix_sim.ttnn.session import SESSION


@pytest.fixture(autouse=True)
def _fresh(own_session: None) -> None:
    """Each test has its own records and settings."""


def spread(mesh: Any, *shape: int, dtype: Any = ttnn.bfloat16) -> tuple[Any, Any]:
    """A tensor of that shape on each device, and all of them."""
    rows, columns = mesh.shape
    values = to_format(np.random.default_rng(0).standard_normal((rows * columns, *shape[1:])).astype(np.float32), BFLOAT16)
    mapper = ttnn.ShardTensorToMesh(mesh, 0)
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper), values


def parts(tensor: Any) -> list[Any]:
    """What each device holds."""
    return [one.to_numpy() for one in ttnn.get_device_tensors(tensor)]


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_of_a_mesh_add_up_by_themselves(axis: int) -> None:
    """Each device of a row or column gets its part of the sum of that row or column, in simulated cycles; then all get all."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    x, values = spread(mesh, 1, 1, 60, 256)
    scattered, all_of_it = ttnn.reduce_scatter(x, 3, cluster_axis=axis), ttnn.all_reduce(x, cluster_axis=axis)
    grid = values.reshape(2, 4, 1, 60, 256)
    for i, (part, whole) in enumerate(zip(parts(scattered), parts(all_of_it), strict=True)):
        place = divmod(i, 4)
        total = (grid[:, place[1]] if axis == 0 else grid[place[0]]).sum(0)
        np.testing.assert_allclose(whole[0], total, atol=0.05)
        np.testing.assert_allclose(part[0], np.split(total, (2, 4)[axis], -1)[place[axis]], atol=0.05)
    assert [call.op for call in SESSION.calls if call.device == 0] == ["reduce_scatter", "reduce_scatter", "all_gather"]
    assert all(call.cycles for call in SESSION.calls)
    assert len(mesh.programs) == 2  # the all-reduce's first program is the reduce-scatter's


def test_all_of_a_mesh_adds_up_along_its_columns_and_then_along_its_rows() -> None:
    """Devices have their parts in order, which a gather puts together; it takes what a reduction along each axis takes."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    x, values = spread(mesh, 1, 1, 64, 512)
    part = ttnn.reduce_scatter(x, 3)
    both = [call.cycles for call in SESSION.calls]
    total = values.sum(0)
    for got, wanted in zip(parts(part), np.split(total, 8, -1), strict=True):
        np.testing.assert_allclose(got[0], wanted, atol=0.1)
    SESSION.calls.clear()
    ttnn.reduce_scatter(ttnn.reduce_scatter(x, 3, cluster_axis=0), 3, cluster_axis=1)
    assert [call.cycles for call in SESSION.calls] == both
    for whole in (ttnn.all_gather(part, 3), ttnn.all_reduce(x)):
        for got in parts(whole):
            np.testing.assert_allclose(got[0], total, atol=0.1)
    assert any("all_reduce: without cluster_axis it adds up along the columns" in note for note in SESSION.notes)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_line_stands_for_all(axis: int) -> None:
    """Lines of a mesh share no link, so a row of an 8x4 takes what a mesh of a row does, and a column what one of a column."""
    whole = ttnn.open_mesh_device(ttnn.MeshShape(8, 4))
    alone = ttnn.open_mesh_device(ttnn.MeshShape(*((8, 1) if axis == 0 else (1, 4))))
    for op in (ttnn.reduce_scatter, ttnn.all_gather):
        took = []
        for mesh in (whole, alone):
            SESSION.calls.clear()
            SESSION.timed.clear()
            op(spread(mesh, 1, 1, 32, 256)[0], 3, cluster_axis=axis)
            took.append({call.device: call.cycles for call in SESSION.calls})
        of_line = list(took[1].values())
        places = np.arange(32).reshape(8, 4)
        for line in places.T if axis == 0 else places:
            assert [took[0][i] for i in line] == of_line


def test_an_all_reduce_takes_the_last_dimension_that_goes() -> None:
    """In whole tiles of the last two; where none does it gathers and adds up on each device, and says so."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    for shape, at, ops in (
        ((1, 4, 32, 96), 1, ["reduce_scatter", "all_gather"]),
        ((1, 4, 128, 96), 2, ["reduce_scatter", "all_gather"]),
        ((1, 3, 32, 96), None, ["all_gather", "moreh_sum"]),
    ):
        SESSION.calls.clear()
        x, values = spread(mesh, *shape)
        done = ttnn.all_reduce(x)
        assert done.shape == list(shape)
        for part in parts(done):
            np.testing.assert_allclose(part[0], values.sum(0), atol=0.05)
        calls = [call for call in SESSION.calls if call.device == 0]
        assert [call.op for call in calls] == ops
        if at is not None:
            expected = list(shape)
            expected[at] //= 4
            assert calls[1].shape == "x".join(map(str, expected))
    assert any("no dimension of [1, 3, 32, 96] has 4 parts of whole tiles" in note for note in SESSION.notes)


def test_parts_that_cut_tiles_have_numbers_and_no_cycles() -> None:
    """As ttnn's composite of pads and slices; a gather of such parts puts them together again."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    x, values = spread(mesh, 1, 1, 40, 72)
    for dim in (2, 3):
        part = ttnn.reduce_scatter(x, dim)
        for got, expected in zip(parts(part), np.split(values.sum(0, keepdims=True), 4, dim), strict=True):
            np.testing.assert_allclose(got, expected, atol=0.05)
        for got in parts(ttnn.all_gather(part, dim)):
            np.testing.assert_allclose(got[0], values.sum(0), atol=0.05)
    assert all(call.cycles is None for call in SESSION.calls)
    assert any("reduce_scatter" in note and "not modelled" in note for note in SESSION.notes)


@pytest.mark.parametrize("where", [None, ttnn.L1_MEMORY_CONFIG, ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG])
def test_rows_and_tensors_in_l1_have_numbers_and_no_cycles(where: Any) -> None:
    """The numbers of tiles in DRAM; integers can be gathered, too."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    x, _ = spread(mesh, 1, 1, 32, 256)
    there = ttnn.to_memory_config(x, where) if where else ttnn.to_layout(x, ttnn.ROW_MAJOR_LAYOUT)
    wanted = [parts(op(x, 3)) for op in (ttnn.reduce_scatter, ttnn.all_gather)]
    SESSION.calls.clear()
    for op, expected in zip((ttnn.reduce_scatter, ttnn.all_gather), wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(parts(op(there, 3)), expected, strict=True))
    assert {call.cycles for call in SESSION.calls} == {None}
    whole = ttnn.from_numpy(np.arange(8, dtype=np.int32).reshape(4, 2), device=mesh, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 0))
    for part in parts(ttnn.all_gather(whole, 0)):
        assert part.ravel().tolist() == [*range(8)]


def test_hints_of_the_pipeline_change_time_and_not_numbers() -> None:
    """Workers, slots of their muxes, signals, and buffers of the caller's, which need no barrier: each has other cycles."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    x, _ = spread(mesh, 1, 1, 64, 2048)
    into = spread(mesh, 1, 1, 64, 512)[0]
    cores = ttnn.num_cores_to_corerangeset(4, ttnn.CoreCoord(8, 8))
    semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(3)]
    times, first = [], None
    for more in (
        {"num_workers_per_link": 2},
        {"num_workers_per_link": 1},
        {"num_workers_per_link": 2, "num_buffers_per_channel": 2},
        {"num_workers_per_link": 1, "chunks_per_sync": 20},
        {"num_workers_per_link": 2, "persistent_output_buffers": [into, into]},
    ):
        SESSION.calls.clear()
        done = ttnn.experimental.reduce_scatter_minimal_async(
            x,
            dim=3,
            multi_device_global_semaphore=semaphores,
            barrier_semaphore=semaphores[0],
            topology=ttnn.Topology.Linear,
            **more,
        )
        assert (done is into) == ("persistent_output_buffers" in more)
        first = first or parts(done)
        assert all(np.array_equal(a, b) for a, b in zip(first, parts(done), strict=True))
        times.append(max(call.cycles or 0 for call in SESSION.calls))
    assert len(set(times)) == len(times)


def test_an_asynchronous_all_reduce_is_the_same() -> None:
    """With its semaphores by whatever names, its axis and mesh by place; without a buffer, and for sums only."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
    x, values = spread(mesh, 1, 1, 32, 128)
    given: dict[str, Any] = {
        "cluster_axis": 1,
        "mesh_device": mesh,
        "math_op": ttnn.ReduceType.Sum,
        "topology": ttnn.Topology.Ring,
    }
    for part in parts(ttnn.experimental.all_reduce_async(x, **given)):
        np.testing.assert_allclose(part[0], values.sum(0), atol=0.05)
    with pytest.raises(ttnn.types.NotModelledError, match="math_op"):
        ttnn.experimental.all_reduce_async(x, **given | {"math_op": ttnn.ReduceType.Max})
    more = {"math_op": ttnn.ReduceType.Sum, "topology": ttnn.Topology.Ring}
    for part in parts(ttnn.experimental.all_reduce_async(x, 1, mesh, **more)):
        np.testing.assert_allclose(part[0], values.sum(0), atol=0.05)
    with pytest.raises(ttnn.types.NotModelledError, match="buffer_tensor"):
        ttnn.experimental.all_reduce_async(x, x, 1, mesh, None, dtype=ttnn.bfloat16, num_links=1)
    with pytest.raises(TypeError, match="3 arguments by place behind the input; cluster_axis, mesh_device are taken"):
        ttnn.experimental.all_reduce_async(x, 1, mesh, None)


def test_what_cannot_be_is_refused() -> None:
    """In the op's name: all of a mesh asynchronously, unequal parts, links, workers, semaphores, formats, unknown words."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(2, 4))
    x, _ = spread(mesh, 1, 1, 32, 256)
    minimal = ttnn.experimental.reduce_scatter_minimal_async
    semaphore = ttnn.create_global_semaphore(mesh, ttnn.num_cores_to_corerangeset(1, ttnn.CoreCoord(8, 8)), 0)
    for op in (lambda: minimal(x, dim=3), lambda: ttnn.experimental.all_reduce_async(x)):
        with pytest.raises(ttnn.types.NotModelledError, match=r"over all of a .*give cluster_axis"):
            op()
    with pytest.raises(RuntimeError, match=r"reduce_scatter: 1 along dim 1 for 4 devices; equal parts are needed"):
        ttnn.reduce_scatter(x, 1, cluster_axis=1)
    with pytest.raises(RuntimeError, match=r"reduce_scatter: 9 links; galaxy has 4 between two neighbours"):
        ttnn.reduce_scatter(x, 3, cluster_axis=1, num_links=9)
    with pytest.raises(RuntimeError, match=r"12 workers a link and direction; 1 to 9 fit galaxy's 80 cores"):
        ttnn.reduce_scatter(x, 3, cluster_axis=1, num_links=4, num_workers_per_link=12)
    with pytest.raises(RuntimeError, match=r"1 semaphore\(s\) in multi_device_global_semaphore; it takes a list of three"):
        minimal(x, dim=3, cluster_axis=1, multi_device_global_semaphore=semaphore)
    with pytest.raises(TypeError, match="unexpected keyword"):
        ttnn.all_reduce(x, axis=1)
    whole = ttnn.from_numpy(np.ones((1, 1, 32, 256), np.int32), device=mesh)
    with pytest.raises(ttnn.types.NotModelledError, match="sums of int32; it takes a float format"):
        ttnn.reduce_scatter(whole, 3, cluster_axis=1)
    ttnn.reduce_scatter(x, 3, cluster_axis=1, subdevice_id=ttnn.SubDeviceId(0))
    assert any("subdevice_id" in note and "without effect" in note for note in SESSION.notes)


def test_without_numerics_cycles_are_the_same() -> None:
    """And exact numbers take as long."""
    cycles = []
    for numerics in ("fast", "off", "exact"):
        ttnn.configure(numerics=numerics)
        SESSION.calls.clear()
        mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, 4))
        ttnn.all_reduce(spread(mesh, 1, 1, 32, 256)[0])
        cycles.append([(call.op, call.cycles) for call in SESSION.calls])
    assert cycles[0] == cycles[1] == cycles[2]
