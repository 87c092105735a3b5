"""The background of an MRI is found in any unit, and missed where there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrct.imaging.background import background_level

RANDOM = np.random.default_rng(0)
SHAPE = (12, 40, 40)
INSIDE = np.hypot(*(np.indices(SHAPE)[1:] - 19.5)) < 13


def rician(signal: np.ndarray, sigma: float = 20) -> np.ndarray:
    real, imaginary = RANDOM.normal(0, sigma, (2, *signal.shape))
    return np.hypot(signal + real, imaginary)


TISSUE = RANDOM.choice([150, 400, 450, 900], SHAPE)
NOISY = rician(np.where(INSIDE, TISSUE, 0))
MASKED = np.where(INSIDE, NOISY, 0)
BRAIN = 500 + 100 * RANDOM.standard_normal(SHAPE)
HEADS = {"noise in air": NOISY, "air set to 0": MASKED, "little air": NOISY[:, 6:34, 6:34]}
WITHOUT = {
    "a crop of tissue": BRAIN,
    "standardised in a mask, 0 outside": np.where(INSIDE, (BRAIN - 500) / 100, 0),
    "a phase image": RANDOM.uniform(-np.pi, np.pi, SHAPE),
    "a phase image of 40 angles": np.arange(40) * 997 % 40 / 40 + np.zeros(SHAPE),
    "ranks instead of values": RANDOM.permutation(NOISY.size).reshape(SHAPE) / NOISY.size,
}


@pytest.mark.parametrize("what", HEADS)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e6, 1e6))
def test_the_level_follows_any_scale_and_shift(what, scale, shift):
    magnitudes = HEADS[what]
    level = background_level(magnitudes)
    assert 0 <= level < 5  # of noise whose mode is 20

    moved = background_level(scale * (magnitudes + shift))

    assert moved == pytest.approx(scale * (level + shift), rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("what", WITHOUT)
@pytest.mark.parametrize("scale", [1e-3, 1, 100])
def test_without_air_as_the_darkest_mode_there_is_no_level(what, scale):
    assert background_level(scale * (WITHOUT[what] - 7)) is None


def test_an_overflow_and_ringing_do_not_move_it():
    spoilt = NOISY.copy()
    spoilt[0, 0, :10] = -32768
    spoilt[1, 0, :10] = 32767

    assert background_level(spoilt) == pytest.approx(background_level(NOISY), abs=1)


def test_a_single_bright_voxel_has_its_0_and_few_grey_levels_have_theirs():
    one = np.zeros(SHAPE)
    one[3, 3, 3] = 9
    assert background_level(one) == 0
    assert background_level(np.where(INSIDE, TISSUE // 100, 0)) == 0
    assert background_level(np.where(INSIDE, TISSUE // 100, 0) - 3) == -3
