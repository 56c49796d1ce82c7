"""A program is data, and `run_program` is the one way to run it: what it says of the run, and the files it writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensix_sim import run_program
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import Chip, SimulationError
from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, Tensor
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
    one.store(out, [4], None)
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
    """Chrome's JSON, cycles by core, columns, and bursts at the level that records them; the same bytes each time."""
    files = []
    for _ in range(2):
        run_program(add(), "n150", level).write(tmp_path / "run")
        files.append({path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()})
    recorded = {"trace.json", "cores.csv", "device-0.npz"} if level != "off" else set()
    assert set(files[0]) == {"report.html"} | recorded | ({"transfers.csv"} if level == "transfers" else set())
    assert files[0] == files[1]
    if recorded:
        assert json.loads(files[0]["trace.json"])["traceEvents"]
