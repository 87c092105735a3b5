"""The look-up of a guided generator, from the contrast table of its cohort."""

from typing import Literal

import torch

from cyclegan.contrast.table import ContrastTable
from cyclegan.nets.guide import LEVEL_OF_VALUE, Guide, outermost_depth_mm
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise


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
