"""The DALI graph against numpy and scipy with the same parameters."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cyclegan.config import DataConfig
from cyclegan.data.batch import Batch
from cyclegan.data.philox import Stream
from cyclegan.data.pipeline import BatchMaker, MriContrast, StoredSlices, make_graph, to_batch
from cyclegan.data.variation import Variation
from data_prep.intensity import WINDOW_HU, Window, invert_contrast, normalise

CPU = torch.device("cpu")
SIZE = (40, 32)
B = 6
WINDOWS = {"mri": (0.0, 900.0), "ct": WINDOW_HU}
AIR = {"mri": 0.0, "ct": -1024.0}


def some_slices(
    modality: str, variation: Variation, seed: int = 0, window: Window | None = None
) -> StoredSlices:
    """Smooth random pictures with a blob of body, some of it beyond the window's high end."""
    random = np.random.default_rng(seed)
    low, high = window or WINDOWS[modality]
    texture = ndimage.gaussian_filter(random.standard_normal((B, *SIZE)), (0, 2, 2)) * 4
    body = ndimage.gaussian_filter(random.standard_normal((B, *SIZE)), (0, 5, 5)) > 0
    return StoredSlices(
        voxels=np.clip((low + high) / 2 * (1 + texture), low, 4000).astype(np.int16),
        body=body.astype(np.uint8),
        matrix=variation.matrices(SIZE, (1.0, 1.0)),
        low=np.full(B, low, np.float32),
        scale=(2 * variation.gain / (high - low)).astype(np.float32),
    )


def made(mri: StoredSlices, ct: StoredSlices, mri_contrast: MriContrast = "plain") -> Batch:
    return to_batch(BatchMaker(B, mri_contrast, threads=1, device=CPU).run(mri, ct))


def drawn(stream: Stream) -> Variation:
    return Variation.draw(DataConfig(contrast=0.3), 5, stream, np.arange(B))


def scipys(stored: StoredSlices, pixels: np.ndarray, order: int, fill: float) -> np.ndarray:
    """scipy's affine transform with the same matrices; its axes are (row, column) from centres."""
    warped = []
    for picture, matrix in zip(pixels, stored.matrix.astype(np.float64), strict=True):
        linear = matrix[::-1, 1::-1]
        offset = linear @ (0.5, 0.5) + matrix[::-1, 2] - 0.5
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
        np.testing.assert_allclose(image[:, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(batch.mri_body[:, 0], stored["mri"].body)
    np.testing.assert_array_equal(batch.ct_body[:, 0], stored["ct"].body)
    assert batch.mri.max() == 1  # something was clipped


def test_images_are_warped_as_scipy_warps_them() -> None:
    stored = {
        "mri": some_slices("mri", drawn(Stream.MRI_VARIATION)),
        "ct": some_slices("ct", drawn(Stream.CT_VARIATION), seed=1),
    }

    batch = made(stored["mri"], stored["ct"])

    for image, name in [(batch.mri, "mri"), (batch.ct, "ct")]:
        one = stored[name]
        warped = scipys(one, one.voxels, order=1, fill=AIR[name])
        levels = one.scale[:, None, None] * (warped - one.low[:, None, None]) - 1
        np.testing.assert_allclose(image[:, 0], levels.clip(-1, 1), atol=1e-4)  # 0.2 HU


def test_masks_are_warped_by_nearest_neighbour() -> None:
    stored = some_slices("mri", drawn(Stream.MRI_VARIATION))

    body = made(stored, some_slices("ct", Variation.none(B))).mri_body[:, 0].numpy()

    assert set(np.unique(body)) == {0.0, 1.0}
    # A coordinate halfway between two pixels may round either way.
    assert (body != scipys(stored, stored.body, order=0, fill=0)).mean() < 1e-3


def test_image_and_mask_are_mirrored_alike() -> None:
    mirror = Variation(
        flip=np.ones(B, bool),
        rotate_degrees=np.zeros(B),
        zoom=np.ones(B),
        shift=np.zeros((B, 2)),
        gain=np.ones(B),
    )
    plain = some_slices("mri", Variation.none(B)), some_slices("ct", Variation.none(B))
    mirrored = some_slices("mri", mirror), some_slices("ct", mirror)

    before, after = made(*plain), made(*mirrored)

    for name in ("mri", "ct", "mri_body", "ct_body"):
        torch.testing.assert_close(
            getattr(after, name), getattr(before, name).flip(-1), atol=1e-6, rtol=0
        )


def test_what_moves_in_from_beyond_a_slice_is_air() -> None:
    away = Variation(
        flip=np.zeros(B, bool),
        rotate_degrees=np.zeros(B),
        zoom=np.ones(B),
        shift=np.full((B, 2), 1.5),
        gain=np.ones(B),
    )

    batch = made(some_slices("mri", away), some_slices("ct", away))

    assert (batch.mri == -1).all()
    assert (batch.ct == -1).all()
    assert (batch.mri_body == 0).all()


def test_an_inverted_mri_is_that_of_intensity_and_the_ct_stays_as_it_is() -> None:
    mri, ct = (
        some_slices("mri", drawn(Stream.MRI_VARIATION)),
        some_slices("ct", drawn(Stream.CT_VARIATION)),
    )

    plain, inverted = made(mri, ct), made(mri, ct, "inverted")

    expected = invert_contrast(plain.mri, plain.mri_body)
    torch.testing.assert_close(inverted.mri, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(inverted.ct, plain.ct, atol=0, rtol=0)


def test_a_window_may_start_below_zero() -> None:
    stored = some_slices("mri", Variation.none(B), window=(-50.0, 400.0))

    batch = made(stored, some_slices("ct", Variation.none(B)))

    expected = normalise(stored.voxels.astype(np.float64), (-50.0, 400.0))
    np.testing.assert_allclose(batch.mri[:, 0], expected, atol=1e-6)


def test_torch_looks_into_dalis_own_memory() -> None:
    none = Variation.none(B)
    outputs = BatchMaker(B, "plain", threads=1, device=CPU).run(
        some_slices("mri", none), some_slices("ct", none)
    )

    batch = to_batch(outputs)

    tensors = (batch.mri, batch.ct, batch.mri_body, batch.ct_body)
    assert [t.data_ptr() for t in tensors] == [o.as_tensor().data_ptr() for o in outputs]


def test_a_batch_outlives_later_batches_and_the_graph_itself() -> None:
    none = Variation.none(B)
    maker = BatchMaker(B, "plain", threads=1, device=CPU)

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

    one, two = (
        to_batch(BatchMaker(B, "inverted", threads=n, device=CPU).run(mri, ct)) for n in (1, 2)
    )

    assert torch.equal(one.mri, two.mri)
    assert torch.equal(one.ct, two.ct)


@pytest.mark.parametrize("mri_contrast", ["plain", "inverted"])
def test_the_gpu_graph_can_be_made_where_there_is_no_gpu(mri_contrast: MriContrast) -> None:
    on_gpu, on_cpu = (
        make_graph(4, mri_contrast, threads=1, gpu=gpu, device_id=None).serialize()
        for gpu in (True, False)
    )

    # protobuf: a string of three bytes, the operators' `device`
    assert on_gpu.count(b"*\x03gpu") > 4 * 3  # warps, arithmetic
    assert b"*\x03gpu" not in on_cpu
