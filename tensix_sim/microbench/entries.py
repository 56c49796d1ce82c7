"""From an entry of the published microbenchmarks to a program, and from there to points: what was measured, what comes out."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tensix_sim.arch import Machine, machine
from tensix_sim.arch.rings import Joining
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.run import run_collective
from tensix_sim.hw.routes import Direction
from tensix_sim.microbench import on_core, transfers
from tensix_sim.program import ComputeConfig

BOARDS = {"wormhole_b0": "n150", "blackhole": "p150b"}  # most entries do not name theirs
WHOLE_DIE = "galaxy"  # whose Wormhole chips have all rows

# DRAM channels that share a bank's rate. Wormhole: a bank is one channel (ISA DRAMTile/README.md). Blackhole, derived: the
# 64 GB/s of a bank are 32 bits at 16 GT/s, a GDDR6 device, which has two channels of 16 bits (JESD250). INFERRED from the rates
# that are compared here: with one channel, the reads of one page on Blackhole come out twice as fast as measured.
CHANNELS = {"wormhole_b0": 1, "blackhole": 2}

# Entries without a program, by kind and number
LEFT_OUT: dict[str, dict[str, Iterable[int]]] = {
    "all-to-all is not modelled": {"ccl": (15, 16)},
    "laws of reduce-scatter and all-reduce: see the walls of collectives": {"ccl": range(11, 15)},
    "fits to the rows that are compared": {"ccl": (9, 10)},
    "dispatch, launch and the host are not modelled": {"dispatch": range(1, 30)},
    "multicasts are not compared": {"noc_latency": range(67, 84), "noc_bw": range(11, 15)},
    "the stateful API's shorter issue is not modelled": {"noc_latency": (29, 30)},
    "writes on dynamic virtual channels, and their collapse, are not modelled": {"dram_bw": (*range(19, 25), *range(49, 57))},
    "loads and stores of the RISCs, and the mover, are not modelled": {"llk_cycles": (29, 30)},
    "routines that no kernel here calls": {"llk_cycles": (2, 4, *range(16, 20))},
    "constants of the model, or what they were taken from": {
        "llk_cycles": range(24, 29), "dram_bw": (72, 73), "noc_bw": (34,), "noc_latency": (65, 66),
        "eth": range(1, 9),
    },
    "parameters of another model": {"noc_bw": range(17, 34), "noc_latency": range(61, 65)},
    "ideals and peaks": {"llk_cycles": range(20, 24), "dram_bw": (57, 58), "eth": (11,)},
    "a mock's own waits, and an order that no kernel here has": {"matmul_loop": (9, 10)},
    "whole ops of other kernels": {"dram_bw": (*range(61, 65), *range(79, 84), 85)},
    "shape, block or configuration is not published": {
        "matmul": (*range(1, 6), *range(51, 54)), "dram_bw": (65,), "llk_cycles": (6, 7, 8), "eth": (9, 10), "ccl": range(1, 9),
    },
    "differences and shares, not measurements of one program": {"llk_cycles": (14, 15), "dram_bw": (86,)},
    "a wall: see the walls": {"dram_bw": (84,)},
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One measured number and the model's."""

    id: str
    chip: str
    group: str
    what: str
    unit: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Signed share by which the prediction is above the measurement."""
        return self.predicted / self.measured - 1


Entry = dict[str, Any]


def points(entry: Entry) -> list[Point]:
    """What can be compared of an entry; nothing where the model has no program for it."""
    make = PROGRAMS.get(entry["kind"])
    return list(make(entry)) if make and entry["arch"] in BOARDS else []


def reason(entry: Entry) -> str:
    """Why an entry has no point; LookupError if nobody wrote it down."""
    number = int(entry["id"].rpartition("-")[2])
    for why, kinds in LEFT_OUT.items():
        if number in kinds.get(entry["kind"], ()):
            return why
    raise LookupError(f"{entry['id']} has neither a program nor a reason in LEFT_OUT")


def _machine(entry: Entry) -> Machine:
    return machine(BOARDS[entry["arch"]])


def _point(entry: Entry, group: str, what: str, unit: str, measured: float, predicted: float) -> Point:
    return Point(entry["id"], entry["arch"], group, what, unit, measured, predicted)


# -- one core's transfers -----------------------------------------------------------------------------------------


def _latencies(entry: Entry) -> Iterator[Point]:
    given, m = entry["params"], _machine(entry)
    test = given.get("test", "")
    if "sizes_bytes" not in given or any(word in test for word in ("multicast", "stateful")):
        return
    direction: Direction = "write" if given.get("direction") == "write" or "write" in test else "read"
    same_axis = test.endswith("same axis") and "not" not in test
    n = given["num_transactions"]
    for size, measured in zip(given["sizes_bytes"], entry["value"], strict=False):
        if test.startswith("DRAM"):
            group = f"DRAM {direction}, one core and page"
            predicted = transfers.from_dram(one_page(m, size), direction, n, size)
        else:
            group = f"L1 {direction}, {'same axis' if same_axis else 'one core'}"
            predicted = transfers.from_l1(m, direction, n, size, same_axis)
        yield _point(entry, group, f"{n} x {size} B", "cycles", measured, predicted)


def one_page(m: Machine, size: int) -> Machine:
    """The machine as a test sees it that moves one page of `size` bytes again and again: a page lies in one channel of its bank.

    So do those up to the longest packet; packets of a longer page go to both. The tests do not say which pages they
    move. Their rates do: those of one channel, on both chips and both ways, where other banks could fill the core's port.
    """
    channels = CHANNELS[m.chip.name] if size <= m.chip.noc.max_packet_bytes else 1
    return m.override({"dram.bank_rate": m.chip.dram.bank_rate / channels})


# -- banks ----------------------------------------------------------------------------------------------------------


def _banks(entry: Entry) -> Iterator[Point]:
    given = entry["params"]
    if "placement" in given or given.get("channels") == 1:
        yield from _wormhole_banks(entry, given)
    elif given.get("test", "").startswith("u-benchmark"):
        m = machine(WHOLE_DIE)
        speed = float(given["dram"].split()[0]) / 12  # the chip's own rate was measured at 12 Gb/s
        m = m.override({"dram.bank_rate": m.chip.dram.bank_rate * speed})
        found = transfers.banks_rate(m, 12, "read", 0, careful=True)
        yield _point(entry, "DRAM, 12 banks, beside them", f"read, {given['dram']}", "B/cycle", entry["value"], found)
    elif "readers" in given and "per-tile" not in given["test"]:
        m = _machine(entry)
        beside = "bank-adjacent" in given["test"]
        in_flight = given.get("outstanding", 2)
        found = transfers.streams_rate(m, in_flight, beside) * m.chip.clock_hz / 1e9
        group = f"DRAM, 8 streams, {'beside their banks' if beside else 'anywhere'}"
        yield _point(entry, group, f"{in_flight} x 16 KiB in flight", "GB/s", entry["value"], found)
    elif size := re.match(r"(\d+) B", given.get("test", "")):
        m = _machine(entry)
        peak = {"wormhole_b0": 24e9, "blackhole": 64e9}[entry["arch"]] / m.chip.clock_hz
        both = "both NoCs" in given["test"]
        found = 100 * transfers.small_pages_rate(m, int(size[1]), both) / peak
        yield _point(entry, "DRAM, one bank, small pages", given["test"], "% of peak", entry["value"], found)


def _wormhole_banks(entry: Entry, given: dict[str, Any]) -> Iterator[Point]:
    direction, noc, cores = given["direction"], int(given["noc"][-1]), given["tensix_tiles"]
    if direction == "write" and given["vc"] == "dynamic":
        return
    if given["channels"] == 1:
        group, found = f"DRAM {direction}, one bank", transfers.one_bank_rate(_machine(entry), cores, direction, noc)
    else:
        careful = given["placement"] == "careful"
        group = f"DRAM {direction}, 12 banks, {'beside them' if careful else 'anywhere'}"
        found = transfers.banks_rate(machine(WHOLE_DIE), cores, direction, noc, careful)
    yield _point(entry, group, f"{cores} cores, {given['noc']}, {given['vc']}", "B/cycle", entry["value"], found)


# -- patterns of cores ------------------------------------------------------------------------------------------------


def _ideals(entry: Entry) -> Iterator[Point]:
    """Best rates of directed tests: 256 transfers of 64 KiB."""
    m, name = _machine(entry), entry["params"].get("primitive", "")
    n, size = 256, 1 << 16
    programs: dict[str, Callable[[], float]] = {
        "DRAM Read": lambda: n * size / transfers.from_dram(m, "read", n, size),
        "DRAM Write": lambda: n * size / transfers.from_dram(m, "write", n, size),
        "One To One": lambda: n * size / transfers.from_l1(m, "write", n, size, False),
        "One From One": lambda: n * size / transfers.from_l1(m, "read", n, size, False),
        "One To All (Unicast)": lambda: transfers.one_and_all_rate(m, "write", size),
        "One From All": lambda: transfers.one_and_all_rate(m, "read", size),
    }
    if name in programs:
        yield _point(entry, "best rates of patterns", name, "B/cycle", entry["value"], programs[name]())


def _patterns(entry: Entry) -> Iterator[Point]:
    given, m = entry["params"], _machine(entry)
    direction: Direction = given["direction"]
    for size, measured in zip(given["sizes_bytes"], entry["value"], strict=True):
        if "one bank" in given["test"]:
            found: float = transfers.from_dram(m, direction, given["num_transactions"], size)
            yield _point(entry, "DRAM read, one core, sharded", f"1 x {size} B", "cycles", measured, found)
        elif "L1" in given["test"]:
            found = transfers.all_to_all_rate(m, given["grid"], direction, size)
            yield _point(entry, "L1, all cores to all", f"{size} B", "B/cycle a core", measured, found)
        else:
            found = transfers.all_cores_rate(m, given["grid"], direction, given["noc"], size, given["num_transactions"])
            gb = found * m.chip.clock_hz / 1e9
            yield _point(entry, f"DRAM {direction}, all cores", f"{size} B, NoC {given['noc']}", "GB/s", measured, gb)


def _traces(entry: Entry) -> Iterator[Point]:
    """Ops whose NoC events were traced. The profiler holds up each read: its interval is an input here, as the start skew is."""
    given, m = entry["params"], _machine(entry)
    *sources, (rows, columns, layout) = re.findall(r"(\d)x(\d)_(BLOCK|HEIGHT)", given["trace"])
    grid, by_rows = (int(columns), int(rows)), layout == "HEIGHT"
    timing = {"gap": int(given["median_issue_interval_cycles"]), "skew": given["start_skew_cycles"] or 0}
    if not sources:
        end, waited = transfers.to_sharded(m, grid, by_rows, given["reads"], **timing)
        if "metric" in given:
            yield _point(entry, "trace, mean wait at a barrier", given["trace"], "cycles", entry["value"], waited)
        else:
            yield _point(entry, "trace, DRAM to sharded", given["trace"], "cycles", entry["value"], end)
    else:
        source = int(sources[0][1]), int(sources[0][0])
        end = transfers.reshard(m, source, grid, by_rows, len(given["nocs"]), **timing)
        yield _point(entry, "trace, sharded to sharded", given["trace"], "cycles", entry["value"], end)


# -- compute --------------------------------------------------------------------------------------------------------


def _products(entry: Entry) -> Iterator[Point]:
    """ttnn's GEMM benchmark, by its device utilisation: the host's time has gaps and a clock that power lowers."""
    given = entry["params"]
    measured = re.search(r"device-based utilisation ([\d.]+)", entry["notes"])
    if given.get("tuned") != "manual" or not measured:
        return
    m, fidelity = _machine(entry), given["math_fidelity"]
    columns, rows = re.search(r"(\d+)x(\d+)", entry["board"]).groups()  # type: ignore[union-attr]
    grid = int(columns), int(rows)
    shape = given["m"], given["k"], given["n"]
    sharded = given.get("in0_in1_out", "").endswith("L1")
    found = on_core.gemm_cycles(m, grid, shape, FORMATS[given["dtype"]], fidelity, sharded)
    products = shape[0] * shape[1] * shape[2] / 32**3 / (grid[0] * grid[1])
    peak = m.chip.tensix.mvmul_cycles * ComputeConfig(fidelity).phases * products
    what = "x".join(map(str, shape))
    group = f"matmul, {fidelity} {given['dtype']}"
    yield _point(entry, group, what, "% of peak", float(measured[1]), 100 * peak / found)


def _counters(entry: Entry) -> Iterator[Point]:
    """FPU and SFPU busy cycles inside attention."""
    given, routine = entry["params"], str(entry["params"].get("llk", ""))
    if given.get("op") == "scaled_dot_product_attention":
        device = on_core.attention(given["q_chunk"], given["k_chunk"], True, "legacy", "HiFi4", fp32_dest=True)
        busy = (device.fpu_cycles + device.sfpu_cycles) * given["nqh"] / HEADS_OVER
        yield _point(entry, "attention, busy cycles", "legacy, FPU and SFPU", "cycles", entry["value"], busy)
    elif ("exp tile" in routine and "new" in given["variant"]) or routine.startswith("SDPA softmax exp"):
        yield _point(entry, "routines", "exp", "cycles a tile", entry["value"], on_core.exp_cycles(_machine(entry)))
    elif routine.startswith("HiFi2 matmul FPU_COUNTER"):
        device = on_core.attention(given["q_chunk"], given["k_chunk"], False, "streaming")
        products = device.steps_per_core.mean * 2 * (given["q_chunk"] // 32) * (given["k_chunk"] // 32) * (given["d"] // 32)
        found = device.fpu_cycles / products
        yield _point(entry, "attention, busy cycles", f"FPU, k {given['k_chunk']}", "cycles a product", entry["value"], found)
    elif routine.startswith("SDPA non-causal FPU total"):
        for q_chunk in map(int, given["q_chunk"].split("/")):
            busy = on_core.attention(q_chunk, given["k_chunk"], False, "streaming").fpu_cycles * 32 / HEADS_OVER
            yield _point(entry, "attention, busy cycles", f"FPU, q {q_chunk}", "cycles", entry["value"], busy)


def _routines(entry: Entry) -> Iterator[Point]:
    """Costs of one routine, at its own bound. The model has them as constants: compared is what the pipeline makes of them."""
    routine, m = entry["params"]["routine"], _machine(entry)
    found = on_core.max_cycles(m) if routine == "row maximum" else on_core.pack_cycles(m, "accumulation" in routine)
    yield _point(entry, "routines", routine, "cycles a tile", entry["value"], found)


def _loops(entry: Entry) -> Iterator[Point]:
    """A product's loop, as it is and with engines that take no time."""
    given = entry["params"]
    if given["variant"] in on_core.LEFT_OUT:
        subblock, fidelity = (given["subblock"][0], given["subblock"][1]), given["math_fidelity"]
        found = on_core.loop_cycles(_machine(entry), subblock, fidelity, given["fp32_dest"], given["variant"])
        what = " ".join(filter(None, ("x".join(map(str, subblock)), fidelity, given["variant"])))
        yield _point(entry, "matmul, loop", what, "cycles a step", entry["value"], found)


HEADS_OVER = 110  # cores among which the published counters' 32 heads were dealt
# -- collectives ------------------------------------------------------------------------------------------------------


def _all_gathers(entry: Entry) -> Iterator[Point]:
    given = entry["params"]
    if given["op"] == "all_gather" and "output_bytes" in given:
        n, nbytes, topology = given["n"], given["output_bytes"], given["topology"]
        found = all_gather_us(n, topology, nbytes)
        yield _point(entry, f"all-gather, {topology}", f"{n} devices, {nbytes} B", "us", entry["value"], found)


def all_gather_us(devices: int, topology: Joining, nbytes: int) -> float:
    """Microseconds of an all-gather of `nbytes` bfloat16 in all over one link of a T3000, with the packets of the CCL results."""
    tiles = nbytes // devices // FORMATS["bfloat16"].tile_bytes
    op = AllGather(devices, (1, 1, TILE, tiles * TILE), 3, "bfloat16", topology, links=1, packet_bytes=6144)
    return max(moved.duration_us for moved in run_collective(op, machine("t3000"), [None] * devices).figures)


PROGRAMS: dict[str, Callable[[Entry], Iterator[Point]]] = {
    "noc_latency": _latencies, "dram_bw": _banks, "noc_bw": _ideals, "noc_pattern": _patterns, "noc_trace": _traces,
    "matmul": _products, "matmul_loop": _loops, "llk_cycles": _counters, "routine": _routines, "ccl": _all_gathers,
}  # fmt: skip
