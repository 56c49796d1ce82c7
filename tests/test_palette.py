"""The page's colours can be told apart: by eyes with three kinds of cones, and by those without red or green ones."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from tensix_sim.page.families import FAMILIES

TOLD_APART = 15.0  # CIE76
SEES: dict[str, NDArray[np.float64]] = {  # of linear sRGB: Machado, Oliveira, Fernandes 2009, severity 1
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def lab(colour: str, eyes: str) -> NDArray[np.float64]:
    """CIE L*a*b* of a colour such as #2a78d6, as such eyes see it, under D65."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x, y, z = (TO_XYZ @ np.clip(SEES[eyes] @ linear, 0, 1)) / TO_XYZ.sum(axis=1)
    fx, fy, fz = (np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def test_the_measure_is_the_known_one() -> None:
    """White is L* 100, black 0; red and green differ much for normal eyes and less for deutan ones."""
    assert np.allclose(lab("#ffffff", "normal"), (100, 0, 0), atol=0.01)
    assert np.allclose(lab("#000000", "normal"), 0)
    red, green = (np.linalg.norm(lab("#c80000", eyes) - lab("#4c7a00", eyes)) for eyes in ("normal", "deutan"))
    assert red > 80 > 40 > green


@pytest.mark.parametrize("eyes", SEES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_two_colours_side_by_side_can_be_told_apart(theme: str, eyes: str) -> None:
    """Any two families may follow one another on a lane."""
    seen = {family.label: lab(getattr(family, theme), eyes) for family in FAMILIES}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    assert {pair: round(distance, 1) for pair, distance in apart.items() if distance < TOLD_APART} == {}
