"""All-gather along a line or a ring of chips: its rules, and the program of each chip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from tensix_sim.arch import Machine
from tensix_sim.formats import TILE, Values
from tensix_sim.gather.wiring import Wired, wiring_problems
from tensix_sim.hw.ethernet import BACKWARD, FORWARD, packets_in_a_run
from tensix_sim.kernels import all_gather
from tensix_sim.kernels.all_gather import Args, PageRun
from tensix_sim.program import Program, Tensor

PACKETS_HELD = 4  # in a worker's buffer


@dataclass(frozen=True)
class AllGather(Wired):
    """What is gathered, and how: `devices` slices of `shape`, put together along `dim`.

    With `reverse` the slice of the last device comes first. `links` of those between two neighbours are used. Sizes are
    elements; in its last two dimensions a slice is whole tiles. A packet has `packet_bytes` at most, or the board's default.
    """

    reverse: bool = False
    packet_bytes: int | None = None

    name: ClassVar = "all_gather"

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the result."""
        dim = self.dim % len(self.shape)
        return (*self.shape[:dim], self.devices * self.shape[dim], *self.shape[dim + 1 :])

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice."""
        return prod(self.tiles) * self.format.tile_bytes

    def problems(self, on: Machine, shape: Sequence[int] | None = None) -> list[str]:
        """All that keeps it from being done on a board, as sentences; `shape` is the mesh of devices, if not the board's."""
        return list(self._problems(on, tuple(shape or on.mesh)))

    def _problems(self, on: Machine, mesh: tuple[int, ...]) -> Iterator[str]:
        yield from wiring_problems("an all-gather", self.devices, self.links, self.topology, on, mesh)
        yield from self.packet_problems(self.packet_bytes, on)
        if not -len(self.shape) <= self.dim < len(self.shape) or len(self.shape) < 2:
            yield f"no dimension {self.dim} in a slice of {list(self.shape)}"
        elif bad := [size for size in self.shape[-2:] if size % TILE or not size]:
            yield f"a slice of {list(self.shape)}: {bad[0]} is not whole tiles of {TILE}"

    # -- who sends what where ---------------------------------------------------------------------------------------

    def reach(self, i: int, step: int) -> int:
        """Chips that packets of chip `i` get to in one direction; around a ring half of the way, the farthest from both sides."""
        if self.topology == "line":
            return self.devices - 1 - i if step == FORWARD else i
        return self.devices // 2

    def link_bytes(self, i: int, step: int) -> int:
        """Bytes that go over all links from chip `i` in one direction, by the closed form.

        On a line, the slices of all that are behind and its own; around a ring half of the slices of all others, to the
        byte when a link's share is an even number of tiles.
        """
        if self.topology == "ring":
            return (self.devices - 1) * self.slice_bytes // 2
        slices = i + 1 if step == FORWARD else self.devices - i
        return slices * self.slice_bytes if self.reach(i, step) else 0

    def place(self, i: int) -> int:
        """Where the slice of chip `i` stands in the result."""
        return self.devices - 1 - i if self.reverse else i

    def target_pages(self, i: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The page of the result for each page of chip `i`'s slice."""
        dim = self.dim % len(self.shape)
        run = prod(self.tiles[dim:])
        page = np.arange(prod(self.tiles))
        return page // run * run * self.devices + self.place(i) * run + page % run

    def programs(self, on: Machine, slices: Sequence[Values | None]) -> list[Program]:
        """The program of each chip; its output is the result."""
        return [self._program(on, i, values) for i, values in enumerate(slices)]

    def _program(self, on: Machine, i: int, values: Values | None) -> Program:
        rows, cols = prod(self.tiles[:-1]), self.tiles[-1]
        flat = None if values is None else np.ascontiguousarray(values.reshape(rows * TILE, cols * TILE), np.float32)
        beside = self.dim % len(self.shape) == len(self.shape) - 1
        size = (rows, cols * self.devices) if beside else (rows * self.devices, cols)
        blank = None if values is None else np.full((size[0] * TILE, size[1] * TILE), np.nan, np.float32)
        out = Tensor("gathered", *size, self.format, values=blank, output=True)
        source = Tensor("slice", rows, cols, self.format, values=flat)
        packet_tiles = max(1, (self.packet_bytes or on.chip.ethernet.packet_bytes) // self.format.tile_bytes)
        packets = -(-source.pages // (self.links * packet_tiles))
        run_tiles = packet_tiles * packets_in_a_run(packets)
        columns = min(on.grid[0], 2 * self.links)
        workers = [
            self._worker(i, step, link, source, out, packet_tiles, run_tiles, columns)
            for link in range(self.links)
            for step in (FORWARD, BACKWARD)
        ]
        return all_gather.program(source, out, workers, run_tiles * max(2, -(-PACKETS_HELD * packet_tiles // run_tiles)), columns)

    def _worker(
        self, i: int, step: int, link: int, source: Tensor, out: Tensor, packet_tiles: int, run_tiles: int, columns: int
    ) -> Args:
        first, stop = (source.pages * n // self.links for n in (link, link + 1))
        middle = (first + stop) // 2
        reach = self.reach(i, step)
        keeps = step == FORWARD if self.reach(i, FORWARD) else step == BACKWARD
        runs = []
        for part, hops in ((range(first, middle), reach), (range(middle, stop), reach)):
            # half of what goes to the opposite chip of an even ring takes the one way, half the other
            if self.topology == "ring" and self.devices % 2 == 0 and (part.start == first) != (step == FORWARD):
                hops -= 1
            if hops or keeps:
                runs += list(self._runs(i, part, hops, run_tiles))
        opposite = 2 * link + (step == FORWARD)
        senders = self.reach(i, -step) if self.topology == "line" else reach
        return Args(
            source,
            out,
            runs,
            packet_tiles,
            run_tiles,
            step,
            link,
            keeps,
            reach,
            senders,
            (opposite % columns, opposite // columns),
        )

    def _runs(self, i: int, part: range, hops: int, run_tiles: int) -> Iterator[PageRun]:
        """Runs of so many pages of a slice, and where these stand in the result."""
        targets = self.target_pages(i)
        for p in part[::run_tiles]:
            pages = range(p, min(p + run_tiles, part.stop))
            yield PageRun(pages, targets[pages.start : pages.stop].tolist(), hops)
