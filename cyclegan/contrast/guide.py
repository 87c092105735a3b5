"""The look-up of a guided generator, from the contrast table of its cohort."""

from typing import Literal

import torch

from cyclegan.contrast.table import ContrastTable
from cyclegan.nets.guide import Guide, outermost_depth_mm
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import INVERTED_CENTRE, INVERTED_SLOPE, normalise

LEVEL_OF_VALUE: dict[Literal["plain", "inverted"], tuple[float, float]] = {
    "plain": (0.5, 0.5),
    "inverted": ((1 + INVERTED_CENTRE / INVERTED_SLOPE) / 2, -0.5 / INVERTED_SLOPE),
}
"""Offset and slope from the value of an MRI in a network to its share of the window, by contrast;
the body's median is at `MEDIAN_LEVEL` of it, as in the table's bins."""


def fill_guide(
    guide: Guide,
    table: ContrastTable,
    *,
    by_value: bool,
    mri_contrast: Literal["plain", "inverted"],
) -> None:
    """Let a guide look up what a table says.

    Args:
        guide: Guide of a generator, changed in place.
        table: Table of the generator's cohort.
        by_value: Whether the MRI value counts; else only the position does, as in the mean atlas.
        mri_contrast: Contrast in which the generator sees MRIs.
    """
    guess = normalise(torch.from_numpy(table.expected_hu(by_value=by_value)), WINDOW_HU)
    guide.fill(guess, LEVEL_OF_VALUE[mri_contrast], outermost_depth_mm(table.spacing_yx_mm))
