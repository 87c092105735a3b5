"""Converts arrays [z, y, x] to SimpleITK images."""

from typing import Any

from numpy.typing import NDArray

Values = NDArray[Any]
Millimetres = tuple[float, float, float]


def image_of(voxels: Values, spacing_mm: Millimetres) -> Any:
    """Return voxels [z, y, x] with spacing (z, y, x) as a SimpleITK image."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing_mm[::-1])
    return image
