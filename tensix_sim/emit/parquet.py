"""Spans, counters and transfers as Parquet, for queries over runs: pandas, polars, DuckDB and others read it."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tensix_sim.emit.run import Emission
from tensix_sim.files import atomic_path
from tensix_sim.trace.folder import MARK
from tensix_sim.trace.perfetto import MissingPackageError

Recorded = Literal["spans", "counters", "transfers"]


def packages() -> tuple[Any, Any]:
    """PyArrow, and what of it writes Parquet.

    Raises:
        MissingPackageError: it is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingPackageError("parquet: needs pyarrow, which is not installed: pip install 'tensix-sim[parquet]'")
    return import_module("pyarrow"), import_module("pyarrow.parquet")


def write(emission: Emission, folder: Path) -> list[Path]:
    """`spans-<ring_id>.parquet` and `counters-<ring_id>.parquet` of each device, and its transfers if the trace has them.

    Columns are those of `Trace.frame`, texts as places in a list of them, and `ring_id`; the run's id stands in the schema.
    """
    arrow, parquet = packages()
    kinds: list[Recorded] = ["spans", "counters", *(["transfers"] if emission.job.spec.trace == "transfers" else [])]  # type: ignore[list-item]
    written = []
    for device, trace in emission.devices:
        for kind in kinds:
            columns = trace.columns(kind)
            rows = len(next(iter(columns.values())))
            of_device = np.full(rows, device["ring_id"], np.int32)
            arrays = {name: arrow.array(values) for name, values in {"ring_id": of_device, **columns}.items()}
            texts = {name: arrays[name].dictionary_encode() for name, values in columns.items() if values.dtype == object}
            table = arrow.table(arrays | texts).replace_schema_metadata({MARK: emission.run.id})
            path = folder / f"{kind}-{device['ring_id']}.parquet"
            with atomic_path(path) as target:
                parquet.write_table(table, target, compression="zstd")
            written.append(path)
    return written
