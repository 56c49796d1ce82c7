"""ttnn's names on virtual chips: what users' attention code and its tests call, with the cycles and the numbers of the simulator.

`import tensix_sim.ttnn as ttnn`, or let `import ttnn` mean it: `python -m tensix_sim.ttnn -- CMD`, `pytest -p
tensix_sim.ttnn.plugin`. What is not there, or not modelled, is an error. Names and signatures are those of tt-metal's ttnn.
"""

from difflib import get_close_matches
from typing import Any, NoReturn

from tensix_sim.ttnn import device, experimental, transformer, types
from tensix_sim.ttnn.collectives import (
    GlobalSemaphore,
    all_gather,
    create_global_semaphore,
    reset_global_semaphore_value,
)
from tensix_sim.ttnn.device import (
    CreateDevice,
    Device,
    GetDefaultDevice,
    GetNumAvailableDevices,
    GetNumPCIeDevices,
    MeshDevice,
    ReadDeviceProfiler,
    SetDefaultDevice,
    begin_trace_capture,
    close_device,
    close_mesh_device,
    create_mesh_device,
    end_trace_capture,
    execute_trace,
    get_arch_name,
    get_device_ids,
    get_num_devices,
    get_pcie_device_ids,
    manage_device,
    open_device,
    open_mesh_device,
    release_trace,
    set_fabric_config,
    synchronize_device,
)
from tensix_sim.ttnn.operations import (
    add,
    clone,
    concat,
    copy,
    copy_host_to_device_tensor,
    deallocate,
    fill_cache,
    full,
    linear,
    matmul,
    mul,
    multiply,
    ones,
    permute,
    reshape,
    slice,  # noqa: A004
    split,
    to_memory_config,
    transpose,
    typecast,
    unsqueeze_to_4D,
    zeros,
)
from tensix_sim.ttnn.session import SESSION, configure
from tensix_sim.ttnn.tensor import (
    ConcatMesh2dToTensor,
    ConcatMeshToTensor,
    ReplicateTensorToMesh,
    ShardTensor2dMesh,
    ShardTensorToMesh,
    Tensor,
    aggregate_as_tensor,
    as_tensor,
    combine_device_tensors,
    from_device,
    from_numpy,
    from_torch,
    get_device_tensors,
    to_device,
    to_layout,
    to_numpy,
    to_torch,
)
from tensix_sim.ttnn.types import (
    DRAM_MEMORY_CONFIG,
    L1_BLOCK_SHARDED_MEMORY_CONFIG,
    L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    L1_MEMORY_CONFIG,
    L1_WIDTH_SHARDED_MEMORY_CONFIG,
    ROW_MAJOR_LAYOUT,
    TILE_LAYOUT,
    TILE_SIZE,
    Arch,
    BlackholeComputeKernelConfig,
    BufferType,
    CoreCoord,
    CoreGrid,
    CoreRange,
    CoreRangeSet,
    DataType,
    DeviceComputeKernelConfig,
    DispatchCoreAxis,
    DispatchCoreConfig,
    DispatchCoreType,
    FabricConfig,
    FabricReliabilityMode,
    Layout,
    MathFidelity,
    MemoryConfig,
    MeshCoordinate,
    MeshShape,
    MeshType,
    NotModelledError,
    SDPAPrecision,
    SDPAProgramConfig,
    Shape,
    ShardOrientation,
    ShardSpec,
    StorageType,
    TensorMemoryLayout,
    ThrottleLevel,
    Tile,
    Topology,
    WormholeComputeKernelConfig,
    bfloat4_b,
    bfloat8_b,
    bfloat16,
    float32,
    fp8_e4m3,
    init_device_compute_kernel_config,
    int8,
    int32,
    uint8,
    uint16,
    uint32,
)

__all__ = sorted(name for name in globals() if not name.startswith("_") and name not in ("Any", "NoReturn", "get_close_matches"))


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(missing(name))


def missing(name: str, where: str = "ttnn", known: list[str] | None = None) -> str:
    """What to say of a name that is not there, with what is near."""
    near = get_close_matches(name, known or __all__, n=4, cutoff=0.3)
    return f"{where}.{name} is not in this simulator's ttnn" + (f"; near it are {', '.join(near)}" if near else "")
