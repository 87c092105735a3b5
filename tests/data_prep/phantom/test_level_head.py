"""The second generator makes heads too, and none of the first one's."""

import numpy as np
import pytest

from data_prep.phantom.level_head import (
    LevelHead,
    LevelPerson,
    Material,
    make_level_head,
    radial,
)
from data_prep.phantom.level_scanner import inversion_recovery, scan_level_ct, scan_level_mri
from mrct.imaging.volume import Grid
from tests.support.heads import SPACING_MM, rng


@pytest.fixture(scope="module")
def level_head() -> LevelHead:
    return make_level_head(LevelPerson.draw(rng(3)), spacing_mm=SPACING_MM)


@pytest.fixture(scope="module")
def level_grid(level_head) -> Grid:
    return Grid(shape=level_head.fractions.shape[1:], affine=level_head.affine)


def test_every_voxel_is_filled_once_and_the_same_person_is_the_same_head(level_head):
    again = make_level_head(LevelPerson.draw(rng(3)), spacing_mm=SPACING_MM)

    np.testing.assert_allclose(level_head.fractions.sum(0), 1, atol=1e-5)
    assert level_head.fractions.min() >= 0
    np.testing.assert_array_equal(again.fractions, level_head.fractions)


@pytest.mark.parametrize(
    ("material", "low_ml", "high_ml"),
    [
        (Material.CORTEX, 400, 1000),
        (Material.WHITE, 250, 800),
        (Material.FLUID, 100, 500),
        (Material.COMPACT, 200, 900),
        (Material.SPONGY, 60, 600),
        (Material.LIPID, 200, 2000),
        (Material.MUSCLE, 150, 1500),
    ],
)
def test_volumes_are_of_the_order_of_an_adult_s(level_head, material, low_ml, high_ml):
    assert low_ml < level_head.fractions[material].sum() * SPACING_MM**3 / 1000 < high_ml


def test_the_brain_lies_in_a_closed_skull(level_head):
    """Nothing of the brain touches scalp, fat or outer air."""
    brain = level_head.fractions[[Material.CORTEX, Material.WHITE]].sum(0) > 0.5
    outer = level_head.fractions[[Material.SKIN, Material.LIPID, Material.AIR]].sum(0) > 0.9
    low = int((-20 - level_head.affine[2, 3]) / SPACING_MM)
    for axis in range(3):
        for step in (1, -1):
            beside = np.roll(outer, step, axis) & brain
            assert beside[low + 8 :].sum() == 0


def test_a_superellipsoid_of_exponent_2_is_a_ball_where_radii_agree():
    points = tuple(np.random.default_rng(0).normal(0, 40, (3, 500)).astype(np.float32))

    found = radial(points, (1, 2, 3), (30, 30, 30))

    expected = np.linalg.norm(np.array(points) - np.array([[1], [2], [3]]), axis=0) - 30
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_inversion_nulls_what_recovers_at_ti():
    t1_ms = 900 / np.log(2)

    assert inversion_recovery(np.array([t1_ms]), tr_ms=1e6, ti_ms=900) == pytest.approx(0, abs=1e-9)
    assert inversion_recovery(np.array([1e-3]), tr_ms=2000, ti_ms=900) == pytest.approx(1)


def test_the_mri_is_t1_weighted_and_dark_in_bone_fluid_and_air(level_head, level_grid):
    mri = scan_level_mri(level_head, level_grid, rng(1))

    def median(material, above=0.95):
        return np.median(mri[level_head.fractions[material] > above])

    assert median(Material.LIPID) > median(Material.WHITE) > median(Material.CORTEX)
    assert max(median(Material.COMPACT, 0.8), median(Material.FLUID)) < 0.5 * median(Material.WHITE)


def test_the_ct_has_published_numbers_and_bone_of_many_densities(level_head, level_grid):
    ct = scan_level_ct(level_head, level_grid, rng(1))

    for material, low, high in (
        (Material.AIR, -1010, -990),
        (Material.LIPID, -115, -85),
        (Material.WHITE, 20, 40),
        (Material.COMPACT, 900, 1600),
    ):
        assert low < np.median(ct[level_head.fractions[material] > 0.9]) < high
    assert ct[level_head.fractions[Material.COMPACT] > 0.97].std() > 100
