"""What set-up code and upstream's conftest touch, and no result depends on: CONFIG, tracers, queues, cluster, `_ttnn`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from tensix_sim.ttnn import device
from tensix_sim.ttnn.device import MeshDevice
from tensix_sim.ttnn.names import absent
from tensix_sim.ttnn.session import SESSION

__all__ = [
    "CONFIG", "CONFIG_OVERRIDES", "CONFIG_PATH", "CloseDevice", "CloseDevices", "Config", "CreateDevices", "_ttnn",
    "apply_device_delay", "cluster", "command_queue", "database", "disable_asynchronous_slow_dispatch",
    "dump_device_memory_state", "enable_asynchronous_slow_dispatch", "manage_config", "operation_tracer", "set_printoptions",
    "start_tracy_zone", "stop_tracy_zone", "tracer", "tracy_frame", "tracy_message",
]  # fmt: skip


DEFAULTS: dict[str, Any] = {
    "cache_path": Path.home() / ".cache" / "ttnn",
    "model_cache_path": Path.home() / ".cache" / "ttnn" / "models",
    "tmp_dir": Path("/tmp/ttnn"),
    "enable_model_cache": False,
    "enable_fast_runtime_mode": True,
    "throw_exception_on_fallback": False,
    "enable_logging": False,
    "enable_graph_report": False,
    "enable_detailed_buffer_report": False,
    "enable_detailed_tensor_report": False,
    "enable_comparison_mode": False,
    "comparison_mode_should_raise_exception": False,
    "comparison_mode_pcc": 0.9999,
    "root_report_path": Path("generated/ttnn/reports"),
    "report_name": None,
}


class Config:
    """ttnn's own settings: they can be read and set, and have no effect; `ttnn.configure` has those of the simulator."""

    def __init__(self) -> None:
        vars(self).update(DEFAULTS)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "report_path":  # upstream's conftest gives back all that `dir` lists
            return
        if name not in DEFAULTS:
            raise AttributeError(f"CONFIG has no {name!r}; it has {', '.join(DEFAULTS)}")
        if name == "enable_comparison_mode" and value:
            SESSION.note("CONFIG.enable_comparison_mode has no effect: ops are not compared with golden functions")
        vars(self)[name] = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"CONFIG has no {name!r}; it has {', '.join(DEFAULTS)}")

    @property
    def report_path(self) -> Path | None:
        """Where a report of this name would be; none is written."""
        return self.root_report_path / self.report_name if self.report_name else None


CONFIG = Config()
CONFIG_PATH = None
CONFIG_OVERRIDES = os.environ.get("TTNN_CONFIG_OVERRIDES")


@contextmanager
def manage_config(name: str, value: Any) -> Iterator[None]:
    """Set a field of CONFIG for a block.

    Raises:
        AttributeError: it has no such field.
    """
    before = getattr(CONFIG, name)
    setattr(CONFIG, name, value)
    try:
        yield
    finally:
        setattr(CONFIG, name, before)


BOARDS = {
    "n150": "N150", "n300": "N300", "t3000": "T3K", "p100a": "P100", "p150b": "P150", "galaxy": "GALAXY",
    "p300": "P300", "bh-galaxy": "BLACKHOLE_GALAXY",
}  # fmt: skip
OTHERS = "INVALID TG P150_X2 P150_X4 P150_X8 N300_2x2 CUSTOM"
ClusterType = Enum("ClusterType", [*BOARDS.values(), *OTHERS.split()])  # type: ignore[misc]


def get_cluster_type() -> Any:
    """The type of the board that is set."""
    return ClusterType[BOARDS.get(SESSION.settings.board, "CUSTOM")]


class SystemMeshDescriptor:
    """The mesh of devices that there is."""

    def shape(self) -> Any:
        """Rows and columns."""
        return device.available()

    def local_shape(self) -> Any:
        """Rows and columns of this host's: all."""
        return device.available()


def _module(name: str, doc: str, **members: Any) -> ModuleType:
    module = ModuleType(f"ttnn.{name}", doc)
    vars(module).update(members)

    def __getattr__(missed: str) -> Any:  # noqa: N807
        raise absent(missed, f"ttnn.{name}", members)

    vars(module)["__getattr__"] = __getattr__
    return module


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Nothing to do."""


def _no() -> bool:
    """Whether it is on: no."""
    return False


set_printoptions = dump_device_memory_state = apply_device_delay = _nothing
start_tracy_zone = stop_tracy_zone = tracy_frame = tracy_message = _nothing
enable_asynchronous_slow_dispatch = disable_asynchronous_slow_dispatch = _nothing


@contextmanager
def command_queue(cq_id: int) -> Iterator[None]:
    """A block whose ops go to a queue; all go to one here, as they do not overlap."""
    yield


CloseDevice = device.close_device


def CreateDevices(device_ids: Iterable[int], *args: Any, **more: Any) -> dict[int, MeshDevice]:  # noqa: N802
    """Open devices; each by its number. Arguments as for `CreateDevice`."""
    return {i: device.CreateDevice(i, *args, **more) for i in device_ids}


def CloseDevices(devices: dict[int, MeshDevice]) -> None:  # noqa: N802
    """Close devices, each by its number."""
    for one in devices.values():
        device.close_device(one)


cluster = _module("cluster", "Which boards there are.", ClusterType=ClusterType, get_cluster_type=get_cluster_type)
database = _module("database", "Reports are not written.", SQLITE_CONNECTION=None, SQLITE_DB_PATH="db.sqlite")
_off = {"is_tracing_enabled": _no, "enable_tracing": _nothing, "disable_tracing": _nothing, "ENABLE_TRACER": False}
tracer = _module("tracer", "Graphs of ops are not traced.", **_off)
operation_tracer = _module("operation_tracer", "Ops are recorded by this simulator itself.", **_off, _ENABLE_TRACE=False)
_meshes = {"MeshDevice": MeshDevice, "SystemMeshDescriptor": SystemMeshDescriptor, "using_distributed_env": _no}
_multi_device = _module("_ttnn.multi_device", "Meshes, as the bindings name them.", **_meshes)
_parts = {"multi_device": _multi_device, "cluster": cluster, "device": device}
_ttnn = _module("_ttnn", "The bindings, of which code around attention names these.", **_parts)
