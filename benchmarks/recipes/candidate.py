"""A candidate recipe: a preset and overrides, as they are typed after `cyclegan.train`."""

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from cyclegan.config import Config
from cyclegan.config_file import decisive, resolve
from cyclegan.presets import preset

SMALL = "--generator.filters 16 --generator.blocks 6 --critic.filters 32 --train.compile blocks"
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
        first, *flags = shlex.split(self.words)
        config = tyro.cli(Config, default=preset(first), args=flags)
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
                    log_every_steps=25,
                    save_every_steps=every,
                    validate_every_steps=every,
                    keep_last=10 * NUM_LOOKS,
                ),
            )
        )


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def settings(config: Config) -> dict[str, Any]:
    """What decides a run's result and is not the default of its field.

    A row is known by it, so a later setting that is off by default leaves old rows what they are.
    """
    plain = decisive(Config())
    aside = ("preset", "run.seed", "train.max_steps", "train.epochs", "train.compile")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in decisive(config).items()
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


GEOMETRY = "demo --data.conditions"
POPULATION = "--loss.population --loss.population-weight 5"
STRUCTURE = "--loss.structure"
SEARCHED = "--loss.adversarial-weight 0.24 --loss.cycle-weight 5.8 --loss.identity-weight 12.9"
"""What `tune` found at 64 x 64 and 162 steps (`docs/how-to-tune.md`)."""
SCREEN = tuple(
    Candidate(name=name, words=words)
    for name, words in {
        "reference": REFERENCE,
        "demo": "demo",
        "demo + conditions": GEOMETRY,
        "demo + conditions + population": f"{GEOMETRY} {POPULATION}",
        "demo + conditions + population + structure": f"{GEOMETRY} {POPULATION} {STRUCTURE}",
        "demo, searched weights": f"demo {SEARCHED}",
        "demo + conditions, searched weights": f"{GEOMETRY} {SEARCHED}",
        "demo + conditions + population, searched weights": f"{GEOMETRY} {SEARCHED} {POPULATION}",
        "demo + conditions + population + structure, searched weights": f"{GEOMETRY} {SEARCHED} "
        f"{POPULATION} {STRUCTURE}",
        "demo, adversarial 0.25": "demo --loss.adversarial-weight 0.25",
        "demo + population": f"demo {POPULATION}",
        "demo + structure": f"demo {STRUCTURE}",
        "demo, rate 1.6e-3": "demo --optimizer.learning-rate 1.6e-3 "
        "--optimizer.critic-learning-rate 1.6e-3",
        "demo, rate 6e-3": "demo --optimizer.learning-rate 6e-3 "
        "--optimizer.critic-learning-rate 6e-3",
        "demo, plain contrast": "demo --data.mri-contrast plain",
        "demo, plain contrast + conditions + population": f"{GEOMETRY} {POPULATION} "
        "--data.mri-contrast plain",
        "demo + conditions, 2.5D": f"{GEOMETRY} --data.neighbours 1",
        "demo, spectral critic": "demo --critic.spectral --critic.norm none",
        "demo, critics of two scales": "demo --critic.scales 2",
        "demo + depth": "demo --loss.depth",
        "demo, faster critic": "demo --optimizer.critic-learning-rate 1.6e-3",
        "demo + SSIM": "demo --loss.ssim-weight 1",
        "demo + shape": "demo --loss.shape",
        "demo + gradient": "demo --loss.gradient",
        "demo, cycle 10, identity 5": "demo --loss.cycle-weight 10 --loss.identity-weight 5",
        "demo, cycle falls": "demo --loss.cycle-schedule fall --loss.schedule-share 1",
        "demo, transposed": "demo --generator.upsample transposed",
        "demo, random partner": "demo --data.partner random",
        "demo, no EMA": "demo --train.ema-decay 0",
        "demo, constant rate": "demo --optimizer.schedule constant",
        "demo, batch 4": "demo --batch.shard-size 4",
    }.items()
)
"""The candidates of `docs/recipe.md`, most promising first."""
