"""Pairs of an MRI and its real CT: the grid, the compared voxels and the alignment."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclegan.inference.cycle import field_of_view
from cyclegan.metrics.paired_scores import dice
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.body_mask import body_mask
from mrct.imaging.geometry import canonical, resample, resample_mask
from mrct.imaging.hounsfield import AIR_HU, WINDOW_HU
from mrct.imaging.intensity import normalise
from mrct.imaging.registration import RigidTransform, register
from mrct.imaging.volume import Affine, Grid, Volume

AROUND_MM = 10.0
"""Margin around the body that a registration uses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """Result of the registration of a real CT to its MRI."""

    shift_mm: float
    """Displacement of the centre of the body."""
    angle_degrees: float
    outline_dice_before: float
    outline_dice_after: float
    applied: bool
    """False if the outlines would have agreed less than before; the CT was then not moved."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairedCt:
    """A real CT and the voxels where synthetic CTs of its MRI are compared with it."""

    mri: StoredVolume
    real: NDArray[np.int16] | NDArray[np.float32]
    """HU [z, y, x] within [-1024, 3071], z up."""
    scored: NDArray[np.bool_]
    """Voxels within `seen` where scores count: the mask given with the real CT, else its body, so
    that a wrong outline of the synthetic CT counts as an error."""
    seen: NDArray[np.bool_]
    """Voxels in the field of view of both scans."""
    spacing_mm: tuple[float, float, float]
    outline_dice: float
    """Dice of the two bodies within `seen`: low if the voxels do not show the same anatomy."""
    outline_dice_limit: float
    """Dice of the two bodies if one lay inside the other: no registration gives a higher one."""
    share_seen: float
    """Share of a body inside the field of view of the other scan; the lower of the two."""
    rigid: RigidTransform | None = None
    """Transform of the real CT onto the MRI; None if it was not moved."""
    grid: Grid | None = None
    """Grid of the source CT; None for the store's grid."""

    @property
    def affine(self) -> Affine:
        """Affine from voxel indices (x, y, z, 1) of `real` to RAS mm."""
        return self.mri.affine if self.grid is None else self.grid.affine

    def resample(self, synthetic: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a synthetic CT [z, y, x] from the store's grid to the grid of this pair."""
        if self.grid is None:
            return synthetic
        volume = Volume(
            voxels=synthetic,
            affine=transform_affine(self.mri.affine, self.rigid),
            modality="ct",
            pseudonym=self.mri.name,
        )
        return np.asarray(resample(volume, self.grid, fill=AIR_HU).voxels, np.float32)


def paired_ct_of(
    store: Store, mri: StoredVolume, *, rigid: RigidTransform | None = None
) -> PairedCt | None:
    """Return an MRI and its linked CT, moved by `rigid`, on the store's grid; None without a CT.

    Raises:
        StoreError: A volume differs from its commit record, or the two are on different grids.
    """
    ct = store.partner(mri)
    if ct is None:
        return None
    real, ct_view = store.voxels(ct), field_of_view(ct)
    ct_body, scored = store.body(ct).astype(bool), store.score_mask(ct).astype(bool)
    mri_body, mri_view = store.body(mri).astype(bool), field_of_view(mri)
    if rigid is not None:
        moved = rigid.moved(real, store.spacing_mm, fill=AIR_HU)
        real = np.rint(moved).clip(*WINDOW_HU).astype(np.int16)
        ct_body, scored, ct_view = (
            rigid.moved_mask(m, store.spacing_mm) for m in (ct_body, scored, ct_view)
        )
    seen = mri_view & ct_view
    return PairedCt(
        mri=mri,
        real=real,
        scored=scored & seen,
        seen=seen,
        spacing_mm=store.spacing_mm,
        outline_dice=outline_dice(mri_body, ct_body, seen),
        outline_dice_limit=outline_dice_limit(mri_body, ct_body, seen),
        share_seen=min(share_of(ct_body, mri_view), share_of(mri_body, ct_view)),
        rigid=rigid,
    )


def on_source_grid(pair: PairedCt, source: Volume, given_mask: Volume | None = None) -> PairedCt:
    """Return the pair on the grid of the CT's source file, whose voxels were never interpolated.

    Scores count in the mask given with the file, else in the body found on that grid; voxels inside
    the MRI's field of view and its stored slices are compared.
    """
    upright = canonical(source)
    low, high = (upright.voxels.dtype.type(hu) for hu in WINDOW_HU)
    real = upright.voxels.clip(low, high)
    if given_mask is None:
        scored = body_mask(real, "ct", spacing_mm=upright.spacing_mm)
    else:
        scored = resample_mask(given_mask.voxels > 0, given_mask.grid, upright.grid)
    stored = Grid(shape=pair.mri.shape, affine=transform_affine(pair.mri.affine, pair.rigid))
    seen = resample_mask(field_of_view(pair.mri), stored, upright.grid)
    return replace(
        pair,
        real=real,
        scored=scored & seen,
        seen=seen,
        spacing_mm=upright.spacing_mm,
        grid=upright.grid,
    )


def rigid_of(store: Store, mri: StoredVolume) -> RigidTransform:
    """Register the linked CT to the MRI, from the two scans alone."""
    ct = store.partner(mri)
    assert ct is not None, f"{mri.name} has no CT to register"
    images = normalise(store.voxels(mri).astype(np.float32), mri.window)
    body, view = store.body(mri).astype(bool), field_of_view(mri)
    # With a margin of air, so that the outline contributes too.
    around = ndimage.distance_transform_edt(~body, sampling=store.spacing_mm) < AROUND_MM
    return register(images, store.voxels(ct), around & view, spacing_mm=store.spacing_mm)


def registration(before: PairedCt, after: PairedCt) -> Registration:
    """Return the result of a registration, and whether it is applied."""
    assert after.rigid is not None
    return Registration(
        shift_mm=after.rigid.shift_mm,
        angle_degrees=after.rigid.angle_degrees,
        outline_dice_before=before.outline_dice,
        outline_dice_after=after.outline_dice,
        applied=after.outline_dice >= before.outline_dice,
    )


def transform_affine(affine: Affine, rigid: RigidTransform | None) -> Affine:
    """Return the affine of the MRI's grid in the CT's coordinates, moved by a registration."""
    if rigid is None:
        return affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    to_mm = np.diag([*spacing, 1.0])
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rigid.matrix, rigid.offset_mm
    moved: Affine = affine @ np.linalg.inv(to_mm) @ motion @ to_mm
    return moved


def outline_dice(mri: NDArray[np.bool_], ct: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """Return the Dice of two bodies within the field of view of both scans."""
    return dice(mri & seen, ct & seen)


def outline_dice_limit(
    mri: NDArray[np.bool_], ct: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> float:
    """Return the highest Dice that two bodies of these volumes can have."""
    volumes = int((mri & seen).sum()), int((ct & seen).sum())
    return 2 * min(volumes) / sum(volumes) if any(volumes) else 1.0


def share_of(body: NDArray[np.bool_], view: NDArray[np.bool_]) -> float:
    """Return the share of a body inside a field of view; 1 for an empty body."""
    return float((body & view).sum() / body.sum()) if body.any() else 1.0
