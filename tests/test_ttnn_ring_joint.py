"""Upstream-style code of ring joint attention: meshes of one row, persistent buffers, semaphores, joint rows."""

from typing import Any

import numpy as np
import pytest

from tensix_sim import ttnn

pytestmark = pytest.mark.usefixtures("own_session")


def attention(q: Any, k: Any, v: Any, hidden: Any = None) -> Any:
    """NumPy's, in float64."""
    scores = q.astype(np.float64) @ k.astype(np.float64).swapaxes(2, 3) / q.shape[3] ** 0.5
    if hidden is not None:
        scores = np.where(hidden, -np.inf, scores)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p @ v / p.sum(-1, keepdims=True)


def pcc(a: Any, b: Any) -> float:
    """Pearson's correlation."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def call(devices: int, rows: int, joint_rows: int, topology: Any, **more: Any) -> Any:
    """A call on a mesh of one row, as tt-metal's own test makes it; q, k, v and joint ones, and the three results."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(1, devices))
    rng = np.random.default_rng(0)
    heads, width, padded = 4, 64, devices * rows
    q, k, v = (rng.standard_normal((1, heads, padded, width), np.float32) for _ in range(3))
    joint = [rng.standard_normal((1, heads, joint_rows, width), np.float32) for _ in range(3)]
    whole = ttnn.ReplicateTensorToMesh(mesh)
    shard = ttnn.ShardTensor2dMesh(mesh, mesh_shape=tuple(mesh.shape), dims=(None, 2))

    def put(x: Any, mapper: Any) -> Any:
        return ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper)

    buffers = [put(np.zeros((1, heads, padded, width), np.float32), whole) for _ in range(2)]
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(7, 7))})
    semaphores = [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(2)]
    config = ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=ttnn.CoreCoord(7, 8), q_chunk_size=64, k_chunk_size=64, exp_approx_mode=False
    )
    given = {"logical_n": padded, "num_links": 1, "is_causal": False} | more
    results = ttnn.transformer.ring_joint_scaled_dot_product_attention(
        *(put(x, shard) for x in (q, k, v)), *(put(x, whole) for x in joint if joint_rows),
        persistent_output_buffer_k=buffers[0], persistent_output_buffer_v=buffers[1], joint_strategy="rear",
        program_config=config, dim=2, multi_device_global_semaphore=semaphores, cluster_axis=1, mesh_device=mesh,
        topology=topology, ccl_core_grid_offset=(7, 0), use_column_major_ccl=True, **given,
    )  # fmt: skip
    return mesh, (q, k, v), joint, buffers, results


def gathered(mesh: Any, tensor: Any) -> Any:
    """A tensor whose rows are shared among the devices."""
    return ttnn.to_numpy(tensor, mesh_composer=ttnn.ConcatMeshToTensor(mesh, dim=2))


@pytest.mark.parametrize(("devices", "topology"), [(4, "Linear"), (8, "Ring")])
def test_every_device_attends_to_the_slices_of_all(devices, topology) -> None:
    """Own rows and joint ones, against NumPy; what is padding is seen by nobody; the buffers have the slices of the others."""
    n = devices * 64 - 20
    mesh, (q, k, v), joint, buffers, (out, joint_out, _) = call(devices, 64, 32, getattr(ttnn.Topology, topology), logical_n=n)
    keys, values = (np.concatenate([x[:, :, :n], y], axis=2) for x, y in ((k, joint[1]), (v, joint[2])))
    assert out.dtype == ttnn.bfloat16
    assert pcc(np.asarray(gathered(mesh, out))[:, :, :n], attention(q, keys, values)[:, :, :n]) > 0.999
    mine = np.asarray(ttnn.to_numpy(ttnn.get_device_tensors(joint_out)[0]))
    assert pcc(mine, attention(joint[0], keys, values)) > 0.999
    landed = np.asarray(ttnn.to_numpy(ttnn.get_device_tensors(buffers[0])[1]))
    np.testing.assert_allclose(landed[:, :, :64], k[:, :, :64], atol=0.02)
    assert not landed[:, :, 64:128].any()


def test_balanced_causal_slices_are_two_parts_of_the_sequence() -> None:
    """Device r has parts r and 2R-1-r, of queries, of keys and of the result."""
    devices, half = 4, 64
    order = np.concatenate([np.arange(i * half, (i + 1) * half) for r in range(devices) for i in (r, 2 * devices - 1 - r)])
    mesh, (q, k, v), _, _, (out, _, _) = call(devices, 2 * half, 0, ttnn.Topology.Linear, is_causal=True, is_balanced=True)
    back = np.argsort(order)
    q, k, v = (x[:, :, back] for x in (q, k, v))
    expected = attention(q, k, v, np.triu(np.ones((len(order), len(order)), bool), 1))
    assert pcc(np.asarray(gathered(mesh, out)), expected[:, :, order]) > 0.999


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"joint_strategy": "front"}, "joint_strategy must be 'rear'"), ({"dim": 1}, "dim 1"),
        ({"ccl_core_grid_offset": (6, 0)}, "lies among the 7 columns"), ({"logical_n": 10_000}, "10000 are no padding"),
        ({"num_links": 5}, "5 links"), ({"multi_device_global_semaphore": [1, 2]}, "multi_device_global_semaphore"),
    ],
)  # fmt: skip
def test_what_ttnn_refuses_is_refused(given, words, monkeypatch) -> None:
    """In words that say what is wrong."""
    usual = ttnn.transformer.ring_joint_scaled_dot_product_attention
    monkeypatch.setattr(ttnn.transformer, usual.__name__, lambda *a, **k: usual(*a, **k | given))
    with pytest.raises(RuntimeError, match=words):
        call(4, 64, 0, ttnn.Topology.Linear)
