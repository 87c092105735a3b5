"""HD95 is MONAI's, and a shift has the distance that it has."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance

from cyclegan.metrics.paired_scores import hd95_mm, surface


def ball(centre, radius, shape=(30, 32, 34)):
    return sum((index - c) ** 2 for index, c in zip(np.indices(shape), centre, strict=True)) < (
        radius**2
    )


@pytest.mark.filterwarnings("ignore:monai.metrics:FutureWarning")  # MONAI warns of itself
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.7)])
def test_it_equals_monai(spacing_mm):
    a, b = ball((14, 15, 16), 9), ball((16, 15, 13), 7) | ball((4, 4, 4), 2)
    oracle = compute_hausdorff_distance(
        *(torch.from_numpy(mask)[None, None] for mask in (a, b)),
        include_background=True,
        percentile=95,
        spacing=spacing_mm,
    )
    assert hd95_mm(a, b, spacing_mm) == pytest.approx(float(oracle), rel=1e-5)


def test_a_shifted_plate_is_as_far_as_the_shift():
    a, b = np.zeros((12, 9, 9), bool), np.zeros((12, 9, 9), bool)
    a[2], b[6] = True, True
    assert hd95_mm(a, b, (2.5, 1.0, 1.0)) == 10


def test_it_does_not_matter_which_comes_first():
    a, b = ball((14, 15, 16), 9), ball((20, 12, 16), 5)
    assert hd95_mm(a, b, (3, 1, 1)) == hd95_mm(b, a, (3, 1, 1))


def test_without_a_surface_there_is_no_distance():
    nothing, something = np.zeros((5, 5, 5), bool), np.ones((5, 5, 5), bool)
    assert hd95_mm(nothing, something, (1, 1, 1)) is None
    assert hd95_mm(something, something, (1, 1, 1)) == 0


def test_a_surface_is_the_shell():
    cube = np.zeros((7, 7, 7), bool)
    cube[1:6, 1:6, 1:6] = True
    assert surface(cube).sum() == 5**3 - 3**3
