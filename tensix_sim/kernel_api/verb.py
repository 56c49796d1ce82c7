"""What a verb is: the tiles it waits for, what it makes, its windows and its values, in one class beside those who use it.

A kernel says `await t.do(Verb, operands, ...)`. A verb is made, checked and costed at the first such call on a core; later
ones look it up. So what a verb does may depend on its fields only.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.hw.exact import Exact
from tensix_sim.hw.tensix import Block, Costs
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


class Updates(NamedTuple):
    """The newest `tiles` tiles changed in place, in equal parts."""

    x: Matrix
    tiles: int
    after: slice = END  # these stages
    older: int = 0  # tiles that the buffer holds besides


class Verb(Protocol):
    """One tile operation of a compute kernel: a frozen dataclass of its operands, each the same as itself only."""

    name: ClassVar[str]  # in traces
    unit: ClassVar[str]  # that does most of it, matmul, fpu or sfpu, by which a page colours it

    def reads(self) -> Reads:
        """What it waits for."""

    def makes(self) -> tuple[Pushes | Updates, ...]:
        """What it hands over, one of each kind at most."""

    def windows(self, c: Costs) -> Windows:
        """Its cycles; wrong shapes are a SimulationError."""

    def values(self, units: Units) -> None:
        """Its numbers."""


class Operation(NamedTuple):
    """A verb as the threads run it: NOTE, they take it apart by position."""

    block: Block
    source: CircularBuffer
    inputs: tuple[tuple[CircularBuffer, int], ...]
    needs: tuple[int, ...]
    out: CircularBuffer | None = None
    tiles: int = 0
    pushed: slice = END
    early: tuple[int, int] | None = None
    changed: CircularBuffer | None = None
    changed_tiles: int = 0
    renewed: slice = END
    older_tiles: int = 0

    @classmethod
    def of(cls, verb: Verb, block: Block, early: tuple[int, int] | None) -> "Operation":
        """What the threads wait for and hand over."""
        reads = verb.reads()
        needs = (*reads.bands, *reads.bands[-1:] * (len(block.stages) - len(reads.bands)))
        made: dict[str, Any] = {"early": early}
        for one in verb.makes():
            if isinstance(one, Pushes):
                made |= {"out": one.out.cb, "tiles": one.tiles, "pushed": one.after}
            else:
                made |= {"changed": one.x.cb, "changed_tiles": one.tiles, "renewed": one.after, "older_tiles": one.older}
        return cls(block, reads.source.cb, tuple((x.cb, n) for x, n in reads.tiles), needs, **made)


def bands(tiles: int, parts: int) -> tuple[int, ...]:
    """So many tiles in equal parts, counted up."""
    return tuple(range(tiles // parts, tiles + 1, tiles // parts))
