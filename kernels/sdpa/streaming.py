"""TRISC: flash attention by groups of rows, the exponentials of one group beside the matrix product of another."""

from functools import cache
from typing import NamedTuple

from tensix_sim.kernel_api import CircularBuffer, Compute, ExpDifference, Matrix, SubExp
from tensix_sim.kernels.sdpa.args import Args


class Running(NamedTuple):
    """One set of the statistics; two sets change roles after each K chunk."""

    m: Matrix  # row maxima                    [M, 1]
    l: Matrix  # row sums, in 32 partial columns [M, 1]
    O: Matrix  # outputs, not yet normalised   [M, E]


class Step(NamedTuple):
    """One K chunk of a Q chunk."""

    n: int  # columns of scores that are computed,
    w: int  # and in a window
    marks: list[tuple[int, int, range]]
    first: bool
    last: bool


class Streaming:
    """The kernel's buffers and arguments. A step is `scores`, then `outputs`; h is the rows of a group."""

    def __init__(self, t: Compute, a: Args) -> None:
        self.t = t
        self.a = a
        M, N, D, E = a.M, a.N, a.D, a.E
        self.Q, self.K, self.V = t.matrix("q_in", M, D), t.matrix("k_in", D, N), t.matrix("v_in", N, E)
        self.S = t.matrix("qk_im", M, N)      # scores, then probabilities P
        self.alpha = t.column("exp_max_diff", M)
        self.out, self.scaler, self.ones, self.recip = t.cbs("out", "identity_scale", "col_identity", "recip_scratch")
        self.mask: CircularBuffer | None = t.cbs("mask_in")[0] if a.palette else None
        self.bracket = a.bracket
        self.groups = groups(M, a.qk_subblock[0])
        windows, rest = divmod(N, a.qk_subblock[1])
        self.halves = windows > 1 and rest == 0 and N % 2 == 0  # maxima may begin with half of the columns

    async def scores(self, s: Step, prev: Running, cur: Running) -> SubExp:
        """S = Q K^T and m; P of each group of rows beside the next group's product. Returns P of the last group."""
        t, a, Q, K, S = self.t, self.a, self.Q, self.K, self.S
        t.init_exp()
        await t.reserve(S.cb, S.tiles)
        await t.reserve(cur.l.cb, a.M)
        P = None
        for rows in self.groups:
            marks = [mark for mark in s.marks if mark[1] in rows] if s.marks else []
            early = self.halves and s.n == a.N and all(columns.start >= s.n // 2 for _, _, columns in marks)
            await t.multiply(Q, K, S, rows, s.n, a.D, s.w, transpose=True, push=True, early=early, beside=P)  # S = Q K^T     [h, n]
            if self.mask and marks:
                await t.mark(self.mask, S, rows, marks)                                       # S = -inf where hidden
            elif self.bracket:
                t.bracket()
            await t.row_max(S, self.scaler, cur.m, rows, s.n, None if s.first else prev.m)    # m = max(m', rowmax S)    [h, 1]
            P = SubExp(S, cur.m, cur.l, rows, s.n, s.w, a.scale)                              # P = exp((S - m) scale), l = sum P
        t.pop(K.cb, K.tiles)
        if s.last:
            t.pop(Q.cb, Q.tiles)
        assert P is not None
        return P

    async def outputs(self, s: Step, prev: Running, cur: Running, P: SubExp) -> None:
        """O = P V + α O' and l + α l', group by group; the first product comes in pieces, beside the last exponentials."""
        t, a, V, S, alpha = self.t, self.a, self.V, self.S, self.alpha
        E, w = a.E, a.pv_subblock[1]

        def factors(rows: range) -> ExpDifference:
            return ExpDifference(prev.m, cur.m, alpha, rows, a.scale, a.exp_approx)           # α = exp((m' - m) scale)  [h, 1]

        await t.reserve(cur.O.cb, cur.O.tiles)
        rows, *others = groups(a.M, a.pv_rows)
        serial = len(self.groups) == 1
        await t.multiply(S, V, cur.O, rows, E, s.n, w, pieces=s.n // s.w, hand_over=serial, beside=P)  # O = P V         [h, E]
        t.hand_over()
        t.init_exp()
        for below in others:
            await t.multiply(S, V, cur.O, below, E, s.n, w, beside=None if s.first else factors(rows))  # O = P V        [h, E]
            if not s.first:
                last = below is others[-1]
                await t.rescale(prev.O, prev.l, alpha, cur.O, cur.l, rows, factors(below) if last else None)  # O += α O', l += α l'
            await self.finish(s, prev, cur, rows)
            rows = below
        if not s.first:
            if not others:
                await t.run_alone(factors(rows))
            await t.rescale(prev.O, prev.l, alpha, cur.O, cur.l, rows)                        # O += α O', l += α l'
        await self.finish(s, prev, cur, rows)
        t.pop(V.cb, V.tiles)
        t.pop(S.cb, S.tiles)

    async def finish(self, s: Step, prev: Running, cur: Running, rows: range) -> None:
        """Hand the rows on: to the next K chunk or, after the last one, divided by their sums to the writer."""
        t, h, E = self.t, len(rows), self.a.E
        if not s.first:
            t.pop(self.alpha.cb, h)
            t.pop(prev.O.cb, h * E)
        t.push(cur.l.cb, h)
        t.push(cur.O.cb, h * E)
        if s.last:
            for _ in rows:
                await t.sum_reciprocal(cur.l.cb, self.ones, self.recip)                       # 1 / l                    [1, 1]
                t.pop(cur.l.cb, 1)
                await t.scale_rows(cur.O.cb, self.recip, self.out, 1, E, self.a.dht)          # O / l                    [1, E]
                t.pop(self.recip, 1)
                t.pop(cur.O.cb, E)


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in all phases."""
    kernel = Streaming(t, a)
    A, B = (Running(t.column(f"max_{x}", a.M), t.matrix(f"sum_{x}", a.M, 1), t.matrix(f"out_im_{x}", a.M, a.E)) for x in "AB")
    await t.wait(kernel.scaler, 1)
    if kernel.mask:
        await t.wait(kernel.mask, a.palette)
    for phase in a.phases:
        for _, _, q in a.chunks():
            row = (phase.q_offset + q) * a.M
            prev, cur = A, B
            visited = a.k_range(row)
            for j in visited:
                n = a.active(row, j)
                step = Step(n, widest(n, a.qk_subblock[1]), a.marks(row, j), j == visited[0], j == visited[-1])
                P = await kernel.scores(step, prev, cur)
                await kernel.outputs(step, prev, cur, P)
                if not step.first:
                    t.pop(prev.m.cb, a.M)
                    t.pop(prev.l.cb, a.M)
                prev, cur = cur, prev
            t.pop(prev.m.cb, a.M)


@cache
def groups(M: int, h: int) -> list[range]:
    """Tile rows in groups of h, the last one of what is left."""
    return [range(i, min(i + h, M)) for i in range(0, M, h)]


@cache
def widest(n: int, w: int) -> int:
    """The largest divisor of n up to w."""
    return next(i for i in range(w, 0, -1) if n % i == 0)
