"""What a planted fault is, and the usual ones."""

from typing import NamedTuple


class Fault(NamedTuple):
    """What is put in place of `text`, where it first stands in a file of `kernels/`, and the configs that have it."""

    what: str
    file: str
    text: str
    new: str
    configs: str
    kind: str = "named"


NUMBERS, HARMLESS, SLOWER, AS_GOOD = "numbers", "harmless", "slower", "as good"


def dropped(what: str, file: str, text: str, configs: str, kind: str = "named") -> Fault:
    """A statement that is not there."""
    return Fault(f"{what} dropped", file, text, "pass", configs, kind)


def doubled(what: str, file: str, text: str, configs: str, kind: str = "named") -> Fault:
    """A statement that stands twice."""
    return Fault(f"{what} doubled", file, text, f"{text}; {text}", configs, kind)


def unawaited(what: str, file: str, text: str, configs: str) -> Fault:
    """A verb without `await`, with which its text begins."""
    return Fault(f"{what} not awaited", file, text, text.removeprefix("await "), configs)
