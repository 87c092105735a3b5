"""I18: voxels that show nothing, or are no HU and no magnitudes, are refused in every format alike;
odd ones pass in every format."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from data_prep.dicom.reader import read_series
from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.formats import read_file
from data_prep.readers.value_checks import check_values
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Note, Volume, ignore_note
from tests.data_prep.dicom.test_series import only
from tests.faults.harmful_nifti import image_of
from tests.faults.harmful_pixels import as_signed
from tests.support.series import (
    PIXEL_MM,
    SHAPE,
    SOP_CLASS,
    STEP_MM,
    set_pixels,
    write_enhanced,
    write_series,
)

Z, Y, X = np.indices(SHAPE)
INSIDE = ((Y - 19.5) / 15) ** 2 + ((X - 17.5) / 12) ** 2 < 1
NOISE = np.random.default_rng(0).normal(0, 1, SHAPE)
HEAD_CT = np.where(INSIDE, 40 + 9 * NOISE, -1000 + 9 * NOISE)
HEAD_MRI = np.abs(np.where(INSIDE, 500 + 50 * NOISE, 9 * NOISE))


def with_some(values, number, voxels=1):
    changed = values.copy()
    changed.flat[:voxels] = number
    return changed


REFUSED = {
    "one value in a CT": ("constant", "ct", np.full(SHAPE, 40.0)),
    "one value in an MR": ("constant", "mri", np.zeros(SHAPE)),
    "air alone": ("all-air", "ct", -1000 + 9 * NOISE),
    "air and five voxels": ("all-air", "ct", with_some(-1000 + 9 * NOISE, 3000, 5)),
    "an intercept applied twice": ("all-air", "ct", HEAD_CT - 1024),
    "HU that are halved": ("modality-conflict", "ct", HEAD_CT / 2),
    "HU times ten": ("modality-conflict", "ct", HEAD_CT * 10),
    "HU stored shifted by 1024": ("modality-conflict", "ct", HEAD_CT + 1024),
    "HU that are halved, without noise in air": (
        "modality-conflict",
        "ct",
        np.where(INSIDE, HEAD_CT / 2, -512),
    ),
    "an MR filed as CT": ("modality-conflict", "ct", HEAD_MRI),
    "a stripped MR in grey levels filed as CT": (
        "modality-conflict",
        "ct",
        np.where(INSIDE, 90 + 9 * NOISE, 0),
    ),
    "0 for all air of a CT": ("modality-conflict", "ct", np.where(INSIDE, HEAD_CT, 0)),
    "a CT filed as MR": ("modality-conflict", "mri", HEAD_CT),
    "an MR in which one number overflowed": (
        "negative-magnitudes",
        "mri",
        with_some(HEAD_MRI, -32768),
    ),
    "an MR moved below zero in which one number overflowed": (
        "negative-magnitudes",
        "mri",
        with_some(HEAD_MRI - 900, -32768),
    ),
    "a phase picture": ("standardised", "mri", 100 * np.angle(NOISE + 1j * NOISE[::-1])),
    "an MR standardised inside the head, 0 outside": (
        "standardised",
        "mri",
        np.where(INSIDE, 100 * NOISE, 0),
    ),
    "an MR of tissue alone, standardised": ("standardised", "mri", 100 * NOISE),
    "HU times four": ("modality-conflict", "ct", HEAD_CT * 4),
    "HU times ten, without noise in air": (
        "modality-conflict",
        "ct",
        10 * np.where(INSIDE, np.where(X < 9, 1000, 5) + 9 * NOISE, -1024),
    ),
    "a CT padded with 3071": ("modality-conflict", "ct", np.where(Y < 36, HEAD_CT, 3071)),
}
ACCEPTED = {
    "a CT": ("ct", HEAD_CT),
    "a CT padded with -3024": ("ct", with_some(HEAD_CT, -3024, 500)),
    "metal in a CT": ("ct", with_some(HEAD_CT, 30000)),
    "a CT of which little is body": ("ct", np.where((Y < 4) & (X < 4), 40, -1000)),
    "an MR": ("mri", HEAD_MRI),
    "a standardised MR": ("mri", 100 * (HEAD_MRI - HEAD_MRI.mean()) / HEAD_MRI.std()),
    "an MR with negative noise": ("mri", HEAD_MRI - 20),
    "an MR far below zero": ("mri", HEAD_MRI - 5000),
    "an MR far above zero": ("mri", HEAD_MRI + 5000),
    "a drawn CT of few values": ("ct", np.select([X < 10, INSIDE], [0, 40 + X % 2 * 300], -1000)),
    "a CT clipped at 200 HU": ("ct", np.where(INSIDE & (Y < 10), 200, HEAD_CT.clip(-1024, 200))),
    "a bright voxel in an MR": ("mri", with_some(HEAD_MRI, 32767)),
    "a mask": ("mri", INSIDE),
}


FILLED = {
    "0 beside some air": np.where(Y < 36, HEAD_CT, 0),
    "40 in two corners": np.where(np.abs(X - Y) > 25, 40, HEAD_CT),
    "-500 after padding": np.where(X > 4, HEAD_CT, -500),
    "0 in a face cut out, and 25 beside": np.select([Y < 8, Y > 36], [0, 25], HEAD_CT),
}
"""CTs with values where nothing was measured."""


def as_dicom(folder: Path, voxels: np.ndarray, modality: Modality) -> None:
    change = as_signed(lambda index: voxels[index])
    write_series(folder, change, modality={"ct": "CT", "mri": "MR"}[modality])


def as_enhanced_dicom(folder: Path, voxels: np.ndarray, modality: Modality) -> None:
    def change(dataset) -> None:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.Modality = {"ct": "CT", "mri": "MR"}[modality]
        dataset.SOPClassUID = SOP_CLASS[dataset.Modality] + ".1"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        order = []
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            height = frame.PlanePositionSequence[0].ImagePositionPatient[2]
            order.append(round((height + 90) / STEP_MM))
            rescale = frame.PixelValueTransformationSequence[0]
            rescale.RescaleSlope, rescale.RescaleIntercept = 1, 0
        set_pixels(dataset, voxels[order])

    write_enhanced(folder / "a.dcm", change)


def as_nifti(folder: Path, voxels: np.ndarray, modality: Modality) -> None:
    image_of(voxels=voxels, dtype=voxels.dtype).to_filename(folder / "a.nii.gz")


def by_itk(suffix: str) -> Callable[[Path, np.ndarray, Modality], None]:
    def write(folder: Path, voxels: np.ndarray, modality: Modality) -> None:
        image = SimpleITK.GetImageFromArray(voxels)
        image.SetSpacing((*PIXEL_MM[::-1], STEP_MM))
        SimpleITK.WriteImage(image, folder / f"a{suffix}")

    return write


FILES = {"NIfTI": as_nifti, "MHA": by_itk(".mha"), "NRRD": by_itk(".nrrd")}
FORMATS = {"DICOM": as_dicom, "enhanced DICOM": as_enhanced_dicom, **FILES}


def read(folder: Path, modality: Modality, note: Note = ignore_note) -> Volume:
    """The one volume of a folder, by the reader of its format."""
    paths = list(folder.iterdir())
    if paths[0].suffix == ".dcm":
        return read_series(only(folder), pseudonym="p", note=note)
    return read_file(paths[0], modality=modality, pseudonym="p", note=note)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", REFUSED)
def test_the_same_voxels_meet_the_same_refusal_in_every_format(tmp_path, what, form):
    code, modality, voxels = REFUSED[what]
    stored = np.rint(voxels).astype(np.int16)
    with pytest.raises(VolumeError) as expected:
        check_values(stored, modality)
    FORMATS[form](tmp_path, stored, modality)

    with pytest.raises(VolumeError) as caught:
        read(tmp_path, modality)

    assert caught.value.code == expected.value.code == code
    assert (caught.value.reason, caught.value.remedy) == (
        expected.value.reason,
        expected.value.remedy,
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ACCEPTED)
def test_the_same_voxels_are_accepted_in_every_format(tmp_path, what, form):
    modality, voxels = ACCEPTED[what]
    stored = np.rint(voxels).astype(np.int16)
    FORMATS[form](tmp_path, stored, modality)

    np.testing.assert_array_equal(read(tmp_path, modality).voxels, stored)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", FILLED)
def test_fill_becomes_air_in_every_format_and_is_said(tmp_path, what, form):
    stored = np.rint(FILLED[what]).astype(np.int16)
    fills = (FILLED[what] != HEAD_CT) & (stored > -900)
    FORMATS[form](tmp_path, stored, "ct")
    notes: list[str] = []

    voxels = read(tmp_path, "ct", notes.append).voxels

    assert (voxels[fills] == -1024).all()
    assert (voxels == stored)[~fills].mean() > 0.99  # tissue of that value beside it may go too
    for value in np.unique(stored[fills]):
        assert any(f"are exactly {value} HU" in note for note in notes)


@pytest.mark.parametrize("form", FILES)  # DICOM stores no such numbers; its slopes can make them
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_in_every_format(tmp_path, form, number):
    FILES[form](tmp_path, with_some(HEAD_CT, number, 1152).astype(np.float32), "ct")

    with pytest.raises(VolumeError) as caught:
        read(tmp_path, "ct")

    assert caught.value.code == "not-finite"
    assert "1,152 voxels (10.00%)" in caught.value.reason


@pytest.mark.parametrize("form", FORMATS)
def test_voxels_below_all_matter_are_noted_in_every_format(tmp_path, form):
    notes: list[str] = []
    FORMATS[form](tmp_path, with_some(HEAD_CT, -3024, 500).astype(np.int16), "ct")

    read(tmp_path, "ct", notes.append)

    assert "500 voxels are below -1100 HU, which is impossible; they become air." in notes


@pytest.mark.parametrize("form", FORMATS)
def test_a_volume_is_checked_once_until_it_is_in_the_store_s_form(tmp_path, form):
    FORMATS[form](tmp_path, HEAD_CT.astype(np.int16), "ct")
    code, calls = inspect.unwrap(check_values).__code__, []

    def count(frame, event, _) -> None:
        if event == "call" and frame.f_code is code:
            calls.append(frame.f_lineno)

    sys.setprofile(count)
    try:
        preprocess(
            read(tmp_path, "ct"), PreprocessingSpec(spacing_mm=(3.0, 1.0, 1.0), size=(48, 48))
        )
    finally:
        sys.setprofile(None)

    assert len(calls) == 1


def test_small_magnitudes_and_fractions_pass():
    check_values((HEAD_MRI / 1e4).astype(np.float32), "mri")
    check_values(((HEAD_MRI - HEAD_MRI.mean()) / HEAD_MRI.std()).astype(np.float32), "mri")


def test_a_ct_that_is_all_padding_is_no_picture():
    with pytest.raises(VolumeError, match="Every voxel is padding"):
        check_values(np.zeros(0, np.float32), "ct")


def test_real_cts_pass_and_are_refused_halved_shifted_or_as_an_mr(shared):
    for path in sorted((shared / "ct_head").glob("*.nii.gz")):
        hu = read_file(path, modality="ct", pseudonym="p").voxels
        for changed, modality in ((hu / 2, "ct"), (hu + 1024, "ct"), (hu, "mri")):
            with pytest.raises(VolumeError) as caught:
                check_values(np.asarray(changed, np.float32), modality)
            assert caught.value.code == "modality-conflict"


def test_real_mris_pass_and_are_refused_as_a_ct(shared):
    for path in sorted((shared / "mri_head").glob("*.nii.gz")):
        magnitudes = read_file(path, modality="mri", pseudonym="p").voxels
        with pytest.raises(VolumeError) as caught:
            check_values(magnitudes, "ct")
        assert caught.value.code == "modality-conflict"
