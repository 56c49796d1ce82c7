"""Does `tune` find the best? Ten workloads on a board of either chip, against running every legal pair of chunk sizes.

The brute force knows nothing of the sweep: it asks `check` about every pair of whole tiles and runs what is legal. `begun`
are configs of which the sweep ran any device, `share` is that of all configs' devices; more than a third is a miss.

    python benchmarks/brute_force.py [--only NAME] [--jobs N]
"""

import argparse
import os
import sys
import time
from itertools import product

from tensix_sim import check, simulate
from tensix_sim.config import RunSpec
from tensix_sim.sdpa.op import positions
from tensix_sim.tuning import Space, tune
from tensix_sim.workers import run_all

HIFI4 = {"math_fidelity": "HiFi4", "math_approx_mode": False, "fp32_dest_acc_en": True}
PREFIX = {"paged_kv": {"block_size": 64}, "chunk_start_idx": 512}


def inputs(heads, kv_heads, rows, dim=128, **more):
    """The `inputs` of a spec."""
    return {"q_heads": heads, "kv_heads": kv_heads, "seq_len": rows, "head_dim": dim, **more}


WORKLOADS = {
    "ring 1k": {"inputs": inputs(8, 1, 1024)},
    "ring 2k HiFi4": {"inputs": inputs(8, 1, 2048), "compute_kernel_config": HIFI4},
    "ring of 2, bfloat16": {"ring_size": 2, "inputs": inputs(4, 2, 2048, dtype="bfloat16")},
    "ring of 8, streaming": {"ring_size": 8, "inputs": inputs(4, 4, 2048, 64), "kernel": "streaming"},
    "ring, prefix": {"inputs": inputs(8, 1, 2048), **PREFIX},
    "causal": {"op": "sdpa", "inputs": inputs(8, 2, 768)},
    "cross": {"op": "sdpa", "is_causal": False, "inputs": inputs(8, 8, 512, 64, kv_len=1024)},
    "window": {"op": "sdpa", "sliding_window_size": 256, "inputs": inputs(8, 4, 768, 64)},
    "chunked": {"op": "chunked_sdpa", "inputs": inputs(16, 2, 512), **PREFIX},
    "batch, fp32": {"op": "sdpa", "inputs": inputs(4, 1, 512, batch=2), "compute_kernel_config": HIFI4},
}
GRIDS = {"galaxy": [7, 10], "p150b": [11, 10]}


def wall(spec):
    """Cycles of the slowest device."""
    return max(device.cycles for device in simulate(spec).devices)


def pairs(raw):
    """All legal specs of every pair of whole tiles."""
    given = raw["inputs"]
    rows, keys = given["seq_len"], given.get("kv_len", given["seq_len"] + raw.get("chunk_start_idx", 0))
    for q, k in product(range(32, rows + 1, 32), range(32, keys + 1, 32)):
        config = raw["program_config"] | {"q_chunk_size": q, "k_chunk_size": k}
        if check(raw | {"program_config": config}).ok:
            yield (q, k), raw | {"program_config": config}


def main():
    """Run all chunk pairs of every workload on every board, tune the same, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(f"{'workload':<24}{'board':<8}{'legal':>6}{'begun':>6}{'share':>7}{'best':>12}{'tune':>12}  chunks      s: all, tune")
    missed = 0
    for (name, workload), (board, grid) in product(WORKLOADS.items(), GRIDS.items()):
        if options.only not in f"{name} {board}":
            continue
        chunks = {"compute_with_storage_grid_size": grid, "q_chunk_size": 32, "k_chunk_size": 32}
        raw = {"board": board, "program_config": chunks, "numerics": "off", "trace": "off", **workload}
        began = time.perf_counter()
        legal = dict(pairs(raw))
        walls = run_all(wall, [(spec,) for spec in legal.values()], options.jobs)
        middle = time.perf_counter()
        found = tune(Space(spec=RunSpec.model_validate(raw)), jobs=options.jobs, accuracy=False)
        ended = time.perf_counter()
        best, first = min(walls), found.front[0]
        share = found.device_runs / (len(legal) * len(positions(found.space.spec)))
        good = best == first.cycles and found.legal == len(legal) and share <= 1 / 3
        missed += not good
        chunks = "/".join(map(str, first.settings.values()))
        print(
            f"{name:<24}{board:<8}{len(legal):>6}{found.run:>6}{share:>7.0%}{best:>12,}{first.cycles:>12,}  {chunks:<12}"
            f"{middle - began:>6.0f}{ended - middle:>6.0f}{'' if good else '  MISSED'}",
            flush=True,
        )
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
