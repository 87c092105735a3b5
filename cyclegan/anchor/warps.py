"""Training CTs, warped onto an MRI through a synthetic CT of it, and how far each is trusted.

Through a synthetic CT the registration is one of two CTs: both sides have HU. Weights by local
likelihood choose among several CTs, as labels are fused by local similarity (Artaechevarria 2009,
IEEE TMI 28:1266), here that of the MRI with the HU that lie on it.

Axes: K CTs, Z slices, Y rows, X columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from cyclegan.anchor.donors import height_shift
from cyclegan.anchor.fusion import explained_nats, fused, local_weights
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import mri_bins
from cyclegan.errors import DataError
from data_prep.store.stored_volume import StoredVolume
from mrct.imaging.deformation import deform
from mrct.imaging.hounsfield import AIR_HU
from mrct.imaging.itk_image import Millimetres

Donor = tuple[StoredVolume, NDArray[np.int16], NDArray[np.bool_]]
"""A CT, its HU and its body mask."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Warps:
    """CTs on the grid of an MRI."""

    hu: Float[np.ndarray, "K Z Y X"]
    """HU; -1024 outside the MRI's body."""
    weight: Float[np.ndarray, "K Z Y X"]
    """`local_weights`."""
    nats: tuple[float, ...]
    """[K]: how well each explains the MRI, the mean of log P(m | h) over what its scan shows."""
    mismatch: tuple[float, ...]
    """[K]: share of both bodies that only one has, within what the CT's scan shows."""

    @property
    def fused(self) -> Float[np.ndarray, "Z Y X"]:
        """Their mean by weight."""
        return fused(self.hu, self.weight)


def warps_onto(
    mri: StoredVolume,
    voxels: NDArray[Any],
    body: NDArray[np.bool_],
    guess: NDArray[np.float32],
    table: ContrastTable,
    donors: Iterable[Donor],
    spacing_mm: Millimetres,
) -> Warps:
    """Warp CTs onto an MRI.

    Args:
        mri: The MRI.
        voxels: Its voxels [z, y, x].
        body: Its body mask [z, y, x].
        guess: A synthetic CT of it in HU [z, y, x], which the CTs are registered to.
        table: Contrast table of the cohort, which says how likely an MRI value is where a CT has
            some HU.
        donors: The CTs, read one after the other.
        spacing_mm: Voxel size (z, y, x) of all of them.

    Raises:
        DataError: The MRI has no body, or half of it is background, or a CT cannot be registered.
    """
    if not body.any():
        raise DataError(f"{mri.name} has no voxel inside its body mask. Leave it out.")
    values = mri_bins(voxels[body])
    hu, seen, nats, mismatch = [], [], [], []
    for ct, ct_hu, ct_body in donors:
        try:
            found = deform(
                ct_hu,
                ct_body,
                guess,
                body,
                spacing_mm=spacing_mm,
                shift_mm=_start_mm(mri, ct, body, ct_body, spacing_mm),
            )
        except RuntimeError as error:  # ITK's own
            raise DataError(
                f"{ct.name} could not be registered to the synthetic CT of {mri.name} "
                f"({str(error).splitlines()[-1].strip()}). Look at both: python -m data_prep "
                "describe STORE --picture FILE"
            ) from error
        explained = explained_nats(found.hu, body, values, table.likelihood)
        hu.append(np.where(body, found.hu, AIR_HU).astype(np.float32))
        seen.append(found.seen)
        nats.append((explained, _mean(explained[found.seen[body]])))
        either = (found.body | body) & found.seen
        mismatch.append(_mean((found.body ^ body)[either]))
    return Warps(
        hu=np.stack(hu),
        weight=local_weights(np.stack([each for each, _ in nats]), np.stack(seen), body),
        nats=tuple(mean for _, mean in nats),
        mismatch=tuple(mismatch),
    )


def _start_mm(
    mri: StoredVolume,
    ct: StoredVolume,
    body: NDArray[np.bool_],
    ct_body: NDArray[np.bool_],
    spacing_mm: Millimetres,
) -> Millimetres:
    """Return the shift with which a registration starts: equal heights, and equal middles."""
    dz, dy, dx = spacing_mm
    (_, own_y, own_x), (_, y, x) = (np.argwhere(each).mean(axis=0) for each in (body, ct_body))
    return height_shift(mri, ct) * dz, float(y - own_y) * dy, float(x - own_x) * dx


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else 0.0
