"""The numbers that an op works on, and the page table through which it finds K and V."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensix_sim.config import RunSpec
from tensix_sim.ops.geometry import pages
from tensix_sim.program import Values


@dataclass(frozen=True)
class Inputs:
    """Unquantised q [B, NQH, S, DH], k and v [B, NKH, Sk, DH], and the page table [B, pages] where K and V are paged."""

    q: Values
    k: Values
    v: Values
    page_table: NDArray[np.int32] | None


def make_inputs(spec: RunSpec) -> Inputs:
    """The run's inputs, from its files or from its seed.

    With a prefix, Q is the last `seq_len` rows of what a dense run over prefix and new tokens would draw.
    """
    given = spec.inputs
    prefix = spec.prefix
    if given.q and given.k and given.v:
        q, k, v = (np.ascontiguousarray(np.load(path), np.float32) for path in (given.q, given.k, given.v))
    else:
        rng = np.random.default_rng(given.seed)
        shapes = (given.q_heads, prefix + given.seq_len), (given.kv_heads, spec.kv_len), (given.kv_heads, spec.kv_len)
        q, k, v = (_draw(rng, (given.batch, heads, rows, given.head_dim), given.outliers) for heads, rows in shapes)
        q = np.ascontiguousarray(q[:, :, prefix:])
    return Inputs(q, k, v, page_table(spec))


def _draw(rng: np.random.Generator, shape: tuple[int, ...], outliers: float) -> Values:
    """N(0, 1), and N(0, 10) added to a fraction `outliers` of the elements."""
    values = rng.standard_normal(shape, np.float32)
    if outliers:
        struck = rng.random(shape, np.float32) < outliers
        values[struck] += 10 * rng.standard_normal(int(struck.sum()), np.float32)
    return values


def page_table(spec: RunSpec) -> NDArray[np.int32] | None:
    """Block of each page of each batch [B, pages], or None where K and V are dense."""
    count = pages(spec)
    if not count or spec.paged_kv is None:
        return None
    if path := spec.paged_kv.page_table_file:
        return np.asarray(np.load(path)[:, :count], np.int32)
    batch = spec.inputs.batch
    blocks = np.arange(batch * count, dtype=np.int32)
    if spec.paged_kv.page_table == "shuffled":
        blocks = np.random.default_rng(spec.inputs.seed + 1).permutation(blocks)
    return blocks.reshape(batch, count)
