"""What a trace means: cycle budgets, the critical path, the roofline, and the verdict on what binds each device."""

from tensix_sim.analysis.budget import Budget, budget, budgets, last_core
from tensix_sim.analysis.compare import Comparison, DeviceChange, FigureChange, Limit, Side, compare, read_side, read_sides
from tensix_sim.analysis.critical import Segment, critical_path, merged
from tensix_sim.analysis.own import program_roofline, program_verdict
from tensix_sim.analysis.profile import ProfileError
from tensix_sim.analysis.roofline import Bound, Roofline, roofline
from tensix_sim.analysis.verdict import RelievedRun, Tried, Verdict, in_groups, judge, saved
from tensix_sim.analysis.worth import Worth, fastest, plain, sliced, worth, worth_from

__all__ = [
    "Bound",
    "Budget",
    "Comparison",
    "DeviceChange",
    "FigureChange",
    "Limit",
    "ProfileError",
    "RelievedRun",
    "Roofline",
    "Segment",
    "Side",
    "Tried",
    "Verdict",
    "Worth",
    "budget",
    "budgets",
    "compare",
    "critical_path",
    "fastest",
    "in_groups",
    "judge",
    "last_core",
    "merged",
    "plain",
    "program_roofline",
    "program_verdict",
    "read_side",
    "read_sides",
    "roofline",
    "saved",
    "sliced",
    "worth",
    "worth_from",
]  # fmt: skip
