"""Virtual devices and meshes of them: what is there, what has been compiled, what has been captured."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tensix_sim.arch import Machine, machine
from tensix_sim.ttnn.clock import CLOCK
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.session import SESSION
from tensix_sim.ttnn.signatures import typed
from tensix_sim.ttnn.types import (
    Arch,
    CoreCoord,
    CoreGrid,
    DispatchCoreAxis,
    DispatchCoreConfig,
    DispatchCoreType,
    FabricConfig,
    MeshCoordinate,
    MeshShape,
    NotModelledError,
    refuse,
)

__all__ = [
    "Arch", "Device", "DisablePersistentKernelCache", "DispatchCoreAxis", "DispatchCoreConfig", "DispatchCoreType",
    "EnablePersistentKernelCache", "MeshDevice", "is_blackhole", "is_wormhole_b0",
]  # fmt: skip


class MeshDevice:
    """Rows and columns of virtual chips of one board; a single device is a mesh of one."""

    def __init__(self, shape: MeshShape, ids: list[int], board: str, parent: "MeshDevice | None" = None) -> None:
        self._shape = shape
        self.ids = ids
        self.board = board
        self.parent = parent
        self.programs: set[Any] = set()
        self.capture: list[tuple[Callable[[], Any], Any]] | None = None
        self._traces: dict[int, list[tuple[Callable[[], Any], Any]]] = {}
        self._submeshes: list[MeshDevice] = []
        self._open = True

    def __repr__(self) -> str:
        return f"MeshDevice({self._shape[0]}x{self._shape[1]}, {self.board}, devices {self.ids})"

    def __getattr__(self, name: str) -> NoReturn:
        raise absent(name, "ttnn.MeshDevice", dir(type(self)))

    @property
    def machine(self) -> Machine:
        """The board, with the numbers that the settings replace."""
        return machine(self.board).override(SESSION.settings.machine) if SESSION.settings.machine else machine(self.board)

    @property
    def kind(self) -> Any:
        """What tells its machine from others."""
        return self.board, *sorted(SESSION.settings.machine.items())

    @property
    def shape(self) -> MeshShape:
        """Rows and columns."""
        return self._shape

    @property
    def core_grid(self) -> CoreGrid:
        """The worker cores of a chip."""
        x, y = self.machine.grid
        return CoreGrid(y=y, x=x)

    def compute_with_storage_grid_size(self) -> CoreCoord:
        """Columns and rows of worker cores of a chip."""
        return CoreCoord(*self.machine.grid)

    def dram_grid_size(self) -> CoreCoord:
        """DRAM banks of a chip, as columns of one row."""
        return CoreCoord(self.machine.chip.dram.banks, 1)

    def arch(self) -> Arch:
        """The architecture."""
        return Arch(self.machine.chip.name)

    def id(self) -> int:
        """Number of the first device."""
        return self.ids[0]

    def get_num_devices(self) -> int:
        """Number of devices."""
        return len(self.ids)

    def get_device_ids(self) -> list[int]:
        """Numbers of the devices, row by row."""
        return list(self.ids)

    def get_device_id(self, coord: MeshCoordinate) -> int:
        """Number of the device at a row and column."""
        row, column = coord
        if not (0 <= row < self._shape[0] and 0 <= column < self._shape[1]):
            raise RuntimeError(f"no device at row {row}, column {column} of a {self._shape[0]}x{self._shape[1]} mesh")
        return self.ids[row * self._shape[1] + column]

    def create_submesh(self, shape: Any, offset: Any = None) -> "MeshDevice":
        """A mesh of some of this mesh's devices: `shape` rows and columns from `offset` on, which is (0, 0).

        Raises:
            RuntimeError: it does not lie within this mesh.
        """
        rows, columns = shape = MeshShape(shape)
        row, column = offset or (0, 0)
        if row + rows > self._shape[0] or column + columns > self._shape[1]:
            raise RuntimeError(
                f"a {rows}x{columns} submesh at row {row}, column {column} does not lie within a "
                f"{self._shape[0]}x{self._shape[1]} mesh"
            )
        ids = [self.ids[(row + i) * self._shape[1] + column + j] for i in range(rows) for j in range(columns)]
        self._submeshes.append(MeshDevice(shape, ids, self.board, self))
        return self._submeshes[-1]

    def create_submeshes(self, shape: Any) -> "list[MeshDevice]":
        """All submeshes of `shape` that lie side by side in this mesh, row by row."""
        rows, columns = MeshShape(shape)
        places = [
            (i, j) for i in range(0, self._shape[0] - rows + 1, rows) for j in range(0, self._shape[1] - columns + 1, columns)
        ]
        return [self.create_submesh((rows, columns), place) for place in places]

    def get_submeshes(self) -> "list[MeshDevice]":
        """The submeshes made so far."""
        return list(self._submeshes)

    def reshape(self, shape: Any) -> None:
        """Count the same devices in other rows and columns.

        Raises:
            RuntimeError: the number of devices differs.
        """
        new = MeshShape(shape)
        if new.mesh_size() != len(self.ids):
            raise RuntimeError(f"a {new[0]}x{new[1]} mesh has {new.mesh_size()} devices; this one has {len(self.ids)}")
        self._shape = new

    # -- program cache ----------------------------------------------------------------------------------------

    def num_program_cache_entries(self) -> int:
        """Number of different programs that ops of this mesh needed; each is made once."""
        return len(self.programs)

    def enable_program_cache(self) -> None:
        """Nothing to do: it is on."""

    def disable_and_clear_program_cache(self) -> None:
        """Forget all programs; the next calls count anew."""
        self.programs.clear()

    clear_program_cache = disable_and_clear_program_cache

    # -- sub-devices --------------------------------------------------------------------------------------------

    def create_sub_device_manager(self, sub_devices: Sequence[Any], local_l1_size: int = 0) -> int:
        """Take one sub-device, of all cores of a chip or all but the row or column that dispatch takes, as the whole chip.

        Raises:
            NotModelledError: several sub-devices, or a smaller one.
        """
        columns, rows = self.machine.grid
        counts = [sum(cores.num_cores() for cores in one.cores) for one in sub_devices]
        if len(counts) != 1 or counts[0] < columns * rows - max(columns, rows):
            raise NotModelledError(
                f"sub-devices of {counts} cores: one of all {columns}x{rows} cores, or a row or column less, is taken as the chip"
            )
        SESSION.note(f"a sub-device of {counts[0]} cores was taken as the whole chip, of {columns * rows}")
        return 0

    def load_sub_device_manager(self, sub_device_manager_id: int) -> None:
        """Nothing to do: the sub-device is the chip."""

    remove_sub_device_manager = load_sub_device_manager

    def clear_loaded_sub_device_manager(self) -> None:
        """Nothing to do: the sub-device is the chip."""

    reset_sub_device_stall_group = clear_loaded_sub_device_manager

    def set_sub_device_stall_group(self, sub_device_ids: Sequence[Any]) -> None:
        """Nothing to do: ops do not overlap."""

    # -- traces -------------------------------------------------------------------------------------------------

    def begin_capture(self) -> int:
        """Remember the ops from now on."""
        if self.capture is not None:
            raise RuntimeError("a trace is being captured already; end it first")
        self.capture = []
        return len(self._traces)

    def end_capture(self, trace_id: int) -> None:
        """Keep what was captured."""
        if self.capture is None:
            raise RuntimeError(f"no trace is being captured, so trace {trace_id} cannot end")
        self._traces[trace_id], self.capture = self.capture, None

    def replay(self, trace_id: int) -> None:
        """Do the captured ops again, on what their inputs hold now; their outputs take the new values."""
        for again, before in self._trace(trace_id):
            for old, new in zip(_tensors(before), _tensors(again()), strict=True):
                old.take_values(new)

    def release(self, trace_id: int) -> None:
        """Forget a trace."""
        self._trace(trace_id)
        del self._traces[trace_id]

    def _trace(self, trace_id: int) -> list[tuple[Callable[[], Any], Any]]:
        if trace_id not in self._traces:
            raise RuntimeError(f"no trace {trace_id} on this device; it has {sorted(self._traces) or 'none'}")
        return self._traces[trace_id]


Device = MeshDevice


def _tensors(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


# -- opening and closing ----------------------------------------------------------------------------------------


def available() -> MeshShape:
    """Rows and columns of devices that there are: as set, or the board's."""
    return MeshShape(SESSION.settings.mesh or machine(SESSION.settings.board).mesh)


@typed
def open_device(
    device_id: int = 0,
    l1_small_size: int = 0,
    trace_region_size: int = 0,
    num_command_queues: int = 1,
    dispatch_core_config: DispatchCoreConfig | None = None,
    worker_l1_size: int | None = None,
) -> MeshDevice:
    """Open one virtual device.

    Sizes of regions, queues and dispatch are taken and have no effect: `machine.l1.reserved` of a run spec is what
    makes room smaller.

    Raises:
        RuntimeError: there is no device of that number.
    """
    count = available().mesh_size()
    if not 0 <= device_id < count:
        raise RuntimeError(f"no device {device_id}: there are {count}, numbered from 0")
    return MeshDevice(MeshShape(1, 1), [device_id], SESSION.settings.board)


CreateDevice = open_device


def close_device(device: MeshDevice) -> None:
    """Close a device."""
    if SESSION.default_device is device:
        SESSION.default_device = None


@contextmanager
def manage_device(device_id: int = 0) -> Iterator[MeshDevice]:
    """Open a device for a block."""
    device = open_device(device_id)
    try:
        yield device
    finally:
        close_device(device)


@typed
def open_mesh_device(
    mesh_shape: Any = None,
    l1_small_size: int = 0,
    trace_region_size: int = 0,
    num_command_queues: int = 1,
    dispatch_core_config: DispatchCoreConfig | None = None,
    offset: Any = None,
    physical_device_ids: Any = (),
    worker_l1_size: int | None = None,
    mesh_type: Any = None,
) -> MeshDevice:
    """Open a mesh of virtual devices, all there are if no shape is given; sizes and dispatch as for `open_device`.

    A mesh type has no effect: collectives say themselves whether they go around.

    Raises:
        RuntimeError: there are not so many, or not in such rows and columns.
        NotModelledError: devices chosen by number that are no neighbours on the board where they are in the mesh.
    """
    here = available()
    shape = here if mesh_shape is None else MeshShape(mesh_shape)
    if shape.mesh_size() > here.mesh_size():
        raise RuntimeError(
            f"a {shape[0]}x{shape[1]} mesh needs {shape.mesh_size()} devices; {SESSION.settings.board} with mesh "
            f"{here[0]}x{here[1]} has {here.mesh_size()}: choose another board or mesh"
        )
    whole = MeshDevice(here, list(range(here.mesh_size())), SESSION.settings.board)
    if physical_device_ids:
        return MeshDevice(shape, _chosen(shape, here, list(physical_device_ids)), whole.board)
    if shape[0] <= here[0] and shape[1] <= here[1]:
        return MeshDevice(shape, whole.create_submesh(shape, offset).ids, whole.board)
    if offset:
        raise RuntimeError(f"a {shape[0]}x{shape[1]} mesh lies along other lines than {here[0]}x{here[1]}; it has no offset")
    return MeshDevice(shape, whole.ids[: shape.mesh_size()], whole.board)


def _chosen(shape: Sequence[int], here: Sequence[int], ids: list[int]) -> list[int]:
    """Devices by number, row by row of a mesh, whose links must be those of the board."""
    rows, columns = shape
    if sorted({*ids} & {*range(here[0] * here[1])}) != sorted(ids) or len(ids) != rows * columns:
        raise RuntimeError(f"physical_device_ids {ids}: {rows * columns} different ones of {here[0] * here[1]} are needed")
    beside = [(i, i + 1) for i in range(len(ids)) if (i + 1) % columns] + [(i, i + columns) for i in range(len(ids) - columns)]
    for a, b in beside:
        (y, x), (v, u) = divmod(ids[a], here[1]), divmod(ids[b], here[1])
        if abs(y - v) + abs(x - u) != 1:
            raise NotModelledError(f"physical_device_ids {ids}: {ids[a]} and {ids[b]} are no neighbours on the board")
    return ids


def close_mesh_device(mesh_device: MeshDevice) -> None:
    """Close a mesh."""
    close_device(mesh_device)


@contextmanager
def create_mesh_device(*args: Any, **kwargs: Any) -> Iterator[MeshDevice]:
    """Open a mesh for a block."""
    mesh = open_mesh_device(*args, **kwargs)
    try:
        yield mesh
    finally:
        close_mesh_device(mesh)


def SetDefaultDevice(device: MeshDevice | None) -> None:  # noqa: N802
    """Name the device that ops take where their tensors have none. Ops here need tensors on a device."""
    SESSION.default_device = device


def GetDefaultDevice() -> MeshDevice | None:  # noqa: N802
    """The default device."""
    device: MeshDevice | None = SESSION.default_device
    return device


def get_num_devices() -> int:
    """Number of virtual devices there are."""
    return available().mesh_size()


GetNumAvailableDevices = get_num_devices


def GetNumPCIeDevices() -> int:  # noqa: N802
    """Number of devices on the host's bus: all of them."""
    return get_num_devices()


def GetPCIeDeviceID(device_id: int) -> int:  # noqa: N802
    """Number on the host's bus of a device: its own."""
    return device_id


def using_distributed_env() -> bool:
    """Whether hosts share a mesh: no."""
    return False


def get_t3k_physical_device_ids_ring() -> list[int]:
    """Devices of a t3000 in the order of its ring: down a side of the mesh, and up the other."""
    rows, columns = available()
    step = 2 if rows > columns else 1
    return [*range(0, 4 * step, step), *range(7, 7 - 4 * step, -step)]


def visualize_mesh_device(mesh_device: MeshDevice, tensor: Any = None) -> None:
    """Print which device is where."""
    refuse("visualize_mesh_device", tensor=tensor)
    rows, columns = mesh_device.shape
    for row in range(rows):
        print(*(f"{i:4d}" for i in mesh_device.ids[row * columns : (row + 1) * columns]))  # noqa: T201


def get_device_ids() -> list[int]:
    """Numbers of all devices."""
    return list(range(get_num_devices()))


get_pcie_device_ids = get_device_ids


def get_arch_name() -> str:
    """Name of the board's architecture."""
    return machine(SESSION.settings.board).chip.name


def is_wormhole_b0(device: MeshDevice | None = None) -> bool:
    """Whether the device, or the board that is set, has Wormhole chips."""
    return (device.arch().value if device else get_arch_name()) == "wormhole_b0"


def is_blackhole(device: MeshDevice | None = None) -> bool:
    """Whether the device, or the board that is set, has Blackhole chips."""
    return (device.arch().value if device else get_arch_name()) == "blackhole"


def synchronize_device(device: MeshDevice, cq_id: int | None = None, sub_device_ids: Any = None) -> None:
    """Wait for all ops. Their results are there when their calls return; their time passes on the host's clock as it waits."""
    CLOCK.wait(device.ids)


def ReadDeviceProfiler(device: MeshDevice) -> None:  # noqa: N802
    """Read the profiler: calls are recorded as they end, and the pytest plugin writes them with --emit."""


FABRICS = FabricConfig.DISABLED, FabricConfig.FABRIC_1D, FabricConfig.FABRIC_1D_RING


@typed
def set_fabric_config(config: FabricConfig, *args: Any, **kwargs: Any) -> None:
    """Choose the fabric; collectives say themselves whether they go around a ring or along a line.

    Raises:
        NotModelledError: a 2-D fabric, or a custom one.
    """
    if config not in FABRICS:
        raise NotModelledError(f"{config.name}: collectives here go over 1-D lines and rings")


def record_event(device: MeshDevice, cq_id: int = 0, sub_device_ids: Any = None) -> int:
    """A mark behind the ops so far; as ops do not overlap, nobody has to wait for it."""
    return SESSION.numbered


def wait_for_event(cq_id: int, event: int) -> None:
    """Nothing to do: ops do not overlap."""


def event_synchronize(event: int) -> None:
    """Wait for all ops: reading a clock does."""


def begin_trace_capture(device: MeshDevice, cq_id: int = 0) -> int:
    """Capture ops from now on; they run, too. The number of the trace."""
    return device.begin_capture()


def end_trace_capture(device: MeshDevice, trace_id: int, cq_id: int = 0) -> None:
    """End a capture."""
    device.end_capture(trace_id)


def execute_trace(device: MeshDevice, trace_id: int, cq_id: int = 0, blocking: bool = True) -> None:
    """Run the captured ops again on what their inputs hold now. Dispatch costs nothing here, with a trace or without."""
    device.replay(trace_id)
    if blocking:
        CLOCK.wait(device.ids)


def release_trace(device: MeshDevice, trace_id: int) -> None:
    """Forget a trace."""
    device.release(trace_id)


def enable_program_cache(device: MeshDevice) -> None:
    """Nothing to do: it is on."""


def disable_and_clear_program_cache(device: MeshDevice) -> None:
    """Forget all programs."""
    device.disable_and_clear_program_cache()


def EnablePersistentKernelCache() -> None:  # noqa: N802
    """Nothing to do: kernels are not compiled."""


DisablePersistentKernelCache = EnablePersistentKernelCache


def __getattr__(name: str) -> NoReturn:
    raise absent(name, "ttnn.device", __all__)
