"""The two programs to learn from: right numbers, and every byte accounted for."""

from math import ceil
from typing import Any

import numpy as np
import pytest
from programs import add, product, rows

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT8_B, BFLOAT16
from tensix_sim.hw.figures import Traffic
from tensix_sim.kernels import block_matmul, eltwise_add

BOARDS = pytest.mark.parametrize("board", ["n150", "p100a"])
GRIDS = pytest.mark.parametrize("grid", [(1, 1), (2, 1), (1, 3), (4, 2), (8, 8)], ids=str)


# -- numbers ------------------------------------------------------------------------------------------------


@BOARDS
@GRIDS
def test_add_is_numpys_to_half_a_bfloat16_step(run: Any, board: str, grid: tuple[int, int]) -> None:
    """One rounding to 8 bits: at most 2^-8 of the sum, element by element."""
    program, (x, y, out) = add(grid)
    run(machine(board), program)
    exact = x.values + y.values
    assert (np.abs(out.values - exact) <= np.abs(exact) * 2.0**-8).all()
    assert (out.values.view(np.uint32) & 0xFFFF == 0).all()


@BOARDS
@GRIDS
def test_softmax_is_numpys_to_the_fast_exponentials_error(run: Any, board: str, grid: tuple[int, int]) -> None:
    """Rows add up to 1 within the older reciprocal's 5 %; an element is off by two exponentials' 4 % and half a step of x - m."""
    program, (x, out) = rows(grid)
    run(machine(board), program)
    below = x.values.astype(np.float64) - x.values.max(axis=1, keepdims=True)
    expected = np.exp(below) / np.exp(below).sum(axis=1, keepdims=True)
    assert (np.abs(out.values / expected - 1) < 0.08 + 2.0**-8 * np.abs(below)).all()
    np.testing.assert_allclose(out.values.sum(axis=1), 1, atol=0.05)


def test_a_verb_of_ones_own_is_an_equal_citizen(run: Any) -> None:
    """Its windows are in the trace under its name, and its SFPU cycles in the counters: 15 tiles and 5 reciprocals."""
    program, _ = rows((1, 1), values=False)
    chip = run(machine("p100a"), program, "zones").chip
    spec = chip.machine.chip.tensix
    assert "exp" in chip.trace.names
    assert chip.trace.units["exp"] == "sfpu"
    assert chip.cores[0, 0].tensix.total("sfpu") == 15 * ceil(spec.exp_approx_cycles) + 5 * spec.reciprocal_column_cycles


@BOARDS
@GRIDS
def test_matmul_is_numpys_to_a_bfloat16_rounding(run: Any, board: str, grid: tuple[int, int]) -> None:
    """All four phases multiply every bit of bfloat16: what is left is the rounding of the result."""
    program, (a, b, c) = product(grid)
    run(machine(board), program)
    exact = a.values.astype(np.float64) @ b.values
    assert (np.abs(c.values - exact) <= np.abs(exact) * 2.0**-8 + 1e-4).all()


def test_fewer_phases_lose_more(run: Any) -> None:
    """LoFi drops bits of both operands, HiFi2 of one; the error falls with every phase that brings new bits."""
    errors = []
    for fidelity in ("LoFi", "HiFi2", "HiFi3", "HiFi4"):
        program, (a, b, c) = product((2, 2), math_fidelity=fidelity)
        run(machine("p100a"), program)
        exact = a.values.astype(np.float64) @ b.values
        errors.append(np.linalg.norm(c.values - exact) / np.linalg.norm(exact))
    assert errors[0] > 2 * errors[1] > 2 * errors[2] >= 2 * errors[3]
    assert errors[0] < 0.05
    assert errors[3] < 2.0**-8


def test_how_the_work_is_dealt_changes_no_number(run: Any) -> None:
    """The same bits from one core and from 64, from blocks of one tile and of many, in `exact`: BLAS may add in any order."""
    results = []
    for grid, m, n in (((1, 1), 2, 3), ((8, 8), 2, 3), ((3, 2), 1, 1), ((2, 2), 8, 6)):
        program, (_, _, c) = product(grid, (8, 4, 6, m, n), exact=True)
        run(machine("p100a"), program)
        results.append(c.values)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_bfloat8_b_is_packed_as_bfloat8_b(run: Any) -> None:
    """The packer shares one exponent among 16 values: a step of the largest bounds every error."""
    program, (x, y, out) = add((2, 2), fmt=BFLOAT8_B)
    run(machine("p100a"), program)
    exact = (x.values + y.values).reshape(-1, 16)
    step = 2.0 ** (np.floor(np.log2(np.abs(exact).max(axis=1, keepdims=True))) - 6)
    assert (np.abs(out.values.reshape(-1, 16) - exact) <= step * 1.5).all()


# -- cycles and bytes -----------------------------------------------------------------------------------------


@BOARDS
@GRIDS
@pytest.mark.parametrize("fmt", [BFLOAT16, BFLOAT8_B], ids=lambda fmt: fmt.name)
def test_add_moves_each_tile_once(run: Any, board: str, grid: tuple[int, int], fmt: Any) -> None:
    """Two reads and a write a tile, to the byte, however the tiles are dealt."""
    ran = run(machine(board), add(grid, fmt=fmt)[0])
    traffic = Traffic.of(ran.chip.hardware.routes, ran.cycles)._asdict()
    assert traffic["dram_read_bytes"] == 2 * 15 * fmt.tile_bytes
    assert traffic["dram_write_bytes"] == 15 * fmt.tile_bytes
    assert traffic["l1_write_bytes"] == 0


@pytest.mark.parametrize("grid", [(1, 1), (4, 2)])
@pytest.mark.parametrize("blocks", [(8, 4, 6, 2, 3), (8, 4, 6, 8, 6), (8, 4, 6, 1, 1), (4, 2, 4, 2, 1), (6, 2, 7, 3, 1)])
def test_matmul_reads_a_band_and_a_strip_for_each_block(run: Any, grid: tuple[int, int], blocks: tuple[int, ...]) -> None:
    """m k + k n tiles for each of C's blocks; C is written once."""
    rows, inner, cols, m, n = blocks
    ran = run(machine("p100a"), product(grid, blocks)[0])
    traffic = Traffic.of(ran.chip.hardware.routes, ran.cycles)._asdict()
    assert traffic["dram_read_bytes"] == (rows // m) * (cols // n) * (m * inner + inner * n) * 2048
    assert traffic["dram_write_bytes"] == rows * cols * 2048


@pytest.mark.parametrize(("fidelity", "cycles"), [("LoFi", 16), ("HiFi2", 32), ("HiFi3", 48), ("HiFi4", 64)])
def test_matmuls_fpu_cycles_are_products_times_phases(run: Any, fidelity: str, cycles: int) -> None:
    """8 x 4 x 6 tile products on two cores, whatever the fidelity's pace."""
    ran = run(machine("p100a"), product((2, 1), math_fidelity=fidelity)[0])
    assert sum(core.tensix.total("fpu") for core in ran.chip.cores.values()) == 8 * 4 * 6 * cycles


@BOARDS
@pytest.mark.parametrize("make", [add, product, rows])
def test_an_output_in_l1_is_the_same_numbers_elsewhere(run: Any, board: str, make: Any) -> None:
    """L1-interleaved: no byte is written to DRAM, all go to the workers' L1, and the values are the same bits."""
    outputs, traffics = [], []
    for memory in ("dram", "l1"):
        program, tensors = make((2, 2), memory=memory)
        ran = run(machine(board), program)
        outputs.append(tensors[-1])
        traffics.append(Traffic.of(ran.chip.hardware.routes, ran.cycles)._asdict())
    np.testing.assert_array_equal(outputs[0].values, outputs[1].values)
    nbytes = outputs[0].pages * 2048
    assert [(t["dram_write_bytes"], t["l1_write_bytes"]) for t in traffics] == [(nbytes, 0), (0, nbytes)]
    assert traffics[0]["dram_read_bytes"] == traffics[1]["dram_read_bytes"]


@BOARDS
def test_more_cores_are_faster(run: Any, board: str) -> None:
    """Work of this size shares well among a few cores."""
    cycles = [run(machine(board), product(grid)[0]).cycles for grid in ((1, 1), (2, 1), (4, 2))]
    assert cycles[0] > 1.5 * cycles[1] > 1.5 * cycles[2]


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "c", "block", "message"),
    [
        ((2, 3), (4, 2), (2, 2), (1, 1), "2x3 by 4x2 tiles do not make 2x2"),
        ((2, 3), (3, 2), (3, 2), (1, 1), "do not make 3x2"),
        ((4, 3), (3, 4), (4, 4), (3, 1), "blocks of 3x1 tiles do not divide C's 4x4"),
        ((4, 3), (3, 4), (4, 4), (1, 3), "blocks of 1x3 tiles do not divide C's 4x4"),
    ],
)
def test_matmul_refuses_shapes_that_do_not_fit(tensor: Any, a: Any, b: Any, c: Any, block: Any, message: str) -> None:
    """Before anything runs, with the shapes in the message."""
    with pytest.raises(ValueError, match=message):
        block_matmul.program(tensor("a", *a), tensor("b", *b), tensor("c", *c), (1, 1), *block)


@pytest.mark.parametrize(("x", "y", "out"), [((2, 2), (2, 2), (2, 3)), ((2, 2), (2, 3), (2, 2)), ((2, 3), (3, 2), (3, 2))])
def test_add_refuses_shapes_that_differ(tensor: Any, x: Any, y: Any, out: Any) -> None:
    """Pages beyond an operand's end would read as zeros: a sum of unequal shapes is refused instead."""
    with pytest.raises(ValueError, match="x"):
        eltwise_add.program(tensor("x", *x), tensor("y", *y), tensor("out", *out, output=True), (1, 1))
