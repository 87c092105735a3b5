"""A small search without any training, for tests of what follows from its ledger."""

from dataclasses import replace
from pathlib import Path

from cyclegan.config.config import Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from mrct.storage.local_path import LocalPath
from tune.search.event_log import EVENT_LOG, EventLog, Score, State, Trial
from tune.search.settings import Settings, open_folder
from tune.space.space import SPACES, Space, Values, values_of

STEPS = 18
WEIGHTS = SPACES["weights"]


def base_config(store: str = "/nowhere.zarr", steps: int = STEPS) -> Config:
    """The smoke preset with its steps spelled out, as a search has it."""
    preset = smoke()
    return resolve(
        replace(
            preset,
            data=replace(preset.data, store=store),
            train=replace(preset.train, max_steps=steps),
        )
    )


BASE = base_config()


def settings(folder: Path, **changed: object) -> Settings:
    """How to search in a folder."""
    usual = Settings(folder=LocalPath(folder), metric="val/selection", look_every_steps=2, trials=4)
    return replace(usual, **changed)


def values(cycle_weight: float) -> Values:
    """The preset's, but for one."""
    return {**values_of(BASE, WEIGHTS, BASE), "loss.cycle.weight": cycle_weight}


def ended(
    name: str, scores: dict[int, float | None], state: State, reason: str = "", **changed: object
) -> Trial:
    """A trial as the ledger has it."""
    trial = Trial(
        name=name,
        run=name,
        values=values(3.0),
        scores=tuple(Score(step=s, value=v, time_s=10.0 * s) for s, v in scores.items()),
        state=state,
        reason=reason,
    )
    return replace(trial, **changed)


def write_search(folder: Path, space: Space = WEIGHTS, **changed: object) -> EventLog:
    """Four trials: `t000` done, `t001` stopped early, `t002` failed, `t003` still running."""
    ledger = open_folder(settings(folder, **changed), BASE, space, resume=False)
    ledger.begin("t000", values(10.0), "base")
    for step, score in enumerate((3.0, 2.0, 2.5)):
        ledger.score("t000", 2 + 8 * step, score)
    ledger.end("t000", "done")
    ledger.begin("t001", values(4.5))
    ledger.score("t001", 2, 3.5)
    ledger.end("t001", "stopped")
    ledger.begin("t002", values(29.0))
    ledger.score("t002", 2, 1.0)
    ledger.end("t002", "failed", "the run diverged")
    ledger.begin("t003", values(1.5))
    assert ledger.path == folder / EVENT_LOG
    return ledger
