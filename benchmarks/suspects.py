"""Is a right run ever suspect? Runs of all ops, kernels, formats and fidelities with nothing wrong; `faults.py` has wrong ones.

Prints a line each, and how far each was from the limit.

    python benchmarks/suspects.py [--jobs N]
"""

import argparse
import os
import sys
import time
from dataclasses import replace

import numpy as np
from planted import SPECS, Raw, spec

from tensix_sim import check, simulate
from tensix_sim.config import BUILT_IN, RunSpec, read_spec
from tensix_sim.hw import SimulationError
from tensix_sim.presets import presets
from tensix_sim.sdpa.inputs import make_inputs
from tensix_sim.workers import run_all


def outcome(spec: Raw, kind: str = "") -> str:
    """Run a spec: `suspect`, `not suspect` or `error`, and how far from what is expected."""
    inputs = None
    if kind == "unsigned":
        drawn = make_inputs(RunSpec.model_validate(spec))
        inputs = replace(drawn, **{x: np.abs(getattr(drawn, x)) % 1 for x in "qkv"})
    try:
        accuracy = simulate(spec, inputs=inputs).accuracy
    except SimulationError as error:
        return f"error: {str(error).splitlines()[0]}"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    assert accuracy is not None
    assert accuracy.place is not None
    at = accuracy.place
    said = "suspect" if accuracy.suspect else "not suspect"
    error = f"{at.rel_l2:.2%}, expected {at.expected:.2%}, {at.others:.2%} of a tile row others"
    return f"{said}, PCC {accuracy.pcc:.6f}, rows {at.rows} {error}"


def right_runs() -> dict[str, tuple[Raw, str]]:
    """Runs with nothing wrong, of some seconds at most: spec and kind of inputs."""
    made: dict[str, tuple[Raw, str]] = {f"config {name}": (config, "") for name, config in SPECS.items()}
    for name, preset in presets().items():
        lengths = (n for n in (1024, 2048, 4096, 8192, 16384) if n >= preset.seq_lens[0])
        raws = (preset.raw_spec(("numerics=fast", "trace=off", "inputs.q_heads=8", "inputs.kv_heads=1"), n) for n in lengths)
        legal = next((raw for raw in raws if check(raw).ok), None)
        if legal is not None:
            made[f"preset {name}, {legal['inputs']['seq_len']} tokens"] = legal, ""
    made["built-in, 2048 tokens"] = read_spec(BUILT_IN, ("inputs.seq_len=2048", "program_config.q_chunk_size=128")), ""
    for fidelity in ("LoFi", "HiFi2", "HiFi4"):
        for dtype in ("bfloat16", "bfloat8_b", "bfloat4_b"):
            for kernel in ("legacy", "streaming"):
                changes = {"dtype": dtype, "outliers": 0.01 if fidelity == "HiFi2" else 0.0}
                one = SPECS["a" if kernel == "legacy" else "b"]
                compute = {"math_fidelity": fidelity}
                made[f"{kernel}, {dtype}, {fidelity}"] = (
                    one | {"inputs": one["inputs"] | changes, "compute_kernel_config": compute},
                    "",
                )
    for length in (512, 1024, 2048):
        one = spec(heads=2, kv_heads=2, rows=length, inputs={"head_dim": 32}, op="sdpa", board="n150")
        made[f"unsigned, {length} tokens"] = one, "unsigned"
    return made


def main() -> None:
    """Run each; exit code 1 if one is accused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.perf_counter()
    right = right_runs()
    names = list(right)
    told = run_all(outcome, list(right.values()), options.jobs, learn=lambda i, said: print(f"{names[i]}: {said}", flush=True))
    accused = sum(not said.startswith("not suspect") for said in told)
    print(f"{len(right)} right runs, {accused} accused; {time.perf_counter() - began:.0f} s")
    sys.exit(accused > 0)


if __name__ == "__main__":
    main()
