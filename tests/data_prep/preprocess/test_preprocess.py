"""What the store gets: int16 on the store's grid, HU untouched, MRI grey levels kept."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti
from mrct.errors import VolumeError
from mrct.imaging.intensity import MEDIAN_LEVEL
from mrct.imaging.volume import Volume
from tests.support.volumes import write_head

SPEC = PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 48))


def head(tmp_path, modality="mri", factor=1.0) -> Volume:
    volume = read_nifti(write_head(tmp_path / "h.nii", modality), modality=modality, pseudonym="p")
    return volume.on(volume.grid, (volume.voxels * factor).astype(np.float32))


def test_magnitudes_that_fit_stay_as_they_are(tmp_path):
    made = preprocess(head(tmp_path, factor=2), SPEC)
    assert made.scale == 1
    assert made.window[0] == 0
    assert made.window[1] == pytest.approx(np.median(made.voxels[made.body]) / MEDIAN_LEVEL)
    assert 900 < np.median(made.voxels[made.body]) < 1100  # twice that of the file
    assert (made.grid.shape, made.source.shape) == ((10, 56, 48), (10, 64, 56))


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_other_magnitudes_are_scaled_and_the_scale_is_kept(tmp_path, factor):
    small = preprocess(head(tmp_path, factor=factor), SPEC)
    plain = preprocess(head(tmp_path, factor=2), SPEC)
    assert np.abs(small.voxels).max() == 32767
    np.testing.assert_allclose(
        small.voxels * small.scale / factor, plain.voxels / 2, atol=0.6 + 32767 / 1e5
    )


def test_hounsfield_units_are_clipped_and_nothing_else(tmp_path):
    volume = head(tmp_path, "ct")
    volume.voxels[5, 30:34, 26:30] = 20000
    volume.voxels[:, :4] = -3024
    made = preprocess(volume, SPEC)
    assert (made.voxels.min(), made.voxels.max()) == (-1024, 3071)
    assert (made.scale, made.window) == (1, (-1024, 3071))


def test_a_volume_without_a_body_is_refused():
    air = np.full((6, 32, 32), -1000, np.float32)
    air[0, 0, 0] = -1001
    volume = Volume(voxels=air, affine=np.diag([4, 4, 6, 1.0]), modality="ct", pseudonym="p")
    with pytest.raises(VolumeError, match="No body"):
        preprocess(volume, SPEC)


def test_a_given_mask_bounds_the_scores_and_changes_nothing_else(tmp_path):
    volume = head(tmp_path)
    mask = np.zeros(volume.voxels.shape, np.float32)
    mask[3:7, 10:30, 12:40] = 255
    given = volume.on(volume.grid, mask)

    made, without = preprocess(volume, SPEC, given_mask=given), preprocess(volume, SPEC)

    # The oracle takes each stored voxel's centre to the mask's grid and looks what lies there.
    z, y, x = np.indices(made.grid.shape)
    centres = np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1)
    there = np.rint(np.linalg.inv(volume.affine) @ made.affine @ centres)[:3].astype(int)
    inside = ((there >= 0) & (there < np.array(mask.shape[::-1])[:, None])).all(axis=0)
    expected = np.zeros(z.size, bool)
    i, j, k = there[:, inside]
    expected[inside] = mask[k, j, i] > 0
    disagree = (made.score_mask.ravel() != expected).mean()
    assert disagree < 1e-3, "only where a centre lies half way"
    assert without.score_mask is None
    for name in ("voxels", "body", "affine", "height"):
        np.testing.assert_array_equal(getattr(made, name), getattr(without, name))
    assert (made.window, made.cut) == (without.window, without.cut)


def test_an_empty_given_mask_is_refused(tmp_path):
    volume = head(tmp_path)
    nothing = volume.on(volume.grid, np.zeros_like(volume.voxels))

    with pytest.raises(VolumeError, match="no voxel above 0") as refused:
        preprocess(volume, SPEC, given_mask=nothing)
    assert refused.value.code == "mask-unusable"


@pytest.mark.parametrize("fill", [0, 40, 300])
def test_a_ct_whose_body_covers_the_border_of_the_slices_is_refused(tmp_path, fill):
    """Noise around a fill that is no air cannot be told from tissue, but the outline is gone."""
    volume = head(tmp_path, "ct")
    noise = np.random.default_rng(0).normal(fill, 9, volume.voxels.shape)
    voxels = np.where(volume.voxels < -900, noise, volume.voxels).astype(np.float32)
    cropped = volume.voxels[3:7, 24:40, 20:36]

    for each in (voxels, cropped):
        with pytest.raises(VolumeError, match="border of the slices") as refused:
            preprocess(replace(volume, voxels=each), SPEC)
        assert refused.value.code == "no-outline"
