"""The term that looks at the patient: how likely an MRI is, given the HU of a synthetic CT."""

import numpy as np
import pytest

from benchmarks.patient_terms import correlation, print_correlations, score, share_of_gain
from cyclegan.atlas.positions import NUM_POSITIONS
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import NUM_HU_BINS, hu_bins, mri_bins
from cyclegan.nets.guide import NUM_MRI_BINS

SHAPE = (4, 20, 20)
BODY, HEIGHT = np.ones(SHAPE, np.uint8), np.linspace(0, 1, 4)
SOFT_HU, BONE_HU = 30.0, 1000.0
BONE = np.random.default_rng(0).random(SHAPE) < 0.25
MRI = np.where(BONE, 100.0, 400.0)
CT = np.where(BONE, BONE_HU, SOFT_HU)


@pytest.fixture
def table() -> ContrastTable:
    """One to which soft tissue and bone have one value each, a quarter of all voxels being bone."""
    looks = np.full((NUM_HU_BINS, NUM_MRI_BINS), 1 / NUM_MRI_BINS)
    prior = np.zeros((NUM_POSITIONS, NUM_HU_BINS), np.float32)
    values = mri_bins(MRI[BODY > 0])
    for hu, share, voxels in ((SOFT_HU, 0.75, ~BONE), (BONE_HU, 0.25, BONE)):
        (at,) = hu_bins(np.array([hu]))
        looks[at] = np.eye(NUM_MRI_BINS)[values[voxels.ravel()][0]]
        prior[:, at] = share
    return ContrastTable(
        prior=prior,
        likelihood=looks,
        bin_hu=np.zeros(NUM_HU_BINS, np.float32),
        affinities=np.zeros((3, NUM_HU_BINS, NUM_HU_BINS), np.float32),
        histogram=np.ones(NUM_MRI_BINS),
        spacing_yx_mm=(2.0, 2.0),
        findings={},
    )


def test_a_true_ct_gains_all_that_is_expected_of_one(table):
    assert share_of_gain(table, MRI, BODY, HEIGHT, CT) == pytest.approx(1, abs=0.05)


def test_the_average_and_somebody_elses_ct_gain_less_than_nothing(table):
    average = np.full(SHAPE, CT.mean())
    other = np.random.default_rng(1).permutation(CT.ravel()).reshape(SHAPE)

    for wrong in (average, other, CT[::-1]):
        assert share_of_gain(table, MRI, BODY, HEIGHT, wrong) < 0


def test_the_gain_counts_voxels_of_the_body_alone(table):
    body = BODY.copy()
    body[:, :3] = 0
    wrong_outside = np.where(body > 0, CT, -CT)

    assert share_of_gain(table, MRI, body, HEIGHT, wrong_outside) == share_of_gain(
        table, MRI, body, HEIGHT, CT
    )


def test_the_term_turns_an_order_that_populations_have_wrong(capsys):
    found = [
        {
            "cohort": "frozen",
            "method": f"method {better}",
            "mae_hu": 150.0 - 25 * better,
            "bone_dice": 0.7 + 0.05 * better,
            "bone": 0.1 + 0.03 * better,
            "values": 0.2,
            "gain": 0.4 * better,
        }
        for better in range(3)
    ]

    for truth in ("mae_hu", "bone_dice"):
        for weight, expected in ((0.0, -1), (0.2, 1)):
            scores = [score(row, weight) for row in found]
            assert correlation(found, scores, truth) == pytest.approx(expected)

    print_correlations(found)
    printed = capsys.readouterr().out
    assert "| 0 | -1.00 | -1.00 | -1.00 | -1.00 |" in printed
    assert "| 0.2 | 1.00 | 1.00 | 1.00 | 1.00 |" in printed
