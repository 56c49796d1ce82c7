"""The streaming kernel on one core, between a reader whose tiles are always there and a writer that takes them at once."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from tensix_sim import simulate
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16, to_format
from tensix_sim.hw import Chip, DeadlockError, SimulationError
from tensix_sim.hw.arithmetic import Arithmetic
from tensix_sim.kernel_api import (
    BufferSpec,
    Compute,
    ComputeConfig,
    DataMovement,
    Kernel,
    Program,
    Tensor,
    launch,
)  # fmt: skip
from tensix_sim.kernel_api.running import last_end
from tensix_sim.kernels.sdpa import legacy, streaming
from tensix_sim.kernels.sdpa.args import Args, Chunk, Heads, Phase, Share, Tensors
from tensix_sim.kernels.sdpa.mask import NEG_INF, TRAILING, Mask
from tensix_sim.kernels.sdpa.row_verbs import ExpDifferenceRows, MatmulRows, MaxRows, StampRows, SubExpRows
from tensix_sim.sdpa.blocks import Blocks
from tensix_sim.trace import Trace, check_lanes

P100 = machine("p100a")


class Case(NamedTuple):
    """Chunks in tiles, all Q chunks of a head, and the mask."""

    M: int
    N: int
    q_chunks: int
    D: int = 4
    keys: int | None = None  # rows of K; none: as many as Q has
    causal: bool = True
    window: int | None = None
    fidelity: Any = "HiFi2"
    fmt: Any = BFLOAT8_B

    @property
    def k_rows(self) -> int:
        """Rows of K."""
        return self.keys or 32 * self.M * self.q_chunks


@dataclass
class Head:
    """What one core needs and makes: q and k and v [rows, columns], the tiles of the output in order, and when things happen."""

    case: Case
    q: Any = None
    k: Any = None
    v: Any = None
    out: Any = None
    times: Any = None


def head(case: Case, seed: int = 1) -> Head:
    """Normal random numbers; K and V hold NaN from their end to that of the last K chunk."""
    rng = np.random.default_rng(seed)
    rows = -(-case.k_rows // (32 * case.N)) * 32 * case.N
    made = [
        to_format(rng.standard_normal((n, 32 * case.D)).astype(np.float32), case.fmt)
        for n in (32 * case.M * case.q_chunks, rows, rows)
    ]
    for x in made[1:]:
        x[-(-case.k_rows // 32) * 32 :] = np.nan
    return Head(case, *made)


def blocks(x: np.ndarray, first: int, rows: int) -> np.ndarray:
    """Tile rows as [rows, 32, columns, 32]."""
    return x[32 * first : 32 * (first + rows)].reshape(rows, 32, -1, 32)


async def reader(dm: DataMovement, a: "Work") -> None:
    """K0, Q, V0, K1, V1 and so on, in no time; notes when it had space."""
    Q, K, V = dm.cbs("q_in", "k_in", "v_in")
    h = a.head
    M, N, _, _ = a.args.chunk
    for _, _, q in a.args.chunks():
        for j in a.args.mask.k_range(q * M):
            chunk = [None if h.q is None else blocks(x, j * N, N) for x in (h.k, h.v)]
            await give(dm, K, None if h.q is None else chunk[0].transpose(2, 1, 0, 3), a)
            if j == a.args.mask.k_range(q * M)[0]:
                await give(dm, Q, None if h.q is None else blocks(h.q, q * M, M), a)
            await give(dm, V, chunk[1], a)


async def give(dm: DataMovement, cb: Any, block: Any, a: "Work") -> None:
    """Push one chunk."""
    M, N, D, _ = a.args.chunk
    tiles = {"q_in": M, "k_in": N, "v_in": N}[cb.spec.name] * D
    await dm.reserve(cb, tiles)
    dm.note(f"{cb.spec.name} {cb.pushed}")
    dm.fill(cb, tiles, block)
    dm.push(cb, tiles)


async def writer(dm: DataMovement, a: "Work") -> None:
    """Make the constants, then take the output, tile row by tile row; notes when."""
    for name, block in (
        ("identity_scale", np.ones((1, 32, 1, 32), np.float32)),
        ("col_identity", np.eye(1, 32, dtype=np.float32).repeat(32, axis=0).reshape(1, 32, 1, 32)),
        *([("mask_in", a.args.mask.tiles())] if a.args.mask.palette else []),
    ):
        (cb,) = dm.cbs(name)
        await dm.reserve(cb, block.shape[2])
        dm.fill(cb, block.shape[2], block)
        dm.push(cb, block.shape[2])
    (out,) = dm.cbs("out")
    M, _, _, E = a.args.chunk
    for _, _, q in a.args.chunks():
        for i in range(M):
            await dm.wait(out, E)
            dm.note(f"out {out.popped}")
            if a.head.out is not None:
                a.head.out[32 * (q * M + i) :][:32] = out.block(1, E).reshape(32, -1)
            dm.pop(out, E)


class Work(NamedTuple):
    """Arguments of the three kernels."""

    args: Args
    head: Head


def run(
    h: Head, kernel: Any = streaming.compute, is_streaming: bool = True, changes: dict[str, Any] | None = None, level: Any = "off"
) -> Chip:
    """One core works through the head; the output is in `h.out` where the head has numbers."""
    c = h.case
    b = Blocks(c.M, c.N, c.D, c.D, 8, is_streaming, c.fmt, c.fmt, c.fmt)
    mask = Mask(c.M, c.N, c.k_rows, c.causal, c.window, narrow=is_streaming, padded=c.k_rows % (32 * c.N) != 0)
    scratch = Tensor("scratch", 1, 1, c.fmt, values=None if h.q is None else np.zeros((32, 32), np.float32))
    args = Args(
        Tensors(scratch, scratch, scratch, scratch), None, Chunk(c.M, c.N, c.D, c.D),
        Heads(1, 1, c.M * c.q_chunks, c.k_rows // 32, c.M * c.q_chunks, c.q_chunks), b.in_dst, mask,
        scale=(32 * c.D) ** -0.5, exp_approx=True, barrier=4, phases=(Phase(0, 0, 0),), share=Share(0, c.q_chunks),
    )  # fmt: skip
    h.out = None if h.q is None else np.full((32 * c.M * c.q_chunks, 32 * c.D), np.nan, np.float32)

    async def compute(t: Compute, a: Work) -> None:
        await kernel(t, a.args)

    program = Program(
        (1, 1), b.buffers(2, mask.palette, 0),
        tuple(Kernel(role, f, [Work(args, h)]) for role, f in (("reader", reader), ("compute", compute), ("writer", writer))),
        (scratch,), ComputeConfig(c.fidelity),
    )  # fmt: skip
    chip = Chip(P100.override({f"tensix.{name}": value for name, value in (changes or {}).items()}), program, Trace(level))
    contexts = launch(chip)
    chip.engine.run()
    noted = [note for role in ("reader", "writer") for note in contexts[(0, 0), role].notes.items()]
    h.times = [(name.split()[0], cycle) for name, (cycle,) in noted] + [("end", last_end(contexts))]
    assert not [problem for core in chip.cores.values() for problem in core.check_empty()]
    return chip


def steps(c: Case) -> int:
    """(Q chunk, K chunk) pairs."""
    mask = Mask(c.M, c.N, c.k_rows, c.causal, c.window, narrow=True)
    return sum(len(mask.k_range(q * c.M)) for q in range(c.q_chunks))


def figures(c: Case, **changes: Any) -> dict[str, float]:
    """Cycles a step: of the whole, of the units, and in which either unit is busy."""
    h = Head(c)
    core = run(h, changes=changes).cores[0, 0].tensix
    figure = {what: core.total(what) for what in ("fpu", "sfpu", "overlap")}
    figure["math"] = figure["fpu"] + figure["sfpu"] - figure["overlap"]
    figure["wall"] = h.times[-1][1]
    return {what: n / steps(c) for what, n in figure.items()}


# -- numbers ------------------------------------------------------------------------------------------------


def attention(h: Head) -> np.ndarray:
    """Float64 attention on the same inputs."""
    c = h.case
    q, k, v = (x.astype(np.float64) for x in (h.q, h.k[: c.k_rows], h.v[: c.k_rows]))
    s = q @ k.T * (32 * c.D) ** -0.5
    i, j = np.arange(len(q))[:, None], np.arange(len(k))[None]
    if c.causal:
        s[(j > i) | (j <= i - (c.window or len(k)))] = -np.inf
    elif c.window:
        s[abs(i - j) > c.window // 2] = -np.inf
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return p @ v / p.sum(axis=1, keepdims=True)


SHAPES = [
    Case(4, 4, 4),  # two row groups, one window each
    Case(8, 8, 2),  # four of two windows
    Case(2, 2, 5),  # one row group: nothing beside anything
    Case(1, 2, 3),
    Case(3, 4, 4),  # products of 3 x 2; outputs in groups of 2 and 1
    Case(5, 3, 3, D=3),  # nothing divides anything
    Case(4, 16, 5, D=2),  # narrowed to 4, 8, 12 of 16 columns, and to 4 of the next
    Case(4, 7, 4, D=2),  # narrowed to prime numbers of columns
    Case(2, 4, 6, D=2),  # a Q chunk lower than a K chunk
    Case(8, 2, 2, D=2),  # higher: several K chunks on the diagonal
    Case(4, 4, 2, fmt=BFLOAT16),
    Case(4, 4, 2, keys=512, causal=False),
    Case(4, 4, 2, keys=500, causal=False),  # K ends within a tile
    Case(4, 8, 1, keys=330, causal=False, D=2),  # and within a chunk
    Case(4, 4, 6, D=2, window=200),
    Case(2, 4, 6, D=2, window=64, causal=False),
]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_it_computes_attention(case: Case) -> None:
    """Within 3 % of float64 attention, which is the error of bfloat16 statistics and the fast exponential; no NaN is touched."""
    h = head(case)
    run(h)
    expected = attention(h)
    assert np.linalg.norm(h.out - expected) < 0.03 * np.linalg.norm(expected)


@pytest.fixture
def one_reciprocal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels invert by the streaming kernel's body: the legacy one's is as coarse as the LLK has it."""
    both = Arithmetic.reciprocal
    monkeypatch.setattr(Arithmetic, "reciprocal", lambda math, column, fmt, newer=True: both(math, column, fmt, True))


@pytest.mark.usefixtures("one_reciprocal")
@pytest.mark.parametrize("case", [Case(4, 4, 1), Case(8, 4, 1, keys=128, causal=False), Case(2, 4, 1, keys=128, causal=False)])
def test_one_k_chunk_in_one_piece_is_what_the_legacy_kernel_computes(case: Case) -> None:
    """Without pieces, rescaling and narrowing both do the same operations on the same values, the reciprocal aside."""
    ours, theirs = head(case), head(case)
    run(ours)
    run(theirs, legacy.compute, is_streaming=False)
    np.testing.assert_array_equal(ours.out, theirs.out)


@pytest.mark.usefixtures("one_reciprocal")
def test_more_k_chunks_differ_by_the_packers_additions_only() -> None:
    """Pieces of the first row group and the rescaled sums are rounded once more, as bfloat16: within 1 % of the legacy kernel."""
    ours, theirs = head(Case(4, 8, 4)), head(Case(4, 8, 4))
    run(ours)
    run(theirs, legacy.compute, is_streaming=False)
    assert (ours.out != theirs.out).any()
    assert np.linalg.norm(ours.out - theirs.out) < 0.01 * np.linalg.norm(theirs.out)


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_numbers_cost_no_cycles(case: Case) -> None:
    """The same cycles, pops and pushes without values."""
    with_values, without = head(case), Head(case)
    run(with_values)
    run(without)
    assert with_values.times == without.times


# -- against the chip ---------------------------------------------------------------------------------------

# Published runs on a p100a (tt-metal analysis/reference_tables), by row: FPU, SFPU and MATH counters of a core
# divided by its mean number of steps; the causal rows of 110 cores waited for DRAM, which leaves FPU and SFPU as they are.
COUNTERS = [
    (Case(4, 4, 32), 4717, 1982, None),  # row 06
    (Case(4, 4, 32, fidelity="HiFi4"), 9136, 1982, None),  # row 44
    (Case(8, 8, 16), 18034, 6074, 19367),  # row 39
    (Case(16, 16, 8), 70547, 20749, 73270),  # row 12
    (Case(2, 2, 64), 1285, 744, 2027),  # row 54
    (Case(4, 4, 4, keys=4096, causal=False), 4712, 2004, 5399),  # row 13
    (Case(8, 4, 4, keys=4096, causal=False), 9427, 3965, 10346),  # row 17
    (Case(16, 4, 2, keys=4096, causal=False), 18850, 7886, None),  # row 18
]


@pytest.mark.parametrize(("case", "fpu", "sfpu", "math"), COUNTERS, ids=str)
def test_busy_cycles_are_the_hardware_counters(case: Case, fpu: int, sfpu: int, math: int | None) -> None:
    """FPU and SFPU within 0.1 %; cycles in which either is busy, which is a matter of timing, within 2 %."""
    found = figures(case)
    assert found["fpu"] == pytest.approx(fpu, rel=1e-3)
    assert found["sfpu"] == pytest.approx(sfpu, rel=1e-3)
    if math is not None:
        assert found["math"] == pytest.approx(math, rel=0.02)


@pytest.mark.parametrize(
    ("case", "wall"),
    [
        (Case(4, 4, 32), 8801),  # row 27, 16 cores: 9,321,734 less launch and turns, over 1,056 steps
        (Case(8, 4, 5, keys=4096, causal=False), 16_480),  # row 17 over 160 steps, with what its chains cost
        (Case(16, 4, 3, keys=4096, causal=False), 32_200),  # row 18 over 96 steps, with what its chains cost
    ],
    ids=str,
)
def test_a_step_takes_what_it_takes_on_the_chip(case: Case, wall: int) -> None:
    """Where compute is the bound: within 4 %."""
    assert figures(case)["wall"] == pytest.approx(wall, rel=0.04)


# -- what runs beside what ------------------------------------------------------------------------------------


def test_exponentials_hide_behind_products_when_there_are_two_row_groups() -> None:
    """All full exponentials of 4x4 and 8x8 steps run beside FPU work, which keeps most of its time; with one group none do."""
    assert figures(Case(2, 2, 8))["overlap"] == 0
    for case, exps in ((Case(4, 4, 8), 16), (Case(8, 8, 8), 64)):
        assert figures(case)["overlap"] > 0.7 * 70 * exps


def test_maxima_that_begin_early_save_at_most_half_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row group of a chunk of two windows or more saves time, up to half of that for 2 x 8 tiles; of one window, none."""
    fast = figures(Case(8, 8, 4))["wall"]
    monkeypatch.setattr(streaming, "divmod", lambda n, w: (0, 0), raising=False)
    slow = figures(Case(8, 8, 4))["wall"]
    spec = P100.chip.tensix
    assert 0 < slow - fast <= 4 * 2 * (8 * spec.max_pool_cycles + spec.max_row_cycles) / 2
    narrow = figures(Case(4, 4, 4))["wall"]
    monkeypatch.undo()
    assert figures(Case(4, 4, 4))["wall"] == narrow


@pytest.mark.parametrize(
    ("marks", "early"),
    [
        ([(TRAILING, range(4, 5)), (NEG_INF, range(5, 8))], True),
        ([(TRAILING, range(3, 4)), (NEG_INF, range(4, 8))], False),  # a masked column in the first half
        ([(TRAILING, range(4, 5)), (NEG_INF, range(5, 8)), (2, range(7, 8))], False),  # padding, by its own tile
    ],
)
def test_maxima_begin_early_beside_a_diagonal_alone(marks, early) -> None:
    """Of 8 columns; as `sdpa_first_half_unmasked` of compute_streaming.hpp (ttnn 0.81.1)."""
    assert streaming.below(tuple((tile, 0, columns) for tile, columns in marks), 4) is early


def test_only_real_changes_of_format_cost_time() -> None:
    """With bfloat16 inputs every buffer has one format: only the division at the end of the Q chunk sets the threads up."""
    case = Case(4, 4, 1, keys=4096, causal=False)
    for fmt, least, most in ((BFLOAT8_B, 2 * 20, 12 * 20), (BFLOAT16, 0, 0)):
        base, dearer = (figures(case._replace(fmt=fmt), reconfigure_cycles=n)["wall"] for n in (70, 90))
        assert 32 * least <= 32 * (dearer - base) <= 32 * most + 4 * 3 * 20


def test_k_is_free_after_the_scores_and_v_at_the_end_of_the_step() -> None:
    """The reader gets space for K two chunks on a good part of a step before that for V."""
    h = Head(Case(4, 4, 1, keys=2048, causal=False))
    run(h)
    k, v = ([time for name, time in h.times if name == which] for which in ("k_in", "v_in"))
    step = v[-1] - v[-2]
    for i in range(4, len(k)):
        assert 0.3 * step < v[i] - k[i] < 0.7 * step


def test_rows_reach_the_writer_while_later_ones_are_multiplied() -> None:
    """A Q chunk of eight row groups: the first rows are there long before the last."""
    h = Head(Case(16, 4, 1, keys=128, causal=False))
    run(h)
    out = [time for name, time in h.times if name == "out"]
    assert len(out) == 16
    assert out == sorted(out)
    assert out[-1] - out[0] > 6 * 1000  # six products of 2 x 4 x 4 tiles at least


def test_columns_right_of_the_diagonal_cost_nothing() -> None:
    """A last chunk of which 4 of 16 columns are seen takes about a quarter of a whole one, and as much as chunks of 4."""
    wide, narrow = figures(Case(4, 16, 1)), figures(Case(4, 4, 1))
    assert wide["fpu"] == narrow["fpu"]
    assert wide["wall"] == narrow["wall"]


def test_stamped_tiles_have_a_window_each_and_the_bracket_is_paid_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask costs an average step of 4x4 tiles less than 100 cycles; on the chip it is 57."""
    case = Case(4, 4, 32)
    masked = figures(case)["wall"]
    free = Head(case)
    monkeypatch.setattr(Mask, "marks", lambda *_: ())
    run(free, changes={"accumulate_switch_cycles": 0})
    assert 0 < masked - free.times[-1][1] / steps(case) < 100


@pytest.mark.parametrize("case", [Case(4, 4, 4), Case(2, 2, 3), Case(3, 4, 3), Case(8, 8, 2)], ids=str)
def test_spans_tile_the_three_lanes(case: Case) -> None:
    """No gap, no overlap, and the cycles of no trace; each thread's busy cycles and waits add up to its clock."""
    traced, plain = Head(case), Head(case)
    chip = run(traced, level="zones")
    assert check_lanes(chip.trace) is None
    run(plain)
    assert traced.times == plain.times
    core = chip.cores[0, 0].tensix
    waits = core.lane_waits()
    busy = {
        "unpack": core.total("unpack_busy") + core.total("popping"),
        "math": core.total("math_busy"),
        "pack": core.total("pack_busy"),
    }
    for thread, cycles in busy.items():
        total = cycles + sum(n for wait, n in waits.items() if wait.lane == thread)
        assert total == getattr(core, thread), thread


# -- refusals -------------------------------------------------------------------------------------------------


def refuse(kernel: Any, buffers: tuple[BufferSpec, ...] | None = None) -> None:
    """Run a compute kernel on buffers of its own."""
    own = buffers or tuple(BufferSpec(name, tiles, BFLOAT16, "compute", "compute") for name, tiles in (("x", 8), ("y", 2)))
    chip = Chip(P100, Program((1, 1), own, (Kernel("compute", kernel, [None]),), ()), Trace("off"))
    launch(chip)
    chip.engine.run()


def test_a_matrix_fills_its_buffer() -> None:
    """Rows are addressed from the buffer's start: another size would move them."""

    async def kernel(t: Compute, _: None) -> None:
        x, y = t.matrix("x", 2, 3), t.column("y", 2)
        await t.do(MaxRows, x, y, y, range(2), 3)

    with pytest.raises(SimulationError, match=r"core \(0,0\) x: a matrix of 2x3 tiles in a buffer of 8"):
        refuse(kernel)


@pytest.mark.parametrize(("width", "pieces"), [(3, 1), (4, 3), (16, 1)])
def test_windows_divide_a_product_and_fit_dst(width: int, pieces: int) -> None:
    """The message has the window, the pieces and the product."""

    async def kernel(t: Compute, _: None) -> None:
        x, y = t.matrix("x", 2, 4), t.matrix("y", 2, 1)
        await t.do(MatmulRows, x, x, y, range(2), 16, 4, width, pieces)

    with pytest.raises(SimulationError, match=rf"y: windows of 2x{width} in {pieces} pieces, of 2x16 tiles with 4 inner ones"):
        refuse(kernel)


def test_tiles_that_are_not_free_cannot_be_pushed() -> None:
    """Reserved or not: the buffer is full."""

    async def kernel(t: Compute, _: None) -> None:
        y = t.matrix("y", 2)
        await t.reserve(y)
        t.push(y)
        t.push(y, 1)

    with pytest.raises(SimulationError, match="y: push of 1 tiles; 0 are reserved"):
        refuse(kernel)


@pytest.mark.parametrize("verb", ["reserve", "multiply", "exp", "difference"])
def test_a_kernel_that_waits_for_its_own_tiles_or_space_is_told_so(verb: str) -> None:
    """Rows that nobody pushed, space that nobody frees: at once, with buffer and numbers."""

    async def kernel(t: Compute, _: None) -> None:
        x, y, sums = t.matrix("x", 2, 4), t.column("y", 2), t.matrix("y", 2, 1)
        if verb == "reserve":
            await t.reserve(x)
            t.push(x)
            await t.reserve(x.front)
        elif verb == "multiply":
            await t.do(MatmulRows, x, x, sums, range(1, 2), 1, 4, 1)
        elif verb == "exp":
            await t.do(SubExpRows, x, y, sums, range(1, 2), 4, 4, 1.0)
        else:
            await t.do(ExpDifferenceRows, y, y, y, range(1, 2), 1.0)

    wanted = {
        "reserve": "space for 4 tiles in x, which has 0 of 8 free", "multiply": "8 tiles in x, which has 0",
        "exp": "8 tiles in x, which has 0", "difference": "2 tiles in y, which has 0",
    }  # fmt: skip
    with pytest.raises(DeadlockError, match="TRISC waits for itself: " + wanted[verb]):
        refuse(kernel)


def test_marks_go_onto_the_newest_rows() -> None:
    """Rows that are not the last ones pushed would be seen before they are marked."""
    case = Case(4, 4, 1)

    async def kernel(t: Compute, a: Args) -> None:
        S = t.matrix("qk_im", 4, 4)
        await t.reserve(S)
        t.push(S)
        await t.do(StampRows, t.matrix("mask_in", 1, 2), S, range(2), ((0, 0, range(1)),))

    with pytest.raises(SimulationError, match=r"qk_im: an in-place change of 8 tiles .* it holds 16"):
        run(Head(case), kernel)


def test_a_step_on_wormhole_takes_what_galaxys_took() -> None:
    """65.8 us of a joint ring (#57941, wall over steps); here the difference of two lengths of plain attention on one core."""

    def cycles(chunks: int) -> int:
        inputs = {"q_heads": 1, "kv_heads": 1, "seq_len": 256, "kv_len": 512 * chunks, "head_dim": 128, "dtype": "bfloat16"}
        config = {"compute_with_storage_grid_size": (1, 1), "q_chunk_size": 256, "k_chunk_size": 512, "exp_approx_mode": False}
        return simulate(
            {
                "op": "sdpa", "board": "n150", "kernel": "streaming", "numerics": "off", "trace": "off", "is_causal": False,
                "inputs": inputs, "program_config": config,
                "compute_kernel_config": {"math_fidelity": "HiFi2", "fp32_dest_acc_en": False, "math_approx_mode": True},
            }
        ).devices[0].cycles  # fmt: skip

    assert (cycles(12) - cycles(4)) / 8 == pytest.approx(65_800, rel=0.03)
