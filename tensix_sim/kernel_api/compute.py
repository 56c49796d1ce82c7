"""What a compute kernel may do: verbs on tiles, and the hand-shakes of circular buffers.

A kernel asks in program order: a verb is checked and computes its values, and its windows go to the three threads of the core,
which do them when tiles and space are there. So values never depend on time, and what a kernel learns of time it learns
afterwards.
"""

from collections.abc import Callable, Coroutine
from functools import cache
from sys import _getframe
from typing import Any, TypeVar, cast

from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.chip import Core
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.exact import Exact
from tensix_sim.hw.hardware import BATCH
from tensix_sim.hw.riscs import HAND_OVER, POP_FRONT, PUSH_BACK, RESERVE_BACK, SPEND_ON_PACK, WAIT_FRONT
from tensix_sim.hw.tasks import caller
from tensix_sim.kernel_api.alterations import Alterations
from tensix_sim.kernel_api.context import Context
from tensix_sim.kernel_api.matrix import Matrix
from tensix_sim.kernel_api.verb import Operation, Verb

V = TypeVar("V", bound=Verb)


class Compute(Context):
    """What a compute kernel can do on its core. Shapes are in tiles."""

    def __init__(self, core: Core) -> None:
        chip = core.chip
        config, numbers = chip.program.compute, chip.machine.chip.numbers
        super().__init__(core, "compute", chip.trace.lanes_of(core.logical, "TRISC_0", "TRISC_1", "TRISC_2"))
        self.tensix = core.tensix
        self.tensix.risc, self.tensix.began = self.queue.place, self.engine.now
        self.costs = chip.costs
        self._trace = chip.trace
        self._matrix, self._known = cache(Matrix), cache(self._learn)
        self._routines: dict[tuple[Any, ...], list[int]] = {}
        if not self.watched:  # a verb is no more than a number then: the first kernel learns it for all
            self._matrix, self._known, self._routines = chip.learned = chip.learned or (self._matrix, self._known, self._routines)
        self._popped = cache(self._learn_pop)
        self._altered = Alterations()
        self._loaded: dict[
            str, str | None
        ] = {}  # what used the vector unit's constants since they were loaded, by who loads them
        self._spent = cache(self._learn_spent)
        self._math = (Exact if config.exact else Arithmetic)(config, numbers)
        steps: dict[tuple[str, str], set[str]] = {}
        for verb, buffer, step in config.ideal:
            steps.setdefault((verb, buffer), set()).add(step)
        self._ideal = {place: Exact(config, numbers, frozenset(left_out)) for place, left_out in steps.items()}

    @property
    def clocks(self) -> tuple[int, int, int]:
        """Where unpack, math and pack are in time."""
        return self.tensix.unpack, self.tensix.math, self.tensix.pack

    @property
    def end(self) -> int:
        """Cycle at which the last of the three threads ended."""
        return max(self.clocks)

    # -- verbs --------------------------------------------------------------------------------------------------

    async def do(self, verb: type[Verb], *operands: Any, **options: Any) -> None:
        """Do a verb, which is made of its operands and options when they are first seen.

        Where it is watched, in program order: wait for its tiles and its space, compute its values.
        """
        known = self._known(verb, *operands, **options)
        self._given.append(known.number)
        if self.watched:
            for cb, tiles in known.inputs:
                if not self._sees(cb, tiles):  # most waits are met, and need no coroutine
                    await self._until_front(cb, tiles)
            if known.changed is not None and (known.changed.front != known.there or known.changed.early):
                known.check_newest()
                known.check_unseen()
            if known.vector:
                self._check_loaded(known.vector)
            if known.alters or self._altered.unheard:
                self._follow_alterations(known)
            out = known.out
            if out is not None:
                if not self._may_fill(out, known.tiles):
                    await self._until_space(out, known.tiles)
                out.push(known.tiles)
                out.early = known.early
                frame = _getframe(1)
                out.pushes.tell(self.history, (frame.f_code, frame.f_lasti))
                if self._altered.unheard:
                    self._altered.push(out, known.tiles)
            if self.values:
                known.verb.values(self._units)
                if out is not None:
                    _check_kept(known, out)
                if self.core.witnessed:
                    _show(*operands, *options.values())
        if len(self._given) >= BATCH:
            await self._until_room()

    def _follow_alterations(self, known: Operation) -> None:
        """What a verb hears of tiles that were changed in place, and what it changes itself."""
        for cb, tiles in known.inputs:
            self._altered.hear(cb, tiles)
        self._altered.check(known.inputs)
        self._altered.add(known.alters)
        if known.changed is not None:
            self._altered.push(known.changed, known.there)

    def _check_loaded(self, verbs: tuple[Any, ...]) -> None:
        """Constants of the vector unit must have been loaded since another kind of verb used theirs."""
        for verb in verbs:
            last = self._loaded.get(verb.loaded_by, "nothing")
            if last not in (None, verb.__name__):
                raise SimulationError(
                    f"{self._label} does {verb.__name__} with constants of the vector unit that were loaded for {last}: "
                    f"'{verb.loaded_by}' must come before"
                )
            self._loaded[verb.loaded_by] = verb.__name__

    async def repeat(self, routine: Callable[..., Coroutine[Any, Any, None]], *given: Any) -> None:
        """Do a routine whose operations depend on nothing but what it is given, which can be hashed; it notes no time.

        In a run that is not watched, the operations of one that was done before are handed over again, all at once.
        """
        if self.watched:
            await routine(self, *given)
            return
        if len(self._given) >= BATCH:
            await self._until_room()
        key = (routine, *given)
        if key not in self._routines:
            mine, self._given = self._given, self.queue.empty()
            await routine(self, *given)
            self._routines[key], self._given = self._given, mine
        self._given += self._routines[key]

    def prepare(self, verb: type[V], *operands: Any) -> V:
        """Make a verb that another one takes along, one and the same for the same operands."""
        return cast(V, self._known(verb, *operands).verb)

    def _learn(self, verb: type[Verb], *operands: Any, **options: Any) -> Operation:
        """A verb as it is asked for, which is made, checked and costed once."""
        made = verb(*operands, **options)
        self._trace.units[made.name] = made.unit
        operation = Operation.of(made, made.windows(self.costs), self.core.chip.hardware)
        for cb in (*(cb for cb, _ in operation.inputs), made.reads().source.cb):
            self._check_end(cb, cb.spec.consumer, "wait")
        if operation.out is not None:
            self._check_end(operation.out, operation.out.spec.producer, "reserve")
        return operation

    def _units(self, verb: Verb, out: Matrix) -> Arithmetic | Exact:
        """What computes the values of a verb that writes `out`."""
        return self._ideal.get((type(verb).__name__, out.cb.spec.name), self._math) if self._ideal else self._math

    # -- circular buffers -----------------------------------------------------------------------------------------

    def matrix(self, name: str, rows: int = 1, cols: int = 1, transposed: bool = False) -> Matrix:
        """Tiles of a circular buffer as a matrix; `transposed`: the unpacker transposes each of them."""
        return self._matrix(self.core.cbs((name,))[0], rows, cols, transposed=transposed)

    def column(self, name: str, rows: int) -> Matrix:
        """Tiles of a circular buffer as a column of factors or maxima, one value a row."""
        return self._matrix(self.core.cbs((name,))[0], rows, 1, column=True)

    async def wait(self, x: Matrix) -> None:
        """Wait until its tiles are there."""
        self._given.append(self._handshake(WAIT_FRONT, x.cb, x.tiles))
        if self.watched:
            await self._until_front(x.cb, x.tiles)
            self._altered.hear(x.cb, x.tiles)

    async def reserve(self, x: Matrix) -> None:
        """Wait until its tiles are free, for verbs that write rows of a matrix. Other verbs reserve for themselves."""
        self._given.append(self._handshake(RESERVE_BACK, x.cb, x.tiles))
        if self.watched:
            await self._until_space(x.cb, x.tiles)
            x.cb.reserved = x.tiles

    def push(self, x: Matrix, rows: int | None = None) -> None:
        """Hand over all tiles, or so many rows of them, when the packer has packed what was issued so far."""
        cb, tiles = x.cb, x.tiles if rows is None else rows * x.cols
        self._given.append(self._handshake(PUSH_BACK, cb, tiles))
        if self.watched:
            cb.push_reserved(tiles)
            cb.pushes.tell(self.history, caller())
            self._altered.push(cb, tiles)

    def pop(self, x: Matrix, rows: int | None = None) -> None:
        """Give all tiles, or so many rows, back to the producer, after the unpacker has read what was issued so far."""
        number, cb, tiles = self._popped(x, rows)
        self._given.append(number)
        if self.watched:
            cb.pop(tiles)
            frame = _getframe(1)
            cb.pops.tell(self.history, (frame.f_code, frame.f_lasti))

    def _learn_pop(self, x: Matrix, rows: int | None) -> tuple[int, CircularBuffer, int]:
        tiles = x.tiles if rows is None else rows * x.cols
        return self._handshake(POP_FRONT, x.cb, tiles), x.cb, tiles

    # -- threads ----------------------------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Let the unpacker wait, by a semaphore, until all that was issued so far is packed: rows changed in place."""
        self._given.append(self._operation(HAND_OVER))
        self._altered.hear_all()

    def spend_on_pack(self, name: str, cycles: int, unit: str) -> None:
        """Set the pack thread up, outside windows, for work of a unit; cycles for the SFPU are the SFPU's own."""
        self._given.append(self._spent(name, cycles, unit))
        self._loaded[name] = None

    def _learn_spent(self, name: str, cycles: int, unit: str) -> int:
        self._trace.units[name] = unit
        vector = cycles if unit == "sfpu" else 0
        return self._operation(SPEND_ON_PACK, name=self._named(name), cycles=cycles, vector=vector)


def _check_kept(known: Operation, out: CircularBuffer) -> None:
    """A verb's values must be of as many tiles as it makes."""
    tiles = out.values
    if tiles.memory is None and (more := sum(block.shape[0] * block.shape[2] for block in tiles.blocks) - out.front):
        verb = type(known.verb).__name__
        raise SimulationError(f"{out.label}: {verb} makes {known.tiles} tiles, and its values are of {known.tiles + more}")


def _show(*operands: Any) -> None:
    """Let the core's witness see what a verb may have written."""
    for cb in dict.fromkeys(x.cb for x in operands if isinstance(x, Matrix) and x.cb.spec.producer == "compute"):
        cb.show()
