"""A bank of normal noise that is cut by index, so that each sample has the same noise for good.

DALI's own noise follows one seed in the order of calls: it could not be resumed. Integers only, so
the bank has the same bits on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from cyclegan.data.philox import Stream, raw_bytes

LEVELS = 32
"""Steps of the bank in one standard deviation."""
PLACES = 2**20
"""Where a piece may begin: so many different pieces there are."""
_BYTES = 12
"""Summed for one number: their deviation, 256.0, is a power of two, and their reach 6 of them."""


class NoiseBank:
    """Standard normal noise in steps of 1 / LEVELS, within 3.97 deviations of 0."""

    def __init__(self, seed: int, piece: int) -> None:
        """For pieces of `piece` values each."""
        self._piece = piece
        words = raw_bytes(seed, Stream.MRI_NOISE, _BYTES * (PLACES + piece))
        sums = words.reshape(-1, _BYTES).sum(axis=1, dtype=np.int16) - _BYTES * 255 // 2
        self._values = np.clip((sums + 4) >> 3, -127, 127).astype(np.int8)

    def cut(self, places: NDArray[np.float64]) -> NDArray[np.int8]:
        """[N, piece]: the pieces that begin at `places`, in [0, 1)."""
        starts = (places * PLACES).astype(np.int64)
        return np.stack([self._values[start : start + self._piece] for start in starts])
