"""The watch sees the known ways in which a CycleGAN fails, and keeps quiet about a good one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cyclegan.data.batch import Batch
from cyclegan.nets.network_pairs import Translated
from cyclegan.train.engine.diagnostics import accuracy, edges, image_statistics
from cyclegan.train.monitor.training_warnings import PATIENCE, TrainingWarnings
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.support.stores import random_head

GOOD = {
    "accuracy/discriminator_mri": 0.7,
    "accuracy/discriminator_ct": 0.7,
    "watch/spread_ct": 0.9,
    "watch/spread_mri": 0.9,
    "watch/edges": 0.5,
    "watch/bone": -1.0,
    "watch/surface": -0.6,
}

PIXEL_MM = (3.6, 3.6)
"""Of a head that is 64 pixels wide."""


def head(seed: int) -> dict[str, Tensor]:
    """The middle slice of a head: dark bone, bright fat on MRI."""
    arrays = random_head(np.random.default_rng(seed), (4, 64, 64))
    images = {
        "mri": normalise(arrays["mri"][2].astype(np.float32), (0.0, 1000.0)),
        "ct": normalise(arrays["ct"][2].astype(np.float32), WINDOW_HU),
        "body": arrays["body"][2].astype(np.float32),
    }
    return {name: torch.tensor(image)[None, None] for name, image in images.items()}


def measured(to_ct, to_mri=lambda ct, body: ct) -> dict[str, float]:
    """The signs of a pair of generators that may look at the truth."""
    a, b = head(1), head(2)
    batch = Batch(
        mri=a["mri"], ct=b["ct"], mri_body=a["body"], ct_body=b["body"], pixel_mm=PIXEL_MM
    )
    fake_ct, fake_mri = to_ct(a), to_mri(b["ct"], b["body"])
    rest = {"same_mri": a["mri"], "same_ct": b["ct"], "returned_mri": a["mri"]}
    images = Translated(fake_mri=fake_mri, fake_ct=fake_ct, returned_ct=b["ct"], **rest)
    return {name: sign.item() for name, sign in image_statistics(batch, images).items()}


def warnings(means: dict[str, float], contrast="plain") -> list[str]:
    watch = TrainingWarnings(contrast)
    told = [watch.read(means) for _ in range(PATIENCE + 5)]
    assert not any(told[: PATIENCE - 1])
    return [text for texts in told for text in texts]


def test_the_true_ct_shows_no_sign():
    found = measured(lambda a: a["ct"])

    assert found["watch/spread_ct"] == pytest.approx(1, abs=0.3)
    assert found["watch/edges"] > 0.3
    assert found["watch/bone"] < -0.5
    assert found["watch/surface"] < -0.5
    assert found["watch/layers"] < 150
    assert warnings(GOOD | found) == []


def test_a_constant_ct_is_called_collapsed():
    found = measured(lambda a: 0 * a["ct"] - 0.5)

    (told,) = warnings({"watch/spread_ct": found["watch/spread_ct"]})
    assert "collapsed" in told
    assert "--loss.cycle.weight" in told


def test_bright_fat_that_becomes_bone_is_seen_though_no_loss_shows_it():
    """Contrast lock-in: the scalp's fat, bright on MRI, is made bright on CT."""
    found = measured(lambda a: torch.where(a["mri"] > 0.5, 0.2, -0.5))

    assert len(warnings({"watch/surface": found["watch/surface"]})) == 1
    (told,) = warnings({"watch/bone": found["watch/bone"]})
    assert "fat is translated to bone" in told
    assert "--data.mri-contrast inverted" in told


def test_bone_on_the_scalp_is_measured_near_the_surface():
    painted = measured(lambda a: torch.where(a["mri"] > 0.5, 0.2, -0.5))

    assert painted["watch/surface"] > 0.5  # bright is dense: the wrong way round
    assert painted["watch/layers"] > 300  # HU


RECORDED = json.loads((Path(__file__).parent / "recorded" / "lock_in.json").read_text())
"""Log lines of real runs of `benchmarks.quality` on the frozen phantom, a line each 25 steps: the
reference recipe, which locks in, and one with inverted contrast, conditions and the population
term, which does not (`docs/recipe.md`)."""


def told_in(run: str) -> list[tuple[int, str]]:
    """Step and text of each warning that the recorded run would have given."""
    watch = TrainingWarnings(RECORDED[run]["contrast"])
    return [(line["step"], text) for line in RECORDED[run]["lines"] for text in watch.read(line)]


def test_a_real_run_that_locks_in_is_told_so_early_and_in_words():
    ((step, text),) = told_in("reference")

    assert step <= 150
    assert "contrast lock-in" in text
    assert "--data.mri-contrast inverted" in text


def test_a_real_run_that_does_not_lock_in_gets_no_warning():
    assert told_in("demo-conditions-population") == []


def test_in_the_inverted_representation_the_sign_is_the_other_way_round():
    assert warnings({"watch/bone": 1.0, "watch/surface": 0.6}, "inverted") == []
    assert len(warnings({"watch/bone": -1.0}, "inverted")) == 1
    assert len(warnings({"watch/surface": -0.6}, "inverted")) == 1


def test_anatomy_of_another_head_has_its_edges_elsewhere():
    found = measured(lambda a: a["ct"].roll((20, 20), (2, 3)).transpose(2, 3))

    assert found["watch/edges"] < 0.2 < measured(lambda a: a["ct"])["watch/edges"]
    assert len(warnings({"watch/edges": 0.0})) == 1


def test_a_discriminator_that_is_always_right_is_told_once():
    (told,) = warnings(GOOD | {"accuracy/discriminator_ct": 0.995})

    assert "CT discriminator is right on 100% of its patches" in told or "right on 99%" in told


def test_a_sign_that_comes_and_goes_is_not_told():
    watch = TrainingWarnings("plain")
    for _ in range(20):
        assert watch.read(GOOD | {"watch/edges": 0.0}) == []
        assert watch.read(GOOD) == []


def test_accuracy_is_the_share_of_patches_judged_rightly():
    real, fake = torch.tensor([0.9, 0.6, 0.2, 0.7]), torch.tensor([0.1, 0.8, 0.4, 0.3])

    assert accuracy(real, fake).item() == pytest.approx((3 / 4 + 3 / 4) / 2)


def test_edges_are_gradient_magnitudes():
    ramp = torch.arange(5.0)[:, None] * 3 + torch.arange(5.0) * 4  # [5, 5]

    torch.testing.assert_close(edges(ramp[None, None]), torch.full((1, 1, 4, 4), 5.0))
