"""From a file to the store and back: every voxel comes home, whatever the file's axes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti, write_nifti
from data_prep.store.store import open_store
from mrct.imaging.geometry import resample
from mrct.imaging.volume import Grid, Volume

SPEC = PreprocessingSpec(spacing_mm=(4.0, 3.0, 3.0), size=(88, 72))
SIZES_MM = (3.0, 3.5, 5.0)  # of the file's voxels along x, y, z
COUNTS = (72, 76, 44)
MARKS_MM = {"right": (40.0, 5.0, 10.0), "front": (-5.0, 55.0, -15.0), "up": (8.0, -10.0, 55.0)}
HU = {"right": 900.0, "front": 1500.0, "up": 2400.0}
"""One mark on each side, so that no flip or swap of axes maps the head on itself."""


def head_on(affine, shape) -> Volume:
    """A soft-edged ellipsoid head of 40 HU with three bright marks, [z, y, x]."""
    z, y, x = np.indices(shape)
    points = np.stack([x, y, z, np.ones(shape)], axis=-1) @ affine.T
    mm = points[..., :3]
    depth = np.linalg.norm(mm / (75, 95, 85), axis=-1)
    hu = -1000 + 1040 / (1 + np.exp((depth - 1) * 40))
    for side, centre in MARKS_MM.items():
        hu += HU[side] * np.exp(-(np.linalg.norm(mm - centre, axis=-1) ** 2) / (2 * 7.0**2))
    return Volume(voxels=hu.astype(np.float32), affine=affine, modality="ct", pseudonym="p")


def file_of(order, signs, degrees=(0, 0, 0), shear=0.0) -> Volume:
    """The head on a grid whose axis i runs along world axis order[i], forwards or backwards."""
    steps = np.zeros((3, 3))
    for own, (world, sign) in enumerate(zip(order, signs, strict=True)):
        steps[world, own] = sign * SIZES_MM[world]
    steps[:, 2] += shear * steps[:, 1]
    steps = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ steps
    counts = np.array([COUNTS[world] for world in order])
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = -steps @ ((counts - 1) / 2) + [3, -4, 2]
    return head_on(affine, tuple(int(n) for n in counts[::-1]))


def back_from(voxels, affine, source: Grid) -> Volume:
    stored = Volume(voxels=voxels, affine=affine, modality="ct", pseudonym="p")
    return resample(stored, source, fill=-1024)


def assert_home(back: Volume, volume: Volume, most_hu: float) -> None:
    """Shape and affine are the file's, the marks are where they were, voxels what they were."""
    assert back.voxels.shape == volume.voxels.shape
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    inside = ndimage.binary_erosion(volume.voxels > -300, iterations=2)
    assert np.abs(back.voxels - volume.voxels)[inside].mean() < most_hu
    for side, centre in MARKS_MM.items():
        to_index = np.linalg.inv(back.affine)
        x, y, z = np.rint(to_index @ [*centre, 1])[:3].astype(int)
        around = back.voxels[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3]
        peak = np.array(np.unravel_index(around.argmax(), around.shape)) - 2
        assert np.abs(peak).max() <= 1, side
        assert around.max() > 40 + 0.7 * HU[side], side


ORIENTATIONS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orders_and_signs_of_axes_come_home(order, signs):
    volume = file_of(order, signs)

    made = preprocess(volume, SPEC)

    # Upright: the mark on the right is in the first columns, the front one in the first rows.
    peaks = {s: np.linalg.inv(made.affine) @ [*mm, 1] for s, mm in MARKS_MM.items()}
    for x, y, z, _ in peaks.values():
        at = tuple(int(i) for i in np.rint([z, y, x]))
        assert made.voxels[at] > 500
    assert peaks["right"][0] < made.grid.shape[2] / 2 - 8
    assert peaks["front"][1] < made.grid.shape[1] / 2 - 8
    assert peaks["up"][2] > made.grid.shape[0] / 2 + 8
    assert_home(back_from(made.voxels, made.affine, made.source), volume, most_hu=12)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize(
    ("degrees", "shear"),
    [((12, -9, 17), 0), ((44, 3, -40), 0), ((0, 0, 0), 0.3), ((5, 8, -6), -0.3)],
)
def test_oblique_and_sheared_files_come_home(degrees, shear, interpolation):
    """Up to 44 degrees, and a gantry's tilt of 17 degrees left in the affine."""
    volume = file_of((0, 1, 2), (-1, 1, 1), degrees, shear)
    spec = PreprocessingSpec(
        spacing_mm=(4.0, 3.0, 3.0), size=(112, 112), interpolation=interpolation
    )

    made = preprocess(volume, spec)

    assert_home(back_from(made.voxels, made.affine, made.source), volume, most_hu=12)


def test_a_cubic_spline_loses_less_on_the_way_in():
    volume = file_of((2, 0, 1), (-1, 1, -1), (4, 0, 7))
    errors = {}
    for interpolation in ("linear", "cubic"):
        made = preprocess(volume, replace(SPEC, spacing_mm=(2.9,) * 3, interpolation=interpolation))
        truth = head_on(made.affine, made.grid.shape).voxels
        inside = ndimage.binary_erosion(truth > -300, iterations=3)
        errors[interpolation] = np.abs(made.voxels - truth)[inside].mean()

    assert errors["cubic"] < 0.5 * errors["linear"]


def test_a_sagittal_file_comes_home_through_a_real_store(tmp_path):
    volume = file_of((1, 2, 0), (-1, -1, 1), (3, 5, -4))
    volume = volume.on(volume.grid, np.rint(volume.voxels).astype(np.int16))
    (tmp_path / "ct").mkdir()
    write_nifti(tmp_path / "ct/0.nii.gz", volume.voxels, volume.affine)
    convert(
        ConvertSettings(
            ct=tmp_path / "ct",
            out=tmp_path / "s.zarr",
            spacing_mm=SPEC.spacing_mm,
            size=SPEC.size,
            workers=0,
        )
    )
    store = open_store(tmp_path / "s.zarr")
    stored = store.volumes[0]

    source = Grid(shape=stored.source_shape, affine=stored.source_affine)
    back = back_from(store.voxels(stored), stored.affine, source)

    file = read_nifti(tmp_path / "ct/0.nii.gz", modality="ct", pseudonym="p")
    assert store.preprocessing == SPEC
    assert_home(back, file, most_hu=12)
