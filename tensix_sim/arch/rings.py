"""Rings and lines of a board's chips."""

from collections.abc import Sequence
from math import prod
from typing import Literal

from tensix_sim.arch.model import Machine

Joining = Literal["ring", "line"]


def has_ring(on: Machine, devices: int, mesh: Sequence[int]) -> bool:
    """Whether so many chips of a board form a ring: along an axis that wraps around, or all of a mesh, there and back."""
    if devices < 3:
        return False
    around = on.wraps and devices in on.mesh
    there_and_back = devices == on.chips and min(on.mesh) > 1 and devices % 2 == 0
    return around or (there_and_back and prod(mesh) == devices)


def usual_topology(on: Machine, devices: int) -> Joining:
    """A ring where there is one."""
    return "ring" if has_ring(on, devices, on.mesh) else "line"
