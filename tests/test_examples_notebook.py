"""The notebook in examples: it runs from its first cell to its last, and prints what is stored in it.

`python tests/test_examples_notebook.py` runs it and stores what it shows; look at it.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

import tensix_sim

ROOT = Path(tensix_sim.__file__).parents[1]
NOTEBOOK = ROOT / "examples/attention.ipynb"
SCREEN = re.compile("<pre>(.*?)</pre>", re.DOTALL)


def run() -> tuple[Any, Any]:
    """The notebook as stored, and as it is after a run in a fresh kernel."""
    import nbformat
    from nbclient import NotebookClient

    stored, fresh = (nbformat.read(NOTEBOOK, as_version=4) for _ in range(2))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    for cell in fresh.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # of compiling, once
    return stored, fresh


def said(notebook: Any) -> list[str]:
    """What each cell shows as text or as a screen, without what differs between releases of pandas and matplotlib."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/plain", "")
            shown += ["" if text.startswith("<") else text, *SCREEN.findall(data.get("text/html", ""))]
    return shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_the_notebook_runs_and_shows_what_is_stored() -> None:
    """Figures to the digit; no cell fails, and pictures are there."""
    for package in ("nbclient", "ipykernel", "pandas", "matplotlib"):
        pytest.importorskip(package)
    stored, fresh = run()
    assert said(fresh) == said(stored)
    shown = [output.get("data", {}) for cell in fresh.cells for output in cell.get("outputs", ())]
    assert sum("<img" in data.get("text/html", "") for data in shown) == 2
    assert any("image/png" in data for data in shown)


if __name__ == "__main__":
    import nbformat

    nbformat.write(run()[1], NOTEBOOK)
