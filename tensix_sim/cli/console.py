"""What all commands do with the terminal: results on stdout, progress and complaints on stderr."""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click

from tensix_sim.host import STDOUT, Terminated, interrupts_raise
from tensix_sim.text import clipped, printable, screen_width
from tensix_sim.user_errors import UserError

UNWRITTEN = "nothing was written"
LEAST_WIDTH = 40  # letters of a terminal
MOST_LETTERS = 2_000  # of a line of complaint


def say(text: str, err: bool = False) -> None:
    """Print text, with nothing in it that a terminal obeys; where nobody reads any more, nothing."""
    try:
        click.echo(printable(text), err=err)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())


def fail(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong, of each line as much as can be read, and end with `code`."""
    say("\n".join(clipped(line, MOST_LETTERS) for line in message.split("\n")), err=True)
    sys.exit(code)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what goes wrong into one message and an exit code: the user's errors, and what lies outside the simulator."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        _open_what_is_closed()
        if sys.stdout.isatty():
            screen_width.set(max(LEAST_WIDTH, min(screen_width.get(), shutil.get_terminal_size().columns)))
        try:
            with interrupts_raise():
                command(*args, **kwargs)
        except UserError as error:
            fail("\n".join([str(error), *getattr(error, "__notes__", [])]), error.exit_code)
        except KeyboardInterrupt as stop:
            fail(f"interrupted; {UNWRITTEN}", exit_code(stop))
        except MemoryError:
            fail(f"out of memory; set numerics: off or trace: off, or give --jobs 1; {UNWRITTEN}")
        except OSError as error:
            fail(f"{error.filename or 'output'}: {error.strerror or error}; nothing was written there")

    return run


def exit_code(stop: KeyboardInterrupt) -> int:
    """130 of Ctrl-C, 143 of SIGTERM."""
    eval("0")  # Ctrl-C in an `exec` of text, though caught, would end Python by the signal, until another one ends well
    return 143 if isinstance(stop, Terminated) or isinstance(stop.__context__, Terminated) else 130


def _open_what_is_closed() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.StringIO())


def need(given: object, use: str, package: str, extra: str) -> None:
    """Refuse a use that was `given` of a package that is not installed, and say which of our extras has it."""
    if given and find_spec(package) is None:
        fail(f"{use} {package}, which is not installed: pip install 'tensix-sim[{extra}]'")


def show(screen: str, json_file: Path | None, data: Callable[[], Any]) -> None:
    """Print a screen, then write what it shows to the file of --json; where that is stdout, in place of the screen."""
    if screen and json_file != STDOUT:
        say(screen)
    if json_file:
        from tensix_sim.files import write_json

        with suppress(BrokenPipeError):
            write_json(json_file, data())


@contextmanager
def progress(label: str, left: str = "") -> Iterator[Callable[..., None]]:
    """A bar on stderr while work lasts, where that is a terminal: it takes the share that is done, and what to tell beside it.

    `left` is what to say is left if a worker dies.
    """
    from tensix_sim.workers import WorkerError, unwatched

    try:
        if sys.stderr.isatty():
            with _bar(label) as bar:
                yield bar
        else:
            yield unwatched
    except WorkerError as error:
        raise WorkerError(f"{error}; {left}" if left else str(error)) from error


@contextmanager
def _bar(label: str) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share, told="": bar.update(task, completed=share, description=f"{label} {told}")
