"""TRISC: flash attention by groups of rows, the exponentials of one group beside the matrix product of another."""

from functools import cache
from typing import NamedTuple

from tensix_sim.kernel_api import Compute, MulColumn
from tensix_sim.kernels.sdpa.args import Args
from tensix_sim.kernels.sdpa.mask import Marks
from tensix_sim.kernels.sdpa.row_verbs import (
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
from tensix_sim.kernels.sdpa.running import Running, running


class Step(NamedTuple):
    """One K chunk of a Q chunk."""

    n: int  # columns of scores that are computed,
    w: int  # and in a window
    marks: Marks
    first: bool
    last: bool


class Streaming:
    """The kernel's buffers and arguments. A step is `scores`, then `outputs`; h is the rows of a group."""

    def __init__(self, t: Compute, a: Args) -> None:
        self.t = t
        self.a = a
        M, N, D, E = a.chunk
        self.Q, self.Kt, self.V = t.matrix("q_in", M, D), t.matrix("k_in", D, N, transposed=True), t.matrix("v_in", N, E)
        self.S = t.matrix("qk_im", M, N)      # scores, then probabilities P
        self.alpha = t.column("exp_max_diff", M)
        self.out = t.matrix("out", 1, E)
        self.scaler, self.ones, self.recip = map(t.matrix, ("identity_scale", "col_identity", "recip_scratch"))
        self.mask = t.matrix("mask_in", 1, a.mask.palette) if a.mask.palette else None
        self.bracket = a.mask.right is not None  # its set-up is paid on every chunk, stamped or not
        self.groups = groups(M, a.dst.qk[0])
        windows, rest = divmod(N, a.dst.qk[1])
        self.halves = windows > 1 and rest == 0 and N % 2 == 0  # maxima may begin with half of the columns

    async def scores(self, s: Step, prev: Running, cur: Running) -> SubExpRows:
        """S = Q K^T and m; P of each group of rows beside the next group's product. Returns P of the last group."""
        t, a, Q, Kt, S = self.t, self.a, self.Q, self.Kt, self.S
        init_exp(t)
        await t.reserve(S)
        await t.reserve(cur.l)
        P = None
        for rows in self.groups:
            marks = tuple([mark for mark in s.marks if mark[1] in rows]) if s.marks else ()
            early = self.halves and s.n == S.cols and all(columns.start >= s.n // 2 for _, _, columns in marks)
            await t.do(MatmulRows, Q, Kt, S, rows, s.n, Q.cols, s.w, push=True, early=early, beside=P)  # S = Q K^T  [h, n]
            if self.mask and marks:
                await t.do(StampRows, self.mask, S, rows, marks)                                     # S = -inf where hidden
            elif self.bracket:
                bracket(t)
            await t.do(MaxRows, S, self.scaler, cur.m, rows, s.n, None if s.first else prev.m)       # m = max(m', rowmax S) [h, 1]
            P = t.prepare(SubExpRows, S, cur.m, cur.l, rows, s.n, s.w, a.scale)                      # P = exp((S - m) scale), l = sum P
        t.pop(Kt)
        if s.last:
            t.pop(Q)
        assert P is not None
        return P

    async def outputs(self, s: Step, prev: Running, cur: Running, P: SubExpRows) -> None:
        """O = P V + α O' and l + α l', group by group; the first product comes in pieces, beside the last exponentials."""
        t, a, V, S, alpha = self.t, self.a, self.V, self.S, self.alpha
        E, w = V.cols, a.dst.pv[1]

        def factors(rows: range) -> ExpDifferenceRows:
            return t.prepare(ExpDifferenceRows, prev.m, cur.m, alpha, rows, a.scale, a.exp_approx)   # α = exp((m' - m) scale) [h, 1]

        await t.reserve(cur.O)
        rows, *others = groups(S.rows, a.dst.pv_rows)
        serial = len(self.groups) == 1
        await t.do(MatmulRows, S, V, cur.O, rows, E, s.n, w, s.n // s.w, hand_over=serial, beside=P)  # O = P V      [h, E]
        t.hand_over()
        init_exp(t)
        for below in others:
            await t.do(MatmulRows, S, V, cur.O, below, E, s.n, w, beside=None if s.first else factors(rows))  # O = P V [h, E]
            if not s.first:
                last = below is others[-1]
                await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows, factors(below) if last else None)  # O += α O', l += α l'
            await self.finish(s, prev, cur, rows)
            rows = below
        if not s.first:
            if not others:
                await t.do(ExpDifferenceRows, prev.m, cur.m, alpha, rows, a.scale, a.exp_approx)     # α, with nothing beside it
            await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows)                           # O += α O', l += α l'
        await self.finish(s, prev, cur, rows)
        t.pop(V)
        t.pop(S)

    async def finish(self, s: Step, prev: Running, cur: Running, rows: range) -> None:
        """Hand the rows on: to the next K chunk or, after the last one, divided by their sums to the writer."""
        t, h = self.t, len(rows)
        if not s.first:
            t.pop(self.alpha, h)
            t.pop(prev.O, h)
        t.push(cur.l, h)
        t.push(cur.O, h)
        if s.last:
            for _ in rows:
                await t.do(SumReciprocal, cur.l.front, self.ones, self.recip)                             # 1 / l             [1, 1]
                t.pop(cur.l.front)
                await t.do(MulColumn, cur.O.front, self.recip, self.out, self.a.dst.scaled)               # O / l             [1, E]
                t.pop(self.recip)
                t.pop(cur.O.front)


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in all phases."""
    kernel = Streaming(t, a)
    A, B = running(t, a.chunk)
    M, width = a.chunk.M, a.dst.qk[1]
    await t.wait(kernel.scaler)
    if kernel.mask:
        await t.wait(kernel.mask)
    for phase in a.phases:
        for _, _, q in a.chunks():
            row = (phase.q_offset + q) * M
            prev, cur = A, B
            visited = a.mask.k_range(row)
            for j in visited:
                n = a.mask.active(row, j)
                step = Step(n, widest(n, width), a.mask.marks(row, j), j == visited[0], j == visited[-1])
                P = await kernel.scores(step, prev, cur)
                await kernel.outputs(step, prev, cur, P)
                if not step.first:
                    t.pop(prev.m)
                    t.pop(prev.l)
                prev, cur = cur, prev
            t.pop(prev.m)


@cache
def groups(M: int, h: int) -> list[range]:
    """Tile rows in groups of h, the last one of what is left."""
    return [range(i, min(i + h, M)) for i in range(0, M, h)]


@cache
def widest(n: int, w: int) -> int:
    """The largest divisor of n up to w."""
    return next(i for i in range(w, 0, -1) if n % i == 0)
