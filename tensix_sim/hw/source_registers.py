"""SrcA and SrcB of a matrix product: two banks each, which the unpackers fill and math gives back.

Tiles of one operand are held, up to two of them, a bank each, while the tiles of the other one stream past. A load waits for its
bank; a hand-shake after the release, and the cycles of its data, math may use it. Math gives a tile back after its last use. With
two tiles held the unpackers take turns, a tile at a time, and one that waits for its bank lets the other go first; with one, its
successor comes into the other bank beside the streamed tiles.
"""

from collections import deque
from functools import cache
from itertools import count, product

A, B = range(2)
BANKS = 2
Tile = tuple[int, int]  # source, and its number in it


@cache
def product_cycles(h: int, w: int, k: int, each: int, data: tuple[int, int], handshake: int) -> int:
    """Cycles of the math thread for a subblock h x w with k inner tiles, behind another one: `each` for a product, and waits.

    `data` are the cycles in which a tile of either source comes from L1.
    """
    loads, products = order(h, w, 2 * k)
    turns = min(h, w) > 1
    queues = [deque(x for x in loads if x[0] == source) for source in (A, B)]
    place = {x: i for i, x in enumerate(loads)}
    free: dict[Tile, int] = {}  # when math gives a tile back
    there: dict[Tile, int] = {}
    unpackers, math, half = [0, 0], 0, 0
    for i, (streamed, held, used) in enumerate(products):
        while not {streamed, held} <= there.keys():
            heads = [(free.get((x[0], x[1] - BANKS), None if x[1] >= BANKS else 0), x) for x in (q[0] for q in queues if q)]
            at, _, tile = min((max(at, unpackers[x[0]]), place[x], x) for at, x in heads if at is not None)
            loaded = at + data[tile[0]]
            for source in (A, B) if turns else tile[:1]:
                unpackers[source] = loaded
            there[queues[tile[0]].popleft()] = loaded + handshake
        math = max(math, there[streamed], there[held]) + each
        free |= dict.fromkeys(used, math)
        half = math if 2 * (i + 1) == len(products) else half
    return math - half


def order(h: int, w: int, steps: int) -> tuple[list[Tile], list[tuple[Tile, Tile, list[Tile]]]]:
    """Loads as the unpack thread issues them; products, of a streamed and a held tile, with the tiles that each uses last.

    LLK `llk_unpack_AB_matmul.h` and `llk_math_matmul.h`: the narrower side is held.
    """
    loads: list[Tile] = []
    products = []
    (keeps, holds), (passes, streams) = ((h, B), (w, A)) if w >= h else ((w, A), (h, B))
    numbers = count(), count()
    for _, first in product(range(steps), range(0, keeps, BANKS)):
        held = [(holds, next(numbers[holds])) for _ in range(min(BANKS, keeps - first))]
        streamed = [(streams, next(numbers[streams])) for _ in range(passes)]
        loads += held + streamed
        for s, t in product(streamed, held):
            products.append((s, t, [s] * (t is held[-1]) + [t] * (s is streamed[-1])))
    return loads, products
