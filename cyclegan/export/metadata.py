"""The content of `model.json`: inputs, intensities and history of an exported generator."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from cyclegan.config.config import GeneratorConfig
from cyclegan.config.files import from_mapping
from cyclegan.config.values import shown
from cyclegan.errors import ConfigError, ModelError
from cyclegan.export.formats import MULTIPLE, OPSET
from cyclegan.export.seen import SeenScans, Training, seen_line
from cyclegan.export.training_stats import TrainedOn
from cyclegan.inference.slices import Contrast
from data_prep.preprocess.height_axis import HeightAxis
from data_prep.preprocess.spec import VERSION as PREPROCESSING_VERSION
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.errors import UsageError
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import INVERTED_CENTRE, INVERTED_SLOPE, MEDIAN_LEVEL, Window
from mrct.imaging.modality import Modality
from mrct.storage.json_text import parse_json
from mrct.storage.names import is_plain

MODEL_SCHEMA_VERSION = 4
INFO = "model.json"
Direction = Literal["to_ct", "to_mri"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
MRI_OUTPUT_WINDOW: Window = (0.0, 1000.0)
_UPRIGHT = "z up, row 0 anterior, column 0 the patient's right"
DIRECTION_OF_FLAG: dict[str, Direction] = {"mri-to-ct": "to_ct", "ct-to-mri": "to_mri"}
"""Direction by value of `--direction`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intensity:
    """The mapping from voxel values to network values and back. Only the contrast is configurable
    in this version."""

    mri_contrast: Contrast
    window_hu: Window = WINDOW_HU
    """CT values in HU that map to -1 and 1; values beyond are clipped."""
    mri_window: str = (
        f"low = min(0, 0.5th percentile), high = low + (median - low) / {MEDIAN_LEVEL}, inside the "
        "body, counted from the background"
    )
    """MRI values that map to -1 and 1, determined for each volume; values beyond are clipped."""
    mri_output_window: Window = MRI_OUTPUT_WINDOW
    """Values of a synthetic MRI for -1 and 1, in arbitrary units, since MRI has no physical
    unit."""
    inverted_centre: float = INVERTED_CENTRE
    inverted_slope: float = INVERTED_SLOPE
    to_network: str = "x = 2 (value - low) / (high - low) - 1, clipped to [-1, 1]"
    to_network_inverted: str = "inside the body inverted_centre - inverted_slope * x, outside -1"
    to_values: str = "value = low + (x + 1) / 2 * (high - low); CT outside the body -1024 HU"
    to_values_inverted: str = "before that x = (inverted_centre - x) / inverted_slope, in the body"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """The content of `model.json`."""

    direction: Direction
    inputs: tuple[str, ...]
    """Content of each input channel, `channels_of` the next two fields."""
    neighbours: int = 0
    """Neighbouring slices above and below each slice that are input channels too."""
    conditions: bool = False
    """Whether the depth below the body surface and the height of the slice in the body, both in
    [-1, 1], are input channels."""
    height_axis: HeightAxis = field(default_factory=HeightAxis)
    """The axis that a volume's outline is laid on to find the heights of its slices."""
    intensity: Intensity
    preprocessing: PreprocessingSpec
    """Preprocessing of the training slices; other numbers of rows and columns work if they are
    multiples of `size_multiple`."""
    generator: GeneratorConfig
    run: str
    config_hash: str
    """SHA-256 of the run's configuration."""
    checkpoint: str
    """Name of the exported checkpoint."""
    initial_weights: str = ""
    """Name and SHA-256 of what the run took its first weights from (`train.init`); empty if they
    were random."""
    store_fingerprint: str
    """Hash of the preprocessing of the training data."""
    store_contents: str
    """Hash of the volumes and splits of the training data."""
    trained_on: TrainedOn = field(default_factory=TrainedOn)
    """Statistics of the volumes of the train split."""
    seen: SeenScans = field(default_factory=SeenScans)
    """People and kinds of scans of the train split, both modalities."""
    training: Training = field(default_factory=Training)
    exported_on: str = ""
    """Date, year first."""
    licence: str = ""
    """Licence of the weights; empty if none was given."""
    scores: dict[str, Any] | None = None
    """Scores as written by `python -m cyclegan.evaluate`, if given."""
    parity: dict[str, float] = field(default_factory=dict)
    """Per file, the largest difference from the trained network on real slices: in HU for a CT, in
    grey levels of 4095 for an MRI."""
    contrast_table: str = ""
    """SHA-256 of the contrast table of the run; empty without one. It is a model of its own."""
    orientation: str = _UPRIGHT
    onnx_opset: int = OPSET
    size_multiple: int = MULTIPLE
    schema_version: int = MODEL_SCHEMA_VERSION

    @property
    def source(self) -> Modality:
        """Modality of the network's input."""
        return "mri" if self.direction == "to_ct" else "ct"

    @property
    def target(self) -> Modality:
        """Modality of the network's output."""
        return "ct" if self.direction == "to_ct" else "mri"

    @property
    def seen_line(self) -> str:
        """One line: what the network was trained on, and for how long."""
        return seen_line(self.seen, self.training)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableInfo:
    """The content of the `model.json` of a contrast table."""

    kind: Literal["table"] = "table"
    direction: Literal["to_ct"] = "to_ct"
    contrast_table: str
    """SHA-256 that seals the table."""
    preprocessing: PreprocessingSpec
    height_axis: HeightAxis = field(default_factory=HeightAxis)
    """The axis that a volume's outline is laid on to find the heights of its slices."""
    run: str
    store_fingerprint: str
    """Hash of the preprocessing of the training data."""
    store_contents: str
    """Hash of the volumes and splits of the training data."""
    trained_on: TrainedOn = field(default_factory=TrainedOn)
    """Statistics of the MRIs of the train split."""
    seen: SeenScans = field(default_factory=SeenScans)
    """People and kinds of scans of the train split."""
    exported_on: str = ""
    licence: str = ""
    orientation: str = _UPRIGHT
    schema_version: int = MODEL_SCHEMA_VERSION

    @property
    def source(self) -> Modality:
        """Modality of the input."""
        return "mri"

    @property
    def target(self) -> Modality:
        """Modality of the output."""
        return "ct"

    @property
    def seen_line(self) -> str:
        """One line: what the table was fitted to."""
        return seen_line(self.seen)


Info = TypeVar("Info", ModelInfo, TableInfo)


def channels_of(direction: Direction, neighbours: int, conditions: bool) -> tuple[str, ...]:
    """Return the content of each input channel of a network, in order (`nets.input_channels`)."""
    source = "mri" if direction == "to_ct" else "ct"
    slices = [
        source if offset == 0 else f"{source}, slice {offset:+d}"
        for offset in range(-neighbours, neighbours + 1)
    ]
    return ("depth below the surface", *slices, "height") if conditions else tuple(slices)


def described(folder: Path, content: str | bytes) -> dict[str, Any]:
    """Return the fields of the `model.json` of a folder, which are of this version, unchecked."""
    try:
        values = dict(parse_json(content))
    except (ValueError, TypeError) as error:
        found = f"no description ({error})"
        raise other_version(folder, found, "the fields of this version") from error
    if (version := values.get("schema_version")) != MODEL_SCHEMA_VERSION:
        raise other_version(folder, f"schema_version {shown(version)}", f"{MODEL_SCHEMA_VERSION}")
    return values


def parse_info(content: str | bytes, folder: Path) -> ModelInfo:
    """Read a `model.json`, and refuse one that this version would misinterpret."""
    values = described(folder, content)
    direction = values.get("direction")
    if direction not in DIRECTIONS:
        raise other_version(folder, f"direction {shown(direction)}", " or ".join(DIRECTIONS))
    info = info_of(ModelInfo, values, folder)
    require_plain_words(folder, info.checkpoint, info.config_hash)
    # Bounded before their list is made: the number is whatever the file claims.
    neighbours = max(0, min(info.neighbours, len(info.inputs)))
    channels = channels_of(info.direction, neighbours, info.conditions)
    if info.neighbours != neighbours or info.inputs != channels:
        raise other_version(folder, f"inputs {shown(info.inputs)}", f"{channels}")
    if info.intensity != (known := Intensity(mri_contrast=info.intensity.mri_contrast)):
        raise other_version(folder, f"intensity {info.intensity}", f"{known}")
    if info.size_multiple != MULTIPLE:
        raise other_version(folder, f"in-plane sizes of {info.size_multiple}", f"{MULTIPLE}")
    return info


def info_of(kind: type[Info], values: dict[str, Any], folder: Path) -> Info:
    """Return the fields of a `model.json`, with those checked that models of all kinds have."""
    try:
        info = from_mapping(kind, values, INFO)
    except (ConfigError, UsageError, TypeError) as error:
        raise other_version(folder, str(error), "the fields of this version") from error
    assert isinstance(info, kind)
    if (version := info.preprocessing.version) != PREPROCESSING_VERSION:
        raise other_version(folder, f"preprocessing {version}", f"{PREPROCESSING_VERSION}")
    require_plain_words(folder, info.run)
    if info.orientation != _UPRIGHT:
        raise other_version(folder, shown(info.orientation), f"{_UPRIGHT!r}")
    return info


def require_plain_words(folder: Path, *words: str) -> None:
    """Refuse a `model.json` whose names of a run or a checkpoint are paths or no words."""
    for word in words:
        if not is_plain(word, r"[^./][^/]{0,254}") or not word.isprintable():
            raise other_version(
                folder, f"{shown(word)} for a run, a checkpoint or a hash", "a plain name"
            )


def write_info(info: ModelInfo | TableInfo, folder: Path) -> None:
    """Write `model.json`."""
    (folder / INFO).write_text(json.dumps(asdict(info), indent=2) + "\n")


def other_version(folder: Path, found: str, known: str) -> ModelError:
    """Return the error of a `model.json` that this version would misinterpret."""
    return ModelError(
        f"{folder / INFO} was written by another version: found {found}, expected {known}. Results "
        "would be wrong without any warning. Use the version of this project that wrote the model, "
        "or export it again:\n"
        "  python -m cyclegan.export RUN_FOLDER"
    )
