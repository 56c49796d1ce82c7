"""Published times of matrix products beside the model: `python benchmarks/matmul_walls.py FILE.csv [--only TEXT] [--jobs N]`."""

import argparse
import csv
import re
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

from tensix_sim.matmul import MatmulConfig, MatmulSpec, simulate

FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b", "fp32": "float32"}
KINDS = {"2D": "2d", "1D": "1d", "MultiCore": "multi_core"}
BOARDS = {
    "bh-12x10": ("p150b", {"grid": [12, 10], "worker_columns": [1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15]}),
    "bh-11x10": ("p150b", {}),
    "p150": ("p150b", {"grid": [13, 10], "worker_columns": [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]}),
    "n150": ("n150", {}),
}


class NotModelledHereError(ValueError):
    """A row whose tensors are sharded."""


def spec_of(row: dict[str, str]) -> MatmulSpec:
    """A row of the file as a spec.

    Raises:
        NotModelledHereError: it has a sharded tensor.
    """
    sharded = [row[name] for name in ("in0_mem", "in1_mem", "out_mem") if "_" in row[name]]
    if sharded:
        raise NotModelledHereError(sharded[0])
    board, numbers = BOARDS[row["board"]]
    return MatmulSpec.model_validate(
        {
            "board": board,
            "machine": numbers,
            **{name.lower(): int(row[name]) for name in ("M", "K", "N", "batch")},
            "b_batch": int(row["batch"]) if "B batched" in row["note"] else 1,
            **{f"{what}_dtype": FORMATS[row[f"{what}_dtype"]] for what in ("in0", "in1", "out")},
            **{f"{what}_memory": row[f"{what}_mem"] or "dram" for what in ("in0", "in1", "out")},
            "transpose_a": "transpose_a" in row["note"],
            "transpose_b": "transpose_b" in row["note"],
            "bias": "bias fused" in row["note"],
            "program_config": config_of(row),
            "compute_kernel_config": {
                "math_fidelity": row["fidelity"],
                "fp32_dest_acc_en": row["fp32_dest"] == "1",
                "packer_l1_acc": row["packer_l1_acc"] != "0",
            },
            "launch": "modelled",
        }
    )


def config_of(row: dict[str, str]) -> MatmulConfig:
    """The program config of a row."""
    kind = KINDS[row["config"].split()[0]]
    grid = {"kind": kind, "compute_with_storage_grid_size": [int(row["grid_x"]), int(row["grid_y"])]}
    if kind == "multi_core":
        return MatmulConfig.model_validate(grid)
    names = ("per_core_M", "per_core_N", "in0_block_w", "out_subblock_h", "out_subblock_w")
    block = re.search(r"out_block (\d+)x(\d+)", row["note"])
    blocks = {"out_block_h": int(block[1]), "out_block_w": int(block[2])} if block else {}
    mcast = {"mcast_in0": "mcast_in1" not in row["config"]} if kind == "1d" else {}
    return MatmulConfig.model_validate(grid | {name: int(row[name]) for name in names} | blocks | mcast)


def predicted(row: dict[str, str]) -> tuple[float, float, str]:
    """Microseconds, seconds that the simulation took, and the largest waits."""
    started = time.process_time()
    made = simulate(spec_of(row))
    waits = sorted(made.waits.items(), key=lambda item: -item[1])[:5]
    return (
        made.microseconds,
        time.process_time() - started,
        ", ".join(f"{name} {100 * n / made.cycles:.0f}%" for name, n in waits),
    )


def rows_of(path: Path, only: str) -> Iterable[dict[str, str]]:
    """The rows whose id starts with the text, those with sharded tensors left out."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if re.match(only, row["id"]) and not any("_" in row[f"{what}_mem"] for what in ("in0", "in1", "out")):
                yield row


def main() -> None:
    """Print a line a row, and the errors of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--waits", action="store_true")
    given = parser.parse_args()
    rows = list(rows_of(given.file, given.only))
    errors: dict[str, list[float]] = {}
    with ProcessPoolExecutor(given.jobs) as pool:
        for row, (us, seconds, waits) in zip(rows, pool.map(predicted, rows), strict=True):
            wall = float(row["wall_us"])
            error = us / wall - 1
            family = f"{row['id'].rsplit('-', 1)[0]} {row['config'].split()[0]}"
            errors.setdefault(family, []).append(error)
            shape = f"{row['M']}x{row['K']}x{row['N']}"
            line = (
                f"{row['id']:<14}{row['config'].split()[0]:<10}{shape:<18}{wall:>9.1f}{us:>9.1f}{error:>+8.1%}{seconds:>6.1f} s"
            )
            print(line + (f"  {waits}" if given.waits else ""), flush=True)
    for family, found in errors.items():
        sizes = [abs(error) for error in found]
        print(f"{family}: {len(found)} rows, mean {mean(sizes):.1%}, worst {max(sizes):.1%}, bias {mean(found):+.1%}")


if __name__ == "__main__":
    main()
