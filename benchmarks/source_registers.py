"""Which order of loads and releases of SrcA and SrcB gives the measured loops of a matmul on Wormhole: structures, side by side.

Stand-alone. The loops are those of tt-metal's notes of August and September 2026: bfloat16, a step is one inner tile of an r x c
subblock, 7 steps a subblock. Two banks a source. Up to two tiles of the held operand stay while the other one streams.
"""

from dataclasses import dataclass
from itertools import product

DATA, ISSUE, STEPS, INNER = 32, 3, 56, 7  # cycles a tile, of issue a product; steps that are run, and of a subblock
Tile = tuple[str, int]  # source, and its number in it
Mac = tuple[int, Tile, Tile, list[Tile]]  # step, streamed, held, and what it releases


@dataclass(frozen=True)
class Loop:
    """One variant that was measured: cycles a step. `turn`: what packs and DST cost a subblock."""

    name: str
    measured: float
    rows: int = 2
    cols: int = 2
    phases: int = 2
    turn: int = 0
    alternate: bool = False
    mocked: str = ""


FP32, BF16 = 70, 28  # 10 and 4 cycles a step, by the same notes
LOOPS = (
    Loop("HiFi2", 209, turn=FP32),
    Loop("LoFi", 199, phases=1, turn=FP32),
    Loop("HiFi4", 280.5, phases=4, turn=FP32),
    Loop("no packs", 197),
    Loop("unpack mocked", 192.5, mocked="unpack"),
    Loop("math mocked", 192, mocked="math"),
    Loop("bare unpack stream", 186.5, mocked="banks"),
    Loop("alternating HiFi2", 202.5, turn=FP32, alternate=True),
    Loop("alternating LoFi", 194, phases=1, turn=FP32, alternate=True),
    Loop("alternating HiFi4", 280, phases=4, turn=FP32, alternate=True),
    Loop("alternating, no packs", 193, alternate=True),
    Loop("alternating, bfloat16 DST", 197, turn=BF16, alternate=True),
    Loop("4x2, bfloat16 DST", 366, rows=4, turn=BF16),
    Loop("2x4, bfloat16 DST", 336, cols=4, turn=BF16),
)


@dataclass(frozen=True)
class Structure:
    """What is open: whether a load that waits for its bank lets the other unpacker go first, and what a wait hides."""

    queues: str  # "one", or "two": one for each source
    hidden: bool  # a load's start may pass before its bank is free
    start: int  # cycles of each load before its data
    way: int  # from math's release to the unpacker and from data to math, together

    def cycles(self, loop: Loop) -> float:
        """Cycles a step, in the steady state."""
        loads, macs = order(loop)
        queues = [[x for x in loads if x[0] == source] for source in "AB"]
        if self.queues == "one" or loop.mocked == "unpack":  # a mock waits for its bank on the thread, so in program order
            queues = [loads]
        each = ISSUE if loop.mocked == "math" else 16 * loop.phases + ISSUE
        data = 0 if loop.mocked == "unpack" else DATA
        released: dict[Tile, int] = {}
        there: dict[Tile, int] = {}
        engine = math = 0
        ends: dict[int, int] = {}

        def free(x: Tile) -> int | None:
            """When its bank is the unpacker's; nothing while math has yet to say so."""
            return 0 if x[1] < 2 or loop.mocked == "banks" else released.get((x[0], x[1] - 2))

        for step, streamed, held, releases in macs:
            while not {streamed, held} <= there.keys():
                able = [(max(at, engine), loads.index(q[0]), q) for q in queues if q and (at := free(q[0])) is not None]
                at, _, queue = min(able)
                begun = max(engine + self.start, at) if self.hidden else at + self.start
                engine = begun + data
                there[queue.pop(0)] = engine + self.way
            if step not in ends and step % INNER == 0:
                math += loop.turn
            math = ends[step] = max(math, there[streamed], there[held]) + (0 if loop.mocked == "banks" else each)
            released |= dict.fromkeys(releases, math)
        return (ends[STEPS - 1] - ends[2 * INNER - 1]) / (STEPS - 2 * INNER)


def order(loop: Loop) -> tuple[list[Tile], list[Mac]]:
    """Loads as the unpack thread issues them, and products as math does: LLK `llk_unpack_AB_matmul.h`, `llk_math_matmul.h`."""
    loads: list[Tile] = []
    macs: list[Mac] = []
    counts = {"A": 0, "B": 0}

    def load(source: str, tiles: int) -> list[Tile]:
        new = [(source, counts[source] + i) for i in range(tiles)]
        counts[source] += tiles
        loads.extend(new)
        return new

    for step in range(STEPS):
        holds_b = step % 2 == 0 if loop.alternate else loop.cols >= loop.rows
        (holds, keeps), (streams, passes) = (("B", loop.rows), ("A", loop.cols))[:: 1 if holds_b else -1]
        for first in range(0, keeps, 2):
            held, streamed = load(holds, min(2, keeps - first)), load(streams, passes)
            for s, h in product(streamed, held):
                macs.append((step, s, h, [s] * (h is held[-1]) + [h] * (s is streamed[-1])))
    return loads, macs


def main() -> None:
    """Print every structure's worst error, then the table of the best."""
    found = []
    for queues, hidden, start, way in product(("one", "two"), (True, False), (14, 15, 16), (0, 8, 12, 16)):
        tried = Structure(queues, hidden, start, way)
        errors = [tried.cycles(loop) / loop.measured - 1 for loop in LOOPS]
        found.append((max(map(abs, errors)), sum(map(abs, errors)) / len(errors), str(tried), tried))
    for worst, mean, name, _ in sorted(found):
        print(f"worst {worst:6.1%}  mean {mean:6.1%}  {name}")
    best = min(found)[-1]
    print(f"\n{best}")
    for loop in LOOPS:
        print(f"{loop.name:28}{loop.measured:8.1f}{best.cycles(loop):8.1f}{best.cycles(loop) / loop.measured - 1:+8.1%}")


if __name__ == "__main__":
    main()
