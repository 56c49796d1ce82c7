"""Published times of collectives beside the model: `python benchmarks/collective_walls.py [FILE] [--only REGEX] [--jobs N]`."""

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median

from tensix_sim.gather.walls import SHIPPED, CollectiveWall, read_walls
from tensix_sim.text import columns

LAYOUT = "<14 <44 >10 >10 >9"


def line(wall: CollectiveWall) -> tuple[float, str]:
    """A wall's error, and all about it."""
    found, op = wall.run(), wall.ops[0]
    walk = f", {op.walk}" if op.name == "reduce_scatter" and op.topology == "ring" else ""
    names = " + ".join(one.name for one in wall.ops)
    what = f"{names}, {op.topology} of {op.devices}{walk}"
    shape = f"{'x'.join(map(str, op.shape))} dim {op.dim}"
    error = wall.error(found)
    return error, columns(LAYOUT, wall.id, what, f"{wall.microseconds:.1f}", f"{found:.1f}", f"{error:+.1%}") + f"  {shape}"


def main() -> None:
    """Print a line a row, and the errors of each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--only", default="", help="what ids begin with")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    walls = [wall for wall in read_walls(given.file) if re.match(given.only, wall.id)]
    errors: dict[str, list[float]] = {}
    print(columns(LAYOUT, "wall", "what", "us", "model us", "error"))
    with ProcessPoolExecutor(given.jobs) as pool:
        for wall, (error, text) in zip(walls, pool.map(line, walls), strict=True):
            errors.setdefault(wall.family, []).append(error)
            print(text, flush=True)
    print()
    for family, found in errors.items():
        sizes = [abs(error) for error in found]
        numbers = f"median {median(sizes):.1%}, worst {max(sizes):.1%}, bias {mean(found):+.1%}"
        print(f"{family}: {len(found)} rows, {numbers}")


if __name__ == "__main__":
    main()
