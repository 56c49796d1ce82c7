"""Published microbenchmarks beside the model."""

import json
from statistics import median

import pytest
from click.testing import CliRunner

from tensix_sim import microbench as b
from tensix_sim.arch import machine
from tensix_sim.cli import main
from tensix_sim.formats import BFLOAT8_B, BFLOAT16
from tensix_sim.microbench import entries as e
from tensix_sim.microbench import on_core, transfers
from tensix_sim.microbench.on_core import Product

P150, N150 = machine("p150b"), machine("n150")


@pytest.fixture(scope="module")
def compared():
    """All points, and what is left out: seconds, so once."""
    return b.compare()


@pytest.mark.slow
def test_every_entry_is_compared_or_left_out_for_a_reason(compared):
    """Nothing is dropped, nothing is both: points and reasons share out the files."""
    points, left_out = compared
    with_points, without = {p.id for p in points}, [i for ids in left_out.values() for i in ids]
    assert sorted([*with_points, *without]) == sorted(entry["id"] for entry in b.read())
    assert [len(json.loads(path.read_text())) for path in b.SHIPPED] == [438, 25]
    listed = {f"{kind}-{n:03}" for kinds in e.LEFT_OUT.values() for kind, numbers in kinds.items() for n in numbers}
    assert listed == set(without)


@pytest.mark.slow
def test_the_median_error_is_at_most_ten_percent(compared):
    """The bar for the table as a whole, and for either chip alone."""
    told = b.summary(*compared)
    assert told["summary"]["median_abs_error"] <= 0.10
    for chip in ("wormhole_b0", "blackhole"):
        assert median(abs(row["error"]) for row in told["rows"] if row["chip"] == chip) <= 0.10


def test_an_entry_that_nobody_knows_is_an_error():
    """A new entry without a program cannot vanish: it needs a reason."""
    with pytest.raises(LookupError, match="ccl-099"):
        e.reason({"id": "ccl-099", "kind": "ccl"})


# -- transfers ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_median_error_of_all_gathers_is_at_most_fifteen_percent(compared):
    """Of lines and rings together; every published time is there."""
    points, left_out = compared
    gathers = [p for p in points if "all-gather" in p.group]
    assert len(gathers) == 20
    assert b.summary(gathers, left_out)["summary"]["median_abs_error"] <= 0.15


def test_more_transactions_take_longer_and_larger_ones_too():
    """Of every pattern."""
    for cycles in (
        lambda n, size: transfers.from_dram(P150, "read", n, size),
        lambda n, size: transfers.from_l1(P150, "write", n, size, False),
    ):
        assert cycles(1, 64) < cycles(4, 64) < cycles(64, 64)
        assert cycles(4, 64) < cycles(4, 4096) < cycles(4, 16384)


def test_a_long_write_passes_port_and_bank_at_the_same_time():
    """Cut-through: its bytes count once, not at each end."""
    long, short = (transfers.from_l1(P150, "write", 1, size, False) for size in (16384, 64))
    assert long - short < 1.1 * 16384 / P150.chip.noc.niu_rate


def test_banks_are_never_faster_than_their_rate_and_careful_cores_reach_it():
    """Cores beside their banks get all of it; cores anywhere get less, over shared links."""
    limit = machine("galaxy").chip.dram.bank_rate * 12
    beside, anywhere = (transfers.banks_rate(machine("galaxy"), 12, "read", 0, careful) for careful in (True, False))
    assert 0.97 * limit < beside <= limit
    assert anywhere < 0.9 * beside


def test_a_core_reads_two_l1s_on_two_nocs_at_once():
    """Each NoC has a port of its own into an L1, so two readers of one L1 do not share its rate if their NoCs differ."""
    pages, size = [5] * 64, 8192

    def cycles(*nocs):
        return transfers.cycles(
            P150, [transfers.Moving(P150.worker((x, 3)), pages, size, noc, place="l1") for x, noc in enumerate(nocs)]
        )

    alone = cycles(0)
    assert cycles(0, 1) < 1.2 * alone
    assert cycles(0, 0) > 1.8 * alone


def test_a_barrier_with_less_in_flight_takes_longer():
    """Of the same reads."""
    times = [
        transfers.cycles(P150, [transfers.Moving(P150.worker((0, 0)), range(64), 2048, 0, barrier=threshold)])
        for threshold in (1, 4, 0)
    ]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 3


def test_shards_cover_the_tensor_once():
    """Blocks and rows alike."""
    for by_rows in (True, False):
        shards = [transfers._shard(i, (16, 8), (4, 2), by_rows) for i in range(8)]
        assert sorted(page for shard in shards for page in shard) == list(range(128))


# -- one core -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fidelity", "phases"), [("LoFi", 1), ("HiFi2", 2), ("HiFi4", 4)])
def test_a_product_takes_its_multiplications_and_little_more(fidelity, phases):
    """16 cycles a phase and tile, 3 more to issue; blocks that accumulate in L1 cost the packer, not the FPU."""
    work = Product(8, 8, 8, 4, (2, 4))
    core = on_core.run_core(P150, work, fmt=BFLOAT8_B, fidelity=fidelity)
    ideal = 16 * phases * 8 * 8 * 8 * 4
    assert core.tensix.total("fpu") == ideal
    assert ideal < core.tensix.pack
    if phases > 1:
        assert core.tensix.pack < 1.25 * ideal


def test_loops_of_products_are_within_five_percent_on_wormhole():
    """Whole, and with engines left out; 4x2, of which the chip took more than of 2x4, within ten."""
    loops = [point for entry in b.read() if entry["kind"] == "matmul_loop" for point in e.points(entry)]
    assert len(loops) == 8
    for point in loops:
        assert abs(point.error) <= (0.10 if point.what.startswith("4x2") else 0.05), point


def test_accumulating_packs_take_half_as_long_again():
    """16 cycles a tile and 24, and the call each time, on Blackhole; twice the 16 on Wormhole."""
    call = P150.chip.tensix.pack_call_cycles
    for m, factor in ((P150, 1.5), (N150, 2.0)):
        bytes_at_rate = BFLOAT16.tile_bytes / m.chip.tensix.pack_rate
        plain, adding = on_core.pack_cycles(m, accumulate=False), on_core.pack_cycles(m, accumulate=True)
        assert plain == pytest.approx(bytes_at_rate + call, rel=0.05)
        assert adding == pytest.approx(factor * bytes_at_rate + call, rel=0.05)


@pytest.mark.slow
def test_micro_prints_groups_and_what_is_left_out(tmp_path, monkeypatch, compared):
    """And writes them as JSON."""
    monkeypatch.setattr(b, "compare", lambda: compared)
    found = CliRunner().invoke(main, ["validate", "--micro", "--json", str(tmp_path / "m.json")])
    assert found.exit_code == 0
    assert "multicasts are not compared" in found.output
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["summary"]["points"] == len(told["rows"])
    assert sum(group["points"] for group in told["groups"]) == len(told["rows"])


def test_micro_takes_no_file(tmp_path):
    """A file of walls would be ignored: it is refused."""
    (tmp_path / "m.csv").write_text("id\n")
    found = CliRunner().invoke(main, ["validate", "--micro", str(tmp_path / "m.csv")])
    assert found.exit_code == 2
