"""Synthetic CTs of small heads by a table that has seen no pair of scans."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cyclegan.contrast.fit import table_of_scans
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import hu_bins, mri_bins
from cyclegan.errors import DataError
from cyclegan.nets.guide import NUM_MRI_BINS
from mrct.imaging.intensity import MEDIAN_LEVEL
from tests.support.stores import random_head

SHAPE = (8, 64, 64)
HEIGHT = np.arange(SHAPE[0]) / (SHAPE[0] - 1)
PIXEL_MM = (3.75, 3.75)
Contrast = Callable[[np.ndarray], np.ndarray]


def heads(seed: int, count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [random_head(random, SHAPE) for _ in range(count)]


def scans(modality: str, people: list[dict[str, np.ndarray]], contrast: Contrast = abs):
    return [(contrast(head[modality]), head["body"], HEIGHT, PIXEL_MM) for head in people]


def table_of(count: int = 2, contrast: Contrast = abs) -> ContrastTable:
    return table_of_scans(scans("mri", heads(1, count), contrast), scans("ct", heads(2, count)))


def error_hu(table: ContrastTable, contrast: Contrast = abs) -> float:
    """Mean absolute error on people whom the table has not seen."""
    errors = []
    for head in heads(3, 2):
        made = table.synthetic_ct(contrast(head["mri"]), head["body"], HEIGHT)
        errors.append(np.abs(made - head["ct"])[head["body"]].mean())
    return float(np.mean(errors))


@pytest.fixture(scope="module")
def atlas_error_hu() -> float:
    """The error of a table to which every MRI value looks alike."""
    return error_hu(table_of(1, contrast=lambda mri: np.full_like(mri, 100)), np.ones_like)


@pytest.fixture(scope="module")
def table() -> ContrastTable:
    return table_of()


CONTRASTS: dict[str, Contrast] = {
    "T1": abs,
    "negated": lambda mri: 1000 - mri.astype(float).clip(0, 990),
    "T2": lambda mri: np.where(mri < 700, 1.6 * mri, 250),
}


@pytest.mark.parametrize("name", CONTRASTS)
def test_any_contrast_tells_more_than_the_position_alone(name, atlas_error_hu):
    contrast = CONTRASTS[name]

    found = error_hu(table_of(contrast=contrast), contrast)

    assert found < 0.7 * atlas_error_hu


def test_one_volume_of_each_kind_is_enough_to_begin_with(atlas_error_hu):
    assert error_hu(table_of(1)) < atlas_error_hu


def test_outside_the_body_is_air_and_inside_are_hu_that_training_cts_have(table):
    (head,) = heads(4, 1)

    made = table.synthetic_ct(head["mri"], head["body"], HEIGHT)

    assert made.dtype == np.float32
    assert set(made[~head["body"]]) == {-1024}
    assert table.bin_hu.min() <= made[head["body"]].min()
    assert made[head["body"]].max() <= table.bin_hu.max()


def test_a_body_without_voxels_is_air(table):
    nothing = np.zeros(SHAPE)

    assert set(table.synthetic_ct(nothing, nothing, HEIGHT).flat) == {-1024}


def test_the_fit_and_its_result_are_the_same_to_the_bit_again(table):
    again, (head,) = table_of(), heads(4, 1)

    for name in ("prior", "likelihood", "bin_hu", "affinities"):
        assert np.array_equal(getattr(again, name), getattr(table, name)), name
    one, other = (each.synthetic_ct(head["mri"], head["body"], HEIGHT) for each in (table, again))
    assert np.array_equal(one, other)


def test_a_refit_follows_a_person_who_looks_unlike_the_cohort(table):
    """The unit of this scanner is not linear: all tissue is brighter beside its median."""
    (head,) = heads(4, 1)
    body = head["body"]
    values = mri_bins(np.sqrt(head["mri"][body].astype(float)))
    here = np.tile(table.prior.mean(axis=0), (int(body.sum()), 1))

    refit = table.refit(here, values)

    def likelihood_of(shapes: np.ndarray) -> float:
        return float(np.log((here @ shapes)[np.arange(len(values)), values]).mean())

    assert refit.sum(axis=1) == pytest.approx(1)
    assert likelihood_of(refit) > likelihood_of(table.likelihood)


def test_an_mri_of_another_contrast_is_unlikely_at_its_positions(table):
    (head,) = heads(4, 1)

    alike = table.gain_nats(head["mri"], head["body"], HEIGHT)
    unlike = table.gain_nats(CONTRASTS["negated"](head["mri"]), head["body"], HEIGHT)

    assert alike > 0.1
    assert unlike < alike - 0.5


@pytest.mark.parametrize(("gain", "warns"), [(0.01, False), (0.0, True)])
def test_a_gain_of_nothing_is_a_warning_that_the_cohorts_differ(table, gain, warns):
    changed = replace(table, findings=table.findings | {"bell_gain_nats": gain})

    last = changed.sentences()[-1]

    assert last.startswith("warning: A gain of 0 or less means") == warns


@pytest.mark.parametrize(("mri", "ct"), [(0, 1), (1, 0)])
def test_without_one_of_the_kinds_there_is_no_table(mri, ct):
    with pytest.raises(DataError, match="at least one MRI and one CT"):
        table_of_scans(scans("mri", heads(1, mri)), scans("ct", heads(2, ct)))


def test_the_median_of_the_body_is_at_one_level_whatever_the_unit():
    values = np.random.default_rng(0).gamma(3, 50, 10_001)

    bins = mri_bins(values)

    assert np.median(bins) == round(np.sqrt(MEDIAN_LEVEL) * (NUM_MRI_BINS - 1))
    assert np.array_equal(mri_bins(1000 * values), bins)
    assert bins.min() < 5
    assert bins.max() == NUM_MRI_BINS - 1


def test_a_body_of_background_is_refused():
    with pytest.raises(DataError, match="value of its background"):
        mri_bins(np.array([0, 0, 0, 5]))


def test_hu_outside_the_range_of_ct_are_in_the_outer_bins():
    assert hu_bins(np.array([-3000, -1024, 249, 250, 3071, 9000])).tolist() == [
        0,
        0,
        12,
        13,
        23,
        23,
    ]
