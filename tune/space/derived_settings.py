"""Dials: numbers of a search that set several settings together, or one relative to another.

A dial has no dot in its name; a trial's configuration contains the resulting plain settings.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cyclegan.config.config import Config, DataConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedSetting:
    """One dial and its effect on a configuration."""

    meaning: str
    low: float
    high: float
    """Values are between `low` and `high`."""
    apply: Callable[[Config, Config, float], Config]
    """(configuration so far, base of the search, value) -> configuration with the dial applied."""
    read: Callable[[Config, Config], float]
    """(configuration, base of the search) -> value of the dial in the configuration."""


def apply_discriminator_rate(config: Config, base: Config, ratio: float) -> Config:
    """Set the discriminators' learning rate to a multiple of the generators'."""
    optimizer = config.optimizer
    rate = ratio * optimizer.learning_rate
    return replace(config, optimizer=replace(optimizer, discriminator_learning_rate=rate))


def apply_warmup(config: Config, base: Config, share: float) -> Config:
    """Set the warm-up steps to a share of the run's steps, which are fixed in a search."""
    steps = round(share * config.train.max_steps)
    return replace(config, optimizer=replace(config.optimizer, warmup_steps=steps))


def apply_augmentation(config: Config, base: Config, strength: float) -> Config:
    """Scale all augmentations to a multiple of the base's, or of the default's if the base has
    none."""
    unit = unit_of(base)
    data = replace(
        config.data,
        rotate_degrees=min(180.0, strength * unit.rotate_degrees),
        zoom=(unit.zoom[0] ** strength, unit.zoom[1] ** strength),
        translate_fraction=strength * unit.translate_fraction,
        contrast=strength * unit.contrast,
        gamma=(unit.gamma[0] ** strength, unit.gamma[1] ** strength),
        bias_field=strength * unit.bias_field,
        blur_mm=strength * unit.blur_mm,
        noise=strength * unit.noise,
    )
    return replace(config, data=data)


def read_augmentation(config: Config, base: Config) -> float:
    """Return the strength from the rotation, which every preset with augmentation has."""
    if not augments(config):
        return 0.0
    degrees = unit_of(base).rotate_degrees
    return config.data.rotate_degrees / degrees if degrees else 1.0


def unit_of(base: Config) -> DataConfig:
    """Return the augmentation of strength 1."""
    return base.data if augments(base) else DataConfig()


def augments(config: Config) -> bool:
    """Return whether images are augmented other than by mirroring."""
    data = config.data
    return bool(
        data.rotate_degrees
        or data.zoom != (1.0, 1.0)
        or data.translate_fraction
        or data.contrast
        or data.changes_intensity
    )


DERIVED_SETTINGS = {
    "discriminator_rate_ratio": DerivedSetting(
        meaning="learning rate of the discriminators as a multiple of the generators'",
        low=1e-3,
        high=1e3,
        apply=apply_discriminator_rate,
        read=lambda config, base: (
            config.optimizer.discriminator_learning_rate / config.optimizer.learning_rate
        ),
    ),
    "warmup_share": DerivedSetting(
        meaning="share of the run over which the learning rates rise",
        low=0.0,
        high=0.9,
        apply=apply_warmup,
        read=lambda config, base: config.optimizer.warmup_steps / max(1, config.train.max_steps),
    ),
    "augmentation": DerivedSetting(
        meaning="strength of rotation, zoom, shift, contrast, gamma, bias field, blur and noise; 1 "
        "is that of the preset",
        low=0.0,
        high=10.0,
        apply=apply_augmentation,
        read=read_augmentation,
    ),
}
"""Dials in the order in which they are applied, after all plain settings."""
