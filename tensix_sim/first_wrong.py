"""Where wrong numbers begin: the first quantity of the algorithm that the core of some suspect rows never held.

The core is watched in a second run: all that is written to its circular buffers is held against what the spec gives, quantity by
quantity. Which verb makes what, and in which buffer it lies, is the kernel's own affair.
"""

from collections.abc import Iterable

import numpy as np

from tensix_sim.expected import Quantity
from tensix_sim.formats import Values

CLOSE = 2.0**-7  # relative L2 error of a quantity that is taken for the same: a bfloat16's last place


class Witness:
    """What a core has not held so far, of the quantities that it should in their order."""

    def __init__(self, quantities: Iterable[Quantity]) -> None:
        self.missing = list(quantities)

    def __call__(self, block: Values) -> None:
        """Take notice of what a circular buffer holds, [tile rows, 32, tile columns, 32], or [..., 1] of a column."""
        self.missing = [quantity for quantity in self.missing if not _holds(block, quantity)]

    @property
    def first_wrong(self) -> str:
        """The step that went wrong."""
        return self.missing[0].what if self.missing else "the write of its pages"


def _holds(block: Values, quantity: Quantity) -> bool:
    """Whether a quantity is among a block's rows of tiles, or is the block, its tiles transposed or not."""
    wanted = quantity.tiles
    rows, _, cols, width = wanted.shape
    if quantity.rows:
        return block.shape[2] >= cols and any(_close(row[:, :cols, :width], wanted[0]) for row in block)
    laid = block, block.transpose(2, 1, 0, 3)
    return any(x.shape[0] >= rows and x.shape[2] >= cols and _close(x[:rows, :, :cols, :width], wanted) for x in laid)


def _close(x: Values, wanted: Values) -> bool:
    """Whether two arrays of one shape are the same but for roundings."""
    if x.shape != wanted.shape or not np.isclose(x.flat[0], wanted.flat[0], rtol=1 / 8, equal_nan=True):  # most are not
        return False
    there = np.isfinite(wanted)
    if (np.isfinite(x) != there).any():
        return False
    x, wanted = (np.where(there, each, np.float64(0)) for each in (x, wanted))
    return bool(np.linalg.norm(x - wanted) <= CLOSE * np.linalg.norm(wanted))
