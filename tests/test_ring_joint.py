"""Ring joint attention: what each device meets, when, over which links, from which L1, and with which numbers."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensix_sim import measure
from tensix_sim.arch import Machine, machine
from tensix_sim.config import RunSpec
from tensix_sim.device import DeviceRun, run_together
from tensix_sim.doctor.check import check
from tensix_sim.hw import SimulationError
from tensix_sim.hw.engine import DeadlockError
from tensix_sim.job import Job
from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.sdpa import ring_joint
from tensix_sim.kernels.sdpa.ring_joint import gather
from tensix_sim.kernels.sdpa.ring_joint.args import GatherArgs
from tensix_sim.kernels.sdpa.ring_joint.semaphores import LANDED, MET, SEMAPHORES, SLICES
from tensix_sim.program import IDLE, Program
from tensix_sim.sdpa import ring_program
from tensix_sim.sdpa.inputs import InputValues, make_inputs
from tensix_sim.sdpa.op import RING_JOINT_SDPA
from tensix_sim.sdpa.ring_joint import RingGeometry, ring_order
from tensix_sim.simulation import simulate
from tensix_sim.store import Store

SMALL: dict[str, Any] = {
    "op": "ring_joint_sdpa", "board": "galaxy", "ring_size": 4, "is_causal": False, "trace": "off",
    "inputs": {"q_heads": 2, "kv_heads": 2, "seq_len": 512, "head_dim": 64, "dtype": "bfloat16"},
    "program_config": {"compute_with_storage_grid_size": [1, 2], "q_chunk_size": 64, "k_chunk_size": 64},
}  # fmt: skip
VIDEO: dict[str, Any] = {  # tt-metal #57941: a video model on a Galaxy
    "op": "ring_joint_sdpa", "board": "galaxy", "ring_size": 8, "is_causal": False, "numerics": "off", "trace": "off",
    "inputs": {"q_heads": 14, "kv_heads": 14, "seq_len": 8 * 13_664, "head_dim": 128, "dtype": "bfloat16"},
    "program_config": {"compute_with_storage_grid_size": [7, 9], "q_chunk_size": 256, "k_chunk_size": 512},
}  # fmt: skip


Given = dict[str, Any]


def spec(base: Given, inputs: Given | None = None, config: Given | None = None, **given: Any) -> RunSpec:
    """`base` with other inputs, program config and keys."""
    changed = {"inputs": base["inputs"] | (inputs or {}), "program_config": base["program_config"] | (config or {})}
    return RunSpec.model_validate(base | changed | given)


# -- in tiles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ring", "r", "line", "order"),
    [
        (8, 0, False, "0 1/0:2 7/1:1 2/0:3 6/1:2 3/0:4 5/1:3 4/1:4"),
        (4, 1, False, "1 2/0:2 0/1:1 3/1:2"),
        (2, 0, False, "0 1/1:1"),
        (4, 1, True, "1 2/0:2 0/1:1 3/0:3"),
        (4, 0, True, "0 1/0:2 2/0:3 3/0:4"),
        (4, 3, True, "3 2/1:1 1/1:2 0/1:3"),
    ],
)
def test_slices_are_used_in_the_sequencers_order(ring, r, line, order) -> None:
    """ring_id_sequencer of tt-metal: its own slice, then from either side in turn, each with the count that it waits for."""
    told = " ".join(f"{s}" + (f"/{wait[0]}:{wait[1]}" if wait else "") for s, wait in ring_order(ring, r, line))
    assert told == order


@pytest.mark.parametrize(
    ("rows", "chunks", "steps"), [(13_664, (12, 12), 2_592), (14_336, (13, 12), 2_912), (3_424, (4, 3), 224)]
)
def test_steps_of_a_core_are_those_of_published_runs(rows, chunks, steps) -> None:
    """Q chunks of the fullest and of the emptiest core, and pairs with K chunks; every slice has its own ragged tail."""
    g = RingGeometry.of(spec(VIDEO, {"seq_len": 8 * rows}))
    counts = [g.deal.count(i) for i in range(g.cores)]
    assert (max(counts), min(counts)) == chunks
    assert max(g.steps(i) for i in range(g.cores)) == steps


@pytest.mark.parametrize(
    ("q", "k", "dtype", "end"),
    [
        (192, 768, "bfloat16", 1_602_880), (256, 640, "bfloat16", 1_639_744), (256, 768, "bfloat16", 1_836_352),
        (192, 1024, "bfloat16", 1_963_328), (256, 1024, "bfloat16", 2_229_568), (128, 512, "bfloat16", 1_041_728),
        (256, 512, "bfloat16", 1_443_136), (512, 128, "bfloat16", 1_459_520), (288, 512, "bfloat16", 1_543_488),
        (256, 512, "bfloat8_b", 1_135_936), (512, 256, "bfloat8_b", 1_475_904), (160, 256, "bfloat8_b", 636_736),
    ],
)  # fmt: skip
def test_circular_buffers_end_where_published_failures_say(q, k, dtype, end) -> None:
    """The first five are messages of failed runs (#57941), the others follow from them; to the byte."""
    given = spec(VIDEO, {"dtype": dtype, "seq_len": 8 * 13_664}, {"q_chunk_size": q, "k_chunk_size": k})
    g = RingGeometry.of(given)
    assert 103_712 + RING_JOINT_SDPA.l1_more + sum(buffer.bytes for buffer in g.buffers) == end


@pytest.mark.parametrize(
    ("q", "k", "end"),
    [(128, 512, 1_170_736), (160, 256, 877_872), (192, 512, 1_436_976), (256, 256, 1_178_928), (256, 512, 1_703_216),
     (320, 256, 1_379_632)],
)  # fmt: skip
def test_circular_buffers_of_a_32_bit_dst(q, k, end) -> None:
    """Scores and sums in float32, log-sum-exps in place of maxima and sums: as the formula has it (ring_joint facts, 5.4)."""
    config = {"q_chunk_size": q, "k_chunk_size": k}
    g = RingGeometry.of(spec(VIDEO, None, config, compute_kernel_config={"fp32_dest_acc_en": True}))
    assert 103_712 + RING_JOINT_SDPA.l1_more + sum(buffer.bytes for buffer in g.buffers) == end


# -- numbers ------------------------------------------------------------------------------------------------------------


def as_plain(given: RunSpec, r: int) -> tuple[RunSpec, InputValues]:
    """Plain SDPA of a device's queries over K and V in the order in which the device meets them."""
    g, drawn = RingGeometry.of(given), make_inputs(given)
    rows = np.concatenate([np.arange(s * g.Sc, (s + 1) * g.Sc) for s, _ in ring_order(g.R, r, g.topology == "line")])
    inputs = given.inputs.model_copy(update={"seq_len": g.Sc, "kv_len": given.inputs.seq_len})
    plain = {"op": "sdpa", "inputs": inputs, "topology": None, "num_links": None, "ring_size": 4}
    mine = drawn.q[:, :, r * g.Sc : (r + 1) * g.Sc]
    return given.model_copy(update=plain), InputValues(mine, drawn.k[:, :, rows], drawn.v[:, :, rows], None)


@pytest.mark.parametrize(
    ("ring", "topology", "grid"),
    [
        (2, "line", (1, 2)),
        (3, "line", (4, 2)),
        (4, "ring", (1, 2)),
        (4, "ring", (4, 2)),
        (4, "line", (1, 2)),
        (8, "ring", (4, 2)),
    ],
)
def test_numbers_are_those_of_plain_attention_over_permuted_keys(ring, topology, grid) -> None:
    """Bit for bit, exact: whether running values wait in DRAM (two cores for all Q chunks) or stay in L1 (a core for each)."""
    config = {"compute_with_storage_grid_size": grid, "q_chunk_size": 32, "k_chunk_size": 64}
    given = spec(SMALL, {"seq_len": 128 * ring, "head_dim": 32}, config, ring_size=ring, topology=topology, numerics="exact")
    outputs = simulate(given).outputs
    for r in range(ring):
        plain, values = as_plain(given, r)
        np.testing.assert_array_equal(outputs[r], simulate(plain, inputs=values).outputs[0])


@pytest.mark.parametrize(
    "given",
    [
        {}, {"joint_len": 96}, {"joint_len": 50}, {"logical_n": 500}, {"logical_n": 301}, {"logical_n": 300, "joint_len": 33},
        {"is_causal": True}, {"is_causal": True, "is_balanced": True}, {"is_causal": True, "logical_n": 480},
        {"is_causal": True, "logical_n": 301}, {"is_causal": True, "logical_n": 193, "topology": "line"},
        {"topology": "line"}, {"topology": "line", "num_links": 1, "joint_len": 64},
    ],
    ids=str,
)  # fmt: skip
def test_output_is_attention(given) -> None:
    """Within bfloat16 of float64, of all devices: plain, with joint rows, ragged, causal, balanced; K chunks cut or not.

    Rows of padding too, of which upstream hides the padding keys (compute_streaming.hpp: the tile that is cut, in every row).
    """
    for k_chunk, heads, grid in ((64, (2, 2), (6, 2)), (96, (4, 2), (1, 2)), (96, (3, 1), (2, 2))):
        if given.get("joint_len") and heads[1] < heads[0]:
            heads = (2, 2)
        inputs = {"q_heads": heads[0], "kv_heads": heads[1]}
        result = simulate(spec(SMALL, inputs, {"compute_with_storage_grid_size": grid, "k_chunk_size": k_chunk}, **given))
        assert result.accuracy is not None
        assert (result.accuracy.pcc >= 0.999, result.accuracy.suspect) == (True, False), (k_chunk, heads)
        assert [d.accuracy.pcc >= 0.999 for d in result.devices if d.accuracy] == [True] * 4


@pytest.mark.parametrize("causal", [True, False])
def test_chains_of_shared_heads_hand_on_as_many_chunks_as_are_taken(causal) -> None:
    """The cores of a K/V head's chain have 4, 3 and 3 Q chunks of its two query heads, and each gets its own and no more."""
    inputs = {"q_heads": 8, "kv_heads": 4, "seq_len": 256}
    given = spec(SMALL, inputs, {"compute_with_storage_grid_size": (5, 1)}, ring_size=2, is_causal=causal)
    assert any(len(chain.cores) > 1 for chain in RingGeometry.of(given).chains)
    accuracy = simulate(given).accuracy
    assert accuracy is not None
    assert accuracy.pcc >= 0.999


@pytest.mark.parametrize(
    ("given", "kv_heads"),
    [({}, 2), ({"logical_n": 301, "joint_len": 33}, 2), ({"is_causal": True, "is_balanced": True}, 1), ({"topology": "line"}, 1)],
    ids=str,
)
def test_slices_merged_by_their_log_sum_exps_are_attention(given, kv_heads) -> None:
    """With a 32-bit DST: O and L of each slice, rounded to bfloat16 between them."""
    config = {"k_chunk_size": 96, "compute_with_storage_grid_size": (2, 2)}
    compute = {"math_fidelity": "HiFi4", "fp32_dest_acc_en": True}
    result = simulate(spec(SMALL, {"kv_heads": kv_heads}, config, compute_kernel_config=compute, **given))
    assert [d.accuracy.pcc >= 0.999 for d in result.devices if d.accuracy] == [True] * 4


def test_joint_rows_come_from_files(tmp_path: Path) -> None:
    """The drawn ones by way of files make the same run; one missing, too short or not finite is refused by its name."""
    given = spec(SMALL, joint_len=40)
    joint = make_inputs(given).joint
    assert joint is not None
    paths = [tmp_path / f"{name}.npy" for name in "qkv"]
    for path, rows in zip(paths, joint, strict=True):
        np.save(path, rows)
    of_files = spec(SMALL, {"joint": [str(path) for path in paths]}, joint_len=40)
    drawn, read = simulate(given), simulate(of_files)
    np.testing.assert_array_equal(read.outputs[1], drawn.outputs[1])
    assert (read.devices, read.values == drawn.values) == (drawn.devices, False)
    paths[0].unlink()
    np.save(paths[1], joint[1][:, :, :-1])
    np.save(paths[2], np.full_like(joint[2], np.inf))
    assert [violation.found for violation in check(of_files).violations] == [{"inputs.joint": str(path)} for path in paths]


def test_a_slice_whose_keys_weigh_nothing_changes_nothing() -> None:
    """Where one slice has all the weight its values come out, as P and l are rounded: a weight is a sigmoid of L's lead."""
    given = spec(SMALL, {"head_dim": 32}, compute_kernel_config={"math_fidelity": "HiFi4", "fp32_dest_acc_en": True})
    drawn = make_inputs(given)
    q = np.abs(drawn.q)
    k = np.zeros_like(drawn.k)
    k[:, :, 256:384] = 8  # slice 2
    v = drawn.v.copy()
    v[:, :, 256:384] = np.arange(32) - 16
    for output in simulate(given, inputs=InputValues(q, k, v, None)).outputs.values():
        np.testing.assert_allclose(output, np.broadcast_to(np.arange(32) - 16, output.shape), rtol=2**-4, atol=2**-4)


# -- what travels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ring", "topology", "links"), [(8, "ring", 4), (4, "ring", 1), (4, "line", 3), (2, "line", 2)])
def test_bytes_of_links_and_of_dram_are_the_closed_form(ring, topology, links) -> None:
    """K and V of a slice for each hop: to the byte. Around a ring half of the slices, the odd one forward, come each way.

    Of DRAM each slice is written where it comes; read are what is sent, K and V for each of a head's two Q chunks, Q for each
    slice, and what was spilled.
    """
    given = spec(SMALL, {"seq_len": 96 * ring}, ring_size=ring, topology=topology, num_links=links, numerics="off")
    slice_bytes = 2 * 2 * 3 * 2 * 2048  # K and V, of 2 heads, 3 x 2 tiles of bfloat16
    spilled = (
        2 * 2 * (ring - 1) * (2 * 2 + 2 * 2) * 2048 - 2 * (ring - 1) * (2 + 2) * 2048
    )  # 2 Q chunks a head, the last of 1 tile row
    for r, device in enumerate(simulate(given).devices):
        back, on = (r, ring - 1 - r) if topology == "line" else ((ring - 1) // 2, ring // 2)
        sends = (ring - r if back else 0, r + 1 if on else 0) if topology == "line" else (back, on)
        for way, slices in zip(("backward", "forward"), sends, strict=True):
            sent = sum(n for name, n in device.ethernet_bytes.items() if name.endswith(way))
            assert sent == slices * slice_bytes, (r, way)
        assert device.dram_write_bytes == (ring - 1) * slice_bytes + 2 * 3 * 2 * 2048 + spilled
        gathered, chunks, q = sum(sends) * slice_bytes, 2 * ring * slice_bytes, ring * 2 * 3 * 2 * 2048
        assert device.dram_read_bytes == gathered + chunks + q + spilled


def test_devices_that_start_late_keep_others_waiting_for_their_slices() -> None:
    """A start 300,000 cycles later is a wait of neighbours, named by the semaphore, of hardly less."""
    usual = simulate(spec(SMALL, numerics="off"))
    late = simulate(spec(SMALL, numerics="off", what_if={"start_skew": [0, 0, 300_000, 0]}))
    waits = [{str(wait): n for wait, n in device.waits.items()} for device in late.devices]
    assert waits[1]["reader: wait semaphore slices of the chips after"] > 250_000
    assert late.devices[2].cycles < usual.devices[2].cycles + 1_000
    assert late.devices[0].cycles > 290_000


def test_twice_the_links_shorten_a_gather_that_binds() -> None:
    """Of a short sequence on one link: the op takes longer than with four, which it does not where compute binds."""
    short = {"num_links": 1, "numerics": "off"}
    config = {"compute_with_storage_grid_size": (7, 8)}
    heads = {"q_heads": 14, "kv_heads": 14, "head_dim": 128}
    one, four = (simulate(spec(SMALL, heads, config, **short | {"num_links": n})).devices[0].cycles for n in (1, 4))
    assert one > 1.2 * four
    few_cores = {"seq_len": 1024}
    one, four = (simulate(spec(SMALL, few_cores, **short | {"num_links": n})).devices[0].cycles for n in (1, 4))
    assert one < 1.02 * four


# -- faults -------------------------------------------------------------------------------------------------------------


async def tell_early(dm: DataMovement, a: GatherArgs) -> None:
    """The gather's reader with the signal before what it waits for."""
    await gather.read_slice(dm, a, 0)
    for k in range(1, a.receives + 1):
        if dm.core.logical == a.first:
            gather.tell(dm, a)
        await dm.semaphore_wait(LANDED, k)
        if dm.core.logical == a.first:
            await dm.semaphore_wait(MET, k * len(a.others))
        else:
            dm.semaphore_increase(a.first, MET)
        await gather.read_slice(dm, a, k)


async def wait_for_one_link(dm: DataMovement, a: GatherArgs) -> None:
    """The gather's reader that tells of a slice when its own link has it."""
    await gather.read_slice(dm, a, 0)
    for k in range(1, a.receives + 1):
        await dm.semaphore_wait(LANDED, k)
        if dm.core.logical == a.first:
            gather.tell(dm, a)
        await gather.read_slice(dm, a, k)


async def relay_unasked(dm: DataMovement, a: GatherArgs) -> None:
    """The gather's reader that relays without a wait for what it relays."""
    await gather.read_slice(dm, a, 0)
    for k in range(1, a.receives + 1):
        if k >= len(a.sent):
            await dm.semaphore_wait(LANDED, k)
        await gather.meet(dm, a, k)
        await gather.read_slice(dm, a, k)


async def meet_without_release(dm: DataMovement, a: GatherArgs) -> None:
    """The gather's reader that goes on to the next slice while others have not met: two from one link look like one from two."""
    await gather.read_slice(dm, a, 0)
    for k in range(1, a.receives + 1):
        await dm.semaphore_wait(LANDED, k)
        if dm.core.logical == a.first:
            await dm.semaphore_wait(MET, k * len(a.others))
            gather.tell(dm, a)
        else:
            dm.semaphore_increase(a.first, MET)
        await gather.read_slice(dm, a, k)


@pytest.mark.parametrize("faulty", [tell_early, wait_for_one_link, relay_unasked])
def test_a_slice_that_is_used_before_its_signal_is_an_error(faulty, monkeypatch) -> None:
    """However the timing has it this time: with the page, who reads it and who sends it, each by chip, core and line."""
    monkeypatch.setattr(ring_joint, "gather_reader", faulty)
    who = r"device \d core \(\d,\d\) (NC|B)RISC at \S+\.py:\d+"
    with pytest.raises(
        SimulationError, match=rf"{who}: read of page \d+ of gathered [KV], which ({who} writes|nothing has written)"
    ):
        simulate(spec(SMALL))


def test_two_slices_of_one_link_do_not_count_for_two_links(monkeypatch) -> None:
    """Where two of four links have no tile to send, their signals run ahead of the others': the cores of all links must meet."""
    tiny = spec(SMALL, {"q_heads": 1, "kv_heads": 1, "seq_len": 256}, {"q_chunk_size": 32}, ring_size=8)
    accuracy = simulate(tiny).accuracy
    assert accuracy is not None
    assert not accuracy.suspect
    monkeypatch.setattr(ring_joint, "gather_reader", meet_without_release)
    with pytest.raises(SimulationError, match=r"read of page \d+ of gathered K, which .* writes; it has waited for nothing"):
        simulate(tiny)


@pytest.mark.parametrize("second", [LANDED, "slices over this link, every other call"])
def test_two_calls_in_a_row_need_two_sets_of_semaphores(second: str, monkeypatch) -> None:
    """A chip may begin the second while its neighbour ends the first: then a slice's signal is lost, or taken for another's."""

    def again(a: GatherArgs) -> GatherArgs:
        return replace(a, landed=second, told=(), counts_own=False, sent=((),) * len(a.sent))  # no packets, for cores still read

    async def read_twice(dm: DataMovement, a: GatherArgs) -> None:
        await gather.gather_reader(dm, a)
        await gather.gather_reader(dm, again(a))

    async def write_twice(dm: DataMovement, a: GatherArgs) -> None:
        await gather.gather_writer(dm, a)
        await gather.gather_writer(dm, again(a))

    monkeypatch.setattr(ring_joint, "gather_reader", read_twice)
    monkeypatch.setattr(ring_joint, "gather_writer", write_twice)
    monkeypatch.setattr(ring_program, "SEMAPHORES", (*SEMAPHORES, *({second} - {LANDED})))
    who = r"device \d core \(\d,\d\)"
    lost = rf"{who} semaphore {LANDED}: set to 0 by {who} BRISC at .*, and raised by {who} NCRISC at .*; either may come first"
    with pytest.raises(SimulationError, match=lost) if second == LANDED else nullcontext():
        simulate(spec(SMALL, num_links=1))


def test_a_reader_that_waits_for_no_slice_is_an_error(monkeypatch) -> None:
    """Though each slice is there long before it is used."""
    usual = DataMovement.semaphore_wait

    async def wait(dm: DataMovement, name: str, value: int) -> None:
        if name not in SLICES:
            await usual(dm, name, value)

    monkeypatch.setattr(DataMovement, "semaphore_wait", wait)
    with pytest.raises(SimulationError, match=r"read of page \d+ of gathered K, which device \d core .* writes; it has waited"):
        simulate(spec(SMALL, config={"compute_with_storage_grid_size": (2, 2)}))


def test_lost_packets_are_an_error(monkeypatch) -> None:
    """Who reads them, and where they should be."""
    usual, sent = DataMovement.send, iter(range(10**9))

    async def send(dm: DataMovement, *given: Any) -> None:
        if next(sent) != 2:
            await usual(dm, *given)

    monkeypatch.setattr(DataMovement, "send", send)
    with pytest.raises(SimulationError, match=r"device \d core .* read of page \d+ of gathered [KV], which nothing has written"):
        simulate(spec(SMALL))


def test_a_device_that_never_starts_is_found_from_its_neighbours(monkeypatch) -> None:
    """The deadlock names chip, core and semaphore, from the reader that waits on to the gather core beside it."""
    usual = ring_program.build

    def build(given: RunSpec, g: RingGeometry, on: Machine, ring_id: int, *more: Any) -> Program:
        made = usual(given, g, on, ring_id, *more)
        idle = [replace(kernel, args=[IDLE] * len(kernel.args)) for kernel in made.kernels]
        return replace(made, kernels=tuple(idle)) if ring_id == 2 else made

    monkeypatch.setattr(ring_program, "build", build)
    with pytest.raises(DeadlockError, match=r"device 1 core .* waits for semaphore slices of the chips after") as failed:
        simulate(spec(SMALL))
    assert "BRISC waits for semaphore slices over this link" in str(failed.value)


@pytest.mark.parametrize("ring", [2, 3, 4, 8])
@pytest.mark.parametrize(("joint", "numerics"), [(0, "exact"), (32, "fast")])
def test_a_device_that_stands_for_its_neighbours_is_as_among_them(ring, joint, numerics) -> None:
    """Its output to the bit, its bytes over every link, and in a ring this small its cycles."""
    given = spec(SMALL, {"seq_len": 128 * ring}, ring_size=ring, joint_len=joint, numerics=numerics)
    among = simulate(given)
    for r in range(ring):
        alone = simulate(given.model_copy(update={"ring_ids": (r,)}))
        np.testing.assert_array_equal(alone.outputs[r], among.outputs[r])
        assert alone.devices[0].ethernet_bytes == among.devices[r].ethernet_bytes
        assert alone.devices[0].cycles == among.devices[r].cycles


@pytest.mark.parametrize(
    "what", [{"is_causal": True, "is_balanced": True}, {"topology": "line"}, {"what_if": {"start_skew": (0, 5_000, 0, 0)}}]
)
def test_a_device_unlike_its_neighbours_is_simulated_among_them(what) -> None:
    """Whichever are named: on a line, where scores are causal, and where devices start at their own times."""
    given = spec(SMALL, numerics="off", **what)
    among = simulate(given)
    named = simulate(given.model_copy(update={"ring_ids": (2, 1)}))
    assert [device.cycles for device in named.devices] == [among.devices[r].cycles for r in (2, 1)]


def test_a_ring_is_run_once_to_measure_all_its_devices(monkeypatch) -> None:
    """By what sweeps and what-ifs ask for, device by device; the store keeps one of all and one alone apart."""
    given, runs = spec(SMALL, numerics="off", is_causal=True), Counter[str]()

    def counted(job: Job) -> list[DeviceRun]:
        runs["ring"] += 1
        return run_together(job)

    monkeypatch.setattr(measure, "run_together", counted)
    found = [measure.measure("device", given, r) for r in range(4)]
    assert found == [device.cycles for device in simulate(given).devices]
    assert runs == {"ring": 1}
    kept = Store()
    kept.put("device", 1, given, found[1])
    assert kept.get("device", 1, given.model_copy(update={"ring_ids": (1,)})) is None


def test_a_run_says_how_its_slices_travel() -> None:
    """Left to the op: around a ring where the board has one of that size, a line where not, over all links of a neighbour."""
    for board, topology in (("galaxy", "ring"), ("t3000", "line")):
        effective = check({**SMALL, "board": board}).effective
        links = machine(board).links_per_neighbour
        assert (effective["topology"], effective["num_links"]) == (topology, links)
    assert check({**SMALL, "num_links": 1, "topology": "line"}).effective.items() >= {"num_links": 1, "topology": "line"}.items()
