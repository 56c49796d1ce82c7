"""TRISC: the streaming kernel's steps over slice after slice; what is running of a Q chunk goes to DRAM and back in between."""

from tensix_sim.kernel_api import Compute, Matrix
from tensix_sim.kernels.sdpa.ring_joint.args import Iteration, RingArgs
from tensix_sim.kernels.sdpa.running import Matrices, Running, matrices, running
from tensix_sim.kernels.sdpa.streaming import Fixed, Step, emit, fixed, step, widest


async def compute(t: Compute, a: RingArgs) -> None:
    """softmax(Q K^T scale) V of each Q chunk, over all slices in the order in which they come."""
    x = ring_matrices(t, a, 1)
    A, B = running(t, a.own.chunk)
    f = fixed(t, a.own, a.causal, keeps_q=True)
    await t.wait(x.scaler)
    if x.mask:
        await t.wait(x.mask)
    prev, cur = A, B
    for it in a.iterations:
        read = 0
        for _, _, q in a.turns(it) if it.sources else ():
            if not a.met(it, q):
                await emit_restored(t, a, x, f, prev)
                continue
            if a.many:
                prev, cur = A if it.first else restored(t, a), B
            prev, cur = await attend(t, a, x, f, it, q, prev, cur, A)
            read += len(it.chunks(q))
            if a.many or it.last:
                t.pop(x.Q)
            if it.last or a.many:
                t.pop(prev.m)
        await keep_in_phase(t, a, x, it, read)


def ring_matrices(t: Compute, a: RingArgs, out_rows: int) -> Matrices:
    """The plain kernels' buffers; the palette has a bar for each end of keys."""
    x = matrices(t, a.own, out_rows)
    return x._replace(mask=t.matrix("mask_in", 1, a.palette)) if a.palette else x


async def attend(
    t: Compute, a: RingArgs, x: Matrices, f: Fixed, it: Iteration, q: int, prev: Running, cur: Running, A: Running
) -> tuple[Running, Running]:
    """The K chunks of a slice. Returns the sets in their new roles: the first has what is running."""
    met = a.met(it, q)
    for i, c in enumerate(met):
        last = i == len(met) - 1
        spills = last and a.many and not it.last
        if last and a.many:
            await signal(t)
        into = spilled(t, a, cur) if spills else cur
        maxima = t.matrix("max_out", a.own.chunk.M) if spills else None
        s = Step(c.n, widest(c.n, a.own.dst.qk[1]), c.marks, it.first and i == 0, last and it.last, maxima)
        await t.repeat(step, x, f, s, prev, into)
        prev, cur = into, A if a.many and i == 0 else prev       # the first chunk has used up what came from DRAM
    for _ in it.chunks(q)[len(met) :]:
        await skip(t, x)                                         # above the diagonal
    return prev, cur


def restored(t: Compute, a: RingArgs) -> Running:
    """What the writer brings back."""
    M, _, _, E = a.own.chunk
    return Running(t.column("max_in", M), t.matrix("sum_in", M), t.matrix("prev_out", M, E))


def spilled(t: Compute, a: RingArgs, cur: Running) -> Running:
    """What the writer takes away; maxima are packed twice, for the next row maxima are compared with stay here."""
    M, _, _, E = a.own.chunk
    return Running(cur.m, t.matrix("sum_out", M), t.matrix("out", M, E))


async def signal(t: Compute) -> None:
    """Tell the writer that the last K chunk of the slice begins."""
    page = t.matrix("signal")
    await t.reserve(page)
    t.push(page)


async def keep_in_phase(t: Compute, a: RingArgs, x: Matrices, it: Iteration, read: int) -> None:
    """Behind so many chunks of a slice, pass by the row's, for a core with more Q chunks, and the reader's, to an odd number."""
    for _ in range(a.padding(it)):
        for _ in it.chunks(0):
            await skip(t, x)
            read += 1
    if read and read % 2 == 0:
        await skip(t, x)


async def skip(t: Compute, x: Matrices) -> None:
    """A K and a V chunk that nobody needs."""
    unused: tuple[Matrix, ...] = (x.Kt, x.V)
    for matrix in unused:
        await t.wait(matrix)
        t.pop(matrix)


async def emit_restored(t: Compute, a: RingArgs, x: Matrices, f: Fixed, prev: Running) -> None:
    """O / l of a Q chunk that meets nothing more."""
    done = restored(t, a) if a.many else prev
    if a.many:
        await signal(t)
        await t.wait(done.m)
    await emit(t, x, f, done, range(done.O.rows))
    t.pop(done.m)
    if not a.many:
        t.pop(x.Q)
