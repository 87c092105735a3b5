"""What is known of the patient, in cases where the answer is known."""

import numpy as np
import pytest

from cyclegan.atlas.patient_scores import patient_scores

RNG = np.random.default_rng(4)
BODY = np.ones((6, 20, 20), bool)
ATLAS = np.broadcast_to(np.linspace(-90, 900, 20), BODY.shape)
OWN = RNG.normal(0, 100, BODY.shape)
REAL = ATLAS + OWN


def scores(synthetic: np.ndarray, mean: np.ndarray = ATLAS) -> dict[str, float]:
    return patient_scores(synthetic, REAL, BODY, mean=mean, median=ATLAS)


def test_the_real_ct_itself_is_perfect():
    assert scores(REAL) == pytest.approx({"skill": 1, "patient_r": 1})


def test_the_atlas_has_no_skill_and_no_correlation():
    assert scores(ATLAS) == {"skill": 0}


def test_half_of_the_own_difference_is_half_the_error_and_fully_correlated():
    assert scores(ATLAS + OWN / 2) == pytest.approx({"skill": 0.5, "patient_r": 1})


def test_another_patient_is_worse_than_the_atlas_and_uncorrelated():
    found = scores(ATLAS + RNG.normal(0, 100, BODY.shape))

    assert found["skill"] == pytest.approx(1 - np.sqrt(2), abs=0.05)
    assert found["patient_r"] == pytest.approx(0, abs=0.05)


def test_the_opposite_is_correlated_negatively():
    assert scores(ATLAS - OWN)["patient_r"] == pytest.approx(-1)


def test_voxels_that_the_atlas_calls_air_outside_count_for_skill_alone():
    mean = ATLAS.copy()
    mean[:, :5] = -1024
    synthetic = REAL.copy()
    synthetic[:, :5] = -1024

    found = scores(synthetic, mean)

    assert found["patient_r"] == pytest.approx(1)
    assert found["skill"] < 0
