"""How results show themselves: as the screen of their command and, in a notebook, with the main picture of their page."""

from base64 import b64encode
from collections.abc import Mapping
from functools import singledispatch
from html import escape
from importlib.util import find_spec
from typing import Any

from tensix_sim.page.data import describe, describe_program
from tensix_sim.page.pictures import main_picture
from tensix_sim.programs import Ran
from tensix_sim.screen import program_screen, run_screen, saved_screen, tune_screen
from tensix_sim.simulation import Result
from tensix_sim.trace import Run
from tensix_sim.tuning import Tuning


@singledispatch
def screen(shown: Any) -> str:
    """What the command line prints of a result."""
    raise TypeError(f"{type(shown).__name__} has no screen")


screen.register(Result, run_screen)
screen.register(Run, saved_screen)
screen.register(Tuning, tune_screen)


@screen.register
def _(ran: Ran) -> str:
    return program_screen(ran.title, ran.figures, ran.lane_waits)


@singledispatch
def _page_data(shown: Any) -> Mapping[str, Any] | None:
    """What the page of a result is drawn from; None if it has none."""
    return None


_page_data.register(Run, describe)


@_page_data.register
def _(result: Result) -> Mapping[str, Any]:
    return describe(result.as_run())


@_page_data.register
def _(ran: Ran) -> Mapping[str, Any]:
    return describe_program(ran.machine, ran.program, ran.trace, ran.figures)


def as_html(shown: Any) -> str:
    """The screen, and below it lanes, buffers and bandwidth over time, where there is a trace and matplotlib."""
    data = _page_data(shown) if find_spec("matplotlib") else None
    picture = main_picture(data) if data else None
    drawn = f'<img alt="lanes over time" src="data:image/png;base64,{b64encode(picture).decode()}">' if picture else ""
    return f"<pre>{escape(screen(shown))}</pre>{drawn}"
