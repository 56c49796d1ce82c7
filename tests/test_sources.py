"""What a stored number depends on is found by imports."""

import subprocess
import sys

from tensix_sim import sources as s
from tensix_sim.store import MEASURES

LOADED = """
import sys
from tensix_sim.config import load_spec
from {module} import measure
spec = load_spec({{"op": "sdpa", "board": "n150", "trace": "off",
    "inputs": {{"q_heads": 1, "kv_heads": 1, "seq_len": 64, "head_dim": 32}},
    "program_config": {{"compute_with_storage_grid_size": [2, 2], "q_chunk_size": 32, "k_chunk_size": 32}}}})
measure("error", spec, 0)
measure("alone", spec.model_copy(update={{"numerics": "off"}}), 0)
ours = [module for name, module in sys.modules.items() if name.partition(".")[0] == "tensix_sim"]
print(*[module.__file__ for module in ours if getattr(module, "__file__", None)], sep="\\n")
"""


def test_all_that_a_measurement_loads_is_in_its_version():
    """Python itself says what was imported by the time a time, a bound and an error were measured."""
    run = subprocess.run([sys.executable, "-c", LOADED.format(module=MEASURES)], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert loaded
    assert loaded <= {str(path) for path in s.sources(MEASURES)}


def test_the_faces_are_not():
    """An edit of the screen, the page or the command line throws no number away."""
    named = {str(path.relative_to(s.ROOT)) for path in s.sources(MEASURES)}
    assert not named & {"cli/runs.py", "screen.py", "page/page.py", "ttnn/__init__.py", "validate.py", "analysis/verdict.py"}
    assert {"measure.py", "hw/banks.py", "kernels/sdpa/reader.py", "arch/blackhole.py"} <= named


def test_a_changed_file_is_another_version(tmp_path, monkeypatch):
    """Of a package of three modules: one imported within a function counts, one that nobody imports does not."""
    files = {"__init__.py": "", "a.py": "def f():\n    from tensix_sim.b import g\n", "b.py": "g = 1\n", "c.py": "h = 1\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(s, "ROOT", tmp_path)

    def version():
        s.sources.cache_clear()
        s.version_of.cache_clear()
        return s.version_of("tensix_sim.a")

    before = version()
    (tmp_path / "c.py").write_text("h = 2\n")
    assert version() == before
    (tmp_path / "b.py").write_text("g = 2\n")
    assert version() != before
    s.sources.cache_clear()
    s.version_of.cache_clear()
