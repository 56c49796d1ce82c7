"""`tune`: which legal config of a space is the fastest, and what the others on the Pareto front trade for their time."""

from tensix_sim.store import Store, StoreError
from tensix_sim.tuning.search import Interrupted, Measured, Tuning, tune
from tensix_sim.tuning.space import EmptySpaceError, Space, read_lengths, read_space

__all__ = [
    "EmptySpaceError", "Interrupted", "Measured", "Space", "Store", "StoreError", "Tuning", "read_lengths", "read_space", "tune",
]  # fmt: skip
