"""The real CT of an MRI's anatomy, and where the two can be compared."""

import numpy as np
from numpy.typing import NDArray

from data_prep.store.store import Store, StoredVolume
from mrct.imaging.geometry import reached
from mrct.imaging.volume import Grid


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
    source = Grid(shape=volume.source_shape, affine=volume.source_affine)
    return reached(source, Grid(shape=volume.shape, affine=volume.affine))
