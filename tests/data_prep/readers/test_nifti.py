"""NIfTI in and out: what is read is what nibabel reads, and nothing damaged gets through."""

import gzip
import random
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_prep.readers.nifti import read_nifti, write_nifti
from mrct.errors import VolumeError

AFFINE = np.array([[-1, 0, 0.2, 30], [0, 1.5, 0, -40], [0.1, 0, 3, 5], [0, 0, 0, 1.0]])
VOXELS = np.random.default_rng(0).integers(-1000, 2000, (3, 4, 5)).astype(np.int16)


def read(path: Path):
    return read_nifti(path, modality="ct", pseudonym="p")


def saved(path: Path, image) -> Path:
    nibabel.save(image, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert caught.value.reason
    assert caught.value.remedy
    return caught.value.code


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_written_volume_is_read_back_by_us_and_by_nibabel(tmp_path, name):
    write_nifti(tmp_path / name, VOXELS, AFFINE)

    volume, oracle = read(tmp_path / name), nibabel.load(tmp_path / name)

    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(oracle.get_fdata().transpose(2, 1, 0), VOXELS)
    assert oracle.get_data_dtype() == np.int16
    assert (oracle.header["sform_code"], oracle.header["qform_code"]) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_scaling_of_the_header_is_applied_and_a_time_axis_of_one_is_dropped(tmp_path):
    image = nibabel.Nifti1Image(VOXELS.astype(np.float32)[..., None] / 7, AFFINE)
    image.header.set_slope_inter(0.5, -3)
    image.set_data_dtype(np.int16)
    path = saved(tmp_path / "a.nii.gz", image)

    expected = nibabel.load(path).get_fdata()[..., 0].transpose(2, 1, 0)

    np.testing.assert_allclose(read(path).voxels, expected, rtol=1e-6)


def test_no_flipped_bit_of_a_gzip_file_gets_through(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_nifti(path, VOXELS, AFFINE)
    good, choice = path.read_bytes(), random.Random(0)

    for _ in range(300):
        # Bytes 3 to 9 of a gzip file are flags, a time stamp and a system: nothing for voxels.
        byte = choice.choice([0, 1, 2, *range(10, len(good))])
        bad = bytearray(good)
        bad[byte] ^= 1 << choice.randrange(8)
        path.write_bytes(bad)

        assert refusal(path) in ("gzip-damaged", "header-damaged")


def test_a_truncated_or_renamed_file_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_nifti(path, VOXELS, AFFINE)
    content = path.read_bytes()

    path.write_bytes(content[:-20])
    assert refusal(path) == "gzip-damaged"
    path.write_bytes(gzip.decompress(content))
    assert refusal(path) == "gzip-damaged"
    (tmp_path / "b.nii").write_bytes(gzip.decompress(content)[:-1])
    assert refusal(tmp_path / "b.nii") == "header-damaged"
    (tmp_path / "b.nii").write_bytes(b"")
    assert refusal(tmp_path / "b.nii") == "header-damaged"
    assert refusal(tmp_path / "absent.nii") == "unreadable"


def test_a_header_that_claims_terabytes_is_refused_before_memory_is_taken(tmp_path):
    path = saved(tmp_path / "a.nii", nibabel.Nifti1Image(VOXELS, AFFINE))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, dtype="<i2").tobytes()
    path.write_bytes(content)

    assert refusal(path) == "header-damaged"


def test_an_affine_with_a_nan_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii", nibabel.Nifti1Image(VOXELS, AFFINE))
    content = bytearray(path.read_bytes())
    content[280:284] = np.array([np.nan], dtype="<f4").tobytes()  # srow_x[0]
    path.write_bytes(content)

    assert refusal(path) == "affine-unusable"


def headless(change) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(VOXELS.astype(np.float32), AFFINE)
    change(image)
    return image


@pytest.mark.parametrize(
    ("code", "image"),
    [
        ("not-3d", nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), AFFINE)),
        ("not-3d", nibabel.Nifti1Image(np.zeros((3, 4), np.float32), AFFINE)),
        ("no-affine", headless(lambda i: (i.set_sform(AFFINE, 0), i.set_qform(AFFINE, 0)))),
        ("affine-unusable", headless(lambda i: i.set_sform(np.diag([1, 0, 1, 1]), 1))),
        ("unit", headless(lambda i: i.header.set_xyzt_units("micron"))),
        ("voxel-type", nibabel.Nifti1Image(VOXELS.astype(np.complex64), AFFINE)),
    ],
)
def test_unusable_volumes_say_why(tmp_path, code, image):
    assert refusal(saved(tmp_path / "a.nii.gz", image)) == code


def test_every_real_head_is_read(shared):
    paths = sorted(shared.glob("*_head/*.nii.gz"))
    assert len(paths) >= 2
    for path in paths[:2]:
        image = nibabel.load(path)
        volume = read(path)
        np.testing.assert_allclose(volume.affine, image.affine)
        np.testing.assert_allclose(
            volume.voxels, image.get_fdata().squeeze().transpose(2, 1, 0), rtol=1e-6
        )
