"""A dial turns several settings, and what it turned are plain settings of a valid run."""

from dataclasses import replace

import pytest

from cyclegan.config.presets import default, pelvis_512, reference
from tune.space.space import apply_values

BASE = replace(default(), train=replace(default().train, max_steps=1000))


def test_the_discriminators_rate_follows_the_generators():
    config = apply_values(BASE, {"discriminator_rate_ratio": 0.5, "optimizer.learning_rate": 4e-4})

    assert config.optimizer.learning_rate == 4e-4
    assert config.optimizer.discriminator_learning_rate == pytest.approx(2e-4)


def test_a_warmup_is_a_share_of_the_run():
    assert apply_values(BASE, {"warmup_share": 0.05}).optimizer.warmup_steps == 50


def test_augmentation_is_a_multiple_of_the_presets():
    base = replace(pelvis_512(), train=replace(pelvis_512().train, max_steps=10))
    doubled, none = (apply_values(base, {"augmentation": k}).data for k in (2.0, 0.0))

    assert (doubled.rotate_degrees, doubled.contrast) == (10.0, 0.4)
    assert doubled.zoom == pytest.approx((0.81, 1.21))
    assert doubled.gamma == pytest.approx((0.64, 1.5625))
    assert (doubled.bias_field, doubled.blur_mm, doubled.noise) == (0.2, 2.0, 0.08)
    assert doubled.intensity_share == base.data.intensity_share
    assert not none.changes_intensity
    assert (none.rotate_degrees, none.zoom, none.contrast, none.translate_fraction) == (
        *(0.0, (1.0, 1.0), 0.0),
        0.0,
    )
    assert apply_values(base, {"augmentation": 1.0}) == base


def test_where_the_preset_has_none_augmentation_is_a_multiple_of_the_defaults():
    still = replace(reference().data, translate_fraction=0.0)
    base = replace(reference(), data=still, train=replace(reference().train, max_steps=10))

    assert apply_values(base, {"augmentation": 0.0}) == base
    assert (
        apply_values(base, {"augmentation": 1.0}).data.rotate_degrees
        == default().data.rotate_degrees
    )
