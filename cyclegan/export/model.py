"""The exported model folder: what it says of itself, how it is published and how it is read back.

It knows neither runs nor checkpoints: a model folder is all that `translate` needs.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cyclegan.config import GeneratorConfig
from cyclegan.config_file import from_mapping
from cyclegan.errors import ConfigError, ModelError
from cyclegan.export.formats import FILES, MULTIPLE, OPSET, Format, open_format
from cyclegan.infer.slices import Contrast, Network
from data_prep.atomic import partial_path, sync_folder
from data_prep.errors import UsageError
from data_prep.intensity import INVERTED_CENTRE, INVERTED_SLOPE, WINDOW_HU, Window
from data_prep.recipe import VERSION as RECIPE_VERSION
from data_prep.recipe import Recipe
from data_prep.volume import Modality

SCHEMA_VERSION = 2
INFO, CARD, SUMS = "model.json", "README.md", "SHA256SUMS"
CONTENT = sorted([*FILES.values(), INFO, CARD])
"""What SHA256SUMS lists."""

Direction = Literal["to_ct", "to_mri"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Intensity:
    """Voxel values to network values and back. All but the contrast is fixed in this version."""

    mri_contrast: Contrast
    window_hu: Window = WINDOW_HU
    """CT values that become -1 and 1; beyond them they are clipped."""
    mri_window: str = "min(0, 0.5th percentile) to 99.5th percentile, inside the body"
    """MRI values that become -1 and 1, found for each volume; beyond them they are clipped."""
    mri_output_window: Window = (0.0, 1000.0)
    """What -1 and 1 become in a synthetic MRI: arbitrary units, as MRI has none of its own."""
    inverted_centre: float = INVERTED_CENTRE
    inverted_slope: float = INVERTED_SLOPE
    to_network: str = "x = 2 (value - low) / (high - low) - 1, clipped to [-1, 1]"
    to_network_inverted: str = "inside the body inverted_centre - inverted_slope * x, outside -1"
    to_values: str = "value = low + (x + 1) / 2 * (high - low); CT outside the body -1024 HU"
    to_values_inverted: str = "before that x = (inverted_centre - x) / inverted_slope, in the body"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What `model.json` holds."""

    direction: Direction
    inputs: tuple[str, ...]
    """What each input channel shows."""
    intensity: Intensity
    recipe: Recipe
    """How volumes became the slices that the network was trained on; other rows and columns work
    as multiples of `size_multiple`."""
    generator: GeneratorConfig
    run: str
    config_hash: str
    """SHA-256 of the run's settings."""
    checkpoint: str
    """The checkpoint that was exported."""
    store_fingerprint: str
    """Of the preprocessing of the data that the run learned from."""
    store_contents: str
    """Of the volumes and splits of that data."""
    scores: dict[str, Any] | None = None
    """As `python -m cyclegan.evaluate` wrote them, if they were given."""
    parity: dict[str, float] = field(default_factory=dict)
    """Per file, the largest difference from the trained network on real slices: HU for a CT, of
    4095 grey levels for an MRI."""
    orientation: str = "z up, row 0 anterior, column 0 the patient's right"
    onnx_opset: int = OPSET
    size_multiple: int = MULTIPLE
    schema_version: int = SCHEMA_VERSION

    @property
    def source(self) -> Modality:
        """What the network is shown."""
        return "mri" if self.direction == "to_ct" else "ct"

    @property
    def target(self) -> Modality:
        """What the network makes."""
        return "ct" if self.direction == "to_ct" else "mri"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Model:
    """A verified model folder, its network ready to run."""

    info: ModelInfo
    network: Network
    """Images [B, C, H, W] in [-1, 1] to [B, 1, H, W] in [-1, 1]; H and W multiples of 4."""
    device: str = "cpu"
    """Where the network is."""


def read_model(folder: Path, form: Format = "safetensors", device: str = "cpu") -> Model:
    """Verify every byte of a model folder, then open its network.

    `form` is the file that runs: torch's weights, `onnx` (onnxruntime, CPU) or `pt2`.

    Raises:
        ModelError: The folder is no model folder, a file is damaged or missing, or it was written
            by a version or for an intensity mapping that this one does not know.
    """
    verify(folder)
    info = parse_info((folder / INFO).read_text(), folder)
    network = open_format(form, folder, len(info.inputs), info.generator, device)
    return Model(info=info, network=network, device=device)


def verify(folder: Path) -> None:
    """Compare every file of a model folder with SHA256SUMS."""
    if not (folder / SUMS).is_file():
        raise ModelError(
            f"{folder} is no model folder: it holds no {SUMS}. To make one from a run:\n"
            "  python -m cyclegan.export RUN_FOLDER"
        )
    listed, found = (folder / SUMS).read_bytes(), sums_of(folder)
    for name, line in zip(CONTENT, found, strict=True):
        if line not in listed.splitlines(keepends=True):
            state = "differs from" if (folder / name).is_file() else "is missing, and stands in"
            raise _damaged(folder, f"{name} {state} {SUMS}")
    if listed != b"".join(found):
        raise _damaged(folder, f"{SUMS} is not the list of {', '.join(CONTENT)}")


def sums_of(folder: Path) -> list[bytes]:
    """The lines of SHA256SUMS as `sha256sum` writes them; an absent file's line matches nothing."""
    lines = []
    for name in CONTENT:
        path = folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent"
        lines.append(f"{digest}  {name}\n".encode())
    return lines


def parse_info(text: str, folder: Path) -> ModelInfo:
    """The content of a `model.json`, refused where this version would misread it."""
    values = json.loads(text)
    version, direction = values.get("schema_version"), values.get("direction")
    if version != SCHEMA_VERSION:
        raise _other(folder, f"schema_version {version!r}", f"{SCHEMA_VERSION}")
    if direction not in get_args(Direction):
        raise _other(folder, f"direction {direction!r}", " or ".join(get_args(Direction)))
    try:
        info = from_mapping(ModelInfo, values, INFO)
    except (ConfigError, UsageError, TypeError) as error:
        raise _other(folder, str(error), "the fields of this version") from error
    assert isinstance(info, ModelInfo)
    if info.recipe.version != RECIPE_VERSION:
        raise _other(folder, f"preprocessing {info.recipe.version}", f"{RECIPE_VERSION}")
    if info.intensity != (known := Intensity(mri_contrast=info.intensity.mri_contrast)):
        raise _other(folder, f"intensity {info.intensity}", f"{known}")
    return info


def write_info(info: ModelInfo, folder: Path) -> None:
    """Write `model.json`."""
    (folder / INFO).write_text(json.dumps(asdict(info), indent=2) + "\n")


def publish(folder: Path, fill: Callable[[Path], None], *, overwrite: bool = False) -> None:
    """Let `fill` write a model's files into a hidden folder, then show it whole as `folder`.

    If `fill` raises, or the process dies in it, `folder` is what it was before.

    Raises:
        ModelError: `folder` exists and may not, or must not, be replaced.
    """
    if folder.exists():
        _check_replaceable(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = partial_path(folder), partial_path(folder)
    partial.mkdir()
    try:
        fill(partial)
        (partial / SUMS).write_bytes(b"".join(sums_of(partial)))
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors writes for its owner alone; a model is to be shared
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(partial)
        if folder.exists():
            folder.rename(old)  # a folder can only be renamed over an empty one
        try:
            partial.rename(folder)
        except OSError:
            old.rename(folder)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not overwrite:
        raise ModelError(
            f"{folder} exists already, and someone may be using it. Give another --out, or "
            "--overwrite to replace it."
        )
    if not (folder / SUMS).is_file() or {path.name for path in folder.iterdir()} - {*CONTENT, SUMS}:
        raise ModelError(
            f"{folder} holds other things than a model, which --overwrite would delete. "
            "Give another --out."
        )


def _damaged(folder: Path, found: str) -> ModelError:
    return ModelError(
        f"the model in {folder} is damaged: {found}. What it would make cannot be trusted. "
        "Copy the folder again from its source, or export it again:\n"
        "  python -m cyclegan.export RUN_FOLDER"
    )


def _other(folder: Path, found: str, known: str) -> ModelError:
    return ModelError(
        f"{folder / INFO} is of another version: found {found}, known is {known}. Values would "
        "come out wrong without a sign. Use the version of this project that wrote the model, or "
        "export it again:\n  python -m cyclegan.export RUN_FOLDER"
    )
