"""Converts arrays [z, y, x] to SimpleITK images, and holds SimpleITK to one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

Values = NDArray[Any]
Millimetres = tuple[float, float, float]


def image_of(
    voxels: Values, spacing_mm: Millimetres, origin_mm: Millimetres = (0.0, 0.0, 0.0)
) -> Any:
    """Return voxels [z, y, x] as a SimpleITK image; spacing and origin are (z, y, x)."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(origin_mm[::-1])
    return image


@contextmanager
def single_thread() -> Iterator[None]:
    """Let SimpleITK use one thread during the block, so that equal input gives equal bits.

    A metric takes its number of threads from this global setting, not from its method.
    """
    import SimpleITK

    threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
