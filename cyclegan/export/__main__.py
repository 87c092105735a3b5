"""`python -m cyclegan.export`: a run's checkpoint becomes a model folder, or nothing does."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from cyclegan.config import Config
from cyclegan.config_file import config_hash, load_config
from cyclegan.errors import CheckpointError, ModelError
from cyclegan.export.card import model_card
from cyclegan.export.formats import write_formats
from cyclegan.export.model import CARD, Direction, Intensity, ModelInfo, publish, write_info
from cyclegan.export.parity import TOLERANCE, check_parity, real_slices
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint import best, load_translators, newest, results_folder
from data_prep.errors import ExitCode, run_command
from data_prep.place import Place, PlaceArgument, place
from data_prep.store import Store, open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Export a generator as ONNX, torch.export and safetensors with a model card, in one folder.

    Nothing is written unless every format gives what the trained network gives, to less than
    1 HU, on real slices of the run's store.
    """

    run_folder: Annotated[PlaceArgument, tyro.conf.Positional]
    """Folder or URL of the run, which holds config.yaml and checkpoints."""
    direction: Direction = "to_ct"
    """What the generator makes: to_ct takes MRI, to_mri takes CT."""
    out: Path | None = None
    """The model folder; default: model_<direction> in the run's folder, or beside the working
    folder's other files where the run lies under a URL."""
    checkpoint: str = "best"
    """`best` on the val split, `newest`, or the folder of a checkpoint."""
    scores: Path | None = None
    """JSON of `python -m cyclegan.evaluate`, kept in model.json and shown in the card."""
    store: PlaceArgument | None = None
    """The store to check on, where it is not at the run's data.store any more."""
    overwrite: bool = False
    """Replace the model that is there."""


def export(command: Command) -> ExitCode:
    """Write the model folder that the command asks for, and say where."""
    config = load_config(command.run_folder / "config.yaml")
    if config.data.conditions:
        raise ModelError(
            "this run's networks see the depth below the body's surface and the slice's height "
            "(data.conditions), and a model folder cannot say so yet: whoever opens it would feed "
            "it images alone. Train with --data.no-conditions to export."
        )
    if config.data.neighbours:
        raise ModelError(
            f"this run's networks see {config.data.channels} slices at a time (data.neighbours "
            f"{config.data.neighbours}), and a model folder cannot say so yet: whoever opens it "
            "would feed it single slices. Train with --data.neighbours 0 to export."
        )
    store = open_store(command.store or config.store)
    checkpoint = find_checkpoint(command.run_folder, command.checkpoint)
    to_ct, to_mri = load_translators(checkpoint, config)
    folder = command.out or results_folder(command.run_folder, f"model_{command.direction}")
    scores = read_scores(command.scores, config, checkpoint.name)
    info = describe(config, command.direction, store, checkpoint.name, scores)
    parity = export_model(
        to_ct if command.direction == "to_ct" else to_mri,
        info,
        store,
        folder,
        overwrite=command.overwrite,
    )
    unit = "HU" if info.target == "ct" else "grey levels of 4095"
    for name, value in parity.items():
        print(f"{name:24} differs by at most {value:.2g} {unit} (allowed: < {TOLERANCE:g})")
    print(f"model: {folder}")
    return ExitCode.DONE


def export_model(
    network: Generator, info: ModelInfo, store: Store, folder: Path, *, overwrite: bool = False
) -> dict[str, float]:
    """Publish `network`, which is on the CPU in fp32, as the model folder that `info` describes.

    Returns the largest difference of each file from the network; see `check_parity`.

    Raises:
        ModelError: A file differs too much, or `folder` is taken; nothing was published.
    """
    images = real_slices(store, info.source, info.intensity.mri_contrast)
    parity: dict[str, float] = {}

    def fill(partial: Path) -> None:
        write_formats(network, len(info.inputs), partial)
        parity.update(check_parity(network, partial, images, info.generator))
        checked = replace(info, parity=parity)
        write_info(checked, partial)
        (partial / CARD).write_text(model_card(checked))

    publish(folder, fill, overwrite=overwrite)
    return parity


def describe(
    config: Config,
    direction: Direction,
    store: Store,
    checkpoint: str,
    scores: dict[str, Any] | None = None,
) -> ModelInfo:
    """What model.json will say, but for the parity."""
    return ModelInfo(
        direction=direction,
        inputs=("mri" if direction == "to_ct" else "ct",),
        intensity=Intensity(mri_contrast=config.data.mri_contrast),
        recipe=store.recipe,
        generator=config.generator,
        run=config.run.name,
        config_hash=config_hash(config),
        checkpoint=checkpoint,
        store_fingerprint=store.fingerprint,
        store_contents=store.contents,
        scores=scores,
    )


def find_checkpoint(run_folder: Place, which: str) -> Place:
    """The checkpoint's folder; it is verified when it is loaded.

    Raises:
        CheckpointError: The run has none.
    """
    if which not in ("best", "newest"):
        return place(which)
    folder = best(run_folder) if which == "best" else newest(run_folder)
    if folder is None:
        raise CheckpointError(
            f"{run_folder} has no checkpoint: there is nothing to export. Train it first, "
            f"the same command goes on:\n  python -m cyclegan.train --config "
            f"{run_folder / 'config.yaml'}"
        )
    return folder


def read_scores(path: Path | None, config: Config, checkpoint: str) -> dict[str, Any] | None:
    """The content of a score file.

    Raises:
        ModelError: It cannot be read, or scores another checkpoint than the one exported.
    """
    if path is None:
        return None
    try:
        scores: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no scores can be read from {path} ({error}); the model card would lack them. Make "
            "them with `python -m cyclegan.evaluate`, or leave out --scores."
        ) from error
    found = tuple(scores.get(name) for name in ("run", "checkpoint", "config"))
    expected = (config.run.name, checkpoint, config_hash(config)[:8])
    if found != expected:
        raise ModelError(
            f"{path} scores another model (run, checkpoint, config): {found}, but {expected} is "
            "exported. The card would promise what this model does not hold. Evaluate this one:\n"
            f"  python -m cyclegan.evaluate {config.run_folder}"
        )
    return scores


if __name__ == "__main__":
    run_command(lambda: export(tyro.cli(Command, prog="python -m cyclegan.export")))
