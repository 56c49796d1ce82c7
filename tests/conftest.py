"""What tests ask for by name: a program run to its end, and tensors of random numbers."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import programs
import pytest

from tensix_sim import Ran
from tensix_sim.kernel_api import Tensor


@pytest.fixture
def run() -> Callable[..., Ran]:
    """Give `run(machine, program)`: launch, run to the end, check that nothing is left."""
    return programs.run


@pytest.fixture
def tensor() -> Callable[..., Tensor]:
    """Give `tensor(name, tile_rows, tile_cols, ...)`, as `programs.tensor` has it."""
    return programs.tensor


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let Ctrl-C reach children even where it is ignored, as in what a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def own_session() -> Iterator[None]:
    """Let a test of ttnn have settings and records of its own."""
    from tensix_sim.ttnn.session import SESSION, Settings

    SESSION.settings.__dict__.update(Settings().__dict__)
    SESSION.forget()
    SESSION.notes.clear()
    yield
    SESSION.settings.__dict__.update(Settings().__dict__)


@pytest.fixture
def device() -> Iterator[Any]:
    """A device of ttnn's."""
    from tensix_sim import ttnn

    with ttnn.manage_device(0) as opened:
        yield opened
