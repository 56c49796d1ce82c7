"""The options that several commands have, each declared once; SPEC, --set and --preset become one `Given`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tensix_sim.cli.console import fail, need
from tensix_sim.text import MOST_TOLD, clipped, counted
from tensix_sim.user_errors import UsageError

if TYPE_CHECKING:
    from tensix_sim.config import RunSpec
    from tensix_sim.doctor.report import Report

Command = Callable[..., None]
Option = Callable[[Command], Command]


class Target(click.Path):
    """A file to write, which is tried before any work is done."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        from tensix_sim.files import try_target

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            try_target(path)
        except OSError as error:
            self.fail(f"{clipped(str(value))}: {error.strerror or error}", param, ctx)
        return path


def _keys(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Keys of a spec, for a shell to complete."""
    from tensix_sim.doctor.types import ANNOTATIONS

    return [f"{key}=" for key in ANNOTATIONS if key.startswith(begun)]


def _models(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Names of presets, for a shell to complete."""
    from tensix_sim.presets import presets

    return [name for name in presets() if name.startswith(begun)]


JSON = click.option("--json", "json_file", type=Target(), help="Write what the screen shows to FILE; -: print it instead.")
SET = click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a key of the spec.", shell_complete=_keys)
PRESET = click.option(
    "--preset",
    metavar="MODEL",
    help="The spec of a model in place of SPEC: tensix-sim presets lists them.",
    shell_complete=_models,
)
STORE = Path("traces/runs/store.sqlite")  # beside the folders of runs
SPEC = click.argument("spec", type=click.Path(dir_okay=False), required=False)


def jobs_option(what: str) -> Option:
    """How many of `what` run at once, or where: the command gets both as its `jobs`."""
    every = os.cpu_count() or 1

    def options(command: Command) -> Command:
        @click.option("--jobs", type=click.IntRange(1), default=every, help=f"{what} side by side.  [default: all CPUs]")
        @click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster whose scheduler is there.")
        @wraps(command)
        def run(*args: Any, jobs: int, dask: str | None, **kwargs: Any) -> None:
            need(dask is not None, "--dask needs", "distributed", "dask")
            command(*args, jobs=jobs if dask is None else dask, **kwargs)

        return run

    return options


def target_option(name: str, about: str) -> Option:
    """A file to write."""
    return click.option(name, type=Target(), help=about)


def store_option(about: str | None, **more: Any) -> Option:
    """A file to keep numbers in."""
    return click.option("--store", type=click.Path(dir_okay=False, path_type=Path), help=about, **more)


def plot_option(about: str) -> Option:
    """A picture to draw, in a format that matplotlib knows."""

    def known(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
        need(path, "--plot needs", "matplotlib", "plot")
        if path:
            from matplotlib.backend_bases import FigureCanvasBase

            if (kind := path.suffix[1:].lower()) not in (kinds := FigureCanvasBase.get_supported_filetypes()):
                raise click.BadParameter(
                    f"{path}: no pictures of the kind {kind!r}; there are {', '.join(sorted(kinds))}", ctx, param
                )
        return path

    return click.option("--plot", type=Target(), help=about, callback=known)


def lengths_option(about: str) -> Option:
    """Sequence lengths; `about` says what is done for each."""
    return click.option("--seq-lens", metavar="A..B", help=f"{about}: A, 2A, 4A ... up to B, or a list A,B,C.")


def spec_options(command: Command) -> Command:
    """SPEC, --set and --preset of a command, which gets them as one `given`."""

    @SPEC
    @SET
    @PRESET
    @wraps(command)
    def run(*args: Any, spec: str | None, overrides: tuple[str, ...], preset: str | None, **kwargs: Any) -> None:
        command(*args, given=Given(spec, overrides, preset), **kwargs)

    return run


@dataclass(frozen=True)
class Given:
    """What the user says of a run: a spec file or a model's preset, the built-in example without either, and overrides."""

    spec: str | None
    overrides: tuple[str, ...]
    preset: str | None

    def read(self, seq_len: int | None = None) -> dict[str, Any]:
        """The spec as written, at another sequence length if one is given.

        Raises:
            UsageError: SPEC and --preset were both given.
            SpecError: it cannot be read, or an override cannot be placed.
        """
        from tensix_sim.config import BUILT_IN, read_spec
        from tensix_sim.presets import preset

        if self.spec and self.preset:
            raise UsageError(f"SPEC {self.spec} and --preset {self.preset}: give one of them")
        if self.preset:
            return preset(self.preset, self.overrides, seq_len)
        more = () if seq_len is None else (f"inputs.seq_len={seq_len}",)
        written = BUILT_IN if self.spec is None else _piped() if self.spec == "-" else self.spec
        return read_spec(written, [*self.overrides, *more])

    def typed(self, seq_len: int | None = None) -> "RunSpec":
        """A spec whose values have the right types; what else may be wrong with it is for others to say."""
        from pydantic import ValidationError

        from tensix_sim.config import load_spec
        from tensix_sim.doctor.check import check

        raw = self.read(seq_len)
        try:
            return load_spec(raw)
        except ValidationError:
            _refuse(check(raw))

    def legal(self) -> "RunSpec":
        """A spec that can run; ends the command if it cannot."""
        from tensix_sim.config import load_spec
        from tensix_sim.doctor.check import check

        raw = self.read()
        if not (report := check(raw)).ok:
            _refuse(report)
        return load_spec(raw)


@cache
def _piped() -> dict[str, Any]:
    """The spec on stdin, which can be read once."""
    from tensix_sim.config import spec_in

    return spec_in(sys.stdin.buffer, "-")


def _refuse(report: "Report") -> NoReturn:
    lines = [f"- {violation.message}" for violation in report.violations]
    more = [f"- and {len(lines) - MOST_TOLD:,} more"] if len(lines) > MOST_TOLD else []
    fail("\n".join([f"illegal: {counted(len(lines), 'rule')} broken", *lines[:MOST_TOLD], *more]), 1)
