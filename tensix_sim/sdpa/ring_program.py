"""The programs of all devices of a joint ring: attention on compute cores, and beside it the gather of K and V.

In memory a device has its slices of Q, K and V; persistent buffers, where the slices of others land at their places; the output,
which holds what is running of Q chunks until they are finished; their maxima and sums; and the joint rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tensix_sim.arch import Machine
from tensix_sim.config import RunSpec
from tensix_sim.formats import BFLOAT16, TILE, Values
from tensix_sim.hw.ethernet import BACKWARD, FORWARD, packets_in_a_run
from tensix_sim.kernels import sdpa
from tensix_sim.kernels.sdpa import ring_joint
from tensix_sim.kernels.sdpa.mask import Mask
from tensix_sim.kernels.sdpa.ring_joint.args import CoreRow, GatherArgs, HeadShare, Iteration, KeyRows, RingArgs
from tensix_sim.kernels.sdpa.ring_joint.semaphores import SEMAPHORES, SLICES
from tensix_sim.program import IDLE, BufferSpec, Kernel, Program, Tensor
from tensix_sim.sdpa.chains import chain_links
from tensix_sim.sdpa.geometry import compute_config
from tensix_sim.sdpa.inputs import RunNumbers
from tensix_sim.sdpa.op import Op
from tensix_sim.sdpa.program import tensor
from tensix_sim.sdpa.ring_joint import RingGeometry, ring_order

PACKET_TILES = 2  # whatever the format
HELD = 8  # packets in a gather core's buffer
IN_FLIGHT = 4  # packets between two barriers


@dataclass(frozen=True)
class DeviceMemory:
    """A device's tensors."""

    q: Tensor
    k: Tensor
    v: Tensor
    gathered_k: Tensor
    gathered_v: Tensor
    out: Tensor
    statistics: Tensor
    joint: sdpa.Tensors | None

    @property
    def all(self) -> tuple[Tensor, ...]:
        """All of them, in one order on every device."""
        own = (self.q, self.k, self.v, self.gathered_k, self.gathered_v, self.out, self.statistics)
        return (*own, *(self.joint or ()))


def build(
    spec: RunSpec,
    g: RingGeometry,
    machine: Machine,
    ring_id: int,
    numbers: RunNumbers,
    only: int | None = None,
    attends: bool = True,
) -> Program:
    """The program of a device, whose compute cores, or all but `only` one, are idle where it does not attend.

    Raises:
        ValueError: the board has no room for the gather cores.
    """
    memory = _memory(spec, g, ring_id, numbers)
    args = _compute_args(spec, g, machine, ring_id, memory, only)
    grid = _bounds(g)
    core_of = {core: i for i, core in enumerate(g.core_places)}
    told = tuple(core for core, i in core_of.items() if attends and args[i] is not IDLE)
    gathers = dict(zip(g.gather_cores, _gather_args(g, ring_id, memory, told), strict=True))
    cores = [(x, y) for y in range(grid[1]) for x in range(grid[0])]
    computing = [args[core_of[core]] if attends and core in core_of else IDLE for core in cores]
    gathering = [gathers.get(core, IDLE) for core in cores]
    held = max(HELD * PACKET_TILES, 2 * _run_tiles(g))
    packets = BufferSpec("packets", held, g.blocks.k, "writer", "reader", cores=frozenset(gathers))
    compute = frozenset(core_of)
    return Program(
        grid=grid,
        buffers=(*(replace(buffer, cores=compute) for buffer in g.buffers), packets),
        kernels=(
            Kernel("reader", ring_joint.reader, computing),
            Kernel("compute", ring_joint.compute if g.blocks.streaming else ring_joint.legacy.compute, computing),
            Kernel("writer", ring_joint.writer if g.blocks.streaming else ring_joint.legacy_writer.writer, computing),
            Kernel("reader", ring_joint.gather_writer, gathering, ethernet=True),
            Kernel("writer", ring_joint.gather_reader, gathering),
        ),
        tensors=memory.all,
        compute=replace(compute_config(spec), ideal=numbers.ideal),
        semaphores=SEMAPHORES,
        reserved_l1=Op.of(spec).l1_more,
    )


def _bounds(g: RingGeometry) -> tuple[int, int]:
    """The least rectangle with compute and gather cores."""
    corners = [(g.grid[0] - 1, g.grid[1] - 1), *g.gather_cores]
    return max(x for x, _ in corners) + 1, max(y for _, y in corners) + 1


# -- memory ---------------------------------------------------------------------------------------------------------


def _memory(spec: RunSpec, g: RingGeometry, ring_id: int, numbers: RunNumbers) -> DeviceMemory:
    values = numbers.of(spec)
    heads, kv_heads, b = g.B * g.NQH, g.B * g.NKH, g.blocks
    rows = np.concatenate([np.arange(rows.start, rows.stop) for rows in g.slabs(ring_id)])  # of the sequence, in its order
    q, k, v = (None if values is None else getattr(values, name)[:, :, rows] for name in "qkv")

    def blank(rows: int, cols: int) -> Values | None:
        return None if values is None else np.full((rows * TILE, cols * TILE), np.nan, np.float32)

    all_rows, every = g.Sqt + g.Lt, g.R * g.Sqt
    columns = (2 if b.streaming else 1) * heads * all_rows
    joint = None
    if g.L:
        jq, jk, jv = (values and values.joint) or (None, None, None)
        joint = sdpa.Tensors(
            tensor("joint Q", heads, g.Lt, g.D, b.q, jq, numbers.quantised),
            tensor("joint K", kv_heads, g.Lt, g.D, b.k, jk, numbers.quantised),
            tensor("joint V", kv_heads, g.Lt, g.E, b.v, jv, numbers.quantised),
            Tensor("joint output", heads * g.Lt, g.E, BFLOAT16, values=blank(heads * g.Lt, g.E), output=True),
        )
    return DeviceMemory(
        tensor("Q", heads, g.Sqt, g.D, b.q, q, numbers.quantised),
        tensor("K", kv_heads, g.Sqt, g.D, b.k, k, numbers.quantised),
        tensor("V", kv_heads, g.Sqt, g.E, b.v, v, numbers.quantised),
        Tensor("gathered K", kv_heads * every, g.D, b.k, values=blank(kv_heads * every, g.D), output=True, scratch=True),
        Tensor("gathered V", kv_heads * every, g.E, b.v, values=blank(kv_heads * every, g.E), output=True, scratch=True),
        Tensor("output", heads * g.Sqt, g.E, BFLOAT16, values=blank(heads * g.Sqt, g.E), output=True),
        Tensor("statistics", columns, 1, BFLOAT16, values=blank(columns, 1), output=True, scratch=True),
        joint,
    )


# -- compute cores ---------------------------------------------------------------------------------------------------


def _compute_args(
    spec: RunSpec, g: RingGeometry, machine: Machine, ring_id: int, m: DeviceMemory, only: int | None
) -> list[RingArgs | object]:
    zigzag = Mask(g.M, g.N, g.Sc, g.balanced)
    phase = (sdpa.Phase(0, 0, 0),)

    def attention(tensors: sdpa.Tensors, rows: int, share: sdpa.Share) -> sdpa.Args:
        return sdpa.Args(
            tensors, None, sdpa.Chunk(g.M, g.N, g.D, g.E), sdpa.Heads(g.NQH, g.NKH, rows, rows, rows, g.nq), g.blocks.in_dst,
            zigzag, g.scale, g.exp_approx, g.barrier_threshold(g.blocks.q.tile_bytes), phase, share,
        )  # fmt: skip

    iterations = tuple(_iterations(g, ring_id, m))
    cores = g.core_places
    formed = g.chains if only is None else []
    links = chain_links(formed, "where_alone", cores, [machine.worker(core)[0] for core in cores])
    args: list[RingArgs | object] = []
    for i in range(g.cores):
        share = sdpa.Share(g.deal.start(i), g.deal.count(i), links[i])
        own = attention(sdpa.Tensors(m.q, m.k, m.v, m.out), g.Sqt, share)
        joint = attention(m.joint, g.Lt, share) if m.joint else None
        given = RingArgs(
            own,
            joint,
            iterations,
            g.local_chunks,
            g.causal,
            g.palette,
            g.bars,
            m.statistics,
            _row(g, i, cores) if only is None else None,
            not g.blocks.streaming,
        )
        args.append(given if only in (None, i) else IDLE)
    return args


def _row(g: RingGeometry, i: int, cores: Sequence[tuple[int, int]]) -> CoreRow | None:
    """Core `i`'s part in its row, where the cores of a row share K and V and any has a Q chunk."""
    if not g.shares_rows:
        return None
    reads, row, turns = g.row_of(i)
    others = tuple(cores[core] for core in row if core != reads)
    return CoreRow(None if i == reads else cores[reads], others if i == reads else (), turns) if turns else None


def _iterations(g: RingGeometry, ring_id: int, m: DeviceMemory) -> Iterator[Iteration]:
    """The slices as a device meets them."""
    waits = [wait for _, wait in ring_order(g.R, ring_id, g.topology == "line")]
    met = list(g.met(ring_id))
    active = [i for i, (_, masks, _) in enumerate(met) if masks]
    for i, ((s, masks, later), wait) in enumerate(zip(met, waits, strict=True)):
        sources = tuple(_key_rows(g, m, mask, s, s == ring_id, bool(g.keys_of(s)) and n == 0) for n, mask in enumerate(masks))
        awaited = None if wait is None else (SLICES[wait[0]], wait[1])
        yield Iteration(s, awaited, sources, later, i == active[0], i == active[-1])


def _key_rows(g: RingGeometry, m: DeviceMemory, mask: Mask, s: int, own: bool, local: bool) -> KeyRows:
    first_bar = 1 + g.causal
    if not local:
        assert m.joint is not None
        return KeyRows(m.joint.k, m.joint.v, g.Lt, 0, mask, first_bar + (g.n % TILE > 0))
    if own:
        return KeyRows(m.k, m.v, g.Sqt, 0, mask, first_bar)
    return KeyRows(m.gathered_k, m.gathered_v, g.R * g.Sqt, s * g.Sqt, mask, first_bar)


# -- gather cores ----------------------------------------------------------------------------------------------------


def slices_sent(g: RingGeometry, ring_id: int, step: int) -> tuple[list[int], int]:
    """The slices that a device sends in a direction, its own first, and how many come to it that way."""
    line = g.topology == "line"
    above = g.R - 1 - ring_id if line else (g.R - 1) // 2
    comes = above if step == BACKWARD else g.R - 1 - above  # what goes back comes from the devices after it
    sends = comes if not line else 1 + comes if 0 <= ring_id + step < g.R else 0
    return [(ring_id - step * k) % g.R for k in range(sends)], comes


def _gather_args(g: RingGeometry, ring_id: int, m: DeviceMemory, told: Sequence[tuple[int, int]]) -> Iterator[GatherArgs]:
    """Of each link the core that sends back, then the one that sends on, as the gather counts its directions."""
    for link in range(g.links):
        for step in (FORWARD, BACKWARD):
            slices, comes = slices_sent(g, ring_id, step)
            counts = SLICES[0] if step == BACKWARD else SLICES[1]
            counts_own = step == BACKWARD and link == 0 and comes > 0
            first, *others = g.gather_cores[step == BACKWARD :: 2]
            yield GatherArgs(
                step, link, tuple(tuple(_share(g, m, s, s == ring_id, link)) for s in slices), comes, PACKET_TILES,
                _run_tiles(g), IN_FLIGHT * PACKET_TILES, first, tuple(others), counts, tuple(told), counts_own,
            )  # fmt: skip


def _run_tiles(g: RingGeometry) -> int:
    packets = -(-g.B * g.NKH * g.Sqt * (g.D + g.E) // (g.links * PACKET_TILES))
    return PACKET_TILES * max(IN_FLIGHT, packets_in_a_run(packets))


def _share(g: RingGeometry, m: DeviceMemory, s: int, own: bool, link: int) -> Iterator[HeadShare]:
    """K of all heads, then V: a link's share of a slice."""
    for mine, gathered in ((m.k, m.gathered_k), (m.v, m.gathered_v)):
        pages = g.Sqt * mine.tile_cols
        each, more = divmod(pages, g.links)
        first, share = link * each + min(link, more), each + (link < more)
        for head in range(g.B * g.NKH):
            there = (head * g.R + s) * pages + first
            here = head * pages + first if own else there
            yield HeadShare(mine if own else gathered, here, gathered, there, share)
