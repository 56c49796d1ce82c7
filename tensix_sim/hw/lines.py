"""Which line of a kernel asked for an operation: its number in the trace stands above the operation's, and spans carry it on."""

import sys
from pathlib import Path
from typing import Any

from tensix_sim.hw.tables import LINE_SHIFT
from tensix_sim.hw.tasks import PACKAGE, line_at, of_kernel
from tensix_sim.trace import Trace

OF_ITS_CALLER = 0  # a place in the kernel API


class SourceLines:
    """Numbers of the lines of a chip's kernels, by where their code stands."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.known: dict[tuple[int, int], int] = {}
        self._kept: list[object] = []  # code, whose `id` nothing else may have

    def number(self, frame: Any) -> int:
        """The line of the innermost kernel's code that runs in a frame or has called it."""
        while frame is not None:
            place = id(frame.f_code), frame.f_lasti
            line = self.known.get(place)
            if line is None:
                line = self.known[place] = self._learn(frame)
            if line != OF_ITS_CALLER:
                return line
            frame = frame.f_back
        return OF_ITS_CALLER

    def _learn(self, frame: Any) -> int:
        self._kept.append(frame.f_code)
        if not of_kernel(frame):
            return OF_ITS_CALLER
        path, _, line = line_at((frame.f_code, frame.f_lasti)).rpartition(":")
        return self._trace.line(_short(path), int(line), path)


class LinedOperations(list[int]):
    """Operations that a kernel gives, each with the line that it stands in."""

    def __init__(self, lines: SourceLines) -> None:
        super().__init__()
        self._lines, self._known = lines, lines.known

    def append(self, operation: int) -> None:
        """Add an operation, which what calls this was asked for."""
        frame = sys._getframe(2)
        line = self._known.get((id(frame.f_code), frame.f_lasti)) or self._lines.number(frame)  # mostly a kernel's own code
        super().append(operation | line << LINE_SHIFT)


def _short(path: str) -> str:
    """A file as people know it: within the package, or from the folder in which they are."""
    for folder in (PACKAGE, PACKAGE.parent, Path.cwd()):
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder).as_posix()
    return path
