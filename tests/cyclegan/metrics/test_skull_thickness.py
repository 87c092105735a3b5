"""A ring of known width is measured as such, at its own height."""

import numpy as np
import pytest

from cyclegan.metrics.skull_thickness import SkullRays, SkullThickness, thickness_mismatch_mm

SPACING_MM = (3.0, 1.0, 1.0)
SHAPE = (10, 120, 120)
HEIGHT = np.arange(10) / 9
Y, X = np.mgrid[:120, :120]
RADIUS = np.hypot(Y - 60, X - 58)
BODY = np.broadcast_to(RADIUS < 50, SHAPE)


def ring(width_mm: float) -> np.ndarray:
    """A head whose skull begins 6 mm below the skin."""
    bone = (RADIUS < 44) & (44 - width_mm < RADIUS)
    return np.broadcast_to(np.where(bone, 900.0, 40.0), SHAPE).copy()


def measured(hu: np.ndarray) -> SkullThickness:
    return SkullRays.of(BODY, HEIGHT, SPACING_MM).thickness(hu)


@pytest.mark.parametrize("width_mm", [5, 9])
def test_a_ring_is_as_thick_as_it_was_drawn(width_mm):
    found = measured(ring(width_mm))

    assert found.counts.sum() == 10 * 48
    # Half a voxel: linear between 40 and 900 HU, 250 HU lies outside the middle of the edge.
    assert found.mean_mm == pytest.approx([width_mm] * 10, abs=0.75)
    assert found.closed == [1] * 10


def test_two_rings_differ_by_the_difference_of_their_widths():
    assert thickness_mismatch_mm(measured(ring(9)), measured(ring(5))) == pytest.approx(4, abs=0.3)
    assert thickness_mismatch_mm(measured(ring(5)), measured(ring(5))) == 0


def test_an_opening_counts_at_its_height_alone():
    hu = ring(6)
    hu[7, :60] = 40  # the front half of a slice

    closed = measured(hu).closed

    assert closed[7] == pytest.approx(0.5, abs=0.05)
    assert [share for tenth, share in enumerate(closed) if tenth != 7] == [1] * 9


def test_deep_bone_is_no_skull():
    hu = ring(6)
    hu[:, RADIUS < 8] = 900

    assert measured(hu).mean_mm == measured(ring(6)).mean_mm


def test_voxels_that_are_wider_than_high_change_no_length():
    wide = SkullRays.of(BODY[:, :, ::2], HEIGHT, (3.0, 1.0, 2.0)).thickness(ring(6)[:, :, ::2])

    assert wide.mean_mm == pytest.approx(measured(ring(6)).mean_mm, abs=0.5)


def test_thicknesses_add_and_heights_without_body_are_unknown():
    low = SkullRays.of(BODY[:1], HEIGHT[:1], SPACING_MM).thickness(ring(5)[:1])
    high = SkullRays.of(BODY[9:], HEIGHT[9:], SPACING_MM).thickness(ring(5)[9:])

    both = low + high

    assert [value is not None for value in both.mean_mm] == [True] + [False] * 8 + [True]
    assert thickness_mismatch_mm(low, high) is None
    assert thickness_mismatch_mm(both, low) == 0


def test_a_ray_ends_at_the_middle():
    small = np.broadcast_to(RADIUS < 10, SHAPE)
    rays = SkullRays.of(small, HEIGHT, SPACING_MM)

    found = rays.thickness(np.where(small, 900.0, -1000.0))

    assert found.mean_mm == pytest.approx([10] * 10, abs=1)
