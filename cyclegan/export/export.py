"""Export a checkpoint of a run as a complete and verified model folder."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import Config
from cyclegan.config.files import config_hash, load_config
from cyclegan.config.pinned_path import without_folders
from cyclegan.config.run_location import store_moves_explained
from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.data.stream import steps_per_epoch
from cyclegan.errors import ModelError
from cyclegan.export.command import ExportCommand
from cyclegan.export.formats import write_formats
from cyclegan.export.metadata import (
    DIRECTION_OF_FLAG,
    DIRECTIONS,
    Direction,
    Intensity,
    ModelInfo,
    TableInfo,
    channels_of,
    write_info,
)
from cyclegan.export.model_card import model_card
from cyclegan.export.model_folder import CARD, PICTURE, publish_folder
from cyclegan.export.parity import TOLERANCE, check_parity, example_slices, model_inputs
from cyclegan.export.picture import example_picture, slice_by_network
from cyclegan.export.seen import SeenScans, Training
from cyclegan.export.table_model import write_table_model
from cyclegan.export.training_stats import TrainedOn, trained_on
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint.checkpoint import load_generators, results_folder
from cyclegan.train.checkpoint.resume import start_checkpoint
from cyclegan.train.checkpoint.run_record import (
    axis_of_run,
    require_same_preprocessing,
    table_of_run,
)
from cyclegan.train.checkpoint.select import select_checkpoint
from data_prep.store.history import as_of
from data_prep.store.store import Store, open_store
from data_prep.store.stored_volume import StoredVolume
from data_prep.store.subject_record import (
    SUBJECTS_FILE,
    UNKNOWN_SUBJECTS,
    SubjectRecord,
    read_subjects,
    subjects_content,
    subjects_of,
)
from mrct.errors import ExitCode, UsageError
from mrct.imaging.modality import Modality
from mrct.progress import say_state
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath


def export(command: ExportCommand) -> ExitCode:
    """Write the requested model folder and print its path."""
    config = load_config(command.run_folder / "config.yaml")
    with store_moves_explained(config, "--store"):
        store = open_store(command.store or config.store)
    contents = require_same_preprocessing(command.run_folder, store)
    store = store.on(axis_of_run(command.run_folder, store))
    store = as_of(store, contents) or store
    if contents != store.contents:
        print(
            f"Note: The volumes of {store.path.name} have changed since the run began, or its "
            "record of them is damaged, so the model will not record what it was trained on, and "
            "translate cannot warn about scans that differ from it."
        )
    if command.table:
        return export_table(command, config, store, contents)
    kept = table_of_run(command.run_folder)
    start = start_checkpoint(command.run_folder)
    checkpoint = select_checkpoint(command.run_folder, command.checkpoint, command.metric)
    networks = dict(zip(DIRECTIONS, load_generators(checkpoint, config), strict=True))
    ways = DIRECTIONS if command.direction == "both" else (DIRECTION_OF_FLAG[command.direction],)
    name = "both" if len(ways) > 1 else ways[0]
    folder = command.out or results_folder(command.run_folder, f"model_{name}")
    scores = read_scores(command.scores, config, checkpoint)
    models = {
        way: (
            networks[way],
            replace(
                model_info(config, way, store, checkpoint.name, scores, contents),
                contrast_table=kept.sha256 if kept else "",
                initial_weights=without_folders(str(start or config.train.init)),
                licence=command.licence,
            ),
        )
        for way in ways
    }
    subjects = subjects_shown(command.run_folder, store, contents)
    say_state(f"Writing {checkpoint.name} in three formats, each compared with the trained network")
    parity = export_models(
        models,
        store,
        config,
        folder,
        subjects=subjects,
        people_shown=command.picture,
        overwrite=command.overwrite,
    )
    for way, differences in parity.items():
        unit = "HU" if way == "to_ct" else "grey levels of 4095"
        for file, value in differences.items():
            text = f"{way} {file:24} differs by at most {value:.2g} {unit}"
            print(f"{text} (allowed: < {TOLERANCE:g})")
    print(
        f"Model: {folder} ({checkpoint.name})\n"
        f"  python -m cyclegan.translate {folder} INPUT --preview"
    )
    return ExitCode.DONE


def export_table(command: ExportCommand, config: Config, store: Store, contents: str) -> ExitCode:
    """Write the model folder of the run's contrast table, and print its path.

    Raises:
        ModelError: The run has no table, or `folder` already exists.
    """
    kept = table_of_run(command.run_folder)
    if kept is None:
        raise ModelError(
            f"{command.run_folder} has no contrast table. Fit it first: "
            f"python -m cyclegan.contrast {command.run_folder}"
        )
    given = {
        "--direction": command.direction != "mri-to-ct",
        "--checkpoint": command.checkpoint != "best",
        "--metric": command.metric != "val/selection",
        "--scores": command.scores is not None,
    }
    if others := [flag for flag, is_given in given.items() if is_given]:
        raise UsageError(
            f"{', '.join(others)} is for generators. A contrast table makes CTs from MRIs, and has "
            "neither checkpoints nor scores in its card. Leave it out."
        )
    folder = command.out or results_folder(command.run_folder, "model_table")
    info = TableInfo(
        contrast_table=kept.sha256,
        preprocessing=store.preprocessing,
        height_axis=store.axis,
        run=config.run.name,
        store_fingerprint=kept.store_fingerprint,
        store_contents=kept.store_contents,
        trained_on=trained_on(store, "mri") if contents == store.contents else TrainedOn(),
        seen=SeenScans.of(store) if contents == store.contents else SeenScans(),
        exported_on=date.today().isoformat(),
        licence=command.licence,
    )

    def by_table(volume: StoredVolume, z: int) -> NDArray[np.float32]:
        found = kept.table.synthetic_ct(store.voxels(volume), store.body(volume), volume.height)
        return np.asarray(found[z])

    picture = example_picture(store, "mri", by_table, people=command.picture)
    subjects = subjects_shown(command.run_folder, store, contents)
    content = (command.run_folder / TABLE_FILE).read_bytes()
    publish_folder(
        folder,
        partial(write_table_model, info=info, table=content, subjects=subjects, picture=picture),
        overwrite=command.overwrite,
    )
    print(
        f"Model: {folder} (contrast table {kept.sha256[:16]})\n"
        f"  python -m cyclegan.translate {folder} INPUT --preview"
    )
    return ExitCode.DONE


def subjects_shown(run_folder: StoragePath, store: Store, contents: str) -> SubjectRecord:
    """Return the subjects that a run was shown, as far as they are known.

    `contents` is the hash of the volumes that the run was trained on.
    """
    known = subjects_of(store) if contents == store.contents else UNKNOWN_SUBJECTS
    return read_subjects(run_folder) or known


def export_models(
    models: Mapping[Direction, tuple[Generator, ModelInfo]],
    store: Store,
    config: Config,
    folder: Path,
    *,
    subjects: SubjectRecord | None = None,
    people_shown: bool = False,
    overwrite: bool = False,
) -> dict[Direction, dict[str, float]]:
    """Publish networks (on the CPU, fp32) of a run as the model folder `folder`.

    A single model fills the folder itself; two models fill one subfolder per direction. `subjects`
    are those that the networks were shown, by default those of the store. The card has a picture of
    a held-out phantom, or with `people_shown` of a person. Returns, for each
    direction, the largest difference of each file from the network; see `check_parity`.

    Raises:
        ModelError: A file differs too much, or `folder` already exists; nothing was published.
    """
    parity: dict[Direction, dict[str, float]] = {}

    def fill(partial: Path) -> None:
        for way, (network, info) in models.items():
            part = partial / way if len(models) > 1 else partial
            part.mkdir(exist_ok=True)
            write_formats(network, len(info.inputs), part)
            slices, in_training = example_slices(store, config, info.source)
            in_use = model_inputs(store, slices, info)
            parity[way] = check_parity(network, part, in_training, in_use, info.generator)
            checked = replace(info, parity=parity[way])
            write_info(checked, part)
            (part / SUBJECTS_FILE).write_bytes(subjects_content(subjects or subjects_of(store)))
            make = slice_by_network(network, store, info)
            picture = example_picture(store, info.source, make, people=people_shown)
            if picture:
                (part / PICTURE).write_bytes(picture.content)
            (part / CARD).write_text(model_card(checked, picture))

    publish_folder(folder, fill, overwrite=overwrite)
    return parity


def model_info(
    config: Config,
    direction: Direction,
    store: Store,
    checkpoint: str,
    scores: dict[str, Any] | None = None,
    contents: str | None = None,
) -> ModelInfo:
    """Return the content of model.json except the parity; `contents` is the hash of the volumes
    that the run was trained on, needed if those of the store may have changed."""
    contents = contents or store.contents
    is_known = contents == store.contents
    shown: Modality = "mri" if direction == "to_ct" else "ct"
    neighbours, conditions = config.data.neighbours, config.data.conditions
    return ModelInfo(
        direction=direction,
        inputs=channels_of(direction, neighbours, conditions),
        neighbours=neighbours,
        conditions=conditions,
        intensity=Intensity(mri_contrast=config.data.mri_contrast),
        preprocessing=store.preprocessing,
        height_axis=store.axis,
        generator=config.generator if shown == "mri" else replace(config.generator, guide="none"),
        run=config.run.name,
        config_hash=config_hash(config),
        checkpoint=checkpoint,
        initial_weights=without_folders(config.train.init),
        store_fingerprint=store.fingerprint,
        store_contents=contents,
        trained_on=trained_on(store, shown) if is_known else TrainedOn(),
        seen=SeenScans.of(store, config.data) if is_known else SeenScans(),
        training=Training.of(
            config, checkpoint, steps_per_epoch(store, config) if is_known else None
        ),
        exported_on=date.today().isoformat(),
        scores=scores,
    )


def read_scores(
    path: Path | None, config: Config, checkpoint: StoragePath
) -> dict[str, Any] | None:
    """Read a score file.

    Raises:
        ModelError: The file cannot be read, or belongs to another checkpoint than the exported one.
    """
    if path is None:
        return None
    try:
        scores: dict[str, Any] = dict(parse_json(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"No scores can be read from {path} ({error}); the model card would lack them. Create "
            "them with `python -m cyclegan.evaluate`, or omit --scores."
        ) from error
    found = tuple(scores.get(name) for name in ("run", "checkpoint", "config"))
    expected = (config.run.name, checkpoint.name, config_hash(config)[:8])
    if found != expected:
        raise ModelError(
            f"{path} has the scores of another model (run, checkpoint, config): {found}, but "
            f"{expected} is exported. The model card would show scores that this model does not "
            "have. Evaluate this model:\n"
            f"  python -m cyclegan.evaluate {checkpoint.parent.parent}"
        )
    return scores
