"""What a process that imports ttnn has set up, and what its ops cost: settings, and a record of each op on each device.

ttnn's own interface has a default device and one machine that everybody sees; so this face, alone in the package, has state.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, get_args

from tensix_sim.arch import machine
from tensix_sim.arch.model import UnknownNameError
from tensix_sim.ttnn import clock
from tensix_sim.ttnn.further import taken
from tensix_sim.ttnn.signatures import typed

if TYPE_CHECKING:
    from tensix_sim.logged import OpTensor
    from tensix_sim.trust import Trust

Branch = Literal["main", "olmo"]
VARIABLE = "TENSIX_SIM_"
HALF = 0.5  # of the time: from where on a resource binds


@dataclass
class Settings:
    """What ttnn cannot be told: the board, and how to simulate it. `TENSIX_SIM_BOARD` and so on set them, too.

    `mesh` is rows and columns of devices, the board's own if none is given. With `numerics` exact the attention ops' numbers
    are the chip's bits; off, ops cost the same cycles and compute none. `kernel` is the compute kernel of the attention ops,
    their own choice if none is given. `branch` is the branch of tt-metal whose arguments are taken: main, or olmo, where the
    ring op has a sliding window too. With `host_clock` simulated the user's own files see simulated device time on the host's
    clocks; it is what a command under `python -m tensix_sim.ttnn` or the pytest plugin gets. `record` is the folder that a
    script's run is written to as it ends. `machine` are numbers of the board's machine to replace, as in a run spec.
    """

    board: str = "galaxy"
    mesh: tuple[int, int] | None = None
    numerics: Literal["fast", "exact", "off"] = "fast"
    kernel: Literal["legacy", "streaming"] | None = None
    branch: Branch = "olmo"
    trace: Literal["off", "zones", "transfers"] = "off"
    host_clock: Literal["simulated", "real"] = "real"
    record: Path | None = None
    machine: dict[str, Any] = field(default_factory=dict)

    def set(self, **changes: Any) -> None:
        """Change settings by name; a value may be the text of an option.

        Raises:
            ValueError: no such setting, or a value that it cannot have.
        """
        known = {one.name for one in fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"no setting {name!r}; there are {', '.join(sorted(known))}")
        checked = {name: _checked(name, value) for name, value in changes.items()}
        try:
            machine(checked.get("board", self.board)).override(checked.get("machine", self.machine))
        except UnknownNameError as error:
            raise ValueError(str(error)) from None
        for name, value in checked.items():
            setattr(self, name, value)
        if "host_clock" in changes:
            clock.follow(self.host_clock == "simulated")


CHOICES: dict[str, tuple[Any, ...]] = {
    "numerics": ("fast", "exact", "off"),
    "kernel": ("legacy", "streaming", None),
    "branch": get_args(Branch),
    "trace": ("off", "zones", "transfers"),
    "host_clock": ("simulated", "real"),
}


def _checked(name: str, value: Any) -> Any:
    if name == "board":
        try:
            return machine(value).board
        except UnknownNameError as error:
            raise ValueError(str(error)) from None
    if name == "record":
        return Path(value) if value else None
    if name == "machine":
        return dict(_number(text) for text in value.split(";")) if isinstance(value, str) else dict(value)
    if name == "mesh":
        if isinstance(value, str):
            value = value.lower().split("x")
        try:
            rows, columns = (int(size) for size in value) if value is not None else (1, 1)
        except (TypeError, ValueError):
            raise ValueError(f"mesh {value!r}: give rows and columns, as 8x4") from None
        if rows < 1 or columns < 1:
            raise ValueError(f"mesh {rows}x{columns} has no devices")
        return None if value is None else (rows, columns)
    if value not in CHOICES[name]:
        raise ValueError(f"{name} {value!r}: must be one of {', '.join(str(c) for c in CHOICES[name])}")
    return value


class Cycles(int):
    """Cycles of an op on a device, what `bound` them, its `kind` of program, and what a log of ttnn's says of it."""

    bound: str
    kind: str
    cores: int | None
    fidelity: str
    config: str

    def __new__(
        cls, count: int, bound: str = "", kind: str = "", cores: int | None = None, fidelity: str = "", config: str = ""
    ) -> "Cycles":
        """So many."""
        self = super().__new__(cls, count)
        self.bound, self.kind, self.cores, self.fidelity, self.config = bound, kind, cores, fidelity, config
        return self

    @classmethod
    def bound_by(cls, count: int, shares: dict[str, float], otherwise: str, **logged: Any) -> "Cycles":
        """So many, bound by what was at work for most of them, `shares` by name; by something else if nothing was for half."""
        busiest = max(shares, key=lambda name: shares[name])
        said = f"{busiest} {shares[busiest]:.0%}"
        return cls(count, said if shares[busiest] >= HALF else f"{otherwise} ({said})", **logged)


@dataclass(frozen=True)
class Call:
    """An op on one device: its cycles, None where they are not modelled, and how far an attention op is from float64.

    It is `suspect` if that is further than its formats give.
    """

    op: str
    number: int  # of the op's call, the same on all its devices
    device: int
    ring_id: int | None
    shape: str
    cycles: int | None
    microseconds: float | None
    pcc: float | None = None
    rel_l2: float | None = None
    suspect: bool = False
    bound: str = ""  # by what its cycles are
    start: int = 0  # ns since simulated time began


def _number(text: str) -> tuple[str, Any]:
    """A number of the machine and its value, of the text of an option."""
    from tensix_sim.yaml_text import read_yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"machine {text!r}: give a number and its value, as dram.bank_rate=30")
    return name, read_yaml(value)


@dataclass(frozen=True)
class Op:
    """What a log of ttnn's says of an op: tensors in and out, cores, and how it was set up; and how far to trust its time."""

    inputs: "Sequence[OpTensor]"
    output: "OpTensor | None" = None
    cores: int | None = None
    fidelity: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    code: str = ""
    kind: str = ""
    trust: "Trust | None" = None


@dataclass
class Session:
    """Settings, the default device, and so far: calls, what is logged of each by its number, traced runs, cycles, and notes."""

    settings: Settings = field(default_factory=Settings)
    calls: list[Call] = field(default_factory=list)
    ops: dict[int, Op] = field(default_factory=dict)
    simulated: int = 0  # ops on a device that were simulated, and not known from one that was alike
    runs: list[tuple[str, int, Any]] = field(default_factory=list)
    timed: dict[Any, Any] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    default_device: Any = None
    numbered: int = 0
    in_op: bool = False

    def note(self, text: str) -> None:
        """Keep a note, once."""
        self.notes.setdefault(text)

    def without_effect(self, op: str, **given: Any) -> None:
        """Say once of arguments that are taken, where they are given, that they change nothing."""
        if names := [name for name, value in given.items() if value is not None]:
            self.note(f"{op}: {', '.join(names)} taken, without effect on cycles or numbers here")

    def told(self) -> list[str]:
        """The notes, and what was done to clocks if one was read."""
        if clock.CLOCK.used:
            self.note(clock.NOTE)
        return [*self.notes]

    def enter(self, call: Call) -> None:
        """Keep a call; it takes its time on its device."""
        start = clock.CLOCK.run(call.device, call.microseconds or 0.0)
        self.calls.append(replace(call, start=start))

    def forget(self) -> None:
        """Begin a record of calls anew."""
        for record in (self.calls, self.ops, self.runs):
            record.clear()

    def number(self) -> int:
        """The number of a new call."""
        self.numbered += 1
        return self.numbered


SESSION = Session()
SESSION.settings.set(
    **{
        name.removeprefix(VARIABLE).lower(): value
        for name, value in os.environ.items()
        if name.startswith(VARIABLE) and name.removeprefix(VARIABLE).lower() in {one.name for one in fields(Settings)}
    }
)
configure = SESSION.settings.set

P = ParamSpec("P")
R = TypeVar("R")


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """An op: arguments of wrong types are refused, and what NumPy says of wrong shapes is a RuntimeError, as in ttnn.

    Arguments that ttnn's op has besides are taken or refused (`further`).

    Where its device captures a trace, the call is remembered, so that the trace can do it again.
    """
    checked = typed(function)

    @cache
    def parameters() -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(function).parameters)

    @wraps(function)
    def op(*args: P.args, **kwargs: P.kwargs) -> R:
        named, into = dict(kwargs), None
        if not named.keys() <= parameters().keys() and inspect.Parameter.VAR_KEYWORD not in {
            p.kind for p in parameters().values()
        }:
            named, into = taken(function.__name__, named, parameters(), SESSION.without_effect)
        outermost, SESSION.in_op = not SESSION.in_op, True
        try:
            result = cast(Callable[..., Any], checked)(*args, **named)
            if into is not None:
                into.take_values(result)
                result = into
        except (ValueError, IndexError) as error:
            raise RuntimeError(f"{function.__name__}: {error}") from error
        finally:
            SESSION.in_op = not outermost
        capturing = next((d for d in _devices((*args, *kwargs.values())) if d.capture is not None), None) if outermost else None
        if capturing is not None:
            capturing.capture.append((lambda: op(*args, **kwargs), result))
        return cast(R, result)

    return op


def _devices(values: Iterable[Any]) -> Iterator[Any]:
    """The devices of all tensors among some arguments."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _devices(value)
        elif (device := getattr(value, "_device", None)) is not None:
            yield device
