"""Which order of loads and releases of SrcA and SrcB gives the measured loops of a matmul on Wormhole: structures, side by side.

Stand-alone. What was found is `tensix_sim/hw/source_registers.py`, with a way of 12, which is what the unpack thread's
instructions of a tile take, where 8 to 10 would fit best. A step is one inner tile of an r x c subblock. Two banks a source; up
to two tiles of the held operand stay while the other one streams. The first loops are those of the notes of tt-metal #57941, in
bfloat16; what packs cost is from the same table. The others are DERIVED from the device utilisation of tt-metal's GEMM benchmark
on an n150: cycles a step, less 28 a subblock.
"""

from dataclasses import dataclass
from itertools import product

PORT, ISSUE, STEPS, INNER = 64, 3, 56, 7  # bytes a cycle; cycles of issue a product; steps that are run, and of a subblock
THREAD = 12  # cycles of the unpack thread for a tile
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
    tile: int = 2048  # bytes


FP32, ALTERNATING, BF16 = 84, 66, 28  # 12, 9.5 and 4 cycles a step
LOOPS = (
    Loop("HiFi2", 209, turn=FP32),
    Loop("LoFi", 199, phases=1, turn=FP32),
    Loop("HiFi4", 280.5, phases=4, turn=FP32),
    Loop("no packs", 197),
    Loop("unpack mocked", 192.5, mocked="unpack"),
    Loop("math mocked", 192, mocked="math"),
    Loop("bare unpack stream", 186.5, mocked="banks"),
    Loop("alternating HiFi2", 202.5, turn=ALTERNATING, alternate=True),
    Loop("alternating LoFi", 194, phases=1, turn=ALTERNATING, alternate=True),
    Loop("alternating HiFi4", 280, phases=4, turn=ALTERNATING, alternate=True),
    Loop("alternating, no packs", 193, alternate=True),
    Loop("alternating, bfloat16 DST", 197, turn=BF16, alternate=True),
    Loop("4x2, bfloat16 DST", 366, rows=4, turn=BF16),
    Loop("2x4, bfloat16 DST", 336, cols=4, turn=BF16),
    Loop("GEMM 1x4 bfloat16", 190, rows=1, cols=4),
    Loop("GEMM 1x8 bfloat16", 384, rows=1, cols=8),
    Loop("GEMM 1x4 bfloat8_b", 140, rows=1, cols=4, tile=1024),
    Loop("GEMM 1x8 bfloat8_b LoFi", 214, rows=1, cols=8, phases=1, tile=1024),
    Loop("GEMM 1x4 bfloat8_b LoFi", 99, rows=1, cols=4, phases=1, tile=1024),
    Loop("GEMM 1x8 bfloat4_b LoFi", 159, rows=1, cols=8, phases=1, tile=512),
    Loop("GEMM 4x2 bfloat8_b LoFi", 184, rows=4, phases=1, tile=1024),
)


@dataclass(frozen=True)
class Structure:
    """What is open: how the two unpackers share L1, and where cycles go that are not data."""

    unpackers: (
        str  # "in order"; "in turns": one that waits for its bank lets the other go; "beside": so, but both where one is held
    )
    share: float  # of the port's rate
    start: int  # cycles of each load before its data, once its bank is free
    way: int  # from math's release to the unpacker and from data to math, together

    def cycles(self, loop: Loop) -> float:
        """Cycles a step, in the steady state."""
        loads, macs = order(loop)
        place = {x: i for i, x in enumerate(loads)}
        mock = loop.mocked == "unpack"  # waits and sets flags on the thread, in program order
        sources = ("AB",) if self.unpackers == "in order" or mock else ("A", "B")
        beside = self.unpackers == "beside" and min(loop.rows, loop.cols) == 1
        queues = {of: [x for x in loads if x[0] in of] for of in sources}
        each = ISSUE if loop.mocked == "math" else 16 * loop.phases + ISSUE
        load = THREAD + self.way if mock else self.start + max(loop.tile / (PORT * self.share), THREAD)
        released: dict[Tile, float] = {}
        there: dict[Tile, float] = {}
        engines, math, ends = dict.fromkeys(sources, 0.0), 0.0, {}

        def free(x: Tile) -> float | None:
            """When its bank is the unpacker's; nothing while math has yet to say so."""
            return 0 if x[1] < 2 or loop.mocked == "banks" else released.get((x[0], x[1] - 2))

        for step, streamed, held, releases in macs:
            while not {streamed, held} <= there.keys():
                heads = [(free(q[0]), q[0], of) for of, q in queues.items() if q]
                at, _, of = min((max(at, engines[of]), place[x], of) for at, x, of in heads if at is not None)
                for busy in (of,) if beside else sources:
                    engines[busy] = at + load
                there[queues[of].pop(0)] = at + load + self.way
            if step not in ends and step % INNER == 0:
                math += loop.turn
            math = ends[step] = max(math, there[streamed], there[held]) + (0 if loop.mocked == "banks" else each)
            released |= dict.fromkeys(releases, math)
        return (ends[STEPS - 1] - ends[2 * INNER - 1]) / (STEPS - 2 * INNER)


MODEL = Structure("beside", 2 / 3, 0, THREAD)


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
    """Print the ten best structures and the best of each way to share, then the tables of the best and of the model's."""
    found = []
    for unpackers, (share, start), way in product(
        ("in order", "in turns", "beside"), ((1, 16), (1, 0), (2 / 3, 0), (2 / 3, 8)), (0, 8, 12, 16, 32)
    ):
        tried = Structure(unpackers, share, start, way)
        errors = [abs(tried.cycles(loop) / loop.measured - 1) for loop in LOOPS]
        found.append((sum(errors) / len(errors), max(errors), str(tried), tried))
    found.sort()
    best_of = {row[3].unpackers: row for row in reversed(found)}
    for mean, worst, name, _ in [*found[:10], *best_of.values()]:
        print(f"mean {mean:6.1%}  worst {worst:6.1%}  {name}")
    best = found[0][-1]
    print(f"\nbest: {best}\nmodel: {MODEL}\n\n{'loop':28}{'measured':>8}{'best':>8}{'':8}{'model':>8}")
    for loop in LOOPS:
        told = "".join(f"{cycles:8.1f}{cycles / loop.measured - 1:+8.1%}" for cycles in (best.cycles(loop), MODEL.cycles(loop)))
        print(f"{loop.name:28}{loop.measured:8.1f}{told}")


if __name__ == "__main__":
    main()
