"""What the DALI graph does to values and memory, against numpy with the same parameters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import LEVELS, Augmentation, NoiseBank
from cyclegan.data.dali import BatchPipeline, to_batch
from cyclegan.data.mri_intensity import MriIntensity
from cyclegan.data.philox import Stream
from cyclegan.data.stored_slices import BatchFormat
from mrct.imaging.intensity import invert_contrast, normalise
from tests.support.known_slices import CPU, SIZE, WINDOWS, B, drawn, made, outputs, some_slices

FORM = BatchFormat(batch_size=B)


def test_without_variation_the_voxels_come_out_normalised_and_nothing_else() -> None:
    none = Augmentation.none(B)
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
    stored = some_slices("mri", Augmentation.none(B), window=(-50.0, 400.0))

    batch = made(stored, some_slices("ct", Augmentation.none(B)))

    expected = normalise(stored.voxels.astype(np.float64), (-50.0, 400.0))
    np.testing.assert_allclose(batch.mri, expected, atol=1e-6)


def test_a_batch_is_no_copy_of_what_the_pipeline_made() -> None:
    none = Augmentation.none(B)
    maker = BatchPipeline(FORM, threads=1, device=CPU)
    images = outputs(maker, some_slices("mri", none), some_slices("ct", none))

    batch = to_batch(images, (1.0, 1.0))

    tensors = (batch.mri, batch.ct, batch.mri_body, batch.ct_body)
    assert [t.data_ptr() for t in tensors] == [image.data_ptr() for image in images]


def test_a_batch_outlives_later_batches_and_the_graph_itself() -> None:
    none = Augmentation.none(B)
    maker = BatchPipeline(FORM, threads=1, device=CPU)

    batches, copies = [], []
    for seed in range(10):
        ct = some_slices("ct", none, seed=seed)
        batches.append(
            to_batch(outputs(maker, some_slices("mri", none, seed=seed), ct), (1.0, 1.0))
        )
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
    one, two = (
        to_batch(outputs(BatchPipeline(inverted, threads=n, device=CPU), mri, ct), (1.0, 1.0))
        for n in (1, 2)
    )

    assert torch.equal(one.mri, two.mri)
    assert torch.equal(one.ct, two.ct)


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
    none = Augmentation.none(B)
    level, offsets = np.linspace(0, 0.1, B), np.linspace(0, 0.9, B)
    mri, ct = some_slices("mri", none), some_slices("ct", none, seed=1)
    source = MriIntensity(DataConfig(), 0, SIZE, (1.0, 1.0))
    noise = source.inputs(
        replace(none, noise=level, noise_offset=np.stack([offsets, offsets], axis=1))
    )

    quiet = made(mri, ct)
    noisy = made(replace(mri, intensity=noise), ct, changes_intensity=True)

    steps = NoiseBank(0, SIZE[0] * SIZE[1]).cut(offsets).reshape(mri.voxels.shape)
    unclipped = (mri.voxels - 0.0) * (2 / 900) - 1 + steps * (level / LEVELS)[:, None, None, None]
    np.testing.assert_allclose(noisy.mri, unclipped.clip(-1, 1), atol=1e-6)
    assert torch.equal(noisy.mri[0], quiet.mri[0])  # its level is 0
    assert torch.equal(noisy.ct, quiet.ct)
