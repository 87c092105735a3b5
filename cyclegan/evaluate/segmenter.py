"""Segment CTs with a user's command that reads a CT and writes masks.

TotalSegmentator, or any other segmenter, is not a dependency of this project.
"""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.errors import DataError
from cyclegan.metrics.paired_scores import dice, hd95_mm
from data_prep.readers.label_file import read_labels
from data_prep.readers.nifti import NIFTI_SUFFIXES, write_nifti
from mrct.errors import UsageError
from mrct.imaging.volume import Affine

EXAMPLE = "TotalSegmentator -i {ct} -o {out} --fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureScores:
    """Scores of one structure: synthetic against real CT, both segmented by the same command."""

    volume: str
    subject: str
    method: str
    structure: str
    dice: float
    hd95_mm: float | None
    """None if one of the two CTs lacks the structure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenter:
    """A command with `{ct}` for the CT's path (.nii.gz, HU) and `{out}` for an empty folder.

    Every .nii or .nii.gz file below that folder is one structure, named after the file, if it
    contains 0 and 1 only, else one for each of its labels. The command does not run in a shell.
    """

    command: str

    def __post_init__(self) -> None:
        words = shlex.split(self.command)
        lacking = [name for name in ("{ct}", "{out}") if not any(name in word for word in words)]
        if lacking or not shutil.which(words[0]):
            found = f"it lacks {' and '.join(lacking)}" if lacking else f"there is no {words[0]}"
            raise UsageError(
                f"--segmenter {self.command!r} cannot be run: {found}. Give a command with "
                f"placeholders for the CT and for the folder of its masks, such as '{EXAMPLE}'."
            )

    def structures(self, hu: NDArray[Any], affine: Affine) -> dict[str, NDArray[np.bool_]]:
        """Segment a CT [z, y, x] in HU; return masks by file and label (`lung 1`).

        Raises:
            DataError: The command failed, wrote no mask, or wrote one of another shape.
        """
        with tempfile.TemporaryDirectory(prefix="segmenter-") as folder:
            ct, out = Path(folder) / "ct.nii.gz", Path(folder) / "out"
            out.mkdir()
            write_nifti(ct, np.rint(hu).astype(np.int16), affine)
            words = [
                word.replace("{ct}", str(ct)).replace("{out}", str(out))
                for word in shlex.split(self.command)
            ]
            ended = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
            if ended.returncode:
                said = (ended.stderr or ended.stdout).strip().splitlines()[-1:]
                raise DataError(
                    f"The segmenter {words[0]} failed with exit code {ended.returncode}: "
                    f"{''.join(said) or 'it printed nothing'}. Run it alone on a CT to see why."
                )
            return dict(_masks_in(out, hu.shape))


def compare_structures(
    synthetic: dict[str, NDArray[np.bool_]],
    real: dict[str, NDArray[np.bool_]],
    seen: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> dict[str, tuple[float, float | None]]:
    """Return Dice and HD95 in mm of every structure that at least one of the CTs has within `seen`.

    A structure that one of them lacks has Dice 0 and no distance.
    """
    nothing = np.zeros_like(seen)
    scores = {}
    for name in sorted(synthetic.keys() | real.keys()):
        ours, theirs = (masks.get(name, nothing) & seen for masks in (synthetic, real))
        if ours.any() or theirs.any():
            scores[name] = dice(ours, theirs), hd95_mm(ours, theirs, spacing_mm)
    return scores


def simplify_names(scores: Sequence[StructureScores]) -> Iterator[StructureScores]:
    """Rename structures: a file with the label 1 only, in every CT, is one structure named after
    it.

    All CTs are needed: one without bone may have label 1 alone in a map where bone is 2.
    """
    files = {each.structure.rpartition(" ")[::2] for each in scores}
    maps = {file for file, label in files if label != "1"}
    for each in scores:
        file, _, _ = each.structure.rpartition(" ")
        yield each if file in maps else replace(each, structure=file)


def _masks_in(folder: Path, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(NIFTI_SUFFIXES))
    if not files:
        raise DataError(
            f"The segmenter wrote no {' or '.join(NIFTI_SUFFIXES)} file into the folder that "
            f"replaces {{out}} in its command. Let it write its masks there."
        )
    for path in files:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        try:
            labels = read_labels(path)
        except ValueError as error:
            raise DataError(f"{path.name} of the segmenter cannot be used: {error}") from error
        if labels.shape != shape:
            raise DataError(
                f"{path.name} of the segmenter has {labels.shape} voxels (z, y, x), but its CT has "
                f"{shape}. Let it write masks on the CT's own grid."
            )
        for value in np.unique(labels[labels != 0]):
            yield f"{name} {value}", labels == value
