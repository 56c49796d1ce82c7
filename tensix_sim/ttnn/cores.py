"""Cores of a chip: coordinates, grids, ranges and sets of these, as code that places tensors and sub-devices says them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CoreCoord:
    """A core, or a number of columns and rows of cores: x counts columns, y rows."""

    x: int
    y: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.x, self.y))

    def __repr__(self) -> str:
        return f"(x={self.x},y={self.y})"


@dataclass(frozen=True)
class CoreGrid:
    """A grid of cores: CoreGrid(y=8, x=8)."""

    y: int
    x: int

    @property
    def num_cores(self) -> int:
        """Number of cores."""
        return self.x * self.y


@dataclass(frozen=True)
class CoreRange:
    """Cores from `start` to `end`, both included."""

    start: CoreCoord
    end: CoreCoord

    def __repr__(self) -> str:
        return f"[{self.start} - {self.end}]"

    def num_cores(self) -> int:
        """Number of cores."""
        return (self.end.x - self.start.x + 1) * (self.end.y - self.start.y + 1)

    def grid_size(self) -> CoreCoord:
        """Columns and rows."""
        return CoreCoord(self.end.x - self.start.x + 1, self.end.y - self.start.y + 1)


class CoreRangeSet:
    """Some ranges of cores."""

    def __init__(self, ranges: Iterable[CoreRange]) -> None:
        self._ranges = tuple(ranges)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._ranges))}}}"

    def ranges(self) -> tuple[CoreRange, ...]:
        """The ranges."""
        return self._ranges

    def num_cores(self) -> int:
        """Number of cores of all ranges."""
        return sum(one.num_cores() for one in self._ranges)

    def bounding_box(self) -> CoreRange:
        """The smallest range that has all of them."""
        cores = corerange_to_cores(self)
        corners = ((pick(core.x for core in cores), pick(core.y for core in cores)) for pick in (min, max))
        return CoreRange(*(CoreCoord(*corner) for corner in corners))

    def contains(self, other: "CoreCoord | CoreRange | CoreRangeSet") -> bool:
        """Whether it has a core, or all of some."""
        return _set_of(other) <= _set_of(self)

    def subtract(self, other: "CoreRangeSet") -> "CoreRangeSet":
        """Its cores but those of another."""
        gone = _set_of(other)
        return CoreRangeSet(ranges_of((core for core in corerange_to_cores(self) if core not in gone), False))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoreRangeSet) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)


def num_cores_to_corerangeset(target_num_cores: int, grid_size: Any, row_wise: bool = False) -> CoreRangeSet:
    """The first so many cores of a grid, column by column or row by row, as few ranges."""
    whole = CoreRangeSet([CoreRange(CoreCoord(0, 0), CoreCoord(*(size - 1 for size in grid_size)))])
    return num_cores_to_corerangeset_in_subcoregrids(CoreCoord(0, 0), target_num_cores, whole, row_wise)


def num_cores_to_corerangeset_in_subcoregrids(
    start_core: CoreCoord, target_num_cores: int, sub_core_grids: CoreRangeSet, row_wise: bool = False
) -> CoreRangeSet:
    """The first so many cores from `start_core` on of some ranges, each column by column or row by row.

    Raises:
        RuntimeError: there are not so many.
    """
    cores = corerange_to_cores(sub_core_grids, row_wise=row_wise)
    start = cores.index(start_core) if start_core in cores else len(cores)
    if len(cores) - start < target_num_cores:
        raise RuntimeError(f"{target_num_cores} cores from {start_core} on; there are {len(cores) - start}")
    return CoreRangeSet(ranges_of(cores[start : start + target_num_cores], row_wise))


def corerange_to_cores(core_ranges: CoreRangeSet, max_cores: int | None = None, row_wise: bool = False) -> list[CoreCoord]:
    """The cores of some ranges, each column by column or row by row; the first so many of them."""
    return [core for one in core_ranges.ranges() for core in cores_of(one, row_wise)][:max_cores]


def cores_of(one: CoreRange, row_wise: bool) -> list[CoreCoord]:
    """The cores of a range, column by column or row by row."""
    columns, rows = range(one.start.x, one.end.x + 1), range(one.start.y, one.end.y + 1)
    return [CoreCoord(x, y) for y in rows for x in columns] if row_wise else [CoreCoord(x, y) for x in columns for y in rows]


def ranges_of(cores: Iterable[CoreCoord], row_wise: bool) -> list[CoreRange]:
    """Cores in their order, as few ranges."""
    lines: list[CoreRange] = []
    for core in cores:
        step = (core.x - lines[-1].end.x, core.y - lines[-1].end.y) if lines else None
        if step == ((1, 0) if row_wise else (0, 1)):
            lines[-1] = CoreRange(lines[-1].start, core)
        else:
            lines.append(CoreRange(core, core))
    return _merged(lines, row_wise)


def _merged(lines: list[CoreRange], row_wise: bool) -> list[CoreRange]:
    """Lines of cores side by side, put together where they are as long."""
    merged: list[CoreRange] = []
    for line in lines:
        x, y = (
            ((one.start.x, one.end.x) for one in (*merged[-1:], line)),
            ((one.start.y, one.end.y) for one in (*merged[-1:], line)),
        )
        along, across = ([*x], [*y]) if row_wise else ([*y], [*x])
        if merged and along[0] == along[1] and across[1][0] == across[0][1] + 1:
            merged[-1] = CoreRange(merged[-1].start, line.end)
        else:
            merged.append(line)
    return merged


def _set_of(cores: CoreCoord | CoreRange | CoreRangeSet) -> set[CoreCoord]:
    one = CoreRange(cores, cores) if isinstance(cores, CoreCoord) else cores
    return set(corerange_to_cores(CoreRangeSet([one]) if isinstance(one, CoreRange) else one))
