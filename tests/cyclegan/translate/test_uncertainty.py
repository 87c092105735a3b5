"""The map of uncertainty is high where networks contradict themselves, and nowhere else."""

import numpy as np
import pytest
import torch

from cyclegan.translate.engine import MAX_SHIFT, TranslationEngine, prepare_input
from cyclegan.translate.uncertainty import FLIPS, passes, uncertainty
from tests.cyclegan.translate.conftest import centred, head

SHAPE = (9, 48, 44)
WAYS = ({"direction": "to_ct", "inputs": ("mri",)}, {"direction": "to_mri", "inputs": ("ct",)})


@pytest.fixture
def no_void(monkeypatch):
    """What the networks alone are unsure of."""
    monkeypatch.setattr("cyclegan.translate.uncertainty.VOID_HU", 0.0)


def identity(images):
    return images


def mapped(make_model, to_ct, to_mri=None, **options):
    """The volume as it is shown, and the map in HU."""
    forth, back = (
        network and TranslationEngine(model=make_model(network, **way, **options))
        for network, way in zip((to_ct, to_mri), WAYS, strict=True)
    )
    mri = head("mri", SHAPE, centred(np.diag([-5.0, -5.0, 9.0]), SHAPE))
    shown = prepare_input(forth.model.info, mri)
    images = forth.images(shown)
    translated = forth.run(images, shown)
    return shown, uncertainty(forth, back, images, translated, shown)


def test_networks_that_follow_every_move_are_sure(make_model, no_void):
    _, unsure = mapped(make_model, identity, identity)

    assert unsure.max() < 1e-2


def test_what_does_not_move_with_the_head_is_unsure_there(make_model, no_void):
    columns = torch.arange(56.0)
    stripe = 0.2 * torch.exp(-(((columns - 20) / 1.5) ** 2))

    shown, unsure = mapped(make_model, lambda images: images + stripe)

    profile = unsure.mean(axis=(0, 1))
    mirrored = 55 - 20
    assert min(abs(int(profile.argmax()) - at) for at in (20, mirrored)) <= 3
    assert profile[20] > 20
    assert profile[10] < profile[20] / 5
    assert (unsure[~shown.body] == 0).all()


def test_a_way_back_that_comes_out_elsewhere_is_unsure_by_that_much(make_model, no_void):
    shown, unsure = mapped(make_model, identity, lambda images: images + 0.1)

    # 0.1 of the network's two units of 4095 HU.
    assert np.median(unsure[shown.body]) == pytest.approx(0.1 * 2047.5, rel=0.05)


def test_conditions_move_with_the_slices(make_model, no_void):
    bodies = []

    def network(images):
        bodies.append((images[:, 0] > -1).numpy())
        return images[:, 1:2]

    shown, unsure = mapped(make_model, network, conditions=True)

    assert unsure.max() < 1e-2
    by_pass = np.concatenate(bodies).reshape(-1, *shown.body.shape)
    np.testing.assert_array_equal(by_pass[0], shown.body)
    assert max(abs(n) for move in FLIPS for n in (move.rows, move.columns)) <= MAX_SHIFT
    for move, body in zip(FLIPS, by_pass[1:], strict=True):
        np.testing.assert_array_equal(body, move.body(shown.body))
    assert len(by_pass) == passes(None)


def test_where_the_mri_has_no_signal_nobody_can_be_sure(make_model):
    shown, unsure = mapped(make_model, identity)

    dark = shown.voxels == shown.voxels[shown.body].min()
    # The window has the body's median at 0.4, and this head has no fat: its brightest is 0.6.
    bright = shown.body & (shown.voxels > np.quantile(shown.voxels[shown.body], 0.75))
    assert unsure[shown.body & dark].mean() > 15 * unsure[bright].mean()
    assert unsure.max() <= 1000
