"""A candidate recipe: a preset and overrides, as they are typed after `cyclegan.train`."""

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from cyclegan.config.config import Config
from cyclegan.config.files import computation_settings, resolve
from cyclegan.config.presets import preset

SMALL = (
    "--generator.filters 16 --generator.blocks 6 --discriminator.filters 32 --train.compile blocks"
)
REFERENCE = f"reference {SMALL}"
"""Zhu 2017 with the demo's network sizes: recipes are compared, not sizes."""
NUM_LOOKS = 4
"""Checkpoints of a run, evenly spaced, each judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What is compared; `name` is for tables only."""

    name: str
    words: str

    def config(self, store: Path, runs: Path, *, steps: int, seed: int) -> Config:
        """The run of so many steps: schedules end with it, its checkpoints are kept."""
        config = parse_config(self.words)
        every = max(1, -(-steps // NUM_LOOKS))
        return resolve(
            replace(
                config,
                run=replace(
                    config.run, name=f"{slug(self.name)}-{seed}", storage=str(runs), seed=seed
                ),
                data=replace(config.data, store=str(store)),
                train=replace(config.train, max_steps=steps),
                schedule=replace(
                    config.schedule,
                    log_every="25 steps",
                    save_every=f"{every} steps",
                    validate_every=f"{every} steps",
                    keep_last=10 * NUM_LOOKS,
                ),
            )
        )


def parse_config(words: str) -> Config:
    """A preset with its overrides."""
    first, *flags = shlex.split(words)
    return tyro.cli(Config, default=preset(first), args=flags)


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def settings(config: Config) -> dict[str, Any]:
    """What decides a run's result and is not the default of its field.

    A row is known by it, so a later setting that is off by default leaves old rows what they are.
    """
    plain = computation_settings(Config())
    aside = ("preset", "run.seed", "train.max_steps", "train.epochs", "train.compile")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in computation_settings(config).items()
        if value != plain[name] and name not in aside
    }


def machine() -> dict[str, Any]:
    """What the run was on, and how busy it was."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    return {
        "cpu": model[1] if model else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "avx512_bf16": "avx512_bf16" in info,
        "load": round(os.getloadavg()[0], 1),
    }


NEITHER = "--data.no-conditions --loss.population.no-enabled --loss.population.weight 1"
UNGUIDED = "demo --generator.guide none"
"""The demo of the rows named so."""
WEIGHTS = "--loss.adversarial.weight 1 --loss.cycle.weight 3 --loss.identity.weight 1"
START = f"{UNGUIDED} {NEITHER} {WEIGHTS}"
"""Where the ablations started: small networks and inverted contrast."""
CONDITIONS = "--data.conditions"
POPULATION = "--loss.population.enabled --loss.population.weight 5"
SEARCHED = "--loss.adversarial.weight 0.24 --loss.cycle.weight 5.8 --loss.identity.weight 12.9"
"""What `tune` found at 64 x 64 and 162 steps (`docs/how-to-tune.md`); the demo has it rounded."""
ALL = f"{CONDITIONS} {POPULATION} {SEARCHED}"
STRUCTURE = "--loss.structure.enabled"
DEFAULT = f"default {SMALL} --generator.guide none"
BARE = f"{DEFAULT} --data.mri-contrast plain {NEITHER}"
"""The default without what was confirmed, as the mission names it."""
INVERTED = "--data.mri-contrast inverted"
NO_EMA = "--train.ema-decay 0"
CONSTANT_RATE = "--optimizer.schedule constant"
FASTER_DISCRIMINATOR = "--optimizer.discriminator-learning-rate 1.6e-3"


def rate(value: str) -> str:
    """Both learning rates."""
    return f"--optimizer.learning-rate {value} --optimizer.discriminator-learning-rate {value}"


SCREEN = tuple(
    Candidate(name=name, words=words)
    for name, words in {
        "reference": REFERENCE,
        "demo": UNGUIDED,
        "demo, guided": "demo --generator.guide table",
        "start": START,
        "start + conditions": f"{START} {CONDITIONS}",
        "start + population": f"{START} {POPULATION}",
        "start + conditions + population": f"{START} {CONDITIONS} {POPULATION}",
        "start, searched weights": f"{START} {SEARCHED}",
        "start + conditions, searched weights": f"{START} {CONDITIONS} {SEARCHED}",
        "start + conditions + population, searched weights": f"{START} {ALL}",
        "start + conditions + population + structure, searched weights": f"{START} {ALL} "
        f"{STRUCTURE}",
        "start + conditions + population + structure, searched weights, rate 1.6e-3": f"{START} "
        f"{ALL} {STRUCTURE} {rate('1.6e-3')}",
        "start, plain contrast": f"{START} --data.mri-contrast plain",
        "demo, plain contrast": f"{UNGUIDED} --data.mri-contrast plain",
        "start + structure": f"{START} {STRUCTURE}",
        "start + depth": f"{START} --loss.depth.enabled",
        "start + SSIM": f"{START} --loss.ssim.weight 1",
        "start + shape": f"{START} --loss.shape.enabled",
        "start + gradient": f"{START} --loss.gradient.enabled",
        "start, adversarial 0.25": f"{START} --loss.adversarial.weight 0.25",
        "start, cycle 10, identity 5": f"{START} --loss.cycle.weight 10 --loss.identity.weight 5",
        "start, adversarial rises": f"{START} --loss.adversarial.schedule rise",
        "start, no identity": f"{START} --loss.identity.no-enabled",
        "start, cycle falls": f"{START} --loss.cycle.schedule fall --loss.schedule-share 1",
        "start, rate 1.6e-3": f"{START} {rate('1.6e-3')}",
        "start, rate 6e-3": f"{START} {rate('6e-3')}",
        "start, constant rate": f"{START} {CONSTANT_RATE}",
        "start, faster discriminator": f"{START} {FASTER_DISCRIMINATOR}",
        "start, spectral discriminator": f"{START} --discriminator.spectral --discriminator.norm "
        f"none",
        "start, spectral discriminator with norm": f"{START} --discriminator.spectral",
        "start, discriminator without norm": f"{START} --discriminator.norm none",
        "start, discriminators of two scales": f"{START} --discriminator.scales 2",
        "start, transposed": f"{START} --generator.upsample transposed",
        "start, random partner": f"{START} --data.partner random",
        "start, no EMA": f"{START} {NO_EMA}",
        "start, batch 4": f"{START} --batch.shard-size 4",
        "demo, 2.5D": f"{UNGUIDED} --data.neighbours 1",
        "demo, constant rate": f"{UNGUIDED} {CONSTANT_RATE}",
        "demo, no conditions": f"{UNGUIDED} --data.no-conditions",
        "demo, no EMA": f"{UNGUIDED} {NO_EMA}",
        "demo, EMA 0.97": f"{UNGUIDED} --train.ema-decay 0.97",
        "demo, no EMA, faster discriminator": f"{UNGUIDED} {NO_EMA} {FASTER_DISCRIMINATOR}",
        "demo, no EMA, rate 1.6e-3": f"{UNGUIDED} {NO_EMA} {rate('1.6e-3')}",
        "demo, no EMA, smaller": f"{UNGUIDED} {NO_EMA} --generator.blocks 3 "
        "--discriminator.filters 16",
        "demo, rate 2e-4": f"{UNGUIDED} {rate('2e-4')}",
        "demo, rate 6e-3": f"{UNGUIDED} {rate('6e-3')}",
        "default": DEFAULT,
        "bare default": BARE,
        "bare default + inverted contrast": f"{BARE} {INVERTED}",
        "bare default + inverted contrast + conditions": f"{BARE} {INVERTED} {CONDITIONS}",
        "bare default + inverted contrast + population": f"{BARE} {INVERTED} {POPULATION}",
    }.items()
)
"""The candidates of `docs/recipe.md`."""
