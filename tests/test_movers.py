"""Ops around attention: what they move, and published times beside the model's."""

from collections.abc import Callable
from statistics import mean, median

import pytest

from tensix_sim.arch import Machine, machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import Chip
from tensix_sim.hw.figures import Traffic
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import last_end
from tensix_sim.movers import binary, concat_heads, copy, create_heads, cycles, norm, rotary, rotary_halves, unary
from tensix_sim.program import Program
from tensix_sim.trace import Trace
from tensix_sim.trust import op_errors

Make = Callable[[Machine], Program]
TILE_BYTES = BFLOAT16.tile_bytes

# Op, board, how it is made, microseconds. tt-metal: n150 janus_pro perf reports, p150b autoports prefill reports; CI targets of a
# Llama-70B layer on a Galaxy, of which formats and places are not stated
PUBLISHED: list[tuple[str, str, Make, float]] = [
    ("create heads, S 576", "n150", lambda m: create_heads(m, 18, 48, 2, "bfloat16"), 63.6),
    ("create heads, S 576, bfloat8_b", "n150", lambda m: create_heads(m, 18, 48, 2, "bfloat8_b"), 49.5),
    ("create heads, S 128", "p150b", lambda m: create_heads(m, 4, 40, 4, "bfloat16"), 66.3),
    ("create heads, Galaxy, S 128", "galaxy", lambda m: create_heads(m, 4, 10, 4, "bfloat16"), 22.0),
    ("concat heads, S 576", "n150", lambda m: concat_heads(m, 18, 16, 2, "bfloat16"), 20.4),
    ("concat heads, S 576, bfloat8_b", "n150", lambda m: concat_heads(m, 18, 16, 2, "bfloat8_b"), 17.7),
    ("concat heads, S 128", "p150b", lambda m: concat_heads(m, 4, 32, 4, "bfloat16"), 53.6),
    ("concat heads, Galaxy, S 128", "galaxy", lambda m: concat_heads(m, 4, 8, 4, "bfloat16"), 17.7),
    ("add, 576x1024", "n150", lambda m: binary(m, 576, ("bfloat16",) * 3), 21.5),
    ("add, 128x3072", "p150b", lambda m: binary(m, 384, ("bfloat16",) * 3), 11.4),
    ("add, 128x2048", "p150b", lambda m: binary(m, 256, ("bfloat16",) * 3), 5.6),
    ("layer norm, 576x1024", "n150", lambda m: norm(m, 18, 32, "bfloat16", centred=True), 32.3),
    ("rms norm, 128x2048", "p150b", lambda m: norm(m, 4, 64, "bfloat16"), 26.1),
    ("rotary of halves, 32 heads", "p150b", lambda m: rotary_halves(m, 32, 4, 4, "bfloat16"), 29.3),
    ("rotary of halves, 4 heads", "p150b", lambda m: rotary_halves(m, 4, 4, 4, "bfloat16"), 8.6),
    ("rotary Q, S 4096", "galaxy", lambda m: rotary(m, 1, 8, 128, 4, "bfloat16"), 186.9),
    ("rotary K, S 4096", "galaxy", lambda m: rotary(m, 1, 1, 128, 4, "bfloat16"), 36.2),
]


OF_OP: dict[str, str | tuple[str, ...]] = {  # ttnn's names of what is published
    "nlp_create_qkv_heads": "create heads", "nlp_concat_heads": "concat heads",
    "rotary_embedding_llama": ("rotary Q", "rotary K"),
    "rotary_embedding": "rotary of halves", "add": "add", "layer_norm": "layer norm", "rms_norm": "rms norm",
}  # fmt: skip


def test_published_times_are_met_within_a_third_and_on_the_median_within_a_tenth() -> None:
    """No number of the model was fitted to them; the errors that users are told of are these."""
    errors = {}
    for what, board, make, wall in PUBLISHED:
        on = machine(board)
        made = cycles(on, make(on), on.chip.launch_cycles) / on.chip.clock_hz * 1e6
        errors[what] = made / wall - 1
    assert max(map(abs, errors.values())) < 1 / 3, errors
    assert median(map(abs, errors.values())) < 0.1, errors
    for row in op_errors():
        if row["source"] == "docs/matmul.md":
            kinds, chip = OF_OP[row["op"]], row["chip"]
            sizes = [
                abs(errors[what])
                for what, board, _, _ in PUBLISHED
                if what.startswith(kinds) and machine(board).chip.name == chip
            ]
            said = int(row["walls"]), float(row["mean_error"]), float(row["worst_error"])
            assert said == (len(sizes), pytest.approx(mean(sizes), abs=0.001), pytest.approx(max(sizes), abs=0.001)), row


MOVED: list[tuple[str, Make, int, int]] = [
    ("heads", lambda m: create_heads(m, 5, 6, 2, "bfloat16"), 5 * 12, 5 * 12),
    ("concat", lambda m: concat_heads(m, 5, 6, 2, "bfloat16"), 5 * 12, 5 * 12),
    ("add", lambda m: binary(m, 70, ("bfloat16",) * 3), 140, 70),
    ("cast", lambda m: unary(m, 70, "copy", ("bfloat16", "bfloat16")), 70, 70),
    ("copy to L1", lambda m: copy(m, 70, "bfloat16", ("dram", "l1")), 70, 0),
    ("sum with a row of 10", lambda m: binary(m, 70, ("bfloat16",) * 3, of=(70, 10)), 140, 70),
    ("K turned", lambda m: create_heads(m, 5, 6, 2, "bfloat16", batch=2, turned=(2, 4)), 10 * 12, 10 * 12),
    ("norm", lambda m: norm(m, 5, 12, "bfloat16"), 5 * 12 * 2, 5 * 12),
    ("bare norm", lambda m: norm(m, 5, 12, "bfloat16", beside=()), 5 * 12, 5 * 12),
    ("layer norm of a sum", lambda m: norm(m, 5, 12, "bfloat16", True, True, ("weight", "bias", "residual")), 5 * 48, 5 * 12),
    ("norm of two rows a core", lambda m: norm(m, 128, 4, "bfloat16"), 128 * 4 + 64 * 4, 128 * 4),
    ("rotary of halves", lambda m: rotary_halves(m, 3, 5, 2, "bfloat16"), 3 * 5 * 2 * 4, 3 * 5 * 2),
    ("rotary, cosines once", lambda m: rotary(m, 1, 4, 64, 2, "bfloat16"), 64 * (4 * 2 + 2 * 2 + 1), 64 * 8),
    ("rotary, cosines again", lambda m: rotary(m, 1, 9, 64, 2, "bfloat16"), 64 * (9 * 6 + 1), 64 * 18),
]


@pytest.mark.parametrize(("make", "read", "written"), [one[1:] for one in MOVED], ids=[one[0] for one in MOVED])
def test_each_mover_reads_and_writes_its_tiles(make: Make, read: int, written: int) -> None:
    """Counted by hand: a weight once a core, cosines once a row where heads and rows are few, the matrix of pairs once a core."""
    on = machine("n150")
    chip = Chip(on, make(on), Trace("off"), watched=False)
    (contexts,) = run(chip)
    traffic = Traffic.of(chip.hardware.routes, last_end(contexts))
    assert (traffic.dram_read_bytes, traffic.dram_write_bytes) == (read * TILE_BYTES, written * TILE_BYTES)


def test_a_tile_a_barrier_takes_a_reads_latency_a_tile() -> None:
    """One core that makes heads: about 500 cycles a tile, reads and writes overlapped; twice the tiles, twice the time."""
    on = machine("n150")
    few, many = (cycles(on, create_heads(on, 1, heads, 2, "bfloat16")) for heads in (48, 96))
    assert 400 < (many - few) / 96 < 650


def test_a_run_that_is_watched_takes_the_same() -> None:
    """Kernels wait for what they use: tiles, space, and what stays for a later pass."""
    on = machine("n150")
    for _, make, _, _ in MOVED:
        chip = Chip(on, make(on), Trace("off"))
        assert last_end(run(chip)[0]) == cycles(on, make(on))
