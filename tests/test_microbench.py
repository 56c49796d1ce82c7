"""Published microbenchmarks beside the model."""

import json

from click.testing import CliRunner

from tensix_sim import microbench as b
from tensix_sim.arch import machine
from tensix_sim.cli import main

P150 = machine("p150b")
COMPARED = b.compare()


def test_every_entry_is_compared_or_left_out_for_a_reason():
    """Nothing is dropped: entries with points and entries with a reason make up the file."""
    points, left_out = COMPARED
    entries = json.loads(b.SHIPPED.read_text())
    assert len({p.id for p in points}) + sum(left_out.values()) == len(entries) == 438
    assert all(left_out)


def test_the_median_error_is_at_most_ten_percent():
    """The bar for the table as a whole."""
    points, left_out = COMPARED
    assert b.summary(points, left_out)["summary"]["median_abs_error"] <= 0.10


def test_the_median_error_of_all_gathers_is_at_most_fifteen_percent():
    """Of lines and rings together; every published time is there."""
    points, left_out = COMPARED
    gathers = [p for p in points if "all-gather" in p.group]
    assert len(gathers) == 20
    assert b.summary(gathers, left_out)["summary"]["median_abs_error"] <= 0.15


def test_more_transactions_take_longer_and_larger_ones_too():
    """Of every pattern."""
    for cycles in (lambda n, size: b.from_dram(P150, "read", n, size), lambda n, size: b.from_l1(P150, "write", n, size, False)):
        assert cycles(1, 64) < cycles(4, 64) < cycles(64, 64)
        assert cycles(4, 64) < cycles(4, 4096) < cycles(4, 16384)


def test_a_long_write_passes_port_and_bank_at_the_same_time():
    """Cut-through: its bytes count once, not at each end."""
    long, short = (b.from_l1(P150, "write", 1, size, False) for size in (16384, 64))
    assert long - short < 1.1 * 16384 / P150.chip.noc.niu_rate


def test_micro_prints_groups_and_what_is_left_out(tmp_path):
    """And writes them as JSON."""
    found = CliRunner().invoke(main, ["validate", "--micro", "--json", str(tmp_path / "m.json")])
    assert found.exit_code == 0
    assert "multicast is not modelled" in found.output
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["summary"]["points"] == len(told["rows"])
    assert sum(group["points"] for group in told["groups"]) == len(told["rows"])


def test_micro_takes_no_file(tmp_path):
    """A file of walls would be ignored: it is refused."""
    (tmp_path / "m.csv").write_text("id\n")
    found = CliRunner().invoke(main, ["validate", "--micro", str(tmp_path / "m.csv")])
    assert found.exit_code == 2
