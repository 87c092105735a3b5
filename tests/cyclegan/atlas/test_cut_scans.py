"""An atlas of cut scans is that of whole ones, because heights lie on a common axis."""

import numpy as np
import pytest

from cyclegan.atlas.atlas import CtAtlas, atlas_of
from cyclegan.metrics.paired_scores import mae_hu
from data_prep.preprocess.axis_fit import fit_axis
from data_prep.preprocess.height_axis import (
    IN_EACH_FIELD_OF_VIEW,
    HeightAxis,
    outline_of,
    sizes_by_mm,
)
from tests.support.round_heads import SPACING_MM, round_head

SIZES = np.random.default_rng(0).normal(1, 0.02, 10)
CUTS = [(3 * (number * 7 % 16), 3 * (number * 3 % 11)) for number in range(10)]
"""Up to 45 mm above and 30 mm below."""


def hu_of(body: np.ndarray, size: float, below_mm: float) -> np.ndarray:
    """HU that change along the body, and with it."""
    z = (below_mm + SPACING_MM[0] * np.arange(len(body))) / size
    return np.broadcast_to((400 * np.sin(z / 30))[:, None, None], body.shape)


def axis_and_atlas(cuts, axis: HeightAxis | None = None) -> tuple[HeightAxis, CtAtlas]:
    bodies = [round_head(size, *cut) for size, cut in zip(SIZES, cuts, strict=True)]
    outlines = [outline_of(body) for body in bodies]
    axis = axis or fit_axis([sizes_by_mm(outline, SPACING_MM) for outline in outlines])
    return axis, atlas_of(
        (
            hu_of(body, size, below),
            body,
            axis.place(outline, SPACING_MM).heights(len(body)),
            SPACING_MM[1:],
        )
        for body, outline, size, (_, below) in zip(bodies, outlines, SIZES, cuts, strict=True)
    )


def error_hu(axis: HeightAxis, atlas: CtAtlas) -> float:
    """Of the median atlas, on a whole head of somebody else."""
    body = round_head(1.01)
    height = axis.place(outline_of(body), SPACING_MM).heights(len(body))
    return mae_hu(atlas.both(body, height)[1], hu_of(body, 1.01, 0), body)


def test_the_atlas_of_cut_scans_is_as_good_as_that_of_whole_ones():
    whole = error_hu(*axis_and_atlas([(0, 0)] * 10))

    assert error_hu(*axis_and_atlas(CUTS)) == pytest.approx(whole, abs=5)
    in_each_view = error_hu(*axis_and_atlas(CUTS, IN_EACH_FIELD_OF_VIEW))
    assert in_each_view > whole + 20
