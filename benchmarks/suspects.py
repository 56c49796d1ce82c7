"""Does a wrong number show? Faults planted one by one in a copy of the kernels, and runs with nothing wrong.

Of each fault that an error does not end: whether the run is suspect. Of each right run: that it is not. Prints a line each,
how far each was from the limit, and what did not come out as it should.

    python benchmarks/suspects.py [--jobs N] [--only NAME ...]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tensix_sim import check, simulate
from tensix_sim.config import BUILT_IN, RunSpec, read_spec
from tensix_sim.hw import SimulationError
from tensix_sim.presets import presets
from tensix_sim.sdpa.inputs import make_inputs
from tensix_sim.workers import run_all

ROOT = Path(__file__).parents[1]
Raw = dict[str, Any]


def spec(heads: int = 4, kv_heads: int = 2, rows: int = 1024, d: int = 64, q: int = 64, k: int = 128, **more: Any) -> Raw:
    """A small run in bfloat16, on two by two cores."""
    inputs = {"q_heads": heads, "kv_heads": kv_heads, "seq_len": rows, "head_dim": d, "dtype": "bfloat16"} | more.pop(
        "inputs", {}
    )
    program = {"compute_with_storage_grid_size": more.pop("grid", [2, 2]), "q_chunk_size": q, "k_chunk_size": k}
    return {"inputs": inputs, "program_config": program, "trace": "off"} | more


PAGED = {"op": "chunked_sdpa", "paged_kv": {"block_size": 64, "page_table": "shuffled"}, "chunk_start_idx": 256}
KEYS = {"op": "sdpa", "is_causal": False}
CONFIGS: dict[str, Raw] = {
    "a": spec(),
    "b": spec(kernel="streaming"),
    "b2": spec(rows=1024, q=128, kernel="streaming", compute_kernel_config={"math_fidelity": "HiFi2"}),
    "c": spec(rows=256, kernel="streaming", inputs={"kv_len": 400}, **KEYS),
    "cl": spec(rows=256, kernel="legacy", inputs={"kv_len": 400}, **KEYS),
    "d": spec(rows=256, inputs={"batch": 2}, kernel="legacy", **PAGED),
    "d1": spec(rows=256, inputs={"batch": 2}, kernel="legacy", grid=[1, 1], **PAGED),
    "e": spec(rows=512, op="sdpa", sliding_window_size=128, kernel="legacy"),
    "es": spec(rows=512, op="sdpa", sliding_window_size=128, kernel="streaming"),
    "ax": spec(heads=2, kv_heads=1, rows=512, numerics="exact"),
    "bx": spec(heads=2, kv_heads=1, rows=512, numerics="exact", kernel="streaming"),
}


class Fault(NamedTuple):
    """What is put in place of `text`, where it first stands in a kernel's file, and the configs that then go wrong."""

    what: str
    file: str
    text: str
    new: str
    configs: str


FAULTS: dict[str, Fault] = {
    "C17": Fault("scale applied twice in exp", "legacy.py", "dst.exps, scale)", "dst.exps, scale * scale)", "a ax"),
    "C18": Fault("scale left out of alpha", "legacy.py", "alpha, scale)", "alpha, 1.0)", "a"),
    "C19": Fault("mask never stamped", "legacy.py", "if x.mask and marks", "if not x and marks", "a e"),
    "C20": Fault("mask of the next row", "legacy.py", "a.mask.marks(row, j)", "a.mask.marks(row + 1, j)", "a"),
    "C23": Fault("K not transposed within tiles", "running.py", ", transposed=True)", ")", "a"),
    "C25": Fault("old sums not rescaled", "legacy.py", "await t.do(MulSums, prev.l, alpha)", "pass", "a"),
    "C26": Fault("old sums not added", "legacy.py", "await t.do(AddTo, cur.l, prev.l)", "pass", "a"),
    "C28": Fault("old outputs not added", "legacy.py",
                 "await t.do(MulColumn, prev.O, alpha, cur.O, dst.scaled, accumulate=True)", "pass", "a"),
    "C29": Fault("columns of sums not added up", "legacy.py", "await t.do(RowSum, last.l, x.ones, dst.sums)", "pass", "a"),
    "C30": Fault("reciprocal left out", "legacy.py", "await t.do(Reciprocal, last.l)", "pass", "a"),
    "C32": Fault("V in place of K", "running.py",
                 "t.matrix(\"k_in\", D, N, transposed=True), t.matrix(\"v_in\", N, E)",
                 "t.matrix(\"v_in\", D, N, transposed=True), t.matrix(\"k_in\", N, E)", "a"),
    "C37": Fault("alpha's difference the wrong way round", "legacy.py",
                 "ExpDifference, prev.m, cur.m", "ExpDifference, cur.m, prev.m", "a"),
    "C48": Fault("new sums rescaled in place of old", "legacy.py", "t.do(MulSums, prev.l", "t.do(MulSums, cur.l", "a"),
    "C51": Fault("inner dimension of P V one short", "legacy.py",
                 "Matmul, S, V, cur.O",
                 "Matmul, t.matrix(\"qk_im\", S.rows, S.cols - 1), t.matrix(\"v_in\", V.rows - 1, V.cols), cur.O", "a"),
    "R04": Fault("Q rows off by one", "reader.py", "+ q * a.chunk.M + i", "+ q * a.chunk.M + i + (i + q == 0)", "a c"),
    "R06": Fault("K read in place of V", "reader.py", "read_kv(dm, a, a.tensors.v, V", "read_kv(dm, a, a.tensors.k, V", "a c"),
    "R07": Fault("V read in place of K", "reader.py", "read_kv(dm, a, a.tensors.k, K", "read_kv(dm, a, a.tensors.v, K", "a"),
    "R08": Fault("wrong K/V head", "args.py", "return head // (self.q // self.kv)", "return head % self.kv", "a d"),
    "R09": Fault("head of Q used for K/V", "args.py", "head // (self.q // self.kv)", "min(head, self.kv - 1)", "a d"),
    "R10": Fault("phase's Q row ignored", "reader.py", "first = phase.read_row + q", "first = q", "a"),
    "R12": Fault("K not laid down by columns", "reader.py", "rows, chain, True)", "rows, chain, False)", "a c"),
    "R35": Fault("page table of batch 0 for all", "reader.py", "paging.rows[b][t", "paging.rows[0][t", "d"),
    "R38": Fault("K and V beyond the tensor", "reader.py",
                 "first = (b * a.heads.kv + kv_head)", "first = ((b + 1) * a.heads.kv + kv_head)",
                 "a"),
    "R39": Fault("Q pages off by one tile", "reader.py", "range(start * D, (start + present) * D)",
                 "range(max(0, start * D - 1), max(0, start * D - 1) + present * D)", "a"),
    "R40": Fault("last K/V row of each chunk not read", "reader.py", "rows = min(N, kv_rows - j * N)",
                 "rows = min(N, kv_rows - j * N) - 1", "a"),
    "R46": Fault("Q chunks read in reverse", "reader.py",
                 "(b, head, q), 0, M)", "(b, head, a.heads.q_chunks - 1 - q), 0, M)", "a"),
    "R47": Fault("row within a block off by one", "reader.py", "+ t % paging.block_rows)", "+ (t + 1) % paging.block_rows)", "d"),
    "W07": Fault("heads of the output swapped in pairs", "writer.py",
                 "b * a.heads.q + head)", "b * a.heads.q + (head ^ 1))", "a"),
    "W15": Fault("palette of NaN and zeros", "writer.py", "a.mask.tiles())",
                 "np.where(a.mask.tiles() < 0, np.float32(np.nan), 0))", "a"),
    "W16": Fault("palette of zeros", "writer.py", "a.mask.tiles())", "0 * np.isinf(a.mask.tiles()).astype(np.float32))", "a e"),
    "W17": Fault("pages written in reverse", "writer.py", "range((row + i) * E, (row + i + rows) * E)",
                 "range((row + i + rows) * E - 1, (row + i) * E - 1, -1)", "a"),
    "W25": Fault("Q chunks of the output swapped", "writer.py", "phase.write_row + q * M", "phase.write_row + (q ^ 1) * M", "a"),
    "S15": Fault("last rescaling dropped", "streaming.py",
                 "await t.do(Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows)  ", "pass  ", "b c b2"),
    "S16": Fault("scale applied twice in exp", "streaming.py", "rows, s.n, s.w, f.scale)", "rows, s.n, s.w, f.scale**2)", "b bx"),
    "S17": Fault("scale left out of alpha", "streaming.py", "alpha, rows, f.scale, f.exp", "alpha, rows, 1.0, f.exp", "b"),
    "S18": Fault("mask never stamped", "streaming.py", "if x.mask and marks:", "if x.mask and not s:", "b es"),
    "S30": Fault("hidden columns computed too", "streaming.py", "n = a.mask.active(row, j)", "n = a.chunk.N", "b c es"),
    "S33": Fault("sums rescaled onto themselves", "streaming.py", "Rescale, prev.O, prev.l, alpha, cur.O, cur.l, rows, ",
                 "Rescale, prev.O, prev.l, alpha, cur.O, prev.l, rows, ", "b2"),
    "M01": Fault("a query sees one key after its own", "mask.py", "            return 0\n        return None if",
                 "            return 1\n        return None if", "a b ax bx"),
    "M02": Fault("window one key too wide", "mask.py", "return self.window - 1 if", "return self.window if", "e es"),
    "M03": Fault("last K chunk left out", "mask.py", "range(first, -(-self._end(row) // self.N))",
                 "range(first, max(first + 1, -(-self._end(row) // self.N) - 1))", "a c"),
    "M05": Fault("one hidden tile a row left visible", "mask.py", "(NEG_INF, own + 1, end)", "(NEG_INF, own + 2, end)", "a b"),
    "M06": Fault("diagonal tile hidden", "mask.py", "(NEG_INF, own + 1, end)", "(NEG_INF, own, end)", "a b"),
    "M08": Fault("nothing stamped on padding", "mask.py", "(NEG_INF, bar, end)", "(NEG_INF, end, end)", "cl"),
    "M09": Fault("window's edges a tile off", "mask.py", "edge, some = own - away", "edge, some = own - away + 1", "e"),
    "M11": Fault("first K chunk never visited", "mask.py", "return range(first, -(-self._end(row)",
                 "return range(min(first + 1, -(-self._end(row) // self.N) - 1), -(-self._end(row)", "a b c"),
    "M12": Fault("diagonal one tile late", "mask.py", "own = diagonal + i", "own = diagonal + i + 1", "a b e"),
    "M13": Fault("tiles of the palette transposed", "mask.py", "row, key = np.indices", "key, row = np.indices", "a e"),
}  # fmt: skip


def planted(name: str) -> dict[str, str]:
    """What each config of a fault makes of it, in a copy of the package."""
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory() as copy:
        for part in ("tensix_sim", "kernels"):
            shutil.copytree(ROOT / part, Path(copy) / part, symlinks=True)  # with what is compiled
        file = Path(copy) / "kernels" / "sdpa" / fault.file
        text = file.read_text()
        if fault.text not in text:
            return dict.fromkeys(fault.configs.split(), f"no {fault.text!r} in {fault.file}")
        file.write_text(text.replace(fault.text, fault.new, 1))
        command = [sys.executable, __file__, "--here", *fault.configs.split()]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": copy}, cwd=copy, capture_output=True, text=True)
    if done.returncode:
        return dict.fromkeys(fault.configs.split(), done.stderr.strip().splitlines()[-1])
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


def outcome(spec: Raw, kind: str = "") -> str:
    """Run a spec: `suspect`, `not suspect` or `error`, and how far from what is expected."""
    inputs = None
    if kind == "unsigned":
        drawn = make_inputs(RunSpec.model_validate(spec))
        inputs = replace(drawn, **{x: np.abs(getattr(drawn, x)) % 1 for x in "qkv"})
    try:
        accuracy = simulate(spec, inputs=inputs).accuracy
    except SimulationError as error:
        return f"error: {str(error).splitlines()[0]}"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    assert accuracy is not None
    assert accuracy.place is not None
    at = accuracy.place
    said = "suspect" if accuracy.suspect else "not suspect"
    return f"{said}, PCC {accuracy.pcc:.6f}, rows {at.rows} {at.rel_l2:.2%}, expected {at.expected:.2%}"


def right_runs() -> dict[str, tuple[Raw, str]]:
    """Runs with nothing wrong, of some seconds at most: spec and kind of inputs."""
    made: dict[str, tuple[Raw, str]] = {f"config {name}": (config, "") for name, config in CONFIGS.items()}
    for name, preset in presets().items():
        lengths = (n for n in (1024, 2048, 4096, 8192, 16384) if n >= preset.seq_lens[0])
        raws = (preset.raw_spec(("numerics=fast", "trace=off", "inputs.q_heads=8", "inputs.kv_heads=1"), n) for n in lengths)
        legal = next((raw for raw in raws if check(raw).ok), None)
        if legal is not None:
            made[f"preset {name}, {legal['inputs']['seq_len']} tokens"] = legal, ""
    made["built-in, 2048 tokens"] = read_spec(BUILT_IN, ("inputs.seq_len=2048", "program_config.q_chunk_size=128")), ""
    for fidelity in ("LoFi", "HiFi2", "HiFi4"):
        for dtype in ("bfloat16", "bfloat8_b", "bfloat4_b"):
            for kernel in ("legacy", "streaming"):
                changes = {"dtype": dtype, "outliers": 0.01 if fidelity == "HiFi2" else 0.0}
                one = CONFIGS["a" if kernel == "legacy" else "b"]
                compute = {"math_fidelity": fidelity}
                made[f"{kernel}, {dtype}, {fidelity}"] = (
                    one | {"inputs": one["inputs"] | changes, "compute_kernel_config": compute},
                    "",
                )
    for length in (512, 1024, 2048):
        one = spec(heads=2, kv_heads=2, rows=length, d=32, op="sdpa", board="n150")
        made[f"unsigned, {length} tokens"] = one, "unsigned"
    return made


def main():
    """Plant each fault and run each right run; exit code 1 if one did not come out as it should."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", help="faults by name; no right runs")
    parser.add_argument("--here", nargs="*", help=argparse.SUPPRESS)  # in a copy: these configs, as JSON
    options = parser.parse_args()
    if options.here is not None:
        print(json.dumps({config: outcome(CONFIGS[config]) for config in options.here}))
        return
    began, missed, accused = time.perf_counter(), 0, 0
    names = options.only or list(FAULTS)
    for name, found in zip(names, run_all(planted, [(name,) for name in names], options.jobs), strict=True):
        for config, said in found.items():
            missed += not said.startswith(("suspect", "error"))
            print(f"{name} {FAULTS[name].what}, in {config}: {said}")
    right = {} if options.only else right_runs()
    for name, said in zip(right, run_all(outcome, list(right.values()), options.jobs) if right else (), strict=True):
        accused += not said.startswith("not suspect")
        print(f"right: {name}: {said}")
    print(f"{len(names)} faults, {missed} of their runs missed; {len(right)} right runs, {accused} accused")
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(missed + accused > 0)


if __name__ == "__main__":
    main()
