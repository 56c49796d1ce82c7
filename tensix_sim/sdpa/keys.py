"""What rules, advice and searches speak of: keys of a spec, values by them, and what is wrong with some."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tensix_sim.arch import Machine

Q_CHUNK, K_CHUNK = "program_config.q_chunk_size", "program_config.k_chunk_size"
GRID = "program_config.compute_with_storage_grid_size"
BATCH, SEQ_LEN, HEAD_DIM, DTYPE = "inputs.batch", "inputs.seq_len", "inputs.head_dim", "inputs.dtype"
Q_HEADS, KV_HEADS = "inputs.q_heads", "inputs.kv_heads"
KV_LEN = "inputs.kv_len"
INPUTS_IN, K_IN, V_IN = PLACES = ("inputs.memory_config", "inputs.k_memory_config", "inputs.v_memory_config")
KV_DTYPE, K_DTYPE, V_DTYPE = DTYPES = ("inputs.kv_dtype", "inputs.k_dtype", "inputs.v_dtype")  # where they are not that of Q
ATTN_MASK, MASK_DTYPE = "inputs.attn_mask", "inputs.attn_mask_dtype"
MASK_BATCH, MASK_HEADS = OF_MASK = ("inputs.attn_mask_batch", "inputs.attn_mask_heads")
SINK, SINK_DTYPE = "inputs.attention_sink", "inputs.attention_sink_dtype"
JOINT_FILES = "inputs.joint"
SCALE = "scale"
CAUSAL, WINDOW = "is_causal", "sliding_window_size"
WINDOWS = "cu_window_seqlens"
START_TENSOR = "chunk_start_idx_tensor"
PAGED, BLOCK, PREFIX, TABLE = "paged_kv", "paged_kv.block_size", "chunk_start_idx", "paged_kv.page_table"
FIDELITY, FP32_DEST = "compute_kernel_config.math_fidelity", "compute_kernel_config.fp32_dest_acc_en"
RING_SIZE, RING_ID, RING_IDS, MESH = "ring_size", "ring_id", "ring_ids", "mesh"
TOPOLOGY, LINKS, LOGICAL, JOINT, BALANCED = "topology", "num_links", "logical_n", "joint_len", "is_balanced"
CHAINS = "what_if.chains"
KERNEL, NUMERICS = "kernel", "numerics"

Change = dict[str, Any]  # of a spec: values by dotted key


@dataclass(frozen=True)
class Fault:
    """A rule broken by some values."""

    found: Change
    rule: str

    @property
    def key(self) -> str:
        """The blamed key."""
        return next(iter(self.found))


class Asked(Protocol):
    """What an op's rule sees of a spec under check (`case.Case`); one that needs a value which is invalid is skipped."""

    def __getitem__(self, key: str) -> Any:
        """A value by its dotted key."""

    def fault(self, rule: str, *keys: str) -> Fault:
        """A fault that blames the first of some keys and shows the values of all."""

    @property
    def paged(self) -> bool:
        """Whether K and V are read through a page table."""

    @property
    def kv_len(self) -> int:
        """Rows of K and V."""

    @property
    def dtypes(self) -> tuple[str, str, str]:
        """Data types of Q, K and V."""

    @property
    def slab(self) -> int:
        """Rows of a slab."""

    @property
    def board(self) -> Machine:
        """The machine."""


OpRule = Callable[[Asked], Iterator[Fault]]
