"""A pair says on which grid, over which voxels and how well aligned its two scans compare."""

from dataclasses import replace

import numpy as np
import pytest

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.native_grid import native_grids_of
from cyclegan.evaluate.paired_ct import paired_ct_of, registration, rigid_of
from cyclegan.evaluate.score_table import SOFT_TISSUE
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.inference.cycle import CycleNetworks
from cyclegan.metrics.paired_scores import mae_hu
from mrct.errors import UsageError
from tests.cyclegan.evaluate.conftest import SHIFT
from tests.support.stores import SPACING_MM, make_store

NETWORKS = CycleNetworks(to_ct=lambda x: x, to_mri=lambda x: x, contrast="plain")
SHIFT_MM = float(np.linalg.norm(np.multiply(SHIFT, SPACING_MM)))


@pytest.fixture(scope="module")
def mri(shifted):
    return shifted.store.select("mri", "test")[0]


@pytest.fixture(scope="module")
def rigid(shifted, mri):
    return rigid_of(shifted.store, mri)


def test_registration_finds_how_far_the_ct_lies_from_the_mri(rigid):
    assert rigid.shift_mm == pytest.approx(SHIFT_MM, abs=0.5)
    assert rigid.angle_degrees < 1


def test_registration_finds_the_same_every_time(shifted, mri, rigid):
    again = rigid_of(shifted.store, mri)
    np.testing.assert_array_equal(again.matrix, rigid.matrix)
    np.testing.assert_array_equal(again.offset_mm, rigid.offset_mm)


def test_a_registered_ct_lies_where_the_mri_has_it(shifted, mri, rigid):
    before, after = paired_ct_of(shifted.store, mri), paired_ct_of(shifted.store, mri, rigid=rigid)
    truth = shifted.head["ct"].astype(float)
    inner = np.zeros(truth.shape, bool)
    inner[3:-3] = shifted.head["body"][3:-3]  # what the shift did not push out of the slices
    assert mae_hu(before.real, truth, inner) > 5 * mae_hu(after.real, truth, inner)
    assert after.outline_dice > 0.97 > before.outline_dice
    found = registration(before, after)
    assert found.applied
    assert (found.outline_dice_before, found.outline_dice_after) == (
        before.outline_dice,
        after.outline_dice,
    )
    assert not registration(after, replace(before, rigid=rigid)).applied


def test_an_aligned_pair_stays_where_it_is(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=0, ct=0, paired=1, shape=(16, 48, 48))
    rigid = rigid_of(store, store.select("mri", "train")[0])
    assert rigid.shift_mm < 0.3
    assert rigid.angle_degrees < 0.5


def test_the_evaluation_registers_when_asked_and_keeps_what_was_done(shifted):
    as_is, moved = (
        evaluate(NETWORKS, shifted.store, "test", options=ScoringOptions(register=register))
        for register in (False, True)
    )
    assert as_is.registrations is None
    (done,) = moved.registrations.values()
    assert done.shift_mm == pytest.approx(SHIFT_MM, abs=0.5)
    assert moved.mean("mae_hu", method=SOFT_TISSUE) < as_is.mean("mae_hu", method=SOFT_TISSUE)
    assert moved.alignments.keys() == moved.registrations.keys()


def test_on_the_source_grid_nothing_of_the_real_ct_is_interpolated(shifted, mri):
    native_grids = native_grids_of(shifted.files, shifted.store, shifted.store.select("ct", "test"))
    on_store = paired_ct_of(shifted.store, mri)
    pair = native_grids.on_native_grid(on_store)
    np.testing.assert_array_equal(pair.real, on_store.real.repeat(2, axis=1).repeat(2, axis=2))
    assert pair.spacing_mm == pytest.approx((3, 1, 1))
    # A synthetic CT that is right on the store's grid is right there too, but for its rims.
    error = np.abs(pair.resample(on_store.real.astype(np.float32)) - pair.real)[pair.scored]
    assert np.median(error) < 10


def test_registration_and_source_grid_go_together(shifted, mri, rigid):
    """The synthetic CT is moved onto the source instead, the other way round."""
    native_grids = native_grids_of(shifted.files, shifted.store, shifted.store.select("ct", "test"))
    truth = shifted.head["ct"].astype(np.float32)

    def error(rigid):
        pair = native_grids.on_native_grid(paired_ct_of(shifted.store, mri, rigid=rigid))
        inner = pair.scored.copy()
        inner[:3] = inner[-3:] = False
        return mae_hu(pair.resample(truth), pair.real, inner)

    assert error(None) > 3 * error(rigid)


def test_scores_on_the_source_grid_say_so(shifted):
    native_grids = native_grids_of(shifted.files, shifted.store, shifted.store.select("ct", "test"))
    scores = evaluate(
        NETWORKS, shifted.store, "test", options=ScoringOptions(native_grids=native_grids)
    )
    assert scores.grid == "source CT"
    assert scores.num_pairs == 1


def test_files_that_a_store_was_not_made_from_are_refused(shifted, tmp_path):
    other = (shifted.files / "head.nii.gz").read_bytes()
    (tmp_path / "head.nii.gz").write_bytes(other + b"\0")
    with pytest.raises(UsageError, match=r"None of the 1 CT volumes .* is the source"):
        native_grids_of(tmp_path, shifted.store, shifted.store.select("ct", "test"))
