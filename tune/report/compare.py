"""Test whether the best configuration of a search is better or was lucky: it and another one are
trained at full length with seeds that the search did not use, and compared over these.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np
import yaml
from scipy import stats

from cyclegan.config.config import Config
from cyclegan.config.files import config_hash, load_config
from cyclegan.config.presets import reference
from cyclegan.errors import ConfigError
from cyclegan.inference.slices import best_device
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.validation.scores import validation_scores
from data_prep.datasets.split import Split
from data_prep.store.store import Store, open_store
from mrct.errors import UserError
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import LocalPath
from mrct.storage.lock import exclusive_lock
from tune.search.event_log import Trial
from tune.search.search import search
from tune.search.search_folder import SearchFolder
from tune.search.settings import Settings, context_of, open_folder, store_of_search
from tune.search.trial_score import Objective
from tune.space.space import Values, apply_values, values_of

CONFIDENCE = 0.95
PREFIX = "compare-"
BEST_ARM = "best"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchComparison:
    """The result of a comparison."""

    metric: str
    split: Split
    """`test` if the store has a test split that can be scored, since the search used the val
    split."""
    best: str
    """Name of the search's best trial."""
    other: str
    best_scores: tuple[float, ...]
    """Scores by seed, in the same order for both."""
    other_scores: tuple[float, ...]

    @property
    def gains(self) -> tuple[float, ...]:
        """Return the gain of the best configuration by seed; negative if it is worse."""
        sign = 1 if Objective(metric=self.metric).mode == "max" else -1
        pairs = zip(self.best_scores, self.other_scores, strict=True)
        return tuple(sign * (ours - theirs) for ours, theirs in pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the mean gain, by Student's t over the differences by seed.
        For a seed, both configurations start with the same weights and sample order, so the
        differences are paired by seed."""
        gains = np.array(self.gains)
        error = gains.std(ddof=1) / sqrt(len(gains))
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(gains) - 1) * error
        return float(gains.mean() - reach), float(gains.mean() + reach)

    def __str__(self) -> str:
        """Return a sentence with the numbers and the conclusion."""
        low, high = self.interval
        said = (
            "the gain is real"
            if low > 0
            else "it is worse"
            if high < 0
            else "this may be luck, since the interval includes 0"
        )
        name = self.metric.removeprefix("val/")
        return (
            f"{name} of the {self.split} split over {len(self.gains)} seeds: "
            f"best ({self.best}) {np.mean(self.best_scores):.4g}, "
            f"{self.other} {np.mean(self.other_scores):.4g}; "
            f"gain {np.mean(self.gains):.4g}, 95 % interval {low:.4g} to {high:.4g}: {said}."
        )


def compare(
    found: SearchFolder, other: str, seeds: int, max_concurrent: int = 0
) -> SearchComparison:
    """Train the missing runs, score all of them, and write the verdict into the search's folder.

    `other` is `default` (the starting point of the search), `reference`, or a YAML file of
    settings.

    Raises:
        UserError: There is no best trial, it equals the other configuration, or runs failed.
        NoStoreError: The search's store is not there.
    """
    best = found.require_best()
    other_values, name = best_other_trial(found, other), Path(other).stem
    ours, theirs = (apply_values(found.base, values) for values in (best.values, other_values))
    if ours == theirs:
        raise ConfigError(
            f"The best trial, {best.name}, is {name} itself, so there is nothing to compare. "
            "Compare with another configuration, or search with more --trials."
        )
    # The digest separates comparisons of other settings under the same name.
    folder = found.folder / f"{PREFIX}{name}-{best.name}-{digest_of(ours, theirs)}"
    store = store_of_search(folder, open_store(found.base.store))  # before anything starts
    first = found.base.run.seed + 1
    arms = [
        ({**values, "run.seed": first + number}, arm)
        for number in range(seeds)
        for arm, values in ((BEST_ARM, best.values), (name, other_values))
    ]
    settings = Settings(
        folder=folder,
        contents=store.contents,
        metric=found.objective.metric,
        look_every_steps=int(str(found.settings["look_every_steps"])),
        trials=len(arms),
        scheduler="none",
        max_concurrent=max_concurrent,
    )
    settings.folder.mkdir(exist_ok=True)
    busy = UserError(f"Another command is running a comparison in {settings.folder}. Wait for it.")
    with exclusive_lock(settings.folder / ".lock", busy):
        log = open_folder(settings, found.base, {}, resume=True)
        context = context_of(settings, found.base)
        search(settings, context, log, lambda trials: arms[len(trials)], {})
    failed = [trial for trial in log.trials if trial.state != "done"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(arms)} runs of the comparison failed ({failed[0].name}: "
            f"{failed[0].reason}), so it has no result. To run it again, remove {settings.folder}."
        )
    return score_runs(found, store, log.trials[: len(arms)], settings, name)


def digest_of(*arms: Config) -> str:
    """Return a digest of the compared configurations."""
    return "-".join(config_hash(arm)[:8] for arm in arms)


def score_runs(
    found: SearchFolder, store: Store, runs: Sequence[Trial], settings: Settings, name: str
) -> SearchComparison:
    """Score finished runs and write `verdict.json`."""
    split = split_to_judge_on(store, found.objective)
    scores = []
    for number, trial in enumerate(runs, 1):
        print(f"Scoring run {number} of {len(runs)} on the {split} split", flush=True)
        run_folder = settings.folder / "runs" / trial.run
        scores.append(score_of(run_folder, store, found.objective, split))
    assert found.best
    comparison = SearchComparison(
        metric=found.objective.metric,
        split=split,
        best=found.best.name,
        other=name,
        best_scores=tuple(scores[0::2]),
        other_scores=tuple(scores[1::2]),
    )
    content = json.dumps(asdict(comparison) | {"sentence": str(comparison)}, indent=1)
    write_atomic(settings.folder / "verdict.json", content.encode())
    return comparison


def best_other_trial(found: SearchFolder, other: str) -> Values:
    """Return the settings to compare with.

    Raises:
        ConfigError: `other` is neither a name nor a readable file, or contains something that is
            not a setting.
    """
    if other == "default":
        return {}
    if other == "reference":
        return values_of(reference(), found.space, found.base)
    try:
        values = yaml.safe_load(Path(other).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"--compare takes default, reference or a YAML file with lines such as "
            f"`loss.cycle.weight: 1`, not {other!r} ({error})."
        ) from error
    try:
        apply_values(found.base, values)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{other} contains something that is not a setting of a run: {error}"
        ) from error
    return dict(values)


def split_to_judge_on(store: Store, objective: Objective) -> Split:
    """Return the test split if it can be scored, since no trial was chosen by it, else the val
    split."""
    mris = store.select("mri", "test")
    paired = any(mri.link for mri in mris)
    by_ct = objective.metric.endswith("_ct") and not store.select("ct", "test")
    return "test" if mris and (paired or not objective.needs_pairs) and not by_ct else "val"


def score_of(run_folder: LocalPath, store: Store, objective: Objective, split: Split) -> float:
    """Return the objective of a run's best checkpoint, on all volumes of a split."""
    config = load_config(run_folder / "config.yaml")
    folder = checkpoint.best_checkpoint(run_folder)
    assert folder, "a completed run has a checkpoint"
    device = best_device()
    to_ct, to_mri = (net.to(device) for net in checkpoint.load_generators(folder, config))
    whole = replace(config, schedule=replace(config.schedule, validate_volumes=0))
    scores, _ = validation_scores(to_ct, to_mri, store, whole, split, device=device)
    return scores[objective.metric]


def comparisons(folder: Path) -> list[str]:
    """Return the sentences of all comparisons of a search, oldest first."""
    files = sorted(folder.glob(f"{PREFIX}*/verdict.json"), key=lambda path: path.stat().st_mtime)
    return [str(json.loads(path.read_text())["sentence"]) for path in files]
