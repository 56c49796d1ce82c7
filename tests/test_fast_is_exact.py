"""`fast` is `exact`, nearly: every verb, on operands that no kernel of ours would make.

Columns are whole tiles with junk or zeros beside column 0, numbers are tiny, huge, negative or zero, blocks are rectangular,
formats are mixed as the docstrings allow. How far apart the two may be follows from the formats: a step of what is written,
a step of DST (8 bits, or 24) a product, and the 10 bits to which the FPU aligns. `TENSIX_SIM_OPERANDS` sets how many draws.
"""

import os
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT4_B, BFLOAT8_B, BFLOAT16, FLOAT32, Format, Values, to_format
from tensix_sim.hw import Chip, SimulationError
from tensix_sim.hw.arithmetic import Arithmetic, alone
from tensix_sim.kernel_api import (
    Add,
    BufferSpec,
    Compute,
    ComputeConfig,
    Kernel,
    Matmul,
    Matrix,
    MulColumn,
    Program,
    RowMax,
    RowSum,
    Tensor,
    launch,
)  # fmt: skip
from tensix_sim.kernels.sdpa.row_verbs import (
    AddMaskRows,
    ExpDifferenceRows,
    MatmulRows,
    MaxRows,
    Rescale,
    StampRows,
    SubExpRows,
    SumReciprocal,
    init_exp,
)  # fmt: skip
from tensix_sim.kernels.sdpa.verbs import AddTo, ExpDifference, MulSums, Reciprocal, Stamp, SubExp
from tensix_sim.sdpa.stages import LOSSES
from tensix_sim.trace import Trace

DRAWS = max(12, int(os.environ.get("TENSIX_SIM_OPERANDS", "0")) // 1000)
BOARDS = {"wormhole_b0": machine("n150"), "blackhole": machine("p150b")}
NUMBERS = Tensor("numbers", 1, 1, BFLOAT16, values=np.zeros((32, 32), np.float32))  # without any a program has no values
WIDE, ANY = (BFLOAT16, FLOAT32), (BFLOAT16, FLOAT32, BFLOAT8_B, BFLOAT4_B)
Sizes = NDArray[np.float64]
Slack = tuple[Values, Sizes]  # what `exact` and `fast` may differ from each other, before they are packed


class Verb(NamedTuple):
    """One call: buffers with format and tiles, what they hold, the kernel, and what is looked at afterwards."""

    buffers: dict[str, tuple[Format, int]]
    held: dict[str, Values]
    call: Callable[[Compute], Coroutine[Any, Any, dict[str, Values]]]
    slack: Callable[[dict[str, Values]], dict[str, Sizes]]


class Draw:
    """A random setting: chip, compute config, and operands of a format."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.chip = self.one_of(*BOARDS)
        self.wide, self.approximate = bool(self.rng.integers(2)), bool(self.rng.integers(2))
        self.fidelity = self.one_of("LoFi", "HiFi2", "HiFi3", "HiFi4")
        self.phases = ComputeConfig(self.fidelity).phases
        self.dst = 0.0 if self.wide else 2.0**-7  # a step of DST

    def one_of(self, *choices: Any) -> Any:
        """One of them."""
        return choices[self.rng.integers(len(choices))]

    def size(self, most: int = 4) -> int:
        """A number of tiles."""
        return int(self.rng.integers(1, most + 1))

    def block(self, fmt: Format, rows: int, cols: int, spread: float | None = None) -> Values:
        """Tiles: of one size or of all sizes, some with zeros, rows of ones, ties; with `spread`, normal of that width."""
        shape = (rows, 32, cols, 32)
        x = self.rng.standard_normal(shape)
        if spread is not None:
            return to_format((spread * x).astype(np.float32), fmt)
        kind = self.rng.integers(4)
        if kind == 1:
            x *= 2.0 ** self.rng.integers(-20, 20)
        elif kind == 2:
            x *= np.exp2(self.rng.integers(-12, 12, shape))
        elif kind == 3:
            x = np.sign(x) * (1 + self.rng.integers(0, 256, shape) / 256)
        x[self.rng.random(shape) < 0.05] = 0
        return to_format(x.astype(np.float32), fmt)

    def column(self, fmt: Format, rows: int, spread: float | None = None) -> Values:
        """A column as a whole tile: beside column 0 zeros, other numbers, or numbers too large for the first."""
        x = self.block(fmt, rows, 1, spread)
        junk = self.rng.integers(3)
        if junk == 0:
            x[..., 1:] = 0
        elif junk == 1 and not fmt.is_block:
            x[..., 1:] *= 1024
        return x

    def run(self, verb: Verb, exact: bool) -> dict[str, Values]:
        """What is looked at after the call."""
        seen: dict[str, Values] = {}

        async def kernel(t: Compute, _: None) -> None:
            for name, block in verb.held.items():
                x = t.matrix(name, block.shape[0], block.shape[2])
                await t.reserve(x)
                t.push(x)
                x.cb.values.blocks.append(block.copy())
            seen.update(await verb.call(t))

        buffers = tuple(BufferSpec(name, tiles, fmt, "compute", "compute") for name, (fmt, tiles) in verb.buffers.items())
        config = ComputeConfig(self.fidelity, self.wide, self.approximate, exact)
        program = Program((1, 1), buffers, (Kernel("compute", kernel, [None]),), (NUMBERS,), config)
        chip = Chip(BOARDS[self.chip], program, Trace("off"))
        launch(chip)
        with np.errstate(all="ignore"):
            chip.engine.run()
        return {name: np.array(block, np.float32) for name, block in seen.items()}

    def into(self, fmt: Format, x: Values, slack: Sizes | float) -> Sizes:
        """With a step of the format that is written."""
        size = np.abs(x).astype(np.float64)
        if fmt.is_block:
            groups = size.reshape(-1, 16).max(axis=1).repeat(16).reshape(x.shape) if x.shape[-1] > 1 else size
            return slack + groups * 2.0 ** (1 - fmt.magnitude_bits)
        return slack + size * (2.0**-21 if fmt is FLOAT32 and self.wide else 2.0**-7)

    def product(self, a: Values, b: Values) -> Sizes:
        """What sums of products may be apart: a of SrcB [m, 32, k, 32], b of SrcA [k, 32, n, 32]."""
        rows, cols = a.shape[0] * 32, b.shape[2] * 32
        sums = np.abs(a.reshape(rows, -1)).astype(np.float64) @ np.abs(b.reshape(-1, cols)).astype(np.float64)
        return (sums * (2.0**-8 + self.dst / 2 * 2 * a.shape[2] * self.phases)).reshape(a.shape[0], 32, -1, 32)

    def scaled(self, x: Values, column: Values) -> Sizes:
        """What x * column may be apart."""
        return np.abs(x.astype(np.float64) * column[..., :1]) * (2.0**-9 + self.dst * self.phases)

    def difference(self, x: Values, column: Values, scale: float) -> Sizes:
        """How far exponentials may be apart, as a ratio: by x - column, and by a step of their own."""
        x, column = x.astype(np.float64), column[..., :1].astype(np.float64)
        apart = np.maximum(np.abs(x), np.abs(column)) * (2.0**-10 + self.dst) * scale * 2
        return np.expm1(np.minimum(apart, 1)) + 2.0**-7

    def added(self, fmt: Format, onto: Values, x: Sizes, slack: Sizes) -> Sizes:
        """What an addition in L1 to `onto` of `x` may be apart."""
        return slack + (np.abs(onto) + x) * (2.0**-21 if fmt is FLOAT32 and self.wide else 2.0**-6)


def front(t: Compute, name: str, rows: int, cols: int) -> Values:
    """The tiles of a buffer."""
    return t.matrix(name, rows, cols).block()


# -- blocks ----------------------------------------------------------------------------------------------------------------


def matmul(d: Draw) -> Verb:
    """Rectangular, transposed or not, added in L1 or not."""
    m, n, k = d.size(2), d.size(3), d.size(2)
    fa, fb, accumulate, turned = d.one_of(*ANY), d.one_of(*ANY), bool(d.rng.integers(2)), bool(d.rng.integers(2))
    fo = d.one_of(*(WIDE if accumulate else ANY))
    a, b, old = d.block(fa, m, k), d.block(fb, k, n), d.block(fo, m, n)

    async def call(t: Compute) -> dict[str, Values]:
        right = t.matrix("b", k, n, transposed=turned)
        await t.do(Matmul, t.matrix("a", m, k), right, t.matrix("out", m, n), (1, 1), accumulate)
        return {"out": front(t, "out", m, n)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        right = b.swapaxes(1, 3) if turned else b
        apart = d.product(a, np.ascontiguousarray(right))
        return {"out": d.added(fo, old, np.abs(found["out"] - old), apart) if accumulate else d.into(fo, found["out"], apart)}

    held = {"a": a, "b": b} | ({"out": old} if accumulate else {})
    return Verb({"a": (fa, m * k), "b": (fb, k * n), "out": (fo, m * n)}, held, call, slack)


def sum_columns(d: Draw) -> Verb:
    """Rows with any numbers in all 32 columns."""
    m, fmt = d.size(), d.one_of(*ANY)
    x = d.block(fmt, m, 1)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(RowSum, t.matrix("x", m), t.matrix("ones"), 1)
        return {"x": front(t, "x", m, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        ones = np.ones((1, 32, 1, 32), np.float32)
        return {"x": d.into(fmt, found["x"], d.product(x, ones)[..., :1])}

    return Verb({"x": (fmt, m), "ones": (BFLOAT16, 1)}, {"x": x, "ones": np.ones((1, 32, 1, 32), np.float32)}, call, slack)


def max_rows(d: Draw) -> Verb:
    """With maxima before or not: equal but for what is cut off."""
    m, n, fx, fo = d.size(), d.size(), d.one_of(*ANY), d.one_of(*ANY)
    x, old = d.block(fx, m, n), d.column(fo, m) if d.rng.integers(2) else None

    async def call(t: Compute) -> dict[str, Values]:
        before = None if old is None else t.matrix("old", m)
        await t.do(RowMax, t.matrix("x", m, n), t.matrix("scaler"), t.matrix("out", m), 1, before)
        return {"out": front(t, "out", m, 1)}

    held = {"x": x, "scaler": np.ones((1, 32, 1, 32), np.float32)} | ({} if old is None else {"old": old})
    buffers = {"x": (fx, m * n), "scaler": (BFLOAT16, 1), "out": (fo, m), "old": (fo, m)}
    return Verb(buffers, held, call, lambda found: {"out": np.zeros(found["out"].shape)})


def sub_exp(d: Draw) -> Verb:
    """Scores above the column as well as below it, and far away on both sides."""
    m, n, fx, fc, fs = d.size(2), d.size(), d.one_of(*ANY), d.one_of(*ANY), d.one_of(*WIDE)
    x, column, scale = d.block(fx, m, n, d.one_of(1, 8, 1e4)), d.column(fc, m, d.one_of(1, 8)), d.one_of(0.0884, 1.0)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(SubExp, t.matrix("x", m, n), t.matrix("column", m), t.matrix("sums", m), 1, scale)
        return {"x": front(t, "x", m, n), "sums": front(t, "sums", m, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        return exponentials(d, fx, fs, x, column, scale, found)

    return Verb({"x": (fx, m * n), "column": (fc, m), "sums": (fs, m)}, {"x": x, "column": column}, call, slack)


def exponentials(
    d: Draw, fx: Format, fs: Format, x: Values, column: Values, scale: float, found: dict[str, Values]
) -> dict[str, Sizes]:
    """What `sub_exp` may be apart, in x and in the sums of its tiles."""
    apart = d.into(fx, found["x"], found["x"] * d.difference(x, column, scale) + 1e-36)
    sums = apart.sum(axis=2, keepdims=True)
    return {
        "x": apart,
        "sums": sums + found["x"].sum(axis=2, keepdims=True) * x.shape[2] * (2.0**-6 if fs is BFLOAT16 else 2.0**-7),
    }


def exp_difference(d: Draw) -> Verb:
    """Of columns with junk beside them."""
    m, fa, fb, fo = d.size(), d.one_of(*ANY), d.one_of(*ANY), d.one_of(*ANY)
    a, b, scale = d.column(fa, m, 8), d.column(fb, m, 8), d.one_of(0.0884, 1.0)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(ExpDifference, *(t.matrix(name, m) for name in ("a", "b", "out")), scale)
        return {"out": front(t, "out", m, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        return {"out": d.into(fo, found["out"], found["out"] * d.difference(a[..., :1], b, scale))}

    return Verb({"a": (fa, m), "b": (fb, m), "out": (fo, m)}, {"a": a, "b": b}, call, slack)


def reciprocal(d: Draw) -> Verb:
    """Of negative numbers and of zero, too."""
    m, fmt = d.size(), d.one_of(*ANY)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(Reciprocal, t.matrix("x", m))
        return {"x": front(t, "x", m, 1)}

    return Verb(
        {"x": (fmt, m)}, {"x": d.column(fmt, m)}, call,
        lambda found: {"x": d.into(fmt, found["x"], np.abs(found["x"]) * 2.0**-20)},
    )  # fmt: skip


def mul_columns(d: Draw) -> Verb:
    """A whole tile times the first column of another."""
    m, fx, fc = d.size(), d.one_of(*ANY), d.one_of(*ANY)
    x, column = d.block(fx, m, 1), d.column(fc, m)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(MulSums, t.matrix("x", m), t.matrix("column", m))
        return {"x": front(t, "x", m, 1)}

    return Verb(
        {"x": (fx, m), "column": (fc, m)}, {"x": x, "column": column}, call,
        lambda found: {"x": d.into(fx, found["x"], d.scaled(x, column))},
    )  # fmt: skip


def scale_rows(d: Draw) -> Verb:
    """A block times the first column of a tile, added in L1 or not."""
    m, n, fx, fc, accumulate = d.size(2), d.size(), d.one_of(*ANY), d.one_of(*ANY), bool(d.rng.integers(2))
    fo = d.one_of(*(WIDE if accumulate else ANY))
    x, column, old = d.block(fx, m, n), d.column(fc, m), d.block(fo, m, n)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(MulColumn, t.matrix("x", m, n), t.matrix("column", m), t.matrix("out", m, n), 1, accumulate)
        return {"out": front(t, "out", m, n)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        apart = d.scaled(x, column)
        sizes = np.abs(x * column[..., :1].astype(np.float64))
        return {"out": d.added(fo, old, sizes, apart) if accumulate else d.into(fo, found["out"], apart)}

    held = {"x": x, "column": column} | ({"out": old} if accumulate else {})
    return Verb({"x": (fx, m * n), "column": (fc, m), "out": (fo, m * n)}, held, call, slack)


def sums(d: Draw, a: Values, b: Values) -> Sizes:
    """What a + b may be apart."""
    return np.maximum(np.abs(a), np.abs(b)).astype(np.float64) * (2.0**-10 + d.dst)


def add(d: Draw) -> Verb:
    """Formats mixed, operands that cancel."""
    n, fa, fb, fo = d.size(8), d.one_of(*ANY), d.one_of(*ANY), d.one_of(*ANY)
    a = d.block(fa, 1, n)
    b = to_format(-a, fb) if d.rng.integers(4) == 0 else d.block(fb, 1, n)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(Add, *(t.matrix(name, 1, n) for name in ("a", "b", "out")))
        return {"out": front(t, "out", 1, n)}

    buffers = {"a": (fa, n), "b": (fb, n), "out": (fo, n)}
    return Verb(buffers, {"a": a, "b": b}, call, lambda found: {"out": d.into(fo, found["out"], sums(d, a, b))})


def add_to(d: Draw) -> Verb:
    """In place; one of them may be a column that a verb made, and then the sum is one."""
    m, fx, fy = d.size(), d.one_of(*ANY), d.one_of(*ANY)
    x, y = d.block(fx, m, 1), d.block(fy, m, 1)
    x, y = (x[..., :1], y) if d.rng.integers(3) == 0 else (x, y)

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(AddTo, t.matrix("x", m), t.matrix("y", m))
        return {"x": front(t, "x", m, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        return {"x": d.into(fx, found["x"], sums(d, x, y[..., : x.shape[3]]))}

    return Verb({"x": (fx, m), "y": (fy, m)}, {"x": x, "y": y}, call, slack)


def stamp(d: Draw) -> Verb:
    """Masks of any numbers, and of minus infinity."""
    m, n, ft, fo = d.size(2), d.size(), d.one_of(*ANY), d.one_of(*WIDE)
    tiles, onto = d.block(ft, 1, 2), d.block(fo, m, n)
    tiles[0, :, 1] = np.where(d.rng.random((32, 32)) < 0.5, -np.inf, 0)
    marks = tuple([(int(d.rng.integers(2)), row, range(n)) for row in range(m)])

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(Stamp, t.matrix("tiles", 1, 2), t.matrix("onto", m, n), marks, 1)
        return {"onto": np.maximum(front(t, "onto", m, n), -(2.0**100))}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        return {"onto": d.into(fo, found["onto"], 0.0 if d.wide or ft is not FLOAT32 else np.abs(tiles).max() * 2.0**-7)}

    return Verb({"tiles": (ft, 2), "onto": (fo, m * n)}, {"tiles": tiles, "onto": onto}, call, slack)


def sum_reciprocal(d: Draw) -> Verb:
    """Sums of positive numbers, or of negative ones."""
    fx, fo = d.one_of(*ANY), d.one_of(*ANY)
    x = np.abs(d.block(fx, 1, 1)) * np.float32(d.one_of(1, -1))

    async def call(t: Compute) -> dict[str, Values]:
        await t.do(SumReciprocal, *map(t.matrix, ("x", "ones", "out")))
        return {"out": front(t, "out", 1, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        return {"out": d.into(fo, found["out"], np.abs(found["out"]) * (2.0**-6 + 2 * d.phases * d.dst))}

    return Verb(
        {"x": (fx, 1), "ones": (BFLOAT16, 1), "out": (fo, 1)}, {"x": x, "ones": np.ones((1, 32, 1, 32), np.float32)}, call, slack
    )


# -- rows of matrices ------------------------------------------------------------------------------------------------------------


def filled(matrix: Matrix, block: Values) -> Matrix:
    """A matrix that holds a block."""
    matrix.cb.values.grid(matrix.cols, matrix.width)[:] = block[..., : matrix.width]
    return matrix


def multiply(d: Draw) -> Verb:
    """Some rows of some columns, in pieces or not."""
    m, n, k, pieces, turned = d.size(3), d.size(3), 2 * d.size(2), d.one_of(1, 2), bool(d.rng.integers(2))
    fa, fb, fo = d.one_of(*ANY), d.one_of(*ANY), d.one_of(*(WIDE if pieces > 1 else ANY))
    a, b = d.block(fa, m, k), d.block(fb, k, n)

    async def call(t: Compute) -> dict[str, Values]:
        left, right, out = filled(t.matrix("a", m, k), a), filled(t.matrix("b", k, n, turned), b), t.matrix("out", m, n)
        for row in range(m):
            await t.do(MatmulRows, left, right, out, range(row, row + 1), n, k, 1, pieces)
        return {"out": out.values(range(m))}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        apart = d.product(a, np.ascontiguousarray(b.swapaxes(1, 3) if turned else b))
        half = np.abs(a).reshape(m * 32, -1).astype(np.float64) @ np.abs(b.swapaxes(1, 3) if turned else b).reshape(k * 32, -1)
        extra = half.reshape(apart.shape) * (2.0**-6 if not (fo is FLOAT32 and d.wide) else 2.0**-21) if pieces > 1 else 0.0
        return {"out": d.into(fo, found["out"], apart + extra)}

    return Verb({"a": (fa, m * k), "b": (fb, k * n), "out": (fo, m * n)}, {"a": a, "b": b}, call, slack)


def row_max(d: Draw) -> Verb:
    """Some columns of some rows."""
    m, n, fx, fo = d.size(), 1 + d.size(3), d.one_of(*ANY), d.one_of(*ANY)
    x, old = d.block(fx, m, n), d.column(fo, m)
    before = bool(d.rng.integers(2))

    async def call(t: Compute) -> dict[str, Values]:
        block, out, older = filled(t.matrix("x", m, n), x), t.column("out", m), filled(t.column("old", m), old)
        for row in range(m):
            await t.do(MaxRows, block, t.matrix("scaler"), out, range(row, row + 1), n - 1, older if before else None)
        return {"out": out.values(range(m))}

    held = {"x": x, "old": old, "scaler": np.ones((1, 32, 1, 32), np.float32)}
    buffers = {"x": (fx, m * n), "scaler": (BFLOAT16, 1), "out": (fo, m), "old": (fo, m)}
    return Verb(buffers, held, call, lambda found: {"out": np.zeros(found["out"].shape)})


def mark(d: Draw) -> Verb:
    """As `stamp`, onto rows."""
    plain = stamp(d)
    n = plain.held["onto"].shape[2]
    m = plain.held["onto"].shape[0]

    async def call(t: Compute) -> dict[str, Values]:
        onto = filled(t.matrix("onto", m, n), plain.held["onto"])
        marks = tuple([(0, row, range(n)) for row in range(m)])
        await t.do(StampRows, t.matrix("tiles", 1, 2), onto, range(m), marks)
        return {"onto": np.maximum(onto.values(range(m)), -(2.0**100))}

    return plain._replace(call=call)


def add_mask(d: Draw) -> Verb:
    """As `stamp`, a tile onto each tile of some columns of rows."""
    plain = stamp(d)
    onto, tiles = plain.held["onto"], plain.held["tiles"]
    m, n = onto.shape[0], onto.shape[2]
    whole = np.ascontiguousarray(tiles[:, :, np.arange(m * n) % 2].reshape(32, m, n, 32).swapaxes(0, 1))
    some = int(d.rng.integers(1, n + 1))

    async def call(t: Compute) -> dict[str, Values]:
        x = filled(t.matrix("onto", m, n), onto)
        await t.do(AddMaskRows, t.matrix("tiles", m, n), x, range(m), some)
        return {"onto": np.maximum(x.values(range(m)), -(2.0**100))}

    buffers = plain.buffers | {"tiles": (plain.buffers["tiles"][0], m * n)}
    return plain._replace(buffers=buffers, held={"onto": onto, "tiles": whole}, call=call)


def sink_reciprocal(d: Draw) -> Verb:
    """A sum of positive numbers and one weight more."""
    fx, fs, fo = d.one_of(*ANY), d.one_of(*ANY), d.one_of(*ANY)
    x, m, scale = np.abs(d.block(fx, 1, 1)) + np.float32(1), d.column(BFLOAT16, 1), 0.125
    sink = np.broadcast_to(to_format(np.full((1, 32, 1, 16), m.max(), np.float32), fs)[..., :1], (1, 32, 1, 32)).copy()
    x = to_format(x, fx)

    async def call(t: Compute) -> dict[str, Values]:
        most = filled(t.column("m", 1), m)
        await t.do(SumReciprocal, *map(t.matrix, ("x", "ones", "out", "sink")), most, 0, scale)
        return {"out": front(t, "out", 1, 1)}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        apart = d.difference(sink[..., :1], m, scale)
        return {"out": d.into(fo, found["out"], np.abs(found["out"]) * (2.0**-6 + 2 * d.phases * d.dst + apart))}

    buffers = {"x": (fx, 1), "ones": (BFLOAT16, 1), "out": (fo, 1), "sink": (fs, 1), "m": (BFLOAT16, 1)}
    return Verb(buffers, {"x": x, "ones": np.ones((1, 32, 1, 32), np.float32), "sink": sink, "m": m}, call, slack)


def rescale(d: Draw) -> Verb:
    """Two sums, by one column of factors."""
    m, n, fx, fo, fc = d.size(2), d.size(3), d.one_of(*ANY), d.one_of(*WIDE), d.one_of(*ANY)
    x, y, column, old_x, old_y = d.block(fx, m, n), d.block(fx, m, 1), d.column(fc, m), d.block(fo, m, n), d.block(fo, m, 1)

    async def call(t: Compute) -> dict[str, Values]:
        matrices = [filled(t.matrix(name, m, b.shape[2]), b) for name, b in (("x", x), ("y", y))]
        onto = [filled(t.matrix(name, m, b.shape[2]), b) for name, b in (("onto_x", old_x), ("onto_y", old_y))]
        await t.do(Rescale, *matrices, filled(t.column("column", m), column), *onto, range(m))
        return {"x": onto[0].values(range(m)), "y": onto[1].values(range(m))}

    def slack(_: dict[str, Values]) -> dict[str, Sizes]:
        pairs = {"x": (x, old_x), "y": (y, old_y)}
        sizes = {name: np.abs(part * column[..., :1].astype(np.float64)) for name, (part, _) in pairs.items()}
        return {name: d.added(fo, old, sizes[name], d.scaled(part, column)) for name, (part, old) in pairs.items()}

    buffers = {"x": (fx, m * n), "y": (fx, m), "column": (fc, m), "onto_x": (fo, m * n), "onto_y": (fo, m)}
    return Verb(buffers, {"x": x, "y": y, "column": column}, call, slack)


def sub_exp_rows(d: Draw) -> Verb:
    """The same on rows, by the pack thread."""
    plain = sub_exp(d)
    m, n = plain.held["x"].shape[0], plain.held["x"].shape[2]
    scale = 0.25

    async def call(t: Compute) -> dict[str, Values]:
        x, column = filled(t.matrix("x", m, n), plain.held["x"]), filled(t.column("column", m), plain.held["column"])
        sums = t.matrix("sums", m)
        init_exp(t)
        await t.do(SubExpRows, x, column, sums, range(m), n, 1, scale)
        return {"x": x.values(range(m)), "sums": sums.values(range(m))}

    formats = plain.buffers["x"][0], plain.buffers["sums"][0]
    operands = plain.held["x"], plain.held["column"]
    return plain._replace(call=call, slack=lambda found: exponentials(d, *formats, *operands, scale, found))


def exp_difference_rows(d: Draw) -> Verb:
    """The same on rows, by the pack thread."""
    plain = exp_difference(d)
    m, scale = plain.held["a"].shape[0], 0.25

    async def call(t: Compute) -> dict[str, Values]:
        a, b, out = (t.column(name, m) for name in ("a", "b", "out"))
        init_exp(t)
        await t.do(ExpDifferenceRows, filled(a, plain.held["a"]), filled(b, plain.held["b"]), out, range(m), scale)
        return {"out": out.values(range(m))}

    def slack(found: dict[str, Values]) -> dict[str, Sizes]:
        ratio = d.difference(plain.held["a"][..., :1], plain.held["b"], scale)
        return {"out": d.into(plain.buffers["out"][0], found["out"], found["out"] * ratio)}

    return plain._replace(call=call, slack=slack)


DRAWN: dict[Any, Callable[[Draw], Verb]] = {
    Matmul: matmul, RowSum: sum_columns, RowMax: max_rows, SubExp: sub_exp, ExpDifference: exp_difference,
    Reciprocal: reciprocal, MulSums: mul_columns, MulColumn: scale_rows, Add: add, AddTo: add_to, Stamp: stamp,
    SumReciprocal: sum_reciprocal, MatmulRows: multiply, MaxRows: row_max, StampRows: mark, Rescale: rescale,
    SubExpRows: sub_exp_rows, ExpDifferenceRows: exp_difference_rows, AddMaskRows: add_mask,
}  # fmt: skip
VERBS = {verb.__name__: draw for verb, draw in DRAWN.items()} | {"SumReciprocal with a sink": sink_reciprocal}


WRITTEN = {("Rescale", "x"): "onto_x", ("Rescale", "y"): "onto_y"}  # the buffer where it is not the result's name


def check_draws(name: str, draws: int) -> None:
    """Draws of a verb, `fast` against `exact`, and whether what they give is of the format that is written."""
    for seed in range(draws):
        d = Draw(seed)
        verb = VERBS[name](d)
        fast, exact = d.run(verb, exact=False), d.run(verb, exact=True)
        assert fast.keys() == exact.keys()
        formats = {buffer: fmt for buffer, (fmt, _) in verb.buffers.items()}
        with np.errstate(all="ignore"):
            larger = {key: np.maximum(np.abs(fast[key]), np.abs(exact[key])) for key in fast}
            for key, slack in verb.slack(larger).items():
                assert fast[key].shape == exact[key].shape
                for found in (fast[key], exact[key]):
                    fmt = formats[WRITTEN.get((name, key), key)]
                    assert np.array_equal(
                        to_format(alone(found) if found.shape[3] == 1 else found, fmt)[..., : found.shape[3]], found
                    )
                agree = (fast[key] == exact[key]) | (np.abs(fast[key].astype(np.float64) - exact[key]) <= slack)
                if not agree.all():
                    where = tuple(np.argwhere(~agree)[0])
                    pytest.fail(
                        f"{name}, draw {seed}: {key}{list(map(int, where))} is {fast[key][where]} in fast, {exact[key][where]} "
                        f"in exact; {(~agree).sum()} of {agree.size}; {d.chip}, {d.fidelity}, wide {d.wide}, "
                        f"approximate {d.approximate}, {formats}",
                        pytrace=False,
                    )


@pytest.mark.parametrize("name", VERBS)
def test_fast_is_exact_nearly(name: str) -> None:
    """Each element of each result, within what formats and registers allow."""
    check_draws(name, DRAWS)


def test_every_verb_is_drawn() -> None:
    """A new verb of any kernel's or of attention wants its draw here."""
    assert set(DRAWN) == {Add, *LOSSES}


def test_a_product_with_all_of_a_column_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was: each element times its own of the column's tile, right for the columns of SDPA only."""
    right = Arithmetic.multiply

    def elementwise(math: Arithmetic, x: Values, x_format: Format, column: Values, column_format: Format) -> Values:
        if column.shape[-1] == 1:
            return right(math, x, x_format, column, column_format)
        parts = [right(math, x[..., j : j + 1], x_format, column[..., j : j + 1], column_format) for j in range(x.shape[-1])]
        return np.concatenate(parts, axis=-1)

    monkeypatch.setattr(Arithmetic, "multiply", elementwise)
    for name in ("MulSums", "MulColumn"):
        with pytest.raises(pytest.fail.Exception, match="in fast, "):
            check_draws(name, DRAWS)


# -- operands outside a verb's contract ------------------------------------------------------------------------------------------


def refused(buffers: dict[str, tuple[Format, int]], held: dict[str, Values], call: Callable[[Compute], Any]) -> str:
    """The message with which both arithmetics refuse a call."""
    messages = set()
    for exact in (False, True):
        with pytest.raises(SimulationError) as caught:
            Draw(0).run(Verb(buffers, held, call, lambda _: {}), exact)
        messages.add(str(caught.value).splitlines()[0])
    (message,) = messages
    return message


def test_a_column_that_a_verb_made_is_no_tile() -> None:
    """Its other columns are not known: a product that would read them is refused."""
    one = np.ones((1, 32, 1, 32), np.float32)

    async def call(t: Compute) -> None:
        x, scaler, most, out = map(t.matrix, ("x", "scaler", "most", "out"))
        await t.do(RowMax, x, scaler, most, 1)
        await t.do(Matmul, x, most, out, (1, 1))

    buffers = dict.fromkeys(("x", "scaler", "most", "out"), (BFLOAT16, 1))
    assert "most: holds a column, of whose tiles only column 0 is known" in refused(buffers, {"x": one, "scaler": one}, call)


@pytest.mark.parametrize("verb", [Matmul, MulColumn, SubExp, Stamp])
def test_the_packer_does_not_add_in_a_block_format(verb: Any) -> None:
    """A sentence, not numbers that no chip would make."""
    one = np.ones((1, 32, 1, 32), np.float32)

    async def call(t: Compute) -> None:
        x, y, out = map(t.matrix, ("x", "y", "out"))
        operands: dict[Any, tuple[Any, ...]] = {
            Matmul: (x, y, out, (1, 1), True),
            MulColumn: (x, y, out, 1, True),
            SubExp: (x, y, out, 1, 1.0),
            Stamp: (x, out, ((0, 0, range(1)),), 1),
        }
        await t.do(verb, *operands[verb])

    buffers = {"x": (BFLOAT16, 1), "y": (BFLOAT16, 1), "out": (BFLOAT8_B, 1)}
    assert "out: the packer cannot add in bfloat8_b; give it bfloat16 or float32" in refused(buffers, {"x": one, "y": one}, call)
