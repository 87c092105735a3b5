"""An MRI in any unit becomes what its magnitudes become: the same mask, the same image."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import MriScan, acquire_mri
from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti
from data_prep.readers.value_checks import check_values
from mrct.errors import VolumeError
from mrct.imaging.intensity import normalise
from mrct.imaging.volume import Grid, Volume
from tests.support.heads import rng
from tests.support.volumes import write_head

SPEC = PreprocessingSpec(spacing_mm=(8.0, 4.0, 4.0), size=(72, 64))
MOVES = {
    "z-scored": lambda v: (v - v.mean()) / v.std(),
    "to [0, 1]": lambda v: (v - v.min()) / np.ptp(v),
    "to [-1, 1]": lambda v: 2 * (v - v.min()) / np.ptp(v) - 1,
    "with an overshoot, to [0, 1]": lambda v: (v + 90) / 1e4,
}


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> list[Volume]:
    """A phantom's scan, with bias and noise, and a small drawn head."""
    anatomy = make_anatomy(Subject.draw(rng()), spacing_mm=4.0)
    grid = Grid(shape=anatomy.fractions.shape[1:], affine=anatomy.affine)
    scan = acquire_mri(anatomy, grid, MriScan.draw(rng(1)), rng(2))
    phantom = Volume(voxels=scan, affine=grid.affine, modality="mri", pseudonym="p")
    path = write_head(tmp_path_factory.mktemp("h") / "h.nii", "mri")
    return [phantom, read_nifti(path, modality="mri", pseudonym="p")]


def moved(volume: Volume, voxels: np.ndarray) -> Volume:
    check_values(voxels.astype(np.float32), "mri")
    return replace(volume, voxels=voxels.astype(np.float32))


@given(exponent=st.integers(-12, 8), shift=st.integers(-4000, 4000), which=st.integers(0, 1))
@settings(max_examples=6)
def test_the_mask_is_that_of_the_magnitudes_bit_for_bit_where_floats_are_exact(
    heads, exponent, shift, which
):
    """Powers of 4, whose root is exact, of whole numbers."""
    volume = heads[which]
    whole = np.rint(volume.voxels.astype(np.float64) * 1000 / volume.voxels.max())
    plain = preprocess(moved(volume, whole), SPEC)

    made = preprocess(moved(volume, 4.0**exponent * (whole + shift)), SPEC)

    np.testing.assert_array_equal(made.body, plain.body)
    np.testing.assert_array_equal(made.affine, plain.affine)


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-5, 5), which=st.integers(0, 1))
@settings(max_examples=6)
def test_the_mask_and_the_image_are_those_of_the_magnitudes_under_any_scale_and_shift(
    heads, scale, shift, which
):
    """But for voxels at the threshold, which rounding to float32 may move across it."""
    volume = heads[which]
    unit = volume.voxels / float(volume.voxels.max())
    plain = preprocess(volume, SPEC)

    check(preprocess(moved(volume, scale * (unit + shift)), SPEC), plain)


@pytest.mark.parametrize("name", MOVES)
def test_standardised_scans_are_used(heads, name):
    for volume in heads:
        values = volume.voxels.astype(np.float64)
        check(preprocess(moved(volume, MOVES[name](values)), SPEC), preprocess(volume, SPEC))


def check(made, plain) -> None:
    assert (made.body != plain.body).mean() < 1e-4
    images = (normalise(each.voxels.astype(np.float32), each.window) for each in (made, plain))
    a, b = images
    assert np.abs(a - b).max() < 0.02  # the grey levels of the coarser of the two
    assert made.window[0] == plain.window[0] == 0


def test_the_source_s_value_can_be_computed_back(heads):
    volume = heads[1]
    values = volume.voxels.astype(np.float32)
    plain, made = preprocess(volume, SPEC), preprocess(moved(volume, 3 * values - 700), SPEC)

    np.testing.assert_allclose(
        made.voxels * made.scale + made.offset, 3 * plain.scale * plain.voxels - 700, atol=3
    )


@pytest.mark.parametrize("which", [0, 1])
def test_an_inverted_scan_is_refused(heads, which):
    volume = heads[which]
    with pytest.raises(VolumeError) as refused:
        preprocess(moved(volume, volume.voxels.max() - volume.voxels), SPEC)
    assert refused.value.code == "no-outline"


def test_a_negated_scan_has_no_outline(heads):
    volume = heads[1]
    for voxels in (-volume.voxels.astype(np.float32), 1000 - volume.voxels):
        with pytest.raises(VolumeError) as refused:
            preprocess(replace(volume, voxels=np.asarray(voxels, np.float32)), SPEC)
        assert refused.value.code == "no-outline"


def test_a_crop_without_air_is_used_and_noted(heads):
    """The field of view of a spine or a knee; its scanner shows tissue up to the border."""
    volume = heads[1]
    middle = volume.voxels[3:7, 24:40, 20:36].astype(np.float32)

    made = preprocess(replace(volume, voxels=middle + 100), SPEC)

    assert "of the border of the slices" in made.notes[-1]
    assert preprocess(volume, SPEC).notes == ()
