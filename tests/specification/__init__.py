"""The arithmetic of a Tensix core in whole numbers: an executable specification, slow and obvious.

A value is the 32 bits of a float32 pattern; a bfloat16 has zeros in the lower 16. Each function is one rule; its module is the
unit that data pass: unpacker, FPU, SFPU, packer. `bitwise` computes the same compiled, and is held to this bit for bit.

Sources: SIM = ttsim 1.10, the vendor's functional simulator; ISA = tt-isa-documentation; LLK = tt-llk, the kernels' own
library. UNVERIFIED: no source gives the last bit; what is assumed is said.
"""

from specification import fpu, packer, patterns, sfpu, unpacker

__all__ = ["fpu", "packer", "patterns", "sfpu", "unpacker"]
