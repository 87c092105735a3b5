"""Pictures show the patient as a radiologist expects: right on the left, anterior and head up."""

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from cyclegan.evaluate.report.figures import columns_of, views_of, volume_figure
from cyclegan.evaluate.report.plots import learning_curves
from cyclegan.evaluate.score_table import ShownVolume
from cyclegan.inference.cycle import CycleNetworks
from tests.support.stores import make_store


def identity(images):
    return images


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    store = make_store(
        tmp_path_factory.mktemp("figures") / "s.zarr", mri=0, ct=0, paired=1, shape=(8, 32, 40)
    )
    mri, ct = (store.select(modality, "train")[0] for modality in ("mri", "ct"))
    cycle = CycleNetworks(to_ct=identity, to_mri=identity, contrast="plain").cycle(store, mri)
    return ShownVolume(
        cycle=cycle,
        real=store.voxels(ct),
        compared=store.body(ct).astype(bool),
        mae_hu=100.0,
        spacing_mm=store.spacing_mm,
    )


def test_each_view_has_its_sides_where_its_letters_say(shown):
    z, y, x = np.indices(shown.cycle.body.shape)
    for view in views_of(shown):
        columns, rows = (view.of(y), view.of(z)) if view.edges == "AP" else (view.of(x), view.of(z))
        # x grows from the patient's right to the left, y from anterior to posterior.
        assert (np.diff(columns, axis=1) == 1).all()
        if view.label.startswith("axial"):
            assert (np.diff(view.of(y), axis=0) == 1).all()
        else:
            assert (np.diff(rows, axis=0) == -1).all()


def test_pixels_are_as_large_as_their_voxels(shown):
    dz, dy, dx = shown.spacing_mm
    spacing = {"axial": (dy, dx), "coronal": (dz, dx), "sagittal": (dz, dy)}
    for view in views_of(shown):
        assert view.pixel_mm == spacing[view.label.split(",")[0]]


def test_no_view_cuts_the_body_off(shown):
    body = shown.cycle.body
    for view in views_of(shown):
        whole = body[tuple(c if isinstance(c, int) else slice(None) for c in view.cut)]
        assert view.of(body).sum() == whole.sum()


def test_the_difference_is_synthetic_minus_real_inside_the_body(shown):
    difference = columns_of(shown)[-1].voxels
    inside = shown.compared
    expected = shown.cycle.translated[inside] - shown.real[inside]
    np.testing.assert_allclose(difference[inside], expected)
    assert np.isnan(difference[~inside]).all()


def test_without_a_real_ct_the_returned_mri_is_shown_instead(shown):
    alone = replace(shown, real=None, compared=None, mae_hu=None)
    assert [column.title for column in columns_of(alone)][-1] == "returned MRI"
    paired, unpaired = (imread(io.BytesIO(volume_figure(each))) for each in (shown, alone))
    assert paired.shape[1] > unpaired.shape[1]


def test_curves_need_a_loss_or_a_score():
    assert learning_curves([{"step": 1, "time_s": 2.0}]) is None
    records = [{"step": s, "loss/cycle": 1 / (s + 1), "val/ssim": 0.1 * s} for s in range(3)]
    assert imread(io.BytesIO(learning_curves(records))).ndim == 3
