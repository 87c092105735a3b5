"""One trial: a run of the trainer in a folder of its own, whose scores go to Ray Tune. What Ray
runs for each, beside the workers that it leads.

Without segments a trial is one run, and each validation is told as it comes. With segments, for
population-based training, it pauses after each, so that another trial can take over its checkpoint.
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
from cyclegan.errors import CheckpointError
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.resume import done_steps
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.launch import fit
from mrct.errors import STORAGE_FULL_ERRNOS, ExitCode, UserError
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath
from tune.search.trial_score import Objective
from tune.space.space import Value, apply

RUN_NAME, FAILURE, EXIT_CODE = "run", "failure", "exit_code"
"""In what a trial tells: its run folder; why it cannot go on, and which exit code that means."""
RUNS = "runs"
"""In the search's folder: the run folders of its trials."""
Told = dict[str, Any]


class Handed(TypedDict):
    """What a trial gets from the search; see `ledger.Trial`."""

    name: str
    values: dict[str, Value]
    run: str
    start: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """What all trials of a search share."""

    base: Config
    """With the number of steps fixed: the schedules' horizon is the whole run for every trial."""
    runs: LocalPath
    objective: Objective
    look_every_steps: int
    """Steps from one validation, and one decision of the scheduler, to the next."""
    segments: bool = False
    """Whether a trial pauses at each look."""

    def config(self, handed: Handed) -> Config:
        """The configuration of a trial's present run."""
        changed = apply(self.base, handed["values"])
        schedule = replace(
            changed.schedule,
            validate_every_steps=self.look_every_steps,
            save_every_steps=0,  # a checkpoint follows each validation anyway
            keep_last=max(3, changed.schedule.keep_last),
        )
        return replace(
            changed,
            run=replace(changed.run, name=handed["run"], storage=str(self.runs)),
            schedule=schedule,
        )

    def told(self, config: Config, scores: Told) -> Told:
        """What Tune is told of a validation: the worst score where none was finite, for it needs
        one, and whose it is."""
        return {self.objective.metric: self.objective.worst} | scores | {RUN_NAME: config.run.name}


class ReportScores(TuneReportCallback):
    """Hands each validation on."""

    def __init__(self, course: Course, config: Config) -> None:
        super().__init__()
        self.course, self.config = course, config

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Called by Ray Train after all workers reported."""
        told = self.course.told(self.config, metrics[0])
        super().after_report(run_context, [told], checkpoint)


def run_trial(tuned: dict[str, Handed], *, course: Course) -> None:
    """Train to the end, or until the scheduler leaves a `.stop` in the run's folder.

    What a trial fails of is told, not raised: Tune tries a trial again that raises, as one whose
    machine was lost should be, but no second try would mend a diverged one.
    """
    config = course.config(tuned["trial"])
    worst = course.told(config, {"step": 0.0})
    try:
        if course.segments:
            run_segments(config, tuned["trial"]["start"], course)
            return
        for scores in validations(config.run_folder):  # of before a restart, lest one got lost
            ray.tune.report(course.told(config, scores))
        fit(config, callbacks=[ReportScores(course, config)])
        for scores in validations(config.run_folder)[-1:]:
            ray.tune.report(course.told(config, scores))
    except (UserError, ray.train.TrainingFailedError, OSError) as error:
        full = is_storage_full(error)
        code = ExitCode.STORAGE_FULL if full else ExitCode.FAILED
        ray.tune.report(worst | {FAILURE: reason_of(error), EXIT_CODE: int(code)})


def run_segments(config: Config, start: str, course: Course) -> None:
    """Train from look to look, and tell each with a checkpoint. Ray carries only a word of where
    it lies: the weights stay in the run's folder."""
    total, every = config.train.max_steps, course.look_every_steps
    donor = still_there(course.runs / start) if start else None
    step = done_steps(config.run_folder)
    if not step and donor:
        step = int(checkpoint.verify(donor)["step"])
    while True:
        if step < total:
            pause = min(total, (step // every + 1) * every)
            paused = replace(config, schedule=replace(config.schedule, pause_at_step=pause))
            fit(paused, donor)
        scores = validations(config.run_folder)[-1]
        step = int(scores["step"])
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "where").write_text(f"{config.run.name} {step}")
            where = ray.tune.Checkpoint.from_directory(folder)
            ray.tune.report(course.told(config, scores), checkpoint=where)
        if step >= total:
            return


def still_there(named: StoragePath) -> StoragePath:
    """The checkpoint that is named; where its run has let it go since, the next later one.

    Raises:
        CheckpointError: The run has none any more.
    """
    saved = checkpoint.saved(named.parent.parent)
    folders = [each for each in saved if each.name >= named.name]
    if not folders:
        raise CheckpointError(f"{named} and all later checkpoints of its run are gone.")
    return folders[0]


def validations(run_folder: StoragePath) -> list[Told]:
    """What a run's validations found: finite scores by name, and the step."""
    return [
        {name: value for name, value in line.items() if value is not None}
        for line in read_lines(run_folder / METRICS)
        if any(name.startswith("val/") for name in line)
    ]


def reason_of(error: BaseException) -> str:
    """One line for people."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if isinstance(error, ray.train.TrainingFailedError):  # a traceback; what was raised stands last
        return lines[-1].strip() if lines else type(error).__name__
    return " ".join(line.strip() for line in lines)


def is_storage_full(error: BaseException) -> bool:
    """Whether a disk without room is what failed; a worker's error arrives as text, or as the
    verdict that it left."""
    if isinstance(error, UserError):
        return error.exit_code == ExitCode.STORAGE_FULL
    if isinstance(error, OSError):
        return error.errno in STORAGE_FULL_ERRNOS
    return any(os.strerror(number) in str(error) for number in STORAGE_FULL_ERRNOS)
