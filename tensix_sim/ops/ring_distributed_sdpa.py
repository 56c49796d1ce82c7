"""Ring-distributed SDPA: what one device of the ring holds in memory, and the program that it runs.

Device r computes query slabs r and 2R-1-r, in two phases, against the full K and V, which every device holds.
No data moves between the devices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.formats import TILE, Format, to_format
from tensix_sim.kernels import sdpa
from tensix_sim.ops.geometry import Geometry
from tensix_sim.program import ComputeConfig, Kernel, Memory, Program, Tensor, Values


@dataclass(frozen=True)
class Inputs:
    """Unquantised q [B, NQH, S, DH], k and v [B, NKH, Sk, DH], and the page table [B, pages] where K and V are paged."""

    q: Values
    k: Values
    v: Values
    page_table: NDArray[np.int32] | None


def make_inputs(spec: RunSpec) -> Inputs:
    """The run's inputs, from its files or from its seed.

    With a prefix, Q is the last `seq_len` rows of what a dense run over prefix and new tokens would draw.
    """
    given = spec.inputs
    prefix = spec.prefix
    if given.q and given.k and given.v:
        q, k, v = (np.ascontiguousarray(np.load(path), np.float32) for path in (given.q, given.k, given.v))
    else:
        rng = np.random.default_rng(given.seed)
        total = prefix + given.seq_len
        heads = (given.q_heads, given.kv_heads, given.kv_heads)
        q, k, v = (_draw(rng, (given.batch, n, total, given.head_dim), given.outliers) for n in heads)
        q = np.ascontiguousarray(q[:, :, prefix:])
    return Inputs(q, k, v, page_table(spec))


def _draw(rng: np.random.Generator, shape: tuple[int, ...], outliers: float) -> Values:
    """N(0, 1), and N(0, 10) added to a fraction `outliers` of the elements."""
    values = rng.standard_normal(shape, np.float32)
    if outliers:
        struck = rng.random(shape, np.float32) < outliers
        values[struck] += 10 * rng.standard_normal(int(struck.sum()), np.float32)
    return values


def page_table(spec: RunSpec) -> NDArray[np.int32] | None:
    """Block of each page of each batch [B, pages], or None where K and V are dense."""
    if spec.paged_kv is None or spec.chunk_start_idx is None:
        return None
    pages = (spec.prefix + spec.inputs.seq_len) // spec.paged_kv.block_size
    if path := spec.paged_kv.page_table_file:
        return np.asarray(np.load(path)[:, :pages], np.int32)
    batch = spec.inputs.batch
    blocks = np.arange(batch * pages, dtype=np.int32)
    if spec.paged_kv.page_table == "shuffled":
        blocks = np.random.default_rng(spec.inputs.seed + 1).permutation(blocks)
    return blocks.reshape(batch, pages)


def build(spec: RunSpec, g: Geometry, machine: Machine, ring_id: int, inputs: Inputs | None) -> Program:
    """The program of device `ring_id`; without inputs, its tensors have shapes only.

    Its last tensor is the output, [B * NQH * S / R, DH].
    """
    fmt = g.format
    paged = page_table(spec) if inputs is None else inputs.page_table
    q = _tensor("Q", g.B * g.NQH * g.R * 2 * g.Sqt, g.D, fmt, inputs.q if inputs else None)
    k = _key_or_value("K", g, fmt, g.D, inputs.k if inputs else None, paged)
    v = _key_or_value("V", g, fmt, g.E, inputs.v if inputs else None, paged)
    out_rows = g.B * g.NQH * 2 * g.Sqt
    blank = None if inputs is None else np.full((out_rows * TILE, g.E * TILE), np.nan, np.float32)
    memory: Memory = "dram" if spec.memory_config == "dram_interleaved" else "l1"
    out = Tensor("output", out_rows, g.E, fmt, memory, blank, output=True)
    tensors = [q, k, v]
    table = None
    if paged is not None:
        stick = next(buffer.format for buffer in g.buffers if buffer.name == "page_table")
        table = Tensor("page table", g.B, 1, stick, opaque=True)
        tensors.append(table)
    shared = {
        "q": q, "k": k, "v": v, "out": out, "page_table": table,
        "pages": [] if paged is None else paged.tolist(), "block_rows": g.block_rows,
        "NQH": g.NQH, "NKH": g.NKH, "q_rows": g.R * 2 * g.Sqt, "kv_rows": g.valid_Skt, "out_rows": 2 * g.Sqt,
        "M": g.M, "N": g.N, "D": g.D, "E": g.E, "q_chunks": g.nq, "Skt": g.Skt,
        "qk_subblock": g.qk_subblock, "pv_subblock": g.pv_subblock,
        "stats": g.stats, "sub_exp": g.sub_exp, "dht": g.dht, "reduce": g.reduce, "stamps": g.dst,
        "scale": g.scale, "barrier": g.barrier_threshold(fmt.tile_bytes),
        "phases": phases(g, ring_id),
    }  # fmt: skip
    args = [sdpa.Args(**shared, start=g.start(i), count=g.count(i)) for i in range(g.cores)]
    return Program(
        grid=g.grid,
        buffers=g.buffers,
        kernels=(Kernel("reader", sdpa.reader, args), Kernel("compute", sdpa.compute, args), Kernel("writer", sdpa.writer, args)),
        tensors=(*tensors, out),
        compute=compute_config(spec),
    )


def phases(g: Geometry, ring_id: int) -> tuple[sdpa.Phase, ...]:
    """The two slabs of a device: one from the front of the sequence, its mirror image from the back."""
    return tuple(
        sdpa.Phase(offset, rows.start // TILE, i * g.Sqt)
        for i, (offset, rows) in enumerate(zip(g.q_offsets(ring_id), slabs(g, ring_id), strict=True))
    )


def compute_config(spec: RunSpec) -> ComputeConfig:
    """The part of the compute-kernel config that the kernels use."""
    config = spec.effective_compute_config
    return ComputeConfig(config.math_fidelity, config.fp32_dest_acc_en, config.math_approx_mode)


def _tensor(name: str, rows: int, cols: int, fmt: Format, values: Values | None) -> Tensor:
    if values is None:
        return Tensor(name, rows, cols, fmt)
    return Tensor(name, rows, cols, fmt, values=to_format(values.reshape(rows * TILE, cols * TILE), fmt))


def _key_or_value(
    name: str, g: Geometry, fmt: Format, cols: int, values: Values | None, paged: NDArray[np.int32] | None
) -> Tensor:
    if paged is None:
        return _tensor(name, g.B * g.NKH * g.valid_Skt, cols, fmt, values)
    blocks = max(paged.size, int(paged.max()) + 1)
    if values is None:
        return _tensor(name, blocks * g.NKH * g.block_rows, cols, fmt, None)
    size = g.block_rows * TILE
    cache = np.zeros((blocks, g.NKH, size, cols * TILE), np.float32)
    cache[paged] = values.reshape(g.B, g.NKH, -1, size, cols * TILE).swapaxes(1, 2)
    return _tensor(name, blocks * g.NKH * g.block_rows, cols, fmt, cache)


def slabs(g: Geometry, ring_id: int) -> tuple[slice, slice]:
    """Rows of the whole sequence that the two halves of a device's output hold."""
    first, second = ring_id, 2 * g.R - 1 - ring_id
    return slice(first * g.Sc, (first + 1) * g.Sc), slice(second * g.Sc, (second + 1) * g.Sc)
