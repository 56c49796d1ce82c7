"""The command line. Results on stdout, progress and complaints on stderr.

Exit codes: 0 fine, 1 the config is illegal, 2 usage or a file that cannot be written, 3 the simulated program
failed (or, with `run --strict`, gave other numbers than it should), 130 interrupted.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click

import tensix_sim

JSON = click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write what the screen shows to FILE.")
SET = click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a key of the spec.")
PRESET = click.option("--preset", metavar="MODEL", help="The spec of a model in place of SPEC: tensix-sim presets lists them.")
SPEC = click.argument("spec", type=click.Path(dir_okay=False), required=False)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong and end with `code`."""
    click.echo(message, err=True)
    sys.exit(code)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what can go wrong outside the simulator into one message and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            fail("interrupted; nothing was written", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except MemoryError:
            fail("out of memory; set numerics: off or trace: off, or give --jobs 1; nothing was written", 2)
        except OSError as error:
            fail(f"{error.filename or 'output'}: {error.strerror or error}; nothing was written there", 2)

    return run


@click.group()
@click.version_option(tensix_sim.__version__, prog_name="tensix-sim")
def main() -> None:
    """Simulate Tenstorrent attention on virtual chips."""


@main.command()
@SPEC
@SET
@PRESET
@JSON
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Devices simulated side by side.  [default: all CPUs]"
)
@click.option("--gather", is_flag=True, help="Also gather the whole sequence on every device: split, two all-gathers, concat.")
@click.option("--name", help="Name of the folder with the traces.  [default: from the spec]")
@click.option("--traces", type=click.Path(file_okay=False, path_type=Path), default=Path("traces/runs"), show_default=True)
@click.option(
    "--emit",
    "kinds",
    multiple=True,
    type=click.Choice(("device-log", "perf-csv", "npe", "visualizer", "perfetto")),
    help="Also write files that other tools open.",
)
@click.option("--explain-error", is_flag=True, help="Take the error apart by its causes; needs numerics: exact.")
@click.option("--strict", is_flag=True, help="Exit with 3 if the accuracy is not what the formats give.")
@guarded
def run(
    spec: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    json_file: str | None,
    jobs: int,
    gather: bool,
    name: str | None,
    traces: Path,
    kinds: tuple[str, ...],
    explain_error: bool,
    strict: bool,
) -> None:
    """Run the op of SPEC on its device or on every device of its ring; without SPEC, the built-in example."""
    from tensix_sim.emit import EmitError, MissingPackageError, check_kinds, emit
    from tensix_sim.error import explain
    from tensix_sim.gather.tail import tail_problems
    from tensix_sim.hw import SimulationError
    from tensix_sim.job import Job
    from tensix_sim.screen import run_screen
    from tensix_sim.sdpa.op import Op
    from tensix_sim.simulation import simulate
    from tensix_sim.trace import whole_folder
    from tensix_sim.workers import WorkerError

    checked, report = _check(spec, overrides, preset)
    if checked is None:
        fail(_illegal(report), 1)
    if explain_error and checked.numerics != "exact":
        fail(f"--explain-error: numerics is {checked.numerics}; an error is explained bit for bit: set numerics: exact", 2)
    if gather and (problems := tail_problems(Job.legal(checked))):
        fail("\n".join(f"--gather: {problem}" for problem in problems), 1)
    folder = traces / (name or _run_name(checked, preset))
    try:
        check_kinds(kinds, checked.trace)
        with whole_folder(folder) as new:
            where = f"ring of {checked.ring_size}" if Op.of(checked).ring else checked.op
            with _progress(f"{where} on {checked.board}") as progress:
                result = simulate(checked, jobs, progress, gather=gather)
            if explain_error:
                with _progress("error by stage") as progress:
                    result.error = explain(checked, jobs, progress).model_dump()
            result.write_into(new)
            emit(result.as_run(), kinds, new, folder.resolve().name)
    except (EmitError, MissingPackageError) as error:
        fail(f"--emit {error}", 2)
    except SimulationError as error:
        fail("\n".join([str(error), *getattr(error, "__notes__", [])]), 3)
    except WorkerError as error:
        fail(f"{error}; nothing was written", 2)
    if json_file:
        _write_json(json_file, result.summary())
    click.echo(run_screen(result))
    if not result.opens_in_a_viewer:
        click.echo(
            f"no {folder / 'trace.json'}: the trace is too long for Perfetto; `tensix-sim report {folder}` shows it", err=True
        )
    click.echo(f"traces in {folder}", err=True)
    if strict and result.accuracy and result.accuracy.suspect:
        sys.exit(3)


@main.command()
@SPEC
@SET
@PRESET
@click.option(
    "--reserve", multiple=True, type=click.IntRange(0), metavar="BYTES",
    help="Bytes at the top of L1 that others hold, summed up: machine.l1.reserved.",
)  # fmt: skip
@click.option("--github", is_flag=True, help="Also annotate SPEC's lines in a GitHub workflow.")
@JSON
@guarded
def check(
    spec: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    reserve: tuple[int, ...],
    github: bool,
    json_file: str | None,
) -> None:
    """Say everything that is wrong with SPEC, what its kernels would really use, who computes what, and what would be better."""
    from tensix_sim.config import BUILT_IN
    from tensix_sim.doctor.check import check as check_spec
    from tensix_sim.doctor.github import annotations

    if reserve:
        overrides = (*overrides, f"machine.l1.reserved={sum(reserve)}")
    given = _read(spec, overrides, preset) if preset else spec if spec is not None else BUILT_IN
    report = check_spec(given, () if preset else overrides)
    if json_file:
        _write_json(json_file, report.model_dump(mode="json"))
    click.echo(report.text())
    if github:
        click.echo("\n".join(["", *annotations(report, Path(spec) if spec is not None else None)]))
    if not report.ok:
        sys.exit(1)


@main.command()
@JSON
@guarded
def boards(json_file: str | None) -> None:
    """List the boards, with what matters most about each."""
    from tensix_sim.arch import BOARDS
    from tensix_sim.screen import boards_screen

    if json_file:
        _write_json(json_file, {name: board.model_dump(mode="json") for name, board in BOARDS.items()})
    click.echo(boards_screen(BOARDS.values()))


@main.command()
@JSON
@guarded
def presets(json_file: str | None) -> None:
    """List the presets: models, as they call the op."""
    from tensix_sim.presets import presets as all_presets
    from tensix_sim.screen import presets_screen

    found = all_presets()
    if json_file:
        _write_json(json_file, {name: preset.model_dump(mode="json") for name, preset in found.items()})
    click.echo(presets_screen(found))


@main.command()
@SPEC
@SET
@PRESET
@click.option(
    "--vary",
    multiple=True,
    metavar="NAME[=A,B]",
    help="A setting to search, or its values; again for more.  [default: both chunks]",
)
@click.option("--seq-lens", metavar="A..B", help="Tune for each length: A, 2A, 4A ... up to B, or a list A,B,C.")
@click.option(
    "--within",
    type=click.FloatRange(1),
    help="Keep configs this many times as slow as the best.  [default: 1.25, or 1 with --seq-lens]",
)
@click.option("--accuracy/--no-accuracy", default=True, help="Compute the numbers of the front; never done with --seq-lens.")
@click.option("--store", type=click.Path(dir_okay=False, path_type=Path), default=Path("traces/tune.sqlite"), show_default=True)
@click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster whose scheduler is there.")
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Configs run side by side.  [default: all CPUs]"
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="With --seq-lens, draw the times to FILE.")
@JSON
@guarded
def tune(
    spec: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    vary: tuple[str, ...],
    seq_lens: str | None,
    within: float | None,
    accuracy: bool,
    store: Path,
    dask: str | None,
    jobs: int,
    plot: Path | None,
    json_file: str | None,
) -> None:
    """Find the fastest legal config of SPEC, and what others trade for their time.

    NAME is one of q_chunk, k_chunk, grid, fidelity, fp32_dest, dtype, kernel. What is measured is kept in the store:
    the same command, begun again, goes on where it was stopped.
    """
    from tensix_sim.hw import SimulationError
    from tensix_sim.screen import lengths_screen, tune_screen
    from tensix_sim.tuning import ClusterError, EmptySpaceError, Interrupted, StoreError, read_lengths, read_space
    from tensix_sim.tuning import tune as tune_space
    from tensix_sim.workers import WorkerError

    _need("--dask", "distributed", "dask", dask)
    _need("--plot", "matplotlib", "plot", plot)
    if plot and not seq_lens:
        fail("--plot draws times over lengths: give --seq-lens too", 2)
    found = []
    try:
        slack = within or (1.0 if seq_lens else 1.25)
        lengths = read_lengths(seq_lens) if seq_lens else [None]
        spaces = [read_space(_typed(spec, overrides, preset, length), vary, slack) for length in lengths]
    except ValueError as error:
        fail(str(error), 2)
    try:
        for space in spaces:
            with _progress(f"{space.spec.inputs.seq_len} tokens") as progress:
                found.append(tune_space(space, jobs, store, dask, progress, accuracy and not seq_lens, aside=not seq_lens))
            click.echo(f"ran {found[-1].run} of {found[-1].legal} configs; kept in {store}", err=True)
    except EmptySpaceError as error:
        fail(str(error), 1)
    except (ClusterError, StoreError) as error:
        fail(str(error), 2)
    except WorkerError as error:
        fail(f"{error}; what was measured is kept in {store}", 2)
    except SimulationError as error:
        fail("\n".join([str(error), *getattr(error, "__notes__", [])]), 3)
    except Interrupted as stop:
        shown = [*found, *([stop.so_far] if stop.so_far else [])]
        if shown:
            click.echo(f"so far:\n{lengths_screen(shown) if seq_lens else tune_screen(shown[0])}")
        fail(f"interrupted; what was measured is kept in {store}, and the same command goes on from there", 130)
    if plot:
        from tensix_sim.page import write_lengths_plot

        write_lengths_plot(found, plot)
    if json_file:
        tunings = [tuning.model_dump(mode="json") for tuning in found]
        _write_json(json_file, tunings if seq_lens else tunings[0])
    click.echo(lengths_screen(found) if seq_lens else tune_screen(found[0]))


@main.command()
@click.argument("measurements", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--only", help="Only rows whose id contains this.")
@click.option("--micro", is_flag=True, help="Published microbenchmarks instead of walls.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Rows run side by side.  [default: all CPUs]")
@JSON
@guarded
def validate(measurements: Path | None, only: str | None, micro: bool, jobs: int, json_file: str | None) -> None:
    """Predict every row of a CSV of MEASUREMENTS and show the errors; without one, of the published walls that ship with this."""
    from tensix_sim import microbench
    from tensix_sim import validate as v
    from tensix_sim.walls import SHIPPED, MeasurementsError, read_rows
    from tensix_sim.workers import WorkerError

    if micro:
        if measurements or only:
            fail("--micro compares all microbenchmarks that ship; it takes neither MEASUREMENTS nor --only", 2)
        points, left_out = microbench.compare()
        if json_file:
            _write_json(json_file, microbench.summary(points, left_out))
        click.echo(microbench.table(points, left_out))
        return

    try:
        rows = [row for row in read_rows(measurements or SHIPPED) if only is None or only in row.id]
    except MeasurementsError as error:
        fail(str(error), 1)
    if not rows:
        fail(f"no row's id contains {only!r}", 2)
    try:
        with _progress(f"{len(rows)} rows") as progress:
            predictions = v.validate(rows, min(jobs, len(rows)), progress)
    except WorkerError as error:
        fail(f"{error}; nothing was written", 2)
    if json_file:
        _write_json(json_file, v.summary(predictions))
    click.echo(v.table(predictions))
    if any(p.problem for p in predictions):
        sys.exit(1)


@main.command()
@SPEC
@SET
@PRESET
@click.option("--keys", default="1024..262144", show_default=True, metavar="A..B", help="Lengths: A, 2A, 4A ... up to B.")
@click.option("--heads", type=click.IntRange(1), default=1, show_default=True, help="Query heads that are sampled.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the errors to FILE.")
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Lengths run side by side.  [default: all CPUs]"
)
@JSON
@guarded
def lengths(
    spec: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    keys: str,
    heads: int,
    plot: Path | None,
    jobs: int,
    json_file: str | None,
) -> None:
    """Say how the error of SPEC's config grows with the length, bit for bit, with a 16-bit and a 32-bit DST.

    For each length one Q chunk a head is computed, against all keys.
    """
    from tensix_sim.error import LengthsError, error_by_length, length_specs
    from tensix_sim.screen import length_errors_screen
    from tensix_sim.tuning import read_lengths
    from tensix_sim.workers import WorkerError

    _need("--plot", "matplotlib", "plot", plot)
    checked, report = _check(spec, overrides, preset)
    if checked is None:
        fail(_illegal(report), 1)
    try:
        specs = length_specs(checked, read_lengths(keys), heads)
    except LengthsError as error:
        fail(str(error), 1)
    except ValueError as error:
        fail(str(error).replace("--seq-lens", "--keys"), 2)
    try:
        with _progress("error by length") as progress:
            found = error_by_length(specs, jobs, progress)
    except WorkerError as error:
        fail(f"{error}; nothing was written", 2)
    if plot:
        from tensix_sim.page import write_length_errors_plot

        write_length_errors_plot(found, plot)
    if json_file:
        _write_json(json_file, [one.model_dump(mode="json") for one in found])
    click.echo(length_errors_screen(found))


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The page.  [default: RUN/report.html]")
@click.option("--png", is_flag=True, help="Also pictures of the main charts, beside the page.")
@click.option("--what-ifs/--no-what-ifs", default=True, help="Run each device again, relieved and changed.")
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="What-ifs run side by side.  [default: all CPUs]"
)
@JSON
@guarded
def report(folder: Path, output: Path | None, png: bool, what_ifs: bool, jobs: int, json_file: str | None) -> None:
    """Write a page on RUN, the folder of a run: what binds each device, what helps, where its cycles went. It opens offline."""
    from tensix_sim.page import write_pngs, write_report
    from tensix_sim.screen import verdict_screen
    from tensix_sim.summary import read_run
    from tensix_sim.trace import RunError
    from tensix_sim.workers import WorkerError

    if png and find_spec("matplotlib") is None:
        fail("--png draws with matplotlib, which is not installed: pip install 'tensix-sim[plot]'", 2)
    try:
        done = read_run(folder)
        verdicts = _judge(done, jobs) if what_ifs and done.traces else []
        page = output or folder / "report.html"
        write_report(done, verdicts, page)
        pictures = write_pngs(done, verdicts, page.parent) if png else []
    except (RunError, WorkerError) as error:
        fail(str(error), 2)
    if json_file:
        _write_json(json_file, [verdict.summary() for verdict in verdicts])
    if verdicts:
        click.echo(verdict_screen(verdicts))
    click.echo("\n".join(f"wrote {path}" for path in [page, *pictures]), err=True)


@main.command()
@click.argument("before", required=False, type=click.Path(exists=True, path_type=Path))
@click.argument("after", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the comparison as a page to FILE.")
@click.option("--call", type=click.IntRange(0), help="Which call of a profile that has several.")
@click.option("--seq-lens", metavar="A..B", help="Ring-distributed against plain SDPA: A, 2A, 4A ... up to B, or a list A,B,C.")
@SET
@PRESET
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Lengths side by side.  [default: all CPUs]")
@JSON
@guarded
def compare(
    before: Path | None,
    after: Path | None,
    html: Path | None,
    call: int | None,
    seq_lens: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    jobs: int,
    json_file: str | None,
) -> None:
    """Say what changed between two runs, a run and a hardware profile, or two profiles, and why.

    A run is its folder, a profile an ops_perf_results*.csv or a profile_log_device.csv; one of another op or chip is refused,
    and settings that differ stand above the numbers. With --seq-lens, BEFORE is the spec
    of a ring, by default the built-in example: is the ring worth it against plain SDPA on every device, with all that
    the model needs behind it to have the whole sequence on each?
    """
    if seq_lens:
        if after or html or call is not None:
            fail("--seq-lens compares one spec with plain SDPA: it takes neither AFTER nor --html nor --call", 2)
        _compare_lengths(str(before) if before else None, overrides, preset, seq_lens, jobs, json_file)
        return
    if before is None or after is None or overrides or preset:
        fail("two runs are compared by their folders, BEFORE and AFTER; a spec, --set and --preset need --seq-lens", 2)
    from dataclasses import asdict

    from tensix_sim.analysis import ProfileError, read_sides
    from tensix_sim.analysis import compare as compare_sides
    from tensix_sim.page import write_comparison
    from tensix_sim.screen import compare_screen
    from tensix_sim.trace import RunError

    try:
        comparison = compare_sides(*read_sides(before, after, call))
    except (ProfileError, RunError) as error:
        fail(str(error), 2)
    if json_file:
        _write_json(json_file, asdict(comparison))
    if html:
        write_comparison(comparison, html)
    click.echo(compare_screen(comparison))


def _compare_lengths(
    spec: str | None, overrides: tuple[str, ...], preset: str | None, seq_lens: str, jobs: int, json_file: str | None
) -> None:
    """Ring-distributed SDPA with its tail beside plain SDPA, length by length."""
    from dataclasses import asdict

    from tensix_sim.analysis import plain, worth, worth_from
    from tensix_sim.hw import SimulationError
    from tensix_sim.screen import worth_screen
    from tensix_sim.trust import trust
    from tensix_sim.tuning import read_lengths
    from tensix_sim.workers import WorkerError

    try:
        specs = [_typed(spec, overrides, preset, length) for length in read_lengths(seq_lens)]
        with _progress(f"{len(specs)} lengths") as progress:
            found = worth(specs, min(jobs, len(specs)), progress)
    except (ValueError, WorkerError) as error:
        fail(str(error), 2)
    except SimulationError as error:
        fail("\n".join([str(error), *getattr(error, "__notes__", [])]), 3)
    if json_file:
        lengths = [asdict(w) | {"gain": w.gain, "clear": w.clear} for w in found]
        told = {one.op: trust(one).model_dump() for one in (specs[0], plain(specs[0]))}
        _write_json(json_file, {"lengths": lengths, "worth_from": worth_from(found), "trust": told})
    click.echo(worth_screen(specs[0], found))


def _judge(run: Any, jobs: int) -> Any:
    """The verdict on each device of a run that was read back."""
    from tensix_sim.analysis import judge
    from tensix_sim.simulation import DeviceFigures

    devices = [DeviceFigures.model_validate({**device, "accuracy": None}) for device in run.summary["devices"]]
    with _progress("what-ifs") as progress:
        return judge(run.spec, [(device, run.traces[device.ring_id]) for device in devices], jobs, progress)


def _read(spec: str | None, overrides: tuple[str, ...], preset: str | None = None, seq_len: int | None = None) -> Any:
    """The spec as written, or the preset's, or the built-in example."""
    from tensix_sim.config import BUILT_IN, SpecError, read_spec
    from tensix_sim.presets import preset as read_preset

    if spec and preset:
        fail(f"SPEC {spec} and --preset {preset}: give one of them", 2)
    try:
        if preset:
            return read_preset(preset, overrides, seq_len)
        more = () if seq_len is None else (f"inputs.seq_len={seq_len}",)
        return read_spec(spec if spec is not None else BUILT_IN, [*overrides, *more])
    except SpecError as error:
        fail(str(error), 1)


def _typed(spec: str | None, overrides: tuple[str, ...], preset: str | None, seq_len: int | None) -> Any:
    """A spec whose values have the right types; what else may be wrong with it is for others to say."""
    from pydantic import ValidationError

    from tensix_sim.config import load_spec
    from tensix_sim.doctor.check import check as check_spec

    raw = _read(spec, overrides, preset, seq_len)
    try:
        return load_spec(raw)
    except ValidationError:
        fail(_illegal(check_spec(raw)), 1)


def _check(spec: str | None, overrides: tuple[str, ...], preset: str | None = None) -> tuple[Any, Any]:
    """The validated spec, None if it is illegal, and the report on it."""
    from tensix_sim.config import load_spec
    from tensix_sim.doctor.check import check as check_spec

    raw = _read(spec, overrides, preset)
    report = check_spec(raw)
    return (load_spec(raw) if report.ok else None), report


def _illegal(report: Any) -> str:
    return "\n".join([f"illegal: {len(report.violations)} rules broken", *(f"- {v.message}" for v in report.violations)])


def _need(option: str, package: str, extra: str, given: object) -> None:
    """Refuse an option whose package is not installed."""
    if given and find_spec(package) is None:
        fail(f"{option} needs {package}, which is not installed: pip install 'tensix-sim[{extra}]'", 2)


def _run_name(spec: Any, preset: str | None) -> str:
    from tensix_sim.sdpa.op import Op

    if preset:
        return f"{preset}-s{spec.inputs.seq_len}"
    return f"{spec.op}-{spec.board}-s{spec.inputs.seq_len}" + (f"-r{spec.ring_size}" if Op.of(spec).ring else "")


def _write_json(path: str, data: Any) -> None:
    from tensix_sim.trace import write_summary

    write_summary(Path(path), data)


@contextmanager
def _progress(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while the work lasts; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share: bar.update(task, completed=share)


if __name__ == "__main__":
    main()
