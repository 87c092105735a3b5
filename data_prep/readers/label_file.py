"""Label files [z, y, x], such as a segmenter of the user's wrote."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_labels(path: Path) -> NDArray[np.int32]:
    """A label file [z, y, x] in any format of ITK's, such as a segmenter of the user's wrote.

    Raises ValueError where it cannot be read or its values are no whole numbers.
    """
    import SimpleITK as sitk  # noqa: N813

    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError("it is damaged or no image") from error
    labels: NDArray[np.int32] = np.rint(values).astype(np.int32)
    if labels.ndim != 3 or not np.array_equal(labels, values):
        raise ValueError("it is no volume of whole numbers")
    return labels
