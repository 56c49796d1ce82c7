"""Semaphores of ring joint attention, named by what a core waits for."""

from tensix_sim.kernels.sdpa.args import BEFORE, NEXT

SLICES = ("slices of the chips after", "slices of the chips before")  # of compute cores: that are in DRAM whole
LANDED = "slices over this link"  # of gather cores: that the neighbour has sent
MET = "links with the slice"  # of the first link's gather core: how many of the others have it
RELEASED = "slices that all links have"  # of the other links' gather cores
SEMAPHORES = (NEXT, BEFORE, *SLICES, LANDED, MET, RELEASED)
