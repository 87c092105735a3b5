"""Publish, verify and read exported model folders.

A model folder is all that `translate` needs. A folder of both directions contains two complete
model folders, `to_ct` and `to_mri`.
"""

import glob
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cyclegan.contrast.table_file import TABLE_FILE
from cyclegan.errors import ModelError, NoModelError
from cyclegan.export.formats import FILES, Format, open_format
from cyclegan.export.metadata import DIRECTIONS, INFO, Direction, ModelInfo, parse_info
from cyclegan.inference.slices import Network
from data_prep.store.subject_record import SUBJECTS_FILE
from mrct.storage.atomic import remove_abandoned, restore_replaced, whole_folder
from mrct.storage.local_path import make_output_folder

CARD, SUMS, PICTURE = "README.md", "SHA256SUMS", "example.png"
CONTENT = sorted([*FILES.values(), INFO, CARD, SUBJECTS_FILE])
"""The files that SHA256SUMS lists, and PICTURE if there is one."""
TABLE_CONTENT = sorted([TABLE_FILE, INFO, CARD, SUBJECTS_FILE])
"""The same of a contrast table (`table_model.py`)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExportedModel:
    """A verified model folder, its network ready to run."""

    info: ModelInfo
    network: Network
    """Images [B, C, H, W] in [-1, 1] to [B, 1, H, W] in [-1, 1]; H and W multiples of 4."""
    device: str = "cpu"
    """Device of the network."""


def model_folder_of(folder: Path, direction: Direction | None) -> Path:
    """Return the model folder of one direction: `folder` itself, or a subfolder of a folder of
    both.

    Without a direction it is the only model, or, of both, the model that synthesises CT. A folder
    that a killed export was replacing is put back first.

    Raises:
        ModelError: There is no model folder of this direction.
    """
    if not folder.exists():
        restore_replaced(folder.parent, glob.escape(folder.name))
    inside = _inside(folder)
    if inside and not (folder / SUMS).is_file():
        if direction in (None, *inside):
            return folder / (direction or inside[0])
        raise ModelError(f"{folder} contains no {direction} model, only {', '.join(inside)}.")
    return folder


def is_of_both(folder: Path) -> bool:
    """Return whether a folder contains the models of both directions."""
    return len(_inside(folder)) == len(DIRECTIONS)


def _inside(folder: Path) -> list[Direction]:
    return [name for name in DIRECTIONS if (folder / name / SUMS).is_file()]


def read_model(folder: Path, form: Format = "safetensors", device: str = "cpu") -> ExportedModel:
    """Verify every byte of a model folder, then open its network.

    Args:
        folder: The model folder of one direction; see `model_folder_of`.
        form: The file to run: torch's weights, `onnx` (onnxruntime, CPU) or `pt2`.
        device: Device of the network, such as `cpu` or `cuda`.

    Raises:
        ModelError: The folder is not a model folder, a file is damaged or missing, or it was
            written by an unknown version or for an unknown intensity mapping.
    """
    if TABLE_FILE in content_of(folder):
        raise ModelError(
            f"{folder} is a contrast table and has no network. `python -m cyclegan.translate` runs "
            "it; `python -m cyclegan.evaluate` scores it in the run that it was exported from."
        )
    verify_model(folder)
    info = parse_info((folder / INFO).read_bytes(), folder)
    network = open_format(form, folder, len(info.inputs), info.generator, device)
    return ExportedModel(info=info, network=network, device=device)


def verify_model(folder: Path) -> None:
    """Compare every file of a model folder with SHA256SUMS."""
    if not (folder / SUMS).is_file():
        raise NoModelError(
            f"{folder} is not a model folder: it contains no {SUMS}. To export one from a run:\n"
            "  python -m cyclegan.export RUN_FOLDER"
        )
    listed, found = (folder / SUMS).read_bytes(), sums_of(folder)
    content = content_of(folder)
    for name, line in zip(content, found, strict=True):
        if line not in listed.splitlines(keepends=True):
            state = "differs from" if (folder / name).is_file() else "is missing, but listed in"
            raise _damaged(folder, f"{name} {state} {SUMS}")
    if listed != b"".join(found):
        raise _damaged(folder, f"{SUMS} is not the list of {', '.join(content)}")


def content_of(folder: Path) -> list[str]:
    """Return the names of the files of a model folder, without SHA256SUMS: those of a table, and
    the picture, if it lists them or, before it is written, if they are there."""
    sums = folder / SUMS
    listed = sums.read_bytes() if sums.is_file() else None

    def is_there(name: str) -> bool:
        return name.encode() in listed if listed is not None else (folder / name).is_file()

    content = TABLE_CONTENT if is_there(TABLE_FILE) else CONTENT
    return sorted([*content, PICTURE]) if is_there(PICTURE) else content


def sums_of(folder: Path) -> list[bytes]:
    """Return the lines of SHA256SUMS in the format of `sha256sum`; the line of an absent file
    matches nothing."""
    lines = []
    for name in content_of(folder):
        path = folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent"
        lines.append(f"{digest}  {name}\n".encode())
    return lines


def publish_folder(folder: Path, fill: Callable[[Path], None], *, overwrite: bool = False) -> None:
    """Publish `folder` atomically: `fill` writes into a hidden folder, which is then renamed.

    `fill` writes the files of one model, or those of two into the subfolders `to_ct` and `to_mri`.

    If `fill` raises, or the process is killed meanwhile, `folder` is unchanged. What killed
    processes left beside it is removed.

    Raises:
        ModelError: `folder` exists and may not, or must not, be replaced; also if another process
            has made it meanwhile.
    """
    exists = ModelError(
        f"{folder} already exists, and may be in use. Give another --out, or --overwrite to "
        "replace it."
    )
    make_output_folder(folder.parent)
    remove_abandoned(folder.parent, glob.escape(folder.name))
    if folder.exists():
        if not overwrite:
            raise exists
        _check_replaceable(folder)
    try:
        with whole_folder(folder, replace=overwrite) as partial:
            fill(partial)
            for part in _parts(partial):
                (part / SUMS).write_bytes(b"".join(sums_of(part)))
                for path in part.iterdir():
                    path.chmod(0o644)  # whatever the umask: models are shared
    except FileExistsError as error:
        raise exists from error


def _check_replaceable(folder: Path) -> None:
    parts = _parts(folder)
    others = {path.name for path in folder.iterdir()} - {part.name for part in parts}
    if parts == [folder]:
        others = set()
    for part in parts:
        others |= {path.name for path in part.iterdir()} - {*content_of(part), SUMS}
    if others or not all((part / SUMS).is_file() for part in parts):
        raise ModelError(
            f"{folder} contains files that are not part of a model, which --overwrite would "
            "delete. Give another --out."
        )


def _parts(folder: Path) -> list[Path]:
    """Return the model folders in `folder`: itself, or one for each direction."""
    return [folder / name for name in DIRECTIONS if (folder / name).is_dir()] or [folder]


def _damaged(folder: Path, found: str) -> ModelError:
    return ModelError(
        f"The model in {folder} is damaged: {found}. Its results cannot be trusted. Copy the "
        "folder again from its source, or export it again:\n"
        "  python -m cyclegan.export RUN_FOLDER"
    )
