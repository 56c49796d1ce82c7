"""Is every fault of a kernel named? Faults planted one by one, each run beside a right run: what the simulator says, and when.

Each is `named` by an error (with what its message holds, and the time it took as a part of the right run's), `suspect` (wrong
numbers: first page, core and step), or it changes less: `slower` (other cycles, same bits), `harmless` (neither) or `as good`
(other bits that err no more). What is neither named nor suspect and should be is `UNCAUGHT`.

    python benchmarks/faults.py [--jobs N] [--only NAME ...]
"""

import argparse
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np
from planted import FAULTS, SPECS, Raw
from planting import AS_GOOD, HARMLESS, SLOWER

import tensix_sim.kernel_api as api  # and no kernel: those are imported with the fault in them, each time in a process of its own
from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16, to_format
from tensix_sim.hw import Chip
from tensix_sim.hw.circular_buffer import CircularBuffer
from tensix_sim.kernel_api.compute import Compute
from tensix_sim.trace import Trace

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
PATIENCE = 10  # seconds of a kernel's step, and
LIMIT = 240  # of a run
RIGHT = ""  # the name of no fault


SUMS = {"rl": "line", "rr": "ring"}
GRID = "compute_with_storage_grid_size"
PRODUCTS: dict[str, Raw] = {
    "p2": {"kind": "2d", GRID: [2, 2], "in0_block_w": 2, "per_core_M": 2, "per_core_N": 2, "out_subblock_w": 2},
    "p1": {"kind": "1d", GRID: [4, 1], "in0_block_w": 2, "per_core_M": 4},
    "pm": {"kind": "multi_core", GRID: [2, 2]},
}  # fmt: skip
PROGRAMS = {"add": (8, 8), "mm": (8, 4), "sm": (8, 6)}  # of users, and the tiles of their first tensor


# -- one run, in a process of its own ------------------------------------------------------------------------------------------


def plant(name: str) -> None:
    """Have a kernel's file imported with a fault in it."""
    fault = FAULTS[name]
    usual = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        if Path(self.path).resolve() != KERNELS / fault.file:
            return usual(self, fullname)
        text = Path(self.path).read_text()
        assert fault.text in text, f"no {fault.text!r} in {fault.file}"
        return compile(text.replace(fault.text, fault.new, 1), self.path, "exec")

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def run_op(given: Raw) -> Raw:
    """Output, cycles, and whether they are suspect."""
    from tensix_sim import simulate

    result = simulate(given, gather="ring_size" in given and given.get("op") != "ring_joint_sdpa")
    accuracy = result.accuracy
    assert accuracy is not None
    assert accuracy.place is not None
    wrong = accuracy.suspicion() or ""
    out = np.concatenate([output.ravel() for output in result.outputs.values()])
    cycles = [device.cycles for device in result.devices] + ([result.tail.cycles] if result.tail else [])
    return {"out": out, "cycles": cycles, "suspect": accuracy.suspect, "said": f"PCC {accuracy.pcc:.6f} {wrong}"}


def run_sum(name: str) -> Raw:
    """The same of a reduce-scatter over four chips."""
    from tensix_sim.gather.reduce_scatter import ReduceScatter
    from tensix_sim.gather.run import run_collective

    op = ReduceScatter(shape=(1, 1, 64, 512), dim=3, dtype="bfloat16", links=1, workers=2, devices=4, topology=SUMS[name])
    rng = np.random.default_rng(0)
    xs = [to_format(rng.standard_normal(op.shape).astype(np.float32), op.format) for _ in range(op.devices)]
    done = run_collective(op, machine("galaxy"), xs)
    right = np.sum(xs, axis=0, dtype=np.float64)
    return compared(np.concatenate(done.outputs, 3), right, [figures.cycles for figures in done.figures])


def run_product(name: str) -> Raw:
    """The same of a product with a bias, in two blocks of columns, which is otherwise not watched."""
    from tensix_sim.matmul.geometry import MatmulGeometry
    from tensix_sim.matmul.program import program
    from tensix_sim.matmul.run import drawn
    from tensix_sim.matmul.spec import MatmulSpec

    given = {"m": 128, "k": 256, "n": 128, "numerics": "fast", "bias": name != "pm", "program_config": PRODUCTS[name]}
    spec = MatmulSpec.model_validate(given)
    a, b, bias = drawn(spec)
    made = program(MatmulGeometry.of(spec), a, b, bias)
    right = a[0].astype(float) @ b[0] + (0 if bias is None else bias)
    (contexts,) = api.run(Chip(spec.on, made, Trace("off")))
    (out,) = made.outputs
    return compared(out.values, right, [max(context.end for context in contexts.values())])


def run_user(name: str) -> Raw:
    """The same of a user's program, which compares with NumPy itself."""
    from tensix_sim.kernels import block_matmul, eltwise_add, softmax

    def tensor(name: str, rows: int, cols: int) -> api.Tensor:
        drawn = np.random.default_rng(list(name.encode())).standard_normal((rows * 32, cols * 32)).astype(np.float32)
        blank = np.full_like(drawn, np.nan)
        output = name == "out"
        return api.Tensor(name, rows, cols, BFLOAT16, values=blank if output else to_format(drawn, BFLOAT16), output=output)

    rows, cols = PROGRAMS[name]
    x, out = tensor("x", rows, cols), tensor("out", rows, cols)
    assert x.values is not None
    assert out.values is not None
    if name == "mm":
        y, out = tensor("y", cols, cols), tensor("out", rows, cols)
        program, right = block_matmul.program(x, y, out, (2, 2), 2, 2), x.values.astype(float) @ y.values
    elif name == "add":
        y = tensor("y", rows, cols)
        program, right = eltwise_add.program(x, y, out, (2, 2)), x.values.astype(float) + y.values
    else:
        e = np.exp(x.values.astype(float))
        program, right = softmax.program(x, out, (2, 2)), e / e.sum(axis=1, keepdims=True)
    chip = Chip(machine("n150"), program, Trace("off"))
    (contexts,) = api.run(chip)
    return compared(out.values, right, [max(context.end for context in contexts.values())])


def compared(out: Any, right: Any, cycles: list[int]) -> Raw:
    """Output and cycles, suspect where it is too far from what is right."""
    error = float(np.linalg.norm(out - right) / np.linalg.norm(right))
    return {"out": out, "cycles": cycles, "suspect": not error < 0.05, "said": f"relative L2 {error:.4f}"}


RUNS = dict.fromkeys(SUMS, run_sum) | dict.fromkeys(PRODUCTS, run_product)


def outcome(name: str, config: str) -> Raw:
    """What becomes of a fault in a config: an error's text; of a program's numbers, what is written on the way."""
    if name != RIGHT:
        plant(name)
    made = attempt(config)
    if config not in SPECS and (name == RIGHT or made.get("suspect")):
        made["written"] = follow()
        attempt(config)
    return made


def attempt(config: str) -> Raw:
    """One run of a config, or its error."""
    began, made, said = time.process_time(), Raw(), []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            made = run_op(SPECS[config]) if config in SPECS else RUNS.get(config, run_user)(config)
        except Exception as error:
            made["error"] = f"{type(error).__name__}, exit {getattr(error, 'exit_code', 1)}"
            said = [str(error), *getattr(error, "__notes__", [])]
    said += [f"{w.filename}:{w.lineno} {w.message}" for w in warned if "never awaited" in str(w.message)]
    if "out" in made:
        made["out"] = hashlib.sha1(np.ascontiguousarray(made["out"])).hexdigest()
    return made | {"seconds": time.process_time() - began, "text": "\n".join(said)}


def follow() -> Raw:
    """Keep what kernels write: pages of outputs, and step by step of each core what goes into its circular buffers."""
    pages: dict[tuple[int, str, int], tuple[str, str]] = {}  # of a run, a tensor and a page: the core, and what it wrote
    steps: dict[tuple[int, str], list[tuple[str, str]]] = {}  # of a run and a core
    engines: list[Any] = []
    usual_do, usual_write, usual_store = Compute.do, CircularBuffer.write, Chip.store

    def run_of(engine: Any) -> int:
        if engine not in engines:
            engines.append(engine)
        return engines.index(engine)

    def digest(block: Any) -> str:
        return hashlib.sha1(np.ascontiguousarray(block)).hexdigest()[:12]

    async def do(self: Compute, verb: Any, *operands: Any, **options: Any) -> None:
        await usual_do(self, verb, *operands, **options)
        made = self._known(verb, *operands, **options).verb
        for x in dict.fromkeys(x for x in (getattr(made, slot) for slot in made.__slots__) if isinstance(x, api.Matrix)):
            held = x.cb.values
            if x.cb.spec.producer == "compute" and (held.blocks or held.memory is not None):
                block = held.memory if held.memory is not None else held.blocks[-1]
                step = f"TRISC {verb.__name__} into {x.cb.spec.name}", digest(block)
                steps.setdefault((run_of(self.engine), self.core.label), []).append(step)

    def write(self: CircularBuffer, tiles: int, block: Any = None) -> None:
        usual_write(self, tiles, block)
        if block is not None:
            step = f"{'NCRISC' if self.spec.producer == 'reader' else 'BRISC'} into {self.spec.name}", digest(block)
            core = self.label.removesuffix(f" {self.spec.name}")
            steps.setdefault((run_of(self.pushes.engine), core), []).append(step)

    def store(self: Chip, tensor: Any, where: Any, block: Any, author: Any, queue: Any = None) -> None:
        usual_store(self, tensor, where, block, author, queue)
        if block is not None:
            tiles = np.asarray(block).swapaxes(1, 2).reshape(len(where), -1)
            by = author.who.label.rpartition(" ")[0]
            pages.update(
                {
                    (run_of(self.engine), f"{self.label}{tensor.name}", int(p)): (by, digest(t))
                    for p, t in zip(where, tiles, strict=True)
                }
            )

    Compute.do, CircularBuffer.write, Chip.store = do, write, store  # type: ignore[method-assign]
    return {"pages": pages, "steps": steps}


def warm() -> None:
    """Load what is compiled, once for all processes, by a program without kernels of ours."""
    x = api.Tensor("x", 1, 1, BFLOAT16, values=np.ones((32, 32), np.float32))
    out = api.Tensor("out", 1, 1, BFLOAT16, values=np.zeros((32, 32), np.float32), output=True)

    async def reader(dm: api.DataMovement, _: int) -> None:
        (cb,) = dm.cbs("x")
        await dm.reserve(cb, 1)
        await dm.read(x, [0], cb, (1, 1))
        dm.push(cb, 1)

    async def writer(dm: api.DataMovement, _: int) -> None:
        (cb,) = dm.cbs("x")
        await dm.wait(cb, 1)
        await dm.write(cb, out, [0], (1, 1))
        dm.pop(cb, 1)

    buffers = (api.BufferSpec("x", 1, BFLOAT16, "reader", "writer"),)
    kernels = (api.Kernel("reader", reader, [0]), api.Kernel("writer", writer, [0]))
    api.run(Chip(machine("p100a"), api.Program((1, 1), buffers, kernels, (x, out)), Trace("off")))


# -- all of them -----------------------------------------------------------------------------------------------------------------


def outcomes(asked: list[tuple[str, str]], jobs: int) -> Iterator[tuple[str, str, Raw]]:
    """`outcome` of each, in a process of its own; in their order, each as soon as those before it are there."""
    fork = multiprocessing.get_context("fork")
    found: dict[int, Raw] = {}
    running: dict[Any, tuple[int, Any, float]] = {}
    waiting = list(enumerate(asked))[::-1]
    for told, (name, config) in enumerate(asked):
        while told not in found:
            while waiting and len(running) < jobs:
                i, arguments = waiting.pop()
                here, there = fork.Pipe(duplex=False)
                process = fork.Process(target=lambda: there.send(outcome(*arguments)))  # noqa: B023
                process.start()
                there.close()
                running[here] = i, process, time.monotonic() + LIMIT
            for pipe in multiprocessing.connection.wait(running, timeout=1):
                i, process, _ = running.pop(pipe)
                try:
                    found[i] = pipe.recv()  # type: ignore[attr-defined]
                except EOFError:
                    found[i] = {"error": "the process died", "text": "", "seconds": 0.0}
                process.join()
            for pipe, (i, process, end) in list(running.items()):
                if time.monotonic() > end:
                    del running[pipe]
                    process.kill()
                    found[i] = {"error": f"no end after {LIMIT} s", "text": "", "seconds": LIMIT}
        yield name, config, found.pop(told)


def told(text: str) -> dict[str, bool]:
    """What a message has of all that it should: core, RISC, what it is about, counts, file and line."""
    bare = re.sub(r"core \(\d+,\d+\)|device \d+|[\w/.]+\.py:\d+", "", text)
    return {
        "core": bool(re.search(r"core \(\d+,\d+\)", text)),
        "RISC": bool(re.search(r"\b(NCRISC|BRISC|TRISC)\b", text)),
        "name": bool(re.search(NAMES, bare)),
        "counts": bool(re.search(r"\d|Error:|unknown|belongs to|no output|vector unit", bare)),  # not all are of counts
        "line": bool(re.search(r"\.py:\d+", text)),
    }


NAMES = (
    r"\b(q_in|k_in|v_in|mask_in|identity_scale|col_identity|page_table|recip_scratch|qk_im|out_im_.|max_.|sum_.|(?:max|sum)_(?:in|out)"
    r"|prev_out|signal|statistics|exp_max_diff|outt?|[xyab]_in|scaler|ones|maxima|exps|sums|packets|tiles|from ahead|from behind"
    r"|reduced|semaphore|link|output|gathered|slice|slab \d|Exp|init exp|buffers)\b"
)


def wrong_at(right: Raw, wrong: Raw) -> str:
    """The first page that differs, its core, and the first step on it that does."""
    pages, others = right["written"]["pages"], wrong["written"]["pages"]
    first = next((page for page, (_, held) in pages.items() if others.get(page, ("", ""))[1] != held), None)
    if first is None:
        return "in no page that was written"
    run, tensor, number = first
    core = others.get(first, pages[first])[0]
    steps = zip(right["written"]["steps"].get((run, core), []), wrong["written"]["steps"].get((run, core), []), strict=False)
    step = next((a[0] for a, b in steps if a != b), "none: the writer")
    return f"page {number} of {tensor}, {core}, first wrong step {step}"


def judge(kind: str, right: Raw, wrong: Raw) -> str:
    """What became of a fault, and whether that is what should."""
    if "error" in wrong:
        named = "exit 3" in wrong["error"]
        return "named" if named else f"UNCAUGHT: {wrong['error']}"
    if wrong["suspect"]:
        return "suspect"
    if wrong["out"] != right["out"]:
        return "as good" if kind == AS_GOOD else "UNCAUGHT: other numbers"
    if wrong["cycles"] != right["cycles"]:
        return "slower" if kind in (SLOWER, HARMLESS, AS_GOOD) else "UNCAUGHT: other cycles"
    return "harmless" if kind in (HARMLESS, SLOWER, AS_GOOD) else "UNCAUGHT: no change"


def main() -> None:
    """Plant all; exit code 1 if more is uncaught than docs/kernels.md lists."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", help="faults by name")
    parser.add_argument("--text", action="store_true", help="whole messages")
    options = parser.parse_args()
    os.environ["TENSIX_SIM_STEP_SECONDS"] = str(PATIENCE)
    warm()
    began = time.perf_counter()
    planted = [(name, config) for name in options.only or FAULTS for config in FAULTS[name].configs.split()]
    configs = sorted({config for _, config in planted})
    right = {config: made for _, config, made in outcomes([(RIGHT, config) for config in configs], options.jobs)}
    for config, made in right.items():
        assert not made.get("suspect", True), (config, made["text"])
    tally = Tally()
    for name, config, made in outcomes(planted, options.jobs):
        print(tally.add(name, config, right[config], made, options.text), flush=True)
    print(tally)
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(len(tally.uncaught) > LISTED)


LISTED = 0  # of those that should be caught, in docs/kernels.md


@dataclass
class Tally:
    """What became of all."""

    verdicts: Counter[str] = field(default_factory=Counter)
    complete: list[bool] = field(default_factory=list)  # of messages
    ratios: list[float] = field(default_factory=list)  # of times to detect
    uncaught: dict[str, None] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)

    def add(self, name: str, config: str, right: Raw, wrong: Raw, whole: bool) -> str:
        """A fault's line."""
        verdict = judge(FAULTS[name].kind, right, wrong)
        self.verdicts[verdict] += 1
        self.faults.add(name)
        if verdict.startswith("UNCAUGHT"):
            self.uncaught[name] = None
        line = f"{name} {FAULTS[name].what}, in {config}: {verdict}"
        if verdict == "named":
            return line + self.named(wrong["text"], wrong["seconds"] / right["seconds"], whole)
        if verdict == "suspect":
            return f"{line}, {wrong['said']}{': ' + wrong_at(right, wrong) if 'written' in wrong else ''}"
        return line if "error" in wrong else f"{line}, {wrong['said']}, cycles {wrong['cycles']} of {right['cycles']}"

    def named(self, text: str, ratio: float, whole: bool) -> str:
        """How well an error's text names the fault, and how soon it came."""
        lacking = [what for what, is_there in told(text).items() if not is_there]
        self.complete.append(not lacking)
        self.ratios.append(ratio)
        without = f" without {', '.join(lacking)}" if lacking else ""
        said = "\n    " + text.replace("\n", "\n    ") if whole else f": {text.splitlines()[0][:200]}"
        return f", quality {1 if lacking else 2}{without}, {ratio:.2f} x the time{said}"

    def __str__(self) -> str:
        lines = [f"{self.verdicts}"]
        if self.complete:
            good, times = sum(self.complete), sorted(self.ratios)
            lines += [
                f"quality 2: {good} of {len(self.complete)}, {good / len(self.complete):.1%}",
                f"time to detect: at most {times[-1]:.2f} of a right run, median {times[len(times) // 2]:.2f}",
            ]
        return "\n".join([*lines, f"uncaught: {len(self.uncaught)} of {len(self.faults)} faults: {', '.join(self.uncaught)}"])


if __name__ == "__main__":
    main()
