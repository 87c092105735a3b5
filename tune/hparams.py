"""All trials for TensorBoard's HParams page, one session each, with their scores over the steps."""

import shutil
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from tune.found import Found

TENSORBOARD = "tensorboard"


def write_hparams(found: Found) -> Path:
    """Write `tensorboard/`, anew each time, and return it. What is off in a trial is left out."""
    folder = found.folder / TENSORBOARD
    shutil.rmtree(folder, ignore_errors=True)
    for trial in found.trials:
        score = trial.score(found.objective)
        if score is None:
            continue
        with SummaryWriter(str(folder / trial.name)) as writer:
            facts = {**trial.values, "state": trial.state}
            for summary in hparams(facts, {found.objective.metric: score}):
                writer._get_file_writer().add_summary(summary)
            for each in trial.scores:
                if each.value is not None:
                    writer.add_scalar(found.objective.metric, each.value, each.step)
    return folder
