"""Reads all formats with one file per volume, selected by suffix.

`data_prep.dicom.series` reads DICOM, where a volume is many files.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path

from data_prep.readers import metaimage, nifti, nrrd
from data_prep.readers.file_state import unreadable
from data_prep.readers.header_checks import ASSUMED, check_extent, detached
from data_prep.readers.metaimage import read_metaimage_header
from data_prep.readers.nifti import nifti_grid, nifti_shape, read_nifti
from data_prep.readers.nrrd import read_nrrd_header
from data_prep.readers.raw_voxels import FileHeader, check_size, read_voxels
from data_prep.readers.value_checks import check_values, fill_as_air
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid, Note, Volume, ignore_note

DETACHED_SUFFIXES = (".hdr", ".mhd", ".nhdr")
"""Headers whose voxels lie in another file; they are found and refused."""
VOLUME_SUFFIXES = (
    *nifti.NIFTI_SUFFIXES,
    *metaimage.METAIMAGE_SUFFIXES,
    *nrrd.NRRD_SUFFIXES,
    *DETACHED_SUFFIXES,
)
"""Suffixes of all files that are taken for a volume, in lower case."""


def stem_of(name: str) -> str:
    """Return a file's name without the suffix of its format."""
    suffix = max((s for s in VOLUME_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]


def read_file(
    path: Path,
    *,
    modality: Modality,
    pseudonym: str,
    assume_affine: bool = False,
    note: Note = ignore_note,
) -> Volume:
    """Read the volume of a `.nii`, `.nii.gz`, `.mha` or `.nrrd` file, as float32.

    With `assume_affine` a file without an orientation gets the default of its format. Raises
    VolumeError if the file cannot be used.
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
    check_extent(volume.grid)
    volume = replace(volume, voxels=fill_as_air(volume.voxels, modality, note))
    check_values(volume.voxels, modality, note)
    return volume


def read_grid(path: Path, *, assume_affine: bool = False) -> Grid:
    """Return the grid of a file according to its header; raises VolumeError if it is unusable."""
    if _reader_of(path) is None:
        grid = nifti_grid(path, assume_affine=assume_affine)
    else:
        header = _checked_header(path, assume_affine)
        x, y, z = header.shape
        grid = Grid(shape=(z, y, x), affine=header.affine)
    check_extent(grid)
    return grid


def decoded_bytes(path: Path) -> int:
    """Return the size of the voxels as float32 according to the header.

    Raises VolumeError if the file is too small for them.
    """
    is_nifti = _reader_of(path) is None
    return 4 * math.prod(nifti_shape(path) if is_nifti else _checked_header(path, True).shape)


def _checked_header(path: Path, assume_affine: bool) -> FileHeader:
    """Return the header of a MetaImage or NRRD file that is large enough for it."""
    read_header = _reader_of(path)
    assert read_header
    try:
        with path.open("rb") as stream:
            header = read_header(stream, assume_affine)
            check_size(stream, header)
            return header
    except OSError as error:
        raise unreadable(error) from error


def _reader_of(path: Path) -> Callable[[BufferedIOBase, bool], FileHeader] | None:
    """Return the function that reads the header; None for NIfTI, which nibabel reads."""
    suffix = path.suffix.lower()
    if suffix in DETACHED_SUFFIXES:
        raise detached(f"A {suffix} file contains only a header")
    if suffix in metaimage.METAIMAGE_SUFFIXES:
        return read_metaimage_header
    if suffix in nrrd.NRRD_SUFFIXES:
        return read_nrrd_header
    return None
