"""The folder that ttnn-visualizer opens: `profiler/db.sqlite`, `performance/` with the profiler's two files, NPE's timelines.

The database has the op, its tensors, its circular buffers as captured-graph nodes, and each device's L1. Addresses of
tensors in DRAM are laid out one after the other: the simulator places pages in banks and gives them no address.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from tensix_sim.doctor.records import L1Buffer
from tensix_sim.emit import device_log, npe, perf_results
from tensix_sim.emit.run import Emission, host_id
from tensix_sim.files import atomic_path, write_text
from tensix_sim.formats import FORMATS, TILE
from tensix_sim.logged import OpTensor, attributes, tensors
from tensix_sim.sdpa.op import Op
from tensix_sim.trace.folder import MARK

OPERATION = 1
MANIFEST = "manifest.json"
DRAM, L1 = 0, 1
# Tables and columns of ttnn's report database
TABLES = {
    "devices": (
        "device_id int, num_y_cores int, num_x_cores int, num_y_compute_cores int, num_x_compute_cores int, worker_l1_size int, "
        "l1_num_banks int, l1_bank_size int, address_at_first_l1_bank int, address_at_first_l1_cb_buffer int, "
        "num_banks_per_storage_core int, num_compute_cores int, num_storage_cores int, total_l1_memory int, "
        "total_l1_for_tensors int, total_l1_for_interleaved_buffers int, total_l1_for_sharded_buffers int, cb_limit int"
    ),
    "operations": "operation_id int UNIQUE, name text, duration float",
    "operation_arguments": "operation_id int, name text, value text",
    "tensors": (
        "tensor_id int UNIQUE, shape text, dtype text, layout text, memory_config text, device_id int, address int, "
        "buffer_type int"
    ),
    "device_tensors": "tensor_id int, device_id int, address int",
    "buffers": (
        "operation_id int, device_id int, address int, max_size_per_bank int, buffer_type int, buffer_layout int"
    ),
    "buffer_pages": (
        "operation_id int, device_id int, address int, core_y int, core_x int, bank_id int, page_index int, page_address int, "
        "page_size int, buffer_type int"
    ),
    "captured_graph": "operation_id int, captured_graph text",
    "nodes": "operation_id int, unique_id int, node_operation_id int, name text",
    "edges": (
        "operation_id int, source_unique_id int, sink_unique_id int, source_output_index int, sink_input_index int, key int"
    ),
    "report_metadata": "key text UNIQUE, value text",
    "errors": (
        "operation_id int, operation_name text, error_type text, error_message text, stack_trace text, timestamp text"
    ),
    "stack_traces": "operation_id int, stack_trace text",
    "input_tensors": "operation_id int, input_index int, tensor_id int",
    "output_tensors": "operation_id int, output_index int, tensor_id int",
    "local_tensor_comparison_records": (
        "tensor_id int, golden_tensor_id int, matches int, desired_pcc float, actual_pcc float"
    ),
    "global_tensor_comparison_records": (
        "tensor_id int, golden_tensor_id int, matches int, desired_pcc float, actual_pcc float"
    ),
}  # fmt: skip


def write(emission: Emission, folder: Path, results: str) -> list[Path]:
    """Write the folder; with `trace: transfers` a timeline for each device, too. `results` names the file of results."""
    profiler, performance = folder / "profiler", folder / "performance"
    for part in (profiler, performance):
        part.mkdir(parents=True, exist_ok=True)
    written = [
        _write_database(emission, profiler / "db.sqlite"),
        _write_cluster(emission, profiler / "cluster_descriptor.yaml"),
        device_log.write(emission, performance / "profile_log_device.csv"),
        perf_results.write(emission, performance / results),
    ]
    timelines = performance / "npe_viz"
    if emission.job.spec.trace == "transfers":
        return written + _write_timelines(emission, timelines)
    (timelines / MANIFEST).unlink(missing_ok=True)  # of another run, whose timelines would pass for this one's
    return written


def _write_cluster(emission: Emission, path: Path) -> Path:
    """The chips of the run in a row, as ring positions, and the links between neighbours; channels are numbered as they come."""
    rings, links = [device["ring_id"] for device, _ in emission.devices], emission.job.machine.links_per_neighbour
    neighbours = [
        (a, (a + 1) % emission.job.geometry.R) for a in rings if (a + 1) % emission.job.geometry.R in rings and len(rings) > 1
    ]
    described = {
        "arch": dict.fromkeys(rings, emission.job.machine.chip.name),
        "chips": {ring_id: [ring_id, 0, 0, 0] for ring_id in rings},
        "chips_with_mmio": [],
        "ethernet_connections": [
            [{"chip": a, "chan": link}, {"chip": b, "chan": links + link}] for a, b in neighbours for link in range(links)
        ],
    }
    return write_text(path, f"# {MARK} {emission.run.id}\n{yaml.safe_dump(described)}")


def _write_timelines(emission: Emission, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    written, manifest = [], []
    for device, trace in emission.devices:
        call = host_id(device["ring_id"])
        name = f"{emission.op_code}_ID{call}.json"
        written.append(npe.write_timeline(emission, device, trace, folder / name))
        manifest.append({"global_call_count": call, "file": name})
    return [*written, write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")]


def _write_database(emission: Emission, path: Path) -> Path:
    with atomic_path(path) as target, closing(sqlite3.connect(target)) as database, database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} ({columns})")
        for table, row in _rows(emission):
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    return path


def _rows(emission: Emission) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(table, row) of all that is known of the op."""
    slowest = max(device["cycles"] for device, _ in emission.devices)
    yield "operations", (OPERATION, emission.op_code, emission.ns(slowest) / 1e9)
    for name, value in attributes(emission.job).items():
        yield "operation_arguments", (OPERATION, name, value)
    yield "report_metadata", ("schema_version", "1")
    yield "report_metadata", (MARK, emission.run.id)
    rings = [device["ring_id"] for device, _ in emission.devices]
    for ring_id in rings:
        yield "devices", _device(emission, ring_id)
    inputs, output = tensors(emission.job)
    dram_end = 0
    for i, tensor in enumerate([*inputs, output]):
        size, in_dram = _bytes_per_bank(emission, tensor), "DRAM" in tensor.memory
        address, kind = (dram_end, DRAM) if in_dram else (emission.job.machine.chip.l1.size - size, L1)
        about = str(list(tensor.shape)), f"DataType.{tensor.dtype}", "Layout.TILE", _memory(in_dram)
        yield "tensors", (i, *about, rings[0], address, kind)
        yield ("output_tensors", (OPERATION, 0, i)) if tensor is output else ("input_tensors", (OPERATION, i, i))
        for ring_id in rings:
            yield "device_tensors", (i, ring_id, address)
            yield "buffers", (OPERATION, ring_id, address, size, kind, 0)
        dram_end += size if in_dram else 0
    yield "captured_graph", (OPERATION, json.dumps(_graph(emission, rings)))
    yield "nodes", (OPERATION, 1, OPERATION, emission.op_code)


def _device(emission: Emission, ring_id: int) -> tuple[int, ...]:
    machine, chip = emission.job.machine, emission.job.machine.chip
    cores, free = machine.cores, chip.l1.size - chip.l1.base
    return (
        ring_id, chip.noc.rows, chip.noc.columns, machine.grid[1], machine.grid[0], chip.l1.size, cores, free, chip.l1.base,
        chip.l1.base, 1, cores, 0, chip.l1.size * cores, free * cores, free * cores, free * cores, free,
    )  # fmt: skip


def _memory(in_dram: bool) -> str:
    kind = "DRAM" if in_dram else "L1"
    return f"MemoryConfig(memory_layout=TensorMemoryLayout::INTERLEAVED,buffer_type=BufferType::{kind},shard_spec=std::nullopt)"


def _bytes_per_bank(emission: Emission, tensor: OpTensor) -> int:
    """Bytes of the fullest bank, pages dealt out one by one."""
    chip, machine = emission.job.machine.chip, emission.job.machine
    w, z, y, x = tensor.shape
    pages = w * z * -(-y // TILE) * (x // TILE)
    banks = chip.dram.banks if "DRAM" in tensor.memory else machine.cores
    return -(-pages // banks) * FORMATS[tensor.dtype.lower()].tile_bytes


def _graph(emission: Emission, rings: list[int]) -> list[dict[str, Any]]:
    """The captured graph: the op between its start and end, with its circular buffers on each device."""
    columns, rows = emission.job.geometry.grid
    cores = f"{{[(x=0,y=0) - (x={columns - 1},y={rows - 1})]}}"
    l1 = L1Buffer.table(emission.job.geometry.buffers, emission.job.machine.chip.l1.base + Op.of(emission.job.spec).l1_more)
    buffers = [
        ("circular_buffer_allocate", {
            "address": str(b.address), "size": str(b.bytes), "core_range_set": cores, "device_id": str(ring_id),
            "globally_allocated": "0",
        })
        for ring_id in rings
        for b in l1
    ]  # fmt: skip
    op, inputs = {"name": emission.op_code}, str(len(tensors(emission.job)[0]))
    steps: list[tuple[str, dict[str, str]]] = [
        ("capture_start", {}), ("function_start", op | {"inputs": inputs}), *buffers, ("function_end", op),
        ("capture_end", {}),
    ]  # fmt: skip
    last = len(steps) - 1
    return [
        {"counter": i, "node_type": kind, "params": params, "connections": [i + 1] if i < last else [], "stacking_level": 1}
        for i, (kind, params) in enumerate(steps)
    ]
