"""A run as a page that opens offline, and as pictures."""

from tensix_sim.page.comparison import comparison_page, write_comparison
from tensix_sim.page.data import describe
from tensix_sim.page.page import page, write_report
from tensix_sim.page.pictures import write_length_errors_plot, write_lengths_plot, write_pngs
from tensix_sim.page.script import describe_script, write_script_report

__all__ = [
    "comparison_page", "describe", "describe_script", "page", "write_comparison", "write_length_errors_plot",
    "write_lengths_plot", "write_pngs", "write_report", "write_script_report",
]  # fmt: skip
