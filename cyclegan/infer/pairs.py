"""The real CT of an MRI's anatomy, and where the two can be compared."""

import numpy as np
from numpy.typing import NDArray

from data_prep.store import Store, StoredVolume


def linked_ct(
    store: Store, mri: StoredVolume
) -> tuple[NDArray[np.int16], NDArray[np.bool_]] | None:
    """HU [z, y, x] of the linked CT and the mask to compare over; None where there is no such CT.

    The mask is the CT's own body, so that a wrong outline counts as an error, within the MRI's
    field of view: where nothing was scanned nothing can be translated.
    """
    ct = store.partner(mri)
    if ct is None:
        return None
    return store.voxels(ct), store.body(ct).astype(bool) & field_of_view(mri)


def field_of_view(volume: StoredVolume) -> NDArray[np.bool_]:
    """Which stored voxels [z, y, x] have their centre inside the volume's own file."""
    to_source = np.linalg.inv(volume.source_affine) @ volume.affine
    z, y, x = np.ogrid[tuple(slice(size) for size in volume.shape)]
    inside = np.ones(volume.shape, bool)
    # Affines and their rows go (x, y, z), shapes (z, y, x).
    for (by_x, by_y, by_z, start), size in zip(to_source, volume.source_shape[::-1], strict=False):
        index = by_x * x + by_y * y + by_z * z + start
        # A voxel reaches half a voxel around its centre; the rest is for rounding.
        inside &= (index >= -0.501) & (index <= size - 0.499)
    return inside
