"""Published times of collectives beside the model: `python benchmarks/collective_walls.py [FILE] [--only REGEX] [--jobs N]`.

Rows of `data/collective_walls.csv`, each a run on its board. Shapes are those of a device's tensor. An all-reduce is a
reduce-scatter and an all-gather, one after the other.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from op_walls import DATA, compare

from tensix_sim.arch import machine
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.reduce_scatter import ReduceScatter
from tensix_sim.gather.run import Collective, run_collective
from tensix_sim.text import columns

SHIPPED = DATA / "collective_walls.csv"
LAYOUT = "<14 <44 >10 >10 >9"


@dataclass(frozen=True)
class CollectiveWall:
    """A published time in microseconds, and what took it: ops one after the other on a board."""

    id: str
    microseconds: float
    board: str
    ops: tuple[Collective, ...]
    note: str

    @property
    def family(self) -> str:
        """Rows of one source."""
        return self.id.rpartition("-")[0]

    def run(self) -> float:
        """Microseconds on the model: of each op those of the slowest device."""
        on = machine(self.board)
        return sum(max(moved.duration_us for moved in run_collective(op, on, [None] * op.devices).figures) for op in self.ops)

    def error(self, found: float) -> float:
        """How much longer a run took than this: 0.1 is a tenth."""
        return found / self.microseconds - 1


def read_walls(path: Path = SHIPPED) -> list[CollectiveWall]:
    """The rows of a file."""
    with path.open(newline="") as file:
        return [_wall(row) for row in csv.DictReader(file)]


def _wall(row: dict[str, str]) -> CollectiveWall:
    shape = tuple(int(size) for size in row["shape"].split("x"))
    given: dict[str, Any] = {
        "dim": int(row["dim"]),
        "dtype": row["dtype"],
        "topology": row["topology"],
        "links": int(row["links"]),
        "packet_bytes": int(row["packet_bytes"]) if row["packet_bytes"] else None,
    }
    devices, walk = int(row["devices"]), {"walk": row["walk"] or "halfway"}
    reduce = ReduceScatter(devices, shape, **given | walk)
    ops: dict[str, tuple[Collective, ...]] = {
        "reduce_scatter": (reduce,),
        "all_gather": (AllGather(devices, shape, **given),),
        "all_reduce": (reduce, AllGather(devices, reduce.result, **given)),
    }
    return CollectiveWall(row["id"], float(row["wall_us"]), row["board"], ops[row["op"]], row["note"])


def line(wall: CollectiveWall) -> tuple[float, str]:
    """A wall's error, and all about it."""
    found, op = wall.run(), wall.ops[0]
    walk = f", {op.walk}" if op.name == "reduce_scatter" and op.topology == "ring" else ""
    names = " + ".join(one.name for one in wall.ops)
    what = f"{names}, {op.topology} of {op.devices}{walk}"
    shape = f"{'x'.join(map(str, op.shape))} dim {op.dim}"
    error = wall.error(found)
    return error, columns(LAYOUT, wall.id, what, f"{wall.microseconds:.1f}", f"{found:.1f}", f"{error:+.1%}") + f"  {shape}"


if __name__ == "__main__":
    compare(__doc__ or "", SHIPPED, read_walls, columns(LAYOUT, "wall", "what", "us", "model us", "error"), line)
