"""Times of two versions side by side: `python benchmarks/budgets.py --against PATH [--only TEXT] [--runs 3]`; takes half an hour.

PATH is the source tree of the other version. Each case runs in processes of its own, the versions in turn, and the medians are
compared: "times as fast" as the other, or as blocked NumPy in the same process. Machines are noisy: look at ratios.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]
RING = {
    "op": "ring_distributed_sdpa", "board": "galaxy", "ring_size": 4, "numerics": "off", "trace": "off",
    "program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 128, "k_chunk_size": 256},
}  # fmt: skip
EIGHT_HEADS = {"batch": 1, "q_heads": 8, "kv_heads": 1, "head_dim": 128, "dtype": "bfloat8_b"}
LONG = {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 256, "k_chunk_size": 512}
STREAMING = {"op": "sdpa", "kernel": "streaming", "board": "p100a", "numerics": "off", "trace": "off"}
TEN_HEADS = {
    "op": "sdpa", "board": "p100a", "numerics": "fast", "trace": "off", "is_causal": False,
    "inputs": {"batch": 1, "q_heads": 10, "kv_heads": 10, "seq_len": 8192, "head_dim": 128, "dtype": "bfloat16"},
    "program_config": {"compute_with_storage_grid_size": [10, 8], "q_chunk_size": 128, "k_chunk_size": 128},
}  # fmt: skip

START = """
import json, resource, sys, time
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def measure(work):
    cpu, wall = used(), time.perf_counter()
    work()
    return {"cpu": used() - cpu, "wall": time.perf_counter() - wall}
"""
SIMULATE = (
    START
    + """
from tensix_sim import simulate
spec, jobs = json.loads(sys.argv[1]), int(sys.argv[2])
simulate({**spec, "ring_ids": [0]} if "ring_size" in spec else spec) if len(sys.argv) > 3 else None
print(json.dumps(measure(lambda: simulate(spec, jobs)) | {"rss": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}))
"""
)
COMMAND = START + """
import subprocess
call = [sys.executable, "-c", "import sys; from tensix_sim.cli import main; main(sys.argv[1:])", *sys.argv[1:]]
print(json.dumps(measure(lambda: subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))))
"""  # fmt: skip


class Case(NamedTuple):
    """What is run, and how many times as fast as the other version it is to be, in CPU seconds or wall."""

    name: str
    code: str
    arguments: tuple[str, ...]
    unit: str
    least: float


def ring(seq_len: int, **more: object) -> str:
    """A spec of the ring, as JSON."""
    return json.dumps({**RING, "inputs": {**EIGHT_HEADS, "seq_len": seq_len}, **more})


SMALL = (
    "run", "--set", "inputs.seq_len=1024", "--set", "program_config.compute_with_storage_grid_size=[1,1]",
    "--set", "inputs.q_heads=1", "--set", "inputs.kv_heads=1", "--set", "numerics=fast",
    "--set", "program_config.q_chunk_size=128", "--set", "program_config.k_chunk_size=128",
)  # fmt: skip
TUNE = ("tune", "--preset", "llama70b-galaxy")
CASES = (
    Case("S=131072, ring of 4, timing, two processes", SIMULATE, (ring(131072, program_config=LONG), "2"), "wall", 5),
    Case("S=32768, streaming, one device, timing", SIMULATE, (json.dumps({
        **STREAMING, "inputs": {**EIGHT_HEADS, "seq_len": 32768}, "program_config": RING["program_config"]}), "1"), "cpu", 5),
    Case("10 heads of 8192 with numbers, 80 cores", SIMULATE, (json.dumps(TEN_HEADS), "1"), "cpu", 2.5),
    Case("S=8192, one device, numbers", SIMULATE, (ring(8192, ring_ids=[0], numerics="fast"), "1"), "cpu", 1.4),
    Case("S=16384, one device, zones", SIMULATE, (ring(16384, ring_ids=[0], trace="zones"), "1"), "cpu", 4),
    Case("S=1024, whole process, defaults", COMMAND, SMALL, "cpu", 1.5),
    Case("tune llama70b-galaxy at 8k", COMMAND, TUNE, "cpu", 4),
    Case("tune llama70b-galaxy at 32k", COMMAND, (*TUNE, "--set", "inputs.seq_len=32768"), "cpu", 5),
    Case("validate, all shipped rows, two processes", COMMAND, ("validate", "--jobs", "2"), "wall", 1),
)  # fmt: skip


def run(root: Path, case: Case) -> dict[str, float]:
    """One run of a case in the version at `root`."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
        call = [sys.executable, "-c", case.code, *case.arguments]
        done = subprocess.run(call, check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    """Print a line a case: seconds of both, and how many times as fast as the other this version is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for case in CASES:
        if options.only not in case.name:
            continue
        rounds = [(run(options.against.resolve(), case), run(HERE, case)) for _ in range(options.runs)]
        other, here = (median(one[i][case.unit] for one in rounds) for i in (0, 1))
        times = f"{case.unit:<4} {other:8.2f} s, here {here:8.2f} s: {other / here:5.2f} of {case.least} times as fast"
        print(f"{case.name:<46} {times}{'' if other / here >= case.least else '  missed'}", flush=True)


if __name__ == "__main__":
    main()
