"""What a script's ops took, as data and as the files of a run's folder."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, ValidationError

from tensix_sim.config import Strict
from tensix_sim.files import atomic, write_json
from tensix_sim.sdpa.op import OPS
from tensix_sim.trace import SCHEMA, SUMMARY, RunError
from tensix_sim.trust import Trust

OpKind = Literal["attention", "products", "collectives", "around"]
OP_KINDS: tuple[OpKind, ...] = ("attention", "products", "collectives", "around")
ATTENTION = {op.ttnn_name for op in OPS.values()}
PRODUCTS = {"linear", "matmul"}
COLLECTIVES = ("*all_gather*", "*reduce_scatter*", "*all_reduce*")


class LoggedTensor(Strict):
    """A tensor as ttnn logs it."""

    shape: tuple[int, int, int, int]
    dtype: str
    memory: str


class Taken(Strict):
    """What an op took on devices that agree: from when on, in nanoseconds; cycles, None where they are not modelled."""

    devices: tuple[int, ...]
    ring_id: int | None = None
    start_ns: NonNegativeInt
    cycles: NonNegativeInt | None
    us: NonNegativeFloat | None
    bound: str = ""
    pcc: FiniteFloat | None = None
    rel_l2: FiniteFloat | None = None
    suspect: bool = False


class ScriptOp(Strict):
    """A call of an op; `code` is its name in ttnn's logs, where it has another one there."""

    number: int
    op: str
    shape: str
    code: str = ""
    cores: int | None = None
    fidelity: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[LoggedTensor, ...] = ()
    output: LoggedTensor | None = None
    trust: Trust | None = None
    taken: tuple[Taken, ...]

    @property
    def kind(self) -> OpKind:
        """What it is to an attention block."""
        if self.op in ATTENTION:
            return "attention"
        if self.op in PRODUCTS:
            return "products"
        return "collectives" if any(fnmatch(self.op, name) for name in COLLECTIVES) else "around"


class ScriptWhatIf(Strict):
    """The whole script with something faster: its time, and how that of the slowest device is shared, in microseconds."""

    cause: str
    us: NonNegativeFloat
    shares: dict[str, NonNegativeFloat]


class ScriptRun(Strict):
    """A script's ops in the order of their calls. `simulated` of the ops on devices were simulated, the others were alike."""

    run: str
    version: str
    schema_: int = Field(default=SCHEMA, alias="schema")
    script: str
    arguments: tuple[str, ...] = ()
    board: str
    chip: str
    mesh: tuple[int, int]
    cores: int
    numerics: str
    machine: dict[str, Any] = Field(default_factory=dict)
    clock_hz: int
    simulated: int
    ops: tuple[ScriptOp, ...]
    what_ifs: tuple[ScriptWhatIf, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def lines(self) -> dict[int, list[tuple[ScriptOp, Taken]]]:
        """For each device its ops in their order."""
        found: dict[int, list[tuple[ScriptOp, Taken]]] = {}
        for op in self.ops:
            for taken in op.taken:
                for device in taken.devices:
                    found.setdefault(device, []).append((op, taken))
        return dict(sorted(found.items()))

    @property
    def slowest(self) -> int:
        """The device that is through last."""
        return max(self.lines, key=lambda device: _end(self.lines[device][-1][1]))

    @property
    def us(self) -> float:
        """From the start of the first op to the end of the last, on whatever device."""
        starts = [line[0][1].start_ns for line in self.lines.values()]
        return (max(_end(line[-1][1]) for line in self.lines.values()) - min(starts)) / 1000

    def shares(self) -> dict[str, float]:
        """Microseconds of each kind of op on the slowest device, and those in which it does nothing: adds up to `us`."""
        spent: dict[str, float] = dict.fromkeys(OP_KINDS, 0.0)
        for op, taken in self.lines[self.slowest]:
            spent[op.kind] += taken.us or 0
        return {**spent, "waits": max(0.0, self.us - sum(spent.values()))}

    def write_into(self, folder: Path) -> None:
        """Write `summary.json`, which `read_script` reads, and `trace.json`, which opens in Perfetto, a track for each device."""
        write_json(folder / SUMMARY, self.summary())
        with atomic(folder / "trace.json") as file:
            about = json.dumps({"clock_hz": self.clock_hz, "run": self.run}, separators=(",", ":"))
            events = ",\n".join(json.dumps(event, separators=(",", ":")) for event in self._events())
            file.write(f'{{"displayTimeUnit":"ns","otherData":{about},"traceEvents":[\n{events}\n]}}\n')

    def summary(self) -> dict[str, Any]:
        """What `run --json` writes."""
        return self.model_dump(mode="json", by_alias=True)

    def _events(self) -> Iterator[dict[str, Any]]:
        for device, line in self.lines.items():
            yield {"ph": "M", "pid": device, "tid": 0, "name": "process_name", "args": {"name": f"device {device}"}}
            yield {"ph": "M", "pid": device, "tid": 1, "name": "thread_name", "args": {"name": "ops"}}
            for op, taken in line:
                args = {"shape": op.shape, "cycles": taken.cycles, "bound by": taken.bound}
                times = {"ts": taken.start_ns / 1000, "dur": taken.us or 0}
                yield {"ph": "X", "pid": device, "tid": 1, "name": op.op, "cat": op.kind, **times, "args": args}


def _end(taken: Taken) -> float:
    return taken.start_ns + 1000 * (taken.us or 0)


def is_script(folder: Path) -> bool:
    """Whether a folder holds the run of a script, and not of a spec."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(summary, dict) and "script" in summary and "ops" in summary


def read_script(folder: Path) -> ScriptRun:
    """Read a script's run back from its folder.

    Raises:
        RunError: there is none, or it is broken, or of another version.
    """
    path = folder / SUMMARY
    try:
        run = ScriptRun.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise RunError(f"{path}: a script's run of another version: {where}: {wrong['msg']}; run it again") from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{folder}: no run of a script is there ({error}); `tensix-sim run SCRIPT.py` makes one") from error
    if run.schema_ != SCHEMA or not run.ops:
        raise RunError(f"{path}: a script's run of another version, or of a script without ops; run it again")
    return run
