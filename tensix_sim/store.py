"""Where `tune` and `report` keep what they measured: an SQLite file that survives them, whatever ends them."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import isfinite
from pathlib import Path

from tensix_sim.config import RunSpec
from tensix_sim.sdpa.op import Op
from tensix_sim.sources import version_of
from tensix_sim.text import brief
from tensix_sim.user_errors import UserError

TABLE = """
create table if not exists runs (
    model text, what text, ring_id integer, spec text, found real not null,
    primary key (model, what, ring_id, spec)
) without rowid
"""
MEASURES = "tensix_sim.measure"  # the module whose `measure` finds the numbers


class StoreError(UserError):
    """A store that cannot be read or written; the message names the file."""


def model_version() -> str:
    """A short hash of what measures and of all that it imports: what another version measured does not count."""
    return version_of(MEASURES)


class Store:
    """Numbers found by (what was measured, ring position, spec), each on disk before `put` returns.

    Raises:
        StoreError: the file is no store, or cannot be opened.

    """

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._path = path
        with self._complaints():
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute(TABLE)
            self._connection.execute("select model, what, ring_id, spec, found from runs limit 1")
            self._connection.executescript("begin immediate; rollback")  # what cannot be written is told before work is done

    def get(self, what: str, ring_id: int, spec: RunSpec) -> float | None:
        """What was found, if it was looked for."""
        query = "select found from runs where model = ? and what = ? and ring_id = ? and spec = ?"
        with self._complaints():
            row = self._connection.execute(query, (model_version(), what, ring_id, _key(what, spec))).fetchone()
        if row is None:
            return None
        if not (isinstance(row[0], int | float) and isfinite(row[0]) and row[0] >= (what != "error")):
            told = f"{self._path}: holds {brief(row[0], 60)} for the {what} of ring position {ring_id}, which nothing measured"
            raise StoreError(f"{told}; give another --store, or remove this one")
        return float(row[0])

    def put(self, what: str, ring_id: int, spec: RunSpec, found: float) -> None:
        """Keep what was found."""
        with self._complaints():
            row = (model_version(), what, ring_id, _key(what, spec), found)
            self._connection.execute("insert or ignore into runs values (?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {getattr(error, 'strerror', None) or error}; give another --store") from error


def writable_store(path: Path) -> Path | str:
    """`path`, or ":memory:" where no store can be kept there."""
    try:
        Store(path).close()
    except StoreError:
        return ":memory:"
    return path


def _key(what: str, spec: RunSpec) -> str:
    """All of a spec that what is measured depends on, and the contents of the files that it names: of a time, the page table."""
    named = set() if Op.of(spec).travels else {"ring_ids", "ring_id"}  # a device of all, or one alone
    unneeded = {"queue_id", "trace"} | named | ({"numerics", "reference"} if what != "error" else set())
    files = [spec.paged_kv.page_table_file if spec.paged_kv else None]
    if what == "error":
        files += spec.inputs.files
    given = spec.model_dump(mode="json", exclude=unneeded)
    given["contents"] = [_digest(path, Path(path).stat().st_mtime_ns) for path in files if path]
    return json.dumps(given, sort_keys=True)


@cache
def _digest(path: str, written: int) -> str:
    """Of what the file held when it was `written`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
