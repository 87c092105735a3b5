"""Where the graph puts pixels: against scipy, MONAI and pictures whose answer is plain."""

from dataclasses import replace

import numpy as np
import torch
from monai.transforms import Affine
from scipy import ndimage

from cyclegan.data.augmentation import Augmentation
from cyclegan.data.philox import Stream
from cyclegan.data.stored_slices import StoredSlices
from mrct.imaging.hounsfield import WINDOW_HU
from tests.support.known_slices import SIZE, WINDOWS, B, drawn, made, some_slices


def scipys(stored: StoredSlices, pixels: np.ndarray, order: int, fill: float) -> np.ndarray:
    """scipy's affine transform with the same matrices; its axes are (row, column) from centres."""
    warped = []
    for picture, matrix in zip(pixels, stored.matrix.astype(np.float64), strict=True):
        linear = matrix[1::-1, 1::-1]
        offset = linear @ (0.5, 0.5) + matrix[1::-1, 2] - 0.5
        warped.append(
            ndimage.affine_transform(
                picture.astype(np.float64),
                linear,
                offset,
                order=order,
                mode="grid-constant",
                cval=fill,
            )
        )
    return np.stack(warped)


def test_images_are_warped_as_scipy_warps_them() -> None:
    stored = {
        "mri": some_slices("mri", drawn(Stream.MRI_VARIATION)),
        "ct": some_slices("ct", drawn(Stream.CT_VARIATION), seed=1),
    }

    batch = made(stored["mri"], stored["ct"])

    for image, name in [(batch.mri, "mri"), (batch.ct, "ct")]:
        one = stored[name]
        warped = scipys(one, one.voxels[:, 0], order=1, fill=WINDOWS[name][0])
        levels = one.scale[:, None, None] * (warped - one.low[:, None, None]) - 1
        np.testing.assert_allclose(image[:, 0], levels.clip(-1, 1), atol=1e-4)  # 0.2 HU


def test_masks_are_warped_by_nearest_neighbour() -> None:
    stored = some_slices("mri", drawn(Stream.MRI_VARIATION))

    body = made(stored, some_slices("ct", Augmentation.none(B))).mri_body[:, 0].numpy()

    assert set(np.unique(body)) == {0.0, 1.0}
    # A coordinate halfway between two pixels may round either way.
    assert (body != scipys(stored, stored.body[:, 0], order=0, fill=0)).mean() < 1e-3


def test_monai_turns_and_enlarges_alike() -> None:
    """A second oracle: MONAI's Affine maps about the centre too, by the inverse of our matrix."""
    augmentation = replace(
        Augmentation.none(B), rotate_degrees=np.linspace(-15, 15, B), zoom=np.linspace(0.9, 1.1, B)
    )
    stored = some_slices("ct", augmentation)

    image = made(some_slices("mri", augmentation), stored).ct

    above_air = stored.scale[0] * (stored.voxels.astype(np.float32) - WINDOW_HU[0])
    for ours, picture, degrees, zoom in zip(
        image, above_air, augmentation.rotate_degrees, augmentation.zoom, strict=True
    ):
        # It turns its sampling grid, from rows to columns, and its scale is the grid's step.
        affine = Affine(
            rotate_params=-float(np.deg2rad(degrees)),
            scale_params=(float(1 / zoom), float(1 / zoom)),
            padding_mode="zeros",
            image_only=True,
        )
        theirs = np.asarray(affine(picture) - 1).clip(-1, 1)
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_image_and_mask_are_mirrored_alike() -> None:
    mirror = replace(Augmentation.none(B), flip=np.ones(B, bool))
    plain = some_slices("mri", Augmentation.none(B)), some_slices("ct", Augmentation.none(B))
    mirrored = some_slices("mri", mirror), some_slices("ct", mirror)

    before, after = made(*plain), made(*mirrored)

    for name in ("mri", "ct", "mri_body", "ct_body"):
        torch.testing.assert_close(
            getattr(after, name), getattr(before, name).flip(-1), atol=1e-6, rtol=0
        )


def test_what_moves_in_from_beyond_a_slice_is_air() -> None:
    away = replace(Augmentation.none(B), shift=np.full((B, 2), 1.5))

    batch = made(some_slices("mri", away), some_slices("ct", away))

    assert (batch.mri == -1).all()
    assert (batch.ct == -1).all()
    assert (batch.mri_body == 0).all()


def test_neighbours_are_warped_with_their_slice_and_only_its_mask_is_kept() -> None:
    augmentation = drawn(Stream.MRI_VARIATION)
    three = {
        name: some_slices(name, augmentation, seed=seed, channels=3)
        for seed, name in enumerate(("mri", "ct"))
    }
    each = [
        {
            name: replace(s, voxels=s.voxels[:, [c]], body=s.body[:, [c]])
            for name, s in three.items()
        }
        for c in range(3)
    ]

    for contrast in ("plain", "inverted"):
        batch = made(three["mri"], three["ct"], channels=3, mri_contrast=contrast)
        alone = [made(one["mri"], one["ct"], mri_contrast=contrast) for one in each]

        for name in ("mri", "ct"):
            torch.testing.assert_close(
                getattr(batch, name),
                torch.cat([getattr(one, name) for one in alone], dim=1),
                atol=0,
                rtol=0,
            )
        assert torch.equal(batch.mri_body, alone[1].mri_body)
        assert torch.equal(batch.ct_body, alone[1].ct_body)


def test_a_marker_on_the_patients_left_stays_there_and_turns_as_it_is_told() -> None:
    still, turned = (
        some_slices("ct", replace(Augmentation.none(B), rotate_degrees=np.full(B, degrees)))
        for degrees in (0.0, 90.0)
    )
    marker = np.full((B, 1, *SIZE), -1024, np.int16)
    marker[:, :, 18:22, 26:30] = 2000  # column 0 is the patient's right, so this is the left
    mri = some_slices("mri", Augmentation.none(B))

    at = {
        name: ndimage.center_of_mass(made(mri, replace(stored, voxels=marker)).ct[0, 0].numpy() + 1)
        for name, stored in (("still", still), ("turned", turned))
    }

    np.testing.assert_allclose(at["still"], (19.5, 27.5), atol=0.01)
    # Counter-clockwise: what was to the right of the centre (19.5, 15.5) by 12 is above it by 12.
    np.testing.assert_allclose(at["turned"], (7.5, 15.5), atol=0.01)
