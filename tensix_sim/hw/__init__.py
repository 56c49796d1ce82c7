"""The hardware model. Nothing here knows a kernel."""

from tensix_sim.hw.chip import Chip, Core
from tensix_sim.hw.engine import DeadlockError, Engine, SimulationError

__all__ = ["Chip", "Core", "DeadlockError", "Engine", "SimulationError"]
