"""The Tensix core: three clocks, two DST halves, two operand banks, and what the threads wait for."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from clockwork import Clockwork

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16, FLOAT32
from tensix_sim.hw import buffers, threads
from tensix_sim.hw.riscs import RUN
from tensix_sim.hw.tables import TENSIX, cores_of
from tensix_sim.hw.tensix import Costs, Stage, Window
from tensix_sim.kernel_api import in_place, maxima
from tensix_sim.program import ComputeConfig

HANDSHAKE = 20
SPEC = machine("p100a").chip.tensix
NAMES = TENSIX.names or ()
STATE, FIGURES = NAMES[: NAMES.index("popping")], NAMES[NAMES.index("popping") + 1 :]  # clocks, and busy cycles and waits


def window(unpack: int = 1, first: int = 1, math: int = 10, last: int | None = None, pack: int = 10) -> Window:
    """Make a window whose FPU is busy as long as math is; all math comes after the last operand unless `last` is given."""
    return Window(unpack, first, math, 0, math, math if last is None else last, pack)


class Core:
    """The three threads of a core, with these clocks, in a clockwork of their own."""

    def __init__(self, **clocks: int) -> None:
        self.silicon = Clockwork(handshake=HANDSHAKE)
        self.risc = self.silicon.add_risc(**clocks)

    @property
    def threads(self) -> Any:
        """Their record as it is now."""
        return self.silicon.threads(self.risc)

    def run(self, stages: Sequence[Stage], ready: Sequence[int] | None = None, space: int = 0, halves: int = 2) -> Any:
        """Run the stages as one block: a tile for each is seen at a cycle of `ready`, the space is free at cycle `space`."""
        silicon, fields = self.silicon, {}
        if ready is not None:
            fields["source"] = silicon.add_buffer(len(stages), "compute", "compute")
            fields["needs"], fields["needs_end"] = silicon.add_numbers(*range(1, len(stages) + 1))
            for i, time in enumerate(ready):
                buffers.log(cores_of(silicon._memory), fields["source"], i + 1, time)
        op = silicon.add_operation(RUN, block=silicon.add_block(stages, halves), **fields)
        chip = cores_of(silicon._memory)
        threads.schedule(chip, self.risc, chip.operations[op], space)
        return self.threads


def run(stages: Sequence[Stage], ready: Sequence[int] | None = None, space: int = 0, halves: int = 2) -> Any:
    """Run the stages as one block from cycle 0: the record of the threads."""
    return Core().run(stages, ready, space, halves)


# -- one window -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("w", "unpack", "math", "pack"),
    [
        (window(unpack=100, first=30, math=50, last=5), 100, 105, 135),  # bound by operands: the last one, then its share
        (window(unpack=100, first=30, math=75, last=5), 100, 105, 135),  # edge: both end together
        (window(unpack=100, first=30, math=76, last=5), 100, 106, 136),
        (window(unpack=100, first=100, math=50, last=50), 100, 150, 180),  # nothing before all is loaded
        (window(unpack=100, first=19, math=200, last=90), 100, 220, 250),  # the half is free at 20 only
        (window(unpack=100, first=20, math=200, last=90), 100, 220, 250),
        (window(unpack=100, first=21, math=200, last=90), 100, 221, 251),
        (window(unpack=100, first=21, math=200, last=10), 201, 221, 251),  # unpack is held: see below
    ],
)
def test_math_starts_with_its_first_operands_and_a_free_half(w: Window, unpack: int, math: int, pack: int) -> None:
    """Math begins at the later of both and ends no sooner than the last operand allows; the packer comes a handshake after."""
    core = run([Stage(w)])
    assert (core.unpack, core.math, core.pack) == (unpack, math, pack)


def test_the_unpacker_is_at_most_two_banks_ahead() -> None:
    """It stands still until math has no more left than what two banks hold."""
    for last, stands_until in ((40, 140), (60, 100), (61, 100), (59, 102)):
        core = run([Stage(window(unpack=100, first=20, math=200, last=last))])
        assert core.math == 220
        assert core.unpack == stands_until


# -- two halves -------------------------------------------------------------------------------------------------


def test_pack_overlaps_the_next_window() -> None:
    """Math fills one half while the packer drains the other: the pace is that of math, of pack, or of one half's round."""
    for math, pack, pace in ((100, 60, 100), (100, 62, 101), (100, 100, 120), (60, 100, 100), (58, 102, 102)):
        ends = [run([Stage(window(math=math, pack=pack), n)]).pack for n in (20, 30)]
        assert ends[1] - ends[0] == 10 * pace == 10 * max(math, pack, (math + pack) // 2 + HANDSHAKE)


@pytest.mark.parametrize(("pack", "waits"), [(59, 0), (60, 0), (61, 1), (75, 15)])
def test_a_third_window_waits_for_the_first_half(pack: int, waits: int) -> None:
    """Its half is free a handshake after the first window's pack has ended: no wait at that cycle, one a cycle before.

    Math takes 100: window 1 ends at 120, is packed from 140 on, window 2 ends at 220; 140 + 60 + 20 = 220.
    """
    core = run([Stage(window(math=100, pack=pack), 3)])
    assert core.math == 320 + waits
    assert core.math_dst == HANDSHAKE - 1 + waits  # the first window waited for the handshake
    assert run([Stage(window(math=100, pack=pack), 2)]).math == 220


@pytest.mark.parametrize(("math", "pack"), [(100, 60), (60, 100), (10, 10)])
def test_with_one_half_math_and_pack_take_turns(math: int, pack: int) -> None:
    """A window costs its math, its pack and both handshakes."""
    core = run([Stage(window(math=math, pack=pack), 30)], halves=1)
    assert core.pack == 30 * (math + pack + 2 * HANDSHAKE)


@pytest.mark.parametrize(("space", "waits"), [(0, 0), (49, 0), (50, 0), (51, 1), (500, 450)])
def test_the_packer_waits_for_space(space: int, waits: int) -> None:
    """A packer that is ready at cycle 50 waits for space that comes later, and for nothing else."""
    core = run([Stage(window())], space=space)
    assert (core.pack, core.pack_space) == (60 + waits, waits)


@pytest.mark.parametrize(("arrival", "waits"), [(0, 0), (29, 0), (30, 0), (31, 1), (100, 70)])
def test_a_stage_waits_for_its_tiles(arrival: int, waits: int) -> None:
    """The second stage's unpack is free at cycle 30: it waits for tiles that come later, and the first stage does not."""
    core = run([Stage(window(unpack=30, first=30, math=5))] * 2, ready=(0, arrival))
    assert core.unpack_tiles == waits
    assert core.unpack == 60 + waits


@pytest.mark.parametrize(("arrival", "waits"), [(0, 0), (69, 0), (70, 0), (71, 1), (200, 130)])
def test_set_up_comes_before_the_wait_and_what_a_wait_costs_after_it(arrival: int, waits: int) -> None:
    """New formats for the unpacker, 70 cycles, hide behind a wait; the 40 from the last poll to the first tile do not."""
    core = run([Stage(window(unpack=30, first=30), unpack_setup=70, seen=40)], ready=(arrival,))
    assert core.unpack_tiles == waits
    assert core.unpack_busy == 70 + 40 + 30
    assert core.unpack == 140 + waits


@pytest.mark.parametrize(("pack", "waits"), [(0, 0), (69, 0), (70, 0), (71, 1), (300, 230)])
def test_unpack_can_wait_for_the_packer(pack: int, waits: int) -> None:
    """A semaphore's handshake after all windows before are packed, unpack goes on: at cycle 90 it is free itself."""
    core = Core(pack=pack).run([Stage(window(unpack=30, first=30), unpack_setup=90, after_pack=True)])
    assert core.unpack_pack == waits
    assert core.unpack == 120 + waits


def test_set_up_is_paid_once_a_stage_on_each_thread() -> None:
    """Reconfiguration keeps its own thread busy, once, whatever the number of windows behind it."""
    busy = ("unpack_busy", "math_busy", "pack_busy")
    plain = run([Stage(window(), 5)])
    for thread, setup in zip(busy, ((70, 0, 0), (0, 70, 0), (0, 0, 70)), strict=True):
        set_up = run([Stage(window(), 5, *setup)])
        assert {what: set_up[what] - plain[what] for what in busy} == {what: 70 * (what == thread) for what in busy}
    assert run([Stage(window(), 1, 0, 0, 900)]).pack == 900 + 10


# -- blocks -------------------------------------------------------------------------------------------------


def reference(
    stages: list[tuple[Stage, int, int]], clocks: tuple[int, int, int] = (0, 0, 0), drained: tuple[int, int] = (0, 0)
) -> tuple[int, int, int, list[int]]:
    """The three clocks after stages (stage, arrival, space), in absolute time and with every window's pack remembered."""
    unpack, math, pack = clocks
    packs = list(drained)
    for stage, arrival, space in stages:
        w = stage.window
        unpack = max(unpack + stage.unpack_setup, arrival) + stage.seen
        math += stage.math_setup
        pack += stage.pack_setup
        for _ in range(stage.repeat):
            begun = max(math, unpack + w.first, packs[-2] + HANDSHAKE)
            math = max(begun + w.math, unpack + w.unpack + w.last)
            unpack = max(unpack + w.unpack, math - 2 * w.last)
            pack = max(pack, math + HANDSHAKE, space) + w.pack
            packs.append(pack)
    return unpack, math, pack, packs


def random_stages(rng: random.Random, setup: int) -> list[Stage]:
    """One to four stages of any proportions, of which each thread's set-up takes at least `setup`."""
    stages = []
    for _ in range(rng.randrange(1, 5)):
        unpack, math = rng.randrange(1, 300), rng.randrange(1, 300)
        w = window(unpack, rng.randrange(1, unpack + 1), math, rng.randrange(math + 1), rng.randrange(1, 300))
        set_up = [setup + rng.choice([0, rng.randrange(80)]) for _ in range(3)]
        stages.append(Stage(w, rng.randrange(1, 5), *set_up, seen=rng.choice([0, 40])))
    return stages


def compare_with_reference(seed: int, setup: int) -> None:
    """Twenty blocks, a few shapes again and again, each with its own arrivals and space."""
    rng = random.Random(seed)
    shapes = [random_stages(rng, setup) for _ in range(3)]
    core, past = Core(), list[tuple[Stage, int, int]]()
    for _ in range(20):
        stages, now = shapes[rng.randrange(3)], int(core.threads.unpack)
        ready = sorted(now + max(0, rng.randrange(-200, 400)) for _ in stages)
        space = rng.choice([0, max(0, int(core.threads.pack) + rng.randrange(-300, 600))])
        if rng.random() < 0.3:
            ready = [0] * len(stages)
            core.run(stages, None, space)
        else:
            core.run(stages, ready, space)
        past += [(stage, arrival, space) for stage, arrival in zip(stages, ready, strict=True)]
        unpack, math, pack, packs = reference(past)
        assert [core.threads[field] for field in STATE] == [unpack, math, pack, *packs[-2:]]


@pytest.mark.parametrize("seed", range(30))
def test_blocks_are_what_a_slow_scheduler_finds(seed: int) -> None:
    """Blocks one after another, from random skews: the same clocks as all their windows scheduled from cycle 0."""
    compare_with_reference(seed, setup=HANDSHAKE)


@pytest.mark.parametrize("seed", range(30))
def test_and_without_set_up_too(seed: int) -> None:
    """The same for blocks that begin with no set-up."""
    compare_with_reference(seed, setup=0)


@pytest.mark.parametrize(
    ("first", "free_since", "waits"), [(1, 500, 0), (1, 20, 0), (1, 19, 0), (1, 18, 1), (1, 5, 14), (30, 0, 0)]
)
def test_a_half_that_is_free_is_free_at_once(first: int, free_since: int, waits: int) -> None:
    """The packer's hand-back counts from the end of the pack: a half drained a handshake ago costs a short block no wait."""
    drained = 1000 - free_since
    core = Core(unpack=1000, math=900, pack=drained, half=drained, other=drained)
    assert core.run([Stage(window(unpack=30, first=first))]).math_dst == waits


def test_no_thread_begins_a_block_before_the_unpacker_does() -> None:
    """Pops have kept it until 1000: set-up of the others, who were done before, counts from then."""
    core = Core(unpack=1000, math=900, pack=950, half=0, other=0).run([Stage(window(), 1, 0, 70, 500)])
    assert (core.math, core.pack) == (1000 + 70 + 10, 1000 + 500 + 10)


@pytest.mark.parametrize("seed", range(10))
def test_a_block_is_the_sum_of_its_stages(seed: int) -> None:
    """Stages as one block or as a block each: the same clocks and the same busy cycles and waits."""
    rng = random.Random(seed)
    stages = random_stages(rng, HANDSHAKE)
    ready = tuple(sorted(rng.randrange(2000) for _ in stages))
    whole, parts = run(stages, ready, 700), Core()
    for stage, arrival in zip(stages, ready, strict=True):
        parts.run([stage], [arrival], 700)
    for what in STATE + FIGURES:
        assert whole[what] == parts.threads[what], what


@pytest.mark.parametrize("seed", range(10))
def test_busy_cycles_and_waits_add_up(seed: int) -> None:
    """Unpack is busy, waits for tiles or waits for a bank, and nothing else."""
    rng = random.Random(seed)
    stages = random_stages(rng, 0)
    core = run(stages, tuple(sorted(rng.randrange(2000) for _ in stages)), 0)
    assert core.unpack == sum(core[what] for what in ("unpack_busy", "unpack_tiles", "unpack_src"))
    assert core.math >= core.math_busy + core.math_dst
    assert core.pack >= core.pack_busy


# -- two units at work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("products", "vectors", "both"),
    [
        ([(0, 100, 100)], [], 0),
        ([(0, 100, 100)], [(40, 70)], 30),  # within
        ([(0, 100, 100)], [(90, 130)], 10),  # across the end
        ([(0, 100, 100)], [(100, 130)], 0),  # edge: after it
        ([(0, 100, 50)], [(40, 70)], 15),  # an FPU that works half of the time
        ([(0, 50, 50), (80, 100, 20)], [(40, 90)], 20),  # one piece of vector work beside two windows
    ],
)
def test_overlap_is_the_time_in_which_both_are_busy(
    products: list[tuple[int, int, int]], vectors: list[tuple[int, int]], both: int
) -> None:
    """Of the FPU, that share of its window's time in which it works."""
    windows, works = (np.array(numbers, np.int64).reshape(-1) for numbers in (products, vectors))
    assert threads.overlap(windows, len(products), works, len(vectors)) == both


@pytest.mark.parametrize("seed", range(10))
def test_overlap_is_within_both(seed: int) -> None:
    """Whatever the windows, FPU and SFPU share no more time than either is busy."""
    rng = random.Random(seed)
    stages = []
    for stage in random_stages(rng, 0):
        w = stage.window
        vector = rng.randrange(w.pack + 1)
        stages.append(stage._replace(window=w._replace(fpu=rng.randrange(w.math + 1), sfpu=vector, vector=vector)))
    core = run(stages)
    assert 0 <= core.overlap <= min(core.fpu, core.sfpu)


def test_vector_work_of_the_pack_thread_runs_beside_the_next_product() -> None:
    """Window 1's 60 vector cycles fall into window 2's math, which is busy for 90 of 100; alone they share nothing."""
    aside, product = window(math=10, pack=70)._replace(sfpu=60, vector=60), window(math=100, pack=5)._replace(fpu=90)
    assert run([Stage(aside), Stage(product)]).overlap == 54  # cycles 50 to 110 of 30 to 130
    short = window(math=60, pack=5)._replace(fpu=60)
    assert run([Stage(aside), Stage(short)]).overlap == 40  # cycles 50 to 90: the vector unit comes first in the pack
    assert run([Stage(aside)]).overlap == 0


# -- costs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fidelity", "cycles"), [("LoFi", 16), ("HiFi2", 32), ("HiFi3", 48), ("HiFi4", 64)])
@pytest.mark.parametrize("board", ["n150", "p100a"])
def test_a_tile_product_takes_sixteen_fpu_cycles_a_phase(board: str, fidelity: str, cycles: int) -> None:
    """MVMULs of a 32x32x32 product, in as many passes as the fidelity has; the issue slots come once."""
    spec = machine(board).chip.tensix
    costs = Costs(spec, ComputeConfig(math_fidelity=fidelity))  # type: ignore[arg-type]
    assert costs.matmul(1) == (cycles, cycles + spec.matmul_issue_cycles)
    assert costs.matmul(7) == (7 * cycles, 7 * (cycles + spec.matmul_issue_cycles))


def test_an_add_takes_no_phases_and_a_multiply_does() -> None:
    """Fidelity is about products."""
    for fidelity, phases in (("LoFi", 1), ("HiFi4", 4)):
        costs = Costs(SPEC, ComputeConfig(math_fidelity=fidelity))  # type: ignore[arg-type]
        assert costs.eltwise(3)[0] == 3 * SPEC.eltwise_cycles
        assert costs.eltwise(3, multiply=True)[0] == 3 * SPEC.eltwise_cycles * phases


def test_the_exponential_of_a_column_has_three_bodies() -> None:
    """One with a 32-bit DST, whatever the flag says; two with a 16-bit one, of which the approximate one is the dearer."""
    narrow, wide = (Costs(SPEC, ComputeConfig(fp32_dest_acc_en=fp32)) for fp32 in (False, True))
    assert wide.exp_column() == wide.exp_column(approximate=False) == SPEC.exp_column_fp32_cycles
    assert narrow.exp_column() == SPEC.exp_column_cycles > narrow.exp_column(approximate=False) == SPEC.exp_column_exact_cycles


def test_the_end_of_a_row_maximum_takes_more_with_a_32_bit_dst() -> None:
    """Twice the instructions, three of which are counters either way."""
    narrow, wide = (Costs(SPEC, ComputeConfig(fp32_dest_acc_en=fp32)).max_row() for fp32 in (False, True))
    assert narrow == (10, 13)
    assert wide == (22, 25)


def test_packs_are_rounded_up_once_a_window() -> None:
    """Eight tiles take eight times the cost of one, rounded up once; accumulating packs take longer."""
    costs = Costs(SPEC, ComputeConfig())
    each = max(SPEC.pack_min_cycles, 2048 / SPEC.pack_rate) + SPEC.pack_call_cycles
    assert 8 * each <= costs.pack(BFLOAT16, 8) < 8 * each + 1
    assert costs.pack(BFLOAT16, 8, accumulate=True) > costs.pack(BFLOAT16, 8)


def test_unpackers_are_bound_by_instructions_or_by_bytes() -> None:
    """One operand streams faster than two together, and no tile takes less than its instructions."""
    costs = Costs(SPEC, ComputeConfig())
    assert costs.unpack(BFLOAT16, 10) == max(10 * SPEC.unpack_tile_overhead, -(-10 * 2048 // int(SPEC.unpack_rate_one)))
    assert costs.unpack(BFLOAT16, 10, BFLOAT16, 10) == -(-20 * 2048 // int(2 * SPEC.unpack_rate_both))
    slow = SPEC.model_copy(update={"unpack_tile_overhead": 1000})
    assert Costs(slow, ComputeConfig()).unpack(BFLOAT16, 3, BFLOAT16, 2) == 5000


def test_half_of_the_faces_is_half_of_the_bytes() -> None:
    """A column that is broadcast comes from two faces a tile; T0 spends its instructions on it all the same."""
    costs = Costs(SPEC, ComputeConfig())
    assert costs.unpack(BFLOAT16, 4, BFLOAT16, 4, b_faces=2) == -(-6 * 2048 // int(2 * SPEC.unpack_rate_both))
    slow = SPEC.model_copy(update={"unpack_tile_overhead": 1000})
    assert Costs(slow, ComputeConfig()).unpack(BFLOAT16, 4, BFLOAT16, 4, b_faces=2) == 8000


def test_verbs_in_place_wait_once_and_pop_tile_by_tile() -> None:
    """The first product of a column begins after one wait and its operands; the pop behind them holds only what follows."""
    costs = Costs(SPEC, ComputeConfig())
    operands = costs.unpack(BFLOAT16, 1, BFLOAT16, 1, b_faces=2)
    (stage,) = in_place(costs, operands, *costs.eltwise(1, multiply=True), costs.pack(BFLOAT16, 1), 8).stages
    assert (stage.seen, stage.repeat) == (SPEC.cb_wait_cycles, 8)
    assert (stage.window.first, stage.window.unpack) == (operands, operands + SPEC.cb_update_cycles)


def test_a_row_maximum_unpacks_what_it_reads() -> None:
    """Scores in their own format, without a call for each tile: float32 takes twice the bytes of bfloat16."""
    costs = Costs(SPEC, ComputeConfig())
    narrow, wide = (maxima(costs, scores, BFLOAT16, 2, 8, with_before=False) for scores in (BFLOAT16, FLOAT32))
    assert wide.unpack - narrow.unpack == 2 * 8 * 2048 / SPEC.unpack_rate_one
