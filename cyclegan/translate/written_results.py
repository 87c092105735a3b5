"""Where a result lies, how it is written whole or not at all, and how one that is there is known.

A result is a NIfTI file or a folder with a DICOM series. Beside it lie, where they are asked for,
`<name>_uncertainty.nii.gz` and `<name>_preview.png`; they are written before it, so where it is,
they are.
"""

import hashlib
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyclegan.translate.dicom_ct import Making, ct_files, derivation_of
from cyclegan.translate.dicom_source import Origin
from data_prep.readers.nifti import DESCRIPTION_LENGTH, read_description, write_nifti
from mrct.errors import VolumeError
from mrct.imaging.volume import Affine, Modality
from mrct.storage.atomic import PARTIAL, whole_folder

_LITTER_AGE_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Where one synthetic volume goes."""

    out: Path = field(repr=False)
    name: str
    target: Modality
    is_dicom: bool

    @property
    def path(self) -> Path:
        """The NIfTI file, or the folder of the DICOM series."""
        return self._beside(f"synthetic-{self.target}{'' if self.is_dicom else '.nii.gz'}")

    @property
    def uncertainty(self) -> Path:
        """A NIfTI file, whatever the result is."""
        return self._beside("uncertainty.nii.gz")

    @property
    def preview(self) -> Path:
        """A picture."""
        return self._beside("preview.png")

    def _beside(self, ending: str) -> Path:
        return self.out / f"{self.name}_{ending}"

    def made_of(self) -> str:
        """What a result that is there says of its making; empty where there is none of ours."""
        if self.path.is_dir():
            return derivation_of(self.path)
        return read_description(self.path) if self.path.is_file() else ""

    def mark_of(self, making: Making) -> str:
        """What the result says of its making. A NIfTI header has little room: what is longer ends
        with a digest of all of it."""
        if self.is_dicom or len(making.text) <= DESCRIPTION_LENGTH:
            return making.text
        digest = hashlib.sha256(making.text.encode()).hexdigest()[:16]
        return f"{making.text[: DESCRIPTION_LENGTH - 17]} {digest}"

    def check_replaceable(self) -> None:
        """Raise VolumeError where something other than a result would be replaced."""
        if self.path.is_dir() and not self.made_of() and any(self.path.iterdir()):
            raise VolumeError(
                "other-result",
                "A folder of the result's name is there and holds something else.",
                "Move it away, or give another --out.",
            )


def write_volume(
    result: Result,
    voxels: NDArray[np.int16],
    affine: Affine,
    making: Making,
    origin: Origin | None,
) -> None:
    """Write the synthetic volume [z, y, x]; `origin` is for DICOM."""
    if not result.is_dicom:
        write_nifti(result.path, voxels, affine, result.mark_of(making))
        return
    assert origin is not None
    with whole_folder(result.path) as partial:
        for name, content in ct_files(voxels, affine, origin, making):
            (partial / name).write_bytes(content)


def sweep(out: Path) -> None:
    """Remove what a killed run left, and not what another one may be writing now."""
    for litter in out.glob(f"{PARTIAL}*"):
        if time.time() - litter.stat().st_mtime > _LITTER_AGE_S:
            if litter.is_dir():
                shutil.rmtree(litter, ignore_errors=True)
            else:
                litter.unlink(missing_ok=True)
