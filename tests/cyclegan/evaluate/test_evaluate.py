"""An evaluation scores every volume it can, by every method, and says what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cyclegan.atlas.atlas import train_atlas
from cyclegan.errors import DataError
from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.score_table import (
    AGAINST_ATLAS,
    ATLAS_MEAN,
    ATLAS_MEDIAN,
    HISTOGRAM,
    PAIRED,
    REGRESSION,
    SOFT_TISSUE,
    TRAIN_CTS,
)
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.inference.cycle import GENERATOR, CycleNetworks, partner_ct
from cyclegan.metrics.baselines import constant_soft_tissue
from cyclegan.metrics.paired_scores import all_paired_scores
from data_prep.store.history import rebuild_index
from data_prep.store.store import open_store
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.support.outlines import disagreeing_pair
from tests.support.stores import SPACING_MM, make_store, prepared, random_head

SPLITS = ("train", "test")
SHAPE = (6, 32, 32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("assess") / "s.zarr"
    return make_store(path, mri=2, ct=2, paired=2, shape=SHAPE, splits=SPLITS)


def identity(images):
    return images


def both_ways(to_ct):
    return CycleNetworks(to_ct=to_ct, to_mri=identity, contrast="plain")


def constant(hu):
    """A to_ct that makes the same HU of everything."""
    x = float(normalise(np.float32(hu), WINDOW_HU))
    return lambda images: 0 * images + x


def without_atlas(row):
    """The paired scores that need nothing but the two CTs."""
    return {name: value for name, value in row.values.items() if name not in AGAINST_ATLAS}


def test_a_generator_that_says_soft_tissue_ties_with_that_baseline(store):
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    for metric in PAIRED:
        ours = scores.of(metric)
        assert len(ours) == 2
        assert ours == pytest.approx(scores.of(metric, method=SOFT_TISSUE), abs=1e-3)


def test_pairs_are_compared_over_the_body_of_the_real_ct(tmp_path):
    store = disagreeing_pair(tmp_path / "s.zarr", "test")
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    (mri,), (ct,) = store.select("mri", "test"), store.select("ct", "test")
    synthetic = constant_soft_tissue(store.body(mri))
    (found,) = [without_atlas(row) for row in scores.volumes if row.method == SOFT_TISSUE]
    of_ct, of_mri = (
        all_paired_scores(
            synthetic, store.voxels(ct), store.body(outlined), spacing_mm=store.spacing_mm
        )
        for outlined in (ct, mri)
    )
    assert found == of_ct
    assert found != of_mri


def test_every_volume_of_the_split_goes_through_its_cycle_linked_or_not(store):
    scores = evaluate(both_ways(identity), store, "test")
    assert {row.volume for row in scores.volumes} == {
        v.name for v in store.volumes if v.split == "test"
    }
    assert scores.of("cycle_ssim") == pytest.approx([1, 1, 1], abs=1e-4)
    assert scores.of("cycle_ssim", modality="ct") == pytest.approx([1, 1, 1], abs=1e-4)
    assert scores.num_pairs == 2


def test_histogram_matching_has_the_values_of_the_train_split_at_the_wrong_places(store):
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    assert scores.populations[HISTOGRAM]["hu_distance"] < 20
    assert scores.populations[SOFT_TISSUE]["hu_distance"] > 100
    assert scores.populations[HISTOGRAM]["bone_depth_mismatch"] > 0.5
    assert scores.populations[GENERATOR]["selection"] > 1


def test_the_atlas_of_the_train_split_is_scored_beside_the_generator(store):
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    (mri, _) = [volume for volume in store.select("mri", "test") if volume.link]
    body = store.body(mri)
    for method, hu in zip(
        (ATLAS_MEAN, ATLAS_MEDIAN), train_atlas(store).both(body, mri.height), strict=True
    ):
        (found,) = [r.values for r in scores.volumes if (r.volume, r.method) == (mri.name, method)]
        real, inside = partner_ct(store, mri)
        expected = all_paired_scores(hu, real, inside, spacing_mm=store.spacing_mm)
        assert found["mae_hu"] == expected["mae_hu"]
    assert scores.of("skill", method=ATLAS_MEDIAN) == [0, 0]
    assert scores.of("patient_r", method=ATLAS_MEAN) == []
    ours, of_atlas = scores.of("mae_hu"), scores.of("mae_hu", method=ATLAS_MEDIAN)
    assert scores.of("skill") == pytest.approx(
        [1 - a / b for a, b in zip(ours, of_atlas, strict=True)]
    )


def test_a_generator_that_knows_the_patient_correlates_with_what_the_atlas_lacks(store):
    (first, _) = [volume for volume in store.select("mri", "test") if volume.link]
    real = normalise(store.voxels(store.partner(first)).astype(np.float32), WINDOW_HU)
    truth = torch.from_numpy(real)[:, None]

    scores = evaluate(both_ways(lambda images: truth[: len(images)]), store, "test")

    (found,) = [
        r.values
        for r in scores.volumes
        if (r.volume, r.method, r.modality) == (first.name, GENERATOR, "mri")
    ]
    assert found["patient_r"] > 0.95
    assert found["skill"] > 0.7


def test_skulls_are_held_against_those_of_the_train_split(store):
    scores = evaluate(both_ways(constant(40.0)), store, "test")

    real = scores.skulls[TRAIN_CTS]
    known = [value for value in real.mean_mm if value is not None]
    assert min(known) > 1
    assert scores.populations[SOFT_TISSUE]["skull_mismatch_mm"] == pytest.approx(np.mean(known))
    assert scores.populations[GENERATOR]["skull_mismatch_mm"] == pytest.approx(np.mean(known))
    assert scores.populations[ATLAS_MEAN]["skull_mismatch_mm"] < np.mean(known) / 2


def test_linked_volumes_are_shown_first(store):
    scores = evaluate(both_ways(identity), store, "test", options=ScoringOptions(num_shown=3))
    assert [shown.real is not None for shown in scores.shown] == [True, True, False]


def test_without_pairs_or_train_cts_the_rest_is_still_scored(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=0, shape=SHAPE, splits=("test",))
    scores = evaluate(both_ways(identity), store, "test")
    assert scores.num_pairs == 0
    assert scores.populations == {}
    assert scores.methods == [GENERATOR]
    assert scores.mean("mae_hu") is None
    assert scores.mean("cycle_ssim") == pytest.approx(1, abs=1e-4)


def test_a_damaged_volume_is_left_out_and_named(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1, shape=SHAPE, splits=("test",))
    bad, good = store.select("mri", "test")
    shard = store.path / bad.name / "0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    scores = evaluate(both_ways(identity), store, "test")
    assert len(scores.failed) == 1
    assert bad.name in scores.failed[0]
    assert good.name in {row.volume for row in scores.volumes}


def test_an_empty_split_is_refused_with_the_remedy(store):
    with pytest.raises(DataError, match=r"val split .* the split is empty.*describe"):
        evaluate(both_ways(identity), store, "val")


def test_a_pair_whose_outlines_disagree_is_flagged(tmp_path, store):
    shifted = evaluate(
        both_ways(constant(40.0)), disagreeing_pair(tmp_path / "s.zarr", "test"), "test"
    )
    (name,) = [v.volume for v in shifted.volumes if "mae_hu" in v.values and v.method == GENERATOR]
    assert list(shifted.misaligned) == [name]
    assert evaluate(both_ways(constant(40.0)), store, "test").misaligned == {}


def test_an_outline_of_another_volume_is_not_sent_to_registration(tmp_path, store):
    """As of a CT whose background is no air: no rigid motion makes the two alike."""
    scores = evaluate(
        both_ways(constant(40.0)), disagreeing_pair(tmp_path / "s.zarr", "test"), "test"
    )

    assert list(scores.unlike) == list(scores.misaligned)
    first = scores.cautions[0]
    assert "differ in volume in 1 of 1 pairs, which no registration corrects" in first
    assert "a background that is not air" in first
    assert not any("--register" in caution for caution in scores.cautions)
    assert evaluate(both_ways(constant(40.0)), store, "test").unlike == {}


def test_a_shifted_pair_is_sent_to_registration(shifted):
    scores = evaluate(both_ways(constant(40.0)), shifted.store, "test")

    assert list(scores.misaligned)
    assert not scores.unlike
    assert "--register rigid" in scores.cautions[0]


def test_scores_count_in_the_mask_given_with_the_ct_and_outlines_are_found_ones(tmp_path):
    path, shape = tmp_path / "s.zarr", (6, 32, 32)
    create_store(path, spacing_mm=SPACING_MM, size=shape[1:], settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(0)
    head = random_head(random, shape)
    given = np.zeros(shape, bool)
    given[:, 4:20, 10:] = True
    for modality, other in (("mri", "ct"), ("ct", "mri")):
        volume = prepared(modality, "a" * 16, "test", head, SPACING_MM, link=other)
        mask = replace(volume.preprocessed, score_mask=given)
        write_volume(path, replace(volume, preprocessed=mask))
    write_volume(path, prepared("ct", "b" * 16, "train", random_head(random, shape), SPACING_MM))
    rebuild_index(path)
    store = open_store(path)
    (mri,), (ct,) = store.select("mri", "test"), store.select("ct", "test")

    scores = evaluate(both_ways(constant(40.0)), store, "test")

    np.testing.assert_array_equal(store.body(ct), head["body"])
    (found,) = [without_atlas(row) for row in scores.volumes if row.method == SOFT_TISSUE]
    assert found == all_paired_scores(
        constant_soft_tissue(head["body"]), store.voxels(ct), given, spacing_mm=store.spacing_mm
    )
    np.testing.assert_array_equal(partner_ct(store, mri)[1], given)
    (ours,) = [r.values for r in scores.volumes if r.method == GENERATOR and r.modality == "mri"]
    assert ours["outline_dice"] == 1
    cycle = both_ways(constant(40.0)).cycle(store, mri)
    np.testing.assert_array_equal(cycle.body, head["body"])


def test_intensity_regression_is_fitted_on_the_other_pairs_only(store, tmp_path):
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    assert len(scores.of("mae_hu", method=REGRESSION)) == 2
    alone = disagreeing_pair(tmp_path / "s.zarr", "test")
    scores = evaluate(both_ways(constant(40.0)), alone, "test")
    assert scores.of("mae_hu", method=REGRESSION) == []


def test_a_diverged_network_has_no_score_and_every_volume_says_why(store):
    def diverged(images):
        return images * float("nan")

    with pytest.raises(DataError, match="NaN or infinite"):
        evaluate(both_ways(diverged), store, "test")


def test_a_pair_that_shares_no_place_keeps_its_other_scores(store, monkeypatch):
    """Scans that were linked by mistake: no voxel is in the field of view of both."""

    def apart(volume):
        return np.full(volume.shape, volume.modality == "ct")

    monkeypatch.setattr("cyclegan.evaluate.paired_ct.field_of_view", apart)
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    assert scores.num_pairs == 0
    assert len(scores.of("edge_agreement")) == 3
    assert len(scores.failed) == 2
    assert "nothing to compare" in scores.failed[0]


def test_scores_do_not_depend_on_the_threads(store):
    one, four = (
        evaluate(both_ways(constant(40.0)), store, "test", options=ScoringOptions(threads=threads))
        for threads in (1, 4)
    )
    assert [row.values for row in one.volumes] == [row.values for row in four.volumes]


def test_errors_are_told_by_height_for_every_method(store):
    scores = evaluate(both_ways(constant(40.0)), store, "test")
    assert scores.mean_heights() == pytest.approx(scores.mean_heights(SOFT_TISSUE), abs=1e-3)
    assert sum(value is not None for value in scores.mean_heights()) == SHAPE[0]


def test_figures_of_few_subjects_must_not_be_quoted(store, tmp_path):
    few = evaluate(both_ways(constant(40.0)), store, "test")
    assert len(few.cautions) == 1
    assert "too few subjects (2)" in few.cautions[0]
    enough = make_store(tmp_path / "s.zarr", mri=0, ct=1, paired=3, shape=SHAPE, splits=SPLITS)
    assert evaluate(both_ways(constant(40.0)), enough, "test").cautions == []
    without = make_store(tmp_path / "u.zarr", mri=1, ct=1, shape=SHAPE, splits=("test",))
    assert evaluate(both_ways(identity), without, "test").cautions == []
