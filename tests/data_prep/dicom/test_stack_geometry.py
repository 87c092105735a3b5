"""Geometry of slices: order, gaps and tilt come from positions alone, and are told in mm."""

import numpy as np
import pytest

from data_prep.dicom.stack_geometry import stack_slices

PIXEL_MM = (0.5, 0.7)
TURN = np.deg2rad(20)
OBLIQUE = np.array([np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN), np.cos(TURN), 0])


def stack_at(heights, *, aside=0.0, orientation=OBLIQUE, order=None):
    """Slices at these heights, each moved `aside` mm per mm along the column direction."""
    heights = np.asarray(heights, dtype=np.float64)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.outer(heights, normal) + np.outer(heights * aside, orientation[3:])
    moved = positions + np.array([10, -20, 30])
    return stack_slices(moved[order if order else slice(None)], orientation, PIXEL_MM)


def codes(stack):
    return [fault.code for fault in stack.faults()]


def test_slices_are_sorted_by_position_in_whatever_order_they_come():
    stack = stack_at([0, 3, 6, 9, 12], order=[3, 0, 4, 1, 2])

    assert stack.places == ((1,), (3,), (4,), (0,), (2,))
    assert codes(stack) == []


def test_the_affine_takes_indices_to_ras():
    stack = stack_at([0, 3, 6])
    place = stack.affine @ [2, 5, 1, 1]  # x, y, z

    row, column = OBLIQUE[:3], OBLIQUE[3:]
    lps = np.array([10, -20, 30]) + 2 * 0.7 * row + 5 * 0.5 * column + 3 * np.array([0, 0, 1])
    np.testing.assert_allclose(place[:3], lps * [-1, -1, 1], atol=1e-9)


@pytest.mark.parametrize("gaps", [(5, 5, 10, 5), (5, 10, 5, 15, 5, 5)])
def test_missing_slices_are_counted_and_their_places_told(gaps):
    heights = np.cumsum((0, *gaps))
    expected = sorted(set(np.arange(0, heights[-1], 5)) - set(heights))

    fault = stack_at(heights).faults()[0]

    assert fault.code == "slice-missing"
    assert fault.reason.startswith(f"{len(expected)} slice(s) missing")
    shift = np.array([10, -20, 30]) @ [0, 0, 1]
    for height in expected:
        assert f"{height + shift:g}" in fault.reason


@pytest.mark.parametrize(
    ("heights", "found"),
    [
        ((0, 3, 6, 9.2, 12, 15), ["irregular-spacing"]),
        ((0, 3, 6, 10.5, 15, 19.5), ["irregular-spacing"]),
        ((0, 3, 6, 9.02, 12, 15), []),  # 0.7 % of the spacing off its place
        ((0, 0.5, 1.01, 1.5, 2.0), []),  # rounded to 0.01 mm when written
        ((0, 3), ["too-few-slices"]),
        ((0,), ["too-few-slices"]),
        ((0, 0, 0, 0), ["too-few-slices"]),
        ((0, 3, 6, 6, 9), []),  # doubles are for pixels to judge
    ],
)
def test_spacing_is_regular_within_one_percent(heights, found):
    assert codes(stack_at(heights)) == found


@pytest.mark.parametrize("degrees", [-20, -1, 0.05, 1, 18.5])
def test_a_tilt_is_found_from_positions_to_a_tenth_of_a_degree(degrees):
    stack = stack_at([0, 3, 6, 9], aside=np.tan(np.deg2rad(degrees)))

    assert stack.tilt_degrees == pytest.approx(abs(degrees), abs=1e-6)
    assert codes(stack) == (["gantry-tilt"] if abs(degrees) > 0.5 else [])


def test_a_slice_aside_of_the_others_is_found():
    positions = np.outer([0, 3, 6, 9, 12], [0, 0, 1.0])
    positions[2, 0] = 4

    stack = stack_slices(positions, np.array([1, 0, 0, 0, 1, 0.0]), PIXEL_MM)

    assert codes(stack) == ["slices-shifted"]


def test_uneven_slices_of_a_linear_ramp_are_interpolated_exactly():
    heights = np.array([0, 2, 4, 7, 8, 10.0])
    stack = stack_at(heights, aside=0.3)
    ramp = np.broadcast_to(heights[:, None, None], (6, 2, 3)).astype(np.float32)

    even, affine = stack.even(ramp)

    np.testing.assert_allclose(even[:, 0, 0], [0, 2, 4, 6, 8, 10], rtol=1e-6)
    last = (affine @ [0, 0, 5, 1])[:3]
    np.testing.assert_allclose(last, stack.positions[-1] * [-1, -1, 1], atol=1e-9)
