"""Files for other tools: they say what the trace says, in the order and with the names that these tools know."""

import csv
import gzip
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from pftrace import packets
from specs import PLAIN, Raw, raw

from tensix_sim import simulate
from tensix_sim.analysis import compare, read_side
from tensix_sim.cli import main
from tensix_sim.config import load_spec
from tensix_sim.doctor.check import check
from tensix_sim.emit import KINDS, EmitError, MissingPackageError, emit
from tensix_sim.emit.device_log import COLUMNS as LOG_COLUMNS
from tensix_sim.emit.perf_results import COLUMNS
from tensix_sim.sdpa.geometry import spec_machine
from tensix_sim.simulation import Result
from tensix_sim.trace import RISCS, RunError, Totals, open_run, perfetto

RING = raw(numerics="off", trace="transfers")
WIDE = {"board": "p150b", "is_causal": False, "dtype": "bfloat16", "grid": [4, 4], "numerics": "off", "trace": "transfers"}
CHAINS = raw(PLAIN, S=1024, q=128, k=128, **WIDE)  # cores that pass K and V on, in many requests a burst
BURSTS = raw(PLAIN, S=256, heads=8, kv_heads=2, d=128, q=128, k=128, **WIDE)  # an output that fills a bank's turn
OTHERS = ("device-log", "perf-csv", "npe", "visualizer")  # that need no package


@pytest.fixture(scope="module")
def result() -> Result:
    """A small ring of two, every transfer traced."""
    return simulate(load_spec(RING))


@pytest.fixture(scope="module")
def folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder with what needs no package emitted."""
    folder = tmp_path_factory.mktemp("emitted") / "small"
    result.write(folder)
    emit(result.as_run(), OTHERS, folder)
    return folder


def log_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a device log, after the line about the chip."""
    with path.open() as file:
        assert file.readline() == "ARCH: wormhole_b0, CHIP_FREQ[MHz]: 1000, Max Compute Cores: 80\n"
        return list(csv.DictReader(file, skipinitialspace=True))


# -- profile_log_device.csv -----------------------------------------------------------------------------------


def test_every_zone_of_the_log_starts_and_ends(folder: Path) -> None:
    """Each RISC of each core has its FW and its KERNEL zone, and the KERNEL zone is the life of its lane."""
    rows = log_rows(folder / "profile_log_device.csv")
    assert tuple(rows[0]) == LOG_COLUMNS
    zones: dict[tuple[str, ...], dict[str, int]] = {}
    for row in rows:
        key = tuple(row[c] for c in ("PCIe slot", "core_x", "core_y", "RISC processor type", "zone name"))
        zones.setdefault(key, {})[row["type"]] = int(row["time[cycles since reset]"])
    timed = {key: times for key, times in zones.items() if "ZONE_TOTAL" not in times}
    assert all(times.keys() == {"ZONE_START", "ZONE_END"} for times in timed.values())
    assert len(timed) == 2 * 2 * 4 * len(RISCS)


def test_kernel_zones_are_the_lanes(result: Result, folder: Path) -> None:
    """Ends of zones are ends of lanes, at the core's place on NoC 0."""
    machine, totals = spec_machine(result.spec), Totals.of(result.trace[1])
    ends = {(*machine.worker(lane.core), lane.risc): int(end) for lane, end in zip(totals.lanes, totals.end, strict=True)}
    rows = log_rows(folder / "profile_log_device.csv")
    found = {
        (int(row["core_x"]), int(row["core_y"]), row["RISC processor type"]): int(row["time[cycles since reset]"])
        for row in rows
        if row["PCIe slot"] == "1" and row["zone name"].endswith("-KERNEL") and row["type"] == "ZONE_END"
    }
    assert found == ends


def test_sums_of_waits_are_those_of_the_trace(result: Result, folder: Path) -> None:
    """CB-COMPUTE-WAIT-FRONT adds up to the unpackers' waits for buffers, CB-COMPUTE-RESERVE-BACK to the packers' for space."""
    totals, sums = Totals.of(result.trace[0]), Counter[str]()
    for row in log_rows(folder / "profile_log_device.csv"):
        if row["PCIe slot"] == "0" and row["type"] == "ZONE_TOTAL":
            sums[row["zone name"]] += int(row["data"])
    between = ("math", "pack", "unpack", "dst")
    assert sums["CB-COMPUTE-WAIT-FRONT"] == sum(n for c, n in totals.waits(risc="TRISC_0").items() if c.kind not in between)
    assert sums["CB-COMPUTE-RESERVE-BACK"] == sum(n for c, n in totals.waits(risc="TRISC_2").items() if c.kind == "space")


# -- ops_perf_results ---------------------------------------------------------------------------------------------


def test_results_have_a_row_a_device_and_the_columns_of_the_profiler(result: Result, folder: Path) -> None:
    """In their order; durations are the device's, utilisations its figures."""
    with (folder / "ops_perf_results_small.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(set(COLUMNS)) == len(COLUMNS)
    for row, device in zip(rows, result.devices, strict=True):
        assert row["OP CODE"] == "RingDistributedSdpaDeviceOperation"
        assert int(row["DEVICE ID"]) == device.ring_id
        assert int(row["DEVICE KERNEL DURATION [ns]"]) == device.cycles  # at 1 GHz
        assert float(row["PM FPU UTIL (%)"]) == pytest.approx(100 * device.math_utilization, abs=0.001)
        assert float(row["DRAM BW UTIL (%)"]) == pytest.approx(100 * device.dram_utilization, abs=0.001)
        assert len(row["DRAM BW UTIL PER CTRL (%)"].split(";")) == 12
        assert row["INPUT_0_X_PAD[LOGICAL]"] == "64[64]"
        assert row["OUTPUT_0_Y_PAD[LOGICAL]"] == "256[256]"
        assert int(row["PM IDEAL [ns]"]) == max(int(row["PM COMPUTE [ns]"]), int(row["PM BANDWIDTH [ns]"]))
        assert int(row["PM IDEAL [ns]"]) <= device.cycles


@pytest.mark.parametrize("name", ["ops_perf_results_small.csv", "profile_log_device.csv"])
def test_a_run_is_what_its_own_profile_says(folder: Path, name: str) -> None:
    """Comparing a run with the profile emitted from it finds no difference in cycles."""
    for device in compare(read_side(folder), read_side(folder / name, 10**9)).devices:
        assert device.cycles.by == 0
        assert not [f for f in device.figures if "kernel cycles" in f.what and f.by]


# -- tt-npe -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [RING, CHAINS, BURSTS], ids=["ring", "chains", "bursts"])
def test_the_noc_trace_has_every_byte_in_order(spec: Raw, tmp_path: Path) -> None:
    """An event for each request, sorted by core, RISC and time within its kernel's zone; bytes are those of the transfers."""
    run = simulate(load_spec(spec)).as_run()
    moved = run.traces[0].transferred()
    events = json.loads(emit(run, ["npe"], tmp_path)[0].read_text())
    requests = [event for event in events if "type" in event]
    assert len(requests) == moved["requests"].sum()
    assert sum(event["num_bytes"] for event in requests) == moved["nbytes"].sum()
    assert {event["type"] for event in requests} == {"READ", "WRITE_"}
    assert events == sorted(events, key=lambda e: (e["sx"], e["sy"], e["proc"], e.get("zone_phase") == "end", e["timestamp"]))
    lanes = Counter((e["sx"], e["sy"], e["proc"], e["zone_phase"]) for e in events if "zone" in e)
    assert set(lanes.values()) == {1}
    last = {(e["sx"], e["sy"], e["proc"]): e["timestamp"] for e in events if e.get("zone_phase") == "end"}
    assert all(e["timestamp"] <= last[e["sx"], e["sy"], e["proc"]] for e in requests)


def test_the_timeline_has_every_byte(result: Result, folder: Path) -> None:
    """Merged transfers keep their bytes; timesteps tile the wall; demand over a link adds up to the bytes on it."""
    path = folder / "ttnn-visualizer" / "performance" / "npe_viz"
    manifest = json.loads((path / "manifest.json").read_text())
    assert [entry["global_call_count"] for entry in manifest] == [1024, 1025]
    timeline = json.loads((path / manifest[1]["file"]).read_text())
    transfers, steps = timeline["noc_transfers"], timeline["timestep_data"]
    assert sum(t["total_bytes"] for t in transfers) == int(result.trace[1].transferred()["nbytes"].sum())
    assert [s["start_cycle"] for s in steps[1:]] == [s["end_cycle"] for s in steps[:-1]]
    assert (steps[0]["start_cycle"], steps[-1]["end_cycle"]) == (0, result.devices[1].cycles)
    rate = spec_machine(result.spec).chip.noc.link_rate
    carried = sum(share / 100 * rate * (s["end_cycle"] - s["start_cycle"]) for s in steps for *_, link, share in s["link_demand"])
    routed = sum(t["total_bytes"] * (len(t["route"][0]["links"]) - 2) for t in transfers)
    assert carried == pytest.approx(routed, rel=0.01)
    assert {i for s in steps for i in s["active_transfers"]} == {t["id"] for t in transfers}


# -- ttnn-visualizer ------------------------------------------------------------------------------------------------


def test_the_database_has_the_op_its_tensors_and_its_buffers(result: Result, folder: Path) -> None:
    """One operation, three inputs and an output, and the L1 map of `check` as circular buffers on each device."""
    with closing(sqlite3.connect(folder / "ttnn-visualizer" / "profiler" / "db.sqlite")) as database:

        def rows(query: str) -> list[Any]:
            return database.execute(query).fetchall()

        assert rows("SELECT operation_id, name FROM operations") == [(1, "RingDistributedSdpaDeviceOperation")]
        assert [shape for (shape,) in rows("SELECT shape FROM tensors ORDER BY tensor_id")] == [
            "[1, 2, 512, 64]", "[1, 1, 512, 64]", "[1, 1, 512, 64]", "[1, 2, 256, 64]",
        ]  # fmt: skip
        assert rows("SELECT device_id FROM devices") == [(0,), (1,)]
        ((graph,),) = rows("SELECT captured_graph FROM captured_graph")
        ((l1_size, first, limit),) = rows("SELECT DISTINCT worker_l1_size, address_at_first_l1_cb_buffer, cb_limit FROM devices")
        assert (l1_size, limit) == (1499136, 1395424)  # of a Wormhole device in a report of ttnn
        assert first + limit == l1_size
    buffers = [node["params"] for node in json.loads(graph) if node["node_type"] == "circular_buffer_allocate"]
    expected = [(b.address, b.bytes) for b in check(result.spec).l1]
    assert [(int(b["address"]), int(b["size"])) for b in buffers] == 2 * expected


def test_another_runs_timelines_do_not_pass_for_this_ones(result: Result, tmp_path: Path) -> None:
    """Emitted again without transfers into the same folder, the manifest of the old timelines goes."""
    before = emit(result.as_run(), ["visualizer"], tmp_path)
    after = emit(simulate(load_spec(RING, ["trace=zones"])).as_run(), ["visualizer"], tmp_path)
    (manifest,) = [path for path in before if path.name == "manifest.json"]
    assert not manifest.exists()
    assert all(path.is_file() for path in after)


# -- Perfetto ---------------------------------------------------------------------------------------------------------


def test_the_perfetto_trace_has_every_span_on_its_track(result: Result, tmp_path: Path) -> None:
    """Read back by Perfetto's own messages: lanes under cores under devices, in order; cycles as annotations; counters."""
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    (path,) = emit(result.as_run(), ["perfetto"], tmp_path)
    read = list(packets(path))
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in read if p.HasField("track_descriptor")}
    cycles: Counter[tuple[str, ...]] = Counter()
    by_line: Counter[tuple[int, str]] = Counter()
    open_at: dict[int, tuple[int, int]] = {}
    for packet in read:
        event = packet.track_event
        if event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
            lane = tracks[event.track_uuid]
            core = tracks[lane.parent_uuid]
            device = tracks[core.parent_uuid].name
            notes = {note.name: note.int_value for note in event.debug_annotations}
            assert packet.timestamp == notes["first cycle"]  # at 1 GHz
            assert event.track_uuid not in open_at
            open_at[event.track_uuid] = packet.timestamp, notes["cycles"]
            cycles[device, core.name, lane.name, event.name] += notes["cycles"]
            by_line[device, event.source_location.file_name] += notes["cycles"]
        elif event.type == proto.TrackEvent.TYPE_SLICE_END:
            begin, lasts = open_at.pop(event.track_uuid)
            assert packet.timestamp == begin + lasts
    assert not open_at
    for ring_id, trace in result.trace.items():
        rows = trace.spans()
        for n, line in enumerate(trace.lines[1:], 1):
            spent = (rows["end"] - rows["start"])[rows["line"] == n].sum()
            assert by_line[f"device {ring_id}", str(line)] == spent
    for device in result.devices:
        totals = Totals.of(result.trace[device.ring_id])
        for lane, spent in zip(totals.lanes, totals.cycles, strict=True):
            for name, n in zip(totals.names, spent.tolist(), strict=True):
                assert cycles[f"device {device.ring_id}", f"core {lane.core[0]},{lane.core[1]}", lane.risc, str(name)] == n
    counted = [p.track_event.counter_value for p in read if p.track_event.type == proto.TrackEvent.TYPE_COUNTER]
    assert counted == [value for t in result.trace.values() for value in t.counts()["value"].tolist()]
    assert {p.trusted_packet_sequence_id for p in read if p.HasField("trusted_packet_sequence_id")} == {1}


def test_lanes_stand_in_the_order_in_which_a_tile_meets_them(result: Result, tmp_path: Path) -> None:
    """A core's RISCs come first, then its buffers."""
    pytest.importorskip("perfetto")
    (path,) = emit(result.as_run(), ["perfetto"], tmp_path)
    tracks = [p.track_descriptor for p in packets(path) if p.HasField("track_descriptor")]
    core = next(t.uuid for t in tracks if t.name == "core 0,0")
    children = sorted((t for t in tracks if t.parent_uuid == core), key=lambda t: t.sibling_order_rank)
    assert [t.name for t in children][: len(RISCS) + 2] == [*RISCS, "q_in", "k_in"]


def test_the_same_run_gives_the_same_perfetto_trace(result: Result, tmp_path: Path) -> None:
    """Simulated and emitted again, byte for byte."""
    pytest.importorskip("perfetto")
    runs = result.as_run(), simulate(load_spec(RING)).as_run()
    (first,), (second,) = (emit(run, ["perfetto"], tmp_path / str(i)) for i, run in enumerate(runs))
    assert first.read_bytes() == second.read_bytes()


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, result: Result, tmp_path: Path) -> None:
    """It says what to install, and nothing is written."""
    monkeypatch.setitem(__import__("sys").modules, "perfetto.protos.perfetto.trace", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'tensix-sim\[emit\]'"):
        perfetto.messages()
    with pytest.raises(MissingPackageError):
        emit(result.as_run(), ["perfetto"], tmp_path)
    assert not list(tmp_path.iterdir())


# -- all -----------------------------------------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Simulated and emitted again, every file is the same."""
    again = tmp_path / "small"
    written = emit(simulate(load_spec(RING)).as_run(), OTHERS, again)
    assert len(written) == 2 + 2 + (4 + 3)
    for path in written:
        assert path.read_bytes() == (folder / path.relative_to(again)).read_bytes(), path


@pytest.mark.parametrize(
    ("kinds", "level", "says"),
    [
        (["csv"], "zones", "csv: no such format; there are device-log"),
        (["perf-csv"], "off", "perf-csv: the run has no trace; set trace: zones"),
        (["npe"], "zones", "the run has trace: zones; set trace: transfers"),
    ],
)
def test_what_cannot_be_emitted_is_refused(kinds: list[str], level: str, says: str, tmp_path: Path) -> None:
    """With what would make it possible, and before anything is written."""
    run = simulate(load_spec(RING, [f"trace={level}", "ring_ids=[0]"])).as_run()
    with pytest.raises(EmitError, match=says):
        emit(run, kinds, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., Any]:
    """Run the small ring from the command line."""

    def run(*options: str) -> Any:
        spec = tmp_path / "ring.yaml"
        spec.write_text(json.dumps(RING | {"trace": "zones"}))
        return CliRunner().invoke(main, ["run", str(spec), "--traces", str(tmp_path), "--name", "x", "--jobs", "1", *options])

    return run


def test_the_command_emits_beside_the_traces(run_command: Callable[..., Any], tmp_path: Path) -> None:
    """--emit may be given more than once."""
    assert run_command("--emit", "perf-csv", "--emit", "device-log").exit_code == 0
    assert (tmp_path / "x" / "ops_perf_results_x.csv").is_file()
    assert (tmp_path / "x" / "profile_log_device.csv").is_file()


def test_the_command_refuses_before_it_runs(run_command: Callable[..., Any], tmp_path: Path) -> None:
    """A format that the trace level cannot give costs no simulation."""
    done = run_command("--emit", "npe")
    assert done.exit_code == 2
    assert "set trace: transfers" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_command_offers_all_formats() -> None:
    """What `emit` knows is what --help lists."""
    option = next(p for p in main.commands["run"].params if p.name == "kinds")  # type: ignore[attr-defined]
    assert tuple(option.type.choices) == KINDS


def test_the_cluster_is_the_ring(tmp_path: Path) -> None:
    """Each chip with its neighbours, by as many links as the board has; a single device has none."""
    result = simulate(raw(S=1024, k=64, numerics="off", ring_size=4, mesh=[8, 4]))
    for ring_ids, pairs in ([0, 1, 2, 3], {(0, 1), (1, 2), (2, 3), (3, 0)}), ([2], set()):
        chosen = result if len(ring_ids) > 1 else simulate(load_spec(RING, ["ring_ids=[0]"]))
        emit(chosen.as_run(), ["visualizer"], tmp_path / str(len(ring_ids)))
        path = tmp_path / str(len(ring_ids)) / "ttnn-visualizer/profiler/cluster_descriptor.yaml"
        found = yaml.safe_load(path.read_text())
        links = Counter((a["chip"], b["chip"]) for a, b in found["ethernet_connections"])
        assert links == dict.fromkeys(pairs, 4)
        assert len(found["chips"]) == len(ring_ids)


def test_parquet_has_what_the_trace_has(result: Result, tmp_path: Path) -> None:
    """Spans, counters and transfers of each device, row by row, and the run's id; the same bytes twice."""
    parquet = pytest.importorskip("pyarrow.parquet")
    written = emit(result.as_run(), ["parquet"], tmp_path / "a")
    kinds = ("spans", "counters", "transfers")
    assert {path.name for path in written} == {f"{kind}-{d}.parquet" for kind in kinds for d in (0, 1)}
    for d, trace in result.trace.items():
        for kind in kinds:
            table = parquet.read_table(tmp_path / "a" / f"{kind}-{d}.parquet")
            assert table.schema.metadata[b"tensix_sim run"].decode() == result.id
            columns = trace.columns(kind)  # type: ignore[arg-type]
            assert table.column_names == ["ring_id", *columns]
            assert {name: table[name].to_pylist() for name in columns} == {name: v.tolist() for name, v in columns.items()}
    emit(result.as_run(), ["parquet"], tmp_path / "b")
    assert all(path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() for path in written)


def test_without_perfetto_a_run_has_compressed_json(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of `--emit json`, a fifth of its bytes, the same twice; a run with it is read back, and one of another run is not."""
    monkeypatch.setattr("tensix_sim.trace.perfetto.is_there", lambda: False)
    for name in "ab":
        result.write(tmp_path / name)
    packed = (tmp_path / "a/trace.json.gz").read_bytes()
    assert packed == (tmp_path / "b/trace.json.gz").read_bytes()
    plain = emit(result.as_run(), ["json"], tmp_path)[0].read_bytes()
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 5
    assert open_run(tmp_path / "a").id == result.id
    with gzip.open(tmp_path / "a/trace.json.gz", "wb") as file:
        file.write(plain.replace(result.id.encode(), b"another"))
    with pytest.raises(RunError, match="runs are mixed"):
        open_run(tmp_path / "a")


def test_perfettos_own_form_is_the_least(result: Result, tmp_path: Path) -> None:
    """A run writes it where the package is, and it is what `--emit perfetto` writes; it is smaller than compressed JSON."""
    pytest.importorskip("perfetto")
    result.write(tmp_path / "run")
    (path,) = emit(result.as_run(), ["perfetto"], tmp_path)
    assert (tmp_path / "run/trace.pftrace").read_bytes() == path.read_bytes()
    (plain,) = emit(result.as_run(), ["json"], tmp_path)
    assert len(path.read_bytes()) < len(gzip.compress(plain.read_bytes(), 1))
