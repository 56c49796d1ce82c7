"""Is anything lost, mixed or left over when a command is ended, finds its disk full or meets its double? Each by a seed.

Signals come at random moments of `run`, `tune` and `sweep`, which is tune over lengths, with two workers: to the command
alone or, as from a terminal, to its workers too. Then the exit code is the signal's, no process is left, there is no traceback,
what can be read is whole, and when the command is given again, it prints what it always does and leaves nothing else. The same
on a disk that is too small (Linux, as root), and of two at once in one folder.

    python benchmarks/interrupted.py [--count N] [--first SEED] [--only KIND]
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bad_inputs import SPEC

from tensix_sim.summary import read_run
from tensix_sim.trace import RunError

HANGS = 300  # seconds
GONE = 20  # seconds in which workers notice that their parent is no more
SIGNALS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
# Moments count from here on: what is loaded before is Python's
START = "import os, sys; sys.argv[0] = 'tensix-sim'; import tensix_sim.cli as c; os.write(2, b'\\n'); c.main()"
LIKE = ("--jobs", "2", "--vary", "q_chunk=32,64", "--no-accuracy")
COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "run": lambda at: ["run", f"{at}/spec.yaml", "--jobs", "2", "--name", "it", "--traces", str(at)],
    "tune": lambda at: ["tune", f"{at}/spec.yaml", *LIKE, "--store", f"{at}/store.sqlite"],
    "sweep": lambda at: ["tune", f"{at}/spec.yaml", *LIKE, "--store", f"{at}/store.sqlite", "--seq-lens", "256..1024"],
}
KINDS = (*COMMANDS, "full", "twice")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command of the command line, in a process group of its own; its own handlers of signals are in place."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a shell's background job would not hear it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", START, *command], start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stderr.read(1) == "\n", process.stderr.read()
        yield process


def end(process: "subprocess.Popen[str]") -> Ended:
    """Wait for it."""
    out, err = process.communicate(timeout=HANGS)
    return Ended(process.returncode, out, err)


def whole(command: list[str]) -> Ended:
    """A command to its end."""
    with started(command) as process:
        return end(process)


class Usual(NamedTuple):
    """What a command prints, the names and the KiB that it leaves, and its seconds, where it is the first in its folder."""

    out: str
    left: set[str]
    kib: int
    seconds: float


@cache
def undisturbed(name: str) -> Usual:
    """A command that nobody disturbs."""
    with tempfile.TemporaryDirectory() as folder:
        with started(given(name, Path(folder))) as process:
            began = time.monotonic()
            ended = end(process)
        assert ended.code == 0, ended
        seconds = time.monotonic() - began
        kib = sum(path.stat().st_size for path in Path(folder).rglob("*")) // 1024
        return Usual(printed(ended.out), names(Path(folder)), kib, seconds)


def given(name: str, folder: Path) -> list[str]:
    """The command, with its spec in the folder."""
    (folder / "spec.yaml").write_text(SPEC.replace("ring_ids: [0]", "ring_ids: all"))
    return COMMANDS[name](folder)


def names(folder: Path) -> set[str]:
    """All that lies in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def printed(out: str) -> str:
    """A screen without what is of the clock, or of how much a store had already."""
    return "\n".join(line for line in out.splitlines() if " ran " not in line and "wall" not in line)


def unreadable(folder: Path) -> Iterator[str]:
    """What can be read and is not whole."""
    if (folder / "it").exists():
        try:
            read_run(folder / "it")
        except RunError as error:
            yield str(error)
    if (folder / "store.sqlite").exists():
        with closing(sqlite3.connect(folder / "store.sqlite", timeout=HANGS)) as store:
            if (found := store.execute("pragma integrity_check").fetchone()) != ("ok",):
                yield f"store: {found}"


def again(name: str, folder: Path) -> Iterator[str]:
    """What is wrong with the same command in the same folder, given again."""
    ended = whole(given(name, folder))
    usual = undisturbed(name)
    if (ended.code, printed(ended.out)) != (0, usual.out):
        yield f"again: {ended}"
    if odd := names(folder) ^ usual.left:
        yield f"after the next one there is more or less: {sorted(odd)}"


def outlives(group: int) -> bool:
    """Whether a process of a group still runs some time later."""
    until = time.monotonic() + GONE
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    return True


def hit(name: str, number: signal.Signals, rng: random.Random, folder: Path) -> Iterator[str]:
    """What is wrong after a signal at a random moment of a command."""
    moment, to_all = rng.random() * 1.1 * undisturbed(name).seconds, rng.random() < 0.5 and number != signal.SIGTERM
    with started(given(name, folder)) as process:
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, number) if to_all else process.send_signal(number)
        ended = end(process)
    about = f"{name}, {number.name}{' to all' * to_all} after {moment:.2f} s"
    if ended.code not in (SIGNALS[number], -number, 0):  # Python gives up its handlers as it ends; a shell has 128 + n of both
        yield f"{about}: ends with {ended}"
    if "Traceback" in ended.err:
        yield f"{about}: {ended.err[-600:]}"
    if outlives(process.pid):
        yield f"{about}: a process outlives it"
    yield from (f"{about}: {said}" for said in unreadable(folder))
    HITS[name, number.name, "ended before" if ended.code == 0 else "hit"] += 1


HITS: Counter[tuple[str, str, str]] = Counter()
BETWEEN = 5  # signals before the command is left to end


def signals(name: str, seed: int, count: int) -> Iterator[str]:
    """So many of each signal, some one after the other in one folder."""
    for number in SIGNALS:
        rng = random.Random(f"{name} {number} {seed}")
        for first in range(0, count, BETWEEN):
            with tempfile.TemporaryDirectory() as folder:
                for _ in range(min(BETWEEN, count - first)):
                    yield from hit(name, number, rng, Path(folder))
                yield from (f"{name}, {number.name}: {said}" for said in again(name, Path(folder)))


def full(name: str, kib: int, folder: Path) -> Iterator[str]:
    """What is wrong on a disk of so many KiB, and when it grows."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        ended = whole(given(name, folder))
        HITS[name, "full disk", "ended well" if ended.code == 0 else "did not fit"] += 1
        if (
            ended.code not in (0, 2)
            or "Traceback" in ended.err
            or (ended.code == 2 and "full" not in ended.err and "space" not in ended.err)
        ):
            yield f"{name} on {kib} KiB: {ended}"
        yield from (f"{name} on {kib} KiB: {said}" for said in unreadable(folder))
        if ended.code and name == "run" and (names(folder) != {"spec.yaml"} or printed(ended.out) != undisturbed(name).out):
            yield f"{name} on {kib} KiB leaves {names(folder)} and prints {ended.out!r}"
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        yield from (f"{name} on {kib} KiB: {said}" for said in again(name, folder))
    finally:
        subprocess.run(["umount", folder], check=True)


def twice(name: str, rng: random.Random, folder: Path) -> Iterator[str]:
    """What is wrong with two at once in one folder."""
    command = given(name, folder)
    with started(command) as one:
        time.sleep(rng.random() * undisturbed(name).seconds)
        with started(command) as other:
            both = [end(one), end(other)]
    HITS[name, "twice", "both ended"] += 1
    usual = undisturbed(name)
    yield from (f"two of {name}: {ended}" for ended in both if (ended.code, printed(ended.out)) != (0, usual.out))
    yield from (f"two of {name}: {said}" for said in unreadable(folder))
    if odd := names(folder) ^ usual.left:
        yield f"two of {name}: there is more or less: {sorted(odd)}"


def faults(kind: str, seed: int, count: int) -> Iterator[str]:
    """All that is wrong with a kind, `count` times."""
    if kind in COMMANDS:
        yield from signals(kind, seed, count)
        return
    rng = random.Random(f"{kind} {seed}")
    for i in range(count):
        name = [*COMMANDS][i % len(COMMANDS)]
        with tempfile.TemporaryDirectory() as folder:
            yield from (
                full(name, rng.randrange(8, 8 + undisturbed(name).kib), Path(folder))
                if kind == "full"
                else twice(name, rng, Path(folder))
            )


def main() -> None:
    """Print what is wrong, and how often what was done; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50, help="of each signal and command, of full disks and of pairs")
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    wrong = 0
    for kind in KINDS if options.only is None else [options.only]:
        for said in faults(kind, options.first, options.count):
            print(said, flush=True)
            wrong += 1
        for what, count in HITS.items():
            print(f"{', '.join(what)}: {count}", flush=True)
        HITS.clear()
    print(f"{wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
