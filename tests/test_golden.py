"""Golden traces: a small run of each kernel, cycle by cycle. A change of the model shows as a diff of these files.

To accept a change: `python tests/test_golden.py`, then review the diff.
"""

from pathlib import Path

import numpy as np
import pytest

from tensix_sim import simulate
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import Program, Tensor, run
from tensix_sim.kernels import block_matmul, eltwise_add
from tensix_sim.trace import Trace, write_golden

GOLDEN = Path(__file__).parents[1] / "traces" / "golden"


def traced(program: Program) -> str:
    """Run a program on one n150 chip."""
    chip = Chip(machine("n150"), program, Trace("zones"))
    run(chip)
    return write_golden(chip.trace)


def tensor(name: str, rows: int, cols: int, output: bool = False) -> Tensor:
    """A bfloat16 tensor of `rows` x `cols` tiles."""
    return Tensor(name, rows, cols, BFLOAT16, values=np.ones((rows * 32, cols * 32), np.float32), output=output)


def eltwise_add_trace() -> str:
    """Four tiles on two cores."""
    x, y, out = tensor("x", 2, 2), tensor("y", 2, 2), tensor("out", 2, 2, output=True)
    return traced(eltwise_add.program(x, y, out, (2, 1)))


def matmul_trace() -> str:
    """2x2 by 2x2 tiles on one core, a row of C at a time."""
    a, b, c = tensor("a", 2, 2), tensor("b", 2, 2), tensor("c", 2, 2, output=True)
    return traced(block_matmul.program(a, b, c, (1, 1), 1, 2))


def sdpa_trace() -> str:
    """One core, one head, 128 tokens, the first device of a ring of two: four Q chunks of a tile."""
    spec = {
        "board": "n300",
        "ring_size": 2,
        "ring_ids": [0],
        "inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": 128, "head_dim": 32},
        "program_config": {"compute_with_storage_grid_size": [1, 1], "q_chunk_size": 32, "k_chunk_size": 64},
    }
    return write_golden(simulate(spec).trace[0])


def masked_sdpa_trace() -> str:
    """One core and head by the streaming kernel, with a mask and a sink: two Q chunks of a tile over two K chunks."""
    spec = {
        "op": "sdpa",
        "board": "p100a",
        "is_causal": False,
        "inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": 64, "head_dim": 32, "attn_mask": "random", "attention_sink": "random"},
        "program_config": {"compute_with_storage_grid_size": [1, 1], "q_chunk_size": 32, "k_chunk_size": 32},
    }
    return write_golden(simulate(spec).trace[0])


TRACES = {"eltwise_add": eltwise_add_trace, "matmul": matmul_trace, "sdpa": sdpa_trace, "masked_sdpa": masked_sdpa_trace}


@pytest.mark.parametrize("name", TRACES)
def test_golden_trace(name: str) -> None:
    """The run is the committed one, to the cycle."""
    assert TRACES[name]() == (GOLDEN / f"{name}.tsv").read_text()


if __name__ == "__main__":
    for name, trace in TRACES.items():
        (GOLDEN / f"{name}.tsv").write_text(trace())
