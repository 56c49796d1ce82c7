"""A call of an attention op as a run: the spec that it makes, what its rules say in ttnn's words, and its result."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tensix_sim.formats import TILE
from tensix_sim.ttnn.beside import FLOATS, keys_of_mask, keys_of_sink, windows_of
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.session import SESSION, Call, Op
from tensix_sim.ttnn.tensor import Tensor
from tensix_sim.ttnn.types import (
    BufferType,
    DataType,
    Layout,
    MemoryConfig,
    SDPAProgramConfig,
    WormholeComputeKernelConfig,
    demand,
)
from tensix_sim.ttnn.values import Stored, once

if TYPE_CHECKING:
    from tensix_sim.config import RunSpec
    from tensix_sim.device import DeviceRun
    from tensix_sim.doctor.records import Violation
    from tensix_sim.job import Job


def attend(
    op_name: str,
    qkv: tuple[Tensor, Tensor, Tensor],
    page_table: Tensor | None,
    own: dict[str, Any],
    scale: float | None,
    memory_config: MemoryConfig | None,
    program_config: SDPAProgramConfig | None,
    compute_kernel_config: WormholeComputeKernelConfig | None,
    beside: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Run an attention op on every device of its tensors' mesh; equal work is simulated once.

    `beside` are the tensors that it takes beside Q, K, V and the page table, by their names.
    """
    from tensix_sim.device import run_device
    from tensix_sim.sdpa.inputs import RunNumbers, input_misfits
    from tensix_sim.sdpa.op import OPS

    op = OPS[op_name]
    name, q = op.ttnn_name, qkv[0]
    beside = beside or {}
    given = ({"page_table": page_table} if page_table else {}) | dict(beside)
    mesh = common_mesh(name, qkv, given)
    settings = SESSION.settings
    windows = beside.get("cu_window_seqlens")
    raw = own | {
        "op": op_name,
        "cu_window_seqlens": windows_of(name, windows, mesh) if windows else None,
        "board": mesh.board,
        "mesh": list(mesh.shape) if op.ring and own["ring_id"] is None else None,
        "inputs": shapes(name, qkv, page_table, own.get("chunk_start_idx") or 0) | _keys_beside(name, mesh, qkv, beside),
        "scale": scale,
        "memory_config": memory_config.spec_name if memory_config else "dram_interleaved",
        "program_config": program_config.as_spec() if program_config else None,
        "compute_kernel_config": compute_kernel_config.as_spec() if compute_kernel_config else None,
        "paged_kv": {"block_size": qkv[1].shape[2]} if page_table else None,
        "kernel": settings.kernel,
        "numerics": settings.numerics,
        "trace": settings.trace,
    }
    job = checked(name, raw)
    spec = job.spec
    tensors = *qkv, *given.values()
    mesh.programs.add(program_of_call(spec, tensors))

    held = [tuple(tensor.shards[i] for tensor in tensors) for i in range(len(mesh.ids))]
    work = [(position, *map(id, arrays)) for position, arrays in zip(_positions(mesh, spec), held, strict=True)]
    runs = {}
    for key, arrays in zip(work, held, strict=True):
        if key not in runs:
            inputs = _inputs(spec, qkv, arrays[:3], dict(zip(given, arrays[3:], strict=True)))
            if inputs and (wrong := input_misfits(spec, inputs)):
                raise RuntimeError(f"{name}: " + "; ".join(f"{what}: {said}" for what, said in wrong.items()))
            runs[key] = run_device(job, key[0], numbers=RunNumbers(inputs))
    by_device = [runs[key] for key in work]
    record_call(name, job, mesh, q.shape, by_device)
    shape = *q.shape[:2], q.shape[2] // (spec.ring_size if op.ring else 1), q.shape[3]
    shards = once(lambda output: Stored.of(output, q.dtype), [run.output for run in by_device])
    return Tensor.of(shards, shape, q.dtype, Layout.TILE, mesh, memory_config or MemoryConfig())


def checked(name: str, raw: dict[str, Any]) -> "Job":
    """A call, checked and resolved.

    Raises:
        RuntimeError: the call is illegal; lists every violation, as ttnn raises.
    """
    from tensix_sim.job import IllegalConfigError, Job

    try:
        job = Job.of({**raw, "machine": SESSION.settings.machine})
    except IllegalConfigError as error:
        raise RuntimeError(f"{name}: " + "; ".join(map(_in_words_of_ttnn, error.report.violations))) from error
    for advice in job.report.warnings:
        if advice.level == "warning" and advice.key.startswith("compute_kernel_config"):
            SESSION.note(f"{name}: {advice}")
    _say_which_kernel(job.spec)
    return job


KEYS = {  # of a spec, as the call says them
    "inputs.kv_dtype": "k.dtype", "inputs.k_dtype": "k.dtype", "inputs.v_dtype": "v.dtype",
    "inputs.dtype": "q.dtype", "inputs.batch": "q.shape[0]", "inputs.q_heads": "q.shape[1]",
    "inputs.seq_len": "q.shape[2]", "inputs.head_dim": "q.shape[3]", "inputs.kv_heads": "k.shape[1]",
    "inputs.kv_len": "k.shape[2]", "paged_kv.block_size": "k.shape[2]", "paged_kv.page_table": "page_table",
    "paged_kv": "page_table", "inputs.attn_mask": "attn_mask", "inputs.attn_mask_dtype": "attn_mask.dtype",
    "inputs.memory_config": "q.memory_config", "inputs.k_memory_config": "k.memory_config",
    "inputs.v_memory_config": "v.memory_config", "inputs.attention_sink": "attention_sink",
    "inputs.attention_sink_dtype": "attention_sink.dtype",
}  # fmt: skip
SAID_UPSTREAM = (  # how a rule begins here, and upstream's words, on which tests and sweeps match
    (r"a Q chunk is whole tiles of (\d+)", "q_chunk_size must be divisible by TILE_SIZE; q_chunk_size must be a multiple of {}"),
    (r"a K chunk is whole tiles of (\d+)", "k_chunk_size must be divisible by TILE_SIZE; k_chunk_size must be a multiple of {}"),
    (r"a K/V block is whole tiles of (\d+)", "page_block_size must be a multiple of {}"),
    (r"a row of a head is whole tiles of (\d+)", "Head dim must be a multiple of TILE_WIDTH"),
    (r"each K/V head serves equally many", "Q num_heads must be >= K num_heads and divisible by K num_heads"),
    (r"causal attention has a key", "Causal SDPA requires Q and K to have the same sequence length"),
    (
        r"a ring has an even number",
        "ring_size must be even for balanced distribution, and ring_size must be <= 32 for practical use",
    ),
    (r"positions on the ring are", "ring_id must be less than ring_size"),
    (r"two slabs a device", "Sequence length tiles must be at least 2*ring_size for ring distribution"),
    (r"a Q chunk is \d+ rows longer than a slab", "q_chunk_size must be less than or equal to per-device sequence length"),
    (r"a Q chunk leaves \d+ rows of a slab", "per-device sequence length must be divisible by q_chunk_size"),
    (r"a mask is for attention that is not causal", "is_causal and attn_mask cannot both be present"),
    (r"a prefix is whole ([QK]) chunks", "chunk_start_idx must be a multiple of {}_chunk_size"),
)
BUFFERS = r"circular buffers .* they end at ([\d,]+), .* beyond ([\d,]+),(?: above which lie (.*))?"


def _in_words_of_ttnn(violation: "Violation") -> str:
    """A broken rule: upstream's words first where tests match on them, then ours with the names that the call has."""
    ours = re.sub(r"[\w.]+", lambda key: KEYS.get(key[0], key[0]), violation.message).replace(" = 'random'", " is given")
    ours = ours.replace("k.shape[2] = None", "k.shape[2] = q.shape[2]")
    if found := re.match(BUFFERS, violation.rule):
        end, limit = (int(found[i].replace(",", "")) for i in (1, 2))
        size = limit + sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) B", found[3] or ""))
        beyond = f"grow to {end} B which is beyond max L1 size of {size} B"
        clash = f"clash with L1 buffers: they end at {end}, an L1 buffer lies at {limit}"
        return f"Statically allocated circular buffers {beyond if end > size else clash} ({ours})"
    for pattern, words in SAID_UPSTREAM:
        if found := re.match(pattern, violation.rule):
            return f"{words.format(*(one.lower() for one in found.groups()))} ({ours})"
    return ours


def program_of_call(spec: "RunSpec", tensors: tuple[Tensor, ...]) -> Any:
    """What tells programs apart: of a chunk's start only the ring op, which has no hash of its own, has the value."""
    from tensix_sim.sdpa.op import Op

    start = set() if Op.of(spec).ring else {"chunk_start_idx"}
    shapes = ((tensor.shape, tensor.dtype) for tensor in tensors)
    return spec.model_dump_json(exclude={"numerics", "trace", *start}), *shapes


def record_call(name: str, job: "Job", mesh: MeshDevice, shape: Sequence[int], by_device: "Sequence[DeviceRun]") -> None:
    """Enter a call into the session: a line a device, and the trace of each ring position."""
    from tensix_sim.logged import attributes, tensors
    from tensix_sim.simulation import Result
    from tensix_sim.trust import BOUND_BY, trust
    from tensix_sim.walls import binds

    number, sizes = SESSION.number(), "x".join(map(str, shape))
    SESSION.simulated += len({id(run) for run in by_device})
    for device, run in zip(mesh.ids, by_device, strict=True):
        figures, accuracy = run.device, run.device.accuracy
        pcc, rel_l2, suspect = (accuracy.pcc, accuracy.rel_l2, accuracy.suspect) if accuracy else (None, None, False)
        ring_id = figures.ring_id if job.op.ring else None
        took, bound = (figures.cycles, figures.duration_us), BOUND_BY[binds(figures.model_dump(exclude={"accuracy"}))]
        SESSION.enter(Call(name, number, device, ring_id, sizes, *took, pcc, rel_l2, suspect, bound))
        if accuracy and (suspicion := accuracy.suspicion(device)):
            SESSION.note(f"{name}: {suspicion}")
    slowest = max(by_device, key=lambda run: run.device.cycles).device
    trusted = trust(job.spec, slowest.model_dump())
    fidelity = job.spec.effective_compute_config.math_fidelity
    SESSION.ops[number] = Op(*tensors(job), job.geometry.cores, fidelity, attributes(job), job.op.codes[0], trust=trusted)
    SESSION.note(trusted.text)
    if slowest.accuracy and slowest.accuracy.sampled:
        SESSION.note("PCC and relative L2 of long calls are of 32 rows of each Q chunk")
    if job.spec.trace != "off":
        distinct = {run.device.ring_id: run for run in reversed(by_device)}
        result = Result(job, [run for _, run in sorted(distinct.items())])
        SESSION.runs.append((name, number, result.as_run()))


def _say_which_kernel(spec: "RunSpec") -> None:
    """Note it once where ops of a session use different compute kernels, whose roundings differ."""
    from tensix_sim.sdpa.op import Op, compute_kernel

    used = SESSION.kernels
    used.setdefault(compute_kernel(spec).name, Op.of(spec).ttnn_name)
    if len(used) > 1:
        SESSION.note(
            f"{used['legacy']} ran the legacy compute kernel and {used['streaming']} the streaming one, as in ttnn: their "
            "results agree in all but roundings; with the setting kernel: legacy they agree to the bit"
        )


def common_mesh(op: str, qkv: tuple[Tensor, Tensor, Tensor], given: Mapping[str, Tensor]) -> MeshDevice:
    """The mesh that holds all tensors, which are as the op needs them."""
    mesh = qkv[0].device()
    for what, tensor in zip("qkv", qkv, strict=True):
        tensor.need(op)
        demand(
            f"{op}: {what}",
            (tensor.device(), "is on the host; Operands to SDPA need to be on device"),
            (len(tensor.shape) == 4, f"has {len(tensor.shape)} dimensions; [batch, heads, rows, head_dim] are needed"),
            (tensor.layout is Layout.TILE, "is in row-major layout; Inputs to SDPA must be tilized"),
            (tensor.dtype in FLOATS, f"is {tensor.dtype.value}; bfloat16, bfloat8_b or bfloat4_b is needed"),
            (not tensor.is_sharded(), "is sharded; Operands to SDPA need to be DRAM/L1 interleaved"),
        )
    assert mesh is not None
    if page_table := given.get("page_table"):
        page_table.need(op)
        sizes = f"{page_table.dtype.value} {list(page_table.shape)}"
        demand(
            f"{op}: the page table is",
            (page_table.device(), "on the host; put it on a device"),
            (page_table.dtype is DataType.INT32 and len(page_table.shape) == 2, f"{sizes}; int32 [batch, pages] is needed"),
            (page_table.layout is Layout.ROW_MAJOR, "in tile layout; row-major layout is needed"),
        )
    for tensor in (*qkv, *given.values()):
        if len(tensor.shards) != len(mesh.ids):
            raise RuntimeError(f"{op}: a tensor has {len(tensor.shards)} shards; the mesh has {len(mesh.ids)} devices")
    return mesh


def shapes(op: str, qkv: tuple[Tensor, Tensor, Tensor], page_table: Tensor | None, prefix: int) -> dict[str, Any]:
    """The inputs of a run spec."""
    q, k, v = qkv
    batch, heads, rows, width = q.shape
    demand(
        f"{op}:",
        (k.shape == v.shape, f"k is {list(k.shape)} and v {list(v.shape)}; their shapes must agree"),
        (k.shape[3] == width, f"rows of k have {k.shape[3]} elements, those of q {width}; they must agree"),
        (page_table or k.shape[0] == batch, f"q has {batch} batches, k {k.shape[0]}; they must agree"),
    )
    keys = prefix + rows if page_table else k.shape[2]
    if page_table:
        table_rows, pages = page_table.shape
        needed = -(-keys // k.shape[2])
        blocks = f"{prefix} + {rows} rows in blocks of {k.shape[2]} need {needed}"
        demand(
            f"{op}: the page table has",
            (table_rows == batch, f"{table_rows} rows; each of {batch} batches needs one"),
            (pages >= needed, f"{pages} pages a row; {blocks}"),
        )
    places = [f"{'l1' if tensor.memory_config().buffer_type is BufferType.L1 else 'dram'}_interleaved" for tensor in qkv]
    inputs: dict[str, Any] = {
        "memory_config": places[0],
        "batch": batch, "q_heads": heads, "kv_heads": k.shape[1], "seq_len": rows, "head_dim": width, "dtype": q.dtype.value,
    }  # fmt: skip
    if keys != prefix + rows:
        inputs["kv_len"] = keys
    inputs |= {
        key: place for key, place in zip(("k_memory_config", "v_memory_config"), places[1:], strict=True) if place != places[0]
    }
    for name, dtype in (("k_dtype", k.dtype), ("v_dtype", v.dtype)) if k.dtype is not v.dtype else (("kv_dtype", k.dtype),):
        if dtype is not q.dtype:
            inputs[name] = dtype.value
    return inputs


def _positions(mesh: MeshDevice, spec: "RunSpec") -> list[int]:
    """The ring position of each device, row by row: as given, or its place along the axis that is as long as the ring."""
    from tensix_sim.sdpa.op import Op

    rows, columns = mesh.shape
    if not Op.of(spec).ring:
        return [0] * len(mesh.ids)
    if spec.ring_id is not None:
        return [spec.ring_id] * len(mesh.ids)
    by_row = rows == spec.ring_size
    return [i if by_row else j for i in range(rows) for j in range(columns)]


def _keys_beside(op: str, mesh: MeshDevice, qkv: tuple[Tensor, Tensor, Tensor], beside: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a run spec's inputs say of the tensors beside Q, K and V."""
    found: dict[str, Any] = {}
    if mask := beside.get("attn_mask"):
        found |= keys_of_mask(op, mask, mesh, *qkv[:2])
        SESSION.note(f"{op}: attn_mask is divided by the scale first, by an op of its own, whose cycles are not modelled")
        if qkv[1].shape[2] % TILE:
            SESSION.note(
                f"{op}: attn_mask hides the keys in K's last tile that are padding; ttnn takes what the mask's own padding has"
            )
    if sink := beside.get("attention_sink"):
        found |= keys_of_sink(op, sink, mesh, qkv[0])
    return found


Held = Stored | None


def _inputs(spec: "RunSpec", qkv: tuple[Tensor, Tensor, Tensor], held: tuple[Held, ...], beside: Mapping[str, Held]) -> Any:
    """A device's values, K and V in sequence order, and those of the tensors beside them."""
    from tensix_sim.sdpa.inputs import InputValues, window_mask

    q, k, v = held
    keys = spec.kv_len
    empty = np.empty(0, np.float32)
    if (pages := beside.get("page_table")) is None:
        if q is None or k is None or v is None:
            return None
        given = {what: one.values() for what, one in beside.items() if one is not None}
        mask, windows = given.get("attn_mask"), spec.cu_window_seqlens
        mask = window_mask(windows) if windows else None if mask is None else mask[:, :, : q.shape[2], : k.shape[2]]
        return InputValues(q.values(), k.values(), v.values(), None, mask, given.get("attention_sink"))
    block = qkv[1].shape[2]
    table = np.ascontiguousarray(pages.values()[:, : -(-keys // block)], np.int32)
    if table.min() < 0 or table.max() >= qkv[1].shape[0]:
        bad = int(table.min() if table.min() < 0 else table.max())
        raise RuntimeError(f"the page table names block {bad}; the cache has blocks 0 to {qkv[1].shape[0] - 1}")
    if q is None or k is None or v is None:
        return InputValues(empty, empty, empty, table)
    return InputValues(q.values(), _in_order(k, table, keys), _in_order(v, table, keys), table)


def _in_order(cache: Stored, table: NDArray[np.int32], keys: int) -> NDArray[np.float32]:
    """Rows of a paged cache [blocks, heads, block, width] in sequence order, [batch, heads, keys, width]."""
    _, heads, _, width = cache.shape
    batch = table.shape[0]
    rows: NDArray[np.float32] = cache.blocks(table).swapaxes(1, 2).reshape(batch, heads, -1, width)[:, :, :keys]
    return rows
