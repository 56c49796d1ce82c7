"""A program is data, and `run_program` is the one way to run it: what it says of the run, and the files it writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pftrace import VIEWED
from programs import product, rows, tensor

from tensix_sim import run_program
from tensix_sim.analysis import program_roofline
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT4_B, BFLOAT8_B, BFLOAT16, Format
from tensix_sim.hw import Chip, SimulationError
from tensix_sim.kernel_api import BufferSpec, Compute, ComputeConfig, Copy, DataMovement, Kernel, Program, Tensor
from tensix_sim.kernels import eltwise_add
from tensix_sim.trace import Cause, Trace, check_lanes


def add(values: bool = False) -> Program:
    """out = x + y of 3x3 tiles, on 2x2 cores."""

    def tensor(name: str, output: bool = False) -> Tensor:
        return Tensor(name, 3, 3, BFLOAT16, values=np.ones((96, 96), np.float32) if values else None, output=output)

    return eltwise_add.program(tensor("x"), tensor("y"), tensor("out", output=True), (2, 2))


def test_a_program_that_ran_is_as_it_was() -> None:
    """A second chip, on which nothing ran, has written none of its pages; and run, it takes the cycles of the first."""
    program = add()
    first = run_program(program, "n150")
    with pytest.raises(SimulationError, match=r"tensor out: 9 of 9 pages were never written, the first is page 0"):
        Chip(machine("n150"), program, Trace("off")).check_finished()
    assert run_program(program, "n150").cycles == first.cycles


def test_a_page_is_written_on_the_chip_that_wrote_it() -> None:
    """Two chips on one program: a page stored on one of them is unwritten on the other."""
    program = add()
    one, other = (Chip(machine("n150"), program, Trace("off")) for _ in range(2))
    (out,) = program.outputs
    one.store(out, [4], None, None)
    assert np.flatnonzero(one.written(out)).tolist() == [4]
    assert not other.written(out).any()


def test_an_output_that_the_program_does_not_name_is_refused() -> None:
    """Nobody would see that its pages were never written."""
    x, out = Tensor("x", 1, 1, BFLOAT16), Tensor("elsewhere", 1, 1, BFLOAT16, output=True)

    async def reader(dm: DataMovement, _: None) -> None:
        (tiles,) = dm.cbs("tiles")
        await dm.reserve(tiles, 1)
        await dm.read(x, [0], tiles, (1, 1))
        dm.push(tiles, 1)

    async def writer(dm: DataMovement, _: None) -> None:
        (tiles,) = dm.cbs("tiles")
        await dm.wait(tiles, 1)
        await dm.write(tiles, out, [0], (1, 1))
        dm.pop(tiles, 1)

    kernels = (Kernel("reader", reader, [None]), Kernel("writer", writer, [None]))
    program = Program((1, 1), (BufferSpec("tiles", 1, BFLOAT16, "reader", "writer"),), kernels, (x,))
    with pytest.raises(SimulationError, match="elsewhere is no output of the program"):
        run_program(program, "n150")


def test_the_waits_are_those_of_the_trace() -> None:
    """By lane and cause, the mean of four cores: the reader's and the writer's add up to what their lanes' spans have."""
    ran = run_program(add(), "n150")
    assert check_lanes(ran.trace) is None
    assert ran.cycles == ran.trace.end
    for role, risc in (("reader", "NCRISC"), ("writer", "BRISC")):
        said = sum(cycles for cause, cycles in ran.waits.items() if cause.startswith(role))
        spans = ran.trace.spans()
        mine = [ran.trace.lanes[lane].risc == risc for lane in spans["lane"]]
        waits = [isinstance(ran.trace.names[name], Cause) for name in spans["name"]]
        traced = spans[np.logical_and(mine, waits)]
        assert said == (traced["end"] - traced["start"]).sum() / 4


def test_values_are_those_that_were_written() -> None:
    """1 + 1, under the output's name; None where only shapes ran."""
    assert (run_program(add(values=True), "p100a").values["out"] == 2).all()
    assert run_program(add(), "p100a").values == {"out": None}


@pytest.mark.parametrize("level", ["off", "zones", "transfers"])
def test_a_folder_has_the_page_and_what_was_recorded(tmp_path: Path, level: Any) -> None:
    """A trace for Perfetto, cycles by core, columns, and bursts at the level that records them; the same bytes each time."""
    files = []
    for _ in range(2):
        run_program(add(), "n150", level).write(tmp_path / "run")
        files.append({path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()})
    recorded = {VIEWED, "cores.csv", "device-0.npz"} if level != "off" else set()
    assert set(files[0]) == {"report.html"} | recorded | ({"transfers.csv"} if level == "transfers" else set())
    assert files[0] == files[1]


# -- what binds it ------------------------------------------------------------------------------------------


def test_a_program_is_judged_by_running_it_again() -> None:
    """One of more tiles than its links carry is bound by what moves them; each what-if is a whole run, which changes no value."""
    program, tensors = rows((2, 1))
    ran = run_program(program, "n150")
    before = tensors[-1].values
    assert before is not None
    kept = before.copy()
    verdict = ran.judge()
    assert verdict.cycles == ran.cycles
    assert all(w.drawn_from == "run whole" for w in verdict.what_ifs)
    assert max(w.gain for w in verdict.what_ifs) > 0
    faster = machine("n150").override({"tensix.unpack_rate_one": 2 * machine("n150").chip.tensix.unpack_rate_one})
    (unpack,) = (w for w in verdict.what_ifs if w.cause == "unpack")
    assert unpack.cycles <= run_program(program, faster).cycles <= ran.cycles
    assert np.array_equal(kept, before)
    assert "no published wall" in verdict.trust


def test_what_moves_tiles_is_bound_by_moving_them() -> None:
    """A copy by one core's reader and writer: nothing that computes saves a percent."""
    verdict = run_program(add(), "n150").judge()
    saved = {w.cause: w.gain for w in verdict.what_ifs}
    assert saved["all reads"] > 0.5
    assert max(saved[unit] for unit in ("FPU", "SFPU")) < 0.02


def test_a_buffer_that_is_full_is_tried_twice_as_large() -> None:
    """Where someone waited for space in it, and L1 has room."""
    program, _ = rows((1, 1))
    ran = run_program(program, "n150")
    full = {wait.cause.name for wait in ran.lane_waits if wait.cause.kind == "space"}
    tried = {w.cause for w in ran.judge().what_ifs if w.cause.startswith("buffer ")}
    assert full
    assert tried == {f"buffer {name}" for name in full}


def test_roofs_of_a_program_are_those_of_its_grid() -> None:
    """All FPUs of its cores at its fidelity, all banks; no unit is busy for longer than the wall, and no bound lies above it."""
    program, _ = product((2, 2), values=False, math_fidelity="HiFi4")
    ran = run_program(program, "n150")
    roof = program_roofline(ran.machine, program, ran.figures)
    assert roof.peak_flops_per_cycle == 4 * 4096 / 4
    assert roof.bytes_per_cycle == machine("n150").chip.dram.rate
    assert 0 < roof.flops_per_cycle < roof.peak_flops_per_cycle
    assert all(0 <= bound.cycles <= ran.cycles for bound in roof.bounds)


# -- copies and shapes --------------------------------------------------------------------------------------


def copying(
    x_format: Format, out_format: Format, shape: tuple[int, int] = (1, 2), **config: Any
) -> tuple[Program, Tensor, Tensor]:
    """out = x of 2x2 tiles, a row at a time, each in its format."""
    x = tensor("x", 2, 2, x_format)
    out = tensor("out", 2, 2, out_format, output=True)

    async def reader(dm: DataMovement, _: Any) -> None:
        (x_in,) = dm.cbs("x_in")
        for row in range(2):
            await dm.reserve(x_in, 2)
            await dm.read(x, range(2 * row, 2 * row + 2), x_in, (1, 2))
            dm.push(x_in, 2)

    async def compute(t: Compute, _: Any) -> None:
        x_in, made = t.matrix("x_in", 1, 2), t.matrix("made", *shape)
        for _row in range(2):
            await t.do(Copy, x_in, made)
            t.pop(x_in)

    async def writer(dm: DataMovement, _: Any) -> None:
        (made,) = dm.cbs("made")
        for row in range(2):
            await dm.wait(made, 2)
            await dm.write(made, out, range(2 * row, 2 * row + 2), (1, 2))
            dm.pop(made, 2)

    kernels = (("reader", reader), ("compute", compute), ("writer", writer))
    return (
        Program(
            grid=(1, 1),
            buffers=(
                BufferSpec("x_in", 4, x_format, "reader", "compute"),
                BufferSpec("made", 4, out_format, "compute", "writer"),
            ),
            kernels=tuple(Kernel(role, function, [0]) for role, function in kernels),  # type: ignore[arg-type]
            tensors=(x, out),
            compute=ComputeConfig(**config),
        ),
        x,
        out,
    )


@pytest.mark.parametrize("fmt", [BFLOAT16, BFLOAT8_B, BFLOAT4_B])
@pytest.mark.parametrize("exact", [False, True])
def test_a_copy_is_the_tiles_in_the_format_of_where_they_go(fmt: Format, exact: bool) -> None:
    """In their own format nothing changes; in another one fast and exact round to the same bits."""
    program, x, out = copying(fmt, fmt, exact=exact)
    run_program(program, "n150")
    assert np.array_equal(x.values, out.values)  # type: ignore[arg-type]
    outputs = []
    for numbers in (False, True):
        program, _, out = copying(BFLOAT16, fmt, exact=numbers)
        run_program(program, "n150")
        outputs.append(out.values)
    assert np.array_equal(*outputs)


def test_a_copy_of_a_tile_takes_what_the_model_says_at_least() -> None:
    """Unpack, move to DST and pack of every tile, one behind the other at the least on the slowest of the threads."""
    program, *_ = copying(BFLOAT16, BFLOAT16)
    ran = run_program(program, "n150")
    assert ran.chip.cores[(0, 0)].tensix.total("fpu") == 4 * machine("n150").chip.tensix.eltwise_cycles


def test_shapes_that_do_not_fit_are_a_sentence() -> None:
    """A block that is no tiles, a copy to another shape, a sum of two shapes: what it is, and what is needed."""
    program, *_ = copying(BFLOAT16, BFLOAT16, shape=(2, 2))
    with pytest.raises(SimulationError, match=r"x_in: a matrix of 1x2 tiles where its copy in .*made needs 2x2"):
        run_program(program, "n150")

    async def fills(dm: DataMovement, _: Any) -> None:
        (c,) = dm.cbs("x_in")
        await dm.reserve(c, 1)
        dm.fill(c, 1, np.ones((32, 32), np.float32))

    program, *_ = copying(BFLOAT16, BFLOAT16)
    kernels = (Kernel("reader", fills, [0]), *program.kernels[1:])
    with pytest.raises(
        SimulationError, match=r"x_in: filled with an array of shape \(32, 32\); tiles are \[rows, 32, columns, 32\]"
    ):
        run_program(replace(program, kernels=kernels), "n150")
