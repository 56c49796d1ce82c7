"""What the user writes: the run spec and its parts, as frozen models that refuse unknown keys and loose types.

These models know which values exist; `tensix_sim.doctor.check` and `rules` know which of them go together.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from tensix_sim.files import open_array
from tensix_sim.user_errors import UserError

Pair = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
CoreCoordinate = Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]
Corners = Annotated[tuple[CoreCoordinate, CoreCoordinate], Field(strict=False)]
Op = Literal["ring_distributed_sdpa", "sdpa", "chunked_sdpa"]
ComputeKernel = Literal["legacy", "streaming"]
FormatName = Literal["bfloat16", "bfloat8_b", "bfloat4_b"]
FidelityName = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]
ThrottleName = Literal["NO_THROTTLE", "LEVEL_1", "LEVEL_2", "LEVEL_3", "LEVEL_4", "LEVEL_5"]
Chains = Literal["as_built", "where_alone", "none"]
MemoryName = Literal[
    "dram_interleaved", "l1_interleaved",
    "dram_height_sharded", "dram_width_sharded", "dram_block_sharded",
    "l1_height_sharded", "l1_width_sharded", "l1_block_sharded",
]  # fmt: skip


class SpecError(UserError, ValueError):
    """A spec that cannot be read; `problems` lists each (key, value found, what is wrong with it)."""

    exit_code = 1

    def __init__(self, *problems: tuple[str, Any, str]) -> None:
        super().__init__("; ".join(f"{key} = {found!r}: {wrong}" for key, found, wrong in problems))
        self.problems = problems


class Strict(BaseModel):
    """A frozen record whose fields take their own type only; a list may stand for a tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SDPAProgramConfig(Strict):
    """ttnn's program config of the attention ops."""

    compute_with_storage_grid_size: Pair
    sub_core_grids: Annotated[tuple[Corners, ...], Field(strict=False)] | None = None
    q_chunk_size: PositiveInt
    k_chunk_size: PositiveInt
    exp_approx_mode: bool | None = None
    max_cores_per_head_batch: PositiveInt = 16

    @property
    def as_ttnn(self) -> str:
        """The config as ttnn code; what has its default is left out."""
        fields = self.model_dump(exclude_defaults=True)
        if cores := self.sub_core_grids:
            ranges = (f"ttnn.CoreRange(ttnn.CoreCoord{first}, ttnn.CoreCoord{last})" for first, last in cores)
            fields["sub_core_grids"] = f"ttnn.CoreRangeSet([{', '.join(ranges)}])"
        return f"ttnn.SDPAProgramConfig({_arguments(fields)})"


class ComputeKernelConfig(Strict):
    """ttnn's compute-kernel config with the defaults of its struct: given without a fidelity, it means LoFi."""

    math_fidelity: FidelityName = "LoFi"
    math_approx_mode: bool = True
    fp32_dest_acc_en: bool = False
    packer_l1_acc: bool = False
    dst_full_sync_en: bool = False
    throttle_level: ThrottleName = "NO_THROTTLE"

    @property
    def as_ttnn(self) -> str:
        """The config as ttnn code, the same for all chips; what has its default is left out, but not the fidelity."""
        fields = self.model_dump(exclude_defaults=True) | {"math_fidelity": f"ttnn.MathFidelity.{self.math_fidelity}"}
        if "throttle_level" in fields:
            fields["throttle_level"] = f"ttnn.ThrottleLevel.{self.throttle_level}"
        return f"ttnn.WormholeComputeKernelConfig({_arguments(fields)})"


def _arguments(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items())


OP_COMPUTE_CONFIG = ComputeKernelConfig(math_fidelity="HiFi2")
OP_CHUNK_SIZE = 32


class Inputs(Strict):
    """Q, K and V: drawn from `seed`, or read from .npy files, which then give the shapes.

    q is [batch, q_heads, seq_len, head_dim]; k and v are [batch, kv_heads, kv_len, head_dim] in sequence order,
    paged or not. Without `kv_len` that is prefix + seq_len, without `kv_dtype` K and V are of `dtype` too.
    `outliers` is the fraction of drawn elements that get an extra N(0, 10).
    """

    batch: PositiveInt = 1
    q_heads: PositiveInt
    kv_heads: PositiveInt
    seq_len: PositiveInt
    head_dim: PositiveInt
    kv_len: PositiveInt | None = None
    dtype: FormatName = "bfloat8_b"
    kv_dtype: FormatName | None = None
    seed: NonNegativeInt = 1234
    outliers: Annotated[float, Field(ge=0, le=1)] = 0.0
    q: str | None = None
    k: str | None = None
    v: str | None = None

    @property
    def from_files(self) -> bool:
        """Whether the values come from files."""
        return self.q is not None

    @model_validator(mode="before")
    @classmethod
    def _take_shapes_from_files(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = dict(given)
        if isinstance(given.get("files"), Mapping):
            given = {**given.pop("files"), **given}  # a key given by itself, with --set for one, wins
        paths = {name: given[name] for name in "qkv" if given.get(name) is not None}
        if not all(isinstance(path, str) for path in paths.values()):
            return given
        return given | _shapes(given, paths) if paths else given


def _shapes(given: Mapping[str, Any], paths: dict[str, str]) -> dict[str, int]:
    """Find the fields that the files fix."""
    problems: list[tuple[str, Any, str]] = [(name, None, "q, k and v need a file each") for name in "qkv" if name not in paths]
    shapes = {}
    for name, path in paths.items():
        try:
            shapes[name] = open_array(path, rank=4, kind="f").shape
        except ValueError as error:
            problems.append((name, path, str(error)))
    fields = {}
    if "q" in shapes and "k" in shapes:
        names = ("batch", "q_heads", "seq_len", "head_dim")
        fields = dict(zip(names, shapes["q"], strict=True)) | {"kv_heads": shapes["k"][1], "kv_len": shapes["k"][2]}
    for name, size in fields.items():
        if given.get(name) not in (None, size):
            problems.append((name, given[name], f"the files have {size}; leave the key out or make them agree"))
    if problems:
        raise SpecError(*problems)
    return fields


class PagedKV(Strict):
    """A K/V cache in blocks of `block_size` rows, found through a page table [batch, pages] of int32.

    `page_table` is "identity", "shuffled" (by the inputs' seed) or the path of an .npy file.
    """

    block_size: PositiveInt
    page_table: str = "identity"

    @property
    def page_table_file(self) -> str | None:
        """Path of the table, if it comes from a file."""
        return None if self.page_table in ("identity", "shuffled") else self.page_table


class WhatIf(Strict):
    """Departures from how the op is built, to ask what a run would cost with them.

    `barrier_tiles` is the tiles a core moves before it waits for all of them (0: all), `buffers` the tiles of circular
    buffers by name, `deal` the Q chunks of each core (of a phase, in a ring); without `mask` nothing is stamped. `chains` says
    where cores pass K and V on: as ttnn's factory has it, only where one of a head's cores has no other (see `ops.chains`),
    or nowhere, where each core reads for itself.
    """

    barrier_tiles: NonNegativeInt | None = None
    buffers: dict[str, PositiveInt] = {}
    deal: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] | None = None
    mask: bool = True
    chains: Chains = "as_built"


class RunSpec(Strict):
    """One run of an op: on the devices of a ring, or on one device.

    Keys that an op does not take keep their defaults. Without `kernel` the op chooses, as ttnn does.
    """

    op: Op = "ring_distributed_sdpa"
    board: str = "galaxy"
    mesh: Pair | None = None
    ring_size: PositiveInt = 4
    ring_ids: Literal["all"] | Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] = "all"
    ring_id: NonNegativeInt | None = None
    inputs: Inputs
    scale: float | None = None
    is_causal: bool = True
    sliding_window_size: PositiveInt | None = None
    program_config: SDPAProgramConfig | None = None
    compute_kernel_config: ComputeKernelConfig | None = None
    memory_config: MemoryName = "dram_interleaved"
    paged_kv: PagedKV | None = None
    chunk_start_idx: NonNegativeInt | None = None
    queue_id: NonNegativeInt = 0
    kernel: ComputeKernel | None = None
    numerics: Literal["off", "fast", "exact"] = "fast"
    trace: Literal["off", "zones", "transfers"] = "zones"
    machine: dict[str, Any] = {}
    what_if: WhatIf = WhatIf()

    @property
    def effective_compute_config(self) -> ComputeKernelConfig:
        """The given compute-kernel config as it stands, or the op's own where there is none."""
        return self.compute_kernel_config or OP_COMPUTE_CONFIG

    @property
    def effective_kernel(self) -> ComputeKernel:
        """The given compute kernel, or the one that ttnn chooses: streaming with a 16-bit DST, but not yet in the ring."""
        if self.kernel:
            return self.kernel
        return "legacy" if self.is_ring or self.effective_compute_config.fp32_dest_acc_en else "streaming"

    @property
    def is_ring(self) -> bool:
        """Whether the op shares its queries among the devices of a ring."""
        return self.op == "ring_distributed_sdpa"

    @property
    def prefix(self) -> int:
        """Rows already in the K/V cache."""
        return self.chunk_start_idx or 0

    @property
    def kv_len(self) -> int:
        """Rows of K and V."""
        return self.inputs.kv_len or self.prefix + self.inputs.seq_len

    @property
    def simulated_ring_ids(self) -> tuple[int, ...]:
        """Ring positions to simulate; an explicit `ring_id` wins. The only device of another op has position 0."""
        if not self.is_ring:
            return (0,)
        if self.ring_id is not None:
            return (self.ring_id,)
        return tuple(range(self.ring_size)) if self.ring_ids == "all" else self.ring_ids

    @model_validator(mode="before")
    @classmethod
    def _flatten_machine(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("machine"), Mapping):
            return {**given, "machine": _flatten(given["machine"])}
        return given


def _flatten(nested: Mapping[Any, Any], prefix: str = "") -> dict[Any, Any]:
    """``{"dram": {"banks": 7}}`` as ``{"dram.banks": 7}``."""
    flat: dict[Any, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}" if prefix else name] = value
    return flat


Source = RunSpec | Mapping[str, Any] | str | Path


def read_spec(source: Source, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Take the spec as written, a YAML file or a mapping, and put in each ``a.b=c`` of `overrides`; not validated yet.

    Raises:
        SpecError: the file cannot be read, is no YAML mapping, or an override cannot be placed.

    """
    if isinstance(source, RunSpec):
        raw = source.model_dump()
    elif isinstance(source, Mapping):
        raw = deepcopy(dict(source))
    elif isinstance(source, str | Path):
        raw = _read_yaml_file(Path(source))
    else:
        raise SpecError(("spec", source, "is neither a mapping nor the path of a YAML file"))
    for override in overrides:
        _put(raw, override)
    return raw


def load_spec(source: Source, overrides: Sequence[str] = ()) -> RunSpec:
    """Read and validate a spec.

    Raises:
        SpecError: see `read_spec`.
        pydantic.ValidationError: a key or a value that does not exist.

    """
    return RunSpec.model_validate(read_spec(source, overrides))


class _Yaml(yaml.SafeLoader):
    """YAML as of version 1.2, where `off` is a word and only true and false are booleans."""


_BOOL = "tag:yaml.org,2002:bool"
_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver(_BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _read_yaml_file(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_bytes(), _Yaml)
    except (OSError, ValueError) as error:
        raise SpecError(("spec", str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}")) from error
    except (yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise SpecError(("spec", str(path), f"is not YAML{line}")) from error
    try:
        json.dumps(raw, default=str, skipkeys=True)
    except ValueError as error:
        raise SpecError(("spec", str(path), "holds an anchor that refers to itself")) from error
    if not isinstance(raw, dict):
        raise SpecError(("spec", str(path), f"holds {type(raw).__name__}; a mapping of keys to values is needed"))
    return raw


def _put(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not (equals and all(key.split("."))):
        raise SpecError(("--set", override, "is not of the form key=value"))
    try:
        value = yaml.load(text, _Yaml)
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError((key, text, "is not a YAML value")) from error
    *parents, leaf = key.split(".")
    place = raw
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise SpecError((key, value, f"{parent} is {place!r}, which has no keys"))
    place[leaf] = value


BUILT_IN = RunSpec.model_validate(
    {
        "board": "galaxy",
        "mesh": [8, 4],
        "ring_size": 4,
        "inputs": {"batch": 1, "q_heads": 8, "kv_heads": 1, "seq_len": 8192, "head_dim": 128, "dtype": "bfloat8_b"},
        "program_config": {
            "compute_with_storage_grid_size": [7, 10],
            "q_chunk_size": 256,
            "k_chunk_size": 512,
            "exp_approx_mode": True,
        },
        "compute_kernel_config": {
            "math_fidelity": "HiFi4",
            "math_approx_mode": False,
            "fp32_dest_acc_en": True,
            "packer_l1_acc": True,
        },
    }
)
"""Llama-70B prefill on a Galaxy: 8k tokens, one row of four devices, the configs that the model passes."""
