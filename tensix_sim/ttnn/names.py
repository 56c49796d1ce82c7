"""Names that ttnn has and this simulator has not: whether they are planned or out of scope, so that none is merely unknown."""

from collections.abc import Iterable
from difflib import get_close_matches

from tensix_sim.ttnn.types import NotModelledError

NEAR = 0.9  # a letter in a name; what is less alike means something else

ABSENT: dict[str, str] = {
    "planned, after tensors in shards": """
        transformer.flash_multi_latent_attention_decode transformer.paged_flash_multi_latent_attention_decode
        experimental.llama_rs_create_heads experimental.all_gather_concat
        interleaved_to_sharded_partial sharded_to_interleaved_partial fused_rms_minimal
        tilize_with_val_padding untilize_with_unpadding""",
    "planned: the same Ethernet model will carry it": """
        all_broadcast broadcast point_to_point experimental.reduce_scatter_async
        experimental.ring_attention_all_gather_async experimental.all_gather_matmul_async experimental.all_gather_matmul
        experimental.matmul_reduce_scatter_async experimental.strided_all_gather_async""",
    "planned, as another attention op": """
        transformer.flash_mla_prefill transformer.chunked_flash_mla_prefill
        transformer.ring_mla transformer.exp_ring_joint_scaled_dot_product_attention transformer.prepare_sdpa_input""",
    "planned: numbers without cycles": """
        experimental.create_qkv_heads
        experimental.split_query_key_value_and_split_heads experimental.nlp_create_qkv_heads_segformer experimental.rotate_half
        experimental.dit_layernorm
        transformer.rotary_embedding_llama group_norm dump_tensor load_tensor
        get_golden_function allocate roll prod var std cumsum""",
    "out of scope: neither attention nor what stands around it": """
        conv1d conv2d conv3d conv_transpose2d Conv1dConfig Conv2dConfig Conv2dSliceConfig
        Conv2dL1Full Conv2dL1FullSliceConfig Conv2dDRAMSliceWidth Conv2dDRAMSliceHeight prepare_conv_weights prepare_conv_bias
        max_pool2d avg_pool2d adaptive_avg_pool2d global_avg_pool2d upsample fold grid_sample batch_norm
        all_to_all_dispatch all_to_all_combine moe moe_expert_token_remap sparse_matmul scatter gather sort sampling
        experimental.conv3d experimental.prefix_scan experimental.hc_sum_reduce experimental.repeat_and_interleave_eltwise_mul
        experimental.deepseek_prefill experimental.moe_compute bernoulli dropout moreh_adamw moreh_sum tanh_bw relu_bw""",
    "out of scope: this simulator has no host runtime, no compiler and no graph of ops": """
        graph core distributed decorators tracing generic_op ProgramDescriptor KernelDescriptor CBDescriptor ttl
        register_python_operation attach_golden_function load_memory_config dump_memory_config program_cache
        create_global_circular_buffer get_global_semaphore_address dram_prefetcher event create_event
        global_circular_buffer profiler fabric fabric_config get_fabric_config""",
}
WHY = {name: why for why, names in ABSENT.items() for name in names.split()}


class AbsentNameError(NotModelledError, AttributeError):
    """A name that ttnn has, and this simulator has not."""


def absent(name: str, where: str, known: Iterable[str]) -> AttributeError:
    """The error of a name that is not there."""
    kind = AbsentNameError if f"{where}.{name}".partition(".")[2] in WHY else AttributeError
    return kind(missing(name, where, known))


def missing(name: str, where: str, known: Iterable[str]) -> str:
    """What to say of a name that is not there: known in ttnn, and whether it is planned; or what is near by its letters."""
    dotted = f"{where}.{name}".partition(".")[2]
    if why := WHY.get(dotted):
        return f"{where}.{name}: ttnn has it, and this simulator has not; {why} (docs/ttnn.md)"
    near = get_close_matches(name, known, n=4, cutoff=NEAR)
    return f"{where}.{name} is not in this simulator's ttnn" + (f"; near it are {', '.join(near)}" if near else "")
