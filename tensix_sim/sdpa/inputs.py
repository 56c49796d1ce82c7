"""The numbers that an op works on, and the page table through which it finds K and V."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.config import RunSpec
from tensix_sim.formats import FORMATS, Format, Values, largest
from tensix_sim.sdpa.geometry import pages


@dataclass(frozen=True)
class InputValues:
    """Unquantised q [B, NQH, S, DH], k and v [B, NKH, Sk, DH], and the page table [B, pages] where K and V are paged."""

    q: Values
    k: Values
    v: Values
    page_table: NDArray[np.int32] | None
    joint: tuple[Values, Values, Values] | None = None  # Q [B, NQH, L, DH], K and V [B, NKH, L, DH]


@dataclass(frozen=True)
class RunNumbers:
    """The numbers of a run: `inputs` in place of those that the spec gives, and how they are looked at.

    `ideal` places cost no accuracy (see `ComputeConfig`), nor do inputs that are not `quantised`, which no chip would have.
    """

    inputs: InputValues | None = None
    ideal: tuple[tuple[str, str, str], ...] = ()
    quantised: bool = True

    def of(self, spec: RunSpec) -> "InputValues | None":
        """The values; None with numerics off."""
        return None if spec.numerics == "off" else self.inputs or make_inputs(spec)


AS_GIVEN = RunNumbers()


def make_inputs(spec: RunSpec) -> InputValues:
    """The run's inputs, from its files or from its seed.

    With a prefix, Q is the last `seq_len` rows of what a dense run over prefix and new tokens would draw.
    """
    given = spec.inputs
    prefix, joint = spec.prefix, None
    if given.q and given.k and given.v:
        q, k, v = (np.ascontiguousarray(np.load(path), np.float32) for path in (given.q, given.k, given.v))
    else:
        rng = np.random.default_rng(given.seed)
        shapes = (given.q_heads, prefix + given.seq_len), (given.kv_heads, spec.kv_len), (given.kv_heads, spec.kv_len)
        q, k, v = (_draw(rng, (given.batch, heads, rows, given.head_dim), given.outliers) for heads, rows in shapes)
        q = np.ascontiguousarray(q[:, :, prefix:])
    if spec.joint_len:
        rng = np.random.default_rng(given.seed + 2)
        heads = (given.q_heads, given.kv_heads, given.kv_heads)
        jq, jk, jv = (_draw(rng, (given.batch, n, spec.joint_len, given.head_dim), given.outliers) for n in heads)
        joint = jq, jk, jv
    return InputValues(q, k, v, page_table(spec), joint)


def misfits(x: NDArray[Any], fmt: Format) -> str | None:
    """What is wrong with x [batch, heads, rows, columns] if `fmt` cannot hold all of it, as the end of a sentence about it.

    It is looked at head by head: a file that is mapped into memory need not fit it.
    """
    most, count, first = largest(fmt), 0, None
    for head in np.ndindex(x.shape[:2]):
        with np.errstate(over="ignore"):
            fits = np.abs(x[head].astype(np.float32)) <= most
        if bad := fits.size - int(np.count_nonzero(fits)):
            first = first or (*head, *(int(i) for i in np.unravel_index(int(fits.argmin()), fits.shape)))
            count += bad
    if first is None:
        return None
    return f"{count} of its values are NaN, infinite or beyond {fmt.name}'s {most:.4g}, the first, {x[first]:g}, at {first}"


def input_misfits(spec: RunSpec, inputs: InputValues) -> dict[str, str]:
    """Which of q, k and v the spec's formats cannot hold, and what is wrong with each."""
    formats = dict(zip("qkv", spec.inputs.dtypes, strict=True))
    found = {name: misfits(getattr(inputs, name), FORMATS[dtype]) for name, dtype in formats.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


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
