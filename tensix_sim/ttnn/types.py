"""ttnn's words: data types, layouts, memory configs, program configs, meshes and fabrics, as values without behaviour.

What the simulator does not model can be said here, where real code says it in passing; the op that would need it refuses it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tensix_sim import config
from tensix_sim.formats import TILE
from tensix_sim.ttnn.cores import CoreCoord as CoreCoord
from tensix_sim.ttnn.cores import CoreGrid as CoreGrid
from tensix_sim.ttnn.cores import CoreRange as CoreRange
from tensix_sim.ttnn.cores import CoreRangeSet as CoreRangeSet
from tensix_sim.ttnn.signatures import typed


class NotModelledError(NotImplementedError):
    """ttnn has it, and this simulator has not; the message says what."""


def demand(what: str, *demands: tuple[object, str]) -> None:
    """Raise, as ttnn does, where the first of some demands does not hold: (whether it does, what to say after `what` if not)."""
    for holds, wrong in demands:
        if not holds:
            raise RuntimeError(f"{what} {wrong}")


def refuse(op: str, **given: Any) -> None:
    """Refuse arguments that are not modelled.

    Raises:
        NotModelledError: one is given.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise NotModelledError(f"{op}: {name} is not modelled; leave it out")


class DataType(Enum):
    """What a tensor's elements are."""

    BFLOAT16 = "bfloat16"
    BFLOAT8_B = "bfloat8_b"
    BFLOAT4_B = "bfloat4_b"
    FLOAT32 = "float32"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    INT8 = "int8"
    INT32 = "int32"
    FP8_E4M3 = "fp8_e4m3"

    @property
    def is_integer(self) -> bool:
        """Whether it counts: such tensors keep their values even where numbers are not computed."""
        return "int" in self.value

    @property
    def is_block(self) -> bool:
        """Whether 16 elements of a row share an exponent; such tensors are in tile layout."""
        return self.value.endswith("_b")


class Layout(Enum):
    """How elements lie in memory: row by row, or in tiles of 32x32."""

    ROW_MAJOR = "row_major"
    TILE = "tile"


class BufferType(Enum):
    """Which memory a buffer is in."""

    DRAM = "dram"
    L1 = "l1"
    SYSTEM_MEMORY = "system_memory"
    L1_SMALL = "l1_small"
    TRACE = "trace"


class StorageType(Enum):
    """Whether a tensor is on the host or on devices."""

    HOST = "host"
    DEVICE = "device"


class TensorMemoryLayout(Enum):
    """How a tensor's pages are spread over banks or cores."""

    INTERLEAVED = "interleaved"
    HEIGHT_SHARDED = "height_sharded"
    WIDTH_SHARDED = "width_sharded"
    BLOCK_SHARDED = "block_sharded"


class ShardOrientation(Enum):
    """Order in which shards go to cores."""

    ROW_MAJOR = "row_major"
    COL_MAJOR = "col_major"


class MathFidelity(Enum):
    """Passes of the FPU over a product: 1 to 4."""

    LoFi = "LoFi"
    HiFi2 = "HiFi2"
    HiFi3 = "HiFi3"
    HiFi4 = "HiFi4"
    Invalid = "Invalid"


class ShardStrategy(Enum):
    """Along which of the last two dimensions a tensor is cut into shards, or along both."""

    HEIGHT = "height"
    WIDTH = "width"
    BLOCK = "block"


class ThrottleLevel(Enum):
    """Power throttling of products; not modelled, and without effect in the attention ops."""

    NO_THROTTLE = "NO_THROTTLE"
    LEVEL_1 = "LEVEL_1"
    LEVEL_2 = "LEVEL_2"
    LEVEL_3 = "LEVEL_3"
    LEVEL_4 = "LEVEL_4"
    LEVEL_5 = "LEVEL_5"


class Topology(Enum):
    """How the devices of a collective are joined: end to end, or in a circle; those of 2-D fabrics mean these, as in ttnn."""

    Ring = Torus = "ring"
    Linear = Mesh = "line"


class FabricConfig(Enum):
    """What routes packets between chips. Collectives here go over a line or a ring: 1-D."""

    DISABLED = "disabled"
    FABRIC_1D = "fabric_1d"
    FABRIC_1D_RING = "fabric_1d_ring"
    FABRIC_1D_NEIGHBOR_EXCHANGE = "fabric_1d_neighbor_exchange"
    FABRIC_2D = "fabric_2d"
    FABRIC_2D_TORUS_X = "fabric_2d_torus_x"
    FABRIC_2D_TORUS_Y = "fabric_2d_torus_y"
    FABRIC_2D_TORUS_XY = "fabric_2d_torus_xy"
    FABRIC_2D_DYNAMIC = "fabric_2d_dynamic"
    CUSTOM = "custom"


class FabricReliabilityMode(Enum):
    """What to do about links that do not come up; here all do."""

    STRICT_INIT = "strict"
    RELAXED_INIT = "relaxed"


class DispatchCoreAxis(Enum):
    """Whether dispatch takes a row or a column of cores; the board says what is left."""

    ROW = "row"
    COL = "col"


class DispatchCoreType(Enum):
    """Which cores dispatch; the board says what is left."""

    WORKER = "worker"
    ETH = "eth"


class Arch(Enum):
    """The chip's architecture."""

    WORMHOLE_B0 = "wormhole_b0"
    BLACKHOLE = "blackhole"


class MeshType(Enum):
    """How a mesh of devices is joined at its ends."""

    Ring = "ring"
    Line = "line"


class SDPAPrecision(Enum):
    """Recipes of newer branches; the attention ops here refuse them."""

    STANDARD = "standard"
    BALANCED = "balanced"
    ACCURATE = "accurate"
    FAST = "fast"


class Shape(tuple[int, ...]):
    """A tensor's sizes, outermost first."""

    def __new__(cls, sizes: Iterable[int] = ()) -> "Shape":
        """Take any sequence of sizes."""
        return super().__new__(cls, (int(size) for size in sizes))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, list | tuple) else NotImplemented

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        return f"Shape({list(self)})"

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self)

    def volume(self) -> int:
        """Number of elements."""
        product = 1
        for size in self:
            product *= size
        return product


class MeshShape(Shape):
    """Rows and columns of a mesh of devices: MeshShape(8, 4) or MeshShape((8, 4))."""

    def __new__(cls, *sizes: Any) -> "MeshShape":
        """Take the sizes one by one or as one sequence."""
        given = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
        rows = (1, *given) if len(tuple(given)) == 1 else given
        return super().__new__(cls, rows)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"MeshShape({list(self)})"

    def mesh_size(self) -> int:
        """Number of devices."""
        return self.volume()


class MeshCoordinate(Shape):
    """Row and column of a device in its mesh."""

    def __new__(cls, *place: Any) -> "MeshCoordinate":
        """Take row and column one by one or as one sequence."""
        return super().__new__(cls, place[0] if len(place) == 1 and not isinstance(place[0], int) else place)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"MeshCoordinate({list(self)})"


class Tile:
    """The size of a tile. Of 32x32 only: smaller ones are not modelled."""

    def __init__(self, tile_shape: Iterable[int] = (TILE, TILE), transpose_tile: bool = False) -> None:
        self.tile_shape = tuple(tile_shape)
        if self.tile_shape != (TILE, TILE) or transpose_tile:
            raise NotModelledError(f"tiles of {self.tile_shape}, transposed: {transpose_tile}; tiles here are {TILE}x{TILE}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tile)

    def __hash__(self) -> int:
        return hash(self.tile_shape)


@dataclass(frozen=True)
class ShardSpec:
    """How a tensor is cut into shards of `shape` over cores; ops on such tensors have numbers, and no cycles."""

    grid: CoreRangeSet
    shape: Iterable[int]
    orientation: ShardOrientation = ShardOrientation.ROW_MAJOR

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Shape(self.shape))


@dataclass(frozen=True)
class MemoryConfig:
    """Where a tensor lies: its layout over banks, and which memory."""

    memory_layout: TensorMemoryLayout = TensorMemoryLayout.INTERLEAVED
    buffer_type: BufferType = BufferType.DRAM
    shard_spec: ShardSpec | None = None

    @property
    def spec_name(self) -> str:
        """The config as a run spec names it.

        Raises:
            NotModelledError: a buffer in neither DRAM nor L1.
        """
        if self.buffer_type not in (BufferType.DRAM, BufferType.L1):
            raise NotModelledError(f"a tensor in {self.buffer_type.name}; tensors here are in DRAM or L1")
        return f"{self.buffer_type.value}_{self.memory_layout.value}"

    def is_sharded(self) -> bool:
        """Whether it is not interleaved."""
        return self.memory_layout is not TensorMemoryLayout.INTERLEAVED


class Fielded:
    """A config whose fields can be read and written, and no others."""

    _NAMED: str
    _FIELDS: tuple[str, ...]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._FIELDS:
            raise AttributeError(f"{self._NAMED} has no field {name!r}; it has {', '.join(self._FIELDS)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self._FIELDS)})"


class SDPAProgramConfig(Fielded):
    """Chunk sizes, grid and exponential of the attention ops."""

    _NAMED = "SDPAProgramConfig"
    _FIELDS = tuple(config.SDPAProgramConfig.model_fields)

    @typed
    def __init__(
        self,
        *,
        compute_with_storage_grid_size: Any,
        sub_core_grids: CoreRangeSet | None = None,
        q_chunk_size: int,
        k_chunk_size: int,
        exp_approx_mode: bool | None = None,
        max_cores_per_head_batch: int = 16,
        max_k_splits: int = 1,
        matmul_math_fidelity: MathFidelity | None = None,
        segmented_accumulation: bool = False,
    ) -> None:
        splits = None if max_k_splits == 1 else max_k_splits
        further = {"matmul_math_fidelity": matmul_math_fidelity, "segmented_accumulation": segmented_accumulation}
        refuse("SDPAProgramConfig", max_k_splits=splits, **further)
        self.compute_with_storage_grid_size = CoreCoord(*compute_with_storage_grid_size)
        self.sub_core_grids = sub_core_grids
        self.q_chunk_size = q_chunk_size
        self.k_chunk_size = k_chunk_size
        self.exp_approx_mode = exp_approx_mode
        self.max_cores_per_head_batch = max_cores_per_head_batch

    def as_spec(self) -> dict[str, Any]:
        """The config as a run spec has it."""
        fields = {name: getattr(self, name) for name in self._FIELDS}
        fields["compute_with_storage_grid_size"] = list(self.compute_with_storage_grid_size)
        if self.sub_core_grids is not None:
            fields["sub_core_grids"] = [[list(one.start), list(one.end)] for one in self.sub_core_grids.ranges()]
        return fields


class WormholeComputeKernelConfig(Fielded):
    """Fidelity and DST of a compute kernel. Invalid, and so made without a fidelity, it means LoFi, as in ttnn."""

    _NAMED = "a compute-kernel config"
    _FIELDS = tuple(config.ComputeKernelConfig.model_fields)

    @typed
    def __init__(
        self,
        *,
        math_fidelity: MathFidelity = MathFidelity.Invalid,
        math_approx_mode: bool = True,
        fp32_dest_acc_en: bool = False,
        packer_l1_acc: bool = False,
        dst_full_sync_en: bool = False,
        throttle_level: ThrottleLevel = ThrottleLevel.NO_THROTTLE,
    ) -> None:
        self.math_fidelity = MathFidelity.LoFi if math_fidelity is MathFidelity.Invalid else math_fidelity
        self.math_approx_mode = math_approx_mode
        self.fp32_dest_acc_en = fp32_dest_acc_en
        self.packer_l1_acc = packer_l1_acc
        self.dst_full_sync_en = dst_full_sync_en
        self.throttle_level = throttle_level

    def as_spec(self) -> dict[str, Any]:
        """The config as a run spec has it."""
        return {name: getattr(value := getattr(self, name), "value", value) for name in self._FIELDS}


BlackholeComputeKernelConfig = WormholeComputeKernelConfig
DeviceComputeKernelConfig = WormholeComputeKernelConfig


@typed
def init_device_compute_kernel_config(
    arch: Any,
    device_kernel_config: WormholeComputeKernelConfig | None = None,
    *,
    math_fidelity: MathFidelity = MathFidelity.LoFi,
    math_approx_mode: bool = True,
    fp32_dest_acc_en: bool = False,
    packer_l1_acc: bool = False,
    dst_full_sync_en: bool = False,
    throttle_level: ThrottleLevel = ThrottleLevel.NO_THROTTLE,
) -> WormholeComputeKernelConfig:
    """Take the given config as it stands, or make one of the defaults; it is the same for every `arch`."""
    return device_kernel_config or WormholeComputeKernelConfig(
        math_fidelity=math_fidelity,
        math_approx_mode=math_approx_mode,
        fp32_dest_acc_en=fp32_dest_acc_en,
        packer_l1_acc=packer_l1_acc,
        dst_full_sync_en=dst_full_sync_en,
        throttle_level=throttle_level,
    )


@dataclass(frozen=True)
class DispatchCoreConfig:
    """Where dispatch runs; taken and without effect, for the board says which cores a program has."""

    type: DispatchCoreType | None = None
    axis: DispatchCoreAxis | None = None
    fabric_tensix_config: Any = None


TILE_SIZE = TILE
bfloat16, bfloat8_b, bfloat4_b, float32 = DataType.BFLOAT16, DataType.BFLOAT8_B, DataType.BFLOAT4_B, DataType.FLOAT32
uint8, uint16, uint32, int8, int32 = DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.INT8, DataType.INT32
fp8_e4m3 = DataType.FP8_E4M3
DEVICE_STORAGE_TYPE = StorageType.DEVICE
TILE_LAYOUT, ROW_MAJOR_LAYOUT = Layout.TILE, Layout.ROW_MAJOR
DRAM_MEMORY_CONFIG = MemoryConfig()
L1_MEMORY_CONFIG = MemoryConfig(buffer_type=BufferType.L1)
L1_HEIGHT_SHARDED_MEMORY_CONFIG = MemoryConfig(TensorMemoryLayout.HEIGHT_SHARDED, BufferType.L1)
L1_WIDTH_SHARDED_MEMORY_CONFIG = MemoryConfig(TensorMemoryLayout.WIDTH_SHARDED, BufferType.L1)
L1_BLOCK_SHARDED_MEMORY_CONFIG = MemoryConfig(TensorMemoryLayout.BLOCK_SHARDED, BufferType.L1)
