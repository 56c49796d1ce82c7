"""TRISC: flash attention, one K chunk after another, with running maxima m, sums l and outputs O."""

from typing import NamedTuple

from tensix_sim.kernel_api import CircularBuffer, Compute
from tensix_sim.kernels.sdpa.args import Args


class Running(NamedTuple):
    """One set of the statistics; two sets change roles after each K chunk."""

    m: CircularBuffer  # row maxima       [M, 1]
    l: CircularBuffer  # row sums, in 32 partial columns [M, 1]
    O: CircularBuffer  # outputs, not yet normalised     [M, E]


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in both phases."""
    Q, K, V, S, alpha, out = t.cbs("q_in", "k_in", "v_in", "qk_im", "exp_max_diff", "out")
    scaler, ones = t.cbs("identity_scale", "col_identity")
    A = Running(*t.cbs("max_A", "sum_A", "out_im_A"))
    B = Running(*t.cbs("max_B", "sum_B", "out_im_B"))
    M, N, D, E = a.M, a.N, a.D, a.E
    mask = t.cbs("mask_in")[0] if a.palette else None
    if mask:
        await t.wait(mask, a.palette)
    for phase in a.phases:
        for _, _, q in a.chunks():
            row = (phase.q_offset + q) * M
            prev, cur = A, B
            visited = a.k_range(row)
            for j in visited:
                first = j == visited[0]
                await t.matmul(Q, K, S, M, N, D, a.qk_subblock, transpose=True)              # S = Q K^T            [M, N]
                t.pop(K, N * D)
                if mask and (marks := a.marks(row, j)):
                    await t.stamp(mask, S, M, N, marks, a.stamps)                            # S = -inf where hidden
                await t.max_rows(S, scaler, cur.m, M, N, a.reduce, None if first else prev.m)  # m = max(m', rowmax S) [M, 1]
                await t.sub_exp(S, cur.m, cur.l, M, N, a.sub_exp, a.scale)                   # P = exp((S - m) scale), l = sum P
                await t.matmul(S, V, cur.O, M, E, N, a.pv_subblock)                          # O = P V              [M, E]
                t.pop(V, N * E)
                t.pop(S, M * N)
                if not first:
                    await t.exp_difference(prev.m, cur.m, alpha, M, a.scale)                 # α = exp((m' - m) scale) [M, 1]
                    t.pop(prev.m, M)
                    await t.mul_columns(prev.l, alpha, M)                                    # l' = α l'
                    await t.add_to(cur.l, prev.l, M)                                         # l = l + l'
                    t.pop(prev.l, M)
                    await t.scale_rows(prev.O, alpha, cur.O, M, E, a.dht, accumulate=True)   # O = O + α O'
                    t.pop(alpha, M)
                    t.pop(prev.O, M * E)
                prev, cur = cur, prev
            await t.sum_columns(prev.l, ones, M, a.stats)                                    # l, its columns added up [M, 1]
            await t.reciprocal(prev.l, M)                                                    # 1 / l
            await t.scale_rows(prev.O, prev.l, out, M, E, a.dht)                             # O / l                [M, E]
            t.pop(prev.l, M)
            t.pop(prev.O, M * E)
            t.pop(prev.m, M)
            t.pop(Q, M * D)

