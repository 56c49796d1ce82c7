"""Programs of transfers on an empty chip: between cores and DRAM banks, between cores, one after another or all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean
from typing import cast

from simpy import Event

from tensix_sim.arch import Machine
from tensix_sim.arch.model import Coord
from tensix_sim.formats import Format
from tensix_sim.hw.engine import Engine
from tensix_sim.hw.hardware import Hardware
from tensix_sim.hw.routes import Direction
from tensix_sim.kernels.sdpa.barrier import barrier_threshold
from tensix_sim.program import MemoryKind, Tensor
from tensix_sim.trace import Trace

MIB = 1 << 20
SEEDS = 5  # draws of cores, where a test took them at random


@dataclass(frozen=True)
class Moving:
    """What one RISC does: pages of `size` bytes, `barrier` of them in flight (0: all), from cycle `start` on."""

    core: Coord  # NoC position
    pages: Sequence[int]
    size: int
    noc: int
    direction: Direction = "read"
    place: MemoryKind = "dram"
    barrier: int = 0
    start: int = 0


def run(m: Machine, moves: Sequence[Moving]) -> list[int]:
    """Cycle at which each of some moves has landed, on a chip that does nothing else."""
    engine = Engine()
    hardware = Hardware(m, engine, Trace("off"))
    ends = dict.fromkeys(range(len(moves)), 0)

    def begin(event: Event) -> None:
        i = cast(int, event.value)
        move = moves[i]
        fmt = Format("bytes", move.size, move.size, False, 0)
        tensor = Tensor("t", 1 + max(move.pages), 1, fmt, move.place, opaque=True)
        plan = hardware.plan(move.direction, move.noc, move.core, tensor, move.pages, move.barrier)
        hardware.start(plan, engine.now, lambda: ends.update({i: hardware.now}))

    for i, move in enumerate(moves):
        engine.at(move.start, begin, i)
    engine.run()
    return list(ends.values())


def cycles(m: Machine, moves: Sequence[Moving]) -> int:
    """Cycles until all have landed."""
    return max(run(m, moves))


# -- one core ---------------------------------------------------------------------------------------------------


def from_dram(m: Machine, direction: Direction, n: int, size: int) -> int:
    """Cycles of `n` transfers of `size` bytes between one core and one page of DRAM, with one barrier at the end."""
    return cycles(m, [Moving(m.worker((0, 0)), [0] * n, size, int(direction == "write"), direction)])


def from_l1(m: Machine, direction: Direction, n: int, size: int, same_axis: bool) -> int:
    """The same between two cores, on one row or with neither row nor column in common."""
    other = 1 if same_axis else m.grid[0] + 1  # logical (1, 0) or (1, 1)
    return cycles(m, [Moving(m.worker((0, 0)), [other] * n, size, 0, direction, "l1")])


def one_bank_rate(m: Machine, cores: int, direction: Direction, noc: int, size: int = 8192) -> float:
    """Bytes a cycle of bank 0 while `cores` cores move 1 MiB each, in pages of `size`."""
    pages = [i * m.chip.dram.banks for i in range(MIB // size)]
    moves = [Moving(place, pages, size, noc, direction) for place in workers(m, m.grid)[:cores]]
    return rate(m, moves)


# -- many cores and banks -----------------------------------------------------------------------------------------


def workers(m: Machine, grid: tuple[int, int]) -> list[Coord]:
    """NoC positions of a rectangle of cores, row by row."""
    return [m.worker((x, y)) for y in range(grid[1]) for x in range(grid[0])]


def rate(m: Machine, moves: Sequence[Moving]) -> float:
    """Bytes a cycle of all moves together, until the last has landed."""
    return sum(len(move.pages) * move.size for move in moves) / cycles(m, moves)


def nearest(m: Machine, bank: int, direction: Direction, noc: int, count: int) -> list[Coord]:
    """The `count` cores of a bank's row that its data reach first, or, for writes, that reach it first."""
    x, y = m.chip.dram.endpoints[bank]
    ahead = 1 if (noc == 0) == (direction == "read") else -1
    row = [(column, y) for column in m.worker_columns]
    return sorted(row, key=lambda core: ahead * (core[0] - x) % m.chip.noc.columns)[:count]


def banks_rate(m: Machine, cores: int, direction: Direction, noc: int, careful: bool, size: int = 8192) -> float:
    """Bytes a cycle of all banks while each of `cores` cores moves 1 MiB to or from one bank, as many cores to each.

    Cores lie beside their bank (`careful`), or anywhere: then the mean of some draws.
    """
    banks, draws = m.chip.dram.banks, _draws(m, cores, direction, noc, careful)

    def pages(i: int) -> range:
        first = i * banks // cores
        return range(first, first + banks * (MIB // size), banks)

    return mean([rate(m, [Moving(core, pages(i), size, noc, direction) for i, core in enumerate(draw)]) for draw in draws])


def _draws(m: Machine, cores: int, direction: Direction, noc: int, beside: bool) -> list[list[Coord]]:
    """Cores beside their banks, as many for each; or some draws of any."""
    if not beside:
        return [Random(seed).sample(workers(m, m.grid), cores) for seed in range(SEEDS)]
    banks = m.chip.dram.banks
    return [[core for bank in range(banks) for core in nearest(m, bank, direction, noc, cores // banks)]]


def streams_rate(m: Machine, in_flight: int, beside: bool) -> float:
    """Bytes a cycle of a reader for each bank, which has `in_flight` packets of 16 KiB of that bank under way at any time."""
    size, count, draws = 1 << 14, 128, _draws(m, m.chip.dram.banks, "read", 0, beside)
    # each packet in flight is a stream of its own, one at a time
    return mean(
        [
            rate(
                m, [Moving(core, [bank] * count, size, 0, barrier=1) for bank, core in enumerate(draw) for _ in range(in_flight)]
            )
            for draw in draws
        ]
    )


def small_pages_rate(m: Machine, size: int, both: bool) -> float:
    """Bytes a cycle of bank 0 while a row of cores reads pages of it, on NoC 0 or half of them on each."""
    cores = workers(m, (8, 1))
    return rate(m, [Moving(core, [0] * 1024, size, i % 2 if both else 0) for i, core in enumerate(cores)])


def one_and_all_rate(m: Machine, direction: Direction, size: int) -> float:
    """Bytes a cycle of a core that writes to, or reads from, every other core."""
    return rate(m, [Moving(m.worker((0, 0)), range(1, m.cores), size, 0, direction, "l1")])


def all_cores_rate(m: Machine, grid: Coord, direction: Direction, noc: int, size: int, n: int) -> float:
    """Bytes a cycle of all cores together, each with the same `n` interleaved pages."""
    return rate(m, [Moving(core, range(n), size, noc, direction) for core in workers(m, grid)])


def all_to_all_rate(m: Machine, grid: Coord, direction: Direction, size: int) -> float:
    """Bytes a cycle of each core, all of which have a page for every other core."""
    cores = [y * m.grid[0] + x for y in range(grid[1]) for x in range(grid[0])]
    moves = [
        Moving(core, cores[i + 1 :] + cores[:i], size, 0, direction, "l1") for i, core in enumerate(workers(m, grid))
    ]  # each begins with the core after it
    return rate(m, moves) / len(moves)


# -- traces of data movement ops ------------------------------------------------------------------------------------


def to_sharded(m: Machine, grid: Coord, by_rows: bool, tiles: int, gap: int, skew: int) -> tuple[int, float]:
    """Interleaved tiles of 2 KiB into the L1 of the cores that shard them: cycles of all, mean cycles of a barrier.

    The tensor is 16 tiles wide. A core has whole rows of tiles (`by_rows`) or a block of them; it waits whenever as many
    reads are in flight as `barrier_threshold` says. A read is issued every `gap` cycles, cores start within `skew`.
    """
    m = m.override({"noc.read_issue_cycles": gap})
    places, size, width = workers(m, grid), 2048, 16
    cores = len(places)
    barrier = barrier_threshold(cores, size)
    moves = [
        Moving(
            place, _shard(i, (tiles // width, width), grid, by_rows), size, 0, barrier=barrier, start=_staggered(i, cores, skew)
        )
        for i, place in enumerate(places)
    ]
    ends = run(m, moves)
    barriers = tiles // cores // barrier + 1  # the last one comes whether or not reads are left
    waited = mean([end - move.start - len(move.pages) * gap for move, end in zip(moves, ends, strict=True)])
    return max(ends), waited / barriers


def reshard(m: Machine, source: Coord, grid: Coord, by_rows: bool, nocs: int, gap: int, skew: int) -> int:
    """Pages of 4 KiB, 16 x 8 of them, from the L1 of cores that have blocks of them to cores that need other blocks, or rows.

    Each core reads its pages, with one barrier at the end, on one NoC or, half of them each, on both.
    """
    m = m.override({"noc.read_issue_cycles": gap})
    rows, columns, size = 16, 8, 4096
    places = workers(m, grid)
    moves = []
    for i, place in enumerate(places):
        pages = _shard(i, (rows, columns), grid, by_rows)
        owners = [page // columns * source[1] // rows * m.grid[0] + page % columns * source[0] // columns for page in pages]
        share = len(owners) // nocs
        for noc in range(nocs):
            part = owners[noc * share : (noc + 1) * share]
            moves.append(Moving(place, part, size, noc, place="l1", start=_staggered(i, len(places), skew)))
    return cycles(m, moves)


def _shard(i: int, shape: tuple[int, int], grid: Coord, by_rows: bool) -> list[int]:
    """Pages that core i of `grid` has of rows x columns of them: whole rows, or a block."""
    rows, columns = shape
    if by_rows:
        h, w, x, y = rows // (grid[0] * grid[1]), columns, 0, i
    else:
        h, w, x, y = rows // grid[1], columns // grid[0], i % grid[0], i // grid[0]
    return [row * columns + column for row in range(y * h, y * h + h) for column in range(x * w, x * w + w)]


def _staggered(i: int, cores: int, skew: int) -> int:
    return i * skew // max(1, cores - 1)
