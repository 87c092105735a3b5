"""Series to volumes: stored numbers to HU and magnitudes, and what becomes of doubtful pixels."""

import contextlib
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import data_prep.dicom.reader
from data_prep.dicom.reader import read_series
from data_prep.dicom.series import find_series
from data_prep.readers.tolerances import Leniency
from mrct.errors import VolumeError
from mrct.imaging.volume import Volume, ignore_note
from tests.data_prep.dicom.test_series import only
from tests.support.compression import COMPRESSED, compress
from tests.support.series import (
    SHAPE,
    every,
    on,
    pixels_of,
    set_pixels,
    setting,
    values,
    write_enhanced,
    write_series,
)


def read(folder: Path, note=ignore_note, **how) -> Volume:
    return read_series(only(folder), pseudonym="p", leniency=Leniency(**how), note=note)


def refusal(folder: Path, **how) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read(folder, **how)
    assert caught.value.reason
    assert caught.value.remedy
    return caught.value


def test_slices_that_run_downwards_become_a_stack_that_runs_up(tmp_path):
    write_series(tmp_path, step=(0, 0, -3))

    np.testing.assert_array_equal(read(tmp_path).voxels, values("CT")[::-1])


def test_a_resampled_tilt_keeps_every_voxel_in_its_place(tmp_path):
    write_series(tmp_path, step=(0, 1, 3))

    volume = read(tmp_path, resample_tilt=True)

    np.testing.assert_array_equal(volume.voxels, values("CT"))
    last = volume.affine @ [2, 5, 7, 1]
    lps = np.array([-8 + 2 * 0.8, 10 + 5 * 0.9 + 7, -90 + 7 * 3])
    np.testing.assert_allclose(last[:3], lps * [-1, -1, 1], atol=1e-6)


def test_uneven_slices_are_interpolated_only_when_asked_for(tmp_path):
    heights = [0, 3, 6, 10, 12, 15, 18, 21]  # the fourth is 1 mm too high
    write_series(
        tmp_path,
        lambda index, dataset: setattr(
            dataset, "ImagePositionPatient", [-8, 10, -90 + heights[index]]
        ),
    )
    stored = values("CT").astype(np.float32)

    volume = read(tmp_path, resample_irregular=True)

    assert refusal(tmp_path).code == "irregular-spacing"
    np.testing.assert_allclose(volume.voxels[3], 0.25 * stored[2] + 0.75 * stored[3], rtol=1e-5)
    np.testing.assert_array_equal(volume.voxels[[0, 1, 2, 4, 7]], stored[[0, 1, 2, 4, 7]])
    assert volume.spacing_mm[0] == pytest.approx(3)


def signed(index, dataset):
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    dataset.RescaleIntercept = 0
    set_pixels(dataset, values("CT")[index])


def own_slope(index, dataset):
    dataset.RescaleSlope, dataset.RescaleIntercept = f"0.{index + 1}3", -1000 - index


def dirty_bits(index, dataset):
    set_pixels(dataset, pixels_of(dataset).astype(int) | (0xA000 if index % 2 else 0x5000))


def signed_dirty_bits(index, dataset):
    signed(index, dataset)
    dataset.BitsStored, dataset.HighBit = 12, 11
    set_pixels(dataset, (values("CT")[index] & 0xFFF) | 0x5000)


def padded(index, dataset):
    signed(index, dataset)
    dataset.PixelPaddingValue = -2000
    pixels = values("CT")[index]
    pixels[:3] = -2000
    set_pixels(dataset, pixels)


def padded_beyond_the_stored_bits(index, dataset):
    dataset.PixelPaddingValue = 63536
    pixels = pixels_of(dataset).copy()
    pixels[:3] = 63536
    set_pixels(dataset, pixels)


AIR_ON_TOP = np.where(np.arange(SHAPE[1])[:, None] < 3, -1024, values("CT"))
SLOPES = np.array([float(f"0.{n + 1}3") for n in range(8)])[:, None, None]
INTERCEPTS = -1000.0 - np.arange(8)[:, None, None]
CODED = {
    "signed, 16 bits": (signed, values("CT")),
    "a fractional slope of its own on every slice": (
        own_slope,
        (values("CT") + 1024) * SLOPES + INTERCEPTS,
    ),
    "junk above the stored bits": (dirty_bits, values("CT")),
    "junk above stored bits that have a sign": (signed_dirty_bits, values("CT")),
    "padding": (padded, AIR_ON_TOP),
    "padding beyond the stored bits": (padded_beyond_the_stored_bits, AIR_ON_TOP),
    "MONOCHROME1, whose HU are HU": (
        setting(PhotometricInterpretation="MONOCHROME1"),
        values("CT"),
    ),
    **{
        name: (every(partial(compress, syntax=syntax)), values("CT"))
        for name, syntax in COMPRESSED.items()
    },
}


@pytest.mark.parametrize("coding", CODED)
def test_stored_numbers_become_hounsfield_units(tmp_path, monkeypatch, coding):
    change, expected = CODED[coding]
    write_series(tmp_path, change)
    # Fractional slopes make numbers that are no head: here only the arithmetic is looked at.
    monkeypatch.setattr(data_prep.dicom.reader, "check_values", lambda *_, **__: None)

    voxels = read(tmp_path).voxels

    assert voxels.dtype == np.float32
    np.testing.assert_allclose(voxels, expected, rtol=1e-6)


def test_an_mr_in_monochrome1_is_turned_so_that_bright_is_bright(tmp_path):
    inverse = write_series(
        tmp_path,
        lambda index, dataset: (
            setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"),
            set_pixels(dataset, values("MR").max() - values("MR")[index]),
        ),
        modality="MR",
    )

    np.testing.assert_array_equal(read(inverse).voxels, values("MR"))


def test_frames_of_an_enhanced_ct_are_sorted_and_rescaled_each(tmp_path):
    write_enhanced(tmp_path / "a.dcm")
    factor = 1 + np.arange(8)[:, None, None]

    volume = read(tmp_path)

    expected = np.rint((values("CT") + 1024) / factor) * factor - 1024
    np.testing.assert_array_equal(volume.voxels, expected)
    assert volume.spacing_mm == pytest.approx((3, 0.9, 0.8))


def test_identical_doubles_are_dropped_and_noted_others_are_refused(tmp_path):
    folder = write_series(tmp_path)
    (folder / "copy").write_bytes((folder / "003.dcm").read_bytes())
    notes: list[str] = []

    volume = read(tmp_path, note=notes.append)

    np.testing.assert_array_equal(volume.voxels, values("CT"))
    assert "1 identical slice(s)" in notes[0]
    write_series(tmp_path, on(3, RescaleIntercept=-1000), name="second{}", without={0, 1, 2, 4})
    error = refusal(tmp_path)
    assert error.code == "duplicate-position"
    assert "-81.00 mm" in error.reason


def test_what_could_not_be_checked_is_noted(tmp_path):
    notes: list[str] = []

    read(write_series(tmp_path, padded), note=notes.append)

    assert notes[0].startswith("864 padded voxels (7.5%)")
    assert "from -90.0 to -69.0 mm" in notes[1]


NOTED = {
    "joined by their series number": lambda i, d: setting(
        SeriesInstanceUID=f"1.2.3.{i}", SeriesNumber=1
    )(i, d),
    "compressed with loss": setting(LossyImageCompression="01"),
    "11520 pixels had bits set above BitsStored": dirty_bits,
    "108 voxels are below -1100 HU": lambda i, d: (
        signed(i, d),
        set_pixels(d, np.where(np.arange(40)[:, None] > 36, -32768 * (i == 0), values("CT")[i])),
    ),
}


@pytest.mark.parametrize("text", NOTED)
def test_what_was_put_right_is_noted(tmp_path, text):
    notes: list[str] = []

    read(write_series(tmp_path, NOTED[text]), note=notes.append)

    assert text in " ".join(notes)


def cut_pixels(index, dataset):
    if index == 7:
        dataset.PixelData = dataset.PixelData[:1000]


def test_a_cut_off_file_is_counted_against_the_others(tmp_path):
    write_series(tmp_path, cut_pixels)

    assert "7 of 8 images are readable" in refusal(tmp_path).reason


def test_a_ct_without_rescale_is_read_when_the_caller_vouches_for_it(tmp_path):
    def without_rescale(index, dataset):
        signed(index, dataset)
        del dataset.RescaleSlope, dataset.RescaleIntercept

    write_series(tmp_path, without_rescale)

    np.testing.assert_array_equal(read(tmp_path, assume_hu=True).voxels, values("CT"))


def test_a_file_that_vanishes_between_search_and_reading_is_told(tmp_path):
    write_series(tmp_path)
    series = only(tmp_path)
    (tmp_path / "003.dcm").unlink()

    with pytest.raises(VolumeError, match=r"7 of 8 images are readable") as caught:
        read_series(series, pseudonym="p")
    assert caught.value.code == "unreadable"


def test_an_error_found_by_the_search_is_raised_by_reading(tmp_path):
    write_series(tmp_path, on(3, PatientID="SECOND"))

    for series in find_series(tmp_path):
        with pytest.raises(VolumeError, match="2 patients"):
            read_series(series, pseudonym="p")


@pytest.mark.parametrize("syntax", [None, *COMPRESSED.values()])
def test_flipped_bytes_give_a_volume_or_an_error_for_people_and_nothing_else(tmp_path, syntax):
    folder = write_series(tmp_path, lambda i, d: compress(d, syntax) if syntax else None)
    path, choice = folder / "003.dcm", random.Random(0)
    good = path.read_bytes()

    for _ in range(8):
        bad = bytearray(good)
        for _ in range(choice.choice([1, 3, 30])):
            bad[choice.randrange(900)] = choice.randrange(256)
        path.write_bytes(bad)
        for series in find_series(folder):
            with contextlib.suppress(VolumeError):
                assert read_series(series, pseudonym="p").voxels.shape[0] >= 3
