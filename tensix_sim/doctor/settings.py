"""What the user asked for beside what the op uses, field by field, with the reason wherever the two differ."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tensix_sim.config import ComputeKernelConfig, SDPAProgramConfig
from tensix_sim.doctor.records import Setting
from tensix_sim.sdpa.case import Case
from tensix_sim.sdpa.keys import FP32_DEST
from tensix_sim.sdpa.op import compute_kernel
from tensix_sim.sdpa.ring_joint import RingGeometry

IGNORED = {
    "program_config.sub_core_grids": "the op takes the grid's rectangle",
    "program_config.max_cores_per_head_batch": "the op deals Q chunks over all cores",
    "compute_kernel_config.packer_l1_acc": "the kernel turns it on and off itself",
    "compute_kernel_config.dst_full_sync_en": "the op plans with half of DST",
    "compute_kernel_config.throttle_level": "the op does not hand it on",
    "queue_id": "there is one queue",
}


def settings(c: Case, given: Mapping[str, Any]) -> tuple[Setting, ...]:
    """List each field of both configs and of the op; `given` is the spec as written, and of legal types."""
    keys = (
        *(f"program_config.{name}" for name in SDPAProgramConfig.model_fields),
        *(f"compute_kernel_config.{name}" for name in ComputeKernelConfig.model_fields),
        *("kernel", "scale", "memory_config", "queue_id"),
        *c.op.takes,
    )
    return tuple(_setting(c, given, key) for key in sorted(keys, key=lambda key: key.count("."), reverse=True))


def _setting(c: Case, given: Mapping[str, Any], key: str) -> Setting:
    effective, reason = _used(c, key)
    is_given, requested = _look_up(given, key)
    if not is_given and not reason:
        reason = _whose_default(key, given)
    return Setting(key=key, given=is_given, requested=requested, effective=effective, reason=reason)


def _look_up(given: Any, key: str) -> tuple[bool, Any]:
    """Find whether a key is in the spec as written, with a value other than null, and the value."""
    for name in key.split("."):
        if isinstance(given, BaseModel):
            given = given.model_dump(exclude_unset=True)
        given = given.get(name) if isinstance(given, Mapping) else None
    return given is not None, given


def _whose_default(key: str, given: Mapping[str, Any]) -> str:
    part, _, _ = key.rpartition(".")
    if part and part != "inputs":
        return "the config's default" if given.get(part) is not None else "the op's own config"
    return "the default"


Used = tuple[Any, str]  # None is nothing; no reason is needed where the op does as it is told


def _used(c: Case, key: str) -> Used:
    """What the op makes of a field, and why."""
    if key in IGNORED:
        return None, IGNORED[key]
    value = c[key]
    match key:
        case "kernel":
            why = c.op.why_kernel or f"as ttnn chooses with a {32 if c[FP32_DEST] else 16}-bit DST"
            return compute_kernel(c.spec).name, "" if value else why
        case "scale":
            rule = "" if value is not None else "1 / sqrt(head_dim); "
            return c.geometry.scale, f"{rule}as bfloat16 in the correction"
        case "inputs.kv_len":
            return c.kv_len, "" if value else "a key for each query"
        case "inputs.kv_dtype":
            return value or c["inputs.dtype"], "" if value else "that of Q"
        case "inputs.k_dtype" | "inputs.v_dtype":
            return c.dtypes[1 + key.endswith("v_dtype")], "" if value else "kv_dtype"
        case "topology" | "num_links":
            g = c.geometry
            assert isinstance(g, RingGeometry)
            used = g.topology if key == "topology" else g.links
            return used, "" if value else "all that join two neighbours" if key == "num_links" else "a ring where there is one"
        case "logical_n":
            return value or c["inputs.seq_len"], "" if value else "no padding"
        case "cu_window_seqlens":
            return ("none", "") if value is None else (f"{len(value) - 1} windows", "the writer makes a mask for every K chunk")
        case "sliding_window_size" | "chunk_start_idx":
            return ("none", "") if value is None else (value, "")
        case "inputs.attn_mask":
            return ("none", "") if value is None else (value, f"in {c['inputs.attn_mask_dtype']}, divided by the scale")
        case "inputs.attention_sink":
            return ("none", "") if value is None else (value, f"in {c['inputs.attention_sink_dtype']}, takes the scale")
        case "paged_kv":
            return _used_pages(c)
        case "mesh" | "ring_id" | "ring_ids":
            return _used_position(c, key)
    return _used_compute(c, key)


def _used_compute(c: Case, key: str) -> Used:
    value, wide = c[key], c[FP32_DEST]
    match key:
        case "program_config.exp_approx_mode":
            heeds = "no exponential heeds it with a 32-bit DST" if wide else "for the correction; the scores' is fast"
            return None if wide else c.geometry.exp_approx, heeds
        case "compute_kernel_config.math_approx_mode":
            return value, "for how exact 1 / row sum is"
        case "compute_kernel_config.fp32_dest_acc_en" if wide:
            return value, "DST of 4 tiles instead of 8" + ("" if c.op.kernel.wide_dst else ", and the legacy kernel")
    return value, ""


def _used_pages(c: Case) -> Used:
    paged = c["paged_kv"]
    if paged is None:
        return "none", "K and V are dense"
    return (paged.model_dump(), "") if c.paged else (None, "K and V are dense without chunk_start_idx")


def _used_position(c: Case, key: str) -> Used:
    value, ring_id = c[key], c["ring_id"]
    match key:
        case "ring_id":
            return ("inferred", "a device's place in the mesh") if value is None else (value, "")
        case "ring_ids":
            return (value, "") if ring_id is None else (None, f"ring_id {ring_id} wins")
    if value is None:
        return "none", "each position is simulated as if it were there"
    return (value, f"positions lie along axis {c.ring_axis}") if ring_id is None else (None, "ring_id is given")
