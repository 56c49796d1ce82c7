"""Is every slip of a kernel answered? Slips made one by one at every place of every kernel, each run beside a right run.

A statement that is not there, stands twice or is not awaited, a number one more, a condition turned round, plus for minus. What
`faults.py` plants by hand is what people get wrong; this is what they might. Prints the slips that end in other numbers without
being suspect, of which many err no more and are right, and those that never end. What builds a program may not start at all.

    python benchmarks/mutants.py [FILE ...] [--jobs N] [--all]
"""

import argparse
import ast
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

import faults
from planted import FAULTS
from planting import AS_GOOD, Fault

CONFIGS = {  # of each file of `kernels/`, runs that come to all of it
    "all_gather.py": "g",
    "block_matmul.py": "mm",
    "eltwise_add.py": "add",
    "matmul/blocks.py": "p2 p1",
    "matmul/compute.py": "p2 p1",
    "matmul/in0.py": "p2 p1",
    "matmul/in1.py": "p2 p1",
    "matmul/multi_core.py": "pm",
    "matmul/verbs.py": "p2 pm",
    "multicast.py": "p2 jr",
    "reduce_scatter.py": "rl rr",
    "reduce_verbs.py": "rl",
    "sdpa/args.py": "a d g",
    "sdpa/barrier.py": "a",
    "sdpa/legacy.py": "a cl e",
    "sdpa/mask.py": "b c3 es",
    "sdpa/reader.py": "a d cl g m w t",
    "sdpa/ring_joint/args.py": "j jr",
    "sdpa/ring_joint/gather.py": "j",
    "sdpa/ring_joint/reader.py": "j jr",
    "sdpa/ring_joint/streaming.py": "j j1 jb",
    "sdpa/ring_joint/writer.py": "j j1 jb",
    "sdpa/row_verbs.py": "b c3",
    "sdpa/running.py": "a b",
    "sdpa/streaming.py": "b c3 m",
    "sdpa/verbs.py": "a cl",
    "sdpa/writer.py": "a d t",
    "softmax.py": "sm",
}
TURNED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Add: "-", ast.Sub: "+"}


def slips(text: str) -> Iterator[tuple[str, str]]:
    """What is done to a kernel's file, and the file with that done."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def at(line: int, column: int) -> int:
        return starts[line - 1] + column

    def put(node: ast.expr | ast.stmt, new: str) -> tuple[str, str]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin, end = at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)
        was = " ".join(text[begin:end].split())
        return f"line {node.lineno}: {was[:60]} -> {new[:70]}", text[:begin] + new + text[end:]

    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in (node for statement in function.body for node in ast.walk(statement)):
                match node:
                    case ast.Expr(value=ast.Await(value=call)):
                        yield put(node, "pass")
                        yield put(node, f"{ast.unparse(node)}; {ast.unparse(node)}")
                        yield put(node, ast.unparse(call))
                    case ast.Expr(value=ast.Call()):
                        yield put(node, "pass")
                        yield put(node, f"{ast.unparse(node)}; {ast.unparse(node)}")
                    case ast.Constant(value=int(value)) if not isinstance(value, bool):
                        yield put(node, str(value + 1))
                    case ast.Constant(value=bool(value)):
                        yield put(node, str(not value))
                    case ast.If(test=test) | ast.IfExp(test=test):
                        yield put(test, f"(not ({ast.unparse(test)}))")
                    case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in TURNED:
                        yield put(node, f"({ast.unparse(left)} {TURNED[type(op)]} {ast.unparse(right)})")
                    case ast.BinOp(left=left, op=op, right=right) if type(op) in TURNED:
                        yield put(node, f"({ast.unparse(left)} {TURNED[type(op)]} {ast.unparse(right)})")


def planted(files: list[str]) -> list[str]:
    """Put all slips of some files with the planted faults; their names."""
    names = []
    for file in files:
        text = (faults.KERNELS / file).read_text(encoding="utf-8")
        for number, (what, slipped) in enumerate(dict.fromkeys(slips(text))):
            name = f"{file} {number}"
            FAULTS[name] = Fault(what, file, text, slipped, CONFIGS[file], AS_GOOD)
            names.append(name)
    return names


def main() -> None:
    """Run all; exit code 1 if nobody tells of some."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=sorted(CONFIGS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--all", action="store_true", help="a line for each slip")
    options = parser.parse_args()
    os.environ["TENSIX_SIM_STEP_SECONDS"] = str(faults.PATIENCE)
    faults.warm()
    began, verdicts, silent = time.perf_counter(), Counter[str](), 0
    asked = [(name, config) for name in planted(options.files) for config in FAULTS[name].configs.split()]
    configs = sorted({config for _, config in asked})
    right = {config: made for _, config, made in faults.outcomes([(faults.RIGHT, config) for config in configs], options.jobs)}
    for name, config, made in faults.outcomes(asked, options.jobs):
        verdict = faults.judge(AS_GOOD, right[config], made)
        if verdict.startswith("UNCAUGHT") and ", exit" in verdict:
            verdict = "not started"
        verdicts[verdict] += 1
        silent += verdict.startswith("UNCAUGHT")
        if options.all or verdict == "as good" or verdict.startswith("UNCAUGHT"):
            said = made["text"].splitlines()[-1][:200] if made["text"] else made.get("said", "")
            print(f"{name}, {FAULTS[name].what}, in {config}: {verdict}; {said}", flush=True)
    print(f"{verdicts}\n{len(asked)} runs, {time.perf_counter() - began:.0f} s")
    sys.exit(silent > 0)


if __name__ == "__main__":
    main()
