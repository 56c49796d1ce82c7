"""What a user may change about a cause: legal changes of the spec, the likeliest first, each to be run before it is advised."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import get_args

from tensix_sim.analysis.reliefs import (
    BANKS,
    BARRIER,
    CHAINS,
    FPU,
    HANDSHAKES,
    IDLE,
    ISSUE,
    LINKS,
    MASK,
    PACK,
    SFPU,
    STRAGGLER,
    UNPACK,
)
from tensix_sim.config import FidelityName, FormatName, RunSpec
from tensix_sim.doctor.load import Work, countable
from tensix_sim.doctor.nearest import grids, k_chunk_sizes, q_chunk_sizes
from tensix_sim.doctor.rules import is_legal
from tensix_sim.sdpa.case import Case
from tensix_sim.sdpa.geometry import spec_machine
from tensix_sim.sdpa.keys import DTYPE, FIDELITY, FP32_DEST, GRID, K_CHUNK, K_DTYPE, KV_DTYPE, Q_CHUNK, V_DTYPE, Change
from tensix_sim.sdpa.op import Op
from tensix_sim.text import shown

OF_A_KIND = 2  # changes of the same setting
OTHER_SIZE = 1.25  # times as large or as small, at least

Attempts = Callable[[Case], Iterable[Change]]


@dataclass(frozen=True)
class Remedy:
    """A legal change and its spec; the cycles that it takes at least, 0 where they are not counted; what it costs in accuracy."""

    change: Change
    spec: RunSpec
    least: int
    note: str

    @property
    def text(self) -> str:
        """The change as a user would write it."""
        return ", ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in self.change.items())


def remedies(spec: RunSpec, ring_id: int, causes: Sequence[str]) -> Iterator[Remedy]:
    """Changes that may help a device: all kinds that the first of `causes` has, then the first kind of each other one."""
    plain = spec.model_copy(update={"numerics": "off", "trace": "off", "ring_id": ring_id if Op.of(spec).ring else None})
    case = Case.of(plain, spec_machine(plain))
    kinds = [kind for i, cause in enumerate(causes) for kind in _kinds(cause)[: None if i == 0 else 1]]
    for kind in dict.fromkeys(kinds):
        for change in islice((change for change in kind(case) if is_legal(case, change)), OF_A_KIND):
            changed = case.put(change)
            yield Remedy(change, changed.spec, _least(changed, ring_id), _note(case, change))


def _least(c: Case, ring_id: int) -> int:
    return Work(c.geometry).floor(c.on.chip, [ring_id]).cycles if countable(c.geometry) else 0


def _note(c: Case, change: Change) -> str:
    if FIDELITY in change and c[FIDELITY] == "HiFi4" and c[FP32_DEST] and c.on.chip.name == "wormhole_b0":
        return "numbers change; upstream prefers HiFi3 here, #38306" if change[FIDELITY] == "HiFi3" else "less accurate"
    return "less accurate" if change.keys() & {FIDELITY, FP32_DEST, DTYPE, KV_DTYPE} else ""


# -- kinds of change ----------------------------------------------------------------------------------------


def _lower_fidelity(c: Case) -> Iterator[Change]:
    names = get_args(FidelityName)
    for name in reversed(names[: names.index(c[FIDELITY])]):
        yield {FIDELITY: name}


def _narrow_dst(c: Case) -> Iterator[Change]:
    """A 16-bit DST, with which plain SDPA takes the streaming kernel; or that kernel where another was asked for."""
    if c[FP32_DEST]:
        yield {FP32_DEST: False}
    elif not c.op.ring and c["kernel"] == "legacy":
        yield {"kernel": None}


def _narrow_kv(c: Case) -> Iterator[Change]:
    """Narrower K and V; all tensors in the ring, which has one type for them."""
    names = get_args(FormatName)
    widest = min(c.dtypes[:1] if c.op.ring else c.dtypes[1:], key=names.index)
    for name in names[names.index(widest) + 1 :]:
        yield {DTYPE: name} if c.op.ring else {KV_DTYPE: name, K_DTYPE: None, V_DTYPE: None}


def _q_chunks(c: Case) -> Iterator[Change]:
    return _half_and_twice(c, Q_CHUNK, q_chunk_sizes)


def _k_chunks(c: Case) -> Iterator[Change]:
    return _half_and_twice(c, K_CHUNK, k_chunk_sizes)


def _half_and_twice(c: Case, key: str, sizes: Callable[[Case, int], list[int]]) -> Iterator[Change]:
    """The legal sizes that are nearest to half of the present one and to twice, if they differ enough from it."""
    now = c[key]
    for wanted in (now // 2, 2 * now):
        near = sorted(sizes(c, wanted), key=lambda size: abs(size - wanted))
        side = [size for size in near if (size - now) * (wanted - now) > 0 and max(size, now) >= OTHER_SIZE * min(size, now)]
        yield from islice((change for change in ({key: size} for size in side) if is_legal(c, change)), 1)


def _q_chunks_by_deal(c: Case) -> list[Change]:
    return _by_deal(c, [{Q_CHUNK: size} for size in q_chunk_sizes(c, c[Q_CHUNK])])


def _grids_by_deal(c: Case) -> list[Change]:
    return _by_deal(c, grids(c))


def _by_deal(c: Case, changes: Iterable[Change]) -> list[Change]:
    """Changes of fewer least cycles than now, by these; of equals larger chunks or grids first; none if a deal is given."""
    if c["what_if.deal"] is not None:
        return []
    now = _least(c, _ring_id(c))
    found = [(_least(c.put(change), _ring_id(c)), -prod(change.get(GRID, change.values())), change) for change in changes]
    return [change for least, _, change in sorted(found, key=lambda one: one[:2]) if least < now]


def _ring_id(c: Case) -> int:
    return c["ring_id"] or 0


KINDS: Mapping[str, tuple[Attempts, ...]] = {
    FPU: (_lower_fidelity, _q_chunks, _k_chunks),
    SFPU: (_narrow_dst, _k_chunks, _q_chunks),
    UNPACK: (_narrow_kv, _q_chunks, _k_chunks),
    PACK: (_narrow_dst, _k_chunks, _q_chunks),
    HANDSHAKES: (_k_chunks, _q_chunks, _narrow_dst),
    ISSUE: (_q_chunks, _grids_by_deal),
    BARRIER: (_grids_by_deal, _narrow_kv),
    BANKS: (_q_chunks, _narrow_kv, _grids_by_deal),
    LINKS: (_q_chunks, _narrow_kv, _grids_by_deal),
    MASK: (_k_chunks, _q_chunks),
    STRAGGLER: (_grids_by_deal, _q_chunks_by_deal),
    IDLE: (_q_chunks_by_deal, _grids_by_deal),
    CHAINS: (_grids_by_deal, _q_chunks_by_deal),
}


def _kinds(cause: str) -> tuple[Attempts, ...]:
    """Of one bank those of all; of a buffer other chunks, which are what fills it."""
    return KINDS.get(BANKS if cause.startswith("DRAM") else cause, (_k_chunks, _q_chunks))
