"""Spans and counters of a simulated device: recording, questions, files."""

from tensix_sim.trace.files import (
    atomic,
    write_chrome,
    write_core_csv,
    write_golden,
    write_summary,
    write_transfers_csv,
)
from tensix_sim.trace.queries import Totals, busy, check_counts, check_lanes, waits
from tensix_sim.trace.trace import COUNT, RISCS, SPAN, TRANSFER, WAIT, Lane, Level, Series, Trace

__all__ = [
    "COUNT", "RISCS", "SPAN", "TRANSFER", "WAIT", "Lane", "Level", "Series", "Totals", "Trace",
    "atomic", "busy", "check_counts", "check_lanes", "waits",
    "write_chrome", "write_core_csv", "write_golden", "write_summary", "write_transfers_csv",
]  # fmt: skip
