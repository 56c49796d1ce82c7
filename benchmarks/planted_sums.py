"""Faults to plant in the kernels of reduce-scatter: as `planted` has those of the others.

Runs: `rl` is a line of four chips, where a slice's two ways meet at its owner; `rr` a ring, where the last step crosses over.
"""

from planting import AS_GOOD, HARMLESS, NUMBERS, SLOWER, Fault, doubled, dropped, unawaited

SUM, VERB = "reduce_scatter.py", "reduce_verbs.py"
BOTH = "rl rr"
READ = "await dm.read(term.tensor, term.pages, cb, (a.chunk_tiles, 1))"
SEND = "await dm.send(cb, chunk.target, chunk.pages, a.step, a.link, 1, a.packet_tiles)"
WRITE = "await dm.write(cb, chunk.target, chunk.pages, (a.chunk_tiles, 1), part=(len(chunk.pages), 1))"
TELL = "dm.signal(semaphore, a.step, a.link, 1, core)"
ADD = "await t.do(AddTerms, terms, out, len(chunk.pages))"
CONNECT = "await dm.connect(a.mux, a.slots)\n"

SUM_FAULTS = {
    "K01": dropped("wait for what comes", SUM, "await dm.semaphore_wait(term.semaphore, term.reached)", BOTH),
    "K02": Fault("wait for the chunk before", SUM, "term.semaphore, term.reached)", "term.semaphore, max(term.reached - 1, 0))",
                 BOTH),
    "K03": Fault("wait for one chunk more", SUM, "term.semaphore, term.reached)", "term.semaphore, term.reached + 1)", BOTH),
    "K04": dropped("reserve of a term", SUM, "await dm.reserve(cb, a.chunk_tiles)", BOTH),
    "K05": dropped("push of a term", SUM, "dm.push(cb, a.chunk_tiles)", BOTH),
    "K06": doubled("push of a term", SUM, "dm.push(cb, a.chunk_tiles)", BOTH),
    "K07": unawaited("read of a term", SUM, READ, BOTH),
    "K08": Fault("pages of a term in reverse", SUM, READ, READ.replace("term.pages", "term.pages[::-1]"), BOTH, NUMBERS),
    "K09": Fault("own tiles read twice", SUM, READ,
                 READ.replace("term.tensor", "chunk.terms[0].tensor").replace("term.pages", "chunk.terms[0].pages"),
                 BOTH, NUMBERS),
    "K10": dropped("sum", SUM, ADD, BOTH),
    "K11": Fault("terms added in the other order", SUM, "AddTerms, terms,", "AddTerms, terms[::-1],", "rr", AS_GOOD),
    "K12": Fault("one term left out", SUM, "AddTerms, terms,", "AddTerms, (terms[0], terms[0]),", BOTH, NUMBERS),
    "K13": dropped("pop of a term", SUM, "t.pop(term)", BOTH),
    "K14": dropped("wait for the other chips", SUM, "await dm.semaphore_wait(READY, a.hops)", BOTH, HARMLESS),
    "K15": dropped("'ready'", SUM, "dm.signal(READY, a.step, a.link, a.hops, a.opposite)", BOTH),
    "K16": Fault("'ready' to the core itself", SUM, "a.hops, a.opposite)", "a.hops, dm.core.logical)", BOTH, AS_GOOD),
    "K17": Fault("wait for one chip more", SUM, "dm.semaphore_wait(READY, a.hops)", "dm.semaphore_wait(READY, a.hops + 1)", BOTH),
    "K18": dropped("wait for a sum", SUM, "await dm.wait(cb, a.chunk_tiles)", BOTH),
    "K19": dropped("packets", SUM, SEND, BOTH),
    "K20": Fault("last tile not sent", SUM, SEND, SEND.replace("chunk.pages", "chunk.pages[:-1]"), BOTH),
    "K21": Fault("packets of one tile", SUM, "a.link, 1, a.packet_tiles)", "a.link, 1, 1)", BOTH, SLOWER),
    "K22": Fault("packets the other way", SUM, SEND, SEND.replace("a.step", "-a.step"), BOTH),
    "K23": Fault("pages swapped in pairs", SUM, SEND, SEND.replace("chunk.pages", "[p ^ 1 for p in chunk.pages]"), BOTH, NUMBERS),
    "K24": dropped("write of a sum", SUM, WRITE, BOTH),
    "K25": Fault("write to the first pages", SUM, WRITE, WRITE.replace(", chunk.pages,", ", range(len(chunk.pages)),"), BOTH),
    "K26": dropped("pop of a sum", SUM, "dm.pop(cb, a.chunk_tiles)", BOTH),
    "K27": dropped("tell of what was sent", SUM, TELL, BOTH),
    "K28": doubled("tell of what was sent", SUM, TELL, BOTH),
    "K29": Fault("told before it is sent", SUM, "        if chunk.sent:\n            await",
                 "        if chunk.tells and chunk.sent:\n            "
                 "dm.signal(chunk.tells[0], a.step, a.link, 1, chunk.tells[1])\n        if chunk.sent:\n            await", BOTH),
    "K30": Fault("told over two hops", SUM, TELL, TELL.replace("a.link, 1,", "a.link, 2,"), BOTH),
    "K31": dropped("tell of what is kept", SUM, "dm.semaphore_increase(core, semaphore)", "rl"),
    "K32": Fault("not through the mux", SUM, CONNECT, "await dm.connect()\n", BOTH, SLOWER),
    "K33": Fault("sum of a tile too few", VERB, "on.add(a.whole(), a.format, b.whole(), b.format, start)",
                 "on.add(a.whole(), a.format, 0 * b.whole(), b.format, start)", BOTH, NUMBERS),
    "K34": Fault("third term forgotten", VERB, "(before[0].whole(), before[0].format) if before else None", "None", "rr",
                 NUMBERS),
}  # fmt: skip
