"""A model knows what it was trained on, and says with numbers in what another volume differs."""

from dataclasses import replace

import numpy as np
import pytest

from cyclegan.export.model_card import model_card
from cyclegan.export.training_stats import (
    SHARES,
    TrainedOn,
    percentiles,
    plane,
    trained_on,
    unfamiliar_properties,
    usual_range,
)
from data_prep.preprocess.preprocess import PreprocessedVolume
from mrct.imaging.intensity import robust_window
from mrct.imaging.volume import Grid
from tests.support.stores import SPACING_MM, make_store, random_head

SHAPE = (24, 64, 64)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> TrainedOn:
    path = tmp_path_factory.mktemp("known") / "s.zarr"
    return trained_on(make_store(path, mri=4, ct=1, shape=SHAPE), "mri")


@pytest.fixture(scope="module")
def another() -> PreprocessedVolume:
    """A volume like those of the store."""
    head = random_head(np.random.default_rng(9), SHAPE)
    dz, dy, dx = SPACING_MM
    affine = np.diag([-dx, -dy, dz, 1.0])
    return PreprocessedVolume(
        voxels=head["mri"],
        body=head["body"],
        affine=affine,
        window=robust_window(head["mri"], head["body"]),
        scale=1.0,
        source=Grid(shape=SHAPE, affine=affine),
    )


def test_ranges_are_those_of_the_train_split(known):
    assert known.volumes == 4
    assert known.spacing_mm_low == known.spacing_mm_high == SPACING_MM
    assert known.extent_mm_low == (72, 128, 128)
    assert known.planes == ("axial",)
    assert np.all(np.array(known.values_low) <= known.values_high)


def test_a_volume_like_those_raises_no_warning(known, another):
    assert unfamiliar_properties(known, another) == []


@pytest.mark.parametrize(("count", "tippett"), [(2, 1.128), (4, 2.059), (12, 3.258), (25, 3.931)])
def test_the_usual_range_is_near_the_tabulated_one(count, tippett):
    assert usual_range(count) == pytest.approx(tippett, rel=0.05)


@pytest.mark.parametrize(("volumes", "is_told"), [(4, False), (32, True)])
def test_the_range_of_few_volumes_counts_for_less(known, another, volumes, is_told):
    values = np.array(percentiles(another.voxels, another.body, another.window))
    ranges = replace(
        known,
        volumes=volumes,
        values_low=tuple(values - 0.4),  # 0.2 wide, 0.3 from its middle
        values_high=tuple(values - 0.2),
    )
    assert len(values) == len(SHARES)
    assert bool(unfamiliar_properties(ranges, another)) is is_told


def test_every_difference_is_told_with_its_numbers(known, another):
    flipped = replace(another, voxels=(1000 - another.voxels).clip(0).astype(np.int16))
    (text,) = unfamiliar_properties(known, flipped)
    assert "th percentile" in text
    assert f"known {known.values_low[1]:.2f} to {known.values_high[1]:.2f}" in text

    thick = replace(another, source=Grid(shape=(6, 64, 64), affine=np.diag([-2, -2, 12, 1.0])))
    (text,) = unfamiliar_properties(known, thick)
    assert "12.00 mm between slices" in text
    assert "3.00 to 3.00 mm" in text

    slab = replace(another, source=Grid(shape=(6, 64, 64), affine=another.affine))
    (text,) = unfamiliar_properties(known, slab)
    assert "18 mm foot to head; the model was trained on 72 to 72 mm" in text

    turned = np.array([[0, 0, 3, 0], [2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1.0]])
    texts = unfamiliar_properties(
        known, replace(another, source=Grid(shape=(43, 36, 64), affine=turned))
    )
    assert any("slices are sagittal; the model was trained on axial" in text for text in texts)


def test_without_anything_known_nothing_is_said(another):
    assert unfamiliar_properties(TrainedOn(), another) == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [((1, 1, 3), "axial"), ((1, 3, 1), "coronal"), ((3, 1, 1), "sagittal"), ((1, 1, 1), "axial")],
)
def test_the_plane_is_that_of_the_widest_spacing(steps, expected):
    assert plane(Grid(shape=(4, 4, 4), affine=np.diag([*steps, 1.0]))) == expected


def test_the_card_lists_them(known, info):
    card = model_card(replace(info, trained_on=known))

    assert "axial slices, voxels of 2.0 x 2.0 x 3.0 mm, field of view 128 x 128 x 72 mm" in card
    assert "| expects | not recorded |" in model_card(info)
