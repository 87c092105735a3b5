"""Who is scored: a run's checkpoint or an exported model, opened as networks."""

from dataclasses import dataclass
from pathlib import Path

import torch

from cyclegan.config import Config
from cyclegan.config_file import load_config
from cyclegan.errors import CheckpointError
from cyclegan.export.model import SUMS, read_model
from cyclegan.infer.slices import Contrast, Network
from cyclegan.train.checkpoint import best, load_translators
from cyclegan.train.environment import require_same_grid
from data_prep.errors import UsageError
from data_prep.place import Place
from data_prep.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A translator to compare with."""

    name: str
    to_ct: Network
    contrast: Contrast
    """How it wants to see an MRI."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """A checkpoint and the run that it belongs to."""

    run_folder: Place
    checkpoint: Place
    config: Config


def located(path: Place) -> Located:
    """The checkpoint to score: a run's best one, or the one that is named.

    Raises:
        UsageError: It is neither a run nor a checkpoint.
        CheckpointError: The run has no checkpoint yet.
    """
    if (path / "config.yaml").exists():
        checkpoint = best(path)
        if checkpoint is None:
            raise CheckpointError(
                f"the run {path} has no checkpoint yet, so there is nothing to score. Let it reach "
                "its first one (schedule.save_every_steps), or train on."
            )
        return Located(
            run_folder=path, checkpoint=checkpoint, config=load_config(path / "config.yaml")
        )
    run_folder = path.absolute().parent.parent
    if (run_folder / "config.yaml").exists():
        config = load_config(run_folder / "config.yaml")
        return Located(run_folder=run_folder, checkpoint=path, config=config)
    raise UsageError(
        f"{path} is neither a run nor a checkpoint: there is no config.yaml in it, nor two folders "
        "above. Name the folder RUNS/NAME that `python -m cyclegan.train` printed."
    )


def contestant(path: Path, store: Store, device: torch.device) -> Contestant:
    """Open a run, a checkpoint or a model folder for comparison on `store`.

    Raises:
        UserError: It is none of them, makes no CT, or was trained on another grid.
    """
    if (path / SUMS).exists():
        model = read_model(path, device=str(device))
        if model.info.direction != "to_ct":
            raise UsageError(
                f"{path} makes MRIs, and only synthetic CTs are compared. "
                "Name a model_to_ct folder."
            )
        recipe = model.info.recipe
        if (recipe.spacing_mm, recipe.size) != (store.spacing_mm, store.size):
            raise UsageError(
                f"{path} was trained on voxels of {recipe.spacing_mm} mm (z y x) in slices of "
                f"{recipe.size}; {store.path.name} has {store.spacing_mm} mm and {store.size}. "
                "Scores on two grids do not compare. Convert a store alike."
            )
        contrast = model.info.intensity.mri_contrast
        return Contestant(name=path.name, to_ct=model.network, contrast=contrast)
    found = located(path)
    require_same_grid(found.run_folder, store)
    to_ct, _ = load_translators(found.checkpoint, found.config)
    return Contestant(
        name=f"{found.config.run.name}, {found.checkpoint.name}",
        to_ct=to_ct.to(device),
        contrast=found.config.data.mri_contrast,
    )
