"""Spans and counters of a simulated device: recording, questions, files."""

from tensix_sim.trace.files import (
    atomic,
    atomic_path,
    write_chrome,
    write_core_csv,
    write_golden,
    write_summary,
    write_transfers_csv,
)
from tensix_sim.trace.folder import whole_folder
from tensix_sim.trace.queries import Totals, busy, check_counts, check_lanes, waits
from tensix_sim.trace.store import (
    SCHEMA,
    SUMMARY,
    Run,
    RunError,
    load,
    open_run,
    opens_in_a_viewer,
    save,
    tail_file,
    trace_file,
    write_traces,
)
from tensix_sim.trace.trace import COUNT, LANES, RISCS, SPAN, TRANSFER, WAIT, Lane, Level, Series, Trace

__all__ = [
    "COUNT", "LANES", "RISCS", "SCHEMA", "SPAN", "SUMMARY", "TRANSFER", "WAIT", "Lane", "Level", "Run", "RunError", "Series",
    "Totals", "Trace", "atomic", "atomic_path", "busy", "check_counts", "check_lanes", "load", "open_run", "opens_in_a_viewer",
    "save", "tail_file", "trace_file", "waits", "whole_folder", "write_chrome", "write_core_csv", "write_golden",
    "write_summary", "write_traces", "write_transfers_csv",
]  # fmt: skip
