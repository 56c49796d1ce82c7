"""`python -m tensix_sim.ttnn [OPTIONS] -- CMD...`: run a command in whose Pythons `import ttnn` means this package's."""

import os
import sys
from pathlib import Path

import click

from tensix_sim.ttnn.session import SESSION, VARIABLE


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--board", help="Board whose chips there are; galaxy if not given.")
@click.option("--mesh", metavar="RxC", help="Rows and columns of devices; the board's own if not given.")
@click.option("--numerics", help="fast; exact: the chip's bits in attention; off: cycles only.")
@click.option("--kernel", help="Compute kernel of the attention ops: legacy or streaming; their own choice if not given.")
@click.option("--branch", help="Branch of tt-metal whose arguments are taken: main, or olmo, with the ring op's sliding window.")
@click.option("--host-clock", help="simulated, the default: the user's files see device time on the host's clocks; or real.")
@click.option("--machine", multiple=True, metavar="NUMBER=VALUE", help="Replace a number of the machine: dram.bank_rate=30.")
@click.option("--record", metavar="DIR", help="Write the run of a Python script there: tensix-sim report, compare.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(command: tuple[str, ...], machine: tuple[str, ...], **options: str | None) -> None:
    """Run COMMAND with ttnn on virtual chips; its exit code is this one's.

    Ops and their cycles follow on stderr, under pytest on stdout.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if machine:
        given["machine"] = ";".join(machine)
    try:
        SESSION.settings.set(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    env = {VARIABLE + "HOST_CLOCK": "simulated"} | os.environ | {VARIABLE + name.upper(): value for name, value in given.items()}
    env["PYTHONPATH"] = _joined(str(Path(__file__).parent / "site"), env.get("PYTHONPATH"), os.pathsep)
    env["PYTEST_PLUGINS"] = _joined("tensix_sim.ttnn.plugin", env.get("PYTEST_PLUGINS"), ",")
    env["PATH"] = _joined(str(Path(sys.executable).parent), env.get("PATH"), os.pathsep)
    os.environ["PATH"] = env["PATH"]
    try:
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        raise click.UsageError(f"{command[0]}: {error.strerror}") from error


def _joined(first: str, rest: str | None, separator: str) -> str:
    return first + separator + rest if rest else first


if __name__ == "__main__":
    main(prog_name="python -m tensix_sim.ttnn")
