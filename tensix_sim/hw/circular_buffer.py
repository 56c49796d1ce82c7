"""Circular buffers as kernels see them, in program order: two counters, a wrap rule, and the values of their tiles.

When a tile is pushed, seen and popped, the clockwork knows. Here a kernel that asks for tiles is suspended until the other one
has asked for their push, whatever the time.
"""

from collections.abc import Callable

from tensix_sim.formats import Values
from tensix_sim.hw.engine import Engine, SimulationError
from tensix_sim.hw.semaphore import Changes, History
from tensix_sim.hw.tiles import Tiles
from tensix_sim.program import BufferSpec


class CircularBuffer:
    """One core's circular buffer, number `index` of its program, with the `values` of its tiles in a run that has any."""

    __slots__ = (
        "_values", "early", "index", "label", "popped", "pops", "pushed", "pushes", "reserved", "reserved_by", "seen", "shared",
        "spec", "tiles", "used", "witness", "written",
    )  # fmt: skip

    def __init__(self, spec: BufferSpec, engine: Engine, label: str, values: bool, index: int = 0) -> None:
        self.spec = spec
        self.label = label
        self.index = index
        self.tiles = spec.tiles
        self.shared = spec.producer != spec.consumer
        self.pushed = self.popped = 0
        self.early = 0  # columns of each row of the newest tiles that were handed over before the others
        self.used = False  # whether its consumer has done anything with tiles
        self.seen = 0  # tiles, popped ones included, that the consumer has waited for, if they are another kernel's
        self.reserved = self.written = 0  # by a kernel, and not pushed; the packer's count as written
        self.reserved_by: tuple[History, int] | None = None  # who reserved last, after so many of its operations on semaphores
        self.pushes, self.pops = Changes(engine), Changes(engine)
        self._values = Tiles(spec.tiles) if values else None
        self.witness: Callable[[Values], None] | None = None  # of what it holds

    @property
    def space(self) -> int:
        """Free tiles."""
        return self.tiles - self.pushed + self.popped

    @property
    def front(self) -> int:
        """Tiles present."""
        return self.pushed - self.popped

    def check_request(self, tiles: int, verb: str) -> None:
        """A request for more tiles than the buffer holds can never be met."""
        if not 0 < tiles <= self.tiles:
            raise SimulationError(
                f"{self.label}: {verb} {tiles} tiles of a buffer that holds {self.tiles}; ask for 1 to {self.tiles}"
            )

    def check_front(self, tiles: int) -> None:
        """Tiles that are used must be there, and have been waited for."""
        self.used = True
        if tiles > self.front or (self.shared and self.popped + tiles > self.seen):
            raise SimulationError(f"{self.label}: use of {tiles} tiles; {self._known(tiles)}")
        if self.popped % self.tiles + tiles > self.tiles:
            self._check_wrap(self.popped, tiles, "use")

    def _known(self, tiles: int) -> str:
        if tiles > self.front:
            return f"{self.front} are there"
        return f"{max(0, self.seen - self.popped)} were waited for"

    def check_newest(self, tiles: int, older: int) -> None:
        """Tiles that are changed in place must be all there are but `older` ones, in a buffer with one owner."""
        if self.shared or self.front != older + tiles:
            raise SimulationError(
                f"{self.label}: an in-place change of {tiles} tiles needs a buffer of the compute kernel's own "
                f"that holds just them{f' and {older} before' if older else ''}; it holds {self.front}"
            )

    def _check_wrap(self, done: int, tiles: int, verb: str) -> None:
        before_the_end = self.tiles - done % self.tiles
        if tiles > before_the_end:
            raise SimulationError(
                f"{self.label}: {verb} of {tiles} tiles runs over the buffer's end, which is "
                f"{before_the_end} tiles away; the pointer wraps only when it meets the end exactly"
            )

    # -- the producer's end: a data-movement kernel writes to tiles that it has reserved; the packer pushes at once ------

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
            self.show()
        self.written += tiles

    def show(self) -> None:
        """Let the witness see what was written last, or all of a buffer whose tiles are addressed."""
        held = self._values
        if self.witness is not None and held is not None and (held.blocks or held.memory is not None):
            self.witness(held.blocks[-1] if held.memory is None else held.memory)

    def check_written(self, tiles: int) -> None:
        """Tiles that are forwarded must be written, and not pushed."""
        if self.written < tiles:
            raise SimulationError(f"{self.label}: forward of {tiles} tiles; {self.written} are written and not pushed")

    def check_reserved(self, by: History) -> None:
        """Who writes here from another core must have been told since the space was reserved."""
        if self.reserved_by is None:
            return
        who, acts = self.reserved_by
        if by.known.get(who, 0) <= acts:
            raise SimulationError(
                f"{self.label}: {by.label} writes here, and {who.label} has not told it since it reserved the space: a semaphore "
                "that it raises after that must be waited for"
            )

    def push_written(self, tiles: int) -> None:
        """Push `tiles` written tiles."""
        if tiles > self.written:
            if tiles > self.reserved:
                raise SimulationError(f"{self.label}: push of {tiles} tiles; {self.reserved} are reserved")
            raise SimulationError(f"{self.label}: push of {tiles} tiles; only {self.written} of them were written")
        self.reserved -= tiles
        self.written -= tiles
        self.pushed += tiles
        if self.pushes.event is not None:
            self.pushes.happen()

    def push_reserved(self, tiles: int) -> None:
        """Push `tiles` tiles that the packer has packed where they were reserved."""
        if tiles > self.reserved:
            raise SimulationError(f"{self.label}: push of {tiles} tiles; {self.reserved} are reserved")
        self.push(tiles)

    def push(self, tiles: int) -> None:
        """Push `tiles` free tiles."""
        if tiles > self.space:
            raise SimulationError(f"{self.label}: push of {tiles} tiles; {self.space} are free")
        if self.pushed % self.tiles + tiles > self.tiles:
            self._check_wrap(self.pushed, tiles, "write")
        self.reserved = max(0, self.reserved - tiles)
        self.pushed += tiles
        if self.pushes.event is not None:
            self.pushes.happen()

    # -- the consumer's end ------------------------------------------------------------------------------

    def see(self, tiles: int) -> None:
        """Note that the consumer has waited for the front `tiles` tiles."""
        if self.popped + tiles > self.seen:
            self.seen = self.popped + tiles

    def pop(self, tiles: int) -> None:
        """Give `tiles` tiles back to the producer."""
        popped = self.popped
        if popped + tiles > (self.seen if self.shared else self.pushed):
            raise SimulationError(f"{self.label}: pop of {tiles} tiles; {self._known(tiles)}")
        if popped % self.tiles + tiles > self.tiles:
            self._check_wrap(popped, tiles, "pop")
        self.popped = popped + tiles
        if self._values is not None:
            self._values.pop(tiles)
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
