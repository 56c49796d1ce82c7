"""What one device holds in memory, and the program that it runs: the same reader, compute and writer for every SDPA op.

No data moves between devices. In the ring device r computes query slabs r and 2R-1-r, in two phases, against the
full K and V, which every device holds.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.formats import TILE, Format, Values, to_format
from tensix_sim.kernels import sdpa
from tensix_sim.program import IDLE, Kernel, MemoryKind, Program, Tensor
from tensix_sim.sdpa.chains import chain_links
from tensix_sim.sdpa.geometry import Geometry, compute_config
from tensix_sim.sdpa.inputs import InputValues, RunNumbers, kernel_mask, page_table, sink_tiles
from tensix_sim.sdpa.op import compute_kernel


def build(spec: RunSpec, g: Geometry, machine: Machine, ring_id: int, numbers: RunNumbers, only: int | None = None) -> Program:
    """The program of device `ring_id`, of all cores or `only` one, the others idle. With numerics off, it has shapes only.

    Its output is [B * NQH * rows, DH], where a head's rows are the device's slabs, in whole tiles.
    """
    b = g.blocks
    inputs = numbers.of(spec)
    given = inputs or numbers.inputs
    paged = given.page_table if given else page_table(spec)
    q_rows, out_rows = g.R * g.phases * g.Sqt, g.phases * g.Sqt
    q = tensor("Q", g.B * g.NQH, q_rows, g.D, b.q, inputs.q if inputs else None, numbers.quantised)
    k = _key_or_value("K", g, b.k, g.D, inputs.k if inputs else None, paged, numbers.quantised)
    v = _key_or_value("V", g, b.v, g.E, inputs.v if inputs else None, paged, numbers.quantised)
    mask, sink = _mask(g, inputs), _sink(g, inputs)
    blank = None if inputs is None else np.full((g.B * g.NQH * out_rows * TILE, g.E * TILE), np.nan, np.float32)
    memory: MemoryKind = "dram" if g.output_in_dram else "l1"
    out = Tensor("output", g.B * g.NQH * out_rows, g.E, b.q, memory, blank, output=True)
    tensors = [x if in_dram else replace(x, memory="l1") for x, in_dram in zip((q, k, v), g.in_dram, strict=True)]
    q, k, v = tensors
    tensors += [given.tensor for given in (mask, sink) if given]
    pages = None
    if paged is not None:
        stick = next(buffer.format for buffer in g.buffers if buffer.name == "page_table")
        pages = Tensor("page table", g.B, 1, stick, opaque=True, words=paged.tolist())
        tensors.append(pages)
    start = Tensor("chunk start", 1, 1, g.start, opaque=True) if g.start else None
    windows = next((Tensor("windows", 1, 1, b.format, opaque=True) for b in g.buffers if b.name == "windows_reader"), None)
    tensors += [given for given in (start, windows) if given]
    paging = None if pages is None or paged is None else sdpa.Paging(pages, paged.shape[1], g.block_rows)
    shared = (
        sdpa.Tensors(q, k, v, out), paging, sdpa.Chunk(g.M, g.N, g.D, g.E),
        sdpa.Heads(g.NQH, g.NKH, q_rows, g.valid_Skt, out_rows, g.nq), b.in_dst, g.mask,
        g.scale, g.exp_approx, g.barrier_threshold(b.q.tile_bytes), phases(g, ring_id),
    )  # fmt: skip
    cores = g.core_places
    chains = g.chains if only is None else []
    links = chain_links(chains, g.what_if.chains, cores, [machine.worker(core)[0] for core in cores])
    shares = [sdpa.Share(g.deal.start(i), g.deal.count(i), links[i]) for i in range(g.cores)]
    args = [
        sdpa.Args(*shared, share, mask, sink, start, windows) if only in (None, i) else IDLE for i, share in enumerate(shares)
    ]
    return Program(
        grid=g.grid,
        buffers=g.buffers,
        kernels=(
            Kernel("reader", sdpa.reader, args),
            Kernel("compute", compute_kernel(spec).compute, args),
            Kernel("writer", sdpa.writer, args),
        ),
        tensors=(*tensors, out),
        compute=replace(compute_config(spec), ideal=numbers.ideal),
        semaphores=(sdpa.NEXT, sdpa.BEFORE) if g.chained else (),
    )


def phases(g: Geometry, ring_id: int) -> tuple[sdpa.Phase, ...]:
    """One for each slab of a device."""
    return tuple(
        sdpa.Phase(offset, rows.start // TILE, i * g.Sqt)
        for i, (offset, rows) in enumerate(zip(g.q_offsets(ring_id), g.slabs(ring_id), strict=True))
    )


def output_rows(g: Geometry, output: Values) -> Values:
    """A device's rows [B, NQH, phases * Sc, DH] of its output tensor, without the padding of the last tile."""
    return output.reshape(g.B, g.NQH, g.phases * g.Sqt * TILE, -1)[:, :, : g.phases * g.Sc]


def tensor(name: str, heads: int, rows: int, cols: int, fmt: Format, values: Values | None, quantised: bool = True) -> Tensor:
    """Heads of `rows` x `cols` tiles each; the last tile row is filled up with zeros."""
    if values is None:
        return Tensor(name, heads * rows, cols, fmt)
    values = values.reshape(heads, -1, cols * TILE)
    if missing := rows * TILE - values.shape[1]:
        values = np.pad(values, ((0, 0), (0, missing), (0, 0)))
    flat = values.reshape(-1, cols * TILE)
    return Tensor(name, heads * rows, cols, fmt, values=to_format(flat, fmt) if quantised else flat)


def _mask(g: Geometry, inputs: InputValues | None) -> sdpa.GivenMask | None:
    """The user's mask as the kernels get it: divided by the scale, with which they multiply scores and mask together."""
    if g.attn_mask is None:
        return None
    batches, heads = g.mask_heads
    tensor = Tensor("mask", batches * heads * g.Sqt, g.valid_Skt, g.attn_mask)
    if inputs is not None:
        assert inputs.attn_mask is not None
        values = kernel_mask(inputs.attn_mask, g.attn_mask, g.scale).reshape(-1, g.valid_Skt * TILE)
        tensor = replace(tensor, values=values)
    return sdpa.GivenMask(tensor, batches, heads, g.Sqt, 1 if g.blocks.streaming else g.M)


def _sink(g: Geometry, inputs: InputValues | None) -> sdpa.Sink | None:
    """The sinks of the heads, each all over a tile, of which the kernels take the first element."""
    if g.sink is None:
        return None
    tensor = Tensor("sink", g.NQH, 1, g.sink)
    if inputs is not None:
        assert inputs.sink is not None
        tensor = replace(tensor, values=sink_tiles(inputs.sink, g.sink).reshape(-1, TILE))
    return sdpa.Sink(tensor, 1 if g.blocks.streaming else g.M, each_chunk=g.blocks.streaming)


def _key_or_value(
    name: str, g: Geometry, fmt: Format, cols: int, values: Values | None, paged: NDArray[np.int32] | None, quantised: bool
) -> Tensor:
    if paged is None:
        return tensor(name, g.B * g.NKH, g.valid_Skt, cols, fmt, values, quantised)
    blocks = max(paged.size, int(paged.max()) + 1)
    if values is None:
        return tensor(name, blocks * g.NKH, g.block_rows, cols, fmt, None)
    size = g.block_rows * TILE
    cache = np.zeros((blocks, g.NKH, size, cols * TILE), np.float32)
    missing = paged.shape[1] * size - g.Sk
    whole = np.pad(values, ((0, 0), (0, 0), (0, missing), (0, 0))) if missing else values
    cache[paged] = whole.reshape(g.B, g.NKH, -1, size, cols * TILE).swapaxes(1, 2)
    return tensor(name, blocks * g.NKH, g.block_rows, cols, fmt, cache, quantised)
