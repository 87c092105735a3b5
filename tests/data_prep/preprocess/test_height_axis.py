"""Scans of unlike fields of view find their place on one axis by their outlines."""

import numpy as np
import pytest

from data_prep.preprocess.axis_fit import (
    FEWEST_ALIGNED,
    MOST_FITTED,
    fit_axis,
    scans_to_fit,
)
from data_prep.preprocess.height_axis import (
    IN_EACH_FIELD_OF_VIEW,
    WORST_MISFIT_MM,
    HeightAxis,
    Placement,
    outline_of,
    sizes_by_mm,
)
from mrct.errors import UsageError
from tests.support.round_heads import COLUMNS_MM, MIDDLE_MM, ROWS_MM, SPACING_MM, round_head

CUTS = [(0, 0), (45, 0), (20, 30), (33, 12), (5, 27), (0, 18)]
SIZES = [1, 0.96, 1.04, 0.98, 1.02, 1]


def scan(body: np.ndarray) -> np.ndarray:
    return sizes_by_mm(outline_of(body), SPACING_MM)


BODIES = [round_head(size, *cut) for size, cut in zip(SIZES, CUTS, strict=True)]
AXIS = fit_axis([scan(body) for body in BODIES])


def place(body: np.ndarray) -> Placement:
    return AXIS.place(outline_of(body), SPACING_MM)


def below_mm(body: np.ndarray) -> float:
    """How much of the axis lies below a scan."""
    return -place(body).lowest * SPACING_MM[0]


def test_an_outline_counts_voxels_rows_and_columns():
    body = np.zeros((2, 10, 10))
    body[1, 2:5, 4:8] = 1

    found = outline_of(body)

    np.testing.assert_array_equal(found, [[0, 0, 0], [12, 3, 4]])
    sizes = sizes_by_mm(found, (2.0, 2.0, 1.5))
    np.testing.assert_allclose(sizes, [[0, 0, 0], [3, 3, 3], [6, 6, 6]])


def test_what_is_cut_above_and_below_is_found_to_a_few_mm():
    """By where the middles of the heads, of unlike sizes, come to lie."""
    middles = [
        below_mm(body) + MIDDLE_MM * size - below
        for body, size, (_, below) in zip(BODIES, SIZES, CUTS, strict=True)
    ]

    assert np.abs(middles - np.median(middles)).max() <= 5, middles


def test_an_appended_scan_is_placed_where_it_lies():
    new = round_head(1, 40, 24)

    assert abs(below_mm(new) - below_mm(BODIES[0]) - 24) <= 6
    assert place(new).misfit_mm < WORST_MISFIT_MM


def test_equal_slices_of_cut_and_whole_scans_have_equal_heights():
    whole, cut = round_head(1), round_head(1, 30, 15)

    heights = place(whole).heights(len(whole))[5:-10], place(cut).heights(len(cut))

    assert np.abs(heights[0] - heights[1]).max() * AXIS.high_mm <= 3


def test_heights_rise_from_0_to_1_over_the_axis_and_are_clipped_beyond():
    heights = Placement(lowest=-1.5, highest=2.5).heights(5)

    np.testing.assert_allclose(heights, [0.375, 0.625, 0.875, 1, 1])
    whole = place(BODIES[0])
    assert whole.heights(70)[0] < 0.03
    assert whole.heights(70)[-1] == 1


def test_without_an_axis_heights_are_those_in_the_field_of_view():
    body = np.zeros((9, 4, 4))
    body[2:8] = 1

    found = IN_EACH_FIELD_OF_VIEW.place(outline_of(body), SPACING_MM)

    assert found == Placement(lowest=2, highest=7)
    np.testing.assert_array_equal(found.heights(9)[[0, 2, 7, 8]], [0, 0, 1, 1])


def test_another_part_of_the_body_does_not_fit():
    thigh = np.broadcast_to(np.hypot(COLUMNS_MM, ROWS_MM) < 30, (40, 64, 64))

    assert place(thigh).misfit_mm > WORST_MISFIT_MM


def test_a_scan_that_lies_beyond_the_axis_keeps_its_own_field_of_view():
    trunk = np.ones((400, 64, 64), bool)

    found = place(trunk)

    assert found.misfit_mm == np.inf
    assert (found.lowest, found.highest) == (0, 399)


def test_one_scan_of_another_part_leaves_the_others_as_they_are():
    trunk = np.ones((400, 64, 64), bool)

    axis = fit_axis([scan(body) for body in [*BODIES[:3], trunk, *BODIES[3:]]])

    assert axis.sizes_mm
    found = [axis.place(outline_of(body), SPACING_MM).lowest for body in BODIES]
    expected = [place(body).lowest for body in BODIES]
    assert np.ptp(np.subtract(found, expected)) <= 2


def test_a_scan_at_the_end_of_a_longer_axis_is_placed_there():
    trunk = np.broadcast_to(np.hypot(COLUMNS_MM, ROWS_MM) < 120, (120, 64, 64))
    bodies = [np.concatenate([trunk, round_head(size)]) for size in SIZES]

    axis = fit_axis([*map(scan, bodies), *(scan(round_head(1, 20, 0)) for _ in SIZES)])

    assert axis.sizes_mm
    found = axis.place(outline_of(round_head(1, 30, 0)), SPACING_MM)
    below = axis.place(outline_of(bodies[0]), SPACING_MM)
    assert below.lowest - found.lowest == pytest.approx(len(trunk), abs=3)


@pytest.mark.parametrize("count", [0, 1, FEWEST_ALIGNED - 1])
def test_too_few_scans_have_no_common_axis_and_it_is_said(count):
    axis = fit_axis([scan(body) for body in BODIES[:count]])

    assert not axis.sizes_mm
    assert axis.fallback.startswith(f"{count} training volumes are too few")


def test_outlines_that_do_not_change_along_the_body_have_no_common_axis_and_it_is_said():
    around = np.hypot(COLUMNS_MM, ROWS_MM)
    thighs = [
        np.broadcast_to(around < radius, (depth, 64, 64))
        for radius, depth in ((60, 60), (62, 50), (58, 55), (64, 60), (61, 45))
    ]

    axis = fit_axis([scan(body) for body in thighs])

    assert not axis.sizes_mm
    assert "do not tell where each lies along the body" in axis.fallback


def test_no_end_of_the_axis_is_the_outline_of_one_person():
    low = round_head(1, 0, -60)  # reaches 60 mm farther down than all others

    axis = fit_axis([scan(body) for body in [*BODIES, low]])

    assert abs(axis.high_mm - AXIS.high_mm) <= 6
    assert len(axis.sizes_mm) <= len(AXIS.sizes_mm) + 6


def test_no_end_of_the_axis_is_the_outline_of_one_person_scanned_twice():
    low = [scan(round_head(size, 0, -60)) for size in (1, 1.01)]
    scans = [*map(scan, BODIES), *low]

    axis = fit_axis(scans, [*"abcdef", "g", "g"])

    assert abs(axis.high_mm - AXIS.high_mm) <= 6
    assert fit_axis(scans).high_mm > axis.high_mm + 40
    assert not fit_axis(scans, ["a"] * len(scans)).sizes_mm


def test_of_many_scans_enough_are_chosen_evenly():
    assert scans_to_fit(3) == [0, 1, 2]
    chosen = scans_to_fit(10_000)
    assert len(chosen) == MOST_FITTED
    assert (chosen[0], chosen[-1]) == (0, 9_999)


def test_the_hash_tells_axes_apart():
    assert AXIS.sha256 == HeightAxis(**{n: getattr(AXIS, n) for n in AXIS.__slots__}).sha256
    assert AXIS.sha256 != IN_EACH_FIELD_OF_VIEW.sha256


@pytest.mark.parametrize(
    "values",
    [
        {"sizes_mm": ((1.0, 1.0, float("nan")),) * 9, "high_mm": 8.0},
        {"sizes_mm": ((1.0, 1.0, -1.0),) * 9, "high_mm": 8.0},
        {"sizes_mm": ((1.0, 1.0, 1.0),) * 9, "high_mm": 10.0},
        {"sizes_mm": ((1.0, 1.0, 1.0),) * 9, "low_mm": 5.0, "high_mm": 5.0},
        {"sizes_mm": ((1.0, 1.0, 1.0),) * 10_000, "high_mm": 9.0},
        {"sizes_mm": ((1.0, 1.0),) * 9, "high_mm": 8.0},
        {"volumes": "many"},
    ],
)
def test_an_axis_that_cannot_be_is_refused(values):
    with pytest.raises(UsageError, match="axis of heights"):
        HeightAxis(**values)
