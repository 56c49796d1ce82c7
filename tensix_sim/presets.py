"""Specs of real models, as they call the op: one YAML file each in `data/presets`."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from pydantic import PositiveInt

from tensix_sim.config import Pair, SpecError, Strict, read_spec
from tensix_sim.text import near


class Preset(Strict):
    """How a model calls the op on each of its devices.

    `spec` has no chunk sizes. Those are [Q, K] of `chunks` at its last key that is not above the number of new
    tokens; with `chunks_divide_prefix` at most the powers of two that divide the prefix (Q), and prefix and new
    tokens together (K). `seq_lens` are the least and the greatest number of new tokens that the preset stands for.
    """

    about: str
    source: str
    unverified: str | None = None
    seq_lens: Pair
    chunks: dict[PositiveInt, Pair]
    chunks_divide_prefix: bool = False
    spec: dict[str, Any]

    def raw_spec(self, overrides: Sequence[str] = (), seq_len: int | None = None) -> dict[str, Any]:
        """As the function `preset`."""
        last = () if seq_len is None else (f"inputs.seq_len={seq_len}",)
        raw = read_spec(self.spec, [*overrides, *last])
        if isinstance(config := raw.get("program_config"), dict):
            q, k = self._chunk_sizes(_positive(raw.get("inputs"), "seq_len"), _positive(raw, "chunk_start_idx") or 0)
            config.setdefault("q_chunk_size", q)
            config.setdefault("k_chunk_size", k)
        return raw

    def _chunk_sizes(self, seq_len: int | None, prefix: int) -> tuple[int, int]:
        rows = seq_len or int(self.spec["inputs"]["seq_len"])
        q, k = self.chunks[max(least for least in self.chunks if least <= rows)]
        if prefix and self.chunks_divide_prefix:
            return min(q, _power_of_two_in(prefix)), min(k, _power_of_two_in(prefix + rows))
        return q, k


def preset(name: str, overrides: Sequence[str] = (), seq_len: int | None = None) -> dict[str, Any]:
    """Take the spec of a model, put in each ``a.b=c`` of `overrides`, and then what depends on the length; not validated yet.

    `seq_len` wins over an override of it, an override of a chunk size over the model's own. A length that no chunk of the model's
    divides gives a spec that `check` refuses.

    Raises:
        SpecError: there is no such preset (the message has the nearest), or an override cannot be placed.

    """
    known = _files()
    if name not in known:
        raise SpecError(("preset", name, f"there is no such preset; nearest: {near(name, known)}; tensix-sim presets lists all"))
    return _read(known[name]).raw_spec(overrides, seq_len)


def presets() -> dict[str, Preset]:
    """All presets by name, in order of their names."""
    return {name: _read(file) for name, file in _files().items()}


def _files() -> dict[str, Traversable]:
    folder = files("tensix_sim").joinpath("data", "presets")
    found = {file.name.removesuffix(".yaml"): file for file in folder.iterdir() if file.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def _read(file: Traversable) -> Preset:
    return Preset.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def _positive(place: Any, key: str) -> int | None:
    """The number at `key`, or None where there is none or it is no number that a run could have."""
    value = place.get(key) if isinstance(place, Mapping) else None
    return value if isinstance(value, int) and value > 0 else None


def _power_of_two_in(number: int) -> int:
    """The greatest power of two that divides a positive number."""
    return number & -number
