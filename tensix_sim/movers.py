"""What stands around attention and takes time, by how tt-metal moves its tiles: who reads how many tiles at a barrier, and writes them.

Cycles only. Sources: the program factories of nlp_create_qkv_heads (086f5b2f), nlp_concat_heads, rotary_embedding_llama,
layernorm and binary_ng of tt-metal.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, FORMATS, Format
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import last_end
from tensix_sim.kernels import movers
from tensix_sim.kernels.movers import MoverShare, Pass, Portion
from tensix_sim.program import BufferSpec, Program, Tensor
from tensix_sim.trace import Trace

AT_ONCE = 8  # tiles of a row that a norm reads at a barrier at most
SHORT = 8  # heads and rows of a core for which cosines are read once


class Row(NamedTuple):
    """What is read and written for a row of tiles."""

    reads: tuple[Portion, ...]
    writes: tuple[Portion, ...]


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

    def row(r: int) -> Row:
        pages = [(h * rows + r) * head_tiles + d for h in range(heads) for d in range(head_tiles)]
        reads = tuple(Portion("tiles", source, (r * heads * head_tiles + i,)) for i in range(heads * head_tiles))
        return Row(reads, tuple(Portion("tiles", target, (page,)) for page in pages))

    return _moved(on, rows, row, 4, (source, target))


def concat_heads(on: Machine, rows: int, heads: int, head_tiles: int, dtype: str) -> Program:
    """Heads side by side: a head's tiles of a row are read at once, and written one by one."""
    fmt = FORMATS[dtype]
    source, target = _pair(rows, heads * head_tiles, fmt)

    def row(r: int) -> Row:
        first = r * heads * head_tiles
        reads = [tuple(range((h * rows + r) * head_tiles, (h * rows + r + 1) * head_tiles)) for h in range(heads)]
        writes = tuple(Portion("tiles", target, (first + i,)) for i in range(heads * head_tiles))
        return Row(tuple(Portion("tiles", source, pages) for pages in reads), writes)

    return _moved(on, rows, row, 2 * heads * head_tiles, (source, target))


def _moved(on: Machine, rows: int, row: Callable[[int], Row], held: int, tensors: tuple[Tensor, Tensor]) -> Program:
    buffers = (BufferSpec("tiles", held, tensors[0].format, "reader", "writer"),)
    return movers.program(on.grid, _dealt(on, [row(r) for r in range(rows)], (), by_columns=True), buffers, tensors)


# -- element by element ----------------------------------------------------------------------------------------------------


def binary(on: Machine, tiles: int, dtypes: tuple[str, str, str], multiply: bool = False) -> Program:
    """A sum or a product of two tensors, a tile at a time, in equal shares; formats of both and of the result."""
    a, b, out = (FORMATS[dtype] for dtype in dtypes)
    x, y = Tensor("a", tiles, 1, a), Tensor("b", tiles, 1, b)
    target = Tensor("out", tiles, 1, out, output=True)
    units = [
        Row((Portion("a", x, (i,)), Portion("b", y, (i,))), (Portion("out", target, (i,)),)) for i in range(tiles)
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
    units = [Row((Portion("a", x, (i,)),), (Portion("out", out, (i,)),)) for i in range(tiles)]
    buffers = (BufferSpec("a", 2, x.format, "reader", "compute"), BufferSpec("out", 2, out.format, "compute", "writer"))
    return movers.program(on.grid, _dealt(on, units, (Pass("copy", "a", None, "out", 1, 0, 1),)), buffers, (x, out))


# -- rows ------------------------------------------------------------------------------------------------------------------


def norm(on: Machine, rows: int, width: int, dtype: str, centred: bool = False) -> Program:
    """Each row of tiles over the root of its mean square, or `centred` about its mean first, times a weight; a row a core, row by row."""
    fmt, at_once = FORMATS[dtype], next(n for n in range(AT_ONCE, 0, -1) if width % n == 0)
    x, weight = Tensor("x", rows, width, fmt), Tensor("weight", 1, width, BFLOAT16)
    out = Tensor("out", rows, width, fmt, output=True)

    def portions(buffer: str, tensor: Tensor, first: int) -> tuple[Portion, ...]:
        return tuple(Portion(buffer, tensor, tuple(range(first + i, first + i + at_once))) for i in range(0, width, at_once))

    units = [Row(portions("x", x, r * width), portions("out", out, r * width)) for r in range(rows)]
    passes = [
        Pass("multiply", "x", "x", "squares", width, width, at_once, ("x",)),
        Pass("function", "squares", None, "factor", width, 0, 1),
        Pass("multiply", "x", "factor", "scaled", width, 1, at_once),
        Pass("multiply", "scaled", "weight", "out", width, width, at_once, ("weight",)),
    ]
    if centred:
        passes = [
            Pass("function", "x", None, "mean", width, 0, 1, ("x",)),
            Pass("add", "x", "mean", "centred", width, 1, at_once),
            *(p._replace(x="centred" if p.x == "x" else p.x, y="centred" if p.y == "x" else p.y) for p in passes),
        ]
        passes[2] = passes[2]._replace(kept=("centred",))
    kept = {"x": width, "squares": width, "scaled": width, "weight": width, "factor": 1, "out": 2 * width}
    kept |= {"mean": 1, "centred": width} if centred else {}
    ends = {"x": ("reader", "compute"), "weight": ("reader", "compute"), "out": ("compute", "writer")}
    buffers = tuple(
        BufferSpec(name, tiles, fmt if name in ("x", "out") else BFLOAT16, *ends.get(name, ("compute", "compute")), resident=name == "weight")  # type: ignore[arg-type]
        for name, tiles in kept.items()
    )
    shares = _dealt(on, units, tuple(passes))
    shares = [_with_first(share, portions("weight", weight, 0), width // at_once) for share in shares]
    return movers.program(on.grid, shares, buffers, (x, weight, out))


def _with_first(share: MoverShare, weights: Sequence[Portion], after: int) -> MoverShare:
    """The weight is read once, behind the first row."""
    reads = (*share.reads[:after], *weights, *share.reads[after:]) if share.reads else ()
    return MoverShare(reads, share.writes, share.passes, share.units)


def rotary(on: Machine, batch: int, heads: int, rows: int, head_tiles: int, dtype: str) -> Program:
    """Rotary embedding of [batch, heads, rows, head_tiles] tiles: rows dealt for all heads; cosines once a row, or again for every head."""
    fmt, width = FORMATS[dtype], head_tiles
    cores = on.cores
    batches = min(batch, cores)
    each = -(-rows // min(cores // batches, rows))
    again = each * heads > SHORT
    x, out = Tensor("x", batch * heads * rows, width, fmt), Tensor("out", batch * heads * rows, width, fmt, output=True)
    turn, tables = Tensor("turn", 1, 1, BFLOAT16), Tensor("tables", 2 * rows, width, BFLOAT16)

    def line(buffer: str, tensor: Tensor, row: int) -> Portion:
        return Portion(buffer, tensor, tuple(range(row * width, (row + 1) * width)))

    def row(b: int, h: int, r: int, first: bool) -> Row:
        place = (b * heads + h) * rows + r
        more = (line("cos", tables, r), line("sin", tables, rows + r)) if first or again else ()
        return Row((line("x", x, place), *more), (line("out", out, place),))

    units = [[row(b, h, r, h == 0) for r in range(first, min(first + each, rows)) for h in range(heads)] for b in range(batch) for first in range(0, rows, each)]
    keeps = () if again else ("cos", "sin")
    passes = (
        Pass("product", "x", "turn", "turned", width, 1, width, ("x", "turn")),
        Pass("multiply", "turned", "sin", "of sin", width, width, width, keeps),
        Pass("multiply", "x", "cos", "of cos", width, width, width, keeps),
        Pass("add", "of sin", "of cos", "out", width, width, width),
    )
    if not again and heads * each > 1:  # what is kept for several heads counts as resident
        passes = tuple(p._replace(kept=(*p.kept,)) for p in passes)
    shares = [MoverShare((), (), passes, 0)] * cores
    for i, mine in enumerate(units):
        reads = tuple(portion for one in mine for portion in one.reads)
        writes = tuple(portion for one in mine for portion in one.writes)
        shares[i % cores] = MoverShare((Portion("turn", turn, (0,)), *reads), writes, passes, len(mine))
    held = {"x": 2 * width, "cos": 2 * width, "sin": 2 * width, "turn": 1, "out": 2 * width}
    buffers = (
        *(BufferSpec(n, k, fmt if n == "x" else BFLOAT16, "reader", "compute", n in ("turn", *keeps)) for n, k in held.items() if n != "out"),
        *(BufferSpec(name, width, BFLOAT16, "compute", "compute") for name in ("turned", "of sin", "of cos")),
        BufferSpec("out", 2 * width, fmt, "compute", "writer"),
    )
    return movers.program(on.grid, shares, buffers, (x, turn, tables, out))


# -- parts -----------------------------------------------------------------------------------------------------------------


def _pair(rows: int, cols: int, fmt: Format) -> tuple[Tensor, Tensor]:
    return Tensor("source", rows, cols, fmt), Tensor("target", rows, cols, fmt, output=True)


def _dealt(on: Machine, units: Sequence[Row], passes: tuple[Pass, ...], by_columns: bool = False) -> list[MoverShare]:
    """Consecutive units in equal shares, the first cores one more, over the cores row by row or column by column."""
    (columns, rows), cores = on.grid, on.cores
    each, more = divmod(len(units), cores)
    shares = []
    for y in range(rows):
        for x in range(columns):
            i = x * rows + y if by_columns else y * columns + x
            first = i * each + min(i, more)
            mine = units[first : first + each + (i < more)]
            reads = tuple(portion for one in mine for portion in one.reads)
            shares.append(MoverShare(reads, tuple(portion for one in mine for portion in one.writes), passes, len(mine)))
    return shares
