"""Commands on one spec or one run: `run`, `check`, `report`, `compare`; and what there is to run: `boards`, `presets`."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tensix_sim.cli.console import UNWRITTEN, fail, guarded, need, progress, say, show
from tensix_sim.cli.options import (
    JSON,
    PRESET,
    SET,
    STORE,
    Given,
    jobs_option,
    lengths_option,
    spec_options,
    store_option,
    target_option,
)
from tensix_sim.cli.scripts import compare_runs, is_python, report_script, run_script
from tensix_sim.cli.studies import compare_lengths
from tensix_sim.host import STDOUT
from tensix_sim.text import brief
from tensix_sim.user_errors import UserError

if TYPE_CHECKING:
    from tensix_sim.analysis import Comparison
    from tensix_sim.config import RunSpec
    from tensix_sim.workers import Jobs


def _within(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    """A name that stays in the folder of --traces."""
    if name is not None and (name in ("", "..") or Path(name).name != name or {"/", "\\"} & set(name) or not name.isprintable()):
        raise click.BadParameter(f"{brief(name)} is no name of a folder in that of --traces", ctx, param)
    return name


@click.command(short_help="Run the op of SPEC or of the example, or a script of ttnn.")
@spec_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@JSON
@jobs_option("Devices simulated")
@click.option("--gather", is_flag=True, help="Also gather the whole sequence on every device: split, two all-gathers, concat.")
@click.option("--name", callback=_within, help="Name of the folder with the traces.  [default: from the spec]")
@click.option("--traces", type=click.Path(file_okay=False, path_type=Path), default=Path("traces/runs"), show_default=True)
@click.option(
    "--emit",
    "kinds",
    multiple=True,
    type=click.Choice(("device-log", "perf-csv", "npe", "visualizer", "perfetto", "json", "parquet")),
    help="Also write files that other tools open.",
)
@click.option("--explain-error", is_flag=True, help="Take the error apart by its causes; needs numerics: exact.")
@click.option("--strict", is_flag=True, help="Exit with 3 if the accuracy is not what the formats give.")
@click.option("--what-ifs", is_flag=True, help="Of a script: also run it again with each resource twice as fast.")
@guarded
def run(
    given: Given,
    arguments: tuple[str, ...],
    json_file: Path | None,
    jobs: "Jobs",
    gather: bool,
    name: str | None,
    traces: Path,
    kinds: tuple[str, ...],
    explain_error: bool,
    strict: bool,
    what_ifs: bool,
) -> None:
    """Run the op of SPEC on its device or on every device of its ring; without SPEC, the built-in example.

    SPEC may be a Python script that imports ttnn: it runs with what stands behind `--`, and what its ops cost is the result.
    """
    if given.spec is not None and is_python(given.spec):
        if gather or explain_error or strict or given.preset:
            fail("--gather, --explain-error, --strict and --preset are for a spec, and not for a script")
        folder = traces / (name or Path(given.spec).stem)
        run_script([given.spec, *arguments], given.overrides, folder, kinds, json_file, what_ifs)
        return
    if arguments or what_ifs:
        fail(f"{' '.join(arguments) or '--what-ifs'}: for a script only; the what-ifs of a spec's run are in its report")
    from tensix_sim.screen import run_screen
    from tensix_sim.sdpa.op import Op
    from tensix_sim.simulation import simulate
    from tensix_sim.trace import whole_folder

    spec = given.legal()
    _refuse_beforehand(spec, kinds, explain_error, gather)
    folder = traces / (_run_name(spec, given.preset) if name is None else name)
    with whole_folder(folder) as new:
        where = f"ring of {spec.ring_size}" if Op.of(spec).ring else spec.op
        with progress(f"{where} on {spec.board}", UNWRITTEN) as bar:
            result = simulate(spec, jobs, bar, gather=gather)
        if explain_error:
            from tensix_sim.error import explain

            with progress("error by stage", UNWRITTEN) as bar:
                result.error = explain(spec, jobs, bar).model_dump()
        if json_file != STDOUT:
            say(run_screen(result))
        result.write_into(new)
        if kinds:
            from tensix_sim.emit import emit

            emit(result.as_run(), kinds, new, folder.resolve().name)
    show("", json_file, result.summary)
    if not result.opens_in_a_viewer:
        say(f"no {folder / 'trace.pftrace'}: the trace is too long for Perfetto; `tensix-sim report {folder}` shows it", err=True)
    say(f"traces in {folder}", err=True)
    if strict and result.accuracy and result.accuracy.suspect:
        sys.exit(3)


def _refuse_beforehand(spec: "RunSpec", kinds: tuple[str, ...], explain_error: bool, gather: bool) -> None:
    """End the command if one of its options does not go with the spec."""
    from tensix_sim.gather.tail import tail_problems
    from tensix_sim.job import Job

    if explain_error and spec.numerics != "exact":
        fail(f"--explain-error: numerics is {spec.numerics}; an error is explained bit for bit: set numerics: exact")
    if gather and (problems := tail_problems(Job.legal(spec))):
        fail("\n".join(f"--gather: {problem}" for problem in problems), 1)
    if kinds:
        from tensix_sim.emit import check_kinds

        try:
            check_kinds(kinds, spec.trace)
        except UserError as error:
            fail(f"--emit {error}")


def _run_name(spec: "RunSpec", preset: str | None) -> str:
    from tensix_sim.sdpa.op import Op

    if preset:
        return f"{preset}-s{spec.inputs.seq_len}"
    return f"{spec.op}-{spec.board}-s{spec.inputs.seq_len}" + (f"-r{spec.ring_size}" if Op.of(spec).ring else "")


@click.command(short_help="Say what is wrong with SPEC, and what would be better.")
@spec_options
@click.option(
    "--reserve", multiple=True, type=click.IntRange(0), metavar="BYTES",
    help="Bytes at the top of L1 that others hold, summed up: machine.l1.reserved.",
)  # fmt: skip
@click.option("--github", is_flag=True, help="Also annotate SPEC's lines in a GitHub workflow.")
@JSON
@guarded
def check(given: Given, reserve: tuple[int, ...], github: bool, json_file: Path | None) -> None:
    """Say everything that is wrong with SPEC, what its kernels would really use, who computes what, and what would be better."""
    from tensix_sim.config import BUILT_IN
    from tensix_sim.doctor.check import check as check_spec
    from tensix_sim.doctor.github import annotations

    if reserve:
        given = replace(given, overrides=(*given.overrides, f"machine.l1.reserved={sum(reserve)}"))
    if github and json_file == STDOUT:
        fail("--github and --json - both print on stdout: give one of them a file")
    written = given.spec if given.spec is not None else BUILT_IN
    report = check_spec(given.read()) if given.preset or given.spec == "-" else check_spec(written, given.overrides)
    show(report.text(), json_file, lambda: report.model_dump(mode="json"))
    if github:
        say("\n".join(["", *annotations(report, None if given.spec in (None, "-") else Path(given.spec))]))
    if not report.ok:
        sys.exit(1)


@click.command()
@JSON
@guarded
def boards(json_file: Path | None) -> None:
    """List the boards, with what matters most about each."""
    from tensix_sim.arch import BOARDS
    from tensix_sim.screen import boards_screen

    show(
        boards_screen(BOARDS.values()),
        json_file,
        lambda: {name: board.model_dump(mode="json") for name, board in BOARDS.items()},
    )


@click.command()
@JSON
@guarded
def presets(json_file: Path | None) -> None:
    """List the presets: models, as they call the op."""
    from tensix_sim.presets import presets as all_presets
    from tensix_sim.screen import presets_screen

    found = all_presets()
    show(presets_screen(found), json_file, lambda: {name: preset.model_dump(mode="json") for name, preset in found.items()})


@click.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of a spec, for editors and programs."""
    import json

    from tensix_sim.schema import spec_schema

    say(json.dumps(spec_schema(), indent=2))


@click.command(short_help="Write a page on a run: what binds it, where cycles went.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN")
@target_option("--output", "The page.  [default: RUN/report.html]")
@click.option("--png", is_flag=True, help="Also pictures of the main charts, beside the page.")
@click.option("--lines", is_flag=True, help="Also list the kernels, with the cycles of each of their lines.")
@click.option("--what-ifs/--no-what-ifs", default=True, help="Run each device again, relieved and changed.")
@store_option("What-ifs that were run, shared with tune.  [default: store.sqlite beside RUN]")
@jobs_option("What-ifs run")
@JSON
@guarded
def report(
    folder: Path,
    output: Path | None,
    png: bool,
    lines: bool,
    what_ifs: bool,
    store: Path | None,
    jobs: "Jobs",
    json_file: Path | None,
) -> None:
    """Write a page on RUN, the folder of a run: what binds each device, what helps, where its cycles went. It opens offline."""
    from tensix_sim.analysis import judge
    from tensix_sim.analysis.listing import listings
    from tensix_sim.device import DeviceFigures
    from tensix_sim.files import try_target
    from tensix_sim.page import write_pngs, write_report
    from tensix_sim.report_screen import report_screen
    from tensix_sim.script import is_script
    from tensix_sim.store import writable_store
    from tensix_sim.summary import read_run

    if is_script(folder):
        if png or lines:
            fail("a script's ops have no traces of cores: give neither --png nor --lines")
        report_script(folder, output or folder / "report.html", json_file)
        return
    need(png, "--png draws with", "matplotlib", "plot")
    done = read_run(folder)
    page = output or folder / "report.html"
    try_target(page)
    verdicts = []
    if what_ifs and done.traces:
        devices = [DeviceFigures.model_validate({**device, "accuracy": None}) for device in done.summary["devices"]]
        kept = store or writable_store(folder.resolve().parent / STORE.name)
        with progress("what-ifs", f"what was run is kept in {kept}") as bar:
            verdicts = judge(done.spec, [(device, done.traces[device.ring_id]) for device in devices], jobs, bar, kept)
    listed = listings(list(done.traces.values())) if lines else []
    verdicts_only = [verdict.summary() for verdict in verdicts]
    figures = {"verdicts": verdicts_only, "lines": [asdict(one) for one in listed]} if lines else verdicts_only
    show("" if page == STDOUT else report_screen(done, verdicts, listed), json_file, lambda: figures)
    write_report(done, verdicts, page)
    pictures = write_pngs(done, verdicts, folder if page == STDOUT else page.parent) if png else []
    if wrote := [f"wrote {path}" for path in [page, *pictures] if path != STDOUT]:
        say("\n".join(wrote), err=True)


@click.command(short_help="Say what changed between runs or profiles, and why.")
@click.argument("sides", nargs=-1, type=click.Path(exists=True, allow_dash=True, path_type=Path), metavar="BASELINE RUN...")
@click.option("--all", "everything", is_flag=True, help="Every device, wait and figure, not as many as fit a screen.")
@click.option(
    "--fail-if", "limits", multiple=True, metavar="FIGURE>+N%",
    help="Exit with 4 if a figure goes further: cycles>+3%, l1_bytes>+0, rel_l2>+10%.",
)  # fmt: skip
@click.option("--github", is_flag=True, help="Also annotate a GitHub workflow.")
@target_option("--html", "Write the comparison as a page to FILE.")
@click.option("--call", type=click.IntRange(0), help="Which call of a profile that has several.")
@lengths_option("Ring-distributed against plain SDPA")
@SET
@PRESET
@jobs_option("Lengths")
@JSON
@guarded
def compare(
    sides: tuple[Path, ...],
    everything: bool,
    limits: tuple[str, ...],
    github: bool,
    html: Path | None,
    call: int | None,
    seq_lens: str | None,
    overrides: tuple[str, ...],
    preset: str | None,
    jobs: "Jobs",
    json_file: Path | None,
) -> None:
    """Say what changed between runs, a run and a hardware profile, or two profiles, and why.

    A run is its folder, a profile an ops_perf_results*.csv or a profile_log_device.csv; one of another op or chip is refused.
    The answer is the first line. More than two are set beside the first one, a line each. FIGURE is cycles, us, dram_read_bytes,
    dram_write_bytes, l1_bytes, rel_l2, rmse or max_abs. With --seq-lens, BASELINE is the spec
    of a ring, by default the built-in example: is the ring worth it against plain SDPA on every device, with all that
    the model needs behind it to have the whole sequence on each?
    """
    from tensix_sim.script import is_script

    if seq_lens:
        if len(sides) > 1 or html or limits or github or call is not None:
            fail("--seq-lens compares one spec with plain SDPA: it takes no RUN, --html, --call, --fail-if nor --github")
        compare_lengths(Given(str(sides[0]) if sides else None, overrides, preset), seq_lens, jobs, json_file)
        return
    if len(sides) < 2 or overrides or preset:
        fail("runs are compared by their folders, two or more; a spec, --set and --preset need --seq-lens")
    if any(side.is_dir() and is_script(side) for side in sides):
        if html or github or call is not None:
            fail("runs of scripts are compared on the screen: --html, --github and --call are for runs of specs")
        compare_runs(sides, everything, limits, json_file)
        return
    if len(sides) > 2 and html:
        fail("--html is a page on two runs; without it more are set side by side")
    from tensix_sim.analysis import compare as compare_sides
    from tensix_sim.analysis import read_sides
    from tensix_sim.page import write_comparison
    from tensix_sim.screen import baseline_screen, compare_all_screen, compare_screen

    baseline, *others = read_sides(*sides, call=call)
    found = [compare_sides(baseline, other, limits) for other in others]
    one_screen = compare_all_screen if everything else compare_screen
    screen = one_screen(found[0]) if len(found) == 1 else baseline_screen(found)
    figures = [asdict(one) | {"verdict": one.verdict} for one in found]
    on_stdout = STDOUT in (json_file, html)
    show("" if html == STDOUT else screen, json_file, lambda: figures[0] if len(found) == 1 else {"comparisons": figures})
    if html:
        write_comparison(found[0], html)
    if github and not on_stdout:
        say("\n".join(["", *_annotations(found)]))
    if any(one.limits for one in found):
        sys.exit(4)


def _annotations(found: list["Comparison"]) -> list[str]:
    """An error for each limit that is broken, a notice with the answer of each comparison that keeps them."""
    from tensix_sim.doctor.github import command

    broken = [command("error", one.after, limit.text) for one in found for limit in one.limits]
    return broken + [command("notice", one.after, one.verdict) for one in found if not one.limits]
