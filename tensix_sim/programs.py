"""A program of your own on a virtual chip: run to its end, and what it did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensix_sim.arch import Machine, machine
from tensix_sim.files import write_text
from tensix_sim.formats import Values
from tensix_sim.hw import Chip
from tensix_sim.hw.figures import Traffic, busy_shares
from tensix_sim.kernel_api import run
from tensix_sim.kernel_api.running import Contexts, last_end, mean_waits, record_bytes
from tensix_sim.page.data import describe_program
from tensix_sim.page.page import html
from tensix_sim.program import Program
from tensix_sim.trace import Level, Trace, whole_folder, write_traces


@dataclass(frozen=True)
class Ran:
    """A program that has run to its end: its chip, and the contexts of its kernels by (logical core, role)."""

    chip: Chip
    contexts: Contexts

    @property
    def cycles(self) -> int:
        """Cycle at which the last kernel ended."""
        return last_end(self.contexts)

    @property
    def waits(self) -> dict[str, float]:
        """Cycles for which a core waited, by lane and cause, "unpack: wait x_in" for one: means over all cores."""
        return {str(wait): cycles for wait, cycles in mean_waits(self.contexts, self.chip.cores.values()).items()}

    @property
    def trace(self) -> Trace:
        """Spans and counters; empty where it was off."""
        return self.chip.trace

    @property
    def values(self) -> dict[str, Values | None]:
        """What it wrote: each output [tile_rows * 32, tile_cols * 32] by name, None where only shapes were simulated."""
        return {tensor.name: tensor.values for tensor in self.chip.program.outputs}

    @property
    def figures(self) -> dict[str, Any]:
        """Cycles, microseconds, waits, bytes and how busy banks and links were, under the names of `DeviceFigures`."""
        routes, cycles = self.chip.hardware.routes, self.cycles
        return {
            "cycles": cycles,
            "duration_us": cycles / self.chip.machine.chip.clock_hz * 1e6,
            "waits": self.waits,
            **Traffic.of(routes, cycles)._asdict(),
            "servers": busy_shares(routes, cycles) if self.trace.zones else {},
        }

    def write_page(self, path: Path | str) -> None:
        """Write the page of the run, one HTML file that needs no other: lanes, waits, budgets, the critical path, L1.

        Raises:
            OSError: it cannot be written; an older page stays as it was.
        """
        write_text(Path(path), html(describe_program(self.chip.machine, self.chip.program, self.trace, self.figures)))

    def write(self, folder: Path | str) -> None:
        """Write the files of `trace.write_traces` and the page, as `report.html`; an older folder of a run is replaced whole.

        Raises:
            OSError: it cannot be written, or an older one has files that no run writes; nothing changed.
        """
        with whole_folder(Path(folder)) as new:
            write_traces(new, [(0, self.trace)], self.chip.machine.chip.clock_hz)
            self.write_page(new / "report.html")


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
