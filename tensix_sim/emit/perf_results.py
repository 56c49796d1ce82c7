"""`ops_perf_results_*.csv`, as tt-metal's `process_ops_logs.py` writes it: a row for each device, and each op of a tail on it.

Empty where this simulator has no number: host times, dispatch, kernel sizes and hashes, NPE's congestion.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensix_sim.analysis.profile import kernel_column
from tensix_sim.emit.device_log import buffer_waits
from tensix_sim.emit.run import CALL, Emission, TailOp, host_id
from tensix_sim.files import atomic
from tensix_sim.formats import TILE
from tensix_sim.logged import OpTensor, attributes, tensors
from tensix_sim.sdpa.op import compute_kernel
from tensix_sim.trace import RISCS, Totals, Trace
from tensix_sim.trace.folder import MARK

AXES = "WZYX"


def tensor_columns(which: str) -> tuple[str, ...]:
    """Columns of a tensor, such as INPUT_0."""
    return (*(f"{which}_{axis}_PAD[LOGICAL]" for axis in AXES), f"{which}_LAYOUT", f"{which}_DATATYPE", f"{which}_MEMORY")


# In the order of tt-metal tools/tracy/process_ops_logs.py, OPS_CSV_HEADER
COLUMNS = (
    "OP CODE", "OP TYPE", "GLOBAL CALL COUNT", "DEVICE ID", "DEVICE ARCH", "ATTRIBUTES", "MATH FIDELITY", "CORE COUNT",
    "AVAILABLE WORKER CORE COUNT", "PARALLELIZATION STRATEGY", "HOST START TS", "HOST END TS", "HOST DURATION [ns]",
    "DEVICE FW START CYCLE", "DEVICE FW END CYCLE", "OP TO OP LATENCY [ns]", "OP TO OP LATENCY BR/NRISC START [ns]",
    "DEVICE FW DURATION [ns]", "DEVICE KERNEL DURATION [ns]", "DEVICE KERNEL DURATION DM START [ns]",
    "DEVICE KERNEL DURATION PER CORE MIN [ns]", "DEVICE KERNEL DURATION PER CORE MAX [ns]",
    "DEVICE KERNEL DURATION PER CORE AVG [ns]", "DEVICE KERNEL FIRST TO LAST START [ns]",
    "DEVICE BRISC KERNEL DURATION [ns]", "DEVICE NCRISC KERNEL DURATION [ns]", "DEVICE TRISC0 KERNEL DURATION [ns]",
    "DEVICE TRISC1 KERNEL DURATION [ns]", "DEVICE TRISC2 KERNEL DURATION [ns]", "DEVICE ERISC KERNEL DURATION [ns]",
    "DEVICE COMPUTE CB WAIT FRONT [ns]", "DEVICE COMPUTE CB RESERVE BACK [ns]", "DISPATCH TOTAL CQ CMD OP TIME [ns]",
    "DISPATCH GO SEND WAIT TIME [ns]",
    *tensor_columns("INPUT_0"), *tensor_columns("INPUT_1"), *tensor_columns("INPUT_2"), *tensor_columns("OUTPUT_0"),
    "METAL TRACE ID", "METAL TRACE REPLAY SESSION ID", "COMPUTE KERNEL SOURCE", "COMPUTE KERNEL HASH",
    "DATA MOVEMENT KERNEL SOURCE", "DATA MOVEMENT KERNEL HASH", "PROGRAM HASH", "PROGRAM CACHE HIT",
    *(f"{core} MAX KERNEL SIZE [B]" for core in (
        "TENSIX DM 0", "TENSIX DM 1", "TENSIX COMPUTE 0", "TENSIX COMPUTE 1", "TENSIX COMPUTE 2", "ACTIVE ETH DM 0",
        "ACTIVE ETH DM 1", "IDLE ETH DM 0", "IDLE ETH DM 1",
    )),
    "PM IDEAL [ns]", "PM COMPUTE [ns]", "PM BANDWIDTH [ns]", "PM REQ I BW", "PM REQ O BW", "PM FPU UTIL (%)", "NOC UTIL (%)",
    "MULTICAST NOC UTIL (%)", "DRAM BW UTIL (%)", "DRAM BW UTIL PER CTRL (%)", "ETH BW UTIL (%)", "NPE CONG IMPACT (%)",
    "Avg SFPU util on full grid (%)", "Avg FPU util on full grid (%)", "Avg Math util on full grid (%)",
    MARK,  # ours: readers take more columns than they know
)  # fmt: skip


def write(emission: Emission, path: Path) -> Path:
    """Write the rows, op by op."""
    with atomic(path) as file:
        more = [name for i in range(3, len(tensors(emission.job)[0])) for name in tensor_columns(f"INPUT_{i}")]
        before = COLUMNS.index(tensor_columns("OUTPUT_0")[0])
        rows = csv.DictWriter(file, [*COLUMNS[:before], *more, *COLUMNS[before:]], restval="", lineterminator="\n")
        rows.writeheader()
        for device, trace in emission.devices:
            rows.writerow(_row(emission, device, trace))
        ready = {device["ring_id"]: device["cycles"] for device, _ in emission.devices}
        for call, op in enumerate(emission.tail, CALL + 1):
            for one in op.moved:
                rows.writerow(_tail_row(emission, op, call, one, one["start"] - ready[one["device"]]))
                ready[one["device"]] = one["start"] + one["cycles"]
    return path


def _row(emission: Emission, device: Mapping[str, Any], trace: Trace) -> dict[str, object]:
    spec = emission.job.spec
    row = _call(emission, emission.op_code, CALL, device["ring_id"], attributes(emission.job))
    row |= _span(emission, 0, device["cycles"], waited=0) | _tensors(*tensors(emission.job))
    row |= {
        "MATH FIDELITY": spec.effective_compute_config.math_fidelity,
        "CORE COUNT": emission.job.geometry.cores,
        "COMPUTE KERNEL SOURCE": f"['{compute_kernel(spec).file}']",
        "DATA MOVEMENT KERNEL SOURCE": "['kernels/sdpa/reader.py'; 'kernels/sdpa/writer.py']",
        "PROGRAM CACHE HIT": "",
    }
    return row | _times(emission, device, Totals.of(trace)) | _model(emission, device)


def _tail_row(emission: Emission, op: TailOp, call: int, moved: Mapping[str, Any], waited: int) -> dict[str, object]:
    """An op that moves tiles on one device: its time, its bytes, its links."""
    chip, tail = emission.job.machine.chip, emission.run.summary["tail"]
    gathers = {"cluster_axis": "1", "num_links": str(tail["links"]), "topology": f"Topology::{tail['topology'].title()}"}
    row = _call(emission, op.code, call, moved["device"], {"dim": "2"} | (gathers if moved["ethernet_bytes"] else {}))
    row |= _span(emission, moved["start"], moved["cycles"], waited) | _tensors(op.inputs, op.output)
    wall, least = max(1, moved["cycles"]), (moved["dram_read_bytes"] + moved["dram_write_bytes"]) / chip.dram.rate
    busiest = max(moved["ethernet_bytes"].values(), default=0) / chip.ethernet.rate
    return row | {
        "CORE COUNT": emission.job.machine.cores,
        "PM BANDWIDTH [ns]": emission.ns(least),
        "DRAM BW UTIL (%)": round(100 * least / wall, 3),
        "ETH BW UTIL (%)": round(100 * busiest / wall, 3),
    }


def _call(emission: Emission, code: str, call: int, ring_id: int, attributes: Mapping[str, str]) -> dict[str, object]:
    """Who ran what, and with which arguments."""
    written = "; ".join(f"'{name}': '{value}'" for name, value in attributes.items())
    return {
        "OP CODE": code,
        "OP TYPE": "tt_dnn_device",
        "GLOBAL CALL COUNT": host_id(ring_id, call),
        "DEVICE ID": ring_id,
        "DEVICE ARCH": emission.job.machine.chip.name,
        "ATTRIBUTES": f"{{{written}}}",
        "AVAILABLE WORKER CORE COUNT": emission.job.machine.cores,
        "HOST START TS": 0,
        MARK: emission.run.id,
    }


def _span(emission: Emission, start: int, cycles: int, waited: int) -> dict[str, object]:
    """From when to when on its device, and how long after the op before it."""
    ns, after = emission.ns(cycles), emission.ns(waited)
    return {
        "DEVICE FW START CYCLE": start,
        "DEVICE FW END CYCLE": start + cycles,
        "OP TO OP LATENCY [ns]": after,
        "OP TO OP LATENCY BR/NRISC START [ns]": after,
        "DEVICE FW DURATION [ns]": ns,
        "DEVICE KERNEL DURATION [ns]": ns,
        "DEVICE KERNEL DURATION DM START [ns]": ns,
    }


def _tensors(inputs: Sequence[OpTensor], output: OpTensor) -> dict[str, object]:
    row = tensor_row("OUTPUT_0", output)
    for i, tensor in enumerate(inputs):
        row |= tensor_row(f"INPUT_{i}", tensor)
    return row


def tensor_row(which: str, tensor: OpTensor) -> dict[str, object]:
    """What they hold."""
    *outer, rows, columns = tensor.shape
    padded = (*outer, -(-rows // TILE) * TILE, -(-columns // TILE) * TILE)
    sizes = [f"{p}[{size}]" for p, size in zip(padded, tensor.shape, strict=True)]
    return dict(zip(tensor_columns(which), (*sizes, "TILE", tensor.dtype, tensor.memory), strict=True))


def _times(emission: Emission, device: Mapping[str, Any], totals: Totals) -> dict[str, object]:
    """Durations of kernels: of its cores, of each RISC's longest."""
    ns, cores = emission.ns, device["kernel_cycles_per_core"]
    row: dict[str, object] = {
        "DEVICE KERNEL DURATION PER CORE MIN [ns]": ns(cores["min"]),
        "DEVICE KERNEL DURATION PER CORE MAX [ns]": ns(cores["max"]),
        "DEVICE KERNEL DURATION PER CORE AVG [ns]": ns(cores["mean"]),
        "DEVICE KERNEL FIRST TO LAST START [ns]": 0,
        "DEVICE COMPUTE CB WAIT FRONT [ns]": ns(buffer_waits(totals, "TRISC_0")),
        "DEVICE COMPUTE CB RESERVE BACK [ns]": ns(buffer_waits(totals, "TRISC_2")),
    }
    for risc in RISCS:
        row[kernel_column(risc)] = ns(totals.longest(risc))
    return row


def _model(emission: Emission, device: Mapping[str, Any]) -> dict[str, object]:
    """The least time that ttnn's count of useful work and the bytes that moved to and from DRAM allow; utilisations, per cent."""
    chip, wall = emission.job.machine.chip, max(1, device["cycles"])
    read, written = device["dram_read_bytes"], device["dram_write_bytes"]
    ideal, bandwidth = emission.ns(device["ideal_cycles"]), emission.ns((read + written) / chip.dram.rate)
    of_grid = 100 * device["active_cores"] / emission.job.geometry.cores / wall
    banks = [100 * device["servers"].get(f"dram bank {bank}", 0.0) for bank in range(chip.dram.banks)]
    return {
        "PM IDEAL [ns]": max(ideal, bandwidth),
        "PM COMPUTE [ns]": ideal,
        "PM BANDWIDTH [ns]": bandwidth,
        "PM REQ I BW": round(read / max(1, ideal), 3),  # bytes a nanosecond: GB/s
        "PM REQ O BW": round(written / max(1, ideal), 3),
        "PM FPU UTIL (%)": round(100 * device["math_utilization"], 3),
        "NOC UTIL (%)": round(100 * device["noc_utilization"], 3),
        "MULTICAST NOC UTIL (%)": 0,
        "DRAM BW UTIL (%)": round(100 * device["dram_utilization"], 3),
        "DRAM BW UTIL PER CTRL (%)": "; ".join(f"{share:.1f}" for share in banks),
        "ETH BW UTIL (%)": 0,
        "Avg SFPU util on full grid (%)": round(device["sfpu_cycles"] * of_grid, 3),
        "Avg FPU util on full grid (%)": round(device["fpu_cycles"] * of_grid, 3),
        "Avg Math util on full grid (%)": round(device["math_cycles"] * of_grid, 3),
    }
