"""The body mask holds the head with its cavities, and neither holder nor noise."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from data_prep.readers.nifti import read_nifti
from mrct.imaging.body_mask import body_mask, bounding_box, otsu_threshold
from mrct.imaging.geometry import canonical

SPACING_MM = (3.0, 2.0, 2.0)
Z, Y, X = np.meshgrid(
    np.arange(24) * 3 - 36, np.arange(96) * 2 - 96, np.arange(96) * 2 - 96, indexing="ij"
)
HEAD = (Y / 80) ** 2 + (X / 65) ** 2 < 1  # a cylinder along z, 160 x 130 mm
AIRWAY = np.hypot(Y + 20, X) < 12  # open at the top and the bottom
NOSTRIL = (np.abs(X) < 3) & (Y < -20)  # a 6 mm wide way from the airway out
SINUS = (np.hypot(Y - 20, X - 20) < 10) & (np.abs(Z) < 15)
HOLDER = (np.abs(np.hypot(Y, X) - 92) < 2) & (Y > 0)
TOUCH = (np.abs(X) < 5) & (Y > 78) & (Y < 94)  # a thin strut from head to holder


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_ct_head_is_found_whole_and_without_its_holder():
    ct = np.where(HEAD, 40.0, -1000.0)
    ct[AIRWAY | SINUS | NOSTRIL & HEAD] = -1000
    ct[HOLDER] = 200
    ct += np.random.default_rng(0).normal(0, 30, ct.shape)

    mask = body_mask(ct.astype(np.float32), "ct", spacing_mm=SPACING_MM)

    assert dice(mask, HEAD) > 0.985
    assert mask[AIRWAY].mean() > 0.98
    assert mask[SINUS].all()
    assert not mask[HOLDER].any()


def test_a_holder_that_touches_the_head_by_a_thin_sheet_lets_go():
    sheet = (np.abs(Y - 84) < 2) & (np.abs(X) < 90)
    ct = np.where(HEAD, 40.0, -1000.0)
    ct[sheet | TOUCH & (np.abs(Z) < 2)] = 100

    mask = body_mask(ct.astype(np.float32), "ct", spacing_mm=SPACING_MM)

    assert dice(mask, HEAD) > 0.97
    assert not mask[sheet & (np.abs(X) > 60)].any()


def test_an_mri_head_is_found_in_rician_noise_and_dark_skull_counts():
    depth = np.sqrt((Y / 80) ** 2 + (X / 65) ** 2)
    mri = np.select([depth < 0.85, depth < 0.92, depth < 1], [400, 20, 900], 0)
    noise = np.random.default_rng(0).normal(0, 20, (2, *mri.shape))
    mri = np.hypot(mri + noise[0], noise[1])

    mask = body_mask(mri.astype(np.float32), "mri", spacing_mm=SPACING_MM)

    assert dice(mask, HEAD) > 0.985
    assert mask[(depth > 0.86) & (depth < 0.91)].all()


def test_a_larger_canvas_moves_the_outline_of_a_real_mri_by_less_than_a_tenth_of_a_millimetre(
    shared,
):
    """Its air lowered Otsu's threshold, and the body grew by 0.8 %, a quarter of a millimetre."""
    path = next((shared / "mri_head").glob("openms_patient19_*"))
    volume = canonical(read_nifti(path, modality="mri", pseudonym="p"))
    margins = ((0, 0), *((n // 4, n // 4) for n in volume.voxels.shape[1:]))
    roomy = np.pad(volume.voxels.astype(np.float32), margins)

    mask = body_mask(volume.voxels, "mri", spacing_mm=volume.spacing_mm)
    wide = body_mask(roomy, "mri", spacing_mm=volume.spacing_mm)

    assert wide.sum() == pytest.approx(mask.sum(), rel=0.002)


def test_nothing_gives_an_empty_mask():
    air = np.full((4, 8, 8), -1000.0, np.float32)
    assert not body_mask(air, "ct", spacing_mm=SPACING_MM).any()


def test_otsu_agrees_with_scikit_image():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0, 1, 500), random.normal(9, 2, 300)]).astype(np.float32)
    assert otsu_threshold(values) == pytest.approx(threshold_otsu(values), abs=0.1)


def test_the_head_holder_of_a_real_ct_is_left_out(shared):
    path = shared / "ct_head/invesalius_cranium_ct.nii.gz"
    volume = canonical(read_nifti(path, modality="ct", pseudonym="p"))
    ct = volume.voxels[::2, ::2, ::2]

    mask = body_mask(ct, "ct", spacing_mm=tuple(2 * mm for mm in volume.spacing_mm))

    solid = ct > -300
    assert 0.3 < mask.mean() < 0.5
    # The holder is a bow behind the head: below its last row and at both sides of the picture.
    for beyond in (np.s_[:, 124:], np.s_[:, :, :16], np.s_[:, :, 114:]):
        assert solid[beyond].any()
        assert not mask[beyond].any()


def test_a_bounding_box_is_numpys_extent_of_the_true_voxels():
    assert bounding_box(np.zeros((6, 7, 8), bool)) is None
    random = np.random.default_rng(4)
    for _ in range(20):
        mask = random.random((6, 7, 8)) < 0.02
        box = bounding_box(mask)
        ends = [(at.min(), at.max() + 1) for at in np.nonzero(mask)]
        assert [(side.start, side.stop) for side in box] == ends
        wide = bounding_box(mask, (1, 2, 99))
        assert [(side.start, side.stop) for side in wide] == [
            (max(0, low - margin), min(length, high + margin))
            for (low, high), margin, length in zip(ends, (1, 2, 99), mask.shape, strict=True)
        ]
