"""What a sweep may change, and every legal config that comes of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveInt, ValidationError

from tensix_sim.config import ComputeKernel, FidelityName, FormatName, Pair, RunSpec, Strict
from tensix_sim.doctor.check import check
from tensix_sim.doctor.nearest import tried
from tensix_sim.doctor.report import Report
from tensix_sim.doctor.rules import broken, buffers_fit_l1, faults
from tensix_sim.formats import TILE
from tensix_sim.sdpa.case import Case, make_machine
from tensix_sim.sdpa.keys import DTYPE, FIDELITY, FP32_DEST, GRID, K_CHUNK, Q_CHUNK, SEQ_LEN
from tensix_sim.text import brief, size_in
from tensix_sim.user_errors import UsageError, UserError

KEYS = {
    "q_chunk": Q_CHUNK,
    "k_chunk": K_CHUNK,
    "grid": GRID,
    "fidelity": FIDELITY,
    "fp32_dest": FP32_DEST,
    "dtype": DTYPE,
    "kernel": "kernel",
}
Varied = Literal["fixed", "free"]


class EmptySpaceError(UserError, ValueError):
    """No config of the space is legal; `report` is on the first one."""

    exit_code = 1

    def __init__(self, report: Report) -> None:
        wrong = "\n".join(f"- {violation.message}" for violation in report.violations)
        super().__init__(f"no config of the space is legal; the first one:\n{wrong}")
        self.report = report


class Space(Strict):
    """A spec and what may change of it: each setting fixed, free, or one of a list.

    A free chunk size is any number of whole tiles up to the rows that it cuts, a free grid any rectangle on the board.
    A config stays on the front while it takes at most `within` times as long as the fastest of its accuracy.
    """

    spec: RunSpec
    q_chunk: Varied | Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = "free"
    k_chunk: Varied | Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = "free"
    grid: Varied | Annotated[tuple[Pair, ...], Field(strict=False, min_length=1)] = "fixed"
    fidelity: Varied | Annotated[tuple[FidelityName, ...], Field(strict=False, min_length=1)] = "fixed"
    fp32_dest: Varied | Annotated[tuple[bool, ...], Field(strict=False, min_length=1)] = "fixed"
    dtype: Varied | Annotated[tuple[FormatName, ...], Field(strict=False, min_length=1)] = "fixed"
    kernel: Varied | Annotated[tuple[ComputeKernel, ...], Field(strict=False, min_length=1)] = "fixed"
    within: Annotated[float, Field(ge=1)] = 1.25

    @property
    def varied(self) -> tuple[str, ...]:
        """Names of what is not fixed."""
        return tuple(name for name in KEYS if getattr(self, name) != "fixed")


@dataclass(frozen=True)
class Config:
    """A legal config. `settings` has its values of what the sweep varies, by the names of a `Space`.

    `accuracy` ranks what the numbers depend on most; of two configs one may be ahead in one part and behind in another.
    """

    settings: dict[str, Any]
    spec: RunSpec
    l1_bytes: int
    accuracy: tuple[int, ...]

    def as_accurate_as(self, other: "Config") -> bool:
        """Whether nothing that the numbers depend on is less here."""
        return all(mine >= others for mine, others in zip(self.accuracy, other.accuracy, strict=True))


def given_config(space: Space) -> Config | None:
    """The spec as it stands, or None if it is illegal."""
    return _config(space, _timing(space.spec)) if check(space.spec).ok else None


def less_faithful(space: Space, config: Config) -> Config | None:
    """The config with the next lower math fidelity; None at LoFi, or where that is illegal."""
    case = _timing(config.spec)
    below = get_args(FidelityName).index(case[FIDELITY]) - 1
    if below < 0:
        return None
    lower = case.put({FIDELITY: get_args(FidelityName)[below]})
    return None if any(faults(lower)) else _config(space, lower)


def legal_configs(space: Space) -> list[Config]:
    """Every legal config of the space, chunk sizes varying fastest.

    Raises:
        EmptySpaceError: there is none.

    """
    others = [name for name in space.varied if name not in ("q_chunk", "k_chunk")]
    case = _timing(space.spec)
    if case.invalid:
        raise EmptySpaceError(check(space.spec))
    choices = product(*(_values(space, name, case) for name in others))
    changes = [{KEYS[name]: value for name, value in zip(others, values, strict=True)} for values in choices]
    found = [config for change in changes for config in _with_chunks(space, case.put(change))]
    if not found:
        first = {KEYS[name]: _values(space, name, case)[0] for name in space.varied}
        raise EmptySpaceError(check(case.put(first).spec))
    return found


def _timing(spec: RunSpec) -> Case:
    """The spec as a case that is only timed."""
    on, wrong = make_machine(spec)
    invalid = frozenset(key for fault in wrong.values() for key in fault.found)
    return Case.of(spec.model_copy(update={"numerics": "off", "trace": "off"}), on, invalid)


def _with_chunks(space: Space, case: Case) -> Iterator[Config]:
    """The legal chunk sizes, as far as they may change; the larger ones of a row that overflows L1 are not looked at."""
    for q in _values(space, "q_chunk", case):
        fitted = False
        for k in _values(space, "k_chunk", case):
            chosen = case.put({Q_CHUNK: q, K_CHUNK: k})
            if any(broken(chosen, (buffers_fit_l1,))):
                break
            fitted = True
            if not any(faults(chosen)):
                yield _config(space, chosen)
        if not fitted:
            break


def _config(space: Space, case: Case) -> Config:
    g = case.geometry
    settings = {name: case[KEYS[name]] for name in space.varied}
    used = sum(buffer.bytes for buffer in g.buffers) + case.l1_tensor_bytes
    rank = (
        get_args(FidelityName).index(case[FIDELITY]),
        int(case[FP32_DEST]),
        *(-get_args(FormatName).index(dtype) for dtype in case.dtypes),
    )
    return Config(settings, case.spec, used, rank)


def _values(space: Space, name: str, case: Case) -> Sequence[Any]:
    """The values to try of one setting, ascending where they are sizes."""
    choice = getattr(space, name)
    if choice == "fixed":
        return [case[KEYS[name]]]
    return _free(name, case) if choice == "free" else sorted(set(choice))


def _free(name: str, case: Case) -> Sequence[Any]:
    if name == "grid":
        columns, rows = case.number("grid")
        return list(product(range(1, columns + 1), range(1, rows + 1)))
    if name in ("q_chunk", "k_chunk"):
        most = tried(lambda: [case.slab if name == "q_chunk" else case.kv_len]) or [case[SEQ_LEN]]
        return range(TILE, -(-most[0] // TILE) * TILE + 1, TILE)
    values = {"fidelity": FidelityName, "dtype": FormatName, "kernel": ComputeKernel}
    return (False, True) if name == "fp32_dest" else get_args(values[name])


def read_space(spec: RunSpec, vary: Sequence[str], within: float) -> Space:
    """A space from words of the command line: ``q_chunk`` is free, ``q_chunk=64,128`` one of a list.

    Raises:
        UsageError: a word that names no setting, or a value that it cannot have.

    """
    choices: dict[str, Any] = dict.fromkeys(("q_chunk", "k_chunk"), "fixed") if vary else {}
    for word in vary:
        name, equals, values = word.partition("=")
        if name not in KEYS:
            raise UsageError(f"{brief(word, 80)}: there is no setting {brief(name, 80)} to vary; there are {', '.join(KEYS)}")
        choices[name] = tuple(_word(name, value.strip()) for value in values.split(",")) if equals else "free"
    try:
        return Space(spec=spec, within=within, **choices)
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors()}
        shown = [word for word in vary if word.partition("=")[0] in wrong] or [f"within={within}"]
        raise UsageError(f"{', '.join(shown)}: {error.errors()[0]['msg'].lower()}") from error


def _word(name: str, value: str) -> Any:
    """A value as the command line has it; pydantic judges what it is not."""
    if name in ("q_chunk", "k_chunk"):
        return size_in(value) or (int(value) if re.fullmatch("[0-9]{1,12}", value) else value)
    if name == "grid":
        return tuple(int(side) if re.fullmatch("[0-9]{1,12}", side) else side for side in value.split("x"))
    return {"true": True, "false": False}.get(value.lower(), value) if name == "fp32_dest" else value


def read_lengths(text: str, option: str = "--seq-lens") -> list[int]:
    """Sequence lengths from ``2k..128k``, each double the one before, or from a list ``2048,6144``.

    Raises:
        UsageError: neither of the two.

    """
    first, dots, last = text.partition("..")
    parts = [part.strip() for part in ([first, last] if dots else text.split(","))]
    if not all(size_in(part) or re.fullmatch("0*[1-9][0-9]{0,11}", part) for part in parts):
        raise UsageError(f"{option} {brief(text, 80)}: is neither like 2k..128k nor like 2048,4096")
    numbers = [size_in(part) or int(part) for part in parts]
    if not dots:
        return numbers
    if numbers[0] > numbers[1]:
        raise UsageError(f"{option} {brief(text, 80)}: begins after its end")
    return [numbers[0] << n for n in range((numbers[1] // numbers[0]).bit_length())]
