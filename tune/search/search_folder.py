"""Read a search from its folder, whether it is running or not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cyclegan.config.config import Config
from cyclegan.config.files import load_config
from mrct.errors import UserError
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath
from tune.search.event_log import EVENT_LOG, EventLog, Trial, rank_trials
from tune.search.settings import BASE, SPACE, load_settings
from tune.search.trial import RUNS
from tune.search.trial_score import Objective
from tune.space.space import Space
from tune.space.space_file import load_space


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchFolder:
    """The settings and results of a search."""

    folder: LocalPath
    base: Config
    space: Space
    objective: Objective
    settings: dict[str, object]
    """Settings as in `search.json`."""
    trials: Sequence[Trial]
    """All trials, best first."""

    @property
    def best(self) -> Trial | None:
        """Return the best trial, or None if no trial has a score."""
        has_one = self.trials and self.trials[0].score(self.objective) is not None
        return self.trials[0] if has_one else None

    def require_best(self) -> Trial:
        """Return the best trial.

        Raises:
            UserError: No trial has a score.
        """
        if self.best:
            return self.best
        raise UserError(
            f"No trial of {self.folder} has a finite {self.objective.metric}, so none is the best "
            f"({len(self.trials)} began). The reasons are in {self.folder / EVENT_LOG}; search "
            f"again "
            "under another --name, in a narrower space or from another preset."
        )

    def run_folder(self, trial: Trial) -> LocalPath:
        """Return the run folder of a trial."""
        return self.folder / RUNS / trial.run


def open_search(folder: Path, store: StoragePath | None = None) -> SearchFolder:
    """Open the search in a folder; `store` replaces that of its base, which may have moved.

    Raises:
        UsageError: The folder contains no search.
    """
    here = LocalPath(folder).expanduser().absolute()
    settings = load_settings(here)
    base = load_config(here / BASE)
    if store:
        base = replace(base, data=replace(base.data, store=str(store)))
    objective = Objective(metric=str(settings["metric"]))
    return SearchFolder(
        folder=here,
        base=base,
        space=load_space(str(here / SPACE), base),
        objective=objective,
        settings=settings,
        trials=rank_trials(EventLog(here / EVENT_LOG, writes=False).trials, objective),
    )
