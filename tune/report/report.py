"""Write the files of a search's report."""

import csv
import io
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml
from cyclegan.evaluate.report.report import inline
from mrct.drawing.curves import hex_colour
from mrct.errors import ExitCode
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import make_output_folder
from tune.report.compare import comparisons
from tune.report.figures import importance_bars, score_over_time, slices_of
from tune.report.parallel_coordinates import parallel_coordinates
from tune.search.console import short_value, trials_table, varied_settings
from tune.search.sampler import importances
from tune.search.search_folder import SearchFolder
from tune.search.trial import RUNS
from tune.space.space import apply_values, without_switches

BEST, CSV, REPORT = "best.yaml", "trials.csv", "report.html"


def print_trials(found: SearchFolder, console: Console) -> None:
    """Print the table of the trials with as many settings as the lines have room for."""
    unbounded = console.options.update(width=10_000)  # else a measure is never above the width
    columns = most = len(varied_settings(found.trials))
    table = trials_table(found.trials, found.objective, columns)
    while columns and console.measure(table, options=unbounded).maximum > console.width:
        columns -= 1
        table = trials_table(found.trials, found.objective, columns)
    console.print(table)
    if columns < most:
        console.print(f"Settings without a column here: {most - columns}, in {CSV}")


def write_report(found: SearchFolder, *, wanted: int = 0, pictures: bool = True) -> ExitCode:
    """Print the table and write all files; the exit code is 3 if trials failed, or fewer than
    `wanted` ended.

    Raises:
        UserError: No trial has a score, so there is no best one.
        NoStoreError: The store, which the pictures need, is not there.
    """
    make_output_folder(found.folder)
    print_trials(found, Console())
    for trial in found.trials:
        if trial.reason:
            print(f"{trial.name} failed: {trial.reason}")
    write_atomic(found.folder / CSV, to_csv(found).encode())
    best = write_best(found)
    report = found.folder / REPORT
    html = html_report(found, pictures=pictures)
    write_atomic(report, html.encode(), mode=0o600)  # slices of patients
    failed = sum(trial.state == "failed" for trial in found.trials)
    ended = sum(trial.state != "running" for trial in found.trials)
    partly = bool(failed) or ended < max(wanted, len(found.trials))
    if partly:
        print(f"{ended - failed} of {max(wanted, len(found.trials))} trials succeeded.")
    print(
        f"Report       {report}\n  tensorboard --logdir {found.folder / RUNS}\n"
        f"Best         {best}\n  python -m cyclegan.train --config {best}"
    )
    if useless := training_added_nothing(found):
        print(useless)
    if found.objective.doubt:  # in the last line as in the first
        print(found.objective.doubt)
    return ExitCode.PARTLY_DONE if partly else ExitCode.DONE


def training_added_nothing(found: SearchFolder) -> str:
    """Return a sentence if the best trial is no better than what its generator looked up before the
    first step; empty otherwise, and for generators without a guide."""
    best, objective = found.require_best(), found.objective
    before = best.untrained_score(objective)
    if before is None or objective.cost(best.score(objective)) < objective.cost(before):
        return ""
    return (
        f"No trial is better than the look-up that each began with ({objective.metric} "
        f"{short_value(before)}): this training adds nothing."
    )


def write_best(found: SearchFolder) -> Path:
    """Write `best.yaml`, a `--config` of `python -m cyclegan.train`, and return its path.

    It contains the base with the best trial's values and without a name, so that training with it
    starts a separate run.

    Raises:
        UserError: No trial has a score yet.
    """
    best = found.require_best()
    path = found.folder / BEST
    write_atomic(path, to_yaml(without_name(apply_values(found.base, best.values))).encode())
    return path


def without_name(config: Config) -> Config:
    """Return the configuration without a run name, so that the name is derived from its hash."""
    return replace(config, run=replace(config.run, name=""))


def to_csv(found: SearchFolder) -> str:
    """Return the rows of all trials, best first: outcome, then every setting and dial of the
    space."""
    file = io.StringIO()
    names = list(found.space)
    before = ["rank", "trial", "origin", "state", found.objective.metric, "step", "exploits", "run"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*before, *names, "reason"])
    for rank, trial in enumerate(found.trials, 1):
        writer.writerow(
            [rank, trial.name, trial.origin, trial.state, trial.score(found.objective)]
            + [trial.step, trial.exploits, f"{RUNS}/{trial.run}"]
            + [trial.values.get(name, "") for name in names]
            + [trial.reason]
        )
    return file.getvalue()


def html_report(found: SearchFolder, *, pictures: bool = True) -> str:
    """Return the report as HTML; `pictures` of the best and the worst trial take a while on a
    CPU."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).from_string(files("tune.report").joinpath("report.html.j2").read_text())
    over_time = score_over_time(found.trials, found.objective)
    bars = importance_bars(importances(found.trials, found.space, found.objective))
    scored = [trial for trial in found.trials if trial.score(found.objective) is not None]
    ends = [("Best", scored[0]), ("Worst", scored[-1])] if len(scored) > 1 else []
    shown = [
        (title, trial, inline(drawn[0]), drawn[1])
        for title, trial in (ends if pictures else [])
        if (drawn := slices_of(found.run_folder(trial), found.base.store))
    ]
    first = [trial.trained_scores[0].step for trial in scored if trial.trained_scores]
    return template.render(
        found=found,
        scored=scored,
        columns=without_switches(found.space),
        first_step=min(first, default=0),
        parallel=parallel_coordinates(found.trials, found.space, found.objective),
        colour=lambda rank: hex_colour(0.05 + 0.95 * (1 - rank), "viridis_r"),
        over_time=inline(over_time) if over_time else None,
        importance=inline(bars) if bars else None,
        shown=shown,
        comparisons=comparisons(found.folder),
        short=short_value,
    )
