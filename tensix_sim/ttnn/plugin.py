"""`pytest -p tensix_sim.ttnn.plugin`: upstream's fixtures on virtual chips, and at the end what each test's ops took."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tensix_sim.ttnn import imports

imports.install()

import ttnn  # type: ignore[import-not-found]  # noqa: E402

from tensix_sim.emit import EmitError, MissingPackageError, check_kinds, emit  # noqa: E402
from tensix_sim.ttnn.costs import HEAD, lines  # noqa: E402
from tensix_sim.ttnn.session import SESSION, VARIABLE, Call  # noqa: E402

SESSION.settings.set(host_clock=os.environ.get(VARIABLE + "HOST_CLOCK", "simulated"))  # before the user's files import clocks
SETTINGS = {  # how the value of their option is called, and its help
    "board": (None, "board whose chips there are; galaxy if not given"),
    "mesh": ("RxC", "rows and columns of devices; the board's own if not given"),
    "numerics": (
        None,
        "fast; exact: the chip's bits in attention; off: cycles only, and what a test asserts on numbers is not judged",
    ),
    "kernel": (None, "compute kernel of the attention ops, legacy or streaming; their own choice if not given"),
    "branch": (None, "branch of tt-metal whose arguments are taken: main, or olmo, with a sliding window in the ring"),
    "host_clock": (None, "simulated, the default: the user's files see device time on the host's clocks; or real"),
}
MARKERS = (
    "timeout(seconds)", "requires_device", "requires_grid_size", "requires_fast_runtime_mode_off", "requires_fresh_device",
    "use_module_device",
)  # fmt: skip
NOT_OF_A_DEVICE = ("fabric_tensix_config", "reliability_mode", "fabric_manager", "fabric_router_config")
PROPERTY = "ttnn_calls"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer the settings, and where files go; an option of upstream's conftest waits until conftests have had their turn."""
    group = parser.getgroup("ttnn", "ttnn on virtual chips")
    for name, (metavar, said) in SETTINGS.items():
        group.addoption("--" + name.replace("_", "-"), metavar=metavar, help=said)
    group.addoption("--emit", action="append", default=[], metavar="FORMAT", help="write runs for other tools, as tensix-sim run")
    group.addoption("--emit-to", default="traces/ttnn", metavar="DIR", help="where --emit writes: a folder for each op of a test")
    if any(Path(getattr(one, "__file__", None) or "").name == "conftest.py" for one in pluginmanager.get_plugins()):
        _share(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Any:
    """Look for packages of a checkout at pytest's root, too; after the conftests add what none of them has."""
    imports.CHECKOUTS.append(early_config.rootpath)
    result = yield
    _share(parser)
    return result


def _share(parser: pytest.Parser) -> None:
    """Offer `--device-id` where nobody else does; upstream's conftest has it, and pytest takes an option once."""
    groups = (parser._anonymous, *parser._groups)
    if not any("--device-id" in option.names() for group in groups for option in group.options):
        parser.getgroup("ttnn").addoption(
            "--device-id", type=int, default=0, help="number of the device that the fixture `device` opens"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Take the options."""
    for marker in MARKERS:
        config.addinivalue_line("markers", f"{marker}: of upstream; without effect here")
    if SESSION.settings.record:
        raise pytest.UsageError("--record is for a script that Python runs; --emit writes the attention ops of tests")
    kinds = config.getoption("--emit")
    given = {name: config.getoption(name) for name in SETTINGS if config.getoption(name) is not None}
    try:
        SESSION.settings.set(**given)
        if kinds:
            SESSION.settings.set(trace="transfers" if "npe" in kinds else "zones")
            check_kinds(kinds, SESSION.settings.trace)
    except (ValueError, EmitError, MissingPackageError) as error:
        raise pytest.UsageError(str(error)) from error


# -- what a test's ops took ------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Begin each test with no calls."""
    SESSION.forget()
    result = yield
    SESSION.forget()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Keep what the ops took with the test's report. With numerics off a failed assertion is a skip, for it may be on numbers."""
    timing_only = SESSION.settings.numerics == "off"
    try:
        with _no_golden() if timing_only else _nothing():
            return (yield)
    except AssertionError as error:
        if not timing_only:
            raise
        pytest.skip(
            f"timed only; numbers were not computed, and this was asserted: {str(error).splitlines()[0] if str(error) else '?'}"
        )
    finally:
        item.user_properties.append((PROPERTY, json.dumps([asdict(call) for call in SESSION.calls])))
        _emit_runs(item)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _no_golden() -> Iterator[None]:
    """Let torch's own attention, on which golden results take minutes, give NaN."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    functional = torch.nn.functional
    computed = functional.scaled_dot_product_attention

    def blank(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        return query.new_full((1,) * query.ndim, float("nan")).expand(*query.shape[:-1], value.shape[-1])

    functional.scaled_dot_product_attention = blank
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = computed


def _emit_runs(item: pytest.Item) -> None:
    folder = Path(item.config.getoption("--emit-to")) / re.sub(r"[^\w.=-]+", "_", item.nodeid)
    for op, number, run in SESSION.runs:
        emit(run, item.config.getoption("--emit"), folder / f"{number:03d}-{op}")
    SESSION.runs.clear()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, if there were ops, and the notes."""
    reports = [r for kind in terminalreporter.stats.values() for r in kind if getattr(r, "when", "") == "call"]
    tests = {r.nodeid: json.loads(text) for r in reports for name, text in r.user_properties if name == PROPERTY}
    if any(tests.values()):
        _table(terminalreporter, tests)
    for note in SESSION.told():
        terminalreporter.line(f"note: {note}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the notes of a worker of pytest-xdist to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["ttnn_notes"] = SESSION.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the notes of a worker."""
    for note in getattr(node, "workeroutput", {}).get("ttnn_notes", ()):
        SESSION.note(note)


def _table(terminalreporter: Any, tests: dict[str, Any]) -> None:
    terminalreporter.section("ttnn on virtual chips", "=")
    where = SESSION.settings
    mesh = "x".join(map(str, ttnn.device.available()))
    terminalreporter.line(
        f"board {where.board}, mesh {mesh}, numerics {where.numerics}; accuracy is against float64 attention on the same tensors"
    )
    terminalreporter.line(HEAD)
    for test, calls in tests.items():
        if calls:
            terminalreporter.line(test)
        for line in lines(Call(**call) for call in calls):
            terminalreporter.line(f"  {line}")


# -- fixtures of upstream's conftest ------------------------------------------------------------------------------------


@pytest.fixture
def device_params(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a test's indirect parameter says of its devices."""
    return dict(getattr(request, "param", {}))


def _opening(params: dict[str, Any]) -> dict[str, Any]:
    """The arguments for opening; the fabric is set, 1-D if any will do, and what has no effect on virtual chips is left out."""
    params = {name: value for name, value in params.items() if name not in NOT_OF_A_DEVICE}
    fabric = params.pop("fabric_config", None) or ttnn.FabricConfig.DISABLED
    ttnn.set_fabric_config(ttnn.FabricConfig.FABRIC_1D if fabric is True else fabric)
    if (axis := params.pop("dispatch_core_axis", None)) is not None:
        params["dispatch_core_config"] = ttnn.DispatchCoreConfig(axis=axis)
    return params


@pytest.fixture
def device(request: pytest.FixtureRequest, device_params: dict[str, Any]) -> Iterator[Any]:
    """A device, the default one."""
    opened = ttnn.CreateDevice(device_id=request.config.getoption("device_id"), **_opening(device_params))
    ttnn.SetDefaultDevice(opened)
    yield opened
    ttnn.close_device(opened)


def _mesh(shape: Any, params: dict[str, Any]) -> Iterator[Any]:
    shape = ttnn.MeshShape(*shape) if isinstance(shape, tuple | list) else ttnn.MeshShape(1, shape)
    if shape.mesh_size() > ttnn.get_num_devices():
        pytest.skip(
            f"Requested more devices than available. Test not applicable for machine: {shape[0]}x{shape[1]} of "
            f"{ttnn.get_num_devices()}; see --board and --mesh"
        )
    mesh = ttnn.open_mesh_device(mesh_shape=shape, **_opening(params))
    yield mesh
    ttnn.close_mesh_device(mesh)


@pytest.fixture
def mesh_device(request: pytest.FixtureRequest, device_params: dict[str, Any]) -> Iterator[Any]:
    """A mesh of the (rows, columns) of an indirect parameter, or of so many devices in a row; without one, all in a row."""
    yield from _mesh(getattr(request, "param", ttnn.get_num_devices()), device_params)


def _fixture_of_mesh(name: str, shape: Callable[[], tuple[int, int]]) -> Any:
    def fixture(device_params: dict[str, Any]) -> Iterator[Any]:
        yield from _mesh(shape(), device_params)

    fixture.__doc__ = f"{name}: a mesh of its shape; skips where there are too few devices."
    return pytest.fixture(fixture, name=name)


def _fixture_of_value(name: str, value: Callable[[], Any], about: str) -> Any:
    def fixture() -> Any:
        return value()

    fixture.__doc__ = about
    return pytest.fixture(fixture, scope="session", name=name)


t3k_mesh_device = _fixture_of_mesh("t3k_mesh_device", lambda: (2, 4))
pcie_mesh_device = _fixture_of_mesh("pcie_mesh_device", lambda: (2, 2))
t3k_single_board_mesh_device = _fixture_of_mesh("t3k_single_board_mesh_device", lambda: (1, 2))
bh_1d_mesh_device = _fixture_of_mesh("bh_1d_mesh_device", lambda: (ttnn.get_num_devices(), 1))
bh_2d_mesh_device = _fixture_of_mesh("bh_2d_mesh_device", lambda: tuple(ttnn.device.available()))
silicon_arch_name = _fixture_of_value("silicon_arch_name", lambda: ttnn.get_arch_name(), "Name of the architecture.")
is_ci_env = _fixture_of_value("is_ci_env", lambda: False, "Whether this is upstream's CI: no.")
is_ci_v2_env = _fixture_of_value("is_ci_v2_env", lambda: False, "Whether this is upstream's CI: no.")
use_program_cache = _fixture_of_value("use_program_cache", lambda: None, "Nothing to do: it is on.")
function_level_defaults = _fixture_of_value("function_level_defaults", lambda: None, "Nothing to do.")
grid_size = _fixture_of_value("grid_size", lambda: None, "Cores to run on: the op's own choice.")
determinism_check_interval = _fixture_of_value("determinism_check_interval", lambda: -1, "Never: runs are reproducible.")
didt_workload_iterations = _fixture_of_value("didt_workload_iterations", lambda: 1, "Once: each run is like the last.")
galaxy_type = _fixture_of_value("galaxy_type", lambda: "6U", "The Galaxy with Ethernet all around.")
is_single_card_n300 = _fixture_of_value(
    "is_single_card_n300", lambda: SESSION.settings.board == "n300", "Whether the board is an n300."
)
get_tt_cache_path = _fixture_of_value("get_tt_cache_path", lambda: _cached, "Gives the folder of a model's converted weights.")
model_location_generator = _fixture_of_value("model_location_generator", lambda: _cached, "Gives the folder of a model.")


def _cached(model_version: str, model_subdir: str = "", **more: Any) -> Path:
    """A model's folder: in that of upstream's CI where there is one, else the name itself, as a hub's."""
    folder = Path("/mnt/MLPerf/tt_dnn-models") / model_subdir / model_version
    return folder if folder.exists() else Path(model_version)


@pytest.fixture
def ensure_gc() -> None:
    """Collect what tests before this one have left."""
    import gc

    gc.collect()


@pytest.fixture
def reset_seeds() -> None:
    """Seed the random numbers of torch, NumPy and Python as upstream does."""
    import random

    import numpy as np
    import torch

    torch.manual_seed(213919)
    np.random.seed(213919)
    random.seed(213919)


@pytest.fixture(autouse=True)
def reset_default_device() -> Iterator[None]:
    """Leave the default device as it was."""
    before = ttnn.GetDefaultDevice()
    yield
    ttnn.SetDefaultDevice(before)


@pytest.fixture
def expect_error() -> Callable[..., Any]:
    """A context that wants an error of a type, and some words in its message."""
    return lambda error, message=None: pytest.raises(error, match=message and re.escape(message))
