"""What a search found: a table of its trials, and a ready configuration of the best."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from cyclegan.config import Config
from cyclegan.config_file import load_config, to_yaml
from cyclegan.train.validate import SELECTION
from data_prep.atomic import write_atomic
from data_prep.errors import UsageError, UserError
from tune.ledger import LEDGER, Trial, ranked, read
from tune.space import Value, apply

BEST = "best.yaml"


def open_search(folder: Path) -> tuple[Config, list[Trial]]:
    """The base configuration of a search, and its trials so far, best first.

    Raises:
        UsageError: The folder holds no search.
    """
    if not (folder / "base.yaml").exists():
        raise UsageError(
            f"{folder} holds no search: there is no base.yaml in it. Name the folder that "
            "`python -m tune run` printed."
        )
    return load_config(folder / "base.yaml"), ranked(read(folder / LEDGER))


def write_best(folder: Path) -> Path:
    """Write `best.yaml` for `python -m cyclegan.train --config`, and return its path.

    It holds the base with the best trial's values and without a name, so that training it begins a
    run of its own beside the search's.

    Raises:
        UserError: No trial has a score yet.
    """
    base, trials = open_search(folder)
    if not trials or trials[0].score is None:
        raise UserError(
            f"no trial of {folder} has a finite {SELECTION}, so none is the best "
            f"({len(trials)} ended). The reasons are in {folder / LEDGER}; search again under "
            "another --name, in a narrower space or from another preset."
        )
    best = apply(base, trials[0].values)
    path = folder / BEST
    write_atomic(path, to_yaml(replace(best, run=replace(best.run, name=""))).encode())
    return path


def table(trials: Sequence[Trial]) -> Table:
    """One line a trial, in the order given; settings without their section, for width."""
    names = list(trials[0].values) if trials else []
    result = Table(
        *("rank", "trial", "score", "state", "steps"),
        *(name.rpartition(".")[2] for name in names),
        box=SIMPLE,
        title=f"{SELECTION}, lower is better",
        caption="\n".join(
            f"{trial.name} failed: {trial.reason}" for trial in trials if trial.reason
        ),
    )
    for rank, trial in enumerate(trials, 1):
        score = "-" if trial.score is None else f"{trial.score:.4f}"
        values = [short(trial.values[name]) for name in names]
        result.add_row(str(rank), trial.name, score, trial.state, str(trial.step), *values)
    return result


def short(value: Value) -> str:
    """A value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
