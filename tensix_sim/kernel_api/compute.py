"""What a compute kernel may do: verbs on tiles, values and cycles in one pass, and the hand-shakes of circular buffers.

A verb waits for its tiles, runs its windows on the unpack, math and pack clocks, and computes. The kernel
runs ahead of the engine's clock on these three and meets it only where a reader or writer can see: tiles
that are not there yet, space that is not free yet, a pop, a push.
"""

from typing import Any, NamedTuple, TypeVar, cast

from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.chip import Core
from tensix_sim.hw.engine import Task
from tensix_sim.hw.exact import Exact
from tensix_sim.hw.tensix import Block
from tensix_sim.kernel_api.matrix import Matrix
from tensix_sim.kernel_api.threads import Threads, check_consumer, check_producer
from tensix_sim.kernel_api.verb import Operation, Verb

V = TypeVar("V", bound=Verb)


class Prepared(NamedTuple):
    """A verb that has been checked and costed."""

    verb: Verb
    operation: Operation


class Compute:
    """What a compute kernel can do on its core. Shapes are in tiles."""

    def __init__(self, core: Core) -> None:
        chip = core.chip
        config, numbers = chip.program.compute, chip.machine.chip.numbers
        self.core = core
        self.tensix = core.tensix
        self.values = chip.values
        self.costs = chip.costs
        self._threads = Threads(core)
        self._run = self._threads.run
        self._blocks = chip.blocks
        self._trace = chip.trace
        self._known: dict[tuple[object, ...], Prepared] = {}
        self._math = (Exact if config.exact else Arithmetic)(config, numbers)
        steps: dict[tuple[str, str], set[str]] = {}
        for verb, buffer, step in config.ideal:
            steps.setdefault((verb, buffer), set()).add(step)
        self._ideal = {place: Exact(config, numbers, frozenset(left_out)) for place, left_out in steps.items()}

    @property
    def task(self) -> Task | None:
        """The running kernel, which deadlock reports show."""
        return self._threads.task

    @task.setter
    def task(self, task: Task) -> None:
        self._threads.task = task

    @property
    def end(self) -> int:
        """Cycle at which the last of the three threads ended."""
        return max(self.tensix.unpack, self.tensix.math, self.tensix.pack)

    # -- verbs --------------------------------------------------------------------------------------------------

    async def do(self, verb: type[Verb], *operands: Any, **options: Any) -> None:
        """Do a verb, which is made of its operands and options when they are first seen."""
        call = (verb, *operands, *options.items()) if options else (verb, *operands)
        made, operation = self._known.get(call) or self._learn(call, verb(*operands, **options))
        await self._run(operation)
        if self.values:
            made.values(self._units)

    def prepare(self, verb: type[V], *operands: Any) -> V:
        """Make a verb that another one takes along, one and the same for the same operands."""
        call = (verb, *operands)
        return cast(V, (self._known.get(call) or self._learn(call, verb(*operands)))[0])

    def _learn(self, call: tuple[object, ...], verb: Verb) -> Prepared:
        prepared = self._known[call] = self._prepare(verb)
        return prepared

    def _prepare(self, verb: Verb) -> Prepared:
        windows = verb.windows(self.costs)
        key = (verb.name, *windows.stages)
        block = self._blocks.get(key)  # the same for all cores of the chip
        if block is None:
            block = self._blocks[key] = Block(verb.name, windows.stages, self.costs.handshake, windows.halves)
            self._trace.units[verb.name] = verb.unit
        operation = Operation.of(verb, block, windows.early)
        for cb, _ in (*operation.inputs, (operation.source, 0)):
            check_consumer(cb, "wait")
        if operation.out is not None:
            check_producer(operation.out)
        return Prepared(verb, operation)

    def _units(self, verb: Verb, out: Matrix) -> Arithmetic | Exact:
        """What computes the values of a verb that writes `out`."""
        return self._ideal.get((type(verb).__name__, out.cb.spec.name), self._math) if self._ideal else self._math

    # -- circular buffers -----------------------------------------------------------------------------------------

    def matrix(self, name: str, rows: int = 1, cols: int = 1, transposed: bool = False) -> Matrix:
        """Tiles of a circular buffer as a matrix; `transposed`: the unpacker transposes each of them."""
        return Matrix(self.core.cbs((name,))[0], rows, cols, transposed=transposed)

    def column(self, name: str, rows: int) -> Matrix:
        """Tiles of a circular buffer as a column of factors or maxima, one value a row."""
        return Matrix(self.core.cbs((name,))[0], rows, 1, column=True)

    async def wait(self, x: Matrix) -> None:
        """Wait until its tiles are there."""
        await self._threads.wait(x.cb, x.tiles)

    async def reserve(self, x: Matrix) -> None:
        """Wait until its tiles are free, for verbs that write rows of a matrix. Other verbs reserve for themselves."""
        await self._threads.reserve(x.cb, x.tiles)

    def push(self, x: Matrix, rows: int | None = None) -> None:
        """Hand over all tiles, or so many rows of them, when the packer has packed what was issued so far."""
        self._threads.push(x.cb, x.tiles if rows is None else rows * x.cols)

    def pop(self, x: Matrix, rows: int | None = None) -> None:
        """Give all tiles, or so many rows, back to the producer, after the unpacker has read what was issued so far."""
        self._threads.pop(x.cb, x.tiles if rows is None else rows * x.cols)

    # -- threads ----------------------------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Let the unpacker wait, by a semaphore, until all that was issued so far is packed: rows changed in place."""
        self._threads.hand_over()

    def spend_on_pack(self, name: str, cycles: int, unit: str) -> None:
        """Set the pack thread up, outside windows, for work of a unit; cycles for the SFPU are the SFPU's own."""
        self._trace.units[name] = unit
        self._threads.spend_on_pack(name, cycles, cycles if unit == "sfpu" else 0)
