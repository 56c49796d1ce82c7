"""A client that nobody here wrote, tt-symbiote 0.1.6, runs unmodified. `make test-tools` installs it and runs this."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tensix_sim.script import read_script

ROOT = Path(__file__).parent.parent
PYTHON = Path(os.environ.get("TENSIX_SIM_TOOLS", "")) / "symbiote/bin/python"
MODULES = {
    "TTNNLinear", "TTNNLayerNorm", "TTNNRMSNorm", "TTNNRotaryPositionEmbedding of q", "TTNNRotaryPositionEmbedding of k",
    "TTNNSDPAAttention, causal", "TTNNSDPAAttention, mask", "TTNNSelfAttention", "LlamaAttention",
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ("TENSIX_SIM_TOOLS" in os.environ and PYTHON.exists()), reason="no tt-symbiote: make test-tools"),
]


def test_its_prefill_attention_runs_on_a_virtual_chip(tmp_path: Path) -> None:
    """Random weights: each module's result is torch's, PCC at least 0.99, none fell back to torch, and every op has cycles."""
    options = ["--board", "n150", "--record", str(tmp_path / "run")]
    command = [str(PYTHON), "-m", "tensix_sim.ttnn", *options, "--", str(PYTHON), str(ROOT / "tests/symbiote_modules.py")]
    paths = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "running torch fallback" not in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == MODULES
    assert min(found.values()) >= 0.99, found
    run = read_script(tmp_path / "run")
    assert [op.op for op in run.ops if any(taken.cycles is None for taken in op.taken)] == []
    called = {op.op for op in run.ops}
    assert {"linear", "layer_norm", "rms_norm", "rotary_embedding", "nlp_create_qkv_heads", "nlp_concat_heads"} <= called
