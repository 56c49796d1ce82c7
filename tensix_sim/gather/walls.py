"""Published times of collectives beside the model: rows of `data/collective_walls.csv`, each a run on its board.

Shapes are those of a device's tensor. An all-reduce is a reduce-scatter and an all-gather, one after the other.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensix_sim.arch import machine
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.reduce_scatter import ReduceScatter
from tensix_sim.gather.run import Collective, run_collective

SHIPPED = Path(__file__).parents[1] / "data" / "collective_walls.csv"


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
