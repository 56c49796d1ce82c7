"""Does `check` keep its word? Random specs of every op, board and kernel, with up to three values changed at random.

Of each: `check` does not raise; it says legal exactly when a run with numerics off completes; every change that it offers
or advises is legal; no run takes less than its floor. Prints what failed, and how long checks took, each the best of three.

    python benchmarks/random_specs.py [--count N] [--first SEED] [--jobs N]
"""

import argparse
import json
import os
import random
import sys
import time
import traceback
from typing import Any, NamedTuple

from tensix_sim import check, simulate
from tensix_sim.arch import BOARDS
from tensix_sim.cli.console import progress
from tensix_sim.job import IllegalConfigError
from tensix_sim.workers import run_all

Raw = dict[str, Any]
BUDGET_MS = 50

OPS = ("ring_distributed_sdpa", "ring_joint_sdpa", "sdpa", "chunked_sdpa")
CHANGES: dict[str, list[Any]] = {
    "op": [*OPS, "attention"],
    "board": [*BOARDS, "n151"],
    "mesh": [[8, 4], [1, 8], [3, 3], [2, 2]],
    "ring_size": [0, 2, 3, 4, 6, 8, 16, 34],
    "ring_id": [0, 1, 7, -1],
    "ring_ids": [[0], [0, 1], [1, 1], [9], []],
    "scale": [-0.5, 0.0, 0.25, float("nan")],
    "is_causal": [True, False],
    "sliding_window_size": [1, 31, 64, 200, 4096, 0],
    "cu_window_seqlens": [[0, 64, 192], [0, 32], [64, 32], [0], [0, 100, 512]],
    "chunk_start_idx_tensor": [True],
    "kernel": ["legacy", "streaming", "fast"],
    "topology": ["ring", "line", "torus"],
    "num_links": [0, 1, 2, 4, 9],
    "logical_n": [0, 1, 100, 255, 512, 10**9],
    "joint_len": [0, 1, 31, 64, 300],
    "is_balanced": [True],
    "what_if.start_skew": [[0, 1000], [0, 500, 0, 0]],
    "memory_config": ["l1_interleaved", "dram_height_sharded"],
    "paged_kv": [
        {"block_size": 32},
        {"block_size": 96, "page_table": "shuffled"},
        {"block_size": 48},
        {"block_size": 8192},
        None,
    ],
    "chunk_start_idx": [0, 32, 64, 96, 100, 128, 256, 512, -1, 10**12],
    "inputs.batch": [1, 3, 0, 10**9],
    "inputs.q_heads": [1, 3, 4, 6, 10**12],
    "inputs.kv_heads": [1, 2, 3, 16],
    "inputs.seq_len": [1, 32, 64, 100, 192, 256, 384, 512, 768, 1000, 1024, 10**9, 0],
    "inputs.kv_len": [1, 64, 100, 256, 512, 1000],
    "inputs.head_dim": [32, 64, 96, 128, 256, 100, 2048, 10**8],
    "inputs.dtype": ["bfloat16", "bfloat8_b", "bfloat4_b", "float32"],
    "inputs.kv_dtype": ["bfloat16", "bfloat8_b", "bfloat4_b"],
    "inputs.memory_config": ["l1_interleaved"],
    "inputs.attn_mask": ["random", "causal", "nowhere.npy"],
    "inputs.attn_mask_dtype": ["bfloat4_b", "bfloat8_b"],
    "inputs.attn_mask_heads": [1, 2, 4],
    "inputs.attention_sink": ["random"],
    "inputs.v_dtype": ["bfloat16", "bfloat8_b", "bfloat4_b"],
    "program_config.q_chunk_size": [32, 64, 96, 128, 192, 256, 512, 1024, 33, 1056, 32 * 10**6],
    "program_config.k_chunk_size": [32, 64, 96, 128, 192, 256, 512, 1024, 100, 32 * 10**6],
    "program_config.compute_with_storage_grid_size": [[1, 1], [3, 5], [7, 10], [8, 8], [8, 9], [8, 10], [11, 10], [40, 1]],
    "program_config.exp_approx_mode": [False, "yes"],
    "program_config.sub_core_grids": [[[[0, 0], [3, 3]]]],
    "compute_kernel_config.math_fidelity": ["LoFi", "HiFi2", "HiFi3", "HiFi4", "HiFi5"],
    "compute_kernel_config.fp32_dest_acc_en": [True, False],
    "compute_kernel_config.packer_l1_acc": [True],
    "machine.l1.reserved": [0, 100_000, 800_000, 1_300_000, 10**7],
    "machine.dram.bank_rate": [2.0, -1.0],
    "machine.dram.page_alignment": [4, 64],
    "what_if.barrier_tiles": [0, 1, 8],
    "what_if.buffers": [{"k_in": 4}, {"q_in": 10_000}, {"k": 8}],
    "what_if.deal": [[4, 4], [1] * 80],
    "what_if.mask": [False],
    "program_config": [None],
    "typo": [1],
}


def random_spec(rng: random.Random) -> Raw:
    """A spec that runs in a moment if it is legal, as many are; sizes are whole chunks more often than not."""
    q, k, op = 32 * rng.randint(1, 6), 32 * rng.randint(1, 8), rng.choice(OPS)
    ring = rng.choice((2, 4, 6, 8))
    heads = rng.choice((1, 2, 4))
    rows = q * rng.randint(1, 3) * (2 * ring if op == "ring_distributed_sdpa" else 1)
    spec: Raw = {
        "op": op,
        "board": rng.choice(sorted(BOARDS)),
        "inputs": {
            "batch": rng.choice((1, 1, 2)), "q_heads": heads * rng.choice((1, 2)), "kv_heads": heads,
            "seq_len": min(rows, 1536), "head_dim": rng.choice((32, 64, 128)), "dtype": rng.choice(("bfloat16", "bfloat8_b")),
        },
        "program_config": {
            "compute_with_storage_grid_size": [rng.randint(1, 8), rng.randint(1, 9)], "q_chunk_size": q, "k_chunk_size": k,
        },
        "numerics": "off",
        "trace": "off",
    }  # fmt: skip
    if op.startswith("ring"):
        spec["ring_size"] = ring
    if op == "ring_joint_sdpa":
        spec |= {"board": rng.choice(("galaxy", "t3000", "quietbox", "bh-galaxy")), "is_causal": rng.random() < 0.4}
        spec["inputs"]["seq_len"] = 32 * rng.randint(1, 6) * ring
        if not spec["is_causal"] and rng.random() < 0.5:
            spec |= {"joint_len": rng.randint(1, 80), "logical_n": spec["inputs"]["seq_len"] - rng.randint(0, 100)}
            spec["inputs"]["q_heads"] = heads
    if op == "sdpa" and rng.random() < 0.5:
        spec |= {"is_causal": False, "sliding_window_size": rng.choice((None, rng.randint(1, 400)))}
        spec["inputs"]["kv_len"] = rng.randint(1, 700)
    if op == "chunked_sdpa" or (op == "ring_distributed_sdpa" and rng.random() < 0.3):
        spec |= {"paged_kv": {"block_size": rng.choice((32, 64))}, "chunk_start_idx": q * k // 32 * rng.randint(0, 1)}
    for key in rng.sample(sorted(CHANGES), rng.choice((0, 0, 1, 1, 2, 3))):
        put(spec, key, rng.choice(CHANGES[key]))
    return spec


def put(spec: Raw, key: str, value: Any) -> None:
    """Set a dotted key."""
    *parents, leaf = ["machine", key[8:]] if key.startswith("machine.") else key.split(".")
    for parent in parents:
        spec[parent] = spec.get(parent) or {}
        spec = spec[parent]
    spec[leaf] = value


def changed(spec: Raw, change: Raw) -> Raw:
    """Copy a spec with dotted keys set."""
    made: Raw = json.loads(json.dumps(spec))
    for key, value in change.items():
        put(made, key, value)
    return made


class Judged(NamedTuple):
    """A spec's verdict, what `check` said of it that does not hold, and the seconds that it took."""

    legal: bool
    offers: int
    wrong: list[str]
    seconds: float


def judge(seed: int) -> Judged:
    """Hold `check` to its word on one random spec."""
    spec = random_spec(random.Random(seed))
    try:
        seconds = min(_seconds(spec) for _ in range(3))
        report = check(spec)
        report.text()
        report.model_dump_json()
        wrong, offers = [*_broken_promises(spec, report)], sum(len(v.nearest) for v in report.violations)
    except Exception:
        return Judged(False, 0, [f"raised: {traceback.format_exc(limit=-3)}"], 0.0)
    return Judged(report.ok, offers, [f"{said}\n    {json.dumps(spec)}" for said in wrong], seconds)


def _seconds(spec: Raw) -> float:
    began = time.perf_counter()
    check(spec)
    return time.perf_counter() - began


def _broken_promises(spec, report):
    before = {(violation.key, violation.rule) for violation in report.violations}
    for violation in report.violations:
        for change in violation.nearest:
            after = check(changed(spec, change))
            if (violation.key, violation.rule) in {(v.key, v.rule) for v in after.violations}:
                yield f"{change} does not mend {violation.message}"
            if len(before) == 1 and not after.ok:
                yield f"{change} is offered for {violation.message}, and is illegal: {after.text().partition(chr(10) * 2)[0]}"
            if {v.key for v in after.violations} - {key for key, _ in before} - spec.keys():
                yield f"{change} is offered for {violation.message}, and breaks {after.violations}"
    for advice in report.warnings:
        if report.ok and advice.change and not check(changed(spec, advice.change)).ok:
            yield f"{advice.change} is advised, and is illegal: {advice}"
        if report.ok and advice.change and advice.size.quantity == "least cycles":
            then = check(changed(spec, advice.change)).load.floor.cycles
            if not then == advice.size.then < report.load.floor.cycles:
                yield f"{advice.change} is advised for {advice.size}, and has {then} least cycles: {advice}"
    try:
        cycles = max(device.cycles for device in simulate(spec).devices)
    except IllegalConfigError:
        if report.ok:
            yield "called legal, and a run refuses it"
        return
    except Exception:
        yield f"called {'legal' if report.ok else 'illegal'}, and its run raises: {traceback.format_exc(limit=-3)}"
        return
    if not report.ok:
        yield "called illegal, and it runs"
    if report.load and report.load.floor.cycles > cycles:
        yield f"its floor is {report.load.floor}, and it takes {cycles} cycles"


def main():
    """Judge random specs, print each broken promise and how long checks take; exit code 1 if any broke or was slow."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.perf_counter()

    def learn(i: int, one: Judged) -> None:
        for said in one.wrong:
            print(f"seed {options.first + i}: {said}", flush=True)

    seeds = range(options.first, options.first + options.count)
    with progress("specs") as told:
        judged = run_all(judge, [(seed,) for seed in seeds], options.jobs, told, learn=learn)
    milliseconds = sorted(1e3 * one.seconds for one in judged)
    legal, offers = sum(one.legal for one in judged), sum(one.offers for one in judged)
    failed, slow = sum(bool(one.wrong) for one in judged), sum(ms > BUDGET_MS for ms in milliseconds)
    median, late, most = (milliseconds[int(share * (len(judged) - 1))] for share in (0.5, 0.99, 1))
    print(f"{len(judged):,} specs, {legal:,} of them legal, {offers:,} changes offered; {failed} specs with a promise broken")
    print(f"a check takes {median:.1f} ms (median), {late:.1f} ms (99 %), {most:.1f} ms (most); {slow} took over {BUDGET_MS} ms")
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(slow + failed > 0)


if __name__ == "__main__":
    main()
