"""An MRI's synthetic CTs beside the real CT: on which grid, over which voxels, how well aligned.

It knows stored volumes and source files, no network and no score but the outlines' Dice.
"""

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
from mrct.imaging.registration import Rigid, registered
from mrct.imaging.volume import Affine, Grid, Volume

AROUND_MM = 10.0
"""How far around the body a registration looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """What was found, and done, to bring a real CT onto its MRI."""

    shift_mm: float
    """How far the middle of the body was moved."""
    angle_degrees: float
    outline_dice_before: float
    outline_dice_after: float
    applied: bool
    """False where the outlines would have agreed less than before: then the CT was left alone."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pair:
    """A real CT and where synthetic CTs of its MRI can be compared with it."""

    mri: StoredVolume
    real: NDArray[np.int16] | NDArray[np.float32]
    """HU [z, y, x] within [-1024, 3071], z up."""
    body: NDArray[np.bool_]
    """The real CT's own body, where both scans saw it: a wrong outline counts as an error."""
    seen: NDArray[np.bool_]
    """What lies in the field of view of both."""
    spacing_mm: tuple[float, float, float]
    outline_dice: float
    """Of the two bodies within `seen`: whether the voxels show the same place."""
    share_seen: float
    """Of the two bodies, the lesser share that the other scan's field of view holds."""
    rigid: Rigid | None = None
    """What moved the real CT onto the MRI; None where it was left as it was."""
    grid: Grid | None = None
    """The source CT's own grid; None on the store's."""

    @property
    def affine(self) -> Affine:
        """(x, y, z, 1) voxel indices of `real` to RAS mm."""
        return self.mri.affine if self.grid is None else self.grid.affine

    def placed(self, synthetic: NDArray[np.float32]) -> NDArray[np.float32]:
        """A synthetic CT [z, y, x] of the store's grid on the grid of this pair."""
        if self.grid is None:
            return synthetic
        volume = Volume(
            voxels=synthetic,
            affine=moved_affine(self.mri.affine, self.rigid),
            modality="ct",
            pseudonym=self.mri.name,
        )
        return np.asarray(resample(volume, self.grid, fill=AIR_HU).voxels, np.float32)


def pair_of(store: Store, mri: StoredVolume, *, rigid: Rigid | None = None) -> Pair | None:
    """An MRI and its linked CT on the store's grid, the CT moved by `rigid`; None without a CT.

    Raises:
        StoreError: A volume is not what was committed, or the two lie on different grids.
    """
    ct = store.partner(mri)
    if ct is None:
        return None
    real, ct_body, ct_view = store.voxels(ct), store.body(ct).astype(bool), field_of_view(ct)
    mri_body, mri_view = store.body(mri).astype(bool), field_of_view(mri)
    if rigid is not None:
        moved = rigid.moved(real, store.spacing_mm, fill=AIR_HU)
        real = np.rint(moved).clip(*WINDOW_HU).astype(np.int16)
        ct_body, ct_view = (rigid.moved_mask(m, store.spacing_mm) for m in (ct_body, ct_view))
    seen = mri_view & ct_view
    return Pair(
        mri=mri,
        real=real,
        body=ct_body & seen,
        seen=seen,
        spacing_mm=store.spacing_mm,
        outline_dice=outline_dice(mri_body, ct_body, seen),
        share_seen=min(share_of(ct_body, mri_view), share_of(mri_body, ct_view)),
        rigid=rigid,
    )


def on_source_grid(pair: Pair, source: Volume, given_body: Volume | None = None) -> Pair:
    """The same pair on the grid of the CT's own file, whose voxels were never interpolated.

    The body is found there, or taken from the mask that came with the file; compared is what the
    MRI's field of view and its stored slices hold.
    """
    upright = canonical(source)
    low, high = (upright.voxels.dtype.type(hu) for hu in WINDOW_HU)
    real = upright.voxels.clip(low, high)
    if given_body is None:
        body = body_mask(real, "ct", spacing_mm=upright.spacing_mm)
    else:
        body = resample_mask(given_body.voxels > 0, given_body.grid, upright.grid)
    stored = Grid(shape=pair.mri.shape, affine=moved_affine(pair.mri.affine, pair.rigid))
    seen = resample_mask(field_of_view(pair.mri), stored, upright.grid)
    return replace(
        pair,
        real=real,
        body=body & seen,
        seen=seen,
        spacing_mm=upright.spacing_mm,
        grid=upright.grid,
    )


def rigid_of(store: Store, mri: StoredVolume) -> Rigid:
    """What moves the linked CT onto the MRI, found from the two scans alone."""
    ct = store.partner(mri)
    assert ct is not None, f"{mri.name} has no CT to register"
    images = normalise(store.voxels(mri).astype(np.float32), mri.window)
    body, view = store.body(mri).astype(bool), field_of_view(mri)
    # With some air around it, so that its outline counts too.
    around = ndimage.distance_transform_edt(~body, sampling=store.spacing_mm) < AROUND_MM
    return registered(images, store.voxels(ct), around & view, spacing_mm=store.spacing_mm)


def registration(before: Pair, after: Pair) -> Registration:
    """What a registration came to, and whether it is to be kept."""
    assert after.rigid is not None
    return Registration(
        shift_mm=after.rigid.shift_mm,
        angle_degrees=after.rigid.angle_degrees,
        outline_dice_before=before.outline_dice,
        outline_dice_after=after.outline_dice,
        applied=after.outline_dice >= before.outline_dice,
    )


def moved_affine(affine: Affine, rigid: Rigid | None) -> Affine:
    """Where the MRI's grid lies in the world of the CT, once it is moved by a registration."""
    if rigid is None:
        return affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    to_mm = np.diag([*spacing, 1.0])
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rigid.matrix, rigid.offset_mm
    moved: Affine = affine @ np.linalg.inv(to_mm) @ motion @ to_mm
    return moved


def outline_dice(mri: NDArray[np.bool_], ct: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """How well two body outlines agree within what both scans saw."""
    return dice(mri & seen, ct & seen)


def share_of(body: NDArray[np.bool_], view: NDArray[np.bool_]) -> float:
    """How much of a body a field of view holds; 1 for no body at all."""
    return float((body & view).sum() / body.sum()) if body.any() else 1.0
