"""Estimates how many bytes a conversion adds to its store, and checks that they fit."""

import math
from collections.abc import Collection, Mapping

import numpy as np

from data_prep.convert.header_scan import ScannedHeader
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.errors import StorageFullError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid
from mrct.storage.paths import StoragePath

BYTES_PER_VOXEL: Mapping[Modality, float] = {"mri": 0.62, "ct": 0.72}
"""Image and body mask together, compressed: means of 6 and 10 real heads at 3 x 1 x 1 mm, which
had 0.55 to 0.98."""
_BYTES_BESIDE = 9_000
"""Metadata and commit record of a volume."""


def stored_slices(grid: Grid, slice_mm: float) -> int:
    """Return the number of slices that a volume has in the store."""
    upright = int(np.abs(grid.affine[2, :3] / grid.spacing_mm[::-1]).argmax())  # x, y or z
    extent_mm = grid.shape[2 - upright] * grid.spacing_mm[2 - upright]
    return max(1, math.ceil(extent_mm / slice_mm - 1e-3))


def bytes_needed(
    previews: Collection[ScannedHeader],
    spec: PreprocessingSpec,
    bytes_per_voxel: Mapping[Modality, float] = BYTES_PER_VOXEL,
) -> int:
    """Estimate the growth of the store; the CT of a pair gets the slices of its MRI."""
    to_come = [(each.source, each.grid) for each in previews if each.grid]
    of_pair: dict[str | None, Grid] = {
        source.pair: grid for source, grid in to_come if source.pair and source.modality == "mri"
    }
    rows, columns = spec.size
    needed = 0.0
    for source, own in to_come:
        slices = stored_slices(of_pair.get(source.pair, own), spec.spacing_mm[0])
        needed += slices * rows * columns * bytes_per_voxel[source.modality] + _BYTES_BESIDE
    return round(needed)


def check_space(needed: int, out: StoragePath) -> None:
    """Raise StorageFullError if the new volumes do not fit."""
    free = out.bytes_free()
    if free is not None and needed > free:
        raise StorageFullError(
            f"The store does not fit: its new volumes need about {in_units(needed)}, and the file "
            f"system of {out} has {in_units(free)} free. No volume was converted. Free "
            f"{in_units(needed - free)} or more, give an --out on another file system, or choose "
            "larger voxels (--spacing-mm) or smaller slices (--size). "
            "--dry-run measures the required space on one volume."
        )


def in_units(size_bytes: float) -> str:
    """Format a number of bytes, as in 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.4g} GiB"
