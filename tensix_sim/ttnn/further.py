"""Arguments that ttnn's ops take and ours have no parameter for: where the result goes, hints, what is not modelled, other names.

Source: signatures of the bindings of ttnn 0.81.1.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tensix_sim.ttnn.types import refuse

BINARY = "add subtract multiply divide eq ne ge gt le lt logical_and logical_or"
UNARY = "abs cos erf exp gelu log logical_not neg reciprocal relu rsqrt sigmoid sign silu sin sqrt square tanh"
SOME = "clamp concat slice typecast where pow maximum minimum rsub rdiv"
OF_RING_JOINT = """
    circular_kv_cache kv_actual_isl_tensor kv_cache_layer_idx kv_cache_num_layers kv_valid_end_tensor logical_l slot_id
    persistent_output_buffer_joint_k persistent_output_buffer_joint_v"""
OF_SDPA = "attn_mask_block_map output_concat_heads windowed_q_token_offset windowed_q_token_offset_tensor"

# by argument: ops, and what becomes of it
INTO: dict[str, str] = {
    "output_tensor": f"{BINARY} {UNARY} {SOME} argmax embedding reshard to_memory_config nlp_concat_heads_decode",
    "optional_output_tensor": "linear matmul repeat",
    "optional_tensor": "full full_like",
    "preallocated_output": "interleaved_to_sharded",
}
HINTS: dict[str, str] = {
    "sub_core_grids": f"{BINARY} {UNARY} concat max mean min sum pad rdiv reshape slice tilize to_layout typecast untilize where",
    "sub_device_id": BINARY,
    "fast_and_approximate_mode": "add subtract multiply divide rsub max mean min sum layer_norm_pre_all_gather "
    "rms_norm_pre_all_gather",
    "use_l1_small_for_semaphores": "all_gather reduce_scatter",
    "use_optimal_ccl_for_llama": "all_gather_async all_gather_async_reversed",
    "use_broadcast": "all_gather_async all_gather_async_reversed",
    "fp32_dest_acc": "all_reduce_async",
    "compute_kernel_config": "clone reduce_scatter reduce_scatter_minimal_async",
    "enable_secondary_dm": "argmax",
    "correction": "max mean min sum",
    "mode": "sigmoid",
    "recip_tensor": "layer_norm layer_norm_pre_all_gather",
    "pad_value": "permute reshape slice to_layout transpose",  # what padding holds, which no op of ours looks at
    "reshape_tile_mode": "reshape",
    "skip_padding_fill": "reshape",
    "use_low_perf": "tilize",
    "stable": "topk",
    "input_dtype": "typecast",
    "share_cache": "scaled_dot_product_attention_decode",
    "paged_cache_geometry": "paged_scaled_dot_product_attention_decode",
    "use_falcon7b_backend": "split_query_key_value_and_split_heads",
}
REFUSED: dict[str, str] = {
    "rounding_mode": "divide rdiv",
    "groups": "concat",
    "variant": "gelu",
    "global_cb": "linear matmul",
    "prefetcher_pipes": "linear matmul",
    "in0_column_offset": "linear",
    "output_layout": "mean sum",
    "tile": "tilize",
    "output_tensor": "topk",
    "indices_tensor": "topk",
    "slice_dim": "slice",
    "num_devices": "slice",
    "mesh_mapper": "rand",
    "fuse_swiglu": "minimal_matmul",
    "kv_tied": "nlp_create_qkv_heads",
    "output_tensors": "nlp_create_qkv_heads nlp_create_qkv_heads_decode",
    "block_size": "paged_fill_cache paged_update_cache",
    "num_kv_heads": "paged_update_cache",
    "cache_position_modulo": "paged_fill_cache paged_update_cache paged_scaled_dot_product_attention_decode",
    "valid_seq_len_tensor": "paged_fill_cache",
    "spec_multi_pos_tiles": "paged_scaled_dot_product_attention_decode",
    "attention_sink": "chunked_scaled_dot_product_attention ring_joint_scaled_dot_product_attention",
    "sliding_window_size": "chunked_scaled_dot_product_attention ring_joint_scaled_dot_product_attention",
    "output_padded_shape": "pad",
    **dict.fromkeys(OF_RING_JOINT.split(), "ring_joint_scaled_dot_product_attention"),
    **dict.fromkeys(OF_SDPA.split(), "scaled_dot_product_attention"),
}
NAMES: dict[str, dict[str, str]] = {  # by op: the name there, and here
    "clone": {"input": "input_tensor"},
    "fill_cache": {"cache_tensor": "cache", "input": "input_tensor", "batch_index": "batch_idx"},
    "update_cache": {"input": "input_tensor", "update_index": "update_idx"},
    "tilize": {"output_dtype": "dtype"},
    "maximum": {"input_b": "input_tensor_b"},
    "minimum": {"input_b": "input_tensor_b"},
    "rsub": {"input_b": "input_tensor_b"},
    "pow": {"input_tensor": "input_tensor_a", "exponent": "input_tensor_b"},
    "rdiv": {"input_tensor": "input_tensor_a", "value": "input_tensor_b"},
    "divide": {"value": "input_tensor_b"},
    "stack": {"input_tensors": "tensors"},
    "reshape": {"logical_shape": "shape"},
    "slice": {"starts": "slice_start", "ends": "slice_end", "steps": "slice_step"},
    "typecast": {"output_dtype": "dtype"},
    "rotary_embedding": {"token_index": "token_idx"},
    "nlp_create_qkv_heads": {"input": "input_tensor", "input_kv": "input_tensor_kv"},
    "fast_reduce_nc": {"input": "input_tensor"},
    "interleaved_to_sharded": {"grid": "sharded_memory_config"},
    "attention_softmax": {"tensor": "input_tensor"},
}


def of_op(table: Mapping[str, str], op: str) -> frozenset[str]:
    """The arguments of a table that an op takes."""
    return frozenset(argument for argument, ops in table.items() if op in ops.split())


def taken(op: str, given: Mapping[str, Any], known: Collection[str], hint: Callable[..., None]) -> tuple[dict[str, Any], Any]:
    """What an op that has the parameters `known` is called with, and the tensor that its result goes into, if there is one.

    Raises:
        NotModelledError: an argument of ttnn's is given that is not modelled.
    """
    names, more = NAMES.get(op, {}), {name: value for name, value in given.items() if name not in known}
    wanted = {name: more.pop(name) for name in of_op(REFUSED, op) & more.keys()}
    refuse(op, **{name: None if isinstance(value, int) and not value else value for name, value in wanted.items()})
    hint(op, **{name: more.pop(name) for name in of_op(HINTS, op) & more.keys()})
    into = [more.pop(name) for name in sorted(of_op(INTO, op) & more.keys())]
    usual = {name: value for name, value in given.items() if name in known}
    return usual | {names.get(name, name): value for name, value in more.items()}, next(iter(into), None)
