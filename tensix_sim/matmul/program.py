"""The programs of a product: tensors, and what each core's kernels are given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensix_sim.arch.model import Coord
from tensix_sim.formats import FORMATS, TILE, Values, to_format
from tensix_sim.kernels.matmul import multi_core
from tensix_sim.kernels.matmul.args import MoverArgs, Operand, Way
from tensix_sim.kernels.matmul.compute import compute
from tensix_sim.kernels.matmul.in0 import in0
from tensix_sim.kernels.matmul.in1 import in1
from tensix_sim.matmul.geometry import MatmulGeometry
from tensix_sim.program import IDLE, ComputeConfig, Kernel, Program, Tensor

SEMAPHORES = ("in0 ready", "in0 valid", "in1 ready", "in1 valid")


def program(g: MatmulGeometry, a: Values | None = None, b: Values | None = None, bias: Values | None = None) -> Program:
    """The program of a legal geometry; A [batch, m, k], B [b_batch, k, n] and the bias [n] as they are stored, or none."""
    operands = _operands(g, a, b, bias)
    tensors = tuple(operand.tensor for operand in operands.values())
    c = g.spec.compute
    config = ComputeConfig(c.math_fidelity, c.fp32_dest_acc_en, c.math_approx_mode, g.spec.numerics == "exact")
    gx, gy = g.config.compute_with_storage_grid_size
    if g.config.kind == "multi_core":
        args: Sequence[Any] = _tile_args(g, operands)
        kernels = tuple(Kernel(role, getattr(multi_core, role), args) for role in ("reader", "compute", "writer"))
        return Program((gx, gy), g.buffers, kernels, tensors, config, reserved_l1=g.spec.l1_tensor_bytes)
    columns, rows = (max(core[axis] for core in g.shares) + 1 for axis in (0, 1))
    cores = [(x, y) for y in range(rows) for x in range(columns)]
    movers = [_mover_args(g, operands, core) if core in g.shares else IDLE for core in cores]
    computes = [g.compute_args(g.shares[core]) if core in g.shares else IDLE for core in cores]
    in0_nocs, in1_nocs = zip(*(nocs(g, core) for core in cores), strict=True)
    kernels = (
        Kernel("reader", in0, movers, in0_nocs),
        Kernel("compute", compute, computes),
        Kernel("writer", in1, movers, in1_nocs),
    )
    return Program((columns, rows), g.buffers, kernels, tensors, config, SEMAPHORES, g.spec.l1_tensor_bytes)


def nocs(g: MatmulGeometry, core: Coord) -> tuple[int, int]:
    """NoCs of a core for A, and for B and C: 1 and 0, but for receivers in the far half of a 2-D grid."""
    swapped = g.config.kind == "2d" and g.across > 2 and g.down > 1 and core[0] > g.across // 2 and core[1] > 0
    return (0, 1) if swapped else (1, 0)


def ways(g: MatmulGeometry, core: Coord) -> tuple[Way, Way]:
    """How a core comes by A and by B."""
    cores, kind = list(g.shares), g.config.kind
    if kind == "reuse" or len(cores) == 1:
        return Way(), Way()
    if kind == "2d":
        row, column = [c for c in cores if c[1] == core[1]], [c for c in cores if c[0] == core[0]]
        return _way(core, row), _way(core, column)
    return (_way(core, cores), Way()) if g.config.mcast_in0 else (Way(), _way(core, cores))


def _way(core: Coord, cores: Sequence[Coord]) -> Way:
    """The first core sends to all others."""
    return Way(receivers=tuple(cores[1:])) if core == cores[0] else Way(sender=cores[0])


def _mover_args(g: MatmulGeometry, operands: dict[str, Operand], core: Coord) -> MoverArgs:
    a, b, c = (operands[name] for name in "abc")
    return MoverArgs(a, b, operands.get("bias"), c, g.block, g.shares[core], *ways(g, core))


def _tile_args(g: MatmulGeometry, operands: dict[str, Operand]) -> list[multi_core.TileArgs]:
    """Tiles of C in order, the first cores one more."""
    gx, gy = g.config.compute_with_storage_grid_size
    mt, _, nt = g.spec.tiles
    batches, cores = max(g.spec.batch, g.spec.b_batch), gx * gy
    tiles = [
        (batch % g.spec.batch, batch % g.spec.b_batch, batch, row, col)
        for batch in range(batches) for row in range(mt) for col in range(nt)
    ]  # fmt: skip
    bounds = [i * (len(tiles) // cores) + min(i, len(tiles) % cores) for i in range(cores + 1)]
    return [
        multi_core.TileArgs(operands["a"], operands["b"], operands["c"], tuple(tiles[bounds[i] : bounds[i + 1]]))
        for i in range(cores)
    ]


# -- tensors ---------------------------------------------------------------------------------------------------------


def _operands(g: MatmulGeometry, a: Values | None, b: Values | None, bias: Values | None) -> dict[str, Operand]:
    """A, B, C and maybe the bias; as the kernels see them, with the batches of A folded into its rows where they are one."""
    spec = g.spec
    (mt, kt, nt), formats = spec.tiles, spec.formats
    c_batch = max(spec.batch, spec.b_batch)
    c_values = None if a is None else np.full((c_batch * mt * TILE, nt * TILE), np.nan, np.float32)
    folded = g.rows // mt
    stored_a, stored_b = ((kt, mt) if spec.transpose_a else (mt, kt)), ((nt, kt) if spec.transpose_b else (kt, nt))
    operands = {
        "a": Operand(
            _tensor("in0", a, spec.batch, stored_a, formats[0].name, spec.in0_memory), folded * mt, kt, spec.transpose_a
        ),
        "b": Operand(_tensor("in1", b, spec.b_batch, stored_b, formats[1].name, spec.in1_memory), kt, nt, spec.transpose_b),
    }
    if spec.bias:
        row = None if bias is None else bias.reshape(1, 1, -1)
        operands["bias"] = Operand(_tensor("bias", row, 1, (1, nt), formats[1].name, spec.in1_memory), 1, nt, False)
    c = Tensor("out", c_batch * mt, nt, formats[2], spec.out_memory, c_values, output=True)
    return operands | {"c": Operand(c, folded * mt, nt, False)}


def _tensor(name: str, x: Values | None, batch: int, tiles: tuple[int, int], fmt: str, memory: Any) -> Tensor:
    """A tensor [batch, rows, columns], padded with zeros to whole tiles and rounded to its format."""
    rows, cols = tiles
    values = None
    if x is not None:
        whole = np.zeros((batch, rows * TILE, cols * TILE), np.float32)
        whole[:, : x.shape[1], : x.shape[2]] = x
        values = to_format(whole.reshape(-1, cols * TILE), FORMATS[fmt])
    return Tensor(name, batch * rows, cols, FORMATS[fmt], memory, values)
