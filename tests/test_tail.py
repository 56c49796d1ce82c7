"""What a model does behind the ring op: split, two gathers, concat."""

import csv
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from pftrace import packets
from specs import raw

from tensix_sim.analysis import compare
from tensix_sim.analysis.compare import of_run
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.emit import emit, perf_results
from tensix_sim.emit.run import Emission
from tensix_sim.gather import tail as t
from tensix_sim.hw import SimulationError
from tensix_sim.job import Job
from tensix_sim.page.data import describe
from tensix_sim.simulation import Result, simulate
from tensix_sim.trace import Run, RunError, load, open_run

SPEC = raw(ring_size=4, q=32, grid=[2, 1])


def run(**given) -> Result:
    """The spec with some keys changed, and its tail."""
    return simulate(SPEC | given, gather=True)


RUN = run()


@pytest.mark.parametrize(("board", "ring", "topology"), [("galaxy", 4, "ring"), ("galaxy", 2, "line"), ("t3000", 8, "ring")])
def test_every_device_has_the_sequence_in_order(board, ring, topology) -> None:
    """Bit for bit what the host puts together."""
    result = run(board=board, ring_size=ring)
    assert result.tail.topology == topology
    assert len(result.tail.outputs) == ring
    for output in result.tail.outputs:
        np.testing.assert_array_equal(output, result.gathered())


def test_without_values_it_takes_the_same_cycles() -> None:
    """To the cycle, op by op; and the ring op itself is what it is without a tail."""
    off = run(numerics="off", trace="off")
    assert off.tail.outputs == [None] * 4
    assert off.tail.moved == RUN.tail.moved
    assert [d.cycles for d in simulate(SPEC).devices] == [d.cycles for d in RUN.devices]


def test_stages_add_up_and_ops_follow_each_other() -> None:
    """Each op of a device begins when the one before it ended; the tail is what comes after the slowest device's op."""
    assert sum(RUN.tail.stages().values()) == RUN.tail.cycles == RUN.tail.end - max(d.cycles for d in RUN.devices)
    for i, device in enumerate(RUN.devices):
        mine = [m for m in RUN.tail.moved if m.device == i]
        assert [m.op for m in mine] == list(t.OPS)
        assert [m.start for m in mine] == [device.cycles, *(m.end for m in mine[:-1])]


def test_bytes_are_those_of_the_slabs() -> None:
    """Links carry two gathers of a slab each; split and concat read and write each byte once."""
    ring = t.tail_gather(RUN.job)
    for i in range(4):
        mine = {m.op: m for m in RUN.tail.moved if m.device == i}
        for op in t.OPS[1:3]:
            assert sum(mine[op].ethernet_bytes.values()) == ring.link_bytes(i, 1) + ring.link_bytes(i, -1)
        assert mine["split"].dram_read_bytes == mine["split"].dram_write_bytes == 2 * ring.slice_bytes
        assert mine["concat"].dram_read_bytes == mine["concat"].dram_write_bytes == 8 * ring.slice_bytes


def test_a_tail_that_does_not_restore_the_order_is_found(monkeypatch) -> None:
    """Both gathers in the order of the devices: half of the rows are in the wrong place."""
    in_order = t.tail_gather
    monkeypatch.setattr(t, "tail_gather", lambda spec, reverse=False: in_order(spec))
    with pytest.raises(SimulationError, match="device 0: 256 of 512 rows are not those of the sequence"):
        run()


def test_transfers_are_in_the_same_traces(tmp_path) -> None:
    """Behind the op on the same threads, without gap or overlap in time; Ethernet's bytes are in transfers.csv."""
    result = run(trace="transfers")
    result.write(tmp_path)
    (path,) = emit(result.as_run(), ["json"], tmp_path)
    events = json.loads(path.read_text())["traceEvents"]
    for i, device in enumerate(result.devices):
        spans = sorted(
            e["args"]["cycles"] + [e["name"]] for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == (i, 1 + 4)
        )  # the writer of core (0,0)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        sends = [start for start, _, name in spans if name == "send gathered"]
        assert sends
        assert min(sends) >= device.cycles
        tail = load(tmp_path / f"tail-{i}.npz")
        assert tail.end == max(m.end for m in result.tail.moved if m.device == i)
    rows = [line.split(",") for line in (tmp_path / "transfers.csv").read_text().splitlines()]
    column = {name: n for n, name in enumerate(rows[0])}
    moved = sum(int(row[column["nbytes"]]) for row in rows[1:] if row[column["kind"]] == "ETHERNET")
    assert moved == sum(n for m in result.tail.moved for n in m.ethernet_bytes.values())
    simulate(SPEC).write(tmp_path)
    assert not list(tmp_path.glob("tail-*"))  # an earlier run's tail is not taken for this one's


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"op": "sdpa"}, "op sdpa leaves nothing to gather"),
        ({"op": "ring_joint_sdpa"}, "each device keeps its own rows"),
        ({"ring_ids": [0, 2]}, "ring positions [0, 2] of 4 are simulated; set ring_ids: all"),
        ({"board": "n150"}, "n150 has no Ethernet links between chips"),
        ({"board": "n300"}, "4 devices; n300 has 2"),
        ({"memory_config": "l1_interleaved"}, "a gather from L1 is not modelled"),
    ],
)
def test_what_has_no_tail_says_why(change, says) -> None:
    """Before anything runs."""
    assert any(says in problem for problem in t.tail_problems(Job.legal(load_spec(SPEC | change))))
    with pytest.raises(ValueError, match=re.escape(says)):
        run(**change)


def test_run_gather_shows_and_writes_the_tail(tmp_path) -> None:
    """A table of its ops, the same figures in JSON, and a refusal that is an exit code."""
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    args = ["run", str(tmp_path / "spec.yaml"), "--gather", "--jobs", "1", "--traces", str(tmp_path / "runs")]
    found = CliRunner().invoke(main, [*args, "--json", str(tmp_path / "out.json")])
    assert found.exit_code == 0, found.output
    told = json.loads((tmp_path / "out.json").read_text())["tail"]
    assert told == json.loads(json.dumps(RUN.tail.summary()))
    assert f"whole sequence on every device after {RUN.tail.end:,} cycles" in found.output
    assert "over a ring with 4 links between neighbours" in " ".join(found.output.split())
    refused = CliRunner().invoke(main, [*args, "--set", "ring_ids=[0]"])
    assert refused.exit_code == 1
    assert "--gather: ring positions [0] of 4 are simulated" in refused.output


def test_a_run_read_back_has_its_tail(tmp_path) -> None:
    """Its traces too; a file of it that is missing is named."""
    RUN.write(tmp_path)
    read = open_run(tmp_path)
    assert read.summary["tail"] == RUN.summary()["tail"]
    assert [len(trace.tables["spans"]) for trace in read.tails.values()] == [
        len(trace.tables["spans"]) for trace in RUN.tail.traces.values()
    ]
    (tmp_path / "tail-2.npz").unlink()
    with pytest.raises(RunError, match=r"tail-2\.npz missing"):
        open_run(tmp_path)


def test_a_log_has_the_ops_of_the_tail_as_rows_of_their_own(tmp_path) -> None:
    """As ttnn names them, call after call, each from the end of the one before on its device."""
    with open(perf_results.write(Emission(RUN.as_run()), tmp_path / "x.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    codes = ["RingDistributedSdpaDeviceOperation", "SplitDeviceOperation", "AllGatherAsync", "AllGatherAsyncReversed"]
    assert [row["OP CODE"] for row in rows[::4]] == [*codes, "ConcatDeviceOperation"]
    assert [int(row["DEVICE ID"]) for row in rows] == [0, 1, 2, 3] * 5
    assert len({row["GLOBAL CALL COUNT"] for row in rows}) == 20
    for before, row in zip(rows, rows[4:], strict=False):
        waited = int(row["DEVICE FW START CYCLE"]) - int(before["DEVICE FW END CYCLE"])
        assert waited == int(row["OP TO OP LATENCY [ns]"]) == 0
    assert rows[8]["INPUT_0_Y_PAD[LOGICAL]"] == "64[64]"
    assert rows[8]["OUTPUT_0_Y_PAD[LOGICAL]"] == "256[256]"
    assert float(rows[8]["ETH BW UTIL (%)"]) > 0


def test_tracks_of_a_tail_stand_apart(tmp_path) -> None:
    """In Perfetto's own format a device has one process for the op and one for what follows."""
    pytest.importorskip("perfetto")
    (path,) = emit(RUN.as_run(), ["perfetto"], tmp_path)
    names = {packet.track_descriptor.name for packet in packets(path)}
    assert {f"device {i}{after}" for i in range(4) for after in ("", ", after the op")} <= names


def test_a_page_and_a_comparison_show_the_tail() -> None:
    """Its stages add up in both."""
    told = describe(Run(json.loads(json.dumps(RUN.summary(), sort_keys=True)), {}))["tail"]
    assert [row["op"] for row in told["rows"]] == list(t.OPS)
    assert sum(row["cycles"] for row in told["rows"]) == told["cycles"] == RUN.tail.cycles
    other = run(what_if={"barrier_tiles": 1}, numerics="off")
    changes = compare(of_run(RUN.as_run(), "a"), of_run(other.as_run(), "b")).tail
    assert [change.what for change in changes] == [*t.OPS, "after the op"]
    assert [change.after for change in changes] == [*other.tail.stages().values(), other.tail.cycles]
    alone = compare(of_run(RUN.as_run(), "a"), of_run(simulate(SPEC).as_run(), "b"))
    assert alone.tail == []
    assert describe(simulate(SPEC).as_run())["tail"] is None
