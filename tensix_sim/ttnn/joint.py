"""ttnn.transformer.joint_scaled_dot_product_attention: two sequences attend to both, on a device. NumPy's numbers, no cycles."""

import numpy as np

from tensix_sim.ttnn.moves import common_mesh, record
from tensix_sim.ttnn.session import SESSION, recorded
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import Layout, MemoryConfig, SDPAProgramConfig, WormholeComputeKernelConfig, demand
from tensix_sim.ttnn.values import Array, Stored, apart, each

NAME = "joint_scaled_dot_product_attention"


@recorded
def joint_scaled_dot_product_attention(
    input_tensor_q: Tensor,
    input_tensor_k: Tensor,
    input_tensor_v: Tensor,
    joint_tensor_q: Tensor,
    joint_tensor_k: Tensor,
    joint_tensor_v: Tensor,
    *,
    joint_strategy: str,
    program_config: SDPAProgramConfig,
    scale: float | None = None,
    compute_kernel_config: WormholeComputeKernelConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of [B, NH, N, DH] and of joint rows [B, NH, L, DH] to the keys of both; results like q and like the joint q.

    Cycles are not modelled; those of the ring, where the first sequence is shared among devices, are.

    Raises:
        RuntimeError: shapes do not go together, or another strategy than rear.
    """
    SESSION.without_effect(NAME, program_config=program_config, compute_kernel_config=compute_kernel_config)
    own, joint = (input_tensor_q, input_tensor_k, input_tensor_v), (joint_tensor_q, joint_tensor_k, joint_tensor_v)
    inputs = [*own, *joint]
    mesh = common_mesh(NAME, inputs)
    *_, rows, width = input_tensor_q.shape
    shapes = [list(one.shape) for one in inputs]
    demand(
        f"{NAME}:",
        (mesh, "the tensors are on the host; put them on a device"),
        (joint_strategy == "rear", f"Joint strategy must be 'rear'; it is {joint_strategy!r}"),
        (all(one.layout is Layout.TILE for one in inputs), "Inputs to SDPA must be tilized"),
        (len({(*shape[:2], shape[3]) for shape in shapes}) == 1, f"{shapes}: batches, heads and widths must agree"),
        (shapes[0] == shapes[1] == shapes[2], f"q, k and v are {shapes[:3]}; their shapes must agree"),
        (shapes[3] == shapes[4] == shapes[5], f"joint q, k and v are {shapes[3:]}; their shapes must agree"),
    )

    def attended(*arrays: Array) -> tuple[Stored, Stored]:
        q, k, v = (np.concatenate([arrays[i], arrays[i + 3]], 2) for i in range(3))
        scores = q @ k.swapaxes(-1, -2) * np.float32(scale or width**-0.5)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        out = powers @ v / powers.sum(-1, keepdims=True)
        return Stored.of(out[:, :, :rows], input_tensor_q.dtype), Stored.of(out[:, :, rows:], joint_tensor_q.dtype)

    made = each(attended, *(one.shards for one in inputs))
    out, joint_out = (
        like.like(shards, memory_config=MemoryConfig())
        for like, shards in zip((input_tensor_q, joint_tensor_q), apart(made, 2), strict=True)
    )
    if mesh:
        record(NAME, mesh, inputs, None, (scale, repr(program_config)), out)
    return out, joint_out
