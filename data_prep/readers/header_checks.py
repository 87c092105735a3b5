"""What speaks against making a volume of a file's header or affine; it opens no file.

Shared by the formats of one file per volume. What is said of DICOM stands in `series_faults` and
`rescale`.
"""

from collections.abc import Sequence

import numpy as np

from mrct.errors import VolumeError
from mrct.imaging.volume import Affine

MAX_BYTES = 4 << 30
"""Above this a volume, or the pixels of one DICOM file, is a mistake or a bomb."""
ASSUMED = "The file does not say where its axes point; they were taken as the format's default."
_LEAST_DETERMINANT = 1e-3


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(x, y, z) of one volume; further axes may only have the length 1."""
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise VolumeError(
            "not-3d",
            f"The file holds {' x '.join(map(str, shape))} voxels, not one volume.",
            "Split a series into one file per volume and give the one that shows the anatomy.",
        )
    x, y, z = map(int, shape[:3])
    return x, y, z


def numbers(text: str, field: str, format_name: str) -> list[float]:
    """The finite numbers of a header's field, one at least."""
    try:
        found = [float(part) for part in text.split()]
    except ValueError:
        raise bad_header(format_name, f"{field} is no list of numbers") from None
    if not found or not np.isfinite(found).all():
        raise bad_header(format_name, f"{field} is missing or not finite")
    return found


def sizes(text: str, field: str, format_name: str) -> list[int]:
    """The lengths of axes in a header's field, each above 0."""
    found = numbers(text, field, format_name)
    if min(found) < 1 or any(n != int(n) for n in found):
        raise bad_header(format_name, f"{field} are no lengths of axes")
    return [int(n) for n in found]


def check_affine(affine: Affine) -> None:
    """Refuse an affine that would put voxels nowhere, or all into one plane."""
    axes = affine[:3, :3]
    with np.errstate(all="ignore"):
        # The determinant over the lengths is 1 for right angles and 0 for a flat voxel.
        flat = abs(np.linalg.det(axes)) <= _LEAST_DETERMINANT * np.linalg.norm(axes, axis=0).prod()
    if not np.isfinite(affine).all() or flat:
        raise VolumeError(
            "affine-unusable",
            f"The affine has no volume or is not finite: {affine[:3].round(3).tolist()}.",
            "Convert again from the DICOM source, or set the right affine.",
        )


def check_number(kind: str, is_number: bool) -> None:
    """Refuse voxels that are not one number each: colours, vectors, complex numbers."""
    if not is_number:
        raise VolumeError(
            "voxel-type",
            f"Voxels are {kind}, not one number each.",
            "Export the volume as integers or floats.",
        )


def bad_header(format_name: str, found: str) -> VolumeError:
    """The header contradicts itself, the format or the bytes on disk."""
    return VolumeError(
        "header-damaged",
        f"The {format_name} header is not usable: {found}.",
        "Copy the file again from its source, or convert it again from DICOM.",
    )


def no_affine(found: str) -> VolumeError:
    """Nobody says where the voxels lie."""
    return VolumeError(
        "no-affine",
        f"{found}: orientation and position are unknown, and left and right could be swapped.",
        "Convert again from the DICOM source, or set the right affine; where the axes are known "
        "to be the format's default, give --assume-affine.",
    )


def detached(found: str) -> VolumeError:
    """Header and voxels are in two files, which could be mixed up."""
    return VolumeError(
        "detached-data",
        f"{found}: the two can be mixed up, and a header could name any file of this machine.",
        "Convert it to one file, e.g. .nii.gz, with the tool that wrote it.",
    )


def damaged_stream(packing: str, found: object) -> VolumeError:
    """A compressed stream does not reach its checksum, or not that one."""
    words = str(found).partition(" (b")[0]  # gzip quotes the file's first bytes
    return VolumeError(
        f"{packing}-damaged",
        f"The {packing} stream is damaged ({words}): voxels would be wrong without a sign.",
        "Copy the file again from its source.",
    )
