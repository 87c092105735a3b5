"""Unlike cohorts: every method has a row, and what is odd is scored by itself."""

import numpy as np
import pytest

from benchmarks.cohorts import (
    COHORTS,
    FUSED_WARPS,
    main,
    methods_of,
    odd_regions,
    print_rows,
    scored,
    store_of,
)
from benchmarks.quality import rows_of, write_rows
from benchmarks.recipes.judge import test_heads as heads_of
from cyclegan.evaluate.score_table import ATLAS_MEAN, ATLAS_MEDIAN, CONTRAST_TABLE, SOFT_TISSUE
from cyclegan.metrics.paired_scores import mae_hu
from data_prep.__main__ import PhantomCommand
from data_prep.phantom.cohort import ODD_FOLDER
from data_prep.phantom.settings import CohortOrigin, CohortSettings, write_origin
from data_prep.readers.nifti import write_nifti
from mrct.cli import parse
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

SHAPE = (8, 32, 32)


@pytest.fixture
def odd(tmp_path):
    """A store of one pair whose CT has a mask of what is odd, and the folder of its files."""
    splits = ("train", "test")
    path, cohort = tmp_path / "odd" / "heads.zarr", tmp_path / "odd" / "cohort"
    store = make_store(path, mri=1, ct=1, paired=1, shape=SHAPE, splits=splits)
    (mri,) = heads_of(store)
    settings = CohortSettings(
        num_train_mri=0, num_train_ct=0, num_val=0, num_test=1, oddities=("tumour",)
    )
    cohort.mkdir()
    (cohort / "manifest.csv").write_text("")
    write_origin(cohort, CohortOrigin.now(seed=0, settings=settings))
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:6, 12:20, 10:22] = 1
    for folder, voxels in (("ct", np.zeros(SHAPE, np.int16)), (ODD_FOLDER, mask)):
        (cohort / folder).mkdir()
        write_nifti(cohort / folder / "phantom-0000.nii.gz", voxels, mri.affine)
    return store, cohort, mask


def test_the_odd_region_lies_where_its_mask_does(odd):
    store, cohort, mask = odd

    ((name, (oddity, region)),) = odd_regions(store, cohort)

    assert (name, oddity) == (heads_of(store)[0].name, "tumour")
    np.testing.assert_array_equal(region, mask > 0)


def test_scores_inside_are_those_of_the_region(odd):
    store, cohort, mask = odd
    (mri,) = heads_of(store)
    real = store.voxels(store.partner(mri))
    wrong = real + np.where(mask, 100, 10).astype(np.float32)

    found = scored(store, cohort, lambda mri: wrong)

    assert found["odd"]["tumour"]["mae_hu"] == pytest.approx(100)
    whole = mae_hu(wrong, real, store.body(mri))
    assert found["odd"]["tumour"]["whole_mae_hu"] == pytest.approx(whole, abs=1e-3)
    assert 10 < whole < 100


def test_the_baselines_are_scored_and_printed(odd, capsys):
    store, cohort, _ = odd
    rows = [
        {"cohort": "odd", "method": name} | scored(store, cohort, translate)
        for name, translate in methods_of(store, [], trees=False)
    ]

    print_rows(rows)

    assert [row["method"] for row in rows] == [
        SOFT_TISSUE,
        ATLAS_MEAN,
        ATLAS_MEDIAN,
        CONTRAST_TABLE,
        FUSED_WARPS,
    ]
    printed = capsys.readouterr().out
    assert f"| odd | {ATLAS_MEDIAN} |" in printed
    assert f"| tumour | {ATLAS_MEDIAN} |" in printed


@pytest.mark.parametrize("name", COHORTS)
def test_every_cohort_is_made_by_words_that_the_command_takes(name, tmp_path):
    words = ["--out", str(tmp_path), *COHORTS[name].split()]

    parse(PhantomCommand, words, prog="phantom")


@pytest.mark.usefixtures("odd")
def test_a_row_of_other_voxels_or_heights_is_replaced_and_others_stay(tmp_path):
    results = tmp_path / "rows.jsonl"
    words = ["odd", "--out", str(tmp_path), "--results", str(results)]
    main(words)
    first = rows_of(results)
    write_rows(results, [first[0], first[1] | {"heights": 0}, *first[2:]])

    main(words)

    found = rows_of(results)
    assert found == [first[0], *first[2:], first[1]]
    assert {row["generator"] for row in found} == {1}


def test_a_cohort_of_an_earlier_generator_is_not_scored(tmp_path):
    folder = tmp_path / "second" / "cohort"
    folder.mkdir(parents=True)
    settings = CohortSettings(generator="levels")
    write_origin(folder, CohortOrigin(seed=77, settings=settings, version=1))
    (folder / "manifest.csv").write_text("")

    with pytest.raises(SystemExit, match="earlier generator"):
        store_of("second", LocalPath(tmp_path))
