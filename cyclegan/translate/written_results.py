"""The files of a result: their paths, atomic writing, and how an existing result is recognised.

A result is a NIfTI file or a folder with a DICOM series. `<name>_uncertainty.nii.gz` and
`<name>_preview.png`, if requested, are written beside it and before it, so that they exist if it
does.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyclegan.translate.dicom_ct import SyntheticSeriesMetadata, ct_files, derivation_of
from cyclegan.translate.dicom_source import Origin
from data_prep.readers.nifti import DESCRIPTION_LENGTH, read_description, write_nifti
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Affine
from mrct.storage.atomic import whole_folder

PRIVATE = 0o600
"""Mode of the files of results: a head can be recognised, and DICOM names the patient."""
_LABEL_BYTES = 150
"""Longest part of a file name that is an input's own name: 255 bytes are usual for all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenResult:
    """The paths of one synthetic volume."""

    out: Path = field(repr=False)
    name: str
    target: Modality
    is_dicom: bool

    @property
    def path(self) -> Path:
        """Path of the NIfTI file, or of the folder of the DICOM series."""
        return self._beside(f"synthetic-{self.target}{'' if self.is_dicom else '.nii.gz'}")

    @property
    def uncertainty(self) -> Path:
        """Path of the uncertainty, always a NIfTI file."""
        return self._beside("uncertainty.nii.gz")

    @property
    def preview(self) -> Path:
        """Path of the preview image."""
        return self._beside("preview.png")

    def _beside(self, ending: str) -> Path:
        return self.out / f"{self.name}_{ending}"

    def made_of(self) -> str:
        """Return the derivation text of an existing result; empty if there is none of this
        project."""
        if self.path.is_dir():
            return derivation_of(self.path)
        return read_description(self.path) if self.path.is_file() else ""

    def mark_of(self, metadata: SyntheticSeriesMetadata) -> str:
        """Return the derivation text to store. In a NIfTI header, whose field is short, a longer
        text is cut and ends with its digest."""
        if self.is_dicom or len(metadata.text) <= DESCRIPTION_LENGTH:
            return metadata.text
        digest = hashlib.sha256(metadata.text.encode()).hexdigest()[:16]
        return f"{metadata.text[: DESCRIPTION_LENGTH - 17]} {digest}"

    def check_replaceable(self) -> None:
        """Raise VolumeError if something other than a result would be replaced."""
        if self.path.is_dir() and not self.made_of() and any(self.path.iterdir()):
            raise VolumeError(
                "other-result",
                "A folder with the name of the result exists and contains something else.",
                "Move it away, or give another --out.",
            )


def short_label(label: str) -> str:
    """Return the name of an input, cut and ended by its digest if it is too long for a file."""
    content = label.encode("utf-8", "surrogateescape")
    if len(content) <= _LABEL_BYTES:
        return label
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{content[: _LABEL_BYTES - 17].decode('utf-8', 'ignore')}-{digest}"


def write_result(
    result: WrittenResult,
    voxels: NDArray[np.int16],
    affine: Affine,
    metadata: SyntheticSeriesMetadata,
    origin: Origin | None,
) -> None:
    """Write the synthetic volume [z, y, x], for its owner only; `origin` is for DICOM."""
    if not result.is_dicom:
        write_nifti(result.path, voxels, affine, result.mark_of(metadata), mode=PRIVATE)
        return
    assert origin is not None
    with whole_folder(result.path, mode=0o700) as partial:
        for name, content in ct_files(voxels, affine, origin, metadata):
            (partial / name).touch(PRIVATE)
            (partial / name).write_bytes(content)
