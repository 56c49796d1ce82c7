"""Published times of collectives beside the model's."""

import csv
from collections import defaultdict
from statistics import mean, median

import pytest
from collective_walls import SHIPPED, read_walls

from tensix_sim.arch import machine
from tensix_sim.trust import trust_of_op

WALLS = {wall.id: wall for wall in read_walls()}
JUDGED = ("rs-bh", "rs-batches", "rs-forms")  # reduce-scatters whose shapes are published


def test_every_row_is_a_run_that_its_board_can_do() -> None:
    """By the text of the file: 41 rows are judged, and of every row the rules hold."""
    with SHIPPED.open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(WALLS)
    assert sum(wall.family in JUDGED for wall in WALLS.values()) == 41
    assert {wall.id: found for wall in WALLS.values() for op in wall.ops if (found := op.problems(machine(wall.board)))} == {}


@pytest.mark.parametrize("name", ["rs-forms-01", "rs-forms-02", "rs-forms-03"])
def test_some_walls_are_met(name: str) -> None:
    """A line, a ring all around and one halfway, of a tile a slice: within 25 %."""
    assert abs(WALLS[name].error(WALLS[name].run())) < 0.25


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """How far the model is from each row that is judged."""
    return {name: abs(wall.error(wall.run())) for name, wall in WALLS.items() if wall.family in JUDGED}


@pytest.mark.slow
def test_walls_are_met_on_the_median(errors: dict[str, float]) -> None:
    """Those of each source within 25 %."""
    for family in JUDGED:
        assert median(error for name, error in errors.items() if WALLS[name].family == family) < 0.25, family


@pytest.mark.slow
def test_users_are_told_of_these_errors(errors: dict[str, float]) -> None:
    """Of a reduce-scatter, by its topology and chip, whichever of ttnn's two it is: the mean and the worst of all judged rows."""
    kinds = defaultdict[tuple[str, str], list[float]](list)
    for name, error in errors.items():
        wall = WALLS[name]
        kinds[wall.ops[0].topology, machine(wall.board).chip.name].append(error)
    assert sum(map(len, kinds.values())) == 41
    for (topology, chip), found in kinds.items():
        for op in ("reduce_scatter", "reduce_scatter_minimal_async"):
            told = trust_of_op(op, topology, chip)
            assert told.walls == len(found)
            assert told.mean_error == pytest.approx(mean(found), abs=0.001), told
            assert told.worst_error == pytest.approx(max(found), abs=0.001), told
