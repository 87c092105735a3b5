"""Which training CTs are warped onto each training MRI."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.store.stored_volume import StoredVolume

COVERED_STEPS = 20
"""A CT's share of an MRI's heights counts in such steps: what is nearly equal is equal."""


def donors_of(
    number: int, mri: StoredVolume, cts: Sequence[StoredVolume], most: int
) -> list[StoredVolume]:
    """Return the CTs for an MRI: of other people, and of the same range of heights.

    Those that show more of the MRI's body come first. Among equal ones each MRI begins with another
    CT, so that all of them are used about equally often.

    Args:
        number: The MRI's number among those that CTs are warped onto.
        mri: The MRI.
        cts: The CTs of the train split, in the store's order.
        most: Largest number of CTs.
    """
    start = number % max(1, len(cts))
    others = [ct for ct in [*cts[start:], *cts[:start]] if ct.subject != mri.subject]
    covered = {ct.name: round(COVERED_STEPS * covered_share(mri, ct)) for ct in others}
    usable = [ct for ct in others if covered[ct.name]]
    return sorted(usable, key=lambda ct: -covered[ct.name])[:most]


def covered_share(mri: StoredVolume, ct: StoredVolume) -> float:
    """Return the share of an MRI's slices with body at whose height a CT has a slice with body."""
    heights = [_heights(volume)[_with_body(volume)] for volume in (mri, ct)]
    if not all(map(len, heights)):
        return 0.0
    own, other = heights
    half = abs(np.diff(_heights(ct)).mean()) / 2 if ct.shape[0] > 1 else 0.0
    inside = (own >= other.min() - half) & (own <= other.max() + half)
    return float(inside.mean())


def height_shift(mri: StoredVolume, ct: StoredVolume) -> float:
    """Return by how many slices to move up in the CT to be at the height of the MRI's slices.

    It is that of the middle of the MRI's body.
    """
    shown = np.flatnonzero(_with_body(mri))
    middle = float(shown.mean()) if len(shown) else (mri.shape[0] - 1) / 2
    height = (middle - mri.lowest) / _length(mri)
    return ct.lowest + height * _length(ct) - middle


def _heights(volume: StoredVolume) -> NDArray[Any]:
    """Return the height of each slice [z], below 0 and above 1 too."""
    return (np.arange(volume.shape[0]) - volume.lowest) / _length(volume)


def _length(volume: StoredVolume) -> float:
    return max(volume.highest - volume.lowest, 1e-6)


def _with_body(volume: StoredVolume) -> NDArray[Any]:
    return np.asarray(volume.body_fraction > 0)
