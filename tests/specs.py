"""Small specs of every op, which tests change by name: what stands in none of the changes is as small as it can be."""

from copy import deepcopy
from typing import Any

from tensix_sim.config import RunSpec

Raw = dict[str, Any]

RING, PLAIN, CHUNKED = OPS = ("ring_distributed_sdpa", "sdpa", "chunked_sdpa")
JOINT = "ring_joint_sdpa"  # with K and V that travel and one kernel, which few laws of the others fit
OF_OP: dict[str, Raw] = {
    RING: {"board": "galaxy", "ring_size": 2},
    PLAIN: {"board": "p100a"},
    CHUNKED: {"board": "p100a", "chunk_start_idx": 0, "paged_kv": {"block_size": 64, "page_table": "shuffled"}},
    JOINT: {"board": "galaxy", "ring_size": 4, "is_causal": False},
}
SHORT = {
    "S": "inputs.seq_len",
    "d": "inputs.head_dim",
    "heads": "inputs.q_heads",
    "kv_heads": "inputs.kv_heads",
    "kv_len": "inputs.kv_len",
    "batch": "inputs.batch",
    "dtype": "inputs.dtype",
    "kv_dtype": "inputs.kv_dtype",
    "k_dtype": "inputs.k_dtype",
    "v_dtype": "inputs.v_dtype",
    "R": "ring_size",
    "q": "program_config.q_chunk_size",
    "k": "program_config.k_chunk_size",
    "fidelity": "compute_kernel_config.math_fidelity",
    "fp32": "compute_kernel_config.fp32_dest_acc_en",
    "grid": "program_config.compute_with_storage_grid_size",
}


def raw(op: str = RING, **changes: Any) -> Raw:
    """Two heads of 512 tokens on four cores, as YAML would give it; changes by short name, or ``a__b=c`` for a.b."""
    made: Raw = {
        "op": op,
        **OF_OP[op],
        "inputs": {"q_heads": 2, "kv_heads": 1, "seq_len": 512, "head_dim": 64},
        "program_config": {"compute_with_storage_grid_size": [2, 2], "q_chunk_size": 64, "k_chunk_size": 64},
    }
    return put(made, {SHORT.get(name, name.replace("__", ".")): value for name, value in changes.items()})


def upstream(op: str = RING, **changes: Any) -> Raw:
    """The upstream tests' shape: 8 heads over 1, head_dim 128, 8192 tokens, a full Wormhole grid; without numbers."""
    shape: Raw = {"heads": 8, "S": 8192, "d": 128, "dtype": "bfloat8_b", "q": 128, "k": 256, "grid": [8, 8], "numerics": "off"}
    return raw(op, **shape | ({"ring_size": 4} if op == RING else {}) | changes)


def spec(op: str = RING, **changes: Any) -> RunSpec:
    """As `raw`, validated."""
    return RunSpec.model_validate(raw(op, **changes))


def put(given: Raw, changes: Raw) -> Raw:
    """Copy a spec with values at dotted keys; a part that is missing is made."""
    made = deepcopy(given)
    for key, value in changes.items():
        *parents, leaf = ["machine", key[8:]] if key.startswith("machine.") else key.split(".")
        place = made
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
        place[leaf] = deepcopy(value)
    return made
