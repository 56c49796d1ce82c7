"""What the user writes: the run spec and its parts, as frozen models that refuse unknown keys and loose types.

These models know which values exist; `tensix_sim.doctor.check` and `rules` know which of them go together.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tensix_sim.arch import ALIASES
from tensix_sim.files import open_array
from tensix_sim.text import brief, key_text
from tensix_sim.user_errors import UserError
from tensix_sim.yaml_text import MOST_BYTES, MOST_NESTED, NotYamlError, read_yaml

Pair = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
CoreCoordinate = Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]
Corners = Annotated[tuple[CoreCoordinate, CoreCoordinate], Field(strict=False)]
ComputeKernel = Literal["legacy", "streaming"]
FormatName = Literal["bfloat16", "bfloat8_b", "bfloat4_b"]
FidelityName = Literal["LoFi", "HiFi2", "HiFi3", "HiFi4"]
ThrottleName = Literal["NO_THROTTLE", "LEVEL_1", "LEVEL_2", "LEVEL_3", "LEVEL_4", "LEVEL_5"]
PlaceName = Literal["dram_interleaved", "l1_interleaved"]
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
        super().__init__("; ".join(f"{key_text(key)} = {brief(found)}: {wrong}" for key, found, wrong in problems))
        self.problems = problems


class Strict(BaseModel):
    """A frozen record whose fields take their own type only; a list may stand for a tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SDPAProgramConfig(Strict):
    """ttnn's program config of the attention ops."""

    compute_with_storage_grid_size: Pair = Field(description="Columns and rows of cores.")
    sub_core_grids: Annotated[tuple[Corners, ...], Field(strict=False)] | None = Field(
        default=None, description="Ranges of cores, each by its first and last. No effect: the op takes the grid."
    )
    q_chunk_size: PositiveInt = Field(description="Query rows of a chunk.")
    k_chunk_size: PositiveInt = Field(description="Keys of a chunk.")
    exp_approx_mode: bool | None = Field(
        default=None,
        description="Of the streaming kernel's correction: false takes another exponential: other cycles, the same values.",
    )
    max_cores_per_head_batch: PositiveInt = Field(default=16, description="No effect: Q chunks are dealt over all cores.")

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

    math_fidelity: FidelityName = Field(default="LoFi", description="Passes of the FPU over a product: 1 to 4.")
    math_approx_mode: bool = Field(default=True, description="1 / row sum takes fewer steps, and is less exact.")
    fp32_dest_acc_en: bool = Field(default=False, description="A 32-bit DST, of half as many tiles.")
    packer_l1_acc: bool = Field(default=False, description="No effect: the kernel turns it on and off itself.")
    dst_full_sync_en: bool = Field(default=False, description="No effect: DST is used in halves.")
    throttle_level: ThrottleName = Field(default="NO_THROTTLE", description="No effect: throttling is not modelled.")

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
    """Q, K and V: drawn from `seed`, or read from .npy files, which then give the shapes."""

    batch: PositiveInt = Field(default=1, description="Sequences.")
    q_heads: PositiveInt = Field(description="Heads of Q.")
    kv_heads: PositiveInt = Field(description="Heads of K and V; divides `q_heads`.")
    seq_len: PositiveInt = Field(description="New tokens: rows of Q.")
    head_dim: PositiveInt = Field(description="Elements of a row.")
    kv_len: PositiveInt | None = Field(default=None, description="Rows of K and V; null: prefix + `seq_len`.")
    dtype: FormatName = Field(default="bfloat8_b", description="Of Q and the output.")
    kv_dtype: FormatName | None = Field(default=None, description="Of K and V; null: `dtype`.")
    k_dtype: FormatName | None = Field(default=None, description="Of K; null: `kv_dtype`.")
    v_dtype: FormatName | None = Field(default=None, description="Of V; null: `kv_dtype`.")
    memory_config: PlaceName = Field(default="dram_interleaved", description="Of Q, K and V.")
    k_memory_config: PlaceName | None = Field(default=None, description="Of K; null: `memory_config`.")
    v_memory_config: PlaceName | None = Field(default=None, description="Of V; null: `memory_config`.")
    seed: NonNegativeInt = Field(default=1234, description="Q, K and V are drawn from N(0, 1) with it.")
    outliers: float = Field(default=0.0, ge=0, le=1, description="Fraction of drawn elements to which N(0, 10) is added.")
    q: str | None = Field(
        default=None, description="An .npy file of floats in place of drawn values: [batch, q_heads, seq_len, head_dim]."
    )
    k: str | None = Field(
        default=None, description="As `q`: [batch, kv_heads, kv_len, head_dim], in sequence order, paged or not."
    )
    v: str | None = Field(default=None, description="As `k`.")
    joint: Annotated[tuple[str, str, str], Field(strict=False)] | None = Field(
        default=None, description="Files of joint rows of Q, K and V: .npy, floats, [batch, heads, joint_len, head_dim]."
    )
    attn_mask: str | None = Field(
        default=None,
        description="Added to the scaled scores: random (a quarter is hidden), causal, or an .npy file of floats: "
        "[1 or batch, 1 or q_heads, seq_len, kv_len].",
    )
    attn_mask_dtype: FormatName = Field(default="bfloat16", description="Of the mask.")
    attn_mask_batch: PositiveInt = Field(default=1, description="Sequences that the mask tells apart: 1 or `batch`.")
    attn_mask_heads: PositiveInt = Field(default=1, description="Heads that the mask tells apart: 1 or `q_heads`.")

    attention_sink: str | None = Field(
        default=None,
        description="A logit of each head, one more key without a value: random, or an .npy file of floats [1, q_heads, 1, 1]. "
        "It takes the scale, as scores do.",
    )
    attention_sink_dtype: FormatName = Field(default="bfloat16", description="Of the sink.")

    @property
    def attention_sink_file(self) -> str | None:
        """Path of the sink, if it comes from a file."""
        return None if self.attention_sink == "random" else self.attention_sink

    @property
    def attn_mask_file(self) -> str | None:
        """Path of the mask, if it comes from a file."""
        return None if self.attn_mask in MASKS else self.attn_mask

    @property
    def files(self) -> tuple[str | None, ...]:
        """Paths of all values, None for those that are drawn."""
        return self.q, self.k, self.v, *(self.joint or ()), self.attn_mask_file, self.attention_sink_file

    @property
    def dtypes(self) -> tuple[FormatName, FormatName, FormatName]:
        """Data types of Q, K and V."""
        both = self.kv_dtype or self.dtype
        return self.dtype, self.k_dtype or both, self.v_dtype or both

    @property
    def in_dram(self) -> tuple[bool, bool, bool]:
        """Whether Q, K and V are in DRAM."""
        q, k, v = (place != "l1_interleaved" for place in (self.memory_config, self.k_memory_config, self.v_memory_config))
        return q, q if self.k_memory_config is None else k, q if self.v_memory_config is None else v

    @property
    def dtype_of_kv(self) -> str:
        """Those of K and V in words, empty where they are that of Q."""
        q, k, v = self.dtypes
        return "" if q == k == v else f"K and V {k}" if k == v else f"K {k}, V {v}"

    @property
    def from_files(self) -> bool:
        """Whether the values come from files."""
        return self.q is not None

    def redrawn(self, **sizes: int) -> "Inputs":
        """The same of other sizes, so that values are drawn, and a mask is one for all."""
        mask = None if self.attn_mask is None else "causal" if self.attn_mask == "causal" else "random"
        sink = None if self.attention_sink is None else "random"
        drawn = dict.fromkeys(("q", "k", "v", "joint")) | {"attn_mask": mask, "attention_sink": sink}
        return self.model_copy(update=drawn | {"attn_mask_batch": 1, "attn_mask_heads": 1} | sizes)

    @model_validator(mode="before")
    @classmethod
    def _take_shapes_from_files(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = dict(given)
        if isinstance(given.get("files"), Mapping):
            given = {**given.pop("files"), **given}  # a key given by itself, with --set for one, wins
        given |= _mask_heads(given)
        paths = {name: given[name] for name in "qkv" if given.get(name) is not None}
        if not all(isinstance(path, str) for path in paths.values()):
            return given
        return given | _shapes(given, paths) if paths else given


MASKS = ("random", "causal")  # that need no file


def _mask_heads(given: Mapping[str, Any]) -> dict[str, int]:
    """The batches and heads of a mask from a file, where the file is one and nobody says otherwise."""
    path = given.get("attn_mask")
    if not isinstance(path, str) or path in MASKS:
        return {}
    try:
        batch, heads, _, _ = open_array(path, rank=4, kind="f").shape
    except ValueError:  # `check` says what is wrong with it
        return {}
    return {name: size for name, size in (("attn_mask_batch", batch), ("attn_mask_heads", heads)) if given.get(name) is None}


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
    """A K/V cache in blocks of rows, found through a page table."""

    block_size: PositiveInt = Field(description="Rows of a block.")
    page_table: str = Field(
        default="identity",
        description="identity, shuffled (by the inputs' seed), or the path of an .npy file of int32: [batch, pages].",
    )

    @property
    def page_table_file(self) -> str | None:
        """Path of the table, if it comes from a file."""
        return None if self.page_table in ("identity", "shuffled") else self.page_table


class WhatIf(Strict):
    """Departures from how the op is built, to ask what a run would cost with them."""

    barrier_tiles: NonNegativeInt | None = Field(
        default=None, description="Tiles a core moves before it waits for all of them; 0: all."
    )
    buffers: dict[str, PositiveInt] = Field(default={}, description="Tiles of circular buffers by name: `{k_in: 256}`.")
    deal: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] | None = Field(
        default=None, description="Q chunks of each core, in a ring of each of its two phases: `[8, 8, 4, 4]`."
    )
    mask: bool = Field(default=True, description="false: nothing is stamped; needs `numerics: off`.")
    start_skew: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] = Field(
        default=(), description="Cycle at which each device of a ring whose slices travel starts: `[0, 20000, 0, 0]`."
    )
    chains: Chains = Field(
        default="as_built",
        description="Where cores pass K and V on: as the op does, only where one of a head's cores has no other, or nowhere.",
    )


class RunSpec(Strict):
    """One run of an op: on the devices of a ring, or on one device.

    Keys that an op does not take keep their defaults. Without `kernel` the op chooses, as ttnn does. Which ops there are is
    known above: to validate their names too, give them as `ops` in the context.
    """

    op: str = Field(default="ring_distributed_sdpa", description="The op, by a short form of ttnn's name.")
    board: str = Field(default="galaxy", description="A board by name: `tensix-sim boards`.")
    mesh: Pair | None = Field(
        default=None,
        description="Rows and columns of devices; with it `ring_id` is inferred along the axis that is as long as the ring.",
    )
    ring_size: PositiveInt = Field(default=4, description="Devices of the ring: even, at most 32.")
    ring_ids: Literal["all"] | Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] = Field(
        default="all", description="Positions of the ring to simulate."
    )
    ring_id: NonNegativeInt | None = Field(default=None, description="The op's own argument; simulates this position only.")
    inputs: Inputs = Field(description="Q, K and V.")
    topology: Literal["ring", "line"] | None = Field(
        default=None, description="How K and V travel; null: around a ring where the board has one, else along a line."
    )
    num_links: PositiveInt | None = Field(default=None, description="Links that they travel over; null: all to a neighbour.")
    logical_n: PositiveInt | None = Field(default=None, description="Rows of the sequence that are no padding; null: all.")
    joint_len: NonNegativeInt = Field(default=0, description="Joint rows, on every device, that stand behind the sequence.")
    is_balanced: bool = Field(
        default=False, description="Whether a device has two parts of a causal sequence, one from either end, and not one."
    )
    scale: float | None = Field(default=None, description="Of the scores; null: 1 / √head_dim.")
    is_causal: bool = Field(default=True, description="A query sees the keys up to its own, of as many as there are queries.")
    sliding_window_size: PositiveInt | None = Field(
        default=None, description="Keys that a query sees: causal, up to its own; else half of them on either side."
    )
    cu_window_seqlens: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Where windows of tokens begin, and the last one ends: `[0, 64, 256]`. A query sees the keys of its window.",
    )
    program_config: SDPAProgramConfig | None = Field(default=None, description="null: chunks of 32 on the full grid.")
    compute_kernel_config: ComputeKernelConfig | None = Field(default=None, description="null: HiFi2, as the op's own default.")
    memory_config: MemoryName = Field(default="dram_interleaved", description="Of the output. Sharded ones are refused.")
    paged_kv: PagedKV | None = Field(default=None, description="K and V in blocks, as a cache has them.")
    chunk_start_idx: NonNegativeInt | None = Field(default=None, description="Rows already in the cache: the prefix.")
    chunk_start_idx_tensor: bool = Field(
        default=False,
        description="Whether the op reads `chunk_start_idx` from a tensor: one program for all, in whole Q chunks.",
    )
    queue_id: NonNegativeInt = Field(default=0, description="No effect: there is one queue.")
    kernel: ComputeKernel | None = Field(default=None, description="The compute kernel; null: the op's own choice.")
    numerics: Literal["off", "fast", "exact"] = Field(
        default="fast",
        description="Cycles only, the hardware's roundings where they matter, or the chip's bits. The same cycles.",
    )
    reference: Literal["auto", "whole"] = Field(
        default="auto",
        description="Rows of the output that are set beside float64 attention: 32 of each Q chunk where it is long, or all.",
    )
    launch: Literal["modelled", "none"] = Field(
        default="none",
        description="Whether time begins when the first core starts, and those with work are the last, as device times have it.",
    )
    trace: Literal["off", "zones", "transfers"] = Field(
        default="zones", description="Nothing, spans and counters, or bursts too."
    )
    machine: dict[str, Any] = Field(default={}, description="Numbers of the machine to replace: `{dram.bank_rate: 30}`.")
    what_if: WhatIf = Field(default=WhatIf(), description="Departures from how the op is built.")

    @property
    def effective_compute_config(self) -> ComputeKernelConfig:
        """The given compute-kernel config as it stands, or the op's own where there is none."""
        return self.compute_kernel_config or OP_COMPUTE_CONFIG

    @property
    def prefix(self) -> int:
        """Rows already in the K/V cache."""
        return self.chunk_start_idx or 0

    @property
    def kv_len(self) -> int:
        """Rows of K and V."""
        return self.inputs.kv_len or self.prefix + self.inputs.seq_len

    @field_validator("board")
    @classmethod
    def _is_the_boards_own_name(cls, board: str) -> str:
        return ALIASES.get(board, board)

    @field_validator("op", mode="before")
    @classmethod
    def _is_known(cls, op: Any, info: ValidationInfo) -> Any:
        known = tuple((info.context or {}).get("ops", ()))
        if known and op not in known:
            *others, last = map(repr, known)
            raise PydanticCustomError("literal_error", "Input should be {known}", {"known": f"{', '.join(others)} or {last}"})
        return op

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


KINDS: dict[type, str] = {list: "a list", str: "text"}  # of YAML, in words
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


def _read_yaml_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return spec_in(file, str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(("spec", str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}")) from error


def spec_in(file: BinaryIO, name: str) -> dict[str, Any]:
    """The spec as written in an open file.

    Raises:
        SpecError: it is no YAML mapping.
    """
    try:
        raw = read_yaml(file.read(MOST_BYTES + 1))
    except NotYamlError as error:
        raise SpecError(("spec", name, str(error))) from error
    if not isinstance(raw, dict):
        held = "is empty" if raw is None else f"holds {KINDS.get(type(raw), 'a single value')}"
        raise SpecError(("spec", name, f"{held}; a mapping of keys to values is needed"))
    return raw


PYTHON_TUPLE = re.compile(r"\A\s*\(([\d\s,]*)\)\s*\Z")


def _put(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    *parents, leaf = key.split(".")
    if not (equals and leaf and all(parents)):
        raise SpecError(("--set", override, "is not of the form key=value"))
    if len(parents) >= MOST_NESTED:
        raise SpecError((key, text, f"the key has {len(parents) + 1:,} parts; none has more than {MOST_NESTED}"))
    try:
        value = read_yaml(PYTHON_TUPLE.sub(r"[\1]", {"None": "null"}.get(text.strip(), text)))  # as `check` prints what it offers
    except NotYamlError as error:
        raise SpecError((key, text, f"as a value of YAML, it {error}")) from error
    place = raw
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise SpecError((key, value, f"{key_text(parent)} is {brief(place)}, which has no keys"))
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
