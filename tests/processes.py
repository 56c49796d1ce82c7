"""Other processes in tests: waiting for what they do, never for a time that a busy machine makes too short."""

import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

HANGS = 600  # seconds after which a process hangs; no measure of speed


def await_event(happened: Callable[[], Any], process: Popen[Any] | None = None) -> Any:
    """Wait until `happened` gives something true, and give that; a process that ends before is an error."""
    end = time.monotonic() + HANGS
    while time.monotonic() < end:
        if found := happened():
            return found
        assert process is None or process.poll() is None, f"ended with {process.returncode}"
        time.sleep(0.02)
    raise TimeoutError(happened)
