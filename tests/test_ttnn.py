"""The face with ttnn's names: values against NumPy, cycles against the simulator below, refusals by their words."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensix_sim import simulate, ttnn
from tensix_sim.formats import BFLOAT8_B, to_format
from tensix_sim.kernels.sdpa import Mask
from tensix_sim.sdpa.inputs import InputValues
from tensix_sim.ttnn import configs, glue, helpers
from tensix_sim.ttnn.costs import lines
from tensix_sim.ttnn.session import SESSION

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
SMALL = {"compute_with_storage_grid_size": (4, 4), "q_chunk_size": 64, "k_chunk_size": 64}


@pytest.fixture(autouse=True)
def _fresh(own_session: None) -> None:
    """Each test has settings, records and random numbers of its own."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def draw(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normal numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def put(array: Any, mesh: Any, dtype: Any = ttnn.bfloat8_b, **more: Any) -> ttnn.Tensor:
    """An array on a mesh, in tiles."""
    return ttnn.from_numpy(array, dtype, layout=ttnn.TILE_LAYOUT, device=mesh, **more)


def everywhere(mesh: Any, array: Any, dims: tuple[int | None, int | None]) -> ttnn.Tensor:
    """An array cut over rows and columns of a mesh."""
    return put(array, mesh, mesh_mapper=ttnn.ShardTensor2dMesh(mesh, mesh_shape=tuple(mesh.shape), dims=dims))


# -- names --------------------------------------------------------------------------------------------------------


def public() -> list[tuple[str, Any]]:
    """All public functions and classes, and the public methods of classes."""
    things = [(name, getattr(ttnn, name)) for name in ttnn.__all__]
    things += [(name, getattr(module, name)) for module in (ttnn.transformer, ttnn.experimental) for name in module.__all__]
    members = [
        (f"{name}.{member}", value)
        for name, thing in things
        if inspect.isclass(thing)
        for member, value in vars(thing).items()
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]
    return things + members


def test_every_public_name_has_a_docstring() -> None:
    """Functions, classes and methods."""
    told = [(name, thing) for name, thing in public() if callable(thing) or isinstance(thing, property)]
    assert [name for name, thing in told if not inspect.getdoc(thing)] == []


def test_every_public_name_is_tested() -> None:
    """Here, or by a test file in upstream's style; those of made tables by laws over the tables, in test_ttnn_names.py."""
    names = ("all_gather", "ttnn_names", "ttnn_masks", "ttnn_ring_joint", "ttnn_reductions", "ttnn_movers", "ttnn_decode")
    others = tuple(f"test_{name}.py" for name in names)
    tests = (Path(__file__), *(ROOT / "tests" / name for name in others), ROOT / "examples" / "test_ring_distributed_sdpa.py")
    text = "".join(path.read_text() for path in tests)
    made = {*configs.MADE, *glue.MADE_OPS}
    names = [name for name in ttnn.__all__ if not inspect.ismodule(getattr(ttnn, name)) and name not in made]
    names += [*ttnn.transformer.__all__, *ttnn.experimental.__all__, *ttnn.device.__all__]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_names_and_signatures_are_those_of_ttnn() -> None:
    """All of the list but what the docs say is refused."""
    spec = importlib.util.spec_from_file_location("ttnn_coverage", ROOT / "benchmarks" / "ttnn_coverage.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {name: wrong for name, wrong in module.coverage().items() if wrong} == {
        "SDPAProgramConfig": ["no ring_proxy_case"],
        "transformer.prepare_sdpa_input": ["not there"],
    }


@pytest.mark.parametrize(
    ("where", "name", "near"),
    [
        (ttnn, "all_gathr", "all_gather"),
        (ttnn.transformer, "scaled_dot_product_atention", "scaled_dot_product_attention"),
        (ttnn.experimental, "nlp_concat_head", "nlp_concat_heads"),
        (ttnn.device, "DisablePersistentKernelCash", "DisablePersistentKernelCache"),
    ],
)
def test_a_name_that_is_not_there_says_what_is_near(where: Any, name: str, near: str) -> None:
    """In the module and its parts."""
    with pytest.raises(AttributeError, match=rf"{name} is not in this simulator's ttnn; near it are .*{near}"):
        getattr(where, name)


# -- tensors ------------------------------------------------------------------------------------------------------


def test_tensors_hold_what_their_type_can() -> None:
    """Shapes, padding, types and places, there and back."""
    x = draw(1, 2, 40, 64)
    with ttnn.manage_device(0) as device:
        tensor = put(x, device)
        assert tensor.shape == [1, 2, 40, 64]
        assert tensor.padded_shape == ttnn.Shape([1, 2, 64, 64])
        assert tensor.storage_type() is ttnn.StorageType.DEVICE
        assert (tensor.dtype, tensor.layout, tensor.device()) == (ttnn.DataType.BFLOAT8_B, ttnn.Layout.TILE, device)
        assert tensor.memory_config() == ttnn.DRAM_MEMORY_CONFIG
        assert np.array_equal(ttnn.to_numpy(tensor.cpu()), to_format(x, BFLOAT8_B))
        assert np.array_equal(tensor[:, :, :32].to_numpy(), to_format(x, BFLOAT8_B)[:, :, :32])
        there = ttnn.Tensor([1, 2, 3, 4], [1, 4], ttnn.int32, ttnn.ROW_MAJOR_LAYOUT).to(device)
        assert ttnn.from_device(there).to_numpy().tolist() == [[1, 2, 3, 4]]
        assert ttnn.to_layout(ttnn.to_device(ttnn.as_tensor(x), device), ttnn.TILE_LAYOUT).layout is ttnn.TILE_LAYOUT
        tensor.deallocate()
        with pytest.raises(RuntimeError, match="deallocated"):
            tensor.to_numpy()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"pad_value": 1.0}, "pad_value"),
        ({"col_tilize": True}, "col_tilize"),
        ({"dtype": ttnn.fp8_e4m3}, "fp8_e4m3"),
    ],
)
def test_from_torch_refuses_what_is_not_modelled(more: dict[str, Any], words: str) -> None:
    """Never ignores it."""
    with pytest.raises(ttnn.NotModelledError, match=words):
        ttnn.from_torch(draw(1, 1, 32, 32), **more)


def test_tiles_are_32x32() -> None:
    """Others are refused."""
    assert ttnn.Tile().tile_shape == (ttnn.TILE_SIZE, ttnn.TILE_SIZE)
    with pytest.raises(ttnn.NotModelledError, match="16"):
        ttnn.Tile((16, 32))


@pytest.mark.slow
def test_torch_comes_and_goes() -> None:
    """bfloat16 as such, block formats as float32, integers as they are."""
    torch = pytest.importorskip("torch")
    x = torch.randn(1, 1, 32, 64)
    assert ttnn.from_torch(x.bfloat16()).dtype is ttnn.bfloat16
    assert torch.equal(ttnn.to_torch(ttnn.from_torch(x, ttnn.bfloat16)), x.bfloat16())
    assert ttnn.from_torch(x, ttnn.bfloat4_b).to_torch().dtype is torch.float32
    assert torch.equal(ttnn.to_torch(ttnn.from_torch(x)), x)
    counts = torch.arange(8, dtype=torch.int32)[None]
    assert torch.equal(ttnn.to_torch(ttnn.from_torch(counts)), counts)


def test_mappers_and_composers_are_inverse() -> None:
    """Along one axis of the mesh, along both, or all of it everywhere."""
    x = to_format(draw(4, 2, 64, 64), BFLOAT8_B)
    with ttnn.create_mesh_device(ttnn.MeshShape(2, 4)) as mesh:
        cut = everywhere(mesh, x, (1, 0))
        assert cut.shape == [1, 1, 64, 64]
        assert np.array_equal(ttnn.to_numpy(cut, ttnn.ConcatMesh2dToTensor(mesh, (2, 4), (1, 0))), x)
        row = put(np.concatenate([x, x]), mesh, mesh_mapper=ttnn.ShardTensorToMesh(mesh, 0))
        assert np.array_equal(ttnn.to_numpy(row, ttnn.ConcatMeshToTensor(mesh, 0)), np.concatenate([x, x]))
        same = put(x, mesh, mesh_mapper=ttnn.ReplicateTensorToMesh(mesh))
        parts = ttnn.get_device_tensors(same)
        assert [part.device().id() for part in parts] == mesh.get_device_ids()  # type: ignore[union-attr]
        assert ttnn.combine_device_tensors(parts).shape == ttnn.aggregate_as_tensor(parts).shape
        with pytest.raises(RuntimeError, match="mesh_composer"):
            ttnn.to_numpy(same)


# -- devices ------------------------------------------------------------------------------------------------------


def test_devices_are_those_of_the_board() -> None:
    """Grid, architecture, number and mesh; other boards by the settings."""
    assert ttnn.get_num_devices() == ttnn.GetNumAvailableDevices() == ttnn.GetNumPCIeDevices() == 32
    assert ttnn.get_device_ids() == ttnn.get_pcie_device_ids() == list(range(32))
    device = ttnn.open_device(device_id=3)
    assert (device.id(), device.arch(), ttnn.get_arch_name()) == (3, ttnn.Arch.WORMHOLE_B0, "wormhole_b0")
    assert device.compute_with_storage_grid_size() == ttnn.CoreCoord(8, 10)
    assert device.core_grid.num_cores == ttnn.CoreGrid(y=10, x=8).num_cores == 80
    assert device.dram_grid_size().x == 12
    ttnn.SetDefaultDevice(device)
    assert ttnn.GetDefaultDevice() is device
    ttnn.synchronize_device(device)
    ttnn.ReadDeviceProfiler(device)
    ttnn.close_device(device)
    assert ttnn.GetDefaultDevice() is None
    ttnn.configure(board="p100a")
    assert ttnn.device.is_blackhole(ttnn.CreateDevice(0))
    with pytest.raises(RuntimeError, match="no device 1"):
        ttnn.open_device(1)
    with pytest.raises(ValueError, match="no setting"):
        ttnn.configure(bord="n150")


def test_meshes_are_cut_and_counted_row_by_row() -> None:
    """Submeshes by shape and offset; coordinates; shapes that do not fit."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(8, 4))
    part = mesh.create_submesh(ttnn.MeshShape(1, 4), ttnn.MeshCoordinate(2, 0))
    assert (part.get_device_ids(), part.shape, mesh.get_submeshes()) == ([8, 9, 10, 11], [1, 4], [part])
    assert mesh.get_device_id(ttnn.MeshCoordinate(1, 1)) == 5
    assert len(mesh.create_submeshes(ttnn.MeshShape(4, 2))) == 4
    part.reshape(ttnn.MeshShape(2, 2))
    assert part.get_num_devices() == part.shape.mesh_size() == 4
    with pytest.raises(RuntimeError, match="does not lie within"):
        mesh.create_submesh(ttnn.MeshShape(1, 8))
    with pytest.raises(RuntimeError, match="needs 64 devices"):
        ttnn.open_mesh_device(ttnn.MeshShape(8, 8))
    for fabric in (one for one in ttnn.FabricConfig if one.name.startswith("FABRIC_2D")):
        with pytest.raises(ttnn.NotModelledError, match=f"{fabric.name}: collectives here go over"):
            ttnn.set_fabric_config(fabric)
    assert (ttnn.Topology.Torus, ttnn.Topology.Mesh) == (ttnn.Topology.Ring, ttnn.Topology.Linear)
    ttnn.close_mesh_device(mesh)


def test_configs_say_what_a_run_spec_says() -> None:
    """Fields can be read and written; other names are errors; defaults are ttnn's."""
    config = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=64)
    config.q_chunk_size = 128
    assert config.as_spec()["q_chunk_size"] == 128
    with pytest.raises(AttributeError, match="q_chunk"):
        config.q_chunk = 1
    assert ttnn.WormholeComputeKernelConfig().math_fidelity is ttnn.MathFidelity.LoFi
    assert ttnn.BlackholeComputeKernelConfig is ttnn.DeviceComputeKernelConfig is ttnn.WormholeComputeKernelConfig
    made = ttnn.init_device_compute_kernel_config(ttnn.Arch.BLACKHOLE, math_fidelity=ttnn.MathFidelity.HiFi2)
    assert made.as_spec()["math_fidelity"] == "HiFi2"
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 1))})
    assert cores.num_cores() == 8
    shards = ttnn.ShardSpec(cores, (32, 32), ttnn.ShardOrientation.ROW_MAJOR)
    assert ttnn.MemoryConfig(ttnn.TensorMemoryLayout.BLOCK_SHARDED, ttnn.BufferType.L1, shards).is_sharded()
    assert ttnn.L1_MEMORY_CONFIG.spec_name == "l1_interleaved"
    for name in ("HEIGHT", "WIDTH", "BLOCK"):
        assert getattr(ttnn, f"L1_{name}_SHARDED_MEMORY_CONFIG").is_sharded()
    assert {one.name for one in ttnn.MeshType} == {one.name for one in (ttnn.MeshType.Ring, ttnn.MeshType.Line)}
    assert ttnn.DispatchCoreConfig(ttnn.DispatchCoreType.WORKER, ttnn.DispatchCoreAxis.ROW).axis
    assert ttnn.FabricReliabilityMode.STRICT_INIT
    assert ttnn.ThrottleLevel.NO_THROTTLE.value == "NO_THROTTLE"
    assert ttnn.uint8.is_integer
    assert ttnn.int8.is_integer
    assert ttnn.uint16.is_integer
    assert ttnn.uint32.is_integer
    assert not ttnn.float32.is_integer


# -- attention ----------------------------------------------------------------------------------------------------


def attention_inputs(mesh: Any, rows: int = 512) -> list[ttnn.Tensor]:
    """Q of two heads, and K and V of one."""
    return [put(draw(1, heads, rows, 64), mesh) for heads in (2, 1, 1)]


def in_order(halves: list[Any]) -> Any:
    """Outputs of a ring in sequence order."""
    cut = [np.split(half, 2, axis=2) for half in halves]
    return np.concatenate([front for front, _ in cut] + [back for _, back in reversed(cut)], axis=2)


@pytest.mark.parametrize("numerics", ["fast", "exact"])
@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_the_ring_is_plain_sdpa_to_the_bit(kernel: str, numerics: str) -> None:
    """Same chunks, same compute kernel, same arithmetic; positions given, or inferred on a mesh."""
    ttnn.configure(kernel=kernel, numerics=numerics)
    config = ttnn.SDPAProgramConfig(**SMALL)
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 4)) as mesh:
        qkv = attention_inputs(mesh)
        plain = ttnn.transformer.scaled_dot_product_attention(*qkv, program_config=config)
        ring = ttnn.transformer.ring_distributed_scaled_dot_product_attention(*qkv, 4, program_config=config)
        assert ring.shape == [1, 2, 128, 64]
        whole = ttnn.get_device_tensors(plain)[0].to_numpy()
        assert np.array_equal(in_order([one.to_numpy() for one in ttnn.get_device_tensors(ring)]), whole)
        third = ttnn.transformer.ring_distributed_scaled_dot_product_attention(*qkv, 4, 2, program_config=config)
        assert np.array_equal(*(ttnn.get_device_tensors(one)[2].to_numpy() for one in (third, ring)))


def test_modules_of_older_tests_are_there() -> None:
    """What `ttnn.device` has for them; ops are also in `ttnn.operations`."""
    ttnn.device.EnablePersistentKernelCache()
    ttnn.device.DisablePersistentKernelCache()
    assert ttnn.device.is_wormhole_b0()
    assert not ttnn.device.is_blackhole()
    assert ttnn.device.Device is ttnn.Device is ttnn.MeshDevice
    assert ttnn.operations.reshape is ttnn.reshape


@pytest.mark.parametrize("how", ["HEIGHT", "WIDTH", "BLOCK"])
def test_attention_refuses_sharded_memory(how: str) -> None:
    """By name: L1_HEIGHT_SHARDED_MEMORY_CONFIG, L1_WIDTH_SHARDED_MEMORY_CONFIG, L1_BLOCK_SHARDED_MEMORY_CONFIG."""
    sharded = getattr(ttnn, f"L1_{how}_SHARDED_MEMORY_CONFIG")
    with ttnn.manage_device(0) as device, pytest.raises(RuntimeError, match="q is sharded"):
        ttnn.transformer.scaled_dot_product_attention(*[ttnn.to_memory_config(put(draw(1, 1, 32, 32), device), sharded)] * 3)


def test_a_block_format_on_the_host_stays_in_tiles() -> None:
    """As in ttnn, where the conversion is not executed; what is read is the same."""
    x = draw(1, 1, 40, 50)
    with ttnn.manage_device(0) as device:
        back = put(x, device).cpu().to(ttnn.ROW_MAJOR_LAYOUT)
    assert back.layout is ttnn.TILE_LAYOUT
    assert np.array_equal(back.to_numpy(), put(x, None).to_numpy())
    assert any("stayed in tile layout" in note for note in SESSION.notes)


def test_cycles_are_those_of_a_run() -> None:
    """A call costs what `simulate` says of the same spec, device by device, and is counted as one program."""
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 4)) as mesh:
        qkv = attention_inputs(mesh)
        for _ in range(2):
            ttnn.transformer.ring_distributed_scaled_dot_product_attention(
                *qkv, 4, program_config=ttnn.SDPAProgramConfig(**SMALL)
            )
        assert mesh.num_program_cache_entries() == 1
        mesh.disable_and_clear_program_cache()
        mesh.enable_program_cache()
        assert mesh.num_program_cache_entries() == 0
    raw = {"inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 512, "head_dim": 64}, "program_config": SMALL, "trace": "off"}
    result = simulate(raw, inputs=InputValues(*(one.shards[0].values() for one in qkv), None))
    first = [call for call in SESSION.calls if call.number == SESSION.calls[0].number]
    assert [call.cycles for call in first] == [device.cycles for device in result.devices]
    assert all(call.pcc is not None and call.pcc > 0.999 for call in first)


def test_a_prefix_is_read_through_the_page_table() -> None:
    """The ring and chunked SDPA over a shuffled cache give the last rows of a dense run."""
    ttnn.configure(kernel="legacy")
    more = {"program_config": ttnn.SDPAProgramConfig(**SMALL), "scale": 0.1}
    rows, prefix, block = 256, 128, 64
    q, k, v = (draw(1, heads, rows + prefix, 64) for heads in (2, 1, 1))
    table = np.random.default_rng(1).permutation(6).astype(np.int32)[None]
    with ttnn.manage_device(0) as device:
        dense = ttnn.transformer.scaled_dot_product_attention(*(put(x, device) for x in (q, k, v)), **more)
        pages = ttnn.from_numpy(table, ttnn.int32, device=device)
        caches = [ttnn.zeros((6, 1, block, 64), ttnn.bfloat8_b, device=device) for _ in "kv"]
        for cache, x in zip(caches, (k, v), strict=True):
            ttnn.experimental.paged_fill_cache(cache, put(x, device), pages, batch_idx=0)
        new = put(q[:, :, prefix:], device)
        chunked = ttnn.transformer.chunked_scaled_dot_product_attention(new, *caches, pages, prefix, **more)
        ring = ttnn.transformer.ring_distributed_scaled_dot_product_attention
        parts = [ring(new, *caches, 2, i, page_table=pages, chunk_start_idx=prefix, **more).to_numpy() for i in range(2)]
        assert np.array_equal(chunked.to_numpy(), dense.to_numpy()[:, :, prefix:])
        assert np.array_equal(in_order(parts), chunked.to_numpy())


@pytest.mark.parametrize(
    ("op", "more", "error", "words"),
    [
        ("ring_distributed_scaled_dot_product_attention", {"ring_size": 3}, RuntimeError, "even"),
        (
            "ring_distributed_scaled_dot_product_attention",
            {"ring_size": 4, "ring_id": 0, "precision": ttnn.SDPAPrecision.FAST},
            ttnn.NotModelledError,
            "precision",
        ),
        (
            "chunked_scaled_dot_product_attention",
            {"page_table_tensor": ttnn.zeros((1, 32)), "chunk_start_idx": 0, "paged_cache_geometry": 1},
            ttnn.NotModelledError,
            "paged_cache_geometry",
        ),
    ],
)
def test_attention_refuses(op: str, more: dict[str, Any], error: type[Exception], words: str) -> None:
    """What is illegal, as a RuntimeError; what is not modelled, by its name."""
    with ttnn.manage_device(0) as device, pytest.raises(error, match=words):
        getattr(ttnn.transformer, op)(*attention_inputs(device), **more)


def test_the_window_of_the_ring_is_behind_a_flag() -> None:
    """There on the OLMo branch, and an error on main."""
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 2)) as mesh:
        qkv = attention_inputs(mesh, 256)
        ttnn.transformer.ring_distributed_scaled_dot_product_attention(*qkv, 2, sliding_window_size=64)
        assert any("OLMo" in note for note in SESSION.notes)
        ttnn.configure(branch="main")
        with pytest.raises(ttnn.NotModelledError, match="OLMo"):
            ttnn.transformer.ring_distributed_scaled_dot_product_attention(*qkv, 2, sliding_window_size=64)


def test_a_trace_does_it_again_on_new_values() -> None:
    """Captured ops run again on what their inputs hold by then, and give it to their outputs."""
    x, y = draw(1, 1, 32, 32), draw(1, 1, 32, 32)
    with ttnn.manage_device(0) as device:
        given = put(x, device, ttnn.float32)
        trace = ttnn.begin_trace_capture(device, cq_id=0)
        out = ttnn.add(ttnn.multiply(given, 2.0), given)
        ttnn.end_trace_capture(device, trace, cq_id=0)
        ttnn.copy_host_to_device_tensor(ttnn.from_numpy(y, ttnn.float32), given)
        ttnn.execute_trace(device, trace, cq_id=0, blocking=True)
        assert np.allclose(out.to_numpy(), 3 * y)
        ttnn.release_trace(device, trace)
        with pytest.raises(RuntimeError, match="no trace"):
            ttnn.execute_trace(device, trace)


# -- around it ----------------------------------------------------------------------------------------------------


def test_moves_of_tiles_give_numpys_values_and_cost_cycles() -> None:
    """Split, concat, heads, slices, permutations, caches: against NumPy."""
    x = to_format(draw(1, 4, 64, 64), BFLOAT8_B)
    with ttnn.manage_device(0) as device:
        given = put(x, device)
        front, back = ttnn.split(given, 32, dim=2)
        assert np.array_equal(back.to_numpy(), x[:, :, 32:])
        assert np.array_equal(ttnn.concat([back, front], dim=2).to_numpy(), np.concatenate([x[:, :, 32:], x[:, :, :32]], 2))
        joined = ttnn.experimental.nlp_concat_heads(given)
        assert np.array_equal(joined.to_numpy(), x.swapaxes(1, 2).reshape(1, 1, 64, 256))
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(joined, num_heads=2, num_kv_heads=1, transpose_k_heads=False)
        assert np.array_equal(np.concatenate([one.to_numpy() for one in (q, k, v)], 1), x)
        assert np.array_equal(ttnn.slice(given, [0, 1, 0, 32], [1, 3, 64, 64]).to_numpy(), x[:, 1:3, :, 32:])
        assert np.array_equal(ttnn.permute(given, (1, 0, 2, 3)).to_numpy(), x.swapaxes(0, 1))
        cache = ttnn.zeros((2, 4, 128, 64), ttnn.bfloat8_b, device=device)
        assert np.array_equal(ttnn.fill_cache(cache, given, 1).to_numpy()[1, :, :64], x[0])
        assert np.array_equal(ttnn.clone(given).to_numpy(), x)
        assert all(call.cycles for call in SESSION.calls)
        with pytest.raises(RuntimeError, match="add up"):
            ttnn.split(given, [32, 16], dim=2)
        with pytest.raises(RuntimeError, match="no 9 equal heads"):
            ttnn.experimental.nlp_create_qkv_heads(joined, num_heads=3)


def test_glue_computes_values_and_says_where_cycles_are_not_modelled() -> None:
    """Casts, sums, products, rotary embedding, reshapes: against NumPy, and products of float32 by element have none."""
    x, w = draw(1, 1, 64, 64), draw(1, 1, 64, 32)
    with ttnn.manage_device(0) as device:
        a, b = put(x, device, ttnn.float32), put(w, device, ttnn.float32)
        assert np.allclose(ttnn.linear(a, b).to_numpy(), x @ w, atol=1e-4)
        assert np.allclose(ttnn.matmul(a, b).to_numpy(), x @ w, atol=1e-4)
        assert np.allclose(ttnn.mul(a, ttnn.ones((1, 1, 64, 64), ttnn.float32, device=device)).to_numpy(), x)
        assert np.array_equal(ttnn.typecast(a, ttnn.bfloat8_b).to_numpy(), to_format(x, BFLOAT8_B))
        assert np.array_equal(ttnn.transpose(a, 2, 3).to_numpy(), x.swapaxes(2, 3))
        assert np.array_equal(ttnn.reshape(a, (1, 2, 32, -1)).to_numpy(), x.reshape(1, 2, 32, 64))
        assert ttnn.unsqueeze_to_4D(ttnn.from_numpy(x[0, 0])).shape == [1, 1, 64, 64]
        assert ttnn.to_memory_config(a, ttnn.L1_MEMORY_CONFIG).memory_config() == ttnn.L1_MEMORY_CONFIG
        turn = np.zeros((1, 1, 32, 32), np.float32)
        even = np.arange(0, 32, 2)
        turn[..., even, even + 1], turn[..., even + 1, even] = 1, -1
        zero, one = (ttnn.full((1, 1, 64, 64), value, ttnn.float32, device=device) for value in (0.0, 1.0))
        turned = ttnn.experimental.rotary_embedding_llama(a, zero, one, put(turn, device, ttnn.float32)).to_numpy()
        assert np.array_equal(turned[..., ::2], -x[..., 1::2])
        assert np.array_equal(turned[..., 1::2], x[..., ::2])
        ttnn.copy(one, zero)
        assert np.array_equal(zero.to_numpy(), one.to_numpy())
        ttnn.deallocate(one)
        assert [call.op for call in SESSION.calls if call.cycles is None] == ["multiply"]
        assert any("cycles are not modelled" in note for note in SESSION.notes)


def test_gathers_put_slices_together() -> None:
    """Along rows and columns of a mesh, in order and reversed, into a buffer or not; what the board has not is an error."""
    x = to_format(draw(2, 1, 128, 64), BFLOAT8_B)
    with ttnn.create_mesh_device(ttnn.MeshShape(2, 4)) as mesh:
        cut = everywhere(mesh, x, (0, 2))
        cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 1))])
        semaphore = ttnn.create_global_semaphore(mesh, cores, 0)
        assert isinstance(semaphore, ttnn.GlobalSemaphore)
        ttnn.reset_global_semaphore_value(semaphore, 1)
        whole = ttnn.all_gather(cut, dim=2, cluster_axis=1)
        assert all(np.array_equal(one.to_numpy(), x[i // 4 : i // 4 + 1]) for i, one in enumerate(ttnn.get_device_tensors(whole)))
        parts = x[:1].reshape(1, 1, 4, 32, 64)
        backwards = parts[:, :, ::-1].reshape(1, 1, 128, 64)
        into = put(np.zeros((1, 1, 128, 64), np.float32), mesh)
        ring = {"dim": 2, "cluster_axis": 1, "multi_device_global_semaphore": [semaphore] * 2, "topology": ttnn.Topology.Linear}
        turned = ttnn.experimental.all_gather_async_reversed(cut, persistent_output_buffer=into, **ring)
        assert turned is into
        assert np.array_equal(ttnn.get_device_tensors(turned)[0].to_numpy(), backwards)
        again = ttnn.experimental.all_gather_async(cut, num_links=4, **ring)
        assert np.array_equal(ttnn.get_device_tensors(again)[3].to_numpy(), x[:1])
        assert all(call.cycles for call in SESSION.calls)
        with pytest.raises(RuntimeError, match="9 links"):
            ttnn.all_gather(cut, 2, cluster_axis=1, num_links=9)
        with pytest.raises(RuntimeError, match="cluster_axis 2"):
            ttnn.all_gather(cut, 2, cluster_axis=2)


def test_without_numerics_cycles_are_the_same_and_values_are_nan() -> None:
    """Ops keep shapes; integers keep their values."""
    cycles = []
    for numerics in ("fast", "off"):
        ttnn.configure(numerics=numerics)
        SESSION.calls.clear()
        with ttnn.create_mesh_device(ttnn.MeshShape(1, 4)) as mesh:
            ring = ttnn.transformer.ring_distributed_scaled_dot_product_attention(*attention_inputs(mesh), 4)
            front, _ = ttnn.split(ttnn.experimental.nlp_concat_heads(ring), 64, dim=2)
            out = ttnn.all_gather(front, 2, cluster_axis=1)
        cycles.append([(call.op, call.cycles) for call in SESSION.calls])
    assert cycles[0] == cycles[1]
    assert out.shape == [1, 1, 256, 128]
    assert np.isnan(ttnn.get_device_tensors(out)[0].to_numpy()).all()


def test_the_table_has_a_line_for_devices_that_agree() -> None:
    """With the worst of their accuracies, and spans of their numbers."""
    call = {"op": "f", "number": 1, "ring_id": None, "shape": "1", "cycles": 1000, "microseconds": 1.0, "rel_l2": 0.0}
    from tensix_sim.ttnn.session import Call

    (line,) = lines(Call(device=i, pcc=1 - i / 10, **call) for i in (0, 4, 8, 5))
    assert re.search(r"0,4-5,8 .*1,000 .*0\.200000", line)
    assert "0-28/4" in next(lines(Call(device=i, **call) for i in range(0, 32, 4)))
    (line,) = lines(Call(device=i, pcc=1.0, suspect=i == 8, **call) for i in (0, 4, 8))
    assert line.endswith("suspect")


def test_wrong_numbers_are_marked_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that sees the key after its own, on both devices; not so where nothing is wrong, inputs without a sign included."""
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 2)) as mesh:
        q, k, v = (put(np.abs(draw(1, 2, 256, 32)) % 1, mesh, ttnn.bfloat16) for _ in range(3))
        attend = ttnn.transformer.scaled_dot_product_attention
        attend(q, k, v)
        assert not any(call.suspect for call in SESSION.calls)
        monkeypatch.setattr(Mask, "right", 1)
        attend(q, k, v)
    assert [call.suspect for call in SESSION.calls] == [False, False, True, True]
    assert any(re.search("not what the spec gives: row.* of head .*, device 1", note) for note in SESSION.notes)


def test_attention_refuses_values_that_are_not_finite() -> None:
    """Whichever tensor has them, by the place."""
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 1)) as mesh:
        bad = draw(1, 2, 64, 32)
        bad[0, 1, 2, 3] = np.nan
        good = put(draw(1, 2, 64, 32), mesh, ttnn.bfloat16)
        with pytest.raises(RuntimeError, match=r"scaled_dot_product_attention: v: 1 of its values .* at \(0, 1, 2, 3\)"):
            ttnn.transformer.scaled_dot_product_attention(good, good, put(bad, mesh, ttnn.bfloat16))


def test_comparisons_are_upstreams() -> None:
    """Equal, correlated, not, constant, and not a number."""
    x = draw(100)
    assert helpers.comp_pcc(x, x)[0]
    assert helpers.comp_pcc_value(x, -x) == (False, pytest.approx(-1))
    assert not helpers.comp_pcc(x, np.zeros(100))[0]
    assert not helpers.comp_pcc(x, np.full(100, np.nan))[0]
    assert "PCC check failed" in helpers.comp_pcc(x, -x)[1]
    assert helpers.comp_allclose(x, x + 1e-9)[0]
    assert helpers.comp_equal(x, x)[0]
    assert helpers.comp_allclose_and_pcc(x, x)[0]
    with pytest.raises(AssertionError, match="PCC"):
        helpers.assert_with_pcc(x, -x)
    with pytest.raises(AssertionError, match="shapes differ"):
        helpers.assert_equal(x, x[:5])


# -- from outside --------------------------------------------------------------------------------------------------


def command(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tensix_sim.ttnn ...`."""
    given = {**os.environ, **env}
    return subprocess.run([sys.executable, "-m", "tensix_sim.ttnn", *words], cwd=cwd, env=given, capture_output=True, text=True)


def test_importing_needs_no_torch() -> None:
    """Nor any part of the simulator that is slow to load."""
    code = "import sys, tensix_sim.ttnn; print([m for m in ('torch', 'numba', 'tensix_sim.simulation') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


SCRIPT = """
import models.common.utility_functions as m, ttnn, ttnn.transformer
from tests.tt_eager.python_api_testing.sweep_tests.comparison_funcs import comp_pcc
print(ttnn.get_num_devices(), m.is_blackhole(), ttnn.__name__)
for line in ("from ttnn import all_gathr", "import ttnn.experimentals", "from models.common.utility_functions import comp_pc"):
    try:
        exec(line)
    except ImportError as error:
        print(error)
"""


def test_a_command_imports_ours(tmp_path: Path) -> None:
    """A script, from another directory; names that are not there say what is near; helpers do not hide modules of the user."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "mine.py").write_text("here = True")
    (tmp_path / "script.py").write_text(SCRIPT + "import tests.mine\n")
    done = command("--board", "p150b", "--", sys.executable, "script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *errors = done.stdout.splitlines()
    assert first == "1 True tensix_sim.ttnn"
    assert [("near it are" in error, "simulator's ttnn" in error) for error in errors] == [(True, True)] * 3


def test_a_wrong_command_is_a_usage_error() -> None:
    """An unknown board, a program that is not there."""
    assert "unknown board 'n151'; nearest: n150" in (done := command("--board", "n151", "--", "true")).stderr
    assert done.returncode == 2
    assert command("--", "no-such-program").returncode == 2


UPSTREAM = """
import pytest
import numpy as np
import ttnn
from loguru import logger
from models.common.utility_functions import skip_for_blackhole, skip_for_grayskull, run_for_blackhole
from tests.ttnn.utils_for_testing import assert_with_pcc

@skip_for_blackhole("Wormhole")
@pytest.mark.parametrize("device_params", [{"l1_small_size": 0, "fabric_config": ttnn.FabricConfig.FABRIC_1D}], indirect=True)
@pytest.mark.parametrize("mesh_device", [4, (2, 2), pytest.param((16, 16), id="too many")], indirect=True)
def test_mesh(mesh_device, reset_default_device, silicon_arch_name):
    qkv = [ttnn.from_torch(np.random.randn(1, 1, 256, 64).astype(np.float32), ttnn.bfloat8_b, device=mesh_device) for _ in "qkv"]
    out = ttnn.transformer.scaled_dot_product_attention(*qkv)
    logger.info("{} devices", mesh_device.get_num_devices())
    value = ttnn.get_device_tensors(out)[0].to_numpy()
    assert_with_pcc(value, value)
    assert not np.isnan(value).any()

@run_for_blackhole()
def test_skipped(device):
    pass

@skip_for_grayskull("")
@pytest.mark.parametrize("device_params", [{"fabric_config": True, "trace_region_size": 30000}], indirect=True)
def test_error(device, expect_error, is_ci_env):
    with expect_error(RuntimeError, "no trace"):
        ttnn.release_trace(device, 3)
"""


def upstream(tmp_path: Path, *options: str) -> str:
    """Run a test file of upstream's kind under the plug-in; what it printed."""
    (tmp_path / "test_it.py").write_text(UPSTREAM)
    words = [sys.executable, "-m", "pytest", "-p", "tensix_sim.ttnn.plugin", "-q", "-rs", "test_it.py", *options]
    return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True).stdout


def test_the_plugin_runs_upstreams_kind_of_test_and_prints_the_table(tmp_path: Path) -> None:
    """Fixtures, markers, helpers; a table; files of a profiler; JUnit has each device."""
    out = upstream(tmp_path, "--emit", "perf-csv", "--emit-to", "files", "--junit-xml", "junit.xml")
    assert "3 passed, 2 skipped" in out
    assert "Requested more devices than available" in out
    assert re.search(r"scaled_dot_product_attention +1x1x256x64 +0-3 +[\d,]+ +[\d.]+ +0\.99", out)
    assert len(list((tmp_path / "files").rglob("ops_perf_results*.csv"))) == 2
    calls = re.search(r'name="ttnn_calls" value="(\[{.*?)"', (tmp_path / "junit.xml").read_text())
    assert calls
    assert [call["device"] for call in json.loads(calls[1].replace("&quot;", '"'))] == [0, 1, 2, 3]


def test_timing_only_judges_no_number(tmp_path: Path) -> None:
    """With numerics off comparisons pass, and an assertion on numbers is a skip that says so."""
    out = upstream(tmp_path, "--numerics", "off", "--board", "t3000")
    assert "timed only; numbers were not computed" in out
    assert "1 passed, 4 skipped" in out
    assert re.search(r"0-3 +[\d,]+ +[\d.]+$", out, re.MULTILINE)


@pytest.mark.slow
def test_a_test_file_in_upstreams_style_passes() -> None:
    """A sample of the ring op's tests; the whole takes half an hour, by the command in its docstring."""
    pytest.importorskip("torch")
    picked = "s1024-k256-q128 or s1024-64-64-prefix64-block64 or (s512 and w256)"
    done = command("--", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_ring_distributed_sdpa.py", "-k", picked)
    assert re.search(r"\d passed, \d+ deselected", done.stdout), done.stdout
    assert " failed" not in done.stdout
    assert "ring_distributed_scaled_dot_product_attention" in done.stdout
