"""Presets: functions that return a complete configuration."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cyclegan.config.config import (
    BatchConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from cyclegan.config.loss import Term
from cyclegan.config.values import did_you_mean
from cyclegan.errors import ConfigError

SCANNERS: dict[str, Any] = {
    "gamma": (0.8, 1.25),
    "bias_field": 0.1,
    "blur_mm": 1.0,
    "noise": 0.04,
    "noise_kind": "rician",
    "intensity_share": 0.15,
}
"""Changes of MRI intensity as between scanners and sequences, with the probabilities that are usual
in the field (nnU-Net, MONAI: 0.1 to 0.3) and milder ranges. What they do to the synthetic CT has
not been measured."""


def default() -> Config:
    """Return the default configuration.

    ResNet-9, 70x70 PatchGAN with spectral norm, SSIM, 60 epochs, cosine, AMP, compile. Also the
    settings that docs/recipe.md confirms against fat translated to bone: inverted MRI contrast,
    condition channels, the contrast table as a guide, and the population loss.
    """
    return Config(
        preset="default",
        data=DataConfig(mri_contrast="inverted", conditions=True),
        batch=BatchConfig(shards=4, shard_size=2),
        generator=GeneratorConfig(guide="table"),
        loss=LossConfig(population=Term(weight=5.0)),
    )


def reference() -> Config:
    """Return the configuration of Zhu 2017.

    Discriminator with InstanceNorm, cycle weight 10, identity weight 5, no SSIM, linear decay, one
    pair per step.
    """
    return Config(
        preset="reference",
        data=DataConfig(partner="random", rotate_degrees=0.0, zoom=(1.0, 1.0), contrast=0.0),
        generator=GeneratorConfig(upsample="transposed"),
        discriminator=DiscriminatorConfig(norm="instance", spectral=False),
        loss=LossConfig(ssim=Term(weight=0.0)),
        optimizer=OptimizerConfig(schedule="linear"),
        train=TrainConfig(epochs=200, ema_decay=0.0),
    )


def demo() -> Config:
    """Return the configuration with the best result within minutes on a CPU (docs/recipe.md).

    Small networks that correct the contrast table, inverted MRI contrast, the population loss, a
    weak discriminator.
    """
    return Config(
        preset="demo",
        data=DataConfig(mri_contrast="inverted", conditions=True),
        batch=BatchConfig(shards=1, shard_size=1),
        generator=GeneratorConfig(filters=16, blocks=6, guide="table"),
        discriminator=DiscriminatorConfig(filters=32, norm="instance", spectral=False),
        loss=LossConfig(
            adversarial=Term(weight=0.25),
            cycle=Term(weight=6.0),
            identity=Term(weight=12.0),
            ssim=Term(weight=0.0),
            population=Term(weight=5.0),
        ),
        optimizer=OptimizerConfig(
            learning_rate=4e-4, discriminator_learning_rate=4e-4, schedule="cosine", warmup_steps=50
        ),
        train=TrainConfig(max_steps=400, compile="blocks", ema_decay=0.995),
        schedule=ScheduleConfig(
            log_every="50 steps", save_every="200 steps", validate_every="200 steps"
        ),
    )


def smoke() -> Config:
    """Return a configuration that runs every stage for a few steps; its images are meaningless."""
    return Config(
        preset="smoke",
        batch=BatchConfig(shards=2, shard_size=1),
        generator=GeneratorConfig(filters=4, blocks=1),
        discriminator=DiscriminatorConfig(filters=4),
        train=TrainConfig(max_steps=6, compile="no", precision="fp32", pool_size=4),
        schedule=ScheduleConfig(
            log_every="2 steps", save_every="3 steps", validate_every="3 steps"
        ),
    )


def seed() -> Config:
    """Return the configuration of the notebook that this project began with.

    Two GPUs, 60 epochs, batch 16. Where the notebook's code and text differ, the text is followed:
    SSIM has a gradient, spectral norm is not cancelled by an InstanceNorm, the identity weight is
    half of the cycle weight, and the cosine schedule ends with the run.
    """
    return Config(
        preset="seed",
        data=DataConfig(partner="random", rotate_degrees=0.0, zoom=(1.0, 1.0), contrast=0.0),
        batch=BatchConfig(shards=2, shard_size=8),
        generator=GeneratorConfig(upsample="transposed"),
        discriminator=DiscriminatorConfig(norm="none", spectral=True),
        loss=LossConfig(cycle=Term(weight=10.0), identity=Term(weight=5.0), ssim=Term(weight=1.0)),
        optimizer=OptimizerConfig(learning_rate=2e-4, schedule="cosine"),
        train=TrainConfig(epochs=60, ema_decay=0.0, pool_size=0),
    )


def brain_256() -> Config:
    """Return the default for heads of 256 x 256 pixels.

    A larger slice cache, a warm-up, and MRI intensities that vary as between scanners.
    """
    base = default()
    return replace(
        base,
        preset="brain-256",
        data=replace(base.data, cache_gib=4.0, **SCANNERS),
        optimizer=replace(base.optimizer, warmup_steps=500),
    )


def pelvis_512() -> Config:
    """Return the default for pelves of 512 x 512 pixels.

    One pair per shard saves memory, and rotations are smaller, because patients lie flat. MRI
    intensities vary as between scanners. There is no guide: the contrast table was measured on
    heads alone.
    """
    base = default()
    return replace(
        base,
        preset="pelvis-512",
        generator=GeneratorConfig(),
        data=replace(base.data, rotate_degrees=5.0, contrast=0.2, cache_gib=8.0, **SCANNERS),
        batch=BatchConfig(shards=8, shard_size=1),
        optimizer=replace(base.optimizer, warmup_steps=500),
        train=replace(base.train, compile="blocks"),
    )


def deterministic() -> Config:
    """Return the default in fp32 and eager mode.

    Its runs are bit-identical on 1 to 4 workers and after any restart, on machines of one kind.
    """
    base = default()
    train = replace(base.train, deterministic=True, precision="fp32", compile="no")
    return replace(base, preset="deterministic", train=train)


PRESETS: dict[str, Callable[[], Config]] = {
    preset.__name__.replace("_", "-"): preset
    for preset in (default, reference, demo, smoke, seed, brain_256, pelvis_512, deterministic)
}


def preset(name: str) -> Config:
    """Return the configuration of a preset.

    Args:
        name: One of `PRESETS`, such as `brain-256`.

    Raises:
        ConfigError: There is no such preset.

    Examples:
        >>> preset("brain-256").batch.global_size
        8
    """
    if name not in PRESETS:
        raise ConfigError(
            f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}."
            f"{did_you_mean(name, PRESETS)}"
        )
    return PRESETS[name]()
