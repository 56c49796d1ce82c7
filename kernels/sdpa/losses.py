"""Where attention loses accuracy: the stages of a run's error, and what each step of a verb belongs to."""

from collections.abc import Mapping

# In the order in which data pass
TRUNCATION, DST, SCORE, EXP, PROBABILITY, PV, CORRECTION, SUM, OUTPUT = STAGES = (
    "fidelity truncation", "DST rounding", "score pack", "approximate exp", "probability pack", "PV accumulation",
    "correction", "running sum", "output format",
)

# The buffers where they lie; of two sets the name that they share
SCORES, OUTPUTS, SUMS, ALPHA, RECIP, OUT = "qk_im", "out_im", "sum", "exp_max_diff", "recip_scratch", "out"

Losses = Mapping[str, Mapping[str, str]]  # by buffer and by step of `hw.exact.Exact.ideal`: the stage to which an error belongs

OF_SUMS = {"dst": SUM, "vector": SUM, "pack": SUM, "accumulate": SUM}
OF_OUTPUTS = {"fidelity": TRUNCATION, "dst": CORRECTION, "pack": CORRECTION, "accumulate": CORRECTION}

PRODUCTS: Losses = {
    SCORES: {"fidelity": TRUNCATION, "dst": DST, "pack": SCORE},
    OUTPUTS: {"fidelity": TRUNCATION, "dst": PV, "pack": PV, "accumulate": PV},
}
STAMPS: Losses = {SCORES: {"accumulate": SCORE}}
EXPONENTIALS: Losses = {SCORES: {"dst": DST, "vector": EXP, "pack": PROBABILITY}, SUMS: {"accumulate": SUM}}
FACTORS: Losses = {ALPHA: {"dst": CORRECTION, "vector": CORRECTION, "pack": CORRECTION}}
FACTORS_AND_SINK: Losses = {**FACTORS, SUMS: {"dst": SUM, "vector": SUM, "pack": SUM}}
SUMS_ADDED: Losses = {SUMS: OF_SUMS}
ADDED: Losses = {SCORES: {"dst": SCORE, "pack": SCORE}, **SUMS_ADDED}
SUMS_MULTIPLIED: Losses = {SUMS: {"fidelity": TRUNCATION, **OF_SUMS}}
RESCALED: Losses = {OUTPUTS: OF_OUTPUTS, **SUMS_MULTIPLIED}
INVERTED: Losses = {RECIP: {"fidelity": TRUNCATION, **OF_SUMS}}
SCALED: Losses = {OUTPUTS: OF_OUTPUTS, OUT: {"fidelity": TRUNCATION, "dst": OUTPUT, "pack": OUTPUT}}
