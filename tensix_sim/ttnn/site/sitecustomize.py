"""Run by every Python that a command under `python -m tensix_sim.ttnn` starts: `import ttnn` means ours in it.

With our package comes the setting of the host's clocks, before a file of the user can read one.
"""

import atexit
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def tell() -> None:
    """Write what the script's ops took, if it had any, and what else is to be said; a pytest run has told it by now."""
    if "tensix_sim.ttnn.plugin" in sys.modules:
        return
    from tensix_sim.ttnn.costs import HEAD, lines
    from tensix_sim.ttnn.session import SESSION

    if folder := SESSION.settings.record:
        keep(folder)
        return
    table = (HEAD, *lines(SESSION.calls)) if SESSION.calls else ()
    for line in (*table, *(f"note: {note}" for note in SESSION.told())):
        print(line, file=sys.stderr)  # noqa: T201


def keep(folder: Path) -> None:
    """Write the run of the script, if it had ops; where it cannot be written, say so."""
    from tensix_sim.ttnn.record import record

    try:
        if record(folder):
            return
        said = "no op of ttnn was called"
    except OSError as error:
        said = f"{error.filename or folder}: {error.strerror or error}"
    print(f"{said}; no run was written", file=sys.stderr)  # noqa: T201


here = Path(__file__).resolve().parent
others = [path for path in sys.path if Path(path or ".").resolve() != here]
try:
    from tensix_sim.ttnn.imports import install
except ImportError:  # a Python without this package, such as a tool's own
    pass
else:
    install()
    os.environ.pop("TENSIX_SIM_RECORD", None)  # of this script, and not of those that it starts
    atexit.register(tell)
if spec := PathFinder.find_spec("sitecustomize", others):  # the one that this hides
    assert spec.loader is not None
    spec.loader.exec_module(module_from_spec(spec))
