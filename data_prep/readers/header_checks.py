"""Header and affine checks that reject a file before it is read.

The formats with one file per volume share them. Those of DICOM are in `attribute_checks` and
`rescale`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mrct.errors import VolumeError
from mrct.imaging.volume import Affine, Grid

MAX_BYTES = 4 << 30
"""Largest volume, or pixel data of one DICOM file; more is an error or a decompression bomb."""
ASSUMED = "The file does not give its orientation; the default of its format was assumed."
_LEAST_DETERMINANT = 1e-3
_LEAST_VOXEL_MM, _MOST_VOXEL_MM = 0.01, 100.0
_MOST_EXTENT_MM = 3_000.0
"""A whole body, with room to spare."""
_MOST_VOXELS = 5_000
"""Along one axis: a whole body at 0.5 mm. Resampling takes memory by its square."""


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (x, y, z) of one volume; further axes must have the length 1."""
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise VolumeError(
            "not-3d",
            f"The file has {' x '.join(map(str, shape))} voxels, which is not one volume.",
            "Split a series into one file per volume and give the one that shows the anatomy.",
        )
    x, y, z = map(int, shape[:3])
    return x, y, z


def numbers(text: str, field: str, format_name: str) -> list[float]:
    """Return the finite numbers of a header's field, at least one."""
    try:
        found = [float(part) for part in text.split()]
    except ValueError:
        raise bad_header(format_name, f"{field} is not a list of numbers") from None
    if not found or not np.isfinite(found).all():
        raise bad_header(format_name, f"{field} is missing or not finite")
    return found


def sizes(text: str, field: str, format_name: str) -> list[int]:
    """Return the lengths of the axes in a header's field, each above 0."""
    found = numbers(text, field, format_name)
    if min(found) < 1 or any(n != int(n) for n in found):
        raise bad_header(format_name, f"{field} is not a list of axis lengths")
    return [int(n) for n in found]


def check_affine(affine: Affine) -> None:
    """Raise VolumeError for an affine that is not finite or maps all voxels into one plane."""
    axes = affine[:3, :3]
    with np.errstate(all="ignore"):
        # The determinant over the lengths is 1 for right angles and 0 for a flat voxel.
        flat = abs(np.linalg.det(axes)) <= _LEAST_DETERMINANT * np.linalg.norm(axes, axis=0).prod()
    if not np.isfinite(affine).all() or flat:
        raise VolumeError(
            "affine-unusable",
            f"The affine is singular or not finite: {affine[:3].round(3).tolist()}.",
            "Convert again from the DICOM source, or set the correct affine.",
        )


def check_extent(grid: Grid) -> None:
    """Raise VolumeError for a grid that no scan of a body has: too fine, too coarse or too long.

    Memory and disk space are estimated from it: unchecked, one damaged voxel size would make a
    whole conversion look impossible.
    """
    with np.errstate(over="ignore"):  # infinite, and refused as that
        spacing = np.array(grid.spacing_mm)
        extent = spacing * grid.shape
    is_voxel = spacing.min() >= _LEAST_VOXEL_MM and spacing.max() <= _MOST_VOXEL_MM
    if not (is_voxel and extent.max() <= _MOST_EXTENT_MM and max(grid.shape) <= _MOST_VOXELS):
        raise VolumeError(
            "extent-implausible",
            f"By its header the volume measures {_by(extent)} mm in {_by(grid.shape)} voxels of "
            f"{_by(spacing)} mm (z, y, x). A scan of a body has voxels of {_LEAST_VOXEL_MM:g} to "
            f"{_MOST_VOXEL_MM:g} mm, at most {_MOST_VOXELS:,} along an axis, and is at most "
            f"{_MOST_EXTENT_MM:,.0f} mm long.",
            "Copy the file again from its source, or convert it again from DICOM; correct voxel "
            "sizes that are not in millimetres.",
        )


def _by(sizes: Iterable[float]) -> str:
    return " x ".join(f"{size:.6g}" for size in sizes)


def check_number(kind: str, is_number: bool) -> None:
    """Raise VolumeError unless a voxel is one real number: not a colour, vector or complex one."""
    if not is_number:
        raise VolumeError(
            "voxel-type",
            f"Voxels are {kind}, not one real number each.",
            "Export the volume as integers or floats.",
        )


def bad_header(format_name: str, found: str) -> VolumeError:
    """Return the error for a header that contradicts itself, the format or the file's size."""
    return VolumeError(
        "header-damaged",
        f"The {format_name} header is not usable: {found}.",
        "Copy the file again from its source, or convert it again from DICOM.",
    )


def no_affine(found: str) -> VolumeError:
    """Return the error for a file without orientation and position."""
    return VolumeError(
        "no-affine",
        f"{found}: orientation and position are unknown, and left and right could be swapped.",
        "Convert again from the DICOM source, or set the correct affine; if the axes are known to "
        "be the format's default, give --assume-affine.",
    )


def detached(found: str) -> VolumeError:
    """Return the error for header and voxels in two files, which could be mixed up."""
    return VolumeError(
        "detached-data",
        f"{found}: the two could be mixed up, and a header could name any file of this machine.",
        "Convert it to one file, e.g. .nii.gz, with the tool that wrote it.",
    )


def damaged_stream(packing: str, found: object) -> VolumeError:
    """Return the error for a compressed stream that is truncated or has a wrong checksum."""
    words = str(found).partition(" (b")[0]  # gzip quotes the file's first bytes
    return VolumeError(
        f"{packing}-damaged",
        f"The {packing} stream is damaged ({words}): voxels would be wrong without any error.",
        "Copy the file again from its source.",
    )
