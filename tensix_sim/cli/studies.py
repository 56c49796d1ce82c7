"""Commands that run many specs: `tune`, `validate`, `lengths`, and `compare` over sequence lengths."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tensix_sim.cli.console import UNWRITTEN, exit_code, fail, guarded, progress, say, show
from tensix_sim.cli.options import JSON, STORE, Given, jobs_option, lengths_option, plot_option, spec_options, store_option
from tensix_sim.text import brief

if TYPE_CHECKING:
    from tensix_sim.tuning import Tuning
    from tensix_sim.workers import Jobs


@click.command(short_help="Find the fastest legal config of SPEC.")
@spec_options
@click.option(
    "--vary",
    multiple=True,
    metavar="NAME[=A,B]",
    help="A setting to search, or its values; again for more.  [default: both chunks]",
)
@lengths_option("Tune for each length")
@click.option(
    "--within",
    type=click.FloatRange(1),
    help="Keep configs this many times as slow as the best.  [default: 1.25, or 1 with --seq-lens]",
)
@click.option("--accuracy/--no-accuracy", default=True, help="Compute the numbers of the front; never done with --seq-lens.")
@store_option(None, default=STORE, show_default=True)
@jobs_option("Configs run")
@plot_option("With --seq-lens, draw the times to FILE.")
@JSON
@guarded
def tune(
    given: Given,
    vary: tuple[str, ...],
    seq_lens: str | None,
    within: float | None,
    accuracy: bool,
    store: Path,
    jobs: "Jobs",
    plot: Path | None,
    json_file: Path | None,
) -> None:
    """Find the fastest legal config of SPEC, and what others trade for their time.

    NAME is one of q_chunk, k_chunk, grid, fidelity, fp32_dest, dtype, kernel. What is measured is kept in the store:
    the same command, begun again, goes on where it was stopped.
    """
    from tensix_sim.tuning import Interrupted, read_lengths, read_space
    from tensix_sim.tuning import tune as tune_space

    if plot and not seq_lens:
        fail("--plot draws times over lengths: give --seq-lens too")
    lengths = read_lengths(seq_lens) if seq_lens else [None]
    spaces = [read_space(given.typed(length), vary, within or (1.0 if seq_lens else 1.25)) for length in lengths]
    kept = f"what was measured is kept in {store}"
    found: list[Tuning] = []
    try:
        for space in spaces:
            with progress(f"{space.spec.inputs.seq_len} tokens", kept) as bar:
                found.append(tune_space(space, jobs, store, bar, accuracy and not seq_lens, aside=not seq_lens))
            say(f"{found[-1].legal} legal configs; ran {found[-1].run}, the given one too; kept in {store}", err=True)
    except Interrupted as stop:
        if shown := [*found, *([stop.so_far] if stop.so_far else [])]:
            say(f"so far:\n{_tunings_screen(shown, seq_lens)}")
        fail(f"interrupted; {kept}, and the same command goes on from there", exit_code(stop))
    tunings = [tuning.model_dump(mode="json") for tuning in found]
    show(_tunings_screen(found, seq_lens), json_file, lambda: tunings if seq_lens else tunings[0])
    if plot:
        from tensix_sim.page import write_lengths_plot

        write_lengths_plot(found, plot)


def _tunings_screen(found: list["Tuning"], seq_lens: str | None) -> str:
    from tensix_sim.screen import lengths_screen, tune_screen

    return lengths_screen(found) if seq_lens else tune_screen(found[0])


@click.command(short_help="Set predictions beside measurements, row by row.")
@click.argument("measurements", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--only", help="Only rows whose id contains this.")
@click.option("--micro", is_flag=True, help="Published microbenchmarks instead of walls.")
@jobs_option("Rows run")
@JSON
@guarded
def validate(measurements: Path | None, only: str | None, micro: bool, jobs: "Jobs", json_file: Path | None) -> None:
    """Predict every row of a CSV of MEASUREMENTS and show the errors; without one, of the published walls that ship with this."""
    from tensix_sim import microbench
    from tensix_sim import validate as v
    from tensix_sim.walls import SHIPPED, read_rows

    if micro:
        if measurements or only:
            fail("--micro compares all microbenchmarks that ship; it takes neither MEASUREMENTS nor --only")
        points, left_out = microbench.compare()
        show(microbench.table(points, left_out), json_file, lambda: microbench.summary(points, left_out))
        return
    rows = [row for row in read_rows(measurements or SHIPPED) if only is None or only in row.id]
    if not rows:
        fail(f"no row's id contains {brief(only)}")
    with progress(f"{len(rows)} rows", UNWRITTEN) as bar:
        predictions = v.validate(rows, jobs, bar)
    show(v.table(predictions), json_file, lambda: v.summary(predictions))
    if any(p.problem for p in predictions):
        sys.exit(1)


@click.command(short_help="Say how the error grows with the length.")
@spec_options
@click.option("--keys", default="1024..262144", show_default=True, metavar="A..B", help="Lengths: A, 2A, 4A ... up to B.")
@click.option("--heads", type=click.IntRange(1), default=1, show_default=True, help="Query heads that are sampled.")
@plot_option("Draw the errors to FILE.")
@jobs_option("Lengths run")
@JSON
@guarded
def lengths(given: Given, keys: str, heads: int, plot: Path | None, jobs: "Jobs", json_file: Path | None) -> None:
    """Say how the error of SPEC's config grows with the length, bit for bit, with a 16-bit and a 32-bit DST.

    For each length one Q chunk a head is computed, against all keys.
    """
    from tensix_sim.error import error_by_length, length_specs
    from tensix_sim.screen import length_errors_screen
    from tensix_sim.tuning import read_lengths

    specs = length_specs(given.legal(), read_lengths(keys, "--keys"), heads)
    with progress("error by length", UNWRITTEN) as bar:
        found = error_by_length(specs, jobs, bar)
    show(length_errors_screen(found), json_file, lambda: [one.model_dump(mode="json") for one in found])
    if plot:
        from tensix_sim.page import write_length_errors_plot

        write_length_errors_plot(found, plot)


def compare_lengths(given: Given, seq_lens: str, jobs: "Jobs", json_file: Path | None) -> None:
    """Ring-distributed SDPA with its tail beside plain SDPA, length by length."""
    from tensix_sim.analysis import plain, worth, worth_from
    from tensix_sim.screen import worth_screen
    from tensix_sim.trust import trust
    from tensix_sim.tuning import read_lengths

    specs = [given.typed(length) for length in read_lengths(seq_lens)]
    with progress(f"{len(specs)} lengths") as bar:
        found = worth(specs, jobs, bar)
    show(
        worth_screen(specs[0], found),
        json_file,
        lambda: {
            "lengths": [asdict(w) | {"gain": w.gain, "clear": w.clear} for w in found],
            "worth_from": worth_from(found),
            "trust": {one.op: trust(one).model_dump() for one in (specs[0], plain(specs[0]))},
        },
    )
