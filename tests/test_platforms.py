"""What the package needs of a system: it imports anywhere, and runs where POSIX's modules are."""

import shutil
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest

import tensix_sim
from tensix_sim import host, simulate

SPEC = {
    "op": "sdpa",
    "board": "n150",
    "numerics": "off",
    "trace": "off",
    "inputs": {"q_heads": 1, "kv_heads": 1, "seq_len": 64, "head_dim": 32},
    "program_config": {"compute_with_storage_grid_size": [2, 2], "q_chunk_size": 32, "k_chunk_size": 32},
}
LEAN = """
import os, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
del signal.pthread_sigmask, os.sysconf
"""
RUN = f"""
from pathlib import Path
from tensix_sim import simulate
from tensix_sim.host import interrupts_held
for _ in range(2):
    with interrupts_held():
        result = simulate({SPEC})
    result.write(Path(sys.argv[1]))
print(result.peak_rss_bytes, result.devices[0].cycles)
"""


def python(code: str, *args: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run some code in another process, in a folder whose packages are found first."""
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, cwd=where)


@pytest.mark.slow
def test_a_run_does_without_what_posix_has(tmp_path: Path) -> None:
    """No `fcntl`, `resource`, `pthread_sigmask` or `sysconf`: a run has its cycles and its folder; memory is not counted."""
    done = python(LEAN + RUN, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", str(simulate(SPEC).devices[0].cycles)]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["summary.json"]


def test_a_clone_without_links_says_what_to_do(tmp_path: Path) -> None:
    """Git on Windows writes a link as a text file; the error names the file and git's setting."""
    package = tmp_path / "tensix_sim"
    package.mkdir()
    shutil.copy(tensix_sim.__file__, package)
    (package / "kernels").write_text("../kernels")
    done = python("import tensix_sim", where=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: ")
    assert str(package / "kernels") in done.stderr
    assert "core.symlinks" in done.stderr


def test_a_folder_that_is_locked_is_not_to_be_had(tmp_path: Path) -> None:
    """Who does not wait is told; once it is free, it is to be had."""
    with host.locked(tmp_path), pytest.raises(BlockingIOError), host.locked(tmp_path, wait=False):
        pass
    with host.locked(tmp_path, wait=False):
        pass


@pytest.mark.parametrize("wait", [True, False])
def test_where_no_folder_can_be_locked_who_waits_goes_on(tmp_path: Path, wait: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks nobody can tell whether a folder is in use: it may be written beside others, and never removed."""
    monkeypatch.setattr(host, "fcntl", None)
    with nullcontext() if wait else pytest.raises(OSError, match="nobody can tell"), host.locked(tmp_path, wait=wait):
        assert wait


def test_a_wheel_has_every_package() -> None:
    """What pyproject.toml lists is every folder with an `__init__.py`, the linked kernels' too."""
    root = Path(tensix_sim.__file__).parent
    listed = tomllib.loads((root.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [root, *(path.parent for path in root.rglob("*/__init__.py")), root / "kernels"]
    folders += [path.parent for path in (root / "kernels").resolve().rglob("*/__init__.py")]
    names = {folder.as_posix().partition(root.parent.as_posix() + "/")[2].replace("/", ".") for folder in folders}
    names = {name if name.startswith("tensix_sim") else f"tensix_sim.{name}" for name in names}
    assert sorted(names) == sorted(listed)
