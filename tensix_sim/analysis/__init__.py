"""What a trace means: cycle budgets, the critical path, the roofline, and the verdict on what binds each device."""

from tensix_sim.analysis.budget import Budget, budget, budgets, last_core
from tensix_sim.analysis.critical import Segment, critical_path, merged
from tensix_sim.analysis.roofline import Bound, Roofline, roofline
from tensix_sim.analysis.verdict import Verdict, WhatIf, judge

__all__ = [
    "Bound", "Budget", "Roofline", "Segment", "Verdict", "WhatIf", "budget", "budgets", "critical_path", "judge", "last_core",
    "merged", "roofline",
]  # fmt: skip
