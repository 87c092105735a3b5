"""The table of a store's train split, counted in parts."""

import numpy as np
import pytest

from cyclegan.atlas.scans import train_scans
from cyclegan.contrast import train_table
from cyclegan.contrast.counts import CtCounts, MriCounts
from cyclegan.contrast.fit import counts_of_cts, counts_of_mris
from cyclegan.contrast.table import ARRAYS
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.errors import DataError
from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import write_volume
from tests.support.stores import make_store, prepared, random_head

SHAPE, SPACING_MM = (6, 48, 48), (3.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Five MRIs and three CTs of the train split: no whole number of parts."""
    path = tmp_path_factory.mktemp("table") / "heads.zarr"
    return make_store(path, mri=5, ct=3, shape=SHAPE, spacing_mm=SPACING_MM)


def arrays_of(cts: CtCounts | None, mris: MriCounts | None) -> list[np.ndarray]:
    assert cts is not None
    assert mris is not None
    beside = cts.neighbours
    return [
        cts.voxels.toarray(),
        cts.sums_hu,
        beside.bins,
        *(getattr(beside.positions, name) for name in ("data", "indices", "indptr")),
        mris.by_fold(),
    ]


@pytest.mark.parametrize("volumes", [1, 2, 7])
def test_parts_of_any_size_count_what_the_whole_does_to_the_bit(store, monkeypatch, volumes):
    whole = arrays_of(
        counts_of_cts(train_scans(store, "ct")),
        counts_of_mris(enumerate(train_scans(store, "mri"))),
    )
    monkeypatch.setattr(train_table, "VOLUMES_PER_TASK", volumes)

    *counted, left_out = train_table.count_train_split(store, workers=0)

    assert not left_out
    assert all(np.array_equal(*pair) for pair in zip(arrays_of(*counted), whole, strict=True))


def test_mris_that_the_table_does_not_explain_are_named(tmp_path):
    """One of another contrast, and one whose body is background."""
    path = tmp_path / "heads.zarr"
    make_store(path, mri=5, ct=2, shape=SHAPE, spacing_mm=SPACING_MM)
    head = random_head(np.random.default_rng(9), SHAPE)
    mostly_background = head["mri"] * (np.arange(head["mri"].size).reshape(SHAPE) % 4 == 0)
    odd = {"a" * 16: 1000 - head["mri"].clip(0, 990), "b" * 16: mostly_background}
    for name, voxels in odd.items():
        write_volume(path, prepared("mri", name, "train", head | {"mri": voxels}, SPACING_MM))
    rebuild_index(path)

    store = open_store(path)

    found = fit_train_table(store, workers=0)

    assert found.gains_nats.keys() == {
        mri.name for mri in store.select("mri", "train") if mri.subject != "b" * 16
    }
    assert list(found.unlikely) == [f"mri/{'a' * 16}"]
    (why,) = found.left_out
    assert why.startswith(f"mri/{'b' * 16}: At least half of the body")


@pytest.mark.parametrize(("mri", "ct"), [(0, 1), (1, 0)])
def test_a_store_without_one_of_the_kinds_has_no_table(mri, ct, tmp_path):
    store = make_store(tmp_path / "heads.zarr", mri=mri, ct=ct, shape=SHAPE)

    with pytest.raises(DataError, match="at least one MRI and one CT"):
        fit_train_table(store, workers=0)


@pytest.mark.ray
def test_ray_tasks_give_the_table_of_this_process_to_the_bit(store):
    alone, beside = (fit_train_table(store, workers=workers) for workers in (0, 2))

    for name in ARRAYS:
        assert np.array_equal(getattr(beside.table, name), getattr(alone.table, name)), name
    assert beside.gains_nats == alone.gains_nats
