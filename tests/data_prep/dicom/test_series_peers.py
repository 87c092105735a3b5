"""Real series: voxels and geometry are those that SimpleITK and dcm2niix read from the files."""

import subprocess
import tarfile
from pathlib import Path

import dcm2niix
import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from data_prep.dicom.reader import read_series
from data_prep.dicom.series import find_series
from data_prep.readers.tolerances import Leniency
from mrct.errors import VolumeError
from mrct.imaging.volume import Volume
from tests.support.series import AXIAL, values, write_series

TURN = np.deg2rad(25)
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN) * 0.6, np.cos(TURN) * 0.6, 0.8)
SYNTAXES = [
    "anatomical/001",
    "anatomical/001_implicit",
    "anatomical/002_non_isotropic",
    "compressed/001",
    "compressed_j2k/001",
    "compressed_jpeg/001",
    "compressed_jpegls/001",
    "compressed_rle/001",
]


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for archive in sorted((shared / "dicom").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder / archive.name.split("_")[0], filter="data")
    # Its header of 2.5 MB takes SimpleITK 4 s; it is an end slice.
    (folder / "papaya/brain_001.dcm").unlink()
    return folder


@pytest.fixture(autouse=True)
def quiet_itk():
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def read(folder: Path, **how: bool) -> Volume:
    (series,) = find_series(folder)
    return read_series(series, pseudonym="p", leniency=Leniency(**how))


def by_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [z, y, x] and the affine in RAS."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


def run_dcm2niix(folder: Path, out: Path) -> list[Path]:
    """All NIfTI files that dcm2niix makes of a folder."""
    out.mkdir()
    command = [dcm2niix.bin, "-b", "n", "-z", "n", "-f", "result", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return sorted(out.glob("*.nii"))


def by_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [z, y, x] and the affine in RAS."""
    (path,) = run_dcm2niix(folder, out)
    image = nibabel.load(path)
    return image.get_fdata(dtype=np.float32).transpose(), image.affine


def upright(voxels: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    """The same volume with axes nearest to right, front, up: each library has its own order."""
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels.transpose(), affine))


def assert_equal(volume: Volume, peer: tuple[np.ndarray, np.ndarray], tolerance_mm: float) -> None:
    """Equal voxels, and the corners at the same places."""
    own, other = upright(volume.voxels, volume.affine), upright(*peer)
    np.testing.assert_allclose(own.get_fdata(), other.get_fdata(), rtol=1e-6, atol=1e-4)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in own.shape], [1])).reshape(4, -1)
    np.testing.assert_allclose(own.affine @ corners, other.affine @ corners, atol=tolerance_mm)


@pytest.mark.parametrize(
    ("place", "itk_mm", "dcm2niix_mm"),
    [
        # dcm2niix takes the gap between two slices in 32 bits: 3.26996 mm for the header's 3.27.
        ("mirp/STS_002/CT", 1e-4, 3e-3),
        ("mirp/STS_002/MR_T1", 1e-4, 1e-4),
        # Positions rounded to 0.1 mm. ITK draws its line from the first slice to the last one,
        # dcm2niix from the first to the second, which adds up over 19 slices.
        ("papaya", 0.1, 0.7),
    ],
)
def test_real_series_equal_both(real, tmp_path, place, itk_mm, dcm2niix_mm):
    volume = read(real / place)

    for peer, mm in (
        (by_itk(real / place), itk_mm),
        (by_dcm2niix(real / place, tmp_path / "out"), dcm2niix_mm),
    ):
        # An MR's padding stands here at the level of its background, and there at zero.
        voxels, affine = np.maximum(peer[0], volume.voxels.min()), peer[1]
        assert_equal(volume, (voxels, affine), mm)


@pytest.mark.parametrize("place", SYNTAXES)
def test_every_transfer_syntax_equals_both(shared, tmp_path, place):
    folder = shared / "odd/transfer_syntaxes" / place
    volume = read(folder)

    # Its slices go 0.007 degrees off their normal; both set them at right angles.
    tolerance_mm = 3e-4 if place.endswith("non_isotropic") else 1e-4
    assert_equal(volume, by_itk(folder), tolerance_mm)
    assert_equal(volume, by_dcm2niix(folder, tmp_path / "out"), tolerance_mm)


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0), OBLIQUE],
    ids=["axial", "coronal", "sagittal", "prone", "oblique"],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_orientation_equals_simpleitk(tmp_path, modality, orientation):
    write_series(tmp_path, modality=modality, orientation=orientation)

    volume = read(tmp_path)

    assert_equal(volume, by_itk(tmp_path), 1e-4)
    assert volume.modality == {"CT": "ct", "MR": "mri"}[modality]
    np.testing.assert_array_equal(volume.voxels, values(modality))


def test_an_mr_whose_positions_were_rounded_to_a_tenth_mm_is_accepted(shared, tmp_path):
    """Gaps of 6.96 to 7.07 mm, but no slice is more than 0.05 mm off the best even grid."""
    with tarfile.open(shared / "dicom/papaya_MR_PD_20slices.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")

    assert read(tmp_path).grid.shape == (20, 256, 256)


def test_the_head_ct_with_tilt_and_three_gaps_is_refused_and_says_so(real):
    with pytest.raises(VolumeError) as caught:
        read(real / "dcm")

    assert "tilt of 18.5 degrees" in caught.value.reason
    assert "gaps of 4 mm (13 times), 7 mm (13 times), 1.08 mm (once)" in caught.value.reason
    assert "--resample-tilt" in caught.value.remedy
    assert "--resample-irregular" in caught.value.remedy


def test_the_head_ct_is_read_when_both_are_asked_for(real):
    volume = read(real / "dcm", resample_tilt=True, resample_irregular=True)

    assert volume.spacing_mm[0] == pytest.approx(4.002 / np.cos(np.deg2rad(18.5)), abs=1e-3)
    assert volume.voxels.min() == -1024  # the corners, stored as -1500, are padding
    assert volume.voxels.shape[0] == 37  # 145 mm in steps of 4


def test_the_straightened_head_lies_where_dcm2niix_puts_it(real, tmp_path):
    """dcm2niix shears and interpolates in its own way: alike to a few HU, and nowhere else."""
    volume = read(real / "dcm", resample_tilt=True, resample_irregular=True)
    (path,) = (path for path in run_dcm2niix(real / "dcm", tmp_path / "out") if "Eq" in path.name)
    image = nibabel.load(path)
    peer = image.get_fdata(dtype=np.float32)[::8, ::8, ::2]  # [x, y, z]
    indices = np.stack([*(np.indices(peer.shape).T * (8, 8, 2)).T, np.ones_like(peer)])
    places_mm = np.tensordot(image.affine, indices, axes=1)

    def apart_hu(shift_mm: tuple[float, float, float]) -> float:
        moved = places_mm + np.array([*shift_mm, 0]).reshape(4, 1, 1, 1)
        x, y, z, _ = np.tensordot(np.linalg.inv(volume.affine), moved, axes=1)
        own = ndimage.map_coordinates(volume.voxels, [z, y, x], order=1, cval=-1024)
        return float(np.median(np.abs(own - peer)[(own > -300) | (peer > -300)]))

    assert apart_hu((0, 0, 0)) < 8
    for axis in np.eye(3):
        for way in (-4, 4):
            assert apart_hu(tuple(way * axis)) > 1.5 * apart_hu((0, 0, 0))
