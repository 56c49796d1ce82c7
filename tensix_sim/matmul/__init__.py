"""Products of matrices on the core grid: ttnn's program configs, its own choice, its rules, and a run with cycles and numbers."""

from tensix_sim.matmul.run import Multiplied, simulate
from tensix_sim.matmul.spec import MatmulConfig, MatmulSpec

__all__ = ["MatmulConfig", "MatmulSpec", "Multiplied", "simulate"]
