"""Norms of rows that lie on several devices: sums on each, which the caller gathers, and what all of them say. No cycles.

A device's sums are a tile for each row of tiles: of squares in the first column, and of the elements in that of one tile more.
Source: tt-metal's layernorm_distributed, whose first half sums and whose second divides.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tensix_sim.formats import TILE
from tensix_sim.ttnn.configs import NORM_CONFIGS, demand_config
from tensix_sim.ttnn.glue import named
from tensix_sim.ttnn.moves import mapped
from tensix_sim.ttnn.session import SESSION
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import DataType, MemoryConfig, WormholeComputeKernelConfig, demand
from tensix_sim.ttnn.values import Array


def _sums(name: str, centred: bool) -> Callable[..., Tensor]:
    def op(
        input_tensor: Tensor,
        *,
        dtype: DataType = DataType.BFLOAT16,
        residual_input_tensor: Tensor | None = None,
        compute_kernel_config: WormholeComputeKernelConfig | None = None,
        program_config: Any = None,
        memory_config: MemoryConfig | None = None,
        use_2d_core_grid: bool | None = None,
    ) -> Tensor:
        demand_config(name, program_config, NORM_CONFIGS)
        SESSION.without_effect(
            name, compute_kernel_config=compute_kernel_config, program_config=program_config, use_2d_core_grid=use_2d_core_grid
        )
        inputs = [input_tensor, *([] if residual_input_tensor is None else [residual_input_tensor])]
        shape = (*input_tensor.shape[:-1], TILE * (1 + centred))

        def sums(x: Array, *residual: Array) -> Array:
            x = x + residual[0] if residual else x
            result = np.zeros(shape, np.float32)
            result[..., 0] = np.square(x).sum(-1)
            if centred:
                result[..., TILE] = x.sum(-1)
            return result

        return mapped(name, inputs, sums, dtype, shape=shape, memory_config=memory_config)

    return named(op, name, "Sums of squares of rows" + (", and of their elements" if centred else ""))


def _norm(name: str, centred: bool) -> Callable[..., Tensor]:
    def op(
        input_tensor: Tensor,
        stats: Tensor,
        *,
        epsilon: float = 1e-12,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        memory_config: MemoryConfig | None = None,
        compute_kernel_config: WormholeComputeKernelConfig | None = None,
        program_config: Any = None,
        dtype: DataType | None = None,
        use_2d_core_grid: bool | None = None,
    ) -> Tensor:
        demand_config(name, program_config, NORM_CONFIGS)
        SESSION.without_effect(
            name, compute_kernel_config=compute_kernel_config, program_config=program_config, use_2d_core_grid=use_2d_core_grid
        )
        width, tiles = input_tensor.shape[-1], 1 + centred
        devices = stats.shape[-1] // (TILE * tiles)
        named = {"weight": weight, "bias": bias}
        given = {what: tensor for what, tensor in named.items() if tensor is not None}
        wanted = [*input_tensor.shape[:-1], devices * TILE * tiles]
        demand(f"{name}:", (devices and stats.shape == wanted, f"stats are {list(stats.shape)} for {list(input_tensor.shape)}"))
        for what, tensor in given.items():
            demand(f"{name}:", (tensor.shape.volume() % width == 0, f"{what} {list(tensor.shape)} has not {width} elements"))

        def normed(x: Array, sums: Array, *arrays: Array) -> Array:
            more = {what: array.reshape(-1, width)[0] for what, array in zip(given, arrays, strict=True)}
            of_devices = sums.reshape(*sums.shape[:-1], devices, tiles, TILE)[..., 0].sum(-2) / (width * devices)
            mean = of_devices[..., 1:] if centred else np.float32(0)
            result = (x - mean) / np.sqrt(of_devices[..., :1] - np.square(mean) + epsilon)
            whole: Array = result * more.get("weight", np.float32(1)) + more.get("bias", np.float32(0))
            return whole

        inputs = [input_tensor, stats, *given.values()]
        dtype = dtype or input_tensor.dtype
        return mapped(name, inputs, normed, dtype, shape=input_tensor.shape, memory_config=memory_config)

    return named(op, name, "Rows over the root of their mean square, of the sums that all devices have made, gathered")


rms_norm_pre_all_gather = _sums("rms_norm_pre_all_gather", False)
layer_norm_pre_all_gather = _sums("layer_norm_pre_all_gather", True)
rms_norm_post_all_gather = _norm("rms_norm_post_all_gather", False)
layer_norm_post_all_gather = _norm("layer_norm_post_all_gather", True)
