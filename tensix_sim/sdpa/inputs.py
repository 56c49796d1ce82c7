"""The numbers that an op works on, and the page table through which it finds K and V."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.config import RunSpec
from tensix_sim.formats import FORMATS, TILE, Format, Values, largest, to_format
from tensix_sim.sdpa.geometry import pages

HIDDEN_SHARE = 0.25  # of a random mask; upstream's own tests draw so many


@dataclass(frozen=True)
class InputValues:
    """Unquantised q [B, NQH, S, DH], k and v [B, NKH, Sk, DH], the page table [B, pages] where K and V are paged.

    A mask [1 or B, 1 or NQH, S, Sk], which windows of tokens are too, is added to the scaled scores; it may be -inf. Sinks are
    [1, NQH, 1, 1].
    """

    q: Values
    k: Values
    v: Values
    page_table: NDArray[np.int32] | None
    attn_mask: Values | None = None
    sink: Values | None = None
    joint: tuple[Values, Values, Values] | None = None  # Q [B, NQH, L, DH], K and V [B, NKH, L, DH]

    @property
    def given(self) -> tuple[NDArray[Any] | None, ...]:
        """All of them."""
        return self.q, self.k, self.v, self.page_table, self.attn_mask, self.sink, *(self.joint or ())

    @property
    def sinks(self) -> Values | None:
        """The sink of each head."""
        return None if self.sink is None else self.sink.reshape(-1)

    def keys(self, end: int) -> tuple[Values, Values]:
        """K and V up to a row of the sequence, behind which all is padding, with the joint rows behind."""
        k, v = self.k[:, :, :end], self.v[:, :, :end]
        if self.joint is None:
            return k, v
        return np.concatenate([k, self.joint[1]], axis=2), np.concatenate([v, self.joint[2]], axis=2)

    def mask_of(self, batch: int) -> Values | None:
        """The mask of a batch [1 or NQH, S, Sk]."""
        return None if self.attn_mask is None else self.attn_mask[batch % len(self.attn_mask)]


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
    prefix = spec.prefix
    if given.q and given.k and given.v:
        q, k, v = (np.ascontiguousarray(np.load(path), np.float32) for path in (given.q, given.k, given.v))
    else:
        rng = np.random.default_rng(given.seed)
        shapes = (given.q_heads, prefix + given.seq_len), (given.kv_heads, spec.kv_len), (given.kv_heads, spec.kv_len)
        q, k, v = (_draw(rng, (given.batch, heads, rows, given.head_dim), given.outliers) for heads, rows in shapes)
        q = np.ascontiguousarray(q[:, :, prefix:])
    return InputValues(q, k, v, page_table(spec), attn_mask(spec), attention_sink(spec), joint_rows(spec))


def joint_rows(spec: RunSpec) -> tuple[Values, Values, Values] | None:
    """Joint rows of Q [B, NQH, L, DH], K and V [B, NKH, L, DH], from their files or drawn."""
    given = spec.inputs
    if not spec.joint_len:
        return None
    if given.joint:
        q, k, v = (np.ascontiguousarray(np.load(path), np.float32) for path in given.joint)
    else:
        rng = np.random.default_rng(given.seed + 2)
        heads = (given.q_heads, given.kv_heads, given.kv_heads)
        q, k, v = (_draw(rng, (given.batch, n, spec.joint_len, given.head_dim), given.outliers) for n in heads)
    return q, k, v


def attn_mask(spec: RunSpec) -> Values | None:
    """The mask, from its file or as its name says: 0 where a key is seen, -inf where it is hidden."""
    given = spec.inputs
    if spec.cu_window_seqlens:
        return window_mask(spec.cu_window_seqlens)
    if given.attn_mask is None:
        return None
    if path := given.attn_mask_file:
        return np.ascontiguousarray(np.load(path), np.float32)
    shape = given.attn_mask_batch, given.attn_mask_heads, given.seq_len, spec.kv_len
    if given.attn_mask == "causal":
        hidden = np.broadcast_to(np.triu(np.ones(shape[2:], bool), 1), shape)
    else:
        hidden = np.random.default_rng([given.seed, 2]).random(shape, np.float32) < HIDDEN_SHARE
        hidden[..., 0] = False  # every query sees a key
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def window_mask(windows: Sequence[int]) -> Values:
    """What hides each window's tokens from all others, [1, 1, S, S]."""
    of = np.repeat(np.arange(len(windows) - 1), np.diff(windows))
    return np.where(of[:, np.newaxis] == of, np.float32(0), np.float32(-np.inf))[np.newaxis, np.newaxis]


def attention_sink(spec: RunSpec) -> Values | None:
    """The sinks [1, NQH, 1, 1], from their file or drawn: about as large as the largest scores before they are scaled."""
    given = spec.inputs
    if given.attention_sink is None:
        return None
    if path := given.attention_sink_file:
        return np.ascontiguousarray(np.load(path), np.float32)
    drawn = np.random.default_rng([given.seed, 3]).standard_normal((1, given.q_heads, 1, 1), np.float32)
    return 2 * np.float32(given.head_dim**0.5) * drawn


def sink_tiles(sink: Values, fmt: Format) -> Values:
    """Sinks as the kernels have them: of each head a tile that is all its sink, [NQH, 32, 32]."""
    return to_format(np.broadcast_to(sink.reshape(-1, 1, 1), (sink.size, TILE, TILE)), fmt)


def kernel_mask(mask: Values, fmt: Format, scale: float) -> Values:
    """A mask as the kernels add it, in whole tiles: an op of its own divides it by the scale; its padding hides all."""
    rows, cols = mask.shape[2:]
    whole = np.pad(mask, ((0, 0), (0, 0), (0, -rows % TILE), (0, -cols % TILE)))
    with np.errstate(over="ignore"):
        made = to_format(to_format(whole, fmt) * np.float32(1 / scale), fmt)
    made[:, :, rows:] = made[..., cols:] = -np.inf
    return made


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


def mask_misfits(mask: NDArray[Any], fmt: Format) -> str | None:
    """The same of a mask, in which what is too low to be held hides as well as -inf."""
    return misfits(np.where(mask < -largest(fmt), mask.dtype.type(0), mask), fmt)


def input_misfits(spec: RunSpec, inputs: InputValues) -> dict[str, str]:
    """Which of q, k, v, joint rows, the mask and the sinks the spec's formats cannot hold, and what is wrong with each."""
    formats = dict(zip("qkv", spec.inputs.dtypes, strict=True))
    found = {name: misfits(getattr(inputs, name), FORMATS[dtype]) for name, dtype in formats.items()}
    for name, rows in zip("qkv", inputs.joint or (), strict=False):
        found[f"joint {name}"] = misfits(rows, FORMATS[formats[name]])
    if inputs.attn_mask is not None and not spec.cu_window_seqlens:
        found["attn_mask"] = mask_misfits(inputs.attn_mask, FORMATS[spec.inputs.attn_mask_dtype])
    if inputs.sink is not None:
        found["attention_sink"] = misfits(inputs.sink, FORMATS[spec.inputs.attention_sink_dtype])
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
