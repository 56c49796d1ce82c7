"""ttnn.transformer.ring_joint_scaled_dot_product_attention: each line of the mesh is a ring whose K and V travel."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.attention import checked, common_mesh, program_of_call, record_call, shapes
from tensix_sim.ttnn.collectives import GlobalSemaphore, lines_of
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import (
    CoreCoord,
    DataType,
    Layout,
    MemoryConfig,
    SDPAProgramConfig,
    Topology,
    WormholeComputeKernelConfig,
    demand,
    refuse,
)
from tensix_sim.ttnn.values import Array, Stored, once

NAME = "ring_joint_scaled_dot_product_attention"


@recorded
def ring_joint_scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    joint_tensor_q: Tensor | None = None,
    joint_tensor_k: Tensor | None = None,
    joint_tensor_v: Tensor | None = None,
    *,
    persistent_output_buffer_k: Tensor,
    persistent_output_buffer_v: Tensor,
    joint_strategy: str,
    logical_n: int,
    program_config: SDPAProgramConfig,
    scale: float | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
    dim: int,
    multi_device_global_semaphore: Sequence[GlobalSemaphore],
    num_links: int,
    cluster_axis: int,
    mesh_device: MeshDevice,
    topology: Topology,
    subdevice_id: Any = None,
    ccl_core_grid_offset: CoreCoord | tuple[int, int],
    use_column_major_ccl: bool = False,
    is_causal: bool = False,
    is_balanced: bool = False,
    is_cross: bool = False,
    kv_cache_batch_idx: int | None = None,
    kv_actual_isl: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of a ring whose devices hold a slice each: q, k, v [B, NH, N_loc, DH], and joint rows [B, NH, L, DH] behind all.

    K and V of the others arrive in the persistent buffers [B, NHK, R * N_loc, DH] while each device computes. Rings are the
    columns of the mesh (`cluster_axis` 0) or its rows (1). With `is_balanced` a slice is two parts of the sequence, r and
    2R-1-r. The results are bfloat16: [B, NH, N_loc, DH], [B, NH, L, DH], and the scratch of running maxima and sums, whose
    values are not kept. A sub-device is the whole chip. Source: tt-metal's `sdpa_nanobind.cpp`.

    Raises:
        RuntimeError: shapes or configs break a rule of the op; all of them are listed.
        NotModelledError: chunked prefill, or cross attention.
    """
    refuse(NAME, is_cross=is_cross or None, kv_cache_batch_idx=kv_cache_batch_idx, kv_actual_isl=kv_actual_isl)
    qkv = input_tensor_q, input_tensor_k, input_tensor_v
    joint = tuple(tensor for tensor in (joint_tensor_q, joint_tensor_k, joint_tensor_v) if tensor is not None)
    _check_call(joint, joint_strategy, dim, multi_device_global_semaphore, cluster_axis)
    _check_offset(program_config, ccl_core_grid_offset, use_column_major_ccl)
    own = {
        "num_links": num_links,
        "logical_n": logical_n,
        "is_causal": is_causal,
        "is_balanced": is_balanced,
        "scale": scale,
        "program_config": program_config.as_spec(),
        "compute_kernel_config": compute_kernel_config.as_spec() if compute_kernel_config else None,
    }
    return _attend(qkv, joint, (persistent_output_buffer_k, persistent_output_buffer_v), cluster_axis, topology, own)


def _attend(
    qkv: tuple[Tensor, Tensor, Tensor],
    joint: tuple[Tensor, ...],
    persistent: tuple[Tensor, Tensor],
    cluster_axis: int,
    topology: Topology,
    own: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run each ring of the mesh: output, joint output, and the scratch of maxima and sums."""
    mesh = common_mesh(NAME, qkv, {})
    lines = lines_of(NAME, mesh, cluster_axis)
    ring, (b, heads, rows, width) = len(lines[0]), qkv[0].shape
    for buffer, held in zip(persistent, qkv[1:], strict=True):
        whole = [*held.shape[:2], ring * held.shape[2], held.shape[3]]
        demand(f"{NAME}: a persistent buffer", (list(buffer.shape) == whole, f"is {list(buffer.shape)}; {whole} is needed"))
    job = checked(
        NAME,
        own
        | {
            "op": "ring_joint_sdpa",
            "board": mesh.board,
            "ring_size": ring,
            "inputs": shapes(NAME, qkv, None, 0) | {"seq_len": ring * rows},
            "topology": _topology(mesh, ring, topology),
            "joint_len": joint[0].shape[2] if joint else 0,
            "kernel": SESSION.settings.kernel,
            "numerics": SESSION.settings.numerics,
            "trace": SESSION.settings.trace,
        },
    )
    mesh.programs.add(program_of_call(job.spec, (*qkv, *joint)))
    by_device = _run(job, mesh, lines, qkv, joint)
    record_call(NAME, job, mesh, qkv[0].shape, by_device)
    for buffer, held in zip(persistent, qkv[1:], strict=True):
        _land(buffer, held, lines)
    joint_rows = job.spec.joint_len
    kept = b, heads, 2 * (rows + -(-joint_rows // TILE) * TILE), 1
    made = (
        ([run.output for run in by_device], (b, heads, rows, width)),
        ([run.joint for run in by_device], (b, heads, joint_rows, width)),
        ([None if run.output is None else np.zeros(kept, np.float32) for run in by_device], kept),
    )
    out, joint_out, statistics = (
        Tensor.of(
            once(partial(Stored.of, dtype=DataType.BFLOAT16), arrays), shape, DataType.BFLOAT16, Layout.TILE, mesh, MemoryConfig()
        )
        for arrays, shape in made
    )
    return out, joint_out, statistics


def _check_call(
    joint: tuple[Tensor, ...], strategy: str, dim: int, semaphores: Sequence[GlobalSemaphore], cluster_axis: int
) -> None:
    demand(
        f"{NAME}:",
        (len(joint) in (0, 3), "give all of joint_tensor_q, joint_tensor_k and joint_tensor_v, or none"),
        (strategy == "rear", f"joint_strategy must be 'rear'; it is {strategy!r}"),
        (dim in (2, -2), f"dim {dim}; K and V are gathered along their rows, dim 2"),
        (cluster_axis in (0, 1), f"cluster_axis {cluster_axis}; 0 is the columns of the mesh, 1 its rows"),
        (
            len(semaphores) == 2 and all(isinstance(one, GlobalSemaphore) for one in semaphores),
            "multi_device_global_semaphore must be 2 semaphores, one for each direction of the gather",
        ),
    )
    used = tuple(map(id, semaphores))
    if SESSION.timed.get(NAME) == used:
        SESSION.note(f"{NAME}: two calls with one set of semaphores; back to back on a chip, which hangs, they need two in turn")
    SESSION.timed[NAME] = used


def _check_offset(config: SDPAProgramConfig, offset: CoreCoord | tuple[int, int], column_major: bool) -> None:
    x, y = (offset.x, offset.y) if isinstance(offset, CoreCoord) else offset
    columns, rows = config.as_spec()["compute_with_storage_grid_size"]
    demand(
        f"{NAME}: ccl_core_grid_offset ({x}, {y})",
        (not column_major or x >= columns, f"lies among the {columns} columns of cores that compute"),
        (column_major or y >= rows, f"lies among the {rows} rows of cores that compute"),
    )


def _topology(mesh: MeshDevice, ring: int, topology: Topology) -> str:
    from tensix_sim.arch.rings import has_ring

    on = mesh.machine
    if topology is Topology.Ring and ring > 2 and not has_ring(on, ring, on.mesh):
        SESSION.note(f"{NAME}: {ring} devices of {on.board} form no ring; K and V travelled along a line")
        return "line"
    return "line" if ring == 2 else topology.value


def _run(job: Any, mesh: MeshDevice, lines: list[list[int]], qkv: tuple[Tensor, ...], joint: tuple[Tensor, ...]) -> list[Any]:
    """Run each ring; what came out of each device, by its place in the mesh. Rings of the same tensors are simulated once."""
    from tensix_sim.device import run_together
    from tensix_sim.sdpa.inputs import InputValues, RunNumbers, input_misfits

    runs: dict[int, Any] = {}
    known: dict[tuple[int, ...], Any] = {}
    for line in lines:
        key = tuple(id(tensor.shards[i]) for i in line for tensor in (*qkv, *joint))
        if key not in known:
            q, k, v = (_in_order([tensor.shards[i] for i in line], job.spec.is_balanced) for tensor in qkv)
            beside = tuple(held.values() for tensor in joint if (held := tensor.shards[line[0]]) is not None)
            inputs = None
            if q is not None and k is not None and v is not None:
                inputs = InputValues(
                    q, k, v, None, joint=(beside[0], beside[1], beside[2]) if beside and job.spec.joint_len else None
                )
                if wrong := input_misfits(job.spec, inputs):
                    raise RuntimeError(f"{NAME}: " + "; ".join(f"{what}: {said}" for what, said in wrong.items()))
            known[key] = run_together(job, numbers=RunNumbers(inputs))
        runs |= dict(zip(line, known[key], strict=True))
    return [runs[i] for i in range(len(mesh.ids))]


def _in_order(slices: list[Stored | None], balanced: bool) -> Array | None:
    """Slices of a ring's devices as one sequence [B, NH, R * N_loc, DH]; balanced ones have part r and part 2R-1-r each."""
    held = [one.values() for one in slices if one is not None]
    if not held:
        return None
    if not balanced:
        return np.concatenate(held, axis=2)
    halves = [np.split(array, 2, axis=2) for array in held]
    return np.concatenate([front for front, _ in halves] + [back for _, back in halves[::-1]], axis=2)


def _land(buffer: Tensor, held: Tensor, lines: list[list[int]]) -> None:
    """Put the slices of the others of its ring into each device's persistent buffer; the device's own place stays as it was."""
    rows = held.shape[2]
    for line in lines:
        slices = [None if one is None else one.values() for one in (held.shards[i] for i in line)]
        for place, i in enumerate(line):
            old = buffer.shards[i]
            if old is None or slices[place] is None:
                continue
            new = old.values().copy()
            for s, slice_ in enumerate(slices):
                if s != place:
                    new[:, :, s * rows : (s + 1) * rows] = slice_
            buffer.shards[i] = Stored.of(new, buffer.dtype)
