"""A script's run as other tools read it: `ops_perf_results_*.csv`, a row for each op and device, as tt-metal logs them."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tensix_sim.emit.perf_results import COLUMNS, tensor_columns, tensor_row
from tensix_sim.emit.run import host_id
from tensix_sim.files import atomic
from tensix_sim.logged import OpTensor
from tensix_sim.script.run import ScriptOp, ScriptRun, Taken
from tensix_sim.trace.folder import MARK
from tensix_sim.user_errors import UserError

EMITTED = ("perf-csv", "perfetto")  # the second is trace.json, which every run has
CODES = {  # of ops in ttnn's logs; the others' are made of their names
    "linear": "MatmulDeviceOperation",
    "matmul": "MatmulDeviceOperation",
    "add": "BinaryNgDeviceOperation",
    "subtract": "BinaryNgDeviceOperation",
    "multiply": "BinaryNgDeviceOperation",
    "rms_norm": "LayerNormDeviceOperation",
    "layer_norm": "LayerNormDeviceOperation",
    "all_gather_async": "AllGatherAsync",
    "nlp_create_qkv_heads": "NlpCreateHeadsDeviceOperation",
    "nlp_concat_heads": "NLPConcatHeadsDeviceOperation",
    "rotary_embedding_llama": "RotaryEmbeddingLlamaDeviceOperation",
}


class ScriptEmitError(UserError, ValueError):
    """What was asked for cannot be made of a script's run."""


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Refuse formats that need the trace of every core.

    Raises:
        ScriptEmitError: one is such; names it.
    """
    if wrong := [kind for kind in kinds if kind not in EMITTED]:
        raise ScriptEmitError(
            f"{', '.join(wrong)}: not of a script, whose ops have no traces of cores; there are {', '.join(EMITTED)}"
        )


def emit_script(run: ScriptRun, kinds: tuple[str, ...], folder: Path, name: str) -> list[Path]:
    """Write a script's run in other tools' formats; the files that were written.

    Raises:
        ScriptEmitError: there is no such format of a script.
    """
    check_kinds(kinds)
    return [write_perf_csv(run, folder / f"ops_perf_results_{name}.csv")] if "perf-csv" in kinds else []


def write_perf_csv(run: ScriptRun, path: Path) -> Path:
    """Write the rows, device by device in the order of their ops, without those whose cycles are not modelled."""
    most = max(3, *(len(op.inputs) for op in run.ops))
    before = COLUMNS.index(tensor_columns("OUTPUT_0")[0])
    more = [name for i in range(3, most) for name in tensor_columns(f"INPUT_{i}")]
    with atomic(path) as file:
        rows = csv.DictWriter(file, [*COLUMNS[:before], *more, *COLUMNS[before:]], restval="", lineterminator="\n")
        rows.writeheader()
        for device, line in run.lines.items():
            rows.writerows(_rows(run, device, line))
    return path


def _rows(run: ScriptRun, device: int, line: list[tuple[ScriptOp, Taken]]) -> Iterator[dict[str, object]]:
    ready = line[0][1].start_ns
    for op, taken in line:
        if taken.us is None or taken.cycles is None:
            continue
        ns, start = round(taken.us * 1000), taken.start_ns * run.clock_hz // 10**9
        after = taken.start_ns - ready
        ready = taken.start_ns + ns
        row: dict[str, object] = {
            "OP CODE": op.code or CODES.get(op.op, "".join(map(str.title, op.op.split("_"))) + "DeviceOperation"),
            "OP TYPE": "tt_dnn_device",
            "GLOBAL CALL COUNT": host_id(device, op.number),
            "DEVICE ID": device,
            "DEVICE ARCH": run.chip,
            "ATTRIBUTES": "{" + "; ".join(f"'{name}': '{value}'" for name, value in op.attributes.items()) + "}",
            "MATH FIDELITY": op.fidelity,
            "CORE COUNT": op.cores,
            "AVAILABLE WORKER CORE COUNT": run.cores,
            "HOST START TS": 0,
            "DEVICE FW START CYCLE": start,
            "DEVICE FW END CYCLE": start + taken.cycles,
            "OP TO OP LATENCY [ns]": after,
            "DEVICE FW DURATION [ns]": ns,
            "DEVICE KERNEL DURATION [ns]": ns,
            MARK: run.run,
        }
        for which, tensor in [(f"INPUT_{i}", one) for i, one in enumerate(op.inputs)] + [("OUTPUT_0", op.output)]:
            row |= tensor_row(which, OpTensor("", tensor.shape, tensor.dtype, tensor.memory)) if tensor else {}
        yield row
