"""Dials: numbers of a search that turn several settings at once, or one relative to another. Pure.

A dial has no dot in its name; what it turned stands in the trial's configuration as plain settings.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cyclegan.config.config import Config, DataConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Dial:
    """One number and what it does."""

    meaning: str
    low: float
    high: float
    """The values that it takes lie between them."""
    turn: Callable[[Config, Config, float], Config]
    """(what a trial has so far, what the search starts from, the number) -> with it turned."""
    read: Callable[[Config, Config], float]
    """(a configuration, what the search starts from) -> where the first has it."""


def turn_critic_rate(config: Config, base: Config, ratio: float) -> Config:
    """The critics' learning rate as a multiple of the translators'."""
    optimizer = config.optimizer
    rate = ratio * optimizer.learning_rate
    return replace(config, optimizer=replace(optimizer, critic_learning_rate=rate))


def turn_warmup(config: Config, base: Config, share: float) -> Config:
    """Warm-up steps as a share of the run's, which a search always fixes."""
    steps = round(share * config.train.max_steps)
    return replace(config, optimizer=replace(config.optimizer, warmup_steps=steps))


def turn_augmentation(config: Config, base: Config, strength: float) -> Config:
    """All random changes of an image, as a multiple of the base's, or of the default's where the
    base has none."""
    unit = unit_of(base)
    low, high = unit.zoom
    data = replace(
        config.data,
        rotate_degrees=min(180.0, strength * unit.rotate_degrees),
        zoom=(low**strength, high**strength),
        translate_fraction=strength * unit.translate_fraction,
        contrast=strength * unit.contrast,
        noise=strength * unit.noise,
    )
    return replace(config, data=data)


def read_augmentation(config: Config, base: Config) -> float:
    """By the rotation, which every preset that varies its images has."""
    if not augments(config):
        return 0.0
    degrees = unit_of(base).rotate_degrees
    return config.data.rotate_degrees / degrees if degrees else 1.0


def unit_of(base: Config) -> DataConfig:
    """The augmentation of strength 1."""
    return base.data if augments(base) else DataConfig()


def augments(config: Config) -> bool:
    """Whether anything but mirroring varies the images."""
    data = config.data
    return bool(
        data.rotate_degrees
        or data.zoom != (1.0, 1.0)
        or data.translate_fraction
        or data.contrast
        or data.noise
    )


DIALS = {
    "critic_rate_ratio": Dial(
        meaning="learning rate of the critics as a multiple of the translators'",
        low=1e-3,
        high=1e3,
        turn=turn_critic_rate,
        read=lambda config, base: (
            config.optimizer.critic_learning_rate / config.optimizer.learning_rate
        ),
    ),
    "warmup_share": Dial(
        meaning="share of the run over which the rates rise",
        low=0.0,
        high=0.9,
        turn=turn_warmup,
        read=lambda config, base: config.optimizer.warmup_steps / max(1, config.train.max_steps),
    ),
    "augmentation": Dial(
        meaning="strength of rotation, zoom, shift, contrast and noise; 1: as the preset has them",
        low=0.0,
        high=10.0,
        turn=turn_augmentation,
        read=read_augmentation,
    ),
}
"""In the order in which they are turned, after all plain settings."""
