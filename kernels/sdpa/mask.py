"""Which keys a query sees, in tiles: the K chunks to visit, the columns to compute, the tiles that hide the rest."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

TILE = 32
NEG_INF, TRAILING, LEADING_PREVIOUS, LEADING, TRAILING_NEXT = range(5)  # tiles of the palette; a bar may follow

Mark = tuple[int, int, range]  # (index, row, cols): tile `index` of the palette goes onto the columns `cols` of tile row `row`
Marks = tuple[Mark, ...]


@dataclass(frozen=True)
class Mask:
    """What a head's Q chunks of M tile rows see of `keys` rows of K, in chunks of N tile rows.

    A causal query sees the `window` keys up to its own, or all of these; any other sees `window` // 2 keys to
    either side, or all there are. With `narrow`, columns that no row of a Q chunk sees are not computed.
    `dense` is how the ring op's branch with a window does it: the whole mask is added to every K chunk. With `given` that is
    a mask of the user's, M x N tiles of which come with each K chunk, and nothing is stamped; so it is with `windows` of tokens,
    by where they begin and the last one ends: a query sees the keys of its own.
    """

    M: int
    N: int
    keys: int
    causal: bool = True
    window: int | None = None
    narrow: bool = False
    padded: bool = False  # Q or K is not whole chunks
    stamped: bool = True
    dense: bool = False  # no K chunk is skipped, and every tile of scores gets one of the mask, zeros where all is seen
    given: bool = False
    windows: tuple[int, ...] | None = None
    _known: dict[tuple[int, int, int], Marks] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def left(self) -> int | None:
        """Keys that a query sees before its own; None: all."""
        if self.window is None:
            return None
        return self.window - 1 if self.causal else self.window // 2

    @cached_property
    def right(self) -> int | None:
        """Keys that a query sees after its own; None: all."""
        if self.causal:
            return 0
        return None if self.window is None else self.window // 2

    # -- what is computed ---------------------------------------------------------------------------------------

    def k_range(self, row: int) -> range:
        """K chunks that the Q chunk at absolute tile row `row` visits."""
        if self.windows:
            begin, end = self.window_of(row * TILE, (row + self.M) * TILE)
            return range(begin // (self.N * TILE), -(-end // (self.N * TILE)))
        first = 0 if self.left is None or self.dense else max(0, row - -(-self.left // TILE)) // self.N
        return range(first, -(-self._end(row) // self.N))

    def active(self, row: int, j: int) -> int:
        """Columns of K chunk `j` that are computed for the Q chunk at tile row `row`."""
        return min(self.N, self._end(row) - j * self.N) if self.narrow else self.N

    def _end(self, row: int) -> int:
        """Tile column at which what a Q chunk sees ends."""
        key_tiles = -(-self.keys // TILE)
        if self.right is None:
            return key_tiles
        end = row + self.M - -self.right // TILE
        return min(end, -(-key_tiles // self.N) * self.N if self.causal else key_tiles)

    def window_of(self, first: int, end: int) -> tuple[int, int]:
        """From where the window of token `first` begins to where that of the last token before `end` ends."""
        assert self.windows
        return self.windows[bisect_right(self.windows, first) - 1], self.windows[bisect_left(self.windows, min(end, self.windows[-1]))]

    def block(self, row: int, j: int) -> NDArray[np.float32]:
        """What hides other windows' keys in K chunk `j` from the Q chunk at tile row `row`: [M, 32, N, 32]."""
        sizes, firsts = (self.M * TILE, self.N * TILE), (row * TILE, j * self.N * TILE)
        query, key = (
            np.searchsorted(self.windows or (), np.arange(first, first + size), side="right")
            for first, size in zip(firsts, sizes, strict=True)
        )
        hidden = np.where(query[:, np.newaxis] != key, np.float32(-np.inf), np.float32(0))
        return hidden.reshape(self.M, TILE, self.N, TILE)

    # -- what is hidden -----------------------------------------------------------------------------------------

    @property
    def palette(self) -> int:
        """Tiles from which the masks are stamped; 0 where nothing is ever hidden, or by what is given."""
        if self.given:
            return 0
        if self.window is not None:
            return max(6, 2 * self.M * self.N) if self.dense else 5 + self._has_bar
        if self.causal:
            return 2
        return 1 + self._has_bar if self.padded else 0

    @property
    def _has_bar(self) -> bool:
        """Whether the palette's last tile hides the padding within K's last tile."""
        return not self.causal and self.keys % TILE > 0

    @property
    def _edges(self) -> tuple[int, int]:
        """Whole tiles between a row's own tile and the window's edge tiles, and the keys beyond them."""
        assert self.window is not None
        return divmod(self.window if self.causal else self.window // 2, TILE)

    def tiles(self) -> NDArray[np.float32]:
        """The palette, [1, 32, tiles, 32]: 0 where a key is seen."""
        row, key = np.indices((TILE, TILE))
        distance = key - row  # from a query's own key, were it in this tile
        hidden = [np.ones((TILE, TILE), bool)]
        if self.right is not None:
            hidden.append(distance + TILE * (0 if self.causal else self._edges[0]) > self.right)
            if self.left is not None:
                away = TILE * self._edges[0]
                hidden += [distance - away - TILE < -self.left, distance - away < -self.left, distance + away + TILE > self.right]
        if self._has_bar:
            hidden.append(key >= self.keys % TILE)
        if self.dense:
            hidden += [np.zeros((TILE, TILE), bool)] * (self.palette - len(hidden))
        return np.where(np.stack(hidden, axis=1), np.float32(-np.inf), np.float32(0))[np.newaxis]

    def marks(self, row: int, j: int) -> Marks:
        """Stamps on the scores of the Q chunk at tile row `row` and K chunk `j`, row by row."""
        if self.given or not self.stamped:
            return ()
        diagonal, end = row - j * self.N, self.active(row, j)
        if self.window is None:
            diagonal = min(diagonal, self.N) if self.causal else 0
        key = diagonal, end, end if self.causal else min(end, self.keys // TILE - j * self.N)
        marks = self._known.get(key)
        if marks is None:
            marks = self._known[key] = tuple([mark for i in range(self.M) for mark in self._row_marks(i, *key)])
        return marks

    def _row_marks(self, i: int, diagonal: int, end: int, whole_keys: int) -> list[Mark]:
        """Stamps of row `i`, whose own tile is column `diagonal` + i; columns from `whole_keys` on are padding."""
        own = diagonal + i
        marks: list[tuple[int, int, int]] = []
        if self.window is not None:
            away, rest = self._edges
            edge, some = own - away, rest > 0
            marks += [(NEG_INF, 0, edge - some), (LEADING_PREVIOUS, edge - some, edge), (LEADING, edge, edge + 1)]
            if not self.causal:
                edge = own + away
                marks += [(TRAILING, edge, edge + 1), (TRAILING_NEXT, edge + 1, edge + 1 + some), (NEG_INF, edge + 1 + some, end)]
        if self.causal:
            marks += [(TRAILING, own, own + 1), (NEG_INF, own + 1, end)]
        else:
            bar = whole_keys + self._has_bar
            marks += [(self.palette - 1, whole_keys, bar), (NEG_INF, bar, end)]
        inside = [(tile, range(max(0, first), min(stop, end))) for tile, first, stop in marks]
        hidden = [(tile, i, columns) for tile, columns in inside if columns]
        if not self.dense:
            return hidden
        covered = {column for _, _, columns in hidden for column in columns}
        return hidden + [(self.palette - 1, i, range(c, c + 1)) for c in range(end) if c not in covered]


def palette(causal: bool, bars: Sequence[int]) -> NDArray[np.float32]:
    """Tiles of -inf where keys are hidden, [1, 32, tiles, 32]: all, those after a query's own, those from each of `bars` on."""
    row, key = np.indices((TILE, TILE))
    hidden = [np.ones((TILE, TILE), bool), *([key > row] if causal else []), *(key >= bar for bar in bars)]
    return np.where(np.stack(hidden, axis=1), np.float32(-np.inf), np.float32(0))[np.newaxis]
