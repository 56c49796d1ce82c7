"""Values that code around attention makes and hands on: made from a table, held to their fields, and without effect here.

Each is a value only. An op that cannot do what one asks for refuses it; an op whose cycles are not modelled takes it.
"""

from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from math import ceil
from typing import Any, NoReturn

from tensix_sim.ttnn.cores import CoreCoord, CoreGrid, CoreRange, CoreRangeSet, cores_of
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.signatures import WrongTypeError, typed
from tensix_sim.ttnn.types import (
    BufferType,
    DataType,
    Fielded,
    Layout,
    MemoryConfig,
    NotModelledError,
    Shape,
    ShardOrientation,
    ShardSpec,
    ShardStrategy,
    TensorMemoryLayout,
    Tile,
)

LIMIT = "docs/ttnn.md, What is refused"
MATMUL = "*, compute_with_storage_grid_size, in0_block_w, out_subblock_h, out_subblock_w"
FIELDS = {
    "MatmulMultiCoreProgramConfig": "*, compute_with_storage_grid_size=None",
    "MatmulMultiCoreReuseProgramConfig": f"{MATMUL}, per_core_M, per_core_N",
    "MatmulMultiCoreReuseMultiCastProgramConfig": f"{MATMUL}, out_block_h=None, out_block_w=None, per_core_M, per_core_N, "
    "transpose_mcast, fused_activation, fuse_batch=True",
    "MatmulMultiCoreReuseMultiCast1DProgramConfig": f"{MATMUL}, out_block_h=None, out_block_w=None, per_core_M, per_core_N, "
    "fuse_batch, fused_activation=None, mcast_in0, gather_in0=False, hop_cores=None, num_global_cb_receivers=1, "
    "untilize_out=False",
    "MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig": "*, in0_block_w, per_core_M, per_core_N, fused_activation=None",
    "MinimalMatmulConfig": "*, M_block_size=1, K_block_size=1, N_block_size=1, subblock_h=1, subblock_w=1, "
    "compute_with_storage_grid_size=None",
    "LayerNormDefaultProgramConfig": "*, legacy_reduction=False, legacy_rsqrt=False, use_welford=False",
    "LayerNormShardedMultiCoreProgramConfig": "*, compute_with_storage_grid_size, subblock_w, block_h, block_w, inplace=False, "
    "legacy_reduction=False, legacy_rsqrt=False, use_welford=False",
    "SoftmaxDefaultProgramConfig": "",
    "SoftmaxShardedMultiCoreProgramConfig": "*, compute_with_storage_grid_size, subblock_w, block_h, block_w",
    "UnaryWithParam": "op_type, param=None",
    "FabricRouterConfig": "",
    "SubDevice": "cores",
    "SubDeviceId": "id",
    "PlacementReplicate": "",
    "PlacementShard": "dim",
    "MeshMapperConfig": "placements, mesh_shape_override=None",
    "MeshComposerConfig": "dims, mesh_shape_override=None",
}
MEMBERS = {
    "ShardMode": "PHYSICAL LOGICAL",
    "ShardDistributionStrategy": "ROUND_ROBIN_1D GRID_2D",
    "FabricTensixConfig": "DISABLED MUX UDM",
    "FabricUDMMode": "DISABLED ENABLED",
    "FabricManagerMode": "DEFAULT INIT_FABRIC TERMINATE_FABRIC",
    "ReduceType": "Sum Mean Max Min Std Var",
    "EmbeddingsType": "GENERIC PADDED BINARY",
}
ONLY_NAMES = ("CppMeshToTensor", "CppTensorToMesh", "MeshToTensor", "TensorToMesh", "GlobalCircularBuffer", "MeshTraceId")
MATMUL_CONFIGS = tuple(name for name in FIELDS if "atmul" in name)
NORM_CONFIGS = tuple(name for name in FIELDS if name.startswith("LayerNorm"))
SOFTMAX_CONFIGS = tuple(name for name in FIELDS if name.startswith("Softmax"))


class Said(Fielded):
    """A value of a made type: fields by place, or by name where the table has them behind a star."""

    _DEFAULTS: dict[str, Any]
    _BY_PLACE: bool

    def __init__(self, *given: Any, **named: Any) -> None:
        if len(given) > (len(self._FIELDS) if self._BY_PLACE else 0):
            raise TypeError(f"{self._NAMED} takes {', '.join(self._FIELDS) or 'nothing'}{'' if self._BY_PLACE else ', by name'}")
        values = {**self._DEFAULTS, **dict(zip(self._FIELDS, given, strict=False)), **named}
        if lacking := [name for name in self._FIELDS if name not in values]:
            raise TypeError(f"{self._NAMED} needs {', '.join(lacking)}")
        for name, value in values.items():
            if name not in self._FIELDS:
                raise TypeError(f"{self._NAMED} has no field {name!r}; it has {', '.join(self._FIELDS) or 'none'}")
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class OnlyName(type):
    """A class that can be imported and asked about, and not made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotModelledError(f"{cls.__name__}: here it is a name to import and no more; {LIMIT}")


MADE = (*FIELDS, *MEMBERS, *ONLY_NAMES)


@cache
def made(name: str) -> Any:
    """The type of a name in the tables, made when it is first asked for."""
    if name in ONLY_NAMES:
        return OnlyName(name, (), {"__doc__": "A name to import; making one is refused."})
    if name in MEMBERS:
        enum = Enum(name, {member: member.lower() for member in MEMBERS[name].split()})  # type: ignore[misc]
        enum.__doc__ = f"One of {MEMBERS[name]}."
        return enum
    text = FIELDS[name]
    fields = [field.strip().partition("=") for field in text.replace("*,", "").split(",") if field.strip()]
    about = {
        "__doc__": f"{name}({text}): a value without effect here.",
        "_NAMED": name,
        "_FIELDS": tuple(field for field, _, _ in fields),
        "_DEFAULTS": {field: literal_eval(default) for field, given, default in fields if given},
        "_BY_PLACE": "*" not in text,
    }
    return type(name, (Said,), about)


def demand_config(op: str, config: Any, names: Sequence[str]) -> None:
    """Raise where a program config is of another kind than an op takes.

    Raises:
        WrongTypeError: it is.
    """
    if config is not None and type(config) not in [made(name) for name in names]:
        raise WrongTypeError(f"{op}: program_config = {config!r} is none of {', '.join(names)}")


@dataclass(frozen=True)
class TensorSpec:
    """Shape, type, layout and place of a tensor, as one value."""

    shape: Shape
    dtype: DataType
    layout: Layout
    memory_layout: TensorMemoryLayout = TensorMemoryLayout.INTERLEAVED
    shard_spec: ShardSpec | None = None
    buffer_type: BufferType = BufferType.DRAM
    tile: Tile | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Shape(self.shape))

    @property
    def memory_config(self) -> MemoryConfig:
        """Where it lies."""
        return MemoryConfig(self.memory_layout, self.buffer_type, self.shard_spec)


# -- shards ------------------------------------------------------------------------------------------------------------


@typed
def create_sharded_memory_config(
    shape: Any,
    core_grid: CoreGrid | CoreRangeSet | CoreRange,
    strategy: ShardStrategy,
    orientation: ShardOrientation | None = None,
    use_height_and_width_as_shard_shape: bool = False,
) -> MemoryConfig:
    """A memory config in L1 with shards of a tensor of `shape`, or of that shape, over a grid; ops here refuse shards."""
    if isinstance(core_grid, CoreGrid):
        core_grid = CoreRange(CoreCoord(0, 0), CoreCoord(core_grid.x - 1, core_grid.y - 1))
    grid = CoreRangeSet([core_grid]) if isinstance(core_grid, CoreRange) else core_grid
    cores = [core for one in grid.ranges() for core in cores_of(one, True)]
    columns, rows = len({core.x for core in cores}), len({core.y for core in cores})
    *leading, height, width = shape
    if not use_height_and_width_as_shard_shape:
        for size in leading:
            height *= size
        cuts = {"HEIGHT": (len(cores), 1), "WIDTH": (1, len(cores)), "BLOCK": (rows, columns)}[strategy.name]
        height, width = ceil(height / cuts[0]), ceil(width / cuts[1])
    layout = TensorMemoryLayout[f"{strategy.name}_SHARDED"]
    spec = ShardSpec(grid, (height, width), orientation or ShardOrientation.ROW_MAJOR)
    return MemoryConfig(layout, BufferType.L1, spec)


create_sharded_memory_config_ = create_sharded_memory_config

__all__ = [
    *MADE,
    "create_sharded_memory_config",
    "create_sharded_memory_config_",
]


def __getattr__(name: str) -> Any:
    if name in MADE:
        return made(name)
    raise absent(name, "ttnn", __all__)
