"""The formats of one file per volume: which suffix is whose, and one way to read them all.

DICOM, where a volume is many files, is `data_prep.dicom.series`.
"""

import math
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path

from data_prep.readers import metaimage, nifti, nrrd
from data_prep.readers.file_state import unreadable
from data_prep.readers.header_checks import ASSUMED, detached
from data_prep.readers.metaimage import read_metaimage_header
from data_prep.readers.nifti import nifti_grid, nifti_shape, read_nifti
from data_prep.readers.nrrd import read_nrrd_header
from data_prep.readers.raw_voxels import FileHeader, read_voxels
from data_prep.readers.value_checks import check_values
from mrct.imaging.volume import Grid, Modality, Note, Volume, silent

DETACHED_SUFFIXES = (".hdr", ".mhd", ".nhdr")
"""Headers whose voxels lie in another file: found, and refused with a reason."""
VOLUME_SUFFIXES = (
    *nifti.NIFTI_SUFFIXES,
    *metaimage.METAIMAGE_SUFFIXES,
    *nrrd.NRRD_SUFFIXES,
    *DETACHED_SUFFIXES,
)
"""Of all files that are taken for a volume, in lower case."""


def stem_of(name: str) -> str:
    """A file's name without the suffix of its format."""
    suffix = max((s for s in VOLUME_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]


def read_file(
    path: Path,
    *,
    modality: Modality,
    pseudonym: str,
    assume_affine: bool = False,
    note: Note = silent,
) -> Volume:
    """The volume of a `.nii`, `.nii.gz`, `.mha` or `.nrrd` file, as float32.

    `assume_affine` takes a file that does not say where its axes point to have its format's
    default. Raises VolumeError for whatever cannot be used.
    """
    read_header = _reader_of(path)
    if read_header is None:
        volume = read_nifti(
            path, modality=modality, pseudonym=pseudonym, assume_affine=assume_affine, note=note
        )
    else:
        try:
            with path.open("rb") as stream:
                header = read_header(stream, assume_affine)
                voxels = read_voxels(stream, header)
        except OSError as error:
            raise unreadable(error) from error
        if header.is_affine_assumed:
            note(ASSUMED)
        volume = Volume(voxels=voxels, affine=header.affine, modality=modality, pseudonym=pseudonym)
    check_values(volume.voxels, modality, note)
    return volume


def read_grid(path: Path, *, assume_affine: bool = False) -> Grid:
    """Where a file's voxels lie, by its header; raises VolumeError for what that rules out."""
    read_header = _reader_of(path)
    if read_header is None:
        return nifti_grid(path, assume_affine=assume_affine)
    try:
        with path.open("rb") as stream:
            header = read_header(stream, assume_affine)
    except OSError as error:
        raise unreadable(error) from error
    x, y, z = header.shape
    return Grid(shape=(z, y, x), affine=header.affine)


def decoded_bytes(path: Path) -> int:
    """What the voxels take as float32 by the header's claim, which need not be true."""
    read_header = _reader_of(path)
    try:
        if read_header is None:
            return 4 * math.prod(nifti_shape(path))
        with path.open("rb") as stream:
            return 4 * math.prod(read_header(stream, True).shape)
    except OSError as error:
        raise unreadable(error) from error


def _reader_of(path: Path) -> Callable[[BufferedIOBase, bool], FileHeader] | None:
    """What reads the header; None for NIfTI, which has a library of its own."""
    suffix = path.suffix.lower()
    if suffix in DETACHED_SUFFIXES:
        raise detached(f"A {suffix} file is a header alone")
    if suffix in metaimage.METAIMAGE_SUFFIXES:
        return read_metaimage_header
    if suffix in nrrd.NRRD_SUFFIXES:
        return read_nrrd_header
    return None
