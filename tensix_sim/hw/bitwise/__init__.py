"""What `tests/specification` says, compiled, unit by unit: a function for each of its rules, then loops over blocks of tiles.

Two ways lead to the same bits. What is done once an element is in whole numbers, as in the specification. MVMUL, nearly all
of the work, is in float64. `wide` is a 32-bit DST, `fault` Wormhole's (see `specification.fpu.add_to_dst`).
"""

from tensix_sim.hw.bitwise import fpu, packer, patterns, sfpu

__all__ = ["fpu", "packer", "patterns", "sfpu"]
