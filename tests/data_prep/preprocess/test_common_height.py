"""Scans of unlike fields of view find their place on one axis by their outlines."""

import numpy as np
import pytest

from data_prep.preprocess.common_height import (
    FEWEST_ALIGNED,
    WORST_MISFIT_MM,
    fit_common_axis,
    outline_features,
)

SPACING_MM = (3.0, 4.0, 4.0)
Y, X = (np.arange(64) * 4 - 126)[:, None], np.arange(64) * 4 - 126
WHOLE_MM = 210
"""From the neck to above the crown, which lies at 190 mm times the person's size."""


def person(size: float, above_mm: float = 0, below_mm: float = 0) -> np.ndarray:
    """A head with nose and neck, cut at both ends, [z, y, x]."""
    z = np.arange(below_mm, WHOLE_MM - above_mm, SPACING_MM[0])[:, None, None] / size
    head = (X / (76 * size)) ** 2 + (Y / (95 * size)) ** 2 + ((z - 105) / 85) ** 2 < 1
    neck = (np.hypot(X, Y - 20) < 55 * size) & (z < 80)
    nose = (np.abs(X) < 14) & (Y < 0) & (-112 * size < Y) & (np.abs(z - 85) < 20)
    return head | neck | nose


CUTS = [(0, 0), (45, 0), (20, 30), (33, 12), (5, 27), (0, 18)]
SIZES = [1, 0.96, 1.04, 0.98, 1.02, 1]


def scan(size: float, above_mm: float, below_mm: float) -> tuple[np.ndarray, float]:
    return outline_features(person(size, above_mm, below_mm), SPACING_MM), SPACING_MM[0]


SCANS = [scan(size, *cut) for size, cut in zip(SIZES, CUTS, strict=True)]


def test_features_are_the_size_of_the_outline_in_mm():
    body = np.zeros((2, 10, 10))
    body[1, 2:5, 4:8] = 1

    found = outline_features(body, (3.0, 2.0, 1.5))

    np.testing.assert_allclose(found, [[0, 0, 0], [6, 6, 6]])


def test_what_is_cut_above_and_below_is_found_to_a_few_mm():
    _, offsets = fit_common_axis(SCANS)

    errors = np.subtract(offsets, [below for _, below in CUTS])
    assert np.abs(errors - np.median(errors)).max() <= 6, errors


def test_an_appended_scan_is_aligned_and_moves_nothing():
    axis, offsets = fit_common_axis(SCANS)
    before = axis.features.copy()

    new, misfit = axis.offset_of(*scan(1, 40, 24))

    assert abs((new - offsets[0]) - 24) <= 6
    assert misfit < WORST_MISFIT_MM
    np.testing.assert_array_equal(axis.features, before)


def test_another_part_of_the_body_does_not_fit():
    thigh = np.broadcast_to(np.hypot(X, Y) < 60, (40, 64, 64))
    axis, _ = fit_common_axis(SCANS)

    _, misfit = axis.offset_of(outline_features(thigh, SPACING_MM), SPACING_MM[0])

    assert misfit > WORST_MISFIT_MM


@pytest.mark.parametrize("count", [0, 1, FEWEST_ALIGNED - 1])
def test_too_few_scans_have_no_common_axis_and_it_is_said(count):
    axis, offsets = fit_common_axis(SCANS[:count])

    assert axis.fallback
    assert offsets == [0] * count
