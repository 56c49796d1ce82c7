"""Measurements files, and predictions beside them."""

import csv
import json

import pytest
from click.testing import CliRunner

from tensix_sim import validate as v
from tensix_sim.cli import main
from tensix_sim.simulation import run_device

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
    """All 61 published walls can be run; the only assumptions are three grids."""
    rows = v.read_rows(v.SHIPPED)
    assert len(rows) == 61
    assert [row.assumption for row in rows if row.assumption] == ["grid 8x6 assumed", "grid 8x4 assumed", "grid 4x4 assumed"]
    assert [row.id for row in rows if not v.check(row.spec).ok] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wall_cycles": "0"}, "line 2, column wall_cycles"),
        ({"seq_q": "many"}, "line 2, column seq_q"),
        ({"grid_x": ""}, "line 2, column grid_x"),
    ],
)
def test_a_bad_value_is_named_with_its_place(tmp_path, change, says):
    """Line, column and value, and no traceback."""
    found = CliRunner().invoke(main, ["validate", str(write(tmp_path / "m.csv", SMALL | change))])
    assert found.exit_code == 1
    assert says in found.output
    assert "Traceback" not in found.output


def test_a_missing_column_is_named(tmp_path):
    """So is what a file needs."""
    short = {name: value for name, value in SMALL.items() if name != "kernel"}
    with pytest.raises(v.MeasurementsError, match="lacks the columns kernel"):
        v.read_rows(write(tmp_path / "m.csv", short))


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
    row = v.Row.model_validate(SMALL)
    found = v.predict(row)
    assert found.cycles == run_device(row.spec, 0, lambda share: None).device.cycles
    assert found.error == found.cycles / 100_000 - 1
    assert found.simulated_rounds == (found.rounds,)


def test_a_long_run_is_told_by_two_short_ones(monkeypatch):
    """Rounds of equal work take equal time once the pipeline is full: within 2 % of the whole run."""
    row = v.Row.model_validate(SMALL | {"q_heads": "16", "grid_x": "2", "grid_y": "1"})
    whole = v.predict(row)
    assert whole.rounds > 12 or whole.simulated_rounds == (whole.rounds,)
    monkeypatch.setattr(v, "WHOLE_ROUNDS", 7)
    drawn_out = v.predict(row)
    assert drawn_out.simulated_rounds == (2, 7)
    full = run_device(row.spec, 0, lambda share: None).device
    assert drawn_out.cycles == pytest.approx(full.cycles, rel=0.02)
    assert drawn_out.fpu_cycles == pytest.approx(full.fpu_cycles, rel=0.01)


def test_groups_hold_every_row_once_for_each_kind():
    """So a regime that is bad cannot hide."""
    row = v.Row.model_validate(SMALL)
    told = [v.Prediction(row, 110_000, bound="dram"), v.Prediction(row, 95_000, bound="compute")]
    sizes = {}
    for kind, _, errors in v.groups(told):
        sizes[kind] = sizes.get(kind, 0) + len(errors)
    assert set(sizes) == set(v.GROUPS)
    assert set(sizes.values()) == {2}
    overall = v.summary(told)["summary"]
    assert overall["mean_abs_error"] == pytest.approx(0.075)
    assert overall["mean_error"] == pytest.approx(0.025)
    assert overall["worst_abs_error"] == pytest.approx(0.1)
