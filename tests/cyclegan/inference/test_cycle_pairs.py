"""A pair is compared where the CT shows body and the MRI was scanned."""

from dataclasses import replace

import numpy as np
import pytest
from nibabel.affines import apply_affine

from cyclegan.inference.cycle import field_of_view, partner_ct
from tests.support.outlines import disagreeing_pair


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return disagreeing_pair(tmp_path_factory.mktemp("pairs") / "s.zarr", "test")


@pytest.fixture
def mri(store):
    return store.select("mri", "test")[0]


def test_the_mask_is_the_cts_body_where_the_mri_covers_all(store, mri):
    (ct,) = store.select("ct", "test")
    voxels, mask = partner_ct(store, mri)
    np.testing.assert_array_equal(voxels, store.voxels(ct))
    np.testing.assert_array_equal(mask, store.body(ct) == 1)


def test_what_the_mri_did_not_scan_is_left_out(store, mri):
    z, y, _ = mri.shape
    half = replace(mri, source_shape=(z, y, 10))
    _, mask = partner_ct(store, half)
    assert mask[:, :, :10].any()
    assert not mask[:, :, 10:].any()


def test_an_oblique_field_of_view_is_the_one_that_nibabel_computes(mri):
    turn = np.eye(4)
    turn[:2, :2] = [[0.9, -0.43589], [0.43589, 0.9]]
    oblique = replace(mri, source_shape=(3, 20, 24), source_affine=turn @ mri.affine)
    indices = np.stack(np.indices(mri.shape)[::-1], axis=-1)
    in_source = apply_affine(np.linalg.inv(oblique.source_affine) @ mri.affine, indices)
    expected = ((in_source > -0.5) & (in_source < np.array([24, 20, 3]) - 0.5)).all(axis=-1)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(field_of_view(oblique), expected)


def test_a_volume_without_a_link_has_no_ct(store):
    (alone,) = store.select("ct", "train")
    assert partner_ct(store, alone) is None
