"""What a product must obey, each rule a generator of faults; and the nearest legal values, found by trying.

Source: tt-metal `matmul_device_operation.cpp`, 001cea9a; that blocks divide the inner tiles is assumed by the programs there.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tensix_sim.arch import BOARDS
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.doctor.nearest import divisors
from tensix_sim.doctor.records import Violation
from tensix_sim.matmul.geometry import MatmulGeometry
from tensix_sim.matmul.spec import MatmulSpec
from tensix_sim.sdpa.keys import Change, Fault

C = "program_config."
GRID, INNER = f"{C}compute_with_storage_grid_size", f"{C}in0_block_w"
SUB_H, SUB_W, BLOCK_H, BLOCK_W = f"{C}out_subblock_h", f"{C}out_subblock_w", f"{C}out_block_h", f"{C}out_block_w"
CORE_M, CORE_N = f"{C}per_core_M", f"{C}per_core_N"
FUSED, MCAST_IN0, TRANSPOSED = f"{C}fuse_batch", f"{C}mcast_in0", f"{C}transpose_mcast"
FP32 = "compute_kernel_config.fp32_dest_acc_en"


def _value(spec: MatmulSpec, key: str) -> Any:
    """A value by its dotted key, of the config that is used where none is given."""
    value: Any = {"program_config": MatmulGeometry.of(spec).config, "compute_kernel_config": spec.compute}
    value = value | {name: getattr(spec, name) for name in type(spec).model_fields if name not in value}
    for name in key.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def _fault(g: MatmulGeometry, rule: str, *keys: str) -> Fault:
    return Fault({key: _value(g.spec, key) for key in keys}, rule)


def _config_or_core_grid(g: MatmulGeometry) -> Iterator[Fault]:
    if g.spec.core_grid and g.spec.program_config:
        yield _fault(g, "a core grid is for the op's own choice; with a program config leave it out", "core_grid")


def _grid_lies_on_the_board(g: MatmulGeometry) -> Iterator[Fault]:
    (x, y), (columns, rows) = g.config.compute_with_storage_grid_size, g.spec.on.grid
    if x > columns or y > rows:
        key = GRID if g.spec.program_config else "core_grid"
        yield _fault(g, f"a grid of {x}x{y}; {g.spec.board} has {columns}x{rows} cores", key, "board")


def _batches_go_together(g: MatmulGeometry) -> Iterator[Fault]:
    spec, c = g.spec, g.config
    if spec.b_batch == 1 or spec.batch == spec.b_batch:
        return
    if spec.batch > 1:
        yield _fault(g, f"{spec.batch} matrices A and {spec.b_batch} B: as many, or one B for all", "b_batch", "batch")
    elif c.kind != "multi_core" and (c.kind != "1d" or c.mcast_in0 or c.fuse_batch or spec.activation):
        rule = "one A for all B takes a 1-D config with fuse_batch and mcast_in0 off, and no activation"
        yield _fault(g, rule, "batch", "b_batch", f"{C}kind", MCAST_IN0, FUSED)


def _one_b_where_batches_are_fused(g: MatmulGeometry) -> Iterator[Fault]:
    spec = g.spec
    if g.fused and spec.b_batch > 1:
        yield _fault(g, "fused batches of A are one matrix, and take one B", FUSED, "b_batch")
    if g.fused and spec.transpose_a and spec.batch > 1 and spec.tiles[0] > 1:
        yield _fault(g, "fused batches of A cannot be transposed, but for one row of tiles each", FUSED, "transpose_a", "batch")


def _inner_blocks_are_whole(g: MatmulGeometry) -> Iterator[Fault]:
    if rest := g.inner % g.config.in0_block_w:
        yield _fault(g, f"divides the {g.inner} inner tiles; {rest} left over", INNER, "k")


def _blocks_divide_a_share(g: MatmulGeometry) -> Iterator[Fault]:
    (h, w), c = g.config.out_block, g.config
    if rest := c.per_core_M % h:
        yield _fault(g, f"divides per_core_M; {rest} of {c.per_core_M} rows left over", BLOCK_H, CORE_M)
    if rest := c.per_core_N % w:
        yield _fault(g, f"divides per_core_N; {rest} of {c.per_core_N} columns left over", BLOCK_W, CORE_N)


def _subblocks_divide_a_block(g: MatmulGeometry) -> Iterator[Fault]:
    oh, ow, _, sh, sw = g.block
    if rest := oh % sh:
        yield _fault(g, f"divides the {oh} rows of a block; {rest} left over", SUB_H, BLOCK_H, CORE_M)
    if rest := ow % sw:
        yield _fault(g, f"divides the {ow} columns of a block; {rest} left over", SUB_W, BLOCK_W, CORE_N)


def _dst_holds_a_subblock(g: MatmulGeometry) -> Iterator[Fault]:
    compute, (_, _, _, sh, sw) = g.spec.compute, g.block
    room = (4 if compute.fp32_dest_acc_en else 8) * (2 if compute.dst_full_sync_en else 1)
    if sh * sw > room:
        yield _fault(g, f"a subblock of {sh}x{sw} = {sh * sw} tiles; DST holds {room}", SUB_W, SUB_H, FP32)


def _shares_fit_the_grid(g: MatmulGeometry) -> Iterator[Fault]:
    c, (x, y) = g.config, g.config.compute_with_storage_grid_size
    if c.kind == "2d":
        if g.across > x:
            yield _fault(g, f"{g.cols} columns take {g.across} columns of cores; the grid has {x}", CORE_N, GRID, "n")
        if g.down > y:
            yield _fault(g, f"{g.rows} rows take {g.down} rows of cores; the grid has {y}", CORE_M, GRID, "m")
        return
    if c.mcast_in0 and g.down > 1:
        yield _fault(g, f"where A is multicast, every core has all {g.rows} rows", CORE_M, MCAST_IN0)
    elif not c.mcast_in0 and g.across > 1:
        yield _fault(g, f"where B is multicast, every core has all {g.cols} columns", CORE_N, MCAST_IN0)
    if (cores := g.down * g.across) > x * y:
        blamed = CORE_N if c.mcast_in0 else CORE_M
        yield _fault(g, f"takes {cores} cores; the grid has {x * y}", blamed, GRID)


def _parts_are_whole(g: MatmulGeometry) -> Iterator[Fault]:
    c, rows = g.config, g.spec.tiles[0]
    if rest := rows % c.per_core_M:
        yield _fault(g, f"divides the {rows} rows of a matrix; {rest} left over", CORE_M, "m")
    if rest := g.cols % c.per_core_N:
        yield _fault(g, f"divides the {g.cols} columns; {rest} left over", CORE_N, "n")


def _is_modelled(g: MatmulGeometry) -> Iterator[Fault]:
    if g.config.transpose_mcast:
        yield _fault(g, "is for shards in columns, which are not modelled; leave it out", TRANSPOSED)
    if g.spec.compute.dst_full_sync_en:
        yield _fault(g, "DST as a whole is not modelled here; leave it out", "compute_kernel_config.dst_full_sync_en")
    if g.config.kind == "multi_core":
        for key in ("bias", "transpose_a", "activation"):
            if _value(g.spec, key):
                yield _fault(g, "is not modelled without blocks; give a program config with some", key, f"{C}kind")


def _buffers_fit_l1(g: MatmulGeometry) -> Iterator[Fault]:
    taken, room = sum(buffer.bytes for buffer in g.buffers), g.spec.l1_room
    if taken > room:
        tensors = f" and tensors {g.spec.l1_tensor_bytes:,} B" if g.spec.l1_tensor_bytes else ""
        rule = f"circular buffers take {taken:,} B of a core's L1{tensors}; {taken - room:,} B too many"
        yield _fault(g, rule, INNER, BLOCK_H, BLOCK_W, CORE_M, CORE_N)


ProductRule = Callable[[MatmulGeometry], Iterator[Fault]]
OF_ALL: tuple[ProductRule, ...] = (_config_or_core_grid, _grid_lies_on_the_board, _batches_go_together, _is_modelled)
OF_BLOCKS: tuple[ProductRule, ...] = (
    _one_b_where_batches_are_fused, _inner_blocks_are_whole, _blocks_divide_a_share, _subblocks_divide_a_block,
    _dst_holds_a_subblock, _buffers_fit_l1,
)  # fmt: skip
OF_KIND: dict[str, tuple[ProductRule, ...]] = {
    "2d": (*OF_ALL, *OF_BLOCKS, _shares_fit_the_grid),
    "1d": (*OF_ALL, *OF_BLOCKS, _shares_fit_the_grid),
    "reuse": (*OF_ALL, *OF_BLOCKS, _parts_are_whole),
    "multi_core": (*OF_ALL, _buffers_fit_l1),
}


def faults(spec: MatmulSpec) -> list[tuple[str, Fault]]:
    """All faults of a spec, each with the name of its rule."""
    g = MatmulGeometry.of(spec)
    return [(rule.__name__, fault) for rule in OF_KIND[g.config.kind] for fault in rule(g)]


def check(spec: MatmulSpec | Mapping[str, Any]) -> tuple[Violation, ...]:
    """Everything that is wrong with a product before time starts, with the nearest legal values; never raises on a bad spec."""
    try:
        spec = MatmulSpec.model_validate(spec)
    except ValidationError as error:
        return tuple(
            Violation(found={".".join(map(str, one["loc"])) or "spec": one["input"]}, rule=one["msg"])
            for one in error.errors(include_url=False)
        )
    try:
        _ = spec.on
    except (UnknownNameError, ValidationError) as error:
        return (Violation(found={"board": spec.board, "machine": spec.machine}, rule=str(error)),)
    found = faults(spec)
    return tuple(Violation(found=fault.found, rule=fault.rule, nearest=_nearest(spec, name, found)) for name, fault in found)


# -- the nearest legal values ------------------------------------------------------------------------------------------


def _nearest(spec: MatmulSpec, name: str, found: list[tuple[str, Fault]]) -> tuple[Change, ...]:
    """Up to two changes of a value that leave no fault, or else two that heal this one and bring no other."""
    fault, known = dict(found)[name], {rule for rule, _ in found}
    wholly: list[Change] = []
    partly: list[Change] = []
    for key, value in fault.found.items():
        for change in _changes(spec, key, value):
            left = {rule for rule, _ in faults(_changed(spec, change))}
            if not left:
                wholly.append(change)
            elif name not in left and left <= known:
                partly.append(change)
            if len(wholly) == 2:
                return tuple(wholly)
        if wholly:
            break
    return tuple(wholly or partly[:2])


def _changes(spec: MatmulSpec, key: str, value: Any) -> Iterator[Change]:
    """Other values of a key, the nearest first; a smaller block comes with a subblock that divides it."""
    if key in ("m", "k", "n", "batch", f"{C}kind", "compute_kernel_config.dst_full_sync_en"):
        return
    if key == "core_grid":
        yield {key: None if spec.program_config else spec.on.grid}
    elif key == "board":
        yield from ({key: board} for board in BOARDS if board != value)
    elif key == GRID:
        yield {key: spec.on.grid}
    elif isinstance(value, bool):
        yield {key: not value}
    elif key == "b_batch":
        yield from ({key: other} for other in dict.fromkeys((spec.batch, 1)) if other != value)
    elif key == "activation":
        yield {key: None}
    else:
        g = MatmulGeometry.of(spec)
        for other in _near(g, key, value):
            change = {key: other}
            sub = {BLOCK_H: SUB_H, BLOCK_W: SUB_W}.get(key)
            if sub and other % _value(spec, sub):
                change[sub] = max(d for d in range(1, _value(spec, sub) + 1) if other % d == 0)
            yield change


def _near(g: MatmulGeometry, key: str, value: int | None) -> list[int]:
    """Numbers to try: divisors of what must be divided, or what shares the tiles out evenly."""
    c, near = g.config, value or {BLOCK_H: g.block.oh, BLOCK_W: g.block.ow}.get(key, 1)
    (x, y), reuse = c.compute_with_storage_grid_size, c.kind == "reuse"
    cores = x * y
    tried = {
        INNER: divisors(g.inner), BLOCK_H: divisors(c.per_core_M), BLOCK_W: divisors(c.per_core_N),
        SUB_H: divisors(g.block.oh), SUB_W: divisors(g.block.ow),
        CORE_M: divisors(g.spec.tiles[0]) if reuse else {-(-g.rows // n) for n in range(1, cores + 1)},
        CORE_N: divisors(g.cols) if reuse else {-(-g.cols // n) for n in range(1, cores + 1)},
    }  # fmt: skip
    return sorted(tried.get(key, set()) - {value or near}, key=lambda other: abs(other - near))


def _changed(spec: MatmulSpec, change: Change) -> MatmulSpec:
    """The spec with values replaced, by dotted key; the config that is used becomes a given one."""
    raw = spec.model_dump()
    for key, value in change.items():
        part, _, name = key.rpartition(".")
        if part:
            before = (
                raw[part]
                or {"program_config": MatmulGeometry.of(spec).config, "compute_kernel_config": spec.compute}[part].model_dump()
            )
            raw[part] = before | {name: value}
        else:
            raw[key] = value
    return MatmulSpec.model_validate(raw)
