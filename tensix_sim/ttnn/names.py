"""Names that ttnn has and this simulator has not: whether they are planned or out of scope, so that none is merely unknown.

Source: what ttnn 0.67 and 0.81.1 export, and the ops that their bindings register. A star stands for any letters.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from tensix_sim.ttnn.types import NotModelledError

NEAR = 0.9  # a letter in a name; what is less alike means something else

ABSENT: dict[str, str] = {
    "planned, after tensors in shards": """
        transformer.flash_multi_latent_attention_decode transformer.paged_flash_multi_latent_attention_decode
        experimental.llama_rs_create_heads experimental.all_gather_concat
        interleaved_to_sharded_partial sharded_to_interleaved_partial fused_rms_minimal
        tilize_with_val_padding untilize_with_unpadding NdShardSpec ShardShapeAlignment experimental.nlp_kv_cache_load_slice
        MatmulMultiCoreReuseMultiCastBatchedDRAMShardedProgramConfig experimental.all_reduce_create_qkv_heads
        experimental.llama_reduce_scatter experimental.llama_rs_matmul experimental.slice_reshard_async padded_slice""",
    "planned: the same Ethernet model will carry it": """
        all_broadcast broadcast point_to_point experimental.reduce_scatter_async
        experimental.ring_attention_all_gather_async experimental.all_gather_matmul_async experimental.all_gather_matmul
        experimental.matmul_reduce_scatter_async experimental.strided_all_gather_async
        all_gather_matmul all_gather_matmul_async mesh_partition reduce_to_root reduce_to_all send_async recv_async
        experimental.send_async experimental.recv_async experimental.neighbor_pad_async experimental.all_to_all_async
        experimental.all_to_all_async_generic experimental.llama_all_gather_matmul_async llama_all_gather_matmul_async
        experimental.strided_all_gather_minimal_matmul_async strided_all_gather_minimal_matmul_async
        experimental.all_gather_minimal_matmul_async experimental.deepseek_moe_reduce_scatter
        experimental.reduce_scatter_minimal_direct* experimental.reduce_scatter_minimal_async_create_intermediate_buffer
        experimental.strided_reduce_scatter_async experimental.minimal_matmul_strided_reduce_scatter_async
        experimental.send_direct_async experimental.recv_direct_async experimental.high_bw_all_gather
        experimental.neighbor_pad_halo experimental.halo_scatter experimental.selective_reduce_combine""",
    "planned, as another attention op": """
        transformer.flash_mla_prefill transformer.chunked_flash_mla_prefill
        transformer.ring_mla transformer.exp_ring_joint_scaled_dot_product_attention transformer.prepare_sdpa_input
        transformer.sparse_sdpa* transformer.*gated_delta* experimental.*indexer_score_* SparseKVFormat""",
    "planned: numbers without cycles": """
        experimental.create_qkv_heads assign clamped_silu_glu index_fill_new matmul_batched_weights narrow nonzero randn situ_glu
        snake_beta softcap std_hw var_hw xielu uniform manual_seed experimental.broadcast_to experimental.complex_mul
        experimental.dit_fused_* experimental.dit_rms_norm_unary_fused experimental.fast_reduce_nc_split
        experimental.matmul_decode experimental.nlp_create_q_heads_split experimental.padded_slice
        experimental.indexed_fused_update_cache
        experimental.transpose_rm experimental.topk_* GeluVariant PaddingMode copy_host_to_device_tensor_partial
        experimental.split_query_key_value_and_split_heads experimental.nlp_create_qkv_heads_segformer experimental.rotate_half
        experimental.dit_layernorm* experimental.wan_fused_rmsnorm* experimental.create_qkv_heads_from_separate_tensors
        experimental.concatenate_heads experimental.nlp_*_boltz experimental.nlp_create_qkv_heads_falcon7b
        experimental.nlp_create_qkv_heads_vit experimental.attn_matmul* experimental.group_attn_matmul experimental.typecast
        experimental.minimal_matmul_split experimental.dit_minimal_matmul_addcmul_fused experimental.view experimental.where
        experimental.slice_write experimental.deepseek_moe_fast_reduce_nc experimental.rotary_embedding_indexed
        transformer.rotary_embedding_llama group_norm dump_tensor load_tensor allocate roll prod var std cumsum cumprod
        acos acosh addalpha addcdiv addcmul addmm angle asin asinh atan atan2 atanh bcast bias_gelu bias_gelu_ bitcast bitwise_*
        cbrt ceil celu cosh deg2rad digamma div_no_nan elu ema eq_ eqz erfc erfinv exp2 expm1 fill fill_implicit_tile_padding
        fill_ones_rm fill_rm floor floor_div fmod frac gcd ge_ geglu gez glu gt_ gtz hard* heaviside hypot i0 i1 identity
        index_fill indexed_fill isclose isfinite isinf isnan isneginf isposinf l1_loss lcm ldexp ldexp_ le_ leaky_relu lerp lez
        lgamma log10 log1p log2 log_sigmoid logaddexp logaddexp2 logaddexp2_ logaddexp_ logical_*_ logical_left_shift
        logical_right_shift logical_xor logit lt_ ltz mac mish mse_loss multigammaln ne_ nextafter nez normalize_global
        normalize_hw outer polygamma polyval prelu rad2deg reglu relu6 relu_max relu_min remainder reshape_on_device round
        rpow rsub_ selu sigmoid_accurate signbit sinh softplus softshrink softsign squared_difference squared_difference_
        subalpha swiglu swish tan tanhshrink threshold to_dtype trunc unary_chain view xlogy alt_complex_rotate90
        copy_device_to_host_tensor allocate_tensor_on_host from_buffer from_host_shards aggregate_tensor distribute_tensor
        compute_distribution_to_mesh_mapping TensorTopology MeshCoordinateRange MeshCoordinateRangeSet visualize_tensor
        visualize_system_mesh BcastOpDim BcastOpMath BinaryOpType SigmoidMode ComplexTensor
        layernorm_default_compute_config rmsnorm_default_compute_config create_layernorm_program_config
        create_layer_norm_reciprocals LayerNormType DistributedLayerNormStage LossReductionMode ScatterReductionType""",
    "out of scope: neither attention nor what stands around it": """
        conv1d conv2d conv3d conv_transpose2d Conv1dConfig Conv2dConfig Conv2dSliceConfig
        Conv2dL1Full Conv2dL1FullSliceConfig Conv2dDRAMSliceWidth Conv2dDRAMSliceHeight prepare_conv_weights prepare_conv_bias
        max_pool2d avg_pool2d adaptive_avg_pool2d global_avg_pool2d upsample fold grid_sample batch_norm
        all_to_all_dispatch all_to_all_combine moe moe_expert_token_remap sparse_matmul scatter gather sort sampling
        experimental.conv3d experimental.prefix_scan experimental.hc_sum_reduce experimental.repeat_and_interleave_eltwise_mul
        experimental.deepseek* experimental.moe* experimental.all_to_all_dispatch_metadata experimental.dropout
        experimental.gelu_bw experimental.convert_to_* experimental.intimg experimental.isin experimental.test* bernoulli dropout
        moreh_* *_bw complex_tensor real imag is_real is_imag conj polar convert_python_tensor_to_tt_tensor rotate
        experimental.quasar* experimental.kda* experimental.*fft* experimental.apply_twiddles* experimental.*msda*
        experimental.multi_scale_deformable_attn experimental.prepare_* experimental.get_moe_* experimental.get_weight_*
        experimental.add_shared_expert_weights experimental.quantize_weights_via_host YUV* yuv_* rgb_to_yuv RGBRange ChunkGdn*
        QkvCausalConv1d* IndexerScoreProgramConfig RoutedExpertActivation UNIFIED_ROUTED_EXPERT_CORE_GRID
        determine_expected_group_norm_dram_grid_size get_group_norm_cores_across_channel
        quantize requantize dequantize pearson_correlation_coefficient adaptive_max_pool2d Conv3dConfig Op2D*
        SoftmaxProgramConfig SlidingWindowParallelConfig TileReshapeMapMode get_conv_output_dim prepare_* create_group_norm_*
        scatter_add dram_group_norm_params_from_torch determine_expected_group_norm_sharded_config_and_grid_size tosa_*
        moe_routing_remap composite_example* hang_device_operation DispatchAlgorithm WorkerMode losses conv pool
        model_preprocessing.*Args model_preprocessing.infer_ttnn_module_args model_preprocessing.fold_batch_norm2d_into_conv2d""",
    "out of scope: this simulator has no host runtime, no compiler and no graph of ops": """
        graph core distributed decorators tracing generic_op ProgramDescriptor KernelDescriptor CBDescriptor ttl
        register_python_operation attach_golden_function load_memory_config dump_memory_config program_cache
        create_global_circular_buffer get_global_semaphore_address dram_prefetcher event create_event
        global_circular_buffer profiler fabric fabric_config get_fabric_config reflection dot_access torch_tracer
        *Descriptor RuntimeArgs* TensorAccessorArgs DataMovementProcessor NOC NOC_MODE CoreType QueueId Rank Size
        merge_program_descriptors cb_descriptor_from_sharded_tensor register_* query_registered_operations get_fallback_function
        dump_operations create_module_if_not_exists auto_register_ttnn_cpp_operations light_metal_* LightMetalReplay
        distributed_context_* init_distributed_context H2D* D2H* *Socket Socket* Mesh*Coord MeshId MeshEvent FabricNodeId
        create_socket_pair setup_*_connection get_tt_fabric_* SetRootDir SubDeviceManagerId get_memory_view split_work_to_cores
        get_optimal_dram_bank_to_logical_worker_assignment get_max_worker_l1_unreserved_size get_all_programs_perf_data
        get_latest_programs_perf_data get_current_command_queue_id_for_thread load_config_from_* save_config_to_json_file
        D2D* Mcast* attach_absent_mcast LayerAckService InterProcessCounterChannel MMSignalAggregatorMode MatmulDeviceOperation
        MatmulInputs MatmulParams SliceDeviceOperation SliceInputs SliceParams SliceTileProgramFactory DumpTensorMode FabricType
        FaceGeometry ModuleType OverlappedTensor PagedCacheGeometryOverride SubcontextId TransferMode UnpackToDestMode
        comparison config_serialization disaggregation experimental_loader graph_report stack_trace_source tools element_size
        compute_fabric_connection_rt_args fabric_connection_rt_args* compute_program_descriptor_hash create_matmul_attributes
        matmul_select_program_factory test_hang_device_operation ttnn_dtype_to_torch_dtype tile_size grid_to_cores
        is_trace_capture_active get_all_* get_*_alignment get_allocator_base_address get_cb_address get_eth_forwarding_direction
        get_fabric_kernel_defines get_forwarding_link_indices get_num_links get_num_pcie_devices get_physical_mesh_shapes
        get_optimal_worker_cores_for_sharded_tensor get_usable_topology experimental.*tensor_prefetcher*
        experimental.create_global_circular_buffer_for_* experimental.send_async_d2h experimental.recv_async_h2d
        dump_stack_trace_on_segfault ReplicateTensorToMeshWrapper LayerNorm*Factory LayerNormParams LayerNormInputs
        LayerNormDeviceOperation
        MeshDevice.set_program_cache_misses_allowed MeshDevice.create_sub_device_manager_with_fabric MeshDevice.get_fabric_node_id
        MeshDevice.worker_core_from_logical_core MeshDevice.get_worker_noc_hop_distance MeshDevice.sfpu_* MeshDevice.get_view
        MeshDevice.l1_size_per_core MeshDevice.get_device MeshDevice.get_devices MeshDevice.get_optimal_dram_bank_to_logical_*
        Tensor.buffer_address Tensor.buffer Tensor.buffer_num_pages Tensor.buffer_page_size Tensor.host_buffer
        Tensor.tensor_topology Tensor.extract_shard Tensor.update_tensor_topology Tensor.tensor_id""",
}
WHY = {name: why for why, names in ABSENT.items() for name in names.split()}
FAMILIES = {pattern: why for pattern, why in WHY.items() if "*" in pattern}


class AbsentNameError(NotModelledError, AttributeError):
    """A name that ttnn has, and this simulator has not."""


def why_absent(dotted: str) -> str | None:
    """Why a name of ttnn's, without `ttnn.` before it, is not here; None if ttnn has none such, or it is here."""
    return WHY.get(dotted) or next((why for pattern, why in FAMILIES.items() if fnmatchcase(dotted, pattern)), None)


def absent(name: str, where: str, known: Iterable[str]) -> AttributeError:
    """The error of a name that is not there."""
    kind = AbsentNameError if why_absent(f"{where}.{name}".partition(".")[2]) else AttributeError
    return kind(missing(name, where, known))


def missing(name: str, where: str, known: Iterable[str]) -> str:
    """What to say of a name that is not there: known in ttnn, and whether it is planned; or what is near by its letters."""
    dotted = f"{where}.{name}".partition(".")[2]
    if why := why_absent(dotted):
        return f"{where}.{name}: ttnn has it, and this simulator has not; {why} (docs/ttnn.md)"
    near = get_close_matches(name, known, n=4, cutoff=NEAR)
    return f"{where}.{name} is not in this simulator's ttnn" + (f"; near it are {', '.join(near)}" if near else "")
