"""What is legal and may still not be wanted, each with what it costs by the op's own geometry, and what would be better."""

from collections.abc import Iterable, Iterator

from tensix_sim.config import OP_CHUNK_SIZE
from tensix_sim.doctor.load import Work, countable
from tensix_sim.doctor.nearest import grids, q_chunk_sizes
from tensix_sim.doctor.records import Advice, Floor, Size
from tensix_sim.doctor.rules import is_legal
from tensix_sim.doctor.settings import IGNORED
from tensix_sim.formats import TILE
from tensix_sim.sdpa.blocks import Blocks
from tensix_sim.sdpa.case import Case
from tensix_sim.sdpa.keys import (
    ATTN_MASK,
    BLOCK,
    CHAINS,
    FIDELITY,
    FP32_DEST,
    GRID,
    K_CHUNK,
    PREFIX,
    Q_CHUNK,
    SEQ_LEN,
    START_TENSOR,
    Change,
)
from tensix_sim.sdpa.op import positions, ring_is_even

LONG_RUN_STEPS = 10_000_000  # of one device
WORTHWHILE = 1.1  # least cycles this close count as equal; of equals larger chunks win, for a step costs more than they count
CHUNKS_TRIED = (64, 128, 256, 512)
LARGEST_TRIED = 1024
MUCH_IN_VAIN = 0.1

# -- of any values ------------------------------------------------------------------------------------------


def _ignored_fields(c: Case) -> Iterator[Advice]:
    for key, why in IGNORED.items():
        part, _, name = key.rpartition(".")
        model = c[part] if part else c.spec
        if (value := getattr(model, name)) != type(model).model_fields[name].default:
            yield Advice(key=key, message=f"{value} has no effect: {why}", level="notice")
    if c["program_config"].exp_approx_mode is False:
        scores, correction = "the scores' exponential is always approximate", "that of the correction accurate"
        text = f"False has no effect on the numbers: {scores}, {correction}"
        yield Advice(key="program_config.exp_approx_mode", message=text, level="notice")
    if c[CHAINS] != "as_built" and not c.geometry.may_chain:
        text = f"{c[CHAINS]} has no effect: cores pass K and V on only where attention is not causal, dense and without a window"
        yield Advice(key=CHAINS, message=text, level="notice")
    if c.op.ring and c["paged_kv"] is not None and c[PREFIX] is None:
        text = "the page table has no effect without chunk_start_idx: K and V are read as dense tensors"
        yield Advice(key="paged_kv", message=text)
    if c.op.ring and c["ring_id"] is not None and c["ring_ids"] != "all":
        yield Advice(key="ring_ids", message=f"{c['ring_ids']} has no effect: ring_id {c['ring_id']} wins", level="notice")


def _start_counts_whole_chunks(c: Case) -> Iterator[Advice]:
    if c[START_TENSOR] and (rest := (c[PREFIX] or 0) % c[Q_CHUNK]):
        whole = c[PREFIX] - rest
        text = (
            f"no check sees a start in a tensor, and the kernels count whole Q chunks: they begin at {whole}, not at {c[PREFIX]}"
        )
        change = _first_legal(c, ({PREFIX: start} for start in (whole, whole + c[Q_CHUNK])))
        yield Advice(key=PREFIX, message=f"{text}, and the output is wrong", level="warning", change=change)


def _padding_of_a_mask(c: Case) -> Iterator[Advice]:
    if c[ATTN_MASK] and (rest := -c.kv_len % TILE):
        text = f"{rest} columns of the mask are padding, which hides here; a chip takes what is there, 0 unless pad_value is -inf"
        yield Advice(key=ATTN_MASK, message=text, level="notice")


def _kernel_choice(c: Case) -> Iterator[Advice]:
    if c.op.ring and not c.op.travels and c["kernel"] == "streaming":
        yield Advice(key="kernel", message="the ring takes the streaming kernel with tt-metal #57037, which is not merged")
    elif (not c.op.ring or c.op.travels) and c["kernel"] == "legacy" and not c[FP32_DEST]:
        yield Advice(key="kernel", message="with a 16-bit DST ttnn takes the streaming kernel, and lets nobody choose")


def _ring_fits_the_board(c: Case) -> Iterator[Advice]:
    ring, on = c["ring_size"], c.board
    rows, columns = on.mesh
    if not c.op.ring or c.op.travels or any(ring_is_even(c)):
        return
    fit = [size for size in sorted(set(on.mesh), reverse=True) if size % 2 == 0]
    rings = f"; rings of {' or '.join(map(str, sorted(fit)))} map onto it" if fit else ""
    change: Change = {} if ring in on.mesh else _first_legal(c, ({"ring_size": size} for size in fit))
    size = Size(quantity="devices of a ring", unit="devices", now=ring, then=change["ring_size"] if change else None)
    if ring > on.chips:
        text = f"the op allows {ring} devices, but {on.board} has {on.chips} chips{rings}; each is simulated as if it were there"
        yield Advice(key="ring_size", message=text, change=change, size=size)
    elif ring not in on.mesh:
        text = f"the op allows {ring} devices, but no row or column of {on.board}'s {rows}x{columns} mesh has as many{rings}"
        yield Advice(key="ring_size", message=text, change=change, size=size)
    if c["mesh"] is not None and any(mine > board for mine, board in zip(sorted(c["mesh"]), sorted(on.mesh), strict=True)):
        mine = "x".join(str(size) for size in c["mesh"])
        yield Advice(key="mesh", message=f"a {mine} mesh does not fit {on.board}'s {rows}x{columns}")


def _negative_scale(c: Case) -> Iterator[Advice]:
    if c["scale"] is not None and c["scale"] < 0:
        text = f"{c['scale']}: the row maximum no longer bounds the exponential, which saturates above 0"
        yield Advice(key="scale", message=text)


def _first_legal(c: Case, changes: Iterable[Change]) -> Change:
    """Find the first change after which no rule is broken; an empty one if there is none."""
    return next((change for change in changes if is_legal(c, change)), {})


# -- of legal shapes ----------------------------------------------------------------------------------------


def _hardware_bug(c: Case) -> Iterator[Advice]:
    if c.board.chip.name == "wormhole_b0" and c[FIDELITY] == "HiFi4" and c[FP32_DEST]:
        change = {FIDELITY: "HiFi3"}
        text = (
            "HiFi4 with fp32_dest_acc_en loses accuracy by a bug of Wormhole silicon, tt-metal #38306, which numerics: exact has "
            "and fast has not; upstream recommends HiFi3, which is 3 passes of the FPU instead of 4"
        )
        if countable(c.geometry):
            text += f"; least cycles {_floor(c).cycles:,} now, {_floor(c.put(change)).cycles:,} then"
        passes = Size(quantity="FPU passes of a product", unit="passes", now=4, then=3)
        yield Advice(key=FIDELITY, message=text, change=change, size=passes)


def _chunks(c: Case) -> Iterator[Advice]:
    """Advise chunks of a lower floor, where there are any; say all the same that half the grid idles, or that 32 is a default."""
    g = c.geometry
    if not countable(g) or c["what_if.deal"] is not None:
        return
    default = (c[Q_CHUNK], c[K_CHUNK]) == (OP_CHUNK_SIZE, OP_CHUNK_SIZE)
    now, idle = _floor(c), g.cores - g.deal.active_cores
    change = _of_least_floor(c, now, _pairs_of_chunks(c) if default else _q_chunks(c))
    if not (change or default or 2 * idle >= g.cores):
        return
    parts = ["chunks of 32 are the op's cautious default"] if default else []
    if idle:
        parts.append(f"{idle} of {g.cores} cores get no Q chunk and idle")
    size = Size(quantity="least cycles", unit="cycles", now=now.cycles)
    if change:
        then = c.put(change)
        better, at_work = _floor(then), then.geometry.deal.active_cores
        work = "" if at_work == g.deal.active_cores else f", {at_work} of {g.cores} cores work, and"
        named = " and ".join(f"{key.rpartition('.')[2]} {value}" for key, value in change.items() if key != GRID)
        size = size.model_copy(update={"then": better.cycles})
        parts.append(
            f"with {named}{work} the least cycles fall "
            f"{now.cycles / better.cycles:.1f}x, from {now.cycles:,} ({now.binds}) to {better.cycles:,} ({better.binds})"
        )
    else:
        parts.append(f"no other Q chunk has much fewer than {now.cycles:,} least cycles ({now.binds})")
    yield Advice(key="program_config" if default else Q_CHUNK, message="; ".join(parts), change=change, size=size)


def _floor(c: Case) -> Floor:
    return Work(c.geometry).floor(c.on.chip, positions(c.spec))


def _of_least_floor(c: Case, now: Floor, changes: Iterable[Change]) -> Change:
    """Choose the legal change with the largest chunks of those whose floor is near the least; none if little is gained."""
    floors = [(change, _floor(c.put(change)).cycles) for change in changes]
    gaining = [(change, cycles) for change, cycles in floors if cycles * WORTHWHILE <= now.cycles and is_legal(c, change)]
    least = min((cycles for _, cycles in gaining), default=0)
    near = [(change, cycles) for change, cycles in gaining if cycles <= WORTHWHILE * least]
    return max(near, key=lambda pair: (_area(c, pair[0]), -pair[1]), default=({}, 0))[0]


def _area(c: Case, change: Change) -> int:
    return int(change.get(Q_CHUNK, c[Q_CHUNK]) * change.get(K_CHUNK, c[K_CHUNK]))


def _q_chunks(c: Case) -> list[Change]:
    return [{Q_CHUNK: size} for size in q_chunk_sizes(c, c[Q_CHUNK]) if size <= LARGEST_TRIED and size != c[Q_CHUNK]]


def _k_chunks(c: Case) -> list[Change]:
    """K chunks of which K has a whole number, and smaller ones: an eighth at least."""
    now = c[K_CHUNK]
    sizes = {now // part for part in (2, 4, 8)} | {size for size in range(TILE, LARGEST_TRIED + 1, TILE) if c.kv_len % size == 0}
    return [{K_CHUNK: size} for size in sorted(sizes) if size % TILE == 0 and 8 * size >= now and size != now]


def _pairs_of_chunks(c: Case) -> list[Change]:
    q_sizes = sorted(size for size in q_chunk_sizes(c, CHUNKS_TRIED[-1]) if size <= CHUNKS_TRIED[-1])[-len(CHUNKS_TRIED) :]
    return [{GRID: c[GRID], Q_CHUNK: q, K_CHUNK: k} for q in q_sizes for k in CHUNKS_TRIED]


def _chains_wait(c: Case) -> Iterator[Advice]:
    """Say where cores of a chain come to its head at such different times that the slowest core's least cycles are waits."""
    g = c.geometry
    if not countable(g):
        return
    work = Work(g)
    tiles = work.of_cores(work.tiles)[0]
    if (tiles + work.chain_waits).max() == tiles.max():
        return
    apart = [max(chain.before) - min(chain.before) for chain in g.chains if len(set(chain.before)) > 1]
    now, alone = _floor(c), _floor(c.put({CHAINS: "none"}))
    change = _of_least_floor(c, now, grids(c) if c["what_if.deal"] is None else [])
    parts = [
        f"in {len(apart)} of {len(g.chains)} chains of cores that pass the K and V of a head on, cores come to the head up to "
        f"{max(apart)} Q chunks apart, and wait for each other",
        f"for that the least cycles are {now.cycles:,}, and would be {alone.cycles:,} if each core read for itself",
    ]
    size = Size(quantity="least cycles", unit="cycles", now=now.cycles)
    if change:
        then = _floor(c.put(change)).cycles
        size = size.model_copy(update={"then": then})
        columns, rows = change[GRID]
        parts.append(f"on a grid of {columns}x{rows} they fall {now.cycles / then:.2f}x, to {then:,}")
    parts.append("tensix-sim report runs it without chains")
    yield Advice(key=GRID, message="; ".join(parts), change=change, size=size)


def _scores_in_vain(c: Case) -> Iterator[Advice]:
    """Say how much is computed in vain, with a K chunk that has fewer least cycles, where there is one."""
    if not countable(c.geometry):
        return
    scores, now = Work(c.geometry).scores, _floor(c)
    beyond, hidden = scores.beyond_keys / scores.computed, scores.hidden / scores.computed
    parts = []
    if beyond:
        rest = c.kv_len % c[K_CHUNK]
        parts.append(
            f"{c.kv_len} rows of K leave {rest} for the last chunk of {c[K_CHUNK]}, which is computed in full, and masked: "
            f"{beyond:.1%} of the scores"
        )
    if hidden > MUCH_IN_VAIN:
        parts.append(f"the mask hides {hidden:.1%} of the scores that are computed")
    if not parts:
        return
    change = _of_least_floor(c, now, _k_chunks(c) if max(beyond, hidden) > MUCH_IN_VAIN else [])
    size = Size(quantity="scores in vain", unit="%", now=100 * scores.in_vain / scores.computed)
    if change:
        then = _floor(c.put(change)).cycles
        size = Size(quantity="least cycles", unit="cycles", now=now.cycles, then=then)
        parts.append(
            f"with k_chunk_size {change[K_CHUNK]} the least cycles fall {now.cycles / then:.1f}x, from {now.cycles:,} to {then:,}"
            + (", in more steps" if change[K_CHUNK] < c[K_CHUNK] else "")
        )
    yield Advice(key=K_CHUNK, message="; ".join(parts), level="warning" if change else "notice", change=change, size=size)


def _wide_dst(c: Case) -> Iterator[Advice]:
    """Say what a 32-bit DST costs; advise the other, whose numbers are worse, only where the least cycles are fewer."""
    if not c[FP32_DEST]:
        return
    narrow = c.put({FP32_DEST: False})
    now, then = c.geometry.blocks, narrow.geometry.blocks
    costs = [
        f"DST has {now.dst} tiles instead of {then.dst}, and products {windows(now)} windows a step instead of {windows(then)}"
    ]
    if then.streaming and not now.streaming:
        costs.insert(0, "the legacy kernel runs instead of the streaming one, which has no 32-bit DST")
    if now.wide_scores:
        more = sum(b.bytes for b in c.geometry.buffers) - sum(b.bytes for b in narrow.geometry.buffers)
        costs.append(f"scores and row sums are float32: buffers take {abs(more):,} B {'more' if more >= 0 else 'less'} of L1")
    size = Size(quantity="windows of products a step", unit="windows", now=windows(now))
    change: Change = {}
    if countable(c.geometry) and is_legal(c, {FP32_DEST: False}) and (least := _floor(narrow).cycles) < _floor(c).cycles:
        change = {FP32_DEST: False}
        size = Size(quantity="least cycles", unit="cycles", now=_floor(c).cycles, then=least)
        costs.append(f"without it, less accurate, the least cycles are {least:,} instead of {_floor(c).cycles:,}")
    yield Advice(key=FP32_DEST, message="; ".join(costs), level="warning" if change else "notice", change=change, size=size)


def windows(b: Blocks) -> int:
    """Count the DST windows of Q x K and of P x V in a step."""
    (h, w), (height, width) = b.qk_subblock, b.pv_subblock
    return b.M * b.N // (h * w) + b.M * b.E // (height * width)


def _padded_table_rows(c: Case) -> Iterator[Advice]:
    if (stick := c.table_row_bytes) and (entries := 4 * c.pages) % 32 and c["paged_kv"].page_table_file is None:
        padding = Size(quantity="padding of a row of the page table", unit="B", now=stick - entries)
        text = f"a row of the page table has {entries} B, padded to {stick} B in DRAM"
        yield Advice(key=BLOCK, message=text, level="notice", size=padding)


def _long_run(c: Case) -> Iterator[Advice]:
    g = c.geometry
    seen = min(g.prefix + g.S // 2 if g.causal else g.Sk, g.window or g.Sk)
    steps = g.phases * g.deal.total * max(1, seen // (g.N * TILE))
    if steps > LONG_RUN_STEPS:
        text = f"about {steps:,} chunk steps on each device: the simulation will take long"
        size = Size(quantity="chunk steps of a device", unit="steps", now=steps)
        yield Advice(key=SEQ_LEN, message=text, level="notice", size=size)


ADVICE = (_ignored_fields, _start_counts_whole_chunks, _padding_of_a_mask, _kernel_choice, _ring_fits_the_board, _negative_scale)
SHAPE_ADVICE = (_hardware_bug, _chunks, _chains_wait, _scores_in_vain, _wide_dst, _padded_table_rows, _long_run)
