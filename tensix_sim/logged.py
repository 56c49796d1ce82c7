"""An attention op as ttnn's profiler logs it: its names, its arguments, its tensors; and what these say of a run's settings.

One vocabulary for what `emit` writes and for what `compare` reads.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from tensix_sim.config import OP_CHUNK_SIZE
from tensix_sim.job import Job
from tensix_sim.sdpa.geometry import program_config
from tensix_sim.sdpa.op import OPS

NONE = "std::nullopt"
# Settings that say which work it is; the others say how it is done
WORK = (
    "ring_size", "is_causal", "sliding_window_size", "chunk_start_idx", "scale", "attn_mask", "attention_sink",
    "inputs.batch", "inputs.q_heads",
    "inputs.kv_heads", "inputs.seq_len", "inputs.kv_len", "inputs.head_dim", "head_dim of V",
)  # fmt: skip


@dataclass(frozen=True)
class OpTensor:
    """A tensor as ttnn logs it: shape [W, Z, Y, X], the data type in capitals."""

    name: str
    shape: tuple[int, int, int, int]
    dtype: str
    memory: str


def todays_code(code: str) -> str:
    """The name that an op has today, of any that it ever had; one that is not known stays as it is."""
    bare = code.strip().rpartition("::")[2]
    return next((op.codes[0] for op in OPS.values() if bare in op.codes), bare)


def tensors(job: Job) -> tuple[list[OpTensor], OpTensor]:
    """Inputs, and the output of a device. K and V are as they are before paging, and there is no page table."""
    g, given = job.geometry, job.spec.inputs
    _, k_dtype, v_dtype = given.dtypes
    dram, l1 = "DEV_0_DRAM_INTERLEAVED", "DEV_0_L1_INTERLEAVED"
    of_q, of_k, of_v = (dram if in_dram else l1 for in_dram in g.in_dram)
    inputs = [
        OpTensor("Q", (g.B, g.NQH, g.S, given.head_dim), given.dtype.upper(), of_q),
        OpTensor("K", (g.B, g.NKH, g.Sk, given.head_dim), k_dtype.upper(), of_k),
        OpTensor("V", (g.B, g.NKH, g.Sk, given.head_dim), v_dtype.upper(), of_v),
        *([OpTensor("mask", (*g.mask_heads, g.S, g.Sk), given.attn_mask_dtype.upper(), dram)] if given.attn_mask else []),
        *([OpTensor("sink", (1, g.NQH, 1, 1), given.attention_sink_dtype.upper(), dram)] if given.attention_sink else []),
    ]
    memory = dram if g.output_in_dram else l1
    return inputs, OpTensor("output", (g.B, g.NQH, g.S // g.R, given.head_dim), given.dtype.upper(), memory)


def attributes(job: Job) -> dict[str, str]:
    """The op's arguments, written as ttnn writes them in its logs."""
    spec = job.spec
    config = program_config(spec, job.machine)
    compute = spec.effective_compute_config
    x, y = config.compute_with_storage_grid_size
    approx = NONE if config.exp_approx_mode is None else int(config.exp_approx_mode)
    found = {
        "program_config": (
            f"SDPAProgramConfig(compute_with_storage_grid_size=(x={x};y={y});sub_core_grids={NONE};"
            f"q_chunk_size={config.q_chunk_size};k_chunk_size={config.k_chunk_size};exp_approx_mode={approx};"
            f"max_cores_per_head_batch={config.max_cores_per_head_batch})"
        ),
        "compute_kernel_config": (
            f"WormholeComputeKernelConfig(math_fidelity={compute.math_fidelity};"
            f"math_approx_mode={int(compute.math_approx_mode)};fp32_dest_acc_en={int(compute.fp32_dest_acc_en)};"
            f"packer_l1_acc={int(compute.packer_l1_acc)})"
        ),
        "is_causal": str(int(spec.is_causal)),
        "scale": f"{job.geometry.scale:.9g}",
        "chunk_start_idx": NONE if spec.chunk_start_idx is None else str(spec.chunk_start_idx),
        "sliding_window_size": NONE if spec.sliding_window_size is None else str(spec.sliding_window_size),
    }
    return found | ({"ring_size": str(spec.ring_size)} if job.op.ring else {})


def told_by(job: Job) -> dict[str, Any]:
    """The settings of a run, as a profile of it tells them."""
    spec = job.spec
    found = told(attributes(job), *tensors(job), spec.effective_compute_config.math_fidelity)
    paged = {"paged_kv.block_size": spec.paged_kv.block_size} if spec.paged_kv else {}
    return found | paged | {"cores of the grid": job.geometry.cores, "cores of the chip": job.machine.cores}


def told(given: Mapping[str, str], inputs: Sequence[OpTensor], output: OpTensor | None, fidelity: str) -> dict[str, Any]:
    """Settings by the keys of a spec that an op's arguments and tensors tell; what they do not tell is not there."""
    found = _of_tensors(inputs, output) | _of_program(given.get("program_config", ""))
    compute = dict(re.findall(r"(\w+)=([\w.:]+)", given.get("compute_kernel_config", "")))
    if fidelity or "math_fidelity" in compute:
        found["compute_kernel_config.math_fidelity"] = fidelity or compute["math_fidelity"].rpartition(":")[2]
    for name in ("math_approx_mode", "fp32_dest_acc_en", "packer_l1_acc", "dst_full_sync_en"):
        if name in compute:
            found[f"compute_kernel_config.{name}"] = _value(compute[name])
    for name in ("ring_size", "is_causal", "chunk_start_idx", "sliding_window_size", "use_mla"):
        if name in given:
            found[name] = _value(given[name])
    for name in ("is_causal", "use_mla"):  # 1 and 0 in some versions
        if name in found:
            found[name] = found[name] in (True, 1)
    if "scale" in given:
        found |= _scale(given["scale"], found.get("inputs.head_dim"))
    return found


def _of_program(config: str) -> dict[str, Any]:
    if config == NONE:
        return {"program_config.q_chunk_size": OP_CHUNK_SIZE, "program_config.k_chunk_size": OP_CHUNK_SIZE}
    found: dict[str, Any] = {}
    if grid := re.search(r"compute_with_storage_grid_size=\(?\{?x=(\d+)[;,] ?y=(\d+)", config):
        found["program_config.compute_with_storage_grid_size"] = [int(grid[1]), int(grid[2])]
    for name in ("q_chunk_size", "k_chunk_size", "exp_approx_mode", "max_cores_per_head_batch"):
        if value := re.search(rf"\b{name}=([\w.:]+)", config):
            found[f"program_config.{name}"] = _value(value[1])
    exp = "program_config.exp_approx_mode"
    if exp in found:
        found[exp] = found[exp] in (None, True, 1)  # without one the op approximates
    return found


def _of_tensors(inputs: Sequence[OpTensor], output: OpTensor | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if output is not None:
        found["memory_config"] = _memory(output)
    if not inputs:
        return found
    q, *rest = inputs
    batch, heads, rows, columns = q.shape
    found |= {"inputs.batch": batch, "inputs.q_heads": heads, "inputs.seq_len": rows, "inputs.head_dim": columns}
    found |= {"inputs.dtype": q.dtype.lower(), "memory of Q": _memory(q)}
    if rest:
        k = rest[0]
        found |= {"inputs.kv_heads": k.shape[1], "inputs.kv_dtype": k.dtype.lower(), "memory of K": _memory(k)}
        found |= {"inputs.kv_len": k.shape[2]} if k.shape[0] == batch else {"paged_kv.block_size": k.shape[2]}
    if len(rest) > 1:
        found |= {"head_dim of V": rest[1].shape[3], "data type of V": rest[1].dtype.lower()}
        beside = [extra for extra in rest[2:] if "INT" not in extra.dtype]  # what is of whole numbers is a page table
        found["attention_sink"] = any(extra.shape == (1, heads, 1, 1) for extra in beside)
        found["attn_mask"] = any(extra.shape != (1, heads, 1, 1) for extra in beside)
    return found


def _memory(tensor: OpTensor) -> str:
    return re.sub(r"^dev_\d+_", "", tensor.memory.lower())


def _scale(text: str, head_dim: int | None) -> dict[str, Any]:
    if text == NONE:
        return {"scale": _digits(1 / sqrt(head_dim))} if head_dim else {}
    try:
        return {"scale": _digits(float(text))}
    except ValueError:
        return {"scale": text}


def _digits(value: float) -> float:
    """As many digits as a 32-bit float has for certain."""
    return float(f"{value:.6g}")


def _value(text: str) -> Any:
    if text == NONE:
        return None
    return {"true": True, "false": False}.get(text.lower(), int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text)
