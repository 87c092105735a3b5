"""A stored volume goes to the other modality and back through any two callables."""

import numpy as np
import pytest

from cyclegan.inference.cycle import CycleNetworks
from cyclegan.metrics.unpaired_scores import cycle_scores
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("cycle") / "s.zarr", mri=1, ct=1, shape=(4, 32, 32))


def identity(images):
    return images


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_identity_networks_return_both_modalities_unchanged(store, contrast):
    networks = CycleNetworks(to_ct=identity, to_mri=identity, contrast=contrast)
    for volume in store.volumes:
        cycle = networks.cycle(store, volume)
        np.testing.assert_allclose(cycle.returned, cycle.original, atol=1e-5)
        assert (cycle.original[~cycle.body] == -1).all()
        assert cycle_scores(*cycle.compared())["cycle_ssim"] == pytest.approx(1, abs=1e-4)


def test_an_mri_becomes_hu_and_a_ct_becomes_a_share_of_the_mri_window(store):
    networks = CycleNetworks(to_ct=lambda x: 0 * x, to_mri=lambda x: 0 * x, contrast="plain")
    mri, ct = (
        networks.cycle(store, store.select(modality, "train")[0]) for modality in ("mri", "ct")
    )
    np.testing.assert_allclose(mri.translated[mri.body], 1023.5)  # the middle of the HU window
    assert (mri.translated[~mri.body] == -1024).all()
    np.testing.assert_allclose(ct.translated, 0.5)


def test_the_way_back_starts_from_what_the_way_there_gave(store):
    networks = CycleNetworks(to_ct=lambda x: x / 2, to_mri=lambda x: x / 4, contrast="plain")
    for modality in ("mri", "ct"):
        cycle = networks.cycle(store, store.select(modality, "train")[0])
        expected = np.where(cycle.body, cycle.original / 8, -1)
        np.testing.assert_allclose(cycle.returned, expected, atol=1e-5)


def test_slices_without_body_are_not_compared(store):
    networks = CycleNetworks(to_ct=identity, to_mri=identity, contrast="plain")
    cycle = networks.cycle(store, store.volumes[0])
    shown = int(cycle.body.any(axis=(1, 2)).sum())
    cycle.body[0] = False
    assert [len(images) for images in cycle.compared()] == [shown - 1] * 2


def test_both_ways_see_the_neighbours_and_the_conditions_of_the_source(store):
    shown = []

    def to_ct(images):
        shown.append(images)
        return images[:, 2:3] / 2

    networks = CycleNetworks(
        to_ct=to_ct, to_mri=to_ct, contrast="plain", neighbours=1, conditions=True
    )
    mri = store.select("mri", "train")[0]
    networks.cycle(store, mri)

    there, back = shown  # channels: depth, below, the slice, above, height
    assert there.shape == back.shape == (4, 5, 32, 32)
    np.testing.assert_array_equal(there[:, [0, 4]], back[:, [0, 4]])
    np.testing.assert_array_equal(there[:, 0] > -1, store.body(mri) > 0)
    np.testing.assert_allclose(there[:, 4, 0, 0], 2 * np.array(mri.height) - 1, rtol=1e-6)
    np.testing.assert_array_equal(back[1:, 1], there[:-1, 2] / 2)
