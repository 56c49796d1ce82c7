"""The host's clocks in the ttnn face: device time for the user's own files, of which this is one, real time for libraries."""

import builtins
import copy
import logging
import os
import pickle
import re
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from pydantic import BaseModel

from tensix_sim import ttnn
from tensix_sim.ttnn.clock import CLOCK, NOTE, HostClock
from tensix_sim.ttnn.session import SESSION, Settings

ROOT = Path(__file__).parent.parent
READ = 1e-6  # seconds that a read takes
DAY = 86400
LIBRARY = "/somewhere/site-packages/library.py"


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    """Each test sees simulated time, in a process that is not wrapped."""
    SESSION.settings.__dict__.update(Settings().__dict__)
    SESSION.calls.clear()
    ttnn.configure(host_clock="simulated")
    yield
    ttnn.configure(host_clock="real")


def attend(mesh: Any, chunk: int = 32, **more: Any) -> None:
    """A small attention op."""
    shape = (1, 1, 128, 32)
    q = ttnn.from_numpy(np.ones(shape, np.float32), ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh)
    config = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(2, 2), q_chunk_size=chunk, k_chunk_size=chunk)
    ttnn.transformer.scaled_dot_product_attention(q, q, q, program_config=config, **more)


CLOCKS: dict[str, Callable[[], float]] = {
    "time": lambda: time.time(),
    "perf_counter": lambda: time.perf_counter(),
    "monotonic": lambda: time.monotonic(),
    "time_ns": lambda: time.time_ns() / 1e9,
    "perf_counter_ns": lambda: time.perf_counter_ns() / 1e9,
    "monotonic_ns": lambda: time.monotonic_ns() / 1e9,
    "default_timer": lambda: timeit.default_timer(),
    "now": lambda: datetime.now().timestamp(),
    "today": lambda: datetime.today().timestamp(),
    "utcnow": lambda: datetime.utcnow().timestamp(),
    "utc": lambda: datetime.now(UTC).timestamp(),
    "gettime": lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    "gettime_ns": lambda: time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9,
}


# -- device time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOCKS)
def test_an_op_takes_its_time_on_every_clock(name: str) -> None:
    """As long as its cycles, and the read; to the microsecond, which is what datetime and a float of time.time hold."""
    read = CLOCKS[name]
    with ttnn.manage_device(0) as device:
        start = read()
        attend(device)
        ttnn.synchronize_device(device)
        took = read() - start
    (call,) = SESSION.calls
    assert call.microseconds is not None
    assert took == pytest.approx(call.microseconds * 1e-6 + READ, abs=1.5e-6)


@pytest.mark.parametrize("numerics", ["fast", "exact", "off"])
def test_the_clock_is_the_same_however_numbers_are_computed(numerics: str) -> None:
    """To the nanosecond: the sum of the calls, with a read at the end."""
    ttnn.configure(numerics=numerics)
    with ttnn.manage_device(0) as device:
        start = time.perf_counter_ns()
        attend(device)
        attend(device, 64)
        took = time.perf_counter_ns() - start
    times = [call.microseconds or 0 for call in SESSION.calls]
    assert took == sum(round(us * 1000) for us in times) + 1000


def test_a_trace_takes_its_time_each_time() -> None:
    """What is captured runs, too; then three times."""
    with ttnn.manage_device(0) as device:
        trace = ttnn.begin_trace_capture(device)
        attend(device)
        ttnn.end_trace_capture(device, trace)
        start = time.perf_counter_ns()
        for _ in range(3):
            ttnn.execute_trace(device, trace, blocking=False)
        ttnn.synchronize_device(device)
        took = time.perf_counter_ns() - start
    assert took == 3 * round((SESSION.calls[0].microseconds or 0) * 1000) + 1000


def test_what_is_not_modelled_takes_no_time() -> None:
    """A function of elements is not; the table says so."""
    with ttnn.manage_device(0) as device:
        ones = ttnn.ones((1, 1, 32, 32), device=device)
        start = time.perf_counter_ns()
        ttnn.gelu(ones)
        assert time.perf_counter_ns() - start == 1000
    assert NOTE in SESSION.told()
    assert "cycles not modelled" in NOTE


def test_a_ring_takes_as_long_as_its_slowest_device() -> None:
    """By the calls of its devices, which differ."""
    ttnn.configure(numerics="off")
    config = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(2, 2), q_chunk_size=32, k_chunk_size=64)
    with ttnn.create_mesh_device(ttnn.MeshShape(1, 4)) as mesh:
        q = ttnn.ones((1, 1, 512, 32), device=mesh)
        start = time.perf_counter_ns()
        ttnn.transformer.ring_distributed_scaled_dot_product_attention(q, q, q, 4, program_config=config)
        ttnn.synchronize_device(mesh)
        took = time.perf_counter_ns() - start
    times = [round((call.microseconds or 0) * 1000) for call in SESSION.calls]
    assert min(times) < max(times) == took - 1000


def test_devices_overlap_until_something_waits_for_them() -> None:
    """A wait, a read, or a gather among them lets none begin before the last is through."""
    clock = HostClock()

    def ops() -> None:
        for device, microseconds in enumerate((10, 30)):
            clock.run(device, microseconds)

    start = clock.read()
    ops()
    assert clock.read() - start == 30_000 + 1000
    clock.run(0, 20)
    clock.run(1, 10)
    assert clock.read() - start == 50_000 + 2000
    ops()
    clock.run(0, 20)
    assert clock.read() - start == 80_000 + 3000
    ops()
    clock.wait([0, 1])
    clock.run(0, 20)
    assert clock.read() - start == 130_000 + 4000
    ops()
    clock.meet([0, 1])
    clock.run(0, 20)
    assert clock.read() - start == 180_000 + 5000


def test_ops_begin_when_the_host_has_asked_for_them() -> None:
    """What the host sleeps, it sleeps beside what the device does, and before what it asks for afterwards."""
    clock = HostClock()
    start = clock.read()
    clock.run(0, 1000)
    clock.sleep(0.01)
    assert clock.read() - start == 10_000_000 + 1000
    clock.run(0, 5)
    assert clock.read() - start == 10_000_000 + 5000 + 2000


# -- laws of clocks -----------------------------------------------------------------------------------------------------


def test_clocks_agree_and_never_stand() -> None:
    """Nanoseconds are whole numbers, floats the same in seconds; each read is a microsecond later, from any thread."""
    for name in ("time", "perf_counter", "monotonic"):
        whole, seconds = getattr(time, f"{name}_ns")(), getattr(time, name)()
        assert type(whole) is int
        assert type(seconds) is float
        assert seconds == (whole + 1000) / 10**9
    with ThreadPoolExecutor(8) as pool:
        threads = [*pool.map(lambda _: [time.monotonic_ns() for _ in range(200)], range(8))]
    assert all(late - early >= 1000 for reads in threads for early, late in pairwise(reads))
    assert len({read for reads in threads for read in reads}) == 1600
    deadline = time.time() + 1e-3
    assert sum(1 for _ in iter(lambda: time.time() < deadline, False)) <= 1000


def test_sleep_takes_its_argument() -> None:
    """And returns at once: this test takes a year. What it refuses is what the real one refuses."""
    start = time.time()
    time.sleep(365 * DAY)
    time.sleep(np.float64(0.5))  # a float
    assert time.time() - start == pytest.approx(365 * DAY + 0.5 + READ, abs=1e-6)
    for wrong, error in ((-1, ValueError), (float("nan"), ValueError), (float("inf"), OverflowError), ("1", TypeError)):
        with pytest.raises(error):
            time.sleep(wrong)  # type: ignore[arg-type]


def test_the_calendar_follows() -> None:
    """Where no time is given; one that is given is what it was."""
    before = time.gmtime(), time.localtime(), time.ctime(), time.asctime(), time.strftime("%F"), date.today()
    time.sleep(40 * DAY)
    after = time.gmtime(), time.localtime(), time.ctime(), time.asctime(), time.strftime("%F"), date.today()
    assert all(early != late for early, late in zip(before, after, strict=True))
    assert after[5] - before[5] == timedelta(days=40)  # type: ignore[operator]
    assert (time.gmtime(0)[0], time.strftime("%Y", time.gmtime(0)), time.asctime(time.gmtime(0))[-4:]) == (1970, *["1970"] * 2)


def test_processor_time_stays_real() -> None:
    """It is not the host's clock."""
    start = time.process_time_ns()
    time.sleep(DAY)
    assert time.process_time_ns() - start < DAY * 10**9


# -- whose clock -----------------------------------------------------------------------------------------------------------


def run_as(file: str | None, code: str, **names: Any) -> dict[str, Any]:
    """Run code as that of a file, of none, or of `main`; its names."""
    module = {"__name__": Path(file).stem if file else "made", **({"__file__": file} if file else {}), **names}
    exec(compile(code, "<made>", "exec"), module)
    return module


PASSED = """
import time, datetime, timeit
from time import perf_counter as clock
first = time.time(), clock(), time.monotonic(), datetime.datetime.now().timestamp(), timeit.default_timer()
sleep()
last = time.time(), clock(), time.monotonic(), datetime.datetime.now().timestamp(), timeit.default_timer()
passed = [late - early for early, late in zip(first, last)]
"""


@pytest.mark.parametrize("file", [LIBRARY, "/usr/lib/python3/dist-packages/a/b.py", logging.__file__, ttnn.__file__])
def test_libraries_keep_the_real_clock(file: str) -> None:
    """Files of site-packages, the standard library and this package see nothing of a day that the user slept."""
    assert max(run_as(file, PASSED, sleep=lambda: time.sleep(DAY))["passed"]) < DAY / 2


@pytest.mark.parametrize("file", ["/home/me/sweep.py", "/home/me/venv/sweep.py", "relative.py", None])
def test_files_of_the_user_see_simulated_time(file: str | None) -> None:
    """Wherever they are, and code without a file that they run."""
    assert min(run_as(file, PASSED, sleep=lambda: time.sleep(DAY))["passed"]) >= DAY


def test_the_main_program_is_the_users() -> None:
    """Without a file, as with -c; with one, unless that is of site-packages."""
    for more, simulated in (({}, True), ({"__file__": timeit.__file__}, True), ({"__file__": LIBRARY}, False)):
        passed = run_as(None, PASSED, **({"__name__": "__main__", "sleep": lambda: time.sleep(DAY)} | more))["passed"]
        assert (min(passed) >= DAY) is simulated


def test_a_library_may_wait_and_log() -> None:
    """A lock's timeout is real; so is the time of a log record, though the user sleeps for a day."""
    early = logging.makeLogRecord({}).created
    time.sleep(DAY)
    assert logging.makeLogRecord({}).created - early < DAY / 2
    with ThreadPoolExecutor(1) as pool:
        over = __import__("threading").Event()
        waiting = pool.submit(over.wait)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.001)
        over.set()


def test_the_functions_do_what_those_of_c_do() -> None:
    """In a class they are no methods; they pickle and copy as themselves, and can be replaced in tests."""

    @dataclass
    class Stamped:
        made: int = field(default_factory=time.perf_counter_ns)
        clock = time.perf_counter_ns

    one = Stamped()
    assert one.clock() - one.made == 1000
    assert pickle.loads(pickle.dumps(time.sleep)) is copy.deepcopy(time.sleep) is time.sleep
    with mock.patch("time.time", return_value=7):
        assert time.time() == 7
    with pytest.raises(TypeError):
        time.perf_counter(1)  # type: ignore[call-arg]


def test_names_imported_before_follow_too() -> None:
    """As in this file, which was imported before the setting."""
    code = "from time import perf_counter as clock, sleep\nimport tensix_sim.ttnn as ttnn\nttnn.configure(host_clock='simulated')"
    told = python("-c", f"{code}\nstart = clock(); sleep(10**6); print(clock() - start > 10**6)")
    assert told.stdout == "True\n", told.stderr


def test_time_machine_is_told_what_to_set() -> None:
    """It would write into memory that is no function of C; its plug-in for pytest may still be loaded."""
    loaded = __import__("_time_machine")
    assert getattr(loaded, "__file__", None) is None  # who looks at all modules, as hypothesis does, is not hindered
    with pytest.raises(RuntimeError, match="TENSIX_SIM_HOST_CLOCK=real"):
        loaded.patch()


# -- datetime and timeit ---------------------------------------------------------------------------------------------------


class Mine(datetime):
    """A subclass of the user."""


class Model(BaseModel):
    """A model with a time."""

    at: datetime


def test_datetime_is_what_it_was() -> None:
    """The type, its subclasses, zones, pickles, sums; pydantic takes it."""
    now, zone = datetime.now(), timezone(timedelta(hours=3))
    assert type(now) is type(datetime(2020, 1, 1)) is datetime
    assert isinstance(Mine.now(), Mine)
    assert isinstance(now, date)
    assert datetime.now(zone).utcoffset() == datetime.now(tz=zone).utcoffset() == timedelta(hours=3)
    assert abs(datetime.now(UTC) - datetime.now().astimezone(zone)) < timedelta(milliseconds=1)
    assert pickle.loads(pickle.dumps(now)) == copy.copy(now) == now
    assert Model(at=now).model_validate_json(Model(at=now).model_dump_json()).at == now
    assert datetime(2020, 1, 1) + timedelta(1) == datetime(2020, 1, 2)
    assert datetime.strptime("2020", "%Y") == datetime.fromisoformat("2020-01-01")
    with pytest.raises(TypeError):
        datetime.now(3)  # type: ignore[arg-type]


def test_timeit_times_the_device() -> None:
    """By functions, texts, a timer of one's own; autorange needs one loop, as simulated time has no noise."""
    near = partial(pytest.approx, rel=0.01)
    with ttnn.manage_device(0) as device:
        once = timeit.timeit(lambda: attend(device), number=1)
        assert timeit.timeit("attend(device)", globals={"attend": attend, "device": device}, number=1) == near(once)
        assert timeit.repeat(lambda: attend(device), number=1, repeat=2) == near([once, once])
        assert timeit.timeit(lambda: attend(device), timer=time.perf_counter_ns, number=1) == near(once * 1e9)
        told: list[tuple[int, float]] = []
        count, took = timeit.Timer(lambda: attend(device)).autorange(lambda *values: told.append(values))
    assert [(count, took)] == told == [(1, near(once))]
    assert once == near((SESSION.calls[0].microseconds or 0) * 1e-6 + READ)


# -- the setting -----------------------------------------------------------------------------------------------------------


def test_the_setting_switches() -> None:
    """Off, the user's files call the real functions; a value that is none of the two is an error."""
    simulated = time.time()
    time.sleep(DAY)
    ttnn.configure(host_clock="real")
    assert time.time() - simulated < DAY / 2
    ttnn.configure(host_clock="simulated")
    assert time.time() - simulated > DAY
    with pytest.raises(ValueError, match="simulated, real"):
        ttnn.configure(host_clock="fast")


def python(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python."""
    return subprocess.run([sys.executable, *words], cwd=cwd, env=os.environ | env, capture_output=True, text=True)


def wrapped(*words: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[str]:
    """Run Python under `python -m tensix_sim.ttnn`."""
    return python("-m", "tensix_sim.ttnn", *options, "--", sys.executable, *words, **more)


def test_a_process_that_only_imports_ttnn_keeps_its_clocks() -> None:
    """They are the functions of C."""
    code = "import time, datetime, tensix_sim.ttnn; print(type(time.time), type(vars(datetime.datetime)['now']))"
    assert python("-c", code).stdout == f"{type(builtins.len)} {type(vars(dict)['fromkeys'])}\n"


NAP = """
import subprocess, sys
from time import monotonic, sleep
start = monotonic(); sleep(10**6); print(round(monotonic() - start, 6), flush=True)
subprocess.run([sys.executable, "-c", "import time; start = time.time(); time.sleep(10**6); print(time.time() - start > 10**6)"])
"""


def test_a_wrapped_process_follows_and_says_so(tmp_path: Path) -> None:
    """From its first line, with or without ops; its children too; not where that is switched off."""
    (tmp_path / "nap.py").write_text(NAP)
    done = wrapped(str(tmp_path / "nap.py"))
    assert done.stdout.splitlines() == ["1000000.000001", "True"], done.stderr
    assert done.stderr.count(NOTE) == 2
    for off in ({"options": ("--host-clock", "real")}, {"TENSIX_SIM_HOST_CLOCK": "real"}):
        done = wrapped("-c", "import time; time.time(); print(type(time.time))", **off)
        assert (done.stdout, done.stderr) == (f"{type(len)}\n", "")


SWEEP = """
import time as t
from datetime import datetime
import numpy as np
import ttnn
from stopwatch import timed

device = ttnn.open_device(device_id=0)
x = np.random.default_rng(0).standard_normal((1, 2, 256, 64)).astype(np.float32)
q = k = v = ttnn.from_numpy(x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)

@timed
def attend(chunk):
    config = ttnn.SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=chunk, k_chunk_size=chunk)
    ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=False, program_config=config)
    ttnn.synchronize_device(device)

took = {}
for chunk in (32, 64, 128, 256):
    attend(chunk)
    start, began = t.time(), datetime.now()
    helper = attend(chunk)
    took[chunk] = (t.time() - start) * 1e6, (datetime.now() - began).total_seconds() * 1e6, helper * 1e6
for way in range(3):
    print(*sorted(took, key=lambda chunk: took[chunk][way]))
"""
STOPWATCH = """
from time import perf_counter
def timed(function):
    def timed_function(*args):
        start = perf_counter()
        function(*args)
        return perf_counter() - start
    return timed_function
"""


@pytest.mark.slow
def test_a_sweep_ranks_as_the_table_does(tmp_path: Path) -> None:
    """By time.time, by datetime, and by a helper of the user's in another folder; by the table's microseconds."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "stopwatch.py").write_text(STOPWATCH)
    (tmp_path / "sweep.py").write_text("import sys; sys.path.append('lib')" + SWEEP)
    done = wrapped("sweep.py", cwd=tmp_path, options=("--board", "n300"))
    table = [float(us) for us in re.findall(r"^scaled_dot.* ([\d.]+) +[\d.]+ +[\d.]+% +x2$", done.stderr, re.MULTILINE)]
    assert len(table) == 4, done.stderr
    right = " ".join(str(chunk) for _, chunk in sorted(zip(table, (32, 64, 128, 256), strict=True)))
    assert done.stdout.splitlines() == [right] * 3


TEST_FILE = """
import time
import pytest

@pytest.fixture
def stopwatch():
    start = time.perf_counter()
    return lambda: time.perf_counter() - start

def test_time(stopwatch):
    time.sleep(10**6)
    assert stopwatch() > 10**6
"""


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_test_sees_simulated_time_and_pytest_the_real_one(workers: str, tmp_path: Path) -> None:
    """Under the plugin alone, in this process or a worker; it says so, once, and the durations are those of the host."""
    (tmp_path / "test_it.py").write_text(TEST_FILE)
    done = python("-m", "pytest", "-p", "tensix_sim.ttnn.plugin", "-q", "-n", workers, "test_it.py", cwd=tmp_path)
    assert (done.stdout + done.stderr).count(NOTE) == 1, done.stdout
    assert float(re.findall(r"1 passed in ([\d.]+)s", done.stdout)[0]) < 1e5


def test_timeit_as_a_command_follows() -> None:
    """With the loops given."""
    done = wrapped("-m", "timeit", "-n", "1", "-r", "1", "-u", "sec", "-s", "import time", "time.sleep(5000)")
    assert done.stdout == "1 loop, best of 1: 5e+03 sec per loop\n", done.stderr


def test_what_was_read_is_told_once_it_was_read() -> None:
    """Not before."""
    clock = HostClock()
    clock.run(0, 1)
    assert not clock.used
    clock.read()
    assert clock.used
    assert CLOCK.simulated
