"""Keys of a spec that rules, advice and searches speak of, and values by them."""

from typing import Any

Q_CHUNK, K_CHUNK = "program_config.q_chunk_size", "program_config.k_chunk_size"
GRID = "program_config.compute_with_storage_grid_size"
BATCH, SEQ_LEN, HEAD_DIM, DTYPE = "inputs.batch", "inputs.seq_len", "inputs.head_dim", "inputs.dtype"
Q_HEADS, KV_HEADS = "inputs.q_heads", "inputs.kv_heads"
KV_LEN, KV_DTYPE = "inputs.kv_len", "inputs.kv_dtype"
CAUSAL, WINDOW = "is_causal", "sliding_window_size"
PAGED, BLOCK, PREFIX, TABLE = "paged_kv", "paged_kv.block_size", "chunk_start_idx", "paged_kv.page_table"
FIDELITY, FP32_DEST = "compute_kernel_config.math_fidelity", "compute_kernel_config.fp32_dest_acc_en"
RING_SIZE, RING_ID, RING_IDS, MESH = "ring_size", "ring_id", "ring_ids", "mesh"
CHAINS = "what_if.chains"

Change = dict[str, Any]  # of a spec: values by dotted key
