"""What a verb is: the tiles it waits for, what it makes, its windows and its values, in one class beside those who use it.

A kernel says `await t.do(Verb, operands, ...)`. A verb is made, checked and costed at the first such call on a core; later
ones look it up. So what a verb does may depend on its fields only.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.engine import SimulationError
from tensix_sim.hw.exact import Exact
from tensix_sim.hw.hardware import Hardware
from tensix_sim.hw.riscs import RUN
from tensix_sim.hw.tables import NOBODY
from tensix_sim.hw.tensix import Costs
from tensix_sim.kernel_api.alterations import Alters
from tensix_sim.kernel_api.matrix import Matrix
from tensix_sim.kernel_api.windows import Windows

END, EACH = slice(-1, None), slice(None)  # after a verb's last stage, after each

Unit = Arithmetic | Exact  # FPU, SFPU and packer
Units = Callable[["Verb", Matrix], Unit]  # of a verb where it writes a matrix


class Reads(NamedTuple):
    """Tiles that the unpacker must see: `tiles` of matrices before anything starts, so many of `source` before each stage."""

    source: Matrix  # whose name is given to waits,
    tiles: tuple[tuple[Matrix, int], ...]
    bands: tuple[int, ...] = ()  # the last number stands for the stages that are left; none: all is there when it starts


class Pushes(NamedTuple):
    """`tiles` tiles handed over, in equal parts."""

    out: Matrix
    tiles: int
    after: slice = END  # these stages
    early: int = 0  # columns of each row that are seen before the others


class Updates(NamedTuple):
    """The newest `tiles` tiles changed in place, in equal parts."""

    x: Matrix
    tiles: int
    after: slice = END  # these stages
    older: int = 0  # tiles that the buffer holds besides
    first: int = 0  # column of each row from which on they are changed


class Verb(Protocol):
    """One tile operation of a compute kernel: a frozen dataclass of its operands, each the same as itself only."""

    name: ClassVar[str]  # in traces
    unit: ClassVar[str]  # that does most of it, matmul, fpu or sfpu, by which a page colours it

    def reads(self) -> Reads:
        """What it waits for."""

    def makes(self) -> tuple[Pushes | Updates | Alters, ...]:
        """What it hands over, one of each kind at most, and what it changes besides."""

    def windows(self, c: Costs) -> Windows:
        """Its cycles; wrong shapes are a SimulationError."""

    def values(self, units: Units) -> None:
        """Its numbers."""


class Operation(NamedTuple):
    """A verb that has been checked and costed: its number in the clockwork, and the tiles that it takes, makes and changes."""

    verb: Verb
    number: int
    inputs: tuple[tuple[CircularBuffer, int], ...]  # those of the compute kernel's own making first
    out: CircularBuffer | None
    tiles: int
    changed: CircularBuffer | None
    there: int  # tiles that it must hold
    alters: tuple[Alters, ...]

    early: int  # columns of each row of `out` that are seen before the others
    first: int  # column of each row of `changed` from which on it is changed
    vector: tuple[type, ...]  # what it does with constants of the vector unit

    def check_newest(self) -> None:
        """Tiles that are changed in place must be all there are but some older ones, in a buffer with one owner."""
        for made in self.verb.makes():
            if isinstance(made, Updates):
                made.x.cb.check_newest(made.tiles, made.older)

    def check_unseen(self) -> None:
        """Columns that are changed in place must not have been handed over before the rest of their rows."""
        if self.changed is not None and self.first < self.changed.early:
            raise SimulationError(
                f"{self.changed.label}: columns from {self.first} on are changed in place, of which {self.changed.early} were "
                "handed over early, and may have been read"
            )

    @classmethod
    def of(cls, verb: Verb, windows: Windows, hardware: Hardware) -> "Operation":
        """What the threads wait for, do and hand over."""
        reads, stages = verb.reads(), windows.stages
        source = reads.source.cb
        bands = (*reads.bands, *reads.bands[-1:] * (len(stages) - len(reads.bands)))
        inputs = [(x.cb, n) for x, n in reads.tiles]
        first, end = hardware.numbers(*(number for cb, n in inputs for number in (cb.index, n)))
        needs, needs_end = hardware.numbers(*bands)
        fields = {
            "block": hardware.block(verb.name, stages, windows.halves), "inputs": first, "inputs_end": end,
            "source": source.index, "needs": needs, "needs_end": needs_end, "out": NOBODY, "changed": NOBODY,
            "early_stage": NOBODY,
        }  # fmt: skip
        pushes = updates = None
        alters = tuple(made for made in verb.makes() if isinstance(made, Alters))
        for made in verb.makes():
            if isinstance(made, Alters):
                continue
            after = range(*made.after.indices(len(stages)))
            parts = {"first": after.start, "parts": len(after), "step": after.step}
            if isinstance(made, Pushes):
                pushes, cb, what = made, made.out.cb, "out"
            else:
                updates, cb, what = made, made.x.cb, "changed"
                fields["older"] = made.older
            fields |= {what: cb.index, f"{what}_tiles": made.tiles} | {f"{what}_{part}": n for part, n in parts.items()}
        if windows.early is not None:
            fields["early_stage"], fields["early"] = windows.early
        taken = (*inputs, *((source, n) for n in bands[-1:]))
        operation = cls(
            verb, hardware.operation(RUN, **fields), tuple(sorted(taken, key=lambda taken: taken[0].shared)),
            pushes.out.cb if pushes else None, pushes.tiles if pushes else 0,
            updates.x.cb if updates else None, updates.tiles + updates.older if updates else 0, alters,
            pushes.early if pushes else 0, updates.first if updates else 0,
            tuple(type(v) for v in (verb, getattr(verb, "beside", None)) if hasattr(v, "loaded_by")),
        )  # fmt: skip
        if updates and updates.x.cb.shared:
            operation.check_newest()
        return operation


def bands(tiles: int, parts: int) -> tuple[int, ...]:
    """So many tiles in equal parts, counted up."""
    return tuple(range(tiles // parts, tiles + 1, tiles // parts))
