"""What stands around attention, by how tt-metal moves its tiles: who reads how many tiles at a barrier, and who writes them.

Cycles only. Sources: the program factories of nlp_create_qkv_heads (086f5b2f), nlp_concat_heads, rotary_embedding_llama,
layernorm and binary_ng of tt-metal.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, FORMATS, Format
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import last_end
from tensix_sim.kernels import movers
from tensix_sim.kernels.movers import Burst, MoverShare, Pass
from tensix_sim.program import BufferSpec, Program, Tensor
from tensix_sim.trace import Trace

AT_ONCE = 8  # tiles of a row that a norm reads at a barrier at most
SHORT = 8  # heads and rows of a core for which cosines are read once


class MoverRow(NamedTuple):
    """What is read and written for a row of tiles."""

    reads: tuple[Burst, ...]
    writes: tuple[Burst, ...]


def cycles(on: Machine, program: Program, launch: int = 0) -> int:
    """Cycles of a mover's program."""
    chip = Chip(on, program, Trace("off"), watched=False, launch=launch)
    (contexts,) = run(chip)
    return last_end(contexts)


# -- moves ---------------------------------------------------------------------------------------------------------------


def create_heads(on: Machine, rows: int, heads: int, head_tiles: int, dtype: str) -> Program:
    """Rows of `heads` heads, each row's tiles one by one to their heads; a row of tiles a core, column by column of cores."""
    fmt = FORMATS[dtype]
    source, target = _pair(rows, heads * head_tiles, fmt)

    def row(r: int) -> MoverRow:
        pages = [(h * rows + r) * head_tiles + d for h in range(heads) for d in range(head_tiles)]
        reads = tuple(Burst("tiles", source, (r * heads * head_tiles + i,)) for i in range(heads * head_tiles))
        return MoverRow(reads, tuple(Burst("tiles", target, (page,)) for page in pages))

    return _moved(on, rows, row, 4, (source, target))


def concat_heads(on: Machine, rows: int, heads: int, head_tiles: int, dtype: str) -> Program:
    """Heads side by side: a head's tiles of a row are read at once, and written one by one."""
    fmt = FORMATS[dtype]
    source, target = _pair(rows, heads * head_tiles, fmt)

    def row(r: int) -> MoverRow:
        first = r * heads * head_tiles
        reads = [tuple(range((h * rows + r) * head_tiles, (h * rows + r + 1) * head_tiles)) for h in range(heads)]
        writes = tuple(Burst("tiles", target, (first + i,)) for i in range(heads * head_tiles))
        return MoverRow(tuple(Burst("tiles", source, pages) for pages in reads), writes)

    return _moved(on, rows, row, 2 * heads * head_tiles, (source, target))


def _moved(on: Machine, rows: int, row: Callable[[int], MoverRow], held: int, tensors: tuple[Tensor, Tensor]) -> Program:
    buffers = (BufferSpec("tiles", held, tensors[0].format, "reader", "writer"),)
    return movers.program(on.grid, _dealt(on, [row(r) for r in range(rows)], (), by_columns=True), buffers, tensors)


# -- element by element ----------------------------------------------------------------------------------------------------


def binary(on: Machine, tiles: int, dtypes: tuple[str, str, str], multiply: bool = False) -> Program:
    """A sum or a product of two tensors, a tile at a time, in equal shares; formats of both and of the result."""
    a, b, out = (FORMATS[dtype] for dtype in dtypes)
    x, y = Tensor("a", tiles, 1, a), Tensor("b", tiles, 1, b)
    target = Tensor("out", tiles, 1, out, output=True)
    units = [
        MoverRow((Burst("a", x, (i,)), Burst("b", y, (i,))), (Burst("out", target, (i,)),)) for i in range(tiles)
    ]  # fmt: skip
    passes = (Pass("multiply" if multiply else "add", "a", "b", "out", 1, 1, 1),)
    buffers = (
        BufferSpec("a", 2, a, "reader", "compute"),
        BufferSpec("b", 2, b, "reader", "compute"),
        BufferSpec("out", 2, out, "compute", "writer"),
    )
    return movers.program(on.grid, _dealt(on, units, passes), buffers, (x, y, target))


def typecast(on: Machine, tiles: int, before: str, after: str) -> Program:
    """Tiles in another format, one at a time, in equal shares."""
    x, out = Tensor("a", tiles, 1, FORMATS[before]), Tensor("out", tiles, 1, FORMATS[after], output=True)
    units = [MoverRow((Burst("a", x, (i,)),), (Burst("out", out, (i,)),)) for i in range(tiles)]
    buffers = (BufferSpec("a", 2, x.format, "reader", "compute"), BufferSpec("out", 2, out.format, "compute", "writer"))
    return movers.program(on.grid, _dealt(on, units, (Pass("copy", "a", None, "out", 1, 0, 1),)), buffers, (x, out))


# -- rows ------------------------------------------------------------------------------------------------------------------


def norm(on: Machine, rows: int, width: int, dtype: str, centred: bool = False) -> Program:
    """Each row of tiles over the root of its mean square, `centred` about its mean first, times a weight, read once."""
    fmt, at_once = FORMATS[dtype], next(n for n in range(AT_ONCE, 0, -1) if width % n == 0)
    x, weight = Tensor("x", rows, width, fmt), Tensor("weight", 1, width, BFLOAT16)
    out = Tensor("out", rows, width, fmt, output=True)

    def portions(buffer: str, tensor: Tensor, row: int) -> tuple[Burst, ...]:
        places = range(row * width, (row + 1) * width)
        return tuple(Burst(buffer, tensor, tuple(places[i : i + at_once])) for i in range(0, width, at_once))

    of = "centred" if centred else "x"
    about_mean = (
        Pass("reduce", "x", None, "mean", width, 0, width, ("x",)),
        Pass("add", "x", "mean", "centred", width, 1, at_once),
    )
    passes = (
        *(about_mean if centred else ()),
        Pass("multiply", of, of, "squares", width, width, at_once, (of,)),
        Pass("reduce", "squares", None, "factor", width, 0, width),
        Pass("multiply", of, "factor", "scaled", width, 1, at_once),
        *[Pass("multiply", "scaled", "weight", "out", at_once, width, at_once, ("weight",))] * (width // at_once),
    )
    buffers = (
        BufferSpec("x", width, fmt, "reader", "compute"),
        BufferSpec("weight", width, BFLOAT16, "reader", "compute", resident=True),
        *(BufferSpec(name, width, BFLOAT16, "compute", "compute") for name in ("squares", "scaled", "centred")),
        *(BufferSpec(name, 1, BFLOAT16, "compute", "compute") for name in ("factor", "mean")),
        BufferSpec("out", 2 * at_once, fmt, "compute", "writer"),
    )
    shares = _dealt(on, [MoverRow(portions("x", x, r), portions("out", out, r)) for r in range(rows)], passes)
    first = width // at_once
    shares = [
        replace(share, reads=(*share.reads[:first], *portions("weight", weight, 0), *share.reads[first:]))
        if share.units
        else share
        for share in shares
    ]
    return movers.program(on.grid, shares, buffers, (x, weight, out))


def rotary(on: Machine, batch: int, heads: int, rows: int, head_tiles: int, dtype: str) -> Program:
    """Rotary embedding of [batch, heads, rows, head_tiles] tiles: rows are dealt, each for all heads.

    A core reads cosines and sines once a row, or again for every head where it has many; the matrix that turns pairs once.
    """
    fmt, width, bf16 = FORMATS[dtype], head_tiles, BFLOAT16
    batches = min(batch, on.cores)
    each = -(-rows // min(on.cores // batches, rows))
    again = each * heads > SHORT
    x, out = (Tensor(name, batch * heads * rows, width, fmt, output=name == "out") for name in ("x", "out"))
    turn, tables = Tensor("turn", 1, 1, bf16), Tensor("tables", 2 * rows, width, bf16)

    def line(buffer: str, tensor: Tensor, row: int) -> Burst:
        return Burst(buffer, tensor, tuple(range(row * width, (row + 1) * width)))

    def row(b: int, r: int) -> MoverRow:
        reads, writes = [], []
        for h in range(heads):
            place = (b * heads + h) * rows + r
            reads += [line("x", x, place), *([line("cos", tables, r), line("sin", tables, rows + r)] if again or h == 0 else [])]
            writes.append(line("out", out, place))
        return MoverRow(tuple(reads), tuple(writes))

    def head(h: int) -> tuple[Pass, ...]:
        kept = () if again or h == heads - 1 else ("cos", "sin")
        return (
            Pass("product", "x", "turn", "turned", width, 1, width, ("x", "turn")),
            Pass("multiply", "turned", "sin", "of sin", width, width, width, kept),
            Pass("multiply", "x", "cos", "of cos", width, width, width, kept),
            Pass("add", "of sin", "of cos", "out", width, width, width),
        )

    units = [row(b, r) for b in range(batch) for r in range(rows)]
    shares = _dealt(on, units, tuple(one for h in range(heads) for one in head(h)), each)
    shares = [replace(s, reads=(Burst("turn", turn, (0,)), *s.reads)) if s.units else s for s in shares]
    buffers = (
        BufferSpec("x", 2 * width, fmt, "reader", "compute"),
        *(BufferSpec(name, 2 * width, bf16, "reader", "compute") for name in ("cos", "sin")),
        BufferSpec("turn", 1, bf16, "reader", "compute", resident=True),
        *(BufferSpec(name, width, bf16, "compute", "compute") for name in ("turned", "of sin", "of cos")),
        BufferSpec("out", 2 * width, fmt, "compute", "writer"),
    )
    return movers.program(on.grid, shares, buffers, (x, turn, tables, out))


# -- parts -----------------------------------------------------------------------------------------------------------------


def _pair(rows: int, cols: int, fmt: Format) -> tuple[Tensor, Tensor]:
    return Tensor("source", rows, cols, fmt), Tensor("target", rows, cols, fmt, output=True)


def _dealt(
    on: Machine, units: Sequence[MoverRow], passes: tuple[Pass, ...], each: int = 0, by_columns: bool = False
) -> list[MoverShare]:
    """Consecutive units over the cores in order: so many `each`, or equal shares, the first cores one more."""
    (columns, rows), more = on.grid, 0
    if not each:
        each, more = divmod(len(units), on.cores)
    shares = []
    for y in range(rows):
        for x in range(columns):
            i = x * rows + y if by_columns else y * columns + x
            first = i * each + min(i, more)
            mine = units[first : first + each + (i < more)]
            reads, writes = (tuple(portion for one in mine for portion in one[side]) for side in (0, 1))
            shares.append(MoverShare(reads, writes, passes, len(mine)))
    return shares
