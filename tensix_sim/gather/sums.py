"""The numbers of a reduce-scatter without its clock: the same hops, each sum as the chips' units of arithmetic make it."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from tensix_sim.arch import Machine
from tensix_sim.formats import TILE, Values
from tensix_sim.gather.reduce_scatter import WAYS, Hop, ReduceScatter
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.hw.exact import Exact
from tensix_sim.kernels.reduce_scatter import CAME, CROSSED, KEPT


def reduced(op: ReduceScatter, on: Machine, tensors: Sequence[Values]) -> list[Values]:
    """What each device gets, to the bit as from the kernels: in which of two orders tiles are added up depends on their chunk."""
    units = (Exact if op.exact else Arithmetic)(op.compute, on.chip.numbers)
    slices = [[_tiles(part) for part in np.split(x, op.devices, op.dim)] for x in tensors]

    @cache
    def arriving(i: int, step: int, owner: int, way: int) -> Values:
        """What the worker of a direction on chip `i` makes of a slice's chunks that end that `way`."""
        (hop,) = (hop for hop in hops(i, step) if (hop.slice, WAYS[hop.chunk]) == (owner, way))
        terms = [] if KEPT in hop.adds else [slices[i][owner]]
        for semaphore in hop.adds:
            place, by = {CAME: (i - step, step), CROSSED: (i + step, -step), KEPT: (i, -step)}[semaphore]
            terms.append(arriving(place % op.devices, by, owner, way))
        if len(terms) == 1:
            return terms[0]
        a, b, *before = terms
        start = (before[0], op.format) if before else None
        return units.pack(units.add(a, op.format, b, op.format, start), op.format)

    @cache
    def hops(i: int, step: int) -> list[Hop]:
        return list(op.hops(i, step, WAYS if op.halves else WAYS[:1]))

    def result(i: int) -> Values:
        if not op.halves:
            return arriving(i, -1 if i < op.devices - 1 else 1, i, WAYS[0])
        forward, backward = (arriving(i, step, i, step) for step in WAYS)
        return np.where(forwards, forward, backward)

    forwards = op.ends_forward(on)[:, None, None, None]
    return [_rows(result(i), op.result) for i in range(op.devices)]


def _tiles(x: Values) -> Values:
    """[pages, 32, 1, 32] of [..., rows, columns]."""
    *outer, rows, columns = x.shape
    split = np.ascontiguousarray(x, np.float32).reshape(*outer, rows // TILE, TILE, columns // TILE, TILE)
    return np.ascontiguousarray(split.swapaxes(-3, -2)).reshape(-1, TILE, 1, TILE)


def _rows(tiles: Values, shape: Sequence[int]) -> Values:
    """The same back."""
    *outer, rows, columns = shape
    return tiles.reshape(*outer, rows // TILE, columns // TILE, TILE, TILE).swapaxes(-3, -2).reshape(shape)
