"""What `run`, `report` and `compare` do with a user's script of ttnn in place of a spec."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from tensix_sim.cli.console import UNWRITTEN, fail, progress, say, show
from tensix_sim.host import STDOUT

if TYPE_CHECKING:
    from tensix_sim.analysis.compare import Side
    from tensix_sim.script import ScriptRun, ScriptWhatIf

OPTIONS = ("board", "mesh", "numerics", "kernel", "branch")  # that `python -m tensix_sim.ttnn` has
FAILED = 3
STDERR = 2  # its file, whatever stands for it in Python


def is_python(spec: str | None) -> bool:
    """Whether a SPEC is a script."""
    return spec is not None and spec.endswith(".py")


def run_script(
    command: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    kinds: tuple[str, ...],
    json_file: Path | None,
    what_ifs: bool,
) -> None:
    """Run a script and its arguments with ttnn on virtual chips: what it prints goes to stderr, what its ops cost to stdout.

    With `what_ifs` again and again, silently, each time with something twice as fast.
    """
    from tensix_sim.script.emit import check_kinds, emit_script
    from tensix_sim.script.screen import script_screen
    from tensix_sim.trace import whole_folder

    check_kinds(kinds)
    options = _options(overrides)
    run = _recorded(command, options)
    if what_ifs:
        run = run.model_copy(update={"what_ifs": tuple(_what_ifs(run, command, options))})
    with whole_folder(folder) as new:
        run.write_into(new)
        emit_script(run, kinds, new, folder.resolve().name)
    show(script_screen(run), json_file, run.summary)
    say(f"run in {folder}", err=True)


def _recorded(command: Sequence[str], options: Sequence[str], what_if: str = "") -> "ScriptRun":
    from tensix_sim.script import read_script

    script = command[0]
    with TemporaryDirectory(prefix="tensix-sim-") as place:
        recorded = Path(place) / "run"
        python = [sys.executable, "-m", "tensix_sim.ttnn", "--record", str(recorded), *options, "--", sys.executable]
        code = subprocess.run(
            [*python, *command],
            stdout=subprocess.DEVNULL if what_if else STDERR,
            stderr=subprocess.DEVNULL if what_if else None,
            check=False,
        ).returncode
        if code:
            fail(f"{script}{what_if} ended with exit code {code}; {UNWRITTEN}", FAILED)
        if not recorded.exists():
            fail(f"{script} called no op of ttnn; {UNWRITTEN}")
        return read_script(recorded)


def _what_ifs(run: "ScriptRun", command: Sequence[str], options: Sequence[str]) -> "Iterator[ScriptWhatIf]":
    from tensix_sim.script.what_ifs import relieved, what_if

    tried = [*relieved(run)]
    with progress("what-ifs", UNWRITTEN) as bar:
        for i, (cause, numbers) in enumerate(tried):
            bar(i / len(tried), cause)
            faster = [option for name, value in numbers.items() for option in ("--machine", f"{name}={value}")]
            yield what_if(cause, _recorded(command, [*options, *faster], f" with {cause} twice as fast"))


def _options(overrides: Sequence[str]) -> list[str]:
    """Overrides of a spec's keys as options of `python -m tensix_sim.ttnn`."""
    found = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or (key not in OPTIONS and not key.startswith("machine.")):
            raise click.UsageError(f"--set {override}: of a script there are {', '.join(OPTIONS)}, and numbers of the machine")
        found += ["--machine", f"{key.removeprefix('machine.')}={value}"] if key.startswith("machine.") else [f"--{key}", value]
    return found


def report_script(folder: Path, page: Path, json_file: Path | None) -> None:
    """Write the page of a script's run, and say what its ops cost."""
    from tensix_sim.files import try_target
    from tensix_sim.page import write_script_report
    from tensix_sim.script import read_script
    from tensix_sim.script.screen import script_screen

    run = read_script(folder)
    try_target(page)
    show("" if page == STDOUT else script_screen(run), json_file, run.summary)
    write_script_report(run, page)
    if page != STDOUT:
        say(f"wrote {page}", err=True)


def compare_runs(sides: Sequence[Path], everything: bool, limits: Sequence[str], json_file: Path | None) -> None:
    """Say what changed from the first script's run to each of the others."""
    from dataclasses import asdict

    from tensix_sim.analysis.compare import Limit
    from tensix_sim.script import is_script, read_script
    from tensix_sim.script.compare import compare_scripts, comparison_screen

    if others := [str(side) for side in sides if not is_script(side)]:
        fail(f"{', '.join(others)}: no run of a script; runs of specs and of scripts have no figures in common")
    baseline, *runs = [(read_script(side), str(side)) for side in sides]
    found = [compare_scripts(baseline[0], run, (baseline[1], name)) for run, name in runs]
    figures: list[dict[str, Any]] = [asdict(one) | {"verdict": one.verdict} for one in found]
    data: Mapping[str, Any] = figures[0] if len(found) == 1 else {"comparisons": figures}
    show("\n\n".join(comparison_screen(one, everything) for one in found), json_file, lambda: data)
    broken = [one for run, name in runs for rule in limits if (one := Limit.of(rule, _side(*baseline), _side(run, name))).broken]
    if broken:
        if json_file != STDOUT:
            say("\n".join(limit.text for limit in broken))
        sys.exit(4)


def _side(run: "ScriptRun", name: str) -> "Side":
    from tensix_sim.analysis.compare import Side

    totals = {"us": run.us, **run.shares()}
    return Side(name, {}, {}, {}, run.clock_hz, None, run.chip, {}, [], totals=totals)
