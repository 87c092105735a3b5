"""An MRI gets CTs of other people, of the same heights, and all CTs are used about equally."""

from collections import Counter

import numpy as np
import pytest

from cyclegan.anchor.donors import covered_share, donors_of, height_shift
from data_prep.store.history import rebuild_index
from data_prep.store.store import open_store
from tests.support.round_heads import SPACING_MM, write_round_heads
from tests.support.stores import make_store

CUTS = [(0, 0), (90, 0), (0, 90), (0, 0)]
"""Of an MRI and of a CT each, in mm above and below."""


@pytest.fixture(scope="module")
def cut_heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("donors") / "s.zarr"
    write_round_heads(path, CUTS)
    rebuild_index(path, fit=True)
    store = open_store(path)
    assert store.axis.sizes_mm
    return store


def by_cut(store, modality):
    """The volumes by what their field of view shows: from and to which height, in mm."""
    found = {"whole": [], "low": [], "high": []}
    for volume in store.select(modality, "train"):
        if volume.shape[0] > 60:
            found["whole"].append(volume)
        else:
            found["low" if volume.height[0] < 0.1 else "high"].append(volume)
    return found


def test_ct_that_show_the_heights_of_the_mri_come_first(cut_heads):
    mris, cts = by_cut(cut_heads, "mri"), by_cut(cut_heads, "ct")
    every = [*cut_heads.select("ct", "train")]

    for part in ("low", "high"):
        mri = mris[part][0]
        chosen = donors_of(0, mri, every, 4)
        assert {ct.name for ct in chosen[:3]} == {ct.name for ct in cts["whole"] + cts[part]}
        assert covered_share(mri, chosen[0]) > 0.9
        other = cts["high" if part == "low" else "low"][0]
        assert covered_share(mri, other) < 0.5


def test_equal_heights_lie_over_each_other(cut_heads):
    mri, ct = by_cut(cut_heads, "mri")["whole"][0], by_cut(cut_heads, "ct")["high"][0]

    shift = height_shift(mri, ct)

    np.testing.assert_allclose(shift, -90 / SPACING_MM[0], atol=5)


def test_all_cts_are_used_and_none_of_the_same_person(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=6, ct=5, paired=1, shape=(4, 32, 32))
    cts = [*store.select("ct", "train")]

    chosen = {
        mri.name: donors_of(number, mri, cts, 3)
        for number, mri in enumerate(store.select("mri", "train"))
    }

    used = Counter(ct.name for each in chosen.values() for ct in each)
    assert {*used} == {ct.name for ct in cts}
    assert max(used.values()) <= 2 * min(used.values()) + 1
    (pair,) = [mri for mri in store.select("mri", "train") if mri.link]
    assert pair.link not in {ct.name for ct in chosen[pair.name]}
    assert all(len({ct.name for ct in each}) == 3 for each in chosen.values())
    assert len(donors_of(0, pair, cts, 99)) == 5
