"""A synthetic CT as DICOM is legal, lies where its MR lies, and belongs to the MR's patient."""

import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import dcm2niix
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.dicom_ct import SyntheticSeriesMetadata, ct_files
from cyclegan.translate.dicom_source import origin_of_file
from cyclegan.translate.translate import translate_inputs
from mrct.errors import ExitCode, VolumeError
from tests.support.series import both, setting, write_series

TURN = np.deg2rad(12)
ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": (
        float(np.cos(TURN)),
        float(np.sin(TURN)),
        0.0,
        float(-np.sin(TURN) * np.cos(TURN)),
        float(np.cos(TURN) ** 2),
        float(-np.sin(TURN)),
    ),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
}
SCANNED = setting(
    PatientSex="F",
    StudyDate="20240102",
    StudyID="S1",
    AccessionNumber="A1",
    BodyPartExamined="HEAD",
    SeriesNumber=7,
    PatientPosition="HFS",
)


def write_mr(folder: Path, plane: str = "axial", change=SCANNED) -> Path:
    return write_series(folder, change, modality="MR", orientation=ORIENTATIONS[plane])


def translated(model: Path, source: Path, out: Path, **options) -> Path:
    """The one result in `out`."""
    command = TranslateCommand(model=model, inputs=(source,), out=out, **options)
    assert translate_inputs(command) == ExitCode.DONE
    (result,) = out.glob("*synthetic-ct*")
    return result


def affine_of(image: SimpleITK.Image) -> np.ndarray:
    """(x, y, z, 1) indices to RAS mm."""
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = directions * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def read_by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [x, y, z] and affine."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine_of(image)


def read_by_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [x, y, z] and affine."""
    out.mkdir()
    subprocess.run(
        [dcm2niix.bin, "-z", "n", "-f", "ct", "-o", out, folder], check=True, capture_output=True
    )
    (path,) = out.glob("*.nii")
    image = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def assert_same(found: tuple[np.ndarray, np.ndarray], expected: nibabel.Nifti1Image) -> None:
    """Every voxel of the one has its place and value in the other, whichever way axes run."""
    voxels, affine = found
    wanted = np.asarray(expected.dataobj)
    assert voxels.size == wanted.size
    way = np.linalg.inv(expected.affine) @ affine
    indices = np.indices(voxels.shape).reshape(3, -1)
    at = way[:3, :3] @ indices + way[:3, 3:]
    nearest = np.rint(at).astype(int)
    mm = np.linalg.norm(expected.affine[:3, :3] @ (at - nearest), axis=0)
    assert mm.max() < 1e-3  # NIfTI keeps affines in float32
    np.testing.assert_array_equal(voxels.ravel(), wanted[tuple(nearest)])


def errors_of(folder: Path) -> list[str]:
    """What dciodvfy finds wrong with the files of a series."""
    if not shutil.which("dciodvfy"):
        pytest.skip("needs dciodvfy, from the Debian package dicom3tools")
    lines = []
    for path in sorted(folder.iterdir()):
        checked = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines += [line for line in checked.stderr.splitlines() if line.startswith("Error")]
    return lines


@pytest.fixture(scope="module", params=ORIENTATIONS)
def written(request, tmp_path_factory, tiny_model):
    """A series of each orientation, translated to DICOM and to NIfTI."""
    folder = tmp_path_factory.mktemp(request.param)
    source = write_mr(folder / "mr", request.param)
    dicom = translated(tiny_model, source, folder / "dicom")
    nifti = translated(tiny_model, source, folder / "nifti", format="nifti")
    return source, dicom, nibabel.load(nifti)


def test_simpleitk_and_dcm2niix_read_the_hu_and_the_geometry_of_the_nifti(written, tmp_path):
    source, dicom, nifti = written

    assert_same(read_by_simpleitk(dicom), nifti)
    assert_same(read_by_dcm2niix(dicom, tmp_path / "nii"), nifti)
    mr, affine = read_by_simpleitk(source)
    assert len(np.unique(np.asarray(nifti.dataobj))) > 50
    np.testing.assert_allclose(read_by_simpleitk(dicom)[1], affine, atol=1e-4)
    assert read_by_simpleitk(dicom)[0].shape == mr.shape


def test_dciodvfy_finds_no_error(written):
    assert errors_of(written[1]) == []


def test_the_series_files_beside_its_mr_and_is_not_taken_for_it(written):
    source, dicom, _ = written
    mrs = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    cts = [pydicom.dcmread(path) for path in sorted(dicom.iterdir())]

    kept = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID")
    kept += ("StudyDate", "StudyID", "AccessionNumber", "FrameOfReferenceUID", "PatientPosition")
    for keyword in kept:
        assert {str(ct[keyword].value) for ct in cts} == {str(mrs[0][keyword].value)}, keyword
    (series,) = {ct.SeriesInstanceUID for ct in cts}
    assert series != mrs[0].SeriesInstanceUID
    own = {ct.SOPInstanceUID for ct in cts}
    assert len(own) == len(cts)
    assert not own & {mr.SOPInstanceUID for mr in mrs}
    sources = {mr.SOPInstanceUID: mr for mr in mrs}
    for ct in cts:
        (reference,) = ct.SourceImageSequence
        mr = sources[reference.ReferencedSOPInstanceUID]
        np.testing.assert_allclose(ct.ImagePositionPatient, mr.ImagePositionPatient, atol=1e-4)
        np.testing.assert_allclose(ct.ImageOrientationPatient, mr.ImageOrientationPatient)
        assert (ct.RescaleSlope, ct.RescaleIntercept, ct.PixelRepresentation) == (1, 0, 1)
        assert "synthetic" in ct.SeriesDescription.lower()
        assert "research" in ct.ImageComments
        assert ct.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert "KVP" in ct
    assert [ct.InstanceNumber for ct in cts] == list(range(1, len(cts) + 1))


@pytest.mark.parametrize("plane", ["oblique", "sagittal"])
def test_axial_slices_hold_the_same_head_at_right_angles(tmp_path, tiny_model, plane):
    source = write_mr(tmp_path / "mr", plane)
    own = nibabel.load(translated(tiny_model, source, tmp_path / "own", format="nifti"))

    dicom = translated(tiny_model, source, tmp_path / "axial", axial=True)

    assert errors_of(dicom) == []
    first = pydicom.dcmread(next(dicom.iterdir()))
    assert [float(v) for v in first.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    assert float(first.PixelSpacing[0]) == float(first.PixelSpacing[1]) == pytest.approx(0.8)
    assert len(first.SourceImageSequence) == 8
    voxels, affine = read_by_simpleitk(dicom)
    at_axial, at_own = np.argwhere(voxels > -700), np.argwhere(np.asarray(own.dataobj) > -700)
    centres = [
        nibabel.affines.apply_affine(a, i.mean(axis=0))
        for a, i in ((affine, at_axial), (own.affine, at_own))
    ]
    np.testing.assert_allclose(centres[0], centres[1], atol=0.5)
    volumes = [
        len(i) * abs(np.linalg.det(a[:3, :3]))
        for a, i in ((affine, at_axial), (own.affine, at_own))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_deidentified_series_hold_no_patient_and_stay_together(tmp_path, tiny_model):
    study = tmp_path / "study"
    write_mr(study / "a")
    write_mr(study / "b", "sagittal", both(SCANNED, setting(SeriesInstanceUID="1.2.3.77")))
    out = tmp_path / "out"

    command = TranslateCommand(model=tiny_model, inputs=(study,), out=out, deidentify=True)
    assert translate_inputs(command) == ExitCode.DONE

    folders = sorted(path for path in out.iterdir() if path.is_dir())
    firsts = [pydicom.dcmread(next(folder.iterdir())) for folder in folders]
    assert len(firsts) == 2
    assert all(errors_of(folder) == [] for folder in folders)
    content = b"".join(path.read_bytes() for f in folders for path in f.iterdir())
    olds = [p for f in ("a", "b") for p in (study / f).iterdir()]
    for mr in map(pydicom.dcmread, olds):
        for keyword in ("StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            assert f"{mr[keyword].value}\0".encode() not in content + b"\0"
    for text in (b"CANARY", b"19010203", b"20240102"):
        assert text not in content
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert firsts[0][keyword].value == firsts[1][keyword].value
    assert firsts[0].SeriesInstanceUID != firsts[1].SeriesInstanceUID
    assert firsts[0].PatientIdentityRemoved == "YES"
    assert (tmp_path / "out.key").stat().st_mode & 0o777 == 0o600


def test_an_identified_result_does_not_pass_for_a_deidentified_one(tmp_path, tiny_model):
    command = TranslateCommand(
        model=tiny_model, inputs=(write_mr(tmp_path / "mr"),), out=tmp_path / "out"
    )
    assert translate_inputs(command) == ExitCode.DONE
    assert translate_inputs(replace(command, deidentify=True)) == ExitCode.FAILED
    assert translate_inputs(replace(command, deidentify=True, overwrite=True)) == ExitCode.DONE

    content = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*/*.dcm"))
    assert content
    assert b"CANARY" not in content


def test_an_input_without_a_header_gets_a_study_of_its_own(tmp_path, tiny_model):
    mr = translated(tiny_model, write_mr(tmp_path / "mr"), tmp_path / "first", format="nifti")
    model_input = tmp_path / "head.nii.gz"
    image = nibabel.load(mr)
    hu = np.asarray(image.dataobj).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image((hu + 1024).astype(np.int16), image.affine), model_input)

    dicom = translated(tiny_model, model_input, tmp_path / "out", format="dicom")

    assert errors_of(dicom) == []
    first = pydicom.dcmread(next(dicom.iterdir()))
    assert first.PatientID == dicom.name.split("_")[0]
    assert "SourceImageSequence" not in first


def test_what_dicom_cannot_say_is_refused():
    metadata, origin = SyntheticSeriesMetadata(text="t", is_moved=False), origin_of_file("n")
    skewed = np.diag([1.0, 1.0, 2.0, 1.0])
    skewed[0, 1] = 0.2
    with pytest.raises(VolumeError, match="--axial"):
        list(ct_files(np.zeros((2, 4, 4), np.int16), skewed, origin, metadata))
    with pytest.raises(AssertionError):
        list(ct_files(np.full((2, 4, 4), 4000, np.int16), np.eye(4), origin, metadata))


def test_headers_that_break_the_standard_give_files_that_do_not(tmp_path, tiny_model):
    wrong = setting(
        StudyID="far too long for a short string",
        PatientSex="Woman",
        PatientAge="seventy",
        StudyDate="2024-01-02",
        SeriesNumber=7,
    )
    with warnings.catch_warnings(action="ignore"):  # pydicom's, about the fault that is planted
        source = write_mr(tmp_path / "mr", change=wrong)

    dicom = translated(tiny_model, source, tmp_path / "out")

    assert errors_of(dicom) == []
    first = pydicom.dcmread(next(dicom.iterdir()))
    assert first.StudyID == "far too long for"
    assert first.PatientSex in ("", None)
    assert first.PatientID == "CANARY-ID"
