"""What a NIfTI header says must be one thing, and one that can be: I17, each field by its name."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from data_prep.readers.nifti import read_nifti, write_nifti
from mrct.errors import VolumeError

AFFINE = np.array([[-1, 0, 0.2, 30], [0, 1.5, 0, -40], [0.1, 0, 3, 5], [0, 0, 0, 1.0]])
UPRIGHT = np.array([[-1, 0, 0, 30], [0, 1.5, 0, -40], [0, 0, 3, 5], [0, 0, 0, 1.0]])
VOXELS = np.random.default_rng(0).integers(-1000, 2000, (3, 4, 5)).astype(np.int16)


def read(path: Path, **leniency):
    return read_nifti(path, modality="ct", pseudonym="p", **leniency)


def refusal(path: Path) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read(path)
    return caught.value


def edited(folder: Path, **fields) -> Path:
    """An upright volume whose header's bytes were changed behind nibabel's back."""
    path = folder / "a.nii"
    write_nifti(path, VOXELS, UPRIGHT)
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        if name.startswith("pixdim"):
            header["pixdim"][int(name[-1])] = value
        else:
            header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.mark.parametrize(
    ("code", "named", "fields"),
    [
        ("pixdim", "pixdim", {"pixdim1": 0}),
        ("pixdim", "pixdim", {"pixdim2": -1.5}),
        ("pixdim", "pixdim", {"pixdim3": np.nan}),
        ("slope", "scl_slope", {"scl_slope": np.inf}),
        ("slope", "scl_inter", {"scl_slope": np.nan, "scl_inter": -1024}),
        ("slope", "scl_inter", {"scl_inter": np.nan}),
        ("slope", "scl_inter", {"scl_slope": 0, "scl_inter": -1024}),
        ("no-affine", "qform_code", {"sform_code": 0, "qform_code": 0}),
        ("affine-conflict", "qform_code", {"srow_x": [1, 0, 0, 30]}),
        ("affine-conflict", "qform_code", {"qoffset_z": 9}),
        ("affine-conflict", "pixdim", {"pixdim3": 5, "qform_code": 0}),
        ("affine-unusable", "affine", {"srow_y": [0, 0, 0, 0]}),
        ("unit", "xyzt_units", {"xyzt_units": 3}),
        ("unit", "xyzt_units", {"xyzt_units": 1}),
        ("unit", "xyzt_units", {"xyzt_units": 7}),
        ("voxel-type", "datatype", {"datatype": 20}),
        ("header-damaged", "qform_code", {"qform_code": 70}),
        ("header-damaged", "sform_code", {"sform_code": -1}),
        ("header-damaged", "vox_offset", {"vox_offset": 352.5}),
        ("header-damaged", "bitpix", {"bitpix": 8}),
        ("header-damaged", "dim", {"dim": [3, 5, 4, -3, 1, 1, 1, 1]}),
        ("header-damaged", "dim", {"dim": [9, 5, 4, 3, 1, 1, 1, 1]}),
        ("header-damaged", "vox_offset", {"vox_offset": 0}),
        ("header-damaged", "more", {"dim": [3, 5, 4, 2, 1, 1, 1, 1]}),
        ("header-damaged", "magic", {"magic": b"n+9"}),
        ("detached-data", "magic", {"magic": b"ni1"}),
        ("not-3d", "4 x 1 x 3", {"dim": [4, 5, 4, 1, 3, 1, 1, 1]}),
    ],
)
def test_a_header_that_cannot_be_true_is_refused_by_the_fields_name(tmp_path, code, named, fields):
    error = refusal(edited(tmp_path, **fields))

    assert error.code == code
    assert named in error.reason + error.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scl_slope": 0},  # "not scaled", by the standard
        {"qform_code": 0},
        {"sform_code": 0},
        {"sform_code": 4},
        {"pixdim3": 3.00001},
        {"qoffset_x": 30.1},
        {"xyzt_units": 0},
        {"dim": [4, 5, 4, 3, 1, 1, 1, 1]},
        {"dim": [5, 5, 4, 3, 1, 1, 1, 1]},
        {"cal_max": np.nan},
    ],
    ids=str,
)
def test_what_is_odd_but_legal_is_read_in_its_place(tmp_path, fields):
    volume = read(edited(tmp_path, **fields))

    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_allclose(volume.affine, UPRIGHT, atol=0.11)


def test_a_sheared_sform_agrees_with_the_qform_that_cannot_hold_it(tmp_path):
    write_nifti(tmp_path / "a.nii", VOXELS, AFFINE)

    np.testing.assert_allclose(read(tmp_path / "a.nii").affine, AFFINE, atol=1e-6)


def test_an_unplaced_volume_is_read_where_the_caller_vouches_for_it(tmp_path):
    notes = []
    path = edited(tmp_path, sform_code=0, qform_code=0)

    volume = read(path, assume_affine=True, note=notes.append)

    np.testing.assert_allclose(volume.affine, nibabel.load(path).affine)
    np.testing.assert_allclose(np.diag(volume.affine), [-1, 1.5, 3, 1])
    assert len(notes) == 1


def test_vouching_changes_nothing_for_a_file_that_says_where_it_is(tmp_path):
    notes = []

    volume = read(edited(tmp_path), assume_affine=True, note=notes.append)

    np.testing.assert_allclose(volume.affine, UPRIGHT, atol=1e-6)
    assert not notes


def test_all_orientations_that_simpleitk_writes_are_no_conflict(tmp_path):
    for turn in (np.eye(3)[[1, 2, 0]], np.diag([-1.0, -1, 1]), -np.eye(3)[[2, 1, 0]]):
        image = SimpleITK.GetImageFromArray(VOXELS)
        image.SetDirection(turn.ravel())
        SimpleITK.WriteImage(image, tmp_path / "a.nii.gz")

        expected = np.diag([-1, -1, 1]) @ turn
        np.testing.assert_allclose(read(tmp_path / "a.nii.gz").affine[:3, :3], expected, atol=1e-6)
