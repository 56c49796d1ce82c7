"""Circular buffers: two counters, a wrap rule, and bare events for whoever must really wait.

Data-movement kernels live at the engine's clock. A compute kernel runs ahead of it on clocks of its own:
what it pops or pushes reaches the other side by an engine event at the cycle when it happens, and each
push remembers from when its tiles can be seen.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import simpy

from tensix_sim.formats import TILE, Values
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.program import BufferSpec
from tensix_sim.trace import Cause


class CircularBuffer:
    """One core's circular buffer.

    Counters only grow: `pushed` and `popped` are what the owner of that end has done by its own clock,
    `received` and `acked` what the other side can see by the engine's clock.
    """

    __slots__ = (
        "acked", "blocks", "engine", "free_event", "label", "log", "memory", "on_change", "pending", "popped", "pushed",
        "received", "reserved", "settled", "shared", "spec", "tile_event", "tiles", "wait_space", "wait_tiles", "written",
    )  # fmt: skip

    def __init__(self, spec: BufferSpec, engine: Engine, label: str) -> None:
        self.spec = spec
        self.engine = engine
        self.label = label
        self.tiles = spec.tiles
        self.wait_tiles = Cause("tiles", spec.name)
        self.wait_space = Cause("space", spec.name)
        self.shared = spec.producer != spec.consumer
        self.pushed = self.popped = self.received = self.acked = 0
        self.reserved = self.written = 0
        # pushes that are not popped: (tiles pushed by its end, tiles a part, cycle, when each part is seen after it)
        self.log: list[tuple[int, int, int, Sequence[int]]] = []  # short: a deque would take ten times the cache
        self.settled = 0  # cycle from which all that was pushed is seen
        self.blocks: list[Values] = []
        self.pending: list[Values] = []
        self.memory: Values | None = None
        self.free_event: simpy.Event | None = None
        self.tile_event: simpy.Event | None = None
        self.on_change: Callable[[CircularBuffer, int], None] | None = None

    # -- what each end can see -------------------------------------------------------------------------

    @property
    def space(self) -> int:
        """Free tiles, as the producer sees them."""
        return self.tiles - (self.pushed - self.acked)

    @property
    def front(self) -> int:
        """Tiles present, as the consumer sees them."""
        return self.received - self.popped

    def visible_at(self, tiles: int) -> int:
        """Cycle from which the consumer can see `tiles` tiles; they must have been pushed."""
        target = self.popped + tiles
        for end, part, start, times in self.log:
            if end >= target:
                return start + times[(target - end - 1) // part]
        return 0

    def arrivals(self, tiles: Sequence[int], now: int) -> tuple[int, ...]:
        """Cycles after `now` until the consumer can see the first so many tiles, for each number of `tiles`; 0 where it can."""
        waits = []
        for count in tiles:
            wait = self.visible_at(count) - now if count else 0
            waits.append(wait if wait > 0 else 0)
        return tuple(waits)

    # -- bookkeeping, at no cost in cycles ---------------------------------------------------------------

    def check_request(self, tiles: int, verb: str) -> None:
        """A request for more tiles than the buffer holds can never be met."""
        if not 0 < tiles <= self.spec.tiles:
            raise SimulationError(
                f"{self.label}: {verb} {tiles} tiles of a buffer that holds {self.spec.tiles}; ask for 1 to {self.spec.tiles}"
            )

    def check_front(self, tiles: int) -> None:
        """Tiles that are used must be there."""
        if tiles > self.front:
            raise SimulationError(f"{self.label}: use of {tiles} tiles; {self.front} are there")
        if self.popped % self.spec.tiles + tiles > self.spec.tiles:
            self._raise_wrap(self.popped, tiles, "use")

    def reserve(self, tiles: int) -> None:
        """Take `tiles` free tiles for writing."""
        self.reserved = tiles

    def write(self, tiles: int, block: Values | None = None) -> None:
        """Note that `tiles` of the reserved tiles hold data now."""
        if self.written + tiles > self.reserved:
            raise SimulationError(
                f"{self.label}: write of {tiles} tiles; {self.reserved - self.written} of the reserved are left"
            )
        if (self.pushed + self.written) % self.tiles + tiles > self.tiles:
            self._raise_wrap(self.pushed + self.written, tiles, "write")
        if block is not None and block.shape[0] * block.shape[2] != tiles:
            raise SimulationError(f"{self.label}: a block of {block.shape[0]}x{block.shape[2]} tiles written as {tiles}")
        self.written += tiles
        if block is not None:
            self.pending.append(block)

    def push(self, tiles: int, time: int, visible: int) -> None:
        """Hand `tiles` written tiles to the consumer: at cycle `time`, seen by it from cycle `visible`."""
        if tiles > self.written:
            if tiles > self.reserved:
                raise SimulationError(f"{self.label}: push of {tiles} tiles; {self.reserved} are reserved")
            raise SimulationError(f"{self.label}: push of {tiles} tiles; only {self.written} of them were written")
        self.reserved -= tiles
        self.written -= tiles
        if self.pending:
            self.blocks.extend(self.pending)
            self.pending.clear()
        self._hand_over(tiles, time, visible)

    def put(self, tiles: int, start: int, times: Sequence[int], delay: int) -> None:
        """Write and push `tiles` free tiles, an equal part at each cycle `start` + `times`, seen `delay` cycles later."""
        pushed = self.pushed
        if pushed % self.tiles + tiles > self.tiles:
            self._raise_wrap(pushed, tiles, "write")
        part = tiles // len(times)
        if self.shared:
            for time in times:
                self._hand_over(part, start + time, start + time + delay)
            return
        self.pushed = self.received = pushed + tiles
        self.settled = start + delay + times[-1]
        self.log.append((self.pushed, part, start + delay, times))

    def renew(self, tiles: int, start: int, times: Sequence[int], delay: int, older: int = 0) -> None:
        """Change the newest `tiles` tiles in place, an equal part at each cycle `start` + `times`, seen `delay` cycles later."""
        if self.shared or self.received - self.popped != older + tiles:
            raise SimulationError(
                f"{self.label}: an in-place change of {tiles} tiles needs a buffer of the compute kernel's own "
                f"that holds just them{f' and {older} before' if older else ''}; it holds {self.front}"
            )
        self.settled = start + delay + times[-1]
        self.log = [push for push in self.log if push[0] <= self.received - tiles] if older else []
        self.log.append((self.received, tiles // len(times), start + delay, times))

    def keep(self, block: Values) -> None:
        """Keep the values of tiles that were `put`."""
        self.blocks.append(block)

    def _hand_over(self, tiles: int, time: int, visible: int) -> None:
        self.pushed += tiles
        self.log.append((self.pushed, tiles, visible, (0,)))
        self.settled = visible
        if not self.shared:
            self.received = self.pushed
            return
        seen = time if self.spec.consumer == "compute" else visible  # compute reads the log, on a clock of its own
        if seen <= self.engine.now:
            self._receive(tiles)
        else:
            self.engine.at(seen, self._on_receive, tiles)

    def pop(self, tiles: int, time: int) -> None:
        """Give `tiles` tiles back to the producer at cycle `time`."""
        if tiles > self.received - self.popped:
            raise SimulationError(f"{self.label}: pop of {tiles} tiles; {self.front} are there")
        if self.popped % self.tiles + tiles > self.tiles:
            self._raise_wrap(self.popped, tiles, "pop")
        popped = self.popped = self.popped + tiles
        log = self.log
        while log and log[0][0] <= popped:
            del log[0]
        if self.blocks:
            self._drop(tiles)
        if not self.shared:
            self.acked += tiles
        elif time <= self.engine.now:
            self._ack(tiles)
        else:
            self.engine.at(time, self._on_ack, tiles)

    def _raise_wrap(self, done: int, tiles: int, verb: str) -> None:
        raise SimulationError(
            f"{self.label}: {verb} of {tiles} tiles runs over the buffer's end, which is "
            f"{self.spec.tiles - done % self.spec.tiles} tiles away; the pointer wraps only when it meets the end exactly"
        )

    def _on_receive(self, event: simpy.Event) -> None:
        self._receive(cast(int, event.value))

    def _receive(self, tiles: int) -> None:
        self.received += tiles
        if self.on_change is not None:
            self.on_change(self, self.engine.now)
        if self.tile_event is not None:
            event, self.tile_event = self.tile_event, None
            self.engine.wake(event)

    def _on_ack(self, event: simpy.Event) -> None:
        self._ack(cast(int, event.value))

    def _ack(self, tiles: int) -> None:
        self.acked += tiles
        if self.on_change is not None:
            self.on_change(self, self.engine.now)
        if self.free_event is not None:
            event, self.free_event = self.free_event, None
            self.engine.wake(event)

    def next_push(self) -> simpy.Event:
        """Event of the next push that the consumer can see."""
        if self.tile_event is None:
            self.tile_event = self.engine.event()
        return self.tile_event

    def next_pop(self) -> simpy.Event:
        """Event of the next pop that the producer can see."""
        if self.free_event is None:
            self.free_event = self.engine.event()
        return self.free_event

    # -- values: [tile row, row, tile column, column] blocks, in the order of their pushes -----------------

    def block(self, rows: int, cols: int) -> Values:
        """The first rows x cols tiles as one [rows, 32, cols, 32] block."""
        self.check_front(rows * cols)
        if self.memory is not None:
            start = self.popped % self.tiles // cols
            return self.memory[start : start + rows]
        first = self.blocks[0]
        if first.shape[0] == rows and first.shape[2] == cols:
            return first
        parts = []
        while rows:
            part = self.blocks.pop(0)
            if part.shape[2] != cols or part.shape[0] > rows:
                part = self._reshaped(part, rows, cols)
            parts.append(part)
            rows -= part.shape[0]
        whole = np.concatenate(parts)
        self.blocks.insert(0, whole)
        return whole

    def grid(self, cols: int, width: int = TILE) -> Values:
        """The buffer's own memory by rows of `cols` tiles, [rows, 32, cols, width], NaN where nothing was written.

        For a buffer whose tiles are addressed and not queued; `width` 1 is a column.
        """
        if self.memory is None:
            self.memory = np.full((self.tiles // cols, TILE, cols, width), np.nan, np.float32)
        return self.memory

    def rows(self, start: int, stop: int, cols: int) -> Values:
        """Rows `start` to `stop` of the tiles that are there, as rows of `cols`."""
        self.check_front(stop * cols)
        if not (self.blocks[0].shape[0] >= stop and self.blocks[0].shape[2] == cols):
            before_the_end = self.tiles - self.popped % self.tiles
            self.block(min(self.front, before_the_end) // cols, cols)
        return self.blocks[0][start:stop]

    def _reshaped(self, part: Values, rows: int, cols: int) -> Values:
        """The next tiles in row-major order as at most `rows` rows of `cols`; what is left over stays in front."""
        width = part.shape[3]  # 1 of a column
        tiles = [part.swapaxes(1, 2).reshape(-1, TILE, width)]
        while sum(len(t) for t in tiles) < cols:
            tiles.append(self.blocks.pop(0).swapaxes(1, 2).reshape(-1, TILE, width))
        flat = np.concatenate(tiles)
        full = min(rows, len(flat) // cols)
        rest = flat[full * cols :]
        if len(rest):
            self.blocks.insert(0, rest.reshape(1, len(rest), TILE, width).swapaxes(1, 2))
        return np.ascontiguousarray(flat[: full * cols].reshape(full, cols, TILE, width).swapaxes(1, 2))

    def _drop(self, tiles: int) -> None:
        while tiles:
            first = self.blocks[0]
            rows, cols = first.shape[0], first.shape[2]
            if rows * cols <= tiles:
                tiles -= rows * cols
                self.blocks.pop(0)
            elif tiles % cols == 0:
                self.blocks[0] = first[tiles // cols :]
                return
            else:
                flat = first.swapaxes(1, 2).reshape(1, rows * cols, TILE, first.shape[3])[:, tiles:]
                self.blocks[0] = np.ascontiguousarray(flat.swapaxes(1, 2))
                return
