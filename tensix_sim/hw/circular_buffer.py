"""Circular buffers: two counters, a wrap rule, and bare events for whoever must really wait.

Data-movement kernels live at the engine's clock. A compute kernel runs ahead of it on clocks of its own:
what it pops or pushes reaches the other side by an engine event at the cycle when it happens, and each
push remembers from when its tiles can be seen.
"""

from collections.abc import Callable, Sequence
from functools import cache

import simpy

from tensix_sim.formats import Values
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.tiles import Tiles
from tensix_sim.program import BufferSpec
from tensix_sim.trace.causes import Cause

cause = cache(Cause)  # one for all cores


class CircularBuffer:
    """One core's circular buffer, with the `values` of its tiles in a run that has any.

    Counters only grow: `pushed` and `popped` are what the owner of that end has done by its own clock,
    `received` and `acked` what the other side can see by the engine's clock.
    """

    __slots__ = (
        "_values", "acked", "engine", "label", "log", "on_change", "popped", "pops", "pushed", "pushes", "received", "reserved",
        "settled", "shared", "spec", "tiles", "wait_space", "wait_tiles", "written",
    )  # fmt: skip

    def __init__(self, spec: BufferSpec, engine: Engine, label: str, values: bool) -> None:
        self.spec = spec
        self.engine = engine
        self.label = label
        self.tiles = spec.tiles
        self.wait_tiles, self.wait_space = cause("tiles", spec.name), cause("space", spec.name)
        self.shared = spec.producer != spec.consumer
        self.pushed = self.popped = self.received = self.acked = 0
        self.reserved = self.written = 0  # by a data-movement kernel, and not pushed
        # pushes that are not popped: (tiles pushed by its end, tiles a part, cycle, when each part is seen after it)
        self.log: list[tuple[int, int, int, Sequence[int]]] = []  # short: a deque would take ten times the cache
        self.settled = 0  # cycle from which all that was pushed is seen
        self.pushes, self.pops = Changes(engine), Changes(engine)
        self.on_change: Callable[[int, int], None] | None = None  # at a cycle, to so many tiles, as the engine's clock has it
        self._values = Tiles(spec.tiles) if values else None

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
        return tuple([wait if count and (wait := self.visible_at(count) - now) > 0 else 0 for count in tiles])

    def check_request(self, tiles: int, verb: str) -> None:
        """A request for more tiles than the buffer holds can never be met."""
        if not 0 < tiles <= self.tiles:
            raise SimulationError(
                f"{self.label}: {verb} {tiles} tiles of a buffer that holds {self.tiles}; ask for 1 to {self.tiles}"
            )

    def check_front(self, tiles: int) -> None:
        """Tiles that are used must be there."""
        if tiles > self.front:
            raise SimulationError(f"{self.label}: use of {tiles} tiles; {self.front} are there")
        if self.popped % self.tiles + tiles > self.tiles:
            self._check_wrap(self.popped, tiles, "use")

    def _check_wrap(self, done: int, tiles: int, verb: str) -> None:
        before_the_end = self.tiles - done % self.tiles
        if tiles > before_the_end:
            raise SimulationError(
                f"{self.label}: {verb} of {tiles} tiles runs over the buffer's end, which is "
                f"{before_the_end} tiles away; the pointer wraps only when it meets the end exactly"
            )

    # -- the producer's end: a data-movement kernel writes to tiles that it has reserved; the packer pushes at once ------

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
            self._check_wrap(self.pushed + self.written, tiles, "write")
        if block is not None:
            if block.shape[0] * block.shape[2] != tiles:
                raise SimulationError(f"{self.label}: a block of {block.shape[0]}x{block.shape[2]} tiles written as {tiles}")
            self.values.blocks.append(block)
        self.written += tiles

    def push_written(self, tiles: int, time: int, delay: int) -> None:
        """Push `tiles` written tiles at cycle `time`, seen by the consumer `delay` cycles later."""
        if tiles > self.written:
            if tiles > self.reserved:
                raise SimulationError(f"{self.label}: push of {tiles} tiles; {self.reserved} are reserved")
            raise SimulationError(f"{self.label}: push of {tiles} tiles; only {self.written} of them were written")
        self.reserved -= tiles
        self.written -= tiles
        self._push(tiles, time, (0,), delay)

    def push(self, tiles: int, start: int, times: Sequence[int], delay: int) -> None:
        """Push `tiles` free tiles, an equal part at each cycle `start` + `times`, seen by the consumer `delay` cycles later."""
        if self.pushed % self.tiles + tiles > self.tiles:
            self._check_wrap(self.pushed, tiles, "write")
        if self.shared:
            self._push(tiles, start, times, delay)
            return
        self.pushed = self.received = self.pushed + tiles  # NOTE: `_push` in line, for speed
        self.settled = start + delay + times[-1]
        self.log.append((self.pushed, tiles // len(times), start + delay, times))

    def _push(self, tiles: int, start: int, times: Sequence[int], delay: int) -> None:
        part = tiles // len(times)
        self.pushed += tiles
        self.settled = start + delay + times[-1]
        self.log.append((self.pushed, part, start + delay, times))
        if not self.shared:
            self.received = self.pushed
            return
        since = start if self.spec.consumer == "compute" else start + delay  # compute reads the log, on a clock of its own
        for time in times:
            if since + time <= self.engine.now:
                self._receive(part)
            else:
                self.engine.at(since + time, lambda _: self._receive(part))

    def rewrite(self, tiles: int, start: int, times: Sequence[int], delay: int, older: int = 0) -> None:
        """Change the newest `tiles` tiles in place, an equal part at each cycle `start` + `times`, seen `delay` cycles later."""
        if self.shared or self.received - self.popped != older + tiles:
            raise SimulationError(
                f"{self.label}: an in-place change of {tiles} tiles needs a buffer of the compute kernel's own "
                f"that holds just them{f' and {older} before' if older else ''}; it holds {self.front}"
            )
        self.settled = start + delay + times[-1]
        self.log = [push for push in self.log if push[0] <= self.received - tiles] if older else []
        self.log.append((self.received, tiles // len(times), start + delay, times))

    def _receive(self, tiles: int) -> None:
        self.received += tiles
        if self.on_change is not None:
            self.on_change(self.engine.now, self.received - self.acked)
        if self.pushes.event is not None:
            self.pushes.happen()

    # -- the consumer's end ------------------------------------------------------------------------------

    def pop(self, tiles: int, time: int) -> None:
        """Give `tiles` tiles back to the producer at cycle `time`."""
        if tiles > self.received - self.popped:
            raise SimulationError(f"{self.label}: pop of {tiles} tiles; {self.front} are there")
        if self.popped % self.tiles + tiles > self.tiles:
            self._check_wrap(self.popped, tiles, "pop")
        popped = self.popped = self.popped + tiles
        log = self.log
        while log and log[0][0] <= popped:
            del log[0]
        if self._values is not None:
            self._values.pop(tiles)
        if not self.shared:
            self.acked += tiles
        elif time <= self.engine.now:
            self._ack(tiles)
        else:
            self.engine.at(time, lambda _: self._ack(tiles))

    def _ack(self, tiles: int) -> None:
        self.acked += tiles
        if self.on_change is not None:
            self.on_change(self.engine.now, self.received - self.acked)
        if self.pops.event is not None:
            self.pops.happen()

    # -- values -------------------------------------------------------------------------------------------

    @property
    def values(self) -> Tiles:
        """What its tiles hold.

        Raises:
            SimulationError: the run has no values.
        """
        if self._values is None:
            raise SimulationError(f"{self.label}: values of a program whose tensors have none")
        return self._values

    def block(self, rows: int, cols: int) -> Values:
        """The first rows x cols tiles, which must be there, as one [rows, 32, cols, 32] block."""
        self.check_front(rows * cols)
        return self.values.block(rows, cols)

    def rows(self, start: int, stop: int, cols: int) -> Values:
        """Rows `start` to `stop` of the tiles that are there, as rows of `cols`."""
        self.check_front(stop * cols)
        return self.values.rows(start, stop, cols, self.front)


class Changes:
    """Changes of a counter: events only for who must really wait for the next one."""

    __slots__ = ("engine", "event")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.event: simpy.Event | None = None

    def next(self) -> simpy.Event:
        """Event of the next change."""
        self.event = self.event or self.engine.event()
        return self.event

    def happen(self) -> None:
        """Wake who waits: someone does."""
        event, self.event = self.event, None
        assert event is not None
        self.engine.wake(event)
