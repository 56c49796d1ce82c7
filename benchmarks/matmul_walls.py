"""Published times of products beside the model: `python benchmarks/matmul_walls.py [FILE] [--only REGEX] [--jobs N]`.

Rows of `data/matmul_walls.csv`, each a run with its config. A row says what was timed in its note: device time, or the host's
around many calls, which has what lies between two ops in it.
"""

import csv
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from op_walls import DATA, compare

from tensix_sim.matmul.run import Multiplied, simulate
from tensix_sim.matmul.spec import MatmulSpec
from tensix_sim.text import columns

SHIPPED = DATA / "matmul_walls.csv"
LAYOUT = "<15 <20 >10 >10 >9 >8 <"
FORMATS = {"bf16": "bfloat16", "bfp8": "bfloat8_b", "bfp4": "bfloat4_b", "fp32": "float32"}
KINDS = {"2D": "2d", "1D": "1d", "MultiCore": "multi_core"}
BOARDS: dict[str, tuple[str, dict[str, Any]]] = {
    "n150": ("n150", {}),
    "bh-11x10": ("p150b", {}),
    "bh-12x10": ("p150b", {"grid": [12, 10], "worker_columns": [1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15]}),
    "p150": ("p150b", {"grid": [13, 10], "worker_columns": [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]}),
}


@dataclass(frozen=True)
class MatmulWall:
    """A published time in microseconds, and what took it."""

    id: str
    family: str  # rows of one source and program
    microseconds: float
    spec: MatmulSpec

    def error(self, made: Multiplied) -> float:
        """How much longer a run took than this: 0.1 is a tenth."""
        return made.microseconds / self.microseconds - 1

    def run(self) -> Multiplied:
        """The same on the model."""
        return simulate(self.spec)


def read_walls(path: Path = SHIPPED) -> list[MatmulWall]:
    """The rows of a file, but those with sharded tensors, which are not modelled."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [_wall(row) for row in rows if not any("_" in row[f"{what}_mem"] for what in ("in0", "in1", "out"))]


def _wall(row: dict[str, str]) -> MatmulWall:
    family = f"{row['id'].rsplit('-', 1)[0]} {row['config'].split()[0]}"
    return MatmulWall(row["id"], family, float(row["wall_us"]), MatmulSpec.model_validate(_spec(row)))


def _spec(row: dict[str, str]) -> dict[str, Any]:
    """The run of a row. What it does not say: tensors lie in DRAM, the packer adds up in L1."""
    board, numbers = BOARDS[row["board"]]
    batch, note = int(row["batch"]), row["note"]
    return {
        "board": board, "machine": numbers, "launch": "modelled",
        "m": int(row["M"]), "k": int(row["K"]), "n": int(row["N"]),
        "batch": batch, "b_batch": batch if "B batched" in note else 1,
        **{f"{what}_dtype": FORMATS[row[f"{what}_dtype"]] for what in ("in0", "in1", "out")},
        **{f"{what}_memory": row[f"{what}_mem"] or "dram" for what in ("in0", "in1", "out")},
        "transpose_a": "transpose_a" in note, "transpose_b": "transpose_b" in note, "bias": "bias fused" in note,
        "program_config": _config(row),
        "compute_kernel_config": {
            "math_fidelity": row["fidelity"], "fp32_dest_acc_en": row["fp32_dest"] == "1",
            "packer_l1_acc": row["packer_l1_acc"] != "0",
        },
    }  # fmt: skip


def _config(row: dict[str, str]) -> dict[str, Any]:
    kind = KINDS[row["config"].split()[0]]
    config: dict[str, Any] = {"kind": kind, "compute_with_storage_grid_size": [int(row["grid_x"]), int(row["grid_y"])]}
    if kind == "multi_core":
        return config
    names = ("per_core_M", "per_core_N", "in0_block_w", "out_subblock_h", "out_subblock_w")
    if block := re.search(r"out_block (\d+)x(\d+)", row["note"]):
        config |= {"out_block_h": int(block[1]), "out_block_w": int(block[2])}
    if kind == "1d":
        config["mcast_in0"] = "mcast_in1" not in row["config"]
    return config | {name: int(row[name]) for name in names}


def line(wall: MatmulWall) -> tuple[float, str]:
    """A wall's error, and all about it."""
    started, spec = time.process_time(), wall.spec
    made = wall.run()
    error, took = wall.error(made), time.process_time() - started
    largest = sorted(made.waits.items(), key=lambda item: -item[1])[:3]
    waits = ", ".join(f"{name} {cycles / made.cycles:.0%}" for name, cycles in largest)
    shape = f"{spec.m}x{spec.k}x{spec.n}"
    numbers = (f"{wall.microseconds:.1f}", f"{made.microseconds:.1f}", f"{error:+.1%}", f"{took:.1f} s")
    return error, columns(LAYOUT, wall.id, shape, *numbers, "  " + waits)


if __name__ == "__main__":
    heading = columns(LAYOUT, "wall", "M x K x N", "us", "model us", "error", "took", "  what cores wait for most")
    compare(__doc__ or "", SHIPPED, read_walls, heading, line)
