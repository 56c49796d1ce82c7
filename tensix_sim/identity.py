"""What a run is of, in sixteen letters: its spec, the values of its inputs, and the simulator; neither when it ran nor where."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

import tensix_sim
from tensix_sim.config import RunSpec
from tensix_sim.sources import ROOT, hash_of

LETTERS = 16


def run_id(spec: RunSpec, values: str, gathered: bool, explained: bool) -> str:
    """The same for all files of a run, and for every run of the same input; `values` is their `values_digest`."""
    about = {
        "version": tensix_sim.__version__,
        "sources": sources_hash(),
        "spec": spec.model_dump(mode="json"),
        "values": values,
        "gathered": gathered,
        "explained": explained,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:LETTERS]


@cache
def sources_hash() -> str:
    """A hash of every source file of this package, of its kernels too."""
    return hash_of(
        sorted({*ROOT.rglob("*.py"), *(ROOT / "kernels").rglob("*.py")})
    )  # kernels are behind a link in the source tree


def values_digest(spec: RunSpec, given: Iterable[NDArray[np.generic] | None] = ()) -> str:
    """A hash of what the spec does not say: the arrays given in place of its values, or else the contents of its files."""
    digest = hashlib.sha256()
    arrays = [array for array in given if array is not None]
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    table, inputs = spec.paged_kv.page_table_file if spec.paged_kv else None, spec.inputs
    for path in () if arrays else (table, *inputs.files):
        if path:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:LETTERS]
