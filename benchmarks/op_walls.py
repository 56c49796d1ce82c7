"""What published times of ops beside the model have in common, whatever the op: a line a wall, and the errors of each family."""

import argparse
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Protocol, TypeVar

import tensix_sim

DATA = Path(tensix_sim.__file__).parent / "data"


class Wall(Protocol):
    """A published time; walls of a family are of one source."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def family(self) -> str:
        """The family's name."""


W = TypeVar("W", bound=Wall)


def compare(
    about: str, shipped: Path, read: Callable[[Path], Sequence[W]], heading: str, line: Callable[[W], tuple[float, str]]
) -> None:
    """Print a line a row of a file, of its error and all about it, and the errors of each family."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("file", type=Path, nargs="?", default=shipped)
    parser.add_argument("--only", default="", help="what ids begin with")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    walls = [wall for wall in read(given.file) if re.match(given.only, wall.id)]
    errors: dict[str, list[float]] = {}
    print(heading)
    with ProcessPoolExecutor(given.jobs) as pool:
        for wall, (error, text) in zip(walls, pool.map(line, walls), strict=True):
            errors.setdefault(wall.family, []).append(error)
            print(text, flush=True)
    print()
    for family, found in errors.items():
        sizes = [abs(error) for error in found]
        typical = f"mean {mean(sizes):.1%}, median {median(sizes):.1%}, worst {max(sizes):.1%}"
        print(f"{family}: {len(found)} rows, {typical}, bias {mean(found):+.1%}")
