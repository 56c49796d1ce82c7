"""What a script's ops took, as a run: `tensix_sim.script` of all that the session has of them."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tensix_sim
from tensix_sim.arch import machine
from tensix_sim.identity import LETTERS, sources_hash
from tensix_sim.script import LoggedTensor, ScriptOp, ScriptRun, Taken
from tensix_sim.text import grouped
from tensix_sim.trace import whole_folder
from tensix_sim.trust import trust_of_op
from tensix_sim.ttnn import device
from tensix_sim.ttnn.session import SESSION, Call, Op


def record(folder: Path) -> bool:
    """Write the run of this process's script into a folder, if it called ops; whether it did.

    Raises:
        OSError: the folder cannot be written, or has files that no run writes.
    """
    if not SESSION.calls:
        return False
    script, *arguments = [*sys.argv] or [""]
    with whole_folder(folder) as new:
        script_run(Path(script), arguments).write_into(new)
    return True


def script_run(script: Path, arguments: Sequence[str] = ()) -> ScriptRun:
    """The session's calls so far."""
    settings = SESSION.settings
    on = machine(settings.board).override(settings.machine)
    trusted = {op.trust.text for op in SESSION.ops.values() if op.trust}  # which each op has
    run = ScriptRun(
        run="0" * LETTERS,
        version=tensix_sim.__version__,
        script=script.name,
        arguments=tuple(arguments),
        board=on.board,
        chip=on.chip.name,
        mesh=(device.available()[0], device.available()[1]),
        cores=on.cores,
        numerics=settings.numerics,
        machine=settings.machine,
        clock_hz=on.chip.clock_hz,
        simulated=SESSION.simulated,
        ops=tuple(_ops(on.chip.name)),
        notes=tuple(note for note in SESSION.told() if note not in trusted),
    )
    about = {"sources": sources_hash(), "text": script.read_text() if script.is_file() else "", "run": run.summary()}
    return run.model_copy(update={"run": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:LETTERS]})


def _ops(chip: str) -> list[ScriptOp]:
    by_number = grouped(SESSION.calls, lambda call: call.number)
    return [_op(calls, SESSION.ops[number], chip) for number, calls in by_number.items()]


def _op(calls: list[Call], op: Op, chip: str) -> ScriptOp:
    """An op; devices that took the same from the same time on are together."""
    alike = grouped(calls, lambda call: (call.ring_id, call.start, call.cycles, call.bound))
    first = calls[0]
    return ScriptOp(
        number=first.number,
        op=first.op,
        shape=first.shape,
        code=op.code,
        cores=op.cores,
        fidelity=op.fidelity,
        attributes=op.attributes,
        inputs=tuple(_tensor(tensor) for tensor in op.inputs),
        output=None if op.output is None else _tensor(op.output),
        trust=op.trust or (None if SESSION.settings.machine else trust_of_op(first.op, op.kind, chip)),
        taken=tuple(_taken(group) for group in alike.values()),
    )


def _tensor(tensor: Any) -> LoggedTensor:
    return LoggedTensor(**{name: value for name, value in asdict(tensor).items() if name != "name"})


def _taken(group: list[Call]) -> Taken:
    one = group[0]
    told = [(call.pcc, call.rel_l2) for call in group if call.pcc is not None and call.rel_l2 is not None]
    return Taken(
        devices=tuple(sorted(call.device for call in group)),
        ring_id=one.ring_id,
        start_ns=one.start,
        cycles=None if one.cycles is None else int(one.cycles),
        us=one.microseconds,
        bound=one.bound,
        pcc=min(pcc for pcc, _ in told) if told else None,
        rel_l2=max(rel_l2 for _, rel_l2 in told) if told else None,
        suspect=any(call.suspect for call in group),
    )
