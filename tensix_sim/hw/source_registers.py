"""SrcA and SrcB of a matrix product: two banks each, which the unpackers fill and math gives back.

Up to two tiles of one operand are held, a bank each, while the tiles of the other one stream past them. The unpackers take turns at
L1, a tile at a time. One that waits for its bank lets the other go first. A tile takes a hand-shake before its data, once its bank
is free, and another one from its bank's release to math's first use of it. Math gives a tile back right after its last use.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import product

A, B = range(2)
BANKS = 2
Tile = tuple[int, int]  # source, and its number in it


@cache
def product_cycles(h: int, w: int, k: int, each: int, data: tuple[int, int], handshake: int) -> int:
    """Cycles of the math thread for a subblock h x w with k inner tiles, one of many: `each` for a tile product, and its waits.

    `data` are the cycles in which a tile of either source comes from L1.
    """
    loads, products = _order(h, w, 2 * k)
    queues = [deque(x for x in loads if x[0] == source) for source in (A, B)]
    turn = {x: i for i, x in enumerate(loads)}
    free: dict[Tile, int] = {}  # when math gives a tile back
    there: dict[Tile, int] = {}
    unpack = math = half = 0
    for i, (streamed, held, used) in enumerate(products):
        while not {streamed, held} <= there.keys():
            heads = [(0 if x[1] < BANKS else free.get((x[0], x[1] - BANKS)), x) for x in (q[0] for q in queues if q)]
            at, _, tile = min((max(at, unpack), turn[x], x) for at, x in heads if at is not None)
            unpack = at + handshake + data[tile[0]]
            there[queues[tile[0]].popleft()] = unpack + handshake
        math = max(math, there[streamed], there[held]) + each
        free |= dict.fromkeys(used, math)
        half = math if 2 * (i + 1) == len(products) else half
    return math - half


def _order(h: int, w: int, steps: int) -> tuple[list[Tile], list[tuple[Tile, Tile, list[Tile]]]]:
    """Loads as unpack issues them, products as math does, with the tiles that each is the last to use.

    LLK `llk_unpack_AB_matmul.h` and `llk_math_matmul.h`: the narrower side is held.
    """
    loads: list[Tile] = []
    products = []
    (keeps, holds), (passes, streams) = ((h, B), (w, A)) if w >= h else ((w, A), (h, B))
    numbers = (_count(A), _count(B))
    for _, first in product(range(steps), range(0, keeps, BANKS)):
        held = [next(numbers[holds]) for _ in range(min(BANKS, keeps - first))]
        streamed = [next(numbers[streams]) for _ in range(passes)]
        loads += held + streamed
        for s, t in product(streamed, held):
            products.append((s, t, [s] * (t is held[-1]) + [t] * (s is streamed[-1])))
    return loads, products


def _count(source: int) -> Iterator[Tile]:
    number = 0
    while True:
        yield source, number
        number += 1
