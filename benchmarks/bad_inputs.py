"""Does anything that comes from a file or an argument end in a traceback? Damaged inputs of every kind, each by a seed.

Of each call of the command line: it ends with 0, 1, 2 or 3 and no traceback; it prints at most 60,000 letters, none of which a
terminal obeys; and `check` calls a spec legal exactly when `run` ends with 0. Prints what failed, and the outcomes by kind.

    python benchmarks/bad_inputs.py [--count N] [--first SEED] [--jobs N] [--only KIND]
"""

import argparse
import os
import random
import re
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray

from tensix_sim.cli import main as command_line
from tensix_sim.cli.console import progress
from tensix_sim.walls import SHIPPED
from tensix_sim.workers import run_all

MOST_LETTERS = 60_000
SPEC = """board: galaxy
ring_size: 4
ring_ids: [0]
inputs: {q_heads: 2, kv_heads: 1, seq_len: 256, head_dim: 64, dtype: bfloat16}
program_config:
  compute_with_storage_grid_size: [2, 2]
  q_chunk_size: 32
  k_chunk_size: 32
numerics: off
"""
CHUNKED = ("--set", "op=chunked_sdpa", "--set", "ring_ids=all", "--set", "chunk_start_idx=64")
NASTY = [
    "nan", "inf", "-inf", "-1", "0", "1", "1e-1", "1.5", "17:04", "0o40", "040", "1_000", "9" * 5000, "9" * 18, "10000000000000",
    "", "yes", "off", "null", "~", "true", "2026-11-30", "\x1b[31mred", "\0", "é", "\u202e", "x" * 140_000, "[" * 3000, "{", "}",
    "[1, 2]", "{a: 1}", "&a [*a]", "*b", "!!python/object:os.system {}", "<<: 1", "? x", "'", '"', "%s", "../..", "1e999", "-0.0",
    "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n",
]  # fmt: skip
Call = tuple[str, ...]


class Base(NamedTuple):
    """What is damaged: a folder with a run and whole files beside it."""

    folder: Path
    temporary: tempfile.TemporaryDirectory[str]


def call(*args: object) -> tuple[int, str, str]:
    """Exit code, all that was printed, and the traceback, of a command."""
    done = CliRunner().invoke(command_line, [str(arg) for arg in args])
    fault = done.exception if not isinstance(done.exception, SystemExit) else None
    return done.exit_code, done.output, "".join(traceback.format_exception(fault)[-6:]) if fault else ""


@cache
def base(process: int) -> Base:
    """Whole inputs, made once in a process."""
    temporary = tempfile.TemporaryDirectory()
    folder = Path(temporary.name)
    (folder / "spec.yaml").write_text(SPEC)
    for name, shape in (("q", (1, 2, 256, 64)), ("k", (1, 1, 256, 64)), ("v", (1, 1, 256, 64))):
        np.save(folder / f"{name}.npy", np.zeros(shape, np.float32))
    np.save(folder / "pages.npy", np.arange(10, dtype=np.int32)[None])
    (folder / "measured.csv").write_text("".join(SHIPPED.read_text().splitlines(keepends=True)[:2]))
    spec = folder / "spec.yaml"
    emit = ("--emit", "perf-csv", "--emit", "device-log", "--emit", "json")
    for args in (
        ("run", spec, "--traces", folder, "--name", "run", "--jobs", 1, *emit),
        ("tune", spec, "--store", folder / "store.sqlite", "--jobs", 1, "--no-accuracy", "--vary", "q_chunk=32"),
    ):
        code, out, fault = call(*args)
        assert code == 0, out + fault
    return Base(folder, temporary)


def damaged_text(rng: random.Random, data: bytes) -> bytes:
    """A text with a value, a line or its encoding changed."""
    text = data.decode()
    tokens, lines = list(re.finditer(r"[^\s,:{}\[\]]+", text)), text.splitlines(keepends=True)
    some, line = rng.choice(tokens), rng.randrange(len(lines))

    def with_line(*instead: str) -> bytes:
        return "".join([*lines[:line], *instead, *lines[line + 1 :]]).encode()

    ways: list[Callable[[], bytes]] = [
        *[lambda: (text[: some.start()] + rng.choice(NASTY) + text[some.end() :]).encode()] * 6,
        lambda: with_line(lines[line], lines[line]),
        lambda: with_line(),
        lambda: with_line(rng.choice(NASTY) + "\n"),
        lambda: (text + rng.choice(NASTY) + "\n").encode(),
        lambda: text.encode(rng.choice(["utf-8-sig", "utf-16", "utf-32"])),
        lambda: text.replace(some[0], some[0] + "é", 1).encode("latin-1"),
        lambda: damaged_bytes(rng, data),
    ]
    return rng.choice(ways)()


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cut off, with bytes flipped, left out or put in, or others altogether."""
    place, size = rng.randrange(len(data)), rng.choice([1, 2, 8, 100])
    head, junk = rng.randrange(min(len(data), 200)), rng.randbytes(size)
    return rng.choice(
        [
            data[:place], data[:head], data[:place] + data[place + size :], data[:head] + junk + data[head + size :], data + junk,
            data[:place] + junk + data[place + size :], data[:head] + b"-" + data[head + 1 :], b"", junk, b"PK\3\4" + data[:head],
        ]
    )  # fmt: skip


def specs(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A damaged spec, checked and then run."""
    spec = folder / "spec.yaml"
    spec.write_bytes(damaged_text(rng, SPEC.encode()))
    yield "check", str(spec), *rng.choice([(), ("--github",)])
    yield "run", str(spec), "--traces", str(folder), "--jobs", "1"


def overrides(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A value given with --set that does not fit, or that does."""
    keys = [
        "board",
        "ring_size",
        "scale",
        "inputs.seq_len",
        "machine.dram.bank_rate",
        "machine.l1.base",
        "machine.x",
        "a.b",
        "kernel",
    ]
    key = rng.choice([*keys, *NASTY, ".".join("a" * 3000), "machine.noc.link_rate", "paged_kv", "what_if.buffers", "machine"])
    given = f"{key}={rng.choice([*NASTY, '1e-30', '1e30', '64', '{k_in: 8}'])}".replace("\0", "\1")
    yield "check", str(base / "spec.yaml"), "--set", given
    yield "run", str(base / "spec.yaml"), "--set", given, "--traces", str(folder), "--jobs", "1"


def arrays(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """Damaged values of Q, K or V."""
    which = rng.choice("qkv")
    (folder / "x.npy").write_bytes(damaged_bytes(rng, (base / f"{which}.npy").read_bytes()))
    files = [f"{name}: {folder / 'x.npy' if name == which else base / f'{name}.npy'}" for name in "qkv"]
    more = ("--set", f"inputs={{{', '.join(files)}, dtype: bfloat16}}")
    yield "check", str(base / "spec.yaml"), *more
    yield "run", str(base / "spec.yaml"), *more, "--traces", str(folder), "--jobs", "1"


def page_tables(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A damaged page table."""
    (folder / "x.npy").write_bytes(damaged_bytes(rng, (base / "pages.npy").read_bytes()))
    more = (*CHUNKED, "--set", f"paged_kv={{block_size: 32, page_table: {folder / 'x.npy'}}}")
    yield "check", str(base / "spec.yaml"), *more
    yield "run", str(base / "spec.yaml"), *more, "--traces", str(folder), "--jobs", "1"


def measurements(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A damaged file of measurements."""
    (folder / "x.csv").write_bytes(damaged_text(rng, (base / "measured.csv").read_bytes()))
    yield "validate", str(folder / "x.csv"), "--jobs", "1"


def profiles(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A damaged profile beside a run."""
    profile = rng.choice([*sorted((base / "run").glob("ops_perf*.csv")), base / "run" / "profile_log_device.csv"])
    (folder / "x.csv").write_bytes(damaged_text(rng, profile.read_bytes()))
    yield "compare", str(base / "run"), str(folder / "x.csv")


def run_folders(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """The folder of a run with a damaged file."""
    for path in (base / "run").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    names = sorted(path.name for path in folder.iterdir())
    target = folder / rng.choice(["summary.json"] * len(names) + ["device-0.npz"] + names)
    damage = damaged_text if target.suffix == ".json" and rng.random() < 0.9 else damaged_bytes
    target.write_bytes(damage(rng, target.read_bytes()))
    yield "report", str(folder), "--no-what-ifs"
    yield "compare", str(base / "run"), str(folder)


def traces(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """The folder of a run whose trace is a whole archive, with one of its arrays changed."""
    for path in (base / "run").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with np.load(folder / "device-0.npz") as whole:
        arrays = dict(whole)
    name = rng.choice(sorted(arrays))
    changed = damaged_array(rng, arrays.pop(name))
    if changed is not None:
        arrays[name] = changed
    np.savez(folder / "device-0.npz", allow_pickle=False, **arrays)
    what_ifs = rng.choice([("--no-what-ifs",), ("--store", str(folder / "store.sqlite"), "--jobs", "1")])
    yield "report", str(folder), "--lines", *what_ifs
    yield "compare", str(base / "run"), str(folder), "--all"


def damaged_array(rng: random.Random, whole: NDArray[Any]) -> NDArray[Any] | None:
    """Gone, shorter, longer, in another order or of another kind, or with one value changed."""
    place = rng.randrange(max(1, len(whole)))
    ways: list[Callable[[], NDArray[Any] | None]] = [
        *[lambda: with_value(rng, whole, place)] * 6,
        lambda: None, lambda: whole[:place], lambda: np.concatenate([whole, whole]), lambda: whole[::-1],
        lambda: whole[None], lambda: whole.astype(rng.choice(["U9", "S9", "f8", "i4", "i8", "u8", ">i8", "b"])),
        lambda: np.full_like(whole, whole[place : place + 1] if len(whole) else 0), lambda: whole[0] if len(whole) else None,
    ]  # fmt: skip
    try:
        return rng.choice(ways)()
    except ValueError:  # a text is no number
        return None


def with_value(rng: random.Random, whole: NDArray[Any], place: int) -> NDArray[Any]:
    """One value is an extreme, or a text that is damaged."""
    if whole.dtype.kind != "U":
        changed = whole.copy()
        limits = np.iinfo(whole.dtype)
        changed[place : place + 1] = rng.choice([limits.min, limits.max, -1, 0, 1, 10**9, len(whole)])
        return changed
    texts = whole.tolist()
    if texts:
        damaged = damaged_text(rng, texts[place].encode()).decode(errors="replace")
        texts[place] = rng.choice([rng.choice(NASTY), damaged])[:4000]
    return np.array(texts, str)


def stores(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """A store that is damaged, or holds what nothing measured."""
    path = folder / "x.sqlite"
    path.write_bytes((base / "store.sqlite").read_bytes())
    if rng.random() < 0.5:
        path.write_bytes(damaged_bytes(rng, path.read_bytes()))
    else:
        with closing(sqlite3.connect(path)) as store, store:
            store.execute("update runs set found = ?", [rng.choice(["text", -5, float("inf"), b"\0", 1.5, 0, "1e9", -1e308])])
    yield "tune", str(base / "spec.yaml"), "--store", str(path), "--jobs", "1", "--no-accuracy", "--vary", "q_chunk=32"


def options(rng: random.Random, base: Path, folder: Path) -> Iterator[Call]:
    """Any option with a value that does not fit, or that does."""
    spec, value = str(base / "spec.yaml"), rng.choice(NASTY).replace("\0", "\1")
    run = ("run", spec, "--traces", str(folder))
    tune = ("tune", spec, "--store", str(folder / "s"))
    yield rng.choice([
        (*run, "--jobs", "1", "--name", value), (*run, "--jobs", "1", "--json", str(folder / value)), (*run, "--emit", value),
        (*run, "--jobs", value), (*run, "--dask", f"{value}://"), ("check", spec, "--reserve", value),
        ("check", "--preset", value), ("check", value), ("check", spec, "--json", "/dev/full"), (*tune, "--vary", value),
        (*tune, "--vary", f"q_chunk={value}"),
        (*tune, "--seq-lens", value or "x"), (*tune, "--within", f"x{value}"), ("lengths", spec, "--keys", f"x{value}"),
        ("lengths", spec, "--plot", str(folder / f"x.{value}x")), ("report", value or "x"), ("validate", "--only", f"x{value}"),
        ("validate", value or "x"), ("compare", value or "x", value), ("compare", spec, spec, "--call", value), (value,),
    ])  # fmt: skip


KINDS = {
    made.__name__: made
    for made in (specs, overrides, arrays, page_tables, measurements, profiles, run_folders, traces, stores, options)
}


class Judged(NamedTuple):
    """Exit codes of the calls on one input, what of them breaks a law, and the seconds of the longest."""

    codes: tuple[int, ...]
    wrong: list[str]
    seconds: float


def judge(kind: str, seed: int) -> Judged:
    """Damage an input, call commands on it, and hold them to the laws."""
    wrong, codes, longest = list[str](), list[int](), 0.0
    whole = base(os.getpid()).folder
    with tempfile.TemporaryDirectory() as folder:
        for args in KINDS[kind](random.Random(f"{kind} {seed}"), whole, Path(folder)):
            began = time.perf_counter()
            code, printed, fault = call(*args)
            longest = max(longest, time.perf_counter() - began)
            codes.append(code)
            about = f"{' '.join(args)[:300]!r}"
            if fault or code not in (0, 1, 2, 3):
                wrong.append(f"{about} ends with {code}: {fault or printed[-300:]}")
            if len(printed) > MOST_LETTERS:
                wrong.append(f"{about} prints {len(printed):,} letters")
            if obeyed := re.search(r"[^\n\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e]", printed):
                wrong.append(f"{about} prints {obeyed[0]!r}")
    if len(codes) == 2 and kind not in ("run_folders", "traces") and (codes[0] == 0) != (codes[1] == 0):
        wrong.append(f"{kind} {seed}: check ends with {codes[0]}, run with {codes[1]}: {printed[-300:]}")
    return Judged(tuple(codes), wrong, longest)


def main() -> None:
    """Judge damaged inputs of each kind; exit code 1 if any broke a law."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=KINDS)
    given = parser.parse_args()
    cases = [
        (kind, seed) for kind in KINDS if given.only in (None, kind) for seed in range(given.first, given.first + given.count)
    ]

    def learn(i: int, one: Judged) -> None:
        kind, seed = cases[i]
        for said in one.wrong:
            print(f"{kind} {seed}: {said}", flush=True)

    with progress("inputs") as told:
        judged = run_all(judge, cases, given.jobs, told, learn=learn)
    for kind in dict.fromkeys(kind for kind, _ in cases):
        of_kind = [one for (other, _), one in zip(cases, judged, strict=True) if other == kind]
        outcomes = Counter(one.codes for one in of_kind)
        told = ", ".join(f"{count} ended with {' and '.join(map(str, codes))}" for codes, count in sorted(outcomes.items()))
        broke, slowest = sum(bool(one.wrong) for one in of_kind), max(one.seconds for one in of_kind)
        print(f"{kind}: {len(of_kind)} inputs, {broke} broke a law; {told}; at most {slowest:.1f} s")
    sys.exit(any(one.wrong for one in judged))


if __name__ == "__main__":
    main()
