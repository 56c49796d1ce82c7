"""Where an SDPA kernel loses accuracy: its stages, in the order in which data pass, as places of `ComputeConfig.ideal`."""

from itertools import product

SCORES, OUTPUTS, SUMS = ("qk_im",), ("out_im_A", "out_im_B"), ("sum_A", "sum_B")
PRODUCTS = ("matmul", "multiply")  # of the legacy kernel and of the streaming one
IdealPlace = tuple[str, str, str]


def _places(verbs: tuple[str, ...], buffers: tuple[str, ...], *steps: str) -> tuple[IdealPlace, ...]:
    return tuple(product(verbs, buffers, steps))


INPUT = "input format"
STAGES: dict[str, tuple[IdealPlace, ...]] = {
    "fidelity truncation": (
        *_places(PRODUCTS, (*SCORES, *OUTPUTS), "fidelity"),
        *_places(("scale_rows", "rescale"), (*OUTPUTS, *SUMS, "out"), "fidelity"),
        *_places(("mul_columns", "sum_columns"), SUMS, "fidelity"),
        *_places(("sum_reciprocal",), ("recip_scratch",), "fidelity"),
    ),
    "DST rounding": _places((*PRODUCTS, "sub_exp"), SCORES, "dst"),
    "score pack": (*_places(PRODUCTS, SCORES, "pack"), *_places(("stamp", "mark"), SCORES, "accumulate")),
    "approximate exp": _places(("sub_exp",), SCORES, "vector"),
    "probability pack": _places(("sub_exp",), SCORES, "pack"),
    "PV accumulation": _places(PRODUCTS, OUTPUTS, "dst", "pack", "accumulate"),
    "correction": (
        *_places(("exp_difference",), ("exp_max_diff",), "dst", "vector", "pack"),
        *_places(("scale_rows", "rescale"), OUTPUTS, "dst", "pack", "accumulate"),
    ),
    "running sum": (
        *_places(("sub_exp",), SUMS, "accumulate"),
        *_places(("mul_columns", "add_to", "sum_columns", "reciprocal", "rescale"), SUMS, "dst", "vector", "pack", "accumulate"),
        *_places(("sum_reciprocal",), ("recip_scratch",), "dst", "vector", "pack"),
    ),
    "output format": _places(("scale_rows",), ("out",), "dst", "pack"),
}
