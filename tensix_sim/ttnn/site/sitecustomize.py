"""Run by every Python that a command under `python -m tensix_sim.ttnn` starts: `import ttnn` means ours in it."""

import atexit
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def tell() -> None:
    """Write what the script's ops took, if it had any; a pytest run has told it by now."""
    session = sys.modules.get("tensix_sim.ttnn.session")
    if session is None or not session.SESSION.calls:
        return
    from tensix_sim.ttnn.table import HEAD, lines

    for line in (HEAD, *lines(session.SESSION.calls), *(f"note: {note}" for note in session.SESSION.notes)):
        print(line, file=sys.stderr)  # noqa: T201


here = Path(__file__).resolve().parent
others = [path for path in sys.path if Path(path or ".").resolve() != here]
try:
    from tensix_sim.ttnn.imports import install
except ImportError:  # a Python without this package, such as a tool's own
    pass
else:
    install()
    atexit.register(tell)
if spec := PathFinder.find_spec("sitecustomize", others):  # the one that this hides
    assert spec.loader is not None
    spec.loader.exec_module(module_from_spec(spec))
