"""The laws, each once: over every op and kernel of attention, and over the programs to learn from."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pftrace import VIEWED
from programs import add, product, rows
from specs import CHUNKED, JOINT, OPS, PLAIN, RING, Raw, raw, upstream

from tensix_sim import Ran, Result, check, simulate
from tensix_sim.analysis import budgets
from tensix_sim.analysis.listing import LineTotals
from tensix_sim.arch import machine
from tensix_sim.config import RunSpec
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.hw.figures import Traffic
from tensix_sim.kernel_api import Program, Tensor
from tensix_sim.sdpa.geometry import Geometry
from tensix_sim.trace import Line, Totals, Trace, check_counts, check_lanes
from tensix_sim.trace.causes import LAUNCH

WIDE: Raw = {"fidelity": "HiFi4", "fp32": True}
OF_RING: dict[str, Raw] = {
    "upstream's": upstream(S=1024, k=128, numerics="fast"),
    "GQA and batch": raw(ring_size=4, heads=4, kv_heads=2, batch=2, d=128),
    "no GQA, small heads": raw(heads=4, kv_heads=4, q=32),
    "bfloat16": raw(dtype="bfloat16", k=128),
    "bfloat4_b": raw(dtype="bfloat4_b", k=128),
    "odd Q chunks": raw(ring_size=4, S=768, q=96, k=128, heads=3),
    "over-hanging last K chunk": raw(ring_size=4, S=768, q=96, k=512),
    "32-bit DST, HiFi4": raw(k=128, **WIDE),
    "LoFi": raw(fidelity="LoFi"),
    "HiFi3": raw(fidelity="HiFi3"),
    "output in L1": raw(memory_config="l1_interleaved"),
    "no program config": raw(program_config=None),
    "prefix, paged": raw(batch=2, chunk_start_idx=256, paged_kv={"block_size": 64, "page_table": "shuffled"}),
    "Blackhole": raw(board="p100a"),
    "scale": raw(scale=0.05),
    "many chunks a core": raw(S=1024, q=32, grid=[2, 1]),
    "window": raw(sliding_window_size=70),
}
OF_EACH = {"is_causal": False, "batch": 2, "inputs__attn_mask": "random", "inputs__attn_mask_dtype": "bfloat4_b"}
OF_EACH |= {"inputs__attn_mask_batch": 2, "inputs__attn_mask_heads": 2}
SINKS = {"inputs__attention_sink": "random", "inputs__attention_sink_dtype": "bfloat8_b"}
WINDOWS = {"is_causal": False, "cu_window_seqlens": [0, 50, 50, 200, 333], "grid": [1, 1]}
OF_PLAIN: dict[str, Raw] = {
    name: raw(PLAIN, **{"grid": [4, 4]} | changes)
    for name, changes in {
        "causal": {},
        "GQA and batch": {"heads": 4, "kv_heads": 2, "batch": 2},
        "rows that fill no chunk": {"S": 333, "q": 96, "k": 160},
        "rows that fill no tile": {"S": 20, "heads": 1},
        "chunks longer than the sequence": {"S": 100, "q": 256, "k": 512},
        "not causal": {"is_causal": False},
        "more keys": {"S": 256, "is_causal": False, "kv_len": 1024},
        "fewer keys": {"is_causal": False, "kv_len": 96},
        "keys that fill no tile": {"S": 300, "q": 96, "k": 160, "is_causal": False, "kv_len": 333},
        "keys that fill no chunk": {"S": 320, "q": 96, "k": 160, "is_causal": False, "kv_len": 352},
        "heads that share cores": {"S": 192, "q": 32, "grid": [3, 2], "is_causal": False},
        "window": {"sliding_window_size": 128},
        "window across chunks": {"q": 128, "k": 32, "sliding_window_size": 100},
        "window of a key": {"sliding_window_size": 1},
        "centred window": {"sliding_window_size": 200, "is_causal": False},
        "centred window, padded keys": {"S": 301, "sliding_window_size": 62, "q": 128, "k": 96, "is_causal": False},
        "other data type": {"dtype": "bfloat16", "kv_dtype": "bfloat8_b"},
        "K and V of two types": {"k_dtype": "bfloat16", "v_dtype": "bfloat8_b"},
        "32-bit DST, HiFi4": WIDE,
        "mask": {"is_causal": False, "inputs__attn_mask": "random"},
        "mask of each head, keys that fill no tile": OF_EACH | {"S": 300, "q": 96, "k": 160, "kv_len": 333},
        "mask in bfloat16, 32-bit DST": WIDE | {"is_causal": False, "inputs__attn_mask": "causal"},
        "sinks": {"inputs__attention_sink": "random"},
        "sinks and a window, many chunks a core": SINKS | {"grid": [1, 1], "batch": 2, "sliding_window_size": 100},
        "sinks and a mask, 32-bit DST": WIDE | SINKS | {"is_causal": False, "inputs__attn_mask": "random"},
        "windows of tokens": {"is_causal": False, "cu_window_seqlens": [0, 64, 100, 101, 400, 512]},
        "windows of tokens, rows that fill no chunk": WINDOWS | {"S": 333, "q": 96, "k": 160, "batch": 2},
        "output in L1": {"memory_config": "l1_interleaved"},
        "all in L1": {"memory_config": "l1_interleaved", "inputs__memory_config": "l1_interleaved"},
        "K in L1, V in DRAM": {"inputs__k_memory_config": "l1_interleaved", "is_causal": False},
        "many chunks a core": {"heads": 3, "kv_heads": 3, "grid": [1, 1], "batch": 2},
        "Wormhole": {"board": "n150"},
    }.items()
}
OF_CHUNKED: dict[str, Raw] = {
    name: raw(CHUNKED, **{"grid": [4, 4]} | changes)
    for name, changes in {
        "no prefix": {},
        "prefix": {"S": 256, "chunk_start_idx": 256, "k": 128},
        "batch": {"S": 256, "chunk_start_idx": 128, "batch": 2, "heads": 4, "kv_heads": 2},
        "rows that fill no chunk": {"S": 300, "chunk_start_idx": 256, "q": 128, "k": 128, "paged_kv__block_size": 96},
        "a few rows": {"S": 40, "chunk_start_idx": 512, "q": 128, "k": 256, "paged_kv__block_size": 32},
        "other data type": {"dtype": "bfloat16", "kv_dtype": "bfloat8_b"},
        "Q in L1": {
            "inputs__memory_config": "l1_interleaved",
            "inputs__k_memory_config": "dram_interleaved",
            "chunk_start_idx": 64,
        },
        "start in a tensor": {"S": 256, "chunk_start_idx": 192, "k": 128, "chunk_start_idx_tensor": True},
        "start in a tensor, a few rows": {"S": 40, "chunk_start_idx": 256, "k": 128, "chunk_start_idx_tensor": True, "batch": 2},
    }.items()
}


def by_both_kernels() -> dict[str, Raw]:
    """Every example by either kernel; a 32-bit DST has but one."""
    made = {}
    for op, examples in zip(OPS, (OF_RING, OF_PLAIN, OF_CHUNKED), strict=True):
        for name, given in examples.items():
            for kernel in ("legacy", "streaming") if "32-bit" not in name else ("legacy",):
                made[f"{op}: {name}, {kernel}"] = given | {"kernel": kernel}
    return made


EXAMPLES = by_both_kernels()


class Runs:
    """An example run with numbers and without; each at most once."""

    def __init__(self, given: Raw) -> None:
        self.given = given

    @cached_property
    def fast(self) -> Result:
        """With numbers."""
        return simulate(self.given)

    @cached_property
    def off(self) -> Result:
        """With shapes alone."""
        return simulate(self.given | {"numerics": "off"})


@pytest.fixture(scope="module", params=EXAMPLES)
def runs(request: pytest.FixtureRequest) -> Runs:
    """One example after the other, each for all laws."""
    return Runs(EXAMPLES[request.param])


# -- attention ------------------------------------------------------------------------------------------------


def test_numbers_are_attention(runs: Runs) -> None:
    """Those of float64 under the same mask, up to the approximate exponential and the formats."""
    accuracy, inputs = runs.fast.accuracy, runs.fast.spec.inputs
    assert accuracy is not None
    assert not accuracy.suspect
    coarse = inputs.dtype == "bfloat4_b", runs.fast.spec.effective_compute_config.math_fidelity == "LoFi"
    assert accuracy.pcc > {(True, False): 0.93, (False, True): 0.99}.get(coarse, 0.999)
    assert any(coarse) or accuracy.rel_l2 < 0.035
    assert runs.fast.gathered().shape == (inputs.batch, inputs.q_heads, inputs.seq_len, inputs.head_dim)


def test_numbers_take_no_cycle(runs: Runs) -> None:
    """`numerics: off` gives the cycles, bytes and waits of `fast`."""
    off, fast = ([device.model_dump(exclude={"accuracy"}) for device in run.devices] for run in (runs.off, runs.fast))
    assert off == fast


def test_bytes_are_the_closed_form(runs: Runs) -> None:
    """Worked out from the spec: see `moved`."""
    in_l1 = runs.off.spec.memory_config.startswith("l1")
    for device in runs.off.devices:
        read, written, handed_on = moved(runs.off.spec, device.ring_id, runs.off.spec.inputs.in_dram)
        assert device.dram_read_bytes == read
        assert device.dram_write_bytes == (0 if in_l1 else written)
        assert handed_on or device.l1_write_bytes == (written if in_l1 else 0)


def moved(spec: RunSpec, ring_id: int, of: tuple[bool, bool, bool] = (True, True, True)) -> tuple[int, int, bool]:
    """Bytes that a device reads, `of` Q, K and V, and writes, and whether cores hand K and V on.

    Of every head each Q chunk is read and written once, and reads each K chunk that it sees a key of, as far as there are
    keys. Of a chain the core with the most Q chunks reads for all. Each core reads a row of the page table for every batch. A
    mask is read whole for each head, a sink for each Q chunk by the streaming kernel, else once a core that has the head, and
    a start in a tensor twice by each core; no key behind the new rows is read then. Windows are read twice by each core.
    """
    g, inputs = Geometry.of(spec), spec.inputs
    tile, k_tile, v_tile = (FORMATS[dtype].tile_bytes for dtype in inputs.dtypes)
    width, heads, rows = inputs.head_dim // TILE, inputs.batch * inputs.q_heads, -(-inputs.seq_len // spec_slabs(spec) // TILE)
    written = read = 0
    for offset in g.q_offsets(ring_id):
        end = -(-spec.kv_len // TILE) + offset * g.M
        if spec.chunk_start_idx_tensor:
            end = -(-spec.kv_len // TILE)
        if g.block_rows:
            end = min(end, -(-spec.kv_len // (TILE * g.block_rows)) * g.block_rows)
        written += heads * rows * width * tile
        kv = [sum(min(g.N, end - j * g.N) for j in seen(g, (offset + q) * g.M)) for q in range(-(-rows // g.M))]
        spared = sum(kv[0] * (sum(link.shares) - max(link.shares)) for link in g.chains)
        read += heads * rows * width * tile * of[0] + (heads * sum(kv) - spared) * width * (k_tile * of[1] + v_tile * of[2])
        batches = sum(len({head // inputs.q_heads for head, _ in g.deal.places(core)}) for core in range(g.cores))
        read += batches * g.page_table_stick_bytes
    read += 2 * g.windows_bytes * g.cores
    read += 2 * 32 * g.cores if spec.chunk_start_idx_tensor else 0
    read += heads * rows * -(-spec.kv_len // TILE) * FORMATS[inputs.attn_mask_dtype].tile_bytes if inputs.attn_mask else 0
    if inputs.attention_sink:
        sinks = [
            len(places if g.blocks.streaming else {head for head, _ in places}) for places in map(g.deal.places, range(g.cores))
        ]
        read += sum(sinks) * FORMATS[inputs.attention_sink_dtype].tile_bytes
    return read, written, bool(g.chains)


def spec_slabs(spec: RunSpec) -> int:
    """Slabs of the sequence: two for each device of a ring."""
    return 2 * spec.ring_size if spec.op == RING else 1


def seen(g: Geometry, row: int) -> range:
    """K chunks with a key that some query of the Q chunk at a tile row sees; a ring with a window skips none before them."""
    first, last, chunk = row * TILE, (row + g.M) * TILE - 1, g.N * TILE
    if g.windows:
        touched = [(a, b) for a, b in pairwise(g.windows) if a < b and b > first and a <= last]
        return range(touched[0][0] // chunk, -(-touched[-1][1] // chunk))
    begin = 0 if g.left is None or g.R > 1 else max(0, first - g.left) // chunk
    return range(begin, g.nk if g.right is None else min(g.nk, -(-(last + 1 + g.right) // chunk)))


def test_spans_tile_every_lane(runs: Runs) -> None:
    """From cycle 0 to its end a lane is in one span at a time; counters go forward; waits and work add up to the clock."""
    for run in runs.off.runs:
        assert is_whole(run.trace) == run.device.cycles
        for core in budgets(run.trace):
            assert {sum(lane.values()) for lane in core.lanes.values()} == {run.device.cycles}
            assert all(cycles > 0 for lane in core.lanes.values() for cycles in lane.values())


def is_whole(trace: Trace) -> int:
    """Hold a trace to its laws, and give the cycle at which its last lane ends."""
    ends: dict[int, int] = {}
    for span in trace.spans():
        ends[span["lane"]] = max(ends.get(span["lane"], 0), int(span["end"]))
    assert check_lanes(trace, {lane: (0, ends[i]) for i, lane in enumerate(trace.lanes) if i in ends}) is None
    assert check_counts(trace) is None
    return max(ends.values())


def test_cycles_by_source_line_are_those_of_the_lane(runs: Runs) -> None:
    """At work and waiting, of every lane to the cycle; with numbers, where kernels go no way ahead, of the same lines."""
    for off, fast in zip(runs.off.runs, runs.fast.runs, strict=True):
        assert cycles_by_line(off.trace) == cycles_by_line(fast.trace)


@pytest.mark.parametrize("more", [{}, {"topology": "line", "is_causal": True}, {"is_causal": True, "is_balanced": True}], ids=str)
def test_cycles_by_source_line_of_the_joint_ring_are_those_of_the_lane(more: Raw) -> None:
    """And of all that gathers and is gathered behind an op."""
    joint = raw(JOINT, heads=2, kv_heads=2, dtype="bfloat16", grid=[1, 2], numerics="off", **more)
    for run in simulate(joint).runs:
        assert is_whole(run.trace) == run.device.cycles
        cycles_by_line(run.trace)
    tail = simulate(raw(k=128, numerics="off"), gather=True).tail
    assert tail is not None
    for trace in tail.traces.values():
        cycles_by_line(trace)


def cycles_by_line(trace: Trace) -> dict[str, int]:
    """Cycles of a trace by lane, line and what it did, which are those of the lane, and of no line that is no kernel's."""
    totals, found = Totals.of(trace), LineTotals.of(trace)
    np.testing.assert_array_equal(found.cycles.sum(axis=1), totals.cycles)
    for i, (core, risc) in enumerate(totals.lanes):
        assert totals.busy(core, risc) + sum(totals.waits(core, risc).values()) == found.cycles[i].sum()
    assert not found.cycles[:, found.lines.index(Line())].any()
    for line in found.lines[1:]:
        assert "(" in trace.sources[line.file].splitlines()[line.number - 1], line
        assert line.file.startswith("kernels/")
    return {
        f"{found.lanes[lane]} {found.lines[line]} {found.names[name]}": int(found.cycles[lane, line, name])
        for lane, line, name in np.argwhere(found.cycles)
    }


def test_looking_on_takes_no_cycle(runs: Runs) -> None:
    """At any level of tracing; and what is traced of transfers are the bytes that were moved."""
    plain, transfers = (simulate(runs.off.spec.model_copy(update={"trace": level})) for level in ("off", "transfers"))
    usual = [device.model_copy(update={"servers": {}}) for device in runs.off.devices]
    assert plain.devices == usual
    assert [device.model_copy(update={"servers": {}}) for device in transfers.devices] == usual
    for run in transfers.runs:
        found: Counter[str] = Counter()
        for row in run.trace.transferred():
            found[run.trace.names[row["kind"]]] += int(row["nbytes"])
        assert found["READ"] == moved(runs.off.spec, run.device.ring_id)[0]
        assert found["WRITE"] + found["PASS"] == run.device.dram_write_bytes + run.device.l1_write_bytes


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kernel", ["legacy", "streaming"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, op: str, kernel: str, jobs: int) -> None:
    """In one process and in two, numbers and files; wall time and memory of the host aside."""
    given = raw(op, S=256, kernel=kernel, dtype="bfloat16")  # whose roundings go by the identity of the format
    results = simulate(given), simulate(given, jobs=jobs)
    for name, result in zip("ab", results, strict=True):
        result.wall_seconds, result.peak_rss_bytes = 0.0, 0
        result.write(tmp_path / name)
    assert results[0].gathered().tobytes() == results[1].gathered().tobytes()
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in "ab"]
    assert files[0] == files[1]
    assert {VIEWED, "cores.csv", "summary.json"} <= set(files[0])
    for file in files[0]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_every_example_is_legal() -> None:
    """And small: what is slow to run is no example of a law."""
    for name, given in EXAMPLES.items():
        report = check(given)
        assert report.ok, (name, report.text())


# -- the programs to learn from ---------------------------------------------------------------------------------

Make = Callable[..., tuple[Program, list[Tensor]]]
PROGRAMS = pytest.mark.parametrize("make", [add, product, rows])
BOARDS = pytest.mark.parametrize("board", ["n150", "p100a"])
GRIDS = pytest.mark.parametrize("grid", [(1, 1), (2, 1), (1, 3), (4, 2), (8, 8)], ids=str)


def ends(ran: Ran) -> dict[Any, int]:
    """The cycle at which each kernel of each core was done."""
    return {who: context.end for who, context in ran.contexts.items()}


@BOARDS
@GRIDS
@PROGRAMS
def test_values_take_no_cycle(run: Any, board: str, grid: tuple[int, int], make: Make) -> None:
    """Without them each kernel of each core ends at the same cycle, after the same waits."""
    with_values, shapes = (run(machine(board), make(grid, values=values)[0]) for values in (True, False))
    assert ends(with_values) == ends(shapes)
    for where, core in with_values.chip.cores.items():
        assert core.tensix.waits == shapes.chip.cores[where].tensix.waits


@PROGRAMS
def test_spans_tile_every_lane_of_a_program(run: Any, make: Make) -> None:
    """From cycle 0 to its end a lane is in one span at a time, and the last one ends with the program."""
    ran = run(machine("p100a"), make((2, 2))[0], "zones")
    assert is_whole(ran.chip.trace) == ran.cycles
    assert cycles_by_line(ran.chip.trace)


@PROGRAMS
def test_looking_on_a_program_takes_no_cycle(run: Any, make: Make) -> None:
    """A trace of any level leaves every kernel's end where it was."""
    first, *others = (ends(run(machine("p100a"), make((2, 2))[0], level)) for level in ("off", "zones", "transfers"))
    assert all(other == first for other in others)


@PROGRAMS
def test_a_second_run_is_the_first_one(run: Any, make: Make) -> None:
    """Same input, same cycles, traffic and values."""
    ran, tensors = zip(
        *((run(machine("p100a"), program), made) for program, made in (make((4, 2)) for _ in range(2))), strict=True
    )
    assert ends(ran[0]) == ends(ran[1])
    assert len({Traffic.of(one.chip.hardware.routes, one.cycles) for one in ran}) == 1
    for one, other in zip(*tensors, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("spec", [RING, PLAIN, CHUNKED], ids=OPS)
def test_a_launch_comes_before_all_else(spec: Raw) -> None:
    """With it all ends as many cycles later as a chip takes from the first start to the last, and each lane waits till then."""
    none, modelled = (simulate(raw(spec, numerics="off", launch=launch)) for launch in ("none", "modelled"))
    late = machine(modelled.spec.board).chip.launch_cycles
    assert late > 0
    for before, after in zip(none.devices, modelled.devices, strict=True):
        assert after.cycles == before.cycles + late
        assert (after.waits, after.fpu_cycles, after.dram_read_bytes) == (before.waits, before.fpu_cycles, before.dram_read_bytes)
        for core in budgets(modelled.trace[after.ring_id]):
            assert {sum(lane.values()) for lane in core.lanes.values()} == {after.cycles}
            assert {lane[LAUNCH] for lane in core.lanes.values()} == {late}
