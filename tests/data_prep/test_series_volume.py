"""Series to volumes: HU and geometry are SimpleITK's, and doubtful pixels are refused."""

import contextlib
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.uid import JPEG2000Lossless, RLELossless

import data_prep.series_volume
from data_prep.errors import VolumeError
from data_prep.series import find_series
from data_prep.series_volume import read_series
from data_prep.volume import Volume
from tests.data_prep.test_series import lacking, on, only, setting
from tests.series import AXIAL, SHAPE, pixels_of, set_pixels, values, write_enhanced, write_series

TURN = np.deg2rad(25)
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN) * 0.6, np.cos(TURN) * 0.6, 0.8)


def read(folder: Path, **how) -> Volume:
    return read_series(only(folder), pseudonym="p", **how)


def refusal(folder: Path, **how) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read(folder, **how)
    assert caught.value.reason
    assert caught.value.remedy
    return caught.value


def itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [z, y, x] and the affine in RAS as SimpleITK has them."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


@pytest.fixture(autouse=True)
def quiet_itk():
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for archive in sorted((shared / "dicom").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder / archive.name.split("_")[0], filter="data")
    return folder


def assert_equals_itk(folder: Path, tolerance_mm: float = 1e-4) -> None:
    volume = read(folder)
    voxels, affine = itk(folder)

    np.testing.assert_allclose(volume.voxels, voxels, rtol=1e-6, atol=1e-4)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in voxels.shape[::-1]], [1])).reshape(4, -1)
    np.testing.assert_allclose(volume.affine @ corners, affine @ corners, atol=tolerance_mm)


@pytest.mark.parametrize(
    ("place", "tolerance_mm"),
    [
        ("mirp/STS_002/CT", 1e-4),
        ("mirp/STS_002/MR_T1", 1e-4),
    ],
)
def test_real_series_equal_simpleitk(real, place, tolerance_mm):
    assert_equals_itk(real / place, tolerance_mm)


def test_an_mr_whose_positions_were_rounded_to_a_tenth_mm_is_accepted(real):
    """Gaps of 6.96 to 7.07 mm, but no slice is more than 0.05 mm off the best even grid."""
    assert read(real / "papaya").grid.shape == (20, 256, 256)

    (real / "papaya/brain_001.dcm").unlink()  # SimpleITK needs 4 s for its 2.5 MB of header
    # Its line goes from the first to the last slice, which are rounded, too.
    assert_equals_itk(real / "papaya", tolerance_mm=0.1)


@pytest.mark.parametrize(
    ("place", "tolerance_mm"),
    [
        ("anatomical/001", 1e-4),
        ("anatomical/001_implicit", 1e-4),
        # Its slices go 0.007 degrees off their normal; SimpleITK sets them at right angles.
        ("anatomical/002_non_isotropic", 3e-4),
        ("compressed/001", 1e-4),
        ("compressed_j2k/001", 1e-4),
        ("compressed_jpeg/001", 1e-4),
        ("compressed_jpegls/001", 1e-4),
        ("compressed_rle/001", 1e-4),
    ],
)
def test_every_transfer_syntax_equals_simpleitk(shared, place, tolerance_mm):
    assert_equals_itk(shared / "odd/transfer_syntaxes" / place, tolerance_mm)


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0), OBLIQUE],
    ids=["axial", "coronal", "sagittal", "prone", "oblique"],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_orientation_equals_simpleitk(tmp_path, modality, orientation):
    write_series(tmp_path, modality=modality, orientation=orientation)

    assert_equals_itk(tmp_path)
    assert read(tmp_path).modality == {"CT": "ct", "MR": "mri"}[modality]
    np.testing.assert_array_equal(read(tmp_path).voxels, values(modality))


def test_slices_that_run_downwards_become_a_stack_that_runs_up(tmp_path):
    write_series(tmp_path, step=(0, 0, -3))

    assert_equals_itk(tmp_path)
    np.testing.assert_array_equal(read(tmp_path).voxels, values("CT")[::-1])


def test_the_head_ct_with_tilt_and_three_gaps_is_refused_and_says_so(real):
    error = refusal(real / "dcm")

    assert "tilt of 18.5 degrees" in error.reason
    assert "gaps of 4 mm (13 times), 7 mm (13 times), 1.08 mm" in error.reason
    assert "--resample-tilt" in error.remedy
    assert "--resample-irregular" in error.remedy


def test_the_head_ct_is_read_when_both_are_asked_for(real):
    volume = read(real / "dcm", resample_tilt=True, resample_irregular=True)

    assert volume.spacing_mm[0] == pytest.approx(4.002 / np.cos(np.deg2rad(18.5)), abs=1e-3)
    assert volume.voxels.min() == -1024  # the corners, stored as -1500, are padding
    assert volume.voxels.shape[0] == 37  # 145 mm in steps of 4


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
    "rle": (lambda index, dataset: dataset.compress(RLELossless), values("CT")),
    "jpeg 2000": (lambda index, dataset: dataset.compress(JPEG2000Lossless), values("CT")),
}


@pytest.mark.parametrize("coding", CODED)
def test_stored_numbers_become_hounsfield_units(tmp_path, monkeypatch, coding):
    change, expected = CODED[coding]
    write_series(tmp_path, change)
    # Fractional slopes make numbers that are no head: here only the arithmetic is looked at.
    monkeypatch.setattr(data_prep.series_volume, "check_values", lambda values, modality: None)

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


def cut_pixels(index, dataset):
    if index == 7:
        dataset.PixelData = dataset.PixelData[:1000]


def as_ct(index, dataset):
    set_pixels(dataset, values("MR")[index])
    dataset.RescaleIntercept = 0


def mr_on_the_scale_of_ct(index, dataset):
    set_pixels(dataset, values("MR")[index])


def as_mr(index, dataset):
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    set_pixels(dataset, values("CT")[index])


def without_rescale(index, dataset):
    del dataset.RescaleSlope, dataset.RescaleIntercept


REFUSED = {
    "pixels cut off": ("CT", cut_pixels, "pixels-unreadable"),
    "no rescale on one slice of a CT": ("CT", lacking(7, "RescaleIntercept"), "rescale-missing"),
    "rescale on one slice of an MR": (
        "MR",
        on(7, RescaleSlope=2, RescaleIntercept=0),
        "rescale-missing",
    ),
    "no rescale on any slice of a CT": ("CT", without_rescale, "rescale-missing"),
    "a CT in other units": ("CT", setting(RescaleType="Z_EFF"), "not-hounsfield"),
    "a slope of 0": ("CT", on(3, RescaleSlope=0), "rescale-unusable"),
    "an MR filed as CT": ("CT", as_ct, "modality-conflict"),
    "an MR filed as CT with a CT's rescale": ("CT", mr_on_the_scale_of_ct, "modality-conflict"),
    "a CT filed as MR": ("MR", as_mr, "modality-conflict"),
    "a CT inverted with MONOCHROME1": (
        "CT",
        lambda index, dataset: (
            setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"),
            set_pixels(dataset, 4095 - pixels_of(dataset).astype(int)),
        ),
        "modality-conflict",
    ),
    "a transfer syntax that nothing decodes": (
        "CT",
        lambda index, dataset: (
            dataset.compress(RLELossless),
            setattr(dataset.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.100"),
        ),
        "transfer-syntax",
    ),
    "a matrix of gigabytes": ("CT", setting(Rows=65535, Columns=65535), "too-large"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_pixels_that_cannot_be_trusted_are_refused(tmp_path, fault):
    modality, change, code = REFUSED[fault]
    write_series(tmp_path, change, modality=modality)

    assert refusal(tmp_path).code == code


def test_a_cut_off_file_is_counted_against_the_others(tmp_path):
    write_series(tmp_path, cut_pixels)

    assert "7 of 8 images are readable" in refusal(tmp_path).reason


def test_a_ct_without_rescale_is_read_when_the_caller_vouches_for_it(tmp_path):
    write_series(tmp_path, lambda i, d: (signed(i, d), without_rescale(i, d)))

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


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_flipped_bytes_give_a_volume_or_an_error_for_people_and_nothing_else(tmp_path, syntax):
    folder = write_series(tmp_path, lambda i, d: d.compress(syntax) if syntax else None)
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
