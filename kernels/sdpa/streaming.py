"""TRISC: flash attention by groups of rows, the exponentials of one group beside the matrix product of another."""

from functools import cache
from typing import NamedTuple

from tensix_sim.kernel_api import Compute, Matrix, MulColumn
from tensix_sim.kernels.sdpa.args import Args, Dst
from tensix_sim.kernels.sdpa.mask import TRAILING, Marks
from tensix_sim.kernels.sdpa.row_verbs import (
    AddMaskRows,
    ExpDifferenceRows,
    MatmulRows,
    MaxRows,
    Rescale,
    StampRows,
    SubExpRows,
    SumReciprocal,
    bracket,
    init_exp,
)
from tensix_sim.kernels.sdpa.running import Matrices, Running, learn_range, learn_start, matrices, running


class Step(NamedTuple):
    """One K chunk of a Q chunk."""

    n: int  # columns of scores that are computed,
    w: int  # and in a window
    marks: Marks
    first: bool
    last: bool
    spill: Matrix | None = None  # column of maxima that takes them to the writer


class Fixed(NamedTuple):
    """What is the same in every step."""

    recip: Matrix
    dst: Dst
    bracket: bool  # its set-up is paid on every chunk, stamped or not
    halves: bool  # maxima may begin with half of the columns,
    diagonal: bool  # of a chunk on which the diagonal is stamped too
    scale: float
    exp_approx: bool
    keeps_q: bool = False  # until the kernel itself gives Q back


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in all phases."""
    x = matrices(t, a, 1)
    A, B = running(t, a.chunk)
    f = fixed(t, a, a.mask.right is not None)
    await learn_start(t, a)
    await t.wait(x.scaler)
    if x.mask:
        await t.wait(x.mask)
    for phase in a.phases:
        for _, _, q in a.chunks():
            await learn_range(t, x)
            row = (phase.q_offset + q) * a.chunk.M
            prev, cur = A, B
            visited = a.mask.k_range(row)
            for j in visited:
                n = a.mask.active(row, j)
                s = Step(n, widest(n, a.dst.qk[1]), a.mask.marks(row, j), j == visited[0], j == visited[-1])
                await t.repeat(step, x, f, s, prev, cur)
                prev, cur = cur, prev
            t.pop(prev.m)
            if x.sink:
                t.pop(x.sink)


def fixed(t: Compute, a: Args, bracket: bool, keeps_q: bool = False) -> Fixed:
    """What a core's steps have in common."""
    windows, rest = divmod(a.chunk.N, a.dst.qk[1])
    halves = windows > 1 and rest == 0 and a.chunk.N % 2 == 0
    return Fixed(t.matrix("recip_scratch"), a.dst, bracket, halves, bracket and not a.mask.window, a.scale, a.exp_approx, keeps_q)


async def step(t: Compute, x: Matrices, f: Fixed, s: Step, prev: Running, cur: Running) -> None:
    """One K chunk: scores, then outputs; h is the rows of a group."""
    P = await scores(t, x, f, s, prev, cur)
    await outputs(t, x, f, s, prev, cur, P)
    if not s.first:
        t.pop(prev.m)
        t.pop(prev.l)


async def scores(t: Compute, x: Matrices, f: Fixed, s: Step, prev: Running, cur: Running) -> SubExpRows:
    """S = Q K^T and m; P of each group of rows beside the next group's product. Returns P of the last group."""
    Q, Kt, S = x.Q, x.Kt, x.S
    init_exp(t)
    await t.reserve(S)
    await t.reserve(cur.l)
    if s.spill:
        await t.reserve(s.spill)
    P = None
    for rows in groups(S.rows, f.dst.qk[0]):
        marks = tuple([mark for mark in s.marks if mark[1] in rows]) if s.marks else ()
        early = f.halves and s.n == S.cols and not x.given and (not marks or (f.diagonal and below(marks, s.n // 2)))
        await t.do(MatmulRows, Q, Kt, S, rows, s.n, Q.cols, s.w, push=True, early=early, beside=P)  # S = Q K^T  [h, n]
        if x.mask and marks:
            await t.do(StampRows, x.mask, S, rows, marks)                                           # S = -inf where hidden
        elif x.given:
            mask = t.matrix(x.given.cb.spec.name, len(rows), S.cols)
            await t.do(AddMaskRows, mask, S, rows, s.n)                                             # S = S + mask         [h, n]
            t.pop(mask)
        elif f.bracket:
            bracket(t)
        await t.do(MaxRows, S, x.scaler, cur.m, rows, s.n, None if s.first else prev.m, s.spill)    # m = max(m', rowmax S) [h, 1]
        P = t.prepare(SubExpRows, S, cur.m, cur.l, rows, s.n, s.w, f.scale)                         # P = exp((S - m) scale), l = sum P
    t.pop(Kt)
    if s.spill:
        t.push(s.spill)
    if s.last and not f.keeps_q:
        t.pop(Q)
    assert P is not None
    return P


async def outputs(t: Compute, x: Matrices, f: Fixed, s: Step, prev: Running, cur: Running, P: SubExpRows) -> None:
    """O = P V + α O' and l + α l', group by group; the first product comes in pieces, beside the last exponentials."""
    V, S, alpha = x.V, x.S, x.alpha
    E, w = V.cols, f.dst.pv[1]

    def factors(rows: range) -> ExpDifferenceRows:
        return t.prepare(ExpDifferenceRows, prev.m, cur.m, alpha, rows, f.scale, f.exp_approx)                # α = exp((m' - m) scale) [h, 1]

    await t.reserve(cur.O)
    rows, *others = groups(S.rows, f.dst.pv_rows)
    serial = S.rows <= f.dst.qk[0]
    await t.do(MatmulRows, S, V, cur.O, rows, E, s.n, w, s.n // s.w, hand_over=serial, beside=P)              # O = P V      [h, E]
    t.hand_over()
    init_exp(t)
    for below in others:
        await t.do(MatmulRows, S, V, cur.O, below, E, s.n, w, beside=None if s.first else factors(rows))      # O = P V [h, E]
        if not s.first:
            last = below is others[-1]
            await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows, factors(below) if last else None)  # O += α O', l += α l'
        await finish(t, x, f, s, prev, cur, rows)
        rows = below
    if not s.first:
        if not others:
            await t.do(ExpDifferenceRows, prev.m, cur.m, alpha, rows, f.scale, f.exp_approx)                  # α, with nothing beside it
        await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows)                                        # O += α O', l += α l'
    await finish(t, x, f, s, prev, cur, rows)
    t.pop(V)
    t.pop(S)


async def finish(t: Compute, x: Matrices, f: Fixed, s: Step, prev: Running, cur: Running, rows: range) -> None:
    """Hand the rows on: to the next K chunk or, after the last one, divided by their sums to the writer."""
    h = len(rows)
    if not s.first:
        t.pop(x.alpha, h)
        t.pop(prev.O, h)
    t.push(cur.l, h)
    t.push(cur.O, h)
    if s.last:
        await emit(t, x, f, cur, rows)


async def emit(t: Compute, x: Matrices, f: Fixed, done: Running, rows: range) -> None:
    """The front rows of a finished O, divided by their sums, to the writer."""
    for row in rows:
        sink = (x.sink, done.m, row, f.scale) if x.sink else ()
        await t.do(SumReciprocal, done.l.front, x.ones, f.recip, *sink)    # 1 / l             [1, 1]
        t.pop(done.l.front)
        await t.do(MulColumn, done.O.front, f.recip, x.out, f.dst.scaled)  # O / l             [1, E]
        t.pop(f.recip)
        t.pop(done.O.front)


def below(marks: Marks, half: int) -> bool:
    """Whether marks are of a diagonal alone, and in the second half of the columns."""
    return all(tile <= TRAILING and columns.start >= half for tile, _, columns in marks)


@cache
def groups(M: int, h: int) -> list[range]:
    """Tile rows in groups of h, the last one of what is left."""
    return [range(i, min(i + h, M)) for i in range(0, M, h)]


@cache
def widest(n: int, w: int) -> int:
    """The largest divisor of n up to w."""
    return next(i for i in range(w, 0, -1) if n % i == 0)
