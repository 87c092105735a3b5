"""Of several CTs the one that explains the MRI around a voxel counts most there."""

import numpy as np
import pytest

from cyclegan.anchor.fusion import explained_nats, fused, local_weights
from cyclegan.contrast.value_bins import NUM_HU_BINS, hu_bins
from cyclegan.nets.guide import NUM_MRI_BINS

SHAPE = (6, 12, 12)
BODY = np.ones(SHAPE, bool)
BODY[:, :2] = False
LOOKS = {40: 25, 1000: 6}
"""Bin of the MRI that each of two HU looks like."""


@pytest.fixture
def likelihood():
    found = np.full((NUM_HU_BINS, NUM_MRI_BINS), 1e-3)
    for hu, look in LOOKS.items():
        found[hu_bins(np.array([hu]))[0], look] = 1
    return found / found.sum(axis=1, keepdims=True)


@pytest.fixture
def truth():
    """Bone on the right, soft tissue on the left."""
    return np.where(np.arange(SHAPE[2]) < 6, 40, 1000) * np.ones(SHAPE, int)


def values_of(hu):
    return np.vectorize(LOOKS.get)(hu)[BODY]


def nats_of(cts, truth, likelihood):
    return np.stack([explained_nats(ct, BODY, values_of(truth), likelihood) for ct in cts])


def test_each_ct_is_trusted_where_it_explains_the_mri(truth, likelihood):
    soft, bone = np.full(SHAPE, 40), np.full(SHAPE, 1000)
    seen = np.ones((2, *SHAPE), bool)

    weight = local_weights(nats_of([soft, bone], truth, likelihood), seen, BODY)

    np.testing.assert_allclose(weight.sum(axis=0)[BODY], 1, rtol=1e-5)
    assert not weight[:, ~BODY].any()
    assert (weight[0, :, 2:, :4] > 0.95).all()
    assert (weight[1, :, 2:, 8:] > 0.95).all()
    both = np.where(BODY, fused(np.stack([soft, bone]), weight), truth)
    assert np.abs(both - truth).mean() < 0.2 * np.abs(soft - truth)[BODY].mean()


def test_the_better_warp_is_preferred_and_equal_ones_share(truth, likelihood):
    shifted = np.roll(truth, 2, axis=2)
    seen = np.ones((3, *SHAPE), bool)

    weight = local_weights(nats_of([truth, truth, shifted], truth, likelihood), seen, BODY)

    edge = weight[:, :, 2:, 6:8]
    np.testing.assert_allclose(weight[0], weight[1], rtol=1e-5)
    assert edge[2].max() < 0.1
    assert edge[0].min() > 0.45


def test_what_a_scan_does_not_show_has_no_weight(truth, likelihood):
    seen = np.ones((2, *SHAPE), bool)
    seen[0, :3] = False
    seen[:, 0] = False

    weight = local_weights(nats_of([truth, truth], truth, likelihood), seen, BODY)

    assert not weight[:, 0].any()
    np.testing.assert_allclose(weight[1, 1:3][BODY[1:3]], 1, rtol=1e-5)
    assert (fused(np.stack([truth, truth]), weight)[0] == -1024).all()


def test_what_a_scan_does_not_show_takes_no_weight_from_the_others():
    """However well it would have explained the MRI."""
    body = np.ones((2, 4, 4), bool)
    nats = np.stack([np.zeros(body.sum()), np.full(body.sum(), 60.0)])
    seen = np.stack([body, ~body])

    shares = local_weights(nats, seen, body)

    assert shares[0] == pytest.approx(1.0)
    assert (shares[1] == 0).all()
