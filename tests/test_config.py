"""The user's config: which values exist, what is filled in, how a spec is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from tensix_sim.config import (
    BUILT_IN,
    ComputeKernelConfig,
    Inputs,
    PagedKV,
    RunSpec,
    SDPAProgramConfig,
    SpecError,
    load_spec,
    read_spec,
)
from tensix_sim.files import open_array
from tensix_sim.sdpa.op import positions

SHAPE = {"q_heads": 8, "kv_heads": 1, "seq_len": 8192, "head_dim": 128}


def spec(**changes: Any) -> RunSpec:
    """Make a spec of which only the inputs are given."""
    return RunSpec.model_validate({"inputs": SHAPE} | changes)


def arrays(folder: Path, **shapes: tuple[int, ...]) -> dict[str, str]:
    """Files of zeros."""
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.zeros(shape, np.float32))
    return {name: str(folder / f"{name}.npy") for name in shapes}


# -- names and defaults -------------------------------------------------------------------------------------


def test_program_config_has_ttnn_defaults() -> None:
    """Grid and chunk sizes must be given; the rest is ttnn's."""
    config = SDPAProgramConfig(compute_with_storage_grid_size=(8, 8), q_chunk_size=128, k_chunk_size=256)
    assert (config.sub_core_grids, config.exp_approx_mode, config.max_cores_per_head_batch) == (None, None, 16)
    required = {name for name, field in SDPAProgramConfig.model_fields.items() if field.is_required()}
    assert required == {"compute_with_storage_grid_size", "q_chunk_size", "k_chunk_size"}


def test_compute_config_has_the_defaults_of_its_struct() -> None:
    """The struct of ttnn says LoFi."""
    assert ComputeKernelConfig().model_dump() == {
        "math_fidelity": "LoFi",
        "math_approx_mode": True,
        "fp32_dest_acc_en": False,
        "packer_l1_acc": False,
        "dst_full_sync_en": False,
        "throttle_level": "NO_THROTTLE",
    }


def test_no_compute_config_is_not_an_empty_one() -> None:
    """Without one the op uses HiFi2; a given one is used as it stands, LoFi if it names no fidelity."""
    assert spec().effective_compute_config.math_fidelity == "HiFi2"
    given = spec(compute_kernel_config={"fp32_dest_acc_en": True}).effective_compute_config
    assert (given.math_fidelity, given.fp32_dest_acc_en) == ("LoFi", True)


def test_only_inputs_are_required() -> None:
    """Every other key has a default."""
    assert [name for name, field in RunSpec.model_fields.items() if field.is_required()] == ["inputs"]
    assert (spec().op, spec().ring_size, spec().queue_id, spec().numerics) == ("ring_distributed_sdpa", 4, 0, "fast")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0, 1, 2, 3)),
        ({"ring_size": 2}, (0, 1)),
        ({"ring_ids": [2, 0]}, (2, 0)),
        ({"ring_id": 3}, (3,)),
        ({"ring_id": 3, "ring_ids": [1]}, (3,)),
    ],
)
def test_simulated_positions(changes: dict[str, Any], expected: tuple[int, ...]) -> None:
    """All of the ring, or those listed; an explicit ring_id wins."""
    assert positions(spec(**changes)) == expected


def test_built_in_is_the_llama_prefill() -> None:
    """What the Llama-70B Galaxy model passes for 8k tokens."""
    program, compute = BUILT_IN.program_config, BUILT_IN.compute_kernel_config
    assert program is not None
    assert compute is not None
    assert (BUILT_IN.board, BUILT_IN.mesh, BUILT_IN.ring_size, BUILT_IN.inputs.seq_len) == ("galaxy", (8, 4), 4, 8192)
    assert (program.compute_with_storage_grid_size, program.q_chunk_size, program.k_chunk_size) == ((7, 10), 256, 512)
    assert (compute.math_fidelity, compute.fp32_dest_acc_en, compute.packer_l1_acc) == ("HiFi4", True, True)


# -- types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"ring_size": "4"},
        {"ring_size": 4.0},
        {"ring_size": True},
        {"ring_size": 0},
        {"ring_size": -4},
        {"ring_ids": "some"},
        {"ring_ids": [0, "1"]},
        {"ring_ids": [0, -1]},
        {"ring_ids": 1},
        {"mesh": [8]},
        {"mesh": [8, 4, 1]},
        {"mesh": [8, 0]},
        {"mesh": 32},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": "0.1"},
        {"memory_config": "dram"},
        {"numerics": "slow"},
        {"numerics": False},
        {"trace": False},
        {"queue_id": -1},
        {"chunk_start_idx": -64},
        {"chunk_start_idx": 64.0},
        {"paged_kv": {}},
        {"paged_kv": {"block_size": "64"}},
        {"paged_kv": 64},
        {"inputs": SHAPE | {"dtype": "float32"}},
        {"inputs": SHAPE | {"seq_len": 8192.5}},
        {"inputs": SHAPE | {"seq_len": "8k"}},
        {"inputs": SHAPE | {"q_heads": None}},
        {"inputs": SHAPE | {"outliers": 1.5}},
        {"inputs": SHAPE | {"outliers": float("nan")}},
        {"inputs": SHAPE | {"seed": -1}},
        {"program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 128}},
        {"program_config": {"compute_with_storage_grid_size": "8x8", "q_chunk_size": 128, "k_chunk_size": 128}},
        {"program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": "128", "k_chunk_size": 128}},
        {"program_config": {"compute_with_storage_grid_size": [8, 8], "q_chunk_size": 128, "k_chunk_size": 2.5}},
        {"compute_kernel_config": {"math_fidelity": "hifi2"}},
        {"compute_kernel_config": {"fp32_dest_acc_en": 1}},
        {"machine": {1: 2}},
        {"machine": [1]},
    ],
    ids=str,
)
def test_loose_types_and_values_are_refused(changes: dict[str, Any]) -> None:
    """A value of another type, even one that could be converted, is an error."""
    with pytest.raises(ValidationError):
        spec(**changes)


@pytest.mark.parametrize("part", [(), ("inputs",), ("program_config",), ("compute_kernel_config",), ("paged_kv",)], ids=str)
def test_unknown_keys_are_refused_everywhere(part: tuple[str, ...]) -> None:
    """A key that does not exist is an error at every level."""
    raw = BUILT_IN.model_dump() | {"paged_kv": {"block_size": 64}}
    place = raw
    for name in part:
        place = place[name]
    assert RunSpec.model_validate(raw)
    place["blok_size"] = 64
    with pytest.raises(ValidationError, match="blok_size"):
        RunSpec.model_validate(raw)


def test_specs_are_frozen_and_lists_become_tuples() -> None:
    """A spec cannot change after validation."""
    made = spec(mesh=[8, 4], ring_ids=[0, 1])
    assert (made.mesh, made.ring_ids) == ((8, 4), (0, 1))
    with pytest.raises(ValidationError, match="frozen"):
        made.ring_size = 8


@pytest.mark.parametrize(
    "made",
    [BUILT_IN, spec(paged_kv={"block_size": 64}, chunk_start_idx=128, machine={"dram": {"bank_rate": 30.0}}, ring_ids=[1])],
    ids=["built-in", "paged"],
)
def test_spec_survives_being_written(made: RunSpec) -> None:
    """Python, JSON and YAML give the same spec back."""
    plain = made.model_dump(mode="json")
    assert RunSpec.model_validate(made.model_dump()) == made
    assert RunSpec.model_validate_json(made.model_dump_json()) == made
    assert RunSpec.model_validate(yaml.safe_load(yaml.safe_dump(plain))) == made


def test_machine_overrides_can_be_nested() -> None:
    """Dotted names and nested mappings mean the same."""
    nested = spec(machine={"dram": {"bank_rate": 30.0}, "clock_hz": 1})
    assert nested.machine == {"dram.bank_rate": 30.0, "clock_hz": 1}


# -- files --------------------------------------------------------------------------------------------------


def test_shapes_come_from_files(tmp_path: Path) -> None:
    """Heads, rows and head_dim are those of the arrays, whether `files` is spelled out or not."""
    files = arrays(tmp_path, q=(2, 8, 1024, 64), k=(2, 4, 1024, 64), v=(2, 4, 1024, 64))
    made = Inputs.model_validate(files)
    assert (made.batch, made.q_heads, made.kv_heads, made.seq_len, made.head_dim) == (2, 8, 4, 1024, 64)
    assert made.from_files
    assert Inputs.model_validate({"files": files}) == made == Inputs.model_validate(made.model_dump())


def test_files_and_keys_must_agree(tmp_path: Path) -> None:
    """A shape key beside files is no second truth."""
    files = arrays(tmp_path, q=(1, 8, 1024, 64), k=(1, 1, 1024, 64), v=(1, 1, 1024, 64))
    assert Inputs.model_validate(files | {"seq_len": 1024}).seq_len == 1024
    with pytest.raises(ValidationError, match=r"seq_len = 2048.*1024"):
        Inputs.model_validate(files | {"seq_len": 2048})


def test_all_three_files_are_needed(tmp_path: Path) -> None:
    """Queries alone are not enough."""
    with pytest.raises(ValidationError, match=r"k = None.*v = None"):
        Inputs.model_validate(arrays(tmp_path, q=(1, 8, 1024, 64)))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "cannot be read"),
        (b"", "not a whole"),
        (b"not numpy", "not a whole"),
        (np.zeros((2, 2)), "shape"),
        (np.zeros((1, 8, 0, 64)), "shape"),
        (np.zeros((1, 8, 32, 64), np.int32), "int32; floating"),
        (np.zeros((1, 8, 32, 64), np.complex64), "complex64"),
        (np.full((1, 1, 1, 1), None), "not a whole"),
    ],
    ids=["missing", "empty", "text", "rank", "zero", "int", "complex", "pickle"],
)
def test_a_malformed_array_says_what_is_wrong(tmp_path: Path, content: Any, match: str) -> None:
    """One sentence about the file instead of NumPy's error."""
    path = tmp_path / "q.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(ValueError, match=match):
        open_array(str(path), rank=4, kind="f")


def test_a_truncated_array_is_refused(tmp_path: Path) -> None:
    """A file that ends before its values do is not read."""
    path = Path(arrays(tmp_path, q=(1, 1, 64, 64))["q"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole"):
        open_array(str(path), rank=4, kind="f")


def test_an_archive_is_refused(tmp_path: Path) -> None:
    """An .npz holds several arrays."""
    np.savez(tmp_path / "q.npz", q=np.zeros(1))
    with pytest.raises(ValueError, match="archive"):
        open_array(str(tmp_path / "q.npz"), rank=4, kind="f")


@pytest.mark.parametrize(("table", "file"), [("identity", None), ("shuffled", None), ("t.npy", "t.npy")])
def test_page_table_is_a_name_or_a_file(table: str, file: str | None) -> None:
    """Anything but the two names is a path."""
    assert PagedKV(block_size=64, page_table=table).page_table_file == file


# -- reading ------------------------------------------------------------------------------------------------


def test_yaml_and_mapping_give_the_same_spec(tmp_path: Path) -> None:
    """A file is as good as a dict, and as a spec."""
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(BUILT_IN.model_dump(mode="json")))
    assert load_spec(path) == load_spec(str(path)) == load_spec(BUILT_IN.model_dump()) == load_spec(BUILT_IN) == BUILT_IN


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("ring_size=8", ("ring_size",), 8),
        ("inputs.seq_len=1024", ("inputs", "seq_len"), 1024),
        ("inputs.dtype=bfloat16", ("inputs", "dtype"), "bfloat16"),
        ("program_config=null", ("program_config",), None),
        ("program_config.compute_with_storage_grid_size=[8, 8]", ("program_config", "compute_with_storage_grid_size"), (8, 8)),
        ("scale=0.5", ("scale",), 0.5),
        ("paged_kv.block_size=64", ("paged_kv", "block_size"), 64),
        ("machine.dram.banks=7", ("machine",), {"dram.banks": 7}),
        ("ring_ids=[0, 2]", ("ring_ids",), (0, 2)),
        ("program_config.compute_with_storage_grid_size = (7, 9)", ("program_config", "compute_with_storage_grid_size"), (7, 9)),
        ("mesh = None", ("mesh",), None),
        ("board = 't3000'", ("board",), "t3000"),
    ],
)
def test_an_override_changes_one_key(override: str, key: tuple[str, ...], value: Any) -> None:
    """The value is YAML, or as `check` prints what it offers; a part that is not there yet is made."""
    made: Any = load_spec(BUILT_IN, [override])
    for name in key:
        made = getattr(made, name)
    assert made == value
    assert load_spec(BUILT_IN).model_dump() == BUILT_IN.model_dump()


def test_the_last_override_wins() -> None:
    """Overrides apply in order, a dotted name of the machine like any other."""
    assert load_spec(BUILT_IN, ["ring_size=2", "ring_size=8"]).ring_size == 8
    raw = BUILT_IN.model_dump() | {"machine": {"dram.banks": 7}}
    assert load_spec(raw, ["machine.dram.banks=5"]).machine == {"dram.banks": 5}


@pytest.mark.parametrize("override", ["ring_size", "=4", "a..b=1", ".a=1", "ring_size.x=1", "ring_size=[", ""])
def test_a_malformed_override_is_refused(override: str) -> None:
    """It is shown, not guessed at."""
    with pytest.raises(SpecError):
        read_spec(BUILT_IN, [override])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a: [1", "not YAML in line"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"[" * 2000, "nested more than 20 deep"),
        (b"machine: &a {b: *a}", "refers to itself"),
        (b"[1, 2]", "holds a list"),
        (b"", "is empty"),
    ],
    ids=["open", "bytes", "deep", "circular", "list", "empty"],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    """The message names the file and what it holds."""
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=match) as error:
        read_spec(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("source", ["/nowhere/spec.yaml", "/", "a\0b", 7, None])
def test_what_is_no_file_is_refused(source: Any) -> None:
    """Missing files, folders and things that are no path at all."""
    with pytest.raises(SpecError):
        read_spec(source)


def test_a_file_given_by_itself_wins_over_the_list(tmp_path: Path) -> None:
    """`--set inputs.v=other.npy` replaces one of `inputs.files`; it is not lost."""
    for name in ("q", "k", "v", "other"):
        np.save(tmp_path / f"{name}.npy", np.zeros((1, 1, 64, 32), np.float32))
    files = {name: str(tmp_path / f"{name}.npy") for name in "qkv"}
    spec = load_spec({"inputs": {"files": files}}, [f"inputs.v={tmp_path / 'other.npy'}"])
    assert spec.inputs.v == str(tmp_path / "other.npy")
    assert spec.inputs.k == files["k"]
