"""What is legal and may still not be wanted."""

from collections.abc import Iterator

from tensix_sim.config import OP_CHUNK_SIZE
from tensix_sim.formats import TILE
from tensix_sim.ops.case import BLOCK, FIDELITY, FP32_DEST, K_CHUNK, PREFIX, Q_CHUNK, SEQ_LEN, Case
from tensix_sim.ops.nearest import q_chunk_sizes
from tensix_sim.ops.report import Advice
from tensix_sim.ops.ring_distributed_sdpa import ring_is_even

LONG_RUN_STEPS = 10_000_000  # of one device


def _hardware_bug(c: Case) -> Iterator[Advice]:
    if c.board.chip.name == "wormhole_b0" and c[FIDELITY] == "HiFi4" and c[FP32_DEST]:
        text = "HiFi4 with fp32_dest_acc_en meets a bug of Wormhole silicon, tt-metal #38306: use HiFi3"
        yield Advice(key=FIDELITY, message=text)


IGNORED = (
    ("compute_kernel_config", "packer_l1_acc", "the kernel turns packer accumulation on and off itself"),
    ("compute_kernel_config", "dst_full_sync_en", "the op plans with half of DST whatever it says"),
    ("compute_kernel_config", "throttle_level", "the op does not hand it to the kernels"),
    ("program_config", "max_cores_per_head_batch", "the op deals Q chunks over all cores"),
    ("program_config", "sub_core_grids", "the op uses the rectangle of compute_with_storage_grid_size"),
)


def _ignored_fields(c: Case) -> Iterator[Advice]:
    for part, name, why in IGNORED:
        value = c[part]
        if getattr(value, name) != type(value).model_fields[name].default:
            yield Advice(key=f"{part}.{name}", message=f"{getattr(value, name)} has no effect: {why}")
    if c["program_config"].exp_approx_mode is False:
        scores, correction = "the scores' exponential is always approximate", "that of the correction accurate"
        text = f"False has no effect on the numbers: {scores}, {correction}"
        yield Advice(key="program_config.exp_approx_mode", message=text)
    if c.is_ring and c["paged_kv"] is not None and c[PREFIX] is None:
        text = "the page table has no effect without chunk_start_idx: K and V are read as dense tensors"
        yield Advice(key="paged_kv", message=text)
    if c.is_ring and c["ring_id"] is not None and c["ring_ids"] != "all":
        yield Advice(key="ring_ids", message=f"{c['ring_ids']} has no effect: ring_id {c['ring_id']} wins")


def _kernel_choice(c: Case) -> Iterator[Advice]:
    if c.is_ring and c["kernel"] == "streaming":
        yield Advice(key="kernel", message="the ring takes the streaming kernel with tt-metal #57037, which is not merged")
    elif not c.is_ring and c["kernel"] is None and c[FP32_DEST]:
        yield Advice(key=FP32_DEST, message="a 32-bit DST takes the legacy kernel; the streaming one has none")
    elif not c.is_ring and c["kernel"] == "legacy" and not c[FP32_DEST]:
        yield Advice(key="kernel", message="with a 16-bit DST ttnn takes the streaming kernel, and lets nobody choose")


def _ring_fits_the_board(c: Case) -> Iterator[Advice]:
    ring, on = c["ring_size"], c.board
    rows, columns = on.mesh
    if not c.is_ring or any(ring_is_even(c)):
        return
    if ring > on.chips:
        text = f"the op allows {ring} devices, but {on.board} has {on.chips} chips; each is simulated as if it were there"
        yield Advice(key="ring_size", message=text)
    elif ring not in on.mesh:
        text = f"the op allows {ring} devices, but no row or column of {on.board}'s {rows}x{columns} mesh has as many"
        yield Advice(key="ring_size", message=text)
    if c["mesh"] is not None and any(mine > board for mine, board in zip(sorted(c["mesh"]), sorted(on.mesh), strict=True)):
        mine = "x".join(str(size) for size in c["mesh"])
        yield Advice(key="mesh", message=f"a {mine} mesh does not fit {on.board}'s {rows}x{columns}")


def _default_chunks(c: Case) -> Iterator[Advice]:
    if (c[Q_CHUNK], c[K_CHUNK]) == (OP_CHUNK_SIZE, OP_CHUNK_SIZE):
        text = "chunks of 32 are the op's cautious default and can be several times slower than larger ones"
        yield Advice(key="program_config", message=text)


def _negative_scale(c: Case) -> Iterator[Advice]:
    if c["scale"] is not None and c["scale"] < 0:
        text = f"{c['scale']}: the row maximum no longer bounds the exponential, which saturates above 0"
        yield Advice(key="scale", message=text)


def _over_hanging_chunk(c: Case) -> Iterator[Advice]:
    if c[PREFIX] is None and c.spec.effective_kernel == "legacy" and (rest := c.kv_len % c[K_CHUNK]):
        text = f"{c.kv_len} rows of K leave {rest} for the last chunk of {c[K_CHUNK]}: it is computed in full, and masked"
        yield Advice(key=K_CHUNK, message=text)


def _idle_cores(c: Case) -> Iterator[Advice]:
    g = c.geometry
    active = g.deal.active_cores
    if 2 * active > g.cores:
        return
    text = f"{g.cores - active} of {g.cores} cores get no Q chunk and idle"
    for size in sorted((size for size in q_chunk_sizes(c, g.M * TILE) if size < g.M * TILE), reverse=True):
        active = c.put({Q_CHUNK: size}).geometry.deal.active_cores
        if 2 * active > g.cores:
            text += f"; with q_chunk_size {size}, {active} would work"
            break
    yield Advice(key=Q_CHUNK, message=text)


def _padded_table_rows(c: Case) -> Iterator[Advice]:
    if (stick := c.table_row_bytes) and (entries := 4 * c.pages) % 32 and c["paged_kv"].page_table_file is None:
        yield Advice(key=BLOCK, message=f"a row of the page table has {entries} B, padded to {stick} B in DRAM")


def _long_run(c: Case) -> Iterator[Advice]:
    g = c.geometry
    seen = min(g.prefix + g.S // 2 if g.causal else g.Sk, g.window or g.Sk)
    steps = g.phases * g.deal.total * max(1, seen // (g.N * TILE))
    if steps > LONG_RUN_STEPS:
        text = f"about {steps:,} chunk steps on each device: the simulation will take long"
        yield Advice(key=SEQ_LEN, message=text)


ADVICE = (
    _hardware_bug, _default_chunks, _over_hanging_chunk, _ignored_fields, _kernel_choice, _ring_fits_the_board, _negative_scale,
)  # fmt: skip
SHAPE_ADVICE = (_idle_cores, _padded_table_rows, _long_run)
