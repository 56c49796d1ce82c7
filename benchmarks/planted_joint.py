"""Faults to plant in the kernels of the joint ring: as `planted` has those of the others.

Runs: `j` has two Q chunks a core, which wait in DRAM; `j1` has one, which waits in L1; `jb` is balanced; `jr` has one K/V head,
of which a core of each row reads for all.
"""

from typing import Any

from planting import AS_GOOD, HARMLESS, NUMBERS, SLOWER, Fault, doubled, dropped, unawaited

Raw = dict[str, Any]

GATHER, READ, WRITE, COMPUTE, TOLD = (
    f"sdpa/ring_joint/{name}.py" for name in ("gather", "reader", "writer", "streaming", "args")
)
TELL = "await dm.semaphore_wait(MET, k * len(a.others))\n        tell(dm, a)"
ROW_SEND = "await send_to_all(dm, cb, a.own.chunk.N * cols, a.row.others, NEXT, BEFORE)"
SEND = "await dm.send(cb, run.target, run.places, a.step, a.link, 1, a.packet_tiles)"
FLUSH, LAST = "await flush(dm, a, cbs, saving)", "await write_out(dm, a, cbs.out, place)"
SAVE = "await write_out(dm, a, cbs.out, place)                                             # O [M, E]"

JOINT_FAULTS = {
    "J01": dropped("wait for a slice", READ, "await dm.semaphore_wait(*it.awaited)", "j j1"),
    "J02": Fault("wait for the slice before", READ, "dm.semaphore_wait(*it.awaited)",
                 "dm.semaphore_wait(it.awaited[0], it.awaited[1] - 1)", "j j1"),
    "J03": dropped("gather: wait for a slice to relay", GATHER, "await dm.semaphore_wait(a.landed, k)", "j j1"),
    "J04": Fault("gather: told before the other links have it", GATHER, TELL, "tell(dm, a)", "j j1"),
    "J05": dropped("gather: tell", GATHER, "tell(dm, a)", "j j1"),
    "J06": doubled("gather: tell", GATHER, "tell(dm, a)", "j j1"),
    "J07": dropped("gather: raise of the first link's core", GATHER, "dm.semaphore_increase(a.first, MET)", "j"),
    "J49": dropped("gather: release of the other links", GATHER, "dm.semaphore_increase(core, RELEASED)", "j"),
    "J50": dropped("gather: wait for the release", GATHER, "await dm.semaphore_wait(RELEASED, k)", "j j1"),
    "J08": dropped("gather: signal behind a slice", GATHER, "dm.signal(a.landed, a.step, a.link, 1, dm.core.logical)", "j j1"),
    "J09": Fault("gather: signal to the core beside", GATHER, "1, dm.core.logical)", "1, a.first)", "j"),
    "J10": dropped("gather: packets of a slice", GATHER, SEND, "j j1"),
    "J11": Fault("gather: packets land a page late", GATHER, "run.target, run.places", "run.target, [p + 1 for p in run.places]",
                 "j"),
    "J12": Fault("gather: sent the other way", GATHER, "run.places, a.step", "run.places, -a.step", "j"),
    "J13": Fault("gather: sent two hops", GATHER, "a.link, 1, a.packet_tiles", "a.link, 2, a.packet_tiles", "j"),
    "J14": dropped("gather: pop of packets", GATHER, "dm.pop(cb, a.run_tiles)", "j j1"),
    "J15": Fault("gather: popped before it is sent", GATHER, "await dm.wait(cb, a.run_tiles)",
                 "await dm.wait(cb, a.run_tiles); dm.pop(cb, a.run_tiles)", "j"),
    "J16": dropped("gather: reserve of packets", GATHER, "await dm.reserve(cb, a.run_tiles)", "j"),
    "J17": unawaited("gather: read of packets", GATHER, "await dm.read(run.source, run.pages", "j"),
    "J18": dropped("gather: signals start at 0 for the next call", GATHER, "dm.semaphore_set(a.landed, 0)", "j", SLOWER),
    "J19": Fault("gather: last slice is not waited for", GATHER, "range(1, a.receives + 1)", "range(1, a.receives)", "j j1"),
    "J20": Fault("gather: own slice in place of the relayed one", GATHER, "a, k)\n    dm.semaphore", "a, 0)\n    dm.semaphore",
                 "j"),
    "J21": Fault("gather: connections not opened", GATHER, "    if a.sent:\n        await dm.connect()\n    for", "    for", "j",
                 SLOWER),
    "J22": dropped("save of O", WRITE, SAVE, "j"),
    "J23": Fault("saves of maxima and sums to the first chunk's pages", WRITE, "strict=True):\n            await dm.wait(cb, M)",
                 "strict=True):\n            pages = range(len(pages)); await dm.wait(cb, M)", "j"),
    "J24": dropped("pop of what is saved", WRITE, "dm.pop(cb, M)", "j"),
    "J25": Fault("maxima read in place of sums", WRITE, "dm.read(a.statistics, pages, cb",
                 "dm.read(a.statistics, statistics(a, place)[0], cb", "j", NUMBERS),
    "J26": Fault("O of the next head read back", WRITE, "row = (b * part.heads.q + head)",
                 "row = (b * part.heads.q + (head ^ 1))",
                 "j"),
    "J27": dropped("push of the restored O", WRITE, "dm.push(cbs.prev_out, M * E)", "j"),
    "J28": Fault("restored before it is saved", WRITE, f"{FLUSH}\n            await restore",
                 "pass\n            await restore", "j"),
    "J29": dropped("wait for the last K chunk's signal", WRITE, "await dm.wait(cbs.signal, 1)", "j"),
    "J30": dropped("pop of the signal", WRITE, "dm.pop(cbs.signal, 1)", "j"),
    "J31": Fault("output of the last slice not written", WRITE, f"{LAST}\n        else", "pass\n        else", "j"),
    "J32": dropped("pop of Q", COMPUTE, "t.pop(x.Q)", "j j1"),
    "J33": dropped("pop of the old maxima", COMPUTE, "t.pop(prev.m)", "j j1"),
    "J34": Fault("every slice starts anew", COMPUTE, "it.first and i == 0", "i == 0", "j j1 jb"),
    "J35": Fault("nothing starts anew", COMPUTE, "it.first and i == 0", "False", "j j1"),
    "J36": Fault("divided after every slice", COMPUTE, "last and it.last", "last", "j j1"),
    "J37": Fault("never divided", COMPUTE, "last and it.last", "False", "j j1"),
    "J38": Fault("the first set in place of what came from DRAM", COMPUTE, "A if it.first else restored(t, a)", "A", "j"),
    "J39": Fault("signal of the last K chunk dropped", COMPUTE, "await signal(t)\n        into", "pass\n        into", "j"),
    "J40": Fault("slices of the ring's other half first", TOLD, "return self._known[q]", "return self._known[q][::-1]", "j j1",
                 AS_GOOD),
    "J41": Fault("a slice from its second tile row on", TOLD, "keys.row + j * N", "keys.row + j * N + (keys.row > 0)", "j",
                 NUMBERS),
    "J42": Fault("a balanced slice met by all Q chunks", TOLD, "not self.later or q >= q_chunks // 2", "True", "jb"),
    "J43": dropped("row: multicast", READ, ROW_SEND, "jr"),
    "J44": Fault("row: pushed before it is sent", READ, ROW_SEND, f"dm.push(cb, a.own.chunk.N * cols); {ROW_SEND}; return", "jr"),
    "J45": dropped("row: wait for what comes", READ, "await receive(dm, a.row.sender)", "jr"),
    "J46": Fault("row: padding left out", READ, "range(a.padding(it))", "range(0)", "jr", HARMLESS),
    "J47": Fault("padding of an even number of chunks left out", READ, "if pushed and pushed % 2 == 0:", "if False:", "j j1"),
    "J48": Fault("K read in place of V", READ, "chunk.keys.v, V, place", "chunk.keys.k, V, place", "j", NUMBERS),
}  # fmt: skip


def joint_specs(spec: Any) -> dict[str, Raw]:
    """Runs of the joint ring, from the maker of small ones."""
    joint = {"op": "ring_joint_sdpa", "board": "galaxy", "ring_size": 4, "k": 64}
    return {
        "j": spec(heads=2, rows=512, grid=[1, 2], is_causal=False, **joint),
        "j1": spec(heads=2, rows=512, is_causal=False, **joint),
        "jb": spec(heads=2, rows=1024, grid=[1, 2], is_balanced=True, **joint),
        "jr": spec(heads=3, kv_heads=1, rows=512, is_causal=False, **joint),
    }
