"""All-gather over Ethernet: what arrives, over which links, and how long it takes."""

import numpy as np
import pytest

from tensix_sim.arch import machine
from tensix_sim.arch.rings import has_ring, usual_topology
from tensix_sim.formats import FORMATS
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.run import Collected, run_collective, run_moves
from tensix_sim.hw import Chip, SimulationError
from tensix_sim.hw.ethernet import BACKWARD, FORWARD
from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, Tensor, launch
from tensix_sim.trace import Trace

T3000, GALAXY = machine("t3000"), machine("galaxy")


def gather(op: AllGather, on=T3000, **given) -> Collected:
    """The op without values."""
    return run_collective(op, on, [None] * op.devices, **given)


def cycles(op: AllGather, on=T3000) -> int:
    """Of the slowest device."""
    return max(moved.cycles for moved in gather(op, on).figures)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("devices", "shape", "dim", "topology", "links"),
    [
        (2, (1, 1, 32, 32), 3, "line", 1),  # one tile: most workers have nothing
        (2, (1, 1, 64, 96), 2, "line", 2),
        (4, (2, 3, 64, 96), 2, "ring", 4),
        (4, (2, 3, 64, 96), -1, "line", 3),
        (8, (2, 1, 32, 160), 0, "ring", 1),
        (3, (2, 2, 96, 32), 1, "line", 2),
    ],
)
def test_every_device_gets_the_slices_in_order(devices, shape, dim, topology, links, reverse) -> None:
    """As numpy's concatenate would put them, or its reverse; with values or without in the same time, to the cycle."""
    rng = np.random.default_rng(0)
    slices = [rng.standard_normal(shape).astype(np.float32) for _ in range(devices)]
    op = AllGather(devices, shape, dim, "bfloat16", topology, links, reverse)
    done = run_collective(op, GALAXY, slices)
    expected = np.concatenate(slices[::-1] if reverse else slices, dim)
    for output in done.outputs:
        np.testing.assert_array_equal(output, expected)
    assert [m.cycles for m in gather(op, GALAXY).figures] == [m.cycles for m in done.figures]


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize(("devices", "topology"), [(2, "line"), (3, "line"), (5, "line"), (8, "line"), (4, "ring"), (8, "ring")])
def test_bytes_of_links_are_the_closed_form(devices, topology, links) -> None:
    """To the byte; on a line slices pile up towards the end, around a ring all links carry the same."""
    op = AllGather(devices, (1, 1, 128, 128), 2, "bfloat8_b", topology, links)
    sent = gather(op, GALAXY if topology == "ring" else T3000).link_bytes
    for i in range(devices):
        for step in (FORWARD, BACKWARD):
            assert sum(n for (chip, way, _), n in sent.items() if (chip, way) == (i, step)) == op.link_bytes(i, step)
    # every device gets all slices but its own, and a link's packet is one for each device that it comes to
    assert sum(sent.values()) == devices * (devices - 1) * op.slice_bytes


def test_a_reads_and_writes_are_what_the_op_needs() -> None:
    """A device writes the whole result once; it reads its slice once for each direction that it sends in."""
    op = AllGather(4, (1, 1, 128, 128), 2, "bfloat8_b", "line", 1)
    figures = gather(op).figures
    assert [m.dram_write_bytes for m in figures] == [4 * op.slice_bytes] * 4
    assert [m.dram_read_bytes for m in figures] == [op.slice_bytes * n for n in (1, 2, 2, 1)]


def test_time_grows_with_bytes_and_hops_and_shrinks_with_links() -> None:
    """Monotone in each; a ring is faster than a line of as many devices."""
    base = AllGather(4, (1, 1, 32, 32 * 64), 3, "bfloat16", "line", 1)
    longer = AllGather(4, (1, 1, 32, 32 * 256), 3, "bfloat16", "line", 1)
    more = AllGather(8, (1, 1, 32, 32 * 64), 3, "bfloat16", "line", 1)
    wider = AllGather(4, (1, 1, 32, 32 * 256), 3, "bfloat16", "line", 2)
    around = AllGather(8, (1, 1, 32, 32 * 64), 3, "bfloat16", "ring", 1)
    assert cycles(base) < cycles(longer)
    assert cycles(base) < cycles(more)
    assert cycles(wider) < cycles(longer)
    assert cycles(around) < cycles(more)


def test_runs_of_packets_change_little(monkeypatch) -> None:
    """A long gather packet by packet takes what it takes in runs, within 3 %, and moves the same bytes."""
    op = AllGather(4, (1, 1, 32, 32 * 512), 3, "bfloat16", "line", 1)
    runs = gather(op)
    monkeypatch.setattr("tensix_sim.hw.ethernet.RUNS", 1 << 30)
    packets = gather(op)
    assert runs.link_bytes == packets.link_bytes
    times = [max(m.cycles for m in done.figures) for done in (runs, packets)]
    assert times[0] != times[1]  # there were runs
    assert times[0] == pytest.approx(times[1], rel=0.03)


def test_a_link_is_never_faster_than_its_rate() -> None:
    """The busiest direction of a line's cable bounds the time from below."""
    op = AllGather(4, (1, 1, 32, 32 * 512), 3, "bfloat16", "line", 1)
    spec = T3000.chip.ethernet
    assert cycles(op) > 3 * op.slice_bytes / (spec.rate * spec.efficiency)


def test_all_wait_for_the_last_to_begin() -> None:
    """A device that begins late holds up the others; figures count from each one's own start, and nothing else changes."""
    op = AllGather(4, (1, 1, 32, 1024), 3, "bfloat16", "ring", 1)
    together = gather(op, GALAXY)
    late = gather(op, GALAXY, starts=[50_000, 0, 0, 0])
    assert late.figures[0].start == 50_000
    assert late.figures[0].end == max(m.end for m in late.figures)
    assert late.figures[1].cycles > 50_000
    assert late.figures[0].cycles <= together.figures[0].cycles
    shifted = gather(op, GALAXY, starts=[50_000] * 4)
    assert [m.cycles for m in shifted.figures] == [m.cycles for m in together.figures]


def test_traces_have_spans_transfers_and_bytes_of_links() -> None:
    """Lanes tile their time; the transfers over Ethernet and the counters of a link add up to what it carried."""
    op = AllGather(4, (1, 1, 64, 1024), 3, "bfloat16", "ring", 2)
    traces = [Trace("transfers") for _ in range(4)]
    done = gather(op, GALAXY, traces=traces, starts=[7] * 4)
    assert [m.cycles for m in done.figures] == [m.cycles for m in gather(op, GALAXY).figures]
    for i, trace in enumerate(traces):
        for lane in range(len(trace.lanes)):
            spans = trace.spans()[trace.spans()["lane"] == lane]
            if len(spans):
                assert spans["start"][0] == 7
                assert (spans["start"][1:] == spans["end"][:-1]).all()
        assert trace.end == done.figures[i].end
        moved = trace.transferred()
        over = moved[[trace.names[kind] == "ETHERNET" for kind in moved["kind"]]]
        sent = {f"ethernet link {link} {'forward' if way == FORWARD else 'backward'}": n
                for (chip, way, link), n in done.link_bytes.items() if chip == i}  # fmt: skip
        assert over["nbytes"].sum() == sum(sent.values())
        assert done.figures[i].ethernet_bytes == sent
        for name, nbytes in sent.items():
            assert trace.counter(f"{name} bytes")[1].sum() == nbytes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"devices": 1}, "an all-gather of 1 device; 2 at least"),
        ({"links": 3}, "3 links; t3000 has 2 between two neighbours"),
        ({"links": 0}, "0 links; t3000 has 2"),
        ({"devices": 4, "topology": "ring"}, "4 devices of t3000's 4x2 mesh form no ring; use a line"),
        ({"dim": 4}, "no dimension 4"),
        ({"shape": (1, 1, 32, 40)}, "40 is not whole tiles of 32"),
        ({"packet_bytes": 1000}, "packets of 1000 B; 1088 B, a tile, at least and 7616 B at most"),
        ({"devices": 9}, "9 devices; t3000 has 8"),
    ],
)
def test_what_cannot_be_is_refused(change, says) -> None:
    """All rules, each in words that say what would be right."""
    given = {"devices": 8, "shape": (1, 1, 32, 32), "dim": 3, "dtype": "bfloat8_b", "topology": "line", "links": 1} | change
    with pytest.raises(ValueError, match="all_gather") as raised:
        gather(AllGather(**given))
    assert says in str(raised.value)


def test_a_board_of_one_chip_has_no_links() -> None:
    """And says which boards have."""
    with pytest.raises(ValueError, match="n150 has no Ethernet links between chips; n300, t3000 and galaxy have"):
        gather(AllGather(2, (1, 1, 32, 32), 3, "bfloat8_b", "line", 1), machine("n150"))


@pytest.mark.parametrize(
    ("board", "devices", "ring"), [("galaxy", 4, True), ("galaxy", 8, True), ("galaxy", 2, False), ("galaxy", 6, False),
                                   ("galaxy", 32, True), ("t3000", 8, True), ("t3000", 4, False), ("n300", 2, False)],
)  # fmt: skip
def test_rings_are_axes_that_wrap_or_whole_meshes(board, devices, ring) -> None:
    """A Galaxy wraps around both axes; a T3000's eight chips are a ring there and back."""
    on = machine(board)
    assert has_ring(on, devices, on.mesh) is ring
    assert usual_topology(on, devices) == ("ring" if ring else "line")


def test_sending_needs_a_neighbour() -> None:
    """A chip on its own, told to send, says so."""

    async def reader(dm: DataMovement, a: None) -> None:
        (cb,) = dm.cbs("cb")
        await dm.reserve(cb, 1)
        await dm.read(source, [0], cb, (1, 1))
        dm.push(cb, 1)

    async def writer(dm: DataMovement, a: None) -> None:
        (cb,) = dm.cbs("cb")
        await dm.wait(cb, 1)
        await dm.send(cb, out, [0], FORWARD, 0, 1)

    fmt = FORMATS["bfloat16"]
    source, out = Tensor("in", 1, 1, fmt), Tensor("out", 1, 1, fmt, output=True)
    kernels = (Kernel("reader", reader, [None]), Kernel("writer", writer, [None]))
    buffers = (BufferSpec("cb", 1, fmt, "reader", "writer"),)
    chip = Chip(T3000, Program(grid=(1, 1), buffers=buffers, kernels=kernels, tensors=(source, out)), Trace())
    launch(chip)
    with pytest.raises(SimulationError, match="this chip has no neighbours"):
        chip.engine.run()


def test_moves_put_tiles_where_they_are_told() -> None:
    """Split, concat and the like: any tile to any place, each read and written once."""
    fmt = FORMATS["bfloat16"]
    values = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    source = Tensor("in", 2, 2, fmt, values=values)
    target = Tensor("out", 2, 2, fmt, values=np.full((64, 64), np.nan, np.float32), output=True)
    moved = run_moves("swap", T3000, [(source, p, target, 3 - p) for p in range(4)])
    swapped = values.reshape(2, 32, 2, 32)[::-1, :, ::-1].reshape(64, 64)
    np.testing.assert_array_equal(target.values, swapped)
    assert moved.dram_read_bytes == moved.dram_write_bytes == 4 * fmt.tile_bytes
    assert moved.cycles > 0
