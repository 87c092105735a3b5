"""What each HU looks like is found from mixtures whose answer is known."""

import os
import subprocess
import sys

import numpy as np
import pytest

from cyclegan.contrast.likelihood import (
    BELL_WIDTHS,
    bells,
    expectation_maximisation,
    fit_likelihood,
    held_out_gain,
    shape_of,
)

NUM_POSITIONS, NUM_HU, NUM_MRI, VOXELS = 300, 24, 32, 2_000.0
LEVELS = np.linspace(0, 1, NUM_MRI)
MEANS = 0.45 - 0.25 * np.cos(np.linspace(0, 2 * np.pi, NUM_HU))
"""Of the bins of HU in order: rising and falling, as in T1; neighbours look alike."""


def bell(means: np.ndarray, width: float) -> np.ndarray:
    shape = np.exp(-0.5 * ((LEVELS - means[:, None]) / width) ** 2)
    return shape / shape.sum(axis=1, keepdims=True)


PRIOR = np.random.default_rng(0).dirichlet(np.full(NUM_HU, 0.1), NUM_POSITIONS)
"""Mostly one or two bins at a position."""
CT_VOXELS = np.full(NUM_POSITIONS, VOXELS)


def mixture(likelihood: np.ndarray) -> np.ndarray:
    """Voxels of MRIs by position and bin, if this is what each HU looks like."""
    counts: np.ndarray = VOXELS * PRIOR @ likelihood
    return counts


BELLS = bell(MEANS, 0.08)
TWO_HUMPS = (BELLS + bell(0.9 - MEANS, 0.05)) / 2


@pytest.mark.parametrize("truth", [BELLS, TWO_HUMPS], ids=["bells", "two humps"])
def test_a_free_shape_is_found_from_a_mixture(truth):
    found = expectation_maximisation(mixture(truth), CT_VOXELS, PRIOR, shape_of(None))

    assert found.sum(axis=1) == pytest.approx(1)
    assert found @ LEVELS == pytest.approx(truth @ LEVELS, abs=0.03)
    assert np.abs(found - truth).sum(axis=1).max() / 2 < 0.25  # total variation


def test_bells_are_found_from_a_mixture():
    found = expectation_maximisation(mixture(BELLS), CT_VOXELS, PRIOR, shape_of(0.08))

    assert found @ LEVELS == pytest.approx(BELLS @ LEVELS, abs=0.03)
    assert np.abs(found - BELLS).sum(axis=1).max() / 2 < 0.12


def test_a_bell_cannot_be_two_humps():
    found = expectation_maximisation(mixture(TWO_HUMPS), CT_VOXELS, PRIOR, shape_of(0.08))

    assert np.abs(found - TWO_HUMPS).sum(axis=1).max() / 2 > 0.4


@pytest.mark.parametrize("width", BELL_WIDTHS)
def test_held_out_mris_choose_the_width_of_the_bells(width):
    random = np.random.default_rng(1)
    folds = random.poisson(np.stack([mixture(bell(MEANS, width))] * 4)).astype(float)

    findings = fit_likelihood(folds, folds, CT_VOXELS, PRIOR).findings

    assert findings["bell_width"] == width
    assert findings["bell_gain_nats"] > 0.1


def test_what_is_held_out_does_not_shape_the_table_that_judges_it():
    folds = np.stack([mixture(BELLS)] * 4)
    folds[2] = mixture(bell(0.9 - MEANS, 0.08))  # of another contrast

    found = fit_likelihood(folds, folds, CT_VOXELS, PRIOR)

    assert found.held_out is not None
    off = np.abs(found.held_out @ LEVELS - MEANS).max(axis=1)
    assert off.argmin() == 2
    assert off[2] < 0.05


def test_of_one_mri_nothing_can_be_held_out():
    alone = mixture(BELLS)[None]

    found = fit_likelihood(alone, alone, CT_VOXELS, PRIOR)

    assert found.findings == {"bell_width": 0.1}
    assert found.held_out is None
    assert found.likelihood @ LEVELS == pytest.approx(BELLS @ LEVELS, abs=0.04)


def test_mris_that_follow_no_position_gain_nothing():
    alike = np.broadcast_to(BELLS.mean(axis=0) * VOXELS, (NUM_POSITIONS, NUM_MRI))

    gain = held_out_gain(BELLS, alike.sum(axis=0), alike, PRIOR)

    assert gain < 0


def test_a_bell_keeps_the_mean_of_what_is_expected():
    one_each = np.eye(NUM_MRI)[4:14] + 1e-12

    found = bells(one_each, 0.08)

    assert found.argmax(axis=1)[3:-3].tolist() == [7, 8, 9, 10]


SUM = """
import hashlib
import numpy as np
from cyclegan.contrast.likelihood import sum_over_positions
random = np.random.default_rng(0)
total = sum_over_positions(random.random((24, 7344)), random.random((7344, 32)))
print(hashlib.sha256(total.tobytes()).hexdigest())
"""


def test_threads_of_blas_change_no_bit_of_a_sum():
    found = {
        subprocess.run(
            [sys.executable, "-c", SUM],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in "12"
    }

    assert len(found) == 1
