"""What stands around attention, by how tt-metal moves its tiles: who reads how many tiles at a barrier, and who writes them.

Cycles only. Sources: the program factories of nlp_create_qkv_heads (086f5b2f), nlp_concat_heads, rotary_embedding_llama,
layernorm and binary_ng of tt-metal.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tensix_sim.arch import Machine
from tensix_sim.formats import BFLOAT16, FORMATS, Format
from tensix_sim.gather.run import run_alone
from tensix_sim.kernels import movers
from tensix_sim.kernels.mover_verbs import Doing
from tensix_sim.kernels.movers import Burst, MoverShare, Pass
from tensix_sim.program import BufferSpec, MemoryKind, Program, Tensor

AT_ONCE = 8  # tiles of a row that a norm reads at a barrier at most
Places = tuple[MemoryKind, ...]  # of the inputs, then of the output
IN_DRAM: Places = ("dram", "dram")
SHORT = 8  # heads and rows of a core for which cosines are read once


class MoverRow(NamedTuple):
    """What is read and written for a row of tiles."""

    reads: tuple[Burst, ...]
    writes: tuple[Burst, ...]


def cycles(on: Machine, program: Program, launch: int = 0) -> int:
    """Cycles of a mover's program."""
    return run_alone("", on, program, launch).cycles


# -- moves ---------------------------------------------------------------------------------------------------------------


def create_heads(
    on: Machine, rows: int, heads: int, head_tiles: int, dtype: str, batch: int = 1, turned: tuple[int, int] = (0, 0),
    memories: Places = IN_DRAM,
) -> Program:  # fmt: skip
    """Rows of `heads` heads, each row's tiles one by one to their heads; a row of tiles a core, column by column of cores.

    Each of `batch` batches has `rows` rows of tiles. Heads from the first of `turned` up to the last are transposed on the way.
    """
    fmt, width, (first, last) = FORMATS[dtype], heads * head_tiles, turned
    source, target = _pair(batch * rows, width, fmt, memories)
    kinds = ["k" if first <= h < last else "tiles" for h in range(heads) for _ in range(head_tiles)]

    def row(r: int) -> MoverRow:
        pages = [_page_of_head(r, h, rows, heads) * head_tiles + d for h in range(heads) for d in range(head_tiles)]
        reads = tuple(Burst(kind, source, (r * width + i,)) for i, kind in enumerate(kinds))
        writes = zip(kinds, pages, strict=True)
        return MoverRow(reads, tuple(Burst("turned" if kind == "k" else kind, target, (page,)) for kind, page in writes))

    if first == last:
        return _moved(on, batch * rows, row, 4, (source, target))
    passes = (Pass("copy", "k", None, "turned", 1, 0, 1),) * ((last - first) * head_tiles)
    buffers = (
        BufferSpec("tiles", 4, fmt, "reader", "writer"),
        BufferSpec("k", 4, fmt, "reader", "compute"),
        BufferSpec("turned", 4, fmt, "compute", "writer"),
    )
    shares = _dealt(on, [row(r) for r in range(batch * rows)], passes, by_columns=True)
    return movers.program(on.grid, shares, buffers, (source, target))


def concat_heads(
    on: Machine, rows: int, heads: int, head_tiles: int, dtype: str, batch: int = 1, memories: Places = IN_DRAM
) -> Program:
    """Heads side by side: a head's tiles of a row are read at once, and written one by one."""
    width = heads * head_tiles
    source, target = _pair(batch * rows, width, FORMATS[dtype], memories)

    def row(r: int) -> MoverRow:
        places = [_page_of_head(r, h, rows, heads) * head_tiles for h in range(heads)]
        reads = tuple(Burst("tiles", source, tuple(range(place, place + head_tiles))) for place in places)
        return MoverRow(reads, tuple(Burst("tiles", target, (r * width + i,)) for i in range(width)))

    return _moved(on, batch * rows, row, 2 * width, (source, target))


def _page_of_head(row: int, head: int, rows: int, heads: int) -> int:
    """The row of tiles of a tensor [batch, heads, rows] that a row of a sequence has in a head."""
    return (row // rows * heads + head) * rows + row % rows


def _moved(on: Machine, rows: int, row: Callable[[int], MoverRow], held: int, tensors: tuple[Tensor, Tensor]) -> Program:
    buffers = (BufferSpec("tiles", held, tensors[0].format, "reader", "writer"),)
    return movers.program(on.grid, _dealt(on, [row(r) for r in range(rows)], (), by_columns=True), buffers, tensors)


# -- element by element ----------------------------------------------------------------------------------------------------


def binary(
    on: Machine, tiles: int, dtypes: Sequence[str], multiply: bool = False, of: tuple[int, int] | None = None,
    memories: Places = ("dram", "dram", "dram"),
) -> Program:  # fmt: skip
    """A sum or a product of two tensors, a tile at a time, in equal shares; formats of both and of the result.

    Both have all tiles, or as many as `of` says, which serve again from the first one on: a row, or one for all batches.
    """
    sizes = *(of or (tiles, tiles)), tiles
    a, b, out = (FORMATS[dtype] for dtype in dtypes)
    x, y, target = (
        Tensor(name, size, 1, fmt, memory, output=name == "out")
        for name, size, fmt, memory in zip(("a", "b", "out"), sizes, (a, b, out), memories, strict=True)
    )
    pairs = [(Burst("a", x, (i % x.pages,)), Burst("b", y, (i % y.pages,))) for i in range(tiles)]
    units = [MoverRow(pair, (Burst("out", target, (i,)),)) for i, pair in enumerate(pairs)]
    passes = (Pass("multiply" if multiply else "add", "a", "b", "out", 1, 1, 1),)
    buffers = (
        BufferSpec("a", 2, a, "reader", "compute"),
        BufferSpec("b", 2, b, "reader", "compute"),
        BufferSpec("out", 2, out, "compute", "writer"),
    )
    return movers.program(on.grid, _dealt(on, units, passes), buffers, (x, y, target))


def unary(on: Machine, tiles: int, kind: Doing, dtypes: Sequence[str], memories: Places = IN_DRAM) -> Program:
    """A tile after the other, in equal shares: copied into another format, or added to or multiplied by a number."""
    (before, after), (source, target) = (FORMATS[dtype] for dtype in dtypes), memories
    x, out = Tensor("a", tiles, 1, before, source), Tensor("out", tiles, 1, after, target, output=True)
    units = [MoverRow((Burst("a", x, (i,)),), (Burst("out", out, (i,)),)) for i in range(tiles)]
    buffers = (BufferSpec("a", 2, before, "reader", "compute"), BufferSpec("out", 2, after, "compute", "writer"))
    return movers.program(on.grid, _dealt(on, units, (Pass(kind, "a", None, "out", 1, 0, 1),)), buffers, (x, out))


def copy(on: Machine, tiles: int, dtype: str, memories: Places = IN_DRAM) -> Program:
    """A tile after the other to another place, in equal shares."""
    x, out = _pair(tiles, 1, FORMATS[dtype], memories)
    units = [MoverRow((Burst("a", x, (i,)),), (Burst("a", out, (i,)),)) for i in range(tiles)]
    return movers.program(on.grid, _dealt(on, units, ()), (BufferSpec("a", 2, x.format, "reader", "writer"),), (x, out))


# -- rows ------------------------------------------------------------------------------------------------------------------


def norm(
    on: Machine, rows: int, width: int, dtype: str, centred: bool = False, wide_dst: bool = False,
    beside: Sequence[str] = ("weight",), memories: Places = IN_DRAM,
) -> Program:  # fmt: skip
    """Each row of tiles over the root of its mean square, `centred` about its mean first.

    `beside` may have a `weight` and a `bias`, of a row and read once, and a `residual`, which is added first.
    """
    fmt, bf16, (source, target) = FORMATS[dtype], BFLOAT16, memories
    at_once = next(n for n in range(AT_ONCE // (2 if wide_dst else 1), 0, -1) if width % n == 0)
    out = Tensor("out", rows, width, fmt, target, output=True)
    inputs = [Tensor(name, rows, width, fmt, source) for name in ("x", "residual") if name == "x" or name in beside]
    once = [Tensor(name, 1, width, bf16) for name in ("weight", "bias") if name in beside]

    def portions(tensor: Tensor, row: int) -> tuple[Burst, ...]:
        places = range(row * width, (row + 1) * width)
        return tuple(Burst(tensor.name, tensor, tuple(places[i : i + at_once])) for i in range(0, width, at_once))

    units = [MoverRow(tuple(one for x in inputs for one in portions(x, r)), portions(out, r)) for r in range(rows)]
    first, kept = len(units[0].reads), tuple(one for tensor in once for one in portions(tensor, 0))
    shares = _dealt(on, units, _norm_passes(width, at_once, centred, beside))
    shares = [replace(s, reads=(*s.reads[:first], *kept, *s.reads[first:])) if s.units else s for s in shares]
    steps = {one.out: one.tiles for s in shares for one in s.passes if one.out != "out"}
    buffers = (
        *(BufferSpec(tensor.name, width, fmt, "reader", "compute") for tensor in inputs),
        *(BufferSpec(tensor.name, width, bf16, "reader", "compute", resident=True) for tensor in once),
        *(BufferSpec(name, _held(name, tiles), bf16, "compute", "compute") for name, tiles in steps.items()),
        BufferSpec("out", 2 * at_once, fmt, "compute", "writer"),
    )
    return movers.program(on.grid, shares, buffers, (*inputs, *once, out))


def _held(name: str, tiles: int) -> int:
    """Tiles of a buffer between two steps: one of a sum, two portions of what is scaled, else a row."""
    return 1 if name in ("mean", "factor") else 2 * tiles if name in ("scaled", "weighted") else tiles


def _norm_passes(width: int, at_once: int, centred: bool, beside: Sequence[str]) -> tuple[Pass, ...]:
    """What a row goes through: sums of all of it, then its portions one by one, so that they can be written."""
    x = "sum" if "residual" in beside else "x"
    of = "centred" if centred else x
    passes = [Pass("add", "x", "residual", "sum", width, width, at_once)] if x == "sum" else []
    if centred:
        passes += [
            Pass("reduce", x, None, "mean", width, 0, width, (x,)),
            Pass("add", x, "mean", "centred", width, 1, at_once),
        ]
    passes += [
        Pass("multiply", of, of, "squares", width, width, at_once, (of,)),
        Pass("reduce", "squares", None, "factor", width, 0, width),
    ]
    steps: tuple[tuple[Doing, str], ...] = (("multiply", "weight"), ("add", "bias"))
    more = [step for step in steps if step[1] in beside]
    names = [*("scaled", "weighted")[: len(more)], "out"]
    for i in range(0, width, at_once):
        last = i + at_once == width
        passes.append(Pass("multiply", of, "factor", names[0], at_once, 1, at_once, () if last else ("factor",)))
        for (kind, name), source, target in zip(more, names, names[1:], strict=False):
            passes.append(Pass(kind, source, name, target, at_once, width, at_once, (name,)))
    return tuple(passes)


def rotary(on: Machine, batch: int, heads: int, rows: int, head_tiles: int, dtype: str, memories: Places = IN_DRAM) -> Program:
    """Rotary embedding of [batch, heads, rows, head_tiles] tiles: rows are dealt, each for all heads.

    A core reads cosines and sines once a row, or again for every head where it has many; the matrix that turns pairs once.
    """
    fmt, width, bf16 = FORMATS[dtype], head_tiles, BFLOAT16
    batches = min(batch, on.cores)
    each = -(-rows // min(on.cores // batches, rows))
    again = each * heads > SHORT
    (source, target), tiles = memories, (batch * heads * rows, width)
    x, out = Tensor("x", *tiles, fmt, source), Tensor("out", *tiles, fmt, target, output=True)
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


def rotary_halves(on: Machine, heads: int, rows: int, head_tiles: int, dtype: str, memories: Places = IN_DRAM) -> Program:
    """Rotary embedding of halves of rows: rows of all heads in equal shares, each tile read with its partner in the other half.

    Tables of cosines and sines are read for every row. Source: tt-metal's rotary_embedding, the older op.
    """
    fmt, bf16, (source, target), tiles = FORMATS[dtype], BFLOAT16, memories, (heads * rows, head_tiles)
    x, out = Tensor("x", *tiles, fmt, source), Tensor("out", *tiles, fmt, target, output=True)
    tables = Tensor("tables", 2 * rows, head_tiles, bf16)

    def row(r: int) -> MoverRow:
        reads: list[Burst] = []
        for d in range(head_tiles):
            other = (d + head_tiles // 2) % head_tiles
            reads += [Burst("x", x, (r * head_tiles + d,)), Burst("other", x, (r * head_tiles + other,))]
            places = (r % rows * head_tiles + d, (rows + r % rows) * head_tiles + d)
            reads += [Burst(name, tables, (page,)) for name, page in zip(("cos", "sin"), places, strict=True)]
        return MoverRow(tuple(reads), tuple(Burst("out", out, (r * head_tiles + d,)) for d in range(head_tiles)))

    passes = (
        Pass("multiply", "other", "sin", "of sin", 1, 1, 1),
        Pass("multiply", "x", "cos", "of cos", 1, 1, 1),
        Pass("add", "of sin", "of cos", "out", 1, 1, 1),
    ) * head_tiles
    buffers = (
        *(
            BufferSpec(name, 2, form, "reader", "compute")
            for name, form in (("x", fmt), ("other", fmt), ("cos", bf16), ("sin", bf16))
        ),
        *(BufferSpec(name, 1, bf16, "compute", "compute") for name in ("of sin", "of cos")),
        BufferSpec("out", 2, fmt, "compute", "writer"),
    )
    return movers.program(on.grid, _dealt(on, [row(r) for r in range(heads * rows)], passes), buffers, (x, tables, out))


# -- parts -----------------------------------------------------------------------------------------------------------------


def _pair(rows: int, cols: int, fmt: Format, memories: Places) -> tuple[Tensor, Tensor]:
    return Tensor("source", rows, cols, fmt, memories[0]), Tensor("target", rows, cols, fmt, memories[1], output=True)


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
