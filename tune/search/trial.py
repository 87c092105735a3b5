"""One trial: a training run in its own folder, whose scores go to Ray Tune. Ray runs a process for
each trial, which leads its workers. Without segments a trial is one run, and each validation is
reported immediately. With segments, for population-based training, it pauses after each, so that
another trial can take over its checkpoint.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import ray.train
import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback

from cyclegan.config.config import Config
from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.errors import CheckpointError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.resume import done_steps
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.launch import fit
from mrct.errors import OUTAGES, STORAGE_FULL_ERRNOS, ExitCode, UserError
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath
from mrct.storage.retry import TRANSIENT_ERRNOS, is_transient
from tune.search.trial_score import Objective
from tune.space.space import Value, apply_values

RUN_NAME, FAILURE, EXIT_CODE = "run", "failure", "exit_code"
"""Keys of a trial's report: its run folder, the reason of a failure, and the exit code for it."""
RUNS = "runs"
"""Folder of the trials' runs inside the search's folder."""
TrialReport = dict[str, Any]


class TrialSpec(TypedDict):
    """The config of a trial from the search; see `event_log.Trial`."""

    name: str
    values: dict[str, Value]
    run: str
    start: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialContext:
    """The settings that all trials of a search share."""

    base: Config
    """Base configuration with a fixed number of steps, so that the horizon of the schedules is the
    whole run for every trial."""
    runs: LocalPath
    objective: Objective
    look_every_steps: int
    """Steps from one validation, and one decision of the scheduler, to the next."""
    table: LocalPath | None = None
    """Contrast table of the search, if its trials are guided."""
    segments: bool = False
    """Whether a trial pauses at each decision."""
    contents: str | None = None
    """Hash of the volumes and splits that all trials have."""

    def config(self, spec: TrialSpec) -> Config:
        """Return the configuration of a trial's current run."""
        changed = apply_values(self.base, spec["values"])
        schedule = replace(
            changed.schedule,
            validate_every=f"{self.look_every_steps} steps",
            save_every="never",  # a checkpoint follows each validation anyway
            keep_last=max(3, changed.schedule.keep_last),
        )
        return replace(
            changed,
            run=replace(changed.run, name=spec["run"], storage=str(self.runs)),
            schedule=schedule,
            # A trial that ended by itself would miss the scheduler's decisions.
            train=replace(changed.train, patience=0),
        )

    def share_table(self, run_folder: LocalPath) -> None:
        """Copy the contrast table of the search to a run that has none."""
        if self.table and not (run_folder / TABLE_FILE).exists():
            run_folder.make_folder()
            (run_folder / TABLE_FILE).put(self.table.read_bytes())

    def report_of(self, config: Config, scores: TrialReport) -> TrialReport:
        """Return the report of a validation for Tune, with the name of the run; a score that is not
        finite is replaced by the worst, since Tune needs a number."""
        return {self.objective.metric: self.objective.worst} | scores | {RUN_NAME: config.run.name}


class ReportScores(TuneReportCallback):
    """Forwards each validation to Tune."""

    def __init__(self, context: TrialContext, config: Config) -> None:
        super().__init__()
        self.context, self.config = context, config

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Report a validation; Ray Train calls this after all workers have reported."""
        entries = self.context.report_of(self.config, metrics[0])
        super().after_report(run_context, [entries], checkpoint)


def run_trial(tuned: dict[str, TrialSpec], *, context: TrialContext) -> None:
    """Train to the end, or until the scheduler writes a `.stop` file into the run's folder.

    Failures are reported, not raised: Tune retries a trial that raises, which is right for a lost
    machine, but a retry cannot fix a diverged run.
    """
    config = context.config(tuned["trial"])
    worst = context.report_of(config, {"step": 0.0})
    try:
        context.share_table(context.runs / config.run.name)
        if context.segments:
            run_segments(config, tuned["trial"]["start"], context)
            return
        for scores in validations(
            config.run_folder
        ):  # those from before a restart, in case one was lost
            ray.tune.report(context.report_of(config, scores))
        fit(config, callbacks=[ReportScores(context, config)], contents=context.contents)
        for scores in validations(config.run_folder)[-1:]:
            ray.tune.report(context.report_of(config, scores))
    except (UserError, ray.train.TrainingFailedError, OSError) as error:
        code = ExitCode.FAILED
        if is_storage_full(error):
            code = ExitCode.STORAGE_FULL
        elif is_outage(error):
            code = ExitCode.PREEMPTED
        ray.tune.report(worst | {FAILURE: reason_of(error), EXIT_CODE: int(code)})


def run_segments(config: Config, start: str, context: TrialContext) -> None:
    """Train from one decision to the next, and report each with a checkpoint. Ray passes only the
    path of the checkpoint; the weights stay in the run's folder."""
    total, every = config.train.max_steps, context.look_every_steps
    donor = surviving_checkpoint(context.runs / start) if start else None
    step = done_steps(config.run_folder)
    if not step and donor:
        step = int(checkpoint.verify_checkpoint(donor)["step"])
    while True:
        if step < total or checkpoint.unscored_checkpoints(config.run_folder):
            pause = min(total, (step // every + 1) * every)
            paused = replace(config, schedule=replace(config.schedule, pause_at_step=pause))
            fit(paused, donor, contents=context.contents)
        scores = validations(config.run_folder)[-1]
        step = int(scores["step"])
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "where").write_text(f"{config.run.name} {step}")
            where = ray.tune.Checkpoint.from_directory(folder)
            ray.tune.report(context.report_of(config, scores), checkpoint=where)
        if step >= total:
            return


def surviving_checkpoint(named: StoragePath) -> StoragePath:
    """Return the named checkpoint, or the next later one if its run has deleted it.

    Raises:
        CheckpointError: The run has no such checkpoint any more.
    """
    saved = checkpoint.saved_checkpoints(named.parent.parent)
    folders = [each for each in saved if each.name >= named.name]
    if not folders:
        raise CheckpointError(f"Checkpoint {named} and all later ones of its run are gone.")
    return folders[0]


def validations(run_folder: StoragePath) -> list[TrialReport]:
    """Return the results of a run's validations: finite scores by name, and the step."""
    return [
        {name: value for name, value in line.items() if value is not None}
        for line in read_lines(run_folder / METRICS)
        if any(name.startswith("val/") for name in line)
    ]


def reason_of(error: BaseException) -> str:
    """Return the error as one line of text."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if isinstance(
        error, ray.train.TrainingFailedError
    ):  # a traceback, whose last line is the exception
        return lines[-1].strip() if lines else type(error).__name__
    return " ".join(line.strip() for line in lines)


def is_storage_full(error: BaseException) -> bool:
    """Return whether a full disk caused the failure; a worker's error arrives as text, or as the
    error file that it wrote."""
    if isinstance(error, UserError):
        return error.exit_code == ExitCode.STORAGE_FULL
    if isinstance(error, OSError):
        return error.errno in STORAGE_FULL_ERRNOS
    return any(os.strerror(number) in str(error) for number in STORAGE_FULL_ERRNOS)


def is_outage(error: BaseException) -> bool:
    """Return whether storage that could not be reached caused the failure, which a later search may
    not meet again."""
    if isinstance(error, UserError):
        return isinstance(error, OUTAGES)
    if isinstance(error, OSError):
        return is_transient(error)
    texts = [each.__name__ for each in OUTAGES] + [*map(os.strerror, TRANSIENT_ERRNOS)]
    return any(text in str(error) for text in texts)
