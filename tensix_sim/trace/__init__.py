"""Spans and counters of a simulated device: recording, questions, files."""

from tensix_sim.trace.causes import Cause, LaneWait, WaitKey, What
from tensix_sim.trace.folder import whole_folder
from tensix_sim.trace.queries import Totals, check_counts, check_lanes
from tensix_sim.trace.store import (
    SCHEMA,
    SUMMARY,
    Run,
    RunError,
    figure_frame,
    load,
    open_run,
    opens_in_a_viewer,
    save,
    tail_file,
    trace_file,
    write_traces,
)
from tensix_sim.trace.trace import COUNT, LANES, RISCS, SPAN, TRANSFER, Lane, Level, Line, Series, Trace
from tensix_sim.trace.writers import write_chrome, write_core_csv, write_golden, write_transfers_csv

__all__ = [
    "COUNT", "LANES", "RISCS", "SCHEMA", "SPAN", "SUMMARY", "TRANSFER", "Cause", "Lane", "LaneWait", "Level", "Line", "Run",
    "RunError", "Series", "Totals", "Trace", "WaitKey", "What", "check_counts", "check_lanes", "figure_frame", "load", "open_run",
    "opens_in_a_viewer", "save", "tail_file", "trace_file", "whole_folder", "write_chrome", "write_core_csv", "write_golden",
    "write_traces", "write_transfers_csv",
]  # fmt: skip
