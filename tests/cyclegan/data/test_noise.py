"""The noise bank: normal, the same for good, and another piece for each place."""

import hashlib

import numpy as np
from scipy import stats

from cyclegan.data.augmentation import LEVELS, NUM_OFFSETS, NoiseBank

PIECE = 64 * 48


def test_the_noise_is_normal() -> None:
    values = NoiseBank(0, PIECE).cut(np.arange(0, 1, 0.02)).ravel() / LEVELS

    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    # The sum of twelve bytes is a little short in the tails: 0.4 % of a deviation at the quantiles.
    quantiles = np.array([0.01, 0.1, 0.25, 0.75, 0.9, 0.99])
    expected = stats.norm.ppf(quantiles)
    np.testing.assert_allclose(np.quantile(values, quantiles), expected, atol=2 / LEVELS)


def test_neighbouring_values_have_nothing_in_common() -> None:
    (piece,) = NoiseBank(0, 200_000).cut(np.array([0.3])).astype(float)

    for lag in (1, 48, 64):
        assert abs(np.corrcoef(piece[:-lag], piece[lag:])[0, 1]) < 0.01  # four deviations


def test_a_place_has_its_piece_for_good_and_a_seed_its_bank() -> None:
    places = np.array([0.0, 0.25, 1 - 2**-53])

    pieces = NoiseBank(7, PIECE).cut(places)

    np.testing.assert_array_equal(pieces, NoiseBank(7, PIECE).cut(places))
    assert len({piece.tobytes() for piece in pieces}) == 3
    assert not np.array_equal(pieces, NoiseBank(8, PIECE).cut(places))
    # The bits themselves are a promise: a run that is resumed elsewhere meets them again.
    assert hashlib.sha256(pieces.tobytes()).hexdigest()[:16] == "b40e9dbe02795814"
    assert NUM_OFFSETS > 1_000_000
