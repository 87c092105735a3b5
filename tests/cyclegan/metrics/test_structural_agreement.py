"""A synthetic CT is asked for the MRI's own edges and outline."""

import numpy as np
import pytest

from cyclegan.metrics.structural_agreement import edge_agreement, outline_agreement

RNG = np.random.default_rng(3)
SHAPE = (8, 48, 48)
_, Y, X = np.indices(SHAPE)
DISTANCE = np.hypot(Y - 24, X - 24)
BODY = DISTANCE < 20


def rings(radii):
    """Shells around a centre, brighter and darker by turns."""
    image = np.zeros(SHAPE)
    for number, radius in enumerate(radii):
        image[radius > DISTANCE] = (number % 2) * 1.5 - 0.7
    return image + RNG.normal(0, 0.02, SHAPE)


def test_inverted_contrast_agrees_as_well_as_equal_contrast():
    mri = rings([18, 12, 6])
    same, inverted = (edge_agreement(mri, sign * 500 * mri, BODY) for sign in (1, -1))
    assert same == pytest.approx(inverted, abs=1e-6)
    assert same == pytest.approx(1)


def test_another_anatomy_does_not_agree():
    mri = rings([18, 12, 6])
    moved = np.roll(300 * rings([15, 9, 3]), 5, axis=2)
    assert edge_agreement(mri, moved, BODY) < 0.5 * edge_agreement(mri, 300 * mri, BODY)


def test_what_lies_outside_the_body_does_not_count():
    mri = rings([18, 12, 6])
    noisy = np.where(BODY, mri, RNG.normal(0, 5, SHAPE))
    inner = DISTANCE < 14  # the smoothing reaches over the edge
    assert edge_agreement(mri, mri, inner) == pytest.approx(edge_agreement(mri, noisy, inner))


def test_a_flat_ct_has_no_edges():
    assert edge_agreement(rings([18, 12]), np.full(SHAPE, 40.0), BODY) == 0


def test_the_outline_of_a_ct_that_fills_the_body_agrees_and_that_of_a_smaller_one_less():
    spacing_mm = (3.0, 2.0, 2.0)
    full = np.where(BODY, 40.0, -1000.0)
    small = np.where(DISTANCE < 14, 40.0, -1000.0)
    assert outline_agreement(full, BODY, spacing_mm) > 0.98
    assert outline_agreement(small, BODY, spacing_mm) == pytest.approx(
        2 * 14**2 / (14**2 + 20**2), abs=0.04
    )
