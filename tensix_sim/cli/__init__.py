"""The command line. Results on stdout, progress and complaints on stderr.

Exit codes: 0 fine, 1 the config is illegal, 2 usage or a file that cannot be written, 3 the simulated program
failed (or, with `run --strict`, gave other numbers than it should), 130 and 143 interrupted by
Ctrl-C and SIGTERM. An error carries its own.

What a command needs it imports when it is called: help comes at once.
"""

import sys

if sys.orig_argv[1:3] in (["-m", "tensix_sim"], ["-m", "tensix_sim.cli"]) or sys.argv[0].endswith("tensix-sim"):
    from tensix_sim.host import interrupts_end_at_once

    interrupts_end_at_once()

from typing import Any

import click

import tensix_sim
from tensix_sim.cli import runs, studies
from tensix_sim.text import clipped, printable


class Commands(click.Group):
    """Commands whose complaints about their arguments can be read, whatever these are."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = clipped(printable(error.message), 1000)
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tensix_sim.__version__, prog_name="tensix-sim")
def main() -> None:
    """Simulate Tenstorrent attention on virtual chips."""


for command in (
    *(runs.run, runs.check, runs.report, runs.compare, runs.boards, runs.presets, runs.schema),
    *(studies.tune, studies.validate, studies.lengths),
):
    main.add_command(command)
