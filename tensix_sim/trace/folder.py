"""The folder of a run, which is replaced whole: what stands under its name is of one run, whoever is killed and when."""

import gzip
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from tensix_sim.files import remove_dead
from tensix_sim.host import exchange, locked

# Names within a run's folder that `run`, its --emit and `report` give; what has another is the user's
OURS = (
    "summary.json", "trace.json", "trace.json.gz", "*-*.parquet", "cores.csv", "transfers.csv", "device-*.npz", "tail-*.npz",
    "profile_log_device.csv", "ops_perf_results_*.csv", "noc_trace_dev*_ID*.json", "trace.pftrace",
    "ttnn-visualizer/profiler/db.sqlite", "ttnn-visualizer/profiler/cluster_descriptor.yaml",
    "ttnn-visualizer/performance/profile_log_device.csv",
    "ttnn-visualizer/performance/ops_perf_results_*.csv", "ttnn-visualizer/performance/npe_viz/*.json",
    "report.html", *(f"{chart}.png" for chart in ("devices", "roofline", "cores", "time", "budget", "floor")),
)  # fmt: skip
MARK = "tensix_sim run"  # beside the id, in formats that hardware has too
MARKED = ("profile_log_device.csv", "ops_perf_results_*.csv", "noc_trace_dev*_ID*.json")  # which without it are not ours
HEAD = 1 << 16  # bytes of a file in which its id is to stand
HALF_WRITTEN = re.compile(r"(^|/)\.([^/]+)\.[0-9a-f]{8}(-journal)?$")  # names of `files.atomic_path`, and SQLite's beside them


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder to write into, which takes the name `folder` when the block ends well; until then an older one keeps it.

    The older one goes, and so does what killed runs left beside it. Of two runs at once the last one wins. An OSError names a
    path under `folder`, whatever it was called when it went wrong.

    Raises:
        OSError: no folder can be made there, or there is one with files that no run writes; nothing was touched.
    """
    target = folder.resolve()
    missing = [parent for parent in target.parents if not parent.exists()]
    new = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
    alive = ExitStack()
    try:
        _refuse_foreign(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent):
            names = rf"\.{re.escape(target.name)}\.new-[0-9a-f]{{8}}"
            remove_dead(target.parent, names, partial(shutil.rmtree, ignore_errors=True))
            new.mkdir()
            alive.enter_context(locked(new))
        try:
            yield new
            with locked(target.parent):
                _refuse_foreign(target)
                _take_name(new, target)
        finally:
            with suppress(KeyboardInterrupt):  # what is left the next run removes
                shutil.rmtree(new, ignore_errors=True)
            alive.close()
    except BaseException as error:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            named = str(error.filename or folder)
            error.filename = named.replace(str(new), str(folder)).replace(str(target), str(folder))
        raise


def _refuse_foreign(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(0, "is a file; a run needs a folder", str(target))
    for where, folders, files in os.walk(target):
        folders.sort()
        for path in sorted(Path(where, name) for name in [*files, *folders]):
            name = path.relative_to(target).as_posix()
            if (path.is_dir() and not path.is_symlink()) or _is_ours(path, name):
                continue
            why = f"holds {name}, which no run writes; a run replaces its folder whole: move that away, or give another --name"
            raise FileExistsError(0, why, str(target))


def _is_ours(path: Path, name: str) -> bool:
    if half := HALF_WRITTEN.search(name):
        return _is_ours(path, name[: half.start()] + half[1] + half[2])
    known = path.is_file() and any(fnmatch(name, ours) and name.count("/") == ours.count("/") for ours in OURS)
    return known and (not any(fnmatch(path.name, marked) for marked in MARKED) or starts_with(path, MARK))


def starts_with(path: Path, text: str) -> bool:
    """Whether a text stands near the start of a file; in an archive that is broken nothing does."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            return text.encode() in file.read(HEAD)
        except (gzip.BadGzipFile, zlib.error, EOFError):
            return False


def _take_name(new: Path, target: Path) -> None:
    """Let `new` have the name of `target`, and that, if it is there, the name of `new`: in one step where the system has such."""
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.rename(new)
