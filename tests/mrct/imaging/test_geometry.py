"""Every orientation comes upright, points keep their place in mm, and there is a way back."""

import itertools

import nibabel
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from data_prep.readers.nifti import read_nifti
from mrct.imaging.geometry import canonical, covered_voxels, resample, resample_mask, target_grid
from mrct.imaging.volume import Grid, Volume

ANGLES = (4, -7, 11)


def rotation(degrees) -> np.ndarray:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


def affine_of(directions, spacing_xyz, origin=(0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing_xyz)
    affine[:3, 3] = origin
    return affine


def volume_of(voxels, affine) -> Volume:
    return Volume(
        voxels=np.asarray(voxels, np.float32), affine=affine, modality="mri", pseudonym="p"
    )


def whole(grid: Grid):
    """The box that is all of a grid."""
    return tuple(slice(0, n) for n in grid.shape)


def positions_mm(grid: Grid) -> np.ndarray:
    """[3, z, y, x]: RAS mm of every voxel centre."""
    z, y, x = np.indices(grid.shape)
    return np.tensordot(grid.affine, np.stack([x, y, z, np.ones_like(x)]), axes=1)[:3]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_canonical_agrees_with_nibabel_in_all_48_orientations(order, signs):
    directions = (rotation(ANGLES) @ np.diag(signs))[:, order]
    affine = affine_of(directions, (1.0, 1.5, 4.0), (10, -20, 30))
    array_xyz = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(array_xyz, affine)
    oracle = image.as_reoriented(
        ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))
    )

    upright = canonical(volume_of(array_xyz.transpose(2, 1, 0), affine))

    assert aff2axcodes(upright.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(upright.voxels.transpose(2, 1, 0), oracle.get_fdata())
    np.testing.assert_allclose(upright.affine, oracle.affine, atol=1e-12)


SOURCE = Grid(
    shape=(10, 30, 24),
    affine=affine_of(rotation(ANGLES) @ np.diag([-1, -1, 1]), (1.0, 1.2, 3.5), (12, 15, -9)),
)
BODY = np.zeros(SOURCE.shape, bool)
BODY[:, 4:21, 8:20] = True
BOX = (slice(0, 10), slice(4, 21), slice(8, 20))


def test_the_target_grid_has_the_store_s_spacing_and_size_and_covers_all_of_z():
    target = target_grid(SOURCE, (2.0, 1.5, 1.5), (32, 40), BOX)

    assert target.shape == (18, 32, 40)  # 35 mm of z in 2 mm slices
    np.testing.assert_allclose(target.spacing_mm, (2.0, 1.5, 1.5))
    unit = [grid.affine[:3, :3] / np.array(grid.spacing_mm[::-1]) for grid in (SOURCE, target)]
    np.testing.assert_allclose(unit[0], unit[1], atol=1e-12)


def test_the_target_grid_is_centred_on_the_body():
    target = target_grid(SOURCE, (2.0, 1.5, 1.5), (32, 40), BOX)

    body_centre = SOURCE.affine @ [13.5, 12, 4.5, 1]
    target_centre = target.affine @ [19.5, 15.5, 8.5, 1]
    np.testing.assert_allclose(target_centre, body_centre, atol=1e-9)


def test_a_sheared_stack_is_set_at_right_angles():
    sheared = SOURCE.affine.copy()
    sheared[:3, 2] += 0.4 * sheared[:3, 1]
    target = target_grid(Grid(shape=SOURCE.shape, affine=sheared), (2.0, 1.5, 1.5), (32, 40), BOX)

    gram = target.affine[:3, :3].T @ target.affine[:3, :3]
    np.testing.assert_allclose(gram, np.diag([1.5**2, 1.5**2, 4]), atol=1e-9)


def test_a_linear_ramp_in_space_is_resampled_exactly():
    slope = np.array([3.0, -2.0, 1.0])
    ramp = np.tensordot(slope, positions_mm(SOURCE), axes=1)
    # Finer than the source, so that no smoothing comes in, and well inside it.
    corner_mm = (SOURCE.affine @ [11, 14, 4, 1])[:3]
    inner = Grid(
        shape=(6, 8, 8), affine=affine_of(rotation((6, 0, 12)), (0.7, 0.7, 0.9), corner_mm)
    )

    result = resample(volume_of(ramp, SOURCE.affine), inner, fill=0).voxels

    expected = np.tensordot(slope, positions_mm(inner), axes=1)
    np.testing.assert_allclose(result, expected, atol=2e-3)


def test_outside_the_source_is_filled():
    far = Grid(shape=(2, 3, 4), affine=affine_of(np.eye(3), (1, 1, 1), (500, 0, 0)))
    volume = volume_of(np.ones(SOURCE.shape), SOURCE.affine)
    assert (resample(volume, far, fill=-1024).voxels == -1024).all()
    assert not resample_mask(BODY, SOURCE, far).any()


def test_coarsening_does_not_alias_a_fine_texture():
    stripes = np.broadcast_to(np.arange(64) % 2 * 2 - 1.0, (4, 64, 64))
    volume = volume_of(stripes, affine_of(np.eye(3), (1, 1, 1)))
    coarse = Grid(shape=(4, 12, 12), affine=affine_of(np.eye(3), (4, 4, 1), (8, 8, 0)))

    assert np.abs(resample(volume, coarse, fill=0).voxels).max() < 0.05


def test_to_the_grid_and_back_gives_the_source_s_shape_place_and_values():
    smooth = np.sin(positions_mm(SOURCE) / 9).sum(axis=0) * 100
    volume = volume_of(smooth, SOURCE.affine)
    upright = canonical(volume)
    target = target_grid(upright.grid, (1.5, 0.8, 0.8), (64, 64), whole(SOURCE))

    back = resample(resample(upright, target, fill=0), volume.grid, fill=0)

    assert back.voxels.shape == volume.voxels.shape
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(back.voxels[inner], smooth[inner], atol=5)


def test_a_mask_goes_there_and_back():
    target = target_grid(SOURCE, (3.5, 0.6, 0.5), (60, 60), BOX)
    back = resample_mask(resample_mask(BODY, SOURCE, target), target, SOURCE)
    assert (back == BODY).mean() > 0.99


def test_a_real_oblique_head_comes_back_to_its_own_grid(shared):
    path = shared / "mri_head/openms_patient12_study1_T1W.nii.gz"
    volume = read_nifti(path, modality="mri", pseudonym="p")
    upright = canonical(volume)
    target = target_grid(upright.grid, (3.0, 1.0, 1.0), (256, 256), whole(upright.grid))

    back = resample(resample(upright, target, fill=0), volume.grid, fill=0)

    np.testing.assert_allclose(back.affine, nibabel.load(path).affine, atol=1e-4)
    assert np.corrcoef(back.voxels.ravel(), volume.voxels.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("stops", [(21, 31), (22, 32)])
def test_pixels_of_the_wanted_size_keep_their_values(stops):
    box = (slice(0, 10), slice(3, stops[0]), slice(4, stops[1]))
    random = np.random.default_rng(0)
    shape = (10, 33, 38)
    affine = affine_of(rotation(ANGLES) @ np.diag([-1, -1, 1]), (1.2, 1.3, 2.0), (5, 6, 7))
    voxels = random.normal(size=shape).astype(np.float32)
    volume = Volume(voxels=voxels, affine=affine, modality="mri", pseudonym="p")

    target = target_grid(volume.grid, (2.0, 1.3, 1.2), (20, 24), box)
    values = resample(volume, target, fill=0).voxels

    place = np.linalg.inv(affine) @ target.affine
    x, y, z = np.rint(place[:3, 3]).astype(int)
    inside = voxels[z : z + 10, max(0, y) : y + 20, max(0, x) : x + 24]
    np.testing.assert_allclose(
        values[:, max(0, -y) :, max(0, -x) :][:, : inside.shape[1], : inside.shape[2]],
        inside,
        atol=1e-4,
    )


@pytest.mark.parametrize("turn", [0, 17])
def test_a_centre_on_the_very_border_of_the_source_is_inside(turn):
    """However the numbers are rounded; a hundredth of a voxel beyond it is outside."""
    random, inside, beyond = np.random.default_rng(5), [], []
    for _ in range(30):
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("z", turn, degrees=True).as_matrix()
        affine[:3, :3] *= random.uniform(0.3, 3, 3)
        affine[:3, 3] = random.uniform(-300, 300, 3)
        source = Grid(shape=(4, 5, 6), affine=affine)
        for shift, found in ((0.5, inside), (0.51, beyond)):
            moved = np.eye(4)
            moved[:3, 3] = shift  # so far beyond the last centres
            grid = Grid(shape=(4, 5, 6), affine=affine @ moved)
            found.append(covered_voxels(source, grid)[-1, -1, -1])

    assert all(inside)
    assert not any(beyond)
