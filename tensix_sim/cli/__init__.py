"""The command line. Results on stdout, progress and complaints on stderr.

Exit codes: 0 fine, 1 the config is illegal, 2 usage or a file that cannot be written, 3 the simulated program
failed (or, with `run --strict`, gave other numbers than it should), 130 interrupted. An error carries its own.

What a command needs it imports when it is called: help comes at once.
"""

import click

import tensix_sim
from tensix_sim.cli import runs, studies


@click.group()
@click.version_option(tensix_sim.__version__, prog_name="tensix-sim")
def main() -> None:
    """Simulate Tenstorrent attention on virtual chips."""


for command in (
    *(runs.run, runs.check, runs.report, runs.compare, runs.boards, runs.presets),
    *(studies.tune, studies.validate, studies.lengths),
):
    main.add_command(command)
