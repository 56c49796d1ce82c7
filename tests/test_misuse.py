"""What lies in L1 is used by value, and kernels that come to no end are told of."""

import re
from typing import Any

import numpy as np
import pytest
from programs import rows, run

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import SimulationError
from tensix_sim.kernel_api import (
    Add,
    BufferSpec,
    Compute,
    DataMovement,
    Kernel,
    Program,
    RowMax,
    RowSum,
    Tensor,
    context,
)
from tensix_sim.kernel_api.matrix import Matrix
from tensix_sim.kernels import softmax

P100 = machine("p100a")


def kernels(**functions: Any) -> Program:
    """Kernels of one core by role."""
    made = tuple(Kernel(role, function, [0]) for role, function in functions.items())  # type: ignore[arg-type]
    return Program((1, 1), (), made, (), semaphores=("go",))


# -- what lies in L1 is used by value -------------------------------------------------------------------------


def rows_with_constants(scaler: float, ones: float) -> Any:
    """The row maximum and the row sum of a tile of ones, with constants of these values."""
    made = {}

    async def reader(dm: DataMovement, _: int) -> None:
        for name, value in (("x", 1.0), ("scaler", scaler), ("ones", ones)):
            (buffer,) = dm.cbs(name)
            await dm.reserve(buffer, 1)
            dm.fill(buffer, 1, np.full((1, 32, 1, 32), value, np.float32))
            dm.push(buffer, 1)

    async def compute(t: Compute, _: int) -> None:
        x, s = t.matrix("x"), t.matrix("s")
        await t.do(RowMax, x, t.matrix("scaler"), t.column("m", 1), 1)
        await t.do(Add, x, x, s)
        await t.do(RowSum, s, t.matrix("ones"), 1)
        made["sum"] = s.block()[0, 0, 0, 0]
        for used in (x, s, t.column("m", 1), t.matrix("scaler"), t.matrix("ones")):
            await t.wait(used)
            t.pop(used)

    buffers = [BufferSpec(name, 1, BFLOAT16, "reader", "compute") for name in ("x", "scaler", "ones")]
    buffers += [BufferSpec(name, 1, BFLOAT16, "compute", "compute") for name in ("m", "s")]
    both = (Kernel("reader", reader, [0]), Kernel("compute", compute, [0]))
    values = Tensor("values", 1, 1, BFLOAT16, values=np.zeros((32, 32), np.float32))
    run(P100, Program((1, 1), tuple(buffers), both, (values,)))
    return made["sum"]


@pytest.mark.parametrize("ones", [1.0, 0.5])
def test_a_row_sum_is_a_product_with_the_tile_that_is_there(ones: float) -> None:
    """32 columns of 1 + 1, each times what column 0 of the tile of ones holds."""
    assert rows_with_constants(1.0, ones) == 64 * ones


def test_the_scaler_of_the_max_pool_is_one() -> None:
    """The hardware scales by its exponent and says nothing of other values: an error, with the place."""
    with pytest.raises(SimulationError, match=r"core \(0,0\) scaler: the max pool's scaler has 0 in row 0, column 0"):
        rows_with_constants(0.0, 1.0)


@pytest.mark.parametrize("page", [0, 1])
def test_words_are_those_of_the_tile_in_front(page: int) -> None:
    """A kernel that looks at a page of integers sees what it has read, and nothing once it is popped."""
    table = Tensor("table", 2, 1, BFLOAT16, opaque=True, words=([3, 1], [2, 0]))
    seen = []

    async def reader(dm: DataMovement, _: int) -> None:
        (buffer,) = dm.cbs("x")
        await dm.reserve(buffer, 1)
        await dm.read(table, [page], buffer, (1, 1))
        dm.push(buffer, 1)
        seen.append(dm.words(buffer))
        dm.pop(buffer, 1)
        dm.words(buffer)

    program = Program((1, 1), (BufferSpec("x", 1, BFLOAT16, "reader", "reader"),), (Kernel("reader", reader, [0]),), (table,))
    with pytest.raises(SimulationError, match="x: a look at the front tile; none with words"):
        run(P100, program)
    assert seen == [table.words[page]]


# -- kernels that come to no end ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a semaphore", "time"])
def test_a_kernel_that_polls_is_told_of(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations without end while no tile moves: an error that says where this kernel and the others stand."""
    monkeypatch.setattr(context, "LULL", 1 << 12)

    async def reader(dm: DataMovement, _: int) -> None:
        while True:
            await (dm.semaphore_wait("go", 0) if what == "a semaphore" else dm.connect())

    async def writer(dm: DataMovement, _: int) -> None:
        await dm.semaphore_wait("go", 1)

    with pytest.raises(SimulationError, match=r"core \(0,0\) NCRISC polls: 4,096 operations") as caught:
        run(P100, kernels(reader=reader, writer=writer))
    assert "core (0,0) BRISC waits for semaphore go to reach 1" in str(caught.value)
    assert re.search(rf"core \(0,0\) NCRISC at {re.escape(__file__)}:\d+", caught.value.__notes__[0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda e: e[:, :, :-1], "core (0,0) exps: Exp makes 3 tiles, and its values are of 2"),
        (lambda e: np.concatenate([e, e]), "core (0,0) exps: Exp makes 3 tiles, and its values are of 6"),
        (lambda e: e.reshape(32, 96), "core (0,0) exps: values of tiles are [rows, 32, columns, 32 or 1]; these are [32, 96]"),
    ],
)
def test_a_verbs_values_are_of_the_tiles_that_it_makes(wrong: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb of one's own that computes too few tiles, too many, or no tiles, is named where it is done."""
    keep = Matrix.keep
    monkeypatch.setattr(softmax.Exp, "values", lambda verb, units: keep(verb.out, wrong(verb.x.whole().copy())))
    with pytest.raises(SimulationError, match=re.escape(said)) as failed:
        run(P100, rows((1, 1))[0])
    assert "TRISC at" in str(failed.value.__notes__)


def test_a_kernel_that_takes_other_arguments_is_none() -> None:
    """An error of the program, and no traceback of Python's."""

    async def reader(dm: DataMovement) -> None: ...

    with pytest.raises(SimulationError, match=r"core \(0,0\) NCRISC: .*reader.* is no kernel: .*takes 1 positional argument"):
        run(P100, kernels(reader=reader))
