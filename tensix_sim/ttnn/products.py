"""ttnn's products as the simulator has them: a spec made of tensors and configs, its rules, its cycles, its bits.

What has no cycles here: activations but relu, kinds of program configs without a program here, tensors that are not tiles of
floats, or in shards, batches that only NumPy would put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.moves import Moved
from tensix_sim.ttnn.session import SESSION, Cycles
from tensix_sim.ttnn.types import BufferType, CoreGrid, Layout, MemoryConfig, Shape, WormholeComputeKernelConfig
from tensix_sim.ttnn.values import Array

if TYPE_CHECKING:
    from tensix_sim.matmul import MatmulSpec
    from tensix_sim.matmul.spec import MatmulConfig

FLOATS = ("bfloat16", "bfloat8_b", "bfloat4_b", "float32")
UNMODELLED = ("gather_in0", "untilize_out")


def product_spec(
    op: str,
    mesh: MeshDevice | None,
    inputs: Sequence[Moved],
    turned: tuple[bool, bool],
    out: tuple[str, MemoryConfig],
    activations: Sequence[str],
    configs: tuple[Any, CoreGrid | None, WormholeComputeKernelConfig | None],
) -> MatmulSpec | None:
    """A product of tensors on a device, None where it has no cycles here.

    Raises:
        RuntimeError: the configs break rules of the op; all of them are listed.
    """
    from tensix_sim.matmul.rules import check
    from tensix_sim.matmul.spec import MatmulSpec

    memories = [tensor.memory_config() for tensor in inputs[:2]] + [out[1]]
    tiles_of_floats = all(one.layout is Layout.TILE and one.dtype.value in FLOATS for one in inputs) and out[0] in FLOATS
    somewhere = all(one.buffer_type in (BufferType.DRAM, BufferType.L1) and not one.is_sharded() for one in memories)
    if mesh is None or not tiles_of_floats or not somewhere or any(one != "relu" for one in activations):
        return None
    program_config, core_grid, compute = configs
    config = _config(program_config)
    if program_config is not None and config is None:
        return None
    a, b = (tuple(tensor.shape) for tensor in inputs[:2])
    (m, k), (_, n) = ((*s[:-3:-1],) if turn else s[-2:] for s, turn in zip((a, b), turned, strict=True))
    batch, b_batch = Shape(a[:-2]).volume(), Shape(b[:-2]).volume()
    if (batch != b_batch and 1 not in (batch, b_batch)) or (len(inputs) > 2 and inputs[2].shape.volume() != n):
        return None
    raw = {
        "board": mesh.board, "machine": SESSION.settings.machine, "m": m, "k": k, "n": n, "batch": batch, "b_batch": b_batch,
        "in0_dtype": inputs[0].dtype.value, "in1_dtype": inputs[1].dtype.value, "out_dtype": out[0],
        **{f"{what}_memory": one.buffer_type.value for what, one in zip(("in0", "in1", "out"), memories, strict=True)},
        "transpose_a": turned[0], "transpose_b": turned[1], "bias": len(inputs) > 2,
        "activation": "relu" if activations else None,
        "program_config": config, "core_grid": (core_grid.x, core_grid.y) if core_grid else None,
        "compute_kernel_config": compute.as_spec() if compute else None,
    }  # fmt: skip
    if wrong := check(raw):
        if program_config is None and core_grid is None:
            SESSION.note(f"{op}: the config of its own choice cannot run: {wrong[0].message}")
            return None
        raise RuntimeError(f"{op}: " + "; ".join(one.message for one in wrong))
    return MatmulSpec.model_validate(raw)


def _config(given: Any) -> dict[str, Any] | None:
    """A program config as the spec has it, None where there is no program of its kind, or with such options, here."""
    from tensix_sim.matmul.spec import UPSTREAM, MatmulConfig

    kind = {name: kind for kind, name in UPSTREAM.items()}.get(type(given).__name__)
    if kind is None or any(getattr(given, name, None) for name in UNMODELLED):
        return None
    names = [name for name in MatmulConfig.model_fields if hasattr(given, name)]
    values = {name: value for name in names if (value := getattr(given, name)) is not None}
    if "compute_with_storage_grid_size" in values:
        values["compute_with_storage_grid_size"] = tuple(values["compute_with_storage_grid_size"])
    return {"kind": kind, **values}


def cycles_of(spec: MatmulSpec | None) -> Cycles | None:
    """Cycles on a device, simulated once for all that are alike."""
    from tensix_sim.matmul import simulate

    if spec is None:
        return None
    key = "product", spec.model_dump_json()
    if key not in SESSION.timed:
        made = simulate(spec)
        waits = {key.removeprefix("unpack: wait "): n for key, n in made.waits.items() if key.startswith("unpack: ")}
        shares = {"FPU": made.utilization, "DRAM": made.traffic.dram_utilization}
        logged = {
            "kind": made.config.kind,
            "cores": made.cores,
            "fidelity": spec.compute.math_fidelity,
            "config": logged_config(made.config),
        }
        longest = f"waits for {max(waits, key=lambda name: waits[name])}" if waits else "start and end"
        SESSION.timed[key] = Cycles.bound_by(made.cycles, shares, longest, **logged)
        SESSION.simulated += 1
    cycles: Cycles = SESSION.timed[key]
    return cycles


def logged_config(config: MatmulConfig) -> str:
    """A program config as ttnn writes it in its logs."""
    from tensix_sim.matmul.spec import UPSTREAM

    x, y = config.compute_with_storage_grid_size
    fields = config.model_dump(exclude={"kind", "compute_with_storage_grid_size"}, exclude_none=True)
    said = ";".join(f"{name}={int(value)}" for name, value in fields.items())
    return f"{UPSTREAM[config.kind]}(compute_with_storage_grid_size=(x={x};y={y});{said})"


def bits_of(spec: MatmulSpec, a: Array, b: Array, bias: Array | None) -> Array:
    """What the kernels make of the values of a device, bit for bit; [batch, m, n]."""
    from tensix_sim.matmul import simulate

    exact = spec.model_copy(update={"numerics": "exact"})
    a, b = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    made = simulate(exact, a, b, None if bias is None else bias.reshape(-1)).output
    assert made is not None
    return made
