"""Values of a wrong type or name: each a fault, and a stand-in so that the rules can still say the rest."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tensix_sim.arch import machine
from tensix_sim.config import BUILT_IN, RunSpec, SpecError
from tensix_sim.sdpa.geometry import program_config
from tensix_sim.sdpa.keys import Fault
from tensix_sim.sdpa.op import OPS
from tensix_sim.text import MOST_TOLD, clipped


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, if any."""
    options = (annotation, *get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def _fields(model: type[BaseModel] = RunSpec, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List all dotted keys of a spec, each with its annotation."""
    for name, field in model.model_fields.items():
        yield prefix + name, field.annotation
        if inner := _model_in(field.annotation):
            yield from _fields(inner, f"{prefix}{name}.")


ANNOTATIONS = dict(_fields())


def annotation_of(key: str) -> Any:
    """The annotation of a dotted key."""
    return ANNOTATIONS.get(key)


def _key_like(key: str) -> str:
    """Find the key that a wrong one was most likely meant to be."""
    key = clipped(key, 100)
    leaf = key.rpartition(".")[2]

    def likeness(known: str) -> tuple[bool, float, float]:
        known_leaf = known.rpartition(".")[2]
        return known_leaf == leaf, SequenceMatcher(None, known, key).ratio(), SequenceMatcher(None, known_leaf, leaf).ratio()

    return max(ANNOTATIONS, key=likeness)


NOT_MODELLED = {
    "head_dim_v": "MLA, with V of another width than K,",
}


def _no_such_key(key: str) -> str:
    """Tell what ttnn has and the simulator has not from what nobody knows."""
    if what := NOT_MODELLED.get(key.rpartition(".")[2]):
        return f"{what} is not modelled; leave the key out"
    return f"there is no such key; the nearest is {_key_like(key)}"


def _dotted(loc: tuple[int | str, ...]) -> str:
    """Name the key that an error is about; what lies within a value is left out."""
    key = ""
    for item in loc:
        if key and _model_in(annotation_of(key)) is None:
            break
        key = f"{key}.{item}" if key else str(item)
    return key


def _type_faults(error: ValidationError, raw: Mapping[str, Any]) -> dict[str, Fault]:
    """Sort what pydantic found by key."""
    found: dict[str, Fault] = {}
    for problem in error.errors(include_url=False):
        key = _dotted(problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            found |= {f"{key}.{name}": Fault({f"{key}.{name}": value}, wrong) for name, value, wrong in cause.problems}
        elif problem["type"] in ("extra_forbidden", "invalid_key"):
            rule = _no_such_key(key) if len(found) < MOST_TOLD else "there is no such key"
            found[key] = Fault({key: _lookup(raw, key)}, rule)
        elif problem["type"] == "missing":
            found[key] = Fault({key: _lookup(raw, key)}, "is required" if _lookup(raw, key) is None else "has too few items")
        else:
            wrong = problem["msg"].removeprefix("Input ").removeprefix("Value error, ").replace("a valid tuple", "a list")
            said = found[key].rule.split(", or ") if key in found else []
            wrong = ", or ".join(said if wrong in said else [*said, wrong])
            found[key] = Fault({key: _lookup(raw, key)}, wrong)
    return found


def _lookup(raw: Any, key: str) -> Any:
    for name in key.split("."):
        raw = {str(key): value for key, value in raw.items()}.get(name) if isinstance(raw, Mapping) else None
    return raw


STAND_INS: dict[str, dict[str, Any]] = {
    "inputs": BUILT_IN.inputs.model_dump(),
    "program_config": program_config(BUILT_IN, machine(BUILT_IN.board)).model_dump(),
    "compute_kernel_config": {},
    "paged_kv": {"block_size": 64},
}
FILES = ("inputs.q", "inputs.k", "inputs.v")


def part_in_doubt(key: str) -> str:
    """Name all that a bad value makes unknown: without its files, nothing is known about the inputs."""
    return "inputs" if key in FILES else key


def _repaired(raw: Mapping[Any, Any], bad: Iterable[str]) -> dict[str, Any]:
    """Copy `raw` without its bad keys, and with stand-ins where a key must be there."""
    drop = {part_in_doubt(key) for key in bad}
    whole = {key: value for key, value in raw.items() if str(key) not in drop}
    whole.setdefault("inputs", {})
    for part, stand_in in STAND_INS.items():
        if isinstance(given := whole.get(part), Mapping):
            kept = {key: value for key, value in given.items() if f"{part}.{key}" not in drop}
            whole[part] = kept if {"q", "k", "v", "files"} & kept.keys() else stand_in | kept
    return whole


def read_types(raw: Mapping[str, Any]) -> tuple[RunSpec | None, dict[str, Fault]]:
    """Validate a spec, with stand-ins for values of a wrong type, whose faults come along; None if it is past repair."""
    found: dict[str, Fault] = {}
    for _ in range(4):
        try:
            return RunSpec.model_validate(raw, context={"ops": OPS}), found
        except ValidationError as error:
            new = _type_faults(error, raw)
            found = new | found
            raw = _repaired(raw, new)
    return None, found
