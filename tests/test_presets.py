"""Presets: what models pass to the op is legal at every length, and no override of the user's is lost."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensix_sim
from tensix_sim.config import BUILT_IN, RunSpec, SpecError
from tensix_sim.presets import Preset, preset, presets
from tensix_sim.sdpa.op import positions

PRESETS = presets()
ROOT = Path(tensix_sim.__file__).parent
LONG_PREFIX = [f"chunk_start_idx={3 * 2048}"]


class Model(NamedTuple):
    """A model as published, and over how many devices its heads are shared."""

    q_heads: int
    kv_heads: int
    head_dim: int
    context: int
    shares: int


MODELS = {
    "llama70b-galaxy": Model(64, 8, 128, 131072, 8),
    "llama70b-galaxy-joint": Model(64, 8, 128, 131072, 8),
    "llama70b-galaxy-prefix": Model(64, 8, 128, 131072, 8),
    "llama70b-galaxy-chunked": Model(64, 8, 128, 131072, 8),
    "llama70b-t3000": Model(64, 8, 128, 131072, 8),
    "llama8b-n150": Model(32, 8, 128, 131072, 1),
    "llama8b-t3000": Model(32, 8, 128, 131072, 8),
    "mistral7b-n150": Model(32, 8, 128, 32768, 1),
    "olmo3-32b-galaxy": Model(40, 8, 128, 65536, 8),
    "qwen2.5-72b-t3000": Model(64, 8, 128, 131072, 8),
    "qwen2.5-7b-n300": Model(28, 4, 128, 131072, 2),
    "qwen3-32b-blackhole": Model(64, 8, 128, 40960, 8),
    "qwen3-32b-galaxy": Model(64, 8, 128, 40960, 8),
    "video-galaxy": Model(14, 14, 128, 131072, 1),
}


def lengths(of: Preset) -> list[int]:
    """The powers of two that a preset stands for."""
    least, greatest = of.seq_lens
    return [2**n for n in range(5, 20) if least <= 2**n <= greatest]


def chunks(name: str, *overrides: str, seq_len: int | None = None) -> tuple[Any, Any]:
    """The sizes of Q and K chunks."""
    config = preset(name, overrides, seq_len)["program_config"]
    return config["q_chunk_size"], config["k_chunk_size"]


# -- the files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_legal_at_every_length(name: str) -> None:
    """The checks find nothing at any power of two between its least and greatest length, nor at its own length."""
    assert len(lengths(PRESETS[name])) > 3
    for seq_len in (None, *lengths(PRESETS[name])):
        report = tensix_sim.check(preset(name, ["numerics=off"], seq_len))
        assert report.ok, (seq_len, report.text())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_runs(name: str) -> None:
    """At its least length, cycles only."""
    result = tensix_sim.simulate(preset(name, ["numerics=off", "trace=off"], PRESETS[name].seq_lens[0]))
    assert len(result.devices) == len(positions(result.spec))
    assert all(device.cycles > 0 for device in result.devices)


def test_heads_are_the_models() -> None:
    """Those of a device, times the devices that share them, are the published ones; no length exceeds the model's context."""
    assert MODELS.keys() == PRESETS.keys()
    for name, model in MODELS.items():
        spec = RunSpec.model_validate(preset(name))
        inputs, longest = spec.inputs, PRESETS[name].seq_lens[1] + spec.prefix
        found = (inputs.q_heads * model.shares, inputs.kv_heads * model.shares, inputs.head_dim)
        assert found == (model.q_heads, model.kv_heads, model.head_dim), name
        assert longest <= model.context, name


def test_the_built_in_example_is_llama_on_a_galaxy() -> None:
    """Two ways to the same spec."""
    assert RunSpec.model_validate(preset("llama70b-galaxy")) == BUILT_IN
    assert RunSpec.model_validate(preset("llama70b-galaxy", seq_len=8192)) == BUILT_IN


def test_every_file_is_in_the_wheel() -> None:
    """What pyproject.toml calls package data takes them all in."""
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["tensix_sim"]
    for name in PRESETS:
        assert any(fnmatch(f"data/presets/{name}.yaml", p) and p.count("/") == 2 for p in patterns), name


def test_a_preset_says_what_it_is() -> None:
    """One line that fits a list, where it is from, and rules that know every length."""
    for name, found in PRESETS.items():
        assert "\n" not in found.about, name
        assert found.source, name
        assert min(found.chunks) == 1, name
        assert not {"q_chunk_size", "k_chunk_size"} & found.spec["program_config"].keys(), name


# -- what depends on the length -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seq_len", "expected"),
    [
        ("llama70b-galaxy", 1536, (64, 64)),
        ("llama70b-galaxy", 2047, (64, 64)),
        ("llama70b-galaxy", 2048, (256, 512)),
        ("llama70b-galaxy", 131072, (256, 512)),
        ("qwen3-32b-galaxy", 4096, (256, 512)),
        ("qwen3-32b-blackhole", 4096, (256, 256)),
        ("olmo3-32b-galaxy", 256, (64, 64)),
        ("olmo3-32b-galaxy", 257, (128, 128)),
        ("olmo3-32b-galaxy", 2048, (128, 128)),
        ("olmo3-32b-galaxy", 4096, (256, 256)),
        ("llama8b-t3000", 1024, (64, 64)),
        ("llama8b-t3000", 2048, (256, 256)),
        ("llama70b-galaxy-chunked", 128, (128, 128)),
        ("llama70b-galaxy-chunked", 65536, (128, 128)),
    ],
)
def test_chunks_are_the_models(name: str, seq_len: int, expected: tuple[int, int]) -> None:
    """As the model's own code has them, on both sides of each of its steps; an override of the length counts as well."""
    assert chunks(name, seq_len=seq_len) == chunks(name, f"inputs.seq_len={seq_len}") == expected


@pytest.mark.parametrize(
    ("prefix", "seq_len", "expected"),
    [
        (0, 8192, (256, 512)),  # no prefix: no limit
        (8192, 8192, (256, 512)),
        (128, 2048, (128, 128)),  # 2176 = 17 x 128
        (192, 4096, (64, 64)),  # 3 x 64; 4288 = 67 x 64
        (256, 3840, (256, 512)),  # 4096 together
        (4096, 1024, (64, 64)),  # short: both small to begin with
    ],
)
def test_chunks_divide_a_prefix(prefix: int, seq_len: int, expected: tuple[int, int]) -> None:
    """By hand: Q at most the power of two in the prefix, K at most that in prefix and new tokens together."""
    assert chunks("llama70b-galaxy-prefix", f"chunk_start_idx={prefix}", seq_len=seq_len) == expected


@given(blocks=st.integers(0, 1024), seq_len=st.sampled_from(lengths(PRESETS["llama70b-galaxy-prefix"])))
def test_any_prefix_of_whole_blocks_is_legal(blocks: int, seq_len: int) -> None:
    """The rule of the model's config keeps every rule of the op."""
    overrides = [f"chunk_start_idx={64 * blocks}", "numerics=off"]
    assert tensix_sim.check(preset("llama70b-galaxy-prefix", overrides, seq_len)).ok


# -- the user's own ------------------------------------------------------------------------------------------


def test_an_override_wins_over_the_model() -> None:
    """A chunk size that is given stays, wherever it stands; the other one follows the length."""
    assert chunks("llama70b-galaxy", "program_config.q_chunk_size=128", seq_len=32768) == (128, 512)
    assert chunks("llama70b-galaxy", "program_config.k_chunk_size=128", "inputs.seq_len=1280") == (64, 128)
    assert chunks("llama70b-galaxy-prefix", "program_config.q_chunk_size=32", *LONG_PREFIX) == (32, 512)
    assert preset("llama70b-galaxy", ["program_config=null"])["program_config"] is None
    assert preset("llama70b-galaxy", ["board=n300"])["board"] == "n300"


def test_the_argument_wins_over_an_override() -> None:
    """A sweep over lengths may pass the user's overrides on."""
    raw = preset("llama70b-galaxy", ["inputs.seq_len=1024"], seq_len=4096)
    assert (raw["inputs"]["seq_len"], raw["program_config"]["k_chunk_size"]) == (4096, 512)


@pytest.mark.parametrize(
    "override",
    ["inputs.seq_len=8kb", "inputs.seq_len=0", "inputs.seq_len=-8192", "inputs.seq_len=null", "inputs=null", "inputs=[]",
     "chunk_start_idx=-64", "chunk_start_idx=x", "program_config=[]"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["llama70b-galaxy", "llama70b-galaxy-prefix"])
def test_a_bad_value_is_left_to_the_checks(name: str, override: str) -> None:
    """They complain about the key that was given, not about chunk sizes that nobody wrote."""
    report = tensix_sim.check(preset(name, [override]))
    assert not report.ok
    assert not any("chunk_size" in violation.key for violation in report.violations)


def test_what_is_made_of_a_preset_is_the_callers() -> None:
    """Changing one spec changes no other."""
    found = PRESETS["llama70b-galaxy"]
    found.raw_spec()["inputs"]["q_heads"] = 7
    assert found.raw_spec()["inputs"]["q_heads"] == 8


@pytest.mark.parametrize("name", ["llama70b-galxy", "", "../llama70b-galaxy", "llama70b-galaxy.yaml"])
def test_an_unknown_name_is_told_near_ones(name: str) -> None:
    """Three of them, the nearest first, and how to see all."""
    with pytest.raises(SpecError, match="no such preset; nearest: ") as error:
        preset(name)
    listed = re.split(", |; ", str(error.value).partition("nearest: ")[2])
    assert len(listed) == 4
    assert {*listed[:3]} < {*PRESETS}
    assert not name or listed[0] == "llama70b-galaxy"
