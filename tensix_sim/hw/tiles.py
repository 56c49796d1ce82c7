"""What the tiles of a circular buffer hold: blocks in the order of their pushes, or the buffer's own memory."""

import numpy as np

from tensix_sim.formats import TILE, Values


class Tiles:
    """The values in a circular buffer of `size` tiles. A block is [tile rows, 32, tile columns, 32], or [..., 1] of a column.

    `blocks` are queued: what was written first is in front. `memory` is addressed, by rows of tiles from the buffer's start.
    """

    __slots__ = ("blocks", "memory", "popped", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: list[Values] = []
        self.memory: Values | None = None
        self.popped = 0

    def block(self, rows: int, cols: int) -> Values:
        """The first rows x cols tiles as one block."""
        if self.memory is not None:
            return self.memory[self.popped % self.size // cols :][:rows]
        first = self.blocks[0]
        if first.shape[0] == rows and first.shape[2] == cols:
            return first
        parts = []
        while rows:
            part = self.blocks.pop(0)
            if part.shape[2] != cols or part.shape[0] > rows:
                part = self._reshaped(part, rows, cols)
            parts.append(part)
            rows -= part.shape[0]
        self.blocks.insert(0, np.concatenate(parts))
        return self.blocks[0]

    def rows(self, start: int, stop: int, cols: int, there: int) -> Values:
        """Rows `start` to `stop` of `cols` tiles, a view; if they are in parts, all rows of `there` tiles are put together."""
        if not (self.blocks[0].shape[0] >= stop and self.blocks[0].shape[2] == cols):
            before_the_end = self.size - self.popped % self.size
            self.block(min(there, before_the_end) // cols, cols)
        return self.blocks[0][start:stop]

    def grid(self, cols: int, width: int = TILE) -> Values:
        """The buffer's memory by rows of `cols` tiles, [rows, 32, cols, width], NaN where nothing was written.

        For a buffer whose tiles are addressed and not queued; `width` 1 is a column.
        """
        if self.memory is None:
            self.memory = np.full((self.size // cols, TILE, cols, width), np.nan, np.float32)
        return self.memory

    def keep(self, block: Values, pushed: int) -> None:
        """Take the tiles that were pushed last, of `pushed` in all."""
        if self.memory is None:
            self.blocks.append(block)
        else:
            rows, cols = block.shape[0], block.shape[2]
            last = (pushed - 1) % self.size // cols + 1
            self.memory[last - rows : last] = block

    def pop(self, tiles: int) -> None:
        """Move the front behind so many tiles."""
        self.popped += tiles
        while tiles and self.blocks:
            first = self.blocks[0]
            rows, cols = first.shape[0], first.shape[2]
            if rows * cols <= tiles:
                tiles -= rows * cols
                self.blocks.pop(0)
            elif tiles % cols == 0:
                self.blocks[0] = first[tiles // cols :]
                return
            else:
                flat = first.swapaxes(1, 2).reshape(1, rows * cols, TILE, first.shape[3])[:, tiles:]
                self.blocks[0] = np.ascontiguousarray(flat.swapaxes(1, 2))
                return

    def _reshaped(self, part: Values, rows: int, cols: int) -> Values:
        """The next tiles in row-major order as at most `rows` rows of `cols`; what is left over stays in front."""
        width = part.shape[3]  # 1 of a column
        tiles = [part.swapaxes(1, 2).reshape(-1, TILE, width)]
        while sum(len(t) for t in tiles) < cols:
            tiles.append(self.blocks.pop(0).swapaxes(1, 2).reshape(-1, TILE, width))
        flat = np.concatenate(tiles)
        full = min(rows, len(flat) // cols)
        rest = flat[full * cols :]
        if len(rest):
            self.blocks.insert(0, rest.reshape(1, len(rest), TILE, width).swapaxes(1, 2))
        return np.ascontiguousarray(flat[: full * cols].reshape(full, cols, TILE, width).swapaxes(1, 2))
