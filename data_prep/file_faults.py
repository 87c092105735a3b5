"""What speaks against making a volume of a file's header, affine or voxels; it opens no file.

Shared by the formats of one file per volume. What is said of DICOM stands in `series_faults` and
`rescale`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import VolumeError
from data_prep.volume import Affine, Modality

MAX_BYTES = 4 << 30
"""Above this a head volume is a mistake or a bomb."""
ASSUMED = "The file does not say where its axes point; they were taken as the format's default."
_AIR_HU = -300.0
_LEAST_BODY = 1e-3
"""Of a CT's voxels above _AIR_HU; the sparsest of the real heads has 0.05."""
_MOST_BELOW_AIR = 0.05
"""Of an MR's voxels, as `rescale` has it for DICOM."""
_JUNK_DEPTH = 1.0
"""An MR voxel lies further below zero than this many times the 99.9th percentile above it: an
overflow or a phase picture. Filtered magnitudes stay far from that."""
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


def check_voxels(voxels: NDArray[np.float32], modality: Modality) -> None:
    """Refuse voxels that show nothing, or that are no HU and no magnitudes."""
    finite = np.isfinite(voxels)
    if not finite.all():
        count = int((~finite).sum())
        raise VolumeError(
            "not-finite",
            f"{count:,} voxels ({count / voxels.size:.2%}) are NaN or infinite.",
            "Repair the step that wrote them; they have no value to train on.",
        )
    if voxels.min() == voxels.max():
        raise VolumeError(
            "constant",
            f"Every voxel is {voxels.flat[0]:g}.",
            "Look at the file: it holds no picture.",
        )
    if modality == "ct":
        body = float((voxels > _AIR_HU).mean())
        if body < _LEAST_BODY:
            raise VolumeError(
                "all-air",
                f"Of this CT {1 - body:.2%} is air (below {_AIR_HU:g} HU).",
                "Look at the file: the body lies outside, or the numbers are no HU.",
            )
        return
    low = float((voxels < _AIR_HU).mean())
    if low > _MOST_BELOW_AIR:
        raise VolumeError(
            "modality-conflict",
            f"{low:.0%} of this MR's voxels are below {_AIR_HU:g}, as only a CT's air is.",
            "Give it as a CT, or leave it out.",
        )
    bright = float(np.percentile(voxels, 99.9))
    junk = float((voxels < -_JUNK_DEPTH * max(bright, 0.0)).mean())
    if junk:
        raise VolumeError(
            "negative-magnitudes",
            f"{junk:.3%} of this MR's voxels lie further below zero (lowest {voxels.min():g}) than "
            f"its bright tissue above ({bright:g}): magnitudes are not negative, so numbers "
            "overflowed or this is a phase picture.",
            "Convert again from the DICOM source, or give the magnitude picture.",
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
    return VolumeError(
        f"{packing}-damaged",
        f"The {packing} stream is damaged ({found}): voxels would be wrong without a sign.",
        "Copy the file again from its source.",
    )
