"""Published times of products beside the model: `python benchmarks/matmul_walls.py [FILE] [--only REGEX] [--jobs N]`."""

import argparse
import re
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

from tensix_sim.matmul.walls import SHIPPED, MatmulWall, read_walls
from tensix_sim.text import columns

LAYOUT = "<15 <20 >10 >10 >9 >8 <"


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


def main() -> None:
    """Print a line a row, and the errors of each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--only", default="", help="what ids begin with")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    walls = [wall for wall in read_walls(given.file) if re.match(given.only, wall.id)]
    errors: dict[str, list[float]] = {}
    print(columns(LAYOUT, "wall", "M x K x N", "us", "model us", "error", "took", "  what cores wait for most"))
    with ProcessPoolExecutor(given.jobs) as pool:
        for wall, (error, text) in zip(walls, pool.map(line, walls), strict=True):
            errors.setdefault(wall.family, []).append(error)
            print(text, flush=True)
    print()
    for family, found in errors.items():
        sizes = [abs(error) for error in found]
        print(f"{family}: {len(found)} rows, mean {mean(sizes):.1%}, worst {max(sizes):.1%}, bias {mean(found):+.1%}")


if __name__ == "__main__":
    main()
