"""Validation gives finite scores that a checkpoint can be chosen by, and a picture to look at."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cyclegan.config.config import Config, DataConfig
from cyclegan.errors import DataError, DivergedError
from cyclegan.metrics.paired_scores import mae_hu
from cyclegan.metrics.selection_score import SELECTION
from cyclegan.nets.generator import Generator
from cyclegan.train.validation.scorer import Scorer
from cyclegan.train.validation.scores import summarise, validate_volumes, validation_scores
from tests.support.outlines import disagreeing_pair
from tests.support.stores import make_store

CONFIG = Config(data=DataConfig(mri_contrast="inverted"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(
        tmp_path_factory.mktemp("val") / "s.zarr",
        shape=(4, 32, 32),
        paired=2,
        splits=("train", "val"),
    )


def identity(images):
    return images


def found(to_ct, to_mri, store, config, **options):
    scorer = Scorer(store)
    return [
        volume.result()
        for volume in validate_volumes(to_ct, to_mri, store, config, scorer, **options)
    ]


def test_untrained_networks_have_finite_scores_of_plain_floats(store):
    to_ct, to_mri = (Generator(filters=2, blocks=1).eval() for _ in range(2))
    scores, _ = validation_scores(to_ct, to_mri, store, CONFIG)
    assert all(type(score) is float and math.isfinite(score) for score in scores.values())
    assert {
        SELECTION,
        "val/mae_hu",
        "val/bone_dice",
        "val/cycle_ssim_mri",
        "val/cycle_psnr_db_ct",
        "val/hu_distance",
        "val/bone_depth_mismatch",
    } <= set(scores)


def test_constant_air_has_the_error_of_the_real_ct_over_its_own_body(tmp_path):
    store = disagreeing_pair(tmp_path / "s.zarr", "val")
    scores, _ = validation_scores(lambda x: 0 * x - 1, identity, store, CONFIG)
    (ct,) = store.select("ct", "val")
    air = np.full(ct.shape, -1024)
    assert scores["val/mae_hu"] == mae_hu(air, store.voxels(ct), store.body(ct))
    assert scores["val/bone_dice"] == 0
    assert scores["val/bone_depth_mismatch"] == 1


def test_networks_that_give_no_finite_values_have_diverged(store):
    with pytest.raises(DivergedError, match=r"mri/[0-9a-f]+ to finite values.*learning-rate"):
        validation_scores(lambda images: images * math.nan, identity, store, CONFIG)
    with pytest.raises(DivergedError):
        validation_scores(identity, lambda images: images * math.nan, store, CONFIG)


def test_without_pairs_the_selection_is_there_and_the_paired_scores_are_not(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, shape=(4, 32, 32), splits=("train", "val"))
    scores, _ = validation_scores(identity, identity, store, CONFIG)
    assert SELECTION in scores
    assert "val/mae_hu" not in scores


def test_the_picture_has_both_cycles_one_above_the_other(store):
    _, pictures = validation_scores(identity, identity, store, CONFIG)
    picture = pictures["val/cycles"]
    assert picture.dtype == np.uint8
    # Six tiles beside a real CT, which come back as they were: the last one shows no difference.
    height, width, _ = picture.shape
    assert width // 6 * 2 < height < width
    change = picture[width // 12, round(5.5 * width / 6)].astype(int)
    assert change.min() > 240  # white: no change inside the body


def test_volumes_spread_over_workers_have_the_scores_of_one_worker(store):
    """Handed on in any order, and more workers than volumes."""
    to_ct, to_mri = (Generator(filters=2, blocks=1).eval() for _ in range(2))
    expected, pictures = validation_scores(to_ct, to_mri, store, CONFIG)
    for workers in (2, 3, 7):
        shares = [
            found(to_ct, to_mri, store, CONFIG, share=(rank, workers)) for rank in range(workers)
        ]
        assert sum(map(len, shares)) == 6  # one alone of each, and two pairs
        assert max(map(len, shares)) == -(-6 // workers)

        scores, same = summarise([each for share in shares[::-1] for each in share], store, CONFIG)

        assert scores == expected
        assert list(same) == [f"val/{n}" for n in ("cycles", "axial", "coronal", "sagittal")]
        for name, picture in same.items():
            np.testing.assert_array_equal(picture, pictures[name])


def test_as_many_volumes_are_looked_at_as_the_schedule_says(store):
    one = replace(CONFIG, schedule=replace(CONFIG.schedule, validate_volumes=1))
    every = replace(CONFIG, schedule=replace(CONFIG.schedule, validate_volumes=0))

    assert [len(found(identity, identity, store, config)) for config in (one, every)] == [2, 6]


def test_a_split_without_an_mri_is_refused_with_the_remedy(store):
    with pytest.raises(DataError, match=r"has no MRI.*data_prep describe"):
        validation_scores(identity, identity, store, CONFIG, "test")
