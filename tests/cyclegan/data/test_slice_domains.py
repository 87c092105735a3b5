"""Which volumes and slices serve a domain, and what is said when there are none."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cyclegan.config.config import DataConfig
from cyclegan.data.slice_index import Domain, find_domain
from cyclegan.errors import DataError
from data_prep.store.store import Store
from mrct.imaging.modality import Modality
from tests.support.stores import make_store

ALL = DataConfig(min_body_fraction=0)


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two unpaired volumes of each kind and eight subjects with both, all in train."""
    path = tmp_path_factory.mktemp("paired") / "s.zarr"
    return make_store(path, mri=2, ct=2, paired=8, shape=(3, 16, 16))


def subjects(domain: Domain) -> set[str]:
    return {volume.subject for volume in domain.volumes}


def test_the_table_lists_every_slice_of_every_volume_of_the_split(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=3, ct=1, splits=("train", "val"), shape=(4, 16, 16))

    domain = find_domain(store, ALL, "mri", "train")

    assert [v.name for v in domain.volumes] == [v.name for v in store.select("mri", "train")]
    volumes, slices = domain.table.places(np.arange(8))
    np.testing.assert_array_equal(volumes, np.repeat([0, 1], 4))
    np.testing.assert_array_equal(slices, np.tile([0, 1, 2, 3], 2))
    expected = np.concatenate([volume.height for volume in domain.volumes])
    np.testing.assert_array_equal(domain.table.heights(np.arange(8)), expected.astype(np.float32))


def test_the_table_is_the_same_whatever_is_looked_at_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s.zarr", mri=3, ct=1, shape=(6, 16, 16), flat=(1, 4))
    whole = find_domain(store, ALL, "mri", "train").table

    monkeypatch.setattr("cyclegan.data.slice_index.VOLUMES_AT_ONCE", 1)
    parts = find_domain(store, ALL, "mri", "train").table

    rows = np.arange(len(whole))
    assert len(parts) == len(whole) == 12
    np.testing.assert_array_equal(parts.places(rows), whole.places(rows))


def test_heights_count_from_the_lowest_to_the_highest_slice_with_body(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(9, 16, 16), bare=(0, 1, 8))

    domain = find_domain(store, DataConfig(min_body_fraction=0, min_deviation=0), "mri", "train")

    (volume,) = domain.volumes
    np.testing.assert_array_equal(volume.height[[0, 2, 7, 8]], [0, 0, 1, 1])
    assert 0 < volume.height[3] < 1
    np.testing.assert_array_equal(
        domain.table.heights(np.arange(9)), volume.height.astype(np.float32)
    )


def test_slices_with_little_body_are_left_out(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1, shape=(5, 32, 32))
    fractions = np.array([volume.body_fraction for volume in store.select("mri", "train")])
    limit = float(np.median(fractions))

    domain = find_domain(store, DataConfig(min_body_fraction=limit), "mri", "train")

    shown = fractions[domain.table.places(np.arange(len(domain.table)))]
    assert (shown >= limit).all()
    assert len(shown) == (fractions >= limit).sum() < fractions.size


def test_in_training_a_paired_subject_keeps_one_modality(paired: Store) -> None:
    mri, ct = (find_domain(paired, ALL, modality, "train") for modality in ("mri", "ct"))

    assert not subjects(mri) & subjects(ct)
    assert len(subjects(mri) | subjects(ct)) == 12  # and no subject is lost
    assert min(len(mri.volumes), len(ct.volumes)) > 2  # both domains get some of them


def test_paired_subjects_may_serve_both_when_asked_to(paired: Store) -> None:
    config = DataConfig(min_body_fraction=0, allow_paired_train=True)

    mri, ct = (find_domain(paired, config, modality, "train") for modality in ("mri", "ct"))

    assert len(subjects(mri) & subjects(ct)) == 8


def test_pairs_stay_whole_outside_of_training(tmp_path: Path) -> None:
    store = make_store(
        tmp_path / "s.zarr", mri=1, ct=1, paired=2, splits=("train", "val"), shape=(3, 16, 16)
    )

    mri, ct = (find_domain(store, ALL, modality, "val") for modality in ("mri", "ct"))

    assert len(subjects(mri) & subjects(ct)) == 2


@pytest.mark.parametrize(
    ("modality", "fraction", "remedy"),
    [("ct", 0.0, "data_prep convert"), ("mri", 0.99, "--data.min-body-fraction")],
)
def test_an_empty_domain_is_refused_with_the_reason_and_the_remedy(
    tmp_path: Path, modality: Modality, fraction: float, remedy: str
) -> None:
    store = make_store(tmp_path / "s.zarr", mri=2, ct=0, shape=(3, 16, 16))

    with pytest.raises(DataError) as caught:
        find_domain(store, DataConfig(min_body_fraction=fraction), modality, "train")

    for part in (modality.upper(), "train split", str(store.path), remedy):
        assert part in str(caught.value)


def test_slices_of_one_grey_are_left_out_and_a_domain_of_them_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, shape=(5, 32, 32), flat=(1, 3))

    domain = find_domain(store, ALL, "mri", "train")
    with pytest.raises(DataError, match=r"each is nearly constant(.|\n)*--data\.min-deviation"):
        find_domain(store, DataConfig(min_body_fraction=0, min_deviation=0.99), "mri", "train")

    np.testing.assert_array_equal(domain.table.places(np.arange(3))[1], [0, 2, 4])


def test_a_domain_emptied_by_the_pairing_rule_says_how_to_lift_it(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.zarr", mri=0, ct=0, paired=1, shape=(3, 16, 16))

    (mri,) = store.select("mri", "train")
    left_out: Modality = (
        "ct" if hashlib.sha256(mri.subject.encode()).digest()[0] % 2 == 0 else "mri"
    )

    with pytest.raises(DataError, match="allow-paired-train"):
        find_domain(store, ALL, left_out, "train")
