"""Machines as data: the chips, the boards that carry them, and how to change a number."""

from tensix_sim.arch.boards import ALIASES, BOARDS, machine
from tensix_sim.arch.model import ChipSpec, Machine

__all__ = ["ALIASES", "BOARDS", "ChipSpec", "Machine", "machine"]
