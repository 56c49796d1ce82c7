"""Faults to plant in the kernels: a line's text and what stands in its place, the runs that show it, and what is right then.

A fault of order, counts, addresses, pages or semaphores is to be `named`; one that makes wrong numbers only, to be seen in
`numbers`; a `harmless` one leaves bits and cycles as they were, a `slower` one the bits, and one that is `as good` neither, but
the error of the result.
"""

from typing import Any

from planted_joint import JOINT_FAULTS, joint_specs
from planted_sums import SUM_FAULTS
from planting import AS_GOOD, HARMLESS, NUMBERS, SLOWER, Fault, doubled, dropped, unawaited

Raw = dict[str, Any]

LEG, STR, RD, WR, MASK, ARGS = (f"sdpa/{name}.py" for name in ("legacy", "streaming", "reader", "writer", "mask", "args"))
SCORES, PV = "await t.do(Matmul, Q, Kt, S, dst.qk)", "await t.do(Matmul, S, V, cur.O, dst.pv)"
DIVIDE, RESCALE = (
    "await t.do(MulColumn, last.O, last.l, x.out, dst.scaled)",
    "await t.do(MulColumn, prev.O, alpha, cur.O, dst.scaled",
)

LEGACY = {
    "C01": dropped("pop of K", LEG, "t.pop(Kt)", "a cl"),
    "C02": dropped("pop of V", LEG, "t.pop(V)", "a"),
    "C03": dropped("pop of S", LEG, "t.pop(S)", "a"),
    "C04": dropped("pop of old maxima", LEG, "t.pop(prev.m)", "a"),
    "C05": dropped("pop of old sums", LEG, "t.pop(prev.l)", "a"),
    "C06": dropped("pop of alpha", LEG, "t.pop(alpha)", "a"),
    "C07": dropped("pop of old outputs", LEG, "t.pop(prev.O)", "a"),
    "C08": dropped("pop of Q", LEG, "t.pop(x.Q)", "a cl"),
    "C09": dropped("last pop of maxima", LEG, "t.pop(last.m)", "a"),
    "C10": doubled("pop of K", LEG, "t.pop(Kt)", "a"),
    "C11": doubled("pop of Q", LEG, "t.pop(x.Q)", "a"),
    "C12": Fault("pop of K one tile short", LEG, "t.pop(Kt)", 't.pop(t.matrix("k_in", 1, Kt.tiles - 1))', "a"),
    "C13": Fault("pop of half of K", LEG, "t.pop(Kt)", "t.pop(Kt, Kt.rows // 2)", "a"),
    "C14": Fault("pop of S one tile too many", LEG, "t.pop(S)", 't.pop(t.matrix("qk_im", 1, S.tiles + 1))', "a"),
    "C15": Fault("statistics sets not swapped", LEG, "prev, cur = cur, prev", "pass", "a"),
    "C16": Fault("statistics sets start the other way round", LEG, "prev, cur = A, B", "prev, cur = B, A", "a", HARMLESS),
    "C17": Fault("scale applied twice in exp", LEG, "dst.exps, scale)", "dst.exps, scale * scale)", "a ax", NUMBERS),
    "C18": Fault("scale left out of alpha", LEG, "alpha, scale)", "alpha, 1.0)", "a", NUMBERS),
    "C19": Fault("mask never stamped", LEG, "if x.mask and marks", "if not x and marks", "a e", NUMBERS),
    "C20": Fault("mask of the next row", LEG, "a.mask.marks(row, j)", "a.mask.marks(row + 1, j)", "a", NUMBERS),
    "C21": Fault("first K chunk treated as a later one", LEG, "j == visited[0], prev", "False, prev", "a"),
    "C22": Fault("every K chunk treated as the first", LEG, "j == visited[0], prev", "True, prev", "a"),
    "C23": Fault("K not transposed within tiles", "sdpa/running.py", ", transposed=True)", ")", "a", NUMBERS),
    "C24": Fault("running maximum not folded in", LEG, "None if first else prev.m", "None", "a", AS_GOOD),
    "C25": dropped("rescaling of old sums", LEG, "await t.do(MulSums, prev.l, alpha)", "a", NUMBERS),
    "C26": dropped("addition of old sums", LEG, "await t.do(AddTo, cur.l, prev.l)", "a", NUMBERS),
    "C27": Fault("old outputs scaled without accumulation", LEG, "dst.scaled, accumulate=True", "dst.scaled", "a"),
    "C28": dropped("addition of old outputs", LEG, f"{RESCALE}, accumulate=True)", "a", NUMBERS),
    "C29": dropped("sum of the sums' columns", LEG, "await t.do(RowSum, last.l, x.ones, dst.sums)", "a", NUMBERS),
    "C30": dropped("reciprocal", LEG, "await t.do(Reciprocal, last.l)", "a", NUMBERS),
    "C31": dropped("wait for the mask palette", LEG, "await t.wait(x.mask)", "a", HARMLESS),
    "C32": Fault("V used in place of K", "sdpa/running.py",
                 't.matrix("k_in", D, N, transposed=True), t.matrix("v_in", N, E)',
                 't.matrix("v_in", D, N, transposed=True), t.matrix("k_in", N, E)', "a", NUMBERS),
    "C33": Fault("K used in place of V in P V", LEG, "Matmul, S, V", 'Matmul, S, t.matrix("k_in", V.rows, V.cols)', "a"),
    "C34": Fault("K popped before it is used", LEG, SCORES, f"t.pop(Kt); {SCORES}", "a"),
    "C35": unawaited("Q K^T", LEG, SCORES, "a"),
    "C36": unawaited("final division", LEG, DIVIDE, "a"),
    "C37": Fault("alpha's difference the wrong way round", LEG,
                 "ExpDifference, prev.m, cur.m", "ExpDifference, cur.m, prev.m", "a", NUMBERS),
    "C38": Fault("last K chunk left out in compute", LEG, "for j in visited:", "for j in visited[:-1]:", "a"),
    "C39": Fault("one K chunk too many in compute", LEG,
                 "for j in visited:", "for j in range(visited.start, visited.stop + 1):", "a"),
    "C40": Fault("compute does the first phase only", LEG, "in a.phases:", "in a.phases[:1]:", "a"),
    "C41": Fault("phase offset ignored in compute", LEG, "row = (phase.q_offset + q)", "row = q", "a"),
    "C42": Fault("subblock of the whole product", LEG, "S, dst.qk)", "S, (S.rows, S.cols))", "a", HARMLESS),
    "C43": Fault("output taken from the wrong set", LEG, "a.dst, a.scale, prev, cur)", "a.dst, a.scale, cur, prev)", "a"),
    "C44": Fault("wait for one palette tile too many", LEG,
                 "t.wait(x.mask)", 't.wait(t.matrix("mask_in", 1, a.mask.palette + 1))', "a"),
    "C45": Fault("wrong scaler for the row maximum", LEG, "x.scaler, cur.m", "x.ones, cur.m", "a ax"),
    "C46": Fault("wrong constant for the column sums", LEG, "last.l, x.ones", "last.l, x.scaler", "a ax", HARMLESS),
    "C47": Fault("old maximum used in exp", LEG, "SubExp, S, cur.m", "SubExp, S, prev.m", "a"),
    "C48": Fault("new sums rescaled in place of old", LEG, "t.do(MulSums, prev.l", "t.do(MulSums, cur.l", "a", NUMBERS),
    "C49": Fault("compute leaves out its last Q chunk", LEG, "in a.chunks():", "in list(a.chunks())[:-1]:", "a"),
    "C50": Fault("output one tile column short", LEG, "MulColumn, last.O, last.l, x.out",
                 "MulColumn, t.matrix(last.O.cb.spec.name, last.O.rows, last.O.cols - 1), last.l, "
                 't.matrix("out", last.O.rows, last.O.cols - 1)', "a"),
    "C51": Fault("inner dimension of P V one short", LEG, "Matmul, S, V, cur.O",
                 'Matmul, t.matrix("qk_im", S.rows, S.cols - 1), t.matrix("v_in", V.rows - 1, V.cols), cur.O', "a", NUMBERS),
}  # fmt: skip

READ_KV = "await dm.read(tensor, pages, cb, shape, in_flight, transpose)"
LOWER, ASK, AWAIT_CHUNK = (
    "dm.semaphore_set(BEFORE, 0)",
    "dm.semaphore_increase(before, NEXT)",
    "await dm.semaphore_wait(BEFORE, 1)",
)
K_LINE = "await read_kv(dm, a, a.tensors.k, K, (b, head), j * N, rows, chain, True)"
V_LINE = "await read_kv(dm, a, a.tensors.v, V, (b, head), j * N, rows, chain)"
SEND = "    if after:\n        await send(dm, cb, tiles, after)\n"
PUSH_KV, LAST_POP = "dm.push(cb, tiles)", '(table,) = dm.cbs("page_table")\n            '

READER = {
    "R01": dropped("reserve of Q", RD, "await dm.reserve(Q, rows * D)", "a"),
    "R02": dropped("push of Q", RD, "dm.push(Q, rows * D)", "a c"),
    "R03": doubled("push of Q", RD, "dm.push(Q, rows * D)", "a"),
    "R04": Fault("Q rows off by one", RD, "+ q * a.chunk.M + i", "+ q * a.chunk.M + i + (i + q == 0)", "a c", NUMBERS),
    "R06": Fault("K read in place of V", RD, "read_kv(dm, a, a.tensors.v, V", "read_kv(dm, a, a.tensors.k, V", "a c", NUMBERS),
    "R07": Fault("V read in place of K", RD, "read_kv(dm, a, a.tensors.k, K", "read_kv(dm, a, a.tensors.v, K", "a", NUMBERS),
    "R08": Fault("wrong K/V head for grouped queries", ARGS, "head // (self.q // self.kv)", "head % self.kv", "a d", NUMBERS),
    "R09": Fault("head of Q used for K/V", ARGS, "head // (self.q // self.kv)", "min(head, self.kv - 1)", "a d", NUMBERS),
    "R10": Fault("phase's Q row ignored in the reader", RD, "first = phase.read_row + q", "first = q", "a", NUMBERS),
    "R12": Fault("K not laid down by columns", RD, "rows, chain, True)", "rows, chain, False)", "a c", NUMBERS),
    "R13": Fault("V read before K", RD, K_LINE, f"{V_LINE}; {K_LINE}; continue", "a c", SLOWER),
    "R14": dropped("read of K and V", RD, READ_KV, "a c"),
    "R15": unawaited("read of Q", RD, "await dm.read(a.tensors.q", "a"),
    "R16": unawaited("reserve of K/V", RD, "await dm.reserve(cb, tiles)", "a"),
    "R17": Fault("push of K/V one tile short", RD, PUSH_KV, "dm.push(cb, tiles - 1)", "a"),
    "R18": Fault("push of half of K/V", RD, PUSH_KV, "dm.push(cb, tiles // 2)", "a"),
    "R19": Fault("reserve of half of K/V", RD, "dm.reserve(cb, tiles)", "dm.reserve(cb, tiles // 2)", "a"),
    "R20": Fault("barrier after every tile", RD, "0 if chain[1] else a.barrier", "1", "a c", SLOWER),
    "R21": dropped("chain: raise of 'before'", RD, "dm.semaphore_increase(after, BEFORE)", "c cl"),
    "R22": dropped("chain: lowering of 'before'", RD, LOWER, "c cl"),
    "R23": dropped("chain: raise of 'next'", RD, ASK, "c"),
    "R24": dropped("chain: wait for 'next'", RD, "await dm.semaphore_wait(NEXT, 1)", "c"),
    "R25": dropped("chain: lowering of 'next'", RD, "dm.semaphore_set(NEXT, 0)", "c"),
    "R26": dropped("chain: forward", RD, "await dm.forward(cb, tiles, after)", "c"),
    "R27": Fault("chain: half of the chunk forwarded", RD, "dm.forward(cb, tiles,", "dm.forward(cb, tiles // 2,", "c"),
    "R28": Fault("chain: pushed before forwarded", RD, f"{SEND}    {PUSH_KV}\n", f"    {PUSH_KV}\n{SEND}", "c"),
    "R29": Fault("chain: waits for a second 'before'", RD, AWAIT_CHUNK, AWAIT_CHUNK.replace("1", "2"), "c"),
    "R30": dropped("chain: wait for the chunk", RD, AWAIT_CHUNK, "c"),
    "R31": Fault("chain: asks, then lowers 'before'", RD, f"{LOWER}\n    {ASK}", f"{ASK}\n    {LOWER}", "c"),
    "R32": Fault("last row of the page table not popped", RD, f"{LAST_POP}dm.pop(table, 1)", f"{LAST_POP}pass", "d d1"),
    "R33": Fault("old row of the page table not popped", RD, "again:\n        dm.pop(table, 1)", "again:\n        pass", "d1"),
    "R34": Fault("page table looked up a tile row ahead", RD, "blocks[t // paging", "blocks[(t + 1) // paging", "d"),
    "R35": Fault("page table of batch 0 for all", RD, "a.paging.table, b, batch", "a.paging.table, 0, batch", "d", NUMBERS),
    "R36": Fault("row 0 of the page table read for every batch", RD, "dm.read(rows, [b]", "dm.read(rows, [0]", "d", NUMBERS),
    "R37": Fault("phase offset ignored in the reader's K range", RD, "k_range((phase.q_offset + q) * M)", "k_range(q * M)", "a"),
    "R38": Fault("batch 1's K and V (beyond the tensor) for batch 0", RD, "first = (b * a.heads.kv + kv_head)",
                 "first = ((b + 1) * a.heads.kv + kv_head)", "a", NUMBERS),
    "R39": Fault("Q pages off by one tile", RD, "range(start * D, (start + present) * D)",
                 "range(max(0, start * D - 1), max(0, start * D - 1) + present * D)", "a", NUMBERS),
    "R40": Fault("last K/V row of every chunk not read", RD, "min(N, kv_rows - j * N)", "min(N, kv_rows - j * N) - 1",
                 "a c", NUMBERS),
    "R41": Fault("reader leaves out the last K chunk", RD, "for j in visited:", "for j in visited[:-1]:", "a c"),
    "R42": Fault("reader reads one K chunk too many", RD,
                 "for j in visited:", "for j in range(visited.start, visited.stop + 1):", "a"),
    "R44": Fault("chain: sends on to a core that has no more chunks", ARGS,
                 "link.after if turn < link.after_chunks else None", "link.after", "c3"),
    "R45": Fault("reader leaves out its last Q chunk", RD, "q in a.chunks():", "q in list(a.chunks())[:-1]:", "a c"),
    "R46": Fault("reader walks the Q chunks in reverse", RD, "(b, head, q), 0, M)", "(b, head, a.heads.q_chunks - 1 - q), 0, M)",
                 "a", NUMBERS),
    "R47": Fault("row within a block off by one", RD, "+ t % paging.block_rows)", "+ (t + 1) % paging.block_rows)", "d", NUMBERS),
    "L01": Fault("polls for ever in its own code", RD, AWAIT_CHUNK, "while not dm.core.semaphores[BEFORE].value > 9: pass", "c"),
    "L02": Fault("polls a semaphore for ever", RD, AWAIT_CHUNK, "while True: await dm.semaphore_wait(BEFORE, 0)", "c"),
}  # fmt: skip

WRITE = "await dm.write(out, a.tensors.out, range((row + i) * E, (row + i + rows) * E), (rows, E), a.barrier)"
POP_OUT = "dm.pop(out, band * E)"
ONES = "np.eye(1, 32, dtype=np.float32).repeat(32, axis=0).reshape(1, 32, 1, 32)"

WRITER = {
    "W01": dropped("wait for the output", WR, "await dm.wait(out, band * E)", "a"),
    "W02": dropped("pop of the output", WR, POP_OUT, "a b"),
    "W03": dropped("write", WR, WRITE, "a"),
    "W04": doubled("pop of the output", WR, POP_OUT, "a b"),
    "W05": Fault("output rows off by one", WR, "* out_rows + first", "* out_rows + first + 1", "a c"),
    "W06": Fault("phase's row ignored in the writer", WR, "phase.write_row + q * M", "q * M", "a"),
    "W07": Fault("heads of the output swapped in pairs", WR, "a.heads.q + head, phase",
                 "a.heads.q + (head ^ 1), phase", "a", NUMBERS),
    "W08": Fault("last row of each band not written", WR, "out_rows - first - i)", "out_rows - first - i) - 1", "a c"),
    "W09": Fault("half of the output popped", WR, POP_OUT, "dm.pop(out, band * E // 2)", "a"),
    "W10": Fault("wait for half of the output", WR, "dm.wait(out, band * E)", "dm.wait(out, band * E // 2)", "a b"),
    "W11": dropped("push of constants", WR, "dm.push(cb, tiles.shape[2])", "a c"),
    "W12": dropped("fill of constants", WR, "dm.fill(cb, tiles.shape[2], tiles)", "a"),
    "W13": Fault("scaler of zeros", WR, "np.ones((1, 32, 1, 32)", "np.zeros((1, 32, 1, 32)", "a ax"),
    "W14": Fault("column of ones filled with ones everywhere", WR, ONES, "np.ones((1, 32, 1, 32), np.float32)", "a c", HARMLESS),
    "W15": Fault("palette holds NaN and zeros", WR, "a.mask.tiles())", "np.where(a.mask.tiles() < 0, np.float32(np.nan), 0))",
                 "a", NUMBERS),
    "W16": Fault("palette of zeros: nothing hidden", WR, "a.mask.tiles())", "0 * np.isinf(a.mask.tiles()).astype(np.float32))",
                 "a e", NUMBERS),
    "W17": Fault("pages written in reverse", WR, "range((row + i) * E, (row + i + rows) * E)",
                 "range((row + i + rows) * E - 1, (row + i) * E - 1, -1)", "a", NUMBERS),
    "W18": unawaited("write", WR, WRITE, "a"),
    "W19": Fault("writer does the first phase only", WR, "in a.phases:", "in a.phases[:1]:", "a"),
    "W20": doubled("write of every page", WR, WRITE, "a", SLOWER),
    "W21": Fault("last band of rows not taken", WR, "range(0, M, band)", "range(0, M - band, band)", "a b b2"),
    "W22": Fault("band offset ignored", WR, "range((row + i) * E, (row + i + rows) * E)",
                 "range(row * E, (row + rows) * E)", "b2"),
    "W23": dropped("one constant", WR, 'await make_constant(dm, "identity_scale", np.ones((1, 32, 1, 32), np.float32))', "a b"),
    "W24": Fault("barrier after every tile", WR, "(rows, E), a.barrier)", "(rows, E), 1)", "a", SLOWER),
    "W25": Fault("Q chunks of the output swapped in pairs", WR, "phase.write_row + q * M", "phase.write_row + (q ^ 1) * M",
                 "a", NUMBERS),
    "W26": Fault("writer takes from the wrong buffer", WR, 'dm.cbs("out")', 'dm.cbs("qk_im")', "a"),
    "W27": Fault("name of a buffer misspelt", WR, 'dm.cbs("out")', 'dm.cbs("outt")', "a"),
    "W28": Fault("column of twos", WR, ONES, f"2 * {ONES}", "a ax b", NUMBERS),
}  # fmt: skip

LAST_RESCALE = "await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows)  "
SWAP = "prev, cur = cur, prev"

STREAMING = {
    "S01": dropped("reserve of scores", STR, "await t.reserve(S)", "b b2", HARMLESS),  # the verb that pushes reserves
    "S02": dropped("reserve of sums", STR, "await t.reserve(cur.l)", "b b2"),
    "S03": dropped("reserve of outputs", STR, "await t.reserve(cur.O)", "b b2"),
    "S04": dropped("pop of K", STR, "t.pop(Kt)", "b c"),
    "S05": dropped("pop of Q", STR, "t.pop(Q)", "b c"),
    "S06": dropped("pop of V", STR, "t.pop(V)", "b c"),
    "S07": dropped("pop of S", STR, "t.pop(S)", "b"),
    "S08": dropped("push of sums", STR, "t.push(cur.l, h)", "b"),
    "S09": dropped("push of outputs", STR, "t.push(cur.O, h)", "b"),
    "S10": dropped("pop of alpha", STR, "t.pop(x.alpha, h)", "b b2"),
    "S11": dropped("pop of old outputs", STR, "t.pop(prev.O, h)", "b"),
    "S12": dropped("hand-over", STR, "t.hand_over()", "b2"),
    "S12b": dropped("hand-over after one by pieces", STR, "t.hand_over()", "b", SLOWER),
    "S13": doubled("hand-over", STR, "t.hand_over()", "b", HARMLESS),
    "S14": Fault("statistics sets not swapped", STR, SWAP, "pass", "b c"),
    "S15": Fault("last rescaling dropped", STR, LAST_RESCALE, "pass  ", "b c b2", NUMBERS),
    "S16": Fault("scale applied twice in exp", STR, "rows, s.n, s.w, f.scale)", "rows, s.n, s.w, f.scale**2)", "b bx", NUMBERS),
    "S17": Fault("scale left out of alpha", STR, "alpha, rows, f.scale, f.exp_approx)    ", "alpha, rows, 1.0, f.exp_approx)    ",
                 "b2", NUMBERS),
    "S17b": Fault("scale left out of alpha alone", STR, "await t.do(ExpDifferenceRows, prev.m, cur.m, alpha, rows, f.scale",
                  "await t.do(ExpDifferenceRows, prev.m, cur.m, alpha, rows, 1.0", "b", NUMBERS),
    "S18": Fault("mask never stamped", STR, "if x.mask and marks:", "if x.mask and not s:", "b es", NUMBERS),
    "S19": Fault("exponential never initialised before scores", STR, "x.S\n    init_exp(t)", "x.S", "b bx"),
    "S20": Fault("scores never pushed", STR, "push=True", "push=False", "b"),
    "S21": Fault("maxima always begin early", STR, "early=early", "early=True", "b c es b2 b4"),
    "S22": Fault("running maximum not folded in", STR, "s.n, None if s.first else prev.m, s.spill)",
                 "s.n, None, s.spill)", "b", AS_GOOD),
    "S23": Fault("alpha of the last group never made", STR, "factors(below) if last else None", "None", "b2"),
    "S24": Fault("P V not in pieces", STR, "w, s.n // s.w, hand_over", "w, 1, hand_over", "b b2", AS_GOOD),
    "S25": dropped("wait for the palette", STR, "await t.wait(x.mask)", "b", HARMLESS),
    "S26": dropped("wait for the scaler", STR, "await t.wait(x.scaler)", "b c", HARMLESS),
    "S27": Fault("last pop of maxima dropped", STR, f"{SWAP}\n            t.pop(prev.m)", SWAP, "b"),
    "S28": dropped("pop of old sums", STR, "t.pop(prev.l)", "b"),
    "S29": dropped("pop of 1/l", STR, "t.pop(f.recip)", "b"),
    "S30": Fault("hidden columns of the last chunk computed too", STR, "a.mask.active(row, j)", "a.chunk.N",
                 "b c es", NUMBERS),
    "S31": Fault("every K chunk treated as the last", STR, "j == visited[-1])", "True)", "b"),
    "S32": unawaited("Q K^T", STR, "await t.do(MatmulRows, Q, Kt", "b"),
    "S33": Fault("sums rescaled onto themselves", STR, "cur.O, cur.l, rows, ", "cur.O, prev.l, rows, ", "b2", NUMBERS),
    "S34": Fault("hand-over flag flipped", STR, "hand_over=serial", "hand_over=not serial", "b c"),
    "S34b": Fault("hand-over by pieces where none is needed", STR, "hand_over=serial", "hand_over=True", "b2", SLOWER),
    "S35": dropped("pop of a row's sum", STR, "t.pop(done.l.front)", "b"),
    "S36": Fault("output row one tile short", STR, "MulColumn, done.O.front, f.recip, x.out",
                 'MulColumn, t.matrix(done.O.cb.spec.name, 1, x.out.cols - 1), f.recip, t.matrix("out", 1, x.out.cols - 1)', "b"),
    "S37": Fault("last row group one row short", STR, "min(i + h, M))", "min(i + h, M - 1))", "b2"),
    "S38": doubled("pop of K", STR, "t.pop(Kt)", "b"),
    "S39": Fault("wrong constant for the column sums", STR, "done.l.front, x.ones", "done.l.front, x.scaler", "b bx", HARMLESS),
    "S40": Fault("K used in place of V", STR, "V, S, alpha = x.V,", 'V, S, alpha = t.matrix("k_in", x.V.rows, x.V.cols),', "b"),
    "S41": Fault("phase offset ignored in compute", STR, "row = (phase.q_offset + q)", "row = q", "b"),
    "S42": Fault("row groups overlap by one row", STR, "[range(i, min", "[range(max(0, i - 1), min", "b2"),
    "S43": Fault("wrong scaler for the row maximum", STR, "S, x.scaler, cur.m", "S, x.ones, cur.m", "b bx"),
}  # fmt: skip

MASKS = {
    "M01": Fault("a query sees one key after its own", MASK, "            return 0\n        return None if",
                 "            return 1\n        return None if", "a b ax bx", NUMBERS),
    "M02": Fault("window one key too wide", MASK, "return self.window - 1 if", "return self.window if", "e es", NUMBERS),
    "M03": Fault("last K chunk left out everywhere", MASK, "range(first, -(-self._end(row) // self.N))",
                 "range(first, max(first + 1, -(-self._end(row) // self.N) - 1))", "a c", NUMBERS),
    "M04": Fault("one K chunk too many everywhere", MASK, "-(-self._end(row) // self.N))", "-(-self._end(row) // self.N) + 1)",
                 "a c e", AS_GOOD),
    "M05": Fault("one hidden tile a row left visible", MASK, "(NEG_INF, own + 1, end)", "(NEG_INF, own + 2, end)",
                 "a b", NUMBERS),
    "M06": Fault("diagonal tile hidden altogether", MASK, "(NEG_INF, own + 1, end)", "(NEG_INF, own, end)", "a b", NUMBERS),
    "M07": Fault("padding bar one key late", MASK, "key >= self.keys % TILE", "key > self.keys % TILE", "c cl", NUMBERS),
    "M08": Fault("nothing stamped on padding", MASK, "(NEG_INF, bar, end)", "(NEG_INF, end, end)", "cl", NUMBERS),
    "M09": Fault("window's edges a tile off", MASK, "edge, some = own - away", "edge, some = own - away + 1", "e", NUMBERS),
    "M10": Fault("palette one tile short", MASK, "else 5 + self._has_bar", "else 4 + self._has_bar", "e"),
    "M11": Fault("first K chunk never visited", MASK, "return range(first, -(-self._end(row)",
                 "return range(min(first + 1, -(-self._end(row) // self.N) - 1), -(-self._end(row)", "a b c", NUMBERS),
    "M12": Fault("diagonal one tile late", MASK, "own = diagonal + i", "own = diagonal + i + 1", "a b e", NUMBERS),
    "M13": Fault("tiles of the palette transposed", MASK, "row, key = np.indices", "key, row = np.indices", "a e", NUMBERS),
    "M14": Fault("Q chunks dealt twice, others never", ARGS, "zigzag(position, chunks) if",
                 "zigzag(position // 2 * 2, chunks) if", "a"),
}  # fmt: skip

ADD, MM, GA, MOVE, SOFT = (f"{name}.py" for name in ("eltwise_add", "block_matmul", "all_gather", "move_tiles", "softmax"))
PRODUCT, SUM_WRITE = "await t.do(Matmul, A, B, C, (1, 1))", "await dm.write(out, a.out, [tile], (1, 1))"

SMALL = {
    "E01": dropped("push", ADD, "dm.push(cb, 1)", "add"),
    "E02": Fault("page off by one in the reader", ADD, "dm.read(tensor, [tile]", "dm.read(tensor, [tile + 1]", "add", NUMBERS),
    "E03": Fault("pages swapped in pairs by the writer", ADD, "a.out, [tile]", "a.out, [tile ^ 1]", "add", NUMBERS),
    "E04": Fault("x read in place of y", ADD, "(a.y, y_in)", "(a.x, y_in)", "add", NUMBERS),
    "E05": dropped("pop of y", ADD, "t.pop(y)", "add"),
    "E06": Fault("compute does one tile too few", ADD, "for _ in range(a.count)", "for _ in range(a.count - 1)", "add"),
    "E07": Fault("operands swapped", ADD, "((a.x, x_in), (a.y, y_in))", "((a.y, x_in), (a.x, y_in))", "add", HARMLESS),
    "E08": dropped("writer's pop", ADD, "dm.pop(out, 1)", "add"),
    "E09": Fault("every core's range one tile late", ADD, "Args(x, y, out, i * share,", "Args(x, y, out, i * share + 1,", "add"),
    "E10": Fault("popped before it is written", ADD, SUM_WRITE, f"dm.pop(out, 1); {SUM_WRITE}", "add"),
    "E11": Fault("buffer larger than L1", ADD, 'BufferSpec("out", 2,', 'BufferSpec("out", 2000,', "add"),
    "P01": Fault("rows of A off by one", MM, "range(row * k, (row + args.m) * k)", "range((row + 1) * k, (row + 1 + args.m) * k)",
                 "mm", NUMBERS),
    "P02": Fault("columns of B off by one", MM, "+ col + j for i in range(k)", "+ col + 1 + j for i in range(k)", "mm", NUMBERS),
    "P03": dropped("pop of A", MM, "t.pop(A)", "mm"),
    "P04": Fault("inner dimension one short", MM, "Matmul, A, B, C",
                 'Matmul, t.matrix("a_in", m, k - 1), t.matrix("b_in", k - 1, n), C', "mm", NUMBERS),
    "P05": Fault("one row of B too few popped", MM, "t.pop(B)", "t.pop(B, k - 1)", "mm"),
    "P06": Fault("block of C written transposed", MM, "for i in range(m) for j in range(n)]",
                 "for j in range(n) for i in range(m)]", "mm", NUMBERS),
    "P07": Fault("blocks walked by columns", MM, "(i // across * self.m, i % across * self.n)",
                 "(i % across * self.m, i // across * self.n)", "mm"),
    "P08": Fault("subblock that does not divide", MM, "C, (1, 1))", "C, (3, 3))", "mm"),
    "P09": Fault("B read by columns", MM, "for i in range(k) for j in range(n)]", "for j in range(n) for i in range(k)]",
                 "mm", NUMBERS),
    "G01": dropped("signal of 'ready'", GA, 'dm.signal("ready", a.step, a.link, a.hops, a.opposite)', "g"),
    "G02": dropped("signal of 'done'", GA, 'dm.signal("done", a.step, a.link, a.hops, dm.core.logical)', "g"),
    "G03": dropped("wait for what comes in", GA, 'await dm.semaphore_wait("done", a.senders)', "g"),
    "G04": dropped("wait until the others are ready", GA, 'await dm.semaphore_wait("ready", a.hops)', "g"),
    "G05": Fault("own share not kept", GA, "if a.keeps:", "if not a:", "g"),
    "G06": Fault("sent no hops far", GA, "a.link, run.hops, a.packet_tiles", "a.link, 0, a.packet_tiles", "g"),
    "G07": Fault("sent too far", GA, "a.link, run.hops, a.packet_tiles", "a.link, run.hops + 1, a.packet_tiles", "g"),
    "G08": Fault("sent to the next page", GA, "run.target, a.step", "[page + 1 for page in run.target], a.step", "g"),
    "G09": dropped("writer's pop", GA, "dm.pop(cb, a.run_tiles)", "g"),
    "G10": Fault("sent in the wrong direction", GA, "run.target, a.step", "run.target, -a.step", "g", HARMLESS),
    "G11": Fault("waits for one sender too many", GA, '"done", a.senders', '"done", a.senders + 1', "g"),
    "G12": Fault("a semaphore is not declared", GA, '("ready", "done")', '("ready",)', "g"),
    "G13": Fault("source pages swapped in pairs", GA, "run.source, cb", "[page ^ 1 for page in run.source], cb", "g", NUMBERS),
    "G15": Fault("wrong semaphore signalled", GA, 'dm.signal("done"', 'dm.signal("ready"', "g"),
    "G16": Fault("sent to the wrong tensor", GA, "dm.send(cb, a.out", "dm.send(cb, a.slice", "g"),
    "T01": dropped("push", MOVE, "dm.push(cb, BURST)", "g"),
    "T02": Fault("pages of a burst in reverse", MOVE, "dm.read(source, pages", "dm.read(source, pages[::-1]", "g", NUMBERS),
    "T03": Fault("last page of each burst not written", MOVE, "pages, (len(pages), 1)", "pages[:-1], (len(pages) - 1, 1)", "g"),
    "T04": dropped("writer's pop", MOVE, "dm.pop(cb, BURST)", "g"),
    "T05": Fault("target pages swapped in pairs", MOVE, "[3].append(place)", "[3].append(place ^ 1)", "g", HARMLESS),
    "T06": Fault("last tile of each core's share not moved", MOVE, "(i + 1) * share])", "(i + 1) * share - 1])", "g"),
    "T07": dropped("wait", MOVE, "await dm.wait(cb, BURST)", "g"),
}  # fmt: skip

ROW_PAGES = "range(row * n, (row + 1) * n), x, (1, n)"

USERS = {  # forty more, in kernels as users write them
    "X01": dropped("push", SOFT, "dm.push(x, n)", "sm"),
    "X02": dropped("reserve", SOFT, "await dm.reserve(x, n)", "sm"),
    "X03": unawaited("read", SOFT, "await dm.read(a.x", "sm"),
    "X04": Fault("rows off by one", SOFT, ROW_PAGES, ROW_PAGES.replace("row ", "(row ^ 1) ").replace("row +", "(row ^ 1) +"),
                 "sm", NUMBERS),
    "X05": dropped("pop of x", SOFT, "t.pop(x)", "sm"),
    "X06": dropped("pop of the maxima", SOFT, "t.pop(m)", "sm"),
    "X07": dropped("pop of the exponentials", SOFT, "t.pop(e)", "sm"),
    "X08": dropped("pop of the sums", SOFT, "t.pop(l)", "sm"),
    "X09": Fault("ones in place of the scaler", SOFT, "RowMax, x, scaler, m", "RowMax, x, ones, m", "sm"),
    "X10": Fault("scaler in place of the ones", SOFT, "Matmul, e, ones, l", "Matmul, e, scaler, l", "sm"),
    "X11": dropped("reciprocal", SOFT, "await t.do(Reciprocal, l)", "sm", NUMBERS),
    "X12": Fault("x popped before its exponential", SOFT, "await t.do(Exp, x, m, e)", "t.pop(x); await t.do(Exp, x, m, e)", "sm"),
    "X13": Fault("scaler of halves", SOFT, "np.ones((1, 32, 1, 32)", "0.5 * np.ones((1, 32, 1, 32)", "sm"),
    "X14": Fault("ones in the wrong column", SOFT, "np.eye(1, 32, dtype", "np.eye(1, 32, 1, dtype", "sm", NUMBERS),
    "X15": dropped("push of constants", SOFT, "dm.push(cb, tiles)", "sm"),
    "X16": dropped("writer's pop", SOFT, "dm.pop(out, n)", "sm"),
    "X17": dropped("writer's wait", SOFT, "await dm.wait(out, n)", "sm"),
    "X18": Fault("one row too many in compute", SOFT, "for _ in range(a.count)", "for _ in range(a.count + 1)", "sm"),
    "X19": Fault("every page of a row written to its first", SOFT, "a.out, range(row * n, (row + 1) * n)", "a.out, [row * n] * n",
                 "sm"),
    "X20": Fault("a name misspelt in a verb", SOFT, "self.column.block()", "self.colum.block()", "sm"),
    "X21": Fault("an index out of range in the reader", SOFT, "await dm.reserve(x, n)", "await dm.reserve(x, [n][row])", "sm"),
    "X22": Fault("exponential of x, not of x - m", SOFT, "on.subtract(e, self.x.format, self.column.block(), self.column.format)",
                 "pass", "sm", AS_GOOD),
    "X23": Fault("maxima of a column too few", SOFT, "RowMax, x, scaler",
                 'RowMax, t.matrix("x_in", 1, n - 1), scaler', "sm", AS_GOOD),
    "Y01": dropped("reserve of A", MM, "await dm.reserve(A, args.m * k)", "mm"),
    "Y02": dropped("push of B", MM, "dm.push(B, k * n)", "mm"),
    "Y03": Fault("B one page short", MM, "for j in range(n)], B,", "for j in range(n)][1:], B,", "mm"),
    "Y04": Fault("product adds to what is there", MM, "C, (1, 1))", "C, (1, 1), accumulate=True)", "mm"),
    "Y05": Fault("half of C popped", MM, "dm.pop(C, m * n)", "dm.pop(C, m * n // 2)", "mm"),
    "Y06": Fault("A read in place of B", MM, "dm.read(args.b,", "dm.read(args.a,", "mm", NUMBERS),
    "Y07": Fault("A and B pushed in the other order", MM, PRODUCT, f"await t.wait(B); t.pop(A); {PRODUCT}", "mm"),
    "Z01": Fault("tile count that is no whole number", ADD, "dm.reserve(cb, 1)", "dm.reserve(cb, 1.5)", "add"),
    "Z02": Fault("x added to itself", ADD, "Add, x, y, out", "Add, x, x, out", "add"),
    "Z03": Fault("written to an input", ADD, "dm.write(out, a.out", "dm.write(out, a.x", "add"),
    "Z04": Fault("wait for two tiles of one", ADD, "dm.wait(out, 1)", "dm.wait(out, 2)", "add"),
    "Z05": Fault("pop of no tiles", ADD, "t.pop(y)", "t.pop(y, 0)", "add"),
    "H01": Fault("push one tile short", GA, "dm.push(cb, a.run_tiles)", "dm.push(cb, a.run_tiles - 1)", "g"),
    "H02": Fault("connections not opened", GA, 'await dm.connect()\n        dm.signal("ready"', 'dm.signal("ready"', "g", SLOWER),
    "H03": Fault("'ready' to the core itself", GA, "a.hops, a.opposite)", "a.hops, dm.core.logical)", "g", AS_GOOD),
    "H04": Fault("both directions keep the share", GA, "if a.keeps:", "if a:", "g"),
    "H05": Fault("packets of one tile", GA, "run.hops, a.packet_tiles)", "run.hops, 1)", "g", SLOWER),
    "H06": Fault("popped before it is sent", GA, "        if run.hops:",
                 "        dm.pop(cb, a.run_tiles)\n        if run.hops:", "g"),
    "H07": Fault("a link that is not there", GA, "a.step, a.link, run.hops", "a.step, a.link + 9, run.hops", "g"),
}  # fmt: skip

FAULTS: dict[str, Fault] = LEGACY | READER | WRITER | STREAMING | MASKS | SMALL | USERS | JOINT_FAULTS | SUM_FAULTS


# -- configs that have them ------------------------------------------------------------------------------------------


def spec(heads: int = 4, kv_heads: int = 2, rows: int = 1024, q: int = 64, k: int = 128, **more: Any) -> Raw:
    """A small run in bfloat16, on two by two cores."""
    inputs = {"q_heads": heads, "kv_heads": kv_heads, "seq_len": rows, "head_dim": 64, "dtype": "bfloat16"} | more.pop(
        "inputs", {}
    )
    program = {"compute_with_storage_grid_size": more.pop("grid", [2, 2]), "q_chunk_size": q, "k_chunk_size": k}
    return {"inputs": inputs, "program_config": program, "trace": "off"} | more


PAGED = {"op": "chunked_sdpa", "paged_kv": {"block_size": 64, "page_table": "shuffled"}, "chunk_start_idx": 256}
KEYS = {"op": "sdpa", "is_causal": False}
SPECS: dict[str, Raw] = {
    "a": spec(),
    "b": spec(kernel="streaming"),
    "b2": spec(q=128, kernel="streaming"),
    "b4": spec(k=256, kernel="streaming"),
    "c": spec(rows=256, kernel="streaming", inputs={"kv_len": 400}, grid=[4, 2], **KEYS),
    "c3": spec(rows=320, kernel="streaming", inputs={"kv_len": 400}, grid=[4, 2], **KEYS),
    "cl": spec(rows=256, kernel="legacy", inputs={"kv_len": 400}, grid=[4, 2], **KEYS),
    "d": spec(rows=256, inputs={"batch": 2}, kernel="legacy", **PAGED),
    "d1": spec(rows=256, inputs={"batch": 2}, kernel="legacy", grid=[1, 1], **PAGED),
    "e": spec(rows=512, op="sdpa", sliding_window_size=128, kernel="legacy"),
    "es": spec(rows=512, op="sdpa", sliding_window_size=128, kernel="streaming"),
    "g": spec(board="galaxy", ring_size=4),
    "ax": spec(heads=2, kv_heads=1, rows=512, numerics="exact"),
    "bx": spec(heads=2, kv_heads=1, rows=512, numerics="exact", kernel="streaming"),
    "m": spec(rows=256, kernel="streaming", inputs={"attn_mask": "random", "attention_sink": "random"}, **KEYS),
    "w": spec(rows=256, kernel="legacy", cu_window_seqlens=[0, 64, 192, 256], **KEYS),
    "t": spec(rows=256, kernel="legacy", chunk_start_idx_tensor=True, **PAGED),
    **joint_specs(spec),
}
