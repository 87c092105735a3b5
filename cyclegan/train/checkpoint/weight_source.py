"""Networks that a run can start from: of a run, of an exported model, or of a file of another
project."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from cyclegan.config.config import Config, GeneratorConfig
from cyclegan.config.files import load_config, resolve
from cyclegan.config.pinned_path import pinned, split_pin
from cyclegan.config.run_location import CONFIG, is_run
from cyclegan.errors import CheckpointError, ConfigError
from cyclegan.train.checkpoint.checkpoint import load_tensors
from cyclegan.train.checkpoint.folder import FILE_HASHES, best_checkpoint, verify_checkpoint
from cyclegan.train.checkpoint.run_record import read_environment
from cyclegan.train.checkpoint.torch_file import read_torch_file
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW
from data_prep.preprocess.spec import VERSION as PREPROCESSING_VERSION
from data_prep.store.subject_record import SubjectRecord, read_subjects
from mrct.storage.paths import StoragePath, storage_path

MODEL_HASHES = "SHA256SUMS"
"""The list of hashes of a model folder, `SUMS` of `export.model_folder`, which imports ONNX."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GeneratorWeights:
    """Weights of one generator, and what its input was."""

    tensors: Mapping[str, Tensor]
    settings: GeneratorConfig
    neighbours: int = 0
    conditions: bool = False
    mri_contrast: str = ""
    """As `data.mri_contrast`; "" if the source does not state it."""
    spacing_mm: tuple[float, ...] = ()
    """Voxel size (z, y, x) of its training; empty if the source does not state it."""
    height_axis: str = ""
    """Hash of the axis of its heights; "" if the source does not state it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WeightSource:
    """The networks of a source."""

    generators: Mapping[str, GeneratorWeights]
    """Of the directions `to_ct`, `to_mri` or both."""
    discriminators: Mapping[str, Tensor] = field(default_factory=dict)
    """Weights of both by their names in `Discriminators`; empty if the source has none."""
    subjects: tuple[SubjectRecord, ...] = ()
    """Subjects that the networks were shown, as far as the source states them."""


class SourceLocation(NamedTuple):
    """What a path leads to."""

    kind: Literal["checkpoint", "model", "file"]
    path: StoragePath
    sha256: str
    """SHA-256 of the file, or of the list of hashes of all files."""


def pin_source(config: Config) -> Config:
    """Add the hash of what it leads to, to `train.init`; that of a run that has begun is kept.

    Raises:
        ConfigError: There are no weights at the path.
        CheckpointError: It is a run without a checkpoint.
    """
    path, digest = split_pin(config.train.init)
    if not path:
        return config
    source, recorded = storage_path(path), ""
    if digest:
        return replace(config, train=replace(config.train, init=pinned(source, digest)))
    if config.run.name and is_run(folder := resolve(config).run_folder):
        recorded = load_config(folder / CONFIG).train.init
    if split_pin(recorded)[0] != str(source):
        recorded = pinned(source, locate_source(source).sha256)
    return replace(config, train=replace(config.train, init=recorded))


def locate_source(path: StoragePath) -> SourceLocation:
    """Return the checkpoint, the model folder or the file at a path; of a run the best checkpoint.

    Raises:
        ConfigError: There is none of these.
        CheckpointError: The run has no checkpoint yet.
    """
    with path.reached():
        if (path / CONFIG).exists():
            best = best_checkpoint(path)
            if best is None:
                raise CheckpointError(
                    f"train.init is the run {path}, which has no checkpoint yet: there are no "
                    "weights to start from. Let it reach its first one, or give another source."
                )
            path = best
        if (path / FILE_HASHES).exists():
            return SourceLocation("checkpoint", path, (path / FILE_HASHES).sha256())
        lists = [
            sums
            for part in (path, path / "to_ct", path / "to_mri")
            if (sums := part / MODEL_HASHES).exists()
        ]
        if lists:
            content = b"".join(sums.read_bytes() for sums in lists)
            return SourceLocation("model", path, hashlib.sha256(content).hexdigest())
        try:
            return SourceLocation("file", path, path.sha256())
        except OSError as error:
            raise ConfigError(
                f"train.init is {path}, where there are no weights ({error.strerror or error}). "
                "Give the folder or URL of an exported model, of a run or of one of its "
                "checkpoints, or a .pth file of a generator."
            ) from error


def read_source(text: str) -> WeightSource:
    """Read the networks that `train.init` names, and verify every byte.

    Raises:
        ConfigError: There are none, or others than when the hash was added.
        CheckpointError, ModelError: A file is damaged, or of another version.
    """
    path, digest = split_pin(text)
    found = locate_source(storage_path(path))
    if digest and digest != found.sha256:
        raise ConfigError(
            f"train.init is {path} with the SHA-256 {digest[:12]}..., but what lies there now has "
            f"{found.sha256[:12]}...: the run would start from other weights than it states. Give "
            "the path that has them, or start a new run without the hash: --run.name NAME "
            f"--train.init {path}"
        )
    with found.path.reached():
        if found.kind == "file":
            tensors, settings = read_torch_file(found.path)
            return WeightSource(
                generators={
                    "to_ct": GeneratorWeights(
                        tensors=tensors, settings=settings, mri_contrast="plain"
                    )
                }
            )
        read = _read_checkpoint if found.kind == "checkpoint" else _read_model
        return read(found.path)


def _read_checkpoint(path: StoragePath) -> WeightSource:
    with path.fetched() as here:
        settings: dict[str, Any] = verify_checkpoint(here).get("settings", {})
        means = load_tensors(here / "mean.safetensors")
        discriminators = load_tensors(here / "discriminators.safetensors")
    run_folder = path.parent.parent
    environment = read_environment(run_folder) or {}
    if environment and (trained := environment.get("preprocessing")) != PREPROCESSING_VERSION:
        raise CheckpointError(
            f"Checkpoint {path} was trained on preprocessing {trained or 'of before 6'}, and this "
            f"version has {PREPROCESSING_VERSION}: MRIs and depths are on another scale than its "
            "networks learned. Give another source."
        )
    try:
        section = "generator."
        common = GeneratorWeights(
            tensors={},
            settings=GeneratorConfig(
                **{
                    name.removeprefix(section): value
                    for name, value in settings.items()
                    if name.startswith(section)
                }
            ),
            neighbours=settings["data.neighbours"],
            conditions=settings["data.conditions"],
            mri_contrast=settings["data.mri_contrast"],
            spacing_mm=tuple(environment.get("spacing_mm", ())),
            height_axis=str(environment.get("height_axis", IN_EACH_FIELD_OF_VIEW.sha256))
            if environment
            else "",
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"Checkpoint {path} was written by another version: its settings are incomplete "
            f"({error}), so what its networks expect is not known. Export a model from it with the "
            "version that wrote it, or give another source."
        ) from error
    generators: dict[str, GeneratorWeights] = {}
    for direction in ("to_ct", "to_mri"):
        start = f"{direction}."
        own = {n.removeprefix(start): each for n, each in means.items() if n.startswith(start)}
        generators[direction] = replace(common, tensors=own)
    return WeightSource(
        generators=generators,
        discriminators=discriminators,
        subjects=(read_subjects(run_folder),),
    )


def _read_model(path: StoragePath) -> WeightSource:
    # It imports ONNX, which workers that start from other sources, or resume, do not need.
    from cyclegan.export.model_folder import read_model

    generators: dict[str, GeneratorWeights] = {}
    subjects = []
    with path.fetched() as here:
        parts = [here] if (here / MODEL_HASHES).exists() else [here / "to_ct", here / "to_mri"]
        for part in parts:
            if not part.exists():
                continue
            model = read_model(part)
            assert isinstance(model.network, nn.Module)
            generators[model.info.direction] = GeneratorWeights(
                tensors=model.network.state_dict(),
                settings=model.info.generator,
                neighbours=model.info.neighbours,
                conditions=model.info.conditions,
                mri_contrast=model.info.intensity.mri_contrast,
                spacing_mm=model.info.preprocessing.spacing_mm,
                height_axis=model.info.height_axis.sha256,
            )
            subjects.append(read_subjects(part))
    return WeightSource(generators=generators, subjects=tuple(subjects))
