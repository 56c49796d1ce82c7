"""Hold what stands in for whole runs to whole runs: no time is drawn out from a part; bounds must be below what they bound.

Random legal specs by a seed: each op with each kernel and mask that it has, on both chips, with even and uneven deals. Of
each, the least cycles that `check` and `tune` reckon with, and the busiest core alone, with which `tune` spares runs, beside
the whole run. `--walls` runs all shipped walls whole instead, beside their shipped predictions, and takes long.

    python benchmarks/estimates.py [--seed N] [--count N] [--jobs N] [--walls]
"""

import argparse
import os
import random
import sys
from collections.abc import Iterator
from itertools import count, cycle, islice
from typing import Any, NamedTuple

from tensix_sim import check
from tensix_sim.config import RunSpec
from tensix_sim.device import run_device
from tensix_sim.doctor.load import Work
from tensix_sim.job import Job
from tensix_sim.measure import cycles_alone
from tensix_sim.sdpa.geometry import Geometry, spec_machine
from tensix_sim.sdpa.op import compute_kernel, positions
from tensix_sim.tuning.search import SURE
from tensix_sim.validate import predict
from tensix_sim.walls import read_rows, shipped
from tensix_sim.workers import run_all

MOST_STEPS = 20_000  # of a device: some seconds
GRIDS = {"n150": (8, 8), "galaxy": (7, 10), "p100a": (11, 10)}
Raw = dict[str, Any]


class Found(NamedTuple):
    """One device of a spec: its whole run, its least cycles, and its busiest core alone."""

    what: str
    whole: int
    least: int
    alone: int

    @property
    def holds(self) -> bool:
        """Whether neither bound is above the run."""
        return max(self.least, self.alone * SURE) <= self.whole


def kinds() -> list[Raw]:
    """What must be covered: op, kernel, chip and mask."""
    masks: list[Raw] = [{}, {"is_causal": False}, {"sliding_window_size": 0}, {"is_causal": False, "cross": True}]
    ops: list[Raw] = [{"op": "sdpa"} | mask for mask in masks] + [{"op": "chunked_sdpa"}, {"op": "ring_distributed_sdpa"}]
    return [
        op | {"kernel": kernel, "board": board}
        for op in ops
        for kernel in ("legacy", "streaming")
        for board in GRIDS
        if op["op"] != "ring_distributed_sdpa" or board != "n150"
    ]


def random_specs(seed: int) -> Iterator[RunSpec]:
    """Legal specs of all kinds in turn, each small enough to be run."""
    rng = random.Random(seed)
    every = kinds()
    rng.shuffle(every)
    for kind in cycle(every):
        for _ in count():
            spec = RunSpec.model_validate(draw(rng, dict(kind)))
            if check(spec).ok and 200 < steps(spec) < MOST_STEPS:
                yield spec
                break


def draw(rng: random.Random, kind: Raw) -> Raw:
    """Heads, lengths, chunks, grid and formats for a kind."""
    q, k = 32 * rng.choice((1, 2, 3, 4, 8)), 32 * rng.choice((1, 2, 4, 6, 8, 16))
    kv_heads = rng.choice((1, 2, 3, 8))
    rows, (x, y) = q * rng.randint(2, 24), GRIDS[kind["board"]]
    inputs: Raw = {
        "batch": rng.choice((1, 1, 1, 2)), "q_heads": kv_heads * rng.choice((1, 2, 4)), "kv_heads": kv_heads, "seq_len": rows,
        "head_dim": rng.choice((64, 96, 128)), "dtype": rng.choice(("bfloat16", "bfloat8_b")),
    }  # fmt: skip
    if kind["op"] == "ring_distributed_sdpa":
        kind |= {"ring_size": 4, "ring_ids": (rng.randrange(4),)}
        inputs["seq_len"] = rows = 8 * q * rng.randint(1, 6)
    if kind["op"] == "chunked_sdpa":
        kind |= {"paged_kv": {"block_size": 64, "page_table": "shuffled"}, "chunk_start_idx": q * k // 32 * rng.randint(0, 3)}
    if kind.pop("cross", False):
        inputs["kv_len"] = 32 * rng.randint(8, 200)
    if "sliding_window_size" in kind:
        kind["sliding_window_size"] = rng.randint(32, rows)
    wide = kind["kernel"] == "legacy"
    return kind | {
        "numerics": "off", "trace": "off", "inputs": inputs,
        "program_config": {
            "compute_with_storage_grid_size": rng.choice(((x, y), (rng.randint(1, x), rng.randint(1, y)))),
            "q_chunk_size": q, "k_chunk_size": k,
        },
        "compute_kernel_config": {
            "math_fidelity": rng.choice(("HiFi2", "HiFi4")), "fp32_dest_acc_en": wide and rng.random() < 0.5,
            "math_approx_mode": rng.random() < 0.5,
        },
    }  # fmt: skip


def steps(spec: RunSpec) -> int:
    """Pairs of chunks of the spec's first device."""
    work = Work(Geometry.of(spec))
    return int(work.of_cores(work.steps)[positions(spec)[0]].sum())


def measure(spec: RunSpec) -> Found:
    """Run a spec's first device whole, and find its bounds."""
    ring_id = positions(spec)[0]
    g = Geometry.of(spec)
    whole = run_device(Job.of(spec), ring_id).device.cycles
    least = Work(g).floor(spec_machine(spec).chip, (ring_id,)).cycles
    return Found(about(spec, g), whole, least, cycles_alone(spec, ring_id))


def about(spec: RunSpec, g: Geometry) -> str:
    """A spec in some words."""
    given, mask = spec.inputs, "chained" if g.chained else f"window {g.window}" if g.window else "causal"
    chunks = [g.deal.count(i) for i in range(g.cores)]
    deal = "even" if min(chunks) == max(chunks) else f"{min(chunks)}-{max(chunks)}"
    return (
        f"{spec.op} {compute_kernel(spec).name} {spec.board} {mask}, {given.q_heads}/{given.kv_heads} heads, {given.seq_len} by "
        f"{spec.kv_len} rows, q {32 * g.M}, k {32 * g.N}, {g.grid[0]}x{g.grid[1]}, deal {deal}"
    )


def hold_walls(jobs: int) -> bool:
    """Run the shipped walls whole, the shortest first, beside their shipped predictions; print each, and whether all agree."""
    kept, rows = {p.row.id: p for p in shipped()}, read_rows()
    order = sorted(rows, key=lambda row: steps(row.spec))
    agree = True
    for row, found in zip(order, run_all(predict, [(row,) for row in order], jobs), strict=True):
        same = row.id in kept and kept[row.id].cycles == found.cycles
        agree &= same
        print(
            f"{row.id:<30}{steps(row.spec):>10,} steps  whole {found.cycles:>14,}  {'as shipped' if same else 'NOT as shipped'}"
        )
    return agree


def main() -> None:
    """Print every spec with its bounds; exit code 1 if one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--walls", action="store_true")
    options = parser.parse_args()
    if options.walls:
        sys.exit(not hold_walls(options.jobs))
    specs = list(islice(random_specs(options.seed), options.count))
    found = run_all(measure, [(spec,) for spec in specs], options.jobs)
    print(f"{'whole run':>12}  {'least':>6}  {'alone':>6}   of the whole run")
    for one in found:
        said = "" if one.holds else "  ABOVE THE RUN"
        print(f"{one.whole:>12,}  {one.least / one.whole:>6.1%}  {one.alone / one.whole:>6.1%}   {one.what}{said}")
    above = sum(not one.holds for one in found)
    print(f"{len(found)} specs, seed {options.seed}: no time is an estimate; {above} bounds are above their whole runs")
    sys.exit(above > 0)


if __name__ == "__main__":
    main()
