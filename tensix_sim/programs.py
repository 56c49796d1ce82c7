"""A program of your own on a virtual chip: run to its end, and what it did."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tensix_sim.analysis import Verdict, program_verdict
from tensix_sim.arch import Machine, machine
from tensix_sim.files import write_text
from tensix_sim.formats import Values
from tensix_sim.hw import Chip
from tensix_sim.hw.chip import Core
from tensix_sim.hw.figures import Traffic, busy_shares
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import Contexts, last_end, mean_waits, record_bytes
from tensix_sim.page.data import describe_program
from tensix_sim.page.page import html
from tensix_sim.program import Program
from tensix_sim.text import Shown, counted
from tensix_sim.trace import LaneWait, Level, Trace, figure_frame, whole_folder, write_traces

BUSY: dict[str, Callable[[Core], float]] = {
    "FPU": lambda core: core.tensix.total("fpu"),
    "SFPU": lambda core: core.tensix.total("sfpu"),
    "unpack": lambda core: core.tensix.total("unpack_busy") + core.tensix.total("popping"),
    "pack": lambda core: core.tensix.total("pack_busy"),
}  # cycles of a core's unit


@dataclass(frozen=True, repr=False)
class Ran(Shown):
    """A program that has run to its end: its chip, and the contexts of its kernels by (logical core, role)."""

    chip: Chip
    contexts: Contexts

    def __repr__(self) -> str:
        return f"Ran({self.title}: {self.cycles:,} cycles, {counted(len(self.program.cores), 'core')})"

    @property
    def machine(self) -> Machine:
        """The board that it ran on."""
        return self.chip.machine

    @property
    def program(self) -> Program:
        """What ran."""
        return self.chip.program

    @property
    def title(self) -> str:
        """Its kernels and its board."""
        return f"{', '.join(kernel.function.__name__ for kernel in self.program.kernels)} on {self.machine.board}"

    @property
    def cycles(self) -> int:
        """Cycle at which the last kernel ended."""
        return last_end(self.contexts)

    @property
    def lane_waits(self) -> dict[LaneWait, float]:
        """Cycles for which a core waited, by lane and cause: means over all cores."""
        return mean_waits(self.contexts, self.chip.cores.values())

    @property
    def waits(self) -> dict[str, float]:
        """The same by text, "unpack: wait x_in" for one."""
        return {str(wait): cycles for wait, cycles in self.lane_waits.items()}

    @property
    def trace(self) -> Trace:
        """Spans and counters; empty where it was off."""
        return self.chip.trace

    @property
    def values(self) -> dict[str, Values | None]:
        """What it wrote: each output [tile_rows * 32, tile_cols * 32] by name, None where only shapes were simulated."""
        return {tensor.name: tensor.values for tensor in self.program.outputs}

    @property
    def figures(self) -> dict[str, Any]:
        """Cycles, microseconds, waits, bytes and how busy banks and links were, under the names of `DeviceFigures`."""
        routes, cycles = self.chip.hardware.routes, self.cycles
        return {
            "cycles": cycles,
            "duration_us": cycles / self.machine.chip.clock_hz * 1e6,
            "waits": self.waits,
            "fpu_cycles": self._busy("fpu") / len(self.chip.cores),
            "busiest_core": {unit: max(map(busy, self.chip.cores.values())) for unit, busy in BUSY.items()},
            **Traffic.of(routes, cycles)._asdict(),
            "servers": busy_shares(routes, cycles) if self.trace.zones else {},
        }

    def frame(self, of: Literal["devices", "waits", "servers"] = "devices", by: str | None = None) -> Any:
        """A table as a DataFrame: see `trace.Run.frame`."""
        return figure_frame([{"ring_id": 0, **self.figures}], of, by)

    def judge(self) -> Verdict:
        """What binds it: the program is run again, whole, a dozen times, each with one thing relieved.

        Raises:
            SimulationError: it cannot be run again: its kernels remember the first time.
        """
        full = {wait.cause.name for wait in self.lane_waits if wait.cause.kind == "space"}
        return program_verdict(self.machine, self.program, self.figures, full, lambda on, it: run_program(it, on, "off").cycles)

    def write_page(self, path: Path | str, what_ifs: bool = True) -> None:
        """Write the page of the run, one HTML file that needs no other: what binds it, unless told not to `judge`, and its lanes.

        Raises:
            OSError: it cannot be written; an older page stays as it was.
            SimulationError: see `judge`.
        """
        verdicts = [self.judge()] if what_ifs else []
        write_text(Path(path), html(describe_program(self.machine, self.program, self.trace, self.figures, verdicts)))

    def write(self, folder: Path | str, what_ifs: bool = True) -> None:
        """Write the files of `trace.write_traces` and the page, as `report.html`; an older folder of a run is replaced whole.

        Raises:
            OSError: it cannot be written, or an older one has files that no run writes; nothing changed.
            SimulationError: see `judge`.
        """
        with whole_folder(Path(folder)) as new:
            write_traces(new, [(0, self.trace)], self.machine.chip.clock_hz)
            self.write_page(new / "report.html", what_ifs)

    def _busy(self, what: str) -> float:
        return sum(core.tensix.total(what) for core in self.chip.cores.values())


def run_program(program: Program, board: Machine | str, trace: Level = "zones") -> Ran:
    """Run a program on a chip of a board, named as `tensix-sim boards` has it or as it stands.

    Raises:
        UnknownNameError: there is no such board.
        SimulationError: the program cannot start, or failed: a deadlock, tiles left behind, pages that were never written.
    """
    chip = Chip(machine(board) if isinstance(board, str) else board, program, Trace(trace))
    (contexts,) = run(chip)
    record_bytes(chip)
    return Ran(chip, contexts)
