"""The published JSON Schema of a spec: every key described, what is legal passes, what is misspelt does not."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tensix_sim
from tensix_sim.config import BUILT_IN
from tensix_sim.doctor.check import check
from tensix_sim.presets import presets
from tensix_sim.schema import spec_schema

ROOT = Path(tensix_sim.__file__).parents[1]
PAGES = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
SHOWN = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGES, re.MULTILINE | re.DOTALL)]
SPECS = [*filter(None, SHOWN), *(preset.raw_spec() for preset in presets().values())]
INPUTS = {"q_heads": 8, "kv_heads": 1, "seq_len": 8192, "head_dim": 128}


def wrong(spec: Any) -> list[str]:
    """What a validator of JSON Schema has against a spec."""
    jsonschema = pytest.importorskip("jsonschema")
    return [error.message for error in jsonschema.Draft202012Validator(spec_schema()).iter_errors(json.loads(json.dumps(spec)))]


def keys(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All keys of a schema, wherever they are described."""
    if isinstance(part, dict):
        for name, field in part.get("properties", {}).items():
            yield f"{where}.{name}", field
        for name, inner in part.items():
            yield from keys(inner, f"{where}.{name}")
    elif isinstance(part, list):
        for inner in part:
            yield from keys(inner, where)


def test_every_key_is_described() -> None:
    """By a sentence, in every part."""
    found = dict(keys(spec_schema()))
    assert len(found) > 60
    assert [key for key, field in found.items() if not field.get("description")] == []


def test_it_is_a_schema() -> None:
    """Of the dialect that it names."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(spec_schema())


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_shown_and_shipped_is_valid(spec: dict[str, Any]) -> None:
    """Blocks of YAML in the pages, and presets."""
    assert wrong(spec) == []


@pytest.mark.parametrize(
    "spec",
    [
        BUILT_IN.model_dump(mode="json"),
        {"inputs": INPUTS | {"seq_len": "8k"}},
        {"inputs": {"files": {"q": "q.npy", "k": "k.npy", "v": "v.npy"}}},
        {"inputs": {"q": "q.npy", "k": "k.npy", "v": "v.npy"}},
        {"inputs": INPUTS, "machine": {"dram": {"bank_rate": 30}}, "ring_ids": [0, 2], "scale": None},
    ],
)
def test_other_ways_to_write_a_spec_are_valid(spec: dict[str, Any]) -> None:
    """Sizes, files, nested numbers of the machine, nulls."""
    assert wrong(spec) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"borad": "n150"}, "borad"), ({"board": "n151"}, "n151"), ({"op": "spda"}, "spda"), ({"ring_size": 0}, "0"),
        ({"inputs": INPUTS | {"seq_len": "8kb"}}, "8kb"), ({"inputs": {"q_heads": 8}}, "not valid"),
        ({"numerics": "slow"}, "slow"), ({"program_config": {"q_chunk_size": 64}}, "not valid"),
    ],
)  # fmt: skip
def test_what_check_refuses_for_its_form_is_not_valid(change: dict[str, Any], says: str) -> None:
    """Unknown keys and words, numbers that none can be, what is missing: both refuse it."""
    spec = {"inputs": INPUTS} | change
    assert any(says in message for message in wrong(spec))
    assert not check(spec).ok
