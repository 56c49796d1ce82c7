"""Published times of collectives beside the model's."""

import csv
from collections import defaultdict
from statistics import median

import pytest

from tensix_sim.arch import machine
from tensix_sim.gather.walls import SHIPPED, read_walls

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


@pytest.mark.slow
def test_walls_are_met_on_the_median() -> None:
    """Those of each source within 25 %."""
    errors = defaultdict[str, list[float]](list)
    for wall in WALLS.values():
        if wall.family in JUDGED:
            errors[wall.family].append(abs(wall.error(wall.run())))
    assert all(median(found) < 0.25 for found in errors.values()), errors
