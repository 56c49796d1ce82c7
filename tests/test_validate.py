"""Measurements files, and predictions beside them."""

import csv
import json
from functools import cache

import pytest
from click.testing import CliRunner

from tensix_sim import check
from tensix_sim import validate as v
from tensix_sim import walls as w
from tensix_sim.cli import main
from tensix_sim.device import run_device
from tensix_sim.job import Job

SMALL = {
    "id": "small", "board": "p100a", "op": "sdpa", "kernel": "streaming", "causal": "1", "batch": "1",
    "q_heads": "2", "kv_heads": "1", "seq_q": "256", "seq_kv": "256",
    "chunk_start_idx": "0", "sliding_window": "0", "head_dim": "64", "q_dtype": "bfloat8_b",
    "kv_dtype": "bfloat8_b", "q_chunk": "32", "k_chunk": "32", "grid_x": "2", "grid_y": "2", "math_fidelity": "HiFi2",
    "math_approx": "1", "exp_approx": "1", "fp32_dest": "0", "ring_size": "", "wall_cycles": "100000",
}  # fmt: skip


def write(path, *records):
    """A measurements file with these records."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(records[0]))
        table.writeheader()
        table.writerows(records)
    return path


def test_every_shipped_row_is_a_legal_run():
    """All 79 published walls can be run; assumed are three grids, and of four rings that one device does for all."""
    rows = w.read_rows(w.SHIPPED)
    assert len(rows) == 79
    assumed = [row.assumption for row in rows if row.assumption]
    assert [text for text in assumed if "grid" in text] == ["grid 8x6 assumed", "grid 8x4 assumed", "grid 4x4 assumed"]
    assert [text for text in assumed if "grid" not in text] == [f"one device stands for all {n}" for n in (8, 8, 8, 4)]
    assert [row.id for row in rows if not check(row.spec).ok] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wall_cycles": "0"}, "line 2, column wall_cycles"),
        ({"seq_q": "many"}, "line 2, column seq_q"),
        ({"q_chunk": ""}, "line 2, column q_chunk"),
    ],
)
def test_a_bad_value_is_named_with_its_place(tmp_path, change, says):
    """Line, column and value, and no traceback."""
    found = CliRunner().invoke(main, ["validate", str(write(tmp_path / "m.csv", SMALL | change))])
    assert found.exit_code == 1
    assert says in found.output
    assert "Traceback" not in found.output


@pytest.mark.parametrize(
    ("cores", "grid"), [(110, (11, 10)), (96, None), (64, (8, 8)), (48, (8, 6)), (20, (5, 4)), (7, (7, 1)), (13, None)]
)
def test_an_unpublished_grid_is_the_squarest_rectangle_of_its_cores(cores, grid):
    """Of those that the board has room for, wider than high; where there is none, the row says so and the others run."""
    row = w.Row.model_validate(SMALL | {"grid_x": "", "grid_y": "", "note": f"{cores} cores, grid shape not stated"})
    if grid:
        assert row.grid == grid
        assert row.assumption == f"grid {grid[0]}x{grid[1]} assumed"
    else:
        assert f"'{cores} cores, grid shape not stated'" in v.predict(row).problem
        assert "11x10 of p100a" in v.predict(row).summary()["problem"]


def test_a_missing_column_is_named(tmp_path):
    """So is what a file needs."""
    short = {name: value for name, value in SMALL.items() if name != "kernel"}
    with pytest.raises(w.MeasurementsError, match="lacks the columns kernel"):
        w.read_rows(write(tmp_path / "m.csv", short))


def test_a_row_that_cannot_run_is_shown_and_fails_the_command(tmp_path):
    """Never left out: its line says why, and the exit code is 1."""
    path = write(tmp_path / "m.csv", SMALL, SMALL | {"id": "odd", "q_chunk": "33"})
    found = CliRunner().invoke(main, ["validate", str(path), "--jobs", "1", "--json", str(tmp_path / "v.json")])
    assert found.exit_code == 1
    told = json.loads((tmp_path / "v.json").read_text())
    assert [row["id"] for row in told["rows"]] == ["small", "odd"]
    assert told["rows"][1]["predicted_cycles"] is None
    assert "33" in told["rows"][1]["problem"]
    assert told["summary"]["rows"] == 1
    assert told["summary"]["not_predicted"] == 1


def test_a_prediction_is_the_end_of_the_last_kernel():
    """The same number as a plain run."""
    row = w.Row.model_validate(SMALL)
    found = v.predict(row)
    assert found.cycles == run_device(Job.of(row.spec), 0).device.cycles
    assert found.error == found.cycles / 100_000 - 1


QUICK = ("n150-01", "n150-03", "n150-05", "p100a-28", "p100a-37", "p100a-56", "p100a-78", "wh-galaxy-prefill-128")


@pytest.mark.parametrize("name", QUICK)
def test_the_shipped_predictions_are_the_model_s(name):
    """What tells how far to trust a time was made by this model: where it moves, `make fidelity` makes them anew."""
    (kept,) = (p for p in w.shipped() if p.row.id == name)
    found = v.predict(kept.row)
    assert (found.cycles, found.bound) == (kept.cycles, kept.bound)


def test_every_shipped_wall_has_a_prediction():
    """None is missing, so that no kind looks better than it is."""
    assert [p.row.id for p in w.shipped()] == [row.id for row in w.read_rows(w.SHIPPED)]


def test_groups_hold_every_row_once_for_each_kind():
    """So a regime that is bad cannot hide."""
    row = w.Row.model_validate(SMALL)
    told = [w.Prediction(row, 110_000, bound="dram"), w.Prediction(row, 95_000, bound="compute")]
    sizes = {}
    for kind, _, errors in w.groups(told):
        sizes[kind] = sizes.get(kind, 0) + len(errors)
    assert set(sizes) == set(w.GROUPS)
    assert set(sizes.values()) == {2}
    overall = v.summary(told)["summary"]
    assert overall["mean_abs_error"] == pytest.approx(0.075)
    assert overall["mean_error"] == pytest.approx(0.025)
    assert overall["worst_abs_error"] == pytest.approx(0.1)


def test_changes_are_rows_that_differ_in_one_setting():
    """Two columns of one setting count once; another length is another job; a small move on the chip must stay small."""
    rows = [
        w.Row.model_validate(SMALL | change)
        for change in ({}, {"q_chunk": "64", "k_chunk": "64", "wall_cycles": "90000"}, {"kv_heads": "2"}, {"seq_q": "512"})
    ]
    told = [w.Prediction(row, cycles) for row, cycles in zip(rows, (100_000, 95_000, 106_000, 1), strict=True)]
    found = list(w.changes([*told, w.Prediction(rows[0], problem="odd")]))
    assert [(c.setting, c.measured, c.predicted, c.same_way) for c in found] == [
        ("chunks", 0.9, 0.95, True),
        ("KV heads", 1.0, 1.06, False),
    ]
    assert found[0].summary()["values"] == [[32, 32], [64, 64]]


PUBLISHED = {
    "streaming for legacy on the ring op": ("p100a-80", "p100a-81"),
    "bfloat16 for bfloat8_b": ("p100a-06", "p100a-21"),
    "110 cores for 64": ("pr56898-4096-64", "pr56898-4096-110"),
    "q 512 for q 256, k 128": ("p100a-17", "p100a-18"),
    "32 KV heads for 8": ("p100a-06", "p100a-22"),
}


@cache
def predicted(name):
    """The prediction of a shipped row."""
    return v.predict(next(row for row in w.read_rows(w.SHIPPED) if row.id == name))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_change_goes_the_same_way(first, second):
    """And by about as much: within a tenth of the chip's ratio."""
    (changed,) = w.changes([predicted(first), predicted(second)])
    assert changed.same_way
    assert changed.predicted == pytest.approx(changed.measured, rel=0.1)


def test_a_32_bit_dst_and_the_kernel_it_takes_are_slower():
    """Issue 56693: the streaming kernel with a 16-bit DST is about 24 % faster than legacy with 32 bits."""
    legacy = next(row for row in w.read_rows(w.SHIPPED) if row.id == "p100a-03")
    streaming = v.predict(legacy.model_copy(update={"kernel": "streaming", "fp32_dest": False}))
    assert streaming.cycles == pytest.approx(0.76 * predicted("p100a-03").cycles, rel=0.1)
