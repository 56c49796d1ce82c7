"""What-ifs: each relieves one resource of a run, and what that saves says how much the resource binds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensix_sim.analysis.budget import Budget
from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.doctor.check import check
from tensix_sim.sdpa.free import BANK_NUMBERS, ETHERNET_NUMBERS, ISSUE_NUMBERS, LINK_NUMBERS, faster, moving_for_free
from tensix_sim.sdpa.geometry import Geometry, program_config, spec_machine
from tensix_sim.sdpa.op import Op
from tensix_sim.sdpa.resolve import geometry_of
from tensix_sim.sdpa.ring_joint import RingGeometry
from tensix_sim.trace import Cause

FPU, SFPU, UNPACK, PACK = "FPU", "SFPU", "unpack", "pack"
HANDSHAKES, ISSUE, BARRIER = "hand-shakes", "reader issue", "barrier"
BANKS, LINKS, MASK, READS = "DRAM banks", "NoC links", "mask", "all reads"
STRAGGLER, IDLE = "straggler", "idle cores"
CHAINS, ETHERNET = "K/V chains", "gather over Ethernet"
UNBLAMED = (READS,)  # causes that are no single resource: said, never blamed

FASTER = {
    FPU: (
        "tensix.mvmul_cycles", "tensix.matmul_issue_cycles", "tensix.eltwise_cycles", "tensix.eltwise_overhead",
        "tensix.copy_cycles", "tensix.max_pool_cycles", "tensix.max_pool_fpu_cycles", "tensix.max_row_cycles",
        "tensix.max_row_fpu_cycles", "tensix.max_row_fp32_cycles", "tensix.max_row_fp32_fpu_cycles",
    ),
    SFPU: (
        "tensix.exp_approx_cycles", "tensix.exp_column_cycles", "tensix.exp_column_exact_cycles",
        "tensix.exp_column_fp32_cycles", "tensix.exp_init_cycles", "tensix.reciprocal_column_cycles", "tensix.sfpu_start_cycles",
    ),
    UNPACK: ("tensix.unpack_rate_one", "tensix.unpack_rate_both", "tensix.unpack_tile_overhead"),
    PACK: ("tensix.pack_rate", "tensix.pack_min_cycles", "tensix.pack_call_cycles"),
    HANDSHAKES: (
        "tensix.accumulate_switch_cycles", "tensix.reconfigure_cycles", "tensix.math_init_cycles",
        "tensix.dst_handshake_cycles", "tensix.source_handshake_cycles",
        "tensix.cb_wait_cycles", "tensix.cb_update_cycles", "tensix.cb_visible_cycles",
    ),
    BANKS: BANK_NUMBERS,
    LINKS: LINK_NUMBERS,
    ISSUE: ISSUE_NUMBERS,
}  # fmt: skip


@dataclass(frozen=True)
class Relief:
    """A run in which one cause is relieved, all else and all work as it was."""

    cause: str
    change: str
    spec: RunSpec


def reliefs(spec: RunSpec, ring_id: int, servers: Mapping[str, float], core: Budget) -> Iterator[Relief]:
    """What to try for one device: `servers` are its shares of banks and links, `core` the budget of its last core."""
    op, machine, g = Op.of(spec), spec_machine(spec), geometry_of(spec)
    alone = {} if op.travels else {"ring_id": ring_id if op.ring else None}
    plain = spec.model_copy(update={"numerics": "off", "trace": "off", **alone})
    for cause, names in FASTER.items():
        yield Relief(cause, f"{cause} twice as fast", _machine(plain, {name: faster(machine, name, 2) for name in names}))
    if op.travels:
        rates = {name: faster(machine, name, 2) for name in ETHERNET_NUMBERS}
        yield Relief(ETHERNET, "Ethernet links twice as fast", _machine(plain, rates))
    yield from _one_bank(plain, machine, servers)
    yield Relief(READS, "reads and writes at no cost", moving_for_free(plain))
    if barrier := g.barrier_threshold(g.blocks.q.tile_bytes):
        yield Relief(BARRIER, f"{2 * barrier} tiles between barriers, not {barrier}", _what_if(plain, barrier_tiles=2 * barrier))
    if g.mask.palette:
        yield Relief(MASK, "no mask stamped", _what_if(plain, mask=False))
    if g.chains or (isinstance(g, RingGeometry) and g.shares_rows):
        yield Relief(CHAINS, "K and V read by each core for itself", _what_if(plain, chains="none"))
    yield from _buffers(plain, g, core)
    if g.deal.given:
        yield Relief(STRAGGLER, "Q chunks dealt as ttnn deals them", _what_if(plain, deal=None))
    elif g.deal.active_cores < g.cores:
        yield from _smaller_chunks(plain)


def _machine(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    return spec.model_copy(update={"machine": {**spec.machine, **changes}})


def _what_if(spec: RunSpec, **changes: Any) -> RunSpec:
    return spec.model_copy(update={"what_if": spec.what_if.model_copy(update=changes)})


def _one_bank(spec: RunSpec, machine: Machine, servers: Mapping[str, float]) -> Iterator[Relief]:
    """The busiest bank twice as fast, if it works longer than the others do."""
    if found := one_bank_faster(machine, servers):
        worst, shares = found
        yield Relief(f"DRAM bank {worst}", f"bank {worst} twice as fast", _machine(spec, {"dram.bank_shares": shares}))


def one_bank_faster(machine: Machine, servers: Mapping[str, float]) -> tuple[int, list[float]] | None:
    """The bank that works longer than the others do, and the banks' shares with it twice as fast; None if there is none."""
    banks = range(machine.chip.dram.banks)
    busy = [servers.get(f"dram bank {bank}", 0.0) for bank in banks]
    worst = max(banks, key=lambda bank: busy[bank])
    if busy[worst] <= 1.1 * sorted(busy)[len(busy) // 2]:
        return None
    shares = machine.chip.dram.bank_shares or (1.0,) * len(busy)
    return worst, [share * (2 if bank == worst else 1) for bank, share in enumerate(shares)]


def _buffers(spec: RunSpec, g: Geometry, core: Budget) -> Iterator[Relief]:
    """Twice the tiles in each circular buffer between RISCs whose producer waits for space, if they fit."""
    spent = {what for lane in core.lanes.values() for what in lane}
    for b in g.buffers:
        if b.producer != b.consumer and Cause("space", b.name) in spent:
            changed = _what_if(spec, buffers={**spec.what_if.buffers, b.name: 2 * b.tiles})
            if check(changed).ok:
                yield Relief(f"buffer {b.name}", f"{2 * b.tiles} tiles in {b.name}, not {b.tiles}", changed)


def _smaller_chunks(spec: RunSpec) -> Iterator[Relief]:
    """Q chunks of half the size, a quarter and so on, until every core has one."""
    config = program_config(spec, spec_machine(spec))
    size = config.q_chunk_size // 2
    while size >= 32:
        smaller = spec.model_copy(update={"program_config": config.model_copy(update={"q_chunk_size": size})})
        if check(smaller).ok:
            yield Relief(IDLE, f"q_chunk_size {size}, not {config.q_chunk_size}", smaller)
            g = geometry_of(smaller)
            if g.deal.active_cores == g.cores:
                return
        size //= 2
