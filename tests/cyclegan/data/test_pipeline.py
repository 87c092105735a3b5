"""The DALI graph against numpy and scipy with the same parameters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Affine
from scipy import ndimage

from cyclegan.config import DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.noise import LEVELS
from cyclegan.data.philox import Stream
from cyclegan.data.pipeline import BatchMaker, Form, StoredSlices, to_batch
from cyclegan.data.variation import Variation
from data_prep.intensity import WINDOW_HU, Window, invert_contrast, normalise

CPU = torch.device("cpu")
SIZE = (40, 32)
B = 6
FORM = Form(batch_size=B)
WINDOWS = {"mri": (0.0, 900.0), "ct": WINDOW_HU}


def some_slices(
    modality: str,
    variation: Variation,
    seed: int = 0,
    window: Window | None = None,
    channels: int = 1,
) -> StoredSlices:
    """Smooth random pictures with a blob of body, some of it beyond the window's high end."""
    random = np.random.default_rng(seed)
    low, high = window or WINDOWS[modality]
    shape = (B, channels, *SIZE)
    texture = ndimage.gaussian_filter(random.standard_normal(shape), (0, 0, 2, 2)) * 4
    body = ndimage.gaussian_filter(random.standard_normal(shape), (0, 0, 5, 5)) > 0
    return StoredSlices(
        voxels=np.clip((low + high) / 2 * (1 + texture), low, 4000).astype(np.int16),
        body=body.astype(np.uint8),
        matrix=variation.matrices(SIZE, (1.0, 1.0)),
        low=np.full(B, low, np.float32),
        height=np.zeros(B, np.float32),
        scale=(2 * variation.gain / (high - low)).astype(np.float32),
    )


def made(mri: StoredSlices, ct: StoredSlices, **form: Any) -> Batch:
    return to_batch(BatchMaker(Form(batch_size=B, **form), threads=1, device=CPU).run(mri, ct))


def drawn(stream: Stream) -> Variation:
    return Variation.draw(DataConfig(contrast=0.3), 5, stream, np.arange(B))


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


def test_without_variation_the_voxels_come_out_normalised_and_nothing_else() -> None:
    none = Variation.none(B)
    stored = {"mri": some_slices("mri", none), "ct": some_slices("ct", none, seed=1)}

    batch = made(stored["mri"], stored["ct"])

    for image, name in [(batch.mri, "mri"), (batch.ct, "ct")]:
        assert image.shape == (B, 1, *SIZE)
        assert image.dtype == torch.float32
        expected = normalise(stored[name].voxels.astype(np.float64), WINDOWS[name])
        np.testing.assert_allclose(image, expected, atol=1e-6)  # 0.002 HU
    np.testing.assert_array_equal(batch.mri_body, stored["mri"].body)
    np.testing.assert_array_equal(batch.ct_body, stored["ct"].body)
    assert batch.mri.max() == 1  # something was clipped


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

    body = made(stored, some_slices("ct", Variation.none(B))).mri_body[:, 0].numpy()

    assert set(np.unique(body)) == {0.0, 1.0}
    # A coordinate halfway between two pixels may round either way.
    assert (body != scipys(stored, stored.body[:, 0], order=0, fill=0)).mean() < 1e-3


def test_image_and_mask_are_mirrored_alike() -> None:
    mirror = replace(Variation.none(B), flip=np.ones(B, bool))
    plain = some_slices("mri", Variation.none(B)), some_slices("ct", Variation.none(B))
    mirrored = some_slices("mri", mirror), some_slices("ct", mirror)

    before, after = made(*plain), made(*mirrored)

    for name in ("mri", "ct", "mri_body", "ct_body"):
        torch.testing.assert_close(
            getattr(after, name), getattr(before, name).flip(-1), atol=1e-6, rtol=0
        )


def test_what_moves_in_from_beyond_a_slice_is_air() -> None:
    away = replace(Variation.none(B), shift=np.full((B, 2), 1.5))

    batch = made(some_slices("mri", away), some_slices("ct", away))

    assert (batch.mri == -1).all()
    assert (batch.ct == -1).all()
    assert (batch.mri_body == 0).all()


def test_an_inverted_mri_is_that_of_intensity_and_the_ct_stays_as_it_is() -> None:
    mri, ct = (
        some_slices("mri", drawn(Stream.MRI_VARIATION)),
        some_slices("ct", drawn(Stream.CT_VARIATION)),
    )

    plain, inverted = made(mri, ct), made(mri, ct, mri_contrast="inverted")

    expected = invert_contrast(plain.mri, plain.mri_body)
    torch.testing.assert_close(inverted.mri, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(inverted.ct, plain.ct, atol=0, rtol=0)


def test_a_window_may_start_below_zero() -> None:
    stored = some_slices("mri", Variation.none(B), window=(-50.0, 400.0))

    batch = made(stored, some_slices("ct", Variation.none(B)))

    expected = normalise(stored.voxels.astype(np.float64), (-50.0, 400.0))
    np.testing.assert_allclose(batch.mri, expected, atol=1e-6)


def test_torch_looks_into_dalis_own_memory() -> None:
    none = Variation.none(B)
    outputs = BatchMaker(FORM, threads=1, device=CPU).run(
        some_slices("mri", none), some_slices("ct", none)
    )

    batch = to_batch(outputs)

    tensors = (batch.mri, batch.ct, batch.mri_body, batch.ct_body)
    assert [t.data_ptr() for t in tensors] == [o.as_tensor().data_ptr() for o in outputs]


def test_a_batch_outlives_later_batches_and_the_graph_itself() -> None:
    none = Variation.none(B)
    maker = BatchMaker(FORM, threads=1, device=CPU)

    batches, copies = [], []
    for seed in range(10):
        ct = some_slices("ct", none, seed=seed)
        batches.append(to_batch(maker.run(some_slices("mri", none, seed=seed), ct)))
        copies.append((batches[-1].mri.clone(), batches[-1].ct_body.clone()))
    del maker

    for batch, (mri, ct_body) in zip(batches, copies, strict=True):
        assert torch.equal(batch.mri, mri)
        assert torch.equal(batch.ct_body, ct_body)


def test_the_number_of_threads_changes_no_bit() -> None:
    mri, ct = (
        some_slices("mri", drawn(Stream.MRI_VARIATION)),
        some_slices("ct", drawn(Stream.CT_VARIATION)),
    )

    inverted = replace(FORM, mri_contrast="inverted")
    one, two = (to_batch(BatchMaker(inverted, threads=n, device=CPU).run(mri, ct)) for n in (1, 2))

    assert torch.equal(one.mri, two.mri)
    assert torch.equal(one.ct, two.ct)


def test_neighbours_are_warped_with_their_slice_and_only_its_mask_is_kept() -> None:
    variation = drawn(Stream.MRI_VARIATION)
    three = {
        name: some_slices(name, variation, seed=seed, channels=3)
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


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_is_a_layout_and_changes_no_value(channels: int) -> None:
    stored = some_slices("mri", drawn(Stream.MRI_VARIATION), channels=channels)

    plain, last = (
        made(stored, stored, channels=channels, channels_last=wanted) for wanted in (False, True)
    )

    assert plain.mri.is_contiguous()
    assert last.mri.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.mri, last.mri)
    assert torch.equal(plain.mri_body, last.mri_body)


def test_float16_is_the_float32_result_rounded() -> None:
    stored = some_slices("mri", drawn(Stream.MRI_VARIATION))

    whole, half = (made(stored, stored, half=wanted) for wanted in (False, True))

    assert half.mri.dtype == half.ct_body.dtype == torch.float16
    assert torch.equal(half.mri, whole.mri.half())


def test_noise_is_added_to_the_mri_alone_and_clipped_with_it() -> None:
    none = Variation.none(B)
    random = np.random.default_rng(0)
    steps = random.integers(-127, 128, (B, 1, *SIZE)).astype(np.int8)
    level = np.linspace(0, 0.1, B, dtype=np.float32)
    mri, ct = some_slices("mri", none), some_slices("ct", none, seed=1)

    quiet = made(mri, ct)
    noisy = made(replace(mri, noise=steps, noise_level=level), ct, noise=True)

    unclipped = (mri.voxels - 0.0) * (2 / 900) - 1 + steps * (level / LEVELS)[:, None, None, None]
    np.testing.assert_allclose(noisy.mri, unclipped.clip(-1, 1), atol=1e-6)
    assert torch.equal(noisy.mri[0], quiet.mri[0])  # its level is 0
    assert torch.equal(noisy.ct, quiet.ct)


def test_monai_turns_and_enlarges_alike() -> None:
    """A second oracle: MONAI's Affine maps about the centre too, by the inverse of our matrix."""
    variation = replace(
        Variation.none(B), rotate_degrees=np.linspace(-15, 15, B), zoom=np.linspace(0.9, 1.1, B)
    )
    stored = some_slices("ct", variation)

    image = made(some_slices("mri", variation), stored).ct

    above_air = stored.scale[0] * (stored.voxels.astype(np.float32) - WINDOW_HU[0])
    for ours, picture, degrees, zoom in zip(
        image, above_air, variation.rotate_degrees, variation.zoom, strict=True
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


def test_a_marker_on_the_patients_left_stays_there_and_turns_as_it_is_told() -> None:
    still, turned = (
        some_slices("ct", replace(Variation.none(B), rotate_degrees=np.full(B, degrees)))
        for degrees in (0.0, 90.0)
    )
    marker = np.full((B, 1, *SIZE), -1024, np.int16)
    marker[:, :, 18:22, 26:30] = 2000  # column 0 is the patient's right, so this is the left
    mri = some_slices("mri", Variation.none(B))

    at = {
        name: ndimage.center_of_mass(made(mri, replace(stored, voxels=marker)).ct[0, 0].numpy() + 1)
        for name, stored in (("still", still), ("turned", turned))
    }

    np.testing.assert_allclose(at["still"], (19.5, 27.5), atol=0.01)
    # Counter-clockwise: what was to the right of the centre (19.5, 15.5) by 12 is above it by 12.
    np.testing.assert_allclose(at["turned"], (7.5, 15.5), atol=0.01)
